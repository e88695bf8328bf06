//! Inodes: names, attributes, extended attributes, space.

use core::sync::atomic::Ordering;
use keel_abi::args::FileType;
use keel_abi::flags::{FallocateMode, OpenFlags};
use keel_abi::types::Dev;
use keel_ext4::{self as ext4, NewInode, RenameMode, Timespec, XattrMode, inode_flags};

use super::file::{Ext4Dir, Ext4File};
use super::{DiskInode, Volume};
use crate::fs::fileattr::{self, FileFlags};
use crate::fs::page_cache::{self, Backing};
use crate::fs::{
    ATTR_NOATIME, ATTR_SYNC, Attr, FileOps, Inode, InodeOps, Owner, RenameFlags, SetAttr, Time,
};
use crate::prelude::*;

/// An inode of a mounted volume.
pub(super) struct Ext4Inode {
    pub(super) volume: Arc<Volume>,
    pub(super) disk: Arc<DiskInode>,
}

/// STATX_ATTR_* of statx(2) and the inode flags they show.
const ATTRIBUTES: [(u32, u64); 5] = [
    (inode_flags::IMMUTABLE, 0x10),
    (inode_flags::APPEND, 0x20),
    (inode_flags::NODUMP, 0x40),
    (fileattr::NOATIME, ATTR_NOATIME),
    (fileattr::SYNC, ATTR_SYNC),
];

fn time(t: Timespec) -> Time {
    Time {
        sec: t.sec,
        nsec: t.nsec,
    }
}

fn timespec(t: Time) -> Timespec {
    Timespec {
        sec: t.sec,
        nsec: t.nsec,
    }
}

/// Attributes as the VFS has them.
pub(super) fn attr_of(attr: &ext4::Attr) -> Attr {
    let set = ATTRIBUTES.iter().filter(|(flag, _)| attr.flags & flag != 0);
    Attr {
        mode: u32::from(attr.mode),
        uid: attr.uid,
        gid: attr.gid,
        nlink: attr.nlink,
        size: attr.size,
        blocks: attr.blocks,
        rdev: Dev::new(attr.rdev.0, attr.rdev.1).encode(),
        atime: time(attr.atime),
        mtime: time(attr.mtime),
        ctime: time(attr.ctime),
        btime: Some(time(attr.crtime)).filter(|t| *t != Time::default()),
        attributes: set.fold(0, |all, (_, bit)| all | bit),
    }
}

/// The ext4 part of an inode of the same volume.
pub(super) fn own(inode: &Inode) -> Result<&Ext4Inode> {
    inode.ops.as_any().downcast_ref().ok_or(Errno::EXDEV)
}

impl Ext4Inode {
    /// Brings the VFS's copy of the attributes up to date.
    pub(super) fn refresh(&self, inode: &Inode) {
        let fresh = attr_of(&self.disk.attr());
        inode.update_attr(|attr| *attr = fresh);
    }

    fn resize(&self, inode: &Arc<Inode>, size: u64) -> Result<()> {
        let mut edge = None;
        page_cache::truncate(inode, size, || {
            edge = self.volume.fs.truncate(&self.disk, size)?;
            Ok(())
        })?;
        self.refresh(inode);
        // What is behind the end in its block must not come back when the file grows.
        edge.map_or(Ok(()), |range| {
            page_cache::zero_range(inode, range.from, range.to)
        })
    }

    fn set_others(&self, set: &SetAttr) -> Result<()> {
        let SetAttr {
            mode,
            uid,
            gid,
            atime,
            mtime,
            ctime,
            ..
        } = *set;
        let only_atime =
            mode.is_none() && uid.is_none() && gid.is_none() && mtime.is_none() && ctime.is_none();
        if only_atime {
            if let Some(atime) = atime {
                self.volume
                    .fs
                    .touch(&self.disk, Some(timespec(atime)), None);
            }
            return Ok(());
        }
        let set = ext4::SetAttr {
            mode: mode.map(|mode| (mode & 0o7777) as u16),
            uid,
            gid,
            atime: atime.map(timespec),
            mtime: mtime.map(timespec),
            ctime: ctime.map(timespec),
        };
        self.volume.fs.set_attr(&self.disk, &set)
    }

    /// What a new inode in this directory looks like.
    fn new_inode<'a>(&self, mode: u32, rdev: u64, owner: &Owner) -> NewInode<'a> {
        let dev = Dev::decode(rdev as u32);
        let of_dir = self.volume.group_of_dir.load(Ordering::Relaxed);
        NewInode {
            mode: mode as u16,
            uid: owner.uid,
            gid: if of_dir {
                self.disk.attr().gid
            } else {
                owner.gid
            },
            rdev: (dev.major, dev.minor),
            xattrs: &[],
        }
    }

