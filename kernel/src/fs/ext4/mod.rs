//! ext4: the VFS's side of keel-ext4, which knows the format and the journal.
//!
//! * [`Ext4`]: the file-system types `ext4`, `ext3` and `ext2` of mount(2); [`Volume`]: one mounted file system, with
//!   its inodes in memory by number.
//! * `inode`: names, attributes, extended attributes; `data`: page cache to disk and back; `file`: open files.
//! * `platform`: locks, clock, log and device for keel-ext4; `options`: mount options.
//!
//! An inode in memory holds one use of keel-ext4's inode. When its last reference goes, its dirty pages are written
//! (or dropped, if it has been deleted), and only then is its number free to be read in again: who looks it up
//! meanwhile waits.

mod data;
mod file;
mod inode;
mod options;
mod platform;

use core::sync::atomic::{AtomicBool, Ordering};
use hashbrown::HashMap;
use keel_abi::args::DirFd;
use keel_ext4::{Flavour, MountOptions};

use super::namei::{LookupFlags, Walker};
use super::{FileSystemType, FsStats, Inode, SuperBlock, SuperOps, page_cache};
use crate::block::{self, BlockDevice};
use crate::prelude::*;
use crate::time::NSEC_PER_SEC;
use inode::Ext4Inode;
use options::Options;
use platform::{Device, Platform};

type Fs = keel_ext4::Fs<Platform>;
type DiskInode = keel_ext4::Inode<Platform>;

const EXT4_MAGIC: u64 = 0xef53;

/// The type by one of its names.
pub struct Ext4(&'static str);

/// `ext4` of mount(2).
pub static EXT4: Ext4 = Ext4("ext4");
/// `ext3` of mount(2): the same code.
pub static EXT3: Ext4 = Ext4("ext3");
/// `ext2` of mount(2): the same code.
pub static EXT2: Ext4 = Ext4("ext2");

/// Mounted volumes, by device: mounting a device again shows the same files.
static VOLUMES: Mutex<Vec<(u64, Arc<SuperBlock>)>> = Mutex::new(Vec::new());

impl FileSystemType for Ext4 {
    fn name(&self) -> &'static str {
        self.0
    }

    fn nodev(&self) -> bool {
        false
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
        match self.name() {
            "ext4" => mount_device(&EXT4, device, source, read_only, data),
            "ext3" => mount_device(&EXT3, device, source, read_only, data),
            _ => mount_device(&EXT2, device, source, read_only, data),
        }
    }
}

/// Mounts a device: EBUSY if it is mounted the other way (read-only or not) or in use otherwise.
pub fn mount_device(
    fs_type: &'static Ext4,
    device: Arc<BlockDevice>,
    source: &[u8],
    read_only: bool,
    data: &[u8],
) -> Result<Arc<SuperBlock>> {
    let options = Options::default().parse(data, read_only)?;
    let mut volumes = VOLUMES.lock();
    let dev = device.dev.encode();
    if let Some((_, sb)) = volumes.iter().find(|(number, _)| *number == dev) {
        return if sb.is_read_only() == read_only {
            Ok(sb.clone())
        } else {
            Err(Errno::EBUSY)
        };
    }
    device.claim(Arc::as_ptr(&device) as usize)?;
    let sb = match start(fs_type, &device, source, options) {
        Ok(sb) => sb,
        Err(error) => {
            device.release();
            return Err(error);
        }
    };
    device.users.fetch_add(1, Ordering::AcqRel);
    volumes.push((dev, sb.clone()));
    Ok(sb)
}

fn start(
    fs_type: &'static Ext4,
    device: &Arc<BlockDevice>,
    source: &[u8],
    options: Options,
) -> Result<Arc<SuperBlock>> {
    // What programs have written to the device node belongs on the disk first.
    super::block_file::settle(device);
    let mount = MountOptions {
        flavour: match fs_type.name() {
            "ext3" => Flavour::Ext3,
            "ext2" => Flavour::Ext2,
            _ => Flavour::Ext4,
        },
        ..options.mount
    };
    let platform = Platform {
        device: device.name.clone(),
        reserved_uid: options.reserved_uid,
    };
    let read_only = mount.read_only;
    let fs = Fs::mount(Arc::new(Device(device.clone())), platform, mount.clone())?;
    let volume = Arc::new(Volume {
        fs,
        device: device.clone(),
        group_of_dir: AtomicBool::new(options.group_of_dir),
        options: SpinLock::new(options),
        sb: OnceLock::new(),
        inodes: SpinLock::new(HashMap::new()),
        changed: WaitQueue::new(),
        stopped: AtomicBool::new(false),
        stop: WaitQueue::new(),
    });
    let ops = Box::new(VolumeOps(volume.clone()));
    let sb = SuperBlock::new(device.dev.encode(), fs_type, Some(source), read_only, ops);
    volume.sb.call_once(|| Arc::downgrade(&sb));
    sb.set_block_size(volume.fs.statfs().block_size);
    sb.set_root(volume.inode(keel_ext4::ROOT_INO)?);
    let mode = if read_only { "r/o" } else { "r/w" };
    log::info!(
        "EXT4-fs ({}): mounted filesystem {mode} with ordered data mode",
        device.name
    );
    start_committer(&volume);
    Ok(sb)
}

