//! Linux AIO (io_setup(2), io_submit(2), io_getevents(2)).
//!
//! Reads and writes go through the page cache and are done by the time io_submit(2) returns, as on Linux without
//! O_DIRECT. Flushes are done by a kernel thread; a poll waits for its file and is looked after by that thread when the
//! file changes. However a request ends, its event goes into the [`ring::Ring`] of its context, and an eventfd is told.
//!
//! A context belongs to an address space, and is known by the address of its ring there. Locking: the table of contexts
//! is under a mutex; a context's state under an interrupt-safe lock, which is innermost.

mod ring;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use keel_abi::args::UserPtr;
use keel_abi::types::{IoEvent, Iocb};
use keel_hal::paging::PageProt;
use keel_hal::sync::{WaitToken, WakeCallback};

use super::eventfd;
use crate::fs::{File, PollEvents, PollTable};
use crate::mm::{AddressSpace, Backing, MapRequest, VmFlags};
use crate::prelude::*;
use ring::Ring;

/// Most requests of all contexts (`fs.aio-max-nr`).
pub static MAX_REQUESTS: AtomicU64 = AtomicU64::new(65_536);
/// Requests that contexts have been made for (`fs.aio-nr`).
pub static REQUESTS: AtomicU64 = AtomicU64::new(0);
/// The result of a poll that was ended before its file became ready: no events.
const CANCELLED: i64 = 0;
/// What is longer is not even tried.
const MAX_EVENTS: u32 = 0x1000_0000 / 32;

/// Contexts of an address space, by the address of their rings.
#[derive(Default)]
pub struct Contexts {
    table: Mutex<BTreeMap<u64, Arc<Context>>>,
}

struct State {
    /// Requests that have a place in the ring and no event yet.
    pending: u32,
    /// Polls that wait.
    polls: Vec<Arc<Poll>>,
    gone: bool,
}

/// A context: a ring, and the requests under way.
pub struct Context {
    ring: Arc<Ring>,
    requests: u64,
    state: IrqLock<State>,
    /// Orders those who take events out.
    readers: Mutex<()>,
    completed: WaitQueue,
}

impl Drop for Context {
    fn drop(&mut self) {
        REQUESTS.fetch_sub(self.requests, Ordering::Relaxed);
    }
}

/// What a request's end is told by.
pub struct Completion {
    context: Arc<Context>,
    /// `aio_data`.
    data: u64,
    /// The program's own structure.
    pub iocb: UserPtr<Iocb>,
    eventfd: Option<Arc<File>>,
}

impl Contexts {
    /// io_setup(2): EINVAL, EAGAIN beyond the system's limit, ENOMEM.
    pub fn create(&self, mm: &Arc<AddressSpace>, events: u32) -> Result<u64> {
        if events == 0 || events > MAX_EVENTS {
            return Err(Errno::EINVAL);
        }
        let limit = MAX_REQUESTS.load(Ordering::Relaxed);
        let requests = u64::from(events);
        REQUESTS
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |sum| {
                Some(sum + requests).filter(|sum| *sum <= limit)
            })
            .map_err(|_| Errno::EAGAIN)?;
        let ring = Ring::new(events).inspect_err(|_| {
            REQUESTS.fetch_sub(requests, Ordering::Relaxed);
        })?;
        let context = Arc::new(Context {
            ring: Arc::new(ring),
            requests,
            state: IrqLock::new(State {
                pending: 0,
                polls: Vec::new(),
                gone: false,
            }),
            readers: Mutex::new(()),
            completed: WaitQueue::new(),
        });
        let mut request =
            MapRequest::anonymous(context.ring.size(), PageProt::READ | PageProt::WRITE);
        request.flags = VmFlags::SHARED;
        request.backing = Backing::Object {
            object: context.ring.clone(),
            pgoff: 0,
            file: None,
        };
        let addr = mm.mmap(request)? as u64;
        self.table.lock().insert(addr, context);
        start_worker();
        Ok(addr)
    }

    /// The context with this identifier: EINVAL.
    pub fn find(&self, id: u64) -> Result<Arc<Context>> {
        self.table.lock().get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// io_destroy(2): ends polls, waits for the rest: EINVAL.
    pub fn destroy(&self, mm: &AddressSpace, id: u64) -> Result<()> {
        let context = self.table.lock().remove(&id).ok_or(Errno::EINVAL)?;
        context.shut_down();
        mm.munmap(id as usize, context.ring.size())
    }

    /// The address space ends.
    pub fn destroy_all(&self) {
        let gone = core::mem::take(&mut *self.table.lock());
        for context in gone.values() {
            context.shut_down();
        }
    }
}

