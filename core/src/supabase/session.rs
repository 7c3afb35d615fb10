//! The Supabase client session: commands, time, and the lanes that come out.

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::access_token::AccessToken;
use super::channel_config::ChannelConfig;
use super::channels::{Channel, Channels};
use super::config::Config;
use super::errors::{AuthError, SubscribeError};
use super::event::{ChannelState, Event, HeartbeatStatus, Request, RequestId, TokenFailure, TokenReason};
use super::extras::Extras;
use super::join::topic_of;
use super::requests::Requests;
use super::tokens::Tokens;
use crate::backoff::{Jitter, JitterRng};
use crate::events::Events;
use crate::machine::{ConnId, Machine, TransportAction, TransportEvent, TransportKind};
use crate::phoenix::{self, ChannelId, ConnectionState, JoinOptions, NextUp, PushId, Stats, UnknownChannel};
use crate::text::Text;
use crate::time::Timestamp;

/// A Supabase Realtime client without I/O.
///
/// It owns a [`phoenix::Session`] and adds what Supabase's servers expect: topics and join payloads,
/// access tokens that never expire under a channel, refusals that are understood, broadcasts, and a
/// word about every [`Gap`](Event::Gap). See the [crate] documentation for the loop around it; the
/// request lane asks for tokens, and [`set_wall_clock`](Session::set_wall_clock) tells when they expire.
///
/// ```
/// use rejoin_core::supabase::{Broadcast, ChannelConfig, Config, Session};
/// use rejoin_core::{Machine, Payload, Timestamp, TransportAction};
///
/// let now = Timestamp::ZERO;
/// let config = Config::new("https://abc.supabase.co/realtime/v1", "sb_publishable_key")?;
/// let mut session = Session::new(config, now);
/// session.connect(now);
/// let room = session.subscribe(now, "room", &ChannelConfig::default().broadcast_ack())?;
/// session.broadcast(now, room, Broadcast::new("cursor", Payload::json(&(1, 2))?))?;
///
/// let Some(TransportAction::Open(request)) = session.poll_transport() else { panic!("it dials") };
/// assert!(request.url.starts_with("wss://abc.supabase.co/realtime/v1/websocket?apikey="));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Session {
    pub(super) config: Config,
    pub(super) now: Timestamp,
    pub(super) inner: phoenix::Session,
    pub(super) channels: Channels,
    pub(super) tokens: Tokens,
    events: Events<Event>,
    pub(super) request: Option<Request>,
    pub(super) requests: Requests,
    /// The presence calls among the inner session's pushes.
    pub(super) tracking: BTreeMap<PushId, ChannelId>,
    /// How many pushes wait for something else than the inner session.
    pub(super) own_pushes: usize,
    /// When a frame last came in: until then nothing is missing.
    pub(super) last_received: Timestamp,
    /// The attempt for which a token was asked.
    pub(super) asked_for_dial: Option<ConnId>,
    /// What was ignored here and not by the inner session.
    pub(super) stats: Stats,
    rng: JitterRng,
    /// When a connection without channels is given up.
    empty_until: Option<Timestamp>,
    /// Whether it was given up, so that the next channel brings it back.
    asleep: bool,
}

impl Session {
    /// A session that is idle until [`connect`](Session::connect).
    #[must_use]
    pub fn new(config: Config, now: Timestamp) -> Self {
        Self {
            now,
            inner: phoenix::Session::new(config.to_phoenix(), now),
            channels: Channels::new(),
            tokens: Tokens::new(&config),
            events: Events::new(config.phoenix.limits.events),
            request: None,
            requests: Requests::default(),
            tracking: BTreeMap::new(),
            own_pushes: 0,
            last_received: now,
            asked_for_dial: None,
            stats: Stats::default(),
            empty_until: None,
            asleep: false,
            // Another stream than the inner session's, so that neither shifts the other's delays.
            rng: JitterRng::new(config.phoenix.jitter_seed.rotate_left(32)),
            config,
        }
    }

