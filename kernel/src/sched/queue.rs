//! One CPU's run queue: deadline tasks by deadline, real-time tasks by priority, fair tasks by virtual runtime.

use core::cmp::Reverse;
use core::sync::atomic::Ordering;
use keel_hal::task::Task;

use super::bandwidth::Account;
use super::entity;
use super::entity::{Class, Policy, Slot};
use super::{RR_SLICE_NS, deadline};
use crate::prelude::*;

/// How far behind a waking task may start, so that sleepers get the CPU soon but cannot save up for hours.
const SLEEPER_CREDIT_NS: u64 = 3_000_000;
/// A waking task preempts only when it is this far behind the running one.
const WAKEUP_GRANULARITY_NS: u64 = 1_000_000;

/// Why a task is queued.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Arrival {
    /// It slept, or is new, or comes from another CPU.
    Woken,
    /// Another task takes the CPU from it: it stays first among its equals.
    Preempted,
    /// It gives way to its equals: its slice is over, or it yielded, or its priority changed.
    Behind,
}

/// The runnable tasks of one CPU, without the running one.
#[derive(Default)]
pub(super) struct RunQueue {
    deadline: BTreeMap<(u64, i64), Arc<Task>>,
    /// By priority (highest first) and arrival.
    realtime: BTreeMap<(Reverse<u8>, i64), Arc<Task>>,
    /// By virtual runtime.
    fair: BTreeMap<(u64, i64), Arc<Task>>,
    /// Deadline tasks without budget, by when they get one.
    throttled: BTreeMap<(u64, i64), Arc<Task>>,
    /// Never goes back: where newly queued tasks start.
    min_vruntime: u64,
    arrivals: i64,
    running: Option<Arc<Task>>,
    realtime_account: Account,
    /// Bandwidth of the deadline tasks that run or wait here (not the throttled ones).
    active_bandwidth: u64,
}

impl RunQueue {
    /// Queues a runnable task.
    pub fn push(&mut self, task: Arc<Task>, now: u64, arrival: Arrival) {
        self.arrivals += 1;
        // Arrivals count up, so what is negative is before everybody who arrived in order.
        let order = match arrival {
            Arrival::Preempted => -self.arrivals,
            Arrival::Woken | Arrival::Behind => self.arrivals,
        };
        let entity = entity(&task);
        if entity.policy() == Policy::Deadline && !entity.is_boosted() {
            return self.push_deadline(task, now, arrival, order);
        }
        let slot = match entity.class() {
            Class::Deadline(due) => {
                self.deadline.insert((due, order), task.clone());
                Slot::Deadline(due, order)
            }
            Class::Realtime(priority) => {
                self.realtime
                    .insert((Reverse(priority), order), task.clone());
                Slot::Realtime(priority, order)
            }
            Class::Fair => {
                let vruntime = self.place_fair(entity, arrival);
                self.fair.insert((vruntime, self.arrivals), task.clone());
                Slot::Fair(vruntime, self.arrivals)
            }
        };
        *entity.slot.lock() = slot;
    }

    fn place_fair(&self, entity: &super::Entity, arrival: Arrival) -> u64 {
        let vruntime = entity.vruntime.load(Ordering::Relaxed);
        if arrival != Arrival::Woken {
            return vruntime;
        }
        let floor = self.min_vruntime.saturating_sub(SLEEPER_CREDIT_NS);
        let placed = vruntime.clamp(floor, self.min_vruntime + SLEEPER_CREDIT_NS);
        entity.vruntime.store(placed, Ordering::Relaxed);
        placed
    }

    fn push_deadline(&mut self, task: Arc<Task>, now: u64, arrival: Arrival, order: i64) {
        let entity = entity(&task);
        let mut server = entity.server.lock();
        if arrival == Arrival::Woken {
            server.wake(now);
        }
        if entity.yielded.swap(false, Ordering::Relaxed) {
            server.budget = server.budget.min(0);
        }
        let next = server.next_period();
        if server.budget <= 0 && next <= now {
            server.replenish(now);
        }
        let (due, budget, bandwidth) = (server.due, server.budget, server.reservation.bandwidth());
        drop(server);
        if budget > 0 {
            self.active_bandwidth += bandwidth;
            *entity.slot.lock() = Slot::Deadline(due, order);
            self.deadline.insert((due, order), task);
        } else {
            *entity.slot.lock() = Slot::Throttled(next, order);
            self.throttled.insert((next, order), task);
        }
    }

