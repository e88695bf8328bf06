//! Telling watchers what happens to files: the ground that inotify(7), fanotify(7) and dnotify (fcntl F_NOTIFY) share.
//!
//! A [`Group`] is a watcher; a [`Mark`] says which events of one object (inode, mount, file system) it wants. The VFS
//! calls the functions of [`hooks`] whenever something has happened; [`tell`] finds the marks that want to know.
//!
//! What is not watched pays one load: each file system keeps the union of all events that any mark on it asks for.
//!
//! A mark holds its inode in memory, until the mark is removed, the inode is deleted or its file system unmounted.
//! Locks: each list of marks and each group's queue is a spin lock, held for list work only, one at a time.

pub mod dnotify;
mod hooks;
pub mod inotify;

pub use hooks::*;

use bitflags::bitflags;
use core::sync::atomic::{AtomicU32, Ordering};

use super::mount::Mount;
use super::{Inode, Path, SuperBlock};
use crate::prelude::*;

bitflags! {
    /// What can happen. The numbers are those of inotify and fanotify.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct Events: u32 {
        /// Read.
        const ACCESS = 0x1;
        /// Written or truncated.
        const MODIFY = 0x2;
        /// Attributes changed.
        const ATTRIB = 0x4;
        /// A description that could write was closed.
        const CLOSE_WRITE = 0x8;
        /// Another description was closed.
        const CLOSE_NOWRITE = 0x10;
        /// Opened.
        const OPEN = 0x20;
        /// Moved out of a directory.
        const MOVED_FROM = 0x40;
        /// Moved into a directory.
        const MOVED_TO = 0x80;
        /// Made in a directory.
        const CREATE = 0x100;
        /// Removed from a directory.
        const DELETE = 0x200;
        /// The object itself was deleted.
        const DELETE_SELF = 0x400;
        /// The object itself was moved.
        const MOVE_SELF = 0x800;
        /// Opened to be executed.
        const OPEN_EXEC = 0x1000;
        /// Its file system was unmounted.
        const UNMOUNT = 0x2000;
        /// Events were lost.
        const Q_OVERFLOW = 0x4000;
        /// A watch is gone (inotify).
        const IGNORED = 0x8000;
        /// Somebody wants to open it.
        const OPEN_PERM = 0x1_0000;
        /// Somebody wants to read it.
        const ACCESS_PERM = 0x2_0000;
        /// Somebody wants to execute it.
        const OPEN_EXEC_PERM = 0x4_0000;
        /// A directory's mark wants the events of its children.
        const ON_CHILD = 0x0800_0000;
        /// Renamed: one event with both places.
        const RENAME = 0x1000_0000;
        /// It happened to a directory.
        const ISDIR = 0x4000_0000;
    }
}

impl Events {
    /// Events that say more about another event rather than stand for themselves.
    const QUALIFIERS: Self = Self::ISDIR.union(Self::ON_CHILD);
}

/// Something that happened.
pub struct Happening<'a> {
    /// What, with [`Events::ISDIR`] if to a directory.
    pub events: Events,
    /// To whom: the file itself.
    pub inode: &'a Arc<Inode>,
    /// The directory it is in, as far as that matters, and its name there.
    pub within: Option<(&'a Arc<Inode>, &'a [u8])>,
    /// Where it is now (RENAME).
    pub moved_to: Option<(&'a Arc<Inode>, &'a [u8])>,
    /// Where it was reached, if by an open description or a path.
    pub path: Option<&'a Path>,
    /// The file has lost its name.
    pub unlinked: bool,
    /// Joins the two halves of a move.
    pub cookie: u32,
}

/// Why a mark matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// It is on the directory that the file is in.
    Parent,
    /// It is on the file itself.
    Own,
    /// It is on the mount that the file was reached through.
    Mount,
    /// It is on the file system.
    FileSystem,
    /// It is on the directory that the file has moved to (RENAME).
    NewParent,
}

/// A mark that wants to know, and why.
pub type Hit = (Arc<Mark>, Role);

/// A watcher.
pub trait Group: Send + Sync {
    /// Who is told first: higher numbers.
    fn priority(&self) -> u8 {
        0
    }

    /// Something happened that at least one of its marks is about. An error forbids it (permission events only).
    fn handle(&self, what: &Happening, hits: &[Hit]) -> Result<()>;

    /// What was marked is gone, and the mark with it.
    fn freed(&self, mark: &Arc<Mark>);
}

