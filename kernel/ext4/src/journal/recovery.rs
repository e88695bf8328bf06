//! Recovery: what the log holds is brought to its places before anything else is read.
//!
//! Three passes as the format asks: *scan* finds the last transaction whose commit block is there and whose
//! checksums hold; *revoke* collects the blocks that later transactions freed; *replay* writes the rest.

use alloc::vec;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::log::*;
use super::{EBADJOURNAL, tid_le};
use crate::bytes::{be32, put, put_be32};
use crate::checksum::{crc32_be, crc32c};
use crate::{BlockDevice, Errno, Result};

/// What recovery found and did.
pub(crate) struct Recovered {
    /// The log, empty now; it still has to be written so ([`Log::write_clean`]).
    pub log: Log,
    /// Blocks written to their places.
    pub replayed: usize,
    /// Transactions redone.
    pub transactions: u32,
    /// The error an earlier mount recorded in the journal.
    pub errno: u32,
}

/// One block described by a descriptor.
struct Tag {
    block: u64,
    flags: u32,
    csum: u32,
}

struct Scanner<'a> {
    dev: &'a dyn BlockDevice,
    map: &'a [u64],
    block_size: usize,
    blocks_count: u64,
    incompat: u32,
    compat: u32,
    seed: u32,
    first: u32,
    last: u32,
}

/// What a log block turned out to be at its place in the sequence.
enum Found {
    Descriptor(Vec<Tag>),
    Revoke(Vec<u64>),
    Commit,
    End,
}

