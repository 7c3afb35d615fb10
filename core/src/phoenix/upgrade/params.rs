//! The parameters that a client's URL carries.

use alloc::borrow::Cow;
use core::fmt;

use crate::phoenix::endpoint::percent_decode;
use crate::text::Text;

/// The parameters of a request's query, read when they are asked for. Their values may be secret.
///
/// Of several of one name the last counts, as in Phoenix. Unlike there, `a[b]` is a name like any other.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Params {
    /// As it was sent; everything in it can be decoded.
    query: Text,
}

impl Params {
    /// `None` if something in the query cannot be decoded.
    pub(super) fn of(query: &str) -> Option<Self> {
        let is_legal = pairs(query).all(|(name, value)| decoded(name).is_some() && decoded(value).is_some());
        is_legal.then(|| Self { query: query.into() })
    }

    /// The decoded value of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        last(&self.query, name)?.ok()
    }

    /// All names and values, decoded, in the order they came in.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        pairs(&self.query).filter_map(|(name, value)| Some((decoded(name)?, decoded(value)?)))
    }
}

/// How many there are: even a name may be a credential that lost its own.
impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Params({})", self.iter().count())
    }
}

/// The last value of this name; as it was sent, if it cannot be decoded.
pub(in crate::phoenix) fn last<'q>(query: &'q str, name: &str) -> Option<Result<Cow<'q, str>, &'q str>> {
    let mut of_name = pairs(query).filter(|(other, _)| decoded(other).is_some_and(|other| other == name));
    let (_, value) = of_name.next_back()?;
    Some(decoded(value).ok_or(value))
}

fn pairs(query: &str) -> impl DoubleEndedIterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if text.contains(['%', '+']) { percent_decode(text).map(Cow::Owned) } else { Some(Cow::Borrowed(text)) }
}
