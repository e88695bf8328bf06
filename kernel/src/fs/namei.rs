//! Path walks: from names to places (path_resolution(7), symlink(7), openat2(2)).
//!
//! A walk holds no lock between components. A cached dentry costs one shared lock on its directory's children; only
//! what is not cached takes the directory's `rwsem` and asks the file system.

use bitflags::bitflags;
use keel_abi::args::{DirFd, FileType};
use keel_abi::flags::MountFlags;

use super::permission::{self, MAY_EXEC};
use super::{Dentry, FsContext, Inode, Path};
use crate::prelude::*;
use crate::process::{Cred, Thread};

/// Most symbolic links of one walk.
const MAX_LINKS: usize = 40;
/// Longest name.
pub const NAME_MAX: usize = 255;

bitflags! {
    /// How a walk goes.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct LookupFlags: u32 {
        /// Follow a symbolic link that is the last component.
        const FOLLOW = 1 << 0;
        /// The result must be a directory.
        const DIRECTORY = 1 << 1;
        /// An empty path means the starting point (AT_EMPTY_PATH).
        const EMPTY_PATH = 1 << 2;
        /// No symbolic links at all (RESOLVE_NO_SYMLINKS): ELOOP.
        const NO_SYMLINKS = 1 << 3;
        /// No magic links (RESOLVE_NO_MAGICLINKS): ELOOP.
        const NO_MAGICLINKS = 1 << 4;
        /// No mount points (RESOLVE_NO_XDEV): EXDEV.
        const NO_XDEV = 1 << 5;
        /// Never above the starting point (RESOLVE_BENEATH): EXDEV.
        const BENEATH = 1 << 6;
        /// The starting point is the root (RESOLVE_IN_ROOT).
        const IN_ROOT = 1 << 7;
        /// Only what is cached (RESOLVE_CACHED): EAGAIN.
        const CACHED = 1 << 8;
    }
}

/// Where a walk starts, and on whose behalf it goes.
pub struct Walker {
    root: Path,
    start: Path,
    cred: Arc<Cred>,
    flags: LookupFlags,
    links: usize,
}

/// The end of a walk that stops before the last component.
pub struct Parent {
    /// The directory.
    pub dir: Path,
    /// The last name, without slashes; may be `.` or `..`, and is `/` for the root itself.
    pub name: Vec<u8>,
    /// The path ended in a slash: only a directory will do.
    pub must_be_dir: bool,
}

impl Walker {
    /// A walk for a thread, relative to a directory descriptor: EBADF, ENOTDIR.
    pub fn new(thread: &Thread, dirfd: DirFd, path: &[u8], flags: LookupFlags) -> Result<Self> {
        if path.is_empty() && !flags.contains(LookupFlags::EMPTY_PATH) {
            return Err(Errno::ENOENT);
        }
        let fs = thread.fs();
        let cred = thread.cred();
        let start = if path.starts_with(b"/") && !flags.intersects(LookupFlags::IN_ROOT) {
            fs.root()
        } else {
            start_of(thread, &fs, dirfd, path, flags)?
        };
        let confined = flags.intersects(LookupFlags::IN_ROOT | LookupFlags::BENEATH);
        let root = if confined { start.clone() } else { fs.root() };
        Ok(Self {
            root,
            start,
            cred,
            flags,
            links: 0,
        })
    }

    /// A walk from given places.
    pub fn from_places(root: Path, start: Path, cred: Arc<Cred>, flags: LookupFlags) -> Self {
        Self {
            root,
            start,
            cred,
            flags,
            links: 0,
        }
    }

    /// The same walk with other credentials (access(2)).
    pub fn with_cred(mut self, cred: Arc<Cred>) -> Self {
        self.cred = cred;
        self
    }

    /// Walks a whole path: ENOENT for names without a file.
    pub fn lookup(mut self, path: &[u8]) -> Result<Path> {
        if path.is_empty() {
            return if self.flags.contains(LookupFlags::EMPTY_PATH) {
                Ok(self.start)
            } else {
                Err(Errno::ENOENT)
            };
        }
        let flags = self.flags;
        let start = self.begin(path)?;
        let follow = flags.contains(LookupFlags::FOLLOW);
        let end = self.walk(start, path, follow)?;
        let inode = end.inode()?;
        if flags.contains(LookupFlags::DIRECTORY) && !inode.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(end)
    }

