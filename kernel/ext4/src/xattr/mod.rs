//! Extended attributes: in the inode behind its fields, in one block of its own, or (large values) in an
//! inode of their own.
//!
//! An area is decoded as a whole, changed as a list, and encoded again. Blocks may be shared by several inodes; a
//! shared one is copied before it changes.

mod area;

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use crate::balloc::{Draw, Goal};
use area::{BLOCK_HEADER, INLINE, Item, MAGIC, PREFIXES, Value, decode, encode, split_name};

use crate::buffer::Buf;
use crate::bytes::{le32, put32};
use crate::inode::{Inode, InodeState, extra_isize};
use crate::journal::Handle;
use crate::layout::{compat, di, iflags, sb};
use crate::platform::Platform;
use crate::seal::Kind;
use crate::{Errno, Fs, Result, XattrMode, acl};

/// The attributes of an inode: those in it and those in its block.
#[derive(Clone, Default)]
struct Attrs {
    body: Vec<Item>,
    block: Vec<Item>,
}

impl<P: Platform> Fs<P> {
    fn body_start(&self, st: &InodeState) -> usize {
        di::GOOD_OLD_SIZE + extra_isize(&st.raw)
    }

    fn load_body(&self, st: &InodeState) -> Result<Vec<Item>> {
        let start = self.body_start(st);
        match st.raw.get(start..) {
            Some(area) if st.raw.len() > di::GOOD_OLD_SIZE && le32(area, 0) == MAGIC => {
                decode(area, 4, 4)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn load_block(&self, st: &InodeState) -> Result<Vec<Item>> {
        if st.file_acl == 0 {
            return Ok(Vec::new());
        }
        let buf = self.xattr_block(st.file_acl)?;
        let s = buf.read();
        decode(&s.data, BLOCK_HEADER, 0)
    }

    fn xattr_block(&self, block: u64) -> Result<Arc<Buf<P>>> {
        if !self.valid_blocks(block, 1) {
            return Err(Errno::EUCLEAN);
        }
        let buf = self.bread(block, Kind::Xattr)?;
        let ok = {
            let s = buf.read();
            le32(&s.data, 0) == MAGIC && le32(&s.data, 8) == 1 && le32(&s.data, 4) > 0
        };
        if !ok {
            self.damage(format_args!("damaged attribute block {block}"));
            return Err(Errno::EUCLEAN);
        }
        Ok(buf)
    }

    fn load_attrs(&self, st: &InodeState) -> Result<Attrs> {
        Ok(Attrs {
            body: self.load_body(st)?,
            block: self.load_block(st)?,
        })
    }

    fn value_bytes(&self, v: &Value) -> Result<Vec<u8>> {
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

    /// The value of attribute `name` (with prefix: `user.x`, `system.posix_acl_access`, in the form that getxattr(2)
    /// returns). `ENODATA`, `EOPNOTSUPP` for an unknown prefix.
    pub fn getxattr(&self, inode: &Inode<P>, name: &[u8]) -> Result<Vec<u8>> {
        let key = split_name(name)?;
        if key == INLINE {
            return Err(Errno::ENODATA);
        }
        let st = inode.read();
        let attrs = self.load_attrs(&st)?;
        let item = attrs.body.iter().chain(&attrs.block).find(|i| i.is(key));
        let value = item.ok_or(Errno::ENODATA)?.value.clone();
        drop(st);
        let value = self.value_bytes(&value)?;
        if matches!(key.0, 2 | 3) {
            acl::from_disk(&value)
        } else {
            Ok(value)
        }
    }

    /// All names, each followed by a NUL, as listxattr(2); the caller filters `trusted.`.
    pub fn listxattr(&self, inode: &Inode<P>) -> Result<Vec<u8>> {
        let st = inode.read();
        let attrs = self.load_attrs(&st)?;
        let mut out = Vec::new();
        for i in attrs
            .body
            .iter()
            .chain(&attrs.block)
            .filter(|i| !i.is(INLINE))
        {
            if let Some((_, prefix)) = PREFIXES.iter().find(|p| p.0 == i.index) {
                out.extend_from_slice(prefix);
                out.extend_from_slice(&i.name);
                out.push(0);
            }
        }
        Ok(out)
    }

    /// Sets an attribute. `ENOSPC` if it does not fit, `EEXIST`/`ENODATA` by `mode`.
    pub fn setxattr(
        &self,
        inode: &Inode<P>,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        self.change_xattr(inode, name, Some(value), mode)
    }

    /// Removes an attribute. `ENODATA`.
    pub fn removexattr(&self, inode: &Inode<P>, name: &[u8]) -> Result<()> {
        self.change_xattr(inode, name, None, XattrMode::Replace)
    }

    fn change_xattr(
        &self,
        inode: &Inode<P>,
        name: &[u8],
        value: Option<&[u8]>,
        mode: XattrMode,
    ) -> Result<()> {
        self.retry_full(|| {
            let mut st = inode.write();
            let h = self.start(16)?;
            self.xattr_set(&h, inode, &mut st, name, value, mode)?;
            st.ctime = self.platform.now();
            self.store_inode(&h, inode, &mut st, true)
        })
    }

    /// Changes an attribute in memory and in its block; the caller stores the inode.
    pub(crate) fn xattr_set(
        &self,
        h: &Handle<'_, P>,
        inode: &Inode<P>,
        st: &mut InodeState,
        name: &[u8],
        value: Option<&[u8]>,
        mode: XattrMode,
    ) -> Result<()> {
        let key = split_name(name)?;
        if key == INLINE {
            return Err(Errno::EPERM);
        }
        if key.1.len() > 255 {
            return Err(Errno::ERANGE);
        }
        let attrs = self.load_attrs(st)?;
        let there = attrs.body.iter().chain(&attrs.block).find(|i| i.is(key));
        match (mode, there) {
            (XattrMode::Create, Some(_)) => return Err(Errno::EEXIST),
            (XattrMode::Replace, None) => return Err(Errno::ENODATA),
            _ => {}
        }
        if let Some(Item {
            value: Value::Inode(..),
            ..
        }) = there
        {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut new = attrs.clone();
        new.body.retain(|i| !i.is(key));
        new.block.retain(|i| !i.is(key));
        let Some(value) = value else {
            return self.write_attrs(h, inode, st, &attrs, &new);
        };
        let value = if matches!(key.0, 2 | 3) {
            acl::to_disk(value)?
        } else {
            value.to_vec()
        };
        let item = Item {
            index: key.0,
            name: key.1.to_vec(),
            value: Value::Bytes(value),
        };
        let mut in_body = new.clone();
        in_body.body.push(item.clone());
        if self.body_fits(st, &in_body.body) {
            return self.write_attrs(h, inode, st, &attrs, &in_body);
        }
        new.block.push(item);
        self.write_attrs(h, inode, st, &attrs, &new)
    }

    fn body_fits(&self, st: &InodeState, items: &[Item]) -> bool {
        let room = st.raw.len().saturating_sub(self.body_start(st));
        let need: usize = items.iter().map(|i| i.entry_size() + i.value_size()).sum();
        st.raw.len() > di::GOOD_OLD_SIZE && 4 + need + 4 <= room
    }

    fn write_attrs(
        &self,
        h: &Handle<'_, P>,
        inode: &Inode<P>,
        st: &mut InodeState,
        old: &Attrs,
        new: &Attrs,
    ) -> Result<()> {
        // The block first: it is what can fail.
        if old.block != new.block {
            self.write_block_attrs(h, inode, st, &new.block)?;
        }
        if old.body != new.body {
            self.put_body(st, &new.body);
        }
        Ok(())
    }

    fn put_body(&self, st: &mut InodeState, items: &[Item]) {
        let start = self.body_start(st);
        let Some(area) = st.raw.get_mut(start..) else {
            return;
        };
        if items.is_empty() {
            area.fill(0);
            return;
        }
        put32(area, 0, MAGIC);
        encode(area, 4, 4, items, false);
    }

    fn write_block_attrs(
        &self,
        h: &Handle<'_, P>,
        inode: &Inode<P>,
        st: &mut InodeState,
        items: &[Item],
    ) -> Result<()> {
        if items.is_empty() {
            return self.drop_xattr_block(h, st);
        }
        let mut items = items.to_vec();
        items.sort_by(|a, b| {
            (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name))
        });
        let mut data = vec![0; self.sb.block_size as usize];
        if !encode(&mut data, BLOCK_HEADER, 0, &items, true) {
            return Err(Errno::ENOSPC);
        }
        put32(&mut data, 0, MAGIC);
        put32(&mut data, 4, 1);
        put32(&mut data, 8, 1);
        let hash = items.iter().fold(0u32, |h, i| h.rotate_left(16) ^ i.hash());
        put32(
            &mut data,
            12,
            if items.iter().any(|i| i.hash() == 0) {
                0
            } else {
                hash
            },
        );
        let shared = st.file_acl != 0 && {
            let buf = self.xattr_block(st.file_acl)?;
            let s = buf.read();
            le32(&s.data, 4) > 1
        };
        if !self.sb.has(compat::EXT_ATTR) {
            self.note_feature(h, sb::COMPAT, compat::EXT_ATTR)?;
        }
        if st.file_acl == 0 || shared {
            let block = self.alloc_meta(h, Goal::Group(inode.loc.group), Draw::Normal)?;
            if shared {
                self.drop_xattr_block(h, st)?;
            }
            st.file_acl = block;
            st.sectors += u64::from(self.sb.block_size / 512);
        }
        let buf = self.cache.getblk(st.file_acl);
        h.fresh(&buf, Kind::Xattr)
            .bytes_mut()
            .copy_from_slice(&data);
        Ok(())
    }

    /// Gives up the inode's attribute block: frees it, or counts one user less.
    pub(crate) fn drop_xattr_block(&self, h: &Handle<'_, P>, st: &mut InodeState) -> Result<()> {
        if st.file_acl == 0 {
            return Ok(());
        }
        let buf = self.xattr_block(st.file_acl)?;
        let users = le32(&buf.read().data, 4);
        if users > 1 {
            put32(h.write(&buf, Kind::Xattr).bytes_mut(), 4, users - 1);
        } else {
            self.free_blocks(h, st.file_acl, 1, true)?;
        }
        st.file_acl = 0;
        st.sectors = st
            .sectors
            .saturating_sub(u64::from(self.sb.block_size / 512));
        Ok(())
    }

    /// Numbers of the inodes that hold values of this one.
    pub(crate) fn ea_inodes(&self, st: &InodeState) -> Result<Vec<u32>> {
        if !self.sb.is(crate::layout::incompat::EA_INODE) {
            return Ok(Vec::new());
        }
        let attrs = self.load_attrs(st)?;
        let all = attrs.body.iter().chain(&attrs.block);
        Ok(all
            .filter_map(|i| match i.value {
                Value::Inode(ino, ..) => Some(ino),
                Value::Bytes(_) => None,
            })
            .collect())
    }

    /// One user less for an inode that holds a value; the last one frees it. The count is kept in the inode's change
    /// time (upper half) and version (lower half).
    pub(crate) fn release_ea_inode(&self, ino: u32) -> Result<()> {
        let inode = self.iget_any(ino, false)?;
        let r = self.release_ea_locked(&inode);
        self.iput(inode)?;
        r
    }

    fn release_ea_locked(&self, inode: &Inode<P>) -> Result<()> {
        let mut st = inode.write();
        if st.flags & iflags::EA_INODE == 0 {
            return Err(Errno::EUCLEAN);
        }
        let count =
            u64::from(le32(&st.raw, di::CTIME)) << 32 | u64::from(le32(&st.raw, di::VERSION_LO));
        let left = count.saturating_sub(1);
        let h = self.start(8)?;
        // Storing counts the version up by one; the lower half is set to come out right.
        put32(&mut st.raw, di::VERSION_LO, (left as u32).wrapping_sub(1));
        st.ctime = crate::Timespec {
            sec: i64::from((left >> 32) as u32 as i32),
            nsec: 0,
        };
        if left == 0 {
            st.nlink = 0;
            self.orphan_add(&h, inode, &mut st)?;
        }
        self.store_inode(&h, inode, &mut st, true)
    }

    /// The part of inline data that is kept as an attribute.
    pub(crate) fn inline_value(&self, st: &InodeState) -> Result<Vec<u8>> {
        let body = self.load_body(st)?;
        Ok(
            match body.into_iter().find(|i| i.is(INLINE)).map(|i| i.value) {
                Some(Value::Bytes(v)) => v,
                _ => Vec::new(),
            },
        )
    }

    /// Ends the inline state of an inode: no inline attribute, an empty map.
    pub(crate) fn clear_inline(&self, st: &mut InodeState) -> Result<()> {
        let mut body = self.load_body(st)?;
        body.retain(|i| !i.is(INLINE));
        self.put_body(st, &body);
        st.flags &= !crate::inode_flags::INLINE_DATA;
        self.map_init(st);
        Ok(())
    }
}
