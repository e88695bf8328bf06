//! RLIMIT_CPU and RLIMIT_RTTIME: signals to processes that use more CPU time than they may (getrlimit(2)).
//!
//! The scheduler's tick counts roughly, and hands whoever may be over its limit to a kernel thread, which looks closely:
//! signals and exact times take locks that interrupts must not.

use core::sync::atomic::{AtomicU64, Ordering};

use super::rlimit::{INFINITY, Limit, Resource};
use super::signal::{self, SigInfo, sig};
use super::{Process, Thread};
use crate::prelude::*;
use crate::time::NSEC_PER_SEC;
use crate::time::vdso::TICK_NS;

/// What the tick counts for a process.
pub struct CpuCount {
    /// CPU time in whole ticks.
    ticks: AtomicU64,
    /// At how many to look closely; `u64::MAX` without a limit.
    look_at: AtomicU64,
    /// Real-time policy time without a sleep at which to look; `u64::MAX` without a limit.
    look_at_realtime: AtomicU64,
}

impl Default for CpuCount {
    fn default() -> Self {
        Self {
            ticks: AtomicU64::new(0),
            look_at: AtomicU64::new(u64::MAX),
            look_at_realtime: AtomicU64::new(u64::MAX),
        }
    }
}

/// Why a thread is looked at.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Reason {
    Limits,
    Overrun,
}

static DUE: IrqLock<VecDeque<(Arc<Thread>, Reason)>> = IrqLock::new(VecDeque::new());
static WORK: WaitQueue = WaitQueue::new();

/// A tick found `thread` running; `rt_ns` is its time under a real-time policy since it last slept. In an interrupt.
pub fn tick(thread: &Arc<Thread>, rt_ns: u64) {
    let count = &thread.process.cpu_count;
    let ticks = count.ticks.fetch_add(TICK_NS, Ordering::Relaxed) + TICK_NS;
    let over = ticks >= count.look_at.load(Ordering::Relaxed);
    let over_realtime = rt_ns > count.look_at_realtime.load(Ordering::Relaxed);
    if over || over_realtime {
        count.look_at.store(u64::MAX, Ordering::Relaxed);
        count.look_at_realtime.store(u64::MAX, Ordering::Relaxed);
        hand_over(thread, Reason::Limits);
    }
}

/// A deadline task that wants to hear of it has used up its runtime. In an interrupt.
pub fn overrun(thread: &Arc<Thread>) {
    hand_over(thread, Reason::Overrun);
}

fn hand_over(thread: &Arc<Thread>, reason: Reason) {
    DUE.lock().push_back((thread.clone(), reason));
    WORK.wake_all();
}

/// The limits of `process` were set.
pub fn limits_changed(process: &Process) {
    let count = &process.cpu_count;
    let lowest = |resource| lower(process, resource);
    // The next tick finds out how much is left.
    let look_at = if lowest(Resource::Cpu) == INFINITY {
        u64::MAX
    } else {
        0
    };
    count.look_at.store(look_at, Ordering::Relaxed);
    let realtime = lowest(Resource::Rttime).saturating_mul(1000);
    count.look_at_realtime.store(realtime, Ordering::Relaxed);
}

fn limit(process: &Process, resource: Resource) -> Limit {
    let none = Limit {
        soft: INFINITY,
        hard: INFINITY,
    };
    process.rlimits.get(resource as usize).unwrap_or(none)
}

fn lower(process: &Process, resource: Resource) -> u64 {
    let limit = limit(process, resource);
    limit.soft.min(limit.hard)
}

/// Looks at threads that the tick found. The body of a kernel thread.
pub fn run_worker() {
    loop {
        let next = WORK.wait(SleepMode::Uninterruptible, None, || DUE.lock().pop_front());
        match next {
            Ok((thread, Reason::Limits)) => look(&thread),
            Ok((thread, Reason::Overrun)) => {
                signal::send_process(&thread.process, SigInfo::kernel(sig::XCPU));
            }
            Err(_) => {}
        }
    }
}

fn look(thread: &Arc<Thread>) {
    let process = &thread.process;
    let usage = process.usage();
    let used = usage.user_ns + usage.system_ns;
    enforce(process, Resource::Cpu, used, NSEC_PER_SEC, 1);
    if let Some(task) = thread.task() {
        let ran = crate::sched::entity(&task).rt_ns();
        enforce(process, Resource::Rttime, ran, 1000, 1_000_000);
    }
    let count = &process.cpu_count;
    let next = lower(process, Resource::Cpu).max(1);
    if next != INFINITY {
        let left = next.saturating_mul(NSEC_PER_SEC).saturating_sub(used);
        let ticks = count.ticks.load(Ordering::Relaxed);
        count
            .look_at
            .store(ticks.saturating_add(left.max(TICK_NS)), Ordering::Relaxed);
    }
    let realtime = lower(process, Resource::Rttime).saturating_mul(1000);
    count.look_at_realtime.store(realtime, Ordering::Relaxed);
}

/// SIGKILL at the hard limit, SIGXCPU at the soft one, which moves on by `step` units.
fn enforce(process: &Arc<Process>, resource: Resource, used_ns: u64, unit_ns: u64, step: u64) {
    let limit = limit(process, resource);
    let reached = |bound: u64| bound != INFINITY && used_ns >= bound.max(1).saturating_mul(unit_ns);
    if reached(limit.hard) {
        signal::kill_process(process);
    } else if reached(limit.soft) {
        signal::send_process(process, SigInfo::kernel(sig::XCPU));
        let moved = Limit {
            soft: limit.soft.max(1).saturating_add(step).min(limit.hard),
            hard: limit.hard,
        };
        // Not above the hard limit, which stays.
        let _ = process.rlimits.set(resource as usize, moved, true);
    }
}
