//! Columns that old servers send as Postgres' text, turned into the JSON that today's servers send.
//!
//! It is what realtime-js does to every row, whichever server sent it, without the losses: a number
//! keeps all of its digits, and an array is read as Postgres reads it.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::array_literal;
use crate::payload::{Payload, PayloadError};
use crate::text::Text;

/// A column of a table, as a change names it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Column {
    /// Its name.
    pub name: Text,
    /// The name of its type, such as `int8`; that of an array begins with an underscore.
    pub type_name: Text,
}

impl Column {
    /// A column of this name and type.
    #[must_use]
    pub fn new(name: impl Into<Text>, type_name: impl Into<Text>) -> Self {
        Self { name: name.into(), type_name: type_name.into() }
    }
}

/// The record with each *string* converted to what its column's type says (specification, section 5.6).
///
/// | type | conversion of a string |
/// |---|---|
/// | `bool` | `t` and `true` are true, `f` and `false` are false |
/// | `int2` `int4` `int8` `float4` `float8` `numeric` `oid` | the number, digit by digit; not `NaN`, not `12abc` |
/// | `json` `jsonb` | what it says |
/// | `timestamp` | `T` for the first space |
/// | `_` and a type | an array, each element converted; `NULL` is null |
///
/// Everything else stays: other types, columns that are not listed (leave out one to keep its text),
/// strings that are no such value, and what is no string. A record that is null is `{}`.
///
/// ```
/// use rejoin_core::Payload;
/// use rejoin_core::supabase::{Column, convert_record};
///
/// let columns = [Column::new("id", "int8"), Column::new("tags", "_text")];
/// let record = Payload::from_json_text(r#"{"id":"9007199254740993","tags":"{\"a,b\",NULL}"}"#)?;
/// let record = convert_record(&columns, &record)?;
/// assert_eq!(record.as_json(), Some(r#"{"id":9007199254740993,"tags":["a,b",null]}"#));
/// # Ok::<(), rejoin_core::PayloadError>(())
/// ```
///
/// # Errors
/// If the record is neither an object nor null.
pub fn convert_record(columns: &[Column], record: &Payload) -> Result<Payload, PayloadError> {
    let Some(Members(members)) = record.parse()? else { return Ok(Payload::EMPTY) };
    let types: BTreeMap<&str, &str> = columns.iter().map(|c| (c.name.as_str(), c.type_name.as_str())).collect();
    let mut out = String::with_capacity(record.len());
    out.push('{');
    for (i, (name, raw)) in members.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_string(&name, &mut out);
        out.push(':');
        let text = raw.get().starts_with('"').then(|| serde_json::from_str::<Str<'_>>(raw.get())).transpose()?;
        let converted = match (types.get(&*name), text) {
            (Some(type_name), Some(text)) => convert(type_name, &text.0, &mut out),
            _ => None,
        };
        if converted.is_none() {
            out.push_str(raw.get());
        }
    }
    out.push('}');
    Ok(Payload::unread_json(out.into()))
}

/// Writes the value; `None`, and nothing written, if the text is to stay.
fn convert(type_name: &str, text: &str, out: &mut String) -> Option<()> {
    match type_name {
        "bool" => out.push_str(match text {
            "t" | "true" => "true",
            "f" | "false" => "false",
            _ => return None,
        }),
        "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" | "oid" => {
            let number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && json(text)? == text;
            out.push_str(number.then_some(text)?);
        }
        "json" | "jsonb" => out.push_str(json(text)?),
        "timestamp" => push_string(&text.replacen(' ', "T", 1), out),
        _ => {
            let element_type = type_name.strip_prefix('_')?;
            // The only type of Postgres with a delimiter of its own.
            let delimiter = if element_type == "box" { ';' } else { ',' };
            let before = out.len();
            let element = |text: &str, out: &mut String| {
                // An array's elements are no arrays: those are its further dimensions.
                let scalar = (!element_type.starts_with('_')).then_some(element_type);
                if scalar.and_then(|scalar| convert(scalar, text, out)).is_none() {
                    push_string(text, out);
                }
            };
            if array_literal::write_json(text, delimiter, out, element).is_none() {
                out.truncate(before);
                return None;
            }
        }
    }
    Some(())
}

/// The text of the one JSON value that this is.
fn json(text: &str) -> Option<&str> {
    serde_json::from_str::<&RawValue>(text).ok().map(RawValue::get)
}

fn push_string(text: &str, out: &mut String) {
    out.push_str(&Value::from(text).to_string());
}

