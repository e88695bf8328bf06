//! Programs that the kernel itself starts, as root and outside of any session (`core_pattern` with a pipe).

use keel_abi::args::Fd;
use keel_hal::context::UserContext;
use keel_hal::task::Task;

use super::process::FAMILY;
use super::rlimit::{Limit, RLimits, Resource};
use super::signal::{ProcessSignals, ThreadSignals};
use super::thread::{TaskLink, ThreadParts, comm_from};
use super::{Cred, Process, Thread, exec, exit, pid, run};
use crate::fs::{FdTable, File, FsContext};
use crate::mm::AddressSpace;
use crate::prelude::*;
use crate::syscall::Ctx;

const SIGCHLD: i32 = 17;
/// What a helper that cannot be started ends with.
const NOT_STARTED: i32 = 127 << 8;

/// Starts a program with `stdin` as its only descriptor. It runs in init's namespaces, as a child of init. A program
/// that does not exist ends at once, which its pipe tells.
pub fn start(argv: Vec<Vec<u8>>, stdin: Arc<File>) -> Result<()> {
    let init = pid::find(1).ok_or(Errno::ESRCH)?;
    let ns = init.main_thread().ok_or(Errno::ESRCH)?.ns();
    let tid = pid::allocate()?;
    let thread = match build(tid, ns, stdin) {
        Ok(thread) => thread,
        Err(error) => {
            pid::release(tid);
            return Err(error);
        }
    };
    let link = Arc::new(TaskLink::default());
    link.0.call_once(|| thread.clone());
    let body = {
        let thread = thread.clone();
        Box::new(move || life(thread, &argv))
    };
    let Some(task) = Task::new("helper", link, body) else {
        drop(thread.replace_mm(None));
        pid::release(tid);
        return Err(Errno::ENOMEM);
    };
    task.set_page_table(Some(thread.mm().table().clone()));
    thread.adopt_task(task.clone());
    thread.process.adopt_thread(&thread);
    pid::insert_thread(&thread);
    {
        let _family = FAMILY.lock();
        thread.process.set_parent(&init);
        pid::insert_process(&thread.process);
    }
    task.wake();
    Ok(())
}

fn build(tid: u32, ns: Arc<super::nsproxy::NsProxy>, stdin: Arc<File>) -> Result<Arc<Thread>> {
    let rlimits = RLimits::initial();
    // A helper's own crash is not dumped to a helper.
    let no_helper = Limit { soft: 1, hard: 1 };
    rlimits.set(Resource::Core as usize, no_helper, true)?;
    let process = Process::new(tid, tid, tid, ProcessSignals::new(), rlimits, SIGCHLD);
    process.leave_session();
    let files = FdTable::empty();
    files.install_at(Fd(0), stdin, false)?;
    let parts = ThreadParts {
        mm: AddressSpace::new()?,
        files,
        fs: FsContext::at_root_of(&ns.mnt),
        cred: Arc::new(Cred::root()),
        ns,
        comm: comm_from(b"helper"),
        signals: ThreadSignals::new(),
    };
    Ok(Thread::new(tid, process, parts))
}

fn life(thread: Arc<Thread>, argv: &[Vec<u8>]) {
    let mut user = UserContext {
        orig_rax: u64::MAX,
        ..UserContext::default()
    };
    let env: [Vec<u8>; 2] = [
        b"HOME=/".to_vec(),
        b"PATH=/sbin:/bin:/usr/sbin:/usr/bin".to_vec(),
    ];
    let path = argv.first().cloned().unwrap_or_default();
    let mut cx = Ctx {
        thread: &thread,
        user: &mut user,
    };
    if let Err(error) = exec::exec_init(&mut cx, &path, argv, &env) {
        log::debug!("helper program cannot be started: {error:?}");
        exit::do_exit(&thread, NOT_STARTED);
    }
    run::user_loop(thread, user);
}
