//! Inodes of vfat: names, attributes, contents through the page cache.

use keel_abi::args::FileType;
use keel_abi::flags::{FallocateMode, OpenFlags};
use keel_fat::{NodeId, Volume as Disk};

use super::{Volume, stamp, time};
use crate::fs::page_cache::{self, Backing, Fill, Page};
use crate::fs::{
    Attr, DirSink, File, FileOps, Inode, InodeOps, IoDst, IoSrc, Owner, RenameFlags, SetAttr, Time,
    emit_dots,
};
use crate::mm::VmObject;
use crate::prelude::*;

/// Bytes that are read or written at a time.
const RUN: usize = 32 * PAGE_SIZE;

/// The file-system part of an inode.
pub(super) struct FatInode {
    pub(super) volume: Arc<Volume>,
    pub(super) node: NodeId,
}

/// The vfat part of an inode of the same volume.
pub(super) fn own(inode: &Inode) -> Result<&FatInode> {
    inode.ops.as_any().downcast_ref().ok_or(Errno::EXDEV)
}

/// A change of mode that a read-only attribute can keep: all permissions as they are, but for the right to write, which
/// all have or nobody: EPERM.
fn writable_after(attr: &Attr, mode: u32, mask: u32) -> Result<bool> {
    let wanted = mode & 0o777 & !mask;
    let (write, others) = (wanted & 0o222, wanted & 0o555);
    let all = 0o222 & !mask;
    let is_dir = attr.mode & 0o170_000 == 0o040_000;
    let fits = others == attr.mode & 0o555 && (write == all || (write == 0 && !is_dir));
    if fits {
        Ok(write != 0)
    } else {
        Err(Errno::EPERM)
    }
}

impl FatInode {
    fn refresh(&self, inode: &Inode) -> Result<()> {
        let size = inode.size();
        let fresh = self.volume.attr_of(self.node)?;
        inode.update_attr(|attr| {
            let mode = attr.mode;
            *attr = fresh;
            if !inode.is_dir() {
                // Writes that are on their way count already.
                attr.size = size;
                // The name, by which some may be executed, is known from the lookup only.
                attr.mode = attr.mode & !0o111 | mode & attr.mode & 0o111;
            }
        });
        Ok(())
    }

    /// Zeroes on the disk from the end of the file to `to`, where nothing has been written.
    fn fill_gap(&self, size: u64, to: u64) -> Result<()> {
        let zeroes = vec![0; RUN];
        let mut at = size.next_multiple_of(512);
        while at < to {
            let Some((place, run)) = self.volume.disk.lock().map(self.node, at)? else {
                return Ok(());
            };
            let n = run
                .min(to.next_multiple_of(512) - at)
                .min(zeroes.len() as u64);
            let piece = zeroes.get(..n as usize).unwrap_or(&[]);
            self.volume.device.write_bytes(place, piece)?;
            at += n;
        }
        Ok(())
    }

    fn resize(&self, inode: &Arc<Inode>, size: u64) -> Result<()> {
        if size > Disk::MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let old = inode.size();
        page_cache::truncate(inode, size, || {
            let mut disk = self.volume.disk.lock();
            disk.reserve(self.node, size)?;
            drop(disk);
            if size > old {
                self.fill_gap(old, size)?;
            }
            self.volume.disk.lock().set_size(self.node, size)
        })
    }

    fn set_others(&self, inode: &Arc<Inode>, set: &SetAttr) -> Result<()> {
        let options = self.volume.options();
        let attr = inode.attr();
        let foreign = set.uid.is_some_and(|uid| uid != options.uid)
            || set.gid.is_some_and(|gid| gid != options.gid);
        if foreign && !options.quiet {
            return Err(Errno::EPERM);
        }
        let mask = if inode.is_dir() {
            options.dmask
        } else {
            options.fmask
        };
        let read_only = match set.mode.map(|mode| writable_after(&attr, mode, mask)) {
            Some(Ok(writable)) => Some(!writable),
            Some(Err(error)) if !options.quiet => return Err(error),
            _ => None,
        };
        let written = set.mtime.map(stamp);
        self.volume
            .disk
            .lock()
            .set_attr(self.node, read_only, set.atime.map(stamp), written)
    }

    fn made(&self, dir: &Inode, node: Result<NodeId>, name: &[u8]) -> Result<Arc<Inode>> {
        let inode = self.volume.inode(node?, name)?;
        self.refresh(dir)?;
        Ok(inode)
    }
}

impl InodeOps for FatInode {
    fn setattr(&self, inode: &Arc<Inode>, set: &SetAttr) -> Result<()> {
        if let Some(size) = set.size {
            self.resize(inode, size)?;
        }
        self.set_others(inode, set)?;
        self.refresh(inode)
    }

    fn lookup(&self, _dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        let node = self.volume.disk.lock().lookup(self.node, name)?;
        self.volume.inode(node, name)
    }