    /// Walks to the directory of the last component.
    pub fn parent(mut self, path: &[u8]) -> Result<Parent> {
        self.parent_of(path)
    }

    fn begin(&self, path: &[u8]) -> Result<Path> {
        if path.starts_with(b"/") {
            if self.flags.contains(LookupFlags::BENEATH) {
                return Err(Errno::EXDEV);
            }
            return Ok(self.root.clone());
        }
        Ok(self.start.clone())
    }

    fn parent_of(&mut self, path: &[u8]) -> Result<Parent> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let start = self.begin(path)?;
        let trimmed = trim_slashes(path);
        let must_be_dir = trimmed.len() < path.len() && !trimmed.is_empty();
        let (dir, name) = match trimmed.iter().rposition(|b| *b == b'/') {
            Some(at) => (&trimmed[..at], &trimmed[at + 1..]),
            None => (&b""[..], trimmed),
        };
        let place = if dir.is_empty() {
            start
        } else {
            self.walk(start, dir, true)?
        };
        self.check_dir(&place)?;
        // A path of slashes only means the root itself.
        let name = if name.is_empty() { b"/" } else { name };
        Ok(Parent {
            dir: place,
            name: name.to_vec(),
            must_be_dir,
        })
    }

    /// The last component of an open(2) with O_CREAT: follows links so that the file is made where they point.
    pub fn parent_following(&mut self, path: &[u8], follow: bool) -> Result<(Parent, Path)> {
        let mut parent = self.parent_of(path)?;
        loop {
            let child = self.child(&parent.dir, &parent.name)?;
            let Some(inode) = child.dentry.inode() else {
                return Ok((parent, child));
            };
            if !inode.is_symlink() || !(follow || parent.must_be_dir) {
                return Ok((parent, child));
            }
            if let Some(magic) = self.magic(&inode)? {
                return Ok((parent, magic));
            }
            super::protected::check_symlink(&*parent.dir.inode()?, &inode, &self.cred)?;
            let target = self.link_target(&inode)?;
            let start = if target.starts_with(b"/") {
                self.begin(&target)?
            } else {
                parent.dir
            };
            let saved = core::mem::replace(&mut self.start, start);
            let next = self.parent_of(&target);
            self.start = saved;
            let must_be_dir = parent.must_be_dir;
            parent = next?;
            parent.must_be_dir |= must_be_dir;
        }
    }

    /// Walks the components of `path` from `start`. Nothing is copied unless there are links.
    fn walk(&mut self, start: Path, path: &[u8], follow_last: bool) -> Result<Path> {
        let mut at = start;
        let mut done = 0;
        // Link targets that are being walked, the innermost last, and how far: before what is left of `path`.
        let mut links: Vec<(Vec<u8>, usize)> = Vec::new();
        loop {
            let (text, from) = match links.last() {
                Some((target, from)) => (target.as_slice(), *from),
                None => (path, done),
            };
            let below = &links[..links.len().saturating_sub(1)];
            let more_below = !links.is_empty()
                && (done < path.len() || below.iter().any(|(text, from)| *from < text.len()));
            let skip = text[from..].iter().take_while(|b| **b == b'/').count();
            let rest = &text[from + skip..];
            if rest.is_empty() {
                // A trailing slash: what was reached must be a directory.
                if skip > 0 && !more_below {
                    self.require_dir(&at)?;
                }
                if links.pop().is_none() {
                    return Ok(at);
                }
                continue;
            }
            let len = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            let last = len == rest.len() && !more_below;
            self.check_dir(&at)?;
            let next = self.child(&at, &rest[..len])?;
            match links.last_mut() {
                Some((_, from)) => *from += skip + len,
                None => done = from + skip + len,
            }
            let link = next.dentry.inode().filter(|inode| inode.is_symlink());
            match link {
                Some(inode) if follow_last || !last => {
                    if let Some(target) = self.enter_link(&mut at, &next, &inode, last)? {
                        links.push((target, 0));
                    }
                }
                _ => {
                    if !last && next.dentry.is_negative() {
                        return Err(Errno::ENOENT);
                    }
                    at = next;
                }
            }
        }
    }

    /// Goes where a link at `place` leads, whole or to where its target begins; gives the target if it has to be walked.
    fn enter_link(
        &mut self,
        at: &mut Path,
        place: &Path,
        inode: &Arc<Inode>,
        last: bool,
    ) -> Result<Option<Vec<u8>>> {
        if place.mount.flags().contains(MountFlags::NOSYMFOLLOW) {
            return Err(Errno::ELOOP);
        }
        if let Some(magic) = self.magic(inode)? {
            *at = magic;
            return Ok(None);
        }
        if last {
            super::protected::check_symlink(&*at.inode()?, inode, &self.cred)?;
        }
        let target = self.link_target(inode)?;
        if target.starts_with(b"/") {
            *at = self.begin(&target)?;
        }
        Ok(Some(target))
    }

    fn require_dir(&self, place: &Path) -> Result<()> {
        if place.inode()?.is_dir() {
            Ok(())
        } else {
            Err(Errno::ENOTDIR)
        }
    }

    /// Whether names can be looked up there: ENOTDIR, EACCES.
    fn check_dir(&self, place: &Path) -> Result<()> {
        let inode = place.inode()?;
        if !inode.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        permission::check(&inode, &self.cred, MAY_EXEC)
    }

    /// One component: `.`, `..` or a name; mounts on it are entered. The result may be negative.
    fn child(&self, dir: &Path, name: &[u8]) -> Result<Path> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        match name {
            b"." | b"/" => return Ok(dir.clone()),
            b".." => return self.up(dir),
            _ => {}
        }
        let dentry = self.lookup_dentry(&dir.dentry, name)?;
        let mut at = Path {
            mount: dir.mount.clone(),
            dentry,
        };
        while at.dentry.is_mountpoint() {
            let on_top = at
                .mount
                .namespace()
                .and_then(|ns| ns.mounted_on(&at.mount, &at.dentry));
            let Some(mount) = on_top else { break };
            if self.flags.contains(LookupFlags::NO_XDEV) {
                return Err(Errno::EXDEV);
            }
            at = mount.root_path();
        }
        Ok(at)
    }

    fn lookup_dentry(&self, dir: &Arc<Dentry>, name: &[u8]) -> Result<Arc<Dentry>> {
        if let Some(child) = dir.cached_child(name) {
            let inode = dir.inode().ok_or(Errno::ENOENT)?;
            if inode.sb.fs_type.revalidate(&child) {
                return Ok(child);
            }
            child.forget();
        }
        if self.flags.contains(LookupFlags::CACHED) {
            return Err(Errno::EAGAIN);
        }
        lookup_child(dir, name)
    }

    /// `..`: the parent directory, across mounts, but never above the root.
    fn up(&self, place: &Path) -> Result<Path> {
        let mut at = place.clone();
        loop {
            if at.same(&self.root) {
                return if self.flags.contains(LookupFlags::BENEATH) {
                    Err(Errno::EXDEV)
                } else {
                    Ok(at)
                };
            }
            if !at.is_mount_root() {
                let parent = at.dentry.parent().unwrap_or_else(|| at.dentry.clone());
                return Ok(top_mount(Path {
                    mount: at.mount,
                    dentry: parent,
                }));
            }
            let Some(below) = at.mount.attached_at() else {
                return Ok(at);
            };
            if self.flags.contains(LookupFlags::NO_XDEV) {
                return Err(Errno::EXDEV);
            }
            at = below;
        }
    }

    fn count_link(&mut self) -> Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS || self.flags.contains(LookupFlags::NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        Ok(())
    }

    /// Where a magic link leads; `None` for an ordinary link.
    fn magic(&mut self, inode: &Arc<Inode>) -> Result<Option<Path>> {
        let Some(place) = inode.ops.follow_magic(inode) else {
            return Ok(None);
        };
        self.count_link()?;
        if self.flags.contains(LookupFlags::NO_MAGICLINKS) {
            return Err(Errno::ELOOP);
        }
        if self
            .flags
            .intersects(LookupFlags::BENEATH | LookupFlags::IN_ROOT)
        {
            return Err(Errno::EXDEV);
        }
        place.map(Some)
    }

    fn link_target(&mut self, inode: &Arc<Inode>) -> Result<Vec<u8>> {
        self.count_link()?;
        let target = inode.ops.readlink(inode)?;
        if target.is_empty() {
            Err(Errno::ENOENT)
        } else {
            Ok(target)
        }
    }
}

