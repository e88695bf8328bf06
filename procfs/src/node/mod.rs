//! [`Node`]: one inode of procfs, and what the VFS asks of it.
//!
//! A node is a small value that can be cloned: a place in the static tables of [`crate::tree`], or something
//! live (a descriptor, a sysctl), and the task that it belongs to. It holds no state of its own; every question is
//! answered from the sources at the time it is asked. A VFS that keeps nodes in a dentry cache asks
//! [`Node::valid`] before it uses one again, and keeps no negative entries.
//!
//! Inode numbers: the root is 1. All others are made of the thread ID (bits 32 to 55), the kind of thing
//! (bits 56 to 63) and either a hash of the path below the root or task (a test holds the tables free of collisions) or the
//! thing's own number.

mod dir;

pub(crate) use dir::self_link;

use alloc::sync::Arc;
use alloc::vec::Vec;

use keel_abi::{Errno, Result};

use crate::entry::{Entry, Kind, Live, TaskCx, Write};
use crate::source::{Namespace, System, Task, TaskLink};
use crate::sysctl::{self, CtlPlace};
use crate::text::Text;
use crate::{put, task, tree};

/// Kinds of inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FileType {
    Directory,
    Regular,
    Symlink,
}

impl FileType {
    /// The `S_IF*` bits.
    pub const fn mode(self) -> u32 {
        match self {
            FileType::Directory => 0o040000,
            FileType::Regular => 0o100000,
            FileType::Symlink => 0o120000,
        }
    }

    /// The `DT_*` value of getdents(2).
    pub const fn dirent(self) -> u8 {
        (self.mode() >> 12) as u8
    }
}

/// What stat(2) shows of an inode; times are those at which the VFS made it, blocks are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size; zero for nearly everything, as on Linux.
    pub size: u64,
}

/// One name in a directory.
#[derive(Debug, Clone, Copy)]
pub struct DirEntry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: u64,
    /// Its type.
    pub kind: FileType,
    /// Where to go on after it: what telldir(3) gives.
    pub next: u64,
}

/// Links that lead to a thing in the kernel. The VFS follows them to it, not along their text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Magic {
    /// exe, cwd, root.
    Task(TaskLink),
    /// `fd/N`.
    Fd(u32),
    /// `map_files/START-END`.
    MapFile(u64, u64),
    /// `ns/*`.
    Namespace(Namespace),
}

/// Files that are not a text made in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// A process's memory.
    Mem,
    /// Its page table, eight bytes a page.
    Pagemap,
    /// The kernel's messages; reading takes them away.
    Kmsg,
}

