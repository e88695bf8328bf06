//! ELF64 executables: from headers to a [`LoadPlan`].
//!
//! A plan is made in two steps, as execve(2) works in two steps:
//!
//! 1. Until the old program is gone an error goes back to the caller: [`LoadPlan::program`] and
//!    [`LoadPlan::interpreter`] read and check the headers and fail with the errno that execve returns.
//! 2. Afterwards the process can only be killed: [`LoadPlan::mappings`], [`LoadPlan::entry`] and
//!    [`LoadPlan::span`] compute addresses and fail with [`Kill`], upon which the kernel sends SIGSEGV.
//!
//! What is refused, and when, is what Linux refuses and when (`tests/linux_agrees.rs` holds both side by side):
//! it looks at the magic, the type, the machine, and the size and number of the program headers, but not at class,
//! byte order, version, `e_ehsize` or anything about sections.
//!
//! Specification: System V gABI chapter 5, elf(5). The raw structures are goblin's.

mod plan;
mod property;
mod segment;

pub use plan::{ElfType, ExecStack, LoadPlan, MemoryMarks, Span, Tls};
pub use property::GnuProperty;
pub use segment::{AnonMap, FileMap, Prot, Segment, SegmentMap, ZeroFill};

use crate::Errno;

/// The load cannot be finished and the old program is already gone: the process gets SIGSEGV.
///
/// The number is what the failing step would have returned; it is good for a log line only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill(pub Errno);

/// How many bytes of a file decide about its format (`BINPRM_BUF_SIZE`).
pub const HEAD_SIZE: usize = 256;

/// The program headers of one file may take at most this many bytes.
pub const MAX_PHDRS_SIZE: usize = 65536;

/// An interpreter's path, with its NUL, is at most this long (`PATH_MAX`).
pub const MAX_INTERP: u64 = 4096;

/// Whether the first bytes of a file say that it is an ELF file.
pub fn is_elf(head: &[u8]) -> bool {
    head.starts_with(goblin::elf::header::ELFMAG)
}
