//! Futexes (futex(2), futex(7), robust_list(7)).
//!
//! Waiters hash by key into buckets of their own locks. A private futex's key is its address space and address; a
//! shared one's is the frame that the address shows and the offset in it, which all processes that map it have in
//! common (the waiter keeps the frame, so the key cannot come to mean something else).
//!
//! A waiter is queued, checks the futex word without sleeping, and goes to sleep; a waker changes the word before it
//! looks at the bucket. [`pi`]: futexes with priority inheritance; [`robust`]: what exiting threads leave locked.
//!
//! Lock order: buckets by index, then the graph of PI locks.

mod pi;
mod robust;

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use keel_hal::task::{self, Task};
use keel_hal::user;

use crate::mm::{Access, AddressSpace};
use crate::prelude::*;
use crate::process::Thread;

pub use pi::{
    PiThread, lock as lock_pi, priority_changed, try_lock as try_lock_pi, unlock as unlock_pi,
};

/// Matches every waiter (`FUTEX_BITSET_MATCH_ANY`).
pub const MATCH_ANY: u32 = u32::MAX;
const BUCKETS: usize = 256;

/// Bits of a robust or PI futex word: somebody waits in the kernel.
const FUTEX_WAITERS: u32 = 0x8000_0000;
/// The owner ended without unlocking.
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
/// The owner's thread number.
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;

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
    /// It has been taken out of its bucket by somebody else.
    woken: AtomicBool,
    /// Waits to be moved to a PI futex (FUTEX_WAIT_REQUEUE_PI): to which one, and as which waiter of it.
    pi: Option<(Key, Arc<pi::Waiter>)>,
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

impl Key {
    fn id(&self) -> (u64, u64) {
        (self.object, self.offset)
    }
}

