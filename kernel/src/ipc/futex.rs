//! Futexes (futex(2), futex(7), robust_list(7)).
//!
//! Waiters hash by key into buckets of their own locks. A private futex's key is its address space and address; a
//! shared one's is the frame that the address shows and the offset in it, which all processes that map it have in
//! common (the waiter keeps the frame, so the key cannot come to mean something else).
//!
//! A waiter is queued, checks the futex word without sleeping, and goes to sleep; a waker changes the word before it
//! looks at the bucket. Lock order: buckets by index; nothing else is taken inside.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use keel_hal::task::{self, Task};
use keel_hal::user;

use crate::mm::{Access, AddressSpace};
use crate::prelude::*;
use crate::process::Thread;

/// Matches every waiter (`FUTEX_BITSET_MATCH_ANY`).
pub const MATCH_ANY: u32 = u32::MAX;
const BUCKETS: usize = 256;

/// What a futex is known by.
#[derive(Clone)]
pub struct Key {
    object: u64,
    offset: u64,
    /// Keeps a shared futex's frame from being used for something else.
    _frame: Option<Frame>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (self.object, self.offset) == (other.object, other.offset)
    }
}

impl Key {
    fn bucket(&self) -> usize {
        let mixed = (self.object ^ self.offset).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 56) as usize % BUCKETS
    }
}

/// A sleeper. It is in at most one bucket; which one changes when it is requeued.
struct Waiter {
    task: Arc<Task>,
    key: SpinLock<Key>,
    bucket: AtomicUsize,
    bitset: u32,
    woken: AtomicBool,
}

struct Bucket {
    waiters: SpinLock<VecDeque<Arc<Waiter>>>,
    /// So that a waker needs no lock where nobody waits.
    count: AtomicUsize,
}

static TABLE: [Bucket; BUCKETS] = [const {
    Bucket {
        waiters: SpinLock::new(VecDeque::new()),
        count: AtomicUsize::new(0),
    }
}; BUCKETS];

/// The key of a futex word: EINVAL unless aligned, EFAULT where nothing is mapped.
pub fn key(mm: &Arc<AddressSpace>, addr: usize, private: bool) -> Result<Key> {
    if !addr.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    if addr >= crate::mm::TASK_SIZE_MAX {
        return Err(Errno::EFAULT);
    }
    if private || !mm.is_shared_mapping(addr) {
        return Ok(Key {
            object: mm.id() << 1 | 1,
            offset: addr as u64,
            _frame: None,
        });
    }
    let va = crate::mm::page_down(addr);
    let frame = mm.frame_at(va, Access::Read).ok_or(Errno::EFAULT)?;
    let offset = (addr - va) as u64;
    Ok(Key {
        object: (frame.pfn() as u64) << 1,
        offset,
        _frame: Some(frame),
    })
}

impl Waiter {
    fn enqueue(key: Key, bitset: u32) -> Arc<Self> {
        let index = key.bucket();
        let waiter = Arc::new(Self {
            task: task::current().clone(),
            key: SpinLock::new(key),
            bucket: AtomicUsize::new(index),
            bitset,
            woken: AtomicBool::new(false),
        });
        let bucket = &TABLE[index];
        bucket.count.fetch_add(1, Ordering::SeqCst);
        bucket.waiters.lock().push_back(waiter.clone());
        waiter
    }

    /// Leaves the bucket; true if it had been woken.
    fn dequeue(self: &Arc<Self>) -> bool {
        loop {
            if self.woken.load(Ordering::Acquire) {
                return true;
            }
            let index = self.bucket.load(Ordering::Acquire);
            let bucket = &TABLE[index];
            let mut waiters = bucket.waiters.lock();
            if self.bucket.load(Ordering::Acquire) != index {
                continue;
            }
            if let Some(at) = waiters.iter().position(|other| Arc::ptr_eq(other, self)) {
                waiters.remove(at);
                bucket.count.fetch_sub(1, Ordering::Relaxed);
                return false;
            }
            drop(waiters);
            if self.woken.load(Ordering::Acquire) {
                return true;
            }
        }
    }
}

/// How a wait ends early.
pub enum WaitEnd {
    /// A signal.
    Interrupted,
    /// The deadline (monotonic nanoseconds).
    TimedOut,
}

