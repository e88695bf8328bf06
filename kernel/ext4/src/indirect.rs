//! Block maps of the ext2/ext3 kind: twelve direct pointers, then trees of one, two and three levels of indirect
//! blocks.
//!
//! A map knows no unwritten blocks, so pointers are set only once the data is on the device. The indirect blocks that
//! delayed data will need are promised together with it and claimed together with its blocks
//! ([`InodeState::indirect`]): entering what was written does not run out of space.
//!
//! All functions run under the inode's lock; changing ones inside a journal handle.

mod remove;

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::balloc::{Draw, Goal};
use crate::buffer::Buf;
use crate::bytes::{le32, put32};
use crate::extent::{Extent, Lookup};
use crate::inode::InodeState;
use crate::journal::Handle;
use crate::layout::ro_compat;
use crate::platform::Platform;
use crate::ranges::first_in;
use crate::seal::Kind;
use crate::{Errno, Fs, Result};

/// Pointers in the inode that lead to data.
const DIRECT: u32 = 12;
/// Levels of indirection.
const LEVELS: u32 = 3;

/// An indirect block's place in a map: the first file block it leads to, and over how many pointers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    start: u32,
    level: u32,
}

/// One indirect block on the way to a block, and the pointer taken in it.
#[derive(Clone, Copy, Default)]
struct Step {
    node: Node,
    idx: usize,
}

/// The way from the inode to a block: a pointer in the inode, then one in each indirect block.
struct Path {
    slot: usize,
    steps: [Step; LEVELS as usize],
    depth: usize,
}

impl Path {
    fn steps(&self) -> &[Step] {
        &self.steps[..self.depth]
    }
}

fn pointer(array: &[u8], idx: usize) -> u32 {
    le32(array, idx * 4)
}

/// The first pointer in `from..to` that leads anywhere, or `to`.
fn next_used(array: &[u8], from: usize, to: usize) -> usize {
    (from..to).find(|&i| pointer(array, i) != 0).unwrap_or(to)
}

impl<P: Platform> Fs<P> {
    /// Pointers in an indirect block.
    fn per_block(&self) -> u64 {
        u64::from(self.sb.block_size / 4)
    }

    /// File blocks that an indirect block of `level` leads to.
    fn span(&self, level: u32) -> u64 {
        self.per_block().pow(level)
    }

    /// The first file block behind the inode's pointer to a tree of `level`.
    fn base(&self, level: u32) -> u64 {
        u64::from(DIRECT) + (1..level).map(|l| self.span(l)).sum::<u64>()
    }

    /// The way to `lblk`; `None` where no map reaches.
    fn ind_path(&self, lblk: u32) -> Option<Path> {
        let mut path = Path {
            slot: lblk as usize,
            steps: [Step::default(); LEVELS as usize],
            depth: 0,
        };
        if lblk < DIRECT {
            return Some(path);
        }
        let n = u64::from(lblk);
        let level = (1..=LEVELS).find(|&l| n < self.base(l) + self.span(l))?;
        let base = self.base(level);
        path.slot = (DIRECT + level - 1) as usize;
        path.depth = level as usize;
        for (step, level) in path.steps.iter_mut().zip((1..=level).rev()) {
            let start = base + (n - base) / self.span(level) * self.span(level);
            step.node = Node {
                start: start as u32,
                level,
            };
            step.idx = ((n - start) / self.span(level - 1)) as usize;
        }
        Some(path)
    }

    /// The largest size in bytes of a file with a block map: what the pointers reach and what `i_blocks` can count.
    pub(crate) fn ind_max_size(&self) -> u64 {
        let bits = self.sb.block_bits;
        let p = self.per_block();
        let reach = self.base(LEVELS) + self.span(LEVELS);
        let countable = if self.sb.ro(ro_compat::HUGE_FILE) {
            (1 << 48) - 1
        } else {
            u64::from(u32::MAX) >> (bits - 9)
        };
        let whole_trees = 1 + (1 + p);
        let used = |blocks: u64| {
            let third = blocks.saturating_sub(self.base(LEVELS));
            whole_trees + 1 + third.div_ceil(p) + third.div_ceil(p * p)
        };
        let blocks = if reach + used(reach) <= countable {
            reach
        } else {
            countable - used(countable)
        };
        blocks << bits
    }

    fn bad_map(&self) -> Errno {
        self.damage(format_args!("damaged block map"));
        Errno::EUCLEAN
    }

    fn ind_bread(&self, block: u32) -> Result<Arc<Buf<P>>> {
        if !self.valid_blocks(u64::from(block), 1) {
            return Err(self.bad_map());
        }
        self.bread(u64::from(block), Kind::Plain)
    }

