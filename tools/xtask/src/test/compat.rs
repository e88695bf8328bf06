//! The compatibility cases: on this machine's Linux first, which must pass them, then in the guest.
//!
//! `keel-compat` (the package compat-tests) runs the cases; here its TAP is read. A case that takes the guest
//! down fails, and a new boot goes on with the next one. `compat-tests/keel-known.txt` lists the cases that Keel
//! does not pass yet, one `ID REASON` a line; they are not run there, and counted as skipped.

use super::guest::Runner;
use super::tally::Tally;
use crate::cmd::{Cmd, say};
use crate::guest::media::MOUNT_POINT;
use crate::guest::{Job, JobResult, Outcome, Payload, Session, run_batch};
use crate::kernel_build::target_dir;
use crate::options::{GuestOptions, KernelChoice};
use crate::scratch::Scratch;
use anyhow::{Context, Result, bail};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The image that the cases run on.
const IMAGE: &str = "debian";
/// How long all the cases may take in the guest.
const LIMIT: Duration = Duration::from_secs(900);
/// After so many boots that a case brought down, the rest is given up.
const MAX_BOOTS: usize = 12;

/// A case's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Passed,
    Skipped(String),
    Failed(String),
}

/// Runs the cases here and in the guest.
pub fn run(root: &Path, runner: &Runner<'_>) -> Result<Tally> {
    let mut tally = Tally::default();
    let program = match build(root) {
        Ok(program) => program,
        Err(error) => {
            tally.check("compat cases build", Err(format!("{error:#}")));
            return Ok(tally);
        }
    };
    let here = on_host(&program, None)?;
    let mut good = Vec::new();
    let mut again = Vec::new();
    for (id, verdict) in &here {
        match verdict {
            Verdict::Failed(why) => {
                tally.will_retry(&format!("{id} (on this machine)"), why);
                again.push(id.clone());
            }
            Verdict::Passed => {
                tally.passed += 1;
                good.push(id.clone());
            }
            // What this machine cannot show (a sandbox, say) the guest may.
            Verdict::Skipped(_) => good.push(id.clone()),
        }
    }
    if !again.is_empty() {
        for (id, verdict) in on_host(&program, Some(&again))? {
            if let Verdict::Failed(why) = verdict {
                tally.check(&format!("{id} (on this machine)"), Err(why));
            } else {
                tally.passed += 1;
                tally.second_try += 1;
                good.push(id);
            }
        }
    }
    outln!(
        "ok    {} compat cases hold on this machine's Linux",
        tally.passed
    );
    let known = known(root)?;
    if runner.kernel != KernelChoice::Linux {
        good.retain(|id| match known.get(id) {
            Some(why) => {
                tally.skip(id, why);
                false
            }
            None => true,
        });
    }
    tally.add(in_guest(&program, runner, &good)?);
    Ok(tally)
}

fn build(root: &Path) -> Result<PathBuf> {
    say("building the compat cases");
    Cmd::new("cargo")
        .args(["build", "-q", "-p", "compat-tests", "--bin", "keel-compat"])
        .dir(root)
        .run_visibly()?;
    Ok(target_dir(root).join("debug/keel-compat"))
}

/// Runs the cases here: all of them, or some one after the other.
fn on_host(program: &Path, some: Option<&[String]>) -> Result<Vec<(String, Verdict)>> {
    say("compat cases on this machine");
    let scratch = Scratch::new()?;
    let mut command = Command::new(program);
    if let Some(ids) = some {
        let list = scratch.path().join("cases");
        fs::write(&list, ids.join("\n") + "\n")?;
        command.args(["--jobs", "1", "--list-file"]).arg(list);
    } else {
        command.args(["--jobs", "2"]);
    }
    let out = command
        .args(["--tap", "--dir"])
        .arg(scratch.path())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context("cannot run keel-compat")?;
    let verdicts = read_tap(&String::from_utf8_lossy(&out.stdout));
    if verdicts.is_empty() {
        bail!("keel-compat reported nothing ({})", out.status);
    }
    Ok(verdicts)
}

/// The cases that Keel is known not to pass, with the reasons.
fn known(root: &Path) -> Result<HashMap<String, String>> {
    let Ok(text) = fs::read_to_string(root.join("compat-tests/keel-known.txt")) else {
        return Ok(HashMap::new());
    };
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (id, why) = line
                .split_once(char::is_whitespace)
                .context("keel-known.txt: a line without a reason")?;
            Ok((id.to_owned(), why.trim().to_owned()))
        })
        .collect()
}

