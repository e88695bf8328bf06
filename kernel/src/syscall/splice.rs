//! Moving data through pipes without a program's buffer: splice(2), tee(2), vmsplice(2).
//!
//! Between pipes pages are handed over. Between a pipe and another file data is copied once, inside the kernel.

use keel_abi::prelude::*;

use super::Ctx;
use crate::fs::{File, IoDst, IoSrc};
use crate::ipc::pipe::{Pipe, Slot, pipe_of};
use crate::mm::user::UserAccess;
use crate::prelude::*;

fn check_flags(flags: SpliceFlags) -> Result<bool> {
    if SpliceFlags::all().contains(flags) {
        Ok(flags.contains(SpliceFlags::NONBLOCK))
    } else {
        Err(Errno::EINVAL)
    }
}

/// A step of a loop that has moved `done` bytes before: an error only counts if nothing was moved.
fn settle(done: usize, step: Result<usize>) -> Result<Option<usize>> {
    match step {
        Ok(0) => Ok(None),
        Ok(n) => Ok(Some(n)),
        Err(error) if done == 0 => Err(error),
        Err(_) => Ok(None),
    }
}

/// Moves up to `len` bytes from pipe to pipe.
fn pipe_to_pipe(from: &Pipe, to: &Pipe, len: usize, nonblock: bool) -> Result<usize> {
    let mut done = 0;
    while done < len {
        // Only the first piece is waited for.
        let wait = nonblock || done > 0;
        let step = from.wait_for_data(wait).and_then(|more| {
            if !more {
                return Ok(0);
            }
            to.wait_for_room(wait)?;
            let Some(slot) = from.take_slot(len - done) else {
                return Ok(0);
            };
            let n = slot.len;
            match to.put_slot(slot) {
                Ok(()) => Ok(n),
                Err(slot) => {
                    from.untake_slot(slot);
                    Err(Errno::EAGAIN)
                }
            }
        });
        match settle(done, step)? {
            Some(n) => done += n,
            None => break,
        }
    }
    Ok(done)
}

/// Moves up to `len` bytes from a pipe to a file, at `pos` or its position.
fn pipe_to_file(
    pipe: &Pipe,
    file: &File,
    pos: &mut Option<u64>,
    len: usize,
    nonblock: bool,
) -> Result<usize> {
    let mut buffer = vec![0; PAGE_SIZE];
    let mut done = 0;
    while done < len {
        let step = pipe.wait_for_data(nonblock || done > 0).and_then(|more| {
            if !more {
                return Ok(0);
            }
            let Some(mut slot) = pipe.take_slot((len - done).min(PAGE_SIZE)) else {
                return Ok(0);
            };
            let bytes = &mut buffer[..slot.len];
            slot.frame.read(slot.off, bytes);
            let written = match *pos {
                Some(at) => file.pwrite(&mut IoSrc::from_kernel(bytes), at),
                None => file.write(&mut IoSrc::from_kernel(bytes)),
            };
            let n = *written.as_ref().unwrap_or(&0);
            slot.off += n;
            slot.len -= n;
            pipe.untake_slot(slot);
            written
        });
        match settle(done, step)? {
            Some(n) => {
                done += n;
                *pos = pos.map(|at| at + n as u64);
            }
            None => break,
        }
    }
    Ok(done)
}

/// Moves up to `len` bytes from a file, at `pos` or its position, into a pipe.
fn file_to_pipe(
    file: &File,
    pos: &mut Option<u64>,
    pipe: &Pipe,
    len: usize,
    nonblock: bool,
) -> Result<usize> {
    let mut buffer = vec![0; PAGE_SIZE];
    let mut done = 0;
    while done < len {
        let step = pipe.wait_for_room(nonblock || done > 0).and_then(|()| {
            let want = PAGE_SIZE.min(len - done);
            let mut dst = IoDst::from_kernel(&mut buffer[..want]);
            let n = match *pos {
                Some(at) => file.pread(&mut dst, at)?,
                None => file.read(&mut dst)?,
            };
            if n == 0 {
                return Ok(0);
            }
            put_bytes(pipe, &buffer[..n], nonblock)
        });
        match settle(done, step)? {
            Some(n) => {
                done += n;
                *pos = pos.map(|at| at + n as u64);
                if !file.ops.seekable() {
                    break;
                }
            }
            None => break,
        }
    }
    Ok(done)
}

/// Appends at most a page of bytes. They have been taken from their source, so this waits for room again if another
/// writer was faster.
fn put_bytes(pipe: &Pipe, bytes: &[u8], nonblock: bool) -> Result<usize> {
    let frame = Frame::alloc(AllocFlags::USER).ok_or(Errno::ENOMEM)?;
    frame.write(0, bytes);
    let mut slot = Slot::shared(frame, 0, bytes.len());
    while let Err(back) = pipe.put_slot(slot) {
        slot = back;
        pipe.wait_for_room(nonblock)?;
    }
    Ok(bytes.len())
}

