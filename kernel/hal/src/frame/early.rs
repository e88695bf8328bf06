//! Memory before there is an allocator: the free ranges of the memory map, and pieces cut off them
//! for the kernel's page tables and the frame metadata.

use core::ops::Range;

use crate::addr::{PAGE_SIZE, PhysAddr};
use crate::boot::{MemKind, MemRegion};
use crate::frame::bytes;

/// Most free ranges that are kept; more of them, which no real machine has, are left unused.
const MAX_RANGES: usize = 64;
/// The boot page tables reach this far.
const BOOT_MAPPED: u64 = 4 << 30;
/// Never handed out: the processors' start-up code lives here.
const LOW_RESERVED: u64 = 0x1_0000;

/// Free frame ranges.
pub(crate) struct EarlyMemory {
    ranges: [Range<usize>; MAX_RANGES],
    len: usize,
}

impl EarlyMemory {
    /// The usable memory of `map` without `reserved`.
    pub(crate) fn new(map: &[MemRegion], reserved: &[Range<u64>]) -> Self {
        let mut memory = EarlyMemory {
            ranges: [const { 0..0 }; MAX_RANGES],
            len: 0,
        };
        for region in map.iter().filter(|region| region.kind == MemKind::Usable) {
            let page = PAGE_SIZE as u64;
            let start = (region.start.max(LOW_RESERVED)).div_ceil(page) as usize;
            let end = (region.end / page) as usize;
            memory.push(start..end);
        }
        // Whatever the firmware calls reserved wins over an overlapping usable entry.
        for region in map.iter().filter(|region| region.kind != MemKind::Usable) {
            memory.remove(region.start..region.end);
        }
        for range in reserved {
            memory.remove(range.clone());
        }
        memory
    }

    fn push(&mut self, range: Range<usize>) {
        if range.start < range.end && self.len < MAX_RANGES {
            self.ranges[self.len] = range;
            self.len += 1;
        }
    }

    /// Takes the bytes `hole` out, and with them every frame they touch.
    fn remove(&mut self, hole: Range<u64>) {
        let start = (hole.start / PAGE_SIZE as u64) as usize;
        let end = hole.end.div_ceil(PAGE_SIZE as u64) as usize;
        if start >= end {
            return;
        }
        for i in 0..self.len {
            let range = self.ranges[i].clone();
            if range.end <= start || end <= range.start {
                continue;
            }
            self.ranges[i] = range.start..start.max(range.start);
            self.push(end.min(range.end)..range.end);
        }
    }

    /// Cuts off `frames` frames, aligned to `align` frames, zeroed, inside the boot tables' reach.
    /// Panics when there are none: without this memory the kernel cannot start.
    pub(crate) fn take(&mut self, frames: usize, align: usize) -> PhysAddr {
        let reach = BOOT_MAPPED as usize / PAGE_SIZE;
        for i in (0..self.len).rev() {
            let range = self.ranges[i].clone();
            let end = range.end.min(reach);
            let Some(start) = end.checked_sub(frames).map(|at| at / align * align) else {
                continue;
            };
            if start < range.start {
                continue;
            }
            self.ranges[i] = range.start..start;
            self.push(start + frames..range.end);
            let phys = PhysAddr::from_pfn(start);
            // SAFETY: free memory that nobody else gets; the boot tables' direct map covers it.
            unsafe { bytes::zero_pages(phys.direct(), frames) };
            return phys;
        }
        panic!("not enough memory to start: {frames} frames wanted");
    }

    /// What is left, as ranges of frame numbers.
    pub(crate) fn into_free(self) -> impl Iterator<Item = Range<usize>> {
        self.ranges
            .into_iter()
            .take(self.len)
            .filter(|range| !range.is_empty())
    }
}
