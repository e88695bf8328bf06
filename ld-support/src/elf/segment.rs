//! One `PT_LOAD` segment, and the mappings that it becomes.

use goblin::elf::program_header::{PF_R, PF_W, PF_X};
use goblin::elf64::program_header::ProgramHeader;

use super::Kill;
use crate::{Errno, PAGE_SIZE, TASK_SIZE, page_down, page_up};

/// Access rights of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Prot {
    /// `PROT_READ`
    pub read: bool,
    /// `PROT_WRITE`
    pub write: bool,
    /// `PROT_EXEC`
    pub exec: bool,
}

/// A `PT_LOAD` header as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// Where they go, before the bias.
    pub vaddr: u64,
    /// Bytes in the file.
    pub filesz: u64,
    /// Bytes in memory; those beyond `filesz` are zero.
    pub memsz: u64,
    /// `p_align`, unchecked.
    pub align: u64,
    /// Rights of the pages that come from the file.
    pub prot: Prot,
}

/// A private mapping of file pages at a fixed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMap {
    /// Page-aligned address.
    pub addr: u64,
    /// Bytes, a multiple of the page size, not zero.
    pub len: u64,
    /// Page-aligned file offset. Pages beyond the file's end fault with SIGBUS.
    pub offset: u64,
    /// Rights.
    pub prot: Prot,
}

/// Bytes to clear behind the file's part of a writable segment, within the last page of its [`FileMap`].
///
/// A failure to clear them (the page lies beyond the file's end) kills the process. Segments that are not
/// writable keep what the file has there, as on Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZeroFill {
    /// First byte to clear.
    pub addr: u64,
    /// How many, less than a page and not zero.
    pub len: u64,
}

/// A private anonymous mapping at a fixed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnonMap {
    /// Page-aligned address.
    pub addr: u64,
    /// Bytes, a multiple of the page size, not zero.
    pub len: u64,
    /// Rights: always readable and writable, executable if the segment is.
    pub prot: Prot,
}

/// What one segment becomes. All parts may be absent: an empty segment maps nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentMap {
    /// The part from the file.
    pub file: Option<FileMap>,
    /// The rest of its last page.
    pub zero: Option<ZeroFill>,
    /// The pages of bss behind it.
    pub anon: Option<AnonMap>,
}

impl Segment {
    pub(super) fn new(ph: &ProgramHeader) -> Self {
        Segment {
            offset: ph.p_offset,
            vaddr: ph.p_vaddr,
            filesz: ph.p_filesz,
            memsz: ph.p_memsz,
            align: ph.p_align,
            prot: Prot {
                read: ph.p_flags & PF_R != 0,
                write: ph.p_flags & PF_W != 0,
                exec: ph.p_flags & PF_X != 0,
            },
        }
    }

    /// The mappings of this segment, moved by `bias`.
    pub(super) fn map(&self, bias: u64) -> Result<SegmentMap, Kill> {
        let start = self.vaddr.wrapping_add(bias);
        let in_page = start % PAGE_SIZE;
        if start >= TASK_SIZE || self.filesz > self.memsz || self.memsz > TASK_SIZE - start {
            return Err(Kill(Errno::EINVAL));
        }
        let first = page_down(start);
        let file_end = start + self.filesz;
        let end = start + self.memsz;
        // All sums stay below TASK_SIZE from here on, and TASK_SIZE is a multiple of the page size.
        let round_up = |addr| page_up(addr).ok_or(Kill(Errno::ENOMEM));

        let mut map = SegmentMap {
            file: None,
            zero: None,
            anon: None,
        };
        let mut anon_start = first;
        if self.filesz > 0 {
            // Congruence is demanded of file-backed segments only; bss may say any offset.
            if self.offset % PAGE_SIZE != in_page {
                return Err(Kill(Errno::EINVAL));
            }
            let len = round_up(file_end)? - first;
            let offset = self.offset - in_page;
            if offset
                .checked_add(len)
                .is_none_or(|end| i64::try_from(end).is_err())
            {
                return Err(Kill(Errno::EOVERFLOW));
            }
            map.file = Some(FileMap {
                addr: first,
                len,
                offset,
                prot: self.prot,
            });
            anon_start = first + len;
            let pad = anon_start - file_end;
            if self.memsz > self.filesz && pad > 0 && self.prot.write {
                map.zero = Some(ZeroFill {
                    addr: file_end,
                    len: pad,
                });
            }
        }
        if self.memsz > self.filesz {
            let len = round_up(end)?.saturating_sub(anon_start);
            let prot = Prot {
                read: true,
                write: true,
                exec: self.prot.exec,
            };
            map.anon = (len > 0).then_some(AnonMap {
                addr: anon_start,
                len,
                prot,
            });
        }
        Ok(map)
    }
}
