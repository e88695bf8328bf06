//! One process's memory: its VMAs, its page table, its limits and counters.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use keel_hal::paging::{PageProt, PageTable};

use super::vma::{Backing, VmFlags, Vma, VmaInfo, VmaMap};
use super::{MmapRegistry, TASK_SIZE_MAX};
use crate::prelude::*;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A process's memory (`mm_struct`), shared by its threads.
///
/// `state` is the mmap lock: exclusive to change VMAs, shared to fault pages in. Page tables have locks of
/// their own, so faults on different areas run in parallel.
pub struct AddressSpace {
    id: u64,
    table: Arc<PageTable>,
    pub(super) state: RwLock<MmState>,
    pub(super) peak_rss: AtomicUsize,
    /// Minor and major faults.
    pub(super) faults: [AtomicU64; 2],
    /// The registered membarrier(2) commands.
    pub membarrier: core::sync::atomic::AtomicU32,
    /// The protection keys that are in use, a bit each (pkeys(7)).
    pub keys: AtomicU32,
    /// prctl(PR_SET_THP_DISABLE): no huge pages, for children and programs executed as well.
    pub thp_disabled: AtomicBool,
    /// Contexts of asynchronous I/O.
    pub aio: crate::ipc::aio::Contexts,
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        // Idle CPUs may still have the table loaded, and with it hold all its memory.
        self.table.unload_lazy();
    }
}

/// What the mmap lock protects.
pub(super) struct MmState {
    pub vmas: VmaMap,
    pub layout: Layout,
    /// Total mapped pages (`total_vm`).
    pub total_pages: usize,
    /// Pages of locked VMAs.
    pub locked_pages: usize,
    /// Pages of VMAs with [`VmFlags::ACCOUNT`].
    pub charged: usize,
    /// Flags for future mappings (mlockall(MCL_FUTURE)).
    pub default_flags: VmFlags,
    /// RLIMIT_AS, RLIMIT_DATA, RLIMIT_STACK in bytes as of the owning process.
    pub limits: MmLimits,
}

impl Drop for MmState {
    fn drop(&mut self) {
        super::commit::uncharge(self.charged);
    }
}

/// Resource limits that mapping calls enforce, in bytes.
#[derive(Clone, Copy)]
pub struct MmLimits {
    /// RLIMIT_AS.
    pub address_space: u64,
    /// RLIMIT_DATA.
    pub data: u64,
    /// RLIMIT_STACK.
    pub stack: u64,
    /// RLIMIT_MEMLOCK.
    pub memlock: u64,
}

impl Default for MmLimits {
    fn default() -> Self {
        Self {
            address_space: u64::MAX,
            data: u64::MAX,
            stack: 8 << 20,
            memlock: 8 << 20,
        }
    }
}

/// Where the parts of a program image lie (`mm_struct`'s `start_code` and so on; /proc/PID/stat).
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout {
    /// Top of the area that mmap searches downwards.
    pub mmap_base: usize,
    /// The executable's text.
    pub start_code: usize,
    /// End of the executable's text.
    pub end_code: usize,
    /// The executable's data.
    pub start_data: usize,
    /// End of the executable's data.
    pub end_data: usize,
    /// Lowest program break.
    pub start_brk: usize,
    /// Current program break.
    pub brk: usize,
    /// Initial stack pointer.
    pub start_stack: usize,
    /// argv strings.
    pub arg_start: usize,
    /// End of argv strings.
    pub arg_end: usize,
    /// envp strings.
    pub env_start: usize,
    /// End of envp strings.
    pub env_end: usize,
    /// Address of the vDSO's code.
    pub vdso: usize,
}

/// Counters for /proc/PID/{stat,statm,status}; sizes in pages.
#[derive(Clone, Copy, Debug, Default)]
pub struct MmStats {
    /// All mapped pages.
    pub total: usize,
    /// Resident pages.
    pub resident: usize,
    /// Highest `resident` seen.
    pub peak_resident: usize,
    /// Private writable pages mapped.
    pub data: usize,
    /// Stack pages mapped.
    pub stack: usize,
    /// Executable file pages mapped.
    pub text: usize,
    /// Executable pages of libraries.
    pub lib: usize,
    /// Locked pages.
    pub locked: usize,
}

