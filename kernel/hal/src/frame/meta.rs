//! What is known about each frame: a 32-byte entry in an array indexed by frame number.
//!
//! The array is mapped only where there is memory, in units of the largest block, so a frame number
//! is to be used only when it came from the allocator, from a page-table entry, or lies in the same
//! largest block as such a one. All fields are atomics; who may write which when is said at each.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::addr::FRAME_META;

/// "No frame" in list links.
pub(crate) const NONE: u32 = u32::MAX;

/// What a frame is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Not the allocator's: device, firmware, kernel image. Zero, as fresh metadata is.
    Reserved = 0,
    /// Head of a free block.
    Free = 1,
    /// Allocated, the head of its block.
    Used = 2,
    /// Inside a counted block; `prev` names the head.
    Tail = 3,
    /// A page table.
    Table = 4,
    /// A slab of small heap objects.
    Slab = 5,
}

/// The metadata of one frame.
#[repr(C, align(32))]
pub(crate) struct Meta {
    /// References to the block (heads of counted blocks).
    pub(crate) refs: AtomicU32,
    /// A [`Kind`]; written by the owner of the frame.
    kind: AtomicU8,
    /// log2 of the block's size in frames; valid in heads.
    order: AtomicU8,
    /// Bits that belong to the kernel's page cache and memory manager.
    pub(crate) flags: AtomicU8,
    /// Size class of a slab.
    pub(crate) class: AtomicU8,
    /// Links of the free lists and slab lists, under the lock of the list. Tail: frame number of
    /// the head, in `prev`.
    pub(crate) prev: AtomicU32,
    /// See `prev`.
    pub(crate) next: AtomicU32,
    /// The lock of a page table, used for nothing else: somebody who comes too late for a table
    /// may still take and release it when the frame has become something else.
    pub(crate) lock: AtomicU32,
    /// Table: entries in use, under its lock. Slab: objects in use, under its class's lock.
    pub(crate) count: AtomicU32,
    /// Slab: address of the first free object, under its class's lock.
    pub(crate) private: AtomicU64,
}

const _: () = assert!(size_of::<Meta>() == 32);

impl Meta {
    pub(crate) fn kind(&self) -> Kind {
        match self.kind.load(Ordering::Relaxed) {
            1 => Kind::Free,
            2 => Kind::Used,
            3 => Kind::Tail,
            4 => Kind::Table,
            5 => Kind::Slab,
            _ => Kind::Reserved,
        }
    }

    pub(crate) fn set_kind(&self, kind: Kind) {
        self.kind.store(kind as u8, Ordering::Relaxed);
    }

    pub(crate) fn order(&self) -> u32 {
        u32::from(self.order.load(Ordering::Relaxed))
    }

    pub(crate) fn set_order(&self, order: u32) {
        self.order.store(order as u8, Ordering::Relaxed);
    }
}

/// The address of the entry of frame `pfn`.
pub(crate) const fn meta_va(pfn: usize) -> usize {
    FRAME_META + pfn * size_of::<Meta>()
}

/// The metadata of frame `pfn`, which must be one of those the module comment names.
#[inline]
pub(crate) fn meta(pfn: usize) -> &'static Meta {
    // SAFETY: the array is mapped, zero-initialised and never unmapped wherever the allocator has
    // frames, rounded out to the largest block; callers only use such numbers.
    unsafe { &*(meta_va(pfn) as *const Meta) }
}
