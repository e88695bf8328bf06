//! The inode cache: inodes by number, their uses, and writing them back.
//!
//! Locking: a shard's mutex is never held over I/O. An inode being read is in the cache already, with its lock held, so
//! that everyone else waits for the one read. Changes of times alone stay in memory (`lazy`) until a commit,
//! sync, fsync or the end of the last use.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hashbrown::HashMap;

use super::{BAD, Inode, InodeState, LOADED};
use crate::bytes::{le16, put16, put32};
use crate::ialloc::InodeLocation;
use crate::journal::Handle;
use crate::layout::{di, iflags, incompat, ro_compat, sb};
use crate::orphan::OrphanState;
use crate::platform::{Lock, Platform, SharedLock};
use crate::seal::{Kind, inode_seed};
use crate::{Errno, FileType, Fs, Result};

/// One cached inode and how many uses it has.
struct Slot<P: Platform> {
    inode: Arc<Inode<P>>,
    users: u32,
    /// The last use ended and the file is being deleted.
    dying: bool,
}

const SHARDS: usize = 32;

/// A part of the inode cache.
type Shard<P> = HashMap<u32, Slot<P>>;

/// The inodes in use, by number.
pub(crate) struct InodeCache<P: Platform> {
    shards: Vec<P::Mutex<Shard<P>>>,
    /// Inodes with times newer than on disk.
    lazy: P::Mutex<BTreeSet<u32>>,
}

impl<P: Platform> InodeCache<P> {
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| P::Mutex::new(HashMap::new())).collect(),
            lazy: P::Mutex::new(BTreeSet::new()),
        }
    }

    fn shard(&self, ino: u32) -> &P::Mutex<Shard<P>> {
        &self.shards[ino as usize % SHARDS]
    }
}

/// What the end of a use leads to.
enum LastUse {
    No,
    /// Nothing but to forget it.
    Done,
    WriteBack,
    Delete,
}

impl<P: Platform> Fs<P> {
    fn new_handle_of(&self, ino: u32, loc: InodeLocation) -> Arc<Inode<P>> {
        Arc::new(Inode {
            ino,
            loc,
            size: AtomicU64::new(0),
            loaded: AtomicU32::new(0),
            block_sectors: self.sb.block_size / 512,
            state: P::RwLock::new(InodeState::default()),
        })
    }

    /// The inode `ino`, read if it is not in memory; one more use. `ESTALE` if it is free, `EUCLEAN` if damaged.
    pub fn iget(&self, ino: u32) -> Result<Arc<Inode<P>>> {
        if ino != crate::ROOT_INO && ino < self.sb.first_ino {
            return Err(Errno::ESTALE);
        }
        if ino > self.sb.inodes_count {
            return Err(Errno::ESTALE);
        }
        self.iget_any(ino, false)
    }

    /// Like [`Fs::iget`] for any inode; `unlinked` allows those without links (orphans).
    pub(crate) fn iget_any(&self, ino: u32, unlinked: bool) -> Result<Arc<Inode<P>>> {
        let loc = self.inode_location(ino)?;
        let inode = {
            let mut shard = self.icache.shard(ino).lock();
            match shard.get_mut(&ino) {
                Some(s) if s.dying => return Err(Errno::ESTALE),
                Some(s) => {
                    s.users += 1;
                    s.inode.clone()
                }
                None => {
                    let inode = self.new_handle_of(ino, loc);
                    shard.insert(
                        ino,
                        Slot {
                            inode: inode.clone(),
                            users: 1,
                            dying: false,
                        },
                    );
                    inode
                }
            }
        };
        if inode.loaded.load(Ordering::Acquire) != LOADED
            && let Err(e) = self.load_inode(&inode, unlinked)
        {
            self.drop_unloaded(ino);
            return Err(e);
        }
        Ok(inode)
    }

    fn load_inode(&self, inode: &Inode<P>, unlinked: bool) -> Result<()> {
        let mut st = inode.write();
        match inode.loaded.load(Ordering::Acquire) {
            LOADED => return Ok(()),
            BAD => return Err(Errno::EUCLEAN),
            _ => {}
        }
        let r = self.read_inode(inode, unlinked);
        match r {
            Ok(s) => {
                inode.set_size_hint(s.size);
                *st = s;
                inode.loaded.store(LOADED, Ordering::Release);
                Ok(())
            }
            Err(e) => {
                inode.loaded.store(BAD, Ordering::Release);
                Err(e)
            }
        }
    }

