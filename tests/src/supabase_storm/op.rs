//! What can happen to a Supabase session.

use std::cell::RefCell;
use std::time::Duration;

use rejoin_core::http::HttpError;
use rejoin_core::phoenix::{ChannelId, Push};
use rejoin_core::supabase::{AccessToken, Broadcast, HttpBroadcast, Persist};
use rejoin_core::{Machine, Payload, Timestamp};
use serde_json::json;

use super::crowd::Deed;
use super::oracle::Oracle;
use super::order::Order;
use super::room::{Change, Room, TOPICS};
use crate::rng::Rng;
use crate::supabase::{HttpAnswer, Lab, Rest};
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
        /// Whether it goes over HTTP while the channel cannot send.
        fallback: Option<bool>,
        /// Whether it is sent again.
        resend: bool,
    },
    /// `push` of an event that the server does not know.
    Push {
        /// In which of the channels.
        nth: u8,
        /// Whether it wants a reply.
        reply: bool,
    },
    /// `track`, or `untrack`.
    Track {
        /// In which of the channels with presence, if there are any.
        nth: u8,
        /// What, or nothing.
        wish: Option<u8>,
        /// How often in a row, each time something else.
        times: u8,
    },
    /// `http_broadcast`, or `http_broadcast_batch`.
    Http {
        /// To which topic.
        topic: &'static str,
        /// Whether it is to be stored.
        persist: bool,
        /// How many at a time; 0 is one alone.
        batch: u8,
    },
    /// Requests over HTTP fare so from now on.
    Web(Web),
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
    /// Another client does.
    Crowd(Deed),
    /// A row comes, changes or goes.
    Change(Change),
    /// The database sends a broadcast, and stores it.
    Send {
        /// To which topic, which is private.
        topic: &'static str,
    },
}

/// How requests over HTTP fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Web {
    /// As they deserve.
    Works,
    /// They do not arrive.
    Unreachable,
    /// They break off.
    Broken,
    /// Nobody answers in time.
    Silent,
    /// Something else answers.
    Page,
    /// There are too many.
    TooMany,
    /// Single ones are unknown.
    Old,
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

