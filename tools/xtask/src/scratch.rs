//! Temporary folders that go away with their owner.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A private temporary folder, removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a new, empty folder.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("keel-{}-{number}", std::process::id()));
        if path.exists() {
            // Left behind by a process that had the same number and was killed.
            crate::cache::remove_tree(&path)?;
        }
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    /// Like [`Scratch::new`], in memory where the system has a place for that.
    pub fn in_memory() -> Result<Self> {
        let shared = Path::new("/dev/shm");
        if !shared.is_dir() {
            return Self::new();
        }
        let path = shared.join(format!("keel-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on its going; a failure leaves a file in the temporary folder.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
