//! Who should be shown as present, by a model that is as simple as can be: connections, each with
//! the key under which it is listed.

use std::collections::BTreeMap;

use rejoin_core::Payload;
use rejoin_core::phoenix::{Meta, Presence, PresenceChange};
use serde_json::Value;

/// Whom the recorded server says to be in a channel.
#[derive(Debug, Default)]
pub(super) struct Room {
    shown: Shown,
    /// Whether the state of the present join has come.
    synced: bool,
    waiting: Vec<Payload>,
}

/// Keys and refs, with what each connection says about itself.
type Shown = BTreeMap<(String, String), Value>;

impl Room {
    /// The channel is joined anew: diffs wait until the state comes.
    pub(super) fn joined(&mut self) {
        (self.synced, self.waiting) = (false, Vec::new());
    }

    pub(super) fn state(&mut self, name: &str, payload: &Payload) -> Vec<String> {
        let before = std::mem::replace(&mut self.shown, listed(&payload.parse().unwrap_or_default()));
        self.synced = true;
        for waiting in std::mem::take(&mut self.waiting) {
            self.apply(&waiting);
        }
        changes(name, &before, &self.shown)
    }

    pub(super) fn diff(&mut self, name: &str, payload: &Payload) -> Vec<String> {
        if !self.synced {
            self.waiting.push(payload.clone());
            return Vec::new();
        }
        let before = self.shown.clone();
        self.apply(payload);
        changes(name, &before, &self.shown)
    }

    /// Everybody who is shown.
    pub(super) fn members(&self, name: &str) -> String {
        let refs: Vec<_> = self.shown.keys().map(|(key, phx_ref)| format!("{key} {phx_ref}")).collect();
        format!("{name} shows {refs:?}")
    }

    fn apply(&mut self, payload: &Payload) {
        let diff: Value = payload.parse().unwrap_or_default();
        self.shown.extend(listed(&diff["joins"]));
        for gone in listed(&diff["leaves"]).keys() {
            self.shown.remove(gone);
        }
    }
}

/// Everybody whom a session shows, in the words of the model.
pub(super) fn members_line(name: &str, presence: &Presence) -> String {
    let of_key = |(key, metas): (&str, &[Meta])| metas.iter().map(|meta| format!("{key} {}", meta.phx_ref)).collect();
    let mut refs: Vec<String> = presence.iter().flat_map::<Vec<_>, _>(of_key).collect();
    refs.sort_unstable();
    format!("{name} shows {refs:?}")
}

/// What a session reports, in the words of the model.
pub(super) fn presence_line(name: &str, change: &PresenceChange) -> String {
    let value = |meta: &Meta| meta.parse::<Value>().unwrap_or_default();
    let refs = |metas: &[Meta]| sorted(metas.iter().map(|meta| meta.phx_ref.to_string()));
    let values = |metas: &[Meta]| sorted(metas.iter().map(|meta| value(meta).to_string()));
    match change {
        PresenceChange::Join { key, current, joined } => joined_line(name, key, &refs(current), &values(joined)),
        PresenceChange::Update { key, old, new } => updated_line(name, key, &value(old), &value(new)),
        PresenceChange::Leave { key, current, left } => left_line(name, key, &refs(current), &values(left)),
        PresenceChange::Sync => format!("{name} is in sync"),
        other => format!("{name} {other:?}"),
    }
}

/// Joins, updates, leaves and the end of them, each in the order of the keys.
fn changes(name: &str, before: &Shown, after: &Shown) -> Vec<String> {
    let without = |some: &Shown, others: &Shown| -> Shown {
        some.iter().filter(|(at, _)| !others.contains_key(*at)).map(|(at, meta)| (at.clone(), meta.clone())).collect()
    };
    let (mut came, mut gone) = (without(after, before), without(before, after));
    let mut updates = Vec::new();
    came.retain(|(key, _), meta| {
        let previous = meta["phx_ref_prev"].as_str().map(|phx_ref| (key.clone(), phx_ref.to_owned()));
        let Some(old) = previous.and_then(|previous| gone.remove(&previous)) else { return true };
        updates.push(updated_line(name, key, &old, meta));
        false
    });
    let joins = keys(&came).map(|key| joined_line(name, key, &refs(before, key), &values(&came, key)));
    let leaves = keys(&gone).map(|key| left_line(name, key, &refs(after, key), &values(&gone, key)));
    joins.chain(updates).chain(leaves).chain([format!("{name} is in sync")]).collect()
}

fn listed(state: &Value) -> Shown {
    let metas = |(key, presence): (&String, &Value)| {
        let metas = presence["metas"].as_array().cloned().unwrap_or_default();
        let key = key.clone();
        metas.into_iter().map(move |meta| ((key.clone(), meta["phx_ref"].as_str().unwrap_or_default().into()), meta))
    };
    state.as_object().into_iter().flatten().flat_map(metas).collect()
}

fn keys(shown: &Shown) -> impl Iterator<Item = &String> {
    let mut keys: Vec<_> = shown.keys().map(|(key, _)| key).collect();
    keys.dedup();
    keys.into_iter()
}

fn refs(shown: &Shown, key: &str) -> Vec<String> {
    sorted(shown.keys().filter(|(of, _)| of == key).map(|(_, phx_ref)| phx_ref.clone()))
}

fn values(shown: &Shown, key: &str) -> Vec<String> {
    sorted(shown.iter().filter(|((of, _), _)| of == key).map(|(_, meta)| meta.to_string()))
}

fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut texts: Vec<_> = texts.collect();
    texts.sort_unstable();
    texts
}

fn joined_line(name: &str, key: &str, before: &[String], joined: &[String]) -> String {
    format!("{name} join {key}: {joined:?} besides {before:?}")
}

fn updated_line(name: &str, key: &str, old: &Value, new: &Value) -> String {
    format!("{name} update {key}: {new} instead of {old}")
}

fn left_line(name: &str, key: &str, after: &[String], left: &[String]) -> String {
    format!("{name} leave {key}: {left:?}, still {after:?}")
}
