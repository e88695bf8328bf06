//! POSIX message queues (mq_overview(7)): the queues themselves. Their names are files of [`crate::fs::mqueue`].
//!
//! A queue's lock is a spin lock, never held across a sleep. Senders wait for room and receivers for messages in order
//! of arrival. A process that asked for it hears of a message that comes into an empty queue when nobody waits for it.

use core::sync::atomic::{AtomicUsize, Ordering};
use keel_abi::args::{Pid, Uid};
use keel_abi::flags::Signal;
use keel_abi::types::{MqAttr, Siginfo};

use crate::fs::mqueue::Home;
use crate::fs::{PollEvents, PollTable};
use crate::prelude::*;
use crate::process::rlimit::Resource;
use crate::process::signal::{self, SigInfo};
use crate::process::{Cap, Process, Thread};

/// One more than the highest priority (`MQ_PRIO_MAX`).
pub const PRIORITIES: u32 = 32_768;
/// Limits of what even the privileged may ask for (`HARD_MSGMAX`, `HARD_MSGSIZEMAX`).
const HARD_MESSAGES: usize = 65_536;
const HARD_SIZE: usize = 16 << 20;
/// What Linux counts against RLIMIT_MSGQUEUE for a message and for a priority in use, besides the text.
const MESSAGE_OVERHEAD: u64 = 48;
const PRIORITY_OVERHEAD: u64 = 48;
/// `si_code` of a notification (`SI_MESGQ`).
const SI_MESGQ: i32 = -3;

/// Bytes that each user's queues may come to take.
static USERS: SpinLock<BTreeMap<u32, u64>> = SpinLock::new(BTreeMap::new());

/// One namespace's queues and limits (/proc/sys/fs/mqueue).
pub struct QueueTable {
    /// Most queues.
    pub max_queues: AtomicUsize,
    /// Most messages of a queue that an unprivileged user makes.
    pub max_messages: AtomicUsize,
    /// Largest message of such a queue.
    pub max_size: AtomicUsize,
    /// Messages of a queue that was made without attributes.
    pub default_messages: AtomicUsize,
    /// Size of its messages.
    pub default_size: AtomicUsize,
    /// How many queues there are.
    pub count: Arc<AtomicUsize>,
    /// Where their names are.
    pub home: OnceLock<Home>,
}

impl Default for QueueTable {
    fn default() -> Self {
        Self {
            max_queues: AtomicUsize::new(256),
            max_messages: AtomicUsize::new(10),
            max_size: AtomicUsize::new(8192),
            default_messages: AtomicUsize::new(10),
            default_size: AtomicUsize::new(8192),
            count: Arc::new(AtomicUsize::new(0)),
            home: OnceLock::new(),
        }
    }
}

/// Whom a message in an empty queue is told to.
struct Notify {
    owner: Weak<Process>,
    pid: u32,
    /// The signal; 0 for nothing.
    signo: i32,
    value: u64,
    /// SIGEV_NONE: only shown.
    silent: bool,
}

#[derive(Default)]
struct State {
    /// By priority, in order of arrival.
    messages: BTreeMap<u32, VecDeque<Vec<u8>>>,
    count: usize,
    bytes: usize,
    waiting_receivers: usize,
    notify: Option<Notify>,
}

/// A message queue.
pub struct Queue {
    max_messages: usize,
    max_size: usize,
    user: u32,
    charged: u64,
    table_count: Arc<AtomicUsize>,
    state: SpinLock<State>,
    room: Arc<WaitQueue>,
    filled: Arc<WaitQueue>,
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.table_count.fetch_sub(1, Ordering::AcqRel);
        let mut users = USERS.lock();
        if let Some(used) = users.get_mut(&self.user) {
            *used = used.saturating_sub(self.charged);
            if *used == 0 {
                users.remove(&self.user);
            }
        }
    }
}

/// How long a call waits: not at all, or until a deadline of the monotonic clock, if any.
pub enum Patience {
    /// EAGAIN.
    None,
    /// ETIMEDOUT after it.
    Until(Option<u64>),
}

