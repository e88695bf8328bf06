//! The table of numbers: threads, processes, process groups and sessions.
//!
//! A number is in use while any of them has it. New numbers ascend and wrap at `pid_max`, as on Linux.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use hashbrown::HashMap;

use super::{Process, Thread};
use crate::prelude::*;

/// One more than the highest number (`kernel.pid_max`).
pub static PID_MAX: AtomicU32 = AtomicU32::new(32768);
/// After a wrap, numbers below this are left to daemons that started early, as on Linux.
const RESERVED: u32 = 300;
/// Forks since boot (`processes` in /proc/stat).
pub static FORKS: AtomicU64 = AtomicU64::new(0);
/// Most threads in the system (`kernel.threads-max`).
pub static THREADS_MAX: AtomicU32 = AtomicU32::new(32768);

#[derive(Default)]
struct Table {
    threads: HashMap<u32, Weak<Thread>>,
    processes: HashMap<u32, Arc<Process>>,
    groups: HashMap<u32, Vec<Weak<Process>>>,
    sessions: HashMap<u32, Vec<Weak<Process>>>,
    /// Numbers handed out whose thread is not in the table yet.
    reserved: BTreeSet<u32>,
    last: u32,
}

static TABLE: OnceLock<RwSpinLock<Table>> = OnceLock::new();

fn table() -> &'static RwSpinLock<Table> {
    TABLE.call_once(|| RwSpinLock::new(Table::default()))
}

impl Table {
    fn in_use(&self, pid: u32) -> bool {
        self.threads.contains_key(&pid)
            || self.processes.contains_key(&pid)
            || self.groups.contains_key(&pid)
            || self.sessions.contains_key(&pid)
            || self.reserved.contains(&pid)
    }
}

/// A number that nobody has; EAGAIN when all are taken or there are too many threads.
pub fn allocate() -> Result<u32> {
    let mut table = table().write();
    let max = PID_MAX.load(Ordering::Relaxed);
    let live = table.threads.len() + table.reserved.len();
    if live >= THREADS_MAX.load(Ordering::Relaxed) as usize {
        return Err(Errno::EAGAIN);
    }
    let mut pid = table.last;
    for _ in 0..max {
        pid = if pid + 1 >= max { RESERVED } else { pid + 1 };
        if !table.in_use(pid) {
            table.last = pid;
            table.reserved.insert(pid);
            return Ok(pid);
        }
    }
    Err(Errno::EAGAIN)
}

/// This number, if nobody has it (clone3(2), set_tid): EEXIST, EINVAL, EAGAIN with too many threads.
pub fn allocate_exactly(pid: u32) -> Result<u32> {
    let mut table = table().write();
    if pid == 0 || pid >= PID_MAX.load(Ordering::Relaxed) {
        return Err(Errno::EINVAL);
    }
    let live = table.threads.len() + table.reserved.len();
    if live >= THREADS_MAX.load(Ordering::Relaxed) as usize {
        return Err(Errno::EAGAIN);
    }
    if table.in_use(pid) {
        return Err(Errno::EEXIST);
    }
    table.reserved.insert(pid);
    Ok(pid)
}

/// Gives back a number from [`allocate`] that was not used.
pub fn release(pid: u32) {
    table().write().reserved.remove(&pid);
}

/// Enters a thread under its number.
pub fn insert_thread(thread: &Arc<Thread>) {
    let mut table = table().write();
    table.reserved.remove(&thread.tid());
    table.threads.insert(thread.tid(), Arc::downgrade(thread));
}

/// Takes a thread out.
pub fn remove_thread(tid: u32) {
    table().write().threads.remove(&tid);
}

/// Keeps the number of a thread that has ended taken until [`release`].
pub fn retire(tid: u32) {
    let mut table = table().write();
    table.threads.remove(&tid);
    table.reserved.insert(tid);
}

/// Enters a process with its group and session.
pub fn insert_process(process: &Arc<Process>) {
    let mut table = table().write();
    table.processes.insert(process.pid, process.clone());
    table
        .groups
        .entry(process.pgid())
        .or_default()
        .push(Arc::downgrade(process));
    table
        .sessions
        .entry(process.sid())
        .or_default()
        .push(Arc::downgrade(process));
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Takes a reaped process out.
pub fn remove_process(process: &Arc<Process>) {
    let gone = {
        let mut table = table().write();
        leave(&mut table.groups, process.pgid(), process);
        leave(&mut table.sessions, process.sid(), process);
        table.processes.remove(&process.pid)
    };
    drop(gone);
}

/// Moves a process to another group and session.
pub fn change_group(process: &Arc<Process>, pgid: u32, sid: u32) {
    let mut table = table().write();
    leave(&mut table.groups, process.pgid(), process);
    leave(&mut table.sessions, process.sid(), process);
    process.set_ids(pgid, sid);
    table
        .groups
        .entry(pgid)
        .or_default()
        .push(Arc::downgrade(process));
    table
        .sessions
        .entry(sid)
        .or_default()
        .push(Arc::downgrade(process));
}

fn leave(lists: &mut HashMap<u32, Vec<Weak<Process>>>, id: u32, process: &Arc<Process>) {
    if let Some(list) = lists.get_mut(&id) {
        list.retain(|member| !core::ptr::eq(member.as_ptr(), Arc::as_ptr(process)));
        if list.is_empty() {
            lists.remove(&id);
        }
    }
}

/// The process with this number; zombies included.
pub fn find(pid: u32) -> Option<Arc<Process>> {
    table().read().processes.get(&pid).cloned()
}

/// The living thread with this number.
pub fn find_thread(tid: u32) -> Option<Arc<Thread>> {
    table().read().threads.get(&tid)?.upgrade()
}

/// All processes by number.
pub fn all() -> Vec<Arc<Process>> {
    let mut all: Vec<_> = table().read().processes.values().cloned().collect();
    all.sort_unstable_by_key(|process| process.pid);
    all
}

/// The process with the lowest number from `from` on; zombies included.
pub fn next_from(from: u32) -> Option<Arc<Process>> {
    let table = table().read();
    let lowest = table.processes.keys().filter(|pid| **pid >= from).min()?;
    table.processes.get(lowest).cloned()
}

/// How many processes there are, zombies included.
pub fn process_count() -> usize {
    table().read().processes.len()
}

/// The members of a process group; empty if there is no such group.
pub fn pgrp_members(pgid: u32) -> Vec<Arc<Process>> {
    members(|table| table.groups.get(&pgid))
}

/// The members of a session.
pub fn session_members(sid: u32) -> Vec<Arc<Process>> {
    members(|table| table.sessions.get(&sid))
}

fn members(list: impl FnOnce(&Table) -> Option<&Vec<Weak<Process>>>) -> Vec<Arc<Process>> {
    let table = table().read();
    list(&table).map_or_else(Vec::new, |list| {
        list.iter().filter_map(Weak::upgrade).collect()
    })
}

/// Living threads in the system.
pub fn thread_count() -> usize {
    table().read().threads.len()
}

/// The number given out last (/proc/loadavg).
pub fn last() -> u32 {
    table().read().last
}
