//! Nodes of `keel-procfs` as inodes, open files and open directories.

use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};
use keel_abi::args::FileType;
use keel_abi::flags::OpenFlags;
use keel_procfs::{Handle, Magic, Node, Stream, System};

use super::instance::Instance;
use super::ns;
use super::system::Machine;
use super::task::TaskRef;
use crate::fs::mount::MountNamespace;
use crate::fs::{
    Attr, DirSink, File, FileOps, Inode, InodeOps, IoDst, IoSrc, Owner, Path, PollEvents,
    PollTable, SetAttr, SuperBlock, Time, dirs,
};
use crate::prelude::*;
use crate::process::Cred;

/// Most bytes of one write to a file of text: values are short.
const WRITE_MAX: usize = 64 << 10;
/// Bytes that are copied at a time.
const CHUNK: usize = 16 << 10;

/// What an inode of procfs is.
pub struct ProcInode {
    node: Node,
    machine: Machine,
}

/// The inode of a node.
pub fn make(sb: &Arc<SuperBlock>, node: Node, instance: &Arc<Instance>) -> Result<Arc<Inode>> {
    let machine = Machine::new(instance.clone());
    let now = Time::now();
    let mut attr = Attr {
        atime: now,
        mtime: now,
        ctime: now,
        ..Attr::default()
    };
    fill(&mut attr, &node.attr(&machine)?);
    Ok(Inode::new(
        node.ino(),
        sb,
        attr,
        Box::new(ProcInode { node, machine }),
    ))
}

fn fill(attr: &mut Attr, from: &keel_procfs::Attr) {
    attr.mode = from.mode;
    attr.nlink = from.nlink;
    attr.uid = from.uid;
    attr.gid = from.gid;
    attr.size = from.size;
}

/// A task that is gone has no files.
fn gone(error: Errno) -> Errno {
    if error == Errno::ESRCH {
        Errno::ENOENT
    } else {
        error
    }
}

fn file_type(kind: keel_procfs::FileType) -> FileType {
    match kind {
        keel_procfs::FileType::Directory => FileType::Directory,
        keel_procfs::FileType::Regular => FileType::Regular,
        keel_procfs::FileType::Symlink => FileType::Symlink,
    }
}

impl ProcInode {
    /// Whether the node still stands for something; brings its attributes up to date.
    pub fn refresh(&self, inode: &Inode) -> bool {
        match self.node.attr(&self.machine) {
            Ok(attr) if self.node.valid(&self.machine) => {
                inode.update_attr(|cached| fill(cached, &attr));
                true
            }
            _ => false,
        }
    }

    fn follow(&self) -> Result<Path> {
        self.node.check_open(&self.machine).map_err(gone)?;
        let (task, magic) = self.node.magic().ok_or(Errno::EINVAL)?;
        let task = TaskRef::of(task.as_ref()).ok_or(Errno::ENOENT)?;
        match magic {
            Magic::Task(link) => task.place(link),
            Magic::Fd(fd) => Ok(task.file(fd)?.path.clone()),
            Magic::MapFile(start, end) => task.mapped_file(start, end),
            Magic::Namespace(kind) => ns::place(&*task.thread()?, kind),
        }
        .map_err(gone)
    }

