//! Values in inodes of their own (`ea_inode`).
//!
//! Such an inode has the `EA_INODE` flag and a count of the entries that refer to it, kept in its change time (upper
//! half) and version (lower half); its access time holds the hash of the value. Its blocks are journalled.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::area::{Value, value_hash};
use crate::balloc::{Draw, Goal};
use crate::bytes::{le32, put, put32};
use crate::checksum::crc32c;
use crate::extent::Extent;
use crate::inode::{Inode, InodeState};
use crate::journal::Handle;
use crate::layout::{di, iflags, incompat, mode};
use crate::platform::Platform;
use crate::seal::Kind;
use crate::{Errno, Fs, Result, Timespec};

impl<P: Platform> Fs<P> {
    /// The bytes of a value, wherever it is.
    pub(super) fn value_bytes(&self, v: &Value) -> Result<Vec<u8>> {
        match v {
            Value::Bytes(b) => Ok(b.clone()),
            Value::Inode(ino, size, _) => {
                let inode = self.iget_any(*ino, false)?;
                let r = self.ea_inode_value(&inode, *size);
                self.iput(inode)?;
                r
            }
        }
    }

    fn ea_inode_value(&self, inode: &Inode<P>, size: u32) -> Result<Vec<u8>> {
        let st = inode.read();
        if st.flags & iflags::EA_INODE == 0 || u64::from(size) > st.size || size > 1 << 20 {
            return Err(Errno::EUCLEAN);
        }
        let bs = self.sb.block_size as usize;
        let mut out = vec![0; size as usize];
        for (lblk, part) in (0u32..).zip(out.chunks_mut(bs)) {
            let buf = self.bread(self.meta_block(&st, lblk)?, Kind::Plain)?;
            part.copy_from_slice(&buf.read().data[..part.len()]);
        }
        Ok(out)
    }

    /// What a value counts for in its owner's space, in 512-byte units.
    pub(super) fn ea_sectors(&self, size: u32) -> u64 {
        u64::from(size).next_multiple_of(u64::from(self.sb.block_size)) / 512
    }

    /// Stores a value in a new inode with one user; the owner is charged for its blocks.
    pub(super) fn create_ea_inode(
        &self,
        h: &Handle<'_, P>,
        owner: &Inode<P>,
        ost: &mut InodeState,
        name: &[u8],
        value: &[u8],
    ) -> Result<Value> {
        let size = u32::try_from(value.len()).map_err(|_| Errno::E2BIG)?;
        let hash = crc32c(self.sb.csum_seed, value);
        let (ino, untouched) = self.alloc_inode(h, owner.ino(), false, false)?;
        let mut st = self.blank_inode(ino, mode::S_IFREG | 0o600);
        (st.uid, st.gid, st.nlink) = (ost.uid, ost.gid, 1);
        st.size = value.len() as u64;
        st.disk_size = st.size;
        self.map_init(&mut st);
        st.flags |= iflags::EA_INODE;
        st.atime = Timespec {
            sec: i64::from(hash as i32),
            nsec: 0,
        };
        st.ctime = Timespec::default();
        // Storing counts the version up to the one user there is.
        put32(&mut st.raw, di::VERSION_LO, 0);
        let inode = match self.insert_new(ino, st) {
            Ok(i) => i,
            Err(e) => {
                self.free_inode(h, ino, false)?;
                return Err(e);
            }
        };
        if let Err(e) = self.fill_ea_inode(h, &inode, value, untouched) {
            self.undo_new(h, &inode, false)?;
            return Err(e);
        }
        self.iput(inode)?;
        ost.sectors += self.ea_sectors(size);
        Ok(Value::Inode(ino, size, value_hash(name, hash)))
    }

    fn fill_ea_inode(
        &self,
        h: &Handle<'_, P>,
        inode: &Inode<P>,
        value: &[u8],
        untouched: bool,
    ) -> Result<()> {
        let table = self.inode_block_for_new(h, inode.loc, untouched)?;
        let mut st = inode.write();
        for (lblk, part) in (0u32..).zip(value.chunks(self.sb.block_size as usize)) {
            let goal = match self.map_goal(&st, lblk)? {
                Some(b) => Goal::Block(b),
                None => Goal::Group(inode.loc.group),
            };
            let pblk = self.alloc_meta(h, goal, Draw::Normal)?;
            let e = Extent {
                lblk,
                len: 1,
                pblk,
                unwritten: false,
            };
            if let Err(e) = self.map_insert(h, &mut st, e, Draw::Normal) {
                self.free_blocks(h, pblk, 1, true)?;
                return Err(e);
            }
            st.sectors += u64::from(self.sb.block_size / 512);
            let buf = self.cache.getblk(pblk);
            put(h.fresh(&buf, Kind::Plain).bytes_mut(), 0, part);
        }
        self.store_inode_in(h, &table, inode, &mut st, true);
        Ok(())
    }

    /// Numbers of the inodes that hold values of this one alone.
    pub(crate) fn ea_inodes(&self, st: &InodeState) -> Result<Vec<u32>> {
        if !self.sb.is(incompat::EA_INODE) {
            return Ok(Vec::new());
        }
        let mut items = self.load_body(st)?;
        if !self.block_is_shared(st)? {
            items.extend(self.load_block(st)?);
        }
        let inode_of = |v: &Value| match v {
            Value::Inode(ino, ..) => Some(*ino),
            Value::Bytes(_) => None,
        };
        Ok(items.iter().filter_map(|i| inode_of(&i.value)).collect())
    }

    /// One user less for an inode that holds a value; with the last one it becomes an orphan. The caller gives the use
    /// back after its handle, which then frees it.
    pub(crate) fn drop_ea_ref(&self, h: &Handle<'_, P>, ino: u32) -> Result<Arc<Inode<P>>> {
        let inode = self.iget_any(ino, false)?;
        // Nobody holds such an inode's lock while waiting for another's.
        let mut st = inode.write();
        if st.flags & iflags::EA_INODE == 0 {
            drop(st);
            self.iput(inode)?;
            return Err(Errno::EUCLEAN);
        }
        let high = u64::from(le32(&st.raw, di::CTIME));
        let count = high << 32 | u64::from(le32(&st.raw, di::VERSION_LO));
        let left = count.saturating_sub(1);
        // Storing counts the version up by one.
        put32(&mut st.raw, di::VERSION_LO, (left as u32).wrapping_sub(1));
        st.ctime = Timespec {
            sec: i64::from((left >> 32) as u32 as i32),
            nsec: 0,
        };
        if left == 0 {
            st.nlink = 0;
            self.orphan_add(h, &inode, &mut st)?;
        }
        self.store_inode(h, &inode, &mut st, true)?;
        drop(st);
        Ok(inode)
    }
}
