//! What can happen to a Supabase session.

use std::cell::RefCell;
use std::time::Duration;

use rejoin_core::phoenix::{ChannelId, Push};
use rejoin_core::supabase::{AccessToken, Broadcast, ChannelConfig, RejoinPolicy};
use rejoin_core::{Machine, Payload, Timestamp};
use serde_json::json;

use super::oracle::Oracle;
use crate::rng::Rng;
use crate::supabase::{Body, Broadcast as Spread, Lab, SupabasePeer};
use crate::supabase_script::{EPOCH, token};
use crate::weather::Dial;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// `connect`.
    Connect,
    /// `disconnect`.
    Disconnect,
    /// `reconnect`.
    Reconnect,
    /// `probe`.
    Probe,
    /// `subscribe`.
    Subscribe(Room),
    /// `unsubscribe` of one of the channels there are.
    Unsubscribe {
        /// Which.
        nth: u8,
    },
    /// `remove_all`.
    RemoveAll,
    /// `broadcast`.
    Broadcast {
        /// In which of the channels.
        nth: u8,
        /// Whether it wants to be acknowledged.
        ack: Option<bool>,
        /// Bytes instead of JSON.
        binary: bool,
    },
    /// `push` of a presence event.
    Push {
        /// In which of the channels.
        nth: u8,
        /// Whether it wants a reply.
        reply: bool,
    },
    /// `cancel` of the last push.
    Cancel,
    /// `set_auth` with a token that expires so soon; 0 is one that has.
    SetAuth {
        /// In how many seconds.
        expires_in_s: u32,
    },
    /// `set_channel_auth`, `None` for the session's token.
    SetChannelAuth {
        /// Of which of the channels.
        nth: u8,
        /// In how many seconds it expires.
        expires_in_s: Option<u32>,
    },
    /// `clear_auth`.
    ClearAuth,
    /// `refresh_auth`.
    RefreshAuth,
    /// From now on the provider answers so, and takes so long.
    Provides {
        /// What.
        provider: Provider,
        /// How long it takes; more than ten seconds is too long.
        delay_ms: u16,
    },
    /// `set_wall_clock` with a clock that is ahead of the server's.
    WallClock {
        /// By how much.
        ahead_s: i32,
    },
    /// The connection ends, and both ends hear of it, or neither.
    Cut {
        /// Whether they do.
        notice: bool,
    },
    /// Attempts to connect fare so from now on.
    Dial(Dial),
    /// The next upgrades are refused by the server.
    RefuseUpgrades {
        /// With this status.
        status: u16,
        /// How many.
        times: u8,
    },
    /// The server does something.
    Server(Order),
}

/// How a channel is subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Which topic.
    pub topic: &'static str,
    /// Whether it is private.
    pub private: bool,
    /// Whether it is joined without a token.
    pub anonymous: bool,
    /// Whether broadcasts are acknowledged.
    pub ack: bool,
    /// What follows when the server closes it.
    pub rejoin: RejoinPolicy,
}

/// What the client's token provider answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// A new token that expires so soon.
    Fresh {
        /// In how many seconds.
        expires_in_s: u32,
    },
    /// One token that is always the same.
    Same,
    /// One that has expired, unless the clock was turned back.
    Expired,
    /// No token.
    Fails,
    /// That nobody is signed in.
    SignedOut,
    /// The token of fair weather.
    Lasting,
}

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
    /// Says something in a `system` message.
    System(&'static str, &'static str),
}

const TOPICS: [&str; 6] =
    ["realtime:a", "realtime:b", "realtime:priv:rw:1", "realtime:priv:rw:2", "realtime:priv:ro:1", "realtime:closed"];

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

impl Op {
    /// How long nothing happens before one, in milliseconds.
    pub(super) fn pause(rng: &mut Rng) -> u32 {
        match rng.below(10) {
            0..5 => 0,
            5..8 => rng.below(300) as u32,
            8 => rng.below(5_000) as u32,
            _ => rng.below(70_000) as u32,
        }
    }

