//! Which rows of a table to hear of: a filter made of typed conditions, quoted as the server reads it.
//!
//! A value that is pasted into a filter by hand may hold a comma, and then it is two conditions.
//! Facts are from the specification, section 5.1.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::text::Text;

/// The conditions that a row must meet, all of them.
///
/// Every method adds one. Nothing fails before [`build`](Self::build), whose text is what
/// [`PostgresBinding::filter`](crate::supabase::PostgresBinding::filter) takes. A change of a row is tested
/// against the row as it is afterwards, a deletion against what the database tells of it: the
/// primary key, unless the table has `REPLICA IDENTITY FULL`.
///
/// ```
/// use rejoin_core::supabase::{FilterOperator, PostgresFilter};
///
/// let filter = PostgresFilter::new()
///     .gte("price", 10)
///     .in_("status", ["open", "on hold, paid"])
///     .not("title", FilterOperator::Ilike, "draft%");
/// assert_eq!(filter.build()?, r#"price=gte.10,status=in.(open,"on hold, paid"),title=not.ilike.draft%"#);
/// # Ok::<(), rejoin_core::supabase::FilterError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostgresFilter {
    conditions: Vec<FilterCondition>,
}

impl PostgresFilter {
    /// No condition yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { conditions: Vec::new() }
    }

    /// The column is this value.
    #[must_use]
    pub fn eq(self, column: impl Into<Text>, value: impl Into<FilterValue>) -> Self {
        self.compare(column, FilterOperator::Eq, value)
    }

    /// The column is another value.
    #[must_use]
    pub fn neq(self, column: impl Into<Text>, value: impl Into<FilterValue>) -> Self {
        self.compare(column, FilterOperator::Neq, value)
    }

    /// The column is less.
    #[must_use]
    pub fn lt(self, column: impl Into<Text>, value: impl Into<FilterValue>) -> Self {
        self.compare(column, FilterOperator::Lt, value)
    }

    /// The column is less or this value.
    #[must_use]
    pub fn lte(self, column: impl Into<Text>, value: impl Into<FilterValue>) -> Self {
        self.compare(column, FilterOperator::Lte, value)
    }

    /// The column is greater.
    #[must_use]
    pub fn gt(self, column: impl Into<Text>, value: impl Into<FilterValue>) -> Self {
        self.compare(column, FilterOperator::Gt, value)
    }

    /// The column is greater or this value.
    #[must_use]
    pub fn gte(self, column: impl Into<Text>, value: impl Into<FilterValue>) -> Self {
        self.compare(column, FilterOperator::Gte, value)
    }

    /// The column is one of these values, of which there must be one; a value that comes again is left out.
    #[must_use]
    pub fn in_<V: Into<FilterValue>>(self, column: impl Into<Text>, values: impl IntoIterator<Item = V>) -> Self {
        self.with(column, false, FilterTest::one_of(values))
    }

    /// The column matches a pattern of SQL's `LIKE`: `%` is anything, `_` any character.
    #[must_use]
    pub fn like(self, column: impl Into<Text>, pattern: impl Into<FilterValue>) -> Self {
        self.compare(column, FilterOperator::Like, pattern)
    }

    /// The same, whatever the case.
    #[must_use]
    pub fn ilike(self, column: impl Into<Text>, pattern: impl Into<FilterValue>) -> Self {
        self.compare(column, FilterOperator::Ilike, pattern)
    }

    /// The column is null, true, false or unknown, as SQL's `IS` has it.
    #[must_use]
    pub fn is(self, column: impl Into<Text>, what: FilterIs) -> Self {
        self.with(column, false, FilterTest::Is(what))
    }

    /// The column matches a regular expression of Postgres.
    #[must_use]
    pub fn matches(self, column: impl Into<Text>, pattern: impl Into<FilterValue>) -> Self {
        self.compare(column, FilterOperator::Match, pattern)
    }

    /// The same, whatever the case.
    #[must_use]
    pub fn imatches(self, column: impl Into<Text>, pattern: impl Into<FilterValue>) -> Self {
        self.compare(column, FilterOperator::Imatch, pattern)
    }

    /// The column is another value, where null is a value like others.
    #[must_use]
    pub fn isdistinct(self, column: impl Into<Text>, value: impl Into<FilterValue>) -> Self {
        self.compare(column, FilterOperator::IsDistinct, value)
    }

    /// This comparison does not hold.
    #[must_use]
    pub fn not(self, column: impl Into<Text>, operator: FilterOperator, value: impl Into<FilterValue>) -> Self {
        self.with(column, true, FilterTest::Compare(operator, value.into()))
    }

    /// The column is none of these values.
    #[must_use]
    pub fn not_in<V: Into<FilterValue>>(self, column: impl Into<Text>, values: impl IntoIterator<Item = V>) -> Self {
        self.with(column, true, FilterTest::one_of(values))
    }

    /// The column is not null, true, false or unknown.
    #[must_use]
    pub fn not_is(self, column: impl Into<Text>, what: FilterIs) -> Self {
        self.with(column, true, FilterTest::Is(what))
    }

    /// The conditions so far.
    #[must_use]
    pub fn conditions(&self) -> &[FilterCondition] {
        &self.conditions
    }

    /// The filter as the server reads it.
    ///
    /// # Errors
    /// If there is no condition, a list without a value, or a column whose name cannot be written.
    pub fn build(&self) -> Result<Text, FilterError> {
        if self.conditions.is_empty() {
            return Err(FilterError::Empty);
        }
        let mut text = String::new();
        for (i, condition) in self.conditions.iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            condition.write(&mut text)?;
        }
        Ok(text.into())
    }

    fn compare(self, column: impl Into<Text>, operator: FilterOperator, value: impl Into<FilterValue>) -> Self {
        self.with(column, false, FilterTest::Compare(operator, value.into()))
    }

    fn with(mut self, column: impl Into<Text>, negated: bool, test: FilterTest) -> Self {
        self.push(FilterCondition { column: column.into(), negated, test });
        self
    }

    pub(super) fn push(&mut self, condition: FilterCondition) {
        self.conditions.push(condition);
    }
}

