//! Postgres' text form of an array, such as `{1,NULL,"a,b"}`, turned into JSON.
//!
//! Splitting at commas would break quoted and nested elements and turn `NULL` into a string (trap
//! T44). This writes as it reads: no tree and no recursion.

use alloc::string::String;
use alloc::vec::Vec;

/// As many dimensions as an array of Postgres can have.
const MAX_DEPTH: usize = 6;

/// Writes the array behind what `out` has; `element` writes each element that is not null.
///
/// `None` if this is no array literal; `out` then has a part of it.
pub(super) fn write_json(
    literal: &str,
    delimiter: char,
    out: &mut String,
    mut element: impl FnMut(&str, &mut String),
) -> Option<()> {
    let mut rest = behind_dimensions(literal)?;
    let (mut depth, mut expected) = (0, Expected::Element);
    loop {
        rest = rest.trim_start_matches(is_space);
        let next = rest.chars().next()?;
        match (expected, next) {
            (Expected::Element | Expected::FirstElement, '{') if depth < MAX_DEPTH => {
                (depth, expected) = (depth + 1, Expected::FirstElement);
                out.push('[');
            }
            (Expected::FirstElement | Expected::Delimiter, '}') => {
                (depth, expected) = (depth - 1, Expected::Delimiter);
                out.push(']');
            }
            (Expected::Delimiter, _) if next == delimiter => {
                expected = Expected::Element;
                out.push(',');
            }
            (Expected::Element | Expected::FirstElement, _) if depth > 0 && next != '{' => {
                let (value, behind) = take_element(rest, delimiter)?;
                match value {
                    Some(value) => element(&value, out),
                    None => out.push_str("null"),
                }
                (rest, expected) = (behind, Expected::Delimiter);
                continue;
            }
            _ => return None,
        }
        rest = rest.get(next.len_utf8()..)?;
        if depth == 0 {
            return rest.trim_start_matches(is_space).is_empty().then_some(());
        }
    }
}

/// The elements that stand between the braces of an array of one dimension. `None` if one is null.
pub(super) fn elements(items: &str) -> Option<Vec<String>> {
    let closed = [items, "}"].concat();
    let (mut rest, mut elements) = (closed.as_str(), Vec::new());
    loop {
        let (element, behind) = take_element(rest.trim_start_matches(is_space), ',')?;
        elements.push(element?);
        match behind.trim_start_matches(is_space) {
            "}" => return Some(elements),
            behind => rest = behind.strip_prefix(',')?,
        }
    }
}

#[derive(Clone, Copy)]
enum Expected {
    /// An element, or the end of an empty array.
    FirstElement,
    /// An element: a delimiter or nothing at all came before.
    Element,
    /// A delimiter, or the end.
    Delimiter,
}

/// Arrays whose indices do not begin at 1 say so, as in `[0:1]={1,2}`.
fn behind_dimensions(literal: &str) -> Option<&str> {
    let literal = literal.trim_start_matches(is_space);
    if !literal.starts_with('[') {
        return Some(literal);
    }
    let (dimensions, array) = literal.split_once('=')?;
    let known = |c: char| c.is_ascii_digit() || matches!(c, '[' | ']' | ':' | '-' | '+') || is_space(c);
    dimensions.chars().all(known).then_some(array)
}

/// An element, `None` if it is null, and what follows it.
fn take_element(text: &str, delimiter: char) -> Option<(Option<String>, &str)> {
    let mut value = String::new();
    if let Some(quoted) = text.strip_prefix('"') {
        let mut chars = quoted.chars();
        loop {
            match chars.next()? {
                '"' => return Some((Some(value), chars.as_str())),
                '\\' => value.push(chars.next()?),
                c => value.push(c),
            }
        }
    }
    // White space at its end counts only if it is escaped, and so does the word null.
    let (mut chars, mut kept, mut escaped) = (text.chars(), 0, false);
    let behind = loop {
        let behind = chars.as_str();
        match chars.next()? {
            c if c == delimiter || c == '}' => break behind,
            '{' | '"' => return None,
            '\\' => {
                escaped = true;
                value.push(chars.next()?);
                kept = value.len();
            }
            c => {
                value.push(c);
                kept = if is_space(c) { kept } else { value.len() };
            }
        }
    };
    value.truncate(kept);
    if value.is_empty() {
        return None;
    }
    let null = !escaped && value.eq_ignore_ascii_case("null");
    Some(((!null).then_some(value), behind))
}

