//! Everything about executables that is not the kernel itself: bytes in, plan out.
//!
//! | module | what it answers |
//! |---|---|
//! | [`elf`] | which parts of an ELF file go where in memory, and what Linux refuses |
//! | [`binfmt_misc`] | which registered interpreter runs a file |
//! | [`coredump`] | the headers and notes of a core file |
//! | [`script`] | which interpreter a `#!` file names |
//! | [`args`] | the argument and environment strings of an `execve`, within Linux's limits |
//! | [`stack`] | what a new program finds on its stack: argc, argv, envp, auxv |
//! | [`vdso`] | the clock without system calls: the image and its data page |
//! | [`aslr`] | where stack, mmap area, program, interpreter and heap begin |
//!
//! Nothing here maps memory, opens files or knows a process. Files are read through [`ReadAt`], memory
//! is written through [`stack::StackSink`], random numbers come in as arguments; so all of it runs, and is tested
//! and fuzzed, on any host.
//!
//! Specifications followed: System V gABI (ELF), the x86-64 psABI, execve(2), elf(5), getauxval(3), vdso(7).
#![no_std]

extern crate alloc;

pub mod args;
pub mod aslr;
pub mod binfmt_misc;
pub mod coredump;
pub mod elf;
pub mod script;
pub mod stack;
pub mod vdso;

pub use keel_abi::errno::Errno;

/// Bytes per page: everything is mapped in multiples of this.
pub const PAGE_SIZE: u64 = 4096;

/// The first address that user space cannot have (`TASK_SIZE_MAX` with 47-bit addresses): one page below 2^47.
pub const TASK_SIZE: u64 = 0x7fff_ffff_f000;

/// `addr` rounded down to its page.
pub const fn page_down(addr: u64) -> u64 {
    addr & !(PAGE_SIZE - 1)
}

/// `addr` rounded up to a page; `None` above the last page of the 64-bit space.
pub const fn page_up(addr: u64) -> Option<u64> {
    match addr.checked_add(PAGE_SIZE - 1) {
        Some(sum) => Some(page_down(sum)),
        None => None,
    }
}

/// A file that can be read at any offset.
///
/// Like pread(2), a read may be short; zero means the end of the file. Implemented by the kernel for its
/// open files and here for byte slices.
pub trait ReadAt {
    /// Reads into `buf` from byte `off` on; returns how many bytes were read.
    fn read_at(&self, off: u64, buf: &mut [u8]) -> Result<usize, Errno>;
}

impl ReadAt for [u8] {
    fn read_at(&self, off: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let rest = usize::try_from(off)
            .ok()
            .and_then(|off| self.get(off..))
            .unwrap_or(&[]);
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// Fills all of `buf`, as Linux reads headers: `EINVAL` for a range beyond the largest file offset, `EIO` where
/// the file ends early.
pub fn read_exact(file: &(impl ReadAt + ?Sized), off: u64, buf: &mut [u8]) -> Result<(), Errno> {
    let end = off.checked_add(buf.len() as u64).ok_or(Errno::EINVAL)?;
    if i64::try_from(end).is_err() {
        return Err(Errno::EINVAL);
    }
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(off + done as u64, rest)? {
            0 => return Err(Errno::EIO),
            n => done += n,
        }
    }
    Ok(())
}
