//! Block groups: descriptors and bitmaps in memory.
//!
//! [`GroupState`] is the descriptor, decoded, with two views of the blocks: the bitmap buffer, which is what
//! the running transaction says, and [`BlockMap`], which is what may be allocated now. They differ by blocks
//! freed in a transaction that has not committed, and by blocks claimed for data that is still being written.
//!
//! Locking: one mutex per group, taken inside a journal handle, never two at once, before buffers.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::buffer::Buf;
use crate::bytes::{bit_set, hi32, le16, le32, lo16, lo32, put16, put32};
use crate::checksum::{crc16, crc32c};
use crate::journal::Handle;
use crate::layout::gd;
use crate::platform::{Lock, Platform, SharedLock};
use crate::runs::BlockMap;
use crate::seal::Kind;
use crate::superblock::Super;
use crate::{Errno, Fs, Result};

/// A block group.
pub(crate) struct Group<P: Platform> {
    pub state: P::Mutex<GroupState>,
    /// Blocks that may be allocated now; exact only under the lock.
    pub avail: AtomicU32,
    /// Upper bound of the longest free run.
    pub max_run: AtomicU32,
    /// Free inodes; exact only under the lock.
    pub free_inodes: AtomicU32,
    /// Directories; exact only under the lock.
    pub used_dirs: AtomicU32,
}

/// A group's descriptor and allocation map.
pub(crate) struct GroupState {
    pub block_bitmap: u64,
    pub inode_bitmap: u64,
    pub inode_table: u64,
    pub flags: u16,
    pub free_blocks: u32,
    pub free_inodes: u32,
    pub used_dirs: u32,
    pub itable_unused: u32,
    pub block_csum: u32,
    pub inode_csum: u32,
    /// What may be allocated; `None` until the bitmap is first needed.
    pub map: Option<BlockMap>,
    pub inodes_checked: bool,
    /// Where the next search for a free inode starts.
    pub inode_cursor: u32,
    /// The bitmaps changed since their checksums were last computed.
    pub blocks_dirty: bool,
    pub inodes_dirty: bool,
    /// The transaction this group was last noted in.
    pub tid: u32,
}

impl GroupState {
    /// Decodes a descriptor.
    pub fn parse(sb: &Super, d: &[u8]) -> Self {
        let wide = sb.desc_size >= 64;
        let hi = |off| {
            if wide {
                u64::from(le32(d, off)) << 32
            } else {
                0
            }
        };
        let hi16 = |off| {
            if wide {
                u32::from(le16(d, off)) << 16
            } else {
                0
            }
        };
        let flags = if sb.has_group_csum() {
            le16(d, gd::FLAGS)
        } else {
            0
        };
        Self {
            block_bitmap: u64::from(le32(d, gd::BLOCK_BITMAP_LO)) | hi(gd::BLOCK_BITMAP_HI),
            inode_bitmap: u64::from(le32(d, gd::INODE_BITMAP_LO)) | hi(gd::INODE_BITMAP_HI),
            inode_table: u64::from(le32(d, gd::INODE_TABLE_LO)) | hi(gd::INODE_TABLE_HI),
            flags,
            free_blocks: u32::from(le16(d, gd::FREE_BLOCKS_LO)) | hi16(gd::FREE_BLOCKS_HI),
            free_inodes: u32::from(le16(d, gd::FREE_INODES_LO)) | hi16(gd::FREE_INODES_HI),
            used_dirs: u32::from(le16(d, gd::USED_DIRS_LO)) | hi16(gd::USED_DIRS_HI),
            itable_unused: if sb.has_group_csum() {
                u32::from(le16(d, gd::ITABLE_UNUSED_LO)) | hi16(gd::ITABLE_UNUSED_HI)
            } else {
                0
            },
            block_csum: u32::from(le16(d, gd::BLOCK_CSUM_LO)) | hi16(gd::BLOCK_CSUM_HI),
            inode_csum: u32::from(le16(d, gd::INODE_CSUM_LO)) | hi16(gd::INODE_CSUM_HI),
            map: None,
            inodes_checked: false,
            inode_cursor: 0,
            blocks_dirty: false,
            inodes_dirty: false,
            tid: 0,
        }
    }