    /// A name was made in `dir` for a new inode.
    fn made(&self, dir: &Inode, disk: Result<Arc<DiskInode>>) -> Result<Arc<Inode>> {
        let inode = self.volume.adopt(disk?)?;
        self.refresh(dir);
        Ok(inode)
    }
}

impl InodeOps for Ext4Inode {
    fn getattr(&self, inode: &Arc<Inode>) -> Result<Attr> {
        let mut attr = attr_of(&self.disk.attr());
        // A truncation in progress shows here first.
        attr.size = inode.size();
        Ok(attr)
    }

    fn setattr(&self, inode: &Arc<Inode>, set: &SetAttr) -> Result<()> {
        let mut others = *set;
        if let Some(size) = set.size {
            self.resize(inode, size)?;
            // Truncation has set both already.
            others.mtime = None;
            others.ctime = None;
        }
        self.set_others(&others)?;
        self.refresh(inode);
        Ok(())
    }

    fn lookup(&self, _dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        let (ino, _) = self.volume.fs.lookup(&self.disk, name)?;
        match self.volume.inode(ino) {
            // A name of a free inode is damage, not a stale handle.
            Err(Errno::ESTALE) => Err(Errno::EUCLEAN),
            result => result,
        }
    }

    fn create(
        &self,
        dir: &Arc<Inode>,
        name: &[u8],
        mode: u32,
        rdev: u64,
        owner: &Owner,
    ) -> Result<Arc<Inode>> {
        self.made(
            dir,
            self.volume
                .fs
                .create(&self.disk, name, &self.new_inode(mode, rdev, owner)),
        )
    }

    fn mkdir(&self, dir: &Arc<Inode>, name: &[u8], mode: u32, owner: &Owner) -> Result<Arc<Inode>> {
        let mode = (mode & 0o7777) | u32::from(FileType::Directory.mode().0);
        self.made(
            dir,
            self.volume
                .fs
                .create(&self.disk, name, &self.new_inode(mode, 0, owner)),
        )
    }

    fn symlink(
        &self,
        dir: &Arc<Inode>,
        name: &[u8],
        target: &[u8],
        owner: &Owner,
    ) -> Result<Arc<Inode>> {
        let new = self.new_inode(0o777, 0, owner);
        self.made(dir, self.volume.fs.symlink(&self.disk, name, target, &new))
    }

    fn link(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let other = own(inode)?;
        self.volume.fs.link(&self.disk, name, &other.disk)?;
        self.refresh(dir);
        other.refresh(inode);
        Ok(())
    }

    fn unlink(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let other = own(inode)?;
        self.volume.fs.unlink(&self.disk, name, &other.disk)?;
        self.refresh(dir);
        other.refresh(inode);
        Ok(())
    }

    fn rmdir(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let other = own(inode)?;
        self.volume.fs.rmdir(&self.disk, name, &other.disk)?;
        self.refresh(dir);
        other.refresh(inode);
        Ok(())
    }

    fn rename(
        &self,
        old_dir: &Arc<Inode>,
        old_name: &[u8],
        moved: &Arc<Inode>,
        new_dir: &Arc<Inode>,
        new_name: &[u8],
        target: Option<&Arc<Inode>>,
        flags: RenameFlags,
    ) -> Result<()> {
        let mode = if flags.contains(RenameFlags::EXCHANGE) {
            RenameMode::Exchange
        } else if flags.contains(RenameFlags::WHITEOUT) {
            RenameMode::Whiteout
        } else if flags.contains(RenameFlags::NOREPLACE) {
            RenameMode::NoReplace
        } else {
            RenameMode::Replace
        };
        let (to, what) = (own(new_dir)?, own(moved)?);
        let over = target.map(|inode| own(inode)).transpose()?;
        let over_disk = over.map(|inode| &*inode.disk);
        self.volume.fs.rename(
            &self.disk, old_name, &what.disk, &to.disk, new_name, over_disk, mode,
        )?;
        self.refresh(old_dir);
        to.refresh(new_dir);
        what.refresh(moved);
        if let (Some(over), Some(inode)) = (over, target) {
            over.refresh(inode);
        }
        Ok(())
    }

    fn tmpfile(&self, _dir: &Arc<Inode>, mode: u32, owner: &Owner) -> Result<Arc<Inode>> {
        let disk = self
            .volume
            .fs
            .tmpfile(&self.disk, &self.new_inode(mode, 0, owner))?;
        self.volume.adopt(disk)
    }