/// The members of an object in their order, the values unread.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// A string that is borrowed where it can be, also as a key or in an `Option`, in which serde copies a `Cow`.
#[derive(Deserialize)]
pub(super) struct Str<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record, which is an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Str(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn converted(type_name: &str, text: &str) -> String {
        let record = Payload::json(&json!({ "c": text })).unwrap();
        let record = convert_record(&[Column::new("c", type_name)], &record).unwrap();
        let json = record.as_json().unwrap();
        json.strip_prefix(r#"{"c":"#).unwrap().strip_suffix('}').unwrap().into()
    }

    /// Traps T43 to T45 and the table of section 5.6.
    #[test]
    fn strings_become_what_their_type_says() {
        for (type_name, text, expected) in [
            ("bool", "t", "true"),
            ("bool", "true", "true"),
            ("bool", "f", "false"),
            ("bool", "false", "false"),
            ("int8", "9007199254740993", "9007199254740993"),
            ("int8", "-9223372036854775808", "-9223372036854775808"),
            ("numeric", "0.1000000000000000055", "0.1000000000000000055"),
            ("numeric", "123456789012345678901234567890.5", "123456789012345678901234567890.5"),
            ("float8", "1e-7", "1e-7"),
            ("oid", "4294967295", "4294967295"),
            ("json", r#"{"a": [1, null]}"#, r#"{"a": [1, null]}"#),
            ("jsonb", "null", "null"),
            ("timestamp", "2021-01-01 12:00:00 x", r#""2021-01-01T12:00:00 x""#),
            ("_int4", "{1, 2,NULL}", "[1,2,null]"),
            ("_int4", "[0:1]={1,2}", "[1,2]"),
            ("_int4", "{{1,2},{3,4}}", "[[1,2],[3,4]]"),
            ("_int8", "{9007199254740993,x}", r#"[9007199254740993,"x"]"#),
            ("_bool", "{t,f}", "[true,false]"),
            ("_text", r#"{"a,b",c}"#, r#"["a,b","c"]"#),
            ("_jsonb", r#"{"{\"a\": 1}",NULL,"null"}"#, r#"[{"a": 1},null,null]"#),
            ("_timestamp", r#"{"2021-01-01 12:00:00"}"#, r#"["2021-01-01T12:00:00"]"#),
            ("_int4range", r#"{"[1,3)","[2,4)"}"#, r#"["[1,3)","[2,4)"]"#),
            ("_box", "{(1,1),(0,0);(2,2),(1,1)}", r#"["(1,1),(0,0)","(2,2),(1,1)"]"#),
            ("__int4", "{1}", r#"["1"]"#),
        ] {
            assert_eq!(converted(type_name, text), expected, "{type_name} {text}");
        }
    }

    #[test]
    fn strings_that_are_no_such_value_stay() {
        for (type_name, text) in [
            ("bool", "yes"),
            ("bool", "T"),
            ("bool", ""),
            ("int4", "NaN"),
            ("float8", "Infinity"),
            ("int4", ""),
            ("int4", "12abc"),
            ("int4", " 1"),
            ("int4", "1 "),
            ("int4", "007"),
            ("int4", "true"),
            ("json", "{"),
            ("_int4", "[1,2]"),
            ("_int4", "{1,"),
            ("text", "t"),
            ("date", "2021-01-01"),
            ("timestamptz", "2021-01-01 12:00:00+00"),
            ("money", "$1"),
            ("_", "x"),
            ("", "1"),
        ] {
            assert_eq!(converted(type_name, text), Value::from(text).to_string(), "{type_name} {text}");
        }
    }

    #[test]
    fn what_is_no_string_and_what_is_not_listed_stays_byte_for_byte() {
        let columns = [Column::new("id", "int8"), Column::new("gone", "int8"), Column::new("é\"", "bool")];
        let record = Payload::from_json_text(r#"{ "id" : 1.50, "other": "1", "é\"": "t", "u": "\u00e9" }"#).unwrap();
        let record = convert_record(&columns, &record).unwrap();
        assert_eq!(record.as_json(), Some(r#"{"id":1.50,"other":"1","é\"":true,"u":"\u00e9"}"#));
    }

    #[test]
    fn no_record_is_an_empty_one_and_another_shape_an_error() {
        let of = |json: &'static str| convert_record(&[], &Payload::unread_json(Text::from_static(json)));
        assert_eq!(of("null"), Ok(Payload::EMPTY));
        assert_eq!(of("{}"), Ok(Payload::EMPTY));
        for bad in ["", "[]", "1", "{", r#"{"a":"\x"}"#] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_depth_of_json_or_of_braces_is_too_deep() {
        for (type_name, text) in [("json", "[".repeat(100_000) + &"]".repeat(100_000)), ("_text", "{".repeat(100_000))]
        {
            let expected = if type_name == "json" { text.clone() } else { Value::from(text.as_str()).to_string() };
            assert_eq!(converted(type_name, &text), expected);
        }
    }

    proptest! {
        #[test]
        fn a_converted_record_is_json_with_the_same_columns(
            members in prop::collection::vec((any::<String>(), any::<String>(), "(_?(bool|int4|json|timestamp|text|box))?"), 0..5),
        ) {
            let columns: Vec<_> = members.iter().map(|(name, _, kind)| Column::new(name.as_str(), kind.as_str())).collect();
            let record: serde_json::Map<_, _> = members.iter().map(|(name, text, _)| (name.clone(), text.clone().into())).collect();
            let converted = convert_record(&columns, &Payload::json(&record).unwrap()).unwrap();
            let converted: serde_json::Map<String, Value> = converted.parse().unwrap();
            prop_assert!(converted.keys().eq(record.keys()));
        }
    }
}
