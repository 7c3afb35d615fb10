//! What must hold of presence, of database changes and of stored broadcasts.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_core::phoenix::{ChannelId, Meta, Presence, PresenceChange, PushId, PushOutcome};
use rejoin_core::supabase::{Bindings, BroadcastMeta, ChannelState, Event, PostgresChange, PostgresFailure, Session};
use rejoin_core::{Payload, Text};
use serde_json::{Value, json};

use super::room::{Change, Interest, Room};
use crate::supabase::{Access, Commons};
use crate::weather::Climate;

/// The most that a server replays at a time.
const REPLAYED: usize = 25;

/// What is known of channels that do more than broadcast, from outside.
#[derive(Debug)]
pub(super) struct Extras {
    climate: Climate,
    channels: BTreeMap<ChannelId, Log>,
    /// The rows that came, changed or went, by their ids.
    changes: Vec<Change>,
    /// What was stored, by topic.
    stored: BTreeMap<&'static str, Vec<u32>>,
    /// Whether the client was ever told a wrong time, by which it asks for the wrong past.
    misled: bool,
    /// What the next event has to be, if anything in particular; only a gap may come before it.
    due: Option<(ChannelId, Due)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Ready { missed: bool },
    Failed,
    Change,
}

#[derive(Debug)]
struct Log {
    room: Room,
    serial: usize,
    joined: bool,
    flow: Flow,
    missed: bool,
    /// Whom the events have shown: the refs of each key.
    shown: Shown,
    changes: BTreeSet<u32>,
    heard: BTreeSet<Text>,
    stored: BTreeSet<u32>,
    wish: Wish,
}

type Shown = BTreeMap<String, BTreeSet<String>>;

/// What a server has said of database changes since the last join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Untold,
    Flowing,
    Failed,
}

/// What a channel wants to be shown as.
#[derive(Debug, Default)]
struct Wish {
    n: Option<u8>,
    push: Option<PushId>,
    known: bool,
    /// It was cancelled, so that nobody hears what became of it.
    unsure: bool,
}

impl Extras {
    pub(super) const fn new(climate: Climate) -> Self {
        Self {
            climate,
            channels: BTreeMap::new(),
            changes: Vec::new(),
            stored: BTreeMap::new(),
            misled: false,
            due: None,
        }
    }

    pub(super) fn subscribes(&mut self, id: ChannelId, room: Room) {
        let log = Log {
            room,
            serial: self.channels.len(),
            joined: false,
            flow: Flow::Untold,
            missed: false,
            shown: Shown::new(),
            changes: BTreeSet::new(),
            heard: BTreeSet::new(),
            stored: BTreeSet::new(),
            wish: Wish::default(),
        };
        self.channels.insert(id, log);
    }

    /// What a channel tracks: no two the same.
    pub(super) fn meta(&self, id: ChannelId, n: u8) -> Payload {
        Payload::json(&json!({ "me": self.channels[&id].serial, "n": n })).unwrap_or_default()
    }

    pub(super) fn wishes(&mut self, push: PushId, id: ChannelId, n: Option<u8>) {
        if let Some(log) = self.channels.get_mut(&id) {
            log.wish = Wish { n, push: Some(push), ..Wish::default() };
        }
    }

    pub(super) fn cancels(&mut self, push: PushId) {
        for log in self.channels.values_mut().filter(|log| log.wish.push == Some(push) && !log.wish.known) {
            log.wish.unsure = true;
        }
    }

    /// Who is not shown, or waits for that, on channels that are not joined.
    pub(super) fn waits(&self, push: PushId) -> bool {
        self.channels.values().any(|log| log.wish.push == Some(push) && !log.joined)
    }

    /// The id of the row.
    pub(super) fn changes(&mut self, change: Change) -> u32 {
        self.changes.push(change);
        (self.changes.len() - 1) as u32
    }

    /// The number of a broadcast that the database stores.
    pub(super) fn stores(&mut self, topic: &'static str) -> u32 {
        let n = self.stored.values().map(Vec::len).sum::<usize>() as u32;
        self.stored.entry(topic).or_default().push(n);
        n
    }

