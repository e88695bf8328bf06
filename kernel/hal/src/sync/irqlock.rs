//! The spinning lock for data that interrupt handlers or the scheduler share: interrupts are off
//! while it is held.
//!
//! Interrupts come back when the last [`IrqLock`] of this CPU is released, whatever the order in
//! which guards are dropped: a per-CPU depth counts them, and the first remembers the state before.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lock_api::GuardNoSend;

use super::{Class, lock_type};
use crate::cpu;

/// How many `IrqLock`s this CPU holds or waits for, and whether interrupts were on before.
struct Depth {
    depth: AtomicU32,
    were_on: AtomicBool,
}

static DEPTH: [Depth; cpu::MAX_CPUS] = [const {
    Depth {
        depth: AtomicU32::new(0),
        were_on: AtomicBool::new(false),
    }
}; cpu::MAX_CPUS];

/// Turns interrupts off on this CPU until the matching [`pop_off`].
#[inline]
pub(crate) fn push_off() {
    let were_on = interrupts::enabled();
    if were_on {
        interrupts::off();
    }
    // Only this CPU touches its entry, with interrupts off: plain loads and stores suffice.
    let mine = &DEPTH[cpu::id()];
    let depth = mine.depth.load(Ordering::Relaxed);
    if depth == 0 {
        mine.were_on.store(were_on, Ordering::Relaxed);
    }
    mine.depth.store(depth + 1, Ordering::Relaxed);
}

/// Undoes one [`push_off`].
#[inline]
pub(crate) fn pop_off() {
    let mine = &DEPTH[cpu::id()];
    let depth = mine.depth.load(Ordering::Relaxed);
    debug_assert!(depth > 0);
    mine.depth.store(depth - 1, Ordering::Relaxed);
    if depth == 1 && mine.were_on.load(Ordering::Relaxed) {
        interrupts::on();
    }
}

/// The interrupt flag.
mod interrupts {
    use core::arch::asm;

    #[inline]
    pub(super) fn enabled() -> bool {
        let flags: u64;
        // SAFETY: reads RFLAGS by way of the stack; the kernel is built without a red zone.
        unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
        flags & 0x200 != 0
    }

    #[inline]
    pub(super) fn off() {
        // SAFETY: keeping interrupts out is always sound; the missing `nomem` makes it a compiler barrier.
        unsafe { asm!("cli", options(nostack)) };
    }

    #[inline]
    pub(super) fn on() {
        // SAFETY: only called where interrupts were on before the outermost lock was taken.
        unsafe { asm!("sti", options(nostack)) };
    }
}

/// The raw lock behind [`IrqLock`].
pub struct RawIrqLock {
    locked: AtomicBool,
    class: Class,
}

impl RawIrqLock {
    /// An unlocked lock, classed by the caller's source line.
    #[track_caller]
    pub const fn new() -> Self {
        Self::with_class(Class::here())
    }

    const fn with_class(class: Class) -> Self {
        RawIrqLock {
            locked: AtomicBool::new(false),
            class,
        }
    }

    #[inline]
    fn grab(&self) -> bool {
        self.locked
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }
}

impl Default for RawIrqLock {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: `locked` goes from false to true only by compare-exchange, so there is one holder.
unsafe impl lock_api::RawMutex for RawIrqLock {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = RawIrqLock::with_class(Class::none());
    type GuardMarker = GuardNoSend;

    #[inline]
    fn lock(&self) {
        self.class.acquire();
        push_off();
        while !self.grab() {
            // Let interrupts in while waiting, where they were on.
            pop_off();
            while self.locked.load(Ordering::Relaxed) {
                spin_loop();
            }
            push_off();
        }
        cpu::preempt_disable();
    }

    #[inline]
    fn try_lock(&self) -> bool {
        push_off();
        let won = self.grab();
        if won {
            self.class.acquired_by_try();
            cpu::preempt_disable();
        } else {
            pop_off();
        }
        won
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.locked.store(false, Ordering::Release);
        self.class.release();
        cpu::preempt_enable();
        pop_off();
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed)
    }
}

lock_type! {
    /// A spinning lock with interrupts off while held: for data that interrupt handlers or the
    /// scheduler touch. Keep sections short, and do not wait for other CPUs in them.
    IrqLock, Mutex, RawIrqLock
}
/// The holder's access to the data in an [`IrqLock`].
pub type IrqLockGuard<'a, T> = lock_api::MutexGuard<'a, RawIrqLock, T>;
