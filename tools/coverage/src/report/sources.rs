//! What the report is made of, read from the repository.

use super::{Command, Commands, Test};
use anyhow::{Context, Result};
use regex_lite::Regex;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// Tests by call.
type ByCall = BTreeMap<String, Vec<Test>>;

/// Enums of the ABI whose values are commands: name, call, title.
const ENUMS: [(&str, &str, &str); 4] = [
    ("IoctlCmd", "ioctl", "ioctl commands"),
    ("FcntlCmd", "fcntl", "fcntl commands"),
    ("PrctlOption", "prctl", "prctl options"),
    ("SocketOption", "setsockopt", "socket options (SOL_SOCKET)"),
];

/// The files below `dir` whose names end so.
fn files(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, ending, found)?;
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

/// The cases of compat-tests, by call, with those on the list of known failures marked.
pub fn cases(root: &Path) -> Result<ByCall> {
    let base = root.join("compat-tests");
    let known = fs::read_to_string(base.join("keel-known.txt")).unwrap_or_default();
    let known: Vec<&str> = known
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let mut by_call = ByCall::new();
    let mut add = |id: String, calls: &str| {
        let result = if known.contains(&id.as_str()) {
            "known failure"
        } else {
            "pass"
        };
        for call in calls.split_whitespace() {
            let test = Test {
                name: id.clone(),
                kind: "case",
                result: result.to_owned(),
                linux: String::new(),
            };
            by_call.entry(call.to_owned()).or_default().push(test);
        }
    };
    let cases = base.join("src/cases");
    let pattern = Regex::new(r#"case!\(\s*"([^"]*)",\s*"([^"]*)""#)?;
    let mut sources = Vec::new();
    files(&cases, ".rs", &mut sources)?;
    for source in sources {
        let group = source.strip_prefix(&cases)?.with_extension("");
        let group = group.to_string_lossy().trim_end_matches("/mod").to_owned();
        for found in pattern.captures_iter(&fs::read_to_string(&source)?) {
            let first = found[1]
                .split_whitespace()
                .next()
                .unwrap_or("none")
                .to_owned();
            add(format!("{group}/{first}/{}", &found[2]), &found[1]);
        }
    }
    let pattern = Regex::new(r#"(?m)^CASE\((\w+),\s*(\w+),\s*"([^"]*)"\)"#)?;
    let mut sources = Vec::new();
    files(&base.join("c"), ".c", &mut sources)?;
    for source in sources {
        for found in pattern.captures_iter(&fs::read_to_string(&source)?) {
            add(format!("c/{}/{}", &found[1], &found[2]), &found[3]);
        }
    }
    Ok(by_call)
}

/// LTP's tests by call, with the last results on Keel and on Linux.
pub fn ltp(root: &Path) -> Result<ByCall> {
    let base = root.join("compat-tests/ltp");
    let mut results: [HashMap<String, String>; 2] = Default::default();
    for (system, results) in ["keel", "linux-6.1"].iter().zip(&mut results) {
        let mut tables = Vec::new();
        files(&base.join("results").join(system), ".tsv", &mut tables)?;
        for table in tables {
            let text = fs::read_to_string(&table)?;
            for row in rows(&text) {
                if let (Some(name), Some(class)) = (row.get("name"), row.get("class")) {
                    results.insert((*name).to_owned(), (*class).to_owned());
                }
            }
        }
    }
    let [keel, linux] = results;
    let text = fs::read_to_string(base.join("calls.tsv")).context("compat-tests/ltp/calls.tsv")?;
    let class = |results: &HashMap<String, String>, name: &str| {
        results
            .get(name)
            .cloned()
            .unwrap_or_else(|| "not run".to_owned())
    };
    let mut by_call = ByCall::new();
    for row in rows(&text) {
        let (Some(call), Some(names)) = (row.get("syscall"), row.get("names")) else {
            continue;
        };
        let tests = names.split_whitespace().map(|name| Test {
            name: name.to_owned(),
            kind: "ltp",
            result: class(&keel, name),
            linux: class(&linux, name),
        });
        by_call.entry((*call).to_owned()).or_default().extend(tests);
    }
    Ok(by_call)
}

/// The rows of a tab-separated table, by column name.
fn rows(text: &str) -> impl Iterator<Item = HashMap<&str, &str>> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    lines.map(move |line| header.iter().copied().zip(line.split('\t')).collect())
}

/// The commands of ioctl and its kin: those the ABI names, and which of them the kernel has code for.
pub fn commands(root: &Path) -> Result<Vec<Commands>> {
    let mut sources = Vec::new();
    files(&root.join("kernel/src"), ".rs", &mut sources)?;
    let kernel: Vec<(String, String)> = sources
        .iter()
        .map(|path| {
            Ok((
                path.strip_prefix(root)?.to_string_lossy().into_owned(),
                without_comments(&fs::read_to_string(path)?),
            ))
        })
        .collect::<Result<_>>()?;
    let mut flags = Vec::new();
    files(&root.join("abi/src/flags"), ".rs", &mut flags)?;
    let mut abi = String::new();
    for file in flags {
        abi.push_str(&fs::read_to_string(file)?);
    }
    ENUMS
        .iter()
        .map(|(name, call, title)| {
            let items = names(&abi, name)?
                .into_iter()
                .map(|item| command(item, &kernel))
                .collect();
            Ok(Commands {
                call: (*call).to_owned(),
                title: (*title).to_owned(),
                items,
            })
        })
        .collect()
}

fn without_comments(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    lines.join("\n")
}

/// The names in the ABI's enum `name`.
fn names(abi: &str, name: &str) -> Result<Vec<String>> {
    let start = abi
        .find(&format!("pub struct {name}:"))
        .with_context(|| format!("the ABI has no {name}"))?;
    let body = &abi[start..];
    let body = &body[..body.find("\n    }").unwrap_or(body.len())];
    let pattern = Regex::new(r"(?m)^\s+([A-Z][A-Z0-9_]+) = ")?;
    Ok(pattern
        .captures_iter(body)
        .map(|found| found[1].to_owned())
        .collect())
}

/// Looks for code about a command: an arm or a comparison, other than an arm that only gives an error.
fn command(name: String, kernel: &[(String, String)]) -> Command {
    let mark = format!("::{name}");
    for (file, text) in kernel {
        let mut from = 0;
        while let Some(at) = text[from..].find(&mark) {
            let after = from + at + mark.len();
            from = after;
            let whole =
                !text[after..].starts_with(|next: char| next.is_alphanumeric() || next == '_');
            if whole && !is_refused(&text[after..]) {
                let line = text[..after].lines().count();
                return Command {
                    name,
                    status: "handled",
                    place: format!("{file}:{line}"),
                };
            }
        }
    }
    Command {
        name,
        status: "absent",
        place: String::new(),
    }
}

/// Whether what follows a pattern is the rest of an arm whose value is an error.
fn is_refused(rest: &str) -> bool {
    let Some((pattern, value)) = rest.split_once("=>") else {
        return false;
    };
    // Further patterns of the same arm may come first; anything else means that it was no pattern.
    let only_patterns = pattern
        .chars()
        .all(|each| each.is_alphanumeric() || "_:| \n\t".contains(each));
    let value = value.trim_start().trim_start_matches("return ");
    only_patterns && value.starts_with("Err(")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arm_that_refuses_is_no_support() {
        let kernel = [(
            "a.rs".to_owned(),
            "match x { O::A => 1,\n O::B | O::C => Err(Errno::EINVAL), _ if y == O::D => 3 }"
                .to_owned(),
        )];
        let status = |name: &str| command(name.to_owned(), &kernel).status;
        assert_eq!(
            ["A", "B", "C", "D", "E"].map(status),
            ["handled", "absent", "absent", "handled", "absent"]
        );
    }

    #[test]
    fn the_repository_gives_a_whole_report() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let report = super::super::gather(&root).unwrap();
        assert_eq!(report.syscalls.len(), keel_abi::SYSCALLS.len());
        assert!(
            report
                .commands
                .iter()
                .all(|commands| commands.items.iter().any(|item| item.status == "handled"))
        );
        let read = report
            .syscalls
            .iter()
            .find(|call| call.name == "read")
            .unwrap();
        assert!(
            read.tests.iter().any(|test| test.kind == "case")
                && read.tests.iter().any(|test| test.kind == "ltp")
        );
        assert!(report.html().unwrap().contains("\"syscalls\":["));
    }
}
