//! Changing attributes: mode, owner, times, length (inode(7), chmod(2), chown(2), utimensat(2), truncate(2)).

use core::sync::atomic::Ordering;
use keel_abi::flags::FallocateMode;

use super::notify;
use super::permission::{self, MAY_WRITE};
use super::{Attr, File, Inode, Path, SetAttr, Time, acl};
use crate::prelude::*;
use crate::process::rlimit::Resource;
use crate::process::signal::{self, SigInfo, sig};
use crate::process::{Cap, Cred};

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const S_IXGRP: u32 = 0o0010;
const STATX_ATTR_IMMUTABLE: u64 = 0x10;
const STATX_ATTR_APPEND: u64 = 0x20;

/// EROFS, or EPERM for immutable and append-only files.
fn check_changeable(path: &Path, attr: &Attr) -> Result<()> {
    if path.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    let fixed = attr.attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND) != 0;
    if fixed { Err(Errno::EPERM) } else { Ok(()) }
}

fn in_group_or_capable(gid: u32, cred: &Cred) -> bool {
    cred.in_group(gid) || cred.has(Cap::FSETID)
}

/// chmod(2). EOPNOTSUPP for symbolic links.
pub fn chmod(path: &Path, inode: &Arc<Inode>, mode: u32, cred: &Cred) -> Result<()> {
    let attr = inode.attr();
    if path.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    if inode.is_symlink() {
        return Err(Errno::EOPNOTSUPP);
    }
    check_changeable(path, &attr)?;
    permission::check_owner(inode, cred)?;
    let mut mode = mode & 0o7777;
    if !in_group_or_capable(attr.gid, cred) {
        mode &= !S_ISGID;
    }
    {
        let _exclusive = inode.rwsem.write();
        let set = SetAttr {
            mode: Some(mode),
            ctime: Some(Time::now()),
            ..SetAttr::default()
        };
        inode.ops.setattr(inode, &set)?;
        acl::mode_changed(inode, mode)?;
    }
    notify::attributes(&path.dentry);
    Ok(())
}

/// chown(2); `None` leaves one as it is.
pub fn chown(
    path: &Path,
    inode: &Arc<Inode>,
    uid: Option<u32>,
    gid: Option<u32>,
    cred: &Cred,
) -> Result<()> {
    let attr = inode.attr();
    check_changeable(path, &attr)?;
    let owner = cred.fsuid == attr.uid;
    if uid.is_some_and(|uid| !(owner && uid == attr.uid)) {
        cred.require(Cap::CHOWN)?;
    }
    if gid.is_some_and(|gid| !(owner && (gid == attr.gid || cred.in_group(gid)))) {
        cred.require(Cap::CHOWN)?;
    }
    let _exclusive = inode.rwsem.write();
    let mut set = SetAttr {
        uid,
        gid,
        ctime: Some(Time::now()),
        ..SetAttr::default()
    };
    if !inode.is_dir() {
        let mut mode = attr.mode & !S_ISUID;
        if attr.mode & S_IXGRP != 0 || !in_group_or_capable(attr.gid, cred) {
            mode &= !S_ISGID;
        }
        set.mode = (mode != attr.mode).then_some(mode & 0o7777);
        remove_capabilities(inode);
    }
    inode.ops.setattr(inode, &set)?;
    notify::attributes(&path.dentry);
    Ok(())
}

/// File capabilities go when contents or owner change.
fn remove_capabilities(inode: &Arc<Inode>) {
    if inode.is_regular() {
        // Most files have none, and many file systems cannot have any.
        let _ = inode.ops.removexattr(inode, b"security.capability");
    }
}

/// What writing takes from a file: set-id bits, unless the writer has CAP_FSETID (`file_remove_privs`). The inode's
/// `rwsem` is held.
pub fn remove_privileges(inode: &Arc<Inode>, cred: &Cred) -> Result<()> {
    let attr = inode.attr();
    if attr.mode & (S_ISUID | S_ISGID) == 0 {
        return Ok(());
    }
    match permission::mode_without_setid(&attr, cred) {
        Some(mode) => inode.ops.setattr(
            inode,
            &SetAttr {
                mode: Some(mode),
                ..SetAttr::default()
            },
        ),
        None => Ok(()),
    }
}

/// A time of utimensat(2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NewTime {
    /// The present.
    Now,
    /// Left as it is.
    Omit,
    /// This one.
    At(Time),
}

/// utimensat(2) and its kin: access and modification time.
pub fn set_times(
    path: &Path,
    inode: &Arc<Inode>,
    atime: NewTime,
    mtime: NewTime,
    cred: &Cred,
) -> Result<()> {
    let attr = inode.attr();
    if path.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    let both_now = atime == NewTime::Now && mtime == NewTime::Now;
    if both_now {
        // Whoever may write may touch, append-only files included.
        if attr.attributes & STATX_ATTR_IMMUTABLE != 0 {
            return Err(Errno::EPERM);
        }
        if permission::check_owner(inode, cred).is_err() {
            permission::check(inode, cred, MAY_WRITE)?;
        }
    } else {
        check_changeable(path, &attr)?;
        permission::check_owner(inode, cred)?;
    }
    let now = Time::now();
    let value = |time| match time {
        NewTime::Now => Some(now),
        NewTime::Omit => None,
        NewTime::At(time) => Some(time),
    };
    let _exclusive = inode.rwsem.write();
    let set = SetAttr {
        atime: value(atime),
        mtime: value(mtime),
        ctime: Some(now),
        ..SetAttr::default()
    };
    inode.ops.setattr(inode, &set)?;
    let given = |time| time != NewTime::Omit;
    notify::times_set(&path.dentry, given(atime), given(mtime));
    Ok(())
}

