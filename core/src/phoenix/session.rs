//! The client session: commands, time, and the lanes that come out.

use core::convert::Infallible;

use super::channel::{ChannelState, Channels, Phase};
use super::config::{Config, JoinOptions, Push};
use super::connection::{self, Connection, ConnectionState};
use super::event::{CloseReason, Event, JoinError, LossReason, PushError, PushOutcome, Stats, UnknownChannel};
use super::heartbeat::{self, Heartbeat};
use super::ids::{ChannelId, PushId};
use super::lane::{Lane, Outgoing};
use super::pacing::JoinPace;
use super::pushes::Pushes;
use super::transport::Choice;
use crate::backoff::JitterRng;
use crate::events::Events;
use crate::machine::{ConnId, Machine, TransportAction, TransportEvent, TransportKind};
use crate::payload::Payload;
use crate::text::Text;
use crate::time::Timestamp;
use crate::wire;

/// A Phoenix Channels client without I/O.
///
/// The channels that were joined and not left are the *wanted* ones; they are what the session
/// works towards through every loss. Joins, leaves and heartbeats are derived from that state when
/// a socket opens, never buffered. See the [crate] documentation for the loop around it.
#[derive(Debug)]
pub struct Session {
    pub(super) config: Config,
    pub(super) now: Timestamp,
    refs: u64,
    pub(super) connection: Connection,
    pub(super) choice: Choice,
    pub(super) heartbeat: Heartbeat,
    pub(super) channels: Channels,
    pub(super) pushes: Pushes,
    pub(super) lane: Lane,
    pub(super) pace: JoinPace,
    events: Events<Event>,
    pub(super) rng: JitterRng,
    pub(super) stats: Stats,
}

impl Session {
    /// A session that is idle until [`connect`](Session::connect).
    #[must_use]
    pub fn new(config: Config, now: Timestamp) -> Self {
        let config = config.sanitized();
        Self {
            now,
            refs: 0,
            connection: Connection::new(),
            choice: Choice::new(config.transport, config.fallback_memory, now),
            heartbeat: Heartbeat::new(config.heartbeat_interval, config.heartbeat_timeout),
            channels: Channels::new(),
            pushes: Pushes::new(),
            lane: Lane::default(),
            pace: JoinPace::new(config.limits.joins_per_second),
            events: Events::new(config.limits.events),
            rng: JitterRng::new(config.jitter_seed),
            stats: Stats::default(),
            config,
        }
    }

    /// Wants a connection. An attempt that is only waiting for its time starts now; anything
    /// further along, or closed, stays as it is.
    pub fn connect(&mut self, now: Timestamp) {
        self.advance(now);
        if matches!(self.connection.state(), ConnectionState::Idle | ConnectionState::Waiting) {
            self.connection.start_afresh();
            self.dial();
        }
    }

    /// Wants no connection. Channels and waiting pushes stay, and [`connect`](Session::connect) resumes.
    pub fn disconnect(&mut self, now: Timestamp) {
        self.advance(now);
        if matches!(self.connection.state(), ConnectionState::Closing | ConnectionState::Closed) {
            return;
        }
        if self.connection.lingering().is_some() {
            return;
        }
        let open = self.connection.open();
        if self.hang_up() {
            self.event(Event::Disconnected { reason: LossReason::Requested, retry_at: None });
            self.settle_loss();
        }
        match open {
            Some(conn) => self.connection.hanging_up(conn, self.now.saturating_add(self.config.close_timeout)),
            None => self.connection.rest(),
        }
    }

    /// Replaces the connection, if there is one, by a new one at once.
    pub fn reconnect(&mut self, now: Timestamp) {
        self.advance(now);
        if matches!(self.connection.state(), ConnectionState::Closing | ConnectionState::Closed) {
            return;
        }
        if self.hang_up() {
            self.event(Event::Disconnected { reason: LossReason::Requested, retry_at: Some(self.now) });
            self.settle_loss();
        }
        self.connection.start_afresh();
        self.dial();
    }

    /// The host woke up or changed its network: checks an open connection with one early heartbeat,
    /// and starts a waiting attempt now.
    pub fn probe(&mut self, now: Timestamp) {
        self.advance(now);
        match self.connection.state() {
            ConnectionState::Waiting => self.connect(now),
            ConnectionState::Connected if !self.heartbeat.is_pending() => self.beat(),
            _ => {}
        }
    }

