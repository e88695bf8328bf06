//! /sys: the tree of kernel objects of `keel-sysfs` as a file system of this kernel (sysfs(5)).
//!
//! There is one tree ([`registry`]) however often it is mounted. `populate` enters what is there at boot; drivers that find
//! something later add it with [`registry`]. The tree's lock is a sleeping one, held while the tree is asked or
//! changed; attributes are read and written without it.

mod inode;
mod populate;
mod sources;

use core::sync::atomic::{AtomicBool, Ordering};
use keel_sysfs::{Id, Registry, Uevent, UeventSink};

use super::superblock::{SuperBlock, anonymous_dev};
use super::{Dentry, FileSystemType, FsStats, SuperOps};
use crate::block::BlockDevice;
use crate::prelude::*;
use inode::SysInode;

pub use populate::pci_driver;

const SYSFS_MAGIC: u64 = 0x6265_6572;

/// Uevents are numbered whether somebody listens or not; there are no listeners before there is netlink.
struct Nobody;

impl UeventSink for Nobody {
    fn send(&self, event: &Uevent) {
        log::debug!("uevent {}: {}", event.seqnum, event.action.name());
    }
}

/// What is there at boot has been entered.
static POPULATED: AtomicBool = AtomicBool::new(false);
static REGISTRY: OnceLock<RwLock<Registry>> = OnceLock::new();

/// The tree.
pub fn registry() -> &'static RwLock<Registry> {
    REGISTRY.call_once(|| RwLock::new(Registry::new(Arc::new(Nobody))))
}

/// `sysfs` of mount(2).
pub struct Sysfs;

static SUPER: OnceLock<Arc<SuperBlock>> = OnceLock::new();

impl FileSystemType for Sysfs {
    fn name(&self) -> &'static str {
        "sysfs"
    }

    /// Objects come and go; what is not there is never remembered.
    fn revalidate(&self, dentry: &Arc<Dentry>) -> bool {
        let Some(inode) = dentry.inode() else {
            return false;
        };
        let node = inode.ops.as_any().downcast_ref::<SysInode>();
        node.is_some_and(|node| registry().read().valid(node.id()))
    }

    fn mount(&self, _: Option<&[u8]>, _: bool, _: &[u8]) -> Result<Arc<SuperBlock>> {
        Ok(SUPER.call_once(superblock).clone())
    }
}

fn superblock() -> Arc<SuperBlock> {
    let sb = SuperBlock::new(
        anonymous_dev(),
        &Sysfs,
        Some(b"sysfs"),
        false,
        Box::new(SysSuper),
    );
    match inode::make(&sb, Id::ROOT) {
        Ok(root) => sb.set_root(root),
        Err(error) => panic!("the root of sysfs is missing: {error:?}"),
    }
    sb
}

struct SysSuper;

impl SuperOps for SysSuper {
    fn statfs(&self) -> Result<FsStats> {
        Ok(FsStats {
            magic: SYSFS_MAGIC,
            block_size: PAGE_SIZE as u64,
            name_max: 255,
            ..FsStats::default()
        })
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// Makes the file system known and enters what the machine has.
pub fn init() {
    super::register_filesystem(&Sysfs);
    populate::run(&mut registry().write());
    POPULATED.store(true, Ordering::Release);
}

/// Changes the tree, once it has been made. What cannot be done is said in the log.
fn with_tree(what: &str, change: impl FnOnce(&mut Registry) -> Result<()>) {
    if !POPULATED.load(Ordering::Acquire) {
        return;
    }
    if let Err(error) = change(&mut registry().write()) {
        log::error!("sysfs: {what}: {error:?}");
    }
}

/// A disk has come.
pub fn disk_added(device: &Arc<BlockDevice>) {
    with_tree("adding a disk", |tree| populate::enter_disk(tree, device));
}

/// A disk goes.
pub fn disk_removed(device: &Arc<BlockDevice>) {
    with_tree("removing a disk", |tree| populate::leave_disk(tree, device));
}

/// A disk's partitions are others.
pub fn partitions_changed(device: &Arc<BlockDevice>) {
    with_tree("partitions", |tree| {
        match populate::enter_partitions(tree, device) {
            // A disk that is just being registered.
            Err(Errno::ENOENT) => Ok(()),
            result => result,
        }
    });
}

/// Attributes of a disk have come.
pub fn add_below(device: &Arc<BlockDevice>, attrs: keel_sysfs::Attrs) {
    with_tree("adding attributes", |tree| {
        populate::enter_attributes(tree, device, attrs)
    });
}

/// A directory of a disk's goes, if it is there.
pub fn remove_below(device: &Arc<BlockDevice>, name: &str) {
    with_tree(
        "removing attributes",
        |tree| match populate::leave_directory(tree, device, name) {
            Err(Errno::ENOENT) => Ok(()),
            result => result,
        },
    );
}
