//! From a file's blocks to where they are: reading, delayed allocation, write-back, truncation.
//!
//! New data blocks are claimed in memory when write-back starts and entered into bitmap and extent tree or block map in
//! one transaction after the data is on the device. So what is reachable after a crash was written before, and
//! one transaction is enough.

use alloc::vec::Vec;

use crate::balloc::{Draw, Goal};
use crate::extent::{Extent, Lookup, MAX_WRITTEN};
use crate::inode::{Inode, InodeState};
use crate::journal::Handle;
use crate::layout::incompat;
use crate::platform::Platform;
use crate::ranges::{add, first_in, subtract};
use crate::types::ExtentOrigin;
use crate::{
    Errno, Fs, MapState, Mapping, Result, Writeback, WritebackExtent, ZeroRange, inode_flags,
};

impl<P: Platform> Fs<P> {
    /// What the on-disk map says about `lblk`.
    pub(crate) fn lookup_block(&self, st: &InodeState, lblk: u32) -> Result<Lookup> {
        if st.has_extents() {
            self.ext_lookup(st, lblk)
        } else {
            self.ind_lookup(st, lblk)
        }
    }

    /// An empty map for a new inode: an extent tree where the volume has them.
    pub(crate) fn map_init(&self, st: &mut InodeState) {
        if self.sb.is(incompat::EXTENTS) {
            return self.ext_init(st);
        }
        st.iblock_mut().fill(0);
        st.flags &= !inode_flags::EXTENTS;
    }

    /// Adds a run of blocks where there is a hole.
    pub(crate) fn map_insert(
        &self,
        h: &Handle<'_, P>,
        st: &mut InodeState,
        new: Extent,
        draw: Draw,
    ) -> Result<()> {
        if st.has_extents() {
            self.ext_insert(h, st, new, draw)
        } else {
            self.ind_insert(h, st, new, draw)
        }
    }

    /// The physical block where a new one for `lblk` would follow the file's others.
    pub(crate) fn map_goal(&self, st: &InodeState, lblk: u32) -> Result<Option<u64>> {
        if st.has_extents() {
            self.ext_goal(st, lblk)
        } else {
            self.ind_goal(st, lblk)
        }
    }

    /// The largest size of this file in bytes: what its kind of map reaches.
    pub fn max_size_of(&self, inode: &Inode<P>) -> u64 {
        self.max_size_in(&inode.read())
    }

    pub(crate) fn max_size_in(&self, st: &InodeState) -> u64 {
        if st.has_extents() || st.is_inline() {
            self.max_file_size()
        } else {
            self.ind_max_size()
        }
    }

    /// The physical block of a block of metadata (directory, symlink, ...). `EUCLEAN` if there is none.
    pub(crate) fn meta_block(&self, st: &InodeState, lblk: u32) -> Result<u64> {
        match self.lookup_block(st, lblk)? {
            Lookup::Found(e) if !e.unwritten => Ok(e.pblk + u64::from(lblk - e.lblk)),
            _ => {
                self.damage(format_args!("hole in a file that must not have any"));
                Err(Errno::EUCLEAN)
            }
        }
    }

    /// What backs the blocks from `lblk` on: one run of at least 1 and at most `max_len` blocks.
    pub fn map_blocks(&self, inode: &Inode<P>, lblk: u32, max_len: u32) -> Result<Mapping> {
        let st = inode.read();
        self.map_in(&st, lblk, max_len)
    }

    pub(crate) fn map_in(&self, st: &InodeState, lblk: u32, max_len: u32) -> Result<Mapping> {
        let max = max_len.clamp(1, u32::MAX - lblk.min(u32::MAX - 1));
        if st.is_inline() {
            return Ok(Mapping {
                lblk,
                len: max,
                pblk: 0,
                state: MapState::Inline,
            });
        }
        match self.lookup_block(st, lblk)? {
            Lookup::Found(e) => {
                let off = lblk - e.lblk;
                Ok(Mapping {
                    lblk,
                    len: (e.len - off).min(max),
                    pblk: e.pblk + u64::from(off),
                    state: if e.unwritten {
                        MapState::Unwritten
                    } else {
                        MapState::Mapped
                    },
                })
            }
            Lookup::Hole(next) => {
                let len = (next - lblk).min(max).max(1);
                Ok(self.pending_in(st, lblk, len))
            }
        }
    }

