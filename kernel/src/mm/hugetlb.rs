//! Huge pages of a pool of their own (Linux's admin-guide/mm/hugetlbpage): `vm.nr_hugepages`, MAP_HUGETLB.
//!
//! The pool keeps a reference to each of its pages, so a page that nobody else refers to is free, whoever let go of it
//! last. Mappings reserve their pages when they are made, so that touching them does not fail later. Such mappings
//! begin and end at whole huge pages, which are therefore never split.

use core::sync::atomic::{AtomicUsize, Ordering};
use keel_hal::addr::HUGE_PAGE_SIZE;
use keel_hal::paging::PageProt;

use super::vma::Vma;
use super::{AddressSpace, MmapRegistry, VmFault, VmObject};
use crate::prelude::*;

/// How many small pages a huge one has.
const SMALL_PAGES: u64 = (HUGE_PAGE_SIZE / PAGE_SIZE) as u64;

struct Pool {
    pages: Vec<Frame>,
    /// Where the last free page was found.
    next: usize,
    /// Free pages that mappings have been promised.
    reserved: usize,
}

static POOL: SpinLock<Pool> = SpinLock::new(Pool {
    pages: Vec::new(),
    next: 0,
    reserved: 0,
});

/// The figures of /proc/meminfo.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Pages of the pool.
    pub total: usize,
    /// Of these, pages nobody has.
    pub free: usize,
    /// Of these, pages that were promised.
    pub reserved: usize,
}

fn is_free(page: &Frame) -> bool {
    page.ref_count() == 1
}

impl Pool {
    fn free(&self) -> usize {
        self.pages.iter().filter(|page| is_free(page)).count()
    }

    fn find_free(&mut self) -> Option<Frame> {
        let count = self.pages.len();
        for step in 0..count {
            let at = (self.next + step) % count;
            let page = self.pages.get(at).filter(|page| is_free(page));
            if let Some(page) = page.cloned() {
                self.next = at + 1;
                return Some(page);
            }
        }
        None
    }
}

/// How the pool stands.
pub fn counts() -> Counts {
    let pool = POOL.lock();
    Counts {
        total: pool.pages.len(),
        free: pool.free(),
        reserved: pool.reserved,
    }
}

/// `vm.nr_hugepages`: as near as memory and what is in use allow. ENOMEM for no memory for the list.
pub fn resize(wanted: usize) -> Result<()> {
    loop {
        let have = POOL.lock().pages.len();
        if have == wanted {
            return Ok(());
        }
        if have > wanted {
            let mut pool = POOL.lock();
            let spare = pool.free().saturating_sub(pool.reserved);
            let at = pool.pages.iter().position(is_free).filter(|_| spare > 0);
            let Some(at) = at else { return Ok(()) };
            let gone = pool.pages.swap_remove(at);
            drop(pool);
            drop(gone);
        } else {
            let Some(page) = Frame::alloc_huge(AllocFlags::USER) else {
                return Ok(());
            };
            let mut pool = POOL.lock();
            pool.pages.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            pool.pages.push(page);
        }
        keel_hal::task::cond_resched();
    }
}

/// What a mapping of huge pages shows: for MAP_SHARED its pages, for MAP_PRIVATE only what was reserved for it.
pub struct HugeObject {
    pages: Mutex<BTreeMap<u64, Frame>>,
    /// Length in huge pages.
    len: u64,
    /// Pages that are still promised to it.
    reserved: AtomicUsize,
    registry: MmapRegistry,
}

impl HugeObject {
    /// An object of `len` huge pages, all of them reserved unless `reserve` is false: ENOMEM.
    pub fn new(len: u64, reserve: bool) -> Result<Arc<Self>> {
        let reserved = if reserve { len as usize } else { 0 };
        let mut pool = POOL.lock();
        if reserved > pool.free().saturating_sub(pool.reserved) {
            return Err(Errno::ENOMEM);
        }
        pool.reserved += reserved;
        drop(pool);
        Ok(Arc::new(Self {
            pages: Mutex::new(BTreeMap::new()),
            len,
            reserved: AtomicUsize::new(reserved),
            registry: MmapRegistry::new(),
        }))
    }

