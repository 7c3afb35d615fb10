//! The lines of Phoenix's events.

use rejoin_core::phoenix::{JoinFailure, LossReason};
use rejoin_pump::{ChannelEvent, ConnectionEvent};

use super::line::{Line, Retry};

impl<'a> Line<'a> {
    /// What happened on a channel. A message whose payload is not JSON is `malformed`.
    pub(crate) fn of_channel(topic: &'a str, event: &'a ChannelEvent) -> Self {
        let line = match event {
            ChannelEvent::Joined { response, again } => {
                Self { event: "joined", payload: Some(response), again: Some(*again), ..Self::default() }
            }
            ChannelEvent::JoinFailed { failure, retry_in } => {
                let payload = match failure {
                    JoinFailure::Refused { response } => Some(response),
                    _ => None,
                };
                let reason = Some(failure.to_string());
                Self { event: "join_failed", payload, reason, retry: retry_in.map(Retry::In), ..Self::default() }
            }
            ChannelEvent::Errored { cause, retry_in } => {
                let reason = Some(cause.to_string());
                Self { event: "channel_errored", reason, retry: retry_in.map(Retry::In), ..Self::default() }
            }
            ChannelEvent::Message { event, payload } => {
                Self { event: "message", name: Some(event), payload: Some(payload), ..Self::default() }
            }
            ChannelEvent::UserBroadcast { event, payload, meta } => {
                let (name, payload, meta) = (Some(event.as_str()), Some(payload), meta.as_ref());
                Self { event: "broadcast", name, payload, meta, ..Self::default() }
            }
            ChannelEvent::Lagged { missed } => Self::missed(*missed),
            ChannelEvent::Closed { reason } => {
                Self { event: "channel_closed", reason: Some(reason.to_string()), ..Self::default() }
            }
            other => Self::unknown(other),
        };
        Self { topic: Some(topic), ..line }.checked()
    }

    /// What happened to the connection.
    pub(crate) fn of_connection(event: &ConnectionEvent) -> Self {
        match event {
            ConnectionEvent::Connected => Self { event: "connected", ..Self::default() },
            ConnectionEvent::Disconnected { reason, retry_in } => {
                let http_status = if let LossReason::Open(error) = reason { error.status } else { None };
                let (reason, retry) = (Some(reason.to_string()), retry_in.map(Retry::In));
                Self { event: "disconnected", reason, http_status, retry, ..Self::default() }
            }
            ConnectionEvent::HeartbeatAnswered { rtt, .. } => {
                Self { event: "heartbeat", rtt: Some(*rtt), ..Self::default() }
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
        }
    }
}
