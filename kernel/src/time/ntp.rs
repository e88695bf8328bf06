//! The clock discipline that adjtimex(2) and ntp_adjtime(3) steer (RFC 5905, appendix A.5.6; adjtimex(2)).
//!
//! The clocks' rate is the TSC's plus a frequency offset, plus what the tick's length says, plus, second by second, a
//! part of the phase offset that is still to be made up and of adjtime(3)'s slew. A timer at every full second of the
//! wall clock takes the next part, lets the errors grow and does leap seconds; it stops while nothing is to be done.
//!
//! The state is under an interrupt-safe lock, held for arithmetic only.

use keel_abi::flags::{AdjMode, TimexStatus};
use keel_abi::types::{Timeval, Timex};

use super::{NSEC_PER_SEC, Timer, clock, monotonic_ns, realtime_ns};
use crate::prelude::*;

/// `modes` of adjtime(3): the C library's use of the call.
const ADJ_ADJTIME: u32 = 0x8000;
/// With [`ADJ_ADJTIME`]: only tell what is left.
const ADJ_OFFSET_READONLY: u32 = 0x2000;

/// What the call gives: the state of the clock.
mod state {
    pub const OK: i32 = 0;
    pub const INSERT: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const LEAP: i32 = 3;
    pub const WAIT: i32 = 4;
    pub const ERROR: i32 = 5;
}

/// Status bits that only the kernel sets.
const READ_ONLY: TimexStatus = TimexStatus::PPSSIGNAL
    .union(TimexStatus::PPSJITTER)
    .union(TimexStatus::PPSWANDER)
    .union(TimexStatus::PPSERROR)
    .union(TimexStatus::CLOCKERR)
    .union(TimexStatus::NANO)
    .union(TimexStatus::MODE)
    .union(TimexStatus::CLK);

/// Errors beyond this mean that the clock is not synchronised, microseconds (`NTP_PHASE_LIMIT`).
const PHASE_LIMIT: i64 = 16_000_000;
/// What the maximum error grows by in a second, and the largest frequency offset, parts per million (`MAXFREQ`).
const MAX_PPM: i64 = 500;
/// Largest phase offset, nanoseconds (`MAXPHASE`).
const MAX_PHASE: i64 = 500_000_000;
/// Largest time constant (`MAXTC`).
const MAX_CONSTANT: i64 = 10;
/// Fractional bits of parts per million in the call.
const PPM_SHIFT: u32 = 16;
/// Fractional bits of nanoseconds per second here.
const SHIFT: u32 = 32;
const MAX_FREQUENCY: i64 = (MAX_PPM * 1000) << SHIFT;
/// Divides a second's part of the phase offset, with the time constant (`SHIFT_PLL`).
const PLL_SHIFT: u32 = 2;
/// As [`PLL_SHIFT`], for the frequency-locked loop.
const FLL_SHIFT: u32 = 2;
/// Between these intervals (seconds) the loop is frequency locked if asked for; above, always.
const FLL_INTERVALS: (i64, i64) = (256, 2048);
/// The tick's length, microseconds, and its limits.
const TICK_USEC: i64 = 10_000;
const TICKS_PER_SEC: i64 = 100;
/// What adjtime(3) makes up in a second, microseconds.
const SLEW_PER_SEC: i64 = 500;
const MAX_TAI: i64 = 100_000;
const SECS_PER_DAY: i64 = 86_400;
const NSEC: i64 = NSEC_PER_SEC as i64;

struct Discipline {
    status: TimexStatus,
    state: i32,
    /// Phase offset that is still to be made up, nanoseconds.
    offset: i64,
    /// Nanoseconds per second, with [`SHIFT`] fractional bits.
    frequency: i64,
    /// Microseconds.
    max_error: i64,
    est_error: i64,
    constant: i64,
    tick: i64,
    /// What adjtime(3) has still to make up, microseconds.
    slew: i64,
    /// Wall-clock second of the last phase offset.
    reference: i64,
    /// Wall-clock second at which a leap second is inserted or left out.
    leap_at: i64,
    /// Part of the phase offset and of the slew in the running second, nanoseconds.
    now: i64,
    running: bool,
}