    /// The leading run of a hole that is all delayed (or being written), or all not.
    fn pending_in(&self, st: &InodeState, lblk: u32, len: u32) -> Mapping {
        let end = u64::from(lblk) + u64::from(len);
        let delayed = first_in(&st.delayed, |&n| n, lblk, end);
        let flying = first_in(&st.inflight, |v| v.0, lblk, end);
        let hole = |len| Mapping {
            lblk,
            len,
            pblk: 0,
            state: MapState::Hole,
        };
        match [delayed, flying].into_iter().flatten().min() {
            None => hole(len),
            Some((s, _)) if s > lblk => hole(s - lblk),
            Some((s, n)) => {
                let run = (u64::from(s) + u64::from(n)).min(end) - u64::from(lblk);
                Mapping {
                    lblk,
                    len: run as u32,
                    pblk: 0,
                    state: MapState::Delayed,
                }
            }
        }
    }

    /// For SEEK_DATA: whether there is data at `at`, and for how many blocks up to `end` that holds. Unwritten blocks
    /// are data where the page cache was told to have some.
    pub(crate) fn data_run(&self, st: &InodeState, at: u32, end: u32) -> Result<(bool, u32)> {
        let m = self.map_in(st, at, end - at)?;
        if m.state != MapState::Unwritten {
            return Ok((m.state != MapState::Hole, m.len));
        }
        let stop = u64::from(at) + u64::from(m.len);
        Ok(match first_in(&st.fresh, |&n| n, at, stop) {
            None => (false, m.len),
            Some((s, _)) if s > at => (false, s - at),
            Some((s, n)) => (
                true,
                ((u64::from(s) + u64::from(n)).min(stop) - u64::from(at)) as u32,
            ),
        })
    }

    /// First and one past the last block of a byte range. `EFBIG` past the largest file.
    pub(crate) fn block_range(&self, pos: u64, len: u64) -> Result<(u32, u32)> {
        let end = pos.checked_add(len).ok_or(Errno::EFBIG)?;
        if end > self.max_file_size() {
            return Err(Errno::EFBIG);
        }
        let bits = self.sb.block_bits;
        let last = end.div_ceil(1 << bits);
        Ok((
            (pos >> bits) as u32,
            u32::try_from(last).map_err(|_| Errno::EFBIG)?,
        ))
    }

    /// Reserves space for the blocks of the byte range that have none (delayed allocation), and moves inline data
    /// to a block. `ENOSPC`, `EFBIG`, `EROFS`.
    pub fn write_begin(&self, inode: &Inode<P>, pos: u64, len: u64) -> Result<()> {
        self.check_writable()?;
        let (from, to) = self.block_range(pos, len)?;
        let limit = {
            let st = inode.read();
            (!st.is_inline()).then(|| self.max_size_in(&st))
        };
        match limit {
            None => self.inline_to_block(inode)?,
            Some(most) if pos + len > most => return Err(Errno::EFBIG),
            Some(_) => {}
        }
        match self.reserve(inode, from, to) {
            Err(Errno::ENOSPC) if self.has_pending_frees() => {
                self.commit_running()?;
                self.reserve(inode, from, to)
            }
            r => r,
        }
    }

    fn reserve(&self, inode: &Inode<P>, from: u32, to: u32) -> Result<()> {
        let mut st = inode.write();
        let mut new = Vec::new();
        let reserved = self.reserve_in(&mut st, from, to, &mut new);
        if reserved.is_err() {
            for (at, len) in new {
                self.drop_pending(&mut st, at, u64::from(at) + u64::from(len));
            }
        }
        reserved
    }

    /// Promises what `from..to` lacks; `new` collects which runs got a promise.
    fn reserve_in(
        &self,
        st: &mut InodeState,
        from: u32,
        to: u32,
        new: &mut Vec<(u32, u32)>,
    ) -> Result<()> {
        let mut at = from;
        while at < to {
            let m = self.map_in(st, at, to - at)?;
            match m.state {
                MapState::Hole => {
                    let nodes = self.ind_needs(st, at, m.len)?;
                    self.promise(m.len + nodes.len() as u32)?;
                    st.indirect.extend(nodes.into_iter().map(|n| (n, None)));
                    add(&mut st.delayed, at, m.len);
                    st.pending += u64::from(m.len);
                    new.push((at, m.len));
                }
                MapState::Unwritten => self.note_fresh(st, at, m.len),
                MapState::Delayed | MapState::Mapped | MapState::Inline => {}
            }
            at += m.len;
        }
        Ok(())
    }

