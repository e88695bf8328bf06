//! `PT_GNU_PROPERTY`: what a program's code is ready for (x86-64 psABI, "Program Property").

use goblin::elf::note::NT_GNU_PROPERTY_TYPE_0;
use scroll::Pread;

use crate::{Errno, ReadAt, read_exact};

/// A note longer than this is not looked at.
const MAX_NOTE: usize = 1024;
/// `namesz`, `descsz`, `type` and the name "GNU\0".
const NOTE_HEADER: usize = 16;
const GNU_PROPERTY_X86_FEATURE_1_AND: u32 = 0xc000_0002;
const FEATURE_1_IBT: u32 = 1 << 0;
const FEATURE_1_SHSTK: u32 = 1 << 1;

/// The control-flow features that a file is marked for. Advice to libc, which turns them on by arch_prctl(2); a
/// malformed note is the same as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GnuProperty {
    /// Every indirect branch lands on `endbr64`.
    pub ibt: bool,
    /// The code works with a shadow stack.
    pub shstk: bool,
}

impl GnuProperty {
    /// Reads the note at `off`; errors are those of `file` except where the range is outside it.
    pub(super) fn read(off: u64, len: u64, file: &(impl ReadAt + ?Sized)) -> Result<Self, Errno> {
        let mut buf = [0; MAX_NOTE];
        let Some(note) = usize::try_from(len).ok().and_then(|len| buf.get_mut(..len)) else {
            return Ok(Self::default());
        };
        match read_exact(file, off, note) {
            Ok(()) => Ok(Self::parse(note).unwrap_or_default()),
            Err(Errno::EIO | Errno::EINVAL) => Ok(Self::default()),
            Err(other) => Err(other),
        }
    }

    /// Walks the properties of one note; `None` when it is malformed.
    fn parse(note: &[u8]) -> Option<Self> {
        let word = |at: usize| note.pread_with::<u32>(at, scroll::LE).ok();
        let (namesz, descsz) = (word(0)?, word(4)? as usize);
        if namesz != 4 || word(8)? != NT_GNU_PROPERTY_TYPE_0 || note.get(12..16)? != b"GNU\0" {
            return None;
        }
        let end = NOTE_HEADER
            .checked_add(descsz)
            .filter(|&end| end <= note.len())?;
        let mut at = NOTE_HEADER;
        while at + 8 <= end {
            let (kind, size) = (word(at)?, word(at + 4)? as usize);
            let data = at + 8;
            if size > end - data {
                return None;
            }
            if kind == GNU_PROPERTY_X86_FEATURE_1_AND && size == 4 {
                let bits = word(data)?;
                return Some(GnuProperty {
                    ibt: bits & FEATURE_1_IBT != 0,
                    shstk: bits & FEATURE_1_SHSTK != 0,
                });
            }
            at = data + size.next_multiple_of(8);
        }
        Some(Self::default())
    }
}
