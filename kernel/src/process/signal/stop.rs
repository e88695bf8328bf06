//! Job control: stopping and continuing whole processes.

use super::queue::SigInfo;
use super::send::notify_parent_of_job;
use super::sig;
use crate::prelude::*;
use crate::process::process::JobState;
use crate::process::{Process, Thread, ptrace};

const CLD_STOPPED: i32 = 5;
const CLD_CONTINUED: i32 = 6;

fn child_info(process: &Arc<Process>, code: i32, status: i32) -> SigInfo {
    let uid = process.leader().map_or(0, |leader| leader.cred().uid);
    SigInfo::child(sig::CHLD, code, process.pid, uid, status, &process.usage())
}

/// Stops the running thread's process: all its threads stop before they return to user mode. Comes back when it
/// was continued or killed.
pub fn stop_here(thread: &Arc<Thread>, signo: i32) {
    let process = &thread.process;
    let first = {
        let mut job = process.job.lock();
        let first = job.stopped_by.is_none();
        if first {
            *job = JobState {
                stopped_by: Some(signo),
                stop_unreported: true,
                continued_unreported: false,
            };
        }
        first
    };
    for other in process.threads() {
        ptrace::group_stop(&other, signo);
        if !Arc::ptr_eq(&other, thread) && (first || ptrace::trap_pending(&other)) {
            other.interrupt();
        }
    }
    if first {
        notify_parent_of_job(process, |process| child_info(process, CLD_STOPPED, signo));
    }
    wait_while_stopped(thread);
}

/// Whether the process is stopped and this thread still has to stop. A traced thread stops for its tracer instead.
pub fn group_stop_pending(thread: &Thread) -> bool {
    thread.process.job.lock().stopped_by.is_some() && !ptrace::is_traced(thread)
}

/// Sleeps until the process is continued, or the thread killed.
pub(super) fn wait_while_stopped(thread: &Arc<Thread>) {
    let process = &thread.process;
    while group_stop_pending(thread) && !thread.exiting() {
        keel_hal::task::prepare_sleep(SleepMode::Killable);
        if group_stop_pending(thread) && !thread.exiting() {
            keel_hal::task::schedule();
        } else {
            keel_hal::task::cancel_sleep();
        }
        if process.group_exiting() {
            break;
        }
    }
}

/// SIGCONT: a stopped process goes on, whatever becomes of the signal.
pub(super) fn continue_process(process: &Arc<Process>) {
    let was_stopped = {
        let mut job = process.job.lock();
        let was = job.stopped_by.take().is_some();
        if was {
            job.stop_unreported = false;
            job.continued_unreported = true;
        }
        was
    };
    if was_stopped {
        wake_threads(process);
        for thread in process.threads() {
            ptrace::continued(&thread);
        }
        notify_parent_of_job(process, |process| {
            child_info(process, CLD_CONTINUED, sig::CONT)
        });
    }
}

/// SIGKILL reaches stopped processes too.
pub(super) fn wake_stopped(process: &Arc<Process>) {
    process.job.lock().stopped_by = None;
    wake_threads(process);
}

fn wake_threads(process: &Arc<Process>) {
    for thread in process.threads() {
        thread.wake();
    }
}
