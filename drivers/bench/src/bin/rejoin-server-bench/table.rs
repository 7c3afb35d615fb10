//! Numbers as people read them.

use crate::server::Kind;

/// A table with a column for each server, of which the first column is what was varied.
pub(crate) fn print(varied: &str, kinds: &[&'static Kind], rows: &[usize], cell: impl Fn(&Kind, usize) -> String) {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    println!("| {varied} | {} |", names.join(" | "));
    println!("|--{}|", "-|--".repeat(kinds.len()));
    for &row in rows {
        let cells: Vec<String> = kinds.iter().map(|kind| cell(kind, row)).collect();
        println!("| {} | {} |", thousands(row as f64), cells.join(" | "));
    }
}

/// The middle one; of an even number the upper of the two in the middle. Zero of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// In groups of three digits.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_not_moved_by_one_bad_round() {
        assert_eq!(median(vec![3.0, 1.0, 1000.0]), 3.0);
        assert_eq!(median(vec![]), 0.0);
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0.0, 999.6, 12_345.0, 1_234_567.0].map(thousands), ["0", "1,000", "12,345", "1,234,567"]);
    }
}