    /// After bytes were copied to the cache: grows the size to `pos + len` if that is beyond, sets mtime and ctime, all
    /// in memory.
    pub fn write_end(&self, inode: &Inode<P>, pos: u64, len: u64) -> Result<()> {
        self.check_writable()?;
        let end = pos
            .checked_add(len)
            .filter(|&e| e <= self.max_file_size())
            .ok_or(Errno::EFBIG)?;
        let now = self.platform.now();
        let mut st = inode.write();
        if end > st.size && len > 0 {
            st.size = end;
            inode.set_size_hint(end);
        }
        st.mtime = now;
        st.ctime = now;
        self.mark_lazy(inode, &mut st);
        Ok(())
    }

    /// Finds or allocates blocks for `len` logical blocks that are about to be written; the result covers
    /// all of them, or a leading part (at least one block). `ENOSPC` only where nothing was reserved.
    pub fn prepare_writeback(&self, inode: &Inode<P>, lblk: u32, len: u32) -> Result<Writeback> {
        self.check_writable()?;
        if len == 0 || lblk.checked_add(len).is_none() {
            return Err(Errno::EINVAL);
        }
        let mut wb = Writeback::default();
        let mut tried = false;
        let mut at = lblk;
        let mut st = inode.write();
        while at < lblk + len {
            match self.prepare_one(inode, &mut st, at, lblk + len - at) {
                Ok(e) => {
                    at += e.len;
                    wb.extents.push(e);
                }
                Err(Errno::ENOSPC) if !tried && self.has_pending_frees() => {
                    // Blocks freed in the running transaction become free with its commit.
                    tried = true;
                    drop(st);
                    self.commit_running()?;
                    st = inode.write();
                }
                Err(_) if !wb.extents.is_empty() => break,
                Err(e) => return Err(e),
            }
        }
        Ok(wb)
    }

    fn prepare_one(
        &self,
        inode: &Inode<P>,
        st: &mut InodeState,
        lblk: u32,
        len: u32,
    ) -> Result<WritebackExtent> {
        // A block already on its way keeps its place.
        if let Some((&s, &(n, p))) = st.inflight.range(..=lblk).next_back()
            && lblk - s < n
        {
            let off = lblk - s;
            let extent = WritebackExtent {
                lblk,
                len: (n - off).min(len),
                pblk: p + u64::from(off),
                origin: ExtentOrigin::Written,
            };
            return Ok(extent);
        }
        let m = self.map_in(st, lblk, len)?;
        let made = |pblk, len, origin| WritebackExtent {
            lblk,
            len,
            pblk,
            origin,
        };
        match m.state {
            MapState::Mapped => Ok(made(m.pblk, m.len, ExtentOrigin::Written)),
            MapState::Unwritten => Ok(made(m.pblk, m.len, ExtentOrigin::Unwritten)),
            MapState::Inline => Err(Errno::EINVAL),
            MapState::Hole | MapState::Delayed => {
                let promised = m.state == MapState::Delayed;
                let draw = if promised {
                    Draw::Promised
                } else {
                    Draw::Normal
                };
                let mut goal = self.data_goal(inode, st, lblk)?;
                let mut want = m.len.min(MAX_WRITTEN);
                if !st.has_extents() {
                    (goal, want) = self.ind_claim(st, (lblk, want), goal, draw)?;
                }
                let (pblk, n) = self.claim_data(inode, st, (lblk, want), goal, draw)?;
                if promised {
                    self.forget_promise(st, lblk, n);
                }
                st.inflight.insert(lblk, (n, pblk));
                st.pending += u64::from(n);
                Ok(made(pblk, n, ExtentOrigin::New))
            }
        }
    }