    /// Takes a queued task out; `None` if it is not in this queue.
    pub fn remove(&mut self, task: &Arc<Task>) -> Option<Arc<Task>> {
        let entity = entity(task);
        let slot = core::mem::replace(&mut *entity.slot.lock(), Slot::None);
        match slot {
            Slot::None => None,
            Slot::Deadline(due, order) => {
                let task = self.deadline.remove(&(due, order));
                self.deactivate(entity);
                task
            }
            Slot::Realtime(priority, order) => self.realtime.remove(&(Reverse(priority), order)),
            Slot::Fair(vruntime, order) => self.fair.remove(&(vruntime, order)),
            Slot::Throttled(at, order) => self.throttled.remove(&(at, order)),
        }
    }

    fn deactivate(&mut self, entity: &super::Entity) {
        if entity.policy() == Policy::Deadline {
            let bandwidth = entity.server.lock().reservation.bandwidth();
            self.active_bandwidth = self.active_bandwidth.saturating_sub(bandwidth);
        }
    }

    /// Gives their budget to tasks whose next period has begun.
    pub fn replenish(&mut self, now: u64) {
        while let Some((&(at, order), _)) = self.throttled.first_key_value() {
            if at > now {
                return;
            }
            if let Some(task) = self.throttled.remove(&(at, order)) {
                entity(&task).server.lock().replenish(now);
                *entity(&task).slot.lock() = Slot::None;
                self.push(task, now, Arrival::Behind);
            }
        }
    }

    /// When a throttled task gets its next budget.
    pub fn next_replenishment(&self) -> u64 {
        self.throttled
            .first_key_value()
            .map_or(u64::MAX, |((at, _), _)| *at)
    }

    /// Takes the task that should run next.
    pub fn pop(&mut self, now: u64) -> Option<Arc<Task>> {
        self.replenish(now);
        let task = match self.first(now)? {
            Class::Deadline(_) => self.deadline.first_key_value().map(|(_, task)| task),
            Class::Realtime(_) => self.realtime.first_key_value().map(|(_, task)| task),
            Class::Fair => self.fair.first_key_value().map(|(_, task)| task),
        };
        let task = task?.clone();
        let slot = *entity(&task).slot.lock();
        if let Slot::Fair(vruntime, _) = slot {
            self.min_vruntime = self.min_vruntime.max(vruntime);
        }
        // A running deadline task stays active.
        let active = self.active_bandwidth;
        let task = self.remove(&task);
        if matches!(slot, Slot::Deadline(..)) {
            self.active_bandwidth = active;
        }
        task
    }

    /// The class of the first waiting task. Real-time tasks that have had their share of the period come behind fair
    /// ones.
    fn first(&mut self, now: u64) -> Option<Class> {
        if let Some(((due, _), _)) = self.deadline.first_key_value() {
            return Some(Class::Deadline(*due));
        }
        let realtime = self
            .realtime
            .first_key_value()
            .map(|((priority, _), _)| priority.0);
        if let Some(priority) = realtime
            && (self.fair.is_empty() || !self.realtime_account.exhausted(now))
        {
            return Some(Class::Realtime(priority));
        }
        (!self.fair.is_empty()).then_some(Class::Fair)
    }

    /// Takes a waiting task that may run on `cpu`; the one that would wait longest. With `above_fair`, only a
    /// real-time or deadline task.
    pub fn steal(&mut self, cpu: usize, above_fair: bool) -> Option<Arc<Task>> {
        // A task that is still switching away from its CPU must not start elsewhere.
        let fits = |task: &&Arc<Task>| entity(task).affinity() & (1 << cpu) != 0 && !task.on_cpu();
        let task = self
            .deadline
            .values()
            .find(fits)
            .or_else(|| self.realtime.values().find(fits))
            .or_else(|| self.fair.values().rev().filter(|_| !above_fair).find(fits))?
            .clone();
        self.remove(&task)
    }

    /// Charges the task that ran for its time.
    pub fn account(&mut self, ran: &Arc<Task>, now: u64) {
        let entity = entity(ran);
        let ns = entity.charge(now);
        match entity.class() {
            Class::Realtime(_) => {
                self.realtime_account.charge(ns);
                let left = entity.slice_left.load(Ordering::Relaxed);
                entity
                    .slice_left
                    .store(left.saturating_sub(ns), Ordering::Relaxed);
            }
            Class::Deadline(_) if !entity.is_boosted() => {
                let pace = self.active_bandwidth;
                let mut server = entity.server.lock();
                let used = if server.reservation.reclaim {
                    reclaimed(ns, pace.max(server.reservation.bandwidth()))
                } else {
                    ns
                };
                server.budget -= used as i64;
            }
            _ => {}
        }
    }