/// An offset argument: ESPIPE for a pipe's, EINVAL for what has no positions or a negative one.
fn offset_of(ptr: UserPtr<i64>, file: &File) -> Result<Option<u64>> {
    if ptr.is_null() {
        return Ok(None);
    }
    if pipe_of(file).is_some() {
        return Err(Errno::ESPIPE);
    }
    if !file.ops.seekable() {
        return Err(Errno::EINVAL);
    }
    u64::try_from(ptr.read()?)
        .map(Some)
        .map_err(|_| Errno::EINVAL)
}

fn give_back(ptr: UserPtr<i64>, pos: Option<u64>) -> Result<()> {
    match pos {
        Some(pos) => ptr.write(&(pos as i64)),
        None => Ok(()),
    }
}

pub fn splice(
    cx: &mut Ctx,
    fd_in: Fd,
    off_in: UserPtr<i64>,
    fd_out: Fd,
    off_out: UserPtr<i64>,
    len: usize,
    flags: SpliceFlags,
) -> Result<usize> {
    if len == 0 {
        return Ok(0);
    }
    let mut nonblock = check_flags(flags)?;
    let files = cx.thread.files();
    let (input, output) = (files.get(fd_in)?, files.get(fd_out)?);
    if !input.readable() || !output.writable() {
        return Err(Errno::EBADF);
    }
    let len = len.min(crate::fs::iobuf::MAX_RW_COUNT);
    let (mut from, mut to) = (offset_of(off_in, &input)?, offset_of(off_out, &output)?);
    let done = match (pipe_of(&input), pipe_of(&output)) {
        (Some(a), Some(b)) => {
            if Arc::ptr_eq(a, b) {
                return Err(Errno::EINVAL);
            }
            nonblock |= input.nonblocking() || output.nonblocking();
            pipe_to_pipe(a, b, len, nonblock)?
        }
        (Some(pipe), None) => {
            if output.flags().contains(OpenFlags::APPEND) {
                return Err(Errno::EINVAL);
            }
            pipe_to_file(pipe, &output, &mut to, len, nonblock || input.nonblocking())?
        }
        (None, Some(pipe)) => file_to_pipe(
            &input,
            &mut from,
            pipe,
            len,
            nonblock || output.nonblocking(),
        )?,
        (None, None) => return Err(Errno::EINVAL),
    };
    give_back(off_in, from)?;
    give_back(off_out, to)?;
    Ok(done)
}

pub fn tee(cx: &mut Ctx, fd_in: Fd, fd_out: Fd, len: usize, flags: SpliceFlags) -> Result<usize> {
    let nonblock = check_flags(flags)?;
    if len == 0 {
        return Ok(0);
    }
    let files = cx.thread.files();
    let (input, output) = (files.get(fd_in)?, files.get(fd_out)?);
    if !input.readable() || !output.writable() {
        return Err(Errno::EBADF);
    }
    let (Some(from), Some(to)) = (pipe_of(&input), pipe_of(&output)) else {
        return Err(Errno::EINVAL);
    };
    if Arc::ptr_eq(from, to) {
        return Err(Errno::EINVAL);
    }
    let nonblock = nonblock || input.nonblocking() || output.nonblocking();
    if !from.wait_for_data(nonblock)? {
        return Ok(0);
    }
    to.wait_for_room(nonblock)?;
    let mut done = 0;
    for slot in from.peek_slots(len) {
        let n = slot.len;
        if to.put_slot(slot).is_err() {
            break;
        }
        done += n;
    }
    Ok(done)
}

pub fn vmsplice(
    cx: &mut Ctx,
    fd: Fd,
    iov: UserPtr<Iovec>,
    nr_segs: usize,
    flags: SpliceFlags,
) -> Result<usize> {
    let nonblock = check_flags(flags)?;
    let file = cx.thread.files().get(fd)?;
    let pipe = pipe_of(&file).ok_or(Errno::EBADF)?;
    if nr_segs > keel_abi::types::UIO_MAXIOV {
        return Err(Errno::EINVAL);
    }
    let pieces = iov.read_array(nr_segs)?;
    let nonblock = nonblock || file.nonblocking();
    if !file.writable() {
        let mut dst = IoDst::from_iovecs(&pieces)?;
        if dst.remaining() == 0 {
            return Ok(0);
        }
        pipe.wait_for_data(nonblock)?;
        return file.read(&mut dst);
    }
    let mut src = IoSrc::from_iovecs(&pieces)?;
    let mut buffer = vec![0; PAGE_SIZE];
    let mut done = 0;
    while src.remaining() > 0 {
        let step = pipe.wait_for_room(nonblock || done > 0).and_then(|()| {
            let n = src.take(&mut buffer)?;
            put_bytes(pipe, &buffer[..n], nonblock)
        });
        match settle(done, step)? {
            Some(n) => done += n,
            None => break,
        }
    }
    Ok(done)
}
