//! The buddy allocator: free blocks of 2^order frames, each aligned to its size, on one list per
//! order. A freed block merges with its buddy, the other half of the next larger block, while that
//! is free too. One lock with interrupts off; the per-CPU caches keep single frames away from it.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::MAX_ORDER;
use super::meta::{Kind, NONE, meta};
use crate::sync::IrqLock;

pub(super) const ORDERS: usize = MAX_ORDER as usize + 1;

/// The free lists.
pub(super) struct Buddy {
    heads: [u32; ORDERS],
    blocks: [usize; ORDERS],
    free: usize,
}

pub(super) static BUDDY: IrqLock<Buddy> = IrqLock::new(Buddy {
    heads: [NONE; ORDERS],
    blocks: [0; ORDERS],
    free: 0,
});

/// A copy of `Buddy::free` that is read without the lock.
static FREE: AtomicUsize = AtomicUsize::new(0);

/// About how many frames are free here, without the lock.
pub(super) fn free_estimate() -> usize {
    FREE.load(Ordering::Relaxed)
}

impl Buddy {
    /// Takes a block of 2^`order` frames; its head is marked used.
    pub(super) fn alloc(&mut self, order: u32) -> Option<usize> {
        let found = (order as usize..ORDERS).find(|&o| self.heads[o] != NONE)?;
        let pfn = self.heads[found] as usize;
        self.unlink(pfn, found);
        // Give back the upper halves that are not needed.
        for o in (order as usize..found).rev() {
            self.link(pfn + (1 << o), o);
        }
        let head = meta(pfn);
        head.set_kind(Kind::Used);
        head.set_order(order);
        self.set_free(self.free - (1 << order));
        Some(pfn)
    }

    /// Gives back the block of 2^`order` frames at `pfn`.
    pub(super) fn free(&mut self, mut pfn: usize, order: u32) {
        self.set_free(self.free + (1 << order));
        let mut order = order as usize;
        meta(pfn).set_kind(Kind::Reserved);
        while order < MAX_ORDER as usize {
            let buddy = pfn ^ (1 << order);
            let other = meta(buddy);
            if other.kind() != Kind::Free || other.order() as usize != order {
                break;
            }
            self.unlink(buddy, order);
            pfn &= !(1 << order);
            order += 1;
        }
        self.link(pfn, order);
    }

    /// Gives the frames `start..end` to the allocator, in the largest aligned blocks.
    pub(super) fn add_range(&mut self, mut start: usize, end: usize) {
        while start < end {
            let aligned = start.trailing_zeros().min(MAX_ORDER);
            let order = aligned.min((end - start).ilog2());
            self.free(start, order);
            start += 1 << order;
        }
    }

    pub(super) fn free_frames(&self) -> usize {
        self.free
    }

    pub(super) fn blocks(&self) -> [usize; ORDERS] {
        self.blocks
    }

    fn set_free(&mut self, free: usize) {
        self.free = free;
        FREE.store(free, Ordering::Relaxed);
    }

    fn link(&mut self, pfn: usize, order: usize) {
        let entry = meta(pfn);
        let first = self.heads[order];
        entry.set_kind(Kind::Free);
        entry.set_order(order as u32);
        entry.prev.store(NONE, Ordering::Relaxed);
        entry.next.store(first, Ordering::Relaxed);
        if first != NONE {
            meta(first as usize)
                .prev
                .store(pfn as u32, Ordering::Relaxed);
        }
        self.heads[order] = pfn as u32;
        self.blocks[order] += 1;
    }

    fn unlink(&mut self, pfn: usize, order: usize) {
        let entry = meta(pfn);
        let prev = entry.prev.load(Ordering::Relaxed);
        let next = entry.next.load(Ordering::Relaxed);
        if prev == NONE {
            self.heads[order] = next;
        } else {
            meta(prev as usize).next.store(next, Ordering::Relaxed);
        }
        if next != NONE {
            meta(next as usize).prev.store(prev, Ordering::Relaxed);
        }
        entry.set_kind(Kind::Reserved);
        self.blocks[order] -= 1;
    }
}