/// What a mark is on.
#[derive(Clone)]
#[expect(
    dead_code,
    reason = "only fanotify(7), which is not there yet, marks mounts and file systems"
)]
pub enum Target {
    /// A file or directory.
    Inode(Arc<Inode>),
    /// A mount.
    Mount(Arc<Mount>),
    /// A whole file system.
    FileSystem(Arc<SuperBlock>),
}

impl Target {
    fn sb(&self) -> &Arc<SuperBlock> {
        match self {
            Target::Inode(inode) => &inode.sb,
            Target::Mount(mount) => &mount.sb,
            Target::FileSystem(sb) => sb,
        }
    }

    fn marks(&self) -> &Marks {
        match self {
            Target::Inode(inode) => &inode.marks,
            Target::Mount(mount) => &mount.marks,
            Target::FileSystem(sb) => &sb.notify.own,
        }
    }
}

/// What one watcher wants to know of one object.
pub struct Mark {
    group: Weak<dyn Group>,
    /// Tells groups apart.
    owner: usize,
    target: SpinLock<Option<Target>>,
    mask: AtomicU32,
    ignored: AtomicU32,
    /// The group's own flags.
    pub flags: AtomicU32,
    /// The group's own number for it.
    pub id: i32,
}

impl Mark {
    /// A mark of `group`, not attached yet.
    pub fn new(group: &Arc<impl Group + 'static>, id: i32, mask: Events) -> Arc<Self> {
        let weak: Weak<dyn Group> = Arc::downgrade(group) as _;
        Arc::new(Self {
            group: weak,
            owner: owner_of(group),
            target: SpinLock::new(None),
            mask: AtomicU32::new(mask.bits()),
            ignored: AtomicU32::new(0),
            flags: AtomicU32::new(0),
            id,
        })
    }

    /// What it asks for.
    pub fn mask(&self) -> Events {
        Events::from_bits_retain(self.mask.load(Ordering::Relaxed))
    }

    /// What it does not want to hear of (fanotify).
    pub fn ignored(&self) -> Events {
        Events::from_bits_retain(self.ignored.load(Ordering::Relaxed))
    }

    /// What it is on; `None` once it has been removed.
    pub fn target(&self) -> Option<Target> {
        self.target.lock().clone()
    }

    /// The inode it is on.
    pub fn inode(&self) -> Option<Arc<Inode>> {
        match self.target() {
            Some(Target::Inode(inode)) => Some(inode),
            _ => None,
        }
    }

    /// Changes what it asks for and ignores.
    pub fn set_masks(&self, mask: Events, ignored: Events) {
        self.mask.store(mask.bits(), Ordering::Relaxed);
        self.ignored.store(ignored.bits(), Ordering::Relaxed);
        if let Some(target) = self.target() {
            target.marks().recount();
            target.sb().notify.ask_for(mask);
        }
    }

    /// Puts it on its object.
    pub fn attach(self: &Arc<Self>, target: Target) {
        *self.target.lock() = Some(target.clone());
        let notify = &target.sb().notify;
        notify.all.lock().insert(key(self), Arc::downgrade(self));
        target.marks().list.lock().push(self.clone());
        target.marks().recount();
        notify.ask_for(self.mask());
    }

    /// Takes it off its object; false if it was off already.
    pub fn detach(self: &Arc<Self>) -> bool {
        let target = self.target.lock().take();
        let Some(target) = target else { return false };
        let marks = target.marks();
        marks.list.lock().retain(|mark| !Arc::ptr_eq(mark, self));
        marks.recount();
        target.sb().notify.dropped(key(self));
        true
    }

    /// Takes it off because its object is gone, and says so to its group.
    fn free(self: &Arc<Self>) {
        if self.detach()
            && let Some(group) = self.group.upgrade()
        {
            group.freed(self);
        }
    }
}

fn key(mark: &Arc<Mark>) -> usize {
    Arc::as_ptr(mark) as usize
}

fn owner_of<T: ?Sized>(group: &Arc<T>) -> usize {
    Arc::as_ptr(group).cast::<()>() as usize
}

/// The marks on one object.
#[derive(Default)]
pub struct Marks {
    mask: AtomicU32,
    list: SpinLock<Vec<Arc<Mark>>>,
}

impl Marks {
    /// No marks.
    pub const fn new() -> Self {
        Self {
            mask: AtomicU32::new(0),
            list: SpinLock::new(Vec::new()),
        }
    }

