//! Copying ranges to a child's address space (fork) and moving them within one (mremap).

use core::mem::ManuallyDrop;
use core::sync::atomic::Ordering;

use super::cursor::{Slot, split_huge, update};
use super::entry::{self, ENTRIES, WRITE};
use super::range::piece_end;
use super::table::{Table, index};
use super::tlb::Gather;
use super::{NoMemory, PageTable, order};
use crate::addr::{HUGE_PAGE_SIZE, PAGE_SIZE, TASK_SIZE_MAX, page_align_down};
use crate::frame::Frame;

impl PageTable {
    /// Maps in `child`, at the same addresses, what is mapped here in `[start, end)`; nothing may be
    /// mapped there yet. With `cow` both sides lose write permission. When memory runs out the child
    /// has a part of it.
    pub fn fork_range(
        &self,
        child: &PageTable,
        start: usize,
        end: usize,
        cow: bool,
    ) -> Result<(), NoMemory> {
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
                    let copied = fork_huge(child, va, third, at, cow, &mut gather);
                    third.unlock();
                    copied?;
                    va = stop;
                }
                Slot::Small(table, _) => {
                    let copied = fork_small(child, table, va..stop, cow, &mut gather);
                    table.unlock();
                    copied?;
                    va = stop;
                }
            }
        }
        Ok(())
    }

    /// Moves what is mapped in `[old, old + len)` to `[new, new + len)`; the ranges must not overlap, and
    /// nothing may be mapped in the new one. When memory runs out a part has moved; moving back what
    /// has needs no memory.
    pub fn move_range(&self, old: usize, new: usize, len: usize) -> Result<(), NoMemory> {
        let (mut from, mut to) = (page_align_down(old), page_align_down(new));
        let end = page_align_down(old.saturating_add(len).min(TASK_SIZE_MAX));
        assert!(to.checked_add(len).is_some_and(|top| top <= TASK_SIZE_MAX));
        let mut moved = Moved::new();
        while from < end {
            // One piece lies in one leaf table on either side.
            let stop = piece_end(from, end);
            let step = (stop - from).min(piece_end(to, usize::MAX) - to);
            // A huge page is moved as small pages; the mapping may become huge again by a fault.
            if let Some(gap) = self.split_at(from) {
                let next = (from & !(gap - 1)).saturating_add(gap).min(end);
                to += next - from;
                from = next;
                continue;
            }
            self.make_leaf(to)?;
            let mut gather = Gather::new(self);
            match self.lock_leaf(from) {
                Slot::Small(table, _) => {
                    moved.take(table, from, step, &mut gather);
                    table.unlock();
                }
                // Changed since, by somebody whom the caller should have kept out: as if nothing
                // had been there.
                Slot::Huge(third, _) => third.unlock(),
                Slot::Nothing(_) => {}
            }
            // Only after this can nobody mark the old entries dirty any more.
            gather.flush();
            drop(gather);
            while !moved.is_empty() {
                match self.lock_leaf(to) {
                    Slot::Small(table, at) => {
                        moved.put(table, at);
                        table.unlock();
                    }
                    // Detached again since, by an unmapping of this very place: not while the
                    // caller keeps others from changing the layout.
                    Slot::Nothing(_) => self.make_leaf(to)?,
                    Slot::Huge(third, at) => {
                        split_huge(third, at);
                        third.unlock();
                    }
                }
            }
            from += step;
            to += step;
        }
        Ok(())
    }

    /// Splits a huge page at `va`; if nothing goes down there at all, returns the size of the gap.
    fn split_at(&self, va: usize) -> Option<usize> {
        match self.lock_leaf(va) {
            Slot::Nothing(gap) => return Some(gap),
            Slot::Small(table, _) => table.unlock(),
            Slot::Huge(third, at) => {
                split_huge(third, at);
                third.unlock();
            }
        }
        None
    }
}

/// A leaf table's worth of entries on the move.
struct Moved {
    entries: alloc::boxed::Box<[u64; ENTRIES]>,
    len: usize,
}