static DISCIPLINE: IrqLock<Discipline> = IrqLock::new(Discipline {
    status: TimexStatus::UNSYNC,
    state: state::OK,
    offset: 0,
    frequency: 0,
    max_error: PHASE_LIMIT,
    est_error: PHASE_LIMIT,
    constant: 2,
    tick: TICK_USEC,
    slew: 0,
    reference: 0,
    leap_at: i64::MAX,
    now: 0,
    running: false,
});

/// Fires at full seconds.
fn timer() -> &'static Timer {
    static TIMER: OnceLock<Timer> = OnceLock::new();
    TIMER.call_once(|| Timer::repeating(second))
}

/// The wall clock, in whole seconds.
fn wall_second() -> i64 {
    realtime_ns().div_euclid(NSEC)
}

/// When the wall clock's next second begins, in monotonic time.
fn next_second() -> u64 {
    let left = NSEC - realtime_ns().rem_euclid(NSEC);
    monotonic_ns() + left.unsigned_abs()
}

impl Discipline {
    /// Whether something changes by itself every second.
    fn is_active(&self) -> bool {
        let leaps = TimexStatus::INS | TimexStatus::DEL;
        self.offset != 0
            || self.slew != 0
            || self.now != 0
            || self.state != state::OK
            || self.status.intersects(leaps)
            || !self.status.contains(TimexStatus::UNSYNC)
    }

    /// The rate's difference from the TSC's, in parts per thousand million.
    fn rate(&self) -> i64 {
        let tick = (self.tick - TICK_USEC) * 1000 * TICKS_PER_SEC;
        (self.frequency >> SHIFT) + tick + self.now
    }

    /// Takes the coming second's part of what is to be made up.
    fn take_part(&mut self) {
        let shift = PLL_SHIFT + self.constant as u32;
        let part = if self.status.contains(TimexStatus::PLL) {
            // Towards zero, so that it comes to an end.
            self.offset / (1 << shift)
        } else {
            self.offset
        };
        let part =
            if part == 0 { self.offset } else { part }.clamp(-MAX_PPM * 1000, MAX_PPM * 1000);
        self.offset -= part;
        let slew = self.slew.clamp(-SLEW_PER_SEC, SLEW_PER_SEC);
        self.slew -= slew;
        self.now = part + slew * 1000;
    }

    /// The wall clock's second `second` has begun: by how much it is to be stepped for a leap second.
    fn overflow(&mut self, second: i64) -> i64 {
        let midnight = (second.div_euclid(SECS_PER_DAY) + 1) * SECS_PER_DAY;
        let mut step = 0;
        match self.state {
            state::OK if self.status.contains(TimexStatus::INS) => {
                self.state = state::INSERT;
                self.leap_at = midnight;
            }
            state::OK if self.status.contains(TimexStatus::DEL) => {
                self.state = state::DELETE;
                self.leap_at = midnight;
            }
            state::INSERT if !self.status.contains(TimexStatus::INS) => self.state = state::OK,
            state::INSERT if second >= self.leap_at => {
                self.state = state::LEAP;
                step = -1;
            }
            state::DELETE if !self.status.contains(TimexStatus::DEL) => self.state = state::OK,
            state::DELETE if second + 1 >= self.leap_at => {
                self.state = state::WAIT;
                step = 1;
            }
            state::LEAP => self.state = state::WAIT,
            state::WAIT if !self.status.intersects(TimexStatus::INS | TimexStatus::DEL) => {
                self.state = state::OK;
            }
            _ => {}
        }
        self.max_error += MAX_PPM;
        if self.max_error > PHASE_LIMIT {
            self.max_error = PHASE_LIMIT;
            self.status |= TimexStatus::UNSYNC;
        }
        self.take_part();
        step
    }

