//! vfat: the VFS's side of keel-fat, which knows the format.
//!
//! * [`Vfat`]: the file-system type `vfat` of mount(2); [`Volume`]: one mounted file system, with its inodes in memory.
//! * `inode`: names, attributes and contents; `options`: mount options.
//!
//! One mutex guards the volume: file contents are moved without it. A file that is deleted keeps its clusters until its
//! last user is gone; table and directories are written by fsync, sync and unmounting, and every few seconds.

mod inode;
mod options;

use core::sync::atomic::{AtomicBool, Ordering};
use hashbrown::HashMap;
use keel_abi::args::{DirFd, FileType, UserPtr};
use keel_abi::flags::IoctlCmd;
use keel_fat::{Device, NodeId, Volume as Disk};

use super::namei::{LookupFlags, Walker};
use super::{Attr, Dentry, FileSystemType, FsStats, Inode, SuperBlock, SuperOps, Time, page_cache};
use crate::block::{self, BlockDevice};
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::time::NSEC_PER_SEC;
use inode::FatInode;
use options::Options;

const MSDOS_MAGIC: u64 = 0x4d44;
/// Longest name in bytes: 255 UTF-16 units, up to six bytes each as Linux counts them.
const NAME_MAX: u64 = 1530;
/// How long changes of table and directories stay in memory only.
const COMMIT_NS: u64 = 5 * NSEC_PER_SEC;

/// `vfat` of mount(2).
pub struct Vfat;

struct Disk512(Arc<BlockDevice>);

impl Device for Disk512 {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_bytes(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.0.write_bytes(offset, buf)
    }

    fn flush(&self) -> Result<()> {
        self.0.flush()
    }
}

/// A time as FAT has it.
fn stamp(time: Time) -> keel_fat::Time {
    keel_fat::Time {
        sec: time.sec,
        nsec: time.nsec,
    }
}

/// A time of FAT's.
fn time(time: keel_fat::Time) -> Time {
    Time {
        sec: time.sec,
        nsec: time.nsec,
    }
}

/// A mounted file system.
struct Volume {
    disk: Mutex<Disk>,
    device: Arc<BlockDevice>,
    options: SpinLock<Options>,
    sb: OnceLock<Weak<SuperBlock>>,
    inodes: SpinLock<HashMap<NodeId, Weak<Inode>>>,
    /// Woken when an inode has left `inodes`.
    changed: WaitQueue,
    stopped: AtomicBool,
    stop: WaitQueue,
}

impl Volume {
    fn options(&self) -> Options {
        self.options.lock().clone()
    }

    fn superblock(&self) -> Result<Arc<SuperBlock>> {
        self.sb.get().and_then(Weak::upgrade).ok_or(Errno::EIO)
    }

    fn attr_of(&self, node: NodeId) -> Result<Attr> {
        let options = self.options();
        let attr = self.disk.lock().attr(node)?;
        let kind = if attr.is_dir {
            FileType::Directory
        } else {
            FileType::Regular
        };
        let written = time(attr.written);
        Ok(Attr {
            mode: u32::from(kind.mode().0) | options.mode(attr.is_dir, attr.read_only, None),
            uid: options.uid,
            gid: options.gid,
            nlink: attr.links,
            size: attr.size,
            blocks: attr.taken / 512,
            atime: time(attr.accessed),
            mtime: written,
            ctime: written,
            btime: Some(time(attr.created)),
            ..Attr::default()
        })
    }

    /// The inode in memory of a node. One that is just being let go of, its pages on their way to the disk, is waited
    /// for.
    fn known(&self, node: NodeId) -> Option<Arc<Inode>> {
        loop {
            let found = self.inodes.lock().get(&node).map(Weak::upgrade);
            if let Some(inode) = found? {
                return Some(inode);
            }
            let _ = self.changed.wait(SleepMode::Uninterruptible, None, || {
                let inodes = self.inodes.lock();
                let going = inodes
                    .get(&node)
                    .is_some_and(|weak| weak.strong_count() == 0);
                (!going).then_some(())
            });
        }
    }

