//! Robust futexes: what a thread leaves locked when it ends (robust_list(7), set_robust_list(2)).

use core::sync::atomic::Ordering;
use keel_hal::user;

use super::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, wake_address};
use crate::mm::AddressSpace;
use crate::prelude::*;
use crate::process::Thread;

/// Longest robust list that is walked.
const ROBUST_LIST_LIMIT: usize = 2048;
/// In a pointer of the list: the entry is a PI futex.
const PI: u64 = 1;

/// Marks the robust futexes that the thread holds as owner-died and wakes a waiter of each. PI futexes are only marked:
/// [`super::pi::release_all`] gives them to their first waiters.
pub(super) fn release_all(thread: &Arc<Thread>) {
    let head = thread.robust_list.swap(0, Ordering::Relaxed);
    let Some(mm) = thread.mm_opt() else { return };
    if head == 0 {
        return;
    }
    let read = |addr: u64| user::read_obj::<u64>(addr as usize).ok();
    // struct robust_list_head: list, futex_offset, list_op_pending.
    let (Some(mut entry), Some(offset), Some(pending)) = (
        read(head),
        read(head.wrapping_add(8)),
        read(head.wrapping_add(16)),
    ) else {
        return;
    };
    let died = |entry: u64, pending: bool| {
        let addr = (entry & !PI).wrapping_add(offset) as usize;
        owner_died(thread, &mm, addr, entry & PI != 0, pending);
    };
    for _ in 0..ROBUST_LIST_LIMIT {
        if entry & !PI == head {
            break;
        }
        let next = read(entry & !PI);
        if entry & !PI != pending & !PI {
            died(entry, false);
        }
        let Some(next) = next else { return };
        entry = next;
    }
    if pending & !PI != 0 {
        died(pending, true);
    }
}

fn owner_died(
    thread: &Arc<Thread>,
    mm: &Arc<AddressSpace>,
    addr: usize,
    is_pi: bool,
    pending: bool,
) {
    if !addr.is_multiple_of(4) {
        return;
    }
    let Ok(mut seen) = user::load_u32(addr) else {
        return;
    };
    loop {
        if pending && !is_pi && seen == 0 {
            // The thread died between unlocking and waking: the waker's duty passes on.
            wake_address(mm, addr, 1);
            return;
        }
        if seen & FUTEX_TID_MASK != thread.tid() {
            return;
        }
        let dead = (seen & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
        match user::cmpxchg_u32(addr, seen, dead) {
            Ok(now) if now == seen => break,
            Ok(now) => seen = now,
            Err(_) => return,
        }
    }
    if !is_pi && seen & FUTEX_WAITERS != 0 {
        wake_address(mm, addr, 1);
    }
}
