//! Files: the virtual file system and the file systems that live on it.
//!
//! * [`Inode`]: an object of a file system, with [`InodeOps`] for what that file system does its own way.
//! * [`Dentry`]: a name in a directory, cached, negative ones included.
//! * [`mount`]: mounts, and the namespaces that hold them; [`Path`]: a dentry seen through a mount.
//! * [`namei`]: from path names to [`Path`]s; [`permission`]: who may do what, in one place.
//! * [`File`]: an open file description, with [`FileOps`] for its behaviour; [`FdTable`]: descriptors.
//! * [`page_cache`]: file contents in memory.
//!
//! Lock order: rename mutex of the file system → directory `rwsem` (ancestor first) → file `rwsem` →
//! address-space lock → page lock → file-system locks → dentry and mount spin locks.

mod context;
pub mod dentry;
mod fdtable;
mod file;
mod inode;
pub mod iobuf;
pub mod mount;
pub mod namei;
mod open;
pub mod permission;
mod poll;
pub mod superblock;

pub use context::FsContext;
pub use dentry::Dentry;
pub use fdtable::{FdTable, NR_OPEN};
pub use file::{DirSink, File, FileOps, anon_file};
pub use inode::{Attr, Inode, InodeOps, Owner, RenameFlags, SetAttr, Time};
pub use iobuf::{IoDst, IoSrc};
pub use mount::Path;
pub use open::{open, open_console, open_exec, open_kernel};
pub use poll::{PollEvents, PollTable};
pub use superblock::{FileSystemType, FsStats, SuperBlock, SuperOps, find_file_system, register_filesystem};
