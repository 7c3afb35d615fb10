//! When a server wants to be asked again.

use std::time::{Duration, SystemTime};

use async_tungstenite::tungstenite::http::HeaderMap;
use async_tungstenite::tungstenite::http::header::RETRY_AFTER;

/// What a `Retry-After` asks for: seconds, or a date in one of HTTP's three formats, of which a
/// past one asks for no delay (RFC 9110, section 10.2.3). Anything else counts as absent.
pub(crate) fn retry_after(headers: &HeaderMap, unix_time: Duration) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let date = httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(unix_time))
}
