//! Opening files (open(2), openat2(2)).

use core::sync::atomic::Ordering;
use keel_abi::args::{DirFd, Fd, FileType};
use keel_abi::flags::{AtFlags, OpenFlags};

use super::namei::{LookupFlags, Walker, child_locked};
use super::permission::{self, MAY_EXEC, MAY_READ, MAY_WRITE};
use super::{File, FileOps, Inode, Path, SetAttr};
use crate::prelude::*;
use crate::process::{Cred, Thread};

/// What the description of an O_PATH descriptor does: nothing.
struct PathOnly;

impl FileOps for PathOnly {
    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// Opens a path for a thread. `mode` (umask not applied yet) is for O_CREAT and O_TMPFILE.
pub fn open(
    thread: &Thread,
    dirfd: DirFd,
    path: &[u8],
    flags: OpenFlags,
    mode: u32,
    resolve: LookupFlags,
) -> Result<Arc<File>> {
    let nofollow = flags.contains(OpenFlags::NOFOLLOW);
    let mut lookup = resolve;
    lookup.set(LookupFlags::FOLLOW, !nofollow);
    lookup.set(LookupFlags::DIRECTORY, flags.contains(OpenFlags::DIRECTORY));
    if flags.contains(OpenFlags::TMPFILE) {
        return open_unnamed(
            thread,
            dirfd,
            path,
            flags,
            mode,
            lookup | LookupFlags::FOLLOW,
        );
    }
    if flags.contains(OpenFlags::CREAT) && !flags.contains(OpenFlags::PATH) {
        return open_creating(thread, dirfd, path, flags, mode, lookup);
    }
    let place = Walker::new(thread, dirfd, path, lookup)?.lookup(path)?;
    open_place(&place, flags, &thread.cred(), false)
}

fn open_creating(
    thread: &Thread,
    dirfd: DirFd,
    path: &[u8],
    flags: OpenFlags,
    mode: u32,
    lookup: LookupFlags,
) -> Result<Arc<File>> {
    let cred = thread.cred();
    let exclusive = flags.contains(OpenFlags::EXCL);
    let follow = lookup.contains(LookupFlags::FOLLOW) && !exclusive;
    let mut walker = Walker::new(thread, dirfd, path, lookup)?;
    let (parent, place) = walker.parent_following(path, follow)?;
    if !place.dentry.is_negative() {
        if exclusive {
            return Err(Errno::EEXIST);
        }
        let inode = place.inode()?;
        if inode.is_dir() {
            return Err(Errno::EISDIR);
        }
        if parent.must_be_dir {
            return Err(Errno::ENOTDIR);
        }
        if lookup.contains(LookupFlags::DIRECTORY) {
            return Err(Errno::ENOTDIR);
        }
        super::protected::check_create(&*parent.dir.inode()?, &inode, &cred)?;
        return open_place(&place, flags, &cred, false);
    }
    if parent.must_be_dir {
        return Err(Errno::EISDIR);
    }
    let dir_inode = parent.dir.inode()?;
    let (dentry, created) = {
        let _exclusive = dir_inode.rwsem.write();
        let dentry = child_locked(&parent.dir.dentry, &dir_inode, &parent.name)?;
        if dentry.is_negative() {
            permission::check_create(&parent.dir, &dir_inode, &cred)?;
            let perm = super::acl::new_mode(&dir_inode, mode & 0o7777, thread.fs().umask());
            let (owner, perm) = permission::new_owner(&dir_inode, &cred, perm, false);
            let file_mode = perm | u32::from(FileType::Regular.mode().0);
            let inode = dir_inode
                .ops
                .create(&dir_inode, &parent.name, file_mode, 0, &owner)?;
            super::acl::inherit(&dir_inode, &inode, false)?;
            dentry.instantiate(inode);
            (dentry, true)
        } else {
            (dentry, false)
        }
    };
    let place = Path {
        mount: parent.dir.mount.clone(),
        dentry,
    };
    if created {
        super::notify::created(&parent.dir.dentry, &place.dentry);
    } else if exclusive {
        return Err(Errno::EEXIST);
    }
    open_place(&place, flags, &cred, created)
}

fn open_unnamed(
    thread: &Thread,
    dirfd: DirFd,
    path: &[u8],
    flags: OpenFlags,
    mode: u32,
    lookup: LookupFlags,
) -> Result<Arc<File>> {
    if !matches!(flags.bits() & 3, 1 | 2) {
        return Err(Errno::EINVAL);
    }
    let cred = thread.cred();
    let dir = Walker::new(thread, dirfd, path, lookup | LookupFlags::DIRECTORY)?.lookup(path)?;
    let dir_inode = dir.inode()?;
    permission::check_create(&dir, &dir_inode, &cred)?;
    let perm = super::acl::new_mode(&dir_inode, mode & 0o7777, thread.fs().umask());
    let (owner, perm) = permission::new_owner(&dir_inode, &cred, perm, false);
    let file_mode = perm | u32::from(FileType::Regular.mode().0);
    let inode = dir_inode.ops.tmpfile(&dir_inode, file_mode, &owner)?;
    super::acl::inherit(&dir_inode, &inode, false)?;
    inode
        .linkable
        .store(!flags.contains(OpenFlags::EXCL), Ordering::Relaxed);
    let dentry = super::Dentry::unnamed(&dir.dentry, inode);
    let place = Path {
        mount: dir.mount.clone(),
        dentry,
    };
    open_place(&place, flags - OpenFlags::DIRECTORY, &cred, true)
}

/// Opens what is at a place. `created`: it was made for this, so its mode does not matter.
pub fn open_place(
    place: &Path,
    flags: OpenFlags,
    cred: &Arc<Cred>,
    created: bool,
) -> Result<Arc<File>> {
    let inode = place.inode()?;
    if flags.contains(OpenFlags::PATH) {
        let kept = OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW;
        return Ok(File::new(
            place.clone(),
            inode,
            Arc::new(PathOnly),
            flags & kept,
            cred.clone(),
        ));
    }
    let (read, write) = match flags.bits() & 3 {
        0 => (true, false),
        1 => (false, true),
        2 => (true, true),
        // Access mode 3 asks for both permissions and gives neither (open(2)).
        _ => (true, true),
    };
    check_kind(place, &inode, flags, write)?;
    if !created {
        let mut mask = 0;
        mask |= if read { MAY_READ } else { 0 };
        mask |= if write || flags.contains(OpenFlags::TRUNC) {
            MAY_WRITE
        } else {
            0
        };
        permission::check_path(place, &inode, cred, mask)?;
    }
    check_append_and_noatime(&inode, flags, write, cred)?;
    if write && inode.is_regular() && inode.write_count.load(Ordering::Acquire) < 0 {
        return Err(Errno::ETXTBSY);
    }
    super::notify::may_open(place, false)?;
    let truncate = flags.contains(OpenFlags::TRUNC) && inode.is_regular() && !created;
    if inode.is_regular() {
        let nonblocking = flags.contains(OpenFlags::NONBLOCK);
        super::locks::break_leases(&inode, write || truncate, nonblocking)?;
    }
    if truncate {
        truncate_inode(place, &inode, 0, cred)?;
    }
    let ops = match inode.file_type {
        FileType::CharDevice => crate::device::open_char(place, &inode, flags)?,
        FileType::BlockDevice => crate::block::open(&inode, flags)?,
        FileType::Fifo => crate::ipc::pipe::open_fifo(&inode, flags)?,
        _ => inode.ops.open(&inode, flags)?,
    };
    let file = File::new(place.clone(), inode.clone(), ops, flags, cred.clone());
    file.hold_write();
    super::notify::opened(&file, false);
    Ok(file)
}

fn check_kind(place: &Path, inode: &Arc<Inode>, flags: OpenFlags, write: bool) -> Result<()> {
    match inode.file_type {
        FileType::Symlink => Err(Errno::ELOOP),
        FileType::Socket => Err(Errno::ENXIO),
        FileType::Directory if write || flags.contains(OpenFlags::CREAT) => Err(Errno::EISDIR),
        FileType::Directory => Ok(()),
        _ if flags.contains(OpenFlags::DIRECTORY) => Err(Errno::ENOTDIR),
        FileType::CharDevice | FileType::BlockDevice if place.mount.is_nodev() => {
            Err(Errno::EACCES)
        }
        _ => Ok(()),
    }
}

fn check_append_and_noatime(
    inode: &Arc<Inode>,
    flags: OpenFlags,
    write: bool,
    cred: &Cred,
) -> Result<()> {
    const STATX_ATTR_APPEND: u64 = 0x20;
    if inode.attr().attributes & STATX_ATTR_APPEND != 0
        && ((write && !flags.contains(OpenFlags::APPEND)) || flags.contains(OpenFlags::TRUNC))
    {
        return Err(Errno::EPERM);
    }
    if flags.contains(OpenFlags::NOATIME) {
        permission::check_owner(inode, cred)?;
    }
    Ok(())
}

/// Sets a regular file's length: the common part of truncate(2), ftruncate(2) and O_TRUNC. Permission has been
/// checked; EFBIG beyond RLIMIT_FSIZE.
pub fn truncate_inode(place: &Path, inode: &Arc<Inode>, size: u64, cred: &Cred) -> Result<()> {
    let _writer = inode.rwsem.write();
    let attr = inode.attr();
    let now = super::Time::now();
    let set = SetAttr {
        size: Some(size),
        mode: permission::mode_without_setid(&attr, cred),
        mtime: Some(now),
        ctime: Some(now),
        ..SetAttr::default()
    };
    inode.ops.setattr(inode, &set)?;
    super::notify::modified(&place.dentry);
    Ok(())
}

/// Opens a program: EACCES unless it is a regular file that may be executed.
pub fn open_exec(thread: &Thread, dirfd: DirFd, path: &[u8], flags: AtFlags) -> Result<Arc<File>> {
    if !(AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW).contains(flags) {
        return Err(Errno::EINVAL);
    }
    let mut lookup = LookupFlags::empty();
    lookup.set(LookupFlags::EMPTY_PATH, flags.contains(AtFlags::EMPTY_PATH));
    lookup.set(
        LookupFlags::FOLLOW,
        !flags.contains(AtFlags::SYMLINK_NOFOLLOW),
    );
    let place = Walker::new(thread, dirfd, path, lookup)?.lookup(path)?;
    let inode = place.inode()?;
    if inode.is_symlink() {
        return Err(Errno::ELOOP);
    }
    if !inode.is_regular() || place.mount.is_noexec() {
        return Err(Errno::EACCES);
    }
    let cred = thread.cred();
    permission::check(&inode, &cred, MAY_EXEC)?;
    super::notify::may_open(&place, true)?;
    let ops = inode.ops.open(&inode, OpenFlags::empty())?;
    let file = File::new(place, inode, ops, OpenFlags::empty(), cred);
    file.deny_write()?;
    super::notify::opened(&file, true);
    Ok(file)
}

/// Gives a thread one more descriptor for /dev/console.
pub fn open_console(thread: &Arc<Thread>) -> Result<Fd> {
    let flags = OpenFlags::RDWR | OpenFlags::NOCTTY;
    let file = open(
        thread,
        DirFd::CWD,
        b"/dev/console",
        flags,
        0,
        LookupFlags::empty(),
    )?;
    thread.files().install(file, false)
}
