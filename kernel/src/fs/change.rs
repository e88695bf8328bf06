//! Changing directories: making, linking, removing and renaming, with all checks (mkdir(2), link(2), unlink(2),
//! rename(2), …).
//!
//! Each function takes the places that a path walk has found, locks the directories, looks the names up again under
//! the locks, checks, asks the file system, and moves the dentry cache along.

use core::sync::atomic::Ordering;
use keel_abi::args::FileType;
use keel_abi::flags::RenameFlags;

use super::namei::{Parent, child_locked};
use super::notify;
use super::permission::{self, MAY_WRITE};
use super::{Dentry, Inode, Path, acl};
use crate::prelude::*;
use crate::process::{Cap, Cred};

const STATX_ATTR_IMMUTABLE: u64 = 0x10;
const STATX_ATTR_APPEND: u64 = 0x20;

impl Parent {
    /// Whether the last component is a name rather than `.`, `..` or the root.
    pub fn is_name(&self) -> bool {
        !matches!(&self.name[..], b"." | b".." | b"/")
    }

    fn child_path(&self, dentry: Arc<Dentry>) -> Path {
        Path {
            mount: self.dir.mount.clone(),
            dentry,
        }
    }
}

/// Makes something under a name that must not exist: EEXIST, ENOENT with a trailing slash where no directory is made.
fn make(
    parent: &Parent,
    cred: &Cred,
    is_dir: bool,
    act: impl FnOnce(&Arc<Inode>, &[u8]) -> Result<Arc<Inode>>,
) -> Result<Path> {
    if !parent.is_name() {
        return Err(Errno::EEXIST);
    }
    let dir = parent.dir.inode()?;
    let dentry = {
        let _exclusive = dir.rwsem.write();
        let dentry = child_locked(&parent.dir.dentry, &dir, &parent.name)?;
        if !dentry.is_negative() {
            return Err(Errno::EEXIST);
        }
        if parent.must_be_dir && !is_dir {
            return Err(Errno::ENOENT);
        }
        permission::check_create(&parent.dir, &dir, cred)?;
        dentry.instantiate(act(&dir, &parent.name)?);
        dentry
    };
    notify::created(&parent.dir.dentry, &dentry);
    Ok(parent.child_path(dentry))
}

/// Makes a file, device node, fifo or socket (mknod(2)); `mode` has type and permissions. EPERM for devices without
/// CAP_MKNOD.
pub fn mknod(parent: &Parent, mode: u32, rdev: u64, umask: u32, cred: &Cred) -> Result<Path> {
    let file_type = super::file_type_of(mode);
    make(parent, cred, false, |dir, name| {
        let whiteout = file_type == FileType::CharDevice && rdev == 0;
        if matches!(file_type, FileType::CharDevice | FileType::BlockDevice)
            && !whiteout
            && !cred.has(Cap::MKNOD)
        {
            return Err(Errno::EPERM);
        }
        let perm = acl::new_mode(dir, mode & 0o7777, umask);
        let (owner, perm) = permission::new_owner(dir, cred, perm, false);
        let mode = perm | u32::from(file_type.mode().0);
        let inode = dir.ops.create(dir, name, mode, rdev, &owner)?;
        acl::inherit(dir, &inode, false)?;
        Ok(inode)
    })
}

/// Makes a directory.
pub fn mkdir(parent: &Parent, mode: u32, umask: u32, cred: &Cred) -> Result<Path> {
    make(parent, cred, true, |dir, name| {
        let perm = acl::new_mode(dir, mode & 0o1777, umask);
        let (owner, perm) = permission::new_owner(dir, cred, perm, true);
        let inode = dir.ops.mkdir(dir, name, perm, &owner)?;
        acl::inherit(dir, &inode, true)?;
        Ok(inode)
    })
}

/// Makes a symbolic link.
pub fn symlink(parent: &Parent, target: &[u8], cred: &Cred) -> Result<Path> {
    make(parent, cred, false, |dir, name| {
        let (owner, _) = permission::new_owner(dir, cred, 0o777, false);
        dir.ops.symlink(dir, name, target, &owner)
    })
}

/// Gives a file another name: EXDEV, EPERM for directories and what others own.
pub fn link(source: &Path, parent: &Parent, cred: &Cred) -> Result<()> {
    let inode = source.inode()?;
    make(parent, cred, false, |dir, name| {
        if !Arc::ptr_eq(&source.mount, &parent.dir.mount) {
            return Err(Errno::EXDEV);
        }
        let attr = inode.attr();
        super::protected::check_hardlink(&inode, cred)?;
        if inode.is_dir() || attr.attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND) != 0 {
            return Err(Errno::EPERM);
        }
        if attr.nlink == 0 && !inode.linkable.load(Ordering::Relaxed) {
            return Err(Errno::ENOENT);
        }
        dir.ops.link(dir, name, &inode)?;
        inode.linkable.store(false, Ordering::Relaxed);
        notify::link_count(&inode);
        Ok(inode.clone())
    })?;
    Ok(())
}

