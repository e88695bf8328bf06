//! Whole address spaces: making, loading and taking down [`PageTable`]s.

use alloc::sync::Arc;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::entry::{self, ENTRIES};
use super::kernel;
use super::table::Table;
use crate::addr::PhysAddr;
use crate::cpu::{self, AtomicCpuMask, CpuMask};
use crate::frame::{Frame, HUGE_ORDER};
use crate::irq;
use crate::sync::{pop_off, push_off, rcu};

/// The page table of an address space: a user half of its own and the shared kernel half.
///
/// All methods but those that take `&mut self` may run at the same time on several CPUs; see the
/// locking protocol in `table`. TLBs are up to date when a method returns, or when the cursor that
/// made the change leaves the leaf table or is dropped.
pub struct PageTable {
    root: Table,
    /// Mapped pages of 4 KiB; a huge page counts 512.
    resident: AtomicUsize,
    /// Frames used for tables, the root included.
    tables: AtomicUsize,
    /// CPUs that have it loaded.
    active: AtomicCpuMask,
}

/// What a CPU has loaded; touched only by that CPU with interrupts off.
#[repr(align(64))]
struct Loaded {
    space: UnsafeCell<Option<Arc<PageTable>>>,
    /// A kernel task runs that does not need it.
    lazy: AtomicBool,
}

// SAFETY: `space` is only touched by the owning CPU, with interrupts off.
unsafe impl Sync for Loaded {}

static LOADED: [Loaded; cpu::MAX_CPUS] = [const {
    Loaded {
        space: UnsafeCell::new(None),
        lazy: AtomicBool::new(false),
    }
}; cpu::MAX_CPUS];

impl PageTable {
    /// An empty address space; `None` without memory.
    pub fn new() -> Option<PageTable> {
        let root = Table::alloc().ok()?;
        for index in ENTRIES / 2..ENTRIES {
            let value = kernel::root().load(index);
            root.entry(index).store(value, Ordering::Relaxed);
        }
        Some(PageTable {
            root,
            resident: AtomicUsize::new(0),
            tables: AtomicUsize::new(1),
            active: AtomicCpuMask::new(),
        })
    }

    /// Mapped pages of 4 KiB; a huge page counts 512.
    pub fn resident(&self) -> usize {
        self.resident.load(Ordering::Relaxed)
    }

    /// Frames that the tables themselves take.
    pub fn table_pages(&self) -> usize {
        self.tables.load(Ordering::Relaxed)
    }

    pub(super) fn root(&self) -> Table {
        self.root
    }

    pub(super) fn active_cpus(&self) -> CpuMask {
        self.active.load()
    }

    /// Whether no other CPU than this one has the table loaded.
    pub(super) fn only_here(&self) -> bool {
        let mut mask = self.active.load();
        mask.clear(cpu::id());
        mask.is_empty()
    }

    pub(super) fn add_resident(&self, pages: isize) {
        self.resident.fetch_add(pages as usize, Ordering::Relaxed);
    }

    pub(super) fn add_tables(&self, tables: isize) {
        self.tables.fetch_add(tables as usize, Ordering::Relaxed);
    }

    /// Makes CPUs that only keep the table loaded lazily let go of it: to be called when its last user
    /// is gone, so that the memory comes back with the last reference instead of whenever those CPUs
    /// load another table. Waits for them; where one may not wait, nothing is done.
    pub fn unload_lazy(&self) {
        if !irq::enabled() || cpu::preempt_count() != 0 {
            return;
        }
        let mut mask = self.active.load();
        if mask.test(cpu::id()) {
            leave_if_lazy();
            mask.clear(cpu::id());
        }
        if !mask.is_empty() {
            cpu::call_on(&mask, &|| {
                leave_if_lazy();
            });
        }
    }

    /// Frees tables that map nothing. (`unmap_range` frees empty leaf tables by itself.)
    pub fn free_empty_tables(&mut self) {
        // Exclusive access also means that no CPU has it loaded: each that has keeps a reference.
        let mut freed = 0;
        for index in 0..ENTRIES / 2 {
            prune(self.root, index, 3, &mut freed);
        }
        self.add_tables(-freed);
    }
}

