//! The files behind the links of /proc/PID/ns (namespaces(7)): inodes of a file system that is never mounted.
//!
//! Two threads are in the same namespace if the inodes have the same number.

use keel_abi::flags::{MountFlags, OpenFlags};
use keel_procfs::Namespace;

use crate::fs::mount::Mount;
use crate::fs::superblock::anonymous_dev;
use crate::fs::{
    Attr, Dentry, FileOps, FileSystemType, FsStats, Inode, InodeOps, Path, SuperBlock, SuperOps,
    Time,
};
use crate::prelude::*;
use crate::process::Thread;

const NSFS_MAGIC: u64 = 0x6e73_6673;

/// Inode numbers of the namespaces that there is one of for all, as on Linux.
mod initial {
    pub const USER: u64 = 0xefff_fffd;
    pub const PID: u64 = 0xefff_fffc;
    pub const CGROUP: u64 = 0xefff_fffb;
    pub const TIME: u64 = 0xefff_fffa;
    pub const NET: u64 = 0xefff_fff9;
}

struct NsFs;

impl FileSystemType for NsFs {
    fn name(&self) -> &'static str {
        "nsfs"
    }

    fn mount(&self, _: Option<&[u8]>, _: bool, _: &[u8]) -> Result<Arc<SuperBlock>> {
        // Only the kernel has it (SB_NOUSER).
        Err(Errno::EINVAL)
    }
}

struct NsSuper;

impl SuperOps for NsSuper {
    fn statfs(&self) -> Result<FsStats> {
        Ok(FsStats {
            magic: NSFS_MAGIC,
            block_size: PAGE_SIZE as u64,
            name_max: 255,
            ..FsStats::default()
        })
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

struct NsInode;

impl InodeOps for NsInode {
    fn open(&self, _: &Arc<Inode>, _: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(NsFile))
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

struct NsFile;

impl FileOps for NsFile {
    fn pollable(&self) -> bool {
        false
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

static MOUNT: OnceLock<Arc<Mount>> = OnceLock::new();

fn inode(sb: &Arc<SuperBlock>, number: u64, mode: u32) -> Arc<Inode> {
    let now = Time::now();
    let attr = Attr {
        mode,
        nlink: 1,
        atime: now,
        mtime: now,
        ctime: now,
        ..Attr::default()
    };
    Inode::new(number, sb, attr, Box::new(NsInode))
}

fn mount() -> &'static Arc<Mount> {
    const DIRECTORY: u32 = 0o040_500;
    MOUNT.call_once(|| {
        let sb = SuperBlock::new(anonymous_dev(), &NsFs, None, false, Box::new(NsSuper));
        let root = inode(&sb, 1, DIRECTORY);
        sb.set_root(root.clone());
        Mount::new(&sb, Dentry::root(root), b"nsfs", MountFlags::empty())
    })
}

/// A namespace's inode number.
pub fn number(thread: &Thread, kind: Namespace) -> Result<u64> {
    let ns = thread.ns();
    Ok(match kind {
        Namespace::Mnt => ns.mnt.id,
        Namespace::Uts => ns.uts.id,
        Namespace::Ipc => ns.ipc.id,
        Namespace::User => initial::USER,
        Namespace::Pid | Namespace::PidForChildren => initial::PID,
        Namespace::Cgroup => initial::CGROUP,
        Namespace::Time | Namespace::TimeForChildren => initial::TIME,
        Namespace::Net => initial::NET,
    })
}

fn name(kind: Namespace) -> &'static str {
    match kind {
        Namespace::Mnt => "mnt",
        Namespace::Uts => "uts",
        Namespace::Ipc => "ipc",
        Namespace::User => "user",
        Namespace::Pid | Namespace::PidForChildren => "pid",
        Namespace::Cgroup => "cgroup",
        Namespace::Time | Namespace::TimeForChildren => "time",
        Namespace::Net => "net",
    }
}

/// The file of a thread's namespace.
pub fn place(thread: &Thread, kind: Namespace) -> Result<Path> {
    const REGULAR: u32 = 0o100_444;
    let number = number(thread, kind)?;
    let mount = mount();
    let text = format!("{}:[{number}]", name(kind));
    let dentry = Dentry::disconnected(text.as_bytes(), inode(&mount.sb, number, REGULAR));
    Ok(Path {
        mount: mount.clone(),
        dentry,
    })
}