impl Scanner<'_> {
    fn read(&self, log_block: u32) -> Result<Vec<u8>> {
        let p = *self.map.get(log_block as usize).ok_or(EBADJOURNAL)?;
        let mut b = vec![0; self.block_size];
        self.dev.read(p * self.block_size as u64, &mut b)?;
        Ok(b)
    }

    fn advance(&self, at: u32) -> u32 {
        if at + 1 >= self.last {
            self.first
        } else {
            at + 1
        }
    }

    fn has_csum(&self) -> bool {
        self.incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3) != 0
    }

    fn tail_ok(&self, b: &mut [u8]) -> bool {
        if !self.has_csum() {
            return true;
        }
        let at = b.len() - 4;
        let stored = be32(b, at);
        put_be32(b, at, 0);
        let ok = crc32c(self.seed, b) == stored;
        put_be32(b, at, stored);
        ok
    }

    /// Reads the block at `at` and says what it is in transaction `tid`.
    fn classify(&self, at: u32, tid: u32) -> Result<(Found, Vec<u8>)> {
        let mut b = self.read(at)?;
        if be32(&b, 0) != MAGIC || be32(&b, 8) != tid {
            return Ok((Found::End, b));
        }
        let found = match be32(&b, 4) {
            BT_DESCRIPTOR if self.tail_ok(&mut b) => Found::Descriptor(self.tags(&b)),
            BT_REVOKE if self.tail_ok(&mut b) => Found::Revoke(self.revokes(&b)),
            BT_COMMIT if self.commit_ok(&mut b) => Found::Commit,
            _ => Found::End,
        };
        Ok((found, b))
    }

    fn commit_ok(&self, b: &mut [u8]) -> bool {
        if !self.has_csum() {
            return true;
        }
        let stored = be32(b, 0x10);
        put_be32(b, 0x10, 0);
        let ok = crc32c(self.seed, b) == stored;
        put_be32(b, 0x10, stored);
        ok
    }

    fn tags(&self, b: &[u8]) -> Vec<Tag> {
        let size = Log::tag_size(self.incompat);
        let end = b.len() - if self.has_csum() { 4 } else { 0 };
        let wide = self.incompat & INCOMPAT_64BIT != 0;
        let mut off = 12;
        let mut tags = Vec::new();
        while off + size <= end {
            let low = u64::from(be32(b, off));
            let (flags, csum, high) = if self.incompat & INCOMPAT_CSUM_V3 != 0 {
                let high = if wide { be32(b, off + 8) } else { 0 };
                (be32(b, off + 4), be32(b, off + 12), high)
            } else {
                let word = be32(b, off + 4);
                (
                    word & 0xffff,
                    word >> 16,
                    if wide { be32(b, off + 8) } else { 0 },
                )
            };
            tags.push(Tag {
                block: low | u64::from(high) << 32,
                flags,
                csum,
            });
            off += size;
            if flags & TAG_SAME_UUID == 0 {
                off += 16;
            }
            if flags & TAG_LAST != 0 {
                break;
            }
        }
        tags
    }

    fn revokes(&self, b: &[u8]) -> Vec<u64> {
        let width = if self.incompat & INCOMPAT_64BIT != 0 {
            8
        } else {
            4
        };
        let end = (be32(b, 12) as usize).min(b.len());
        let mut out = Vec::new();
        let mut off = 16;
        while off + width <= end {
            out.push(if width == 8 {
                u64::from(be32(b, off)) << 32 | u64::from(be32(b, off + 4))
            } else {
                u64::from(be32(b, off))
            });
            off += width;
        }
        out
    }

    fn data_ok(&self, tag: &Tag, tid: u32, data: &[u8]) -> bool {
        if !self.has_csum() {
            return true;
        }
        let c = crc32c(crc32c(self.seed, &tid.to_be_bytes()), data);
        if self.incompat & INCOMPAT_CSUM_V3 != 0 {
            c == tag.csum
        } else {
            c & 0xffff == tag.csum
        }
    }

    /// Finds the id after the last complete transaction and the log block after it.
    fn scan(&self, start: u32, first_tid: u32) -> Result<u32> {
        let mut at = start;
        let mut tid = first_tid;
        let mut seen = 0u32;
        let mut crc = !0u32;
        let with_crc = self.compat & COMPAT_CHECKSUM != 0;
        while seen < self.last - self.first {
            let (found, raw) = self.classify(at, tid)?;
            at = self.advance(at);
            seen += 1;
            match found {
                Found::Descriptor(tags) => {
                    crc = crc32_be(crc, &raw);
                    for tag in &tags {
                        if with_crc || self.has_csum() {
                            let data = self.read(at)?;
                            crc = crc32_be(crc, &data);
                            if !self.data_ok(tag, tid, &data) {
                                // The transaction never finished reaching the disk.
                                return Ok(tid);
                            }
                        }
                        at = self.advance(at);
                        seen += 1;
                    }
                }
                Found::Revoke(_) => {}
                Found::Commit => {
                    let stored = be32(&raw, 0x10);
                    let typed = raw.get(0xc) == Some(&1) && raw.get(0xd) == Some(&4);
                    if with_crc && typed && stored != crc {
                        return Ok(tid);
                    }
                    crc = !0;
                    tid = tid.wrapping_add(1);
                }
                Found::End => return Ok(tid),
            }
        }
        Ok(tid)
    }

    /// The last transaction that revoked each block.
    fn collect_revokes(&self, start: u32, first_tid: u32, end: u32) -> Result<HashMap<u64, u32>> {
        let mut revoked = HashMap::new();
        self.walk(start, first_tid, end, |tid, found, _| {
            if let Found::Revoke(blocks) = found {
                for b in blocks {
                    revoked.insert(*b, tid);
                }
            }
            Ok(())
        })?;
        Ok(revoked)
    }

    /// Visits every structure block of the transactions `first_tid..end` with its log position.
    fn walk(
        &self,
        start: u32,
        first_tid: u32,
        end: u32,
        mut visit: impl FnMut(u32, &Found, u32) -> Result<()>,
    ) -> Result<()> {
        let mut at = start;
        let mut tid = first_tid;
        let mut seen = 0u32;
        while tid != end && seen <= self.last - self.first {
            let (found, _) = self.classify(at, tid)?;
            visit(tid, &found, at)?;
            at = self.advance(at);
            seen += 1;
            match &found {
                Found::Descriptor(tags) => {
                    for _ in tags {
                        at = self.advance(at);
                        seen += 1;
                    }
                }
                Found::Commit => tid = tid.wrapping_add(1),
                Found::Revoke(_) => {}
                Found::End => return Err(EBADJOURNAL),
            }
        }
        Ok(())
    }

    fn replay(&self, start: u32, first_tid: u32, end: u32) -> Result<usize> {
        let revoked = self.collect_revokes(start, first_tid, end)?;
        // Later transactions win; collect the last copy of each block, then write each once.
        let mut last: HashMap<u64, (u32, bool)> = HashMap::new();
        self.walk(start, first_tid, end, |tid, found, at| {
            let Found::Descriptor(tags) = found else {
                return Ok(());
            };
            let mut pos = at;
            for tag in tags {
                pos = self.advance(pos);
                let dropped = revoked.get(&tag.block).is_some_and(|&r| tid_le(tid, r));
                if dropped || tag.flags & TAG_DELETED != 0 {
                    continue;
                }
                if tag.block >= self.blocks_count {
                    return Err(EBADJOURNAL);
                }
                last.insert(tag.block, (pos, tag.flags & TAG_ESCAPE != 0));
            }
            Ok(())
        })?;
        let mut order: Vec<(u64, u32, bool)> = last
            .into_iter()
            .map(|(b, (pos, esc))| (b, pos, esc))
            .collect();
        order.sort_unstable();
        for part in order.chunks(256) {
            let mut data = Vec::with_capacity(part.len());
            for &(_, pos, escaped) in part {
                let mut b = self.read(pos)?;
                if escaped {
                    put(&mut b, 0, &MAGIC.to_be_bytes());
                }
                data.push(b);
            }
            let pieces: Vec<(u64, &[u8])> = part
                .iter()
                .zip(&data)
                .map(|(&(b, ..), d)| (b * self.block_size as u64, d.as_slice()))
                .collect();
            self.dev.write_many(&pieces)?;
        }
        Ok(order.len())
    }

    /// Whether the fast-commit area holds something newer than the last full commit.
    fn fast_commits(&self, maxlen: u32, tid: u32) -> Result<bool> {
        if self.incompat & INCOMPAT_FAST_COMMIT == 0 || self.last >= maxlen {
            return Ok(false);
        }
        // In use, the area starts with a HEAD tag (9): tag and length, then features and transaction id.
        let b = self.read(self.last)?;
        let tag = crate::bytes::le16(&b, 0);
        let head_tid = crate::bytes::le32(&b, 8);
        Ok(tag == 9 && head_tid == tid)
    }
}

