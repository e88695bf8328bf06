//! Directories: finding, adding, changing and removing names, and reading them all.
//!
//! Small directories are one block (or lie in the inode); larger ones have a hash index ([`htree`]). Old directories
//! of several blocks without an index are searched block by block.
//!
//! Locking: the caller holds the directory inode's lock.

mod block;
mod hash;
mod htree;
mod inline;
mod read;

use alloc::sync::Arc;

use crate::balloc::{Draw, Goal};
use crate::buffer::Buf;
use crate::bytes::{put, put32};
use crate::extent::Extent;
use crate::inode::{Inode, InodeState};
use crate::journal::Handle;
use crate::layout::{compat, incompat};
use crate::platform::Platform;
use crate::seal::Kind;
use crate::{Errno, FileType, Fs, Result, inode_flags};

/// Where a name was found.
pub(crate) struct Found<P: Platform> {
    place: Place<P>,
    pub ino: u32,
    pub file_type: FileType,
}

enum Place<P: Platform> {
    /// Buffer and offset of the record.
    Block(Arc<Buf<P>>, usize),
    /// In the inode; such directories are moved to a block before they change.
    Inline,
}

impl<P: Platform> Fs<P> {
    /// Blocks of a directory.
    fn dir_blocks(&self, st: &InodeState) -> u32 {
        u32::try_from(st.size >> self.sb.block_bits).unwrap_or(u32::MAX)
    }

    /// A block of a directory.
    fn dir_block(&self, st: &InodeState, lblk: u32) -> Result<Arc<Buf<P>>> {
        if lblk >= self.dir_blocks(st) {
            self.damage(format_args!("directory index points past the end"));
            return Err(Errno::EUCLEAN);
        }
        let block = self.meta_block(st, lblk)?;
        let kind = Kind::DirAny { seed: st.seed };
        if !self.cache.is_cached(block) {
            self.read_dir_ahead(st, lblk, kind);
        }
        self.bread(block, kind)
    }

    /// Reads the blocks around one that is not cached: a directory is rarely read in part.
    fn read_dir_ahead(&self, st: &InodeState, lblk: u32, kind: Kind) {
        const WINDOW: u32 = 16;
        let from = lblk / WINDOW * WINDOW;
        let to = from.saturating_add(WINDOW).min(self.dir_blocks(st));
        let blocks: alloc::vec::Vec<u64> = (from..to)
            .map_while(|b| self.meta_block(st, b).ok())
            .collect();
        if blocks.len() > 1 {
            self.cache.prefetch(&*self.dev, &self.sb, &blocks, kind);
        }
    }

    /// Finds a name.
    pub(crate) fn dir_find(
        &self,
        dir: &Inode<P>,
        st: &InodeState,
        name: &[u8],
    ) -> Result<Option<Found<P>>> {
        if st.is_inline() {
            return Ok(self
                .inline_dir_entries(dir, st)?
                .into_iter()
                .find(|e| e.name == name)
                .map(|e| Found {
                    place: Place::Inline,
                    ino: e.ino,
                    file_type: block::type_of(e.file_type),
                }));
        }
        let hit = if st.flags & inode_flags::INDEX != 0 && name != b"." && name != b".." {
            self.dx_find(st, name)?
        } else {
            self.linear_find(st, name)?
        };
        let Some((buf, off)) = hit else {
            return Ok(None);
        };
        let (ino, t) = {
            let s = buf.read();
            let e = block::entry_at(&s.data, off)?;
            (e.ino, e.file_type)
        };
        Ok(Some(Found {
            place: Place::Block(buf, off),
            ino,
            file_type: block::type_of(t),
        }))
    }

    fn linear_find(&self, st: &InodeState, name: &[u8]) -> Result<Option<(Arc<Buf<P>>, usize)>> {
        // In an indexed directory only `.` and `..` are looked for here; they are in the first block.
        let blocks = if st.flags & inode_flags::INDEX != 0 {
            1
        } else {
            self.dir_blocks(st)
        };
        for lblk in 0..blocks {
            let buf = self.dir_block(st, lblk)?;
            let off = block::find(&buf.read().data, name)?.map(|e| e.off);
            if let Some(off) = off {
                return Ok(Some((buf, off)));
            }
        }
        Ok(None)
    }

