//! State, times and identities of a thread: stat, status, io, children.

use core::sync::atomic::Ordering;
use keel_hal::cpu;
use keel_procfs::bitmap::Bitmap;
use keel_procfs::{IoCounters, Stat, State, Status};

use super::{TaskRef, dev_no, memory};
use crate::prelude::*;
use crate::process::process::{Usage, thread_usage};
use crate::process::rlimit::Resource;
use crate::process::{Process, Thread, ptrace, seccomp};
use crate::sched;

/// `PF_*` flags that stat shows.
mod pf {
    pub const EXITING: u32 = 0x4;
    pub const FORK_NO_EXEC: u32 = 0x40;
    pub const RANDOMIZE: u32 = 0x40_0000;
}

/// Bits of a mask of memory nodes.
const NODE_BITS: u32 = 64;

/// The thread's name.
pub fn comm(thread: &Thread) -> Vec<u8> {
    let bytes = thread.comm_bytes();
    let len = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    bytes.get(..len).unwrap_or(&[]).to_vec()
}

/// What the thread is doing.
pub fn state(thread: &Thread) -> State {
    let Some(task) = thread.task() else {
        return State::Zombie;
    };
    let stopped = thread.process.job.lock().stopped_by.is_some();
    if ptrace::is_stopped(thread) {
        return State::TracingStop;
    }
    match task.sleep_mode() {
        None => State::Running,
        Some(_) if stopped && !ptrace::is_traced(thread) => State::Stopped,
        Some(SleepMode::Interruptible) => State::Sleeping,
        Some(SleepMode::Killable | SleepMode::Uninterruptible) => State::DiskSleep,
    }
}

fn flags(thread: &Thread) -> u32 {
    let mut flags = 0;
    if thread.task().is_none() || thread.exiting() {
        flags |= pf::EXITING;
    }
    if !thread.process.execed.load(Ordering::Relaxed) {
        flags |= pf::FORK_NO_EXEC;
    }
    if crate::process::exec::RANDOMIZE_VA_SPACE.load(Ordering::Relaxed) != 0 {
        flags |= pf::RANDOMIZE;
    }
    flags
}

/// Nice value, real-time priority, policy.
fn scheduling(thread: &Thread) -> (i32, u32, u32) {
    thread.task().map_or((0, 0, 0), |task| {
        let entity = sched::entity(&task);
        (
            entity.nice(),
            u32::from(entity.rt_priority()),
            entity.policy() as u32,
        )
    })
}

fn terminal(process: &Process) -> (keel_procfs::DevNo, i32) {
    let tty = process.tty.lock().clone();
    tty.map_or((keel_procfs::DevNo::default(), -1), |tty| {
        let foreground = i32::try_from(tty.foreground()).unwrap_or(0);
        (
            dev_no(tty.rdev),
            if foreground == 0 { -1 } else { foreground },
        )
    })
}

/// stat.
pub fn stat(task: &TaskRef, whole: bool) -> Result<Stat> {
    let thread = task.thread()?;
    let process = &thread.process;
    let usage = if whole {
        process.usage()
    } else {
        thread_usage(&thread)
    };
    let children: Usage = *process.children_usage.lock();
    let state = state(&thread);
    let (nice, rt_priority, policy) = scheduling(&thread);
    let (tty, tpgid) = terminal(process);
    let (ignored, caught) = process.signals.ignored_and_caught();
    let permitted = task.permitted();
    let threads = process.thread_count().max(1) as u64;
    let mut stat = Stat {
        pid: task.tid,
        comm: comm(&thread),
        state,
        ppid: process.ppid(),
        pgrp: process.pgid(),
        session: process.sid(),
        tty,
        tpgid,
        flags: flags(&thread),
        min_flt: usage.minor_faults,
        cmin_flt: children.minor_faults,
        maj_flt: usage.major_faults,
        cmaj_flt: children.major_faults,
        utime: usage.user_ns,
        stime: usage.system_ns,
        cutime: children.user_ns,
        cstime: children.system_ns,
        priority: if rt_priority > 0 {
            -1 - i64::from(rt_priority)
        } else {
            20 + i64::from(nice)
        },
        nice: i64::from(nice),
        num_threads: threads,
        start_time: thread.start_ns,
        rss_limit: process.rlimits.soft(Resource::Rss),
        signal: thread.signals.pending_set(),
        blocked: thread.signals.blocked(),
        sig_ignore: ignored,
        sig_catch: caught,
        waiting: permitted && (!whole || threads < 2) && state != State::Running,
        exit_signal: process.exit_signal.load(Ordering::Relaxed),
        processor: thread.task().map_or(0, |task| task.cpu() as u32),
        rt_priority,
        policy,
        exit_code: process.zombie_status().unwrap_or(0),
        permitted,
        ..Stat::default()
    };
    memory::fill_stat(&thread, &mut stat);
    Ok(stat)
}

