//! System V IPC (sysvipc(7)): what shared memory, semaphores and message queues have in common.
//!
//! [`Table`] holds one kind's objects of one namespace, by identifier and by key. An identifier is the slot's number
//! and a sequence number, so that a stale one does not find a later object. [`Perm`] is who owns an object and who may
//! do what with it. [`shm`], [`sem`], [`msg`]: the three kinds.
//!
//! Locking: a table's lock is held to find, add and remove objects, never across a sleep; each object has a lock of its
//! own, taken inside the table's only to look at permissions.

pub mod msg;
pub mod sem;
pub mod shm;

use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use keel_abi::args::{Gid, IpcKey, Uid};
use keel_abi::types::IpcPerm;

use crate::prelude::*;
use crate::process::{Cap, Cred};

/// Slots of a table, and the factor of sequence numbers in identifiers (`IPCMNI`).
const SLOTS: usize = 32_768;

/// Bits of permissions that a call needs, in each of the three groups of a mode.
pub const READ: u32 = 0o444;
/// As [`READ`].
pub const WRITE: u32 = 0o222;

/// Seconds since 1970.
pub fn now() -> i64 {
    crate::time::clock::realtime().0
}

/// The number of the calling process.
pub fn pid() -> u32 {
    crate::process::current().process.pid
}

/// Owner and permissions of an object.
#[derive(Clone, Copy, Debug)]
pub struct Perm {
    /// The key; private once the object is to be destroyed.
    pub key: i32,
    /// Owner.
    pub uid: u32,
    /// Owner's group.
    pub gid: u32,
    /// Creator.
    pub cuid: u32,
    /// Creator's group.
    pub cgid: u32,
    /// Permissions and flags.
    pub mode: u32,
}

impl Perm {
    fn new(key: i32, mode: u32, cred: &Cred) -> Self {
        Self {
            key,
            uid: cred.euid,
            gid: cred.egid,
            cuid: cred.euid,
            cgid: cred.egid,
            mode: mode & 0o777,
        }
    }

