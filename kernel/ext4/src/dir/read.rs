//! Reading directories in a stable order.
//!
//! Where the file system has `dir_index`, names come in hash order, so that a position (the hash) stays
//! valid while the directory changes shape. Positions are 0 (`.`), 1 (`..`), then hash + 2. Old directories of
//! several blocks without an index are read in block order, with byte offsets as positions.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::block;
use super::hash::Hasher;
use crate::inode::{Inode, InodeState};
use crate::layout::compat;
use crate::platform::Platform;
use crate::{DirEntry, Errno, FileType, Fs, Result, inode_flags};

/// The position at the end of every directory.
const EOF: u64 = i64::MAX as u64;

/// A name with the position it has.
struct Item {
    pos: u64,
    ino: u32,
    file_type: FileType,
    /// Range of the name in the block that is being read.
    off: usize,
    len: usize,
}

fn position((major, minor): (u32, u32)) -> u64 {
    (u64::from(major >> 1) << 32 | u64::from(minor))
        .saturating_add(2)
        .min(EOF - 1)
}

type Emit<'a> = &'a mut dyn FnMut(DirEntry<'_>) -> bool;

/// Hands out sorted items from `cookie` on; the position at which the receiver had enough.
fn hand_out(data: &[u8], items: &[Item], cookie: u64, end: u64, emit: Emit<'_>) -> Option<u64> {
    for (i, item) in items.iter().enumerate() {
        if item.pos < cookie {
            continue;
        }
        let next = match items.get(i + 1) {
            Some(n) if n.pos == item.pos => item.pos,
            Some(_) => item.pos + 1,
            None => end.max(item.pos + 1),
        };
        let name = data.get(item.off..item.off + item.len).unwrap_or(&[]);
        let e = DirEntry {
            name,
            ino: item.ino,
            file_type: item.file_type,
            next,
        };
        if !emit(e) {
            return Some(item.pos);
        }
    }
    None
}

impl<P: Platform> Fs<P> {
    /// Calls `emit` for entries from `cookie` on (0 = start) until it answers `false` (that entry counts as not
    /// delivered) or the directory ends. Returns the cookie to go on with.
    pub fn readdir(
        &self,
        dir: &Inode<P>,
        cookie: u64,
        emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<u64> {
        let st = dir.read();
        if !st.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if cookie >= EOF || st.nlink == 0 {
            return Ok(EOF);
        }
        if st.is_inline() {
            return self.read_inline_dir(dir, &st, cookie, emit);
        }
        if st.flags & inode_flags::INDEX != 0 {
            return self.read_indexed(dir, &st, cookie, emit);
        }
        if self.sb.has(compat::DIR_INDEX) && self.dir_blocks(&st) == 1 {
            if let Some(stop) = self.read_dots(dir, &st, cookie, emit)? {
                return Ok(stop);
            }
            let hasher = self.dir_hasher(&st)?;
            let buf = self.dir_block(&st, 0)?;
            let data = Arc::clone(&buf.read().data);
            let items = self.collect(&data, hasher)?;
            return Ok(hand_out(&data, &items, cookie.max(2), EOF, emit).unwrap_or(EOF));
        }
        self.read_linear(&st, cookie, emit)
    }

    /// The names of a block in hash order, without `.` and `..`.
    fn collect(&self, data: &[u8], hasher: Hasher) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for e in block::entries(data) {
            let Ok(e) = e else {
                self.damage(format_args!("damaged directory block"));
                return Err(Errno::EUCLEAN);
            };
            if e.ino == 0 || e.name == b"." || e.name == b".." {
                continue;
            }
            items.push(Item {
                pos: position(hasher.hash(e.name).ok_or(Errno::EUCLEAN)?),
                ino: e.ino,
                file_type: block::type_of(e.file_type),
                off: e.off + block::HEAD,
                len: e.name.len(),
            });
        }
        items.sort_by_key(|i| i.pos);
        Ok(items)
    }

    /// `.` and `..`, at positions 0 and 1.
    fn read_dots(
        &self,
        dir: &Inode<P>,
        st: &InodeState,
        cookie: u64,
        emit: Emit<'_>,
    ) -> Result<Option<u64>> {
        let file_type = FileType::Directory;
        if cookie == 0
            && !emit(DirEntry {
                name: b".",
                ino: dir.ino(),
                file_type,
                next: 1,
            })
        {
            return Ok(Some(0));
        }
        if cookie <= 1 {
            let parent = self.dir_find(dir, st, b"..")?.map_or(dir.ino(), |f| f.ino);
            if !emit(DirEntry {
                name: b"..",
                ino: parent,
                file_type,
                next: 2,
            }) {
                return Ok(Some(1));
            }
        }
        Ok(None)
    }

    fn read_indexed(
        &self,
        dir: &Inode<P>,
        st: &InodeState,
        cookie: u64,
        emit: Emit<'_>,
    ) -> Result<u64> {
        if let Some(stop) = self.read_dots(dir, st, cookie, emit)? {
            return Ok(stop);
        }
        let cookie = cookie.max(2);
        let hasher = self.dir_hasher(st)?;
        let mut frames = self.dx_probe(st, ((cookie - 2) >> 31) as u32 & !1)?;
        // Every leaf is visited once; a damaged index could go round in circles.
        let mut left = self.dir_blocks(st);
        loop {
            let leaf = self.dx_leaf(&frames)?;
            let buf = self.dir_block(st, leaf)?;
            let data = Arc::clone(&buf.read().data);
            drop(buf);
            let items = self.collect(&data, hasher)?;
            left = left.checked_sub(1).ok_or(Errno::EUCLEAN)?;
            let next = self.dx_next(st, &mut frames)?;
            let end = if next.is_none() { EOF } else { 0 };
            if let Some(stop) = hand_out(&data, &items, cookie, end, emit) {
                return Ok(stop);
            }
            if next.is_none() {
                return Ok(EOF);
            }
        }
    }

    fn read_linear(&self, st: &InodeState, cookie: u64, emit: Emit<'_>) -> Result<u64> {
        let bs = u64::from(self.sb.block_size);
        for lblk in (cookie / bs).min(u64::from(u32::MAX)) as u32..self.dir_blocks(st) {
            let buf = self.dir_block(st, lblk)?;
            let data = Arc::clone(&buf.read().data);
            let base = u64::from(lblk) * bs;
            for e in block::entries(&data) {
                let e = e?;
                let pos = base + e.off as u64;
                if e.ino == 0 || pos < cookie {
                    continue;
                }
                let entry = DirEntry {
                    name: e.name,
                    ino: e.ino,
                    file_type: block::type_of(e.file_type),
                    next: pos + e.rec_len as u64,
                };
                if !emit(entry) {
                    return Ok(pos);
                }
            }
        }
        Ok(st.size)
    }

    fn read_inline_dir(
        &self,
        dir: &Inode<P>,
        st: &InodeState,
        cookie: u64,
        emit: Emit<'_>,
    ) -> Result<u64> {
        if let Some(stop) = self.read_dots(dir, st, cookie, emit)? {
            return Ok(stop);
        }
        let hasher = self.dir_hasher(st)?;
        let mut names = Vec::new();
        let mut items = Vec::new();
        for e in self.inline_dir_entries(dir, st)?.iter().skip(2) {
            items.push(Item {
                pos: position(hasher.hash(&e.name).ok_or(Errno::EUCLEAN)?),
                ino: e.ino,
                file_type: block::type_of(e.file_type),
                off: names.len(),
                len: e.name.len(),
            });
            names.extend_from_slice(&e.name);
        }
        items.sort_by_key(|i| i.pos);
        Ok(hand_out(&names, &items, cookie.max(2), EOF, emit).unwrap_or(EOF))
    }
}
