//! Read-copy-update: readers that never wait.
//!
//! A read-side section is the life of an [`RcuGuard`]; it cannot sleep (`task::schedule` panics with
//! the preemption count raised) and so ends on the CPU where it began. Each CPU keeps the depth of its open
//! sections and the number of those that ended. A grace period makes every CPU run a full barrier by
//! an interrupt, and then waits until each CPU has been seen with depth zero or with another number
//! than at first. Readers thus pay two plain stores, and no barrier.
//!
//! What writers replace is freed by [`defer`] after a grace period, in batches, by the task that runs
//! [`run_worker`].

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering, compiler_fence, fence};

use super::{IrqLock, WaitQueue};
use crate::task::SleepMode;
use crate::{cpu, task, time};

/// A CPU's sections: the low bits nest, the rest counts the outermost ones that ended.
#[repr(align(64))]
struct Sections(AtomicU32);

/// The bits that hold the nesting depth.
const DEPTH: u32 = 0xff;

static SECTIONS: [Sections; cpu::MAX_CPUS] = [const { Sections(AtomicU32::new(0)) }; cpu::MAX_CPUS];

/// An open read-side section. What is read under it stays valid until it is dropped. It cannot be
/// sent to another task, and the task cannot sleep while it lives. Legal in interrupts.
pub struct RcuGuard {
    _not_send: PhantomData<*mut ()>,
}

/// Opens a read-side section.
#[inline]
pub fn read_lock() -> RcuGuard {
    cpu::preempt_disable();
    let mine = &SECTIONS[cpu::id()].0;
    // Plain load and store: only this CPU writes its word. An interrupt in between leaves the depth
    // as it was; that its ended section may go uncounted only makes a grace period longer.
    mine.store(mine.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    RcuGuard {
        _not_send: PhantomData,
    }
}

impl Drop for RcuGuard {
    #[inline]
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        let mine = &SECTIONS[cpu::id()].0;
        let word = mine.load(Ordering::Relaxed);
        let ended = if word & DEPTH == 1 { DEPTH + 1 } else { 0 };
        mine.store((word - 1).wrapping_add(ended), Ordering::Release);
        cpu::preempt_enable();
    }
}

/// Waits until all read-side sections that are open now have ended. Sleeps; not under any guard.
pub fn synchronize() {
    debug_assert_eq!(cpu::preempt_count(), 0);
    fence(Ordering::SeqCst);
    // After this every CPU's section counts are visible here, and sections that open later see what
    // was written before.
    cpu::call_on_all(&|| fence(Ordering::SeqCst), true);
    for sections in SECTIONS.iter().take(cpu::count()) {
        let first = sections.0.load(Ordering::Acquire);
        while {
            let now = sections.0.load(Ordering::Acquire);
            now & DEPTH != 0 && now & !DEPTH == first & !DEPTH
        } {
            task::yield_now();
        }
    }
}

/// Work that waits for a grace period.
type Deferred = Box<dyn FnOnce() + Send>;

static DEFERRED: IrqLock<Vec<Deferred>> = IrqLock::new(Vec::new());
static WORK: WaitQueue = WaitQueue::new();
/// The worker gathers for this long before it starts a grace period, to share it among many.
const GATHER_NS: u64 = 5_000_000;

/// Runs `work` after a grace period, in the worker task. Legal in interrupts.
pub fn defer(work: impl FnOnce() + Send + 'static) {
    let work: Deferred = Box::new(work);
    DEFERRED.lock().push(work);
    WORK.wake_one();
}

/// The life of the task that ends grace periods and runs what was deferred. The kernel starts one.
pub fn run_worker() -> ! {
    loop {
        let gathered = WORK.wait(SleepMode::Uninterruptible, None, || {
            (!DEFERRED.lock().is_empty()).then_some(())
        });
        debug_assert!(gathered.is_ok());
        let until = time::now().saturating_add(GATHER_NS);
        // Only the deadline ends this wait.
        let _ = WORK.wait(SleepMode::Uninterruptible, Some(until), || {
            (time::now() >= until).then_some(())
        });
        run_pending();
    }
}

