//! A filter that somebody wrote by hand, read as the server reads it (specification, section 5.1).

use alloc::string::String;
use alloc::vec::Vec;

use super::array_literal;
use super::filter::{FilterCondition, FilterError, FilterIs, FilterOperator, FilterTest, PostgresFilter};

impl PostgresFilter {
    /// Reads a text such as `id=eq.7,status=in.(open,"on hold, paid")`; white space alone is no condition.
    ///
    /// Whether the table has the columns is only known to the server, which tells it in a system message.
    ///
    /// # Errors
    /// If the server would refuse it, or if a quote or a parenthesis stays open, behind which the
    /// server would take further conditions for a part of the value.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut filter = Self::new();
        if text.trim().is_empty() {
            return Ok(filter);
        }
        for (i, segment) in segments(text)?.into_iter().map(str::trim).enumerate() {
            filter.push(match condition(segment) {
                Err(FilterError::NotACondition(part)) if i > 0 => return Err(FilterError::UnquotedComma(part)),
                other => other?,
            });
        }
        Ok(filter)
    }
}

/// The parts between the commas that are neither in parentheses nor in quotes.
fn segments(text: &str) -> Result<Vec<&str>, FilterError> {
    let (mut segments, mut start) = (Vec::new(), 0);
    let (mut depth, mut quoted, mut escaped, mut before) = (0_usize, false, false, None);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if quoted => quoted = false,
            _ if quoted => {}
            // A quote within a value is a character like others.
            '"' => quoted = matches!(before, Some('.' | '(' | ',')),
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                segments.extend(text.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
        before = Some(c);
    }
    if quoted || depth > 0 {
        return Err(FilterError::Unclosed);
    }
    segments.extend(text.get(start..));
    Ok(segments)
}

fn condition(segment: &str) -> Result<FilterCondition, FilterError> {
    if segment.is_empty() {
        return Err(FilterError::EmptySegment);
    }
    let not_a_condition = || FilterError::NotACondition(segment.into());
    let (column, test) = segment.split_once('=').ok_or_else(not_a_condition)?;
    let (negated, test) = test.strip_prefix("not.").map_or((false, test), |test| (true, test));
    let (operator, value) = test.split_once('.').ok_or_else(not_a_condition)?;
    let test = match operator {
        "in" => list(column, value)?,
        "is" => FilterTest::Is(FilterIs::of(value).ok_or_else(|| FilterError::Is(value.into()))?),
        _ => {
            let known = FilterOperator::of(operator).ok_or_else(|| FilterError::UnknownOperator(operator.into()))?;
            match take_quoted(value) {
                Some((value, "")) => FilterTest::Compare(known, value.into()),
                _ => FilterTest::Compare(known, value.into()),
            }
        }
    };
    FilterCondition::new(column, negated, test)
}

/// `(a,"b,c")`, whose items the server hands to Postgres as those of an array. No row equals a null.
fn list(column: &str, value: &str) -> Result<FilterTest, FilterError> {
    let items = value.strip_prefix('(').and_then(|items| items.strip_suffix(')'));
    if items.is_some_and(|items| items.trim().is_empty()) {
        return Err(FilterError::EmptyList(column.into()));
    }
    let values = items.and_then(array_literal::elements).ok_or_else(|| FilterError::List(value.into()))?;
    Ok(FilterTest::one_of(values))
}

