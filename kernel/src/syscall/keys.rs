//! Keys: add_key, request_key, keyctl (keyctl(2)).

use keel_abi::prelude::*;

use super::Ctx;
use crate::mm::user::{self, UserStrAccess};
use crate::prelude::*;
use crate::process::keys::{Caller, Key, KeyType, MAX_PAYLOAD, Need};

/// Longest name of a type, NUL included.
const MAX_TYPE: usize = 32;
/// Longest description, NUL included.
const MAX_DESCRIPTION: usize = 4096;
/// What KEYCTL_CAPABILITIES tells of: big keys, invalidation, restrictions, moving.
const CAPABILITIES: [u8; 2] = [0x78, 0];
/// KEYCTL_MOVE: do not replace a key.
const MOVE_EXCL: u64 = 1;

/// The name of a type: EINVAL, and EPERM for the kernel's own.
fn type_name(text: UserStr) -> Result<Vec<u8>> {
    let name = text.read_string(MAX_TYPE - 1, Errno::EINVAL)?;
    match name.first() {
        None => Err(Errno::EINVAL),
        Some(b'.') => Err(Errno::EPERM),
        Some(_) => Ok(name),
    }
}

fn description(text: UserStr) -> Result<Vec<u8>> {
    text.read_string(MAX_DESCRIPTION - 1, Errno::EINVAL)
}

pub fn add_key(
    cx: &mut Ctx,
    ty: UserStr,
    desc: UserStr,
    payload: UserPtr<u8>,
    plen: usize,
    keyring: KeySerial,
) -> Result<KeySerial> {
    if plen > MAX_PAYLOAD {
        return Err(Errno::EINVAL);
    }
    let name = type_name(ty)?;
    let text = if desc.addr() == 0 {
        Vec::new()
    } else {
        description(desc)?
    };
    if name == b"keyring" && text.first() == Some(&b'.') {
        return Err(Errno::EPERM);
    }
    let payload = user::read_bytes(payload.addr(), plen)?;
    let caller = Caller::new(cx.thread);
    let (ring, possessed) = caller.lookup(keyring.0, true, Need::WRITE)?;
    let kind = KeyType::named(&name).ok_or(Errno::ENODEV)?;
    let key = caller.add(&ring, possessed, kind, text, payload)?;
    Ok(KeySerial(key.serial))
}

pub fn request_key(
    cx: &mut Ctx,
    ty: UserStr,
    desc: UserStr,
    callout_info: UserStr,
    dest_keyring: KeySerial,
) -> Result<KeySerial> {
    let name = type_name(ty)?;
    let text = description(desc)?;
    let asks = callout_info.addr() != 0;
    if asks {
        callout_info.read_string(PAGE_SIZE - 1, Errno::EINVAL)?;
    }
    let caller = Caller::new(cx.thread);
    let wanted = match dest_keyring.0 {
        0 => None,
        id => Some(caller.lookup(id, true, Need::WRITE)?.0),
    };
    let kind = KeyType::named(&name).ok_or(Errno::ENOKEY)?;
    match caller.search(kind, &text) {
        Ok(key) => {
            if let Some(keyring) = wanted {
                if !caller.may(&key, true, Need::LINK) {
                    return Err(Errno::EACCES);
                }
                keyring.link(&key)?;
            }
            Ok(KeySerial(key.serial))
        }
        Err(Errno::EAGAIN) => {
            if asks {
                // Nobody is there to be asked: the answer is no, for a while.
                let keyring = match wanted {
                    Some(keyring) => keyring,
                    None => caller.default_keyring()?,
                };
                caller.add_negative(&keyring, kind, text)?;
            }
            Err(Errno::ENOKEY)
        }
        Err(error) => Err(error),
    }
}