impl Context {
    /// Keeps room for one event: EAGAIN, EINVAL when the context is gone.
    fn reserve(&self) -> Result<()> {
        let mut state = self.state.lock();
        if state.gone {
            return Err(Errno::EINVAL);
        }
        if state.pending + self.ring.count() >= self.ring.capacity() {
            return Err(Errno::EAGAIN);
        }
        state.pending += 1;
        Ok(())
    }

    fn shut_down(&self) {
        let polls = {
            let mut state = self.state.lock();
            state.gone = true;
            core::mem::take(&mut state.polls)
        };
        for poll in polls {
            poll.finish(CANCELLED);
        }
        let idle = || (self.state.lock().pending == 0).then_some(());
        let _ = self.completed.wait(SleepMode::Uninterruptible, None, idle);
    }

    /// io_getevents(2): waits for at least `min` events and gives up to `max` to `take`, until that fails. EINTR if
    /// a signal came before the first.
    pub fn events(
        &self,
        min: usize,
        max: usize,
        deadline: Option<u64>,
        mut take: impl FnMut(usize, &IoEvent) -> Result<()>,
    ) -> Result<usize> {
        let mut count = 0;
        loop {
            {
                let _turn = self.readers.lock();
                while count < max
                    && let Some(event) = self.ring.pop()
                {
                    if let Err(error) = take(count, &event) {
                        self.ring.unpop();
                        return if count > 0 { Ok(count) } else { Err(error) };
                    }
                    count += 1;
                }
            }
            if count >= min || count >= max {
                return Ok(count);
            }
            let ready = || (self.ring.count() > 0 || self.state.lock().gone).then_some(());
            let wait = self
                .completed
                .wait(SleepMode::Interruptible, deadline, ready);
            match wait {
                Ok(()) if self.state.lock().gone && self.ring.count() == 0 => {
                    return if count > 0 {
                        Ok(count)
                    } else {
                        Err(Errno::EINVAL)
                    };
                }
                Ok(()) => {}
                Err(WaitError::Interrupted) if count == 0 => return Err(Errno::EINTR),
                Err(_) => return Ok(count),
            }
        }
    }

    /// io_cancel(2): ends a waiting poll. EINVAL if there is no such request, or it cannot be ended.
    pub fn cancel(&self, iocb: UserPtr<Iocb>) -> Result<()> {
        let poll = {
            let state = self.state.lock();
            let mine = |poll: &&Arc<Poll>| poll.completion.iocb.addr() == iocb.addr();
            state.polls.iter().find(mine).cloned()
        };
        let poll = poll.ok_or(Errno::EINVAL)?;
        if poll.finish(CANCELLED) {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }
}

impl Completion {
    /// For a request of `context`, with room for its event: EAGAIN.
    pub fn new(
        context: &Arc<Context>,
        iocb: UserPtr<Iocb>,
        data: u64,
        eventfd: Option<Arc<File>>,
    ) -> Result<Self> {
        context.reserve()?;
        Ok(Self {
            context: context.clone(),
            data,
            iocb,
            eventfd,
        })
    }

    /// The request was not begun after all: there will be no event.
    pub fn abandon(&self) {
        self.context.state.lock().pending -= 1;
        self.context.completed.wake_all();
    }

