//! What a client session can be told: plain data, comparable and printable, no closures.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;
use core::time::Duration;

use super::endpoint::{Endpoint, EndpointError};
use super::transport::Transport;
use crate::backoff::{Backoff, Jitter};
use crate::machine::TransportKind;
use crate::payload::Payload;
use crate::text::Text;
use crate::wire::Serializer;

/// Configuration of a [`Session`](super::Session). Start from [`Config::new`] and assign fields.
///
/// Durations of zero count as one millisecond.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The socket's base URL.
    pub endpoint: Endpoint,
    /// Query parameters, percent-encoded for you; `vsn` is added last and cannot be set here.
    pub params: Vec<(String, String)>,
    /// Extra headers of the upgrade request.
    pub headers: Vec<(Text, Text)>,
    /// Phoenix's `auth_token`: sent as a subprotocol of the upgrade, or as the header
    /// `x-phoenix-authtoken` of long-poll, where it is in no URL and no log. Default `None`; only for
    /// endpoints that ask for it, for others may refuse what they do not know (specification, section 1.3).
    pub auth_token: Option<Text>,
    /// How messages are written. Default vsn 2.0.0.
    pub serializer: Serializer,
    /// How the server is reached. Default [`Transport::WebSocket`].
    pub transport: Transport,
    /// What [`Transport::Auto`] begins with: what an earlier session's
    /// [`Session::transport`](super::Session::transport) said in the same network, if the host has
    /// kept it. Default [`TransportKind::WebSocket`].
    pub fallback_memory: TransportKind,
    /// How often a heartbeat is sent; default 30 s. Servers close a socket that was silent for 60 s,
    /// and only what the *client* sends counts. `None` sends none and so notices no silent death.
    /// Long-poll has none: it is polled anyway.
    pub heartbeat_interval: Option<Duration>,
    /// How long a heartbeat may stay unanswered; default 10 s. A vanished peer is noticed after at
    /// most interval + timeout.
    pub heartbeat_timeout: Duration,
    /// Whether a lost connection is made anew on its own; default yes. Without it every loss waits for
    /// `connect`, channels and waiting pushes as well.
    pub auto_reconnect: bool,
    /// Close codes after which no attempt is made on its own; default none, for servers and the
    /// proxies before them close with any code when they mean to come back (specification, section 3.4).
    pub stop_codes: Vec<u16>,
    /// HTTP statuses of a refused upgrade after which no attempt is made on its own; default none.
    pub stop_statuses: Vec<u16>,
    /// How many failed attempts in a row end in [`Event::GaveUp`](super::Event::GaveUp). Default
    /// `None`: never give up.
    pub max_attempts: Option<u32>,
    /// How long a connection attempt may take; default 10 s. Some servers answer a refusal only
    /// after 2 s (specification, section 1.5).
    pub connect_timeout: Duration,
    /// How long a join may stay unanswered, counted from when its frame is handed to the transport;
    /// default 15 s. Some servers answer a refusal only after 5 s (section 4.5).
    pub join_timeout: Duration,
    /// How long a push may take from acceptance to its outcome; default 10 s.
    pub push_timeout: Duration,
    /// How long a leave may stay unanswered; default 10 s. The channel is closed either way.
    pub leave_timeout: Duration,
    /// How long [`close`](super::Session::close) and [`disconnect`](super::Session::disconnect) wait
    /// for the peer's close frame; default 5 s.
    pub close_timeout: Duration,
    /// Delays between connection attempts; default 1, 2, 4, 8, 10 s. They start again after proof of
    /// life (a join, a heartbeat or an empty poll), not at the mere opening of a connection.
    pub reconnect: Backoff,
    /// Delays between joins of a channel that was refused or crashed; default 1, 2, 5, 10 s.
    pub rejoin: Backoff,
    /// How both kinds of delays are spread. Default [`Jitter::Equal`].
    pub jitter: Jitter,
    /// Where the jitter's random numbers start. The drivers draw one from the system.
    pub jitter_seed: u64,
    /// The bounds of every queue.
    pub limits: Limits,
}