pub fn keyctl(
    cx: &mut Ctx,
    operation: KeyctlOp,
    arg2: u64,
    arg3: u64,
    arg4: u64,
    arg5: u64,
) -> Result<i64> {
    let caller = Caller::new(cx.thread);
    let id = arg2 as i32;
    match operation {
        KeyctlOp::KEYCTL_GET_KEYRING_ID => {
            let (key, _) = caller.lookup(id, arg3 as i32 != 0, Need::SEARCH)?;
            return Ok(key.serial.into());
        }
        KeyctlOp::KEYCTL_JOIN_SESSION_KEYRING => return join_session(&caller, arg2),
        KeyctlOp::KEYCTL_UPDATE => update(&caller, id, arg3, arg4)?,
        KeyctlOp::KEYCTL_REVOKE => match caller.lookup(id, false, Need::WRITE) {
            Err(Errno::EACCES) => caller.lookup(id, false, Need::SETATTR)?.0.revoke(),
            found => found?.0.revoke(),
        },
        KeyctlOp::KEYCTL_INVALIDATE => caller.lookup(id, false, Need::SEARCH)?.0.invalidate(),
        KeyctlOp::KEYCTL_CHOWN => chown(&caller, id, arg3 as u32, arg4 as u32)?,
        KeyctlOp::KEYCTL_SETPERM => set_perm(&caller, id, arg3 as u32)?,
        KeyctlOp::KEYCTL_DESCRIBE => return describe(&caller, id, arg3, arg4),
        KeyctlOp::KEYCTL_CLEAR => caller.lookup(id, true, Need::WRITE)?.0.clear()?,
        KeyctlOp::KEYCTL_LINK => {
            let (keyring, _) = caller.lookup(arg3 as i32, true, Need::WRITE)?;
            let (key, _) = caller.lookup(id, true, Need::LINK)?;
            keyring.link(&key)?;
        }
        KeyctlOp::KEYCTL_UNLINK => {
            let (keyring, _) = caller.lookup(arg3 as i32, false, Need::WRITE)?;
            // What is gone for use can still be taken out.
            let (key, _) = caller.resolve(id, false)?;
            keyring.unlink(&key)?;
        }
        KeyctlOp::KEYCTL_MOVE => move_key(&caller, id, arg3 as i32, arg4 as i32, arg5)?,
        KeyctlOp::KEYCTL_SEARCH => return search(&caller, id, arg3, arg4, arg5 as i32),
        KeyctlOp::KEYCTL_READ => return read(&caller, id, arg3, arg4 as usize),
        KeyctlOp::KEYCTL_SET_REQKEY_KEYRING => return caller.set_default(id).map(i64::from),
        KeyctlOp::KEYCTL_SET_TIMEOUT => {
            caller
                .lookup_partial(id, Need::SETATTR)?
                .set_timeout(arg3 as u32);
        }
        // Only who was asked to make a key has the authority, and nobody is asked.
        KeyctlOp::KEYCTL_INSTANTIATE
        | KeyctlOp::KEYCTL_INSTANTIATE_IOV
        | KeyctlOp::KEYCTL_NEGATE
        | KeyctlOp::KEYCTL_REJECT => return Err(Errno::EPERM),
        KeyctlOp::KEYCTL_ASSUME_AUTHORITY => match id {
            0 => {}
            id if id < 0 => return Err(Errno::EINVAL),
            _ => return Err(Errno::ENOKEY),
        },
        KeyctlOp::KEYCTL_GET_SECURITY => {
            caller.lookup_partial(id, Need::VIEW)?;
            if arg3 != 0 && arg4 > 0 {
                user::write_bytes(arg3, &[0])?;
            }
            return Ok(1);
        }
        KeyctlOp::KEYCTL_SESSION_TO_PARENT => caller.session_to_parent()?,
        KeyctlOp::KEYCTL_RESTRICT_KEYRING => restrict(&caller, id, arg3, arg4)?,
        KeyctlOp::KEYCTL_CAPABILITIES => return capabilities(arg2, arg3 as usize),
        _ => return Err(Errno::EOPNOTSUPP),
    }
    Ok(0)
}

fn join_session(caller: &Caller, name: u64) -> Result<i64> {
    let name = match name {
        0 => None,
        text => Some(description(UserStr::new(text))?),
    };
    if name
        .as_ref()
        .is_some_and(|name| name.first() == Some(&b'.'))
    {
        return Err(Errno::EPERM);
    }
    let keyring = caller.join_session(name.as_deref())?;
    Ok(keyring.serial.into())
}

fn update(caller: &Caller, id: i32, payload: u64, len: u64) -> Result<()> {
    if len > PAGE_SIZE as u64 {
        return Err(Errno::EINVAL);
    }
    let payload = user::read_bytes(payload, len as usize)?;
    caller.lookup(id, false, Need::WRITE)?.0.update(payload)
}

fn chown(caller: &Caller, id: i32, uid: u32, gid: u32) -> Result<()> {
    let new = |id: u32| (id != u32::MAX).then_some(id);
    let (uid, gid) = (new(uid), new(gid));
    if uid.is_none() && gid.is_none() {
        return Ok(());
    }
    let key = caller.lookup_partial(id, Need::SETATTR)?;
    let (owner, group, _) = key.owner();
    let cred = caller.cred();
    let in_group = |gid: u32| gid == cred.fsgid || cred.groups.contains(&gid);
    let allowed =
        uid.is_none_or(|uid| uid == owner) && gid.is_none_or(|gid| gid == group || in_group(gid));
    if !allowed && !caller.is_admin() {
        return Err(Errno::EACCES);
    }
    key.set_owner(uid, gid)
}

fn set_perm(caller: &Caller, id: i32, perm: u32) -> Result<()> {
    const ALL: u32 = 0x3f3f_3f3f;
    if perm & !ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let key = caller.lookup_partial(id, Need::SETATTR)?;
    if key.owner().0 != caller.cred().fsuid && !caller.is_admin() {
        return Err(Errno::EACCES);
    }
    key.set_perm(perm);
    Ok(())
}

