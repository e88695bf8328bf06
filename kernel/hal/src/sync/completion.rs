//! An event that happens once (or counts) and is waited for.

use core::sync::atomic::{AtomicU32, Ordering};

use super::{WaitError, WaitQueue};
use crate::task::SleepMode;

/// Counts completions; each waiter consumes one. [`Completion::complete_all`] lets everybody
/// through from then on.
pub struct Completion {
    done: AtomicU32,
    queue: WaitQueue,
}

const ALL: u32 = u32::MAX / 2;

impl Completion {
    /// Nothing has completed yet.
    pub const fn new() -> Self {
        Completion {
            done: AtomicU32::new(0),
            queue: WaitQueue::new(),
        }
    }

    /// Lets one waiter through. Legal in interrupts.
    pub fn complete(&self) {
        // Saturating, so that a completion of all stays one.
        let _ = self
            .done
            .fetch_update(Ordering::Release, Ordering::Relaxed, |n| {
                (n < ALL).then_some(n + 1)
            });
        self.queue.wake_one();
    }

    /// Lets all present and future waiters through. Legal in interrupts.
    pub fn complete_all(&self) {
        self.done.store(ALL, Ordering::Release);
        self.queue.wake_all();
    }

    /// Whether a waiter would get through at once.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire) > 0
    }

    /// Back to nothing completed.
    pub fn reset(&self) {
        self.done.store(0, Ordering::Relaxed);
    }

    /// Waits uninterruptibly.
    pub fn wait(&self) {
        let waited = self.wait_until(SleepMode::Uninterruptible, None);
        debug_assert!(waited.is_ok());
    }

    /// Waits, at most until `deadline` (nanoseconds on the clock of [`crate::time::now`]).
    pub fn wait_until(&self, mode: SleepMode, deadline: Option<u64>) -> Result<(), WaitError> {
        self.queue.wait_exclusive(mode, deadline, || self.consume())
    }

    fn consume(&self) -> Option<()> {
        self.done
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |n| match n {
                0 => None,
                ALL => Some(ALL),
                n => Some(n - 1),
            })
            .ok()
            .map(|_| ())
    }
}

impl Default for Completion {
    fn default() -> Self {
        Self::new()
    }
}
