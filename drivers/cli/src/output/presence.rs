//! Who is there, comes and goes, as every output shows it.

use rejoin_core::phoenix::{Meta, PresenceChange};
use rejoin_pump::supabase::Member;

use super::object::{Object, one_line};
use super::words::{plural, shown};

/// The name of a change's line.
pub(super) const fn event(change: &PresenceChange) -> &'static str {
    match change {
        PresenceChange::Join { .. } => "presence_join",
        PresenceChange::Update { .. } => "presence_update",
        PresenceChange::Leave { .. } => "presence_leave",
        // `PresenceChange` may grow; what is new there has to get a name here.
        _ => "presence_sync",
    }
}

/// The key, with the metas that make the change, and those before a join or behind a leave.
pub(super) fn change_json(change: &PresenceChange, object: &mut Object<'_>) {
    let parts = match change {
        PresenceChange::Join { key, current, joined: metas } | PresenceChange::Leave { key, current, left: metas } => {
            object.string("key", key);
            [("metas", array(metas.iter().map(json))), ("current", array(current.iter().map(json)))]
        }
        PresenceChange::Update { key, old, new } => {
            object.string("key", key);
            [("old", json(old)), ("new", json(new))]
        }
        _ => return,
    };
    for (name, json) in parts {
        object.raw(name, &json);
    }
}

pub(super) fn change_text(change: &PresenceChange) -> String {
    match change {
        PresenceChange::Join { key, joined: metas, .. } | PresenceChange::Leave { key, left: metas, .. } => {
            metas.iter().fold(key.to_string(), |text, meta| text + " " + &shown(&meta.payload))
        }
        PresenceChange::Update { key, old, new } => format!("{key} {} → {}", shown(&old.payload), shown(&new.payload)),
        _ => String::new(),
    }
}

/// Everybody who is there.
pub(super) fn members_json(members: &[Member], object: &mut Object<'_>) {
    let member = |member: &Member| {
        let key = serde_json::Value::from(member.key.as_str());
        format!("{{\"key\":{key},\"metas\":{}}}", array(member.metas.iter().map(json)))
    };
    object.raw("members", &array(members.iter().map(member)));
}

pub(super) fn members_text(members: &[Member]) -> String {
    let keys: Vec<&str> = members.iter().map(|member| member.key.as_str()).collect();
    format!("{}: {}", plural(members.len() as u64, "member", "members"), keys.join(", "))
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// Metas have been read, so they are JSON.
fn json(meta: &Meta) -> String {
    meta.payload.as_json().map(one_line).unwrap_or_default().into_owned()
}
