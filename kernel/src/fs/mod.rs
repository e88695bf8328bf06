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

pub mod acl;
pub mod anon;
pub mod attributes;
pub mod block_file;
pub mod change;
mod context;
pub mod dentry;
pub mod devpts;
pub mod devtmpfs;
mod dirs;
pub mod ext4;
mod fdtable;
mod file;
pub mod fileattr;
pub mod handle;
pub mod initramfs;
mod inode;
pub mod iobuf;
pub mod locks;
pub mod mount;
pub mod mount_api;
pub mod mounting;
pub mod mqueue;
pub mod namei;
pub mod notify;
pub mod open;
pub mod page_cache;
pub mod permission;
mod poll;
pub mod procfs;
pub mod protected;
pub mod root;
pub mod sigio;
pub mod superblock;
pub mod sysfs;
mod times;
pub mod tmpfs;
pub mod vfat;
pub mod xattr;

pub use context::FsContext;
pub use dentry::Dentry;
pub use dirs::emit_dots;
pub use fdtable::{FdTable, NR_OPEN};
pub use file::{DirSink, File, FileOps, anon_file, file_count};
pub use inode::{
    ATTR_NOATIME, ATTR_SYNC, Attr, Inode, InodeOps, Owner, RenameFlags, SetAttr, Time,
    file_type_of, inode_count,
};
pub use iobuf::{IoDst, IoSrc};
pub use mount::Path;
pub use open::{open, open_console, open_exec};
pub use poll::{PollEvents, PollTable};
pub use superblock::{
    FileSystemType, FsStats, SuperBlock, SuperOps, find_file_system, register_filesystem,
};
pub use times::accessed as link_accessed;

/// Makes the file systems of this folder known.
pub fn init() {
    procfs::init();
    sysfs::init();
    register_filesystem(&tmpfs::Tmpfs);
    register_filesystem(&tmpfs::Ramfs);
    register_filesystem(&devtmpfs::Devtmpfs);
    register_filesystem(&devpts::Devpts);
    register_filesystem(&mqueue::Mqueue);
    register_filesystem(&ext4::EXT4);
    register_filesystem(&ext4::EXT3);
    register_filesystem(&ext4::EXT2);
    register_filesystem(&vfat::Vfat);
    page_cache::start_flusher();
    page_cache::start_reclaimer();
}

/// Writes everything that is dirty to the disks (sync(2)).
pub fn sync() {
    for sb in superblock::all() {
        if !sb.is_read_only()
            && let Err(error) = sb.ops.sync()
        {
            log::error!("sync of {} failed: {error:?}", sb.shown_source());
        }
    }
}

/// The last thing before the machine stops: writes everything, and makes every file system read-only.
pub fn shutdown() {
    sync();
    for sb in superblock::all() {
        if !sb.is_read_only() && !sb.fs_type.nodev() {
            match sb.ops.remount(true, b"") {
                Ok(()) => sb.set_read_only(true),
                Err(error) => log::error!("{} stays writable: {error:?}", sb.shown_source()),
            }
        }
    }
}
