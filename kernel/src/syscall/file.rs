//! Descriptors: reading, writing, positions, duplicates, locks, fcntl and ioctl.

use core::sync::atomic::Ordering;
use keel_abi::prelude::*;
use keel_abi::types::FileCloneRange;

use super::Ctx;
use crate::fs::{self, FdTable, File, IoDst, IoSrc, locks, tmpfs};
use crate::ipc::pipe;
use crate::mm::user::{UserAccess, UserStrAccess};
use crate::prelude::*;
use crate::process::{self, Thread};

fn note_read(thread: &Thread, result: &Result<usize>) {
    thread.io.read_calls.fetch_add(1, Ordering::Relaxed);
    if let Ok(n) = result {
        thread.io.read_chars.fetch_add(*n as u64, Ordering::Relaxed);
    }
}

fn note_write(thread: &Thread, result: &Result<usize>) {
    thread.io.write_calls.fetch_add(1, Ordering::Relaxed);
    if let Ok(n) = result {
        thread
            .io
            .write_chars
            .fetch_add(*n as u64, Ordering::Relaxed);
    }
}

/// The pieces of a vectored call: EINVAL beyond UIO_MAXIOV.
pub(super) fn vector(iov: UserPtr<Iovec>, count: usize) -> Result<Vec<Iovec>> {
    if count > keel_abi::types::UIO_MAXIOV {
        return Err(Errno::EINVAL);
    }
    iov.read_array(count)
}

/// A length that is negative as a signed number: EINVAL.
fn check_count(count: usize) -> Result<()> {
    isize::try_from(count).map(drop).map_err(|_| Errno::EINVAL)
}

fn offset(pos: i64) -> Result<u64> {
    u64::try_from(pos).map_err(|_| Errno::EINVAL)
}

/// Where a positioned call acts, and how (preadv2(2)): `None` for the file's own position.
fn position(pos_l: u64, pos_h: u64) -> i64 {
    // Both halves overlap on 64-bit machines: the low one is all of it.
    let _ = pos_h;
    pos_l as i64
}

pub fn read(cx: &mut Ctx, fd: Fd, buf: UserPtr<u8>, count: usize) -> Result<usize> {
    let file = cx.thread.files().get(fd)?;
    check_count(count)?;
    let result = file.read(&mut IoDst::from_user(buf.addr() as usize, count));
    note_read(cx.thread, &result);
    result
}

pub fn write(cx: &mut Ctx, fd: Fd, buf: UserPtr<u8>, count: usize) -> Result<usize> {
    let file = cx.thread.files().get(fd)?;
    check_count(count)?;
    let result = file.write(&mut IoSrc::from_user(buf.addr() as usize, count));
    note_write(cx.thread, &result);
    result
}

pub fn pread64(cx: &mut Ctx, fd: Fd, buf: UserPtr<u8>, count: usize, pos: i64) -> Result<usize> {
    let pos = offset(pos)?;
    let file = cx.thread.files().get(fd)?;
    check_count(count)?;
    let result = file.pread(&mut IoDst::from_user(buf.addr() as usize, count), pos);
    note_read(cx.thread, &result);
    result
}

pub fn pwrite64(cx: &mut Ctx, fd: Fd, buf: UserPtr<u8>, count: usize, pos: i64) -> Result<usize> {
    let pos = offset(pos)?;
    let file = cx.thread.files().get(fd)?;
    check_count(count)?;
    let result = file.pwrite(&mut IoSrc::from_user(buf.addr() as usize, count), pos);
    note_write(cx.thread, &result);
    result
}

pub fn readv(cx: &mut Ctx, fd: Fd, iov: UserPtr<Iovec>, iovcnt: usize) -> Result<usize> {
    let file = cx.thread.files().get(fd)?;
    let pieces = vector(iov, iovcnt)?;
    let result = file.read(&mut IoDst::from_iovecs(&pieces)?);
    note_read(cx.thread, &result);
    result
}

