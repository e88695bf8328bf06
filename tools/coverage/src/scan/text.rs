//! Scans as text and JSON.

use super::{File, Needs, Scanned, Way};
use keel_abi::{Status, SyscallRow, table};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Programs named for each call in the overview.
const EXAMPLES: usize = 5;

/// How a call's status is written.
pub fn word(status: Status) -> &'static str {
    match status {
        Status::Full => "full",
        Status::Partial => "partial",
        Status::Absent => "absent",
    }
}

fn row(number: u32) -> Option<&'static SyscallRow> {
    table::lookup(u64::from(number))
}

/// A program's calls with this status.
fn with_status(needs: &Needs, status: Status) -> Vec<(&'static SyscallRow, &Way)> {
    needs
        .calls
        .iter()
        .filter_map(|(number, way)| Some((row(*number)?, way)))
        .filter(|(row, _)| row.status == status)
        .collect()
}

/// The scan as text: all about one file, or an overview of many (`all` adds a line for each).
pub fn print(files: &[File], all: bool) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = match files {
        [file] => one(&mut out, file),
        files => many(&mut out, files, all),
    };
    out
}

fn one(out: &mut String, file: &File) -> std::fmt::Result {
    match &file.scanned {
        Err(error) => writeln!(out, "{}: {error:#}", file.path),
        Ok(Scanned::Other(why)) => writeln!(out, "{}: {why}", file.path),
        Ok(Scanned::Script(interpreter, None)) => {
            writeln!(
                out,
                "{}: a script for {interpreter}, which is not there",
                file.path
            )
        }
        Ok(Scanned::Script(interpreter, Some(needs))) => {
            writeln!(out, "{}: a script for {interpreter}", file.path)?;
            details(out, needs)
        }
        Ok(Scanned::Program(needs)) => details(out, needs),
    }
}

fn details(out: &mut String, needs: &Needs) -> std::fmt::Result {
    writeln!(out, "{}: {}", needs.path, needs.linkage)?;
    let groups = [Status::Absent, Status::Partial, Status::Full]
        .map(|status| (status, with_status(needs, status)));
    let sizes: Vec<String> = groups
        .iter()
        .rev()
        .map(|(status, rows)| format!("{} {}", rows.len(), word(*status)))
        .collect();
    writeln!(
        out,
        "may make {} calls: {}",
        needs.calls.len(),
        sizes.join(", ")
    )?;
    for (status, rows) in &groups {
        if rows.is_empty() {
            continue;
        }
        writeln!(out, "\n{}:", word(*status))?;
        if *status == Status::Full {
            let names: Vec<&str> = rows.iter().map(|(row, _)| row.name).collect();
            out.push_str(&wrapped(&names));
            continue;
        }
        for (row, way) in rows {
            writeln!(out, "  {:<20} {}", row.name, described(way))?;
            let note = if row.note.is_empty() {
                format!("answers {}", row.errno.name().unwrap_or("an error"))
            } else {
                row.note.to_owned()
            };
            writeln!(out, "  {:<20}   {note}", "")?;
        }
    }
    let strange: Vec<String> = needs
        .calls
        .keys()
        .filter(|number| row(**number).is_none())
        .map(u32::to_string)
        .collect();
    if !strange.is_empty() {
        writeln!(out, "\nnumbers that no call has: {}", strange.join(" "))?;
    }
    if !needs.unknown.is_empty() {
        let places: Vec<String> = needs.unknown.iter().map(described).collect();
        writeln!(
            out,
            "\nnumbers known only at run time: {}",
            places.join("; ")
        )?;
    }
    if !needs.missing.is_empty() {
        writeln!(out, "\nnot found: {}", needs.missing.join(" "))?;
    }
    if needs.plugins {
        writeln!(
            out,
            "\nIt can load further libraries at run time (dlopen); scan those too."
        )?;
    }
    Ok(())
}

fn wrapped(names: &[&str]) -> String {
    let mut out = String::new();
    let mut line = String::from(" ");
    for name in names {
        if line.len() + name.len() > 98 {
            out.push_str(&line);
            out.push('\n');
            line = String::from(" ");
        }
        line.push(' ');
        line.push_str(name);
    }
    out + &line + "\n"
}

