//! The vDSO: the clock without a system call (vdso(7)).
//!
//! [`IMAGE`] is an ELF shared object, `linux-vdso.so.1`, with version `LINUX_2.6`. The kernel maps it executable and
//! read-only, with a data page ([`VVAR_SIZE`] bytes, shared by all processes, read-only for them) right before it,
//! and passes the image's address as `AT_SYSINFO_EHDR`. The code finds the data page by its distance from itself.
//!
//! [`VdsoData`] is what that page says. [`VdsoData::publish`] writes it so that readers on other CPUs never see half
//! of it; [`VdsoData::time`] computes what the image's code computes, for the kernel's own clock_gettime(2), so
//! that both give the same time.
//!
//! Locking: publishing is for one writer at a time (the kernel's timekeeping lock); readers never wait for long.

pub mod layout;

use layout::{CLOCK_COUNT, CLOCK_SIZE, CLOCKS};

/// The image: whole pages.
pub const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vdso.so"));

/// Bytes of data page before the image.
pub const VVAR_SIZE: u64 = crate::PAGE_SIZE;

const NSEC_PER_SEC: u64 = 1_000_000_000;

/// The data page, as the writer sees it.
///
/// Stores are atomic and of release order (or stronger): a store is seen after all stores before it.
pub trait VvarPage {
    /// Stores 4 bytes at `offset`, a multiple of 4 below 4096.
    fn store_u32(&self, offset: u32, value: u32);
    /// Stores 8 bytes at `offset`, a multiple of 8 below 4096.
    fn store_u64(&self, offset: u32, value: u64);
}

/// How the precise clocks are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum ClockMode {
    /// By a system call: there is no TSC that all CPUs share.
    #[default]
    Syscall = 0,
    /// From the TSC.
    Tsc = layout::CLOCK_MODE_TSC,
}

/// How a program learns which CPU it runs on. All but the first need the value `node << 12 | cpu` in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum CpuMode {
    /// By a system call.
    #[default]
    Syscall = 0,
    /// RDPID reads it from `IA32_TSC_AUX`.
    Rdpid = layout::CPU_MODE_RDPID,
    /// It is the limit of GDT entry 15 ([`layout::CPU_SELECTOR`]), a data segment of privilege 3.
    Lsl = layout::CPU_MODE_LSL,
    /// RDTSCP reads it from `IA32_TSC_AUX`.
    Rdtscp = layout::CPU_MODE_RDTSCP,
}

/// Nanoseconds = cycles × `mult` >> `shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Scale {
    /// The multiplier.
    pub mult: u32,
    /// The shift, at most 32.
    pub shift: u32,
}

impl Scale {
    /// The most exact scale for a counter of `hz` cycles per second. The error is below one part in 2^30 up to
    /// 8 GHz. `None` for less than 1 Hz.
    pub fn from_hz(hz: u64) -> Option<Self> {
        (0..=32).rev().find_map(|shift| {
            let mult = (u128::from(NSEC_PER_SEC) << shift).checked_add(u128::from(hz / 2))?;
            let mult = u32::try_from(mult.checked_div(u128::from(hz))?).ok()?;
            Some(Scale { mult, shift })
        })
    }
}

/// A point in time of one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ClockBase {
    /// Whole seconds.
    pub sec: u64,
    /// Nanoseconds << [`VdsoData::shift`] for the precise clocks, plain nanoseconds for the coarse ones.
    pub frac: u64,
}

/// The contents of the data page; [`layout`] has the offsets.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct VdsoData {
    /// How to read the precise clocks.
    pub clock_mode: ClockMode,
    /// The TSC when the bases held.
    pub cycle_last: u64,
    /// Multiplier of the clocks that adjtimex(2) steers.
    pub mono_mult: u32,
    /// Multiplier of `CLOCK_MONOTONIC_RAW`.
    pub raw_mult: u32,
    /// Shift of both, at most 32.
    pub shift: u32,
    /// What clock_getres(2) says of the precise clocks, in nanoseconds.
    pub hrtimer_res: u32,
    /// The same of the coarse clocks: the length of a tick.
    pub coarse_res: u32,
    /// settimeofday(2)'s time zone.
    pub tz_minuteswest: i32,
    /// settimeofday(2)'s time zone.
    pub tz_dsttime: i32,
    /// How getcpu works.
    pub cpu_mode: CpuMode,
    /// The bases, by clock number. Those of other clocks than [`layout::PRECISE`] and [`layout::COARSE`] stay zero.
    pub clocks: [ClockBase; CLOCK_COUNT as usize],
}

impl VdsoData {
    /// Sets the base of a clock that this page serves; others are left alone. `nsec` is below 10^9.
    pub fn set(&mut self, clock: u32, sec: u64, nsec: u32) {
        let shift = if is_in(layout::PRECISE, clock) {
            self.shift
        } else if is_in(layout::COARSE, clock) {
            0
        } else {
            return;
        };
        if let Some(base) = self.clocks.get_mut(clock as usize) {
            *base = ClockBase {
                sec,
                frac: u64::from(nsec) << shift,
            };
        }
    }

