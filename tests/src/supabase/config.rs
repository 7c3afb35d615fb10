//! What a scripted server does unless a test says otherwise: what the real one was seen to do.

use std::time::Duration;

use rejoin_core::{Payload, Text};

use super::rest::Rest;
use crate::supabase_script::EPOCH;

/// Configuration of a [`SupabasePeer`](super::SupabasePeer). The defaults are the real server's
/// (specification, section 9.4 and Appendix C).
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// The wall clock at the virtual time zero, as time since 1970; default [`EPOCH`], when
    /// scripts begin too. Tokens are checked against it.
    pub unix_epoch: Duration,
    /// What upgrades are answered; default what they deserve.
    pub upgrades: Upgrades,
    /// How long an upgrade is left waiting before it is refused; default 2 s.
    pub upgrade_delay: Duration,
    /// Whether heartbeats are answered; default yes.
    pub answers_heartbeats: bool,
    /// What joins are answered; default what they deserve.
    pub joins: Joins,
    /// How long a join is left waiting before it is refused; default 5 s. The socket waits with it.
    pub refusal_delay: Duration,
    /// How long a join that succeeds takes; default 2 ms. The socket waits with it.
    pub join_time: Duration,
    /// How long after a join, and after each new token, changes of the database begin to flow;
    /// default 300 ms. The real server was seen to take 2 ms, and 3 s from a cold start.
    pub postgres_delay: Duration,
    /// Whether they do; default they do.
    pub readiness: Readiness,
    /// Whether a join that says so is answered only then, as on servers newer than 2.129.8
    /// (section 4.5); default no.
    pub honours_wait: bool,
    /// How a join's answer repeats what was asked for; default as it came.
    pub echo: Echo,
    /// Tables, each with its schema, whose changes are published; default empty: whatever is asked for.
    pub tables: Vec<(String, String)>,
    /// The largest row that is told in full, in bytes; default 1 MiB.
    pub row_bytes: usize,
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
    /// Whether clients that want to hear themselves do; default yes. A server that does not is broken.
    pub returns_broadcasts: bool,
    /// Whether clients may have broadcasts stored, as on servers newer than 2.129.8 (section 6.1);
    /// default no: the wish is ignored.
    pub persists: bool,
    /// Whether the server listens to its database, which channels may ask for; default yes.
    pub replication: bool,
    /// What requests over HTTP are answered; default what they deserve.
    pub rest: Rest,
    /// What can be replayed, besides what is stored later.
    pub stored: Vec<Stored>,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            unix_epoch: EPOCH,
            upgrades: Upgrades::Checked,
            answers_heartbeats: true,
            joins: Joins::Decided,
            upgrade_delay: Duration::from_secs(2),
            refusal_delay: Duration::from_secs(5),
            join_time: Duration::from_millis(2),
            postgres_delay: Duration::from_millis(300),
            readiness: Readiness::Ready,
            honours_wait: false,
            echo: Echo::Exact,
            tables: Vec::new(),
            row_bytes: 1 << 20,
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
            returns_broadcasts: true,
            persists: false,
            replication: true,
            rest: Rest::Works,
            stored: Vec::new(),
        }
    }
}

/// What upgrades are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrades {
    /// What they deserve.
    Checked,
    /// This status, with the words that go with it.
    Refused(u16),
    /// Nothing, for ever.
    Unanswered,
}

/// What joins are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joins {
    /// What they deserve.
    Decided,
    /// That they are refused, for this reason.
    Refused(String),
    /// Nothing, for ever.
    Unanswered,
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
        match role {
            "authenticated" if topic.starts_with("priv:bc") => Self::Nothing,
            _ => Self::recorded(role, topic),
        }
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

/// What comes of a subscription to changes of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They flow after [`PeerConfig::postgres_delay`], unless there is something wrong with them.
    Ready,
    /// They flow at once, and the client hears so before its join is answered (trap T40).
    Early,
    /// They never flow, and nobody says so: broken.
    Never,
    /// This error comes instead.
    Failing(String),
}

/// How the answer to a join repeats what was asked for (traps T35 to T38 and T47).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// As it came.
    Exact,
    /// With null for what was not asked for.
    Nulls,
    /// Without schemas and tables that are `*`.
    NoStars,
    /// With events in capitals.
    UpperCase,
    /// Without the selected columns, as old servers do.
    NoSelect,
    /// The last first.
    Reversed,
    /// With another schema: broken.
    OtherSchema,
    /// Without the last: broken.
    Fewer,
    /// Not at all, as by a server that knows nothing of databases.
    Absent,
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
