//! `tests/traceability.md` is true: every listed test exists, every trap and failure row is listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const TRAPS: u32 = 96;
const FAILURE_ROWS: u32 = 63;

struct Row {
    rule: String,
    test: String,
    file: String,
}

fn rows() -> Vec<Row> {
    let table = fs::read_to_string(root().join("tests/traceability.md")).unwrap();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = table.lines().filter(|line| line.starts_with('|')).map(cells);
    let rows = rows.filter(|cells| cells[0] != "rule" && !cells[0].starts_with('-'));
    rows.map(|cells| match &cells[..] {
        [rule, _, test, file] => Row { rule: rule.clone(), test: test.clone(), file: file.clone() },
        [rule, _, test] => Row { rule: rule.clone(), test: test.clone(), file: String::new() },
        other => panic!("not a row: {other:?}"),
    })
    .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in a folder of the repository")
}

/// Whether a file has this function, and tests at all.
fn has_test(file: &str, name: &str) -> bool {
    let text = fs::read_to_string(root().join(file)).unwrap_or_default();
    let function = |after: &str| after.strip_prefix(name).is_some_and(|rest| rest.starts_with(['(', '<']));
    text.contains("#[test]") && text.split("fn ").skip(1).any(function)
}

#[test]
fn every_listed_test_exists() {
    let missing: Vec<_> = rows()
        .into_iter()
        .filter(|row| !row.test.starts_with("later: ") && !has_test(&row.file, &row.test))
        .map(|row| format!("{}: {} in {}", row.rule, row.test, row.file))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_trap_and_failure_row_has_a_test_or_an_issue() {
    let mut listed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows() {
        assert!(!row.test.is_empty(), "{} has neither", row.rule);
        assert!(row.test != "later:", "{} does not say what later is", row.rule);
        listed.entry(row.rule).or_default().insert(row.test);
    }
    let rules = (1..=TRAPS).map(|n| format!("T{n}")).chain((1..=FAILURE_ROWS).map(|n| format!("F{n}")));
    let missing: Vec<_> = rules.filter(|rule| !listed.contains_key(rule)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_test_that_does_not_exist_would_be_noticed() {
    let own = "tests/tests/traceability.rs";
    assert!(has_test(own, "a_test_that_does_not_exist_would_be_noticed"));
    assert!(!has_test(own, "a_test_that_does_not_exist"), "not even by the beginning of its name");
    assert!(!has_test("tests/tests/nowhere.rs", "every_listed_test_exists"));
}
