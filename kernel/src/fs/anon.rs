//! The file system of anonymous inodes: what files that are in no directory (eventfd, epoll, pipes, …) hang on.
//!
//! It is never attached to the tree. Most such files share one inode, as on Linux; [`new_inode`] makes one of its
//! own for those that need attributes (pipes, sockets).

use core::sync::atomic::{AtomicU64, Ordering};
use keel_abi::args::FileType;
use keel_abi::flags::{MountFlags, OpenFlags};

use super::mount::Mount;
use super::superblock::anonymous_dev;
use super::{Attr, FileOps, FileSystemType, FsStats, Inode, InodeOps, SuperBlock, SuperOps, Time};
use crate::prelude::*;

const ANON_INODE_FS_MAGIC: u64 = 0x0904_1934;

struct AnonFs;

impl FileSystemType for AnonFs {
    fn name(&self) -> &'static str {
        "anon_inodefs"
    }

    fn mount(&self, _: Option<&[u8]>, _: bool, _: &[u8]) -> Result<Arc<SuperBlock>> {
        // Only the kernel has it (SB_NOUSER).
        Err(Errno::EINVAL)
    }
}

struct AnonSuper;

impl SuperOps for AnonSuper {
    fn statfs(&self) -> Result<FsStats> {
        Ok(FsStats {
            magic: ANON_INODE_FS_MAGIC,
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

struct Anon {
    mount: Arc<Mount>,
    shared: Arc<Inode>,
    sb: Arc<SuperBlock>,
}

static ANON: OnceLock<Anon> = OnceLock::new();
static NEXT_INO: AtomicU64 = AtomicU64::new(2);

fn attr(mode: u32, uid: u32, gid: u32) -> Attr {
    let now = Time::now();
    Attr { mode, uid, gid, nlink: 1, atime: now, mtime: now, ctime: now, ..Attr::default() }
}

fn anon() -> &'static Anon {
    ANON.call_once(|| {
        let sb = SuperBlock::new(anonymous_dev(), &AnonFs, None, false, Box::new(AnonSuper));
        // No type bits at all, as stat(2) of an eventfd shows on Linux.
        let shared = Inode::new(1, &sb, attr(0o600, 0, 0), Box::new(AnonInode));
        let root = attr(u32::from(FileType::Directory.mode().0) | 0o500, 0, 0);
        sb.set_root(Inode::new(0, &sb, root, Box::new(AnonInode)));
        Anon { mount: Mount::of(&sb, b"anon_inodefs", MountFlags::empty()), shared, sb }
    })
}

/// The mount that anonymous files are on.
pub fn mount() -> Arc<Mount> {
    anon().mount.clone()
}

/// The inode that anonymous files share.
pub fn shared_inode() -> Arc<Inode> {
    anon().shared.clone()
}

/// An inode of its own with this type and these permissions, owned by the running thread.
pub fn new_inode(file_type: FileType, perm: u32) -> Arc<Inode> {
    let (uid, gid) = crate::process::current_opt().map_or((0, 0), |thread| {
        let cred = thread.cred();
        (cred.fsuid, cred.fsgid)
    });
    let mode = u32::from(file_type.mode().0) | perm;
    let ino = NEXT_INO.fetch_add(1, Ordering::Relaxed);
    Inode::new(ino, &anon().sb, attr(mode, uid, gid), Box::new(AnonInode))
}
