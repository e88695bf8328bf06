//! How much of each period real-time tasks may take while others wait (`kernel.sched_rt_runtime_us`, sched(7)).

use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::deadline;
use crate::prelude::*;

/// `kernel.sched_rt_period_us`.
static PERIOD_US: AtomicU64 = AtomicU64::new(1_000_000);
/// `kernel.sched_rt_runtime_us`; -1 for no limit.
static RUNTIME_US: AtomicI64 = AtomicI64::new(950_000);

/// The period in microseconds.
pub fn period_us() -> u64 {
    PERIOD_US.load(Ordering::Relaxed)
}

/// What of it is for real-time tasks, in microseconds; -1 for all.
pub fn runtime_us() -> i64 {
    RUNTIME_US.load(Ordering::Relaxed)
}

/// Sets both: EINVAL for a runtime beyond the period, EBUSY if deadline reservations need more.
pub fn set(period_us: u64, runtime_us: i64) -> Result<()> {
    if period_us == 0 || runtime_us > period_us.min(i64::MAX as u64) as i64 {
        return Err(Errno::EINVAL);
    }
    if !deadline::fits(share(period_us, runtime_us)) {
        return Err(Errno::EBUSY);
    }
    PERIOD_US.store(period_us, Ordering::Relaxed);
    RUNTIME_US.store(runtime_us, Ordering::Relaxed);
    Ok(())
}

fn share(period_us: u64, runtime_us: i64) -> u64 {
    match u64::try_from(runtime_us) {
        Ok(runtime) => (runtime * deadline::UNIT)
            .checked_div(period_us)
            .unwrap_or(0),
        Err(_) => deadline::UNIT,
    }
}

/// The share of a CPU that real-time and deadline tasks may take, [`deadline::UNIT`] being all of it.
pub(super) fn realtime_share() -> u64 {
    share(period_us(), runtime_us())
}

/// One CPU's account of what real-time tasks took in the running period.
#[derive(Default)]
pub(super) struct Account {
    started: u64,
    used: u64,
}

impl Account {
    /// A real-time task ran for `ns`.
    pub fn charge(&mut self, ns: u64) {
        self.used += ns;
    }

    /// Whether real-time tasks have to give way to others now.
    pub fn exhausted(&mut self, now: u64) -> bool {
        let period = period_us() * 1000;
        if now.saturating_sub(self.started) >= period {
            self.started = now;
            self.used = 0;
        }
        u64::try_from(runtime_us()).is_ok_and(|runtime| self.used >= runtime * 1000)
    }
}