pub fn writev(cx: &mut Ctx, fd: Fd, iov: UserPtr<Iovec>, iovcnt: usize) -> Result<usize> {
    let file = cx.thread.files().get(fd)?;
    let pieces = vector(iov, iovcnt)?;
    let result = file.write(&mut IoSrc::from_iovecs(&pieces)?);
    note_write(cx.thread, &result);
    result
}

pub fn preadv(
    cx: &mut Ctx,
    fd: Fd,
    iov: UserPtr<Iovec>,
    iovcnt: usize,
    pos_l: u64,
    pos_h: u64,
) -> Result<usize> {
    let pos = offset(position(pos_l, pos_h))?;
    let file = cx.thread.files().get(fd)?;
    let pieces = vector(iov, iovcnt)?;
    let result = file.pread(&mut IoDst::from_iovecs(&pieces)?, pos);
    note_read(cx.thread, &result);
    result
}

pub fn pwritev(
    cx: &mut Ctx,
    fd: Fd,
    iov: UserPtr<Iovec>,
    iovcnt: usize,
    pos_l: u64,
    pos_h: u64,
) -> Result<usize> {
    let pos = offset(position(pos_l, pos_h))?;
    let file = cx.thread.files().get(fd)?;
    let pieces = vector(iov, iovcnt)?;
    let result = file.pwrite(&mut IoSrc::from_iovecs(&pieces)?, pos);
    note_write(cx.thread, &result);
    result
}

pub fn preadv2(
    cx: &mut Ctx,
    fd: Fd,
    iov: UserPtr<Iovec>,
    iovcnt: usize,
    pos_l: u64,
    pos_h: u64,
    flags: RwFlags,
) -> Result<usize> {
    let pos = position(pos_l, pos_h);
    let file = cx.thread.files().get(fd)?;
    if pos != -1 && !file.ops.seekable() {
        return Err(Errno::ESPIPE);
    }
    // Reads that must not block are not told apart here: as a file system without RWF_NOWAIT.
    if !(RwFlags::HIPRI | RwFlags::SYNC | RwFlags::DSYNC).contains(flags) {
        return Err(Errno::EOPNOTSUPP);
    }
    let pieces = vector(iov, iovcnt)?;
    let mut dst = IoDst::from_iovecs(&pieces)?;
    let result = if pos == -1 {
        file.read(&mut dst)
    } else {
        file.pread(&mut dst, offset(pos)?)
    };
    note_read(cx.thread, &result);
    result
}

pub fn pwritev2(
    cx: &mut Ctx,
    fd: Fd,
    iov: UserPtr<Iovec>,
    iovcnt: usize,
    pos_l: u64,
    pos_h: u64,
    flags: RwFlags,
) -> Result<usize> {
    let pos = position(pos_l, pos_h);
    let file = cx.thread.files().get(fd)?;
    if pos != -1 && !file.ops.seekable() {
        return Err(Errno::ESPIPE);
    }
    let known =
        RwFlags::HIPRI | RwFlags::SYNC | RwFlags::DSYNC | RwFlags::APPEND | RwFlags::NOAPPEND;
    if !known.contains(flags) {
        return Err(Errno::EOPNOTSUPP);
    }
    if flags.contains(RwFlags::APPEND | RwFlags::NOAPPEND) {
        return Err(Errno::EINVAL);
    }
    let append = if flags.contains(RwFlags::APPEND) {
        true
    } else {
        file.flags().contains(OpenFlags::APPEND) && !flags.contains(RwFlags::NOAPPEND)
    };
    let pieces = vector(iov, iovcnt)?;
    let mut src = IoSrc::from_iovecs(&pieces)?;
    let result = match pos {
        -1 => file.write_with(&mut src, None, append),
        pos => file.write_with(&mut src, Some(offset(pos)?), append),
    };
    note_write(cx.thread, &result);
    if matches!(result, Ok(n) if n > 0) && flags.intersects(RwFlags::SYNC | RwFlags::DSYNC) {
        file.fsync(!flags.contains(RwFlags::SYNC))?;
    }
    result
}

