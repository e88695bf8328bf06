//! The kernel's half of the address space.
//!
//! Built once, before there is an allocator: the direct map of all memory (never executable, and
//! read-only where the kernel's text and constants are), the image (text executable, constants
//! read-only, data writable), the frame metadata, and an empty top-level entry for the vmap area, so
//! that the top-level entries of the kernel half never change and can be copied into every root.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use super::entry::{
    ACCESSED, DIRTY, GLOBAL, KERNEL_TABLE, LARGE, NO_CACHE, NO_EXEC, PRESENT, WRITE, WRITE_THROUGH,
    is_table, pfn, with_pfn,
};
use super::table::{Table, index, span};
use super::{NoMemory, tlb};
use crate::addr::{
    DIRECT_MAP, HUGE_PAGE_SIZE, KERNEL_BASE, PAGE_SHIFT, PAGE_SIZE, PhysAddr, VMAP_START,
};
use crate::boot::{self, MemKind, MemRegion};
use crate::cpu;
use crate::frame::early::EarlyMemory;
use crate::frame::meta::meta_va;
use crate::frame::{AllocFlags, MAX_ORDER};

/// Writable data, never executable.
pub(super) const DATA: u64 = PRESENT | WRITE | ACCESSED | DIRTY | GLOBAL | NO_EXEC;
const CONSTANTS: u64 = PRESENT | ACCESSED | GLOBAL | NO_EXEC;
const TEXT: u64 = PRESENT | ACCESSED | GLOBAL;
/// Device registers.
pub(super) const DEVICE: u64 = DATA | NO_CACHE | WRITE_THROUGH;

const GIB: u64 = 1 << 30;

/// Frame number of the root; 0 until built.
static ROOT: AtomicU64 = AtomicU64::new(0);

/// The kernel's root table.
pub(super) fn root() -> Table {
    Table(ROOT.load(Ordering::Relaxed) as usize)
}

/// What to load into CR3 on a CPU that starts.
pub(crate) fn kernel_cr3() -> u64 {
    PhysAddr::from_pfn(root().0).0
}

/// Where the direct map has physical address `phys`. Only memory is mapped there: usable, ACPI, and
/// what shares a 2 MiB page with such; see [`super::map_physical`] for the rest.
pub(crate) fn phys_to_virt(phys: u64) -> usize {
    PhysAddr(phys).direct()
}

/// Builds the tables and loads them on this CPU.
pub(crate) fn build(map: &[MemRegion], early: &mut EarlyMemory) {
    let root = take_table(early);
    let mut builder = Builder { root, early };
    builder.direct_map(map);
    builder.image();
    builder.metadata(map);
    builder.table(VMAP_START, 3);
    ROOT.store(root.0 as u64, Ordering::Relaxed);
    // SAFETY: the new tables map the running code, its stack and data where they are.
    unsafe {
        core::arch::asm!("mov cr3, {}", in(reg) kernel_cr3(), options(nostack, preserves_flags));
    }
    tlb::flush_everything();
}

fn take_table(early: &mut EarlyMemory) -> Table {
    Table(early.take(1, 1).pfn())
}

struct Builder<'a> {
    root: Table,
    early: &'a mut EarlyMemory,
}

