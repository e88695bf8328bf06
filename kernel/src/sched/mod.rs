//! The scheduler: which task runs on which CPU, and for how long.
//!
//! Each CPU has a [`RunQueue`] under an interrupt-safe lock: deadline tasks, earliest deadline first ([`deadline`]);
//! real-time tasks by priority (FIFO and round robin, sched(7)), within their share of each period ([`bandwidth`]);
//! then fair tasks by virtual runtime weighted with nice. A wake-up prefers the CPU that the task last ran on, then an
//! idle one, and for tasks above the fair class the one that runs the least urgent task; an idle CPU steals. A CPU that
//! runs something has a tick, for samples of where time goes and for limits on it; an idle one has none. The end of a
//! slice is exact, and armed only while somebody waits.
//!
//! Lock order: run-queue locks, then an entity's; two run queues are never held at once.

pub mod bandwidth;
pub mod deadline;
mod entity;
pub mod load;
mod queue;

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use keel_hal::cpu::{self, PerCpu};
use keel_hal::task::{self, Task};

pub use deadline::Reservation;
pub use entity::{Class, Entity, Policy};
use queue::{Arrival, RunQueue};

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
    /// When a throttled deadline task gets its next budget.
    replenish_at: AtomicU64,
    /// Waiting tasks above the fair class, for other CPUs to see without the lock.
    above_fair: AtomicUsize,
    /// Context switches (`ctxt` in /proc/stat).
    switches: AtomicU64,
}

impl CpuSched {
    /// Changes the queue, and notes what others look up without its lock.
    fn with<R>(&self, change: impl FnOnce(&mut RunQueue) -> R) -> R {
        let mut queue = self.queue.lock();
        let result = change(&mut queue);
        self.replenish_at
            .store(queue.next_replenishment(), Ordering::Relaxed);
        self.above_fair
            .store(queue.waiting_above_fair(), Ordering::Relaxed);
        result
    }
}

static CPUS: OnceLock<PerCpu<CpuSched>> = OnceLock::new();

