//! `cargo xtask diff`: one command on Linux and on Keel with the same image, and what came out differently: standard
//! output, standard error, status, and what became of the files.

use crate::cmd::say;
use crate::guest::{Job, JobResult, Outcome, Session, run_batch};
use crate::options::{self, GuestOptions, KernelChoice};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;

/// Lists all files with what matters of them; contents of those changed since the mark. Times differ by right.
const FILES: &str = "\
    find / /tmp /run -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /media -o -path /lost+found \\) -prune -o \
    \\( -type d -printf 'd %m %U:%G - %p\\n' -o -type l -printf 'l %m %U:%G %l %p\\n' -o -printf '%y %m %U:%G %s %p\\n' \\) | sort -u";
const MARK: &str = "touch /run/keel-diff-mark; sleep 0.02";
const CONTENTS: &str = "\
    find / /tmp /run -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /media \\) -prune -o -type f \
    -newer /run/keel-diff-mark -exec sha256sum {} + | sort -k2";
/// Lines of a difference that are shown.
const SHOWN: usize = 40;

/// What a run left behind.
struct Ran {
    result: JobResult,
    /// Lines about files: `+` there now, `-` there before, `=` contents.
    files: BTreeSet<String>,
}

/// Runs the command on both; returns 0 if all is the same.
pub fn command(args: &[String]) -> Result<i32> {
    let parsed = options::parse(args, &["--trace"])?;
    if parsed.command.is_empty() {
        bail!(
            "diff needs a command: cargo xtask diff [--trace] {} -- CMD…",
            options::USAGE
        );
    }
    say("on Linux");
    let linux = GuestOptions {
        kernel: KernelChoice::Linux,
        ..parsed.guest.clone()
    };
    let linux = run(linux, &parsed.command)?;
    say("on Keel");
    let keel = run(parsed.guest.clone(), &parsed.command)?;
    let mut same = true;
    let mut compare = |what: &str, left: &[String], right: &[String]| {
        let lines = differences(left, right);
        if lines.is_empty() {
            outln!("{what}: the same");
            return;
        }
        same = false;
        outln!("{what}: different (- Linux, + Keel)");
        for line in lines.iter().take(SHOWN) {
            outln!("  {line}");
        }
        if lines.len() > SHOWN {
            outln!("  … {} more lines", lines.len() - SHOWN);
        }
    };
    compare(
        "standard output",
        &lines(&linux.result.stdout),
        &lines(&keel.result.stdout),
    );
    compare(
        "standard error",
        &lines(&linux.result.stderr),
        &lines(&keel.result.stderr),
    );
    compare("status", &[ending(&linux.result)], &[ending(&keel.result)]);
    compare(
        "files",
        &linux.files.into_iter().collect::<Vec<_>>(),
        &keel.files.into_iter().collect::<Vec<_>>(),
    );
    if parsed.has("--trace") {
        let words: Vec<String> = args
            .iter()
            .map(|word| {
                if word == "--trace" {
                    "--diff".to_owned()
                } else {
                    word.clone()
                }
            })
            .collect();
        same &= crate::trace::command(&words)? == 0;
    }
    Ok(i32::from(!same))
}

fn run(options: GuestOptions, command: &[String]) -> Result<Ran> {
    let session = Session::new(options)?;
    let limit = session.options.timeout;
    let jobs = [
        Job::shell(FILES),
        Job::shell(MARK),
        Job::new(command.iter().map(Into::into).collect()),
        Job::shell(FILES),
        Job::shell(CONTENTS),
    ]
    .map(|job| job.limit(limit));
    let mut results = run_batch(&session, &jobs, &session.payload()?, |_| {})?.results;
    if let Some(JobResult {
        outcome: Outcome::GuestFailed(failure),
        ..
    }) = results
        .iter()
        .find(|result| matches!(result.outcome, Outcome::GuestFailed(_)))
    {
        bail!("{}\n{}", failure.kind, failure.tail(20));
    }
    let mut next = || results.pop().context("the guest left work undone");
    let (contents, after, result, _, before) = (next()?, next()?, next()?, next()?, next()?);
    let before: BTreeSet<String> = lines(&before.stdout).into_iter().collect();
    let after: BTreeSet<String> = lines(&after.stdout)
        .into_iter()
        .filter(|line| !line.ends_with("/run/keel-diff-mark"))
        .collect();
    let mut files: BTreeSet<String> = after
        .difference(&before)
        .map(|line| format!("+ {line}"))
        .collect();
    files.extend(before.difference(&after).map(|line| format!("- {line}")));
    files.extend(
        lines(&contents.stdout)
            .into_iter()
            .map(|line| format!("= {line}")),
    );
    Ok(Ran { result, files })
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes)
        .lines()
        .map(str::to_owned)
        .collect()
}

fn ending(result: &JobResult) -> String {
    match &result.outcome {
        Outcome::Ended(end) if end.timed_out => "did not end in time".to_owned(),
        Outcome::Ended(end) => end.shell_status().to_string(),
        Outcome::NotStarted(why) => format!("not started: {why}"),
        Outcome::GuestFailed(failure) => failure.kind.to_string(),
    }
}

/// The lines that only one side has, between a common start and a common end.
fn differences(left: &[String], right: &[String]) -> Vec<String> {
    let start = left
        .iter()
        .zip(right)
        .take_while(|(left, right)| left == right)
        .count();
    let end = left[start..]
        .iter()
        .rev()
        .zip(right[start..].iter().rev())
        .take_while(|(left, right)| left == right)
        .count();
    let (left, right) = (
        &left[start..left.len() - end],
        &right[start..right.len() - end],
    );
    let (in_left, in_right): (BTreeSet<&String>, BTreeSet<&String>) =
        (left.iter().collect(), right.iter().collect());
    let gone = left
        .iter()
        .filter(|line| !in_right.contains(line))
        .map(|line| format!("- {line}"));
    let new = right
        .iter()
        .filter(|line| !in_left.contains(line))
        .map(|line| format!("+ {line}"));
    let found: Vec<String> = gone.chain(new).collect();
    if found.is_empty() && left != right {
        return vec!["- the same lines in another order".to_owned()];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn only_what_differs_is_shown() {
        assert_eq!(
            differences(&words("a b c d"), &words("a x c d")),
            ["- b", "+ x"]
        );
        assert!(differences(&words("a b"), &words("a b")).is_empty());
        assert_eq!(differences(&words("a b"), &words("b a")).len(), 1);
    }
}
