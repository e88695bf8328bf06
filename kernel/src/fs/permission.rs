//! Who may do what with a file, in one place (path_resolution(7), credentials(7), capabilities(7), acl(5)).

use super::{Attr, Inode, Path};
use crate::prelude::*;
use crate::process::{Cap, Cred};

/// Search (directories) or execute.
pub const MAY_EXEC: u32 = 1;
/// Write.
pub const MAY_WRITE: u32 = 2;
/// Read.
pub const MAY_READ: u32 = 4;

const S_ISVTX: u32 = 0o1000;
const S_ISGID: u32 = 0o2000;
const S_IXGRP: u32 = 0o0010;
const ANY_EXEC: u32 = 0o0111;
const STATX_ATTR_IMMUTABLE: u64 = 0x10;
const STATX_ATTR_APPEND: u64 = 0x20;

/// Checks access to an inode with the file-system ids: EACCES, EPERM for immutable files.
pub fn check(inode: &Arc<Inode>, cred: &Cred, mask: u32) -> Result<()> {
    let attr = inode.attr();
    if mask & MAY_WRITE != 0 && attr.attributes & STATX_ATTR_IMMUTABLE != 0 {
        return Err(Errno::EPERM);
    }
    if let Some(own) = inode.ops.permission(inode, cred, mask) {
        return own;
    }
    if allowed_by_mode(inode, &attr, cred, mask) || overrides(inode, &attr, cred, mask) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

fn allowed_by_mode(inode: &Arc<Inode>, attr: &Attr, cred: &Cred, mask: u32) -> bool {
    let owner = cred.fsuid == attr.uid;
    if !owner
        && attr.mode & 0o070 != 0
        && let Some(allowed) = super::acl::check(inode, attr, cred, mask)
    {
        return allowed;
    }
    let bits = if owner {
        attr.mode >> 6
    } else if cred.in_group(attr.gid) {
        attr.mode >> 3
    } else {
        attr.mode
    };
    mask & !(bits & 7) == 0
}

/// CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
fn overrides(inode: &Arc<Inode>, attr: &Attr, cred: &Cred, mask: u32) -> bool {
    let read_only = mask & MAY_WRITE == 0;
    if inode.is_dir() {
        return cred.has(Cap::DAC_OVERRIDE) || (read_only && cred.has(Cap::DAC_READ_SEARCH));
    }
    if mask == MAY_READ && cred.has(Cap::DAC_READ_SEARCH) {
        return true;
    }
    cred.has(Cap::DAC_OVERRIDE) && (mask & MAY_EXEC == 0 || attr.mode & ANY_EXEC != 0)
}

/// Whether `cred` may read the inode (exec's dumpable rule).
pub fn may_read(inode: &Arc<Inode>, cred: &Cred) -> bool {
    check(inode, cred, MAY_READ).is_ok()
}

/// As [`check`] through a mount: EROFS for writing to a read-only one (devices, fifos and sockets excepted).
pub fn check_path(path: &Path, inode: &Arc<Inode>, cred: &Cred, mask: u32) -> Result<()> {
    use keel_abi::args::FileType::{Directory, Regular, Symlink};
    if mask & MAY_WRITE != 0
        && path.mount.is_read_only()
        && matches!(inode.file_type, Regular | Directory | Symlink)
    {
        return Err(Errno::EROFS);
    }
    check(inode, cred, mask)
}

/// Whether `cred` owns the inode or has CAP_FOWNER: EPERM.
pub fn check_owner(inode: &Arc<Inode>, cred: &Cred) -> Result<()> {
    if cred.fsuid == inode.attr().uid || cred.has(Cap::FOWNER) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Whether names may be added to a directory: EROFS, EACCES, ENOENT if it was removed.
pub fn check_create(dir: &Path, inode: &Arc<Inode>, cred: &Cred) -> Result<()> {
    if dir.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    check_path(dir, inode, cred, MAY_WRITE | MAY_EXEC)
}

/// Whether `victim` may be removed from a directory: EROFS, EACCES, EPERM in a sticky directory.
pub fn check_delete(
    dir: &Path,
    dir_inode: &Arc<Inode>,
    victim: &Arc<Inode>,
    cred: &Cred,
) -> Result<()> {
    check_path(dir, dir_inode, cred, MAY_WRITE | MAY_EXEC)?;
    let attr = dir_inode.attr();
    let victim = victim.attr();
    let sticky = attr.mode & S_ISVTX != 0
        && cred.fsuid != attr.uid
        && cred.fsuid != victim.uid
        && !cred.has(Cap::FOWNER);
    let fixed = (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND) & victim.attributes != 0
        || attr.attributes & STATX_ATTR_APPEND != 0;
    if sticky || fixed {
        Err(Errno::EPERM)
    } else {
        Ok(())
    }
}

/// Mode and owner of a new inode in `dir`: a set-group-ID directory passes on its group, and to directories the bit.
pub fn new_owner(dir: &Arc<Inode>, cred: &Cred, mode: u32, is_dir: bool) -> (super::Owner, u32) {
    let attr = dir.attr();
    let mut mode = mode;
    let mut gid = cred.fsgid;
    if attr.mode & S_ISGID != 0 {
        gid = attr.gid;
        if is_dir {
            mode |= S_ISGID;
        } else if mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP
            && !cred.in_group(gid)
            && !cred.has(Cap::FSETID)
        {
            mode &= !S_ISGID;
        }
    }
    (
        super::Owner {
            uid: cred.fsuid,
            gid,
        },
        mode,
    )
}

/// The mode after a write or chown by somebody without CAP_FSETID: set-id bits go. `None` if it stays.
pub fn mode_without_setid(attr: &Attr, cred: &Cred) -> Option<u32> {
    const S_ISUID: u32 = 0o4000;
    if cred.has(Cap::FSETID) {
        return None;
    }
    let mut mode = attr.mode & !S_ISUID;
    if attr.mode & S_IXGRP != 0 {
        mode &= !S_ISGID;
    }
    (mode != attr.mode).then_some(mode & 0o7777)
}
