//! Addresses and page arithmetic, and the map of the kernel's half of the address space.
//!
//! User virtual addresses are plain `usize`; physical addresses are [`PhysAddr`]. The layout of the
//! kernel half (addresses are fixed, 4-level paging):
//!
//! | start                  | what                                             |
//! |------------------------|--------------------------------------------------|
//! | `0xffff_8880_0000_0000`| direct map of physical memory                    |
//! | `0xffff_c900_0000_0000`| kernel stacks, device registers (the vmap area)  |
//! | `0xffff_ea00_0000_0000`| frame metadata                                   |
//! | `0xffff_ffff_8000_0000`| the kernel image                                 |

use core::fmt;

/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// Bytes in a huge page (one entry of the second level).
pub const HUGE_PAGE_SIZE: usize = 1 << 21;
/// One past the highest user address: the last page below the canonical hole is never mapped, so
/// that a SYSCALL instruction at the very end cannot return to a non-canonical address.
pub const TASK_SIZE_MAX: usize = 0x7fff_ffff_f000;

/// Start of the direct map of physical memory.
pub(crate) const DIRECT_MAP: usize = 0xffff_8880_0000_0000;
/// Most physical memory that the direct map can cover.
pub(crate) const DIRECT_MAP_SIZE: usize = 1 << 46;
/// Start of the area for kernel stacks and device registers.
pub(crate) const VMAP_START: usize = 0xffff_c900_0000_0000;
/// End of that area: one top-level entry's worth.
pub(crate) const VMAP_END: usize = VMAP_START + (1 << 39);
/// Start of the frame metadata array.
pub(crate) const FRAME_META: usize = 0xffff_ea00_0000_0000;
/// Where the kernel image is linked; its physical address is the offset from here.
pub(crate) const KERNEL_BASE: usize = 0xffff_ffff_8000_0000;

/// A physical address in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PhysAddr(pub u64);

impl PhysAddr {
    /// The number of the page frame that holds this address.
    pub const fn pfn(self) -> usize {
        (self.0 >> PAGE_SHIFT) as usize
    }

    /// The address of the start of frame number `pfn`.
    pub const fn from_pfn(pfn: usize) -> Self {
        PhysAddr((pfn as u64) << PAGE_SHIFT)
    }

    /// This address in the direct map.
    pub(crate) const fn direct(self) -> usize {
        DIRECT_MAP + self.0 as usize
    }

    /// The physical address behind an address in the direct map or in the kernel image.
    pub(crate) fn from_kernel_va(va: usize) -> Option<PhysAddr> {
        if va >= KERNEL_BASE {
            Some(PhysAddr((va - KERNEL_BASE) as u64))
        } else if (DIRECT_MAP..DIRECT_MAP + DIRECT_MAP_SIZE).contains(&va) {
            Some(PhysAddr((va - DIRECT_MAP) as u64))
        } else {
            None
        }
    }
}

impl fmt::Debug for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhysAddr({:#x})", self.0)
    }
}

/// `addr` rounded down to the start of its page.
pub const fn page_align_down(addr: usize) -> usize {
    addr & !(PAGE_SIZE - 1)
}

/// `addr` rounded up to a page boundary; wraps to 0 in the last page of the address space.
pub const fn page_align_up(addr: usize) -> usize {
    addr.wrapping_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1)
}

/// The number of pages that `len` bytes touch when they start on a page boundary.
pub const fn pages_for(len: usize) -> usize {
    (len >> PAGE_SHIFT) + ((len & (PAGE_SIZE - 1)) != 0) as usize
}

/// Whether `[start, start + len)` lies in the user half.
pub const fn is_user_range(start: usize, len: usize) -> bool {
    len <= TASK_SIZE_MAX && start <= TASK_SIZE_MAX - len
}
