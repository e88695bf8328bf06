//! Running programs: the child, its watchdog, its results, the journal.

use super::program::{Step, program};
use super::world;
use crate::prelude::*;
use crate::sys::{plain_fork, raw};
use keel_abi::SyscallRow;
use std::sync::atomic::AtomicU64;

/// How to run programs.
#[derive(Clone)]
pub struct Config {
    /// Calls per program.
    pub len: usize,
    /// Threads that share one program's process, each with a program of its own.
    pub threads: usize,
    /// Become nobody first.
    pub nobody: bool,
    /// Run only these steps.
    pub keep: Option<Vec<usize>>,
    /// Say every call in the journal before it is made, not only the seed of every program.
    pub trace: bool,
    /// Where programs get their directories.
    pub dir: String,
    /// Rows to choose from.
    pub rows: Vec<&'static SyscallRow>,
}

/// What became of a program.
pub struct Outcome {
    /// Per step: the raw result, if the call returned.
    pub results: Vec<Option<isize>>,
    /// How the process ended.
    pub status: Status,
    /// Whether it had to be killed for taking too long.
    pub timeout: bool,
}

/// Marks a step that has not returned.
const PENDING: u64 = 0x7069_6e67_6265_6566;
/// Seconds that one program may take.
const LIMIT: i64 = 4;

/// The journal: a file or a serial port, written through so that it survives the machine.
pub struct Journal(i32);

impl Journal {
    /// Opens (and appends to) `path`; without one nothing is written.
    pub fn open(path: Option<&str>) -> Journal {
        let flags = O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_CLOEXEC;
        Journal(path.map_or(-1, |p| {
            let r = sc!(openat, AT_FDCWD, cstr(p), flags, 0o644);
            if !r.success() {
                eprintln!(
                    "keel-fuzz: cannot open journal {p}: {}",
                    errno_name(r.errno())
                );
                std::process::exit(2);
            }
            // Out of the way of the numbers that programs use.
            let high = sc!(fcntl, r.fd(), F_DUPFD_CLOEXEC, 300).fd();
            close(r.fd());
            high
        }))
    }

    /// Writes one line and lets it reach the device.
    pub fn line(&self, text: &str) {
        if self.0 >= 0 {
            let line = format!("{text}\n");
            let _ = sc!(write, self.0, line.as_bytes(), line.len());
            let _ = sc!(fdatasync, self.0);
        }
    }
}

/// Runs the program of `seed` in a child and answers what it did.
pub fn run(seed: u64, config: &Config, journal: &Journal) -> Outcome {
    let user = if config.nobody { "nobody" } else { "root" };
    journal.line(&format!("program {seed} as {user}"));
    let steps = program(seed, config.len, &config.rows);
    let results = shared_results(steps.len());
    let home = format!("{}/keel-fuzz.{}.{seed}", config.dir, std::process::id());
    let _ = std::fs::create_dir_all(&home);
    let _ = sc!(chmod, cstr(&home), 0o777);
    let pid = plain_fork();
    if pid == 0 {
        child(seed, &home, &steps, results, config, journal);
    }
    let (status, timeout) = await_end(pid);
    let _ = std::fs::remove_dir_all(&home);
    let done = results.iter().take(steps.len()).map(|r| r.load(SeqCst));
    let results = done.map(|v| (v != PENDING).then_some(v as isize)).collect();
    let _ = sc!(munmap, RESULTS.load(SeqCst), result_bytes(steps.len()));
    Outcome {
        results,
        status,
        timeout,
    }
}

static RESULTS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

fn result_bytes(steps: usize) -> usize {
    (steps.max(1) * 8).next_multiple_of(PAGE)
}

fn shared_results(steps: usize) -> Vec<&'static AtomicU64> {
    let flags = MAP_SHARED | MAP_ANONYMOUS;
    let at = map_fd(-1, result_bytes(steps), PROT_READ | PROT_WRITE, flags, 0);
    RESULTS.store(at, SeqCst);
    let all: Vec<_> = (0..steps).map(|i| long_at(at + i * 8)).collect();
    for r in &all {
        r.store(PENDING, SeqCst);
    }
    all
}

extern "C" fn wake(_: i32) {}

