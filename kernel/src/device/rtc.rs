//! /dev/rtc0: the battery-backed clock as hwclock(8) sees it (rtc(4)).
//!
//! The clock's own interrupts are not used: while somebody waits for updates or an alarm is on, a thread looks at the
//! clock often enough. One program at a time can have it open.

use core::sync::atomic::{AtomicBool, Ordering};
use keel_abi::args::UserPtr;
use keel_abi::flags::{IoctlCmd, OpenFlags};
use keel_abi::types::Dev;
use keel_hal::rtc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::CharDevice;
use crate::fs::{File, FileOps, Inode, IoDst, PollEvents, PollTable, devtmpfs};
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::Cap;
use crate::time::NSEC_PER_SEC;

/// Its number; Linux chooses the major at run time as well.
pub const DEV: Dev = Dev {
    major: 253,
    minor: 0,
};
/// What a read tells: an update or an alarm has happened (`RTC_UF`, `RTC_AF`), and that one has at all.
const RTC_UF: u64 = 0x10;
const RTC_AF: u64 = 0x20;
const RTC_IRQF: u64 = 0x80;
/// How often the thread looks at the clock.
const LOOK_NS: u64 = NSEC_PER_SEC / 128;
const SECONDS_PER_DAY: i64 = 86400;

/// `struct rtc_time` of linux/rtc.h: month from 0, year from 1900.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct RtcTime {
    second: i32,
    minute: i32,
    hour: i32,
    day: i32,
    month: i32,
    year: i32,
    week_day: i32,
    year_day: i32,
    is_dst: i32,
}

/// `struct rtc_wkalrm`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct WakeAlarm {
    enabled: u8,
    pending: u8,
    pad: [u8; 2],
    time: RtcTime,
}

/// Days from 1970-01-01 to the first of a month; years are counted from March, so that the leap day is the last.
fn days_to(year: i64, month: i64) -> i64 {
    let (year, month) = if month < 2 {
        (year - 1, month + 10)
    } else {
        (year, month - 2)
    };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 - 719_468
}

impl RtcTime {
    fn from_seconds(seconds: i64) -> Self {
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        let rest = seconds.rem_euclid(SECONDS_PER_DAY);
        let mut year = 1970 + days.div_euclid(366);
        while days_to(year + 1, 0) <= days {
            year += 1;
        }
        let months = (0..12).rev();
        let month = months.into_iter().find(|m| days_to(year, *m) <= days);
        let month = month.unwrap_or(0);
        Self {
            second: (rest % 60) as i32,
            minute: (rest / 60 % 60) as i32,
            hour: (rest / 3600) as i32,
            day: (days - days_to(year, month) + 1) as i32,
            month: month as i32,
            year: (year - 1900) as i32,
            week_day: (days + 4).rem_euclid(7) as i32,
            year_day: (days - days_to(year, 0)) as i32,
            is_dst: 0,
        }
    }

    /// EINVAL for a date that is none.
    fn to_seconds(self) -> Result<i64> {
        let (year, month) = (i64::from(self.year) + 1900, i64::from(self.month));
        let fits = (1970..=2069).contains(&year)
            && (0..12).contains(&month)
            && (0..24).contains(&self.hour)
            && (0..60).contains(&self.minute)
            && (0..60).contains(&self.second);
        if !fits {
            return Err(Errno::EINVAL);
        }
        let first = days_to(year, month);
        let next = if month == 11 {
            days_to(year + 1, 0)
        } else {
            days_to(year, month + 1)
        };
        let day = i64::from(self.day);
        if day < 1 || day > next - first {
            return Err(Errno::EINVAL);
        }
        let time = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60;
        Ok((first + day - 1) * SECONDS_PER_DAY + time + i64::from(self.second))
    }
}

#[derive(Default)]
struct State {
    /// Updates are asked for.
    updates: bool,
    /// When the alarm is due, and whether it is on.
    alarm: i64,
    alarm_on: bool,
    /// Events since the last read, and their number.
    events: u64,
    count: u64,
    last_second: i64,
}

static STATE: SpinLock<State> = SpinLock::new(State {
    updates: false,
    alarm: 0,
    alarm_on: false,
    events: 0,
    count: 0,
    last_second: 0,
});
static OPEN: AtomicBool = AtomicBool::new(false);
static THREAD: OnceLock<()> = OnceLock::new();
static WANTED: WaitQueue = WaitQueue::new();

fn readable() -> &'static Arc<WaitQueue> {
    static READABLE: OnceLock<Arc<WaitQueue>> = OnceLock::new();
    READABLE.call_once(|| Arc::new(WaitQueue::new()))
}

/// Makes the device.
pub fn init() {
    super::register_char(
        DEV.major,
        DEV.minor..DEV.minor + 1,
        "rtc",
        Arc::new(RtcDevice),
    );
    devtmpfs::add_node("rtc0", 0o020_600, DEV.encode());
}

