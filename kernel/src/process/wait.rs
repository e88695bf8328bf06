//! Waiting for children (wait4(2), waitid(2)).

use core::sync::atomic::Ordering;

use super::process::{FAMILY, Usage};
use super::ptrace::{self, Hidden};
use super::{Process, Thread, pid};
use crate::prelude::*;

/// Which children a wait is for.
#[derive(Clone)]
pub enum Target {
    /// Any child.
    Any,
    /// The child with this number.
    Pid(u32),
    /// Children in this group.
    Group(u32),
    /// Just this process (P_PIDFD).
    Process(Arc<Process>),
}

/// What a wait looks for.
#[derive(Clone)]
pub struct Wanted {
    /// Whose changes.
    pub target: Target,
    /// Ends.
    pub exited: bool,
    /// Stops.
    pub stopped: bool,
    /// Continuations.
    pub continued: bool,
    /// Leave the child as it is (WNOWAIT).
    pub peek: bool,
    /// Do not sleep (WNOHANG).
    pub no_hang: bool,
    /// Only children of this thread (__WNOTHREAD).
    pub own_children_only: bool,
    /// Children whatever their exit signal (__WALL), or only those without SIGCHLD (__WCLONE).
    pub all_kinds: bool,
    /// Only "clone" children (__WCLONE).
    pub clone_only: bool,
}

/// What happened to a child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// Ended with this status (wait(2)'s form).
    Exited(i32),
    /// Stopped by this signal; in the upper byte a ptrace event.
    Stopped(i32),
    /// Stopped for its tracer.
    Trapped(i32),
    /// Continued.
    Continued,
}

/// A child's change.
pub struct Event {
    /// Number of the child (or traced thread).
    pub pid: u32,
    /// Its real user.
    pub uid: u32,
    /// What happened.
    pub change: Change,
    /// Its resource use, with its children's.
    pub usage: Usage,
}

impl Change {
    /// The status word of wait(2).
    pub fn status(self) -> i32 {
        match self {
            Self::Exited(status) => status,
            Self::Stopped(sig) | Self::Trapped(sig) => (sig << 8) | 0x7f,
            Self::Continued => 0xffff,
        }
    }
}

/// Waits for a change of a child. `None` with `no_hang` when there is none yet; ECHILD without such children,
/// ERESTARTSYS when interrupted.
pub fn wait(thread: &Arc<Thread>, wanted: &Wanted) -> Result<Option<Event>> {
    let me = &thread.process;
    let found = me.child_wait.wait(SleepMode::Interruptible, None, || {
        match look(thread, wanted) {
            Ok(Some(event)) => Some(Ok(Some(event))),
            Ok(None) if wanted.no_hang => Some(Ok(None)),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    });
    match found {
        Ok(result) => result,
        Err(_) => Err(Errno::ERESTARTSYS),
    }
}

/// One look at all children: a change, nothing yet, or ECHILD.
fn look(thread: &Arc<Thread>, wanted: &Wanted) -> Result<Option<Event>> {
    let me = &thread.process;
    let mut any = false;
    for child in me.children() {
        if !matches(&child, wanted) || (wanted.own_children_only && !is_own(thread, &child)) {
            continue;
        }
        any = true;
        let hidden = ptrace::hidden_from_parent(&child, me);
        if hidden == Hidden::Tracee {
            continue;
        }
        if let Some(event) = child_change(me, &child, wanted, hidden) {
            return Ok(Some(event));
        }
    }
    match ptrace::wait_tracees(thread, wanted) {
        (Some(event), _) => Ok(Some(event)),
        (None, tracees) if any || tracees => Ok(None),
        _ => Err(Errno::ECHILD),
    }
}

/// Whether the thread itself made the child; children of threads that are gone are everybody's.
fn is_own(thread: &Arc<Thread>, child: &Process) -> bool {
    let creator = child.creator();
    creator == thread.tid()
        || pid::find_thread(creator)
            .is_none_or(|creator| !Arc::ptr_eq(&creator.process, &thread.process))
}

fn matches(child: &Arc<Process>, wanted: &Wanted) -> bool {
    let by_target = match &wanted.target {
        Target::Any => true,
        Target::Pid(pid) => child.pid == *pid,
        Target::Group(pgid) => child.pgid() == *pgid,
        Target::Process(process) => Arc::ptr_eq(process, child),
    };
    const SIGCHLD: i32 = 17;
    let is_clone = child.exit_signal.load(Ordering::Relaxed) != SIGCHLD;
    by_target && (wanted.all_kinds || is_clone == wanted.clone_only)
}

fn child_change(
    me: &Arc<Process>,
    child: &Arc<Process>,
    wanted: &Wanted,
    hidden: Hidden,
) -> Option<Event> {
    if let Some(status) = child.zombie_status() {
        if !wanted.exited || hidden == Hidden::End || child.auto_reap.load(Ordering::Relaxed) {
            return None;
        }
        let event = event_of(child, Change::Exited(status));
        if !wanted.peek && !reap(me, child, true) {
            return None;
        }
        return Some(event);
    }
    let change = {
        let mut job = child.job.lock();
        if wanted.stopped && job.stop_unreported {
            job.stop_unreported = wanted.peek;
            job.stopped_by.map(Change::Stopped)
        } else if wanted.continued && job.continued_unreported {
            job.continued_unreported = wanted.peek;
            Some(Change::Continued)
        } else {
            None
        }
    };
    change.map(|change| event_of(child, change))
}

/// A change of a process, with its use of resources.
pub(super) fn event_of(child: &Arc<Process>, change: Change) -> Event {
    let mut usage = child.usage();
    usage.add(&child.children_usage.lock());
    let uid = child.leader().map_or(0, |leader| leader.cred().uid);
    Event {
        pid: child.pid,
        uid,
        change,
        usage,
    }
}

/// Removes a zombie for good; false if somebody else did so first. Its use of resources is counted for the parent
/// unless nobody waited for it.
pub(super) fn reap(parent: &Arc<Process>, child: &Arc<Process>, counted: bool) -> bool {
    {
        let _family = FAMILY.lock();
        if !child.parent().is_some_and(|own| Arc::ptr_eq(&own, parent))
            || !parent
                .children()
                .iter()
                .any(|other| Arc::ptr_eq(other, child))
        {
            return false;
        }
        parent.remove_child(child);
    }
    ptrace::reaped(child);
    if counted {
        let mut usage = child.usage();
        usage.add(&child.children_usage.lock());
        parent.children_usage.lock().add(&usage);
    }
    pid::remove_process(child);
    crate::fs::procfs::process_gone(child.pid);
    child.drop_leader();
    true
}
