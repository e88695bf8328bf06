//! Tracers and tracees: how they find each other, and how they part.

use core::sync::atomic::Ordering;
use keel_abi::flags::{CloneFlags, PtraceOptions};

use super::{Tracee, is_traced, stop, tracer_process};
use crate::prelude::*;
use crate::process::signal::{self, SigInfo, sig};
use crate::process::{Cap, Cred, Process, Thread, exit, pid};
use crate::syscall::work;

/// How a tracer traces.
pub(super) struct Terms {
    pub seized: bool,
    pub options: PtraceOptions,
    pub cred: Arc<Cred>,
}

/// Makes `tracer` the tracer of `tracee`. EPERM if somebody traces it already; false if the tracer is ending.
pub(super) fn link(tracer: &Arc<Thread>, tracee: &Arc<Thread>, terms: Terms) -> Result<bool> {
    let mut state = tracee.ptrace.tracee.lock();
    if state.tracer.is_some() {
        return Err(Errno::EPERM);
    }
    let mut tracees = tracer.ptrace.tracees.lock();
    if tracees.closed {
        return Ok(false);
    }
    tracees.list.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    tracees.list.push(tracee.clone());
    *state = Tracee {
        tracer: Some(Arc::downgrade(tracer)),
        tracer_cred: Some(terms.cred),
        seized: terms.seized,
        options: terms.options,
        ..Tracee::default()
    };
    tracer.process.tracees.fetch_add(1, Ordering::Relaxed);
    tracee.ptrace.traced.store(true, Ordering::Release);
    Ok(true)
}

/// Undoes [`link`]: a stopped tracee goes on, into the group stop if there is one. False if it was not traced.
pub(super) fn unlink(tracee: &Arc<Thread>) -> bool {
    if tracee.ptrace.tracee.lock().stopped
        && let Some(task) = tracee.task()
    {
        // It does not run; where it is about to, its next debug exception clears them.
        let _ = task.set_debug_regs([0; 4], 0);
    }
    let (tracer, was_stopped) = {
        let mut state = tracee.ptrace.tracee.lock();
        if state.tracer.is_none() {
            return false;
        }
        let tracer = state.tracer();
        let was_stopped = state.stopped;
        tracee.ptrace.traced.store(false, Ordering::Release);
        // Registers and the chosen signal are still to be taken by the thread itself.
        *state = Tracee {
            regs: core::mem::take(&mut state.regs),
            code: state.code,
            info: state.info.take(),
            ghost: state.ghost,
            ..Tracee::default()
        };
        (tracer, was_stopped)
    };
    tracee.set_work(work::TRACE | work::EMULATE | work::STEP, false);
    if let Some(tracer) = tracer {
        let mut tracees = tracer.ptrace.tracees.lock();
        let at = tracees.list.iter().position(|t| Arc::ptr_eq(t, tracee));
        let gone = at.map(|at| tracees.list.swap_remove(at));
        drop(tracees);
        if gone.is_some() {
            tracer.process.tracees.fetch_sub(1, Ordering::Relaxed);
        }
        drop(gone);
    }
    if tracee.process.job.lock().stopped_by.is_some() {
        tracee.interrupt();
    }
    if was_stopped {
        tracee.wake();
    }
    true
}

/// PTRACE_TRACEME: the caller's parent becomes its tracer. EPERM if it is traced already or has more privileges.
pub fn traceme(me: &Arc<Thread>) -> Result<()> {
    if is_traced(me) {
        return Err(Errno::EPERM);
    }
    let parent = me.process.parent().ok_or(Errno::EPERM)?;
    let creator = crate::process::find_thread(me.process.creator())
        .filter(|thread| Arc::ptr_eq(&thread.process, &parent));
    let Some(tracer) = creator.or_else(|| parent.main_thread()) else {
        return Ok(());
    };
    let cred = tracer.cred();
    if !me.cred().permitted.is_subset_of(cred.permitted) && !cred.has(Cap::SYS_PTRACE) {
        return Err(Errno::EPERM);
    }
    let terms = Terms {
        seized: false,
        options: PtraceOptions::empty(),
        cred,
    };
    link(&tracer, me, terms).map(drop)
}

/// A new child of a traced thread gets the same tracer if the tracer asked for it (`wanted`) or the clone did. It
/// stops before its first instruction.
pub fn attach_child(parent: &Thread, child: &Arc<Thread>, flags: CloneFlags, wanted: bool) {
    if !is_traced(parent) || !(wanted || flags.contains(CloneFlags::PTRACE)) {
        return;
    }
    let (tracer, terms) = {
        let state = parent.ptrace.tracee.lock();
        let (Some(tracer), Some(cred)) = (state.tracer(), state.tracer_cred.clone()) else {
            return;
        };
        let terms = Terms {
            seized: state.seized,
            options: state.options,
            cred,
        };
        (tracer, terms)
    };
    let seized = terms.seized;
    if !matches!(link(&tracer, child, terms), Ok(true)) {
        return;
    }
    if seized {
        child.ptrace.tracee.lock().interrupt = true;
        child.interrupt();
    } else {
        signal::queue(child, SigInfo::kernel(sig::STOP));
    }
}