impl Builder<'_> {
    /// The table of `level` that covers `va`, made if missing.
    fn table(&mut self, va: usize, level: u32) -> Table {
        let mut table = self.root;
        for above in (level + 1..=4).rev() {
            let at = index(va, above);
            table = match table.child(at) {
                Some(child) => child,
                None => {
                    let new = take_table(self.early);
                    table
                        .entry(at)
                        .store(with_pfn(new.0, KERNEL_TABLE), Ordering::Relaxed);
                    new
                }
            };
        }
        table
    }

    /// Maps the page of `level` at `va`.
    fn page(&mut self, va: usize, phys: u64, level: u32, flags: u64) {
        let large = if level > 1 { LARGE } else { 0 };
        let entry = (phys & !(span(level) as u64 - 1)) | flags | large;
        self.table(va, level)
            .entry(index(va, level))
            .store(entry, Ordering::Relaxed);
    }

    fn direct_map(&mut self, map: &[MemRegion]) {
        let image = boot::image();
        let fixed = image.text.start - KERNEL_BASE..image.rodata.end - KERNEL_BASE;
        let fixed = fixed.start as u64..fixed.end as u64;
        let gib_pages = cpu::cpuid(0x8000_0001, 0)[3] & (1 << 26) != 0;
        let huge = HUGE_PAGE_SIZE as u64;
        for region in map.iter().filter(|region| in_direct_map(region)) {
            let mut at = region.start & !(huge - 1);
            while at < region.end {
                let gib = at..at + GIB;
                if gib_pages
                    && at.is_multiple_of(GIB)
                    && gib.end <= region.end
                    && !overlap(&gib, &fixed)
                {
                    self.page(DIRECT_MAP + at as usize, at, 3, DATA);
                    at += GIB;
                } else {
                    self.direct_huge(at, &fixed);
                    at += huge;
                }
            }
        }
    }

    /// Maps 2 MiB of the direct map, in small pages where the read-only image lies.
    fn direct_huge(&mut self, start: u64, fixed: &Range<u64>) {
        let va = DIRECT_MAP + start as usize;
        let range = start..start + HUGE_PAGE_SIZE as u64;
        let table = self.table(va, 3);
        if table.load(index(va, 3)) & LARGE != 0 {
            return;
        }
        if !overlap(&range, fixed) {
            self.page(va, start, 2, DATA);
            return;
        }
        for at in range.step_by(PAGE_SIZE) {
            let flags = if fixed.contains(&at) { CONSTANTS } else { DATA };
            self.page(DIRECT_MAP + at as usize, at, 1, flags);
        }
    }

    fn image(&mut self) {
        let image = boot::image();
        for (range, flags) in [
            (image.text, TEXT),
            (image.rodata, CONSTANTS),
            (image.data, DATA),
        ] {
            for va in range.step_by(PAGE_SIZE) {
                self.page(va, (va - KERNEL_BASE) as u64, 1, flags);
            }
        }
    }

    /// Maps metadata for every largest block that has usable memory: by huge pages where a huge
    /// page's worth of metadata (256 MiB of memory) is all needed.
    fn metadata(&mut self, map: &[MemRegion]) {
        let block = (PAGE_SIZE << MAX_ORDER) as u64;
        let frames_per_huge = HUGE_PAGE_SIZE / (meta_va(1) - meta_va(0));
        let group = frames_per_huge as u64 * PAGE_SIZE as u64;
        let end = map
            .iter()
            .filter(|r| r.kind == MemKind::Usable)
            .map(|r| r.end)
            .max();
        for start in (0..end.unwrap_or(0)).step_by(group as usize) {
            let needed = |at: u64| usable(map, at..at + block);
            let blocks = || (start..start + group).step_by(block as usize);
            let first_meta = meta_va((start >> PAGE_SHIFT) as usize);
            if blocks().all(needed) {
                let frames = HUGE_PAGE_SIZE / PAGE_SIZE;
                let phys = self.early.take(frames, frames);
                self.page(first_meta, phys.0, 2, DATA);
                continue;
            }
            for at in blocks().filter(|&at| needed(at)) {
                let from = meta_va((at >> PAGE_SHIFT) as usize);
                let to = meta_va(((at + block) >> PAGE_SHIFT) as usize);
                for va in (from..to).step_by(PAGE_SIZE) {
                    let phys = self.early.take(1, 1);
                    self.page(va, phys.0, 1, DATA);
                }
            }
        }
    }
}

fn in_direct_map(region: &MemRegion) -> bool {
    matches!(
        region.kind,
        MemKind::Usable | MemKind::AcpiReclaimable | MemKind::AcpiNvs
    ) || region.end <= 1 << 20
}

fn usable(map: &[MemRegion], range: Range<u64>) -> bool {
    map.iter()
        .any(|r| r.kind == MemKind::Usable && overlap(&(r.start..r.end), &range))
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// The leaf entry for `va` in the vmap area, with the tables above it made.
pub(super) fn vmap_entry(va: usize) -> Result<&'static AtomicU64, NoMemory> {
    let mut table = root();
    for level in [4, 3, 2] {
        let slot = table.entry(index(va, level));
        let value = slot.load(Ordering::Acquire);
        table = if is_table(value) {
            Table(pfn(value))
        } else {
            let new = Table::alloc_with(AllocFlags::ZERO)?;
            let value = with_pfn(new.0, KERNEL_TABLE);
            match slot.compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => new,
                Err(theirs) => {
                    // SAFETY: nobody has seen the new table.
                    unsafe { new.free() };
                    Table(pfn(theirs))
                }
            }
        };
    }
    Ok(table.entry(index(va, 1)))
}

/// Whether the kernel's tables map `va`.
pub(super) fn is_mapped(va: usize) -> bool {
    let mut table = root();
    for level in [4, 3, 2] {
        let value = table.load(index(va, level));
        if !is_table(value) {
            return value & PRESENT != 0;
        }
        table = Table(pfn(value));
    }
    table.load(index(va, 1)) & PRESENT != 0
}
