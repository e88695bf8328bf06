//! VMAs: mapped ranges with one set of attributes, and the ordered map of them.

use bitflags::bitflags;
use core::sync::atomic::{AtomicBool, Ordering};
use keel_hal::paging::PageProt;

use super::VmObject;
use crate::fs::File;
use crate::prelude::*;

bitflags! {
    /// Attributes of a VMA (`vm_flags`) apart from its protection.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub struct VmFlags: u32 {
        /// Writes are seen by everybody who maps the object.
        const SHARED = 1 << 0;
        /// Grows towards lower addresses on faults below it (stack).
        const GROWSDOWN = 1 << 1;
        /// mlock(2): pages stay resident.
        const LOCKED = 1 << 2;
        /// Not inherited by fork (MADV_DONTFORK).
        const DONTFORK = 1 << 3;
        /// Empty in the child after fork (MADV_WIPEONFORK).
        const WIPEONFORK = 1 << 4;
        /// Left out of core dumps (MADV_DONTDUMP).
        const DONTDUMP = 1 << 5;
        /// Not counted against the commit limit.
        const NORESERVE = 1 << 6;
        /// MADV_HUGEPAGE.
        const HUGEPAGE = 1 << 7;
        /// MADV_NOHUGEPAGE.
        const NOHUGEPAGE = 1 << 8;
        /// mprotect may not add PROT_WRITE (shared mapping of a file not open for writing).
        const NO_MAYWRITE = 1 << 9;
        /// Expected to be read in order (MADV_SEQUENTIAL).
        const SEQUENTIAL = 1 << 10;
        /// Expected to be read at random (MADV_RANDOM).
        const RANDOM = 1 << 11;
        /// Locked at first touch rather than at once (MLOCK_ONFAULT).
        const LOCK_ONFAULT = 1 << 12;
        /// mseal(2): its mapping cannot be changed any more.
        const SEALED = 1 << 13;
        /// The program break's area.
        const HEAP = 1 << 14;
        /// The initial stack.
        const STACK = 1 << 15;
        /// mprotect may not add PROT_EXEC (file on a noexec mount).
        const NO_MAYEXEC = 1 << 16;
        /// The vDSO's code page.
        const VDSO = 1 << 17;
        /// The vDSO's data page.
        const VVAR = 1 << 18;
        /// MADV_MERGEABLE.
        const MERGEABLE = 1 << 19;
        /// Its pages are promised to the program (`mm::commit`).
        const ACCOUNT = 1 << 20;
        /// Made of the huge pages of a pool (`mm::hugetlb`).
        const HUGETLB = 1 << 21;
        /// userfaultfd(2) handles its missing pages.
        const UFFD_MISSING = 1 << 22;
    }
}

/// Where a VMA's pages come from.
#[derive(Clone)]
pub enum Backing {
    /// Zero-filled private memory.
    Anon,
    /// Pages of `object` from page `pgoff` on; `file` is what /proc shows and keeps open.
    Object {
        /// The source of the pages.
        object: Arc<dyn VmObject>,
        /// The object's page at the VMA's start.
        pgoff: u64,
        /// The file that was mapped, if any.
        file: Option<Arc<File>>,
    },
}

/// A mapped range `start..end`, page aligned, not empty.
pub struct Vma {
    /// First address.
    pub start: usize,
    /// First address behind it.
    pub end: usize,
    /// What the program may do.
    pub prot: PageProt,
    /// Further attributes.
    pub flags: VmFlags,
    /// Where the pages come from.
    pub backing: Backing,
    /// Whether the page table may hold pages of this VMA that are not the object's own (so that fork must
    /// copy them).
    pub has_anon: AtomicBool,
    /// Name given by prctl(PR_SET_VMA_ANON_NAME).
    pub name: Option<Arc<[u8]>>,
    /// mbind(2).
    pub policy: Option<Arc<super::MemPolicy>>,
    /// Who provides its missing pages.
    pub userfault: Option<Arc<super::userfault::Userfault>>,
}

