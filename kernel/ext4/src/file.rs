//! File contents without a page cache, and the operations on ranges: fallocate, seek, fiemap, fsync.

use alloc::vec;
use alloc::vec::Vec;

use crate::balloc::Draw;
use crate::extent::{Extent, Lookup, MAX_UNWRITTEN};
use crate::inode::{Inode, InodeState};
use crate::layout::incompat;
use crate::platform::Platform;
use crate::{Errno, FallocateMode, FiemapExtent, Fs, MapState, Result, WriteFlags, inode_flags};

/// `FIEMAP_EXTENT_*` flags.
mod fe {
    pub const LAST: u32 = 0x1;
    pub const UNKNOWN: u32 = 0x2;
    pub const DELALLOC: u32 = 0x4;
    pub const NOT_ALIGNED: u32 = 0x100;
    pub const INLINE: u32 = 0x200;
    pub const UNWRITTEN: u32 = 0x800;
}

impl<P: Platform> Fs<P> {
    /// The largest size of a file in bytes for this block size. Files with block maps may have less:
    /// [`Fs::max_size_of`].
    pub fn max_file_size(&self) -> u64 {
        if self.sb.is(incompat::EXTENTS) {
            u64::from(u32::MAX) << self.sb.block_bits
        } else {
            self.ind_max_size()
        }
    }

    /// All bytes of inline data.
    pub(crate) fn inline_bytes(&self, st: &InodeState) -> Result<Vec<u8>> {
        let mut data = st.iblock().to_vec();
        data.extend_from_slice(&self.inline_value(st)?);
        let len = usize::try_from(st.size).map_err(|_| Errno::EUCLEAN)?;
        if len > self.sb.inode_size {
            return Err(Errno::EUCLEAN);
        }
        data.resize(len, 0);
        Ok(data)
    }

    /// Moves a file's inline data to a block.
    pub(crate) fn inline_to_block(&self, inode: &Inode<P>) -> Result<()> {
        let mut st = inode.write();
        if !st.is_inline() {
            return Ok(());
        }
        let mut data = self.inline_bytes(&st)?;
        let h = self.start(16)?;
        if data.is_empty() {
            self.clear_inline(&mut st)?;
            return self.store_inode(&h, inode, &mut st, true);
        }
        let goal = crate::balloc::Goal::Group(inode.loc.group);
        let bs = self.sb.block_size as usize;
        data.resize(data.len().next_multiple_of(bs), 0);
        let n = (data.len() / bs) as u32;
        let (pblk, got) = self.claim(goal, n, Draw::Normal)?;
        // The data is on its way before the transaction that makes it reachable can commit.
        let off = pblk * bs as u64;
        let written = if got < n { Err(Errno::ENOSPC) } else { Ok(()) }
            .and_then(|()| self.dev.write(off, &data, WriteFlags::default()));
        if let Err(e) = written {
            self.unclaim(pblk, got);
            return Err(e);
        }
        self.clear_inline(&mut st)?;
        let e = Extent {
            lblk: 0,
            len: got,
            pblk,
            unwritten: false,
        };
        self.map_insert(&h, &mut st, e, Draw::Normal)?;
        self.enter_claim(&h, pblk, got)?;
        st.sectors += u64::from(got) * u64::from(self.sb.block_size / 512);
        self.store_inode(&h, inode, &mut st, true)
    }

