//! What the documentation promises to cover, it covers.

/// What is about success, about a message, or about the end that the application itself asked for.
const NO_TROUBLE: [&str; 14] = [
    "Connected",
    "Heartbeat",
    "Subscribed",
    "Broadcast",
    "PostgresChange",
    "Presence",
    "System",
    "Message",
    "PushSent",
    "HttpDone",
    "TokenRefreshed",
    "Closed",
    // These two are about this very host or peer, and nothing comes back from them.
    "Malformed",
    "Lagged",
];

/// Row 63 of the failure modes.
#[test]
fn every_event_about_a_trouble_is_in_the_table_of_what_comes_back() {
    let events = include_str!("../../core/src/supabase/event.rs");
    let (_, rest) = events.split_once("pub enum Event {").expect("the events");
    let (variants, _) = rest.split_once("\n}").expect("their end");
    let names = variants.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?.split([' ', '(', ',']).next()?;
        name.starts_with(|first: char| first.is_ascii_uppercase()).then_some(name)
    });
    let names: Vec<_> = names.collect();
    assert!(names.len() > 20 && NO_TROUBLE.iter().all(|name| names.contains(name)), "{names:?}");

    let docs = include_str!("../../core/src/supabase/mod.rs");
    let table: String = docs.lines().filter(|line| line.starts_with("//! |")).collect();
    for name in names.into_iter().filter(|name| !NO_TROUBLE.contains(name)) {
        assert!(table.contains(&format!("`{name}")), "{name} is not in the table");
    }
}
