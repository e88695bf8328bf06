//! Orphans: inodes that a crash must not forget, because they have no name any more but are still in use, or
//! because they are being cut.
//!
//! They are linked through `i_dtime` from the superblock, or, with the orphan_file feature, listed in that file. At
//! mount all are finished.
//!
//! Locking: one mutex, inside a handle; it also covers `i_dtime` of listed inodes in the inode table.

use alloc::sync::Arc;
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::buffer::Buf;
use crate::bytes::{le32, put32};
use crate::inode::{Inode, InodeState};
use crate::journal::Handle;
use crate::layout::{compat, di, ro_compat, sb};
use crate::platform::{Lock, LogLevel, Platform};
use crate::seal::Kind;
use crate::{Errno, Fs, Result};

/// How an inode is recorded as an orphan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OrphanState {
    /// It is not.
    #[default]
    None,
    /// On the list through the inodes.
    Listed,
    /// In the orphan file: block and slot.
    InFile(u32, u32),
}

const FILE_MAGIC: u32 = 0x0b10_ca04;

/// The list and the file.
#[derive(Default)]
pub(crate) struct Orphans {
    head: u32,
    /// Listed inode → (towards the head, away from it); 0 ends.
    links: HashMap<u32, (u32, u32)>,
    /// The orphan file's blocks.
    file: Vec<u64>,
    file_seed: u32,
    /// Where a free slot was last seen.
    cursor: u32,
}

impl<P: Platform> Fs<P> {
    fn slots_per_block(&self) -> u32 {
        self.sb.block_size / 4 - 2
    }

    fn orphan_block(&self, o: &Orphans, i: usize) -> Result<Arc<Buf<P>>> {
        let block = *o.file.get(i).ok_or(Errno::EUCLEAN)?;
        self.bread(block, Kind::OrphanFile { seed: o.file_seed })
    }

    /// Records an inode as an orphan. The caller stores the inode afterwards.
    pub(crate) fn orphan_add(
        &self,
        h: &Handle<'_, P>,
        inode: &Inode<P>,
        st: &mut InodeState,
    ) -> Result<()> {
        if st.orphan != OrphanState::None {
            return Ok(());
        }
        let mut o = self.orphans.lock();
        if let Some((b, s)) = self.file_add(h, &mut o, inode.ino())? {
            st.orphan = OrphanState::InFile(b, s);
            return Ok(());
        }
        let next = o.head;
        self.set_head(h, inode.ino())?;
        o.head = inode.ino();
        o.links.insert(inode.ino(), (0, next));
        if let Some(l) = o.links.get_mut(&next) {
            l.0 = inode.ino();
        }
        put32(&mut st.raw, di::DTIME, next);
        st.orphan = OrphanState::Listed;
        Ok(())
    }

    fn file_add(&self, h: &Handle<'_, P>, o: &mut Orphans, ino: u32) -> Result<Option<(u32, u32)>> {
        let n = o.file.len() as u32;
        let slots = self.slots_per_block();
        for i in 0..n {
            let b = (o.cursor + i) % n;
            let buf = self.orphan_block(o, b as usize)?;
            let free = {
                let s = buf.read();
                (0..slots).find(|&k| le32(&s.data, k as usize * 4) == 0)
            };
            if let Some(k) = free {
                let mut s = h.write(&buf, Kind::OrphanFile { seed: o.file_seed });
                put32(s.bytes_mut(), k as usize * 4, ino);
                o.cursor = b;
                return Ok(Some((b, k)));
            }
        }
        Ok(None)
    }

    fn set_head(&self, h: &Handle<'_, P>, ino: u32) -> Result<()> {
        let (block, off) = self.sb.location();
        let buf = self.bread(block, Kind::Super)?;
        put32(
            h.write(&buf, Kind::Super).bytes_mut(),
            off + sb::LAST_ORPHAN,
            ino,
        );
        Ok(())
    }

