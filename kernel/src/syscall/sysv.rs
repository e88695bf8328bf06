//! System V IPC: shared memory, semaphores, message queues (sysvipc(7)).

use core::sync::atomic::Ordering;
use keel_abi::prelude::*;
use keel_abi::types::{
    Msgbuf, Msginfo, MsqidDs, Sembuf, SemidDs, Seminfo, ShmInfo, ShmidDs, Shminfo, Timespec,
};

use super::Ctx;
use super::time::nanoseconds;
use crate::ipc::namespace::IpcNamespace;
use crate::ipc::sysv::sem::Question;
use crate::ipc::sysv::{GetRequest, READ, WRITE, msg, sem, shm};
use crate::mm::user::{UserAccess, read_bytes, write_bytes};
use crate::prelude::*;
use crate::process::Cap;

fn namespace(cx: &Ctx) -> Arc<IpcNamespace> {
    cx.thread.ns().ipc.clone()
}

fn get_request(key: IpcKey, flags: u32, limit: usize) -> GetRequest {
    GetRequest {
        key,
        create: flags & IpcFlags::CREAT.bits() != 0,
        exclusive: flags & IpcFlags::EXCL.bits() != 0,
        mode: flags & 0o777,
        limit,
    }
}

/// The command without the bit that says which layout old programs mean.
fn command(cmd: IpcCmd) -> IpcCmd {
    IpcCmd(cmd.0 & !keel_abi::types::IPC_64)
}

pub fn shmget(cx: &mut Ctx, key: IpcKey, size: usize, shmflg: ShmgetFlags) -> Result<i32> {
    let ns = namespace(cx);
    let limit = ns.shm.max_segments.load(Ordering::Relaxed);
    let request = get_request(key, shmflg.bits(), limit);
    let fits = |segment: &shm::Segment| {
        if size > segment.size {
            Err(Errno::EINVAL)
        } else {
            Ok(())
        }
    };
    let huge = shmflg.contains(ShmgetFlags::SHM_HUGETLB);
    let make = || {
        if huge {
            // As a Linux whose huge-page pool is empty.
            cx.thread.cred().require(Cap::IPC_LOCK)?;
            return Err(Errno::ENOMEM);
        }
        shm::create(&ns, cx.thread, key.0, size, request.mode)
    };
    let segment = ns.shm.table.get(&cx.thread.cred(), &request, fits, make)?;
    shm::register(&segment);
    Ok(segment.id)
}

pub fn shmat(cx: &mut Ctx, shmid: i32, shmaddr: UserAddr, shmflg: ShmFlags) -> Result<UserAddr> {
    let segment = namespace(cx).shm.table.find(shmid)?;
    let at = shm::attach(cx.thread, &segment, shmaddr.addr() as usize, shmflg)?;
    Ok(UserAddr(at as u64))
}

pub fn shmdt(cx: &mut Ctx, shmaddr: UserAddr) -> Result<()> {
    shm::detach(cx.thread, shmaddr.addr() as usize)
}

