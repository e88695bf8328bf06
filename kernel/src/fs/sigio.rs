//! SIGIO: telling the owner of a file (fcntl F_SETOWN, F_SETSIG) that something happened to it.

use keel_abi::flags::Signal;
use keel_abi::types::Siginfo;

use super::{File, PollEvents};
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

/// Sends a file's owner its signal. `fd` is what the handler sees in `si_fd`; it is only there with F_SETSIG.
pub fn send(file: &File, fd: i32, code: i32, band: PollEvents) {
    let owner = *file.owner.lock();
    if owner.pid == 0 {
        return;
    }
    let info = if owner.signal == 0 {
        SigInfo::kernel(sig::IO)
    } else {
        SigInfo::new(Siginfo::poll(Signal(owner.signal), code, i64::from(band.bits()), fd))
    };
    // The rule of kill(2), with the credentials at the time of F_SETOWN.
    let allowed = |target: &Cred| {
        owner.euid == 0
            || [owner.uid, owner.euid].iter().any(|id| *id == target.uid || *id == target.suid)
    };
    let pid = owner.pid.unsigned_abs();
    if owner.is_thread {
        if let Some(thread) = process::find_thread(pid).filter(|t| allowed(&t.cred())) {
            signal::send_thread(&thread, info);
        }
        return;
    }
    let targets =
        if owner.pid > 0 { process::find(pid).into_iter().collect() } else { process::pgrp_members(pid) };
    for target in targets {
        let permitted = target.threads().first().is_some_and(|t| allowed(&t.cred()));
        if permitted {
            signal::send_process(&target, info);
        }
    }
}
