//! Process accounting (acct(2), acct(5)): a record of each process that ends, in a file.
//!
//! The records are `struct acct_v3` of `linux/acct.h`. Writing stops while the file system is nearly full.

use core::sync::atomic::{AtomicU32, Ordering};
use zerocopy::{Immutable, IntoBytes};

use super::{Process, Thread};
use crate::fs::{File, IoSrc};
use crate::prelude::*;

/// The file, while accounting is on.
static FILE: Mutex<Option<Arc<File>>> = Mutex::new(None);
/// A quick look at whether it is.
static ON: AtomicU32 = AtomicU32::new(0);

/// Free space in per cent below which accounting stops, and from which it goes on (`kernel.acct`).
const LOW_WATER: u64 = 2;
const HIGH_WATER: u64 = 4;

/// Flags of a record.
mod flag {
    pub const FORKED: u8 = 0x01;
    pub const CORE: u8 = 0x08;
    pub const SIGNALLED: u8 = 0x10;
}
const VERSION: u8 = 3;
/// Times in records are in units of 1/100 s.
const NS_PER_TICK: u64 = 10_000_000;

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Record {
    flag: u8,
    version: u8,
    tty: u16,
    exit_code: u32,
    uid: u32,
    gid: u32,
    pid: u32,
    ppid: u32,
    begin_time: u32,
    /// A `float`, by its bits.
    elapsed: u32,
    user_time: u16,
    system_time: u16,
    memory_kb: u16,
    chars: u16,
    blocks: u16,
    minor_faults: u16,
    major_faults: u16,
    swaps: u16,
    comm: [u8; 16],
}

/// Starts accounting into `file`, or with `None` ends it.
pub fn set(file: Option<Arc<File>>) {
    let on = u32::from(file.is_some());
    let old = core::mem::replace(&mut *FILE.lock(), file);
    ON.store(on, Ordering::Release);
    drop(old);
}

/// The memory of a process that is about to end, for its record: bytes that its mappings span.
pub fn note_memory(thread: &Thread) {
    if ON.load(Ordering::Acquire) == 0 {
        return;
    }
    if let Some(mm) = thread.mm_opt() {
        let kb = (mm.stats().total * PAGE_SIZE / 1024) as u64;
        thread.process.final_kb.store(kb, Ordering::Relaxed);
    }
}

/// A process has ended with this status; `thread` was its last.
pub fn process_ended(process: &Process, thread: &Thread, status: i32) {
    if ON.load(Ordering::Acquire) == 0 {
        return;
    }
    let file = FILE.lock().clone();
    let Some(file) = file else { return };
    if !has_room(&file) {
        return;
    }
    let record = record_of(process, thread, status);
    // A record that cannot be written is lost, as on Linux.
    let _ = file.write(&mut IoSrc::from_kernel(record.as_bytes()));
}

/// Whether the file system has space enough; it takes more to go on again than to stop.
fn has_room(file: &File) -> bool {
    static PAUSED: AtomicU32 = AtomicU32::new(0);
    let Ok(stats) = file.inode.sb.ops.statfs() else {
        return false;
    };
    let paused = PAUSED.load(Ordering::Relaxed) != 0;
    let needed = if paused { HIGH_WATER } else { LOW_WATER };
    let room = stats.available.saturating_mul(100) > stats.blocks.saturating_mul(needed);
    PAUSED.store(u32::from(!room), Ordering::Relaxed);
    room
}

fn record_of(process: &Process, thread: &Thread, status: i32) -> Record {
    let cred = thread.cred();
    let usage = *process.dead_usage.lock();
    let elapsed_ns = crate::time::monotonic_ns().saturating_sub(process.start_ns);
    let now = crate::time::clock::realtime().0;
    let mut flags = 0;
    if !process.execed.load(Ordering::Relaxed) {
        flags |= flag::FORKED;
    }
    if status & 0x7f != 0 {
        flags |= flag::SIGNALLED;
    }
    if status & 0x80 != 0 {
        flags |= flag::CORE;
    }
    let tty = process.tty.lock().as_ref().map_or(0, |tty| tty.rdev);
    let ticks = |ns: u64| compressed(ns / NS_PER_TICK);
    Record {
        flag: flags,
        version: VERSION,
        tty: old_device(tty),
        exit_code: status.cast_unsigned(),
        uid: cred.uid,
        gid: cred.gid,
        pid: process.pid,
        ppid: process.ppid(),
        begin_time: (now - (elapsed_ns / 1_000_000_000) as i64) as u32,
        elapsed: float_bits(elapsed_ns / NS_PER_TICK),
        user_time: ticks(usage.user_ns),
        system_time: ticks(usage.system_ns),
        memory_kb: compressed(process.final_kb.load(Ordering::Relaxed)),
        chars: 0,
        blocks: 0,
        minor_faults: compressed(usage.minor_faults),
        major_faults: compressed(usage.major_faults),
        swaps: 0,
        comm: thread.comm_bytes(),
    }
}

/// A device number in 16 bits.
fn old_device(rdev: u64) -> u16 {
    let major = (rdev >> 8 & 0xfff) as u16;
    let minor = (rdev & 0xff) as u16;
    major << 8 | minor
}

/// `comp_t`: 13 bits and an exponent of 8 in the upper 3, rounded.
fn compressed(value: u64) -> u16 {
    const MANTISSA_BITS: u32 = 13;
    let (mut value, mut exponent, mut round) = (value, 0, 0);
    while value > (1 << MANTISSA_BITS) - 1 {
        round = value & 4;
        value >>= 3;
        exponent += 1;
    }
    if round != 0 {
        value += 1;
        if value > (1 << MANTISSA_BITS) - 1 {
            value >>= 3;
            exponent += 1;
        }
    }
    if exponent > 7 {
        return u16::MAX;
    }
    (exponent << MANTISSA_BITS) as u16 | value as u16
}

/// The bits of a `float` with this value, rounded towards zero, made without floating point.
fn float_bits(value: u64) -> u32 {
    const FRACTION: u32 = 23;
    const BIAS: u32 = 127;
    let Some(top) = value.checked_ilog2() else {
        return 0;
    };
    let fraction = if top > FRACTION {
        value >> (top - FRACTION)
    } else {
        value << (FRACTION - top)
    };
    (top + BIAS) << FRACTION | (fraction as u32 & ((1 << FRACTION) - 1))
}
