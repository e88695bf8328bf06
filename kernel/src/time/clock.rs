//! The clocks of clock_gettime(2) that do not belong to a process.
//!
//! Everything derives from the TSC's monotonic nanoseconds: CLOCK_REALTIME is that plus an offset under a
//! sequence lock, CLOCK_TAI that plus whole seconds. The machine does not suspend, so CLOCK_BOOTTIME equals
//! CLOCK_MONOTONIC.

use core::sync::atomic::{AtomicI64, Ordering};

use super::NSEC_PER_SEC;

/// CLOCK_REALTIME minus CLOCK_MONOTONIC in nanoseconds.
static REALTIME_OFFSET: AtomicI64 = AtomicI64::new(0);
/// CLOCK_TAI minus CLOCK_REALTIME in seconds (adjtimex's `tai`).
static TAI_OFFSET: AtomicI64 = AtomicI64::new(0);

/// Sets the wall clock from the CMOS clock.
pub fn init() {
    set_realtime_ns(keel_hal::rtc::now().saturating_mul(NSEC_PER_SEC as i64));
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn monotonic_ns() -> u64 {
    keel_hal::time::now()
}

/// CLOCK_BOOTTIME in nanoseconds.
pub fn boottime_ns() -> u64 {
    monotonic_ns()
}

/// CLOCK_REALTIME in nanoseconds since 1970.
pub fn realtime_ns() -> i64 {
    (monotonic_ns() as i64).saturating_add(realtime_offset())
}

/// CLOCK_REALTIME minus CLOCK_MONOTONIC.
pub fn realtime_offset() -> i64 {
    REALTIME_OFFSET.load(Ordering::Relaxed)
}

/// Sets CLOCK_REALTIME.
pub fn set_realtime_ns(ns: i64) {
    REALTIME_OFFSET.store(ns.saturating_sub(monotonic_ns() as i64), Ordering::Relaxed);
    super::vdso::update();
}

/// CLOCK_TAI minus CLOCK_REALTIME in seconds.
pub fn tai_offset() -> i64 {
    TAI_OFFSET.load(Ordering::Relaxed)
}

/// Sets CLOCK_TAI minus CLOCK_REALTIME.
pub fn set_tai_offset(seconds: i64) {
    TAI_OFFSET.store(seconds, Ordering::Relaxed);
    super::vdso::update();
}

/// The wall clock as whole seconds and nanoseconds (inode times).
pub fn realtime() -> (i64, u32) {
    let now = realtime_ns();
    (
        now.div_euclid(NSEC_PER_SEC as i64),
        now.rem_euclid(NSEC_PER_SEC as i64) as u32,
    )
}