pub fn shmctl(cx: &mut Ctx, shmid: i32, cmd: IpcCmd, buf: UserPtr<ShmidDs>) -> Result<i32> {
    if cmd.0 < 0 || shmid < 0 {
        return Err(Errno::EINVAL);
    }
    let ns = namespace(cx);
    let (segments, cred) = (&ns.shm, cx.thread.cred());
    let table = &segments.table;
    match command(cmd) {
        IpcCmd::IPC_INFO => {
            let max = segments.max_segments.load(Ordering::Relaxed) as u64;
            buf.cast().write(&Shminfo {
                shmmax: segments.max_size.load(Ordering::Relaxed),
                shmmin: 1,
                shmmni: max,
                shmseg: max,
                shmall: segments.max_pages.load(Ordering::Relaxed),
                ..Shminfo::default()
            })?;
            Ok(table.highest())
        }
        IpcCmd::SHM_INFO => {
            let all = table.all();
            buf.cast().write(&ShmInfo {
                used_ids: all.len() as i32,
                shm_tot: segments.total_pages(),
                shm_rss: all.iter().map(shm::resident_pages).sum::<usize>() as u64,
                ..ShmInfo::default()
            })?;
            Ok(table.highest())
        }
        IpcCmd::IPC_STAT => {
            let segment = table.find(shmid)?;
            segment.check(&cred, READ)?;
            buf.write(&shm::status(&segment)).map(|()| 0)
        }
        IpcCmd::SHM_STAT | IpcCmd::SHM_STAT_ANY => {
            let segment = table.at(shmid)?;
            if command(cmd) == IpcCmd::SHM_STAT {
                segment.check(&cred, READ)?;
            }
            buf.write(&shm::status(&segment)).map(|()| segment.id)
        }
        IpcCmd::IPC_SET => {
            let new = buf.read()?;
            shm::set(&table.find(shmid)?, &cred, &new).map(|()| 0)
        }
        IpcCmd::IPC_RMID => shm::remove(segments, &table.find(shmid)?, &cred).map(|()| 0),
        IpcCmd::SHM_LOCK | IpcCmd::SHM_UNLOCK => {
            let lock = command(cmd) == IpcCmd::SHM_LOCK;
            shm::set_locked(cx.thread, &table.find(shmid)?, lock).map(|()| 0)
        }
        _ => Err(Errno::EINVAL),
    }
}

pub fn semget(cx: &mut Ctx, key: IpcKey, nsems: i32, semflg: IpcFlags) -> Result<i32> {
    let ns = namespace(cx);
    let sets = &ns.sem;
    let count = usize::try_from(nsems).map_err(|_| Errno::EINVAL)?;
    if count > sets.max_per_set.load(Ordering::Relaxed) {
        return Err(Errno::EINVAL);
    }
    let limit = sets.max_sets.load(Ordering::Relaxed);
    let request = get_request(key, semflg.bits(), limit);
    let fits = |set: &sem::Set| {
        if count > set.count {
            Err(Errno::EINVAL)
        } else {
            Ok(())
        }
    };
    let make = || {
        if count == 0 {
            return Err(Errno::EINVAL);
        }
        sem::Set::new(sets, count)
    };
    let set = sets.table.get(&cx.thread.cred(), &request, fits, make)?;
    Ok(set.id)
}

pub fn semop(cx: &mut Ctx, semid: i32, sops: UserPtr<Sembuf>, nsops: u32) -> Result<()> {
    semtimedop(cx, semid, sops, nsops, UserPtr::new(0))
}

pub fn semtimedop(
    cx: &mut Ctx,
    semid: i32,
    sops: UserPtr<Sembuf>,
    nsops: u32,
    timeout: UserPtr<Timespec>,
) -> Result<()> {
    let deadline = match timeout.read_if_given()? {
        Some(time) => Some(crate::time::monotonic_ns().saturating_add(nanoseconds(&time)?)),
        None => None,
    };
    let ns = namespace(cx);
    if nsops == 0 || semid < 0 {
        return Err(Errno::EINVAL);
    }
    if nsops as usize > ns.sem.max_operations.load(Ordering::Relaxed) {
        return Err(Errno::E2BIG);
    }
    let operations = sops.read_array(nsops as usize)?;
    let set = ns.sem.table.find(semid)?;
    sem::operate(cx.thread, &set, operations, deadline)
}

fn seminfo(sets: &sem::Sets, in_use: bool) -> Seminfo {
    let limit = |limit: &core::sync::atomic::AtomicUsize| limit.load(Ordering::Relaxed) as i32;
    let (all, operations) = (limit(&sets.max_semaphores), limit(&sets.max_operations));
    let (semusz, semaem) = if in_use {
        (sets.table.count() as i32, limit(&sets.semaphores))
    } else {
        (20, sem::VALUE_MAX)
    };
    Seminfo {
        semmap: all,
        semmni: limit(&sets.max_sets),
        semmns: all,
        semmnu: all,
        semmsl: limit(&sets.max_per_set),
        semopm: operations,
        semume: operations,
        semusz,
        semvmx: sem::VALUE_MAX,
        semaem,
    }
}

