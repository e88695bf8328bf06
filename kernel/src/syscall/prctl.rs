//! prctl(2): the odds and ends of a process.

use core::sync::atomic::Ordering;
use keel_abi::prelude::*;
use keel_hal::task;

use super::Ctx;
use crate::mm::user::{UserAccess, UserStrAccess};
use crate::prelude::*;
use crate::process::signal::NSIG;
use crate::process::{Cap, CapSet, SecureBits, seccomp, user_dispatch};

const PR_SET_VMA_ANON_NAME: u64 = 0;
const SPEC_NOT_AFFECTED: i32 = 0;
const TSC_ENABLE: i32 = 1;
const TSC_SIGSEGV: i32 = 2;
const PR_TIMING_STATISTICAL: u64 = 0;

pub fn prctl(
    cx: &mut Ctx,
    option: PrctlOption,
    arg2: u64,
    arg3: u64,
    arg4: u64,
    arg5: u64,
) -> Result<i32> {
    let thread = cx.thread;
    let process = &thread.process;
    let rest_zero = arg3 == 0 && arg4 == 0 && arg5 == 0;
    match option {
        PrctlOption::PR_SET_PDEATHSIG => {
            if arg2 > NSIG as u64 {
                return Err(Errno::EINVAL);
            }
            thread.pdeath_signal.store(arg2 as i32, Ordering::Relaxed);
        }
        PrctlOption::PR_GET_PDEATHSIG => {
            let signo = thread.pdeath_signal.load(Ordering::Relaxed);
            UserPtr::<i32>::new(arg2).write(&signo)?;
        }
        PrctlOption::PR_GET_DUMPABLE => return Ok(process.dumpable.load(Ordering::Relaxed) as i32),
        PrctlOption::PR_SET_DUMPABLE => {
            if arg2 > 1 {
                return Err(Errno::EINVAL);
            }
            process.dumpable.store(arg2 as u32, Ordering::Relaxed);
        }
        PrctlOption::PR_SET_NAME => {
            let name = match UserStr::new(arg2).read_string(15, Errno::E2BIG) {
                Err(Errno::E2BIG) => crate::mm::user::read_bytes(arg2, 15)?,
                other => other?,
            };
            thread.set_comm(&name);
        }
        PrctlOption::PR_GET_NAME => {
            UserPtr::<u8>::new(arg2).write_array(&thread.comm_bytes())?;
        }
        PrctlOption::PR_GET_KEEPCAPS => {
            return Ok(thread
                .cred()
                .securebits
                .contains(SecureBits::KEEP_CAPS)
                .into());
        }
        PrctlOption::PR_SET_KEEPCAPS => set_keep_caps(cx, arg2)?,
        PrctlOption::PR_GET_SECUREBITS => return Ok(thread.cred().securebits.bits() as i32),
        PrctlOption::PR_SET_SECUREBITS => set_securebits(cx, arg2)?,
        PrctlOption::PR_CAPBSET_READ => {
            let cap = capability(arg2)?;
            return Ok(thread.cred().bounding.has(cap).into());
        }
        PrctlOption::PR_CAPBSET_DROP => {
            let cap = capability(arg2)?;
            thread.cred().require(Cap::SETPCAP)?;
            let mut new = (*thread.cred()).clone();
            new.bounding = new.bounding.without(CapSet(1 << cap.0));
            thread.set_cred(new);
        }
        PrctlOption::PR_CAP_AMBIENT => return ambient(cx, arg2, arg3, arg4, arg5),
        PrctlOption::PR_SET_TIMERSLACK => {
            thread.set_timer_slack(arg2);
        }
        PrctlOption::PR_GET_TIMERSLACK => {
            return Ok(thread
                .timer_slack
                .load(Ordering::Relaxed)
                .min(i32::MAX as u64) as i32);
        }
        PrctlOption::PR_SET_CHILD_SUBREAPER => {
            process.child_subreaper.store(arg2 != 0, Ordering::Relaxed);
        }
        PrctlOption::PR_GET_CHILD_SUBREAPER => {
            let on = i32::from(process.child_subreaper.load(Ordering::Relaxed));
            UserPtr::<i32>::new(arg2).write(&on)?;
        }
        PrctlOption::PR_SET_NO_NEW_PRIVS => {
            if arg2 != 1 || !rest_zero {
                return Err(Errno::EINVAL);
            }
            let mut new = (*thread.cred()).clone();
            new.no_new_privs = true;
            thread.set_cred(new);
        }
        PrctlOption::PR_GET_NO_NEW_PRIVS => {
            if arg2 != 0 || !rest_zero {
                return Err(Errno::EINVAL);
            }
            return Ok(thread.cred().no_new_privs.into());
        }
        PrctlOption::PR_GET_TID_ADDRESS => {
            let addr = thread.clear_child_tid.load(Ordering::Relaxed);
            UserPtr::<u64>::new(arg2).write(&addr)?;
        }
        PrctlOption::PR_GET_TIMING => return Ok(PR_TIMING_STATISTICAL as i32),
        PrctlOption::PR_SET_TIMING if arg2 == PR_TIMING_STATISTICAL => {}
        PrctlOption::PR_GET_TSC => {
            let state = if task::current().tsc_disabled() {
                TSC_SIGSEGV
            } else {
                TSC_ENABLE
            };
            UserPtr::<i32>::new(arg2).write(&state)?;
        }
        PrctlOption::PR_SET_TSC => match i32::try_from(arg2) {
            Ok(state @ (TSC_ENABLE | TSC_SIGSEGV)) => {
                task::current().set_tsc_disabled(state == TSC_SIGSEGV);
            }
            _ => return Err(Errno::EINVAL),
        },
        PrctlOption::PR_GET_SECCOMP => {
            return Ok(seccomp::mode(thread) as i32);
        }
        PrctlOption::PR_SET_SECCOMP => match u32::try_from(arg2) {
            Ok(seccomp::mode::STRICT) => seccomp::set_strict(thread)?,
            Ok(seccomp::mode::FILTER) => {
                return seccomp::set_filter(thread, SeccompFlags::empty(), UserPtr::new(arg3));
            }
            _ => return Err(Errno::EINVAL),
        },
        PrctlOption::PR_SET_SYSCALL_USER_DISPATCH => {
            user_dispatch::set(thread, arg2, arg3, arg4, arg5)?;
        }
        PrctlOption::PR_GET_SPECULATION_CTRL if rest_zero => match arg2 {
            0..=2 => return Ok(SPEC_NOT_AFFECTED),
            _ => return Err(Errno::ENODEV),
        },
        PrctlOption::PR_SET_SPECULATION_CTRL if arg4 == 0 && arg5 == 0 => {
            return set_speculation(arg2, arg3);
        }
        PrctlOption::PR_MCE_KILL if arg4 == 0 && arg5 == 0 => mce_kill(cx, arg2, arg3)?,
        PrctlOption::PR_MCE_KILL_GET if arg2 == 0 && rest_zero => {
            return Ok(process.mce_kill.load(Ordering::Relaxed) as i32);
        }
        PrctlOption::PR_SET_VMA if arg2 == PR_SET_VMA_ANON_NAME => {
            name_memory(cx, arg3, arg4, arg5)?;
        }
        PrctlOption::PR_SET_THP_DISABLE if rest_zero => {
            let mm = thread.mm();
            mm.thp_disabled.store(arg2 != 0, Ordering::Relaxed);
        }
        PrctlOption::PR_GET_THP_DISABLE if rest_zero && arg2 == 0 => {
            return Ok(thread.mm().thp_disabled.load(Ordering::Relaxed).into());
        }
        PrctlOption::PR_GET_AUXV => {
            let auxv = process.auxv.lock().clone();
            let bytes = zerocopy::IntoBytes::as_bytes(auxv.as_slice());
            let len = bytes.len().min(arg3 as usize);
            crate::mm::user::write_bytes(arg2, &bytes[..len])?;
            return Ok(bytes.len() as i32);
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

/// No processor here is told to speculate less: ENXIO where that is refused, ENODEV for unknown kinds.
fn set_speculation(kind: u64, control: u64) -> Result<i32> {
    const STORE_BYPASS: u64 = 0;
    const INDIRECT_BRANCH: u64 = 1;
    const L1D_FLUSH: u64 = 2;
    const ENABLE: u64 = 1 << 1;
    const DISABLE: u64 = 1 << 2;
    const FORCE_DISABLE: u64 = 1 << 3;
    match (kind, control) {
        (STORE_BYPASS, _) => Err(Errno::ENXIO),
        (INDIRECT_BRANCH, ENABLE) => Ok(0),
        (INDIRECT_BRANCH, DISABLE | FORCE_DISABLE) | (L1D_FLUSH, _) => Err(Errno::EPERM),
        (INDIRECT_BRANCH, _) => Err(Errno::ERANGE),
        _ => Err(Errno::ENODEV),
    }
}

/// PR_MCE_KILL: when a program hears of a broken page. Kept for PR_MCE_KILL_GET and for children; no memory is ever
/// found broken.
fn mce_kill(cx: &Ctx, what: u64, policy: u64) -> Result<()> {
    const CLEAR: u64 = 0;
    const SET: u64 = 1;
    const DEFAULT: u32 = 2;
    let policy = match (what, u32::try_from(policy)) {
        (CLEAR, Ok(0)) => DEFAULT,
        (SET, Ok(policy)) if policy <= DEFAULT => policy,
        _ => return Err(Errno::EINVAL),
    };
    let process = &cx.thread.process;
    process.mce_kill.store(policy, Ordering::Relaxed);
    Ok(())
}

fn capability(raw: u64) -> Result<Cap> {
    match u8::try_from(raw) {
        Ok(cap) if cap <= Cap::LAST.0 => Ok(Cap(cap)),
        _ => Err(Errno::EINVAL),
    }
}

fn set_keep_caps(cx: &Ctx, value: u64) -> Result<()> {
    if value > 1 {
        return Err(Errno::EINVAL);
    }
    let mut new = (*cx.thread.cred()).clone();
    if new.securebits.contains(SecureBits::KEEP_CAPS_LOCKED) {
        return Err(Errno::EPERM);
    }
    new.securebits.set(SecureBits::KEEP_CAPS, value == 1);
    cx.thread.set_cred(new);
    Ok(())
}

fn set_securebits(cx: &Ctx, value: u64) -> Result<()> {
    let wanted = u32::try_from(value)
        .ok()
        .and_then(SecureBits::from_bits)
        .ok_or(Errno::EPERM)?;
    let mut new = (*cx.thread.cred()).clone();
    new.require(Cap::SETPCAP)?;
    let old = new.securebits.bits();
    // Each lock is the bit above what it locks; locks stay, and what they lock cannot change.
    let locks = old & 0xaa;
    let locked = locks >> 1;
    if (old ^ wanted.bits()) & locked != 0 || locks & !wanted.bits() != 0 {
        return Err(Errno::EPERM);
    }
    new.securebits = wanted;
    cx.thread.set_cred(new);
    Ok(())
}

fn ambient(cx: &Ctx, op: u64, cap: u64, arg4: u64, arg5: u64) -> Result<i32> {
    const IS_SET: u64 = 1;
    const RAISE: u64 = 2;
    const LOWER: u64 = 3;
    const CLEAR_ALL: u64 = 4;
    if arg4 != 0 || arg5 != 0 {
        return Err(Errno::EINVAL);
    }
    let mut new = (*cx.thread.cred()).clone();
    if op == CLEAR_ALL {
        if cap != 0 {
            return Err(Errno::EINVAL);
        }
        new.ambient = CapSet::EMPTY;
        cx.thread.set_cred(new);
        return Ok(0);
    }
    let cap = capability(cap)?;
    let bit = CapSet(1 << cap.0);
    match op {
        IS_SET => return Ok(new.ambient.has(cap).into()),
        RAISE => {
            if !new.permitted.has(cap)
                || !new.inheritable.has(cap)
                || new.securebits.contains(SecureBits::NO_CAP_AMBIENT_RAISE)
            {
                return Err(Errno::EPERM);
            }
            new.ambient = new.ambient.or(bit);
        }
        LOWER => new.ambient = new.ambient.without(bit),
        _ => return Err(Errno::EINVAL),
    }
    cx.thread.set_cred(new);
    Ok(0)
}

fn name_memory(cx: &Ctx, addr: u64, len: u64, name: u64) -> Result<()> {
    const MAX_NAME: usize = 79;
    let name = if name == 0 {
        None
    } else {
        let text = UserStr::new(name).read_string(MAX_NAME, Errno::EINVAL)?;
        let bad = |b: &u8| !(32..127).contains(b) || b"\\`$[]".contains(b);
        if text.iter().any(bad) {
            return Err(Errno::EINVAL);
        }
        Some(Arc::from(text))
    };
    if !(addr as usize).is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let range = crate::mm::user_range(addr as usize, len as usize).ok_or(Errno::EINVAL)?;
    if range.is_empty() {
        return Ok(());
    }
    cx.thread.mm().set_name(range, name)
}
