//! Resource limits (getrlimit(2)), per process.

use crate::prelude::*;

/// A limit's number, as in `RLIMIT_*`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(usize)]
#[allow(missing_docs)] // getrlimit(2) is their documentation
#[allow(dead_code)] // RLIMIT_LOCKS has no meaning since Linux 2.4.25, here neither
pub enum Resource {
    Cpu = 0,
    Fsize = 1,
    Data = 2,
    Stack = 3,
    Core = 4,
    Rss = 5,
    Nproc = 6,
    Nofile = 7,
    Memlock = 8,
    As = 9,
    Locks = 10,
    Sigpending = 11,
    Msgqueue = 12,
    Nice = 13,
    Rtprio = 14,
    Rttime = 15,
}

/// How many limits there are (`RLIM_NLIMITS`).
pub const COUNT: usize = 16;
/// No limit (`RLIM_INFINITY`).
pub const INFINITY: u64 = u64::MAX;

/// Soft and hard limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit {
    /// What is enforced.
    pub soft: u64,
    /// How far an unprivileged process may raise `soft`.
    pub hard: u64,
}

/// All limits of a process.
pub struct RLimits {
    limits: SpinLock<[Limit; COUNT]>,
}

impl RLimits {
    /// What Linux gives to init on a machine of this size.
    pub fn initial() -> Self {
        let pages = keel_hal::frame::stats().total as u64;
        let threads = (pages / 8 / 4).clamp(32, 1 << 22);
        let mut limits = [Limit {
            soft: INFINITY,
            hard: INFINITY,
        }; COUNT];
        let mut set =
            |resource: Resource, soft, hard| limits[resource as usize] = Limit { soft, hard };
        set(Resource::Stack, 8 << 20, INFINITY);
        set(Resource::Core, 0, INFINITY);
        set(Resource::Nproc, threads / 2, threads / 2);
        set(Resource::Nofile, 1024, 4096);
        set(Resource::Memlock, 8 << 20, 8 << 20);
        set(Resource::Sigpending, threads / 2, threads / 2);
        set(Resource::Msgqueue, 819_200, 819_200);
        set(Resource::Nice, 0, 0);
        set(Resource::Rtprio, 0, 0);
        Self {
            limits: SpinLock::new(limits),
        }
    }

    /// A copy for a child process.
    pub fn fork(&self) -> Self {
        Self {
            limits: SpinLock::new(*self.limits.lock()),
        }
    }

    /// The soft limit.
    pub fn soft(&self, resource: Resource) -> u64 {
        self.get(resource as usize)
            .map_or(INFINITY, |limit| limit.soft)
    }

    /// Both limits by number; `None` for a number that does not exist.
    pub fn get(&self, resource: usize) -> Option<Limit> {
        self.limits.lock().get(resource).copied()
    }

    /// Sets both limits: EINVAL for soft above hard or an unknown number, EPERM to raise the hard one without
    /// privilege.
    pub fn set(&self, resource: usize, new: Limit, privileged: bool) -> Result<()> {
        let mut limits = self.limits.lock();
        let slot = limits.get_mut(resource).ok_or(Errno::EINVAL)?;
        if new.soft > new.hard {
            return Err(Errno::EINVAL);
        }
        if new.hard > slot.hard && !privileged {
            return Err(Errno::EPERM);
        }
        *slot = new;
        Ok(())
    }
}