impl Config {
    /// The defaults for a socket's base URL.
    ///
    /// # Errors
    /// If the URL has no host or a strange scheme.
    pub fn new(url: &str) -> Result<Self, EndpointError> {
        let secs = Duration::from_secs;
        Ok(Self {
            endpoint: url.parse()?,
            params: Vec::new(),
            headers: Vec::new(),
            auth_token: None,
            serializer: Serializer::default(),
            transport: Transport::default(),
            fallback_memory: TransportKind::default(),
            heartbeat_interval: Some(secs(30)),
            heartbeat_timeout: secs(10),
            auto_reconnect: true,
            stop_codes: Vec::new(),
            stop_statuses: Vec::new(),
            max_attempts: None,
            connect_timeout: secs(10),
            join_timeout: secs(15),
            push_timeout: secs(10),
            leave_timeout: secs(10),
            close_timeout: secs(5),
            reconnect: Backoff::Steps(vec![secs(1), secs(2), secs(4), secs(8), secs(10)]),
            rejoin: Backoff::Steps(vec![secs(1), secs(2), secs(5), secs(10)]),
            jitter: Jitter::default(),
            jitter_seed: 0,
            limits: Limits::default(),
        })
    }

    /// Zero durations would make timers due for ever.
    pub(super) fn sanitized(mut self) -> Self {
        let floor = Duration::from_millis(1);
        for duration in [
            &mut self.heartbeat_timeout,
            &mut self.connect_timeout,
            &mut self.join_timeout,
            &mut self.push_timeout,
            &mut self.leave_timeout,
            &mut self.close_timeout,
        ] {
            *duration = (*duration).max(floor);
        }
        self.heartbeat_interval = self.heartbeat_interval.map(|interval| interval.max(floor));
        self
    }
}

/// Parameter and header values are left out: they carry keys and tokens.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("endpoint", &self.endpoint)
            .field("params", &self.params.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("headers", &self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("auth_token", &self.auth_token.as_ref().map(|_| ..))
            .field("serializer", &self.serializer)
            .field("transport", &self.transport)
            .field("fallback_memory", &self.fallback_memory)
            .field("heartbeat_interval", &self.heartbeat_interval)
            .field("heartbeat_timeout", &self.heartbeat_timeout)
            .field("auto_reconnect", &self.auto_reconnect)
            .field("stop_codes", &self.stop_codes)
            .field("stop_statuses", &self.stop_statuses)
            .field("max_attempts", &self.max_attempts)
            .field("connect_timeout", &self.connect_timeout)
            .field("join_timeout", &self.join_timeout)
            .field("push_timeout", &self.push_timeout)
            .field("leave_timeout", &self.leave_timeout)
            .field("close_timeout", &self.close_timeout)
            .field("reconnect", &self.reconnect)
            .field("rejoin", &self.rejoin)
            .field("jitter", &self.jitter)
            .field("jitter_seed", &self.jitter_seed)
            .field("limits", &self.limits)
            .finish()
    }
}

/// The bound of every queue, and what happens at it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Channels of one session; default 10,000.
    pub channels: usize,
    /// Joins without an answer at one time; default 3, because a server answers nothing else while
    /// it works on a join (specification, trap T1). `usize::MAX` turns the pacing off.
    pub joins_in_flight: usize,
    /// Joins that leave within any one second; default `None`, as many as may be in flight. Servers
    /// that count joins close the socket of a client that comes back with too many at once (trap T32).
    pub joins_per_second: Option<NonZeroU32>,
    /// Pushes that wait in one channel until it is joined; default 100.
    pub push_buffer: usize,
    /// Bytes of payload that wait in one channel until it is joined; default 1 MiB.
    pub push_buffer_bytes: usize,
    /// Pushes that wait in all channels together; default 100.
    pub send_buffer: usize,
    /// Bytes of payload that wait in all channels together; default 8 MiB.
    pub send_buffer_bytes: usize,
    /// Pushes whose reply is still to come, waiting ones included; default 4,096.
    pub pending_replies: usize,
    /// Pushes handed out for sending that the transport has not taken yet; default 1,024.
    pub outbound_frames: usize,
    /// The largest frame, in bytes, in either direction; default 16 MiB.
    pub frame_bytes: usize,
    /// The largest frame to send, in bytes, if servers take less than they give; default 16 MiB.
    pub outbound_frame_bytes: usize,
    /// Messages that nobody has polled yet; default 4,096. Further ones are dropped and reported
    /// as [`Event::Lagged`](super::Event::Lagged). State changes are never dropped.
    pub events: usize,
    /// What happens to a push that finds its buffer full. Default [`Overflow::RejectNew`].
    pub overflow: Overflow,
}

