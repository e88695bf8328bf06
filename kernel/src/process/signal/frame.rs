//! The stack frame of a signal handler (`struct rt_sigframe`), and the way back (sigreturn(2)).
//!
//! From the stack pointer up: return address, ucontext, siginfo; above them, 64-byte aligned, the XSAVE area with
//! the software bytes and magic words that debuggers and language runtimes look for.

use keel_abi::flags::SaFlags;
use keel_abi::types::{
    FP_XSTATE_MAGIC1, FP_XSTATE_MAGIC2, FpxSwBytes, RtSigframe, SigAltStack, SigSet, Sigcontext,
    UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS, Ucontext,
};
use keel_hal::context::{USER_CS, USER_SS};
use keel_hal::{fpu, user};
use zerocopy::{FromBytes, IntoBytes};

use super::queue::SigInfo;
use super::state::{Action, AltStack};
use super::{UNBLOCKABLE, bit};
use crate::prelude::*;
use crate::process::Thread;
use crate::syscall::Ctx;

/// Bytes below the stack pointer that leaf functions use (x86-64 psABI).
const RED_ZONE: u64 = 128;
/// Where the software bytes lie in the legacy FXSAVE area.
const SW_BYTES: usize = 464;
const SS_ONSTACK: i32 = 1;
const SS_DISABLE: i32 = 2;
const SS_AUTODISARM: i32 = 1 << 31;
/// Direction, trap and resume flags are clear in a handler.
const CLEARED_FLAGS: u64 = 0x400 | 0x100 | 0x1_0000;

/// Bytes of the XSAVE area in a frame, with the trailing magic word.
fn fp_size() -> usize {
    fpu::area_size() + 4
}

/// The most that a frame takes on this processor (AT_MINSIGSTKSZ).
pub fn min_stack_size() -> usize {
    (size_of::<RtSigframe>() + fp_size() + 64 + 16 + RED_ZONE as usize).next_multiple_of(16)
}

/// Whether the stack pointer is on the alternate stack.
fn on_altstack(alt: &AltStack, sp: u64) -> bool {
    alt.size > 0 && !alt.autodisarm && sp > alt.base && sp - alt.base <= alt.size
}

/// What sigaltstack(2) and the frame tell of the alternate stack.
pub fn describe_altstack(alt: &AltStack, sp: u64) -> SigAltStack {
    let mut flags = if alt.size == 0 {
        SS_DISABLE
    } else if on_altstack(alt, sp) {
        SS_ONSTACK
    } else {
        0
    };
    if alt.autodisarm {
        flags |= SS_AUTODISARM;
    }
    SigAltStack {
        ss_sp: keel_abi::args::UserAddr(alt.base),
        ss_flags: flags,
        ss_size: alt.size as usize,
        ..SigAltStack::default()
    }
}

/// Pushes the frame of a handler and points the registers at it: EFAULT where the stack cannot be written.
pub(super) fn push(cx: &mut Ctx, info: &SigInfo, action: &Action) -> Result<()> {
    let thread = cx.thread;
    let alt = *thread.signals.altstack.lock();
    let mut sp = cx.user.rsp.wrapping_sub(RED_ZONE);
    let mut entering = false;
    if action.flags.contains(SaFlags::ONSTACK) && alt.size > 0 && !on_altstack(&alt, cx.user.rsp) {
        sp = alt.base.wrapping_add(alt.size);
        entering = true;
    }
    let fp = sp.wrapping_sub(fp_size() as u64) & !63;
    let frame_at = (fp.wrapping_sub(size_of::<RtSigframe>() as u64) & !15).wrapping_sub(8);
    let inside = frame_at >= alt.base && frame_at - alt.base < alt.size;
    if (entering || on_altstack(&alt, cx.user.rsp)) && !inside {
        return Err(Errno::EFAULT);
    }
    push_fpu(fp)?;
    let old_mask = {
        let saved = thread.signals.saved_mask.lock().take();
        saved.unwrap_or_else(|| thread.signals.blocked())
    };
    let frame = RtSigframe {
        pretcode: action.restorer,
        uc: Ucontext {
            uc_flags: UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
            uc_stack: describe_altstack(&alt, cx.user.rsp),
            uc_mcontext: registers(cx, fp, old_mask),
            uc_sigmask: SigSet { bits: old_mask },
            ..Ucontext::default()
        },
        info: info.raw,
    };
    user::write_obj(frame_at as usize, &frame).map_err(|_| Errno::EFAULT)?;
    if alt.autodisarm {
        *thread.signals.altstack.lock() = AltStack::default();
    }
    let mut mask = thread.signals.blocked() | action.mask;
    if !action.flags.contains(SaFlags::NODEFER) {
        mask |= bit(info.signo());
    }
    thread.set_blocked(mask);
    let member = |offset: usize| frame_at + offset as u64;
    cx.user.rdi = info.signo() as u64;
    cx.user.rsi = member(core::mem::offset_of!(RtSigframe, info));
    cx.user.rdx = member(core::mem::offset_of!(RtSigframe, uc));
    cx.user.rax = 0;
    cx.user.rsp = frame_at;
    cx.user.rip = action.handler;
    cx.user.rflags &= !CLEARED_FLAGS;
    Ok(())
}

