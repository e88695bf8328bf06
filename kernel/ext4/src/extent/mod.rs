//! Extent trees: the map from a file's blocks to the device's.
//!
//! The root is in the inode; other nodes are blocks ([`node`]). An index entry's key is the first key of its child.
//! Looking up is here, [`change`] inserts, removes and converts.
//!
//! All functions run under the inode's lock; changing ones inside a journal handle.

mod change;
mod node;

use alloc::sync::Arc;
use alloc::vec::Vec;

use node::*;

use crate::buffer::Buf;
use crate::bytes::{hi32, le16, le32, lo16, lo32, put16, put32};
use crate::inode::InodeState;
use crate::journal::Handle;
use crate::platform::Platform;
use crate::seal::Kind;
use crate::{Errno, Fs, Result, inode_flags};

/// Longest extent of written blocks; unwritten ones are one shorter.
pub(crate) const MAX_WRITTEN: u32 = 32768;
pub(crate) const MAX_UNWRITTEN: u32 = 32767;

/// A run of blocks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub lblk: u32,
    pub len: u32,
    pub pblk: u64,
    pub unwritten: bool,
}

impl Extent {
    fn end(&self) -> u64 {
        u64::from(self.lblk) + u64::from(self.len)
    }

    fn parse(e: &[u8]) -> Self {
        let raw = u32::from(le16(e, 4));
        let unwritten = raw > MAX_WRITTEN;
        Self {
            lblk: le32(e, 0),
            len: if unwritten { raw - MAX_WRITTEN } else { raw },
            pblk: u64::from(le16(e, 6)) << 32 | u64::from(le32(e, 8)),
            unwritten,
        }
    }

    fn encode(&self) -> [u8; ENTRY] {
        let mut e = [0; ENTRY];
        put32(&mut e, 0, self.lblk);
        let len = if self.unwritten {
            self.len + MAX_WRITTEN
        } else {
            self.len
        };
        put16(&mut e, 4, lo16(len));
        put16(&mut e, 6, lo16(hi32(self.pblk)));
        put32(&mut e, 8, lo32(self.pblk));
        e
    }

    /// Whether `next` continues this one on disk and in the file, and the two fit into one.
    fn joins(&self, next: &Extent) -> bool {
        let max = if self.unwritten {
            MAX_UNWRITTEN
        } else {
            MAX_WRITTEN
        };
        self.unwritten == next.unwritten
            && self.end() == u64::from(next.lblk)
            && self.pblk + u64::from(self.len) == next.pblk
            && self.len + next.len <= max
    }
}

/// What is at a logical block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// An extent that contains it.
    Found(Extent),
    /// Nothing up to (excluding) this block; `u32::MAX` if nothing follows.
    Hole(u32),
}

/// One level of a descent: the node and the entry taken (`None`: before the first).
struct Level<P: Platform> {
    node: Option<Arc<Buf<P>>>,
    idx: Option<usize>,
}

impl<P: Platform> Fs<P> {
    /// An empty tree for a new inode.
    pub(crate) fn ext_init(&self, st: &mut InodeState) {
        let b = st.iblock_mut();
        b.fill(0);
        init_node(b, 4, 0);
        st.flags |= inode_flags::EXTENTS;
    }

    fn node<R>(
        &self,
        st: &InodeState,
        node: &Option<Arc<Buf<P>>>,
        f: impl FnOnce(&[u8]) -> R,
    ) -> R {
        match node {
            None => f(st.iblock()),
            Some(b) => f(&b.read().data),
        }
    }

    fn node_mut<R>(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        node: &Option<Arc<Buf<P>>>,
        f: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        match node {
            None => f(st.iblock_mut()),
            Some(b) => f(h.write(b, Kind::Extent { seed: st.seed }).bytes_mut()),
        }
    }

    fn bad_tree(&self) -> Errno {
        self.damage(format_args!("damaged extent tree"));
        Errno::EUCLEAN
    }

    /// Walks from the root to the leaf that `lblk` belongs to.
    fn descend(&self, st: &InodeState, lblk: u32) -> Result<Vec<Level<P>>> {
        let root = st.iblock();
        if !valid_node(root, None) {
            return Err(self.bad_tree());
        }
        let mut d = depth(root);
        let mut path = Vec::with_capacity(usize::from(d) + 1);
        let mut at: Option<Arc<Buf<P>>> = None;
        loop {
            let (idx, next) = self.node(st, &at, |n| {
                let idx = position(n, lblk);
                if d == 0 {
                    (idx, 0)
                } else {
                    (Some(idx.unwrap_or(0)), child(n, idx.unwrap_or(0)))
                }
            });
            path.push(Level { node: at, idx });
            if d == 0 {
                return Ok(path);
            }
            d -= 1;
            if !self.valid_blocks(next, 1) {
                return Err(self.bad_tree());
            }
            let buf = self.bread(next, Kind::Extent { seed: st.seed })?;
            if !valid_node(&buf.read().data, Some(d)) {
                return Err(self.bad_tree());
            }
            at = Some(buf);
        }
    }

    fn leaf_extent(&self, st: &InodeState, path: &[Level<P>]) -> Option<Extent> {
        let leaf = path.last()?;
        let idx = leaf.idx?;
        Some(self.node(st, &leaf.node, |n| Extent::parse(entry(n, idx))))
    }

    /// The first key after the position of `path`.
    fn next_key(&self, st: &InodeState, path: &[Level<P>]) -> u32 {
        for l in path.iter().rev() {
            let after = l.idx.map_or(0, |i| i + 1);
            let k = self.node(st, &l.node, |n| (after < entries(n)).then(|| key(n, after)));
            if let Some(k) = k {
                return k;
            }
        }
        u32::MAX
    }

    /// An extent found for `lblk`, if it can be one.
    fn checked(&self, e: Extent, lblk: u32) -> Result<Extent> {
        let ok = e.len > 0
            && e.lblk <= lblk
            && e.end() <= u64::from(u32::MAX)
            && self.valid_blocks(e.pblk, e.len);
        if ok { Ok(e) } else { Err(self.bad_tree()) }
    }

    /// What is at `lblk`.
    pub(crate) fn ext_lookup(&self, st: &InodeState, lblk: u32) -> Result<Lookup> {
        let path = self.descend(st, lblk)?;
        if let Some(e) = self.leaf_extent(st, &path)
            && u64::from(lblk) < e.end()
        {
            return Ok(Lookup::Found(self.checked(e, lblk)?));
        }
        let next = self.next_key(st, &path);
        if next <= lblk {
            return Err(self.bad_tree());
        }
        Ok(Lookup::Hole(next))
    }

    /// The last extent that starts at or before `lblk`.
    pub(crate) fn ext_at_or_before(&self, st: &InodeState, lblk: u32) -> Result<Option<Extent>> {
        let path = self.descend(st, lblk)?;
        match self.leaf_extent(st, &path) {
            Some(e) => self.checked(e, lblk).map(Some),
            None => Ok(None),
        }
    }

    /// The physical block before which or after which new blocks for `lblk` should be.
    pub(crate) fn ext_goal(&self, st: &InodeState, lblk: u32) -> Result<Option<u64>> {
        let path = self.descend(st, lblk)?;
        Ok(self
            .leaf_extent(st, &path)
            .map(|e| e.pblk + u64::from(lblk.saturating_sub(e.lblk))))
    }
}
