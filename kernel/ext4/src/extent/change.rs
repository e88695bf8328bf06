//! Changing extent trees: inserting with merging and splitting, removing with shrinking, converting between written and
//! unwritten.
//!
//! Every step leaves a valid tree, so that running out of space half-way loses nothing.

use alloc::vec::Vec;

use super::node::*;
use super::{Extent, Level, Lookup, MAX_UNWRITTEN, MAX_WRITTEN};
use crate::balloc::{Draw, Goal};
use crate::bytes::{le32, put16, put32};
use crate::inode::InodeState;
use crate::journal::Handle;
use crate::platform::Platform;
use crate::seal::Kind;
use crate::{Errno, Fs, Result};

impl<P: Platform> Fs<P> {
    /// Keys of the path's ancestors follow when a node's first key changed.
    fn fix_keys(&self, h: &Handle<'_, P>, st: &mut InodeState, path: &[Level<P>], new: u32) {
        for (i, l) in path.iter().enumerate().rev().skip(1) {
            let idx = l.idx.unwrap_or(0);
            self.node_mut(h, st, &l.node, |n| put32(n, ENTRY * (idx + 1), new));
            if idx != 0 || i == 0 {
                break;
            }
        }
    }

    /// Adds an extent where there is a hole, joining it with neighbours in the same leaf.
    pub(crate) fn ext_insert(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        new: Extent,
        draw: Draw,
    ) -> Result<()> {
        for _ in 0..=2 * MAX_DEPTH {
            let path = self.descend(st, new.lblk)?;
            if self.insert_in_leaf(h, st, &path, &new) {
                return Ok(());
            }
            self.make_room(h, st, &path, new.lblk, draw)?;
        }
        Err(self.bad_tree())
    }

    fn insert_in_leaf(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        path: &[Level<P>],
        new: &Extent,
    ) -> bool {
        let Some(leaf) = path.last() else {
            return false;
        };
        let at = leaf.idx.map_or(0, |i| i + 1);
        let done = self.node_mut(h, st, &leaf.node, |n| {
            let left = leaf.idx.map(|i| Extent::parse(entry(n, i)));
            let right = (at < entries(n)).then(|| Extent::parse(entry(n, at)));
            let mut e = *new;
            let mut put_at = None;
            if let (Some(i), Some(l)) = (leaf.idx, left)
                && l.joins(&e)
            {
                e = Extent {
                    len: l.len + e.len,
                    ..l
                };
                put_at = Some(i);
            }
            if let Some(r) = right
                && e.joins(&r)
            {
                e.len += r.len;
                match put_at {
                    Some(_) => remove_entry(n, at),
                    None => put_at = Some(at),
                }
            }
            match put_at {
                Some(i) => put_entry(n, i, &e.encode()),
                None if entries(n) < capacity(n) => {
                    insert_entry(n, at, &e.encode());
                    put_at = Some(at);
                }
                None => return None,
            }
            put_at.map(|i| (i, e.lblk))
        });
        match done {
            Some((0, first)) => {
                self.fix_keys(h, st, path, first);
                true
            }
            Some(_) => true,
            None => false,
        }
    }

    /// Splits the lowest full nodes of `path` so that an entry fits, growing the tree if its root is full.
    fn make_room(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        path: &[Level<P>],
        lblk: u32,
        draw: Draw,
    ) -> Result<()> {
        // The deepest ancestor that has room takes the new index entry.
        let full = |l: &Level<P>| self.node(st, &l.node, |n| entries(n) >= capacity(n));
        let Some(parent) = (0..path.len() - 1).rev().find(|&i| !full(&path[i])) else {
            return self.grow(h, st, draw);
        };
        self.split(h, st, path, parent, lblk, draw)
    }

    fn tree_goal(&self, st: &InodeState, path: &[Level<P>]) -> Goal {
        match (
            path.last().and_then(|l| l.node.as_ref()),
            self.leaf_extent(st, path),
        ) {
            (Some(b), _) => Goal::Block(b.block),
            (None, Some(e)) => Goal::Block(e.pblk),
            (None, None) => Goal::Group(0),
        }
    }

    fn account_meta(&self, st: &mut InodeState, blocks: i64) {
        let s = i64::from(self.sb.block_size / 512) * blocks;
        st.sectors = st.sectors.saturating_add_signed(s);
    }