    /// Wants a connection. An attempt that is only waiting for its time starts now.
    pub fn connect(&mut self, now: Timestamp) {
        self.advance(now);
        self.stay();
        self.inner.connect(now);
        self.prepare_token();
        self.absorb();
    }

    /// Wants no connection. Channels and waiting pushes stay, and [`connect`](Session::connect) resumes.
    pub fn disconnect(&mut self, now: Timestamp) {
        self.advance(now);
        self.stay();
        self.inner.disconnect(now);
        self.absorb();
    }

    /// Replaces the connection, if there is one, by a new one at once.
    pub fn reconnect(&mut self, now: Timestamp) {
        self.advance(now);
        self.stay();
        self.inner.reconnect(now);
        self.prepare_token();
        self.absorb();
    }

    /// The host woke up or changed its network: checks an open connection with one early heartbeat,
    /// and starts a waiting attempt now. Tell the wall clock first, if it jumped.
    pub fn probe(&mut self, now: Timestamp) {
        self.advance(now);
        self.inner.probe(now);
        self.absorb();
    }

    /// Wants to be in a channel, from now until [`unsubscribe`](Session::unsubscribe), through every loss.
    ///
    /// `name` is the topic with or without its `realtime:`.
    ///
    /// # Errors
    /// If the name is empty or the session has the topic already, the configuration contradicts
    /// itself or is too large for a frame, or the session is full or closed.
    pub fn subscribe(
        &mut self,
        now: Timestamp,
        name: &str,
        config: &ChannelConfig,
    ) -> Result<ChannelId, SubscribeError> {
        self.advance(now);
        config.check()?;
        let topic = topic_of(name)?;
        let mut options = JoinOptions::default().rejoin_on_close();
        options.timeout = config.longest_join(self.config.phoenix.join_timeout);
        let json = config.to_json();
        // The token is not known yet.
        self.inner.check_join(&topic, json.len() + AccessToken::MAX_BYTES)?;
        let id = self.inner.join(now, topic, options)?;
        self.channels.insert(Channel::new(id, config, json, Extras::new(config, &self.config)));
        self.empty_until = None;
        if core::mem::take(&mut self.asleep) {
            self.inner.connect(now);
        }
        self.prepare_token();
        self.absorb();
        Ok(id)
    }

    /// No longer wants to be in a channel. Ends in [`Event::ChannelClosed`].
    ///
    /// With the last channel the connection goes too, after `Config::disconnect_when_empty`.
    ///
    /// # Errors
    /// If there is no such channel.
    pub fn unsubscribe(&mut self, now: Timestamp, channel: ChannelId) -> Result<(), UnknownChannel> {
        self.advance(now);
        self.inner.leave(now, channel)?;
        self.absorb();
        Ok(())
    }

    /// Leaves every channel and disconnects at once. The next channel connects again.
    pub fn remove_all(&mut self, now: Timestamp) {
        self.advance(now);
        for id in self.channels.ids() {
            // Each is there, or gone already.
            let _ = self.inner.leave(now, id);
        }
        self.fall_asleep();
        self.absorb();
    }

    /// Takes a token into use: joined channels without a token of their own are told, joins carry
    /// it. With a provider it counts until the provider is asked next.
    ///
    /// # Errors
    /// If the token has expired.
    pub fn set_auth(&mut self, now: Timestamp, token: AccessToken) -> Result<(), AuthError> {
        self.advance(now);
        if self.tokens.is_expired(&token, now) {
            return Err(AuthError::Expired);
        }
        self.tokens.set(now, Some(token));
        self.apply_tokens();
        self.absorb();
        Ok(())
    }

    /// Takes a token into use for one channel, or with `None` the session's again.
    ///
    /// # Errors
    /// If there is no such channel or the token has expired.
    pub fn set_channel_auth(
        &mut self,
        now: Timestamp,
        channel: ChannelId,
        token: Option<AccessToken>,
    ) -> Result<(), AuthError> {
        self.advance(now);
        if token.as_ref().is_some_and(|token| self.tokens.is_expired(token, now)) {
            return Err(AuthError::Expired);
        }
        let state = self.channels.get_mut(channel).ok_or(AuthError::UnknownChannel)?;
        state.own_token = token.map(Into::into);
        self.apply_tokens();
        self.absorb();
        Ok(())
    }

