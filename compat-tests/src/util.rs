//! Small tools of the cases: files, pipes, waiting for a state, becoming another user.

use crate::prelude::*;
use std::time::{Duration, Instant};

/// Makes (or replaces) file `name` with `data`.
#[track_caller]
pub fn put(name: &str, data: impl AsRef<[u8]>) {
    std::fs::write(name, data).unwrap_or_else(|e| panic!("writing {name}: {e}"));
}

/// The content of file `name`.
#[track_caller]
pub fn get(name: &str) -> Vec<u8> {
    std::fs::read(name).unwrap_or_else(|e| panic!("reading {name}: {e}"))
}

/// The content of text file `name`.
#[track_caller]
pub fn text(name: &str) -> String {
    String::from_utf8_lossy(&get(name)).into_owned()
}

/// Opens `name` with `flags` (mode 0644 for new files).
#[track_caller]
pub fn open(name: &str, flags: i32) -> i32 {
    sc!(openat, AT_FDCWD, cstr(name), flags, 0o644).fd()
}

/// A new file `name` holding `data`, open for reading and writing at offset 0.
#[track_caller]
pub fn file(name: &str, data: impl AsRef<[u8]>) -> i32 {
    put(name, data);
    open(name, O_RDWR)
}

/// Makes directory `name`.
#[track_caller]
pub fn dir(name: &str) {
    sc!(mkdir, cstr(name), 0o755).is(0);
}

/// Does `name` exist (not following a final symlink)?
pub fn exists(name: &str) -> bool {
    std::fs::symlink_metadata(name).is_ok()
}

/// `stat` of `name`, not following a final symlink.
#[track_caller]
pub fn lstat(name: &str) -> libc::stat {
    let mut st: libc::stat = zeroed();
    sc!(lstat, cstr(name), &raw mut st).is(0);
    st
}

/// `fstat` of `fd`.
#[track_caller]
pub fn fstat(fd: i32) -> libc::stat {
    let mut st: libc::stat = zeroed();
    sc!(fstat, fd, &raw mut st).is(0);
    st
}

/// A pipe: read end, write end.
#[track_caller]
pub fn pipe() -> (i32, i32) {
    pipe_with(0)
}

/// A pipe with `flags`.
#[track_caller]
pub fn pipe_with(flags: i32) -> (i32, i32) {
    let mut ends = [-1i32; 2];
    sc!(pipe2, &mut ends, flags).is(0);
    (ends[0], ends[1])
}

/// A connected pair of unix sockets of `kind`.
#[track_caller]
pub fn socketpair(kind: i32) -> (i32, i32) {
    let mut ends = [-1i32; 2];
    sc!(socketpair, libc::AF_UNIX, kind, 0, &mut ends).is(0);
    (ends[0], ends[1])
}

/// Writes all of `data` to `fd` in one call.
#[track_caller]
pub fn write_all(fd: i32, data: impl AsRef<[u8]>) {
    let data = data.as_ref();
    sc!(write, fd, data, data.len()).is(data.len() as i64);
}

/// Reads at most `max` bytes from `fd` in one call.
#[track_caller]
pub fn read_some(fd: i32, max: usize) -> Vec<u8> {
    let mut buf = vec![0u8; max];
    let n = sc!(read, fd, &mut buf, max).addr();
    buf.truncate(n);
    buf
}

/// Closes `fd`.
#[track_caller]
pub fn close(fd: i32) {
    sc!(close, fd).is(0);
}

/// Does nothing with `value`: for answers that a case has no opinion on.
pub fn ignore<T>(_value: T) {}

/// Sleeps.
pub fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Waits up to five seconds for `cond`; fails the case if it never holds.
#[track_caller]
pub fn eventually(what: &str, cond: impl FnMut() -> bool) {
    assert!(comes_true(cond), "never happened: {what}");
}

fn comes_true(mut cond: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(5);
    while !cond() {
        if Instant::now() >= end {
            return false;
        }
        sleep_ms(2);
    }
    true
}

/// Field `n` (1-based, as in proc(5)) of `/proc/PID/stat`, counting from behind the name.
pub fn stat_field(pid: i32, n: usize) -> Option<String> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = &line[line.rfind(')')? + 2..];
    rest.split_whitespace().nth(n - 3).map(str::to_string)
}

/// The value of `key` in `/proc/PID/status`.
#[track_caller]
pub fn status_field(pid: i32, key: &str) -> String {
    let all = text(&format!("/proc/{pid}/status"));
    let line = all.lines().find(|l| l.split(':').next() == Some(key));
    let line = line.unwrap_or_else(|| panic!("no {key} in /proc/{pid}/status"));
    line.split_once(':')
        .map(|(_, v)| v.trim().to_string())
        .unwrap_or_default()
}