    /// Whether all permissions in `wanted` are granted: EACCES.
    pub fn check(&self, cred: &Cred, wanted: u32) -> Result<()> {
        let wanted = (wanted >> 6 | wanted >> 3 | wanted) & 7;
        let granted = if cred.euid == self.cuid || cred.euid == self.uid {
            self.mode >> 6
        } else if cred.in_egroup(self.cgid) || cred.in_egroup(self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted == 0 || cred.has(Cap::IPC_OWNER) {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    /// Whether the object may be changed or removed: EPERM but for owner, creator and CAP_SYS_ADMIN.
    pub fn check_owner(&self, cred: &Cred) -> Result<()> {
        if cred.euid == self.cuid || cred.euid == self.uid {
            Ok(())
        } else {
            cred.require(Cap::SYS_ADMIN)
        }
    }

    /// IPC_SET: EINVAL for an owner that does not exist.
    pub fn update(&mut self, new: &IpcPerm) -> Result<()> {
        if new.uid == Uid::UNCHANGED || new.gid == Gid::UNCHANGED {
            return Err(Errno::EINVAL);
        }
        self.uid = new.uid.0;
        self.gid = new.gid.0;
        self.mode = (self.mode & !0o777) | (new.mode & 0o777);
        Ok(())
    }

    /// As programs see it.
    pub fn to_user(self, id: i32) -> IpcPerm {
        IpcPerm {
            key: IpcKey(self.key),
            uid: Uid(self.uid),
            gid: Gid(self.gid),
            cuid: Uid(self.cuid),
            cgid: Gid(self.cgid),
            mode: self.mode,
            seq: (id as usize / SLOTS) as u16,
            ..IpcPerm::default()
        }
    }
}

/// An object with its identity.
pub struct Object<T> {
    /// Its identifier.
    pub id: i32,
    /// Owner and permissions.
    pub perm: SpinLock<Perm>,
    removed: AtomicBool,
    /// What it is.
    pub data: T,
}

impl<T> Object<T> {
    /// Whether it has been removed: who waits on it is to leave.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// Checks permissions: EACCES.
    pub fn check(&self, cred: &Cred, wanted: u32) -> Result<()> {
        self.perm.lock().check(cred, wanted)
    }

    /// Checks ownership: EPERM.
    pub fn check_owner(&self, cred: &Cred) -> Result<()> {
        self.perm.lock().check_owner(cred)
    }
}

struct Slots<T> {
    slots: BTreeMap<usize, Arc<Object<T>>>,
    keys: BTreeMap<i32, usize>,
    /// Slots below `beyond` that are free.
    free: BTreeSet<usize>,
    /// No slot from here on is in use.
    beyond: usize,
    /// Counts up whenever slot numbers start over.
    sequence: usize,
    last_slot: Option<usize>,
}

impl<T> Slots<T> {
    /// Takes the lowest free slot from `from` on.
    fn take_slot(&mut self, from: usize) -> Option<usize> {
        if let Some(slot) = self.free.range(from..).next().copied() {
            self.free.remove(&slot);
            return Some(slot);
        }
        let slot = self.beyond.max(from);
        if slot >= SLOTS {
            return None;
        }
        self.free.extend(self.beyond..slot);
        self.beyond = slot + 1;
        Some(slot)
    }
}

/// The objects of one kind in one namespace.
pub struct Table<T> {
    inner: SpinLock<Slots<T>>,
    /// The identifier that the next object is to get; negative for any (`kernel.*_next_id`).
    pub next_id: AtomicI32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            inner: SpinLock::new(Slots {
                slots: BTreeMap::new(),
                keys: BTreeMap::new(),
                free: BTreeSet::new(),
                beyond: 0,
                sequence: 0,
                last_slot: None,
            }),
            next_id: AtomicI32::new(-1),
        }
    }
}

/// What a `*get` call asks for.
pub struct GetRequest {
    /// The key; [`IpcKey::PRIVATE`] for a new object.
    pub key: IpcKey,
    /// Make one if there is none.
    pub create: bool,
    /// With `create`: fail if there is one.
    pub exclusive: bool,
    /// Permissions, wanted or for the new object.
    pub mode: u32,
    /// Most objects.
    pub limit: usize,
}

impl<T> Table<T> {
    /// The identifier of the object with a key, which `fits` accepts, or of a new one from `make`.
    ///
    /// ENOENT, EEXIST, EACCES, ENOSPC beyond the limit; what `fits` and `make` say.
    pub fn get(
        &self,
        cred: &Cred,
        request: &GetRequest,
        fits: impl FnOnce(&T) -> Result<()>,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<Object<T>>> {
        let find = |slots: &Slots<T>| {
            let slot = slots.keys.get(&request.key.0)?;
            slots.slots.get(slot).cloned()
        };
        let named = request.key != IpcKey::PRIVATE;
        let known = if named {
            find(&self.inner.lock())
        } else {
            None
        };
        if let Some(object) = known {
            return Self::accept(object, cred, request, fits);
        }
        if named && !request.create {
            return Err(Errno::ENOENT);
        }
        // Made without the lock, since that may sleep. Somebody else may be faster.
        let data = make()?;
        let mut slots = self.inner.lock();
        if let Some(object) = find(&slots).filter(|_| named) {
            drop(slots);
            return Self::accept(object, cred, request, fits);
        }
        if slots.slots.len() >= request.limit.min(SLOTS) {
            return Err(Errno::ENOSPC);
        }
        let wanted = usize::try_from(self.next_id.swap(-1, Ordering::Relaxed)).ok();
        let slot = slots
            .take_slot(wanted.map_or(0, |id| id % SLOTS))
            .ok_or(Errno::ENOSPC)?;
        let sequence = match wanted {
            Some(id) => id / SLOTS,
            None => {
                if slots.last_slot.is_some_and(|last| slot <= last) {
                    slots.sequence = (slots.sequence + 1) % (i32::MAX as usize / SLOTS);
                }
                slots.last_slot = Some(slot);
                slots.sequence
            }
        };
        let object = Arc::new(Object {
            id: (sequence * SLOTS + slot) as i32,
            perm: SpinLock::new(Perm::new(request.key.0, request.mode, cred)),
            removed: AtomicBool::new(false),
            data,
        });
        slots.slots.insert(slot, object.clone());
        if named {
            slots.keys.insert(request.key.0, slot);
        }
        Ok(object)
    }

    fn accept(
        object: Arc<Object<T>>,
        cred: &Cred,
        request: &GetRequest,
        fits: impl FnOnce(&T) -> Result<()>,
    ) -> Result<Arc<Object<T>>> {
        if request.create && request.exclusive {
            return Err(Errno::EEXIST);
        }
        fits(&object.data)?;
        object.check(cred, request.mode)?;
        Ok(object)
    }

    /// The object with this identifier: EINVAL.
    pub fn find(&self, id: i32) -> Result<Arc<Object<T>>> {
        let id = usize::try_from(id).map_err(|_| Errno::EINVAL)?;
        let slots = self.inner.lock();
        let object = slots.slots.get(&(id % SLOTS)).ok_or(Errno::EINVAL)?;
        if object.id as usize == id {
            Ok(object.clone())
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// The object in this slot (`*_STAT`): EINVAL.
    pub fn at(&self, slot: i32) -> Result<Arc<Object<T>>> {
        let slot = usize::try_from(slot).map_err(|_| Errno::EINVAL)?;
        let slots = self.inner.lock();
        slots
            .slots
            .get(&(slot % SLOTS))
            .cloned()
            .ok_or(Errno::EINVAL)
    }

    /// Takes an object out, so that nobody finds it any more.
    pub fn remove(&self, object: &Arc<Object<T>>) {
        let mut slots = self.inner.lock();
        let slot = object.id as usize % SLOTS;
        if slots
            .slots
            .get(&slot)
            .is_some_and(|known| Arc::ptr_eq(known, object))
        {
            slots.slots.remove(&slot);
            slots.free.insert(slot);
        }
        self.forget_key(&mut slots, object);
        drop(slots);
        object.removed.store(true, Ordering::Release);
    }

    /// Takes the key away from an object: its identifier still leads to it.
    pub fn make_private(&self, object: &Arc<Object<T>>) {
        let mut slots = self.inner.lock();
        self.forget_key(&mut slots, object);
        object.perm.lock().key = IpcKey::PRIVATE.0;
    }

    fn forget_key(&self, slots: &mut Slots<T>, object: &Object<T>) {
        let key = object.perm.lock().key;
        let slot = object.id as usize % SLOTS;
        if slots.keys.get(&key) == Some(&slot) {
            slots.keys.remove(&key);
        }
    }

    /// All objects by slot.
    pub fn all(&self) -> Vec<Arc<Object<T>>> {
        self.inner.lock().slots.values().cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.inner.lock().slots.len()
    }

    /// The highest slot in use; 0 if there is none.
    pub fn highest(&self) -> i32 {
        let slots = self.inner.lock();
        slots
            .slots
            .last_key_value()
            .map_or(0, |(slot, _)| *slot as i32)
    }
}
