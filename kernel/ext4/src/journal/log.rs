//! The log on disk: its superblock, its circular area, and the format of a transaction in it.
//!
//! All fields are big-endian. A transaction is descriptor blocks, each followed by the blocks it
//! describes, then revoke blocks, then one commit block.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use crate::bytes::{be32, hi32, lo16, lo32, put, put_be32};
use crate::checksum::crc32c;
use crate::{BlockDevice, Result, Timespec, WriteFlags};

/// First word of every block that belongs to the journal's own structures.
pub(crate) const MAGIC: u32 = 0xc03b_3998;
pub(crate) const BT_DESCRIPTOR: u32 = 1;
pub(crate) const BT_COMMIT: u32 = 2;
pub(crate) const BT_SUPER_V1: u32 = 3;
pub(crate) const BT_SUPER_V2: u32 = 4;
pub(crate) const BT_REVOKE: u32 = 5;

pub(crate) const COMPAT_CHECKSUM: u32 = 1;
pub(crate) const INCOMPAT_REVOKE: u32 = 0x1;
pub(crate) const INCOMPAT_64BIT: u32 = 0x2;
pub(crate) const INCOMPAT_ASYNC: u32 = 0x4;
pub(crate) const INCOMPAT_CSUM_V2: u32 = 0x8;
pub(crate) const INCOMPAT_CSUM_V3: u32 = 0x10;
pub(crate) const INCOMPAT_FAST_COMMIT: u32 = 0x20;
pub(crate) const INCOMPAT_KNOWN: u32 = INCOMPAT_REVOKE
    | INCOMPAT_64BIT
    | INCOMPAT_ASYNC
    | INCOMPAT_CSUM_V2
    | INCOMPAT_CSUM_V3
    | INCOMPAT_FAST_COMMIT;

pub(crate) const TAG_ESCAPE: u32 = 1;
pub(crate) const TAG_SAME_UUID: u32 = 2;
pub(crate) const TAG_DELETED: u32 = 4;
pub(crate) const TAG_LAST: u32 = 8;

/// Field offsets of the journal superblock.
pub(crate) mod jsb {
    pub const BLOCKSIZE: usize = 0xc;
    pub const MAXLEN: usize = 0x10;
    pub const FIRST: usize = 0x14;
    pub const SEQUENCE: usize = 0x18;
    pub const START: usize = 0x1c;
    pub const ERRNO: usize = 0x20;
    pub const COMPAT: usize = 0x24;
    pub const INCOMPAT: usize = 0x28;
    pub const RO_COMPAT: usize = 0x2c;
    pub const UUID: usize = 0x30;
    pub const CHECKSUM_TYPE: usize = 0x50;
    pub const NUM_FC_BLOCKS: usize = 0x54;
    pub const CHECKSUM: usize = 0xfc;
    pub const SIZE: usize = 1024;
}

/// The open log.
pub(crate) struct Log {
    /// Physical block of each log block.
    pub map: Vec<u64>,
    /// The journal superblock (1024 bytes).
    pub sb: Vec<u8>,
    pub block_size: usize,
    /// First block of the circular area, and one past its last.
    pub first: u32,
    pub last: u32,
    /// Where the next transaction goes.
    pub head: u32,
    /// Start of the oldest transaction not yet checkpointed.
    pub tail: u32,
    /// Its id; the id of the next transaction if there is none.
    pub tail_tid: u32,
    /// The id of the next transaction.
    pub next_tid: u32,
    free: u32,
    pub csum_seed: u32,
}

impl Log {
    /// A log that is empty, with `first`, `last` and `next_tid` known.
    pub fn new(map: Vec<u64>, sb: Vec<u8>, block_size: usize, last: u32, next_tid: u32) -> Self {
        let first = be32(&sb, jsb::FIRST);
        let csum_seed = crc32c(!0, &sb[jsb::UUID..jsb::UUID + 16]);
        Self {
            map,
            sb,
            block_size,
            first,
            last,
            head: first,
            tail: first,
            tail_tid: next_tid,
            next_tid,
            free: last - first,
            csum_seed,
        }
    }

    fn incompat(&self) -> u32 {
        be32(&self.sb, jsb::INCOMPAT)
    }

    pub fn capacity(&self) -> u32 {
        self.last - self.first
    }

    pub fn free(&self) -> u32 {
        self.free
    }

    pub fn is_empty(&self) -> bool {
        self.free == self.capacity()
    }

