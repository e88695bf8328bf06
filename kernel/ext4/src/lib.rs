//! The ext4 file system (and ext2, ext3) with its journal, as a library: `no_std`, no unsafe code, over a small block
//! interface, testable entirely on the host.
//!
//! * [`Fs`] is a mounted file system; every operation is a method of it.
//! * [`Inode`] is an inode in memory. Each `Arc<Inode>` that [`Fs::iget`], [`Fs::create`] and friends hand
//!   out counts as one use that must be given back with [`Fs::iput`]; the last one frees an unlinked file.
//! * File data goes through the caller's page cache: [`Fs::map_blocks`] says where to read,
//!   [`Fs::write_begin`]/[`Fs::write_end`] reserve space and move the size, [`Fs::prepare_writeback`] /
//!   [`Fs::finish_writeback`] bracket writing dirty pages. [`Fs::read_at`]/[`Fs::write_at`] do without a cache.
//!
//! # Page-cache contract
//!
//! 1. Before dirtying bytes (write(2), or a store through a shared mapping): `write_begin(inode, pos, len)`;
//!    it may fail with ENOSPC. After copying: `write_end(inode, pos, copied)`.
//! 2. Write-back of dirty blocks `[lblk, lblk+len)`: `prepare_writeback`, write the data to the device at
//!    `pblk * block_size` (no lock of this crate is held meanwhile), `finish_writeback(.., ok)`. The blocks
//!    become reachable on disk only in `finish_writeback`, so a crash never exposes stale data.
//!    A page must not be written back twice at the same time. Bytes past the end of file are written as zeroes.
//! 3. `truncate`, `fallocate` (other than `Allocate`) and the last `iput` of an unlinked file: wait for write-back
//!    of the affected pages first and drop them from the cache; before that write back the dirty pages at the edges of
//!    the range for `PunchHole` and `ZeroRange`, and all from its start on for `Collapse` and `Insert`. Zero what
//!    `truncate` returns.
//! 4. `fsync`: write back the file's dirty pages, then [`Fs::fsync`].
//! 5. Direct I/O: write back and drop the cached range; `map_blocks` to read, `prepare_writeback` /
//!    `finish_writeback` + `write_end` to write.
//!
//! # Locking
//!
//! Inode locks (several: in inode-number order) → a journal handle → allocation group → buffer. Callbacks
//! (`readdir`) run under the directory's shared lock. The caller serialises operations that change one
//! directory or one file's size as a VFS does (`i_rwsem`), but the crate stays consistent without it.
//!
//! The format follows the kernel.org ext4 and jbd2 documentation.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod acl;
mod ahead;
mod balloc;
mod buffer;
mod bytes;
mod checksum;
mod dir;
mod extent;
mod file;
mod fs;
mod group;
mod ialloc;
mod indirect;
mod inode;
mod journal;
mod layout;
mod map;
mod mount;
mod namei;
mod orphan;
mod platform;
mod ranges;
mod runs;
mod seal;
mod superblock;
mod types;
mod xattr;

pub use fs::Fs;
pub use inode::Inode;
pub use keel_abi::Errno;
pub use layout::inode_flags;
pub use platform::{BlockDevice, Lock, LogLevel, Platform, SharedLock, WriteFlags};
pub use types::{
    Attr, DataMode, DirEntry, ErrorPolicy, FallocateMode, FiemapExtent, FileType, Flavour,
    MapState, Mapping, MountOptions, NewInode, RenameMode, SetAttr, StatFs, Timespec, Writeback,
    WritebackExtent, XattrMode, ZeroRange,
};

/// The root directory's inode number.
pub const ROOT_INO: u32 = 2;

/// The result of everything that can fail.
pub type Result<T> = core::result::Result<T, Errno>;