    fn recount(&self) {
        let list = self.list.lock();
        let mask = list
            .iter()
            .fold(0, |all, mark| all | (mark.mask() | mark.ignored()).bits());
        self.mask.store(mask, Ordering::Relaxed);
    }

    /// The mark of a group.
    pub fn of_group(&self, group: &Arc<impl Group + 'static>) -> Option<Arc<Mark>> {
        let owner = owner_of(group);
        let list = self.list.lock();
        list.iter().find(|mark| mark.owner == owner).cloned()
    }

    /// All of them.
    fn all(&self) -> Vec<Arc<Mark>> {
        self.list.lock().clone()
    }

    fn collect(&self, events: Events, role: Role, hits: &mut Vec<Hit>) {
        let wanted = events - Events::QUALIFIERS;
        if self.mask.load(Ordering::Relaxed) & wanted.bits() == 0 {
            return;
        }
        let list = self.list.lock();
        for mark in list.iter() {
            let mask = mark.mask();
            let matches = (mask | mark.ignored()).intersects(wanted);
            let child = role == Role::Parent && !names_child(events);
            if matches && (!child || mask.contains(Events::ON_CHILD)) {
                hits.push((mark.clone(), role));
            }
        }
    }
}

/// Whether an event is about a name in a directory, and so the directory's own.
fn names_child(events: Events) -> bool {
    events.intersects(
        Events::CREATE | Events::DELETE | Events::MOVED_FROM | Events::MOVED_TO | Events::RENAME,
    )
}

/// What is watched in one file system.
#[derive(Default)]
pub struct SuperMarks {
    /// All events that any mark on it, its mounts or its inodes has asked for since the last time there was none.
    mask: AtomicU32,
    all: SpinLock<BTreeMap<usize, Weak<Mark>>>,
    /// The marks on the file system itself.
    own: Marks,
}

impl SuperMarks {
    fn ask_for(&self, mask: Events) {
        // Deletion ends every mark, asked for or not.
        let mask = mask | Events::DELETE_SELF;
        self.mask.fetch_or(mask.bits(), Ordering::Relaxed);
    }

    fn dropped(&self, key: usize) {
        let mut all = self.all.lock();
        all.remove(&key);
        if all.is_empty() {
            self.mask.store(0, Ordering::Relaxed);
        }
    }
}

/// Whether anybody may want to know of such events on a file system.
fn wanted(sb: &SuperBlock, events: Events) -> bool {
    sb.notify.mask.load(Ordering::Relaxed) & events.bits() != 0
}

/// Tells everybody who wants to know. An error comes from who was asked for permission.
#[cold]
fn tell(what: &Happening) -> Result<()> {
    let mut hits = Vec::new();
    let events = what.events;
    if let Some((dir, _)) = what.within {
        dir.marks.collect(events, Role::Parent, &mut hits);
    }
    if let Some((dir, _)) = what.moved_to {
        dir.marks.collect(events, Role::NewParent, &mut hits);
    }
    // A name's coming and going is the directory's affair; everything else is the file's own too.
    if !names_child(events) {
        what.inode.marks.collect(events, Role::Own, &mut hits);
    }
    if let Some(path) = what.path {
        path.mount.marks.collect(events, Role::Mount, &mut hits);
    }
    let sb = &what.inode.sb;
    sb.notify.own.collect(events, Role::FileSystem, &mut hits);
    deliver(what, hits)
}

/// Gives each group its hits, in order of priority.
fn deliver(what: &Happening, mut hits: Vec<Hit>) -> Result<()> {
    while let Some((first, _)) = hits.first() {
        let priority = |mark: &Arc<Mark>| mark.group.upgrade().map_or(0, |group| group.priority());
        let mut chosen = (first.owner, priority(first));
        for (mark, _) in &hits {
            if priority(mark) > chosen.1 {
                chosen = (mark.owner, priority(mark));
            }
        }
        let (mine, others): (Vec<Hit>, Vec<Hit>) = hits
            .into_iter()
            .partition(|(mark, _)| mark.owner == chosen.0);
        hits = others;
        let group = mine.first().and_then(|(mark, _)| mark.group.upgrade());
        if let Some(group) = group {
            group.handle(what, &mine)?;
        }
    }
    Ok(())
}

/// Ends all marks on an inode that has been deleted.
fn free_marks(inode: &Arc<Inode>) {
    for mark in inode.marks.all() {
        mark.free();
    }
}
