//! Changing the tree of mounts: mounting, binding, moving, unmounting, and how that spreads (mount(2), umount2(2),
//! mount_namespaces(7)).
//!
//! One mutex serialises all changes in all namespaces, as Linux's `namespace_sem` does. A tree that is attached
//! nowhere (a bind mount in the making, open_tree(2), fsmount(2)) lives in a namespace of its own.

use core::sync::atomic::{AtomicU32, Ordering};
use keel_abi::flags::{MountFlags, UmountFlags};

use super::mount::{Mount, MountNamespace, Propagation, all_mounts};
use super::namei::top_mount;
use super::{Dentry, FileSystemType, Path};
use crate::prelude::*;
use crate::process::{self, Thread};

static CHANGES: Mutex<()> = Mutex::new(());

fn new_group() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Whether a mount is in the thread's namespace.
fn in_namespace(thread: &Thread, mount: &Mount) -> bool {
    mount
        .namespace()
        .is_some_and(|ns| Arc::ptr_eq(&ns, &thread.ns().mnt))
}

// ---- propagation ----

/// Where a change below a mount of `group` spreads to: the mount, and the group and master of what is mounted there.
struct Receiver {
    mount: Arc<Mount>,
    /// Index of the receiver group: its copies share with each other.
    level: usize,
}

/// A group of receivers: peers of the origin (level 0), or slaves.
struct Level {
    /// Level that it is a slave of; `None` for the peers.
    master: Option<usize>,
    /// Whether its copies share with each other.
    shared: bool,
}

/// Who receives what happens below `origin`.
fn receivers(origin: &Arc<Mount>) -> (Vec<Receiver>, Vec<Level>) {
    let group = origin.propagation.lock().shared;
    let mut found = Vec::new();
    let mut levels = vec![Level {
        master: None,
        shared: true,
    }];
    if group == 0 {
        return (found, levels);
    }
    let mounts = all_mounts();
    // Groups whose slaves have not been looked for yet.
    let mut pending = vec![(group, 0)];
    let mut known = vec![group];
    let peers = |id: u32| {
        mounts
            .iter()
            .filter(move |m| m.propagation.lock().shared == id)
    };
    for mount in peers(group).filter(|m| !Arc::ptr_eq(m, origin)) {
        found.push(Receiver {
            mount: mount.clone(),
            level: 0,
        });
    }
    while let Some((group, level)) = pending.pop() {
        for slave in mounts
            .iter()
            .filter(|m| m.propagation.lock().master == group)
        {
            let own = slave.propagation.lock().shared;
            if own != 0 && known.contains(&own) {
                continue;
            }
            levels.push(Level {
                master: Some(level),
                shared: own != 0,
            });
            let next = levels.len() - 1;
            if own == 0 {
                found.push(Receiver {
                    mount: slave.clone(),
                    level: next,
                });
                continue;
            }
            known.push(own);
            pending.push((own, next));
            found.extend(peers(own).map(|m| Receiver {
                mount: m.clone(),
                level: next,
            }));
        }
    }
    (found, levels)
}

/// Mounts copies of what was attached at `at` wherever that place's mount propagates to. `tree` has the attached
/// mount first, then what is on it.
fn propagate_attach(tree: &[Arc<Mount>], at: &Path) -> Result<()> {
    let shared = at.mount.propagation.lock().shared != 0;
    if !shared {
        return Ok(());
    }
    for mount in tree {
        let mut propagation = mount.propagation.lock();
        if propagation.shared == 0 {
            propagation.shared = new_group();
        }
    }
    let (found, levels) = receivers(&at.mount);
    // The peer groups of each level's copies, one for each mount of the tree.
    let mut groups: Vec<Vec<u32>> = Vec::new();
    for level in &levels {
        groups.push(match level.master {
            None => tree.iter().map(|m| m.propagation.lock().shared).collect(),
            Some(_) if level.shared => tree.iter().map(|_| new_group()).collect(),
            Some(_) => vec![0; tree.len()],
        });
    }
    for receiver in &found {
        let Some(namespace) = receiver.mount.namespace() else {
            continue;
        };
        if !at.dentry.is_below(&receiver.mount.root) {
            continue;
        }
        let masters = levels[receiver.level].master.map(|master| &groups[master]);
        let own = &groups[receiver.level];
        let propagation = |index: usize| Propagation {
            shared: own.get(index).copied().unwrap_or(0),
            master: masters.and_then(|m| m.get(index)).copied().unwrap_or(0),
            unbindable: false,
        };
        let place = Path {
            mount: receiver.mount.clone(),
            dentry: at.dentry.clone(),
        };
        attach_copy(&namespace, tree, &place, propagation)?;
    }
    Ok(())
}

