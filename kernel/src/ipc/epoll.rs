//! Watching many files for readiness (epoll(7)).
//!
//! Each watched file is an [`Item`] that is registered with the file's wait queues. When one wakes, the item goes
//! to the ready list (under an interrupt-safe lock, since wakers may hold spin locks or be interrupts) and whoever
//! sleeps in epoll_wait is woken. epoll_wait takes items from the ready list, asks the file what is really ready,
//! and puts level-triggered ones back.
//!
//! Lock order: `items` (sleeping) → `ready`. A nested epoll instance is polled with only its own locks held.

use alloc::collections::btree_map::Entry;
use core::any::Any;
use core::sync::atomic::{AtomicBool, Ordering};
use keel_abi::flags::{EpollEvents, OpenFlags};
use keel_hal::sync::{WaitToken, WakeCallback};

use crate::fs::{File, FileOps, PollEvents, PollTable, anon_file};
use crate::prelude::*;

/// How deep epoll instances may watch each other (ELOOP beyond).
const MAX_NESTING: usize = 5;

/// What a watch is known by: the descriptor number and the file it meant.
type Key = (i32, usize);

/// One watched file.
struct Item {
    key: Key,
    file: Weak<File>,
    /// The instance, to put the item on its ready list.
    core: Weak<Core>,
    interest: IrqLock<Interest>,
    /// It is on the ready list.
    queued: AtomicBool,
    tokens: SpinLock<Vec<WaitToken>>,
    /// EPOLL_CTL_DEL has come: an item that is just out of the ready list tells nothing any more.
    removed: AtomicBool,
    /// For callbacks, which have only a reference.
    me: Weak<Item>,
}

#[derive(Clone, Copy)]
struct Interest {
    events: EpollEvents,
    data: u64,
    /// EPOLLONESHOT has fired.
    disabled: bool,
}

/// What callbacks need of an instance.
struct Core {
    ready: IrqLock<VecDeque<Arc<Item>>>,
    /// Sleepers in epoll_wait.
    waiters: WaitQueue,
    /// Pollers of the instance itself.
    pollers: Arc<WaitQueue>,
}

/// An epoll instance.
pub struct Epoll {
    core: Arc<Core>,
    items: Mutex<BTreeMap<Key, Arc<Item>>>,
}

impl Interest {
    fn poll_events(&self) -> PollEvents {
        let asked = PollEvents::from_bits_truncate(self.events.bits());
        asked | PollEvents::ERR | PollEvents::HUP
    }
}

impl WakeCallback for Item {
    fn woken(&self, key: u64) {
        let interest = *self.interest.lock();
        let events = PollEvents::from_bits_truncate(key as u32);
        if interest.disabled || (key != 0 && !events.intersects(interest.poll_events())) {
            return;
        }
        if let Some(core) = self.core.upgrade() {
            core.enqueue_by_key(self);
        }
    }
}

impl Core {
    /// Puts the item on the ready list and wakes a sleeper. Called under a wait queue's lock.
    fn enqueue_by_key(&self, item: &Item) {
        if item.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(item) = item.me.upgrade() else {
            return;
        };
        self.ready.lock().push_back(item);
        self.waiters.wake_one();
        self.pollers.wake(usize::MAX, PollEvents::READABLE.key());
    }
}

/// A file over a new instance.
pub fn create(flags: OpenFlags) -> Arc<File> {
    let core = Core {
        ready: IrqLock::new(VecDeque::new()),
        waiters: WaitQueue::new(),
        pollers: Arc::new(WaitQueue::new()),
    };
    let epoll = Epoll {
        core: Arc::new(core),
        items: Mutex::new(BTreeMap::new()),
    };
    anon_file(
        "anon_inode:[eventpoll]",
        Arc::new(epoll),
        flags | OpenFlags::RDWR,
    )
}

fn key_of(fd: i32, file: &Arc<File>) -> Key {
    (fd, Arc::as_ptr(file) as usize)
}