/// Gives as much as fits, if anything does, and how much there is.
fn give(bytes: &[u8], buffer: u64, room: usize) -> Result<i64> {
    if buffer != 0 && room >= bytes.len() {
        user::write_bytes(buffer, bytes)?;
    }
    Ok(bytes.len() as i64)
}

fn describe(caller: &Caller, id: i32, buffer: u64, room: u64) -> Result<i64> {
    let key = caller.lookup_partial(id, Need::VIEW)?;
    let (uid, gid, perm) = key.owner();
    let (kind, gid) = (key.kind.name(), gid as i32);
    let mut text = format!("{kind};{uid};{gid};{perm:08x};").into_bytes();
    text.extend_from_slice(&key.description);
    text.push(0);
    give(&text, buffer, room as usize)
}

fn move_key(caller: &Caller, id: i32, from: i32, to: i32, flags: u64) -> Result<()> {
    if flags & !MOVE_EXCL != 0 {
        return Err(Errno::EINVAL);
    }
    let (key, _) = caller.lookup(id, true, Need::LINK)?;
    let (from, _) = caller.lookup(from, false, Need::WRITE)?;
    let (to, _) = caller.lookup(to, true, Need::WRITE)?;
    if !from.is_keyring() || !to.is_keyring() {
        return Err(Errno::ENOTDIR);
    }
    if Arc::ptr_eq(&from, &to) {
        return Ok(());
    }
    if !from.links().iter().any(|link| Arc::ptr_eq(link, &key)) {
        return Err(Errno::ENOENT);
    }
    if flags & MOVE_EXCL != 0 && to.linked(key.kind, &key.description).is_some() {
        return Err(Errno::EEXIST);
    }
    to.link(&key)?;
    from.unlink(&key)
}

fn search(caller: &Caller, id: i32, ty: u64, desc: u64, dest: i32) -> Result<i64> {
    let name = type_name(UserStr::new(ty))?;
    let text = description(UserStr::new(desc))?;
    let (keyring, possessed) = caller.lookup(id, false, Need::SEARCH)?;
    let dest = match dest {
        0 => None,
        id => Some(caller.lookup(id, true, Need::WRITE)?.0),
    };
    let kind = KeyType::named(&name).ok_or(Errno::ENOKEY)?;
    if !keyring.is_keyring() {
        return Err(Errno::ENOTDIR);
    }
    let key = keyring
        .search(kind, &text, caller, possessed)
        .map_err(|error| {
            if error == Errno::EAGAIN {
                Errno::ENOKEY
            } else {
                error
            }
        })?;
    if let Some(dest) = dest {
        if !caller.may(&key, possessed, Need::LINK) {
            return Err(Errno::EACCES);
        }
        dest.link(&key)?;
    }
    Ok(key.serial.into())
}

fn read(caller: &Caller, id: i32, buffer: u64, room: usize) -> Result<i64> {
    let (key, possessed): (Arc<Key>, bool) =
        caller.resolve(id, false).map_err(|_| Errno::ENOKEY)?;
    key.check_positive()?;
    // What the caller's own keyrings lead to can be read if it can be found.
    let found = || possessed && caller.may(&key, true, Need::SEARCH);
    if !caller.may(&key, possessed, Need::READ) && !found() {
        return Err(Errno::EACCES);
    }
    key.validate()?;
    let contents = key.contents()?;
    if key.is_keyring() && buffer != 0 && room < contents.len() {
        // As many whole numbers as there is room for.
        let part = room / size_of::<i32>() * size_of::<i32>();
        user::write_bytes(buffer, &contents[..part])?;
        return Ok(contents.len() as i64);
    }
    give(&contents, buffer, room)
}

fn restrict(caller: &Caller, id: i32, ty: u64, restriction: u64) -> Result<()> {
    let (keyring, _) = caller.lookup(id, false, Need::SETATTR)?;
    if ty == 0 {
        if restriction != 0 {
            return Err(Errno::EINVAL);
        }
        return keyring.restrict();
    }
    // None of the types has restrictions to offer.
    let name = type_name(UserStr::new(ty))?;
    Err(KeyType::named(&name).map_or(Errno::ENOKEY, |_| Errno::ENOENT))
}

fn capabilities(buffer: u64, room: usize) -> Result<i64> {
    if room > 0 {
        let mut out = CAPABILITIES.to_vec();
        out.try_reserve(room.saturating_sub(out.len()).min(PAGE_SIZE))
            .map_err(|_| Errno::ENOMEM)?;
        out.resize(room.min(PAGE_SIZE), 0);
        user::write_bytes(buffer, &out)?;
    }
    Ok(CAPABILITIES.len() as i64)
}
