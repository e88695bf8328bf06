//! Clocks and timers.
//!
//! * [`clock`]: what the clock ids of clock_gettime(2) read; the wall clock's offset.
//! * [`ntp`]: the discipline that adjtimex(2) steers: the clocks' rate, leap seconds.
//! * [`timer`]: per-CPU queues of one-shot kernel timers, fired from the timer interrupt.
//! * [`vdso`]: the page from which user space reads the time without a system call.

pub mod clock;
pub mod ntp;
pub mod posix_timer;
pub mod timer;
pub mod vdso;

pub use clock::{boottime_ns, monotonic_ns, realtime_ns};
pub use timer::{Timer, sleep_ns};

/// Nanoseconds of one second.
pub const NSEC_PER_SEC: u64 = 1_000_000_000;

/// Reads the real-time clock and sets up the vDSO's data.
pub fn init() {
    let mhz = |hz: u64| (hz / 1_000_000, hz / 1000 % 1000);
    let (tsc, apic) = (
        mhz(keel_hal::time::tsc_hz()),
        mhz(keel_hal::time::apic_timer_hz()),
    );
    log::info!(
        "tsc: {}.{:03} MHz, APIC timer: {}.{:03} MHz",
        tsc.0,
        tsc.1,
        apic.0,
        apic.1
    );
    clock::init();
    vdso::init();
}