    /// Seconds and nanoseconds of `clock` when the TSC reads `tsc`; `None` for a clock that only the kernel knows.
    pub fn time(&self, clock: u32, tsc: u64) -> Option<(u64, u32)> {
        let base = self.clocks.get(clock as usize)?;
        if is_in(layout::COARSE, clock) {
            return Some((base.sec, base.frac as u32));
        }
        if !is_in(layout::PRECISE, clock) {
            return None;
        }
        let raw = clock == layout::CLOCK_MONOTONIC_RAW;
        let mult = if raw { self.raw_mult } else { self.mono_mult };
        let cycles = tsc.saturating_sub(self.cycle_last);
        let scaled = u128::from(cycles) * u128::from(mult) + u128::from(base.frac);
        let nsec = (scaled >> self.shift) as u64;
        let sec = base.sec.wrapping_add(nsec / NSEC_PER_SEC);
        Some((sec, (nsec % NSEC_PER_SEC) as u32))
    }

    /// Moves all precise bases forward to `tsc`, so that multipliers can change without a jump.
    pub fn advance(&mut self, tsc: u64) {
        let cycles = tsc.saturating_sub(self.cycle_last);
        let second = NSEC_PER_SEC << self.shift;
        for (clock, base) in self.clocks.iter_mut().enumerate() {
            if !is_in(layout::PRECISE, clock as u32) {
                continue;
            }
            let raw = clock as u32 == layout::CLOCK_MONOTONIC_RAW;
            let mult = if raw { self.raw_mult } else { self.mono_mult };
            let frac = u128::from(cycles) * u128::from(mult) + u128::from(base.frac);
            base.sec = base.sec.wrapping_add((frac / u128::from(second)) as u64);
            base.frac = (frac % u128::from(second)) as u64;
        }
        self.cycle_last = self.cycle_last.max(tsc);
    }

    /// Writes the page. `seq` is the writer's own count of writes; it starts at 0 with a zeroed page.
    pub fn publish(&self, page: &impl VvarPage, seq: &mut u32) {
        page.store_u32(layout::SEQ, seq.wrapping_add(1) | 1);
        page.store_u32(layout::CLOCK_MODE, self.clock_mode as u32);
        page.store_u64(layout::CYCLE_LAST, self.cycle_last);
        page.store_u32(layout::MONO_MULT, self.mono_mult);
        page.store_u32(layout::RAW_MULT, self.raw_mult);
        page.store_u32(layout::SHIFT, self.shift);
        page.store_u32(layout::HRTIMER_RES, self.hrtimer_res);
        page.store_u32(layout::COARSE_RES, self.coarse_res);
        page.store_u32(layout::TZ_MINUTESWEST, self.tz_minuteswest.cast_unsigned());
        page.store_u32(layout::TZ_DSTTIME, self.tz_dsttime.cast_unsigned());
        page.store_u32(layout::CPU_MODE, self.cpu_mode as u32);
        for (offset, base) in (CLOCKS..).step_by(CLOCK_SIZE as usize).zip(&self.clocks) {
            page.store_u64(offset, base.sec);
            page.store_u64(offset + 8, base.frac);
        }
        *seq = seq.wrapping_add(2) & !1;
        page.store_u32(layout::SEQ, *seq);
    }
}

fn is_in(clocks: u32, clock: u32) -> bool {
    clock < CLOCK_COUNT && clocks >> clock & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_exact() {
        assert_eq!(
            Scale::from_hz(1_000_000_000),
            Some(Scale {
                mult: 1 << 31,
                shift: 31
            })
        );
        assert_eq!(Scale::from_hz(0), None);
        for hz in [
            1,
            32_768,
            1_193_182,
            500_000_000,
            2_399_999_123,
            5_800_000_000,
            u64::MAX,
        ] {
            let Some(scale) = Scale::from_hz(hz) else {
                continue;
            };
            let nsec = (u128::from(hz) * u128::from(scale.mult)) >> scale.shift;
            let error = nsec.abs_diff(u128::from(NSEC_PER_SEC));
            let bound = if hz < 1 << 34 { 2 } else { NSEC_PER_SEC };
            assert!(error <= bound.into(), "{hz}: {scale:?} is wrong by {error}");
        }
    }

    fn sample() -> VdsoData {
        let scale = Scale::from_hz(2_500_000_000).unwrap();
        let mut data = VdsoData {
            clock_mode: ClockMode::Tsc,
            cycle_last: 1000,
            mono_mult: scale.mult,
            raw_mult: scale.mult,
            shift: scale.shift,
            ..VdsoData::default()
        };
        data.set(0, 1_700_000_000, 999_999_999);
        data.set(5, 1_700_000_000, 17);
        data.set(4, 3, 0);
        data
    }

    #[test]
    fn time_passes_with_cycles() {
        let data = sample();
        assert_eq!(data.time(0, 1000), Some((1_700_000_000, 999_999_999)));
        assert_eq!(data.time(0, 1003), Some((1_700_000_001, 0)));
        assert_eq!(
            data.time(0, 0),
            Some((1_700_000_000, 999_999_999)),
            "never backwards"
        );
        assert_eq!(data.time(5, 99_999), Some((1_700_000_000, 17)));
        assert_eq!(data.time(2, 0), None);
        assert_eq!(data.time(12, 0), None);
        let years = data.time(4, 1000 + 2_500_000_000 * 100_000_000).unwrap();
        assert_eq!(
            (years.0, years.1 / 10_000_000),
            (100_000_002, 97),
            "2^-32 slow for 100 million seconds"
        );
    }

    #[test]
    fn advancing_does_not_change_the_time() {
        let mut data = sample();
        let later = 123_456_789_012_345;
        let want = [data.time(0, later), data.time(4, later)];
        for tsc in [1001, 5000, 2_500_001_000, 99_999_999_999] {
            data.advance(tsc);
        }
        assert_eq!([data.time(0, later), data.time(4, later)], want);
        assert!(data.clocks[0].frac < NSEC_PER_SEC << data.shift);
    }
}
