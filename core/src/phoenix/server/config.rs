//! What a server session can be told: its limits, its timers, and what happens beyond them.

use core::time::Duration;

use super::rate_limit::RateLimit;
use crate::wire::Serializer;

/// A good [`ServerConfig::auth_timeout`] for hosts that authenticate after the upgrade: 10 s.
pub const AUTH_TIMEOUT: Duration = Duration::from_secs(10);

/// What a frame that waits for the transport counts beside its content: its place in the queue, 128 B.
pub const PLACE_BYTES: usize = 128;

/// Configuration of a [`ServerSession`](super::ServerSession). Start from [`ServerConfig::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerConfig {
    /// How messages are written, from the `vsn` of the upgrade; see [`serializer_of`](crate::phoenix::serializer_of).
    pub serializer: Serializer,
    /// How long the client may be silent; default 60 s, `None` is for ever. Only its frames count.
    pub idle_timeout: Option<Duration>,
    /// The code that a silent client is closed with; default 1002, as Bandit, Phoenix's default
    /// server, does. Servers on Cowboy say 1000 (Appendix C), which some clients take for a farewell.
    pub idle_code: u16,
    /// How long a close frame may stay unanswered; default 2 s.
    pub close_timeout: Duration,
    /// How long the host may take to call [`authenticate`](super::ServerSession::authenticate), after
    /// which the client is closed with 1008. Until then its frames are held, not delivered. Default
    /// `None`: whoever was let in by the upgrade is authenticated. [`AUTH_TIMEOUT`] is a good choice.
    pub auth_timeout: Option<Duration>,
    /// Frames that are held for a client that is not authenticated yet; default 32. One more closes it
    /// with 1008.
    pub held_frames: usize,
    /// Bytes of them; default 64 KiB. One more closes it with 1008.
    pub held_bytes: usize,
    /// How long before its token expires a client's [`ServerEvent::Expiring`](super::ServerEvent::Expiring)
    /// comes; default 30 s.
    pub expiry_warning: Duration,
    /// Channels of one socket, joins that the host has not answered included; default 100, as in
    /// Phoenix 1.8.9 and later.
    pub channels: usize,
    /// The longest topic that may be joined, in bytes; default 255, which is what a binary frame can
    /// say. Joins of longer ones are refused with `topic too long`, and everything else about them is
    /// about an unmatched topic.
    pub topic_bytes: usize,
    /// Joins a second; a join beyond it is refused with `too many joins`. Default `None`: no limit.
    pub joins: Option<RateLimit>,
    /// Pushes a second, of all channels together. A push beyond it is not delivered; one with a ref is
    /// replied `error` with the reason `too many messages`. Heartbeats and leaves are no pushes.
    /// Default `None`: no limit.
    pub messages: Option<RateLimit>,
    /// Bytes a second, of the frames of pushes and joins. What is beyond it ends as with
    /// [`joins`](ServerConfig::joins) and [`messages`](ServerConfig::messages), with the reason `too
    /// many bytes`. A frame larger than the burst is always beyond it. Default `None`: no limit.
    pub bytes: Option<RateLimit>,
    /// The client's largest frame, in bytes; default 16 MiB. A larger one closes it with 1009.
    pub frame_bytes: usize,
    /// Bytes that wait for the transport, each frame counting [`PLACE_BYTES`] more than its content;
    /// default 16 MiB.
    pub outbox_bytes: usize,
    /// What happens to a channel's message that finds no room among them; default
    /// [`OutboxOverflow::Close`]. [`set_overflow`](super::ServerSession::set_overflow) changes it for
    /// one channel.
    pub overflow: OutboxOverflow,
    /// Whether every payload is checked to be JSON before the host sees it (the default), so that
    /// it may be passed on to clients that would choke on it.
    pub check_payloads: bool,
    /// Whether Supabase's binary user broadcasts (section 2.4, kind 3) are understood; default
    /// `false`: to Phoenix they are malformed.
    pub user_broadcasts: bool,
    /// What a malformed frame costs the client; default [`OnMalformed::Close`].
    pub malformed: OnMalformed,
}

impl ServerConfig {
    /// The defaults, with the serializer that the upgrade asked for.
    #[must_use]
    pub const fn new(serializer: Serializer) -> Self {
        Self {
            serializer,
            idle_timeout: Some(Duration::from_secs(60)),
            idle_code: 1002,
            close_timeout: Duration::from_secs(2),
            auth_timeout: None,
            held_frames: 32,
            held_bytes: 64 << 10,
            expiry_warning: Duration::from_secs(30),
            channels: 100,
            topic_bytes: 255,
            joins: None,
            messages: None,
            bytes: None,
            frame_bytes: 16 << 20,
            outbox_bytes: 16 << 20,
            overflow: OutboxOverflow::Close,
            check_payloads: true,
            user_broadcasts: false,
            malformed: OnMalformed::Close,
        }
    }
}

/// What happens to a channel's message that finds no room in the outbox of a client that reads slowly.
///
/// Replies, `phx_close` and `phx_error` are never dropped: for them, and for the messages of channels
/// that say `Close`, the oldest waiting messages of channels that say otherwise give way. Whatever is
/// dropped is counted and told as [`ServerEvent::Dropped`](super::ServerEvent::Dropped). The order of
/// what is left does not change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutboxOverflow {
    /// The client is cut off, as [`EndReason::TooSlow`](super::EndReason::TooSlow) (the default): it
    /// connects again and starts from what is true then, instead of missing something unnoticed.
    #[default]
    Close,
    /// The message is dropped.
    DropNewest,
    /// The oldest waiting messages that may be dropped give way: those of this channel first, then
    /// those of others. A message that finds no room even so is dropped itself.
    DropOldest,
    /// As `DropOldest`; moreover, room or not, a message with a [key](super::SharedFrame::key) takes
    /// the place of the channel's waiting one with the same key.
    Latest,
}

/// What a malformed frame costs the client. [`ServerEvent::Malformed`](super::ServerEvent::Malformed)
/// reports it either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnMalformed {
    /// Its socket, closed with 1011 as Phoenix does (Appendix C).
    #[default]
    Close,
    /// Only that frame, as at Supabase (section 9.5).
    Ignore,
}
