//! File handles, inode flags, quotas and what is cached of a file.

use keel_abi::prelude::*;
use keel_abi::types::{Cachestat, CachestatRange, FileAttr, FileHandle};

use super::Ctx;
use super::fs::{lookup_flags, place_at};
use super::system::read_versioned;
use crate::fs::namei::LookupFlags;
use crate::fs::open::open_place;
use crate::fs::{SuperBlock, fileattr, handle as handles, superblock};
use crate::mm::user::{UserAccess, read_bytes, write_bytes};
use crate::prelude::*;
use crate::process::Cap;

/// `AT_HANDLE_FID`: the handle is only to be compared.
const HANDLE_FID: u32 = 0x200;
/// `AT_HANDLE_MNT_ID_UNIQUE`: the mount's number is the 64-bit one.
const HANDLE_MNT_ID_UNIQUE: u32 = 0x1;

pub fn name_to_handle_at(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    handle: UserPtr<FileHandle>,
    mount_id: UserPtr<i32>,
    flags: AtFlags,
) -> Result<()> {
    let bits = flags.bits();
    let allowed = AtFlags::SYMLINK_FOLLOW | AtFlags::EMPTY_PATH;
    let plain = AtFlags::from_bits_retain(bits & !(HANDLE_FID | HANDLE_MNT_ID_UNIQUE));
    let lookup = lookup_flags(plain, allowed, false)?;
    let place = place_at(cx, dirfd, pathname, lookup)?;
    let inode = place.inode()?;
    let (kind, bytes) = handles::encode(&inode, bits & HANDLE_FID != 0)?;
    let given = handle.read()?;
    if given.handle_bytes as usize > handles::MAX_BYTES {
        return Err(Errno::EINVAL);
    }
    let fits = given.handle_bytes as usize >= bytes.len();
    if bits & HANDLE_MNT_ID_UNIQUE != 0 {
        UserPtr::<u64>::new(mount_id.addr()).write(&place.mount.unique_id())?;
    } else {
        mount_id.write(&(place.mount.id as i32))?;
    }
    handle.write(&FileHandle {
        handle_bytes: bytes.len() as u32,
        handle_type: if fits { kind } else { 0 },
    })?;
    if !fits {
        return Err(Errno::EOVERFLOW);
    }
    write_bytes(handle.addr() + size_of::<FileHandle>() as u64, &bytes)
}

pub fn open_by_handle_at(
    cx: &mut Ctx,
    mount_fd: DirFd,
    handle: UserPtr<FileHandle>,
    flags: OpenFlags,
) -> Result<Fd> {
    cx.thread.cred().require(Cap::DAC_READ_SEARCH)?;
    let mount = match mount_fd.fd() {
        Some(fd) => cx.thread.files().get_any(fd)?.path.mount.clone(),
        None => cx.thread.fs().cwd().mount,
    };
    let head = handle.read()?;
    let len = head.handle_bytes as usize;
    if len == 0 || len > handles::MAX_BYTES {
        return Err(Errno::EINVAL);
    }
    let bytes = read_bytes(handle.addr() + size_of::<FileHandle>() as u64, len)?;
    let place = handles::decode(&mount, head.handle_type, &bytes)?;
    let flags = flags & (OpenFlags::all() | OpenFlags::ACCMODE) | OpenFlags::LARGEFILE;
    if flags.contains(OpenFlags::CREAT) {
        return Err(Errno::EINVAL);
    }
    let file = open_place(&place, flags, &cx.thread.cred(), false)?;
    cx.thread
        .files()
        .install(file, flags.contains(OpenFlags::CLOEXEC))
}

/// The first version of `struct file_attr`.
const FILE_ATTR_SIZE_VER0: usize = 24;

fn attr_lookup(flags: AtFlags, size: usize) -> Result<LookupFlags> {
    let lookup = lookup_flags(flags, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH, true)?;
    if size > PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    if size < FILE_ATTR_SIZE_VER0 {
        return Err(Errno::EINVAL);
    }
    Ok(lookup)
}

pub fn file_getattr(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    ufattr: UserPtr<FileAttr>,
    size: usize,
    at_flags: AtFlags,
) -> Result<()> {
    let lookup = attr_lookup(at_flags, size)?;
    let inode = place_at(cx, dirfd, pathname, lookup)?.inode()?;
    ufattr.write(&fileattr::get_at(&inode)?)?;
    let known = size_of::<FileAttr>();
    write_bytes(
        ufattr.addr() + known as u64,
        &vec![0; size.saturating_sub(known)],
    )
}

