//! devtmpfs: device nodes as the drivers announce them.
//!
//! One instance for the whole system, whoever mounts it: a tmpfs whose nodes [`add_node`] makes and [`remove_node`]
//! removes. Programs (udev) may change what they like in it.

use core::sync::atomic::{AtomicBool, Ordering};
use keel_abi::args::FileType;

use super::tmpfs::{self, Options};
use super::{Dentry, FileSystemType, Inode, Owner, SuperBlock};
use crate::prelude::*;

/// `devtmpfs` of mount(2).
pub struct Devtmpfs;

static SUPER: OnceLock<Arc<SuperBlock>> = OnceLock::new();
static MOUNTED: AtomicBool = AtomicBool::new(false);

impl FileSystemType for Devtmpfs {
    fn name(&self) -> &'static str {
        "devtmpfs"
    }

    fn mount(&self, _: Option<&[u8]>, _: bool, data: &[u8]) -> Result<Arc<SuperBlock>> {
        let options = Options::parse(data)?;
        let sb = superblock();
        if MOUNTED.swap(true, Ordering::AcqRel) {
            sb.ops.remount(false, data)?;
        } else if let Some(mode) = options.mode {
            sb.root()?
                .update_attr(|attr| attr.mode = (attr.mode & !0o7777) | mode);
        }
        Ok(sb.clone())
    }
}

fn superblock() -> &'static Arc<SuperBlock> {
    SUPER.call_once(|| {
        let options = Options {
            mode: Some(0o755),
            ..Options::default()
        };
        tmpfs::new(&Devtmpfs, Some(b"devtmpfs"), &options)
            .unwrap_or_else(|error| panic!("cannot make devtmpfs: {error:?}"))
    })
}

/// The cached dentry of the root, if it was ever mounted.
fn root_dentry() -> Option<Arc<Dentry>> {
    superblock().root_dentry()
}

/// Makes a device node. `name` may have directories (`input/event0`), which are made as needed; `mode` has the type
/// and the permissions. A name that is taken already stays as it is.
pub fn add_node(name: &str, mode: u32, rdev: u64) {
    if let Err(error) = add(name, mode, rdev) {
        log::warn!("devtmpfs: cannot make {name}: {error:?}");
    }
}

const ROOT: Owner = Owner { uid: 0, gid: 0 };

fn add(name: &str, mode: u32, rdev: u64) -> Result<()> {
    at_parent(name, true, |dir, dentry, last| {
        if dir.ops.lookup(dir, last).is_ok() {
            return Ok(());
        }
        let inode = dir.ops.create(dir, last, mode, rdev, &ROOT)?;
        publish(dentry, last, &inode);
        Ok(())
    })
}

/// Makes a directory, for what is mounted on it. One that is there already stays.
pub fn add_directory(name: &str) {
    let made = at_parent(name, true, |dir, dentry, last| {
        if dir.ops.lookup(dir, last).is_ok() {
            return Ok(());
        }
        let inode = dir.ops.mkdir(dir, last, 0o755, &ROOT)?;
        publish(dentry, last, &inode);
        Ok(())
    });
    if let Err(error) = made {
        log::warn!("devtmpfs: cannot make {name}: {error:?}");
    }
}

/// Removes a device node.
pub fn remove_node(name: &str) {
    // Programs may have removed it before.
    let _ = at_parent(name, false, |dir, dentry, last| {
        let inode = dir.ops.lookup(dir, last)?;
        if !matches!(
            inode.file_type,
            FileType::CharDevice | FileType::BlockDevice
        ) {
            return Ok(());
        }
        dir.ops.unlink(dir, last, &inode)?;
        if let Some(child) = dentry.and_then(|parent| parent.cached_child(last)) {
            child.unlink();
        }
        Ok(())
    });
}

/// Tells the dentry cache of a new name: a negative dentry becomes positive.
fn publish(parent: Option<&Arc<Dentry>>, name: &[u8], inode: &Arc<Inode>) {
    if let Some(child) = parent.and_then(|parent| parent.cached_child(name))
        && child.is_negative()
    {
        child.instantiate(inode.clone());
    }
}

/// Calls `act` with the directory of `name` (locked), its dentry if that is cached, and the last component.
fn at_parent(
    name: &str,
    make: bool,
    act: impl FnOnce(&Arc<Inode>, Option<&Arc<Dentry>>, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut dir = superblock().root()?;
    let mut dentry = root_dentry();
    let (path, last) = name.rsplit_once('/').unwrap_or(("", name));
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let part = part.as_bytes();
        let next = {
            let _exclusive = dir.rwsem.write();
            match dir.ops.lookup(&dir, part) {
                Err(Errno::ENOENT) if make => {
                    let made = dir.ops.mkdir(&dir, part, 0o755, &ROOT)?;
                    publish(dentry.as_ref(), part, &made);
                    made
                }
                found => found?,
            }
        };
        dentry = dentry.and_then(|parent| parent.cached_child(part));
        dir = next;
    }
    let _exclusive = dir.rwsem.write();
    act(&dir, dentry.as_ref(), last.as_bytes())
}
