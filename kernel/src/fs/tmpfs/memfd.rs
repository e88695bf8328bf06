//! Files without a name (memfd_create(2)) and their seals (fcntl(2), "File Sealing").

use keel_abi::args::FileType;
use keel_abi::flags::{MemfdFlags, MountFlags, OpenFlags, SealFlags};

use super::inode::{self, Kind};
use super::options::Options;
use super::pages::{Shmem, Space};
use super::{TMPFS_MAGIC, Tmpfs};
use crate::fs::mount::Mount;
use crate::fs::{Dentry, File, FileOps, Inode, Owner, Path, SuperBlock};
use crate::prelude::*;
use crate::process::Thread;

/// Longest name with its prefix.
const NAME_LIMIT: usize = 255;
const PREFIX: &[u8] = b"memfd:";

/// Seals that forbid a writable shared mapping.
pub const SEALS_AGAINST_WRITE: u32 = SealFlags::WRITE.union(SealFlags::FUTURE_WRITE).bits();

/// The longest name that memfd_create(2) takes.
pub const MAX_NAME: usize = NAME_LIMIT - PREFIX.len();

/// The tmpfs that memfds live on; mounted nowhere.
struct Home {
    sb: Arc<SuperBlock>,
    mount: Arc<Mount>,
    space: Arc<Space>,
}

static HOME: OnceLock<Home> = OnceLock::new();

fn home() -> Result<&'static Home> {
    if let Some(home) = HOME.get() {
        return Ok(home);
    }
    let options = Options {
        max_pages: Some(u64::MAX),
        ..Options::default()
    };
    let sb = super::new_super(&Tmpfs, Some(b"tmpfs"), false, &options, TMPFS_MAGIC)?;
    let mount = Mount::of(&sb, b"tmpfs", MountFlags::empty())?;
    let space = Space::new(u64::MAX, u64::MAX);
    Ok(HOME.call_once(|| Home { sb, mount, space }))
}

/// Makes a memfd: EINVAL for unknown flags or a name that is too long.
pub fn create(thread: &Thread, name: &[u8], flags: MemfdFlags) -> Result<Arc<File>> {
    let home = home()?;
    let no_exec = flags.contains(MemfdFlags::NOEXEC_SEAL);
    let seals = match (no_exec, flags.contains(MemfdFlags::ALLOW_SEALING)) {
        (true, _) => SealFlags::EXEC,
        (false, true) => SealFlags::empty(),
        (false, false) => SealFlags::SEAL,
    };
    let cred = thread.cred();
    let owner = Owner {
        uid: cred.fsuid,
        gid: cred.fsgid,
    };
    let perm = if no_exec { 0o666 } else { 0o777 };
    let mode = u32::from(FileType::Regular.mode().0) | perm;
    let pages = Shmem::new(&home.space, seals);
    let inode = inode::new_inode(&home.sb, &home.space, mode, 0, &owner, Kind::File(pages))?;
    inode.update_attr(|attr| attr.nlink = 0);
    let shown = [b"/", PREFIX, name, b" (deleted)"].concat();
    let path = Path {
        mount: home.mount.clone(),
        dentry: Dentry::disconnected(&shown, inode.clone()),
    };
    let open = OpenFlags::RDWR | OpenFlags::LARGEFILE;
    let ops = inode.ops.open(&inode, open)?;
    Ok(File::new(path, inode, ops, open, cred))
}

/// Makes a file of `size` bytes that behaves as `ops` says, for a System V segment: ENOMEM.
pub fn create_segment(
    thread: &Thread,
    name: &[u8],
    size: usize,
    mode: u32,
    ops: Arc<dyn FileOps>,
) -> Result<(Arc<File>, Arc<Shmem>)> {
    let home = home()?;
    let cred = thread.cred();
    let owner = Owner {
        uid: cred.euid,
        gid: cred.egid,
    };
    let mode = u32::from(FileType::Regular.mode().0) | mode;
    let pages = Shmem::new(&home.space, SealFlags::SEAL);
    pages.truncate(size as u64)?;
    let kind = Kind::File(pages.clone());
    let inode = inode::new_inode(&home.sb, &home.space, mode, 0, &owner, kind)?;
    inode.update_attr(|attr| {
        attr.nlink = 0;
        attr.size = size as u64;
    });
    let path = Path {
        mount: home.mount.clone(),
        dentry: Dentry::disconnected(name, inode.clone()),
    };
    let file = File::new(path, inode, ops, OpenFlags::RDWR, cred);
    Ok((file, pages))
}

fn pages_of(inode: &Inode) -> Option<&Arc<Shmem>> {
    match &inode::of(inode)?.kind {
        Kind::File(pages) => Some(pages),
        _ => None,
    }
}

/// How many pages `[first, last)` a file of a tmpfs has; `None` for other files.
pub fn resident_pages(inode: &Arc<Inode>, first: u64, last: u64) -> Option<u64> {
    pages_of(inode).map(|pages| pages.resident(first, last))
}

/// The seals of a file (`F_SEAL_*` bits); 0 where there are none.
pub fn seals_of(inode: &Arc<Inode>) -> u32 {
    pages_of(inode).map_or(0, |pages| pages.seals().bits())
}

/// F_GET_SEALS: EINVAL for files that cannot be sealed.
pub fn get_seals(inode: &Arc<Inode>) -> Result<u32> {
    pages_of(inode)
        .map(|pages| pages.seals().bits())
        .ok_or(Errno::EINVAL)
}

/// F_ADD_SEALS: EINVAL for files that cannot be sealed and unknown seals, EPERM, EBUSY.
pub fn add_seals(file: &File, seals: SealFlags) -> Result<()> {
    if !file.writable() {
        return Err(Errno::EPERM);
    }
    if !SealFlags::all().contains(seals) {
        return Err(Errno::EINVAL);
    }
    let pages = pages_of(&file.inode).ok_or(Errno::EINVAL)?;
    let _writer = file.inode.rwsem.write();
    let mut seals = seals;
    // Sealing an executable's mode seals its contents as well (fcntl(2), F_SEAL_EXEC).
    if seals.contains(SealFlags::EXEC) && file.inode.attr().mode & 0o111 != 0 {
        seals |= SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::FUTURE_WRITE;
    }
    pages.add_seals(seals)
}
