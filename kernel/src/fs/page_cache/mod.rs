//! The page cache: file contents in memory.
//!
//! Every inode has a [`PageCache`]: its pages by number, the address spaces that map them, and the error of a failed
//! write-back. What lies behind the pages is the file system's [`Backing`]. (Files that live in memory only have pages
//! of their own, see [`super::tmpfs`].)
//!
//! * [`tree`](self): radix index; `page`: one page and its lock; `readahead`: which pages to read when.
//! * [`generic_read`], [`generic_write`]: read(2) and write(2) through the cache; [`mapping_of`]: mmap(2).
//! * [`write_back`], [`fsync_pages`], [`sync_all`]: dirty pages to the disk; a kernel thread does it by age.
//! * [`truncate`], [`invalidate`]: taking pages out. [`reclaim`]: giving memory back.
//!
//! Locks, in order: inode `rwsem` → address-space lock → `fills` lock (shared to read pages in or to let a mapping
//! dirty one, exclusive to truncate) → page lock (several only in ascending order, by a writer that holds `rwsem`) →
//! file-system locks → tree lock (spinning). Reverse-map calls take address-space locks, so they happen with neither
//! a page lock nor the `fills` lock held.

mod mmap;
mod page;
mod read;
mod readahead;
mod reclaim;
mod tree;
mod truncate;
mod write;
mod writeback;

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

pub use mmap::mapping_of;
pub use page::{Fill, Page};
pub use read::{generic_read, read_page};
pub use readahead::{ReadAhead, prefetch};
pub use reclaim::{drop_caches, reclaim, start_reclaimer};
pub use truncate::{evict, invalidate, punch, truncate, zero_range};
pub use write::generic_write;
pub use writeback::{fsync_pages, start_flusher, sync_super, write_back, write_back_range};

use super::Inode;
use crate::mm::MmapRegistry;
use crate::prelude::*;
use tree::Tree;

/// What lies behind the pages of a file.
#[allow(unused_variables)]
pub trait Backing: Send + Sync {
    /// Starts reading consecutive pages. Each [`Fill`] is finished when its page's contents are there, possibly from
    /// an interrupt; one that is dropped unfinished means an I/O error.
    fn read_pages(&self, inode: &Inode, fills: Vec<Fill>);

    /// Writes pages (ascending, perhaps with gaps, none beyond the end of file) and waits until that is done.
    fn write_pages(&self, inode: &Inode, pages: &[Arc<Page>]) -> Result<()>;

    /// Bytes are about to be changed: reserves space for them. ENOSPC, EDQUOT, EFBIG, EROFS.
    fn write_begin(&self, inode: &Arc<Inode>, pos: u64, len: u64) -> Result<()> {
        Ok(())
    }

    /// Bytes were changed in the cache: moves the end of file, notes the time.
    fn write_end(&self, inode: &Arc<Inode>, pos: u64, len: u64) -> Result<()> {
        let now = super::Time::now();
        inode.update_attr(|attr| {
            attr.size = attr.size.max(pos + len);
            attr.mtime = now;
            attr.ctime = now;
        });
        Ok(())
    }
}

/// What is behind inodes without a backing: nothing that can be read.
struct Nothing;

impl Backing for Nothing {
    fn read_pages(&self, _inode: &Inode, _fills: Vec<Fill>) {}

    fn write_pages(&self, _inode: &Inode, _pages: &[Arc<Page>]) -> Result<()> {
        Err(Errno::EIO)
    }
}

fn backing(inode: &Inode) -> &dyn Backing {
    inode.ops.backing().unwrap_or(&Nothing)
}

static CACHED: AtomicUsize = AtomicUsize::new(0);
static DIRTY: AtomicUsize = AtomicUsize::new(0);
static WRITEBACK: AtomicUsize = AtomicUsize::new(0);

/// Pages in all caches, for /proc/meminfo and /proc/vmstat.
#[derive(Clone, Copy, Debug)]
pub struct CacheStats {
    /// All pages (`nr_file_pages`, "Cached").
    pub cached: usize,
    /// Those that wait to be written ("Dirty").
    pub dirty: usize,
    /// Those on their way to disk ("Writeback").
    pub writeback: usize,
}

/// How many pages there are.
pub fn stats() -> CacheStats {
    CacheStats {
        cached: CACHED.load(Ordering::Relaxed),
        dirty: DIRTY.load(Ordering::Relaxed),
        writeback: WRITEBACK.load(Ordering::Relaxed),
    }
}

/// What an inode has in memory (`address_space`). Made when the first page comes.
struct Mapping {
    tree: RwSpinLock<Tree>,
    /// Shared while pages are filled, exclusive while they are truncated.
    fills: RwLock<()>,
    /// One write-back at a time.
    writing: Mutex<()>,
    /// Dirty pages.
    dirty: AtomicUsize,
    /// Time since boot in ns at which it became dirty.
    dirty_since: AtomicU64,
    /// It is in the list of dirty files.
    listed: AtomicBool,
    /// Where the reclaimer goes on.
    clock: AtomicU64,
}

impl Mapping {
    fn find(&self, index: u64) -> Option<Arc<Page>> {
        self.tree.read().get(index).cloned()
    }

    /// Takes a page out that the caller has locked (or that nobody else can reach).
    fn remove(&self, page: &Page) -> Option<Arc<Page>> {
        let removed = {
            let mut tree = self.tree.write();
            match tree.get(page.index()) {
                Some(there) if core::ptr::eq(&**there, page) => tree.remove(page.index()),
                _ => None,
            }
        }?;
        removed.set_gone();
        self.forget_dirty(&removed);
        CACHED.fetch_sub(1, Ordering::Relaxed);
        Some(removed)
    }