    fn valid(&self, sb: &Super) -> bool {
        let inside = |b: u64, n: u32| {
            b > sb.first_data_block
                && b.checked_add(u64::from(n))
                    .is_some_and(|e| e <= sb.blocks_count)
        };
        inside(self.block_bitmap, 1)
            && inside(self.inode_bitmap, 1)
            && inside(self.inode_table, sb.itable_blocks())
            && self.free_blocks <= sb.blocks_per_group
            && self.free_inodes <= sb.inodes_per_group
            && self.itable_unused <= sb.inodes_per_group
            && self.used_dirs <= sb.inodes_per_group
    }

    fn encode(&self, sb: &Super, d: &mut [u8]) {
        let wide = sb.desc_size >= 64;
        let mut split = |lo: usize, hi: usize, v: u32| {
            put16(d, lo, lo16(v));
            if wide {
                put16(d, hi, lo16(v >> 16));
            }
        };
        split(gd::FREE_BLOCKS_LO, gd::FREE_BLOCKS_HI, self.free_blocks);
        split(gd::FREE_INODES_LO, gd::FREE_INODES_HI, self.free_inodes);
        split(gd::USED_DIRS_LO, gd::USED_DIRS_HI, self.used_dirs);
        if sb.has_group_csum() {
            split(
                gd::ITABLE_UNUSED_LO,
                gd::ITABLE_UNUSED_HI,
                self.itable_unused,
            );
        }
        if sb.has_csum() {
            split(gd::BLOCK_CSUM_LO, gd::BLOCK_CSUM_HI, self.block_csum);
            split(gd::INODE_CSUM_LO, gd::INODE_CSUM_HI, self.inode_csum);
        }
        if sb.has_group_csum() {
            put16(d, gd::FLAGS, self.flags);
        }
    }
}

/// The checksum of a descriptor.
fn desc_csum(sb: &Super, group: u32, d: &[u8]) -> u16 {
    let head = &d[..gd::CHECKSUM];
    let rest = &d[gd::CHECKSUM + 2..];
    if sb.has_csum() {
        let mut c = crc32c(sb.csum_seed, &group.to_le_bytes());
        c = crc32c(c, head);
        c = crc32c(c, &[0, 0]);
        return lo16(crc32c(c, rest));
    }
    let mut c = crc16(!0, &sb.uuid);
    c = crc16(c, &group.to_le_bytes());
    c = crc16(c, head);
    crc16(c, rest)
}

/// Reads and checks all descriptors.
pub(crate) fn load_groups<P: Platform>(
    sb: &Super,
    read: impl Fn(u64) -> Result<Arc<Buf<P>>>,
) -> Result<Vec<Group<P>>> {
    let per = sb.desc_per_block();
    let mut groups = Vec::new();
    groups
        .try_reserve_exact(sb.groups as usize)
        .map_err(|_| Errno::ENOMEM)?;
    for i in 0..sb.gdt_blocks() {
        let buf = read(sb.gdt_location(i))?;
        let s = buf.read();
        for g in i * per..((i + 1) * per).min(sb.groups) {
            let off = ((g % per) as usize) * sb.desc_size;
            let d = s.data.get(off..off + sb.desc_size).ok_or(Errno::EUCLEAN)?;
            if sb.has_group_csum() && desc_csum(sb, g, d) != le16(d, gd::CHECKSUM) {
                return Err(Errno::EUCLEAN);
            }
            let st = GroupState::parse(sb, d);
            if !st.valid(sb) {
                return Err(Errno::EUCLEAN);
            }
            groups.push(Group {
                avail: AtomicU32::new(st.free_blocks),
                max_run: AtomicU32::new(st.free_blocks),
                free_inodes: AtomicU32::new(st.free_inodes),
                used_dirs: AtomicU32::new(st.used_dirs),
                state: P::Mutex::new(st),
            });
        }
    }
    Ok(groups)
}

impl<P: Platform> Fs<P> {
    /// A group by number.
    pub(crate) fn group(&self, g: u32) -> Result<&Group<P>> {
        self.groups.get(g as usize).ok_or(Errno::EUCLEAN)
    }

