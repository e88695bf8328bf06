//! Block allocation.
//!
//! Data blocks are *claimed* in memory first and only *entered* into the bitmap by the transaction that makes them
//! reachable, after the data was written. Metadata blocks are claimed and entered at once.
//!
//! Accounting: `free` counts blocks that are free on disk and not claimed; `delayed` counts blocks promised to
//! data in the page cache; a small pool stays back so that promised data always finds room for its metadata.

use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::bytes::{bit_clear, bit_get, bit_set};
use crate::group::{Group, GroupState};
use crate::inode::{Inode, InodeState};
use crate::journal::Handle;
use crate::platform::{Lock, Platform};
use crate::seal::Kind;
use crate::{Errno, Fs, Result};

/// Block counters of a mounted file system.
pub(crate) struct Counters {
    pub free: AtomicI64,
    pub delayed: AtomicI64,
    /// Blocks kept back for metadata of delayed data.
    pub pool: i64,
    pub free_inodes: AtomicI64,
    /// Where directories at the top level go next.
    pub spread: AtomicU64,
}

/// Where an allocation would like to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At this block.
    Block(u64),
    /// Anywhere in this group, after what was allocated there last.
    Group(u32),
}

/// What an allocation may draw on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draw {
    /// Ordinary free space.
    Normal,
    /// Space promised before by [`Fs::promise`].
    Promised,
    /// Anything that is left: metadata without which promised data could not be stored.
    Metadata,
}

impl<P: Platform> Fs<P> {
    fn spendable(&self) -> i64 {
        let c = &self.counters;
        let mut n = c.free.load(Ordering::Relaxed) + self.ahead.held()
            - c.delayed.load(Ordering::Relaxed)
            - c.pool;
        if !self.platform.may_use_reserved() {
            n -= self.sb.reserved_blocks as i64;
        }
        n
    }

