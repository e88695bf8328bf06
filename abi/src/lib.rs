//! The Linux x86_64 system-call ABI as Keel speaks it: data and types, no behaviour.
//!
//! - [`errno`]: error numbers.
//! - [`table`]: the system-call table, generated from `syscalls.tbl`.
//! - [`args`]: argument and result types, and their way from and to registers.
//! - [`flags`]: flags, commands and numbers by their C names.
//! - [`types`]: the structures that calls read and write.
//! - [`trace`]: how arguments and results print.
//!
//! Everything here is plain data that both the kernel and host tools use.

#![no_std]

pub mod args;
pub mod errno;
pub mod flags;
pub mod table;
pub mod trace;
pub mod types;

pub use errno::{Errno, Result};
pub use table::{NR_SYSCALLS, SYSCALLS, Status, SyscallRow, nr};

/// Every type that a signature in the table names.
pub mod prelude {
    pub use crate::args::*;
    pub use crate::errno::{Errno, Result};
    pub use crate::flags::*;
    pub use crate::types::*;
}
