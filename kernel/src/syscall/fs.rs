//! Paths: opening, looking at and changing files by name.

use keel_abi::prelude::*;
use keel_abi::types::{UTIME_NOW, UTIME_OMIT};

use super::Ctx;
use super::system::read_versioned;
use crate::fs::attributes::{self, NewTime};
use crate::fs::namei::{self, LookupFlags, Parent, Walker};
use crate::fs::permission::{self, MAY_EXEC, MAY_READ, MAY_WRITE};
use crate::fs::{self, Attr, Inode, Path, Time, change, superblock};
use crate::mm::user::{PATH_MAX, UserAccess, UserStrAccess, write_bytes};
use crate::prelude::*;
use crate::process::{Cap, CapSet, Cred, SecureBits, Thread};

/// How a path with AT_* flags is walked: EINVAL for flags that are not in `allowed`.
pub fn lookup_flags(flags: AtFlags, allowed: AtFlags, follow: bool) -> Result<LookupFlags> {
    if !allowed.contains(flags) {
        return Err(Errno::EINVAL);
    }
    let mut lookup = LookupFlags::empty();
    let follow = (follow && !flags.contains(AtFlags::SYMLINK_NOFOLLOW))
        || flags.contains(AtFlags::SYMLINK_FOLLOW);
    lookup.set(LookupFlags::FOLLOW, follow);
    lookup.set(LookupFlags::EMPTY_PATH, flags.contains(AtFlags::EMPTY_PATH));
    Ok(lookup)
}

/// A path argument; with AT_EMPTY_PATH a null pointer is an empty path.
pub fn path_arg(path: UserStr, flags: LookupFlags) -> Result<Vec<u8>> {
    if path.is_null() && flags.contains(LookupFlags::EMPTY_PATH) {
        return Ok(Vec::new());
    }
    path.read_path()
}

/// Looks a path argument up.
pub fn place_at(cx: &Ctx, dirfd: DirFd, path: UserStr, flags: LookupFlags) -> Result<Path> {
    namei::lookup(cx.thread, dirfd, &path_arg(path, flags)?, flags)
}

/// The directory of a path argument's last component.
fn parent_at(cx: &Ctx, dirfd: DirFd, path: UserStr) -> Result<Parent> {
    namei::lookup_parent(cx.thread, dirfd, &path.read_path()?)
}

// ---- open ----

fn open_common(
    cx: &mut Ctx,
    dirfd: DirFd,
    path: &[u8],
    flags: OpenFlags,
    mode: u32,
    resolve: LookupFlags,
) -> Result<Fd> {
    /// `__O_TMPFILE`, which only counts together with O_DIRECTORY.
    const TMPFILE_BIT: u32 = 0x40_0000;
    let mut flags = flags;
    if flags.contains(OpenFlags::PATH) {
        flags &= OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::CLOEXEC;
    } else {
        flags |= OpenFlags::LARGEFILE;
    }
    let tmpfile = flags.bits() & TMPFILE_BIT != 0;
    if (tmpfile && !flags.contains(OpenFlags::DIRECTORY))
        || (tmpfile && flags.contains(OpenFlags::CREAT))
        || (!tmpfile && flags.contains(OpenFlags::CREAT | OpenFlags::DIRECTORY))
    {
        return Err(Errno::EINVAL);
    }
    let file = fs::open(cx.thread, dirfd, path, flags, mode, resolve)?;
    cx.thread
        .files()
        .install(file, flags.contains(OpenFlags::CLOEXEC))
}

/// Flags that open(2) knows; it ignores others.
fn known_flags(flags: OpenFlags) -> OpenFlags {
    flags & (OpenFlags::all() | OpenFlags::ACCMODE)
}

pub fn open(cx: &mut Ctx, pathname: UserStr, flags: OpenFlags, mode: Mode) -> Result<Fd> {
    openat(cx, DirFd::CWD, pathname, flags, mode)
}

pub fn openat(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    flags: OpenFlags,
    mode: Mode,
) -> Result<Fd> {
    let path = pathname.read_path()?;
    let mode = u32::from(mode.permissions().0);
    open_common(
        cx,
        dirfd,
        &path,
        known_flags(flags),
        mode,
        LookupFlags::empty(),
    )
}

pub fn creat(cx: &mut Ctx, pathname: UserStr, mode: Mode) -> Result<Fd> {
    let flags = OpenFlags::CREAT | OpenFlags::WRONLY | OpenFlags::TRUNC;
    openat(cx, DirFd::CWD, pathname, flags, mode)
}

