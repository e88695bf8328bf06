//! A thread as a mount of procfs shows it: [`keel_procfs::Task`] over [`Thread`] and its process.
//!
//! [`TaskRef`] holds weak references only, since inodes keep it: it looks its thread up at each question. The parts:
//! `stat` (state, times, status), `memory` (areas, usage, contents), `files` (descriptors, links, mounts).

mod files;
mod memory;
mod stat;

use core::any::Any;
use core::sync::atomic::Ordering;
use keel_procfs::{
    Access, FdInfo, IoCounters, Limit, Mount, Namespace, Net, Stat, Statm, Status, Task, TaskLink,
    Text, Vma, VmaUsage,
};

use crate::mm::AddressSpace;
use crate::prelude::*;
use crate::process::{self, Cap, Process, Thread, pid, ptrace};

pub use files::{dev_no, shown as shown_path};

/// A thread, which may be gone by now.
pub struct TaskRef {
    tid: u32,
    pid: u32,
    process: Weak<Process>,
    /// The thread itself; the leader of a process is asked of the process, since exec can exchange it.
    thread: Weak<Thread>,
}

impl TaskRef {
    /// The thread with this number, or the process if its first thread has gone.
    pub fn find(tid: u32) -> Option<Self> {
        if let Some(process) = pid::find(tid) {
            let leader = process.leader()?;
            let thread = Arc::downgrade(&leader);
            return Some(Self {
                tid,
                pid: tid,
                process: Arc::downgrade(&process),
                thread,
            });
        }
        let thread = pid::find_thread(tid)?;
        Some(Self {
            tid,
            pid: thread.process.pid,
            process: Arc::downgrade(&thread.process),
            thread: Arc::downgrade(&thread),
        })
    }

    /// The task behind the trait, as this module made it.
    pub fn of(task: &dyn Task) -> Option<&Self> {
        task.as_any().downcast_ref()
    }

    /// Its process: ESRCH.
    pub fn process(&self) -> Result<Arc<Process>> {
        self.process.upgrade().ok_or(Errno::ESRCH)
    }

    /// The thread: ESRCH. A zombie's first thread stays until it is reaped.
    pub fn thread(&self) -> Result<Arc<Thread>> {
        if self.tid == self.pid {
            return self.process()?.leader().ok_or(Errno::ESRCH);
        }
        self.thread.upgrade().ok_or(Errno::ESRCH)
    }

    fn mm(&self) -> Result<Option<Arc<AddressSpace>>> {
        Ok(self.thread()?.mm_opt())
    }

    fn is_self(&self) -> bool {
        process::current_opt().is_some_and(|me| me.process.pid == self.pid)
    }

    fn permitted(&self) -> bool {
        self.allow(Access::Read).is_ok()
    }
}

impl Task for TaskRef {
    fn tid(&self) -> u32 {
        self.tid
    }

    fn tgid(&self) -> u32 {
        self.pid
    }

