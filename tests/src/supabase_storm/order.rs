//! What the server of a storm does of its own, and what none would.

use rejoin_core::{Payload, Timestamp};
use serde_json::json;

use super::room::TOPICS;
use crate::rng::Rng;
use crate::supabase::{Body, Broadcast as Spread, SupabasePeer};

/// What the server does of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Refuses joins of a topic.
    Refuse(&'static str, &'static str, u8),
    /// Refuses nothing any more but what it always does.
    Relent,
    /// Closes a channel with a `system` message.
    ShutDown(&'static str, &'static str),
    /// Closes a channel without a word.
    Close(&'static str),
    /// `phx_error`.
    Crash(&'static str),
    /// Forgets all channels.
    Forget,
    /// Closes the socket with a word on every channel.
    Disconnect,
    /// Closes the socket.
    Drain,
    /// Broadcasts.
    Broadcast(&'static str),
    /// Says something in a `system` message about database changes.
    System(&'static str, &'static str),
    /// Says what no server should say: so many of the list below. In hostile weather only.
    Lie(&'static str, u8),
}

/// One of each class, and one that nobody knows.
const REASONS: [&str; 7] = [
    "Unauthorized: You do not have permissions to read from this Channel topic: a",
    "InvalidJWTToken: Token has expired 3 seconds ago",
    "ConnectionRateLimitReached: Too many connected users",
    "ChannelRateLimitReached: Too many channels",
    "RealtimeDisabledForTenant: Realtime was disabled for this tenant",
    "RealtimeRestarting: Realtime is restarting, please standby",
    "Something: new",
];

const MESSAGES: [&str; 5] = [
    "Token has expired 0 seconds ago",
    "Too many messages per second",
    "Track message size exceeded",
    "Too many database timeouts",
    "something new",
];

/// What is not, or not all, what its event says.
const LIES: [(&str, &str); 22] = [
    ("presence_state", "[]"),
    ("presence_state", r#"{"k":{"metas":[]},"__proto__":{"metas":[{"phx_ref":""}]},"":{"metas":[{"phx_ref":"a"}]}}"#),
    ("presence_state", r#"{"k":{"metas":[{"phx_ref":"a"},{"phx_ref":"a"},{"phx_ref":"b","phx_ref_prev":"b"}]}}"#),
    ("presence_state", r#"{"k":{"metas":[{"n":1}]}}"#),
    ("presence_diff", "null"),
    ("presence_diff", r#"{"joins":{"k":{"metas":[{"phx_ref":"a"}]}},"leaves":{"k":{"metas":[{"phx_ref":"a"}]}}}"#),
    ("presence_diff", r#"{"joins":{"k":{"metas":[{"phx_ref":"c","phx_ref_prev":"a"}]}}}"#),
    ("presence_diff", r#"{"leaves":{"nobody":{"metas":[{"phx_ref":"z"}]}}}"#),
    ("presence_diff", r#"{"joins":{"k":{"metas":{"phx_ref":"a"}}},"leaves":7}"#),
    ("postgres_changes", "{}"),
    ("postgres_changes", r#"{"ids":[1],"data":{}}"#),
    ("postgres_changes", r#"{"ids":[],"data":{"type":"INSERT","schema":"public","table":"todos"}}"#),
    ("postgres_changes", r#"{"ids":[18446744073709551615,-1,"x"],"data":{"type":"DELETE","table":"notes"}}"#),
    ("postgres_changes", r#"{"data":{"type":"TRUNCATE","schema":"public","table":"todos","record":null},"ids":[1]}"#),
    ("INSERT", r#"{"type":"INSERT","schema":"public","table":"todos","record":{"id":1}}"#),
    ("DELETE", "7"),
    ("system", r#"{"extension":"postgres_changes"}"#),
    ("system", r#"{"extension":"postgres_changes","status":"ok","message":7}"#),
    ("broadcast", r#"{"event":"e","payload":{},"meta":{"id":"same","replayed":true}}"#),
    ("broadcast", r#"{"event":"e","payload":{},"meta":{"id":7,"replayed":"no"}}"#),
    ("broadcast", r#"{"event":"e","meta":[]}"#),
    ("broadcast", r#"{"event":"e","payload":{},"meta":null}"#),
];

impl Order {
    pub(super) fn random(rng: &mut Rng) -> Self {
        let topic = rng.pick(&TOPICS);
        match rng.below(15) {
            0..3 => Self::Refuse(topic, rng.pick(&REASONS), 1 + rng.below(2) as u8),
            3..5 => Self::ShutDown(topic, rng.pick(&MESSAGES)),
            5 => Self::Close(topic),
            6 => Self::Crash(topic),
            7 => rng.pick(&[Self::Forget, Self::Disconnect, Self::Drain]),
            8 | 9 => Self::Broadcast(topic),
            10 | 11 => Self::System(topic, rng.pick(&["ok", "error"])),
            _ => Self::Lie(topic, rng.below(LIES.len() as u64) as u8),
        }
    }

    pub(super) fn apply(self, peer: &mut SupabasePeer, now: Timestamp) {
        match self {
            Self::Refuse(topic, reason, times) => peer.refuse(topic, reason, times.into()),
            Self::Relent => TOPICS.iter().for_each(|topic| peer.refuse(topic, "", 0)),
            Self::ShutDown(topic, message) => peer.shut_down(now, topic, message),
            Self::Close(topic) => peer.close_channel(now, topic),
            Self::Crash(topic) => peer.crash(now, topic),
            Self::Forget => peer.drop_channels(now),
            Self::Disconnect => peer.disconnect(now),
            Self::Drain => peer.drain(now),
            Self::Broadcast(topic) => {
                for private in [false, true] {
                    let body = Body::User { event: "news".into(), metadata: None, payload: Payload::EMPTY };
                    peer.deliver(now, Spread { topic: topic.into(), private, body });
                }
            }
            Self::System(topic, status) => {
                let system = json!({"extension": "postgres_changes", "status": status, "message": "said"});
                if let Ok(system) = Payload::json(&system) {
                    peer.push(now, topic, "system", system, true);
                }
            }
            Self::Lie(topic, nth) => {
                if let Some((event, payload)) = LIES.get(usize::from(nth)) {
                    peer.push(now, topic, event, Payload::from_json_text(*payload).unwrap_or_default(), true);
                }
            }
        }
    }
}
