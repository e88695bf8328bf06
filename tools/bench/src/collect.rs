//! Gathering the results of several rounds of two kernels.

use crate::{Comparison, Line, Row, Series, Setting, Unit};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Debian's Linux.
    Linux,
    /// Keel.
    Keel,
}

struct Benchmark {
    group: String,
    name: String,
    unit: Unit,
    linux: Vec<f64>,
    keel: Vec<f64>,
    note: String,
}

/// The results so far.
#[derive(Default)]
pub struct Collector {
    benchmarks: Vec<Benchmark>,
}

impl Collector {
    /// Adds what one kernel gave in one round of a group.
    pub fn add(&mut self, group: &str, kernel: Kernel, lines: Vec<Line>) {
        for line in lines {
            match line {
                Line::Result { name, unit, value } => {
                    let benchmark = self.entry(group, &name, unit);
                    match kernel {
                        Kernel::Linux => benchmark.linux.push(value),
                        Kernel::Keel => benchmark.keel.push(value),
                    }
                }
                Line::Skipped { name, why } => {
                    let why = format!("{kernel:?}: {why}");
                    let note = &mut self.entry(group, &name, Unit::Nanoseconds).note;
                    if !note.contains(&why) {
                        note.push_str(if note.is_empty() { "" } else { "; " });
                        note.push_str(&why);
                    }
                }
            }
        }
    }

    fn entry(&mut self, group: &str, name: &str, unit: Unit) -> &mut Benchmark {
        let known = self
            .benchmarks
            .iter()
            .position(|known| known.group == group && known.name == name);
        let at = known.unwrap_or_else(|| {
            // Beside the others of its group, in case an earlier round did not get this far.
            let at = self
                .benchmarks
                .iter()
                .rposition(|other| other.group == group)
                .map_or(self.benchmarks.len(), |last| last + 1);
            let benchmark = Benchmark {
                group: group.to_owned(),
                name: name.to_owned(),
                unit,
                linux: Vec::new(),
                keel: Vec::new(),
                note: String::new(),
            };
            self.benchmarks.insert(at, benchmark);
            at
        });
        &mut self.benchmarks[at]
    }

    /// What it comes to.
    pub fn finish(self, setting: Setting) -> Comparison {
        let rows = self
            .benchmarks
            .into_iter()
            .map(|benchmark| {
                let (linux, keel) = (Series::of(benchmark.linux), Series::of(benchmark.keel));
                let ratio = linux
                    .as_ref()
                    .zip(keel.as_ref())
                    .and_then(|(linux, keel)| benchmark.unit.ratio(keel.median, linux.median));
                Row {
                    group: benchmark.group,
                    name: benchmark.name,
                    unit: benchmark.unit,
                    linux,
                    keel,
                    ratio,
                    note: benchmark.note,
                }
            })
            .collect();
        Comparison { setting, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(name: &str, unit: Unit, value: f64) -> Line {
        Line::Result {
            name: name.to_owned(),
            unit,
            value,
        }
    }

    #[test]
    fn ratios_are_of_medians_and_above_one_where_keel_is_slower() {
        let mut all = Collector::default();
        for value in [100.0, 300.0, 110.0] {
            all.add(
                "ipc",
                Kernel::Linux,
                vec![result("a", Unit::Nanoseconds, value)],
            );
        }
        all.add(
            "ipc",
            Kernel::Keel,
            vec![result("a", Unit::Nanoseconds, 220.0)],
        );
        all.add("ipc", Kernel::Linux, vec![result("b", Unit::Rate, 500.0)]);
        all.add("ipc", Kernel::Keel, vec![result("b", Unit::Rate, 250.0)]);
        let comparison = all.finish(Setting::default());
        let ratios: Vec<_> = comparison.rows.iter().map(|row| row.ratio).collect();
        assert_eq!(ratios, [Some(2.0), Some(2.0)]);
        assert_eq!(comparison.mean_ratio().1, 2);
        assert!((comparison.mean_ratio().0 - 2.0).abs() < 1e-9);
    }

    #[test]
    fn what_one_kernel_lacks_has_no_ratio() {
        let mut all = Collector::default();
        let skipped = Line::Skipped {
            name: "a".to_owned(),
            why: "one CPU".to_owned(),
        };
        all.add("ipc", Kernel::Keel, vec![skipped.clone()]);
        all.add("ipc", Kernel::Keel, vec![skipped]);
        all.add(
            "ipc",
            Kernel::Linux,
            vec![result("a", Unit::Nanoseconds, 1.0)],
        );
        let comparison = all.finish(Setting::default());
        assert_eq!(comparison.rows.len(), 1);
        assert_eq!(
            (comparison.rows[0].ratio, comparison.rows[0].note.as_str()),
            (None, "Keel: one CPU")
        );
    }
}
