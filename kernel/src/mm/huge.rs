//! Transparent huge pages: 2 MiB pages for private anonymous memory (Linux's admin-guide/mm/transhuge).
//!
//! A write fault maps one where the VMA covers the whole aligned 2 MiB and nothing is mapped there yet, if there is a
//! block of memory at once; else a single page does. Whatever touches a part of a huge page later splits it.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use keel_hal::addr::HUGE_PAGE_SIZE;

use super::vma::{Backing, VmFlags, Vma};
use super::{AddressSpace, VmFault};
use crate::prelude::*;

/// Who gets huge pages (`/sys/kernel/mm/transparent_hugepage/enabled`): 0 everybody, 1 who asks by madvise(2), 2 nobody.
pub static ENABLED: AtomicU8 = AtomicU8::new(ALWAYS);
/// "never" of `/sys/kernel/mm/transparent_hugepage/defrag`: memory is not moved to make a block.
pub const NEVER_DEFRAG: u8 = 4;

const ALWAYS: u8 = 0;
const MADVISE: u8 = 1;

/// Huge pages that faults mapped, and faults that had to do with a single page (/proc/vmstat).
pub static FAULTS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// The huge page's worth of addresses around `va`.
pub(super) fn block_of(va: usize) -> core::ops::Range<usize> {
    let start = va & !(HUGE_PAGE_SIZE - 1);
    start..start + HUGE_PAGE_SIZE
}

impl Vma {
    /// Whether the whole range lies in it.
    pub(super) fn covers(&self, range: &core::ops::Range<usize>) -> bool {
        self.start <= range.start && range.end <= self.end
    }
}

impl AddressSpace {
    /// Whether faults in `vma` may map huge pages (`THPeligible` in smaps).
    pub fn huge_pages_allowed(&self, flags: VmFlags) -> bool {
        let asked = match ENABLED.load(Ordering::Relaxed) {
            ALWAYS => true,
            MADVISE => flags.contains(VmFlags::HUGEPAGE),
            _ => false,
        };
        asked
            && !flags.intersects(VmFlags::NOHUGEPAGE | VmFlags::GROWSDOWN | VmFlags::STACK)
            && !self.thp_disabled.load(Ordering::Relaxed)
    }

    /// Maps a huge page at a write fault; false if a single page must do.
    pub(super) fn fault_huge(&self, vma: &Vma, va: usize) -> bool {
        let block = block_of(va);
        if !vma.covers(&block)
            || !matches!(vma.backing, Backing::Anon)
            || !self.huge_pages_allowed(vma.flags)
            || !self.table().has_room_for_huge(va)
        {
            return false;
        }
        let flags = AllocFlags::ZERO | AllocFlags::USER | AllocFlags::NOWAIT;
        let mapped = Frame::alloc_huge(flags).is_some_and(|frame| {
            let mut cursor = self.table().cursor(block.start, block.end);
            cursor.map_huge(frame, vma.prot).is_ok()
        });
        if mapped {
            vma.has_anon.store(true, Ordering::Relaxed);
        }
        FAULTS[usize::from(!mapped)].fetch_add(1, Ordering::Relaxed);
        mapped
    }

    /// Replaces the pages of one aligned block by a huge page with the same contents. The mmap lock is held exclusively.
    pub(super) fn collapse_block(&self, vma: &Vma, start: usize) -> Result<()> {
        let block = block_of(start);
        let prohibited = VmFlags::NOHUGEPAGE | VmFlags::GROWSDOWN | VmFlags::STACK;
        if !vma.covers(&block)
            || !matches!(vma.backing, Backing::Anon)
            || vma.flags.intersects(prohibited)
        {
            return Err(Errno::EINVAL);
        }
        let present = self.table().cursor(block.start, block.end).query();
        if present.is_some_and(|page| page.huge) {
            return Ok(());
        }
        let flags = AllocFlags::ZERO | AllocFlags::USER | AllocFlags::NOWAIT;
        let frame = Frame::alloc_huge(flags).ok_or(Errno::EAGAIN)?;
        // Nobody can fault pages in meanwhile, and writes through pages that are still mapped must not be lost.
        self.table()
            .protect_range(block.start, block.end, &mut |_, page| page.prot.read_only());
        let mut cursor = self.table().cursor(block.start, block.end);
        while let Some(va) = cursor.next_mapped() {
            if let Some(page) = cursor.query()
                && let Some(part) = frame.subpage((va - block.start) >> PAGE_SHIFT)
            {
                part.copy_from(&page.page_at(va));
            }
            if !cursor.next() {
                break;
            }
        }
        drop(cursor);
        self.table()
            .unmap_range(block.start, block.end, &mut |_, _| {});
        let mut cursor = self.table().cursor(block.start, block.end);
        cursor
            .map_huge(frame, vma.prot)
            .map_err(|_| Errno::ENOMEM)?;
        vma.has_anon.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A write to a huge page that is read-only since a fork: writable again if this is the only mapping left, else
    /// the page that is written is copied (and the huge page falls apart).
    pub(super) fn write_huge(&self, vma: &Vma, va: usize) -> core::result::Result<(), VmFault> {
        let block = block_of(va);
        if vma.covers(&block) {
            let mut cursor = self.table().cursor(block.start, block.end);
            match cursor.query() {
                Some(old) if old.huge && super::fault::sole_owner(&old.frame) => {
                    cursor.protect(vma.prot);
                    return Ok(());
                }
                Some(old) if old.huge => {}
                _ => return Err(VmFault::Retry),
            }
        }
        let fresh = super::alloc_user_frame(AllocFlags::empty()).ok_or(VmFault::Oom)?;
        let mut cursor = self.table().cursor(va, va + PAGE_SIZE);
        match cursor.query() {
            Some(old) if old.huge => {
                fresh.copy_from(&old.page_at(va));
                cursor
                    .map(fresh, vma.prot)
                    .map(drop)
                    .map_err(|_| VmFault::Oom)
            }
            _ => Err(VmFault::Retry),
        }
    }
}