fn trim_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    &path[..end]
}

/// The topmost of what is mounted on a place.
pub fn top_mount(place: Path) -> Path {
    let mut at = place;
    while at.dentry.is_mountpoint() {
        let on_top = at
            .mount
            .namespace()
            .and_then(|ns| ns.mounted_on(&at.mount, &at.dentry));
        match on_top {
            Some(mount) => at = mount.root_path(),
            None => break,
        }
    }
    at
}

/// Asks the file system for a name, and caches the answer.
fn lookup_child(dir: &Arc<Dentry>, name: &[u8]) -> Result<Arc<Dentry>> {
    let inode = dir.inode().ok_or(Errno::ENOENT)?;
    let _shared = inode.rwsem.read();
    child_locked(dir, &inode, name)
}

/// The dentry of a name while the directory's `rwsem` is held; negative if there is no such file.
pub fn child_locked(dir: &Arc<Dentry>, inode: &Arc<Inode>, name: &[u8]) -> Result<Arc<Dentry>> {
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if let Some(child) = dir.cached_child(name) {
        if inode.sb.fs_type.revalidate(&child) {
            return Ok(child);
        }
        child.forget();
    }
    let found = match inode.ops.lookup(inode, name) {
        Ok(found) => Some(found),
        Err(Errno::ENOENT) => None,
        Err(error) => return Err(error),
    };
    if found.is_none() && dir.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    Ok(dir.add_child(name, found))
}

