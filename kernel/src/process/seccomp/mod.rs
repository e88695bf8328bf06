//! Confining a thread to some system calls (seccomp(2)).
//!
//! * [`Filter`]: an installed program and those installed before it; threads share filters after fork.
//! * [`check`]: what becomes of a call; it runs before the call, on the slow way only.
//! * [`install`]: how filters come to threads; [`notify`]: calls that a supervisor decides (seccomp_unotify(2)).
//!
//! Locking: a thread's [`ThreadSeccomp`] has a spin lock; changes of other threads' (TSYNC) and the birth of threads
//! exclude each other by `Process::seccomp_sync`, taken first.

mod install;
mod notify;

use core::sync::atomic::{AtomicU32, Ordering};
use keel_abi::flags::SYS_SECCOMP;
use keel_abi::nr;
use keel_abi::types::{AUDIT_ARCH_X86_64, SeccompData, Siginfo, SockFilter};
use keel_bpf::Program;

use super::signal::{self, SigInfo, sig};
use super::{Thread, exit, ptrace};
use crate::prelude::*;
use crate::syscall::{self, Ctx, work};

pub use install::{inherit, set_filter, set_strict};
pub use notify::NOTIF_SIZES;
use notify::Supervisor;

/// The part of a result that says what to do; compared as a signed number, the lowest wins.
const ACTION: u32 = 0xffff_0000;
/// The part that goes with it.
const DATA: u32 = 0xffff;
const MAX_ERRNO: u32 = 4095;

/// What a result says (`SECCOMP_RET_*`).
pub mod action {
    #![allow(missing_docs)] // seccomp(2) is their documentation
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    pub const KILL_THREAD: u32 = 0;
    pub const TRAP: u32 = 0x0003_0000;
    pub const ERRNO: u32 = 0x0005_0000;
    pub const USER_NOTIF: u32 = 0x7fc0_0000;
    pub const TRACE: u32 = 0x7ff0_0000;
    pub const LOG: u32 = 0x7ffc_0000;
    pub const ALLOW: u32 = 0x7fff_0000;
}

/// The actions by name, most severe first (`/proc/sys/kernel/seccomp/actions_avail`).
pub const ACTIONS: [(u32, &str); 8] = [
    (action::KILL_PROCESS, "kill_process"),
    (action::KILL_THREAD, "kill_thread"),
    (action::TRAP, "trap"),
    (action::ERRNO, "errno"),
    (action::USER_NOTIF, "user_notif"),
    (action::TRACE, "trace"),
    (action::LOG, "log"),
    (action::ALLOW, "allow"),
];

/// A bit for each of [`ACTIONS`] that may be logged (`/proc/sys/kernel/seccomp/actions_logged`): all but allow.
pub static ACTIONS_LOGGED: AtomicU32 = AtomicU32::new(0x7f);

/// Modes as prctl(PR_GET_SECCOMP) and /proc show them.
pub mod mode {
    /// All calls are allowed.
    pub const DISABLED: u32 = 0;
    /// read, write, exit and sigreturn only.
    pub const STRICT: u32 = 1;
    /// Programs decide.
    pub const FILTER: u32 = 2;
}

/// An installed filter.
pub struct Filter {
    program: Program,
    /// Installed before this one, and consulted too.
    older: Option<Arc<Filter>>,
    /// What it does besides allowing is logged (SECCOMP_FILTER_FLAG_LOG).
    log: bool,
    supervisor: Option<Arc<Supervisor>>,
}

impl Filter {
    /// The instructions, as they were installed.
    pub fn source(&self) -> &[SockFilter] {
        self.program.code()
    }

    /// The flags that it was installed with and that last (SECCOMP_FILTER_FLAG_LOG).
    pub fn user_flags(&self) -> u64 {
        const FLAG_LOG: u64 = 2;
        if self.log { FLAG_LOG } else { 0 }
    }

    /// This filter and the older ones.
    fn chain(&self) -> impl Iterator<Item = &Filter> {
        core::iter::successors(Some(self), |filter| filter.older.as_deref())
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Some(supervisor) = &self.supervisor {
            supervisor.filter_gone();
        }
        // One by one: a long chain must not be dropped by recursion.
        let mut older = self.older.take();
        while let Some(filter) = older {
            older = Arc::into_inner(filter).and_then(|mut filter| filter.older.take());
        }
    }
}

/// What a thread has of seccomp.
#[derive(Default)]
pub struct ThreadSeccomp {
    mode: AtomicU32,
    newest: SpinLock<Option<Arc<Filter>>>,
}

impl ThreadSeccomp {
    /// The filters, newest first.
    fn filter(&self) -> Option<Arc<Filter>> {
        self.newest.lock().clone()
    }

    /// Drops the filters (the thread has ended).
    pub fn release(&self) {
        let old = self.newest.lock().take();
        drop(old);
    }
}

/// The thread's mode.
pub fn mode(thread: &Thread) -> u32 {
    thread.seccomp.mode.load(Ordering::Relaxed)
}

/// How many filters the thread has.
pub fn filter_count(thread: &Thread) -> u32 {
    thread
        .seccomp
        .filter()
        .map_or(0, |filter| filter.chain().count() as u32)
}

/// The filter that was installed as number `at` from 0 (PTRACE_SECCOMP_GET_FILTER): EINVAL for a thread without
/// filters, ENOENT beyond the last.
pub fn nth_filter(thread: &Thread, at: u64) -> Result<Arc<Filter>> {
    if mode(thread) != mode::FILTER {
        return Err(Errno::EINVAL);
    }
    let mut filter = thread.seccomp.filter().ok_or(Errno::EINVAL)?;
    let count = filter.chain().count() as u64;
    let back = count.checked_sub(at + 1).ok_or(Errno::ENOENT)?;
    for _ in 0..back {
        filter = filter.older.clone().ok_or(Errno::ENOENT)?;
    }
    Ok(filter)
}

