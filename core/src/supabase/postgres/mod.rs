//! Database changes: which ones to ask for, what came, and what old servers wrote as text.

mod array_literal;
mod change;
mod columns;
mod envelope;
mod filter;
mod filter_text;

pub use change::{ChangeDetails, PostgresChange};
pub use columns::{Column, convert_record};
pub use envelope::ChangeKind;
pub use filter::{FilterCondition, FilterError, FilterIs, FilterOperator, FilterTest, FilterValue, PostgresFilter};