impl Clone for Vma {
    fn clone(&self) -> Self {
        Self {
            start: self.start,
            end: self.end,
            prot: self.prot,
            flags: self.flags,
            backing: self.backing.clone(),
            has_anon: AtomicBool::new(self.has_anon.load(Ordering::Relaxed)),
            name: self.name.clone(),
            policy: self.policy.clone(),
            userfault: self.userfault.clone(),
        }
    }
}

impl Vma {
    /// A VMA over `start..end`.
    pub fn new(start: usize, end: usize, prot: PageProt, flags: VmFlags, backing: Backing) -> Self {
        Self {
            start,
            end,
            prot,
            flags,
            backing,
            has_anon: AtomicBool::new(false),
            name: None,
            policy: None,
            userfault: None,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether writes go to the object rather than to private copies.
    pub fn shared(&self) -> bool {
        self.flags.contains(VmFlags::SHARED)
    }

    /// The object's page shown at `addr`, counted from the VMA's start for anonymous memory.
    pub fn pgoff_at(&self, addr: usize) -> u64 {
        let pages = ((addr - self.start) >> PAGE_SHIFT) as u64;
        match &self.backing {
            Backing::Anon => pages,
            Backing::Object { pgoff, .. } => pgoff + pages,
        }
    }

    /// Splits at `at` (strictly inside): `self` keeps the lower part, the upper is returned.
    pub fn split_off(&mut self, at: usize) -> Vma {
        let mut upper = self.clone();
        upper.start = at;
        if let Backing::Object { pgoff, .. } = &mut upper.backing {
            *pgoff += ((at - self.start) >> PAGE_SHIFT) as u64;
        }
        self.end = at;
        upper
    }

    /// Whether `next`, which starts at this VMA's end, can be joined to it.
    pub fn joins(&self, next: &Vma) -> bool {
        let same_backing = match (&self.backing, &next.backing) {
            (Backing::Anon, Backing::Anon) => true,
            (
                Backing::Object {
                    object: a,
                    pgoff: p,
                    ..
                },
                Backing::Object {
                    object: b,
                    pgoff: q,
                    ..
                },
            ) => Arc::ptr_eq(a, b) && p + (self.len() >> PAGE_SHIFT) as u64 == *q,
            _ => false,
        };
        self.end == next.start
            && same_backing
            && self.prot == next.prot
            && self.flags == next.flags
            && self.name == next.name
            && self.policy == next.policy
            && self.userfault.as_ref().map(Arc::as_ptr) == next.userfault.as_ref().map(Arc::as_ptr)
            && !self.flags.intersects(VmFlags::GROWSDOWN | VmFlags::SEALED)
    }
}

/// What /proc/PID/maps and smaps tell of one VMA.
pub struct VmaInfo {
    /// First address.
    pub start: usize,
    /// First address behind it.
    pub end: usize,
    /// Protection.
    pub prot: PageProt,
    /// Attributes.
    pub flags: VmFlags,
    /// Byte offset in the file.
    pub offset: u64,
    /// The mapped file.
    pub file: Option<Arc<File>>,
    /// Name of an anonymous mapping.
    pub name: Option<Arc<[u8]>>,
    /// mbind(2).
    pub policy: Option<Arc<super::MemPolicy>>,
}

/// The VMAs of one address space, ordered, without overlap.
#[derive(Default)]
pub struct VmaMap {
    map: BTreeMap<usize, Vma>,
}

impl VmaMap {
    /// The VMA that contains `addr`.
    pub fn find(&self, addr: usize) -> Option<&Vma> {
        self.map
            .range(..=addr)
            .next_back()
            .map(|(_, vma)| vma)
            .filter(|vma| addr < vma.end)
    }

    /// As [`Self::find`].
    pub fn find_mut(&mut self, addr: usize) -> Option<&mut Vma> {
        self.map
            .range_mut(..=addr)
            .next_back()
            .map(|(_, vma)| vma)
            .filter(|vma| addr < vma.end)
    }

    /// The first VMA that ends above `addr` (Linux's `find_vma`).
    pub fn find_above(&self, addr: usize) -> Option<&Vma> {
        self.find(addr)
            .or_else(|| self.map.range(addr..).next().map(|(_, vma)| vma))
    }

    /// The last VMA that ends at or below `addr`.
    pub fn find_below(&self, addr: usize) -> Option<&Vma> {
        self.map
            .range(..addr)
            .next_back()
            .map(|(_, vma)| vma)
            .filter(|vma| vma.end <= addr)
    }

    /// All VMAs that touch `start..end`, in order.
    pub fn overlapping(&self, start: usize, end: usize) -> impl Iterator<Item = &Vma> {
        let first = self.find(start).map_or(start, |vma| vma.start);
        self.map.range(first..end.max(first)).map(|(_, vma)| vma)
    }

    /// As [`Self::overlapping`].
    pub fn overlapping_mut(&mut self, start: usize, end: usize) -> impl Iterator<Item = &mut Vma> {
        let first = self.find(start).map_or(start, |vma| vma.start);
        self.map
            .range_mut(first..end.max(first))
            .map(|(_, vma)| vma)
    }

    /// All VMAs in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Vma> {
        self.map.values()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.map.len()
    }

    /// Adds a VMA to a free range, without joining it to its neighbours.
    pub fn insert(&mut self, vma: Vma) {
        self.map.insert(vma.start, vma);
    }

    /// Removes the VMA that starts at `start`.
    pub fn remove(&mut self, start: usize) -> Option<Vma> {
        self.map.remove(&start)
    }

    /// Splits the VMA that contains `at` strictly inside, so that a boundary lies there.
    pub fn split_at(&mut self, at: usize) {
        let Some(vma) = self.find_mut(at) else { return };
        if vma.start < at {
            let upper = vma.split_off(at);
            self.insert(upper);
        }
    }

    /// Joins the VMA that starts at `start` with the one below it if they are alike.
    pub fn try_join_below(&mut self, start: usize) -> bool {
        let joined = match (self.find_below(start), self.map.get(&start)) {
            (Some(below), Some(vma)) if below.joins(vma) => Some((below.start, vma.end)),
            _ => None,
        };
        let Some((below, end)) = joined else {
            return false;
        };
        let upper = self.map.remove(&start);
        if let Some(vma) = self.map.get_mut(&below) {
            vma.end = end;
            if upper.is_some_and(|u| u.has_anon.load(Ordering::Relaxed)) {
                vma.has_anon.store(true, Ordering::Relaxed);
            }
        }
        true
    }

    /// The lowest free range of `len` bytes in `low..high`.
    pub fn find_gap_up(&self, low: usize, high: usize, len: usize) -> Option<usize> {
        let mut at = self.find(low).map_or(low, |vma| vma.end);
        for vma in self.map.range(at..).map(|(_, vma)| vma) {
            if vma.start.checked_sub(at)? >= len {
                break;
            }
            at = vma.end;
        }
        (at.checked_add(len)? <= high).then_some(at)
    }

    /// The highest free range of `len` bytes in `low..high`. A growing stack keeps `guard` bytes below it free.
    pub fn find_gap_down(
        &self,
        low: usize,
        high: usize,
        len: usize,
        guard: usize,
    ) -> Option<usize> {
        let mut top = high;
        for vma in self.map.range(..high).rev().map(|(_, vma)| vma) {
            if vma.end <= top && top - vma.end >= len {
                break;
            }
            let reserve = if vma.flags.contains(VmFlags::GROWSDOWN) {
                guard
            } else {
                0
            };
            top = top.min(vma.start.saturating_sub(reserve));
        }
        top.checked_sub(len).filter(|start| *start >= low)
    }
}
