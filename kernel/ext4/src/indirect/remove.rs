//! Taking blocks out of block maps.
//!
//! Every step leaves a valid map, so that a long removal takes as many transactions as it needs.

use super::{DIRECT, LEVELS, Node, next_used, pointer};
use crate::bytes::put32;
use crate::inode::InodeState;
use crate::journal::Handle;
use crate::platform::Platform;
use crate::seal::Kind;
use crate::{Fs, Result};

/// Credits that one more step may take.
const STEP: usize = 16;

/// How far the removal below an indirect block got.
#[derive(PartialEq, Eq)]
enum Cut {
    /// To its end; the block is freed as well.
    Freed,
    /// To its end; the block is still needed.
    Kept,
    /// Until the handle's credits ran low.
    Stopped,
}

/// File blocks to take out.
#[derive(Clone, Copy)]
struct Range {
    from: u64,
    to: u64,
    /// The blocks were journalled.
    metadata: bool,
}

impl<P: Platform> Fs<P> {
    /// Frees the blocks in `from..to` and the indirect blocks that nothing needs any more, last ones first. Answers
    /// `false` when the handle's credits ran low.
    pub(crate) fn ind_remove(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        from: u32,
        to: u64,
        metadata: bool,
    ) -> Result<bool> {
        let range = Range {
            from: u64::from(from),
            to,
            metadata,
        };
        for level in (1..=LEVELS).rev() {
            let slot = (DIRECT + level - 1) as usize;
            let start = self.base(level);
            let block = pointer(st.iblock(), slot);
            if block == 0 || to <= start || range.from >= start + self.span(level) {
                continue;
            }
            let node = Node {
                start: start as u32,
                level,
            };
            match self.ind_cut(h, st, block, node, range)? {
                Cut::Stopped => return Ok(false),
                Cut::Freed => put32(st.iblock_mut(), slot * 4, 0),
                Cut::Kept => {}
            }
        }
        let hi = to.min(u64::from(DIRECT)) as usize;
        let lo = (from as usize).min(hi);
        let array = st.iblock().to_vec();
        let (stop, result) = self.ind_free_data(h, st, &array, (lo, hi), metadata);
        st.iblock_mut()[stop * 4..hi * 4].fill(0);
        result.map(|()| stop == lo)
    }

    /// Frees what the indirect block `block` leads to inside the range, and itself if nothing is left.
    fn ind_cut(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        block: u32,
        node: Node,
        range: Range,
    ) -> Result<Cut> {
        let below = self.span(node.level - 1);
        let start = u64::from(node.start);
        let lo = range.from.saturating_sub(start) / below;
        let hi = range.to.saturating_sub(start).div_ceil(below);
        let part = (lo as usize, hi.min(self.per_block()) as usize);
        let cut = if node.level == 1 {
            self.ind_cut_leaf(h, st, block, node, part, range.metadata)?
        } else {
            self.ind_cut_tree(h, st, block, node, part, range)?
        };
        if cut == Cut::Freed {
            self.free_blocks(h, u64::from(block), 1, true)?;
            self.ind_account(st, 1);
        }
        Ok(cut)
    }

    fn ind_cut_leaf(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        block: u32,
        node: Node,
        (lo, hi): (usize, usize),
        metadata: bool,
    ) -> Result<Cut> {
        let buf = self.ind_bread(block)?;
        // No buffer's lock is held while groups are taken.
        let array = buf.read().data.clone();
        let (stop, result) = self.ind_free_data(h, st, &array, (lo, hi), metadata);
        let p = self.per_block() as usize;
        let changed = next_used(&array, stop, hi) < hi;
        let others = next_used(&array, 0, stop) < stop || next_used(&array, hi, p) < p;
        drop(array);
        if result.is_ok() && !others && !self.has_pending(st, node.start, p as u64) {
            // The block goes as it is.
            return Ok(Cut::Freed);
        }
        if changed {
            h.write(&buf, Kind::Plain).bytes_mut()[stop * 4..hi * 4].fill(0);
        }
        result?;
        Ok(if stop > lo { Cut::Stopped } else { Cut::Kept })
    }

    fn ind_cut_tree(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        block: u32,
        node: Node,
        (lo, hi): (usize, usize),
        range: Range,
    ) -> Result<Cut> {
        let buf = self.ind_bread(block)?;
        for i in (lo..hi).rev() {
            let next = pointer(&buf.read().data, i);
            if next == 0 {
                continue;
            }
            if h.low(STEP) {
                return Ok(Cut::Stopped);
            }
            let child = Node {
                start: node.start + (i as u64 * self.span(node.level - 1)) as u32,
                level: node.level - 1,
            };
            match self.ind_cut(h, st, next, child, range)? {
                Cut::Stopped => return Ok(Cut::Stopped),
                Cut::Freed => put32(h.write(&buf, Kind::Plain).bytes_mut(), i * 4, 0),
                Cut::Kept => {}
            }
        }
        let p = self.per_block() as usize;
        let empty = next_used(&buf.read().data, 0, p) == p;
        let needed = !empty || self.has_pending(st, node.start, self.span(node.level));
        Ok(if needed { Cut::Kept } else { Cut::Freed })
    }

    /// Frees the data blocks behind the pointers `lo..hi`, last ones first. Answers which pointer was the last to be done
    /// with before the handle's credits ran low (`lo`: all), or before the error.
    fn ind_free_data(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        array: &[u8],
        (lo, hi): (usize, usize),
        metadata: bool,
    ) -> (usize, Result<()>) {
        let mut end = hi;
        while end > lo {
            let last = pointer(array, end - 1);
            if last == 0 {
                end -= 1;
                continue;
            }
            if h.low(STEP) {
                break;
            }
            let mut first = end - 1;
            while first > lo
                && pointer(array, first - 1) != 0
                && last.checked_sub((end - first) as u32) == Some(pointer(array, first - 1))
            {
                first -= 1;
            }
            let (block, len) = (u64::from(pointer(array, first)), (end - first) as u32);
            if !self.valid_blocks(block, len) {
                return (end, Err(self.bad_map()));
            }
            if let Err(e) = self.free_blocks(h, block, len, metadata) {
                return (end, Err(e));
            }
            self.ind_account(st, len);
            end = first;
        }
        (end, Ok(()))
    }

    /// Takes freed blocks off the inode's count.
    fn ind_account(&self, st: &mut InodeState, blocks: u32) {
        let sectors = u64::from(blocks) * u64::from(self.sb.block_size / 512);
        st.sectors = st.sectors.saturating_sub(sectors);
    }
}
