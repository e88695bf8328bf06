//! Mounts and mount namespaces (mount_namespaces(7)).
//!
//! A [`Mount`] shows (part of) a file system at a dentry of another mount. A [`MountNamespace`] holds all mounts of
//! a tree under one lock; a path walk asks it only at dentries that are mount points.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use hashbrown::HashMap;
use keel_abi::flags::MountFlags;

use super::superblock::Active;
use super::{Dentry, FsContext, Inode, SuperBlock};
use crate::prelude::*;

/// A dentry seen through a mount.
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The dentry.
    pub dentry: Arc<Dentry>,
}

impl Path {
    /// Whether both are the same place.
    pub fn same(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }

    /// What is there; ENOENT for a name without a file.
    pub fn inode(&self) -> Result<Arc<Inode>> {
        self.dentry.inode().ok_or(Errno::ENOENT)
    }

    /// Whether it is the root of its mount.
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, &self.mount.root)
    }
}

/// Where a mount is attached.
#[derive(Clone)]
struct Attachment {
    parent: Arc<Mount>,
    at: Arc<Dentry>,
}

/// Propagation of a mount (shared subtrees).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Propagation {
    /// Peer group it shares with; 0 for none.
    pub shared: u32,
    /// Peer group it receives from; 0 for none.
    pub master: u32,
    /// It cannot be bind mounted.
    pub unbindable: bool,
}

/// A file system, or a part of it, in the tree.
pub struct Mount {
    /// Its number in /proc/PID/mountinfo.
    pub id: u32,
    _active: Active,
    /// The file system.
    pub sb: Arc<SuperBlock>,
    /// What it shows as its root.
    pub root: Arc<Dentry>,
    /// What was given as source.
    pub source: Vec<u8>,
    flags: AtomicU64,
    attachment: RwSpinLock<Option<Attachment>>,
    namespace: RwSpinLock<Weak<MountNamespace>>,
    /// How its mounts propagate.
    pub propagation: SpinLock<Propagation>,
    /// umount2(2) with MNT_EXPIRE has been here; use takes the mark away.
    pub expiring: core::sync::atomic::AtomicBool,
    /// What fanotify watches through it.
    pub marks: super::notify::Marks,
}

static ALL: SpinLock<Vec<Weak<Mount>>> = SpinLock::new(Vec::new());

/// All mounts of all namespaces.
pub fn all_mounts() -> Vec<Arc<Mount>> {
    let mut all = ALL.lock();
    all.retain(|weak| weak.strong_count() > 0);
    all.iter().filter_map(Weak::upgrade).collect()
}

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

/// The flags that belong to a mount rather than to its file system.
pub const PER_MOUNT: MountFlags = MountFlags::RDONLY
    .union(MountFlags::NOSUID)
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NOATIME)
    .union(MountFlags::NODIRATIME)
    .union(MountFlags::RELATIME)
    .union(MountFlags::NOSYMFOLLOW);

