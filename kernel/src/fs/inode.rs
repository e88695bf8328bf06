//! Inodes: the objects of file systems, and what a file system does its own way.

use core::any::Any;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use keel_abi::args::FileType;
use keel_abi::flags::{FallocateMode, OpenFlags};

use super::file::FileOps;
use super::fileattr::FileFlags;
use super::page_cache::PageCache;
use super::superblock::SuperBlock;
use super::{Path, acl, locks};
use crate::prelude::*;
use crate::process::Cred;

pub use keel_abi::flags::RenameFlags;

/// A file time: seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct Time {
    /// Seconds; negative before 1970.
    pub sec: i64,
    /// 0 to 999,999,999.
    pub nsec: u32,
}

impl Time {
    /// The wall clock.
    pub fn now() -> Self {
        let (sec, nsec) = crate::time::clock::realtime();
        Self { sec, nsec }
    }
}

/// Attributes of an inode as stat(2) shows them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attr {
    /// Type and permission bits (`st_mode`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Links.
    pub nlink: u32,
    /// Bytes.
    pub size: u64,
    /// Space taken, in 512-byte units.
    pub blocks: u64,
    /// Device number of a device node (Linux's 64-bit `dev_t`).
    pub rdev: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of contents.
    pub mtime: Time,
    /// Last change of attributes.
    pub ctime: Time,
    /// Creation, where the file system keeps it.
    pub btime: Option<Time>,
    /// STATX_ATTR_* bits (immutable, append, …).
    pub attributes: u64,
}

/// In `attributes`, beside the STATX_ATTR_* bits: its access time stays (chattr +A).
pub const ATTR_NOATIME: u64 = 1 << 63;
/// As above: writes go to the disk at once (chattr +S).
pub const ATTR_SYNC: u64 = 1 << 62;

/// Changes of attributes; `None` leaves one as it is. Permission has been checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permission bits (without type).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length: truncates or extends.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<Time>,
    /// Last change of contents.
    pub mtime: Option<Time>,
    /// Last change of attributes.
    pub ctime: Option<Time>,
}

/// Who owns a new inode.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// Owner.
    pub uid: u32,
    /// Group (already the directory's where that is set-group-ID).
    pub gid: u32,
}

/// What a file system does its own way. Every method has a default: the errno of a Linux file system without
/// that operation.
///
/// Callers hold `rwsem` of the directories and files concerned: shared for `lookup`, exclusive for what changes a
/// directory, exclusive for `setattr` with a size.
#[allow(unused_variables)]
pub trait InodeOps: Send + Sync + Any {
    /// Fresh attributes; the default gives the cached ones.
    fn getattr(&self, inode: &Arc<Inode>) -> Result<Attr> {
        Ok(inode.attr())
    }

    /// Changes attributes on disk and in the cache.
    fn setattr(&self, inode: &Arc<Inode>, set: &SetAttr) -> Result<()> {
        inode.apply(set);
        Ok(())
    }

    /// The inode of a name: ENOENT.
    fn lookup(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        Err(Errno::ENOENT)
    }

    /// Makes a file, fifo, socket or device node; `mode` has type and permissions.
    fn create(
        &self,
        dir: &Arc<Inode>,
        name: &[u8],
        mode: u32,
        rdev: u64,
        owner: &Owner,
    ) -> Result<Arc<Inode>> {
        Err(Errno::EPERM)
    }

    /// Makes a directory; `mode` has permissions only.
    fn mkdir(&self, dir: &Arc<Inode>, name: &[u8], mode: u32, owner: &Owner) -> Result<Arc<Inode>> {
        Err(Errno::EPERM)
    }

    /// Makes a symbolic link.
    fn symlink(
        &self,
        dir: &Arc<Inode>,
        name: &[u8],
        target: &[u8],
        owner: &Owner,
    ) -> Result<Arc<Inode>> {
        Err(Errno::EPERM)
    }

