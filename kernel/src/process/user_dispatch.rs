//! Syscall User Dispatch: system calls from outside a range of code become SIGSYS (prctl(2),
//! PR_SET_SYSCALL_USER_DISPATCH).

use keel_abi::args::UserPtr;
use keel_abi::flags::SYS_USER_DISPATCH;
use keel_abi::types::{AUDIT_ARCH_X86_64, Siginfo};

use super::signal::{self, SigInfo, sig};
use super::{Thread, exit};
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::syscall::{Ctx, work};

/// PR_SYS_DISPATCH_OFF and PR_SYS_DISPATCH_ON.
const OFF: u64 = 0;
const ON: u64 = 1;
/// What the selector byte may say.
const ALLOW: u8 = 0;
const BLOCK: u8 = 1;
/// `struct ptrace_sud_config`: mode, selector, offset, len.
const CONFIG_WORDS: usize = 4;

/// What a thread has of it: nothing while it is off.
#[derive(Clone, Copy, Default)]
pub struct Dispatch {
    /// First address from which calls always pass.
    offset: u64,
    /// How many bytes from there on.
    len: u64,
    /// Address of the byte that switches; 0 for none, and all calls from elsewhere are blocked.
    selector: u64,
}

/// Switches it on or off: EINVAL for ranges that wrap and for arguments with OFF, EFAULT for a selector outside of
/// user memory.
pub fn set(thread: &Thread, mode: u64, offset: u64, len: u64, selector: u64) -> Result<()> {
    let dispatch = match mode {
        OFF if offset != 0 || len != 0 || selector != 0 => return Err(Errno::EINVAL),
        OFF => None,
        ON if offset != 0 && offset.wrapping_add(len) <= offset => return Err(Errno::EINVAL),
        ON if selector >= crate::mm::TASK_SIZE_MAX as u64 => return Err(Errno::EFAULT),
        ON => Some(Dispatch {
            offset,
            len,
            selector,
        }),
        _ => return Err(Errno::EINVAL),
    };
    *thread.user_dispatch.lock() = dispatch;
    thread.set_work(work::USER_DISPATCH, dispatch.is_some());
    Ok(())
}

/// A new program starts without.
pub fn exec_reset(thread: &Thread) {
    *thread.user_dispatch.lock() = None;
    thread.set_work(work::USER_DISPATCH, false);
}

/// Before a system call: true if it is not made but became a signal.
pub fn intercepts(cx: &mut Ctx) -> bool {
    let Some(dispatch) = *cx.thread.user_dispatch.lock() else {
        return false;
    };
    if cx.user.rip.wrapping_sub(dispatch.offset) < dispatch.len {
        return false;
    }
    if dispatch.selector != 0 {
        match UserPtr::<u8>::new(dispatch.selector).read() {
            Ok(ALLOW) => return false,
            Ok(BLOCK) => {}
            other => {
                let signo = if other.is_ok() { sig::SYS } else { sig::SEGV };
                exit::do_group_exit(cx.thread, signo);
                return true;
            }
        }
    }
    let nr = cx.user.orig_rax;
    cx.user.rax = nr;
    let raw = Siginfo::sys(SYS_USER_DISPATCH, cx.user.rip, nr as i32, AUDIT_ARCH_X86_64);
    signal::force(cx.thread, SigInfo::new(raw));
    true
}

/// PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG: EINVAL unless `size` is the structure's.
pub fn get_config(thread: &Thread, size: u64, data: u64) -> Result<()> {
    check_size(size)?;
    let dispatch = *thread.user_dispatch.lock();
    let mode = if dispatch.is_some() { ON } else { OFF };
    let Dispatch {
        offset,
        len,
        selector,
    } = dispatch.unwrap_or_default();
    UserPtr::<u64>::new(data).write_array(&[mode, selector, offset, len])
}

/// PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG: as [`set`].
pub fn set_config(thread: &Thread, size: u64, data: u64) -> Result<()> {
    check_size(size)?;
    let words = UserPtr::<u64>::new(data).read_array(CONFIG_WORDS)?;
    match *words.as_slice() {
        [mode, selector, offset, len] => set(thread, mode, offset, len, selector),
        _ => Err(Errno::EINVAL),
    }
}

fn check_size(size: u64) -> Result<()> {
    if size == (CONFIG_WORDS * 8) as u64 {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}
