//! Futexes with priority inheritance (futex(2), FUTEX_LOCK_PI and its kin).
//!
//! The futex word holds the owner's number; only who finds it taken comes here. The [`Graph`] has a [`Lock`] for every
//! PI futex that somebody waits for: its owner, and its waiters, most urgent first. The owner runs in the class of the
//! most urgent waiter of all its locks, and so on along the chain of owners that wait themselves. Whoever unlocks
//! writes the next owner's number into the word, so a lock is never free while somebody waits. The waiter of a thread
//! that ended writes the word itself, when it gets to run; the lock is `unsettled` until then.
//!
//! One lock covers the whole graph: chains of owners cross futexes, and only contended futexes come here. The words
//! are read and changed under it without sleeping; where that fails the page is made ready outside, and everything is
//! looked at again.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use keel_hal::task::{self, Task};
use keel_hal::user;

use super::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, Key, WaitEnd, sleep_until};
use crate::prelude::*;
use crate::process::{Thread, find_thread};
use crate::sched::{self, Class};

/// What a thread has to do with PI futexes.
#[derive(Default)]
pub struct PiThread {
    /// It ended: nobody may wait for it any more.
    gone: AtomicBool,
}

/// Longest chain of owners that is followed.
const MAX_CHAIN: usize = 1024;

type Id = (u64, u64);

struct Lock {
    /// Keeps a shared futex's frame.
    _key: Key,
    owner: Arc<Thread>,
    /// Most urgent first, then in order of arrival.
    waiters: Vec<Arc<Waiter>>,
    /// The word does not show the owner yet.
    unsettled: bool,
}

#[derive(Default)]
struct Graph {
    locks: BTreeMap<Id, Lock>,
    /// Which lock a thread waits for, by the thread's address.
    blocked: BTreeMap<usize, Id>,
}

static GRAPH: SpinLock<Graph> = SpinLock::new(Graph {
    locks: BTreeMap::new(),
    blocked: BTreeMap::new(),
});
/// Locks in the graph, so that others need not look.
static LOCKS: AtomicUsize = AtomicUsize::new(0);

/// Where a waiter stands.
mod stage {
    pub const WAITING: u8 = 0;
    pub const OWNER: u8 = 1;
    /// The last owner ended: the word has to be written.
    pub const HEIR: u8 = 2;
}

/// Somebody who wants a PI futex.
pub(super) struct Waiter {
    thread: Arc<Thread>,
    task: Arc<Task>,
    stage: AtomicU8,
}

/// Why an attempt under the graph's lock did not end.
pub(super) enum Obstacle {
    /// The word's page is not ready.
    Fault,
    /// The word changed meanwhile.
    Changed,
    /// It cannot be done.
    Error(Errno),
}

impl From<Errno> for Obstacle {
    fn from(error: Errno) -> Self {
        Self::Error(error)
    }
}

type Attempt<T> = core::result::Result<T, Obstacle>;

fn address(thread: &Arc<Thread>) -> usize {
    Arc::as_ptr(thread).addr()
}

fn load(addr: usize) -> Attempt<u32> {
    user::nofault(|| user::load_u32(addr)).map_err(|_| Obstacle::Fault)
}

fn exchange(addr: usize, old: u32, new: u32) -> Attempt<()> {
    match user::nofault(|| user::cmpxchg_u32(addr, old, new)) {
        Ok(seen) if seen == old => Ok(()),
        Ok(_) => Err(Obstacle::Changed),
        Err(_) => Err(Obstacle::Fault),
    }
}

/// Gets a word ready to be changed: EFAULT.
pub(super) fn make_writable(addr: usize) -> Result<()> {
    match user::fetch_update_u32(addr, Some) {
        Ok(_) => Ok(()),
        Err(_) => Err(Errno::EFAULT),
    }
}

/// Repeats `attempt` until it gets through.
fn persist<T>(addr: usize, mut attempt: impl FnMut() -> Attempt<T>) -> Result<T> {
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(Obstacle::Fault) => make_writable(addr)?,
            Err(Obstacle::Changed) if task::current().killed() => {
                return Err(Errno::ERESTARTNOINTR);
            }
            Err(Obstacle::Changed) => task::cond_resched(),
            Err(Obstacle::Error(error)) => return Err(error),
        }
    }
}

