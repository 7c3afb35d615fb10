//! The lines of Supabase's events: the same names and fields where they mean the same.

use std::time::Duration;

use rejoin_core::phoenix::LossReason;
use rejoin_core::supabase::{HeartbeatStatus, RefusalClass, SubscribeFailure, UpgradeRefusal};
use rejoin_pump::supabase::{ChannelEvent, ConnectionEvent, RetryIn};

use super::line::{Detail, Line, Retry};
use super::presence;
use super::row_change::RowChange;

impl<'a> Line<'a> {
    /// What happened on a Supabase channel. A message whose payload is not JSON is `malformed`.
    pub(crate) fn of_supabase_channel(topic: &'a str, event: &'a ChannelEvent) -> Self {
        let line = match event {
            ChannelEvent::Subscribed { again } => Self { event: "joined", again: Some(*again), ..Self::default() },
            ChannelEvent::SubscribeFailed { failure, retry } => {
                let line = Self { event: "join_failed", retry: Some((*retry).into()), ..Self::default() };
                line.because(failure)
            }
            ChannelEvent::Errored { trouble, retry } => {
                let reason = Some(trouble.to_string());
                Self { event: "channel_errored", reason, retry: Some((*retry).into()), ..Self::default() }
            }
            ChannelEvent::Gap { since, until } => Self { event: "gap", gap: Some((*since, *until)), ..Self::default() },
            ChannelEvent::Broadcast { event, payload, meta } => {
                let (name, payload, meta) = (Some(event.as_str()), Some(payload), meta.as_ref());
                Self { event: "broadcast", name, payload, meta, ..Self::default() }
            }
            ChannelEvent::PostgresReady { missed_since } => {
                Self { event: "postgres_ready", missed_since: *missed_since, ..Self::default() }
            }
            ChannelEvent::PostgresFailed { failure } => {
                Self { event: "postgres_failed", reason: Some(failure.to_string()), ..Self::default() }
            }
            ChannelEvent::PostgresChange { bindings, change } => match RowChange::read(change, bindings) {
                Ok(row) => {
                    Self { event: "postgres_change", detail: Some(Detail::Row(Box::new(row))), ..Self::default() }
                }
                Err(error) => {
                    let reason = Some(format!("the row cannot be read: {error}"));
                    Self { event: "malformed", name: Some(change.kind().as_str()), reason, ..Self::default() }
                }
            },
            ChannelEvent::Presence(change) => {
                Self { event: presence::event(change), detail: Some(Detail::Presence(change)), ..Self::default() }
            }
            ChannelEvent::PresenceState { members } => {
                Self { event: "presence_sync", detail: Some(Detail::Members(members)), ..Self::default() }
            }
            ChannelEvent::PresenceTrouble(trouble) => {
                Self { event: "presence_trouble", reason: Some(trouble.to_string()), ..Self::default() }
            }
            ChannelEvent::FellBackToHttp => Self { event: "fell_back_to_http", ..Self::default() },
            ChannelEvent::System(message) => Self { event: "system", system: Some(message), ..Self::default() },
            ChannelEvent::Message { event, payload } => {
                Self { event: "message", name: Some(event), payload: Some(payload), ..Self::default() }
            }
            ChannelEvent::Lagged { missed } => Self::missed(*missed),
            ChannelEvent::Closed { reason } => {
                Self { event: "channel_closed", reason: Some(reason.to_string()), ..Self::default() }
            }
            other => Self::unknown(other),
        };
        Self { topic: Some(topic), ..line }.checked()
    }