    /// Where new data should go: behind the file's block before it, or in the inode's group.
    fn data_goal(&self, inode: &Inode<P>, st: &InodeState, lblk: u32) -> Result<Goal> {
        if let Some((&s, &(n, p))) = st.inflight.range(..lblk).next_back()
            && s + n == lblk
        {
            return Ok(Goal::Block(p + u64::from(n)));
        }
        Ok(match self.map_goal(st, lblk)? {
            Some(b) => Goal::Block(b),
            None => Goal::Group(inode.loc.group),
        })
    }

    /// Makes what was written reachable (`ok`), moving the on-disk size, or gives new blocks back.
    pub fn finish_writeback(&self, inode: &Inode<P>, wb: Writeback, ok: bool) -> Result<()> {
        let Some(last) = wb.extents.last() else {
            return Ok(());
        };
        let end = (u64::from(last.lblk) + u64::from(last.len)) << self.sb.block_bits;
        let mut st = inode.write();
        if !ok {
            for e in wb.extents.iter().filter(|e| e.origin == ExtentOrigin::New) {
                self.give_back(&mut st, e);
            }
            return Ok(());
        }
        let plain = wb.extents.iter().all(|e| e.origin == ExtentOrigin::Written);
        if plain && st.disk_size >= end.min(st.size) {
            return Ok(());
        }
        let mut left = &wb.extents[..];
        while !left.is_empty() {
            // A few extents per handle, so that the credits asked for always do.
            let (now, later) = left.split_at(left.len().min(8));
            let r = self.enter_extents(inode, &mut st, now);
            if let Err(e) = r {
                for x in left.iter().filter(|x| x.origin == ExtentOrigin::New) {
                    self.give_back(&mut st, x);
                }
                return Err(e);
            }
            left = later;
        }
        Ok(())
    }

    fn give_back(&self, st: &mut InodeState, e: &WritebackExtent) {
        if let Some((n, pblk)) = st.inflight.remove(&e.lblk) {
            st.pending -= u64::from(n);
            self.unclaim(pblk, n);
            self.ind_settle(st, e.lblk, u64::from(e.lblk) + u64::from(n));
        }
    }

    fn enter_extents(
        &self,
        inode: &Inode<P>,
        st: &mut InodeState,
        extents: &[WritebackExtent],
    ) -> Result<()> {
        let h = self.start(extents.len() * 12 + 8)?;
        for e in extents {
            match e.origin {
                ExtentOrigin::Written => {}
                ExtentOrigin::Unwritten => {
                    self.ext_mark(&h, st, e.lblk, e.len, false)?;
                    subtract(&mut st.fresh, e.lblk, u64::from(e.lblk) + u64::from(e.len));
                }
                ExtentOrigin::New => self.enter_new(&h, st, e)?,
            }
        }
        if let Some(e) = extents.last() {
            let end = (u64::from(e.lblk) + u64::from(e.len)) << self.sb.block_bits;
            st.disk_size = st.disk_size.max(end.min(st.size));
        }
        self.store_inode(&h, inode, st, true)
    }

    fn enter_new(&self, h: &Handle<'_, P>, st: &mut InodeState, e: &WritebackExtent) -> Result<()> {
        if st.inflight.remove(&e.lblk).is_none() {
            // Cut off by a truncation that did not wait: its blocks were given back there.
            return Ok(());
        }
        st.pending -= u64::from(e.len);
        let new = Extent {
            lblk: e.lblk,
            len: e.len,
            pblk: e.pblk,
            unwritten: false,
        };
        if let Err(err) = self.map_insert(h, st, new, Draw::Metadata) {
            self.unclaim(e.pblk, e.len);
            return Err(err);
        }
        self.enter_claim(h, e.pblk, e.len)?;
        st.sectors += u64::from(e.len) * u64::from(self.sb.block_size / 512);
        Ok(())
    }

    /// Notes that the page cache has data for unwritten blocks.
    pub(crate) fn note_fresh(&self, st: &mut InodeState, from: u32, len: u32) {
        subtract(&mut st.fresh, from, u64::from(from) + u64::from(len));
        add(&mut st.fresh, from, len);
    }

    /// Notes that promised blocks got real ones.
    pub(crate) fn forget_promise(&self, st: &mut InodeState, from: u32, len: u32) {
        let n = subtract(&mut st.delayed, from, u64::from(from) + u64::from(len));
        st.pending -= u64::from(n);
    }

