//! The end of threads and processes (exit(2), exit_group(2)).

use core::sync::atomic::Ordering;
use keel_hal::task;

use super::process::{FAMILY, thread_usage};
use super::signal::{self, SigInfo};
use super::{Process, Thread, pid};
use crate::prelude::*;

const SIGHUP: i32 = 1;
const SIGCHLD: i32 = 17;
const SIGCONT: i32 = 18;

/// siginfo codes of SIGCHLD (waitid(2)).
mod cld {
    pub const EXITED: i32 = 1;
    pub const KILLED: i32 = 2;
    pub const DUMPED: i32 = 3;
}

/// Lets the current thread end with `status` (wait(2)'s form) when its system call returns.
pub fn do_exit(thread: &Arc<Thread>, status: i32) {
    thread.request_exit(status);
}

/// Lets every thread of the current process end with `status` (wait(2)'s form).
pub fn do_group_exit(thread: &Arc<Thread>, status: i32) {
    let process = &thread.process;
    if process.begin_group_exit(status) {
        for other in process.threads() {
            if !Arc::ptr_eq(&other, thread) {
                other.request_exit(status);
                other.kill();
            }
        }
    }
    thread.request_exit(process.group_status());
}

/// Gives back everything the thread has. Runs in it, as the last thing it does.
pub(super) fn finish(thread: &Arc<Thread>) {
    let process = thread.process.clone();
    super::ptrace::exiting(thread);
    super::acct::note_memory(thread);
    crate::sched::task_exits();
    crate::ipc::sysv::sem::leave_undo_list(thread);
    release_user_state(thread);
    let usage = thread_usage(thread);
    process.dead_usage.lock().add(&usage);
    let tty = process
        .is_session_leader()
        .then(|| process.tty.lock().clone())
        .flatten();
    pid::remove_thread(thread.tid());
    release_resources(thread);
    thread.seccomp.release();
    super::ptrace::thread_finished(thread, thread.exit_status.load(Ordering::Relaxed));
    let last = process.remove_thread(thread);
    parent_death_signals(thread);
    if last {
        process_finished(&process, thread, tty);
    }
    thread.set_task(None);
}

/// Robust futexes, the clear-tid word, memory: what needs the address space.
fn release_user_state(thread: &Arc<Thread>) {
    crate::ipc::futex::exit(thread);
    let clear = thread.clear_child_tid.swap(0, Ordering::Relaxed);
    if let Some(mm) = thread.mm_opt() {
        if clear != 0 && Arc::strong_count(&mm) > 2 {
            // Others still share the memory: tell pthread_join.
            let zeroed = keel_hal::user::write_obj(clear as usize, &0_u32).is_ok();
            if zeroed {
                crate::ipc::futex::wake_address(&mm, clear as usize, 1);
            }
        }
        mm.stats();
    }
    thread.complete_vfork();
}

fn release_resources(thread: &Arc<Thread>) {
    task::current().set_page_table(None);
    let mm = thread.replace_mm(None);
    if let Some(mm) = &mm
        && Arc::strong_count(mm) == 1
    {
        mm.clear();
    }
    drop(mm);
    let files = thread.replace_files(crate::fs::FdTable::empty());
    files.close_all_if_last();
    drop(files);
    let fs = thread.replace_fs(thread.fs());
    drop(fs);
}

/// Tells children whose creator this thread was (prctl(PR_SET_PDEATHSIG)).
fn parent_death_signals(thread: &Arc<Thread>) {
    for child in thread.process.children() {
        for other in child.threads() {
            let sig = other.pdeath_signal.load(Ordering::Relaxed);
            if sig != 0 && other.creator.load(Ordering::Relaxed) == thread.tid() {
                signal::send_thread(&other, SigInfo::kernel(sig));
            }
        }
    }
}

fn process_finished(
    process: &Arc<Process>,
    thread: &Arc<Thread>,
    tty: Option<Arc<crate::device::tty::Tty>>,
) {
    if process.pid == 1 {
        panic!(
            "Attempted to kill init! exitcode={:#010x}",
            thread.exit_status.load(Ordering::Relaxed)
        );
    }
    process.timers.delete_all();
    super::acct::process_ended(process, thread, end_status(process, thread));
    if let Some(tty) = tty {
        crate::device::tty::session_leader_exited(&tty, process);
    }
    *process.tty.lock() = None;
    *process.exe.lock() = None;
    let status = end_status(process, thread);
    orphan_children(process);
    let parent = {
        let _family = FAMILY.lock();
        let parent = process.parent();
        let ignored = process.exit_signal.load(Ordering::Relaxed) == SIGCHLD
            && parent
                .as_ref()
                .is_some_and(|parent| parent.signals.ignores_children());
        process.auto_reap.store(ignored, Ordering::Relaxed);
        process.become_zombie(status);
        parent
    };
    hang_up_orphaned_group(process, parent.as_ref());
    report_end(process);
    process
        .exit_wait
        .wake(usize::MAX, u64::from(crate::fs::PollEvents::IN.bits()));
}

