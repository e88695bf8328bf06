//! Working on single pages of an address space.

use core::sync::atomic::Ordering;

use super::entry::{self, ACCESSED, DIRTY, ENTRIES, LARGE, USER_TABLE, with_pfn};
use super::table::{Table, index, span};
use super::tlb::Gather;
use super::{Mapping, NoMemory, PageProt, PageTable};
use crate::addr::{HUGE_PAGE_SIZE, PAGE_SIZE, TASK_SIZE_MAX, page_align_down};
use crate::frame::{Frame, HUGE_ORDER};

/// Pages whose release waits for a flush, at most.
const MAX_HELD: usize = 16;

/// A position in a page table. After an operation it holds the (spin) lock of the leaf table it
/// stands in, until it moves to another one, [`unlock`](Cursor::unlock)s or is dropped: nothing
/// that sleeps may be done meanwhile. TLBs are brought up to date before the lock is released.
pub struct Cursor<'a> {
    space: &'a PageTable,
    end: usize,
    va: usize,
    held: Option<Held>,
    gather: Gather<'a>,
    /// Frames that TLBs of other CPUs may still reach.
    waiting: [Option<Frame>; MAX_HELD],
    waiting_len: usize,
}

/// A locked table: a leaf table, or a third-level one with a huge page in it.
#[derive(Clone, Copy)]
struct Held {
    table: Table,
    /// Start of the 2 MiB that the cursor stands in.
    base: usize,
    huge: bool,
}

/// What is at the cursor.
#[derive(Clone, Copy)]
pub(super) enum Slot {
    /// No table goes down here; nothing is mapped up to the next multiple of this many bytes.
    Nothing(usize),
    /// An entry of a locked leaf table.
    Small(Table, usize),
    /// A huge page, in a locked third-level table.
    Huge(Table, usize),
}

impl PageTable {
    /// A cursor at `start` that may move up to `end` (user addresses; rounded down to pages, and cut
    /// at the end of the user half).
    pub fn cursor(&self, start: usize, end: usize) -> Cursor<'_> {
        let end = page_align_down(end.min(TASK_SIZE_MAX));
        Cursor {
            space: self,
            end,
            va: page_align_down(start).min(end),
            held: None,
            gather: Gather::new(self),
            waiting: [const { None }; MAX_HELD],
            waiting_len: 0,
        }
    }

    /// The third-level table for `va`, if there is one; else how many bytes the gap covers.
    pub(super) fn third_level(&self, va: usize) -> Result<Table, usize> {
        let below = self.root().child(index(va, 4)).ok_or(span(4))?;
        below.child(index(va, 3)).ok_or(span(3))
    }

    /// The third-level table for `va`, made if missing.
    pub(super) fn third_level_or_new(&self, va: usize) -> Result<Table, NoMemory> {
        let (below, added) = self.root().child_or_new(index(va, 4))?;
        self.add_tables(isize::from(added));
        let (table, added) = below.child_or_new(index(va, 3))?;
        self.add_tables(isize::from(added));
        Ok(table)
    }

    /// Locks what maps `va`: the leaf table or, for a huge page, the third-level table.
    pub(super) fn lock_leaf(&self, va: usize) -> Slot {
        let third = match self.third_level(va) {
            Ok(table) => table,
            Err(gap) => return Slot::Nothing(gap),
        };
        let at = index(va, 2);
        loop {
            let value = third.load(at);
            if entry::is_huge(value) {
                third.lock();
                if entry::is_huge(third.load(at)) {
                    return Slot::Huge(third, at);
                }
                third.unlock();
            } else if entry::is_table(value) {
                let leaf = Table(entry::pfn(value));
                leaf.lock();
                if third.load(at) == value {
                    return Slot::Small(leaf, index(va, 1));
                }
                leaf.unlock();
            } else {
                return Slot::Nothing(span(2));
            }
        }
    }

    /// Whether a huge page could be mapped in the 2 MiB that `va` lies in: no page is mapped there. Only a guess,
    /// without a lock.
    pub fn has_room_for_huge(&self, va: usize) -> bool {
        let Ok(third) = self.third_level(va) else {
            return true;
        };
        let value = third.load(index(va, 2));
        if entry::is_table(value) {
            // The table may be gone by now; its count is then that of something else, and the guess wrong.
            Table(entry::pfn(value)).count() == 0
        } else {
            !entry::is_huge(value)
        }
    }

    /// Makes sure that a leaf table goes down to `va`: adds one, or splits a huge page.
    pub(super) fn make_leaf(&self, va: usize) -> Result<(), NoMemory> {
        let third = self.third_level_or_new(va)?;
        let at = index(va, 2);
        if entry::is_table(third.load(at)) {
            return Ok(());
        }
        let new = Table::alloc()?;
        third.lock();
        let value = third.load(at);
        let used = if entry::is_huge(value) {
            split_huge(third, at);
            false
        } else if value == 0 {
            third
                .entry(at)
                .store(with_pfn(new.0, USER_TABLE), Ordering::Release);
            true
        } else {
            false
        };
        third.unlock();
        if used {
            self.add_tables(1);
        } else {
            // SAFETY: nobody has seen the new table.
            unsafe { new.free() };
        }
        Ok(())
    }
}

