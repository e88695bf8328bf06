//! FAT12, FAT16 and FAT32 with long names (Microsoft's "FAT32 File System Specification", version 1.03).
//!
//! * [`Volume`]: a mounted file system over a [`Device`]; its files are [`NodeId`]s, loaded when they are looked up and
//!   kept until [`Volume::forget`]. A file that is deleted while it is loaded keeps its clusters until then.
//! * `boot`: the boot sector; `blocks`: the cache of everything that is not file contents; `table`: the FAT itself;
//!   `name`: long and short names; `dir`: directory entries; `volume`: operations.
//!
//! File contents are the caller's: [`Volume::map`] says where they are. Changes of the table and of directories stay in
//! memory until [`Volume::sync`]. The caller serialises calls.

#![no_std]

extern crate alloc;

mod blocks;
mod boot;
mod dir;
mod name;
mod table;
mod time;
mod volume;

pub use time::Time;
pub use volume::{Attr, Entry, NodeId, StatFs, Volume};

use keel_abi::Result;

/// What a file system lives on. Offsets and lengths are in bytes, multiples of 512.
pub trait Device: Send + Sync {
    /// Fills `buf` from `offset` on.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
    /// Writes `buf` at `offset`.
    fn write(&self, offset: u64, buf: &[u8]) -> Result<()>;
    /// Makes what has been written durable.
    fn flush(&self) -> Result<()>;
}

/// The number in `bytes` at `at`, little-endian; 0 beyond their end.
pub(crate) fn le16(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

/// As [`le16`].
pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from(le16(bytes, at)) | u32::from(le16(bytes, at + 2)) << 16
}
