//! `cargo xtask coverage`: the report, the scan of programs, the record of a run. The first two are
//! keel-coverage's; what needs a guest or an image by name is here.

use crate::cache::Cache;
use crate::cmd::say;
use crate::trace::{self, Call};
use crate::{host, image, options};
use anyhow::{Context, Result, bail};
use keel_abi::{Status, table};
use keel_coverage::{report, scan};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const USAGE: &str = "\
cargo xtask coverage [--json] [--html FILE] [--all]        every call, what tests it, beside other kernels
cargo xtask coverage scan PATH… [--all] [--json]           the calls a program, folder, root or image may make;
                                                           PATH may be an image's name, or IMAGE:PATH, as in debian:/usr/bin
cargo xtask coverage record [OPTIONS OF exec] -- CMD…      the calls, flags and ioctls that a command uses in the guest";

/// Does what is asked; returns the status to exit with.
pub fn command(args: &[String]) -> Result<i32> {
    match args.split_first() {
        Some((word, rest)) if word == "scan" => scan_paths(rest),
        Some((word, rest)) if word == "record" => record(rest),
        _ => show(args),
    }
}

fn show(args: &[String]) -> Result<i32> {
    let report = report::gather(&host::repo_root()?)?;
    let mut words = args.iter();
    let (mut json, mut all, mut page) = (false, false, None);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => json = true,
            "--all" => all = true,
            "--html" => page = Some(words.next().context("--html needs a file")?),
            other => bail!("coverage knows no {other}\n{USAGE}"),
        }
    }
    if let Some(file) = page {
        std::fs::write(file, report.html()?).with_context(|| format!("cannot write {file}"))?;
        say(format_args!("page: {file}"));
    }
    if json {
        outln!("{}", report.json()?);
    } else if page.is_none() {
        out!("{}", report.text(all)?);
    }
    Ok(0)
}

fn scan_paths(args: &[String]) -> Result<i32> {
    let (mut all, mut json) = (false, false);
    let mut paths = Vec::new();
    for word in args {
        match word.as_str() {
            "--all" => all = true,
            "--json" => json = true,
            other if other.starts_with("--") => bail!("scan knows no {other}\n{USAGE}"),
            path => paths.push(place(path)?),
        }
    }
    if paths.is_empty() {
        bail!("what to scan?\n{USAGE}");
    }
    let mut files = Vec::new();
    for path in &paths {
        files.extend(scan::scan(path)?);
    }
    if json {
        outln!("{}", scan::json(&files));
    } else {
        out!("{}", scan::print(&files, all));
    }
    Ok(0)
}

/// A path as it is, or with a recipe's name in front of it replaced by the image that the recipe gives.
fn place(path: &str) -> Result<String> {
    let (name, inside) = path
        .split_once(':')
        .map_or((path, None), |(name, inside)| (name, Some(inside)));
    let known = image::recipe::names(&host::repo_root()?);
    if Path::new(path).exists() || !known.iter().any(|known| known == name) {
        return Ok(path.to_owned());
    }
    let disk = image::get(&Cache::open()?, name, false)?.disk;
    let disk = disk.to_str().context("the cache's path is not UTF-8")?;
    Ok(inside.map_or_else(|| disk.to_owned(), |inside| format!("{disk}:{inside}")))
}

/// What is seen of a call in a run.
#[derive(Default)]
struct Use {
    count: usize,
    /// Flags and commands that stood among the arguments.
    words: BTreeSet<String>,
    /// Errors that it gave, with how often.
    errors: BTreeMap<String, usize>,
}

fn record(args: &[String]) -> Result<i32> {
    let parsed = options::parse(args, &[])?;
    if parsed.command.is_empty() {
        bail!("record what?\n{USAGE}");
    }
    let (calls, status) = trace::record(&parsed.guest, &parsed.command)?;
    let mut uses: BTreeMap<&str, Use> = BTreeMap::new();
    for call in &calls {
        let entry = uses.entry(&call.name).or_default();
        entry.count += 1;
        entry.words.extend(flag_words(call));
        if let Some(error) = call.result.strip_prefix("-1 ") {
            let name = error.split(' ').next().unwrap_or(error);
            *entry.errors.entry(name.to_owned()).or_default() += 1;
        }
    }
    let mut rows: Vec<(&str, Use)> = uses.into_iter().collect();
    rows.sort_by_key(|(name, usage)| (rank(name), std::cmp::Reverse(usage.count)));
    outln!(
        "{:<22} {:<8} {:>7}  flags and commands; errors",
        "call",
        "status",
        "times"
    );
    for (name, usage) in rows {
        let status = table::by_name(name).map_or("unknown", |row| scan::word(row.status));
        let words: Vec<String> = usage.words.into_iter().collect();
        let errors: Vec<String> = usage
            .errors
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        let errors = if errors.is_empty() {
            String::new()
        } else {
            format!("  ({})", errors.join(", "))
        };
        outln!(
            "{name:<22} {status:<8} {:>7}  {}{errors}",
            usage.count,
            words.join(" ")
        );
    }
    say(format_args!(
        "{} calls; the command's status was {status}",
        calls.len()
    ));
    Ok(status)
}

/// What is not all there comes first.
fn rank(name: &str) -> u8 {
    match table::by_name(name).map(|row| row.status) {
        None => 0,
        Some(Status::Absent) => 1,
        Some(Status::Partial) => 2,
        Some(Status::Full) => 3,
    }
}

/// The words in capitals among a call's arguments, outside strings.
fn flag_words(call: &Call) -> Vec<String> {
    call.args
        .iter()
        .filter(|arg| !arg.starts_with('"'))
        .flat_map(|arg| arg.split(|each: char| !each.is_ascii_alphanumeric() && each != '_'))
        .filter(|word| {
            word.contains('_') && word.starts_with(|each: char| each.is_ascii_uppercase())
        })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_told_from_names_and_numbers() {
        let call = Call {
            tid: 1,
            name: "openat".to_owned(),
            args: [
                "AT_FDCWD",
                "\"/A_FILE\"",
                "O_RDONLY|O_CLOEXEC",
                "0x1f",
                "NULL",
            ]
            .map(str::to_owned)
            .to_vec(),
            result: "3".to_owned(),
        };
        assert_eq!(flag_words(&call), ["AT_FDCWD", "O_RDONLY", "O_CLOEXEC"]);
    }
}
