//! SCHED_DEADLINE: reservations of CPU time (sched(7)), as a constant bandwidth server enforces them.
//!
//! A task gets `runtime` in every `period`, and is done with it by `deadline` after the period began. Who has used up
//! its runtime waits for its next period, so no reservation can disturb another. Reservations are admitted while all
//! of them together leave what real-time tasks must leave to others, too ([`super::bandwidth`]).

use core::sync::atomic::{AtomicU64, Ordering};

use super::bandwidth;
use crate::prelude::*;

/// What sched_setattr(2) reserves; times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Reservation {
    /// CPU time per period.
    pub runtime: u64,
    /// From a period's start to when the runtime is done.
    pub deadline: u64,
    /// The period.
    pub period: u64,
    /// SCHED_FLAG_DL_OVERRUN: tell the task by SIGXCPU that it used up its runtime.
    pub report_overrun: bool,
    /// SCHED_FLAG_RECLAIM: what others have reserved and do not use may be used beyond the own reservation.
    pub reclaim: bool,
}

/// The least runtime: what the sums below can tell from nothing.
const RUNTIME_MIN: u64 = 1 << 10;
/// Shortest and longest period (`kernel.sched_deadline_period_{min,max}_us`).
const PERIOD: core::ops::RangeInclusive<u64> = 100_000..=(1 << 22) * 1000;
/// Fixed point of bandwidths: 1 is a whole CPU.
pub(super) const UNIT: u64 = 1 << 20;

/// Sum of all bandwidths that are reserved.
static RESERVED: AtomicU64 = AtomicU64::new(0);

impl Reservation {
    /// EINVAL unless it makes sense: runtime <= deadline <= period, and within limits. A period of 0 is the deadline.
    pub fn checked(mut self) -> Result<Self> {
        let top_bit = 1 << 63;
        if self.deadline == 0
            || self.runtime < RUNTIME_MIN
            || (self.deadline | self.period) & top_bit != 0
        {
            return Err(Errno::EINVAL);
        }
        if self.period == 0 {
            self.period = self.deadline;
        }
        let ordered = self.runtime <= self.deadline && self.deadline <= self.period;
        if ordered && PERIOD.contains(&self.period) {
            Ok(self)
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// Its share of a CPU, [`UNIT`] being a whole one.
    pub(super) fn bandwidth(&self) -> u64 {
        let share = u128::from(self.runtime) * u128::from(UNIT);
        share
            .checked_div(u128::from(self.period))
            .map_or(0, |share| share as u64)
    }
}

/// Replaces the reservation `old` by `new`: EBUSY if that is more than the CPUs have to give.
pub fn admit(old: Option<&Reservation>, new: Option<&Reservation>) -> Result<()> {
    let share = |reservation: Option<&Reservation>| reservation.map_or(0, Reservation::bandwidth);
    let (old, new) = (share(old), share(new));
    let limit = bandwidth::realtime_share().saturating_mul(keel_hal::cpu::count() as u64);
    RESERVED
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |sum| {
            let sum = sum.saturating_sub(old) + new;
            (new <= old || sum <= limit).then_some(sum)
        })
        .map(drop)
        .map_err(|_| Errno::EBUSY)
}

/// Whether all that is reserved fits into `share` of every CPU.
pub fn fits(share: u64) -> bool {
    RESERVED.load(Ordering::Relaxed) <= share.saturating_mul(keel_hal::cpu::count() as u64)
}

/// Where a task stands in its reservation. Changed under the run queue's lock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Server {
    /// The parameters.
    pub reservation: Reservation,
    /// What is left of the runtime; overdrawn below 0.
    pub budget: i64,
    /// When the running period's work is to be done.
    pub due: u64,
}

impl Server {
    /// The task wakes up, or begins: a new period starts unless what is left of the old one can be used by its
    /// deadline at the reserved pace.
    pub fn wake(&mut self, now: u64) {
        let Reservation {
            runtime, deadline, ..
        } = self.reservation;
        let left = self.due.saturating_sub(now);
        let too_fast = u128::from(self.budget.max(0).unsigned_abs()) * u128::from(deadline)
            > u128::from(left) * u128::from(runtime);
        if left == 0 || too_fast {
            self.due = now + deadline;
            self.budget = runtime as i64;
        }
    }

    /// When the next period starts.
    pub fn next_period(&self) -> u64 {
        let Reservation {
            deadline, period, ..
        } = self.reservation;
        self.due.saturating_sub(deadline).saturating_add(period)
    }

    /// The next period has started: fills the budget. A task that is far behind starts anew.
    pub fn replenish(&mut self, now: u64) {
        let Reservation {
            runtime,
            deadline,
            period,
            ..
        } = self.reservation;
        while self.budget <= 0 && self.due.saturating_add(period) > now {
            self.budget += runtime as i64;
            self.due += period;
        }
        if self.budget <= 0 || self.due <= now {
            self.due = now + deadline;
            self.budget = runtime as i64;
        }
    }
}
