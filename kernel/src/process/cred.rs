//! Credentials: who a thread acts as, and what it may do (credentials(7), capabilities(7)).
//!
//! A [`Cred`] is immutable once installed; a change makes a new one (`Thread::set_cred`), so that readers and
//! open files keep a consistent snapshot.

use bitflags::bitflags;

use crate::prelude::*;

/// A capability by Linux's number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cap(pub u8);

#[allow(missing_docs)] // capabilities(7) is their documentation
#[allow(dead_code)] // the whole list, though nothing asks for some of them
impl Cap {
    pub const CHOWN: Cap = Cap(0);
    pub const DAC_OVERRIDE: Cap = Cap(1);
    pub const DAC_READ_SEARCH: Cap = Cap(2);
    pub const FOWNER: Cap = Cap(3);
    pub const FSETID: Cap = Cap(4);
    pub const KILL: Cap = Cap(5);
    pub const SETGID: Cap = Cap(6);
    pub const SETUID: Cap = Cap(7);
    pub const SETPCAP: Cap = Cap(8);
    pub const LINUX_IMMUTABLE: Cap = Cap(9);
    pub const NET_BIND_SERVICE: Cap = Cap(10);
    pub const NET_BROADCAST: Cap = Cap(11);
    pub const NET_ADMIN: Cap = Cap(12);
    pub const NET_RAW: Cap = Cap(13);
    pub const IPC_LOCK: Cap = Cap(14);
    pub const IPC_OWNER: Cap = Cap(15);
    pub const SYS_MODULE: Cap = Cap(16);
    pub const SYS_RAWIO: Cap = Cap(17);
    pub const SYS_CHROOT: Cap = Cap(18);
    pub const SYS_PTRACE: Cap = Cap(19);
    pub const SYS_PACCT: Cap = Cap(20);
    pub const SYS_ADMIN: Cap = Cap(21);
    pub const SYS_BOOT: Cap = Cap(22);
    pub const SYS_NICE: Cap = Cap(23);
    pub const SYS_RESOURCE: Cap = Cap(24);
    pub const SYS_TIME: Cap = Cap(25);
    pub const SYS_TTY_CONFIG: Cap = Cap(26);
    pub const MKNOD: Cap = Cap(27);
    pub const LEASE: Cap = Cap(28);
    pub const AUDIT_WRITE: Cap = Cap(29);
    pub const AUDIT_CONTROL: Cap = Cap(30);
    pub const SETFCAP: Cap = Cap(31);
    pub const MAC_OVERRIDE: Cap = Cap(32);
    pub const MAC_ADMIN: Cap = Cap(33);
    pub const SYSLOG: Cap = Cap(34);
    pub const WAKE_ALARM: Cap = Cap(35);
    pub const BLOCK_SUSPEND: Cap = Cap(36);
    pub const AUDIT_READ: Cap = Cap(37);
    pub const PERFMON: Cap = Cap(38);
    pub const BPF: Cap = Cap(39);
    pub const CHECKPOINT_RESTORE: Cap = Cap(40);
    /// The highest there is (/proc/sys/kernel/cap_last_cap).
    pub const LAST: Cap = Cap(40);
}

/// A set of capabilities, a bit each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CapSet(pub u64);

impl CapSet {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// Every capability.
    pub const FULL: Self = Self((1 << (Cap::LAST.0 + 1)) - 1);

    /// Whether `cap` is in the set.
    pub fn has(self, cap: Cap) -> bool {
        cap.0 < 64 && self.0 & (1 << cap.0) != 0
    }

