//! The vmap area: kernel stacks with guard pages, large heap objects, windows on device registers.
//!
//! Address space is handed out in power-of-two numbers of pages, each piece followed by an unmapped
//! page. What is freed is unmapped at once, but their addresses are used again only after a flush of
//! all TLBs, which is made for many of them together.

use alloc::vec::Vec;
use core::mem::size_of;
use core::sync::atomic::Ordering;

use super::entry::{pfn, with_pfn};
use super::kernel::{self, DATA, DEVICE};
use super::{NoMemory, tlb};
use crate::addr::{DIRECT_MAP, PAGE_SIZE, VMAP_END, VMAP_START, page_align_down, pages_for};
use crate::frame::{self, AllocFlags};
use crate::sync::IrqLock;
use crate::{cpu, irq};

/// Pieces of up to 2^15 pages (128 MiB) are recycled.
const CLASSES: usize = 16;
/// Flush when this many pieces wait for it.
const FLUSH_AT: usize = 32;

struct Area {
    next: usize,
    free: [Vec<usize>; CLASSES],
    /// Unmapped, but perhaps still in some TLB: class and address.
    stale: Vec<(u8, usize)>,
}

static AREA: IrqLock<Area> = IrqLock::new(Area {
    next: VMAP_START,
    free: [const { Vec::new() }; CLASSES],
    stale: Vec::new(),
});

/// The class of a piece of `pages` pages and its guard.
fn class_of(pages: usize) -> usize {
    (pages + 1).next_power_of_two().trailing_zeros() as usize
}

/// Address space for `pages` pages; the page before it and the page after it are never mapped.
fn reserve(pages: usize) -> Option<usize> {
    flush_stale();
    let class = class_of(pages);
    let mut area = AREA.lock();
    if let Some(va) = area.free.get_mut(class).and_then(Vec::pop) {
        return Some(va);
    }
    // The very first page of the area is skipped, as the guard of the first piece.
    let start = area.next + PAGE_SIZE;
    let end = area.next.checked_add(PAGE_SIZE << class)?;
    if end > VMAP_END {
        return None;
    }
    area.next = end;
    Some(start)
}

/// Gives address space back, unmapped.
fn release(va: usize, pages: usize) {
    let class = class_of(pages);
    if class < CLASSES {
        AREA.lock().stale.push((class as u8, va));
    }
}

/// Makes stale addresses usable again when there are many, if this is a place where one may wait.
fn flush_stale() {
    if !irq::enabled() || cpu::preempt_count() != 0 {
        return;
    }
    let stale = {
        let mut area = AREA.lock();
        if area.stale.len() < FLUSH_AT {
            return;
        }
        core::mem::take(&mut area.stale)
    };
    cpu::call_on_all(&tlb::flush_everything, true);
    let mut area = AREA.lock();
    for (class, va) in stale {
        area.free[usize::from(class)].push(va);
    }
}

/// Maps the frames of `phys` (page-aligned) at `va`.
fn map(va: usize, phys: u64, pages: usize, flags: u64) -> Result<(), NoMemory> {
    for page in 0..pages {
        let entry = kernel::vmap_entry(va + page * PAGE_SIZE)?;
        entry.store(
            (phys + (page * PAGE_SIZE) as u64) | flags,
            Ordering::Release,
        );
    }
    Ok(())
}

/// A kernel stack; the page below it is not mapped, so that an overflow faults.
#[derive(Debug)]
pub struct KernelStack {
    bottom: usize,
    pages: usize,
}

impl KernelStack {
    /// A stack of `pages` pages; `None` without memory.
    pub fn new(pages: usize) -> Option<KernelStack> {
        let bottom = alloc_pages(pages, AllocFlags::ZERO)?;
        Some(KernelStack { bottom, pages })
    }

    /// One past the highest byte; 16-byte aligned.
    pub fn top(&self) -> usize {
        self.bottom + self.pages * PAGE_SIZE
    }

    /// The lowest byte.
    pub fn bottom(&self) -> usize {
        self.bottom
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        // SAFETY: the owner of a stack drops it when nothing runs on it any more.
        unsafe { free_pages(self.bottom, self.pages) };
    }
}

/// Memory for `pages` pages that are contiguous only to the kernel, for large heap objects.
pub(crate) fn alloc_pages(pages: usize, flags: AllocFlags) -> Option<usize> {
    let base = reserve(pages)?;
    for page in 0..pages {
        if map_new_page(base + page * PAGE_SIZE, flags).is_none() {
            // SAFETY: these pages were mapped just now, and nobody knows them.
            unsafe { unmap(base, page) };
            release(base, pages);
            return None;
        }
    }
    Some(base)
}

