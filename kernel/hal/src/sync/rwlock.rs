//! The sleeping readers-writer lock.
//!
//! One atomic word holds the number of readers, a bit for the writer and a bit by which a waiting
//! writer keeps new readers out. A writer that leaves clears that bit, so the readers that waited
//! for it get their turn before the next writer: neither side starves.

use core::sync::atomic::{AtomicU32, Ordering};

use lock_api::GuardNoSend;

use super::{Class, WaitQueue, lock_type};
use crate::task::SleepMode;

const WRITER: u32 = 1 << 31;
const WRITER_WAITS: u32 = 1 << 30;
const READERS: u32 = WRITER_WAITS - 1;

/// The raw lock behind [`RwLock`].
pub struct RawRwLock {
    state: AtomicU32,
    readers: WaitQueue,
    writers: WaitQueue,
    class: Class,
}

impl RawRwLock {
    /// An unlocked lock, classed by the caller's source line.
    #[track_caller]
    pub const fn new() -> Self {
        Self::with_class(Class::here())
    }

    const fn with_class(class: Class) -> Self {
        RawRwLock {
            state: AtomicU32::new(0),
            readers: WaitQueue::new(),
            writers: WaitQueue::new(),
            class,
        }
    }

    #[inline]
    fn add_reader(&self) -> bool {
        self.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| {
                (state & (WRITER | WRITER_WAITS) == 0).then_some(state + 1)
            })
            .is_ok()
    }

    /// Takes the lock for a writer if it is free; if not and `announce`, keeps new readers out.
    /// The waiting bit survives a success while other writers sleep: they set it again anyway.
    #[inline]
    fn become_writer(&self, announce: bool) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let free = state & (WRITER | READERS) == 0;
            let new = if free {
                WRITER | (state & WRITER_WAITS)
            } else if announce {
                state | WRITER_WAITS
            } else {
                return false;
            };
            match self
                .state
                .compare_exchange_weak(state, new, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return free,
                Err(now) => state = now,
            }
        }
    }

    fn wake_after_writer(&self) {
        self.readers.wake_all();
        self.writers.wake_one();
    }
}

impl Default for RawRwLock {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: the writer bit is set only when there is neither reader nor writer, and readers are only
// added while it is clear, each time by compare-exchange; uninterruptible waits without deadline
// end only when that step succeeded.
unsafe impl lock_api::RawRwLock for RawRwLock {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = RawRwLock::with_class(Class::none());
    type GuardMarker = GuardNoSend;

    #[inline]
    fn lock_shared(&self) {
        self.class.acquire();
        if !self.add_reader() {
            let got = self.readers.wait(SleepMode::Uninterruptible, None, || {
                self.add_reader().then_some(())
            });
            debug_assert!(got.is_ok());
        }
    }

    #[inline]
    fn try_lock_shared(&self) -> bool {
        let won = self.add_reader();
        if won {
            self.class.acquired_by_try();
        }
        won
    }

    #[inline]
    unsafe fn unlock_shared(&self) {
        self.class.release();
        let before = self.state.fetch_sub(1, Ordering::Release);
        if before & READERS == 1 && before & WRITER_WAITS != 0 {
            self.writers.wake_one();
        }
    }

    #[inline]
    fn lock_exclusive(&self) {
        self.class.acquire();
        if !self.become_writer(false) {
            let got = self
                .writers
                .wait_exclusive(SleepMode::Uninterruptible, None, || {
                    self.become_writer(true).then_some(())
                });
            debug_assert!(got.is_ok());
        }
    }

    #[inline]
    fn try_lock_exclusive(&self) -> bool {
        let won = self.become_writer(false);
        if won {
            self.class.acquired_by_try();
        }
        won
    }

    #[inline]
    unsafe fn unlock_exclusive(&self) {
        self.class.release();
        self.state.store(0, Ordering::Release);
        self.wake_after_writer();
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.state.load(Ordering::Relaxed) & (WRITER | READERS) != 0
    }

    #[inline]
    fn is_locked_exclusive(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WRITER != 0
    }
}

// SAFETY: the writer becomes the one reader in one atomic step.
unsafe impl lock_api::RawRwLockDowngrade for RawRwLock {
    unsafe fn downgrade(&self) {
        self.state.store(1, Ordering::Release);
        self.wake_after_writer();
    }
}

lock_type! {
    /// A sleeping readers-writer lock: may be held over I/O and user copies; not in interrupts.
    /// Readers must not nest: a writer that comes between would stop both.
    RwLock, RwLock, RawRwLock
}
/// Shared access to the data in a [`RwLock`].
pub type RwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwLock, T>;
/// Exclusive access to the data in a [`RwLock`].
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLock, T>;
