//! Hashed directory indexes.
//!
//! Block 0 is the root: `.` and `..`, then the index header and (hash, block) pairs; below it up to one level
//! of index nodes (two with large_dir), then leaf blocks of plain entries. The first pair of a node has no hash;
//! its place holds limit and count. A pair whose hash is odd continues the hash of the leaf before.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::block;
use super::hash::Hasher;
use crate::buffer::Buf;
use crate::bytes::{le16, le32, put16, put32};
use crate::inode::{Inode, InodeState};
use crate::journal::Handle;
use crate::layout::incompat;
use crate::platform::Platform;
use crate::seal::{Kind, dx_offset};
use crate::{Errno, Fs, Result, inode_flags};

/// One level on the way from the root to a leaf.
pub(super) struct Frame<P: Platform> {
    pub buf: Arc<Buf<P>>,
    /// Where the pairs start.
    off: usize,
    /// The pair taken.
    pub at: usize,
}

fn limit(n: &[u8], off: usize) -> usize {
    usize::from(le16(n, off))
}

fn count(n: &[u8], off: usize) -> usize {
    usize::from(le16(n, off + 2))
}

fn set_count(n: &mut [u8], off: usize, c: usize) {
    put16(n, off + 2, c as u16);
}

fn pair_hash(n: &[u8], off: usize, i: usize) -> u32 {
    le32(n, off + 8 * i)
}

fn pair_block(n: &[u8], off: usize, i: usize) -> u32 {
    le32(n, off + 8 * i + 4) & 0x0fff_ffff
}

fn put_pair(n: &mut [u8], off: usize, i: usize, hash: u32, block: u32) {
    put32(n, off + 8 * i, hash);
    put32(n, off + 8 * i + 4, block);
}

fn insert_pair(n: &mut [u8], off: usize, i: usize, hash: u32, block: u32) {
    let c = count(n, off);
    let (from, to) = (off + 8 * i, off + 8 * c);
    if from <= to && to + 8 <= n.len() {
        n.copy_within(from..to, from + 8);
        put_pair(n, off, i, hash, block);
        set_count(n, off, c + 1);
    }
}

impl<P: Platform> Fs<P> {
    /// The hash function that a directory's root names.
    pub(super) fn hasher(&self, version: u8) -> Hasher {
        Hasher {
            version,
            unsigned: self.sb.hash_unsigned,
            seed: self.sb.hash_seed,
        }
    }

    /// The hash function of a directory, indexed or not.
    pub(super) fn dir_hasher(&self, st: &InodeState) -> Result<Hasher> {
        if st.flags & inode_flags::INDEX == 0 {
            return Ok(self.hasher(self.sb.hash_version.min(2)));
        }
        let root = self.dir_block(st, 0)?;
        let version = root.read().data.get(28).copied().unwrap_or(0);
        if version > 2 {
            return Err(Errno::EUCLEAN);
        }
        Ok(self.hasher(version))
    }

    fn bad_index(&self) -> Errno {
        self.damage(format_args!("damaged directory index"));
        Errno::EUCLEAN
    }

    fn max_levels(&self) -> u8 {
        if self.sb.is(incompat::LARGEDIR) { 2 } else { 1 }
    }

    fn node_limit(&self, off: usize) -> usize {
        (self.sb.block_size as usize - off) / 8 - usize::from(self.sb.has_csum())
    }

    /// From the root to the leaf for `hash`: the index levels passed.
    pub(super) fn dx_probe(&self, st: &InodeState, hash: u32) -> Result<Vec<Frame<P>>> {
        let mut frames = Vec::with_capacity(3);
        let root = self.dir_block(st, 0)?;
        let levels = root.read().data.get(30).copied().unwrap_or(0);
        let unused = root.read().data.get(31).copied().unwrap_or(0);
        if levels > self.max_levels() || unused & 1 != 0 {
            return Err(self.bad_index());
        }
        let mut buf = root;
        for level in 0..=levels {
            let want = if level == 0 { 32 } else { 8 };
            let next = {
                let s = buf.read();
                let n = &s.data;
                let off = dx_offset(n)
                    .filter(|&o| o == want)
                    .ok_or_else(|| self.bad_index())?;
                if limit(n, off) != self.node_limit(off)
                    || count(n, off) == 0
                    || count(n, off) > limit(n, off)
                {
                    return Err(self.bad_index());
                }
                let (mut lo, mut hi) = (1, count(n, off));
                while lo < hi {
                    let mid = usize::midpoint(lo, hi);
                    if pair_hash(n, off, mid) > hash {
                        hi = mid
                    } else {
                        lo = mid + 1
                    }
                }
                frames.push(Frame {
                    buf: buf.clone(),
                    off,
                    at: lo - 1,
                });
                pair_block(n, off, lo - 1)
            };
            if level < levels {
                buf = self.dir_block(st, next)?;
            }
        }
        Ok(frames)
    }