impl Epoll {
    /// EPOLL_CTL_ADD: EEXIST, EPERM for files that cannot be watched, ELOOP for a cycle.
    pub fn add(
        &self,
        own: &Arc<File>,
        fd: i32,
        file: &Arc<File>,
        events: EpollEvents,
        data: u64,
    ) -> Result<()> {
        if !file.ops.pollable() {
            return Err(Errno::EPERM);
        }
        check_nesting(own, file, 0)?;
        let key = key_of(fd, file);
        let mut items = self.items.lock();
        let Entry::Vacant(slot) = items.entry(key) else {
            return Err(Errno::EEXIST);
        };
        let item = Arc::new_cyclic(|me| Item {
            key,
            file: Arc::downgrade(file),
            core: Arc::downgrade(&self.core),
            interest: IrqLock::new(Interest {
                events,
                data,
                disabled: false,
            }),
            queued: AtomicBool::new(false),
            tokens: SpinLock::new(Vec::new()),
            removed: AtomicBool::new(false),
            me: me.clone(),
        });
        slot.insert(item.clone());
        drop(items);
        let exclusive = events.contains(EpollEvents::EXCLUSIVE);
        let mut table = PollTable::new(item.clone(), exclusive);
        let ready = file.poll(&mut table);
        *item.tokens.lock() = table.into_tokens();
        self.queue_if_ready(&item, ready);
        Ok(())
    }

    /// The `nth` file that is watched by this number (kcmp(2)).
    pub fn target(&self, fd: i32, nth: usize) -> Option<Arc<File>> {
        let items = self.items.lock();
        items
            .range((fd, 0)..=(fd, usize::MAX))
            .filter_map(|(_, item)| item.file.upgrade())
            .nth(nth)
    }

    /// EPOLL_CTL_MOD: ENOENT, EINVAL for EPOLLEXCLUSIVE.
    pub fn modify(&self, fd: i32, file: &Arc<File>, events: EpollEvents, data: u64) -> Result<()> {
        let item = self
            .items
            .lock()
            .get(&key_of(fd, file))
            .cloned()
            .ok_or(Errno::ENOENT)?;
        let was = item.interest.lock().events;
        if (was | events).contains(EpollEvents::EXCLUSIVE) {
            return Err(Errno::EINVAL);
        }
        *item.interest.lock() = Interest {
            events,
            data,
            disabled: false,
        };
        let ready = file.poll(&mut PollTable::probe());
        self.queue_if_ready(&item, ready);
        Ok(())
    }

    /// EPOLL_CTL_DEL: ENOENT.
    pub fn remove(&self, fd: i32, file: &Arc<File>) -> Result<()> {
        let item = self
            .items
            .lock()
            .remove(&key_of(fd, file))
            .ok_or(Errno::ENOENT)?;
        self.forget(&item);
        Ok(())
    }

    fn forget(&self, item: &Arc<Item>) {
        item.removed.store(true, Ordering::Release);
        let tokens = core::mem::take(&mut *item.tokens.lock());
        drop(tokens);
        let mut ready = self.core.ready.lock();
        if let Some(at) = ready.iter().position(|other| Arc::ptr_eq(other, item)) {
            ready.remove(at);
        }
    }

    fn queue_if_ready(&self, item: &Arc<Item>, ready: PollEvents) {
        if ready.intersects(item.interest.lock().poll_events()) {
            self.core.enqueue_by_key(item);
        }
    }

    /// Takes up to `max` events: `(events, data)` each. The ready list is out of its place meanwhile, so that its
    /// lock is taken twice however many items there are; others who look then are woken at the end.
    fn collect(&self, max: usize) -> Vec<(u32, u64)> {
        let mut taken = core::mem::take(&mut *self.core.ready.lock());
        if taken.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::with_capacity(taken.len().min(max));
        // Items that are put back are not looked at twice in one call.
        for _ in 0..taken.len() {
            if found.len() == max {
                break;
            }
            let Some(item) = taken.pop_front() else {
                break;
            };
            if let Some((event, stays)) = self.look(&item) {
                found.push(event);
                if stays && !item.queued.swap(true, Ordering::AcqRel) {
                    taken.push_back(item);
                }
            }
        }
        if !taken.is_empty() {
            let mut ready = self.core.ready.lock();
            taken.append(&mut ready);
            *ready = taken;
            drop(ready);
            self.core.waiters.wake_one();
            self.core
                .pollers
                .wake(usize::MAX, PollEvents::READABLE.key());
        }
        found
    }