    /// What both sets have.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What either set has.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What this set has and `other` has not.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether every capability of this set is in `other`.
    pub fn is_subset_of(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

bitflags! {
    /// Securebits (capabilities(7), prctl(PR_SET_SECUREBITS)).
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct SecureBits: u32 {
        /// Root gets no capabilities from being root.
        const NOROOT = 1 << 0;
        /// `NOROOT` cannot be changed.
        const NOROOT_LOCKED = 1 << 1;
        /// Capabilities stay as they are when uids change.
        const NO_SETUID_FIXUP = 1 << 2;
        /// `NO_SETUID_FIXUP` cannot be changed.
        const NO_SETUID_FIXUP_LOCKED = 1 << 3;
        /// Permitted capabilities survive the loss of uid 0.
        const KEEP_CAPS = 1 << 4;
        /// `KEEP_CAPS` cannot be changed.
        const KEEP_CAPS_LOCKED = 1 << 5;
        /// Ambient capabilities cannot be raised.
        const NO_CAP_AMBIENT_RAISE = 1 << 6;
        /// `NO_CAP_AMBIENT_RAISE` cannot be changed.
        const NO_CAP_AMBIENT_RAISE_LOCKED = 1 << 7;
    }
}

/// A thread's credentials.
#[derive(Clone, Debug)]
pub struct Cred {
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Saved user.
    pub suid: u32,
    /// User for file access.
    pub fsuid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective group.
    pub egid: u32,
    /// Saved group.
    pub sgid: u32,
    /// Group for file access.
    pub fsgid: u32,
    /// Supplementary groups, ascending.
    pub groups: Arc<[u32]>,
    /// Capabilities kept across exec by files that allow them.
    pub inheritable: CapSet,
    /// Capabilities that may be made effective.
    pub permitted: CapSet,
    /// Capabilities in force.
    pub effective: CapSet,
    /// Upper bound of what exec can give.
    pub bounding: CapSet,
    /// Capabilities kept across an unprivileged exec.
    pub ambient: CapSet,
    /// Special treatment of uid 0.
    pub securebits: SecureBits,
    /// Exec gives no privileges (prctl(PR_SET_NO_NEW_PRIVS)).
    pub no_new_privs: bool,
}

impl Cred {
    /// The superuser with every capability: what init starts with.
    pub fn root() -> Self {
        Self {
            uid: 0,
            euid: 0,
            suid: 0,
            fsuid: 0,
            gid: 0,
            egid: 0,
            sgid: 0,
            fsgid: 0,
            groups: Arc::from([]),
            inheritable: CapSet::EMPTY,
            permitted: CapSet::FULL,
            effective: CapSet::FULL,
            bounding: CapSet::FULL,
            ambient: CapSet::EMPTY,
            securebits: SecureBits::empty(),
            no_new_privs: false,
        }
    }

    /// Whether `cap` is in force.
    pub fn has(&self, cap: Cap) -> bool {
        self.effective.has(cap)
    }

    /// EPERM unless `cap` is in force.
    pub fn require(&self, cap: Cap) -> Result<()> {
        if self.has(cap) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    /// Whether `gid` is the file-access group or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.binary_search(&gid).is_ok()
    }

    /// Whether `gid` is the effective group or a supplementary one.
    pub fn in_egroup(&self, gid: u32) -> bool {
        self.egid == gid || self.groups.binary_search(&gid).is_ok()
    }

    /// Whether this may send a signal to, or change, a process with `target`'s credentials (kill(2)).
    pub fn may_signal(&self, target: &Cred) -> bool {
        self.has(Cap::KILL)
            || self.euid == target.suid
            || self.euid == target.uid
            || self.uid == target.suid
            || self.uid == target.uid
    }
}

/// Capabilities attached to a program file (`security.capability`, capabilities(7)).
#[derive(Clone, Copy, Debug, Default)]
pub struct FileCaps {
    /// Added to permitted, within the bounding set.
    pub permitted: CapSet,
    /// Kept from the thread's inheritable set.
    pub inheritable: CapSet,
    /// Whether the new permitted set becomes effective at once.
    pub effective: bool,
}

/// Reads a file's capabilities; `None` if it has none. EINVAL for a malformed attribute.
pub fn file_caps(inode: &Arc<crate::fs::Inode>) -> Result<Option<FileCaps>> {
    let raw = match inode.ops.getxattr(inode, b"security.capability") {
        Ok(raw) => raw,
        Err(_) => return Ok(None),
    };
    let word = |at: usize| {
        raw.get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map(u32::from_le_bytes)
    };
    let magic = word(0).ok_or(Errno::EINVAL)?;
    let words = match magic >> 24 {
        1 => 1,
        2 | 3 => 2,
        _ => return Err(Errno::EINVAL),
    };
    let mut caps = FileCaps {
        effective: magic & 1 != 0,
        ..FileCaps::default()
    };
    for i in 0..words {
        let shift = 32 * i as u32;
        let permitted = word(4 + 8 * i).ok_or(Errno::EINVAL)?;
        let inheritable = word(8 + 8 * i).ok_or(Errno::EINVAL)?;
        caps.permitted.0 |= u64::from(permitted) << shift;
        caps.inheritable.0 |= u64::from(inheritable) << shift;
    }
    Ok(Some(caps))
}

/// The capability sets after exec (capabilities(7), "Transformation of capabilities during execve()"): true if
/// the program got more than the caller could give itself.
pub fn exec_capabilities(
    old: &Cred,
    new: &mut Cred,
    file: Option<&FileCaps>,
    id_change: bool,
) -> bool {
    let root_rules = !old.securebits.contains(SecureBits::NOROOT);
    let mut caps = file.copied().unwrap_or_default();
    let privileged_file = file.is_some() || id_change;
    if root_rules && (new.euid == 0 || new.uid == 0) && file.is_none_or(|_| new.uid == 0) {
        caps.permitted = CapSet::FULL;
        caps.inheritable = CapSet::FULL;
        caps.effective = new.euid == 0;
    }
    new.ambient = if privileged_file {
        CapSet::EMPTY
    } else {
        old.ambient
    };
    new.permitted = old
        .inheritable
        .and(caps.inheritable)
        .or(caps.permitted.and(old.bounding))
        .or(new.ambient);
    new.effective = if caps.effective {
        new.permitted
    } else {
        new.ambient
    };
    new.securebits.remove(SecureBits::KEEP_CAPS);
    let by_file = file.is_some_and(|f| f.permitted != CapSet::EMPTY);
    by_file && new.uid != 0
}
