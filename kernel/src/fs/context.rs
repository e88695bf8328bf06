//! Root, working directory and umask (`fs_struct`), shared by threads made with CLONE_FS.

use core::sync::atomic::{AtomicU32, Ordering};

use super::Path;
use super::mount::MountNamespace;
use crate::prelude::*;

/// Where a thread's paths start.
pub struct FsContext {
    root: RwSpinLock<Path>,
    cwd: RwSpinLock<Path>,
    umask: AtomicU32,
}

impl FsContext {
    /// Everything at a namespace's root; umask 022.
    pub fn at_root_of(namespace: &Arc<MountNamespace>) -> Arc<Self> {
        let root = namespace.root().root_path();
        Arc::new(Self {
            root: RwSpinLock::new(root.clone()),
            cwd: RwSpinLock::new(root),
            umask: AtomicU32::new(0o022),
        })
    }

    /// A copy of its own (fork).
    pub fn clone_context(&self) -> Arc<Self> {
        Arc::new(Self {
            root: RwSpinLock::new(self.root()),
            cwd: RwSpinLock::new(self.cwd()),
            umask: AtomicU32::new(self.umask()),
        })
    }

    /// The root directory.
    pub fn root(&self) -> Path {
        self.root.read().clone()
    }

    /// The working directory.
    pub fn cwd(&self) -> Path {
        self.cwd.read().clone()
    }

    /// Changes the root directory.
    pub fn set_root(&self, path: Path) {
        let old = core::mem::replace(&mut *self.root.write(), path);
        drop(old);
    }

    /// Changes the working directory.
    pub fn set_cwd(&self, path: Path) {
        let old = core::mem::replace(&mut *self.cwd.write(), path);
        drop(old);
    }

    /// Permission bits that new files do not get.
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// Sets the umask; gives the old one.
    pub fn set_umask(&self, mask: u32) -> u32 {
        self.umask.swap(mask & 0o777, Ordering::Relaxed)
    }

    /// Replaces root and working directory by what `to` says of them (new namespaces, pivot_root).
    pub fn translate(&self, to: impl Fn(&Path) -> Option<Path>) {
        if let Some(path) = to(&self.root()) {
            self.set_root(path);
        }
        if let Some(path) = to(&self.cwd()) {
            self.set_cwd(path);
        }
    }
}