    fn readlink(&self, _inode: &Arc<Inode>) -> Result<Vec<u8>> {
        self.volume.fs.readlink(&self.disk)
    }

    fn open(&self, inode: &Arc<Inode>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        let (volume, disk) = (self.volume.clone(), self.disk.clone());
        match inode.file_type {
            FileType::Directory => Ok(Arc::new(Ext4Dir { volume, disk })),
            FileType::Regular => Ok(Arc::new(Ext4File { volume, disk })),
            _ => Err(Errno::EINVAL),
        }
    }

    fn getxattr(&self, _inode: &Arc<Inode>, name: &[u8]) -> Result<Vec<u8>> {
        self.volume.fs.getxattr(&self.disk, name)
    }

    fn setxattr(
        &self,
        inode: &Arc<Inode>,
        name: &[u8],
        value: &[u8],
        create: bool,
        replace: bool,
    ) -> Result<()> {
        let mode = match (create, replace) {
            (true, _) => XattrMode::Create,
            (_, true) => XattrMode::Replace,
            _ => XattrMode::Set,
        };
        self.volume.fs.setxattr(&self.disk, name, value, mode)?;
        self.refresh(inode);
        Ok(())
    }

    fn listxattr(&self, _inode: &Arc<Inode>) -> Result<Vec<Vec<u8>>> {
        let names = self.volume.fs.listxattr(&self.disk)?;
        Ok(names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect())
    }

    fn removexattr(&self, inode: &Arc<Inode>, name: &[u8]) -> Result<()> {
        self.volume.fs.removexattr(&self.disk, name)?;
        self.refresh(inode);
        Ok(())
    }

    fn fallocate(&self, inode: &Arc<Inode>, mode: FallocateMode, off: u64, len: u64) -> Result<()> {
        let keep_size = mode.contains(FallocateMode::KEEP_SIZE);
        let how = match mode - FallocateMode::KEEP_SIZE {
            m if m.is_empty() => ext4::FallocateMode::Allocate { keep_size },
            FallocateMode::PUNCH_HOLE if keep_size => ext4::FallocateMode::PunchHole,
            FallocateMode::ZERO_RANGE => ext4::FallocateMode::ZeroRange { keep_size },
            FallocateMode::COLLAPSE_RANGE if !keep_size => ext4::FallocateMode::Collapse,
            FallocateMode::INSERT_RANGE if !keep_size => ext4::FallocateMode::Insert,
            _ => return Err(Errno::EOPNOTSUPP),
        };
        let change = || self.volume.fs.fallocate(&self.disk, how, off, len);
        let end = off.checked_add(len).ok_or(Errno::EFBIG)?;
        match how {
            ext4::FallocateMode::Allocate { .. } => change()?,
            ext4::FallocateMode::PunchHole | ext4::FallocateMode::ZeroRange { .. } => {
                page_cache::punch(inode, off, end, change)?;
            }
            ext4::FallocateMode::Collapse | ext4::FallocateMode::Insert => {
                page_cache::punch(inode, off, u64::MAX, change)?;
            }
        }
        self.refresh(inode);
        Ok(())
    }

    fn seek_hole_data(&self, _inode: &Arc<Inode>, off: u64, data: bool) -> Result<u64> {
        let fs = &self.volume.fs;
        if data {
            fs.seek_data(&self.disk, off)
        } else {
            fs.seek_hole(&self.disk, off)
        }
    }

    fn fileattr(&self, _inode: &Arc<Inode>) -> Result<FileFlags> {
        Ok(FileFlags {
            flags: self.disk.attr().flags,
            project: self.disk.attr().project,
        })
    }

    fn set_fileattr(&self, inode: &Arc<Inode>, flags: FileFlags) -> Result<()> {
        if flags.project != self.disk.attr().project {
            self.volume.fs.set_project(&self.disk, flags.project)?;
        }
        if flags.flags & inode_flags::PROJINHERIT != 0 && !inode.is_dir() {
            return Err(Errno::EOPNOTSUPP);
        }
        self.volume.fs.set_flags(&self.disk, flags.flags)?;
        self.refresh(inode);
        Ok(())
    }

    fn encode_handle(&self, _inode: &Arc<Inode>) -> Option<(i32, Vec<u8>)> {
        let mut bytes = self.disk.ino().to_ne_bytes().to_vec();
        bytes.extend_from_slice(&self.disk.attr().generation.to_ne_bytes());
        Some((crate::fs::handle::INO32_GEN, bytes))
    }

    fn backing(&self) -> Option<&dyn Backing> {
        Some(self)
    }

    fn evict(&self, inode: &Inode) {
        self.volume.forget(inode, &self.disk);
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}