/// Frees what is empty at and below the table of `level` that entry `index` of `parent` refers to.
/// Exclusive access to the tree.
fn prune(parent: Table, index: usize, level: u32, freed: &mut isize) {
    let Some(table) = parent.child(index) else {
        return;
    };
    if level > 1 {
        for below in 0..ENTRIES {
            prune(table, below, level - 1, freed);
        }
    }
    if (0..ENTRIES).all(|i| table.load(i) == 0) {
        parent.entry(index).store(0, Ordering::Relaxed);
        // SAFETY: empty, detached, and in no TLB as no CPU has the tree loaded.
        unsafe { table.free() };
        *freed += 1;
    }
}

/// Frees `table`, which stands at `level`, with all below it. Exclusive access to the tree.
fn free_tree(table: Table, level: u32) {
    for index in 0..ENTRIES {
        let value = table.load(index);
        if level > 1 && entry::is_table(value) {
            free_tree(Table(entry::pfn(value)), level - 1);
        } else if entry::is_mapped(value) {
            let order = if level == 2 { HUGE_ORDER } else { 0 };
            // SAFETY: the entry owns a count, and is not looked at again.
            drop(unsafe { Frame::from_owned(entry::pfn(value), order) });
        }
    }
    if level == 2 {
        while let Some(spare) = table.withdraw() {
            // SAFETY: a spare table is in nobody's tree.
            unsafe { spare.free() };
        }
    }
    // SAFETY: nothing refers to it any more: the whole tree goes, and no CPU has it loaded.
    unsafe { table.free() };
}

impl Drop for PageTable {
    fn drop(&mut self) {
        debug_assert!(self.active.load().is_empty());
        for index in 0..ENTRIES / 2 {
            if let Some(child) = self.root.child(index) {
                free_tree(child, 3);
            }
        }
        // SAFETY: no CPU has it loaded: each that has keeps a reference to the `PageTable`.
        unsafe { self.root.free() };
    }
}

/// Loads `space`, or the kernel's own tables, on this CPU. Interrupts are off.
pub(crate) fn activate(space: Option<&Arc<PageTable>>) {
    let me = cpu::id();
    let loaded = &LOADED[me];
    loaded.lazy.store(false, Ordering::Relaxed);
    // SAFETY: interrupts are off, and only this CPU touches the slot.
    let slot = unsafe { &mut *loaded.space.get() };
    match (&*slot, space) {
        (Some(old), Some(new)) if Arc::ptr_eq(old, new) => return,
        (None, None) => return,
        _ => {}
    }
    let root = match space {
        Some(space) => {
            // Before the load, so that whoever changes an entry after it interrupts this CPU.
            space.active.set(me);
            space.root
        }
        None => kernel::root(),
    };
    load_cr3(root);
    let old = core::mem::replace(slot, space.cloned());
    if let Some(old) = old {
        old.active.clear(me);
        if let Some(last) = Arc::into_inner(old) {
            // Taking down an address space takes long; not here.
            rcu::defer(move || drop(last));
        }
    }
}

/// This CPU goes on with a kernel task: what is loaded stays, but is let go at the first flush.
/// Interrupts are off.
pub(crate) fn enter_lazy() {
    LOADED[cpu::id()].lazy.store(true, Ordering::Relaxed);
}

/// If this CPU only keeps its table lazily, changes to the kernel's tables and says so.
pub(super) fn leave_if_lazy() -> bool {
    push_off();
    let lazy = LOADED[cpu::id()].lazy.load(Ordering::Relaxed);
    if lazy {
        activate(None);
        LOADED[cpu::id()].lazy.store(true, Ordering::Relaxed);
    }
    pop_off();
    lazy
}

fn load_cr3(root: Table) {
    let cr3 = PhysAddr::from_pfn(root.0).0;
    // SAFETY: a root with the kernel half in place, kept alive by the CPU's slot.
    unsafe { asm!("mov cr3, {}", in(reg) cr3, options(nostack, preserves_flags)) };
}