    /// The inode of a loaded node, which was looked up as `name`. The directory's `rwsem` is held, so that nobody
    /// deletes it meanwhile.
    fn inode(self: &Arc<Self>, node: NodeId, name: &[u8]) -> Result<Arc<Inode>> {
        if let Some(inode) = self.known(node) {
            return Ok(inode);
        }
        let mut attr = self.attr_of(node)?;
        if attr.mode & 0o170_000 == u32::from(FileType::Regular.mode().0) {
            let read_only = attr.mode & 0o222 == 0;
            let kind = attr.mode & 0o170_000;
            attr.mode = kind | self.options().mode(false, read_only, Some(name));
        }
        let ops = FatInode {
            volume: self.clone(),
            node,
        };
        let inode = Inode::new(node.0, &self.superblock()?, attr, Box::new(ops));
        let winner = {
            let mut inodes = self.inodes.lock();
            let there = inodes.get(&node).and_then(Weak::upgrade);
            if there.is_none() {
                inodes.insert(node, Arc::downgrade(&inode));
            }
            there
        };
        Ok(winner.unwrap_or(inode))
    }

    /// The last reference of an inode in memory is gone.
    fn forget(&self, inode: &Inode, node: NodeId) {
        let deleted = inode.attr().nlink == 0;
        page_cache::evict(inode, deleted);
        let mine = {
            let mut inodes = self.inodes.lock();
            let gone = inodes
                .get(&node)
                .is_some_and(|weak| weak.strong_count() == 0);
            if gone {
                inodes.remove(&node);
            }
            gone
        };
        self.changed.wake_all();
        // A node that is still loaded is found again; only what has been deleted must go now.
        if mine
            && deleted
            && let Err(error) = self.disk.lock().forget(node)
        {
            log::error!("FAT-fs ({}): freeing: {error:?}", self.device.name);
        }
    }
}

impl FileSystemType for Vfat {
    fn name(&self) -> &'static str {
        "vfat"
    }

    fn nodev(&self) -> bool {
        false
    }

    /// Names that differ in case only are the same: what is not there may have been made by another spelling, and what
    /// was there may have gone by it.
    fn revalidate(&self, dentry: &Arc<Dentry>) -> bool {
        let (Some(inode), Some(dir)) = (dentry.inode(), dentry.parent().and_then(|d| d.inode()))
        else {
            return false;
        };
        let (Ok(own), Ok(home)) = (inode::own(&inode), inode::own(&dir)) else {
            return false;
        };
        let disk = own.volume.disk.lock();
        disk.is_named(own.node, home.node, &dentry.name())
    }

    fn mount(
        &self,
        source: Option<&[u8]>,
        read_only: bool,
        data: &[u8],
    ) -> Result<Arc<SuperBlock>> {
        let source = source.ok_or(Errno::EINVAL)?;
        let thread = crate::process::current_opt().ok_or(Errno::EINVAL)?;
        let place =
            Walker::new(&thread, DirFd::CWD, source, LookupFlags::FOLLOW)?.lookup(source)?;
        if place.mount.is_nodev() {
            return Err(Errno::EACCES);
        }
        let device = block::of_inode(&place.inode()?)?;
        let cred = thread.cred();
        let options = Options::parse(data, cred.uid, cred.gid, thread.fs().umask())?;
        device.claim(Arc::as_ptr(&device) as usize)?;
        device.users.fetch_add(1, Ordering::AcqRel);
        let started = start(&device, source, read_only, options);
        if started.is_err() {
            device.release();
            device.put();
        }
        started
    }
}

