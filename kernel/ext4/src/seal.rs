//! Checksums of metadata blocks: verified when a block is read, stored when its transaction commits.
//!
//! A block's [`Kind`] says where its checksum is. Bitmaps have theirs in the group descriptor
//! (see `group.rs`), inodes each their own (see `inode.rs`).

use crate::bytes::{le16, le32, put32};
use crate::checksum::crc32c;
use crate::superblock::Super;

/// What a metadata block holds, as far as its checksum is concerned. `seed` is the checksum seed of the
/// inode that owns the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No checksum inside the block.
    Plain,
    /// Directory entries with a tail.
    DirLeaf { seed: u32 },
    /// A node of a hashed directory's index, the root included.
    DxNode { seed: u32 },
    /// Either of the two; told apart by the content.
    DirAny { seed: u32 },
    /// A node of an extent tree.
    Extent { seed: u32 },
    /// Extended attributes.
    Xattr,
    /// The superblock.
    Super,
    /// A block of the orphan file.
    OrphanFile { seed: u32 },
}

/// The checksum seed of an inode.
pub(crate) fn inode_seed(sb: &Super, ino: u32, generation: u32) -> u32 {
    crc32c(
        crc32c(sb.csum_seed, &ino.to_le_bytes()),
        &generation.to_le_bytes(),
    )
}

/// Where the count/limit pair of an index block is, if it looks like one.
pub(crate) fn dx_offset(data: &[u8]) -> Option<usize> {
    let bs = data.len();
    if usize::from(le16(data, 4)) == bs && le32(data, 0) == 0 && data.get(6) == Some(&0) {
        return Some(8);
    }
    let root = usize::from(le16(data, 4)) == 12
        && usize::from(le16(data, 16)) == bs - 12
        && le32(data, 24) == 0
        && data.get(29) == Some(&8);
    root.then_some(32)
}

fn dx_csum(seed: u32, data: &[u8]) -> Option<(usize, u32)> {
    let off = dx_offset(data)?;
    let limit = usize::from(le16(data, off));
    let count = usize::from(le16(data, off + 2));
    let tail = off + limit * 8;
    if count > limit || tail + 8 > data.len() {
        return None;
    }
    let mut c = crc32c(seed, &data[..off + count * 8]);
    c = crc32c(c, &data[tail..tail + 4]);
    Some((tail + 4, crc32c(c, &[0; 4])))
}

/// Whether the block ends in a checksum tail.
fn has_dir_tail(data: &[u8]) -> bool {
    let Some(t) = data.len().checked_sub(12) else {
        return false;
    };
    le32(data, t) == 0 && le16(data, t + 4) == 12 && le16(data, t + 6) == 0xde00
}

fn leaf_csum(seed: u32, data: &[u8]) -> Option<(usize, u32)> {
    if !has_dir_tail(data) {
        return None;
    }
    let t = data.len() - 12;
    Some((t + 8, crc32c(seed, &data[..t])))
}

fn xattr_csum(sb: &Super, block: u64, data: &[u8]) -> Option<(usize, u32)> {
    let mut c = crc32c(sb.csum_seed, &block.to_le_bytes());
    c = crc32c(c, data.get(..16)?);
    c = crc32c(c, &[0; 4]);
    Some((16, crc32c(c, data.get(20..)?)))
}

/// Position and value of the checksum the block should have; `None` if it has no room for one.
fn expected(sb: &Super, kind: Kind, block: u64, data: &[u8]) -> Option<(usize, u32)> {
    match kind {
        Kind::Plain => None,
        Kind::DirLeaf { seed } => leaf_csum(seed, data),
        Kind::DxNode { seed } => dx_csum(seed, data),
        // Only verified, never sealed; see `verify`.
        Kind::DirAny { seed } => dx_csum(seed, data).or_else(|| leaf_csum(seed, data)),
        Kind::Extent { seed } => {
            let max = usize::from(le16(data, 4));
            let off = 12 + 12 * max;
            Some((
                off,
                crc32c(seed, data.get(..off).filter(|_| off + 4 <= data.len())?),
            ))
        }
        Kind::Xattr => xattr_csum(sb, block, data),
        Kind::Super => {
            let start = sb.location().1;
            let raw = data.get(start..start + 1020)?;
            Some((start + 1020, crc32c(!0, raw)))
        }
        Kind::OrphanFile { seed } => {
            let off = data.len().checked_sub(8)?;
            let c = crc32c(seed, &block.to_le_bytes());
            Some((off + 4, crc32c(c, &data[..off])))
        }
    }
}

/// Whether the block's checksum is right (or none is due).
pub(crate) fn verify(sb: &Super, kind: Kind, block: u64, data: &[u8]) -> bool {
    if !sb.has_csum() || kind == Kind::Plain {
        return true;
    }
    let right = |e: Option<(usize, u32)>| e.is_some_and(|(off, c)| le32(data, off) == c);
    match kind {
        // A root made from a leaf may still show the leaf's tail, so the look of a block does not decide.
        Kind::DirAny { seed } => right(leaf_csum(seed, data)) || right(dx_csum(seed, data)),
        _ => right(expected(sb, kind, block, data)),
    }
}

/// Stores the block's checksum.
pub(crate) fn seal(sb: &Super, kind: Kind, block: u64, data: &mut [u8]) {
    if sb.has_csum()
        && let Some((off, c)) = expected(sb, kind, block, data)
    {
        put32(data, off, c);
    }
}
