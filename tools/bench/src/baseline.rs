//! Holding a run against an earlier one.

use crate::{Comparison, Row};

/// A ratio may grow by this much before it counts: machines are noisy.
pub const TOLERANCE: f64 = 0.25;

/// A benchmark that has become slower in relation to Linux.
#[derive(Debug, Clone, PartialEq)]
pub struct Regression {
    /// `group/name`.
    pub name: String,
    /// The ratio before.
    pub before: f64,
    /// The ratio now; none if Keel no longer gives a figure.
    pub now: Option<f64>,
}

/// What of `current` is slower than in `before`. Benchmarks that only one of the two has do not count, but one
/// that has lost its figure on Keel does.
pub fn regressions(before: &Comparison, current: &Comparison) -> Vec<Regression> {
    current
        .rows
        .iter()
        .filter_map(|row| {
            let old = before.row(&row.group, &row.name)?.ratio?;
            worse(row, old).then(|| Regression {
                name: format!("{}/{}", row.group, row.name),
                before: old,
                now: row.ratio,
            })
        })
        .collect()
}

fn worse(row: &Row, old: f64) -> bool {
    let (Some(linux), Some(keel)) = (&row.linux, &row.keel) else {
        return row.linux.is_some();
    };
    // Even the rounds that speak most for Keel must say so.
    let kindest = match row.unit {
        crate::Unit::Rate => row.unit.ratio(keel.high, linux.low),
        _ => row.unit.ratio(keel.low, linux.high),
    };
    let beyond = |ratio: Option<f64>, tolerance: f64| {
        ratio.is_some_and(|ratio| ratio > old * (1.0 + tolerance))
    };
    beyond(row.ratio, TOLERANCE) && beyond(kindest, TOLERANCE / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Series, Setting, Unit};

    fn run(keel: Option<(f64, f64)>) -> Comparison {
        let linux = Series {
            median: 100.0,
            low: 95.0,
            high: 105.0,
        };
        let keel = keel.map(|(median, low)| Series {
            median,
            low,
            high: median,
        });
        let row = Row {
            group: "ipc".to_owned(),
            name: "pipe".to_owned(),
            unit: Unit::Nanoseconds,
            ratio: keel.as_ref().map(|keel| keel.median / 100.0),
            linux: Some(linux),
            keel,
            note: String::new(),
        };
        Comparison {
            setting: Setting::default(),
            rows: vec![row],
        }
    }

    #[test]
    fn only_what_is_clearly_slower_counts() {
        let before = run(Some((100.0, 98.0)));
        assert!(regressions(&before, &run(Some((120.0, 118.0)))).is_empty());
        assert!(
            regressions(&before, &run(Some((150.0, 101.0)))).is_empty(),
            "one good round"
        );
        assert_eq!(
            regressions(&before, &run(Some((150.0, 140.0))))[0].now,
            Some(1.5)
        );
        assert_eq!(regressions(&before, &run(None))[0].now, None);
    }
}
