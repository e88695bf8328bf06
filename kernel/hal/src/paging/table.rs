//! Single tables: access to entries, per-table locks, allocation.
//!
//! The locking protocol of the user half:
//!
//! * Tables of the upper three levels are installed by compare-exchange (first and second from the
//!   top) or under the lock of the third-level table (leaf tables and huge pages), and are freed only
//!   with exclusive access to the whole tree. So a walk down to the third level needs no lock.
//! * The lock of a leaf table protects its entries; it lives in the frame metadata. A leaf table is
//!   detached under both the third-level lock and its own; whoever took a leaf lock therefore
//!   checks that the table is still attached, and starts again if not. A frame that has become
//!   something else meanwhile only has its lock word touched, which nothing but tables uses.
//! * Order: third-level lock before leaf lock; `fork_range`: the parent's before the child's.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::NoMemory;
use super::entry::{self, ENTRIES};
use crate::addr::PhysAddr;
use crate::cpu;
use crate::frame::meta::{Kind, meta};
use crate::frame::{self, AllocFlags};

/// Huge pages in all page tables.
static HUGE_PAGES: AtomicUsize = AtomicUsize::new(0);

/// How many huge pages are mapped, in all address spaces together.
pub fn huge_pages() -> usize {
    HUGE_PAGES.load(Ordering::Relaxed)
}

/// A table, by frame number. The holder makes sure that it stays one; see the protocol above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Table(pub(super) usize);

/// Index into the table of `level` (1 is the leaf level, 4 the root) for `va`.
pub(super) const fn index(va: usize, level: u32) -> usize {
    (va >> (12 + 9 * (level - 1))) & (ENTRIES - 1)
}

/// Bytes that one entry of `level` covers.
pub(super) const fn span(level: u32) -> usize {
    1 << (12 + 9 * (level - 1))
}

impl Table {
    /// A new empty table for the user half. Counts against the users' share of memory.
    pub(super) fn alloc() -> Result<Table, NoMemory> {
        Self::alloc_with(AllocFlags::ZERO | AllocFlags::USER)
    }

    pub(super) fn alloc_with(flags: AllocFlags) -> Result<Table, NoMemory> {
        let pfn = frame::alloc_block(0, flags).ok_or(NoMemory)?;
        let entry = meta(pfn);
        entry.set_kind(Kind::Table);
        entry.count.store(0, Ordering::Relaxed);
        entry.private.store(0, Ordering::Relaxed);
        // The lock word is left alone: it is free, and a late-comer may be touching it.
        Ok(Table(pfn))
    }

    /// Frees the table.
    ///
    /// # Safety
    /// No entry refers to it, no TLB of any CPU remembers it, and its entries own nothing.
    pub(super) unsafe fn free(self) {
        // SAFETY: passed on.
        unsafe { frame::free_block(self.0, 0) };
    }

    /// The entry at `index`, which is below [`ENTRIES`].
    #[inline]
    pub(super) fn entry(self, index: usize) -> &'static AtomicU64 {
        debug_assert!(index < ENTRIES);
        let va = PhysAddr::from_pfn(self.0).direct() + (index & (ENTRIES - 1)) * 8;
        // SAFETY: the direct map covers the table, and entries are only accessed as atomics.
        unsafe { &*(va as *const AtomicU64) }
    }

    #[inline]
    pub(super) fn load(self, index: usize) -> u64 {
        self.entry(index).load(Ordering::Acquire)
    }

    /// Takes the table's spin lock.
    #[inline]
    pub(super) fn lock(self) {
        let lock = &meta(self.0).lock;
        cpu::preempt_disable();
        while lock
            .compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            while lock.load(Ordering::Relaxed) != 0 {
                spin_loop();
            }
        }
    }

    /// Releases the lock, which the caller holds.
    #[inline]
    pub(super) fn unlock(self) {
        meta(self.0).lock.store(0, Ordering::Release);
        cpu::preempt_enable();
    }

    /// Mapped entries of a leaf table; under its lock.
    pub(super) fn count(self) -> u32 {
        meta(self.0).count.load(Ordering::Relaxed)
    }

    pub(super) fn add_count(self, n: i32) {
        let count = &meta(self.0).count;
        count.store(
            count.load(Ordering::Relaxed).wrapping_add_signed(n),
            Ordering::Relaxed,
        );
    }

    /// Keeps a spare leaf table with a third-level table, one for each huge page, so that splitting
    /// one never needs memory. Under the third-level lock.
    pub(super) fn deposit(self, spare: Table) {
        HUGE_PAGES.fetch_add(1, Ordering::Relaxed);
        let first = &meta(self.0).private;
        meta(spare.0)
            .private
            .store(first.load(Ordering::Relaxed), Ordering::Relaxed);
        first.store(spare.0 as u64, Ordering::Relaxed);
    }

    /// Takes a spare table back.
    pub(super) fn withdraw(self) -> Option<Table> {
        let first = &meta(self.0).private;
        let spare = first.load(Ordering::Relaxed) as usize;
        if spare == 0 {
            return None;
        }
        HUGE_PAGES.fetch_sub(1, Ordering::Relaxed);
        let rest = meta(spare).private.swap(0, Ordering::Relaxed);
        first.store(rest, Ordering::Relaxed);
        Some(Table(spare))
    }

    /// The table below entry `index`, if there is one.
    #[inline]
    pub(super) fn child(self, index: usize) -> Option<Table> {
        let value = self.load(index);
        entry::is_table(value).then(|| Table(entry::pfn(value)))
    }

    /// The table below entry `index`, made if missing. For the levels whose tables are installed
    /// without a lock. Returns also whether a table was added.
    pub(super) fn child_or_new(self, index: usize) -> Result<(Table, bool), NoMemory> {
        if let Some(table) = self.child(index) {
            return Ok((table, false));
        }
        let new = Table::alloc()?;
        let value = entry::with_pfn(new.0, entry::USER_TABLE);
        match self
            .entry(index)
            .compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => Ok((new, true)),
            Err(theirs) => {
                // SAFETY: nobody has seen the new table.
                unsafe { new.free() };
                Ok((Table(entry::pfn(theirs)), false))
            }
        }
    }
}
