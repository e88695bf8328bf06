//! System V message queues (msgget(2), msgop(2), msgctl(2)).

use core::sync::atomic::{AtomicUsize, Ordering};
use keel_abi::args::Pid;
use keel_abi::flags::MsgrcvFlags;
use keel_abi::types::MsqidDs;

use super::{Object, READ, Table, WRITE, now, pid};
use crate::prelude::*;
use crate::process::{Cap, Cred};

/// One namespace's queues and limits.
pub struct Queues {
    /// The queues.
    pub table: Table<Queue>,
    /// Longest message (`kernel.msgmax`).
    pub max_size: AtomicUsize,
    /// Bytes that a new queue holds (`kernel.msgmnb`).
    pub max_bytes: AtomicUsize,
    /// Most queues (`kernel.msgmni`).
    pub max_queues: AtomicUsize,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            table: Table::default(),
            max_size: AtomicUsize::new(8192),
            max_bytes: AtomicUsize::new(16_384),
            max_queues: AtomicUsize::new(32_000),
        }
    }
}

struct Message {
    kind: i64,
    text: Vec<u8>,
}

struct State {
    messages: VecDeque<Message>,
    bytes: usize,
    max_bytes: usize,
    sent_at: i64,
    received_at: i64,
    changed_at: i64,
    sender: u32,
    receiver: u32,
}

/// A message queue.
pub struct Queue {
    state: SpinLock<State>,
    /// Something was sent, or the queue removed.
    filled: WaitQueue,
    /// Something was received, or limits changed, or the queue removed.
    drained: WaitQueue,
}

type QueueObject = Arc<Object<Queue>>;

impl Queue {
    /// An empty queue for `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            state: SpinLock::new(State {
                messages: VecDeque::new(),
                bytes: 0,
                max_bytes,
                sent_at: 0,
                received_at: 0,
                changed_at: now(),
                sender: 0,
                receiver: 0,
            }),
            filled: WaitQueue::new(),
            drained: WaitQueue::new(),
        }
    }

    /// Messages and bytes in it.
    pub fn contents(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.messages.len(), state.bytes)
    }
}

impl Object<Queue> {
    /// Sends, or tells that there is no room.
    fn try_send(&self, message: &mut Option<Message>) -> Result<Option<()>> {
        let mut state = self.data.state.lock();
        if self.is_removed() {
            return Err(Errno::EIDRM);
        }
        let size = message.as_ref().map_or(0, |message| message.text.len());
        let fits = size + state.bytes <= state.max_bytes && state.messages.len() < state.max_bytes;
        if !fits {
            return Ok(None);
        }
        state.messages.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        state.messages.extend(message.take());
        state.bytes += size;
        state.sent_at = now();
        state.sender = pid();
        Ok(Some(()))
    }

    /// Receives, or tells that there is nothing.
    fn try_receive(&self, wanted: &Wanted) -> Result<Option<(i64, Vec<u8>)>> {
        let mut state = self.data.state.lock();
        if self.is_removed() {
            return Err(Errno::EIDRM);
        }
        let Some(at) = wanted.find(&state.messages) else {
            return Ok(None);
        };
        let size = state.messages[at].text.len();
        if size > wanted.size && !wanted.flags.contains(MsgrcvFlags::MSG_NOERROR) {
            return Err(Errno::E2BIG);
        }
        if wanted.flags.contains(MsgrcvFlags::MSG_COPY) {
            let message = &state.messages[at];
            return Ok(Some((message.kind, message.text.clone())));
        }
        let Some(message) = state.messages.remove(at) else {
            return Ok(None);
        };
        state.bytes -= size;
        state.received_at = now();
        state.receiver = pid();
        Ok(Some((message.kind, message.text)))
    }
}

/// What msgrcv(2) looks for.
pub struct Wanted {
    /// `msgtyp`.
    pub kind: i64,
    /// Room for the text.
    pub size: usize,
    /// `msgflg`.
    pub flags: MsgrcvFlags,
}

