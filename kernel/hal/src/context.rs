//! User-mode execution: [`UserContext::run`] and the SYSCALL entry.
//!
//! The kernel owns a task's registers as a [`UserContext`] and calls `run` in a loop. Leaving user
//! mode saves them there and makes `run` return; there is no other path into the kernel proper.
//! Interrupts that nobody waits for are served inside `run`. Follows the AMD64 Architecture
//! Programmer's Manual, volume 2, and the psABI's system-call convention.

use core::{
    arch::{asm, global_asm},
    mem::offset_of,
};

use crate::{cpu::local, task, trap};

/// The general registers of a task's user mode.
#[derive(Clone, Debug, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct UserContext {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// The system call number while a call is handled, else `u64::MAX`.
    pub orig_rax: u64,
    pub rip: u64,
    pub rflags: u64,
    pub rsp: u64,
}

/// CS of user mode, as ptrace and signal frames show it.
pub const USER_CS: u64 = 0x33;
/// SS of user mode.
pub const USER_SS: u64 = 0x2b;

/// An exception raised by user code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The vector: 14 is a page fault.
    pub vector: u8,
    /// The error code, 0 where there is none.
    pub error_code: u64,
    /// The fault address of a page fault; for #DB the status bits of DR6.
    pub cr2: usize,
}

/// Why user mode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserExit {
    /// A SYSCALL instruction; the number is in `rax` and `orig_rax`.
    Syscall,
    /// An exception.
    Exception(Exception),
    /// The task is to reschedule or its interrupt flag is set.
    Interrupt,
}

/// What [`keel_enter_user`] returns: the vector ([`SYSCALL_VECTOR`] for a system call) and the error
/// code, in RAX and RDX.
#[repr(C)]
struct RawExit {
    vector: u64,
    error_code: u64,
}

/// Stands for the SYSCALL instruction among the vectors.
const SYSCALL_VECTOR: u64 = 256;

/// Flags that user code may set: the arithmetic ones, TF, DF, NT, RF, AC, ID.
const USER_FLAGS: u64 = 0x0025_4dd5;
const FLAG_IF: u64 = 1 << 9;
const FLAG_TF: u64 = 1 << 8;
const FLAG_RF: u64 = 1 << 16;
const FLAG_RESERVED: u64 = 1 << 1;

const VECTOR_DEBUG: u8 = 1;
const VECTOR_GENERAL_PROTECTION: u8 = 13;

unsafe extern "C" {
    /// Enters user mode with `context`; returns after the next entry into the kernel, interrupts off.
    fn keel_enter_user(context: *mut UserContext) -> RawExit;
    fn keel_syscall_entry();
}

/// The address for LSTAR.
pub(crate) fn syscall_entry_address() -> u64 {
    keel_syscall_entry as *const () as u64
}

impl UserContext {
    /// Runs user code until it enters the kernel for a reason that the kernel must handle.
    ///
    /// Returns [`UserExit::Interrupt`], also without entering user mode, while this CPU needs to
    /// reschedule or the task's interrupt flag is set: clear the flag
    /// ([`crate::Task::clear_interrupt`]) before looking for its reason. Flags that user code may
    /// not have are dropped from `rflags`; a non-canonical `rip` gives a general protection
    /// exception. The current task must have a page table.
    #[inline]
    pub fn run(&mut self) -> UserExit {
        task::before_user();
        self.rflags = self.rflags & USER_FLAGS | FLAG_IF | FLAG_RESERVED;
        if !is_canonical(self.rip) {
            let vector = VECTOR_GENERAL_PROTECTION;
            return UserExit::Exception(Exception {
                vector,
                error_code: 0,
                cr2: 0,
            });
        }
        loop {
            // SAFETY: interrupts are on here (asserted by `before_user`) and come on again below or
            // with user mode's flags.
            unsafe { asm!("cli", options(nomem, nostack)) };
            if !task::prepare_user() {
                // SAFETY: as above.
                unsafe { asm!("sti", options(nomem, nostack)) };
                return match task::take_debug_status() {
                    Some(dr6) => UserExit::Exception(Exception {
                        vector: VECTOR_DEBUG,
                        error_code: 0,
                        cr2: dr6 as usize,
                    }),
                    None => UserExit::Interrupt,
                };
            }
            // SAFETY: `self` is exclusively borrowed while user mode runs and has a canonical RIP
            // and user flags; interrupts are off; this CPU's extended registers and segment bases
            // are those of the current task; user mode can reach only its own page table.
            let exit = unsafe { keel_enter_user(self) };
            if exit.vector == SYSCALL_VECTOR {
                // SAFETY: as above.
                unsafe { asm!("sti", options(nomem, nostack)) };
                return UserExit::Syscall;
            }
            if let Some(exit) = trap::from_user(exit.vector as u8, exit.error_code) {
                return exit;
            }
        }
    }
}

/// Whether bits 63 to 47 are all equal (4-level paging).
pub(crate) fn is_canonical(addr: u64) -> bool {
    (addr as i64) << 16 >> 16 == addr as i64
}

