//! The system-call table, generated from `syscalls.tbl` by the build script.
//!
//! One row is the single source for dispatch ([`for_each_implemented_syscall!`](crate::for_each_implemented_syscall)),
//! tracing, the coverage page and the docs. The table is immutable; no locking.

use core::fmt::{self, Write};

use crate::prelude::*;
use crate::trace::{UserText, argument, result};

/// How much of a call is there.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Status {
    /// Every documented use behaves as on Linux.
    Full,
    /// [`SyscallRow::note`] says what does not.
    Partial,
    /// The call answers with [`SyscallRow::errno`].
    Absent,
}

/// One argument of a call.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Arg {
    /// Its name in the man page.
    pub name: &'static str,
    /// Its type, as in [`crate::prelude`].
    pub ty: &'static str,
}

/// One system call.
#[derive(Copy, Clone)]
pub struct SyscallRow {
    /// The number passed in `rax`.
    pub nr: u32,
    /// Linux's name.
    pub name: &'static str,
    /// The family it is listed under, one of [`FAMILIES`].
    pub family: &'static str,
    /// How much of it is there.
    pub status: Status,
    /// What is missing or why it is absent; empty where there is nothing to say.
    pub note: &'static str,
    /// What an absent call answers.
    pub errno: Errno,
    /// Its arguments, at most six.
    pub args: &'static [Arg],
    /// The type of its result.
    pub ret: &'static str,
    /// Prints the arguments in the six registers, separated by commas.
    pub trace_args: fn(&[u64; 6], &mut dyn Write, &dyn UserText) -> fmt::Result,
    /// Prints the return register: the value, or `-1 ENOENT (No such file or directory)`.
    pub trace_ret: fn(u64, &mut dyn Write) -> fmt::Result,
}

impl SyscallRow {
    /// Prints the call as strace does: `openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC, 000)`.
    pub fn trace_call(
        &self,
        regs: &[u64; 6],
        out: &mut dyn Write,
        mem: &dyn UserText,
    ) -> fmt::Result {
        out.write_str(self.name)?;
        out.write_char('(')?;
        (self.trace_args)(regs, out, mem)?;
        out.write_char(')')
    }
}

/// The row of a call number, in constant time; `None` if the number is not assigned.
pub fn lookup(nr: u64) -> Option<&'static SyscallRow> {
    let index = *INDEX.get(usize::try_from(nr).ok()?)?;
    SYSCALLS.get(usize::from(index).checked_sub(1)?)
}

/// The row of a call by its Linux name.
pub fn by_name(name: &str) -> Option<&'static SyscallRow> {
    SYSCALLS.iter().find(|row| row.name == name)
}

include!(concat!(env!("OUT_DIR"), "/table.rs"));