fn resolve_flags(resolve: u64) -> Result<LookupFlags> {
    let resolve = ResolveFlags::from_bits(resolve).ok_or(Errno::EINVAL)?;
    if resolve.contains(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT) {
        return Err(Errno::EINVAL);
    }
    let pairs = [
        (ResolveFlags::NO_XDEV, LookupFlags::NO_XDEV),
        (ResolveFlags::NO_MAGICLINKS, LookupFlags::NO_MAGICLINKS),
        (
            ResolveFlags::NO_SYMLINKS,
            LookupFlags::NO_SYMLINKS | LookupFlags::NO_MAGICLINKS,
        ),
        (ResolveFlags::BENEATH, LookupFlags::BENEATH),
        (ResolveFlags::IN_ROOT, LookupFlags::IN_ROOT),
        (ResolveFlags::CACHED, LookupFlags::CACHED),
    ];
    let chosen = pairs.iter().filter(|(from, _)| resolve.contains(*from));
    Ok(chosen.fold(LookupFlags::empty(), |flags, (_, to)| flags | *to))
}

pub fn openat2(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    how: UserPtr<OpenHow>,
    size: usize,
) -> Result<Fd> {
    if size < size_of::<OpenHow>() {
        return Err(Errno::EINVAL);
    }
    if size > PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    let how: OpenHow = read_versioned(how, size)?;
    let bits = u32::try_from(how.flags).map_err(|_| Errno::EINVAL)?;
    let flags = OpenFlags::from_bits_retain(bits);
    if flags != known_flags(flags) {
        return Err(Errno::EINVAL);
    }
    let path_flags =
        OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::CLOEXEC;
    let creates = flags.contains(OpenFlags::CREAT) || flags.contains(OpenFlags::TMPFILE);
    if (flags.contains(OpenFlags::PATH) && !path_flags.contains(flags))
        || (how.mode != 0 && !creates)
        || how.mode & !0o7777 != 0
    {
        return Err(Errno::EINVAL);
    }
    let resolve = resolve_flags(how.resolve)?;
    let changes = creates || flags.contains(OpenFlags::TRUNC);
    if resolve.contains(LookupFlags::CACHED) && changes {
        return Err(Errno::EAGAIN);
    }
    let path = pathname.read_path()?;
    open_common(cx, dirfd, &path, flags, how.mode as u32, resolve)
}

// ---- stat ----

fn stat_of(path: &Path) -> Result<Stat> {
    let inode = path.inode()?;
    let attr = inode.ops.getattr(&inode)?;
    Ok(to_stat(&inode, &attr))
}

fn to_stat(inode: &Inode, attr: &Attr) -> Stat {
    Stat {
        st_dev: inode.sb.dev,
        st_ino: inode.ino,
        st_nlink: u64::from(attr.nlink),
        st_mode: attr.mode,
        st_uid: Uid(attr.uid),
        st_gid: Gid(attr.gid),
        st_rdev: attr.rdev,
        st_size: attr.size as i64,
        st_blksize: i64::from(inode.sb.block_size()),
        st_blocks: attr.blocks as i64,
        st_atime: attr.atime.sec,
        st_atime_nsec: u64::from(attr.atime.nsec),
        st_mtime: attr.mtime.sec,
        st_mtime_nsec: u64::from(attr.mtime.nsec),
        st_ctime: attr.ctime.sec,
        st_ctime_nsec: u64::from(attr.ctime.nsec),
        ..Stat::default()
    }
}

pub fn stat(cx: &mut Ctx, pathname: UserStr, statbuf: UserPtr<Stat>) -> Result<()> {
    newfstatat(cx, DirFd::CWD, pathname, statbuf, AtFlags::empty())
}

pub fn lstat(cx: &mut Ctx, pathname: UserStr, statbuf: UserPtr<Stat>) -> Result<()> {
    newfstatat(cx, DirFd::CWD, pathname, statbuf, AtFlags::SYMLINK_NOFOLLOW)
}

pub fn fstat(cx: &mut Ctx, fd: Fd, statbuf: UserPtr<Stat>) -> Result<()> {
    let file = cx.thread.files().get_any(fd)?;
    let attr = file.attr()?;
    statbuf.write(&to_stat(&file.inode, &attr))
}

