//! Extended attributes (xattr(7)).

use keel_abi::prelude::*;

use super::Ctx;
use super::fs::{lookup_flags, place_at};
use super::system::read_versioned;
use crate::fs::namei::LookupFlags;
use crate::fs::{Path, xattr};
use crate::mm::user::{UserStrAccess, read_bytes, write_bytes};
use crate::prelude::*;

/// An attribute's name: ERANGE if it is empty or too long.
fn name_arg(name: UserStr) -> Result<Vec<u8>> {
    let name = name.read_string(xattr::NAME_MAX, Errno::ERANGE)?;
    if name.is_empty() {
        Err(Errno::ERANGE)
    } else {
        Ok(name)
    }
}

fn by_path(cx: &Ctx, path: UserStr, follow: bool) -> Result<Path> {
    let flags = if follow {
        LookupFlags::FOLLOW
    } else {
        LookupFlags::empty()
    };
    place_at(cx, DirFd::CWD, path, flags)
}

fn by_fd(cx: &Ctx, fd: Fd) -> Result<Path> {
    Ok(cx.thread.files().get(fd)?.path.clone())
}

fn by_at(cx: &Ctx, dirfd: DirFd, path: UserStr, flags: AtFlags) -> Result<Path> {
    let allowed = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let lookup = lookup_flags(flags, allowed, true)?;
    place_at(cx, dirfd, path, lookup)
}

/// The value and flags of a call that sets: EINVAL, E2BIG.
struct NewValue {
    name: Vec<u8>,
    value: Vec<u8>,
    flags: XattrFlags,
}

impl NewValue {
    fn read(name: UserStr, value: u64, size: usize, flags: XattrFlags) -> Result<Self> {
        if !XattrFlags::all().contains(flags) {
            return Err(Errno::EINVAL);
        }
        let name = name_arg(name)?;
        if size > xattr::SIZE_MAX {
            return Err(Errno::E2BIG);
        }
        Ok(Self {
            name,
            value: read_bytes(value, size)?,
            flags,
        })
    }

    fn set(&self, cx: &Ctx, place: &Path) -> Result<()> {
        let create = self.flags.contains(XattrFlags::CREATE);
        let replace = self.flags.contains(XattrFlags::REPLACE);
        let cred = cx.thread.cred();
        xattr::set(
            place,
            &place.inode()?,
            &self.name,
            &self.value,
            create,
            replace,
            &cred,
        )
    }
}

/// Hands out a value or list: its length if `size` is 0, ERANGE if it does not fit.
fn give(bytes: &[u8], addr: u64, size: usize) -> Result<usize> {
    if size > 0 {
        if bytes.len() > size {
            return Err(Errno::ERANGE);
        }
        write_bytes(addr, bytes)?;
    }
    Ok(bytes.len())
}

fn get(cx: &Ctx, place: &Path, name: &[u8], addr: u64, size: usize) -> Result<usize> {
    give(
        &xattr::get(place, &place.inode()?, name, &cx.thread.cred())?,
        addr,
        size,
    )
}

fn list(cx: &Ctx, place: &Path, addr: u64, size: usize) -> Result<usize> {
    let names = xattr::list(&place.inode()?, &cx.thread.cred())?;
    if names.len() > xattr::LIST_MAX {
        return Err(Errno::E2BIG);
    }
    give(&names, addr, size)
}

fn remove(cx: &Ctx, place: &Path, name: &[u8]) -> Result<()> {
    xattr::remove(place, &place.inode()?, name, &cx.thread.cred())
}

pub fn setxattr(
    cx: &mut Ctx,
    path: UserStr,
    name: UserStr,
    value: UserPtr<u8>,
    size: usize,
    flags: XattrFlags,
) -> Result<()> {
    let new = NewValue::read(name, value.addr(), size, flags)?;
    new.set(cx, &by_path(cx, path, true)?)
}

pub fn lsetxattr(
    cx: &mut Ctx,
    path: UserStr,
    name: UserStr,
    value: UserPtr<u8>,
    size: usize,
    flags: XattrFlags,
) -> Result<()> {
    let new = NewValue::read(name, value.addr(), size, flags)?;
    new.set(cx, &by_path(cx, path, false)?)
}