// The entry and exit paths. `keel_enter_user` leaves the callee-saved registers on the kernel stack
// and that stack's pointer where both ways back find it; each way back stores the user registers in
// the context and returns from `keel_enter_user`.
global_asm!(
    r#"
.macro LOAD_COMMON ctx
    mov r15, [\ctx + {r15}]
    mov r14, [\ctx + {r14}]
    mov r13, [\ctx + {r13}]
    mov r12, [\ctx + {r12}]
    mov rbp, [\ctx + {rbp}]
    mov rbx, [\ctx + {rbx}]
    mov r10, [\ctx + {r10}]
    mov r9, [\ctx + {r9}]
    mov r8, [\ctx + {r8}]
    mov rax, [\ctx + {rax}]
    mov rdx, [\ctx + {rdx}]
    mov rsi, [\ctx + {rsi}]
.endm

.macro SAVE_COMMON ctx
    mov [\ctx + {r15}], r15
    mov [\ctx + {r14}], r14
    mov [\ctx + {r13}], r13
    mov [\ctx + {r12}], r12
    mov [\ctx + {rbp}], rbp
    mov [\ctx + {rbx}], rbx
    mov [\ctx + {r11}], r11
    mov [\ctx + {r10}], r10
    mov [\ctx + {r9}], r9
    mov [\ctx + {r8}], r8
    mov [\ctx + {rcx}], rcx
    mov [\ctx + {rdx}], rdx
    mov [\ctx + {rsi}], rsi
    mov [\ctx + {rdi}], rdi
.endm

.macro RETURN_TO_RUN
    mov rsp, gs:[{kernel_rsp}]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
.endm

.text
.balign 64
.global keel_enter_user
keel_enter_user:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    mov gs:[{context}], rdi
    mov gs:[{kernel_rsp}], rsp
    mov rcx, [rdi + {rip}]
    mov r11, [rdi + {rflags}]
    /* SYSRET loads RIP from RCX and the flags from R11, cannot set RF, and must not get a RIP that
       is not a user address: on Intel's CPUs the fault would come in ring 0 on the user's stack. */
    cmp rcx, [rdi + {rcx}]
    jne 2f
    cmp r11, [rdi + {r11}]
    jne 2f
    test r11d, {no_sysret}
    jnz 2f
    mov rax, rcx
    shr rax, 47
    jnz 2f
    LOAD_COMMON rdi
    mov rsp, [rdi + {rsp}]
    mov rdi, [rdi + {rdi}]
    swapgs
    sysretq

2:  push {user_ss}
    push qword ptr [rdi + {rsp}]
    push r11
    push {user_cs}
    push rcx
    LOAD_COMMON rdi
    mov r11, [rdi + {r11}]
    mov rcx, [rdi + {rcx}]
    mov rdi, [rdi + {rdi}]
    swapgs
    iretq

.balign 64
.global keel_syscall_entry
keel_syscall_entry:
    swapgs
    mov gs:[{user_rsp}], rsp
    mov rsp, gs:[{context}]     /* interrupts are off, NMI and such have their own stacks */
    mov [rsp + {rax}], rax
    mov [rsp + {orig_rax}], rax
    mov [rsp + {rip}], rcx
    mov [rsp + {rflags}], r11
    SAVE_COMMON rsp
    mov rax, gs:[{user_rsp}]
    mov [rsp + {rsp}], rax
    mov eax, {syscall}
    RETURN_TO_RUN

/* From the IDT stubs, coming from user mode. The stack holds: vector, error code, RIP, CS, flags,
   RSP, SS. */
.balign 64
.global keel_trap_from_user
keel_trap_from_user:
    swapgs
    cld
    push rax
    mov rax, gs:[{context}]
    SAVE_COMMON rax
    pop rcx
    mov [rax + {rax}], rcx
    mov rcx, [rsp + 16]
    mov [rax + {rip}], rcx
    mov rcx, [rsp + 32]
    mov [rax + {rflags}], rcx
    mov rcx, [rsp + 40]
    mov [rax + {rsp}], rcx
    mov qword ptr [rax + {orig_rax}], -1
    mov rax, [rsp]
    mov rdx, [rsp + 8]
    RETURN_TO_RUN
"#,
    r15 = const offset_of!(UserContext, r15),
    r14 = const offset_of!(UserContext, r14),
    r13 = const offset_of!(UserContext, r13),
    r12 = const offset_of!(UserContext, r12),
    rbp = const offset_of!(UserContext, rbp),
    rbx = const offset_of!(UserContext, rbx),
    r11 = const offset_of!(UserContext, r11),
    r10 = const offset_of!(UserContext, r10),
    r9 = const offset_of!(UserContext, r9),
    r8 = const offset_of!(UserContext, r8),
    rax = const offset_of!(UserContext, rax),
    rcx = const offset_of!(UserContext, rcx),
    rdx = const offset_of!(UserContext, rdx),
    rsi = const offset_of!(UserContext, rsi),
    rdi = const offset_of!(UserContext, rdi),
    orig_rax = const offset_of!(UserContext, orig_rax),
    rip = const offset_of!(UserContext, rip),
    rflags = const offset_of!(UserContext, rflags),
    rsp = const offset_of!(UserContext, rsp),
    context = const local::CONTEXT,
    kernel_rsp = const local::KERNEL_RSP,
    user_rsp = const local::USER_RSP,
    user_cs = const USER_CS,
    user_ss = const USER_SS,
    syscall = const SYSCALL_VECTOR,
    no_sysret = const FLAG_RF | FLAG_TF,
);