    /// Any of them.
    pub fn random(rng: &mut Rng) -> Self {
        let nth = rng.below(8) as u8;
        match rng.below(100) {
            0..3 => Self::Connect,
            3 => Self::Disconnect,
            4 | 5 => Self::Reconnect,
            6..9 => Self::Probe,
            9..26 => Self::Subscribe(Room::random(rng)),
            26..31 => Self::Unsubscribe { nth },
            31 => Self::RemoveAll,
            32..42 => Self::Broadcast { nth, ack: rng.pick(&[None, Some(true), Some(false)]), binary: rng.chance(200) },
            42..48 => Self::Push { nth, reply: rng.chance(700) },
            48 => Self::Cancel,
            49..55 => Self::SetAuth { expires_in_s: expires_in_s(rng) },
            55..58 => Self::SetChannelAuth { nth, expires_in_s: rng.chance(700).then(|| expires_in_s(rng)) },
            58 => Self::ClearAuth,
            59..62 => Self::RefreshAuth,
            62..70 => {
                Self::Provides { provider: Provider::random(rng), delay_ms: rng.pick(&[0, 0, 300, 4_000, 15_000]) }
            }
            70..73 => Self::WallClock { ahead_s: rng.pick(&[-4_000, -20, 0, 0, 15, 90, 4_000]) },
            73..76 => Self::Cut { notice: rng.chance(600) },
            76..80 => Self::Dial(if rng.chance(600) { Dial::Accept } else { Dial::random(rng) }),
            80 | 81 => {
                Self::RefuseUpgrades { status: rng.pick(&[401, 403, 404, 429, 500, 503]), times: rng.below(3) as u8 }
            }
            _ => Self::Server(Order::random(rng)),
        }
    }

    pub(super) fn apply(&self, lab: &mut Lab<Oracle>, provider: &RefCell<Provider>) {
        let now = lab.now;
        match self {
            Self::Connect => lab.client.connect(now),
            Self::Disconnect => lab.client.disconnect(now),
            Self::Reconnect => lab.client.reconnect(now),
            Self::Probe => lab.client.probe(now),
            Self::Subscribe(room) => {
                if let Ok(id) = lab.client.subscribe(now, room.topic, &room.config()) {
                    lab.watch.subscribes(id, *room);
                }
            }
            Self::Unsubscribe { nth } => {
                if let Some(id) = nth_channel(lab, *nth) {
                    // It may be leaving already.
                    let _ = lab.client.unsubscribe(now, id);
                }
            }
            Self::RemoveAll => lab.client.remove_all(now),
            Self::Broadcast { nth, ack, binary } => {
                let Some(id) = nth_channel(lab, *nth) else { return };
                let payload = if *binary { Payload::binary(vec![1, 2, 255].into()) } else { Payload::EMPTY };
                let mut broadcast = Broadcast::new("e", payload);
                broadcast.ack = *ack;
                if let Ok(push) = lab.client.broadcast(now, id, broadcast) {
                    lab.watch.pushes(push, ack.unwrap_or(lab.watch.room(id).ack));
                }
            }
            Self::Push { nth, reply } => {
                let Some(id) = nth_channel(lab, *nth) else { return };
                let push = Push::new("anything", Payload::EMPTY);
                if let Ok(push) = lab.client.push(now, id, if *reply { push } else { push.without_reply() }) {
                    lab.watch.pushes(push, *reply);
                }
            }
            Self::Cancel => {
                if let Some(push) = lab.watch.last_push() {
                    lab.client.cancel(push);
                }
            }
            Self::SetAuth { expires_in_s } => {
                let token = token_at(now, *expires_in_s);
                if lab.client.set_auth(now, token).is_ok() {
                    lab.watch.signs_in();
                }
            }
            Self::SetChannelAuth { nth, expires_in_s } => {
                let Some(id) = nth_channel(lab, *nth) else { return };
                // One that has expired is refused.
                let _ = lab.client.set_channel_auth(now, id, expires_in_s.map(|s| token_at(now, s)));
            }
            Self::ClearAuth => {
                lab.watch.signs_out();
                lab.client.clear_auth(now);
            }
            Self::RefreshAuth => lab.client.refresh_auth(now),
            Self::WallClock { ahead_s } => {
                let server = EPOCH + now.saturating_since(Timestamp::ZERO);
                let ahead = Duration::from_secs(ahead_s.unsigned_abs().into());
                let wall = if *ahead_s < 0 { server - ahead } else { server + ahead };
                lab.watch.wall(now, wall);
                lab.client.set_wall_clock(now, wall);
            }
            Self::Provides { provider: next, delay_ms } => {
                *provider.borrow_mut() = *next;
                lab.provider_delay = Duration::from_millis((*delay_ms).into());
            }
            Self::Cut { notice: true } => lab.cut(),
            Self::Cut { notice: false } => lab.cut_silently(),
            Self::Dial(dial) => lab.dialling(*dial),
            Self::RefuseUpgrades { status, times } => {
                lab.project.refuse_upgrades(*status, "not now", (*times).into());
            }
            Self::Server(order) => {
                if let Some(conn) = lab.client.connection() {
                    lab.project.with_peer(now, conn, |peer, now| order.apply(peer, now));
                }
            }
        }
        // Lets what follows at once happen.
        lab.with(|_, _| ());
    }
}

