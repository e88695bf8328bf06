//! Watching files and directories for changes (inotify(7)).

use crate::fs::{Dentry, File};
use crate::prelude::*;

/// The marks on one inode.
#[derive(Default)]
pub struct Watches {}

impl Watches {
    /// No marks.
    pub const fn new() -> Self {
        Self {}
    }
}

/// A name was made in a directory.
pub fn created(_dir: &Arc<Dentry>, _child: &Arc<Dentry>) {}

/// A file was opened.
pub fn opened(_file: &Arc<File>) {}

/// A file's contents changed.
pub fn modified(_dentry: &Arc<Dentry>) {}

/// A name was removed from a directory; `child` is what it meant.
pub fn deleted(_dir: &Arc<Dentry>, _child: &Arc<Dentry>) {}

/// A name moved: `child` has its new place already.
pub fn moved(_old_dir: &Arc<Dentry>, _old_name: &[u8], _child: &Arc<Dentry>) {}

/// Attributes of a file changed.
pub fn attributes(_dentry: &Arc<Dentry>) {}

/// A file was read.
pub fn accessed(_file: &File) {}

/// A file was written.
pub fn written(_file: &File) {}

/// The last descriptor of an open file description is gone.
pub fn closed(_file: &File) {}