pub fn newfstatat(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    statbuf: UserPtr<Stat>,
    flags: AtFlags,
) -> Result<()> {
    let allowed = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    let lookup = lookup_flags(flags, allowed, true)?;
    let path = path_arg(pathname, lookup)?;
    if path.is_empty()
        && lookup.contains(LookupFlags::EMPTY_PATH)
        && let Some(fd) = dirfd.fd()
    {
        return fstat(cx, fd, statbuf);
    }
    statbuf.write(&stat_of(&namei::lookup(cx.thread, dirfd, &path, lookup)?)?)
}

fn statx_time(time: Time) -> StatxTimestamp {
    StatxTimestamp {
        tv_sec: time.sec,
        tv_nsec: time.nsec,
        ..StatxTimestamp::default()
    }
}

pub fn statx(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    flags: AtFlags,
    mask: StatxMask,
    statxbuf: UserPtr<Statx>,
) -> Result<()> {
    /// `STATX__RESERVED`
    const RESERVED: u32 = 0x8000_0000;
    /// `STATX_MNT_ID_UNIQUE`
    const MNT_ID_UNIQUE: u32 = 0x4000;
    let allowed = AtFlags::SYMLINK_NOFOLLOW
        | AtFlags::NO_AUTOMOUNT
        | AtFlags::EMPTY_PATH
        | AtFlags::STATX_SYNC_TYPE;
    if mask.bits() & RESERVED != 0 || flags.contains(AtFlags::STATX_SYNC_TYPE) {
        return Err(Errno::EINVAL);
    }
    let lookup = lookup_flags(flags, allowed, true)?;
    let place = place_at(cx, dirfd, pathname, lookup)?;
    let inode = place.inode()?;
    let attr = inode.ops.getattr(&inode)?;
    let (dev, rdev) = (split_dev(inode.sb.dev), split_dev(attr.rdev));
    let unique = mask.bits() & MNT_ID_UNIQUE != 0;
    let mut filled = StatxMask::BASIC_STATS;
    filled |= if unique {
        StatxMask::from_bits_retain(MNT_ID_UNIQUE)
    } else {
        StatxMask::MNT_ID
    };
    filled.set(StatxMask::BTIME, attr.btime.is_some());
    let known = StatxAttributes::IMMUTABLE
        | StatxAttributes::APPEND
        | StatxAttributes::NODUMP
        | StatxAttributes::AUTOMOUNT
        | StatxAttributes::MOUNT_ROOT;
    let mut attributes = StatxAttributes::from_bits_retain(attr.attributes) & known;
    attributes.set(StatxAttributes::MOUNT_ROOT, place.is_mount_root());
    statxbuf.write(&Statx {
        stx_mask: filled.bits(),
        stx_blksize: inode.sb.block_size(),
        stx_attributes: attributes.bits(),
        stx_nlink: attr.nlink,
        stx_uid: Uid(attr.uid),
        stx_gid: Gid(attr.gid),
        stx_mode: attr.mode as u16,
        stx_ino: inode.ino,
        stx_size: attr.size,
        stx_blocks: attr.blocks,
        stx_attributes_mask: known.bits(),
        stx_atime: statx_time(attr.atime),
        stx_btime: statx_time(attr.btime.unwrap_or_default()),
        stx_ctime: statx_time(attr.ctime),
        stx_mtime: statx_time(attr.mtime),
        stx_rdev_major: rdev.major,
        stx_rdev_minor: rdev.minor,
        stx_dev_major: dev.major,
        stx_dev_minor: dev.minor,
        stx_mnt_id: if unique {
            place.mount.unique_id()
        } else {
            u64::from(place.mount.id)
        },
        ..Statx::default()
    })
}

fn split_dev(raw: u64) -> Dev {
    Dev::decode(raw as u32)
}

// ---- access ----

/// The credentials that access(2) asks with: the real ids, and the capabilities that go with them.
fn real_credentials(cred: &Cred) -> Cred {
    let mut real = cred.clone();
    real.fsuid = cred.uid;
    real.fsgid = cred.gid;
    if !cred.securebits.contains(SecureBits::NO_SETUID_FIXUP) {
        real.effective = if cred.uid == 0 {
            cred.permitted
        } else {
            CapSet::EMPTY
        };
    }
    real
}

pub fn access(cx: &mut Ctx, pathname: UserStr, mode: AccessMode) -> Result<()> {
    faccessat2(cx, DirFd::CWD, pathname, mode, AtFlags::empty())
}

pub fn faccessat(cx: &mut Ctx, dirfd: DirFd, pathname: UserStr, mode: AccessMode) -> Result<()> {
    faccessat2(cx, dirfd, pathname, mode, AtFlags::empty())
}