fn cpus() -> &'static PerCpu<CpuSched> {
    CPUS.call_once(|| {
        PerCpu::new(|_| CpuSched {
            queue: IrqLock::new(RunQueue::default()),
            slice_end: AtomicU64::new(u64::MAX),
            tick_at: AtomicU64::new(u64::MAX),
            replenish_at: AtomicU64::new(u64::MAX),
            above_fair: AtomicUsize::new(0),
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
    let next = |at: &AtomicU64| at.load(Ordering::Relaxed);
    next(&cpu.slice_end)
        .min(next(&cpu.tick_at))
        .min(next(&cpu.replenish_at))
}

/// The tick after `now`: all are multiples of the period, so that switching back and forth within one period asks for
/// the same time again and again, and leaves the timer alone.
fn tick_after(now: u64) -> u64 {
    (now / TICK_NS + 1) * TICK_NS
}

/// Makes `task` runnable on the best CPU. Interrupts are off; called by `Task::wake`.
pub fn enqueue(task: Arc<Task>) {
    let target = choose_cpu(&task);
    put(task, target, Arrival::Woken);
}

/// Queues a task on a CPU and tells that CPU.
fn put(task: Arc<Task>, target: usize, arrival: Arrival) {
    task.set_cpu(target);
    let cpu = cpus().of(target);
    let now = keel_hal::time::now();
    let preempts = cpu.with(|queue| {
        queue.push(task, now, arrival);
        queue.should_preempt(now)
    });
    let here = target == cpu::id();
    if preempts {
        cpu::set_need_resched(target);
        if !here {
            cpu::kick(target);
        }
        return;
    }
    let alone = cpu.slice_end.load(Ordering::Relaxed) == u64::MAX;
    let throttled = cpu.replenish_at.load(Ordering::Relaxed) != u64::MAX;
    if !alone && !throttled {
        return;
    }
    // The running task had the CPU for itself: its slice starts to count now.
    if here {
        ipi_reschedule();
    } else {
        cpu::kick(target);
    }
}

/// The CPU for a task that becomes runnable: its last one if idle, else an idle one; then, for a task above the fair
/// class, one that runs something less urgent, and for others the least loaded.
fn choose_cpu(task: &Task) -> usize {
    let entity = entity(task);
    let allowed = entity.affinity();
    let last = task.cpu();
    let allows = |cpu: usize| allowed & (1 << cpu) != 0;
    let load = |cpu: usize| cpus().of(cpu).queue.lock().load();
    if allows(last) && load(last) == 0 {
        return last;
    }
    let class = entity.class();
    let candidates = (0..cpu::count()).filter(|cpu| allows(*cpu));
    if class == Class::Fair {
        return candidates
            .min_by_key(|cpu| (load(*cpu), *cpu != last))
            .unwrap_or(last);
    }
    let running = |cpu: usize| {
        let queue = cpus().of(cpu).queue.lock();
        queue.running().map(|task| self::entity(task).class())
    };
    let mut best: Option<(usize, Option<Class>)> = None;
    for cpu in candidates {
        let runs = running(cpu);
        let better = match (&best, runs) {
            (None, _) => true,
            (Some((_, None)), _) => false,
            (Some((_, Some(_))), None) => true,
            (Some((_, Some(best))), Some(runs)) => {
                best.beats(runs) || (cpu == last && !runs.beats(*best))
            }
        };
        if better {
            best = Some((cpu, runs));
        }
    }
    best.map_or(last, |(cpu, _)| cpu)
}

/// The next task for this CPU. Interrupts are off; called by `task::schedule`.
pub fn pick_next(prev: &Arc<Task>, prev_runnable: bool) -> Arc<Task> {
    let me = cpu::id();
    let cpu = cpus().of(me);
    let now = keel_hal::time::now();
    let idle = task::idle(me);
    let prev_is_idle = Arc::ptr_eq(prev, &idle);
    let mut displaced = None;
    let (next, behind) = cpu.with(|queue| {
        if !prev_is_idle {
            queue.account(prev, now);
            queue.left(prev);
        }
        if !prev_runnable {
            entity(prev).rt_ns.store(0, Ordering::Relaxed);
        } else if !prev_is_idle && entity(prev).affinity() & (1 << me) == 0 {
            displaced = Some(prev.clone());
        } else if !prev_is_idle {
            let arrival = queue.arrival_of(prev);
            // A fair task that yielded comes after whoever else there is.
            if arrival == Arrival::Behind && entity(prev).class() == Class::Fair {
                let other = queue.pop(now);
                queue.push(prev.clone(), now, arrival);
                if let Some(other) = other {
                    return take(cpu, queue, Some(other), &idle, now);
                }
            } else {
                queue.push(prev.clone(), now, arrival);
            }
        }
        let next = queue.pop(now);
        // Under the same lock as the look into the queue: who queues a task from here on sees what runs, an idle
        // CPU above all, and tells this CPU.
        take(cpu, queue, next, &idle, now)
    });
    if let Some(task) = displaced {
        migrate(task);
    }
    let next = balance(me, next, behind, now).unwrap_or(idle);
    let tick_at = if next.is_idle() {
        u64::MAX
    } else {
        tick_after(now)
    };
    cpu.tick_at.store(tick_at, Ordering::Relaxed);
    if prev_is_idle {
        crate::time::vdso::tick(now);
    }
    crate::time::timer::program();
    if !Arc::ptr_eq(&next, prev) {
        cpu.switches.fetch_add(1, Ordering::Relaxed);
        entity(prev).count_switch(!prev_runnable);
    }
    next
}

/// Notes what runs now, and until when. Gives it, and whether it is one that a waiting task above the fair class on
/// another CPU goes before.
fn take(
    cpu: &CpuSched,
    queue: &mut RunQueue,
    next: Option<Arc<Task>>,
    idle: &Arc<Task>,
    now: u64,
) -> (Option<Arc<Task>>, bool) {
    queue.set_running(next.as_ref().unwrap_or(idle), now, next.is_none());
    let end = next
        .as_ref()
        .map_or(u64::MAX, |next| queue.slice_of(next, now));
    cpu.slice_end.store(end, Ordering::Relaxed);
    let fair = next
        .as_ref()
        .is_none_or(|next| entity(next).class() == Class::Fair && queue.waiting_above_fair() == 0);
    (next, fair)
}

/// Takes work from other CPUs: any, if there is nothing to do here; a waiting real-time or deadline task in place of a
/// fair one.
fn balance(me: usize, next: Option<Arc<Task>>, fair: bool, now: u64) -> Option<Arc<Task>> {
    let cpu = cpus().of(me);
    let stolen = match &next {
        None => steal(me, false),
        Some(_) if fair && urgent_elsewhere(me) => steal(me, true),
        Some(_) => None,
    };
    let Some(stolen) = stolen else { return next };
    let end = cpu.with(|queue| {
        if let Some(next) = next {
            queue.push(next, now, Arrival::Preempted);
        }
        queue.joined(&stolen);
        queue.set_running(&stolen, now, false);
        queue.slice_of(&stolen, now)
    });
    cpu.slice_end.store(end, Ordering::Relaxed);
    Some(stolen)
}

fn urgent_elsewhere(me: usize) -> bool {
    (0..cpu::count()).any(|cpu| cpu != me && cpus().of(cpu).above_fair.load(Ordering::Relaxed) > 0)
}

/// A task that may no longer run here is queued elsewhere once this CPU has switched away from it.
fn migrate(task: Arc<Task>) {
    let allowed = entity(&task).affinity();
    let target = (0..cpu::count())
        .find(|cpu| allowed & (1 << cpu) != 0)
        .unwrap_or(0);
    put(task, target, Arrival::Woken);
}

/// Takes a waiting task from the busiest other CPU.
fn steal(me: usize, above_fair: bool) -> Option<Arc<Task>> {
    let waiting = |cpu: usize| {
        let cpu = cpus().of(cpu);
        if above_fair {
            cpu.above_fair.load(Ordering::Relaxed)
        } else {
            cpu.queue.lock().waiting()
        }
    };
    let busiest = (0..cpu::count())
        .filter(|cpu| *cpu != me)
        .max_by_key(|cpu| waiting(*cpu))?;
    let task = cpus()
        .of(busiest)
        .with(|queue| queue.steal(me, above_fair))?;
    task.set_cpu(me);
    Some(task)
}

/// This CPU's timer fired: ends the slice if it is over, does the tick's work if one is due.
pub fn timer_interrupt() {
    let cpu = cpus().get();
    let now = keel_hal::time::now();
    let mut resched = false;
    if cpu.tick_at.load(Ordering::Relaxed) <= now {
        cpu.tick_at.store(tick_after(now), Ordering::Relaxed);
        crate::time::vdso::tick(now);
        tick();
        resched |= cpu.with(|queue| queue.should_preempt(now));
    }
    if cpu.replenish_at.load(Ordering::Relaxed) <= now {
        resched |= cpu.with(|queue| queue.should_preempt(now));
    }
    if cpu.slice_end.load(Ordering::Relaxed) <= now {
        cpu.slice_end.store(u64::MAX, Ordering::Relaxed);
        resched = true;
        report_overrun();
    }
    if resched {
        cpu::set_need_resched(cpu::id());
    }
}

/// Charges the tick to the running task's process.
fn tick() {
    let task = task::current();
    if task.is_idle() {
        return;
    }
    let entity = entity(&task);
    let realtime = matches!(entity.class(), Class::Realtime(_));
    let rt_ns = if realtime {
        entity.rt_ns.fetch_add(TICK_NS, Ordering::Relaxed) + TICK_NS
    } else {
        0
    };
    if let Some(thread) = crate::process::thread::thread_of(&task) {
        crate::process::cpu_limit::tick(thread, rt_ns);
    }
}

/// The running deadline task has used up its runtime: tells it, if it asked for that.
fn report_overrun() {
    let task = task::current();
    let reports = entity(&task)
        .reservation()
        .is_some_and(|reservation| reservation.report_overrun);
    if reports && let Some(thread) = crate::process::thread::thread_of(&task) {
        crate::process::cpu_limit::overrun(thread);
    }
}

/// A task was queued behind the running one, on this CPU or by another one: the running one's slice starts to count.
pub fn ipi_reschedule() {
    let cpu = cpus().get();
    let now = keel_hal::time::now();
    let end = cpu.with(|queue| {
        let running = queue.running().filter(|_| queue.waiting() > 0)?.clone();
        Some(queue.slice_of(&running, now))
    });
    if let Some(end) = end
        && cpu.slice_end.load(Ordering::Relaxed) == u64::MAX
    {
        cpu.slice_end.store(end, Ordering::Relaxed);
    }
    crate::time::timer::program();
}

/// Changes what decides about a task's order (policy, priority, inherited class), wherever it is, at once.
pub fn change(task: &Arc<Task>, change: impl FnOnce(&Entity)) {
    let _irq = keel_hal::irq::disable();
    let now = keel_hal::time::now();
    let mut change = Some(change);
    let (target, preempts) = loop {
        let target = task.cpu();
        let preempts = cpus().of(target).with(|queue| {
            if task.cpu() != target {
                return None;
            }
            let change = change.take()?;
            let queued = queue.remove(task);
            let running = queue
                .running()
                .is_some_and(|other| Arc::ptr_eq(other, task));
            if running {
                queue.account(task, now);
                queue.left(task);
            }
            change(entity(task));
            if running {
                queue.joined(task);
            }
            if let Some(task) = queued {
                queue.push(task, now, Arrival::Behind);
            }
            Some(running || queue.should_preempt(now))
        });
        if let Some(preempts) = preempts {
            break (target, preempts);
        }
    };
    if preempts {
        cpu::set_need_resched(target);
        if target != cpu::id() {
            cpu::kick(target);
        }
    } else {
        crate::time::timer::program();
    }
}

/// Lets a task run in `class` if that is more urgent than its own (priority inheritance); [`Class::Fair`] ends it.
pub fn set_inherited(task: &Arc<Task>, class: Class) {
    change(task, |entity| entity.set_boost(class));
}

/// Restricts a task to the CPUs of `mask` (not empty); it moves at the next opportunity.
pub fn set_affinity(task: &Arc<Task>, mask: u64) {
    entity(task).set_affinity(mask);
    if mask & (1 << task.cpu()) == 0 {
        cpu::set_need_resched(task.cpu());
        cpu::kick(task.cpu());
    }
}

/// sched_yield(2): lets equals run first; a deadline task gives up the rest of its runtime.
pub fn yield_now() {
    entity(&task::current())
        .yielded
        .store(true, Ordering::Relaxed);
    task::yield_now();
}

/// The current task exits: gives back what it has reserved.
pub fn task_exits() {
    let task = task::current();
    if let Some(reservation) = entity(&task).reservation() {
        // Less than before is always admitted.
        let _ = deadline::admit(Some(&reservation), None);
        change(&task, |entity| entity.set_policy(Policy::Normal, 0));
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