    /// Takes back what was promised or claimed for blocks in `from..to` that will not be written.
    pub(crate) fn drop_pending(&self, st: &mut InodeState, from: u32, to: u64) {
        let n = subtract(&mut st.delayed, from, to);
        self.unpromise(n);
        st.pending -= u64::from(n);
        subtract(&mut st.fresh, from, to);
        let flying: Vec<(u32, u32, u64)> = st
            .inflight
            .range(from..)
            .take_while(|&(&s, _)| u64::from(s) < to)
            .map(|(&s, &(n, p))| (s, n, p))
            .collect();
        for (s, n, p) in flying {
            st.inflight.remove(&s);
            st.pending -= u64::from(n);
            self.unclaim(p, n);
        }
        self.ind_settle(st, from, to);
    }

    /// Sets the size. Returns the byte range of the boundary block that the page cache must zero and mark dirty, if any.
    /// `EFBIG`, `EINVAL` (not a regular file), `EROFS`.
    pub fn truncate(&self, inode: &Inode<P>, size: u64) -> Result<Option<ZeroRange>> {
        self.check_writable()?;
        if size > self.max_size_of(inode) {
            return Err(Errno::EFBIG);
        }
        if inode.read().is_inline() {
            self.inline_to_block(inode)?;
        }
        let mut st = inode.write();
        if !st.is_regular() {
            return Err(Errno::EINVAL);
        }
        let now = self.platform.now();
        let old = st.size;
        st.mtime = now;
        st.ctime = now;
        if size >= old {
            let h = self.start(8)?;
            st.size = size;
            st.disk_size = size;
            self.store_inode(&h, inode, &mut st, true)?;
            return self.boundary(&st, old, size);
        }
        let keep = size.div_ceil(u64::from(self.sb.block_size)) as u32;
        self.drop_ahead(inode.ino());
        self.drop_pending(&mut st, keep, 1 << 32);
        {
            let h = self.start(8)?;
            st.size = size;
            // Also up to here: the data that would have moved the size on disk may have been cut off.
            st.disk_size = size;
            // From here on a crash leads to the rest of the truncation at the next mount.
            self.orphan_add(&h, inode, &mut st)?;
            self.store_inode(&h, inode, &mut st, true)?;
        }
        self.free_from(inode, &mut st, keep)?;
        let h = self.start(8)?;
        self.orphan_remove(&h, inode, &mut st)?;
        self.store_inode(&h, inode, &mut st, true)?;
        drop(h);
        self.boundary(&st, size, old)
    }

    /// The rest of the block at `at` up to `until`, if that block holds data on disk or in the cache.
    fn boundary(&self, st: &InodeState, at: u64, until: u64) -> Result<Option<ZeroRange>> {
        let bs = u64::from(self.sb.block_size);
        if at.is_multiple_of(bs) || until <= at {
            return Ok(None);
        }
        let m = self.map_in(st, (at / bs) as u32, 1)?;
        let to = at.next_multiple_of(bs);
        let backed = matches!(
            m.state,
            MapState::Mapped | MapState::Delayed | MapState::Unwritten
        );
        Ok(backed.then_some(ZeroRange { from: at, to }))
    }

    /// Frees all blocks from `from` on, in as many transactions as that takes.
    pub(crate) fn free_from(&self, inode: &Inode<P>, st: &mut InodeState, from: u32) -> Result<()> {
        self.free_range(inode, st, from, 1 << 32)
    }

    /// Frees the blocks in `from..to`, in as many transactions as that takes.
    pub(crate) fn free_range(
        &self,
        inode: &Inode<P>,
        st: &mut InodeState,
        from: u32,
        to: u64,
    ) -> Result<()> {
        let metadata = !st.is_regular() || st.flags & crate::layout::iflags::EA_INODE != 0;
        let sectors = u64::from(self.sb.block_size / 512);
        loop {
            let h = self.start(128)?;
            let done = if st.has_extents() {
                self.ext_remove(&h, st, from, to, &mut |st, e| {
                    st.sectors = st.sectors.saturating_sub(u64::from(e.len) * sectors);
                    self.free_blocks(&h, e.pblk, e.len, metadata)
                })?
            } else {
                self.ind_remove(&h, st, from, to, metadata)?
            };
            self.store_inode(&h, inode, st, true)?;
            if done {
                return Ok(());
            }
        }
    }
}
