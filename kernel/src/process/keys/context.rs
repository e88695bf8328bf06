//! Whose keys: the keyrings of threads, processes, sessions and users, and permissions (keyrings(7)).

use bitflags::bitflags;

use super::{Key, KeyType, NewKey};
use crate::prelude::*;
use crate::process::{Cap, Cred, Thread};

bitflags! {
    /// What is to be done with a key.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub struct Need: u32 {
        /// See its attributes.
        const VIEW = 0x01;
        /// Read its contents.
        const READ = 0x02;
        /// Change its contents.
        const WRITE = 0x04;
        /// Find it.
        const SEARCH = 0x08;
        /// Link it somewhere.
        const LINK = 0x10;
        /// Change its attributes.
        const SETATTR = 0x20;
        /// All of them.
        const ALL = 0x3f;
    }
}

/// Where the possessor's permissions are in a mask.
pub const POSSESSOR: u32 = 24;
/// Where the owner's are.
pub const USER: u32 = 16;
/// Where the group's are.
pub const GROUP: u32 = 8;

/// Special numbers (`KEY_SPEC_*`).
mod spec {
    pub const THREAD: i32 = -1;
    pub const PROCESS: i32 = -2;
    pub const SESSION: i32 = -3;
    pub const USER: i32 = -4;
    pub const USER_SESSION: i32 = -5;
    pub const REQKEY_AUTH: i32 = -7;
    pub const REQUESTOR: i32 = -8;
}

/// Where request_key(2) puts keys when it is not told (`KEY_REQKEY_DEFL_*`).
pub mod default {
    #![allow(missing_docs, reason = "keyctl(2) is their documentation")]
    pub const NO_CHANGE: i32 = -1;
    pub const THREAD: i32 = 1;
    pub const PROCESS: i32 = 2;
    pub const SESSION: i32 = 3;
    pub const USER: i32 = 4;
    pub const USER_SESSION: i32 = 5;
}

/// A thread's keyrings.
#[derive(Clone, Default)]
pub struct ThreadKeys {
    thread: Option<Arc<Key>>,
    session: Option<Arc<Key>>,
    default: i32,
}

impl ThreadKeys {
    /// What a child or a new thread starts with.
    pub fn inherited(&self) -> Self {
        Self {
            thread: None,
            session: self.session.clone(),
            default: self.default,
        }
    }
}

/// The keyrings that a user's processes share.
#[derive(Clone)]
struct UserKeyrings {
    user: Arc<Key>,
    session: Arc<Key>,
}

static USERS: SpinLock<BTreeMap<u32, UserKeyrings>> = SpinLock::new(BTreeMap::new());

/// exec(2): the thread's and the process's keyrings do not survive.
pub fn exec(thread: &Thread) {
    let _old = (
        thread.keys.lock().thread.take(),
        thread.process.keyring.lock().take(),
    );
}

/// A thread that works on keys.
pub struct Caller<'a> {
    thread: &'a Thread,
    cred: Arc<Cred>,
}

impl<'a> Caller<'a> {
    /// `thread` as it is now.
    pub fn new(thread: &'a Thread) -> Self {
        Self {
            thread,
            cred: thread.cred(),
        }
    }

    /// Its credentials.
    pub fn cred(&self) -> &Cred {
        &self.cred
    }

    /// Whether the permissions of `key` allow it.
    pub fn may(&self, key: &Key, possessed: bool, need: Need) -> bool {
        let (uid, gid, perm) = key.owner();
        let in_group = gid == self.cred.fsgid || self.cred.groups.contains(&gid);
        let mut allowed = if uid == self.cred.fsuid {
            perm >> USER
        } else if perm >> GROUP & Need::ALL.bits() != 0 && in_group {
            perm >> GROUP
        } else {
            perm
        };
        if possessed {
            allowed |= perm >> POSSESSOR;
        }
        allowed & need.bits() == need.bits()
    }

    /// Whether one of its keyrings leads to the key.
    pub fn possesses(&self, key: &Key) -> bool {
        self.keyrings()
            .iter()
            .any(|keyring| keyring.reaches(key, self))
    }

