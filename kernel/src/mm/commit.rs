//! How much memory has been promised, and how much may be (proc(5), `vm.overcommit_memory`).
//!
//! Counted are pages of private writable mappings without MAP_NORESERVE ([`VmFlags::ACCOUNT`]) and of shared anonymous
//! memory. The count is kept in one part for each CPU, so that mappings made on different CPUs share no cache line.
//!
//! [`VmFlags::ACCOUNT`]: super::VmFlags::ACCOUNT

use core::sync::atomic::{AtomicIsize, AtomicU8, AtomicU32, AtomicU64, Ordering};
use keel_hal::cpu;

use crate::prelude::*;
use crate::process::Cap;

/// Only what is plainly too much is refused (`vm.overcommit_memory`).
pub const GUESS: u8 = 0;
/// Everything is promised.
pub const ALWAYS: u8 = 1;
/// Nothing beyond [`limit`] is promised.
pub const NEVER: u8 = 2;

/// `vm.overcommit_memory`.
pub static MODE: AtomicU8 = AtomicU8::new(GUESS);
/// `vm.overcommit_ratio`, per cent.
pub static RATIO: AtomicU32 = AtomicU32::new(50);
/// `vm.overcommit_kbytes`; 0: the ratio counts.
pub static KBYTES: AtomicU64 = AtomicU64::new(0);
/// `vm.admin_reserve_kbytes`.
pub static ADMIN_RESERVE_KBYTES: AtomicU64 = AtomicU64::new(8192);
/// `vm.user_reserve_kbytes`.
pub static USER_RESERVE_KBYTES: AtomicU64 = AtomicU64::new(131_072);

const PARTS: usize = 16;

#[repr(align(64))]
struct Part(AtomicIsize);

static COMMITTED: [Part; PARTS] = [const { Part(AtomicIsize::new(0)) }; PARTS];

fn add(pages: isize) {
    COMMITTED[cpu::id() % PARTS]
        .0
        .fetch_add(pages, Ordering::Relaxed);
}

/// Whether nothing is promised that could not be kept (mode 2).
pub fn is_strict() -> bool {
    MODE.load(Ordering::Relaxed) == NEVER
}

/// Pages promised.
pub fn committed() -> usize {
    let sum: isize = COMMITTED
        .iter()
        .map(|part| part.0.load(Ordering::Relaxed))
        .sum();
    usize::try_from(sum).unwrap_or(0)
}

fn kilobytes(value: &AtomicU64) -> usize {
    (value.load(Ordering::Relaxed) as usize) >> (PAGE_SHIFT - 10)
}

/// Pages that may be promised in mode 2 (`CommitLimit`).
pub fn limit() -> usize {
    let total = keel_hal::frame::stats().total;
    match kilobytes(&KBYTES) {
        0 => {
            let huge =
                super::hugetlb::counts().total * (keel_hal::addr::HUGE_PAGE_SIZE / PAGE_SIZE);
            total.saturating_sub(huge) * RATIO.load(Ordering::Relaxed) as usize / 100
        }
        pages => pages,
    }
}

/// Promises pages; `process_pages` is what the process has mapped already. ENOMEM.
pub fn charge(pages: usize, process_pages: usize) -> Result<()> {
    add(pages as isize);
    let too_much = match MODE.load(Ordering::Relaxed) {
        ALWAYS => false,
        NEVER => {
            let admin = crate::process::current_opt()
                .is_none_or(|thread| thread.cred().has(Cap::SYS_ADMIN));
            let mut allowed = limit();
            if !admin {
                allowed = allowed.saturating_sub(kilobytes(&ADMIN_RESERVE_KBYTES));
            }
            let user = kilobytes(&USER_RESERVE_KBYTES).min(process_pages / 32);
            committed() > allowed.saturating_sub(user)
        }
        _ => pages > keel_hal::frame::stats().total,
    };
    if too_much {
        add(-(pages as isize));
        return Err(Errno::ENOMEM);
    }
    Ok(())
}

/// Takes a promise back.
pub fn uncharge(pages: usize) {
    if pages > 0 {
        add(-(pages as isize));
    }
}