    fn read_inode(&self, inode: &Inode<P>, unlinked: bool) -> Result<InodeState> {
        self.read_table_ahead(inode.loc);
        let buf = self.bread(inode.loc.block, Kind::Plain)?;
        let s = buf.read();
        let end = inode.loc.offset + self.sb.inode_size;
        let raw = s.data.get(inode.loc.offset..end).ok_or(Errno::EUCLEAN)?;
        if le16(raw, di::MODE) == 0 || (le16(raw, di::LINKS) == 0 && !unlinked) {
            return Err(Errno::ESTALE);
        }
        let mut st = InodeState::parse(&self.sb, inode.ino, raw).inspect_err(|_| {
            self.damage(format_args!("inode {}: damaged", inode.ino));
        })?;
        // It may have been changed and forgotten in a transaction that is not durable yet.
        st.tid = s.tid;
        st.data_tid = s.tid;
        if st.file_type() == FileType::Unknown {
            return Err(Errno::EUCLEAN);
        }
        if st.flags & (iflags::ENCRYPT | iflags::VERITY | iflags::CASEFOLD) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if st.is_inline() && !self.sb.is(incompat::INLINE_DATA) {
            return Err(Errno::EUCLEAN);
        }
        Ok(st)
    }

    /// Ends a use of an inode that could not be loaded or written.
    fn drop_unloaded(&self, ino: u32) {
        let mut shard = self.icache.shard(ino).lock();
        if let Some(s) = shard.get_mut(&ino) {
            s.users -= 1;
            if s.users == 0 {
                shard.remove(&ino);
            }
        }
    }

    /// Puts a new inode into the cache with one use.
    pub(crate) fn insert_new(&self, ino: u32, st: InodeState) -> Result<Arc<Inode<P>>> {
        let inode = self.new_handle_of(ino, self.inode_location(ino)?);
        inode.set_size_hint(st.size);
        *inode.write() = st;
        inode.loaded.store(LOADED, Ordering::Release);
        let slot = Slot {
            inode: inode.clone(),
            users: 1,
            dying: false,
        };
        if self.icache.shard(ino).lock().insert(ino, slot).is_some() {
            // The bitmap said free while someone uses it.
            self.damage(format_args!("inode {ino}: allocated twice"));
            return Err(Errno::EUCLEAN);
        }
        Ok(inode)
    }

    /// Forgets a new inode whose creation failed, or one that is deleted.
    pub(crate) fn forget_inode(&self, ino: u32) {
        self.icache.shard(ino).lock().remove(&ino);
        self.icache.lazy.lock().remove(&ino);
    }

    /// Gives one use back. The last one writes lazily kept times and, if no link is left, frees the file.
    pub fn iput(&self, inode: Arc<Inode<P>>) -> Result<()> {
        let ino = inode.ino;
        loop {
            match self.end_use(ino) {
                LastUse::No => return Ok(()),
                LastUse::Done => {
                    self.drop_ahead(ino);
                    let mut st = inode.write();
                    if st.pending > 0 {
                        // Data that could not be written.
                        self.drop_pending(&mut st, 0, 1 << 32);
                    }
                    return Ok(());
                }
                LastUse::Delete => return self.delete_inode(&inode),
                // Afterwards others may have come and gone: look again.
                LastUse::WriteBack => {
                    if let Err(e) = self.write_lazy(&inode) {
                        self.drop_unloaded(ino);
                        return Err(e);
                    }
                }
            }
        }
    }

    fn end_use(&self, ino: u32) -> LastUse {
        let mut shard = self.icache.shard(ino).lock();
        let Some(s) = shard.get_mut(&ino) else {
            return LastUse::No;
        };
        if s.users > 1 {
            s.users -= 1;
            return LastUse::No;
        }
        let (gone, lazy) = {
            let st = s.inode.read();
            (st.nlink == 0, st.lazy)
        };
        if gone && !self.is_read_only() {
            s.dying = true;
            return LastUse::Delete;
        }
        if lazy && !self.is_read_only() {
            return LastUse::WriteBack;
        }
        shard.remove(&ino);
        LastUse::Done
    }

