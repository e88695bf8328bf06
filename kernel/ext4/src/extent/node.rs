//! The bytes of one node: header and entries.
//!
//! A node is a header of 12 bytes (magic, entries, capacity, depth, generation), then entries of 12 bytes each: extents
//! in leaves (depth 0), keys with child blocks above. Entries are sorted by key.

use crate::bytes::{hi32, le16, le32, lo16, lo32, put16, put32};

const MAGIC: u16 = 0xf30a;
pub(super) const ENTRY: usize = 12;
pub(super) const MAX_DEPTH: u16 = 5;

pub(super) fn entries(n: &[u8]) -> usize {
    usize::from(le16(n, 2))
}

pub(super) fn capacity(n: &[u8]) -> usize {
    usize::from(le16(n, 4))
}

pub(super) fn depth(n: &[u8]) -> u16 {
    le16(n, 6)
}

pub(super) fn set_entries(n: &mut [u8], v: usize) {
    put16(n, 2, v as u16);
}

pub(super) fn entry(n: &[u8], i: usize) -> &[u8] {
    n.get(ENTRY * (i + 1)..ENTRY * (i + 2))
        .unwrap_or(&[0; ENTRY])
}

pub(super) fn put_entry(n: &mut [u8], i: usize, e: &[u8; ENTRY]) {
    crate::bytes::put(n, ENTRY * (i + 1), e);
}

pub(super) fn key(n: &[u8], i: usize) -> u32 {
    le32(entry(n, i), 0)
}

pub(super) fn child(n: &[u8], i: usize) -> u64 {
    let e = entry(n, i);
    u64::from(le16(e, 8)) << 32 | u64::from(le32(e, 4))
}

pub(super) fn index_entry(key: u32, block: u64) -> [u8; ENTRY] {
    let mut e = [0; ENTRY];
    put32(&mut e, 0, key);
    put32(&mut e, 4, lo32(block));
    put16(&mut e, 8, lo16(hi32(block)));
    e
}

/// The last entry with a key up to `lblk`.
pub(super) fn position(n: &[u8], lblk: u32) -> Option<usize> {
    let (mut lo, mut hi) = (0, entries(n));
    while lo < hi {
        let mid = usize::midpoint(lo, hi);
        if key(n, mid) <= lblk {
            lo = mid + 1
        } else {
            hi = mid
        }
    }
    lo.checked_sub(1)
}

pub(super) fn insert_entry(n: &mut [u8], at: usize, e: &[u8; ENTRY]) {
    let count = entries(n);
    let from = ENTRY * (at + 1);
    let to = ENTRY * (count + 1);
    if from <= to && to + ENTRY <= n.len() {
        n.copy_within(from..to, from + ENTRY);
        put_entry(n, at, e);
        set_entries(n, count + 1);
    }
}

pub(super) fn remove_entry(n: &mut [u8], at: usize) {
    let count = entries(n);
    let end = ENTRY * (count + 1);
    if at < count && end <= n.len() {
        n.copy_within(ENTRY * (at + 2)..end, ENTRY * (at + 1));
        n[end - ENTRY..end].fill(0);
        set_entries(n, count - 1);
    }
}

pub(super) fn init_node(n: &mut [u8], max: usize, depth: u16) {
    put16(n, 0, MAGIC);
    put16(n, 2, 0);
    put16(n, 4, max as u16);
    put16(n, 6, depth);
    put32(n, 8, 0);
}

pub(super) fn valid_node(n: &[u8], want_depth: Option<u16>) -> bool {
    let fits = ENTRY * (capacity(n) + 1) <= n.len();
    le16(n, 0) == MAGIC
        && fits
        && capacity(n) > 0
        && entries(n) <= capacity(n)
        && want_depth.map_or(depth(n) <= MAX_DEPTH, |d| depth(n) == d)
        && (depth(n) == 0 || entries(n) > 0)
}
