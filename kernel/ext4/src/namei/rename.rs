//! Rename, in all its modes, as one transaction.

use alloc::vec::Vec;

use super::{ADD, Content, NEW};
use crate::inode::{Inode, InodeState, LockedInodes};
use crate::journal::Handle;
use crate::layout::mode;
use crate::platform::Platform;
use crate::{Errno, FileType, Fs, NewInode, RenameMode, Result};

/// What rename works on.
struct Rename<'a, P: Platform> {
    old_dir: &'a Inode<P>,
    old_name: &'a [u8],
    inode: &'a Inode<P>,
    new_dir: &'a Inode<P>,
    new_name: &'a [u8],
    target: Option<&'a Inode<P>>,
}

impl<P: Platform> Fs<P> {
    /// Renames; `target` is what `new_name` means now, if anything. The caller has excluded loops (a directory
    /// moved below itself). Atomic over a crash.
    #[expect(clippy::too_many_arguments, reason = "renameat2's arguments, resolved")]
    pub fn rename(
        &self,
        old_dir: &Inode<P>,
        old_name: &[u8],
        inode: &Inode<P>,
        new_dir: &Inode<P>,
        new_name: &[u8],
        target: Option<&Inode<P>>,
        mode: RenameMode,
    ) -> Result<()> {
        Self::check_name(new_name)?;
        Self::check_name(old_name)?;
        let r = Rename {
            old_dir,
            old_name,
            inode,
            new_dir,
            new_name,
            target,
        };
        self.retry_full(|| {
            let mut inodes: Vec<&Inode<P>> = alloc::vec![old_dir, inode, new_dir];
            inodes.extend(target);
            let mut l = LockedInodes::new(&inodes);
            self.check_rename(&r, &mut l, mode)?;
            if target.is_some_and(|t| t.ino() == inode.ino()) && mode != RenameMode::Exchange {
                // Two names of one file: POSIX says that nothing happens.
                return Ok(());
            }
            match (mode, target) {
                (RenameMode::Exchange, Some(t)) => self.exchange(&r, t, &mut l),
                _ => self.rename_over(&r, &mut l, mode == RenameMode::Whiteout),
            }
        })
    }

    fn check_rename(
        &self,
        r: &Rename<'_, P>,
        l: &mut LockedInodes<'_, P>,
        mode: RenameMode,
    ) -> Result<()> {
        Self::check_dir(l.get(r.old_dir)?)?;
        Self::check_dir(l.get(r.new_dir)?)?;
        self.expect(r.old_dir, l.get(r.old_dir)?, r.old_name, r.inode)?;
        let there = self
            .dir_find(r.new_dir, l.get(r.new_dir)?, r.new_name)?
            .map(|f| f.ino);
        if there != r.target.map(Inode::ino) {
            // The name changed its meaning since the caller looked.
            return Err(if there.is_some() {
                Errno::EEXIST
            } else {
                Errno::ENOENT
            });
        }
        let moving_dir = l.get(r.inode)?.is_dir();
        if r.old_dir.ino() != r.new_dir.ino() {
            let (dst, st) = l.pair(r.new_dir, r.inode)?;
            Self::check_project(dst, st)?;
        }
        let Some(t) = r.target else {
            if mode == RenameMode::Exchange {
                return Err(Errno::ENOENT);
            }
            return if moving_dir && r.old_dir.ino() != r.new_dir.ino() {
                self.can_add_link(l.get(r.new_dir)?)
            } else {
                Ok(())
            };
        };
        match mode {
            RenameMode::NoReplace => return Err(Errno::EEXIST),
            RenameMode::Exchange => return Ok(()),
            RenameMode::Replace | RenameMode::Whiteout => {}
        }
        let tst = l.get(t)?;
        match (moving_dir, tst.is_dir()) {
            (true, false) => Err(Errno::ENOTDIR),
            (false, true) => Err(Errno::EISDIR),
            (true, true) if !self.dir_is_empty(t, tst)? => Err(Errno::ENOTEMPTY),
            _ => Ok(()),
        }
    }