    /// The type byte of a new entry; without the filetype feature it is part of the name's length.
    fn entry_type(&self, t: FileType) -> u8 {
        if self.sb.is(incompat::FILETYPE) {
            block::type_byte(t)
        } else {
            0
        }
    }

    /// Appends an empty block to a directory.
    fn append_dir_block(
        &self,
        h: &Handle<'_, P>,
        dir: &Inode<P>,
        st: &mut InodeState,
    ) -> Result<(u32, Arc<Buf<P>>)> {
        let lblk = self.dir_blocks(st);
        let goal = match self.map_goal(st, lblk)? {
            Some(b) => Goal::Block(b),
            None => Goal::Group(dir.loc.group),
        };
        let pblk = self.alloc_meta(h, goal, Draw::Normal)?;
        let new = Extent {
            lblk,
            len: 1,
            pblk,
            unwritten: false,
        };
        if let Err(e) = self.map_insert(h, st, new, Draw::Normal) {
            self.free_blocks(h, pblk, 1, true)?;
            return Err(e);
        }
        let buf = self.cache.getblk(pblk);
        block::init(
            h.fresh(&buf, Kind::DirLeaf { seed: st.seed }).bytes_mut(),
            self.sb.has_csum(),
        );
        st.size += u64::from(self.sb.block_size);
        st.disk_size = st.size;
        st.sectors += u64::from(self.sb.block_size / 512);
        Ok((lblk, buf))
    }

    fn insert_in_leaf_block(
        &self,
        h: &Handle<'_, P>,
        st: &InodeState,
        leaf: &Arc<Buf<P>>,
        name: &[u8],
        ino: u32,
        t: u8,
    ) -> Result<bool> {
        let bs = self.sb.block_size as usize;
        let end = bs - if self.sb.has_csum() { block::TAIL } else { 0 };
        let mut s = h.write(leaf, Kind::DirLeaf { seed: st.seed });
        block::insert(s.bytes_mut(), end, ino, t, name)
    }

    /// Moves a directory that lies in its inode to a block, before it changes.
    pub(crate) fn dir_prepare(
        &self,
        h: &Handle<'_, P>,
        dir: &Inode<P>,
        st: &mut InodeState,
    ) -> Result<()> {
        if !st.is_inline() {
            return Ok(());
        }
        let all = self.inline_dir_entries(dir, st)?;
        self.clear_inline(st)?;
        st.size = 0;
        let (_, buf) = self.append_dir_block(h, dir, st)?;
        let records: alloc::vec::Vec<_> = all
            .into_iter()
            .map(|e| (e.ino, e.file_type, e.name))
            .collect();
        let tail = self.sb.has_csum();
        let kind = Kind::DirLeaf { seed: st.seed };
        block::pack(h.write(&buf, kind).bytes_mut(), tail, &records);
        self.store_inode(h, dir, st, true)
    }

    /// Adds a name that is not there. The caller stores the directory's inode.
    pub(crate) fn dir_add(
        &self,
        h: &Handle<'_, P>,
        dir: &Inode<P>,
        st: &mut InodeState,
        name: &[u8],
        ino: u32,
        file_type: FileType,
    ) -> Result<()> {
        let t = self.entry_type(file_type);
        if st.flags & inode_flags::INDEX != 0 {
            return self.dx_insert(h, dir, st, name, (ino, t));
        }
        let blocks = self.dir_blocks(st);
        // The last block that took a name most likely takes the next one too.
        let hint = st.dir_hint.min(blocks.saturating_sub(1));
        for i in 0..blocks {
            let lblk = (hint + i) % blocks;
            let buf = self.dir_block(st, lblk)?;
            if self.insert_in_leaf_block(h, st, &buf, name, ino, t)? {
                st.dir_hint = lblk;
                return Ok(());
            }
        }
        if blocks == 1 && self.sb.has(compat::DIR_INDEX) {
            self.make_indexed(h, dir, st)?;
            return self.dx_insert(h, dir, st, name, (ino, t));
        }
        let (lblk, buf) = self.append_dir_block(h, dir, st)?;
        st.dir_hint = lblk;
        match self.insert_in_leaf_block(h, st, &buf, name, ino, t)? {
            true => Ok(()),
            false => Err(Errno::EUCLEAN),
        }
    }

