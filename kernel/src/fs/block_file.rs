//! Block special files: reading, writing and mapping a disk through the page cache of its device, and its ioctls.
//!
//! All device nodes with one number share one inode of a pseudo file system (`bdev`), whose pages are the device's.
//! File systems read their metadata past it; so it is written back and emptied when the last user closes it.

use core::sync::atomic::Ordering;
use keel_abi::args::UserPtr;
use keel_abi::flags::{IoctlCmd, OpenFlags};

use super::page_cache::{self, Backing, Fill, Page};
use super::superblock::anonymous_dev;
use super::{
    Attr, File, FileOps, FileSystemType, FsStats, Inode, InodeOps, IoDst, IoSrc, SuperBlock,
    SuperOps, Time,
};
use crate::block::{self, Batch, BlockDevice, Builder, Done, Op, SECTOR_SHIFT, Segment};
use crate::mm::VmObject;
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::Cap;

const BDEVFS_MAGIC: u64 = 0x6264_6576;

/// The pseudo file system of devices' inodes.
struct Bdev;

impl FileSystemType for Bdev {
    fn name(&self) -> &'static str {
        "bdev"
    }

    fn mount(&self, _: Option<&[u8]>, _: bool, _: &[u8]) -> Result<Arc<SuperBlock>> {
        Err(Errno::EINVAL)
    }
}

struct BdevSuper;

impl SuperOps for BdevSuper {
    fn statfs(&self) -> Result<FsStats> {
        Ok(FsStats {
            magic: BDEVFS_MAGIC,
            block_size: PAGE_SIZE as u64,
            name_max: 255,
            ..FsStats::default()
        })
    }

