//! A lock for small plain data that is read far more often than written: readers take no lock but
//! try again when a writer came between.

use core::cell::UnsafeCell;
use core::fmt;
use core::hint::spin_loop;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use super::IrqLock;

/// Plain data under a sequence counter. Reading and writing are both legal in interrupts: writers
/// run with interrupts off, so a reader never waits for a writer that it interrupted.
pub struct SeqLock<T: Copy> {
    /// Odd while a writer is at work.
    sequence: AtomicU32,
    writer: IrqLock<()>,
    value: UnsafeCell<T>,
}

// SAFETY: readers only keep copies that no writer overlapped; writers exclude each other.
unsafe impl<T: Copy + Send> Sync for SeqLock<T> {}

impl<T: Copy> SeqLock<T> {
    /// A lock around `value`.
    #[track_caller]
    pub const fn new(value: T) -> Self {
        SeqLock {
            sequence: AtomicU32::new(0),
            writer: IrqLock::new(()),
            value: UnsafeCell::new(value),
        }
    }

    /// A copy of the data, as some writer left it.
    pub fn read(&self) -> T {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            if before & 1 == 0 {
                // SAFETY: the pointer is valid; the copy may be torn, so it stays `MaybeUninit`
                // until the sequence proves that no writer was at work.
                let copy = unsafe { ptr::read_volatile(self.value.get().cast::<MaybeUninit<T>>()) };
                fence(Ordering::Acquire);
                if self.sequence.load(Ordering::Relaxed) == before {
                    // SAFETY: no writer overlapped the copy.
                    return unsafe { copy.assume_init() };
                }
            }
            spin_loop();
        }
    }

    /// Replaces the data.
    pub fn write(&self, value: T) {
        self.update(|slot| *slot = value);
    }

    /// Changes a copy of the data with `change` and publishes it. Interrupts are off meanwhile.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let _writer = self.writer.lock();
        // SAFETY: writers exclude each other, so nobody changes the value now.
        let mut copy = unsafe { *self.value.get() };
        let result = change(&mut copy);
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence
            .store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        // SAFETY: as above; readers that overlap throw their copies away.
        unsafe { ptr::write_volatile(self.value.get(), copy) };
        self.sequence
            .store(sequence.wrapping_add(2), Ordering::Release);
        result
    }
}

impl<T: Copy + fmt::Debug> fmt::Debug for SeqLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SeqLock").field(&self.read()).finish()
    }
}
