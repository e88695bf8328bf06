//! `cargo xtask profile`: where the kernel spends its time while a command runs, as a flame graph.
//!
//! QEMU's monitor stops the machine many times a second; each time the registers of every processor and, in the
//! kernel, the chain of frame pointers are read. So sections with interrupts off are seen like all others, and the
//! kernel does nothing for it. Samples are spread evenly in time; under TCG a processor stops between two blocks of
//! translated code, never far from where it was.

mod flame;
mod monitor;

use crate::cmd::say;
use crate::guest::{Job, Outcome, Progress, Session, run_batch};
use crate::options::{self, KernelChoice};
use crate::symbols::Symbols;
use anyhow::{Context, Result, bail};
use flame::Tree;
use monitor::Monitor;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

/// Time between two samples.
const PERIOD: Duration = Duration::from_millis(4);
/// Lines of each list on stdout.
const TOP: usize = 25;

/// What the guest does.
const BOOTING: u8 = 0;
const RUNNING: u8 = 1;
const DONE: u8 = 2;

/// Runs the command and writes the graph. Returns the command's status.
pub fn command(args: &[String]) -> Result<i32> {
    let (svg, rest) = svg_option(args)?;
    let parsed = options::parse(&rest, &["--user"])?;
    if parsed.command.is_empty() {
        bail!(
            "profile needs a command: cargo xtask profile [--svg FILE] [--user] {} -- CMD…",
            options::USAGE
        );
    }
    if parsed.guest.kernel == KernelChoice::Linux {
        bail!("Debian's kernel comes without symbols; profile is for Keel");
    }
    let user = parsed.has("--user");
    let mut session = Session::new(parsed.guest)?;
    let symbols = Symbols::read(session.kernel())?;
    let scratch = crate::scratch::Scratch::new()?;
    let socket = scratch.path().join("monitor");
    session.monitor = Some(socket.clone());
    let state = AtomicU8::new(BOOTING);
    let job =
        Job::new(parsed.command.iter().map(Into::into).collect()).limit(session.options.timeout);
    let (batch, samples) = thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(&socket, &state));
        let batch = run_batch(&session, &[job], &session.payload()?, |progress| {
            follow(&progress, &state);
        });
        state.store(DONE, Ordering::Relaxed);
        let samples = sampler.join().unwrap_or_default();
        Ok::<_, anyhow::Error>((batch?, samples))
    })?;
    publish(&symbols, &samples, user, &svg)?;
    match batch.results.first().map(|result| &result.outcome) {
        Some(Outcome::Ended(end)) => Ok(end.shell_status()),
        Some(Outcome::NotStarted(why)) => bail!("the command was not started: {why}"),
        Some(Outcome::GuestFailed(failure)) => bail!("{}", failure.kind),
        None => bail!("the guest ran nothing"),
    }
}

/// Takes `--svg FILE` out of the arguments.
fn svg_option(args: &[String]) -> Result<(PathBuf, Vec<String>)> {
    let mut rest = args.to_vec();
    let end = rest.iter().position(|word| word == "--");
    let Some(at) = rest[..end.unwrap_or(rest.len())]
        .iter()
        .position(|word| word == "--svg")
    else {
        return Ok(("profile.svg".into(), rest));
    };
    rest.remove(at);
    if at >= rest.len() || rest[at] == "--" {
        bail!("--svg needs a file");
    }
    Ok((rest.remove(at).into(), rest))
}

fn follow(progress: &Progress<'_>, state: &AtomicU8) {
    // A closed output is noticed by whoever reads the results.
    let _ = match progress {
        Progress::Started(_) => {
            state.store(RUNNING, Ordering::Relaxed);
            Ok(())
        }
        Progress::Finished(..) => {
            state.store(DONE, Ordering::Relaxed);
            Ok(())
        }
        Progress::Stdout(bytes) => std::io::stdout().write_all(bytes),
        Progress::Stderr(bytes) => std::io::stderr().write_all(bytes),
    };
}

/// What a processor was found at.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sample {
    /// Waiting for an interrupt.
    Idle,
    /// In a program.
    User,
    /// In the kernel: return addresses from the innermost function outwards.
    Kernel(Vec<u64>),
}

/// Samples while the command runs. An error of the monitor ends it: the guest is gone.
fn sample(socket: &Path, state: &AtomicU8) -> BTreeMap<Sample, u64> {
    let mut all = BTreeMap::new();
    let mut monitor = None;
    while state.load(Ordering::Relaxed) != DONE {
        thread::sleep(PERIOD);
        if state.load(Ordering::Relaxed) != RUNNING {
            continue;
        }
        if monitor.is_none() {
            monitor = Monitor::connect(socket).ok();
        }
        let Some(Ok(samples)) = monitor.as_mut().map(Monitor::sample) else {
            break;
        };
        for sample in samples {
            *all.entry(sample).or_default() += 1;
        }
    }
    all
}

fn publish(
    symbols: &Symbols,
    samples: &BTreeMap<Sample, u64>,
    user: bool,
    svg: &Path,
) -> Result<()> {
    let mut tree = Tree::default();
    let mut own: BTreeMap<String, u64> = BTreeMap::new();
    let mut within: BTreeMap<String, u64> = BTreeMap::new();
    let (mut idle, mut in_user, mut in_kernel) = (0, 0, 0);
    for (sample, &count) in samples {
        match sample {
            Sample::Idle => idle += count,
            Sample::User => {
                in_user += count;
                if user {
                    tree.add(&["user mode".to_owned()], count);
                }
            }
            Sample::Kernel(addresses) => {
                in_kernel += count;
                let mut names = names(symbols, addresses);
                if let Some(inner) = names.last() {
                    *own.entry(inner.clone()).or_default() += count;
                }
                tree.add(&names, count);
                names.sort();
                names.dedup();
                for name in names {
                    *within.entry(name).or_default() += count;
                }
            }
        }
    }
    let all = (idle + in_user + in_kernel).max(1);
    let share = |count: u64| count as f64 * 100.0 / all as f64;
    outln!(
        "{all} samples: {:.1} % kernel, {:.1} % user mode, {:.1} % idle",
        share(in_kernel),
        share(in_user),
        share(idle)
    );
    for (title, counts) in [
        ("in the function itself", own),
        ("with what it calls", within),
    ] {
        outln!("share of the kernel's time {title}:");
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (name, count) in counts.into_iter().take(TOP) {
            outln!(
                "{:6.1} %  {name}",
                count as f64 * 100.0 / in_kernel.max(1) as f64
            );
        }
    }
    std::fs::write(svg, tree.render())
        .with_context(|| format!("cannot write {}", svg.display()))?;
    say(format_args!("the graph is in {}", svg.display()));
    Ok(())
}

/// The functions of a stack, outermost first.
fn names(symbols: &Symbols, addresses: &[u64]) -> Vec<String> {
    let mut names: Vec<String> = addresses
        .iter()
        .enumerate()
        // A return address may be the first of the next function.
        .map(|(at, address)| symbols.name(if at == 0 { *address } else { address - 1 }))
        .collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graphs_file_may_be_named() {
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        let (svg, rest) = svg_option(&words("alpine --svg a.svg -- ls --svg b")).unwrap();
        assert_eq!((svg, rest), ("a.svg".into(), words("alpine -- ls --svg b")));
        assert!(svg_option(&words("--svg -- ls")).is_err());
    }
}
