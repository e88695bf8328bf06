//! Clocks and timers.
//!
//! Plain data; names and values are those of the UAPI headers.

open_enum! {
    /// A clock (clock_gettime(2)). Negative numbers name the CPU-time clock of a process or thread,
    /// or a clock device by its descriptor.
    pub struct ClockId: i32 {
        CLOCK_REALTIME = 0,
        CLOCK_MONOTONIC = 1,
        CLOCK_PROCESS_CPUTIME_ID = 2,
        CLOCK_THREAD_CPUTIME_ID = 3,
        CLOCK_MONOTONIC_RAW = 4,
        CLOCK_REALTIME_COARSE = 5,
        CLOCK_MONOTONIC_COARSE = 6,
        CLOCK_BOOTTIME = 7,
        CLOCK_REALTIME_ALARM = 8,
        CLOCK_BOOTTIME_ALARM = 9,
        CLOCK_SGI_CYCLE = 10,
        CLOCK_TAI = 11,
    }
}

flag_type! {
    /// The flags of timer_settime(2) and clock_nanosleep(2).
    pub struct TimerFlags: u32, prefix "TIMER_" {
        ABSTIME = 0x1,
    }
}

flag_type! {
    /// The flags of timerfd_create(2).
    pub struct TimerfdFlags: u32, prefix "TFD_" {
        CLOEXEC = 0x80000,
        NONBLOCK = 0x800,
    }
}

flag_type! {
    /// The flags of timerfd_settime(2).
    pub struct TimerfdSettimeFlags: u32, prefix "TFD_TIMER_" {
        ABSTIME = 0x1,
        CANCEL_ON_SET = 0x2,
    }
}

open_enum! {
    /// The timer of setitimer(2).
    pub struct ItimerWhich: i32 {
        ITIMER_REAL = 0,
        ITIMER_VIRTUAL = 1,
        ITIMER_PROF = 2,
    }
}

flag_type! {
    /// What adjtimex(2) changes.
    pub struct AdjMode: u32, prefix "ADJ_" {
        OFFSET = 0x1,
        FREQUENCY = 0x2,
        MAXERROR = 0x4,
        ESTERROR = 0x8,
        STATUS = 0x10,
        TIMECONST = 0x20,
        TAI = 0x80,
        SETOFFSET = 0x100,
        MICRO = 0x1000,
        NANO = 0x2000,
        TICK = 0x4000,
    }
}

flag_type! {
    /// The status bits of `struct timex`.
    pub struct TimexStatus: u32, prefix "STA_" {
        PLL = 0x1,
        PPSFREQ = 0x2,
        PPSTIME = 0x4,
        FLL = 0x8,
        INS = 0x10,
        DEL = 0x20,
        UNSYNC = 0x40,
        FREQHOLD = 0x80,
        PPSSIGNAL = 0x100,
        PPSJITTER = 0x200,
        PPSWANDER = 0x400,
        PPSERROR = 0x800,
        CLOCKERR = 0x1000,
        NANO = 0x2000,
        MODE = 0x4000,
        CLK = 0x8000,
    }
}
