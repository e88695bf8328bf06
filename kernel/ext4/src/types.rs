//! The plain values that cross the crate's interface: mount options, attributes, directory entries
//! and block mappings.

use alloc::vec::Vec;

pub use crate::platform::Timespec;

/// What to do when the file system is found damaged (`errors=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorPolicy {
    /// Log, note it in the superblock, go on.
    Continue,
    /// Abort the journal and refuse further writes.
    RemountReadOnly,
    /// Like `RemountReadOnly`; [`crate::Fs::panic_requested`] tells the kernel to stop.
    Panic,
}

/// How file data relates to the journal (`data=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataMode {
    /// Blocks become reachable only after their data was written (the default).
    Ordered,
    /// Accepted; gives the same guarantees as `Ordered`.
    Writeback,
}

/// As which of the family a volume is mounted: each takes only the features its own implementations know (`EINVAL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Anything.
    Ext4,
    /// With a journal, without extents and what came after.
    Ext3,
    /// The same, and no journal to replay.
    Ext2,
}

/// Options of a mount.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// The type of mount(2).
    pub flavour: Flavour,
    /// Do not write (except to replay the journal, unless `no_load` or a read-only device).
    pub read_only: bool,
    /// `noload`/`norecovery`: do not replay the journal; needs `read_only`.
    pub no_load: bool,
    /// `errors=`; `None` takes the superblock's setting.
    pub errors: Option<ErrorPolicy>,
    /// `data=`.
    pub data: DataMode,
    /// `barrier=`: flush the device cache where the journal needs it.
    pub barrier: bool,
    /// `commit=`: seconds between commits; information for whoever calls [`crate::Fs::commit`].
    pub commit_interval: u32,
    /// `discard`: discard freed blocks after each commit.
    pub discard: bool,
    /// How many metadata blocks the buffer cache keeps before it evicts clean ones.
    pub buffer_cache_blocks: usize,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            flavour: Flavour::Ext4,
            read_only: false,
            no_load: false,
            errors: None,
            data: DataMode::Ordered,
            barrier: true,
            commit_interval: 5,
            discard: false,
            buffer_cache_blocks: 16 * 1024,
        }
    }
}

/// What `statfs(2)` reports; counts are in blocks of `block_size` bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    /// Block size in bytes.
    pub block_size: u32,
    /// Data blocks in the file system (without the overhead, as `minixdf` off).
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks for the unprivileged.
    pub blocks_available: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// File-system id, made from the UUID as Linux does.
    pub fsid: u64,
    /// Longest name in bytes (255).
    pub name_max: u32,
}

/// The type of a file, with its value in directory entries (ext4's `file_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FileType {
    /// Not recorded in the directory; look at the inode.
    #[default]
    Unknown,
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
    /// FIFO.
    Fifo,
    /// Unix socket.
    Socket,
    /// Symbolic link.
    Symlink,
}

/// The attributes of an inode as stat(2) and friends want them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: u32,
    /// Generation, for file handles.
    pub generation: u32,
    /// Type and permission bits (`S_IFMT` included).
    pub mode: u16,
    /// Link count. Directories with 65,000 or more subdirectories say 1 (dir_nlink).
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Project id (0 without the project feature).
    pub project: u32,
    /// Size in bytes.
    pub size: u64,
    /// Allocated space in units of 512 bytes, delayed allocation included.
    pub blocks: u64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of the content.
    pub mtime: Timespec,
    /// Last change of the inode.
    pub ctime: Timespec,
    /// Creation (statx's btime); zero where the inode is too small to hold it.
    pub crtime: Timespec,
    /// Device number of a device node: `(major, minor)`.
    pub rdev: (u32, u32),
    /// `FS_*_FL` flags as FS_IOC_GETFLAGS reports them (see [`crate::inode_flags`]).
    pub flags: u32,
    /// The data lives in the inode: page caches fill from [`crate::Fs::read_at`].
    pub inline_data: bool,
}

/// Attributes to change; `None` leaves one as it is. Size changes go through
/// [`crate::Fs::truncate`]. Permission checks and set-id clearing are the caller's business.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permission bits, set-id and sticky (07777); the type cannot change.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Access time.
    pub atime: Option<Timespec>,
    /// Modification time.
    pub mtime: Option<Timespec>,
    /// Change time; `None` sets it to now.
    pub ctime: Option<Timespec>,
}

