//! Write-back: bringing dirty pages to the disk.
//!
//! A page that is about to be written becomes clean first, then its mappings are made read-only, then it is written:
//! stores that come before that are in what is written, later ones fault and make the page dirty again.
//!
//! The kernel thread `flush` writes files that have been dirty for [`MAX_AGE_NS`], and everything when more than a
//! tenth of memory is dirty. Writers that make more than a fifth of memory dirty write their own file's pages.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{DIRTY, Inode, Mapping, Page, WRITEBACK, backing, mark_clean};
use crate::fs::SuperBlock;
use crate::prelude::*;
use crate::time::NSEC_PER_SEC;

/// How often the thread looks (`dirty_writeback_centisecs`).
const INTERVAL_NS: u64 = 5 * NSEC_PER_SEC;
/// How long pages may stay dirty (`dirty_expire_centisecs`).
const MAX_AGE_NS: u64 = 30 * NSEC_PER_SEC;
/// Pages that are handed to the file system at once.
const BATCH: usize = 1024;

/// Files with dirty pages.
static LIST: SpinLock<Vec<(Weak<Inode>, usize)>> = SpinLock::new(Vec::new());
static WAKE: WaitQueue = WaitQueue::new();
static WANTED: AtomicBool = AtomicBool::new(false);
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Puts a file on the list of dirty ones.
pub(super) fn list(inode: &Arc<Inode>, mapping: &Arc<Mapping>) {
    LIST.lock()
        .push((Arc::downgrade(inode), Arc::as_ptr(mapping) as usize));
}

/// Takes a file off the list.
pub(super) fn unlist(mapping: &Arc<Mapping>) {
    if mapping.listed.swap(false, Ordering::AcqRel) {
        let key = Arc::as_ptr(mapping) as usize;
        let mut list = LIST.lock();
        if let Some(at) = list.iter().position(|(_, k)| *k == key) {
            list.swap_remove(at);
        }
    }
}

/// What to do about pages that somebody else works on.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Mode {
    /// Wait: everything that is dirty now is written when it returns.
    Wait,
    /// Leave them for later.
    Skip,
    /// Nobody else has them.
    Alone,
}

/// Writes a file's dirty pages and waits for that: the first error, which is noted for fsync as well.
pub fn write_back(inode: &Inode) -> Result<()> {
    write(inode, 0, u64::MAX, Mode::Wait, usize::MAX).map(drop)
}

/// Writes the dirty pages in `[first, last)`.
pub fn write_back_range(inode: &Inode, first: u64, last: u64) -> Result<()> {
    write(inode, first, last, Mode::Wait, usize::MAX).map(drop)
}

/// Writes what an inode that nobody uses any more still has.
pub(super) fn write_last(inode: &Inode) -> Result<()> {
    write(inode, 0, u64::MAX, Mode::Alone, usize::MAX).map(drop)
}

/// Writes dirty pages in `[first, last)`, about `limit` of them at most; how many.
fn write(inode: &Inode, first: u64, last: u64, mode: Mode, limit: usize) -> Result<usize> {
    let Some(mapping) = inode.pages.mapping.get() else {
        return Ok(0);
    };
    // Whoever waits also waits for what others have begun to write.
    let _writing = match mode {
        Mode::Skip => match mapping.writing.try_lock() {
            Some(guard) => guard,
            None => return Ok(0),
        },
        _ => mapping.writing.lock(),
    };
    let mut written = 0;
    let mut next = first;
    let mut result = Ok(());
    while written < limit {
        let found = dirty_pages(mapping, next, last);
        let Some(end) = found.last() else { break };
        next = end.index() + 1;
        let pages = prepare(inode, mapping, found, mode);
        written += pages.len();
        if let Err(error) = write_prepared(inode, &pages) {
            inode.pages.set_error(error);
            result = result.and(Err(error));
        }
        keel_hal::task::cond_resched();
    }
    result.map(|()| written)
}

fn dirty_pages(mapping: &Mapping, first: u64, last: u64) -> Vec<Arc<Page>> {
    let mut found = Vec::new();
    if mapping.dirty.load(Ordering::Relaxed) > 0 && first < last {
        mapping
            .tree
            .read()
            .visit(first, last - 1, true, &mut |page| {
                found.push(page.clone());
                found.len() < BATCH
            });
    }
    found
}

/// Makes pages clean and read-only; those that are to be written now.
fn prepare(
    inode: &Inode,
    mapping: &Mapping,
    mut pages: Vec<Arc<Page>>,
    mode: Mode,
) -> Vec<Arc<Page>> {
    pages.retain(|page| {
        if mode == Mode::Skip {
            if !page.try_lock() {
                return false;
            }
        } else {
            page.lock();
        }
        let wanted = page.is_dirty() && !page.is_gone();
        if wanted {
            page.start_writeback();
            mark_clean(mapping, page);
        }
        page.unlock();
        wanted
    });
    WRITEBACK.fetch_add(pages.len(), Ordering::Relaxed);
    if mode != Mode::Alone {
        for page in &pages {
            inode.pages.mappings().write_protect(page.index());
        }
    }
    pages
}