pub fn faccessat2(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    mode: AccessMode,
    flags: AtFlags,
) -> Result<()> {
    if !AccessMode::all().contains(mode) {
        return Err(Errno::EINVAL);
    }
    let allowed = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let lookup = lookup_flags(flags, allowed, true)?;
    let path = path_arg(pathname, lookup)?;
    let own = cx.thread.cred();
    let cred = if flags.contains(AtFlags::EACCESS) {
        own
    } else {
        Arc::new(real_credentials(&own))
    };
    let walker = Walker::new(cx.thread, dirfd, &path, lookup)?.with_cred(cred.clone());
    let place = walker.lookup(&path)?;
    let inode = place.inode()?;
    let mut mask = 0;
    mask |= if mode.contains(AccessMode::R_OK) {
        MAY_READ
    } else {
        0
    };
    mask |= if mode.contains(AccessMode::W_OK) {
        MAY_WRITE
    } else {
        0
    };
    mask |= if mode.contains(AccessMode::X_OK) {
        MAY_EXEC
    } else {
        0
    };
    if mask & MAY_EXEC != 0 && inode.is_regular() && place.mount.is_noexec() {
        return Err(Errno::EACCES);
    }
    if mask == 0 {
        Ok(())
    } else {
        permission::check_path(&place, &inode, &cred, mask)
    }
}

// ---- directories ----

/// Most bytes of directory entries that one call gives.
const DENTS_MAX: usize = 128 << 10;

/// Builds getdents(2) records.
struct Records {
    bytes: Vec<u8>,
    limit: usize,
    old_form: bool,
    /// The first entry did not fit.
    too_small: bool,
}

impl fs::DirSink for Records {
    fn entry(&mut self, name: &[u8], ino: u64, file_type: FileType, next: u64) -> bool {
        let head = if self.old_form { 18 } else { 19 };
        // The old form has the type behind the name's NUL.
        let tail = if self.old_form { 2 } else { 1 };
        let len = (head + name.len() + tail).next_multiple_of(8);
        if self.bytes.len() + len > self.limit || self.bytes.try_reserve(len).is_err() {
            self.too_small |= self.bytes.is_empty();
            return false;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&ino.to_ne_bytes());
        self.bytes.extend_from_slice(&next.to_ne_bytes());
        self.bytes.extend_from_slice(&(len as u16).to_ne_bytes());
        if !self.old_form {
            self.bytes.push(file_type.d_type());
        }
        self.bytes.extend_from_slice(name);
        self.bytes.resize(start + len, 0);
        if self.old_form
            && let Some(last) = self.bytes.last_mut()
        {
            *last = file_type.d_type();
        }
        true
    }
}

fn read_entries(cx: &mut Ctx, fd: Fd, addr: u64, count: u32, old_form: bool) -> Result<i32> {
    let file = cx.thread.files().get(fd)?;
    if !file.inode.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    let limit = (count as usize).min(DENTS_MAX);
    let mut records = Records {
        bytes: Vec::new(),
        limit,
        old_form,
        too_small: false,
    };
    file.readdir(&mut records)?;
    if records.too_small {
        return Err(Errno::EINVAL);
    }
    write_bytes(addr, &records.bytes)?;
    Ok(records.bytes.len() as i32)
}

pub fn getdents(cx: &mut Ctx, fd: Fd, dirp: UserPtr<LinuxDirent>, count: u32) -> Result<i32> {
    read_entries(cx, fd, dirp.addr(), count, true)
}

pub fn getdents64(cx: &mut Ctx, fd: Fd, dirp: UserPtr<LinuxDirent64>, count: u32) -> Result<i32> {
    read_entries(cx, fd, dirp.addr(), count, false)
}

pub fn getcwd(cx: &mut Ctx, buf: UserPtr<u8>, size: usize) -> Result<i32> {
    let fs = cx.thread.fs();
    let (root, cwd) = (fs.root(), fs.cwd());
    if cwd.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    let mut text = match namei::path_text(&cwd, &root) {
        Some(text) => text,
        None => [b"(unreachable)", &namei::display_path(&cwd, &root)[..]].concat(),
    };
    text.push(0);
    if text.len() > PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if text.len() > size {
        return Err(Errno::ERANGE);
    }
    write_bytes(buf.addr(), &text)?;
    Ok(text.len() as i32)
}

