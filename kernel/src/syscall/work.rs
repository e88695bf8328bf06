//! The slow way of a system call: traced, filtered, dispatched to user code, or printed.
//!
//! Each reason is a bit of [`Thread::work`]; a thread without any takes the fast way.

use super::{Ctx, arguments, call, trace};
use crate::prelude::*;
use crate::process::{Thread, ptrace, seccomp, user_dispatch};

/// Calls are printed (`keel.trace=syscalls`).
pub const PRINT: u32 = 1 << 0;
/// The tracer wants to stop at calls (PTRACE_SYSCALL).
pub const TRACE: u32 = 1 << 1;
/// The tracer makes the calls itself (PTRACE_SYSEMU).
pub const EMULATE: u32 = 1 << 2;
/// A single step ends behind a call.
pub const STEP: u32 = 1 << 3;
/// Calls are filtered (seccomp(2)).
pub const SECCOMP: u32 = 1 << 4;
/// Calls may become signals (PR_SET_SYSCALL_USER_DISPATCH).
pub const USER_DISPATCH: u32 = 1 << 5;

/// What a new thread has to do with its calls.
pub fn initial() -> u32 {
    if trace::enabled() { PRINT } else { 0 }
}

/// What comes before a call decided.
enum Entry {
    /// It is made.
    Call,
    /// It is not made; its result is set. What comes after calls follows.
    Skip,
    /// It was not a call at all.
    Signal,
}

#[cold]
pub(super) fn dispatch(cx: &mut Ctx) {
    match enter(cx) {
        Entry::Call => {
            let number = cx.user.orig_rax;
            let args = arguments(cx.user);
            trace::enter(cx, number, args);
            call(cx);
            trace::exit(cx, number, args);
        }
        Entry::Skip => {}
        Entry::Signal => return,
    }
    if cx.thread.work() & (TRACE | STEP) != 0 && !cx.thread.exiting() {
        ptrace::syscall_exit(cx);
    }
}

fn enter(cx: &mut Ctx) -> Entry {
    let work = cx.thread.work();
    if work & USER_DISPATCH != 0 && user_dispatch::intercepts(cx) {
        return Entry::Signal;
    }
    // What tracers and filters see until there is a result, and what a dropped call returns.
    cx.user.rax = Errno::ENOSYS.to_reg();
    if work & (TRACE | EMULATE) != 0 && !ptrace::syscall_enter(cx) {
        return Entry::Skip;
    }
    if cx.thread.work() & SECCOMP != 0 && !seccomp::check(cx) {
        return Entry::Skip;
    }
    // The tracer may have dropped the call.
    if cx.user.orig_rax as i32 == -1 || cx.thread.exiting() {
        return Entry::Skip;
    }
    Entry::Call
}

impl Thread {
    /// What its system calls have to do besides.
    #[inline]
    pub fn work(&self) -> u32 {
        self.syscall_work
            .load(core::sync::atomic::Ordering::Relaxed)
    }

    /// Adds or takes away kinds of work.
    pub fn set_work(&self, work: u32, on: bool) {
        use core::sync::atomic::Ordering::Relaxed;
        if on {
            self.syscall_work.fetch_or(work, Relaxed);
        } else {
            self.syscall_work.fetch_and(!work, Relaxed);
        }
    }
}
