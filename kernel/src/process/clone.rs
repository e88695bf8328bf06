//! New threads and processes (clone(2), clone3(2), fork(2), vfork(2)).

use core::sync::atomic::Ordering;
use keel_abi::flags::CloneFlags;
use keel_hal::context::UserContext;
use keel_hal::sync::Completion;
use keel_hal::task::{self, Task};

use super::nsproxy::NsProxy;
use super::process::FAMILY;
use super::rlimit::Resource;
use super::thread::{TaskLink, ThreadParts};
use super::{Cap, Process, Thread, pid, ptrace, run};
use crate::mm::AddressSpace;
use crate::prelude::*;
use crate::syscall::Ctx;

/// What clone asks for, from whichever of the calls.
#[derive(Clone, Debug, Default)]
pub struct CloneRequest {
    /// What is shared and what else happens.
    pub flags: CloneFlags,
    /// Signal to the parent at the end; 0 for none.
    pub exit_signal: i32,
    /// Stack pointer of the child; 0 keeps the parent's.
    pub stack: u64,
    /// TLS base (CLONE_SETTLS).
    pub tls: u64,
    /// Where to store the child's number in the parent (CLONE_PARENT_SETTID).
    pub parent_tid: u64,
    /// Where in the child (CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID).
    pub child_tid: u64,
    /// Where to store the pidfd (CLONE_PIDFD).
    pub pidfd: u64,
    /// Wanted numbers (clone3's set_tid), innermost namespace first.
    pub set_tid: Vec<u32>,
}

/// Namespaces that exist once only: asking for another gives EINVAL, as in a Linux without that option.
const NO_NAMESPACES: CloneFlags = CloneFlags::NEWUSER
    .union(CloneFlags::NEWPID)
    .union(CloneFlags::NEWNET)
    .union(CloneFlags::NEWCGROUP)
    .union(CloneFlags::NEWTIME)
    .union(CloneFlags::INTO_CGROUP);

/// Namespaces that a new process can have of its own.
const OWN_NAMESPACES: CloneFlags = CloneFlags::NEWNS
    .union(CloneFlags::NEWUTS)
    .union(CloneFlags::NEWIPC);

/// Makes a thread or process that continues like the caller with 0 as result; gives its number.
///
/// EINVAL for combinations that clone(2) forbids, EAGAIN beyond RLIMIT_NPROC or the system's limits, EPERM for
/// namespaces without CAP_SYS_ADMIN, ENOMEM.
pub fn clone(cx: &mut Ctx, request: &CloneRequest) -> Result<u32> {
    let flags = request.flags;
    check_flags(cx.thread, request)?;
    check_limit(cx.thread)?;
    let tid = match request.set_tid.first() {
        Some(wanted) => pid::allocate_exactly(*wanted)?,
        None => pid::allocate()?,
    };
    let child = build(cx, request, tid).inspect_err(|_| pid::release(tid))?;
    let pidfd = if flags.contains(CloneFlags::PIDFD) {
        match store_pidfd(cx.thread, &child, request.pidfd) {
            Ok(fd) => Some(fd),
            Err(error) => {
                abandon(&child, tid);
                return Err(error);
            }
        }
    } else {
        None
    };
    let mut user = child_registers(cx.user, request);
    let (fs_base, gs_base) = task::current().segment_bases();
    let fs_base = if flags.contains(CloneFlags::SETTLS) {
        request.tls
    } else {
        fs_base
    };
    let body = {
        let child = child.clone();
        let set_tid = flags
            .contains(CloneFlags::CHILD_SETTID)
            .then_some(request.child_tid);
        Box::new(move || {
            if let Some(addr) = set_tid {
                // A bad address is the program's problem, as on Linux.
                let _ = keel_hal::user::write_obj(addr as usize, &child.tid());
            }
            user.rax = 0;
            run::user_loop(child, user);
        })
    };
    let link = Arc::new(TaskLink::default());
    link.0.call_once(|| child.clone());
    let Some(new_task) = Task::new(&cx.thread.comm(), link, body) else {
        if let Some(fd) = pidfd {
            let _ = cx.thread.files().close(fd);
        }
        abandon(&child, tid);
        return Err(Errno::ENOMEM);
    };
    new_task.fpu_copy_from_current();
    if new_task.set_segment_bases(fs_base, gs_base).is_err() {
        abandon(&child, tid);
        return Err(Errno::EPERM);
    }
    let ports = cx.thread.ports.lock().clone();
    if ports.is_open() {
        let open = crate::syscall::open_ports(&ports);
        let set = open.is_ok_and(|open| new_task.set_ports(open).is_ok());
        if !set {
            abandon(&child, tid);
            return Err(Errno::ENOMEM);
        }
        *child.ports.lock() = ports;
    }
    new_task.set_page_table(Some(child.mm().table().clone()));
    crate::sched::entity(&new_task).inherit(crate::sched::entity(&task::current()));
    child.set_task(Some(new_task.clone()));
    publish(cx.thread, &child, flags);
    if flags.contains(CloneFlags::PARENT_SETTID) {
        let _ = keel_hal::user::write_obj(request.parent_tid as usize, &tid);
    }
    let vfork = flags.contains(CloneFlags::VFORK).then(|| {
        let done = Arc::new(Completion::new());
        *child.vfork_done.lock() = Some(done.clone());
        done
    });
    let event = ptrace::clone_event(cx.thread, flags, request.exit_signal);
    ptrace::attach_child(cx.thread, &child, flags, event.is_some());
    new_task.wake();
    if let Some(event) = event {
        ptrace::event(cx, event, tid.into());
    }
    if let Some(done) = vfork {
        // Only a fatal signal to the parent ends the wait before the child's exec or exit.
        let _ = done.wait_until(SleepMode::Killable, None);
        ptrace::vfork_done(cx, tid);
    }
    Ok(tid)
}

