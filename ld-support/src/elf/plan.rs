//! [`LoadPlan`]: what the headers of one ELF file say about loading it.

use alloc::vec::Vec;

use goblin::elf::program_header::{
    PF_X, PT_GNU_PROPERTY, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_TLS,
};
use goblin::elf64::header::{
    EI_DATA, ELFDATA2LSB, EM_X86_64, ET_DYN, ET_EXEC, Header, SIZEOF_EHDR,
};
use goblin::elf64::program_header::{ProgramHeader, SIZEOF_PHDR};
use scroll::Pread;

use super::property::GnuProperty;
use super::segment::{Segment, SegmentMap};
use super::{HEAD_SIZE, Kill, MAX_INTERP, MAX_PHDRS_SIZE, is_elf};
use crate::{Errno, PAGE_SIZE, ReadAt, TASK_SIZE, page_down, page_up, read_exact};

/// The two kinds of file that can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfType {
    /// `ET_EXEC`: its addresses are absolute.
    Exec,
    /// `ET_DYN`: a position-independent program or a shared object; all addresses move by one bias.
    Dyn,
}

/// What `PT_GNU_STACK` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ExecStack {
    /// No such header. On x86_64 this means the same as [`ExecStack::Disable`].
    #[default]
    Default,
    /// The stack is not executable.
    Disable,
    /// The stack is executable.
    Enable,
}

/// The template of thread-local storage (`PT_TLS`). libc sets it up; the kernel only notes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Where the initial image lies, before the bias.
    pub vaddr: u64,
    /// Bytes of the initial image.
    pub filesz: u64,
    /// Bytes of one thread's block.
    pub memsz: u64,
    /// Its alignment in bytes.
    pub align: u64,
}

/// The pages from the lowest to the highest loaded segment, before the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte, page-aligned.
    pub start: u64,
    /// Bytes, a multiple of the page size, never zero.
    pub len: u64,
}

/// The addresses that a memory map remembers about its program (proc_pid_stat(5), prctl(2) `PR_SET_MM`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryMarks {
    /// Lowest address of an executable segment.
    pub start_code: u64,
    /// End of the executable bytes that come from the file.
    pub end_code: u64,
    /// Start of the highest segment.
    pub start_data: u64,
    /// End of the bytes that come from the file.
    pub end_data: u64,
    /// End of everything, bss included, rounded up to a page: the heap starts here unless it is randomised.
    pub start_brk: u64,
}

/// How to load one ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadPlan {
    /// Absolute or position-independent.
    pub elf_type: ElfType,
    /// `e_entry`, before the bias.
    pub raw_entry: u64,
    /// Where the program headers lie in memory before the bias; zero when no segment contains them.
    pub phdr_vaddr: u64,
    /// How many program headers there are (`AT_PHNUM`). Their size is always 56 (`AT_PHENT`).
    pub phnum: u16,
    /// The `PT_LOAD` segments in the order of the file.
    pub segments: Vec<Segment>,
    /// Alignment of the whole image: a power of two, at least one page.
    pub align: u64,
    /// The path in `PT_INTERP`, without its NUL. Always `None` for an interpreter. An empty path means the working
    /// directory, so that opening it for execution fails with `EACCES` rather than `ENOENT`.
    pub interp: Option<Vec<u8>>,
    /// `PT_GNU_STACK`.
    pub exec_stack: ExecStack,
    /// `PT_GNU_PROPERTY`: what the code is ready for.
    pub property: GnuProperty,
    /// `PT_TLS`.
    pub tls: Option<Tls>,
}

impl LoadPlan {
    /// `AT_PHENT`: bytes per program header.
    pub const PHENT: u64 = SIZEOF_PHDR as u64;

    /// Plans the program that execve was called for. `head` is the first [`HEAD_SIZE`] bytes of the file
    /// (fewer for a shorter file).
    ///
    /// Errors: `ENOEXEC` for what is not an executable of this machine or has bad headers; `EIO` or `EINVAL` for
    /// an interpreter path that lies outside the file; `ENOMEM`; what `file` answers.
    pub fn program(head: &[u8], file: &(impl ReadAt + ?Sized)) -> Result<Self, Errno> {
        let header = parse_header(head).ok_or(Errno::ENOEXEC)?;
        if !is_elf(head) || header.e_machine != EM_X86_64 {
            return Err(Errno::ENOEXEC);
        }
        let elf_type = elf_type(&header).ok_or(Errno::ENOEXEC)?;
        let table = read_phdrs(&header, file).map_err(|e| keep_enomem(e, Errno::ENOEXEC))?;
        let interp = match table.iter().find(|ph| ph.p_type == PT_INTERP) {
            Some(ph) => Some(read_interp(ph, file)?),
            None => None,
        };
        Self::build(&header, elf_type, &table, interp, file)
    }

