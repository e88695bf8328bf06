//! The comparison as text for a terminal.

use crate::{Comparison, Row, Series, Unit};
use std::fmt::Write;

/// A line for each benchmark.
pub fn render(comparison: &Comparison) -> String {
    let wide = comparison
        .rows
        .iter()
        .map(|row| row.name.len())
        .max()
        .unwrap_or(9)
        .max(9);
    let mut out = format!(
        "{:<9} {:<wide$} {:>16} {:>16} {:>7}\n",
        "group", "benchmark", "Linux", "Keel", "ratio"
    );
    for row in &comparison.rows {
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "{:<9} {:<wide$} {:>16} {:>16} {:>7} {}",
            row.group,
            row.name,
            side(row, row.linux.as_ref()),
            side(row, row.keel.as_ref()),
            row.ratio
                .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            row.note,
        );
    }
    let (mean, count) = comparison.mean_ratio();
    if count > 0 {
        let _ = writeln!(
            out,
            "geometric mean of {count} ratios: {mean:.2} (Keel over Linux; less than 1 is faster)"
        );
    }
    out
}

fn side(row: &Row, series: Option<&Series>) -> String {
    match series {
        Some(series) => format!(
            "{} ±{:>2.0}%",
            figure(series.median, row.unit),
            series.spread() * 100.0
        ),
        None => "-".to_owned(),
    }
}

/// A figure with three digits or so and its unit.
pub fn figure(value: f64, unit: Unit) -> String {
    let (value, unit) = match unit {
        Unit::Nanoseconds if value >= 1e9 => (value / 1e9, "s"),
        Unit::Nanoseconds if value >= 1e6 => (value / 1e6, "ms"),
        Unit::Nanoseconds if value >= 1e4 => (value / 1e3, "µs"),
        Unit::Nanoseconds => (value, "ns"),
        Unit::Rate => (value, "MB/s"),
        Unit::Kibibytes if value >= 1e4 => (value / 1024.0, "MiB"),
        Unit::Kibibytes => (value, "KiB"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let all = [
            (1234.0, Unit::Nanoseconds),
            (56_789.0, Unit::Nanoseconds),
            (2.5e9, Unit::Nanoseconds),
            (3.25, Unit::Kibibytes),
        ];
        assert_eq!(
            all.map(|(value, unit)| figure(value, unit)),
            ["1234 ns", "56.8 µs", "2.50 s", "3.25 KiB"]
        );
    }
}