/// Gives back what [`alloc_pages`] gave.
///
/// # Safety
/// Nothing refers to the memory any more.
pub(crate) unsafe fn free_pages(base: usize, pages: usize) {
    // SAFETY: passed on.
    unsafe { unmap(base, pages) };
    release(base, pages);
}

/// Whether `va` lies in the vmap area.
pub(crate) fn contains(va: usize) -> bool {
    (VMAP_START..VMAP_END).contains(&va)
}

/// Maps a new frame at `va`, which is reserved.
fn map_new_page(va: usize, flags: AllocFlags) -> Option<()> {
    let entry = kernel::vmap_entry(va).ok()?;
    let frame = frame::alloc_block(0, flags)?;
    entry.store(with_pfn(frame, DATA), Ordering::Release);
    Some(())
}

/// Unmaps and frees `pages` pages that [`map_new_page`] mapped.
///
/// # Safety
/// Nothing refers to the memory any more.
unsafe fn unmap(base: usize, pages: usize) {
    for va in (0..pages).map(|page| base + page * PAGE_SIZE) {
        if let Ok(entry) = kernel::vmap_entry(va) {
            let old = entry.swap(0, Ordering::AcqRel);
            tlb::flush_page(va);
            // SAFETY: the page's own frame. Another CPU's TLB may still have it, but nothing uses
            // this address until `flush_stale` has flushed it.
            unsafe { frame::free_block(pfn(old), 0) };
        }
    }
}

/// A window on device registers or firmware memory. Windows stay mapped for good.
#[derive(Clone, Copy, Debug)]
pub struct Mmio {
    base: usize,
    len: usize,
}

/// Types that device registers have.
pub trait Register: Copy + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! registers {
    ($($t:ty),*) => { $(impl sealed::Sealed for $t {} impl Register for $t {})* };
}
registers!(u8, u16, u32, u64);

impl Mmio {
    /// Reads the register at byte offset `off`. Panics outside the window or when misaligned.
    pub fn read<T: Register>(&self, off: usize) -> T {
        let va = self.place::<T>(off);
        // SAFETY: inside a mapped window and aligned; any value is a valid integer. One plain load
        // instruction, as devices and hypervisors want it.
        unsafe { (va as *const T).read_volatile() }
    }

    /// Writes the register at byte offset `off`. Panics outside the window or when misaligned.
    pub fn write<T: Register>(&self, off: usize, value: T) {
        let va = self.place::<T>(off);
        // SAFETY: inside a mapped window and aligned.
        unsafe { (va as *mut T).write_volatile(value) };
    }

    /// A smaller window; `None` outside of this one.
    pub fn window(&self, off: usize, len: usize) -> Option<Mmio> {
        (off.checked_add(len)? <= self.len).then(|| Mmio {
            base: self.base + off,
            len,
        })
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn place<T>(&self, off: usize) -> usize {
        let end = off.checked_add(size_of::<T>());
        assert!(
            end.is_some_and(|end| end <= self.len),
            "register {off:#x} of {:#x}",
            self.len
        );
        let va = self.base + off;
        assert!(
            va.is_multiple_of(size_of::<T>()),
            "misaligned register {off:#x}"
        );
        va
    }
}

/// Maps device registers, uncached; `None` without memory.
pub(crate) fn try_map_mmio(phys: u64, len: usize) -> Option<Mmio> {
    let base = map_physical(phys, len, false)?;
    Some(Mmio { base, len })
}

/// Maps the registers of a device that the machine cannot do without. Panics without memory.
pub(crate) fn map_mmio(phys: u64, len: usize) -> Mmio {
    try_map_mmio(phys, len)
        .unwrap_or_else(|| panic!("no memory to map device registers at {phys:#x}"))
}

/// Makes physical memory outside the allocator's reach visible: firmware tables, cached or not.
/// What the direct map has already (and is asked for as cached) is returned as such.
pub(crate) fn map_physical(phys: u64, len: usize, cached: bool) -> Option<usize> {
    if cached && is_in_direct_map(phys, len) {
        return Some(kernel::phys_to_virt(phys));
    }
    let start = phys & !(PAGE_SIZE as u64 - 1);
    let offset = (phys - start) as usize;
    let pages = pages_for(offset.checked_add(len)?);
    let va = reserve(pages)?;
    map(va, start, pages, if cached { DATA } else { DEVICE }).ok()?;
    Some(va + offset)
}

fn is_in_direct_map(phys: u64, len: usize) -> bool {
    let start = page_align_down(phys as usize);
    let Some(end) = (phys as usize).checked_add(len) else {
        return false;
    };
    (start..end)
        .step_by(PAGE_SIZE)
        .all(|at| kernel::is_mapped(DIRECT_MAP + at))
}