impl Waiter {
    pub(super) fn new(thread: &Arc<Thread>, task: &Arc<Task>) -> Arc<Self> {
        Arc::new(Self {
            thread: thread.clone(),
            task: task.clone(),
            stage: AtomicU8::new(stage::WAITING),
        })
    }

    fn class(&self) -> Class {
        sched::entity(&self.task).class()
    }

    /// Whether the futex is its own.
    pub(super) fn is_owner(&self) -> bool {
        self.stage.load(Ordering::Acquire) != stage::WAITING
    }

    pub(super) fn wake_if_owner(&self) {
        if self.is_owner() {
            self.task.wake();
        }
    }

    /// Takes the futex for this waiter if it is free, else queues it. With `waiters`, others are about to queue.
    pub(super) fn lock_or_queue(
        self: &Arc<Self>,
        addr: usize,
        key: &Key,
        waiters: bool,
    ) -> Attempt<()> {
        let mut graph = GRAPH.lock();
        graph.lock_or_queue(self, addr, key, waiters, false)
    }

    /// After [`Self::is_owner`]: puts the word in order if the last owner could not. EFAULT.
    pub(super) fn settle(&self, addr: usize, key: &Key) -> Result<()> {
        if self.stage.load(Ordering::Acquire) != stage::HEIR {
            return Ok(());
        }
        let mine = self.thread.tid() | FUTEX_WAITERS | FUTEX_OWNER_DIED;
        let written = user::fetch_update_u32(addr, |_| Some(mine));
        let mut graph = GRAPH.lock();
        if let Some(lock) = graph.locks.get_mut(&key.id()) {
            lock.unsettled = false;
        }
        graph.forget_if_idle(key.id());
        drop(graph);
        written.map(drop).map_err(|_| Errno::EFAULT)
    }

    /// Stops waiting; false if it has become the owner already.
    pub(super) fn give_up(self: &Arc<Self>, key: &Key) -> bool {
        let mut graph = GRAPH.lock();
        if self.is_owner() {
            return false;
        }
        let id = key.id();
        graph.blocked.remove(&address(&self.thread));
        let owner = graph.locks.get_mut(&id).map(|lock| {
            lock.waiters.retain(|other| !Arc::ptr_eq(other, self));
            lock.owner.clone()
        });
        graph.forget_if_idle(id);
        if let Some(owner) = owner {
            graph.update_inheritance(owner);
        }
        true
    }
}

impl Graph {
    /// Takes the futex for `waiter` if it is free, else queues it, unless `only_try` (EAGAIN).
    ///
    /// EDEADLK if it is the waiter's own, or its owner waits for the waiter; ESRCH if the owner does not exist; EINVAL
    /// if the word does not agree with who owns it.
    fn lock_or_queue(
        &mut self,
        waiter: &Arc<Waiter>,
        addr: usize,
        key: &Key,
        waiters: bool,
        only_try: bool,
    ) -> Attempt<()> {
        let seen = load(addr)?;
        let owner_tid = seen & FUTEX_TID_MASK;
        if owner_tid == waiter.thread.tid() {
            return Err(Errno::EDEADLK.into());
        }
        let known = self.locks.get(&key.id());
        if known.is_none() && owner_tid == 0 {
            let flag = if waiters { FUTEX_WAITERS } else { 0 };
            let mine = waiter.thread.tid() | (seen & FUTEX_OWNER_DIED) | flag;
            exchange(addr, seen, mine)?;
            waiter.stage.store(stage::OWNER, Ordering::Release);
            return Ok(());
        }
        let owner = match known {
            Some(lock) => {
                let agrees = owner_tid == 0 || owner_tid == lock.owner.tid() || lock.unsettled;
                if !agrees {
                    return Err(Errno::EINVAL.into());
                }
                lock.owner.clone()
            }
            None => find_owner(addr, seen)?,
        };
        if only_try {
            return Err(Errno::EAGAIN.into());
        }
        if self.waits_for(&owner, &waiter.thread) {
            return Err(Errno::EDEADLK.into());
        }
        if seen & FUTEX_WAITERS == 0 {
            exchange(addr, seen, seen | FUTEX_WAITERS)?;
        }
        self.queue(waiter, key, owner, addr, seen)
    }

