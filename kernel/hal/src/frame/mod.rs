//! Physical page frames: the counted handle [`Frame`] and the allocator behind it.
//!
//! * `meta`: the metadata array, one entry per frame.
//! * `buddy`: free blocks of up to 4 MiB, under one lock.
//! * `cache`: per-CPU caches of single frames, without a lock.
//! * `contents`: reading and writing what is in a frame.
//! * `early`: finding memory before there is an allocator.
//!
//! A [`Frame`] names a block of 2^order frames or, by [`Frame::subpage`], one page of a block; all
//! handles count in the block's head, and the block is freed when the last handle goes. Page-table
//! entries own such a count as well.

mod buddy;
pub(crate) mod bytes;
mod cache;
mod contents;
pub(crate) mod early;
pub(crate) mod meta;

use core::fmt;
use core::num::NonZeroU64;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering, fence};

use crate::addr::{PAGE_SIZE, PhysAddr};
use crate::boot::MemRegion;
use crate::{cpu, paging, user};
use buddy::BUDDY;
use meta::{Kind, Meta, meta};

bitflags::bitflags! {
    /// How to allocate a frame.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AllocFlags: u32 {
        /// Fill with zeroes.
        const ZERO = 1;
        /// For user memory or page cache: fails below the low watermark, so that the kernel
        /// itself keeps a reserve.
        const USER = 2;
        /// Do not try to free memory by any slow means.
        const NOWAIT = 4;
    }
}

/// Order of a huge page.
pub const HUGE_ORDER: u32 = 9;
/// The largest order the allocator serves.
pub const MAX_ORDER: u32 = 10;

/// From here on a reference count sticks: its block is never freed, rather than freed too early.
const STICKY: u32 = 1 << 31;

static TOTAL: AtomicUsize = AtomicUsize::new(0);
static LOW_WATERMARK: AtomicUsize = AtomicUsize::new(0);

/// The state of physical memory, in frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameStats {
    /// Frames the allocator manages.
    pub total: usize,
    /// Free frames, the per-CPU caches' included.
    pub free: usize,
    /// Below this, [`AllocFlags::USER`] requests fail.
    pub low_watermark: usize,
    /// Free blocks of each order.
    pub free_blocks: [usize; MAX_ORDER as usize + 1],
}

/// The state of physical memory now.
pub fn stats() -> FrameStats {
    let (free, free_blocks) = {
        let buddy = BUDDY.lock();
        (buddy.free_frames(), buddy.blocks())
    };
    FrameStats {
        total: TOTAL.load(Ordering::Relaxed),
        free: free + cache::cached(),
        low_watermark: LOW_WATERMARK.load(Ordering::Relaxed),
        free_blocks,
    }
}

/// Returns the per-CPU caches of all CPUs to the common pool. Waits for the other CPUs.
pub fn drain_caches() {
    cpu::call_on_all(&cache::drain_local, true);
}

/// Takes over the memory of `map` except `reserved` (physical ranges), and switches to the kernel's
/// own page tables, in which the metadata lives. Runs once, on the boot CPU, in the boot tables.
pub(crate) fn init(map: &[MemRegion], reserved: &[Range<u64>]) {
    user::init();
    bytes::init();
    let mut early = early::EarlyMemory::new(map, reserved);
    paging::kernel::build(map, &mut early);
    let mut total = 0;
    {
        let mut buddy = BUDDY.lock();
        for range in early.into_free() {
            total += range.len();
            buddy.add_range(range.start, range.end);
        }
    }
    TOTAL.store(total, Ordering::Relaxed);
    // As Linux sizes its reserve: the square root of 16 times the memory in KiB, and a quarter more.
    let reserve_kib = (total * PAGE_SIZE / 1024 * 16).isqrt();
    LOW_WATERMARK.store((reserve_kib / 4 * 5 / 4).min(total / 8), Ordering::Relaxed);
}

