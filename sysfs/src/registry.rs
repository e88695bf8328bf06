//! [`Registry`]: the tree of directories, attributes and links.
//!
//! Every object has an [`Id`] that is never used again; it is the inode number and, within a directory, the position
//! of the listing, so that a listing stays right while objects come and go.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use keel_abi::{Errno, Result};

use crate::attr::{Attrs, Content};
use crate::device::DeviceRecord;
use crate::file::File;
use crate::uevent::{UeventSink, Uevents};

/// An object of the tree; also its inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

impl Id {
    /// `/sys` itself.
    pub const ROOT: Id = Id(1);

    /// The inode number.
    pub const fn ino(self) -> u64 {
        self.0
    }
}

/// Kinds of inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FileType {
    Directory,
    Regular,
    Symlink,
}

impl FileType {
    /// The `S_IF*` bits.
    pub const fn mode(self) -> u32 {
        match self {
            FileType::Directory => 0o040000,
            FileType::Regular => 0o100000,
            FileType::Symlink => 0o120000,
        }
    }

    /// The `DT_*` value of getdents(2).
    pub const fn dirent(self) -> u8 {
        (self.mode() >> 12) as u8
    }
}

/// What stat(2) shows of an inode; times are those at which the VFS made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size.
    pub size: u64,
}

/// One name in a directory.
#[derive(Debug, Clone, Copy)]
pub struct DirEntry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The object.
    pub id: Id,
    /// Its type.
    pub kind: FileType,
    /// Where to go on after it.
    pub next: u64,
}

enum Kind {
    Dir {
        names: BTreeMap<String, Id>,
        order: BTreeSet<Id>,
    },
    Attribute(Content),
    Link(Id),
}

struct Object {
    name: String,
    parent: Id,
    perm: u16,
    uid: u32,
    gid: u32,
    kind: Kind,
}

/// The tree.
///
/// Changing it takes `&mut self`, asking it `&self`; opening a file gives a [`File`] that lives on without the registry.
/// Uevents go to the sink while the registry is borrowed: the sink must not come back to it.
pub struct Registry {
    objects: BTreeMap<Id, Object>,
    next: u64,
    pub(crate) devices: BTreeMap<Id, DeviceRecord>,
    pub(crate) uevents: Arc<Uevents>,
}

/// Size of a text attribute, whatever it contains.
const ATTRIBUTE_SIZE: u64 = 4096;

/// First position after `.` and `..`.
const FIRST: u64 = 2;

impl Registry {
    /// A tree with the directories that Linux always has: block, bus, class, dev, devices, firmware, fs, kernel, module,
    /// power.
    pub fn new(sink: Arc<dyn UeventSink>) -> Self {
        let root = Object {
            name: String::new(),
            parent: Id::ROOT,
            perm: 0o555,
            uid: 0,
            gid: 0,
            kind: Kind::Dir {
                names: BTreeMap::new(),
                order: BTreeSet::new(),
            },
        };
        let mut registry = Registry {
            objects: BTreeMap::from([(Id::ROOT, root)]),
            next: Id::ROOT.0 + 1,
            devices: BTreeMap::new(),
            uevents: Arc::new(Uevents::new(sink)),
        };
        for path in [
            "devices/virtual",
            "devices/system",
            "devices/platform",
            "bus",
            "class",
            "block",
            "dev/block",
            "dev/char",
            "firmware",
            "fs",
            "kernel",
            "module",
            "power",
        ] {
            // The tree is empty: no name is taken.
            let _ = registry.make_path(Id::ROOT, path);
        }
        registry
    }

    fn object(&self, id: Id) -> Result<&Object> {
        self.objects.get(&id).ok_or(Errno::ENOENT)
    }

    fn names(&self, dir: Id) -> Result<&BTreeMap<String, Id>> {
        match &self.object(dir)?.kind {
            Kind::Dir { names, .. } => Ok(names),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn insert(&mut self, dir: Id, name: &str, perm: u16, kind: Kind) -> Result<Id> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(Errno::EINVAL);
        }
        let id = Id(self.next);
        match &mut self.objects.get_mut(&dir).ok_or(Errno::ENOENT)?.kind {
            Kind::Dir { names, order } => {
                if names.contains_key(name) {
                    return Err(Errno::EEXIST);
                }
                names.insert(name.to_owned(), id);
                order.insert(id);
            }
            _ => return Err(Errno::ENOTDIR),
        }
        self.next += 1;
        let object = Object {
            name: name.to_owned(),
            parent: dir,
            perm,
            uid: 0,
            gid: 0,
            kind,
        };
        self.objects.insert(id, object);
        Ok(id)
    }

