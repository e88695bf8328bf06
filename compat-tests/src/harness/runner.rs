//! Runs cases: one forked child each, with its own directory, process group and time limit.
//!
//! It asks little of the kernel (fork, poll, pipe, wait4, kill, clock_gettime), because the kernel under
//! test may be young; SIGCHLD wakes it through a pipe, and where that does not work a tick does.

use super::{Case, FAIL_CODE, Report, SKIP_CODE, run_body};
use crate::sc;
use crate::sys::{Status, cstr};
use std::time::{Duration, Instant};

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The promise holds.
    Pass,
    /// An assertion failed.
    Fail,
    /// It does not apply here.
    Skip,
    /// It did not end within its limit.
    Timeout,
    /// A signal that it did not ask for killed it.
    Crash(i32),
}

impl Outcome {
    /// The word used in reports.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Skip => "skip",
            Outcome::Timeout => "timeout",
            Outcome::Crash(_) => "crash",
        }
    }
}

/// The result of one case.
pub struct Record {
    /// The case's id.
    pub id: String,
    /// The calls that it is about.
    pub calls: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// What it said: assertion messages or the reason of a skip.
    pub message: String,
    /// How long it took.
    pub elapsed: Duration,
}

/// What to run and how.
pub struct Options {
    /// How many cases at a time.
    pub jobs: usize,
    /// Directory under which the cases' directories are made.
    pub dir: String,
    /// Multiplies every time limit (an emulated machine is slow).
    pub slow: u32,
    /// Leave stdout and stderr of the cases open.
    pub verbose: bool,
    /// Say each case's name before it starts, for the log of a machine that may crash.
    pub announce: bool,
}

struct Running<'a> {
    case: &'a Case,
    pid: i32,
    pipe: i32,
    started: Instant,
    deadline: Instant,
    message: Vec<u8>,
    dir: String,
    killed: bool,
}

/// Runs `cases`, reporting each as it ends.
pub fn run(cases: &[&Case], opts: &Options, report: &mut Report) {
    let wake = wake_pipe();
    // Orphans of a case come to the runner, so that none is left behind.
    let _ = sc!(prctl, libc::PR_SET_CHILD_SUBREAPER, 1);
    let base = format!(
        "{}/keel-compat.{}",
        opts.dir.trim_end_matches('/'),
        std::process::id()
    );
    if let Err(e) = std::fs::create_dir_all(&base) {
        eprintln!("keel-compat: cannot make {base}: {e}");
        std::process::exit(2);
    }
    let mut queue = cases.iter().enumerate();
    let mut running: Vec<Running<'_>> = Vec::new();
    let mut exhausted = false;
    while !(exhausted && running.is_empty()) {
        while !exhausted && running.len() < opts.jobs.max(1) {
            match queue.next() {
                Some((n, case)) => {
                    if opts.announce {
                        report.announce(&case.id());
                    }
                    running.push(start(case, opts, format!("{base}/{n}")));
                }
                None => exhausted = true,
            }
        }
        wait_for_news(&running, wake);
        for r in &mut running {
            drain(r);
        }
        reap(&mut running, report);
        enforce_limits(&mut running, report);
    }
    let _ = std::fs::remove_dir_all(&base);
}

extern "C" fn on_child(_: i32) {
    let fd = WAKE.load(std::sync::atomic::Ordering::SeqCst);
    let _ = sc!(write, fd, b"c", 1);
}

static WAKE: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(-1);

fn wake_pipe() -> i32 {
    let mut ends = [-1i32; 2];
    if !sc!(pipe2, &mut ends, libc::O_NONBLOCK | libc::O_CLOEXEC).success() {
        return -1;
    }
    WAKE.store(ends[1], std::sync::atomic::Ordering::SeqCst);
    crate::sys::install_plain_handler(libc::SIGCHLD, on_child, libc::SA_RESTART);
    ends[0]
}

fn start<'a>(case: &'a Case, opts: &Options, dir: String) -> Running<'a> {
    let _ = sc!(mkdir, cstr(&dir), 0o777);
    let _ = sc!(chmod, cstr(&dir), 0o777);
    let mut ends = [-1i32; 2];
    let _ = sc!(pipe2, &mut ends, libc::O_CLOEXEC);
    let pid = crate::sys::plain_fork();
    if pid == 0 {
        crate::sys::set_disposition(libc::SIGCHLD, libc::SIG_DFL);
        crate::sys::set_disposition(libc::SIGPIPE, libc::SIG_DFL);
        let wake = WAKE.load(std::sync::atomic::Ordering::SeqCst);
        let report = sc!(fcntl, ends[1], libc::F_DUPFD_CLOEXEC, 200);
        let fd = if report.success() {
            report.fd()
        } else {
            ends[1]
        };
        // A case starts with 0, 1 and 2 only, so that it can say which number comes next.
        for other in (3..200).filter(|n| *n <= ends[1].max(wake).max(64) && *n != fd) {
            let _ = sc!(close, other);
        }
        run_body(case, &dir, fd, opts.verbose);
    }
    let _ = sc!(close, ends[1]);
    let _ = sc!(fcntl, ends[0], libc::F_SETFL, libc::O_NONBLOCK);
    let now = Instant::now();
    Running {
        case,
        pid,
        pipe: ends[0],
        started: now,
        deadline: now + Duration::from_secs(u64::from(case.limit * opts.slow.max(1))),
        message: if pid < 0 {
            b"fork failed".to_vec()
        } else {
            Vec::new()
        },
        dir,
        killed: false,
    }
}

