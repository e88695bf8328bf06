//! Sending: who gets a signal, and what that does at once.

use keel_abi::types::{SIG_DFL, SIG_IGN};

use super::queue::SigInfo;
use super::{Action, Fault, STOP_SIGNALS, bit, sig, stop};
use crate::prelude::*;
use crate::process::rlimit::Resource;
use crate::process::{FAMILY, Process, Thread, pgrp_members};

/// Sends a signal to a process as a whole. From the kernel: nothing is refused.
pub fn send_process(process: &Arc<Process>, info: SigInfo) {
    // Only queue limits can fail, and they do not apply to the kernel's signals.
    let _ = send_process_checked(process, info);
}

/// Sends a signal to one thread.
pub fn send_thread(thread: &Arc<Thread>, info: SigInfo) {
    let _ = send_thread_checked(thread, info);
}

/// Sends a signal to every member of a process group.
pub fn send_pgrp(pgid: u32, info: SigInfo) {
    for process in pgrp_members(pgid) {
        send_process(&process, info);
    }
}

/// Ends a process at once (SIGKILL).
pub fn kill_process(process: &Arc<Process>) {
    send_process(process, SigInfo::kernel(sig::KILL));
}

/// As [`send_process`]: EAGAIN beyond RLIMIT_SIGPENDING.
pub fn send_process_checked(process: &Arc<Process>, info: SigInfo) -> Result<()> {
    let threads = process.threads();
    if threads.is_empty() || !prepare(process, &threads, None, &info) {
        return Ok(());
    }
    let limit = process.rlimits.soft(Resource::Sigpending);
    process.signals.pending.lock().push(info, limit)?;
    notify(process, &threads, &info);
    Ok(())
}

/// As [`send_thread`]: EAGAIN beyond RLIMIT_SIGPENDING.
pub fn send_thread_checked(thread: &Arc<Thread>, info: SigInfo) -> Result<()> {
    let process = &thread.process;
    let threads = process.threads();
    if !prepare(process, &threads, Some(thread), &info) {
        return Ok(());
    }
    let limit = process.rlimits.soft(Resource::Sigpending);
    thread.signals.pending.lock().push(info, limit)?;
    if info.signo() == sig::KILL {
        kill_all(process, &threads);
    } else {
        notify_thread(thread, &info);
    }
    process
        .signals
        .signalfd
        .wake(usize::MAX, crate::fs::PollEvents::READABLE.key());
    Ok(())
}

/// What a signal does whether or not it is delivered; false if it is to be thrown away.
fn prepare(
    process: &Arc<Process>,
    threads: &[Arc<Thread>],
    target: Option<&Arc<Thread>>,
    info: &SigInfo,
) -> bool {
    let signo = info.signo();
    if process.group_exiting() && signo != sig::KILL {
        return false;
    }
    if bit(signo) & STOP_SIGNALS != 0 {
        flush(process, threads, bit(sig::CONT));
    } else if signo == sig::CONT {
        flush(process, threads, STOP_SIGNALS);
        stop::continue_process(process);
    }
    let action = process.signals.action(signo);
    let blocked = match target {
        Some(thread) => thread.signals.blocked() & bit(signo) != 0,
        None => threads
            .iter()
            .all(|thread| thread.signals.blocked() & bit(signo) != 0),
    };
    // Init gets only signals that it has handlers for or waits for with sigwait(3); SIGKILL and SIGSTOP never.
    if process.pid == 1 && info.is_from_user() && action.handler == SIG_DFL && !blocked {
        return false;
    }
    let traced = threads
        .iter()
        .any(|thread| crate::process::ptrace::is_traced(thread));
    !action.ignores(signo) || blocked || (traced && signo != sig::KILL)
}

fn flush(process: &Arc<Process>, threads: &[Arc<Thread>], mask: u64) {
    process.signals.pending.lock().flush(mask);
    for thread in threads {
        thread.signals.pending.lock().flush(mask);
    }
}

