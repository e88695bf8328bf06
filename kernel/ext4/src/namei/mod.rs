//! Operations on names: create, link, unlink, rename and their kin.
//!
//! Each is one journal handle, so it is there wholly or not at all after a crash. Everything that can fail for
//! lack of space comes before the first change that could not be undone.

mod rename;

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::balloc::{Draw, Goal};
use crate::dir::Found;
use crate::extent::Extent;
use crate::inode::{Inode, InodeState, LockedInodes, file_type};
use crate::journal::Handle;
use crate::layout::{LINK_MAX, NAME_MAX, di, iflags, mode, ro_compat};
use crate::platform::Platform;
use crate::seal::Kind;
use crate::{Errno, FileType, Fs, NewInode, Result, XattrMode, inode_flags};

/// Credits for adding one name: a path of index nodes and splits of each.
const ADD: usize = 24;
/// Credits for a new inode with its attributes.
const NEW: usize = 24;

/// What a new inode is filled with.
enum Content<'a> {
    Nothing,
    Target(&'a [u8]),
}

impl<P: Platform> Fs<P> {
    /// Runs an operation again after a commit if it failed for lack of space that the commit sets free.
    pub(crate) fn retry_full<T>(&self, f: impl Fn() -> Result<T>) -> Result<T> {
        match f() {
            Err(Errno::ENOSPC) if self.has_pending_frees() => {
                self.commit_running()?;
                f()
            }
            r => r,
        }
    }

    fn check_name(name: &[u8]) -> Result<()> {
        if name.is_empty() {
            return Err(Errno::ENOENT);
        }
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if name == b"." || name == b".." {
            return Err(Errno::EEXIST);
        }
        if name.contains(&b'/') || name.contains(&0) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    fn check_dir(st: &InodeState) -> Result<()> {
        if !st.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        // A removed directory takes no more names.
        if st.nlink == 0 {
            Err(Errno::ENOENT)
        } else {
            Ok(())
        }
    }

    fn touch_dir(&self, h: &Handle<'_, P>, dir: &Inode<P>, st: &mut InodeState) -> Result<()> {
        let now = self.platform.now();
        st.mtime = now;
        st.ctime = now;
        self.store_inode(h, dir, st, true)
    }

    fn can_add_link(&self, st: &InodeState) -> Result<()> {
        let full = st.nlink >= LINK_MAX && !(st.is_dir() && self.sb.ro(ro_compat::DIR_NLINK));
        if full { Err(Errno::EMLINK) } else { Ok(()) }
    }

    /// A directory whose project is inherited takes only files of that project.
    fn check_project(dir: &InodeState, st: &InodeState) -> Result<()> {
        let strict = dir.flags & inode_flags::PROJINHERIT != 0;
        if strict && dir.project != st.project {
            Err(Errno::EXDEV)
        } else {
            Ok(())
        }
    }

    /// One subdirectory more. A count past the limit is given up and stays 1.
    fn inc_dir_link(st: &mut InodeState) {
        if st.nlink != 1 {
            st.nlink = if st.nlink >= LINK_MAX {
                1
            } else {
                st.nlink + 1
            };
        }
    }

    fn dec_dir_link(st: &mut InodeState) {
        if st.nlink > 2 {
            st.nlink -= 1;
        }
    }

    /// Creates a file, directory, device node, FIFO or socket, by the type in `new.mode`. `EEXIST`, `ENOSPC`,
    /// `EMLINK`, `ENAMETOOLONG`, `EINVAL` (a symlink or no type).
    pub fn create(&self, dir: &Inode<P>, name: &[u8], new: &NewInode<'_>) -> Result<Arc<Inode<P>>> {
        match file_type(new.mode) {
            FileType::Unknown | FileType::Symlink => Err(Errno::EINVAL),
            _ => self.retry_full(|| self.create_once(dir, name, new, &Content::Nothing)),
        }
    }

    /// Creates a symbolic link with the given target (1 to `block_size - 1` bytes).
    pub fn symlink(
        &self,
        dir: &Inode<P>,
        name: &[u8],
        target: &[u8],
        new: &NewInode<'_>,
    ) -> Result<Arc<Inode<P>>> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target.len() >= self.sb.block_size as usize {
            return Err(Errno::ENAMETOOLONG);
        }
        let new = NewInode {
            mode: mode::S_IFLNK | 0o777,
            ..*new
        };
        self.retry_full(|| self.create_once(dir, name, &new, &Content::Target(target)))
    }

