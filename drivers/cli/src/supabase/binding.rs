//! `--postgres-changes SCHEMA.TABLE[:EVENT[:FILTER]]`: which changes of the database are wanted.

use rejoin_core::supabase::{PostgresBinding, PostgresEvent, PostgresFilter};

use crate::failure::Failure;

const OPTION: &str = "--postgres-changes";
const FORM: &str = "write SCHEMA.TABLE[:EVENT[:FILTER]] such as public.todos:insert:done=eq.false";

/// What the option's value asks for. A filter may contain colons, names may not.
pub(crate) fn binding(text: &str) -> Result<PostgresBinding, Failure> {
    let mut parts = text.splitn(3, ':');
    let (schema, table) = names(parts.next().unwrap_or_default())?;
    let event = parts.next().map_or(Ok(PostgresEvent::All), event)?;
    let binding = PostgresBinding::new(event).schema(schema);
    // Every table of a schema is what a binding without a table is about.
    let binding = if table == "*" { binding } else { binding.table(table) };
    match parts.next() {
        None => Ok(binding),
        Some(_) if schema == "*" || table == "*" => {
            Err(fail("FILTER looks at the columns of one table; name schema and table instead of `*`"))
        }
        Some(filter) => {
            let filter = PostgresFilter::parse(filter).and_then(|filter| filter.build());
            Ok(binding.filter(filter.map_err(|error| fail(&format!("FILTER: {error}")))?))
        }
    }
}

fn names(text: &str) -> Result<(&str, &str), Failure> {
    let Some((schema, table)) = text.split_once('.') else {
        return Err(fail(&format!("SCHEMA is missing in `{text}`; {FORM}")));
    };
    for (field, name) in [("SCHEMA", schema), ("TABLE", table)] {
        if name.is_empty() {
            return Err(fail(&format!("{field} is empty in `{text}`; name it, or write * for all")));
        }
        // Such a name would be bound without a word, and nothing would ever be heard of it.
        if name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '.' || c == '"') {
            let fix = "leave out quotes, white space and further dots";
            return Err(fail(&format!("{field} is `{name}`, which no binding can name; {fix}")));
        }
    }
    Ok((schema, table))
}

fn event(text: &str) -> Result<PostgresEvent, Failure> {
    let known = [PostgresEvent::All, PostgresEvent::Insert, PostgresEvent::Update, PostgresEvent::Delete];
    let event = known.into_iter().find(|event| event.as_str().eq_ignore_ascii_case(text));
    event.ok_or_else(|| fail(&format!("EVENT is `{text}`, which is none; write insert, update, delete or *")))
}

fn fail(what: &str) -> Failure {
    Failure::usage(OPTION, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bound(event: PostgresEvent, schema: &str, table: &str) -> PostgresBinding {
        PostgresBinding::new(event).schema(schema).table(table)
    }

    #[test]
    fn schema_and_table_are_enough_and_the_rest_narrows_it_down() {
        use PostgresEvent::{All, Delete, Insert, Update};
        for (text, expected) in [
            ("public.todos", bound(All, "public", "todos")),
            ("public.todos:*", bound(All, "public", "todos")),
            ("s.t:insert", bound(Insert, "s", "t")),
            ("s.t:UPDATE", bound(Update, "s", "t")),
            ("s.t:Delete", bound(Delete, "s", "t")),
            ("s.*", PostgresBinding::new(All).schema("s")),
            ("*.*:insert", PostgresBinding::new(Insert).schema("*")),
            ("*.t", bound(All, "*", "t")),
            ("s.t:*:id=eq.7", bound(All, "s", "t").filter("id=eq.7")),
            ("s.t:update:at=gt.10:30:00,id=in.(1,2)", bound(Update, "s", "t").filter("at=gt.10:30:00,id=in.(1,2)")),
            (r#"s.t:*:a=eq."x, y""#, bound(All, "s", "t").filter(r#"a=eq."x, y""#)),
        ] {
            assert_eq!(binding(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn each_mistake_names_its_field_and_the_fix() {
        for (text, field, fix) in [
            ("", "SCHEMA is missing", "write SCHEMA.TABLE"),
            ("todos", "SCHEMA is missing in `todos`", "public.todos"),
            ("todos:insert", "SCHEMA is missing in `todos`", "public.todos"),
            (".todos", "SCHEMA is empty", "write * for all"),
            ("public.", "TABLE is empty", "write * for all"),
            ("public. todos", "TABLE is ` todos`", "leave out"),
            ("db.public.todos", "TABLE is `public.todos`", "further dots"),
            (r#"public."todos""#, "TABLE is", "leave out quotes"),
            ("s.t:", "EVENT is ``", "write insert, update, delete or *"),
            ("s.t:upsert", "EVENT is `upsert`", "write insert, update, delete or *"),
            ("s.t:id=eq.7", "EVENT is `id=eq.7`", "write insert, update, delete or *"),
            ("s.t:*:", "FILTER: the filter has no condition", "leave it out"),
            ("s.t:*:id", "FILTER: `id` is no condition", "write column=operator.value"),
            ("s.t:*:id=is.7", "FILTER: `is` cannot ask for `7`", "use null"),
            ("s.t:*:id=contains.7", "FILTER: there is no operator `contains`", "use eq"),
            ("s.t:*:a=eq.x, y", "FILTER: `y` behind a comma", "in double quotes"),
            ("s.*:*:id=eq.7", "FILTER looks at the columns of one table", "name schema and table"),
            ("*.t:*:id=eq.7", "FILTER looks at the columns of one table", "name schema and table"),
        ] {
            let Err(Failure::Usage(said)) = binding(text) else { panic!("{text} is accepted") };
            assert!(said.starts_with(&format!("--postgres-changes: {field}")) && said.contains(fix), "{text}: {said}");
        }
    }

    proptest! {
        #[test]
        fn any_names_are_bound_as_they_are_written(
            schema in "[^\\s\\pC.:\"*]{1,8}", table in "[^\\s\\pC.:\"*]{1,8}", event in 0..4_usize, upper: bool
        ) {
            let event = ["*", "insert", "update", "delete"][event];
            let event = if upper { event.to_uppercase() } else { event.to_owned() };
            let got = binding(&format!("{schema}.{table}:{event}:id=eq.7"));
            let got = got.map_err(|failure| TestCaseError::fail(format!("{failure:?}")))?;
            prop_assert_eq!(got.event.as_str(), event.to_uppercase());
            prop_assert_eq!((got.schema.as_str(), got.table.as_deref()), (schema.as_str(), Some(table.as_str())));
        }

        #[test]
        fn any_filter_that_the_library_builds_is_taken_as_it_is(column in "[a-z]{1,5}", value in "\\PC{0,12}") {
            let filter = PostgresFilter::new().eq(column, value).build().expect("a condition");
            let got = binding(&format!("s.t:*:{filter}"));
            prop_assert_eq!(got, Ok(bound(PostgresEvent::All, "s", "t").filter(filter)));
        }

        #[test]
        fn any_text_is_bound_or_refused_in_one_sentence(text in "\\PC{0,30}") {
            if let Err(failure) = binding(&text) {
                let Failure::Usage(said) = failure else { panic!("{failure:?}") };
                prop_assert!(said.starts_with("--postgres-changes: ") && said.contains("; "), "{}", said);
            }
        }
    }
}