/// What stands in the quotes that this begins with, and what follows them.
fn take_quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.strip_prefix('"')?.chars();
    let mut value = String::new();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(chars.next()?),
            c => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::super::filter::FilterValue;
    use super::*;

    /// Trap T46.
    #[test]
    fn values_are_quoted_where_the_server_would_misread_them() {
        let new = PostgresFilter::new;
        for (filter, expected) in [
            (new().eq("id", 5), "id=eq.5"),
            (new().eq("id", i64::MIN).neq("u", u64::MAX), "id=eq.-9223372036854775808,u=neq.18446744073709551615"),
            (new().gt("x", 0.5).lt("x", 1e21), "x=gt.0.5,x=lt.1000000000000000000000"),
            (new().lte("x", f64::INFINITY).gte("x", f64::NEG_INFINITY), "x=lte.Infinity,x=gte.-Infinity"),
            (new().eq("done", true), "done=eq.true"),
            (new().eq("task", "hello world"), "task=eq.hello world"),
            (new().eq("task", "café-🎉"), "task=eq.café-🎉"),
            (new().eq("task", " leading"), r#"task=eq." leading""#),
            (new().eq("task", "trailing\u{2003}"), "task=eq.\"trailing\u{2003}\""),
            (new().eq("task", "a,b"), r#"task=eq."a,b""#),
            (new().eq("task", "f(x)"), r#"task=eq."f(x)""#),
            (new().eq("task", r#"say "hi" \o/"#), r#"task=eq."say \"hi\" \\o/""#),
            (new().eq("task", ""), "task=eq."),
            (new().eq("task", "a.b=c"), "task=eq.a.b=c"),
            (new().isdistinct("task", FilterValue::NULL), "task=isdistinct.null"),
            (new().in_("s", ["a,b", "c"]), r#"s=in.("a,b",c)"#),
            (new().in_("s", ["c", "a", "c"]), "s=in.(c,a)"),
            (new().in_("s", ["", "{}", " x"]), r#"s=in.("","{}"," x")"#),
            (new().not_in("s", ["null", "Null", "nullable"]), r#"s=not.in.("null","Null",nullable)"#),
            (new().not_in("n", [1, 3]), "n=not.in.(1,3)"),
            (new().is("t", FilterIs::Null).not_is("t", FilterIs::Unknown), "t=is.null,t=not.is.unknown"),
            (new().is("t", FilterIs::True).is("t", FilterIs::False), "t=is.true,t=is.false"),
            (new().like("t", "h%").ilike("t", "H_"), "t=like.h%,t=ilike.H_"),
            (new().matches("t", "^(a|b)$").imatches("t", "^H"), r#"t=match."^(a|b)$",t=imatch.^H"#),
            (new().not("n", FilterOperator::Eq, "x, y"), r#"n=not.eq."x, y""#),
        ] {
            assert_eq!(filter.build().unwrap(), expected);
            assert_eq!(PostgresFilter::parse(expected).as_ref(), Ok(&filter), "{expected}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_told_when_it_is_built() {
        let new = PostgresFilter::new;
        assert_eq!(new().build(), Err(FilterError::Empty));
        assert_eq!(new().in_("n", [0; 0]).build(), Err(FilterError::EmptyList("n".into())));
        for column in ["", " n", "n=eq.1,m", "f(n)", "\"n\""] {
            assert_eq!(new().eq("id", 1).eq(column, 1).build(), Err(FilterError::Column(column.into())));
        }
    }

    #[test]
    fn other_ways_to_write_the_same_are_read() {
        let new = PostgresFilter::new;
        for (text, expected) in [
            ("  ", new()),
            (" n=eq.1 , task=eq.x ", new().eq("n", 1).eq("task", "x")),
            (r#"task=eq."plain""#, new().eq("task", "plain")),
            (r#"task=eq."a"b"#, new().eq("task", r#""a"b"#)),
            (r#"task=eq.5" pipe,n=eq.1"#, new().eq("task", "5\" pipe").eq("n", 1)),
            ("task=eq.f(a,b)", new().eq("task", "f(a,b)")),
            ("task=eq.:)", new().eq("task", ":)")),
            (r#"s=in.( "a,b" , c d ,c d)"#, new().in_("s", ["a,b", "c d"])),
            (r#"s=in.(\,, \null ,a\\)"#, new().in_("s", [",", "null", "a\\"])),
        ] {
            assert_eq!(PostgresFilter::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn each_mistake_has_its_name_and_one_sentence() {
        let part = |text: &str| text.into();
        for (text, expected) in [
            ("undefined", FilterError::NotACondition(part("undefined"))),
            ("n", FilterError::NotACondition(part("n"))),
            ("n=eq", FilterError::NotACondition(part("n=eq"))),
            ("task=eq.hello, world", FilterError::UnquotedComma(part("world"))),
            ("task=eq.a,b=c", FilterError::UnquotedComma(part("b=c"))),
            ("task=fts.x", FilterError::UnknownOperator(part("fts"))),
            ("task=EQ.x", FilterError::UnknownOperator(part("EQ"))),
            ("task=not.not.eq.x", FilterError::UnknownOperator(part("not"))),
            ("n=eq.1,,n=eq.2", FilterError::EmptySegment),
            ("n=eq.1,", FilterError::EmptySegment),
            ("=eq.1", FilterError::Column(part(""))),
            ("n =eq.1", FilterError::Column(part("n "))),
            ("n=in.()", FilterError::EmptyList(part("n"))),
            ("n=in.1", FilterError::List(part("1"))),
            ("n=in.(1,,2)", FilterError::List(part("(1,,2)"))),
            ("n=in.(1,2,)", FilterError::List(part("(1,2,)"))),
            ("n=in.(1,NULL)", FilterError::List(part("(1,NULL)"))),
            ("n=in.({1},2)", FilterError::List(part("({1},2)"))),
            ("n=in.(1},2)", FilterError::List(part("(1},2)"))),
            (r#"n=in.("a"b)"#, FilterError::List(part(r#"("a"b)"#))),
            (r#"n=in.(a"b)"#, FilterError::List(part(r#"(a"b)"#))),
            (r#"task=eq.a,"b,c""#, FilterError::UnquotedComma(part(r#""b,c""#))),
            ("n=is.nil", FilterError::Is(part("nil"))),
            (r#"n=is."null""#, FilterError::Is(part(r#""null""#))),
            (r#"n=eq."a,m=eq.1"#, FilterError::Unclosed),
            ("n=eq.(a,m=eq.1", FilterError::Unclosed),
        ] {
            let error = PostgresFilter::parse(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), r#"[a-c.,()"\\ {}=]{0,8}"#, "null|not\\.|in\\.\\(a\\)|é🎉"]
    }

    fn operator() -> impl Strategy<Value = FilterOperator> {
        let words = ["eq", "neq", "lt", "lte", "gt", "gte", "like", "ilike", "match", "imatch", "isdistinct"];
        prop::sample::select(words.to_vec()).prop_map(|word| FilterOperator::of(word).unwrap())
    }

    fn test() -> impl Strategy<Value = FilterTest> {
        prop_oneof![
            (operator(), value()).prop_map(|(operator, value)| FilterTest::Compare(operator, value.into())),
            prop::collection::vec(value(), 1..5).prop_map(FilterTest::one_of),
            prop::sample::select([FilterIs::Null, FilterIs::True, FilterIs::False, FilterIs::Unknown].to_vec())
                .prop_map(FilterTest::Is),
        ]
    }

    proptest! {
        #[test]
        fn what_is_built_is_read_as_the_same_conditions(
            parts in prop::collection::vec(("[a-z_.é\\\\ ]{0,3}[a-z]", any::<bool>(), test()), 1..5),
        ) {
            let mut filter = PostgresFilter::new();
            for (column, negated, test) in parts {
                filter.push(FilterCondition::new(column.trim(), negated, test).unwrap());
            }
            let text = filter.build().unwrap();
            prop_assert_eq!(PostgresFilter::parse(&text), Ok(filter), "{}", text);
        }

        #[test]
        fn what_is_read_can_be_built(text in prop_oneof![any::<String>(), r#"([a-b]=(not\.)?(eq|in|is)\.[a-b,()"\\ ]{0,6},?){0,3}"#]) {
            if let Ok(filter) = PostgresFilter::parse(&text) && !filter.conditions().is_empty() {
                let again = filter.build().unwrap();
                prop_assert_eq!(PostgresFilter::parse(&again), Ok(filter), "{}", again);
            }
        }
    }
}