/// What a process ends with whose last thread is `thread`.
fn end_status(process: &Process, thread: &Thread) -> i32 {
    if process.group_exiting() {
        process.group_status()
    } else {
        thread.exit_status.load(Ordering::Relaxed)
    }
}

/// Tells who is to hear first of a process's end: a tracer, or its parent.
pub(super) fn report_end(process: &Arc<Process>) {
    if super::ptrace::end_hidden(process) {
        return;
    }
    if let (Some(parent), Some(status)) = (process.parent(), process.zombie_status()) {
        notify_parent(process, &parent, status);
    }
}

/// Sends the exit signal and wakes wait(2). A parent that ignores SIGCHLD never sees a zombie.
pub(super) fn notify_parent(process: &Arc<Process>, parent: &Arc<Process>, status: i32) {
    let signo = process.exit_signal.load(Ordering::Relaxed);
    let reap = process.auto_reap.load(Ordering::Relaxed)
        || signo == SIGCHLD && parent.signals.ignores_children();
    if signo != 0 && !(signo == SIGCHLD && parent.signals.action_is_ignore(SIGCHLD)) {
        signal::send_process(parent, exit_info(process, signo, status));
    }
    if reap {
        super::wait::reap(parent, process, false);
    }
    parent.child_wait.wake_all();
}

/// The siginfo of a child's end.
pub fn exit_info(process: &Arc<Process>, signo: i32, status: i32) -> SigInfo {
    let (code, value) = if status & 0x7f == 0 {
        (cld::EXITED, (status >> 8) & 0xff)
    } else if status & 0x80 != 0 {
        (cld::DUMPED, status & 0x7f)
    } else {
        (cld::KILLED, status & 0x7f)
    };
    let uid = process.leader().map_or(0, |leader| leader.cred().uid);
    let usage = process.usage();
    SigInfo::child(signo, code, process.pid, uid, value, &usage)
}

/// Gives the children to the nearest subreaper, else to init.
fn orphan_children(process: &Arc<Process>) {
    let orphans = {
        let _family = FAMILY.lock();
        let orphans = process.take_children();
        if orphans.is_empty() {
            return;
        }
        let Some(heir) = reaper_for(process) else {
            return;
        };
        for child in &orphans {
            child.set_parent(&heir);
            child.exit_signal.store(SIGCHLD, Ordering::Relaxed);
        }
        orphans
    };
    for child in &orphans {
        if child.zombie_status().is_some() {
            report_end(child);
        }
        // Only a child in another group of the same session was tied to it by this process.
        if child.pgid() != process.pgid() && child.sid() == process.sid() {
            hang_up_if_orphaned(child.pgid(), child.sid(), Some(process));
        }
    }
}

fn reaper_for(process: &Arc<Process>) -> Option<Arc<Process>> {
    let mut ancestor = process.parent();
    while let Some(candidate) = ancestor {
        if candidate.child_subreaper.load(Ordering::Relaxed)
            && candidate.thread_count() > 0
            && candidate.zombie_status().is_none()
        {
            return Some(candidate);
        }
        ancestor = candidate.parent();
    }
    pid::find(1)
}

/// The exit may orphan the process's own group: its parent was what tied it to the session.
fn hang_up_orphaned_group(process: &Arc<Process>, parent: Option<&Arc<Process>>) {
    let ties = parent
        .is_some_and(|parent| parent.sid() == process.sid() && parent.pgid() != process.pgid());
    if ties {
        hang_up_if_orphaned(process.pgid(), process.sid(), Some(process));
    }
}

/// A group that just became orphaned and has stopped members gets SIGHUP and SIGCONT (setpgid(2)).
pub fn hang_up_if_orphaned(pgid: u32, sid: u32, leaving: Option<&Arc<Process>>) {
    let members = pid::pgrp_members(pgid);
    let stopped = members.iter().any(|m| m.job.lock().stopped_by.is_some());
    if stopped && group_is_orphaned(&members, sid, leaving) {
        signal::send_pgrp(pgid, SigInfo::kernel(SIGHUP));
        signal::send_pgrp(pgid, SigInfo::kernel(SIGCONT));
    }
}

/// Whether no member (but `leaving`) has a parent in another group of the same session.
pub fn group_is_orphaned(
    members: &[Arc<Process>],
    sid: u32,
    leaving: Option<&Arc<Process>>,
) -> bool {
    !members.iter().any(|member| {
        let counts = member.zombie_status().is_none()
            && !leaving.is_some_and(|leaving| Arc::ptr_eq(leaving, member));
        counts
            && member.parent().is_some_and(|parent| {
                parent.pid != 1 && parent.pgid() != member.pgid() && parent.sid() == sid
            })
    })
}