pub fn chdir(cx: &mut Ctx, path: UserStr) -> Result<()> {
    let place = place_at(
        cx,
        DirFd::CWD,
        path,
        LookupFlags::FOLLOW | LookupFlags::DIRECTORY,
    )?;
    permission::check(&place.inode()?, &cx.thread.cred(), MAY_EXEC)?;
    cx.thread.fs().set_cwd(place);
    Ok(())
}

pub fn fchdir(cx: &mut Ctx, fd: Fd) -> Result<()> {
    let file = cx.thread.files().get_any(fd)?;
    if !file.inode.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    permission::check(&file.inode, &cx.thread.cred(), MAY_EXEC)?;
    cx.thread.fs().set_cwd(file.path.clone());
    Ok(())
}

pub fn chroot(cx: &mut Ctx, path: UserStr) -> Result<()> {
    let place = place_at(
        cx,
        DirFd::CWD,
        path,
        LookupFlags::FOLLOW | LookupFlags::DIRECTORY,
    )?;
    let cred = cx.thread.cred();
    permission::check(&place.inode()?, &cred, MAY_EXEC)?;
    cred.require(Cap::SYS_CHROOT)?;
    cx.thread.fs().set_root(place);
    Ok(())
}

pub fn mkdir(cx: &mut Ctx, pathname: UserStr, mode: Mode) -> Result<()> {
    mkdirat(cx, DirFd::CWD, pathname, mode)
}

pub fn mkdirat(cx: &mut Ctx, dirfd: DirFd, pathname: UserStr, mode: Mode) -> Result<()> {
    let parent = parent_at(cx, dirfd, pathname)?;
    let umask = cx.thread.fs().umask();
    change::mkdir(&parent, u32::from(mode.0), umask, &cx.thread.cred()).map(drop)
}

pub fn mknod(cx: &mut Ctx, pathname: UserStr, mode: Mode, dev: u32) -> Result<()> {
    mknodat(cx, DirFd::CWD, pathname, mode, dev)
}

pub fn mknodat(cx: &mut Ctx, dirfd: DirFd, pathname: UserStr, mode: Mode, dev: u32) -> Result<()> {
    let file_type = match mode.file_type() {
        Some(FileType::Directory) => return Err(Errno::EPERM),
        Some(FileType::Symlink) => return Err(Errno::EINVAL),
        Some(file_type) => file_type,
        None if mode.0 & Mode::S_IFMT.0 == 0 => FileType::Regular,
        None => return Err(Errno::EINVAL),
    };
    let parent = parent_at(cx, dirfd, pathname)?;
    let device = matches!(file_type, FileType::CharDevice | FileType::BlockDevice);
    let rdev = if device { u64::from(dev) } else { 0 };
    let full = Mode::new(file_type, mode.0);
    let umask = cx.thread.fs().umask();
    change::mknod(&parent, u32::from(full.0), rdev, umask, &cx.thread.cred()).map(drop)
}

pub fn rmdir(cx: &mut Ctx, pathname: UserStr) -> Result<()> {
    change::rmdir(&parent_at(cx, DirFd::CWD, pathname)?, &cx.thread.cred())
}

pub fn unlink(cx: &mut Ctx, pathname: UserStr) -> Result<()> {
    change::unlink(&parent_at(cx, DirFd::CWD, pathname)?, &cx.thread.cred())
}

pub fn unlinkat(cx: &mut Ctx, dirfd: DirFd, pathname: UserStr, flags: UnlinkFlags) -> Result<()> {
    if !UnlinkFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    let parent = parent_at(cx, dirfd, pathname)?;
    let cred = cx.thread.cred();
    if flags.contains(UnlinkFlags::REMOVEDIR) {
        change::rmdir(&parent, &cred)
    } else {
        change::unlink(&parent, &cred)
    }
}

pub fn link(cx: &mut Ctx, oldpath: UserStr, newpath: UserStr) -> Result<()> {
    linkat(
        cx,
        DirFd::CWD,
        oldpath,
        DirFd::CWD,
        newpath,
        AtFlags::empty(),
    )
}

pub fn linkat(
    cx: &mut Ctx,
    olddirfd: DirFd,
    oldpath: UserStr,
    newdirfd: DirFd,
    newpath: UserStr,
    flags: AtFlags,
) -> Result<()> {
    let lookup = lookup_flags(flags, AtFlags::SYMLINK_FOLLOW | AtFlags::EMPTY_PATH, false)?;
    let old = path_arg(oldpath, lookup)?;
    let cred = cx.thread.cred();
    if old.is_empty() && lookup.contains(LookupFlags::EMPTY_PATH) && !cred.has(Cap::DAC_READ_SEARCH)
    {
        return Err(Errno::ENOENT);
    }
    let source = namei::lookup(cx.thread, olddirfd, &old, lookup)?;
    change::link(&source, &parent_at(cx, newdirfd, newpath)?, &cred)
}