fn check_flags(thread: &Arc<Thread>, request: &CloneRequest) -> Result<()> {
    let flags = request.flags;
    let needs =
        |flag: CloneFlags, other: CloneFlags| flags.contains(flag) && !flags.contains(other);
    if needs(CloneFlags::SIGHAND, CloneFlags::VM)
        || needs(CloneFlags::THREAD, CloneFlags::SIGHAND)
        || flags.contains(CloneFlags::NEWNS | CloneFlags::FS)
        || flags.contains(CloneFlags::THREAD | CloneFlags::PIDFD)
        || flags.contains(CloneFlags::SIGHAND | CloneFlags::CLEAR_SIGHAND)
        || flags.contains(CloneFlags::PIDFD | CloneFlags::DETACHED)
        || (flags.contains(CloneFlags::PARENT) && thread.process.pid == 1)
        || flags.intersects(NO_NAMESPACES)
        // One number for each PID namespace that the child is in.
        || request.set_tid.len() > 1
    {
        return Err(Errno::EINVAL);
    }
    if !request.set_tid.is_empty() {
        let cred = thread.cred();
        if !cred.has(Cap::CHECKPOINT_RESTORE) {
            cred.require(Cap::SYS_ADMIN)?;
        }
    }
    if flags.contains(CloneFlags::NEWIPC | CloneFlags::SYSVSEM) {
        return Err(Errno::EINVAL);
    }
    if flags.intersects(OWN_NAMESPACES) {
        thread.cred().require(Cap::SYS_ADMIN)?;
    }
    Ok(())
}

/// EAGAIN when the user has RLIMIT_NPROC threads already; the superuser is exempt.
fn check_limit(thread: &Arc<Thread>) -> Result<()> {
    // A reservation of CPU time is for one thread.
    let task = task::current();
    let entity = crate::sched::entity(&task);
    if entity.reservation().is_some() && !entity.reset_on_fork.load(Ordering::Relaxed) {
        return Err(Errno::EAGAIN);
    }
    let cred = thread.cred();
    if cred.uid == 0 || cred.has(Cap::SYS_RESOURCE) || cred.has(Cap::SYS_ADMIN) {
        return Ok(());
    }
    let limit = thread.process.rlimits.soft(Resource::Nproc);
    if super::user_thread_count(cred.uid) as u64 >= limit {
        return Err(Errno::EAGAIN);
    }
    Ok(())
}

