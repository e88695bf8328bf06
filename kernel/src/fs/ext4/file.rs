//! Open files and directories.

use keel_abi::args::{FileType, UserPtr};
use keel_abi::flags::{IoctlCmd, OpenFlags};
use keel_ext4::FiemapExtent;

use super::inode::own;
use super::{DiskInode, Volume};
use crate::fs::page_cache;
use crate::fs::{DirSink, File, FileOps, IoDst, IoSrc};
use crate::mm::VmObject;
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::Cap;

/// An open regular file.
pub(super) struct Ext4File {
    pub(super) volume: Arc<Volume>,
    pub(super) disk: Arc<DiskInode>,
}

/// What O_DIRECT must be a multiple of.
const DIRECT_ALIGN: u64 = 512;

/// With O_DIRECT, position and length must fit the device: EINVAL.
fn check_direct(file: &File, pos: u64, len: usize) -> Result<bool> {
    let direct = file.flags().contains(OpenFlags::DIRECT);
    if direct && !(pos | len as u64).is_multiple_of(DIRECT_ALIGN) {
        return Err(Errno::EINVAL);
    }
    Ok(direct)
}

fn pages_of(pos: u64, len: usize) -> (u64, u64) {
    (
        pos >> PAGE_SHIFT,
        (pos + len as u64).div_ceil(PAGE_SIZE as u64),
    )
}

impl FileOps for Ext4File {
    fn read(&self, file: &File, dst: &mut IoDst, pos: u64) -> Result<usize> {
        let direct = check_direct(file, pos, dst.remaining())?;
        let n = page_cache::generic_read(&file.inode, &file.readahead, dst, pos)?;
        if direct {
            // The cache carries the data; it is not left there.
            let (first, last) = pages_of(pos, n);
            page_cache::invalidate(&file.inode, first, last);
        }
        Ok(n)
    }

    fn write(&self, file: &File, src: &mut IoSrc, pos: u64) -> Result<usize> {
        let direct = check_direct(file, pos, src.remaining())?;
        let n = page_cache::generic_write(&file.inode, src, pos)?;
        if direct && n > 0 {
            let (first, last) = pages_of(pos, n);
            page_cache::write_back_range(&file.inode, first, last)?;
            page_cache::invalidate(&file.inode, first, last);
        }
        Ok(n)
    }

    fn mmap(&self, file: &Arc<File>) -> Result<Arc<dyn VmObject>> {
        Ok(page_cache::mapping_of(&file.inode))
    }

    fn fsync(&self, file: &File, datasync: bool) -> Result<()> {
        page_cache::fsync_pages(&file.inode, &file.error_seen)?;
        self.volume.fs.fsync(&self.disk, datasync)?;
        self.volume.check_state();
        Ok(())
    }

    fn pollable(&self) -> bool {
        false
    }

