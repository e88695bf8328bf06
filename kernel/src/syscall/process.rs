//! Processes and threads: clone, exec, exit, wait, numbers, groups, sessions, limits.

use core::sync::atomic::Ordering;
use keel_abi::prelude::*;
use keel_abi::types::{CloneArgs, Rlimit, RobustListHead, Rseq, Rusage, Siginfo};
use keel_hal::cpu;

use super::Ctx;
use crate::mm::user::{UserAccess, UserStrAccess};
use crate::prelude::*;
use crate::process::clone::{CloneRequest, clone as do_clone};
use crate::process::process::Usage;
use crate::process::rlimit::Limit;
use crate::process::wait::{Change, Event, Target, Wanted, wait};
use crate::process::{self, Cap, FAMILY, Process, Thread, exec, pid};

pub fn getpid(cx: &mut Ctx) -> Result<Pid> {
    Ok(Pid(cx.thread.process.pid as i32))
}

pub fn gettid(cx: &mut Ctx) -> Result<Tid> {
    Ok(Tid(cx.thread.tid() as i32))
}

pub fn getppid(cx: &mut Ctx) -> Result<Pid> {
    Ok(Pid(cx.thread.process.ppid() as i32))
}

/// The low byte of clone's flags is the exit signal.
const CSIGNAL: u64 = 0xff;

pub fn clone(
    cx: &mut Ctx,
    flags: CloneFlags,
    stack: UserAddr,
    parent_tid: UserPtr<Pid>,
    child_tid: UserPtr<Pid>,
    tls: u64,
) -> Result<Pid> {
    let raw = flags.bits() & 0xffff_ffff;
    let request = CloneRequest {
        flags: CloneFlags::from_bits_retain(raw & !CSIGNAL),
        exit_signal: (raw & CSIGNAL) as i32,
        stack: stack.addr(),
        tls,
        parent_tid: parent_tid.addr(),
        child_tid: child_tid.addr(),
        pidfd: parent_tid.addr(),
        set_tid: Vec::new(),
    };
    if request
        .flags
        .contains(CloneFlags::PIDFD | CloneFlags::PARENT_SETTID)
    {
        return Err(Errno::EINVAL);
    }
    do_clone(cx, &request).map(|pid| Pid(pid as i32))
}

const SIGCHLD: i32 = 17;

pub fn fork(cx: &mut Ctx) -> Result<Pid> {
    let request = CloneRequest {
        exit_signal: SIGCHLD,
        ..CloneRequest::default()
    };
    do_clone(cx, &request).map(|pid| Pid(pid as i32))
}

pub fn vfork(cx: &mut Ctx) -> Result<Pid> {
    let flags = CloneFlags::VFORK | CloneFlags::VM;
    let request = CloneRequest {
        flags,
        exit_signal: SIGCHLD,
        ..CloneRequest::default()
    };
    do_clone(cx, &request).map(|pid| Pid(pid as i32))
}

/// Sizes of `struct clone_args` over time: CLONE_ARGS_SIZE_VER0 and the present one.
const CLONE_ARGS_MIN: usize = 64;

pub fn clone3(cx: &mut Ctx, cl_args: UserPtr<CloneArgs>, size: usize) -> Result<Pid> {
    if size > PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    if size < CLONE_ARGS_MIN {
        return Err(Errno::EINVAL);
    }
    let args: CloneArgs = super::system::read_versioned(cl_args, size)?;
    let flags = CloneFlags::from_bits_retain(args.flags);
    if !CloneFlags::all().contains(flags)
        || flags.contains(CloneFlags::DETACHED)
        || flags.bits() & CSIGNAL & !CloneFlags::NEWTIME.bits() != 0
        || args.exit_signal > 64
        || (flags.intersects(CloneFlags::THREAD | CloneFlags::PARENT) && args.exit_signal != 0)
        || (args.stack == 0) != (args.stack_size == 0)
        || args.set_tid_size > 32
        || (args.set_tid == 0) != (args.set_tid_size == 0)
    {
        return Err(Errno::EINVAL);
    }
    let stack = args
        .stack
        .checked_add(args.stack_size)
        .ok_or(Errno::EINVAL)?;
    let request = CloneRequest {
        flags,
        exit_signal: args.exit_signal as i32,
        stack,
        tls: args.tls,
        parent_tid: args.parent_tid,
        child_tid: args.child_tid,
        pidfd: args.pidfd,
        set_tid: UserPtr::<u32>::new(args.set_tid).read_array(args.set_tid_size as usize)?,
    };
    do_clone(cx, &request).map(|pid| Pid(pid as i32))
}

