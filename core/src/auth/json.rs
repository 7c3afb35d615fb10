//! Members of a JSON object by name, each still unread, and the two types that claims have.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of a JSON object whose names are all different.
///
/// Which of two members with one name counts is each parser's choice, and whoever signs a token may
/// have made another one: such an object is refused (RFC 7515, section 4; RFC 7519, section 4).
pub(crate) struct Members<'a>(Vec<(Name<'a>, &'a RawValue)>);

/// A name, borrowed unless it is written with escapes: `"\u0065xp"` is `exp`.
#[derive(serde::Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Members<'a> {
    /// `None` if it is anything but one object, or has a name twice.
    pub(crate) fn parse(json: &'a [u8]) -> Option<Self> {
        let mut members: Self = serde_json::from_slice(json).ok()?;
        members.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        let twice = members.0.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
        (!twice).then_some(members)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let at = self.0.binary_search_by(|(member, _)| (*member.0).cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| *value)
    }

    /// The same, but `null` is nothing.
    pub(crate) fn get_non_null(&self, name: &str) -> Option<&'a RawValue> {
        self.get(name).filter(|value| value.get() != "null")
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A JSON number of seconds since the Unix epoch, fractions included (RFC 7519, `NumericDate`);
/// `None` for another type, a time before 1970, or one that no `Duration` can hold.
pub(crate) fn numeric_date(raw: &RawValue) -> Option<Duration> {
    match raw.get().parse() {
        Ok(whole) => Some(Duration::from_secs(whole)),
        Err(_) => Duration::try_from_secs_f64(serde_json::from_str(raw.get()).ok()?).ok(),
    }
}

/// A JSON string, borrowed unless it has escapes.
pub(super) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str(raw.get()).ok().map(|Name(text)| text)
}

/// A JSON array of strings.
pub(super) fn strings(raw: &RawValue) -> Option<Vec<Cow<'_, str>>> {
    let all: Vec<Name<'_>> = serde_json::from_str(raw.get()).ok()?;
    Some(all.into_iter().map(|Name(text)| text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_twice_is_refused_however_it_is_written() {
        for bad in [r#"{"a":1,"a":1}"#, r#"{"a":1,"b":{},"\u0061":1}"#, r#"{"":1,"":2}"#] {
            assert!(Members::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        let nested = Members::parse(br#"{"b":{"a":1,"a":2},"a":"b"}"#).unwrap();
        assert_eq!(nested.get("a").map(RawValue::get), Some(r#""b""#));
        assert_eq!(nested.get("b").map(RawValue::get), Some(r#"{"a":1,"a":2}"#));
    }

    #[test]
    fn only_an_object_has_members() {
        for bad in ["", "[]", "[[\"a\",1]]", "1", "null", "\"{}\"", "{", "{}{}", "{\"a\":}", "{\"\\ud800\":1}"] {
            assert!(Members::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(Members::parse(b"{\"a\":\"\xff\"}").is_none());
        assert!(Members::parse(b"{}\xff").is_none());
        let members = Members::parse(b" {\"a\":null} ").unwrap();
        assert!(members.get("a").is_some() && members.get_non_null("a").is_none() && members.get("b").is_none());
    }

    #[test]
    fn a_numeric_date_is_a_number_after_1970() {
        let read = |json: &str| numeric_date(serde_json::from_str(json).unwrap());
        assert_eq!(read("0"), Some(Duration::ZERO));
        assert_eq!(read("1300819380"), Some(Duration::from_secs(1_300_819_380)));
        assert_eq!(read("1.5e3"), Some(Duration::from_secs(1_500)));
        assert_eq!(read("0.25"), Some(Duration::from_millis(250)));
        assert_eq!(read("18446744073709551615"), Some(Duration::from_secs(u64::MAX)));
        for bad in ["-1", "-0.5", "1e20", "1e999", "\"1\"", "null", "true", "[1]", "{}"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