impl Mount {
    /// A mount of `root`, attached nowhere.
    pub fn new(
        sb: &Arc<SuperBlock>,
        root: Arc<Dentry>,
        source: &[u8],
        flags: MountFlags,
    ) -> Arc<Self> {
        let mount = Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            _active: Active::new(sb),
            sb: sb.clone(),
            root,
            source: source.to_vec(),
            flags: AtomicU64::new((flags & PER_MOUNT).bits()),
            attachment: RwSpinLock::new(None),
            namespace: RwSpinLock::new(Weak::new()),
            propagation: SpinLock::new(Propagation::default()),
            expiring: core::sync::atomic::AtomicBool::new(false),
            marks: super::notify::Marks::new(),
        });
        ALL.lock().push(Arc::downgrade(&mount));
        mount
    }

    /// A mount of a file system's root. EBUSY for one that is being unmounted for good.
    pub fn of(sb: &Arc<SuperBlock>, source: &[u8], flags: MountFlags) -> Result<Arc<Self>> {
        let root = sb.make_root_dentry()?;
        Ok(Self::new(sb, root, source, flags))
    }

    /// Its number in statmount(2), which is never used again.
    pub fn unique_id(&self) -> u64 {
        /// The old numbers are smaller.
        const FIRST: u64 = 1 << 31;
        FIRST + u64::from(self.id)
    }

    /// Its own flags.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::Relaxed) as _)
    }

    /// Changes its own flags.
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags
            .store((flags & PER_MOUNT).bits(), Ordering::Relaxed);
    }

    /// Whether nothing may be written through it.
    pub fn is_read_only(&self) -> bool {
        self.flags().contains(MountFlags::RDONLY) || self.sb.is_read_only()
    }

    /// Whether programs may not be run from it.
    pub fn is_noexec(&self) -> bool {
        self.flags().contains(MountFlags::NOEXEC)
    }

    /// Whether set-id bits do not count.
    pub fn is_nosuid(&self) -> bool {
        self.flags().contains(MountFlags::NOSUID)
    }

    /// Whether device nodes cannot be opened.
    pub fn is_nodev(&self) -> bool {
        self.flags().contains(MountFlags::NODEV)
    }

    /// Where it is attached: the mount and the dentry below it; `None` for a namespace's root and for what is not
    /// attached.
    pub fn attached_at(&self) -> Option<Path> {
        self.attachment.read().as_ref().map(|a| Path {
            mount: a.parent.clone(),
            dentry: a.at.clone(),
        })
    }

    /// The namespace it is in.
    pub fn namespace(&self) -> Option<Arc<MountNamespace>> {
        self.namespace.read().upgrade()
    }

    /// Its root as a path.
    pub fn root_path(self: &Arc<Self>) -> Path {
        Path {
            mount: self.clone(),
            dentry: self.root.clone(),
        }
    }
}

/// Mounts by where they are: parent mount's number and dentry.
type ByPlace = HashMap<(u32, usize), Vec<Arc<Mount>>>;

#[derive(Default)]
struct Tree {
    by_place: ByPlace,
    /// In order of mounting.
    all: Vec<Arc<Mount>>,
}

/// A tree of mounts.
pub struct MountNamespace {
    tree: RwSpinLock<Tree>,
    root: RwSpinLock<Option<Arc<Mount>>>,
    /// Its inode number under /proc/PID/ns.
    pub id: u64,
    /// Woken when a mount comes or goes (poll of /proc/mounts).
    pub changed: Arc<WaitQueue>,
    /// Counts changes.
    pub generation: AtomicU64,
    /// It only holds a tree that is attached nowhere (fsmount(2), open_tree(2)).
    pub(super) detached: core::sync::atomic::AtomicBool,
}

fn place(mount: &Mount, dentry: &Arc<Dentry>) -> (u32, usize) {
    (mount.id, Arc::as_ptr(dentry) as usize)
}

