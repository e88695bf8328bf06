//! Local sockets (unix(7)): streams, datagrams, sequenced packets; path, abstract and automatic names; passing of
//! descriptors and credentials.
//!
//! Data goes straight into the receiver's queue as messages: a stream's messages are joined when read, a packet's
//! are kept apart. Each socket has one lock, for its queue and state; two sockets' locks are never held at once.

use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};
use hashbrown::HashMap;
use keel_abi::args::{DirFd, FileType};
use keel_abi::flags::{MsgFlags, ShutdownHow};
use keel_abi::types::{Timeval, Ucred};
use zerocopy::{FromBytes, IntoBytes};

use super::message::{Ancillary, Received, own_cred};
use super::{Address, Socket};
use crate::fs::namei::{self, LookupFlags, child_locked};
use crate::fs::permission::{self, MAY_WRITE};
use crate::fs::{Inode, IoDst, IoSrc, PollEvents, PollTable};
use crate::prelude::*;
use crate::process::current;
use crate::process::signal::{SigInfo, send_thread, sig};

const AF_UNIX: u16 = 1;
/// Longest address: family and path.
const ADDRESS_MAX: usize = 110;
/// Default and largest buffer (`net.core.wmem_default`, `wmem_max`).
const BUFFER_DEFAULT: usize = 212_992;
/// Most datagrams that wait at a socket (`net.unix.max_dgram_qlen`).
const DATAGRAMS_MAX: usize = 512;

/// Kinds of local sockets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A stream of bytes.
    Stream = 1,
    /// Messages without a connection.
    Datagram = 2,
    /// Messages over a connection.
    SeqPacket = 5,
}

struct Message {
    data: Vec<u8>,
    /// How much of `data` was read (streams).
    taken: usize,
    ancillary: Ancillary,
    from: Address,
}

enum Stage {
    Idle,
    Listening {
        backlog: usize,
        waiting: VecDeque<Arc<UnixSocket>>,
    },
    Connected {
        peer: Weak<UnixSocket>,
    },
    Closed,
}

struct State {
    stage: Stage,
    queue: VecDeque<Message>,
    queued: usize,
    read_shut: bool,
    write_shut: bool,
    /// The peer has closed or shut its writing side.
    peer_done: bool,
    error: Option<Errno>,
    peer_cred: Ucred,
    peer_name: Address,
}

/// A local socket.
pub struct UnixSocket {
    kind: Kind,
    me: Weak<UnixSocket>,
    state: Mutex<State>,
    name: SpinLock<Address>,
    /// The inode of a path name.
    inode: SpinLock<Option<Arc<Inode>>>,
    readable: Arc<WaitQueue>,
    writable: Arc<WaitQueue>,
    options: SpinLock<Options>,
}

#[derive(Clone, Copy)]
struct Options {
    pass_cred: bool,
    send_buffer: usize,
    receive_buffer: usize,
    receive_timeout: u64,
    send_timeout: u64,
    reuse_addr: bool,
    keep_alive: bool,
    oob_inline: bool,
    /// SO_LINGER: whether, and seconds. Closing a local socket never waits.
    linger: [i32; 2],
}

/// How a wait ends that a signal interrupted: one with a time limit is not begun anew (signal(7)).
fn interrupted(deadline: Option<u64>) -> Errno {
    match deadline {
        None => Errno::ERESTARTSYS,
        Some(_) => Errno::EINTR,
    }
}

/// Sockets with abstract names.
static ABSTRACT: OnceLock<SpinLock<HashMap<Vec<u8>, Weak<UnixSocket>>>> = OnceLock::new();

fn abstract_names() -> &'static SpinLock<HashMap<Vec<u8>, Weak<UnixSocket>>> {
    ABSTRACT.call_once(|| SpinLock::new(HashMap::new()))
}

fn unix_address(path: &[u8]) -> Address {
    let mut bytes = AF_UNIX.to_ne_bytes().to_vec();
    bytes.extend_from_slice(path);
    Address(bytes)
}

