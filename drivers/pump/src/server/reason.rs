//! What a refusal looks like on the wire.

use rejoin_core::Payload;
use serde::Serialize;

/// `{"reason": reason}`, as Phoenix's own refusals are.
pub(super) fn with_reason(reason: &str) -> Payload {
    #[derive(Serialize)]
    struct Reason<'a> {
        reason: &'a str,
    }
    Payload::json(&Reason { reason }).unwrap_or_default()
}