/// Mounts a copy of a tree.
fn attach_copy(
    namespace: &Arc<MountNamespace>,
    tree: &[Arc<Mount>],
    at: &Path,
    propagation: impl Fn(usize) -> Propagation,
) -> Result<()> {
    let mut copies: Vec<Arc<Mount>> = Vec::new();
    for (index, mount) in tree.iter().enumerate() {
        let copy = Mount::new(&mount.sb, mount.root.clone(), &mount.source, mount.flags());
        *copy.propagation.lock() = propagation(index);
        let place = match (index, mount.attached_at()) {
            (0, _) => at.clone(),
            (_, Some(old)) => {
                let parent = tree.iter().position(|m| Arc::ptr_eq(m, &old.mount));
                let Some(parent) = parent.and_then(|i| copies.get(i)) else {
                    copies.push(copy);
                    continue;
                };
                Path {
                    mount: parent.clone(),
                    dentry: old.dentry,
                }
            }
            (_, None) => {
                copies.push(copy);
                continue;
            }
        };
        namespace.attach(copy.clone(), &place)?;
        copies.push(copy);
    }
    Ok(())
}

/// Unmounts the copies of what was mounted on `at`, wherever that place's mount propagates to.
fn propagate_umount(mount: &Arc<Mount>, at: &Path, gone: &mut Vec<Arc<Mount>>) {
    for receiver in receivers(&at.mount).0 {
        let Some(namespace) = receiver.mount.namespace() else {
            continue;
        };
        let Some(child) = namespace.mounted_on(&receiver.mount, &at.dentry) else {
            continue;
        };
        let same = Arc::ptr_eq(&child.sb, &mount.sb) && Arc::ptr_eq(&child.root, &mount.root);
        if same && namespace.below(&child).is_empty() && namespace.detach(&child) {
            gone.push(child);
        }
    }
}

/// What a change of propagation makes of mounts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spread {
    /// MS_SHARED
    Shared,
    /// MS_PRIVATE
    Private,
    /// MS_SLAVE
    Slave,
    /// MS_UNBINDABLE
    Unbindable,
}

/// Takes a mount out of its peer group: if it was the last, the group's slaves go to its own master.
fn leave_group(mount: &Arc<Mount>) -> u32 {
    let (group, master) = {
        let mut propagation = mount.propagation.lock();
        (core::mem::take(&mut propagation.shared), propagation.master)
    };
    if group == 0 {
        return 0;
    }
    let mounts = all_mounts();
    if mounts.iter().any(|m| m.propagation.lock().shared == group) {
        return group;
    }
    for slave in mounts {
        let mut propagation = slave.propagation.lock();
        if propagation.master == group {
            propagation.master = master;
        }
    }
    0
}

fn set_propagation(mount: &Arc<Mount>, spread: Spread) {
    match spread {
        Spread::Shared => {
            let mut propagation = mount.propagation.lock();
            propagation.unbindable = false;
            if propagation.shared == 0 {
                propagation.shared = new_group();
            }
        }
        Spread::Slave => {
            let peers = leave_group(mount);
            if peers != 0 {
                mount.propagation.lock().master = peers;
            }
        }
        Spread::Private | Spread::Unbindable => {
            leave_group(mount);
            let mut propagation = mount.propagation.lock();
            propagation.master = 0;
            propagation.unbindable = spread == Spread::Unbindable;
        }
    }
}

/// mount(2) with MS_SHARED and its kin: EINVAL unless `place` is a mount point.
pub fn change_propagation(place: &Path, spread: Spread, recursive: bool) -> Result<()> {
    let place = top_mount(place.clone());
    if !place.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let _changes = CHANGES.lock();
    let namespace = place.mount.namespace().ok_or(Errno::EINVAL)?;
    set_propagation(&place.mount, spread);
    if recursive {
        for mount in namespace.below(&place.mount) {
            set_propagation(&mount, spread);
        }
    }
    namespace.note_change();
    Ok(())
}

// ---- attaching ----

