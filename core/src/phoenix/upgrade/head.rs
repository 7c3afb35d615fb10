//! The heads of a request and of its response, as plain data.

use alloc::vec::Vec;
use core::fmt;

use crate::machine::without_query;
use crate::text::Text;

/// The head of an HTTP request, borrowed from whatever library has read it.
///
/// How long it may be is up to that library; everything that is kept of it is at most as long.
#[derive(Clone)]
pub struct RequestHead<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> RequestHead<'a> {
    /// The method, the target such as `/socket/websocket?vsn=2.0.0`, and the headers, whose names may
    /// have any case and come more than once. Values are bytes or text.
    #[must_use]
    pub fn new<V>(method: &'a str, target: &'a str, headers: impl IntoIterator<Item = (&'a str, &'a V)>) -> Self
    where
        V: AsRef<[u8]> + ?Sized + 'a,
    {
        let headers = headers.into_iter().map(|(name, value)| (name, value.as_ref().trim_ascii()));
        Self { method, target, headers: headers.collect() }
    }

    /// The method, as it was sent.
    #[must_use]
    pub const fn method(&self) -> &'a str {
        self.method
    }

    /// What follows the first `?` of the target; empty without one. It may carry credentials.
    #[must_use]
    pub fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The values of a header, in the order they came in, without white space around them.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let of_name = self.headers.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| *value)
    }

    /// A header that may come only once. One that comes twice, or is no text, has no value.
    pub(super) fn only(&self, name: &str) -> Option<&'a str> {
        let mut values = self.all(name);
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        core::str::from_utf8(value).ok()
    }

    /// A header of which the last line counts, if that is text.
    pub(in crate::phoenix) fn last(&self, name: &str) -> Option<&'a str> {
        self.all(name).last().and_then(|value| core::str::from_utf8(value).ok())
    }

    /// The items of a header that is a list, of all its lines together.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let lines = self.all(name).filter_map(|line| core::str::from_utf8(line).ok());
        lines.flat_map(|line| line.split(',')).map(str::trim)
    }
}

/// Without the query and the headers' values, which may be secret.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("target", &without_query(self.target))
            .field("headers", &names)
            .finish()
    }
}

/// The head of a response. The host adds `content-length` and what else its HTTP wants.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseHead {
    /// The HTTP status.
    pub status: u16,
    /// Headers, their names in lower case.
    pub headers: Vec<(Text, Text)>,
}

impl ResponseHead {
    /// A head without headers.
    #[must_use]
    pub const fn new(status: u16) -> Self {
        Self { status, headers: Vec::new() }
    }

    /// What Phoenix answers to who may not come in: 403, with an empty body (Appendix C).
    #[must_use]
    pub const fn forbidden() -> Self {
        Self::new(403)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<Text>) -> Self {
        self.headers.push((Text::from_static(name), value.into()));
        self
    }
}