/// Takes a block of 2^`order` frames without making a handle; the head's count is not set.
pub(crate) fn alloc_block(order: u32, flags: AllocFlags) -> Option<usize> {
    if flags.contains(AllocFlags::USER) && below_watermark(1 << order) {
        return None;
    }
    let pfn = if order == 0 {
        cache::alloc()?
    } else {
        alloc_large(order, flags)?
    };
    if flags.contains(AllocFlags::ZERO) {
        // SAFETY: the block was just allocated, nobody else knows it; the direct map covers it.
        unsafe { bytes::zero_pages(PhysAddr::from_pfn(pfn).direct(), 1 << order) };
    }
    Some(pfn)
}

fn alloc_large(order: u32, flags: AllocFlags) -> Option<usize> {
    if order > MAX_ORDER {
        return None;
    }
    let found = BUDDY.lock().alloc(order);
    if found.is_some() || flags.contains(AllocFlags::NOWAIT) {
        return found;
    }
    // Frames in this CPU's cache may be what keeps a block from merging.
    cache::drain_local();
    BUDDY.lock().alloc(order)
}

/// Gives back a block from [`alloc_block`].
///
/// # Safety
/// Nothing refers to the block any more.
pub(crate) unsafe fn free_block(pfn: usize, order: u32) {
    if order == 0 {
        cache::free(pfn)
    } else {
        BUDDY.lock().free(pfn, order)
    }
}

/// Whether taking `frames` would go below the reserve. Without the lock: the figure may be a few
/// frames off, which a reserve bears.
fn below_watermark(frames: usize) -> bool {
    buddy::free_estimate() < LOW_WATERMARK.load(Ordering::Relaxed) + frames
}

/// A counted handle to a page frame, to a block of 2^order frames, or to one page of a block.
pub struct Frame(
    /// Frame number << 8 | order. Frame 0 is never handed out.
    NonZeroU64,
);

impl Frame {
    /// One frame.
    pub fn alloc(flags: AllocFlags) -> Option<Frame> {
        Self::alloc_contiguous(0, flags)
    }

    /// A 2 MiB block, aligned to its size.
    pub fn alloc_huge(flags: AllocFlags) -> Option<Frame> {
        Self::alloc_contiguous(HUGE_ORDER, flags)
    }

    /// A block of 2^`order` frames, aligned to its size; `None` also above [`MAX_ORDER`].
    pub fn alloc_contiguous(order: u32, flags: AllocFlags) -> Option<Frame> {
        let pfn = alloc_block(order, flags)?;
        let head = meta(pfn);
        head.flags.store(0, Ordering::Relaxed);
        head.refs.store(1, Ordering::Relaxed);
        for tail in 1..1 << order {
            let entry = meta(pfn + tail);
            entry.set_kind(Kind::Tail);
            entry.flags.store(0, Ordering::Relaxed);
            entry.prev.store(pfn as u32, Ordering::Relaxed);
        }
        Some(Frame::from_parts(pfn, order))
    }

    fn from_parts(pfn: usize, order: u32) -> Frame {
        match NonZeroU64::new((pfn as u64) << 8 | u64::from(order)) {
            Some(value) => Frame(value),
            None => unreachable!("frame 0 is never handed out"),
        }
    }

    /// Takes over a count that a page-table entry owned.
    ///
    /// # Safety
    /// The caller owns one count of the block that `pfn` belongs to, and gives it up. `order` is 0,
    /// or the order of the block that `pfn` heads.
    pub(crate) unsafe fn from_owned(pfn: usize, order: u32) -> Frame {
        Frame::from_parts(pfn, order)
    }

    /// Gives up the handle but keeps its count, for a page-table entry.
    pub(crate) fn into_owned(self) -> usize {
        let pfn = self.pfn();
        core::mem::forget(self);
        pfn
    }

    /// Makes another handle to what a page-table entry refers to.
    ///
    /// # Safety
    /// The caller keeps the entry from being removed meanwhile. `order` as for
    /// [`from_owned`](Self::from_owned).
    pub(crate) unsafe fn from_borrowed(pfn: usize, order: u32) -> Frame {
        let frame = Frame::from_parts(pfn, order);
        frame.add_refs(1);
        frame
    }