    /// Wants to be in a topic, from now until [`leave`](Session::leave), through every loss.
    ///
    /// A topic that is still being left may be joined again at once; the new id is another channel.
    ///
    /// # Errors
    /// If the topic is empty, `phoenix` or taken, the payload is no JSON object or too large, the
    /// session is full or closed.
    pub fn join(
        &mut self,
        now: Timestamp,
        topic: impl Into<Text>,
        options: JoinOptions,
    ) -> Result<ChannelId, JoinError> {
        self.advance(now);
        let topic = topic.into();
        if matches!(self.connection.state(), ConnectionState::Closing | ConnectionState::Closed) {
            return Err(JoinError::SessionClosed);
        }
        if topic.as_str().is_empty() || topic == wire::PHOENIX {
            return Err(JoinError::InvalidTopic);
        }
        if !is_object(&options.payload) {
            return Err(JoinError::PayloadNotObject);
        }
        self.check_join(&topic, options.payload.len())?;
        match self.channels.find(topic.as_bytes()) {
            Some((id, channel)) if channel.state() != ChannelState::Leaving => {
                return Err(JoinError::AlreadyJoined(id));
            }
            _ if self.channels.len() >= self.config.limits.channels => return Err(JoinError::Full),
            _ => {}
        }
        let id = self.channels.insert(topic.detach(), options);
        if self.connection.open().is_some() {
            self.channels.queue_join(id);
            self.start_joins();
        }
        Ok(id)
    }

    /// Changes the payload of the joins and rejoins to come.
    ///
    /// # Errors
    /// If there is no such channel or the payload is no JSON object.
    pub fn set_join_payload(&mut self, channel: ChannelId, payload: Payload) -> Result<(), JoinError> {
        if !is_object(&payload) {
            return Err(JoinError::PayloadNotObject);
        }
        self.channels.get_mut(channel).ok_or(JoinError::UnknownChannel)?.payload = payload;
        Ok(())
    }

    /// Sends a message on a channel, or lets it wait until the channel is joined.
    ///
    /// Every accepted push ends in exactly one [`Event::PushDone`], at the latest when its timeout,
    /// counted from now, has passed.
    ///
    /// # Errors
    /// If there is no such channel, it is being left, the message does not fit a frame, or too many
    /// pushes wait and [`Limits::overflow`](super::Limits::overflow) rejects new ones.
    pub fn push(&mut self, now: Timestamp, channel: ChannelId, push: Push) -> Result<PushId, PushError> {
        self.advance(now);
        self.accept_push(channel, push)
    }

    /// Gives a push up: `Dropped` if it was not sent yet, `Unknown` if it was. One that is over
    /// already stays as it ended.
    pub fn cancel(&mut self, push: PushId) {
        self.give_up(push);
    }

    /// Keeps a wanted channel from being joined, whatever becomes of the connection, until
    /// [`retry_join`](Session::retry_join). A join that was sent already runs its course.
    ///
    /// For hosts that know better than the backoff: a refusal that will not change, or that waits
    /// for something.
    ///
    /// # Errors
    /// If there is no such channel.
    pub fn hold_join(&mut self, channel: ChannelId) -> Result<(), UnknownChannel> {
        let state = self.channels.get_mut(channel).ok_or(UnknownChannel)?;
        state.held = true;
        match state.phase {
            Phase::Queued => {
                self.lane.drop_join(channel);
                self.pace.forget_last();
                self.channels.set_phase(channel, Phase::Idle { errored: false });
            }
            Phase::Idle { .. } => self.channels.set_deadline(channel, None),
            Phase::Joining { .. } | Phase::Joined { .. } | Phase::Leaving { .. } => {}
        }
        self.start_joins();
        Ok(())
    }

    /// Joins a wanted channel that is not joined at this time, instead of when the backoff says, and
    /// ends a hold. A connection that opens before does not join it earlier, and without one it is
    /// joined as soon as there is one.
    ///
    /// # Errors
    /// If there is no such channel.
    pub fn retry_join(&mut self, now: Timestamp, channel: ChannelId, at: Timestamp) -> Result<(), UnknownChannel> {
        self.advance(now);
        let state = self.channels.get_mut(channel).ok_or(UnknownChannel)?;
        state.held = false;
        let later = (at > self.now).then_some(at);
        state.not_before = later;
        if !matches!(state.phase, Phase::Idle { .. }) || self.connection.open().is_none() {
            return Ok(());
        }
        self.channels.set_deadline(channel, later);
        if later.is_some() {
            self.channels.leave_turn(channel);
        } else {
            self.channels.queue_join(channel);
            self.start_joins();
        }
        Ok(())
    }