    fn rename_over(
        &self,
        r: &Rename<'_, P>,
        l: &mut LockedInodes<'_, P>,
        whiteout: bool,
    ) -> Result<()> {
        let h = self.start(2 * ADD + NEW)?;
        self.dir_prepare(&h, r.old_dir, l.get(r.old_dir)?)?;
        self.dir_prepare(&h, r.new_dir, l.get(r.new_dir)?)?;
        let moving = l.get(r.inode)?;
        let is_dir = moving.is_dir();
        let t = moving.file_type();
        let left = if whiteout {
            let new = NewInode {
                mode: mode::S_IFCHR,
                ..NewInode::default()
            };
            let dst = l.get(r.old_dir)?;
            Some(self.new_inode(&h, r.old_dir, dst, &new, &Content::Nothing)?)
        } else {
            None
        };
        let nst = l.get(r.new_dir)?;
        let placed = match self.dir_find(r.new_dir, nst, r.new_name)? {
            Some(f) => self.dir_set(&h, nst, &f, r.inode.ino(), t),
            None => self.dir_add(&h, r.new_dir, nst, r.new_name, r.inode.ino(), t),
        };
        if let Err(e) = placed {
            self.store_inode(&h, r.new_dir, nst, true)?;
            if let Some(w) = left {
                self.undo_new(&h, &w, false)?;
            }
            return Err(e);
        }
        let ost = l.get(r.old_dir)?;
        let old = self.expect(r.old_dir, ost, r.old_name, r.inode)?;
        match &left {
            Some(w) => self.dir_set(&h, ost, &old, w.ino(), FileType::CharDevice)?,
            None => self.dir_remove(&h, ost, &old)?,
        }
        let replaced_dir = match r.target {
            Some(t) => l.get(t)?.is_dir(),
            None => false,
        };
        if is_dir {
            if r.old_dir.ino() != r.new_dir.ino() {
                self.set_parent(&h, r.inode, l.get(r.inode)?, r.new_dir.ino())?;
                Self::dec_dir_link(l.get(r.old_dir)?);
                if !replaced_dir {
                    Self::inc_dir_link(l.get(r.new_dir)?);
                }
            } else if replaced_dir {
                Self::dec_dir_link(l.get(r.old_dir)?);
            }
        }
        self.touch_dir(&h, r.old_dir, l.get(r.old_dir)?)?;
        self.touch_dir(&h, r.new_dir, l.get(r.new_dir)?)?;
        let st = l.get(r.inode)?;
        st.ctime = self.platform.now();
        self.store_inode(&h, r.inode, st, true)?;
        if let Some(t) = r.target {
            self.drop_link(&h, t, l.get(t)?)?;
        }
        drop(h);
        left.map_or(Ok(()), |w| self.iput(w))
    }

    fn exchange(
        &self,
        r: &Rename<'_, P>,
        target: &Inode<P>,
        l: &mut LockedInodes<'_, P>,
    ) -> Result<()> {
        let h = self.start(32)?;
        self.dir_prepare(&h, r.old_dir, l.get(r.old_dir)?)?;
        self.dir_prepare(&h, r.new_dir, l.get(r.new_dir)?)?;
        let (a_dir, a_type) = (l.get(r.inode)?.is_dir(), l.get(r.inode)?.file_type());
        let (b_dir, b_type) = (l.get(target)?.is_dir(), l.get(target)?.file_type());
        let across = r.old_dir.ino() != r.new_dir.ino();
        if across && a_dir != b_dir {
            let gains = if a_dir { r.new_dir } else { r.old_dir };
            self.can_add_link(l.get(gains)?)?;
        }
        let ost = l.get(r.old_dir)?;
        let found = self.expect(r.old_dir, ost, r.old_name, r.inode)?;
        let nst = l.get(r.new_dir)?;
        let there = self.expect(r.new_dir, nst, r.new_name, target)?;
        self.dir_set(&h, l.get(r.old_dir)?, &found, target.ino(), b_type)?;
        self.dir_set(&h, l.get(r.new_dir)?, &there, r.inode.ino(), a_type)?;
        if across {
            if a_dir {
                self.set_parent(&h, r.inode, l.get(r.inode)?, r.new_dir.ino())?;
                Self::dec_dir_link(l.get(r.old_dir)?);
                Self::inc_dir_link(l.get(r.new_dir)?);
            }
            if b_dir {
                self.set_parent(&h, target, l.get(target)?, r.old_dir.ino())?;
                Self::dec_dir_link(l.get(r.new_dir)?);
                Self::inc_dir_link(l.get(r.old_dir)?);
            }
        }
        self.touch_dir(&h, r.old_dir, l.get(r.old_dir)?)?;
        self.touch_dir(&h, r.new_dir, l.get(r.new_dir)?)?;
        for i in [r.inode, target] {
            let st = l.get(i)?;
            st.ctime = self.platform.now();
            self.store_inode(&h, i, st, true)?;
        }
        Ok(())
    }

    /// Makes `..` of a directory mean another parent.
    fn set_parent(
        &self,
        h: &Handle<'_, P>,
        dir: &Inode<P>,
        st: &mut InodeState,
        parent: u32,
    ) -> Result<()> {
        self.dir_prepare(h, dir, st)?;
        let found = self.dir_find(dir, st, b"..")?.ok_or(Errno::EUCLEAN)?;
        self.dir_set(h, st, &found, parent, FileType::Directory)
    }
}