fn start(
    device: &Arc<BlockDevice>,
    source: &[u8],
    read_only: bool,
    options: Options,
) -> Result<Arc<SuperBlock>> {
    super::block_file::settle(device);
    if !read_only && device.is_read_only() {
        return Err(Errno::EACCES);
    }
    let disk = Disk::mount(Arc::new(Disk512(device.clone())), read_only)?;
    if disk.was_dirty() {
        log::warn!(
            "FAT-fs ({}): Volume was not properly unmounted. Some data may be corrupt. Please run fsck.",
            device.name
        );
    }
    let cluster = disk.cluster_size();
    let volume = Arc::new(Volume {
        disk: Mutex::new(disk),
        device: device.clone(),
        options: SpinLock::new(options),
        sb: OnceLock::new(),
        inodes: SpinLock::new(HashMap::new()),
        changed: WaitQueue::new(),
        stopped: AtomicBool::new(false),
        stop: WaitQueue::new(),
    });
    let ops = Box::new(VolumeOps(volume.clone()));
    let sb = SuperBlock::new(device.dev.encode(), &Vfat, Some(source), read_only, ops);
    sb.set_block_size(cluster);
    volume.sb.call_once(|| Arc::downgrade(&sb));
    sb.set_root(volume.inode(Disk::ROOT, b"/")?);
    start_committer(&volume);
    Ok(sb)
}

/// Writes changes of table and directories every few seconds, as long as the volume is mounted.
fn start_committer(volume: &Arc<Volume>) {
    let volume = volume.clone();
    let name = format!("vfat/{}", volume.device.name);
    crate::sched::spawn_kthread(&name, move || {
        loop {
            let deadline = keel_hal::time::now() + COMMIT_NS;
            let stopped = volume
                .stop
                .wait(SleepMode::Uninterruptible, Some(deadline), || {
                    volume.stopped.load(Ordering::Acquire).then_some(())
                });
            if stopped.is_ok() {
                return;
            }
            if let Err(error) = volume.disk.lock().sync() {
                log::error!("FAT-fs ({}): {error:?}", volume.device.name);
            }
        }
    });
}

/// FAT_IOCTL_GET_VOLUME_ID; nothing else is known.
fn ioctl(volume: &Volume, cmd: u32, arg: u64) -> Result<usize> {
    const FAT_IOCTL_GET_VOLUME_ID: IoctlCmd = IoctlCmd(0x8004_7213);
    if IoctlCmd(cmd) != FAT_IOCTL_GET_VOLUME_ID {
        return Err(Errno::ENOTTY);
    }
    let id = volume.disk.lock().volume_id();
    UserPtr::<u32>::new(arg).write(&id)?;
    Ok(0)
}

/// The superblock's operations.
struct VolumeOps(Arc<Volume>);

impl SuperOps for VolumeOps {
    fn max_file_size(&self) -> u64 {
        Disk::MAX_SIZE
    }

    fn statfs(&self) -> Result<FsStats> {
        let stats = self.0.disk.lock().statfs()?;
        let free = u64::from(stats.free);
        Ok(FsStats {
            magic: MSDOS_MAGIC,
            block_size: u64::from(stats.cluster),
            blocks: u64::from(stats.clusters),
            free,
            available: free,
            fsid: self.0.device.dev.encode(),
            name_max: NAME_MAX,
            ..FsStats::default()
        })
    }

    fn sync(&self) -> Result<()> {
        let written = page_cache::sync_super(&self.0.superblock()?);
        self.0.disk.lock().sync()?;
        written
    }

    fn remount(&self, read_only: bool, data: &[u8]) -> Result<()> {
        let old = self.0.options();
        let new = Options::parse(data, old.uid, old.gid, old.fmask)?;
        if read_only {
            page_cache::sync_super(&self.0.superblock()?)?;
        }
        self.0.disk.lock().remount(read_only)?;
        if !data.is_empty() {
            *self.0.options.lock() = new;
        }
        Ok(())
    }

    fn unmount(&self) {
        let volume = &self.0;
        volume.stopped.store(true, Ordering::Release);
        volume.stop.wake_all();
        let sb = volume.superblock();
        if let Ok(sb) = &sb {
            if let Err(error) = page_cache::sync_super(sb) {
                log::error!("FAT-fs ({}): {error:?}", volume.device.name);
            }
            // The root refers to the file system, and that to it.
            sb.drop_root();
        }
        if let Err(error) = volume.disk.lock().unmount() {
            log::error!("FAT-fs ({}): unmounting: {error:?}", volume.device.name);
        }
        volume.device.release();
        volume.device.put();
    }

    fn show_options(&self, out: &mut String) {
        self.0.options.lock().show(out);
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}
