//! The stops of a tracee: on signals, system calls, events, and for job control.

use keel_abi::args::{Pid, Uid};
use keel_abi::flags::{
    CLD_STOPPED, CLD_TRAPPED, CloneFlags, PtraceEvent, PtraceOptions, SaFlags, Signal, TRAP_BRKPT,
    TRAP_HWBKPT, TRAP_TRACE,
};
use keel_abi::types::{SIG_IGN, Siginfo};
use keel_hal::task;

use super::{is_traced, tracer_process};
use crate::prelude::*;
use crate::process::signal::{self, Fault, SigInfo, bit, sig};
use crate::process::{Process, Thread};
use crate::syscall::{Ctx, work};

/// Added to SIGTRAP at system-call stops with PTRACE_O_TRACESYSGOOD.
const SYSCALL_GOOD: i32 = 0x80;
/// The message at a stop before a system call.
pub(super) const SYSCALL_ENTRY: u64 = 1;
/// The message at a stop after one.
pub(super) const SYSCALL_EXIT: u64 = 2;
/// The trap flag.
pub(super) const FLAG_TF: u64 = 1 << 8;
/// The resume flag: the next instruction's breakpoint is passed over.
const FLAG_RF: u64 = 1 << 16;

/// What a stop is about.
struct Report {
    /// For wait(2): a signal, in the second byte an event.
    code: i32,
    /// CLD_TRAPPED or CLD_STOPPED.
    why: i32,
    message: u64,
    info: Option<SigInfo>,
    /// The thread is ending; it stops all the same.
    ending: bool,
}

/// Stops the running thread until its tracer lets it go on; gives the signal that the tracer chose (0: none) and
/// the siginfo as it left it. Nothing happens, and the code comes back, if nobody traces the thread or it is to end.
fn stop(cx: &mut Ctx, report: Report) -> (i32, Option<SigInfo>) {
    let thread = cx.thread;
    {
        let mut state = thread.ptrace.tracee.lock();
        if state.tracer.is_none() || (thread.exiting() && !report.ending) {
            return (report.code, report.info);
        }
        if core::mem::take(&mut state.forced_step) {
            cx.user.rflags &= !FLAG_TF;
        }
        state.interrupt = false;
        if is_event_stop(report.code) {
            state.notify = false;
        }
        state.stopped = true;
        state.listening = false;
        state.regs = cx.user.clone();
        state.code = report.code;
        state.message = report.message;
        state.info = report.info;
    }
    if let Some(tracer) = tracer_process(thread) {
        let info = child_info(thread, report.why, report.code & 0x7f);
        tell_tracer(&tracer, info, sig::CHLD);
    }
    sleep_while_stopped(thread);
    let mut state = thread.ptrace.tracee.lock();
    *cx.user = core::mem::take(&mut state.regs);
    state.listening = false;
    state.message = 0;
    let info = state.info.take();
    let code = core::mem::take(&mut state.code);
    if state.step {
        state.forced_step = cx.user.rflags & FLAG_TF == 0;
        cx.user.rflags |= FLAG_TF;
    }
    drop(state);
    if thread.has_pending_signal() || trap_pending(thread) {
        thread.interrupt();
    }
    (code, info)
}

fn sleep_while_stopped(thread: &Arc<Thread>) {
    let me = task::current();
    loop {
        // A thread that is killed already can still stop at its end; only `end_stop` wakes it then.
        let mode = if me.killed() {
            SleepMode::Uninterruptible
        } else {
            SleepMode::Killable
        };
        task::prepare_sleep(mode);
        if !thread.ptrace.tracee.lock().stopped {
            task::cancel_sleep();
            return;
        }
        task::schedule();
    }
}

fn is_event_stop(code: i32) -> bool {
    code >> 8 == i32::from(PtraceEvent::PTRACE_EVENT_STOP.0)
}

fn child_info(thread: &Arc<Thread>, why: i32, status: i32) -> SigInfo {
    let usage = thread.process.usage();
    SigInfo::child(
        sig::CHLD,
        why,
        thread.tid(),
        thread.cred().uid,
        status,
        &usage,
    )
}

