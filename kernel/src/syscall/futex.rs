//! Futexes: futex(2) and the calls that split it up (futex_waitv(2), futex_wait, futex_wake, futex_requeue).

use keel_abi::prelude::*;
use keel_abi::types::{FutexWaitv, Timespec};

use super::Ctx;
use super::time::nanoseconds;
use crate::ipc::futex::{self, Key, MATCH_ANY, WaitEnd, Waited};
use crate::mm::user::UserAccess;
use crate::prelude::*;

/// The deadline of a futex wait in monotonic time. Absolute ones against the wall clock are converted once.
fn futex_deadline(
    timeout: UserPtr<Timespec>,
    absolute: bool,
    realtime: bool,
) -> Result<Option<u64>> {
    let Some(time) = timeout.read_if_given()? else {
        return Ok(None);
    };
    let ns = nanoseconds(&time)?;
    let now = crate::time::monotonic_ns();
    Ok(Some(match (absolute, realtime) {
        (false, _) => now.saturating_add(ns),
        (true, false) => ns,
        (true, true) => {
            let left = (ns as i64)
                .saturating_sub(crate::time::realtime_ns())
                .max(0);
            now.saturating_add(left as u64)
        }
    }))
}

/// The arguments of one futex(2).
struct Args {
    addr: usize,
    private: bool,
    val: u32,
    timeout: UserPtr<Timespec>,
    addr2: usize,
    val3: u32,
    /// FUTEX_CLOCK_REALTIME.
    realtime: bool,
}

impl Args {
    fn key(&self, cx: &Ctx, addr: usize) -> Result<Key> {
        futex::key(&cx.thread.mm(), addr, self.private)
    }

    /// For the operations without a timeout that argument is a number: EINVAL if either is negative.
    fn counts(&self) -> Result<(usize, usize)> {
        let count = |raw: u32| usize::try_from(raw.cast_signed()).map_err(|_| Errno::EINVAL);
        Ok((count(self.val)?, count(self.timeout.addr() as u32)?))
    }
}

