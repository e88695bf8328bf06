//! Interval timers (setitimer(2), alarm(2)) and POSIX timers (timer_create(2)).

use keel_abi::prelude::*;
use keel_abi::types::{Itimerspec, Itimerval, Sigevent, Timeval};

use super::Ctx;
use super::time::{nanoseconds, timespec, timeval};
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::signal::NSIG;
use crate::time::NSEC_PER_SEC;
use crate::time::posix_timer::{ClockKind, Notify, Which};

fn microseconds(time: &Timeval) -> Result<u64> {
    if time.tv_sec < 0 || !(0..1_000_000).contains(&time.tv_usec) {
        return Err(Errno::EINVAL);
    }
    Ok((time.tv_sec as u64)
        .saturating_mul(NSEC_PER_SEC)
        .saturating_add(time.tv_usec as u64 * 1000))
}

fn itimer(which: ItimerWhich) -> Result<Which> {
    match which {
        ItimerWhich::ITIMER_REAL => Ok(Which::Real),
        ItimerWhich::ITIMER_VIRTUAL => Ok(Which::Virtual),
        ItimerWhich::ITIMER_PROF => Ok(Which::Prof),
        _ => Err(Errno::EINVAL),
    }
}

fn itimerval((value, interval): (u64, u64)) -> Itimerval {
    // Less than a microsecond left is still not zero, which would mean disarmed.
    let value = if value == 0 { 0 } else { value.max(1000) };
    Itimerval {
        it_interval: timeval(interval),
        it_value: timeval(value),
    }
}

pub fn getitimer(cx: &mut Ctx, which: ItimerWhich, curr_value: UserPtr<Itimerval>) -> Result<()> {
    let now = cx
        .thread
        .process
        .timers
        .interval(itimer(which)?, &cx.thread.process);
    curr_value.write(&itimerval(now))
}

pub fn setitimer(
    cx: &mut Ctx,
    which: ItimerWhich,
    new_value: UserPtr<Itimerval>,
    old_value: UserPtr<Itimerval>,
) -> Result<()> {
    // Linux takes a null pointer for zeroes here.
    let new = new_value.read_if_given()?.unwrap_or_default();
    let (value, interval) = (
        microseconds(&new.it_value)?,
        microseconds(&new.it_interval)?,
    );
    let which = itimer(which)?;
    let process = &cx.thread.process;
    let old = process.timers.interval(which, process);
    process.timers.set_interval(which, process, value, interval);
    old_value.write_if_given(&itimerval(old))
}

pub fn alarm(cx: &mut Ctx, seconds: u32) -> Result<u32> {
    let process = &cx.thread.process;
    let (left, _) = process.timers.interval(Which::Real, process);
    let value = u64::from(seconds) * NSEC_PER_SEC;
    process.timers.set_interval(Which::Real, process, value, 0);
    // Rounded to the nearest second, but an alarm that is set is never reported as none.
    let seconds = (left + NSEC_PER_SEC / 2) / NSEC_PER_SEC;
    Ok(if left > 0 { seconds.max(1) as u32 } else { 0 })
}

fn clock_kind(cx: &Ctx, clock: ClockId) -> Result<ClockKind> {
    Ok(match clock {
        ClockId::CLOCK_REALTIME | ClockId::CLOCK_TAI => ClockKind::Wall(clock),
        ClockId::CLOCK_MONOTONIC | ClockId::CLOCK_BOOTTIME => ClockKind::Monotonic,
        ClockId::CLOCK_REALTIME_ALARM | ClockId::CLOCK_BOOTTIME_ALARM => {
            cx.thread.cred().require(crate::process::Cap::WAKE_ALARM)?;
            if clock == ClockId::CLOCK_REALTIME_ALARM {
                ClockKind::Wall(ClockId::CLOCK_REALTIME)
            } else {
                ClockKind::Monotonic
            }
        }
        ClockId::CLOCK_PROCESS_CPUTIME_ID => ClockKind::ProcessCpu,
        ClockId::CLOCK_THREAD_CPUTIME_ID => ClockKind::ThreadCpu(cx.thread.tid()),
        _ => return Err(Errno::EINVAL),
    })
}

const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD: i32 = 2;
const SIGEV_THREAD_ID: i32 = 4;

pub fn timer_create(
    cx: &mut Ctx,
    clockid: ClockId,
    sevp: UserPtr<Sigevent>,
    timerid: UserPtr<i32>,
) -> Result<()> {
    let clock = clock_kind(cx, clockid)?;
    let event = sevp.read_if_given()?;
    let notify = match event {
        None => Notify::default_for_new(),
        Some(event) => {
            let signo = event.sigev_signo;
            let valid = (1..=NSIG).contains(&signo);
            let value = event.sigev_value;
            match event.sigev_notify {
                SIGEV_NONE => Notify::nothing(value),
                SIGEV_SIGNAL | SIGEV_THREAD if valid => Notify::process(signo, value),
                SIGEV_THREAD_ID if valid => {
                    let tid = event.thread().0.cast_unsigned();
                    let thread = crate::process::find_thread(tid).ok_or(Errno::EINVAL)?;
                    if !Arc::ptr_eq(&thread.process, &cx.thread.process) {
                        return Err(Errno::EINVAL);
                    }
                    Notify::thread(signo, value, &thread)
                }
                _ => return Err(Errno::EINVAL),
            }
        }
    };
    let process = &cx.thread.process;
    let id = process
        .timers
        .create(process, clock, notify, event.is_none())?;
    timerid.write(&id).inspect_err(|_| {
        let _ = process.timers.delete(id);
    })
}

fn itimerspec((value, interval): (u64, u64)) -> Itimerspec {
    Itimerspec {
        it_interval: timespec(interval as i64),
        it_value: timespec(value as i64),
    }
}

pub fn timer_settime(
    cx: &mut Ctx,
    timerid: i32,
    flags: TimerFlags,
    new_value: UserPtr<Itimerspec>,
    old_value: UserPtr<Itimerspec>,
) -> Result<()> {
    if new_value.is_null() {
        return Err(Errno::EINVAL);
    }
    let new = new_value.read()?;
    let (value, interval) = (nanoseconds(&new.it_value)?, nanoseconds(&new.it_interval)?);
    let absolute = flags.contains(TimerFlags::ABSTIME);
    let old = cx
        .thread
        .process
        .timers
        .settime(timerid, value, interval, absolute)?;
    old_value.write_if_given(&itimerspec(old))
}

pub fn timer_gettime(cx: &mut Ctx, timerid: i32, curr_value: UserPtr<Itimerspec>) -> Result<()> {
    let now = cx.thread.process.timers.gettime(timerid)?;
    curr_value.write(&itimerspec(now))
}

pub fn timer_getoverrun(cx: &mut Ctx, timerid: i32) -> Result<i32> {
    cx.thread.process.timers.overrun(timerid)
}

pub fn timer_delete(cx: &mut Ctx, timerid: i32) -> Result<()> {
    cx.thread.process.timers.delete(timerid)
}