impl Wanted {
    fn find(&self, messages: &VecDeque<Message>) -> Option<usize> {
        if self.flags.contains(MsgrcvFlags::MSG_COPY) {
            let at = usize::try_from(self.kind).ok()?;
            return (at < messages.len()).then_some(at);
        }
        match self.kind {
            0 => (!messages.is_empty()).then_some(0),
            kind if kind > 0 => {
                let except = self.flags.contains(MsgrcvFlags::MSG_EXCEPT);
                messages
                    .iter()
                    .position(|message| (message.kind == kind) != except)
            }
            kind => messages
                .iter()
                .enumerate()
                .filter(|(_, message)| message.kind.unsigned_abs() <= kind.unsigned_abs())
                .min_by_key(|(at, message)| (message.kind, *at))
                .map(|(at, _)| at),
        }
    }
}

/// msgsnd(2): EACCES, EAGAIN, EIDRM.
pub fn send(queue: &QueueObject, cred: &Cred, kind: i64, text: Vec<u8>, wait: bool) -> Result<()> {
    let mut message = Some(Message { kind, text });
    let mut attempt = || match queue.check(cred, WRITE) {
        Ok(()) => queue.try_send(&mut message),
        Err(error) => Err(error),
    };
    match attempt()? {
        Some(()) => {}
        None if !wait => return Err(Errno::EAGAIN),
        None => queue
            .data
            .drained
            .wait(SleepMode::Interruptible, None, || attempt().transpose())
            .map_err(|_| Errno::ERESTARTNOHAND)??,
    }
    queue.data.filled.wake_all();
    Ok(())
}

/// msgrcv(2): a message's type and text. EACCES, E2BIG, ENOMSG, EIDRM.
pub fn receive(queue: &QueueObject, cred: &Cred, wanted: &Wanted) -> Result<(i64, Vec<u8>)> {
    let attempt = || match queue.check(cred, READ) {
        Ok(()) => queue.try_receive(wanted),
        Err(error) => Err(error),
    };
    let message = match attempt()? {
        Some(message) => message,
        None if wanted.flags.contains(MsgrcvFlags::IPC_NOWAIT) => return Err(Errno::ENOMSG),
        None => queue
            .data
            .filled
            .wait(SleepMode::Interruptible, None, || attempt().transpose())
            .map_err(|_| Errno::ERESTARTNOHAND)??,
    };
    queue.data.drained.wake_all();
    Ok(message)
}

/// IPC_RMID: EPERM.
pub fn remove(queues: &Queues, queue: &QueueObject, cred: &Cred) -> Result<()> {
    queue.check_owner(cred)?;
    queues.table.remove(queue);
    queue.data.filled.wake_all();
    queue.data.drained.wake_all();
    Ok(())
}

/// IPC_SET: EPERM, EINVAL.
pub fn set(queues: &Queues, queue: &QueueObject, cred: &Cred, new: &MsqidDs) -> Result<()> {
    queue.check_owner(cred)?;
    let limit = queues.max_bytes.load(Ordering::Relaxed) as u64;
    if new.msg_qbytes > limit && !cred.has(Cap::SYS_RESOURCE) {
        return Err(Errno::EPERM);
    }
    let max_bytes = usize::try_from(new.msg_qbytes).map_err(|_| Errno::EINVAL)?;
    queue.perm.lock().update(&new.msg_perm)?;
    {
        let mut state = queue.data.state.lock();
        state.max_bytes = max_bytes;
        state.changed_at = now();
    }
    // Permissions and room may be others now.
    queue.data.filled.wake_all();
    queue.data.drained.wake_all();
    Ok(())
}

/// IPC_STAT.
pub fn status(queue: &QueueObject) -> MsqidDs {
    let perm = *queue.perm.lock();
    let state = queue.data.state.lock();
    MsqidDs {
        msg_perm: perm.to_user(queue.id),
        msg_stime: state.sent_at,
        msg_rtime: state.received_at,
        msg_ctime: state.changed_at,
        msg_cbytes: state.bytes as u64,
        msg_qnum: state.messages.len() as u64,
        msg_qbytes: state.max_bytes as u64,
        msg_lspid: Pid(state.sender.cast_signed()),
        msg_lrpid: Pid(state.receiver.cast_signed()),
        ..MsqidDs::default()
    }
}
