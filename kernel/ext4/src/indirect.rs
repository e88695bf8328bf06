//! Block maps of the ext2/ext3 kind: twelve direct pointers, then one, two and three levels of indirection.
//!
//! Such files can be read, overwritten, cut and deleted. Before one grows it is converted to extents.

use alloc::vec::Vec;

use crate::balloc::Draw;
use crate::bytes::{le32, put32};
use crate::extent::{Extent, Lookup, MAX_WRITTEN};
use crate::inode::{Inode, InodeState};
use crate::journal::Handle;
use crate::platform::Platform;
use crate::seal::Kind;
use crate::{Errno, Fs, Result};

const DIRECT: u32 = 12;

impl<P: Platform> Fs<P> {
    fn per_block(&self) -> u64 {
        u64::from(self.sb.block_size / 4)
    }

    /// The chain of indices that leads to a block: first into the inode, then into indirect blocks.
    fn chain(&self, lblk: u32) -> Option<Vec<u32>> {
        let p = self.per_block();
        let mut n = u64::from(lblk);
        if n < u64::from(DIRECT) {
            return Some(alloc::vec![lblk]);
        }
        n -= u64::from(DIRECT);
        for level in 1..=3u32 {
            let span = p.pow(level);
            if n < span {
                let mut c = alloc::vec![DIRECT + level - 1];
                for k in (0..level).rev() {
                    c.push(((n / p.pow(k)) % p) as u32);
                }
                return Some(c);
            }
            n -= span;
        }
        None
    }

    /// What is at `lblk` of a file with a block map.
    pub(crate) fn ind_lookup(&self, st: &InodeState, lblk: u32) -> Result<Lookup> {
        let Some(chain) = self.chain(lblk) else {
            return Ok(Lookup::Hole(u32::MAX));
        };
        let mut block = u64::from(le32(st.iblock(), chain[0] as usize * 4));
        for (i, &idx) in chain.iter().enumerate().skip(1) {
            if block == 0 {
                // The whole subtree is a hole: up to the end of what this pointer covers.
                let below = self.per_block().pow((chain.len() - i) as u32);
                let offset = chain[i..]
                    .iter()
                    .fold(0, |acc, &c| acc * self.per_block() + u64::from(c));
                let next = u64::from(lblk) - offset + below;
                return Ok(Lookup::Hole(u32::try_from(next).unwrap_or(u32::MAX)));
            }
            if !self.valid_blocks(block, 1) {
                return Err(Errno::EUCLEAN);
            }
            let buf = self.bread(block, Kind::Plain)?;
            let s = buf.read();
            if i + 1 == chain.len() {
                return self.run_in(&s.data, idx, self.per_block() as u32, lblk);
            }
            block = u64::from(le32(&s.data, idx as usize * 4));
        }
        self.run_in(st.iblock(), chain[0], DIRECT, lblk)
    }

    /// The run of consecutive blocks, or of holes, at index `idx` of a pointer array.
    fn run_in(&self, array: &[u8], idx: u32, count: u32, lblk: u32) -> Result<Lookup> {
        let first = le32(array, idx as usize * 4);
        let mut n = 1;
        while idx + n < count {
            let next = le32(array, (idx + n) as usize * 4);
            let want = if first == 0 {
                Some(0)
            } else {
                first.checked_add(n)
            };
            if Some(next) != want {
                break;
            }
            n += 1;
        }
        if first == 0 {
            return Ok(Lookup::Hole(lblk.saturating_add(n)));
        }
        let pblk = u64::from(first);
        if !self.valid_blocks(pblk, n) {
            return Err(Errno::EUCLEAN);
        }
        Ok(Lookup::Found(Extent {
            lblk,
            len: n,
            pblk,
            unwritten: false,
        }))
    }

    /// Frees everything from `from` on. Answers `false` when the handle's credits ran low.
    pub(crate) fn ind_remove(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        from: u32,
        metadata: bool,
    ) -> Result<bool> {
        let p = self.per_block();
        let mut base = u64::from(DIRECT);
        let bases: Vec<u64> = (1..=3u32)
            .map(|l| {
                let b = base;
                base += p.pow(l);
                b
            })
            .collect();
        for level in (1..=3u32).rev() {
            let start = bases[level as usize - 1];
            let slot = (DIRECT + level - 1) as usize * 4;
            let block = le32(st.iblock(), slot);
            if block == 0 || u64::from(from) >= start + p.pow(level) {
                continue;
            }
            let keep_from = u64::from(from).saturating_sub(start);
            if !self.ind_free_tree(h, st, block, level, keep_from, metadata)? {
                return Ok(false);
            }
            if keep_from == 0 {
                put32(st.iblock_mut(), slot, 0);
            }
        }
        for i in (from.min(DIRECT)..DIRECT).rev() {
            let block = le32(st.iblock(), i as usize * 4);
            if block != 0 {
                self.ind_free_one(h, st, block, metadata)?;
                put32(st.iblock_mut(), i as usize * 4, 0);
            }
        }
        Ok(true)
    }

