//! Contents of tmpfs files: pages that live in memory only, allocated at first touch (`shmem`).
//!
//! [`Shmem`] is what a file, its mappings and a memfd share. Its spin lock protects the page map; pages are filled
//! before they are put there. Pages count against the mount's limit ([`Space`]).

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use keel_abi::flags::SealFlags;

use crate::fs::{IoDst, IoSrc, Time};
use crate::mm::{MmapRegistry, VmFault, VmObject, alloc_user_frame};
use crate::prelude::*;
use crate::time::NSEC_PER_SEC;

/// Pages of all tmpfs files together (`Shmem` of /proc/meminfo).
static TOTAL: AtomicUsize = AtomicUsize::new(0);

/// Pages that tmpfs files have.
pub fn total_pages() -> usize {
    TOTAL.load(Ordering::Relaxed)
}

/// What a tmpfs mount may use, and uses.
pub struct Space {
    /// Most pages; `u64::MAX` for no limit.
    pub max_pages: AtomicU64,
    /// Pages in use.
    pub pages: AtomicU64,
    /// Most inodes.
    pub max_inodes: AtomicU64,
    /// Inodes in use.
    pub inodes: AtomicU64,
}

impl Space {
    /// A space with these limits.
    pub fn new(max_pages: u64, max_inodes: u64) -> Arc<Self> {
        Arc::new(Self {
            max_pages: AtomicU64::new(max_pages),
            pages: AtomicU64::new(0),
            max_inodes: AtomicU64::new(max_inodes),
            inodes: AtomicU64::new(0),
        })
    }