fn in_guest(program: &Path, runner: &Runner<'_>, ids: &[String]) -> Result<Tally> {
    let mut tally = Tally::default();
    let options = GuestOptions {
        image: IMAGE.to_owned(),
        kernel: runner.kernel.clone(),
        ..GuestOptions::default()
    };
    let session = Session::new(options)?;
    let mut boots = 0;
    let mut round = |ids: &[String], mut settle: Settle<'_>| -> Result<()> {
        let mut open = ids.to_vec();
        while !open.is_empty() && boots < MAX_BOOTS {
            say(format_args!("{} compat cases in the guest", open.len()));
            boots += 1;
            let result = one_boot(program, runner, &session, &open)?;
            let done = report(&result, &open, &mut settle);
            runner.keep_logs(&format!("compat-{boots}"), &result)?;
            if done == 0 {
                break;
            }
            open.drain(..done);
        }
        for id in open {
            settle(&id, Verdict::Failed("not reached".to_owned()));
        }
        Ok(())
    };
    let name = |id: &str| format!("{id} (in the guest)");
    let mut again = Vec::new();
    round(ids, &mut |id, verdict| match verdict {
        Verdict::Passed => tally.passed += 1,
        Verdict::Skipped(why) => tally.skip(id, &why),
        Verdict::Failed(why) => {
            tally.will_retry(&name(id), &why);
            again.push(id.to_owned());
        }
    })?;
    round(&again, &mut |id, verdict| match verdict {
        Verdict::Passed => tally.check_again(&name(id), Ok(0.0)),
        Verdict::Skipped(why) => tally.skip(id, &why),
        Verdict::Failed(why) => tally.check_again(&name(id), Err(why)),
    })?;
    Ok(tally)
}

/// Takes a case's verdict.
type Settle<'a> = &'a mut dyn FnMut(&str, Verdict);

fn one_boot(
    program: &Path,
    runner: &Runner<'_>,
    session: &Session,
    ids: &[String],
) -> Result<JobResult> {
    let scratch = Scratch::new()?;
    let list = scratch.path().join("cases");
    fs::write(&list, ids.join("\n") + "\n")?;
    let payload = [
        Payload {
            from: program.to_owned(),
            name: "keel-compat".to_owned(),
        },
        Payload {
            from: list,
            name: "cases".to_owned(),
        },
    ];
    let slow = runner.patience.max(1.0).ceil();
    let argv = [
        format!("{MOUNT_POINT}/keel-compat"),
        "--tap".to_owned(),
        "--announce".to_owned(),
        "--list-file".to_owned(),
        format!("{MOUNT_POINT}/cases"),
        "--dir".to_owned(),
        "/var/tmp".to_owned(),
        "--slow".to_owned(),
        slow.to_string(),
    ];
    let job = Job::new(argv.map(Into::into).to_vec()).limit(LIMIT.mul_f64(runner.patience));
    let mut batch = run_batch(session, &[job], &payload, |_| {})?;
    batch.results.pop().context("the guest ran nothing")
}

/// Passes on what a boot's cases came to; returns how many of `ids` are settled by it.
fn report(result: &JobResult, ids: &[String], settle: &mut Settle<'_>) -> usize {
    let verdicts = read_tap(&String::from_utf8_lossy(&result.stdout));
    let reported = verdicts.len();
    for (id, verdict) in verdicts {
        settle(&id, verdict);
    }
    outln!(
        "ok    {reported} of {} compat cases reported by the guest",
        ids.len()
    );
    if reported >= ids.len() {
        return ids.len();
    }
    let why = match &result.outcome {
        Outcome::Ended(end) if end.timed_out => "out of time".to_owned(),
        Outcome::Ended(end) => format!("keel-compat ended with status {}", end.shell_status()),
        Outcome::NotStarted(why) => why.clone(),
        Outcome::GuestFailed(failure) => format!("{}\n{}", failure.kind, failure.tail(12)),
    };
    settle(&ids[reported], Verdict::Failed(why));
    reported + 1
}

/// The results in a TAP stream, in order.
fn read_tap(text: &str) -> Vec<(String, Verdict)> {
    let mut results: Vec<(String, Verdict)> = Vec::new();
    for line in text.lines() {
        let (passed, rest) = match (line.strip_prefix("ok "), line.strip_prefix("not ok ")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => {
                // The detail lines of the failure before.
                if let (Some((_, Verdict::Failed(why))), Some(detail)) =
                    (results.last_mut(), line.strip_prefix("  "))
                    && !matches!(detail, "---" | "..." | "message: |")
                {
                    if !why.is_empty() {
                        why.push('\n');
                    }
                    why.push_str(detail.trim());
                }
                continue;
            }
        };
        let Some((_, name)) = rest.split_once(" - ") else {
            continue;
        };
        let (id, verdict) = match name.split_once(" # SKIP") {
            Some((id, why)) => (id, Verdict::Skipped(why.trim().to_owned())),
            None if passed => (name, Verdict::Passed),
            None => (name, Verdict::Failed(String::new())),
        };
        results.push((id.trim().to_owned(), verdict));
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tap_is_read_with_its_details() {
        let text = "TAP version 13\n1..3\nok 1 - fs/open/a\nnot ok 2 - fs/open/b\n  ---\n  outcome: fail\n  message: |\n    \
                    x.rs:1: got 2\n  ...\nok 3 - fs/open/c # SKIP not root\n";
        assert_eq!(
            read_tap(text),
            [
                ("fs/open/a".to_owned(), Verdict::Passed),
                (
                    "fs/open/b".to_owned(),
                    Verdict::Failed("outcome: fail\nx.rs:1: got 2".to_owned())
                ),
                (
                    "fs/open/c".to_owned(),
                    Verdict::Skipped("not root".to_owned())
                ),
            ]
        );
    }
}
