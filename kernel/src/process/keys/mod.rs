//! Keys and keyrings that the kernel keeps for programs (keyrings(7), keyctl(2)).
//!
//! * [`Key`]: one key of one of the [`KeyType`]s; a keyring is a key whose contents are links to others.
//! * [`quota`]: how many keys and bytes each user may have; `keyring`: links and searches;
//!   [`context`]: the keyrings of threads, processes, sessions and users, and what a caller may do with a key.
//!
//! A key lives as long as something refers to it: a keyring, a thread, or a call that is working on it. Locks: a key's
//! state is a spin lock; two of them are never held at once, and no key is dropped under one.

pub mod context;
mod keyring;
pub mod quota;
pub mod report;

pub use context::{Caller, Need, ThreadKeys};

use crate::prelude::*;
use quota::User;

/// The longest payload that add_key(2) takes.
pub const MAX_PAYLOAD: usize = (1 << 20) - 1;
/// The longest payload of `user` and `logon` keys.
const MAX_USER_PAYLOAD: usize = 32767;
/// How many bytes of the quota a link takes.
const LINK_BYTES: usize = 4;
/// How many bytes of the quota the contents of a `big_key` take.
const BIG_KEY_BYTES: usize = 16;
/// How long a key stays negative that could not be had, seconds.
const NEGATIVE_SECONDS: u64 = 60;

/// The kinds of keys (keyrings(7)).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyType {
    /// Links to other keys.
    Keyring,
    /// A blob that can be read back.
    User,
    /// A blob for the kernel alone, with a qualified name.
    Logon,
    /// A large blob.
    BigKey,
}

impl KeyType {
    /// The type of that name.
    pub fn named(name: &[u8]) -> Option<Self> {
        [Self::Keyring, Self::User, Self::Logon, Self::BigKey]
            .into_iter()
            .find(|ty| ty.name().as_bytes() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::User => "user",
            Self::Logon => "logon",
            Self::BigKey => "big_key",
        }
    }

    /// Whether keyctl(KEYCTL_READ) shows the contents.
    fn readable(self) -> bool {
        self != Self::Logon
    }

    /// Whether the contents can be replaced.
    fn updatable(self) -> bool {
        self != Self::Keyring
    }

