//! `cargo xtask bench`: Keel beside Debian's Linux, on the same image and the same machine.
//!
//! The guest program of `tools/bench/guest` measures inside; rounds alternate between the kernels, so that what else
//! happens on this machine falls on both. The crate `keel-bench` makes table, JSON and chart of it.

mod boot;
mod options;

use crate::cache::{Cache, sha256_of};
use crate::cmd::{Cmd, say};
use crate::guest::media::MOUNT_POINT;
use crate::guest::{Job, Outcome, Payload, Session, run_batch};
use crate::options::{GuestOptions, KernelChoice};
use crate::{host, linux};
use anyhow::{Context, Result};
use keel_bench::{Collector, Comparison, Kernel, Line, Setting, Unit, baseline, chart, table};
use options::Options;
use std::fs;
use std::path::{Path, PathBuf};

/// What is added to Linux's command line: Keel has no mitigations either.
const LINUX_OPTIONS: &str = "mitigations=off";

/// Runs the benchmarks. Returns the status to exit with: 1 after a regression.
pub fn command(args: &[String]) -> Result<i32> {
    let Some(options) = options::parse(args)? else {
        outln!("{}", options::USAGE);
        return Ok(0);
    };
    let before = options.baseline.as_deref().map(load).transpose()?;
    let cache = Cache::open()?;
    let program = guest_program(&cache)?;
    let keel = session(&options, options.guest.kernel.clone())?;
    let linux = session(&options, KernelChoice::Linux)?;
    let mut all = Collector::default();
    for round in 0..options.rounds {
        let mut kernels = [(Kernel::Linux, &linux), (Kernel::Keel, &keel)];
        if round % 2 == 1 {
            kernels.reverse();
        }
        for (kernel, session) in kernels {
            say(format_args!(
                "round {} of {}: {kernel:?}",
                round + 1,
                options.rounds
            ));
            for group in options.groups.iter().filter(|group| *group == "boot") {
                all.add(group, kernel, boot::measure(session)?);
            }
            in_guest(&options, &program, kernel, session, &mut all)?;
        }
    }
    let comparison = all.finish(setting(&options, &cache)?);
    publish(&options, &comparison)?;
    before.map_or(Ok(0), |before| Ok(judge(&before, &comparison)))
}

fn session(options: &Options, kernel: KernelChoice) -> Result<Session> {
    let mut guest = GuestOptions {
        kernel,
        ..options.guest.clone()
    };
    if guest.kernel == KernelChoice::Linux {
        guest.append = format!("{LINUX_OPTIONS} {}", guest.append)
            .trim()
            .to_owned();
    }
    Session::new(guest)
}

/// Builds the guest program, once for each version of its sources.
fn guest_program(cache: &Cache) -> Result<PathBuf> {
    let folder = host::repo_root()?.join("tools/bench/guest");
    let mut sources: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    sources.sort();
    let mut text = Vec::new();
    for source in &sources {
        text.extend(fs::read(source)?);
    }
    let made = cache.entry(
        &format!("guest/bench-{}", &sha256_of(&text)[..16]),
        |made| {
            host::ensure(&[host::CC, host::STATIC_LIBC])?;
            let is_c = |path: &&PathBuf| path.extension().is_some_and(|kind| kind == "c");
            Cmd::new("gcc")
                .args(["-O2", "-static", "-s", "-pthread", "-Wall", "-Wextra", "-o"])
                .arg(made.join("keel-bench"))
                .args(sources.iter().filter(is_c))
                .run()
        },
    )?;
    Ok(made.join("keel-bench"))
}

/// One boot of one kernel with all the groups that are measured inside.
fn in_guest(
    options: &Options,
    program: &Path,
    kernel: Kernel,
    session: &Session,
    all: &mut Collector,
) -> Result<()> {
    let groups: Vec<&String> = options
        .groups
        .iter()
        .filter(|group| *group != "boot")
        .collect();
    if groups.is_empty() {
        return Ok(());
    }
    let jobs: Vec<Job> = groups
        .iter()
        .map(|group| {
            let mut argv = vec![format!("{MOUNT_POINT}/keel-bench")];
            if options.quick {
                argv.push("--quick".to_owned());
            }
            if let Some(only) = &options.only {
                argv.extend(["--only".to_owned(), only.clone()]);
            }
            argv.push((*group).clone());
            Job::new(argv.into_iter().map(Into::into).collect()).limit(options.guest.timeout)
        })
        .collect();
    let payload = [Payload {
        from: program.to_owned(),
        name: "keel-bench".to_owned(),
    }];
    let batch = run_batch(session, &jobs, &payload, |_| {})?;
    for (group, result) in groups.into_iter().zip(&batch.results) {
        let mut lines = keel_bench::parse(&String::from_utf8_lossy(&result.stdout));
        if let Some(why) = trouble(&result.outcome, &result.stderr) {
            say(format_args!("{kernel:?}, {group}: {why}"));
            // Shown as a row of its own: what came after it in the group is missing.
            lines.push(Line::Skipped {
                name: "(the group's end)".to_owned(),
                why,
            });
        }
        all.add(group, kernel, lines);
    }
    Ok(())
}

/// Why a group did not come to its end.
fn trouble(outcome: &Outcome, stderr: &[u8]) -> Option<String> {
    match outcome {
        Outcome::Ended(end) if end.wait_status == 0 => None,
        Outcome::Ended(end) if end.timed_out => Some("out of time".to_owned()),
        Outcome::Ended(end) => {
            let said = String::from_utf8_lossy(stderr);
            let last = said.lines().last().unwrap_or("nothing said");
            Some(format!("status {}: {last}", end.shell_status()))
        }
        Outcome::NotStarted(why) => Some(why.clone()),
        Outcome::GuestFailed(failure) => Some(failure.kind.to_string()),
    }
}

fn setting(options: &Options, cache: &Cache) -> Result<Setting> {
    let keel = match &options.guest.kernel {
        KernelChoice::File(file) => file
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        _ => "this tree".to_owned(),
    };
    let accelerator = if options.guest.count_instructions {
        "tcg, instructions counted"
    } else if host::has_kvm() {
        "kvm"
    } else {
        "tcg"
    };
    Ok(Setting {
        image: options.guest.image.clone(),
        cpus: options.guest.cpus,
        memory: options.guest.memory.clone(),
        accelerator: accelerator.to_owned(),
        rounds: options.rounds,
        instructions: options.guest.count_instructions,
        linux: format!("{} {LINUX_OPTIONS}", linux::get(cache)?.release),
        keel,
    })
}

fn publish(options: &Options, comparison: &Comparison) -> Result<()> {
    out!("{}", table::render(comparison));
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(comparison)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &options.svg {
        fs::write(file, chart::render(comparison))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn load(file: &Path) -> Result<Comparison> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is no result of a bench run", file.display()))
}

/// Says what has become slower since the baseline.
fn judge(before: &Comparison, now: &Comparison) -> i32 {
    let worse = baseline::regressions(before, now);
    for regression in &worse {
        let ratio = regression
            .now
            .map_or_else(|| "no figure".to_owned(), |ratio| format!("{ratio:.2}"));
        outln!(
            "SLOWER {}: {:.2} → {ratio}",
            regression.name,
            regression.before
        );
    }
    outln!("{} regressions against the baseline", worse.len());
    i32::from(!worse.is_empty())
}

/// A result that is measured out here, in nanoseconds.
fn time(name: &str, took: std::time::Duration) -> Line {
    Line::Result {
        name: name.to_owned(),
        unit: Unit::Nanoseconds,
        value: took.as_nanos() as f64,
    }
}
