//! The least scheduler that the tests need: one queue for all CPUs, woken round robin, a tick of
//! 10 ms, and sleeps by a list of deadlines that every tick looks through.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering};

use keel_hal::{EnqueueFlags, Hooks, SleepMode, Task, cpu, sync::IrqLock, task, time};

const TICK: u64 = 10_000_000;

pub struct Sched;

static QUEUE: IrqLock<VecDeque<Arc<Task>>> = IrqLock::new(VecDeque::new());
static SLEEPERS: IrqLock<Vec<(u64, Arc<Task>)>> = IrqLock::new(Vec::new());
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// Timer interrupts of all CPUs.
pub static TICKS: AtomicUsize = AtomicUsize::new(0);

impl Hooks for Sched {
    fn page_fault_in_user_copy(&self, addr: usize, write: bool) -> bool {
        crate::user::fault(addr, write)
    }

    fn enqueue(&self, task: Arc<Task>, _flags: EnqueueFlags) {
        let cpu = NEXT.fetch_add(1, Ordering::Relaxed) % cpu::count();
        QUEUE.lock().push_back(task);
        cpu::set_need_resched(cpu);
    }

    fn pick_next(&self, prev: &Arc<Task>, prev_runnable: bool) -> Arc<Task> {
        let mut queue = QUEUE.lock();
        if prev_runnable && !prev.is_idle() {
            queue.push_back(Arc::clone(prev));
        }
        let next = queue.pop_front().unwrap_or_else(|| task::idle(cpu::id()));
        let more = !queue.is_empty() || !SLEEPERS.lock().is_empty();
        time::set_deadline(if more || !next.is_idle() {
            time::now() + TICK
        } else {
            u64::MAX
        });
        next
    }

    fn timer_interrupt(&self) {
        TICKS.fetch_add(1, Ordering::Relaxed);
        let now = time::now();
        let mut due = Vec::new();
        SLEEPERS.lock().retain(|(deadline, task)| {
            if *deadline <= now {
                due.push(Arc::clone(task));
            }
            *deadline > now
        });
        for task in due {
            task.wake();
        }
        cpu::set_need_resched(cpu::id());
    }

    fn schedule_timeout(&self, deadline_ns: u64) {
        let me = Arc::clone(&task::current());
        let id = me.id();
        SLEEPERS.lock().push((deadline_ns, me));
        task::schedule();
        SLEEPERS.lock().retain(|(_, task)| task.id() != id);
    }

    fn fatal(&self, _message: &str) {}
}

/// Starts a task.
pub fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> Arc<Task> {
    let task = Task::new(name, Arc::new(()), alloc::boxed::Box::new(f)).expect("memory");
    task.wake();
    task
}

/// Sleeps for `ns`.
pub fn sleep(ns: u64) {
    let deadline = time::now() + ns;
    while time::now() < deadline {
        task::prepare_sleep(SleepMode::Uninterruptible);
        Sched.schedule_timeout(deadline);
    }
}
