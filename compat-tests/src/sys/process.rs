//! Processes made by a case: a forked child, its status, and waiting for it.

use crate::sc;

/// A child of the case.
#[derive(Clone, Copy, Debug)]
pub struct Child {
    /// Its process id.
    pub pid: i32,
}

/// A wait status as `wait4` reports it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub i32);

impl Status {
    /// The exit code, if it exited.
    pub fn code(self) -> Option<i32> {
        libc::WIFEXITED(self.0).then(|| libc::WEXITSTATUS(self.0))
    }
    /// The signal that killed it, if one did.
    pub fn signal(self) -> Option<i32> {
        libc::WIFSIGNALED(self.0).then(|| libc::WTERMSIG(self.0))
    }
    /// The signal that stopped it, if it is stopped.
    pub fn stopped(self) -> Option<i32> {
        libc::WIFSTOPPED(self.0).then(|| libc::WSTOPSIG(self.0))
    }
    /// Whether it was continued.
    pub fn continued(self) -> bool {
        libc::WIFCONTINUED(self.0)
    }
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code(), self.signal(), self.stopped()) {
            (Some(c), _, _) => write!(f, "exited({c})"),
            (_, Some(s), _) => write!(f, "killed by signal {s}"),
            (_, _, Some(s)) => write!(f, "stopped by signal {s}"),
            _ => write!(f, "status {:#x}", self.0),
        }
    }
}

/// Forks; the child runs `f` and exits with 0, or fails the case when `f` asserts. It dies with its parent.
#[track_caller]
pub fn fork(f: impl FnOnce()) -> Child {
    // SAFETY: cases fork while single-threaded, or use only calls that are safe in the child after.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let _ = sc!(prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        f();
        exit(0);
    }
    Child { pid }
}

/// Ends the calling process at once, without destructors or handlers.
pub fn exit(code: i32) -> ! {
    let _ = sc!(exit_group, code);
    std::process::abort()
}

impl Child {
    /// Waits for its end.
    #[track_caller]
    pub fn wait(self) -> Status {
        self.wait_for(0)
    }

    /// Waits for its next change of state with `wait4` options.
    #[track_caller]
    pub fn wait_for(self, options: i32) -> Status {
        let mut status = 0i32;
        loop {
            let r = sc!(wait4, self.pid, &raw mut status, options, 0);
            if r.errno() != libc::EINTR {
                r.is(self.pid.into());
                return Status(status);
            }
        }
    }

    /// Asserts that it exits with 0; passes a skip on.
    #[track_caller]
    pub fn ok(self) {
        let st = self.wait();
        if st.code() == Some(crate::harness::SKIP_CODE) {
            exit(crate::harness::SKIP_CODE);
        }
        assert_eq!(st.code(), Some(0), "child {st:?}, expected exit 0");
    }

    /// Asserts that it exits with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) {
        let st = self.wait();
        assert_eq!(st.code(), Some(code), "child {st:?}, expected exit {code}");
    }

    /// Asserts that signal `sig` kills it.
    #[track_caller]
    pub fn dies(self, sig: i32) {
        let st = self.wait();
        assert_eq!(
            st.signal(),
            Some(sig),
            "child {st:?}, expected death by signal {sig}"
        );
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn kill(self, sig: i32) {
        sc!(kill, self.pid, sig).is(0);
    }
}

/// Forks a child that calls `f` on a fresh stack-sharing `vfork`; answers the child's exit code.
///
/// The child stores into `shared` before it exits, which the parent sees because they share memory.
pub fn vfork_store(shared: &std::sync::atomic::AtomicU32, value: u32) -> Status {
    let word = shared.as_ptr();
    let pid: isize;
    // SAFETY: the child touches nothing but `word` and registers and leaves by `exit`; the parent resumes
    // after it with its stack untouched, since no call or push happens in the child.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov dword ptr [{word}], {value:e}",
            "mov edi, 7",
            "mov eax, 60",
            "syscall",
            "ud2",
            "2:",
            word = in(reg) word,
            value = in(reg) value,
            inlateout("rax") 58isize => pid,
            out("rdi") _, out("rcx") _, out("r11") _,
        );
    }
    let mut status = 0i32;
    let _ = sc!(wait4, pid, &raw mut status, 0, 0);
    Status(status)
}

/// The calling thread's id.
pub fn gettid() -> i32 {
    sc!(gettid).fd()
}
/// The calling process's id.
pub fn getpid() -> i32 {
    sc!(getpid).fd()
}

/// `fork` and nothing else; -1 on failure.
pub fn plain_fork() -> i32 {
    // SAFETY: the callers are single-threaded.
    unsafe { libc::fork() }
}

/// The auxiliary vector's entry `kind`, 0 if there is none.
pub fn auxv(kind: u64) -> u64 {
    // SAFETY: reads the vector that the kernel gave this process.
    unsafe { libc::getauxval(kind) }
}

/// `clock_gettime` as the C library does it, through the vDSO where there is one.
pub fn vdso_clock_ns(clock: i32) -> i64 {
    let mut ts: libc::timespec = super::zeroed();
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(clock, &mut ts) };
    ts.tv_sec * 1_000_000_000 + ts.tv_nsec
}
