//! The mounted file system and its inodes: the crate's operations.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::marker::PhantomData;

use crate::*;

/// Inode flags as FS_IOC_GETFLAGS knows them (`FS_*_FL` of linux/fs.h).
pub mod inode_flags {
    /// Writes are synchronous.
    pub const SYNC: u32 = 0x8;
    /// Nothing may change.
    pub const IMMUTABLE: u32 = 0x10;
    /// Only appending.
    pub const APPEND: u32 = 0x20;
    /// Not dumped.
    pub const NODUMP: u32 = 0x40;
    /// Access times stay.
    pub const NOATIME: u32 = 0x80;
    /// Directory uses hashed index.
    pub const INDEX: u32 = 0x1000;
    /// Directory changes are synchronous.
    pub const DIRSYNC: u32 = 0x1_0000;
    /// Directory is the top of unrelated hierarchies.
    pub const TOPDIR: u32 = 0x2_0000;
    /// File uses extents.
    pub const EXTENTS: u32 = 0x8_0000;
    /// Data in the inode.
    pub const INLINE_DATA: u32 = 0x1000_0000;
    /// New inodes inherit the project id.
    pub const PROJINHERIT: u32 = 0x2000_0000;
    /// What FS_IOC_SETFLAGS may change.
    pub const USER_MODIFIABLE: u32 =
        SYNC | IMMUTABLE | APPEND | NODUMP | NOATIME | DIRSYNC | TOPDIR | PROJINHERIT;
}

/// An inode in memory.
pub struct Inode<P: Platform> {
    ino: u32,
    _p: PhantomData<P>,
}

impl<P: Platform> Inode<P> {
    /// The inode number.
    pub fn ino(&self) -> u32 {
        self.ino
    }
    /// The attributes now (sizes and times as written through this crate, disk or not).
    pub fn attr(&self) -> Attr {
        Attr::default()
    }
    /// The size in bytes, without taking the inode lock.
    pub fn size(&self) -> u64 {
        0
    }
}

/// A mounted file system.
pub struct Fs<P: Platform> {
    _p: PhantomData<P>,
}

type Ino<P> = Arc<Inode<P>>;

/// The root directory's inode number.
pub const ROOT_INO: u32 = 2;

#[expect(unused_variables, reason = "signatures first")]
impl<P: Platform> Fs<P> {
    /// Mounts the file system on `dev`: checks it, replays the journal, finishes the orphans.
    ///
    /// `EINVAL` not ext4 (or ext2/3), `EOPNOTSUPP` a feature that is not supported (named in the log), `EUCLEAN`
    /// damage, `EROFS` a read-write mount of a read-only device or of unknown ro_compat features.
    pub fn mount(
        dev: Arc<dyn BlockDevice>,
        platform: P,
        options: MountOptions,
    ) -> Result<Arc<Self>> {
        Err(Errno::ENOSYS)
    }
    /// Writes everything, empties the journal, marks the superblock clean. Further writes give `EROFS`.
    pub fn unmount(&self) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// Remounts read-only (after committing everything) or read-write.
    pub fn remount(&self, read_only: bool) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// Whether writes are refused (mounted so, or after an error).
    pub fn is_read_only(&self) -> bool {
        true
    }
    /// Set once an error was met under `errors=panic`.
    pub fn panic_requested(&self) -> bool {
        false
    }
    /// Bytes per file-system block (1024, 2048 or 4096).
    pub fn block_size(&self) -> u32 {
        4096
    }
    /// The UUID.
    pub fn uuid(&self) -> [u8; 16] {
        [0; 16]
    }
    /// The volume label without trailing NULs.
    pub fn label(&self) -> Vec<u8> {
        Vec::new()
    }
    /// Largest file size in bytes for this block size.
    pub fn max_file_size(&self) -> u64 {
        0
    }
    /// Space and inode counts.
    pub fn statfs(&self) -> StatFs {
        StatFs::default()
    }
    /// Commits the running transaction without waiting for the device cache more than the journal
    /// needs; the kernel calls this every `commit_interval` seconds.
    pub fn commit(&self) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// `sync(2)`/`syncfs(2)`: everything written through this crate is durable afterwards.
    pub fn sync(&self) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// Commits, checkpoints and holds all changes until [`Fs::thaw`] (FIFREEZE).
    pub fn freeze(&self) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// Ends [`Fs::freeze`].
    pub fn thaw(&self) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// FITRIM: discards free extents of at least `min_len` bytes in the byte range; returns bytes discarded.
    pub fn trim(&self, start: u64, len: u64, min_len: u64) -> Result<u64> {
        Err(Errno::ENOSYS)
    }
    /// Drops up to `blocks` clean cached metadata blocks; returns how many went.
    pub fn shrink(&self, blocks: usize) -> usize {
        0
    }