    /// EINVAL for contents that such a key cannot have.
    fn check_payload(self, payload: &[u8]) -> Result<()> {
        let valid = match self {
            Self::Keyring => payload.is_empty(),
            Self::User | Self::Logon => (1..=MAX_USER_PAYLOAD).contains(&payload.len()),
            Self::BigKey => (1..=MAX_PAYLOAD).contains(&payload.len()),
        };
        if valid { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// EINVAL for a name that such a key cannot have.
    fn check_description(self, description: &[u8]) -> Result<()> {
        let service = description.iter().position(|byte| *byte == b':');
        if description.is_empty() || (self == Self::Logon && service.unwrap_or(0) == 0) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Bytes of the quota that contents of this length take.
    fn quota_bytes(self, len: usize) -> usize {
        if self == Self::BigKey {
            BIG_KEY_BYTES
        } else {
            len
        }
    }

    /// The permissions of a key that add_key(2) makes.
    fn default_perm(self) -> u32 {
        let mut need = Need::VIEW | Need::SEARCH | Need::LINK | Need::SETATTR | Need::WRITE;
        if self.readable() {
            need |= Need::READ;
        }
        need.bits() << context::POSSESSOR | Need::VIEW.bits() << context::USER
    }
}

/// A key.
pub struct Key {
    /// Its number.
    pub serial: i32,
    /// What it is.
    pub kind: KeyType,
    /// Its name.
    pub description: Vec<u8>,
    state: SpinLock<State>,
}

struct State {
    user: Arc<User>,
    gid: u32,
    perm: u32,
    /// Bytes of the quota that it takes.
    charged: usize,
    /// When it ends, in seconds of the monotonic clock.
    expires: Option<u64>,
    /// It stands for a key that could not be had.
    negative: bool,
    revoked: bool,
    invalid: bool,
    /// A keyring that takes no more links.
    restricted: bool,
    payload: Arc<Vec<u8>>,
    links: Vec<Arc<Key>>,
}

/// What a new key is.
pub struct NewKey {
    /// Its type.
    pub kind: KeyType,
    /// Its name.
    pub description: Vec<u8>,
    /// Its contents.
    pub payload: Vec<u8>,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permissions.
    pub perm: u32,
}

static KEYS: SpinLock<BTreeMap<i32, Weak<Key>>> = SpinLock::new(BTreeMap::new());

fn seconds() -> u64 {
    crate::time::monotonic_ns() / 1_000_000_000
}

impl Key {
    /// Makes a key and counts it: EDQUOT beyond the user's quota.
    pub fn new(new: NewKey) -> Result<Arc<Self>> {
        let user = User::of(new.uid);
        let charged = new.description.len() + 1 + new.kind.quota_bytes(new.payload.len());
        user.charge_key(charged)?;
        let state = State {
            user,
            gid: new.gid,
            perm: new.perm,
            charged,
            expires: None,
            negative: false,
            revoked: false,
            invalid: false,
            restricted: false,
            payload: Arc::new(new.payload),
            links: Vec::new(),
        };
        let mut keys = KEYS.lock();
        let serial = free_serial(&keys);
        let key = Arc::new(Self {
            serial,
            kind: new.kind,
            description: new.description,
            state: SpinLock::new(state),
        });
        keys.insert(serial, Arc::downgrade(&key));
        Ok(key)
    }

    /// The key of that number.
    pub fn find(serial: i32) -> Option<Arc<Self>> {
        KEYS.lock().get(&serial)?.upgrade()
    }

    /// All keys, by number.
    pub fn all() -> Vec<Arc<Self>> {
        let keys = KEYS.lock();
        keys.values().filter_map(Weak::upgrade).collect()
    }

    /// Whether it is a keyring.
    pub fn is_keyring(&self) -> bool {
        self.kind == KeyType::Keyring
    }

    /// ENOKEY, EKEYREVOKED or EKEYEXPIRED if it cannot be used any more.
    pub fn validate(&self) -> Result<()> {
        let state = self.state.lock();
        if state.invalid {
            return Err(Errno::ENOKEY);
        }
        if state.revoked {
            return Err(Errno::EKEYREVOKED);
        }
        if state.expires.is_some_and(|at| seconds() >= at) {
            return Err(Errno::EKEYEXPIRED);
        }
        Ok(())
    }

    /// ENOKEY if it stands for a key that could not be had.
    pub fn check_positive(&self) -> Result<()> {
        if self.state.lock().negative {
            Err(Errno::ENOKEY)
        } else {
            Ok(())
        }
    }

    /// Owner, group and permissions.
    pub fn owner(&self) -> (u32, u32, u32) {
        let state = self.state.lock();
        (state.user.uid, state.gid, state.perm)
    }

    /// Replaces the contents: EOPNOTSUPP, EINVAL, EDQUOT.
    pub fn update(&self, payload: Vec<u8>) -> Result<()> {
        if !self.kind.updatable() {
            return Err(Errno::EOPNOTSUPP);
        }
        self.kind.check_payload(&payload)?;
        let bytes = self.description.len() + 1 + self.kind.quota_bytes(payload.len());
        let payload = Arc::new(payload);
        let _old = {
            let mut state = self.state.lock();
            state.recharge(bytes)?;
            state.negative = false;
            state.expires = None;
            core::mem::replace(&mut state.payload, payload)
        };
        Ok(())
    }

    /// The contents: EOPNOTSUPP where they are not for reading.
    pub fn contents(&self) -> Result<Arc<Vec<u8>>> {
        if !self.kind.readable() {
            return Err(Errno::EOPNOTSUPP);
        }
        if !self.is_keyring() {
            return Ok(self.state.lock().payload.clone());
        }
        let mut serials = Vec::new();
        for key in self.links() {
            serials.extend_from_slice(&key.serial.to_ne_bytes());
        }
        Ok(Arc::new(serials))
    }

    /// Makes it unusable; a keyring loses its links.
    pub fn revoke(&self) {
        let _gone = {
            let mut state = self.state.lock();
            state.revoked = true;
            (
                core::mem::take(&mut state.links),
                core::mem::take(&mut state.payload),
            )
        };
    }

    /// Makes it vanish.
    pub fn invalidate(&self) {
        self.state.lock().invalid = true;
    }

    fn is_invalid(&self) -> bool {
        self.state.lock().invalid
    }

    /// Sets the permissions.
    pub fn set_perm(&self, perm: u32) {
        self.state.lock().perm = perm;
    }

    /// Ends it after so many seconds; 0: never.
    pub fn set_timeout(&self, after: u32) {
        let expires = (after > 0).then(|| seconds() + u64::from(after));
        self.state.lock().expires = expires;
    }

    /// Gives it to another user: EDQUOT.
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let user = uid.map(User::of);
        let mut state = self.state.lock();
        if let Some(user) = user.filter(|user| user.uid != state.user.uid) {
            user.charge_key(state.charged)?;
            state.user.discharge_key(state.charged);
            state.user = user;
        }
        if let Some(gid) = gid {
            state.gid = gid;
        }
        Ok(())
    }

    /// Makes it a negative key that lasts a minute.
    fn negate(&self) {
        let mut state = self.state.lock();
        state.negative = true;
        state.expires = Some(seconds() + NEGATIVE_SECONDS);
    }
}

impl State {
    /// Changes how much of the quota it takes: EDQUOT.
    fn recharge(&mut self, bytes: usize) -> Result<()> {
        self.user.recharge(self.charged, bytes)?;
        self.charged = bytes;
        Ok(())
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        KEYS.lock().remove(&self.serial);
        let mut links = {
            let mut state = self.state.lock();
            state.user.discharge_key(state.charged);
            core::mem::take(&mut state.links)
        };
        // A long chain of keyrings must not become a deep recursion.
        while let Some(link) = links.pop() {
            if let Some(last) = Arc::into_inner(link) {
                links.append(&mut last.state.lock().links);
            }
        }
    }
}

/// A number that no key has.
fn free_serial(keys: &BTreeMap<i32, Weak<Key>>) -> i32 {
    loop {
        // Random, as Linux's are, so that numbers tell nothing.
        let serial = i32::from_ne_bytes(crate::random::bytes()) & (i32::MAX >> 1);
        if serial > 2 && !keys.contains_key(&serial) {
            return serial;
        }
    }
}