impl Queue {
    /// A queue as `wanted`, or with the default attributes.
    ///
    /// EINVAL for attributes beyond the limits, ENOSPC with too many queues, EMFILE beyond RLIMIT_MSGQUEUE.
    pub fn new(table: &QueueTable, thread: &Thread, wanted: Option<&MqAttr>) -> Result<Arc<Self>> {
        let cred = thread.cred();
        let privileged = cred.has(Cap::SYS_RESOURCE);
        let limit = |limit: &AtomicUsize| limit.load(Ordering::Relaxed);
        let (max_messages, max_size) = match wanted {
            None => (
                limit(&table.default_messages).min(limit(&table.max_messages)),
                limit(&table.default_size).min(limit(&table.max_size)),
            ),
            Some(attr) => {
                let positive = |value: i64| usize::try_from(value).ok().filter(|n| *n > 0);
                let messages = positive(attr.mq_maxmsg).ok_or(Errno::EINVAL)?;
                let size = positive(attr.mq_msgsize).ok_or(Errno::EINVAL)?;
                let (most, largest) = if privileged {
                    (HARD_MESSAGES, HARD_SIZE)
                } else {
                    (limit(&table.max_messages), limit(&table.max_size))
                };
                if messages > most || size > largest {
                    return Err(Errno::EINVAL);
                }
                (messages, size)
            }
        };
        let priorities = max_messages.min(PRIORITIES as usize) as u64;
        let charged = max_messages as u64 * (MESSAGE_OVERHEAD + max_size as u64)
            + priorities * PRIORITY_OVERHEAD;
        let most = if privileged {
            usize::MAX
        } else {
            limit(&table.max_queues)
        };
        table
            .count
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| {
                (n < most).then_some(n + 1)
            })
            .map_err(|_| Errno::ENOSPC)?;
        let allowed = thread.process.rlimits.soft(Resource::Msgqueue);
        let fits = {
            let mut users = USERS.lock();
            let used = users.entry(cred.uid).or_insert(0);
            let sum = used.saturating_add(charged);
            let fits = sum <= allowed;
            if fits {
                *used = sum;
            }
            fits
        };
        if !fits {
            table.count.fetch_sub(1, Ordering::AcqRel);
            return Err(Errno::EMFILE);
        }
        Ok(Arc::new(Self {
            max_messages,
            max_size,
            user: cred.uid,
            charged,
            table_count: table.count.clone(),
            state: SpinLock::new(State::default()),
            room: Arc::new(WaitQueue::new()),
            filled: Arc::new(WaitQueue::new()),
        }))
    }

    /// mq_getattr(3), without the flags.
    pub fn attributes(&self) -> MqAttr {
        MqAttr {
            mq_maxmsg: self.max_messages as i64,
            mq_msgsize: self.max_size as i64,
            mq_curmsgs: self.state.lock().count as i64,
            ..MqAttr::default()
        }
    }

    /// What reading the queue's file shows.
    pub fn status(&self) -> String {
        let state = self.state.lock();
        let notify = state.notify.as_ref();
        let kind = notify.map_or(0, |notify| i32::from(notify.silent));
        let signo = notify.filter(|n| !n.silent).map_or(0, |n| n.signo);
        let pid = notify.map_or(0, |n| n.pid);
        format!(
            "QSIZE:{:<10} NOTIFY:{kind:<5} SIGNO:{signo:<5} NOTIFY_PID:{pid:<6}\n",
            state.bytes
        )
    }

    /// What is ready.
    pub fn poll(&self, table: &mut PollTable) -> PollEvents {
        table.add(&self.filled);
        table.add(&self.room);
        let state = self.state.lock();
        let mut events = PollEvents::empty();
        events.set(PollEvents::READABLE, state.count > 0);
        events.set(PollEvents::WRITABLE, state.count < self.max_messages);
        events
    }

    /// mq_timedsend(3). EMSGSIZE, EAGAIN, ETIMEDOUT.
    pub fn send(
        &self,
        thread: &Thread,
        text: Vec<u8>,
        priority: u32,
        wait: Patience,
    ) -> Result<()> {
        if text.len() > self.max_size {
            return Err(Errno::EMSGSIZE);
        }
        let mut text = Some(text);
        let mut attempt = || self.try_send(&mut text, priority);
        let told = match attempt() {
            Some(told) => told,
            None => match wait {
                Patience::None => return Err(Errno::EAGAIN),
                Patience::Until(deadline) => self
                    .room
                    .wait_exclusive(SleepMode::Interruptible, deadline, attempt)
                    .map_err(wait_error)?,
            },
        };
        self.filled.wake(1, PollEvents::READABLE.key());
        if let Some(notify) = told {
            notify.tell(thread);
        }
        Ok(())
    }

    /// Puts the message in if there is room; gives whom to tell of it.
    fn try_send(&self, text: &mut Option<Vec<u8>>, priority: u32) -> Option<Option<Notify>> {
        let mut state = self.state.lock();
        if state.count >= self.max_messages {
            return None;
        }
        let text = text.take()?;
        state.bytes += text.len();
        state.count += 1;
        state.messages.entry(priority).or_default().push_back(text);
        let first = state.count == 1 && state.waiting_receivers == 0;
        Some(if first { state.notify.take() } else { None })
    }

    /// mq_timedreceive(3): text and priority. EAGAIN, ETIMEDOUT. The buffer must hold the largest message: EMSGSIZE.
    pub fn receive(&self, size: usize, wait: Patience) -> Result<(Vec<u8>, u32)> {
        if size < self.max_size {
            return Err(Errno::EMSGSIZE);
        }
        let message = match self.try_receive() {
            Some(message) => message,
            None => match wait {
                Patience::None => return Err(Errno::EAGAIN),
                Patience::Until(deadline) => {
                    self.state.lock().waiting_receivers += 1;
                    let result =
                        self.filled
                            .wait_exclusive(SleepMode::Interruptible, deadline, || {
                                self.try_receive()
                            });
                    self.state.lock().waiting_receivers -= 1;
                    result.map_err(wait_error)?
                }
            },
        };
        self.room.wake(1, PollEvents::WRITABLE.key());
        Ok(message)
    }

    fn try_receive(&self) -> Option<(Vec<u8>, u32)> {
        let mut state = self.state.lock();
        let mut highest = state.messages.last_entry()?;
        let priority = *highest.key();
        let text = highest.get_mut().pop_front()?;
        if highest.get().is_empty() {
            highest.remove();
        }
        state.count -= 1;
        state.bytes -= text.len();
        Some((text, priority))
    }

    /// mq_notify(3) with a signal, or (`signo` is `None`) SIGEV_NONE: EBUSY if somebody has registered.
    pub fn register(&self, thread: &Thread, signo: Option<i32>, value: u64) -> Result<()> {
        let mut state = self.state.lock();
        let taken = state
            .notify
            .as_ref()
            .is_some_and(|notify| notify.owner.strong_count() > 0);
        if taken {
            return Err(Errno::EBUSY);
        }
        state.notify = Some(Notify {
            owner: Arc::downgrade(&thread.process),
            pid: thread.process.pid,
            signo: signo.unwrap_or(0),
            value,
            silent: signo.is_none(),
        });
        Ok(())
    }

    /// Ends the process's registration, if it has one.
    pub fn unregister(&self, process: &Process) {
        let mut state = self.state.lock();
        if state
            .notify
            .as_ref()
            .is_some_and(|notify| core::ptr::eq(notify.owner.as_ptr(), process))
        {
            state.notify = None;
        }
    }
}

impl Notify {
    /// A message of `sender` has come.
    fn tell(&self, sender: &Thread) {
        let Some(owner) = self.owner.upgrade() else {
            return;
        };
        if self.silent || self.signo == 0 {
            return;
        }
        let info = Siginfo::queue(
            Signal(self.signo),
            SI_MESGQ,
            Pid(sender.process.pid.cast_signed()),
            Uid(sender.cred().uid),
            self.value,
        );
        signal::send_process(&owner, SigInfo::new(info));
    }
}

fn wait_error(error: WaitError) -> Errno {
    match error {
        WaitError::Interrupted => Errno::ERESTARTSYS,
        WaitError::TimedOut => Errno::ETIMEDOUT,
    }
}