    pub(super) const fn is_misled(&mut self) {
        self.misled = true;
    }

    /// A push is over that may be a wish.
    pub(super) fn done(&mut self, push: PushId, outcome: &PushOutcome) -> Result<(), String> {
        let Some(log) = self.channels.values_mut().find(|log| log.wish.push == Some(push)) else { return Ok(()) };
        match outcome {
            PushOutcome::Ok(_) | PushOutcome::TimedOut => log.wish.known = true,
            PushOutcome::Error(response) => {
                log.wish.n = None;
                let forgotten = response.as_json().is_some_and(|json| json.contains("unmatched topic"));
                if forgotten && self.climate == Climate::Lawful {
                    return Err(format!("{push:?} is taken back because the server forgot the channel"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What is wrong with an event.
    pub(super) fn reports(&mut self, event: &Event) -> Result<(), String> {
        if !matches!(event, Event::Gap { .. }) {
            self.is_due(event)?;
        }
        let lawful = self.climate == Climate::Lawful;
        let Some((id, log)) = channel_of(event).and_then(|id| Some((id, self.channels.get_mut(&id)?))) else {
            return Ok(());
        };
        match event {
            Event::Subscribed { .. } => {
                log.joined = true;
                if log.flow == Flow::Flowing {
                    self.due = Some((id, log.ready()));
                }
            }
            Event::SubscribeFailed { .. } => log.flow = Flow::Untold,
            Event::ChannelErrored { .. } => log.lost(),
            Event::ChannelClosed { .. } => {
                (log.joined, log.flow, log.wish) = (false, Flow::Untold, Wish::default());
            }
            Event::System { message, .. } if message.extension == "postgres_changes" => {
                self.due = log.told(message.ok).map(|due| (id, due));
            }
            Event::PostgresFailed { failure: PostgresFailure::TimedOut, .. } => {
                if !log.joined || log.flow != Flow::Untold {
                    return Err(format!("{event:?} while {:?}", log.flow));
                }
                log.flow = Flow::Failed;
            }
            Event::PostgresChange { bindings, change, .. } => {
                return log.changed(&self.changes, lawful, bindings, change);
            }
            Event::Presence { change, .. } => return log.counts(change),
            Event::PresenceTrouble { trouble, .. } if lawful => return Err(format!("{trouble}")),
            Event::Broadcast { meta, event, payload, .. } => return log.hears(event, meta.as_ref(), payload),
            _ => {}
        }
        Ok(())
    }

    fn is_due(&mut self, event: &Event) -> Result<(), String> {
        let told = match event {
            Event::PostgresReady { channel, missed_since } => {
                Some((*channel, Due::Ready { missed: missed_since.is_some() }))
            }
            Event::PostgresFailed { channel, failure: PostgresFailure::Refused { .. } } => {
                Some((*channel, Due::Failed))
            }
            Event::PostgresChange { channel, .. } if self.due == Some((*channel, Due::Change)) => self.due,
            _ => None,
        };
        let due = match (self.due.take(), told) {
            // A change proves that changes flow, of which nobody has said so.
            (None, Some((id, Due::Ready { .. }))) => {
                self.due = Some((id, Due::Change));
                self.channels.get_mut(&id).and_then(|log| log.told(true)).map(|due| (id, due))
            }
            (due, _) => due,
        };
        if due == told { Ok(()) } else { Err(format!("{event:?}, where {due:?} was due")) }
    }

    /// Whether a client shows whom its events have told of.
    pub(super) fn compare(&self, client: &Session) -> Result<(), String> {
        for (id, log) in &self.channels {
            let Some(presence) = client.presence(*id) else { continue };
            let shown = shown(presence);
            if shown != log.shown {
                return Err(format!("S8: {} shows {shown:?}, and its events told of {:?}", log.room.topic, log.shown));
            }
        }
        Ok(())
    }

    /// L3: in fair weather every channel shows what the server does, and the server what the channel
    /// wants; who wants changes and stored broadcasts has them.
    pub(super) fn settled(&self, client: &Session, commons: &Commons) -> Vec<String> {
        let joined = |(id, _): &(&ChannelId, &Log)| client.channel_state(**id) == Some(ChannelState::Joined);
        let wrong = self.channels.iter().filter(joined).flat_map(|(id, log)| {
            let nothing = BTreeMap::new();
            let wrong = log.misses(client, *id, commons, if self.misled { &nothing } else { &self.stored });
            wrong.into_iter().map(move |what| format!("L3: {} {what}, by {log:?}", log.room.topic))
        });
        wrong.collect()
    }

    /// Channels that were not told of this change, of which they should have been.
    pub(super) fn unaware(&self, row: u32) -> Vec<&'static str> {
        let wants = |log: &&Log| log.joined && !log.room.interest.places(self.changes[row as usize]).is_empty();
        self.channels
            .values()
            .filter(wants)
            .filter(|log| !log.changes.contains(&row))
            .map(|log| log.room.topic)
            .collect()
    }
}

impl Log {
    /// It is no longer joined, and the server has forgotten it.
    fn lost(&mut self) {
        if std::mem::take(&mut self.joined) {
            self.missed |= self.flow == Flow::Flowing;
            if self.wish.known && !self.room.retrack {
                self.wish.n = None;
            }
        }
        (self.flow, self.wish.known) = (Flow::Untold, self.wish.known && self.room.retrack);
    }

    /// The server says whether changes flow.
    fn told(&mut self, ok: bool) -> Option<Due> {
        if self.room.interest == Interest::Nothing {
            return None;
        }
        let flow = if ok { Flow::Flowing } else { Flow::Failed };
        let before = std::mem::replace(&mut self.flow, flow);
        if !ok {
            self.missed |= before == Flow::Flowing;
            return Some(Due::Failed);
        }
        (self.joined && before != Flow::Flowing).then(|| self.ready())
    }

    fn ready(&mut self) -> Due {
        Due::Ready { missed: std::mem::take(&mut self.missed) }
    }

    /// A change is for the bindings that it matches, and told once.
    fn changed(
        &mut self,
        changes: &[Change],
        lawful: bool,
        bindings: &Bindings,
        change: &PostgresChange,
    ) -> Result<(), String> {
        let places: Vec<_> = bindings.iter().collect();
        if !places.is_empty() && std::mem::replace(&mut self.flow, Flow::Flowing) != Flow::Flowing && self.joined {
            return Err("a change comes before changes flow".into());
        }
        if !lawful {
            let known = self.room.config().postgres_changes.len();
            let wrong = places.iter().any(|place| *place >= known);
            return if wrong { Err(format!("a change for {places:?} of {known} bindings")) } else { Ok(()) };
        }
        let record = change.record::<Value>().ok().flatten().or_else(|| change.old_record::<Value>().ok().flatten());
        let row = record.and_then(|record| record["id"].as_u64()).ok_or("a change of no row")?;
        let expected = changes.get(row as usize).map(|change| self.room.interest.places(*change));
        if expected.as_ref() != Some(&places) || !self.changes.insert(row as u32) {
            return Err(format!("row {row} is told to {places:?} of {:?}, not to {expected:?}, or twice", self.room));
        }
        Ok(())
    }

    /// The events tell of the difference, whatever the server says.
    fn counts(&mut self, change: &PresenceChange) -> Result<(), String> {
        let (key, before, after) = match change {
            PresenceChange::Join { key, current, joined } => {
                let before = self.shown.get(key.as_str()).cloned().unwrap_or_default();
                let known = self.shown.entry(key.to_string()).or_default();
                known.extend(refs(joined));
                (key, before, refs(current))
            }
            PresenceChange::Update { key, old, new } => {
                let known = self.shown.entry(key.to_string()).or_default();
                let was_there = known.remove(old.phx_ref.as_str());
                known.insert(new.phx_ref.to_string());
                return if was_there { Ok(()) } else { Err(format!("{key} was not {} before", old.phx_ref)) };
            }
            PresenceChange::Leave { key, current, left } => {
                let left = refs(left);
                let known = self.shown.entry(key.to_string()).or_default();
                known.retain(|phx_ref| !left.contains(phx_ref));
                let after = known.clone();
                if after.is_empty() {
                    self.shown.remove(key.as_str());
                }
                (key, after, refs(current))
            }
            _ => return Ok(()),
        };
        if before == after { Ok(()) } else { Err(format!("S8: {key} is {before:?}, and {change:?} says {after:?}")) }
    }

    /// What is stored is heard once, however often it is replayed (trap T57).
    fn hears(&mut self, event: &Text, meta: Option<&Payload>, payload: &Payload) -> Result<(), String> {
        let Some(id) = meta.and_then(|meta| BroadcastMeta::of(meta).id).filter(|_| self.room.replay) else {
            return Ok(());
        };
        if event == "stored" {
            let payload: Value = payload.parse().unwrap_or_default();
            self.stored.extend(payload["n"].as_u64().and_then(|n| u32::try_from(n).ok()));
        }
        if self.heard.insert(id.clone()) { Ok(()) } else { Err(format!("T57: {id} is heard twice")) }
    }

    /// What is not as it should be in fair weather.
    fn misses(
        &self,
        client: &Session,
        id: ChannelId,
        commons: &Commons,
        stored: &BTreeMap<&'static str, Vec<u32>>,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.room.interest != Interest::Nothing && self.flow == Flow::Untold {
            wrong.push("does not know whether changes flow".into());
        }
        if let Some(presence) = client.presence(id) {
            let state: Value = commons.present(self.room.topic, self.room.private).parse().unwrap_or_default();
            let metas = |key: &String| state[key]["metas"].as_array().cloned().unwrap_or_default();
            let refs_of = |key: &String| {
                let refs = metas(key).into_iter().filter_map(|meta| Some(meta["phx_ref"].as_str()?.to_owned()));
                (key.clone(), refs.collect())
            };
            let keys: Vec<&String> = state.as_object().into_iter().flat_map(|keys| keys.keys()).collect();
            let (theirs, ours) = (keys.iter().map(|key| refs_of(key)).collect::<Shown>(), shown(presence));
            if ours != theirs {
                wrong.push(format!("shows {ours:?}, and the server {theirs:?}"));
            }
            let own = keys.iter().flat_map(|key| metas(key)).filter(|meta| !meta["me"].is_null());
            let own: Vec<Value> = own.map(|meta| json!([meta["me"], meta["n"]])).collect();
            // Where it may not be present, it is refused, sooner or later.
            let name = self.room.topic.trim_start_matches("realtime:");
            let may = !self.room.private || Access::recorded_presence("authenticated", name) == Access::Write;
            let wanted: Vec<Value> = self.wish.n.iter().filter(|_| may).map(|n| json!([self.serial, n])).collect();
            if own != wanted && !self.wish.unsure {
                wrong.push(format!("is shown as {own:?} instead of {wanted:?}"));
            }
        }
        let sent = stored.get(self.room.topic).map(Vec::as_slice).unwrap_or_default();
        if self.room.replay && sent.len() <= REPLAYED {
            let missing: Vec<_> = sent.iter().filter(|n| !self.stored.contains(n)).collect();
            if !missing.is_empty() {
                wrong.push(format!("misses the stored broadcasts {missing:?} of {sent:?}"));
            }
        }
        wrong
    }
}

fn refs(metas: &[Meta]) -> BTreeSet<String> {
    metas.iter().map(|meta| meta.phx_ref.to_string()).collect()
}

fn shown(presence: &Presence) -> Shown {
    presence.iter().map(|(key, metas)| (key.to_owned(), refs(metas))).collect()
}

fn channel_of(event: &Event) -> Option<ChannelId> {
    match event {
        Event::Subscribed { channel, .. }
        | Event::SubscribeFailed { channel, .. }
        | Event::ChannelErrored { channel, .. }
        | Event::ChannelClosed { channel, .. }
        | Event::System { channel, .. }
        | Event::PostgresReady { channel, .. }
        | Event::PostgresFailed { channel, .. }
        | Event::PostgresChange { channel, .. }
        | Event::Presence { channel, .. }
        | Event::PresenceTrouble { channel, .. }
        | Event::Broadcast { channel, .. } => Some(*channel),
        _ => None,
    }
}