/// Ends one grace period and runs all that was deferred before it. Sleeps. Returns how many ran.
pub fn run_pending() -> usize {
    let batch = mem::take(&mut *DEFERRED.lock());
    if batch.is_empty() {
        return 0;
    }
    synchronize();
    let ran = batch.len();
    for work in batch {
        work();
        task::cond_resched();
    }
    ran
}

/// A shared value that readers see without waiting and writers replace as a whole.
pub struct Rcu<T: Send + Sync + 'static>(RcuOption<T>);

impl<T: Send + Sync + 'static> Rcu<T> {
    /// A cell with `value`.
    pub fn new(value: Arc<T>) -> Self {
        Rcu(RcuOption::new(Some(value)))
    }

    /// The value now; valid as long as the guard, even when replaced meanwhile.
    #[inline]
    pub fn read<'g>(&self, guard: &'g RcuGuard) -> &'g T {
        match self.0.read(guard) {
            Some(value) => value,
            // The cell is created full and `replace` keeps it full.
            None => unreachable!(),
        }
    }

    /// A reference of one's own to the value now.
    pub fn load(&self) -> Arc<T> {
        match self.0.load() {
            Some(value) => value,
            None => unreachable!(),
        }
    }

    /// Replaces the value; the old one is released after a grace period.
    pub fn replace(&self, value: Arc<T>) {
        self.0.replace(Some(value));
    }
}

/// Like [`Rcu`], possibly empty: also the link of lists and trees that readers walk.
pub struct RcuOption<T: Send + Sync + 'static> {
    /// From `Arc::into_raw`, or null.
    value: AtomicPtr<T>,
    _owns: PhantomData<Arc<T>>,
}

impl<T: Send + Sync + 'static> RcuOption<T> {
    /// A cell with `value`.
    pub fn new(value: Option<Arc<T>>) -> Self {
        RcuOption {
            value: AtomicPtr::new(into_raw(value)),
            _owns: PhantomData,
        }
    }

    /// An empty cell.
    pub const fn empty() -> Self {
        RcuOption {
            value: AtomicPtr::new(ptr::null_mut()),
            _owns: PhantomData,
        }
    }

    /// The value now; valid as long as the guard, even when replaced or when the cell is dropped.
    #[inline]
    pub fn read<'g>(&self, _guard: &'g RcuGuard) -> Option<&'g T> {
        let value = self.value.load(Ordering::Acquire);
        // SAFETY: a non-null value is an Arc's content; the cell's reference to it is released only
        // after a grace period, which the open section holds up.
        unsafe { value.as_ref() }
    }

    /// A reference of one's own to the value now.
    pub fn load(&self) -> Option<Arc<T>> {
        let _guard = read_lock();
        let value = self.value.load(Ordering::Acquire);
        if value.is_null() {
            return None;
        }
        // SAFETY: as in `read`, the cell's own reference is alive, so another may be made.
        unsafe {
            Arc::increment_strong_count(value);
            Some(Arc::from_raw(value))
        }
    }

    /// Replaces the value; the old one is released after a grace period.
    pub fn replace(&self, value: Option<Arc<T>>) {
        release(self.value.swap(into_raw(value), Ordering::AcqRel));
    }

    /// Whether the cell is empty now.
    pub fn is_none(&self) -> bool {
        self.value.load(Ordering::Relaxed).is_null()
    }
}

fn into_raw<T>(value: Option<Arc<T>>) -> *mut T {
    value.map_or(ptr::null_mut(), |value| Arc::into_raw(value).cast_mut())
}

/// Releases a cell's reference after a grace period.
fn release<T: Send + Sync + 'static>(value: *mut T) {
    if value.is_null() {
        return;
    }
    // SAFETY: it came out of a cell by a swap, so this is the cell's one reference.
    let value = unsafe { Arc::from_raw(value) };
    defer(move || drop(value));
}

impl<T: Send + Sync + 'static> Drop for RcuOption<T> {
    fn drop(&mut self) {
        // Readers may have come by through this cell.
        release(mem::replace(self.value.get_mut(), ptr::null_mut()));
    }
}

impl<T: Send + Sync + fmt::Debug + 'static> fmt::Debug for RcuOption<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(&read_lock()).fmt(f)
    }
}

impl<T: Send + Sync + fmt::Debug + 'static> fmt::Debug for Rcu<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
