//! POSIX access control lists (acl(5)), as the extended attributes `system.posix_acl_access` and `_default` show them.
//!
//! File systems only store the attributes. What they mean is here: access checks, the mode of new files, what a new
//! file inherits, and how lists and permission bits follow each other. Each inode caches its parsed lists.

use super::{Attr, Inode, SetAttr, Time};
use crate::prelude::*;
use crate::process::Cred;

/// Attribute of the list that governs access.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// Attribute of the list that new files in a directory get.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Entry {
    tag: u16,
    perm: u16,
    id: u32,
}

/// A list, its entries in the order of acl(5).
#[derive(Clone, Debug)]
pub struct Acl {
    entries: Vec<Entry>,
}

impl Acl {
    /// From the attribute's value: EINVAL if it is malformed or lacks a required entry. An empty list is `None`.
    pub fn parse(raw: &[u8]) -> Result<Option<Self>> {
        let (head, body) = raw.split_first_chunk::<4>().ok_or(Errno::EINVAL)?;
        if u32::from_le_bytes(*head) != VERSION {
            return Err(Errno::EOPNOTSUPP);
        }
        let (chunks, rest) = body.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(Errno::EINVAL);
        }
        let entries: Vec<Entry> = chunks
            .iter()
            .map(|c| Entry {
                tag: u16::from_le_bytes([c[0], c[1]]),
                perm: u16::from_le_bytes([c[2], c[3]]),
                id: u32::from_le_bytes([c[4], c[5], c[6], c[7]]),
            })
            .collect();
        if entries.is_empty() {
            return Ok(None);
        }
        let acl = Self { entries };
        acl.validate()?;
        Ok(Some(acl))
    }

    fn validate(&self) -> Result<()> {
        let count = |tag| self.entries.iter().filter(|e| e.tag == tag).count();
        let ordered = self
            .entries
            .windows(2)
            .all(|pair| pair[0].tag <= pair[1].tag);
        let known = self.entries.iter().all(|e| {
            let tag_ok = matches!(e.tag, USER_OBJ | USER | GROUP_OBJ | GROUP | MASK | OTHER);
            let id_ok = !matches!(e.tag, USER | GROUP) || e.id != NO_ID;
            tag_ok && id_ok && e.perm & !7 == 0
        });
        let named = count(USER) + count(GROUP) > 0;
        let required = count(USER_OBJ) == 1 && count(GROUP_OBJ) == 1 && count(OTHER) == 1;
        let mask_ok = count(MASK) == 1 || (count(MASK) == 0 && !named);
        if ordered && known && required && mask_ok {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// The attribute's value.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut raw = VERSION.to_le_bytes().to_vec();
        for entry in &self.entries {
            raw.extend_from_slice(&entry.tag.to_le_bytes());
            raw.extend_from_slice(&entry.perm.to_le_bytes());
            let id = if matches!(entry.tag, USER | GROUP) {
                entry.id
            } else {
                NO_ID
            };
            raw.extend_from_slice(&id.to_le_bytes());
        }
        raw
    }

    fn perm_of(&self, tag: u16) -> Option<u16> {
        self.entries.iter().find(|e| e.tag == tag).map(|e| e.perm)
    }

    /// Whether permission bits say as much.
    fn is_minimal(&self) -> bool {
        self.entries
            .iter()
            .all(|e| matches!(e.tag, USER_OBJ | GROUP_OBJ | OTHER))
    }

    /// The permission bits (0 to 0777) that go with the list.
    fn mode_bits(&self) -> u32 {
        let owner = u32::from(self.perm_of(USER_OBJ).unwrap_or(0));
        let group = self
            .perm_of(MASK)
            .or_else(|| self.perm_of(GROUP_OBJ))
            .unwrap_or(0);
        let other = u32::from(self.perm_of(OTHER).unwrap_or(0));
        owner << 6 | u32::from(group) << 3 | other
    }

    /// The same list after chmod(2).
    fn with_mode(&self, mode: u32) -> Self {
        let has_mask = self.perm_of(MASK).is_some();
        let mut acl = self.clone();
        for entry in &mut acl.entries {
            let bits = match entry.tag {
                USER_OBJ => mode >> 6,
                GROUP_OBJ if !has_mask => mode >> 3,
                MASK => mode >> 3,
                OTHER => mode,
                _ => continue,
            };
            entry.perm = (bits & 7) as u16;
        }
        acl
    }

    /// The list that a new file made with `mode` gets from this default list, and its mode.
    fn for_new(&self, mode: u32) -> (Self, u32) {
        let allowed = self.mode_bits();
        let mode = mode & (!0o777 | allowed);
        (self.with_mode(mode), mode)
    }

    /// Whether `cred`, who is not the owner, may do what `want` (MAY_* bits) says.
    fn allows(&self, attr: &Attr, cred: &Cred, want: u32) -> bool {
        let mask = self.perm_of(MASK).unwrap_or(7);
        let grants = |perm: u16| want & !u32::from(perm) & 7 == 0;
        let mut in_a_group = false;
        for entry in &self.entries {
            match entry.tag {
                USER if entry.id == cred.fsuid => return grants(entry.perm & mask),
                GROUP_OBJ | GROUP => {
                    let gid = if entry.tag == GROUP {
                        entry.id
                    } else {
                        attr.gid
                    };
                    if cred.in_group(gid) {
                        in_a_group = true;
                        if grants(entry.perm) {
                            return grants(entry.perm & mask);
                        }
                    }
                }
                OTHER => return !in_a_group && grants(entry.perm),
                _ => {}
            }
        }
        false
    }
}