    /// Gives an inode another name.
    fn link(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Removes a name that is not a directory's.
    fn unlink(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Removes an empty directory: ENOTEMPTY.
    fn rmdir(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Moves `moved` from one name to another. `target` is what the new name means now: it is replaced, or with
    /// `RENAME_EXCHANGE` takes the old name.
    #[allow(clippy::too_many_arguments)]
    fn rename(
        &self,
        old_dir: &Arc<Inode>,
        old_name: &[u8],
        moved: &Arc<Inode>,
        new_dir: &Arc<Inode>,
        new_name: &[u8],
        target: Option<&Arc<Inode>>,
        flags: RenameFlags,
    ) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Makes an unnamed regular file (O_TMPFILE).
    fn tmpfile(&self, dir: &Arc<Inode>, mode: u32, owner: &Owner) -> Result<Arc<Inode>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The target of a symbolic link.
    fn readlink(&self, inode: &Arc<Inode>) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }

    /// Where a magic link leads at once (/proc/PID/fd/N and its kind); `None` for ordinary links.
    fn follow_magic(&self, inode: &Arc<Inode>) -> Option<Result<Path>> {
        None
    }

    /// A rule of its own for access; `None` for the usual one.
    fn permission(&self, inode: &Arc<Inode>, cred: &Cred, mask: u32) -> Option<Result<()>> {
        None
    }

    /// The behaviour of a new open file description. Device nodes, fifos and sockets do not come here.
    fn open(&self, inode: &Arc<Inode>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Err(Errno::EINVAL)
    }

    /// An extended attribute's value: ENODATA.
    fn getxattr(&self, inode: &Arc<Inode>, name: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets an extended attribute: EEXIST with `create`, ENODATA with `replace`.
    fn setxattr(
        &self,
        inode: &Arc<Inode>,
        name: &[u8],
        value: &[u8],
        create: bool,
        replace: bool,
    ) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// All names of extended attributes.
    fn listxattr(&self, inode: &Arc<Inode>) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    /// Removes an extended attribute: ENODATA.
    fn removexattr(&self, inode: &Arc<Inode>, name: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// fallocate(2).
    fn fallocate(&self, inode: &Arc<Inode>, mode: FallocateMode, off: u64, len: u64) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The first offset from `off` on that holds data (`data`) or is in a hole; ENXIO beyond the end. The default
    /// knows no holes but the one at the end.
    fn seek_hole_data(&self, inode: &Arc<Inode>, off: u64, data: bool) -> Result<u64> {
        let size = inode.attr().size;
        if off >= size {
            return Err(Errno::ENXIO);
        }
        Ok(if data { off } else { size })
    }

    /// Its flags (FS_IOC_GETFLAGS): ENOTTY.
    fn fileattr(&self, inode: &Arc<Inode>) -> Result<FileFlags> {
        Err(Errno::ENOTTY)
    }

    /// Sets its flags; permission has been checked: ENOTTY, EOPNOTSUPP.
    fn set_fileattr(&self, inode: &Arc<Inode>, flags: FileFlags) -> Result<()> {
        Err(Errno::ENOTTY)
    }

    /// Type and bytes of a handle by which [`super::SuperOps::decode_handle`] finds it again; `None` if there is none.
    fn encode_handle(&self, inode: &Arc<Inode>) -> Option<(i32, Vec<u8>)> {
        None
    }

    /// Reads pages from the backing store into the page cache; see [`super::page_cache`].
    fn backing(&self) -> Option<&dyn super::page_cache::Backing> {
        None
    }

    /// The last reference is gone: the file system frees an unlinked inode.
    fn evict(&self, inode: &Inode) {}

    /// The file system's own type.
    fn as_any(&self) -> &dyn Any;
}

/// An inode in memory, shared by everybody who uses it.
pub struct Inode {
    /// Its number.
    pub ino: u64,
    /// Its file system.
    pub sb: Arc<SuperBlock>,
    /// What it is; never changes.
    pub file_type: FileType,
    /// Its mode has no type at all (eventfd and its kin).
    untyped: bool,
    attr: RwSpinLock<Attr>,
    /// What its file system does.
    pub ops: Box<dyn InodeOps>,
    /// Its contents in memory (regular files, block devices).
    pub pages: PageCache,
    /// Orders changes of a directory, and writes of a file (`i_rwsem`).
    pub rwsem: RwLock<()>,
    /// flock, POSIX and OFD locks, leases.
    pub locks: locks::LockTable,
    /// What inotify, fanotify and dnotify watch here.
    pub marks: super::notify::Marks,
    /// The fifo behind a named pipe, or the socket bound to this name.
    pub special: SpinLock<Option<Arc<dyn Any + Send + Sync>>>,
    /// Open for writing (positive) or executing (negative), as Linux's `i_writecount`.
    pub write_count: core::sync::atomic::AtomicI32,
    /// Counts changes (statx's change cookie, NFS).
    pub version: AtomicU64,
    /// Open file descriptions (leases).
    pub opens: core::sync::atomic::AtomicU32,
    /// An unnamed file that may get a name (O_TMPFILE without O_EXCL).
    pub linkable: core::sync::atomic::AtomicBool,
    /// Expected life of its data (F_SET_RW_HINT).
    pub write_hint: core::sync::atomic::AtomicU8,
    /// Parsed access control lists.
    pub acls: acl::Cache,
}

impl Inode {
    /// An inode with these attributes.
    pub fn new(ino: u64, sb: &Arc<SuperBlock>, attr: Attr, ops: Box<dyn InodeOps>) -> Arc<Self> {
        COUNT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            ino,
            sb: sb.clone(),
            file_type: file_type_of(attr.mode),
            untyped: attr.mode & 0o170_000 == 0,
            attr: RwSpinLock::new(attr),
            ops,
            pages: PageCache::new(),
            rwsem: RwLock::new(()),
            locks: locks::LockTable::new(),
            marks: super::notify::Marks::new(),
            special: SpinLock::new(None),
            write_count: core::sync::atomic::AtomicI32::new(0),
            version: AtomicU64::new(0),
            opens: core::sync::atomic::AtomicU32::new(0),
            linkable: core::sync::atomic::AtomicBool::new(false),
            write_hint: core::sync::atomic::AtomicU8::new(0),
            acls: acl::Cache::default(),
        })
    }

    /// The cached attributes.
    pub fn attr(&self) -> Attr {
        *self.attr.read()
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.attr.read().size
    }

    /// Changes the cached attributes.
    pub fn update_attr<R>(&self, change: impl FnOnce(&mut Attr) -> R) -> R {
        self.version.fetch_add(1, Ordering::Relaxed);
        change(&mut self.attr.write())
    }

    /// Applies a change to the cached attributes.
    pub fn apply(&self, set: &SetAttr) {
        self.update_attr(|attr| {
            if let Some(mode) = set.mode {
                attr.mode = (attr.mode & !0o7777) | (mode & 0o7777);
            }
            attr.uid = set.uid.unwrap_or(attr.uid);
            attr.gid = set.gid.unwrap_or(attr.gid);
            attr.size = set.size.unwrap_or(attr.size);
            attr.atime = set.atime.unwrap_or(attr.atime);
            attr.mtime = set.mtime.unwrap_or(attr.mtime);
            attr.ctime = set.ctime.unwrap_or(attr.ctime);
        });
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type == FileType::Directory
    }

    /// Whether it is a regular file.
    pub fn is_regular(&self) -> bool {
        self.file_type == FileType::Regular && !self.untyped
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.file_type == FileType::Symlink
    }

    /// A key that no other inode has: device and number.
    pub fn key(&self) -> (u64, u64) {
        (self.sb.dev, self.ino)
    }
}

/// Inodes in memory (`inode-nr`).
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Inodes in memory.
pub fn inode_count() -> usize {
    COUNT.load(Ordering::Relaxed)
}

impl Drop for Inode {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
        self.ops.evict(self);
    }
}

/// The type in `st_mode`.
pub fn file_type_of(mode: u32) -> FileType {
    FileType::from_mode(keel_abi::args::Mode(mode as u16)).unwrap_or(FileType::Regular)
}