    /// The user signed out: every token is forgotten. Joins of public channels carry none from now
    /// on; private ones wait for the next token. Channels that are joined stay until the server's
    /// view of their token ends: unsubscribe what has to end now.
    pub fn clear_auth(&mut self, now: Timestamp) {
        self.advance(now);
        self.tokens.set(now, None);
        for id in self.channels.ids() {
            if let Some(channel) = self.channels.get_mut(id) {
                channel.own_token = None;
            }
        }
        self.apply_tokens();
        self.stop_who_waits_in_vain();
        self.absorb();
    }

    /// Asks the provider for a token now. Does nothing without one, or while it is being asked.
    pub fn refresh_auth(&mut self, now: Timestamp) {
        self.advance(now);
        let news = self.tokens.ask(now, TokenReason::Requested);
        self.hear(news);
        self.absorb();
    }

    /// The provider's answer to a [`Request::Token`]; `None` is a user who signed out. Too late an
    /// answer, or one that a newer token has overtaken, is ignored.
    pub fn handle_token(&mut self, now: Timestamp, id: RequestId, answer: Result<Option<AccessToken>, TokenFailure>) {
        self.advance(now);
        let news = self.tokens.answered(now, id, answer);
        self.hear(news);
        self.absorb();
    }

    /// Tells the time of day, by which tokens expire. Wanted once at the start, and whenever it may
    /// have moved otherwise than the session's own time: after a suspension above all.
    pub fn set_wall_clock(&mut self, now: Timestamp, since_unix_epoch: Duration) {
        self.advance(now);
        self.tokens.set_wall_clock(now, since_unix_epoch);
        self.token_timeouts();
        // Put back, it may make a token good that seemed to have expired.
        self.apply_tokens();
        self.absorb();
    }

    /// Ends the session: what waits is dropped, the socket is closed with 1000, and
    /// [`Event::Closed`] comes last, after at most `close_timeout`.
    pub fn close(&mut self, now: Timestamp) {
        self.advance(now);
        self.stay();
        self.inner.close(now);
        self.absorb();
    }

    /// What the connection is doing.
    #[must_use]
    pub const fn state(&self) -> ConnectionState {
        self.inner.state()
    }

    /// The transport of the present connection, or of the next dial; see [`phoenix::Session::transport`].
    #[must_use]
    pub const fn transport(&self) -> TransportKind {
        self.inner.transport()
    }

    /// Where a channel stands; `None` once it is gone.
    #[must_use]
    pub fn channel_state(&self, channel: ChannelId) -> Option<ChannelState> {
        let state = self.inner.channel_state(channel)?;
        Some(match (state, self.channels.get(channel)) {
            (phoenix::ChannelState::Joined, _) => ChannelState::Joined,
            (phoenix::ChannelState::Leaving, _) => ChannelState::Leaving,
            (_, Some(Channel { waits: true, .. })) => ChannelState::AwaitingToken,
            (phoenix::ChannelState::Errored, _) => ChannelState::Errored,
            (phoenix::ChannelState::Joining, _) => ChannelState::Joining,
        })
    }

    /// A channel's topic, with its `realtime:`; `None` once it is gone.
    #[must_use]
    pub fn topic(&self, channel: ChannelId) -> Option<&Text> {
        self.inner.topic(channel)
    }

