//! Page tables: address spaces, the kernel's half, and keeping TLBs in step.
//!
//! * `entry`: the entry format; `table`: single tables and **the locking protocol**.
//! * `space`: whole address spaces; `cursor`: single pages; `range`: unmapping and protecting ranges;
//!   `fork`: copying and moving ranges.
//! * `tlb`: gathering and flushing. `kernel`: the kernel half; `vmap`: stacks and device windows.
//!
//! Copy-on-write, swapping and file mappings are the kernel's own knowledge; here a mapping is a
//! frame, of which the entry owns a count, and permissions.

mod cursor;
mod entry;
mod fork;
pub(crate) mod kernel;
mod range;
mod space;
mod table;
mod tlb;
pub(crate) mod vmap;

pub use cursor::Cursor;
pub(crate) use kernel::{kernel_cr3, phys_to_virt};
pub use space::PageTable;
pub(crate) use space::{activate, enter_lazy};
pub use table::huge_pages;
pub use vmap::{KernelStack, Mmio, Register};
pub(crate) use vmap::{map_mmio, map_physical, try_map_mmio};

use crate::addr::{HUGE_PAGE_SIZE, PAGE_SIZE};
use crate::frame::{Frame, HUGE_ORDER};

bitflags::bitflags! {
    /// What a user mapping allows. Nothing at all is possible too: the page stays mapped, but out of
    /// reach. The hardware cannot refuse reading where it allows writing or executing.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PageProt: u32 {
        /// Readable.
        const READ = 1;
        /// Writable.
        const WRITE = 2;
        /// Executable.
        const EXEC = 4;
        /// Where the protection key is: see [`PageProt::with_key`].
        const KEY = 0xf0;
    }
}

impl PageProt {
    const KEY_SHIFT: u32 = 4;

    /// The same with protection key `key` (0 to 15).
    pub const fn with_key(self, key: u32) -> Self {
        let key = Self::from_bits_retain((key << Self::KEY_SHIFT) & Self::KEY.bits());
        self.difference(Self::KEY).union(key)
    }

    /// The protection key.
    pub const fn key(self) -> u32 {
        self.intersection(Self::KEY).bits() >> Self::KEY_SHIFT
    }

    /// The same without writing; what could be written can still be read.
    pub const fn read_only(self) -> Self {
        if self.contains(Self::WRITE) {
            self.difference(Self::WRITE).union(Self::READ)
        } else {
            self
        }
    }

    /// Whether it allows nothing at all.
    pub const fn allows_nothing(self) -> bool {
        self.difference(Self::KEY).is_empty()
    }
}

/// No memory for a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// One mapped page: a reference of its own to the frame, and the entry's bits.
#[derive(Debug)]
pub struct Mapping {
    /// The frame; the whole 2 MiB block if `huge`.
    pub frame: Frame,
    /// What the mapping allows.
    pub prot: PageProt,
    /// The CPU has used the mapping since the bit was last cleared.
    pub accessed: bool,
    /// The CPU has written through the mapping since the bit was last cleared.
    pub dirty: bool,
    /// It is a 2 MiB mapping.
    pub huge: bool,
}

impl Mapping {
    /// The single page that is mapped at `va`, which lies in the mapping.
    pub fn page_at(&self, va: usize) -> Frame {
        let index = (va & (HUGE_PAGE_SIZE - 1)) / PAGE_SIZE;
        let part = if self.huge {
            self.frame.subpage(index)
        } else {
            None
        };
        part.unwrap_or_else(|| self.frame.clone())
    }

    fn from_parts(frame: Frame, value: u64) -> Mapping {
        Mapping {
            frame,
            prot: entry::prot(value),
            accessed: value & entry::ACCESSED != 0,
            dirty: value & entry::DIRTY != 0,
            huge: value & entry::LARGE != 0,
        }
    }

    /// Takes over the count that a removed leaf entry owned.
    ///
    /// # Safety
    /// `value` was a mapped leaf entry, and has been removed from its table.
    unsafe fn from_owned(value: u64) -> Mapping {
        // SAFETY: passed on.
        let frame = unsafe { Frame::from_owned(entry::pfn(value), order(value)) };
        Self::from_parts(frame, value)
    }

    /// A copy of what a leaf entry maps, with a count of its own.
    ///
    /// # Safety
    /// `value` is a mapped leaf entry whose table is locked.
    unsafe fn from_borrowed(value: u64) -> Mapping {
        // SAFETY: passed on.
        let frame = unsafe { Frame::from_borrowed(entry::pfn(value), order(value)) };
        Self::from_parts(frame, value)
    }
}

/// The order of what a mapped leaf entry refers to. (In a leaf table, the bit of `LARGE` means
/// something else, and is never set by us.)
const fn order(value: u64) -> u32 {
    if value & entry::LARGE != 0 {
        HUGE_ORDER
    } else {
        0
    }
}

/// Finishes the kernel's address space after the allocator runs. (The tables themselves are built and
/// loaded before that, in `frame::init`.)
pub(crate) fn init_kernel() {
    debug_assert_ne!(kernel_cr3(), 0);
}
