//! Clocks and sleeping.

use keel_abi::prelude::*;
use keel_abi::types::{Timespec, Timeval, Timex, Timezone, Tms};

use super::Ctx;
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::process::thread_usage;
use crate::process::{Cap, pid};
use crate::time::{self, NSEC_PER_SEC, clock, ntp, vdso};

const NSEC: i64 = NSEC_PER_SEC as i64;

/// Nanoseconds as a `struct timespec`.
pub fn timespec(ns: i64) -> Timespec {
    Timespec {
        tv_sec: ns.div_euclid(NSEC),
        tv_nsec: ns.rem_euclid(NSEC),
    }
}

/// Nanoseconds as a `struct timeval`.
pub fn timeval(ns: u64) -> Timeval {
    Timeval {
        tv_sec: (ns / NSEC_PER_SEC) as i64,
        tv_usec: (ns % NSEC_PER_SEC / 1000) as i64,
    }
}

/// A timespec as nanoseconds: EINVAL unless normal and not negative. Far futures saturate.
pub fn nanoseconds(time: &Timespec) -> Result<u64> {
    if time.tv_sec < 0 || !(0..NSEC).contains(&time.tv_nsec) {
        return Err(Errno::EINVAL);
    }
    let sec = time.tv_sec as u64;
    Ok(sec
        .saturating_mul(NSEC_PER_SEC)
        .saturating_add(time.tv_nsec as u64)
        .min(i64::MAX as u64))
}

/// What a clock shows, in nanoseconds: EINVAL for a clock that does not exist.
pub fn read_clock(cx: &Ctx, id: ClockId) -> Result<i64> {
    Ok(match id {
        ClockId::CLOCK_REALTIME | ClockId::CLOCK_REALTIME_ALARM => time::realtime_ns(),
        ClockId::CLOCK_REALTIME_COARSE => vdso::coarse().0,
        ClockId::CLOCK_MONOTONIC => time::monotonic_ns() as i64,
        ClockId::CLOCK_MONOTONIC_RAW => keel_hal::time::raw_now() as i64,
        ClockId::CLOCK_MONOTONIC_COARSE => vdso::coarse().1,
        ClockId::CLOCK_BOOTTIME | ClockId::CLOCK_BOOTTIME_ALARM => time::boottime_ns() as i64,
        ClockId::CLOCK_TAI => time::realtime_ns().saturating_add(clock::tai_offset() * NSEC),
        ClockId::CLOCK_PROCESS_CPUTIME_ID => {
            let usage = cx.thread.process.usage();
            (usage.user_ns + usage.system_ns) as i64
        }
        ClockId::CLOCK_THREAD_CPUTIME_ID => {
            let usage = thread_usage(cx.thread);
            (usage.user_ns + usage.system_ns) as i64
        }
        ClockId(raw) if raw < 0 => cpu_clock(cx, raw)?,
        _ => return Err(Errno::EINVAL),
    })
}

/// A CPU-time clock of another process or thread: `~pid << 3 | flags` (clock_getcpuclockid(3)).
fn cpu_clock(cx: &Ctx, raw: i32) -> Result<i64> {
    const PER_THREAD: i32 = 4;
    let which = raw & 3;
    if which == 3 {
        return Err(Errno::EINVAL);
    }
    let pid = (!(raw >> 3)).cast_unsigned();
    let usage = if raw & PER_THREAD != 0 {
        let thread = if pid == 0 {
            Some(Arc::clone(cx.thread))
        } else {
            pid::find_thread(pid)
        };
        let thread = thread.filter(|t| Arc::ptr_eq(&t.process, &cx.thread.process));
        thread_usage(&*thread.ok_or(Errno::EINVAL)?)
    } else {
        let process = if pid == 0 {
            Some(cx.thread.process.clone())
        } else {
            pid::find(pid)
        };
        process.ok_or(Errno::EINVAL)?.usage()
    };
    let (user, system) = (usage.user_ns as i64, usage.system_ns as i64);
    Ok(if which == 1 { user } else { user + system })
}

pub fn clock_gettime(cx: &mut Ctx, clockid: ClockId, tp: UserPtr<Timespec>) -> Result<()> {
    tp.write(&timespec(read_clock(cx, clockid)?))
}