/// Commits the running transaction every few seconds, as long as the volume is mounted.
fn start_committer(volume: &Arc<Volume>) {
    let volume = volume.clone();
    let name = format!("jbd2/{}-8", volume.device.name);
    crate::sched::spawn_kthread(&name, move || {
        loop {
            let interval = volume.options.lock().mount.commit_interval;
            let deadline = keel_hal::time::now() + u64::from(interval) * NSEC_PER_SEC;
            let stopped = volume
                .stop
                .wait(SleepMode::Uninterruptible, Some(deadline), || {
                    volume.stopped.load(Ordering::Acquire).then_some(())
                });
            if stopped.is_ok() {
                return;
            }
            if let Err(error) = volume.fs.commit() {
                log::error!(
                    "EXT4-fs ({}): commit failed ({error:?})",
                    volume.device.name
                );
            }
            volume.check_state();
        }
    });
}

/// An inode number's state in memory.
enum Entry {
    /// Somebody reads it in.
    Loading,
    /// It is there; when it cannot be upgraded, somebody lets go of it.
    Live(Weak<Inode>),
}

/// A mounted file system.
pub(super) struct Volume {
    fs: Arc<Fs>,
    device: Arc<BlockDevice>,
    options: SpinLock<Options>,
    /// `grpid` of the options.
    group_of_dir: AtomicBool,
    sb: OnceLock<Weak<SuperBlock>>,
    inodes: SpinLock<HashMap<u32, Entry>>,
    /// Woken when an entry of `inodes` changes or goes.
    changed: WaitQueue,
    stopped: AtomicBool,
    stop: WaitQueue,
}

impl Volume {
    fn superblock(&self) -> Result<Arc<SuperBlock>> {
        self.sb.get().and_then(Weak::upgrade).ok_or(Errno::EIO)
    }

    /// The inode with this number.
    fn inode(self: &Arc<Self>, ino: u32) -> Result<Arc<Inode>> {
        loop {
            let found = {
                let mut inodes = self.inodes.lock();
                match inodes.get(&ino) {
                    Some(Entry::Live(weak)) => weak.upgrade(),
                    Some(Entry::Loading) => None,
                    None => {
                        inodes.insert(ino, Entry::Loading);
                        break;
                    }
                }
            };
            match found {
                Some(inode) => return Ok(inode),
                None => self.wait_for(ino),
            }
        }
        let loaded = self.fs.iget(ino).and_then(|disk| self.make(disk));
        let mut inodes = self.inodes.lock();
        match &loaded {
            Ok(inode) => inodes.insert(ino, Entry::Live(Arc::downgrade(inode))),
            Err(_) => inodes.remove(&ino),
        };
        drop(inodes);
        self.changed.wake_all();
        loaded
    }

    /// Waits until `ino` is either usable or gone.
    fn wait_for(&self, ino: u32) {
        let waited = self.changed.wait(SleepMode::Uninterruptible, None, || {
            let kept = match self.inodes.lock().get(&ino) {
                Some(Entry::Loading) => return None,
                Some(Entry::Live(weak)) => weak.upgrade(),
                None => return Some(None),
            };
            // Handed out of the wait, so that a last reference is not dropped in the middle of it.
            kept.map(Some)
        });
        drop(waited);
    }

    /// Takes over an inode that was just created on disk.
    fn adopt(self: &Arc<Self>, disk: Arc<DiskInode>) -> Result<Arc<Inode>> {
        let ino = disk.ino();
        let inode = self.make(disk)?;
        self.inodes
            .lock()
            .insert(ino, Entry::Live(Arc::downgrade(&inode)));
        Ok(inode)
    }