/// Where a node is.
#[derive(Clone, Copy)]
enum Place {
    Entry(&'static Entry),
    Fd(u32),
    FdInfo(u32),
    MapFile(u64, u64),
    Sysctl(CtlPlace),
    Irq(u32),
    IrqFile(u32, &'static tree::IrqEntry),
    Ext4(u32),
    Ext4File(u32),
}

/// One inode.
#[derive(Clone)]
pub struct Node {
    place: Place,
    task: Option<Arc<dyn Task>>,
    /// Below `task/TID`.
    thread: bool,
    /// Hash of the path from the root, or from the task.
    path: u32,
}

impl core::fmt::Debug for Node {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Node({:#x})", self.ino())
    }
}

/// FNV-1a over a path, one name at a time.
fn hash(seed: u32, name: &[u8]) -> u32 {
    name.iter()
        .chain(b"/")
        .fold(seed, |h, &b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

/// Seed of [`hash`].
const HASH_SEED: u32 = 0x811c_9dc5;

impl Node {
    /// The root of a mount.
    pub fn root() -> Self {
        Node {
            place: Place::Entry(&tree::ROOT),
            task: None,
            thread: false,
            path: HASH_SEED,
        }
    }

    /// `/proc/PID` of a task.
    fn process(task: Arc<dyn Task>) -> Self {
        Node {
            place: Place::Entry(&tree::PROCESS),
            task: Some(task),
            thread: false,
            path: HASH_SEED,
        }
    }

    /// `/proc/PID/task/TID`.
    fn thread(task: Arc<dyn Task>) -> Self {
        Node {
            place: Place::Entry(&tree::THREAD),
            task: Some(task),
            thread: true,
            path: HASH_SEED,
        }
    }

    /// A node of the same task, one name further down.
    fn below(&self, place: Place, name: &[u8]) -> Self {
        Node {
            place,
            path: hash(self.path, name),
            ..self.clone()
        }
    }

    /// The task that the node belongs to.
    pub fn task(&self) -> Option<&Arc<dyn Task>> {
        self.task.as_ref()
    }

    /// The inode number, unique within the mount.
    pub fn ino(&self) -> u64 {
        let (class, item) = match self.place {
            Place::Entry(_) if self.task.is_none() && self.path == HASH_SEED => return 1,
            Place::Entry(_) => (1, u64::from(self.path)),
            Place::Fd(fd) => (2, u64::from(fd)),
            Place::FdInfo(fd) => (3, u64::from(fd)),
            Place::MapFile(start, _) => (4, (start >> 12) & 0xffff_ffff),
            Place::Sysctl(_) => (5, u64::from(self.path)),
            Place::Irq(irq) => (6, u64::from(irq)),
            Place::IrqFile(..) => (7, u64::from(self.path)),
            Place::Ext4(_) | Place::Ext4File(_) => (8, u64::from(self.path)),
        };
        let tid = self
            .task
            .as_ref()
            .map_or(0, |task| u64::from(task.tid()) & 0xff_ffff);
        (class + if self.thread { 16 } else { 0 }) << 56 | tid << 32 | item
    }

    /// Whether it is a directory, a file or a link.
    pub fn file_type(&self) -> FileType {
        match self.place {
            Place::Entry(entry) => match entry.kind {
                Kind::Dir(_) | Kind::Root(_) | Kind::Live(_) => FileType::Directory,
                Kind::Link(_) | Kind::LinkTo(_) | Kind::Magic(_) | Kind::Namespace(_) => {
                    FileType::Symlink
                }
                _ => FileType::Regular,
            },
            Place::Fd(_) | Place::MapFile(..) => FileType::Symlink,
            Place::Sysctl(place) if place.is_dir() => FileType::Directory,
            Place::Irq(_) | Place::Ext4(_) => FileType::Directory,
            Place::Sysctl(_) | Place::FdInfo(_) | Place::IrqFile(..) | Place::Ext4File(_) => {
                FileType::Regular
            }
        }
    }

    /// What stat(2) shows. Errors: `ENOENT` if it is no longer there.
    pub fn attr(&self, sys: &dyn System) -> Result<Attr> {
        let perm = self.permissions(sys)?;
        let (uid, gid) = self.owner(perm);
        Ok(Attr {
            ino: self.ino(),
            mode: self.file_type().mode() | u32::from(perm),
            nlink: self.link_count(sys),
            uid,
            gid,
            size: self.size(),
        })
    }

    fn permissions(&self, sys: &dyn System) -> Result<u16> {
        Ok(match self.place {
            Place::Entry(entry) => entry.perm,
            Place::Fd(fd) => {
                let (read, write) = self.live_task()?.fd_mode(fd)?;
                0o100 | if read { 0o400 } else { 0 } | if write { 0o200 } else { 0 }
            }
            Place::MapFile(start, end) => task::maps::file_mode(self.live_task()?, start, end)?,
            Place::FdInfo(_) => 0o444,
            Place::Sysctl(place) => place.permissions(sys)?,
            Place::Irq(_) | Place::Ext4(_) => 0o555,
            Place::IrqFile(_, file) => file.perm,
            Place::Ext4File(_) => 0o444,
        })
    }

    /// Directories that everybody may enter belong to the process's effective IDs even if it is not dumpable.
    fn owner(&self, perm: u16) -> (u32, u32) {
        match &self.task {
            None => (0, 0),
            Some(task) if self.file_type() == FileType::Directory && perm == 0o555 => {
                task.effective_ids()
            }
            Some(task) => task.owner(),
        }
    }

    fn link_count(&self, sys: &dyn System) -> u32 {
        let Place::Entry(entry) = self.place else {
            return 1 + u32::from(self.file_type() == FileType::Directory);
        };
        let features = sys.features();
        let subdirs = |list: &[Entry]| {
            list.iter()
                .filter(|e| e.is_dir() && e.exists(features))
                .count() as u32
        };
        match entry.kind {
            Kind::Dir(list) => 2 + subdirs(list),
            Kind::Root(list) => 2 + subdirs(list) + sys.process_count(),
            Kind::Live(Live::Threads) => 2 + self.task.as_ref().map_or(0, |t| t.thread_count()),
            Kind::Live(_) => 2,
            _ => 1,
        }
    }

    fn size(&self) -> u64 {
        match (self.place, &self.task) {
            (Place::Fd(_) | Place::MapFile(..), _) => 64,
            (
                Place::Entry(Entry {
                    kind: Kind::Live(Live::Fds),
                    ..
                }),
                Some(task),
            ) => u64::from(task.fd_count()),
            (
                Place::Entry(Entry {
                    kind: Kind::Link(target),
                    ..
                }),
                _,
            ) => target.len() as u64,
            _ => 0,
        }
    }

    /// Whether it is below `/proc/sys`, where root has no more than the mode gives it (the kernel's `sysctl_perm`).
    pub fn is_sysctl(&self) -> bool {
        match self.place {
            Place::Sysctl(_) => true,
            Place::Entry(entry) => matches!(entry.kind, Kind::Live(Live::Sysctl)),
            _ => false,
        }
    }

    /// Whether it is `fd`, which the process itself may always enter.
    pub fn is_descriptors(&self) -> bool {
        matches!(self.place, Place::Entry(entry) if matches!(entry.kind, Kind::Live(Live::Fds)))
    }

    /// Whether it is the directory of a process or thread, which `hidepid` can close.
    pub fn is_task_dir(&self) -> bool {
        self.task.is_some() && self.path == HASH_SEED
    }

    /// Whether what the node stands for is still there.
    pub fn valid(&self, sys: &dyn System) -> bool {
        if self.task.as_ref().is_some_and(|task| !task.alive()) {
            return false;
        }
        match (self.place, &self.task) {
            (Place::Fd(fd) | Place::FdInfo(fd), Some(task)) => task.next_fd(fd) == Some(fd),
            (Place::MapFile(..) | Place::Sysctl(_), _) => self.permissions(sys).is_ok(),
            (Place::Irq(irq) | Place::IrqFile(irq, _), _) => sys.irq(irq).is_ok(),
            (Place::Ext4(i) | Place::Ext4File(i), _) => sys.ext4_mounts().len() > i as usize,
            _ => true,
        }
    }

    /// Whether poll(2) on the file waits for changes of the mount table (`POLLERR | POLLPRI`).
    pub fn polls_mounts(&self) -> bool {
        matches!(self.place, Place::Entry(entry)
            if matches!(entry.name, "mounts" | "mountinfo" | "mountstats"))
    }

    /// What kind of stream the file is, if it is one.
    pub fn stream(&self) -> Option<Stream> {
        match self.place {
            Place::Entry(Entry {
                kind: Kind::Stream(stream),
                ..
            }) => Some(*stream),
            _ => None,
        }
    }

    /// The link's thing and the task whose it is, if the link leads to one.
    pub fn magic(&self) -> Option<(&Arc<dyn Task>, Magic)> {
        let magic = match self.place {
            Place::Fd(fd) => Magic::Fd(fd),
            Place::MapFile(start, end) => Magic::MapFile(start, end),
            Place::Entry(Entry {
                kind: Kind::Magic(magic),
                ..
            }) => *magic,
            Place::Entry(Entry {
                kind: Kind::Namespace(ns),
                ..
            }) => Magic::Namespace(*ns),
            _ => return None,
        };
        self.task.as_ref().map(|task| (task, magic))
    }

    /// Checks that the reader may open the file, or follow or read the link.
    ///
    /// Errors: `EACCES`, `EPERM`, `ESRCH`, `EISDIR` never (the VFS knows).
    pub fn check_open(&self, _sys: &dyn System) -> Result<()> {
        let Some(task) = &self.task else {
            return Ok(());
        };
        if !task.alive() {
            return Err(Errno::ESRCH);
        }
        let access = match self.place {
            Place::Entry(entry) => entry.open,
            Place::Fd(_) | Place::FdInfo(_) | Place::MapFile(..) => {
                Some(crate::source::Access::Read)
            }
            _ => None,
        };
        access.map_or(Ok(()), |access| task.allow(access))
    }

    /// The text of a link. Errors: `EACCES`, `ENOENT`, `EINVAL` if it is none.
    pub fn readlink(&self, sys: &dyn System) -> Result<Vec<u8>> {
        self.check_open(sys)?;
        match self.place {
            Place::Entry(Entry {
                kind: Kind::Link(target),
                ..
            }) => Ok(target.as_bytes().to_vec()),
            Place::Entry(Entry {
                kind: Kind::LinkTo(make),
                ..
            }) => make(sys),
            Place::Entry(Entry {
                kind: Kind::Magic(Magic::Task(link)),
                ..
            }) => self.live_task()?.path(*link),
            Place::Entry(Entry {
                kind: Kind::Namespace(ns),
                ..
            }) => {
                let mut text = Text::new();
                let number = self.live_task()?.namespace(*ns)?;
                put!(text, "{}:[{}]", task::namespace_kind(*ns), number)?;
                Ok(text.into_vec())
            }
            Place::Fd(fd) => self.live_task()?.fd_path(fd),
            Place::MapFile(start, end) => task::maps::file_path(self.live_task()?, start, end),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Appends the whole text of a file. Errors: as the file says; `EISDIR`, `ENOMEM`.
    pub fn read(&self, sys: &dyn System, out: &mut Text) -> Result<()> {
        match self.place {
            Place::Entry(entry) => self.read_entry(sys, entry, out),
            Place::FdInfo(fd) => task::fdinfo(self.live_task()?, fd, out),
            Place::Sysctl(place) => sysctl::read(sys, &place, out),
            Place::IrqFile(irq, file) => (file.read)(&sys.irq(irq)?, out),
            Place::Ext4File(index) => crate::system::ext4_options(sys, index as usize, out),
            Place::Irq(_) | Place::Ext4(_) => Err(Errno::EISDIR),
            Place::Fd(_) | Place::MapFile(..) => Err(Errno::EINVAL),
        }
    }

    fn read_entry(&self, sys: &dyn System, entry: &Entry, out: &mut Text) -> Result<()> {
        match entry.kind {
            Kind::Sys(read) => read(sys, out),
            Kind::Task(read) => read(&self.cx()?, out),
            Kind::Net(read) => read(self.live_task()?.net()?.as_ref(), out),
            Kind::Dir(_) | Kind::Root(_) | Kind::Live(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Writes a value; the number of bytes taken. Errors: as the file says; `EIO` if it cannot be written (Linux's
    /// answer for a procfs file without a write method), `EINVAL`.
    pub fn write(&self, sys: &dyn System, offset: u64, data: &[u8]) -> Result<usize> {
        match self.place {
            Place::Entry(Entry {
                write: Some(Write::Sys(write)),
                ..
            }) => write(sys, data)?,
            Place::Entry(Entry {
                write: Some(Write::Task(write)),
                ..
            }) => {
                write(&self.cx()?, data)?;
            }
            Place::Sysctl(place) => sysctl::write(sys, &place, offset, data)?,
            Place::IrqFile(irq, file) => (file.write.ok_or(Errno::EIO)?)(sys, irq, data)?,
            _ => return Err(Errno::EIO),
        }
        Ok(data.len())
    }

    fn live_task(&self) -> Result<&dyn Task> {
        match &self.task {
            Some(task) if task.alive() => Ok(task.as_ref()),
            _ => Err(Errno::ESRCH),
        }
    }

    fn cx(&self) -> Result<TaskCx<'_>> {
        Ok(TaskCx {
            task: self.live_task()?,
            whole: !self.thread,
        })
    }
}
