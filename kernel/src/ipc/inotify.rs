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