    /// Strikes an inode off. The caller stores the inode afterwards (with its deletion time, if it is deleted).
    pub(crate) fn orphan_remove(
        &self,
        h: &Handle<'_, P>,
        inode: &Inode<P>,
        st: &mut InodeState,
    ) -> Result<()> {
        let mut o = self.orphans.lock();
        match st.orphan {
            OrphanState::None => return Ok(()),
            OrphanState::InFile(b, k) => {
                let buf = self.orphan_block(&o, b as usize)?;
                let mut s = h.write(&buf, Kind::OrphanFile { seed: o.file_seed });
                put32(s.bytes_mut(), k as usize * 4, 0);
                o.cursor = b;
            }
            OrphanState::Listed => {
                let (prev, next) = o.links.get(&inode.ino()).copied().unwrap_or((0, 0));
                if prev == 0 {
                    self.set_head(h, next)?;
                    o.head = next;
                } else {
                    self.set_table_dtime(h, prev, next)?;
                }
                o.links.remove(&inode.ino());
                if let Some(l) = o.links.get_mut(&prev) {
                    l.1 = next;
                }
                if let Some(l) = o.links.get_mut(&next) {
                    l.0 = prev;
                }
                put32(&mut st.raw, di::DTIME, 0);
            }
        }
        st.orphan = OrphanState::None;
        Ok(())
    }

    /// Changes `i_dtime` of another listed inode directly in the inode table.
    fn set_table_dtime(&self, h: &Handle<'_, P>, ino: u32, value: u32) -> Result<()> {
        let loc = self.inode_location(ino)?;
        let buf = self.bread(loc.block, Kind::Plain)?;
        let mut s = h.write(&buf, Kind::Plain);
        let end = loc.offset + self.sb.inode_size;
        let raw = s
            .bytes_mut()
            .get_mut(loc.offset..end)
            .ok_or(Errno::EUCLEAN)?;
        put32(raw, di::DTIME, value);
        crate::inode::reseal(&self.sb, ino, raw);
        Ok(())
    }

    /// The successor of a listed inode, for storing it. Runs `store` with the list held still.
    pub(crate) fn with_orphan_link<R>(&self, ino: u32, store: impl FnOnce(u32) -> R) -> R {
        let o = self.orphans.lock();
        store(o.links.get(&ino).map_or(0, |l| l.1))
    }

    /// Finishes what an earlier mount left: deletes unlinked files, completes truncations.
    pub(crate) fn process_orphans(&self) -> Result<()> {
        self.open_orphan_file()?;
        let listed = self.read_orphan_list()?;
        let in_file = self.read_orphan_file()?;
        let total = listed.len() + in_file.len();
        for ino in listed {
            self.finish_orphan(ino, OrphanState::Listed)?;
        }
        for (ino, b, k) in in_file {
            self.finish_orphan(ino, OrphanState::InFile(b, k))?;
        }
        if total > 0 {
            self.platform.log(
                LogLevel::Info,
                format_args!("ext4: {total} orphan inodes finished"),
            );
            self.commit_running()?;
        }
        Ok(())
    }

    fn open_orphan_file(&self) -> Result<()> {
        if !self.sb.has(compat::ORPHAN_FILE) || self.sb.orphan_file_inum == 0 {
            return Ok(());
        }
        let inode = self.iget_any(self.sb.orphan_file_inum, false)?;
        let r = self.map_orphan_file(&inode);
        self.iput(inode)?;
        let (file, seed) = r?;
        let mut o = self.orphans.lock();
        o.file = file;
        o.file_seed = seed;
        Ok(())
    }

    fn map_orphan_file(&self, inode: &Inode<P>) -> Result<(Vec<u64>, u32)> {
        let st = inode.read();
        let n = (st.size >> self.sb.block_bits).min(512) as u32;
        let mut file = Vec::new();
        for i in 0..n {
            let block = self.meta_block(&st, i)?;
            let buf = self.bread(block, Kind::OrphanFile { seed: st.seed })?;
            if le32(&buf.read().data, self.sb.block_size as usize - 8) != FILE_MAGIC {
                return Err(Errno::EUCLEAN);
            }
            file.push(block);
        }
        Ok((file, st.seed))
    }

