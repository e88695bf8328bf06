//! The format of page-table entries (Intel SDM volume 3, 4.5: 4-level paging).

use super::PageProt;
use crate::addr::{PAGE_SHIFT, PhysAddr};

pub(super) const PRESENT: u64 = 1 << 0;
pub(super) const WRITE: u64 = 1 << 1;
pub(super) const USER: u64 = 1 << 2;
pub(super) const WRITE_THROUGH: u64 = 1 << 3;
pub(super) const NO_CACHE: u64 = 1 << 4;
pub(super) const ACCESSED: u64 = 1 << 5;
pub(super) const DIRTY: u64 = 1 << 6;
/// In the second and third level: maps a large page.
pub(super) const LARGE: u64 = 1 << 7;
pub(super) const GLOBAL: u64 = 1 << 8;
/// Ours: maps a page that user mode may not touch at all. `PRESENT` is clear then, because a present
/// supervisor page would be open to the kernel's own copies to and from user memory.
pub(super) const NO_ACCESS: u64 = 1 << 9;
pub(super) const NO_EXEC: u64 = 1 << 63;
/// The protection key; ignored by CPUs without them.
const KEY: u64 = 0xf << KEY_SHIFT;
const KEY_SHIFT: u32 = 59;

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Entries in a table.
pub(super) const ENTRIES: usize = 512;
/// Flags of an entry that refers to a lower table of the user half.
pub(super) const USER_TABLE: u64 = PRESENT | WRITE | USER | ACCESSED;
/// Flags of an entry that refers to a lower table of the kernel half.
pub(super) const KERNEL_TABLE: u64 = PRESENT | WRITE | ACCESSED;

/// Whether a leaf entry maps a page, accessible or not.
pub(super) const fn is_mapped(entry: u64) -> bool {
    entry & (PRESENT | NO_ACCESS) != 0
}

/// Whether an entry of the second level maps a huge page.
pub(super) const fn is_huge(entry: u64) -> bool {
    is_mapped(entry) && entry & LARGE != 0
}

/// Whether an entry above the leaves refers to a table.
pub(super) const fn is_table(entry: u64) -> bool {
    entry & PRESENT != 0 && entry & LARGE == 0
}

/// The frame an entry refers to.
pub(super) const fn pfn(entry: u64) -> usize {
    ((entry & ADDRESS) >> PAGE_SHIFT) as usize
}

/// An entry that refers to frame `pfn`.
pub(super) const fn with_pfn(pfn: usize, flags: u64) -> u64 {
    PhysAddr::from_pfn(pfn).0 | flags
}

/// The flag bits of a user mapping with `prot`.
pub(super) fn user_flags(prot: PageProt) -> u64 {
    let key = (prot.key() as u64) << KEY_SHIFT;
    if prot.allows_nothing() {
        return NO_ACCESS | USER | NO_EXEC | key;
    }
    let mut flags = PRESENT | USER | key;
    if prot.contains(PageProt::WRITE) {
        flags |= WRITE;
    }
    if !prot.contains(PageProt::EXEC) {
        flags |= NO_EXEC;
    }
    flags
}

/// What a mapped leaf entry allows.
pub(super) fn prot(entry: u64) -> PageProt {
    let key = ((entry & KEY) >> KEY_SHIFT) as u32;
    if entry & PRESENT == 0 {
        return PageProt::empty().with_key(key);
    }
    let mut prot = PageProt::READ.with_key(key);
    prot.set(PageProt::WRITE, entry & WRITE != 0);
    prot.set(PageProt::EXEC, entry & NO_EXEC == 0);
    prot
}

/// `entry` with the permissions replaced by `prot`; frame, accessed, dirty and size stay.
pub(super) fn with_prot(entry: u64, prot: PageProt) -> u64 {
    entry & (ADDRESS | ACCESSED | DIRTY | LARGE) | user_flags(prot)
}

/// Whether going from `old` to `new` takes something away that a TLB may still hold.
pub(super) const fn loses(old: u64, new: u64) -> bool {
    if old & PRESENT == 0 {
        return false;
    }
    let same_frame = old & ADDRESS == new & ADDRESS;
    let kept = old & (PRESENT | WRITE) & !new == 0;
    let exec_kept = old & NO_EXEC != 0 || new & NO_EXEC == 0;
    let same_key = old & KEY == new & KEY;
    !(same_frame && kept && exec_kept && same_key)
}