    fn make(self: &Arc<Self>, disk: Arc<DiskInode>) -> Result<Arc<Inode>> {
        let sb = self.superblock()?;
        let attr = inode::attr_of(&disk.attr());
        let ino = u64::from(disk.ino());
        Ok(Inode::new(
            ino,
            &sb,
            attr,
            Box::new(Ext4Inode {
                volume: self.clone(),
                disk,
            }),
        ))
    }

    /// The last reference of an inode in memory is gone.
    fn forget(&self, inode: &Inode, disk: &Arc<DiskInode>) {
        page_cache::evict(inode, disk.attr().nlink == 0);
        self.inodes.lock().remove(&disk.ino());
        self.changed.wake_all();
        if let Err(error) = self.fs.iput(disk.clone()) {
            log::error!(
                "EXT4-fs ({}): inode {}: {error:?}",
                self.device.name,
                disk.ino()
            );
        }
    }

    /// After damage or a failing device: `errors=panic`, and what /proc/mounts says of a file system that takes no
    /// more writes.
    fn check_state(&self) {
        if self.fs.is_read_only()
            && let Ok(sb) = self.superblock()
            && !sb.is_read_only()
        {
            sb.set_read_only(true);
        }
        assert!(
            !self.fs.panic_requested(),
            "EXT4-fs ({}): panic forced after error",
            self.device.name
        );
    }
}

/// The superblock's operations.
struct VolumeOps(Arc<Volume>);

impl SuperOps for VolumeOps {
    fn statfs(&self) -> Result<FsStats> {
        let stats = self.0.fs.statfs();
        Ok(FsStats {
            magic: EXT4_MAGIC,
            block_size: u64::from(stats.block_size),
            blocks: stats.blocks,
            free: stats.blocks_free,
            available: stats.blocks_available,
            inodes: stats.files,
            free_inodes: stats.files_free,
            fsid: stats.fsid,
            name_max: u64::from(stats.name_max),
        })
    }

    fn max_file_size(&self) -> u64 {
        self.0.fs.max_file_size()
    }

    fn sync(&self) -> Result<()> {
        let written = page_cache::sync_super(&self.0.superblock()?);
        self.0.fs.sync()?;
        written
    }

    fn remount(&self, read_only: bool, data: &[u8]) -> Result<()> {
        let options = self.0.options.lock().clone().parse(data, read_only)?;
        if read_only && !self.0.fs.is_read_only() {
            page_cache::sync_super(&self.0.superblock()?)?;
        }
        self.0.fs.remount(read_only)?;
        self.0.fs.set_options(&options.mount);
        self.0
            .group_of_dir
            .store(options.group_of_dir, Ordering::Relaxed);
        *self.0.options.lock() = options;
        let mode = if read_only { "ro" } else { "r/w" };
        log::info!("EXT4-fs ({}): re-mounted {mode}", self.0.device.name);
        Ok(())
    }

    fn unmount(&self) {
        let volume = &self.0;
        let dev = volume.device.dev.encode();
        let mut volumes = VOLUMES.lock();
        volumes.retain(|(number, _)| *number != dev);
        volume.stopped.store(true, Ordering::Release);
        volume.stop.wake_all();
        let synced = volume
            .superblock()
            .and_then(|sb| page_cache::sync_super(&sb));
        if let Err(error) = synced.and(volume.fs.unmount()) {
            log::error!("EXT4-fs ({}): unmounting: {error:?}", volume.device.name);
        } else {
            log::info!("EXT4-fs ({}): unmounting filesystem", volume.device.name);
        }
        volume.fs.shrink(usize::MAX);
        volume.device.release();
        if let Ok(sb) = volume.superblock() {
            // The root refers to the file system, and that to it.
            sb.drop_root();
        }
        volume.device.put();
    }

    fn decode_handle(&self, kind: i32, bytes: &[u8]) -> Result<Arc<Inode>> {
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let (Some(ino), Some(generation)) = (word(0), word(4)) else {
            return Err(Errno::ESTALE);
        };
        if kind != super::handle::INO32_GEN || ino == 0 {
            return Err(Errno::ESTALE);
        }
        let inode = self.0.inode(ino).map_err(|_| Errno::ESTALE)?;
        let same = inode::own(&inode)?.disk.attr().generation == generation;
        if same { Ok(inode) } else { Err(Errno::ESTALE) }
    }

    fn show_options(&self, out: &mut String) {
        self.0.options.lock().show(out);
    }

    fn shrink(&self) -> usize {
        const BLOCKS: usize = 1024;
        self.0.fs.shrink(BLOCKS)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}