impl Room {
    fn random(rng: &mut Rng) -> Self {
        let topic = rng.pick(&TOPICS);
        Self {
            topic,
            private: topic.contains("priv") || rng.chance(150),
            anonymous: rng.chance(100),
            ack: rng.chance(500),
            rejoin: rng.pick(&[RejoinPolicy::OnRetryableReason, RejoinPolicy::Always, RejoinPolicy::Never]),
        }
    }

    fn config(self) -> ChannelConfig {
        let mut config = ChannelConfig::default().rejoin(self.rejoin);
        (config.private, config.anonymous, config.broadcast.ack) = (self.private, self.anonymous, self.ack);
        config
    }
}

impl Provider {
    fn random(rng: &mut Rng) -> Self {
        match rng.below(10) {
            0..5 => Self::Fresh { expires_in_s: expires_in_s(rng) },
            5 | 6 => Self::Same,
            7 => Self::Expired,
            8 => Self::Fails,
            _ => Self::SignedOut,
        }
    }
}

impl Order {
    fn random(rng: &mut Rng) -> Self {
        let topic = rng.pick(&TOPICS);
        match rng.below(12) {
            0..3 => Self::Refuse(topic, rng.pick(&REASONS), 1 + rng.below(2) as u8),
            3..5 => Self::ShutDown(topic, rng.pick(&MESSAGES)),
            5 => Self::Close(topic),
            6 => Self::Crash(topic),
            7 => rng.pick(&[Self::Forget, Self::Disconnect, Self::Drain]),
            8 | 9 => Self::Broadcast(topic),
            _ => Self::System(topic, rng.pick(&["ok", "error"])),
        }
    }

    fn apply(self, peer: &mut SupabasePeer, now: Timestamp) {
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
        }
    }
}

fn expires_in_s(rng: &mut Rng) -> u32 {
    rng.pick(&[0, 3, 15, 40, 120, 3_600])
}

/// A token that was not there before and expires so soon by the server's clock.
fn token_at(now: Timestamp, expires_in_s: u32) -> AccessToken {
    let now = now.saturating_since(Timestamp::ZERO);
    let generation = u32::try_from(now.as_millis()).unwrap_or_default();
    token(now + Duration::from_secs(expires_in_s.into()), generation.wrapping_add(2_000))
}

fn nth_channel(lab: &Lab<Oracle>, nth: u8) -> Option<ChannelId> {
    lab.client.channels().nth(nth.into()).map(|(id, ..)| id)
}