    /// The leaf that the frames lead to.
    pub(super) fn dx_leaf(&self, frames: &[Frame<P>]) -> Result<u32> {
        let f = frames.last().ok_or(Errno::EUCLEAN)?;
        Ok(pair_block(&f.buf.read().data, f.off, f.at))
    }

    /// Moves to the next leaf; its lowest hash, or `None` at the end.
    pub(super) fn dx_next(&self, st: &InodeState, frames: &mut [Frame<P>]) -> Result<Option<u32>> {
        let mut level = frames.len();
        let hash = loop {
            let Some(up) = level.checked_sub(1) else {
                return Ok(None);
            };
            level = up;
            let f = &mut frames[level];
            let s = f.buf.read();
            if f.at + 1 < count(&s.data, f.off) {
                f.at += 1;
                break pair_hash(&s.data, f.off, f.at);
            }
        };
        // Down again along the first pairs.
        for i in level + 1..frames.len() {
            let up = &frames[i - 1];
            let block = pair_block(&up.buf.read().data, up.off, up.at);
            let buf = self.dir_block(st, block)?;
            let off = dx_offset(&buf.read().data).filter(|&o| o == 8);
            let off = off.ok_or_else(|| self.bad_index())?;
            if count(&buf.read().data, off) == 0 {
                return Err(self.bad_index());
            }
            frames[i] = Frame { buf, off, at: 0 };
        }
        Ok(Some(hash))
    }

    /// Finds a name through the index: the leaf that has it and the offset in it.
    pub(super) fn dx_find(
        &self,
        st: &InodeState,
        name: &[u8],
    ) -> Result<Option<(Arc<Buf<P>>, usize)>> {
        let hasher = self.dir_hasher(st)?;
        let (hash, _) = hasher.hash(name).ok_or(Errno::EUCLEAN)?;
        let mut frames = self.dx_probe(st, hash)?;
        let mut steps = self.dir_blocks(st);
        loop {
            let buf = self.dir_block(st, self.dx_leaf(&frames)?)?;
            let off = block::find(&buf.read().data, name)?.map(|e| e.off);
            if let Some(off) = off {
                return Ok(Some((buf, off)));
            }
            steps = steps.checked_sub(1).ok_or_else(|| self.bad_index())?;
            match self.dx_next(st, &mut frames)? {
                Some(next) if next == hash | 1 => {}
                _ => return Ok(None),
            }
        }
    }

    /// Adds a name through the index, splitting what is full.
    pub(super) fn dx_insert(
        &self,
        h: &Handle<'_, P>,
        dir: &Inode<P>,
        st: &mut InodeState,
        name: &[u8],
        (ino, t): (u32, u8),
    ) -> Result<()> {
        let hasher = self.dir_hasher(st)?;
        let (hash, _) = hasher.hash(name).ok_or(Errno::EUCLEAN)?;
        for _ in 0..8 {
            let frames = self.dx_probe(st, hash)?;
            let leaf = self.dir_block(st, self.dx_leaf(&frames)?)?;
            if self.insert_in_leaf_block(h, st, &leaf, name, ino, t)? {
                return Ok(());
            }
            let full = |f: &Frame<P>| {
                let s = f.buf.read();
                count(&s.data, f.off) >= limit(&s.data, f.off)
            };
            match frames.iter().rposition(|f| !full(f)) {
                Some(i) if i + 1 == frames.len() => {
                    self.split_leaf(h, dir, st, &frames[i], &leaf, hasher)?;
                }
                Some(i) => self.split_node(h, dir, st, &frames[i], &frames[i + 1])?,
                None => self.add_level(h, dir, st, &frames[0])?,
            }
        }
        Err(self.bad_index())
    }

    /// Splits a full leaf by hash; the upper half goes to a new block.
    fn split_leaf(
        &self,
        h: &Handle<'_, P>,
        dir: &Inode<P>,
        st: &mut InodeState,
        parent: &Frame<P>,
        leaf: &Arc<Buf<P>>,
        hasher: Hasher,
    ) -> Result<()> {
        let mut records = Vec::new();
        for e in block::entries(&leaf.read().data) {
            let e = e?;
            if e.ino != 0 {
                let hash = hasher.hash(e.name).ok_or(Errno::EUCLEAN)?.0;
                records.push((hash, (e.ino, e.file_type, e.name.to_vec())));
            }
        }
        if records.len() < 2 {
            return Err(self.bad_index());
        }
        records.sort_by_key(|r| r.0);
        let total: usize = records.iter().map(|r| block::needed(r.1.2.len())).sum();
        let mut upper = 0;
        let mut split = records.len();
        while split > 1 && upper < total / 2 {
            split -= 1;
            upper += block::needed(records[split].1.2.len());
        }
        let first = records[split].0;
        let continued = records[split - 1].0 == first;
        let (new_lblk, new) = self.append_dir_block(h, dir, st)?;
        let tail = self.sb.has_csum();
        let high: Vec<block::Record> = records.drain(split..).map(|r| r.1).collect();
        let low: Vec<block::Record> = records.into_iter().map(|r| r.1).collect();
        let kind = Kind::DirLeaf { seed: st.seed };
        block::pack(h.write(&new, kind).bytes_mut(), tail, &high);
        block::pack(h.write(leaf, kind).bytes_mut(), tail, &low);
        let mut s = h.write(&parent.buf, Kind::DxNode { seed: st.seed });
        insert_pair(
            s.bytes_mut(),
            parent.off,
            parent.at + 1,
            first | u32::from(continued),
            new_lblk,
        );
        Ok(())
    }

