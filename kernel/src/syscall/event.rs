//! Descriptors that tell of events: eventfd, timerfd, signalfd, epoll.

use keel_abi::prelude::*;
use keel_abi::types::{EpollEvent, Itimerspec, SigSet, Timespec};

use super::Ctx;
use super::poll::{read_mask, with_mask};
use super::time::{nanoseconds, timespec};
use crate::fs::File;
use crate::ipc::timerfd::{Setting, TimerFd};
use crate::ipc::{epoll, eventfd as eventfds, signalfd as signalfds, timerfd};
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::Cap;

pub fn eventfd(cx: &mut Ctx, initval: u32) -> Result<Fd> {
    eventfd2(cx, initval, EventfdFlags::empty())
}

pub fn eventfd2(cx: &mut Ctx, initval: u32, flags: EventfdFlags) -> Result<Fd> {
    if !EventfdFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    let status = nonblock(flags.contains(EventfdFlags::NONBLOCK));
    let file = eventfds::create(initval, flags.contains(EventfdFlags::SEMAPHORE), status);
    cx.thread
        .files()
        .install(file, flags.contains(EventfdFlags::CLOEXEC))
}

fn nonblock(wanted: bool) -> OpenFlags {
    if wanted {
        OpenFlags::NONBLOCK
    } else {
        OpenFlags::empty()
    }
}

pub fn signalfd(cx: &mut Ctx, fd: Fd, mask: UserPtr<SigSet>, sizemask: usize) -> Result<Fd> {
    signalfd4(cx, fd, mask, sizemask, SignalfdFlags::empty())
}

pub fn signalfd4(
    cx: &mut Ctx,
    fd: Fd,
    mask: UserPtr<SigSet>,
    sizemask: usize,
    flags: SignalfdFlags,
) -> Result<Fd> {
    if !SignalfdFlags::all().contains(flags) || sizemask != size_of::<SigSet>() {
        return Err(Errno::EINVAL);
    }
    let mask = mask.read()?.bits;
    if fd.0 != -1 {
        let file = cx.thread.files().get(fd)?;
        let signals = file.ops_as::<signalfds::SignalFd>().ok_or(Errno::EINVAL)?;
        signals.set_mask(mask);
        return Ok(fd);
    }
    let file = signalfds::create(mask, nonblock(flags.contains(SignalfdFlags::NONBLOCK)));
    cx.thread
        .files()
        .install(file, flags.contains(SignalfdFlags::CLOEXEC))
}

pub fn timerfd_create(cx: &mut Ctx, clockid: ClockId, flags: TimerfdFlags) -> Result<Fd> {
    if !TimerfdFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    match clockid {
        ClockId::CLOCK_REALTIME | ClockId::CLOCK_MONOTONIC | ClockId::CLOCK_BOOTTIME => {}
        ClockId::CLOCK_REALTIME_ALARM | ClockId::CLOCK_BOOTTIME_ALARM => {
            cx.thread.cred().require(Cap::WAKE_ALARM)?;
        }
        _ => return Err(Errno::EINVAL),
    }
    let file = timerfd::create(clockid, nonblock(flags.contains(TimerfdFlags::NONBLOCK)));
    cx.thread
        .files()
        .install(file, flags.contains(TimerfdFlags::CLOEXEC))
}

fn timer_of(file: &File) -> Result<&TimerFd> {
    file.ops_as::<TimerFd>().ok_or(Errno::EINVAL)
}

fn itimerspec(setting: Setting) -> Itimerspec {
    Itimerspec {
        it_interval: timespec(setting.interval as i64),
        it_value: timespec(setting.value as i64),
    }
}

pub fn timerfd_settime(
    cx: &mut Ctx,
    fd: Fd,
    flags: TimerfdSettimeFlags,
    new_value: UserPtr<Itimerspec>,
    old_value: UserPtr<Itimerspec>,
) -> Result<()> {
    let new = new_value.read()?;
    if !TimerfdSettimeFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    let setting = Setting {
        value: nanoseconds(&new.it_value)?,
        interval: nanoseconds(&new.it_interval)?,
    };
    let file = cx.thread.files().get(fd)?;
    let timer = timer_of(&file)?;
    let absolute = flags.contains(TimerfdSettimeFlags::ABSTIME);
    let cancel = flags.contains(TimerfdSettimeFlags::CANCEL_ON_SET);
    let old = timer.set(setting, absolute, cancel);
    old_value.write_if_given(&itimerspec(old))
}

pub fn timerfd_gettime(cx: &mut Ctx, fd: Fd, curr_value: UserPtr<Itimerspec>) -> Result<()> {
    let file = cx.thread.files().get(fd)?;
    curr_value.write(&itimerspec(timer_of(&file)?.get()))
}

pub fn epoll_create(cx: &mut Ctx, size: i32) -> Result<Fd> {
    if size <= 0 {
        return Err(Errno::EINVAL);
    }
    epoll_create1(cx, EpollCreateFlags::empty())
}