    fn create(
        &self,
        dir: &Arc<Inode>,
        name: &[u8],
        mode: u32,
        _rdev: u64,
        _owner: &Owner,
    ) -> Result<Arc<Inode>> {
        if crate::fs::file_type_of(mode) != FileType::Regular {
            return Err(Errno::EPERM);
        }
        let now = stamp(Time::now());
        let node = self.volume.disk.lock().create(self.node, name, false, now);
        self.made(dir, node, name)
    }

    fn mkdir(&self, dir: &Arc<Inode>, name: &[u8], _: u32, _: &Owner) -> Result<Arc<Inode>> {
        let now = stamp(Time::now());
        let node = self.volume.disk.lock().create(self.node, name, true, now);
        self.made(dir, node, name)
    }

    fn unlink(&self, dir: &Arc<Inode>, _name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let now = stamp(Time::now());
        self.volume.disk.lock().remove(own(inode)?.node, now)?;
        inode.update_attr(|attr| attr.nlink = 0);
        self.refresh(dir)
    }

    fn rmdir(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.unlink(dir, name, inode)
    }

    fn rename(
        &self,
        old_dir: &Arc<Inode>,
        _old_name: &[u8],
        moved: &Arc<Inode>,
        new_dir: &Arc<Inode>,
        new_name: &[u8],
        target: Option<&Arc<Inode>>,
        flags: RenameFlags,
    ) -> Result<()> {
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::EINVAL);
        }
        let now = stamp(Time::now());
        let (what, to) = (own(moved)?.node, own(new_dir)?.node);
        let over = target.map(|inode| own(inode).map(|own| own.node));
        let over = over.transpose()?;
        let mut disk = self.volume.disk.lock();
        match over {
            Some(over) if flags.contains(RenameFlags::EXCHANGE) => {
                disk.exchange(what, over, now)?;
            }
            over => {
                disk.rename(what, to, new_name, over, now)?;
                if let Some(target) = target {
                    target.update_attr(|attr| attr.nlink = 0);
                }
            }
        }
        drop(disk);
        self.refresh(old_dir)?;
        own(new_dir)?.refresh(new_dir)
    }

    fn open(&self, inode: &Arc<Inode>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        let (volume, node) = (self.volume.clone(), self.node);
        match inode.file_type {
            FileType::Directory => Ok(Arc::new(FatDir { volume, node })),
            _ => Ok(Arc::new(FatFile { volume })),
        }
    }

    fn fallocate(&self, inode: &Arc<Inode>, mode: FallocateMode, off: u64, len: u64) -> Result<()> {
        if !mode.is_empty() {
            return Err(Errno::EOPNOTSUPP);
        }
        let end = off.checked_add(len).ok_or(Errno::EFBIG)?;
        if end > inode.size() {
            self.resize(inode, end)?;
            self.refresh(inode)?;
        }
        Ok(())
    }

    fn backing(&self) -> Option<&dyn Backing> {
        Some(self)
    }

    fn evict(&self, inode: &Inode) {
        self.volume.forget(inode, self.node);
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

impl FatInode {
    /// Reads file contents at `offset`; what is behind the last cluster is zeroes.
    fn read_contents(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset + done as u64;
            let mapped = self.volume.disk.lock().map(self.node, at)?;
            let Some((place, run)) = mapped else {
                rest.fill(0);
                return Ok(());
            };
            let n = run.min(rest.len() as u64) as usize;
            self.volume.device.read_bytes(place, &mut rest[..n])?;
            done += n;
        }
        Ok(())
    }

    fn write_contents(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
            let at = offset + done as u64;
            let mapped = self.volume.disk.lock().map(self.node, at)?;
            let (place, run) = mapped.ok_or(Errno::EIO)?;
            let n = run.min(rest.len() as u64) as usize;
            self.volume.device.write_bytes(place, &rest[..n])?;
            done += n;
        }
        Ok(())
    }

    /// Fills pages that follow one another.
    fn read_run(&self, inode: &Inode, fills: Vec<Fill>) -> Result<()> {
        let Some(first) = fills.first().map(|fill| fill.page().offset()) else {
            return Ok(());
        };
        let size = inode.size();
        let mut buffer = Vec::new();
        buffer
            .try_reserve_exact(fills.len() * PAGE_SIZE)
            .map_err(|_| Errno::ENOMEM)?;
        buffer.resize(fills.len() * PAGE_SIZE, 0);
        let inside = size
            .saturating_sub(first)
            .next_multiple_of(512)
            .min(buffer.len() as u64) as usize;
        self.read_contents(first, &mut buffer[..inside])?;
        // What is behind the end in its cluster is not the file's.
        let known = size.saturating_sub(first).min(buffer.len() as u64) as usize;
        buffer[known..].fill(0);
        for (fill, bytes) in fills.into_iter().zip(buffer.chunks(PAGE_SIZE)) {
            fill.page().frame().write(0, bytes);
            fill.done();
        }
        Ok(())
    }

    fn write_run(&self, size: u64, pages: &[Arc<Page>]) -> Result<()> {
        let Some(first) = pages.first().map(|page| page.offset()) else {
            return Ok(());
        };
        let mut buffer = Vec::new();
        buffer
            .try_reserve_exact(pages.len() * PAGE_SIZE)
            .map_err(|_| Errno::ENOMEM)?;
        buffer.resize(pages.len() * PAGE_SIZE, 0);
        for (page, bytes) in pages.iter().zip(buffer.chunks_mut(PAGE_SIZE)) {
            page.frame().read(0, bytes);
        }
        let inside = size.saturating_sub(first).min(buffer.len() as u64) as usize;
        buffer[inside..].fill(0);
        self.write_contents(first, &buffer[..inside.next_multiple_of(512)])
    }
}