/// EFBIG, with SIGXFSZ for RLIMIT_FSIZE, for a length that is too much for a file.
fn check_length(inode: &Inode, size: u64) -> Result<()> {
    if size > inode.sb.max_bytes {
        return Err(Errno::EFBIG);
    }
    let Some(thread) = crate::process::current_opt() else {
        return Ok(());
    };
    if size > inode.size() && size > thread.process.rlimits.soft(Resource::Fsize) {
        signal::send_thread(&thread, SigInfo::kernel(sig::XFSZ));
        return Err(Errno::EFBIG);
    }
    Ok(())
}

/// truncate(2) by path: EISDIR, EINVAL, EACCES, EROFS, ETXTBSY, EFBIG.
pub fn truncate_path(path: &Path, size: u64, cred: &Cred) -> Result<()> {
    let inode = path.inode()?;
    if inode.is_dir() {
        return Err(Errno::EISDIR);
    }
    if !inode.is_regular() {
        return Err(Errno::EINVAL);
    }
    permission::check_path(path, &inode, cred, MAY_WRITE)?;
    if inode.write_count.load(Ordering::Acquire) < 0 {
        return Err(Errno::ETXTBSY);
    }
    super::locks::break_leases(&inode, true, false)?;
    truncate(path, &inode, size, cred)
}

/// Sets the length of a file that may be written: EPERM for append-only files, EFBIG.
pub fn truncate(path: &Path, inode: &Arc<Inode>, size: u64, cred: &Cred) -> Result<()> {
    if inode.attr().attributes & (STATX_ATTR_APPEND | STATX_ATTR_IMMUTABLE) != 0 {
        return Err(Errno::EPERM);
    }
    check_length(inode, size)?;
    super::open::truncate_inode(path, inode, size, cred)
}

/// fallocate(2) of an open file.
pub fn fallocate(file: &File, mode: FallocateMode, off: u64, len: u64) -> Result<()> {
    let inode = &file.inode;
    check_allocate_mode(mode)?;
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    let attributes = inode.attr().attributes;
    let plain = FallocateMode::KEEP_SIZE.contains(mode);
    if attributes & STATX_ATTR_IMMUTABLE != 0 || (attributes & STATX_ATTR_APPEND != 0 && !plain) {
        return Err(Errno::EPERM);
    }
    match inode.file_type {
        keel_abi::args::FileType::Regular => {}
        keel_abi::args::FileType::BlockDevice => return Err(Errno::EOPNOTSUPP),
        keel_abi::args::FileType::Fifo => return Err(Errno::ESPIPE),
        keel_abi::args::FileType::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::ENODEV),
    }
    let end = off
        .checked_add(len)
        .filter(|end| *end <= i64::MAX as u64)
        .ok_or(Errno::EFBIG)?;
    let _exclusive = inode.rwsem.write();
    if !mode.intersects(FallocateMode::KEEP_SIZE) {
        check_length(inode, end)?;
    }
    remove_privileges(inode, &file.cred)?;
    inode.ops.fallocate(inode, mode, off, len)?;
    notify::modified(&file.path.dentry);
    Ok(())
}

/// Which modes go together: EOPNOTSUPP, EINVAL.
fn check_allocate_mode(mode: FallocateMode) -> Result<()> {
    let known = FallocateMode::all() - FallocateMode::NO_HIDE_STALE;
    if !known.contains(mode) {
        return Err(Errno::EOPNOTSUPP);
    }
    let keep = mode.contains(FallocateMode::KEEP_SIZE);
    match mode - FallocateMode::KEEP_SIZE {
        m if m.is_empty() => Ok(()),
        FallocateMode::ZERO_RANGE | FallocateMode::UNSHARE_RANGE => Ok(()),
        FallocateMode::PUNCH_HOLE if keep => Ok(()),
        FallocateMode::PUNCH_HOLE => Err(Errno::EOPNOTSUPP),
        FallocateMode::COLLAPSE_RANGE | FallocateMode::INSERT_RANGE if keep => Err(Errno::EINVAL),
        FallocateMode::COLLAPSE_RANGE | FallocateMode::INSERT_RANGE => Ok(()),
        FallocateMode::WRITE_ZEROES if !keep => Ok(()),
        m if m.contains(FallocateMode::PUNCH_HOLE | FallocateMode::ZERO_RANGE) => {
            Err(Errno::EOPNOTSUPP)
        }
        _ => Err(Errno::EINVAL),
    }
}
