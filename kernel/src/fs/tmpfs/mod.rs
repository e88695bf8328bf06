//! tmpfs and ramfs: file systems in memory (tmpfs(5)), and memfds (memfd_create(2)).
//!
//! * [`pages`]: contents of files and what a mount may use.
//! * [`inode`]: directories, files, links.
//! * [`memfd`]: files without a name, and seals.

mod inode;
mod memfd;
mod options;
mod pages;

pub use memfd::{
    MAX_NAME as MEMFD_MAX_NAME, SEALS_AGAINST_WRITE, add_seals, create as create_memfd,
    create_segment, get_seals, resident_pages, seals_of,
};
pub use options::Options;
pub use pages::{Shmem as Segment, total_pages};

use core::sync::atomic::Ordering;
use keel_abi::args::FileType;

use super::superblock::anonymous_dev;
use super::{FileSystemType, FsStats, Owner, SuperBlock, SuperOps};
use crate::prelude::*;
use inode::{Directory, Kind};
use pages::Space;

const TMPFS_MAGIC: u64 = 0x0102_1994;
const RAMFS_MAGIC: u64 = 0x8584_58f6;

/// `tmpfs` of mount(2).
pub struct Tmpfs;
/// `ramfs` of mount(2): tmpfs without limits.
pub struct Ramfs;

impl FileSystemType for Tmpfs {
    fn name(&self) -> &'static str {
        "tmpfs"
    }

    fn mount(
        &self,
        source: Option<&[u8]>,
        read_only: bool,
        data: &[u8],
    ) -> Result<Arc<SuperBlock>> {
        new_super(
            &Tmpfs,
            source,
            read_only,
            &Options::parse(data)?,
            TMPFS_MAGIC,
        )
    }
}

impl FileSystemType for Ramfs {
    fn name(&self) -> &'static str {
        "ramfs"
    }

    fn mount(
        &self,
        source: Option<&[u8]>,
        read_only: bool,
        data: &[u8],
    ) -> Result<Arc<SuperBlock>> {
        let mut options = Options::parse(data)?;
        options.max_pages = Some(u64::MAX);
        options.max_inodes = Some(u64::MAX);
        options.mode = options.mode.or(Some(0o755));
        new_super(&Ramfs, source, read_only, &options, RAMFS_MAGIC)
    }
}

/// A file system of type `fs_type` with a root directory.
fn new_super(
    fs_type: &'static dyn FileSystemType,
    source: Option<&[u8]>,
    read_only: bool,
    options: &Options,
    magic: u64,
) -> Result<Arc<SuperBlock>> {
    make_super(fs_type, source, read_only, options, magic, true)
}

/// A tmpfs whose contents stay when nobody mounts it: /dev, the root of an initramfs.
pub fn new(
    fs_type: &'static dyn FileSystemType,
    source: Option<&[u8]>,
    options: &Options,
) -> Result<Arc<SuperBlock>> {
    let magic = if fs_type.name() == Ramfs.name() {
        RAMFS_MAGIC
    } else {
        TMPFS_MAGIC
    };
    make_super(fs_type, source, false, options, magic, false)
}

fn make_super(
    fs_type: &'static dyn FileSystemType,
    source: Option<&[u8]>,
    read_only: bool,
    options: &Options,
    magic: u64,
    drop_at_unmount: bool,
) -> Result<Arc<SuperBlock>> {
    let max_pages = options.max_pages.unwrap_or_else(options::default_pages);
    let max_inodes = options.max_inodes.unwrap_or_else(options::default_pages);
    let space = Space::new(max_pages, max_inodes);
    let root = OnceLock::new();
    let ops = TmpSuper {
        space: space.clone(),
        magic,
        home: OnceLock::new(),
        root,
        options: SpinLock::new(options.clone()),
    };
    let sb = SuperBlock::new(anonymous_dev(), fs_type, source, read_only, Box::new(ops));
    let mode = options.mode.unwrap_or(0o1777) | u32::from(FileType::Directory.mode().0);
    let (uid, gid) = crate::process::current_opt().map_or((0, 0), |thread| {
        let cred = thread.cred();
        (cred.fsuid, cred.fsgid)
    });
    let owner = Owner {
        uid: options.uid.unwrap_or(uid),
        gid: options.gid.unwrap_or(gid),
    };
    let kind = Kind::Directory(Directory::default());
    let root = inode::new_inode(&sb, &space, mode, 0, &owner, kind)?;
    if let Some(ops) = sb.ops.as_any().downcast_ref::<TmpSuper>() {
        ops.home.call_once(|| Arc::downgrade(&root));
        if drop_at_unmount {
            ops.root.call_once(|| Arc::downgrade(&root));
        }
    }
    sb.set_root(root);
    Ok(sb)
}

/// A tmpfs as a whole.
struct TmpSuper {
    space: Arc<Space>,
    magic: u64,
    /// Where handles are looked for.
    home: OnceLock<Weak<super::Inode>>,
    /// What the last unmount empties.
    root: OnceLock<Weak<super::Inode>>,
    options: SpinLock<Options>,
}

impl SuperOps for TmpSuper {
    fn statfs(&self) -> Result<FsStats> {
        let mut stats = FsStats {
            magic: self.magic,
            block_size: PAGE_SIZE as u64,
            name_max: 255,
            ..FsStats::default()
        };
        let max = self.space.max_pages.load(Ordering::Relaxed);
        if max != u64::MAX {
            stats.blocks = max;
            stats.free = max.saturating_sub(self.space.pages.load(Ordering::Relaxed));
            stats.available = stats.free;
        }
        let max = self.space.max_inodes.load(Ordering::Relaxed);
        if max != u64::MAX {
            stats.inodes = max;
            stats.free_inodes = max.saturating_sub(self.space.inodes.load(Ordering::Relaxed));
        }
        Ok(stats)
    }

    fn remount(&self, _read_only: bool, data: &[u8]) -> Result<()> {
        let new = Options::parse(data)?;
        if let Some(max) = new.max_pages {
            if max < self.space.pages.load(Ordering::Relaxed) {
                return Err(Errno::EINVAL);
            }
            self.space.max_pages.store(max, Ordering::Relaxed);
        }
        if let Some(max) = new.max_inodes {
            if max < self.space.inodes.load(Ordering::Relaxed) {
                return Err(Errno::EINVAL);
            }
            self.space.max_inodes.store(max, Ordering::Relaxed);
        }
        self.options.lock().update(&new);
        Ok(())
    }

    fn unmount(&self) {
        if let Some(root) = self.root.get().and_then(Weak::upgrade) {
            inode::drop_tree(&root);
            root.sb.drop_root();
        }
    }

    fn decode_handle(&self, kind: i32, bytes: &[u8]) -> Result<Arc<super::Inode>> {
        let ino = bytes.get(4..12).and_then(|b| b.try_into().ok());
        let ino = ino.map(u64::from_ne_bytes).ok_or(Errno::ESTALE)?;
        let root = self.home.get().and_then(Weak::upgrade);
        let root = root.filter(|_| kind == inode::HANDLE_TYPE);
        let found = inode::find_in_tree(&root.ok_or(Errno::ESTALE)?, ino);
        found.map(|(_, inode)| inode).ok_or(Errno::ESTALE)
    }

    fn show_options(&self, out: &mut String) {
        self.options.lock().show(out);
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}