pub fn clock_getres(cx: &mut Ctx, clockid: ClockId, res: UserPtr<Timespec>) -> Result<()> {
    read_clock(cx, clockid)?;
    let coarse = matches!(
        clockid,
        ClockId::CLOCK_REALTIME_COARSE | ClockId::CLOCK_MONOTONIC_COARSE
    );
    let ns = if coarse { vdso::TICK_NS as i64 } else { 1 };
    res.write_if_given(&timespec(ns))
}

pub fn clock_settime(cx: &mut Ctx, clockid: ClockId, tp: UserPtr<Timespec>) -> Result<()> {
    if clockid != ClockId::CLOCK_REALTIME {
        return Err(Errno::EINVAL);
    }
    let ns = nanoseconds(&tp.read()?)?;
    set_wall_clock(cx, ns as i64)
}

fn set_wall_clock(cx: &Ctx, ns: i64) -> Result<()> {
    cx.thread.cred().require(Cap::SYS_TIME)?;
    // The wall clock may not be set to before the machine's start (clock_settime(2)).
    if ns < time::monotonic_ns() as i64 {
        return Err(Errno::EINVAL);
    }
    ntp::clear();
    clock::set_realtime_ns(ns);
    crate::ipc::timerfd::clock_was_set();
    Ok(())
}

pub fn adjtimex(cx: &mut Ctx, buf: UserPtr<Timex>) -> Result<i32> {
    let mut timex = buf.read()?;
    let privileged = cx.thread.cred().has(Cap::SYS_TIME);
    let state = ntp::adjust(&mut timex, privileged)?;
    buf.write(&timex)?;
    Ok(state)
}

pub fn clock_adjtime(cx: &mut Ctx, clockid: ClockId, buf: UserPtr<Timex>) -> Result<i32> {
    if clockid != ClockId::CLOCK_REALTIME {
        // What can be read but not disciplined, and what does not exist.
        read_clock(cx, clockid)?;
        return Err(Errno::EOPNOTSUPP);
    }
    adjtimex(cx, buf)
}

pub fn gettimeofday(_cx: &mut Ctx, tv: UserPtr<Timeval>, tz: UserPtr<Timezone>) -> Result<()> {
    let now = time::realtime_ns().max(0) as u64;
    tv.write_if_given(&timeval(now))?;
    tz.write_if_given(&Timezone::default())
}

pub fn settimeofday(cx: &mut Ctx, tv: UserPtr<Timeval>, tz: UserPtr<Timezone>) -> Result<()> {
    let new = tv.read_if_given()?;
    let zone = tz.read_if_given()?;
    cx.thread.cred().require(Cap::SYS_TIME)?;
    if let Some(zone) = zone
        && !(-15 * 60..=15 * 60).contains(&zone.tz_minuteswest)
    {
        return Err(Errno::EINVAL);
    }
    if let Some(new) = new {
        if new.tv_sec < 0 || !(0..1_000_000).contains(&new.tv_usec) {
            return Err(Errno::EINVAL);
        }
        let ns = new
            .tv_sec
            .saturating_mul(NSEC)
            .saturating_add(new.tv_usec * 1000);
        set_wall_clock(cx, ns)?;
    }
    Ok(())
}

pub fn time(_cx: &mut Ctx, tloc: UserPtr<i64>) -> Result<i64> {
    let now = time::realtime_ns().div_euclid(NSEC);
    tloc.write_if_given(&now)?;
    Ok(now)
}

/// Clock ticks of times(2): USER_HZ of them are a second.
fn ticks(ns: u64) -> i64 {
    (ns / (NSEC_PER_SEC / 100)) as i64
}

pub fn times(cx: &mut Ctx, buf: UserPtr<Tms>) -> Result<i64> {
    let process = &cx.thread.process;
    let own = process.usage();
    let children = *process.children_usage.lock();
    buf.write_if_given(&Tms {
        tms_utime: ticks(own.user_ns),
        tms_stime: ticks(own.system_ns),
        tms_cutime: ticks(children.user_ns),
        tms_cstime: ticks(children.system_ns),
    })?;
    Ok(ticks(time::monotonic_ns()))
}

