//! The scheduler: which task runs on which CPU, and for how long.
//!
//! Each CPU has a [`RunQueue`] under an interrupt-safe lock: real-time tasks by priority (FIFO and round
//! robin, sched(7)), then fair tasks by virtual runtime weighted with nice. A wake-up prefers the CPU that the
//! task last ran on, then an idle one; an idle CPU steals. There is no periodic tick: the timer is armed for
//! the end of a slice only while somebody else waits for the CPU.
//!
//! Lock order: run-queue locks are innermost; two are never held at once.

mod entity;
pub mod load;
mod queue;

use core::sync::atomic::{AtomicU64, Ordering};
use keel_hal::cpu::{self, PerCpu};
use keel_hal::task::{self, Task};

pub use entity::{Entity, Policy};
use queue::RunQueue;

use crate::prelude::*;
use crate::time::vdso::TICK_NS;

/// How long a fair task runs before others get their turn (Linux's base slice on two CPUs).
const SLICE_NS: u64 = 3_000_000;
/// The slice of a SCHED_RR task (sched_rr_get_interval(2)).
pub const RR_SLICE_NS: u64 = 100_000_000;

struct CpuSched {
    queue: IrqLock<RunQueue>,
    /// When the running task's slice ends; `u64::MAX` while nobody waits.
    slice_end: AtomicU64,
    /// When the next tick is due; `u64::MAX` on an idle CPU.
    tick_at: AtomicU64,
    /// Context switches (`ctxt` in /proc/stat).
    switches: AtomicU64,
}

static CPUS: OnceLock<PerCpu<CpuSched>> = OnceLock::new();

fn cpus() -> &'static PerCpu<CpuSched> {
    CPUS.call_once(|| {
        PerCpu::new(|_| CpuSched {
            queue: IrqLock::new(RunQueue::default()),
            slice_end: AtomicU64::new(u64::MAX),
            tick_at: AtomicU64::new(u64::MAX),
            switches: AtomicU64::new(0),
        })
    })
}

/// Sets up the run queues; before the first task is made.
pub fn init() {
    cpus();
}

/// The scheduler's part of a task.
pub fn entity(task: &Task) -> &Entity {
    if task.sched().is_none() {
        task.set_sched(Box::new(Entity::default()));
    }
    task.sched()
        .and_then(|data| data.downcast_ref::<Entity>())
        .unwrap_or_else(|| panic!("task without scheduling data"))
}

/// When this CPU's scheduler wants a timer interrupt next; `u64::MAX` for never.
pub fn next_event() -> u64 {
    let cpu = cpus().get();
    let slice_end = cpu.slice_end.load(Ordering::Relaxed);
    slice_end.min(cpu.tick_at.load(Ordering::Relaxed))
}

/// The tick after `now`: all are multiples of the period, so that switching back and forth within one period asks for
/// the same time again and again, and leaves the timer alone.
fn tick_after(now: u64) -> u64 {
    (now / TICK_NS + 1) * TICK_NS
}

/// Makes `task` runnable on the best CPU. Interrupts are off; called by `Task::wake`.
pub fn enqueue(task: Arc<Task>) {
    let target = choose_cpu(&task);
    task.set_cpu(target);
    let cpu = cpus().of(target);
    let preempts = {
        let mut queue = cpu.queue.lock();
        queue.push(task, true);
        queue.should_preempt()
    };
    if preempts {
        cpu::set_need_resched(target);
        if target != cpu::id() {
            cpu::kick(target);
        }
    } else if cpu.slice_end.load(Ordering::Relaxed) == u64::MAX {
        // The running task had the CPU for itself: its slice starts to count now.
        if target == cpu::id() {
            start_slice(cpu);
            crate::time::timer::program();
        } else {
            cpu::kick(target);
        }
    }
}

fn start_slice(cpu: &CpuSched) {
    cpu.slice_end
        .store(keel_hal::time::now() + SLICE_NS, Ordering::Relaxed);
}

/// The CPU for a task that becomes runnable: its last one if idle, else an idle one, else the least loaded.
fn choose_cpu(task: &Task) -> usize {
    let allowed = entity(task).affinity();
    let last = task.cpu();
    let allows = |cpu: usize| allowed & (1 << cpu) != 0;
    let load = |cpu: usize| cpus().of(cpu).queue.lock().load();
    if allows(last) && load(last) == 0 {
        return last;
    }
    (0..cpu::count())
        .filter(|cpu| allows(*cpu))
        .min_by_key(|cpu| (load(*cpu), *cpu != last))
        .unwrap_or(last)
}

