//! POSIX ACLs: the form in attributes on disk and the form that getxattr(2) uses.
//!
//! On disk (version 1) entries without an id are four bytes; for user space (version 2) all are eight.

use alloc::vec::Vec;

use crate::bytes::{le16, le32};
use crate::{Errno, Result};

const DISK: u32 = 1;
const USER: u32 = 2;
const ACL_USER: u16 = 2;
const ACL_GROUP: u16 = 8;

fn has_id(tag: u16) -> bool {
    tag == ACL_USER || tag == ACL_GROUP
}

fn known(tag: u16) -> bool {
    matches!(tag, 1 | 2 | 4 | 8 | 0x10 | 0x20)
}

/// Disk form to user form.
pub(crate) fn from_disk(v: &[u8]) -> Result<Vec<u8>> {
    if v.len() < 4 || le32(v, 0) != DISK {
        return Err(Errno::EUCLEAN);
    }
    let mut out = USER.to_le_bytes().to_vec();
    let mut off = 4;
    while off < v.len() {
        let tag = le16(v, off);
        let size = if has_id(tag) { 8 } else { 4 };
        let entry = v
            .get(off..off + size)
            .filter(|_| known(tag))
            .ok_or(Errno::EUCLEAN)?;
        out.extend_from_slice(&entry[..4]);
        out.extend_from_slice(entry.get(4..8).unwrap_or(&[0xff; 4]));
        off += size;
    }
    Ok(out)
}

/// User form to disk form. `EINVAL` if it is none.
pub(crate) fn to_disk(v: &[u8]) -> Result<Vec<u8>> {
    if v.len() < 4 || le32(v, 0) != USER || !(v.len() - 4).is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let mut out = DISK.to_le_bytes().to_vec();
    for entry in v[4..].chunks(8) {
        let tag = le16(entry, 0);
        if !known(tag) || le16(entry, 2) > 7 {
            return Err(Errno::EINVAL);
        }
        out.extend_from_slice(&entry[..if has_id(tag) { 8 } else { 4 }]);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let mut user = vec_of(&[2, 0, 0, 0]);
        for (tag, perm, id) in [
            (1u16, 7u16, !0u32),
            (2, 5, 1000),
            (4, 5, !0),
            (0x10, 7, !0),
            (0x20, 1, !0),
        ] {
            user.extend_from_slice(&tag.to_le_bytes());
            user.extend_from_slice(&perm.to_le_bytes());
            user.extend_from_slice(&id.to_le_bytes());
        }
        let disk = to_disk(&user).unwrap();
        assert_eq!(disk.len(), 4 + 4 * 4 + 8);
        assert_eq!(from_disk(&disk).unwrap(), user);
        assert_eq!(to_disk(&user[..9]), Err(Errno::EINVAL));
    }

    fn vec_of(b: &[u8]) -> Vec<u8> {
        b.to_vec()
    }
}