/// What an address names.
enum Target<'a> {
    /// A path.
    Path(&'a [u8]),
    /// An abstract name (without its leading NUL).
    Abstract(&'a [u8]),
    /// Nothing: choose a name.
    Auto,
}

fn parse(address: &Address) -> Result<Target<'_>> {
    if address.0.len() > ADDRESS_MAX || address.0.len() < 2 || address.family() != AF_UNIX {
        return Err(Errno::EINVAL);
    }
    match &address.0[2..] {
        [] => Ok(Target::Auto),
        [0, name @ ..] => Ok(Target::Abstract(name)),
        path => {
            let len = path.iter().position(|b| *b == 0).unwrap_or(path.len());
            Ok(Target::Path(&path[..len]))
        }
    }
}

impl UnixSocket {
    /// A socket without a name.
    pub fn new(kind: Kind) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            kind,
            me: me.clone(),
            state: Mutex::new(State {
                stage: Stage::Idle,
                queue: VecDeque::new(),
                queued: 0,
                read_shut: false,
                write_shut: false,
                peer_done: false,
                error: None,
                peer_cred: Ucred::default(),
                peer_name: unix_address(b""),
            }),
            name: SpinLock::new(unix_address(b"")),
            inode: SpinLock::new(None),
            readable: Arc::new(WaitQueue::new()),
            writable: Arc::new(WaitQueue::new()),
            options: SpinLock::new(Options {
                pass_cred: false,
                send_buffer: BUFFER_DEFAULT,
                receive_buffer: BUFFER_DEFAULT,
                receive_timeout: 0,
                send_timeout: 0,
                reuse_addr: false,
                keep_alive: false,
                oob_inline: false,
                linger: [0; 2],
            }),
        })
    }

    /// Two sockets that are connected to each other.
    pub fn pair(kind: Kind) -> (Arc<Self>, Arc<Self>) {
        let (a, b) = (Self::new(kind), Self::new(kind));
        let cred = own_cred();
        for (one, other) in [(&a, &b), (&b, &a)] {
            let mut state = one.state.lock();
            state.stage = Stage::Connected {
                peer: Arc::downgrade(other),
            };
            state.peer_cred = cred;
        }
        (a, b)
    }

    /// Its kind, whether it takes connections, whether it is connected, and its name without the family.
    pub fn describe(&self) -> (Kind, bool, bool, Vec<u8>) {
        let (listening, connected) = match &self.state.lock().stage {
            Stage::Listening { .. } => (true, false),
            Stage::Connected { .. } => (false, true),
            _ => (false, false),
        };
        let name = self.name.lock().0.get(2..).unwrap_or(&[]).to_vec();
        (self.kind, listening, connected, name)
    }

    fn is_connection(&self) -> bool {
        self.kind != Kind::Datagram
    }

    fn peer(&self) -> Option<Arc<UnixSocket>> {
        match &self.state.lock().stage {
            Stage::Connected { peer } => peer.upgrade(),
            _ => None,
        }
    }

    fn bind_path(&self, path: &[u8]) -> Result<()> {
        let thread = current();
        let parent = namei::lookup_parent(&thread, DirFd::CWD, path)?;
        let dir = parent.dir.inode()?;
        let cred = thread.cred();
        let _exclusive = dir.rwsem.write();
        let dentry = child_locked(&parent.dir.dentry, &dir, &parent.name)?;
        if !dentry.is_negative() {
            return Err(Errno::EADDRINUSE);
        }
        permission::check_create(&parent.dir, &dir, &cred)?;
        let (owner, perm) = permission::new_owner(&dir, &cred, 0o777 & !thread.fs().umask(), false);
        let mode = u32::from(FileType::Socket.mode().0) | perm;
        let inode = dir.ops.create(&dir, &parent.name, mode, 0, &owner)?;
        dentry.instantiate(inode.clone());
        let me: Weak<dyn Any + Send + Sync> = self.me.clone();
        *inode.special.lock() = Some(Arc::new(Bound(me)));
        *self.inode.lock() = Some(inode);
        *self.name.lock() = unix_address(&[path, b"\0"].concat());
        Ok(())
    }

    fn bind_abstract(&self, name: &[u8]) -> Result<()> {
        let mut names = abstract_names().lock();
        if names
            .get(name)
            .is_some_and(|other| other.strong_count() > 0)
        {
            return Err(Errno::EADDRINUSE);
        }
        names.insert(name.to_vec(), self.me.clone());
        *self.name.lock() = unix_address(&[b"\0", name].concat());
        Ok(())
    }

    fn bind_auto(&self) -> Result<()> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed) & 0xf_ffff;
            match self.bind_abstract(format!("{number:05x}").as_bytes()) {
                Err(Errno::EADDRINUSE) => {}
                other => return other,
            }
        }
    }

    /// The socket that an address names: ECONNREFUSED, EPROTOTYPE for another kind.
    fn find(&self, address: &Address) -> Result<Arc<UnixSocket>> {
        let found = match parse(address)? {
            Target::Auto => return Err(Errno::EINVAL),
            Target::Abstract(name) => abstract_names().lock().get(name).and_then(Weak::upgrade),
            Target::Path(path) => {
                let thread = current();
                let place = namei::lookup(&thread, DirFd::CWD, path, LookupFlags::FOLLOW)?;
                let inode = place.inode()?;
                permission::check_path(&place, &inode, &thread.cred(), MAY_WRITE)?;
                let bound = inode.special.lock().clone();
                bound
                    .and_then(|any| any.downcast::<Bound>().ok())
                    .and_then(|bound| bound.0.upgrade()?.downcast::<UnixSocket>().ok())
            }
        };
        let socket = found.ok_or(Errno::ECONNREFUSED)?;
        if socket.kind != self.kind {
            Err(Errno::EPROTOTYPE)
        } else {
            Ok(socket)
        }
    }

    fn connect_stream(&self, address: &Address, nonblock: bool) -> Result<()> {
        let listener = self.find(address)?;
        {
            let state = self.state.lock();
            match state.stage {
                Stage::Idle => {}
                Stage::Connected { .. } => return Err(Errno::EISCONN),
                _ => return Err(Errno::EINVAL),
            }
        }
        let far = Self::new(self.kind);
        {
            let mut state = far.state.lock();
            state.stage = Stage::Connected {
                peer: self.me.clone(),
            };
            state.peer_cred = own_cred();
            state.peer_name = self.name.lock().clone();
        }
        *far.name.lock() = listener.name.lock().clone();
        let listener_cred = loop {
            {
                let mut state = listener.state.lock();
                let cred = state.peer_cred;
                let Stage::Listening { backlog, waiting } = &mut state.stage else {
                    return Err(Errno::ECONNREFUSED);
                };
                if waiting.len() <= *backlog {
                    waiting.push_back(far.clone());
                    break cred;
                }
            }
            if nonblock {
                return Err(Errno::EAGAIN);
            }
            let room = || {
                let state = listener.state.lock();
                match &state.stage {
                    Stage::Listening { backlog, waiting } => {
                        (waiting.len() <= *backlog).then_some(())
                    }
                    _ => Some(()),
                }
            };
            let deadline = self.deadline(self.options.lock().send_timeout);
            match listener
                .writable
                .wait(SleepMode::Interruptible, deadline, room)
            {
                Ok(()) => {}
                Err(WaitError::TimedOut) => return Err(Errno::EAGAIN),
                Err(WaitError::Interrupted) => return Err(interrupted(deadline)),
            }
        };
        {
            let mut state = self.state.lock();
            state.stage = Stage::Connected {
                peer: Arc::downgrade(&far),
            };
            state.peer_cred = listener_cred;
            state.peer_name = listener.name.lock().clone();
        }
        listener
            .readable
            .wake(usize::MAX, PollEvents::READABLE.key());
        self.writable.wake(usize::MAX, PollEvents::WRITABLE.key());
        Ok(())
    }

    fn deadline(&self, timeout: u64) -> Option<u64> {
        (timeout != 0).then(|| crate::time::monotonic_ns().saturating_add(timeout))
    }

    /// Puts a message into this socket's queue; gives it back when there is no room.
    fn deliver(&self, message: Message, limit: usize) -> core::result::Result<(), Refused> {
        let mut state = self.state.lock();
        if state.read_shut || matches!(state.stage, Stage::Closed) {
            return Err(Refused::Gone);
        }
        if !self.has_room(&state, message.data.len(), limit) {
            return Err(Refused::Full(message));
        }
        state.queued += message.data.len();
        state.queue.push_back(message);
        drop(state);
        self.readable.wake(usize::MAX, PollEvents::READABLE.key());
        Ok(())
    }

    /// Whether a message of `len` bytes fits into the queue: always into an empty one.
    fn has_room(&self, state: &State, len: usize, limit: usize) -> bool {
        let fits = state.queued == 0 || state.queued + len <= limit;
        fits && (self.kind != Kind::Datagram || state.queue.len() < DATAGRAMS_MAX)
    }

    /// Waits until `target` takes `len` bytes, by the very rule of [`Self::deliver`]: with a laxer one the sender
    /// would come back at once and never let the receiver run.
    fn wait_for_room(
        &self,
        target: &UnixSocket,
        len: usize,
        deadline: Option<u64>,
        nonblock: bool,
    ) -> Result<()> {
        if nonblock {
            return Err(Errno::EAGAIN);
        }
        let limit = self.options.lock().send_buffer;
        let room = || {
            let state = target.state.lock();
            let gone = state.read_shut || matches!(state.stage, Stage::Closed);
            (gone || target.has_room(&state, len, limit)).then_some(())
        };
        match target
            .writable
            .wait(SleepMode::Interruptible, deadline, room)
        {
            Ok(()) => Ok(()),
            Err(WaitError::TimedOut) => Err(Errno::EAGAIN),
            Err(WaitError::Interrupted) => Err(interrupted(deadline)),
        }
    }

    fn broken(&self, flags: MsgFlags) -> Errno {
        if self.is_connection() && !flags.contains(MsgFlags::NOSIGNAL) {
            send_thread(&current(), SigInfo::kernel(sig::PIPE));
        }
        Errno::EPIPE
    }

    /// Streams are cut into pieces of this size.
    const PIECE: usize = 32 << 10;

    fn send_to(
        &self,
        target: &Arc<UnixSocket>,
        src: &mut IoSrc,
        mut ancillary: Ancillary,
        flags: MsgFlags,
        nonblock: bool,
    ) -> Result<usize> {
        let (limit, timeout) = {
            let options = self.options.lock();
            (options.send_buffer, options.send_timeout)
        };
        if self.kind != Kind::Stream && src.remaining() > limit {
            return Err(Errno::EMSGSIZE);
        }
        if ancillary.cred.is_none() {
            ancillary.cred = Some(own_cred());
        }
        let deadline = self.deadline(timeout);
        let mut total = 0;
        loop {
            let want = src.remaining();
            let piece = if self.kind == Kind::Stream {
                want.min(Self::PIECE)
            } else {
                want
            };
            let mut data = Vec::new();
            data.try_reserve_exact(piece).map_err(|_| Errno::ENOBUFS)?;
            data.resize(piece, 0);
            let n = if piece == 0 { 0 } else { src.take(&mut data)? };
            data.truncate(n);
            let from = self.name.lock().clone();
            let mut message = Message {
                data,
                taken: 0,
                ancillary: core::mem::take(&mut ancillary),
                from,
            };
            loop {
                match target.deliver(message, limit) {
                    Ok(()) => break,
                    Err(Refused::Gone) if total > 0 => return Ok(total),
                    Err(Refused::Gone) if self.is_connection() => return Err(self.broken(flags)),
                    Err(Refused::Gone) => return Err(Errno::ECONNREFUSED),
                    Err(Refused::Full(back)) => {
                        message = back;
                        if let Err(error) =
                            self.wait_for_room(target, message.data.len(), deadline, nonblock)
                        {
                            return if total > 0 { Ok(total) } else { Err(error) };
                        }
                    }
                }
            }
            total += n;
            if src.remaining() == 0 || self.kind != Kind::Stream {
                return Ok(total);
            }
            ancillary.cred = Some(own_cred());
        }
    }

    /// Takes what is there; `None` if nothing is.
    fn take(
        &self,
        dst: &mut IoDst,
        flags: MsgFlags,
        received: &mut Received,
    ) -> Result<Option<()>> {
        let mut state = self.state.lock();
        let peek = flags.contains(MsgFlags::PEEK);
        if self.kind != Kind::Stream {
            let Some(message) = state.queue.front() else {
                return Ok(None);
            };
            let len = message.data.len();
            let n = dst.put(&message.data)?;
            if n < len {
                received.flags |= MsgFlags::TRUNC;
            }
            received.bytes = if flags.contains(MsgFlags::TRUNC) {
                len
            } else {
                n
            };
            received.from = Some(message.from.clone());
            if peek {
                received.ancillary = copy_of(&message.ancillary);
            } else if let Some(message) = state.queue.pop_front() {
                received.ancillary = message.ancillary;
                state.queued -= len;
            }
            return Ok(Some(()));
        }
        let mut at = 0;
        while dst.remaining() > 0 {
            let Some(message) = state.queue.get_mut(at) else {
                break;
            };
            // Bytes sent by different senders, or before and behind descriptors, are not read together.
            let marked = !message.ancillary.files.is_empty();
            if received.bytes > 0 && marked {
                break;
            }
            let n = dst.put(&message.data[message.taken..])?;
            received.bytes += n;
            if marked || received.ancillary.cred.is_none() {
                received.ancillary.cred = message.ancillary.cred;
                received.ancillary.files = if peek {
                    message.ancillary.files.clone()
                } else {
                    core::mem::take(&mut message.ancillary.files)
                };
            }
            if peek {
                at += 1;
                continue;
            }
            message.taken += n;
            let finished = message.taken >= message.data.len();
            state.queued -= n;
            if finished {
                state.queue.pop_front();
            }
            if marked {
                break;
            }
        }
        Ok((received.bytes > 0).then_some(()))
    }
}

