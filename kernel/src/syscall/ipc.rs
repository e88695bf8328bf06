//! Pipes and process descriptors.

use keel_abi::prelude::*;

use super::Ctx;
use crate::ipc::{pidfd, pipe as pipes};
use crate::mm::user::UserAccess;

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
