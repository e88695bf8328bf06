//! The command line of `cargo xtask bench`.

use crate::options::{self as shared, GuestOptions, KernelChoice};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::time::Duration;

/// All groups, in the order in which they run; `footprint` is memory.
const GROUPS: [&str; 9] = [
    "boot",
    "syscall",
    "process",
    "memory",
    "ipc",
    "fs",
    "sched",
    "app",
    "footprint",
];
/// What runs when no group is named: all of them.
const DEFAULT_ROUNDS: u32 = 5;
/// A group may take this long in the guest.
const LIMIT: Duration = Duration::from_secs(900);

pub const USAGE: &str = "\
usage: cargo xtask bench [GROUP…] [OPTIONS]
groups: boot syscall process memory ipc fs sched app footprint (all of them if none is named)
  --quick          one round with short samples
  --rounds N       rounds of both kernels, in alternating order (5)
  --only TEXT      only the benchmarks whose name contains TEXT
  --count          count executed instructions instead of time: exact, on one CPU (QEMU's -icount)
  --json FILE      write the figures
  --svg FILE       write a chart
  --baseline FILE  compare with an earlier --json; status 1 if a ratio has become worse
and those of exec: --kernel keel|FILE, --image NAME|FILE, --smp N, --mem SIZE, --append TEXT, --timeout SECONDS (of a group)";

/// What was asked for.
pub struct Options {
    /// Groups, in order.
    pub groups: Vec<String>,
    /// Rounds.
    pub rounds: u32,
    /// Short samples.
    pub quick: bool,
    /// Part of the names of the benchmarks to run.
    pub only: Option<String>,
    /// Where to write the figures.
    pub json: Option<PathBuf>,
    /// Where to write the chart.
    pub svg: Option<PathBuf>,
    /// An earlier run.
    pub baseline: Option<PathBuf>,
    /// The machine, the image and Keel's kernel.
    pub guest: GuestOptions,
}

/// Takes the command line apart; none if help was asked for.
pub fn parse(args: &[String]) -> Result<Option<Options>> {
    let mut groups = Vec::new();
    let mut rest = Vec::new();
    let mut rounds = None;
    let (mut quick, mut count) = (false, false);
    let (mut only, mut json, mut svg, mut baseline) = (None, None, None, None);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .cloned()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--quick" => quick = true,
            "--count" => count = true,
            "--rounds" => {
                let text = value()?;
                let number = text.parse().ok().filter(|number| *number > 0);
                rounds =
                    Some(number.with_context(|| format!("--rounds needs a number, not {text}"))?);
            }
            "--only" => only = Some(value()?),
            "--json" => json = Some(value()?.into()),
            "--svg" => svg = Some(value()?.into()),
            "--baseline" => baseline = Some(value()?.into()),
            "--image" => rest.push(value()?),
            group if GROUPS.contains(&group) => groups.push(group.to_owned()),
            option if option.starts_with('-') => {
                rest.push(word.clone());
                if !option.contains('=') && !matches!(option, "--debug" | "--release" | "--gpt") {
                    rest.push(value()?);
                }
            }
            other => bail!("no group is called {other}; {USAGE}"),
        }
    }
    if groups.is_empty() {
        groups = GROUPS.map(str::to_owned).to_vec();
    }
    let limited = rest.iter().any(|word| word.starts_with("--timeout"));
    let mut guest = shared::parse(&rest, &[])?.guest;
    if guest.kernel == KernelChoice::Linux {
        bail!("bench always compares with Linux; --kernel names Keel's");
    }
    if !limited {
        guest.timeout = LIMIT;
    }
    if count {
        guest.count_instructions = true;
        guest.cpus = 1;
    }
    let rounds = rounds.unwrap_or(if quick { 1 } else { DEFAULT_ROUNDS });
    Ok(Some(Options {
        groups,
        rounds,
        quick,
        only,
        json,
        svg,
        baseline,
        guest,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Option<Options>> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn groups_and_options_mix() {
        let options = parse_line("ipc --rounds 3 --smp 4 syscall --only pipe --count")
            .unwrap()
            .unwrap();
        assert_eq!(options.groups, ["ipc", "syscall"]);
        assert_eq!((options.rounds, options.guest.cpus), (3, 1));
        assert!(options.guest.count_instructions && options.guest.timeout == LIMIT);
        assert_eq!(
            parse_line("--quick").unwrap().unwrap().groups.len(),
            GROUPS.len()
        );
        assert!(parse_line("--help").unwrap().is_none());
    }

    #[test]
    fn mistakes_are_named() {
        for line in ["nothing", "--rounds 0", "--json", "--kernel linux"] {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }
}