impl MountNamespace {
    /// A namespace with this root.
    pub fn new(root: Arc<Mount>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0xf000_0000);
        let namespace = Arc::new(Self {
            tree: RwSpinLock::new(Tree::default()),
            root: RwSpinLock::new(Some(root.clone())),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            changed: Arc::new(WaitQueue::new()),
            generation: AtomicU64::new(1),
            detached: core::sync::atomic::AtomicBool::new(false),
        });
        *root.namespace.write() = Arc::downgrade(&namespace);
        namespace.tree.write().all.push(root);
        namespace
    }

    /// Whether it only holds a tree that is attached nowhere.
    pub fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }

    /// The root mount.
    pub fn root(&self) -> Arc<Mount> {
        self.root
            .read()
            .clone()
            .unwrap_or_else(|| panic!("mount namespace without a root"))
    }

    /// What is mounted on a place, topmost.
    pub fn mounted_on(&self, mount: &Arc<Mount>, dentry: &Arc<Dentry>) -> Option<Arc<Mount>> {
        self.tree
            .read()
            .by_place
            .get(&place(mount, dentry))?
            .last()
            .cloned()
    }

    /// Whether anything is mounted on a dentry, seen through whichever mount.
    pub fn has_mount_on(&self, dentry: &Arc<Dentry>) -> bool {
        let at = Arc::as_ptr(dentry) as usize;
        self.tree.read().by_place.keys().any(|(_, on)| *on == at)
    }

    /// All mounts in order of mounting.
    pub fn mounts(&self) -> Vec<Arc<Mount>> {
        self.tree.read().all.clone()
    }

    /// Attaches a mount at a place. EINVAL if that has left the namespace, ENOENT if it was removed.
    pub fn attach(self: &Arc<Self>, mount: Arc<Mount>, at: &Path) -> Result<()> {
        if at.dentry.is_unlinked() {
            return Err(Errno::ENOENT);
        }
        {
            let mut tree = self.tree.write();
            if !tree.all.iter().any(|m| Arc::ptr_eq(m, &at.mount)) {
                return Err(Errno::EINVAL);
            }
            *mount.attachment.write() = Some(Attachment {
                parent: at.mount.clone(),
                at: at.dentry.clone(),
            });
            *mount.namespace.write() = Arc::downgrade(self);
            at.dentry.mounted.fetch_add(1, Ordering::AcqRel);
            tree.by_place
                .entry(place(&at.mount, &at.dentry))
                .or_default()
                .push(mount.clone());
            tree.all.push(mount);
        }
        self.note_change();
        Ok(())
    }

    /// Detaches a mount (which must have no mounts on it). Gives false if it was not in the tree.
    pub fn detach(&self, mount: &Arc<Mount>) -> bool {
        let gone = {
            let mut tree = self.tree.write();
            let Some(index) = tree.all.iter().position(|m| Arc::ptr_eq(m, mount)) else {
                return false;
            };
            let gone = tree.all.remove(index);
            if let Some(a) = mount.attachment.write().take() {
                let key = place(&a.parent, &a.at);
                if let Some(stack) = tree.by_place.get_mut(&key) {
                    stack.retain(|m| !Arc::ptr_eq(m, mount));
                    if stack.is_empty() {
                        tree.by_place.remove(&key);
                    }
                }
                a.at.mounted.fetch_sub(1, Ordering::AcqRel);
            }
            *mount.namespace.write() = Weak::new();
            gone
        };
        self.note_change();
        drop(gone);
        true
    }

    /// Moves a mount (with all on it) to another place.
    pub fn relocate(self: &Arc<Self>, mount: &Arc<Mount>, at: &Path) -> Result<()> {
        if at.dentry.is_unlinked() {
            return Err(Errno::ENOENT);
        }
        {
            let mut tree = self.tree.write();
            let old = mount.attachment.write().replace(Attachment {
                parent: at.mount.clone(),
                at: at.dentry.clone(),
            });
            if let Some(a) = old {
                let key = place(&a.parent, &a.at);
                if let Some(stack) = tree.by_place.get_mut(&key) {
                    stack.retain(|m| !Arc::ptr_eq(m, mount));
                    if stack.is_empty() {
                        tree.by_place.remove(&key);
                    }
                }
                a.at.mounted.fetch_sub(1, Ordering::AcqRel);
            }
            at.dentry.mounted.fetch_add(1, Ordering::AcqRel);
            tree.by_place
                .entry(place(&at.mount, &at.dentry))
                .or_default()
                .push(mount.clone());
        }
        self.note_change();
        Ok(())
    }

    /// pivot_root(2): `new_root` (a mount) becomes the root of the tree; the old root goes to `put_old`.
    pub fn pivot(self: &Arc<Self>, new_root: &Arc<Mount>, put_old: &Path) -> Result<()> {
        let old_root = self.root();
        {
            let mut tree = self.tree.write();
            if let Some(a) = new_root.attachment.write().take() {
                let key = place(&a.parent, &a.at);
                if let Some(stack) = tree.by_place.get_mut(&key) {
                    stack.retain(|m| !Arc::ptr_eq(m, new_root));
                    if stack.is_empty() {
                        tree.by_place.remove(&key);
                    }
                }
                a.at.mounted.fetch_sub(1, Ordering::AcqRel);
            }
            *self.root.write() = Some(new_root.clone());
        }
        self.relocate(&old_root, put_old)
    }

    /// The mounts that are attached to `mount` or to mounts below it, outermost first.
    pub fn below(&self, mount: &Arc<Mount>) -> Vec<Arc<Mount>> {
        let tree = self.tree.read();
        let mut found: Vec<Arc<Mount>> = vec![mount.clone()];
        let mut at = 0;
        while let Some(parent) = found.get(at).cloned() {
            for child in &tree.all {
                let attached = child.attachment.read();
                if attached
                    .as_ref()
                    .is_some_and(|a| Arc::ptr_eq(&a.parent, &parent))
                {
                    found.push(child.clone());
                }
            }
            at += 1;
        }
        found.remove(0);
        found
    }

    /// A copy of the whole tree for a new namespace; root and working directory of `fs` move to the copies.
    pub fn copy_for(&self, fs: &Arc<FsContext>) -> Result<Arc<MountNamespace>> {
        let old_root = self.root();
        let mut copies: Vec<(Arc<Mount>, Arc<Mount>)> = Vec::new();
        let new_root = clone_mount(&old_root);
        let namespace = Self::new(new_root.clone());
        copies.push((old_root.clone(), new_root));
        for old in self.below(&old_root) {
            let Some(at) = old.attached_at() else {
                continue;
            };
            let parent = copies.iter().find(|(from, _)| Arc::ptr_eq(from, &at.mount));
            let Some((_, parent)) = parent else { continue };
            let copy = clone_mount(&old);
            let at = Path {
                mount: parent.clone(),
                dentry: at.dentry,
            };
            namespace.attach(copy.clone(), &at)?;
            copies.push((old, copy));
        }
        fs.translate(|path| {
            let found = copies
                .iter()
                .find(|(from, _)| Arc::ptr_eq(from, &path.mount));
            found.map(|(_, copy)| Path {
                mount: copy.clone(),
                dentry: path.dentry.clone(),
            })
        });
        Ok(namespace)
    }

    /// Attaches the tree of another namespace, which becomes empty, at a place.
    pub fn adopt(self: &Arc<Self>, from: &Arc<MountNamespace>, at: &Path) -> Result<()> {
        let root = from.root();
        let Tree { by_place, all } = core::mem::take(&mut *from.tree.write());
        let attached = self.attach(root.clone(), at);
        if attached.is_err() {
            *from.tree.write() = Tree { by_place, all };
            return attached;
        }
        let mut tree = self.tree.write();
        for mount in all.into_iter().filter(|mount| !Arc::ptr_eq(mount, &root)) {
            *mount.namespace.write() = Arc::downgrade(self);
            tree.all.push(mount);
        }
        tree.by_place.extend(by_place);
        drop(tree);
        *from.root.write() = None;
        Ok(())
    }

    /// Tells who polls /proc/mounts.
    pub fn note_change(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        let events = super::PollEvents::PRI | super::PollEvents::ERR;
        self.changed.wake(usize::MAX, u64::from(events.bits()));
    }
}

impl Drop for MountNamespace {
    fn drop(&mut self) {
        let tree = core::mem::take(self.tree.get_mut());
        for mount in &tree.all {
            if let Some(a) = mount.attachment.write().take() {
                a.at.mounted.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

/// A mount of the same part of the same file system, attached nowhere.
pub fn clone_mount(mount: &Arc<Mount>) -> Arc<Mount> {
    let copy = Mount::new(&mount.sb, mount.root.clone(), &mount.source, mount.flags());
    *copy.propagation.lock() = *mount.propagation.lock();
    copy
}
