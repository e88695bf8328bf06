//! What the scheduler knows of a task: policy, nice, affinity, virtual runtime, switch counts.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::deadline::{Reservation, Server};
use crate::prelude::*;

/// Scheduling policies (sched(7)).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Policy {
    /// SCHED_OTHER.
    Normal = 0,
    /// SCHED_FIFO.
    Fifo = 1,
    /// SCHED_RR.
    RoundRobin = 2,
    /// SCHED_BATCH.
    Batch = 3,
    /// SCHED_IDLE.
    Idle = 5,
    /// SCHED_DEADLINE.
    Deadline = 6,
}

/// What decides who runs first: the policy, and what was inherited from waiters for a PI futex.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Earliest deadline first.
    Deadline(u64),
    /// By priority, 1 to 99.
    Realtime(u8),
    /// By virtual runtime.
    Fair,
}

impl Class {
    /// Whether a task of this class goes before one of the other.
    pub fn beats(self, other: Self) -> bool {
        match (self, other) {
            (Self::Deadline(mine), Self::Deadline(theirs)) => mine < theirs,
            (Self::Deadline(_), _) => true,
            (Self::Realtime(mine), Self::Realtime(theirs)) => mine > theirs,
            (Self::Realtime(_), Self::Fair) => true,
            _ => false,
        }
    }
}

/// Where a waiting task is in its run queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Slot {
    /// Nowhere: it runs, or sleeps, or is on its way.
    None,
    /// By deadline and arrival.
    Deadline(u64, i64),
    /// By priority and arrival.
    Realtime(u8, i64),
    /// By virtual runtime and arrival.
    Fair(u64, i64),
    /// Waits for its next period: by that and arrival.
    Throttled(u64, i64),
}

impl Policy {
    /// The policy with Linux's number `raw`.
    pub fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            0 => Self::Normal,
            1 => Self::Fifo,
            2 => Self::RoundRobin,
            3 => Self::Batch,
            5 => Self::Idle,
            6 => Self::Deadline,
            _ => return None,
        })
    }

    /// Whether it is a real-time policy.
    pub fn is_realtime(self) -> bool {
        matches!(self, Self::Fifo | Self::RoundRobin)
    }
}

/// No inherited priority.
const BOOST_NONE: u8 = 0;
/// Inherited from a deadline task.
const BOOST_DEADLINE: u8 = 100;

/// The scheduler's part of a task. Readers need no lock; the run queue's lock orders the changes that matter to it.
pub struct Entity {
    policy: AtomicU8,
    rt_priority: AtomicU8,
    nice: AtomicI32,
    affinity: AtomicU64,
    pub(super) vruntime: AtomicU64,
    pub(super) started: AtomicU64,
    exec_ns: AtomicU64,
    voluntary: AtomicU32,
    involuntary: AtomicU32,
    /// SCHED_RESET_ON_FORK.
    pub reset_on_fork: AtomicBool,
    /// Real-time priority inherited from a waiter, or one of the `BOOST` values.
    boost: AtomicU8,
    /// The deadline inherited.
    boost_due: AtomicU64,
    pub(super) server: IrqLock<Server>,
    pub(super) slot: IrqLock<Slot>,
    /// sched_yield(2) was called: others first.
    pub(super) yielded: AtomicBool,
    /// What is left of a round-robin slice.
    pub(super) slice_left: AtomicU64,
    /// Time under a real-time policy since the last sleep (RLIMIT_RTTIME).
    pub(super) rt_ns: AtomicU64,
}

impl Default for Entity {
    fn default() -> Self {
        Self {
            policy: AtomicU8::new(Policy::Normal as u8),
            rt_priority: AtomicU8::new(0),
            nice: AtomicI32::new(0),
            affinity: AtomicU64::new(u64::MAX),
            vruntime: AtomicU64::new(0),
            started: AtomicU64::new(0),
            exec_ns: AtomicU64::new(0),
            voluntary: AtomicU32::new(0),
            involuntary: AtomicU32::new(0),
            reset_on_fork: AtomicBool::new(false),
            boost: AtomicU8::new(BOOST_NONE),
            boost_due: AtomicU64::new(0),
            server: IrqLock::new(Server::default()),
            slot: IrqLock::new(Slot::None),
            yielded: AtomicBool::new(false),
            slice_left: AtomicU64::new(0),
            rt_ns: AtomicU64::new(0),
        }
    }
}

impl Entity {
    /// The policy.
    pub fn policy(&self) -> Policy {
        Policy::from_raw(self.policy.load(Ordering::Relaxed)).unwrap_or(Policy::Normal)
    }

    /// Real-time priority, 1 (low) to 99; 0 for other policies.
    pub fn rt_priority(&self) -> u8 {
        self.rt_priority.load(Ordering::Relaxed)
    }