/// The thread is about to end: its tracees are let go, or die with it (PTRACE_O_EXITKILL).
pub fn exiting(thread: &Arc<Thread>) {
    let tracees = {
        let mut tracees = thread.ptrace.tracees.lock();
        tracees.closed = true;
        core::mem::take(&mut tracees.list)
    };
    if tracees.is_empty() {
        return;
    }
    thread
        .process
        .tracees
        .fetch_sub(tracees.len(), Ordering::Relaxed);
    for tracee in tracees {
        let (kill, ghost) = {
            let mut state = tracee.ptrace.tracee.lock();
            if !state.traced_by(thread) {
                continue;
            }
            let kill = state.options.contains(PtraceOptions::EXITKILL);
            (kill, state.ghost.take().is_some())
        };
        unlink(&tracee);
        if kill {
            signal::kill_process(&tracee.process);
        }
        if ghost {
            forget_ghost(&tracee);
        } else {
            tell_parent(&tracee, &thread.process);
        }
    }
}

/// A zombie that is not traced any more is its parent's to wait for, who hears of it if he is not the tracer.
fn tell_parent(tracee: &Arc<Thread>, tracer: &Arc<Process>) {
    let process = &tracee.process;
    let Some(status) = end_of(process).filter(|_| is_first(tracee)) else {
        return;
    };
    if let Some(parent) = process.parent()
        && !Arc::ptr_eq(&parent, tracer)
    {
        exit::notify_parent(process, &parent, status);
    }
}

/// Whether it is the thread that stands for its process.
pub(super) fn is_first(thread: &Arc<Thread>) -> bool {
    thread
        .process
        .leader()
        .is_some_and(|leader| Arc::ptr_eq(&leader, thread))
}

/// The status of a process whose end can be told: no thread is left that a tracer has yet to hear of.
pub(super) fn end_of(process: &Process) -> Option<i32> {
    process
        .zombie_status()
        .filter(|_| process.ghosts.load(Ordering::Acquire) == 0)
}

/// A thread has left its process. Its tracer hears of it, unless it is the one whose end is the process's own.
/// Called before the process may be found to have ended.
pub fn thread_finished(thread: &Arc<Thread>, status: i32) {
    if !is_traced(thread) || is_first(thread) {
        return;
    }
    let tracer = {
        let mut state = thread.ptrace.tracee.lock();
        let Some(tracer) = state.tracer() else { return };
        state.ghost = Some(status);
        tracer
    };
    // The number stays taken until the tracer has heard.
    pid::retire(thread.tid());
    thread.process.ghosts.fetch_add(1, Ordering::AcqRel);
    if tracer.process.signals.ignores_children() {
        release_ghost(thread);
    }
    stop::tell_tracer(&tracer.process, thread_end_info(thread, status), sig::CHLD);
}

fn thread_end_info(thread: &Arc<Thread>, status: i32) -> SigInfo {
    let mut info = exit::exit_info(&thread.process, sig::CHLD, status);
    info.set_pid(thread.tid());
    info
}

/// The tracer has heard of a thread's end. False if it had before.
pub(super) fn release_ghost(thread: &Arc<Thread>) -> bool {
    if thread.ptrace.tracee.lock().ghost.take().is_none() {
        return false;
    }
    unlink(thread);
    forget_ghost(thread);
    true
}

fn forget_ghost(thread: &Arc<Thread>) {
    pid::release(thread.tid());
    let process = &thread.process;
    let last = process.ghosts.fetch_sub(1, Ordering::AcqRel) == 1;
    if last && process.zombie_status().is_some() {
        exit::report_end(process);
    }
}

/// A process has ended: true if its parent must not hear of it yet, because a tracer does first.
pub fn end_hidden(process: &Arc<Process>) -> bool {
    if process.ghosts.load(Ordering::Acquire) != 0 {
        return true;
    }
    let Some(leader) = process.leader().filter(|leader| is_traced(leader)) else {
        return false;
    };
    let (Some(tracer), Some(status)) = (tracer_process(&leader), process.zombie_status()) else {
        return false;
    };
    let of_parent = process
        .parent()
        .is_some_and(|parent| Arc::ptr_eq(&parent, &tracer));
    if of_parent {
        return false;
    }
    if tracer.signals.ignores_children() {
        unlink(&leader);
        return false;
    }
    stop::tell_tracer(
        &tracer,
        exit::exit_info(process, sig::CHLD, status),
        sig::CHLD,
    );
    true
}

/// A process was waited for by its parent: nobody traces it any more.
pub fn reaped(process: &Process) {
    if let Some(leader) = process.leader().filter(|leader| is_traced(leader)) {
        unlink(&leader);
    }
}

/// exec in another thread has taken the first thread's number: that thread is gone without a word.
pub fn exec_replaced(leader: &Arc<Thread>) {
    if let Some(tracer) = tracer_process(leader) {
        unlink(leader);
        tracer.child_wait.wake_all();
    }
}