pub fn close(cx: &mut Ctx, fd: Fd) -> Result<()> {
    // The descriptor is gone whatever flushing says: a call that a signal ends must not be made again.
    cx.thread.files().close(fd).map_err(|error| match error {
        Errno::ERESTARTSYS
        | Errno::ERESTARTNOINTR
        | Errno::ERESTARTNOHAND
        | Errno::ERESTART_RESTARTBLOCK => Errno::EINTR,
        other => other,
    })
}

pub fn lseek(cx: &mut Ctx, fd: Fd, offset: i64, whence: Whence) -> Result<i64> {
    let file = cx.thread.files().get(fd)?;
    file.seek(offset, whence.0).map(|pos| pos as i64)
}

pub fn dup(cx: &mut Ctx, oldfd: Fd) -> Result<Fd> {
    let files = cx.thread.files();
    let file = files.get_any(oldfd)?;
    files.install(file, false)
}

pub fn dup2(cx: &mut Ctx, oldfd: Fd, newfd: Fd) -> Result<Fd> {
    let files = cx.thread.files();
    let file = files.get_any(oldfd)?;
    if oldfd != newfd {
        files.install_at(newfd, file, false)?;
    }
    Ok(newfd)
}

pub fn dup3(cx: &mut Ctx, oldfd: Fd, newfd: Fd, flags: OpenFlags) -> Result<Fd> {
    if !OpenFlags::CLOEXEC.contains(flags) || oldfd == newfd {
        return Err(Errno::EINVAL);
    }
    let files = cx.thread.files();
    let file = files.get_any(oldfd)?;
    files.install_at(newfd, file, flags.contains(OpenFlags::CLOEXEC))?;
    Ok(newfd)
}

pub fn close_range(cx: &mut Ctx, first: u32, last: u32, flags: CloseRangeFlags) -> Result<()> {
    if !CloseRangeFlags::all().contains(flags) || first > last {
        return Err(Errno::EINVAL);
    }
    let mut files = cx.thread.files();
    // One reference is the thread's, one is ours.
    if flags.contains(CloseRangeFlags::UNSHARE) && Arc::strong_count(&files) > 2 {
        let own = files.clone_table()?;
        drop(cx.thread.replace_files(own.clone()));
        files = own;
    }
    if flags.contains(CloseRangeFlags::CLOEXEC) {
        files.cloexec_range(first, last);
    } else {
        files.close_range(first, last);
    }
    Ok(())
}

pub fn flock(cx: &mut Ctx, fd: Fd, operation: FlockOp) -> Result<()> {
    let wait = !operation.contains(FlockOp::NB);
    let kind = operation.difference(FlockOp::NB);
    if !matches!(kind, FlockOp::SH | FlockOp::EX | FlockOp::UN) {
        return Err(Errno::EINVAL);
    }
    let file = cx.thread.files().get(fd)?;
    if kind == FlockOp::UN {
        locks::flock_unlock(&file);
        return Ok(());
    }
    locks::flock(&file, kind == FlockOp::EX, wait)
}

pub fn fsync(cx: &mut Ctx, fd: Fd) -> Result<()> {
    cx.thread.files().get(fd)?.fsync(false)
}

pub fn fdatasync(cx: &mut Ctx, fd: Fd) -> Result<()> {
    cx.thread.files().get(fd)?.fsync(true)
}

pub fn sync_file_range(
    cx: &mut Ctx,
    fd: Fd,
    offset: i64,
    nbytes: i64,
    flags: SyncFileRangeFlags,
) -> Result<()> {
    if !SyncFileRangeFlags::all().contains(flags) || offset < 0 || nbytes < 0 {
        return Err(Errno::EINVAL);
    }
    offset.checked_add(nbytes).ok_or(Errno::EINVAL)?;
    let file = cx.thread.files().get(fd)?;
    if !matches!(
        file.inode.file_type,
        FileType::Regular | FileType::BlockDevice | FileType::Directory | FileType::Symlink
    ) {
        return Err(Errno::ESPIPE);
    }
    if flags.is_empty() {
        return Ok(());
    }
    file.fsync(true)
}