    /// What an item taken from the ready list has to tell, and whether it goes back to the list.
    fn look(&self, item: &Arc<Item>) -> Option<((u32, u64), bool)> {
        item.queued.store(false, Ordering::Release);
        let Some(file) = item.file.upgrade() else {
            self.items.lock().remove(&item.key);
            return None;
        };
        let interest = *item.interest.lock();
        if interest.disabled || item.removed.load(Ordering::Acquire) {
            return None;
        }
        let events = file.poll(&mut PollTable::probe()) & interest.poll_events();
        if events.is_empty() {
            return None;
        }
        let once = interest.events.contains(EpollEvents::ONESHOT);
        if once {
            item.interest.lock().disabled = true;
        }
        let stays = !once && !interest.events.contains(EpollEvents::ET);
        Some(((events.bits(), interest.data), stays))
    }

    /// Waits for events until `deadline`: at least one, or none when it has passed; EINTR.
    pub fn wait(&self, max: usize, deadline: Option<u64>) -> Result<Vec<(u32, u64)>> {
        if deadline == Some(0) {
            return Ok(self.collect(max));
        }
        loop {
            let found = self.collect(max);
            if !found.is_empty() {
                return Ok(found);
            }
            let some = || (!self.core.ready.lock().is_empty()).then_some(());
            match self
                .core
                .waiters
                .wait_exclusive(SleepMode::Interruptible, deadline, some)
            {
                Ok(()) => {}
                Err(WaitError::TimedOut) => return Ok(self.collect(max)),
                Err(WaitError::Interrupted) => return Err(Errno::EINTR),
            }
        }
    }

    /// Files that are watched.
    fn files(&self) -> Vec<Arc<File>> {
        self.items
            .lock()
            .values()
            .filter_map(|item| item.file.upgrade())
            .collect()
    }
}

/// ELOOP if `target` is, or watches, `own`, or chains of instances get too deep; EINVAL for itself.
fn check_nesting(own: &Arc<File>, target: &Arc<File>, depth: usize) -> Result<()> {
    if Arc::ptr_eq(own, target) {
        return Err(if depth == 0 {
            Errno::EINVAL
        } else {
            Errno::ELOOP
        });
    }
    let Some(epoll) = target.ops_as::<Epoll>() else {
        return Ok(());
    };
    if depth + 1 >= MAX_NESTING {
        return Err(Errno::ELOOP);
    }
    epoll
        .files()
        .iter()
        .try_for_each(|file| check_nesting(own, file, depth + 1))
}

/// The instance behind a file: EINVAL if it is none.
pub fn epoll_of(file: &File) -> Result<&Epoll> {
    file.ops_as::<Epoll>().ok_or(Errno::EINVAL)
}

impl FileOps for Epoll {
    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File, table: &mut PollTable) -> PollEvents {
        table.add(&self.core.pollers);
        let candidates: Vec<Arc<Item>> = self.core.ready.lock().iter().cloned().collect();
        let ready = candidates.iter().any(|item| {
            let interest = *item.interest.lock();
            item.file.upgrade().is_some_and(|file| {
                file.poll(&mut PollTable::probe())
                    .intersects(interest.poll_events())
            })
        });
        if ready {
            PollEvents::READABLE
        } else {
            PollEvents::empty()
        }
    }

    fn show_fdinfo(&self, _file: &File, out: &mut String) {
        for item in self.items.lock().values() {
            let interest = *item.interest.lock();
            let Some(file) = item.file.upgrade() else {
                continue;
            };
            out.push_str(&format!(
                "tfd: {:8} events: {:8x} data: {:16x}  pos:{} ino:{:x} sdev:{:x}\n",
                item.key.0,
                interest.events.bits(),
                interest.data,
                file.position(),
                file.inode.ino,
                file.inode.sb.dev,
            ));
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
