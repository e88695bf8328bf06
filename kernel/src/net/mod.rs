//! Sockets (socket(2), unix(7)).
//!
//! * [`Socket`]: what every family's sockets can do; [`SocketFile`] makes it a file.
//! * [`unix`]: local sockets, with descriptor passing.
//! * [`message`]: sendmsg's and recvmsg's headers and ancillary data.
//!
//! There are no other families yet: socket(2) answers EAFNOSUPPORT for them, like a Linux built without.

pub mod message;
pub mod unix;

use core::any::Any;
use keel_abi::flags::{MsgFlags, OpenFlags, ShutdownHow};

use crate::fs::{File, FileOps, IoDst, IoSrc, PollEvents, PollTable, anon};
use crate::prelude::*;
use message::{Ancillary, Received};

/// A socket address as calls pass it: family first, at most 128 bytes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Address(pub Vec<u8>);

impl Address {
    /// The family; 0 for an address too short to have one.
    pub fn family(&self) -> u16 {
        match self.0.first_chunk::<2>() {
            Some(bytes) => u16::from_ne_bytes(*bytes),
            None => 0,
        }
    }
}

/// What sockets of every family can do.
#[allow(unused_variables)]
pub trait Socket: Send + Sync + Any {
    /// Gives it an address.
    fn bind(&self, address: &Address) -> Result<()>;
    /// Starts to take connections.
    fn listen(&self, backlog: usize) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Takes a connection.
    fn accept(&self, nonblock: bool) -> Result<Arc<dyn Socket>> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Connects, or sets where messages go.
    fn connect(&self, address: &Address, nonblock: bool) -> Result<()>;
    /// Sends data with ancillary data; to `to` where that is allowed.
    fn send(
        &self,
        src: &mut IoSrc,
        to: Option<&Address>,
        ancillary: Ancillary,
        flags: MsgFlags,
        nonblock: bool,
    ) -> Result<usize>;
    /// Receives.
    fn receive(&self, dst: &mut IoDst, flags: MsgFlags, nonblock: bool) -> Result<Received>;
    /// Ends reading, writing or both.
    fn shutdown(&self, how: ShutdownHow) -> Result<()>;
    /// Its own address.
    fn name(&self) -> Address;
    /// The other end's address: ENOTCONN.
    fn peer_name(&self) -> Result<Address>;
    /// What is ready.
    fn poll(&self, table: &mut PollTable) -> PollEvents;
    /// An option's value: ENOPROTOOPT.
    fn option(&self, level: i32, name: i32, len: usize) -> Result<Vec<u8>>;
    /// Sets an option: ENOPROTOOPT.
    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()>;
    /// Bytes that can be read (FIONREAD) and that are still to be sent (TIOCOUTQ).
    fn queued(&self) -> (usize, usize);
    /// The last descriptor is gone.
    fn close(&self);
    /// The type itself.
    fn as_any(&self) -> &dyn Any;
}

/// A socket as a file.
pub struct SocketFile {
    socket: Arc<dyn Socket>,
}

impl SocketFile {
    /// The socket.
    pub fn socket(&self) -> &Arc<dyn Socket> {
        &self.socket
    }
}

/// A file over a socket; `flags` may have O_NONBLOCK.
pub fn socket_file(socket: Arc<dyn Socket>, flags: OpenFlags) -> Arc<File> {
    let ops = Arc::new(SocketFile { socket });
    let file = anon::open(&anon::socket_inode(), ops, flags | OpenFlags::RDWR);
    let mut open = OPEN.lock();
    if open.len() == open.capacity() {
        open.retain(|known| known.strong_count() > 0);
    }
    open.push(Arc::downgrade(&file));
    drop(open);
    file
}

/// Files over sockets; those that are closed go when the list would grow.
static OPEN: SpinLock<Vec<Weak<File>>> = SpinLock::new(Vec::new());

/// All files over sockets (/proc/net).
pub fn open_sockets() -> Vec<Arc<File>> {
    OPEN.lock().iter().filter_map(Weak::upgrade).collect()
}

/// The socket behind a file: ENOTSOCK.
pub fn socket_of(file: &File) -> Result<&Arc<dyn Socket>> {
    file.ops_as::<SocketFile>()
        .map(SocketFile::socket)
        .ok_or(Errno::ENOTSOCK)
}

impl FileOps for SocketFile {
    fn read(&self, file: &File, dst: &mut IoDst, _pos: u64) -> Result<usize> {
        let received = self
            .socket
            .receive(dst, MsgFlags::empty(), file.nonblocking())?;
        Ok(received.bytes)
    }

    fn write(&self, file: &File, src: &mut IoSrc, _pos: u64) -> Result<usize> {
        let nonblock = file.nonblocking();
        self.socket
            .send(src, None, Ancillary::default(), MsgFlags::empty(), nonblock)
    }

    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File, table: &mut PollTable) -> PollEvents {
        self.socket.poll(table)
    }

    fn ioctl(&self, _file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        use crate::mm::user::UserAccess;
        use keel_abi::args::UserPtr;
        use keel_abi::flags::IoctlCmd;
        let (readable, unsent) = self.socket.queued();
        let value = match IoctlCmd(cmd) {
            IoctlCmd::FIONREAD => readable,
            IoctlCmd::TIOCOUTQ => unsent,
            _ => return Err(Errno::ENOTTY),
        };
        UserPtr::<i32>::new(arg).write(&(value as i32))?;
        Ok(0)
    }

    fn release(&self, _file: &File) {
        self.socket.close();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Sets up the network.
pub fn init() {}