    /// Splits a full index node; its parent has room.
    fn split_node(
        &self,
        h: &Handle<'_, P>,
        dir: &Inode<P>,
        st: &mut InodeState,
        parent: &Frame<P>,
        node: &Frame<P>,
    ) -> Result<()> {
        let (new_lblk, new) = self.append_dir_block(h, dir, st)?;
        let kind = Kind::DxNode { seed: st.seed };
        let (moved, keep) = {
            let s = node.buf.read();
            let c = count(&s.data, node.off);
            let keep = c / 2;
            (s.data[node.off + 8 * keep..node.off + 8 * c].to_vec(), keep)
        };
        let hash = le32(&moved, 0);
        self.init_node(h.write(&new, kind).bytes_mut(), &moved);
        {
            let mut s = h.write(&node.buf, kind);
            set_count(s.bytes_mut(), node.off, keep);
        }
        let mut s = h.write(&parent.buf, kind);
        insert_pair(s.bytes_mut(), parent.off, parent.at + 1, hash, new_lblk);
        Ok(())
    }

    /// Fills an index node with pairs (the first pair's hash is dropped).
    fn init_node(&self, n: &mut [u8], pairs: &[u8]) {
        n.fill(0);
        put16(n, 4, self.sb.block_size as u16);
        crate::bytes::put(n, 8, pairs);
        put16(n, 8, self.node_limit(8) as u16);
        set_count(n, 8, pairs.len() / 8);
    }

    /// Moves the root's pairs into a new node below it.
    fn add_level(
        &self,
        h: &Handle<'_, P>,
        dir: &Inode<P>,
        st: &mut InodeState,
        root: &Frame<P>,
    ) -> Result<()> {
        let levels = root.buf.read().data.get(30).copied().unwrap_or(0);
        if levels >= self.max_levels() {
            return Err(Errno::ENOSPC);
        }
        let (new_lblk, new) = self.append_dir_block(h, dir, st)?;
        let kind = Kind::DxNode { seed: st.seed };
        let pairs = {
            let s = root.buf.read();
            s.data[root.off..root.off + 8 * count(&s.data, root.off)].to_vec()
        };
        self.init_node(h.write(&new, kind).bytes_mut(), &pairs);
        let mut s = h.write(&root.buf, kind);
        let n = s.bytes_mut();
        put32(n, root.off + 4, new_lblk);
        set_count(n, root.off, 1);
        crate::bytes::put(n, 30, &[levels + 1]);
        Ok(())
    }

    /// Turns a directory of one plain block into an indexed one.
    pub(super) fn make_indexed(
        &self,
        h: &Handle<'_, P>,
        dir: &Inode<P>,
        st: &mut InodeState,
    ) -> Result<()> {
        let root = self.dir_block(st, 0)?;
        let mut records = Vec::new();
        let mut parent = 0;
        for e in block::entries(&root.read().data) {
            let e = e?;
            match e.name {
                _ if e.ino == 0 => {}
                b"." => {}
                b".." => parent = e.ino,
                _ => records.push((e.ino, e.file_type, e.name.to_vec())),
            }
        }
        if parent == 0 {
            return Err(self.bad_index());
        }
        let (lblk, leaf) = self.append_dir_block(h, dir, st)?;
        let tail = self.sb.has_csum();
        block::pack(
            h.write(&leaf, Kind::DirLeaf { seed: st.seed }).bytes_mut(),
            tail,
            &records,
        );
        let bs = self.sb.block_size as usize;
        let mut s = h.write(&root, Kind::DxNode { seed: st.seed });
        let n = s.bytes_mut();
        n.fill(0);
        let dir_type = self.entry_type(crate::FileType::Directory);
        block::put_entry(n, 0, 12, dir.ino(), dir_type, b".");
        block::put_entry(n, 12, bs - 12, parent, dir_type, b"..");
        crate::bytes::put(n, 28, &[self.sb.hash_version.min(2), 8, 0, 0]);
        put16(n, 32, self.node_limit(32) as u16);
        set_count(n, 32, 1);
        put32(n, 36, lblk);
        drop(s);
        st.flags |= inode_flags::INDEX;
        Ok(())
    }
}
