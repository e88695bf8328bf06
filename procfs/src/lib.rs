//! What `/proc` looks like: its tree, and the text of its files.
//!
//! The crate owns names, modes, inode numbers, which entries exist, and every format; the kernel owns the
//! facts and hands them over through the traits of [`source`]. Text is what Linux 6.1 prints, byte for byte,
//! padding and trailing blanks included, since programs parse it by column.
//!
//! - [`Node`] is one inode: look up, list, stat, read the target of a link.
//! - [`Handle`] is one open file: read and write at an offset. Its text is produced when it is first read and
//!   again whenever it is read from offset zero, as `seq_file` does.
//! - [`Text`] is the growing buffer that formatters write to; running out of memory is an error, not a panic.
//!
//! Nothing here blocks, allocates without a way to fail on user-sized data, or knows about locks: a source
//! may hold its own locks while it calls back a visitor, and visitors only append to a buffer.
//!
//! Spec: proc(5) and the proc_* pages of man-pages 6.x.

#![no_std]

extern crate alloc;

pub mod bitmap;
mod entry;
mod handle;
pub mod net;
mod node;
pub mod source;
mod sysctl;
pub mod system;
pub mod task;
pub mod text;
mod tree;

pub use handle::Handle;
pub use keel_abi::{Errno, Result};
pub use node::{Attr, DirEntry, FileType, Magic, Node, Stream};
pub use source::*;
pub use text::Text;

/// Clock ticks per second in every file that counts in ticks (`sysconf(_SC_CLK_TCK)`).
pub const USER_HZ: u64 = 100;

/// Nanoseconds of one clock tick of [`USER_HZ`].
pub const NS_PER_TICK: u64 = 1_000_000_000 / USER_HZ;

/// Bytes of a page of memory.
pub const PAGE_SIZE: u64 = 4096;
