//! One-shot kernel timers: per-CPU queues ordered by deadline, fired from the timer interrupt.
//!
//! A queue is protected by an interrupt-safe lock; callbacks run in interrupt context without it, so they may
//! arm and cancel timers, and wake tasks, but not sleep.

use alloc::collections::BTreeMap;
use core::sync::atomic::{AtomicU64, Ordering};
use keel_hal::cpu::{self, PerCpu};
use keel_hal::task;

use crate::prelude::*;

/// Where an armed timer is queued.
#[derive(Clone, Copy)]
struct Armed {
    cpu: usize,
    key: (u64, u64),
}

/// What a timer is doing.
#[derive(Clone, Copy)]
enum State {
    Idle,
    Armed(Armed),
    /// Its callback runs, and may arm it again.
    Firing,
}

/// Called in interrupt context; gives the next deadline if the timer is to go on.
type Callback = dyn Fn() -> Option<u64> + Send + Sync;

struct Inner {
    callback: Box<Callback>,
    state: IrqLock<State>,
}

/// A one-shot timer; dropping it cancels it.
pub struct Timer {
    inner: Arc<Inner>,
}

/// Deadline and a serial number that keeps equal deadlines apart.
type Queue = IrqLock<BTreeMap<(u64, u64), Arc<Inner>>>;

static QUEUES: OnceLock<PerCpu<Queue>> = OnceLock::new();
static SERIAL: AtomicU64 = AtomicU64::new(0);

fn queues() -> &'static PerCpu<Queue> {
    QUEUES.call_once(|| PerCpu::new(|_| IrqLock::new(BTreeMap::new())))
}

impl Timer {
    /// A timer that calls `callback` in interrupt context when it fires.
    pub fn new(callback: impl Fn() + Send + Sync + 'static) -> Self {
        Self::repeating(move || {
            callback();
            None
        })
    }

    /// A timer whose callback gives the deadline of its next shot.
    pub fn repeating(callback: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        let inner = Inner {
            callback: Box::new(callback),
            state: IrqLock::new(State::Idle),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Fires at `deadline` (nanoseconds of the monotonic clock), in place of any earlier arming.
    pub fn arm(&self, deadline: u64) {
        self.cancel();
        let _irq = keel_hal::irq::disable();
        enqueue(&self.inner, deadline);
        program();
    }

    /// Takes the timer out of its queue; true if it had not fired yet.
    pub fn cancel(&self) -> bool {
        let old = core::mem::replace(&mut *self.inner.state.lock(), State::Idle);
        match old {
            State::Armed(armed) => queues().of(armed.cpu).lock().remove(&armed.key).is_some(),
            State::Firing | State::Idle => false,
        }
    }
}

/// Queues a timer on this CPU. Interrupts are off.
fn enqueue(inner: &Arc<Inner>, deadline: u64) {
    let cpu = cpu::id();
    let key = (deadline, SERIAL.fetch_add(1, Ordering::Relaxed));
    *inner.state.lock() = State::Armed(Armed { cpu, key });
    queues().of(cpu).lock().insert(key, inner.clone());
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Programs this CPU's timer for its next event: a timer or what the scheduler waits for. A shot that is due earlier
/// is left alone: it comes here again, and much of what is armed is taken back before it fires.
pub fn program() {
    let _irq = keel_hal::irq::disable();
    let next = queues()
        .get()
        .lock()
        .first_key_value()
        .map_or(u64::MAX, |(key, _)| key.0);
    let next = next.min(crate::sched::next_event());
    if next < keel_hal::time::deadline() {
        keel_hal::time::set_deadline(next);
    }
}

/// Fires what is due on this CPU. Called from the timer interrupt.
pub fn interrupt() {
    loop {
        let due = {
            let mut queue = queues().get().lock();
            match queue.first_key_value() {
                Some((key, _)) if key.0 <= keel_hal::time::now() => queue.pop_first(),
                _ => None,
            }
        };
        let Some((key, inner)) = due else { break };
        {
            let mut state = inner.state.lock();
            match *state {
                State::Armed(armed) if armed.key == key => *state = State::Firing,
                _ => continue,
            }
        }
        let next = (inner.callback)();
        let mut state = inner.state.lock();
        if !matches!(*state, State::Firing) {
            continue;
        }
        *state = State::Idle;
        drop(state);
        if let Some(deadline) = next {
            enqueue(&inner, deadline);
        }
    }
}

/// Wakes the current task at `deadline`, or earlier if somebody else does: the caller has called
/// `prepare_sleep`.
pub fn schedule_timeout(deadline: u64) {
    let me = task::current().clone();
    let timer = Timer::new(move || {
        me.wake();
    });
    timer.arm(deadline);
    task::schedule();
}

/// Sleeps for `ns` nanoseconds whatever happens.
pub fn sleep_ns(ns: u64) {
    let deadline = keel_hal::time::now().saturating_add(ns);
    while keel_hal::time::now() < deadline {
        task::prepare_sleep(SleepMode::Uninterruptible);
        schedule_timeout(deadline);
    }
}
