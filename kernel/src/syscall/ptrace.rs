//! Watching and confining: ptrace, seccomp, kcmp, acct.

use keel_abi::prelude::*;
use keel_abi::types::{SeccompNotifSizes, SockFprog};

use super::Ctx;
use crate::fs::namei::LookupFlags;
use crate::mm::user::UserAccess;
use crate::mm::user::UserStrAccess;
use crate::process::{
    Cap, acct as accounting, find_thread, kcmp as comparing, ptrace as tracing,
    seccomp as confining,
};

pub fn ptrace(cx: &mut Ctx, request: PtraceRequest, pid: Pid, addr: u64, data: u64) -> Result<i64> {
    if request == PtraceRequest::PTRACE_TRACEME {
        return tracing::traceme(cx.thread).map(|()| 0);
    }
    let target = u32::try_from(pid.0)
        .ok()
        .and_then(find_thread)
        .ok_or(Errno::ESRCH)?;
    match request {
        PtraceRequest::PTRACE_ATTACH => tracing::attach(cx.thread, &target, None).map(|()| 0),
        PtraceRequest::PTRACE_SEIZE => {
            let options = PtraceOptions::from_bits(data).filter(|_| addr == 0);
            let options = options.ok_or(Errno::EIO)?;
            tracing::check_options(cx.thread, options)?;
            tracing::attach(cx.thread, &target, Some(options)).map(|()| 0)
        }
        _ => tracing::request(cx.thread, &target, request, addr, data),
    }
}

pub fn seccomp(
    cx: &mut Ctx,
    operation: SeccompOp,
    flags: SeccompFlags,
    args: UserPtr<u8>,
) -> Result<i32> {
    match operation {
        SeccompOp::SECCOMP_SET_MODE_STRICT if flags.is_empty() && args.is_null() => {
            confining::set_strict(cx.thread).map(|()| 0)
        }
        SeccompOp::SECCOMP_SET_MODE_FILTER => {
            confining::set_filter(cx.thread, flags, args.cast::<SockFprog>())
        }
        SeccompOp::SECCOMP_GET_ACTION_AVAIL if flags.is_empty() => {
            let action = args.cast::<u32>().read()?;
            if confining::ACTIONS.iter().any(|(known, _)| *known == action) {
                Ok(0)
            } else {
                Err(Errno::EOPNOTSUPP)
            }
        }
        SeccompOp::SECCOMP_GET_NOTIF_SIZES if flags.is_empty() => {
            let (notif, resp, data) = confining::NOTIF_SIZES;
            args.cast::<SeccompNotifSizes>()
                .write(&SeccompNotifSizes {
                    seccomp_notif: notif,
                    seccomp_notif_resp: resp,
                    seccomp_data: data,
                })
                .map(|()| 0)
        }
        _ => Err(Errno::EINVAL),
    }
}

pub fn kcmp(cx: &mut Ctx, pid1: Pid, pid2: Pid, ty: KcmpType, idx1: u64, idx2: u64) -> Result<i32> {
    let thread = |pid: Pid| {
        u32::try_from(pid.0)
            .ok()
            .and_then(find_thread)
            .ok_or(Errno::ESRCH)
    };
    let (first, second) = (thread(pid1)?, thread(pid2)?);
    if ![&first, &second]
        .iter()
        .all(|target| tracing::may_access_real(cx.thread, target))
    {
        return Err(Errno::EPERM);
    }
    comparing::compare(&first, &second, ty, idx1, idx2)
}

pub fn acct(cx: &mut Ctx, filename: UserStr) -> Result<()> {
    cx.thread.cred().require(Cap::SYS_PACCT)?;
    if filename.is_null() {
        accounting::set(None);
        return Ok(());
    }
    let path = filename.read_path()?;
    let flags = OpenFlags::WRONLY | OpenFlags::APPEND;
    let file = crate::fs::open(cx.thread, DirFd::CWD, &path, flags, 0, LookupFlags::empty())?;
    if !file.inode.is_regular() {
        return Err(Errno::EACCES);
    }
    accounting::set(Some(file));
    Ok(())
}
