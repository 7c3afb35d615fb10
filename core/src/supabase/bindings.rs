//! The database changes that a channel asked for, and which of them a change is for.
//!
//! A server answers a join with the bindings that it was asked for, each with an id, and names those
//! ids with each change (specification, sections 4.4 and 5.4).

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::channel_config::{ChannelConfig, PostgresBinding, PostgresEvent};
use super::postgres::{ChangeKind, PostgresChange, PostgresFilter};
use super::refusal::bounded;
use crate::payload::Payload;
use crate::text::Text;

/// Which bindings of its channel a change is for, by their places in
/// [`ChannelConfig::postgres_changes`]. Equal bindings are all in it, though the server knows but one.
///
/// Empty for a change on a topic of the legacy API, which has no bindings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    first: u64,
    /// Those from the 64th on; a channel with as many pays for them.
    rest: Vec<u64>,
}

impl Bindings {
    /// Whether the change is for the binding at this place.
    #[must_use]
    pub fn contains(&self, place: usize) -> bool {
        self.word(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// The places, from the first to the last.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..64 * (1 + self.rest.len())).filter(|place| self.contains(*place))
    }

    /// Whether it is for none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first == 0 && self.rest.iter().all(|word| *word == 0)
    }

    fn word(&self, index: usize) -> Option<u64> {
        if index == 0 { Some(self.first) } else { self.rest.get(index - 1).copied() }
    }

    fn insert(&mut self, place: usize) {
        let bit = 1 << (place % 64);
        match (place / 64).checked_sub(1) {
            None => self.first |= bit,
            Some(index) => {
                self.rest.resize(self.rest.len().max(index + 1), 0);
                self.rest[index] |= bit;
            }
        }
    }

    #[inline]
    fn extend(&mut self, other: &Self) {
        self.first |= other.first;
        if self.rest.len() < other.rest.len() {
            self.rest.resize(other.rest.len(), 0);
        }
        for (word, more) in self.rest.iter_mut().zip(&other.rest) {
            *word |= more;
        }
    }
}

/// The bindings of one channel, each once, and what the server calls them since the last join.
#[derive(Debug)]
pub(super) struct Subscription {
    wanted: Vec<Wanted>,
    /// The server's id and the place in `wanted`, in the order of the ids. Bindings that differ only in
    /// their columns may share one.
    ids: Vec<(u64, usize)>,
}

#[derive(Debug)]
struct Wanted {
    binding: PostgresBinding,
    places: Bindings,
}

impl Subscription {
    /// `None` if the channel asks for no changes.
    pub(super) fn new(config: &ChannelConfig) -> Option<Self> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for (place, binding) in config.postgres_changes.iter().enumerate() {
            let at = wanted.iter().position(|known| known.binding == *binding).unwrap_or_else(|| {
                wanted.push(Wanted { binding: binding.clone(), places: Bindings::default() });
                wanted.len() - 1
            });
            wanted[at].places.insert(place);
        }
        (!wanted.is_empty()).then_some(Self { wanted, ids: Vec::new() })
    }

    /// Takes over the ids of a join's answer. A server that names no bindings at all is believed.
    ///
    /// # Errors
    /// If the answer is for other bindings than were asked for.
    pub(super) fn learn(&mut self, response: &Payload) -> Result<(), BindingMismatch> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow, default)]
            postgres_changes: Option<&'a RawValue>,
        }
        self.ids.clear();
        let answer = response.parse::<Answer<'_>>().ok().and_then(|answer| answer.postgres_changes);
        let Some(theirs) = answer.map(RawValue::get).filter(|theirs| *theirs != "null") else { return Ok(()) };
        let echoes: Vec<Option<Echo<'_>>> = serde_json::from_str(theirs).unwrap_or_default();
        match self.places_of(&echoes) {
            Ok(places) => {
                let id = |(wanted, echo): (usize, usize)| Some((echoes.get(echo)?.as_ref()?.id, wanted));
                self.ids = places.into_iter().enumerate().filter_map(id).collect();
                self.ids.sort_unstable();
                Ok(())
            }
            Err(index) => Err(BindingMismatch {
                index,
                ours: self.wanted.get(index).map(|wanted| wanted.binding.to_json()),
                theirs: bounded(theirs),
            }),
        }
    }

    /// Where in the answer each binding stands: in its own place, or else wherever it is found.
    fn places_of(&self, echoes: &[Option<Echo<'_>>]) -> Result<Vec<usize>, usize> {
        if self.wanted.len() != echoes.len() {
            return Err(self.wanted.len().min(echoes.len()));
        }
        let is = |wanted: &Wanted, at: usize| echoes[at].as_ref().is_some_and(|echo| echo.is_of(&wanted.binding));
        let in_place: Vec<bool> = self.wanted.iter().enumerate().map(|(at, wanted)| is(wanted, at)).collect();
        let mut taken = in_place.clone();
        let place = |(index, wanted): (usize, &Wanted)| {
            if in_place[index] {
                return Ok(index);
            }
            let found = (0..echoes.len()).find(|at| !taken[*at] && is(wanted, *at)).ok_or(index)?;
            taken[found] = true;
            Ok(found)
        };
        self.wanted.iter().enumerate().map(place).collect()
    }

    /// Which bindings a change is for; empty if none, as when the server names ids that it never gave.
    #[inline]
    pub(super) fn route(&self, change: &PostgresChange) -> Bindings {
        let mut bindings = Bindings::default();
        let mut named = false;
        for id in change.ids() {
            named = true;
            let from = self.ids.partition_point(|(known, _)| *known < id);
            let same = self.ids[from..].iter().take_while(|(known, _)| *known == id);
            for wanted in same.filter_map(|(_, at)| self.wanted.get(*at)) {
                if wanted.binding.event.admits(change.kind()) {
                    bindings.extend(&wanted.places);
                }
            }
        }
        if named && !self.ids.is_empty() { bindings } else { self.route_by_table(change) }
    }

    /// Some servers name no ids.
    #[cold]
    fn route_by_table(&self, change: &PostgresChange) -> Bindings {
        let mut bindings = Bindings::default();
        let Ok(details) = change.details() else { return bindings };
        for Wanted { binding, places } in &self.wanted {
            let is = |wanted: &Text, actual: &Text| *wanted == "*" || wanted == actual;
            if binding.event.admits(change.kind())
                && is(&binding.schema, &details.schema)
                && binding.table.as_ref().is_none_or(|table| is(table, &details.table))
            {
                bindings.extend(places);
            }
        }
        bindings
    }
}