    /// Below /proc/sys only the mode counts, for root too.
    fn sysctl_permission(&self, inode: &Inode, cred: &Cred, mask: u32) -> Result<()> {
        let mode = inode.attr().mode;
        let bits = if cred.euid == 0 {
            mode >> 6
        } else if cred.in_egroup(0) {
            mode >> 3
        } else {
            mode
        };
        if mask & !bits & 7 == 0 {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    /// The namespace whose mounts the file shows, for pollers.
    fn shown_mounts(&self) -> Option<Arc<MountNamespace>> {
        if !self.node.polls_mounts() {
            return None;
        }
        let task = TaskRef::of(self.node.task()?.as_ref())?;
        Some(task.thread().ok()?.ns().mnt.clone())
    }
}

impl InodeOps for ProcInode {
    fn getattr(&self, inode: &Arc<Inode>) -> Result<Attr> {
        let fresh = self.node.attr(&self.machine).map_err(gone)?;
        Ok(inode.update_attr(|attr| {
            fill(attr, &fresh);
            *attr
        }))
    }

    fn setattr(&self, inode: &Arc<Inode>, set: &SetAttr) -> Result<()> {
        if set.mode.is_some() || set.uid.is_some() || set.gid.is_some() {
            return Err(Errno::EPERM);
        }
        inode.apply(&SetAttr { size: None, ..*set });
        Ok(())
    }

    fn lookup(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        let node = self.node.lookup(&self.machine, name).map_err(gone)?;
        make(&dir.sb, node, self.machine.instance()).map_err(gone)
    }

    // A lookup that finds nothing ends in ENOENT on Linux before anything could be made.
    fn create(&self, _: &Arc<Inode>, _: &[u8], _: u32, _: u64, _: &Owner) -> Result<Arc<Inode>> {
        Err(Errno::ENOENT)
    }

    fn mkdir(&self, _: &Arc<Inode>, _: &[u8], _: u32, _: &Owner) -> Result<Arc<Inode>> {
        Err(Errno::ENOENT)
    }

    fn symlink(&self, _: &Arc<Inode>, _: &[u8], _: &[u8], _: &Owner) -> Result<Arc<Inode>> {
        Err(Errno::ENOENT)
    }

    fn link(&self, _: &Arc<Inode>, _: &[u8], _: &Arc<Inode>) -> Result<()> {
        Err(Errno::ENOENT)
    }

    fn readlink(&self, _inode: &Arc<Inode>) -> Result<Vec<u8>> {
        self.node.readlink(&self.machine).map_err(gone)
    }

    fn follow_magic(&self, _inode: &Arc<Inode>) -> Option<Result<Path>> {
        self.node.magic()?;
        Some(self.follow())
    }

    fn permission(&self, inode: &Arc<Inode>, cred: &Cred, mask: u32) -> Option<Result<()>> {
        if self.node.is_sysctl() {
            return Some(self.sysctl_permission(inode, cred, mask));
        }
        let task = self.node.task()?;
        if self.node.is_task_dir() {
            let target = TaskRef::of(task.as_ref())?.thread().ok()?;
            return self.machine.instance().may_enter(&target).err().map(Err);
        }
        let own = crate::process::current_opt().is_some_and(|me| me.process.pid == task.tgid());
        (self.node.is_descriptors() && own).then_some(Ok(()))
    }

    fn open(&self, inode: &Arc<Inode>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        if inode.is_dir() {
            return Ok(Arc::new(ProcDir {
                node: self.node.clone(),
                machine: self.machine.clone(),
            }));
        }
        let mounts = self.shown_mounts();
        let seen = mounts
            .as_ref()
            .map_or(0, |ns| ns.generation.load(Ordering::Relaxed));
        Ok(Arc::new(ProcFile {
            handle: Mutex::new(Handle::open(&self.machine, &self.node)?),
            node: self.node.clone(),
            machine: self.machine.clone(),
            mounts,
            seen: AtomicU64::new(seen),
        }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct ProcFile {
    handle: Mutex<Handle>,
    node: Node,
    machine: Machine,
    /// The mounts that the file shows, and the generation that pollers know.
    mounts: Option<Arc<MountNamespace>>,
    seen: AtomicU64,
}

/// A buffer of the kernel's for a copy of `len` bytes: ENOMEM.
fn buffer(len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

impl FileOps for ProcFile {
    fn read(&self, _file: &File, dst: &mut IoDst, pos: u64) -> Result<usize> {
        if self.node.stream() == Some(Stream::Kmsg) {
            // It sleeps until there is something: not with the file's lock held.
            let mut bytes = buffer(dst.remaining().min(CHUNK))?;
            let n = self.machine.kmsg_read(&mut bytes)?;
            return dst.put(bytes.get(..n).unwrap_or(&[]));
        }
        let mut handle = self.handle.lock();
        let mut bytes = buffer(dst.remaining().min(CHUNK))?;
        let mut done = 0;
        while dst.remaining() > 0 {
            let want = dst.remaining().min(bytes.len());
            let piece = bytes.get_mut(..want).unwrap_or(&mut []);
            let got = match handle.read_at(&self.machine, pos + done as u64, piece) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            };
            let put = match dst.put(piece.get(..got).unwrap_or(&[])) {
                Ok(put) => put,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            };
            done += put;
            if put < got {
                break;
            }
            keel_hal::task::cond_resched();
        }
        Ok(done)
    }

    fn write(&self, _file: &File, src: &mut IoSrc, pos: u64) -> Result<usize> {
        let mut handle = self.handle.lock();
        let stream = self.node.stream() == Some(Stream::Mem);
        let mut bytes = buffer(src.remaining().min(if stream { CHUNK } else { WRITE_MAX }))?;
        let mut done = 0;
        loop {
            let got = src.take(&mut bytes)?;
            let data = bytes.get(..got).unwrap_or(&[]);
            match handle.write_at(&self.machine, pos + done as u64, data) {
                Ok(n) => done += n,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            if !stream || src.remaining() == 0 || got == 0 {
                break;
            }
        }
        Ok(done)
    }

    fn poll(&self, _file: &File, table: &mut PollTable) -> PollEvents {
        if let Some(mounts) = &self.mounts {
            table.add(&mounts.changed);
            let now = mounts.generation.load(Ordering::Relaxed);
            let changed = self.seen.swap(now, Ordering::Relaxed) != now;
            let news = if changed {
                PollEvents::ERR | PollEvents::PRI
            } else {
                PollEvents::empty()
            };
            return PollEvents::READABLE | news;
        }
        if self.node.stream() == Some(Stream::Kmsg) {
            table.add(crate::printk::readers());
            let unread = crate::printk::syslog::has_unread();
            return if unread {
                PollEvents::READABLE
            } else {
                PollEvents::empty()
            };
        }
        PollEvents::READABLE | PollEvents::WRITABLE
    }

    fn pollable(&self) -> bool {
        self.node.task().is_none() || self.mounts.is_some()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct ProcDir {
    node: Node,
    machine: Machine,
}

impl FileOps for ProcDir {
    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        if !dirs::emit_dots(file, pos, sink) {
            return Ok(());
        }
        let from = *pos;
        let listed = self.node.readdir(&self.machine, from, &mut |entry| {
            let taken = sink.entry(entry.name, entry.ino, file_type(entry.kind), entry.next);
            if taken {
                *pos = entry.next;
            }
            taken
        });
        listed.map_err(gone)
    }

    fn pollable(&self) -> bool {
        false
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