pub fn fsetxattr(
    cx: &mut Ctx,
    fd: Fd,
    name: UserStr,
    value: UserPtr<u8>,
    size: usize,
    flags: XattrFlags,
) -> Result<()> {
    let place = by_fd(cx, fd)?;
    NewValue::read(name, value.addr(), size, flags)?.set(cx, &place)
}

pub fn setxattrat(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    at_flags: AtFlags,
    name: UserStr,
    uargs: UserPtr<XattrArgs>,
    argsize: usize,
) -> Result<()> {
    let args = at_args(uargs, argsize)?;
    let flags = XattrFlags::from_bits_retain(args.flags);
    let new = NewValue::read(name, args.value, args.size as usize, flags)?;
    new.set(cx, &by_at(cx, dirfd, pathname, at_flags)?)
}

fn at_args(uargs: UserPtr<XattrArgs>, size: usize) -> Result<XattrArgs> {
    if size < size_of::<XattrArgs>() {
        return Err(Errno::EINVAL);
    }
    if size > PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    read_versioned(uargs, size)
}

pub fn getxattr(
    cx: &mut Ctx,
    path: UserStr,
    name: UserStr,
    value: UserPtr<u8>,
    size: usize,
) -> Result<usize> {
    let name = name_arg(name)?;
    get(cx, &by_path(cx, path, true)?, &name, value.addr(), size)
}

pub fn lgetxattr(
    cx: &mut Ctx,
    path: UserStr,
    name: UserStr,
    value: UserPtr<u8>,
    size: usize,
) -> Result<usize> {
    let name = name_arg(name)?;
    get(cx, &by_path(cx, path, false)?, &name, value.addr(), size)
}

pub fn fgetxattr(
    cx: &mut Ctx,
    fd: Fd,
    name: UserStr,
    value: UserPtr<u8>,
    size: usize,
) -> Result<usize> {
    let place = by_fd(cx, fd)?;
    get(cx, &place, &name_arg(name)?, value.addr(), size)
}

pub fn getxattrat(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    at_flags: AtFlags,
    name: UserStr,
    uargs: UserPtr<XattrArgs>,
    argsize: usize,
) -> Result<usize> {
    let args = at_args(uargs, argsize)?;
    if args.flags != 0 {
        return Err(Errno::EINVAL);
    }
    let name = name_arg(name)?;
    let place = by_at(cx, dirfd, pathname, at_flags)?;
    get(cx, &place, &name, args.value, args.size as usize)
}

pub fn listxattr(cx: &mut Ctx, path: UserStr, out: UserPtr<u8>, size: usize) -> Result<usize> {
    list(cx, &by_path(cx, path, true)?, out.addr(), size)
}

pub fn llistxattr(cx: &mut Ctx, path: UserStr, out: UserPtr<u8>, size: usize) -> Result<usize> {
    list(cx, &by_path(cx, path, false)?, out.addr(), size)
}

pub fn flistxattr(cx: &mut Ctx, fd: Fd, out: UserPtr<u8>, size: usize) -> Result<usize> {
    list(cx, &by_fd(cx, fd)?, out.addr(), size)
}

pub fn listxattrat(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    at_flags: AtFlags,
    out: UserPtr<u8>,
    size: usize,
) -> Result<usize> {
    list(cx, &by_at(cx, dirfd, pathname, at_flags)?, out.addr(), size)
}

pub fn removexattr(cx: &mut Ctx, path: UserStr, name: UserStr) -> Result<()> {
    let name = name_arg(name)?;
    remove(cx, &by_path(cx, path, true)?, &name)
}

pub fn lremovexattr(cx: &mut Ctx, path: UserStr, name: UserStr) -> Result<()> {
    let name = name_arg(name)?;
    remove(cx, &by_path(cx, path, false)?, &name)
}

pub fn fremovexattr(cx: &mut Ctx, fd: Fd, name: UserStr) -> Result<()> {
    let place = by_fd(cx, fd)?;
    remove(cx, &place, &name_arg(name)?)
}

pub fn removexattrat(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    at_flags: AtFlags,
    name: UserStr,
) -> Result<()> {
    let name = name_arg(name)?;
    remove(cx, &by_at(cx, dirfd, pathname, at_flags)?, &name)
}