/// A copy of what is at `place`, in a namespace of its own; `recursive` with all mounts below. EINVAL for unbindable
/// mounts.
pub fn copy_tree(place: &Path, recursive: bool) -> Result<Arc<MountNamespace>> {
    let _changes = CHANGES.lock();
    copy_tree_locked(place, recursive)
}

fn copy_tree_locked(place: &Path, recursive: bool) -> Result<Arc<MountNamespace>> {
    let old = &place.mount;
    let propagation = *old.propagation.lock();
    if propagation.unbindable {
        return Err(Errno::EINVAL);
    }
    let root = Mount::new(&old.sb, place.dentry.clone(), &old.source, old.flags());
    *root.propagation.lock() = propagation;
    let copy = MountNamespace::new(root.clone());
    let Some(namespace) = old.namespace().filter(|_| recursive) else {
        return Ok(copy);
    };
    let mut pairs = vec![(old.clone(), root)];
    for mount in namespace.below(old) {
        let Some(at) = mount.attached_at() else {
            continue;
        };
        let Some((from, to)) = pairs.iter().find(|(from, _)| Arc::ptr_eq(from, &at.mount)) else {
            continue;
        };
        let inside = !Arc::ptr_eq(from, old) || at.dentry.is_below(&place.dentry);
        if !inside || mount.propagation.lock().unbindable {
            continue;
        }
        let parent = Path {
            mount: to.clone(),
            dentry: at.dentry,
        };
        let child = super::mount::clone_mount(&mount);
        copy.attach(child.clone(), &parent)?;
        pairs.push((mount, child));
    }
    Ok(copy)
}

/// Both are directories, or neither is: ENOTDIR.
fn check_kinds(root: &Arc<Dentry>, target: &Arc<Dentry>) -> Result<()> {
    let is_dir = |dentry: &Arc<Dentry>| dentry.inode().is_some_and(|inode| inode.is_dir());
    if is_dir(root) == is_dir(target) {
        Ok(())
    } else {
        Err(Errno::ENOTDIR)
    }
}

/// Attaches a tree from a namespace of its own at `target`, and spreads it.
pub fn attach_tree(thread: &Thread, tree: &Arc<MountNamespace>, target: &Path) -> Result<()> {
    let _changes = CHANGES.lock();
    attach_tree_locked(thread, tree, target)
}

fn attach_tree_locked(thread: &Thread, tree: &Arc<MountNamespace>, target: &Path) -> Result<()> {
    let target = top_mount(target.clone());
    if !in_namespace(thread, &target.mount) {
        return Err(Errno::EINVAL);
    }
    let root = tree.root();
    check_kinds(&root.root, &target.dentry)?;
    let mounts = tree.mounts();
    thread.ns().mnt.adopt(tree, &target)?;
    propagate_attach(&mounts, &target)
}

/// mount(2) of a file system: EBUSY if the same is mounted there already.
pub fn mount_new(
    thread: &Thread,
    fs_type: &'static dyn FileSystemType,
    source: Option<&[u8]>,
    target: &Path,
    flags: MountFlags,
    data: &[u8],
) -> Result<()> {
    let read_only = flags.contains(MountFlags::RDONLY);
    let sb = fs_type.mount(source, read_only, data)?;
    let mount = Mount::of(&sb, source.unwrap_or(b"none"), flags)?;
    let _changes = CHANGES.lock();
    let place = top_mount(target.clone());
    if place.is_mount_root()
        && Arc::ptr_eq(&place.mount.sb, &sb)
        && Arc::ptr_eq(&place.mount.root, &mount.root)
    {
        return Err(Errno::EBUSY);
    }
    attach_tree_locked(thread, &MountNamespace::new(mount), &place)
}

/// mount(2) with MS_BIND.
pub fn bind(thread: &Thread, source: &Path, target: &Path, recursive: bool) -> Result<()> {
    let _changes = CHANGES.lock();
    if !in_namespace(thread, &source.mount) && source.mount.namespace().is_some() {
        return Err(Errno::EINVAL);
    }
    let tree = copy_tree_locked(source, recursive)?;
    attach_tree_locked(thread, &tree, target)
}

