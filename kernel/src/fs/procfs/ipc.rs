//! What /proc/sysvipc and the limits below /proc/sys show of the reader's IPC namespace.

use core::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use keel_procfs::{Ctl, CtlValue, MsgQueue, SemSet, ShmSegment};

use crate::ipc::namespace::IpcNamespace;
use crate::ipc::sysv::{msg, sem, shm};
use crate::prelude::*;

fn namespace() -> Option<Arc<IpcNamespace>> {
    crate::process::current_opt().map(|thread| thread.ns().ipc.clone())
}

/// /proc/sysvipc/shm.
pub fn segments() -> Vec<ShmSegment> {
    let all = namespace().map_or_else(Vec::new, |ns| ns.shm.table.all());
    all.iter()
        .map(|segment| {
            let status = shm::status(segment);
            let perm = status.shm_perm;
            ShmSegment {
                key: perm.key.0,
                id: segment.id,
                perms: perm.mode,
                size: status.shm_segsz as u64,
                creator_pid: status.shm_cpid.0.unsigned_abs(),
                last_pid: status.shm_lpid.0.unsigned_abs(),
                attached: status.shm_nattch,
                uid: perm.uid.0,
                gid: perm.gid.0,
                cuid: perm.cuid.0,
                cgid: perm.cgid.0,
                atime: status.shm_atime.max(0).unsigned_abs(),
                dtime: status.shm_dtime.max(0).unsigned_abs(),
                ctime: status.shm_ctime.max(0).unsigned_abs(),
                rss: (shm::resident_pages(segment) * PAGE_SIZE) as u64,
                swap: 0,
            }
        })
        .collect()
}

/// /proc/sysvipc/sem.
pub fn semaphore_sets() -> Vec<SemSet> {
    let all = namespace().map_or_else(Vec::new, |ns| ns.sem.table.all());
    all.iter()
        .map(|set| {
            let status = sem::status(set);
            let perm = status.sem_perm;
            SemSet {
                key: perm.key.0,
                id: set.id,
                perms: perm.mode,
                count: status.sem_nsems,
                uid: perm.uid.0,
                gid: perm.gid.0,
                cuid: perm.cuid.0,
                cgid: perm.cgid.0,
                otime: status.sem_otime.max(0).unsigned_abs(),
                ctime: status.sem_ctime.max(0).unsigned_abs(),
            }
        })
        .collect()
}

/// /proc/sysvipc/msg.
pub fn message_queues() -> Vec<MsgQueue> {
    let all = namespace().map_or_else(Vec::new, |ns| ns.msg.table.all());
    all.iter()
        .map(|queue| {
            let status = msg::status(queue);
            let perm = status.msg_perm;
            MsgQueue {
                key: perm.key.0,
                id: queue.id,
                perms: perm.mode,
                bytes: status.msg_cbytes,
                messages: status.msg_qnum,
                last_send_pid: status.msg_lspid.0.unsigned_abs(),
                last_recv_pid: status.msg_lrpid.0.unsigned_abs(),
                uid: perm.uid.0,
                gid: perm.gid.0,
                cuid: perm.cuid.0,
                cgid: perm.cgid.0,
                stime: status.msg_stime.max(0).unsigned_abs(),
                rtime: status.msg_rtime.max(0).unsigned_abs(),
                ctime: status.msg_ctime.max(0).unsigned_abs(),
            }
        })
        .collect()
}