/// EBUSY if something is mounted on a name, as the mount's own namespace sees it.
fn check_no_mount(dir: &Path, dentry: &Arc<Dentry>) -> Result<()> {
    if !dentry.is_mountpoint() {
        return Ok(());
    }
    match dir.mount.namespace() {
        Some(ns) if ns.has_mount_on(dentry) => Err(Errno::EBUSY),
        _ => Ok(()),
    }
}

/// The name is gone: the cache forgets it, and mounts on it in other namespaces go.
fn name_removed(dentry: &Arc<Dentry>) {
    dentry.unlink();
    if dentry.is_mountpoint() {
        super::mounting::detach_everywhere(dentry);
    }
}

/// Removes a name that is not a directory's (unlink(2)).
pub fn unlink(parent: &Parent, cred: &Cred) -> Result<()> {
    if !parent.is_name() {
        return Err(Errno::EISDIR);
    }
    let dir = parent.dir.inode()?;
    let dentry = {
        let _exclusive = dir.rwsem.write();
        let dentry = child_locked(&parent.dir.dentry, &dir, &parent.name)?;
        let inode = dentry.inode().ok_or(Errno::ENOENT)?;
        if parent.must_be_dir {
            return Err(if inode.is_dir() {
                Errno::EISDIR
            } else {
                Errno::ENOTDIR
            });
        }
        permission::check_delete(&parent.dir, &dir, &inode, cred)?;
        if inode.is_dir() {
            return Err(Errno::EISDIR);
        }
        check_no_mount(&parent.dir, &dentry)?;
        dir.ops.unlink(&dir, &parent.name, &inode)?;
        name_removed(&dentry);
        dentry
    };
    notify::deleted(&parent.dir.dentry, &dentry);
    Ok(())
}

/// Removes an empty directory (rmdir(2)).
pub fn rmdir(parent: &Parent, cred: &Cred) -> Result<()> {
    match &parent.name[..] {
        b"." => return Err(Errno::EINVAL),
        b".." => return Err(Errno::ENOTEMPTY),
        b"/" => return Err(Errno::EBUSY),
        _ => {}
    }
    let dir = parent.dir.inode()?;
    let dentry = {
        let _exclusive = dir.rwsem.write();
        let dentry = child_locked(&parent.dir.dentry, &dir, &parent.name)?;
        let inode = dentry.inode().ok_or(Errno::ENOENT)?;
        permission::check_delete(&parent.dir, &dir, &inode, cred)?;
        if !inode.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        check_no_mount(&parent.dir, &dentry)?;
        // Nothing is made in it from here on.
        let _victim = inode.rwsem.write();
        dir.ops.rmdir(&dir, &parent.name, &inode)?;
        name_removed(&dentry);
        dentry
    };
    notify::deleted(&parent.dir.dentry, &dentry);
    Ok(())
}

/// One side of a rename, with its directory locked.
struct Side<'a> {
    parent: &'a Parent,
    dir: Arc<Inode>,
    dentry: Arc<Dentry>,
}

/// rename(2), renameat2(2).
pub fn rename(old: &Parent, new: &Parent, flags: RenameFlags, cred: &Cred) -> Result<()> {
    check_rename_flags(flags, cred)?;
    if !old.is_name() {
        return Err(Errno::EBUSY);
    }
    if !new.is_name() {
        let keep = flags.contains(RenameFlags::NOREPLACE);
        return Err(if keep { Errno::EEXIST } else { Errno::EBUSY });
    }
    if !Arc::ptr_eq(&old.dir.mount, &new.dir.mount) {
        return Err(Errno::EXDEV);
    }
    let (old_dir, new_dir) = (old.dir.inode()?, new.dir.inode()?);
    let same_dir = Arc::ptr_eq(&old_dir, &new_dir);
    let sb = old_dir.sb.clone();
    let _tree = (!same_dir).then(|| sb.rename.lock());
    let (first, second) = lock_order(&old.dir.dentry, &new.dir.dentry, &old_dir, &new_dir);
    let _first = first.rwsem.write();
    let _second = (!same_dir).then(|| second.rwsem.write());
    let from = Side {
        dentry: child_locked(&old.dir.dentry, &old_dir, &old.name)?,
        dir: old_dir,
        parent: old,
    };
    let to = Side {
        dentry: child_locked(&new.dir.dentry, &new_dir, &new.name)?,
        dir: new_dir,
        parent: new,
    };
    let moved = from.dentry.inode().ok_or(Errno::ENOENT)?;
    let target = to.dentry.inode();
    check_names(&from, &to, &moved, target.as_ref(), flags)?;
    if target
        .as_ref()
        .is_some_and(|target| Arc::ptr_eq(target, &moved))
    {
        return Ok(());
    }
    check_rename(&from, &to, &moved, target.as_ref(), flags, cred)?;
    let _victim = match &target {
        Some(target) if target.is_dir() && !flags.contains(RenameFlags::EXCHANGE) => {
            Some(target.rwsem.write())
        }
        _ => None,
    };
    let ops = &from.dir.ops;
    ops.rename(
        &from.dir,
        &old.name,
        &moved,
        &to.dir,
        &new.name,
        target.as_ref(),
        flags,
    )?;
    finish_rename(&from, &to, target.as_ref(), flags);
    Ok(())
}