    fn queue(
        &mut self,
        waiter: &Arc<Waiter>,
        key: &Key,
        owner: Arc<Thread>,
        addr: usize,
        seen: u32,
    ) -> Attempt<()> {
        let id = key.id();
        if !self.locks.contains_key(&id) {
            LOCKS.fetch_add(1, Ordering::SeqCst);
            if owner.pi.gone.load(Ordering::SeqCst) {
                // It ends just now, and does not look at the graph any more.
                LOCKS.fetch_sub(1, Ordering::SeqCst);
                return Err(owner_missing(addr, seen | FUTEX_WAITERS));
            }
        }
        let lock = self.locks.entry(id).or_insert_with(|| Lock {
            _key: key.clone(),
            owner: owner.clone(),
            waiters: Vec::new(),
            unsettled: false,
        });
        insert_by_urgency(&mut lock.waiters, waiter.clone());
        self.blocked.insert(address(&waiter.thread), id);
        self.update_inheritance(owner);
        Ok(())
    }

    /// Whether `thread` waits for something that `goal` holds, directly or along a chain.
    fn waits_for(&self, thread: &Arc<Thread>, goal: &Arc<Thread>) -> bool {
        let mut thread = thread;
        for _ in 0..MAX_CHAIN {
            if Arc::ptr_eq(thread, goal) {
                return true;
            }
            let next = self.blocked.get(&address(thread));
            match next.and_then(|id| self.locks.get(id)) {
                Some(lock) => thread = &lock.owner,
                None => return false,
            }
        }
        true
    }

    /// Lets `thread`, and whom it waits for in turn, run as their waiters' urgency demands.
    fn update_inheritance(&mut self, thread: Arc<Thread>) {
        let mut thread = thread;
        for _ in 0..MAX_CHAIN {
            let Some(task) = thread.task() else { return };
            let most_urgent = self
                .locks
                .values()
                .filter(|lock| Arc::ptr_eq(&lock.owner, &thread))
                .filter_map(|lock| lock.waiters.first())
                .map(|waiter| waiter.class())
                .fold(Class::Fair, |a, b| if b.beats(a) { b } else { a });
            sched::set_inherited(&task, most_urgent);
            match self.resort(&thread) {
                Some(next) => thread = next,
                None => return,
            }
        }
    }

    /// Puts a thread in its new place among those who wait with it; gives the owner of what it waits for.
    fn resort(&mut self, thread: &Arc<Thread>) -> Option<Arc<Thread>> {
        let id = self.blocked.get(&address(thread))?;
        let lock = self.locks.get_mut(id)?;
        let at = lock
            .waiters
            .iter()
            .position(|waiter| Arc::ptr_eq(&waiter.thread, thread))?;
        let waiter = lock.waiters.remove(at);
        insert_by_urgency(&mut lock.waiters, waiter);
        Some(lock.owner.clone())
    }

    /// Makes the first waiter the owner.
    fn hand_over(&mut self, id: Id, how: u8) -> Option<Arc<Waiter>> {
        let lock = self.locks.get_mut(&id)?;
        let old = lock.owner.clone();
        if lock.waiters.is_empty() {
            self.forget_if_idle(id);
            return None;
        }
        let heir = lock.waiters.remove(0);
        lock.owner = heir.thread.clone();
        lock.unsettled = how == stage::HEIR;
        self.blocked.remove(&address(&heir.thread));
        self.forget_if_idle(id);
        heir.stage.store(how, Ordering::Release);
        self.update_inheritance(old);
        self.update_inheritance(heir.thread.clone());
        Some(heir)
    }

