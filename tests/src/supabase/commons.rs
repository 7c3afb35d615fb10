//! What the sockets of a project have in common: who is present, and which broadcasts are stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rejoin_core::{ConnId, Payload, Text};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::broadcasting::{Body, Broadcast};
use super::channel::to_payload;
use super::config::Stored;
use crate::rng::Rng;

/// A handle: clones are of the same project. What is made up here comes from a seed.
#[derive(Clone, Debug)]
pub struct Commons {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    chance: Rng,
    rooms: BTreeMap<Room, Vec<Member>>,
    stored: Vec<Stored>,
}

/// Public and private channels of one topic are strangers.
pub(super) type Room = (String, bool);

/// What a channel has tracked.
#[derive(Clone, Debug)]
struct Member {
    conn: ConnId,
    key: String,
    meta: Meta,
}

#[derive(Clone, Debug, Serialize)]
struct Meta {
    phx_ref: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    phx_ref_prev: Option<String>,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

/// Members that came and went, on their way to every member of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceDiff {
    /// The topic, with `realtime:`.
    pub topic: Text,
    /// Whether it goes to private channels.
    pub private: bool,
    /// `{"joins":…,"leaves":…}`.
    pub payload: Payload,
}

impl Default for Commons {
    fn default() -> Self {
        let shared = Shared { chance: Rng::new(0), rooms: BTreeMap::new(), stored: Vec::new() };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }
}

impl Commons {
    /// What is made up from now on comes from this seed.
    pub fn seed(&self, seed: u64) {
        self.lock().chance = Rng::new(seed);
    }

    /// `realtime.send` of the database, at this time since 1970: gives what is to be delivered to
    /// every socket. What is sent to private channels is stored and can be replayed.
    #[must_use]
    pub fn send(&self, unix: Duration, topic: &str, private: bool, event: &str, payload: Payload) -> Broadcast {
        let id = self.lock().uuid();
        let payload = with_id(payload, &id);
        let event = Text::from(event);
        if private {
            self.keep(unix, topic, event.clone(), payload.clone(), &id);
        }
        let body = Body::User { event, metadata: Some(to_payload(&json!({ "id": id }))), payload };
        Broadcast { topic: format!("realtime:{topic}").into(), private, body }
    }

    /// Stores a broadcast, and gives what its receivers are told of that.
    pub(super) fn store(&self, unix: Duration, topic: &str, event: Text, payload: Payload) -> Payload {
        let id = self.lock().uuid();
        self.keep(unix, topic, event, payload, &id);
        to_payload(&json!({ "id": id }))
    }

    pub(super) fn stored(&self) -> Vec<Stored> {
        self.lock().stored.clone()
    }

    fn keep(&self, unix: Duration, topic: &str, event: Text, payload: Payload, id: &str) {
        let at_unix_ms = i64::try_from(unix.as_millis()).unwrap_or(i64::MAX);
        let stored = Stored { topic: topic.into(), event, payload, id: id.into(), at_unix_ms };
        self.lock().stored.push(stored);
    }

    /// Who is present on the channels of a topic, which is with `realtime:`: the payload of a
    /// `presence_state`.
    #[must_use]
    pub fn present(&self, topic: &str, private: bool) -> Payload {
        let shared = self.lock();
        listed(shared.rooms.get(&(topic.into(), private)).into_iter().flatten())
    }

    /// A key for whoever brings none: a UUID.
    pub(super) fn key(&self) -> String {
        self.lock().uuid()
    }

    /// Makes the channel of a socket present under a key, or changes what is known of it. `None`
    /// if nothing changes.
    pub(super) fn track(
        &self,
        room: &Room,
        conn: ConnId,
        key: &str,
        fields: Map<String, Value>,
    ) -> Option<PresenceDiff> {
        let mut shared = self.lock();
        let phx_ref = shared.phx_ref();
        let members = shared.rooms.entry(room.clone()).or_default();
        let old = members.iter().position(|member| member.conn == conn);
        if old.is_some_and(|at| members[at].meta.fields == fields) {
            return None;
        }
        let old = old.map(|at| members.remove(at));
        let phx_ref_prev = old.as_ref().map(|old| old.meta.phx_ref.clone());
        let member = Member { conn, key: key.into(), meta: Meta { phx_ref, phx_ref_prev, fields } };
        members.push(member.clone());
        Some(diff(room, Some(&member), old.as_ref()))
    }

    /// The channel of a socket is present no more. `None` if it was not.
    pub(super) fn untrack(&self, room: &Room, conn: ConnId) -> Option<PresenceDiff> {
        let mut shared = self.lock();
        let members = shared.rooms.get_mut(room)?;
        let at = members.iter().position(|member| member.conn == conn)?;
        let gone = members.remove(at);
        Some(diff(room, None, Some(&gone)))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn phx_ref(&mut self) -> String {
        let bytes: Vec<u8> = (0..12).map(|_| self.chance.number() as u8).collect();
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn uuid(&mut self) -> String {
        let (high, low) = (self.chance.number(), self.chance.number());
        let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xfff);
        format!("{a:08x}-{b:04x}-4{c:03x}-{:04x}-{:012x}", low >> 50 | 0x8000, low & 0xffff_ffff_ffff)
    }
}

/// As the database puts it into objects that have none.
fn with_id(payload: Payload, id: &str) -> Payload {
    let Ok(Value::Object(mut fields)) = payload.parse() else { return payload };
    fields.entry("id").or_insert_with(|| id.into());
    to_payload(&fields.into())
}

/// One key may be there several times: each channel has its own entry.
fn listed<'a>(members: impl IntoIterator<Item = &'a Member>) -> Payload {
    Payload::json(&by_key(members)).unwrap_or_default()
}

fn by_key<'a>(members: impl IntoIterator<Item = &'a Member>) -> BTreeMap<&'a str, Metas<'a>> {
    let mut keys = BTreeMap::<&str, Metas<'_>>::new();
    for member in members {
        keys.entry(&member.key).or_default().metas.push(&member.meta);
    }
    keys
}

#[derive(Default, Serialize)]
struct Metas<'a> {
    metas: Vec<&'a Meta>,
}

fn diff(room: &Room, joined: Option<&Member>, left: Option<&Member>) -> PresenceDiff {
    #[derive(Serialize)]
    struct Diff<'a> {
        joins: BTreeMap<&'a str, Metas<'a>>,
        leaves: BTreeMap<&'a str, Metas<'a>>,
    }
    let payload = Payload::json(&Diff { joins: by_key(joined), leaves: by_key(left) }).unwrap_or_default();
    PresenceDiff { topic: room.0.as_str().into(), private: room.1, payload }
}