fn check_rename_flags(flags: RenameFlags, cred: &Cred) -> Result<()> {
    let others = RenameFlags::NOREPLACE | RenameFlags::WHITEOUT;
    if !RenameFlags::all().contains(flags)
        || (flags.contains(RenameFlags::EXCHANGE) && flags.intersects(others))
    {
        return Err(Errno::EINVAL);
    }
    if flags.contains(RenameFlags::WHITEOUT) {
        cred.require(Cap::MKNOD)
    } else {
        Ok(())
    }
}

/// Ancestors are locked before what is below them.
fn lock_order(
    old: &Arc<Dentry>,
    new: &Arc<Dentry>,
    old_dir: &Arc<Inode>,
    new_dir: &Arc<Inode>,
) -> (Arc<Inode>, Arc<Inode>) {
    let by_address = Arc::as_ptr(old_dir) < Arc::as_ptr(new_dir);
    let old_first = new.is_below(old) || (by_address && !old.is_below(new));
    if old_first {
        (old_dir.clone(), new_dir.clone())
    } else {
        (new_dir.clone(), old_dir.clone())
    }
}

/// What the names alone forbid.
fn check_names(
    from: &Side,
    to: &Side,
    moved: &Arc<Inode>,
    target: Option<&Arc<Inode>>,
    flags: RenameFlags,
) -> Result<()> {
    let exchange = flags.contains(RenameFlags::EXCHANGE);
    if flags.contains(RenameFlags::NOREPLACE) && target.is_some() {
        return Err(Errno::EEXIST);
    }
    if exchange {
        let other = target.ok_or(Errno::ENOENT)?;
        if !other.is_dir() && to.parent.must_be_dir {
            return Err(Errno::ENOTDIR);
        }
    }
    if !moved.is_dir() && (from.parent.must_be_dir || (!exchange && to.parent.must_be_dir)) {
        return Err(Errno::ENOTDIR);
    }
    if to.parent.dir.dentry.is_below(&from.dentry) {
        return Err(Errno::EINVAL);
    }
    if from.parent.dir.dentry.is_below(&to.dentry) {
        return Err(if exchange {
            Errno::EINVAL
        } else {
            Errno::ENOTEMPTY
        });
    }
    Ok(())
}

/// What permissions, types and mounts forbid.
fn check_rename(
    from: &Side,
    to: &Side,
    moved: &Arc<Inode>,
    target: Option<&Arc<Inode>>,
    flags: RenameFlags,
    cred: &Cred,
) -> Result<()> {
    let exchange = flags.contains(RenameFlags::EXCHANGE);
    permission::check_delete(&from.parent.dir, &from.dir, moved, cred)?;
    match target {
        None => permission::check_create(&to.parent.dir, &to.dir, cred)?,
        Some(target) => {
            permission::check_delete(&to.parent.dir, &to.dir, target, cred)?;
            if !exchange && moved.is_dir() && !target.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            if !exchange && !moved.is_dir() && target.is_dir() {
                return Err(Errno::EISDIR);
            }
        }
    }
    // A directory that gets another parent is changed itself: its `..` is.
    if !Arc::ptr_eq(&from.dir, &to.dir) {
        if moved.is_dir() {
            permission::check(moved, cred, MAY_WRITE)?;
        }
        if let Some(target) = target.filter(|target| exchange && target.is_dir()) {
            permission::check(target, cred, MAY_WRITE)?;
        }
    }
    check_no_mount(&from.parent.dir, &from.dentry)?;
    check_no_mount(&to.parent.dir, &to.dentry)
}

fn finish_rename(from: &Side, to: &Side, target: Option<&Arc<Inode>>, flags: RenameFlags) {
    let (old_dir, new_dir) = (&from.parent.dir.dentry, &to.parent.dir.dentry);
    if flags.contains(RenameFlags::EXCHANGE) {
        from.dentry.exchange(&to.dentry);
        notify::moved(old_dir, &from.parent.name, &from.dentry, None);
        notify::moved(new_dir, &to.parent.name, &to.dentry, None);
        return;
    }
    if target.is_some() {
        name_removed(&to.dentry);
    } else {
        to.dentry.forget();
    }
    from.dentry.move_to(new_dir, &to.parent.name);
    notify::moved(old_dir, &from.parent.name, &from.dentry, target);
}