    /// Moves the root's entries into a new block below it.
    fn grow(&self, h: &Handle<'_, P>, st: &mut InodeState, draw: Draw) -> Result<()> {
        let d = depth(st.iblock());
        if d >= MAX_DEPTH {
            return Err(Errno::EFBIG);
        }
        let first = if d == 0 {
            Extent::parse(entry(st.iblock(), 0)).pblk
        } else {
            child(st.iblock(), 0)
        };
        let block = self.alloc_meta(h, Goal::Block(first), draw)?;
        let buf = self.cache.getblk(block);
        let max = self.node_capacity();
        {
            let mut s = h.fresh(&buf, Kind::Extent { seed: st.seed });
            let n = s.bytes_mut();
            let root = st.iblock();
            let count = entries(root);
            init_node(n, max, d);
            let end = ENTRY * (count + 1);
            n[ENTRY..end].copy_from_slice(&root[ENTRY..end]);
            set_entries(n, count);
        }
        let root = st.iblock_mut();
        let first_key = key(root, 0);
        root.fill(0);
        init_node(root, 4, d + 1);
        insert_entry(root, 0, &index_entry(first_key, block));
        self.account_meta(st, 1);
        Ok(())
    }

    fn node_capacity(&self) -> usize {
        // For every block size this leaves at least the four bytes that the checksum needs.
        (self.sb.block_size as usize - ENTRY) / ENTRY
    }

    /// Splits the child of `path[parent]` on the path.
    fn split(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        path: &[Level<P>],
        parent: usize,
        lblk: u32,
        draw: Draw,
    ) -> Result<()> {
        let node = path[parent + 1].node.clone();
        let Some(old) = &node else {
            return Err(self.bad_tree());
        };
        let (count, last_key, d) = self.node(st, &node, |n| {
            (entries(n), key(n, entries(n).saturating_sub(1)), depth(n))
        });
        if count < 2 {
            return Err(self.bad_tree());
        }
        // Appending leaves full nodes behind; anything else halves them.
        let appending = d == 0 && lblk > last_key;
        let keep = if appending { count - 1 } else { count / 2 };
        let goal = if appending {
            self.tree_goal(st, path)
        } else {
            Goal::Block(old.block)
        };
        let block = self.alloc_meta(h, goal, draw)?;
        let buf = self.cache.getblk(block);
        let max = self.node_capacity();
        let moved: Vec<u8> = self.node(st, &node, |n| {
            n.get(ENTRY * (keep + 1)..ENTRY * (count + 1))
                .unwrap_or(&[])
                .to_vec()
        });
        let first_key = le32(&moved, 0);
        {
            let mut s = h.fresh(&buf, Kind::Extent { seed: st.seed });
            let n = s.bytes_mut();
            init_node(n, max, d);
            n[ENTRY..ENTRY + moved.len()].copy_from_slice(&moved);
            set_entries(n, count - keep);
        }
        self.node_mut(h, st, &node, |n| {
            n[ENTRY * (keep + 1)..ENTRY * (count + 1)].fill(0);
            set_entries(n, keep);
        });
        let at = path[parent].idx.map_or(0, |i| i + 1);
        self.node_mut(h, st, &path[parent].node, |n| {
            insert_entry(n, at, &index_entry(first_key, block));
        });
        self.account_meta(st, 1);
        Ok(())
    }

    /// Removes the part of the file's map in `from..to` (`to` = 2^32 means everything after), last extents first,
    /// calling `freed` with each physical run. Stops early, answering `false`, when the handle's credits run low.
    pub(crate) fn ext_remove(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        from: u32,
        to: u64,
        freed: &mut dyn FnMut(&mut InodeState, Extent) -> Result<()>,
    ) -> Result<bool> {
        let mut to = to;
        while to > u64::from(from) {
            if h.low(12) {
                return Ok(false);
            }
            let last = u32::try_from(to - 1).unwrap_or(u32::MAX);
            let path = self.descend(st, last)?;
            let Some(e) = self.leaf_extent(st, &path) else {
                break;
            };
            if e.end() <= u64::from(from) {
                break;
            }
            let e = self.checked(e, last)?;
            let cut_start = e.lblk.max(from);
            let cut_end = e.end().min(to);
            let cut = Extent {
                lblk: cut_start,
                len: (cut_end - u64::from(cut_start)) as u32,
                pblk: e.pblk + u64::from(cut_start - e.lblk),
                unwritten: e.unwritten,
            };
            self.cut_extent(h, st, &path, &e, &cut)?;
            freed(st, cut)?;
            to = u64::from(cut_start);
        }
        Ok(true)
    }