/// Opens the journal whose blocks are `map` and, if `replay`, redoes what it holds.
///
/// `EUCLEAN`: the journal is damaged; `EOPNOTSUPP`: it uses something unknown.
pub(crate) fn recover(
    dev: &dyn BlockDevice,
    map: Vec<u64>,
    block_size: usize,
    blocks_count: u64,
    replay: bool,
) -> Result<Recovered> {
    let first_block = *map.first().ok_or(EBADJOURNAL)?;
    let mut block = vec![0; block_size];
    dev.read(first_block * block_size as u64, &mut block)?;
    let mut sb = block[..jsb::SIZE].to_vec();
    let kind = be32(&sb, 4);
    if be32(&sb, 0) != MAGIC || (kind != BT_SUPER_V1 && kind != BT_SUPER_V2) {
        return Err(EBADJOURNAL);
    }
    let (compat, incompat) = if kind == BT_SUPER_V2 {
        (be32(&sb, jsb::COMPAT), be32(&sb, jsb::INCOMPAT))
    } else {
        (0, 0)
    };
    if incompat & !INCOMPAT_KNOWN != 0 || (kind == BT_SUPER_V2 && be32(&sb, jsb::RO_COMPAT) != 0) {
        return Err(Errno::EOPNOTSUPP);
    }
    if incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3) != 0 && !super_csum_ok(&mut sb) {
        return Err(EBADJOURNAL);
    }
    let maxlen = be32(&sb, jsb::MAXLEN);
    let first = be32(&sb, jsb::FIRST);
    let fast = if incompat & INCOMPAT_FAST_COMMIT != 0 {
        match be32(&sb, jsb::NUM_FC_BLOCKS) {
            0 => 256,
            n => n,
        }
    } else {
        0
    };
    let last = maxlen.saturating_sub(fast);
    if be32(&sb, jsb::BLOCKSIZE) as usize != block_size
        || maxlen as usize > map.len()
        || first == 0
        || last <= first.saturating_add(32)
    {
        return Err(EBADJOURNAL);
    }
    let start = be32(&sb, jsb::START);
    let first_tid = be32(&sb, jsb::SEQUENCE);
    let errno = be32(&sb, jsb::ERRNO);
    let seed = crc32c(!0, &sb[jsb::UUID..jsb::UUID + 16]);
    let s = Scanner {
        dev,
        map: &map,
        block_size,
        blocks_count,
        incompat,
        compat,
        seed,
        first,
        last,
    };
    let mut next = first_tid;
    let mut replayed = 0;
    if start != 0 && replay {
        if start < first || start >= last {
            return Err(EBADJOURNAL);
        }
        next = s.scan(start, first_tid)?;
        if s.fast_commits(maxlen, next)? {
            return Err(Errno::EOPNOTSUPP);
        }
        replayed = s.replay(start, first_tid, next)?;
        dev.flush()?;
    }
    let transactions = next.wrapping_sub(first_tid);
    if kind == BT_SUPER_V1 {
        put_be32(&mut sb, 4, BT_SUPER_V2);
        for off in (jsb::COMPAT..jsb::SIZE).step_by(4) {
            put_be32(&mut sb, off, 0);
        }
    }
    // An id of its own for what follows, so that remains of a torn transaction cannot be taken for it.
    let next = if start != 0 {
        next.wrapping_add(1)
    } else {
        next
    }
    .max(1);
    let log = Log::new(map, sb, block_size, last, next);
    Ok(Recovered {
        log,
        replayed,
        transactions,
        errno,
    })
}

fn super_csum_ok(sb: &mut [u8]) -> bool {
    let stored = be32(sb, jsb::CHECKSUM);
    put_be32(sb, jsb::CHECKSUM, 0);
    let ok = crc32c(!0, sb) == stored;
    put_be32(sb, jsb::CHECKSUM, stored);
    ok
}