pub fn execve(
    cx: &mut Ctx,
    pathname: UserStr,
    argv: UserPtr<UserStr>,
    envp: UserPtr<UserStr>,
) -> Result<()> {
    let path = pathname.read_path()?;
    exec::execve(cx, DirFd::CWD, &path, argv, envp, AtFlags::empty())
}

pub fn execveat(
    cx: &mut Ctx,
    dirfd: DirFd,
    pathname: UserStr,
    argv: UserPtr<UserStr>,
    envp: UserPtr<UserStr>,
    flags: AtFlags,
) -> Result<()> {
    let path = pathname.read_path()?;
    exec::execve(cx, dirfd, &path, argv, envp, flags)
}

pub fn exit(cx: &mut Ctx, status: i32) -> Result<()> {
    process::do_exit(cx.thread, (status & 0xff) << 8);
    Ok(())
}

pub fn exit_group(cx: &mut Ctx, status: i32) -> Result<()> {
    process::do_group_exit(cx.thread, (status & 0xff) << 8);
    Ok(())
}

const WAIT4_OPTIONS: WaitOptions = WaitOptions::WNOHANG
    .union(WaitOptions::WUNTRACED)
    .union(WaitOptions::WCONTINUED)
    .union(WaitOptions::__WNOTHREAD)
    .union(WaitOptions::__WALL)
    .union(WaitOptions::__WCLONE);

fn wanted(target: Target, options: WaitOptions) -> Wanted {
    Wanted {
        target,
        exited: options.contains(WaitOptions::WEXITED),
        stopped: options.contains(WaitOptions::WUNTRACED),
        continued: options.contains(WaitOptions::WCONTINUED),
        peek: options.contains(WaitOptions::WNOWAIT),
        no_hang: options.contains(WaitOptions::WNOHANG),
        own_children_only: options.contains(WaitOptions::__WNOTHREAD),
        all_kinds: options.contains(WaitOptions::__WALL),
        clone_only: options.contains(WaitOptions::__WCLONE),
    }
}

pub fn wait4(
    cx: &mut Ctx,
    pid: Pid,
    wstatus: UserPtr<i32>,
    options: WaitOptions,
    rusage: UserPtr<Rusage>,
) -> Result<Pid> {
    if !WAIT4_OPTIONS.contains(options) {
        return Err(Errno::EINVAL);
    }
    let target = match pid.0 {
        i32::MIN => return Err(Errno::ESRCH),
        -1 => Target::Any,
        0 => Target::Group(cx.thread.process.pgid()),
        n if n < 0 => Target::Group(n.unsigned_abs()),
        n => Target::Pid(n.unsigned_abs()),
    };
    let Some(event) = wait(cx.thread, &wanted(target, options | WaitOptions::WEXITED))? else {
        return Ok(Pid(0));
    };
    wstatus.write_if_given(&event.change.status())?;
    rusage.write_if_given(&rusage_of(&event.usage))?;
    Ok(Pid(event.pid as i32))
}