    /// Reads file data without a page cache: up to `buf.len()` bytes, fewer at the end of file. Delayed blocks
    /// read as zeroes, so a caller with a page cache uses this for inline files only.
    pub fn read_at(&self, inode: &Inode<P>, pos: u64, buf: &mut [u8]) -> Result<usize> {
        let (size, inline) = {
            let st = inode.read();
            if st.is_dir() {
                return Err(Errno::EISDIR);
            }
            (
                st.size,
                if st.is_inline() {
                    Some(self.inline_bytes(&st)?)
                } else {
                    None
                },
            )
        };
        if pos >= size {
            return Ok(0);
        }
        let len = (size - pos).min(buf.len() as u64) as usize;
        let buf = &mut buf[..len];
        if let Some(data) = inline {
            let from = data.get(pos as usize..).unwrap_or(&[]);
            let n = from.len().min(len);
            buf[..n].copy_from_slice(&from[..n]);
            return Ok(n);
        }
        let bs = u64::from(self.sb.block_size);
        let mut done = 0usize;
        while done < len {
            let at = pos + done as u64;
            let left = (len - done) as u64;
            let blocks = (at % bs + left).div_ceil(bs).min(u64::from(u32::MAX)) as u32;
            let m = self.map_blocks(inode, (at / bs) as u32, blocks)?;
            let run = (u64::from(m.len) * bs - at % bs).min(left) as usize;
            let part = &mut buf[done..done + run];
            match m.state {
                MapState::Mapped => self.read_bytes(m.pblk * bs + at % bs, part)?,
                _ => part.fill(0),
            }
            done += run;
        }
        Ok(len)
    }

    /// Reads bytes from the device at any offset.
    fn read_bytes(&self, off: u64, buf: &mut [u8]) -> Result<()> {
        let bs = u64::from(self.sb.block_size);
        if off.is_multiple_of(bs) && (buf.len() as u64).is_multiple_of(bs) {
            return self.dev.read(off, buf);
        }
        let start = off / bs * bs;
        let end = (off + buf.len() as u64).next_multiple_of(bs);
        let mut tmp = vec![0; (end - start) as usize];
        self.dev.read(start, &mut tmp)?;
        let skip = (off - start) as usize;
        buf.copy_from_slice(&tmp[skip..skip + buf.len()]);
        Ok(())
    }

