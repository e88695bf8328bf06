//! Taking pages out of a file's cache.

use super::{Inode, Mapping, Page, mark_dirty, writeback};
use crate::prelude::*;

/// Shortens (or extends) a file: sets the size, removes what is beyond from the cache and from mappings, zeroes the
/// rest of the last page, and lets the file system's `shrink` free the blocks while nobody can read pages in.
///
/// The caller holds `rwsem` exclusively. If `shrink` fails the size is as it was.
pub fn truncate(inode: &Arc<Inode>, size: u64, shrink: impl FnOnce() -> Result<()>) -> Result<()> {
    let old = inode.size();
    if size >= old {
        shrink()?;
        inode.update_attr(|attr| attr.size = size);
        return Ok(());
    }
    inode.update_attr(|attr| attr.size = size);
    let first = size.div_ceil(PAGE_SIZE as u64);
    inode.pages.mappings().unmap_behind(first);
    let result = match inode.pages.mapping.get() {
        None => shrink(),
        Some(mapping) => {
            let _fills = mapping.fills.write();
            zero_tail(mapping, size);
            remove_range(mapping, first, u64::MAX);
            shrink()
        }
    };
    // Faults that had found their page before it went.
    inode.pages.mappings().unmap_behind(first);
    if result.is_err() {
        inode.update_attr(|attr| attr.size = old);
    }
    result
}

/// Zeroes what is behind the end of file in its last page, if that is in memory.
fn zero_tail(mapping: &Mapping, size: u64) {
    let off = size as usize % PAGE_SIZE;
    if off == 0 {
        return;
    }
    let Some(page) = mapping.find(size >> PAGE_SHIFT) else {
        return;
    };
    page.lock();
    if page.is_uptodate() && !page.is_gone() {
        page.frame().fill(off, PAGE_SIZE - off, 0);
    }
    page.unlock();
}

/// Removes the whole pages in `[first, last)`. They may be in any state; reads and writes in flight are waited for.
fn remove_range(mapping: &Mapping, first: u64, last: u64) {
    let mut next = first;
    while let Some(page) = next_page(mapping, next, last) {
        next = page.index() + 1;
        page.lock();
        page.wait_writeback();
        mapping.remove(&page);
        page.unlock();
        keel_hal::task::cond_resched();
    }
}

fn next_page(mapping: &Mapping, from: u64, last: u64) -> Option<Arc<Page>> {
    let mut found = None;
    if from < last {
        mapping
            .tree
            .read()
            .visit(from, last - 1, false, &mut |page| {
                found = Some(page.clone());
                false
            });
    }
    found
}

/// Zeroes bytes `[from, to)`, which lie within one page that is at least partly in the file, and marks it dirty.
pub fn zero_range(inode: &Arc<Inode>, from: u64, to: u64) -> Result<()> {
    let state = SpinLock::new(super::ReadAhead::default());
    state.lock().set_scale(0);
    let page = super::read_page(inode, &state, from >> PAGE_SHIFT, 1)?;
    let off = from as usize % PAGE_SIZE;
    let len = (to - from).min((PAGE_SIZE - off) as u64) as usize;
    let mapping = super::mapping(inode);
    page.lock();
    if !page.is_gone() {
        page.frame().fill(off, len, 0);
        mark_dirty(inode, mapping, &page);
    }
    page.unlock();
    Ok(())
}

/// Drops bytes `[from, to)` from the cache before the file system changes what is behind them (hole punching, moving
/// ranges): they are written back first. `change` runs while nobody can read pages in. The caller holds `rwsem` exclusively.
pub fn punch(
    inode: &Arc<Inode>,
    from: u64,
    to: u64,
    change: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let first = from >> PAGE_SHIFT;
    let last = to.div_ceil(PAGE_SIZE as u64);
    writeback::write_back_range(inode, first, last)?;
    inode.pages.mappings().unmap_range(first, last);
    let result = match inode.pages.mapping.get() {
        None => change(),
        Some(mapping) => {
            let _fills = mapping.fills.write();
            remove_range(mapping, first, last);
            change()
        }
    };
    inode.pages.mappings().unmap_range(first, last);
    result
}

/// Drops clean pages in `[first, last)` that nobody uses (POSIX_FADV_DONTNEED, BLKFLSBUF, drop_caches); how many.
pub fn invalidate(inode: &Inode, first: u64, last: u64) -> usize {
    let Some(mapping) = inode.pages.mapping.get() else {
        return 0;
    };
    let mut dropped = 0;
    let mut next = first;
    while let Some(page) = next_page(mapping, next, last) {
        next = page.index() + 1;
        if !page.is_idle() || page.frame().ref_count() > 1 || !page.try_lock() {
            continue;
        }
        if page.is_clean() && mapping.remove(&page).is_some() {
            dropped += 1;
        }
        page.unlock();
    }
    dropped
}

/// The inode is going: writes what is dirty, unless `discard` (it has been deleted), and drops everything. Nobody
/// else uses the inode, nobody maps it.
pub fn evict(inode: &Inode, discard: bool) {
    let Some(mapping) = inode.pages.mapping.get() else {
        return;
    };
    if !discard {
        // An error has nobody left to be reported to but the log.
        if let Err(error) = writeback::write_last(inode) {
            log::error!("inode {}: lost page write ({error:?})", inode.ino);
        }
    }
    writeback::unlist(mapping);
    remove_range(mapping, 0, u64::MAX);
}
