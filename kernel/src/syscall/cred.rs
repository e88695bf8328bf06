//! Credentials: users, groups, capabilities (credentials(7), capabilities(7)).

use keel_abi::prelude::*;
use keel_abi::types::{CapUserData, CapUserHeader};

use super::Ctx;
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::{Cap, CapSet, Cred, SecureBits, find_thread};

pub fn getuid(cx: &mut Ctx) -> Result<Uid> {
    Ok(Uid(cx.thread.cred().uid))
}

pub fn geteuid(cx: &mut Ctx) -> Result<Uid> {
    Ok(Uid(cx.thread.cred().euid))
}

pub fn getgid(cx: &mut Ctx) -> Result<Gid> {
    Ok(Gid(cx.thread.cred().gid))
}

pub fn getegid(cx: &mut Ctx) -> Result<Gid> {
    Ok(Gid(cx.thread.cred().egid))
}

pub fn getresuid(
    cx: &mut Ctx,
    ruid: UserPtr<Uid>,
    euid: UserPtr<Uid>,
    suid: UserPtr<Uid>,
) -> Result<()> {
    let cred = cx.thread.cred();
    ruid.write(&Uid(cred.uid))?;
    euid.write(&Uid(cred.euid))?;
    suid.write(&Uid(cred.suid))
}

pub fn getresgid(
    cx: &mut Ctx,
    rgid: UserPtr<Gid>,
    egid: UserPtr<Gid>,
    sgid: UserPtr<Gid>,
) -> Result<()> {
    let cred = cx.thread.cred();
    rgid.write(&Gid(cred.gid))?;
    egid.write(&Gid(cred.egid))?;
    sgid.write(&Gid(cred.sgid))
}

/// Installs credentials whose user ids may have changed: capabilities follow (capabilities(7), "Effect of user ID
/// changes on capabilities").
fn commit_uids(cx: &Ctx, old: &Cred, mut new: Cred) {
    let had_root = [old.uid, old.euid, old.suid].contains(&0);
    let has_root = [new.uid, new.euid, new.suid].contains(&0);
    if !old.securebits.contains(SecureBits::NO_SETUID_FIXUP) {
        if had_root && !has_root {
            if !old.securebits.contains(SecureBits::KEEP_CAPS) {
                new.permitted = CapSet::EMPTY;
                new.effective = CapSet::EMPTY;
            }
            new.ambient = CapSet::EMPTY;
        }
        if old.euid == 0 && new.euid != 0 {
            new.effective = CapSet::EMPTY;
        } else if old.euid != 0 && new.euid == 0 {
            new.effective = new.permitted;
        }
        adjust_fs_caps(old.fsuid, &mut new);
    }
    commit(cx, old, new);
}

/// The capabilities for file access follow the file-system user id.
fn adjust_fs_caps(old_fsuid: u32, new: &mut Cred) {
    let caps = [
        Cap::CHOWN,
        Cap::DAC_OVERRIDE,
        Cap::DAC_READ_SEARCH,
        Cap::FOWNER,
        Cap::FSETID,
        Cap::LINUX_IMMUTABLE,
        Cap::MKNOD,
        Cap::MAC_OVERRIDE,
    ];
    let mask = CapSet(caps.iter().fold(0, |mask, cap| mask | 1 << cap.0));
    if old_fsuid == 0 && new.fsuid != 0 {
        new.effective = new.effective.without(mask);
    } else if old_fsuid != 0 && new.fsuid == 0 {
        new.effective = new.effective.or(new.permitted.and(mask));
    }
}

fn commit(cx: &Ctx, old: &Cred, new: Cred) {
    if old.euid != new.euid || old.egid != new.egid || old.fsuid != new.fsuid {
        let dumpable =
            crate::process::core_dump::SUID_DUMPABLE.load(core::sync::atomic::Ordering::Relaxed);
        cx.thread
            .process
            .dumpable
            .store(dumpable, core::sync::atomic::Ordering::Relaxed);
        cx.thread
            .pdeath_signal
            .store(0, core::sync::atomic::Ordering::Relaxed);
    }
    cx.thread.set_cred(new);
}

