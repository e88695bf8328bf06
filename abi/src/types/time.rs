//! Times and timers: clock_gettime(2), setitimer(2), adjtimex(2), times(2).

use core::time::Duration;

use crate::errno::{Errno, Result};

uapi! {
    /// Seconds and nanoseconds (timespec(3type)).
    #[derive(Eq, PartialEq, Ord, PartialOrd)]
    struct Timespec = "struct timespec", "linux/time.h" {
        tv_sec: i64,
        tv_nsec: i64,
    }

    /// Seconds and microseconds (timeval(3type)).
    #[derive(Eq, PartialEq, Ord, PartialOrd)]
    struct Timeval = "struct timeval", "linux/time.h" {
        tv_sec: i64,
        tv_usec: i64,
    }

    /// gettimeofday(2)
    struct Timezone = "struct timezone", "linux/time.h" {
        tz_minuteswest: i32,
        tz_dsttime: i32,
    }

    /// setitimer(2)
    struct Itimerval = "struct itimerval", "linux/time.h" {
        it_interval: Timeval,
        it_value: Timeval,
    }

    /// timer_settime(2), timerfd_settime(2)
    struct Itimerspec = "struct itimerspec", "linux/time.h" {
        it_interval: Timespec,
        it_value: Timespec,
    }

    /// utime(2)
    struct Utimbuf = "struct utimbuf", "linux/types.h linux/utime.h" {
        actime: i64,
        modtime: i64,
    }

    /// times(2), in clock ticks of 1/100 s.
    struct Tms = "struct tms", "linux/types.h linux/times.h" {
        tms_utime: i64,
        tms_stime: i64,
        tms_cutime: i64,
        tms_cstime: i64,
    }

    /// adjtimex(2)
    struct Timex = "struct timex", "sys/timex.h" {
        modes: u32,
        _pad0: u32,
        offset: i64,
        freq: i64,
        maxerror: i64,
        esterror: i64,
        status: i32,
        _pad1: u32,
        constant: i64,
        precision: i64,
        tolerance: i64,
        time: Timeval,
        tick: i64,
        ppsfreq: i64,
        jitter: i64,
        shift: i32,
        _pad2: u32,
        stabil: i64,
        jitcnt: i64,
        calcnt: i64,
        errcnt: i64,
        stbcnt: i64,
        tai: i32,
        _pad3: [i32; 11],
    }
}

/// Clock ticks per second in times(2) and /proc (`USER_HZ`).
pub const USER_HZ: u64 = 100;

const NANOS_PER_SEC: i64 = 1_000_000_000;
const MICROS_PER_SEC: i64 = 1_000_000;

impl Timespec {
    /// A time since the epoch of some clock. Seconds beyond what fits are cut off at the largest value.
    pub fn from_duration(time: Duration) -> Timespec {
        Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        }
    }

    /// The time as a duration.
    ///
    /// # Errors
    /// `EINVAL` if a part is negative or the nanoseconds are a second or more.
    pub fn to_duration(self) -> Result<Duration> {
        match (u64::try_from(self.tv_sec), u32::try_from(self.tv_nsec)) {
            (Ok(secs), Ok(nanos)) if self.tv_nsec < NANOS_PER_SEC => Ok(Duration::new(secs, nanos)),
            _ => Err(Errno::EINVAL),
        }
    }
}

impl Timeval {
    /// A time since the epoch of some clock, rounded down to microseconds.
    pub fn from_duration(time: Duration) -> Timeval {
        Timeval {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_usec: i64::from(time.subsec_micros()),
        }
    }

    /// The time as a duration.
    ///
    /// # Errors
    /// `EINVAL` if a part is negative or the microseconds are a second or more.
    pub fn to_duration(self) -> Result<Duration> {
        match (u64::try_from(self.tv_sec), u32::try_from(self.tv_usec)) {
            (Ok(secs), Ok(micros)) if self.tv_usec < MICROS_PER_SEC => {
                Ok(Duration::new(secs, micros * 1000))
            }
            _ => Err(Errno::EINVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_normal_times_convert() {
        let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec }.to_duration();
        assert_eq!(time(1, 5), Ok(Duration::new(1, 5)));
        assert_eq!(time(0, 1_000_000_000), Err(Errno::EINVAL));
        assert_eq!(time(-1, 0), Err(Errno::EINVAL));
        assert_eq!(time(0, -1), Err(Errno::EINVAL));
        assert_eq!(time(0, 1 << 32), Err(Errno::EINVAL));
        assert_eq!(
            Timeval {
                tv_sec: 2,
                tv_usec: 999_999
            }
            .to_duration(),
            Ok(Duration::from_micros(2_999_999))
        );
        assert_eq!(Timespec::from_duration(Duration::MAX).tv_sec, i64::MAX);
    }
}
