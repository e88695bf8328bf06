//! Spinning locks for short sections between tasks. They keep the holder from sleeping; they do not
//! keep interrupts away, so interrupt handlers must not take them (use [`super::IrqLock`]).

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lock_api::GuardNoSend;

use super::{Class, lock_type};
use crate::cpu;

/// The raw lock behind [`SpinLock`]: test and test-and-set.
pub struct RawSpinLock {
    locked: AtomicBool,
    class: Class,
}

impl RawSpinLock {
    /// An unlocked lock, classed by the caller's source line.
    #[track_caller]
    pub const fn new() -> Self {
        Self::with_class(Class::here())
    }

    const fn with_class(class: Class) -> Self {
        RawSpinLock {
            locked: AtomicBool::new(false),
            class,
        }
    }
}

impl Default for RawSpinLock {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: `locked` goes from false to true only by compare-exchange, so there is one holder.
unsafe impl lock_api::RawMutex for RawSpinLock {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = RawSpinLock::with_class(Class::none());
    type GuardMarker = GuardNoSend;

    #[inline]
    fn lock(&self) {
        self.class.acquire();
        cpu::preempt_disable();
        while self
            .locked
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            while self.locked.load(Ordering::Relaxed) {
                spin_loop();
            }
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        cpu::preempt_disable();
        let won = self
            .locked
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        if won {
            self.class.acquired_by_try();
        } else {
            cpu::preempt_enable();
        }
        won
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.locked.store(false, Ordering::Release);
        self.class.release();
        cpu::preempt_enable();
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed)
    }
}

lock_type! {
    /// A spinning lock. The holder must not sleep; not for data that interrupt handlers touch.
    SpinLock, Mutex, RawSpinLock
}
/// The holder's access to the data in a [`SpinLock`].
pub type SpinLockGuard<'a, T> = lock_api::MutexGuard<'a, RawSpinLock, T>;

const WRITER: u32 = 1 << 31;
const WRITER_WAITS: u32 = 1 << 30;

/// The raw lock behind [`RwSpinLock`]: a reader count, a writer bit, and a bit by which a waiting
/// writer keeps new readers out.
pub struct RawRwSpinLock {
    state: AtomicU32,
    class: Class,
}

impl RawRwSpinLock {
    /// An unlocked lock, classed by the caller's source line.
    #[track_caller]
    pub const fn new() -> Self {
        Self::with_class(Class::here())
    }

    const fn with_class(class: Class) -> Self {
        RawRwSpinLock {
            state: AtomicU32::new(0),
            class,
        }
    }

    fn add_reader(&self) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        state & (WRITER | WRITER_WAITS) == 0
            && self
                .state
                .compare_exchange_weak(state, state + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    fn become_writer(&self) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        state & !WRITER_WAITS == 0
            && self
                .state
                .compare_exchange_weak(state, WRITER, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }
}

impl Default for RawRwSpinLock {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: the writer bit is set only when there is neither reader nor writer, and readers are only
// added while it is clear, each time by compare-exchange.
unsafe impl lock_api::RawRwLock for RawRwSpinLock {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = RawRwSpinLock::with_class(Class::none());
    type GuardMarker = GuardNoSend;

    #[inline]
    fn lock_shared(&self) {
        self.class.acquire();
        cpu::preempt_disable();
        while !self.add_reader() {
            spin_loop();
        }
    }

    #[inline]
    fn try_lock_shared(&self) -> bool {
        cpu::preempt_disable();
        let won = self.add_reader();
        if won {
            self.class.acquired_by_try();
        } else {
            cpu::preempt_enable();
        }
        won
    }

    #[inline]
    unsafe fn unlock_shared(&self) {
        self.state.fetch_sub(1, Ordering::Release);
        self.class.release();
        cpu::preempt_enable();
    }

    #[inline]
    fn lock_exclusive(&self) {
        self.class.acquire();
        cpu::preempt_disable();
        while !self.become_writer() {
            // Set again on every round: another writer's success clears it.
            self.state.fetch_or(WRITER_WAITS, Ordering::Relaxed);
            spin_loop();
        }
    }

    #[inline]
    fn try_lock_exclusive(&self) -> bool {
        cpu::preempt_disable();
        let won = self.become_writer();
        if won {
            self.class.acquired_by_try();
        } else {
            cpu::preempt_enable();
        }
        won
    }

    #[inline]
    unsafe fn unlock_exclusive(&self) {
        self.state.fetch_and(!WRITER, Ordering::Release);
        self.class.release();
        cpu::preempt_enable();
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.state.load(Ordering::Relaxed) & !WRITER_WAITS != 0
    }
}

lock_type! {
    /// A spinning readers-writer lock; a waiting writer keeps new readers out. Readers must not nest.
    RwSpinLock, RwLock, RawRwSpinLock
}
/// Shared access to the data in a [`RwSpinLock`].
pub type RwSpinLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwSpinLock, T>;
/// Exclusive access to the data in a [`RwSpinLock`].
pub type RwSpinLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwSpinLock, T>;