/// mount(2) with MS_MOVE: EINVAL if the source is no mount point or its parent is shared, ELOOP into itself.
pub fn move_mount(thread: &Thread, source: &Path, target: &Path) -> Result<()> {
    let _changes = CHANGES.lock();
    let target = top_mount(target.clone());
    let mount = &source.mount;
    if !source.is_mount_root()
        || !in_namespace(thread, mount)
        || !in_namespace(thread, &target.mount)
    {
        return Err(Errno::EINVAL);
    }
    let old = mount.attached_at().ok_or(Errno::EINVAL)?;
    if old.mount.propagation.lock().shared != 0 {
        return Err(Errno::EINVAL);
    }
    check_kinds(&mount.root, &target.dentry)?;
    let namespace = thread.ns().mnt.clone();
    let mut tree = vec![mount.clone()];
    tree.extend(namespace.below(mount));
    if tree.iter().any(|m| Arc::ptr_eq(m, &target.mount)) {
        return Err(Errno::ELOOP);
    }
    let into_shared = target.mount.propagation.lock().shared != 0;
    if into_shared && tree.iter().any(|m| m.propagation.lock().unbindable) {
        return Err(Errno::EINVAL);
    }
    namespace.relocate(mount, &target)?;
    propagate_attach(&tree, &target)
}

// ---- changing ----

/// mount(2) with MS_REMOUNT | MS_BIND: the flags of one mount.
pub fn set_mount_flags(thread: &Thread, place: &Path, flags: MountFlags) -> Result<()> {
    if !place.is_mount_root() || !in_namespace(thread, &place.mount) {
        return Err(Errno::EINVAL);
    }
    let _changes = CHANGES.lock();
    place.mount.set_flags(flags);
    thread.ns().mnt.note_change();
    Ok(())
}

/// mount_setattr(2): attributes and propagation of a mount, or of all below too.
pub fn set_attributes(
    place: &Path,
    set: u64,
    clear: u64,
    spread: Option<Spread>,
    recursive: bool,
) -> Result<()> {
    if !place.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let _changes = CHANGES.lock();
    let namespace = place.mount.namespace().ok_or(Errno::EINVAL)?;
    let mut mounts = vec![place.mount.clone()];
    if recursive {
        mounts.extend(namespace.below(&place.mount));
    }
    let flags: Vec<MountFlags> = mounts
        .iter()
        .map(|mount| super::mount_api::changed_flags(mount.flags(), set, clear))
        .collect::<Result<_>>()?;
    for (mount, flags) in mounts.iter().zip(flags) {
        mount.set_flags(flags);
        if let Some(spread) = spread {
            set_propagation(mount, spread);
        }
    }
    namespace.note_change();
    Ok(())
}

/// mount(2) with MS_REMOUNT: options of the file system, and the flags of the mount. EBUSY to make one read-only that
/// somebody writes.
pub fn remount(thread: &Thread, place: &Path, flags: MountFlags, data: &[u8]) -> Result<()> {
    if !place.is_mount_root() || !in_namespace(thread, &place.mount) {
        return Err(Errno::EINVAL);
    }
    let _changes = CHANGES.lock();
    reconfigure(&place.mount.sb, flags.contains(MountFlags::RDONLY), data)?;
    place.mount.set_flags(flags);
    thread.ns().mnt.note_change();
    Ok(())
}

/// New options for a file system.
pub fn reconfigure(sb: &Arc<super::SuperBlock>, read_only: bool, data: &[u8]) -> Result<()> {
    if read_only && !sb.is_read_only() {
        if sb.writers.load(Ordering::Acquire) > 0 {
            return Err(Errno::EBUSY);
        }
        sb.ops.sync()?;
    }
    sb.ops.remount(read_only, data)?;
    sb.set_read_only(read_only);
    Ok(())
}

// ---- unmounting ----

/// References that an attached mount has without any user: the tree's two, and the caller's path.
const IDLE_REFERENCES: usize = 3;

/// umount2(2). EINVAL for what is no mount point, EBUSY for what is in use, EAGAIN for the first MNT_EXPIRE.
pub fn umount(thread: &Thread, place: Path, flags: UmountFlags) -> Result<()> {
    let mut gone = Vec::new();
    let done = umount_into(thread, place, flags, &mut gone);
    // The last reference to a file system writes it out: not under the lock.
    drop(gone);
    done
}

