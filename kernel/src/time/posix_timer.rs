//! Interval timers (setitimer(2)) and POSIX timers (timer_create(2)) of a process.

use core::sync::atomic::{AtomicU64, Ordering};

use super::timer::Timer;
use crate::prelude::*;
use crate::process::signal::{self, SigInfo, sig};
use crate::process::{Process, find};

/// The real-time interval timer of a process.
struct RealTimer {
    timer: Timer,
    state: Arc<RealState>,
}

struct RealState {
    /// Period in nanoseconds, 0 for a single shot.
    interval: AtomicU64,
    /// When it fires next; 0 when disarmed.
    deadline: AtomicU64,
}

/// All timers of a process.
#[derive(Default)]
pub struct ProcessTimers {
    real: Mutex<Option<RealTimer>>,
}

impl ProcessTimers {
    /// exec keeps interval timers and deletes POSIX timers.
    pub fn exec_reset(&self) {}

    /// Deletes everything (exit).
    pub fn delete_all(&self) {
        let old = self.real.lock().take();
        drop(old);
    }

    /// ITIMER_REAL: nanoseconds until it fires (0 if disarmed), and its period.
    pub fn real(&self) -> (u64, u64) {
        let real = self.real.lock();
        let Some(real) = &*real else { return (0, 0) };
        let deadline = real.state.deadline.load(Ordering::Relaxed);
        if deadline == 0 {
            return (0, 0);
        }
        let left = deadline.saturating_sub(super::monotonic_ns()).max(1);
        (left, real.state.interval.load(Ordering::Relaxed))
    }

    /// Sets ITIMER_REAL of `process`: first shot after `value` nanoseconds (0 disarms), then every `interval`.
    pub fn set_real(&self, process: &Arc<Process>, value: u64, interval: u64) {
        let mut slot = self.real.lock();
        let real = slot.get_or_insert_with(|| real_timer(process.pid));
        real.timer.cancel();
        real.state.interval.store(interval, Ordering::Relaxed);
        if value == 0 {
            real.state.deadline.store(0, Ordering::Relaxed);
            return;
        }
        let deadline = super::monotonic_ns().saturating_add(value);
        real.state.deadline.store(deadline, Ordering::Relaxed);
        real.timer.arm(deadline);
    }
}

fn real_timer(pid: u32) -> RealTimer {
    let state = Arc::new(RealState { interval: AtomicU64::new(0), deadline: AtomicU64::new(0) });
    let fired = state.clone();
    let timer = Timer::repeating(move || {
        let process = find(pid)?;
        signal::send_process(&process, SigInfo::kernel(sig::ALRM));
        let interval = fired.interval.load(Ordering::Relaxed);
        let due = fired.deadline.load(Ordering::Relaxed);
        // Skips periods that have passed already, without drifting.
        let periods = super::monotonic_ns().saturating_sub(due).checked_div(interval).map(|n| n + 1);
        let next = periods.map_or(0, |periods| due + periods * interval);
        fired.deadline.store(next, Ordering::Relaxed);
        (next != 0).then_some(next)
    });
    RealTimer { timer, state }
}
