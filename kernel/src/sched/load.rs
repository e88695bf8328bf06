//! Load averages (/proc/loadavg): exponentially damped means of the runnable tasks over 1, 5 and 15 minutes.

use core::sync::atomic::{AtomicU64, Ordering};

/// Fixed point of the averages as sysinfo(2) gives them: 1 is 65536.
const ONE: u64 = 1 << 16;
/// Seconds between samples.
pub const PERIOD_SECS: u64 = 5;
/// `exp(-5s/period)` in units of 1/65536 for 1, 5 and 15 minutes.
const DECAY: [u64; 3] = [60_297, 64_453, 65_173];

static AVERAGES: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Takes a sample; called every [`PERIOD_SECS`].
pub fn sample(runnable: usize) {
    for (average, decay) in AVERAGES.iter().zip(DECAY) {
        let old = average.load(Ordering::Relaxed);
        let new = (old * decay + runnable as u64 * ONE * (ONE - decay)) / ONE;
        average.store(new, Ordering::Relaxed);
    }
}

/// The three averages in units of 1/65536.
pub fn averages() -> [u64; 3] {
    [0, 1, 2].map(|at| AVERAGES[at].load(Ordering::Relaxed))
}
