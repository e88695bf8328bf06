//! Mounted file systems and their types.

use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};

use super::Inode;
use crate::prelude::*;

/// Figures of statfs(2).
#[derive(Clone, Copy, Debug, Default)]
pub struct FsStats {
    /// Magic number (`f_type`).
    pub magic: u64,
    /// Block size.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Free blocks for unprivileged users.
    pub available: u64,
    /// Inodes in all.
    pub inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
    /// File-system identifier.
    pub fsid: u64,
    /// Longest name.
    pub name_max: u64,
}

/// What a mounted file system does as a whole.
pub trait SuperOps: Send + Sync + Any {
    /// Figures for statfs(2).
    fn statfs(&self) -> Result<FsStats>;

    /// Largest file in bytes.
    fn max_file_size(&self) -> u64 {
        i64::MAX as u64
    }

    /// Makes everything durable.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// Changes options of a mounted file system; `read_only` is the new state.
    fn remount(&self, _read_only: bool, _data: &[u8]) -> Result<()> {
        Ok(())
    }

    /// The last mount is gone: write everything and let go of the device.
    fn unmount(&self) {}

    /// Options for /proc/mounts, with a comma before each.
    fn show_options(&self, _out: &mut String) {}

    /// The inode that a handle of [`super::InodeOps::encode_handle`] means: ESTALE.
    fn decode_handle(&self, _kind: i32, _bytes: &[u8]) -> Result<Arc<Inode>> {
        Err(Errno::ESTALE)
    }

    /// Drops cached objects that nobody uses; how many there were.
    fn shrink(&self) -> usize {
        0
    }

    /// The file system's own type.
    fn as_any(&self) -> &dyn Any;
}

/// A mounted file system (`super_block`).
pub struct SuperBlock {
    /// Device number that stat(2) shows for its files.
    pub dev: u64,
    /// Its type.
    pub fs_type: &'static dyn FileSystemType,
    /// What was mounted (a device's path or any word).
    source: Vec<u8>,
    /// What it does.
    pub ops: Box<dyn SuperOps>,
    root: RwSpinLock<Root>,
    read_only: core::sync::atomic::AtomicBool,
    /// Serialises renames between directories (`s_vfs_rename_mutex`).
    pub rename: Mutex<()>,
    /// Preferred size of I/O (`st_blksize`), and what FIGETBSZ tells.
    pub block_size: core::sync::atomic::AtomicU32,
    /// Largest file (`s_maxbytes`).
    pub max_bytes: u64,
    /// Open file descriptions that may write regular files.
    pub writers: core::sync::atomic::AtomicUsize,
    /// What inotify and its kin watch in it.
    pub notify: super::notify::SuperMarks,
    /// How many mounts show it.
    active: core::sync::atomic::AtomicUsize,
}

/// The root directory. Its inode refers to the file system, which refers to it: whoever does not live as long as the
/// kernel lets go of it at the last unmount.
#[derive(Default)]
struct Root {
    inode: Option<Arc<Inode>>,
    /// Made by the first mount.
    dentry: Option<Arc<super::Dentry>>,
}

