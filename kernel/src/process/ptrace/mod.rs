//! Tracing (ptrace(2)): who may look into whom, and the points at which a traced thread stops.

use keel_abi::flags::CloneFlags;

use super::signal::SigInfo;
use super::wait::{Event, Wanted};
use super::{Cap, Process, Thread};
use crate::prelude::*;
use crate::syscall::Ctx;

/// A thread's tracing state.
#[derive(Default)]
pub struct PtraceState {}

/// Whether `me` may inspect or change `target` (ptrace(2), "Ptrace access mode checking", with file-system ids as
/// for /proc).
pub fn may_access(me: &Arc<Thread>, target: &Arc<Thread>) -> bool {
    if Arc::ptr_eq(&me.process, &target.process) {
        return true;
    }
    let (mine, other) = (me.cred(), target.cred());
    let same_user = [other.uid, other.euid, other.suid]
        .iter()
        .all(|uid| *uid == mine.fsuid);
    let same_group = [other.gid, other.egid, other.sgid]
        .iter()
        .all(|gid| *gid == mine.fsgid);
    let privileged = mine.has(Cap::SYS_PTRACE);
    let dumpable = target
        .process
        .dumpable
        .load(core::sync::atomic::Ordering::Relaxed)
        == 1;
    privileged
        || (same_user && same_group && dumpable && other.permitted.is_subset_of(mine.permitted))
}

/// Whether anybody traces the thread.
pub fn is_traced(_thread: &Thread) -> bool {
    false
}

/// Whether a tracer without privilege keeps exec from giving privileges.
pub fn blocks_privilege_gain(_thread: &Thread) -> bool {
    false
}

/// The thread is about to end: PTRACE_EVENT_EXIT, and its own tracees are let go.
pub fn exiting(_thread: &Arc<Thread>) {}

/// The process has become a zombie; true if its tracer is told first, instead of its parent.
pub fn tracee_finished(_process: &Arc<Process>) -> bool {
    false
}

/// Whether a child's changes go to a tracer rather than to its parent.
pub fn hidden_from_parent(_child: &Arc<Process>, _parent: &Arc<Process>) -> bool {
    false
}

/// Changes of traced threads: one that happened, and whether there are any tracees that match.
pub fn wait_tracees(_thread: &Arc<Thread>, _wanted: &Wanted) -> Result<(Option<Event>, bool)> {
    Ok((None, false))
}

/// The siginfo code of a debug exception, if it was a breakpoint that a tracer set.
pub fn debug_trap_code(_thread: &Thread) -> Option<i32> {
    None
}

/// A child was made: PTRACE_EVENT_CLONE, FORK or VFORK.
pub fn cloned(_parent: &Arc<Thread>, _child: &Arc<Thread>, _flags: CloneFlags, _signal: i32) {}

/// A vfork parent goes on: PTRACE_EVENT_VFORK_DONE.
pub fn vfork_done(_parent: &Arc<Thread>, _child: u32) {}

/// A new program was loaded: PTRACE_EVENT_EXEC.
pub fn execed(_cx: &mut Ctx) {}

/// Before a system call: false if it is not to be made.
pub fn syscall_enter(_cx: &mut Ctx) -> bool {
    true
}

/// After a system call.
pub fn syscall_exit(_cx: &mut Ctx) {}

/// Stops if the tracer asked for it (PTRACE_INTERRUPT).
pub fn stop_if_asked(_cx: &mut Ctx) {}

/// A signal is about to be delivered: what the tracer makes of it; `None` if nothing.
pub fn signal_stop(_cx: &mut Ctx, info: SigInfo) -> Option<SigInfo> {
    Some(info)
}