pub fn epoll_create1(cx: &mut Ctx, flags: EpollCreateFlags) -> Result<Fd> {
    if !EpollCreateFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    let file = epoll::create(OpenFlags::empty());
    cx.thread
        .files()
        .install(file, flags.contains(EpollCreateFlags::CLOEXEC))
}

pub fn epoll_ctl(
    cx: &mut Ctx,
    epfd: Fd,
    op: EpollOp,
    fd: Fd,
    event: UserPtr<EpollEvent>,
) -> Result<()> {
    let event = if op == EpollOp::EPOLL_CTL_DEL {
        None
    } else {
        Some(event.read()?)
    };
    let files = cx.thread.files();
    let own = files.get(epfd)?;
    let target = files.get(fd)?;
    if !target.ops.pollable() {
        return Err(Errno::EPERM);
    }
    let instance = epoll::epoll_of(&own)?;
    if Arc::ptr_eq(&own, &target) {
        return Err(Errno::EINVAL);
    }
    match (op, event) {
        (EpollOp::EPOLL_CTL_DEL, _) => instance.remove(fd.0, &target),
        (EpollOp::EPOLL_CTL_ADD, Some(event)) => {
            let events = EpollEvents::from_bits_retain(event.events);
            if events.contains(EpollEvents::EXCLUSIVE) && !exclusive_allowed(events, &target) {
                return Err(Errno::EINVAL);
            }
            instance.add(&own, fd.0, &target, events, event.data)
        }
        (EpollOp::EPOLL_CTL_MOD, Some(event)) => {
            let events = EpollEvents::from_bits_retain(event.events);
            instance.modify(fd.0, &target, events, event.data)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// EPOLLEXCLUSIVE goes with few other flags, and not with another epoll instance.
fn exclusive_allowed(events: EpollEvents, target: &File) -> bool {
    let with = EpollEvents::IN
        | EpollEvents::OUT
        | EpollEvents::ERR
        | EpollEvents::HUP
        | EpollEvents::WAKEUP
        | EpollEvents::ET
        | EpollEvents::EXCLUSIVE;
    with.contains(events) && epoll::epoll_of(target).is_err()
}

/// Most events of one call.
const MAX_EVENTS: i32 = i32::MAX / size_of::<EpollEvent>() as i32;

fn wait(
    cx: &mut Ctx,
    epfd: Fd,
    events: UserPtr<EpollEvent>,
    maxevents: i32,
    deadline: Option<u64>,
) -> Result<i32> {
    if maxevents <= 0 || maxevents > MAX_EVENTS {
        return Err(Errno::EINVAL);
    }
    let file = cx.thread.files().get(epfd)?;
    let found = epoll::epoll_of(&file)?.wait(maxevents as usize, deadline)?;
    for (at, (bits, data)) in found.iter().enumerate() {
        events.add(at).write(&EpollEvent {
            events: *bits,
            data: *data,
        })?;
    }
    Ok(found.len() as i32)
}

fn deadline_ms(timeout: i32) -> Option<u64> {
    match timeout {
        0 => Some(0),
        n if n > 0 => {
            let ns = u64::from(n.unsigned_abs()) * 1_000_000;
            Some(crate::time::monotonic_ns().saturating_add(ns))
        }
        _ => None,
    }
}

pub fn epoll_wait(
    cx: &mut Ctx,
    epfd: Fd,
    events: UserPtr<EpollEvent>,
    maxevents: i32,
    timeout: i32,
) -> Result<i32> {
    wait(cx, epfd, events, maxevents, deadline_ms(timeout))
}

pub fn epoll_pwait(
    cx: &mut Ctx,
    epfd: Fd,
    events: UserPtr<EpollEvent>,
    maxevents: i32,
    timeout: i32,
    sigmask: UserPtr<SigSet>,
    sigsetsize: usize,
) -> Result<i32> {
    let mask = read_mask(sigmask, sigsetsize)?;
    let deadline = deadline_ms(timeout);
    with_mask(cx, mask, |cx| wait(cx, epfd, events, maxevents, deadline))
}

pub fn epoll_pwait2(
    cx: &mut Ctx,
    epfd: Fd,
    events: UserPtr<EpollEvent>,
    maxevents: i32,
    timeout: UserPtr<Timespec>,
    sigmask: UserPtr<SigSet>,
    sigsetsize: usize,
) -> Result<i32> {
    let deadline = match timeout.read_if_given()? {
        Some(time) => Some(match nanoseconds(&time)? {
            0 => 0,
            ns => crate::time::monotonic_ns().saturating_add(ns),
        }),
        None => None,
    };
    let mask = read_mask(sigmask, sigsetsize)?;
    with_mask(cx, mask, |cx| wait(cx, epfd, events, maxevents, deadline))
}