    /// A new phase offset was measured (ADJ_OFFSET).
    fn measured(&mut self, offset: i64) {
        if !self.status.contains(TimexStatus::PLL) {
            return;
        }
        let offset = if self.status.contains(TimexStatus::NANO) {
            offset
        } else {
            offset.clamp(-1_000_000, 1_000_000) * 1000
        };
        let offset = offset.clamp(-MAX_PHASE, MAX_PHASE);
        let now = wall_second();
        let mut interval = now.saturating_sub(self.reference);
        if self.status.contains(TimexStatus::FREQHOLD) {
            interval = 0;
        }
        self.reference = now;
        self.status.remove(TimexStatus::MODE);
        let mut change = 0;
        let (least, most) = FLL_INTERVALS;
        if interval >= least && (self.status.contains(TimexStatus::FLL) || interval > most) {
            self.status |= TimexStatus::MODE;
            change += (i128::from(offset) << (SHIFT - FLL_SHIFT)) / i128::from(interval);
        }
        let shift = PLL_SHIFT + self.constant as u32;
        let interval = interval.clamp(0, 1 << (shift + 1));
        change += (i128::from(offset) * i128::from(interval)) << (SHIFT - 2 * (shift + 2).min(16));
        let frequency = i128::from(self.frequency) + change;
        let limit = i128::from(MAX_FREQUENCY);
        self.frequency = frequency.clamp(-limit, limit) as i64;
        self.offset = offset;
    }

    fn set_status(&mut self, new: TimexStatus) {
        let (had, has) = (
            self.status.contains(TimexStatus::PLL),
            new.contains(TimexStatus::PLL),
        );
        if had && !has {
            self.state = state::OK;
            self.leap_at = i64::MAX;
            self.status = TimexStatus::UNSYNC;
        }
        if !had && has {
            self.reference = wall_second();
        }
        self.status = (self.status & READ_ONLY) | (new - READ_ONLY);
    }

    /// Does what `modes` asks for.
    fn apply(&mut self, timex: &Timex) {
        let modes = AdjMode::from_bits_retain(timex.modes);
        if modes.contains(AdjMode::STATUS) {
            self.set_status(TimexStatus::from_bits_retain(timex.status.cast_unsigned()));
        }
        if modes.contains(AdjMode::NANO) {
            self.status |= TimexStatus::NANO;
        }
        if modes.contains(AdjMode::MICRO) {
            self.status.remove(TimexStatus::NANO);
        }
        if modes.contains(AdjMode::FREQUENCY) {
            let limit = MAX_PPM << PPM_SHIFT;
            let frequency = timex.freq.clamp(-limit, limit);
            self.frequency = (frequency * 1000) << (SHIFT - PPM_SHIFT);
        }
        if modes.contains(AdjMode::MAXERROR) {
            self.max_error = timex.maxerror.clamp(0, PHASE_LIMIT);
        }
        if modes.contains(AdjMode::ESTERROR) {
            self.est_error = timex.esterror.clamp(0, PHASE_LIMIT);
        }
        if modes.contains(AdjMode::TIMECONST) {
            let micro = !self.status.contains(TimexStatus::NANO);
            let constant = timex.constant.clamp(0, MAX_CONSTANT) + if micro { 4 } else { 0 };
            self.constant = constant.min(MAX_CONSTANT);
        }
        if modes.contains(AdjMode::OFFSET) {
            self.measured(timex.offset);
        }
        if modes.contains(AdjMode::TICK) {
            self.tick = timex.tick;
        }
    }

    /// What the call tells.
    fn report(&self, timex: &mut Timex) -> i32 {
        timex.freq = (self.frequency >> (SHIFT - PPM_SHIFT)) / 1000;
        timex.maxerror = self.max_error;
        timex.esterror = self.est_error;
        timex.status = self.status.bits().cast_signed();
        timex.constant = self.constant;
        timex.precision = 1;
        timex.tolerance = MAX_PPM << PPM_SHIFT;
        timex.tick = self.tick;
        (timex.ppsfreq, timex.jitter, timex.shift, timex.stabil) = (0, 0, 0, 0);
        (timex.jitcnt, timex.calcnt, timex.errcnt, timex.stbcnt) = (0, 0, 0, 0);
        let wrong = TimexStatus::UNSYNC | TimexStatus::CLOCKERR;
        if self.status.intersects(wrong) {
            state::ERROR
        } else {
            self.state
        }
    }
}

/// A second of the wall clock has begun. In an interrupt.
fn second() -> Option<u64> {
    let (rate, step, goes_on) = {
        let mut discipline = DISCIPLINE.lock();
        let step = discipline.overflow(wall_second());
        discipline.running = discipline.is_active();
        (discipline.rate(), step, discipline.running)
    };
    if step != 0 {
        clock::set_realtime_ns(realtime_ns() + step * NSEC);
        clock::set_tai_offset(clock::tai_offset() - step);
    }
    set_rate(rate);
    goes_on.then(next_second)
}