    /// Writes file data without a page cache, through to the device.
    pub fn write_at(&self, inode: &Inode<P>, pos: u64, data: &[u8]) -> Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let old_size = inode.size();
        self.write_begin(inode, pos, data.len() as u64)?;
        self.write_end(inode, pos, data.len() as u64)?;
        let bs = u64::from(self.sb.block_size);
        if pos > old_size && !old_size.is_multiple_of(bs) {
            // What follows the old end in its block becomes part of the file.
            self.zero_bytes(inode, old_size, pos.min(old_size.next_multiple_of(bs)))?;
        }
        let (mut lblk, to) = self.block_range(pos, data.len() as u64)?;
        while lblk < to {
            let mut edges = Vec::new();
            for b in [lblk, to - 1] {
                edges.push((b, self.old_block(inode, b, old_size)?));
            }
            let wb = self.prepare_writeback(inode, lblk, to - lblk)?;
            let mut ok = Ok(());
            for e in &wb.extents {
                let mut image = vec![0; e.len as usize * bs as usize];
                let base = u64::from(e.lblk) * bs;
                for (b, old) in &edges {
                    if (e.lblk..e.lblk + e.len).contains(b) {
                        let at = (b - e.lblk) as usize * bs as usize;
                        image[at..at + bs as usize].copy_from_slice(old);
                    }
                }
                let from = pos.max(base);
                let until = (pos + data.len() as u64).min(base + image.len() as u64);
                image[(from - base) as usize..(until - base) as usize]
                    .copy_from_slice(&data[(from - pos) as usize..(until - pos) as usize]);
                ok = ok.and(self.dev.write(e.pblk * bs, &image, WriteFlags::default()));
            }
            lblk = wb.extents.last().map_or(to, |e| e.lblk + e.len);
            self.finish_writeback(inode, wb, ok.is_ok())?;
            ok?;
        }
        Ok(data.len())
    }

    /// A block's present content, zero past the end of file.
    fn old_block(&self, inode: &Inode<P>, lblk: u32, size: u64) -> Result<Vec<u8>> {
        let bs = u64::from(self.sb.block_size);
        let mut b = vec![0; bs as usize];
        let m = self.map_blocks(inode, lblk, 1)?;
        if m.state == MapState::Mapped {
            self.dev.read(m.pblk * bs, &mut b)?;
            let start = u64::from(lblk) * bs;
            if start + bs > size {
                b[size.saturating_sub(start) as usize..].fill(0);
            }
        }
        Ok(b)
    }

    /// Zeroes bytes of one block on the device, if the block holds data.
    fn zero_bytes(&self, inode: &Inode<P>, from: u64, to: u64) -> Result<()> {
        let bs = u64::from(self.sb.block_size);
        if from >= to {
            return Ok(());
        }
        let m = self.map_blocks(inode, (from / bs) as u32, 1)?;
        if m.state != MapState::Mapped {
            return Ok(());
        }
        let mut b = vec![0; bs as usize];
        self.dev.read(m.pblk * bs, &mut b)?;
        let end = if to.is_multiple_of(bs) { bs } else { to % bs };
        b[(from % bs) as usize..end as usize].fill(0);
        self.dev.write(m.pblk * bs, &b, WriteFlags::default())
    }

    /// fallocate(2). See the crate's page-cache contract. `EOPNOTSUPP` for anything but punching holes into files
    /// without extents, `EINVAL` for collapse/insert off block boundaries or past the end, `ENOSPC`.
    pub fn fallocate(
        &self,
        inode: &Inode<P>,
        mode: FallocateMode,
        pos: u64,
        len: u64,
    ) -> Result<()> {
        self.check_writable()?;
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        let end = pos
            .checked_add(len)
            .filter(|&e| e <= self.max_file_size())
            .ok_or(Errno::EFBIG)?;
        if inode.read().is_inline() {
            self.inline_to_block(inode)?;
        }
        {
            let st = inode.read();
            if !st.is_regular() {
                return Err(if st.is_dir() {
                    Errno::EISDIR
                } else {
                    Errno::ENODEV
                });
            }
            if !st.has_extents() && mode != FallocateMode::PunchHole {
                return Err(Errno::EOPNOTSUPP);
            }
        }
        match mode {
            FallocateMode::Allocate { keep_size } => self.allocate(inode, pos, end, keep_size),
            FallocateMode::PunchHole => self.punch(inode, pos, end),
            FallocateMode::ZeroRange { keep_size } => self.zero_range(inode, pos, end, keep_size),
            FallocateMode::Collapse => self.collapse(inode, pos, end),
            FallocateMode::Insert => self.insert_range(inode, pos, len),
        }
    }

    fn grow_size(&self, inode: &Inode<P>, end: u64, keep_size: bool) -> Result<()> {
        let mut st = inode.write();
        let now = self.platform.now();
        st.ctime = now;
        st.mtime = now;
        if !keep_size && end > st.size {
            st.size = end;
        }
        // Dirty data that would have moved the size on disk may have been punched out.
        st.disk_size = st.size;
        let h = self.start(4)?;
        self.store_inode(&h, inode, &mut st, true)
    }

    fn allocate(&self, inode: &Inode<P>, pos: u64, end: u64, keep_size: bool) -> Result<()> {
        let (mut at, to) = self.block_range(pos, end - pos)?;
        while at < to {
            at = self.retry_full(|| self.allocate_some(inode, at, to))?;
        }
        self.grow_size(inode, end, keep_size)
    }

    /// Allocates the first gap in `at..to`; where to go on.
    fn allocate_some(&self, inode: &Inode<P>, at: u32, to: u32) -> Result<u32> {
        let mut st = inode.write();
        let m = self.map_in(&st, at, to - at)?;
        let flying = st
            .inflight
            .range(..=at)
            .next_back()
            .is_some_and(|(&s, &(n, _))| at - s < n);
        if !matches!(m.state, MapState::Hole | MapState::Delayed) || flying {
            return Ok(at + m.len);
        }
        let promised = m.state == MapState::Delayed;
        let goal = match self.ext_goal(&st, at)? {
            Some(b) => crate::balloc::Goal::Block(b),
            None => crate::balloc::Goal::Group(inode.loc.group),
        };
        let draw = if promised {
            Draw::Promised
        } else {
            Draw::Normal
        };
        let h = self.start(24)?;
        let (pblk, n) = self.claim(goal, m.len.min(MAX_UNWRITTEN), draw)?;
        if promised {
            self.forget_promise(&mut st, at, n);
            self.note_fresh(&mut st, at, n);
        }
        let e = Extent {
            lblk: at,
            len: n,
            pblk,
            unwritten: true,
        };
        if let Err(e) = self.ext_insert(&h, &mut st, e, Draw::Normal) {
            self.unclaim(pblk, n);
            return Err(e);
        }
        self.enter_claim(&h, pblk, n)?;
        st.sectors += u64::from(n) * u64::from(self.sb.block_size / 512);
        self.store_inode(&h, inode, &mut st, true)?;
        Ok(at + n)
    }

    /// The whole blocks inside a byte range, if any.
    fn inner_blocks(&self, pos: u64, end: u64) -> Option<(u32, u32)> {
        let bs = u64::from(self.sb.block_size);
        let (from, to) = (pos.div_ceil(bs) as u32, (end / bs) as u32);
        (from < to).then_some((from, to))
    }

    /// Zeroes the parts of a byte range that share a block with bytes outside it.
    fn zero_edges(&self, inode: &Inode<P>, pos: u64, end: u64) -> Result<()> {
        let bs = u64::from(self.sb.block_size);
        let first_end = pos.next_multiple_of(bs).min(end);
        self.zero_bytes(inode, pos, first_end)?;
        let last_start = end / bs * bs;
        if last_start >= first_end {
            self.zero_bytes(inode, last_start, end)?;
        }
        Ok(())
    }

    fn punch(&self, inode: &Inode<P>, pos: u64, end: u64) -> Result<()> {
        self.zero_edges(inode, pos, end)?;
        if let Some((from, to)) = self.inner_blocks(pos, end) {
            let mut st = inode.write();
            self.drop_pending(&mut st, from, u64::from(to));
            self.free_range(inode, &mut st, from, u64::from(to))?;
        }
        self.grow_size(inode, 0, true)
    }

    fn zero_range(&self, inode: &Inode<P>, pos: u64, end: u64, keep_size: bool) -> Result<()> {
        self.zero_edges(inode, pos, end)?;
        if let Some((from, to)) = self.inner_blocks(pos, end) {
            let mut st = inode.write();
            self.drop_pending(&mut st, from, u64::from(to));
            let mut at = from;
            while at < to {
                let h = self.start(32)?;
                let next = match self.ext_lookup(&st, at)? {
                    Lookup::Hole(next) => next,
                    Lookup::Found(e) => e.lblk + e.len,
                };
                let next = next.min(to);
                self.ext_mark(&h, &mut st, at, next - at, true)?;
                self.store_inode(&h, inode, &mut st, true)?;
                at = next;
            }
        }
        self.allocate(inode, pos, end, keep_size)
    }

    fn collapse(&self, inode: &Inode<P>, pos: u64, end: u64) -> Result<()> {
        let bs = u64::from(self.sb.block_size);
        if !pos.is_multiple_of(bs) || !end.is_multiple_of(bs) {
            return Err(Errno::EINVAL);
        }
        let mut st = inode.write();
        if end >= st.size {
            return Err(Errno::EINVAL);
        }
        let (from, to) = ((pos / bs) as u32, (end / bs) as u32);
        self.drop_pending(&mut st, from, 1 << 32);
        self.free_range(inode, &mut st, from, u64::from(to))?;
        let mut at = to;
        while let Some(e) = self.next_extent(&st, at)? {
            let h = self.start(48)?;
            self.move_extent(&h, inode, &mut st, e, e.lblk - (to - from))?;
            at = e.lblk + e.len;
        }
        let h = self.start(4)?;
        st.size -= end - pos;
        st.disk_size = st
            .disk_size
            .min(st.size)
            .max(st.disk_size.saturating_sub(end - pos));
        st.mtime = self.platform.now();
        st.ctime = st.mtime;
        self.store_inode(&h, inode, &mut st, true)
    }

    fn insert_range(&self, inode: &Inode<P>, pos: u64, len: u64) -> Result<()> {
        let bs = u64::from(self.sb.block_size);
        if !pos.is_multiple_of(bs) || !len.is_multiple_of(bs) {
            return Err(Errno::EINVAL);
        }
        let mut st = inode.write();
        if pos >= st.size {
            return Err(Errno::EINVAL);
        }
        if st.size + len > self.max_file_size() {
            return Err(Errno::EFBIG);
        }
        let from = (pos / bs) as u32;
        let by = (len / bs) as u32;
        self.drop_pending(&mut st, from, 1 << 32);
        {
            let h = self.start(4)?;
            st.size += len;
            st.disk_size = st.size;
            st.mtime = self.platform.now();
            st.ctime = st.mtime;
            self.store_inode(&h, inode, &mut st, true)?;
        }
        let mut below = u32::MAX;
        while let Some(e) = self.last_extent(&st, from, below)? {
            let h = self.start(48)?;
            let lblk = e.lblk.checked_add(by).ok_or(Errno::EFBIG)?;
            if u64::from(lblk) + u64::from(e.len) > u64::from(u32::MAX) {
                return Err(Errno::EFBIG);
            }
            self.move_extent(&h, inode, &mut st, e, lblk)?;
            below = e.lblk;
        }
        Ok(())
    }

    /// The first extent at or after `at`.
    fn next_extent(&self, st: &InodeState, at: u32) -> Result<Option<Extent>> {
        match self.ext_lookup(st, at)? {
            Lookup::Found(e) => Ok(Some(e)),
            Lookup::Hole(u32::MAX) => Ok(None),
            Lookup::Hole(next) => match self.ext_lookup(st, next)? {
                Lookup::Found(e) => Ok(Some(e)),
                Lookup::Hole(_) => Err(Errno::EUCLEAN),
            },
        }
    }

    /// The last extent, or part of one, in `from..below`.
    fn last_extent(&self, st: &InodeState, from: u32, below: u32) -> Result<Option<Extent>> {
        let Some(e) = (match below.checked_sub(1) {
            Some(last) => self.ext_at_or_before(st, last)?,
            None => None,
        }) else {
            return Ok(None);
        };
        let end = (u64::from(e.lblk) + u64::from(e.len)).min(u64::from(below)) as u32;
        let start = e.lblk.max(from);
        Ok((start < end).then(|| Extent {
            lblk: start,
            len: end - start,
            pblk: e.pblk + u64::from(start - e.lblk),
            unwritten: e.unwritten,
        }))
    }

    fn move_extent(
        &self,
        h: &crate::journal::Handle<'_, P>,
        inode: &Inode<P>,
        st: &mut InodeState,
        e: Extent,
        to: u32,
    ) -> Result<()> {
        let end = u64::from(e.lblk) + u64::from(e.len);
        self.ext_remove(h, st, e.lblk, end, &mut |_, _| Ok(()))?;
        self.ext_insert(h, st, Extent { lblk: to, ..e }, Draw::Metadata)?;
        self.store_inode(h, inode, st, true)
    }

    /// Makes the file's metadata (only what is needed to read the data back, with `datasync`) and the data written to
    /// the device so far durable.
    pub fn fsync(&self, inode: &Inode<P>, datasync: bool) -> Result<()> {
        if self.journal.is_aborted() {
            return Err(Errno::EROFS);
        }
        if self.is_read_only() {
            return Ok(());
        }
        if !datasync {
            self.write_lazy(inode)?;
        }
        let tid = {
            let st = inode.read();
            if datasync { st.data_tid } else { st.tid }
        };
        self.sync_tid(tid)
    }

    /// SEEK_DATA: first byte at or after `pos` that is not in a hole. `ENXIO` past the end. Blocks that are allocated but
    /// not written to count as a hole.
    pub fn seek_data(&self, inode: &Inode<P>, pos: u64) -> Result<u64> {
        self.seek(inode, pos, false)
    }

    /// SEEK_HOLE: first byte at or after `pos` in a hole, or the size. `ENXIO` past the end.
    pub fn seek_hole(&self, inode: &Inode<P>, pos: u64) -> Result<u64> {
        self.seek(inode, pos, true)
    }

    fn seek(&self, inode: &Inode<P>, pos: u64, hole: bool) -> Result<u64> {
        let st = inode.read();
        if pos >= st.size {
            return Err(Errno::ENXIO);
        }
        let bs = u64::from(self.sb.block_size);
        let end = st.size.div_ceil(bs) as u32;
        let mut at = (pos / bs) as u32;
        while at < end {
            let (data, len) = self.data_run(&st, at, end)?;
            if data != hole {
                return Ok(pos.max(u64::from(at) * bs));
            }
            at += len;
        }
        if hole { Ok(st.size) } else { Err(Errno::ENXIO) }
    }

    /// FS_IOC_FIEMAP over a byte range; `emit` answers `false` to stop.
    pub fn fiemap(
        &self,
        inode: &Inode<P>,
        pos: u64,
        len: u64,
        emit: &mut dyn FnMut(FiemapExtent) -> bool,
    ) -> Result<()> {
        let st = inode.read();
        let bs = u64::from(self.sb.block_size);
        if st.is_inline() {
            let physical = inode.loc.block * bs + inode.loc.offset as u64 + 0x28;
            let flags = fe::INLINE | fe::NOT_ALIGNED | fe::LAST;
            emit(FiemapExtent {
                logical: 0,
                physical,
                length: st.size,
                flags,
            });
            return Ok(());
        }
        let last = self.max_file_size() / bs;
        let end = pos.saturating_add(len).div_ceil(bs).min(last) as u32;
        let mut at = (pos / bs).min(last) as u32;
        while at < end {
            // To the end of the map, not of the range: an extent is reported whole.
            let m = self.map_in(&st, at, u32::MAX)?;
            let next = at.saturating_add(m.len);
            let flags = match m.state {
                MapState::Hole | MapState::Inline => None,
                MapState::Mapped => Some(0),
                MapState::Unwritten => Some(fe::UNWRITTEN),
                MapState::Delayed => Some(fe::DELALLOC | fe::UNKNOWN),
            };
            if let Some(mut flags) = flags {
                if self.nothing_after(&st, next)? {
                    flags |= fe::LAST;
                }
                let e = FiemapExtent {
                    logical: u64::from(at) * bs,
                    physical: m.pblk * bs,
                    length: u64::from(m.len) * bs,
                    flags,
                };
                if !emit(e) || flags & fe::LAST != 0 {
                    return Ok(());
                }
            }
            at = next;
        }
        Ok(())
    }

    fn nothing_after(&self, st: &InodeState, mut at: u32) -> Result<bool> {
        // A block map shows a long hole piece by piece.
        while at < u32::MAX - 1 {
            let m = self.map_in(st, at, u32::MAX)?;
            if m.state != MapState::Hole {
                return Ok(false);
            }
            at = at.saturating_add(m.len);
        }
        Ok(true)
    }

    /// FS_IOC_SETFLAGS: sets the bits in [`inode_flags::USER_MODIFIABLE`], keeps the others. `EOPNOTSUPP`: turning a
    /// block map into extents or back (`EINVAL` where the volume has no extents).
    pub fn set_flags(&self, inode: &Inode<P>, flags: u32) -> Result<()> {
        let mut st = inode.write();
        if (flags ^ st.flags) & inode_flags::EXTENTS != 0 {
            return Err(if self.sb.is(incompat::EXTENTS) {
                Errno::EOPNOTSUPP
            } else {
                Errno::EINVAL
            });
        }
        let h = self.start(4)?;
        let m = inode_flags::USER_MODIFIABLE;
        st.flags = (st.flags & !m) | (flags & m);
        st.ctime = self.platform.now();
        self.store_inode(&h, inode, &mut st, false)
    }
}
