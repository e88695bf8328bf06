//! Sessions and their terminals: who controls one, who is in the foreground (credentials(7), setsid(2)).

use core::sync::atomic::Ordering;
use keel_abi::flags::{LocalFlags, OpenFlags};

use super::Tty;
use crate::prelude::*;
use crate::process::signal::{SigInfo, bit, send_pgrp, send_process, sig};
use crate::process::{Cap, Process, Thread, current_opt, exit, pgrp_members, session_members};

/// The caller's terminal is `tty`, and it is not in the foreground.
fn in_background(thread: &Thread, tty: &Tty) -> bool {
    let own = thread.process.tty.lock().clone();
    let controls = own.is_some_and(|own| core::ptr::eq(&raw const *own, tty));
    let foreground = tty.foreground();
    controls && foreground != 0 && foreground != thread.process.pgid()
}

/// Whether the caller ignores or blocks a signal.
fn shrugs_off(thread: &Thread, signo: i32) -> bool {
    thread.signals.blocked() & bit(signo) != 0 || thread.process.signals.action_is_ignore(signo)
}

fn is_orphaned(thread: &Thread) -> bool {
    let process = &thread.process;
    exit::group_is_orphaned(&pgrp_members(process.pgid()), process.sid(), None)
}

/// A background process that reads is stopped (SIGTTIN), or gets EIO if that would do nothing.
pub fn check_read(tty: &Tty) -> Result<()> {
    let Some(thread) = current_opt() else {
        return Ok(());
    };
    if !in_background(&thread, tty) {
        return Ok(());
    }
    if shrugs_off(&thread, sig::TTIN) || is_orphaned(&thread) {
        return Err(Errno::EIO);
    }
    send_pgrp(thread.process.pgid(), SigInfo::kernel(sig::TTIN));
    Err(Errno::ERESTARTSYS)
}

/// A background process that writes is stopped (SIGTTOU) if the terminal says TOSTOP.
pub fn check_write(tty: &Tty) -> Result<()> {
    if tty.modes().c_lflag & LocalFlags::TOSTOP.bits() == 0 {
        return Ok(());
    }
    check_change(tty)
}

/// A background process that changes the terminal is stopped (SIGTTOU), unless it blocks or ignores that.
pub fn check_change(tty: &Tty) -> Result<()> {
    let Some(thread) = current_opt() else {
        return Ok(());
    };
    if !in_background(&thread, tty) || shrugs_off(&thread, sig::TTOU) {
        return Ok(());
    }
    if is_orphaned(&thread) {
        return Err(Errno::EIO);
    }
    send_pgrp(thread.process.pgid(), SigInfo::kernel(sig::TTOU));
    Err(Errno::ERESTARTSYS)
}

/// A session leader without a terminal that opens one gets it as its controlling terminal.
pub fn maybe_acquire(thread: &Arc<Thread>, tty: &Arc<Tty>, flags: OpenFlags) {
    let process = &thread.process;
    let readable = flags.bits() & 3 != OpenFlags::WRONLY.bits();
    if readable && process.is_session_leader() && process.tty.lock().is_none() && tty.session() == 0
    {
        give(process, tty);
    }
}

fn give(process: &Arc<Process>, tty: &Arc<Tty>) {
    tty.session.store(process.sid(), Ordering::Relaxed);
    tty.foreground.store(process.pgid(), Ordering::Relaxed);
    *process.tty.lock() = Some(tty.clone());
}

/// TIOCSCTTY: EPERM unless the caller leads a session without a terminal, and the terminal is free (or `steal`
/// and privileged).
pub fn acquire(thread: &Arc<Thread>, tty: &Arc<Tty>, steal: bool) -> Result<()> {
    let process = &thread.process;
    if process.is_session_leader() && tty.session() == process.sid() {
        return Ok(());
    }
    if !process.is_session_leader() || process.tty.lock().is_some() {
        return Err(Errno::EPERM);
    }
    if tty.session() != 0 {
        if !steal || !thread.cred().has(Cap::SYS_ADMIN) {
            return Err(Errno::EPERM);
        }
        detach_session(tty, tty.session());
    }
    give(process, tty);
    Ok(())
}

