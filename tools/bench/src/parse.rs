//! What the guest program prints.

use crate::Unit;

/// One line of the guest program's output.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// A result: the best of the samples.
    Result {
        /// The benchmark.
        name: String,
        /// What the figure counts.
        unit: Unit,
        /// The figure.
        value: f64,
    },
    /// A benchmark that could not be run, and why.
    Skipped {
        /// The benchmark.
        name: String,
        /// Why.
        why: String,
    },
}

/// The results in the guest program's output; other lines are passed over.
pub fn parse(text: &str) -> Vec<Line> {
    text.lines().filter_map(line).collect()
}

fn line(text: &str) -> Option<Line> {
    if let Some(rest) = text.strip_prefix("S ") {
        let (name, why) = rest.split_once(' ')?;
        return Some(Line::Skipped {
            name: name.to_owned(),
            why: why.to_owned(),
        });
    }
    let mut words = text.strip_prefix("R ")?.split(' ');
    let name = words.next()?.to_owned();
    let unit = match words.next()? {
        "ns" => Unit::Nanoseconds,
        "MB/s" => Unit::Rate,
        "KiB" => Unit::Kibibytes,
        _ => return None,
    };
    let value = words.next()?.parse().ok()?;
    Some(Line::Result { name, unit, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_found_among_other_lines() {
        let lines = parse("R a ns 12.5 13.0 5\nnoise\nS b one CPU\nR c parsecs 1 1 1\nR d\n");
        let a = Line::Result {
            name: "a".to_owned(),
            unit: Unit::Nanoseconds,
            value: 12.5,
        };
        let b = Line::Skipped {
            name: "b".to_owned(),
            why: "one CPU".to_owned(),
        };
        assert_eq!(lines, [a, b]);
    }
}
