//! What happens before the return to user mode: signals are taken and acted on, interrupted calls are restarted.

use keel_abi::flags::SaFlags;
use keel_abi::nr;
use keel_abi::types::{SIG_DFL, SIG_IGN};
use keel_hal::task;

use super::queue::SigInfo;
use super::state::{Action, take_any};
use super::{DEFAULT_CORE, DEFAULT_IGNORED, STOP_SIGNALS, bit, frame, sig, stop};
use crate::prelude::*;
use crate::process::{exit, pid, ptrace};
use crate::syscall::Ctx;

/// Delivers what is pending, then restarts or ends an interrupted system call.
pub fn deliver_pending(cx: &mut Ctx) {
    task::current().clear_interrupt();
    while !cx.thread.exiting() {
        if ptrace::trap_pending(cx.thread) {
            ptrace::trap_stop(cx);
            continue;
        }
        if stop::group_stop_pending(cx.thread) {
            stop::wait_while_stopped(cx.thread);
            continue;
        }
        let wanted = !cx.thread.signals.blocked();
        let Some(info) = take_any(cx.thread, wanted) else {
            break;
        };
        let Some(info) = ptrace::signal_stop(cx, info) else {
            continue;
        };
        if act(cx, &info) {
            // One frame at a time: the handler runs before the next signal is looked at.
            if cx.thread.has_pending_signal() || ptrace::trap_pending(cx.thread) {
                task::current().interrupt();
            }
            return;
        }
    }
    restart_without_handler(cx);
    cx.thread.restore_mask();
}

/// Acts on one signal; true if a handler is to run.
fn act(cx: &mut Ctx, info: &SigInfo) -> bool {
    let signo = info.signo();
    let signals = &cx.thread.process.signals;
    let action = signals.action(signo);
    if signo != sig::KILL && signo != sig::STOP {
        if action.handler == SIG_IGN {
            return false;
        }
        if action.handler != SIG_DFL {
            if action.flags.contains(SaFlags::RESETHAND) {
                signals.set_action(
                    signo,
                    Action {
                        handler: SIG_DFL,
                        ..action
                    },
                );
            }
            run_handler(cx, info, &action);
            return true;
        }
        if bit(signo) & DEFAULT_IGNORED != 0 {
            return false;
        }
    }
    if cx.thread.process.pid == 1 && info.is_from_user() {
        return false;
    }
    if bit(signo) & STOP_SIGNALS != 0 {
        if signo == sig::STOP || !in_orphaned_group(cx) {
            stop::stop_here(cx.thread, signo);
        }
        return false;
    }
    kill_with(cx, info);
    false
}

/// Ends the running process by a signal's default action, with a core file if it is one that leaves them.
pub fn kill_with(cx: &mut Ctx, info: &SigInfo) {
    let signo = info.signo();
    let dumped = bit(signo) & DEFAULT_CORE != 0 && crate::process::core_dump::dump(cx, info);
    let status = if dumped { signo | 0x80 } else { signo };
    exit::do_group_exit(cx.thread, status);
}

/// Terminal stop signals do nothing to a group that no shell could continue.
fn in_orphaned_group(cx: &Ctx) -> bool {
    let process = &cx.thread.process;
    let members = pid::pgrp_members(process.pgid());
    exit::group_is_orphaned(&members, process.sid(), None)
}

/// The errno in `rax` if the thread is in a system call that a signal interrupted.
fn restart_code(cx: &Ctx) -> Option<Errno> {
    if cx.user.orig_rax == u64::MAX {
        return None;
    }
    Errno::from_reg(cx.user.rax).filter(|errno| errno.is_restart())
}

/// Length of the SYSCALL instruction.
const SYSCALL_LEN: u64 = 2;

fn run_handler(cx: &mut Ctx, info: &SigInfo, action: &Action) {
    if let Some(code) = restart_code(cx) {
        let restart = match code {
            Errno::ERESTARTNOINTR => true,
            Errno::ERESTARTSYS => action.flags.contains(SaFlags::RESTART),
            _ => false,
        };
        if restart {
            cx.user.rax = cx.user.orig_rax;
            cx.user.rip = cx.user.rip.wrapping_sub(SYSCALL_LEN);
        } else {
            cx.user.rax = Errno::EINTR.to_reg();
        }
    }
    cx.user.orig_rax = u64::MAX;
    crate::process::rseq::interrupted(cx.thread, cx.user);
    let stepping = ptrace::suspend_step(cx);
    if frame::push(cx, info, action).is_err() {
        // No room for the frame. A program that catches SIGSEGV elsewhere can go on; one whose frame for SIGSEGV itself
        // finds no room dies.
        log::debug!("{}: bad signal stack", cx.thread.comm());
        if info.signo() == sig::SEGV {
            exit::do_group_exit(cx.thread, sig::SEGV);
        } else {
            super::force_segv(cx.thread);
        }
    } else if stepping {
        ptrace::notify_step(cx);
    }
}

/// No handler runs: the call goes on as if nothing had happened.
fn restart_without_handler(cx: &mut Ctx) {
    let Some(code) = restart_code(cx) else { return };
    cx.user.rax = match code {
        Errno::ERESTART_RESTARTBLOCK => u64::from(nr::RESTART_SYSCALL),
        _ => cx.user.orig_rax,
    };
    cx.user.rip = cx.user.rip.wrapping_sub(SYSCALL_LEN);
    cx.user.orig_rax = u64::MAX;
}