/// A limit.
enum Limit<'a> {
    Id(&'a AtomicI32),
    Count(&'a AtomicUsize),
    Size(&'a AtomicU64),
}

fn limit(ns: &IpcNamespace, ctl: Ctl) -> Option<Limit<'_>> {
    let (shm, msg, mqueue) = (&ns.shm, &ns.msg, &ns.mqueue);
    Some(match ctl {
        Ctl::KernelShmmax => Limit::Size(&shm.max_size),
        Ctl::KernelShmall => Limit::Size(&shm.max_pages),
        Ctl::KernelShmmni => Limit::Count(&shm.max_segments),
        Ctl::KernelShmNextId => Limit::Id(&shm.table.next_id),
        Ctl::KernelSemNextId => Limit::Id(&ns.sem.table.next_id),
        Ctl::KernelMsgNextId => Limit::Id(&msg.table.next_id),
        Ctl::KernelMsgmax => Limit::Count(&msg.max_size),
        Ctl::KernelMsgmnb => Limit::Count(&msg.max_bytes),
        Ctl::KernelMsgmni => Limit::Count(&msg.max_queues),
        Ctl::FsMqueueQueuesMax => Limit::Count(&mqueue.max_queues),
        Ctl::FsMqueueMsgMax => Limit::Count(&mqueue.max_messages),
        Ctl::FsMqueueMsgsizeMax => Limit::Count(&mqueue.max_size),
        Ctl::FsMqueueMsgDefault => Limit::Count(&mqueue.default_messages),
        Ctl::FsMqueueMsgsizeDefault => Limit::Count(&mqueue.default_size),
        _ => return None,
    })
}

/// SEMMSL, SEMMNS, SEMOPM, SEMMNI, as `kernel.sem` has them.
fn semaphore_limits(ns: &IpcNamespace) -> [&AtomicUsize; 4] {
    let sem = &ns.sem;
    [
        &sem.max_per_set,
        &sem.max_semaphores,
        &sem.max_operations,
        &sem.max_sets,
    ]
}

/// A limit below /proc/sys; `None` for what is none of these.
pub fn get(ctl: Ctl) -> Option<CtlValue> {
    let ns = namespace()?;
    match ctl {
        Ctl::KernelSem => {
            let values = semaphore_limits(&ns).map(|limit| limit.load(Ordering::Relaxed) as i128);
            return Some(CtlValue::Ints(values.to_vec()));
        }
        Ctl::KernelShmRmidForced => return Some(CtlValue::ints(&[0])),
        _ => {}
    }
    let value = match limit(&ns, ctl)? {
        Limit::Count(limit) => limit.load(Ordering::Relaxed) as u64,
        Limit::Size(limit) => limit.load(Ordering::Relaxed),
        Limit::Id(id) => return Some(CtlValue::ints(&[id.load(Ordering::Relaxed).into()])),
    };
    Some(CtlValue::Ints(vec![i128::from(value)]))
}

/// Sets a limit; false for what is none of these. EINVAL, ERANGE.
pub fn set(ctl: Ctl, value: &CtlValue) -> Result<bool> {
    let Some(ns) = namespace() else {
        return Ok(false);
    };
    if ctl == Ctl::KernelSem {
        let CtlValue::Ints(new) = value else {
            return Err(Errno::EINVAL);
        };
        for (limit, new) in semaphore_limits(&ns).into_iter().zip(new) {
            let new = usize::try_from(*new).map_err(|_| Errno::ERANGE)?;
            limit.store(new, Ordering::Relaxed);
        }
        return Ok(true);
    }
    let Some(limit) = limit(&ns, ctl) else {
        return Ok(false);
    };
    let CtlValue::Ints(new) = value else {
        return Err(Errno::EINVAL);
    };
    let new = *new.first().ok_or(Errno::EINVAL)?;
    match limit {
        Limit::Count(limit) => {
            let new = usize::try_from(new).map_err(|_| Errno::EINVAL)?;
            limit.store(new, Ordering::Relaxed);
        }
        Limit::Id(id) => {
            let new = i32::try_from(new).map_err(|_| Errno::EINVAL)?;
            id.store(new, Ordering::Relaxed);
        }
        Limit::Size(limit) => {
            let new = u64::try_from(new).map_err(|_| Errno::EINVAL)?;
            limit.store(new, Ordering::Relaxed);
        }
    }
    Ok(true)
}