/// Waits until process or thread `pid` sleeps in a call.
#[track_caller]
pub fn wait_asleep(pid: i32) {
    if !std::path::Path::new("/proc/self/stat").exists() {
        sleep_ms(200);
        return;
    }
    let asleep = || stat_field(pid, 3).as_deref() == Some("S");
    eventually("the process sleeps", asleep);
}

/// Seconds and nanoseconds.
pub fn timespec(sec: i64, nsec: i64) -> libc::timespec {
    libc::timespec {
        tv_sec: sec,
        tv_nsec: nsec,
    }
}

/// `ms` milliseconds as a timespec.
pub fn ms(ms: i64) -> libc::timespec {
    timespec(ms / 1000, ms % 1000 * 1_000_000)
}

/// `clock_gettime(clock)` in nanoseconds.
#[track_caller]
pub fn clock_ns(clock: i32) -> i64 {
    let mut ts = timespec(0, 0);
    sc!(clock_gettime, clock, &raw mut ts).is(0);
    ts.tv_sec * 1_000_000_000 + ts.tv_nsec
}

/// Nanoseconds that `f` takes on the monotonic clock.
#[track_caller]
pub fn timed(f: impl FnOnce()) -> i64 {
    let start = clock_ns(libc::CLOCK_MONOTONIC);
    f();
    clock_ns(libc::CLOCK_MONOTONIC) - start
}

/// A millisecond in nanoseconds.
pub const MS: i64 = 1_000_000;

/// Skips the case unless run as root.
pub fn need_root() {
    if sc!(geteuid).ok() != 0 {
        skip("needs root");
    }
}

/// The uid and gid of nobody.
pub const NOBODY: u32 = 65534;

/// Makes the calling process nobody, with no groups and no capabilities.
#[track_caller]
pub fn become_nobody() {
    if sc!(geteuid).ok() != 0 {
        return;
    }
    sc!(setgroups, 0, 0).is(0);
    sc!(setresgid, NOBODY, NOBODY, NOBODY).is(0);
    sc!(setresuid, NOBODY, NOBODY, NOBODY).is(0);
}

/// Runs `f` in a child as nobody and expects it to pass.
#[track_caller]
pub fn as_nobody(f: impl FnOnce()) {
    need_root();
    fork(|| {
        become_nobody();
        f();
    })
    .ok();
}

/// A path of `len` bytes: components of one letter and a slash.
pub fn long_path(len: usize) -> String {
    "a/".repeat(len / 2) + if len % 2 == 1 { "a" } else { "" }
}

/// A one-way signal between processes made before `fork`.
pub struct Gate(i32, i32);

impl Gate {
    /// A closed gate.
    #[track_caller]
    pub fn new() -> Gate {
        let (r, w) = pipe();
        Gate(r, w)
    }
    /// Opens it for one waiter.
    #[track_caller]
    pub fn open(&self) {
        write_all(self.1, b"g");
    }
    /// Waits until it is opened.
    #[track_caller]
    pub fn wait(&self) {
        let mut b = [0u8; 1];
        loop {
            let r = sc!(read, self.0, &mut b, 1);
            if r.errno() != libc::EINTR {
                r.is(1);
                return;
            }
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Gate::new()
    }
}

/// `poll` of one descriptor: the events that are there within `ms` milliseconds.
#[track_caller]
pub fn poll_one(fd: i32, events: i16, ms: i32) -> i16 {
    let mut p = [libc::pollfd {
        fd,
        events,
        revents: 0,
    }];
    let _ = sc!(poll, &mut p, 1, ms).ok();
    p[0].revents
}

/// Runs this program's helper `args` (see `helper`) with `execve` and answers stdout and status.
#[track_caller]
pub fn exec_helper(args: &[&str], env: &[&str]) -> (String, Status) {
    let (r, w) = pipe();
    let child = fork(|| {
        let _ = sc!(dup2, w, 1).ok();
        let mut argv = vec!["keel-compat", "--helper"];
        argv.extend_from_slice(args);
        execve("/proc/self/exe", &argv, env).is(0);
    });
    close(w);
    let mut out = Vec::new();
    loop {
        let part = read_some(r, 4096);
        if part.is_empty() {
            break;
        }
        out.extend(part);
    }
    close(r);
    (String::from_utf8_lossy(&out).into_owned(), child.wait())
}

/// `execve` with vectors made of `argv` and `env`.
pub fn execve(path: &str, argv: &[&str], env: &[&str]) -> Ret {
    let (argv, argp) = vector(argv);
    let (env, envp) = vector(env);
    let r = sc!(execve, cstr(path), &argp, &envp);
    drop((argv, env));
    r
}

/// C strings and the NULL-terminated array of pointers to them.
pub fn vector(items: &[&str]) -> (Vec<std::ffi::CString>, Vec<usize>) {
    let strings: Vec<_> = items.iter().map(cstr).collect();
    let mut pointers: Vec<usize> = strings.iter().map(|s| s.raw()).collect();
    pointers.push(0);
    (strings, pointers)
}