/// The next task for this CPU. Interrupts are off; called by `task::schedule`.
pub fn pick_next(prev: &Arc<Task>, prev_runnable: bool) -> Arc<Task> {
    let me = cpu::id();
    let cpu = cpus().of(me);
    let now = keel_hal::time::now();
    let idle = task::idle(me);
    let prev_is_idle = Arc::ptr_eq(prev, &idle);
    let mut displaced = None;
    let next = {
        let mut queue = cpu.queue.lock();
        queue.account(prev, now);
        if prev_runnable && !prev_is_idle {
            if entity(prev).affinity() & (1 << me) != 0 {
                queue.push(prev.clone(), false);
            } else {
                displaced = Some(prev.clone());
            }
        }
        let next = queue.pop();
        // Under the same lock as the look into the queue: who queues a task from here on sees what runs, an idle
        // CPU above all, and tells this CPU.
        queue.set_running(next.as_ref().unwrap_or(&idle), now, next.is_none());
        let end = match &next {
            Some(next) if queue.waiting() > 0 => now + slice_of(next),
            _ => u64::MAX,
        };
        cpu.slice_end.store(end, Ordering::Relaxed);
        next
    };
    if let Some(task) = displaced {
        migrate(task);
    }
    let next = next.or_else(|| {
        let stolen = steal(me)?;
        cpu.queue.lock().set_running(&stolen, now, false);
        Some(stolen)
    });
    let next = next.unwrap_or(idle);
    let tick_at = if next.is_idle() {
        u64::MAX
    } else {
        tick_after(now)
    };
    cpu.tick_at.store(tick_at, Ordering::Relaxed);
    crate::time::timer::program();
    if !Arc::ptr_eq(&next, prev) {
        cpu.switches.fetch_add(1, Ordering::Relaxed);
        entity(prev).count_switch(!prev_runnable);
    }
    next
}

fn slice_of(task: &Task) -> u64 {
    match entity(task).policy() {
        Policy::Fifo => u64::MAX >> 1,
        Policy::RoundRobin => RR_SLICE_NS,
        _ => SLICE_NS,
    }
}

/// A task that may no longer run here is queued elsewhere once this CPU has switched away from it.
fn migrate(task: Arc<Task>) {
    let allowed = entity(&task).affinity();
    let target = (0..cpu::count())
        .find(|cpu| allowed & (1 << cpu) != 0)
        .unwrap_or(0);
    task.set_cpu(target);
    cpus().of(target).queue.lock().push(task, true);
    cpu::set_need_resched(target);
    cpu::kick(target);
}

/// Takes a waiting task from the busiest other CPU.
fn steal(me: usize) -> Option<Arc<Task>> {
    let busiest = (0..cpu::count())
        .filter(|cpu| *cpu != me)
        .max_by_key(|cpu| cpus().of(*cpu).queue.lock().waiting())?;
    let task = cpus().of(busiest).queue.lock().steal(me)?;
    task.set_cpu(me);
    Some(task)
}

/// This CPU's timer fired: ends the slice if it is over.
pub fn timer_interrupt() {
    let cpu = cpus().get();
    let now = keel_hal::time::now();
    if cpu.tick_at.load(Ordering::Relaxed) <= now {
        cpu.tick_at.store(tick_after(now), Ordering::Relaxed);
    }
    if cpu.slice_end.load(Ordering::Relaxed) <= now {
        cpu.slice_end.store(u64::MAX, Ordering::Relaxed);
        cpu::set_need_resched(cpu::id());
    }
}

/// A reschedule request arrived from another CPU: a task may have been queued behind the running one.
pub fn ipi_reschedule() {
    let cpu = cpus().get();
    let contended = cpu.queue.lock().waiting() > 0;
    if contended && cpu.slice_end.load(Ordering::Relaxed) == u64::MAX {
        start_slice(cpu);
        crate::time::timer::program();
    }
}

/// Restricts a task to the CPUs of `mask` (not empty); it moves at the next opportunity.
pub fn set_affinity(task: &Arc<Task>, mask: u64) {
    entity(task).set_affinity(mask);
    if mask & (1 << task.cpu()) == 0 {
        cpu::set_need_resched(task.cpu());
        cpu::kick(task.cpu());
    }
}

/// All context switches since boot.
pub fn context_switches() -> u64 {
    cpus()
        .iter()
        .map(|cpu| cpu.switches.load(Ordering::Relaxed))
        .sum()
}

/// Runnable tasks right now, running ones included (`procs_running`).
pub fn runnable() -> usize {
    cpus().iter().map(|cpu| cpu.queue.lock().load()).sum()
}

/// The kernel's own threads.
static KTHREADS: SpinLock<Vec<Weak<Task>>> = SpinLock::new(Vec::new());

/// Starts a kernel thread.
pub fn spawn_kthread(name: &str, body: impl FnOnce() + Send + 'static) -> Option<Arc<Task>> {
    let task = Task::new(name, Arc::new(()), Box::new(body))?;
    {
        let mut all = KTHREADS.lock();
        all.retain(|old| old.strong_count() > 0);
        all.push(Arc::downgrade(&task));
    }
    task.wake();
    Some(task)
}

/// The kernel threads that live.
pub fn kthreads() -> Vec<Arc<Task>> {
    KTHREADS.lock().iter().filter_map(Weak::upgrade).collect()
}