/// Replaces the huge page in entry `at` of the locked third-level table `third` by a leaf table with
/// 512 small pages of the same frame. Translations stay the same, so that TLBs need no flush: a CPU
/// may go on with the large translation until something below changes and is flushed.
pub(super) fn split_huge(third: Table, at: usize) {
    // Every huge page left a spare table here. Without one (never) nothing is done.
    let Some(leaf) = third.withdraw() else { return };
    // Nobody gets at the small pages before they are counted.
    leaf.lock();
    let value = third.entry(at).load(Ordering::Acquire);
    // The hardware may set the accessed and dirty bits up to the exchange below.
    let fill = |value: u64| {
        let first = entry::pfn(value);
        for page in 0..ENTRIES {
            let small = with_pfn(first + page, value & !entry::with_pfn(first, 0) & !LARGE);
            leaf.entry(page).store(small, Ordering::Relaxed);
        }
    };
    let mut old = value;
    loop {
        fill(old);
        let new = with_pfn(leaf.0, USER_TABLE);
        match third
            .entry(at)
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => break,
            Err(now) => old = now,
        }
    }
    leaf.add_count(ENTRIES as i32);
    // SAFETY: the entry's count is now that of the first small page; the others need theirs.
    let frame = core::mem::ManuallyDrop::new(unsafe { Frame::from_owned(entry::pfn(value), 0) });
    // SAFETY: the new leaf table, which is locked, has one entry for each page.
    unsafe { frame.break_up(HUGE_ORDER) };
    leaf.unlock();
}