    fn sync(&self) -> Result<()> {
        page_cache::sync_super(superblock())?;
        block::disks().iter().try_for_each(BlockDevice::flush)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

fn superblock() -> &'static Arc<SuperBlock> {
    static SUPER: OnceLock<Arc<SuperBlock>> = OnceLock::new();
    SUPER.call_once(|| SuperBlock::new(anonymous_dev(), &Bdev, None, false, Box::new(BdevSuper)))
}

/// The inode of a device.
pub fn device_inode(device: &Arc<BlockDevice>) -> Arc<Inode> {
    let now = Time::now();
    let attr = Attr {
        mode: 0o060_600,
        nlink: 1,
        size: device.bytes(),
        rdev: device.dev.encode(),
        atime: now,
        mtime: now,
        ctime: now,
        ..Attr::default()
    };
    // The device holds its inode.
    let ops = DeviceInode {
        device: Arc::downgrade(device),
    };
    Inode::new(device.dev.encode(), superblock(), attr, Box::new(ops))
}

struct DeviceInode {
    device: Weak<BlockDevice>,
}

impl InodeOps for DeviceInode {
    fn backing(&self) -> Option<&dyn Backing> {
        Some(self)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// Bytes of a page that lie on the device.
fn inside(device: &BlockDevice, page: &Page) -> usize {
    device
        .bytes()
        .saturating_sub(page.offset())
        .min(PAGE_SIZE as u64) as usize
}

impl Backing for DeviceInode {
    fn read_pages(&self, _inode: &Inode, fills: Vec<Fill>) {
        let Some(device) = self.device.upgrade() else {
            return;
        };
        let finish = |fills: Vec<Fill>| -> Done {
            Box::new(move |result| {
                for fill in fills {
                    fill.finish(result.is_ok());
                }
            })
        };
        let mut requests = Builder::new(&device, Op::Read, &finish);
        for fill in fills {
            let frame = fill.page().frame().clone();
            let len = inside(&device, fill.page());
            frame.fill(len, PAGE_SIZE - len, 0);
            if len == 0 {
                fill.done();
                continue;
            }
            let sector = fill.page().offset() >> SECTOR_SHIFT;
            requests.add(
                sector,
                Segment {
                    frame,
                    off: 0,
                    len: len as u32,
                },
                fill,
            );
        }
        requests.submit();
        device.kick();
    }

    fn write_pages(&self, _inode: &Inode, pages: &[Arc<Page>]) -> Result<()> {
        let device = self.device.upgrade().ok_or(Errno::EIO)?;
        let batch = Batch::new();
        let finish = |_: Vec<()>| batch.ticket();
        let mut requests = Builder::new(&device, Op::Write, &finish);
        for page in pages {
            let len = inside(&device, page) as u32;
            if len > 0 {
                let segment = Segment {
                    frame: page.frame().clone(),
                    off: 0,
                    len,
                };
                requests.add(page.offset() >> SECTOR_SHIFT, segment, ());
            }
        }
        requests.submit();
        device.kick();
        batch.wait()
    }
}

/// An open block device.
struct BlockFile {
    device: Arc<BlockDevice>,
    exclusive: bool,
}

/// Opens a device: EBUSY with O_EXCL if somebody has it for himself.
pub fn open(device: Arc<BlockDevice>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
    let exclusive = flags.contains(OpenFlags::EXCL);
    device.users.fetch_add(1, Ordering::AcqRel);
    let file = Arc::new(BlockFile { device, exclusive });
    if exclusive && let Err(error) = file.device.claim(Arc::as_ptr(&file) as usize) {
        // Nothing was claimed that `release` would give back.
        close(&file.device);
        return Err(error);
    }
    Ok(file)
}

/// One user less; the last one leaves nothing in memory.
fn close(device: &Arc<BlockDevice>) {
    if device.users.load(Ordering::Acquire) == 1 {
        settle(device);
    }
    device.put();
}

/// Writes back and empties a device's page cache, because somebody goes on without it.
pub fn settle(device: &Arc<BlockDevice>) {
    let inode = device.inode();
    if let Err(error) = page_cache::write_back(inode) {
        log::error!("{}: lost page write ({error:?})", device.name);
    }
    page_cache::invalidate(inode, 0, u64::MAX);
}

/// A file system has written a range of its device: what the device nodes have cached of it is old. As on Linux, what
/// they show of a mounted file system's metadata is what is on the disk.
pub fn overwritten(device: &Arc<BlockDevice>, offset: u64, len: u64) {
    let inode = device.inode();
    if inode.pages.page_count() > 0 && len > 0 {
        let last = (offset + len).div_ceil(PAGE_SIZE as u64);
        page_cache::invalidate(inode, offset >> PAGE_SHIFT, last);
    }
}

impl FileOps for BlockFile {
    fn read(&self, file: &File, dst: &mut IoDst, pos: u64) -> Result<usize> {
        let inode = self.device.inode();
        if file.flags().contains(OpenFlags::DIRECT) {
            let end = pos.saturating_add(dst.remaining() as u64);
            let (first, last) = (pos >> PAGE_SHIFT, end.div_ceil(PAGE_SIZE as u64));
            page_cache::write_back_range(inode, first, last)?;
            page_cache::invalidate(inode, first, last);
        }
        page_cache::generic_read(inode, &file.readahead, dst, pos)
    }

    fn write(&self, file: &File, src: &mut IoSrc, pos: u64) -> Result<usize> {
        if self.device.is_read_only() {
            return Err(Errno::EPERM);
        }
        if src.remaining() == 0 {
            return Ok(0);
        }
        let room = self.device.bytes().saturating_sub(pos);
        if room == 0 {
            return Err(Errno::ENOSPC);
        }
        src.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        let n = {
            let inode = self.device.inode();
            let _writer = inode.rwsem.write();
            page_cache::generic_write(inode, src, pos)?
        };
        if file.flags().intersects(OpenFlags::DSYNC) {
            self.fsync(file, true)?;
        }
        Ok(n)
    }

    fn seek_end(&self, _file: &File) -> Result<u64> {
        Ok(self.device.bytes())
    }

    fn ioctl(&self, file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        ioctl(&self.device, file, IoctlCmd(cmd), arg)
    }

    fn mmap(&self, _file: &Arc<File>) -> Result<Arc<dyn VmObject>> {
        Ok(page_cache::mapping_of(self.device.inode()))
    }

    fn fsync(&self, file: &File, _datasync: bool) -> Result<()> {
        page_cache::fsync_pages(self.device.inode(), &file.error_seen)?;
        self.device.flush()
    }

    fn pollable(&self) -> bool {
        false
    }

    fn release(&self, _file: &File) {
        if self.exclusive {
            self.device.release();
        }
        close(&self.device);
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

fn put<T: zerocopy::IntoBytes + zerocopy::Immutable + zerocopy::FromBytes>(
    arg: u64,
    value: T,
) -> Result<usize>
where
    UserPtr<T>: UserAccess<T>,
{
    UserPtr::<T>::new(arg).write(&value)?;
    Ok(0)
}

/// Read-ahead of a device in sectors, as BLKRAGET tells it.
const READ_AHEAD_SECTORS: u64 = 1024;

/// The BLK* requests of linux/fs.h. What a disk does not know answers ENOTTY.
fn ioctl(device: &Arc<BlockDevice>, file: &File, cmd: IoctlCmd, arg: u64) -> Result<usize> {
    let limits = device.limits();
    let admin = || crate::process::current().cred().require(Cap::SYS_ADMIN);
    match cmd {
        IoctlCmd::BLKGETSIZE64 => put(arg, device.bytes()),
        IoctlCmd::BLKGETSIZE => put(arg, device.sectors()),
        IoctlCmd::BLKSSZGET => put(arg, limits.logical_block),
        IoctlCmd::BLKPBSZGET => put(arg, limits.physical_block),
        IoctlCmd::BLKBSZGET => put(arg, PAGE_SIZE as u32),
        IoctlCmd::BLKIOMIN => put(arg, limits.io_min.max(limits.physical_block)),
        IoctlCmd::BLKIOOPT => put(arg, limits.io_opt),
        IoctlCmd::BLKALIGNOFF => put(arg, 0_u32),
        IoctlCmd::BLKROTATIONAL => put(arg, 0_u16),
        IoctlCmd::BLKSECTGET => put(arg, limits.max_sectors.min(u64::from(u16::MAX)) as u16),
        IoctlCmd::BLKRAGET | IoctlCmd::BLKFRAGET => put(arg, READ_AHEAD_SECTORS),
        IoctlCmd::BLKDISCARDZEROES => put(arg, 0_u32),
        IoctlCmd::BLKROGET => put(arg, u32::from(device.is_read_only())),
        IoctlCmd::BLKGETDISKSEQ => put(arg, device.disk.diskseq),
        IoctlCmd::BLKROSET => {
            admin()?;
            let value: u32 = UserPtr::<u32>::new(arg).read()?;
            device.set_read_only(value != 0);
            Ok(0)
        }
        IoctlCmd::BLKBSZSET => {
            admin()?;
            let value: u32 = UserPtr::<u32>::new(arg).read()?;
            let fits = value.is_power_of_two()
                && (limits.logical_block..=PAGE_SIZE as u32).contains(&value);
            if fits { Ok(0) } else { Err(Errno::EINVAL) }
        }
        IoctlCmd::BLKFLSBUF => {
            admin()?;
            page_cache::write_back(device.inode())?;
            page_cache::invalidate(device.inode(), 0, u64::MAX);
            Ok(0)
        }
        IoctlCmd::BLKRRPART => {
            admin()?;
            if device.number != 0 {
                return Err(Errno::EINVAL);
            }
            settle(device);
            block::scan_partitions(device)?;
            Ok(0)
        }
        IoctlCmd::BLKDISCARD => erase(device, file, arg, BlockDevice::discard),
        IoctlCmd::BLKZEROOUT => erase(device, file, arg, zero_out),
        IoctlCmd::HDIO_GETGEO => geometry(device, arg),
        IoctlCmd::BLKRASET | IoctlCmd::BLKFRASET => {
            admin()?;
            // Read-ahead finds its own measure; only what it is can be set.
            if arg == READ_AHEAD_SECTORS {
                Ok(0)
            } else {
                Err(Errno::EINVAL)
            }
        }
        _ => device.ioctl(file, cmd, arg),
    }
}

/// Zeroes sectors: by the device, or else by writing.
fn zero_out(device: &Arc<BlockDevice>, sector: u64, sectors: u64) -> Result<()> {
    match device.write_zeroes(sector, sectors) {
        Err(Errno::EOPNOTSUPP) => {}
        result => return result,
    }
    let zeroes = vec![0; 64 * PAGE_SIZE];
    let mut at = sector << SECTOR_SHIFT;
    let end = (sector + sectors) << SECTOR_SHIFT;
    while at < end {
        let n = (end - at).min(zeroes.len() as u64) as usize;
        device.write_bytes(at, &zeroes[..n])?;
        at += n as u64;
    }
    Ok(())
}

/// BLKDISCARD and BLKZEROOUT: `arg` is start and length in bytes.
fn erase(
    device: &Arc<BlockDevice>,
    file: &File,
    arg: u64,
    how: fn(&Arc<BlockDevice>, u64, u64) -> Result<()>,
) -> Result<usize> {
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    let start: u64 = UserPtr::<u64>::new(arg).read()?;
    let len: u64 = UserPtr::<u64>::new(arg.wrapping_add(8)).read()?;
    let unit = u64::from(device.limits().logical_block);
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    if !start.is_multiple_of(unit) || !len.is_multiple_of(unit) || end > device.bytes() {
        return Err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let inode = device.inode();
    let _writer = inode.rwsem.write();
    page_cache::punch(inode, start, end, || {
        how(device, start >> SECTOR_SHIFT, len >> SECTOR_SHIFT)
    })?;
    Ok(0)
}

/// HDIO_GETGEO: heads, sectors, cylinders, start. Made up as Linux makes it up for disks without any.
fn geometry(device: &BlockDevice, arg: u64) -> Result<usize> {
    const HEADS: u64 = 64;
    const SECTORS: u64 = 32;
    let cylinders = (device.sectors() / (HEADS * SECTORS)).min(u64::from(u16::MAX)) as u16;
    let mut raw = [0; 16];
    raw[0] = HEADS as u8;
    raw[1] = SECTORS as u8;
    raw[2..4].copy_from_slice(&cylinders.to_le_bytes());
    raw[8..].copy_from_slice(&device.start.to_le_bytes());
    UserPtr::<[u8; 16]>::new(arg).write(&raw)?;
    Ok(0)
}