/// One condition of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilterCondition {
    /// The column that is looked at.
    pub column: Text,
    /// Whether the row must fail the test.
    pub negated: bool,
    /// What is asked of the column.
    pub test: FilterTest,
}

impl FilterCondition {
    pub(super) fn new(column: &str, negated: bool, test: FilterTest) -> Result<Self, FilterError> {
        check_column(column)?;
        Ok(Self { column: column.into(), negated, test })
    }

    fn write(&self, text: &mut String) -> Result<(), FilterError> {
        check_column(&self.column)?;
        text.push_str(&self.column);
        text.push_str(if self.negated { "=not." } else { "=" });
        match &self.test {
            FilterTest::Compare(operator, value) => {
                text.push_str(operator.as_str());
                text.push('.');
                write_value(text, value.as_str(), needs_quotes(value.as_str()));
            }
            FilterTest::In(values) if values.is_empty() => return Err(FilterError::EmptyList(self.column.clone())),
            FilterTest::In(values) => {
                text.push_str("in.");
                for (i, value) in values.iter().map(FilterValue::as_str).enumerate() {
                    text.push(if i == 0 { '(' } else { ',' });
                    write_value(text, value, needs_quotes_in_list(value));
                }
                text.push(')');
            }
            FilterTest::Is(what) => {
                text.push_str("is.");
                text.push_str(what.as_str());
            }
        }
        Ok(())
    }
}

/// The server splits at the first `=`, and at commas outside of parentheses and quotes.
fn check_column(column: &str) -> Result<(), FilterError> {
    if column.is_empty() || column.trim() != column || column.contains([',', '=', '(', ')', '"']) {
        return Err(FilterError::Column(column.into()));
    }
    Ok(())
}

fn needs_quotes(value: &str) -> bool {
    value.contains([',', '(', ')', '"', '\\']) || value.trim() != value
}

/// The server makes a Postgres array of the list, in which braces, nothing at all and the word null need
/// quotes as well.
fn needs_quotes_in_list(value: &str) -> bool {
    value.is_empty() || value.eq_ignore_ascii_case("null") || value.contains(['{', '}']) || needs_quotes(value)
}

fn write_value(text: &mut String, value: &str, quoted: bool) {
    if !quoted {
        text.push_str(value);
        return;
    }
    text.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
}

/// What a condition asks of its column.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterTest {
    /// A comparison with one value.
    Compare(FilterOperator, FilterValue),
    /// Being one of these values.
    In(Vec<FilterValue>),
    /// SQL's `IS`.
    Is(FilterIs),
}