pub fn ftruncate(cx: &mut Ctx, fd: Fd, length: i64) -> Result<()> {
    let length = offset(length)?;
    let file = cx.thread.files().get(fd)?;
    // The inode that eventfds and their like share has no type at all.
    let is_file = file.inode.attr().mode >> 12 != 0;
    if !file.inode.is_regular() || !is_file || !file.writable() {
        return Err(Errno::EINVAL);
    }
    fs::attributes::truncate(&file.path, &file.inode, length, &cx.thread.cred())
}

pub fn fallocate(cx: &mut Ctx, fd: Fd, mode: FallocateMode, off: i64, len: i64) -> Result<()> {
    let file = cx.thread.files().get(fd)?;
    if off < 0 || len <= 0 {
        return Err(Errno::EINVAL);
    }
    fs::attributes::fallocate(&file, mode, off as u64, len as u64)
}

pub fn readahead(cx: &mut Ctx, fd: Fd, offset: i64, count: usize) -> Result<()> {
    let file = cx.thread.files().get(fd)?;
    if !file.readable() {
        return Err(Errno::EBADF);
    }
    if !matches!(
        file.inode.file_type,
        FileType::Regular | FileType::BlockDevice
    ) {
        return Err(Errno::EINVAL);
    }
    let len = i64::try_from(count).unwrap_or(i64::MAX);
    file.advise(
        offset.max(0) as u64,
        len as u64,
        Fadvise::POSIX_FADV_WILLNEED,
    );
    Ok(())
}

pub fn fadvise64(cx: &mut Ctx, fd: Fd, offset: i64, len: usize, advice: Fadvise) -> Result<()> {
    let file = cx.thread.files().get(fd)?;
    if matches!(file.inode.file_type, FileType::Fifo) {
        return Err(Errno::ESPIPE);
    }
    if (len as i64) < 0 || advice.name().is_none() {
        return Err(Errno::EINVAL);
    }
    let len = if len == 0 { u64::MAX } else { len as u64 };
    file.advise(offset.max(0) as u64, len, advice);
    Ok(())
}

pub fn memfd_create(cx: &mut Ctx, name: UserStr, flags: MemfdFlags) -> Result<Fd> {
    if !MemfdFlags::all().contains(flags)
        || flags.contains(MemfdFlags::EXEC | MemfdFlags::NOEXEC_SEAL)
    {
        return Err(Errno::EINVAL);
    }
    if flags.contains(MemfdFlags::HUGETLB) {
        // As a Linux without hugetlbfs.
        return Err(Errno::ENOSYS);
    }
    let name = name.read_string(tmpfs::MEMFD_MAX_NAME, Errno::EINVAL)?;
    let file = tmpfs::create_memfd(cx.thread, &name, flags)?;
    cx.thread
        .files()
        .install(file, flags.contains(MemfdFlags::CLOEXEC))
}

/// Most bytes that a copy inside the kernel moves in one step.
const COPY_STEP: usize = 16 * PAGE_SIZE;

