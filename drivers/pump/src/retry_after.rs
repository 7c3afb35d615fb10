//! When a server wants to be asked again: how it says so, and what clients make of it.

use std::time::{Duration, SystemTime};

use async_tungstenite::tungstenite::http::HeaderMap;
use async_tungstenite::tungstenite::http::header::RETRY_AFTER;
use rejoin_core::Text;
use rejoin_core::phoenix::ResponseHead;

/// What a server says that has no room now: 503, to be asked again in five seconds.
pub(crate) fn unavailable() -> ResponseHead {
    let mut response = ResponseHead::new(503);
    response.headers.push((Text::from_static("retry-after"), Text::from_static("5")));
    response
}

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