fn registers(cx: &Ctx, fpstate: u64, old_mask: u64) -> Sigcontext {
    let (trapno, err, cr2) = *cx.thread.signals.last_fault.lock();
    let user = &*cx.user;
    Sigcontext {
        r8: user.r8,
        r9: user.r9,
        r10: user.r10,
        r11: user.r11,
        r12: user.r12,
        r13: user.r13,
        r14: user.r14,
        r15: user.r15,
        rdi: user.rdi,
        rsi: user.rsi,
        rbp: user.rbp,
        rbx: user.rbx,
        rdx: user.rdx,
        rax: user.rax,
        rcx: user.rcx,
        rsp: user.rsp,
        rip: user.rip,
        eflags: user.rflags,
        cs: USER_CS as u16,
        ss: USER_SS as u16,
        err,
        trapno,
        oldmask: old_mask,
        cr2,
        fpstate,
        ..Sigcontext::default()
    }
}

/// Writes the XSAVE area to `at`, marked as the extended kind.
fn push_fpu(at: u64) -> Result<()> {
    let size = fpu::area_size();
    let mut area = vec![0; size];
    fpu::save_current(&mut area);
    let sw = FpxSwBytes {
        magic1: FP_XSTATE_MAGIC1,
        extended_size: fp_size() as u32,
        xfeatures: fpu::features(),
        xstate_size: size as u32,
        ..FpxSwBytes::default()
    };
    let bytes = sw.as_bytes();
    if let Some(slot) = area.get_mut(SW_BYTES..SW_BYTES + bytes.len()) {
        slot.copy_from_slice(bytes);
    }
    user::write(at as usize, &area).map_err(|_| Errno::EFAULT)?;
    user::write_obj(at as usize + size, &FP_XSTATE_MAGIC2).map_err(|_| Errno::EFAULT)
}

/// rt_sigreturn(2): everything back from the frame at the stack pointer. A frame that cannot be read or used is
/// a SIGSEGV.
pub fn sigreturn(cx: &mut Ctx) -> Result<u64> {
    // The handler's `ret` has popped the return address.
    let frame_at = cx.user.rsp.wrapping_sub(8);
    let frame: RtSigframe = match user::read_obj(frame_at as usize) {
        Ok(frame) => frame,
        Err(_) => return bad_frame(cx),
    };
    let saved = &frame.uc.uc_mcontext;
    cx.thread
        .set_blocked(frame.uc.uc_sigmask.bits & !UNBLOCKABLE);
    let user = &mut *cx.user;
    user.r8 = saved.r8;
    user.r9 = saved.r9;
    user.r10 = saved.r10;
    user.r11 = saved.r11;
    user.r12 = saved.r12;
    user.r13 = saved.r13;
    user.r14 = saved.r14;
    user.r15 = saved.r15;
    user.rdi = saved.rdi;
    user.rsi = saved.rsi;
    user.rbp = saved.rbp;
    user.rbx = saved.rbx;
    user.rdx = saved.rdx;
    user.rax = saved.rax;
    user.rcx = saved.rcx;
    user.rsp = saved.rsp;
    user.rip = saved.rip;
    user.rflags = saved.eflags;
    user.orig_rax = u64::MAX;
    if restore_fpu(saved.fpstate).is_err() {
        return bad_frame(cx);
    }
    // As on Linux, an alternate stack that cannot be set is not an error here.
    let _ = set_altstack(cx.thread, &frame.uc.uc_stack, cx.user.rsp);
    Ok(cx.user.rax)
}

fn bad_frame(cx: &mut Ctx) -> Result<u64> {
    cx.user.orig_rax = u64::MAX;
    super::force_segv(cx.thread);
    Ok(0)
}

fn restore_fpu(at: u64) -> Result<()> {
    if at == 0 {
        fpu::reset_current();
        return Ok(());
    }
    const LEGACY: usize = 512;
    let mut area = vec![0; LEGACY];
    user::read(at as usize, &mut area).map_err(|_| Errno::EFAULT)?;
    let sw = area
        .get(SW_BYTES..)
        .and_then(|bytes| FpxSwBytes::read_from_prefix(bytes).ok())
        .map(|(sw, _)| sw)
        .unwrap_or_default();
    let size = fpu::area_size();
    let extended = sw.magic1 == FP_XSTATE_MAGIC1
        && sw.xstate_size as usize <= size
        && sw.xstate_size as usize > LEGACY
        && matches!(
            user::read_obj::<u32>(at as usize + sw.xstate_size as usize),
            Ok(FP_XSTATE_MAGIC2)
        );
    if extended {
        area.resize(size, 0);
        let len = sw.xstate_size as usize;
        user::read(at as usize, &mut area[..len]).map_err(|_| Errno::EFAULT)?;
    }
    fpu::restore_current(&area).map_err(|_| Errno::EINVAL)
}

/// sigaltstack(2): EPERM while on it, EINVAL for unknown flags, ENOMEM when it is too small.
pub fn set_altstack(thread: &Thread, new: &SigAltStack, sp: u64) -> Result<()> {
    let mut alt = thread.signals.altstack.lock();
    if on_altstack(&alt, sp) {
        return Err(Errno::EPERM);
    }
    let autodisarm = new.ss_flags & SS_AUTODISARM != 0;
    match new.ss_flags & !SS_AUTODISARM {
        SS_DISABLE => {
            *alt = AltStack {
                autodisarm,
                ..AltStack::default()
            }
        }
        0 | SS_ONSTACK => {
            if new.ss_size < keel_abi::types::MINSIGSTKSZ {
                return Err(Errno::ENOMEM);
            }
            *alt = AltStack {
                base: new.ss_sp.addr(),
                size: new.ss_size as u64,
                autodisarm,
            };
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}