fn write_prepared(inode: &Inode, pages: &[Arc<Page>]) -> Result<()> {
    let size = inode.size();
    // What is beyond the end of file by now is about to be truncated, or was a store beyond it.
    let inside = pages.partition_point(|page| page.offset() < size);
    if let Some(page) = pages.get(..inside).and_then(<[_]>::last) {
        let len = size - page.offset();
        if len < PAGE_SIZE as u64 {
            page.frame().fill(len as usize, PAGE_SIZE - len as usize, 0);
        }
    }
    let result = match pages.get(..inside) {
        Some(inside) if !inside.is_empty() => backing(inode).write_pages(inode, inside),
        _ => Ok(()),
    };
    WRITEBACK.fetch_sub(pages.len(), Ordering::Relaxed);
    for page in pages {
        page.end_writeback();
    }
    result
}

/// Writes a file's pages for fsync(2): errors since the last report to `seen`.
pub fn fsync_pages(inode: &Inode, seen: &AtomicU64) -> Result<()> {
    let written = write_back(inode);
    inode.pages.check_error(seen)?;
    written
}

/// Files of `sb` (or all) with dirty pages; forgets those that have none any more.
fn dirty_inodes(sb: Option<&Arc<SuperBlock>>) -> Vec<Arc<Inode>> {
    let mut gone = Vec::new();
    let mut inodes = Vec::new();
    {
        let mut list = LIST.lock();
        list.retain(|(weak, _)| {
            // An inode on its way out takes itself off the list.
            let Some(inode) = weak.upgrade() else {
                return true;
            };
            let Some(mapping) = inode.pages.mapping.get() else {
                return false;
            };
            let mut keep = true;
            if mapping.dirty.load(Ordering::Acquire) == 0 {
                mapping.listed.store(false, Ordering::Release);
                // Somebody may have made a page dirty just before: it then did not list the file again.
                keep = mapping.dirty.load(Ordering::Acquire) > 0
                    && !mapping.listed.swap(true, Ordering::AcqRel);
                if !keep {
                    gone.push(inode);
                    return false;
                }
            }
            inodes.push(inode);
            keep
        });
    }
    // Dropped outside of the lock: a last reference writes.
    drop(gone);
    match sb {
        Some(sb) => inodes
            .into_iter()
            .filter(|inode| Arc::ptr_eq(&inode.sb, sb))
            .collect(),
        None => inodes,
    }
}

/// Writes all dirty pages of a file system. Errors are noted at the files.
pub fn sync_super(sb: &Arc<SuperBlock>) -> Result<()> {
    let mut result = Ok(());
    for inode in dirty_inodes(Some(sb)) {
        result = result.and(write_back(&inode));
    }
    result
}

/// Frames below which writers are not slowed: a fifth of memory (`dirty_ratio`).
fn limit() -> usize {
    let known = LIMIT.load(Ordering::Relaxed);
    if known != u64::MAX {
        return known as usize;
    }
    let limit = keel_hal::frame::stats().total / 5;
    LIMIT.store(limit as u64, Ordering::Relaxed);
    limit
}

fn dirty() -> usize {
    DIRTY.load(Ordering::Relaxed) + WRITEBACK.load(Ordering::Relaxed)
}

/// Starts the thread when there is much to write.
pub(super) fn wake_if_many() {
    if dirty() > limit() / 2 {
        wake();
    }
}

/// Lets the thread write everything that is dirty.
pub(super) fn wake() {
    if !WANTED.swap(true, Ordering::AcqRel) {
        WAKE.wake_all();
    }
}

/// Called by writers, with `rwsem` held: slows those down that make pages dirty faster than they can be written.
pub(super) fn throttle(inode: &Inode) {
    wake_if_many();
    if dirty() > limit() {
        // Errors are noted at the file.
        let _ = write(inode, 0, u64::MAX, Mode::Wait, BATCH);
    }
}

/// Starts the write-back thread.
pub fn start_flusher() {
    crate::sched::spawn_kthread("flush", || {
        loop {
            let deadline = keel_hal::time::now() + INTERVAL_NS;
            // Either the deadline passes or somebody asks.
            let _ = WAKE.wait(SleepMode::Uninterruptible, Some(deadline), || {
                WANTED.load(Ordering::Acquire).then_some(())
            });
            WANTED.store(false, Ordering::Release);
            flush_once();
        }
    });
}

fn flush_once() {
    let now = keel_hal::time::now();
    for inode in dirty_inodes(None) {
        let Some(mapping) = inode.pages.mapping.get() else {
            continue;
        };
        let since = mapping.dirty_since.load(Ordering::Relaxed);
        let old = now.saturating_sub(since) >= MAX_AGE_NS;
        if old || dirty() > limit() / 2 {
            // What becomes dirty from now on starts a new age.
            mapping.dirty_since.store(now, Ordering::Relaxed);
            let _ = write(&inode, 0, u64::MAX, Mode::Skip, usize::MAX);
        }
    }
}