/// A mask of CPUs as status shows it.
fn cpus_allowed(thread: &Thread) -> Bitmap {
    let count = cpu::count() as u32;
    let all = Bitmap::first(count, count);
    let Some(task) = thread.task() else {
        return all;
    };
    let allowed = sched::entity(&task).affinity();
    let word = all.words.first().copied().unwrap_or(0) & allowed;
    Bitmap::from_word(word, count)
}

/// status.
pub fn status(task: &TaskRef) -> Result<Status> {
    let thread = task.thread()?;
    let process = &thread.process;
    let cred = thread.cred();
    let alive = thread.task().is_some();
    let (ignored, caught) = process.signals.ignored_and_caught();
    let usage = thread_usage(&thread);
    Ok(Status {
        comm: comm(&thread),
        umask: alive.then(|| thread.fs().umask()),
        state: state(&thread),
        tgid: process.pid,
        ngid: 0,
        pid: task.tid,
        ppid: process.ppid(),
        tracer_pid: ptrace::tracer_tid(&thread),
        uid: [cred.uid, cred.euid, cred.suid, cred.fsuid],
        gid: [cred.gid, cred.egid, cred.sgid, cred.fsgid],
        fd_size: if alive {
            thread.files().capacity() as u32
        } else {
            0
        },
        groups: cred.groups.to_vec(),
        ns_tgid: vec![process.pid],
        ns_pid: vec![task.tid],
        ns_pgid: vec![process.pgid()],
        ns_sid: vec![process.sid()],
        kthread: None,
        mem: memory::status(&thread),
        threads: process.thread_count().max(1) as u32,
        sig_queued: process.signals.queued() as u32,
        sig_limit: process.rlimits.soft(Resource::Sigpending),
        sig_pending: thread.signals.pending_set(),
        shared_pending: process.signals.pending_set(),
        sig_blocked: thread.signals.blocked(),
        sig_ignored: ignored,
        sig_caught: caught,
        cap_inheritable: cred.inheritable.0,
        cap_permitted: cred.permitted.0,
        cap_effective: cred.effective.0,
        cap_bounding: cred.bounding.0,
        cap_ambient: cred.ambient.0,
        no_new_privs: cred.no_new_privs,
        seccomp: Some((seccomp::mode(&thread), seccomp::filter_count(&thread))),
        // What prctl(PR_GET_SPECULATION_CTRL) with EINVAL stands for.
        store_bypass: "unknown",
        indirect_branch: "unsupported",
        cpus_allowed: cpus_allowed(&thread),
        mems_allowed: Bitmap::first(1, NODE_BITS),
        voluntary_switches: usage.voluntary,
        involuntary_switches: usage.involuntary,
    })
}

/// io. Threads that have ended are in the sum of the process's disk traffic only.
pub fn io(task: &TaskRef, whole: bool) -> Result<IoCounters> {
    let thread = task.thread()?;
    let process = thread.process.clone();
    let threads = if whole {
        process.threads()
    } else {
        vec![thread]
    };
    let mut sum = IoCounters::default();
    for thread in &threads {
        let io = &thread.io;
        sum.rchar += io.read_chars.load(Ordering::Relaxed);
        sum.wchar += io.write_chars.load(Ordering::Relaxed);
        sum.syscr += io.read_calls.load(Ordering::Relaxed);
        sum.syscw += io.write_calls.load(Ordering::Relaxed);
    }
    if whole {
        let [read, written] = &process.io_bytes;
        sum.read_bytes = read.load(Ordering::Relaxed);
        sum.write_bytes = written.load(Ordering::Relaxed);
    }
    Ok(sum)
}

/// oom_score: how much of memory the process has, moved by oom_score_adj, from 0 to 2000 (proc_pid_oom_score(5)).
pub fn oom_score(process: &Process) -> Result<u32> {
    const NEVER: i32 = -1000;
    let adj = process.oom_score_adj();
    if adj == NEVER {
        return Ok(0);
    }
    let total = keel_hal::frame::stats().total.max(1) as i64;
    let tables = process
        .main_thread()
        .and_then(|thread| thread.mm_opt())
        .map_or(0, |mm| mm.table().table_pages());
    let badness = (process.resident() + tables) as i64 + i64::from(adj) * total / 1000;
    let score = (1000 + badness * 1000 / total) * 2 / 3;
    Ok(u32::try_from(score).unwrap_or(0))
}

/// children: those that this thread made; the first thread also has those whose maker is gone.
pub fn children(task: &TaskRef) -> Result<Vec<u32>> {
    let process = task.process()?;
    let threads: Vec<u32> = process
        .threads()
        .iter()
        .map(|thread| thread.tid())
        .collect();
    let made_by = |child: &Arc<Process>| {
        let creator = child
            .leader()
            .map_or(0, |leader| leader.creator.load(Ordering::Relaxed));
        if threads.contains(&creator) {
            creator
        } else {
            process.pid
        }
    };
    let children = process.children();
    Ok(children
        .iter()
        .filter(|child| made_by(child) == task.tid)
        .map(|child| child.pid)
        .collect())
}
