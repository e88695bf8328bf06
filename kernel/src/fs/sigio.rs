//! SIGIO: telling the owner of a file (fcntl F_SETOWN, F_SETSIG) that something happened to it.
//!
//! With O_ASYNC a file's wait queues call a [`Watcher`], perhaps from an interrupt, where no signal can be sent: a
//! kernel thread does that.

use core::sync::atomic::Ordering;
use keel_abi::flags::Signal;
use keel_abi::types::Siginfo;
use keel_hal::sync::WakeCallback;

use super::{File, PollEvents, PollTable};
use crate::prelude::*;
use crate::process::signal::{self, SigInfo, sig};
use crate::process::{self, Cred};

/// Data to read (`si_code` of SIGIO).
pub const POLL_IN: i32 = 1;
/// Room to write.
pub const POLL_OUT: i32 = 2;
/// A message: a lease is being broken, a directory changed.
pub const POLL_MSG: i32 = 3;
/// An error.
pub const POLL_ERR: i32 = 4;
/// The other end hung up.
pub const POLL_HUP: i32 = 6;

/// What `si_band` says with each code.
fn band_of(code: i32) -> i64 {
    match code {
        POLL_IN => 0x041,
        POLL_OUT => 0x304,
        POLL_MSG => 0x441,
        POLL_ERR => 0x008,
        POLL_HUP => 0x018,
        _ => 0,
    }
}

/// Sends a file's owner its signal. `fd` is what the handler sees in `si_fd`; it is only there with F_SETSIG.
pub fn send(file: &File, fd: i32, code: i32) {
    let owner = *file.owner.lock();
    if owner.pid == 0 {
        return;
    }
    let info = if owner.signal == 0 {
        SigInfo::kernel(sig::IO)
    } else {
        SigInfo::new(Siginfo::poll(Signal(owner.signal), code, band_of(code), fd))
    };
    // The rule of kill(2), with the credentials at the time of F_SETOWN.
    let allowed = |target: &Cred| {
        owner.euid == 0
            || [owner.uid, owner.euid]
                .iter()
                .any(|id| *id == target.uid || *id == target.suid)
    };
    let pid = owner.pid.unsigned_abs();
    if owner.is_thread {
        if let Some(thread) = process::find_thread(pid).filter(|t| allowed(&t.cred())) {
            signal::send_thread(&thread, info);
        }
        return;
    }
    let targets = if owner.pid > 0 {
        process::find(pid).into_iter().collect()
    } else {
        process::pgrp_members(pid)
    };
    for target in targets {
        let permitted = target.threads().first().is_some_and(|t| allowed(&t.cred()));
        if permitted {
            signal::send_process(&target, info);
        }
    }
}

/// Woken when an O_ASYNC file may be ready.
struct Watcher {
    file: Weak<File>,
}

/// What happened and has not been told yet: the file, and the events (0 if the waker did not say).
static EVENTS: IrqLock<VecDeque<(Weak<File>, u64)>> = IrqLock::new(VecDeque::new());
static WORK: WaitQueue = WaitQueue::new();
static WORKER: OnceLock<()> = OnceLock::new();

impl WakeCallback for Watcher {
    fn woken(&self, key: u64) {
        EVENTS.lock().push_back((self.file.clone(), key));
        WORK.wake_all();
    }
}

/// Starts or ends sending signals for a file (O_ASYNC). `fd` is what handlers see.
pub fn watch(file: &Arc<File>, fd: i32, on: bool) {
    file.async_fd.store(fd, Ordering::Relaxed);
    let tokens = if on {
        WORKER.call_once(|| drop(crate::sched::spawn_kthread("sigio", worker)));
        let watcher = Arc::new(Watcher {
            file: Arc::downgrade(file),
        });
        let mut table = PollTable::new(watcher, false);
        file.poll(&mut table);
        table.into_tokens()
    } else {
        Vec::new()
    };
    let old = core::mem::replace(&mut *file.async_tokens.lock(), tokens);
    drop(old);
}

fn worker() {
    loop {
        let next = WORK.wait(SleepMode::Uninterruptible, None, || {
            EVENTS.lock().pop_front()
        });
        let Ok((file, key)) = next else { continue };
        if let Some(file) = file.upgrade() {
            tell(&file, key);
        }
    }
}

fn tell(file: &Arc<File>, key: u64) {
    let ready = file.poll(&mut PollTable::probe());
    let said = PollEvents::from_bits_truncate(key as u32);
    let events = if key == 0 { ready } else { ready & said };
    let code = if events.contains(PollEvents::HUP) {
        POLL_HUP
    } else if events.contains(PollEvents::ERR) {
        POLL_ERR
    } else if events.contains(PollEvents::IN) {
        POLL_IN
    } else if events.contains(PollEvents::OUT) {
        POLL_OUT
    } else {
        return;
    };
    send(file, file.async_fd.load(Ordering::Relaxed), code);
}
