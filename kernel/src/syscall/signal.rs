//! Signals: actions, masks, sending, waiting.

use keel_abi::prelude::*;
use keel_abi::types::{SigAltStack, SigSet, Sigaction, Siginfo, Timespec};
use keel_hal::task;

use super::Ctx;
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::signal::{self, Action, NSIG, SigInfo, UNBLOCKABLE, bit, sig};
use crate::process::{Process, Thread, find, find_thread, pgrp_members};

/// Size of the kernel's sigset_t, which calls must name.
const SIGSET_SIZE: usize = 8;
const SI_USER: i32 = 0;
const SI_TKILL: i32 = -6;

fn check_set_size(size: usize) -> Result<()> {
    if size == SIGSET_SIZE {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// EINVAL unless the number is a signal's.
fn signal_number(sig: Signal) -> Result<i32> {
    if (1..=NSIG).contains(&sig.0) {
        Ok(sig.0)
    } else {
        Err(Errno::EINVAL)
    }
}

pub fn rt_sigaction(
    cx: &mut Ctx,
    signum: Signal,
    act: UserPtr<Sigaction>,
    oldact: UserPtr<Sigaction>,
    sigsetsize: usize,
) -> Result<()> {
    check_set_size(sigsetsize)?;
    let signo = signal_number(signum)?;
    let new = act.read_if_given()?;
    if new.is_some() && bit(signo) & UNBLOCKABLE != 0 {
        return Err(Errno::EINVAL);
    }
    let signals = &cx.thread.process.signals;
    let old = match new {
        Some(new) => {
            let action = Action {
                handler: new.sa_handler,
                flags: new.flags(),
                restorer: new.sa_restorer,
                mask: new.sa_mask.bits & !UNBLOCKABLE,
            };
            let old = signals.set_action(signo, action);
            if action.ignores(signo) {
                signal::discard(&cx.thread.process, bit(signo));
            }
            old
        }
        None => signals.action(signo),
    };
    oldact.write_if_given(&Sigaction {
        sa_handler: old.handler,
        sa_flags: old.flags.bits(),
        sa_restorer: old.restorer,
        sa_mask: SigSet { bits: old.mask },
    })
}

pub fn rt_sigprocmask(
    cx: &mut Ctx,
    how: SigprocmaskHow,
    set: UserPtr<SigSet>,
    oldset: UserPtr<SigSet>,
    sigsetsize: usize,
) -> Result<()> {
    check_set_size(sigsetsize)?;
    let old = cx.thread.signals.blocked();
    if let Some(set) = set.read_if_given()? {
        let new = match how {
            SigprocmaskHow::SIG_BLOCK => old | set.bits,
            SigprocmaskHow::SIG_UNBLOCK => old & !set.bits,
            SigprocmaskHow::SIG_SETMASK => set.bits,
            _ => return Err(Errno::EINVAL),
        };
        cx.thread.set_blocked(new);
    }
    oldset.write_if_given(&SigSet { bits: old })
}

pub fn rt_sigreturn(cx: &mut Ctx) -> Result<u64> {
    signal::sigreturn(cx)
}

pub fn rt_sigpending(cx: &mut Ctx, set: UserPtr<SigSet>, sigsetsize: usize) -> Result<()> {
    if sigsetsize > SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let pending = cx.thread.signals.pending_set() | cx.thread.process.signals.pending_set();
    let bits = (pending & cx.thread.signals.blocked()).to_le_bytes();
    set.cast::<u8>().write_array(&bits[..sigsetsize])
}

pub fn rt_sigsuspend(cx: &mut Ctx, mask: UserPtr<SigSet>, sigsetsize: usize) -> Result<()> {
    check_set_size(sigsetsize)?;
    let mask = mask.read()?;
    cx.thread.set_temporary_mask(mask.bits);
    pause(cx)
}

pub fn pause(cx: &mut Ctx) -> Result<()> {
    loop {
        task::prepare_sleep(SleepMode::Interruptible);
        if cx.thread.interrupted() {
            task::cancel_sleep();
            return Err(Errno::ERESTARTNOHAND);
        }
        task::schedule();
    }
}

pub fn rt_sigtimedwait(
    cx: &mut Ctx,
    set: UserPtr<SigSet>,
    info: UserPtr<Siginfo>,
    timeout: UserPtr<Timespec>,
    sigsetsize: usize,
) -> Result<i32> {
    check_set_size(sigsetsize)?;
    let wanted = set.read()?;
    let deadline = match timeout.read_if_given()? {
        Some(time) => {
            let ns = super::time::nanoseconds(&time)?;
            Some(crate::time::monotonic_ns().saturating_add(ns))
        }
        None => None,
    };
    let taken = signal::wait_for(cx.thread, wanted.bits, deadline)?;
    info.write_if_given(&taken.raw)?;
    Ok(taken.signo())
}

/// The siginfo of a signal that the caller sends.
fn from_caller(cx: &Ctx, signo: i32, code: i32) -> SigInfo {
    SigInfo::user(signo, code, cx.thread.process.pid, cx.thread.cred().uid)
}

/// Whether the caller may signal a process: EPERM.
fn check_permission(cx: &Ctx, target: &Arc<Process>, signo: i32) -> Result<()> {
    if Arc::ptr_eq(target, &cx.thread.process) {
        return Ok(());
    }
    let allowed = target.leader().is_none_or(|leader| {
        let other = target.cred().unwrap_or_else(|| leader.cred());
        cx.thread.cred().may_signal(&other)
    });
    let same_session = signo == sig::CONT && target.sid() == cx.thread.process.sid();
    if allowed || same_session {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

fn send_checked(cx: &Ctx, target: &Arc<Process>, info: Option<SigInfo>, signo: i32) -> Result<()> {
    check_permission(cx, target, signo)?;
    match info {
        Some(info) => signal::send_process_checked(target, info),
        None => Ok(()),
    }
}

pub fn kill(cx: &mut Ctx, pid: Pid, sig: Signal) -> Result<()> {
    let signo = if sig.0 == 0 { 0 } else { signal_number(sig)? };
    let info = (signo != 0).then(|| from_caller(cx, signo, SI_USER));
    match pid.0 {
        n if n > 0 => {
            let target = find(n.unsigned_abs()).ok_or(Errno::ESRCH)?;
            send_checked(cx, &target, info, signo)
        }
        -1 => {
            let me = cx.thread.process.pid;
            let all = crate::process::all();
            let others = all
                .iter()
                .filter(|process| process.pid != 1 && process.pid != me);
            send_all(cx, others, info, signo)
        }
        i32::MIN => Err(Errno::ESRCH),
        n => {
            let pgid = if n == 0 {
                cx.thread.process.pgid()
            } else {
                n.unsigned_abs()
            };
            send_all(cx, pgrp_members(pgid).iter(), info, signo)
        }
    }
}

/// Success if at least one could be signalled, else the last error; ESRCH if there was none.
fn send_all<'a>(
    cx: &Ctx,
    targets: impl Iterator<Item = &'a Arc<Process>>,
    info: Option<SigInfo>,
    signo: i32,
) -> Result<()> {
    let mut result = Err(Errno::ESRCH);
    for target in targets {
        let sent = send_checked(cx, target, info, signo);
        if result.is_err() {
            result = sent;
        }
    }
    result
}

fn thread_target(tgid: Option<Pid>, tid: Tid) -> Result<Arc<Thread>> {
    if tid.0 <= 0 || tgid.is_some_and(|tgid| tgid.0 <= 0) {
        return Err(Errno::EINVAL);
    }
    let thread = find_thread(tid.0.unsigned_abs()).ok_or(Errno::ESRCH)?;
    match tgid {
        Some(tgid) if thread.process.pid != tgid.0.unsigned_abs() => Err(Errno::ESRCH),
        _ => Ok(thread),
    }
}

fn send_to_thread(cx: &Ctx, thread: &Arc<Thread>, sig: Signal) -> Result<()> {
    let signo = if sig.0 == 0 { 0 } else { signal_number(sig)? };
    check_permission(cx, &thread.process, signo)?;
    if signo == 0 {
        return Ok(());
    }
    signal::send_thread_checked(thread, from_caller(cx, signo, SI_TKILL))
}

pub fn tkill(cx: &mut Ctx, tid: Tid, sig: Signal) -> Result<()> {
    send_to_thread(cx, &thread_target(None, tid)?, sig)
}

pub fn tgkill(cx: &mut Ctx, tgid: Pid, tid: Tid, sig: Signal) -> Result<()> {
    send_to_thread(cx, &thread_target(Some(tgid), tid)?, sig)
}

/// Reads a siginfo that the caller made up: only codes that programs may use, unless it is for itself (EPERM).
fn queued_info(cx: &Ctx, info: UserPtr<Siginfo>, signo: i32, to_self: bool) -> Result<SigInfo> {
    let mut raw = info.read()?;
    raw.si_signo = signo;
    if (raw.si_code >= 0 || raw.si_code == SI_TKILL) && !to_self {
        return Err(Errno::EPERM);
    }
    let _ = cx;
    Ok(SigInfo::new(raw))
}

pub fn rt_sigqueueinfo(cx: &mut Ctx, tgid: Pid, sig: Signal, info: UserPtr<Siginfo>) -> Result<()> {
    let to_self = tgid.0 == cx.thread.process.pid as i32;
    let info = queued_info(cx, info, sig.0, to_self)?;
    let wanted = u32::try_from(tgid.0).map_err(|_| Errno::ESRCH)?;
    // The number of any of its threads stands for a process here.
    let target = find(wanted)
        .or_else(|| Some(crate::process::find_thread(wanted)?.process.clone()))
        .ok_or(Errno::ESRCH)?;
    let signo = if sig.0 == 0 { 0 } else { signal_number(sig)? };
    send_checked(cx, &target, (signo != 0).then_some(info), signo)
}

pub fn rt_tgsigqueueinfo(
    cx: &mut Ctx,
    tgid: Pid,
    tid: Tid,
    sig: Signal,
    info: UserPtr<Siginfo>,
) -> Result<()> {
    let to_self = tgid.0 == cx.thread.process.pid as i32;
    let thread = thread_target(Some(tgid), tid)?;
    let info = queued_info(cx, info, sig.0, to_self)?;
    let signo = if sig.0 == 0 { 0 } else { signal_number(sig)? };
    check_permission(cx, &thread.process, signo)?;
    if signo == 0 {
        Ok(())
    } else {
        signal::send_thread_checked(&thread, info)
    }
}

pub fn sigaltstack(
    cx: &mut Ctx,
    ss: UserPtr<SigAltStack>,
    old_ss: UserPtr<SigAltStack>,
) -> Result<()> {
    let new = ss.read_if_given()?;
    let sp = cx.user.rsp;
    let old = signal::describe_altstack(&cx.thread.signals.altstack.lock(), sp);
    if let Some(new) = new {
        signal::set_altstack(cx.thread, &new, sp)?;
    }
    old_ss.write_if_given(&old)
}

pub fn restart_syscall(cx: &mut Ctx) -> Result<u64> {
    let block = cx.thread.restart_block.lock().take();
    match block {
        Some(block) => block(cx).map(|value| value as u64),
        None => Err(Errno::EINTR),
    }
}

pub fn pidfd_send_signal(
    cx: &mut Ctx,
    pidfd: Fd,
    sig: Signal,
    info: UserPtr<Siginfo>,
    flags: PidfdSignalFlags,
) -> Result<()> {
    if !flags.is_empty() {
        return Err(Errno::EINVAL);
    }
    let (process, _) = crate::ipc::pidfd::process_of(cx.thread, pidfd)?;
    let signo = if sig.0 == 0 { 0 } else { signal_number(sig)? };
    let to_self = Arc::ptr_eq(&process, &cx.thread.process);
    let info = if info.is_null() {
        from_caller(cx, signo, SI_USER)
    } else {
        let given = info.read()?;
        if given.si_signo != signo {
            return Err(Errno::EINVAL);
        }
        queued_info(cx, info, signo, to_self)?
    };
    if process.zombie_status().is_some() && find(process.pid).is_none() {
        return Err(Errno::ESRCH);
    }
    send_checked(cx, &process, (signo != 0).then_some(info), signo)
}