    fn has_csum(&self) -> bool {
        self.incompat() & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3) != 0
    }

    /// Bytes of one tag.
    pub fn tag_size(incompat: u32) -> usize {
        if incompat & INCOMPAT_CSUM_V3 != 0 {
            return 16;
        }
        let wide = if incompat & INCOMPAT_64BIT != 0 {
            12
        } else {
            8
        };
        wide + if incompat & INCOMPAT_CSUM_V2 != 0 {
            2
        } else {
            0
        }
    }

    fn tail_size(&self) -> usize {
        if self.has_csum() { 4 } else { 0 }
    }

    fn tags_per_block(&self) -> usize {
        (self.block_size - 12 - 16 - self.tail_size()) / Self::tag_size(self.incompat())
    }

    fn revokes_per_block(&self) -> usize {
        let width = if self.incompat() & INCOMPAT_64BIT != 0 {
            8
        } else {
            4
        };
        (self.block_size - 16 - self.tail_size()) / width
    }

    /// Log blocks that a transaction takes.
    pub fn blocks_for(&self, blocks: usize, revokes: usize) -> u32 {
        (blocks
            + blocks.div_ceil(self.tags_per_block())
            + revokes.div_ceil(self.revokes_per_block())
            + 1) as u32
    }

    fn offset(&self, log_block: u32) -> Result<u64> {
        let p = self.map.get(log_block as usize).ok_or(super::EBADJOURNAL)?;
        Ok(p * self.block_size as u64)
    }

    fn advance(&self, block: u32) -> u32 {
        if block + 1 >= self.last {
            self.first
        } else {
            block + 1
        }
    }

    fn header(&self, kind: u32, tid: u32) -> Vec<u8> {
        let mut b = vec![0; self.block_size];
        put_be32(&mut b, 0, MAGIC);
        put_be32(&mut b, 4, kind);
        put_be32(&mut b, 8, tid);
        b
    }

    fn seal_tail(&self, b: &mut [u8]) {
        if self.has_csum() {
            let c = crc32c(self.csum_seed, b);
            let at = b.len() - 4;
            put_be32(b, at, c);
        }
    }

    /// Writes a transaction and makes it durable. On an error nothing counts as written.
    pub fn write_transaction(
        &mut self,
        dev: &dyn BlockDevice,
        tid: u32,
        blocks: &[(u64, Arc<Vec<u8>>)],
        revoked: &[u64],
        now: Timespec,
        barrier: bool,
    ) -> Result<()> {
        let need = self.blocks_for(blocks.len(), revoked.len());
        if need > self.free {
            return Err(crate::Errno::ENOSPC);
        }
        let mut out: Vec<Arc<Vec<u8>>> = Vec::with_capacity(need as usize);
        for group in blocks.chunks(self.tags_per_block()) {
            self.describe(tid, group, &mut out);
        }
        for group in revoked.chunks(self.revokes_per_block()) {
            out.push(Arc::new(self.revoke_block(tid, group)));
        }
        let mut at = self.head;
        let mut pieces: Vec<(u64, &[u8])> = Vec::with_capacity(out.len());
        for b in &out {
            pieces.push((self.offset(at)?, &b[..]));
            at = self.advance(at);
        }
        for part in pieces.chunks(1024) {
            dev.write_many(part)?;
        }
        let commit = self.commit_block(tid, now);
        let flags = WriteFlags {
            preflush: barrier,
            fua: barrier,
        };
        dev.write(self.offset(at)?, &commit, flags)?;
        self.head = self.advance(at);
        self.free -= need;
        self.next_tid = tid.wrapping_add(1).max(1);
        Ok(())
    }

    /// One descriptor block and the blocks it describes, as they go to the log.
    fn describe(&self, tid: u32, group: &[(u64, Arc<Vec<u8>>)], out: &mut Vec<Arc<Vec<u8>>>) {
        let incompat = self.incompat();
        let v3 = incompat & INCOMPAT_CSUM_V3 != 0;
        let v2 = incompat & INCOMPAT_CSUM_V2 != 0;
        let mut d = self.header(BT_DESCRIPTOR, tid);
        let at_descriptor = out.len();
        out.push(Arc::new(Vec::new()));
        let mut off = 12;
        for (i, (block, data)) in group.iter().enumerate() {
            let mut flags = if i == 0 { 0 } else { TAG_SAME_UUID };
            if i + 1 == group.len() {
                flags |= TAG_LAST;
            }
            let logged = if be32(data, 0) == MAGIC {
                // A block that looks like one of ours would stop recovery: hide its first word.
                flags |= TAG_ESCAPE;
                let mut copy = data.to_vec();
                put_be32(&mut copy, 0, 0);
                Arc::new(copy)
            } else {
                data.clone()
            };
            let csum = if v2 || v3 {
                crc32c(crc32c(self.csum_seed, &tid.to_be_bytes()), &logged)
            } else {
                0
            };
            put_be32(&mut d, off, lo32(*block));
            if v3 {
                put_be32(&mut d, off + 4, flags);
                put_be32(&mut d, off + 8, hi32(*block));
                put_be32(&mut d, off + 12, csum);
            } else {
                put(&mut d, off + 4, &lo16(csum).to_be_bytes());
                put(&mut d, off + 6, &lo16(flags).to_be_bytes());
                if incompat & INCOMPAT_64BIT != 0 {
                    put_be32(&mut d, off + 8, hi32(*block));
                }
            }
            off += Self::tag_size(incompat);
            if i == 0 {
                put(&mut d, off, &self.sb[jsb::UUID..jsb::UUID + 16]);
                off += 16;
            }
            out.push(logged);
        }
        self.seal_tail(&mut d);
        out[at_descriptor] = Arc::new(d);
    }

    fn revoke_block(&self, tid: u32, revoked: &[u64]) -> Vec<u8> {
        let mut b = self.header(BT_REVOKE, tid);
        let wide = self.incompat() & INCOMPAT_64BIT != 0;
        let mut off = 16;
        for &r in revoked {
            if wide {
                put(&mut b, off, &r.to_be_bytes());
                off += 8;
            } else {
                put_be32(&mut b, off, lo32(r));
                off += 4;
            }
        }
        put_be32(&mut b, 12, off as u32);
        self.seal_tail(&mut b);
        b
    }

    fn commit_block(&self, tid: u32, now: Timespec) -> Vec<u8> {
        let mut b = self.header(BT_COMMIT, tid);
        put(&mut b, 0x30, &now.sec.to_be_bytes());
        put_be32(&mut b, 0x38, now.nsec);
        if self.has_csum() {
            let c = crc32c(self.csum_seed, &b);
            put_be32(&mut b, 0x10, c);
        }
        b
    }

    /// Everything in the log is at its place now.
    pub fn reset_tail(&mut self) {
        self.tail = self.head;
        self.tail_tid = self.next_tid;
        self.free = self.capacity();
    }

    /// Writes the superblock: recovery starts at the tail.
    pub fn write_tail(&mut self, dev: &dyn BlockDevice) -> Result<()> {
        put_be32(&mut self.sb, jsb::START, self.tail);
        put_be32(&mut self.sb, jsb::SEQUENCE, self.tail_tid);
        self.write_super(dev)
    }

    /// Writes the superblock: nothing to recover.
    pub fn write_clean(&mut self, dev: &dyn BlockDevice) -> Result<()> {
        put_be32(&mut self.sb, jsb::START, 0);
        put_be32(&mut self.sb, jsb::SEQUENCE, self.next_tid);
        self.write_super(dev)
    }

    /// Sets the features that new transactions are written with; the log must be empty.
    pub fn set_features(&mut self, wide: bool, csum: bool) {
        let mut f = self.incompat() & !(INCOMPAT_ASYNC | INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3);
        f |= INCOMPAT_REVOKE;
        if wide {
            f |= INCOMPAT_64BIT;
        }
        let compat = be32(&self.sb, jsb::COMPAT) & !COMPAT_CHECKSUM;
        put_be32(&mut self.sb, jsb::COMPAT, compat);
        if csum {
            f |= INCOMPAT_CSUM_V3;
            self.sb[jsb::CHECKSUM_TYPE] = 4;
        }
        put_be32(&mut self.sb, jsb::INCOMPAT, f);
    }

    fn write_super(&mut self, dev: &dyn BlockDevice) -> Result<()> {
        if self.has_csum() {
            put_be32(&mut self.sb, jsb::CHECKSUM, 0);
            let c = crc32c(!0, &self.sb);
            put_be32(&mut self.sb, jsb::CHECKSUM, c);
        }
        // The superblock fills its block: what follows its 1024 bytes is zero.
        let mut block = self.sb.clone();
        block.resize(self.block_size, 0);
        dev.write(
            self.offset(0)?,
            &block,
            WriteFlags {
                preflush: true,
                fua: true,
            },
        )
    }
}