    /// A page of zeroes for it, from what is reserved if anything is; and whether it was.
    fn take(&self) -> Option<(Frame, bool)> {
        let one = |left: usize| left.checked_sub(1);
        let promised = self
            .reserved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one)
            .is_ok();
        let page = {
            let mut pool = POOL.lock();
            if promised {
                pool.reserved -= 1;
            } else if pool.free() <= pool.reserved {
                return None;
            }
            pool.find_free()?
        };
        page.fill(0, HUGE_PAGE_SIZE, 0);
        Some((page, promised))
    }

    /// A page that was reserved could not be used.
    fn give_back(&self, promised: bool) {
        if promised {
            POOL.lock().reserved += 1;
            self.reserved.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The page of a shared mapping.
    fn shared_page(&self, index: u64) -> core::result::Result<Frame, VmFault> {
        if index >= self.len {
            return Err(VmFault::SigBus);
        }
        let mut pages = self.pages.lock();
        if let Some(page) = pages.get(&index) {
            return Ok(page.clone());
        }
        let (fresh, _) = self.take().ok_or(VmFault::SigBus)?;
        pages.insert(index, fresh.clone());
        Ok(fresh)
    }
}

impl Drop for HugeObject {
    fn drop(&mut self) {
        POOL.lock().reserved -= *self.reserved.get_mut();
    }
}

impl VmObject for HugeObject {
    fn fault(&self, pgoff: u64, _write: bool) -> core::result::Result<Frame, VmFault> {
        let page = self.shared_page(pgoff / SMALL_PAGES)?;
        let part = page.subpage((pgoff % SMALL_PAGES) as usize);
        part.ok_or(VmFault::SigBus)
    }

    fn mappings(&self) -> Option<&MmapRegistry> {
        Some(&self.registry)
    }

    fn huge(&self) -> Option<&HugeObject> {
        Some(self)
    }
}

impl AddressSpace {
    /// A fault in a mapping of huge pages: SIGBUS when the pool is empty.
    pub(super) fn fault_hugetlb(
        &self,
        vma: &Vma,
        object: &HugeObject,
        va: usize,
        write: bool,
    ) -> core::result::Result<(), VmFault> {
        /// References to a page that only this mapping has: the pool's, the mapping's, and the one in hand.
        const SOLE: u32 = 3;
        let block = super::huge::block_of(va);
        if !vma.covers(&block) {
            return Err(VmFault::SigBus);
        }
        let present = {
            let mut cursor = self.table().cursor(block.start, block.end);
            match cursor.query() {
                Some(page) if !write || page.prot.contains(PageProt::WRITE) => return Ok(()),
                Some(page) if vma.shared() || page.frame.ref_count() == SOLE => {
                    cursor.protect(vma.prot);
                    return Ok(());
                }
                present => present,
            }
        };
        vma.has_anon.store(true, Ordering::Relaxed);
        let (fresh, promised) = if vma.shared() {
            let index = vma.pgoff_at(block.start) / SMALL_PAGES;
            (object.shared_page(index)?, false)
        } else {
            object.take().ok_or(VmFault::SigBus)?
        };
        // What is to be copied is read-only and has other users besides this mapping, or it would not be copied.
        if let Some(old) = &present {
            fresh.copy_from(&old.frame);
        }
        let mut cursor = self.table().cursor(block.start, block.end);
        let now = cursor.query();
        let unchanged = match (&present, &now) {
            (None, None) => true,
            (Some(old), Some(now)) => now.frame.same(&old.frame),
            _ => false,
        };
        if unchanged && now.is_some() {
            cursor.unmap();
        }
        let mapped = unchanged && cursor.map_huge(fresh, vma.prot).is_ok();
        if !mapped {
            object.give_back(promised);
            return Err(VmFault::Retry);
        }
        Ok(())
    }
}
