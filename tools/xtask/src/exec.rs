//! `cargo xtask exec`: one command in a guest, as if it ran here.

use crate::cmd::say;
use crate::guest::{Job, JobResult, Outcome, Progress, Session, run_batch};
use crate::options;
use anyhow::{Context, Result, bail};
use std::io::Write;

/// Exit status when the command reached its time limit, as timeout(1) has it.
const TIMED_OUT: i32 = 124;
/// Exit status when the guest, not the command, failed.
const GUEST_FAILED: i32 = 125;
/// Lines of the console that are shown when the guest failed.
const TAIL: usize = 40;

/// Boots, runs the command, passes its output through. Returns the status to exit with.
pub fn command(args: &[String]) -> Result<i32> {
    let parsed = options::parse(args, &[])?;
    if parsed.command.is_empty() {
        bail!(
            "exec needs a command: cargo xtask exec {} -- CMD…",
            options::USAGE
        );
    }
    let session = Session::new(parsed.guest)?;
    let job =
        Job::new(parsed.command.iter().map(Into::into).collect()).limit(session.options.timeout);
    let mut closed = false;
    let batch = run_batch(&session, &[job], &session.payload()?, |progress| {
        let written = match progress {
            Progress::Stdout(bytes) => pass(&mut std::io::stdout(), bytes),
            Progress::Stderr(bytes) => pass(&mut std::io::stderr(), bytes),
            Progress::Started(_) | Progress::Finished(..) => Ok(()),
        };
        closed |= written.is_err();
    })?;
    if closed {
        bail!("the output could not be written");
    }
    let result = batch.results.first().context("the guest ran nothing")?;
    Ok(report(result))
}

fn pass(to: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// Says what went wrong, if anything did; returns the status to exit with.
fn report(result: &JobResult) -> i32 {
    match &result.outcome {
        Outcome::Ended(end) if end.timed_out => {
            say(format_args!(
                "the command was killed after {:.0} s (--timeout)",
                end.elapsed.as_secs_f64()
            ));
            TIMED_OUT
        }
        Outcome::Ended(end) => end.shell_status(),
        Outcome::NotStarted(why) => {
            say(format_args!("the guest could not start the command: {why}"));
            GUEST_FAILED
        }
        Outcome::GuestFailed(failure) => {
            eprintln!(
                "--- end of the guest's console ---\n{}\n---",
                failure.tail(TAIL)
            );
            say(&failure.kind);
            GUEST_FAILED
        }
    }
}
