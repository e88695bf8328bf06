//! Access times: when reading a file changes its `st_atime` (mount(8), relatime and its kin).

use keel_abi::flags::{MountFlags, OpenFlags};

use super::{File, Inode, Path, SetAttr, Time};
use crate::prelude::*;

/// With relatime, a time older than this many seconds is renewed.
const RELATIME_SECS: i64 = 24 * 60 * 60;

/// A file was read through an open description.
pub fn file_accessed(file: &File) {
    if !file.flags().contains(OpenFlags::NOATIME) {
        accessed(&file.path, &file.inode);
    }
}

/// An inode was read through a mount (directories, symbolic links).
pub fn accessed(path: &Path, inode: &Arc<Inode>) {
    let flags = path.mount.flags();
    if flags.contains(MountFlags::NOATIME)
        || (inode.is_dir() && flags.contains(MountFlags::NODIRATIME))
        || path.mount.is_read_only()
    {
        return;
    }
    let attr = inode.attr();
    if attr.attributes & super::ATTR_NOATIME != 0 {
        return;
    }
    let now = Time::now();
    let stale = attr.atime <= attr.mtime
        || attr.atime <= attr.ctime
        || now.sec - attr.atime.sec >= RELATIME_SECS;
    let due = if flags.contains(MountFlags::RELATIME) {
        stale
    } else {
        attr.atime != now
    };
    if due {
        let set = SetAttr {
            atime: Some(now),
            ..SetAttr::default()
        };
        // Reading works even where the time cannot be kept.
        let _ = inode.ops.setattr(inode, &set);
    }
}
