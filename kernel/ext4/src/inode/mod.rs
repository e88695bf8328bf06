//! Inodes in memory.
//!
//! [`Inode`] is shared by everyone who uses the file; its [`InodeState`] sits behind one reader-writer lock,
//! taken before a journal handle is started. `raw` is the inode as on disk; decoded fields are
//! written back into it by [`Fs::store_inode`]. [`disk`] decodes and encodes, [`cache`] keeps inodes by number and
//! counts their uses.

mod cache;
mod disk;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub(crate) use cache::InodeCache;
pub(crate) use disk::{extra_isize, file_type, reseal};

#[cfg(doc)]
use crate::Fs;
use crate::ialloc::InodeLocation;
use crate::indirect::Node;
use crate::orphan::OrphanState;
use crate::platform::{Platform, SharedLock};
use crate::{Attr, Errno, Result, Timespec};

/// An inode in memory. Its uses are counted: see [`Fs::iget`] and [`Fs::iput`].
pub struct Inode<P: Platform> {
    ino: u32,
    pub(crate) loc: InodeLocation,
    size: AtomicU64,
    loaded: AtomicU32,
    /// 512-byte units per block.
    block_sectors: u32,
    pub(crate) state: P::RwLock<InodeState>,
}

/// What an inode's lock protects.
#[derive(Default)]
pub(crate) struct InodeState {
    pub raw: Vec<u8>,
    /// Checksum seed of everything that belongs to the inode.
    pub seed: u32,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub project: u32,
    pub nlink: u32,
    pub flags: u32,
    pub generation: u32,
    /// The size that programs see.
    pub size: u64,
    /// The size on disk: behind `size` while data waits for write-back.
    pub disk_size: u64,
    /// Allocated space in 512-byte units.
    pub sectors: u64,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    pub crtime: Timespec,
    pub file_acl: u64,
    /// Ranges promised to data in the page cache: start → length.
    pub delayed: BTreeMap<u32, u32>,
    /// Claimed blocks whose data is being written: start → (length, block).
    pub inflight: BTreeMap<u32, (u32, u64)>,
    /// Blocks in `delayed` and `inflight`, which the inode table does not count yet.
    pub pending: u64,
    /// Block maps: indirect blocks promised (`None`) or claimed for what is in `delayed` and `inflight`.
    pub indirect: BTreeMap<Node, Option<u64>>,
    /// Unwritten blocks for which the page cache has data: start → length.
    pub fresh: BTreeMap<u32, u32>,
    /// Last transaction that changed the inode, and that changed what reading its data needs.
    pub tid: u32,
    pub data_tid: u32,
    /// Times in memory are newer than in the inode table.
    pub lazy: bool,
    /// On the orphan list, and in which way.
    pub orphan: OrphanState,
    /// Directories: where the last name was added, to start there again.
    pub dir_hint: u32,
}

/// Read access to an inode.
pub(crate) type InodeRead<'a, P> =
    <<P as Platform>::RwLock<InodeState> as SharedLock<InodeState>>::ReadGuard<'a>;
/// Write access to an inode.
pub(crate) type InodeWrite<'a, P> =
    <<P as Platform>::RwLock<InodeState> as SharedLock<InodeState>>::WriteGuard<'a>;

const LOADED: u32 = 1;
const BAD: u32 = 2;

impl<P: Platform> Inode<P> {
    /// The inode number.
    pub fn ino(&self) -> u32 {
        self.ino
    }

    /// The size in bytes, without taking the inode's lock.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// The attributes now (sizes and times as seen through this crate, on disk or not).
    pub fn attr(&self) -> Attr {
        let s = self.state.read();
        let mut blocks = s.sectors + s.pending * u64::from(self.block_sectors);
        if s.is_inline() && s.is_regular() {
            // As Linux: a file with data reports at least one sector.
            blocks += s.size.div_ceil(512);
        }
        Attr {
            ino: self.ino,
            generation: s.generation,
            mode: s.mode,
            nlink: s.nlink,
            uid: s.uid,
            gid: s.gid,
            project: s.project,
            size: s.size,
            blocks,
            atime: s.atime,
            mtime: s.mtime,
            ctime: s.ctime,
            crtime: s.crtime,
            rdev: s.rdev(),
            flags: s.flags,
            inline_data: s.is_inline(),
        }
    }

    pub(crate) fn set_size_hint(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    pub(crate) fn read(&self) -> InodeRead<'_, P> {
        self.state.read()
    }

    pub(crate) fn write(&self) -> InodeWrite<'_, P> {
        self.state.write()
    }
}

/// Locks several inodes for writing, each once, in inode-number order.
pub(crate) struct LockedInodes<'a, P: Platform> {
    held: Vec<(u32, InodeWrite<'a, P>)>,
}

impl<'a, P: Platform> LockedInodes<'a, P> {
    pub fn new(inodes: &[&'a Inode<P>]) -> Self {
        let mut order: Vec<&'a Inode<P>> = inodes.to_vec();
        order.sort_unstable_by_key(|i| i.ino);
        order.dedup_by_key(|i| i.ino);
        Self {
            held: order.into_iter().map(|i| (i.ino, i.write())).collect(),
        }
    }

    /// The state of one of the inodes that were locked.
    pub fn get(&mut self, inode: &Inode<P>) -> Result<&mut InodeState> {
        let found = self.held.iter_mut().find(|(n, _)| *n == inode.ino);
        found.map(|(_, g)| &mut **g).ok_or(Errno::EIO)
    }

    /// The states of two different inodes that were locked.
    pub fn pair(
        &mut self,
        a: &Inode<P>,
        b: &Inode<P>,
    ) -> Result<(&mut InodeState, &mut InodeState)> {
        let ia = self
            .held
            .iter()
            .position(|(n, _)| *n == a.ino)
            .ok_or(Errno::EIO)?;
        let ib = self
            .held
            .iter()
            .position(|(n, _)| *n == b.ino)
            .ok_or(Errno::EIO)?;
        let [x, y] = self
            .held
            .get_disjoint_mut([ia, ib])
            .map_err(|_| Errno::EIO)?;
        Ok((&mut x.1, &mut y.1))
    }
}