    /// The request has ended with this result, or a negative errno.
    pub fn complete(&self, result: i64) {
        {
            let mut state = self.context.state.lock();
            self.context.ring.push(&IoEvent {
                data: self.data,
                obj: self.iocb,
                res: result,
                res2: 0,
            });
            state.pending -= 1;
        }
        self.context.completed.wake_all();
        if let Some(file) = &self.eventfd {
            eventfd::signal(file);
        }
    }
}

/// A request that waits for a file to become ready.
struct Poll {
    completion: Completion,
    file: Arc<File>,
    wanted: PollEvents,
    done: AtomicBool,
    queued: AtomicBool,
    tokens: SpinLock<Vec<WaitToken>>,
    me: Weak<Poll>,
}

impl WakeCallback for Poll {
    fn woken(&self, _key: u64) {
        if let Some(me) = self.me.upgrade()
            && !self.queued.swap(true, Ordering::AcqRel)
        {
            WORK.lock().push_back(Work::Look(me));
            WORKERS.wake_all();
        }
    }
}

impl Poll {
    /// Ends it with a result; false if it has ended already.
    fn finish(&self, result: i64) -> bool {
        if self.done.swap(true, Ordering::AcqRel) {
            return false;
        }
        let mine = |other: &Arc<Poll>| core::ptr::eq(Arc::as_ptr(other), self);
        let gone = {
            let mut state = self.completion.context.state.lock();
            let at = state.polls.iter().position(mine);
            at.map(|at| state.polls.remove(at))
        };
        let tokens = core::mem::take(&mut *self.tokens.lock());
        drop(tokens);
        self.completion.complete(result);
        drop(gone);
        true
    }

    /// The file may be ready: ends the request if it is.
    fn look(&self) {
        self.queued.store(false, Ordering::Release);
        let ready = self.file.poll(&mut PollTable::probe()) & self.wanted;
        if !ready.is_empty() {
            self.finish(i64::from(ready.bits()));
        }
    }
}

/// Waits for `wanted` events of a file.
pub fn poll(completion: Completion, file: Arc<File>, wanted: PollEvents) {
    let wanted = wanted | PollEvents::ERR | PollEvents::HUP;
    let context = completion.context.clone();
    let poll = Arc::new_cyclic(|me| Poll {
        completion,
        file,
        wanted,
        done: AtomicBool::new(false),
        queued: AtomicBool::new(false),
        tokens: SpinLock::new(Vec::new()),
        me: me.clone(),
    });
    let gone = {
        let mut state = context.state.lock();
        if !state.gone {
            state.polls.push(poll.clone());
        }
        state.gone
    };
    if gone {
        poll.finish(CANCELLED);
        return;
    }
    let mut table = PollTable::new(poll.clone(), false);
    let ready = poll.file.poll(&mut table) & wanted;
    let tokens = table.into_tokens();
    if ready.is_empty() && !poll.done.load(Ordering::Acquire) {
        *poll.tokens.lock() = tokens;
        // It may have ended while it registered; then nobody else takes the registrations back.
        if poll.done.load(Ordering::Acquire) {
            let tokens = core::mem::take(&mut *poll.tokens.lock());
            drop(tokens);
        }
    } else {
        drop(tokens);
        poll.finish(i64::from(ready.bits()));
    }
}

/// Makes a file durable, in a kernel thread.
pub fn flush(completion: Completion, file: Arc<File>, datasync: bool) {
    WORK.lock()
        .push_back(Work::Flush(completion, file, datasync));
    WORKERS.wake_all();
}

enum Work {
    Look(Arc<Poll>),
    Flush(Completion, Arc<File>, bool),
}

static WORK: IrqLock<VecDeque<Work>> = IrqLock::new(VecDeque::new());
static WORKERS: WaitQueue = WaitQueue::new();
/// Threads that serve; flushes of different files can overlap.
const THREADS: usize = 2;

fn start_worker() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.call_once(|| {
        for number in 0..THREADS {
            crate::sched::spawn_kthread(&format!("aio/{number}"), work);
        }
    });
}

fn work() {
    loop {
        let next =
            WORKERS.wait_exclusive(SleepMode::Uninterruptible, None, || WORK.lock().pop_front());
        match next {
            Ok(Work::Look(poll)) => poll.look(),
            Ok(Work::Flush(completion, file, datasync)) => {
                let result = file.fsync(datasync);
                drop(file);
                completion.complete(result.map_or_else(|error| -i64::from(error.raw()), |()| 0));
            }
            Err(_) => {}
        }
    }
}
