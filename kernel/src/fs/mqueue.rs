//! mqueue: the file system of POSIX message queues (mq_overview(7), "Mounting the message queue filesystem").
//!
//! One flat directory for each IPC namespace. mq_open(3) finds queues there whether it is mounted or not; reading a
//! file shows the state of its queue.

use core::any::Any;
use keel_abi::args::FileType;
use keel_abi::flags::{MountFlags, OpenFlags};
use keel_abi::types::MqAttr;

use super::mount::Mount;
use super::namei::child_locked;
use super::open::open_place;
use super::permission::{self, MAY_READ, MAY_WRITE};
use super::superblock::anonymous_dev;
use super::{
    Attr, DirSink, File, FileOps, FileSystemType, FsStats, Inode, InodeOps, IoDst, Owner, Path,
    PollEvents, PollTable, SetAttr, SuperBlock, SuperOps, Time, emit_dots,
};
use crate::ipc::mqueue::Queue;
use crate::ipc::namespace::IpcNamespace;
use crate::prelude::*;
use crate::process::Thread;

/// `mqueue` of mount(2).
pub struct Mqueue;

const MAGIC: u64 = 0x1980_0202;
const ROOT_INO: u64 = 1;
/// What `st_size` of a queue shows (`FILENT_SIZE`).
const STATUS_SIZE: u64 = 80;
/// What an entry adds to `st_size` of the directory.
const ENTRY_SIZE: u64 = 20;

/// The names of one namespace.
#[derive(Default)]
struct Names {
    queues: BTreeMap<Vec<u8>, Arc<Inode>>,
    /// Number of the inode that was made last.
    last_ino: u64,
}

/// Where a namespace's queues are.
pub struct Home {
    mount: Arc<Mount>,
}

/// The namespace's file system, made at first use.
fn home(ns: &Arc<IpcNamespace>) -> &Home {
    ns.mqueue.home.call_once(|| {
        let ops = Box::new(MqueueSuper {
            ns: Arc::downgrade(ns),
            names: SpinLock::new(Names {
                last_ino: ROOT_INO,
                ..Names::default()
            }),
        });
        let sb = SuperBlock::new(anonymous_dev(), &Mqueue, Some(b"mqueue"), false, ops);
        let mode = u32::from(FileType::Directory.mode().0) | 0o1777;
        sb.set_root(Inode::new(ROOT_INO, &sb, new_attr(mode, 2), Box::new(Root)));
        Home {
            mount: Mount::of(&sb, b"mqueue", MountFlags::empty())
                .unwrap_or_else(|error| panic!("the mqueue root is missing: {error:?}")),
        }
    })
}

struct MqueueSuper {
    ns: Weak<IpcNamespace>,
    names: SpinLock<Names>,
}

fn super_of(sb: &SuperBlock) -> Result<&MqueueSuper> {
    sb.ops.as_any().downcast_ref().ok_or(Errno::EIO)
}

impl SuperOps for MqueueSuper {
    fn statfs(&self) -> Result<FsStats> {
        Ok(FsStats {
            magic: MAGIC,
            block_size: PAGE_SIZE as u64,
            name_max: 255,
            ..FsStats::default()
        })
    }

    fn unmount(&self) {
        // The namespace is gone.
        let queues = core::mem::take(&mut self.names.lock().queues);
        drop(queues);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl FileSystemType for Mqueue {
    fn name(&self) -> &'static str {
        "mqueue"
    }

    fn mount(&self, _: Option<&[u8]>, _: bool, _: &[u8]) -> Result<Arc<SuperBlock>> {
        let thread = crate::process::current_opt().ok_or(Errno::EINVAL)?;
        Ok(home(&thread.ns().ipc).mount.sb.clone())
    }
}

fn new_attr(mode: u32, nlink: u32) -> Attr {
    let now = Time::now();
    Attr {
        mode,
        nlink,
        atime: now,
        mtime: now,
        ctime: now,
        ..Attr::default()
    }
}

fn touch(dir: &Inode, change: i64) {
    let now = Time::now();
    dir.update_attr(|attr| {
        attr.size = attr.size.saturating_add_signed(change);
        attr.mtime = now;
        attr.ctime = now;
    });
}

/// Makes a queue under a name that is free. The directory is locked.
fn create(
    dir: &Arc<Inode>,
    name: &[u8],
    mode: u32,
    owner: &Owner,
    wanted: Option<&MqAttr>,
) -> Result<Arc<Inode>> {
    let sup = super_of(&dir.sb)?;
    let ns = sup.ns.upgrade().ok_or(Errno::EACCES)?;
    let thread = crate::process::current_opt().ok_or(Errno::EACCES)?;
    let queue = Queue::new(&ns.mqueue, &thread, wanted)?;
    let ino = {
        let mut names = sup.names.lock();
        names.last_ino += 1;
        names.last_ino
    };
    let attr = Attr {
        uid: owner.uid,
        gid: owner.gid,
        size: STATUS_SIZE,
        ..new_attr(mode, 1)
    };
    let inode = Inode::new(ino, &dir.sb, attr, Box::new(QueueInode(queue)));
    sup.names.lock().queues.insert(name.to_vec(), inode.clone());
    touch(dir, ENTRY_SIZE as i64);
    Ok(inode)
}

struct Root;

impl InodeOps for Root {
    fn lookup(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        let names = super_of(&dir.sb)?.names.lock();
        names.queues.get(name).cloned().ok_or(Errno::ENOENT)
    }