impl AddressSpace {
    /// An empty address space; ENOMEM without memory for its page table.
    pub fn new() -> Result<Arc<Self>> {
        let table = PageTable::new().ok_or(Errno::ENOMEM)?;
        Ok(Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            table: Arc::new(table),
            state: RwLock::new(MmState {
                vmas: VmaMap::default(),
                layout: Layout {
                    mmap_base: TASK_SIZE_MAX,
                    ..Layout::default()
                },
                total_pages: 0,
                locked_pages: 0,
                charged: 0,
                default_flags: VmFlags::empty(),
                limits: MmLimits::default(),
            }),
            peak_rss: AtomicUsize::new(0),
            faults: [const { AtomicU64::new(0) }; 2],
            membarrier: core::sync::atomic::AtomicU32::new(0),
            keys: AtomicU32::new(1),
            thp_disabled: AtomicBool::new(false),
            aio: Default::default(),
        }))
    }

    /// A number that no other address space ever has (key of private futexes).
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The page table, for the task that runs in this address space.
    pub fn table(&self) -> &Arc<PageTable> {
        &self.table
    }

    /// Where the program image's parts lie.
    pub fn layout(&self) -> Layout {
        self.state.read().layout
    }

    /// Changes the layout (exec, prctl(PR_SET_MM)).
    pub fn update_layout(&self, change: impl FnOnce(&mut Layout)) {
        change(&mut self.state.write().layout);
    }

    /// Takes over the process's resource limits.
    pub fn set_limits(&self, limits: MmLimits) {
        self.state.write().limits = limits;
    }

    /// Minor and major faults so far.
    pub fn fault_counts(&self) -> (u64, u64) {
        (
            self.faults[0].load(Ordering::Relaxed),
            self.faults[1].load(Ordering::Relaxed),
        )
    }

    /// A copy for fork(2): private pages are shared copy-on-write.
    pub fn fork(self: &Arc<Self>) -> Result<Arc<Self>> {
        let child = Self::new()?;
        child.inherit(self);
        child
            .keys
            .store(self.keys.load(Ordering::Relaxed), Ordering::Relaxed);
        let state = self.state.write();
        let mut copy = child.state.write();
        copy.layout = state.layout;
        copy.limits = state.limits;
        for vma in state.vmas.iter() {
            if vma.flags.contains(VmFlags::DONTFORK) {
                continue;
            }
            if vma.flags.contains(VmFlags::ACCOUNT) {
                copy.charge(vma.len() >> PAGE_SHIFT)?;
            }
            let mut new = vma.clone();
            new.flags
                .remove(VmFlags::LOCKED | VmFlags::LOCK_ONFAULT | VmFlags::UFFD_MISSING);
            new.userfault = None;
            let wipe = vma.flags.contains(VmFlags::WIPEONFORK);
            if wipe {
                new.has_anon.store(false, Ordering::Relaxed);
            } else if vma.has_anon.load(Ordering::Relaxed) {
                self.table
                    .fork_range(&child.table, vma.start, vma.end, !vma.shared())
                    .map_err(|_| Errno::ENOMEM)?;
            }
            child.register(&new);
            copy.total_pages += new.len() >> PAGE_SHIFT;
            copy.vmas.insert(new);
        }
        drop(copy);
        drop(state);
        Ok(child)
    }

    /// Takes over what a new program image or a child keeps of the old one.
    pub fn inherit(&self, old: &Self) {
        let disabled = old.thp_disabled.load(Ordering::Relaxed);
        self.thp_disabled.store(disabled, Ordering::Relaxed);
    }

    /// Notes in the VMA's object that this address space maps it.
    pub(super) fn register(self: &Arc<Self>, vma: &Vma) {
        if let Backing::Object { object, .. } = &vma.backing
            && let Some(registry) = object.mappings()
        {
            registry.insert(self);
        }
    }

    /// Calls `f` with each VMA in address order, until it answers false.
    pub fn for_each_vma(&self, mut f: impl FnMut(&VmaInfo) -> bool) {
        let state = self.state.read();
        for vma in state.vmas.iter() {
            if !f(&describe(vma)) {
                break;
            }
        }
    }

    /// Resident pages.
    pub fn resident(&self) -> usize {
        self.table.resident()
    }

    /// Forgets the highest number of resident pages (/proc/PID/clear_refs).
    pub fn reset_peak(&self) {
        self.peak_rss.store(self.resident(), Ordering::Relaxed);
    }

    /// Counters for /proc.
    pub fn stats(&self) -> MmStats {
        let state = self.state.read();
        let resident = self.table.resident();
        let mut stats = MmStats {
            total: state.total_pages,
            resident,
            peak_resident: self
                .peak_rss
                .fetch_max(resident, Ordering::Relaxed)
                .max(resident),
            locked: state.locked_pages,
            ..MmStats::default()
        };
        for vma in state.vmas.iter() {
            let pages = vma.len() >> PAGE_SHIFT;
            if vma.flags.contains(VmFlags::STACK) {
                stats.stack += pages;
            } else if vma.prot.contains(PageProt::WRITE) && !vma.shared() {
                stats.data += pages;
            } else if vma.prot.contains(PageProt::EXEC) {
                if vma.start >= state.layout.start_code
                    && vma.end <= state.layout.end_code + PAGE_SIZE
                {
                    stats.text += pages;
                } else {
                    stats.lib += pages;
                }
            }
        }
        stats
    }

    /// Calls `f` with every resident page of `start..end`: its address and what maps it (smaps, pagemap).
    pub fn for_each_page(
        &self,
        start: usize,
        end: usize,
        mut f: impl FnMut(usize, &keel_hal::paging::Mapping),
    ) {
        let _state = self.state.read();
        let mut cursor = self.table.cursor(start, end);
        while let Some(va) = cursor.next_mapped() {
            if let Some(mapping) = cursor.query() {
                f(va, &mapping);
            }
            if !cursor.next() {
                break;
            }
        }
    }

    /// Takes the object's pages `[first, last)` out of the page table, and private copies of them if `copies`.
    pub(super) fn zap_object_pages(
        &self,
        registry: &MmapRegistry,
        first: u64,
        last: u64,
        copies: bool,
    ) {
        let state = self.state.read();
        for vma in state.vmas.iter() {
            let Some((start, end)) = shown_at(vma, registry, first, last) else {
                continue;
            };
            let Backing::Object { object, .. } = &vma.backing else {
                continue;
            };
            if copies || vma.shared() || !vma.has_anon.load(Ordering::Relaxed) {
                self.table.unmap_range(start, end, &mut |_, _| {});
                continue;
            }
            let mut cursor = self.table.cursor(start, end);
            while let Some(va) = cursor.next_mapped() {
                // The object's lock is taken outside the page table's: fault-around nests them the other way.
                cursor.unlock();
                let pgoff = vma.pgoff_at(va);
                let mut own = None;
                object.pages_nearby(pgoff, 1, &mut |_, frame| own = Some(frame));
                let mapped = cursor.query();
                if own
                    .zip(mapped)
                    .is_some_and(|(own, mapping)| mapping.frame.same(&own))
                {
                    cursor.unmap();
                }
                if !cursor.next() {
                    break;
                }
            }
        }
    }

    /// How many mappings show the object here.
    pub(super) fn count_mappings_of(&self, registry: &MmapRegistry) -> usize {
        let state = self.state.read();
        let shows = |vma: &&Vma| shown_at(vma, registry, 0, u64::MAX).is_some();
        state.vmas.iter().filter(shows).count()
    }

    /// Whether a shared mapping of the object may be written here.
    pub(super) fn maps_shared_writable(&self, registry: &MmapRegistry) -> bool {
        let state = self.state.read();
        state.vmas.iter().any(|vma| {
            vma.shared()
                && !vma.flags.contains(VmFlags::NO_MAYWRITE)
                && shown_at(vma, registry, 0, u64::MAX).is_some()
        })
    }

    /// Makes the object's page read-only here; true if it was writable.
    pub(super) fn write_protect_object_page(&self, registry: &MmapRegistry, pgoff: u64) -> bool {
        let state = self.state.read();
        let mut was_writable = false;
        for vma in state.vmas.iter().filter(|vma| vma.shared()) {
            let Some((start, end)) = shown_at(vma, registry, pgoff, pgoff + 1) else {
                continue;
            };
            let mut cursor = self.table.cursor(start, end);
            if let Some(mapping) = cursor.query()
                && mapping.prot.contains(PageProt::WRITE)
            {
                was_writable = true;
                cursor.protect(mapping.prot.read_only());
            }
        }
        was_writable
    }
}

/// The addresses at which `vma` shows pages `[first, last)` of the object that `registry` belongs to.
fn shown_at(vma: &Vma, registry: &MmapRegistry, first: u64, last: u64) -> Option<(usize, usize)> {
    let Backing::Object { object, pgoff, .. } = &vma.backing else {
        return None;
    };
    if !object
        .mappings()
        .is_some_and(|own| core::ptr::eq(own, registry))
    {
        return None;
    }
    let pages = (vma.len() >> PAGE_SHIFT) as u64;
    let from = first.max(*pgoff);
    let to = last.min(pgoff.saturating_add(pages));
    let at = |page: u64| vma.start + (((page - pgoff) as usize) << PAGE_SHIFT);
    (from < to).then(|| (at(from), at(to)))
}

fn describe(vma: &Vma) -> VmaInfo {
    let (offset, file) = match &vma.backing {
        Backing::Anon => (0, None),
        Backing::Object { pgoff, file, .. } => (pgoff << PAGE_SHIFT, file.clone()),
    };
    VmaInfo {
        start: vma.start,
        end: vma.end,
        prot: vma.prot,
        flags: vma.flags,
        offset,
        file,
        name: vma.name.clone(),
        policy: vma.policy.clone(),
    }
}