    /// What is at `lblk` of a file with a block map.
    pub(crate) fn ind_lookup(&self, st: &InodeState, lblk: u32) -> Result<Lookup> {
        let Some(path) = self.ind_path(lblk) else {
            return Ok(Lookup::Hole(u32::MAX));
        };
        if path.depth == 0 {
            return self.ind_run(st.iblock(), path.slot, DIRECT as usize, lblk);
        }
        let mut block = pointer(st.iblock(), path.slot);
        if block == 0 {
            let all = (DIRECT + LEVELS) as usize;
            let next = next_used(st.iblock(), path.slot + 1, all);
            return Ok(Lookup::Hole(if next == all {
                u32::MAX
            } else {
                self.base(next as u32 - DIRECT + 1) as u32
            }));
        }
        let p = self.per_block() as usize;
        for step in path.steps() {
            let buf = self.ind_bread(block)?;
            let s = buf.read();
            if step.node.level == 1 {
                return self.ind_run(&s.data, step.idx, p, lblk);
            }
            block = pointer(&s.data, step.idx);
            if block == 0 {
                let next = next_used(&s.data, step.idx + 1, p) as u64;
                let next = u64::from(step.node.start) + next * self.span(step.node.level - 1);
                return Ok(Lookup::Hole(u32::try_from(next).unwrap_or(u32::MAX)));
            }
        }
        Err(self.bad_map())
    }

    /// The run of consecutive blocks, or of holes, at index `idx` of `count` pointers.
    fn ind_run(&self, array: &[u8], idx: usize, count: usize, lblk: u32) -> Result<Lookup> {
        let first = pointer(array, idx);
        if first == 0 {
            let n = next_used(array, idx + 1, count) - idx;
            return Ok(Lookup::Hole(lblk.saturating_add(n as u32)));
        }
        let follows = |i: &usize| first.checked_add((i - idx) as u32) == Some(pointer(array, *i));
        let len = 1 + (idx + 1..count).take_while(follows).count() as u32;
        if !self.valid_blocks(u64::from(first), len) {
            return Err(self.bad_map());
        }
        Ok(Lookup::Found(Extent {
            lblk,
            len,
            pblk: u64::from(first),
            unwritten: false,
        }))
    }

    /// Where a new block for `lblk` should be: behind the block before it in its indirect block, or behind that.
    pub(crate) fn ind_goal(&self, st: &InodeState, lblk: u32) -> Result<Option<u64>> {
        let Some(path) = self.ind_path(lblk) else {
            return Ok(None);
        };
        let before = |array: &[u8], idx: usize| {
            let used = (0..idx).rev().find(|&i| pointer(array, i) != 0)?;
            Some(u64::from(pointer(array, used)) + (idx - used) as u64)
        };
        if path.depth == 0 {
            return Ok(before(st.iblock(), path.slot));
        }
        let mut goal = before(st.iblock(), DIRECT as usize);
        let mut block = pointer(st.iblock(), path.slot);
        for step in path.steps() {
            if block == 0 {
                break;
            }
            let buf = self.ind_bread(block)?;
            let s = buf.read();
            goal = Some(u64::from(block) + 1);
            if step.node.level == 1 {
                goal = before(&s.data, step.idx).or(goal);
            }
            block = pointer(&s.data, step.idx);
        }
        Ok(goal)
    }

    /// How many of the indirect blocks on a path are there.
    fn ind_present(&self, st: &InodeState, path: &Path) -> Result<usize> {
        let mut block = pointer(st.iblock(), path.slot);
        for (i, step) in path.steps().iter().enumerate() {
            if block == 0 {
                return Ok(i);
            }
            if i + 1 < path.depth {
                block = pointer(&self.ind_bread(block)?.read().data, step.idx);
            }
        }
        Ok(path.depth)
    }

    /// How many blocks from `lblk` on hang off the same indirect block (or the inode).
    fn ind_room(&self, path: &Path) -> u32 {
        match path.steps().last() {
            Some(leaf) => (self.per_block() as usize - leaf.idx) as u32,
            None => DIRECT - path.slot as u32,
        }
    }

    /// The indirect blocks that data in a hole will need and that nobody has promised yet. `EFBIG`.
    pub(crate) fn ind_needs(&self, st: &InodeState, from: u32, len: u32) -> Result<BTreeSet<Node>> {
        let mut needs = BTreeSet::new();
        let mut at = from;
        while !st.has_extents() && at < from + len {
            let path = self.ind_path(at).ok_or(Errno::EFBIG)?;
            let promised = |s: &Step| st.indirect.contains_key(&s.node);
            // A promise for the last one covers those above it.
            if !path.steps().last().is_some_and(promised) {
                let missing = &path.steps()[self.ind_present(st, &path)?..];
                needs.extend(missing.iter().filter(|s| !promised(s)).map(|s| s.node));
            }
            at += self.ind_room(&path);
        }
        Ok(needs)
    }

