//! Inodes of tmpfs: directories, files, links and special files, all in memory.

use keel_abi::args::FileType;
use keel_abi::flags::{FallocateMode, OpenFlags, SealFlags};

use super::pages::{Shmem, Space};
use crate::fs::fileattr::{self, FileFlags};
use crate::fs::{
    ATTR_NOATIME, Attr, DirSink, File, FileOps, Inode, InodeOps, IoDst, IoSrc, Owner, RenameFlags,
    SetAttr, SuperBlock, Time,
};
use crate::mm::VmObject;
use crate::prelude::*;

/// What of an inode is not in its attributes.
pub enum Kind {
    /// A directory's entries.
    Directory(Directory),
    /// A regular file's pages.
    File(Arc<Shmem>),
    /// A symbolic link's target.
    Symlink(Vec<u8>),
    /// Device nodes, fifos, sockets: nothing.
    Special,
}

/// An entry: where it is in the order of reading, and what it means.
struct Entry {
    cookie: u64,
    inode: Arc<Inode>,
}

/// The entries of a directory, by name and in the order in which they were made.
#[derive(Default)]
struct Entries {
    by_name: BTreeMap<Arc<[u8]>, Entry>,
    order: BTreeMap<u64, Arc<[u8]>>,
    last_cookie: u64,
}

/// A directory.
#[derive(Default)]
pub struct Directory {
    entries: RwSpinLock<Entries>,
}

/// Flags of FS_IOC_GETFLAGS that files can have, and what they are among the attributes.
const FLAGS: [(u32, u64); 4] = [
    (fileattr::IMMUTABLE, 0x10),
    (fileattr::APPEND, 0x20),
    (fileattr::NODUMP, 0x40),
    (fileattr::NOATIME, ATTR_NOATIME),
];

/// Positions 0 and 1 are `.` and `..`.
const FIRST_COOKIE: u64 = 2;

impl Directory {
    fn find(&self, name: &[u8]) -> Option<Arc<Inode>> {
        self.entries
            .read()
            .by_name
            .get(name)
            .map(|entry| entry.inode.clone())
    }

    /// Puts a name in, in place of what it meant before.
    fn insert(&self, name: &[u8], inode: Arc<Inode>) {
        let name: Arc<[u8]> = Arc::from(name);
        let mut entries = self.entries.write();
        let known = entries.by_name.get(&name).map(|entry| entry.cookie);
        let cookie = known.unwrap_or_else(|| {
            entries.last_cookie = (entries.last_cookie + 1).max(FIRST_COOKIE);
            entries.last_cookie
        });
        entries.order.insert(cookie, name.clone());
        let old = entries.by_name.insert(name, Entry { cookie, inode });
        drop(entries);
        drop(old);
    }

    fn remove(&self, name: &[u8]) {
        let mut entries = self.entries.write();
        let gone = entries.by_name.remove(name);
        if let Some(entry) = &gone {
            entries.order.remove(&entry.cookie);
        }
        drop(entries);
        drop(gone);
    }

    fn is_empty(&self) -> bool {
        self.entries.read().by_name.is_empty()
    }

    fn take_all(&self) -> Vec<Arc<Inode>> {
        let mut entries = self.entries.write();
        entries.order.clear();
        let taken = core::mem::take(&mut entries.by_name);
        drop(entries);
        taken.into_values().map(|entry| entry.inode).collect()
    }

    /// The entry at or behind a position.
    fn at_or_behind(&self, cookie: u64) -> Option<(u64, Arc<[u8]>, u64, FileType)> {
        let entries = self.entries.read();
        let (cookie, name) = entries.order.range(cookie..).next()?;
        let inode = &entries.by_name.get(name)?.inode;
        Some((*cookie, name.clone(), inode.ino, inode.file_type))
    }
}

