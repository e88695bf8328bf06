//! Extended attributes: who may see and set which (xattr(7)).
//!
//! * `user.*`: regular files and directories, by the file's permissions.
//! * `trusted.*`: CAP_SYS_ADMIN only; others do not see them.
//! * `security.*`: readable by all; setting needs CAP_SYS_ADMIN, `security.capability` CAP_SETFCAP.
//! * `system.posix_acl_*`: the owner's; see [`super::acl`].

use super::notify;
use super::permission::{self, MAY_READ, MAY_WRITE};
use super::{Inode, Path, acl};
use crate::prelude::*;
use crate::process::{Cap, Cred};

/// Longest name.
pub const NAME_MAX: usize = 255;
/// Largest value (`XATTR_SIZE_MAX`).
pub const SIZE_MAX: usize = 65536;
/// Largest list of names (`XATTR_LIST_MAX`).
pub const LIST_MAX: usize = 65536;

const S_ISVTX: u32 = 0o1000;
const STATX_ATTR_IMMUTABLE: u64 = 0x10;
const STATX_ATTR_APPEND: u64 = 0x20;

fn is_acl(name: &[u8]) -> bool {
    name == acl::ACCESS || name == acl::DEFAULT
}

/// Whether `cred` may do that with an attribute of this name: EPERM, EACCES, ENODATA, EOPNOTSUPP.
fn check(path: &Path, inode: &Arc<Inode>, name: &[u8], cred: &Cred, write: bool) -> Result<()> {
    if write {
        if path.mount.is_read_only() {
            return Err(Errno::EROFS);
        }
        if inode.attr().attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND) != 0 {
            return Err(Errno::EPERM);
        }
    }
    if name.starts_with(b"security.") || name.starts_with(b"system.") {
        return Ok(());
    }
    if name.starts_with(b"trusted.") {
        let hidden = if write { Errno::EPERM } else { Errno::ENODATA };
        return if cred.has(Cap::SYS_ADMIN) {
            Ok(())
        } else {
            Err(hidden)
        };
    }
    if !name.starts_with(b"user.") {
        return Err(Errno::EOPNOTSUPP);
    }
    if !inode.is_regular() && !inode.is_dir() {
        return Err(if write { Errno::EPERM } else { Errno::ENODATA });
    }
    let attr = inode.attr();
    if write && inode.is_dir() && attr.mode & S_ISVTX != 0 {
        permission::check_owner(inode, cred)?;
    }
    permission::check(inode, cred, if write { MAY_WRITE } else { MAY_READ })
}

/// What setting a `security.*` attribute needs.
fn check_security(name: &[u8], cred: &Cred) -> Result<()> {
    match name {
        b"security.capability" => cred.require(Cap::SETFCAP),
        name if name.starts_with(b"security.") => cred.require(Cap::SYS_ADMIN),
        _ => Ok(()),
    }
}

/// A name that only is a prefix: EINVAL.
fn check_name(name: &[u8]) -> Result<()> {
    let bare = [&b"user."[..], b"trusted.", b"security.", b"system."].contains(&name);
    if bare { Err(Errno::EINVAL) } else { Ok(()) }
}

/// getxattr(2): the value. ENODATA, EOPNOTSUPP.
pub fn get(path: &Path, inode: &Arc<Inode>, name: &[u8], cred: &Cred) -> Result<Vec<u8>> {
    check(path, inode, name, cred, false)?;
    check_name(name)?;
    if is_acl(name) && inode.is_symlink() {
        return Err(Errno::EOPNOTSUPP);
    }
    inode.ops.getxattr(inode, name)
}

/// setxattr(2). EEXIST with `create`, ENODATA with `replace`.
pub fn set(
    path: &Path,
    inode: &Arc<Inode>,
    name: &[u8],
    value: &[u8],
    create: bool,
    replace: bool,
    cred: &Cred,
) -> Result<()> {
    check(path, inode, name, cred, true)?;
    check_name(name)?;
    let _exclusive = inode.rwsem.write();
    if is_acl(name) {
        if inode.is_symlink() {
            return Err(Errno::EOPNOTSUPP);
        }
        permission::check_owner(inode, cred)?;
        let drop_setgid = !cred.in_group(inode.attr().gid) && !cred.has(Cap::FSETID);
        acl::set(inode, name, value, drop_setgid)?;
    } else {
        check_security(name, cred)?;
        inode.ops.setxattr(inode, name, value, create, replace)?;
    }
    notify::attributes(&path.dentry);
    Ok(())
}

/// listxattr(2): the names that `cred` may know of, each with its NUL.
pub fn list(inode: &Arc<Inode>, cred: &Cred) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for name in inode.ops.listxattr(inode)? {
        if name.starts_with(b"trusted.") && !cred.has(Cap::SYS_ADMIN) {
            continue;
        }
        out.try_reserve(name.len() + 1).map_err(|_| Errno::ENOMEM)?;
        out.extend_from_slice(&name);
        out.push(0);
    }
    Ok(out)
}

/// removexattr(2): ENODATA.
pub fn remove(path: &Path, inode: &Arc<Inode>, name: &[u8], cred: &Cred) -> Result<()> {
    check(path, inode, name, cred, true)?;
    check_name(name)?;
    let _exclusive = inode.rwsem.write();
    if is_acl(name) {
        permission::check_owner(inode, cred)?;
        acl::remove(inode, name)?;
    } else {
        check_security(name, cred)?;
        inode.ops.removexattr(inode, name)?;
    }
    notify::attributes(&path.dentry);
    Ok(())
}