pub fn waitid(
    cx: &mut Ctx,
    idtype: IdType,
    id: Pid,
    infop: UserPtr<Siginfo>,
    options: WaitOptions,
    rusage: UserPtr<Rusage>,
) -> Result<()> {
    let kinds = WaitOptions::WEXITED | WaitOptions::WUNTRACED | WaitOptions::WCONTINUED;
    if !(WAIT4_OPTIONS | WaitOptions::WEXITED | WaitOptions::WNOWAIT).contains(options)
        || !options.intersects(kinds)
    {
        return Err(Errno::EINVAL);
    }
    let mut wanted = wanted(Target::Any, options);
    wanted.target = match idtype {
        IdType::P_ALL => Target::Any,
        IdType::P_PID if id.0 > 0 => Target::Pid(id.0.unsigned_abs()),
        IdType::P_PGID if id.0 > 0 => Target::Group(id.0.unsigned_abs()),
        IdType::P_PGID if id.0 == 0 => Target::Group(cx.thread.process.pgid()),
        IdType::P_PIDFD if id.0 >= 0 => {
            let (process, nonblocking) = crate::ipc::pidfd::process_of(cx.thread, Fd(id.0))?;
            // A non-blocking pidfd gives EAGAIN rather than sleeping.
            if nonblocking && !wanted.no_hang {
                wanted.no_hang = true;
                wanted.target = Target::Process(process);
                return match wait(cx.thread, &wanted)? {
                    Some(event) => report(&event, infop, rusage),
                    None => Err(Errno::EAGAIN),
                };
            }
            Target::Process(process)
        }
        _ => return Err(Errno::EINVAL),
    };
    match wait(cx.thread, &wanted)? {
        Some(event) => report(&event, infop, rusage),
        None => infop.write_if_given(&Siginfo::default()),
    }
}

fn report(event: &Event, infop: UserPtr<Siginfo>, rusage: UserPtr<Rusage>) -> Result<()> {
    const CLD_EXITED: i32 = 1;
    const CLD_KILLED: i32 = 2;
    const CLD_DUMPED: i32 = 3;
    const CLD_TRAPPED: i32 = 4;
    const CLD_STOPPED: i32 = 5;
    const CLD_CONTINUED: i32 = 6;
    const SIGCONT: i32 = 18;
    let (code, status) = match event.change {
        Change::Exited(status) if status & 0x7f == 0 => (CLD_EXITED, (status >> 8) & 0xff),
        Change::Exited(status) if status & 0x80 != 0 => (CLD_DUMPED, status & 0x7f),
        Change::Exited(status) => (CLD_KILLED, status & 0x7f),
        Change::Stopped(sig) => (CLD_STOPPED, sig),
        Change::Trapped(sig) => (CLD_TRAPPED, sig),
        Change::Continued => (CLD_CONTINUED, SIGCONT),
    };
    rusage.write_if_given(&rusage_of(&event.usage))?;
    // waitid(2) leaves the times of the siginfo at zero.
    let info = Siginfo::child(code, Pid(event.pid as i32), Uid(event.uid), status, 0, 0);
    infop.write_if_given(&info)
}

/// The `struct rusage` of some use.
pub fn rusage_of(usage: &Usage) -> Rusage {
    Rusage {
        ru_utime: super::time::timeval(usage.user_ns),
        ru_stime: super::time::timeval(usage.system_ns),
        ru_maxrss: usage.max_rss_kb as i64,
        ru_minflt: usage.minor_faults as i64,
        ru_majflt: usage.major_faults as i64,
        ru_inblock: usage.blocks_in as i64,
        ru_oublock: usage.blocks_out as i64,
        ru_nvcsw: usage.voluntary as i64,
        ru_nivcsw: usage.involuntary as i64,
        ..Rusage::default()
    }
}

pub fn getrusage(cx: &mut Ctx, who: RusageWho, usage: UserPtr<Rusage>) -> Result<()> {
    let process = &cx.thread.process;
    let sum = match who {
        RusageWho::RUSAGE_SELF => process.usage(),
        RusageWho::RUSAGE_CHILDREN => *process.children_usage.lock(),
        RusageWho::RUSAGE_THREAD => process::process::thread_usage(cx.thread),
        _ => return Err(Errno::EINVAL),
    };
    usage.write(&rusage_of(&sum))
}

/// The process a call names: 0 is the caller's.
fn process_arg(cx: &Ctx, pid: Pid) -> Result<Arc<Process>> {
    match pid.0 {
        0 => Ok(cx.thread.process.clone()),
        n if n > 0 => pid::find(n.unsigned_abs()).ok_or(Errno::ESRCH),
        _ => Err(Errno::ESRCH),
    }
}

/// The thread a call names: 0 is the caller. Negative numbers give EINVAL, unknown ones ESRCH.
pub fn thread_arg(cx: &Ctx, tid: Pid) -> Result<Arc<Thread>> {
    match tid.0 {
        0 => Ok(cx.thread.clone()),
        n if n > 0 => pid::find_thread(n.unsigned_abs()).ok_or(Errno::ESRCH),
        _ => Err(Errno::EINVAL),
    }
}