/// The file-system part of a tmpfs inode.
pub struct TmpInode {
    /// What it is.
    pub kind: Kind,
    space: Arc<Space>,
    xattrs: SpinLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

/// The tmpfs part of an inode, if it is one.
pub fn of(inode: &Inode) -> Option<&TmpInode> {
    inode.ops.as_any().downcast_ref()
}

/// The next inode number of any tmpfs.
fn next_ino() -> u64 {
    use core::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(2);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Makes an inode: ENOSPC beyond the mount's limit.
pub fn new_inode(
    sb: &Arc<SuperBlock>,
    space: &Arc<Space>,
    mode: u32,
    rdev: u64,
    owner: &Owner,
    kind: Kind,
) -> Result<Arc<Inode>> {
    space.take_inode()?;
    let now = Time::now();
    let is_dir = matches!(kind, Kind::Directory(_));
    let size = match &kind {
        Kind::Symlink(target) => target.len() as u64,
        // "." and ".." count.
        Kind::Directory(_) => 2 * ENTRY_SIZE,
        _ => 0,
    };
    let attr = Attr {
        mode,
        uid: owner.uid,
        gid: owner.gid,
        nlink: if is_dir { 2 } else { 1 },
        size,
        rdev,
        atime: now,
        mtime: now,
        ctime: now,
        btime: Some(now),
        ..Attr::default()
    };
    let xattrs = SpinLock::new(BTreeMap::new());
    let ops = TmpInode {
        kind,
        space: space.clone(),
        xattrs,
    };
    Ok(Inode::new(next_ino(), sb, attr, Box::new(ops)))
}

/// Drops everything below a directory, without recursion.
pub fn drop_tree(root: &Inode) {
    let mut pending = children_of(root);
    while let Some(inode) = pending.pop() {
        pending.extend(children_of(&inode));
    }
}

fn children_of(inode: &Inode) -> Vec<Arc<Inode>> {
    match of(inode).map(|tmp| &tmp.kind) {
        Some(Kind::Directory(dir)) => dir.take_all(),
        _ => Vec::new(),
    }
}

/// The type of tmpfs's handles: generation (always 0: numbers are not used again) and number.
pub const HANDLE_TYPE: i32 = 1;

/// Finds an inode by its number below a directory, with the directory that it is in.
pub fn find_in_tree(root: &Arc<Inode>, ino: u64) -> Option<(Arc<Inode>, Arc<Inode>)> {
    if root.ino == ino {
        return Some((root.clone(), root.clone()));
    }
    let mut pending = vec![root.clone()];
    while let Some(dir) = pending.pop() {
        let Ok(entries) = directory(&dir) else {
            continue;
        };
        let entries = entries.entries.read();
        for entry in entries.by_name.values() {
            if entry.inode.ino == ino {
                return Some((dir.clone(), entry.inode.clone()));
            }
            if entry.inode.is_dir() {
                pending.push(entry.inode.clone());
            }
        }
    }
    None
}

fn directory(inode: &Inode) -> Result<&Directory> {
    match of(inode).map(|tmp| &tmp.kind) {
        Some(Kind::Directory(dir)) => Ok(dir),
        _ => Err(Errno::ENOTDIR),
    }
}

/// Bytes that one directory entry counts as, as in Linux's tmpfs.
const ENTRY_SIZE: u64 = 20;

/// A directory's entries became more or fewer.
fn touch_dir(dir: &Inode, entries: i64, links: i32) {
    let now = Time::now();
    dir.update_attr(|attr| {
        attr.mtime = now;
        attr.ctime = now;
        attr.size = attr.size.saturating_add_signed(entries * ENTRY_SIZE as i64);
        attr.nlink = attr.nlink.saturating_add_signed(links);
    });
}

/// A name of an inode came or went.
fn change_links(inode: &Inode, by: i32) {
    let now = Time::now();
    inode.update_attr(|attr| {
        attr.nlink = attr.nlink.saturating_add_signed(by);
        attr.ctime = now;
    });
}

impl TmpInode {
    fn add(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        directory(dir)?.insert(name, inode.clone());
        touch_dir(dir, 1, i32::from(inode.is_dir()));
        Ok(())
    }

    /// Stores through mappings change the times (mmap(2)).
    fn note_stores(&self, inode: &Inode) {
        if let Some(time) = self.file().and_then(|pages| pages.take_store_time()) {
            inode.update_attr(|attr| {
                attr.mtime = time;
                attr.ctime = time;
            });
        }
    }

    fn file(&self) -> Option<&Arc<Shmem>> {
        if let Kind::File(pages) = &self.kind {
            Some(pages)
        } else {
            None
        }
    }
}

impl InodeOps for TmpInode {
    fn getattr(&self, inode: &Arc<Inode>) -> Result<Attr> {
        self.note_stores(inode);
        let mut attr = inode.attr();
        if let Some(pages) = self.file() {
            attr.size = pages.size();
            attr.blocks = (pages.page_count() * (PAGE_SIZE / 512)) as u64;
        }
        Ok(attr)
    }

    fn setattr(&self, inode: &Arc<Inode>, set: &SetAttr) -> Result<()> {
        self.note_stores(inode);
        if let (Some(mode), Some(pages)) = (set.mode, self.file())
            && pages.seals().contains(SealFlags::EXEC)
            && (inode.attr().mode ^ mode) & 0o111 != 0
        {
            return Err(Errno::EPERM);
        }
        if let (Some(size), Some(pages)) = (set.size, self.file()) {
            pages.truncate(size)?;
        }
        inode.apply(set);
        Ok(())
    }

    fn fileattr(&self, inode: &Arc<Inode>) -> Result<FileFlags> {
        let attributes = inode.attr().attributes;
        let set = FLAGS.iter().filter(|(_, bit)| attributes & bit != 0);
        Ok(FileFlags {
            flags: set.fold(0, |all, (flag, _)| all | flag),
            project: 0,
        })
    }

    fn set_fileattr(&self, inode: &Arc<Inode>, new: FileFlags) -> Result<()> {
        let known = FLAGS.iter().fold(0, |all, (flag, _)| all | flag);
        if new.flags & !known != 0 || new.project != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let set = FLAGS.iter().filter(|(flag, _)| new.flags & flag != 0);
        let attributes = set.fold(0, |all, (_, bit)| all | bit);
        inode.update_attr(|attr| {
            attr.attributes = attributes;
            attr.ctime = Time::now();
        });
        Ok(())
    }

    fn encode_handle(&self, inode: &Arc<Inode>) -> Option<(i32, Vec<u8>)> {
        let mut bytes = 0_u32.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&inode.ino.to_ne_bytes());
        Some((HANDLE_TYPE, bytes))
    }

    fn lookup(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        // Only handles ask for it: directories do not know what they are in.
        if name == b".." {
            let found = find_in_tree(&dir.sb.root()?, dir.ino);
            return found.map(|(parent, _)| parent).ok_or(Errno::ENOENT);
        }
        directory(dir)?.find(name).ok_or(Errno::ENOENT)
    }

    fn create(
        &self,
        dir: &Arc<Inode>,
        name: &[u8],
        mode: u32,
        rdev: u64,
        owner: &Owner,
    ) -> Result<Arc<Inode>> {
        let kind = match crate::fs::file_type_of(mode) {
            FileType::Regular => Kind::File(Shmem::new(&self.space, SealFlags::SEAL)),
            _ => Kind::Special,
        };
        let inode = new_inode(&dir.sb, &self.space, mode, rdev, owner, kind)?;
        self.add(dir, name, &inode)?;
        Ok(inode)
    }

    fn mkdir(&self, dir: &Arc<Inode>, name: &[u8], mode: u32, owner: &Owner) -> Result<Arc<Inode>> {
        let mode = mode | u32::from(FileType::Directory.mode().0);
        let kind = Kind::Directory(Directory::default());
        let inode = new_inode(&dir.sb, &self.space, mode, 0, owner, kind)?;
        self.add(dir, name, &inode)?;
        Ok(inode)
    }

    fn symlink(
        &self,
        dir: &Arc<Inode>,
        name: &[u8],
        target: &[u8],
        owner: &Owner,
    ) -> Result<Arc<Inode>> {
        let mode = u32::from(FileType::Symlink.mode().0) | 0o777;
        let kind = Kind::Symlink(target.to_vec());
        let inode = new_inode(&dir.sb, &self.space, mode, 0, owner, kind)?;
        self.add(dir, name, &inode)?;
        Ok(inode)
    }

    fn link(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.add(dir, name, inode)?;
        change_links(inode, 1);
        Ok(())
    }

    fn unlink(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        directory(dir)?.remove(name);
        touch_dir(dir, -1, 0);
        change_links(inode, -1);
        Ok(())
    }

    fn rmdir(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        if !directory(inode)?.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        directory(dir)?.remove(name);
        touch_dir(dir, -1, -1);
        change_links(inode, -2);
        Ok(())
    }

    fn rename(
        &self,
        old_dir: &Arc<Inode>,
        old_name: &[u8],
        moved: &Arc<Inode>,
        new_dir: &Arc<Inode>,
        new_name: &[u8],
        target: Option<&Arc<Inode>>,
        flags: RenameFlags,
    ) -> Result<()> {
        let (from, to) = (directory(old_dir)?, directory(new_dir)?);
        let across = !Arc::ptr_eq(old_dir, new_dir);
        let moves_dir = i32::from(moved.is_dir());
        if flags.contains(RenameFlags::EXCHANGE) {
            let target = target.ok_or(Errno::ENOENT)?;
            from.insert(old_name, target.clone());
            to.insert(new_name, moved.clone());
            let links = if across {
                i32::from(target.is_dir()) - moves_dir
            } else {
                0
            };
            touch_dir(old_dir, 0, links);
            touch_dir(new_dir, 0, -links);
            change_links(target, 0);
            change_links(moved, 0);
            return Ok(());
        }
        if let Some(target) = target {
            if target.is_dir() && !directory(target)?.is_empty() {
                return Err(Errno::ENOTEMPTY);
            }
            to.remove(new_name);
            touch_dir(new_dir, -1, -i32::from(target.is_dir()));
            change_links(target, if target.is_dir() { -2 } else { -1 });
        }
        if flags.contains(RenameFlags::WHITEOUT) {
            let mode = u32::from(FileType::CharDevice.mode().0);
            let attr = old_dir.attr();
            let owner = Owner {
                uid: attr.uid,
                gid: attr.gid,
            };
            let whiteout = new_inode(&old_dir.sb, &self.space, mode, 0, &owner, Kind::Special)?;
            from.insert(old_name, whiteout);
            touch_dir(old_dir, 0, -moves_dir);
        } else {
            from.remove(old_name);
            touch_dir(old_dir, -1, -moves_dir);
        }
        to.insert(new_name, moved.clone());
        touch_dir(new_dir, 1, moves_dir);
        change_links(moved, 0);
        Ok(())
    }

    fn tmpfile(&self, dir: &Arc<Inode>, mode: u32, owner: &Owner) -> Result<Arc<Inode>> {
        let kind = Kind::File(Shmem::new(&self.space, SealFlags::SEAL));
        let inode = new_inode(&dir.sb, &self.space, mode, 0, owner, kind)?;
        inode.update_attr(|attr| attr.nlink = 0);
        Ok(inode)
    }

    fn readlink(&self, _inode: &Arc<Inode>) -> Result<Vec<u8>> {
        match &self.kind {
            Kind::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(&self, _inode: &Arc<Inode>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        match &self.kind {
            Kind::Directory(_) => Ok(Arc::new(OpenDirectory)),
            Kind::File(pages) => Ok(Arc::new(OpenFile {
                pages: pages.clone(),
            })),
            _ => Err(Errno::ENXIO),
        }
    }

    fn getxattr(&self, _inode: &Arc<Inode>, name: &[u8]) -> Result<Vec<u8>> {
        self.xattrs.lock().get(name).cloned().ok_or(Errno::ENODATA)
    }

    fn setxattr(
        &self,
        inode: &Arc<Inode>,
        name: &[u8],
        value: &[u8],
        create: bool,
        replace: bool,
    ) -> Result<()> {
        // As on Linux, where tmpfs has no room to account user.* attributes of unprivileged users against:
        // everything that is kept here is kernel memory, so it is limited per inode.
        const MOST_BYTES: usize = 128 << 10;
        let mut xattrs = self.xattrs.lock();
        let known = xattrs.contains_key(name);
        if create && known {
            return Err(Errno::EEXIST);
        }
        if replace && !known {
            return Err(Errno::ENODATA);
        }
        let used: usize = xattrs
            .iter()
            .filter(|(n, _)| *n != name)
            .map(|(n, v)| n.len() + v.len())
            .sum();
        if used + name.len() + value.len() > MOST_BYTES {
            return Err(Errno::ENOSPC);
        }
        xattrs.insert(name.to_vec(), value.to_vec());
        drop(xattrs);
        change_links(inode, 0);
        Ok(())
    }

    fn listxattr(&self, _inode: &Arc<Inode>) -> Result<Vec<Vec<u8>>> {
        Ok(self.xattrs.lock().keys().cloned().collect())
    }

    fn removexattr(&self, inode: &Arc<Inode>, name: &[u8]) -> Result<()> {
        let gone = self.xattrs.lock().remove(name);
        gone.ok_or(Errno::ENODATA)?;
        change_links(inode, 0);
        Ok(())
    }

    fn fallocate(&self, inode: &Arc<Inode>, mode: FallocateMode, off: u64, len: u64) -> Result<()> {
        let pages = self.file().ok_or(Errno::EOPNOTSUPP)?;
        if mode == FallocateMode::PUNCH_HOLE | FallocateMode::KEEP_SIZE {
            pages.punch_hole(off, len)?;
        } else if FallocateMode::KEEP_SIZE.contains(mode) {
            pages.allocate(off, len, !mode.contains(FallocateMode::KEEP_SIZE))?;
        } else {
            return Err(Errno::EOPNOTSUPP);
        }
        written(inode, pages);
        Ok(())
    }

    fn seek_hole_data(&self, inode: &Arc<Inode>, off: u64, data: bool) -> Result<u64> {
        match self.file() {
            Some(pages) => pages.seek(off, data),
            None if off < inode.size() => Ok(if data { off } else { inode.size() }),
            None => Err(Errno::ENXIO),
        }
    }

    fn evict(&self, _inode: &Inode) {
        self.space.give_inode();
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// The contents of a file changed.
fn written(inode: &Inode, pages: &Shmem) {
    let now = Time::now();
    inode.update_attr(|attr| {
        attr.size = pages.size();
        attr.mtime = now;
        attr.ctime = now;
    });
}

/// An open file.
struct OpenFile {
    pages: Arc<Shmem>,
}

impl FileOps for OpenFile {
    fn read(&self, _file: &File, dst: &mut IoDst, pos: u64) -> Result<usize> {
        self.pages.read(dst, pos)
    }

    fn write(&self, file: &File, src: &mut IoSrc, pos: u64) -> Result<usize> {
        let n = self.pages.write(src, pos)?;
        written(&file.inode, &self.pages);
        Ok(n)
    }

    fn seek_end(&self, _file: &File) -> Result<u64> {
        Ok(self.pages.size())
    }

    fn pollable(&self) -> bool {
        false
    }

    fn mmap(&self, _file: &Arc<File>) -> Result<Arc<dyn VmObject>> {
        Ok(self.pages.clone())
    }

    fn fsync(&self, _file: &File, _datasync: bool) -> Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// An open directory.
struct OpenDirectory;

impl FileOps for OpenDirectory {
    fn read(&self, _file: &File, _dst: &mut IoDst, _pos: u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        if !crate::fs::emit_dots(file, pos, sink) {
            return Ok(());
        }
        let dir = directory(&file.inode)?;
        while let Some((cookie, name, ino, file_type)) = dir.at_or_behind(*pos) {
            if !sink.entry(&name, ino, file_type, cookie + 1) {
                break;
            }
            *pos = cookie + 1;
        }
        Ok(())
    }

    fn pollable(&self) -> bool {
        false
    }

    fn fsync(&self, _file: &File, _datasync: bool) -> Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}
