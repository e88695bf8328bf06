//! Signals that are read as files (signalfd(2)). A read takes the signals of whoever reads.

use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};
use keel_abi::flags::OpenFlags;
use keel_abi::types::SignalfdSiginfo;
use zerocopy::IntoBytes;

use crate::fs::{File, FileOps, IoDst, PollEvents, PollTable, anon_file};
use crate::prelude::*;
use crate::process::signal::{SigInfo, UNBLOCKABLE, sig, take_any};
use crate::process::{Thread, current};

/// A signal descriptor: which signals it gives.
pub struct SignalFd {
    mask: AtomicU64,
}

/// A file that gives the signals of `mask`.
pub fn create(mask: u64, flags: OpenFlags) -> Arc<File> {
    let signals = SignalFd {
        mask: AtomicU64::new(mask & !UNBLOCKABLE),
    };
    anon_file(
        "anon_inode:[signalfd]",
        Arc::new(signals),
        flags | OpenFlags::RDWR,
    )
}

impl SignalFd {
    /// Changes which signals it gives.
    pub fn set_mask(&self, mask: u64) {
        self.mask.store(mask & !UNBLOCKABLE, Ordering::Relaxed);
        current().process.signals.signalfd.wake_all();
    }

    fn take(&self, thread: &Thread) -> Option<SigInfo> {
        take_any(thread, self.mask.load(Ordering::Relaxed))
    }
}

/// A siginfo in signalfd's form.
fn convert(info: &SigInfo) -> SignalfdSiginfo {
    let raw = &info.raw;
    let word = |at: usize| raw.fields.get(at).copied().unwrap_or(0);
    let (low, high) = (word(0) as u32, (word(0) >> 32) as u32);
    let mut out = SignalfdSiginfo {
        ssi_signo: raw.si_signo as u32,
        ssi_errno: raw.si_errno,
        ssi_code: raw.si_code,
        ..SignalfdSiginfo::default()
    };
    match raw.si_signo {
        sig::CHLD => {
            out.ssi_pid = low;
            out.ssi_uid = high;
            out.ssi_status = word(1) as i32;
            out.ssi_utime = word(2);
            out.ssi_stime = word(3);
        }
        sig::SEGV | sig::BUS | sig::ILL | sig::FPE | sig::TRAP if raw.si_code > 0 => {
            out.ssi_addr = word(0);
        }
        _ if raw.si_code == -2 => {
            out.ssi_tid = low;
            out.ssi_overrun = high;
            out.ssi_int = word(1) as i32;
            out.ssi_ptr = word(1);
        }
        _ => {
            out.ssi_pid = low;
            out.ssi_uid = high;
            if raw.si_code < 0 {
                out.ssi_int = word(1) as i32;
                out.ssi_ptr = word(1);
            }
        }
    }
    out
}

impl FileOps for SignalFd {
    fn read(&self, file: &File, dst: &mut IoDst, _pos: u64) -> Result<usize> {
        const SIZE: usize = size_of::<SignalfdSiginfo>();
        if dst.remaining() < SIZE {
            return Err(Errno::EINVAL);
        }
        let thread = current();
        let queue = thread.process.signals.signalfd.clone();
        let mut done = 0;
        while dst.remaining() >= SIZE {
            let info = match self.take(&thread) {
                Some(info) => info,
                None if done > 0 => break,
                None if file.nonblocking() => return Err(Errno::EAGAIN),
                None => queue
                    .wait(SleepMode::Interruptible, None, || self.take(&thread))
                    .map_err(|_| Errno::ERESTARTSYS)?,
            };
            done += dst.put(convert(&info).as_bytes())?;
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File, table: &mut PollTable) -> PollEvents {
        let thread = current();
        table.add(&thread.process.signals.signalfd);
        let pending = thread.signals.pending_set() | thread.process.signals.pending_set();
        if pending & self.mask.load(Ordering::Relaxed) != 0 {
            PollEvents::READABLE
        } else {
            PollEvents::empty()
        }
    }

    fn show_fdinfo(&self, _file: &File, out: &mut String) {
        out.push_str(&format!(
            "sigmask:\t{:016x}\n",
            self.mask.load(Ordering::Relaxed)
        ));
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