impl PostgresEvent {
    const fn admits(self, kind: ChangeKind) -> bool {
        match self {
            Self::All => true,
            Self::Insert => matches!(kind, ChangeKind::Insert),
            Self::Update => matches!(kind, ChangeKind::Update),
            Self::Delete => matches!(kind, ChangeKind::Delete),
        }
    }
}

/// One binding as a server repeats it, with the id that it gave it.
#[derive(Deserialize)]
struct Echo<'a> {
    id: u64,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    schema: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    table: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    filter: Option<Cow<'a, str>>,
}

impl Echo<'_> {
    /// Whether it repeats this binding. Null, absent and empty are the same, cases of the event and
    /// ways to write a filter too, and old servers do not repeat the columns (traps T35, T37, T38, T47).
    fn is_of(&self, binding: &PostgresBinding) -> bool {
        let event = self.event.as_deref().unwrap_or("*");
        event.eq_ignore_ascii_case(binding.event.as_str())
            && said(&self.schema).unwrap_or("public") == binding.schema.as_str()
            && said(&self.table) == binding.table.as_deref().filter(|table| !table.is_empty())
            && is_same_filter(said(&self.filter), binding.filter.as_deref().filter(|filter| !filter.is_empty()))
    }
}

fn said<'a>(text: &'a Option<Cow<'_, str>>) -> Option<&'a str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn is_same_filter(theirs: Option<&str>, ours: Option<&str>) -> bool {
    let canonical = |filter: &str| PostgresFilter::parse(filter).ok()?.build().ok();
    match (theirs, ours) {
        (Some(theirs), Some(ours)) => {
            theirs == ours || canonical(theirs).is_some_and(|theirs| Some(theirs) == canonical(ours))
        }
        (theirs, ours) => theirs == ours,
    }
}

/// The server answered a join for other database changes than it was asked for, so that nobody
/// could tell which of them a change is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BindingMismatch {
    /// The first binding that the server does not repeat, counted from 0 without repetitions.
    pub index: usize,
    /// That binding as it was sent; `None` if the server names more than it was asked for.
    pub ours: Option<Text>,
    /// All bindings that the server names, as JSON, cut at 1 KiB.
    pub theirs: Text,
}

impl fmt::Display for BindingMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, ours, theirs } = self;
        match ours {
            Some(ours) => {
                write!(f, "database changes {index} were asked for as {ours}, and the server answers {theirs}")
            }
            None => write!(f, "the server answers for more database changes than the {index} asked for: {theirs}"),
        }
    }
}