fn set_rate(rate: i64) {
    keel_hal::time::set_rate(rate);
    super::vdso::update();
}

/// adjtimex(2): EPERM, EINVAL. Gives the clock's state, and in `timex` all values.
pub fn adjust(timex: &mut Timex, privileged: bool) -> Result<i32> {
    check(timex, privileged)?;
    let modes = AdjMode::from_bits_retain(timex.modes);
    let singleshot = timex.modes & ADJ_ADJTIME != 0;
    if !singleshot && modes.contains(AdjMode::SETOFFSET) {
        let unit = if modes.contains(AdjMode::NANO) {
            1
        } else {
            1000
        };
        let delta = timex.time.tv_sec.saturating_mul(NSEC) + timex.time.tv_usec * unit;
        let new = realtime_ns().saturating_add(delta);
        if new < monotonic_ns() as i64 {
            return Err(Errno::EINVAL);
        }
        clock::set_realtime_ns(new);
        crate::ipc::timerfd::clock_was_set();
    }
    if !singleshot && modes.contains(AdjMode::TAI) && (0..=MAX_TAI).contains(&timex.constant) {
        clock::set_tai_offset(timex.constant);
    }
    let (result, start, rate) = {
        let mut discipline = DISCIPLINE.lock();
        if singleshot {
            let left = discipline.slew;
            if timex.modes & ADJ_OFFSET_READONLY == 0 {
                discipline.slew = timex.offset;
            }
            timex.offset = left;
        } else {
            discipline.apply(timex);
            let nano = discipline.status.contains(TimexStatus::NANO);
            timex.offset = discipline.offset / if nano { 1 } else { 1000 };
        }
        let result = discipline.report(timex);
        let start = discipline.is_active() && !discipline.running;
        discipline.running |= start;
        (result, start, discipline.rate())
    };
    if timex.modes != 0 {
        set_rate(rate);
    }
    if start {
        timer().arm(next_second());
    }
    let now = realtime_ns();
    let nano = timex.status & TimexStatus::NANO.bits().cast_signed() != 0;
    timex.time = Timeval {
        tv_sec: now.div_euclid(NSEC),
        tv_usec: now.rem_euclid(NSEC) / if nano { 1 } else { 1000 },
    };
    timex.tai = clock::tai_offset() as i32;
    Ok(result)
}

fn check(timex: &Timex, privileged: bool) -> Result<()> {
    let modes = AdjMode::from_bits_retain(timex.modes);
    if timex.modes & ADJ_ADJTIME != 0 {
        if !modes.contains(AdjMode::OFFSET) {
            return Err(Errno::EINVAL);
        }
        if timex.modes & ADJ_OFFSET_READONLY == 0 && !privileged {
            return Err(Errno::EPERM);
        }
        return Ok(());
    }
    if timex.modes != 0 && !privileged {
        return Err(Errno::EPERM);
    }
    let bad_tick = !(TICK_USEC * 9 / 10..=TICK_USEC * 11 / 10).contains(&timex.tick);
    if modes.contains(AdjMode::TICK) && bad_tick {
        return Err(Errno::EINVAL);
    }
    if modes.contains(AdjMode::SETOFFSET) {
        let most = if modes.contains(AdjMode::NANO) {
            NSEC
        } else {
            1_000_000
        };
        if !(0..most).contains(&timex.time.tv_usec) {
            return Err(Errno::EINVAL);
        }
    }
    Ok(())
}

/// The wall clock is set: what was known of its errors holds no more.
pub fn clear() {
    let rate = {
        let mut discipline = DISCIPLINE.lock();
        discipline.slew = 0;
        discipline.offset = 0;
        discipline.now = 0;
        discipline.status |= TimexStatus::UNSYNC;
        discipline.max_error = PHASE_LIMIT;
        discipline.est_error = PHASE_LIMIT;
        discipline.leap_at = i64::MAX;
        discipline.rate()
    };
    set_rate(rate);
}
