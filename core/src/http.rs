//! HTTP as plain data: what a machine wants asked of a server, and what came of it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use crate::machine::without_query;
use crate::text::Text;

/// One HTTP request. The host sends it as it is, and answers with the [`HttpId`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpRequest {
    /// What to answer to.
    pub id: HttpId,
    /// GET or POST.
    pub method: HttpMethod,
    /// `http://` or `https://` with path and query.
    pub url: String,
    /// Request headers besides `host` and `content-length`, which are the host's business.
    pub headers: Vec<(Text, Text)>,
    /// Empty for a GET.
    pub body: Bytes,
    /// How long it may take from dialling to the last byte of the response. The host keeps this
    /// deadline and answers [`HttpError::TimedOut`].
    pub timeout: Duration,
    /// The largest response body to read; a larger one is [`HttpError::TooLarge`].
    pub body_limit: usize,
}

impl HttpRequest {
    /// A GET without extra headers, for a body of at most 16 MiB.
    #[must_use]
    pub fn get(id: HttpId, url: impl Into<String>, timeout: Duration) -> Self {
        let (method, body, body_limit) = (HttpMethod::Get, Bytes::new(), 16 << 20);
        Self { id, method, url: url.into(), headers: Vec::new(), body, timeout, body_limit }
    }

    /// A POST with this body and `content-type`, for a response of at most 16 MiB.
    #[must_use]
    pub fn post(
        id: HttpId,
        url: impl Into<String>,
        content_type: &'static str,
        body: impl Into<Bytes>,
        timeout: Duration,
    ) -> Self {
        let headers = Vec::from([(Text::from_static("content-type"), Text::from_static(content_type))]);
        Self { method: HttpMethod::Post, headers, body: body.into(), ..Self::get(id, url, timeout) }
    }

    /// The same, with one more header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<Text>) -> Self {
        self.headers.push((Text::from_static(name), value.into()));
        self
    }
}

/// Without the query, header values and body: those carry keys and tokens.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("id", &self.id)
            .field("method", &self.method)
            .field("url", &without_query(&self.url))
            .field("headers", &self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("body", &format_args!("{} B", self.body.len()))
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Names a request; its machine uses no number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpId(u64);

impl HttpId {
    /// Names a request. Machines give numbers themselves; their tests and hosts may need one.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpMethod {
    /// GET.
    Get,
    /// POST.
    Post,
}

impl HttpMethod {
    /// As it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// A whole response, whatever its status.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpResponse {
    /// The status, such as 202.
    pub status: u16,
    /// What a `Retry-After` header asked for.
    pub retry_after: Option<Duration>,
    /// The body, decoded from its transfer coding.
    pub body: Bytes,
}

impl HttpResponse {
    /// A response without a `Retry-After`.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, retry_after: None, body: body.into() }
    }
}

/// Status and size only: bodies carry user data and session tokens.
impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpResponse({}, {} B)", self.status, self.body.len())
    }
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpError {
    /// No connection came about: no such host, refused, TLS. The server has seen nothing.
    Unreachable(String),
    /// The connection broke, or what came was no HTTP. The server may have acted.
    Broken(String),
    /// It took longer than [`HttpRequest::timeout`]. The server may have acted.
    TimedOut,
    /// The response was larger than [`HttpRequest::body_limit`].
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(what) => write!(f, "the server cannot be reached: {what}"),
            Self::Broken(what) => write!(f, "the request broke off: {what}"),
            Self::TimedOut => f.write_str("the request took too long"),
            Self::TooLarge { limit } => write!(f, "the response has more than {limit} bytes"),
        }
    }
}

impl core::error::Error for HttpError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_request_shows_no_secret() {
        let url = "https://u:secret@host/api/broadcast?apikey=secret";
        let request = HttpRequest::post(HttpId::new(1), url, "application/json", "secret", Duration::ZERO);
        let shown = alloc::format!("{:?}", request.header("authorization", "Bearer secret"));
        assert!(!shown.contains("secret") && shown.contains("https://host/api/broadcast"), "{shown}");
        assert!(!alloc::format!("{:?}", HttpResponse::new(200, "secret")).contains("secret"));
    }
}
