//! The sleeping mutex.
//!
//! One atomic word: free, held, or held with sleepers. An uncontended lock and unlock are one atomic
//! operation each. A contender spins for a moment, because most sections are short and the holder
//! is probably running on another CPU, and then sleeps in a wait queue, uninterruptibly.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicU32, Ordering};

use lock_api::GuardNoSend;

use super::{Class, WaitQueue, lock_type};
use crate::{cpu, task::SleepMode};

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;
/// Rounds of spinning before sleeping.
const SPINS: u32 = 100;

/// The raw lock behind [`Mutex`].
pub struct RawMutex {
    state: AtomicU32,
    sleepers: WaitQueue,
    class: Class,
}

impl RawMutex {
    /// An unlocked mutex, classed by the caller's source line.
    #[track_caller]
    pub const fn new() -> Self {
        Self::with_class(Class::here())
    }

    const fn with_class(class: Class) -> Self {
        RawMutex {
            state: AtomicU32::new(FREE),
            sleepers: WaitQueue::new(),
            class,
        }
    }

    #[inline]
    fn grab(&self) -> bool {
        self.state
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn lock_slow(&self) {
        if cpu::count() > 1 {
            for _ in 0..SPINS {
                match self.state.load(Ordering::Relaxed) {
                    FREE if self.grab() => return,
                    CONTENDED => break,
                    _ => spin_loop(),
                }
            }
        }
        // Taking it as CONTENDED even when nobody else sleeps costs the unlocker one needless look
        // at the queue; marking it HELD could lose a sleeper.
        let taken = self
            .sleepers
            .wait_exclusive(SleepMode::Uninterruptible, None, || {
                (self.state.swap(CONTENDED, Ordering::Acquire) == FREE).then_some(())
            });
        debug_assert!(taken.is_ok());
    }
}

impl Default for RawMutex {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: the lock is taken only by moving the word from FREE to something else, atomically; an
// uninterruptible wait without deadline ends only when its condition, that very step, succeeded.
unsafe impl lock_api::RawMutex for RawMutex {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = RawMutex::with_class(Class::none());
    type GuardMarker = GuardNoSend;

    #[inline]
    fn lock(&self) {
        self.class.acquire();
        if !self.grab() {
            self.lock_slow();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        let won = self.grab();
        if won {
            self.class.acquired_by_try();
        }
        won
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.class.release();
        if self.state.swap(FREE, Ordering::Release) == CONTENDED {
            self.sleepers.wake_one();
        }
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.state.load(Ordering::Relaxed) != FREE
    }
}

lock_type! {
    /// A sleeping mutex: may be held over I/O and user copies; not in interrupts.
    Mutex, Mutex, RawMutex
}
/// The holder's access to the data in a [`Mutex`].
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;