/// Enough for an answer.
const BETWEEN_WISHES: Duration = Duration::from_millis(60);

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
            32..40 => Self::Broadcast {
                nth,
                ack: rng.pick(&[None, Some(true), Some(false)]),
                binary: rng.chance(200),
                fallback: rng.pick(&[None, None, Some(true), Some(false)]),
                resend: rng.chance(300),
            },
            40..43 => Self::Push { nth, reply: rng.chance(700) },
            43..48 if rng.chance(250) => Self::Web(Web::random(rng)),
            43..48 => Self::Http { topic: rng.pick(&TOPICS), persist: rng.chance(200), batch: rng.below(4) as u8 },
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
            82..88 => Self::Server(Order::random(rng)),
            88..93 => Self::Crowd(Deed::random(rng)),
            93..95 => Self::Change(Change::random(rng)),
            95 => Self::Send { topic: rng.pick(&TOPICS) },
            _ => {
                let wish = rng.chance(750).then(|| rng.below(100) as u8);
                Self::Track { nth, wish, times: rng.pick(&[1, 1, 1, 8]) }
            }
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
            Self::Broadcast { nth, ack, binary, fallback, resend } => {
                let Some(id) = nth_channel(lab, *nth) else { return };
                let payload = if *binary { Payload::binary(vec![1, 2, 255].into()) } else { Payload::EMPTY };
                let mut broadcast = Broadcast::new("e", payload);
                (broadcast.ack, broadcast.http_fallback) = (*ack, *fallback);
                broadcast.resend_on_reconnect = *resend;
                if let Ok(push) = lab.client.broadcast(now, id, broadcast) {
                    lab.watch.pushes(push, ack.unwrap_or(lab.watch.room(id).ack), *resend);
                }
            }
            Self::Push { nth, reply } => {
                let Some(id) = nth_channel(lab, *nth) else { return };
                let push = Push::new("anything", Payload::EMPTY);
                if let Ok(push) = lab.client.push(now, id, if *reply { push } else { push.without_reply() }) {
                    lab.watch.pushes(push, *reply, false);
                }
            }
            Self::Track { nth, wish, times } => {
                let present = lab.client.channels().map(|(id, ..)| id).filter(|id| lab.watch.room(*id).presence);
                let present: Vec<_> = present.collect();
                let wanted = present.get(usize::from(*nth) % present.len().max(1)).copied();
                let Some(id) = wanted.or_else(|| nth_channel(lab, *nth)) else { return };
                for more in 0..*times {
                    track(lab, id, wish.map(|n| n.wrapping_add(more)));
                    lab.with(|_, _| ());
                    if more + 1 < *times {
                        lab.advance(BETWEEN_WISHES);
                    }
                }
            }
            Self::Http { topic, persist, batch } => {
                let broadcast = |n: u8| {
                    let broadcast = HttpBroadcast::new(*topic, "e", payload(json!({ "n": n })));
                    if topic.contains("priv") { broadcast.private() } else { broadcast }
                };
                let asked = match batch {
                    0 if *persist => lab.client.http_broadcast(now, broadcast(0).persist(Persist::Default)),
                    0 => lab.client.http_broadcast(now, broadcast(0)),
                    batch => {
                        let broadcasts: Vec<_> = (0..*batch).map(broadcast).collect();
                        lab.client.http_broadcast_batch(now, &broadcasts)
                    }
                };
                if let Ok(push) = asked {
                    lab.watch.asks_over_http(push);
                }
            }
            Self::Web(web) => web.apply(lab),
            Self::Cancel => {
                if let Some(push) = lab.watch.last_push() {
                    lab.watch.cancels(push);
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
                lab.watch.wall(now, wall, *ahead_s == 0);
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
            Self::Crowd(deed) => deed.apply(lab),
            Self::Change(change) => {
                let row = lab.watch.changes(*change);
                lab.change(&change.of_row(row));
            }
            Self::Send { topic } => {
                let n = lab.watch.stores(topic);
                lab.send(topic.trim_start_matches("realtime:"), true, "stored", payload(json!({ "n": n })));
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

impl Web {
    fn random(rng: &mut Rng) -> Self {
        rng.pick(&[
            Self::Works,
            Self::Works,
            Self::Unreachable,
            Self::Broken,
            Self::Silent,
            Self::Page,
            Self::TooMany,
            Self::Old,
        ])
    }

    fn apply(self, lab: &mut Lab<Oracle>) {
        lab.web.failure = match self {
            Self::Unreachable => Some(HttpError::Unreachable("no route".into())),
            Self::Broken => Some(HttpError::Broken("reset".into())),
            _ => None,
        };
        lab.project.config.rest = match self {
            Self::Silent => Rest::Silent,
            Self::Page => Rest::Answers(HttpAnswer::html(200)),
            Self::TooMany => Rest::Answers(HttpAnswer::too_many(Some(3))),
            Self::Old => Rest::Old,
            Self::Works | Self::Unreachable | Self::Broken => Rest::Works,
        };
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

fn expires_in_s(rng: &mut Rng) -> u32 {
    rng.pick(&[0, 3, 15, 40, 120, 3_600])
}

/// A token that was not there before and expires so soon by the server's clock.
fn token_at(now: Timestamp, expires_in_s: u32) -> AccessToken {
    let now = now.saturating_since(Timestamp::ZERO);
    let generation = u32::try_from(now.as_millis()).unwrap_or_default();
    token(now + Duration::from_secs(expires_in_s.into()), generation.wrapping_add(2_000))
}

fn track(lab: &mut Lab<Oracle>, id: ChannelId, wish: Option<u8>) {
    let wished = match wish {
        Some(n) => lab.client.track(lab.now, id, lab.watch.meta(id, n)),
        None => lab.client.untrack(lab.now, id),
    };
    match wished {
        Ok(push) => lab.watch.wishes(push, id, wish),
        Err(error) => lab.watch.refuses_wish(id, &error),
    }
}

fn payload(json: serde_json::Value) -> Payload {
    Payload::json(&json).unwrap_or_default()
}

fn nth_channel(lab: &Lab<Oracle>, nth: u8) -> Option<ChannelId> {
    lab.client.channels().nth(nth.into()).map(|(id, ..)| id)
}
