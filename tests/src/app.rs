//! The application behind the simulated servers: who may join, what a push gets.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_core::phoenix::{JoinId, ServerChannelId, ServerEvent, ServerSession, Status};
use rejoin_core::{Machine, Payload, Timestamp};
use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// What happens to joins of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// They are accepted.
    Accept,
    /// They are refused.
    Refuse,
    /// They are never answered.
    Ignore,
    /// They are accepted after a while.
    Slow {
        /// After how long.
        ms: u16,
    },
}

impl Policy {
    /// Any of them.
    pub fn random(rng: &mut Rng) -> Self {
        match rng.below(6) {
            0 | 1 => Self::Accept,
            2 | 3 => Self::Refuse,
            4 => Self::Ignore,
            _ => Self::Slow { ms: rng.below(20_000) as u16 },
        }
    }
}

/// What all servers of a world have in common.
#[derive(Debug, Default)]
pub(crate) struct App {
    pub(crate) policies: BTreeMap<String, Policy>,
    /// The serial numbers of the pushes that arrived.
    pub(crate) seen: BTreeSet<u64>,
    pub(crate) seen_twice: BTreeSet<u64>,
    broadcasts: u64,
}

/// One accepted socket.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) session: ServerSession,
    pub(crate) channels: BTreeMap<String, ServerChannelId>,
    slow: Vec<(Timestamp, String, JoinId)>,
    pub(crate) ended: bool,
    pub(crate) malformed: bool,
}

impl Server {
    pub(crate) const fn new(session: ServerSession) -> Self {
        Self { session, channels: BTreeMap::new(), slow: Vec::new(), ended: false, malformed: false }
    }

    pub(crate) fn next_answer(&self) -> Option<Timestamp> {
        self.slow.iter().map(|(at, ..)| *at).min()
    }

    /// Answers the joins whose time has come.
    pub(crate) fn answer_slow(&mut self, now: Timestamp) {
        for (at, topic, join) in std::mem::take(&mut self.slow) {
            if at <= now {
                self.accept(now, topic, join);
            } else {
                self.slow.push((at, topic, join));
            }
        }
    }

    fn accept(&mut self, now: Timestamp, topic: String, join: JoinId) {
        if let Ok(id) = self.session.accept_join(now, join, Payload::EMPTY) {
            self.channels.insert(topic, id);
        }
    }
}

impl App {
    /// Does what the application does about everything a server reports; what is wrong about it.
    pub(crate) fn react(&mut self, now: Timestamp, server: &mut Server) -> Result<(), String> {
        while let Some(event) = server.session.poll_event() {
            if server.ended {
                return Err(format!("S3: a server reports {event:?} after Ended"));
            }
            match event {
                ServerEvent::Join { join, topic, .. } => self.join(now, server, topic.to_string(), join),
                ServerEvent::Push { channel, event, payload, reply } => {
                    let topic = server.session.topic(channel).map(ToString::to_string);
                    let Some(topic) = topic.filter(|topic| server.channels.get(topic) == Some(&channel)) else {
                        // The channel may be gone by now; its pushes were queued before its Left.
                        continue;
                    };
                    if let Some(serial) = serial_of(&payload)
                        && !self.seen.insert(serial)
                    {
                        self.seen_twice.insert(serial);
                    }
                    // What cannot be written (bytes under vsn 1) or has no channel any more is nobody's loss.
                    let _unsent = match &*event {
                        "echo" => server.session.reply(now, reply, Status::Ok, payload),
                        "fail" => server.session.reply(now, reply, Status::Error, payload),
                        "odd" => server.session.reply(now, reply, Status::Other("odd".into()), payload),
                        "shout" => {
                            let _unsent = server.session.push(now, channel, "shout", payload);
                            server.session.reply(now, reply, Status::Ok, Payload::EMPTY)
                        }
                        "crash" | "stop" => {
                            server.channels.remove(&topic);
                            let _gone = server.session.close_channel(now, channel, &*event == "crash");
                            Ok(())
                        }
                        _ => Ok(()),
                    };
                }
                ServerEvent::Left { channel } => server.channels.retain(|_, id| *id != channel),
                ServerEvent::Malformed { .. } => server.malformed = true,
                ServerEvent::Ended { .. } => server.ended = true,
                other => return Err(format!("a server event that the world does not know: {other:?}")),
            }
        }
        Ok(())
    }

    fn join(&self, now: Timestamp, server: &mut Server, topic: String, join: JoinId) {
        match self.policies.get(&topic).copied().unwrap_or(Policy::Accept) {
            Policy::Accept => server.accept(now, topic, join),
            Policy::Refuse => {
                let reason = Payload::from_json_text(r#"{"reason":"refused"}"#).unwrap_or_default();
                let _gone = server.session.refuse_join(now, join, reason);
            }
            Policy::Ignore => {}
            Policy::Slow { ms } => {
                server.slow.push((Timestamp::from_nanos(now.as_nanos() + u64::from(ms) * 1_000_000), topic, join));
            }
        }
    }

    /// A numbered message to one channel.
    pub(crate) fn broadcast(&mut self, now: Timestamp, server: &mut Server, topic: &str, binary: bool) {
        if let Some(id) = server.channels.get(topic) {
            self.broadcasts += 1;
            let binary = binary && server.session.serializer() == rejoin_core::wire::Serializer::V2;
            let _gone = server.session.push(now, *id, "news", numbered(self.broadcasts, binary));
        }
    }
}

/// A payload that carries a number.
pub(crate) fn numbered(number: u64, binary: bool) -> Payload {
    if binary {
        Payload::binary(number.to_be_bytes().to_vec().into())
    } else {
        Payload::json(&serde_json::json!({ "n": number })).unwrap_or_default()
    }
}

/// The number that a payload carries.
pub(crate) fn serial_of(payload: &Payload) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        n: u64,
    }
    if payload.is_binary() {
        return payload.as_bytes().try_into().ok().map(u64::from_be_bytes);
    }
    Some(payload.parse::<Numbered>().ok()?.n)
}
