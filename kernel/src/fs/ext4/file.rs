//! Open files and directories.

use keel_abi::args::{FileType, UserPtr};
use keel_abi::flags::{IoctlCmd, OpenFlags};
use keel_abi::types::Fsxattr;
use keel_ext4::{FiemapExtent, inode_flags};

use super::inode::own;
use super::{DiskInode, Volume};
use crate::fs::page_cache;
use crate::fs::{DirSink, File, FileOps, IoDst, IoSrc, permission};
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
            cmd => common_ioctl(&self.volume, &self.disk, file, cmd, arg),
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

    fn ioctl(&self, file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        common_ioctl(&self.volume, &self.disk, file, IoctlCmd(cmd), arg)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// Requests that files and directories share.
fn common_ioctl(
    volume: &Volume,
    disk: &DiskInode,
    file: &Arc<File>,
    cmd: IoctlCmd,
    arg: u64,
) -> Result<usize> {
    let put = |value: u32| UserPtr::<u32>::new(arg).write(&value).map(|()| 0);
    match cmd {
        IoctlCmd::FS_IOC_GETFLAGS => put(disk.attr().flags),
        IoctlCmd::FS_IOC_GETVERSION => put(disk.attr().generation),
        IoctlCmd::FS_IOC_SETFLAGS => {
            set_flags(volume, disk, file, UserPtr::<u32>::new(arg).read()?)
        }
        IoctlCmd::FS_IOC_FSGETXATTR => get_fsxattr(disk, arg),
        IoctlCmd::FS_IOC_FSSETXATTR => set_fsxattr(volume, disk, file, arg),
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

fn set_flags(volume: &Volume, disk: &DiskInode, file: &File, flags: u32) -> Result<usize> {
    may_set_flags(file)?;
    let _exclusive = file.inode.rwsem.write();
    change_flags(volume, disk, file, flags)
}

/// Whether the caller may change flags at all.
fn may_set_flags(file: &File) -> Result<()> {
    permission::check_owner(&file.inode, &crate::process::current().cred())?;
    if file.path.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    Ok(())
}

/// The caller holds `rwsem` exclusively.
fn change_flags(volume: &Volume, disk: &DiskInode, file: &File, flags: u32) -> Result<usize> {
    use keel_ext4::inode_flags::{APPEND, IMMUTABLE};
    if (flags ^ disk.attr().flags) & (APPEND | IMMUTABLE) != 0 {
        let cred = crate::process::current().cred();
        cred.require(Cap::LINUX_IMMUTABLE)?;
    }
    volume.fs.set_flags(disk, flags)?;
    own(&file.inode)?.refresh(&file.inode);
    Ok(0)
}

/// Inode flags and the FS_XFLAG_* of linux/fs.h that show them.
const XFLAGS: [(u32, u32); 6] = [
    (inode_flags::IMMUTABLE, 0x8),
    (inode_flags::APPEND, 0x10),
    (inode_flags::SYNC, 0x20),
    (inode_flags::NOATIME, 0x40),
    (inode_flags::NODUMP, 0x80),
    (inode_flags::PROJINHERIT, 0x200),
];

/// FS_IOC_FSGETXATTR.
fn get_fsxattr(disk: &DiskInode, arg: u64) -> Result<usize> {
    let attr = disk.attr();
    let shown = XFLAGS.iter().filter(|(flag, _)| attr.flags & flag != 0);
    let answer = Fsxattr {
        fsx_xflags: shown.fold(0, |all, (_, bit)| all | bit),
        fsx_projid: attr.project,
        ..Fsxattr::default()
    };
    UserPtr::<Fsxattr>::new(arg).write(&answer)?;
    Ok(0)
}

/// FS_IOC_FSSETXATTR: flags and project id. EOPNOTSUPP for flags that ext4 has not, or not for files.
fn set_fsxattr(volume: &Volume, disk: &DiskInode, file: &File, arg: u64) -> Result<usize> {
    let wanted: Fsxattr = UserPtr::<Fsxattr>::new(arg).read()?;
    may_set_flags(file)?;
    let known = XFLAGS.iter().fold(0, |all, (_, bit)| all | bit);
    let chosen = XFLAGS
        .iter()
        .filter(|(_, bit)| wanted.fsx_xflags & bit != 0);
    let flags = chosen.fold(0, |all, (flag, _)| all | flag);
    let is_dir = file.inode.file_type == FileType::Directory;
    if wanted.fsx_xflags & !known != 0 || (flags & inode_flags::PROJINHERIT != 0 && !is_dir) {
        return Err(Errno::EOPNOTSUPP);
    }
    let _exclusive = file.inode.rwsem.write();
    volume.fs.set_project(disk, wanted.fsx_projid)?;
    let others = disk.attr().flags & !XFLAGS.iter().fold(0, |all, (flag, _)| all | flag);
    change_flags(volume, disk, file, flags | others)
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
