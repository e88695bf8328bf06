//! The objects behind the descriptors of the new mount calls (fsopen(2), fsmount(2), open_tree(2)).
//!
//! [`FsConfig`]: a file system being configured. [`DetachedTree`]: mounts that are attached nowhere; they go with the
//! last descriptor unless move_mount(2) has attached them.

use core::sync::atomic::Ordering;
use keel_abi::flags::{MountAttrFlags, MountFlags, OpenFlags};

use super::mount::{Mount, MountNamespace};
use super::superblock::Active;
use super::{File, FileOps, FileSystemType, SuperBlock, mounting};
use crate::prelude::*;
use crate::process::Thread;

/// What has been said of a file system so far.
#[derive(Default)]
struct Config {
    source: Option<Vec<u8>>,
    read_only: bool,
    /// Options as in mount(2)'s `data`.
    data: Vec<u8>,
    sb: Option<Active>,
    /// A mount of `sb` has been made from it.
    mounted: bool,
}

/// What an fsopen(2) or fspick(2) descriptor does.
pub struct FsConfig {
    fs_type: &'static dyn FileSystemType,
    /// From fspick(2): it changes a file system rather than making one.
    picked: bool,
    config: Mutex<Config>,
}

impl FileOps for FsConfig {
    fn read(&self, _: &File, _: &mut super::IoDst, _: u64) -> Result<usize> {
        // The message log: there are no messages.
        Err(Errno::ENODATA)
    }