    /// The page, which has left the tree, need not be written any more.
    fn forget_dirty(&self, page: &Page) {
        if page.clear_dirty() {
            self.dirty.fetch_sub(1, Ordering::Relaxed);
            DIRTY.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        DIRTY.fetch_sub(self.dirty.load(Ordering::Relaxed), Ordering::Relaxed);
        CACHED.fetch_sub(self.tree.read().len(), Ordering::Relaxed);
    }
}

/// The pages of an inode.
pub struct PageCache {
    mapping: OnceLock<Arc<Mapping>>,
    mappings: MmapRegistry,
    /// Count of failed write-backs in the upper half, errno of the last in the lower.
    error: AtomicU64,
}

impl PageCache {
    /// No pages.
    pub const fn new() -> Self {
        Self {
            mapping: OnceLock::new(),
            mappings: MmapRegistry::new(),
            error: AtomicU64::new(0),
        }
    }

    /// Pages in memory.
    pub fn page_count(&self) -> usize {
        self.mapping
            .get()
            .map_or(0, |mapping| mapping.tree.read().len())
    }

    /// Pages `[first, last)` in memory, and those of them that wait to be written.
    pub fn count(&self, first: u64, last: u64) -> (u64, u64) {
        let mut found = (0, 0);
        if let Some(mapping) = self.mapping.get()
            && last > first
        {
            mapping
                .tree
                .read()
                .visit(first, last - 1, false, &mut |page| {
                    found.0 += 1;
                    found.1 += u64::from(page.is_dirty());
                    true
                });
        }
        found
    }

    /// The address spaces that map the file.
    pub fn mappings(&self) -> &MmapRegistry {
        &self.mappings
    }

    /// Where error reports stand now: what a new open file description starts with.
    pub fn error_sample(&self) -> u64 {
        self.error.load(Ordering::Acquire)
    }

    /// Notes that writing back failed: the next fsync of every open file description reports it.
    pub fn set_error(&self, error: Errno) {
        let _ = self
            .error
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |old| {
                Some(((old >> 32) + 1) << 32 | error.raw() as u64)
            });
    }

    /// Reports an error that the owner of `seen` has not been told of.
    pub fn check_error(&self, seen: &AtomicU64) -> Result<()> {
        let now = self.error.load(Ordering::Acquire);
        if now == 0 || seen.swap(now, Ordering::AcqRel) == now {
            return Ok(());
        }
        Err(Errno::from_raw(now as u32 as i32).unwrap_or(Errno::EIO))
    }

    fn get_mapping(&self) -> &Arc<Mapping> {
        self.mapping.call_once(|| {
            let mapping = Arc::new(Mapping {
                tree: RwSpinLock::new(Tree::new()),
                fills: RwLock::new(()),
                writing: Mutex::new(()),
                dirty: AtomicUsize::new(0),
                dirty_since: AtomicU64::new(0),
                listed: AtomicBool::new(false),
                clock: AtomicU64::new(0),
            });
            reclaim::register(&mapping);
            mapping
        })
    }
}

/// The mapping of an inode, made if need be.
fn mapping(inode: &Inode) -> &Arc<Mapping> {
    inode.pages.get_mapping()
}

/// Adds a page at `index`, locked and without contents; if there is one already, that, not locked, and false. With
/// `wait`, memory is made free for it.
fn add_page(mapping: &Mapping, index: u64, wait: bool) -> Result<(Arc<Page>, bool)> {
    let frame = if wait {
        crate::mm::alloc_user_frame(AllocFlags::empty())
    } else {
        Frame::alloc(AllocFlags::USER)
    };
    let page = Page::new_locked(frame.ok_or(Errno::ENOMEM)?, index);
    // Counted first, so that a removal that is quick does not count below zero.
    CACHED.fetch_add(1, Ordering::Relaxed);
    let there = {
        let mut tree = mapping.tree.write();
        match tree.get(index) {
            Some(there) => Some(there.clone()),
            None => {
                tree.insert(page.clone());
                None
            }
        }
    };
    let Some(there) = there else {
        return Ok((page, true));
    };
    CACHED.fetch_sub(1, Ordering::Relaxed);
    Ok((there, false))
}

/// Marks a locked, valid page as newer than the disk.
fn mark_dirty(inode: &Arc<Inode>, mapping: &Arc<Mapping>, page: &Page) {
    if page.is_gone() || page.set_dirty() {
        return;
    }
    mapping.tree.write().tag(page.index(), true);
    DIRTY.fetch_add(1, Ordering::Relaxed);
    if mapping.dirty.fetch_add(1, Ordering::Relaxed) == 0 {
        mapping
            .dirty_since
            .store(keel_hal::time::now(), Ordering::Relaxed);
    }
    if !mapping.listed.swap(true, Ordering::AcqRel) {
        writeback::list(inode, mapping);
    }
}

/// Marks a locked page as being the same as the disk's (it is about to be written).
fn mark_clean(mapping: &Mapping, page: &Page) {
    if page.clear_dirty() {
        mapping.tree.write().tag(page.index(), false);
        mapping.dirty.fetch_sub(1, Ordering::Relaxed);
        DIRTY.fetch_sub(1, Ordering::Relaxed);
    }
}
