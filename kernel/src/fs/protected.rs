//! What strangers may do with links and files in shared directories: `fs.protected_*` of proc_sys_fs(5).
//!
//! In sticky directories that others may write to, such as /tmp, anybody can put a file or a link in a program's way.

use core::sync::atomic::{AtomicU8, Ordering};
use keel_abi::args::FileType;

use super::Inode;
use super::permission::{self, MAY_READ, MAY_WRITE};
use crate::prelude::*;
use crate::process::{Cap, Cred};

/// `fs.protected_hardlinks`: on by default, as in Debian's kernel.
pub static HARDLINKS: AtomicU8 = AtomicU8::new(1);
/// `fs.protected_symlinks`: on by default, as in Debian's kernel.
pub static SYMLINKS: AtomicU8 = AtomicU8::new(1);
/// `fs.protected_fifos`: 1 for directories that everybody may write to, 2 also for those of a group.
pub static FIFOS: AtomicU8 = AtomicU8::new(0);
/// `fs.protected_regular`: as [`FIFOS`].
pub static REGULAR: AtomicU8 = AtomicU8::new(0);

const STICKY: u32 = 0o1000;
const SET_UID: u32 = 0o4000;
const SET_GID_EXEC: u32 = 0o2010;
const WORLD_WRITABLE: u32 = 0o002;
const GROUP_WRITABLE: u32 = 0o020;

/// link(2) to another's file: EPERM unless it could be written and has no set-id bits.
pub fn check_hardlink(inode: &Arc<Inode>, cred: &Cred) -> Result<()> {
    if HARDLINKS.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let attr = inode.attr();
    let safe = || {
        inode.is_regular()
            && attr.mode & SET_UID == 0
            && attr.mode & SET_GID_EXEC != SET_GID_EXEC
            && permission::check(inode, cred, MAY_READ | MAY_WRITE).is_ok()
    };
    if attr.uid == cred.fsuid || cred.has(Cap::FOWNER) || safe() {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// A link at the end of a path, found in `dir`: EACCES in a sticky directory that everybody may write to, unless it is
/// the follower's own or the directory's owner's.
pub fn check_symlink(dir: &Inode, link: &Inode, cred: &Cred) -> Result<()> {
    let shared = STICKY | WORLD_WRITABLE;
    let dir = dir.attr();
    if dir.mode & shared != shared || SYMLINKS.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let owner = link.attr().uid;
    if owner == cred.fsuid || owner == dir.uid {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// O_CREAT of a file that is there already: EACCES for another's in a sticky directory.
pub fn check_create(dir: &Inode, inode: &Inode, cred: &Cred) -> Result<()> {
    let level = match inode.file_type {
        FileType::Fifo => FIFOS.load(Ordering::Relaxed),
        FileType::Regular => REGULAR.load(Ordering::Relaxed),
        _ => 0,
    };
    let writable = match level {
        0 => return Ok(()),
        1 => WORLD_WRITABLE,
        _ => WORLD_WRITABLE | GROUP_WRITABLE,
    };
    let (dir, owner) = (dir.attr(), inode.attr().uid);
    let foreign = owner != cred.fsuid && owner != dir.uid;
    if foreign && dir.mode & STICKY != 0 && dir.mode & writable != 0 {
        Err(Errno::EACCES)
    } else {
        Ok(())
    }
}