    fn gdt_buf(&self, g: u32) -> Result<Arc<Buf<P>>> {
        self.bread(
            self.sb.gdt_location(g / self.sb.desc_per_block()),
            Kind::Plain,
        )
    }

    /// The descriptor block joins the transaction; its bytes are filled in by [`Fs::seal_groups`].
    pub(crate) fn touch_group(&self, h: &Handle<'_, P>, g: u32, st: &mut GroupState) -> Result<()> {
        if st.tid != h.tid {
            let buf = self.gdt_buf(g)?;
            drop(h.write(&buf, Kind::Plain));
            h.dirty_group(g);
            st.tid = h.tid;
        }
        Ok(())
    }

    /// At the end of a transaction: bitmap checksums and descriptors of the groups it changed.
    pub(crate) fn seal_groups(&self, groups: &alloc::collections::BTreeSet<u32>) {
        for &g in groups {
            let Ok(group) = self.group(g) else { continue };
            let mut st = group.state.lock();
            if self.sb.has_csum() {
                self.seal_bitmaps(&mut st);
            }
            // The buffer is cached: it is part of the transaction being closed.
            let Ok(buf) = self.gdt_buf(g) else { continue };
            let mut s = buf.state.write();
            let off = ((g % self.sb.desc_per_block()) as usize) * self.sb.desc_size;
            let Some(d) = s.bytes_mut().get_mut(off..off + self.sb.desc_size) else {
                continue;
            };
            st.encode(&self.sb, d);
            if self.sb.has_group_csum() {
                let c = desc_csum(&self.sb, g, d);
                put16(d, gd::CHECKSUM, c);
            }
        }
    }

    fn seal_bitmaps(&self, st: &mut GroupState) {
        if st.blocks_dirty
            && let Ok(b) = self.bread(st.block_bitmap, Kind::Plain)
        {
            st.block_csum = self.bitmap_csum(&b.read().data, self.sb.blocks_per_group);
            st.blocks_dirty = false;
        }
        if st.inodes_dirty
            && let Ok(b) = self.bread(st.inode_bitmap, Kind::Plain)
        {
            st.inode_csum = self.bitmap_csum(&b.read().data, self.sb.inodes_per_group);
            st.inodes_dirty = false;
        }
    }

    fn bitmap_csum(&self, data: &[u8], bits: u32) -> u32 {
        let c = crc32c(
            self.sb.csum_seed,
            &data[..(bits as usize / 8).min(data.len())],
        );
        if self.sb.desc_size >= 64 {
            c
        } else {
            c & 0xffff
        }
    }

    /// The bitmap that an uninitialised group would have.
    pub(crate) fn initial_block_bitmap(&self, g: u32, st: &GroupState) -> Vec<u8> {
        let mut b = vec![0; self.sb.block_size as usize];
        let start = self.sb.group_start(g);
        let blocks = self.sb.group_blocks(g);
        for i in 0..self.sb.group_base_meta(g).min(blocks) {
            bit_set(&mut b, i as usize);
        }
        let mut mark = |first: u64, n: u32| {
            for blk in first..first + u64::from(n) {
                if let Some(i) = blk.checked_sub(start).filter(|&i| i < u64::from(blocks)) {
                    bit_set(&mut b, i as usize);
                }
            }
        };
        mark(st.block_bitmap, 1);
        mark(st.inode_bitmap, 1);
        mark(st.inode_table, self.sb.itable_blocks());
        for i in blocks as usize..b.len() * 8 {
            bit_set(&mut b, i);
        }
        b
    }