pub fn futex(
    cx: &mut Ctx,
    uaddr: UserPtr<u32>,
    op: FutexOp,
    val: u32,
    timeout: UserPtr<Timespec>,
    uaddr2: UserPtr<u32>,
    val3: u32,
) -> Result<i32> {
    let args = Args {
        addr: uaddr.addr() as usize,
        private: op.is_private(),
        val,
        timeout,
        addr2: uaddr2.addr() as usize,
        val3,
        realtime: op.is_realtime(),
    };
    let takes_clock = matches!(
        op.command(),
        FutexOp::FUTEX_WAIT
            | FutexOp::FUTEX_WAIT_BITSET
            | FutexOp::FUTEX_WAIT_REQUEUE_PI
            | FutexOp::FUTEX_LOCK_PI2
    );
    if args.realtime && !takes_clock {
        return Err(Errno::ENOSYS);
    }
    let addr = args.addr;
    match op.command() {
        FutexOp::FUTEX_WAIT => {
            let deadline = futex_deadline(timeout, false, false)?;
            wait(cx, addr, args.private, val, MATCH_ANY, deadline)
        }
        FutexOp::FUTEX_WAIT_BITSET => {
            let deadline = futex_deadline(timeout, true, args.realtime)?;
            wait(cx, addr, args.private, val, val3, deadline)
        }
        FutexOp::FUTEX_WAKE => wake(&args.key(cx, addr)?, val, MATCH_ANY),
        FutexOp::FUTEX_WAKE_BITSET if val3 == 0 => Err(Errno::EINVAL),
        FutexOp::FUTEX_WAKE_BITSET => wake(&args.key(cx, addr)?, val, val3),
        FutexOp::FUTEX_REQUEUE => requeue(cx, &args, None),
        FutexOp::FUTEX_CMP_REQUEUE => requeue(cx, &args, Some(val3)),
        FutexOp::FUTEX_WAKE_OP => wake_op(cx, &args),
        FutexOp::FUTEX_LOCK_PI => lock_pi(cx, &args, true),
        FutexOp::FUTEX_LOCK_PI2 => lock_pi(cx, &args, args.realtime),
        FutexOp::FUTEX_TRYLOCK_PI => {
            let key = args.key(cx, addr)?;
            futex::try_lock_pi(cx.thread, addr, &key).map(|()| 0)
        }
        FutexOp::FUTEX_UNLOCK_PI => {
            let key = args.key(cx, addr)?;
            futex::unlock_pi(cx.thread, addr, &key).map(|()| 0)
        }
        FutexOp::FUTEX_WAIT_REQUEUE_PI => {
            let deadline = futex_deadline(timeout, true, args.realtime)?;
            let place = (addr, args.key(cx, addr)?);
            let pi_place = (args.addr2, args.key(cx, args.addr2)?);
            futex::wait_requeue_pi(cx.thread, place, val, MATCH_ANY, pi_place, deadline).map(|()| 0)
        }
        FutexOp::FUTEX_CMP_REQUEUE_PI => {
            let (wake, moves) = args.counts()?;
            if wake != 1 {
                return Err(Errno::EINVAL);
            }
            let (from, to) = (args.key(cx, addr)?, args.key(cx, args.addr2)?);
            futex::requeue_pi((addr, &from), (args.addr2, &to), val3, moves).map(|n| n as i32)
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// Wakes `count` waiters, and one if `count` is 0 or less, as futex(2) always has.
fn wake(key: &Key, count: u32, bitset: u32) -> Result<i32> {
    let count = usize::try_from(count.cast_signed()).unwrap_or(1).max(1);
    futex::wake(key, count, bitset).map(|n| n as i32)
}

fn requeue(cx: &Ctx, args: &Args, expected: Option<u32>) -> Result<i32> {
    let (wake, moves) = args.counts()?;
    let (from, to) = (args.key(cx, args.addr)?, args.key(cx, args.addr2)?);
    let (woken, moved) = futex::requeue(&from, &to, args.addr, expected, wake, moves)?;
    Ok((woken + moved) as i32)
}

fn wake_op(cx: &Ctx, args: &Args) -> Result<i32> {
    let operation = FutexWakeOp::decode(args.val3)?;
    let (first, second) = (args.key(cx, args.addr)?, args.key(cx, args.addr2)?);
    let old = keel_hal::user::fetch_update_u32(args.addr2, |old| Some(operation.apply(old)))
        .map_err(|_| Errno::EFAULT)?
        .unwrap_or_else(|old| old);
    let mut woken = wake(&first, args.val, MATCH_ANY)?;
    if operation.matches(old) {
        woken += wake(&second, args.timeout.addr() as u32, MATCH_ANY)?;
    }
    Ok(woken)
}

fn lock_pi(cx: &Ctx, args: &Args, realtime: bool) -> Result<i32> {
    let deadline = futex_deadline(args.timeout, true, realtime)?;
    let key = args.key(cx, args.addr)?;
    futex::lock_pi(cx.thread, args.addr, &key, deadline).map(|()| 0)
}

fn wait(
    cx: &mut Ctx,
    addr: usize,
    private: bool,
    expected: u32,
    bitset: u32,
    deadline: Option<u64>,
) -> Result<i32> {
    let key = futex::key(&cx.thread.mm(), addr, private)?;
    match futex::wait(addr, key, expected, bitset, deadline)? {
        Ok(()) => Ok(0),
        Err(WaitEnd::TimedOut) => Err(Errno::ETIMEDOUT),
        Err(WaitEnd::Interrupted) if deadline.is_none() => Err(Errno::ERESTARTSYS),
        Err(WaitEnd::Interrupted) => {
            *cx.thread.restart_block.lock() = Some(Box::new(move |cx: &mut Ctx| {
                wait(cx, addr, private, expected, bitset, deadline).map(|n| n as usize)
            }));
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
    }
}

/// The deadline of the newer calls: absolute, on one of two clocks, which is only looked at with a timeout.
fn deadline2(timeout: UserPtr<Timespec>, clockid: ClockId) -> Result<Option<u64>> {
    if timeout.is_null() {
        return Ok(None);
    }
    let realtime = match clockid {
        ClockId::CLOCK_REALTIME => true,
        ClockId::CLOCK_MONOTONIC => false,
        _ => return Err(Errno::EINVAL),
    };
    futex_deadline(timeout, true, realtime)
}

/// Whether the futex is private, from the newer calls' flags: EINVAL unless it has 32 bits, the only size there is.
fn is_private(flags: Futex2Flags) -> Result<bool> {
    let known = Futex2Flags::SIZE_U16 | Futex2Flags::SIZE_U32 | Futex2Flags::PRIVATE;
    if !known.contains(flags) || flags - Futex2Flags::PRIVATE != Futex2Flags::SIZE_U32 {
        return Err(Errno::EINVAL);
    }
    Ok(flags.contains(Futex2Flags::PRIVATE))
}

/// A value or mask of a 32-bit futex: EINVAL.
fn word(value: u64) -> Result<u32> {
    u32::try_from(value).map_err(|_| Errno::EINVAL)
}

/// Most futexes of one futex_waitv(2).
const WAITV_MAX: u32 = keel_abi::types::FUTEX_WAITV_MAX;

/// Reads the futexes of an array: EINVAL for one that is malformed.
fn read_waitv(cx: &Ctx, waiters: UserPtr<FutexWaitv>, count: usize) -> Result<Vec<Waited>> {
    let mm = cx.thread.mm();
    let mut list = Vec::new();
    for waiter in waiters.read_array(count)? {
        let private = is_private(Futex2Flags::from_bits_retain(waiter.flags))?;
        if waiter._reserved != 0 {
            return Err(Errno::EINVAL);
        }
        let (expected, addr) = (word(waiter.val)?, waiter.uaddr as usize);
        let key = futex::key(&mm, addr, private)?;
        list.push(Waited {
            addr,
            key,
            expected,
        });
    }
    Ok(list)
}

pub fn futex_waitv(
    cx: &mut Ctx,
    waiters: UserPtr<FutexWaitv>,
    nr_futexes: u32,
    flags: u32,
    timeout: UserPtr<Timespec>,
    clockid: ClockId,
) -> Result<i32> {
    if flags != 0 || nr_futexes == 0 || nr_futexes > WAITV_MAX || waiters.is_null() {
        return Err(Errno::EINVAL);
    }
    let deadline = deadline2(timeout, clockid)?;
    let list = read_waitv(cx, waiters, nr_futexes as usize)?;
    match futex::wait_many(list, deadline)? {
        Ok(index) => Ok(index as i32),
        Err(WaitEnd::TimedOut) => Err(Errno::ETIMEDOUT),
        Err(WaitEnd::Interrupted) => Err(Errno::ERESTARTSYS),
    }
}

pub fn futex_wake(
    cx: &mut Ctx,
    uaddr: UserPtr<u32>,
    mask: u64,
    nr: i32,
    flags: Futex2Flags,
) -> Result<i32> {
    let private = is_private(flags)?;
    let mask = word(mask)?;
    if mask == 0 {
        return Err(Errno::EINVAL);
    }
    let key = futex::key(&cx.thread.mm(), uaddr.addr() as usize, private)?;
    match nr {
        0 => Ok(0),
        nr => wake(&key, nr.cast_unsigned(), mask),
    }
}

pub fn futex_wait(
    cx: &mut Ctx,
    uaddr: UserPtr<u32>,
    val: u64,
    mask: u64,
    flags: Futex2Flags,
    timeout: UserPtr<Timespec>,
    clockid: ClockId,
) -> Result<()> {
    let private = is_private(flags)?;
    let (expected, mask) = (word(val)?, word(mask)?);
    let deadline = deadline2(timeout, clockid)?;
    let addr = uaddr.addr() as usize;
    wait(cx, addr, private, expected, mask, deadline).map(drop)
}

pub fn futex_requeue(
    cx: &mut Ctx,
    waiters: UserPtr<FutexWaitv>,
    flags: u32,
    nr_wake: i32,
    nr_requeue: i32,
) -> Result<i32> {
    if flags != 0 || waiters.is_null() {
        return Err(Errno::EINVAL);
    }
    let list = read_waitv(cx, waiters, 2)?;
    let count = |raw: i32| usize::try_from(raw).map_err(|_| Errno::EINVAL);
    let (wake, moves) = (count(nr_wake)?, count(nr_requeue)?);
    let [from, to] = list.as_slice() else {
        return Err(Errno::EINVAL);
    };
    let expected = Some(from.expected);
    let (woken, moved) = futex::requeue(&from.key, &to.key, from.addr, expected, wake, moves)?;
    Ok((woken + moved) as i32)
}
