//! The server's half: HTTP exchanges of one client on one side, a connection on the other.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use super::call::LongPollBody;
use super::items;
use super::response::LongPollResponse;
use crate::http::HttpId;
use crate::machine::{ConnId, Frame, TransportAction, TransportEvent};
use crate::text::Text;
use crate::time::Timestamp;

/// Configuration of a [`LongPollPeer`]. Start from `default`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LongPollConfig {
    /// How long a GET is held when there is nothing to say; default 10 s. A client that does not poll
    /// for one and a half of these is gone.
    pub window: Duration,
    /// The largest body of a POST, in bytes; default 10,000,000.
    pub body_bytes: usize,
    /// Messages that wait to be polled; default 4,096. A client that polls too slowly for them is
    /// cut off.
    pub outbox_messages: usize,
    /// Bytes of them; default 16 MiB.
    pub outbox_bytes: usize,
}

impl Default for LongPollConfig {
    fn default() -> Self {
        Self { window: Duration::from_secs(10), body_bytes: 10_000_000, outbox_messages: 4_096, outbox_bytes: 16 << 20 }
    }
}

/// One client's session on the server: what an accepted socket is to a
/// [`ServerSession`](crate::phoenix::ServerSession), without I/O.
///
/// The host makes one for a [`LongPollCall::Poll`](super::LongPollCall) that names no session it knows,
/// together with a `ServerSession` whose [`idle_timeout`] is `None` (polling is the sign of life), and
/// answers [`LongPollResponse::opened`]. From then on it
///
/// 1. hands over the client's exchanges, [`poll`](LongPollPeer::poll), [`push`](LongPollPeer::push) and
///    [`hung_up`](LongPollPeer::hung_up), each by a number of the host's choice,
/// 2. passes every event of [`poll_event`](LongPollPeer::poll_event) on to the `ServerSession`, and each
///    [`TransportAction`] of that one to [`handle_action`](LongPollPeer::handle_action),
/// 3. *then* writes what [`poll_response`](LongPollPeer::poll_response) gives, so that one response
///    carries all there is to say,
/// 4. calls [`handle_timeout`](LongPollPeer::handle_timeout) when
///    [`poll_timeout`](LongPollPeer::poll_timeout) says so,
///
/// until it [`is_finished`](LongPollPeer::is_finished). Once its connection is closed it answers what is
/// still polled and then `410`, which sends the client to a new session.
///
/// Messages are strings in JSON, so that a binary frame goes, as Phoenix's does, raw into such a
/// string; one whose bytes are not UTF-8 cannot go at all and is dropped and counted in
/// [`LongPollStats::unspeakable`].
///
/// [`idle_timeout`]: crate::phoenix::ServerConfig::idle_timeout
pub struct LongPollPeer {
    config: LongPollConfig,
    conn: ConnId,
    token: Text,
    now: Timestamp,
    state: State,
    /// The GET that waits for something to say, and until when.
    held: Option<(HttpId, Timestamp)>,
    /// When the client was last polling, and one and a half windows.
    gone_at: Timestamp,
    outbox: VecDeque<Text>,
    outbox_bytes: usize,
    responses: VecDeque<(HttpId, LongPollResponse)>,
    events: VecDeque<TransportEvent>,
    stats: LongPollStats,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The server closes; what it said before is still polled.
    Closing {
        code: u16,
        reason: Text,
    },
    /// The client has still to be told.
    Closed,
    Told,
}

/// What of a response's messages is enough for one response.
const ENOUGH_BYTES: usize = 1 << 20;

impl LongPollPeer {
    /// A session that has just been admitted. `conn` is the host's number for it, and `token` the name
    /// that the client will call it by: nobody else may guess it, so it is drawn at random.
    #[must_use]
    pub fn new(config: LongPollConfig, conn: ConnId, token: impl Into<Text>, now: Timestamp) -> Self {
        Self {
            gone_at: now.saturating_add(patience(&config)),
            config,
            conn,
            token: token.into(),
            now,
            state: State::Open,
            held: None,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            responses: VecDeque::new(),
            events: VecDeque::new(),
            stats: LongPollStats::default(),
        }
    }

    /// The client polls. The GET is answered when there is something to say, the window is over or
    /// the client polls again.
    pub fn poll(&mut self, now: Timestamp, id: HttpId) {
        self.advance(now);
        self.release();
        self.renew();
        self.held = Some((id, self.now.saturating_add(self.config.window)));
    }

    /// The client pushes the frames of a body: all of them, or none if one cannot be read.
    pub fn push(&mut self, now: Timestamp, id: HttpId, kind: LongPollBody, body: &Bytes) {
        self.advance(now);
        let response = match &self.state {
            State::Open if body.len() > self.config.body_bytes => LongPollResponse::bare(413),
            State::Open => match items::frames(kind, body) {
                None => LongPollResponse::malformed(),
                Some((frames, ignored)) => {
                    self.stats.ignored_items += ignored as u64;
                    let conn = self.conn;
                    self.events.extend(frames.into_iter().map(|frame| TransportEvent::Received { conn, frame }));
                    LongPollResponse::taken()
                }
            },
            State::Closing { .. } | State::Closed | State::Told => LongPollResponse::gone(),
        };
        self.responses.push_back((id, response));
    }

    /// The client has given up an exchange: what there is to say waits for the next one.
    pub fn hung_up(&mut self, id: HttpId) {
        self.held.take_if(|(held, _)| *held == id);
        self.responses.retain(|(answered, _)| *answered != id);
    }