impl Cursor<'_> {
    /// Where the cursor stands.
    pub fn addr(&self) -> usize {
        self.va
    }

    /// Moves to the page of `va`, cut at the end of the range.
    pub fn jump(&mut self, va: usize) {
        self.va = page_align_down(va).min(self.end);
    }

    /// Moves past the page the cursor stands on, which may be huge; `false` at the end of the range.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> bool {
        let step = match self.held {
            Some(held) if held.huge && held.base == huge_base(self.va) => {
                held.base + HUGE_PAGE_SIZE - self.va
            }
            _ => PAGE_SIZE,
        };
        self.va = (self.va + step).min(self.end);
        self.va < self.end
    }

    /// Moves to the first mapped page at or after the cursor; `None`, and to the end, without one.
    pub fn next_mapped(&mut self) -> Option<usize> {
        while self.va < self.end {
            match self.seek() {
                Slot::Nothing(gap) => {
                    self.va = ((self.va & !(gap - 1)).saturating_add(gap)).min(self.end);
                }
                Slot::Huge(..) => return Some(self.va),
                Slot::Small(table, at) => {
                    if entry::is_mapped(table.load(at)) {
                        return Some(self.va);
                    }
                    self.va += PAGE_SIZE;
                }
            }
        }
        None
    }

    /// What is mapped here.
    pub fn query(&mut self) -> Option<Mapping> {
        let (table, at) = self.mapped()?;
        // SAFETY: a mapped entry of a table that the cursor has locked.
        Some(unsafe { Mapping::from_borrowed(table.load(at)) })
    }

    /// Maps a single frame here, splitting a huge page if there is one; returns what was mapped.
    /// Panics on a block of several frames, and at the end of the range.
    pub fn map(&mut self, frame: Frame, prot: PageProt) -> Result<Option<Mapping>, NoMemory> {
        assert!(frame.order() == 0 && self.va < self.end);
        let (table, at) = loop {
            match self.seek() {
                Slot::Small(table, at) => break (table, at),
                Slot::Nothing(_) | Slot::Huge(..) => {
                    self.unlock();
                    self.space.make_leaf(self.va)?;
                }
            }
        };
        let new = with_pfn(frame.into_owned(), entry::user_flags(prot) | ACCESSED);
        let old = table.entry(at).swap(new, Ordering::AcqRel);
        if entry::is_mapped(old) {
            return Ok(Some(self.removed(old, new)));
        }
        table.add_count(1);
        self.space.add_resident(1);
        Ok(None)
    }

    /// Maps a 2 MiB block here, where nothing may be mapped: fails if something is (the caller then works with
    /// what is there), and without memory. Panics unless frame and cursor are aligned to 2 MiB and it fits into
    /// the range.
    pub fn map_huge(&mut self, frame: Frame, prot: PageProt) -> Result<(), NoMemory> {
        assert!(frame.order() == HUGE_ORDER && self.covers_huge());
        self.unlock();
        let third = self.space.third_level_or_new(self.va)?;
        let at = index(self.va, 2);
        let spare = Table::alloc()?;
        third.lock();
        let value = third.load(at);
        let mut busy = entry::is_huge(value);
        if entry::is_table(value) {
            let leaf = Table(entry::pfn(value));
            leaf.lock();
            busy = leaf.count() != 0;
            if !busy {
                third.entry(at).store(0, Ordering::Release);
            }
            leaf.unlock();
            if !busy {
                self.gather.table(leaf);
                self.space.add_tables(-1);
                // The old leaf table must be out of the CPUs' memory before a huge page takes its place.
                self.gather.flush();
            }
        }
        if busy {
            third.unlock();
            // SAFETY: nobody has seen the spare table.
            unsafe { spare.free() };
            return Err(NoMemory);
        }
        let flags = entry::user_flags(prot) | ACCESSED | LARGE;
        let new = with_pfn(frame.into_owned(), flags);
        third.entry(at).store(new, Ordering::Release);
        self.held = Some(Held {
            table: third,
            base: self.va,
            huge: true,
        });
        third.deposit(spare);
        self.space.add_tables(1);
        self.space.add_resident(ENTRIES as isize);
        Ok(())
    }

    /// Unmaps the page here: the whole huge page if the range covers it, else the one small page.
    pub fn unmap(&mut self) -> Option<Mapping> {
        self.split_if_partial();
        let (table, at) = self.mapped()?;
        let old = table.entry(at).swap(0, Ordering::AcqRel);
        if entry::is_huge(old) && self.held.is_some_and(|held| held.huge) {
            if let Some(spare) = table.withdraw() {
                // SAFETY: a spare table is in nobody's tree.
                unsafe { spare.free() };
                self.space.add_tables(-1);
            }
            self.space.add_resident(-(ENTRIES as isize));
            self.held = None;
            let mapping = self.removed(old, 0);
            self.gather.flush();
            table.unlock();
            return Some(mapping);
        }
        table.add_count(-1);
        self.space.add_resident(-1);
        Some(self.removed(old, 0))
    }

    /// Changes the permissions of the page here, if one is mapped; of a huge page only as far as the
    /// range goes.
    pub fn protect(&mut self, prot: PageProt) {
        self.split_if_partial();
        let Some((table, at)) = self.mapped() else {
            return;
        };
        let slot = table.entry(at);
        let old = update(slot, |value| entry::with_prot(value, prot));
        if entry::loses(old, entry::with_prot(old, prot)) {
            self.gather.page(self.va);
        } else {
            // An upgrade: other CPUs find out by a fault, which their handlers just retry.
            super::tlb::flush_page(self.va);
        }
    }

    /// Clears the accessed bit; returns whether it was set. TLBs are left alone: at worst an access
    /// goes unnoticed for a while.
    pub fn clear_accessed(&mut self) -> bool {
        let Some((table, at)) = self.mapped() else {
            return false;
        };
        table.entry(at).fetch_and(!ACCESSED, Ordering::AcqRel) & ACCESSED != 0
    }

    /// Clears the dirty bit; returns whether it was set. Writes after this, or at the latest after
    /// the lock is released, set it again.
    pub fn clear_dirty(&mut self) -> bool {
        let Some((table, at)) = self.mapped() else {
            return false;
        };
        let dirty = table.entry(at).fetch_and(!DIRTY, Ordering::AcqRel) & DIRTY != 0;
        if dirty {
            self.gather.page(self.va);
        }
        dirty
    }

    /// Brings TLBs up to date and releases the lock; the cursor stays where it is.
    pub fn unlock(&mut self) {
        self.flush();
        if let Some(held) = self.held.take() {
            held.table.unlock();
        }
    }

    fn flush(&mut self) {
        self.gather.flush();
        for frame in &mut self.waiting[..self.waiting_len] {
            *frame = None;
        }
        self.waiting_len = 0;
    }

    /// Locks what is at the cursor.
    fn seek(&mut self) -> Slot {
        let base = huge_base(self.va);
        if let Some(held) = self.held {
            if held.base == base {
                return if held.huge {
                    Slot::Huge(held.table, index(self.va, 2))
                } else {
                    Slot::Small(held.table, index(self.va, 1))
                };
            }
            self.unlock();
        }
        if self.va >= self.end {
            return Slot::Nothing(PAGE_SIZE);
        }
        let slot = self.space.lock_leaf(self.va);
        self.held = match slot {
            Slot::Nothing(_) => None,
            Slot::Small(table, _) => Some(Held {
                table,
                base,
                huge: false,
            }),
            Slot::Huge(table, _) => Some(Held {
                table,
                base,
                huge: true,
            }),
        };
        slot
    }

    /// Locks what is at the cursor; its entry if it maps something.
    fn mapped(&mut self) -> Option<(Table, usize)> {
        match self.seek() {
            Slot::Nothing(_) => None,
            Slot::Huge(table, at) => Some((table, at)),
            Slot::Small(table, at) => entry::is_mapped(table.load(at)).then_some((table, at)),
        }
    }

    /// Whether the cursor stands at the start of 2 MiB that its range covers.
    fn covers_huge(&self) -> bool {
        self.va == huge_base(self.va) && self.end - self.va >= HUGE_PAGE_SIZE
    }

    /// Splits a huge page here of which the cursor may only touch a part.
    fn split_if_partial(&mut self) {
        if let Slot::Huge(third, at) = self.seek()
            && !self.covers_huge()
        {
            split_huge(third, at);
            self.unlock();
        }
    }

    /// The removed entry `old` as a mapping; what TLBs may still hold is kept until the flush.
    fn removed(&mut self, old: u64, new: u64) -> Mapping {
        // SAFETY: the caller took the entry out of a table that the cursor has locked.
        let mapping = unsafe { Mapping::from_owned(old) };
        if entry::loses(old, new) {
            if self.space.only_here() && !mapping.huge {
                super::tlb::flush_page(self.va);
                return mapping;
            }
            self.gather.page(self.va);
            if self.waiting_len == MAX_HELD {
                self.flush();
            } else {
                self.waiting[self.waiting_len] = Some(mapping.frame.clone());
                self.waiting_len += 1;
            }
        }
        mapping
    }
}

impl Drop for Cursor<'_> {
    fn drop(&mut self) {
        self.unlock();
    }
}

const fn huge_base(va: usize) -> usize {
    va & !(HUGE_PAGE_SIZE - 1)
}

/// Changes an entry that the hardware may be marking at the same time; returns the old value.
pub(super) fn update(slot: &core::sync::atomic::AtomicU64, change: impl Fn(u64) -> u64) -> u64 {
    let mut old = slot.load(Ordering::Acquire);
    loop {
        match slot.compare_exchange_weak(old, change(old), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return old,
            Err(now) => old = now,
        }
    }
}