    /// The inode `ino`, read if it is not in memory. `ESTALE` if it is free, `EUCLEAN` if damaged.
    pub fn iget(&self, ino: u32) -> Result<Ino<P>> {
        Err(Errno::ENOSYS)
    }
    /// The root directory.
    pub fn root(&self) -> Result<Ino<P>> {
        self.iget(ROOT_INO)
    }
    /// Gives one use back. The last one writes lazily kept times and, if no link is left, frees the file.
    pub fn iput(&self, inode: Ino<P>) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// Changes attributes.
    pub fn set_attr(&self, inode: &Inode<P>, set: &SetAttr) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// Sets times in memory only; they reach the disk with the next sync, commit or iput (atime updates, mtime
    /// of writes).
    pub fn touch(&self, inode: &Inode<P>, atime: Option<Timespec>, mtime: Option<Timespec>) {}
    /// FS_IOC_SETFLAGS: sets the bits in [`inode_flags::USER_MODIFIABLE`], keeps the others.
    pub fn set_flags(&self, inode: &Inode<P>, flags: u32) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Finds `name` in `dir` (`.` and `..` included). `ENOENT`, `ENOTDIR`.
    pub fn lookup(&self, dir: &Inode<P>, name: &[u8]) -> Result<(u32, FileType)> {
        Err(Errno::ENOSYS)
    }
    /// Calls `emit` for entries from `cookie` on (0 = start) until it answers `false` (that entry counts as not
    /// delivered) or the directory ends. Returns the cookie to go on with.
    pub fn readdir(
        &self,
        dir: &Inode<P>,
        cookie: u64,
        emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<u64> {
        Err(Errno::ENOSYS)
    }
    /// Creates a file, directory, device node, FIFO or socket, by the type in `new.mode`. `EEXIST`, `ENOSPC`,
    /// `EMLINK`, `ENAMETOOLONG`.
    pub fn create(&self, dir: &Inode<P>, name: &[u8], new: &NewInode<'_>) -> Result<Ino<P>> {
        Err(Errno::ENOSYS)
    }
    /// Creates a symbolic link with the given target (1 to `block_size - 1` bytes).
    pub fn symlink(
        &self,
        dir: &Inode<P>,
        name: &[u8],
        target: &[u8],
        new: &NewInode<'_>,
    ) -> Result<Ino<P>> {
        Err(Errno::ENOSYS)
    }
    /// O_TMPFILE: a file without a name; `dir` gives locality.
    pub fn tmpfile(&self, dir: &Inode<P>, new: &NewInode<'_>) -> Result<Ino<P>> {
        Err(Errno::ENOSYS)
    }
    /// A further name for `inode` (or the first one of a tmpfile). `EMLINK`, `EEXIST`.
    pub fn link(&self, dir: &Inode<P>, name: &[u8], inode: &Inode<P>) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// Removes the name of a non-directory. `ENOENT` if `name` no longer means `inode`.
    pub fn unlink(&self, dir: &Inode<P>, name: &[u8], inode: &Inode<P>) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// Removes an empty directory. `ENOTEMPTY`.
    pub fn rmdir(&self, dir: &Inode<P>, name: &[u8], inode: &Inode<P>) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// Renames; `target` is what `new_name` means now, if anything. The caller has excluded loops (a directory
    /// moved below itself). Atomic over a crash.
    #[expect(clippy::too_many_arguments, reason = "renameat2's arguments, resolved")]
    pub fn rename(
        &self,
        old_dir: &Inode<P>,
        old_name: &[u8],
        inode: &Inode<P>,
        new_dir: &Inode<P>,
        new_name: &[u8],
        target: Option<&Inode<P>>,
        mode: RenameMode,
    ) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// The target of a symbolic link.
    pub fn readlink(&self, inode: &Inode<P>) -> Result<Vec<u8>> {
        Err(Errno::ENOSYS)
    }

    /// The value of attribute `name` (with prefix: `user.x`, `system.posix_acl_access`, in the form that getxattr(2)
    /// returns). `ENODATA`, `EOPNOTSUPP` for an unknown prefix.
    pub fn getxattr(&self, inode: &Inode<P>, name: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::ENOSYS)
    }
    /// Sets an attribute. `ENOSPC` if it does not fit.
    pub fn setxattr(
        &self,
        inode: &Inode<P>,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// Removes an attribute. `ENODATA`.
    pub fn removexattr(&self, inode: &Inode<P>, name: &[u8]) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// All names, each followed by a NUL, as listxattr(2); the caller filters `trusted.`.
    pub fn listxattr(&self, inode: &Inode<P>) -> Result<Vec<u8>> {
        Err(Errno::ENOSYS)
    }

    /// What backs the blocks from `lblk` on: one run of at least 1 and at most `max_len` blocks.
    pub fn map_blocks(&self, inode: &Inode<P>, lblk: u32, max_len: u32) -> Result<Mapping> {
        Err(Errno::ENOSYS)
    }
    /// Reserves space for the blocks of the byte range that have none (delayed allocation), and moves inline data
    /// to a block. `ENOSPC`, `EFBIG`.
    pub fn write_begin(&self, inode: &Inode<P>, pos: u64, len: u64) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// After bytes were copied to the cache: grows the size to `pos + len` if that is beyond, sets mtime and ctime, all
    /// in memory.
    pub fn write_end(&self, inode: &Inode<P>, pos: u64, len: u64) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// Finds or allocates blocks for `len` logical blocks that are about to be written; the result covers
    /// all of them, or a leading part (at least one block) when that is cheaper. `ENOSPC` only where nothing was reserved.
    pub fn prepare_writeback(&self, inode: &Inode<P>, lblk: u32, len: u32) -> Result<Writeback> {
        Err(Errno::ENOSYS)
    }
    /// Makes what was written reachable (`ok`), moving the on-disk size, or gives new blocks back.
    pub fn finish_writeback(&self, inode: &Inode<P>, wb: Writeback, ok: bool) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// Sets the size. Returns the byte range of the boundary block that the page cache must zero and mark dirty, if any.
    /// `EFBIG`, `EINVAL`.
    pub fn truncate(&self, inode: &Inode<P>, size: u64) -> Result<Option<ZeroRange>> {
        Err(Errno::ENOSYS)
    }
    /// fallocate(2). See the crate's page-cache contract. `EOPNOTSUPP` for files without extents, `EINVAL` for
    /// collapse/insert off block boundaries, `ENOSPC`.
    pub fn fallocate(
        &self,
        inode: &Inode<P>,
        mode: FallocateMode,
        pos: u64,
        len: u64,
    ) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// Makes the file's metadata (only what is needed to read the data back, with `datasync`) and the data written to
    /// the device so far durable.
    pub fn fsync(&self, inode: &Inode<P>, datasync: bool) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// SEEK_DATA: first byte at or after `pos` that is not in a hole. `ENXIO` past the end.
    pub fn seek_data(&self, inode: &Inode<P>, pos: u64) -> Result<u64> {
        Err(Errno::ENOSYS)
    }
    /// SEEK_HOLE: first byte at or after `pos` in a hole, or the size. `ENXIO` past the end.
    pub fn seek_hole(&self, inode: &Inode<P>, pos: u64) -> Result<u64> {
        Err(Errno::ENOSYS)
    }
    /// FS_IOC_FIEMAP over a byte range; `emit` answers `false` to stop.
    pub fn fiemap(
        &self,
        inode: &Inode<P>,
        pos: u64,
        len: u64,
        emit: &mut dyn FnMut(FiemapExtent) -> bool,
    ) -> Result<()> {
        Err(Errno::ENOSYS)
    }
    /// Reads file data without a page cache: up to `buf.len()` bytes, fewer at the end of file. Delayed blocks
    /// read as zeroes, so a caller with a page cache uses this for inline files only.
    pub fn read_at(&self, inode: &Inode<P>, pos: u64, buf: &mut [u8]) -> Result<usize> {
        Err(Errno::ENOSYS)
    }
    /// Writes file data without a page cache, through to the device.
    pub fn write_at(&self, inode: &Inode<P>, pos: u64, data: &[u8]) -> Result<usize> {
        Err(Errno::ENOSYS)
    }
}
