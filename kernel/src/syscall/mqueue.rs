//! POSIX message queues (mq_overview(7)).

use keel_abi::prelude::*;
use keel_abi::types::{MqAttr, Sigevent, Timespec};

use super::Ctx;
use super::time::nanoseconds;
use crate::fs::File;
use crate::fs::mqueue::{self, QueueFile};
use crate::ipc::mqueue::{PRIORITIES, Patience, Queue};
use crate::mm::user::{UserAccess, UserStrAccess, read_bytes, write_bytes};
use crate::prelude::*;

/// SIGEV_* of mq_notify(3).
const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD: i32 = 2;
/// Highest signal number.
const SIGNAL_MAX: i32 = 64;

pub fn mq_open(
    cx: &mut Ctx,
    name: UserStr,
    oflag: OpenFlags,
    mode: Mode,
    attr: UserPtr<MqAttr>,
) -> Result<Fd> {
    let wanted = attr.read_if_given()?;
    let name = name.read_path()?;
    let (file, created) =
        mqueue::open(cx.thread, &name, oflag, u32::from(mode.0), wanted.as_ref())?;
    cx.thread.files().install(file, true).inspect_err(|_| {
        if created {
            // Without a descriptor there is to be no queue either.
            let _ = mqueue::unlink(cx.thread, &name);
        }
    })
}

pub fn mq_unlink(cx: &mut Ctx, name: UserStr) -> Result<()> {
    mqueue::unlink(cx.thread, &name.read_path()?)
}

/// The queue of a descriptor: EBADF for any other file.
fn queue_of(cx: &Ctx, mqdes: Fd) -> Result<(Arc<File>, Arc<Queue>)> {
    let file = cx.thread.files().get(mqdes)?;
    let queue = file.ops_as::<QueueFile>().ok_or(Errno::EBADF)?;
    let queue = queue.queue().clone();
    Ok((file, queue))
}

/// The deadline, absolute by the wall clock, in monotonic time.
fn deadline_of(timeout: UserPtr<Timespec>) -> Result<Option<u64>> {
    let Some(time) = timeout.read_if_given()? else {
        return Ok(None);
    };
    let left = (nanoseconds(&time)? as i64)
        .saturating_sub(crate::time::realtime_ns())
        .max(0);
    Ok(Some(
        crate::time::monotonic_ns().saturating_add(left as u64),
    ))
}

fn patience(file: &File, deadline: Option<u64>) -> Patience {
    if file.nonblocking() {
        Patience::None
    } else {
        Patience::Until(deadline)
    }
}

pub fn mq_timedsend(
    cx: &mut Ctx,
    mqdes: Fd,
    msg_ptr: UserPtr<u8>,
    msg_len: usize,
    msg_prio: u32,
    abs_timeout: UserPtr<Timespec>,
) -> Result<()> {
    if msg_prio >= PRIORITIES {
        return Err(Errno::EINVAL);
    }
    let deadline = deadline_of(abs_timeout)?;
    let (file, queue) = queue_of(cx, mqdes)?;
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    if msg_len as u64 > queue.attributes().mq_msgsize.unsigned_abs() {
        return Err(Errno::EMSGSIZE);
    }
    let text = read_bytes(msg_ptr.addr(), msg_len)?;
    queue.send(cx.thread, text, msg_prio, patience(&file, deadline))?;
    file.inode.update_attr(|attr| {
        let now = crate::fs::Time::now();
        (attr.mtime, attr.ctime) = (now, now);
    });
    Ok(())
}

pub fn mq_timedreceive(
    cx: &mut Ctx,
    mqdes: Fd,
    msg_ptr: UserPtr<u8>,
    msg_len: usize,
    msg_prio: UserPtr<u32>,
    abs_timeout: UserPtr<Timespec>,
) -> Result<usize> {
    let deadline = deadline_of(abs_timeout)?;
    let (file, queue) = queue_of(cx, mqdes)?;
    if !file.readable() {
        return Err(Errno::EBADF);
    }
    let (text, priority) = queue.receive(msg_len, patience(&file, deadline))?;
    file.inode.update_attr(|attr| {
        let now = crate::fs::Time::now();
        (attr.atime, attr.ctime) = (now, now);
    });
    msg_prio.write_if_given(&priority)?;
    write_bytes(msg_ptr.addr(), &text)?;
    Ok(text.len())
}

pub fn mq_notify(cx: &mut Ctx, mqdes: Fd, sevp: UserPtr<Sigevent>) -> Result<()> {
    let event = sevp.read_if_given()?;
    let signo = match event
        .as_ref()
        .map(|event| (event.sigev_notify, event.sigev_signo))
    {
        None | Some((SIGEV_NONE, _)) => None,
        Some((SIGEV_SIGNAL, signo)) if (0..=SIGNAL_MAX).contains(&signo) => Some(signo),
        // The descriptor would have to be a netlink socket.
        Some((SIGEV_THREAD, socket)) => {
            let file = cx.thread.files().get(Fd(socket))?;
            let is_socket = file.inode.file_type == FileType::Socket;
            return Err(if is_socket {
                Errno::EINVAL
            } else {
                Errno::ENOTSOCK
            });
        }
        Some(_) => return Err(Errno::EINVAL),
    };
    let (_, queue) = queue_of(cx, mqdes)?;
    match event {
        None => {
            queue.unregister(&cx.thread.process);
            Ok(())
        }
        Some(event) => queue.register(cx.thread, signo, event.sigev_value),
    }
}

pub fn mq_getsetattr(
    cx: &mut Ctx,
    mqdes: Fd,
    newattr: UserPtr<MqAttr>,
    oldattr: UserPtr<MqAttr>,
) -> Result<()> {
    let new = newattr.read_if_given()?;
    let nonblock = i64::from(OpenFlags::NONBLOCK.bits());
    if new
        .as_ref()
        .is_some_and(|new| new.mq_flags & !nonblock != 0)
    {
        return Err(Errno::EINVAL);
    }
    let (file, queue) = queue_of(cx, mqdes)?;
    let old = MqAttr {
        mq_flags: i64::from((file.flags() & OpenFlags::NONBLOCK).bits()),
        ..queue.attributes()
    };
    if let Some(new) = new {
        let mut flags = file.flags();
        flags.set(OpenFlags::NONBLOCK, new.mq_flags & nonblock != 0);
        file.set_flags(flags);
    }
    oldattr.write_if_given(&old)
}
