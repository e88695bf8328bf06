//! Running scenarios on a kernel.

use super::disks;
use super::oracle::{Answer, Oracle};
use super::scenario::{Only, Scenario, Step};
use super::tally::Tally;
use crate::cache::Cache;
use crate::cmd::{Cmd, say};
use crate::console::Console;
use crate::guest::{Job, JobResult, Outcome, Progress, Session, run_batch};
use crate::host;
use crate::image;
use crate::options::{GuestOptions, KernelChoice};
use crate::qemu;
use crate::scratch::Scratch;
use anyhow::{Context, Result, bail};
use regex_lite::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Lines of output shown for a failed scenario.
const SHOWN: usize = 12;
/// How long a guest may take from power-on to its first job.
const BOOT_LIMIT: Duration = Duration::from_secs(90);

/// How often something has been tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Try {
    First,
    Second,
}

/// Runs scenarios on one kernel.
pub struct Runner<'a> {
    /// The cache.
    pub cache: &'a Cache,
    /// The kernel.
    pub kernel: KernelChoice,
    /// Where logs of failed scenarios go.
    pub logs: PathBuf,
    /// All time limits are multiplied by this.
    pub patience: f64,
}

impl Runner<'_> {
    /// Runs all scenarios and counts the outcomes.
    pub fn run(&self, scenarios: &[Scenario]) -> Result<Tally> {
        let mut tally = Tally::default();
        let wanted: Vec<&Scenario> = scenarios
            .iter()
            .filter(|scenario| self.wants(scenario, &mut tally))
            .collect();
        self.ask_linux(&wanted)?;
        let mut keys = Vec::new();
        for scenario in wanted.iter().filter(|scenario| scenario.run.is_some()) {
            if !keys.contains(&scenario.boot_key()) {
                keys.push(scenario.boot_key());
            }
        }
        for key in keys {
            let group: Vec<&Scenario> = wanted
                .iter()
                .copied()
                .filter(|scenario| scenario.run.is_some() && scenario.boot_key() == key)
                .collect();
            let failed = self.run_group(&group, Try::First, &mut tally)?;
            self.run_group(&failed, Try::Second, &mut tally)?;
        }
        for scenario in wanted.iter().filter(|scenario| scenario.run.is_none()) {
            let talk = || {
                let start = Instant::now();
                let outcome = self.converse(scenario);
                outcome
                    .map(|_| start.elapsed().as_secs_f64())
                    .map_err(|error| format!("{error:#}"))
            };
            match talk() {
                Err(why) => {
                    tally.will_retry(&scenario.name, &why);
                    tally.check_again(&scenario.name, talk());
                }
                fine => tally.check(&scenario.name, fine),
            }
        }
        Ok(tally)
    }

    fn wants(&self, scenario: &Scenario, tally: &mut Tally) -> bool {
        let ours = if self.kernel == KernelChoice::Linux {
            Only::Linux
        } else {
            Only::Keel
        };
        if scenario.only.is_some_and(|only| only != ours) {
            return false;
        }
        match &scenario.known_failing {
            Some(why) if ours == Only::Keel => {
                tally.skip(&scenario.name, why);
                false
            }
            _ => true,
        }
    }

    fn options(&self, scenario: &Scenario, kernel: &KernelChoice) -> Result<GuestOptions> {
        let mut disks = Vec::new();
        for name in &scenario.disks {
            disks.push(image::get(self.cache, name, false)?.disk);
        }
        Ok(GuestOptions {
            image: scenario.image.clone(),
            gpt: scenario.gpt,
            kernel: kernel.clone(),
            cpus: scenario.cpus,
            memory: scenario.memory.clone(),
            append: scenario.append.clone(),
            disks,
            boot_limit: BOOT_LIMIT.mul_f64(self.patience),
            ..GuestOptions::default()
        })
    }

    fn jobs(&self, group: &[&Scenario]) -> Vec<Job> {
        group
            .iter()
            .map(|scenario| {
                let script = scenario.run.as_deref().unwrap_or_default();
                Job::shell(script).limit(scenario.limit().mul_f64(self.patience))
            })
            .collect()
    }

    /// Runs scripts that share a boot; those that failed at their first try.
    fn run_group<'s>(
        &self,
        group: &[&'s Scenario],
        which: Try,
        tally: &mut Tally,
    ) -> Result<Vec<&'s Scenario>> {
        let mut again = Vec::new();
        let Some(first) = group.first() else {
            return Ok(again);
        };
        let session = Session::new(self.options(first, &self.kernel)?)?;
        say(format_args!(
            "{}: {} scenarios in one boot",
            session.image.name,
            group.len()
        ));
        let oracle = Oracle::new(self.cache)?;
        let start = Instant::now();
        let mut failure = None;
        let batch = run_batch(&session, &self.jobs(group), &[], |progress| {
            let Progress::Finished(index, result) = progress else {
                return;
            };
            let scenario = group[index];
            let judged = self.judge(scenario, result, &session, &oracle);
            if judged.is_err()
                && let Err(error) = self.keep_logs(&scenario.name, result)
            {
                failure = Some(error);
            }
            match (which, judged) {
                (Try::First, Err(why)) => {
                    tally.will_retry(&scenario.name, &why);
                    again.push(scenario);
                }
                (Try::First, fine) => tally.check(&scenario.name, fine),
                (Try::Second, judged) => tally.check_again(&scenario.name, judged),
            }
        })?;
        say(format_args!(
            "{} boots, {:.0} s",
            batch.consoles.len(),
            start.elapsed().as_secs_f64()
        ));
        failure.map_or(Ok(again), Err)
    }

    /// Keeps what a job printed, and the console if the guest went down, in the log folder.
    pub fn keep_logs(&self, name: &str, result: &JobResult) -> Result<()> {
        let folder = self.logs.join(name.replace('/', "-"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("stdout"), &result.stdout)?;
        fs::write(folder.join("stderr"), &result.stderr)?;
        if let Outcome::GuestFailed(failure) = &result.outcome {
            fs::write(folder.join("console"), &failure.console)?;
        }
        Ok(())
    }

    /// Holds a script's outcome against what is expected of it.
    fn judge(
        &self,
        scenario: &Scenario,
        result: &JobResult,
        session: &Session,
        oracle: &Oracle<'_>,
    ) -> Result<f64, String> {
        let end = match &result.outcome {
            Outcome::Ended(end) if end.timed_out => {
                return Err(format!(
                    "no end within {:.0} s\n{}",
                    end.elapsed.as_secs_f64(),
                    ends(result)
                ));
            }
            Outcome::Ended(end) => end,
            Outcome::NotStarted(why) => return Err(format!("not started: {why}")),
            Outcome::GuestFailed(failure) => {
                return Err(format!("{}\n{}", failure.kind, failure.tail(SHOWN)));
            }
        };
        let mut expect = scenario.expect.clone();
        let mut stdout = expect.stdout.take().map(String::into_bytes);
        if expect.same_as_linux && self.kernel != KernelChoice::Linux {
            let hash = session.image.hash.as_deref().unwrap_or_default();
            let answer = oracle
                .recall(scenario, hash)
                .ok_or("Linux's answer is not known")?;
            expect.status = Some(answer.status);
            stdout = Some(answer.stdout);
        }
        if let Some(name) = &expect.file {
            let folder = session
                .image
                .folder
                .as_ref()
                .ok_or("the image has no cache folder")?;
            stdout = Some(fs::read(folder.join(name)).map_err(|error| format!("{name}: {error}"))?);
        }
        let status = expect.status.unwrap_or(0);
        if end.shell_status() != status {
            return Err(format!(
                "status {} instead of {status}\n{}",
                end.shell_status(),
                ends(result)
            ));
        }
        if let Some(stdout) = stdout
            && stdout != result.stdout
        {
            return Err(format!(
                "other output than expected\n{}",
                difference(&stdout, &result.stdout)
            ));
        }
        if let Some(pattern) = &expect.matches {
            let regex = Regex::new(pattern).map_err(|error| error.to_string())?;
            if !regex.is_match(&String::from_utf8_lossy(&result.stdout)) {
                return Err(format!(
                    "output does not match /{pattern}/\n{}",
                    ends(result)
                ));
            }
        }
        Ok(end.elapsed.as_secs_f64())
    }

    /// Has Linux run the scenarios whose expectation is "as on Linux", where its answer is not known yet.
    fn ask_linux(&self, scenarios: &[&Scenario]) -> Result<()> {
        if self.kernel == KernelChoice::Linux {
            return Ok(());
        }
        let oracle = Oracle::new(self.cache)?;
        let linux = Runner {
            cache: self.cache,
            kernel: KernelChoice::Linux,
            logs: self.logs.join("linux"),
            patience: self.patience,
        };
        let mut open = Vec::new();
        for scenario in scenarios
            .iter()
            .filter(|s| s.expect.same_as_linux || s.no_new_errors)
        {
            let hash = image::get(self.cache, &scenario.image, scenario.gpt)?
                .hash
                .unwrap_or_default();
            if oracle.recall(scenario, &hash).is_none() {
                open.push((*scenario, hash));
            }
        }
        while let Some((first, hash)) = open.first().cloned() {
            let (group, rest): (Vec<_>, Vec<_>) = open.into_iter().partition(|(scenario, _)| {
                scenario.boot_key() == first.boot_key()
                    && scenario.run.is_some() == first.run.is_some()
            });
            open = rest;
            let group: Vec<&Scenario> = group.into_iter().map(|(scenario, _)| scenario).collect();
            say(format_args!(
                "asking Linux about {} scenarios on {}",
                group.len(),
                first.image
            ));
            if first.run.is_none() {
                for scenario in group {
                    let console = linux
                        .converse(scenario)
                        .with_context(|| format!("{} on Linux", scenario.name))?;
                    let answer = Answer {
                        status: 0,
                        stdout: console.into_bytes(),
                    };
                    oracle.remember(scenario, &hash, &answer)?;
                }
                continue;
            }
            let session = Session::new(linux.options(first, &KernelChoice::Linux)?)?;
            let batch = run_batch(&session, &linux.jobs(&group), &[], |_| {})?;
            for (scenario, result) in group.iter().zip(batch.results) {
                let Outcome::Ended(end) = result.outcome else {
                    bail!("{} did not end on Linux", scenario.name);
                };
                let answer = Answer {
                    status: end.shell_status(),
                    stdout: result.stdout,
                };
                oracle.remember(scenario, &hash, &answer)?;
            }
        }
        Ok(())
    }

    /// Has a conversation on the console of a machine of its own; returns all that the console showed.
    fn converse(&self, scenario: &Scenario) -> Result<String> {
        let scratch = Scratch::new()?;
        let mut options = self.options(scenario, &self.kernel)?;
        let special = disks::NAMES.contains(&scenario.image.as_str());
        let mut hash = None;
        if special {
            options.image = disks::make(&scenario.image, scratch.path())?
                .display()
                .to_string();
        } else if scenario.fsck {
            let original = image::get(self.cache, &scenario.image, scenario.gpt)?;
            let copy = scratch.path().join("root.img");
            image::disk::clone(&original.disk, &copy)?;
            options.image = copy.display().to_string();
            options.persist = true;
            hash = original.hash;
        }
        let session = Session::new(options)?;
        let hash = hash.or_else(|| session.image.hash.clone());
        let mut machine = session.machine(qemu::Console::Pipes)?;
        machine.may_reboot = scenario.reboots;
        let mut console = Console::start(&machine, scenario.terminal)?;
        let outcome = scenario
            .console
            .iter()
            .enumerate()
            .try_for_each(|(number, step)| {
                self.step(&mut console, step, scenario)
                    .with_context(|| format!("step {}", number + 1))
            });
        let text = console.finish()?;
        if let Err(error) = outcome {
            self.keep_console(scenario, &text)?;
            bail!("{error:#}\n{}", tail(&text));
        }
        if scenario.fsck {
            check_disk(&session.image.disk)?;
        }
        if scenario.no_new_errors && self.kernel != KernelChoice::Linux {
            let answer = Oracle::new(self.cache)?
                .recall(scenario, hash.as_deref().unwrap_or_default())
                .context("Linux's console is not known")?;
            let new = new_errors(&String::from_utf8_lossy(&answer.stdout), &text);
            if !new.is_empty() {
                self.keep_console(scenario, &text)?;
                bail!("error lines that Linux does not print:\n{}", new.join("\n"));
            }
        }
        Ok(text)
    }

    fn keep_console(&self, scenario: &Scenario, text: &str) -> Result<()> {
        let folder = self.logs.join(scenario.name.replace('/', "-"));
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join("console"), text)?)
    }

    fn step(&self, console: &mut Console, step: &Step, scenario: &Scenario) -> Result<()> {
        let patience = step.within.unwrap_or(scenario.limit);
        let patience = Duration::from_secs_f64(patience.max(0.1)).mul_f64(self.patience);
        if let Some(text) = &step.send {
            return console.send(text);
        }
        if step.end {
            return console.wait_end(patience);
        }
        if let Some(pattern) = &step.screen {
            return console.wait_screen(&Regex::new(pattern)?, patience);
        }
        let pattern = Regex::new(step.wait.as_deref().unwrap_or_default())?;
        let before = console.wait(&pattern, patience)?;
        let elapsed = console.elapsed().as_secs_f64();
        if let Some(by) = step.by
            && elapsed > by
        {
            bail!("/{pattern}/ came {elapsed:.2} s after power-on, later than {by} s");
        }
        if let Some(without) = &step.without
            && let Some(found) = Regex::new(without)?.find(&before)
        {
            bail!("there is {:?} before /{pattern}/", found.as_str());
        }
        Ok(())
    }
}