    fn seekable(&self) -> bool {
        false
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

impl FsConfig {
    /// For a new file system.
    pub fn open(fs_type: &'static dyn FileSystemType) -> Arc<File> {
        let ops = Self {
            fs_type,
            picked: false,
            config: Mutex::new(Config::default()),
        };
        super::anon_file("[fscontext]", Arc::new(ops), OpenFlags::RDWR)
    }

    /// For one that is mounted.
    pub fn pick(sb: &Arc<SuperBlock>) -> Arc<File> {
        let config = Config {
            read_only: sb.is_read_only(),
            sb: Some(Active::new(sb)),
            ..Config::default()
        };
        let ops = Self {
            fs_type: sb.fs_type,
            picked: true,
            config: Mutex::new(config),
        };
        super::anon_file("[fscontext]", Arc::new(ops), OpenFlags::RDWR)
    }

    /// FSCONFIG_SET_FLAG and FSCONFIG_SET_STRING: EBUSY once the file system is made.
    pub fn set(&self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let mut config = self.config.lock();
        if config.sb.is_some() && !self.picked {
            return Err(Errno::EBUSY);
        }
        match (key, value) {
            (b"ro", None) => config.read_only = true,
            (b"rw", None) => config.read_only = false,
            // As MS_SYNCHRONOUS and its like in mount(2): every file system takes them.
            (b"sync" | b"async" | b"dirsync" | b"lazytime" | b"nolazytime" | b"mand", None) => {}
            (b"source", Some(source)) => {
                if config.source.is_some() {
                    return Err(Errno::EINVAL);
                }
                config.source = Some(source.to_vec());
            }
            (key, value) => {
                if config.data.len() + key.len() + value.map_or(0, <[u8]>::len) + 2 > PAGE_SIZE {
                    return Err(Errno::EINVAL);
                }
                if !config.data.is_empty() {
                    config.data.push(b',');
                }
                config.data.extend_from_slice(key);
                if let Some(value) = value {
                    config.data.push(b'=');
                    config.data.extend_from_slice(value);
                }
            }
        }
        Ok(())
    }

    /// FSCONFIG_CMD_CREATE: what mounting gives, EBUSY the second time.
    pub fn create(&self) -> Result<()> {
        let mut config = self.config.lock();
        if config.sb.is_some() {
            return Err(Errno::EBUSY);
        }
        let sb = self
            .fs_type
            .mount(config.source.as_deref(), config.read_only, &config.data)?;
        config.sb = Some(Active::new(&sb));
        Ok(())
    }

    /// FSCONFIG_CMD_RECONFIGURE: EINVAL for what was not picked.
    pub fn reconfigure(&self) -> Result<()> {
        let mut config = self.config.lock();
        let sb = config
            .sb
            .as_ref()
            .map(|active| active.sb().clone())
            .filter(|_| self.picked)
            .ok_or(Errno::EINVAL)?;
        mounting::reconfigure(&sb, config.read_only, &config.data)?;
        config.data.clear();
        Ok(())
    }

    /// fsmount(2): EINVAL before the file system is made, EBUSY the second time.
    pub fn mount(&self, thread: &Thread, flags: MountFlags) -> Result<Arc<File>> {
        let mut config = self.config.lock();
        let sb = config
            .sb
            .as_ref()
            .map(|active| active.sb().clone())
            .filter(|_| !self.picked)
            .ok_or(Errno::EINVAL)?;
        if config.mounted {
            return Err(Errno::EBUSY);
        }
        config.mounted = true;
        let mount = Mount::of(&sb, config.source.as_deref().unwrap_or(b"none"), flags)?;
        let tree = MountNamespace::new(mount);
        DetachedTree::open(thread, tree)
    }
}

/// What a descriptor of a detached tree of mounts does: it keeps the tree.
pub struct DetachedTree {
    /// The namespace that the tree is in until it is attached.
    _tree: Arc<MountNamespace>,
}

impl FileOps for DetachedTree {
    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

impl DetachedTree {
    /// A descriptor (as of O_PATH) for the root of a tree.
    pub fn open(thread: &Thread, tree: Arc<MountNamespace>) -> Result<Arc<File>> {
        tree.detached.store(true, Ordering::Release);
        let path = tree.root().root_path();
        let inode = path.inode()?;
        let ops = Arc::new(Self { _tree: tree });
        Ok(File::new(path, inode, ops, OpenFlags::PATH, thread.cred()))
    }
}

/// MOUNT_ATTR_* as MS_* flags: EINVAL for unknown ones and contradictions.
pub fn mount_flags(attr: MountAttrFlags) -> Result<MountFlags> {
    /// `MOUNT_ATTR__ATIME`
    const ATIME: u64 = 0x70;
    if !(MountAttrFlags::all() - MountAttrFlags::IDMAP).contains(attr) {
        return Err(Errno::EINVAL);
    }
    let mut flags = MountFlags::empty();
    for (from, to) in [
        (MountAttrFlags::RDONLY, MountFlags::RDONLY),
        (MountAttrFlags::NOSUID, MountFlags::NOSUID),
        (MountAttrFlags::NODEV, MountFlags::NODEV),
        (MountAttrFlags::NOEXEC, MountFlags::NOEXEC),
        (MountAttrFlags::NODIRATIME, MountFlags::NODIRATIME),
        (MountAttrFlags::NOSYMFOLLOW, MountFlags::NOSYMFOLLOW),
    ] {
        flags.set(to, attr.contains(from));
    }
    match MountAttrFlags::from_bits_retain(attr.bits() & ATIME) {
        kind if kind.is_empty() => flags |= MountFlags::RELATIME,
        MountAttrFlags::NOATIME => flags |= MountFlags::NOATIME,
        MountAttrFlags::STRICTATIME => {}
        _ => return Err(Errno::EINVAL),
    }
    Ok(flags)
}

/// The flags of a mount after mount_setattr(2): EINVAL for unknown attributes, or access times set without clearing
/// the old choice.
pub fn changed_flags(old: MountFlags, set: u64, clear: u64) -> Result<MountFlags> {
    const ATIME: u64 = 0x70;
    let known = (MountAttrFlags::all() - MountAttrFlags::IDMAP).bits() | ATIME;
    if (set | clear) & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let changes_atime = clear & ATIME == ATIME;
    if (set & ATIME != 0 && !changes_atime) || (clear & ATIME != 0 && !changes_atime) {
        return Err(Errno::EINVAL);
    }
    let atime_flags = MountFlags::NOATIME | MountFlags::RELATIME;
    let wanted = mount_flags(MountAttrFlags::from_bits_retain(set))?;
    let cleared = mount_flags(MountAttrFlags::from_bits_retain(clear & !ATIME))? - atime_flags;
    let mut new = (old - cleared) | (wanted - atime_flags);
    if changes_atime {
        new = (new - atime_flags) | (wanted & atime_flags);
    }
    Ok(new)
}