/// Before a system call of a confined thread: false if it is not to be made. Its result is set then, or the thread
/// is to end.
pub fn check(cx: &mut Ctx) -> bool {
    if ptrace::suspends_seccomp(cx.thread) {
        return true;
    }
    match mode(cx.thread) {
        mode::STRICT => check_strict(cx),
        mode::FILTER => check_filters(cx, false),
        _ => true,
    }
}

fn check_strict(cx: &mut Ctx) -> bool {
    const ALLOWED: [u32; 4] = [nr::READ, nr::WRITE, nr::EXIT, nr::RT_SIGRETURN];
    let allowed = u32::try_from(cx.user.orig_rax).is_ok_and(|nr| ALLOWED.contains(&nr));
    if !allowed {
        exit::do_exit(cx.thread, sig::KILL);
    }
    allowed
}

fn data_of(cx: &Ctx) -> SeccompData {
    SeccompData {
        nr: cx.user.orig_rax as i32,
        arch: AUDIT_ARCH_X86_64,
        instruction_pointer: cx.user.rip,
        args: syscall::arguments(cx.user),
    }
}

/// What the filters say together, and the one whose word counts.
fn judge<'a>(newest: &'a Filter, data: &SeccompData) -> (u32, &'a Filter) {
    let severity = |result: u32| (result & ACTION).cast_signed();
    let mut verdict = (action::ALLOW, newest);
    for filter in newest.chain() {
        let result = filter.program.run(data);
        if severity(result) < severity(verdict.0) {
            verdict = (result, filter);
        }
    }
    verdict
}

/// `again`: the tracer has been asked, and its changed call is judged.
fn check_filters(cx: &mut Ctx, again: bool) -> bool {
    let Some(newest) = cx.thread.seccomp.filter() else {
        return true;
    };
    let data = data_of(cx);
    let (result, filter) = judge(&newest, &data);
    let value = result & DATA;
    match result & ACTION {
        action::ALLOW => true,
        action::LOG => {
            log(cx, filter, action::LOG, 0);
            true
        }
        action::ERRNO => {
            log(cx, filter, action::ERRNO, 0);
            cx.user.rax = u64::from(value.min(MAX_ERRNO)).wrapping_neg();
            false
        }
        action::TRAP => {
            log(cx, filter, action::TRAP, 0);
            cx.user.rax = cx.user.orig_rax;
            signal::force(cx.thread, sigsys(cx, data.nr, value));
            false
        }
        action::TRACE => again || ask_tracer(cx, value as u16),
        action::USER_NOTIF => {
            log(cx, filter, action::USER_NOTIF, 0);
            notify::ask(cx, filter.supervisor.as_ref(), data)
        }
        other => {
            kill(cx, filter, other, &data, value);
            false
        }
    }
}

fn sigsys(cx: &Ctx, nr: i32, errno: u32) -> SigInfo {
    let mut raw = Siginfo::sys(SYS_SECCOMP, cx.user.rip, nr, AUDIT_ARCH_X86_64);
    raw.si_errno = errno.cast_signed();
    SigInfo::new(raw)
}

/// SECCOMP_RET_TRACE: without a tracer that listens the call fails with ENOSYS. The tracer may change the call, or
/// drop it by a number of -1.
fn ask_tracer(cx: &mut Ctx, data: u16) -> bool {
    if !ptrace::seccomp_event(cx, data) {
        cx.user.rax = Errno::ENOSYS.to_reg();
        return false;
    }
    if cx.thread.exiting() || (cx.user.orig_rax as i32) < 0 {
        return false;
    }
    check_filters(cx, true)
}

/// SECCOMP_RET_KILL_THREAD, SECCOMP_RET_KILL_PROCESS, and what nobody knows.
fn kill(cx: &mut Ctx, filter: &Filter, what: u32, data: &SeccompData, errno: u32) {
    let alone = cx.thread.process.thread_count() == 1;
    let whole = what != action::KILL_THREAD;
    let logged = if whole { action::KILL_PROCESS } else { what };
    log(cx, filter, logged, sig::SYS);
    if whole || alone {
        // As by a signal that nothing can catch, with the call's own registers in the core file.
        cx.user.rax = cx.user.orig_rax;
        let info = sigsys(cx, data.nr, errno);
        signal::kill_with(cx, &info);
    } else {
        exit::do_exit(cx.thread, sig::SYS);
    }
}

/// Tells the kernel log of an action, if it is one that is logged and the filter or its severity asks for it.
fn log(cx: &Ctx, filter: &Filter, what: u32, signo: i32) {
    let at = ACTIONS.iter().position(|(value, _)| *value == what);
    let enabled = at.is_some_and(|at| ACTIONS_LOGGED.load(Ordering::Relaxed) >> at & 1 != 0);
    let always = matches!(
        what,
        action::KILL_PROCESS | action::KILL_THREAD | action::LOG
    );
    if !enabled || !(always || filter.log) {
        return;
    }
    let cred = cx.thread.cred();
    log::info!(
        "seccomp: uid={} gid={} pid={} comm=\"{}\" sig={signo} arch={AUDIT_ARCH_X86_64:x} syscall={} ip={:#x} code={what:#x}",
        cred.uid,
        cred.gid,
        cx.thread.process.pid,
        cx.thread.comm(),
        cx.user.orig_rax as i32,
        cx.user.rip,
    );
}

/// Makes the thread's calls pass by [`check`].
fn enter_mode(thread: &Thread, mode: u32) {
    thread.seccomp.mode.store(mode, Ordering::Release);
    thread.set_work(work::SECCOMP, true);
}
