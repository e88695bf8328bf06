//! What all directories have in common when they are read.

use keel_abi::args::FileType;

use super::{DirSink, File};

/// Gives `.` and `..`, positions 0 and 1, and moves `pos` to 2. False when the sink is full.
pub fn emit_dots(file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> bool {
    if *pos == 0 {
        if !sink.entry(b".", file.inode.ino, FileType::Directory, 1) {
            return false;
        }
        *pos = 1;
    }
    if *pos == 1 {
        let parent = file.path.dentry.parent().and_then(|parent| parent.inode());
        let ino = parent.map_or(file.inode.ino, |inode| inode.ino);
        if !sink.entry(b"..", ino, FileType::Directory, 2) {
            return false;
        }
        *pos = 2;
    }
    true
}
