//! Inode allocation.
//!
//! Directories at the top level spread over the groups (after Orlov); other directories stay near their
//! parent unless that group is crowded; files go to their directory's group, so that an inode, its data and
//! its neighbours are close together.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use crate::buffer::Buf;
use crate::bytes::{bit_clear, bit_find_clear, bit_get, bit_set};
use crate::group::{Group, GroupState};
use crate::journal::Handle;
use crate::layout::gd;
use crate::platform::{Lock, Platform};
use crate::seal::Kind;
use crate::{Errno, Fs, Result};

/// Where an inode lives on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InodeLocation {
    pub block: u64,
    pub offset: usize,
    pub group: u32,
}

impl<P: Platform> Fs<P> {
    /// Where inode `ino` is.
    pub(crate) fn inode_location(&self, ino: u32) -> Result<InodeLocation> {
        if ino == 0 || ino > self.sb.inodes_count {
            return Err(Errno::EUCLEAN);
        }
        let group = (ino - 1) / self.sb.inodes_per_group;
        let index = (ino - 1) % self.sb.inodes_per_group;
        let byte = u64::from(index) * self.sb.inode_size as u64;
        let table = self.group(group)?.state.lock().inode_table;
        let bs = u64::from(self.sb.block_size);
        Ok(InodeLocation {
            block: table + byte / bs,
            offset: (byte % bs) as usize,
            group,
        })
    }

    /// Reads the blocks around an inode that is not cached: who wants one inode of a directory soon wants others.
    pub(crate) fn read_table_ahead(&self, loc: InodeLocation) {
        const WINDOW: u64 = 16;
        if self.cache.is_cached(loc.block) {
            return;
        }
        let Ok(group) = self.group(loc.group) else {
            return;
        };
        let (table, used) = {
            let st = group.state.lock();
            (st.inode_table, self.sb.inodes_per_group - st.itable_unused)
        };
        let used = (u64::from(used) * self.sb.inode_size as u64) >> self.sb.block_bits;
        let at = (loc.block - table) / WINDOW * WINDOW;
        let blocks: alloc::vec::Vec<u64> =
            (at..(at + WINDOW).min(used)).map(|i| table + i).collect();
        if blocks.len() > 1 {
            self.cache
                .prefetch(&*self.dev, &self.sb, &blocks, Kind::Plain);
        }
    }

    /// The buffer of an inode's block for a new inode: made anew where no inode of the block was ever used.
    pub(crate) fn inode_block_for_new(
        &self,
        h: &Handle<'_, P>,
        loc: InodeLocation,
        untouched: bool,
    ) -> Result<Arc<Buf<P>>> {
        if untouched {
            let buf = self.cache.getblk(loc.block);
            drop(h.fresh(&buf, Kind::Plain));
            return Ok(buf);
        }
        self.bread(loc.block, Kind::Plain)
    }

    /// Allocates an inode for a file in directory `parent`. Returns its number and whether its whole table block
    /// was never used (and so need not be read).
    pub(crate) fn alloc_inode(
        &self,
        h: &Handle<'_, P>,
        parent: u32,
        top: bool,
        dir: bool,
    ) -> Result<(u32, bool)> {
        if self.counters.free_inodes.load(Ordering::Relaxed) <= 0 {
            return Err(Errno::ENOSPC);
        }
        let home = (parent.saturating_sub(1) / self.sb.inodes_per_group).min(self.sb.groups - 1);
        let first = if dir {
            self.dir_group(home, top)
        } else {
            self.file_group(home, parent)
        };
        let n = self.sb.groups;
        for i in 0..n {
            let g = ((u64::from(first) + u64::from(i)) % u64::from(n)) as u32;
            let group = self.group(g)?;
            if group.free_inodes.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut st = group.state.lock();
            if let Some(r) = self.take_inode(h, g, group, &mut st, dir)? {
                return Ok(r);
            }
        }
        Err(Errno::ENOSPC)
    }

    fn dir_group(&self, home: u32, top: bool) -> u32 {
        let n = self.sb.groups;
        let total_free = self.counters.free_inodes.load(Ordering::Relaxed).max(0) as u64;
        let avg_inodes = (total_free / u64::from(n)) as u32;
        let free = self.counters.free.load(Ordering::Relaxed).max(0) as u64;
        let avg_blocks = (free / u64::from(n)) as u32;
        let start = if top {
            (self.counters.spread.fetch_add(1, Ordering::Relaxed) % u64::from(n)) as u32
        } else {
            home
        };
        // A group is good when it has its share of inodes and blocks; for a nested directory half is enough.
        let (want_i, want_b) = if top {
            (avg_inodes, avg_blocks)
        } else {
            (avg_inodes / 2, avg_blocks / 2)
        };
        let good = |g: u32| {
            self.groups.get(g as usize).is_some_and(|x| {
                let i = x.free_inodes.load(Ordering::Relaxed);
                i > 0 && i >= want_i && x.avail.load(Ordering::Relaxed) >= want_b
            })
        };
        let order = (0..n).map(|i| ((u64::from(start) + u64::from(i)) % u64::from(n)) as u32);
        if top {
            // Of the good ones near the start, the one with the fewest directories.
            let dirs = |&g: &u32| {
                self.groups
                    .get(g as usize)
                    .map_or(u32::MAX, |x| x.used_dirs.load(Ordering::Relaxed))
            };
            return order
                .filter(|&g| good(g))
                .take(64)
                .min_by_key(dirs)
                .unwrap_or(home);
        }
        order.into_iter().find(|&g| good(g)).unwrap_or(home)
    }

