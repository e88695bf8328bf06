//! How a tracer hears of its tracees (wait(2), ptrace(2) "Death under ptrace", "Stopped states").

use core::sync::atomic::Ordering;

use super::link::{end_of, is_first, release_ghost, unlink};
use super::{is_traced, tracer_process};
use crate::prelude::*;
use crate::process::wait::{Change, Event, Target, Wanted, event_of, reap};
use crate::process::{Process, Thread, exit};

/// How a parent sees a child that somebody traces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// As any other: nobody traces it.
    No,
    /// Its end is not to be seen, because another process traces it.
    End,
    /// The parent itself traces it and finds it among its tracees.
    Tracee,
}

/// Whether a child's changes go to a tracer rather than to its parent.
pub fn hidden_from_parent(child: &Arc<Process>, parent: &Arc<Process>) -> Hidden {
    let ghosts = child.ghosts.load(Ordering::Acquire) != 0;
    let Some(leader) = child.leader().filter(|leader| is_traced(leader)) else {
        return if ghosts { Hidden::End } else { Hidden::No };
    };
    match tracer_process(&leader) {
        Some(tracer) if Arc::ptr_eq(&tracer, parent) => Hidden::Tracee,
        Some(_) => Hidden::End,
        None => Hidden::No,
    }
}

/// Changes of traced threads: one that happened, and whether there are any tracees that match.
pub fn wait_tracees(thread: &Arc<Thread>, wanted: &Wanted) -> (Option<Event>, bool) {
    let me = &thread.process;
    if me.tracees.load(Ordering::Relaxed) == 0 {
        return (None, false);
    }
    let tracers = if wanted.own_children_only {
        vec![thread.clone()]
    } else {
        me.threads()
    };
    let mut any = false;
    for tracer in tracers {
        let tracees = tracer.ptrace.tracees.lock().list.clone();
        for tracee in tracees.iter().filter(|tracee| matches(tracee, wanted)) {
            any = true;
            if let Some(event) = change_of(me, tracee, wanted) {
                return (Some(event), true);
            }
        }
    }
    (None, any)
}

fn matches(tracee: &Arc<Thread>, wanted: &Wanted) -> bool {
    match &wanted.target {
        Target::Any => true,
        Target::Pid(pid) => tracee.tid() == *pid,
        Target::Group(pgid) => tracee.process.pgid() == *pgid,
        Target::Process(process) => Arc::ptr_eq(process, &tracee.process) && is_first(tracee),
    }
}

fn change_of(me: &Arc<Process>, tracee: &Arc<Thread>, wanted: &Wanted) -> Option<Event> {
    let process = &tracee.process;
    let event = |change| Event {
        pid: tracee.tid(),
        ..event_of(process, change)
    };
    let ghost = tracee.ptrace.tracee.lock().ghost;
    if let Some(status) = ghost {
        let told = wanted.exited && (wanted.peek || release_ghost(tracee));
        return told.then(|| event(Change::Exited(group_status(process, status))));
    }
    let first = is_first(tracee);
    if process.zombie_status().is_some() {
        let status = end_of(process).filter(|_| first && wanted.exited)?;
        let event = event(Change::Exited(status));
        return (wanted.peek || take_end(me, tracee, status)).then_some(event);
    }
    let stop = {
        let mut state = tracee.ptrace.tracee.lock();
        let code = state.code;
        let new = state.stopped && !state.listening && code != 0;
        if new && !wanted.peek {
            state.code = 0;
        }
        new.then_some(Change::Trapped(code))
    };
    if stop.is_some() {
        return stop.map(event);
    }
    let continued = first && wanted.continued && {
        let mut job = process.job.lock();
        let new = job.continued_unreported;
        job.continued_unreported &= wanted.peek;
        new
    };
    continued.then(|| event(Change::Continued))
}

/// The end of a whole process counts for each of its threads.
fn group_status(process: &Process, status: i32) -> i32 {
    if process.group_exiting() {
        process.group_status()
    } else {
        status
    }
}

/// The tracer waits for a process that has ended: its own child is gone with that, another's is its parent's now.
fn take_end(me: &Arc<Process>, leader: &Arc<Thread>, status: i32) -> bool {
    let process = &leader.process;
    match process.parent() {
        Some(parent) if !Arc::ptr_eq(&parent, me) => {
            if !unlink(leader) {
                return false;
            }
            exit::notify_parent(process, &parent, status);
            true
        }
        _ => reap(me, process, true),
    }
}
