//! What a run is told as, beside another.

use super::table::{self, Row};

/// Prints what is worse and what is better than in `old`; returns how many are worse.
pub fn comparison(rows: &[Row], old: &[Row]) -> usize {
    let result = table::compare(rows, old);
    for (title, lines) in [("worse", &result.worse), ("better", &result.better)] {
        if !lines.is_empty() {
            outln!("{title} ({}): test, here, there", lines.len());
            for line in lines {
                outln!("  {}", line.trim_end());
            }
        }
    }
    outln!(
        "{} tests compared, {} worse, {} better, {} not in the other table",
        result.common,
        result.worse.len(),
        result.better.len(),
        result.alone
    );
    result.worse.len()
}
