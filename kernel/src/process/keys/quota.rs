//! What users take with their keys, and may take (`/proc/sys/kernel/keys`).

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::prelude::*;

/// Most keys of a user (`maxkeys`).
pub static MAX_KEYS: AtomicU32 = AtomicU32::new(200);
/// Most bytes of a user (`maxbytes`).
pub static MAX_BYTES: AtomicU32 = AtomicU32::new(20_000);
/// Most keys of root (`root_maxkeys`).
pub static ROOT_MAX_KEYS: AtomicU32 = AtomicU32::new(1_000_000);
/// Most bytes of root (`root_maxbytes`).
pub static ROOT_MAX_BYTES: AtomicU32 = AtomicU32::new(25_000_000);

/// A user as an owner of keys.
pub struct User {
    /// Number.
    pub uid: u32,
    /// Keys.
    pub keys: AtomicUsize,
    /// Bytes.
    pub bytes: AtomicUsize,
}

static USERS: SpinLock<BTreeMap<u32, Weak<User>>> = SpinLock::new(BTreeMap::new());

impl User {
    /// The user of that number.
    pub fn of(uid: u32) -> Arc<Self> {
        let mut users = USERS.lock();
        if let Some(user) = users.get(&uid).and_then(Weak::upgrade) {
            return user;
        }
        let user = Arc::new(Self {
            uid,
            keys: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        });
        users.retain(|_, user| user.strong_count() > 0);
        users.insert(uid, Arc::downgrade(&user));
        user
    }

    /// Everybody who has keys.
    pub fn all() -> Vec<Arc<Self>> {
        USERS.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// How many keys and bytes it may have.
    pub fn limits(&self) -> (u32, u32) {
        let (keys, bytes) = if self.uid == 0 {
            (&ROOT_MAX_KEYS, &ROOT_MAX_BYTES)
        } else {
            (&MAX_KEYS, &MAX_BYTES)
        };
        (keys.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
    }

    /// One more key of so many bytes: EDQUOT.
    pub(super) fn charge_key(&self, bytes: usize) -> Result<()> {
        let max = self.limits().0 as usize;
        let one_more = |keys| (keys < max).then_some(keys + 1);
        self.keys
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map_err(|_| Errno::EDQUOT)?;
        self.recharge(0, bytes).inspect_err(|_| {
            self.keys.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// A key of so many bytes is gone.
    pub(super) fn discharge_key(&self, bytes: usize) {
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A key has another size: EDQUOT.
    pub(super) fn recharge(&self, old: usize, new: usize) -> Result<()> {
        let max = self.limits().1 as usize;
        let change = |bytes: usize| {
            let after = (bytes + new).saturating_sub(old);
            (new <= old || after <= max).then_some(after)
        };
        self.bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change)
            .map(drop)
            .map_err(|_| Errno::EDQUOT)
    }
}