fn build(cx: &mut Ctx, request: &CloneRequest, tid: u32) -> Result<Arc<Thread>> {
    let flags = request.flags;
    let parent = cx.thread;
    let mm: Arc<AddressSpace> = if flags.contains(CloneFlags::VM) {
        parent.mm()
    } else {
        parent.mm().fork()?
    };
    let files = if flags.contains(CloneFlags::FILES) {
        parent.files()
    } else {
        parent.files().clone_table()?
    };
    let fs = if flags.contains(CloneFlags::FS) {
        parent.fs()
    } else {
        parent.fs().clone_context()
    };
    let ns = child_namespaces(parent, flags, &fs)?;
    let process = if flags.contains(CloneFlags::THREAD) {
        parent.process.clone()
    } else {
        let old = &parent.process;
        let signals = old.signals.fork(
            flags.contains(CloneFlags::SIGHAND),
            flags.contains(CloneFlags::CLEAR_SIGHAND),
        );
        let process = Process::new(
            tid,
            old.pgid(),
            old.sid(),
            signals,
            old.rlimits.fork(),
            request.exit_signal,
        );
        inherit_process(old, &process);
        super::cpu_limit::limits_changed(&process);
        process
    };
    let parts = ThreadParts {
        mm,
        files,
        fs,
        cred: parent.cred(),
        ns,
        comm: parent.comm_bytes(),
        signals: parent.signals.for_clone(
            flags.contains(CloneFlags::VM | CloneFlags::THREAD)
                || (flags.contains(CloneFlags::VM) && !flags.contains(CloneFlags::VFORK)),
        ),
    };
    let child = Thread::new(tid, process, parts);
    if flags.contains(CloneFlags::CHILD_CLEARTID) {
        child
            .clear_child_tid
            .store(request.child_tid, Ordering::Relaxed);
    }
    child.personality.store(
        parent.personality.load(Ordering::Relaxed),
        Ordering::Relaxed,
    );
    *child.keys.lock() = parent.keys.lock().inherited();
    child.mempolicy.lock().clone_from(&parent.mempolicy.lock());
    let slack = parent.timer_slack.load(Ordering::Relaxed);
    child.timer_slack.store(slack, Ordering::Relaxed);
    child.default_timer_slack.store(slack, Ordering::Relaxed);
    child
        .ioprio
        .store(parent.ioprio.load(Ordering::Relaxed), Ordering::Relaxed);
    if !flags.contains(CloneFlags::VM) {
        // Registered areas are at the same addresses in the copy; only fork keeps rseq.
        let area = *parent.rseq.lock();
        super::rseq::set_area(&child, area);
    }
    if flags.contains(CloneFlags::SYSVSEM) {
        let list = parent
            .sem_undo
            .lock()
            .get_or_insert_with(crate::ipc::sysv::sem::UndoList::new)
            .clone();
        *child.sem_undo.lock() = Some(list);
    }
    child.creator.store(parent.tid(), Ordering::Relaxed);
    Ok(child)
}

fn child_namespaces(
    parent: &Arc<Thread>,
    flags: CloneFlags,
    fs: &Arc<crate::fs::FsContext>,
) -> Result<Arc<NsProxy>> {
    let ns = parent.ns();
    if !flags.intersects(OWN_NAMESPACES) {
        return Ok(ns);
    }
    let mut new = (*ns).clone();
    if flags.contains(CloneFlags::NEWUTS) {
        new.uts = ns.uts.copy();
    }
    if flags.contains(CloneFlags::NEWIPC) {
        new.ipc = crate::ipc::namespace::IpcNamespace::fresh();
    }
    if flags.contains(CloneFlags::NEWNS) {
        new.mnt = ns.mnt.copy_for(fs)?;
    }
    Ok(Arc::new(new))
}

fn inherit_process(old: &Arc<Process>, new: &Arc<Process>) {
    *new.tty.lock() = old.tty.lock().clone();
    *new.exe.lock() = old.exe.lock().clone();
    new.auxv.lock().clone_from(&old.auxv.lock());
    new.set_oom_score_adj(old.oom_score_adj());
    new.dumpable
        .store(old.dumpable.load(Ordering::Relaxed), Ordering::Relaxed);
    new.mce_kill
        .store(old.mce_kill.load(Ordering::Relaxed), Ordering::Relaxed);
    new.coredump_filter.store(
        old.coredump_filter.load(Ordering::Relaxed),
        Ordering::Relaxed,
    );
    let subreaper =
        old.child_subreaper.load(Ordering::Relaxed) || old.has_subreaper.load(Ordering::Relaxed);
    new.has_subreaper.store(subreaper, Ordering::Relaxed);
}

fn store_pidfd(thread: &Arc<Thread>, child: &Arc<Thread>, addr: u64) -> Result<keel_abi::args::Fd> {
    let fd = crate::ipc::pidfd::open(thread, &child.process, false)?;
    if keel_hal::user::write_obj(addr as usize, &fd.0).is_err() {
        let _ = thread.files().close(fd);
        return Err(Errno::EFAULT);
    }
    Ok(fd)
}

/// Undoes [`build`] for a child that never ran.
fn abandon(child: &Arc<Thread>, tid: u32) {
    child.set_task(None);
    drop(child.replace_mm(None));
    pid::release(tid);
}

/// Enters the child into the tables and the family.
fn publish(parent: &Arc<Thread>, child: &Arc<Thread>, flags: CloneFlags) {
    child.process.add_thread(child);
    super::seccomp::inherit(parent, child);
    pid::insert_thread(child);
    if !flags.contains(CloneFlags::THREAD) {
        let _family = FAMILY.lock();
        let real_parent = if flags.contains(CloneFlags::PARENT) {
            parent
                .process
                .parent()
                .unwrap_or_else(|| parent.process.clone())
        } else {
            parent.process.clone()
        };
        child.process.set_parent(&real_parent);
        pid::insert_process(&child.process);
    } else if child.process.group_exiting() || super::core_dump::in_progress(&child.process) {
        child.request_exit(0);
    }
}

fn child_registers(parent: &UserContext, request: &CloneRequest) -> UserContext {
    let mut user = parent.clone();
    if request.stack != 0 {
        user.rsp = request.stack;
    }
    user
}
