//! A stopped tracee's registers in the forms that ptrace(2) shows them: `struct user_regs_struct`, `struct user`,
//! the FXSAVE and XSAVE areas, the debug registers.

use core::mem::offset_of;
use keel_abi::types::{User, UserRegs};
use keel_hal::context::{USER_CS, USER_SS, UserContext};
use keel_hal::fpu;
use keel_hal::task::{self, Task};

use crate::mm::TASK_SIZE_MAX;
use crate::prelude::*;
use crate::process::Thread;

/// Words of `struct user_regs_struct`.
const REGS: usize = size_of::<UserRegs>() / 8;
/// Flags that a tracer may change: the arithmetic ones, TF, DF, NT, RF, AC.
const CHANGEABLE_FLAGS: u64 = 0x0005_4dd5;
/// Bytes of the FXSAVE area.
const FXSAVE: usize = 512;
/// Where an XSAVE image tells debuggers of the enabled features.
const XSTATE_XCR0: usize = 464;
/// The feature bits of x87 and SSE.
const X87_SSE: u8 = 3;

/// The words of `struct user_regs_struct`.
pub type RegisterWords = [u64; REGS];

const RIP: usize = offset_of!(UserRegs, rip) / 8;
const CS: usize = offset_of!(UserRegs, cs) / 8;
const EFLAGS: usize = offset_of!(UserRegs, eflags) / 8;
const RSP: usize = offset_of!(UserRegs, rsp) / 8;
const SS: usize = offset_of!(UserRegs, ss) / 8;
const FS_BASE: usize = offset_of!(UserRegs, fs_base) / 8;
const GS_BASE: usize = offset_of!(UserRegs, gs_base) / 8;

/// The general registers, with the segment bases (FS, GS).
pub fn general_registers(user: &UserContext, bases: (u64, u64)) -> RegisterWords {
    [
        user.r15,
        user.r14,
        user.r13,
        user.r12,
        user.rbp,
        user.rbx,
        user.r11,
        user.r10,
        user.r9,
        user.r8,
        user.rax,
        user.rcx,
        user.rdx,
        user.rsi,
        user.rdi,
        user.orig_rax,
        user.rip,
        USER_CS,
        user.rflags,
        user.rsp,
        USER_SS,
        bases.0,
        bases.1,
        0,
        0,
        0,
        0,
    ]
}

/// The slot of a general register that user mode may set freely.
fn plain_slot(user: &mut UserContext, index: usize) -> Option<&mut u64> {
    Some(match index {
        0 => &mut user.r15,
        1 => &mut user.r14,
        2 => &mut user.r13,
        3 => &mut user.r12,
        4 => &mut user.rbp,
        5 => &mut user.rbx,
        6 => &mut user.r11,
        7 => &mut user.r10,
        8 => &mut user.r9,
        9 => &mut user.r8,
        10 => &mut user.rax,
        11 => &mut user.rcx,
        12 => &mut user.rdx,
        13 => &mut user.rsi,
        14 => &mut user.rdi,
        15 => &mut user.orig_rax,
        RIP => &mut user.rip,
        RSP => &mut user.rsp,
        _ => return None,
    })
}

/// Sets one word of `struct user_regs_struct`: EIO for what user mode cannot have. Segment registers always have
/// their 64-bit values here.
fn set_word(
    user: &mut UserContext,
    bases: &mut (u64, u64),
    index: usize,
    value: u64,
) -> Result<()> {
    if let Some(slot) = plain_slot(user, index) {
        *slot = value;
        return Ok(());
    }
    match index {
        EFLAGS => user.rflags = user.rflags & !CHANGEABLE_FLAGS | value & CHANGEABLE_FLAGS,
        FS_BASE if value < TASK_SIZE_MAX as u64 => bases.0 = value,
        GS_BASE if value < TASK_SIZE_MAX as u64 => bases.1 = value,
        CS if value & 0xffff == USER_CS => {}
        SS if value & 0xffff == USER_SS => {}
        FS_BASE | GS_BASE | CS | SS => return Err(Errno::EIO),
        _ if value & 0xffff == 0 => {}
        _ => return Err(Errno::EIO),
    }
    Ok(())
}

/// The task of a stopped tracee once its processor has left it: ESRCH if it does not stand still any more.
pub(super) fn parked(tracee: &Arc<Thread>) -> Result<Arc<Task>> {
    loop {
        if !tracee.ptrace.tracee.lock().stopped {
            return Err(Errno::ESRCH);
        }
        let task = tracee.task().ok_or(Errno::ESRCH)?;
        if task.debug_regs().is_some() {
            return Ok(task);
        }
        // It announced its stop and is on its way to sleep.
        task::yield_now();
    }
}

/// All words of the general registers.
pub(super) fn read_words(tracee: &Arc<Thread>) -> Result<RegisterWords> {
    let bases = parked(tracee)?.segment_bases();
    let state = tracee.ptrace.tracee.lock();
    Ok(general_registers(&state.regs, bases))
}

/// Sets general registers from word `first` on; those before the first bad one are set.
pub(super) fn write_words(tracee: &Arc<Thread>, first: usize, words: &[u64]) -> Result<()> {
    let task = parked(tracee)?;
    let old_bases = task.segment_bases();
    let mut bases = old_bases;
    let result = {
        let mut state = tracee.ptrace.tracee.lock();
        if !state.stopped {
            return Err(Errno::ESRCH);
        }
        words
            .iter()
            .enumerate()
            .try_for_each(|(at, value)| set_word(&mut state.regs, &mut bases, first + at, *value))
    };
    if bases != old_bases {
        task.set_segment_bases(bases.0, bases.1)
            .map_err(|_| Errno::EIO)?;
    }
    result
}

