//! Memory for user pages, and what happens when there is none: reclaim, then the OOM killer.
//!
//! User pages are allocated above a watermark that leaves the kernel a reserve, so that the kernel's own
//! allocations go on while a victim is found and killed.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::prelude::*;

/// The frame of zeroes that read faults on anonymous memory map.
pub(super) fn zero_frame() -> Frame {
    static ZERO: OnceLock<Frame> = OnceLock::new();
    ZERO.call_once(|| {
        Frame::alloc(AllocFlags::ZERO).unwrap_or_else(|| panic!("no memory for the zero page"))
    })
    .clone()
}

/// A frame for user memory or the page cache; reclaims clean page cache when memory is short. Sleeps.
pub fn alloc_user_frame(flags: AllocFlags) -> Option<Frame> {
    for _ in 0..3 {
        if let Some(frame) = Frame::alloc(flags | AllocFlags::USER) {
            return Some(frame);
        }
        if crate::fs::page_cache::reclaim(64) == 0 {
            break;
        }
    }
    Frame::alloc(flags | AllocFlags::USER)
}

/// Processes killed for want of memory since boot (`oom_kill` in /proc/vmstat).
pub static OOM_KILLS: AtomicU64 = AtomicU64::new(0);

/// `vm.panic_on_oom`: stop the machine instead.
pub static PANIC_ON_OOM: AtomicU32 = AtomicU32::new(0);
/// `vm.oom_kill_allocating_task`: kill who asked for memory.
pub static KILL_ALLOCATING: AtomicBool = AtomicBool::new(false);

/// A victim that is still dying; no second one is chosen before its memory came back.
static VICTIM: SpinLock<Option<(Weak<crate::process::Process>, u64)>> = SpinLock::new(None);

/// How long a victim is given before the next one is chosen.
const VICTIM_PATIENCE_NS: u64 = 2_000_000_000;

/// Frees memory by killing the process whose badness is highest (proc(5), `oom_score_adj`).
///
/// True if the caller should try again; false if the caller itself is to die.
pub(super) fn out_of_memory() -> bool {
    let now = keel_hal::time::now();
    let waiting = {
        let victim = VICTIM.lock();
        victim.as_ref().is_some_and(|(process, since)| {
            process.upgrade().is_some_and(|p| p.mm_alive())
                && now.saturating_sub(*since) < VICTIM_PATIENCE_NS
        })
    };
    if !waiting {
        choose_victim(now);
    }
    if keel_hal::task::current().killed() {
        return false;
    }
    crate::time::sleep_ns(1_000_000);
    true
}

fn choose_victim(now: u64) {
    assert!(
        PANIC_ON_OOM.load(Ordering::Relaxed) == 0,
        "Out of memory: panic_on_oom is set"
    );
    let asking = crate::process::current_opt().map(|thread| thread.process.clone());
    if let Some(process) = asking
        && KILL_ALLOCATING.load(Ordering::Relaxed)
        && process.pid != 1
        && process.oom_score_adj() > -1000
    {
        return kill(&process, now);
    }
    let total = keel_hal::frame::stats().total as i64;
    let worst = crate::process::all()
        .into_iter()
        .filter(|process| process.pid != 1)
        .filter_map(|process| {
            let adj = i64::from(process.oom_score_adj());
            let points = process.resident() as i64 + adj * total / 1000;
            (adj > -1000 && process.mm_alive()).then_some((points, process))
        })
        .max_by_key(|(points, _)| *points);
    if let Some((_, process)) = worst {
        kill(&process, now);
    }
}

fn kill(process: &Arc<crate::process::Process>, now: u64) {
    log::error!(
        "Out of memory: Killed process {} ({}) total-vm:{}kB",
        process.pid,
        process.comm(),
        process.resident() * 4
    );
    OOM_KILLS.fetch_add(1, Ordering::Relaxed);
    *VICTIM.lock() = Some((Arc::downgrade(process), now));
    crate::process::signal::kill_process(process);
}