    /// Takes `cut`, a part of `e`, out of the tree.
    fn cut_extent(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        path: &[Level<P>],
        e: &Extent,
        cut: &Extent,
    ) -> Result<()> {
        let Some((leaf, Some(idx))) = path.last().map(|l| (l, l.idx)) else {
            return Err(self.bad_tree());
        };
        let head = cut.lblk - e.lblk;
        let tail = (e.end() - cut.end()) as u32;
        let rest = Extent {
            lblk: cut.lblk + cut.len,
            len: tail,
            pblk: cut.pblk + u64::from(cut.len),
            unwritten: e.unwritten,
        };
        match (head, tail) {
            (0, 0) => return self.drop_entry(h, st, path),
            (0, _) => {
                self.node_mut(h, st, &leaf.node, |n| put_entry(n, idx, &rest.encode()));
                if idx == 0 {
                    self.fix_keys(h, st, path, rest.lblk);
                }
            }
            (_, t) => {
                let first = Extent { len: head, ..*e };
                self.node_mut(h, st, &leaf.node, |n| put_entry(n, idx, &first.encode()));
                if t > 0
                    && let Err(err) = self.ext_insert(h, st, rest, Draw::Metadata)
                {
                    // Splits may have moved the entry; find it again to undo.
                    let path = self.descend(st, e.lblk)?;
                    if let Some((l, Some(i))) = path.last().map(|l| (l, l.idx)) {
                        self.node_mut(h, st, &l.node, |n| put_entry(n, i, &e.encode()));
                    }
                    return Err(err);
                }
            }
        }
        Ok(())
    }

    /// Removes the leaf entry of `path`, then nodes that became empty, then levels that are not needed.
    fn drop_entry(&self, h: &Handle<'_, P>, st: &mut InodeState, path: &[Level<P>]) -> Result<()> {
        let mut i = path.len();
        while i > 0 {
            i -= 1;
            let l = &path[i];
            let idx = l.idx.unwrap_or(0);
            let (left, first) = self.node_mut(h, st, &l.node, |n| {
                remove_entry(n, idx);
                (entries(n), key(n, 0))
            });
            if left > 0 {
                if idx == 0 {
                    self.fix_keys(h, st, &path[..=i], first);
                }
                break;
            }
            match &l.node {
                Some(b) => {
                    self.free_blocks(h, b.block, 1, true)?;
                    self.account_meta(st, -1);
                }
                None => {
                    let root = st.iblock_mut();
                    root.fill(0);
                    init_node(root, 4, 0);
                }
            }
        }
        self.shrink_root(h, st)
    }

    /// While the root has a single child that fits into it, the child moves up.
    fn shrink_root(&self, h: &Handle<'_, P>, st: &mut InodeState) -> Result<()> {
        while depth(st.iblock()) > 0 && entries(st.iblock()) == 1 {
            let block = child(st.iblock(), 0);
            let d = depth(st.iblock()) - 1;
            let buf = self.bread(block, Kind::Extent { seed: st.seed })?;
            let copy = {
                let s = buf.read();
                if !valid_node(&s.data, Some(d)) {
                    return Err(self.bad_tree());
                }
                let count = entries(&s.data);
                if count > 4 {
                    break;
                }
                s.data[..ENTRY * (count + 1)].to_vec()
            };
            self.free_blocks(h, block, 1, true)?;
            self.account_meta(st, -1);
            let root = st.iblock_mut();
            root.fill(0);
            crate::bytes::put(root, 0, &copy);
            put16(root, 4, 4);
        }
        Ok(())
    }

    /// Marks unwritten blocks of `lblk..lblk + len` as written (holes stay holes).
    pub(crate) fn ext_mark(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        lblk: u32,
        len: u32,
        unwritten: bool,
    ) -> Result<()> {
        let end = u64::from(lblk) + u64::from(len);
        let mut at = lblk;
        while u64::from(at) < end {
            match self.ext_lookup(st, at)? {
                Lookup::Hole(next) => at = next,
                Lookup::Found(e) => {
                    let stop = e.end().min(end) as u32;
                    if e.unwritten != unwritten {
                        self.remark(h, st, &e, at, stop - at, unwritten)?;
                    }
                    at = stop;
                }
            }
            if at == u32::MAX {
                break;
            }
        }
        Ok(())
    }

    /// Changes the state of a part of extent `e`.
    fn remark(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        e: &Extent,
        lblk: u32,
        len: u32,
        unwritten: bool,
    ) -> Result<()> {
        let cut = Extent {
            lblk,
            len,
            pblk: e.pblk + u64::from(lblk - e.lblk),
            unwritten: e.unwritten,
        };
        let path = self.descend(st, lblk)?;
        self.cut_extent(h, st, &path, e, &cut)?;
        let max = if unwritten {
            MAX_UNWRITTEN
        } else {
            MAX_WRITTEN
        };
        let mut done = 0;
        while done < len {
            let n = (len - done).min(max);
            let part = Extent {
                lblk: lblk + done,
                len: n,
                pblk: cut.pblk + u64::from(done),
                unwritten,
            };
            self.ext_insert(h, st, part, Draw::Metadata)?;
            done += n;
        }
        Ok(())
    }
}
