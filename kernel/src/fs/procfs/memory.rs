//! Memory: /proc/meminfo, vmstat, buddyinfo, slabinfo.
//!
//! Counters exist for frames, the page cache, tmpfs, the heap and page tables; what none of them accounts for are the
//! anonymous pages of programs.

use core::sync::atomic::Ordering;
use keel_hal::{frame, heap};
use keel_procfs::{MemInfo, Slab, Zone};

use crate::fs::{page_cache, tmpfs};
use crate::mm::{commit, huge, hugetlb};
use crate::prelude::*;
use crate::process::pid;

/// Bytes of a thread's stack in the kernel.
const STACK_BYTES: u64 = 32 << 10;
/// Bytes of a huge page.
const HUGE_PAGE: u64 = 2 << 20;

/// Where memory is, in pages.
struct Usage {
    frames: frame::FrameStats,
    cache: page_cache::CacheStats,
    shmem: u64,
    heap: u64,
    stacks: u64,
    tables: u64,
    anon: u64,
}

impl Usage {
    fn now() -> Self {
        let frames = frame::stats();
        let cache = page_cache::stats();
        let shmem = tmpfs::total_pages() as u64;
        let heap = (heap::stats().reserved / PAGE_SIZE) as u64;
        let stacks = pid::thread_count() as u64 * (STACK_BYTES / PAGE_SIZE as u64);
        let processes = crate::process::all();
        let spaces = processes.iter().filter_map(|p| p.main_thread()?.mm_opt());
        let tables = spaces.map(|mm| mm.table().table_pages() as u64).sum();
        let used = (frames.total - frames.free.min(frames.total)) as u64;
        let known = cache.cached as u64 + shmem + heap + stacks + tables;
        Self {
            frames,
            cache,
            shmem,
            heap,
            stacks,
            tables,
            anon: used.saturating_sub(known),
        }
    }
}

fn bytes(pages: u64) -> u64 {
    pages.saturating_mul(PAGE_SIZE as u64)
}

/// What could be had without killing anybody: free pages above the reserve and most of the clean page cache.
fn available(usage: &Usage) -> u64 {
    let low = usage.frames.low_watermark as u64;
    let clean = (usage.cache.cached as u64)
        .saturating_sub((usage.cache.dirty + usage.cache.writeback) as u64);
    let keep = (clean / 2).min(low);
    (usage.frames.free as u64 + clean).saturating_sub(low + keep)
}

/// proc_meminfo(5).
pub fn meminfo() -> MemInfo {
    let usage = Usage::now();
    let cached = usage.cache.cached as u64;
    let total = usage.frames.total as u64;
    let huge = hugetlb::counts();
    MemInfo {
        total: bytes(total),
        free: bytes(usage.frames.free as u64),
        available: bytes(available(&usage)),
        cached: bytes(cached + usage.shmem),
        active_anon: bytes(usage.anon + usage.shmem),
        active_file: bytes(cached),
        dirty: bytes(usage.cache.dirty as u64),
        writeback: bytes(usage.cache.writeback as u64),
        anon_pages: bytes(usage.anon),
        shmem: bytes(usage.shmem),
        slab_unreclaimable: bytes(usage.heap),
        kernel_stack: bytes(usage.stacks),
        page_tables: bytes(usage.tables),
        commit_limit: bytes(commit::limit() as u64),
        committed_as: bytes(commit::committed() as u64),
        huge_pages: [huge.total, huge.free, huge.reserved, 0].map(|count| count as u64),
        hugetlb: huge.total as u64 * HUGE_PAGE,
        anon_huge_pages: keel_hal::paging::huge_pages() as u64 * HUGE_PAGE,
        huge_page_size: HUGE_PAGE,
        direct_map_2m: bytes(total) / HUGE_PAGE * HUGE_PAGE,
        direct_map_4k: bytes(total) % HUGE_PAGE,
        ..MemInfo::default()
    }
}

/// The counters of /proc/vmstat that the kernel keeps, in Linux's order.
pub fn vmstat() -> Vec<(&'static str, u64)> {
    let usage = Usage::now();
    let cached = usage.cache.cached as u64;
    let faults = fault_counts();
    vec![
        ("nr_free_pages", usage.frames.free as u64),
        ("nr_active_anon", usage.anon + usage.shmem),
        ("nr_active_file", cached),
        ("nr_slab_unreclaimable", usage.heap),
        ("nr_anon_pages", usage.anon),
        ("nr_file_pages", cached + usage.shmem),
        ("nr_dirty", usage.cache.dirty as u64),
        ("nr_writeback", usage.cache.writeback as u64),
        ("nr_shmem", usage.shmem),
        (
            "nr_anon_transparent_hugepages",
            keel_hal::paging::huge_pages() as u64,
        ),
        ("nr_kernel_stack", bytes(usage.stacks) >> 10),
        ("nr_page_table_pages", usage.tables),
        ("pgfault", faults.0 + faults.1),
        ("pgmajfault", faults.1),
        ("thp_fault_alloc", huge::FAULTS[0].load(Ordering::Relaxed)),
        (
            "thp_fault_fallback",
            huge::FAULTS[1].load(Ordering::Relaxed),
        ),
        ("oom_kill", crate::mm::OOM_KILLS.load(Ordering::Relaxed)),
    ]
}

/// Minor and major faults of all processes and the children they have waited for.
fn fault_counts() -> (u64, u64) {
    let mut sum = (0, 0);
    for process in crate::process::all() {
        let (own, children) = (process.usage(), *process.children_usage.lock());
        sum.0 += own.minor_faults + children.minor_faults;
        sum.1 += own.major_faults + children.major_faults;
    }
    sum
}

/// /proc/buddyinfo: one zone.
pub fn buddyinfo() -> Vec<Zone> {
    let free = frame::stats()
        .free_blocks
        .iter()
        .map(|blocks| *blocks as u64)
        .collect();
    vec![Zone {
        node: 0,
        name: "Normal",
        free,
    }]
}

/// /proc/slabinfo: the heap's size classes.
pub fn slabinfo() -> Vec<Slab> {
    heap::classes()
        .map(|(size, objects)| {
            let per_slab = (PAGE_SIZE / size.max(1)).max(1) as u64;
            let objects = objects as u64;
            let slabs = objects.div_ceil(per_slab);
            Slab {
                name: format!("kmalloc-{size}"),
                active_objects: objects,
                objects,
                object_size: size as u64,
                objects_per_slab: per_slab,
                pages_per_slab: size.div_ceil(PAGE_SIZE) as u64,
                active_slabs: slabs,
                slabs,
            }
        })
        .collect()
}
