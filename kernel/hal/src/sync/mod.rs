//! Locks, wait queues and RCU.
//!
//! | type | waits by | may be taken in interrupts | use |
//! |------|----------|----------------------------|-----|
//! | [`SpinLock`], [`RwSpinLock`] | spinning | no | short sections between tasks |
//! | [`IrqLock`] | spinning, interrupts off | yes | data shared with interrupt handlers or the scheduler |
//! | [`SeqLock`] | readers retry | readers yes | small data that is read far more than written |
//! | [`Mutex`], [`RwLock`] | sleeping | no | everything long, and everything that does I/O |
//! | [`WaitQueue`], [`Completion`] | sleeping | waking yes | waiting for conditions and events |
//! | [`Rcu`], [`RcuOption`] | readers never wait | reading yes | read-mostly structures |
//!
//! A task that holds a spinning lock must not sleep: `task::schedule` panics when it finds the
//! preemption count raised. With the feature `lockdep` every lock belongs to the class of its
//! creation site, and acquiring two classes in both orders is reported.

mod completion;
mod irqlock;
#[cfg(feature = "lockdep")]
pub mod lockdep;
mod mutex;
pub mod rcu;
mod rwlock;
mod seqlock;
mod spinlock;
mod wait;

pub use completion::Completion;
pub use irqlock::{IrqLock, IrqLockGuard, RawIrqLock};
pub(crate) use irqlock::{pop_off, push_off};
pub use mutex::{Mutex, MutexGuard, RawMutex};
pub use rcu::{Rcu, RcuGuard, RcuOption};
pub use rwlock::{RawRwLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use seqlock::SeqLock;
pub use spin::{LazyLock as Lazy, Once, once::Once as OnceLock};
pub use spinlock::{
    RawRwSpinLock, RawSpinLock, RwSpinLock, RwSpinLockReadGuard, RwSpinLockWriteGuard, SpinLock,
    SpinLockGuard,
};
pub use wait::{WaitError, WaitQueue, WaitToken, WakeCallback};

/// What the `lockdep` feature remembers of a lock: the place where it was created, unless that was
/// `INIT` of a raw lock, which cannot know its user.
#[derive(Clone, Copy)]
pub(crate) struct Class {
    #[cfg(feature = "lockdep")]
    pub(crate) site: Option<&'static core::panic::Location<'static>>,
}

impl Class {
    /// The class of the caller's source line.
    #[track_caller]
    pub(crate) const fn here() -> Class {
        Class {
            #[cfg(feature = "lockdep")]
            site: Some(core::panic::Location::caller()),
        }
    }

    /// No class: the lock is not checked.
    pub(crate) const fn none() -> Class {
        Class {
            #[cfg(feature = "lockdep")]
            site: None,
        }
    }

    /// To be called when a lock of this class is about to be waited for.
    #[inline(always)]
    pub(crate) fn acquire(&self) {
        #[cfg(feature = "lockdep")]
        if let Some(site) = self.site {
            lockdep::acquire(site);
        }
    }

    /// To be called when a lock of this class was taken without waiting.
    #[inline(always)]
    pub(crate) fn acquired_by_try(&self) {
        #[cfg(feature = "lockdep")]
        if let Some(site) = self.site {
            lockdep::push(site);
        }
    }

    /// To be called when a lock of this class has been released.
    #[inline(always)]
    pub(crate) fn release(&self) {
        #[cfg(feature = "lockdep")]
        if let Some(site) = self.site {
            lockdep::release(site);
        }
    }
}

/// Defines a lock newtype over a `lock_api` type, created by a `const`, caller-tracking `new`.
macro_rules! lock_type {
    ($(#[$meta:meta])* $name:ident, $api:ident, $raw:ty) => {
        $(#[$meta])*
        pub struct $name<T: ?Sized>(lock_api::$api<$raw, T>);

        impl<T> $name<T> {
            /// A new, unlocked lock.
            #[track_caller]
            pub const fn new(value: T) -> Self {
                Self(lock_api::$api::from_raw(<$raw>::new(), value))
            }

            /// Takes the lock apart.
            pub fn into_inner(self) -> T {
                self.0.into_inner()
            }
        }

        impl<T: ?Sized> core::ops::Deref for $name<T> {
            type Target = lock_api::$api<$raw, T>;
            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl<T: ?Sized> core::ops::DerefMut for $name<T> {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.0
            }
        }

        impl<T: Default> Default for $name<T> {
            #[track_caller]
            fn default() -> Self {
                Self::new(T::default())
            }
        }

        impl<T: ?Sized + core::fmt::Debug> core::fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
pub(crate) use lock_type;