impl Backing for FatInode {
    fn read_pages(&self, inode: &Inode, fills: Vec<Fill>) {
        let mut fills = fills;
        while !fills.is_empty() {
            let rest = fills.split_off(fills.len().min(RUN / PAGE_SIZE));
            // Those that were dropped unfinished are errors.
            if let Err(error) = self.read_run(inode, fills) {
                log::error!("FAT-fs ({}): read: {error:?}", self.volume.device.name);
            }
            fills = rest;
        }
    }

    fn write_pages(&self, inode: &Inode, pages: &[Arc<Page>]) -> Result<()> {
        let size = inode.size();
        let follows = |a: &Arc<Page>, b: &Arc<Page>| a.index() + 1 == b.index();
        for run in pages.chunk_by(follows) {
            for part in run.chunks(RUN / PAGE_SIZE) {
                self.write_run(size, part)?;
            }
        }
        Ok(())
    }

    fn write_begin(&self, inode: &Arc<Inode>, pos: u64, len: u64) -> Result<()> {
        let end = pos.checked_add(len).ok_or(Errno::EFBIG)?;
        self.volume.disk.lock().reserve(self.node, end)?;
        let size = inode.size();
        if pos > size {
            self.fill_gap(size, pos)?;
        }
        Ok(())
    }

    fn write_end(&self, inode: &Arc<Inode>, pos: u64, len: u64) -> Result<()> {
        let now = Time::now();
        inode.update_attr(|attr| {
            attr.size = attr.size.max(pos + len);
            attr.mtime = now;
            attr.ctime = now;
        });
        let mut disk = self.volume.disk.lock();
        disk.grow_to(self.node, pos + len)?;
        disk.set_attr(self.node, None, None, Some(stamp(now)))?;
        let attr = disk.attr(self.node)?;
        drop(disk);
        inode.update_attr(|cached| {
            cached.blocks = attr.taken / 512;
            cached.mtime = time(attr.written);
        });
        Ok(())
    }
}

/// An open regular file.
struct FatFile {
    volume: Arc<Volume>,
}

impl FileOps for FatFile {
    fn read(&self, file: &File, dst: &mut IoDst, pos: u64) -> Result<usize> {
        page_cache::generic_read(&file.inode, &file.readahead, dst, pos)
    }

    fn write(&self, file: &File, src: &mut IoSrc, pos: u64) -> Result<usize> {
        page_cache::generic_write(&file.inode, src, pos)
    }

    fn mmap(&self, file: &Arc<File>) -> Result<Arc<dyn VmObject>> {
        Ok(page_cache::mapping_of(&file.inode))
    }

    fn fsync(&self, file: &File, _datasync: bool) -> Result<()> {
        page_cache::fsync_pages(&file.inode, &file.error_seen)?;
        self.volume.disk.lock().sync()
    }

    fn pollable(&self) -> bool {
        false
    }

    fn ioctl(&self, _file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        super::ioctl(&self.volume, cmd, arg)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// An open directory.
struct FatDir {
    volume: Arc<Volume>,
    node: NodeId,
}

impl FileOps for FatDir {
    fn read(&self, _file: &File, _dst: &mut IoDst, _pos: u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        /// Positions 0 and 1 are `.` and `..`.
        const FIRST: u64 = 2;
        if !emit_dots(file, pos, sink) {
            return Ok(());
        }
        let from = u32::try_from(*pos - FIRST).unwrap_or(u32::MAX);
        self.volume
            .disk
            .lock()
            .read_dir(self.node, from, &mut |entry| {
                // What is not loaded has no number yet; its place stands for it.
                let ino = entry.node.map_or(entry.place, |node| node.0);
                let kind = if entry.is_dir {
                    FileType::Directory
                } else {
                    FileType::Regular
                };
                let next = u64::from(entry.next) + FIRST;
                if !sink.entry(entry.name.as_bytes(), ino, kind, next) {
                    return false;
                }
                *pos = next;
                true
            })
    }

    fn fsync(&self, _file: &File, _datasync: bool) -> Result<()> {
        self.volume.disk.lock().sync()
    }

    fn pollable(&self) -> bool {
        false
    }

    fn ioctl(&self, _file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        super::ioctl(&self.volume, cmd, arg)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}
