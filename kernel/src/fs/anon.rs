//! The file system of anonymous inodes: what files that are in no directory (eventfd, epoll, pipes, …) hang on.
//!
//! It is never attached to the tree. Most such files share one inode, as on Linux. Pipes and sockets have inodes of
//! their own, on pseudo file systems of their own.

use core::sync::atomic::{AtomicU64, Ordering};
use keel_abi::args::FileType;
use keel_abi::flags::{MountFlags, OpenFlags};

use super::mount::Mount;
use super::superblock::anonymous_dev;
use super::{
    Attr, Dentry, File, FileOps, FileSystemType, FsStats, Inode, InodeOps, Path, SuperBlock,
    SuperOps, Time,
};
use crate::prelude::*;
use crate::process::Cred;

/// A file system that only the kernel has (SB_NOUSER).
struct Pseudo {
    name: &'static str,
    magic: u64,
}

static ANON_FS: Pseudo = Pseudo {
    name: "anon_inodefs",
    magic: 0x0904_1934,
};
static PIPE_FS: Pseudo = Pseudo {
    name: "pipefs",
    magic: 0x5049_5045,
};
static SOCK_FS: Pseudo = Pseudo {
    name: "sockfs",
    magic: 0x534f_434b,
};

impl FileSystemType for Pseudo {
    fn name(&self) -> &'static str {
        self.name
    }

    fn mount(&self, _: Option<&[u8]>, _: bool, _: &[u8]) -> Result<Arc<SuperBlock>> {
        Err(Errno::EINVAL)
    }
}

struct PseudoSuper {
    magic: u64,
}

impl SuperOps for PseudoSuper {
    fn statfs(&self) -> Result<FsStats> {
        Ok(FsStats {
            magic: self.magic,
            block_size: PAGE_SIZE as u64,
            name_max: 255,
            ..FsStats::default()
        })
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

struct AnonInode;

impl InodeOps for AnonInode {
    /// Anonymous files cannot be opened again through /proc/PID/fd.
    fn open(&self, _: &Arc<Inode>, _: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Err(Errno::ENXIO)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// One of them, mounted nowhere.
struct Home {
    mount: Arc<Mount>,
    sb: Arc<SuperBlock>,
}

static ANON: OnceLock<Home> = OnceLock::new();
static PIPES: OnceLock<Home> = OnceLock::new();
static SOCKETS: OnceLock<Home> = OnceLock::new();
static SHARED: OnceLock<Arc<Inode>> = OnceLock::new();
static NEXT_INO: AtomicU64 = AtomicU64::new(2);

fn attr(mode: u32, uid: u32, gid: u32) -> Attr {
    let now = Time::now();
    Attr {
        mode,
        uid,
        gid,
        nlink: 1,
        atime: now,
        mtime: now,
        ctime: now,
        ..Attr::default()
    }
}

fn home(slot: &'static OnceLock<Home>, kind: &'static Pseudo) -> &'static Home {
    slot.call_once(|| {
        let ops = PseudoSuper { magic: kind.magic };
        let sb = SuperBlock::new(anonymous_dev(), kind, None, false, Box::new(ops));
        let root = attr(u32::from(FileType::Directory.mode().0) | 0o500, 0, 0);
        let root = Inode::new(0, &sb, root, Box::new(AnonInode));
        sb.set_root(root.clone());
        let name = kind.name.as_bytes();
        Home {
            mount: Mount::new(&sb, Dentry::root(root), name, MountFlags::empty()),
            sb,
        }
    })
}

fn anon() -> &'static Home {
    home(&ANON, &ANON_FS)
}

/// The mount that anonymous files are on.
pub fn mount() -> Arc<Mount> {
    anon().mount.clone()
}

/// The inode that anonymous files share. It has no type bits at all, as stat(2) of an eventfd shows on Linux.
pub fn shared_inode() -> Arc<Inode> {
    SHARED
        .call_once(|| Inode::new(1, &anon().sb, attr(0o600, 0, 0), Box::new(AnonInode)))
        .clone()
}

fn new_inode(home: &Home, file_type: FileType, perm: u32) -> Arc<Inode> {
    let (uid, gid) = crate::process::current_opt().map_or((0, 0), |thread| {
        let cred = thread.cred();
        (cred.fsuid, cred.fsgid)
    });
    let mode = u32::from(file_type.mode().0) | perm;
    let ino = NEXT_INO.fetch_add(1, Ordering::Relaxed);
    Inode::new(ino, &home.sb, attr(mode, uid, gid), Box::new(AnonInode))
}

/// An inode for a pipe; both ends share it.
pub fn pipe_inode() -> Arc<Inode> {
    new_inode(home(&PIPES, &PIPE_FS), FileType::Fifo, 0o600)
}

/// An inode for a socket.
pub fn socket_inode() -> Arc<Inode> {
    new_inode(home(&SOCKETS, &SOCK_FS), FileType::Socket, 0o777)
}

/// A description of a pipe's or socket's inode; /proc/PID/fd shows it as `pipe:[number]` or `socket:[number]`.
pub fn open(inode: &Arc<Inode>, ops: Arc<dyn FileOps>, flags: OpenFlags) -> Arc<File> {
    let is_pipe = inode.file_type == FileType::Fifo;
    let (home, label) = if is_pipe {
        (home(&PIPES, &PIPE_FS), "pipe")
    } else {
        (home(&SOCKETS, &SOCK_FS), "socket")
    };
    let name = format!("{label}:[{}]", inode.ino);
    let dentry = Dentry::disconnected(name.as_bytes(), inode.clone());
    let cred = crate::process::current_opt()
        .map_or_else(|| Arc::new(Cred::root()), |thread| thread.cred());
    let path = Path {
        mount: home.mount.clone(),
        dentry,
    };
    File::new(path, inode.clone(), ops, flags, cred)
}
