//! One block of directory entries.
//!
//! An entry is inode number, record length, name length, file type and name; records tile the block.
//! With checksums the last 12 bytes are a tail that looks like an unused entry.

use alloc::vec::Vec;

use crate::bytes::{le16, le32, put, put16, put32};
use crate::{Errno, FileType, Result};

/// Bytes of an entry's fixed part.
pub(crate) const HEAD: usize = 8;
/// Bytes of the checksum tail.
pub(crate) const TAIL: usize = 12;

/// One record of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub off: usize,
    pub rec_len: usize,
    /// 0: unused.
    pub ino: u32,
    pub file_type: u8,
    pub name: &'a [u8],
}

/// Space that a name needs.
pub(crate) fn needed(name_len: usize) -> usize {
    (HEAD + name_len + 3) & !3
}

/// The type byte of directory entries.
pub(crate) fn type_byte(t: FileType) -> u8 {
    match t {
        FileType::Unknown => 0,
        FileType::Regular => 1,
        FileType::Directory => 2,
        FileType::CharDevice => 3,
        FileType::BlockDevice => 4,
        FileType::Fifo => 5,
        FileType::Socket => 6,
        FileType::Symlink => 7,
    }
}

/// The meaning of a type byte.
pub(crate) fn type_of(b: u8) -> FileType {
    match b {
        1 => FileType::Regular,
        2 => FileType::Directory,
        3 => FileType::CharDevice,
        4 => FileType::BlockDevice,
        5 => FileType::Fifo,
        6 => FileType::Socket,
        7 => FileType::Symlink,
        _ => FileType::Unknown,
    }
}

/// The record at `off`. `EUCLEAN` if it does not fit the block.
pub(crate) fn entry_at(data: &[u8], off: usize) -> Result<Entry<'_>> {
    let rec_len = usize::from(le16(data, off + 4));
    let name_len = usize::from(data.get(off + 6).copied().unwrap_or(0));
    let ok = rec_len >= HEAD + 4
        && rec_len.is_multiple_of(4)
        && off + rec_len <= data.len()
        && HEAD + name_len <= rec_len;
    if !ok {
        return Err(Errno::EUCLEAN);
    }
    Ok(Entry {
        off,
        rec_len,
        ino: le32(data, off),
        file_type: data.get(off + 7).copied().unwrap_or(0),
        name: data
            .get(off + HEAD..off + HEAD + name_len)
            .ok_or(Errno::EUCLEAN)?,
    })
}

/// All records of `data`, used or not; stops after the first bad one.
pub(crate) fn entries(data: &[u8]) -> impl Iterator<Item = Result<Entry<'_>>> {
    let mut off = 0;
    core::iter::from_fn(move || {
        if off + HEAD > data.len() {
            return None;
        }
        let e = entry_at(data, off);
        off = match &e {
            Ok(e) => off + e.rec_len,
            Err(_) => data.len(),
        };
        Some(e)
    })
}

/// Finds a name: its record's offset.
pub(crate) fn find<'a>(data: &'a [u8], name: &[u8]) -> Result<Option<Entry<'a>>> {
    for e in entries(data) {
        let e = e?;
        if e.ino != 0 && e.name == name {
            return Ok(Some(e));
        }
    }
    Ok(None)
}

/// Writes a record.
pub(crate) fn put_entry(b: &mut [u8], off: usize, rec_len: usize, ino: u32, t: u8, name: &[u8]) {
    put32(b, off, ino);
    put16(b, off + 4, rec_len as u16);
    put(b, off + 6, &[name.len() as u8, t]);
    put(b, off + HEAD, name);
}

/// Adds a name to the records in `data[..end]`; `false` if there is no room.
pub(crate) fn insert(data: &mut [u8], end: usize, ino: u32, t: u8, name: &[u8]) -> Result<bool> {
    let need = needed(name.len());
    let area = data.get(..end).ok_or(Errno::EUCLEAN)?;
    let mut place = None;
    for e in entries(area) {
        let e = e?;
        let used = if e.ino == 0 { 0 } else { needed(e.name.len()) };
        if e.rec_len - used.min(e.rec_len) >= need {
            place = Some((e.off, used, e.rec_len));
            break;
        }
    }
    let Some((off, used, rec_len)) = place else {
        return Ok(false);
    };
    if used > 0 {
        put16(data, off + 4, used as u16);
    }
    put_entry(data, off + used, rec_len - used, ino, t, name);
    Ok(true)
}

/// Removes the record at `off`: its space goes to the record before it, or it becomes unused.
pub(crate) fn remove(data: &mut [u8], off: usize) -> Result<()> {
    let mut before: Option<(usize, usize)> = None;
    let mut len = 0;
    for e in entries(data) {
        let e = e?;
        if e.off == off {
            len = e.rec_len;
            break;
        }
        before = Some((e.off, e.rec_len));
    }
    if len == 0 {
        return Err(Errno::EUCLEAN);
    }
    match before {
        Some((p, plen)) if p + plen == off => put16(data, p + 4, (plen + len) as u16),
        _ => put32(data, off, 0),
    }
    Ok(())
}

/// Fills `data` with one unused record and, if asked, the checksum tail.
pub(crate) fn init(data: &mut [u8], tail: bool) {
    data.fill(0);
    let end = data.len() - if tail { TAIL } else { 0 };
    put16(data, 4, end as u16);
    if tail {
        init_tail(data);
    }
}

/// Writes the checksum tail's fixed part.
pub(crate) fn init_tail(data: &mut [u8]) {
    let t = data.len() - TAIL;
    put_entry(data, t, TAIL, 0, 0xde, &[]);
    put32(data, t + 8, 0);
}

/// What an entry says: inode number, type byte, name.
pub(crate) type Record = (u32, u8, Vec<u8>);

/// Fills a block with the given records, packed; the last one takes what is left.
pub(crate) fn pack(data: &mut [u8], tail: bool, records: &[Record]) {
    init(data, tail);
    let end = data.len() - if tail { TAIL } else { 0 };
    let mut off = 0;
    for (i, (ino, t, name)) in records.iter().enumerate() {
        let len = if i + 1 == records.len() {
            end - off
        } else {
            needed(name.len())
        };
        put_entry(data, off, len, *ino, *t, name);
        off += len;
    }
}
