//! Unmapping and protecting ranges.

use core::mem::ManuallyDrop;
use core::sync::atomic::Ordering;

use super::cursor::{Slot, split_huge, update};
use super::entry::{self, ENTRIES};
use super::table::{Table, index};
use super::tlb::Gather;
use super::{Mapping, PageProt, PageTable};
use crate::addr::{HUGE_PAGE_SIZE, PAGE_SIZE, TASK_SIZE_MAX, page_align_down};

/// Removed mappings that wait for one flush.
const BATCH: usize = 64;

/// Mappings taken out of the tables but not yet delivered.
struct Removed<'a> {
    gather: Gather<'a>,
    items: [(usize, u64); BATCH],
    len: usize,
}

impl Removed<'_> {
    fn push(&mut self, va: usize, value: u64) {
        if value & entry::PRESENT != 0 {
            self.gather.page(va);
        }
        self.items[self.len] = (va, value);
        self.len += 1;
    }

    fn is_full(&self) -> bool {
        self.len == BATCH
    }

    /// Flushes, and then passes the mappings on. No lock may be held: `f` may do anything.
    fn deliver(&mut self, f: &mut dyn FnMut(usize, Mapping)) {
        self.gather.flush();
        for &(va, value) in &self.items[..self.len] {
            // SAFETY: each was swapped out of its table, and is looked at once.
            f(va, unsafe { Mapping::from_owned(value) });
        }
        self.len = 0;
    }
}

impl PageTable {
    /// Unmaps everything in `[start, end)` and passes it to `f`, after the TLBs know: with address and
    /// mapping, in order. Huge pages that the range covers come as one. No lock is held in `f`. Leaf
    /// tables that become empty are freed.
    pub fn unmap_range(&self, start: usize, end: usize, f: &mut dyn FnMut(usize, Mapping)) {
        let end = page_align_down(end.min(TASK_SIZE_MAX));
        let mut va = page_align_down(start);
        let mut removed = Removed {
            gather: Gather::new(self),
            items: [(0, 0); BATCH],
            len: 0,
        };
        while va < end {
            let stop = piece_end(va, end);
            match self.lock_leaf(va) {
                Slot::Nothing(gap) => va = (va & !(gap - 1)).saturating_add(gap),
                Slot::Huge(third, at) if stop - va < HUGE_PAGE_SIZE => {
                    split_huge(third, at);
                    third.unlock();
                }
                Slot::Huge(third, at) => {
                    removed.push(va, self.take_huge(third, at));
                    third.unlock();
                    va = stop;
                }
                Slot::Small(table, _) => {
                    va = self.take_small(table, va, stop, &mut removed);
                    let empty = table.count() == 0;
                    table.unlock();
                    if empty {
                        self.detach(va - 1, table, &mut removed.gather);
                    }
                }
            }
            if removed.is_full() {
                removed.deliver(f);
            }
        }
        removed.deliver(f);
    }

    /// Takes a huge page out of the locked table `third`.
    fn take_huge(&self, third: Table, at: usize) -> u64 {
        if let Some(spare) = third.withdraw() {
            // SAFETY: a spare table is in nobody's tree.
            unsafe { spare.free() };
            self.add_tables(-1);
        }
        self.add_resident(-(ENTRIES as isize));
        third.entry(at).swap(0, Ordering::AcqRel)
    }

    /// Takes pages out of the locked leaf table until `stop` or until the batch is full; returns how
    /// far it came.
    fn take_small(
        &self,
        table: Table,
        mut va: usize,
        stop: usize,
        removed: &mut Removed<'_>,
    ) -> usize {
        let mut taken = 0;
        while va < stop && !removed.is_full() {
            let slot = table.entry(index(va, 1));
            if entry::is_mapped(slot.load(Ordering::Relaxed)) {
                removed.push(va, slot.swap(0, Ordering::AcqRel));
                taken += 1;
            }
            va += PAGE_SIZE;
        }
        table.add_count(-taken);
        self.add_resident(-(taken as isize));
        va
    }

    /// Detaches the leaf table `leaf`, which covers `va`, if it is still there and still empty.
    fn detach(&self, va: usize, leaf: Table, gather: &mut Gather<'_>) {
        let Ok(third) = self.third_level(va) else {
            return;
        };
        let at = index(va, 2);
        third.lock();
        let value = third.load(at);
        let attached = entry::is_table(value) && entry::pfn(value) == leaf.0;
        if attached {
            leaf.lock();
            let empty = leaf.count() == 0;
            if empty {
                third.entry(at).store(0, Ordering::Release);
            }
            leaf.unlock();
            if empty {
                self.add_tables(-1);
                third.unlock();
                gather.table(leaf);
                return;
            }
        }
        third.unlock();
    }

    /// Changes the permissions of what is mapped in `[start, end)` to what `f` says for each page, given
    /// its address and mapping. `f` runs under a spin lock.
    pub fn protect_range(
        &self,
        start: usize,
        end: usize,
        f: &mut dyn FnMut(usize, &Mapping) -> PageProt,
    ) {
        let end = page_align_down(end.min(TASK_SIZE_MAX));
        let mut va = page_align_down(start);
        let mut gather = Gather::new(self);
        while va < end {
            let stop = piece_end(va, end);
            match self.lock_leaf(va) {
                Slot::Nothing(gap) => va = (va & !(gap - 1)).saturating_add(gap),
                Slot::Huge(third, at) if stop - va < HUGE_PAGE_SIZE => {
                    split_huge(third, at);
                    third.unlock();
                }
                Slot::Huge(third, at) => {
                    protect_entry(third, at, va, f, &mut gather);
                    third.unlock();
                    va = stop;
                }
                Slot::Small(table, _) => {
                    while va < stop {
                        protect_entry(table, index(va, 1), va, f, &mut gather);
                        va += PAGE_SIZE;
                    }
                    table.unlock();
                }
            }
        }
    }
}

/// Changes one entry of a locked table, if it maps something.
fn protect_entry(
    table: Table,
    at: usize,
    va: usize,
    f: &mut dyn FnMut(usize, &Mapping) -> PageProt,
    gather: &mut Gather<'_>,
) {
    let slot = table.entry(at);
    let value = slot.load(Ordering::Acquire);
    if !entry::is_mapped(value) {
        return;
    }
    // SAFETY: the entry owns a count as long as the table is locked; the handle does not give it up.
    let mapping = ManuallyDrop::new(unsafe { Mapping::from_owned(value) });
    let prot = f(va, &mapping);
    let old = update(slot, |value| entry::with_prot(value, prot));
    if entry::loses(old, entry::with_prot(old, prot)) {
        gather.page(va);
    }
}

/// The end of the 2 MiB that `va` lies in, cut at `end`.
pub(super) fn piece_end(va: usize, end: usize) -> usize {
    ((va & !(HUGE_PAGE_SIZE - 1)) + HUGE_PAGE_SIZE).min(end)
}
