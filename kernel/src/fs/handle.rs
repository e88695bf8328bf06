//! File handles: names of files that outlive their paths (name_to_handle_at(2), open_by_handle_at(2)).
//!
//! What a handle says is the file system's affair ([`super::InodeOps::encode_handle`]); here a place is made for the inode
//! that it means. A directory is reconnected with its parents, so that it has a path; a file has a place without one.

use keel_abi::args::FileType;
use keel_abi::flags::OpenFlags;

use super::mount::Mount;
use super::{Dentry, DirSink, File, Inode, Path};
use crate::prelude::*;

/// Longest handle (`MAX_HANDLE_SZ`).
pub const MAX_BYTES: usize = 128;
/// Inode number and generation, 32 bits each (`FILEID_INO32_GEN`).
pub const INO32_GEN: i32 = 1;
/// What stands for a file system's own handle where it has none (`FILEID_INO64_GEN`): good to compare only.
const INO64_GEN: i32 = 0x81;
/// Most directories above one another that are reconnected.
const MAX_DEPTH: usize = 4096;

/// The handle of an inode: EOPNOTSUPP. `identify`: it need not be good for opening (AT_HANDLE_FID).
pub fn encode(inode: &Arc<Inode>, identify: bool) -> Result<(i32, Vec<u8>)> {
    match inode.ops.encode_handle(inode) {
        Some(handle) => Ok(handle),
        None if identify => {
            let mut bytes = inode.ino.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&0_u32.to_ne_bytes());
            Ok((INO64_GEN, bytes))
        }
        None => Err(Errno::EOPNOTSUPP),
    }
}

/// The place of what a handle means: ESTALE.
pub fn decode(mount: &Arc<Mount>, kind: i32, bytes: &[u8]) -> Result<Path> {
    let inode = mount.sb.ops.decode_handle(kind, bytes)?;
    if inode.attr().nlink == 0 {
        return Err(Errno::ESTALE);
    }
    let dentry = if inode.is_dir() {
        connect(mount, &inode)?
    } else {
        Dentry::disconnected(b"/", inode)
    };
    Ok(Path {
        mount: mount.clone(),
        dentry,
    })
}

/// The dentry of a directory, found by going up to the root and down again.
fn connect(mount: &Arc<Mount>, inode: &Arc<Inode>) -> Result<Arc<Dentry>> {
    let top = mount.sb.root_dentry().ok_or(Errno::ESTALE)?;
    let root = mount.sb.root()?;
    let mut names = Vec::new();
    let mut at = inode.clone();
    while at.ino != root.ino {
        let parent = {
            let _shared = at.rwsem.read();
            at.ops.lookup(&at, b"..")?
        };
        if names.len() == MAX_DEPTH || parent.ino == at.ino {
            return Err(Errno::ESTALE);
        }
        names.push(name_in(mount, &parent, at.ino)?);
        at = parent;
    }
    let mut dentry = top.clone();
    for name in names.iter().rev() {
        let dir = dentry.inode().ok_or(Errno::ESTALE)?;
        let _shared = dir.rwsem.read();
        dentry = super::namei::child_locked(&dentry, &dir, name)?;
    }
    let found = dentry.inode().ok_or(Errno::ESTALE)?;
    if Arc::ptr_eq(&found, inode) {
        Ok(dentry)
    } else {
        Err(Errno::ESTALE)
    }
}

/// Looks for the name of an inode number.
struct Finder {
    ino: u64,
    name: Option<Vec<u8>>,
}

impl DirSink for Finder {
    fn entry(&mut self, name: &[u8], ino: u64, _: FileType, _: u64) -> bool {
        if ino == self.ino && name != b"." && name != b".." {
            self.name = Some(name.to_vec());
        }
        self.name.is_none()
    }
}

fn name_in(mount: &Arc<Mount>, dir: &Arc<Inode>, ino: u64) -> Result<Vec<u8>> {
    let flags = OpenFlags::empty();
    let place = Path {
        mount: mount.clone(),
        dentry: Dentry::disconnected(b"/", dir.clone()),
    };
    let ops = dir.ops.open(dir, flags)?;
    let cred = Arc::new(crate::process::Cred::root());
    let file = File::new(place, dir.clone(), ops, flags, cred);
    let mut finder = Finder { ino, name: None };
    let mut pos = 0;
    loop {
        let before = pos;
        let _shared = dir.rwsem.read();
        file.ops.readdir(&file, &mut pos, &mut finder)?;
        match finder.name {
            Some(name) => return Ok(name),
            None if pos == before => return Err(Errno::ESTALE),
            None => {}
        }
    }
}
