//! Running commands in a guest.
//!
//! [`Session`] has what a boot needs ready: image, kernel, command line. [`run_batch`] runs a list of [`Job`]s in as
//! few boots as possible: the agent reports each job's output and status, and when a job takes the guest down (panic,
//! hang, QEMU's end), that job is marked and a new boot goes on with the next one.

pub mod media;
pub mod protocol;
pub mod session;

pub use media::Payload;
pub use protocol::{End, Job};
pub use session::Session;

use crate::cmd::say;
use anyhow::Result;
use protocol::{Decoder, Event};
use session::{Running, Signal};
use std::fmt;
use std::time::{Duration, Instant};

/// How long a guest that has panicked may go on printing.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a job came out.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The job ran and ended.
    Ended(End),
    /// The guest could not start it.
    NotStarted(String),
    /// The guest went down while it ran, or before.
    GuestFailed(GuestFailure),
}

/// A job's outcome and what it printed.
#[derive(Debug, Clone)]
pub struct JobResult {
    /// How it came out.
    pub outcome: Outcome,
    /// Its process in the guest, if it was started.
    pub pid: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// Why a guest went down.
#[derive(Debug, Clone)]
pub struct GuestFailure {
    /// What happened.
    pub kind: FailureKind,
    /// The console from power-on to the end.
    pub console: String,
}

/// The ways for a guest to go down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureKind {
    /// The kernel panicked, with this message.
    Panic(String),
    /// Nothing came for this long.
    Hang(Duration),
    /// QEMU ended, or the guest powered off, before the work was done.
    Quit(String),
}

impl fmt::Display for FailureKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(message) => write!(out, "the kernel panicked: {message}"),
            Self::Hang(time) => write!(out, "the guest hangs: nothing for {} s", time.as_secs()),
            Self::Quit(how) => write!(out, "the guest ended early ({how})"),
        }
    }
}

