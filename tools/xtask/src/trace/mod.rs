//! `cargo xtask trace`: the system calls of a command in the guest, and what is different on Linux.
//!
//! Keel prints its trace on COM3 (`keel.trace=syscalls`), decoded in the kernel from the table; on Linux
//! the image's own strace does it.

mod diff;
mod parse;

use crate::cmd::say;
use crate::guest::{Job, JobResult, Outcome, Session, run_batch};
use crate::options::{self, GuestOptions, KernelChoice};
use anyhow::{Context, Result, bail};
use diff::Line;
pub use parse::Call;
use std::fmt::Write as _;
use std::io::Write as _;

/// Where strace writes in the guest.
const STRACE_LOG: &str = "/tmp/keel-strace";
/// Unchanged calls shown around a difference.
const CONTEXT: usize = 2;

/// A command's calls, and how it came out.
struct Traced {
    calls: Vec<Call>,
    result: JobResult,
}

/// Runs the command; prints its calls, or with --diff those that differ. Returns the status to exit with.
pub fn command(args: &[String]) -> Result<i32> {
    let parsed = options::parse(args, &["--diff", "--all"])?;
    if parsed.command.is_empty() {
        bail!(
            "trace needs a command: cargo xtask trace [--diff] [--all] {} -- CMD…",
            options::USAGE
        );
    }
    let traced = trace(&parsed.guest, &parsed.command, parsed.has("--all"))?;
    std::io::stdout().write_all(&traced.result.stdout)?;
    std::io::stderr().write_all(&traced.result.stderr)?;
    if !parsed.has("--diff") {
        let mut text = String::new();
        for call in &traced.calls {
            writeln!(text, "{:<6} {}", call.tid, call.text())?;
        }
        eprint!("{text}");
        return Ok(status(&traced.result));
    }
    let linux = GuestOptions {
        kernel: KernelChoice::Linux,
        ..parsed.guest.clone()
    };
    say("the same command on Linux");
    let reference = trace(&linux, &parsed.command, false)?;
    let lines = diff::compare(&reference.calls, &traced.calls);
    out!("{}", shorten(&lines));
    let same_output = reference.result.stdout == traced.result.stdout
        && status(&reference.result) == status(&traced.result);
    say(format_args!(
        "{} calls on Linux, {} here; standard output and status {}",
        reference.calls.len(),
        traced.calls.len(),
        if same_output {
            "are the same"
        } else {
            "differ"
        },
    ));
    Ok(i32::from(diff::differs(&lines) || !same_output))
}

/// The calls that the command makes on Keel, its children's too, and its status; its output goes to ours.
pub fn record(guest: &GuestOptions, command: &[String]) -> Result<(Vec<Call>, i32)> {
    let traced = trace(guest, command, false)?;
    std::io::stderr().write_all(&traced.result.stdout)?;
    std::io::stderr().write_all(&traced.result.stderr)?;
    Ok((traced.calls, status(&traced.result)))
}

/// Runs the command on the kernel that `guest` names and reads its trace.
fn trace(guest: &GuestOptions, command: &[String], all: bool) -> Result<Traced> {
    let mut session = Session::new(guest.clone())?;
    let limit = session.options.timeout;
    if guest.kernel == KernelChoice::Linux {
        let mut argv = ["strace", "-f", "-s", "4096", "-o", STRACE_LOG, "--"]
            .map(str::to_owned)
            .to_vec();
        argv.extend_from_slice(command);
        let jobs = [argv, vec!["cat".to_owned(), STRACE_LOG.to_owned()]]
            .map(|argv| Job::new(argv.into_iter().map(Into::into).collect()).limit(limit));
        let mut results = run_batch(&session, &jobs, &session.payload()?, |_| {})?.results;
        let log = results.pop().context("no trace came back")?;
        let result = results.pop().context("the guest ran nothing")?;
        let calls = parse::strace(&String::from_utf8_lossy(&log.stdout));
        if calls.is_empty() {
            bail!(
                "strace said nothing: {}",
                String::from_utf8_lossy(&result.stderr).trim()
            );
        }
        return Ok(Traced { calls, result });
    }
    session.trace = true;
    let job = Job::new(command.iter().map(Into::into).collect()).limit(limit);
    let mut batch = run_batch(&session, &[job], &session.payload()?, |_| {})?;
    let result = batch.results.pop().context("the guest ran nothing")?;
    let text = batch.traces.pop().unwrap_or_default();
    let mut calls = parse::keel(&String::from_utf8_lossy(&text));
    if let Some(pid) = result.pid.filter(|_| !all) {
        calls = parse::family(&calls, pid);
    }
    if let Outcome::GuestFailed(failure) = &result.outcome {
        eprintln!("{}", failure.tail(40));
        say(&failure.kind);
    }
    Ok(Traced { calls, result })
}

fn status(result: &JobResult) -> i32 {
    match &result.outcome {
        Outcome::Ended(end) => end.shell_status(),
        Outcome::NotStarted(_) | Outcome::GuestFailed(_) => 125,
    }
}

/// The comparison as text, long stretches without a difference left out.
fn shorten(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut skipped = 0_usize;
    for (at, line) in lines.iter().enumerate() {
        let near = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(lines.len());
        let shown = match line {
            Line::Process(number) => format!("process {number}"),
            Line::Linux(call) => format!("- {call}"),
            Line::Keel(call) => format!("+ {call}"),
            Line::Same(call) if diff::differs(&lines[near]) => format!("  {call}"),
            Line::Same(_) => {
                skipped += 1;
                continue;
            }
        };
        if skipped > 0 {
            text.push_str(&format!("  … {skipped} calls alike\n"));
            skipped = 0;
        }
        text.push_str(&shown);
        text.push('\n');
    }
    if skipped > 0 {
        text.push_str(&format!("  … {skipped} calls alike\n"));
    }
    text
}