    /// The running task has left the CPU: its bandwidth counts no more until it is queued again.
    pub fn left(&mut self, task: &Arc<Task>) {
        if !entity(task).is_boosted() {
            self.deactivate(entity(task));
        }
    }

    /// A task that was not queued here runs now.
    pub fn joined(&mut self, task: &Arc<Task>) {
        let entity = entity(task);
        if entity.policy() == Policy::Deadline && !entity.is_boosted() {
            self.active_bandwidth += entity.server.lock().reservation.bandwidth();
        }
    }

    /// Notes what runs now.
    pub fn set_running(&mut self, task: &Arc<Task>, now: u64, idle: bool) {
        entity(task).started.store(now, Ordering::Relaxed);
        self.running = (!idle).then(|| task.clone());
    }

    /// The running task, unless the CPU is idle.
    pub fn running(&self) -> Option<&Arc<Task>> {
        self.running.as_ref()
    }

    /// Tasks that wait for the CPU, throttled ones aside.
    pub fn waiting(&self) -> usize {
        self.deadline.len() + self.realtime.len() + self.fair.len()
    }

    /// Waiting tasks of the real-time and deadline classes.
    pub fn waiting_above_fair(&self) -> usize {
        self.deadline.len() + self.realtime.len()
    }

    /// Tasks that wait or run.
    pub fn load(&self) -> usize {
        self.waiting() + usize::from(self.running.is_some())
    }

    /// How long `task`, about to run, may keep the CPU from its equals, or at all.
    pub fn slice_of(&self, task: &Task, now: u64) -> u64 {
        let entity = entity(task);
        match (entity.class(), entity.policy()) {
            (Class::Deadline(_), Policy::Deadline) if !entity.is_boosted() => {
                let budget = entity.server.lock().budget.max(1).unsigned_abs();
                now + budget
            }
            (Class::Realtime(_), Policy::RoundRobin) => {
                if entity.slice_left.load(Ordering::Relaxed) == 0 {
                    entity.slice_left.store(RR_SLICE_NS, Ordering::Relaxed);
                }
                if self.waiting() == 0 {
                    return u64::MAX;
                }
                now + entity.slice_left.load(Ordering::Relaxed)
            }
            _ if self.waiting() == 0 => u64::MAX,
            (Class::Fair, _) => now + super::SLICE_NS,
            _ => u64::MAX >> 1,
        }
    }

    /// How a task that gives up the CPU while it could run is queued.
    pub fn arrival_of(&self, task: &Task) -> Arrival {
        let entity = entity(task);
        let behind = match entity.policy() {
            Policy::Deadline => return Arrival::Preempted,
            Policy::RoundRobin => entity.slice_left.load(Ordering::Relaxed) == 0,
            _ => false,
        };
        if entity.yielded.swap(false, Ordering::Relaxed) || behind {
            Arrival::Behind
        } else {
            Arrival::Preempted
        }
    }

    /// Whether the first waiting task should take the CPU from the running one.
    pub fn should_preempt(&mut self, now: u64) -> bool {
        self.replenish(now);
        let Some(first) = self.first(now) else {
            return false;
        };
        let Some(running) = &self.running else {
            return true;
        };
        let current = entity(running);
        match (first, current.class()) {
            (Class::Fair, Class::Realtime(_)) => self.realtime_account.exhausted(now),
            (Class::Fair, Class::Fair) => self.fair_preempts(current, now),
            (first, class) => first.beats(class),
        }
    }

    fn fair_preempts(&self, current: &super::Entity, now: u64) -> bool {
        let Some(((vruntime, _), waiting)) = self.fair.first_key_value() else {
            return false;
        };
        if entity(waiting).policy() == Policy::Batch {
            return false;
        }
        let ran = now.saturating_sub(current.started.load(Ordering::Relaxed));
        current.vruntime.load(Ordering::Relaxed) + ran > vruntime + WAKEUP_GRANULARITY_NS
    }
}

/// What `ns` cost a task that may reclaim: as much slower as the active reservations leave the CPU unused.
fn reclaimed(ns: u64, active: u64) -> u64 {
    let most = super::bandwidth::realtime_share().max(1);
    let pace = active.min(most);
    (u128::from(ns) * u128::from(pace) / u128::from(most.min(deadline::UNIT))) as u64
}
