//! User-mode execution.

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

impl UserContext {
    /// Runs user code until it enters the kernel for a reason that the kernel must handle.
    ///
    /// Returns [`UserExit::Interrupt`], also without entering user mode, while this CPU needs to
    /// reschedule or the task's interrupt flag is set: clear the flag before looking for its reason.
    pub fn run(&mut self) -> UserExit {
        todo!()
    }
}