/// Sends SIGCHLD unless the tracer does not want it, and wakes its wait(2).
pub(super) fn tell_tracer(tracer: &Arc<Process>, info: SigInfo, signo: i32) {
    let action = tracer.signals.action(signo);
    let stopped = matches!(info.code(), CLD_STOPPED | CLD_TRAPPED);
    if action.handler != SIG_IGN && !(stopped && action.flags.contains(SaFlags::NOCLDSTOP)) {
        signal::send_process(tracer, info);
    }
    tracer.child_wait.wake_all();
}

/// A stop that the kernel itself is the reason of: SIGTRAP with `code` as its siginfo code.
fn notify(cx: &mut Ctx, signo: i32, code: i32, why: i32, message: u64, ending: bool) -> i32 {
    let thread = cx.thread;
    let (pid, uid) = (Pid(thread.tid() as i32), Uid(thread.cred().uid));
    let info = SigInfo::new(Siginfo::kill(Signal(signo), code, pid, uid));
    let report = Report {
        code,
        why,
        message,
        info: Some(info),
        ending,
    };
    stop(cx, report).0
}

fn option_of(event: PtraceEvent) -> PtraceOptions {
    match event {
        PtraceEvent::PTRACE_EVENT_FORK => PtraceOptions::TRACEFORK,
        PtraceEvent::PTRACE_EVENT_VFORK => PtraceOptions::TRACEVFORK,
        PtraceEvent::PTRACE_EVENT_CLONE => PtraceOptions::TRACECLONE,
        PtraceEvent::PTRACE_EVENT_EXEC => PtraceOptions::TRACEEXEC,
        PtraceEvent::PTRACE_EVENT_VFORK_DONE => PtraceOptions::TRACEVFORKDONE,
        PtraceEvent::PTRACE_EVENT_EXIT => PtraceOptions::TRACEEXIT,
        PtraceEvent::PTRACE_EVENT_SECCOMP => PtraceOptions::TRACESECCOMP,
        _ => PtraceOptions::empty(),
    }
}

fn event_enabled(thread: &Thread, event: PtraceEvent) -> bool {
    is_traced(thread) && {
        let options = thread.ptrace.tracee.lock().options;
        options.intersects(option_of(event))
    }
}

/// An event stop, if the tracer asked for this kind. Which signal it chooses does not matter.
pub fn event(cx: &mut Ctx, event: PtraceEvent, message: u64) {
    stop_for_event(cx, event, message, false);
}

fn stop_for_event(cx: &mut Ctx, event: PtraceEvent, message: u64, ending: bool) {
    if event_enabled(cx.thread, event) {
        let code = sig::TRAP | i32::from(event.0) << 8;
        notify(cx, sig::TRAP, code, CLD_TRAPPED, message, ending);
    }
}

/// Which event the tracer is to hear of for a clone with these flags.
pub fn clone_event(parent: &Thread, flags: CloneFlags, exit_signal: i32) -> Option<PtraceEvent> {
    if !is_traced(parent) || flags.contains(CloneFlags::UNTRACED) {
        return None;
    }
    let event = if flags.contains(CloneFlags::VFORK) {
        PtraceEvent::PTRACE_EVENT_VFORK
    } else if exit_signal != sig::CHLD {
        PtraceEvent::PTRACE_EVENT_CLONE
    } else {
        PtraceEvent::PTRACE_EVENT_FORK
    };
    event_enabled(parent, event).then_some(event)
}

/// A vfork parent goes on: PTRACE_EVENT_VFORK_DONE.
pub fn vfork_done(cx: &mut Ctx, child: u32) {
    event(cx, PtraceEvent::PTRACE_EVENT_VFORK_DONE, u64::from(child));
}

/// A new program was loaded: PTRACE_EVENT_EXEC, or the plain SIGTRAP that tracers without options get. `old_tid`
/// is the thread's number before exec gave it the process's.
pub fn exec_event(cx: &mut Ctx, old_tid: u32) {
    if !is_traced(cx.thread) {
        return;
    }
    cx.thread.ptrace.tracee.lock().debug = [0; 8];
    // The new program starts without the old one's breakpoints; zeros are always accepted for the running task.
    let _ = task::current().set_debug_regs([0; 4], 0);
    if event_enabled(cx.thread, PtraceEvent::PTRACE_EVENT_EXEC) {
        event(cx, PtraceEvent::PTRACE_EVENT_EXEC, u64::from(old_tid));
    } else if !cx.thread.ptrace.tracee.lock().seized {
        let (pid, uid) = (cx.thread.tid(), cx.thread.cred().uid);
        signal::queue(cx.thread, SigInfo::user(sig::TRAP, 0, pid, uid));
    }
}