    /// The class it runs in at the moment.
    pub fn class(&self) -> Class {
        let boost = self.boost.load(Ordering::Relaxed);
        let own = match self.policy() {
            Policy::Deadline => Class::Deadline(self.server.lock().due),
            Policy::Fifo | Policy::RoundRobin => Class::Realtime(self.rt_priority()),
            _ => Class::Fair,
        };
        let inherited = match boost {
            BOOST_NONE => return own,
            BOOST_DEADLINE => Class::Deadline(self.boost_due.load(Ordering::Relaxed)),
            priority => Class::Realtime(priority),
        };
        if inherited.beats(own) { inherited } else { own }
    }

    /// Whether it runs by what it inherited, which has no budget.
    pub(super) fn is_boosted(&self) -> bool {
        self.boost.load(Ordering::Relaxed) != BOOST_NONE
    }

    /// Inherits a class; [`Class::Fair`] is nothing. Takes effect when the task is next queued.
    pub(super) fn set_boost(&self, class: Class) {
        let boost = match class {
            Class::Deadline(due) => {
                self.boost_due.store(due, Ordering::Relaxed);
                BOOST_DEADLINE
            }
            Class::Realtime(priority) => priority,
            Class::Fair => BOOST_NONE,
        };
        self.boost.store(boost, Ordering::Relaxed);
    }

    /// Time under a real-time policy since the last sleep, nanoseconds.
    pub fn rt_ns(&self) -> u64 {
        self.rt_ns.load(Ordering::Relaxed)
    }

    /// The reservation of a deadline task.
    pub fn reservation(&self) -> Option<Reservation> {
        (self.policy() == Policy::Deadline).then(|| self.server.lock().reservation)
    }

    /// Makes it a deadline task with this reservation, which was admitted.
    pub fn set_reservation(&self, reservation: Reservation) {
        let mut server = self.server.lock();
        *server = Server {
            reservation,
            ..Server::default()
        };
        server.wake(keel_hal::time::now());
        drop(server);
        self.set_policy(Policy::Deadline, 0);
    }

    /// Sets policy and priority; takes effect when the task is next queued.
    pub fn set_policy(&self, policy: Policy, rt_priority: u8) {
        self.policy.store(policy as u8, Ordering::Relaxed);
        self.rt_priority
            .store(rt_priority.min(99), Ordering::Relaxed);
    }

    /// Nice value, -20 to 19.
    pub fn nice(&self) -> i32 {
        self.nice.load(Ordering::Relaxed)
    }

    /// Sets the nice value, clamped to its range.
    pub fn set_nice(&self, nice: i32) {
        self.nice.store(nice.clamp(-20, 19), Ordering::Relaxed);
    }

    /// The CPUs the task may run on, a bit each.
    pub fn affinity(&self) -> u64 {
        self.affinity.load(Ordering::Relaxed)
    }

    pub(super) fn set_affinity(&self, mask: u64) {
        self.affinity.store(mask, Ordering::Relaxed);
    }

    /// Inherits from the parent at fork.
    pub fn inherit(&self, parent: &Self) {
        if parent.reset_on_fork.load(Ordering::Relaxed) {
            self.nice.store(parent.nice().max(0), Ordering::Relaxed);
        } else {
            self.set_policy(parent.policy(), parent.rt_priority());
            self.nice.store(parent.nice(), Ordering::Relaxed);
        }
        self.affinity.store(parent.affinity(), Ordering::Relaxed);
        self.vruntime
            .store(parent.vruntime.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Adds the time since the task was switched in to its account; gives it.
    pub(super) fn charge(&self, now: u64) -> u64 {
        let ran = now.saturating_sub(self.started.swap(now, Ordering::Relaxed));
        self.exec_ns.fetch_add(ran, Ordering::Relaxed);
        let weighted = ran * 1024 / u64::from(self.weight());
        self.vruntime.fetch_add(weighted, Ordering::Relaxed);
        ran
    }

    /// The share of the CPU: 1024 at nice 0.
    pub(super) fn weight(&self) -> u32 {
        if self.policy() == Policy::Idle {
            3
        } else {
            nice_weight(self.nice())
        }
    }

    pub(super) fn count_switch(&self, voluntary: bool) {
        let counter = if voluntary {
            &self.voluntary
        } else {
            &self.involuntary
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Voluntary and involuntary context switches.
    pub fn switches(&self) -> (u64, u64) {
        let load = |counter: &AtomicU32| u64::from(counter.load(Ordering::Relaxed));
        (load(&self.voluntary), load(&self.involuntary))
    }
}

/// Load weight of a nice level: each step is a factor of 1.25 (sched(7): "about 10% of the CPU").
pub fn nice_weight(nice: i32) -> u32 {
    let mut weight = 1024_u64 << 20;
    for _ in 0..nice.unsigned_abs().min(20) {
        weight = if nice > 0 {
            weight * 4 / 5
        } else {
            weight * 5 / 4
        };
    }
    (weight >> 20).max(1) as u32
}
