//! Result tables: one row a test, tab-separated, with a header line, so that columns may come in any order.
//!
//! The columns `name`, `pass`, `fail`, `brok`, `conf`, `seconds` and `class` are what two tables are compared by; others
//! are kept for people.

use super::outcome::{Class, Counts};
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A test's result.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The test's name.
    pub name: String,
    /// Exit status as a shell gives it; none if the guest did not come to it.
    pub status: Option<i32>,
    /// What the test counted.
    pub counts: Counts,
    /// By the guest's clock.
    pub seconds: Option<f64>,
    /// What it comes to.
    pub class: Class,
    /// The classes of all rounds, the first first.
    pub history: Vec<Class>,
    /// The first thing that went wrong, in the test's or the kernel's words.
    pub note: String,
}

const HEADER: &str = "name\trc\tpass\tfail\tbrok\tconf\tseconds\tclass\thistory\tnote";

impl Row {
    fn line(&self) -> String {
        let Counts {
            pass,
            fail,
            brok,
            conf,
        } = self.counts;
        let status = self
            .status
            .map_or("-".to_owned(), |status| status.to_string());
        let seconds = self
            .seconds
            .map_or("-".to_owned(), |seconds| format!("{seconds:.2}"));
        let history: Vec<&str> = self.history.iter().map(|class| class.word()).collect();
        format!(
            "{}\t{status}\t{pass}\t{fail}\t{brok}\t{conf}\t{seconds}\t{}\t{}\t{}",
            self.name,
            self.class.word(),
            history.join(","),
            self.note.replace(['\t', '\n'], " ")
        )
    }
}

/// Writes the table.
pub fn write(file: &Path, rows: &[Row]) -> Result<()> {
    let mut text = format!("{HEADER}\n");
    for row in rows {
        writeln!(text, "{}", row.line())?;
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let part = file.with_extension("part");
    fs::write(&part, text).with_context(|| format!("cannot write {}", part.display()))?;
    fs::rename(&part, file).with_context(|| format!("cannot write {}", file.display()))
}

/// Reads a table.
pub fn read(file: &Path) -> Result<Vec<Row>> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("cannot read the table {}", file.display()))?;
    parse(&text).with_context(|| format!("{} is not a result table", file.display()))
}

fn parse(text: &str) -> Result<Vec<Row>> {
    let mut lines = text.lines();
    let header = lines.next().context("it is empty")?;
    let place: HashMap<&str, usize> = header
        .split('\t')
        .enumerate()
        .map(|(at, name)| (name, at))
        .collect();
    for needed in ["name", "class"] {
        place
            .get(needed)
            .with_context(|| format!("it has no column {needed}"))?;
    }
    Ok(lines
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let cell = |name: &str| {
                place
                    .get(name)
                    .and_then(|at| cells.get(*at))
                    .copied()
                    .unwrap_or("")
            };
            let count = |name: &str| cell(name).parse().unwrap_or(0);
            Row {
                name: cell("name").to_owned(),
                status: cell("rc").parse().ok(),
                counts: Counts {
                    pass: count("pass"),
                    fail: count("fail"),
                    brok: count("brok"),
                    conf: count("conf"),
                },
                seconds: cell("seconds").parse().ok(),
                class: Class::from_word(cell("class")),
                history: cell("history").split(',').map(Class::from_word).collect(),
                note: cell("note").to_owned(),
            }
        })
        .collect())
}

/// How many rows of each class there are, in words.
pub fn totals(rows: &[Row]) -> String {
    let parts: Vec<String> = Class::ALL
        .iter()
        .filter_map(|class| {
            let count = rows.iter().filter(|row| row.class == *class).count();
            (count > 0).then(|| format!("{count} {}", class.word()))
        })
        .collect();
    format!("{} of {} tests", parts.join(", "), rows.len())
}

/// What is different between two tables.
#[derive(Debug, Default)]
pub struct Comparison {
    /// A line for each test that the older table has as good and the newer one not.
    pub worse: Vec<String>,
    /// A line for each test the other way round.
    pub better: Vec<String>,
    /// Names that only one of the tables has.
    pub alone: usize,
    /// Rows in both.
    pub common: usize,
}

/// Sets `new` beside `old`.
pub fn compare(new: &[Row], old: &[Row]) -> Comparison {
    let by_name: HashMap<&str, &Row> = old.iter().map(|row| (row.name.as_str(), row)).collect();
    let mut result = Comparison::default();
    for row in new {
        let Some(before) = by_name.get(row.name.as_str()) else {
            result.alone += 1;
            continue;
        };
        result.common += 1;
        let line = format!(
            "{:<24} {:<8} {:<8} {}",
            row.name,
            row.class.word(),
            before.class.word(),
            row.note
        );
        if before.class.is_good() && !row.class.is_good()
            || before.class.is_proof() && row.class == Class::Conf
        {
            result.worse.push(line);
        } else if !before.class.is_good() && row.class.is_proof() {
            result.better.push(line);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, class: Class) -> Row {
        Row {
            name: name.to_owned(),
            status: Some(0),
            counts: Counts {
                pass: 2,
                ..Counts::default()
            },
            seconds: Some(0.5),
            class,
            history: vec![class],
            note: "a b".to_owned(),
        }
    }

    #[test]
    fn a_table_comes_back_as_it_went() {
        let rows = [row("abort01", Class::Pass), row("b", Class::Timeout)];
        let text: String = std::iter::once(HEADER.to_owned())
            .chain(rows.iter().map(Row::line))
            .map(|line| line + "\n")
            .collect();
        assert_eq!(parse(&text).unwrap(), rows);
        assert!(parse("a\tb\n").is_err());
    }

    #[test]
    fn columns_may_be_fewer_and_elsewhere() {
        let rows = parse("class\tname\tpass\npass\taccess01\t199\n").unwrap();
        assert_eq!((rows[0].class, rows[0].counts.pass), (Class::Pass, 199));
    }

    #[test]
    fn comparison_tells_worse_from_better() {
        let old = [
            row("a", Class::Pass),
            row("b", Class::Fail),
            row("c", Class::Conf),
            row("d", Class::Pass),
        ];
        let new = [
            row("a", Class::Crash),
            row("b", Class::Pass),
            row("c", Class::Conf),
            row("d", Class::Conf),
            row("e", Class::Fail),
        ];
        let result = compare(&new, &old);
        assert_eq!(
            (
                result.worse.len(),
                result.better.len(),
                result.alone,
                result.common
            ),
            (2, 1, 1, 4)
        );
    }
}
