//! Inode flags: FS_IOC_GETFLAGS and its kin, file_getattr(2), file_setattr(2) (ioctl_iflags(2), ioctl_xfs_fsgetxattr(2)).
//!
//! A file system knows the flags of FS_IOC_GETFLAGS; those of `struct fsxattr` are the same in other places.

use keel_abi::args::UserPtr;
use keel_abi::flags::IoctlCmd;
use keel_abi::types::{FileAttr, Fsxattr};

use super::{File, Inode, Path, permission};
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::{Cap, Cred};

/// Writes go to the disk at once.
pub const SYNC: u32 = 0x8;
/// Nothing about it can be changed.
pub const IMMUTABLE: u32 = 0x10;
/// It can only be appended to.
pub const APPEND: u32 = 0x20;
/// dump(8) leaves it out.
pub const NODUMP: u32 = 0x40;
/// Its access time stays.
pub const NOATIME: u32 = 0x80;
const DAX: u32 = 0x0200_0000;
const PROJINHERIT: u32 = 0x2000_0000;

/// The same flag as FS_IOC_GETFLAGS and as `struct fsxattr` have it.
const PAIRS: [(u32, u64); 7] = [
    (SYNC, 0x20),
    (IMMUTABLE, 0x8),
    (APPEND, 0x10),
    (NODUMP, 0x80),
    (NOATIME, 0x40),
    (DAX, 0x8000),
    (PROJINHERIT, 0x200),
];
/// Flags of `struct fsxattr` that mean something to some file system.
const KNOWN_XFLAGS: u64 = 0x8003_ffff & !0x4;

/// Flags of an inode.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FileFlags {
    /// As FS_IOC_GETFLAGS gives them.
    pub flags: u32,
    /// Project.
    pub project: u32,
}

impl FileFlags {
    fn xflags(self) -> u64 {
        let set = PAIRS.iter().filter(|(flag, _)| self.flags & flag != 0);
        set.fold(0, |all, (_, bit)| all | bit)
    }

    /// The flags that `struct fsxattr` can tell of replaced by these: EOPNOTSUPP for others.
    fn with_xflags(self, xflags: u64) -> Result<Self> {
        let known = PAIRS.iter().fold(0, |all, (_, bit)| all | bit);
        if xflags & !known != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut flags = self.flags;
        for (flag, bit) in PAIRS {
            flags &= !flag;
            if xflags & bit != 0 {
                flags |= flag;
            }
        }
        Ok(Self { flags, ..self })
    }
}

/// Changes an inode's flags: EROFS, EPERM, EOPNOTSUPP.
fn set(
    path: &Path,
    inode: &Arc<Inode>,
    cred: &Cred,
    change: impl FnOnce(FileFlags) -> Result<FileFlags>,
) -> Result<()> {
    if path.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    permission::check_owner(inode, cred)?;
    {
        let _exclusive = inode.rwsem.write();
        let old = inode.ops.fileattr(inode)?;
        let new = change(old)?;
        if (old.flags ^ new.flags) & (APPEND | IMMUTABLE) != 0 {
            cred.require(Cap::LINUX_IMMUTABLE)?;
        }
        inode.ops.set_fileattr(inode, new)?;
    }
    super::notify::attributes(&path.dentry);
    Ok(())
}

/// The ioctls about flags; `None` for others.
pub fn ioctl(file: &Arc<File>, cmd: IoctlCmd, arg: u64, cred: &Cred) -> Option<Result<usize>> {
    let inode = &file.inode;
    let current = || inode.ops.fileattr(inode);
    let done = |result: Result<()>| Some(result.map(|()| 0));
    match cmd {
        IoctlCmd::FS_IOC_GETFLAGS => {
            done(current().and_then(|now| UserPtr::<u32>::new(arg).write(&now.flags)))
        }
        IoctlCmd::FS_IOC_SETFLAGS => done(UserPtr::<u32>::new(arg).read().and_then(|flags| {
            current()?;
            set(&file.path, inode, cred, |old| {
                Ok(FileFlags { flags, ..old })
            })
        })),
        IoctlCmd::FS_IOC_FSGETXATTR => done(current().and_then(|now| {
            UserPtr::<Fsxattr>::new(arg).write(&Fsxattr {
                fsx_xflags: now.xflags() as u32,
                fsx_projid: now.project,
                ..Fsxattr::default()
            })
        })),
        IoctlCmd::FS_IOC_FSSETXATTR => done(UserPtr::<Fsxattr>::new(arg).read().and_then(|new| {
            current()?;
            set(&file.path, inode, cred, |old| {
                if new.fsx_extsize != 0 {
                    return Err(Errno::EINVAL);
                }
                let flags = old.with_xflags(u64::from(new.fsx_xflags))?;
                let project = new.fsx_projid;
                Ok(FileFlags { project, ..flags })
            })
        })),
        _ => None,
    }
}

/// file_getattr(2): EOPNOTSUPP.
pub fn get_at(inode: &Arc<Inode>) -> Result<FileAttr> {
    let now = inode.ops.fileattr(inode).map_err(unsupported)?;
    Ok(FileAttr {
        fa_xflags: now.xflags(),
        fa_projid: now.project,
        ..FileAttr::default()
    })
}

/// file_setattr(2): EOPNOTSUPP, EINVAL, EPERM.
pub fn set_at(path: &Path, inode: &Arc<Inode>, new: &FileAttr, cred: &Cred) -> Result<()> {
    if new.fa_xflags & !KNOWN_XFLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let result = set(path, inode, cred, |old| {
        if new.fa_extsize != 0 || new.fa_cowextsize != 0 {
            return Err(Errno::EINVAL);
        }
        let flags = old.with_xflags(new.fa_xflags)?;
        let project = new.fa_projid;
        Ok(FileFlags { project, ..flags })
    });
    result.map_err(unsupported)
}

fn unsupported(error: Errno) -> Errno {
    if error == Errno::ENOTTY {
        Errno::EOPNOTSUPP
    } else {
        error
    }
}
