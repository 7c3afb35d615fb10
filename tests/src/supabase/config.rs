//! What a scripted server does unless a test says otherwise: what the real one was seen to do.

use std::time::Duration;

use rejoin_core::{Payload, Text};

use crate::supabase_script::EPOCH;

/// Configuration of a [`SupabasePeer`](super::SupabasePeer). The defaults are the real server's
/// (specification, section 9.4 and Appendix C).
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// The wall clock at the virtual time zero, as time since 1970; default [`EPOCH`], when
    /// scripts begin too. Tokens are checked against it.
    pub unix_epoch: Duration,
    /// How long an upgrade is left waiting before it is refused; default 2 s.
    pub upgrade_delay: Duration,
    /// How long a join is left waiting before it is refused; default 5 s. The socket waits with it.
    pub refusal_delay: Duration,
    /// How long a join that succeeds takes; default 2 ms. The socket waits with it.
    pub join_time: Duration,
    /// How long after a join changes of the database begin to flow; default 3 s, a cold start.
    pub postgres_delay: Duration,
    /// How long the client may be silent before it is closed with 1000; default 60 s.
    pub idle_timeout: Duration,
    /// Channels of one socket; default 100.
    pub max_channels: usize,
    /// Joins a second, averaged over a minute; default 100. The real server counts those of all
    /// sockets of a project, this one those of one socket.
    pub joins_per_second: usize,
    /// Messages a second in both directions, averaged over a minute; default 100, counted likewise.
    pub messages_per_second: usize,
    /// The largest payload of a broadcast, in bytes; default 3 000 500.
    pub payload_bytes: usize,
    /// The largest frame, in bytes; default 5 000 000. A larger one cuts the connection.
    pub frame_bytes: usize,
    /// Whether public channels are refused.
    pub private_only: bool,
    /// What a role may do on a private channel, given its topic without `realtime:`; default
    /// [`Access::recorded`].
    pub access: fn(role: &str, topic: &str) -> Access,
    /// What a role may do with the presence of a private channel, likewise; default
    /// [`Access::recorded_presence`].
    pub presence_access: fn(role: &str, topic: &str) -> Access,
    /// Presence calls of a channel in a window; default 5.
    pub presence_calls: usize,
    /// The window, from its first call on; default 30 s.
    pub presence_window: Duration,
    /// When those who join with presence are told who is there; default with the join.
    pub presence_state: PresenceState,
    /// Whether the first `track` on a channel without presence brings the state, as on servers
    /// newer than 2.129.8 (section 7.1); default no.
    pub state_on_track: bool,
    /// What can be replayed, oldest first.
    pub stored: Vec<Stored>,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            unix_epoch: EPOCH,
            upgrade_delay: Duration::from_secs(2),
            refusal_delay: Duration::from_secs(5),
            join_time: Duration::from_millis(2),
            postgres_delay: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(60),
            max_channels: 100,
            joins_per_second: 100,
            messages_per_second: 100,
            payload_bytes: 3_000_500,
            frame_bytes: 5_000_000,
            private_only: false,
            access: Access::recorded,
            presence_access: Access::recorded_presence,
            presence_calls: 5,
            presence_window: Duration::from_secs(30),
            presence_state: PresenceState::Joined,
            state_on_track: false,
            stored: Vec::new(),
        }
    }
}

/// What the policies of a project permit on a private channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Not even to join.
    Nothing,
    /// To join and to listen.
    Read,
    /// To broadcast, too.
    Write,
}

impl Access {
    /// The policies of the recorded project, and a read-only topic that it lacked: who is
    /// authenticated writes `priv:rw…` and `priv:bc…` and reads `priv:ro…`. The service role may do
    /// everything.
    #[must_use]
    pub fn recorded(role: &str, topic: &str) -> Self {
        match role {
            "service_role" => Self::Write,
            "authenticated" if topic.starts_with("priv:rw") || topic.starts_with("priv:bc") => Self::Write,
            "authenticated" if topic.starts_with("priv:ro") => Self::Read,
            _ => Self::Nothing,
        }
    }

    /// The same, but for `priv:bc…`, whose policies are about broadcasts only.
    #[must_use]
    pub fn recorded_presence(role: &str, topic: &str) -> Self {
        if topic.starts_with("priv:bc") { Self::Nothing } else { Self::recorded(role, topic) }
    }
}

/// When a `presence_state` is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceState {
    /// Right behind the answer to the join.
    Joined,
    /// So long after it.
    Late(Duration),
    /// Right behind it, and so long after it again (trap T96).
    Twice(Duration),
    /// Never: broken.
    Never,
}

/// A message that was stored and can be replayed.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The topic, without `realtime:`.
    pub topic: String,
    /// The user's name of the event.
    pub event: Text,
    /// JSON or bytes.
    pub payload: Payload,
    /// Its id; the real server's are UUIDs.
    pub id: String,
    /// When it was stored, in milliseconds since 1970.
    pub at_unix_ms: i64,
}