    /// Makes a found name mean another inode.
    pub(crate) fn dir_set(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        found: &Found<P>,
        ino: u32,
        file_type: FileType,
    ) -> Result<()> {
        let t = self.entry_type(file_type);
        match &found.place {
            Place::Block(buf, off) => {
                let kind = self.dir_kind(st, buf);
                let mut s = h.write(buf, kind);
                put32(s.bytes_mut(), *off, ino);
                put(s.bytes_mut(), off + 7, &[t]);
                Ok(())
            }
            Place::Inline => Err(Errno::EIO),
        }
    }

    /// Removes a found name.
    pub(crate) fn dir_remove(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        found: &Found<P>,
    ) -> Result<()> {
        match &found.place {
            Place::Block(buf, off) => {
                let kind = self.dir_kind(st, buf);
                block::remove(h.write(buf, kind).bytes_mut(), *off)
            }
            Place::Inline => Err(Errno::EIO),
        }
    }

    /// How a directory block's checksum is kept: by its present content.
    fn dir_kind(&self, st: &InodeState, buf: &Arc<Buf<P>>) -> Kind {
        let s = buf.read();
        let index = st.flags & inode_flags::INDEX != 0 && crate::seal::dx_offset(&s.data).is_some();
        if index {
            Kind::DxNode { seed: st.seed }
        } else {
            Kind::DirLeaf { seed: st.seed }
        }
    }

    /// Gives a new directory its first block.
    pub(crate) fn dir_init(
        &self,
        h: &Handle<'_, P>,
        dir: &Inode<P>,
        st: &mut InodeState,
        parent: u32,
    ) -> Result<()> {
        let (_, buf) = self.append_dir_block(h, dir, st)?;
        let tail = self.sb.has_csum();
        let t = self.entry_type(FileType::Directory);
        let mut s = h.write(&buf, Kind::DirLeaf { seed: st.seed });
        let b = s.bytes_mut();
        let end = b.len() - if tail { block::TAIL } else { 0 };
        block::put_entry(b, 0, 12, dir.ino(), t, b".");
        block::put_entry(b, 12, end - 12, parent, t, b"..");
        Ok(())
    }

    /// Whether a directory has no names but `.` and `..`.
    pub(crate) fn dir_is_empty(&self, dir: &Inode<P>, st: &InodeState) -> Result<bool> {
        if st.is_inline() {
            return Ok(self.inline_dir_entries(dir, st)?.len() == 2);
        }
        // Index nodes look like blocks without names, the root like one with `.` and `..` only.
        for lblk in 0..self.dir_blocks(st) {
            let buf = self.dir_block(st, lblk)?;
            let s = buf.read();
            for e in block::entries(&s.data) {
                let e = e?;
                if e.ino != 0 && e.name != b"." && e.name != b".." {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Finds `name` in `dir` (`.` and `..` included). `ENOENT`, `ENOTDIR`, `ENAMETOOLONG`.
    pub fn lookup(&self, dir: &Inode<P>, name: &[u8]) -> Result<(u32, FileType)> {
        if name.len() > crate::layout::NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let st = dir.read();
        if !st.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let f = self.dir_find(dir, &st, name)?.ok_or(Errno::ENOENT)?;
        if f.ino == 0 || f.ino > self.sb.inodes_count {
            self.damage(format_args!(
                "directory {} names inode {}",
                dir.ino(),
                f.ino
            ));
            return Err(Errno::EUCLEAN);
        }
        Ok((f.ino, f.file_type))
    }
}