/// Copies from `input` at `pos` (moved along) to `output`, which `put` writes to.
fn copy_through(
    input: &File,
    pos: &mut u64,
    count: usize,
    mut put: impl FnMut(&mut IoSrc) -> Result<usize>,
) -> Result<usize> {
    let mut buffer = Vec::new();
    buffer
        .try_reserve_exact(COPY_STEP.min(count))
        .map_err(|_| Errno::ENOMEM)?;
    buffer.resize(COPY_STEP.min(count), 0);
    let mut done = 0;
    while done < count {
        let want = buffer.len().min(count - done);
        let step = input
            .pread(&mut IoDst::from_kernel(&mut buffer[..want]), *pos)
            .and_then(|got| {
                if got == 0 {
                    Ok(0)
                } else {
                    put(&mut IoSrc::from_kernel(&buffer[..got]))
                }
            });
        match step {
            Ok(0) => break,
            Ok(n) => {
                done += n;
                *pos += n as u64;
                if n < want {
                    break;
                }
            }
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
        if keel_hal::task::current().interrupted() {
            break;
        }
        keel_hal::task::cond_resched();
    }
    Ok(done)
}

pub fn sendfile(
    cx: &mut Ctx,
    out_fd: Fd,
    in_fd: Fd,
    offset_ptr: UserPtr<i64>,
    count: usize,
) -> Result<usize> {
    let files = cx.thread.files();
    let given = offset_ptr.read_if_given()?;
    let input = files.get(in_fd)?;
    if !input.readable() {
        return Err(Errno::EBADF);
    }
    if !input.ops.seekable() {
        return Err(if given.is_some() {
            Errno::ESPIPE
        } else {
            Errno::EINVAL
        });
    }
    let output = files.get(out_fd)?;
    if !output.writable() {
        return Err(Errno::EBADF);
    }
    if output.flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EINVAL);
    }
    let mut pos = match given {
        Some(pos) => offset(pos)?,
        None => input.position(),
    };
    let count = count.min(fs::iobuf::MAX_RW_COUNT);
    let result = copy_through(&input, &mut pos, count, |src| output.write(src));
    note_read(cx.thread, &result);
    note_write(cx.thread, &result);
    let done = result?;
    match given {
        Some(_) => offset_ptr.write(&(pos as i64))?,
        None => drop(input.seek(pos as i64, 0)?),
    }
    Ok(done)
}

/// The position of one side of copy_file_range(2).
fn copy_position(file: &File, given: Option<i64>) -> Result<u64> {
    match given {
        Some(pos) => offset(pos),
        None => Ok(file.position()),
    }
}

pub fn copy_file_range(
    cx: &mut Ctx,
    fd_in: Fd,
    off_in: UserPtr<i64>,
    fd_out: Fd,
    off_out: UserPtr<i64>,
    len: usize,
    flags: u32,
) -> Result<usize> {
    let files = cx.thread.files();
    let (input, output) = (files.get(fd_in)?, files.get(fd_out)?);
    let (given_in, given_out) = (off_in.read_if_given()?, off_out.read_if_given()?);
    let mut from = copy_position(&input, given_in)?;
    let to = copy_position(&output, given_out)?;
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    if input.inode.is_dir() || output.inode.is_dir() {
        return Err(Errno::EISDIR);
    }
    if !input.inode.is_regular() || !output.inode.is_regular() {
        return Err(Errno::EINVAL);
    }
    if !input.readable() || !output.writable() || output.flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EBADF);
    }
    if !core::ptr::eq(
        input.inode.sb.fs_type.name(),
        output.inode.sb.fs_type.name(),
    ) {
        return Err(Errno::EXDEV);
    }
    let len = len.min(fs::iobuf::MAX_RW_COUNT);
    let end = |pos: u64| pos.checked_add(len as u64).ok_or(Errno::EOVERFLOW);
    let (in_end, out_end) = (end(from)?, end(to)?);
    if Arc::ptr_eq(&input.inode, &output.inode) && from < out_end && to < in_end {
        return Err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let mut at = to;
    let done = copy_through(&input, &mut from, len, |src| {
        let n = output.pwrite(src, at)?;
        at += n as u64;
        Ok(n)
    })?;
    match given_in {
        Some(_) => off_in.write(&(from as i64))?,
        None => drop(input.seek(from as i64, 0)?),
    }
    match given_out {
        Some(_) => off_out.write(&(at as i64))?,
        None => drop(output.seek(at as i64, 0)?),
    }
    Ok(done)
}

