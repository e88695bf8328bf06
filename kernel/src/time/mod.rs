//! Clocks and timers.
//!
//! * [`clock`]: what the clock ids of clock_gettime(2) read; the wall clock's offset.
//! * [`timer`]: per-CPU queues of one-shot kernel timers, fired from the timer interrupt.
//! * [`vdso`]: the page from which user space reads the time without a system call.

pub mod clock;
pub mod posix_timer;
pub mod timer;
pub mod vdso;

pub use clock::{boottime_ns, monotonic_ns, realtime_ns};
pub use timer::{Timer, sleep_ns};

/// Nanoseconds of one second.
pub const NSEC_PER_SEC: u64 = 1_000_000_000;

/// Reads the real-time clock and sets up the vDSO's data.
pub fn init() {
    clock::init();
    vdso::init();
}