    /// What happened to a Supabase connection or token; `None` for what is not worth a line.
    pub(crate) fn of_supabase_connection(event: &ConnectionEvent) -> Option<Self> {
        Some(match event {
            ConnectionEvent::Connected => Self { event: "connected", ..Self::default() },
            ConnectionEvent::Disconnected { reason, retry_in } => Self::loss(reason, *retry_in),
            ConnectionEvent::Heartbeat(HeartbeatStatus::Ok { rtt }) => {
                Self { event: "heartbeat", rtt: Some(*rtt), ..Self::default() }
            }
            ConnectionEvent::Heartbeat(HeartbeatStatus::Error { rtt }) => {
                let reason = Some("the answer was an error".into());
                Self { event: "heartbeat", rtt: Some(*rtt), reason, ..Self::default() }
            }
            // One that timed out is the reason of the `disconnected` behind it.
            ConnectionEvent::Heartbeat(_) => return None,
            ConnectionEvent::TokenRefreshed { expires_at } => {
                Self { event: "token_refreshed", expires_at: *expires_at, ..Self::default() }
            }
            ConnectionEvent::TokenExpired => Self { event: "token_expired", ..Self::default() },
            ConnectionEvent::TokenUnavailable { failure, retry_in } => {
                let (reason, retry) = (Some(failure.to_string()), Some(Retry::In(*retry_in)));
                Self { event: "token_unavailable", reason, retry, ..Self::default() }
            }
            ConnectionEvent::Malformed { error } => {
                Self { event: "malformed", reason: Some(error.to_string()), ..Self::default() }
            }
            ConnectionEvent::Lagged { missed } => Self::missed(*missed),
            ConnectionEvent::TransportChanged { transport } => {
                Self { event: "transport_changed", transport: Some(*transport), ..Self::default() }
            }
            ConnectionEvent::GaveUp { attempts } => Self::gave_up(*attempts),
            ConnectionEvent::Closed => Self { event: "closed", ..Self::default() },
            other => Self::unknown(other),
        })
    }

    fn loss(reason: &LossReason, retry_in: Option<Duration>) -> Self {
        let line = Self { event: "disconnected", retry: retry_in.map(Retry::In), ..Self::default() };
        let refusal = if let LossReason::Open(error) = reason { UpgradeRefusal::of(error) } else { None };
        match refusal {
            Some(refusal) => Self {
                reason: Some(refusal.to_string()),
                http_status: Some(refusal.status),
                advice: Some(refusal.advice()),
                ..line
            },
            None => Self { reason: Some(reason.to_string()), ..line },
        }
    }

    fn because(self, failure: &'a SubscribeFailure) -> Self {
        let reason = Some(failure.to_string());
        match failure {
            SubscribeFailure::Refused(refusal) => {
                Self { payload: Some(&refusal.response), reason, class: Some(class(refusal.class)), ..self }
            }
            _ => Self { reason, ..self },
        }
    }
}

impl From<RetryIn> for Retry {
    fn from(retry: RetryIn) -> Self {
        match retry {
            RetryIn::After(time) => Self::In(time),
            RetryIn::OnConnection => Self::OnConnection,
            RetryIn::OnToken => Self::OnToken,
            // What a later driver adds says no time.
            _ => Self::Never,
        }
    }
}

const fn class(class: RefusalClass) -> &'static str {
    match class {
        RefusalClass::Permanent => "permanent",
        RefusalClass::Auth => "auth",
        RefusalClass::Rate => "rate",
        // What a later core tells apart passes, for all that is known here.
        _ => "transient",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_core::Payload;
    use rejoin_core::supabase::{Bindings, PostgresChange, PostgresFailure, PresenceTrouble};

    fn line(event: &ChannelEvent) -> (&'static str, Option<String>) {
        let line = Line::of_supabase_channel("realtime:a", event);
        (line.event, line.reason)
    }

    #[test]
    fn what_is_seldom_seen_has_a_line_of_its_own_too() {
        assert_eq!(line(&ChannelEvent::FellBackToHttp), ("fell_back_to_http", None));
        assert_eq!(line(&ChannelEvent::PresenceState { members: Vec::new() }), ("presence_sync", None));
        let reason = "3 metas are over the limits of presence and left out";
        let trouble = ChannelEvent::PresenceTrouble(PresenceTrouble::TooMany { metas: 3 });
        assert_eq!(line(&trouble), ("presence_trouble", Some(reason.into())));
        let failure = PostgresFailure::TimedOut;
        let reason = failure.to_string();
        assert_eq!(line(&ChannelEvent::PostgresFailed { failure }), ("postgres_failed", Some(reason)));
    }

    #[test]
    fn a_row_that_cannot_be_read_is_malformed() {
        let payload = r#"{"data":{"type":"INSERT","schema":"s","table":7,"record":{}},"ids":[1]}"#;
        let change = PostgresChange::of(&Payload::from_json_text(payload).unwrap()).unwrap();
        let (event, reason) = line(&ChannelEvent::PostgresChange { bindings: Bindings::default(), change });
        assert!(event == "malformed" && reason.is_some_and(|reason| reason.starts_with("the row cannot be read: ")));
    }
}