pub fn fcntl(cx: &mut Ctx, fd: Fd, cmd: FcntlCmd, arg: u64) -> Result<i32> {
    let files = cx.thread.files();
    let file = files.get_any(fd)?;
    let for_any = matches!(
        cmd,
        FcntlCmd::F_DUPFD
            | FcntlCmd::F_DUPFD_CLOEXEC
            | FcntlCmd::F_DUPFD_QUERY
            | FcntlCmd::F_GETFD
            | FcntlCmd::F_SETFD
            | FcntlCmd::F_GETFL
    );
    if file.is_path() && !for_any {
        return Err(Errno::EBADF);
    }
    match cmd {
        FcntlCmd::F_DUPFD | FcntlCmd::F_DUPFD_CLOEXEC => {
            let from = usize::try_from(arg as i32).map_err(|_| Errno::EINVAL)?;
            let cloexec = cmd == FcntlCmd::F_DUPFD_CLOEXEC;
            files.install_from(file, from, cloexec).map(|fd| fd.0)
        }
        FcntlCmd::F_DUPFD_QUERY => {
            let same = files
                .get_any(Fd(arg as i32))
                .is_ok_and(|other| Arc::ptr_eq(&other, &file));
            Ok(i32::from(same))
        }
        FcntlCmd::F_GETFD => files.cloexec(fd).map(i32::from),
        FcntlCmd::F_SETFD => files
            .set_cloexec(fd, arg & u64::from(FdFlags::CLOEXEC.bits()) != 0)
            .map(|()| 0),
        FcntlCmd::F_GETFL => Ok(file.flags().bits() as i32),
        FcntlCmd::F_SETFL => set_status_flags(cx.thread, fd, &file, arg as u32).map(|()| 0),
        _ => fcntl_file(cx, fd, &file, cmd, arg),
    }
}