pub fn nanosleep(cx: &mut Ctx, req: UserPtr<Timespec>, rem: UserPtr<Timespec>) -> Result<()> {
    let ns = nanoseconds(&req.read()?)?;
    let deadline = time::monotonic_ns().saturating_add(ns);
    sleep_relative(cx, deadline, rem.addr())
}

/// Sleeps until `deadline` (monotonic); an interrupted sleep is continued by restart_syscall(2) after a signal
/// that has no handler, and tells the rest in `rem`.
fn sleep_relative(cx: &mut Ctx, deadline: u64, rem: u64) -> Result<()> {
    if sleep_until(deadline) {
        return Ok(());
    }
    let left = deadline.saturating_sub(time::monotonic_ns());
    UserPtr::<Timespec>::new(rem).write_if_given(&timespec(left as i64))?;
    *cx.thread.restart_block.lock() = Some(Box::new(move |cx: &mut Ctx| {
        sleep_relative(cx, deadline, rem).map(|()| 0)
    }));
    Err(Errno::ERESTART_RESTARTBLOCK)
}

/// False if a signal came first.
fn sleep_until(deadline: u64) -> bool {
    static NOBODY: WaitQueue = WaitQueue::new();
    !matches!(
        NOBODY.wait(SleepMode::Interruptible, Some(deadline), || {
            (time::monotonic_ns() >= deadline).then_some(())
        }),
        Err(WaitError::Interrupted)
    )
}

pub fn clock_nanosleep(
    cx: &mut Ctx,
    clockid: ClockId,
    flags: TimerFlags,
    request: UserPtr<Timespec>,
    remain: UserPtr<Timespec>,
) -> Result<()> {
    match clockid {
        ClockId::CLOCK_REALTIME
        | ClockId::CLOCK_MONOTONIC
        | ClockId::CLOCK_BOOTTIME
        | ClockId::CLOCK_TAI
        | ClockId::CLOCK_PROCESS_CPUTIME_ID => {}
        ClockId::CLOCK_REALTIME_ALARM | ClockId::CLOCK_BOOTTIME_ALARM => {
            cx.thread.cred().require(Cap::WAKE_ALARM)?;
        }
        ClockId::CLOCK_THREAD_CPUTIME_ID
        | ClockId::CLOCK_MONOTONIC_RAW
        | ClockId::CLOCK_REALTIME_COARSE
        | ClockId::CLOCK_MONOTONIC_COARSE => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EINVAL),
    }
    let ns = nanoseconds(&request.read()?)?;
    let absolute = flags.contains(TimerFlags::ABSTIME);
    if clockid == ClockId::CLOCK_PROCESS_CPUTIME_ID {
        return sleep_cpu_time(cx, ns, absolute);
    }
    if !absolute {
        return sleep_relative(cx, time::monotonic_ns().saturating_add(ns), remain.addr());
    }
    // A step of the wall clock moves the deadline: look again after each wake-up.
    loop {
        let left = (ns as i64).saturating_sub(read_clock(cx, clockid)?);
        if left <= 0 {
            return Ok(());
        }
        let step = (left as u64).min(NSEC_PER_SEC);
        if !sleep_until(time::monotonic_ns().saturating_add(step)) {
            return Err(Errno::ERESTARTNOHAND);
        }
    }
}

/// Sleeps until the process has used so much CPU time; needs other threads to use it.
fn sleep_cpu_time(cx: &mut Ctx, ns: u64, absolute: bool) -> Result<()> {
    let used = |cx: &Ctx| read_clock(cx, ClockId::CLOCK_PROCESS_CPUTIME_ID);
    let goal = if absolute {
        ns as i64
    } else {
        used(cx)?.saturating_add(ns as i64)
    };
    loop {
        let left = goal.saturating_sub(used(cx)?);
        if left <= 0 {
            return Ok(());
        }
        let cpus = keel_hal::cpu::count() as u64;
        let step = (left as u64 / cpus).max(1_000_000);
        if !sleep_until(time::monotonic_ns().saturating_add(step)) {
            return Err(Errno::ERESTARTNOHAND);
        }
    }
}