    /// Plans the interpreter that a program names.
    ///
    /// Errors: `EIO` for a file shorter than an ELF header, `ELIBBAD` for anything that is not an ELF file of this
    /// machine; `ENOMEM`; what `file` answers. A wrong type (`e_type`) shows only when it is mapped, as on Linux:
    /// then the inner result is [`Kill`].
    pub fn interpreter(file: &(impl ReadAt + ?Sized)) -> Result<Result<Self, Kill>, Errno> {
        let mut head = [0; SIZEOF_EHDR];
        read_exact(file, 0, &mut head)?;
        let header = parse_header(&head).ok_or(Errno::ELIBBAD)?;
        if !is_elf(&head) || header.e_machine != EM_X86_64 {
            return Err(Errno::ELIBBAD);
        }
        let table = read_phdrs(&header, file).map_err(|e| keep_enomem(e, Errno::ELIBBAD))?;
        let Some(elf_type) = elf_type(&header) else {
            return Ok(Err(Kill(Errno::EPERM)));
        };
        Self::build(&header, elf_type, &table, None, file).map(Ok)
    }

    fn build(
        header: &Header,
        elf_type: ElfType,
        table: &[ProgramHeader],
        interp: Option<Vec<u8>>,
        file: &(impl ReadAt + ?Sized),
    ) -> Result<Self, Errno> {
        let mut segments = Vec::new();
        let loads = table.iter().filter(|ph| ph.p_type == PT_LOAD);
        segments
            .try_reserve_exact(loads.clone().count())
            .map_err(|_| Errno::ENOMEM)?;
        segments.extend(loads.clone().map(Segment::new));
        let exec_stack = match table.iter().rfind(|ph| ph.p_type == PT_GNU_STACK) {
            None => ExecStack::Default,
            Some(ph) if ph.p_flags & PF_X != 0 => ExecStack::Enable,
            Some(_) => ExecStack::Disable,
        };
        let property = match table.iter().find(|ph| ph.p_type == PT_GNU_PROPERTY) {
            Some(ph) => GnuProperty::read(ph.p_offset, ph.p_filesz, file)?,
            None => GnuProperty::default(),
        };
        let tls = table.iter().find(|ph| ph.p_type == PT_TLS).map(|ph| Tls {
            vaddr: ph.p_vaddr,
            filesz: ph.p_filesz,
            memsz: ph.p_memsz,
            align: ph.p_align,
        });
        Ok(LoadPlan {
            elf_type,
            raw_entry: header.e_entry,
            phdr_vaddr: phdr_vaddr(header.e_phoff, &segments),
            phnum: header.e_phnum,
            align: image_align(&segments),
            segments,
            interp,
            exec_stack,
            property,
            tls,
        })
    }

    /// The pages that the image takes; for `ET_DYN` so much room has to be found at once, aligned to
    /// [`LoadPlan::align`].
    ///
    /// Errors: [`Kill`] (`EINVAL`) when there is no segment or its size is beyond the address space.
    pub fn span(&self) -> Result<Span, Kill> {
        let bad = Kill(Errno::EINVAL);
        let start = self
            .segments
            .iter()
            .map(|s| page_down(s.vaddr))
            .min()
            .ok_or(bad)?;
        let mut end = 0;
        for segment in &self.segments {
            let last = segment
                .vaddr
                .checked_add(segment.memsz)
                .and_then(page_up)
                .ok_or(bad)?;
            end = last.max(end);
        }
        match end.checked_sub(start) {
            Some(len) if len > 0 && len <= TASK_SIZE => Ok(Span { start, len }),
            _ => Err(bad),
        }
    }

    /// The bias that puts the image where a program with an interpreter goes: near `pie_base` (see
    /// [`crate::aslr::AddressLayout::pie_base`]), aligned as the file asks.
    pub fn pie_bias(&self, pie_base: u64) -> u64 {
        self.bias_at(pie_base & !(self.align - 1))
    }

    /// The bias by which the first segment comes to lie at `addr`, an address that the memory map has chosen for
    /// [`Span::len`] bytes. It wraps around where the file's own addresses are higher than `addr`.
    pub fn bias_at(&self, addr: u64) -> u64 {
        let first = self.segments.first().map_or(0, |segment| segment.vaddr);
        page_down(addr.wrapping_sub(first))
    }

    /// What to map, in order; later mappings replace what they overlap. `bias` is 0 for `ET_EXEC`.
    ///
    /// Errors: [`Kill`] for segments that Linux does not map: file offset and address that differ within the
    /// page (`EINVAL`), `filesz > memsz` (`EINVAL`), an end above [`TASK_SIZE`] (`EINVAL`, `ENOMEM`).
    pub fn mappings(&self, bias: u64) -> Result<Vec<SegmentMap>, Kill> {
        let mut maps = Vec::new();
        maps.try_reserve_exact(self.segments.len())
            .map_err(|_| Kill(Errno::ENOMEM))?;
        for segment in &self.segments {
            maps.push(segment.map(bias)?);
        }
        Ok(maps)
    }