/// Checks the ext4 file system on a whole disk without changing it.
fn check_disk(disk: &Path) -> Result<()> {
    host::ensure(&[host::E2FSCK])?;
    Cmd::new("e2fsck").arg("-fn").arg(disk).run()
}

/// The end of a job's output, standard error first.
fn ends(result: &JobResult) -> String {
    let text = |bytes: &[u8]| tail(&String::from_utf8_lossy(bytes));
    let mut parts = Vec::new();
    if !result.stderr.is_empty() {
        parts.push(format!("stderr: {}", text(&result.stderr)));
    }
    if !result.stdout.is_empty() {
        parts.push(format!("stdout: {}", text(&result.stdout)));
    }
    parts.join("\n")
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

/// The first lines that differ.
fn difference(expected: &[u8], got: &[u8]) -> String {
    let (expected, got) = (
        String::from_utf8_lossy(expected),
        String::from_utf8_lossy(got),
    );
    let (mut old, mut new) = (expected.lines(), got.lines());
    let mut shown = Vec::new();
    let mut number = 0;
    while shown.len() < SHOWN {
        number += 1;
        match (old.next(), new.next()) {
            (None, None) => break,
            (old, new) if old == new => {}
            (old, new) => {
                shown.extend(old.map(|line| format!("{number} expected: {line}")));
                shown.extend(new.map(|line| format!("{number} got:      {line}")));
            }
        }
    }
    shown.join("\n")
}

/// Lines of `console` that speak of errors and are not in `oracle`; numbers do not count.
fn new_errors(oracle: &str, console: &str) -> Vec<String> {
    let speaks = |line: &&str| {
        let lower = line.to_lowercase();
        [
            "error",
            "fail",
            "warn",
            "cannot",
            "can't",
            "not found",
            "denied",
            "no such",
            "invalid",
            "unable",
        ]
        .iter()
        .any(|word| lower.contains(word))
    };
    let plain = |line: &str| -> String {
        let spaced: Vec<&str> = line.split_whitespace().collect();
        let mut text = String::new();
        for character in spaced.join(" ").chars() {
            let character = if character.is_ascii_digit() {
                '0'
            } else {
                character
            };
            if character != '0' || !text.ends_with('0') {
                text.push(character);
            }
        }
        text
    };
    let known: BTreeSet<String> = oracle.lines().map(plain).collect();
    console
        .lines()
        .filter(speaks)
        .filter(|line| !known.contains(&plain(line)))
        .map(|line| line.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_error_lines_count() {
        let linux = "mount: warning 12\nall good\n";
        let keel = "mount: warning  7\r\nall bad\nrc: cannot open x\n";
        assert_eq!(new_errors(linux, keel), ["rc: cannot open x"]);
    }

    #[test]
    fn differences_name_their_lines() {
        assert_eq!(
            difference(b"a\nb\n", b"a\nc\nd\n"),
            "2 expected: b\n2 got:      c\n3 got:      d"
        );
    }
}
