//! Core files: what a crashed process leaves behind (core(5), elf(5)).
//!
//! [`CorePlan::new`] makes everything that comes before the memory contents: ELF header, program headers and the
//! notes that debuggers read (registers of every thread, signal, command line, auxv, mapped files). The kernel writes
//! [`CorePlan::header`] and then, in order, the memory of [`CorePlan::memory`]; pages that cannot be read become zeros
//! or holes. [`dump`] decides what of a mapping belongs into the file.
//!
//! Layouts are those of `struct elf_prstatus` and `struct elf_prpsinfo` in `linux/elfcore.h` (`sys/procfs.h`).

mod filter;
mod notes;

pub use filter::{Dump, Mapping, dump, filter_bits};
pub use notes::{Process, Thread, Times};

use alloc::vec::Vec;

use notes::NoteWriter;

use crate::elf::Prot;
use crate::{Errno, PAGE_SIZE, page_up};

const EHDR_SIZE: u64 = 64;
const PHDR_SIZE: u64 = 56;
const SHDR_SIZE: u64 = 64;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// More program headers than this do not fit into `e_phnum`; then section header 0 tells their number.
const PN_XNUM: usize = 0xffff;

/// A file that is mapped (`NT_FILE`).
#[derive(Clone, Copy, Debug)]
pub struct MappedFile<'a> {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Offset in the file, in bytes; a multiple of the page size.
    pub offset: u64,
    /// Its path, without NUL.
    pub path: &'a [u8],
}

/// A mapping, of which the first `dumped` bytes go into the file.
#[derive(Clone, Copy, Debug)]
pub struct CoreSegment {
    /// First address.
    pub start: u64,
    /// Its size in bytes.
    pub memsz: u64,
    /// Bytes in the core file, 0 to `memsz`.
    pub dumped: u64,
    /// Rights.
    pub prot: Prot,
}

/// Everything that a core file tells.
#[derive(Clone, Copy, Debug)]
pub struct CoreInputs<'a> {
    /// The process.
    pub process: &'a Process<'a>,
    /// Its threads; the one that caused the dump comes first.
    pub threads: &'a [Thread<'a>],
    /// The signal's `siginfo_t`.
    pub siginfo: &'a [u8; 128],
    /// The auxiliary vector ([`crate::stack::StackPlan::auxv`]).
    pub auxv: &'a [u64],
    /// File mappings by address.
    pub files: &'a [MappedFile<'a>],
    /// All mappings by address.
    pub segments: &'a [CoreSegment],
}

/// A core file: its first bytes, and which memory follows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorePlan {
    /// The start of the file, padded to a whole page.
    pub header: Vec<u8>,
    /// Address and size in bytes of the memory that follows, in order.
    pub memory: Vec<(u64, u64)>,
    /// Size of the whole file in bytes; to be held against `RLIMIT_CORE`.
    pub size: u64,
}

impl CorePlan {
    /// Makes the plan. Errors: `ENOMEM`; `EINVAL` when sizes overflow or nothing would describe the process (no
    /// thread).
    pub fn new(inputs: &CoreInputs) -> Result<Self, Errno> {
        let notes = NoteWriter::write(inputs)?;
        let count = inputs.segments.len() + 1;
        let extended = count >= PN_XNUM;
        let shdr_at = EHDR_SIZE + PHDR_SIZE * count as u64;
        let notes_at = shdr_at + if extended { SHDR_SIZE } else { 0 };
        let data_at = page_up(notes_at + notes.len() as u64).ok_or(Errno::EINVAL)?;

        let mut out = Bytes(Vec::new());
        let size = usize::try_from(data_at).map_err(|_| Errno::ENOMEM)?;
        out.0.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        out.elf_header(count, extended.then_some(shdr_at))?;
        out.program_header(PT_NOTE, 0, [notes_at, 0, notes.len() as u64, 0, 4])?;
        let mut memory = Vec::new();
        memory.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        let mut at = data_at;
        for segment in inputs.segments {
            let dumped = segment.dumped.min(segment.memsz);
            let prot = segment.prot;
            let flags =
                u32::from(prot.read) << 2 | u32::from(prot.write) << 1 | u32::from(prot.exec);
            out.program_header(
                PT_LOAD,
                flags,
                [at, segment.start, dumped, segment.memsz, PAGE_SIZE],
            )?;
            if dumped > 0 {
                memory.push((segment.start, dumped));
            }
            at = at.checked_add(dumped).ok_or(Errno::EINVAL)?;
        }
        if extended {
            out.section_header(count)?;
        }
        out.put(&notes)?;
        out.0.resize(size, 0);
        Ok(CorePlan {
            header: out.0,
            memory,
            size: at,
        })
    }
}

/// Bytes that grow without aborting when memory is short.
struct Bytes(Vec<u8>);

impl Bytes {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.0.try_reserve(bytes.len()).map_err(|_| Errno::ENOMEM)?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn half(&mut self, value: u16) -> Result<(), Errno> {
        self.put(&value.to_le_bytes())
    }

    fn word(&mut self, value: u32) -> Result<(), Errno> {
        self.put(&value.to_le_bytes())
    }

    fn long(&mut self, value: u64) -> Result<(), Errno> {
        self.put(&value.to_le_bytes())
    }

    /// Zeros up to a multiple of `to`.
    fn align(&mut self, to: usize) -> Result<(), Errno> {
        let pad = self.0.len().next_multiple_of(to) - self.0.len();
        self.0.try_reserve(pad).map_err(|_| Errno::ENOMEM)?;
        self.0.resize(self.0.len() + pad, 0);
        Ok(())
    }

    fn elf_header(&mut self, count: usize, shdr_at: Option<u64>) -> Result<(), Errno> {
        const ET_CORE: u16 = 4;
        const EM_X86_64: u16 = 62;
        self.put(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0")?;
        self.half(ET_CORE)?;
        self.half(EM_X86_64)?;
        self.word(1)?;
        for value in [0, EHDR_SIZE, shdr_at.unwrap_or(0)] {
            self.long(value)?;
        }
        self.word(0)?;
        let (shentsize, shnum) = if shdr_at.is_some() {
            (SHDR_SIZE as u16, 1)
        } else {
            (0, 0)
        };
        let phnum = count.min(PN_XNUM) as u16;
        for value in [
            EHDR_SIZE as u16,
            PHDR_SIZE as u16,
            phnum,
            shentsize,
            shnum,
            0,
        ] {
            self.half(value)?;
        }
        Ok(())
    }

    fn program_header(
        &mut self,
        kind: u32,
        flags: u32,
        [offset, vaddr, filesz, memsz, align]: [u64; 5],
    ) -> Result<(), Errno> {
        self.word(kind)?;
        self.word(flags)?;
        for value in [offset, vaddr, 0, filesz, memsz, align] {
            self.long(value)?;
        }
        Ok(())
    }

    /// Section header 0, whose `sh_info` is the number of program headers.
    fn section_header(&mut self, count: usize) -> Result<(), Errno> {
        self.word(0)?;
        self.word(0)?;
        for value in [0, 0, 0, 1] {
            self.long(value)?;
        }
        self.word(0)?;
        self.word(u32::try_from(count).map_err(|_| Errno::EINVAL)?)?;
        self.long(0)?;
        self.long(0)
    }
}
