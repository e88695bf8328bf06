//! The new mount calls: a file system is configured, mounted and attached in separate steps (fsopen(2) and its kin).

use keel_abi::args::AT_FDCWD;
use keel_abi::prelude::*;

use super::Ctx;
use super::fs::{lookup_flags, place_at};
use super::system::read_versioned;
use crate::fs::mount_api::{self, DetachedTree, FsConfig};
use crate::fs::mounting::{self, Spread};
use crate::fs::namei::LookupFlags;
use crate::fs::open::open_place;
use crate::fs::{File, Path, find_file_system};
use crate::mm::user::UserStrAccess;
use crate::prelude::*;
use crate::process::Cap;

/// Longest key or value of fsconfig(2).
const MAX_TEXT: usize = 255;

/// What open_tree(2) opens, and the flags of the descriptor.
fn open_tree_file(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    flags: OpenTreeFlags,
) -> Result<Arc<File>> {
    let clone = flags.contains(OpenTreeFlags::OPEN_TREE_CLONE);
    let recursive = flags.contains(OpenTreeFlags::AT_RECURSIVE);
    if !OpenTreeFlags::all().contains(flags) || (recursive && !clone) {
        return Err(Errno::EINVAL);
    }
    let mut lookup = LookupFlags::empty();
    lookup.set(
        LookupFlags::FOLLOW,
        !flags.contains(OpenTreeFlags::AT_SYMLINK_NOFOLLOW),
    );
    lookup.set(
        LookupFlags::EMPTY_PATH,
        flags.contains(OpenTreeFlags::AT_EMPTY_PATH),
    );
    if clone {
        cx.thread.cred().require(Cap::SYS_ADMIN)?;
    }
    let place = place_at(cx, dirfd, pathname, lookup)?;
    if clone {
        DetachedTree::open(cx.thread, mounting::copy_tree(&place, recursive)?)
    } else {
        open_place(&place, OpenFlags::PATH, &cx.thread.cred(), false)
    }
}

pub fn open_tree(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    flags: OpenTreeFlags,
) -> Result<Fd> {
    let file = open_tree_file(cx, dirfd, pathname, flags)?;
    cx.thread
        .files()
        .install(file, flags.contains(OpenTreeFlags::OPEN_TREE_CLOEXEC))
}

pub fn open_tree_attr(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    flags: OpenTreeFlags,
    uattr: UserPtr<MountAttr>,
    size: usize,
) -> Result<Fd> {
    if uattr.is_null() && size > 0 {
        return Err(Errno::EINVAL);
    }
    let file = open_tree_file(cx, dirfd, pathname, flags)?;
    if !uattr.is_null() {
        let recursive = flags.contains(OpenTreeFlags::AT_RECURSIVE);
        let wanted = read_mount_attr(cx, uattr, size)?;
        change_attributes(&file.path, &wanted, recursive)?;
    }
    cx.thread
        .files()
        .install(file, flags.contains(OpenTreeFlags::OPEN_TREE_CLOEXEC))
}

pub fn move_mount(
    cx: &mut Ctx,
    from_dirfd: DirFd,
    from_pathname: UserStr,
    to_dirfd: DirFd,
    to_pathname: UserStr,
    flags: MoveMountFlags,
) -> Result<()> {
    cx.thread.cred().require(Cap::SYS_ADMIN)?;
    let unsupported = MoveMountFlags::SET_GROUP | MoveMountFlags::BENEATH;
    if !(MoveMountFlags::all() - unsupported).contains(flags) {
        return Err(Errno::EINVAL);
    }
    let lookup = |symlinks, empty| {
        let mut lookup = LookupFlags::empty();
        lookup.set(LookupFlags::FOLLOW, flags.contains(symlinks));
        lookup.set(LookupFlags::EMPTY_PATH, flags.contains(empty));
        lookup
    };
    let from_flags = lookup(MoveMountFlags::F_SYMLINKS, MoveMountFlags::F_EMPTY_PATH);
    let to_flags = lookup(MoveMountFlags::T_SYMLINKS, MoveMountFlags::T_EMPTY_PATH);
    let from = place_at(cx, from_dirfd, from_pathname, from_flags)?;
    let to = place_at(cx, to_dirfd, to_pathname, to_flags)?;
    if !from.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    match from.mount.namespace() {
        Some(tree) if tree.is_detached() => {
            if !Arc::ptr_eq(&tree.root(), &from.mount) {
                return Err(Errno::EINVAL);
            }
            mounting::attach_tree(cx.thread, &tree, &to)
        }
        _ => mounting::move_mount(cx.thread, &from, &to),
    }
}

pub fn fsopen(cx: &mut Ctx, fsname: UserStr, flags: FsopenFlags) -> Result<Fd> {
    cx.thread.cred().require(Cap::SYS_ADMIN)?;
    if !FsopenFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    let name = fsname.read_string(PAGE_SIZE - 1, Errno::EINVAL)?;
    let file = FsConfig::open(find_file_system(&name).ok_or(Errno::ENODEV)?);
    cx.thread
        .files()
        .install(file, flags.contains(FsopenFlags::CLOEXEC))
}

pub fn fspick(cx: &mut Ctx, dirfd: DirFd, pathname: UserStr, flags: FspickFlags) -> Result<Fd> {
    cx.thread.cred().require(Cap::SYS_ADMIN)?;
    if !FspickFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    let mut lookup = LookupFlags::empty();
    lookup.set(
        LookupFlags::FOLLOW,
        !flags.contains(FspickFlags::SYMLINK_NOFOLLOW),
    );
    lookup.set(
        LookupFlags::EMPTY_PATH,
        flags.contains(FspickFlags::EMPTY_PATH),
    );
    let place = place_at(cx, dirfd, pathname, lookup)?;
    if !place.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let file = FsConfig::pick(&place.mount.sb);
    cx.thread
        .files()
        .install(file, flags.contains(FspickFlags::CLOEXEC))
}