pub fn symlink(cx: &mut Ctx, target: UserStr, linkpath: UserStr) -> Result<()> {
    symlinkat(cx, target, DirFd::CWD, linkpath)
}

pub fn symlinkat(cx: &mut Ctx, target: UserStr, newdirfd: DirFd, linkpath: UserStr) -> Result<()> {
    let target = target.read_path()?;
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    let parent = parent_at(cx, newdirfd, linkpath)?;
    change::symlink(&parent, &target, &cx.thread.cred()).map(drop)
}

pub fn readlink(cx: &mut Ctx, pathname: UserStr, buf: UserPtr<u8>, bufsiz: i32) -> Result<i32> {
    readlinkat(cx, DirFd::CWD, pathname, buf, bufsiz)
}

pub fn readlinkat(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    buf: UserPtr<u8>,
    bufsiz: i32,
) -> Result<i32> {
    let room = usize::try_from(bufsiz).map_err(|_| Errno::EINVAL)?;
    if room == 0 {
        return Err(Errno::EINVAL);
    }
    let path = pathname.read_path()?;
    let place = namei::lookup(cx.thread, dirfd, &path, LookupFlags::EMPTY_PATH)?;
    let inode = place.inode()?;
    if !inode.is_symlink() {
        return Err(if path.is_empty() {
            Errno::ENOENT
        } else {
            Errno::EINVAL
        });
    }
    let target = inode.ops.readlink(&inode)?;
    fs::link_accessed(&place, &inode);
    let n = target.len().min(room);
    write_bytes(buf.addr(), &target[..n])?;
    Ok(n as i32)
}

pub fn rename(cx: &mut Ctx, oldpath: UserStr, newpath: UserStr) -> Result<()> {
    renameat2(
        cx,
        DirFd::CWD,
        oldpath,
        DirFd::CWD,
        newpath,
        RenameFlags::empty(),
    )
}

pub fn renameat(
    cx: &mut Ctx,
    olddirfd: DirFd,
    oldpath: UserStr,
    newdirfd: DirFd,
    newpath: UserStr,
) -> Result<()> {
    renameat2(
        cx,
        olddirfd,
        oldpath,
        newdirfd,
        newpath,
        RenameFlags::empty(),
    )
}

pub fn renameat2(
    cx: &mut Ctx,
    olddirfd: DirFd,
    oldpath: UserStr,
    newdirfd: DirFd,
    newpath: UserStr,
    flags: RenameFlags,
) -> Result<()> {
    if !RenameFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    let old = parent_at(cx, olddirfd, oldpath)?;
    let new = parent_at(cx, newdirfd, newpath)?;
    change::rename(&old, &new, flags, &cx.thread.cred())
}

// ---- attributes ----

fn chmod_place(thread: &Thread, place: &Path, mode: Mode) -> Result<()> {
    attributes::chmod(
        place,
        &place.inode()?,
        u32::from(mode.permissions().0),
        &thread.cred(),
    )
}

pub fn chmod(cx: &mut Ctx, pathname: UserStr, mode: Mode) -> Result<()> {
    fchmodat2(cx, DirFd::CWD, pathname, mode, AtFlags::empty())
}

pub fn fchmod(cx: &mut Ctx, fd: Fd, mode: Mode) -> Result<()> {
    let file = cx.thread.files().get(fd)?;
    let mode = u32::from(mode.permissions().0);
    attributes::chmod(&file.path, &file.inode, mode, &cx.thread.cred())
}

pub fn fchmodat(cx: &mut Ctx, dirfd: DirFd, pathname: UserStr, mode: Mode) -> Result<()> {
    fchmodat2(cx, dirfd, pathname, mode, AtFlags::empty())
}

pub fn fchmodat2(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    mode: Mode,
    flags: AtFlags,
) -> Result<()> {
    let lookup = lookup_flags(flags, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH, true)?;
    chmod_place(cx.thread, &place_at(cx, dirfd, pathname, lookup)?, mode)
}

