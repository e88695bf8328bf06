//! The smallest scheduler, and helpers to run things in tasks.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use keel_hal::sync::{Completion, IrqLock};
use keel_hal::task::{self, Task};
use keel_hal::{EnqueueFlags, Hooks, cpu, set_hooks, time};

const CPUS: usize = 64;
/// How long a task runs while others wait (ns).
const TICK: u64 = 10_000_000;

static QUEUES: [IrqLock<VecDeque<Arc<Task>>>; CPUS] =
    [const { IrqLock::new(VecDeque::new()) }; CPUS];
static TIMERS: IrqLock<Vec<(u64, Arc<Task>)>> = IrqLock::new(Vec::new());
/// Tasks wait in the CPU's queue.
static WAITING: [AtomicBool; CPUS] = [const { AtomicBool::new(false) }; CPUS];
static NEXT_CPU: AtomicUsize = AtomicUsize::new(0);

struct Fifo;

impl Hooks for Fifo {
    fn page_fault_in_user_copy(&self, addr: usize, write: bool) -> bool {
        crate::mm::fault(addr, write)
    }

    fn enqueue(&self, task: Arc<Task>, flags: EnqueueFlags) {
        let cpu = if flags.contains(EnqueueFlags::NEW) {
            NEXT_CPU.fetch_add(1, Ordering::Relaxed) % cpu::count()
        } else {
            task.cpu()
        };
        task.set_cpu(cpu);
        QUEUES[cpu].lock().push_back(task);
        cpu::set_need_resched(cpu);
    }

    fn pick_next(&self, prev: &Arc<Task>, prev_runnable: bool) -> Arc<Task> {
        let me = cpu::id();
        let mut queue = QUEUES[me].lock();
        if prev_runnable && !prev.is_idle() {
            queue.push_back(Arc::clone(prev));
        }
        let next = queue.pop_front().unwrap_or_else(|| task::idle(me));
        WAITING[me].store(!queue.is_empty(), Ordering::Relaxed);
        drop(queue);
        arm(&TIMERS.lock());
        next
    }

    fn timer_interrupt(&self) {
        let now = time::now();
        let mut due = Vec::new();
        let mut timers = TIMERS.lock();
        timers.retain(|(at, task)| {
            if *at <= now {
                due.push(Arc::clone(task));
            }
            *at > now
        });
        arm(&timers);
        drop(timers);
        if WAITING[cpu::id()].load(Ordering::Relaxed) {
            cpu::set_need_resched(cpu::id());
        }
        due.iter().for_each(|task| {
            task.wake();
        });
    }

    fn schedule_timeout(&self, deadline_ns: u64) {
        let current = task::current();
        let mut timers = TIMERS.lock();
        timers.push((deadline_ns, Arc::clone(&current)));
        arm(&timers);
        drop(timers);
        task::schedule();
        TIMERS
            .lock()
            .retain(|(_, task)| !Arc::ptr_eq(task, &current));
    }

    fn fatal(&self, _message: &str) {}
}

/// Arms this CPU's timer for the first deadline, or for a tick while tasks wait for the CPU.
fn arm(timers: &[(u64, Arc<Task>)]) {
    let first = timers.iter().map(|(at, _)| *at).min().unwrap_or(u64::MAX);
    let waiting = WAITING[cpu::id()].load(Ordering::Relaxed);
    let tick = if waiting {
        time::now() + TICK
    } else {
        u64::MAX
    };
    time::set_deadline(first.min(tick));
}

/// Registers the scheduler and starts the RCU worker.
pub fn init() {
    set_hooks(&Fifo);
    spawn("rcu", || keel_hal::sync::rcu::run_worker());
}

/// Runs `f` in a new task.
pub fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> Arc<Task> {
    let task = Task::new(name, Arc::new(()), Box::new(f)).expect("no memory for a task");
    task.wake();
    task
}

/// Runs `f(i)` for each `i < n` in tasks of their own, and waits for all.
pub fn in_parallel(n: usize, f: impl Fn(usize) + Send + Sync + 'static) {
    let f = Arc::new(f);
    let done = Arc::new(Completion::new());
    for i in 0..n {
        let (f, done) = (Arc::clone(&f), Arc::clone(&done));
        spawn("worker", move || {
            f(i);
            done.complete();
        });
    }
    for _ in 0..n {
        done.wait();
    }
}

/// Sleeps for `ns` nanoseconds.
pub fn sleep(ns: u64) {
    let until = time::now() + ns;
    let _ = Completion::new().wait_until(keel_hal::SleepMode::Uninterruptible, Some(until));
}