/// An inode's parsed lists: `None` inside means that there is none, an empty cache that nobody looked yet.
#[derive(Default)]
pub struct Cache {
    access: SpinLock<Option<Option<Arc<Acl>>>>,
    default: SpinLock<Option<Option<Arc<Acl>>>>,
}

impl Cache {
    /// Forgets what was read.
    pub fn invalidate(&self) {
        let old = (self.access.lock().take(), self.default.lock().take());
        drop(old);
    }
}

fn list(inode: &Arc<Inode>, name: &[u8]) -> Option<Arc<Acl>> {
    let slot = if name == ACCESS {
        &inode.acls.access
    } else {
        &inode.acls.default
    };
    if let Some(known) = &*slot.lock() {
        return known.clone();
    }
    let read = inode.ops.getxattr(inode, name);
    let found = match read {
        Ok(raw) => Acl::parse(&raw).ok().flatten().map(Arc::new),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => None,
        // Not remembered: it may work the next time.
        Err(_) => return None,
    };
    *slot.lock() = Some(found.clone());
    found
}

/// What the access list says of `cred`, who is not the owner; `None` if there is no list.
pub fn check(inode: &Arc<Inode>, attr: &Attr, cred: &Cred, mask: u32) -> Option<bool> {
    list(inode, ACCESS).map(|acl| acl.allows(attr, cred, mask))
}

/// The permission bits of a new file in `dir`: the default list's, or what the umask leaves.
pub fn new_mode(dir: &Arc<Inode>, mode: u32, umask: u32) -> u32 {
    match list(dir, DEFAULT) {
        Some(default) => default.for_new(mode).1,
        None => mode & !umask,
    }
}

/// Gives a new file (or directory) in `dir` the lists that the directory's default list says.
pub fn inherit(dir: &Arc<Inode>, inode: &Arc<Inode>, is_dir: bool) -> Result<()> {
    let Some(default) = list(dir, DEFAULT) else {
        return Ok(());
    };
    if inode.is_symlink() {
        return Ok(());
    }
    let (access, _) = default.for_new(inode.attr().mode);
    if !access.is_minimal() {
        inode
            .ops
            .setxattr(inode, ACCESS, &access.to_bytes(), false, false)?;
    }
    if is_dir {
        inode
            .ops
            .setxattr(inode, DEFAULT, &default.to_bytes(), false, false)?;
    }
    inode.acls.invalidate();
    Ok(())
}

/// chmod(2) of a file with an access list: the list follows the permission bits.
pub fn mode_changed(inode: &Arc<Inode>, mode: u32) -> Result<()> {
    let Some(acl) = list(inode, ACCESS) else {
        return Ok(());
    };
    let changed = acl.with_mode(mode);
    let done = inode
        .ops
        .setxattr(inode, ACCESS, &changed.to_bytes(), false, false);
    inode.acls.invalidate();
    done
}

/// Sets one of the two attributes: the permission bits follow the access list. `drop_setgid`: the caller is not in
/// the file's group, so that bit goes. EINVAL, EACCES for a default list of what is no directory.
pub fn set(inode: &Arc<Inode>, name: &[u8], value: &[u8], drop_setgid: bool) -> Result<()> {
    const S_ISGID: u32 = 0o2000;
    let acl = Acl::parse(value)?;
    if name == DEFAULT {
        if !inode.is_dir() {
            return if acl.is_some() {
                Err(Errno::EACCES)
            } else {
                Ok(())
            };
        }
        return store(inode, name, acl.as_ref());
    }
    let Some(acl) = acl else {
        return store(inode, name, None);
    };
    let mut mode = (inode.attr().mode & 0o7000) | acl.mode_bits();
    if drop_setgid {
        mode &= !S_ISGID;
    }
    let set = SetAttr {
        mode: Some(mode),
        ctime: Some(Time::now()),
        ..SetAttr::default()
    };
    inode.ops.setattr(inode, &set)?;
    store(inode, name, (!acl.is_minimal()).then_some(&acl))
}

/// Removes one of the two lists; that there was none is no error.
pub fn remove(inode: &Arc<Inode>, name: &[u8]) -> Result<()> {
    store(inode, name, None)
}

fn store(inode: &Arc<Inode>, name: &[u8], acl: Option<&Acl>) -> Result<()> {
    let done = match acl {
        Some(acl) => inode
            .ops
            .setxattr(inode, name, &acl.to_bytes(), false, false),
        None => match inode.ops.removexattr(inode, name) {
            Err(Errno::ENODATA) => Ok(()),
            other => other,
        },
    };
    inode.acls.invalidate();
    done
}