fn config_of(file: &File) -> Result<&FsConfig> {
    file.ops_as::<FsConfig>().ok_or(Errno::EINVAL)
}

pub fn fsconfig(
    cx: &mut Ctx,
    fd: Fd,
    cmd: FsconfigCmd,
    key: UserStr,
    value: UserPtr<u8>,
    aux: i32,
) -> Result<()> {
    let command = key.is_null() && value.is_null() && aux == 0;
    let well_formed = match cmd {
        FsconfigCmd::FSCONFIG_SET_FLAG => !key.is_null() && value.is_null() && aux == 0,
        FsconfigCmd::FSCONFIG_SET_STRING => !key.is_null() && !value.is_null() && aux == 0,
        FsconfigCmd::FSCONFIG_SET_BINARY => {
            !key.is_null() && !value.is_null() && (1..=1 << 20).contains(&aux)
        }
        FsconfigCmd::FSCONFIG_SET_PATH | FsconfigCmd::FSCONFIG_SET_PATH_EMPTY => {
            !key.is_null() && !value.is_null() && (aux >= 0 || aux == AT_FDCWD)
        }
        FsconfigCmd::FSCONFIG_SET_FD => !key.is_null() && value.is_null() && aux >= 0,
        FsconfigCmd::FSCONFIG_CMD_CREATE | FsconfigCmd::FSCONFIG_CMD_RECONFIGURE => command,
        _ => return Err(Errno::EOPNOTSUPP),
    };
    if fd.0 < 0 || !well_formed {
        return Err(Errno::EINVAL);
    }
    let file = cx.thread.files().get(fd)?;
    let config = config_of(&file)?;
    match cmd {
        FsconfigCmd::FSCONFIG_CMD_CREATE => return config.create(),
        FsconfigCmd::FSCONFIG_CMD_RECONFIGURE => return config.reconfigure(),
        _ => {}
    }
    let key = key.read_string(MAX_TEXT, Errno::EINVAL)?;
    match cmd {
        FsconfigCmd::FSCONFIG_SET_FLAG => config.set(&key, None),
        FsconfigCmd::FSCONFIG_SET_STRING => {
            let value = UserStr::new(value.addr()).read_string(MAX_TEXT, Errno::EINVAL)?;
            config.set(&key, Some(&value))
        }
        // No file system here takes parameters of these kinds; the flags of any mount do not look at the value.
        _ if GENERIC_FLAGS.contains(&key.as_slice()) => {
            if cmd == FsconfigCmd::FSCONFIG_SET_FD {
                cx.thread.files().get_any(Fd(aux))?;
            }
            config.set(&key, None)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Parameters of every file system, which are flags.
const GENERIC_FLAGS: [&[u8]; 8] = [
    b"ro",
    b"rw",
    b"sync",
    b"async",
    b"dirsync",
    b"lazytime",
    b"nolazytime",
    b"mand",
];

pub fn fsmount(
    cx: &mut Ctx,
    fsfd: Fd,
    flags: FsmountFlags,
    attr_flags: MountAttrFlags,
) -> Result<Fd> {
    cx.thread.cred().require(Cap::SYS_ADMIN)?;
    if !FsmountFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    let mount_flags = mount_api::mount_flags(attr_flags)?;
    let file = cx.thread.files().get(fsfd)?;
    let tree = config_of(&file)?.mount(cx.thread, mount_flags)?;
    cx.thread
        .files()
        .install(tree, flags.contains(FsmountFlags::CLOEXEC))
}

/// The change of propagation that a `struct mount_attr` asks for.
fn spread_of(propagation: u64) -> Result<Option<Spread>> {
    Ok(Some(match MountFlags::from_bits_retain(propagation) {
        none if none.is_empty() => return Ok(None),
        MountFlags::SHARED => Spread::Shared,
        MountFlags::PRIVATE => Spread::Private,
        MountFlags::SLAVE => Spread::Slave,
        MountFlags::UNBINDABLE => Spread::Unbindable,
        _ => return Err(Errno::EINVAL),
    }))
}

pub fn mount_setattr(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    flags: AtFlags,
    attr: UserPtr<MountAttr>,
    size: usize,
) -> Result<()> {
    let allowed = AtFlags::EMPTY_PATH
        | AtFlags::RECURSIVE
        | AtFlags::SYMLINK_NOFOLLOW
        | AtFlags::NO_AUTOMOUNT;
    let lookup = lookup_flags(flags, allowed, true)?;
    let wanted = read_mount_attr(cx, attr, size)?;
    let place = place_at(cx, dirfd, pathname, lookup)?;
    change_attributes(&place, &wanted, flags.contains(AtFlags::RECURSIVE))
}

/// A `struct mount_attr`: E2BIG, EINVAL, EPERM.
fn read_mount_attr(cx: &Ctx, attr: UserPtr<MountAttr>, size: usize) -> Result<MountAttr> {
    if size > PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    if size < keel_abi::types::MOUNT_ATTR_SIZE_VER0 {
        return Err(Errno::EINVAL);
    }
    cx.thread.cred().require(Cap::SYS_ADMIN)?;
    read_versioned(attr, size)
}

fn change_attributes(place: &Path, wanted: &MountAttr, recursive: bool) -> Result<()> {
    if wanted.attr_set == 0 && wanted.attr_clr == 0 && wanted.propagation == 0 {
        return Ok(());
    }
    let spread = spread_of(wanted.propagation)?;
    mounting::set_attributes(place, wanted.attr_set, wanted.attr_clr, spread, recursive)
}