pub fn getpgrp(cx: &mut Ctx) -> Result<Pid> {
    Ok(Pid(cx.thread.process.pgid() as i32))
}

pub fn getpgid(cx: &mut Ctx, pid: Pid) -> Result<Pid> {
    Ok(Pid(process_arg(cx, pid)?.pgid() as i32))
}

pub fn getsid(cx: &mut Ctx, pid: Pid) -> Result<Pid> {
    Ok(Pid(process_arg(cx, pid)?.sid() as i32))
}

pub fn setsid(cx: &mut Ctx) -> Result<Pid> {
    let process = &cx.thread.process;
    let _family = FAMILY.lock();
    if process.pgid() == process.pid || !pid::pgrp_members(process.pid).is_empty() {
        return Err(Errno::EPERM);
    }
    let tty = process.tty.lock().take();
    pid::change_group(process, process.pid, process.pid);
    drop(tty);
    Ok(Pid(process.pid as i32))
}

pub fn setpgid(cx: &mut Ctx, pid: Pid, pgid: Pid) -> Result<()> {
    // A group of 0 is the process's own number, whatever that is.
    if pgid.0 < 0 || (pgid.0 == 0 && pid.0 < 0) {
        return Err(Errno::EINVAL);
    }
    let me = &cx.thread.process;
    let target = process_arg(cx, pid)?;
    let pgid = if pgid.0 == 0 {
        target.pid
    } else {
        pgid.0.unsigned_abs()
    };
    let old = target.pgid();
    {
        let _family = FAMILY.lock();
        if !Arc::ptr_eq(&target, me) {
            if !target
                .parent()
                .is_some_and(|parent| Arc::ptr_eq(&parent, me))
            {
                return Err(Errno::ESRCH);
            }
            if target.sid() != me.sid() {
                return Err(Errno::EPERM);
            }
            if target.execed.load(Ordering::Relaxed) {
                return Err(Errno::EACCES);
            }
        }
        if target.is_session_leader() {
            return Err(Errno::EPERM);
        }
        if pgid != target.pid
            && !pid::pgrp_members(pgid)
                .iter()
                .any(|member| member.sid() == target.sid())
        {
            return Err(Errno::EPERM);
        }
        if pgid == old {
            return Ok(());
        }
        pid::change_group(&target, pgid, target.sid());
    }
    process::exit::hang_up_if_orphaned(old, target.sid(), None);
    Ok(())
}

pub fn set_tid_address(cx: &mut Ctx, tidptr: UserPtr<Tid>) -> Result<Tid> {
    cx.thread
        .clear_child_tid
        .store(tidptr.addr(), Ordering::Relaxed);
    Ok(Tid(cx.thread.tid() as i32))
}

pub fn set_robust_list(cx: &mut Ctx, head: UserPtr<RobustListHead>, len: usize) -> Result<()> {
    if len != size_of::<RobustListHead>() {
        return Err(Errno::EINVAL);
    }
    cx.thread.robust_list.store(head.addr(), Ordering::Relaxed);
    Ok(())
}

pub fn get_robust_list(
    cx: &mut Ctx,
    pid: Pid,
    head_ptr: UserPtr<UserPtr<RobustListHead>>,
    len_ptr: UserPtr<usize>,
) -> Result<()> {
    let target = match pid.0 {
        n if n < 0 => return Err(Errno::ESRCH),
        _ => thread_arg(cx, pid)?,
    };
    if !Arc::ptr_eq(&target, cx.thread) && !process::ptrace::may_access(cx.thread, &target) {
        return Err(Errno::EPERM);
    }
    len_ptr.write(&size_of::<RobustListHead>())?;
    head_ptr
        .cast::<u64>()
        .write(&target.robust_list.load(Ordering::Relaxed))
}