    /// The keyrings that are searched, in order.
    fn keyrings(&self) -> Vec<Arc<Key>> {
        let keys = self.thread.keys.lock().clone();
        let process = self.thread.process.keyring.lock().clone();
        let session = keys.session.or_else(|| {
            let users = USERS.lock();
            users.get(&self.cred.uid).map(|user| user.session.clone())
        });
        [keys.thread, process, session]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Searches its keyrings: EAGAIN if there is no such key, else what is wrong with it.
    pub fn search(&self, kind: KeyType, description: &[u8]) -> Result<Arc<Key>> {
        let mut missing = None;
        let mut failure = Errno::EAGAIN;
        for keyring in self.keyrings() {
            match keyring.search(kind, description, self, true) {
                Ok(key) => return Ok(key),
                Err(Errno::ENOKEY) => missing = Some(Errno::ENOKEY),
                Err(Errno::EAGAIN) => missing = missing.or(Some(Errno::EAGAIN)),
                Err(error) => failure = error,
            }
        }
        Err(missing.unwrap_or(failure))
    }

    /// A keyring that belongs to it: EDQUOT.
    fn new_keyring(&self, description: &str, user_perm: Need) -> Result<Arc<Key>> {
        self.keyring_of(
            self.cred.uid,
            self.cred.gid,
            description.as_bytes().to_vec(),
            Need::ALL.bits() << POSSESSOR | user_perm.bits() << USER,
        )
    }

    fn keyring_of(&self, uid: u32, gid: u32, description: Vec<u8>, perm: u32) -> Result<Arc<Key>> {
        Key::new(NewKey {
            kind: KeyType::Keyring,
            description,
            payload: Vec::new(),
            uid,
            gid,
            perm,
        })
    }

    /// The keyrings of its user, made at the first use.
    fn user_keyrings(&self) -> Result<UserKeyrings> {
        let uid = self.cred.uid;
        if let Some(known) = USERS.lock().get(&uid) {
            return Ok(known.clone());
        }
        let perm = (Need::ALL - Need::SETATTR).bits() << POSSESSOR | Need::ALL.bits() << USER;
        let make =
            |name: &str| self.keyring_of(uid, u32::MAX, format!("{name}.{uid}").into_bytes(), perm);
        let new = UserKeyrings {
            user: make("_uid")?,
            session: make("_uid_ses")?,
        };
        new.session.link(&new.user)?;
        let kept = USERS.lock().entry(uid).or_insert(new.clone()).clone();
        Ok(kept)
    }

    fn thread_keyring(&self, create: bool) -> Result<Arc<Key>> {
        if let Some(known) = &self.thread.keys.lock().thread {
            return Ok(known.clone());
        }
        if !create {
            return Err(Errno::ENOKEY);
        }
        let new = self.new_keyring("_tid", Need::VIEW)?;
        self.thread.keys.lock().thread = Some(new.clone());
        Ok(new)
    }

    fn process_keyring(&self, create: bool) -> Result<Arc<Key>> {
        if let Some(known) = &*self.thread.process.keyring.lock() {
            return Ok(known.clone());
        }
        if !create {
            return Err(Errno::ENOKEY);
        }
        let new = self.new_keyring("_pid", Need::VIEW)?;
        let mut slot = self.thread.process.keyring.lock();
        Ok(slot.get_or_insert(new).clone())
    }

    /// The session keyring. Who never joined a session has the user's; to change it, a session of its own.
    fn session_keyring(&self, create: bool) -> Result<Arc<Key>> {
        let known = self.thread.keys.lock().session.clone();
        let user = self.user_keyrings()?.session;
        match known {
            Some(known) if !create || !Arc::ptr_eq(&known, &user) => Ok(known),
            _ if create => self.join_session(None),
            _ => {
                self.set_session(user.clone());
                Ok(user)
            }
        }
    }

    fn set_session(&self, keyring: Arc<Key>) {
        let _old = self.thread.keys.lock().session.replace(keyring);
    }

    /// KEYCTL_JOIN_SESSION_KEYRING: a new session keyring, or the one of that name. EDQUOT.
    pub fn join_session(&self, name: Option<&[u8]>) -> Result<Arc<Key>> {
        let joined = match name {
            None => self.new_keyring("_ses", Need::VIEW | Need::READ)?,
            Some(name) => {
                let found = Key::all().into_iter().find(|key| {
                    key.is_keyring()
                        && key.description == name
                        && key.validate().is_ok()
                        && self.may(key, false, Need::SEARCH)
                });
                let perm = Need::ALL.bits() << POSSESSOR
                    | (Need::VIEW | Need::READ | Need::LINK).bits() << USER;
                match found {
                    Some(found) => found,
                    None => self.keyring_of(self.cred.uid, self.cred.gid, name.to_vec(), perm)?,
                }
            }
        };
        self.set_session(joined.clone());
        Ok(joined)
    }

    /// KEYCTL_SESSION_TO_PARENT: EPERM unless the parent is alike and has one thread only.
    pub fn session_to_parent(&self) -> Result<()> {
        let session = self.session_keyring(false)?;
        let parent = self.thread.process.parent().ok_or(Errno::EPERM)?;
        let threads = parent.threads();
        let (Some(thread), true) = (threads.first(), threads.len() == 1) else {
            return Err(Errno::EPERM);
        };
        let (me, other) = (&self.cred, thread.cred());
        let ids = |cred: &Cred| {
            [
                cred.uid, cred.euid, cred.suid, cred.gid, cred.egid, cred.sgid,
            ]
        };
        if parent.pid <= 1 || ids(me) != ids(&other) {
            return Err(Errno::EPERM);
        }
        let _old = thread.keys.lock().session.replace(session);
        Ok(())
    }

    /// KEYCTL_SET_REQKEY_KEYRING: the old setting. EINVAL.
    pub fn set_default(&self, wanted: i32) -> Result<i32> {
        match wanted {
            default::THREAD => drop(self.thread_keyring(true)?),
            default::PROCESS => drop(self.process_keyring(true)?),
            default::NO_CHANGE..=default::USER_SESSION => {}
            _ => return Err(Errno::EINVAL),
        }
        let mut keys = self.thread.keys.lock();
        let old = keys.default;
        if wanted != default::NO_CHANGE {
            keys.default = wanted;
        }
        Ok(old)
    }

    /// Where request_key(2) puts a key when it is not told.
    pub fn default_keyring(&self) -> Result<Arc<Key>> {
        let wanted = self.thread.keys.lock().default;
        match wanted {
            default::THREAD => self.thread_keyring(true),
            default::PROCESS => self.process_keyring(true),
            default::SESSION => self.session_keyring(false),
            default::USER => Ok(self.user_keyrings()?.user),
            default::USER_SESSION => Ok(self.user_keyrings()?.session),
            _ => self
                .thread_keyring(false)
                .or_else(|_| self.process_keyring(false))
                .or_else(|_| self.session_keyring(false)),
        }
    }

    /// The key or keyring that a number stands for, and whether the caller possesses it: EINVAL, ENOKEY, EDQUOT.
    pub fn resolve(&self, id: i32, create: bool) -> Result<(Arc<Key>, bool)> {
        let special = match id {
            spec::THREAD => self.thread_keyring(create)?,
            spec::PROCESS => self.process_keyring(create)?,
            spec::SESSION => self.session_keyring(create)?,
            spec::USER => self.user_keyrings()?.user,
            spec::USER_SESSION => self.user_keyrings()?.session,
            spec::REQKEY_AUTH | spec::REQUESTOR => return Err(Errno::ENOKEY),
            id if id < 1 => return Err(Errno::EINVAL),
            id => {
                let key = Key::find(id).ok_or(Errno::ENOKEY)?;
                let possessed = self.possesses(&key);
                return Ok((key, possessed));
            }
        };
        Ok((special, true))
    }

    /// The key that a number stands for, to be used: ENOKEY, EKEYREVOKED, EKEYEXPIRED, EACCES.
    pub fn lookup(&self, id: i32, create: bool, need: Need) -> Result<(Arc<Key>, bool)> {
        let (key, possessed) = self.resolve(id, create)?;
        key.check_positive()?;
        key.validate()?;
        if self.may(&key, possessed, need) {
            Ok((key, possessed))
        } else {
            Err(Errno::EACCES)
        }
    }

    /// As [`Self::lookup`], for attributes, which negative keys have as well.
    pub fn lookup_partial(&self, id: i32, need: Need) -> Result<Arc<Key>> {
        let (key, possessed) = self.resolve(id, false)?;
        key.validate()?;
        if self.may(&key, possessed, need) {
            Ok(key)
        } else {
            Err(Errno::EACCES)
        }
    }

    /// add_key(2): makes or updates the key in `keyring`. ENOTDIR, EINVAL, EDQUOT, EACCES.
    pub fn add(
        &self,
        keyring: &Arc<Key>,
        possessed: bool,
        kind: KeyType,
        description: Vec<u8>,
        payload: Vec<u8>,
    ) -> Result<Arc<Key>> {
        if !keyring.is_keyring() {
            return Err(Errno::ENOTDIR);
        }
        kind.check_payload(&payload)?;
        kind.check_description(&description)?;
        let present = keyring.linked(kind, &description).filter(|key| {
            kind.updatable() && !matches!(key.validate(), Err(Errno::ENOKEY | Errno::EKEYREVOKED))
        });
        if let Some(key) = present {
            if !self.may(&key, possessed, Need::WRITE) {
                return Err(Errno::EACCES);
            }
            key.update(payload)?;
            return Ok(key);
        }
        let key = Key::new(NewKey {
            kind,
            description,
            payload,
            uid: self.cred.fsuid,
            gid: self.cred.fsgid,
            perm: kind.default_perm(),
        })?;
        keyring.link(&key)?;
        Ok(key)
    }

    /// Notes in `keyring` that a key could not be had, so that the next request fails at once for a while.
    pub fn add_negative(&self, keyring: &Key, kind: KeyType, description: Vec<u8>) -> Result<()> {
        kind.check_description(&description)?;
        let key = Key::new(NewKey {
            kind,
            description,
            payload: Vec::new(),
            uid: self.cred.fsuid,
            gid: self.cred.fsgid,
            perm: kind.default_perm(),
        })?;
        key.negate();
        keyring.link(&key)
    }

    /// Whether it may do what only the administrator may.
    pub fn is_admin(&self) -> bool {
        self.cred.has(Cap::SYS_ADMIN)
    }
}
