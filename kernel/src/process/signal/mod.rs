//! Signals: sending, queueing, waiting for and delivering them (signal(7)).
//!
//! * [`ProcessSignals`]: the actions, shared by a thread group (or by processes with CLONE_SIGHAND), and what is
//!   pending for the process as a whole.
//! * [`ThreadSignals`]: a thread's mask, what is pending for it alone, its alternate stack.
//! * [`send`]: who gets a signal, and what that does at once; [`deliver`]: what happens before the return to user
//!   mode; [`frame`]: the stack frame of a handler; [`stop`]: job control.
//!
//! Lock order: actions → pending queue of the process → pending queue of a thread. None is held across a sleep.

mod deliver;
mod frame;
mod queue;
mod send;
mod state;
mod stop;

pub use deliver::{deliver_pending, kill_with};
pub use frame::{describe_altstack, min_stack_size, set_altstack, sigreturn};
pub use queue::SigInfo;
pub use send::{
    discard, force, force_fault, force_segv, kill_process, peek_queue, queue, send_pgrp,
    send_process, send_process_checked, send_thread, send_thread_checked,
};
pub use state::{Action, ProcessSignals, ThreadSignals, take_any, wait_for};

/// Number of signals.
pub const NSIG: i32 = 64;
/// First real-time signal.
pub const SIGRTMIN: i32 = 32;

#[allow(missing_docs)] // signal(7) is their documentation
#[allow(dead_code)] // the whole list, though nothing asks for some of them
pub mod sig {
    pub const HUP: i32 = 1;
    pub const INT: i32 = 2;
    pub const QUIT: i32 = 3;
    pub const ILL: i32 = 4;
    pub const TRAP: i32 = 5;
    pub const ABRT: i32 = 6;
    pub const BUS: i32 = 7;
    pub const FPE: i32 = 8;
    pub const KILL: i32 = 9;
    pub const SEGV: i32 = 11;
    pub const PIPE: i32 = 13;
    pub const ALRM: i32 = 14;
    pub const TERM: i32 = 15;
    pub const CHLD: i32 = 17;
    pub const CONT: i32 = 18;
    pub const STOP: i32 = 19;
    pub const TSTP: i32 = 20;
    pub const TTIN: i32 = 21;
    pub const TTOU: i32 = 22;
    pub const URG: i32 = 23;
    pub const XCPU: i32 = 24;
    pub const XFSZ: i32 = 25;
    pub const VTALRM: i32 = 26;
    pub const PROF: i32 = 27;
    pub const WINCH: i32 = 28;
    pub const IO: i32 = 29;
    pub const SYS: i32 = 31;
}

/// The bit of a signal in a mask.
pub const fn bit(signo: i32) -> u64 {
    1 << (signo - 1)
}

/// Signals that cannot be blocked, caught or ignored.
pub const UNBLOCKABLE: u64 = bit(sig::KILL) | bit(sig::STOP);
/// Signals that stop a process by default.
pub const STOP_SIGNALS: u64 = bit(sig::STOP) | bit(sig::TSTP) | bit(sig::TTIN) | bit(sig::TTOU);
/// Signals whose default is to do nothing.
const DEFAULT_IGNORED: u64 = bit(sig::CHLD) | bit(sig::CONT) | bit(sig::URG) | bit(sig::WINCH);
/// Signals whose default is to dump core.
const DEFAULT_CORE: u64 = bit(sig::QUIT)
    | bit(sig::ILL)
    | bit(sig::TRAP)
    | bit(sig::ABRT)
    | bit(sig::BUS)
    | bit(sig::FPE)
    | bit(sig::SEGV)
    | bit(sig::XCPU)
    | bit(sig::XFSZ)
    | bit(sig::SYS);
/// Signals that tell of an instruction's failure; they are taken first.
const SYNCHRONOUS: u64 =
    bit(sig::SEGV) | bit(sig::BUS) | bit(sig::ILL) | bit(sig::TRAP) | bit(sig::FPE) | bit(sig::SYS);

/// A fault of the running thread: the signal, and what the processor said.
pub struct Fault {
    /// The signal.
    pub info: SigInfo,
    /// The exception vector.
    pub trap: u8,
    /// Its error code.
    pub error_code: u64,
    /// The address of a page fault.
    pub cr2: u64,
}
