//! Read-ahead: how much to read when a page is missing, and when to start on the next pages.
//!
//! Sequential readers get a window that doubles up to [`MAX_PAGES`]; a marked page inside it starts the next window
//! while the reader still has pages to go. Random readers get what they asked for.

use super::{Fill, Inode, Mapping, add_page, backing, mapping};
use crate::prelude::*;

/// Largest window in pages (512 KiB).
const MAX_PAGES: u64 = 128;
/// First window of a sequential reader.
const INITIAL_PAGES: u64 = 8;
/// What a fault on a mapping reads around its page.
pub(super) const FAULT_PAGES: u64 = 16;

/// The state of one reader.
#[derive(Clone, Copy, Debug)]
pub struct ReadAhead {
    /// First page of the window.
    start: u64,
    /// Pages in the window; 0 before the first read.
    size: u64,
    /// Page that was read last; `u64::MAX` at first.
    previous: u64,
    /// How posix_fadvise(2) scales the window: 0 for none (RANDOM), 1, or 2 (SEQUENTIAL).
    scale: u64,
}

impl Default for ReadAhead {
    fn default() -> Self {
        Self {
            start: 0,
            size: 0,
            previous: u64::MAX,
            scale: 1,
        }
    }
}

impl ReadAhead {
    /// posix_fadvise(2): 0 for RANDOM, 1 for NORMAL, 2 for SEQUENTIAL.
    pub fn set_scale(&mut self, scale: u64) {
        self.scale = scale.min(2);
    }

    /// Notes that `index` was read.
    pub(super) fn note(&mut self, index: u64) {
        self.previous = index;
    }

    /// The window to read because `index` is missing and `wanted` pages are asked for: first page, pages, and the
    /// page to mark.
    fn on_miss(&mut self, index: u64, wanted: u64) -> (u64, u64, u64) {
        let max = MAX_PAGES * self.scale;
        let sequential = index == self.previous.wrapping_add(1) || index == self.previous;
        if self.scale == 0 || !sequential {
            self.size = 0;
            let pages = wanted.clamp(1, MAX_PAGES);
            return (index, pages, u64::MAX);
        }
        let continues = self.size > 0 && index == self.start + self.size;
        let pages = if continues {
            self.size * 2
        } else {
            INITIAL_PAGES.max(wanted * 2)
        };
        self.start = index;
        self.size = pages.min(max).max(1);
        (self.start, self.size, self.start + self.size / 2)
    }

    /// The window to read because the marked page `index` was reached.
    fn on_marker(&mut self, index: u64) -> Option<(u64, u64, u64)> {
        let max = MAX_PAGES * self.scale;
        if self.scale == 0 || !(self.start..self.start + self.size).contains(&index) {
            return None;
        }
        self.start += self.size;
        self.size = (self.size * 2).min(max);
        Some((self.start, self.size, self.start))
    }
}

/// A page is missing: reads it and what should come with it.
pub(super) fn on_miss(
    inode: &Inode,
    state: &SpinLock<ReadAhead>,
    index: u64,
    wanted: u64,
) -> Result<()> {
    let (start, pages, marker) = state.lock().on_miss(index, wanted);
    start_read(inode, mapping(inode), start, pages, marker)
}

/// The marked page `index` was reached: starts the next window. Errors show when the pages are needed.
pub(super) fn on_marker(inode: &Inode, state: &SpinLock<ReadAhead>, index: u64) {
    let window = state.lock().on_marker(index);
    if let Some((start, pages, marker)) = window {
        let _ = start_read(inode, mapping(inode), start, pages, marker);
    }
}

/// A mapping touched a page that is missing: reads the pages around it.
pub(super) fn around(inode: &Inode, index: u64) -> Result<()> {
    let start = index & !(FAULT_PAGES - 1);
    let mapping = mapping(inode);
    start_read(inode, mapping, index, start + FAULT_PAGES - index, u64::MAX)?;
    if start < index {
        let _ = start_read(inode, mapping, start, index - start, u64::MAX);
    }
    Ok(())
}

/// readahead(2), POSIX_FADV_WILLNEED, MADV_WILLNEED: starts reading pages that are missing.
pub fn prefetch(inode: &Inode, first: u64, pages: u64) {
    let mut at = first;
    let end = first
        .saturating_add(pages)
        .min(inode.size().div_ceil(PAGE_SIZE as u64));
    while at < end {
        let n = (end - at).min(MAX_PAGES);
        if start_read(inode, mapping(inode), at, n, u64::MAX).is_err() {
            return;
        }
        at += n;
    }
}

/// Starts reading those of `pages` pages from `start` on that are missing, up to the end of file. Only the first
/// page's memory is worth an effort.
fn start_read(
    inode: &Inode,
    mapping: &Arc<Mapping>,
    start: u64,
    pages: u64,
    marker: u64,
) -> Result<()> {
    let _fills = mapping.fills.read();
    let end = inode
        .size()
        .div_ceil(PAGE_SIZE as u64)
        .min(start.saturating_add(pages));
    let mut run: Vec<Fill> = Vec::new();
    for index in start..end {
        let missing = mapping.tree.read().get(index).is_none();
        let added = if missing {
            match add_page(mapping, index, index == start) {
                Ok((page, true)) => Some(page),
                Ok((_, false)) => None,
                Err(error) => {
                    submit(inode, &mut run);
                    return if index == start { Err(error) } else { Ok(()) };
                }
            }
        } else {
            None
        };
        match added {
            Some(page) => {
                if index == marker {
                    page.set_marker();
                }
                run.push(Fill::new(page));
            }
            None => submit(inode, &mut run),
        }
    }
    submit(inode, &mut run);
    Ok(())
}

fn submit(inode: &Inode, run: &mut Vec<Fill>) {
    if !run.is_empty() {
        backing(inode).read_pages(inode, core::mem::take(run));
    }
}