fn wait_for_news(running: &[Running<'_>], wake: i32) {
    let now = Instant::now();
    let next = running
        .iter()
        .map(|r| r.deadline.saturating_duration_since(now))
        .min();
    let millis = next.unwrap_or_default().as_millis().clamp(1, 250) as i32;
    let mut fds = [libc::pollfd {
        fd: wake,
        events: libc::POLLIN,
        revents: 0,
    }];
    let _ = sc!(poll, &mut fds, 1, millis);
    let mut junk = [0u8; 64];
    while sc!(read, wake, &mut junk, 64).success() {}
}

fn drain(r: &mut Running<'_>) {
    let mut chunk = [0u8; 4096];
    loop {
        let got = sc!(read, r.pipe, &mut chunk, chunk.len());
        match (got.success(), got.success().then(|| got.ok())) {
            (true, Some(n)) if n > 0 && r.message.len() < 65536 => {
                r.message.extend_from_slice(&chunk[..n as usize]);
            }
            _ => return,
        }
    }
}

fn reap(running: &mut Vec<Running<'_>>, report: &mut Report) {
    loop {
        let mut status = 0i32;
        let r = sc!(wait4, -1, &raw mut status, libc::WNOHANG, 0);
        if !r.success() || r.ok() == 0 {
            // Where fork failed there is no process to wait for.
            while let Some(at) = running.iter().position(|r| r.pid < 0) {
                finish(running.swap_remove(at), Status(FAIL_CODE << 8), report);
            }
            return;
        }
        // Others are orphans that a case left; they are only reaped.
        if let Some(at) = running.iter().position(|x| i64::from(x.pid) == r.ok()) {
            finish(running.swap_remove(at), Status(status), report);
        }
    }
}

fn enforce_limits(running: &mut Vec<Running<'_>>, report: &mut Report) {
    let now = Instant::now();
    for r in running
        .iter_mut()
        .filter(|r| now >= r.deadline && !r.killed)
    {
        r.killed = true;
        let _ = sc!(kill, -r.pid, libc::SIGKILL);
        let _ = sc!(kill, r.pid, libc::SIGKILL);
    }
    // A process that not even SIGKILL ends (a kernel bug) is given up after five more seconds.
    while let Some(at) = running
        .iter()
        .position(|r| r.killed && now >= r.deadline + Duration::from_secs(5))
    {
        finish(running.swap_remove(at), Status(libc::SIGKILL), report);
    }
}

fn finish(mut r: Running<'_>, status: Status, report: &mut Report) {
    let elapsed = r.started.elapsed();
    if r.pid > 0 {
        let _ = sc!(kill, -r.pid, libc::SIGKILL);
    }
    drain(&mut r);
    let _ = sc!(close, r.pipe);
    remove_tree(&r.dir);
    let outcome = match (r.killed, status.code(), status.signal()) {
        (true, _, _) => Outcome::Timeout,
        (_, Some(0), _) => Outcome::Pass,
        (_, Some(SKIP_CODE), _) => Outcome::Skip,
        (_, _, Some(sig)) => Outcome::Crash(sig),
        _ => Outcome::Fail,
    };
    let mut message = String::from_utf8_lossy(&r.message).trim_end().to_string();
    if outcome == Outcome::Pass {
        message.clear();
    } else if outcome == Outcome::Fail && message.is_empty() {
        message = format!("{}:{}: {status:?} without a word", r.case.file, r.case.line);
    }
    report.add(Record {
        id: r.case.id(),
        calls: r
            .case
            .calls
            .split_whitespace()
            .map(str::to_string)
            .collect(),
        outcome,
        message,
        elapsed,
    });
}

/// Removes a case's directory whatever modes it left inside.
fn remove_tree(dir: &str) {
    if std::fs::remove_dir_all(dir).is_ok() {
        return;
    }
    let mut stack = vec![std::path::PathBuf::from(dir)];
    while let Some(d) = stack.pop() {
        let _ = sc!(chmod, cstr(d.to_string_lossy()), 0o777);
        for entry in std::fs::read_dir(&d).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                stack.push(entry.path());
            }
        }
    }
    let _ = std::fs::remove_dir_all(dir);
}