/// The thread is about to end: PTRACE_EVENT_EXIT.
pub fn exit_event(cx: &mut Ctx, status: i32) {
    if is_traced(cx.thread) {
        let message = u64::from(status.cast_unsigned());
        stop_for_event(cx, PtraceEvent::PTRACE_EVENT_EXIT, message, true);
    }
}

/// A seccomp filter asks the tracer (SECCOMP_RET_TRACE): false if no tracer wants to be asked.
pub fn seccomp_event(cx: &mut Ctx, data: u16) -> bool {
    let event = PtraceEvent::PTRACE_EVENT_SECCOMP;
    let enabled = event_enabled(cx.thread, event);
    stop_for_event(cx, event, u64::from(data), false);
    enabled
}

fn syscall_stop(cx: &mut Ctx, message: u64) {
    let good = {
        let state = cx.thread.ptrace.tracee.lock();
        state.options.contains(PtraceOptions::TRACESYSGOOD)
    };
    let code = sig::TRAP | if good { SYSCALL_GOOD } else { 0 };
    if !is_traced(cx.thread) || cx.thread.exiting() {
        return;
    }
    let chosen = notify(cx, sig::TRAP, code, CLD_TRAPPED, message, false);
    if chosen != 0 && !cx.thread.exiting() {
        signal::send_thread(cx.thread, SigInfo::kernel(chosen));
    }
}

/// Before a system call of a thread with [`work::TRACE`] or [`work::EMULATE`]: false if it is not to be made.
pub fn syscall_enter(cx: &mut Ctx) -> bool {
    let emulate = cx.thread.work() & work::EMULATE != 0;
    syscall_stop(cx, SYSCALL_ENTRY);
    !emulate && !cx.thread.exiting()
}

/// After a system call: a stop if the tracer asked for one, or a trap that ends a single step.
pub fn syscall_exit(cx: &mut Ctx) {
    let wanted = cx.thread.work();
    if wanted & work::STEP != 0 {
        if wanted & work::EMULATE == 0 {
            let info = SigInfo::fault(sig::TRAP, TRAP_BRKPT, cx.user.rip);
            let fault = Fault {
                info,
                trap: 1,
                error_code: 0,
                cr2: 0,
            };
            signal::force_fault(cx.thread, fault);
        }
    } else if wanted & work::TRACE != 0 {
        syscall_stop(cx, SYSCALL_EXIT);
    }
}

/// Whether the thread has to stop for its tracer although there is no signal.
pub fn trap_pending(thread: &Thread) -> bool {
    is_traced(thread) && thread.ptrace.tracee.lock().trap_pending()
}

/// Stops as [`trap_pending`] says: for a group stop, PTRACE_INTERRUPT, or the end of what a listener waits for.
pub fn trap_stop(cx: &mut Ctx) {
    let stopped_by = cx.thread.process.job.lock().stopped_by;
    let (seized, by) = {
        let mut state = cx.thread.ptrace.tracee.lock();
        let by = state.group_stop.take();
        state.interrupt = false;
        state.notify = false;
        (state.seized, stopped_by.map(|signo| by.unwrap_or(signo)))
    };
    if seized {
        let signo = by.unwrap_or(sig::TRAP);
        let code = signo | i32::from(PtraceEvent::PTRACE_EVENT_STOP.0) << 8;
        notify(cx, signo, code, CLD_STOPPED, 0, false);
    } else if let Some(signo) = by {
        let report = Report {
            code: signo,
            why: CLD_STOPPED,
            message: 0,
            info: None,
            ending: false,
        };
        stop(cx, report);
    }
}