fn new_ids(owner: Uid, group: Gid) -> (Option<u32>, Option<u32>) {
    let uid = (owner != Uid::UNCHANGED).then_some(owner.0);
    let gid = (group != Gid::UNCHANGED).then_some(group.0);
    (uid, gid)
}

pub fn chown(cx: &mut Ctx, pathname: UserStr, owner: Uid, group: Gid) -> Result<()> {
    fchownat(cx, DirFd::CWD, pathname, owner, group, AtFlags::empty())
}

pub fn lchown(cx: &mut Ctx, pathname: UserStr, owner: Uid, group: Gid) -> Result<()> {
    fchownat(
        cx,
        DirFd::CWD,
        pathname,
        owner,
        group,
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

pub fn fchown(cx: &mut Ctx, fd: Fd, owner: Uid, group: Gid) -> Result<()> {
    let file = cx.thread.files().get(fd)?;
    let (uid, gid) = new_ids(owner, group);
    attributes::chown(&file.path, &file.inode, uid, gid, &cx.thread.cred())
}

pub fn fchownat(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    owner: Uid,
    group: Gid,
    flags: AtFlags,
) -> Result<()> {
    let lookup = lookup_flags(flags, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH, true)?;
    let place = place_at(cx, dirfd, pathname, lookup)?;
    let (uid, gid) = new_ids(owner, group);
    attributes::chown(&place, &place.inode()?, uid, gid, &cx.thread.cred())
}

pub fn umask(cx: &mut Ctx, mask: Mode) -> Result<Mode> {
    Ok(Mode(cx.thread.fs().set_umask(u32::from(mask.0)) as u16))
}

fn from_micros(time: Timeval) -> Result<NewTime> {
    let micros = u32::try_from(time.tv_usec).map_err(|_| Errno::EINVAL)?;
    if micros >= 1_000_000 {
        return Err(Errno::EINVAL);
    }
    Ok(NewTime::At(Time {
        sec: time.tv_sec,
        nsec: micros * 1000,
    }))
}

fn from_nanos(time: Timespec) -> Result<NewTime> {
    match time.tv_nsec {
        UTIME_NOW => Ok(NewTime::Now),
        UTIME_OMIT => Ok(NewTime::Omit),
        nsec @ 0..1_000_000_000 => Ok(NewTime::At(Time {
            sec: time.tv_sec,
            nsec: nsec as u32,
        })),
        _ => Err(Errno::EINVAL),
    }
}

fn set_times(cx: &Ctx, place: &Path, times: (NewTime, NewTime)) -> Result<()> {
    attributes::set_times(place, &place.inode()?, times.0, times.1, &cx.thread.cred())
}

const BOTH_NOW: (NewTime, NewTime) = (NewTime::Now, NewTime::Now);

pub fn utime(cx: &mut Ctx, filename: UserStr, times: UserPtr<Utimbuf>) -> Result<()> {
    let at = |sec| NewTime::At(Time { sec, nsec: 0 });
    let times = match times.read_if_given()? {
        Some(given) => (at(given.actime), at(given.modtime)),
        None => BOTH_NOW,
    };
    set_times(
        cx,
        &place_at(cx, DirFd::CWD, filename, LookupFlags::FOLLOW)?,
        times,
    )
}

pub fn utimes(cx: &mut Ctx, filename: UserStr, times: UserPtr<[Timeval; 2]>) -> Result<()> {
    futimesat(cx, DirFd::CWD, filename, times)
}

pub fn futimesat(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    times: UserPtr<[Timeval; 2]>,
) -> Result<()> {
    let times = match times.read_if_given()? {
        Some([atime, mtime]) => (from_micros(atime)?, from_micros(mtime)?),
        None => BOTH_NOW,
    };
    let place = match (pathname.is_null(), dirfd.fd()) {
        (true, Some(fd)) => cx.thread.files().get(fd)?.path.clone(),
        _ => place_at(cx, dirfd, pathname, LookupFlags::FOLLOW)?,
    };
    set_times(cx, &place, times)
}

pub fn utimensat(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    times: UserPtr<[Timespec; 2]>,
    flags: AtFlags,
) -> Result<()> {
    let times = match times.read_if_given()? {
        Some([atime, mtime]) => (from_nanos(atime)?, from_nanos(mtime)?),
        None => BOTH_NOW,
    };
    if times == (NewTime::Omit, NewTime::Omit) {
        return Ok(());
    }
    let place = match (pathname.is_null(), dirfd.fd()) {
        (true, Some(fd)) => {
            if !flags.is_empty() {
                return Err(Errno::EINVAL);
            }
            cx.thread.files().get(fd)?.path.clone()
        }
        _ => {
            let allowed = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
            place_at(cx, dirfd, pathname, lookup_flags(flags, allowed, true)?)?
        }
    };
    set_times(cx, &place, times)
}

pub fn truncate(cx: &mut Ctx, path: UserStr, length: i64) -> Result<()> {
    let length = u64::try_from(length).map_err(|_| Errno::EINVAL)?;
    let place = place_at(cx, DirFd::CWD, path, LookupFlags::FOLLOW)?;
    attributes::truncate_path(&place, length, &cx.thread.cred())
}

// ---- file systems ----

fn statfs_of(place: &Path) -> Result<Statfs> {
    let stats = place.mount.sb.ops.statfs()?;
    let flags = place.mount.flags();
    let mut shown = StatfsFlags::VALID;
    for (from, to) in [
        (MountFlags::NOSUID, StatfsFlags::NOSUID),
        (MountFlags::NODEV, StatfsFlags::NODEV),
        (MountFlags::NOEXEC, StatfsFlags::NOEXEC),
        (MountFlags::NOATIME, StatfsFlags::NOATIME),
        (MountFlags::NODIRATIME, StatfsFlags::NODIRATIME),
        (MountFlags::RELATIME, StatfsFlags::RELATIME),
        (MountFlags::NOSYMFOLLOW, StatfsFlags::NOSYMFOLLOW),
    ] {
        shown.set(to, flags.contains(from));
    }
    shown.set(StatfsFlags::RDONLY, place.mount.is_read_only());
    Ok(Statfs {
        f_type: stats.magic as i64,
        f_bsize: stats.block_size as i64,
        f_blocks: stats.blocks,
        f_bfree: stats.free,
        f_bavail: stats.available,
        f_files: stats.inodes,
        f_ffree: stats.free_inodes,
        f_fsid: [stats.fsid as i32, (stats.fsid >> 32) as i32],
        f_namelen: stats.name_max as i64,
        f_frsize: stats.block_size as i64,
        f_flags: shown.bits() as i64,
        ..Statfs::default()
    })
}

pub fn statfs(cx: &mut Ctx, path: UserStr, buf: UserPtr<Statfs>) -> Result<()> {
    let place = place_at(cx, DirFd::CWD, path, LookupFlags::FOLLOW)?;
    buf.write(&statfs_of(&place)?)
}

pub fn fstatfs(cx: &mut Ctx, fd: Fd, buf: UserPtr<Statfs>) -> Result<()> {
    let file = cx.thread.files().get_any(fd)?;
    buf.write(&statfs_of(&file.path)?)
}

pub fn ustat(_cx: &mut Ctx, dev: u32, ubuf: UserPtr<Ustat>) -> Result<()> {
    let found = superblock::all()
        .into_iter()
        .find(|sb| sb.dev == u64::from(dev));
    let stats = found.ok_or(Errno::EINVAL)?.ops.statfs()?;
    ubuf.write(&Ustat {
        f_tfree: stats.free as i32,
        f_tinode: stats.free_inodes,
        ..Ustat::default()
    })
}

/// sysfs(2): names and numbers of file-system types.
pub fn sysfs(_cx: &mut Ctx, option: i32, arg1: u64, arg2: u64) -> Result<i32> {
    let types = superblock::file_systems();
    match option {
        1 => {
            let name = UserStr::new(arg1).read_string(PATH_MAX - 1, Errno::ENAMETOOLONG)?;
            let at = types.iter().position(|fs| fs.name().as_bytes() == name);
            at.map(|at| at as i32).ok_or(Errno::EINVAL)
        }
        2 => {
            let at = usize::try_from(arg1 as u32).map_err(|_| Errno::EINVAL)?;
            let fs = types.get(at).ok_or(Errno::EINVAL)?;
            write_bytes(arg2, &[fs.name().as_bytes(), b"\0"].concat())?;
            Ok(0)
        }
        3 => Ok(types.len() as i32),
        _ => Err(Errno::EINVAL),
    }
}

pub fn sync(_cx: &mut Ctx) -> Result<()> {
    fs::sync();
    Ok(())
}

pub fn syncfs(cx: &mut Ctx, fd: Fd) -> Result<()> {
    let file = cx.thread.files().get(fd)?;
    let sb = &file.path.mount.sb;
    if sb.is_read_only() {
        Ok(())
    } else {
        sb.ops.sync()
    }
}