/// Waits while the word is `expected`: EAGAIN if it is not, EFAULT; then how the sleep ended.
pub fn wait(
    addr: usize,
    key: Key,
    expected: u32,
    bitset: u32,
    deadline: Option<u64>,
) -> Result<core::result::Result<(), WaitEnd>> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    let waiter = Waiter::enqueue(key, bitset);
    let seen = match user::load_u32(addr) {
        Ok(seen) => seen,
        Err(_) => {
            waiter.dequeue();
            return Err(Errno::EFAULT);
        }
    };
    if seen != expected {
        // A waker that took this waiter for one of its own has to be repaid: it would be lost otherwise.
        return if waiter.dequeue() {
            Ok(Ok(()))
        } else {
            Err(Errno::EAGAIN)
        };
    }
    Ok(sleep(&[waiter], deadline).map(drop))
}

/// Sleeps until one of the waiters is woken; gives its index. All are dequeued then.
fn sleep(waiters: &[Arc<Waiter>], deadline: Option<u64>) -> core::result::Result<usize, WaitEnd> {
    let woken = || {
        waiters
            .iter()
            .position(|waiter| waiter.woken.load(Ordering::Acquire))
    };
    let end = loop {
        task::prepare_sleep(SleepMode::Interruptible);
        if let Some(index) = woken() {
            task::cancel_sleep();
            break Ok(index);
        }
        if task::current().interrupted() {
            task::cancel_sleep();
            break Err(WaitEnd::Interrupted);
        }
        match deadline {
            Some(at) if keel_hal::time::now() >= at => {
                task::cancel_sleep();
                break Err(WaitEnd::TimedOut);
            }
            Some(at) => crate::time::timer::schedule_timeout(at),
            None => task::schedule(),
        }
    };
    let mut late = None;
    for (index, waiter) in waiters.iter().enumerate() {
        if waiter.dequeue() && late.is_none() {
            late = Some(index);
        }
    }
    match (end, late) {
        (Err(_), Some(index)) => Ok(index),
        (end, _) => end,
    }
}

/// A futex of futex_waitv(2).
pub struct Waited {
    /// Address of the word.
    pub addr: usize,
    /// Its key.
    pub key: Key,
    /// What it is expected to be.
    pub expected: u32,
}

/// Waits on several futexes; gives the index of one that was woken. EAGAIN if one is not as expected.
pub fn wait_many(
    list: Vec<Waited>,
    deadline: Option<u64>,
) -> Result<core::result::Result<usize, WaitEnd>> {
    let mut waiters: Vec<Arc<Waiter>> = Vec::with_capacity(list.len());
    for waited in list {
        waiters.push(Waiter::enqueue(waited.key, MATCH_ANY));
        let problem = match user::load_u32(waited.addr) {
            Ok(seen) if seen == waited.expected => continue,
            Ok(_) => Errno::EAGAIN,
            Err(_) => Errno::EFAULT,
        };
        let woken: Vec<bool> = waiters.iter().map(Waiter::dequeue).collect();
        return match woken.iter().position(|woken| *woken) {
            Some(index) => Ok(Ok(index)),
            None => Err(problem),
        };
    }
    Ok(sleep(&waiters, deadline))
}

/// Wakes up to `count` waiters whose bits match; how many.
pub fn wake(key: &Key, count: usize, bitset: u32) -> usize {
    let bucket = &TABLE[key.bucket()];
    // The store to the word came first on this CPU: a waiter that is not counted yet will see it.
    core::sync::atomic::fence(Ordering::SeqCst);
    if count == 0 || bucket.count.load(Ordering::SeqCst) == 0 {
        return 0;
    }
    let mut chosen = Vec::new();
    {
        let mut waiters = bucket.waiters.lock();
        let mut at = 0;
        while at < waiters.len() && chosen.len() < count {
            let waiter = &waiters[at];
            if waiter.bitset & bitset != 0 && *waiter.key.lock() == *key {
                if let Some(waiter) = waiters.remove(at) {
                    bucket.count.fetch_sub(1, Ordering::Relaxed);
                    waiter.woken.store(true, Ordering::Release);
                    chosen.push(waiter);
                }
            } else {
                at += 1;
            }
        }
    }
    for waiter in &chosen {
        waiter.task.wake();
    }
    chosen.len()
}

/// Wakes waiters at an address of an address space, private and shared.
pub fn wake_address(mm: &Arc<AddressSpace>, addr: usize, count: usize) -> usize {
    let private = key(mm, addr, true).map_or(0, |key| wake(&key, count, MATCH_ANY));
    if private >= count || !mm.is_shared_mapping(addr) {
        return private;
    }
    private + key(mm, addr, false).map_or(0, |key| wake(&key, count - private, MATCH_ANY))
}