fn umount_into(
    thread: &Thread,
    place: Path,
    flags: UmountFlags,
    gone: &mut Vec<Arc<Mount>>,
) -> Result<()> {
    let _changes = CHANGES.lock();
    let place = top_mount(place);
    if !place.is_mount_root() || !in_namespace(thread, &place.mount) {
        return Err(Errno::EINVAL);
    }
    let Path { mount, dentry } = place;
    drop(dentry);
    let namespace = thread.ns().mnt.clone();
    let lazy = flags.contains(UmountFlags::MNT_DETACH);
    if flags.contains(UmountFlags::MNT_EXPIRE) {
        if is_busy(&namespace, &mount) {
            return Err(Errno::EBUSY);
        }
        if !mount.expiring.swap(true, Ordering::AcqRel) {
            return Err(Errno::EAGAIN);
        }
    }
    let is_root = Arc::ptr_eq(&thread.fs().root().mount, &mount);
    if is_root && !lazy {
        // The root cannot go; it becomes read-only, which is what shutdown scripts want of this.
        return reconfigure(&mount.sb, true, b"");
    }
    let Some(at) = mount.attached_at() else {
        return Err(Errno::EINVAL);
    };
    if !lazy && is_busy(&namespace, &mount) {
        return Err(Errno::EBUSY);
    }
    let mut tree = vec![mount.clone()];
    tree.extend(namespace.below(&mount));
    for part in tree.iter().rev() {
        let Some(place) = part.attached_at() else {
            continue;
        };
        if namespace.detach(part) {
            propagate_umount(part, &place, gone);
        }
    }
    drop(at);
    gone.extend(tree);
    gone.push(mount);
    Ok(())
}

fn is_busy(namespace: &MountNamespace, mount: &Arc<Mount>) -> bool {
    !namespace.below(mount).is_empty() || Arc::strong_count(mount) > IDLE_REFERENCES
}

/// A name was removed that something is mounted on in other namespaces: those mounts go.
pub fn detach_everywhere(dentry: &Arc<Dentry>) {
    let mut gone = Vec::new();
    {
        let _changes = CHANGES.lock();
        for mount in all_mounts() {
            let here = mount
                .attached_at()
                .is_some_and(|at| Arc::ptr_eq(&at.dentry, dentry));
            let Some(namespace) = mount.namespace().filter(|_| here) else {
                continue;
            };
            for below in namespace.below(&mount).iter().rev() {
                namespace.detach(below);
            }
            namespace.detach(&mount);
            gone.push(mount);
        }
    }
    drop(gone);
}

/// pivot_root(2).
pub fn pivot_root(thread: &Thread, new_root: &Path, put_old: &Path) -> Result<()> {
    let _changes = CHANGES.lock();
    let namespace = thread.ns().mnt.clone();
    let root = thread.fs().root();
    let (new, old) = (&new_root.mount, &root.mount);
    if !in_namespace(thread, new)
        || !in_namespace(thread, old)
        || !in_namespace(thread, &put_old.mount)
    {
        return Err(Errno::EINVAL);
    }
    if Arc::ptr_eq(new, old) || Arc::ptr_eq(&put_old.mount, old) {
        return Err(Errno::EBUSY);
    }
    if new_root.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    if !root.is_mount_root() || !new_root.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let shared = |mount: &Arc<Mount>| mount.propagation.lock().shared != 0;
    let new_at = new.attached_at().ok_or(Errno::EINVAL)?;
    let old_at = old.attached_at();
    if shared(&put_old.mount)
        || shared(&new_at.mount)
        || old_at.as_ref().is_some_and(|at| shared(&at.mount))
        || !is_reachable(put_old, new_root)
        || !is_reachable(new_root, &root)
    {
        return Err(Errno::EINVAL);
    }
    match old_at {
        None => namespace.pivot(new, put_old)?,
        Some(at) => {
            namespace.relocate(old, put_old)?;
            namespace.relocate(new, &at)?;
        }
    }
    let moved = new_root.clone();
    for process in process::all() {
        for other in process.threads() {
            other
                .fs()
                .translate(|path| path.same(&root).then(|| moved.clone()));
        }
    }
    Ok(())
}

/// Whether `place` is `root` or below it.
fn is_reachable(place: &Path, root: &Path) -> bool {
    let mut at = place.clone();
    loop {
        if Arc::ptr_eq(&at.mount, &root.mount) {
            return at.dentry.is_below(&root.dentry);
        }
        match at.mount.attached_at() {
            Some(below) => at = below,
            None => return false,
        }
    }
}
