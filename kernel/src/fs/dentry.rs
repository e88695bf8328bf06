//! Dentries: names in directories, cached, with the inode they mean or the fact that there is none.
//!
//! A directory's dentry holds its children strongly; a child holds its parent. Unused children go under memory
//! pressure ([`shrink`]). Changes of `children` happen with the directory's `rwsem` held (shared to add what a
//! lookup found, exclusive to create, remove, rename); the spin locks here only protect the structures.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use hashbrown::HashMap;

use super::Inode;
use crate::prelude::*;

type Name = Arc<[u8]>;

/// A name in a directory.
pub struct Dentry {
    name: RwSpinLock<Name>,
    parent: RwSpinLock<Option<Arc<Dentry>>>,
    inode: RwSpinLock<Option<Arc<Inode>>>,
    children: RwSpinLock<HashMap<Name, Arc<Dentry>>>,
    /// How many mounts are on it, in any namespace.
    pub(super) mounted: AtomicU32,
    unlinked: AtomicBool,
    /// Looked up since the last pass of [`shrink`].
    referenced: AtomicBool,
}

impl Dentry {
    fn new(name: &[u8], parent: Option<Arc<Dentry>>, inode: Option<Arc<Inode>>) -> Arc<Self> {
        Arc::new(Self {
            name: RwSpinLock::new(Arc::from(name)),
            parent: RwSpinLock::new(parent),
            inode: RwSpinLock::new(inode),
            children: RwSpinLock::new(HashMap::new()),
            mounted: AtomicU32::new(0),
            unlinked: AtomicBool::new(false),
            referenced: AtomicBool::new(true),
        })
    }

    /// The root of a file system.
    pub fn root(inode: Arc<Inode>) -> Arc<Self> {
        Self::new(b"/", None, Some(inode))
    }

    /// A dentry in no directory: pipes, sockets, memfds and their kind.
    pub fn disconnected(name: &[u8], inode: Arc<Inode>) -> Arc<Self> {
        Self::new(name, None, Some(inode))
    }

    /// An unnamed file (O_TMPFILE): it has a place but no name there.
    pub fn unnamed(parent: &Arc<Dentry>, inode: Arc<Inode>) -> Arc<Self> {
        let name = format!("#{}", inode.ino);
        let dentry = Self::new(name.as_bytes(), Some(parent.clone()), Some(inode));
        dentry.unlinked.store(true, Ordering::Relaxed);
        dentry
    }

    /// Its name.
    pub fn name(&self) -> Name {
        self.name.read().clone()
    }

    /// The directory it is in; `None` for a root.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.parent.read().clone()
    }

    /// What it means; `None` if there is no such file.
    pub fn inode(&self) -> Option<Arc<Inode>> {
        self.inode.read().clone()
    }

    /// Whether there is no such file.
    pub fn is_negative(&self) -> bool {
        self.inode.read().is_none()
    }

    /// Whether its name has been removed while it was in use.
    pub fn is_unlinked(&self) -> bool {
        self.unlinked.load(Ordering::Relaxed)
    }

    /// Whether anything is mounted on it, in any namespace.
    pub fn is_mountpoint(&self) -> bool {
        self.mounted.load(Ordering::Acquire) > 0
    }

    /// The cached child of this name.
    pub fn cached_child(&self, name: &[u8]) -> Option<Arc<Dentry>> {
        let child = self.children.read().get(name).cloned()?;
        if !child.referenced.load(Ordering::Relaxed) {
            child.referenced.store(true, Ordering::Relaxed);
        }
        Some(child)
    }

    /// Notes what a lookup found; gives the dentry that is cached now, which may be another's.
    pub fn add_child(self: &Arc<Self>, name: &[u8], inode: Option<Arc<Inode>>) -> Arc<Dentry> {
        let fresh = Self::new(name, Some(self.clone()), inode);
        let mut children = self.children.write();
        children.entry(fresh.name()).or_insert(fresh).clone()
    }

    /// A file was made under this name: a negative dentry becomes positive.
    pub fn instantiate(&self, inode: Arc<Inode>) {
        *self.inode.write() = Some(inode);
        self.unlinked.store(false, Ordering::Relaxed);
    }

    /// The name was removed: users of the dentry keep it, the next lookup finds nothing cached.
    pub fn unlink(self: &Arc<Self>) {
        self.unlinked.store(true, Ordering::Relaxed);
        self.forget();
    }

    /// Takes it out of its directory's cache.
    pub fn forget(self: &Arc<Self>) {
        let Some(parent) = self.parent() else { return };
        let mut children = parent.children.write();
        let name = self.name();
        if children
            .get(&name)
            .is_some_and(|cached| Arc::ptr_eq(cached, self))
        {
            let gone = children.remove(&name);
            drop(children);
            drop(gone);
        }
    }

    /// Gives it another place, replacing what was cached there. Both directories are locked.
    pub fn move_to(self: &Arc<Self>, new_parent: &Arc<Dentry>, new_name: &[u8]) {
        self.forget();
        let name: Name = Arc::from(new_name);
        *self.name.write() = name.clone();
        let old = self.parent.write().replace(new_parent.clone());
        let replaced = new_parent.children.write().insert(name, self.clone());
        drop(replaced);
        drop(old);
    }

    /// Exchanges the places of two dentries (RENAME_EXCHANGE).
    pub fn exchange(self: &Arc<Self>, other: &Arc<Dentry>) {
        let (Some(here), Some(there)) = (self.parent(), other.parent()) else {
            return;
        };
        let (my_name, other_name) = (self.name(), other.name());
        self.forget();
        other.forget();
        self.move_to(&there, &other_name);
        other.move_to(&here, &my_name);
    }

    /// Whether `self` is `other` or lies below it.
    pub fn is_below(self: &Arc<Self>, other: &Arc<Dentry>) -> bool {
        let mut at = Some(self.clone());
        while let Some(dentry) = at {
            if Arc::ptr_eq(&dentry, other) {
                return true;
            }
            at = dentry.parent();
        }
        false
    }

    /// All cached children.
    pub fn children(&self) -> Vec<Arc<Dentry>> {
        self.children.read().values().cloned().collect()
    }

    /// Drops cached children that nobody uses and that were not looked up since the last call; how many.
    pub fn shrink(self: &Arc<Self>) -> usize {
        let mut freed = 0;
        let mut pending = vec![self.clone()];
        let mut order = Vec::new();
        while let Some(dentry) = pending.pop() {
            pending.extend(dentry.children());
            order.push(dentry);
        }
        // Deepest first, so that emptied directories can go too.
        while let Some(dentry) = order.pop() {
            let mut gone = Vec::new();
            dentry.children.write().retain(|_, child| {
                let idle = Arc::strong_count(child) == 1
                    && child.children.read().is_empty()
                    && !child.is_mountpoint();
                let keep = !idle || child.referenced.swap(false, Ordering::Relaxed);
                if !keep {
                    gone.push(child.clone());
                }
                keep
            });
            freed += gone.len();
        }
        freed
    }

    /// Drops every cached name below (unmount).
    pub fn drop_children(self: &Arc<Self>) {
        let mut pending = vec![self.clone()];
        while let Some(dentry) = pending.pop() {
            let children = core::mem::take(&mut *dentry.children.write());
            pending.extend(children.into_values());
        }
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        if let Some(inode) = self.inode.get_mut() {
            super::notify::name_dropped(inode);
        }
        // A long chain of removed directories goes in a loop rather than by recursion.
        let mut parent = self.parent.get_mut().take();
        while let Some(mut last) = parent.and_then(Arc::into_inner) {
            parent = last.parent.get_mut().take();
        }
    }
}
