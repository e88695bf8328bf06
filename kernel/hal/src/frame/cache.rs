//! Per-CPU caches of single frames in front of the buddy allocator.
//!
//! Each CPU touches only its own cache, with interrupts off: no lock and no atomic operation on the
//! common path. Frames move to and from the buddy allocator in batches.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

use super::buddy::BUDDY;
use super::meta::{Kind, meta};
use crate::cpu;
use crate::sync::{pop_off, push_off};

const CAPACITY: usize = 64;
const BATCH: usize = 32;

#[repr(align(64))]
struct Cache {
    /// Valid entries of `pfns`; other CPUs read it for statistics.
    len: AtomicU32,
    pfns: UnsafeCell<[u32; CAPACITY]>,
}

// SAFETY: `pfns` is only touched by the CPU that owns the cache, with interrupts off.
unsafe impl Sync for Cache {}

static CACHES: [Cache; cpu::MAX_CPUS] = [const {
    Cache {
        len: AtomicU32::new(0),
        pfns: UnsafeCell::new([0; CAPACITY]),
    }
}; cpu::MAX_CPUS];

/// Runs `f` on this CPU's cache and its length, interrupts off.
fn with_cache<R>(f: impl FnOnce(&mut [u32; CAPACITY], &mut usize) -> R) -> R {
    push_off();
    let cache = &CACHES[cpu::id()];
    let mut len = cache.len.load(Ordering::Relaxed) as usize;
    // SAFETY: interrupts are off, and only the owner reaches its cache; `f` does not call back here.
    let result = f(unsafe { &mut *cache.pfns.get() }, &mut len);
    cache.len.store(len as u32, Ordering::Relaxed);
    pop_off();
    result
}

/// Takes one frame, marked used.
pub(super) fn alloc() -> Option<usize> {
    with_cache(|pfns, len| {
        if *len == 0 {
            let mut buddy = BUDDY.lock();
            while *len < BATCH {
                let Some(pfn) = buddy.alloc(0) else { break };
                pfns[*len] = pfn as u32;
                *len += 1;
            }
        }
        *len = len.checked_sub(1)?;
        Some(pfns[*len] as usize)
    })
}

/// Gives one frame back.
pub(super) fn free(pfn: usize) {
    let entry = meta(pfn);
    entry.set_kind(Kind::Used);
    entry.set_order(0);
    with_cache(|pfns, len| {
        if *len == CAPACITY {
            // The oldest go back; the newest are warm in the CPU's caches.
            let mut buddy = BUDDY.lock();
            for &old in &pfns[..BATCH] {
                buddy.free(old as usize, 0);
            }
            drop(buddy);
            pfns.copy_within(BATCH.., 0);
            *len -= BATCH;
        }
        pfns[*len] = pfn as u32;
        *len += 1;
    });
}

/// Gives this CPU's cached frames back, so that they can merge.
pub(super) fn drain_local() {
    with_cache(|pfns, len| {
        let mut buddy = BUDDY.lock();
        for &pfn in &pfns[..*len] {
            buddy.free(pfn as usize, 0);
        }
        *len = 0;
    });
}

/// Frames in all caches.
pub(super) fn cached() -> usize {
    CACHES
        .iter()
        .map(|cache| cache.len.load(Ordering::Relaxed) as usize)
        .sum()
}