    fn ioctl(&self, file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        match IoctlCmd(cmd) {
            IoctlCmd::FS_IOC_FIEMAP => fiemap(&self.volume, file, arg),
            cmd => common_ioctl(&self.volume, &self.disk, cmd, arg),
        }
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// An open directory.
pub(super) struct Ext4Dir {
    pub(super) volume: Arc<Volume>,
    pub(super) disk: Arc<DiskInode>,
}

fn file_type(of: keel_ext4::FileType) -> FileType {
    match of {
        keel_ext4::FileType::Directory => FileType::Directory,
        keel_ext4::FileType::CharDevice => FileType::CharDevice,
        keel_ext4::FileType::BlockDevice => FileType::BlockDevice,
        keel_ext4::FileType::Fifo => FileType::Fifo,
        keel_ext4::FileType::Socket => FileType::Socket,
        keel_ext4::FileType::Symlink => FileType::Symlink,
        keel_ext4::FileType::Regular | keel_ext4::FileType::Unknown => FileType::Regular,
    }
}

impl FileOps for Ext4Dir {
    fn read(&self, _file: &File, _dst: &mut IoDst, _pos: u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn readdir(&self, _file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        *pos = self.volume.fs.readdir(&self.disk, *pos, &mut |entry| {
            sink.entry(
                entry.name,
                u64::from(entry.ino),
                file_type(entry.file_type),
                entry.next,
            )
        })?;
        Ok(())
    }

    fn fsync(&self, _file: &File, datasync: bool) -> Result<()> {
        self.volume.fs.fsync(&self.disk, datasync)
    }

    fn pollable(&self) -> bool {
        false
    }

    fn ioctl(&self, _file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        common_ioctl(&self.volume, &self.disk, IoctlCmd(cmd), arg)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// Requests that files and directories share.
fn common_ioctl(volume: &Volume, disk: &DiskInode, cmd: IoctlCmd, arg: u64) -> Result<usize> {
    let put = |value: u32| UserPtr::<u32>::new(arg).write(&value).map(|()| 0);
    match cmd {
        IoctlCmd::FS_IOC_GETVERSION => put(disk.attr().generation),
        IoctlCmd::FITRIM => trim(volume, arg),
        IoctlCmd::FS_IOC_GETFSLABEL => {
            let mut label = [0_u8; 256];
            for (to, from) in label.iter_mut().zip(volume.fs.label()) {
                *to = from;
            }
            UserPtr::<[u8; 256]>::new(arg).write(&label)?;
            Ok(0)
        }
        _ => Err(Errno::ENOTTY),
    }
}

/// FITRIM: start, length, least length in bytes; the length becomes what was discarded.
fn trim(volume: &Volume, arg: u64) -> Result<usize> {
    crate::process::current().cred().require(Cap::SYS_ADMIN)?;
    if volume.device.limits().max_discard == 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let range: [u64; 3] = UserPtr::new(arg).read()?;
    let done = volume.fs.trim(range[0], range[1], range[2])?;
    UserPtr::<u64>::new(arg.wrapping_add(8)).write(&done)?;
    Ok(0)
}

/// FS_IOC_FIEMAP (linux/fiemap.h).
fn fiemap(volume: &Volume, file: &File, arg: u64) -> Result<usize> {
    const FLAG_SYNC: u32 = 1;
    const HEADER: u64 = 32;
    const EXTENT: u64 = 56;
    const EXTENT_LAST: u32 = 1;
    let start: u64 = UserPtr::<u64>::new(arg).read()?;
    let len: u64 = UserPtr::<u64>::new(arg.wrapping_add(8)).read()?;
    let words: [u32; 4] = UserPtr::new(arg.wrapping_add(16)).read()?;
    let (flags, room) = (words[0], words[2]);
    if flags & !FLAG_SYNC != 0 {
        UserPtr::<u32>::new(arg.wrapping_add(16)).write(&(flags & !FLAG_SYNC))?;
        return Err(Errno::EBADR);
    }
    if len == 0 {
        return Err(Errno::EINVAL);
    }
    if flags & FLAG_SYNC != 0 {
        page_cache::write_back(&file.inode)?;
    }
    let mut found: Vec<FiemapExtent> = Vec::new();
    let mut count = 0_u32;
    // Collected first: user memory is not touched under the inode's lock.
    volume
        .fs
        .fiemap(&own(&file.inode)?.disk, start, len, &mut |extent| {
            if room > 0 && count >= room {
                return false;
            }
            if room > 0 && found.try_reserve(1).is_ok() {
                found.push(extent);
            }
            count += 1;
            extent.flags & EXTENT_LAST == 0
        })?;
    for (extent, at) in found.iter().zip(0_u64..) {
        let mut raw = [0_u64; 7];
        raw[..3].copy_from_slice(&[extent.logical, extent.physical, extent.length]);
        raw[5] = u64::from(extent.flags);
        UserPtr::<[u64; 7]>::new(arg.wrapping_add(HEADER + at * EXTENT)).write(&raw)?;
    }
    UserPtr::<u32>::new(arg.wrapping_add(20)).write(&count)?;
    Ok(0)
}
