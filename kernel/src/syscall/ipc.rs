//! Pipes, futexes, process descriptors.

use keel_abi::prelude::*;
use keel_abi::types::{FutexWaitv, Timespec};

use super::Ctx;
use super::time::nanoseconds;
use crate::ipc::futex::{self, MATCH_ANY, WaitEnd, Waited};
use crate::ipc::{pidfd, pipe as pipes};
use crate::mm::user::UserAccess;
use crate::prelude::*;

pub fn pipe(cx: &mut Ctx, pipefd: UserPtr<[Fd; 2]>) -> Result<()> {
    pipe2(cx, pipefd, OpenFlags::empty())
}

pub fn pipe2(cx: &mut Ctx, pipefd: UserPtr<[Fd; 2]>, flags: OpenFlags) -> Result<()> {
    let known = OpenFlags::CLOEXEC | OpenFlags::NONBLOCK | OpenFlags::DIRECT;
    if !known.contains(flags) {
        return Err(Errno::EINVAL);
    }
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    let (reader, writer) = pipes::create(flags);
    let files = cx.thread.files();
    let read_fd = files.install(reader, cloexec)?;
    let pair = files
        .install(writer, cloexec)
        .map(|write_fd| [read_fd, write_fd]);
    let undo = |fds: &[Fd]| fds.iter().for_each(|fd| files.close(*fd).unwrap_or(()));
    match pair {
        Err(error) => {
            undo(&[read_fd]);
            Err(error)
        }
        Ok(pair) => pipefd.write(&pair).inspect_err(|_| undo(&pair)),
    }
}

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

pub fn futex(
    cx: &mut Ctx,
    uaddr: UserPtr<u32>,
    op: FutexOp,
    val: u32,
    timeout: UserPtr<Timespec>,
    uaddr2: UserPtr<u32>,
    val3: u32,
) -> Result<i32> {
    let mm = cx.thread.mm();
    let private = op.is_private();
    let addr = uaddr.addr() as usize;
    let addr2 = uaddr2.addr() as usize;
    let key = |addr: usize| futex::key(&mm, addr, private);
    // For the operations without a timeout this argument is a number.
    let val2 = timeout.addr() as u32 as usize;
    let count = val as usize;
    if op.is_realtime()
        && !matches!(
            op.command(),
            FutexOp::FUTEX_WAIT
                | FutexOp::FUTEX_WAIT_BITSET
                | FutexOp::FUTEX_WAIT_REQUEUE_PI
                | FutexOp::FUTEX_LOCK_PI2
        )
    {
        return Err(Errno::ENOSYS);
    }
    match op.command() {
        FutexOp::FUTEX_WAIT => {
            let deadline = futex_deadline(timeout, false, false)?;
            wait(cx, addr, private, val, MATCH_ANY, deadline)
        }
        FutexOp::FUTEX_WAIT_BITSET => {
            let deadline = futex_deadline(timeout, true, op.is_realtime())?;
            wait(cx, addr, private, val, val3, deadline)
        }
        FutexOp::FUTEX_WAKE => Ok(futex::wake(&key(addr)?, count.max(1), MATCH_ANY) as i32),
        FutexOp::FUTEX_WAKE_BITSET if val3 == 0 => Err(Errno::EINVAL),
        FutexOp::FUTEX_WAKE_BITSET => Ok(futex::wake(&key(addr)?, count.max(1), val3) as i32),
        FutexOp::FUTEX_REQUEUE => {
            if (val as i32) < 0 || (val2 as i32) < 0 {
                return Err(Errno::EINVAL);
            }
            let (woken, moved) =
                futex::requeue(&key(addr)?, &key(addr2)?, addr, None, count, val2)?;
            Ok((woken + moved) as i32)
        }
        FutexOp::FUTEX_CMP_REQUEUE => {
            if (val as i32) < 0 || (val2 as i32) < 0 {
                return Err(Errno::EINVAL);
            }
            let (from, to) = (key(addr)?, key(addr2)?);
            let (woken, moved) = futex::requeue(&from, &to, addr, Some(val3), count, val2)?;
            Ok((woken + moved) as i32)
        }
        FutexOp::FUTEX_WAKE_OP => {
            let operation = FutexWakeOp::decode(val3)?;
            let (first, second) = (key(addr)?, key(addr2)?);
            let old = keel_hal::user::fetch_update_u32(addr2, |old| Some(operation.apply(old)))
                .map_err(|_| Errno::EFAULT)?
                .unwrap_or_else(|old| old);
            let mut woken = futex::wake(&first, count, MATCH_ANY);
            if operation.matches(old) {
                woken += futex::wake(&second, val2, MATCH_ANY);
            }
            Ok(woken as i32)
        }
        _ => Err(Errno::ENOSYS),
    }
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

/// Most futexes of one futex_waitv(2).
const WAITV_MAX: u32 = 128;
const FUTEX2_PRIVATE: u32 = 128;
const FUTEX2_SIZE_U32: u32 = 2;

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
    let deadline = if timeout.is_null() {
        None
    } else {
        let realtime = match clockid {
            ClockId::CLOCK_REALTIME => true,
            ClockId::CLOCK_MONOTONIC => false,
            _ => return Err(Errno::EINVAL),
        };
        futex_deadline(timeout, true, realtime)?
    };
    let mm = cx.thread.mm();
    let mut list = Vec::new();
    for waiter in waiters.read_array(nr_futexes as usize)? {
        let private = waiter.flags & FUTEX2_PRIVATE != 0;
        if waiter.flags & !FUTEX2_PRIVATE != FUTEX2_SIZE_U32
            || waiter._reserved != 0
            || waiter.val > u64::from(u32::MAX)
        {
            return Err(Errno::EINVAL);
        }
        let addr = waiter.uaddr as usize;
        let key = futex::key(&mm, addr, private)?;
        list.push(Waited {
            addr,
            key,
            expected: waiter.val as u32,
        });
    }
    match futex::wait_many(list, deadline)? {
        Ok(index) => Ok(index as i32),
        Err(WaitEnd::TimedOut) => Err(Errno::ETIMEDOUT),
        Err(WaitEnd::Interrupted) => Err(Errno::ERESTARTSYS),
    }
}

pub fn pidfd_open(cx: &mut Ctx, pid: Pid, flags: PidfdFlags) -> Result<Fd> {
    if !PidfdFlags::NONBLOCK.contains(flags) || pid.0 <= 0 {
        return Err(Errno::EINVAL);
    }
    let process = match crate::process::find(pid.0.unsigned_abs()) {
        Some(process) => process,
        // A thread that is not its process's first has no descriptor of its own.
        None if crate::process::find_thread(pid.0.unsigned_abs()).is_some() => {
            return Err(Errno::EINVAL);
        }
        None => return Err(Errno::ESRCH),
    };
    pidfd::open(cx.thread, &process, flags.contains(PidfdFlags::NONBLOCK))
}

pub fn pidfd_getfd(cx: &mut Ctx, pidfd: Fd, targetfd: Fd, flags: u32) -> Result<Fd> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let (process, _) = pidfd::process_of(cx.thread, pidfd)?;
    let target = process.main_thread().ok_or(Errno::ESRCH)?;
    if !crate::process::ptrace::may_access(cx.thread, &target) {
        return Err(Errno::EPERM);
    }
    let file = target.files().get_any(targetfd)?;
    cx.thread.files().install(file, true)
}