/// What a new inode looks like. The caller has applied umask, set-gid directories and default ACLs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewInode<'a> {
    /// Type and permission bits (`S_IFMT` included).
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// `(major, minor)` for device nodes.
    pub rdev: (u32, u32),
    /// Extended attributes set together with the creation (default ACLs, security labels), as
    /// `(full name, value)`.
    pub xattrs: &'a [(&'a [u8], &'a [u8])],
}

/// `renameat2` flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// Replace what is there.
    Replace,
    /// `RENAME_NOREPLACE`: `EEXIST` if there is something.
    NoReplace,
    /// `RENAME_EXCHANGE`: swap the two.
    Exchange,
    /// `RENAME_WHITEOUT`: leave a character device 0/0 behind.
    Whiteout,
}

/// One directory entry, as handed to the readdir callback.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// Name, 1 to 255 bytes, no NUL and no slash.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: u32,
    /// Type as recorded in the directory.
    pub file_type: FileType,
    /// Cookie from which reading goes on after this entry (`d_off`).
    pub next: u64,
}

/// What a range of logical blocks is backed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapState {
    /// Nothing: reads as zeroes.
    Hole,
    /// Nothing yet, space is reserved (delayed allocation): the page cache has the data.
    Delayed,
    /// Blocks that hold data.
    Mapped,
    /// Blocks that are allocated but read as zeroes.
    Unwritten,
    /// The data is in the inode; use [`crate::Fs::read_at`].
    Inline,
}

/// A run of logical blocks in one state. Units are file-system blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First logical block.
    pub lblk: u32,
    /// Number of blocks, at least 1.
    pub len: u32,
    /// First physical block, for `Mapped` and `Unwritten`; 0 otherwise.
    pub pblk: u64,
    /// The state of all of them.
    pub state: MapState,
}

/// A part of a write-back: `len` logical blocks from `lblk` go to `pblk` and following.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WritebackExtent {
    /// First logical block.
    pub lblk: u32,
    /// Number of blocks.
    pub len: u32,
    /// First physical block; the byte offset on the device is `pblk * block_size`.
    pub pblk: u64,
    /// How the blocks came to be.
    pub(crate) origin: ExtentOrigin,
}

/// Where the blocks of a [`WritebackExtent`] come from, and so what finishing means for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExtentOrigin {
    /// Already mapped and written: overwriting in place.
    Written,
    /// Preallocated: converted to written when the data is down.
    Unwritten,
    /// Taken from the allocator for this write-back, not yet on disk in any form.
    New,
}

/// A write-back in progress, from [`crate::Fs::prepare_writeback`]. It must be handed to
/// [`crate::Fs::finish_writeback`] once the data is on the device (or failed).
#[must_use = "blocks stay claimed until finish_writeback"]
#[derive(Debug, Default)]
pub struct Writeback {
    /// Where the data goes, in ascending logical order, without gaps over the range asked for.
    pub extents: Vec<WritebackExtent>,
}

/// A byte range that the page cache must zero (and mark dirty): the tail of the last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZeroRange {
    /// First byte.
    pub from: u64,
    /// One past the last byte; always in the same block as `from`.
    pub to: u64,
}

/// One run reported by fiemap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiemapExtent {
    /// Byte offset in the file.
    pub logical: u64,
    /// Byte offset on the device.
    pub physical: u64,
    /// Length in bytes.
    pub length: u64,
    /// `FIEMAP_EXTENT_*` flags.
    pub flags: u32,
}

/// `fallocate(2)` operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallocateMode {
    /// Allocate (mode 0), extending the size unless `keep_size`.
    Allocate {
        /// `FALLOC_FL_KEEP_SIZE`.
        keep_size: bool,
    },
    /// `FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE`.
    PunchHole,
    /// `FALLOC_FL_ZERO_RANGE`.
    ZeroRange {
        /// `FALLOC_FL_KEEP_SIZE`.
        keep_size: bool,
    },
    /// `FALLOC_FL_COLLAPSE_RANGE`.
    Collapse,
    /// `FALLOC_FL_INSERT_RANGE`.
    Insert,
}

/// How `setxattr` treats an existing name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Create or replace.
    Set,
    /// `XATTR_CREATE`: `EEXIST` if there.
    Create,
    /// `XATTR_REPLACE`: `ENODATA` if not there.
    Replace,
}
