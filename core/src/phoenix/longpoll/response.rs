//! What a server answers to an exchange: HTTP status 200 and a body that says how it went
//! (specification, section 10.2).

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use serde::Serialize;

use crate::text::Text;

/// A response to write as it is; the host adds `content-length` and what else its HTTP wants.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LongPollResponse {
    /// The HTTP status: 200 except for what is no long-poll at all.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(Text, Text)>,
    /// The body.
    pub body: Bytes,
}

impl LongPollResponse {
    /// A new session: status 410 with its token, which must fit a header, so that visible ASCII is
    /// best.
    #[must_use]
    pub fn opened(token: &str) -> Self {
        Self::messages(410, &[], Some(token))
    }

    /// To a POST for a session that is not there: status 410.
    #[must_use]
    pub fn gone() -> Self {
        Self::json(&Said { messages: None, status: 410, token: None })
    }

    /// The client may not come in: status 403.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::json(&Said { messages: None, status: 403, token: None })
    }

    /// To a POST whose frames were taken: status 200.
    #[must_use]
    pub(super) fn taken() -> Self {
        Self::json(&Said { messages: None, status: 200, token: None })
    }

    /// To a POST that cannot be read: HTTP 500, as Phoenix does (Appendix C).
    pub(super) fn malformed() -> Self {
        Self::bare(500)
    }

    pub(super) fn messages(status: u16, messages: &[&str], token: Option<&str>) -> Self {
        Self::json(&Said { messages: Some(messages), status, token })
    }

    /// Without a body, and of this HTTP status.
    pub(in crate::phoenix) fn bare(status: u16) -> Self {
        Self { status, headers: Vec::from([allow_origin(), no_store()]), body: Bytes::new() }
    }

    /// To a method that long-poll has not: HTTP 405. Phoenix says 400.
    pub(super) fn not_allowed() -> Self {
        let mut response = Self::bare(405);
        response.headers.push((Text::from_static("allow"), Text::from_static("GET, POST, OPTIONS")));
        response
    }

    /// To a browser that asks whether it may send these headers from another origin.
    pub(super) fn preflight(asked_headers: &str) -> Self {
        let text = Text::from_static;
        let mut response = Self::bare(200);
        response.headers.extend([
            (text("access-control-allow-headers"), asked_headers.into()),
            (text("access-control-allow-methods"), text("get, post, options")),
            (text("access-control-max-age"), text("3600")),
        ]);
        response
    }

    fn json(said: &Said<'_>) -> Self {
        let content_type = Text::from_static("application/json; charset=utf-8");
        let headers = Vec::from([(Text::from_static("content-type"), content_type), allow_origin(), no_store()]);
        // Numbers and strings are JSON whatever is in them.
        Self { status: 200, headers, body: serde_json::to_vec(said).unwrap_or_default().into() }
    }
}

/// Status and size only: bodies carry user data and session tokens.
impl fmt::Debug for LongPollResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LongPollResponse({}, {} B)", self.status, self.body.len())
    }
}

#[derive(Serialize)]
struct Said<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<&'a [&'a str]>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

fn allow_origin() -> (Text, Text) {
    (Text::from_static("access-control-allow-origin"), Text::from_static("*"))
}

fn no_store() -> (Text, Text) {
    (Text::from_static("cache-control"), Text::from_static("no-store"))
}