    fn forget_if_idle(&mut self, id: Id) {
        let idle = |lock: &Lock| lock.waiters.is_empty() && !lock.unsettled;
        if self.locks.get(&id).is_some_and(idle) {
            self.locks.remove(&id);
            LOCKS.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn insert_by_urgency(waiters: &mut Vec<Arc<Waiter>>, waiter: Arc<Waiter>) {
    let class = waiter.class();
    let at = waiters
        .iter()
        .position(|other| class.beats(other.class()))
        .unwrap_or(waiters.len());
    waiters.insert(at, waiter);
}

/// The thread whose number the word shows: ESRCH.
fn find_owner(addr: usize, seen: u32) -> Attempt<Arc<Thread>> {
    match find_thread(seen & FUTEX_TID_MASK) {
        Some(owner) if !owner.pi.gone.load(Ordering::SeqCst) => Ok(owner),
        _ => Err(owner_missing(addr, seen)),
    }
}

/// The owner that the word showed is gone: it may have left its mark in the word meanwhile.
fn owner_missing(addr: usize, seen: u32) -> Obstacle {
    match load(addr) {
        Ok(now) if now | FUTEX_WAITERS == seen | FUTEX_WAITERS => Obstacle::Error(Errno::ESRCH),
        Ok(_) => Obstacle::Changed,
        Err(obstacle) => obstacle,
    }
}

/// FUTEX_LOCK_PI: waits until the futex is the thread's own. Errors as of [`Graph::lock_or_queue`], ETIMEDOUT, EFAULT;
/// a signal without handler does not end the wait.
pub fn lock(thread: &Arc<Thread>, addr: usize, key: &Key, deadline: Option<u64>) -> Result<()> {
    let waiter = Waiter::new(thread, &task::current());
    persist(addr, || waiter.lock_or_queue(addr, key, false))?;
    match sleep_until(deadline, || waiter.is_owner().then_some(())) {
        Ok(()) => waiter.settle(addr, key),
        Err(end) if waiter.give_up(key) => Err(match end {
            WaitEnd::TimedOut => Errno::ETIMEDOUT,
            WaitEnd::Interrupted => Errno::ERESTARTNOINTR,
        }),
        Err(_) => waiter.settle(addr, key),
    }
}

/// FUTEX_TRYLOCK_PI: EAGAIN if it is taken.
pub fn try_lock(thread: &Arc<Thread>, addr: usize, key: &Key) -> Result<()> {
    let waiter = Waiter::new(thread, &task::current());
    persist(addr, || {
        GRAPH.lock().lock_or_queue(&waiter, addr, key, false, true)
    })
}

/// FUTEX_UNLOCK_PI: gives the futex to the first waiter. EPERM if it is not the thread's own.
pub fn unlock(thread: &Arc<Thread>, addr: usize, key: &Key) -> Result<()> {
    let heir = persist(addr, || unlock_once(thread, addr, key))?;
    if let Some(heir) = heir {
        heir.task.wake();
    }
    Ok(())
}

fn unlock_once(thread: &Arc<Thread>, addr: usize, key: &Key) -> Attempt<Option<Arc<Waiter>>> {
    let mut graph = GRAPH.lock();
    let seen = load(addr)?;
    if seen & FUTEX_TID_MASK != thread.tid() {
        return Err(Errno::EPERM.into());
    }
    let id = key.id();
    let next = match graph.locks.get(&id) {
        Some(lock) if !Arc::ptr_eq(&lock.owner, thread) => return Err(Errno::EINVAL.into()),
        Some(lock) => lock.waiters.first(),
        None => None,
    };
    let Some(next) = next else {
        return exchange(addr, seen, 0).map(|()| None);
    };
    exchange(addr, seen, next.thread.tid() | FUTEX_WAITERS)?;
    Ok(graph.hand_over(id, stage::OWNER))
}

/// Whether somebody waits for the PI futex.
pub(super) fn is_waited_for(key: &Key) -> bool {
    LOCKS.load(Ordering::SeqCst) > 0 && GRAPH.lock().locks.contains_key(&key.id())
}

/// The thread's priority changed: its place among waiters, and what owners inherit from it.
pub fn priority_changed(thread: &Arc<Thread>) {
    if LOCKS.load(Ordering::SeqCst) == 0 {
        return;
    }
    let mut graph = GRAPH.lock();
    if let Some(owner) = graph.resort(thread) {
        graph.update_inheritance(owner);
    }
}

/// The thread ends: its PI futexes go to their first waiters.
pub(super) fn release_all(thread: &Arc<Thread>) {
    thread.pi.gone.store(true, Ordering::SeqCst);
    if LOCKS.load(Ordering::SeqCst) == 0 {
        return;
    }
    let mut heirs = Vec::new();
    {
        let mut graph = GRAPH.lock();
        let owned: Vec<Id> = graph
            .locks
            .iter()
            .filter(|(_, lock)| Arc::ptr_eq(&lock.owner, thread))
            .map(|(id, _)| *id)
            .collect();
        for id in owned {
            if let Some(lock) = graph.locks.get_mut(&id) {
                lock.unsettled = false;
            }
            heirs.extend(graph.hand_over(id, stage::HEIR));
        }
    }
    for heir in heirs {
        heir.task.wake();
    }
}

/// The thread goes on with another program.
pub(super) fn revive(thread: &Thread) {
    thread.pi.gone.store(false, Ordering::SeqCst);
}