    fn create(
        &self,
        dir: &Arc<Inode>,
        name: &[u8],
        mode: u32,
        _rdev: u64,
        owner: &Owner,
    ) -> Result<Arc<Inode>> {
        if super::file_type_of(mode) != FileType::Regular {
            return Err(Errno::EPERM);
        }
        create(dir, name, mode, owner, None)
    }

    fn unlink(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let gone = super_of(&dir.sb)?.names.lock().queues.remove(name);
        let now = Time::now();
        inode.update_attr(|attr| {
            attr.nlink = 0;
            attr.ctime = now;
        });
        touch(dir, -(ENTRY_SIZE as i64));
        drop(gone);
        Ok(())
    }

    fn open(&self, _: &Arc<Inode>, _: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(RootFile))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The open directory.
struct RootFile;

impl FileOps for RootFile {
    fn read(&self, _: &File, _: &mut IoDst, _: u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        const FIRST: u64 = 2;
        if !emit_dots(file, pos, sink) {
            return Ok(());
        }
        let mut entries: Vec<(u64, Vec<u8>)> = {
            let names = super_of(&file.inode.sb)?.names.lock();
            let entries = names
                .queues
                .iter()
                .map(|(name, inode)| (inode.ino, name.clone()));
            entries.collect()
        };
        // By number, which only rises: positions stay what they mean.
        entries.sort_unstable();
        for (ino, name) in entries {
            let at = FIRST + ino - ROOT_INO;
            if at <= *pos {
                continue;
            }
            if !sink.entry(&name, ino, FileType::Regular, at) {
                break;
            }
            *pos = at;
        }
        Ok(())
    }

    fn pollable(&self) -> bool {
        false
    }

    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct QueueInode(Arc<Queue>);

impl InodeOps for QueueInode {
    fn setattr(&self, inode: &Arc<Inode>, set: &SetAttr) -> Result<()> {
        // The size is that of the status line, whatever is asked for.
        inode.apply(&SetAttr { size: None, ..*set });
        Ok(())
    }

    fn open(&self, _: &Arc<Inode>, _: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(QueueFile(self.0.clone())))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open queue.
pub struct QueueFile(Arc<Queue>);

impl QueueFile {
    /// The queue.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.0
    }
}

impl FileOps for QueueFile {
    fn read(&self, _: &File, dst: &mut IoDst, pos: u64) -> Result<usize> {
        let text = self.0.status();
        let from = usize::try_from(pos).unwrap_or(usize::MAX);
        match text.as_bytes().get(from..) {
            Some(rest) if !rest.is_empty() => dst.put(rest),
            _ => Ok(0),
        }
    }

    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        self.0.poll(table)
    }

    fn flush(&self, _: &File) -> Result<()> {
        if let Some(thread) = crate::process::current_opt() {
            self.0.unregister(&thread.process);
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A name as mq_open takes it, without the slash that the C library has taken off: EACCES for what is no name.
fn check_name(name: &[u8]) -> Result<()> {
    match name {
        b"" => Err(Errno::ENOENT),
        b"." | b".." => Err(Errno::EACCES),
        name if name.contains(&b'/') => Err(Errno::EACCES),
        name if name.len() > 255 => Err(Errno::ENAMETOOLONG),
        _ => Ok(()),
    }
}

/// mq_open(2); tells whether it made the queue.
pub fn open(
    thread: &Thread,
    name: &[u8],
    flags: OpenFlags,
    mode: u32,
    wanted: Option<&MqAttr>,
) -> Result<(Arc<File>, bool)> {
    check_name(name)?;
    let ns = thread.ns().ipc.clone();
    let root = home(&ns).mount.root_path();
    let dir = root.inode()?;
    let cred = thread.cred();
    let (dentry, created) = {
        let _exclusive = dir.rwsem.write();
        let dentry = child_locked(&root.dentry, &dir, name)?;
        let created = dentry.is_negative();
        if created {
            if !flags.contains(OpenFlags::CREAT) {
                return Err(Errno::ENOENT);
            }
            permission::check_create(&root, &dir, &cred)?;
            let perm = mode & 0o7777 & !thread.fs().umask();
            let (owner, perm) = permission::new_owner(&dir, &cred, perm, false);
            let mode = perm | u32::from(FileType::Regular.mode().0);
            dentry.instantiate(create(&dir, name, mode, &owner, wanted)?);
        } else if flags.contains(OpenFlags::CREAT | OpenFlags::EXCL) {
            return Err(Errno::EEXIST);
        }
        (dentry, created)
    };
    let place = Path {
        mount: root.mount.clone(),
        dentry,
    };
    let access = flags.bits() & 3;
    if !created {
        let mask = match access {
            0 => MAY_READ,
            1 => MAY_WRITE,
            2 => MAY_READ | MAY_WRITE,
            _ => return Err(Errno::EINVAL),
        };
        permission::check_path(&place, &place.inode()?, &cred, mask)?;
    }
    let kept = flags & (OpenFlags::NONBLOCK | OpenFlags::CLOEXEC | OpenFlags::from_bits_retain(3));
    let file = open_place(&place, kept, &cred, true)?;
    Ok((file, created))
}

/// mq_unlink(2).
pub fn unlink(thread: &Thread, name: &[u8]) -> Result<()> {
    check_name(name)?;
    let ns = thread.ns().ipc.clone();
    let parent = super::namei::Parent {
        dir: home(&ns).mount.root_path(),
        name: name.to_vec(),
        must_be_dir: false,
    };
    super::change::unlink(&parent, &thread.cred())
}