impl Moved {
    fn new() -> Self {
        Moved {
            entries: alloc::boxed::Box::new([0; ENTRIES]),
            len: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn take(&mut self, table: Table, from: usize, bytes: usize, gather: &mut Gather<'_>) {
        let mut taken = 0;
        self.len = bytes / PAGE_SIZE;
        for (page, kept) in self.entries[..self.len].iter_mut().enumerate() {
            let va = from + page * PAGE_SIZE;
            *kept = table.entry(index(va, 1)).swap(0, Ordering::AcqRel);
            if entry::is_mapped(*kept) {
                gather.page(va);
                taken += 1;
            }
        }
        table.add_count(-taken);
    }

    fn put(&mut self, table: Table, at: usize) {
        let mut put = 0;
        for (page, &value) in self.entries[..self.len].iter().enumerate() {
            if entry::is_mapped(value) {
                let old = table.entry(at + page).swap(value, Ordering::AcqRel);
                if entry::is_mapped(old) {
                    // The caller promised that nothing is there; what was is unmapped, as by a fixed
                    // mapping. SAFETY: the entry has been taken out, with its count.
                    drop(unsafe { Frame::from_owned(entry::pfn(old), order(old)) });
                } else {
                    put += 1;
                }
            }
        }
        table.add_count(put);
        self.len = 0;
    }
}

/// Takes write permission from an entry; returns its value without it.
fn write_protect(table: Table, at: usize, va: usize, gather: &mut Gather<'_>) -> u64 {
    let old = update(table.entry(at), |value| value & !WRITE);
    if old & WRITE != 0 {
        gather.page(va);
    }
    old & !WRITE
}

fn fork_small(
    child: &PageTable,
    table: Table,
    range: core::ops::Range<usize>,
    cow: bool,
    gather: &mut Gather<'_>,
) -> Result<(), NoMemory> {
    if table.count() == 0 {
        return Ok(());
    }
    child.make_leaf(range.start)?;
    let Slot::Small(theirs, _) = child.lock_leaf(range.start) else {
        // Only for a child that others are changing at the same time, which has no tables to miss.
        return Err(NoMemory);
    };
    let mut added = 0;
    for va in range.step_by(PAGE_SIZE) {
        let at = index(va, 1);
        let mut value = table.load(at);
        if !entry::is_mapped(value) {
            continue;
        }
        if cow {
            value = write_protect(table, at, va, gather);
        }
        // SAFETY: a mapped entry of a locked table.
        let frame = ManuallyDrop::new(unsafe { Frame::from_owned(entry::pfn(value), 0) });
        frame.add_refs(1);
        let old = theirs.entry(at).swap(value, Ordering::AcqRel);
        if entry::is_mapped(old) {
            // SAFETY: the entry has been taken out, with its count.
            drop(unsafe { Frame::from_owned(entry::pfn(old), 0) });
        } else {
            added += 1;
        }
    }
    theirs.add_count(added);
    child.add_resident(added as isize);
    theirs.unlock();
    Ok(())
}

fn fork_huge(
    child: &PageTable,
    va: usize,
    third: Table,
    at: usize,
    cow: bool,
    gather: &mut Gather<'_>,
) -> Result<(), NoMemory> {
    let theirs = child.third_level_or_new(va)?;
    let spare = Table::alloc()?;
    let value = if cow {
        write_protect(third, at, va, gather)
    } else {
        third.load(at)
    };
    theirs.lock();
    let free = theirs
        .entry(at)
        .compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire)
        .is_ok();
    if free {
        // SAFETY: a mapped entry of a locked table.
        let frame =
            ManuallyDrop::new(unsafe { Frame::from_owned(entry::pfn(value), order(value)) });
        frame.add_refs(1);
        theirs.deposit(spare);
    }
    theirs.unlock();
    if free {
        child.add_tables(1);
        child.add_resident(ENTRIES as isize);
        Ok(())
    } else {
        // SAFETY: nobody has seen the spare table.
        unsafe { spare.free() };
        Err(NoMemory)
    }
}