/// Why a message was not taken.
enum Refused {
    Full(Message),
    Gone,
}

/// What an inode keeps of the socket bound to it.
struct Bound(Weak<dyn Any + Send + Sync>);

fn copy_of(ancillary: &Ancillary) -> Ancillary {
    Ancillary {
        files: ancillary.files.clone(),
        cred: ancillary.cred,
    }
}

impl Socket for UnixSocket {
    fn bind(&self, address: &Address) -> Result<()> {
        if self.name.lock().0.len() > 2 {
            return Err(Errno::EINVAL);
        }
        match parse(address)? {
            Target::Auto => self.bind_auto(),
            Target::Abstract(name) => self.bind_abstract(name),
            Target::Path(path) => self.bind_path(path),
        }
    }

    fn listen(&self, backlog: usize) -> Result<()> {
        if !self.is_connection() {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.name.lock().0.len() <= 2 {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state.lock();
        match &mut state.stage {
            Stage::Idle => {
                state.stage = Stage::Listening {
                    backlog,
                    waiting: VecDeque::new(),
                };
                state.peer_cred = own_cred();
            }
            Stage::Listening { backlog: old, .. } => *old = backlog,
            _ => return Err(Errno::EINVAL),
        }
        drop(state);
        self.writable.wake_all();
        Ok(())
    }

    fn accept(&self, nonblock: bool) -> Result<Arc<dyn Socket>> {
        if !self.is_connection() {
            return Err(Errno::EOPNOTSUPP);
        }
        let next = || match &mut self.state.lock().stage {
            Stage::Listening { waiting, .. } => waiting.pop_front().map(Ok),
            _ => Some(Err(Errno::EINVAL)),
        };
        let taken = match next() {
            Some(taken) => taken?,
            None if nonblock => return Err(Errno::EAGAIN),
            None => {
                let deadline = self.deadline(self.options.lock().receive_timeout);
                match self
                    .readable
                    .wait_exclusive(SleepMode::Interruptible, deadline, next)
                {
                    Ok(taken) => taken?,
                    Err(WaitError::TimedOut) => return Err(Errno::EAGAIN),
                    Err(WaitError::Interrupted) => return Err(interrupted(deadline)),
                }
            }
        };
        self.writable.wake_all();
        Ok(taken)
    }

    fn connect(&self, address: &Address, nonblock: bool) -> Result<()> {
        if self.is_connection() {
            return self.connect_stream(address, nonblock);
        }
        if address.family() == 0 {
            self.state.lock().stage = Stage::Idle;
            return Ok(());
        }
        let peer = self.find(address)?;
        let mut state = self.state.lock();
        state.peer_name = peer.name.lock().clone();
        state.stage = Stage::Connected {
            peer: Arc::downgrade(&peer),
        };
        Ok(())
    }

    fn send(
        &self,
        src: &mut IoSrc,
        to: Option<&Address>,
        ancillary: Ancillary,
        flags: MsgFlags,
        nonblock: bool,
    ) -> Result<usize> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let nonblock = nonblock || flags.contains(MsgFlags::DONTWAIT);
        let connected = {
            let mut state = self.state.lock();
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            if state.write_shut {
                drop(state);
                return Err(self.broken(flags));
            }
            matches!(state.stage, Stage::Connected { .. })
        };
        let target = match to {
            Some(_) if self.is_connection() && connected => return Err(Errno::EISCONN),
            Some(_) if self.is_connection() => return Err(Errno::EOPNOTSUPP),
            Some(address) => self.find(address)?,
            None if !connected => return Err(Errno::ENOTCONN),
            None => match self.peer() {
                Some(peer) => peer,
                None if self.is_connection() => return Err(self.broken(flags)),
                None => return Err(Errno::ECONNREFUSED),
            },
        };
        self.send_to(&target, src, ancillary, flags, nonblock)
    }

    fn receive(&self, dst: &mut IoDst, flags: MsgFlags, nonblock: bool) -> Result<Received> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let nonblock = nonblock || flags.contains(MsgFlags::DONTWAIT);
        let options = *self.options.lock();
        let mut received = Received {
            pass_cred: options.pass_cred,
            ..Received::default()
        };
        let deadline = self.deadline(options.receive_timeout);
        let wait_all = flags.contains(MsgFlags::WAITALL)
            && self.kind == Kind::Stream
            && !flags.contains(MsgFlags::PEEK);
        if self.kind == Kind::Stream && dst.remaining() == 0 {
            return Ok(received);
        }
        loop {
            let got = self.take(dst, flags, &mut received)?;
            if got.is_some() {
                if let Some(peer) = self.peer() {
                    peer.writable.wake(usize::MAX, PollEvents::WRITABLE.key());
                }
                self.writable.wake(usize::MAX, PollEvents::WRITABLE.key());
                if !(wait_all && dst.remaining() > 0 && received.ancillary.files.is_empty()) {
                    return Ok(received);
                }
            }
            {
                let mut state = self.state.lock();
                if let Some(error) = state.error.take() {
                    return if received.bytes > 0 {
                        Ok(received)
                    } else {
                        Err(error)
                    };
                }
                let open = matches!(state.stage, Stage::Connected { .. });
                if state.read_shut || state.peer_done {
                    return Ok(received);
                }
                if self.is_connection() && !open {
                    return match state.stage {
                        Stage::Listening { .. } | Stage::Idle => Err(Errno::EINVAL),
                        _ => Ok(received),
                    };
                }
            }
            if nonblock {
                return if received.bytes > 0 {
                    Ok(received)
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            let ready = || {
                let state = self.state.lock();
                let end = state.read_shut || state.peer_done || state.error.is_some();
                (!state.queue.is_empty() || end).then_some(())
            };
            match self
                .readable
                .wait_exclusive(SleepMode::Interruptible, deadline, ready)
            {
                Ok(()) => {}
                Err(_) if received.bytes > 0 => return Ok(received),
                Err(WaitError::TimedOut) => return Err(Errno::EAGAIN),
                Err(WaitError::Interrupted) => return Err(interrupted(deadline)),
            }
        }
    }

    fn shutdown(&self, how: ShutdownHow) -> Result<()> {
        let (read, write) = match how {
            ShutdownHow::SHUT_RD => (true, false),
            ShutdownHow::SHUT_WR => (false, true),
            ShutdownHow::SHUT_RDWR => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        let peer = {
            let mut state = self.state.lock();
            state.read_shut |= read;
            state.write_shut |= write;
            match &state.stage {
                Stage::Connected { peer } => peer.upgrade(),
                _ if self.is_connection() => return Err(Errno::ENOTCONN),
                _ => None,
            }
        };
        if let Some(peer) = peer.filter(|_| self.is_connection()) {
            {
                let mut state = peer.state.lock();
                state.peer_done |= write;
                state.write_shut |= read;
            }
            peer.wake_everybody();
        }
        self.wake_everybody();
        Ok(())
    }

    fn name(&self) -> Address {
        self.name.lock().clone()
    }

    fn peer_name(&self) -> Result<Address> {
        let state = self.state.lock();
        match state.stage {
            Stage::Connected { .. } => Ok(state.peer_name.clone()),
            _ => Err(Errno::ENOTCONN),
        }
    }

    fn poll(&self, table: &mut PollTable) -> PollEvents {
        table.add(&self.readable);
        table.add(&self.writable);
        let limit = self.options.lock().send_buffer;
        let peer = self.peer();
        let state = self.state.lock();
        let mut events = PollEvents::empty();
        events.set(PollEvents::READABLE, !state.queue.is_empty());
        events.set(PollEvents::ERR, state.error.is_some());
        match &state.stage {
            Stage::Listening { waiting, .. } => {
                events.set(PollEvents::READABLE, !waiting.is_empty());
                return events;
            }
            Stage::Idle if self.is_connection() => {
                return events | PollEvents::HUP | PollEvents::WRITABLE;
            }
            _ => {}
        }
        if state.read_shut || state.peer_done {
            events |= PollEvents::READABLE | PollEvents::RDHUP;
        }
        let both = (state.read_shut || state.peer_done) && state.write_shut;
        events.set(
            PollEvents::HUP,
            self.is_connection() && (both || peer.is_none()),
        );
        drop(state);
        let room = peer.is_none_or(|peer| {
            let state = peer.state.lock();
            state.queued < limit
                && (self.kind != Kind::Datagram || state.queue.len() < DATAGRAMS_MAX)
        });
        events.set(PollEvents::WRITABLE, room);
        events
    }

    fn option(&self, level: i32, name: i32, _len: usize) -> Result<Vec<u8>> {
        use keel_abi::flags::SocketOption as O;
        if level != 1 {
            return Err(Errno::EOPNOTSUPP);
        }
        let options = *self.options.lock();
        let int = |value: i32| Ok(value.to_ne_bytes().to_vec());
        match O(name) {
            O::SO_TYPE => int(self.kind as i32),
            O::SO_DOMAIN => int(i32::from(AF_UNIX)),
            O::SO_PROTOCOL => int(0),
            O::SO_ERROR => int(self.state.lock().error.take().map_or(0, Errno::raw)),
            O::SO_PASSCRED => int(options.pass_cred.into()),
            O::SO_SNDBUF => int(options.send_buffer as i32),
            O::SO_RCVBUF => int(options.receive_buffer as i32),
            O::SO_REUSEADDR => int(options.reuse_addr.into()),
            O::SO_KEEPALIVE => int(options.keep_alive.into()),
            O::SO_OOBINLINE => int(options.oob_inline.into()),
            O::SO_LINGER => Ok(options.linger.as_bytes().to_vec()),
            O::SO_ACCEPTCONN => {
                int(matches!(self.state.lock().stage, Stage::Listening { .. }).into())
            }
            O::SO_PEERCRED => {
                let cred = match self.state.lock() {
                    state if matches!(state.stage, Stage::Connected { .. }) => state.peer_cred,
                    _ => Ucred {
                        pid: keel_abi::args::Pid(0),
                        uid: keel_abi::args::Uid(u32::MAX),
                        gid: keel_abi::args::Gid(u32::MAX),
                    },
                };
                Ok(cred.as_bytes().to_vec())
            }
            O::SO_RCVTIMEO => Ok(timeval(options.receive_timeout).as_bytes().to_vec()),
            O::SO_SNDTIMEO => Ok(timeval(options.send_timeout).as_bytes().to_vec()),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        use keel_abi::flags::SocketOption as O;
        if level != 1 {
            return Err(Errno::EOPNOTSUPP);
        }
        let int = || {
            i32::read_from_prefix(value)
                .map(|(n, _)| n)
                .map_err(|_| Errno::EINVAL)
        };
        let time = || -> Result<u64> {
            let (time, _) = Timeval::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
            if !(0..1_000_000).contains(&time.tv_usec) {
                return Err(Errno::EDOM);
            }
            let ns = (time.tv_sec.max(0) as u64).saturating_mul(1_000_000_000);
            Ok(ns.saturating_add(time.tv_usec as u64 * 1000))
        };
        // As Linux does, twice the size is kept, to account for overhead.
        let size = |n: i32| (n.max(0) as usize * 2).clamp(4608, 2 * BUFFER_DEFAULT);
        let mut options = self.options.lock();
        match O(name) {
            O::SO_PASSCRED => options.pass_cred = int()? != 0,
            O::SO_SNDBUF => options.send_buffer = size(int()?),
            O::SO_RCVBUF => options.receive_buffer = size(int()?),
            O::SO_REUSEADDR => options.reuse_addr = int()? != 0,
            O::SO_KEEPALIVE => options.keep_alive = int()? != 0,
            O::SO_OOBINLINE => options.oob_inline = int()? != 0,
            O::SO_LINGER => {
                let (linger, _) = <[i32; 2]>::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
                options.linger = [i32::from(linger[0] != 0), linger[1]];
            }
            O::SO_RCVTIMEO => options.receive_timeout = time()?,
            O::SO_SNDTIMEO => options.send_timeout = time()?,
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn queued(&self) -> (usize, usize) {
        let own = {
            let state = self.state.lock();
            match self.kind {
                Kind::Stream => state.queued,
                _ => state.queue.front().map_or(0, |message| message.data.len()),
            }
        };
        let far = self.peer().map_or(0, |peer| peer.state.lock().queued);
        (own, far)
    }

    fn close(&self) {
        let (stage, queue) = {
            let mut state = self.state.lock();
            state.queued = 0;
            let stage = core::mem::replace(&mut state.stage, Stage::Closed);
            (stage, core::mem::take(&mut state.queue))
        };
        let unread = !queue.is_empty();
        drop(queue);
        match stage {
            Stage::Connected { peer } if self.is_connection() => {
                if let Some(peer) = peer.upgrade() {
                    {
                        let mut state = peer.state.lock();
                        state.peer_done = true;
                        state.write_shut = true;
                        if unread {
                            state.error = Some(Errno::ECONNRESET);
                        }
                    }
                    peer.wake_everybody();
                }
            }
            Stage::Listening { waiting, .. } => {
                for socket in waiting {
                    if let Some(peer) = socket.peer() {
                        {
                            let mut state = peer.state.lock();
                            state.peer_done = true;
                            state.error = Some(Errno::ECONNRESET);
                        }
                        peer.wake_everybody();
                    }
                }
            }
            _ => {}
        }
        let name = self.name.lock().clone();
        if let Some(name) = name.0.get(2..).and_then(|path| path.strip_prefix(b"\0")) {
            abstract_names().lock().remove(name);
        }
        if let Some(inode) = self.inode.lock().take() {
            *inode.special.lock() = None;
        }
        self.wake_everybody();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl UnixSocket {
    fn wake_everybody(&self) {
        let events = PollEvents::READABLE | PollEvents::WRITABLE | PollEvents::HUP;
        self.readable.wake(usize::MAX, events.key());
        self.writable.wake(usize::MAX, events.key());
    }
}

fn timeval(ns: u64) -> Timeval {
    crate::syscall::time::timeval(ns)
}