impl GuestFailure {
    /// The console's last lines.
    pub fn tail(&self, lines: usize) -> String {
        let all: Vec<&str> = self.console.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// What a caller is told while a batch runs.
pub enum Progress<'a> {
    /// Job `.0` has been started.
    Started(usize),
    /// A part of the running job's standard output.
    Stdout(&'a [u8]),
    /// A part of the running job's standard error.
    Stderr(&'a [u8]),
    /// Job `.0` has its result.
    Finished(usize, &'a JobResult),
}

/// A batch's results and what its boots printed on the console.
pub struct Batch {
    /// One result for each job, in order.
    pub results: Vec<JobResult>,
    /// The console of each boot.
    pub consoles: Vec<String>,
    /// What the kernel wrote to COM3, of each boot.
    pub traces: Vec<Vec<u8>>,
}

/// Runs `jobs` in the guest, in order, with `payload` on the disk at [`media::MOUNT_POINT`].
pub fn run_batch(
    session: &Session,
    jobs: &[Job],
    payload: &[Payload],
    mut progress: impl FnMut(Progress<'_>),
) -> Result<Batch> {
    let mut batch = Batch {
        results: Vec::with_capacity(jobs.len()),
        consoles: Vec::new(),
        traces: Vec::new(),
    };
    let mut failed_boots = 0;
    while batch.results.len() < jobs.len() {
        let first = batch.results.len();
        let mut boot = Boot::new(session, jobs, first, &mut batch.results);
        let running = session.start(&jobs[first..], payload)?;
        let (console, trace, failure) = boot.attend(running, &mut progress)?;
        let started = boot.started || batch.results.len() > first;
        batch.consoles.push(console.clone());
        batch.traces.push(trace);
        let Some(kind) = failure else { continue };
        let failure = GuestFailure { kind, console };
        failed_boots = if started { 0 } else { failed_boots + 1 };
        let give_up = failed_boots >= session.options.boot_tries;
        if !started && !give_up {
            say(format_args!("{}; booting once more", failure.kind));
            continue;
        }
        fail_current(
            &mut batch.results,
            first,
            jobs.len(),
            failure,
            give_up,
            &mut progress,
        );
    }
    Ok(batch)
}

/// Marks the job that the guest failed in, or all that are left if the guest does not come up.
fn fail_current(
    results: &mut Vec<JobResult>,
    first: usize,
    total: usize,
    failure: GuestFailure,
    give_up: bool,
    progress: &mut impl FnMut(Progress<'_>),
) {
    let partial = results.len().checked_sub(1).filter(|last| {
        *last >= first && matches!(&results[*last].outcome, Outcome::GuestFailed(old) if old.console.is_empty())
    });
    if let Some(last) = partial {
        results[last].outcome = Outcome::GuestFailed(failure.clone());
        progress(Progress::Finished(last, &results[last]));
    } else if results.len() < total && !give_up {
        push_failed(results, &failure, progress);
    }
    while give_up && results.len() < total {
        push_failed(results, &failure, progress);
    }
}

fn push_failed(
    results: &mut Vec<JobResult>,
    failure: &GuestFailure,
    progress: &mut impl FnMut(Progress<'_>),
) {
    let outcome = Outcome::GuestFailed(failure.clone());
    results.push(JobResult {
        outcome,
        pid: None,
        stdout: Vec::new(),
        stderr: Vec::new(),
    });
    let last = results.len() - 1;
    progress(Progress::Finished(last, &results[last]));
}

/// One boot's worth of a batch.
struct Boot<'a> {
    session: &'a Session,
    jobs: &'a [Job],
    first: usize,
    results: &'a mut Vec<JobResult>,
    /// The job that is running, not yet among the results.
    current: Option<JobResult>,
    started: bool,
    done: bool,
}

impl<'a> Boot<'a> {
    fn new(
        session: &'a Session,
        jobs: &'a [Job],
        first: usize,
        results: &'a mut Vec<JobResult>,
    ) -> Self {
        Self {
            session,
            jobs,
            first,
            results,
            current: None,
            started: false,
            done: false,
        }
    }

    /// Follows the guest to its end. Returns the console, the trace, and what went wrong if anything did.
    fn attend(
        &mut self,
        mut running: Running,
        progress: &mut impl FnMut(Progress<'_>),
    ) -> Result<(String, Vec<u8>, Option<FailureKind>)> {
        let mut decoder = Decoder::default();
        let mut patience = self.session.options.boot_limit;
        let mut deadline = Instant::now() + patience;
        let mut panic: Option<String> = None;
        let failure = loop {
            match running.next(deadline) {
                Signal::Console => {
                    if panic.is_none()
                        && let Some(message) = running.panic_message()
                    {
                        panic = Some(message);
                        deadline = Instant::now() + LAST_WORDS;
                    }
                }
                Signal::Agent(bytes) => {
                    for event in decoder.feed(&bytes) {
                        if let Some(time) = self.take(event, progress) {
                            patience = time;
                            deadline = Instant::now() + patience;
                        }
                    }
                }
                Signal::Ended(how) => break (!self.done).then_some(FailureKind::Quit(how)),
                Signal::Timeout => break (!self.done).then_some(FailureKind::Hang(patience)),
            }
        };
        let failure = match (failure, panic) {
            (Some(_), Some(message)) => Some(FailureKind::Panic(message)),
            (failure, _) => failure,
        };
        let (console, trace) = running.finish()?;
        if failure.is_some()
            && let Some(mut job) = self.current.take()
        {
            // The console is filled in by the caller; empty marks the job that was running.
            let kind = FailureKind::Quit(String::new());
            job.outcome = Outcome::GuestFailed(GuestFailure {
                kind,
                console: String::new(),
            });
            self.results.push(job);
        }
        Ok((console, trace, failure))
    }

    /// Takes an event; returns how long to wait for the next, where that changes.
    fn take(&mut self, event: Event, progress: &mut impl FnMut(Progress<'_>)) -> Option<Duration> {
        match event {
            Event::Begin => Some(self.session.options.between_jobs),
            Event::Started { job, pid } => {
                self.started = true;
                let outcome = Outcome::NotStarted(String::new());
                self.current = Some(JobResult {
                    outcome,
                    pid: Some(pid),
                    stdout: Vec::new(),
                    stderr: Vec::new(),
                });
                progress(Progress::Started(self.first + job));
                let limit = self
                    .jobs
                    .get(self.first + job)
                    .map_or(Duration::ZERO, |job| job.limit);
                Some(if limit.is_zero() {
                    self.session.options.timeout
                } else {
                    limit + self.session.options.between_jobs
                })
            }
            Event::Stdout(bytes) => {
                progress(Progress::Stdout(&bytes));
                self.current.as_mut()?.stdout.extend_from_slice(&bytes);
                None
            }
            Event::Stderr(bytes) => {
                progress(Progress::Stderr(&bytes));
                self.current.as_mut()?.stderr.extend_from_slice(&bytes);
                None
            }
            Event::Ended(_, end) => {
                let mut result = self.current.take()?;
                result.outcome = Outcome::Ended(end);
                self.push(result, progress);
                Some(self.session.options.between_jobs)
            }
            Event::NotStarted(_, why) => {
                let outcome = Outcome::NotStarted(why);
                self.push(
                    JobResult {
                        outcome,
                        pid: None,
                        stdout: Vec::new(),
                        stderr: Vec::new(),
                    },
                    progress,
                );
                Some(self.session.options.between_jobs)
            }
            Event::Remark(text) => {
                say(format_args!("guest: {text}"));
                None
            }
            Event::Done => {
                self.done = true;
                Some(self.session.options.between_jobs)
            }
        }
    }

    fn push(&mut self, result: JobResult, progress: &mut impl FnMut(Progress<'_>)) {
        self.results.push(result);
        let last = self.results.len() - 1;
        progress(Progress::Finished(last, &self.results[last]));
    }
}