impl SuperBlock {
    /// A file system without its root, which [`Self::set_root`] gives.
    pub fn new(
        dev: u64,
        fs_type: &'static dyn FileSystemType,
        source: Option<&[u8]>,
        read_only: bool,
        ops: Box<dyn SuperOps>,
    ) -> Arc<Self> {
        let sb = Arc::new(Self {
            dev,
            fs_type,
            source: source.unwrap_or(b"none").to_vec(),
            max_bytes: ops.max_file_size(),
            ops,
            root: RwSpinLock::new(Root::default()),
            read_only: core::sync::atomic::AtomicBool::new(read_only),
            rename: Mutex::new(()),
            block_size: core::sync::atomic::AtomicU32::new(PAGE_SIZE as u32),
            writers: core::sync::atomic::AtomicUsize::new(0),
            notify: super::notify::SuperMarks::default(),
            active: core::sync::atomic::AtomicUsize::new(0),
        });
        let mut all = ALL.lock();
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(&sb));
        sb
    }

    /// Drops names that nobody has used lately; how many.
    pub fn shrink_names(&self) -> usize {
        self.root_dentry()
            .map_or(0, |root| super::Dentry::shrink(&root))
    }

    /// Sets the root directory, once.
    pub fn set_root(&self, root: Arc<Inode>) {
        self.root.write().inode = Some(root);
    }

    /// The root directory. EBUSY once the last mount is gone for good.
    pub fn root(&self) -> Result<Arc<Inode>> {
        self.root.read().inode.clone().ok_or(Errno::EBUSY)
    }

    /// The root's dentry, if it was ever mounted.
    pub(super) fn root_dentry(&self) -> Option<Arc<super::Dentry>> {
        self.root.read().dentry.clone()
    }

    /// The root's dentry, made if need be. EBUSY as [`Self::root`].
    pub(super) fn make_root_dentry(&self) -> Result<Arc<super::Dentry>> {
        let made = super::Dentry::root(self.root()?);
        let mut root = self.root.write();
        if root.inode.is_none() {
            return Err(Errno::EBUSY);
        }
        Ok(root.dentry.get_or_insert(made).clone())
    }

    /// The last mount is gone, and there will be no other.
    pub(super) fn drop_root(&self) {
        let root = core::mem::take(&mut *self.root.write());
        // Dropping may write to the disk: not under the lock.
        drop(root);
    }

    /// Sets the block size that stat(2) shows; it is a page's otherwise.
    pub fn set_block_size(&self, bytes: u32) {
        self.block_size.store(bytes, Ordering::Relaxed);
    }

    /// The block size that stat(2) shows.
    pub fn block_size(&self) -> u32 {
        self.block_size.load(Ordering::Relaxed)
    }

    /// What was mounted and as what, for messages.
    pub fn shown_source(&self) -> String {
        let source = String::from_utf8_lossy(&self.source);
        format!("{source} ({})", self.fs_type.name())
    }

    /// Whether nothing may be written.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Marks it (not) writable.
    pub fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Relaxed);
    }
}

/// A use that keeps a file system mounted: a mount of it, or a configuration that made it. The last one to go
/// unmounts it.
pub struct Active(Arc<SuperBlock>);

impl Active {
    /// One more use.
    pub fn new(sb: &Arc<SuperBlock>) -> Self {
        sb.active.fetch_add(1, Ordering::AcqRel);
        Self(sb.clone())
    }

    /// The file system.
    pub fn sb(&self) -> &Arc<SuperBlock> {
        &self.0
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let sb = &self.0;
        if sb.active.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let root = sb.root.read().dentry.clone();
        if let Some(root) = root {
            root.drop_children();
        }
        super::notify::unmounted(sb);
        sb.ops.unmount();
    }
}

/// All file systems in memory.
static ALL: SpinLock<Vec<Weak<SuperBlock>>> = SpinLock::new(Vec::new());

/// All file systems that are mounted or in use (sync(2), memory pressure).
pub fn all() -> Vec<Arc<SuperBlock>> {
    ALL.lock().iter().filter_map(Weak::upgrade).collect()
}

/// A kind of file system.
pub trait FileSystemType: Send + Sync {
    /// Its name in mount(2).
    fn name(&self) -> &'static str;

    /// Whether it needs no block device (`nodev` in /proc/filesystems).
    fn nodev(&self) -> bool {
        true
    }

    /// Whether a cached dentry still tells the truth (/proc: processes come and go).
    fn revalidate(&self, _dentry: &Arc<super::Dentry>) -> bool {
        true
    }

    /// Mounts `source` with the options in `data` (comma separated).
    fn mount(&self, source: Option<&[u8]>, read_only: bool, data: &[u8])
    -> Result<Arc<SuperBlock>>;
}

static TYPES: RwSpinLock<Vec<&'static dyn FileSystemType>> = RwSpinLock::new(Vec::new());

/// Makes a kind of file system known.
pub fn register_filesystem(fs_type: &'static dyn FileSystemType) {
    TYPES.write().push(fs_type);
}

/// The kind with this name.
pub fn find_file_system(name: &[u8]) -> Option<&'static dyn FileSystemType> {
    TYPES
        .read()
        .iter()
        .copied()
        .find(|fs| fs.name().as_bytes() == name)
}

/// All kinds, in order of registration.
pub fn file_systems() -> Vec<&'static dyn FileSystemType> {
    TYPES.read().clone()
}

/// A device number for a file system without a device (major 0).
pub fn anonymous_dev() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let minor = NEXT.fetch_add(1, Ordering::Relaxed);
    keel_abi::types::Dev::new(0, minor as u32).encode()
}
