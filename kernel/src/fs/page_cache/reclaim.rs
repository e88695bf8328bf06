//! Giving page-cache memory back: a clock over the files that have pages, and over each file's pages.
//!
//! [`reclaim`] is what an allocation that fails calls: it takes only spinning locks, removes clean pages that nobody
//! maps or holds, and gives pages used since its last look a second chance. The thread `kswapd0` does more: it starts
//! write-back and drops names and inodes that nobody uses.

use core::sync::atomic::{AtomicBool, Ordering};

use super::{Mapping, Page, writeback};
use crate::prelude::*;

/// Files with pages, in the order in which the clock comes to them.
static FILES: SpinLock<VecDeque<Weak<Mapping>>> = SpinLock::new(VecDeque::new());
static WAKE: WaitQueue = WaitQueue::new();
static WANTED: AtomicBool = AtomicBool::new(false);

/// Pages looked at in one file before the clock moves on.
const SCAN: usize = 128;

/// Lets the clock come to a file.
pub(super) fn register(mapping: &Arc<Mapping>) {
    FILES.lock().push_back(Arc::downgrade(mapping));
}

fn next_file() -> Option<Arc<Mapping>> {
    let mut files = FILES.lock();
    while let Some(file) = files.pop_front() {
        if let Some(mapping) = file.upgrade() {
            files.push_back(file);
            return Some(mapping);
        }
    }
    None
}

/// Frees up to about `pages` page frames; how many. Never sleeps.
pub fn reclaim(pages: usize) -> usize {
    if !WANTED.swap(true, Ordering::AcqRel) {
        WAKE.wake_all();
    }
    clock(pages)
}

fn clock(pages: usize) -> usize {
    let mut freed = 0;
    // Twice around: the first pass may only take away second chances.
    let mut budget = 2 * super::CACHED.load(Ordering::Relaxed) + SCAN;
    let mut empty = 0;
    let files = FILES.lock().len();
    while freed < pages && budget > 0 && empty <= 2 * files {
        let Some(mapping) = next_file() else { break };
        let (seen, gone) = scan(&mapping, pages - freed);
        freed += gone;
        budget = budget.saturating_sub(seen);
        empty = if gone > 0 { 0 } else { empty + 1 };
    }
    freed
}

/// Looks at some pages of a file: how many, and how many of them were freed.
fn scan(mapping: &Mapping, wanted: usize) -> (usize, usize) {
    let mut victims: Vec<Arc<Page>> = Vec::new();
    let mut seen = 0;
    {
        let mut tree = mapping.tree.write();
        let start = mapping.clock.load(Ordering::Relaxed);
        let mut indices: [u64; 32] = [0; 32];
        let mut found = 0;
        let mut next = 0;
        tree.visit(start, u64::MAX, false, &mut |page| {
            seen += 1;
            next = page.index() + 1;
            // One reference to the page and one to its frame are the cache's own.
            let unused = Arc::strong_count(page) == 1 && page.frame().ref_count() == 1;
            if unused && page.is_idle() && !page.forget_touch() {
                indices[found] = page.index();
                found += 1;
            }
            seen < SCAN && found < indices.len().min(wanted)
        });
        // At the end the next look starts over.
        let stopped = seen >= SCAN || found >= indices.len().min(wanted);
        mapping
            .clock
            .store(if stopped { next } else { 0 }, Ordering::Relaxed);
        victims.extend(
            indices[..found]
                .iter()
                .filter_map(|index| tree.remove(*index)),
        );
    }
    for page in &victims {
        page.set_gone();
    }
    super::CACHED.fetch_sub(victims.len(), Ordering::Relaxed);
    (seen.max(1), victims.len())
}

/// Starts the thread that keeps some memory free.
pub fn start_reclaimer() {
    crate::sched::spawn_kthread("kswapd0", || {
        loop {
            let _ = WAKE.wait(SleepMode::Uninterruptible, None, || {
                WANTED.load(Ordering::Acquire).then_some(())
            });
            let stats = keel_hal::frame::stats();
            let goal = (2 * stats.low_watermark).saturating_sub(stats.free);
            let freed = clock(goal);
            if freed < goal {
                shrink_names();
                writeback::wake();
                clock(goal - freed);
            }
            // Not more often than this, however hard memory is pressed.
            crate::time::sleep_ns(20_000_000);
            WANTED.store(false, Ordering::Release);
        }
    });
}

/// Drops names and inodes that nobody uses; how many.
fn shrink_names() -> usize {
    crate::fs::superblock::all()
        .iter()
        .map(|sb| sb.shrink_names() + sb.ops.shrink())
        .sum()
}

/// /proc/sys/vm/drop_caches: clean pages (`pages`), names and inodes (`names`).
pub fn drop_caches(pages: bool, names: bool) {
    if names {
        // Once for the second chance, once for good, and again for directories emptied by that.
        for _ in 0..3 {
            shrink_names();
        }
    }
    if pages {
        clock(usize::MAX);
    }
}
