//! Linux AIO: io_setup(2), io_submit(2), io_getevents(2), io_cancel(2), io_destroy(2).

use keel_abi::prelude::*;
use keel_abi::types::{IoEvent, Iocb, Iovec, SigsetArgpack, Timespec};

use super::Ctx;
use super::file::vector;
use super::poll::{read_mask, with_mask};
use super::time::nanoseconds;
use crate::fs::{File, IoDst, IoSrc, PollEvents};
use crate::ipc::aio::{self, Completion, Context};
use crate::ipc::eventfd;
use crate::mm::TASK_SIZE_MAX;
use crate::mm::user::UserAccess;
use crate::prelude::*;

/// `aio_lio_opcode`.
mod opcode {
    pub const PREAD: u16 = 0;
    pub const PWRITE: u16 = 1;
    pub const FSYNC: u16 = 2;
    pub const FDSYNC: u16 = 3;
    pub const POLL: u16 = 5;
    pub const PREADV: u16 = 7;
    pub const PWRITEV: u16 = 8;
}

/// `aio_flags`: tell an eventfd; the request has a priority.
const FLAG_RESFD: u32 = 1;
const FLAG_IOPRIO: u32 = 2;
/// Position of `aio_key` in the structure.
const KEY_OFFSET: u64 = 8;

pub fn io_setup(cx: &mut Ctx, nr_events: u32, ctx_idp: UserPtr<u64>) -> Result<()> {
    if ctx_idp.read()? != 0 || nr_events == 0 {
        return Err(Errno::EINVAL);
    }
    let mm = cx.thread.mm();
    let id = mm.aio.create(&mm, nr_events)?;
    ctx_idp.write(&id).inspect_err(|_| {
        // The caller cannot know of it.
        let _ = mm.aio.destroy(&mm, id);
    })
}

pub fn io_destroy(cx: &mut Ctx, ctx_id: u64) -> Result<()> {
    let mm = cx.thread.mm();
    mm.aio.destroy(&mm, ctx_id)
}