    fn ind_free_one(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        block: u32,
        metadata: bool,
    ) -> Result<()> {
        if !self.valid_blocks(u64::from(block), 1) {
            return Err(Errno::EUCLEAN);
        }
        self.free_blocks(h, u64::from(block), 1, metadata)?;
        st.sectors = st
            .sectors
            .saturating_sub(u64::from(self.sb.block_size / 512));
        Ok(())
    }

    /// Frees what the indirect block `block` leads to from its `from`-th leaf on, and itself if that is all.
    fn ind_free_tree(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        block: u32,
        level: u32,
        from: u64,
        metadata: bool,
    ) -> Result<bool> {
        if !self.valid_blocks(u64::from(block), 1) {
            return Err(Errno::EUCLEAN);
        }
        let p = self.per_block();
        let below = p.pow(level - 1);
        let buf = self.bread(u64::from(block), Kind::Plain)?;
        for i in (from / below..p).rev() {
            let at = i as usize * 4;
            let next = le32(&buf.read().data, at);
            if next == 0 {
                continue;
            }
            if h.low(16) {
                return Ok(false);
            }
            let rest = from.saturating_sub(i * below);
            if level == 1 {
                self.ind_free_one(h, st, next, metadata)?;
            } else if !self.ind_free_tree(h, st, next, level - 1, rest, metadata)? {
                return Ok(false);
            }
            if rest == 0 {
                put32(h.write(&buf, Kind::Plain).bytes_mut(), at, 0);
            }
        }
        if from == 0 {
            self.ind_free_one(h, st, block, true)?;
        }
        Ok(true)
    }

    /// Gives a file with a block map an extent tree instead.
    pub(crate) fn ensure_extents(
        &self,
        h: &Handle<'_, P>,
        inode: &Inode<P>,
        st: &mut InodeState,
    ) -> Result<()> {
        if st.has_extents() {
            return Ok(());
        }
        let old = st.iblock().to_vec();
        let old_sectors = st.sectors;
        let end = st.disk_size.div_ceil(u64::from(self.sb.block_size));
        let mut runs = Vec::new();
        let mut at = 0u32;
        while u64::from(at) < end {
            match self.ind_lookup(st, at)? {
                Lookup::Hole(next) => at = next,
                Lookup::Found(e) => {
                    let len = e.len.min(MAX_WRITTEN);
                    runs.push(Extent { len, ..e });
                    at += len;
                }
            }
            if at == u32::MAX {
                break;
            }
        }
        // A map so scattered that its conversion does not fit into one transaction stays as it is.
        if runs.len() > 4096 {
            return Err(Errno::EOPNOTSUPP);
        }
        let tree = self.ind_tree_blocks(&old)?;
        self.ext_init(st);
        for e in runs {
            self.ext_insert(h, st, e, Draw::Metadata)?;
        }
        for b in tree {
            self.ind_free_one(h, st, b, true)?;
        }
        debug_assert!(st.sectors <= old_sectors + 8);
        self.store_inode(h, inode, st, true)
    }

    /// The indirect blocks that a block array leads to.
    fn ind_tree_blocks(&self, iblock: &[u8]) -> Result<Vec<u32>> {
        let mut out = Vec::new();
        for level in 1..=3u32 {
            let b = le32(iblock, (DIRECT + level - 1) as usize * 4);
            if b != 0 {
                self.ind_collect(b, level, &mut out)?;
            }
        }
        Ok(out)
    }

    fn ind_collect(&self, block: u32, level: u32, out: &mut Vec<u32>) -> Result<()> {
        if !self.valid_blocks(u64::from(block), 1) || out.len() > 65_536 {
            return Err(Errno::EUCLEAN);
        }
        out.push(block);
        if level > 1 {
            let buf = self.bread(u64::from(block), Kind::Plain)?;
            let data = buf.read().data.clone();
            for i in 0..self.per_block() as usize {
                let next = le32(&data, i * 4);
                if next != 0 {
                    self.ind_collect(next, level - 1, out)?;
                }
            }
        }
        Ok(())
    }
}
