//! One CPU's run queue: real-time tasks by priority, then fair tasks by virtual runtime.

use core::sync::atomic::Ordering;
use keel_hal::task::Task;

use super::entity;
use super::entity::Policy;
use crate::prelude::*;

/// How far behind a waking task may start, so that sleepers get the CPU soon but cannot save up for hours.
const SLEEPER_CREDIT_NS: u64 = 3_000_000;
/// A waking task preempts only when it is this far behind the running one.
const WAKEUP_GRANULARITY_NS: u64 = 1_000_000;

/// The runnable tasks of one CPU, without the running one.
#[derive(Default)]
pub(super) struct RunQueue {
    /// By priority (highest first) and arrival.
    realtime: BTreeMap<(core::cmp::Reverse<u8>, u64), Arc<Task>>,
    /// By virtual runtime.
    fair: BTreeMap<(u64, u64), Arc<Task>>,
    /// Never goes back: where newly queued tasks start.
    min_vruntime: u64,
    arrivals: u64,
    running: Option<Arc<Task>>,
}

impl RunQueue {
    /// Queues a runnable task; `woken` if it comes from sleep or from another CPU.
    pub fn push(&mut self, task: Arc<Task>, woken: bool) {
        self.arrivals += 1;
        let entity = entity(&task);
        if entity.policy().is_realtime() {
            self.realtime.insert(
                (core::cmp::Reverse(entity.rt_priority()), self.arrivals),
                task,
            );
            return;
        }
        let mut vruntime = entity.vruntime.load(Ordering::Relaxed);
        if woken {
            let floor = self.min_vruntime.saturating_sub(SLEEPER_CREDIT_NS);
            vruntime = vruntime.clamp(floor, self.min_vruntime + SLEEPER_CREDIT_NS);
            entity.vruntime.store(vruntime, Ordering::Relaxed);
        }
        self.fair.insert((vruntime, self.arrivals), task);
    }

    /// Takes the task that should run next.
    pub fn pop(&mut self) -> Option<Arc<Task>> {
        if let Some((_, task)) = self.realtime.pop_first() {
            return Some(task);
        }
        let ((vruntime, _), task) = self.fair.pop_first()?;
        self.min_vruntime = self.min_vruntime.max(vruntime);
        Some(task)
    }

    /// Takes a waiting task that may run on `cpu`; the one that would wait longest.
    pub fn steal(&mut self, cpu: usize) -> Option<Arc<Task>> {
        // A task that is still switching away from its CPU must not start elsewhere.
        let fits = |task: &Arc<Task>| entity(task).affinity() & (1 << cpu) != 0 && !task.on_cpu();
        let key = self
            .realtime
            .iter()
            .find(|(_, task)| fits(task))
            .map(|(key, _)| *key);
        if let Some(key) = key {
            return self.realtime.remove(&key);
        }
        let key = self
            .fair
            .iter()
            .rev()
            .find(|(_, task)| fits(task))
            .map(|(key, _)| *key)?;
        self.fair.remove(&key)
    }

    /// Charges the running task for its time.
    pub fn account(&mut self, running: &Arc<Task>, now: u64) {
        entity(running).charge(now);
    }

    /// Notes what runs now.
    pub fn set_running(&mut self, task: &Arc<Task>, now: u64, idle: bool) {
        entity(task).started.store(now, Ordering::Relaxed);
        self.running = (!idle).then(|| task.clone());
    }

    /// Tasks that wait for the CPU.
    pub fn waiting(&self) -> usize {
        self.realtime.len() + self.fair.len()
    }

    /// Tasks that wait or run.
    pub fn load(&self) -> usize {
        self.waiting() + usize::from(self.running.is_some())
    }

    /// Whether the first waiting task should take the CPU from the running one.
    pub fn should_preempt(&self) -> bool {
        let Some(running) = &self.running else {
            return true;
        };
        let current = entity(running);
        if let Some(((priority, _), _)) = self.realtime.first_key_value() {
            return !current.policy().is_realtime() || priority.0 > current.rt_priority();
        }
        let Some(((vruntime, _), waiting)) = self.fair.first_key_value() else {
            return false;
        };
        if current.policy().is_realtime() {
            return false;
        }
        if entity(waiting).policy() == Policy::Batch {
            return false;
        }
        let ran = keel_hal::time::now().saturating_sub(current.started.load(Ordering::Relaxed));
        current.vruntime.load(Ordering::Relaxed) + ran > vruntime + WAKEUP_GRANULARITY_NS
    }
}