impl Limits {
    pub(super) fn largest_outbound(&self) -> usize {
        self.frame_bytes.min(self.outbound_frame_bytes)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            channels: 10_000,
            joins_in_flight: 3,
            joins_per_second: None,
            push_buffer: 100,
            push_buffer_bytes: 1 << 20,
            send_buffer: 100,
            send_buffer_bytes: 8 << 20,
            pending_replies: 4_096,
            outbound_frames: 1_024,
            frame_bytes: 16 << 20,
            outbound_frame_bytes: 16 << 20,
            events: 4_096,
            overflow: Overflow::default(),
        }
    }
}

/// What happens to a push that finds its buffer full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The push is an `Err` that its caller sees (the default).
    #[default]
    RejectNew,
    /// The oldest waiting push makes room and ends as `Dropped`.
    DropOldest,
    /// The new push is accepted and ends as `Dropped` at once.
    DropNewest,
}

/// How to join a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JoinOptions {
    /// The payload of every join and rejoin; default `{}`.
    pub payload: Payload,
    /// Instead of [`Config::join_timeout`].
    pub timeout: Option<Duration>,
    /// Whether a channel that the server ends with `phx_close` is joined again, as one that crashed
    /// is, instead of being gone for good (the default).
    pub rejoin_on_close: bool,
}

impl JoinOptions {
    /// Joins with this payload.
    #[must_use]
    pub fn with_payload(payload: Payload) -> Self {
        Self { payload, ..Self::default() }
    }

    /// Instead of [`Config::join_timeout`].
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Joins again after a `phx_close` that nobody here asked for.
    #[must_use]
    pub const fn rejoin_on_close(mut self) -> Self {
        self.rejoin_on_close = true;
        self
    }
}

/// A message to send on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Push {
    /// The event.
    pub event: Text,
    /// What it carries.
    pub payload: Payload,
    /// Instead of [`Config::push_timeout`].
    pub timeout: Option<Duration>,
    /// Whether the outcome is the server's reply (the default) or the handing over of the frame.
    pub wants_reply: bool,
    /// Whether it is sent again, once the channel is joined again, if the connection broke before its
    /// reply came; default no, and it ends as `Unknown`. The server may then get it twice
    /// (specification, section 4.11).
    pub resend_on_reconnect: bool,
    /// The name of a Supabase broadcast, whose `event` is `broadcast`.
    pub(crate) user_event: Option<UserPush>,
}

/// What makes a push a Supabase broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserPush {
    pub(crate) event: Text,
    /// What is told to the server besides; travels in the binary form and in text alike.
    pub(crate) metadata: Option<Payload>,
    /// Whether it goes as text under vsn 2.0.0 too, for servers that know no kind 3.
    pub(crate) as_text: bool,
}

impl Push {
    /// A push whose outcome is the server's reply.
    #[must_use]
    pub fn new(event: impl Into<Text>, payload: Payload) -> Self {
        Self {
            event: event.into(),
            payload,
            timeout: None,
            wants_reply: true,
            resend_on_reconnect: false,
            user_event: None,
        }
    }

    /// Instead of [`Config::push_timeout`].
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Is sent again after a loss that left its outcome open, so that the server may get it twice.
    #[must_use]
    pub const fn resend_on_reconnect(mut self) -> Self {
        self.resend_on_reconnect = true;
        self
    }

    /// For events that the server does not answer: the outcome is
    /// [`PushOutcome::Sent`](super::PushOutcome::Sent) once the transport has taken the frame.
    #[must_use]
    pub const fn without_reply(mut self) -> Self {
        self.wants_reply = false;
        self
    }
}