    fn file_group(&self, home: u32, parent: u32) -> u32 {
        let n = self.sb.groups;
        let roomy = |g: u32| {
            self.groups.get(g as usize).is_some_and(|x| {
                x.free_inodes.load(Ordering::Relaxed) > 0 && x.avail.load(Ordering::Relaxed) > 0
            })
        };
        if roomy(home) {
            return home;
        }
        // Directories that share a full group look in different places.
        let mut g = ((u64::from(home) + u64::from(parent)) % u64::from(n)) as u32;
        let mut step = 1u64;
        while step < u64::from(n) {
            if roomy(g) {
                return g;
            }
            g = ((u64::from(g) + step) % u64::from(n)) as u32;
            step *= 2;
        }
        home
    }

    fn take_inode(
        &self,
        h: &Handle<'_, P>,
        g: u32,
        group: &Group<P>,
        st: &mut GroupState,
        dir: bool,
    ) -> Result<Option<(u32, bool)>> {
        if st.free_inodes == 0 {
            return Ok(None);
        }
        let per = self.sb.inodes_per_group;
        let was_unused = per - st.itable_unused.min(per);
        let was_unused = if st.flags & gd::INODE_UNINIT != 0 {
            0
        } else {
            was_unused
        };
        let buf = self.inode_bitmap_for_write(h, g, st)?;
        let mut s = h.write(&buf, Kind::Plain);
        // Reserved inodes are never handed out, whatever the bitmap says.
        let least = if g == 0 { self.sb.first_ino - 1 } else { 0 };
        let from = st.inode_cursor.max(least) as usize;
        let bit = bit_find_clear(&s.data, from, per as usize)
            .or_else(|| bit_find_clear(&s.data, least as usize, from.min(per as usize)));
        let Some(bit) = bit else {
            drop(s);
            self.damage(format_args!(
                "group {g}: free inodes in the descriptor, none in the bitmap"
            ));
            return Err(Errno::EUCLEAN);
        };
        bit_set(s.bytes_mut(), bit);
        drop(s);
        let bit = bit as u32;
        st.inode_cursor = bit + 1;
        st.free_inodes -= 1;
        group.free_inodes.store(st.free_inodes, Ordering::Relaxed);
        if dir {
            st.used_dirs += 1;
            group.used_dirs.store(st.used_dirs, Ordering::Relaxed);
        }
        st.itable_unused = st.itable_unused.min(per - (bit + 1));
        self.counters.free_inodes.fetch_sub(1, Ordering::Relaxed);
        let per_block = (self.sb.block_size as usize / self.sb.inode_size) as u32;
        let untouched = self.sb.has_group_csum() && bit / per_block * per_block >= was_unused;
        Ok(Some((g * per + bit + 1, untouched)))
    }

    /// Frees an inode's bit.
    pub(crate) fn free_inode(&self, h: &Handle<'_, P>, ino: u32, dir: bool) -> Result<()> {
        let g = (ino - 1) / self.sb.inodes_per_group;
        let bit = (ino - 1) % self.sb.inodes_per_group;
        let group = self.group(g)?;
        let mut st = group.state.lock();
        let buf = self.inode_bitmap_for_write(h, g, &mut st)?;
        let mut s = h.write(&buf, Kind::Plain);
        if !bit_get(&s.data, bit as usize) || ino < self.sb.first_ino {
            drop(s);
            self.damage(format_args!(
                "freeing inode {ino}, which is free or reserved"
            ));
            return Err(Errno::EUCLEAN);
        }
        bit_clear(s.bytes_mut(), bit as usize);
        drop(s);
        st.inode_cursor = st.inode_cursor.min(bit);
        st.free_inodes += 1;
        group.free_inodes.store(st.free_inodes, Ordering::Relaxed);
        if dir {
            st.used_dirs = st.used_dirs.saturating_sub(1);
            group.used_dirs.store(st.used_dirs, Ordering::Relaxed);
        }
        self.counters.free_inodes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
