//! Readiness: the events of poll(2), and how a poller finds the wait queues of what it polls.

use bitflags::bitflags;
use keel_hal::sync::{WaitToken, WakeCallback};

use crate::prelude::*;

bitflags! {
    /// Events of poll(2) and epoll(7), with their numbers.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct PollEvents: u32 {
        /// Something to read.
        const IN = 0x001;
        /// Something exceptional (out-of-band data, a state change).
        const PRI = 0x002;
        /// Room to write.
        const OUT = 0x004;
        /// An error.
        const ERR = 0x008;
        /// The other end is gone.
        const HUP = 0x010;
        /// The descriptor is not open.
        const NVAL = 0x020;
        /// Ordinary data to read.
        const RDNORM = 0x040;
        /// Priority band data to read.
        const RDBAND = 0x080;
        /// Room for ordinary data.
        const WRNORM = 0x100;
        /// Room for priority data.
        const WRBAND = 0x200;
        /// The peer will not write any more.
        const RDHUP = 0x2000;
    }
}

impl PollEvents {
    /// Something to read, in both spellings.
    pub const READABLE: Self = Self::IN.union(Self::RDNORM);
    /// Room to write, in both spellings.
    pub const WRITABLE: Self = Self::OUT.union(Self::WRNORM);

    /// The key that a wake-up passes.
    pub fn key(self) -> u64 {
        u64::from(self.bits())
    }
}

/// Collects the wait queues of what is polled. Without a callback it collects nothing: the poller only wants to
/// know what is ready now.
pub struct PollTable {
    callback: Option<Arc<dyn WakeCallback>>,
    exclusive: bool,
    tokens: Vec<WaitToken>,
}

impl PollTable {
    /// A table that only asks.
    pub fn probe() -> Self {
        Self {
            callback: None,
            exclusive: false,
            tokens: Vec::new(),
        }
    }

    /// A table that registers `callback` with every queue.
    pub fn new(callback: Arc<dyn WakeCallback>, exclusive: bool) -> Self {
        Self {
            callback: Some(callback),
            exclusive,
            tokens: Vec::new(),
        }
    }

    /// Called by what is polled, with each queue that it wakes when its readiness changes; before it looks.
    pub fn add(&mut self, queue: &Arc<WaitQueue>) {
        if let Some(callback) = &self.callback {
            self.tokens
                .push(queue.register(callback.clone(), self.exclusive));
        }
    }

    /// Ends the collection: later polls only ask.
    pub fn stop_registering(&mut self) {
        self.callback = None;
    }

    /// The registrations; dropping them ends them.
    pub fn into_tokens(self) -> Vec<WaitToken> {
        self.tokens
    }
}
