//! What mappings show, and the reverse map from it to the address spaces that map it.

use super::AddressSpace;
use crate::prelude::*;

/// Why a page of an object cannot be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VmFault {
    /// Beyond the object's end, or an I/O error: the program gets SIGBUS.
    SigBus,
    /// No memory for it.
    Oom,
    /// The page changed under the fault; look again.
    Retry,
}

/// The source of the pages of a mapping.
///
/// `pgoff` counts pages from the object's start. Called with the address-space lock held shared; may sleep,
/// must not take an inode's `rwsem`.
pub trait VmObject: Send + Sync {
    /// The frame at `pgoff`. With `write`, a shared mapping is about to become writable there: the object
    /// marks the page dirty (and allocates its block).
    fn fault(&self, pgoff: u64, write: bool) -> core::result::Result<Frame, VmFault>;

    /// The reverse map, for objects whose pages can go away or be written back.
    fn mappings(&self) -> Option<&MmapRegistry> {
        None
    }

    /// Forgets pages `[first, last)`, which read as zeroes again (MADV_REMOVE); false if that cannot be.
    fn punch(&self, _first: u64, _last: u64) -> bool {
        false
    }

    /// The object as one of huge pages.
    fn huge(&self) -> Option<&super::hugetlb::HugeObject> {
        None
    }

    /// Gives frames that are resident in `[pgoff, pgoff + count)` (fault-around); never sleeps.
    fn pages_nearby(&self, _pgoff: u64, _count: u64, _give: &mut dyn FnMut(u64, Frame)) {}
}

/// Which address spaces map an object (Linux's `i_mmap`, by process rather than by VMA).
///
/// A hint rather than the truth: an entry stays until its address space is gone, so users look the VMAs up
/// again under the address-space lock.
#[derive(Default)]
pub struct MmapRegistry {
    list: SpinLock<Vec<Weak<AddressSpace>>>,
}

impl MmapRegistry {
    /// An empty registry.
    pub const fn new() -> Self {
        Self {
            list: SpinLock::new(Vec::new()),
        }
    }

    /// Notes that `mm` maps the object.
    pub fn insert(&self, mm: &Arc<AddressSpace>) {
        let mm = Arc::downgrade(mm);
        let mut list = self.list.lock();
        if !list.iter().any(|known| known.ptr_eq(&mm)) {
            list.retain(|known| known.strong_count() > 0);
            list.push(mm);
        }
    }

    /// Takes pages `[first, last)` out of every page table that maps them; private copies stay.
    pub fn unmap_range(&self, first: u64, last: u64) {
        for mm in self.users() {
            mm.zap_object_pages(self, first, last, false);
        }
    }

    /// Takes the pages from `first` on, which the object has no more, out of every page table, private copies too.
    pub fn unmap_behind(&self, first: u64) {
        for mm in self.users() {
            mm.zap_object_pages(self, first, u64::MAX, true);
        }
    }

    /// Makes page `pgoff` read-only in every page table, so that the next write faults again. True if it was
    /// writable (and so perhaps written) somewhere.
    pub fn write_protect(&self, pgoff: u64) -> bool {
        self.users().iter().fold(false, |was, mm| {
            mm.write_protect_object_page(self, pgoff) | was
        })
    }

    /// Whether a shared mapping of it may be written (memfd seals).
    pub fn has_shared_writable(&self) -> bool {
        self.users().iter().any(|mm| mm.maps_shared_writable(self))
    }

    /// How many mappings show the object.
    pub fn count_mappings(&self) -> usize {
        self.users()
            .iter()
            .map(|mm| mm.count_mappings_of(self))
            .sum()
    }

    fn users(&self) -> Vec<Arc<AddressSpace>> {
        let list = self.list.lock();
        if list.is_empty() {
            return Vec::new();
        }
        list.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Kernel-owned pages shown to user space as they are: the vDSO and its data.
pub struct SpecialPages {
    frames: Vec<Frame>,
}

impl SpecialPages {
    /// An object of just these frames.
    pub fn new(frames: Vec<Frame>) -> Self {
        Self { frames }
    }
}

impl VmObject for SpecialPages {
    fn fault(&self, pgoff: u64, _write: bool) -> core::result::Result<Frame, VmFault> {
        usize::try_from(pgoff)
            .ok()
            .and_then(|at| self.frames.get(at))
            .cloned()
            .ok_or(VmFault::SigBus)
    }
}
