//! Reading and writing little- and big-endian fields of on-disk structures.
//!
//! Offsets come from validated structures; a field that would lie outside the buffer reads as zero and is
//! not written, so damaged input can never panic.

/// Little-endian `u16` at `off`.
pub(crate) fn le16(b: &[u8], off: usize) -> u16 {
    match b.get(off..off.saturating_add(2)) {
        Some(&[a, b]) => u16::from_le_bytes([a, b]),
        _ => 0,
    }
}

/// Little-endian `u32` at `off`.
pub(crate) fn le32(b: &[u8], off: usize) -> u32 {
    match b.get(off..off.saturating_add(4)) {
        Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
        _ => 0,
    }
}

/// Big-endian `u32` at `off`.
pub(crate) fn be32(b: &[u8], off: usize) -> u32 {
    le32(b, off).swap_bytes()
}

/// Stores bytes at `off`.
pub(crate) fn put(b: &mut [u8], off: usize, v: &[u8]) {
    if let Some(dst) = b.get_mut(off..off.saturating_add(v.len())) {
        dst.copy_from_slice(v);
    }
}

/// Stores a little-endian `u16`.
pub(crate) fn put16(b: &mut [u8], off: usize, v: u16) {
    put(b, off, &v.to_le_bytes());
}

/// Stores a little-endian `u32`.
pub(crate) fn put32(b: &mut [u8], off: usize, v: u32) {
    put(b, off, &v.to_le_bytes());
}

/// Stores a big-endian `u32`.
pub(crate) fn put_be32(b: &mut [u8], off: usize, v: u32) {
    put(b, off, &v.to_be_bytes());
}

/// The low half of a 64-bit value.
pub(crate) fn lo32(v: u64) -> u32 {
    (v & 0xffff_ffff) as u32
}

/// The high half of a 64-bit value.
pub(crate) fn hi32(v: u64) -> u32 {
    (v >> 32) as u32
}

/// The low 16 bits.
pub(crate) fn lo16(v: u32) -> u16 {
    (v & 0xffff) as u16
}

/// Tests bit `i` of a little-endian bitmap; bits outside read as set.
pub(crate) fn bit_get(b: &[u8], i: usize) -> bool {
    b.get(i / 8).is_none_or(|v| v & (1 << (i % 8)) != 0)
}

/// Sets bit `i` of a bitmap.
pub(crate) fn bit_set(b: &mut [u8], i: usize) {
    if let Some(v) = b.get_mut(i / 8) {
        *v |= 1 << (i % 8);
    }
}

/// Clears bit `i` of a bitmap.
pub(crate) fn bit_clear(b: &mut [u8], i: usize) {
    if let Some(v) = b.get_mut(i / 8) {
        *v &= !(1 << (i % 8));
    }
}

/// First clear bit in `from..to`, if any.
pub(crate) fn bit_find_clear(b: &[u8], from: usize, to: usize) -> Option<usize> {
    let mut i = from;
    while i < to {
        if i.is_multiple_of(8) && b.get(i / 8) == Some(&0xff) {
            i += 8;
            continue;
        }
        if !bit_get(b, i) {
            return Some(i);
        }
        i += 1;
    }
    None
}
