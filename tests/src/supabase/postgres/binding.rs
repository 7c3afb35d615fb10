//! One thing that a channel asks for: how it is echoed, and what the server finds wrong with it.

use rejoin_core::supabase::{ChangeKind, FilterCondition, FilterTest, PostgresFilter};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::supabase::config::Echo;

/// A wish that the server understands.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) id: u32,
    /// `None` is every kind, as for the other two.
    event: Option<ChangeKind>,
    schema: Option<String>,
    table: Option<String>,
    pub(super) filter: PostgresFilter,
    /// The columns to send besides the key; `None` is all of them.
    pub(super) select: Option<Vec<String>>,
}

impl Binding {
    /// # Errors
    /// What the server says if it does not understand it, or knows no such table.
    pub(super) fn of(wish: &Map<String, Value>, tables: &[(String, String)]) -> Result<Self, String> {
        let text = |name: &str| wish.get(name).and_then(Value::as_str);
        if text("schema").or(text("table")).is_none() {
            return Err(format!(
                "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: {}",
                inspect(&Value::Object(wish.clone()))
            ));
        }
        let named = |name: &str, default| Some(text(name).unwrap_or(default)).filter(|name| *name != "*");
        let (schema, table) = (named("schema", "public"), named("table", "*"));
        let filter = text("filter").map_or_else(|| Ok(PostgresFilter::new()), filter)?;
        let select = select(wish.get("select"), schema.and(table).is_some())?;
        let event = text("event").and_then(kind);
        let known = |(known_schema, known_table): &(String, String)| {
            schema.is_none_or(|schema| schema == known_schema) && table.is_none_or(|table| table == known_table)
        };
        if !tables.is_empty() && !tables.iter().any(known) {
            let conditions: Vec<String> = filter.conditions().iter().map(condition).collect();
            let columns = select.as_ref().map_or_else(|| "nil".into(), |select| format!("{select:?}"));
            return Err(format!(
                "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the \
                 given connect parameters: [event: {}, schema: {}, table: {}, filters: [{}], select: {columns}]",
                event.map_or("*", ChangeKind::as_str),
                schema.unwrap_or("*"),
                table.unwrap_or("*"),
                conditions.join(", "),
            ));
        }
        let (schema, table) = (schema.map(String::from), table.map(String::from));
        Ok(Self { id: id(wish), event, schema, table, filter, select })
    }

    pub(super) fn is_of(&self, kind: ChangeKind, schema: &str, table: &str) -> bool {
        self.event.is_none_or(|wanted| wanted == kind)
            && self.schema.as_ref().is_none_or(|wanted| wanted == schema)
            && self.table.as_ref().is_none_or(|wanted| wanted == table)
    }
}

impl Echo {
    /// The wishes as the answer to the join gives them back, if it does.
    pub(super) fn of(self, wishes: &[Map<String, Value>]) -> Option<Value> {
        #[derive(Serialize)]
        struct Echoed {
            id: u32,
            #[serde(flatten)]
            wish: Map<String, Value>,
        }
        let mut echoed: Vec<Echoed> =
            wishes.iter().map(|wish| Echoed { id: id(wish), wish: self.alter(wish.clone()) }).collect();
        match self {
            Self::Reversed => echoed.reverse(),
            Self::Fewer => drop(echoed.pop()),
            Self::Absent => return None,
            _ => {}
        }
        serde_json::to_value(echoed).ok()
    }

    fn alter(self, mut wish: Map<String, Value>) -> Map<String, Value> {
        match self {
            Self::Nulls => {
                for name in ["table", "filter", "select"] {
                    wish.entry(name).or_insert(Value::Null);
                }
            }
            Self::NoStars => wish.retain(|name, value| name == "event" || value != "*"),
            Self::UpperCase => {
                let upper = wish.get("event").and_then(Value::as_str).map(str::to_ascii_uppercase);
                wish.extend(upper.map(|event| ("event".into(), event.into())));
            }
            Self::NoSelect => drop(wish.remove("select")),
            Self::OtherSchema => drop(wish.insert("schema".into(), "other".into())),
            Self::Exact | Self::Reversed | Self::Fewer | Self::Absent => {}
        }
        wish
    }
}

/// FNV-1a, cut to the 27 bits of the real ids.
fn id(wish: &Map<String, Value>) -> u32 {
    let text = serde_json::to_string(wish).unwrap_or_default();
    text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)) >> 5
}

/// `None` for what the server takes for every kind: `*`, and words it does not know.
fn kind(event: &str) -> Option<ChangeKind> {
    let kinds = [ChangeKind::Insert, ChangeKind::Update, ChangeKind::Delete];
    kinds.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(event))
}

fn filter(text: &str) -> Result<PostgresFilter, String> {
    PostgresFilter::parse(text).map_err(|_| {
        let (_, test) = text.split_once('=').unwrap_or(("", text));
        let parts: Vec<&str> = test.splitn(2, '.').collect();
        match parts[..] {
            ["in", value] if !value.starts_with('(') => {
                "Error parsing `filter` params: `in` filter value must be wrapped by parentheses".into()
            }
            _ => format!("Error parsing `filter` params: {parts:?}"),
        }
    })
}

fn select(select: Option<&Value>, is_one_table: bool) -> Result<Option<Vec<String>>, String> {
    const NO_LIST: &str = "Error parsing `select` params: expected a list of column name strings, e.g. select: \
                           [\"col1\", \"col2\"]";
    let columns = match select {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(columns)) => columns,
        Some(_) => return Err(NO_LIST.into()),
    };
    let columns: Vec<String> = columns.iter().filter_map(Value::as_str).map(String::from).collect();
    match columns.is_empty() {
        true => Ok(None),
        false if is_one_table => Ok(Some(columns)),
        false => Err("Column selection is not supported for wildcard subscriptions. Provide an explicit schema and \
                      table name."
            .into()),
    }
}

/// `{"n", "eq", "1", false}`.
fn condition(condition: &FilterCondition) -> String {
    let (operator, value) = match &condition.test {
        FilterTest::Compare(operator, value) => (operator.as_str(), value.as_str().to_owned()),
        FilterTest::Is(what) => ("is", what.as_str().to_owned()),
        FilterTest::In(values) => {
            let values: Vec<&str> = values.iter().map(|value| value.as_str()).collect();
            ("in", format!("{{{}}}", values.join(",")))
        }
        _ => ("", String::new()),
    };
    format!("{{{:?}, {operator:?}, {value:?}, {}}}", condition.column.as_str(), condition.negated)
}

/// As Elixir shows it.
fn inspect(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name:?} => {}", inspect(value)));
            format!("%{{{}}}", list(fields.collect()))
        }
        Value::Array(items) => format!("[{}]", list(items.iter().map(inspect).collect())),
        Value::Null => "nil".into(),
        scalar => scalar.to_string(),
    }
}
