//! `keel-fuzz`: makes system calls that no sane program would, and watches what becomes of them.

use compat_tests::fuzz::program::{program, rows};
use compat_tests::fuzz::run::{Config, Journal, Outcome, run};
use compat_tests::fuzz::shrink::shrink;
use compat_tests::sys::errno_name;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: keel-fuzz [options]
  --seed N          first seed (default 1); program k has seed N+k
  --programs N      how many programs (default 100)
  --seconds N       go on for N seconds instead
  --len N           calls per program (default 40)
  --procs N         processes that run programs side by side (default 1)
  --threads N       threads in each program's process (default 1)
  --user WHO        root, nobody or both in turn (default both; nobody when not run as root)
  --only LIST       calls or families, separated by commas
  --journal FILE    append what is about to run (a serial port survives the machine)
  --trace           journal every call, not only every program's seed
  --dir DIR         where programs may make files (default $TMPDIR or /var/tmp)
  --keep LIST       run only these steps of each program
  --print           print the programs and do not run them
  --oracle          print seed, step, call and error of every call
  --compare FILE    run the seeds of an oracle's output and print what differs
  --shrink CMD      reduce the program of --seed: CMD runs with {} replaced by the steps and fails as
                    long as the fault is there";

struct Cli {
    seed: u64,
    programs: u64,
    seconds: Option<u64>,
    procs: u64,
    users: Vec<bool>,
    journal: Option<String>,
    mode: Mode,
    config: Config,
}

enum Mode {
    Run,
    Print,
    Oracle,
    Compare(String),
    Shrink(String),
}

fn main() {
    let cli = parse().unwrap_or_else(|message| {
        eprintln!("keel-fuzz: {message}\n{USAGE}");
        std::process::exit(2);
    });
    match &cli.mode {
        Mode::Run => campaign(&cli),
        Mode::Print => {
            for seed in cli.seed..cli.seed + cli.programs {
                println!("program {seed}");
                let steps = program(seed, cli.config.len, &cli.config.rows);
                for (i, step) in steps.iter().enumerate() {
                    println!("  {i} {}", step.describe());
                }
            }
        }
        Mode::Oracle => {
            for line in oracle(&cli, cli.seed..cli.seed + cli.programs) {
                println!("{line}");
            }
        }
        Mode::Compare(file) => compare(&cli, file),
        Mode::Shrink(command) => reduce(&cli, command),
    }
}

fn parse() -> Result<Cli, String> {
    let mut args = std::env::args().skip(1);
    let dir = std::env::var("TMPDIR").unwrap_or_else(|_| "/var/tmp".to_string());
    let root = compat_tests::sc!(geteuid).ok() == 0;
    let mut only = Vec::new();
    let config = Config {
        len: 40,
        threads: 1,
        nobody: !root,
        keep: None,
        trace: false,
        dir,
        rows: vec![],
    };
    let mut cli = Cli {
        seed: 1,
        programs: 100,
        seconds: None,
        procs: 1,
        users: if root { vec![false, true] } else { vec![true] },
        journal: None,
        mode: Mode::Run,
        config,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--seed" => cli.seed = number(&value()?)?,
            "--programs" => cli.programs = number(&value()?)?,
            "--seconds" => cli.seconds = Some(number(&value()?)?),
            "--len" => cli.config.len = number(&value()?)? as usize,
            "--procs" => cli.procs = number(&value()?)?.max(1),
            "--threads" => cli.config.threads = number(&value()?)? as usize,
            "--user" => {
                cli.users = match value()?.as_str() {
                    "root" => vec![false],
                    "nobody" => vec![true],
                    "both" => vec![false, true],
                    other => return Err(format!("unknown user {other}")),
                }
            }
            "--only" => only.extend(value()?.split(',').map(str::to_string)),
            "--journal" => cli.journal = Some(value()?),
            "--trace" => cli.config.trace = true,
            "--dir" => cli.config.dir = value()?,
            "--keep" => {
                let list = value()?;
                let steps: Result<Vec<u64>, _> = list.split(',').map(number).collect();
                cli.config.keep = Some(steps?.into_iter().map(|n| n as usize).collect());
            }
            "--print" => cli.mode = Mode::Print,
            "--oracle" => cli.mode = Mode::Oracle,
            "--compare" => cli.mode = Mode::Compare(value()?),
            "--shrink" => cli.mode = Mode::Shrink(value()?),
            "--help" | "-h" => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            _ => return Err(format!("unknown option {arg}")),
        }
    }
    cli.config.rows = rows(&only);
    if cli.config.rows.is_empty() {
        return Err("--only leaves no call".to_string());
    }
    Ok(cli)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