    /// No longer wants to be in a channel. Ends in [`Event::ChannelClosed`] when the server has
    /// answered or `leave_timeout` has passed; at once if the server knows nothing of the channel.
    ///
    /// # Errors
    /// If there is no such channel.
    pub fn leave(&mut self, now: Timestamp, channel: ChannelId) -> Result<(), UnknownChannel> {
        self.advance(now);
        let state = self.channels.get(channel).ok_or(UnknownChannel)?;
        match state.phase {
            Phase::Leaving { .. } => {}
            // After `close` nothing follows the close frame.
            Phase::Joining { join_ref } | Phase::Joined { join_ref } if self.connection.open().is_some() => {
                let topic = state.topic.clone();
                self.drop_waiting(channel);
                self.lane.send(Outgoing::Leave { topic, join_ref });
                self.channels.set_phase(channel, Phase::Leaving { join_ref, reference: None });
                self.channels.set_deadline(channel, Some(self.now.saturating_add(self.config.leave_timeout)));
                self.start_joins();
            }
            _ => self.close_channel(channel, CloseReason::Left),
        }
        Ok(())
    }

    /// Ends the session: what waits is dropped, the socket is closed with 1000, and
    /// [`Event::Closed`] comes last, after at most `close_timeout`.
    pub fn close(&mut self, now: Timestamp) {
        self.advance(now);
        if matches!(self.connection.state(), ConnectionState::Closing | ConnectionState::Closed) {
            return;
        }
        let open = self.connection.open();
        // After `disconnect` the close frame is on its way already, and is waited for all the same.
        let Some(conn) = open.or(self.connection.lingering()) else {
            if let Some(conn) = self.connection.current() {
                self.lane.abort(conn);
            }
            return self.finish();
        };
        for id in self.channels.by_age() {
            self.drop_waiting(id);
            self.channels.set_deadline(id, None);
            if self.channels.get(id).is_some_and(|channel| channel.phase == Phase::Queued) {
                self.channels.set_phase(id, Phase::Idle { errored: false });
            }
        }
        self.channels.forget_turns();
        self.heartbeat.stop();
        self.choice.given_up();
        if open.is_some() {
            self.lane.send(Outgoing::Close { conn, code: 1000, reason: Text::EMPTY });
        }
        self.connection.closing(conn, self.now.saturating_add(self.config.close_timeout));
    }

    /// What the connection is doing.
    #[must_use]
    pub const fn state(&self) -> ConnectionState {
        self.connection.state()
    }

    /// The transport of the present connection, or of the next dial. With [`Transport::Auto`](super::Transport)
    /// this is the value to keep for [`Config::fallback_memory`].
    #[must_use]
    pub const fn transport(&self) -> TransportKind {
        self.choice.kind()
    }

    /// Where a channel stands; `None` once it is gone.
    #[must_use]
    pub fn channel_state(&self, channel: ChannelId) -> Option<ChannelState> {
        self.channels.get(channel).map(super::channel::Channel::state)
    }

    /// A channel's topic; `None` once it is gone.
    #[must_use]
    pub fn topic(&self, channel: ChannelId) -> Option<&Text> {
        self.channels.get(channel).map(|channel| &channel.topic)
    }

    /// All channels, in no order that means anything.
    pub fn channels(&self) -> impl Iterator<Item = (ChannelId, &Text, ChannelState)> {
        self.channels.iter().map(|(id, channel)| (id, &channel.topic, channel.state()))
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a push on a joined channel would find room in the transport lane.
    #[must_use]
    pub fn has_outbound_capacity(&self) -> bool {
        self.lane.pushes() < self.config.limits.outbound_frames
    }

    /// How many events wait to be polled.
    #[must_use]
    pub fn queued_events(&self) -> usize {
        self.events.len()
    }

    /// How many pushes have no outcome yet.
    #[must_use]
    pub fn open_pushes(&self) -> usize {
        self.pushes.len()
    }

    /// What was ignored so far.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        Stats { lagged: self.events.lagged(), ..self.stats }
    }
}