/// `None` for "leave as it is".
fn wanted(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

pub fn setuid(cx: &mut Ctx, uid: Uid) -> Result<()> {
    let uid = wanted(uid.0).ok_or(Errno::EINVAL)?;
    let old = cx.thread.cred();
    let mut new = (*old).clone();
    if old.has(Cap::SETUID) {
        new.uid = uid;
        new.suid = uid;
    } else if uid != old.uid && uid != old.suid {
        return Err(Errno::EPERM);
    }
    new.euid = uid;
    new.fsuid = uid;
    commit_uids(cx, &old, new);
    Ok(())
}

pub fn setgid(cx: &mut Ctx, gid: Gid) -> Result<()> {
    let gid = wanted(gid.0).ok_or(Errno::EINVAL)?;
    let old = cx.thread.cred();
    let mut new = (*old).clone();
    if old.has(Cap::SETGID) {
        new.gid = gid;
        new.sgid = gid;
    } else if gid != old.gid && gid != old.sgid {
        return Err(Errno::EPERM);
    }
    new.egid = gid;
    new.fsgid = gid;
    commit(cx, &old, new);
    Ok(())
}

pub fn setreuid(cx: &mut Ctx, ruid: Uid, euid: Uid) -> Result<()> {
    let old = cx.thread.cred();
    let mut new = (*old).clone();
    let privileged = old.has(Cap::SETUID);
    if let Some(ruid) = wanted(ruid.0) {
        if ruid != old.uid && ruid != old.euid && !privileged {
            return Err(Errno::EPERM);
        }
        new.uid = ruid;
    }
    if let Some(euid) = wanted(euid.0) {
        if ![old.uid, old.euid, old.suid].contains(&euid) && !privileged {
            return Err(Errno::EPERM);
        }
        new.euid = euid;
    }
    let changes_saved =
        wanted(ruid.0).is_some() || wanted(euid.0).is_some_and(|euid| euid != old.uid);
    if changes_saved {
        new.suid = new.euid;
    }
    new.fsuid = new.euid;
    commit_uids(cx, &old, new);
    Ok(())
}

pub fn setregid(cx: &mut Ctx, rgid: Gid, egid: Gid) -> Result<()> {
    let old = cx.thread.cred();
    let mut new = (*old).clone();
    let privileged = old.has(Cap::SETGID);
    if let Some(rgid) = wanted(rgid.0) {
        if rgid != old.gid && rgid != old.egid && !privileged {
            return Err(Errno::EPERM);
        }
        new.gid = rgid;
    }
    if let Some(egid) = wanted(egid.0) {
        if ![old.gid, old.egid, old.sgid].contains(&egid) && !privileged {
            return Err(Errno::EPERM);
        }
        new.egid = egid;
    }
    if wanted(rgid.0).is_some() || wanted(egid.0).is_some_and(|egid| egid != old.gid) {
        new.sgid = new.egid;
    }
    new.fsgid = new.egid;
    commit(cx, &old, new);
    Ok(())
}

pub fn setresuid(cx: &mut Ctx, ruid: Uid, euid: Uid, suid: Uid) -> Result<()> {
    let old = cx.thread.cred();
    let wanted = [wanted(ruid.0), wanted(euid.0), wanted(suid.0)];
    let own = [old.uid, old.euid, old.suid];
    if !old.has(Cap::SETUID) && wanted.iter().flatten().any(|uid| !own.contains(uid)) {
        return Err(Errno::EPERM);
    }
    let mut new = (*old).clone();
    new.uid = wanted[0].unwrap_or(old.uid);
    new.euid = wanted[1].unwrap_or(old.euid);
    new.suid = wanted[2].unwrap_or(old.suid);
    new.fsuid = new.euid;
    commit_uids(cx, &old, new);
    Ok(())
}

pub fn setresgid(cx: &mut Ctx, rgid: Gid, egid: Gid, sgid: Gid) -> Result<()> {
    let old = cx.thread.cred();
    let wanted = [wanted(rgid.0), wanted(egid.0), wanted(sgid.0)];
    let own = [old.gid, old.egid, old.sgid];
    if !old.has(Cap::SETGID) && wanted.iter().flatten().any(|gid| !own.contains(gid)) {
        return Err(Errno::EPERM);
    }
    let mut new = (*old).clone();
    new.gid = wanted[0].unwrap_or(old.gid);
    new.egid = wanted[1].unwrap_or(old.egid);
    new.sgid = wanted[2].unwrap_or(old.sgid);
    new.fsgid = new.egid;
    commit(cx, &old, new);
    Ok(())
}

pub fn setfsuid(cx: &mut Ctx, fsuid: Uid) -> Result<Uid> {
    let old = cx.thread.cred();
    let before = old.fsuid;
    let own = [old.uid, old.euid, old.suid, old.fsuid];
    if let Some(uid) = wanted(fsuid.0)
        && (own.contains(&uid) || old.has(Cap::SETUID))
    {
        let mut new = (*old).clone();
        new.fsuid = uid;
        if !old.securebits.contains(SecureBits::NO_SETUID_FIXUP) {
            adjust_fs_caps(before, &mut new);
        }
        commit(cx, &old, new);
    }
    Ok(Uid(before))
}

pub fn setfsgid(cx: &mut Ctx, fsgid: Gid) -> Result<Gid> {
    let old = cx.thread.cred();
    let before = old.fsgid;
    let own = [old.gid, old.egid, old.sgid, old.fsgid];
    if let Some(gid) = wanted(fsgid.0)
        && (own.contains(&gid) || old.has(Cap::SETGID))
    {
        let mut new = (*old).clone();
        new.fsgid = gid;
        commit(cx, &old, new);
    }
    Ok(Gid(before))
}

/// Most supplementary groups (`NGROUPS_MAX`).
const NGROUPS_MAX: usize = 65536;

pub fn getgroups(cx: &mut Ctx, size: i32, list: UserPtr<Gid>) -> Result<i32> {
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    let cred = cx.thread.cred();
    let groups = &cred.groups;
    if size > 0 {
        if groups.len() > size {
            return Err(Errno::EINVAL);
        }
        list.cast::<u32>().write_array(groups)?;
    }
    Ok(groups.len() as i32)
}

pub fn setgroups(cx: &mut Ctx, size: i32, list: UserPtr<Gid>) -> Result<()> {
    let old = cx.thread.cred();
    old.require(Cap::SETGID)?;
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    if size > NGROUPS_MAX {
        return Err(Errno::EINVAL);
    }
    let mut groups = list.cast::<u32>().read_array(size)?;
    groups.sort_unstable();
    let mut new = (*old).clone();
    new.groups = Arc::from(groups);
    cx.thread.set_cred(new);
    Ok(())
}

const CAPABILITY_VERSION_1: u32 = 0x1998_0330;
const CAPABILITY_VERSION_2: u32 = 0x2007_1026;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// How many data words the header's version has; for an unknown one the preferred is written back (EINVAL).
fn cap_words(hdrp: UserPtr<CapUserHeader>) -> Result<(usize, CapUserHeader)> {
    let header = hdrp.read()?;
    match header.version {
        CAPABILITY_VERSION_1 => Ok((1, header)),
        CAPABILITY_VERSION_2 | CAPABILITY_VERSION_3 => Ok((2, header)),
        _ => {
            hdrp.write(&CapUserHeader {
                version: CAPABILITY_VERSION_3,
                ..header
            })?;
            Err(Errno::EINVAL)
        }
    }
}

pub fn capget(
    cx: &mut Ctx,
    hdrp: UserPtr<CapUserHeader>,
    datap: UserPtr<CapUserData>,
) -> Result<()> {
    let (words, header) = match cap_words(hdrp) {
        // Asking only for the version is not an error.
        Err(Errno::EINVAL) if datap.is_null() => return Ok(()),
        other => other?,
    };
    let cred = match header.pid {
        0 => cx.thread.cred(),
        n if n > 0 => find_thread(n.unsigned_abs()).ok_or(Errno::ESRCH)?.cred(),
        _ => return Err(Errno::EINVAL),
    };
    let half = |set: CapSet, at: usize| (set.0 >> (32 * at)) as u32;
    let data: Vec<CapUserData> = (0..words)
        .map(|at| CapUserData {
            effective: half(cred.effective, at),
            permitted: half(cred.permitted, at),
            inheritable: half(cred.inheritable, at),
        })
        .collect();
    if datap.is_null() {
        Ok(())
    } else {
        datap.write_array(&data)
    }
}

pub fn capset(
    cx: &mut Ctx,
    hdrp: UserPtr<CapUserHeader>,
    datap: UserPtr<CapUserData>,
) -> Result<()> {
    let (words, header) = cap_words(hdrp)?;
    if header.pid != 0 && header.pid != cx.thread.tid() as i32 {
        return Err(Errno::EPERM);
    }
    let data = datap.read_array(words)?;
    let join = |pick: fn(&CapUserData) -> u32| {
        let bits = data.iter().enumerate().fold(0, |bits, (at, word)| {
            bits | u64::from(pick(word)) << (32 * at)
        });
        CapSet(bits).and(CapSet::FULL)
    };
    let (effective, permitted, inheritable) = (
        join(|d| d.effective),
        join(|d| d.permitted),
        join(|d| d.inheritable),
    );
    let old = cx.thread.cred();
    let may_add = if old.has(Cap::SETPCAP) {
        old.bounding
    } else {
        old.permitted
    };
    if !permitted.is_subset_of(old.permitted)
        || !effective.is_subset_of(permitted)
        || !inheritable.is_subset_of(old.inheritable.or(may_add))
        || !inheritable.is_subset_of(old.inheritable.or(old.bounding))
    {
        return Err(Errno::EPERM);
    }
    let mut new = (*old).clone();
    new.effective = effective;
    new.permitted = permitted;
    new.inheritable = inheritable;
    new.ambient = old.ambient.and(permitted).and(inheritable);
    cx.thread.set_cred(new);
    Ok(())
}
