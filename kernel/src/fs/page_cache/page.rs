//! One page of a file in memory: its frame, its state, and waiting for changes of that.
//!
//! State bits change atomically; `LOCKED` is a sleeping lock. Sleepers use one of a few shared wait queues, so a
//! wake-up may be for another page: everybody checks again. Unlocking and finishing a read are legal in interrupts.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::prelude::*;

/// Somebody changes the page or reads it in.
const LOCKED: u32 = 1 << 0;
/// The contents are the file's.
const UPTODATE: u32 = 1 << 1;
/// The contents are newer than the disk's.
const DIRTY: u32 = 1 << 2;
/// The contents are on their way to the disk.
const WRITEBACK: u32 = 1 << 3;
/// Reading it failed.
const FAILED: u32 = 1 << 4;
/// Used since the last look of the reclaimer.
const REFERENCED: u32 = 1 << 5;
/// No longer in its cache.
const GONE: u32 = 1 << 6;
/// Reaching it starts the next read-ahead.
const MARKER: u32 = 1 << 7;

const QUEUES: usize = 64;
static WAITING: [WaitQueue; QUEUES] = [const { WaitQueue::new() }; QUEUES];

/// A page of a file.
pub struct Page {
    frame: Frame,
    index: u64,
    state: AtomicU32,
    /// Reads in flight into parts of it ([`Fill`]s).
    fills: AtomicU32,
}

impl Page {
    /// A locked page without contents.
    pub(super) fn new_locked(frame: Frame, index: u64) -> Arc<Self> {
        Arc::new(Self {
            frame,
            index,
            state: AtomicU32::new(LOCKED | REFERENCED),
            fills: AtomicU32::new(0),
        })
    }

    /// Its memory.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Its number in the file.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Its first byte's offset in the file.
    pub fn offset(&self) -> u64 {
        self.index << PAGE_SHIFT
    }

    fn has(&self, bits: u32) -> bool {
        self.state.load(Ordering::Acquire) & bits != 0
    }

    fn set(&self, bits: u32) -> bool {
        self.state.fetch_or(bits, Ordering::AcqRel) & bits != 0
    }

    fn clear(&self, bits: u32) -> bool {
        self.state.fetch_and(!bits, Ordering::AcqRel) & bits != 0
    }

    fn queue(&self) -> &'static WaitQueue {
        &WAITING[(core::ptr::from_ref(self) as usize >> 6) % QUEUES]
    }

    fn wait_clear(&self, bits: u32) {
        if self.has(bits) {
            let waited = self.queue().wait(SleepMode::Uninterruptible, None, || {
                (!self.has(bits)).then_some(())
            });
            debug_assert!(waited.is_ok());
        }
    }

    /// Whether the contents are valid.
    pub fn is_uptodate(&self) -> bool {
        self.has(UPTODATE)
    }

    /// Says that the contents are valid; the caller has filled the page.
    pub(super) fn set_uptodate(&self) {
        self.clear(FAILED);
        self.set(UPTODATE);
    }

    /// Whether it waits to be written.
    pub fn is_dirty(&self) -> bool {
        self.has(DIRTY)
    }

    /// Sets the dirty bit; whether it was set before.
    pub(super) fn set_dirty(&self) -> bool {
        self.set(DIRTY)
    }

    /// Clears the dirty bit; whether it was set before.
    pub(super) fn clear_dirty(&self) -> bool {
        self.clear(DIRTY)
    }

    /// Whether it has been removed from its file.
    pub(super) fn is_gone(&self) -> bool {
        self.has(GONE)
    }

    pub(super) fn set_gone(&self) {
        self.set(GONE);
    }

    /// Notes a use, for the reclaimer.
    pub(super) fn touch(&self) {
        // Most pages are touched often: no write where nothing changes.
        if !self.has(REFERENCED) {
            self.set(REFERENCED);
        }
    }

    /// Takes back the note of a use; whether there was one.
    pub(super) fn forget_touch(&self) -> bool {
        self.clear(REFERENCED)
    }

    /// Whether the reclaimer may consider it.
    pub(super) fn is_idle(&self) -> bool {
        !self.has(LOCKED | DIRTY | WRITEBACK)
    }

    /// Whether it may be removed by whoever has it locked.
    pub(super) fn is_clean(&self) -> bool {
        !self.has(DIRTY | WRITEBACK)
    }

    pub(super) fn set_marker(&self) {
        self.set(MARKER);
    }

    /// Takes the read-ahead mark off; whether it was there.
    pub(super) fn take_marker(&self) -> bool {
        self.has(MARKER) && self.clear(MARKER)
    }

    /// Locks it if that is possible at once.
    pub(super) fn try_lock(&self) -> bool {
        !self.set(LOCKED)
    }

    /// Locks it. Sleeps.
    pub(super) fn lock(&self) {
        if !self.try_lock() {
            let locked = self.queue().wait(SleepMode::Uninterruptible, None, || {
                self.try_lock().then_some(())
            });
            debug_assert!(locked.is_ok());
        }
    }

    /// Unlocks it.
    pub(super) fn unlock(&self) {
        self.clear(LOCKED);
        self.queue().wake_all();
    }

    /// Waits until nobody has it locked: a read in flight is over then.
    pub(super) fn wait_unlocked(&self) {
        self.wait_clear(LOCKED);
    }

    pub(super) fn start_writeback(&self) {
        self.set(WRITEBACK);
    }

    pub(super) fn end_writeback(&self) {
        self.clear(WRITEBACK);
        self.queue().wake_all();
    }

    /// Waits until it is not on its way to the disk.
    pub(super) fn wait_writeback(&self) {
        self.wait_clear(WRITEBACK);
    }
}

/// The duty to fill a locked page. Clones share it: the page is unlocked when the last one is gone, and is up to
/// date if each of them said [`Fill::done`].
pub struct Fill {
    page: Arc<Page>,
    ok: bool,
}

impl Fill {
    /// For a page that the caller has locked.
    pub(super) fn new(page: Arc<Page>) -> Self {
        page.fills.store(1, Ordering::Relaxed);
        page.clear(FAILED);
        Self { page, ok: false }
    }

    /// The page.
    pub fn page(&self) -> &Arc<Page> {
        &self.page
    }

    /// This part is filled.
    pub fn done(mut self) {
        self.ok = true;
    }

    /// This part is filled if `ok`.
    pub fn finish(mut self, ok: bool) {
        self.ok = ok;
    }
}

impl Clone for Fill {
    fn clone(&self) -> Self {
        self.page.fills.fetch_add(1, Ordering::Relaxed);
        Self {
            page: self.page.clone(),
            ok: false,
        }
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if !self.ok {
            self.page.set(FAILED);
        }
        if self.page.fills.fetch_sub(1, Ordering::AcqRel) == 1 {
            if !self.page.has(FAILED) {
                self.page.set(UPTODATE);
            }
            self.page.unlock();
        }
    }
}