/// The commands that act on the open file description.
fn fcntl_file(cx: &mut Ctx, fd: Fd, file: &Arc<File>, cmd: FcntlCmd, arg: u64) -> Result<i32> {
    match cmd {
        FcntlCmd::F_GETLK
        | FcntlCmd::F_OFD_GETLK
        | FcntlCmd::F_SETLK
        | FcntlCmd::F_SETLKW
        | FcntlCmd::F_OFD_SETLK
        | FcntlCmd::F_OFD_SETLKW => record_lock(cx, file, cmd, UserPtr::new(arg)).map(|()| 0),
        FcntlCmd::F_GETOWN => {
            let owner = *file.owner.lock();
            Ok(owner.pid)
        }
        FcntlCmd::F_SETOWN => set_owner(cx.thread, file, arg as i32, false).map(|()| 0),
        FcntlCmd::F_GETOWN_EX | FcntlCmd::F_SETOWN_EX | FcntlCmd::F_GETOWNER_UIDS => {
            owner_structure(cx.thread, file, cmd, arg).map(|()| 0)
        }
        FcntlCmd::F_GETSIG => Ok(file.owner.lock().signal),
        FcntlCmd::F_SETSIG => {
            let signal = arg as i32;
            if !(0..=64).contains(&signal) || arg > 64 {
                return Err(Errno::EINVAL);
            }
            file.owner.lock().signal = signal;
            Ok(0)
        }
        FcntlCmd::F_GETLEASE => Ok(i32::from(locks::get_lease(file).0)),
        FcntlCmd::F_SETLEASE => {
            locks::set_lease(file, fd.0, LockType(arg as i16), &cx.thread.cred()).map(|()| 0)
        }
        FcntlCmd::F_NOTIFY => {
            fs::notify::dnotify::set(&cx.thread.files(), fd, file, arg as u32)?;
            own_unless_owned(cx.thread, file).map(|()| 0)
        }
        FcntlCmd::F_GETPIPE_SZ => pipe::pipe_of(file)
            .map(|pipe| pipe.size() as i32)
            .ok_or(Errno::EBADF),
        FcntlCmd::F_SETPIPE_SZ => {
            let pipe = pipe::pipe_of(file).ok_or(Errno::EBADF)?;
            pipe.set_size(arg as u32 as usize).map(|size| size as i32)
        }
        FcntlCmd::F_GET_SEALS => tmpfs::get_seals(&file.inode).map(|seals| seals as i32),
        FcntlCmd::F_ADD_SEALS => {
            tmpfs::add_seals(file, SealFlags::from_bits_retain(arg as u32)).map(|()| 0)
        }
        FcntlCmd::F_GET_RW_HINT | FcntlCmd::F_GET_FILE_RW_HINT => {
            let hint = u64::from(file.inode.write_hint.load(Ordering::Relaxed));
            UserPtr::<u64>::new(arg).write(&hint)?;
            Ok(0)
        }
        FcntlCmd::F_SET_RW_HINT | FcntlCmd::F_SET_FILE_RW_HINT => {
            /// `RWH_WRITE_LIFE_EXTREME`
            const LAST_HINT: u64 = 5;
            let hint = UserPtr::<u64>::new(arg).read()?;
            if hint > LAST_HINT {
                return Err(Errno::EINVAL);
            }
            file.inode.write_hint.store(hint as u8, Ordering::Relaxed);
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// F_SETFL: EPERM to take O_APPEND from an append-only file or for O_NOATIME on another's.
fn set_status_flags(thread: &Thread, fd: Fd, file: &Arc<File>, arg: u32) -> Result<()> {
    let old = file.flags();
    let wanted = OpenFlags::from_bits_retain(arg) & OpenFlags::SETTABLE;
    let new = (old - OpenFlags::SETTABLE) | wanted;
    let changed = old ^ new;
    let append_only = file.inode.attr().attributes & StatxAttributes::APPEND.bits() != 0;
    if append_only && changed.contains(OpenFlags::APPEND) {
        return Err(Errno::EPERM);
    }
    if (changed & new).contains(OpenFlags::NOATIME) {
        fs::permission::check_owner(&file.inode, &thread.cred())?;
    }
    if !changed.is_empty() {
        file.ops.flags_changed(file, new)?;
        file.set_flags(new);
        if changed.contains(OpenFlags::ASYNC) {
            fs::sigio::watch(file, fd.0, new.contains(OpenFlags::ASYNC));
        }
    }
    Ok(())
}

fn record_lock(cx: &mut Ctx, file: &Arc<File>, cmd: FcntlCmd, arg: UserPtr<Flock>) -> Result<()> {
    let flock = arg.read()?;
    let files = cx.thread.files();
    let description = matches!(
        cmd,
        FcntlCmd::F_OFD_GETLK | FcntlCmd::F_OFD_SETLK | FcntlCmd::F_OFD_SETLKW
    );
    if matches!(cmd, FcntlCmd::F_GETLK | FcntlCmd::F_OFD_GETLK) {
        return arg.write(&locks::get_record(&files, file, &flock, description)?);
    }
    let wait = matches!(cmd, FcntlCmd::F_SETLKW | FcntlCmd::F_OFD_SETLKW);
    locks::set_record(&files, file, &flock, description, wait)
}

/// F_SETOWN: a process, or with a negative number a group; 0 for nobody. ESRCH.
fn set_owner(thread: &Thread, file: &File, pid: i32, is_thread: bool) -> Result<()> {
    let number = pid.checked_abs().ok_or(Errno::EINVAL)?.unsigned_abs();
    let exists = match pid {
        0 => true,
        _ if is_thread => process::find_thread(number).is_some(),
        1.. => process::find(number).is_some(),
        _ => !process::pgrp_members(number).is_empty(),
    };
    if !exists {
        return Err(Errno::ESRCH);
    }
    let cred = thread.cred();
    let mut owner = file.owner.lock();
    owner.pid = pid;
    owner.is_thread = is_thread;
    owner.uid = cred.uid;
    owner.euid = cred.euid;
    Ok(())
}

/// Who asks for notices gets them, if nobody else was named.
fn own_unless_owned(thread: &Thread, file: &File) -> Result<()> {
    let owned = file.owner.lock().pid != 0;
    if owned {
        return Ok(());
    }
    set_owner(thread, file, thread.process.pid as i32, false)
}

fn owner_structure(thread: &Thread, file: &File, cmd: FcntlCmd, arg: u64) -> Result<()> {
    const F_OWNER_TID: i32 = 0;
    const F_OWNER_PID: i32 = 1;
    const F_OWNER_PGRP: i32 = 2;
    let owner = *file.owner.lock();
    match cmd {
        FcntlCmd::F_GETOWN_EX => {
            let kind = match owner.pid {
                _ if owner.is_thread => F_OWNER_TID,
                ..0 => F_OWNER_PGRP,
                _ => F_OWNER_PID,
            };
            let answer = FOwnerEx {
                r#type: kind,
                pid: Pid(owner.pid.wrapping_abs()),
            };
            UserPtr::new(arg).write(&answer)
        }
        FcntlCmd::F_SETOWN_EX => {
            let wanted: FOwnerEx = UserPtr::new(arg).read()?;
            let pid = wanted.pid.0;
            match wanted.r#type {
                F_OWNER_TID => set_owner(thread, file, pid, true),
                F_OWNER_PID => set_owner(thread, file, pid, false),
                F_OWNER_PGRP => set_owner(thread, file, pid.wrapping_neg(), false),
                _ => Err(Errno::EINVAL),
            }
        }
        _ => UserPtr::<[u32; 2]>::new(arg).write(&[owner.uid, owner.euid]),
    }
}

pub fn ioctl(cx: &mut Ctx, fd: Fd, cmd: IoctlCmd, arg: u64) -> Result<usize> {
    let files = cx.thread.files();
    let file = files.get(fd)?;
    match cmd {
        IoctlCmd::FIOCLEX => files.set_cloexec(fd, true).map(|()| 0),
        IoctlCmd::FIONCLEX => files.set_cloexec(fd, false).map(|()| 0),
        IoctlCmd::FIONBIO => toggle(cx.thread, fd, &file, OpenFlags::NONBLOCK, arg),
        IoctlCmd::FIOASYNC => toggle(cx.thread, fd, &file, OpenFlags::ASYNC, arg),
        IoctlCmd::FIOQSIZE => {
            if !matches!(
                file.inode.file_type,
                FileType::Regular | FileType::Directory | FileType::Symlink
            ) {
                return Err(Errno::ENOTTY);
            }
            UserPtr::<i64>::new(arg).write(&(file.inode.size() as i64))?;
            Ok(0)
        }
        IoctlCmd::FIONREAD if file.inode.is_regular() && file.ops.seekable() => {
            let left = file.inode.size() as i64 - file.position() as i64;
            UserPtr::<i32>::new(arg).write(&(left as i32))?;
            Ok(0)
        }
        IoctlCmd::FIGETBSZ if file.inode.is_regular() || file.inode.is_dir() => {
            let size = file.inode.sb.block_size();
            UserPtr::<i32>::new(arg).write(&(size as i32))?;
            Ok(0)
        }
        IoctlCmd::FICLONE => clone_range(&files, &file, arg as i64),
        IoctlCmd::FICLONERANGE => {
            let range: FileCloneRange = UserPtr::new(arg).read()?;
            clone_range(&files, &file, range.src_fd)
        }
        _ => match fs::fileattr::ioctl(&file, cmd, arg, &cx.thread.cred()) {
            Some(done) => done,
            None => file.ops.ioctl(&file, cmd.0, arg),
        },
    }
}

/// FICLONE and FICLONERANGE: no file system here shares blocks between files. EXDEV, EISDIR, EINVAL, EBADF come first.
fn clone_range(files: &FdTable, to: &File, from: i64) -> Result<usize> {
    let from = i32::try_from(from).map_err(|_| Errno::EBADF)?;
    let from = files.get(Fd(from))?;
    if !Arc::ptr_eq(&from.inode.sb, &to.inode.sb) {
        return Err(Errno::EXDEV);
    }
    if from.inode.is_dir() || to.inode.is_dir() {
        return Err(Errno::EISDIR);
    }
    if !from.inode.is_regular() || !to.inode.is_regular() {
        return Err(Errno::EINVAL);
    }
    if !from.readable() || !to.writable() || to.flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EBADF);
    }
    Err(Errno::EOPNOTSUPP)
}

/// FIONBIO and FIOASYNC: sets or clears a status flag.
fn toggle(thread: &Thread, fd: Fd, file: &Arc<File>, flag: OpenFlags, arg: u64) -> Result<usize> {
    let on: i32 = UserPtr::new(arg).read()?;
    let mut flags = file.flags();
    flags.set(flag, on != 0);
    set_status_flags(thread, fd, file, flags.bits()).map(|()| 0)
}
