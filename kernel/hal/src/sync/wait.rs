//! Wait queues: the one mechanism by which tasks sleep for conditions and by which poll-like
//! facilities hear of events.
//!
//! A queue is a doubly linked list under an [`IrqLock`], so waking is legal in interrupts. Its
//! entries are of two kinds: sleeping tasks, whose nodes live on their own stacks, and registered
//! [`WakeCallback`]s, whose nodes live in [`WaitToken`]s. Both leave the list, under the lock, before
//! their memory goes.
//!
//! The sleep protocol: queue the node, announce the sleep ([`task::prepare_sleep`], a full barrier),
//! check the condition, and only then [`task::schedule`]. A waker makes the condition true first and
//! looks at the queue after a full barrier; so either the sleeper sees the condition or the waker
//! sees the sleeper. A waker unlinks the tasks it wakes; a task whose condition is still false
//! queues again at the end.
//!
//! Lock order: a queue's lock before the scheduler's run-queue locks (waking enqueues). Callbacks run
//! under the lock of the queue and may wake other queues, but not the same.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::Cell;
use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use super::IrqLock;
use crate::task::{self, SleepMode, Task};
use crate::{hooks, time};

/// Why a wait ended without its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// A signal (or a kill, for killable waits) is pending.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

/// Something that wants to hear of wake-ups without sleeping for them.
pub trait WakeCallback: Send + Sync {
    /// The queue was woken with `key` (by convention the poll events that became true, 0 for all).
    /// Runs under the queue's lock, possibly in an interrupt: no sleeping, nothing that calls back
    /// into the same queue.
    fn woken(&self, key: u64);
}

/// Whom a node stands for.
enum Target {
    Task(Arc<Task>),
    Callback(Arc<dyn WakeCallback>),
}

/// An entry of a queue's list. The links are only touched under the queue's lock.
struct Node {
    prev: Cell<*const Node>,
    next: Cell<*const Node>,
    queued: AtomicBool,
    exclusive: bool,
    target: Target,
}

impl Node {
    fn new(target: Target, exclusive: bool) -> Node {
        Node {
            prev: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            queued: AtomicBool::new(false),
            exclusive,
            target,
        }
    }
}

/// The list: ordinary entries at the front, exclusive ones at the back.
struct List {
    head: Cell<*const Node>,
    tail: Cell<*const Node>,
}

// SAFETY: the pointers refer to nodes that stay in place while they are linked, and are only
// followed under the lock that the list lives in; the targets are Send and Sync.
unsafe impl Send for List {}

impl List {
    /// Links `node` in.
    ///
    /// # Safety
    /// `node` is not linked, and stays in place until it is unlinked.
    unsafe fn insert(&self, node: &Node) {
        let this: *const Node = node;
        let (prev, next) = if node.exclusive {
            (self.tail.get(), ptr::null())
        } else {
            (ptr::null(), self.head.get())
        };
        node.prev.set(prev);
        node.next.set(next);
        self.link(prev, next, this, this);
        node.queued.store(true, Ordering::Relaxed);
    }

    /// Takes `node` out.
    ///
    /// # Safety
    /// `node` is linked in this list.
    unsafe fn remove(&self, node: &Node) {
        let (prev, next) = (node.prev.get(), node.next.get());
        self.link(prev, next, next, prev);
        // The last access by a waker: a sleeper that sees it may go away with the node.
        node.queued.store(false, Ordering::Release);
    }

    /// Makes `prev` (or the head) point forward to `after` and `next` (or the tail) back to `before`.
    fn link(&self, prev: *const Node, next: *const Node, after: *const Node, before: *const Node) {
        // SAFETY: non-null links of a linked node are linked nodes, which stay in place.
        match unsafe { prev.as_ref() } {
            Some(prev) => prev.next.set(after),
            None => self.head.set(after),
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(next) => next.prev.set(before),
            None => self.tail.set(before),
        }
    }
}

/// A queue of sleeping tasks and registered callbacks.
pub struct WaitQueue {
    list: IrqLock<List>,
    /// Number of entries, so that waking an empty queue takes no lock.
    len: AtomicUsize,
}

impl WaitQueue {
    /// An empty queue.
    #[track_caller]
    pub const fn new() -> Self {
        WaitQueue {
            list: IrqLock::new(List {
                head: Cell::new(ptr::null()),
                tail: Cell::new(ptr::null()),
            }),
            len: AtomicUsize::new(0),
        }
    }

    /// Sleeps until `cond` gives a value; `cond` may be called any number of times. `deadline` is in
    /// nanoseconds on the clock of [`crate::time::now`].
    pub fn wait<T>(
        &self,
        mode: SleepMode,
        deadline: Option<u64>,
        cond: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        self.wait_as(false, mode, deadline, cond)
    }

    /// Like [`wait`](Self::wait), but queued behind all others, and of such waiters
    /// [`wake_one`](Self::wake_one) wakes only one.
    pub fn wait_exclusive<T>(
        &self,
        mode: SleepMode,
        deadline: Option<u64>,
        cond: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        self.wait_as(true, mode, deadline, cond)
    }

