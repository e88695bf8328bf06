//! Objects of the tree as inodes, open attributes and open directories.

use core::any::Any;
use keel_abi::args::FileType;
use keel_abi::flags::OpenFlags;
use keel_sysfs::Id;

use super::registry;
use crate::fs::{
    Attr, DirSink, File, FileOps, Inode, InodeOps, IoDst, IoSrc, SetAttr, SuperBlock, Time,
    emit_dots,
};
use crate::prelude::*;

/// Bytes that are copied at a time: a text attribute is never longer.
const CHUNK: usize = PAGE_SIZE;

/// What an inode of sysfs is.
pub struct SysInode {
    id: Id,
}

/// The inode of an object: ENOENT.
pub fn make(sb: &Arc<SuperBlock>, id: Id) -> Result<Arc<Inode>> {
    let now = Time::now();
    let mut attr = Attr {
        atime: now,
        mtime: now,
        ctime: now,
        ..Attr::default()
    };
    fill(&mut attr, &registry().read().attr(id)?);
    Ok(Inode::new(id.ino(), sb, attr, Box::new(SysInode { id })))
}

fn fill(attr: &mut Attr, from: &keel_sysfs::Attr) {
    attr.mode = from.mode;
    attr.nlink = from.nlink;
    attr.uid = from.uid;
    attr.gid = from.gid;
    attr.size = from.size;
}

impl SysInode {
    /// The object.
    pub fn id(&self) -> Id {
        self.id
    }
}

impl InodeOps for SysInode {
    fn getattr(&self, inode: &Arc<Inode>) -> Result<Attr> {
        let fresh = registry().read().attr(self.id)?;
        Ok(inode.update_attr(|attr| {
            fill(attr, &fresh);
            *attr
        }))
    }

    fn setattr(&self, inode: &Arc<Inode>, set: &SetAttr) -> Result<()> {
        {
            let mut tree = registry().write();
            if let Some(mode) = set.mode {
                tree.set_perm(self.id, (mode & 0o7777) as u16)?;
            }
            if set.uid.is_some() || set.gid.is_some() {
                let attr = tree.attr(self.id)?;
                tree.set_owner(
                    self.id,
                    set.uid.unwrap_or(attr.uid),
                    set.gid.unwrap_or(attr.gid),
                )?;
            }
        }
        inode.apply(&SetAttr { size: None, ..*set });
        Ok(())
    }

    fn lookup(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        let id = registry().read().lookup(self.id, name)?;
        make(&dir.sb, id)
    }

    fn readlink(&self, _inode: &Arc<Inode>) -> Result<Vec<u8>> {
        registry().read().readlink(self.id)
    }

    fn open(&self, inode: &Arc<Inode>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        if inode.is_dir() {
            return Ok(Arc::new(SysDir { id: self.id }));
        }
        let attribute = registry().read().open(self.id)?;
        Ok(Arc::new(SysFile {
            attribute: Mutex::new(attribute),
        }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct SysFile {
    attribute: Mutex<keel_sysfs::File>,
}

impl FileOps for SysFile {
    fn read(&self, _file: &File, dst: &mut IoDst, pos: u64) -> Result<usize> {
        let mut attribute = self.attribute.lock();
        let mut page = vec![0; dst.remaining().min(CHUNK)];
        let mut done = 0;
        while dst.remaining() > 0 {
            let want = dst.remaining().min(page.len());
            let piece = page.get_mut(..want).unwrap_or(&mut []);
            let got = match attribute.read_at(pos + done as u64, piece) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            };
            let put = match dst.put(piece.get(..got).unwrap_or(&[])) {
                Ok(put) => put,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            };
            done += put;
            if put < got {
                break;
            }
        }
        Ok(done)
    }

    fn write(&self, _file: &File, src: &mut IoSrc, pos: u64) -> Result<usize> {
        let mut attribute = self.attribute.lock();
        let mut page = vec![0; src.remaining().min(CHUNK)];
        let got = src.take(&mut page)?;
        attribute.write_at(pos, page.get(..got).unwrap_or(&[]))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct SysDir {
    id: Id,
}

/// A name of a directory, by itself.
struct Entry {
    name: Vec<u8>,
    ino: u64,
    kind: FileType,
    next: u64,
}

/// Names that are taken out of the tree at a time.
const BATCH: usize = 64;

fn batch(dir: Id, from: u64) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    registry().read().readdir(dir, from, &mut |entry| {
        let kind = match entry.kind {
            keel_sysfs::FileType::Directory => FileType::Directory,
            keel_sysfs::FileType::Symlink => FileType::Symlink,
            keel_sysfs::FileType::Regular => FileType::Regular,
        };
        entries.push(Entry {
            name: entry.name.to_vec(),
            ino: entry.id.ino(),
            kind,
            next: entry.next,
        });
        entries.len() < BATCH
    })?;
    Ok(entries)
}

impl FileOps for SysDir {
    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        if !emit_dots(file, pos, sink) {
            return Ok(());
        }
        loop {
            let entries = batch(self.id, *pos)?;
            for entry in &entries {
                if !sink.entry(&entry.name, entry.ino, entry.kind, entry.next) {
                    return Ok(());
                }
                *pos = entry.next;
            }
            if entries.len() < BATCH {
                return Ok(());
            }
        }
    }

    fn pollable(&self) -> bool {
        false
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
