//! What a case is, how its process is set up, and how it tells its outcome.
//!
//! A case passes when its function returns: exit code 0. An assertion is a panic; the hook set by
//! [`run_body`] writes `file:line: message` to the report pipe and leaves with [`FAIL_CODE`], from whichever
//! process or thread of the case it happens in. [`skip`] leaves with [`SKIP_CODE`].

mod report;
mod runner;

pub use report::{Format, Report};
pub use runner::{Options, Outcome, Record, run};

use crate::sc;
use crate::sys::{cstr, exit};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

/// Exit code of a case that does not apply here.
pub const SKIP_CODE: i32 = 77;
/// Exit code of a case with a failed assertion.
pub const FAIL_CODE: i32 = 101;

/// One case: a promise of Linux, and the code that holds the kernel to it.
pub struct Case {
    /// Module path of the file it stands in; gives family and group.
    pub module: &'static str,
    /// The system calls it is about, separated by blanks.
    pub calls: &'static str,
    /// Its name, unique among those of its first call in the group.
    pub name: &'static str,
    /// Seconds it may take.
    pub limit: u32,
    /// Source file.
    pub file: &'static str,
    /// Source line.
    pub line: u32,
    /// The body.
    pub run: fn(),
}

impl Case {
    /// `family/group/call/name`, where call is the first that it is about.
    pub fn id(&self) -> String {
        let path = self
            .module
            .split("cases::")
            .nth(1)
            .unwrap_or(self.module)
            .replace("::", "/");
        let call = self.calls.split_whitespace().next().unwrap_or("none");
        format!("{path}/{call}/{}", self.name)
    }
}

/// One case of a group's table: `case!("openat", "name_of_the_promise", || { … })`; several calls are
/// separated by blanks; a time limit in seconds (default 10) may follow.
#[macro_export]
macro_rules! case {
    ($calls:expr, $name:expr, $run:expr) => {
        $crate::case!($calls, $name, $run, 10)
    };
    ($calls:expr, $name:expr, $run:expr, $limit:expr) => {
        $crate::harness::Case {
            module: module_path!(),
            calls: $calls,
            name: $name,
            limit: $limit,
            file: file!(),
            line: line!(),
            run: $run,
        }
    };
}

static REPORT_FD: AtomicI32 = AtomicI32::new(2);

/// Says `text` on the report pipe.
pub fn note(text: &str) {
    // Long dumps of data help nobody.
    let short: String = text.chars().take(800).collect();
    let line = format!("{short}\n");
    let _ = sc!(write, REPORT_FD.load(SeqCst), line.as_bytes(), line.len());
}

/// Leaves the case as not applicable, with the reason.
pub fn skip(reason: &str) -> ! {
    note(&format!("skip: {reason}"));
    exit(SKIP_CODE)
}

/// Runs a case's function in the current process, which is the case's own, and exits.
pub fn run_body(case: &Case, dir: &str, report_fd: i32, verbose: bool) -> ! {
    REPORT_FD.store(report_fd, SeqCst);
    std::panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map(|l| format!("{}:{}: ", l.file(), l.line()));
        let text = info
            .payload()
            .downcast_ref::<&str>()
            .map(|s| (*s).to_string())
            .or_else(|| info.payload().downcast_ref::<String>().cloned())
            .unwrap_or_default();
        note(&format!("{}{text}", place.unwrap_or_default()));
        exit(FAIL_CODE);
    }));
    let null = sc!(openat, libc::AT_FDCWD, c"/dev/null", libc::O_RDWR, 0);
    if null.success() {
        let fd = null.fd();
        let last = if verbose { 0 } else { 2 };
        for target in 0..=last {
            let _ = sc!(dup2, fd, target);
        }
        if fd > 2 {
            let _ = sc!(close, fd);
        }
    }
    let _ = sc!(setpgid, 0, 0);
    let _ = sc!(umask, 0o022);
    if !sc!(chdir, cstr(dir)).success() {
        note(&format!("cannot enter {dir}"));
        exit(FAIL_CODE);
    }
    (case.run)();
    exit(0)
}