pub fn semctl(cx: &mut Ctx, semid: i32, semnum: i32, cmd: IpcCmd, arg: u64) -> Result<i32> {
    if semid < 0 {
        return Err(Errno::EINVAL);
    }
    let ns = namespace(cx);
    let (sets, cred) = (&ns.sem, cx.thread.cred());
    let table = &sets.table;
    let buf = UserPtr::<SemidDs>::new(arg);
    let cmd = command(cmd);
    match cmd {
        IpcCmd::IPC_INFO | IpcCmd::SEM_INFO => {
            let info = seminfo(sets, cmd == IpcCmd::SEM_INFO);
            buf.cast().write(&info)?;
            return Ok(table.highest());
        }
        IpcCmd::SEM_STAT | IpcCmd::SEM_STAT_ANY => {
            let set = table.at(semid)?;
            if cmd == IpcCmd::SEM_STAT {
                set.check(&cred, READ)?;
            }
            return buf.write(&sem::status(&set)).map(|()| set.id);
        }
        _ => {}
    }
    let set = table.find(semid)?;
    match cmd {
        IpcCmd::IPC_STAT => {
            set.check(&cred, READ)?;
            buf.write(&sem::status(&set)).map(|()| 0)
        }
        IpcCmd::IPC_SET => {
            let new = buf.read()?;
            sem::set(&set, &cred, &new).map(|()| 0)
        }
        IpcCmd::IPC_RMID => sem::remove(sets, &set, &cred).map(|()| 0),
        _ => sem_values(cx, &set, semnum, SemCmd(cmd.0), arg),
    }
}

/// The commands that only semctl(2) has.
fn sem_values(cx: &Ctx, set: &sem::SetObject, semnum: i32, cmd: SemCmd, arg: u64) -> Result<i32> {
    let cred = cx.thread.cred();
    let ask = |question| {
        set.check(&cred, READ)?;
        sem::ask(set, semnum, question)
    };
    match cmd {
        SemCmd::GETVAL => ask(Question::Value),
        SemCmd::GETPID => ask(Question::Pid),
        SemCmd::GETNCNT => ask(Question::WaitingForMore),
        SemCmd::GETZCNT => ask(Question::WaitingForZero),
        SemCmd::GETALL => {
            set.check(&cred, READ)?;
            let values = sem::values(set);
            UserPtr::<u16>::new(arg).write_array(&values).map(|()| 0)
        }
        SemCmd::SETVAL => {
            let value = arg as i32;
            if !(0..=sem::VALUE_MAX).contains(&value) {
                return Err(Errno::ERANGE);
            }
            set.check(&cred, WRITE)?;
            let at = usize::try_from(semnum).map_err(|_| Errno::EINVAL)?;
            sem::set_values(set, at, &[value]).map(|()| 0)
        }
        SemCmd::SETALL => {
            set.check(&cred, WRITE)?;
            let values = UserPtr::<u16>::new(arg).read_array(set.data.count)?;
            let values: Vec<i32> = values.iter().map(|value| i32::from(*value)).collect();
            sem::set_values(set, 0, &values).map(|()| 0)
        }
        _ => Err(Errno::EINVAL),
    }
}

pub fn msgget(cx: &mut Ctx, key: IpcKey, msgflg: IpcFlags) -> Result<i32> {
    let ns = namespace(cx);
    let queues = &ns.msg;
    let limit = queues.max_queues.load(Ordering::Relaxed);
    let request = get_request(key, msgflg.bits(), limit);
    let bytes = queues.max_bytes.load(Ordering::Relaxed);
    let make = || Ok(msg::Queue::new(bytes));
    let queue = queues
        .table
        .get(&cx.thread.cred(), &request, |_| Ok(()), make)?;
    Ok(queue.id)
}

pub fn msgsnd(
    cx: &mut Ctx,
    msqid: i32,
    msgp: UserPtr<Msgbuf>,
    msgsz: usize,
    msgflg: IpcFlags,
) -> Result<()> {
    let kind = msgp.read()?.mtype;
    let ns = namespace(cx);
    if msqid < 0 || kind < 1 || msgsz > ns.msg.max_size.load(Ordering::Relaxed) {
        return Err(Errno::EINVAL);
    }
    let text = read_bytes(msgp.addr().wrapping_add(size_of::<Msgbuf>() as u64), msgsz)?;
    let queue = ns.msg.table.find(msqid)?;
    let wait = !msgflg.contains(IpcFlags::NOWAIT);
    msg::send(&queue, &cx.thread.cred(), kind, text, wait)
}