    fn wait_as<T>(
        &self,
        exclusive: bool,
        mode: SleepMode,
        deadline: Option<u64>,
        mut cond: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        if let Some(value) = cond() {
            return Ok(value);
        }
        let current = task::current();
        let waiter = Waiter {
            queue: self,
            node: Node::new(Target::Task(Arc::clone(&current)), exclusive),
            sleeping: Cell::new(false),
        };
        loop {
            self.enqueue(&waiter.node);
            task::prepare_sleep(mode);
            waiter.sleeping.set(true);
            if let Some(value) = cond() {
                waiter.finish();
                return Ok(value);
            }
            let failure = if is_interrupted(&current, mode) {
                Some(WaitError::Interrupted)
            } else if deadline.is_some_and(|at| time::now() >= at) {
                Some(WaitError::TimedOut)
            } else {
                None
            };
            if let Some(error) = failure {
                waiter.finish();
                return Err(error);
            }
            sleep(deadline);
            waiter.sleeping.set(false);
            // Most wake-ups find the condition true: no need to queue again first.
            let chosen = !waiter.node.queued.load(Ordering::Acquire);
            if let Some(value) = cond() {
                if !chosen {
                    waiter.finish();
                }
                return Ok(value);
            }
        }
    }

    /// Wakes all ordinary entries and one exclusive one; returns how many were woken.
    pub fn wake_one(&self) -> usize {
        self.wake(1, 0)
    }

    /// Wakes everybody; returns how many.
    pub fn wake_all(&self) -> usize {
        self.wake(usize::MAX, 0)
    }

    /// Wakes all ordinary entries and at most `exclusive` exclusive ones, passing `key` to callbacks;
    /// returns how many were woken. Legal in interrupts.
    pub fn wake(&self, exclusive: usize, key: u64) -> usize {
        if !self.has_waiters() {
            return 0;
        }
        let list = self.list.lock();
        let mut woken = 0;
        let mut left = exclusive;
        let mut next = list.head.get();
        // SAFETY: linked nodes stay in place while the lock is held.
        while let Some(node) = unsafe { next.as_ref() } {
            next = node.next.get();
            if node.exclusive {
                if left == 0 {
                    break;
                }
                left -= 1;
            }
            woken += 1;
            match &node.target {
                Target::Callback(callback) => callback.woken(key),
                Target::Task(task) => {
                    task.wake();
                    self.len.fetch_sub(1, Ordering::Relaxed);
                    // SAFETY: it is linked here: it was reached through the list.
                    unsafe { list.remove(node) };
                }
            }
        }
        woken
    }

    /// Registers `callback` until the token is dropped. An `exclusive` callback counts as one of the
    /// exclusive entries that a limited wake-up serves.
    pub fn register(
        self: &Arc<Self>,
        callback: Arc<dyn WakeCallback>,
        exclusive: bool,
    ) -> WaitToken {
        let node = Box::new(Node::new(Target::Callback(callback), exclusive));
        self.enqueue(&node);
        WaitToken {
            queue: Arc::clone(self),
            node,
        }
    }

    /// Whether anybody waits. A full barrier precedes the look: what the caller did before is
    /// visible to whoever queues too late to be seen here.
    pub fn has_waiters(&self) -> bool {
        fence(Ordering::SeqCst);
        self.len.load(Ordering::Relaxed) != 0
    }

    /// Puts `node` in, unless it is there. The look is under the lock: a waker that has woken the task
    /// may be about to take the node out.
    fn enqueue(&self, node: &Node) {
        let list = self.list.lock();
        if node.queued.load(Ordering::Relaxed) {
            return;
        }
        // SeqCst: ordered before the sleeper's look at its condition.
        self.len.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the node is not linked, and the callers take it out before its memory goes:
        // `Waiter` and `WaitToken` do so in drop.
        unsafe { list.insert(node) };
    }

    /// Takes `node` out if a waker has not done so already; returns whether it was still queued.
    fn dequeue(&self, node: &Node) -> bool {
        if !node.queued.load(Ordering::Acquire) {
            return false;
        }
        let list = self.list.lock();
        if !node.queued.load(Ordering::Relaxed) {
            return false;
        }
        self.len.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: it is queued, and only ever in this queue.
        unsafe { list.remove(node) };
        true
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WaitQueue({})", self.len.load(Ordering::Relaxed))
    }
}

fn is_interrupted(task: &Task, mode: SleepMode) -> bool {
    match mode {
        SleepMode::Interruptible => task.interrupted(),
        SleepMode::Killable => task.killed(),
        SleepMode::Uninterruptible => false,
    }
}

fn sleep(deadline: Option<u64>) {
    match (deadline, hooks::hooks()) {
        (Some(at), Some(hooks)) => hooks.schedule_timeout(at),
        // Without the kernel's timers only polling is left.
        (Some(_), None) => {
            task::cancel_sleep();
            task::yield_now();
        }
        (None, _) => task::schedule(),
    }
}

/// The current task's node, taken out of the queue however the wait ends.
struct Waiter<'a> {
    queue: &'a WaitQueue,
    node: Node,
    sleeping: Cell<bool>,
}

impl Waiter<'_> {
    /// Ends the wait of a task that is not woken now. If a waker chose this node all the same, for
    /// something that this task does not wait for any more, the wake-up goes to the next one.
    fn finish(&self) {
        if !self.leave() && self.node.exclusive {
            self.queue.wake_one();
        }
    }

    /// Ends the wait; returns whether no waker had chosen this node.
    fn leave(&self) -> bool {
        if self.sleeping.replace(false) {
            task::cancel_sleep();
        }
        self.queue.dequeue(&self.node)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Keeps a callback registered with a queue.
pub struct WaitToken {
    queue: Arc<WaitQueue>,
    node: Box<Node>,
}

// SAFETY: the node's links are only touched under the queue's lock; its target is Send and Sync.
unsafe impl Send for WaitToken {}
// SAFETY: a shared token gives access to nothing.
unsafe impl Sync for WaitToken {}

impl WaitToken {
    /// The queue this token belongs to.
    pub fn queue(&self) -> &Arc<WaitQueue> {
        &self.queue
    }
}

impl Drop for WaitToken {
    fn drop(&mut self) {
        self.queue.dequeue(&self.node);
    }
}