    /// Writes the inode into the inode table, as part of `h`. `data`: what reading the file's data needs changed.
    pub(crate) fn store_inode(
        &self,
        h: &Handle<'_, P>,
        inode: &Inode<P>,
        st: &mut InodeState,
        data: bool,
    ) -> Result<()> {
        let buf = self.bread(inode.loc.block, Kind::Plain)?;
        if st.disk_size > i32::MAX as u64 && !self.sb.ro(ro_compat::LARGE_FILE) {
            self.note_feature(h, sb::RO_COMPAT, ro_compat::LARGE_FILE)?;
        }
        self.store_inode_in(h, &buf, inode, st, data);
        Ok(())
    }

    /// Like [`Fs::store_inode`] with the table's buffer at hand.
    pub(crate) fn store_inode_in(
        &self,
        h: &Handle<'_, P>,
        buf: &Arc<crate::buffer::Buf<P>>,
        inode: &Inode<P>,
        st: &mut InodeState,
        data: bool,
    ) {
        let end = inode.loc.offset + self.sb.inode_size;
        let copy = |raw: &[u8]| {
            let mut s = h.write(buf, Kind::Plain);
            if let Some(dst) = s.bytes_mut().get_mut(inode.loc.offset..end) {
                dst.copy_from_slice(raw);
            }
        };
        if st.orphan == OrphanState::Listed {
            // The list may relink this inode at any time: its link is read and stored under the list's lock.
            self.with_orphan_link(inode.ino, |next| {
                put32(&mut st.raw, di::DTIME, next);
                st.encode(&self.sb);
                copy(&st.raw);
            });
        } else {
            st.encode(&self.sb);
            copy(&st.raw);
        }
        st.tid = h.tid;
        if data {
            st.data_tid = h.tid;
        }
        st.lazy = false;
        inode.set_size_hint(st.size);
    }

    /// Notes that an inode's times in memory are newer than on disk.
    pub(crate) fn mark_lazy(&self, inode: &Inode<P>, st: &mut InodeState) {
        st.clip_times();
        if !st.lazy {
            st.lazy = true;
            self.icache.lazy.lock().insert(inode.ino);
        }
    }

    /// Writes lazily kept times of one inode.
    pub(crate) fn write_lazy(&self, inode: &Inode<P>) -> Result<()> {
        let mut st = inode.write();
        if !st.lazy {
            return Ok(());
        }
        let h = self.start(2)?;
        self.store_inode(&h, inode, &mut st, false)?;
        self.icache.lazy.lock().remove(&inode.ino);
        Ok(())
    }

    /// Writes lazily kept times of all inodes.
    pub(crate) fn write_all_lazy(&self) -> Result<()> {
        let inos: Vec<u32> = self.icache.lazy.lock().iter().copied().collect();
        for ino in inos {
            let inode = {
                let mut shard = self.icache.shard(ino).lock();
                match shard.get_mut(&ino) {
                    Some(s) if !s.dying => {
                        s.users += 1;
                        s.inode.clone()
                    }
                    _ => {
                        self.icache.lazy.lock().remove(&ino);
                        continue;
                    }
                }
            };
            let r = self.write_lazy(&inode);
            self.iput(inode)?;
            r?;
        }
        Ok(())
    }

    /// A new inode's state: zeroed, with its size of extra fields, times and ownership set.
    pub(crate) fn blank_inode(&self, ino: u32, m: u16) -> InodeState {
        let generation = self.platform.random_u32();
        let mut raw = vec![0; self.sb.inode_size];
        if self.sb.inode_size > di::GOOD_OLD_SIZE {
            let room = self.sb.inode_size - di::GOOD_OLD_SIZE;
            let want = usize::from(self.sb.want_extra_isize)
                .clamp(28, room.max(28))
                .min(room);
            put16(&mut raw, di::EXTRA_ISIZE, (want & !3) as u16);
        }
        let now = self.platform.now();
        InodeState {
            seed: inode_seed(&self.sb, ino, generation),
            raw,
            mode: m,
            generation,
            atime: now,
            mtime: now,
            ctime: now,
            crtime: now,
            ..InodeState::default()
        }
    }
}
