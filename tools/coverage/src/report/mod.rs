//! `cargo xtask coverage`: every call with its status, its note and what tests it; the commands of ioctl and its kin.
//!
//! Nothing is counted by hand: statuses come from the system-call table, cases from the sources of the tests, results
//! from the committed tables and lists, commands from the ABI's enums and the kernel's `match` arms ([`sources`]).

mod sources;

use crate::scan::word;
use anyhow::{Context, Result};
use keel_abi::SYSCALLS;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The page that shows a report; the data goes in the place of the mark.
const PAGE: &str = include_str!("page.html");
const MARK: &str = "\"KEEL-REPORT\"";
const PUBLISHED: &str = include_str!("../../data/published.toml");

/// Everything that the report shows.
#[derive(Debug, Serialize)]
pub struct Report {
    /// One row for each call, by number.
    pub syscalls: Vec<Call>,
    /// Sums for each family.
    pub families: BTreeMap<String, Sums>,
    /// Sums of all.
    pub total: Sums,
    /// Commands of calls that are many calls in one.
    pub commands: Vec<Commands>,
    /// What other kernels say of themselves.
    pub published: Vec<Published>,
}

/// A call.
#[derive(Debug, Serialize)]
pub struct Call {
    /// Its number.
    pub nr: u32,
    /// Its name.
    pub name: String,
    /// Its family.
    pub family: String,
    /// `full`, `partial` or `absent`.
    pub status: String,
    /// What is missing.
    pub note: String,
    /// What an absent call answers; empty otherwise.
    pub errno: String,
    /// What exercises it.
    pub tests: Vec<Test>,
}

/// A case or an LTP test.
#[derive(Debug, Clone, Serialize)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// `case` or `ltp`.
    pub kind: &'static str,
    /// How it came out on Keel last: for cases `pass` or `known failure`, for LTP the class in the table.
    pub result: String,
    /// How it came out on Linux; empty for cases, which all pass there.
    pub linux: String,
}

/// Calls by status.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Sums {
    /// All there.
    pub full: u32,
    /// There with exceptions.
    pub partial: u32,
    /// Not there.
    pub absent: u32,
}

/// The commands of a call.
#[derive(Debug, Serialize)]
pub struct Commands {
    /// The call.
    pub call: String,
    /// What it is about.
    pub title: String,
    /// Commands in the order of the ABI's enum.
    pub items: Vec<Command>,
}

/// A command.
#[derive(Debug, Serialize)]
pub struct Command {
    /// Its name in C.
    pub name: String,
    /// `handled` if the kernel has code for it, `absent` if not.
    pub status: &'static str,
    /// Where that code is.
    pub place: String,
}

/// A figure that another kernel publishes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    name: String,
    supported: u32,
    of: Option<u32>,
    source: String,
    date: String,
    note: String,
}

#[derive(Deserialize)]
struct PublishedFile {
    kernel: Vec<Published>,
}

/// Gathers the report from the repository at `root`.
pub fn gather(root: &Path) -> Result<Report> {
    let mut tests = sources::cases(root)?;
    for (call, more) in sources::ltp(root)? {
        tests.entry(call).or_default().extend(more);
    }
    let mut families: BTreeMap<String, Sums> = BTreeMap::new();
    let mut total = Sums::default();
    let syscalls = SYSCALLS
        .iter()
        .map(|row| {
            let status = word(row.status);
            for sums in [
                families.entry(row.family.to_owned()).or_default(),
                &mut total,
            ] {
                match status {
                    "full" => sums.full += 1,
                    "partial" => sums.partial += 1,
                    _ => sums.absent += 1,
                }
            }
            Call {
                nr: row.nr,
                name: row.name.to_owned(),
                family: row.family.to_owned(),
                status: status.to_owned(),
                note: row.note.to_owned(),
                errno: if status == "absent" {
                    row.errno.name().unwrap_or_default().to_owned()
                } else {
                    String::new()
                },
                tests: tests.remove(row.name).unwrap_or_default(),
            }
        })
        .collect();
    let published: PublishedFile = toml::from_str(PUBLISHED).context("data/published.toml")?;
    Ok(Report {
        syscalls,
        families,
        total,
        commands: sources::commands(root)?,
        published: published.kernel,
    })
}

impl Report {
    /// The report as JSON.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// The report as one page that needs nothing else.
    pub fn html(&self) -> Result<String> {
        // `</` could end the script that the data stands in.
        let data = serde_json::to_string(self)?.replace("</", "<\\/");
        Ok(PAGE.replace(MARK, &data))
    }

    /// The report for a terminal; `all` lists also the calls that are all there.
    pub fn text(&self, all: bool) -> Result<String> {
        let mut out = String::new();
        for call in &self.syscalls {
            if call.status == "full" && !all {
                continue;
            }
            let what = if call.note.is_empty() {
                &call.errno
            } else {
                &call.note
            };
            writeln!(
                out,
                "{:>3} {:<24} {:<8} {:<8} {:>9}  {what}",
                call.nr,
                call.name,
                call.family,
                call.status,
                call.tested()
            )?;
        }
        writeln!(
            out,
            "\n{:<12} {:>5} {:>8} {:>7}",
            "family", "full", "partial", "absent"
        )?;
        for (family, sums) in &self.families {
            writeln!(
                out,
                "{family:<12} {:>5} {:>8} {:>7}",
                sums.full, sums.partial, sums.absent
            )?;
        }
        let Sums {
            full,
            partial,
            absent,
        } = self.total;
        writeln!(out, "{:<12} {full:>5} {partial:>8} {absent:>7}", "total")?;
        writeln!(out)?;
        for commands in &self.commands {
            let handled = commands
                .items
                .iter()
                .filter(|item| item.status == "handled")
                .count();
            writeln!(
                out,
                "{:<24} {handled} of {} handled",
                commands.title,
                commands.items.len()
            )?;
        }
        writeln!(
            out,
            "\n{:<12} {:>4} of {}",
            "Keel",
            full + partial,
            full + partial + absent
        )?;
        for kernel in &self.published {
            let of = kernel.of.map_or("?".to_owned(), |of| of.to_string());
            writeln!(
                out,
                "{:<12} {:>4} of {of:<4} {}; {} ({})",
                kernel.name, kernel.supported, kernel.note, kernel.source, kernel.date
            )?;
        }
        Ok(out)
    }
}

impl Call {
    /// How many tests are good, of how many.
    fn tested(&self) -> String {
        let good = self
            .tests
            .iter()
            .filter(|test| matches!(test.result.as_str(), "pass" | "ok0"))
            .count();
        format!("{good}/{}", self.tests.len())
    }
}