pub fn file_setattr(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    ufattr: UserPtr<FileAttr>,
    size: usize,
    at_flags: AtFlags,
) -> Result<()> {
    let lookup = attr_lookup(at_flags, size)?;
    let new = read_versioned(ufattr, size)?;
    let place = place_at(cx, dirfd, pathname, lookup)?;
    let inode = place.inode()?;
    fileattr::set_at(&place, &inode, &new, &cx.thread.cred())
}

// ---- quotas: the answers of a Linux whose volumes have none ----

const MAX_QUOTA_TYPES: u8 = 3;

/// What a command answers where no quota is on.
fn without_quota(cx: &Ctx, sb: &SuperBlock, cmd: QuotaCmd, id: u32) -> Result<()> {
    let (_, kind) = cmd.parts();
    let command = QuotaCmd(cmd.0 >> 8);
    if kind >= MAX_QUOTA_TYPES {
        return Err(Errno::EINVAL);
    }
    if !sb.fs_type.name().starts_with("ext") {
        return Err(Errno::ENOSYS);
    }
    let cred = cx.thread.cred();
    let own = match kind {
        0 => cred.euid == id,
        1 => cred.in_group(id),
        _ => false,
    };
    let free = matches!(
        command,
        QuotaCmd::Q_SYNC | QuotaCmd::Q_GETFMT | QuotaCmd::Q_GETINFO
    ) || (command == QuotaCmd::Q_GETQUOTA && own);
    if !free {
        cred.require(Cap::SYS_ADMIN)?;
    }
    match command {
        QuotaCmd::Q_SYNC | QuotaCmd::Q_QUOTAOFF => Ok(()),
        QuotaCmd::Q_QUOTAON => Err(Errno::EINVAL),
        QuotaCmd::Q_GETFMT
        | QuotaCmd::Q_GETINFO
        | QuotaCmd::Q_SETINFO
        | QuotaCmd::Q_GETQUOTA
        | QuotaCmd::Q_SETQUOTA
        | QuotaCmd::Q_GETNEXTQUOTA => Err(Errno::ESRCH),
        _ => Err(Errno::EINVAL),
    }
}

pub fn quotactl(
    cx: &mut Ctx,
    cmd: QuotaCmd,
    special: UserStr,
    id: u32,
    _addr: UserPtr<u8>,
) -> Result<()> {
    if cmd.parts().1 >= MAX_QUOTA_TYPES {
        return Err(Errno::EINVAL);
    }
    if special.is_null() {
        return if QuotaCmd(cmd.0 >> 8) == QuotaCmd::Q_SYNC {
            Ok(())
        } else {
            Err(Errno::ENODEV)
        };
    }
    let place = place_at(cx, DirFd::CWD, special, LookupFlags::FOLLOW)?;
    let device = crate::block::of_inode(&place.inode()?)?;
    let dev = device.dev.encode();
    let sb = superblock::all().into_iter().find(|sb| sb.dev == dev);
    without_quota(cx, &*sb.ok_or(Errno::ENODEV)?, cmd, id)
}

pub fn quotactl_fd(cx: &mut Ctx, fd: Fd, cmd: QuotaCmd, id: u32, _addr: UserPtr<u8>) -> Result<()> {
    let file = cx.thread.files().get_any(fd)?;
    if cmd.parts().1 >= MAX_QUOTA_TYPES {
        return Err(Errno::EINVAL);
    }
    without_quota(cx, &file.inode.sb, cmd, id)
}

// ---- what is cached ----

pub fn cachestat(
    cx: &mut Ctx,
    fd: Fd,
    cstat_range: UserPtr<CachestatRange>,
    cstat: UserPtr<Cachestat>,
    flags: u32,
) -> Result<()> {
    let file = cx.thread.files().get(fd)?;
    let range = cstat_range.read()?;
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let end = match range.len {
        0 => u64::MAX,
        len => range.off.saturating_add(len),
    };
    let (first, last) = (range.off >> PAGE_SHIFT, end.div_ceil(PAGE_SIZE as u64));
    let (cached, dirty) = match crate::fs::tmpfs::resident_pages(&file.inode, first, last) {
        // Pages that live in memory only have nothing to be older than: all are dirty.
        Some(count) => (count, count),
        None => file.inode.pages.count(first, last),
    };
    cstat.write(&Cachestat {
        nr_cache: cached,
        nr_dirty: dirty,
        ..Cachestat::default()
    })
}