impl FilterTest {
    pub(super) fn one_of<V: Into<FilterValue>>(values: impl IntoIterator<Item = V>) -> Self {
        let mut list: Vec<FilterValue> = Vec::new();
        for value in values.into_iter().map(Into::into) {
            if !list.contains(&value) {
                list.push(value);
            }
        }
        Self::In(list)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$about])* $variant,)* }

        impl $name {
            /// As it stands in a filter.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            pub(super) fn of(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// A comparison of a column with one value.
    FilterOperator {
        /// Equal.
        Eq = "eq",
        /// Not equal.
        Neq = "neq",
        /// Less.
        Lt = "lt",
        /// Less or equal.
        Lte = "lte",
        /// Greater.
        Gt = "gt",
        /// Greater or equal.
        Gte = "gte",
        /// A pattern with `%` and `_`.
        Like = "like",
        /// The same, whatever the case.
        Ilike = "ilike",
        /// A regular expression.
        Match = "match",
        /// The same, whatever the case.
        Imatch = "imatch",
        /// Not equal, where null is a value like others.
        IsDistinct = "isdistinct",
    }
}

words! {
    /// What SQL's `IS` can ask.
    FilterIs {
        /// There is no value.
        Null = "null",
        /// The boolean is true.
        True = "true",
        /// The boolean is false.
        False = "false",
        /// The boolean is null.
        Unknown = "unknown",
    }
}

/// A value to compare a column with: the text that Postgres reads as a value of the column's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterValue(Text);

impl FilterValue {
    /// `null`. Only [`isdistinct`](PostgresFilter::isdistinct) has a use for it; otherwise ask with
    /// [`FilterIs::Null`]. In a list it is the text, as no row equals a null.
    pub const NULL: Self = Self(Text::from_static("null"));

    /// The text, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<f64> for FilterValue {
    fn from(value: f64) -> Self {
        match value {
            f64::INFINITY => "Infinity".into(),
            f64::NEG_INFINITY => "-Infinity".into(),
            _ => value.to_string().into(),
        }
    }
}

macro_rules! from {
    ($($kind:ty, $value:ident => $text:expr;)*) => {
        $(impl From<$kind> for FilterValue {
            fn from($value: $kind) -> Self {
                Self($text)
            }
        })*
    };
}

from! {
    i32, value => value.to_string().into();
    i64, value => value.to_string().into();
    u32, value => value.to_string().into();
    u64, value => value.to_string().into();
    bool, value => Text::from_static(if value { "true" } else { "false" });
    &str, value => value.into();
    String, value => value.into();
    Text, value => value;
}

/// Why a filter cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterError {
    /// It has no condition.
    Empty,
    /// There is nothing between two commas.
    EmptySegment,
    /// This first part of the text is no condition.
    NotACondition(Text),
    /// This part of the text, behind a comma, is no condition.
    UnquotedComma(Text),
    /// There is no such operator.
    UnknownOperator(Text),
    /// A column of this name cannot be written.
    Column(Text),
    /// The list of this column has no value.
    EmptyList(Text),
    /// This is no list of values.
    List(Text),
    /// `is` does not take this.
    Is(Text),
    /// A quote or a parenthesis stays open.
    Unclosed,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the filter has no condition; leave it out to hear of every row"),
            Self::EmptySegment => f.write_str("the filter has an empty condition; remove the comma too many"),
            Self::NotACondition(part) => write!(f, "`{part}` is no condition; write column=operator.value"),
            Self::UnquotedComma(part) => write!(
                f,
                "`{part}` behind a comma is no condition; put the value that the comma belongs to in double quotes"
            ),
            Self::UnknownOperator(word) => write!(
                f,
                "there is no operator `{word}`; use eq, neq, lt, lte, gt, gte, in, like, ilike, is, match, imatch or \
                 isdistinct, with not. before it if needed"
            ),
            Self::Column(name) => write!(
                f,
                "the column `{name}` cannot stand in a filter; a name is not empty, has no white space around it and \
                 none of , = ( ) \""
            ),
            Self::EmptyList(column) => write!(f, "the list for `{column}` is empty; `in` needs at least one value"),
            Self::List(list) => {
                write!(f, "`{list}` is no list of values; write it as (a,b) with a value in each place")
            }
            Self::Is(value) => write!(f, "`is` cannot ask for `{value}`; use null, true, false or unknown"),
            Self::Unclosed => {
                f.write_str("a quote or parenthesis of the filter is not closed; put the value in double quotes")
            }
        }
    }
}

impl core::error::Error for FilterError {}
