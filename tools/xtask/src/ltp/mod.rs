//! `cargo xtask ltp`: the Linux Test Project, and suites like it, in the guest.
//!
//! [`list`] says which tests, [`disk`] puts the installed tree on the second disk, the guest runs each test through
//! `tools/guest/ltp.sh` with a time limit and goes on after what took it down, [`outcome`] judges, [`table`] keeps.

mod disk;
mod list;
mod outcome;
mod report;
mod run;
mod table;

use crate::cmd::say;
use crate::host;
use crate::kernel_build::target_dir;
use crate::options::{self, KernelChoice};
use anyhow::{Context, Result, bail};
use list::{Suite, Test};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What `ltp` takes beside the options of `exec`.
const USAGE: &str = "\
cargo xtask ltp --ltp-dir DIR [--list NAME|FILE] [--tests PATTERN] [--compare TABLE] [--output TABLE]
    [--jobs N] [--rounds N] [--timeout SECONDS] [--kernel linux|keel|FILE]
  --ltp-dir DIR     installed LTP (also $LTP_DIR)    --list  runtest files (syscalls,mm …), posix, or a file of names;
  --tests PATTERN   only these, such as 'fork*,wait0?'       default: compat-tests/ltp/subset.txt
  --compare TABLE   sets the result beside this table; exit status 1 if anything is worse
  --rounds N        runs what is not good again, up to N times in all; the best round counts
  --timeout S       for each test, 60 by default      --resume  leaves out what the output table has already";

/// Options that have a value, with it, in the order given.
type Values = Vec<(String, String)>;

/// What to do, from the command line.
struct Plan {
    suite: Suite,
    tests: Vec<Test>,
    output: PathBuf,
    logs: PathBuf,
    compare: Option<PathBuf>,
    jobs: usize,
    rounds: usize,
    resume: bool,
    posix: bool,
}

/// Runs the tests; returns the status to exit with.
pub fn command(args: &[String]) -> Result<i32> {
    let (own, shared) = split(args)?;
    let value = |name: &str| {
        own.iter()
            .rev()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    };
    let mut guest = options::parse(&shared, &[])?.guest;
    if !shared.iter().any(|word| word.starts_with("--timeout")) {
        guest.timeout = Duration::from_secs(60);
    }
    if !shared.iter().any(|word| word.starts_with("--mem")) {
        guest.memory = "2G".to_owned();
    }
    let plan = plan(&value, &guest.kernel)?;
    let old = plan.compare.as_deref().map(table::read).transpose()?;
    let rows = run::run(&plan, guest)?;
    say(format_args!("table: {}", plan.output.display()));
    let worse = old
        .map(|old| report::comparison(&rows, &old))
        .unwrap_or_default();
    let bad = rows.iter().filter(|row| !row.class.is_good()).count();
    outln!("{}", table::totals(&rows));
    Ok(i32::from(if plan.compare.is_some() {
        worse > 0
    } else {
        bad > 0
    }))
}

/// The command's own options with their values, and the rest.
fn split(args: &[String]) -> Result<(Values, Vec<String>)> {
    const OWN: [&str; 7] = [
        "--ltp-dir",
        "--list",
        "--tests",
        "--compare",
        "--output",
        "--jobs",
        "--rounds",
    ];
    let mut own = Vec::new();
    let mut rest = Vec::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if word == "--help" {
            bail!("{USAGE}");
        }
        if word == "--resume" {
            own.push((word.clone(), String::new()));
            continue;
        }
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        if !OWN.contains(&name) {
            rest.push(word.clone());
            continue;
        }
        let value = attached.or_else(|| words.next().cloned());
        own.push((
            name.to_owned(),
            value.with_context(|| format!("{name} needs a value\n{USAGE}"))?,
        ));
    }
    Ok((own, rest))
}

fn plan<'a>(value: &impl Fn(&str) -> Option<&'a str>, kernel: &KernelChoice) -> Result<Plan> {
    let dir = value("--ltp-dir")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("LTP_DIR").map(PathBuf::from))
        .with_context(|| format!("where is the installed LTP? Give --ltp-dir DIR\n{USAGE}"))?;
    let root = host::repo_root()?;
    let suite = Suite::find(&dir)?;
    let subset = root.join("compat-tests/ltp/subset.txt");
    let subset = subset.to_string_lossy();
    let list = value("--list").unwrap_or(&subset);
    let mut tests = suite.tests(list)?;
    if let Some(patterns) = value("--tests") {
        tests.retain(|test| list::matches(patterns, &test.name));
        if tests.is_empty() {
            bail!("no test of {list} matches {patterns}; patterns are such as 'fork*,wait0?'");
        }
    }
    let number = |name: &str| match value(name) {
        None => Ok(1),
        Some(text) => text
            .parse()
            .ok()
            .filter(|number| *number > 0)
            .with_context(|| format!("{name} needs a number of at least 1, not {text}")),
    };
    let kernel = if *kernel == KernelChoice::Linux {
        "linux"
    } else {
        "keel"
    };
    let short = Path::new(list)
        .file_stem()
        .map_or("tests".into(), |stem| stem.to_string_lossy());
    let folder = target_dir(&root).join("ltp");
    Ok(Plan {
        tests,
        output: value("--output").map_or_else(
            || folder.join(format!("{short}-{kernel}.tsv")),
            PathBuf::from,
        ),
        logs: folder.join(format!("{short}-{kernel}-logs")),
        compare: value("--compare").map(PathBuf::from),
        jobs: number("--jobs")?,
        rounds: number("--rounds")?,
        resume: value("--resume").is_some(),
        posix: list.split(',').all(|part| part == "posix"),
        suite,
    })
}