impl Machine for Session {
    type Event = Event;
    type Request = Infallible;

    fn handle_transport(&mut self, now: Timestamp, event: TransportEvent) {
        self.advance(now);
        match event {
            TransportEvent::Received { conn, frame } => match self.connection.open() {
                Some(open) if open == conn => self.receive(frame),
                _ if self.connection.current() == Some(conn) => self.receive_while_closing(frame),
                _ => self.stats.stale_connection += 1,
            },
            TransportEvent::Alive { conn } if self.connection.open() == Some(conn) => self.connection.proof_of_life(),
            TransportEvent::Alive { .. } => self.stats.stale_connection += 1,
            TransportEvent::Opened { conn } => self.opened(conn),
            TransportEvent::OpenFailed { conn, error } => self.ended(conn, LossReason::Open(error)),
            TransportEvent::Closed { conn, code, reason } => self.ended(conn, LossReason::Closed { code, reason }),
        }
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        self.advance(now);
        while let Some((_, due)) = self.due().filter(|(at, _)| *at <= self.now) {
            match due {
                Due::Connection(connection::Due::Retry) => self.dial(),
                Due::Connection(connection::Due::ConnectTimeout(conn)) => self.abort(conn, LossReason::ConnectTimeout),
                Due::Connection(connection::Due::HangUpTimeout(conn)) => {
                    self.lane.abort(conn);
                    self.connection.rest();
                }
                Due::Connection(connection::Due::CloseTimeout(conn)) => {
                    self.lane.abort(conn);
                    self.finish();
                }
                Due::Unheard => self.unheard(),
                Due::Heartbeat(heartbeat::Due::Beat) => self.beat(),
                Due::Heartbeat(heartbeat::Due::Missed) => {
                    self.heartbeat.stop();
                    if let Some(conn) = self.connection.open() {
                        self.abort(conn, LossReason::HeartbeatTimeout);
                    }
                }
                Due::Joins => self.start_joins(),
                Due::Channel(id) => self.channel_due(id),
                Due::Push(id) => self.finish_push(id, PushOutcome::TimedOut),
            }
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.due().map(|(at, _)| at)
    }

    fn poll_transport(&mut self) -> Option<TransportAction> {
        loop {
            let outgoing = self.lane.pop()?;
            if let Some(action) = self.carry_out(outgoing) {
                return Some(action);
            }
        }
    }

    fn poll_request(&mut self) -> Option<Infallible> {
        None
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.poll()
    }

    fn connection(&self) -> Option<ConnId> {
        self.connection.current().or(self.connection.lingering())
    }

    fn is_congested(&self) -> bool {
        !self.has_outbound_capacity()
    }

    fn is_finished(&self) -> bool {
        self.connection.state() == ConnectionState::Closed && self.lane.is_empty() && self.events.is_over()
    }
}

#[derive(Clone, Copy)]
enum Due {
    Connection(connection::Due),
    Unheard,
    Heartbeat(heartbeat::Due),
    Joins,
    Channel(ChannelId),
    Push(PushId),
}

impl Session {
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    fn due(&self) -> Option<(Timestamp, Due)> {
        [
            self.connection.due().map(|(at, due)| (at, Due::Connection(due))),
            self.choice.due().map(|at| (at, Due::Unheard)),
            self.heartbeat.due().map(|(at, due)| (at, Due::Heartbeat(due))),
            self.joins_due().map(|at| (at, Due::Joins)),
            self.channels.due().map(|(at, id)| (at, Due::Channel(id))),
            self.pushes.due().map(|(at, id)| (at, Due::Push(id))),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    #[inline]
    pub(super) fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// A message or another event that may be dropped when nobody polls.
    #[inline]
    pub(super) fn message(&mut self, event: Event) {
        self.events.push_droppable(event);
    }

    pub(super) fn next_ref(&mut self) -> u64 {
        self.refs += 1;
        self.refs
    }
}

/// By its first character: whether it is JSON at all was checked when it was made.
fn is_object(payload: &Payload) -> bool {
    payload.as_json().is_some_and(|json| json.trim_start().starts_with('{'))
}
