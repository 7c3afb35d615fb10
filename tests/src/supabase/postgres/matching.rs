//! Whether a row meets a filter, by SQL's rules: what is compared with null is neither true nor false.

use std::cmp::Ordering;

use rejoin_core::supabase::{FilterCondition, FilterIs, FilterOperator, FilterTest, PostgresFilter};
use serde_json::Value;

use super::change::Row;

/// Regular expressions match nothing: this server has none.
pub(super) fn matches(filter: &PostgresFilter, row: &Row) -> bool {
    filter.conditions().iter().all(|condition| holds(condition, row) == Some(true))
}

fn holds(condition: &FilterCondition, row: &Row) -> Option<bool> {
    // What the database does not tell matches nothing, not even `is.null`.
    let value: Value = serde_json::from_str(row.get(condition.column.as_str())?.get()).ok()?;
    let held = match &condition.test {
        FilterTest::Compare(operator, wanted) => compare(*operator, &value, wanted.as_str()),
        FilterTest::In(values) if !value.is_null() => {
            Some(values.iter().any(|wanted| order(&value, wanted.as_str()) == Ordering::Equal))
        }
        FilterTest::Is(FilterIs::Null | FilterIs::Unknown) => Some(value.is_null()),
        FilterTest::Is(FilterIs::True) => Some(value == true),
        FilterTest::Is(FilterIs::False) => Some(value == false),
        _ => None,
    };
    held.map(|held| held != condition.negated)
}

fn compare(operator: FilterOperator, value: &Value, wanted: &str) -> Option<bool> {
    if operator == FilterOperator::IsDistinct {
        return Some(if wanted == "null" { !value.is_null() } else { order(value, wanted) != Ordering::Equal });
    }
    if value.is_null() || wanted == "null" {
        return None;
    }
    let order = order(value, wanted);
    match operator {
        FilterOperator::Eq => Some(order.is_eq()),
        FilterOperator::Neq => Some(order.is_ne()),
        FilterOperator::Lt => Some(order.is_lt()),
        FilterOperator::Lte => Some(order.is_le()),
        FilterOperator::Gt => Some(order.is_gt()),
        FilterOperator::Gte => Some(order.is_ge()),
        FilterOperator::Like => Some(like(&text(value), wanted)),
        FilterOperator::Ilike => Some(like(&text(value).to_lowercase(), &wanted.to_lowercase())),
        _ => None,
    }
}

/// Numbers are compared as numbers, everything else as text.
fn order(value: &Value, wanted: &str) -> Ordering {
    let value_text = text(value);
    if value.is_number() {
        if let (Ok(value), Ok(wanted)) = (value_text.parse::<i128>(), wanted.parse::<i128>()) {
            return value.cmp(&wanted);
        }
        if let (Ok(value), Ok(wanted)) = (value_text.parse::<f64>(), wanted.parse::<f64>()) {
            return value.total_cmp(&wanted);
        }
    }
    value_text.as_str().cmp(wanted)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// `%` is anything, `_` any character.
fn like(text: &str, pattern: &str) -> bool {
    let mut pattern_chars = pattern.chars();
    match pattern_chars.next() {
        None => text.is_empty(),
        Some('%') => {
            let behind = pattern_chars.as_str();
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| like(&text[at..], behind))
        }
        Some(wanted) => {
            let mut chars = text.chars();
            chars.next().is_some_and(|c| wanted == '_' || wanted == c) && like(chars.as_str(), pattern_chars.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_match_as_in_sql() {
        let row = json!({ "n": 10, "big": 9_007_199_254_740_993_i64, "t": "Hello, world", "b": true, "none": null });
        let row: Row = serde_json::from_str(&row.to_string()).unwrap();
        for (filter, expected) in [
            ("n=eq.10", true),
            ("n=gt.9", true),
            ("n=gt.9.5,n=lt.11", true),
            ("n=lte.9", false),
            ("n=in.(1,10)", true),
            ("n=not.in.(1,10)", false),
            ("big=eq.9007199254740992", false),
            ("t=neq.x", true),
            ("t=like.Hello%", true),
            ("t=like.hello%", false),
            ("t=ilike.h_llo%d", true),
            ("t=match.^H", false),
            ("b=eq.true", true),
            ("b=is.true,none=is.null", true),
            ("none=not.is.null", false),
            ("none=eq.1", false),
            ("none=not.eq.1", false),
            ("none=isdistinct.1", true),
            ("missing=is.null", false),
        ] {
            assert_eq!(matches(&PostgresFilter::parse(filter).unwrap(), &row), expected, "{filter}");
        }
    }
}
