//! Signal information, and queues of pending signals.

use keel_abi::args::{Pid, Uid};
use keel_abi::flags::Signal;
use keel_abi::types::Siginfo;

use super::{SIGRTMIN, SYNCHRONOUS, bit};
use crate::prelude::*;
use crate::process::process::Usage;

/// A signal with what it is about.
#[derive(Clone, Copy)]
pub struct SigInfo {
    /// What a handler with SA_SIGINFO sees.
    pub raw: Siginfo,
}

/// Sent by kill(2).
pub const SI_USER: i32 = 0;

impl SigInfo {
    /// From a program's or a constructor's siginfo.
    pub fn new(raw: Siginfo) -> Self {
        Self { raw }
    }

    /// From the kernel.
    pub fn kernel(signo: i32) -> Self {
        Self {
            raw: Siginfo::kernel(Signal(signo)),
        }
    }

    /// From kill(2) or tgkill(2) of a process.
    pub fn user(signo: i32, code: i32, pid: u32, uid: u32) -> Self {
        Self {
            raw: Siginfo::kill(Signal(signo), code, Pid(pid as i32), Uid(uid)),
        }
    }

    /// A fault at an address.
    pub fn fault(signo: i32, code: i32, addr: u64) -> Self {
        Self {
            raw: Siginfo::fault(Signal(signo), code, addr),
        }
    }

    /// An access that a protection key forbids.
    pub fn key_fault(addr: u64, key: u32) -> Self {
        Self {
            raw: Siginfo::pkey_fault(addr, key),
        }
    }

    /// A change of a child, `status` as in waitid(2).
    pub fn child(signo: i32, code: i32, pid: u32, uid: u32, status: i32, usage: &Usage) -> Self {
        const NS_PER_TICK: u64 = 10_000_000;
        let (user, system) = (usage.user_ns / NS_PER_TICK, usage.system_ns / NS_PER_TICK);
        let mut raw = Siginfo::child(code, Pid(pid as i32), Uid(uid), status, user, system);
        raw.si_signo = signo;
        Self { raw }
    }

    /// Names another thread as the one that it comes from.
    pub fn set_pid(&mut self, pid: u32) {
        let [ids, ..] = &mut self.raw.fields;
        *ids = *ids & !u64::from(u32::MAX) | u64::from(pid);
    }

    /// The signal's number.
    pub fn signo(&self) -> i32 {
        self.raw.si_signo
    }

    /// Where it comes from (`SI_*`, or a code of the signal's own).
    pub fn code(&self) -> i32 {
        self.raw.si_code
    }

    /// Whether a program sent it (rather than the kernel).
    pub fn is_from_user(&self) -> bool {
        self.raw.si_code <= 0
    }
}

/// Signals that wait to be delivered.
#[derive(Default)]
pub struct Pending {
    /// A bit for each signal in the queue.
    set: u64,
    queue: VecDeque<SigInfo>,
}

impl Pending {
    /// The signals in the queue.
    pub fn set(&self) -> u64 {
        self.set
    }

    /// How many are queued.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Queues a signal. A standard signal that is pending already is not queued again. EAGAIN when a real-time
    /// signal of a program goes beyond `limit`.
    pub fn push(&mut self, info: SigInfo, limit: u64) -> Result<bool> {
        let signo = info.signo();
        if signo < SIGRTMIN && self.set & bit(signo) != 0 {
            return Ok(false);
        }
        let realtime = signo >= SIGRTMIN;
        if realtime && self.queue.len() as u64 >= limit && info.code() != SI_USER {
            return Err(Errno::EAGAIN);
        }
        self.set |= bit(signo);
        self.queue.push_back(info);
        Ok(true)
    }

    /// Takes the most urgent signal of `wanted`: faults, then the lowest number, oldest first.
    pub fn take(&mut self, wanted: u64) -> Option<SigInfo> {
        let ready = self.set & wanted;
        if ready == 0 {
            return None;
        }
        let urgent = if ready & SYNCHRONOUS != 0 {
            ready & SYNCHRONOUS
        } else {
            ready
        };
        let signo = urgent.trailing_zeros() as i32 + 1;
        let at = self.queue.iter().position(|info| info.signo() == signo)?;
        let info = self.queue.remove(at);
        if !self.queue.iter().any(|info| info.signo() == signo) {
            self.set &= !bit(signo);
        }
        info
    }

    /// The signal at a place of the queue.
    pub fn at(&self, place: usize) -> Option<SigInfo> {
        self.queue.get(place).copied()
    }

    /// Forgets all signals of `mask`.
    pub fn flush(&mut self, mask: u64) {
        if self.set & mask != 0 {
            self.set &= !mask;
            self.queue.retain(|info| mask & bit(info.signo()) == 0);
        }
    }
}