fn detach_session(tty: &Tty, sid: u32) {
    for member in session_members(sid) {
        let mut slot = member.tty.lock();
        if slot
            .as_ref()
            .is_some_and(|own| core::ptr::eq(&raw const **own, tty))
        {
            let old = slot.take();
            drop(slot);
            drop(old);
        }
    }
    tty.session.store(0, Ordering::Relaxed);
    tty.foreground.store(0, Ordering::Relaxed);
}

/// TIOCNOTTY: ENOTTY unless it is the caller's terminal. A session leader takes it from its whole session.
pub fn release(thread: &Arc<Thread>, tty: &Arc<Tty>) -> Result<()> {
    let process = &thread.process;
    let own = process.tty.lock().clone();
    if !own.is_some_and(|own| Arc::ptr_eq(&own, tty)) {
        return Err(Errno::ENOTTY);
    }
    if process.is_session_leader() {
        let foreground = tty.foreground();
        detach_session(tty, process.sid());
        if foreground != 0 {
            send_pgrp(foreground, SigInfo::kernel(sig::HUP));
            send_pgrp(foreground, SigInfo::kernel(sig::CONT));
        }
    } else {
        let old = process.tty.lock().take();
        drop(old);
    }
    Ok(())
}

/// The leader of a session ended: its terminal is hung up, the foreground group is told.
pub fn session_leader_exited(tty: &Arc<Tty>, leader: &Arc<Process>) {
    if tty.session() != leader.sid() {
        return;
    }
    let foreground = tty.foreground();
    detach_session(tty, leader.sid());
    tty.hang_up();
    if foreground != 0 {
        send_pgrp(foreground, SigInfo::kernel(sig::HUP));
        send_pgrp(foreground, SigInfo::kernel(sig::CONT));
    }
}

/// The line is gone: the session's leader and the foreground group are told, and the session loses its terminal.
pub fn hang_up_session(tty: &Tty) {
    let (sid, foreground) = (tty.session(), tty.foreground());
    if sid == 0 {
        return;
    }
    if let Some(leader) = crate::process::find(sid) {
        send_process(&leader, SigInfo::kernel(sig::HUP));
        send_process(&leader, SigInfo::kernel(sig::CONT));
    }
    if foreground != 0 && foreground != sid {
        send_pgrp(foreground, SigInfo::kernel(sig::HUP));
        send_pgrp(foreground, SigInfo::kernel(sig::CONT));
    }
    detach_session(tty, sid);
}

/// TIOCGPGRP: ENOTTY unless it is the caller's terminal.
pub fn foreground_of(thread: &Arc<Thread>, tty: &Arc<Tty>) -> Result<u32> {
    let own = thread.process.tty.lock().clone();
    if own.is_some_and(|own| Arc::ptr_eq(&own, tty)) {
        Ok(tty.foreground())
    } else {
        Err(Errno::ENOTTY)
    }
}

/// TIOCSPGRP: ENOTTY unless it is the caller's terminal, EPERM unless the group is in the caller's session.
pub fn set_foreground(thread: &Arc<Thread>, tty: &Arc<Tty>, pgid: i32) -> Result<()> {
    check_change(tty)?;
    let process = &thread.process;
    let own = process.tty.lock().clone();
    if !own.is_some_and(|own| Arc::ptr_eq(&own, tty)) || tty.session() != process.sid() {
        return Err(Errno::ENOTTY);
    }
    let pgid = u32::try_from(pgid).map_err(|_| Errno::EINVAL)?;
    let members = pgrp_members(pgid);
    if members.is_empty() {
        return Err(Errno::ESRCH);
    }
    if !members.iter().any(|member| member.sid() == process.sid()) {
        return Err(Errno::EPERM);
    }
    tty.foreground.store(pgid, Ordering::Relaxed);
    Ok(())
}