/// PTRACE_PEEKUSR: a word of `struct user` at `offset`. EIO beyond it or between words.
pub(super) fn peek_user(tracee: &Arc<Thread>, offset: u64) -> Result<u64> {
    let index = user_word(offset)?;
    if let Some(word) = read_words(tracee)?.get(index) {
        return Ok(*word);
    }
    Ok(match debug_index(index) {
        Some(n) => tracee.ptrace.tracee.lock().debug[n],
        None => 0,
    })
}

/// PTRACE_POKEUSR: EIO for what is neither a general nor a debug register.
pub(super) fn poke_user(tracee: &Arc<Thread>, offset: u64, value: u64) -> Result<()> {
    let index = user_word(offset)?;
    if index < REGS {
        return write_words(tracee, index, &[value]);
    }
    match debug_index(index) {
        Some(n) => set_debug(tracee, n, value),
        None => Err(Errno::EIO),
    }
}

fn user_word(offset: u64) -> Result<usize> {
    // The kernel's `struct user` has two more words than glibc's.
    const SIZE: u64 = size_of::<User>() as u64 + 16;
    if !offset.is_multiple_of(8) || offset >= SIZE {
        return Err(Errno::EIO);
    }
    Ok((offset / 8) as usize)
}

fn debug_index(word: usize) -> Option<usize> {
    let n = word.checked_sub(offset_of!(User, u_debugreg) / 8)?;
    (n < 8).then_some(n)
}

/// Sets a debug register as the tracer sees it: EIO for DR4 and DR5, EINVAL for addresses and conditions that a
/// program's breakpoints cannot have.
fn set_debug(tracee: &Arc<Thread>, n: usize, value: u64) -> Result<()> {
    /// Enable bits of the four breakpoints, and their conditions and lengths.
    const DR7_USER: u64 = 0xffff_00ff;
    let task = parked(tracee)?;
    let mut debug = tracee.ptrace.tracee.lock().debug;
    debug[n] = value;
    match n {
        0..=3 if value >= TASK_SIZE_MAX as u64 => return Err(Errno::EINVAL),
        4 | 5 => return Err(Errno::EIO),
        _ => {}
    }
    let dr7 = debug[7];
    if n != 6 {
        let enabled = |i: usize| dr7 >> (2 * i) & 3 != 0;
        if !(0..4).filter(|i| enabled(*i)).all(|i| {
            let condition = dr7 >> (16 + 4 * i) & 3;
            let len_bits = dr7 >> (18 + 4 * i) & 3;
            let mask = [0, 1, 7, 3][len_bits as usize];
            condition != 2 && (condition != 0 || len_bits == 0) && debug[i] & mask == 0
        }) {
            return Err(Errno::EINVAL);
        }
        let mut addrs = [0; 4];
        addrs.copy_from_slice(&debug[..4]);
        let active = if (0..4).any(enabled) {
            dr7 & DR7_USER
        } else {
            0
        };
        task.set_debug_regs(addrs, active)
            .map_err(|_| Errno::EINVAL)?;
    }
    tracee.ptrace.tracee.lock().debug = debug;
    Ok(())
}

/// The full XSAVE area of a task that does not run.
fn xsave_area(task: &Arc<Task>) -> Result<Vec<u8>> {
    let mut area = vec![0; fpu::area_size()];
    if task.fpu_read(&mut area) {
        Ok(area)
    } else {
        Err(Errno::ESRCH)
    }
}

/// The XSAVE area of a task that does not run, or of the running one, with the enabled features in the software
/// bytes as debuggers expect them.
pub fn xstate_of(task: &Arc<Task>) -> Option<Vec<u8>> {
    let mut area = xsave_area(task).ok()?;
    if let Some(software) = area.get_mut(XSTATE_XCR0..FXSAVE) {
        software.fill(0);
        software[..8].copy_from_slice(&fpu::features().to_le_bytes());
    }
    Some(area)
}

/// NT_PRFPREG: the FXSAVE area.
pub(super) fn read_fpregs(tracee: &Arc<Thread>) -> Result<Vec<u8>> {
    let mut area = xsave_area(&parked(tracee)?)?;
    area.truncate(FXSAVE);
    Ok(area)
}

/// NT_X86_XSTATE: the XSAVE area. ENODEV on processors without XSAVE.
pub(super) fn read_xstate(tracee: &Arc<Thread>) -> Result<Vec<u8>> {
    if fpu::area_size() <= FXSAVE {
        return Err(Errno::ENODEV);
    }
    xstate_of(&parked(tracee)?).ok_or(Errno::ESRCH)
}

/// Sets the x87 and SSE registers from the start of an FXSAVE area; the others stay. EINVAL for reserved bits.
pub(super) fn write_fpregs(tracee: &Arc<Thread>, bytes: &[u8]) -> Result<()> {
    let task = parked(tracee)?;
    let mut area = xsave_area(&task)?;
    let len = bytes.len().min(FXSAVE);
    area[..len].copy_from_slice(&bytes[..len]);
    if let Some(present) = area.get_mut(FXSAVE) {
        *present |= X87_SSE;
    }
    task.fpu_write(&area).map_err(|_| Errno::EINVAL)
}

/// Sets all extended registers: EFAULT unless the area is whole, EINVAL for contents that cannot be loaded.
pub(super) fn write_xstate(tracee: &Arc<Thread>, bytes: &[u8]) -> Result<()> {
    let size = fpu::area_size();
    if size <= FXSAVE {
        return Err(Errno::ENODEV);
    }
    if bytes.len() != size {
        return Err(Errno::EFAULT);
    }
    parked(tracee)?.fpu_write(bytes).map_err(|_| Errno::EINVAL)
}
