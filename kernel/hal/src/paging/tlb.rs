//! Keeping TLBs in step with the tables.
//!
//! Changes are gathered in a [`Gather`] and flushed together: by page while they are few, else
//! everything. CPUs that have the table loaded are interrupted; a CPU that only keeps it loaded
//! lazily, running a kernel task, lets go of it instead. Frames and tables that were taken out of the
//! tree are released only after the flush.

use core::arch::asm;

use super::PageTable;
use super::space;
use super::table::Table;
use crate::cpu;

/// Up to this many pages are flushed one by one.
const MAX_SINGLE: usize = 32;
/// Tables that wait for a flush, at most.
const MAX_TABLES: usize = 16;

/// Changes that some TLB may not have noticed yet.
pub(super) struct Gather<'a> {
    space: &'a PageTable,
    pages: [usize; MAX_SINGLE],
    len: usize,
    /// More than `pages` holds, or tables went.
    everything: bool,
    tables: [Table; MAX_TABLES],
    table_count: usize,
}

impl<'a> Gather<'a> {
    pub(super) fn new(space: &'a PageTable) -> Self {
        Gather {
            space,
            pages: [0; MAX_SINGLE],
            len: 0,
            everything: false,
            tables: [Table(0); MAX_TABLES],
            table_count: 0,
        }
    }

    /// The translation of the page at `va` has changed.
    pub(super) fn page(&mut self, va: usize) {
        if self.len < MAX_SINGLE {
            self.pages[self.len] = va;
            self.len += 1;
        } else {
            self.everything = true;
        }
    }

    /// `table` has been detached; it is freed after the flush.
    pub(super) fn table(&mut self, table: Table) {
        if self.table_count == MAX_TABLES {
            self.flush();
        }
        self.tables[self.table_count] = table;
        self.table_count += 1;
        self.everything = true;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0 && !self.everything
    }

    /// Brings all TLBs up to date. Spin locks may be held; interrupts must be on.
    pub(super) fn flush(&mut self) {
        if self.is_empty() {
            return;
        }
        let pages = (!self.everything).then_some(&self.pages[..self.len]);
        flush(self.space, pages);
        self.len = 0;
        self.everything = false;
        for table in self.tables[..self.table_count].iter() {
            // SAFETY: it was detached, empty, and the flush has removed it from every CPU's caches.
            unsafe { table.free() };
        }
        self.table_count = 0;
    }
}

impl Drop for Gather<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Flushes `pages`, or everything, on all CPUs where `space` is loaded.
fn flush(space: &PageTable, pages: Option<&[usize]>) {
    // The entries must be visible before the mask is read: a CPU that loads the table later sees them.
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    let mut mask = space.active_cpus();
    let me = {
        // Without this the task could not move either, as it is not preempted; it says so.
        cpu::id()
    };
    if mask.test(me) {
        flush_local(pages);
        mask.clear(me);
    }
    if !mask.is_empty() {
        cpu::call_on(&mask, &|| {
            if !space::leave_if_lazy() {
                flush_local(pages);
            }
        });
    }
}

/// Flushes this CPU's TLB.
fn flush_local(pages: Option<&[usize]>) {
    match pages {
        Some(pages) => pages.iter().for_each(|&va| flush_page(va)),
        None => flush_all_user(),
    }
}

/// Drops the translation of one page, and the CPU's memory of upper levels.
pub(super) fn flush_page(va: usize) {
    // SAFETY: flushing a translation is always sound.
    unsafe { asm!("invlpg [{}]", in(reg) va, options(nostack, preserves_flags)) };
}

/// Drops all translations that are not global.
fn flush_all_user() {
    // SAFETY: loads what is loaded.
    unsafe {
        asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack, preserves_flags));
    }
}

/// Drops all translations, global ones as well, on this CPU.
pub(super) fn flush_everything() {
    const PGE: u64 = 1 << 7;
    // SAFETY: changing CR4.PGE there and back only flushes.
    unsafe {
        asm!(
            "mov {old}, cr4",
            "mov {new}, {old}",
            "xor {new}, {pge}",
            "mov cr4, {new}",
            "mov cr4, {old}",
            old = out(reg) _,
            new = out(reg) _,
            pge = const PGE,
            options(nostack)
        );
    }
}
