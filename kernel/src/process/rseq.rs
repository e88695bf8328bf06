//! Restartable sequences (rseq(2)): telling user space its CPU, and aborting sequences that were interrupted.

use core::sync::atomic::Ordering;
use keel_hal::context::UserContext;

use super::{Thread, signal};
use crate::prelude::*;

/// Byte offsets in `struct rseq`.
mod field {
    pub const CPU_ID_START: u64 = 0;
    pub const CPU_ID: u64 = 4;
    pub const RSEQ_CS: u64 = 8;
}

/// [`Thread::rseq_cpu`] of a thread without an area.
pub const NO_AREA: u32 = u32::MAX;
/// [`Thread::rseq_cpu`] of a thread whose area does not show its CPU yet.
const UNKNOWN: u32 = u32::MAX - 1;

/// Registers an area, or ends a registration with one at address 0.
pub fn set_area(thread: &Thread, area: super::RseqArea) {
    let cpu = if area.addr == 0 { NO_AREA } else { UNKNOWN };
    *thread.rseq.lock() = area;
    thread.rseq_cpu.store(cpu, Ordering::Relaxed);
}

/// Whether the area shows another CPU than this one.
pub fn is_stale(thread: &Thread) -> bool {
    let shown = thread.rseq_cpu.load(Ordering::Relaxed);
    shown != NO_AREA && shown != keel_hal::cpu::id() as u32
}

/// Writes the CPU number to the registered area. A bad area costs the program a SIGSEGV, as on Linux.
pub fn publish_cpu(thread: &Arc<Thread>, cpu: u32) {
    let addr = thread.rseq.lock().addr;
    if addr == 0 {
        return;
    }
    thread.rseq_cpu.store(cpu, Ordering::Relaxed);
    let write = |field: u64| keel_hal::user::write_obj((addr + field) as usize, &cpu);
    if write(field::CPU_ID_START).is_err() || write(field::CPU_ID).is_err() {
        signal::force_segv(thread);
    }
}

/// After preemption, migration or before a signal frame: moves a thread inside a critical section to its abort
/// handler and refreshes the CPU number.
pub fn interrupted(thread: &Arc<Thread>, user: &mut UserContext) {
    let area = *thread.rseq.lock();
    if area.addr == 0 {
        return;
    }
    publish_cpu(thread, keel_hal::cpu::id() as u32);
    if abort_section(area.addr, area.sig, user).is_none() {
        signal::force_segv(thread);
    }
}

/// `None` when the registered structures cannot be read or are malformed.
fn abort_section(area: u64, sig: u32, user: &mut UserContext) -> Option<()> {
    let read = |addr: u64| keel_hal::user::read_obj::<u64>(addr as usize).ok();
    let descriptor = read(area + field::RSEQ_CS)?;
    if descriptor == 0 {
        return Some(());
    }
    // struct rseq_cs: version and flags (u32 each), start_ip, post_commit_offset, abort_ip.
    let start = read(descriptor + 8)?;
    let len = read(descriptor + 16)?;
    let abort = read(descriptor + 24)?;
    if user.rip.wrapping_sub(start) >= len {
        keel_hal::user::write_obj((area + field::RSEQ_CS) as usize, &0_u64).ok()?;
        return Some(());
    }
    let signature: u32 = keel_hal::user::read_obj(abort.checked_sub(4)? as usize).ok()?;
    if signature != sig {
        return None;
    }
    keel_hal::user::write_obj((area + field::RSEQ_CS) as usize, &0_u64).ok()?;
    user.rip = abort;
    Some(())
}