    /// Claims the indirect blocks that are missing on the way to `lblk`. Answers where the data goes, and how many of
    /// `want` blocks hang off the same indirect block. `ENOSPC`, `EFBIG`.
    pub(crate) fn ind_claim(
        &self,
        st: &mut InodeState,
        (lblk, want): (u32, u32),
        mut goal: Goal,
        draw: Draw,
    ) -> Result<(Goal, u32)> {
        let path = self.ind_path(lblk).ok_or(Errno::EFBIG)?;
        let present = self.ind_present(st, &path)?;
        for step in &path.steps()[present..] {
            let draw = match st.indirect.get(&step.node) {
                Some(Some(_)) => continue,
                Some(None) => Draw::Promised,
                None if draw == Draw::Normal => Draw::Normal,
                None => Draw::Metadata,
            };
            let (block, _) = self.claim(goal, 1, draw)?;
            st.indirect.insert(step.node, Some(block));
            goal = Goal::Block(block + 1);
        }
        Ok((goal, want.min(self.ind_room(&path))))
    }

    /// Whether data for file blocks in a range waits for write-back or is on its way.
    fn has_pending(&self, st: &InodeState, start: u32, len: u64) -> bool {
        let end = u64::from(start) + len;
        first_in(&st.delayed, |&n| n, start, end).is_some()
            || first_in(&st.inflight, |v| v.0, start, end).is_some()
    }

    /// Gives back the indirect blocks promised or claimed for data in `from..to` that will not be written after all.
    pub(crate) fn ind_settle(&self, st: &mut InodeState, from: u32, to: u64) {
        let in_vain: Vec<Node> = st
            .indirect
            .keys()
            .filter(|n| {
                let end = u64::from(n.start) + self.span(n.level);
                u64::from(n.start) < to
                    && end > u64::from(from)
                    && !self.has_pending(st, n.start, self.span(n.level))
            })
            .copied()
            .collect();
        for node in in_vain {
            match st.indirect.remove(&node) {
                Some(Some(block)) => self.unclaim(block, 1),
                Some(None) => self.unpromise(1),
                None => {}
            }
        }
    }

    /// Sets the pointers to a run of blocks where there is a hole. Those of `new` are set all or none.
    pub(crate) fn ind_insert(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        new: Extent,
        draw: Draw,
    ) -> Result<()> {
        let first = u32::try_from(new.pblk).map_err(|_| Errno::ENOSPC)?;
        first.checked_add(new.len).ok_or(Errno::ENOSPC)?;
        let mut parts = Vec::new();
        let mut done = 0;
        while done < new.len {
            let path = self.ind_path(new.lblk + done).ok_or(Errno::EFBIG)?;
            let count = self.ind_room(&path).min(new.len - done);
            let idx = path.steps().last().map_or(path.slot, |s| s.idx);
            parts.push((self.ind_leaf(h, st, &path, new.pblk, draw)?, idx, count));
            done += count;
        }
        let mut block = first;
        for (leaf, idx, count) in parts {
            let mut set = |array: &mut [u8]| {
                for i in idx..idx + count as usize {
                    put32(array, i * 4, block);
                    block += 1;
                }
            };
            match leaf {
                None => set(st.iblock_mut()),
                Some(buf) => set(h.write(&buf, Kind::Plain).bytes_mut()),
            }
        }
        Ok(())
    }

    /// The last indirect block of a path (`None`: the inode), made with all above it where they are missing.
    fn ind_leaf(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        path: &Path,
        near: u64,
        draw: Draw,
    ) -> Result<Option<Arc<Buf<P>>>> {
        let mut parent: Option<Arc<Buf<P>>> = None;
        let mut idx = path.slot;
        for step in path.steps() {
            let next = match &parent {
                None => pointer(st.iblock(), idx),
                Some(buf) => pointer(&buf.read().data, idx),
            };
            let buf = if next != 0 {
                self.ind_bread(next)?
            } else {
                let block = self.ind_new(h, st, step.node, near, draw)?;
                let buf = self.cache.getblk(u64::from(block));
                drop(h.fresh(&buf, Kind::Plain));
                match &parent {
                    None => put32(st.iblock_mut(), idx * 4, block),
                    Some(up) => put32(h.write(up, Kind::Plain).bytes_mut(), idx * 4, block),
                }
                st.sectors += u64::from(self.sb.block_size / 512);
                buf
            };
            parent = Some(buf);
            idx = step.idx;
        }
        Ok(parent)
    }

    /// A block for an indirect block: the one claimed for it, or a new one.
    fn ind_new(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        node: Node,
        near: u64,
        draw: Draw,
    ) -> Result<u32> {
        let block = match st.indirect.remove(&node) {
            Some(Some(block)) => {
                self.enter_claim(h, block, 1)
                    .inspect_err(|_| self.unclaim(block, 1))?;
                block
            }
            Some(None) => self
                .alloc_meta(h, Goal::Block(near), Draw::Promised)
                .inspect_err(|_| {
                    st.indirect.insert(node, None);
                })?,
            None => self.alloc_meta(h, Goal::Block(near), draw)?,
        };
        u32::try_from(block).or_else(|_| {
            // Block maps do not reach there.
            self.free_blocks(h, block, 1, true)?;
            Err(Errno::ENOSPC)
        })
    }
}