/// Looks at the clock while anybody wants to know of changes.
fn watch() {
    loop {
        let active = || {
            let state = STATE.lock();
            (state.updates || state.alarm_on).then_some(())
        };
        let _ = WANTED.wait(SleepMode::Uninterruptible, None, active);
        let now = rtc::now();
        let happened = {
            let mut state = STATE.lock();
            let mut events = 0;
            if state.updates && now != state.last_second {
                events |= RTC_UF;
            }
            if state.alarm_on && now >= state.alarm {
                state.alarm_on = false;
                events |= RTC_AF;
            }
            state.last_second = now;
            if events != 0 {
                state.events |= events | RTC_IRQF;
                state.count += 1;
            }
            events != 0
        };
        if happened {
            readable().wake(usize::MAX, PollEvents::READABLE.key());
        }
        let deadline = keel_hal::time::now() + LOOK_NS;
        let never = WaitQueue::new();
        let _ = never.wait(SleepMode::Uninterruptible, Some(deadline), || None::<()>);
    }
}

fn change(update: impl FnOnce(&mut State)) {
    THREAD.call_once(|| drop(crate::sched::spawn_kthread("rtc", watch)));
    {
        let mut state = STATE.lock();
        update(&mut state);
        state.last_second = rtc::now();
    }
    WANTED.wake_all();
}

struct RtcDevice;

impl CharDevice for RtcDevice {
    fn open(&self, _: &Arc<Inode>, _: OpenFlags) -> Result<Arc<dyn FileOps>> {
        if OPEN.swap(true, Ordering::AcqRel) {
            return Err(Errno::EBUSY);
        }
        Ok(Arc::new(RtcFile))
    }
}

struct RtcFile;

impl RtcFile {
    /// What has happened since the last read: the kinds, and from bit 8 on how often.
    fn take() -> Option<u64> {
        let mut state = STATE.lock();
        if state.count == 0 {
            return None;
        }
        let value = state.events | state.count << 8;
        state.events = 0;
        state.count = 0;
        Some(value)
    }
}

/// An alarm's time of day as the next time that it comes.
fn next_time(time: RtcTime) -> Result<i64> {
    let now = rtc::now();
    let today = RtcTime::from_seconds(now);
    let at = RtcTime {
        day: today.day,
        month: today.month,
        year: today.year,
        ..time
    }
    .to_seconds()?;
    Ok(if at > now { at } else { at + SECONDS_PER_DAY })
}

impl FileOps for RtcFile {
    fn read(&self, file: &File, dst: &mut IoDst, _pos: u64) -> Result<usize> {
        if dst.remaining() < size_of::<u32>() {
            return Err(Errno::EINVAL);
        }
        let value = match Self::take() {
            Some(value) => value,
            None if file.nonblocking() => return Err(Errno::EAGAIN),
            None => readable()
                .wait(SleepMode::Interruptible, None, Self::take)
                .map_err(|_| Errno::ERESTARTSYS)?,
        };
        if dst.remaining() < size_of::<u64>() {
            return dst.put(&(value as u32).to_ne_bytes());
        }
        dst.put(&value.to_ne_bytes())
    }

    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File, table: &mut PollTable) -> PollEvents {
        table.add(readable());
        if STATE.lock().count > 0 {
            PollEvents::READABLE
        } else {
            PollEvents::empty()
        }
    }

    fn ioctl(&self, _file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        let cred = crate::process::current().cred();
        match IoctlCmd(cmd) {
            IoctlCmd::RTC_RD_TIME => {
                UserPtr::<RtcTime>::new(arg).write(&RtcTime::from_seconds(rtc::now()))?;
            }
            IoctlCmd::RTC_SET_TIME => {
                cred.require(Cap::SYS_TIME)?;
                let time = UserPtr::<RtcTime>::new(arg).read()?;
                rtc::set(time.to_seconds()?);
            }
            IoctlCmd::RTC_UIE_ON => change(|state| state.updates = true),
            IoctlCmd::RTC_UIE_OFF => change(|state| state.updates = false),
            IoctlCmd::RTC_AIE_ON => change(|state| state.alarm_on = true),
            IoctlCmd::RTC_AIE_OFF => change(|state| state.alarm_on = false),
            IoctlCmd::RTC_ALM_READ => {
                let time = RtcTime::from_seconds(STATE.lock().alarm);
                UserPtr::<RtcTime>::new(arg).write(&time)?;
            }
            IoctlCmd::RTC_ALM_SET => {
                let at = next_time(UserPtr::<RtcTime>::new(arg).read()?)?;
                change(|state| (state.alarm, state.alarm_on) = (at, false));
            }
            IoctlCmd::RTC_WKALM_RD => {
                let (alarm, on) = {
                    let state = STATE.lock();
                    (state.alarm, state.alarm_on)
                };
                UserPtr::<WakeAlarm>::new(arg).write(&WakeAlarm {
                    enabled: u8::from(on),
                    time: RtcTime::from_seconds(alarm),
                    ..WakeAlarm::default()
                })?;
            }
            IoctlCmd::RTC_WKALM_SET => {
                let wanted = UserPtr::<WakeAlarm>::new(arg).read()?;
                let at = wanted.time.to_seconds()?;
                if wanted.enabled != 0 && at <= rtc::now() {
                    return Err(Errno::ETIME);
                }
                change(|state| (state.alarm, state.alarm_on) = (at, wanted.enabled != 0));
            }
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }

    fn release(&self, _file: &File) {
        {
            let mut state = STATE.lock();
            state.updates = false;
            state.events = 0;
            state.count = 0;
        }
        OPEN.store(false, Ordering::Release);
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}