fn start_of(
    thread: &Thread,
    fs: &FsContext,
    dirfd: DirFd,
    path: &[u8],
    flags: LookupFlags,
) -> Result<Path> {
    let Some(fd) = dirfd.fd() else {
        return Ok(fs.cwd());
    };
    let file = thread.files().get_any(fd)?;
    let empty = path.is_empty() && flags.contains(LookupFlags::EMPTY_PATH);
    if !empty && file.inode.file_type != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    Ok(file.path.clone())
}

/// Looks a path up for a thread.
pub fn lookup(thread: &Thread, dirfd: DirFd, path: &[u8], flags: LookupFlags) -> Result<Path> {
    Walker::new(thread, dirfd, path, flags)?.lookup(path)
}

/// Looks the directory of a path's last component up for a thread.
pub fn lookup_parent(thread: &Thread, dirfd: DirFd, path: &[u8]) -> Result<Parent> {
    Walker::new(thread, dirfd, path, LookupFlags::empty())?.parent(path)
}

/// The path text of a place as seen from `root`; `None` if it cannot be reached from there.
pub fn path_text(place: &Path, root: &Path) -> Option<Vec<u8>> {
    let mut names: Vec<Arc<[u8]>> = Vec::new();
    let mut at = place.clone();
    let unlinked = at.dentry.is_unlinked();
    while !at.same(root) {
        if at.is_mount_root() {
            at = at.mount.attached_at()?;
            continue;
        }
        names.push(at.dentry.name());
        at.dentry = at.dentry.parent()?;
    }
    let mut text = Vec::new();
    for name in names.iter().rev() {
        text.push(b'/');
        text.extend_from_slice(name);
    }
    if text.is_empty() {
        text.push(b'/');
    }
    if unlinked {
        text.extend_from_slice(b" (deleted)");
    }
    Some(text)
}

/// The text that /proc/PID/fd, exe, maps show of a place: from `root`, or the bare name of what is in no directory.
pub fn display_path(place: &Path, root: &Path) -> Vec<u8> {
    if place.dentry.parent().is_none() && !place.is_mount_root() {
        return place.dentry.name().to_vec();
    }
    path_text(place, root).unwrap_or_else(|| {
        let top = Path {
            mount: place.mount.clone(),
            dentry: place.mount.root.clone(),
        };
        path_text(place, &top).unwrap_or_else(|| place.dentry.name().to_vec())
    })
}

/// The path of a dentry within its file system, whatever is mounted where.
pub fn root_within(place: &Path) -> Vec<u8> {
    let mut names = Vec::new();
    let mut at = place.dentry.clone();
    while let Some(parent) = at.parent() {
        names.push(at.name());
        at = parent;
    }
    let mut path = Vec::new();
    for name in names.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    if place.dentry.is_unlinked() {
        path.extend_from_slice(b"//deleted");
    }
    path
}
