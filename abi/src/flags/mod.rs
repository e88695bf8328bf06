//! Flags, commands and numbers that system calls take and give, as typed values.
//!
//! Two kinds, both of which keep every bit a program passes, so that the handler can refuse what it does not
//! know (`EINVAL`) rather than lose it:
//!
//! - *flags* are `bitflags` types. The constants drop the C prefix: `O_CLOEXEC` is `OpenFlags::CLOEXEC`.
//!   Where no common prefix exists they keep the whole name: `WaitOptions::WNOHANG`.
//! - *open enums* are newtypes over an integer with the C names as constants, usable in `match`:
//!   `FcntlCmd::F_DUPFD`.
//!
//! All of them convert from a register and print themselves as strace does.

#[macro_use]
mod macros;

mod file;
mod ioctl;
mod ipc;
mod memory;
mod mount;
mod net;
mod notify;
mod poll;
mod process;
mod sched;
mod security;
mod signal;
mod system;
mod time;
mod tty;

mod futex_wake_op;
mod methods;

pub use file::*;
pub use futex_wake_op::FutexWakeOp;
pub use ioctl::*;
pub use ipc::*;
pub use memory::*;
pub use methods::*;
pub use mount::*;
pub use net::*;
pub use notify::*;
pub use poll::*;
pub use process::*;
pub use sched::*;
pub use security::*;
pub use signal::*;
pub use system::*;
pub use time::*;
pub use tty::*;