pub fn rseq(
    cx: &mut Ctx,
    rseq: UserPtr<Rseq>,
    rseq_len: u32,
    flags: RseqFlags,
    sig: u32,
) -> Result<()> {
    const ORIG_RSEQ_SIZE: u32 = 32;
    let area = *cx.thread.rseq.lock();
    if flags == RseqFlags::UNREGISTER {
        if area.addr == 0 || area.addr != rseq.addr() || area.len != rseq_len {
            return Err(Errno::EINVAL);
        }
        if area.sig != sig {
            return Err(Errno::EPERM);
        }
        process::rseq::set_area(cx.thread, Default::default());
        return Ok(());
    }
    if !flags.is_empty() {
        return Err(Errno::EINVAL);
    }
    if area.addr != 0 {
        return Err(if area.addr != rseq.addr() || area.len != rseq_len {
            Errno::EINVAL
        } else if area.sig != sig {
            Errno::EPERM
        } else {
            Errno::EBUSY
        });
    }
    if !rseq.addr().is_multiple_of(32) || rseq_len != ORIG_RSEQ_SIZE {
        return Err(Errno::EINVAL);
    }
    if rseq.addr() as usize >= crate::mm::TASK_SIZE_MAX {
        return Err(Errno::EFAULT);
    }
    let area = process::RseqArea {
        addr: rseq.addr(),
        len: rseq_len,
        sig,
    };
    process::rseq::set_area(cx.thread, area);
    process::rseq::publish_cpu(cx.thread, cpu::id() as u32);
    Ok(())
}

fn limit_of(limit: Limit) -> Rlimit {
    Rlimit {
        rlim_cur: limit.soft,
        rlim_max: limit.hard,
    }
}

pub fn getrlimit(cx: &mut Ctx, resource: RlimitResource, rlim: UserPtr<Rlimit>) -> Result<()> {
    let limit = cx
        .thread
        .process
        .rlimits
        .get(resource.0 as usize)
        .ok_or(Errno::EINVAL)?;
    rlim.write(&limit_of(limit))
}

pub fn setrlimit(cx: &mut Ctx, resource: RlimitResource, rlim: UserPtr<Rlimit>) -> Result<()> {
    let new = rlim.read()?;
    let process = cx.thread.process.clone();
    set_limit(cx, &process, resource, new)
}

fn set_limit(
    cx: &Ctx,
    process: &Arc<Process>,
    resource: RlimitResource,
    new: Rlimit,
) -> Result<()> {
    let privileged = cx.thread.cred().has(Cap::SYS_RESOURCE);
    if resource == RlimitResource::RLIMIT_NOFILE && new.rlim_max > crate::fs::NR_OPEN as u64 {
        return Err(Errno::EPERM);
    }
    let limit = Limit {
        soft: new.rlim_cur,
        hard: new.rlim_max,
    };
    process
        .rlimits
        .set(resource.0 as usize, limit, privileged)?;
    if matches!(
        resource,
        RlimitResource::RLIMIT_CPU | RlimitResource::RLIMIT_RTTIME
    ) {
        process::cpu_limit::limits_changed(process);
    }
    if let Some(thread) = process.main_thread()
        && let Some(mm) = thread.mm_opt()
    {
        mm.set_limits(exec::limits_of(&thread));
    }
    Ok(())
}

pub fn prlimit64(
    cx: &mut Ctx,
    pid: Pid,
    resource: RlimitResource,
    new_limit: UserPtr<Rlimit>,
    old_limit: UserPtr<Rlimit>,
) -> Result<()> {
    let new = new_limit.read_if_given()?;
    let target = match pid.0 {
        0 => cx.thread.clone(),
        n if n > 0 => pid::find_thread(n.unsigned_abs()).ok_or(Errno::ESRCH)?,
        _ => return Err(Errno::ESRCH),
    };
    if !Arc::ptr_eq(&target.process, &cx.thread.process) {
        let (me, other) = (cx.thread.cred(), target.cred());
        let same_user = [other.uid, other.euid, other.suid]
            .iter()
            .all(|uid| *uid == me.uid)
            && [other.gid, other.egid, other.sgid]
                .iter()
                .all(|gid| *gid == me.gid);
        if !same_user && !me.has(Cap::SYS_RESOURCE) {
            return Err(Errno::EPERM);
        }
    }
    let old = target
        .process
        .rlimits
        .get(resource.0 as usize)
        .ok_or(Errno::EINVAL)?;
    if let Some(new) = new {
        set_limit(cx, &target.process, resource, new)?;
    }
    old_limit.write_if_given(&limit_of(old))
}

