//! Byte offsets in the vDSO's data page, shared by the code in the image and by the kernel that writes the page.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0x00 | 4 | sequence: odd while the page is being written |
//! | 0x04 | 4 | clock mode: 0 = ask the kernel, 1 = TSC |
//! | 0x08 | 8 | TSC value at which the bases hold |
//! | 0x10 | 4 | multiplier of all precise clocks but `CLOCK_MONOTONIC_RAW` |
//! | 0x14 | 4 | multiplier of `CLOCK_MONOTONIC_RAW` |
//! | 0x18 | 4 | shift: nanoseconds = cycles × multiplier >> shift |
//! | 0x1c | 4 | resolution of the precise clocks, ns |
//! | 0x20 | 4 | resolution of the coarse clocks, ns |
//! | 0x24 | 4 | minutes west of Greenwich |
//! | 0x28 | 4 | type of daylight-saving time |
//! | 0x2c | 4 | CPU mode: 0 = ask the kernel, 1 = RDPID, 2 = LSL, 3 = RDTSCP |
//! | 0x40 | 16 each | base of clock N at 0x40 + 16 N: seconds, then nanoseconds << shift (plain nanoseconds for the coarse clocks) |

/// Sequence count.
pub const SEQ: u32 = 0x00;
/// Clock mode.
pub const CLOCK_MODE: u32 = 0x04;
/// TSC at the bases.
pub const CYCLE_LAST: u32 = 0x08;
/// Multiplier of the disciplined clocks.
pub const MONO_MULT: u32 = 0x10;
/// Multiplier of the raw clock.
pub const RAW_MULT: u32 = 0x14;
/// Shift of both.
pub const SHIFT: u32 = 0x18;
/// Resolution of the precise clocks.
pub const HRTIMER_RES: u32 = 0x1c;
/// Resolution of the coarse clocks.
pub const COARSE_RES: u32 = 0x20;
/// `tz_minuteswest`.
pub const TZ_MINUTESWEST: u32 = 0x24;
/// `tz_dsttime`.
pub const TZ_DSTTIME: u32 = 0x28;
/// CPU mode.
pub const CPU_MODE: u32 = 0x2c;
/// First clock base.
pub const CLOCKS: u32 = 0x40;
/// Bytes per clock base.
pub const CLOCK_SIZE: u32 = 16;
/// Clock bases: `CLOCK_REALTIME` (0) to `CLOCK_TAI` (11).
pub const CLOCK_COUNT: u32 = 12;

/// [`CLOCK_MODE`]: use the TSC.
pub const CLOCK_MODE_TSC: u32 = 1;
/// [`CPU_MODE`]: the RDPID instruction.
pub const CPU_MODE_RDPID: u32 = 1;
/// [`CPU_MODE`]: the limit of a segment.
pub const CPU_MODE_LSL: u32 = 2;
/// [`CPU_MODE`]: the RDTSCP instruction.
pub const CPU_MODE_RDTSCP: u32 = 3;
/// The segment selector whose limit tells node and CPU: GDT entry 15, privilege 3.
pub const CPU_SELECTOR: u16 = 0x7b;
/// In `IA32_TSC_AUX` and in that limit the CPU's number takes so many low bits; the node is above them.
pub const CPU_BITS: u32 = 12;

/// Bit N: clock N counts in shifted nanoseconds (`REALTIME`, `MONOTONIC`, `MONOTONIC_RAW`, `BOOTTIME`, `TAI`).
pub const PRECISE: u32 = 1 << 0 | 1 << 1 | 1 << CLOCK_MONOTONIC_RAW | 1 << 7 | 1 << 11;
/// Bit N: clock N is a coarse one (`REALTIME_COARSE`, `MONOTONIC_COARSE`).
pub const COARSE: u32 = 1 << 5 | 1 << 6;
/// `CLOCK_MONOTONIC_RAW`
pub const CLOCK_MONOTONIC_RAW: u32 = 4;
/// `CLOCK_REALTIME_COARSE`
pub const CLOCK_REALTIME_COARSE: u32 = 5;