    /// What the server's session wants of its connection.
    pub fn handle_action(&mut self, now: Timestamp, action: TransportAction) {
        self.advance(now);
        match (action, &self.state) {
            (TransportAction::Send { frame, .. }, State::Open) => self.say(frame),
            (TransportAction::Close { code, reason, .. }, State::Open) => {
                self.state = State::Closing { code, reason };
                self.settle();
            }
            (TransportAction::Abort { .. }, State::Open | State::Closing { .. }) => self.end(None, Text::EMPTY),
            // A session that was accepted dials nobody, and nothing follows the end.
            _ => {}
        }
    }

    /// Time has passed. Early, late and repeated calls are harmless.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.advance(now);
        if self.held.is_some_and(|(_, until)| until <= self.now) {
            self.renew();
            self.release();
        }
        if self.held.is_none() && self.gone_at <= self.now {
            self.end(None, Text::from_static("the client polls no more"));
            self.state = State::Told;
        }
    }

    /// Whether more should be said before the client has polled. What waits in the
    /// [`ServerSession`](crate::phoenix::ServerSession) meanwhile is subject to the policy of its outbox.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.outbox_bytes < ENOUGH_BYTES.min(self.config.outbox_bytes)
            && self.outbox.len() < self.config.outbox_messages
    }

    /// When [`handle_timeout`](LongPollPeer::handle_timeout) is wanted next; `None` is never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let waiting = self.held.map_or(self.gone_at, |(_, until)| until);
        (self.state != State::Told).then_some(waiting)
    }

    /// The next response to write, and to which exchange.
    pub fn poll_response(&mut self) -> Option<(HttpId, LongPollResponse)> {
        self.responses.pop_front().or_else(|| {
            let response = self.answer_to_poll()?;
            self.renew();
            self.held.take().map(|(id, _)| (id, response))
        })
    }

    /// The next event for the server's session.
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// Whether nothing more will ever come out, and the host can forget its token.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state == State::Told && self.held.is_none() && self.responses.is_empty() && self.events.is_empty()
    }

    /// The name that the client calls it by.
    #[must_use]
    pub const fn token(&self) -> &Text {
        &self.token
    }

    /// The host's number for it.
    #[must_use]
    pub const fn conn(&self) -> ConnId {
        self.conn
    }

    /// What was dropped so far.
    #[must_use]
    pub const fn stats(&self) -> LongPollStats {
        self.stats
    }
}

/// What was dropped, counted since the session opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LongPollStats {
    /// Binary frames to the client whose bytes are not UTF-8.
    pub unspeakable: u64,
    /// Items of POSTs beyond the hundred that Phoenix reads of each.
    pub ignored_items: u64,
}

/// Without the token.
impl fmt::Debug for LongPollPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongPollPeer")
            .field("conn", &self.conn)
            .field("state", &self.state)
            .field("held", &self.held)
            .field("gone_at", &self.gone_at)
            .field("outbox", &format_args!("{} messages, {} B", self.outbox.len(), self.outbox_bytes))
            .field("responses", &self.responses)
            .field("events", &self.events)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl LongPollPeer {
    fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// The client has just been polling.
    fn renew(&mut self) {
        self.gone_at = self.now.saturating_add(patience(&self.config));
    }

    /// Answers the GET that is held, with what there is to say or with nothing.
    fn release(&mut self) {
        if let Some((id, _)) = self.held {
            let response = self.answer_to_poll();
            let response = response.unwrap_or_else(|| LongPollResponse::messages(204, &[], Some(&self.token)));
            self.held = None;
            self.responses.push_back((id, response));
        }
    }

    /// What a GET is answered now, if one is held and there is anything to say.
    fn answer_to_poll(&mut self) -> Option<LongPollResponse> {
        self.held?;
        if self.outbox.is_empty() {
            if !matches!(self.state, State::Closed | State::Told) {
                return None;
            }
            self.state = State::Told;
            return Some(LongPollResponse::messages(410, &[], None));
        }
        let (mut bytes, mut count) = (0, 0);
        while let Some(message) = self.outbox.get(count).filter(|_| bytes < ENOUGH_BYTES) {
            (bytes, count) = (bytes + message.as_bytes().len(), count + 1);
        }
        let messages: Vec<Text> = self.outbox.drain(..count).collect();
        self.outbox_bytes -= bytes;
        let texts: Vec<&str> = messages.iter().map(Text::as_str).collect();
        let response = LongPollResponse::messages(200, &texts, Some(&self.token));
        self.settle();
        Some(response)
    }

    fn say(&mut self, frame: Frame) {
        let message = match frame {
            Frame::Text(text) => text,
            Frame::Binary(bytes) => match Text::from_utf8(bytes) {
                Ok(text) => text,
                Err(_) => {
                    self.stats.unspeakable += 1;
                    return;
                }
            },
        };
        self.outbox_bytes += message.as_bytes().len();
        self.outbox.push_back(message);
        if self.outbox.len() > self.config.outbox_messages || self.outbox_bytes > self.config.outbox_bytes {
            self.end(None, Text::from_static("the client polled too slowly"));
        }
    }

    /// The end of a close, once everything was polled.
    fn settle(&mut self) {
        if let State::Closing { code, reason } = &self.state
            && self.outbox.is_empty()
        {
            let (code, reason) = (*code, reason.clone());
            self.end(Some(code), reason);
        }
    }

    fn end(&mut self, code: Option<u16>, reason: Text) {
        if matches!(self.state, State::Open | State::Closing { .. }) {
            self.state = State::Closed;
            self.outbox = VecDeque::new();
            self.outbox_bytes = 0;
            self.events.push_back(TransportEvent::Closed { conn: self.conn, code, reason });
        }
    }
}

fn patience(config: &LongPollConfig) -> Duration {
    config.window.saturating_mul(3) / 2
}