/// What Postgres skips between elements.
const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn json(literal: &str, delimiter: char) -> Option<String> {
        let mut out = String::new();
        let string = |value: &str, out: &mut String| out.push_str(&Value::from(value).to_string());
        write_json(literal, delimiter, &mut out, string).map(|()| out)
    }

    /// Trap T44.
    #[test]
    fn literals_are_read_as_postgres_reads_them() {
        for (literal, expected) in [
            ("{}", "[]"),
            (" { } ", "[]"),
            (r#"{NULL,"NULL",null,\null}"#, r#"[null,"NULL",null,"null"]"#),
            (r#"{"a,b","c\"d","e\\f"}"#, r#"["a,b","c\"d","e\\f"]"#),
            ("{{1,2},{3,4}}", r#"[["1","2"],["3","4"]]"#),
            ("[0:1]={1,2}", r#"["1","2"]"#),
            ("[-1:0][2:3] = {{1,2},{3,4}}", r#"[["1","2"],["3","4"]]"#),
            ("{ a b , \"\" ,c\\ \t}", r#"["a b","","c "]"#),
            (r#"{"[1,3)","{}"}"#, r#"["[1,3)","{}"]"#),
            ("{é,🎉}", r#"["é","🎉"]"#),
            ("{{{{{{1}}}}}}", r#"[[[[[["1"]]]]]]"#),
        ] {
            assert_eq!(json(literal, ',').as_deref(), Some(expected), "{literal}");
        }
        assert_eq!(json("{(1,1),(0,0);(2,2),(1,1)}", ';').unwrap(), r#"["(1,1),(0,0)","(2,2),(1,1)"]"#);
    }

    #[test]
    fn what_is_no_literal_is_not_read() {
        for other in [
            "",
            "1",
            "a{",
            "{",
            "{1",
            "{1,",
            "{1,}",
            "{,1}",
            "{1 2",
            "{1}}",
            "{1}x",
            "{1}{2}",
            "{\"a}",
            "{\"a\"b}",
            "{a\"b\"}",
            "{a{b}}",
            "{a\\",
            "[1,2]",
            "[0:1]",
            "[x]={1}",
            "{{{{{{{1}}}}}}}",
            "{}{",
            "}",
            "{1,{2}",
        ] {
            assert_eq!(json(other, ','), None, "{other}");
        }
        assert_eq!(json(&"{".repeat(1_000_000), ','), None);
    }

    fn array() -> impl Strategy<Value = Value> {
        let text = || prop_oneof![any::<String>(), r#"[a,;{}"\\ ]{0,4}|NULL|null"#];
        let leaf = || prop_oneof![4 => text().prop_map(Value::from), 1 => Just(Value::Null)];
        let flat = prop::collection::vec(leaf(), 0..4).prop_map(Value::from);
        flat.prop_recursive(5, 24, 3, |inner| prop::collection::vec(inner, 1..4).prop_map(Value::from))
    }

    /// As Postgres writes it, with as little in quotes as it can, or with everything in quotes.
    fn literal(value: &Value, delimiter: char, quote_all: bool) -> String {
        match value {
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| literal(item, delimiter, quote_all)).collect();
                format!("{{{}}}", items.join(delimiter.encode_utf8(&mut [0; 4])))
            }
            Value::String(text) => {
                let special = |c| matches!(c, '"' | '\\' | '{' | '}') || c == delimiter || is_space(c);
                let quotes =
                    quote_all || text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special);
                if !quotes {
                    return text.clone();
                }
                format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
            }
            _ => "NULL".into(),
        }
    }

    /// What stands before an array whose indices begin elsewhere: a pair of bounds for each dimension.
    fn dimensions() -> impl Strategy<Value = String> {
        let bounds = (-9..9_i32, 0..9_i32).prop_map(|(from, more)| format!("[{from}:{}]", from + more));
        prop::collection::vec(bounds, 0..3).prop_map(|dimensions| match dimensions.concat() {
            none if none.is_empty() => none,
            some => some + "=",
        })
    }

    proptest! {
        #[test]
        fn what_postgres_writes_is_read(
            array in array(), dimensions in dimensions(), box_like in any::<bool>(), quote_all in any::<bool>(),
        ) {
            let delimiter = if box_like { ';' } else { ',' };
            let text = dimensions + &literal(&array, delimiter, quote_all);
            prop_assert_eq!(json(&text, delimiter), Some(array.to_string()), "{}", text);
        }

        #[test]
        fn whatever_is_read_comes_out_as_json(text in prop_oneof![r#"\{[a,{}"\\ ]{0,12}\}"#, any::<String>()]) {
            if let Some(out) = json(&text, ',') {
                prop_assert!(serde_json::from_str::<Value>(&out).is_ok_and(|value| value.is_array()), "{} {}", text, out);
            }
        }
    }
}
