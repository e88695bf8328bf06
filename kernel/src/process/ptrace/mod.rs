//! Tracing (ptrace(2)): who may look into whom, and the points at which a traced thread stops.
//!
//! * [`PtraceState`]: what every thread keeps of tracing, as tracee and as tracer.
//! * [`link`]: how tracers and tracees find and leave each other; [`stop`]: how a tracee stops and goes on;
//!   [`wait`]: how the tracer hears of it; [`request`]: what it may ask then; [`regs`]: registers.
//!
//! A tracee that stops leaves a copy of its registers in its state, where the tracer reads and changes them, and
//! takes them back when it goes on. What the machine layer keeps (extended registers, segment bases,
//! breakpoints) is read from and written to the task itself, which does not run meanwhile.
//!
//! Lock order: a tracee's state → its tracer's list of tracees. Neither is held across a sleep, nor while signals
//! are sent.

mod link;
mod regs;
mod request;
mod stop;
mod wait;

use core::sync::atomic::{AtomicBool, Ordering};
use keel_abi::flags::PtraceOptions;
use keel_hal::context::UserContext;

use super::signal::SigInfo;
use super::{Cap, Cred, Process, Thread};
use crate::prelude::*;

pub use link::{
    attach_child, end_hidden, exec_replaced, exiting, reaped, thread_finished, traceme,
};
pub use regs::{RegisterWords, general_registers, xstate_of};
pub use request::{attach, check_options, request};
pub use stop::{
    clone_event, continued, debug_exception, event, exec_event, exit_event, group_stop,
    notify_step, seccomp_event, signal_stop, suspend_step, syscall_enter, syscall_exit,
    trap_pending, trap_stop, vfork_done,
};
pub use wait::{Hidden, hidden_from_parent, wait_tracees};

/// A thread's tracing state.
#[derive(Default)]
pub struct PtraceState {
    /// Somebody traces the thread: a quick look at what `tracee` says.
    traced: AtomicBool,
    tracee: SpinLock<Tracee>,
    tracees: SpinLock<Tracees>,
}

/// The threads that a thread traces.
#[derive(Default)]
struct Tracees {
    list: Vec<Arc<Thread>>,
    /// The tracer is ending: nobody is added any more.
    closed: bool,
}

/// What a thread keeps of being traced.
#[derive(Default)]
struct Tracee {
    /// Who traces it.
    tracer: Option<Weak<Thread>>,
    /// The tracer's credentials when it attached.
    tracer_cred: Option<Arc<Cred>>,
    /// By PTRACE_SEIZE: group stops and interrupts are PTRACE_EVENT_STOP.
    seized: bool,
    options: PtraceOptions,
    /// It stands still for its tracer.
    stopped: bool,
    /// The tracer lets the stop last but waits for no more of it (PTRACE_LISTEN).
    listening: bool,
    /// The registers during a stop.
    regs: UserContext,
    /// What wait(2) reports of the stop, 0 once it did; when it goes on, the signal that the tracer chose.
    code: i32,
    /// PTRACE_GETEVENTMSG.
    message: u64,
    /// The signal that the stop is about; `None` in a plain group stop.
    info: Option<SigInfo>,
    /// It has yet to take part in a group stop, by this signal.
    group_stop: Option<i32>,
    /// PTRACE_INTERRUPT, or the first stop of an automatically attached child.
    interrupt: bool,
    /// The state of the group stop changed while it listened.
    notify: bool,
    /// Stop after the next instruction.
    step: bool,
    /// The trap flag is set by tracing, not by the program.
    forced_step: bool,
    /// The debug registers as the tracer set and sees them.
    debug: [u64; 8],
    /// It has ended with this status, and its tracer has not heard of it yet.
    ghost: Option<i32>,
}

impl Tracee {
    fn tracer(&self) -> Option<Arc<Thread>> {
        self.tracer.as_ref().and_then(Weak::upgrade)
    }

    fn traced_by(&self, thread: &Arc<Thread>) -> bool {
        self.tracer
            .as_ref()
            .is_some_and(|tracer| core::ptr::eq(tracer.as_ptr(), Arc::as_ptr(thread)))
    }

    /// Whether a stop is asked for that is not about a signal.
    fn trap_pending(&self) -> bool {
        self.interrupt || self.notify || self.group_stop.is_some()
    }
}

/// Which of the caller's identities count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ids {
    /// The file-system ids: /proc.
    FileSystem,
    /// The real ids: ptrace(2), kcmp(2).
    Real,
}

/// Whether `me` may inspect or change `target` (ptrace(2), "Ptrace access mode checking", with file-system ids as
/// for /proc).
pub fn may_access(me: &Arc<Thread>, target: &Arc<Thread>) -> bool {
    access_with(me, target, Ids::FileSystem)
}

/// As [`may_access`], with real ids as for system calls.
pub fn may_access_real(me: &Arc<Thread>, target: &Arc<Thread>) -> bool {
    access_with(me, target, Ids::Real)
}

fn access_with(me: &Arc<Thread>, target: &Arc<Thread>, ids: Ids) -> bool {
    if Arc::ptr_eq(&me.process, &target.process) {
        return true;
    }
    let (mine, other) = (me.cred(), target.cred());
    let (uid, gid, caps) = match ids {
        Ids::FileSystem => (mine.fsuid, mine.fsgid, mine.effective),
        Ids::Real => (mine.uid, mine.gid, mine.permitted),
    };
    let same_user = [other.uid, other.euid, other.suid]
        .iter()
        .all(|id| *id == uid);
    let same_group = [other.gid, other.egid, other.sgid]
        .iter()
        .all(|id| *id == gid);
    let dumpable = target.process.dumpable.load(Ordering::Relaxed) == 1;
    mine.has(Cap::SYS_PTRACE)
        || (same_user && same_group && dumpable && other.permitted.is_subset_of(caps))
}

/// Whether anybody traces the thread.
pub fn is_traced(thread: &Thread) -> bool {
    thread.ptrace.traced.load(Ordering::Acquire)
}

/// Whether it stands still for its tracer.
pub fn is_stopped(thread: &Thread) -> bool {
    is_traced(thread) && thread.ptrace.tracee.lock().stopped
}

/// The number of the thread's tracer; 0 for none.
pub fn tracer_tid(thread: &Thread) -> u32 {
    if !is_traced(thread) {
        return 0;
    }
    let tracer = thread.ptrace.tracee.lock().tracer();
    tracer.map_or(0, |tracer| tracer.tid())
}

/// Whether a tracer without privilege keeps exec from giving privileges.
pub fn blocks_privilege_gain(thread: &Thread) -> bool {
    is_traced(thread)
        && thread
            .ptrace
            .tracee
            .lock()
            .tracer_cred
            .as_ref()
            .is_some_and(|cred| !cred.has(Cap::SYS_PTRACE))
}

/// Whether seccomp filters rest because the tracer said so (PTRACE_O_SUSPEND_SECCOMP).
pub fn suspends_seccomp(thread: &Thread) -> bool {
    is_traced(thread)
        && thread
            .ptrace
            .tracee
            .lock()
            .options
            .contains(PtraceOptions::SUSPEND_SECCOMP)
}

/// SIGKILL, or the end of the whole process: a stop for the tracer is over. True if there was one.
pub fn end_stop(thread: &Thread) -> bool {
    is_traced(thread) && core::mem::take(&mut thread.ptrace.tracee.lock().stopped)
}

/// The tracer of a thread as a process.
fn tracer_process(thread: &Thread) -> Option<Arc<Process>> {
    let tracer = thread.ptrace.tracee.lock().tracer()?;
    Some(tracer.process.clone())
}