    /// Makes a directory. Errors: `EEXIST`, `ENOENT`, `ENOTDIR`, `EINVAL` for a bad name.
    pub fn make_dir(&mut self, dir: Id, name: &str) -> Result<Id> {
        let kind = Kind::Dir {
            names: BTreeMap::new(),
            order: BTreeSet::new(),
        };
        self.insert(dir, name, 0o755, kind)
    }

    /// The directory at `path` below `dir`, made as far as it is not there. Errors: as [`Self::make_dir`].
    pub fn make_path(&mut self, dir: Id, path: &str) -> Result<Id> {
        let mut at = dir;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = match self.names(at)?.get(name) {
                Some(&id) => id,
                None => self.make_dir(at, name)?,
            };
        }
        Ok(at)
    }

    /// Adds an attribute. Errors: as [`Self::make_dir`].
    pub fn add_attribute(
        &mut self,
        dir: Id,
        name: &str,
        perm: u16,
        content: Content,
    ) -> Result<Id> {
        self.insert(dir, name, perm, Kind::Attribute(content))
    }

    /// Adds attributes, and the directories before their names. Errors: as [`Self::make_dir`].
    pub fn add_attributes(&mut self, dir: Id, attrs: Attrs) -> Result<()> {
        for (path, perm, content) in attrs.into_list() {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
            let parent = self.make_path(dir, parent)?;
            self.add_attribute(parent, name, perm, content)?;
        }
        Ok(())
    }

    /// Adds a link to an object. Errors: as [`Self::make_dir`].
    pub fn add_link(&mut self, dir: Id, name: &str, target: Id) -> Result<Id> {
        self.object(target)?;
        self.insert(dir, name, 0o777, Kind::Link(target))
    }

    /// Takes an object away, with all that is below it. Files that are open stay readable.
    ///
    /// Links elsewhere that lead to it are left to those who made them. Errors: `ENOENT`; `EBUSY` for the root.
    pub fn remove(&mut self, id: Id) -> Result<()> {
        if id == Id::ROOT {
            return Err(Errno::EBUSY);
        }
        let object = self.object(id)?;
        let (parent, name) = (object.parent, object.name.clone());
        if let Some(Object {
            kind: Kind::Dir { names, order },
            ..
        }) = self.objects.get_mut(&parent)
        {
            names.remove(&name);
            order.remove(&id);
        }
        let mut doomed = alloc::vec![id];
        while let Some(id) = doomed.pop() {
            self.devices.remove(&id);
            if let Some(Object {
                kind: Kind::Dir { order, .. },
                ..
            }) = self.objects.remove(&id)
            {
                doomed.extend(order);
            }
        }
        Ok(())
    }

    /// The object called `name` in `dir`. Errors: `ENOENT`, `ENOTDIR`.
    pub fn lookup(&self, dir: Id, name: &[u8]) -> Result<Id> {
        let name = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        self.names(dir)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// The object at `path` from the root, without following links. Errors: `ENOENT`, `ENOTDIR`.
    pub fn find(&self, path: &str) -> Result<Id> {
        path.split('/')
            .filter(|name| !name.is_empty())
            .try_fold(Id::ROOT, |dir, name| self.lookup(dir, name.as_bytes()))
    }

    /// The directory that an object is in; the root is in itself. Errors: `ENOENT`.
    pub fn parent(&self, id: Id) -> Result<Id> {
        Ok(self.object(id)?.parent)
    }

    /// Whether the object is still there: what a dentry's revalidation asks.
    pub fn valid(&self, id: Id) -> bool {
        self.objects.contains_key(&id)
    }

    /// The object's type. Errors: `ENOENT`.
    pub fn file_type(&self, id: Id) -> Result<FileType> {
        Ok(match self.object(id)?.kind {
            Kind::Dir { .. } => FileType::Directory,
            Kind::Attribute(_) => FileType::Regular,
            Kind::Link(_) => FileType::Symlink,
        })
    }

    /// What stat(2) shows. Errors: `ENOENT`.
    pub fn attr(&self, id: Id) -> Result<Attr> {
        let object = self.object(id)?;
        let (nlink, size) = match &object.kind {
            Kind::Dir { names, .. } => (2 + self.subdirs(names), 0),
            Kind::Attribute(Content::Text(_)) => (1, ATTRIBUTE_SIZE),
            Kind::Attribute(Content::Bytes(bytes)) => (1, bytes.size()),
            Kind::Link(_) => (1, 0),
        };
        Ok(Attr {
            ino: id.0,
            mode: self.file_type(id)?.mode() | u32::from(object.perm),
            nlink,
            uid: object.uid,
            gid: object.gid,
            size,
        })
    }

    fn subdirs(&self, names: &BTreeMap<String, Id>) -> u32 {
        names
            .values()
            .filter(|&&id| self.file_type(id) == Ok(FileType::Directory))
            .count() as u32
    }

    /// chmod(2): the permission bits. Errors: `ENOENT`.
    pub fn set_perm(&mut self, id: Id, perm: u16) -> Result<()> {
        self.objects.get_mut(&id).ok_or(Errno::ENOENT)?.perm = perm & 0o7777;
        Ok(())
    }

    /// chown(2). Errors: `ENOENT`.
    pub fn set_owner(&mut self, id: Id, uid: u32, gid: u32) -> Result<()> {
        let object = self.objects.get_mut(&id).ok_or(Errno::ENOENT)?;
        (object.uid, object.gid) = (uid, gid);
        Ok(())
    }

    /// Calls `emit` for each name from position `pos` on until it returns false. Positions 0 and 1 are `.` and `..`,
    /// which the VFS makes. `emit` runs while the registry is borrowed: under a lock it must not touch user memory.
    ///
    /// Errors: `ENOENT`, `ENOTDIR`.
    pub fn readdir(
        &self,
        dir: Id,
        pos: u64,
        emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let Kind::Dir { order, .. } = &self.object(dir)?.kind else {
            return Err(Errno::ENOTDIR);
        };
        for &id in order.range(Id(pos.saturating_sub(FIRST))..) {
            let object = self.object(id)?;
            let kind = self.file_type(id)?;
            let entry = DirEntry {
                name: object.name.as_bytes(),
                id,
                kind,
                next: id.0 + FIRST + 1,
            };
            if !emit(entry) {
                break;
            }
        }
        Ok(())
    }

    /// The text of a link: the relative path to its object. Errors: `EINVAL` if it is none, `ENOENT` if it dangles.
    pub fn readlink(&self, id: Id) -> Result<Vec<u8>> {
        let object = self.object(id)?;
        let Kind::Link(target) = object.kind else {
            return Err(Errno::EINVAL);
        };
        let from = self.ancestry(object.parent)?;
        let to = self.ancestry(target)?;
        // As Linux does, the common part ends above the target even if the link is below it.
        let common = from
            .iter()
            .zip(to.iter().take(to.len().saturating_sub(1)))
            .take_while(|(a, b)| a == b)
            .count();
        let mut path = Vec::new();
        for _ in common..from.len() {
            path.extend_from_slice(b"../");
        }
        for (index, id) in to.iter().skip(common).enumerate() {
            if index > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(self.object(*id)?.name.as_bytes());
        }
        Ok(path)
    }

    /// The object that a link leads to. Errors: `EINVAL` if it is none, `ENOENT`.
    pub fn link_target(&self, id: Id) -> Result<Id> {
        match self.object(id)?.kind {
            Kind::Link(target) => self.object(target).map(|_| target),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The objects from below the root down to `id`.
    fn ancestry(&self, id: Id) -> Result<Vec<Id>> {
        let mut chain = Vec::new();
        let mut at = id;
        while at != Id::ROOT {
            chain.push(at);
            at = self.object(at)?.parent;
        }
        chain.reverse();
        Ok(chain)
    }

    /// The path from the root, with a leading slash: `DEVPATH` of a device. Errors: `ENOENT`.
    pub fn path(&self, id: Id) -> Result<String> {
        let mut path = String::new();
        for id in self.ancestry(id)? {
            path.push('/');
            path.push_str(&self.object(id)?.name);
        }
        Ok(path)
    }

    /// The object's name. Errors: `ENOENT`.
    pub fn name(&self, id: Id) -> Result<&str> {
        Ok(&self.object(id)?.name)
    }

    /// Opens an attribute. Errors: `ENOENT`, `EISDIR`, `EINVAL` for a link.
    pub fn open(&self, id: Id) -> Result<File> {
        match &self.object(id)?.kind {
            Kind::Attribute(content) => Ok(File::new(content.clone())),
            Kind::Dir { .. } => Err(Errno::EISDIR),
            Kind::Link(_) => Err(Errno::EINVAL),
        }
    }
}
