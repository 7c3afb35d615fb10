//! What one line says, whatever its form and whichever dialect it comes from.

use std::time::{Duration, SystemTime};

use rejoin_core::phoenix::PresenceChange;
use rejoin_core::supabase::SystemMessage;
use rejoin_core::{Payload, PayloadError, TransportKind};
use rejoin_pump::supabase::Member;

use super::row_change::RowChange;
use super::words::plural;

/// Something that happened, as every output shows it. Fields that do not apply are absent.
#[derive(Debug, Default)]
pub(crate) struct Line<'a> {
    pub(crate) event: &'static str,
    /// As it stands on the wire.
    pub(crate) topic: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) payload: Option<&'a Payload>,
    /// What the server adds to a broadcast.
    pub(crate) meta: Option<&'a Payload>,
    /// What makes a line of a kind of its own.
    pub(crate) detail: Option<Detail<'a>>,
    /// What the server says about a channel.
    pub(crate) system: Option<&'a SystemMessage>,
    pub(crate) reason: Option<String>,
    /// What a refusal means for the next attempt.
    pub(crate) class: Option<&'static str>,
    /// What the next attempt goes over.
    pub(crate) transport: Option<TransportKind>,
    /// Of a refused upgrade.
    pub(crate) http_status: Option<u16>,
    /// What the user can do about it.
    pub(crate) advice: Option<&'static str>,
    pub(crate) again: Option<bool>,
    pub(crate) retry: Option<Retry>,
    pub(crate) rtt: Option<Duration>,
    /// What came between these two times is lost.
    pub(crate) gap: Option<(SystemTime, SystemTime)>,
    /// Since when something may be missing that is never told.
    pub(crate) missed_since: Option<SystemTime>,
    pub(crate) expires_at: Option<SystemTime>,
}

/// What only one kind of lines has.
#[derive(Debug)]
pub(crate) enum Detail<'a> {
    Row(Box<RowChange>),
    Presence(&'a PresenceChange),
    Members(&'a [Member]),
}

/// When something that came to nothing is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    In(Duration),
    OnConnection,
    OnToken,
    Never,
}

impl Line<'_> {
    /// Messages were dropped, which `Block` rules out.
    pub(crate) fn missed(missed: u64) -> Self {
        Self {
            event: "malformed",
            reason: Some(format!("{} missed", plural(missed, "message was", "messages were"))),
            ..Self::default()
        }
    }

    pub(super) fn gave_up(attempts: u32) -> Self {
        Self {
            event: "gave_up",
            reason: Some(format!("{} failed", plural(attempts.into(), "attempt", "attempts in a row"))),
            ..Self::default()
        }
    }

    /// Events may grow; what is new there has to get a place here.
    pub(super) fn unknown(event: &impl std::fmt::Debug) -> Self {
        Self { event: "malformed", reason: Some(format!("unknown to this program: {event:?}")), ..Self::default() }
    }

    /// One whose JSON is none is `malformed`.
    pub(super) fn checked(self) -> Self {
        let parts = [("payload", self.payload), ("metadata", self.meta)];
        let error = parts.into_iter().find_map(|(part, json)| Some((part, json_error(json?)?)));
        let Some((part, error)) = error else { return self };
        let reason = Some(format!("the {part} is not JSON: {error}"));
        Self { event: "malformed", payload: None, meta: None, reason, ..self }
    }
}

/// What is wrong with a payload that should be JSON; bytes are fine.
pub(crate) fn json_error(payload: &Payload) -> Option<String> {
    match payload.parse::<&serde_json::value::RawValue>() {
        Ok(_) | Err(PayloadError::Binary) => None,
        Err(PayloadError::Json(what)) => Some(what),
        Err(other) => Some(other.to_string()),
    }
}