/// Wakes up to `wake_count` waiters of `from` and moves up to `move_count` others to `to`. With `expected`, only
/// if the word at `addr` is that (EAGAIN). Gives how many were woken and how many moved.
pub fn requeue(
    from: &Key,
    to: &Key,
    addr: usize,
    expected: Option<u32>,
    wake_count: usize,
    move_count: usize,
) -> Result<(usize, usize)> {
    let (first, second) = (from.bucket(), to.bucket());
    // The word is read without sleeping while both buckets are locked; a fault is served outside.
    loop {
        let outcome = requeue_locked(
            first, second, from, to, addr, expected, wake_count, move_count,
        );
        match outcome {
            Ok((woken, moved)) => {
                for waiter in &woken {
                    waiter.task.wake();
                }
                return Ok((woken.len(), moved));
            }
            Err(Errno::EFAULT) => {
                user::load_u32(addr).map_err(|_| Errno::EFAULT)?;
            }
            Err(error) => return Err(error),
        }
    }
}

type Woken = Vec<Arc<Waiter>>;

#[allow(clippy::too_many_arguments)]
fn requeue_locked(
    first: usize,
    second: usize,
    from: &Key,
    to: &Key,
    addr: usize,
    expected: Option<u32>,
    wake_count: usize,
    move_count: usize,
) -> Result<(Woken, usize)> {
    let low = TABLE[first.min(second)].waiters.lock();
    let high = (first != second).then(|| TABLE[first.max(second)].waiters.lock());
    if let Some(expected) = expected {
        let seen = user::nofault(|| user::load_u32(addr)).map_err(|_| Errno::EFAULT)?;
        if seen != expected {
            return Err(Errno::EAGAIN);
        }
    }
    let (mut source, mut target) = match high {
        None => (low, None),
        Some(high) if first < second => (low, Some(high)),
        Some(high) => (high, Some(low)),
    };
    let mut woken = Vec::new();
    let mut moved = Vec::new();
    let mut at = 0;
    while at < source.len() && (woken.len() < wake_count || moved.len() < move_count) {
        if *source[at].key.lock() != *from {
            at += 1;
            continue;
        }
        let Some(waiter) = source.remove(at) else {
            break;
        };
        TABLE[first].count.fetch_sub(1, Ordering::Relaxed);
        if woken.len() < wake_count {
            waiter.woken.store(true, Ordering::Release);
            woken.push(waiter);
        } else {
            *waiter.key.lock() = to.clone();
            waiter.bucket.store(second, Ordering::Release);
            moved.push(waiter);
        }
    }
    let count = moved.len();
    TABLE[second].count.fetch_add(count, Ordering::SeqCst);
    match &mut target {
        Some(target) => target.extend(moved),
        None => source.extend(moved),
    }
    Ok((woken, count))
}

/// Bits of a robust or PI futex word.
const FUTEX_WAITERS: u32 = 0x8000_0000;
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
/// Longest robust list that is walked.
const ROBUST_LIST_LIMIT: usize = 2048;

/// Marks the robust futexes that the exiting thread holds as owner-died and wakes a waiter of each.
pub fn exit_robust_list(thread: &Arc<Thread>) {
    let head = thread.robust_list.swap(0, Ordering::Relaxed);
    let Some(mm) = thread.mm_opt() else { return };
    if head == 0 {
        return;
    }
    let read = |addr: u64| user::read_obj::<u64>(addr as usize).ok();
    // struct robust_list_head: list, futex_offset, list_op_pending.
    let (Some(mut entry), Some(offset), Some(pending)) = (
        read(head),
        read(head.wrapping_add(8)),
        read(head.wrapping_add(16)),
    ) else {
        return;
    };
    let futex_of = |entry: u64| (entry & !1).wrapping_add(offset) as usize;
    for _ in 0..ROBUST_LIST_LIMIT {
        if entry & !1 == head {
            break;
        }
        let next = read(entry & !1);
        if entry & !1 != pending & !1 {
            owner_died(thread, &mm, futex_of(entry), false);
        }
        let Some(next) = next else { return };
        entry = next;
    }
    if pending & !1 != 0 {
        owner_died(thread, &mm, futex_of(pending), true);
    }
}

fn owner_died(thread: &Arc<Thread>, mm: &Arc<AddressSpace>, addr: usize, pending: bool) {
    if !addr.is_multiple_of(4) {
        return;
    }
    let Ok(mut seen) = user::load_u32(addr) else {
        return;
    };
    loop {
        if pending && seen == 0 {
            // The thread died between unlocking and waking: the waker's duty passes on.
            wake_address(mm, addr, 1);
            return;
        }
        if seen & FUTEX_TID_MASK != thread.tid() {
            return;
        }
        let dead = (seen & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
        match user::cmpxchg_u32(addr, seen, dead) {
            Ok(now) if now == seen => break,
            Ok(now) => seen = now,
            Err(_) => return,
        }
    }
    if seen & FUTEX_WAITERS != 0 {
        wake_address(mm, addr, 1);
    }
}
