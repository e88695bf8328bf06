//! The loop of every user thread: run in user mode, serve what ended that, deliver signals, go on.

use core::sync::atomic::Ordering;
use keel_hal::context::{Exception, UserContext, UserExit};
use keel_hal::task;

use super::Thread;
use super::signal::{self, SigInfo};
use crate::mm::{Access, FaultOutcome};
use crate::prelude::*;
use crate::syscall::{self, Ctx};

/// Runs `thread` in user mode until it exits. The body of its kernel task.
pub fn user_loop(thread: Arc<Thread>, mut user: UserContext) {
    let mut cx = Ctx {
        thread: &thread,
        user: &mut user,
    };
    // A new thread may have been killed, or its tracer wants to see it, before its first instruction.
    before_user_mode(&mut cx);
    while !thread.exiting() {
        match cx.user.run() {
            UserExit::Syscall => syscall::dispatch(&mut cx),
            UserExit::Exception(exception) => handle_exception(&mut cx, &exception),
            UserExit::Interrupt => {}
        }
        before_user_mode(&mut cx);
    }
    let status = thread.exit_status.load(Ordering::Relaxed);
    super::core_dump::attend(&cx);
    super::ptrace::exit_event(&mut cx, status);
    super::exit::finish(&thread);
}

/// Gives way to others and delivers signals until nothing is left to do.
fn before_user_mode(cx: &mut Ctx) {
    loop {
        if keel_hal::cpu::need_resched() {
            task::schedule();
            super::rseq::interrupted(cx.thread, cx.user);
        } else if super::rseq::is_stale(cx.thread) {
            // It slept, and woke up on another CPU. Telling the new one may sleep and migrate again.
            super::rseq::interrupted(cx.thread, cx.user);
            continue;
        }
        if cx.thread.exiting() || !task::current().interrupted() {
            return;
        }
        signal::deliver_pending(cx);
    }
}

/// Exception vectors (Intel SDM vol. 3, table 6-1).
mod vector {
    pub const DIVIDE: u8 = 0;
    pub const DEBUG: u8 = 1;
    pub const BREAKPOINT: u8 = 3;
    pub const OVERFLOW: u8 = 4;
    pub const BOUND: u8 = 5;
    pub const INVALID_OPCODE: u8 = 6;
    pub const SEGMENT_NOT_PRESENT: u8 = 11;
    pub const STACK_SEGMENT: u8 = 12;
    pub const GENERAL_PROTECTION: u8 = 13;
    pub const PAGE_FAULT: u8 = 14;
    pub const X87: u8 = 16;
    pub const ALIGNMENT: u8 = 17;
    pub const SIMD: u8 = 19;
}

/// siginfo codes of faults (sigaction(2)).
mod code {
    pub const SI_KERNEL: i32 = 0x80;
    pub const ILL_ILLOPN: i32 = 2;
    pub const FPE_INTDIV: i32 = 1;
    pub const SEGV_MAPERR: i32 = 1;
    pub const SEGV_ACCERR: i32 = 2;
    pub const BUS_ADRALN: i32 = 1;
    pub const BUS_ADRERR: i32 = 2;
    pub const TRAP_TRACE: i32 = 2;
}

const SIGILL: i32 = 4;
const SIGTRAP: i32 = 5;
const SIGBUS: i32 = 7;
const SIGFPE: i32 = 8;
const SIGSEGV: i32 = 11;

fn handle_exception(cx: &mut Ctx, exception: &Exception) {
    if exception.vector == vector::PAGE_FAULT {
        return page_fault(cx, exception);
    }
    let rip = cx.user.rip;
    let (signo, code, addr) = match exception.vector {
        vector::DIVIDE => (SIGFPE, code::FPE_INTDIV, rip),
        vector::DEBUG => (SIGTRAP, code::TRAP_TRACE, rip),
        vector::BREAKPOINT => (SIGTRAP, code::SI_KERNEL, 0),
        vector::INVALID_OPCODE => (SIGILL, code::ILL_ILLOPN, rip),
        vector::X87 | vector::SIMD => (SIGFPE, fpu_code(exception.vector), rip),
        vector::ALIGNMENT => (SIGBUS, code::BUS_ADRALN, 0),
        vector::SEGMENT_NOT_PRESENT | vector::STACK_SEGMENT => (SIGBUS, code::SI_KERNEL, 0),
        vector::OVERFLOW | vector::BOUND | vector::GENERAL_PROTECTION => {
            (SIGSEGV, code::SI_KERNEL, 0)
        }
        _ => (SIGSEGV, code::SI_KERNEL, 0),
    };
    let code = if exception.vector == vector::DEBUG {
        match super::ptrace::debug_exception(cx, exception.cr2 as u64) {
            Some(code) => code,
            None => return,
        }
    } else {
        code
    };
    signal::force_fault(cx.thread, fault_info(signo, code, addr, exception));
}

/// The error code of a page fault: present, write, user, reserved, instruction fetch.
const PF_WRITE: u64 = 1 << 1;
const PF_FETCH: u64 = 1 << 4;
const PF_KEY: u64 = 1 << 5;

fn page_fault(cx: &mut Ctx, exception: &Exception) {
    let access = if exception.error_code & PF_FETCH != 0 {
        Access::Execute
    } else if exception.error_code & PF_WRITE != 0 {
        Access::Write
    } else {
        Access::Read
    };
    let addr = exception.cr2;
    if exception.error_code & PF_KEY != 0
        && let Some(key) = cx.thread.mm().key_at(addr)
    {
        let info = SigInfo::key_fault(addr as u64, key);
        return signal::force_fault(cx.thread, with_info(info, exception));
    }
    let (signo, code) = match cx.thread.mm().fault_from_user(addr, access) {
        FaultOutcome::Handled | FaultOutcome::Oom => return,
        FaultOutcome::NotMapped => (SIGSEGV, code::SEGV_MAPERR),
        FaultOutcome::Denied => (SIGSEGV, code::SEGV_ACCERR),
        FaultOutcome::Bus => (SIGBUS, code::BUS_ADRERR),
    };
    signal::force_fault(cx.thread, fault_info(signo, code, addr as u64, exception));
}

fn fault_info(signo: i32, code: i32, addr: u64, exception: &Exception) -> signal::Fault {
    with_info(SigInfo::fault(signo, code, addr), exception)
}

fn with_info(info: SigInfo, exception: &Exception) -> signal::Fault {
    signal::Fault {
        info,
        trap: exception.vector,
        error_code: exception.error_code,
        cr2: exception.cr2 as u64,
    }
}

/// The FPE_* code from the x87 status word or MXCSR: the lowest unmasked exception that is raised.
fn fpu_code(vector: u8) -> i32 {
    let mut area = vec![0; keel_hal::fpu::area_size()];
    keel_hal::fpu::save_current(&mut area);
    let word = |at: usize| {
        u32::from(area.get(at).copied().unwrap_or(0))
            | u32::from(area.get(at + 1).copied().unwrap_or(0)) << 8
    };
    let raised = if vector == vector::X87 {
        word(2) & !word(0) & 0x3f
    } else {
        let mxcsr = word(24);
        mxcsr & !(mxcsr >> 7) & 0x3f
    };
    match raised.trailing_zeros() {
        0 => 7,     // FPE_FLTINV
        1 | 4 => 5, // FPE_FLTUND
        2 => 3,     // FPE_FLTDIV
        3 => 4,     // FPE_FLTOVF
        5 => 6,     // FPE_FLTRES
        _ => 0,
    }
}