    /// Makes sure that the group's allocation map is there.
    pub(crate) fn load_map(&self, g: u32, group: &Group<P>, st: &mut GroupState) -> Result<()> {
        if st.map.is_some() {
            return Ok(());
        }
        let blocks = self.sb.group_blocks(g);
        let map = if st.flags & gd::BLOCK_UNINIT != 0 {
            BlockMap::new(&self.initial_block_bitmap(g, st), blocks)
        } else {
            let buf = self.bread(st.block_bitmap, Kind::Plain)?;
            let s = buf.read();
            // A bitmap changed in the running transaction gets its checksum when that ends.
            if self.sb.has_csum()
                && !st.blocks_dirty
                && self.bitmap_csum(&s.data, self.sb.blocks_per_group) != st.block_csum
            {
                self.damage(format_args!("block bitmap of group {g}: wrong checksum"));
                return Err(Errno::EBADMSG);
            }
            BlockMap::new(&s.data, blocks)
        };
        if map.free() != st.free_blocks {
            self.damage(format_args!(
                "group {g}: {} free blocks in the bitmap, {} in the descriptor",
                map.free(),
                st.free_blocks
            ));
            return Err(Errno::EUCLEAN);
        }
        group.avail.store(map.free(), Ordering::Relaxed);
        group.max_run.store(map.free(), Ordering::Relaxed);
        st.map = Some(map);
        Ok(())
    }

    /// The block bitmap's buffer, made real if the group was uninitialised.
    pub(crate) fn block_bitmap_for_write(
        &self,
        h: &Handle<'_, P>,
        g: u32,
        st: &mut GroupState,
    ) -> Result<Arc<Buf<P>>> {
        self.touch_group(h, g, st)?;
        st.blocks_dirty = true;
        if st.flags & gd::BLOCK_UNINIT != 0 {
            let init = self.initial_block_bitmap(g, st);
            let buf = self.cache.getblk(st.block_bitmap);
            h.fresh(&buf, Kind::Plain)
                .bytes_mut()
                .copy_from_slice(&init);
            st.flags &= !gd::BLOCK_UNINIT;
            return Ok(buf);
        }
        self.bread(st.block_bitmap, Kind::Plain)
    }

    /// The inode bitmap's buffer, verified once, made real if the group was uninitialised.
    pub(crate) fn inode_bitmap_for_write(
        &self,
        h: &Handle<'_, P>,
        g: u32,
        st: &mut GroupState,
    ) -> Result<Arc<Buf<P>>> {
        if st.flags & gd::INODE_UNINIT != 0 {
            self.touch_group(h, g, st)?;
            let buf = self.cache.getblk(st.inode_bitmap);
            let mut s = h.fresh(&buf, Kind::Plain);
            let b = s.bytes_mut();
            for i in self.sb.inodes_per_group as usize..b.len() * 8 {
                bit_set(b, i);
            }
            drop(s);
            st.flags &= !gd::INODE_UNINIT;
            st.inodes_checked = true;
            st.inodes_dirty = true;
            if st.flags & gd::BLOCK_UNINIT != 0 {
                // As Linux does: a group with inodes in use has a real block bitmap too.
                self.block_bitmap_for_write(h, g, st)?;
            }
            return Ok(buf);
        }
        let buf = self.bread(st.inode_bitmap, Kind::Plain)?;
        if !st.inodes_checked {
            let ok = !self.sb.has_csum()
                || self.bitmap_csum(&buf.read().data, self.sb.inodes_per_group) == st.inode_csum;
            if !ok {
                self.damage(format_args!("inode bitmap of group {g}: wrong checksum"));
                return Err(Errno::EBADMSG);
            }
            st.inodes_checked = true;
        }
        self.touch_group(h, g, st)?;
        st.inodes_dirty = true;
        Ok(buf)
    }

    /// Sum of the descriptors' free blocks and free inodes.
    pub(crate) fn sum_free(&self) -> (u64, u64) {
        self.groups.iter().fold((0, 0), |(b, i), g| {
            let st = g.state.lock();
            (b + u64::from(st.free_blocks), i + u64::from(st.free_inodes))
        })
    }

    /// Stores the totals into a raw superblock.
    pub(crate) fn put_totals(&self, raw: &mut [u8]) {
        let (blocks, inodes) = self.sum_free();
        put32(raw, crate::layout::sb::FREE_BLOCKS_LO, lo32(blocks));
        if self.sb.is(crate::layout::incompat::BIT64) {
            put32(raw, crate::layout::sb::FREE_BLOCKS_HI, hi32(blocks));
        }
        put32(raw, crate::layout::sb::FREE_INODES, lo32(inodes));
    }
}