/// Runs programs, `procs` side by side, and sums up.
fn campaign(cli: &Cli) {
    let workers: Vec<i32> = (1..cli.procs)
        .filter_map(|n| {
            let pid = compat_tests::sys::plain_fork();
            if pid == 0 {
                work(cli, n);
                std::process::exit(0);
            }
            (pid > 0).then_some(pid)
        })
        .collect();
    work(cli, 0);
    for pid in workers {
        let _ = compat_tests::sys::Child { pid }.wait();
    }
}

fn work(cli: &Cli, worker: u64) {
    let journal = Journal::open(cli.journal.as_deref());
    let end = cli.seconds.map(|s| Instant::now() + Duration::from_secs(s));
    let (mut calls, mut good, mut timeouts, mut programs) = (0usize, 0usize, 0usize, 0u64);
    let mut deaths: BTreeMap<i32, usize> = BTreeMap::new();
    let mut k = worker;
    while end.map_or(k < cli.programs, |end| Instant::now() < end) {
        let seed = cli.seed.wrapping_add(k);
        let nobody = cli.users[(k / cli.procs) as usize % cli.users.len()];
        let config = Config {
            nobody,
            ..cli.config.clone()
        };
        let outcome = run(seed, &config, &journal);
        calls += outcome.results.iter().flatten().count();
        good += outcome
            .results
            .iter()
            .flatten()
            .filter(|r| !(-4095..0).contains(*r))
            .count();
        timeouts += usize::from(outcome.timeout);
        if let Some(sig) = outcome.status.signal() {
            *deaths.entry(sig).or_default() += 1;
        }
        programs += 1;
        k += cli.procs;
    }
    println!(
        "worker {worker}: {programs} programs, {calls} calls, {good} succeeded, {timeouts} timed out, ended by signals {deaths:?}"
    );
}

/// One line per call: seed, user, step, name, error name or "ok", or how the program ended.
fn oracle(cli: &Cli, seeds: impl Iterator<Item = u64>) -> Vec<String> {
    let journal = Journal::open(cli.journal.as_deref());
    let mut lines = Vec::new();
    for seed in seeds {
        for &nobody in &cli.users {
            let config = Config {
                nobody,
                ..cli.config.clone()
            };
            let outcome = run(seed, &config, &journal);
            lines.extend(describe(seed, nobody, &config, &outcome));
        }
    }
    lines
}

fn describe(seed: u64, nobody: bool, config: &Config, outcome: &Outcome) -> Vec<String> {
    let user = if nobody { "nobody" } else { "root" };
    let steps = program(seed, config.len, &config.rows);
    let rows = steps.iter().zip(&outcome.results).enumerate();
    rows.map(|(i, (step, result))| {
        let what = match result {
            Some(r) if (-4095..0).contains(r) => errno_name(-*r as i32),
            Some(_) => "ok".to_string(),
            None => "-".to_string(),
        };
        format!("{seed} {user} {i} {} {what}", step.row.name)
    })
    .collect()
}

/// Runs what an earlier oracle ran and prints the calls whose errors differ, with a count by call.
fn compare(cli: &Cli, file: &str) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| {
        eprintln!("keel-fuzz: {file}: {e}");
        std::process::exit(2);
    });
    let want: Vec<&str> = text.lines().collect();
    let mut seeds: Vec<u64> = want
        .iter()
        .filter_map(|l| l.split(' ').next()?.parse().ok())
        .collect();
    seeds.dedup();
    let got = oracle(cli, seeds.into_iter());
    let mut by_call: BTreeMap<String, usize> = BTreeMap::new();
    for (w, g) in want.iter().zip(&got).filter(|(w, g)| *w != g) {
        println!("{w}  here: {}", g.rsplit(' ').next().unwrap_or(""));
        *by_call
            .entry(w.split(' ').nth(3).unwrap_or("?").to_string())
            .or_default() += 1;
    }
    let total: usize = by_call.values().sum();
    for (call, n) in &by_call {
        println!("{n:6} {call}");
    }
    println!("{total} of {} calls differ", want.len());
    std::process::exit(i32::from(total > 0));
}

fn reduce(cli: &Cli, command: &str) {
    let steps = program(cli.seed, cli.config.len, &cli.config.rows);
    let kept = shrink(steps.len(), |keep| {
        let list: Vec<String> = keep.iter().map(usize::to_string).collect();
        let line = command.replace("{}", &list.join(","));
        eprintln!("{} steps: {}", keep.len(), list.join(","));
        std::process::Command::new("sh")
            .arg("-c")
            .arg(&line)
            .status()
            .is_ok_and(|s| !s.success())
    });
    println!("program {} reduced to {} calls:", cli.seed, kept.len());
    for i in kept {
        if let Some(step) = steps.get(i) {
            println!("  {i} {}", step.describe());
        }
    }
}
