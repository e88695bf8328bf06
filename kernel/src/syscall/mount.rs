//! Mounting and unmounting.

use keel_abi::prelude::*;

use super::Ctx;
use super::fs::place_at;
use crate::fs::mounting::{self, Spread};
use crate::fs::namei::{LookupFlags, top_mount};
use crate::fs::{Path, find_file_system};
use crate::mm::user::{UserStrAccess, read_bytes};
use crate::prelude::*;
use crate::process::Cap;

/// The magic number that old programs put in the upper half of the flags (`MS_MGC_VAL`).
const MAGIC: u64 = 0xc0ed_0000;
const MAGIC_MASK: u64 = 0xffff_0000;

const ATIME: MountFlags = MountFlags::NOATIME
    .union(MountFlags::NODIRATIME)
    .union(MountFlags::RELATIME)
    .union(MountFlags::STRICTATIME);

/// The flags of the mount itself: relatime unless something else is asked for; a remount that says nothing of access
/// times keeps what it has.
fn per_mount_flags(flags: MountFlags, old: Option<MountFlags>) -> MountFlags {
    let mut own = flags;
    match old {
        Some(old) if !flags.intersects(ATIME) => own |= old & ATIME,
        _ => {
            own.set(MountFlags::RELATIME, !flags.contains(MountFlags::NOATIME));
            if flags.contains(MountFlags::STRICTATIME) {
                own -= MountFlags::RELATIME | MountFlags::NOATIME;
            }
        }
    }
    own
}

/// Options: text of at most a page.
fn options(data: UserPtr<u8>) -> Result<Vec<u8>> {
    if data.is_null() {
        return Ok(Vec::new());
    }
    let first = PAGE_SIZE - (data.addr() as usize & (PAGE_SIZE - 1));
    // The page that the text ends in may be the last that is mapped.
    let mut bytes = read_bytes(data.addr(), first)?;
    if !bytes.contains(&0) && first < PAGE_SIZE {
        let rest = read_bytes(data.addr() + first as u64, PAGE_SIZE - first);
        bytes.extend(rest.unwrap_or_default());
    }
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    bytes.truncate(end);
    Ok(bytes)
}

/// Which change of propagation is asked for: EINVAL for several.
fn spread(flags: MountFlags) -> Result<Option<Spread>> {
    let kinds =
        MountFlags::SHARED | MountFlags::PRIVATE | MountFlags::SLAVE | MountFlags::UNBINDABLE;
    let spread = match flags & kinds {
        kind if kind.is_empty() => return Ok(None),
        MountFlags::SHARED => Spread::Shared,
        MountFlags::PRIVATE => Spread::Private,
        MountFlags::SLAVE => Spread::Slave,
        MountFlags::UNBINDABLE => Spread::Unbindable,
        _ => return Err(Errno::EINVAL),
    };
    let others = kinds | MountFlags::REC | MountFlags::SILENT;
    if others.contains(flags) {
        Ok(Some(spread))
    } else {
        Err(Errno::EINVAL)
    }
}

pub fn mount(
    cx: &mut Ctx,
    source: UserStr,
    target: UserStr,
    filesystemtype: UserStr,
    flags: MountFlags,
    data: UserPtr<u8>,
) -> Result<()> {
    let text = |s: UserStr| {
        if s.is_null() {
            Ok(None)
        } else {
            s.read_path().map(Some)
        }
    };
    let fs_name = text(filesystemtype)?;
    let source = text(source)?;
    let data = options(data)?;
    let mut bits = flags.bits();
    if bits & MAGIC_MASK == MAGIC {
        bits &= !MAGIC_MASK;
    }
    let flags = MountFlags::from_bits_retain(bits);
    let place = place_at(cx, DirFd::CWD, target, LookupFlags::FOLLOW)?;
    cx.thread.cred().require(Cap::SYS_ADMIN)?;
    if flags.contains(MountFlags::NOUSER) {
        return Err(Errno::EINVAL);
    }
    let place = top_mount(place);
    if flags.contains(MountFlags::REMOUNT) {
        let own = per_mount_flags(flags, Some(place.mount.flags()));
        return if flags.contains(MountFlags::BIND) {
            mounting::set_mount_flags(cx.thread, &place, own)
        } else {
            mounting::remount(cx.thread, &place, own, &data)
        };
    }
    let recursive = flags.contains(MountFlags::REC);
    if flags.contains(MountFlags::BIND) {
        let from = source_place(cx, source.as_deref())?;
        return mounting::bind(cx.thread, &from, &place, recursive);
    }
    if let Some(spread) = spread(flags)? {
        return mounting::change_propagation(&place, spread, recursive);
    }
    if flags.contains(MountFlags::MOVE) {
        let from = source_place(cx, source.as_deref())?;
        return mounting::move_mount(cx.thread, &from, &place);
    }
    let name = fs_name.ok_or(Errno::EINVAL)?;
    let fs_type = find_file_system(&name).ok_or(Errno::ENODEV)?;
    let own = per_mount_flags(flags, None);
    mounting::mount_new(cx.thread, fs_type, source.as_deref(), &place, own, &data)
}

/// The source of a bind or move.
fn source_place(cx: &Ctx, source: Option<&[u8]>) -> Result<Path> {
    let source = source
        .filter(|path| !path.is_empty())
        .ok_or(Errno::EINVAL)?;
    crate::fs::namei::lookup(cx.thread, DirFd::CWD, source, LookupFlags::FOLLOW)
}

pub fn umount2(cx: &mut Ctx, target: UserStr, flags: UmountFlags) -> Result<()> {
    if !UmountFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    let mut lookup = LookupFlags::empty();
    lookup.set(
        LookupFlags::FOLLOW,
        !flags.contains(UmountFlags::UMOUNT_NOFOLLOW),
    );
    let place = place_at(cx, DirFd::CWD, target, lookup)?;
    cx.thread.cred().require(Cap::SYS_ADMIN)?;
    let others = UmountFlags::MNT_FORCE | UmountFlags::MNT_DETACH;
    if flags.contains(UmountFlags::MNT_EXPIRE) && flags.intersects(others) {
        return Err(Errno::EINVAL);
    }
    mounting::umount(cx.thread, place, flags)
}

pub fn pivot_root(cx: &mut Ctx, new_root: UserStr, put_old: UserStr) -> Result<()> {
    cx.thread.cred().require(Cap::SYS_ADMIN)?;
    let flags = LookupFlags::FOLLOW | LookupFlags::DIRECTORY;
    let new_root = place_at(cx, DirFd::CWD, new_root, flags)?;
    let put_old = place_at(cx, DirFd::CWD, put_old, flags)?;
    mounting::pivot_root(cx.thread, &new_root, &put_old)
}