pub fn msgrcv(
    cx: &mut Ctx,
    msqid: i32,
    msgp: UserPtr<Msgbuf>,
    msgsz: usize,
    msgtyp: i64,
    msgflg: MsgrcvFlags,
) -> Result<usize> {
    if msqid < 0 || msgsz > isize::MAX as usize {
        return Err(Errno::EINVAL);
    }
    if msgflg.contains(MsgrcvFlags::MSG_COPY)
        && (msgflg.contains(MsgrcvFlags::MSG_EXCEPT) || !msgflg.contains(MsgrcvFlags::IPC_NOWAIT))
    {
        return Err(Errno::EINVAL);
    }
    let queue = namespace(cx).msg.table.find(msqid)?;
    let wanted = msg::Wanted {
        kind: msgtyp,
        size: msgsz,
        flags: msgflg,
    };
    let (kind, text) = msg::receive(&queue, &cx.thread.cred(), &wanted)?;
    let len = text.len().min(msgsz);
    msgp.write(&Msgbuf { mtype: kind })?;
    write_bytes(
        msgp.addr().wrapping_add(size_of::<Msgbuf>() as u64),
        &text[..len],
    )?;
    Ok(len)
}

fn msginfo(queues: &msg::Queues, in_use: bool) -> Msginfo {
    let limit = |limit: &core::sync::atomic::AtomicUsize| limit.load(Ordering::Relaxed) as i32;
    let contents = queues.table.all();
    let (messages, bytes) = contents
        .iter()
        .map(|queue| queue.data.contents())
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    // What a Linux with its defaults says of pools that it does not have either.
    let (msgpool, msgmap, msgtql) = if in_use {
        (contents.len() as i32, messages as i32, bytes as i32)
    } else {
        (512_000, 16_384, 16_384)
    };
    Msginfo {
        msgpool,
        msgmap,
        msgmax: limit(&queues.max_size),
        msgmnb: limit(&queues.max_bytes),
        msgmni: limit(&queues.max_queues),
        msgssz: 16,
        msgtql,
        msgseg: 0xffff,
        ..Msginfo::default()
    }
}

pub fn msgctl(cx: &mut Ctx, msqid: i32, cmd: IpcCmd, buf: UserPtr<MsqidDs>) -> Result<i32> {
    if cmd.0 < 0 || msqid < 0 {
        return Err(Errno::EINVAL);
    }
    let ns = namespace(cx);
    let (queues, cred) = (&ns.msg, cx.thread.cred());
    let table = &queues.table;
    match command(cmd) {
        IpcCmd::IPC_INFO => {
            buf.cast().write(&msginfo(queues, false))?;
            return Ok(table.highest());
        }
        IpcCmd::IPC_STAT => {
            let queue = table.find(msqid)?;
            queue.check(&cred, READ)?;
            return buf.write(&msg::status(&queue)).map(|()| 0);
        }
        IpcCmd::IPC_SET => {
            let new = buf.read()?;
            return msg::set(queues, &table.find(msqid)?, &cred, &new).map(|()| 0);
        }
        IpcCmd::IPC_RMID => return msg::remove(queues, &table.find(msqid)?, &cred).map(|()| 0),
        _ => {}
    }
    match MsgCmd(command(cmd).0) {
        MsgCmd::MSG_INFO => {
            buf.cast().write(&msginfo(queues, true))?;
            Ok(table.highest())
        }
        any @ (MsgCmd::MSG_STAT | MsgCmd::MSG_STAT_ANY) => {
            let queue = table.at(msqid)?;
            if any == MsgCmd::MSG_STAT {
                queue.check(&cred, READ)?;
            }
            buf.write(&msg::status(&queue)).map(|()| queue.id)
        }
        _ => Err(Errno::EINVAL),
    }
}