    /// The address of the first instruction. Errors: [`Kill`] when it is outside user space.
    pub fn entry(&self, bias: u64) -> Result<u64, Kill> {
        let entry = self.raw_entry.wrapping_add(bias);
        if entry >= TASK_SIZE {
            Err(Kill(Errno::EINVAL))
        } else {
            Ok(entry)
        }
    }

    /// `AT_PHDR`.
    pub fn phdr_addr(&self, bias: u64) -> u64 {
        self.phdr_vaddr.wrapping_add(bias)
    }

    /// Start and end of code, data and heap. Meaningful once [`LoadPlan::mappings`] has succeeded.
    pub fn marks(&self, bias: u64) -> MemoryMarks {
        let mut marks = MemoryMarks {
            start_code: u64::MAX,
            end_code: 0,
            start_data: 0,
            end_data: 0,
            start_brk: 0,
        };
        for segment in &self.segments {
            let start = segment.vaddr.wrapping_add(bias);
            let file_end = start.saturating_add(segment.filesz);
            if segment.prot.exec {
                marks.start_code = marks.start_code.min(start);
                marks.end_code = marks.end_code.max(file_end);
            }
            marks.start_data = marks.start_data.max(start);
            marks.end_data = marks.end_data.max(file_end);
            marks.start_brk = marks.start_brk.max(start.saturating_add(segment.memsz));
        }
        if marks.end_code == 0 {
            marks.start_code = 0;
        }
        marks.start_brk = page_up(marks.start_brk).unwrap_or(page_down(u64::MAX));
        marks
    }
}

fn keep_enomem(error: Errno, other: Errno) -> Errno {
    if error == Errno::ENOMEM { error } else { other }
}

/// The header in `head`, which counts as continued by zeros. Linux does not look at the byte order mark, so
/// neither does this: goblin is told that it says "little".
fn parse_header(head: &[u8]) -> Option<Header> {
    let mut raw = [0; SIZEOF_EHDR];
    let len = head.len().min(SIZEOF_EHDR).min(HEAD_SIZE);
    raw[..len].copy_from_slice(&head[..len]);
    let ident = raw[EI_DATA];
    raw[EI_DATA] = ELFDATA2LSB;
    let mut header: Header = raw.pread_with(0, scroll::LE).ok()?;
    header.e_ident[EI_DATA] = ident;
    Some(header)
}

fn elf_type(header: &Header) -> Option<ElfType> {
    match header.e_type {
        ET_EXEC => Some(ElfType::Exec),
        ET_DYN => Some(ElfType::Dyn),
        _ => None,
    }
}

fn read_phdrs(header: &Header, file: &(impl ReadAt + ?Sized)) -> Result<Vec<ProgramHeader>, Errno> {
    let count = usize::from(header.e_phnum);
    let size = count * SIZEOF_PHDR;
    if usize::from(header.e_phentsize) != SIZEOF_PHDR || size == 0 || size > MAX_PHDRS_SIZE {
        return Err(Errno::ENOEXEC);
    }
    let raw = read_vec(file, header.e_phoff, size)?;
    let mut table = Vec::new();
    table.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    for index in 0..count {
        let ph = raw
            .pread_with(index * SIZEOF_PHDR, scroll::LE)
            .map_err(|_| Errno::ENOEXEC)?;
        table.push(ph);
    }
    Ok(table)
}

fn read_interp(ph: &ProgramHeader, file: &(impl ReadAt + ?Sized)) -> Result<Vec<u8>, Errno> {
    if ph.p_filesz < 2 || ph.p_filesz > MAX_INTERP {
        return Err(Errno::ENOEXEC);
    }
    let mut path = read_vec(file, ph.p_offset, ph.p_filesz as usize)?;
    if path.last() != Some(&0) {
        return Err(Errno::ENOEXEC);
    }
    let len = path
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(path.len());
    path.truncate(len);
    Ok(path)
}

fn read_vec(file: &(impl ReadAt + ?Sized), off: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len, 0);
    read_exact(file, off, &mut bytes)?;
    Ok(bytes)
}

fn phdr_vaddr(phoff: u64, segments: &[Segment]) -> u64 {
    let holds = |s: &&Segment| phoff >= s.offset && phoff - s.offset < s.filesz;
    segments
        .iter()
        .rfind(holds)
        .map_or(0, |s| (phoff - s.offset).wrapping_add(s.vaddr))
}

fn image_align(segments: &[Segment]) -> u64 {
    let powers = segments
        .iter()
        .map(|s| s.align)
        .filter(|align| align.is_power_of_two());
    powers.fold(PAGE_SIZE, u64::max)
}