    fn charge(counter: &AtomicU64, max: &AtomicU64) -> Result<()> {
        let limit = max.load(Ordering::Relaxed);
        counter
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |used| {
                (used < limit).then(|| used + 1)
            })
            .map(drop)
            .map_err(|_| Errno::ENOSPC)
    }

    /// Takes a page: ENOSPC.
    pub fn take_page(&self) -> Result<()> {
        Self::charge(&self.pages, &self.max_pages)?;
        TOTAL.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Gives pages back.
    pub fn give_pages(&self, count: usize) {
        self.pages.fetch_sub(count as u64, Ordering::AcqRel);
        TOTAL.fetch_sub(count, Ordering::Relaxed);
    }

    /// Takes an inode: ENOSPC.
    pub fn take_inode(&self) -> Result<()> {
        Self::charge(&self.inodes, &self.max_inodes)
    }

    /// Gives an inode back.
    pub fn give_inode(&self) {
        self.inodes.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The pages of a file.
pub struct Shmem {
    pages: RwSpinLock<BTreeMap<u64, Frame>>,
    /// Length in bytes; changed with the page map locked, so that no page appears behind the end.
    size: AtomicU64,
    registry: MmapRegistry,
    space: Arc<Space>,
    seals: AtomicU32,
    /// When a store through a mapping last began, in nanoseconds of real time, if the inode does not know yet; else 0.
    stored: AtomicU64,
}

/// Splits a file offset.
fn split(pos: u64) -> (u64, usize) {
    (pos >> PAGE_SHIFT, (pos as usize) & (PAGE_SIZE - 1))
}

impl Shmem {
    /// An empty file.
    pub fn new(space: &Arc<Space>, seals: SealFlags) -> Arc<Self> {
        Arc::new(Self {
            pages: RwSpinLock::new(BTreeMap::new()),
            size: AtomicU64::new(0),
            registry: MmapRegistry::new(),
            space: space.clone(),
            seals: AtomicU32::new(seals.bits()),
            stored: AtomicU64::new(0),
        })
    }

    /// The time of a store through a mapping that the inode has not been told of.
    pub fn take_store_time(&self) -> Option<Time> {
        match self.stored.swap(0, Ordering::Relaxed) {
            0 => None,
            ns => Some(Time {
                sec: (ns / NSEC_PER_SEC) as i64,
                nsec: (ns % NSEC_PER_SEC) as u32,
            }),
        }
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// How many pages it has.
    pub fn page_count(&self) -> usize {
        self.pages.read().len()
    }

    /// How many pages `[first, last)` it has.
    pub fn resident(&self, first: u64, last: u64) -> u64 {
        if first >= last {
            return 0;
        }
        self.pages.read().range(first..last).count() as u64
    }

    /// What may no longer be done to it.
    pub fn seals(&self) -> SealFlags {
        SealFlags::from_bits_retain(self.seals.load(Ordering::Acquire))
    }

    /// Adds seals: EPERM if it is sealed against that, EBUSY for F_SEAL_WRITE with writable mappings around.
    pub fn add_seals(&self, seals: SealFlags) -> Result<()> {
        if self.seals().contains(SealFlags::SEAL) {
            return Err(Errno::EPERM);
        }
        if seals.contains(SealFlags::WRITE)
            && !self.seals().contains(SealFlags::WRITE)
            && self.registry.has_shared_writable()
        {
            return Err(Errno::EBUSY);
        }
        self.seals.fetch_or(seals.bits(), Ordering::AcqRel);
        Ok(())
    }

    fn page(&self, index: u64) -> Option<Frame> {
        self.pages.read().get(&index).cloned()
    }

    /// The page, allocated if it is a hole: ENOSPC, ENOMEM.
    fn page_or_new(&self, index: u64) -> Result<Frame> {
        if let Some(frame) = self.page(index) {
            return Ok(frame);
        }
        self.space.take_page()?;
        let Some(fresh) = alloc_user_frame(AllocFlags::ZERO) else {
            self.space.give_pages(1);
            return Err(Errno::ENOMEM);
        };
        Ok(self.insert(index, fresh))
    }

    /// Puts a page that has been charged into a hole, unless somebody else was faster.
    fn insert(&self, index: u64, fresh: Frame) -> Frame {
        let mut pages = self.pages.write();
        if let Some(there) = pages.get(&index) {
            let there = there.clone();
            drop(pages);
            self.space.give_pages(1);
            return there;
        }
        pages.insert(index, fresh.clone());
        fresh
    }

    /// Reads at `pos`; holes are zeroes.
    pub fn read(&self, dst: &mut IoDst, pos: u64) -> Result<usize> {
        let mut done = 0;
        while dst.remaining() > 0 {
            let at = pos + done as u64;
            let size = self.size();
            if at >= size {
                break;
            }
            let (index, off) = split(at);
            let n = (PAGE_SIZE - off)
                .min((size - at) as usize)
                .min(dst.remaining());
            let put = match self.page(index) {
                Some(frame) => dst.put_frame(&frame, off, n),
                None => dst.put_zeros(n),
            };
            match put {
                Ok(got) => {
                    done += got;
                    if got < n {
                        break;
                    }
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            keel_hal::task::cond_resched();
        }
        Ok(done)
    }

    /// Writes at `pos`, growing the file. The inode's `rwsem` is held. EPERM for sealed files.
    pub fn write(&self, src: &mut IoSrc, pos: u64) -> Result<usize> {
        let seals = self.seals();
        if seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE) {
            return Err(Errno::EPERM);
        }
        let end = pos
            .checked_add(src.remaining() as u64)
            .ok_or(Errno::EFBIG)?;
        if seals.contains(SealFlags::GROW) && end > self.size() {
            return Err(Errno::EPERM);
        }
        let mut done = 0;
        while src.remaining() > 0 {
            match self.write_page(src, pos + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            keel_hal::task::cond_resched();
        }
        Ok(done)
    }

    fn write_page(&self, src: &mut IoSrc, at: u64) -> Result<usize> {
        let (index, off) = split(at);
        let want = (PAGE_SIZE - off).min(src.remaining());
        let n = match self.page(index) {
            Some(frame) => src.take_to_frame(&frame, off, want)?,
            None => self.fill_hole(src, index, off, want)?,
        };
        self.size.fetch_max(at + n as u64, Ordering::AcqRel);
        Ok(n)
    }

    /// Fills a new page before anybody sees it.
    fn fill_hole(&self, src: &mut IoSrc, index: u64, off: usize, want: usize) -> Result<usize> {
        self.space.take_page()?;
        let whole = want == PAGE_SIZE;
        let flags = if whole {
            AllocFlags::empty()
        } else {
            AllocFlags::ZERO
        };
        let filled = alloc_user_frame(flags)
            .ok_or(Errno::ENOMEM)
            .and_then(|frame| {
                let n = src.take_to_frame(&frame, off, want)?;
                if whole && n < PAGE_SIZE {
                    frame.fill(n, PAGE_SIZE - n, 0);
                }
                Ok((frame, n))
            });
        let (frame, n) = match filled {
            Ok(filled) => filled,
            Err(error) => {
                self.space.give_pages(1);
                return Err(error);
            }
        };
        let there = self.insert(index, frame.clone());
        if !there.same(&frame) {
            // A mapping touched the page meanwhile: what was taken goes into that page.
            there.copy_range_from(off, &frame, off, n);
        }
        Ok(n)
    }

    /// Sets the length: EPERM for sealed files.
    pub fn truncate(&self, size: u64) -> Result<()> {
        let (old, seals) = (self.size(), self.seals());
        if (size < old && seals.contains(SealFlags::SHRINK))
            || (size > old && seals.contains(SealFlags::GROW))
        {
            return Err(Errno::EPERM);
        }
        {
            let _no_faults = self.pages.write();
            self.size.store(size, Ordering::Release);
        }
        if size < old {
            let (index, off) = split(size);
            if off > 0
                && let Some(frame) = self.page(index)
            {
                frame.fill(off, PAGE_SIZE - off, 0);
            }
            self.drop_pages(size.div_ceil(PAGE_SIZE as u64), u64::MAX);
        }
        Ok(())
    }

    /// Takes pages `[first, last)` out of the file and out of all mappings.
    fn drop_pages(&self, first: u64, last: u64) {
        if first >= last {
            return;
        }
        let unmap = || match last {
            u64::MAX => self.registry.unmap_behind(first),
            _ => self.registry.unmap_range(first, last),
        };
        unmap();
        let gone = {
            let mut pages = self.pages.write();
            let mut gone = pages.split_off(&first);
            if last != u64::MAX {
                let mut behind = gone.split_off(&last);
                pages.append(&mut behind);
            }
            gone
        };
        if !gone.is_empty() {
            // A fault may have brought a page back between the two steps.
            unmap();
            self.space.give_pages(gone.len());
        }
    }

    /// Makes bytes a hole: EPERM for sealed files.
    pub fn punch_hole(&self, off: u64, len: u64) -> Result<()> {
        if self
            .seals()
            .intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE)
        {
            return Err(Errno::EPERM);
        }
        let end = off.saturating_add(len);
        let first = off.div_ceil(PAGE_SIZE as u64);
        let last = end >> PAGE_SHIFT;
        self.zero_partly(off, end.min(first << PAGE_SHIFT));
        if last >= first {
            self.zero_partly((last << PAGE_SHIFT).max(off), end);
        }
        self.drop_pages(first, last);
        Ok(())
    }

    /// Zeroes bytes of one page.
    fn zero_partly(&self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let (index, off) = split(from);
        if let Some(frame) = self.page(index) {
            let len = ((to - from) as usize).min(PAGE_SIZE - off);
            frame.fill(off, len, 0);
        }
    }

    /// Allocates the pages of a range; with `grow` the file reaches at least to its end. EPERM, ENOSPC, ENOMEM.
    pub fn allocate(&self, off: u64, len: u64, grow: bool) -> Result<()> {
        let end = off.checked_add(len).ok_or(Errno::EFBIG)?;
        if grow && end > self.size() && self.seals().contains(SealFlags::GROW) {
            return Err(Errno::EPERM);
        }
        let last = end.div_ceil(PAGE_SIZE as u64);
        let limit = self.space.max_pages.load(Ordering::Relaxed);
        if last - (off >> PAGE_SHIFT) > limit {
            return Err(Errno::ENOSPC);
        }
        for index in off >> PAGE_SHIFT..last {
            self.page_or_new(index)?;
            if keel_hal::task::current().killed() {
                return Err(Errno::EINTR);
            }
            keel_hal::task::cond_resched();
        }
        if grow {
            self.size.fetch_max(end, Ordering::AcqRel);
        }
        Ok(())
    }

    /// SEEK_DATA and SEEK_HOLE: ENXIO behind the end.
    pub fn seek(&self, off: u64, data: bool) -> Result<u64> {
        let size = self.size();
        if off >= size {
            return Err(Errno::ENXIO);
        }
        let pages = self.pages.read();
        let (mut index, _) = split(off);
        if data {
            let next = pages
                .range(index..)
                .next()
                .map(|(at, _)| *at)
                .ok_or(Errno::ENXIO)?;
            let found = off.max(next << PAGE_SHIFT);
            return if found < size {
                Ok(found)
            } else {
                Err(Errno::ENXIO)
            };
        }
        for (at, _) in pages.range(index..) {
            if *at != index {
                break;
            }
            index += 1;
        }
        Ok(off.max(index << PAGE_SHIFT).min(size))
    }
}

impl Drop for Shmem {
    fn drop(&mut self) {
        let count = self.pages.get_mut().len();
        self.space.give_pages(count);
    }
}

impl VmObject for Shmem {
    fn fault(&self, pgoff: u64, write: bool) -> core::result::Result<Frame, VmFault> {
        let inside = |size: u64| pgoff < size.div_ceil(PAGE_SIZE as u64);
        if !inside(self.size()) {
            return Err(VmFault::SigBus);
        }
        if write {
            let (sec, nsec) = crate::time::clock::realtime();
            let now = (sec as u64).saturating_mul(NSEC_PER_SEC) + u64::from(nsec);
            self.stored.store(now, Ordering::Relaxed);
        }
        if let Some(frame) = self.page(pgoff) {
            return Ok(frame);
        }
        self.space.take_page().map_err(|_| VmFault::SigBus)?;
        let Some(fresh) = alloc_user_frame(AllocFlags::ZERO) else {
            self.space.give_pages(1);
            return Err(VmFault::Oom);
        };
        {
            let mut pages = self.pages.write();
            if inside(self.size()) && !pages.contains_key(&pgoff) {
                pages.insert(pgoff, fresh.clone());
                return Ok(fresh);
            }
        }
        self.space.give_pages(1);
        self.page(pgoff).ok_or(VmFault::Retry)
    }

    fn mappings(&self) -> Option<&MmapRegistry> {
        Some(&self.registry)
    }

    fn pages_nearby(&self, pgoff: u64, count: u64, give: &mut dyn FnMut(u64, Frame)) {
        let end = pgoff
            .saturating_add(count)
            .min(self.size().div_ceil(PAGE_SIZE as u64));
        if pgoff >= end {
            return;
        }
        // Given without the lock: the receiver maps them.
        let found: Vec<(u64, Frame)> = self
            .pages
            .read()
            .range(pgoff..end)
            .map(|(at, frame)| (*at, frame.clone()))
            .collect();
        for (at, frame) in found {
            give(at, frame);
        }
    }
}