impl Waiter {
    fn enqueue(key: Key, bitset: u32, pi: Option<(Key, Arc<pi::Waiter>)>) -> Arc<Self> {
        let index = key.bucket();
        let waiter = Arc::new(Self {
            task: task::current().clone(),
            key: SpinLock::new(key),
            bucket: AtomicUsize::new(index),
            bitset,
            woken: AtomicBool::new(false),
            pi,
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
    let waiter = Waiter::enqueue(key, bitset, None);
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

/// Sleeps until `done` gives a value.
fn sleep_until<T>(
    deadline: Option<u64>,
    mut done: impl FnMut() -> Option<T>,
) -> core::result::Result<T, WaitEnd> {
    loop {
        task::prepare_sleep(SleepMode::Interruptible);
        if let Some(value) = done() {
            task::cancel_sleep();
            return Ok(value);
        }
        if task::current().interrupted() {
            task::cancel_sleep();
            return Err(WaitEnd::Interrupted);
        }
        match deadline {
            Some(at) if keel_hal::time::now() >= at => {
                task::cancel_sleep();
                return Err(WaitEnd::TimedOut);
            }
            Some(at) => crate::time::timer::schedule_timeout(at),
            None => task::schedule(),
        }
    }
}

/// Sleeps until one of the waiters is woken; gives its index. All are dequeued then.
fn sleep(waiters: &[Arc<Waiter>], deadline: Option<u64>) -> core::result::Result<usize, WaitEnd> {
    let end = sleep_until(deadline, || {
        waiters
            .iter()
            .position(|waiter| waiter.woken.load(Ordering::Acquire))
    });
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
        waiters.push(Waiter::enqueue(waited.key, MATCH_ANY, None));
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

/// Wakes up to `count` waiters whose bits match; how many. EINVAL if one waits for a PI futex.
pub fn wake(key: &Key, count: usize, bitset: u32) -> Result<usize> {
    let bucket = &TABLE[key.bucket()];
    // The store to the word came first on this CPU: a waiter that is not counted yet will see it.
    core::sync::atomic::fence(Ordering::SeqCst);
    if pi::is_waited_for(key) {
        return Err(Errno::EINVAL);
    }
    if count == 0 || bucket.count.load(Ordering::SeqCst) == 0 {
        return Ok(0);
    }
    let mut chosen = Vec::new();
    let mut wrong = false;
    {
        let mut waiters = bucket.waiters.lock();
        let mut at = 0;
        while at < waiters.len() && chosen.len() < count {
            let waiter = &waiters[at];
            if waiter.bitset & bitset != 0 && *waiter.key.lock() == *key {
                if waiter.pi.is_some() {
                    wrong = true;
                    break;
                }
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
    if wrong && chosen.is_empty() {
        return Err(Errno::EINVAL);
    }
    Ok(chosen.len())
}

/// Wakes waiters at an address of an address space, private and shared.
pub fn wake_address(mm: &Arc<AddressSpace>, addr: usize, count: usize) -> usize {
    let wake_by = |private: bool, count: usize| {
        let woken = key(mm, addr, private).and_then(|key| wake(&key, count, MATCH_ANY));
        woken.unwrap_or(0)
    };
    let private = wake_by(true, count);
    if private >= count || !mm.is_shared_mapping(addr) {
        return private;
    }
    private + wake_by(false, count - private)
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
        if source[at].pi.is_some() {
            return Err(Errno::EINVAL);
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

/// Waits on a futex to be moved to the PI futex at `pi_addr`, and to own that (FUTEX_WAIT_REQUEUE_PI).
///
/// EAGAIN if the word is not as expected, or when a signal came while it waited for the PI futex already.
pub fn wait_requeue_pi(
    thread: &Arc<Thread>,
    place: (usize, Key),
    expected: u32,
    bitset: u32,
    pi_place: (usize, Key),
    deadline: Option<u64>,
) -> Result<()> {
    let ((addr, key), (pi_addr, pi_key)) = (place, pi_place);
    if bitset == 0 || key == pi_key {
        return Err(Errno::EINVAL);
    }
    let claim = pi::Waiter::new(thread, &task::current());
    let waiter = Waiter::enqueue(key, bitset, Some((pi_key.clone(), claim.clone())));
    let seen = user::load_u32(addr);
    if seen.as_ref().is_ok_and(|seen| *seen == expected) {
        let end = sleep_until(deadline, || claim.is_owner().then_some(()));
        let was_moved = waiter.dequeue();
        return match end {
            Ok(()) => claim.settle(pi_addr, &pi_key),
            Err(end) if was_moved && claim.give_up(&pi_key) => Err(match end {
                WaitEnd::TimedOut => Errno::ETIMEDOUT,
                WaitEnd::Interrupted => Errno::EAGAIN,
            }),
            Err(_) if was_moved => claim.settle(pi_addr, &pi_key),
            Err(WaitEnd::TimedOut) => Err(Errno::ETIMEDOUT),
            Err(WaitEnd::Interrupted) => Err(Errno::ERESTARTNOINTR),
        };
    }
    if waiter.dequeue() && !claim.give_up(&pi_key) {
        return claim.settle(pi_addr, &pi_key);
    }
    Err(seen.map_or(Errno::EFAULT, |_| Errno::EAGAIN))
}

/// Lets the first waiter of `from` have the PI futex `to`, or wait for it, and moves up to `move_count` others behind
/// it, if the word at `addr` is `expected` (FUTEX_CMP_REQUEUE_PI). Gives how many were woken or moved.
pub fn requeue_pi(
    from: (usize, &Key),
    to: (usize, &Key),
    expected: u32,
    move_count: usize,
) -> Result<usize> {
    let ((addr, from), (pi_addr, pi_key)) = (from, to);
    if from == pi_key {
        return Err(Errno::EINVAL);
    }
    let mut done = 0;
    loop {
        let step = requeue_pi_locked(
            (addr, from),
            (pi_addr, pi_key),
            expected,
            move_count,
            &mut done,
        );
        match step {
            Ok(()) => return Ok(done),
            Err(pi::Obstacle::Fault) => {
                user::load_u32(addr).map_err(|_| Errno::EFAULT)?;
                pi::make_writable(pi_addr)?;
            }
            Err(pi::Obstacle::Changed) => task::cond_resched(),
            // What was done stays done, and is told.
            Err(pi::Obstacle::Error(_)) if done > 0 => return Ok(done),
            Err(pi::Obstacle::Error(error)) => return Err(error),
        }
    }
}

fn requeue_pi_locked(
    from: (usize, &Key),
    to: (usize, &Key),
    expected: u32,
    move_count: usize,
    done: &mut usize,
) -> core::result::Result<(), pi::Obstacle> {
    let ((addr, from), (pi_addr, pi_key)) = (from, to);
    let bucket = &TABLE[from.bucket()];
    let mut waiters = bucket.waiters.lock();
    let seen = user::nofault(|| user::load_u32(addr)).map_err(|_| pi::Obstacle::Fault)?;
    if *done == 0 && seen != expected {
        return Err(pi::Obstacle::Error(Errno::EAGAIN));
    }
    let mut at = 0;
    while at < waiters.len() && *done <= move_count {
        let waiter = waiters[at].clone();
        if *waiter.key.lock() != *from {
            at += 1;
            continue;
        }
        let Some((_, claim)) = waiter.pi.as_ref().filter(|(target, _)| target == pi_key) else {
            return Err(pi::Obstacle::Error(Errno::EINVAL));
        };
        let more = move_count > 0;
        claim.lock_or_queue(pi_addr, pi_key, more)?;
        waiters.remove(at);
        bucket.count.fetch_sub(1, Ordering::Relaxed);
        waiter.woken.store(true, Ordering::Release);
        *done += 1;
        claim.wake_if_owner();
    }
    Ok(())
}

/// The thread ends: what it holds goes to others.
pub fn exit(thread: &Arc<Thread>) {
    robust::release_all(thread);
    pi::release_all(thread);
}

/// The thread executes another program: what it held in the old one goes to others.
pub fn exec(thread: &Arc<Thread>) {
    exit(thread);
    pi::revive(thread);
}