    /// Promises `n` blocks to delayed data.
    pub(crate) fn promise(&self, n: u32) -> Result<()> {
        let c = &self.counters;
        c.delayed.fetch_add(i64::from(n), Ordering::Relaxed);
        if self.spendable() < 0 {
            c.delayed.fetch_sub(i64::from(n), Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    /// Takes a promise back.
    pub(crate) fn unpromise(&self, n: u32) {
        self.counters
            .delayed
            .fetch_sub(i64::from(n), Ordering::Relaxed);
    }

    /// How many of `want` blocks may be taken: what is promised to others is not for ordinary draws. `ENOSPC` if none.
    fn allowance(&self, want: u32, draw: Draw) -> Result<u32> {
        match draw {
            Draw::Normal => match self.spendable() {
                n if n <= 0 => Err(Errno::ENOSPC),
                n => Ok(want.min(u32::try_from(n).unwrap_or(u32::MAX))),
            },
            Draw::Promised | Draw::Metadata => Ok(want),
        }
    }

    /// Claims a run of 1 to `want` blocks near `goal`, in memory only.
    pub(crate) fn claim(&self, goal: Goal, want: u32, draw: Draw) -> Result<(u64, u32)> {
        let want = self.allowance(want, draw)?;
        let want = want.clamp(1, self.sb.blocks_per_group);
        let (start, len) = match self.search(goal, want)? {
            Some(hit) => hit,
            None if self.drop_all_ahead() => self.search(goal, want)?.ok_or(Errno::ENOSPC)?,
            None => return Err(Errno::ENOSPC),
        };
        self.counters
            .free
            .fetch_sub(i64::from(len), Ordering::Relaxed);
        if draw == Draw::Promised {
            self.unpromise(len);
        }
        Ok((start, len))
    }

    /// Claims blocks of a file: those kept for it, or new ones and, where the file grows, some more to keep.
    pub(crate) fn claim_data(
        &self,
        inode: &Inode<P>,
        st: &InodeState,
        (lblk, want): (u32, u32),
        goal: Goal,
        draw: Draw,
    ) -> Result<(u64, u32)> {
        let want = self.allowance(want, draw)?;
        let (start, len) = match self.take_ahead(inode.ino(), lblk, want) {
            Some(kept) => kept,
            None => {
                let end = u64::from(lblk) + u64::from(want);
                let grows = end << self.sb.block_bits >= st.size && st.is_regular();
                let more = if grows {
                    self.ahead_wanted(lblk, want)
                } else {
                    0
                };
                let (start, got) = self.claim(goal, want + more, Draw::Metadata)?;
                if got > want {
                    let next = start + u64::from(want);
                    self.keep_ahead(inode.ino(), lblk + want, next, got - want);
                }
                (start, got.min(want))
            }
        };
        if draw == Draw::Promised {
            self.unpromise(len);
        }
        Ok((start, len))
    }

    fn search(&self, goal: Goal, want: u32) -> Result<Option<(u64, u32)>> {
        let (g0, idx) = match goal {
            Goal::Group(g) => (g.min(self.sb.groups - 1), None),
            Goal::Block(b) => match self.sb.block_group(b) {
                Some((g, i)) => (g, Some(i)),
                None => (0, None),
            },
        };
        // The goal group serves even a shorter run when it is at the goal or reasonably long.
        if let Some(hit) = self.search_group(g0, idx, want, want.div_ceil(8))? {
            return Ok(Some(hit));
        }
        let n = self.sb.groups;
        for least in [want, 1] {
            for i in 0..n {
                let g = ((u64::from(g0) + u64::from(i)) % u64::from(n)) as u32;
                let group = self.group(g)?;
                if group.avail.load(Ordering::Relaxed) < least
                    || group.max_run.load(Ordering::Relaxed) < least
                {
                    continue;
                }
                if let Some(hit) = self.search_group(g, None, want, least)? {
                    return Ok(Some(hit));
                }
            }
            if want == 1 {
                break;
            }
        }
        Ok(None)
    }

    /// Takes a run in one group: at `idx` if that is free, else the first of `want` blocks after it, else the
    /// longest one if it has at least `least` blocks.
    fn search_group(
        &self,
        g: u32,
        idx: Option<u32>,
        want: u32,
        least: u32,
    ) -> Result<Option<(u64, u32)>> {
        let group = self.group(g)?;
        if group.avail.load(Ordering::Relaxed) == 0 {
            return Ok(None);
        }
        let mut st = group.state.lock();
        self.load_map(g, group, &mut st)?;
        let Some(map) = st.map.as_mut() else {
            return Ok(None);
        };
        let blocks = self.sb.group_blocks(g);
        let mut hit = None;
        if let Some(i) = idx {
            let len = map.run_at(i, want);
            hit = (len > 0).then_some((i, len));
        }
        if hit.is_none() {
            let from = idx.unwrap_or(map.cursor).min(blocks);
            hit = map.find(from, blocks, want);
            if from > 0 && hit.is_none_or(|(_, l)| l < want) {
                let low = map.find(0, blocks, want);
                if low.map_or(0, |h| h.1) > hit.map_or(0, |h| h.1) {
                    hit = low;
                }
            }
            let longest = hit.map_or(0, |h| h.1);
            if longest < want {
                group.max_run.store(longest, Ordering::Relaxed);
            }
            hit = hit.filter(|&(_, len)| len >= least);
        }
        let Some((at, len)) = hit else {
            return Ok(None);
        };
        map.take(at, len);
        group.avail.store(map.free(), Ordering::Relaxed);
        Ok(Some((self.sb.group_start(g) + u64::from(at), len)))
    }

    /// Calls `f` with each part of a run that lies in one group: `(group, index, length)`.
    fn by_group(
        &self,
        start: u64,
        len: u32,
        mut f: impl FnMut(u32, u32, u32) -> Result<()>,
    ) -> Result<()> {
        let mut at = start;
        let mut left = len;
        while left > 0 {
            let (g, i) = self.sb.block_group(at).ok_or(Errno::EUCLEAN)?;
            let part = left.min(self.sb.group_blocks(g).saturating_sub(i));
            if part == 0 {
                return Err(Errno::EUCLEAN);
            }
            f(g, i, part)?;
            at += u64::from(part);
            left -= part;
        }
        Ok(())
    }

    /// Gives a claim back that was never entered.
    pub(crate) fn unclaim(&self, start: u64, len: u32) {
        self.counters
            .free
            .fetch_add(i64::from(len), Ordering::Relaxed);
        self.release_freed(start, len);
    }

    /// Makes blocks allocatable again: a claim given back, or blocks freed in a transaction that has committed.
    pub(crate) fn release_freed(&self, start: u64, len: u32) {
        // A run outside the file system was refused when it was claimed or freed.
        let _ = self.by_group(start, len, |g, i, n| {
            let group = self.group(g)?;
            let mut st = group.state.lock();
            if let Some(map) = st.map.as_mut() {
                map.release(i, n);
                group.avail.store(map.free(), Ordering::Relaxed);
                // A bound only: the run may have joined its neighbours.
                group.max_run.store(map.free(), Ordering::Relaxed);
            }
            Ok(())
        });
    }

    /// Enters a claimed run into the bitmap.
    pub(crate) fn enter_claim(&self, h: &Handle<'_, P>, start: u64, len: u32) -> Result<()> {
        self.by_group(start, len, |g, i, n| {
            let group = self.group(g)?;
            let mut st = group.state.lock();
            let buf = self.block_bitmap_for_write(h, g, &mut st)?;
            let mut s = h.write(&buf, Kind::Plain);
            let bits = s.bytes_mut();
            for b in i..i + n {
                bit_set(bits, b as usize);
            }
            st.free_blocks = st.free_blocks.saturating_sub(n);
            Ok(())
        })
    }

    /// Allocates one metadata block near `goal`.
    pub(crate) fn alloc_meta(&self, h: &Handle<'_, P>, goal: Goal, draw: Draw) -> Result<u64> {
        let (b, _) = self.claim(goal, 1, draw)?;
        if let Err(e) = self.enter_claim(h, b, 1) {
            self.unclaim(b, 1);
            return Err(e);
        }
        Ok(b)
    }

    /// Frees a run of blocks. They can be allocated again once the transaction has committed. `metadata`: they were
    /// journalled.
    pub(crate) fn free_blocks(
        &self,
        h: &Handle<'_, P>,
        start: u64,
        len: u32,
        metadata: bool,
    ) -> Result<()> {
        self.by_group(start, len, |g, i, n| {
            let group = self.group(g)?;
            let mut st = group.state.lock();
            self.load_map(g, group, &mut st)?;
            if self.is_system_range(g, &st, i, n) {
                self.damage(format_args!(
                    "freeing blocks of the file system itself, group {g}"
                ));
                return Err(Errno::EUCLEAN);
            }
            let buf = self.block_bitmap_for_write(h, g, &mut st)?;
            let mut s = h.write(&buf, Kind::Plain);
            if (i..i + n).any(|b| !bit_get(&s.data, b as usize)) {
                drop(s);
                self.damage(format_args!(
                    "freeing blocks that are free, group {g} index {i}"
                ));
                return Err(Errno::EUCLEAN);
            }
            let bits = s.bytes_mut();
            for b in i..i + n {
                bit_clear(bits, b as usize);
            }
            st.free_blocks += n;
            self.counters
                .free
                .fetch_add(i64::from(n), Ordering::Relaxed);
            h.note_freed(self.sb.group_start(g) + u64::from(i), n, metadata);
            Ok(())
        })
    }

    /// Whether blocks `i..i + n` of a group overlap its own metadata.
    fn is_system_range(&self, g: u32, st: &GroupState, i: u32, n: u32) -> bool {
        let a = self.sb.group_start(g) + u64::from(i);
        let b = a + u64::from(n);
        let hits = |s: u64, l: u32| a < s + u64::from(l) && s < b;
        hits(self.sb.group_start(g), self.sb.group_base_meta(g))
            || hits(st.block_bitmap, 1)
            || hits(st.inode_bitmap, 1)
            || hits(st.inode_table, self.sb.itable_blocks())
    }

    /// Whether a physical run may belong to a file at all.
    pub(crate) fn valid_blocks(&self, start: u64, len: u32) -> bool {
        start > self.sb.first_data_block
            && start
                .checked_add(u64::from(len))
                .is_some_and(|e| e <= self.sb.blocks_count)
    }

    /// FITRIM: discards the free runs of at least `min` blocks among the blocks `from..to`.
    pub(crate) fn trim_blocks(&self, from: u64, to: u64, min: u32) -> Result<u64> {
        let bs = u64::from(self.sb.block_size);
        let mut done = 0;
        for (g, group) in (0u32..).zip(&self.groups) {
            let start = self.sb.group_start(g);
            let blocks = self.sb.group_blocks(g);
            if start >= to || start + u64::from(blocks) <= from {
                continue;
            }
            let lo = from.saturating_sub(start).min(u64::from(blocks)) as u32;
            let hi = (to - start).min(u64::from(blocks)) as u32;
            done += self.trim_group(g, group, lo, hi, min)? * bs;
        }
        Ok(done)
    }

    fn trim_group(&self, g: u32, group: &Group<P>, lo: u32, hi: u32, min: u32) -> Result<u64> {
        let bs = u64::from(self.sb.block_size);
        let mut done = 0;
        let mut at = lo;
        while at < hi {
            // The run is taken while the device works on it, so that nobody allocates it meanwhile.
            let (i, n) = {
                let mut st = group.state.lock();
                self.load_map(g, group, &mut st)?;
                let Some(map) = st.map.as_mut() else { break };
                let Some((i, _)) = map.find(at, hi, 1) else {
                    break;
                };
                let n = map.run_at(i, hi - i);
                let cursor = map.cursor;
                if n >= min {
                    map.take(i, n);
                    map.cursor = cursor;
                }
                (i, n)
            };
            at = i + n.max(1);
            if n >= min {
                let start = self.sb.group_start(g) + u64::from(i);
                let r = self.dev.discard(start * bs, u64::from(n) * bs);
                self.release_freed(start, n);
                r?;
                done += u64::from(n);
            }
        }
        Ok(done)
    }
}