pub fn io_submit(
    cx: &mut Ctx,
    ctx_id: u64,
    nr: i64,
    iocbpp: UserPtr<UserPtr<Iocb>>,
) -> Result<i32> {
    let nr = usize::try_from(nr).map_err(|_| Errno::EINVAL)?;
    let context = cx.thread.mm().aio.find(ctx_id)?;
    let mut count = 0;
    while count < nr {
        let one = iocbpp
            .add(count)
            .read()
            .and_then(|iocb| submit(cx, &context, iocb));
        match one {
            Ok(()) => count += 1,
            Err(error) if count == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(count as i32)
}

fn submit(cx: &Ctx, context: &Arc<Context>, at: UserPtr<Iocb>) -> Result<()> {
    let iocb = at.read()?;
    if iocb.aio_reserved2 != 0 || iocb.aio_nbytes > isize::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    let files = cx.thread.files();
    let file = files.get(Fd(iocb.aio_fildes.cast_signed()))?;
    let eventfd = if iocb.aio_flags & FLAG_RESFD != 0 {
        let event = files.get(Fd(iocb.aio_resfd.cast_signed()))?;
        if !eventfd::is_eventfd(&event) {
            return Err(Errno::EINVAL);
        }
        Some(event)
    } else {
        None
    };
    if iocb.aio_flags & FLAG_IOPRIO != 0 {
        super::sched::check_ioprio(cx, i32::from(iocb.aio_reqprio))?;
    }
    UserPtr::<u32>::new(at.addr().wrapping_add(KEY_OFFSET)).write(&0)?;
    let completion = Completion::new(context, at, iocb.aio_data, eventfd)?;
    match iocb.aio_lio_opcode {
        opcode::PREAD | opcode::PREADV | opcode::PWRITE | opcode::PWRITEV => {
            let done = transfer(&iocb, &file).inspect_err(|_| completion.abandon())?;
            completion.complete(done);
            Ok(())
        }
        opcode::FSYNC | opcode::FDSYNC => {
            if iocb.aio_buf != 0
                || iocb.aio_offset != 0
                || iocb.aio_nbytes != 0
                || iocb.aio_rw_flags != 0
            {
                completion.abandon();
                return Err(Errno::EINVAL);
            }
            aio::flush(completion, file, iocb.aio_lio_opcode == opcode::FDSYNC);
            Ok(())
        }
        opcode::POLL => {
            let events = u16::try_from(iocb.aio_buf).ok();
            let plain = iocb.aio_offset == 0 && iocb.aio_nbytes == 0 && iocb.aio_rw_flags == 0;
            let Some(events) = events.filter(|_| plain && file.ops.pollable()) else {
                completion.abandon();
                return Err(Errno::EINVAL);
            };
            let wanted = PollEvents::from_bits_retain(u32::from(events));
            aio::poll(completion, file, wanted);
            Ok(())
        }
        _ => {
            completion.abandon();
            Err(Errno::EINVAL)
        }
    }
}

/// Reads or writes: the result for the event. An error is one that io_submit(2) itself tells.
fn transfer(iocb: &Iocb, file: &Arc<File>) -> Result<i64> {
    let (is_read, is_vector) = match iocb.aio_lio_opcode {
        opcode::PREAD => (true, false),
        opcode::PREADV => (true, true),
        opcode::PWRITE => (false, false),
        _ => (false, true),
    };
    if (is_read && !file.readable()) || (!is_read && !file.writable()) {
        return Err(Errno::EBADF);
    }
    let flags = RwFlags::from_bits_retain(iocb.aio_rw_flags.cast_unsigned());
    let known = RwFlags::HIPRI | RwFlags::SYNC | RwFlags::DSYNC | RwFlags::APPEND;
    if !known.contains(flags) || (is_read && flags.contains(RwFlags::APPEND)) {
        return Err(Errno::EOPNOTSUPP);
    }
    let (addr, len) = (iocb.aio_buf as usize, iocb.aio_nbytes as usize);
    let pieces = if is_vector {
        vector(UserPtr::<Iovec>::new(iocb.aio_buf), len)?
    } else {
        if addr.checked_add(len).is_none_or(|end| end > TASK_SIZE_MAX) {
            return Err(Errno::EFAULT);
        }
        Vec::new()
    };
    let pos = if file.ops.seekable() {
        Some(u64::try_from(iocb.aio_offset).map_err(|_| Errno::EINVAL)?)
    } else {
        None
    };
    let result = if is_read {
        let mut dst = if is_vector {
            IoDst::from_iovecs(&pieces)?
        } else {
            IoDst::from_user(addr, len)
        };
        match pos {
            Some(pos) => file.pread(&mut dst, pos),
            None => file.read(&mut dst),
        }
    } else {
        let mut src = if is_vector {
            IoSrc::from_iovecs(&pieces)?
        } else {
            IoSrc::from_user(addr, len)
        };
        let append = flags.contains(RwFlags::APPEND) || file.flags().contains(OpenFlags::APPEND);
        let written = file.write_with(&mut src, pos, append);
        if matches!(written, Ok(n) if n > 0) && flags.intersects(RwFlags::SYNC | RwFlags::DSYNC) {
            file.fsync(!flags.contains(RwFlags::SYNC)).and(written)
        } else {
            written
        }
    };
    Ok(match result {
        Ok(n) => n as i64,
        // There is no call to restart.
        Err(error) if error.is_restart() => -i64::from(Errno::EINTR.raw()),
        Err(error) => -i64::from(error.raw()),
    })
}

fn events(
    cx: &Ctx,
    ctx_id: u64,
    min_nr: i64,
    nr: i64,
    events: UserPtr<IoEvent>,
    timeout: Option<Timespec>,
) -> Result<i32> {
    let deadline = match timeout {
        Some(time) => Some(crate::time::monotonic_ns().saturating_add(nanoseconds(&time)?)),
        None => None,
    };
    let context = cx.thread.mm().aio.find(ctx_id)?;
    let count = |raw: i64| usize::try_from(raw).map_err(|_| Errno::EINVAL);
    let (min, max) = (count(min_nr)?, count(nr)?);
    if min > max {
        return Err(Errno::EINVAL);
    }
    let taken = context.events(min, max, deadline, |at, event| events.add(at).write(event))?;
    Ok(taken as i32)
}

pub fn io_getevents(
    cx: &mut Ctx,
    ctx_id: u64,
    min_nr: i64,
    nr: i64,
    list: UserPtr<IoEvent>,
    timeout: UserPtr<Timespec>,
) -> Result<i32> {
    let timeout = timeout.read_if_given()?;
    events(cx, ctx_id, min_nr, nr, list, timeout)
}

pub fn io_pgetevents(
    cx: &mut Ctx,
    ctx_id: u64,
    min_nr: i64,
    nr: i64,
    list: UserPtr<IoEvent>,
    timeout: UserPtr<Timespec>,
    sig: UserPtr<SigsetArgpack>,
) -> Result<i32> {
    let timeout = timeout.read_if_given()?;
    let mask = match sig.read_if_given()? {
        Some(pack) => read_mask(pack.ss, pack.ss_len)?,
        None => None,
    };
    with_mask(cx, mask, |cx| {
        events(cx, ctx_id, min_nr, nr, list, timeout).map_err(|error| match error {
            Errno::EINTR => Errno::ERESTARTNOHAND,
            error => error,
        })
    })
}

pub fn io_cancel(
    cx: &mut Ctx,
    ctx_id: u64,
    iocb: UserPtr<Iocb>,
    _result: UserPtr<IoEvent>,
) -> Result<()> {
    let key = UserPtr::<u32>::new(iocb.addr().wrapping_add(KEY_OFFSET)).read()?;
    if key != 0 {
        return Err(Errno::EINVAL);
    }
    let context = cx.thread.mm().aio.find(ctx_id)?;
    context.cancel(iocb)?;
    // The event comes through the ring, as for every other end.
    Err(Errno::EINPROGRESS)
}