    /// O_TMPFILE: a file without a name; `dir` gives locality.
    pub fn tmpfile(&self, dir: &Inode<P>, new: &NewInode<'_>) -> Result<Arc<Inode<P>>> {
        if file_type(new.mode) != FileType::Regular {
            return Err(Errno::EINVAL);
        }
        self.retry_full(|| {
            let dst = dir.read();
            Self::check_dir(&dst)?;
            let h = self.start(NEW)?;
            let inode = self.new_inode(&h, dir, &dst, new, &Content::Nothing)?;
            let mut st = inode.write();
            st.nlink = 0;
            self.orphan_add(&h, &inode, &mut st)?;
            self.store_inode(&h, &inode, &mut st, true)?;
            drop(st);
            Ok(inode)
        })
    }

    fn create_once(
        &self,
        dir: &Inode<P>,
        name: &[u8],
        new: &NewInode<'_>,
        content: &Content<'_>,
    ) -> Result<Arc<Inode<P>>> {
        Self::check_name(name)?;
        let mut dst = dir.write();
        Self::check_dir(&dst)?;
        if self.dir_find(dir, &dst, name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        let is_dir = file_type(new.mode) == FileType::Directory;
        if is_dir {
            self.can_add_link(&dst)?;
        }
        let h = self.start(NEW + ADD)?;
        self.dir_prepare(&h, dir, &mut dst)?;
        let inode = self.new_inode(&h, dir, &dst, new, content)?;
        let t = file_type(new.mode);
        if let Err(e) = self.dir_add(&h, dir, &mut dst, name, inode.ino(), t) {
            self.undo_new(&h, &inode, is_dir)?;
            // A split may have changed the directory all the same.
            self.store_inode(&h, dir, &mut dst, true)?;
            return Err(e);
        }
        if is_dir {
            Self::inc_dir_link(&mut dst);
        }
        self.touch_dir(&h, dir, &mut dst)?;
        Ok(inode)
    }

    /// Allocates and fills an inode, stored, with one link (two for a directory).
    fn new_inode(
        &self,
        h: &Handle<'_, P>,
        dir: &Inode<P>,
        dst: &InodeState,
        new: &NewInode<'_>,
        content: &Content<'_>,
    ) -> Result<Arc<Inode<P>>> {
        let is_dir = file_type(new.mode) == FileType::Directory;
        let top = dir.ino() == crate::ROOT_INO || dst.flags & inode_flags::TOPDIR != 0;
        let (ino, untouched) = self.alloc_inode(h, dir.ino(), top, is_dir)?;
        let mut st = self.blank_inode(ino, new.mode);
        st.uid = new.uid;
        st.gid = new.gid;
        st.nlink = if is_dir { 2 } else { 1 };
        st.flags = dst.flags & iflags::INHERITED;
        if !is_dir {
            st.flags &= !(inode_flags::DIRSYNC | inode_flags::TOPDIR | inode_flags::PROJINHERIT);
        }
        if st.is_symlink() || !(st.is_regular() || is_dir) {
            st.flags &= inode_flags::NOATIME | inode_flags::NODUMP;
        }
        if dst.flags & inode_flags::PROJINHERIT != 0 {
            st.project = dst.project;
        }
        if st.is_regular() || is_dir {
            self.map_init(&mut st);
        } else {
            st.set_rdev(new.rdev);
        }
        let inode = match self.insert_new(ino, st) {
            Ok(i) => i,
            Err(e) => {
                self.free_inode(h, ino, is_dir)?;
                return Err(e);
            }
        };
        if let Err(e) = self.fill_new(h, &inode, dir, new, content, untouched) {
            self.undo_new(h, &inode, is_dir)?;
            return Err(e);
        }
        Ok(inode)
    }

    fn fill_new(
        &self,
        h: &Handle<'_, P>,
        inode: &Inode<P>,
        dir: &Inode<P>,
        new: &NewInode<'_>,
        content: &Content<'_>,
        untouched: bool,
    ) -> Result<()> {
        let table = self.inode_block_for_new(h, inode.loc, untouched)?;
        let mut st = inode.write();
        if st.is_dir() {
            self.dir_init(h, inode, &mut st, dir.ino())?;
        }
        if let Content::Target(t) = content {
            self.put_target(h, inode, &mut st, t)?;
        }
        for (name, value) in new.xattrs {
            self.xattr_set(h, inode, &mut st, name, Some(value), XattrMode::Set)?;
        }
        self.store_inode_in(h, &table, inode, &mut st, true);
        Ok(())
    }

    fn put_target(
        &self,
        h: &Handle<'_, P>,
        inode: &Inode<P>,
        st: &mut InodeState,
        target: &[u8],
    ) -> Result<()> {
        st.size = target.len() as u64;
        st.disk_size = st.size;
        if target.len() < di::BLOCK_LEN {
            let b = st.iblock_mut();
            b.fill(0);
            crate::bytes::put(b, 0, target);
            return Ok(());
        }
        self.map_init(st);
        let pblk = self.alloc_meta(h, Goal::Group(inode.loc.group), Draw::Normal)?;
        self.map_insert(
            h,
            st,
            Extent {
                lblk: 0,
                len: 1,
                pblk,
                unwritten: false,
            },
            Draw::Normal,
        )?;
        st.sectors += u64::from(self.sb.block_size / 512);
        let buf = self.cache.getblk(pblk);
        crate::bytes::put(h.fresh(&buf, Kind::Plain).bytes_mut(), 0, target);
        Ok(())
    }

    /// Takes back an inode whose creation failed.
    fn undo_new(&self, h: &Handle<'_, P>, inode: &Inode<P>, is_dir: bool) -> Result<()> {
        let mut st = inode.write();
        if st.has_extents() {
            self.ext_remove(h, &mut st, 0, 1 << 32, &mut |_, e| {
                self.free_blocks(h, e.pblk, e.len, true)
            })?;
        } else if st.has_block_map() {
            self.ind_remove(h, &mut st, 0, 1 << 32, true)?;
        }
        self.drop_xattr_block(h, &mut st)?;
        st.nlink = 0;
        st.size = 0;
        st.disk_size = 0;
        st.sectors = 0;
        crate::bytes::put32(
            &mut st.raw,
            di::DTIME,
            (self.platform.now().sec as u32).max(1),
        );
        self.store_inode(h, inode, &mut st, false)?;
        self.forget_inode(inode.ino());
        self.free_inode(h, inode.ino(), is_dir)
    }

    /// A further name for `inode` (or the first one of a tmpfile). `EMLINK`, `EEXIST`, `EPERM` for a directory.
    pub fn link(&self, dir: &Inode<P>, name: &[u8], inode: &Inode<P>) -> Result<()> {
        Self::check_name(name)?;
        self.retry_full(|| {
            let mut l = LockedInodes::new(&[dir, inode]);
            if l.get(inode)?.is_dir() {
                return Err(Errno::EPERM);
            }
            let (dst, st) = l.pair(dir, inode)?;
            Self::check_dir(dst)?;
            self.can_add_link(st)?;
            Self::check_project(dst, st)?;
            if st.nlink == 0 && st.orphan == crate::orphan::OrphanState::None {
                return Err(Errno::ENOENT);
            }
            if self.dir_find(dir, dst, name)?.is_some() {
                return Err(Errno::EEXIST);
            }
            let h = self.start(ADD + 8)?;
            self.dir_prepare(&h, dir, dst)?;
            let added = self.dir_add(&h, dir, dst, name, inode.ino(), st.file_type());
            self.touch_dir(&h, dir, dst)?;
            added?;
            if st.nlink == 0 {
                self.orphan_remove(&h, inode, st)?;
            }
            st.nlink += 1;
            st.ctime = self.platform.now();
            self.store_inode(&h, inode, st, true)
        })
    }

    /// The entry `name`, which must mean `inode`.
    fn expect(
        &self,
        dir: &Inode<P>,
        dst: &InodeState,
        name: &[u8],
        inode: &Inode<P>,
    ) -> Result<Found<P>> {
        match self.dir_find(dir, dst, name)? {
            Some(f) if f.ino == inode.ino() => Ok(f),
            _ => Err(Errno::ENOENT),
        }
    }

    /// Removes the name of a non-directory. `ENOENT` if `name` no longer means `inode`, `EISDIR`.
    pub fn unlink(&self, dir: &Inode<P>, name: &[u8], inode: &Inode<P>) -> Result<()> {
        let mut l = LockedInodes::new(&[dir, inode]);
        if l.get(inode)?.is_dir() {
            return Err(Errno::EISDIR);
        }
        let (dst, st) = l.pair(dir, inode)?;
        self.expect(dir, dst, name, inode)?;
        let h = self.start(16)?;
        self.dir_prepare(&h, dir, dst)?;
        let found = self.expect(dir, dst, name, inode)?;
        self.dir_remove(&h, dst, &found)?;
        self.touch_dir(&h, dir, dst)?;
        self.drop_link(&h, inode, st)
    }

    /// One link less; without any the inode becomes an orphan.
    fn drop_link(&self, h: &Handle<'_, P>, inode: &Inode<P>, st: &mut InodeState) -> Result<()> {
        if st.nlink == 0 {
            self.damage(format_args!(
                "inode {}: removing a name it does not have",
                inode.ino()
            ));
        }
        st.nlink = if st.is_dir() {
            0
        } else {
            st.nlink.saturating_sub(1)
        };
        st.ctime = self.platform.now();
        if st.nlink == 0 {
            self.orphan_add(h, inode, st)?;
        }
        self.store_inode(h, inode, st, true)
    }

    /// Removes an empty directory. `ENOTEMPTY`, `ENOTDIR`.
    pub fn rmdir(&self, dir: &Inode<P>, name: &[u8], inode: &Inode<P>) -> Result<()> {
        let mut l = LockedInodes::new(&[dir, inode]);
        if !l.get(inode)?.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let (dst, st) = l.pair(dir, inode).map_err(|_| Errno::EINVAL)?;
        self.expect(dir, dst, name, inode)?;
        if !self.dir_is_empty(inode, st)? {
            return Err(Errno::ENOTEMPTY);
        }
        let h = self.start(16)?;
        self.dir_prepare(&h, dir, dst)?;
        let found = self.expect(dir, dst, name, inode)?;
        self.dir_remove(&h, dst, &found)?;
        Self::dec_dir_link(dst);
        self.touch_dir(&h, dir, dst)?;
        self.drop_link(&h, inode, st)
    }

    /// The target of a symbolic link. `EINVAL` if it is none.
    pub fn readlink(&self, inode: &Inode<P>) -> Result<Vec<u8>> {
        let st = inode.read();
        if !st.is_symlink() {
            return Err(Errno::EINVAL);
        }
        let len = usize::try_from(st.size).map_err(|_| Errno::EUCLEAN)?;
        if st.is_inline() {
            return self.inline_bytes(&st);
        }
        if st.is_fast_symlink() {
            return Ok(st.iblock().get(..len).ok_or(Errno::EUCLEAN)?.to_vec());
        }
        if len > self.sb.block_size as usize {
            return Err(Errno::EUCLEAN);
        }
        let buf = self.bread(self.meta_block(&st, 0)?, Kind::Plain)?;
        Ok(buf.read().data.get(..len).ok_or(Errno::EUCLEAN)?.to_vec())
    }
}