fn described(way: &Way) -> String {
    match &way.through {
        Some(through) if *through != way.function => {
            format!("{}() in {}, by {through}()", way.function, way.file)
        }
        _ => format!("{}() in {}", way.function, way.file),
    }
}

fn many(out: &mut String, files: &[File], all: bool) -> std::fmt::Result {
    let mut users: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    let mut verdicts = [0; 3];
    let (mut scripts, mut bad) = (0, Vec::new());
    for file in files {
        let needs = match &file.scanned {
            Ok(Scanned::Program(needs)) => needs,
            Ok(Scanned::Script(..)) => {
                scripts += 1;
                continue;
            }
            Ok(Scanned::Other(_)) => continue,
            Err(error) => {
                bad.push(format!("{}: {error:#}", file.path));
                continue;
            }
        };
        let absent = with_status(needs, Status::Absent);
        let partial = with_status(needs, Status::Partial);
        verdicts[if !absent.is_empty() {
            2
        } else {
            usize::from(!partial.is_empty())
        }] += 1;
        let name = file.path.rsplit('/').next().unwrap_or_default();
        for (row, _) in absent.iter().chain(&partial) {
            users.entry(row.nr).or_default().push(name);
        }
        if all {
            let names: Vec<&str> = absent.iter().map(|(row, _)| row.name).collect();
            writeln!(
                out,
                "{:<28} {:>3} calls, {:>2} partial, {:>2} absent  {}",
                name,
                needs.calls.len(),
                partial.len(),
                absent.len(),
                names.join(" ")
            )?;
        }
    }
    for status in [Status::Absent, Status::Partial] {
        let mut rows: Vec<(&SyscallRow, &Vec<&str>)> = users
            .iter()
            .filter_map(|(number, names)| Some((row(*number)?, names)))
            .filter(|(row, _)| row.status == status)
            .collect();
        rows.sort_by_key(|(row, names)| (std::cmp::Reverse(names.len()), row.nr));
        if rows.is_empty() {
            continue;
        }
        writeln!(out, "\n{:<24} {:>8}  such as", word(status), "programs")?;
        for (row, names) in rows {
            let examples = names[..names.len().min(EXAMPLES)].join(" ");
            writeln!(
                out,
                "  {:<22} {:>8}  {examples}{}",
                row.name,
                names.len(),
                if names.len() > EXAMPLES { " …" } else { "" }
            )?;
        }
    }
    for line in &bad {
        writeln!(out, "{line}")?;
    }
    writeln!(
        out,
        "\n{} programs, {scripts} scripts: {} need only calls that are all there, {} may make one that is partial, {} one \
         that is absent",
        verdicts.iter().sum::<usize>(),
        verdicts[0],
        verdicts[1],
        verdicts[2]
    )
}

/// The scan as JSON: a list of files, each with its calls.
pub fn json(files: &[File]) -> Value {
    files
        .iter()
        .map(|file| match &file.scanned {
            Ok(Scanned::Program(needs)) => program(&file.path, needs),
            Ok(Scanned::Script(interpreter, needs)) => json!({
                "path": file.path,
                "interpreter": interpreter,
                "found": needs.is_some(),
            }),
            Ok(Scanned::Other(why)) => json!({"path": file.path, "skipped": why}),
            Err(error) => json!({"path": file.path, "error": format!("{error:#}")}),
        })
        .collect()
}

fn program(path: &str, needs: &Needs) -> Value {
    let calls: Vec<Value> = needs
        .calls
        .iter()
        .map(|(number, way)| {
            let row = row(*number);
            json!({
                "nr": number,
                "name": row.map(|row| row.name),
                "status": row.map(|row| word(row.status)),
                "function": way.function,
                "file": way.file,
                "through": way.through,
            })
        })
        .collect();
    json!({
        "path": path,
        "linkage": needs.linkage,
        "calls": calls,
        "unknown": needs.unknown.iter().map(described).collect::<Vec<_>>(),
        "missing": needs.missing,
        "plugins": needs.plugins,
    })
}