/// The process stops: a traced thread takes part by a stop for its tracer.
pub fn group_stop(thread: &Arc<Thread>, signo: i32) {
    let listens = {
        let mut state = thread.ptrace.tracee.lock();
        if state.tracer.is_none() {
            return;
        }
        state.group_stop = Some(signo);
        state.notify |= state.seized;
        leave_listening(&mut state)
    };
    if listens {
        thread.wake();
    }
}

/// The process goes on: nothing is left to take part in. A tracer that listens hears of it.
pub fn continued(thread: &Arc<Thread>) {
    let (seized, listens) = {
        let mut state = thread.ptrace.tracee.lock();
        if state.tracer.is_none() {
            return;
        }
        state.group_stop = None;
        state.notify |= state.seized;
        (state.seized, leave_listening(&mut state))
    };
    if listens {
        thread.wake();
    }
    if seized {
        thread.interrupt();
    }
}

/// Ends a stop that the tracer only listens to, so that the thread stops anew.
pub(super) fn leave_listening(state: &mut super::Tracee) -> bool {
    let listens = state.stopped && state.listening;
    if listens {
        state.stopped = false;
        state.listening = false;
    }
    listens
}

/// A signal is about to be delivered: what the tracer makes of it; `None` if nothing.
pub fn signal_stop(cx: &mut Ctx, info: SigInfo) -> Option<SigInfo> {
    if info.signo() == sig::KILL || !is_traced(cx.thread) {
        return Some(info);
    }
    let tracer = cx.thread.ptrace.tracee.lock().tracer();
    let report = Report {
        code: info.signo(),
        why: CLD_TRAPPED,
        message: 0,
        info: Some(info),
        ending: false,
    };
    let (chosen, info) = stop(cx, report);
    if chosen == 0 || cx.thread.exiting() {
        return None;
    }
    let info = match info {
        Some(info) if info.signo() == chosen => info,
        _ => {
            let (pid, uid) = tracer.map_or((0, 0), |t| (t.process.pid, t.cred().uid));
            SigInfo::user(chosen, 0, pid, uid)
        }
    };
    if cx.thread.signals.blocked() & bit(chosen) != 0 {
        signal::queue(cx.thread, info);
        return None;
    }
    Some(info)
}

/// Takes the trap flag that tracing set out of the registers before a handler's frame keeps them; true if there
/// was one, so that [`notify_step`] is due once the handler is entered.
pub fn suspend_step(cx: &mut Ctx) -> bool {
    if !is_traced(cx.thread) {
        return false;
    }
    let mut state = cx.thread.ptrace.tracee.lock();
    if core::mem::take(&mut state.forced_step) {
        cx.user.rflags &= !FLAG_TF;
    }
    state.step
}

/// A single step has entered a signal handler.
pub fn notify_step(cx: &mut Ctx) {
    notify(cx, sig::TRAP, sig::TRAP, CLD_TRAPPED, 0, false);
}

/// Bits of DR6: breakpoints 0 to 3, single step.
const DR6_BREAKPOINTS: u64 = 0xf;
const DR6_STEP: u64 = 1 << 14;

/// What a debug exception with these bits of DR6 means: the code of its SIGTRAP, or `None` if it is to be passed
/// over because the tracer that set the breakpoint is gone.
pub fn debug_exception(cx: &mut Ctx, dr6: u64) -> Option<i32> {
    let hit = dr6 & DR6_BREAKPOINTS;
    let task = task::current();
    let dr7 = task.debug_regs().map_or(0, |(_, _, dr7)| dr7);
    // A breakpoint on an instruction comes before it: it must not come again when the thread goes on.
    let on_code = (0..4).any(|i| hit >> i & 1 != 0 && dr7 >> (16 + 4 * i) & 3 == 0);
    if on_code {
        cx.user.rflags |= FLAG_RF;
    }
    if is_traced(cx.thread) {
        cx.thread.ptrace.tracee.lock().debug[6] = dr6 & (DR6_BREAKPOINTS | DR6_STEP);
    } else if hit != 0 {
        let _ = task.set_debug_regs([0; 4], 0);
        if dr6 & DR6_STEP == 0 {
            return None;
        }
    }
    Some(if dr6 & DR6_STEP != 0 {
        TRAP_TRACE
    } else if hit != 0 {
        TRAP_HWBKPT
    } else {
        TRAP_BRKPT
    })
}