impl core::error::Error for BindingMismatch {}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn binding(event: PostgresEvent, table: &str) -> PostgresBinding {
        PostgresBinding::new(event).table(table)
    }

    fn subscription(bindings: impl IntoIterator<Item = PostgresBinding>) -> Subscription {
        let config = bindings.into_iter().fold(ChannelConfig::default(), ChannelConfig::postgres_changes);
        Subscription::new(&config).unwrap()
    }

    fn learn(subscription: &mut Subscription, echoes: &Value) -> Result<(), BindingMismatch> {
        subscription.learn(&Payload::json(&json!({ "postgres_changes": echoes })).unwrap())
    }

    fn change(kind: &str, table: &str, ids: &[u64]) -> PostgresChange {
        let data = json!({"type": kind, "schema": "public", "table": table});
        PostgresChange::of(&Payload::json(&json!({"data": data, "ids": ids})).unwrap()).unwrap()
    }

    fn places(subscription: &Subscription, kind: &str, table: &str, ids: &[u64]) -> Vec<usize> {
        subscription.route(&change(kind, table, ids)).iter().collect()
    }

    /// Traps T36 and T39, and row 24 of the failure modes.
    #[test]
    fn a_change_is_for_each_equal_binding_once_however_many_ids_it_names() {
        let todos = || binding(PostgresEvent::Insert, "todos");
        let all = PostgresBinding::new(PostgresEvent::All);
        let mut subscription = subscription([todos(), todos(), all]);
        let echoes = json!([
            {"id": 7, "event": "INSERT", "schema": "public", "table": "todos"},
            {"id": 9, "event": "*", "schema": "public"},
        ]);
        learn(&mut subscription, &echoes).unwrap();
        assert_eq!(places(&subscription, "INSERT", "todos", &[9, 7, 7]), [0, 1, 2]);
        assert_eq!(places(&subscription, "INSERT", "todos", &[7]), [0, 1]);
        assert_eq!(places(&subscription, "UPDATE", "todos", &[9, 7]), [2], "the event has to admit it, too");
        assert_eq!(places(&subscription, "INSERT", "todos", &[8]), [0; 0], "an id that was never given");
        assert_eq!(places(&subscription, "INSERT", "todos", &[]), [0, 1, 2], "by the table");
    }

    /// Traps T35, T37, T38 and T47.
    #[test]
    fn an_echo_may_be_written_otherwise() {
        let ours = binding(PostgresEvent::Insert, "todos").filter("name=eq.\"a\"").select(["id"]);
        for echo in [
            json!({"id": 1, "event": "INSERT", "schema": "public", "table": "todos", "filter": "name=eq.\"a\"", "select": ["id"]}),
            json!({"id": 1, "event": "insert", "schema": null, "table": "todos", "filter": "name=eq.a"}),
        ] {
            assert_eq!(learn(&mut subscription([ours.clone()]), &json!([echo])), Ok(()));
        }
        let all = PostgresBinding::new(PostgresEvent::All);
        for echo in [
            json!({"id": 1, "event": "*", "schema": "public", "table": null, "filter": null}),
            json!({"id": 1, "event": "*", "schema": "public", "filter": ""}),
            json!({"id": 1}),
        ] {
            assert_eq!(learn(&mut subscription([all.clone()]), &json!([echo])), Ok(()));
        }
    }

    /// Row 25 of the failure modes.
    #[test]
    fn an_echo_of_something_else_is_a_mismatch_that_says_what() {
        let mut subscription =
            subscription([binding(PostgresEvent::All, "todos"), binding(PostgresEvent::All, "notes")]);
        let todos = json!({"id": 1, "event": "*", "schema": "public", "table": "todos"});
        let other = json!({"id": 2, "event": "*", "schema": "private", "table": "notes"});
        let mismatch = learn(&mut subscription, &json!([todos, other])).unwrap_err();
        assert_eq!(mismatch.index, 1);
        let shown = mismatch.to_string();
        assert!(shown.contains("notes") && shown.contains("private"), "{shown}");
        for other_length in [json!([]), json!([todos]), json!([todos, other, other]), json!("x")] {
            assert!(learn(&mut subscription, &other_length).is_err(), "{other_length}");
        }
        assert!(learn(&mut subscription, &json!(null)).is_ok(), "a server that names none is believed");
        assert_eq!(places(&subscription, "INSERT", "notes", &[4]), [1], "and changes go by their tables");
    }

    #[test]
    fn more_than_64_bindings_are_told_apart() {
        let mut subscription = subscription((0..200).map(|n| binding(PostgresEvent::All, &format!("t{n}"))));
        let echoes: Vec<_> = (0..200).map(|n| json!({"id": 1000 - n, "table": format!("t{n}")})).collect();
        learn(&mut subscription, &echoes.into()).unwrap();
        assert_eq!(places(&subscription, "DELETE", "t", &[1000, 1000 - 63, 1000 - 64, 1000 - 199]), [0, 63, 64, 199]);
        let bindings = subscription.route(&change("DELETE", "t", &[1000 - 64]));
        assert!(bindings.contains(64) && !bindings.contains(0) && !bindings.contains(9999) && !bindings.is_empty());
    }

    proptest! {
        /// Whatever order a server answers in, a change finds its own binding.
        #[test]
        fn any_order_of_the_echo_is_matched(order in Just((0..12).collect::<Vec<usize>>()).prop_shuffle()) {
            let tables: Vec<_> = (0..12).map(|n| format!("t{}", n / 2)).collect();
            let events = [PostgresEvent::Insert, PostgresEvent::Delete];
            let mut subscription = subscription(tables.iter().enumerate().map(|(n, table)| binding(events[n % 2], table)));
            let echo = |n: &usize| json!({"id": 100 + n, "event": events[n % 2].as_str(), "schema": "public", "table": tables[*n]});
            learn(&mut subscription, &order.iter().map(echo).collect()).unwrap();
            for (n, table) in tables.iter().enumerate() {
                prop_assert_eq!(places(&subscription, events[n % 2].as_str(), table, &[100 + n as u64]), [n]);
            }
        }
    }
}