    /// Adds `n` counts that page-table entries will own.
    pub(crate) fn add_refs(&self, n: u32) {
        let refs = &self.head().refs;
        if refs.fetch_add(n, Ordering::Relaxed) >= STICKY {
            refs.store(STICKY + STICKY / 2, Ordering::Relaxed);
        }
    }

    /// Gives each page of the block that this handle is the first page of a count of its own: the block falls
    /// apart into single frames if nobody else has a handle to it; else it stays a block, with one count more for
    /// each further page.
    ///
    /// # Safety
    /// The block has 2^`order` frames. Its page-table entry, which this handle stands for, has become one entry for
    /// each page, which nobody can reach yet.
    pub(crate) unsafe fn break_up(&self, order: u32) {
        let pages = 1 << order;
        let head = self.head();
        let alone = self.pfn() == self.head_pfn()
            && head.order() == order
            && head.refs.load(Ordering::Acquire) == 1;
        if !alone {
            self.add_refs(pages - 1);
            return;
        }
        // Nobody can get a handle from anywhere: the one count is that of the entry, whose table is locked.
        head.set_order(0);
        for page in 1..pages as usize {
            let entry = meta(self.pfn() + page);
            entry.refs.store(1, Ordering::Relaxed);
            entry.set_order(0);
            entry.set_kind(Kind::Used);
        }
    }

    /// The metadata where the block is counted.
    #[inline]
    fn head(&self) -> &'static Meta {
        meta(self.head_pfn())
    }

    #[inline]
    fn head_pfn(&self) -> usize {
        let own = meta(self.pfn());
        if own.kind() == Kind::Tail {
            own.prev.load(Ordering::Relaxed) as usize
        } else {
            self.pfn()
        }
    }

    /// The physical address.
    pub fn phys(&self) -> PhysAddr {
        PhysAddr::from_pfn(self.pfn())
    }

    /// The frame number.
    #[inline]
    pub fn pfn(&self) -> usize {
        (self.0.get() >> 8) as usize
    }

    /// log2 of the number of frames.
    #[inline]
    pub fn order(&self) -> u32 {
        (self.0.get() & 0xff) as u32
    }

    /// Bytes.
    #[inline]
    pub fn size(&self) -> usize {
        PAGE_SIZE << self.order()
    }

    /// A handle to page `index` of the block; `None` outside of it.
    pub fn subpage(&self, index: usize) -> Option<Frame> {
        if index >= 1 << self.order() {
            return None;
        }
        self.add_refs(1);
        Some(Frame::from_parts(self.pfn() + index, 0))
    }

    /// How many handles and mappings the block has at the moment.
    pub fn ref_count(&self) -> u32 {
        self.head().refs.load(Ordering::Acquire)
    }

    /// Whether both are handles to the same memory.
    pub fn same(&self, other: &Frame) -> bool {
        self.0 == other.0
    }

    /// The kernel's flag bits of this frame.
    pub fn flags(&self) -> u8 {
        meta(self.pfn()).flags.load(Ordering::Acquire)
    }

    /// Sets the flag `bits`; returns the bits before.
    pub fn flags_set(&self, bits: u8) -> u8 {
        meta(self.pfn()).flags.fetch_or(bits, Ordering::AcqRel)
    }

    /// Clears the flag `bits`; returns the bits before.
    pub fn flags_clear(&self, bits: u8) -> u8 {
        meta(self.pfn()).flags.fetch_and(!bits, Ordering::AcqRel)
    }

    /// Whether all flag `bits` are set.
    pub fn flags_test(&self, bits: u8) -> bool {
        self.flags() & bits == bits
    }
}

impl Clone for Frame {
    fn clone(&self) -> Frame {
        self.add_refs(1);
        Frame(self.0)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let pfn = self.head_pfn();
        let head = meta(pfn);
        let before = head.refs.fetch_sub(1, Ordering::Release);
        if before == 1 {
            fence(Ordering::Acquire);
            // SAFETY: this was the last count, so nothing refers to the block any more.
            unsafe { free_block(pfn, head.order()) };
        } else if before > STICKY {
            head.refs.store(STICKY + STICKY / 2, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Frame({:#x}, order {}, {} refs)",
            self.phys().0,
            self.order(),
            self.ref_count()
        )
    }
}