    /// All channels, in no order that means anything.
    pub fn channels(&self) -> impl Iterator<Item = (ChannelId, &Text, ChannelState)> {
        let known = |channel: &Channel| Some((channel.id, self.topic(channel.id)?, self.channel_state(channel.id)?));
        self.channels.iter().filter_map(known)
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a push on a joined channel would find room in the transport lane.
    #[must_use]
    pub fn has_outbound_capacity(&self) -> bool {
        self.inner.has_outbound_capacity()
    }

    /// How many events wait to be polled.
    #[must_use]
    pub fn queued_events(&self) -> usize {
        self.events.len()
    }

    /// How many pushes have no outcome yet.
    #[must_use]
    pub fn open_pushes(&self) -> usize {
        self.inner.open_pushes() - self.tracking.len() + self.own_pushes
    }

    /// What was ignored so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Stats { unmatched_changes, repeated_broadcasts, .. } = self.stats;
        Stats { lagged: self.events.lagged(), unmatched_changes, repeated_broadcasts, ..self.inner.stats() }
    }
}

impl Machine for Session {
    type Event = Event;
    type Request = Request;

    fn handle_transport(&mut self, now: Timestamp, event: TransportEvent) {
        self.advance(now);
        if let TransportEvent::Received { conn, .. } | TransportEvent::Alive { conn } = &event
            && self.inner.connection() == Some(*conn)
        {
            self.last_received = self.now;
        }
        self.inner.handle_transport(now, event);
        self.absorb();
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        self.advance(now);
        self.token_timeouts();
        self.http_timeouts();
        self.extras_timeouts();
        self.inner.handle_timeout(now);
        self.absorb();
        if self.empty_until.is_some_and(|at| at <= self.now) {
            self.fall_asleep();
            self.absorb();
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        let extras = self.channels.due().map(|(at, _)| at);
        let timeouts = [self.inner.poll_timeout(), self.tokens.due(), self.requests.due(), extras, self.empty_until];
        timeouts.into_iter().flatten().min()
    }

    fn poll_transport(&mut self) -> Option<TransportAction> {
        loop {
            let action = match self.inner.next_up()? {
                NextUp::Dial(conn) => {
                    if !self.may_dial(conn) {
                        return None;
                    }
                    self.take_dial()
                }
                NextUp::Join(id) => self.take_join(id),
                NextUp::Notice(id) => self.take_notice(id),
                NextUp::Heartbeat => {
                    self.message(Event::Heartbeat(HeartbeatStatus::Sent));
                    self.inner.take_next()
                }
                NextUp::Other => self.inner.take_next(),
            };
            self.absorb();
            if action.is_some() {
                return action;
            }
        }
    }

    fn poll_request(&mut self) -> Option<Request> {
        self.request.take().or_else(|| self.requests.take().map(Request::Http))
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.poll()
    }

    fn connection(&self) -> Option<ConnId> {
        self.inner.connection()
    }

    fn is_congested(&self) -> bool {
        self.inner.is_congested()
    }

    fn is_finished(&self) -> bool {
        self.inner.is_finished() && self.events.is_over()
    }
}

impl Session {
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// The user has spoken about the connection: what the number of channels says counts no more.
    const fn stay(&mut self) {
        self.empty_until = None;
        self.asleep = false;
    }

    /// Nothing is planned and nothing is asked any more.
    pub(super) fn rest_for_ever(&mut self) {
        self.empty_until = None;
        self.request = None;
        self.tokens.stop();
        self.end_http();
    }

    /// The last channel is gone.
    pub(super) fn left_alone(&mut self) {
        match self.config.disconnect_when_empty {
            Some(Duration::ZERO) => self.fall_asleep(),
            Some(patience) if self.wants_connection() => self.empty_until = Some(self.now.saturating_add(patience)),
            _ => {}
        }
    }

    fn fall_asleep(&mut self) {
        self.empty_until = None;
        if self.wants_connection() {
            self.asleep = true;
            self.inner.disconnect(self.now);
        }
    }

    const fn wants_connection(&self) -> bool {
        !matches!(self.inner.state(), ConnectionState::Idle | ConnectionState::Closing | ConnectionState::Closed)
    }

    /// How long to stay away after a complaint about rates: never less than the server wants.
    pub(super) fn rate_delay(&mut self) -> Duration {
        let delay = self.config.rate_delay;
        match self.config.phoenix.jitter {
            Jitter::None => delay,
            jitter => delay.saturating_add(self.rng.spread(delay / 4, jitter)),
        }
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
}