/// Finds a thread that takes a signal of the process, and interrupts it.
fn notify(process: &Arc<Process>, threads: &[Arc<Thread>], info: &SigInfo) {
    let signo = info.signo();
    if signo == sig::KILL {
        kill_all(process, threads);
        return;
    }
    let wants = |thread: &&Arc<Thread>| {
        (thread.signals.blocked() & bit(signo) == 0 || thread.signals.waits_for(signo))
            && !thread.exiting()
    };
    // The main thread first, as on Linux.
    let chosen = threads
        .iter()
        .filter(|thread| thread.is_leader())
        .find(wants)
        .or_else(|| threads.iter().find(wants));
    if let Some(thread) = chosen {
        notify_thread(thread, info);
    }
    process
        .signals
        .signalfd
        .wake(usize::MAX, crate::fs::PollEvents::READABLE.key());
}

fn notify_thread(thread: &Arc<Thread>, info: &SigInfo) {
    let signo = info.signo();
    if thread.signals.blocked() & bit(signo) == 0 || thread.signals.waits_for(signo) {
        thread.interrupt();
    }
}

/// SIGKILL: every thread is to end, stopped or not.
fn kill_all(process: &Arc<Process>, threads: &[Arc<Thread>]) {
    process.begin_group_exit(sig::KILL);
    for thread in threads {
        thread.request_exit(sig::KILL);
        thread.kill();
    }
    stop::wake_stopped(process);
}

/// Signals that a thread has just blocked may be for others.
pub(super) fn retarget(process: &Arc<Process>, mask: u64) {
    for thread in process.threads() {
        if !thread.exiting() && mask & !thread.signals.blocked() != 0 {
            thread.interrupt();
        }
    }
}

/// A fault of the running thread. Blocked or ignored, it kills: the program cannot go on.
pub fn force_fault(thread: &Arc<Thread>, fault: Fault) {
    *thread.signals.last_fault.lock() = (u64::from(fault.trap), fault.error_code, fault.cr2);
    force(thread, fault.info);
}

/// SIGSEGV for a program whose own structures cannot be used (a signal stack, an rseq area).
pub fn force_segv(thread: &Arc<Thread>) {
    force(thread, SigInfo::kernel(sig::SEGV));
}

/// A signal that the running thread gets whether or not it wants it; blocked or ignored, it takes its default action.
pub fn force(thread: &Arc<Thread>, info: SigInfo) {
    let signo = info.signo();
    let signals = &thread.process.signals;
    let blocked = thread.signals.blocked() & bit(signo) != 0;
    if blocked || signals.action(signo).handler == SIG_IGN {
        signals.set_action(signo, Action::default());
        thread.set_blocked(thread.signals.blocked() & !bit(signo));
    }
    queue(thread, info);
}

/// Queues a signal for one thread without anything that sending it would do.
pub fn queue(thread: &Arc<Thread>, info: SigInfo) {
    // A standard signal that is pending already is enough.
    let _ = thread.signals.pending.lock().push(info, u64::MAX);
    thread.interrupt();
}

/// The signal at a place of the thread's queue, or of its process's.
pub fn peek_queue(thread: &Thread, shared: bool, place: usize) -> Option<SigInfo> {
    if shared {
        thread.process.signals.pending.lock().at(place)
    } else {
        thread.signals.pending.lock().at(place)
    }
}

/// Tells a parent of a stop or continuation of its child.
pub(super) fn notify_parent_of_job(
    process: &Arc<Process>,
    info: impl Fn(&Arc<Process>) -> SigInfo,
) {
    use keel_abi::flags::SaFlags;
    let parent = {
        let _family = FAMILY.lock();
        process.parent()
    };
    let Some(parent) = parent else { return };
    let action = parent.signals.action(sig::CHLD);
    if action.handler != SIG_IGN && !action.flags.contains(SaFlags::NOCLDSTOP) {
        send_process(&parent, info(process));
    }
    parent.child_wait.wake_all();
}

/// Throws away what is pending of `mask`: the signals have just been ignored.
pub fn discard(process: &Arc<Process>, mask: u64) {
    flush(process, &process.threads(), mask);
}