    fn alive(&self) -> bool {
        if self.tid == self.pid {
            let found = pid::find(self.pid);
            return found.is_some_and(|p| core::ptr::eq(Arc::as_ptr(&p), self.process.as_ptr()));
        }
        let found = pid::find_thread(self.tid);
        found.is_some_and(|t| core::ptr::eq(Arc::as_ptr(&t), self.thread.as_ptr()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn owner(&self) -> (u32, u32) {
        const DUMPABLE: u32 = 1;
        match self.process() {
            Ok(process) if process.dumpable.load(Ordering::Relaxed) == DUMPABLE => {
                self.effective_ids()
            }
            _ => (0, 0),
        }
    }

    fn effective_ids(&self) -> (u32, u32) {
        self.thread().map_or((0, 0), |thread| {
            let cred = thread.cred();
            (cred.euid, cred.egid)
        })
    }

    fn allow(&self, _access: Access) -> Result<()> {
        let target = self.thread()?;
        match process::current_opt() {
            Some(me) if !ptrace::may_access(&me, &target) => Err(Errno::EACCES),
            _ => Ok(()),
        }
    }

    fn next_thread(&self, from: u32) -> Option<u32> {
        let process = self.process().ok()?;
        let mut tids: Vec<u32> = process
            .threads()
            .iter()
            .map(|thread| thread.tid())
            .collect();
        // A zombie's first thread is listed until it is reaped.
        tids.extend(process.leader().map(|leader| leader.tid()));
        tids.into_iter().filter(|tid| *tid >= from).min()
    }

    fn thread_count(&self) -> u32 {
        self.process()
            .map_or(0, |process| process.thread_count().max(1) as u32)
    }

    fn stat(&self, whole: bool) -> Result<Stat> {
        stat::stat(self, whole)
    }

    fn statm(&self) -> Result<Statm> {
        memory::statm(self)
    }

    fn status(&self) -> Result<Status> {
        stat::status(self)
    }

    fn comm(&self) -> Result<Vec<u8>> {
        Ok(stat::comm(&*self.thread()?))
    }

    fn set_comm(&self, comm: &[u8]) -> Result<()> {
        if !self.is_self() {
            return Err(Errno::EINVAL);
        }
        self.thread()?.set_comm(comm);
        Ok(())
    }

    fn cmdline(&self, out: &mut Text) -> Result<()> {
        memory::cmdline(self, out)
    }

    fn environ(&self, out: &mut Text) -> Result<()> {
        memory::environ(self, out)
    }

    fn auxv(&self, out: &mut Text) -> Result<()> {
        let auxv = self.process()?.auxv.lock().clone();
        auxv.iter()
            .try_for_each(|word| out.bytes(&word.to_le_bytes()))
    }

    fn path(&self, link: TaskLink) -> Result<Vec<u8>> {
        Ok(files::shown(&self.place(link)?))
    }

    fn vmas(&self, visit: &mut dyn FnMut(&Vma<'_>) -> Result<()>) -> Result<()> {
        memory::vmas(self, visit)
    }

    fn smaps(&self, visit: &mut dyn FnMut(&Vma<'_>, &VmaUsage) -> Result<()>) -> Result<()> {
        memory::smaps(self, visit)
    }

    fn mem_read(&self, addr: u64, out: &mut [u8]) -> Result<usize> {
        memory::read(self, addr, out)
    }

    fn mem_write(&self, addr: u64, data: &[u8]) -> Result<usize> {
        memory::write(self, addr, data)
    }

    fn pagemap(&self, first: u64, out: &mut [u64]) -> Result<usize> {
        memory::pagemap(self, first, out)
    }

    fn clear_refs(&self, what: u32) -> Result<()> {
        memory::clear_refs(self, what)
    }

    fn next_fd(&self, from: u32) -> Option<u32> {
        let next = self.thread().ok()?.files().next_open(from as usize)?;
        u32::try_from(next).ok()
    }

    fn fd_count(&self) -> u32 {
        self.thread()
            .map_or(0, |thread| thread.files().open_count() as u32)
    }

    fn fd_path(&self, fd: u32) -> Result<Vec<u8>> {
        Ok(files::shown(&self.file(fd)?.path))
    }

    fn fd_mode(&self, fd: u32) -> Result<(bool, bool)> {
        let file = self.file(fd)?;
        Ok((file.readable(), file.writable()))
    }

    fn fd_info(&self, fd: u32) -> Result<FdInfo> {
        self.describe_fd(fd)
    }

    fn limits(&self) -> Result<[Limit; 16]> {
        let process = self.process()?;
        Ok(core::array::from_fn(|number| {
            process
                .rlimits
                .get(number)
                .map_or(Limit::default(), |limit| Limit {
                    soft: limit.soft,
                    hard: limit.hard,
                })
        }))
    }

    fn io(&self, whole: bool) -> Result<IoCounters> {
        stat::io(self, whole)
    }

    fn mounts(&self) -> Result<Vec<Mount>> {
        self.list_mounts()
    }

    fn oom_score(&self) -> Result<u32> {
        stat::oom_score(&*self.process()?)
    }

    fn oom_score_adj(&self) -> Result<i32> {
        Ok(self.process()?.oom_score_adj())
    }

    fn set_oom_score_adj(&self, adj: i32) -> Result<()> {
        let process = self.process()?;
        let lowers = adj < process.oom_score_adj();
        let privileged = process::current_opt().is_none_or(|me| me.cred().has(Cap::SYS_RESOURCE));
        if lowers && !privileged {
            return Err(Errno::EACCES);
        }
        process.set_oom_score_adj(adj);
        Ok(())
    }

    fn coredump_filter(&self) -> Result<u32> {
        Ok(self.process()?.coredump_filter.load(Ordering::Relaxed))
    }

    fn set_coredump_filter(&self, filter: u32) -> Result<()> {
        const BITS: u32 = 0x1ff;
        self.process()?
            .coredump_filter
            .store(filter & BITS, Ordering::Relaxed);
        Ok(())
    }

    fn wchan(&self) -> Result<Option<String>> {
        self.thread().map(|_| None)
    }

    fn personality(&self) -> Result<u32> {
        Ok(self.thread()?.personality.load(Ordering::Relaxed))
    }

    fn timer_slack(&self) -> Result<u64> {
        self.check_slack()?;
        Ok(self.thread()?.timer_slack.load(Ordering::Relaxed))
    }

    fn set_timer_slack(&self, ns: u64) -> Result<()> {
        self.check_slack()?;
        self.thread()?.set_timer_slack(ns);
        Ok(())
    }

    fn children(&self) -> Result<Vec<u32>> {
        stat::children(self)
    }

    fn namespace(&self, ns: Namespace) -> Result<u64> {
        super::ns::number(&*self.thread()?, ns)
    }

    fn net(&self) -> Result<Arc<dyn Net>> {
        Ok(Arc::new(super::net::Network))
    }
}

impl TaskRef {
    /// The timer slack of others is for CAP_SYS_NICE: EPERM.
    fn check_slack(&self) -> Result<()> {
        match process::current_opt() {
            Some(me) if me.tid() != self.tid => me.cred().require(Cap::SYS_NICE),
            _ => Ok(()),
        }
    }
}