fn child(
    seed: u64,
    home: &str,
    steps: &[Step],
    results: Vec<&'static AtomicU64>,
    config: &Config,
    journal: &Journal,
) -> ! {
    std::panic::set_hook(Box::new(|_| exit(99)));
    let _ = sc!(setpgid, 0, 0);
    let _ = sc!(prctl, PR_SET_PDEATHSIG, SIGKILL);
    // System V objects outlive a process; in a namespace of its own they go with it, where there is one.
    let _ = sc!(unshare, CLONE_NEWIPC);
    if !sc!(chdir, cstr(home)).success() {
        exit(98);
    }
    world::build();
    if config.nobody {
        become_nobody();
    }
    // A call that blocks is interrupted after a moment.
    for sig in [SIGALRM, SIGUSR1, SIGCHLD, SIGPIPE, SIGXFSZ, SIGIO] {
        install_plain_handler(sig, wake, 0);
    }
    let _ = sc!(setitimer, ITIMER_REAL, [0i64, 30_000, 0, 30_000], 0);
    for n in 1..config.threads {
        let more = program(
            seed.wrapping_add(n as u64 * 1_000_003),
            config.len,
            &config.rows,
        );
        std::thread::spawn(move || {
            for step in &more {
                let _ = perform(step);
            }
        });
    }
    for (i, step) in steps.iter().enumerate() {
        if config.keep.as_ref().is_some_and(|k| !k.contains(&i)) {
            continue;
        }
        if config.trace {
            journal.line(&format!("  {i} {}", step.describe()));
        }
        let got = perform(step);
        if let Some(r) = results.get(i) {
            r.store(got as u64, SeqCst);
        }
    }
    exit(0)
}

/// Puts the step's bytes into the arena and makes the call.
fn perform(step: &Step) -> isize {
    let mut regs = [0usize; 6];
    for (reg, arg) in regs.iter_mut().zip(&step.args) {
        if let super::values::Value::Ptr(off, bytes) = arg {
            fill(world::ARENA + off, bytes);
        }
        *reg = arg.raw();
    }
    if step.row.name == "fork" {
        let r = sc!(fork);
        if r.success() && r.ok() == 0 {
            exit(0);
        }
        return r.value();
    }
    raw("fuzz", i64::from(step.row.nr), regs).value()
}

/// Lets the kernel copy: where the program has unmapped or protected the arena, that is an error and not a
/// fault.
fn fill(at: usize, bytes: &[u8]) {
    let local = [[bytes.raw(), bytes.len()]];
    let remote = [[at, bytes.len()]];
    let done = sc!(process_vm_writev, getpid(), &local, 1, &remote, 1, 0);
    if [ENOSYS, EPERM].contains(&done.errno()) {
        // A kernel without the call: a read from a pipe is copied by the kernel as well.
        let mut ends = [-1i32; 2];
        if sc!(pipe2, &mut ends, O_NONBLOCK | O_CLOEXEC).success() {
            let _ = sc!(write, ends[1], bytes, bytes.len());
            let _ = sc!(read, ends[0], at, bytes.len());
            let _ = (sc!(close, ends[0]), sc!(close, ends[1]));
        }
    }
}

fn await_end(pid: i32) -> (Status, bool) {
    let end = clock_ns(CLOCK_MONOTONIC) + LIMIT * 1_000_000_000;
    let mut timeout = false;
    let mut pause = 1;
    loop {
        let mut status = 0i32;
        let r = sc!(wait4, pid, &raw mut status, WNOHANG | __WALL, 0);
        if r.success() && r.ok() == i64::from(pid) {
            let status = Status(*std::hint::black_box(&mut status));
            if status.code().is_some() || status.signal().is_some() {
                let _ = sc!(kill, -pid, SIGKILL);
                return (status, timeout);
            }
            // It made itself traced and stopped; it will not go on by itself.
            let _ = sc!(kill, pid, SIGKILL);
        } else if r.errno() == ECHILD {
            return (Status(0), timeout);
        }
        if clock_ns(CLOCK_MONOTONIC) > end {
            timeout = true;
            let _ = (sc!(kill, -pid, SIGKILL), sc!(kill, pid, SIGKILL));
            if clock_ns(CLOCK_MONOTONIC) > end + 5_000_000_000 {
                return (Status(SIGKILL), true);
            }
        }
        sleep_ms(pause);
        pause = (pause * 2).min(20);
    }
}
