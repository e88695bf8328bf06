//! Scheduling: policies, priorities, affinity (sched(7)).

use core::sync::atomic::Ordering;
use keel_abi::prelude::*;
use keel_abi::types::{SchedAttr, SchedParam, Timespec};
use keel_hal::{cpu, task};

use super::Ctx;
use super::process::thread_arg;
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::rlimit::Resource;
use crate::process::{self, Cap, Thread};
use crate::sched::{self, Policy, Reservation, deadline, entity};

pub fn sched_yield(_cx: &mut Ctx) -> Result<()> {
    sched::yield_now();
    Ok(())
}

pub fn getcpu(_cx: &mut Ctx, cpu: UserPtr<u32>, node: UserPtr<u32>, _t: UserAddr) -> Result<()> {
    cpu.write_if_given(&(cpu::id() as u32))?;
    node.write_if_given(&0)
}

fn policy_of(raw: SchedPolicy) -> Result<Policy> {
    u8::try_from(raw.0)
        .ok()
        .and_then(Policy::from_raw)
        .ok_or(Errno::EINVAL)
}

/// The caller owns the target, or has CAP_SYS_NICE.
fn check_owner(cx: &Ctx, target: &Arc<Thread>) -> Result<()> {
    let (me, other) = (cx.thread.cred(), target.cred());
    if me.euid == other.euid || me.euid == other.uid || me.has(Cap::SYS_NICE) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// SCHED_RESET_ON_FORK, or-ed into the policy of sched_setscheduler(2).
const RESET_ON_FORK: i32 = 0x4000_0000;

struct Change {
    policy: Policy,
    priority: u32,
    nice: Option<i32>,
    reset_on_fork: bool,
    /// Of SCHED_DEADLINE.
    reservation: Option<Reservation>,
}

fn apply(cx: &Ctx, target: &Arc<Thread>, change: &Change) -> Result<()> {
    let realtime = change.policy.is_realtime();
    if realtime != (1..=99).contains(&change.priority) || (!realtime && change.priority != 0) {
        return Err(Errno::EINVAL);
    }
    let reservation = match change.policy {
        Policy::Deadline => Some(change.reservation.ok_or(Errno::EINVAL)?.checked()?),
        _ => None,
    };
    let task = target.task().ok_or(Errno::ESRCH)?;
    let entity = entity(&task);
    check_owner(cx, target)?;
    if !cx.thread.cred().has(Cap::SYS_NICE) {
        check_unprivileged(target, entity, change)?;
    }
    if reservation.is_some() && entity.affinity() & possible() != possible() {
        // Deadlines are kept by running wherever there is room.
        return Err(Errno::EPERM);
    }
    let old = entity.reservation();
    if old.is_some() || reservation.is_some() {
        deadline::admit(old.as_ref(), reservation.as_ref())?;
    }
    sched::change(&task, |entity| {
        match reservation {
            Some(reservation) => entity.set_reservation(reservation),
            None => entity.set_policy(change.policy, change.priority as u8),
        }
        if let Some(nice) = change.nice {
            entity.set_nice(nice);
        }
        entity
            .reset_on_fork
            .store(change.reset_on_fork, Ordering::Relaxed);
    });
    crate::ipc::futex::priority_changed(target);
    Ok(())
}

/// What a caller without CAP_SYS_NICE may change: EPERM.
fn check_unprivileged(target: &Thread, entity: &sched::Entity, change: &Change) -> Result<()> {
    let limit = target.process.rlimits.soft(Resource::Rtprio);
    let raises = change.policy.is_realtime()
        && (u64::from(change.priority) > limit || (!entity.policy().is_realtime() && limit == 0));
    let leaves_idle = entity.policy() == Policy::Idle
        && change.policy != Policy::Idle
        && !may_nice(target, entity.nice());
    let faster = change
        .nice
        .is_some_and(|n| n < entity.nice() && !may_nice(target, n));
    let drops_reset = entity.reset_on_fork.load(Ordering::Relaxed) && !change.reset_on_fork;
    let reserves = change.policy == Policy::Deadline;
    if raises || leaves_idle || faster || drops_reset || reserves {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Whether RLIMIT_NICE lets the thread have this nice value.
fn may_nice(target: &Thread, nice: i32) -> bool {
    (20 - i64::from(nice)) as u64 <= target.process.rlimits.soft(Resource::Nice)
}

pub fn sched_setscheduler(
    cx: &mut Ctx,
    pid: Pid,
    policy: SchedPolicy,
    param: UserPtr<SchedParam>,
) -> Result<()> {
    if policy.0 < 0 || param.is_null() {
        return Err(Errno::EINVAL);
    }
    let priority = param.read()?.sched_priority;
    let target = thread_arg(cx, pid)?;
    let policy_number = SchedPolicy(policy.0 & !RESET_ON_FORK);
    let change = Change {
        policy: policy_of(policy_number)?,
        priority: u32::try_from(priority).map_err(|_| Errno::EINVAL)?,
        nice: None,
        reset_on_fork: policy.0 & RESET_ON_FORK != 0,
        reservation: None,
    };
    apply(cx, &target, &change)
}

pub fn sched_setparam(cx: &mut Ctx, pid: Pid, param: UserPtr<SchedParam>) -> Result<()> {
    if param.is_null() {
        return Err(Errno::EINVAL);
    }
    let priority = param.read()?.sched_priority;
    let target = thread_arg(cx, pid)?;
    let task = target.task().ok_or(Errno::ESRCH)?;
    let change = Change {
        policy: entity(&task).policy(),
        priority: u32::try_from(priority).map_err(|_| Errno::EINVAL)?,
        nice: None,
        reset_on_fork: entity(&task).reset_on_fork.load(Ordering::Relaxed),
        reservation: entity(&task).reservation(),
    };
    apply(cx, &target, &change)
}

pub fn sched_getscheduler(cx: &mut Ctx, pid: Pid) -> Result<SchedPolicy> {
    let task = thread_arg(cx, pid)?.task().ok_or(Errno::ESRCH)?;
    let entity = entity(&task);
    let reset = if entity.reset_on_fork.load(Ordering::Relaxed) {
        RESET_ON_FORK
    } else {
        0
    };
    Ok(SchedPolicy(entity.policy() as i32 | reset))
}

pub fn sched_getparam(cx: &mut Ctx, pid: Pid, param: UserPtr<SchedParam>) -> Result<()> {
    if param.is_null() {
        return Err(Errno::EINVAL);
    }
    let task = thread_arg(cx, pid)?.task().ok_or(Errno::ESRCH)?;
    param.write(&SchedParam {
        sched_priority: i32::from(entity(&task).rt_priority()),
    })
}

pub fn sched_get_priority_max(_cx: &mut Ctx, policy: SchedPolicy) -> Result<i32> {
    Ok(if policy_of(policy)?.is_realtime() {
        99
    } else {
        0
    })
}

pub fn sched_get_priority_min(_cx: &mut Ctx, policy: SchedPolicy) -> Result<i32> {
    Ok(i32::from(policy_of(policy)?.is_realtime()))
}

pub fn sched_rr_get_interval(cx: &mut Ctx, pid: Pid, tp: UserPtr<Timespec>) -> Result<()> {
    let task = thread_arg(cx, pid)?.task().ok_or(Errno::ESRCH)?;
    let slice = match entity(&task).policy() {
        Policy::Fifo | Policy::Deadline => 0,
        Policy::RoundRobin => sched::RR_SLICE_NS,
        _ => 4_000_000,
    };
    tp.write(&super::time::timespec(slice as i64))
}

/// SCHED_FLAG_* of `struct sched_attr`.
const FLAG_RESET_ON_FORK: u64 = 1;
const FLAG_RECLAIM: u64 = 2;
const FLAG_DL_OVERRUN: u64 = 4;
const FLAG_KEEP_POLICY: u64 = 8;
const FLAG_KEEP_PARAMS: u64 = 16;
/// Clamping of utilisation, for which this kernel has no frequency to choose.
const FLAG_UTIL_CLAMP: u64 = 0x60;
const KNOWN_FLAGS: u64 = FLAG_RESET_ON_FORK
    | FLAG_RECLAIM
    | FLAG_DL_OVERRUN
    | FLAG_KEEP_POLICY
    | FLAG_KEEP_PARAMS
    | FLAG_UTIL_CLAMP;
const SCHED_ATTR_SIZE_VER0: usize = 48;

pub fn sched_setattr(cx: &mut Ctx, pid: Pid, attr: UserPtr<SchedAttr>, flags: u32) -> Result<()> {
    if attr.is_null() || pid.0 < 0 || flags != 0 {
        return Err(Errno::EINVAL);
    }
    let size = match attr.cast::<u32>().read()? as usize {
        0 => SCHED_ATTR_SIZE_VER0,
        size => size,
    };
    if !(SCHED_ATTR_SIZE_VER0..=PAGE_SIZE).contains(&size) {
        let _ = attr.cast::<u32>().write(&(size_of::<SchedAttr>() as u32));
        return Err(Errno::E2BIG);
    }
    let wanted: SchedAttr = super::system::read_versioned(attr, size)?;
    let has = |flag: u64| wanted.sched_flags & flag != 0;
    if has(FLAG_UTIL_CLAMP) {
        return Err(Errno::EOPNOTSUPP);
    }
    if has(!KNOWN_FLAGS) {
        return Err(Errno::EINVAL);
    }
    let target = thread_arg(cx, pid)?;
    let task = target.task().ok_or(Errno::ESRCH)?;
    let entity = entity(&task);
    let policy = if has(FLAG_KEEP_POLICY) {
        entity.policy()
    } else {
        policy_of(SchedPolicy(wanted.sched_policy as i32))?
    };
    let mut change = Change {
        policy,
        priority: wanted.sched_priority,
        nice: (!policy.is_realtime()).then_some(wanted.sched_nice.clamp(-20, 19)),
        reset_on_fork: has(FLAG_RESET_ON_FORK),
        reservation: Some(Reservation {
            runtime: wanted.sched_runtime,
            deadline: wanted.sched_deadline,
            period: wanted.sched_period,
            report_overrun: has(FLAG_DL_OVERRUN),
            reclaim: has(FLAG_RECLAIM),
        }),
    };
    if has(FLAG_KEEP_PARAMS) {
        change.priority = u32::from(entity.rt_priority());
        change.nice = None;
        change.reservation = entity.reservation();
    }
    apply(cx, &target, &change)
}

pub fn sched_getattr(
    cx: &mut Ctx,
    pid: Pid,
    attr: UserPtr<SchedAttr>,
    size: u32,
    flags: u32,
) -> Result<()> {
    let size = size as usize;
    if attr.is_null() || flags != 0 || !(SCHED_ATTR_SIZE_VER0..=PAGE_SIZE).contains(&size) {
        return Err(Errno::EINVAL);
    }
    let task = thread_arg(cx, pid)?.task().ok_or(Errno::ESRCH)?;
    let entity = entity(&task);
    let len = size.min(size_of::<SchedAttr>());
    let reservation = entity.reservation().unwrap_or_default();
    let flag = |set: bool, flag: u64| if set { flag } else { 0 };
    let fair = !entity.policy().is_realtime() && entity.policy() != Policy::Deadline;
    let now = SchedAttr {
        size: len as u32,
        sched_policy: entity.policy() as u32,
        sched_flags: flag(
            entity.reset_on_fork.load(Ordering::Relaxed),
            FLAG_RESET_ON_FORK,
        ) | flag(reservation.report_overrun, FLAG_DL_OVERRUN)
            | flag(reservation.reclaim, FLAG_RECLAIM),
        sched_nice: if fair { entity.nice() } else { 0 },
        sched_priority: u32::from(entity.rt_priority()),
        sched_runtime: reservation.runtime,
        sched_deadline: reservation.deadline,
        sched_period: reservation.period,
        ..SchedAttr::default()
    };
    crate::mm::user::write_bytes(attr.addr(), &zerocopy::IntoBytes::as_bytes(&now)[..len])
}

/// The CPUs there are, a bit each.
fn possible() -> u64 {
    u64::MAX >> (64 - cpu::count().clamp(1, 64))
}

pub fn sched_setaffinity(cx: &mut Ctx, pid: Pid, cpusetsize: u32, mask: UserPtr<u8>) -> Result<()> {
    let mut bytes = [0; 8];
    let len = (cpusetsize as usize).min(8);
    bytes[..len].copy_from_slice(&crate::mm::user::read_bytes(mask.addr(), len)?);
    let wanted = u64::from_le_bytes(bytes) & possible();
    let target = if pid.0 < 0 {
        return Err(Errno::ESRCH);
    } else {
        thread_arg(cx, pid)?
    };
    check_owner(cx, &target)?;
    if wanted == 0 {
        return Err(Errno::EINVAL);
    }
    let task = target.task().ok_or(Errno::ESRCH)?;
    if entity(&task).reservation().is_some() && wanted != possible() {
        // Reservations were admitted for all CPUs together.
        return Err(Errno::EBUSY);
    }
    sched::set_affinity(&task, wanted);
    if Arc::ptr_eq(&target, cx.thread) && wanted & (1 << cpu::id()) == 0 {
        task::schedule();
    }
    Ok(())
}

pub fn sched_getaffinity(
    cx: &mut Ctx,
    pid: Pid,
    cpusetsize: u32,
    mask: UserPtr<u8>,
) -> Result<i32> {
    let bytes = cpu::count().div_ceil(64) * 8;
    if (cpusetsize as usize) < bytes || !cpusetsize.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let target = if pid.0 < 0 {
        return Err(Errno::ESRCH);
    } else {
        thread_arg(cx, pid)?
    };
    let task = target.task().ok_or(Errno::ESRCH)?;
    let current = entity(&task).affinity() & possible();
    mask.write_array(&current.to_le_bytes())?;
    Ok(8)
}

/// The threads that getpriority(2) and its kind name.
fn priority_targets(cx: &Ctx, which: PriorityWhich, who: i32) -> Result<Vec<Arc<Thread>>> {
    let targets: Vec<Arc<Thread>> = match which {
        PriorityWhich::PRIO_PROCESS => thread_arg(cx, Pid(who)).into_iter().collect(),
        PriorityWhich::PRIO_PGRP => {
            let pgid = if who == 0 {
                cx.thread.process.pgid()
            } else {
                who.unsigned_abs()
            };
            process::pgrp_members(pgid)
                .iter()
                .flat_map(|p| p.threads())
                .collect()
        }
        PriorityWhich::PRIO_USER => {
            let uid = if who == 0 {
                cx.thread.cred().uid
            } else {
                who.cast_unsigned()
            };
            process::all()
                .iter()
                .flat_map(|p| p.threads())
                .filter(|t| t.cred().uid == uid)
                .collect()
        }
        _ => return Err(Errno::EINVAL),
    };
    if targets.is_empty() {
        Err(Errno::ESRCH)
    } else {
        Ok(targets)
    }
}

pub fn getpriority(cx: &mut Ctx, which: PriorityWhich, who: i32) -> Result<i32> {
    let lowest = priority_targets(cx, which, who)?
        .iter()
        .filter_map(|thread| thread.task())
        .map(|task| entity(&task).nice())
        .min();
    // The kernel's answer is 20 - nice, so that it is never negative.
    lowest.map(|nice| 20 - nice).ok_or(Errno::ESRCH)
}

pub fn setpriority(cx: &mut Ctx, which: PriorityWhich, who: i32, prio: i32) -> Result<()> {
    let nice = prio.clamp(-20, 19);
    let me = cx.thread.cred();
    let mut result = Ok(());
    for thread in priority_targets(cx, which, who)? {
        let other = thread.cred();
        let Some(task) = thread.task() else { continue };
        let entity = entity(&task);
        if me.euid != other.euid && me.euid != other.uid && !me.has(Cap::SYS_NICE) {
            result = Err(Errno::EPERM);
        } else if nice < entity.nice() && !may_nice(&thread, nice) && !me.has(Cap::SYS_NICE) {
            result = Err(Errno::EACCES);
        } else {
            entity.set_nice(nice);
        }
    }
    result
}

/// I/O priority classes and data of ioprio_set(2).
const IOPRIO_CLASS_SHIFT: i32 = 13;

/// Whether the caller may use an I/O priority: EINVAL for one that does not exist, EPERM.
pub fn check_ioprio(cx: &Ctx, ioprio: i32) -> Result<()> {
    let (class, data) = (ioprio >> IOPRIO_CLASS_SHIFT, ioprio & 0x1fff);
    match class {
        0 if data != 0 => Err(Errno::EINVAL),
        0 | 3 => Ok(()),
        1 if cx.thread.cred().has(Cap::SYS_NICE) => Ok(()),
        1 => cx.thread.cred().require(Cap::SYS_ADMIN),
        2 if data < 8 => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

pub fn ioprio_set(cx: &mut Ctx, which: IoprioWhich, who: i32, ioprio: i32) -> Result<()> {
    check_ioprio(cx, ioprio)?;
    for thread in priority_targets(cx, ioprio_which(which)?, who)? {
        check_owner(cx, &thread)?;
        thread
            .ioprio
            .store(ioprio.cast_unsigned(), Ordering::Relaxed);
    }
    Ok(())
}

pub fn ioprio_get(cx: &mut Ctx, which: IoprioWhich, who: i32) -> Result<i32> {
    let targets = priority_targets(cx, ioprio_which(which)?, who)?;
    let highest = targets
        .iter()
        .map(|t| t.ioprio.load(Ordering::Relaxed))
        .min();
    Ok(highest.unwrap_or(0).cast_signed())
}

fn ioprio_which(which: IoprioWhich) -> Result<PriorityWhich> {
    match which {
        IoprioWhich::IOPRIO_WHO_PROCESS => Ok(PriorityWhich::PRIO_PROCESS),
        IoprioWhich::IOPRIO_WHO_PGRP => Ok(PriorityWhich::PRIO_PGRP),
        IoprioWhich::IOPRIO_WHO_USER => Ok(PriorityWhich::PRIO_USER),
        _ => Err(Errno::EINVAL),
    }
}

pub fn membarrier(
    cx: &mut Ctx,
    cmd: MembarrierCmd,
    flags: MembarrierFlags,
    cpu_id: i32,
) -> Result<i32> {
    let takes_cpu = cmd == MembarrierCmd::MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ;
    let known = if takes_cpu {
        MembarrierFlags::CPU
    } else {
        MembarrierFlags::empty()
    };
    if !known.contains(flags) {
        return Err(Errno::EINVAL);
    }
    let supported = [
        MembarrierCmd::MEMBARRIER_CMD_GLOBAL,
        MembarrierCmd::MEMBARRIER_CMD_GLOBAL_EXPEDITED,
        MembarrierCmd::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED,
        MembarrierCmd::MEMBARRIER_CMD_PRIVATE_EXPEDITED,
        MembarrierCmd::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
        MembarrierCmd::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE,
        MembarrierCmd::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
        MembarrierCmd::MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ,
        MembarrierCmd::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ,
        MembarrierCmd::MEMBARRIER_CMD_GET_REGISTRATIONS,
    ];
    let mm = cx.thread.mm();
    let registered = |cmd: MembarrierCmd| mm.membarrier.load(Ordering::Relaxed) & cmd.0 as u32 != 0;
    // An interrupt on every CPU orders memory and serialises instruction fetch there.
    let everywhere = || cpu::call_on_all(&|| {}, true);
    match cmd {
        MembarrierCmd::MEMBARRIER_CMD_QUERY => {
            return Ok(supported.iter().fold(0, |mask, cmd| mask | cmd.0));
        }
        MembarrierCmd::MEMBARRIER_CMD_GLOBAL | MembarrierCmd::MEMBARRIER_CMD_GLOBAL_EXPEDITED => {
            everywhere()
        }
        MembarrierCmd::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED
        | MembarrierCmd::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED
        | MembarrierCmd::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE
        | MembarrierCmd::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ => {
            mm.membarrier.fetch_or(cmd.0 as u32, Ordering::Relaxed);
        }
        MembarrierCmd::MEMBARRIER_CMD_PRIVATE_EXPEDITED
            if registered(MembarrierCmd::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) =>
        {
            everywhere();
        }
        MembarrierCmd::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE
            if registered(MembarrierCmd::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE) =>
        {
            everywhere();
        }
        MembarrierCmd::MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ
            if registered(MembarrierCmd::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ) =>
        {
            let wanted = flags.contains(MembarrierFlags::CPU).then_some(cpu_id);
            // Who comes back from the scheduler has its critical section aborted.
            let restart = || {
                let me = cpu::id();
                if wanted.is_none_or(|cpu| usize::try_from(cpu) == Ok(me)) {
                    cpu::set_need_resched(me);
                }
            };
            cpu::call_on_all(&restart, true);
        }
        MembarrierCmd::MEMBARRIER_CMD_GET_REGISTRATIONS => {
            return Ok(mm.membarrier.load(Ordering::Relaxed).cast_signed());
        }
        MembarrierCmd::MEMBARRIER_CMD_PRIVATE_EXPEDITED
        | MembarrierCmd::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE
        | MembarrierCmd::MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ => {
            return Err(Errno::EPERM);
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}