pub fn personality(cx: &mut Ctx, persona: Personality) -> Result<u32> {
    const QUERY: u32 = 0xffff_ffff;
    let old = cx.thread.personality.load(Ordering::Relaxed);
    if persona.bits() != QUERY {
        cx.thread
            .personality
            .store(persona.bits(), Ordering::Relaxed);
    }
    Ok(old)
}

pub fn arch_prctl(_cx: &mut Ctx, code: ArchPrctlCode, addr: u64) -> Result<i32> {
    /// How many extended features there are numbers for, tile data being the last.
    const XFEATURES: u64 = 19;
    let valid = |addr: u64| (addr as usize) < crate::mm::TASK_SIZE_MAX;
    match code {
        ArchPrctlCode::ARCH_SET_FS if !valid(addr) => return Err(Errno::EPERM),
        ArchPrctlCode::ARCH_SET_GS if !valid(addr) => return Err(Errno::EPERM),
        ArchPrctlCode::ARCH_SET_FS => {
            cpu::set_fs_base(addr);
        }
        ArchPrctlCode::ARCH_SET_GS => {
            cpu::set_gs_base(addr);
        }
        ArchPrctlCode::ARCH_GET_FS => UserPtr::<u64>::new(addr).write(&cpu::fs_base())?,
        ArchPrctlCode::ARCH_GET_GS => UserPtr::<u64>::new(addr).write(&cpu::gs_base())?,
        // CPUID always works: the processor is not asked to fault.
        ArchPrctlCode::ARCH_GET_CPUID => return Ok(1),
        ArchPrctlCode::ARCH_SET_CPUID => return Err(Errno::ENODEV),
        // What is enabled needs no permission; nothing else can be had.
        ArchPrctlCode::ARCH_GET_XCOMP_SUPP | ArchPrctlCode::ARCH_GET_XCOMP_PERM => {
            UserPtr::<u64>::new(addr).write(&keel_hal::fpu::features())?;
        }
        ArchPrctlCode::ARCH_REQ_XCOMP_PERM if addr < XFEATURES => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

pub fn unshare(cx: &mut Ctx, flags: CloneFlags) -> Result<()> {
    let known = CloneFlags::FS
        | CloneFlags::FILES
        | CloneFlags::NEWNS
        | CloneFlags::NEWUTS
        | CloneFlags::NEWIPC
        | CloneFlags::SYSVSEM
        | CloneFlags::THREAD
        | CloneFlags::SIGHAND
        | CloneFlags::VM;
    if !known.contains(flags) {
        return Err(Errno::EINVAL);
    }
    let thread = cx.thread;
    let alone = thread.process.thread_count() == 1;
    if flags.intersects(CloneFlags::THREAD | CloneFlags::SIGHAND | CloneFlags::VM) && !alone {
        return Err(Errno::EINVAL);
    }
    let new_ns = flags.intersects(CloneFlags::NEWNS | CloneFlags::NEWUTS | CloneFlags::NEWIPC);
    if new_ns {
        thread.cred().require(Cap::SYS_ADMIN)?;
    }
    let fs =
        (flags.intersects(CloneFlags::FS | CloneFlags::NEWNS)).then(|| thread.fs().clone_context());
    if new_ns {
        let mut ns = (*thread.ns()).clone();
        if flags.contains(CloneFlags::NEWUTS) {
            ns.uts = ns.uts.copy();
        }
        if flags.contains(CloneFlags::NEWIPC) {
            ns.ipc = crate::ipc::namespace::IpcNamespace::fresh();
        }
        if let (true, Some(fs)) = (flags.contains(CloneFlags::NEWNS), &fs) {
            ns.mnt = ns.mnt.copy_for(fs)?;
        }
        thread.set_ns(ns);
    }
    if flags.intersects(CloneFlags::SYSVSEM | CloneFlags::NEWIPC) {
        crate::ipc::sysv::sem::leave_undo_list(thread);
    }
    if let Some(fs) = fs {
        drop(thread.replace_fs(fs));
    }
    if flags.contains(CloneFlags::FILES) {
        let files = thread.files().clone_table()?;
        drop(thread.replace_files(files));
    }
    Ok(())
}