    /// The list from the superblock, also entered into `links`.
    fn read_orphan_list(&self) -> Result<Vec<u32>> {
        let (block, off) = self.sb.location();
        let buf = self.bread(block, Kind::Super)?;
        let head = le32(&buf.read().data, off + sb::LAST_ORPHAN);
        let mut list = Vec::new();
        let mut links = HashMap::new();
        let mut ino = head;
        let mut prev = 0;
        while ino != 0 {
            if links.contains_key(&ino) || ino < self.sb.first_ino {
                self.damage(format_args!(
                    "orphan list goes in circles or through inode {ino}"
                ));
                return Err(Errno::EUCLEAN);
            }
            let loc = self.inode_location(ino)?;
            let table = self.bread(loc.block, Kind::Plain)?;
            let next = le32(&table.read().data, loc.offset + di::DTIME);
            links.insert(ino, (prev, next));
            list.push(ino);
            prev = ino;
            ino = next;
        }
        let mut o = self.orphans.lock();
        o.head = head;
        o.links = links;
        Ok(list)
    }

    fn read_orphan_file(&self) -> Result<Vec<(u32, u32, u32)>> {
        let o = self.orphans.lock();
        let mut out = Vec::new();
        for b in 0..o.file.len() {
            let buf = self.orphan_block(&o, b)?;
            let s = buf.read();
            for k in 0..self.slots_per_block() {
                let ino = le32(&s.data, k as usize * 4);
                if ino != 0 {
                    out.push((ino, b as u32, k));
                }
            }
        }
        Ok(out)
    }

    fn finish_orphan(&self, ino: u32, how: OrphanState) -> Result<()> {
        let inode = self.iget_any(ino, true)?;
        let links = {
            let mut st = inode.write();
            st.orphan = how;
            st.nlink
        };
        if links > 0 {
            let mut st = inode.write();
            if st.is_regular() && !st.is_inline() {
                let keep = st.size.div_ceil(u64::from(self.sb.block_size));
                self.free_from(&inode, &mut st, u32::try_from(keep).unwrap_or(u32::MAX))?;
            }
            let h = self.start(8)?;
            self.orphan_remove(&h, &inode, &mut st)?;
            self.store_inode(&h, &inode, &mut st, true)?;
        }
        self.iput(inode)
    }

    /// Whether there are orphans now.
    pub(crate) fn has_orphans(&self) -> bool {
        let o = self.orphans.lock();
        if o.head != 0 {
            return true;
        }
        (0..o.file.len()).any(|b| {
            self.orphan_block(&o, b).is_ok_and(|buf| {
                let s = buf.read();
                (0..self.slots_per_block()).any(|k| le32(&s.data, k as usize * 4) != 0)
            })
        })
    }

    /// Deletes an inode whose last link and last use are gone.
    pub(crate) fn delete_inode(&self, inode: &Arc<Inode<P>>) -> Result<()> {
        let r = self.delete_inode_inner(inode);
        if r.is_err() {
            // It stays on the orphan list: the next mount frees it.
            self.forget_inode(inode.ino());
        }
        r
    }

    fn delete_inode_inner(&self, inode: &Arc<Inode<P>>) -> Result<()> {
        let mut st = inode.write();
        self.drop_ahead(inode.ino());
        self.drop_pending(&mut st, 0, 1 << 32);
        let no_blocks = st.is_inline()
            || st.is_fast_symlink()
            || !(st.is_regular() || st.is_dir() || st.is_symlink());
        if !no_blocks && st.sectors > 0 {
            self.free_from(inode, &mut st, 0)?;
        }
        let ea_inodes = self.ea_inodes(&st)?;
        let h = self.start(24)?;
        self.drop_xattr_block(&h, &mut st)?;
        self.orphan_remove(&h, inode, &mut st)?;
        let now = self.platform.now();
        put32(&mut st.raw, di::DTIME, (now.sec as u32).max(1));
        st.size = 0;
        st.disk_size = 0;
        let dir = st.is_dir();
        self.store_inode(&h, inode, &mut st, true)?;
        self.forget_inode(inode.ino());
        self.free_inode(&h, inode.ino(), dir)?;
        drop(h);
        drop(st);
        for ino in ea_inodes {
            self.release_ea_inode(ino)?;
        }
        Ok(())
    }

    /// Superblock bits about orphans for a mount (`live`) or a clean unmount.
    pub(crate) fn put_orphan_present(&self, raw: &mut [u8], live: bool) {
        if !self.sb.has(compat::ORPHAN_FILE) {
            return;
        }
        let ro = le32(raw, sb::RO_COMPAT);
        let bit = ro_compat::ORPHAN_PRESENT;
        put32(raw, sb::RO_COMPAT, if live { ro | bit } else { ro & !bit });
    }
}
