//! An area of attributes as bytes: entries from the front, values from the back.

use alloc::vec::Vec;

use crate::bytes::{le16, le32, put, put16, put32};
use crate::{Errno, Result};

pub(super) const MAGIC: u32 = 0xea02_0000;
pub(super) const BLOCK_HEADER: usize = 32;
pub(super) const ENTRY: usize = 16;

/// Name prefixes and their numbers; the longest match first.
pub(super) const PREFIXES: [(u8, &[u8]); 6] = [
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (1, b"user."),
    (4, b"trusted."),
    (6, b"security."),
    (7, b"system."),
];

/// The attribute that holds the rest of inline data.
pub(super) const INLINE: (u8, &[u8]) = (7, b"data");

/// A value, or where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Bytes(Vec<u8>),
    /// In an inode of its own: number, size, and the entry's hash.
    Inode(u32, u32, u32),
}

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub index: u8,
    pub name: Vec<u8>,
    pub value: Value,
}

impl Item {
    pub fn is(&self, (index, name): (u8, &[u8])) -> bool {
        self.index == index && self.name == name
    }

    pub fn entry_size(&self) -> usize {
        (ENTRY + self.name.len() + 3) & !3
    }

    pub fn value_size(&self) -> usize {
        match &self.value {
            Value::Bytes(v) => (v.len() + 3) & !3,
            Value::Inode(..) => 0,
        }
    }

    pub fn hash(&self) -> u32 {
        let v = match &self.value {
            Value::Bytes(v) => v,
            Value::Inode(_, _, hash) => return *hash,
        };
        let mut h = self
            .name
            .iter()
            .fold(0u32, |h, &c| h.rotate_left(5) ^ u32::from(c));
        for w in v.chunks(4) {
            let mut le = [0; 4];
            le[..w.len()].copy_from_slice(w);
            h = h.rotate_left(16) ^ u32::from_le_bytes(le);
        }
        h
    }
}

/// Splits a full name into prefix number and rest.
pub(super) fn split_name(name: &[u8]) -> Result<(u8, &[u8])> {
    for (index, prefix) in PREFIXES {
        if let Some(rest) = name.strip_prefix(prefix) {
            if matches!(index, 2 | 3) {
                if rest.is_empty() {
                    return Ok((index, rest));
                }
                continue;
            }
            return if rest.is_empty() {
                Err(Errno::EINVAL)
            } else {
                Ok((index, rest))
            };
        }
    }
    Err(Errno::EOPNOTSUPP)
}

/// Decodes the entries of `area` from `first` on; value offsets count from `base`.
pub(super) fn decode(area: &[u8], first: usize, base: usize) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut off = first;
    loop {
        let Some(head) = area.get(off..off + ENTRY) else {
            // Fewer bytes than an entry: only the end mark fits.
            let ended = area.get(off..off + 4).is_none_or(|m| m == [0; 4]);
            return if ended {
                Ok(items)
            } else {
                Err(Errno::EUCLEAN)
            };
        };
        if le32(head, 0) == 0 {
            return Ok(items);
        }
        let name_len = usize::from(head[0]);
        let name = area
            .get(off + ENTRY..off + ENTRY + name_len)
            .ok_or(Errno::EUCLEAN)?;
        let size = le32(head, 8);
        let inum = le32(head, 4);
        let value = if inum != 0 {
            Value::Inode(inum, size, le32(head, 12))
        } else {
            let at = base + usize::from(le16(head, 2));
            let end = at.checked_add(size as usize).ok_or(Errno::EUCLEAN)?;
            Value::Bytes(if size == 0 {
                Vec::new()
            } else {
                area.get(at..end).ok_or(Errno::EUCLEAN)?.to_vec()
            })
        };
        items.push(Item {
            index: head[1],
            name: name.to_vec(),
            value,
        });
        off += (ENTRY + name_len + 3) & !3;
    }
}

/// Encodes the items into `area` behind `first`; `false` if they do not fit.
pub(super) fn encode(
    area: &mut [u8],
    first: usize,
    base: usize,
    items: &[Item],
    hashes: bool,
) -> bool {
    let need: usize = items.iter().map(|i| i.entry_size() + i.value_size()).sum();
    if first + need + 4 > area.len() {
        return false;
    }
    if let Some(rest) = area.get_mut(first..) {
        rest.fill(0);
    }
    let mut off = first;
    let mut top = area.len();
    for i in items {
        put(area, off, &[i.name.len() as u8, i.index]);
        match &i.value {
            Value::Bytes(v) => {
                top -= i.value_size();
                if !v.is_empty() {
                    put16(area, off + 2, (top - base) as u16);
                }
                put(area, top, v);
                put32(area, off + 8, v.len() as u32);
            }
            Value::Inode(ino, size, _) => {
                put32(area, off + 4, *ino);
                put32(area, off + 8, *size);
            }
        }
        if hashes || matches!(i.value, Value::Inode(..)) {
            put32(area, off + 12, i.hash());
        }
        put(area, off + ENTRY, &i.name);
        off += i.entry_size();
    }
    true
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn names() {
        assert_eq!(split_name(b"user.x"), Ok((1, &b"x"[..])));
        assert_eq!(split_name(b"system.posix_acl_access"), Ok((2, &b""[..])));
        assert_eq!(split_name(b"user."), Err(Errno::EINVAL));
        assert_eq!(split_name(b"os2.x"), Err(Errno::EOPNOTSUPP));
    }

    #[test]
    fn areas() {
        let items = vec![
            Item {
                index: 1,
                name: b"a".to_vec(),
                value: Value::Bytes(b"12345".to_vec()),
            },
            Item {
                index: 6,
                name: b"empty".to_vec(),
                value: Value::Bytes(Vec::new()),
            },
        ];
        let mut area = vec![0; 100];
        assert!(encode(&mut area, 4, 4, &items, true));
        assert_eq!(decode(&area, 4, 4), Ok(items.clone()));
        let mut small = vec![0; 48];
        assert!(!encode(&mut small, 4, 4, &items, true));
    }
}
