//! The first process: mounts the root, opens the console, runs init.

use keel_hal::context::UserContext;
use keel_hal::task::{self, Task};

use crate::fs::{self, FdTable, FsContext};
use crate::mm::AddressSpace;
use crate::prelude::*;
use crate::process::nsproxy::{NsProxy, UtsNamespace};
use crate::process::rlimit::RLimits;
use crate::process::signal::{ProcessSignals, ThreadSignals};
use crate::process::thread::{TaskLink, ThreadParts, comm_from};
use crate::process::{Cred, Process, Thread, exec, pid, run};
use crate::syscall::Ctx;
use crate::{cmdline, sched};

/// Where init is looked for when the command line names none (as Linux does).
const CANDIDATES: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];

/// Starts the first process and turns the boot context into nothing: the idle tasks run on.
pub fn start() -> ! {
    let root = fs::root::mount().unwrap_or_else(|why| panic!("{why}"));
    let thread = match first_thread(&root) {
        Ok(thread) => thread,
        Err(error) => panic!("cannot make the first process: {error:?}"),
    };
    let link = Arc::new(TaskLink::default());
    link.0.call_once(|| thread.clone());
    let body = {
        let thread = thread.clone();
        Box::new(move || first_process(thread))
    };
    let Some(first) = Task::new("init", link, body) else {
        panic!("no memory for the first process");
    };
    first.set_page_table(Some(thread.mm().table().clone()));
    thread.adopt_task(first.clone());
    thread.process.adopt_thread(&thread);
    pid::insert_thread(&thread);
    pid::insert_process(&thread.process);
    first.wake();
    housekeeping();
    task::exit()
}

fn first_thread(root: &Arc<fs::mount::MountNamespace>) -> Result<Arc<Thread>> {
    let tid = pid::allocate()?;
    let process = Process::new(tid, tid, tid, ProcessSignals::new(), RLimits::initial(), 17);
    // Init belongs to session and group 0, which have no members, until it calls setsid.
    process.leave_session();
    let parts = ThreadParts {
        mm: AddressSpace::new()?,
        files: FdTable::empty(),
        fs: FsContext::at_root_of(root),
        cred: Arc::new(Cred::root()),
        ns: Arc::new(NsProxy {
            mnt: root.clone(),
            uts: UtsNamespace::initial(),
            ipc: crate::ipc::namespace::IpcNamespace::initial(),
        }),
        comm: comm_from(b"init"),
        signals: ThreadSignals::new(),
    };
    Ok(Thread::new(tid, process, parts))
}

/// Runs in the first process's task: opens the console, finds init, becomes it.
fn first_process(thread: Arc<Thread>) {
    for _ in 0..3 {
        if let Err(error) = fs::open_console(&thread) {
            log::warn!("unable to open an initial console: {error:?}");
            break;
        }
    }
    let mut user = UserContext {
        orig_rax: u64::MAX,
        ..UserContext::default()
    };
    run_init(&thread, &mut user);
    run::user_loop(thread, user);
}

fn run_init(thread: &Arc<Thread>, user: &mut UserContext) {
    let line = cmdline::get();
    let mut env: Vec<Vec<u8>> = ["HOME=/", "TERM=linux"]
        .iter()
        .map(|word| word.as_bytes().to_vec())
        .collect();
    env.extend(line.init_env().map(|word| word.as_bytes().to_vec()));
    let option = if fs::root::is_initramfs() {
        "rdinit"
    } else {
        "init"
    };
    let wanted = line.value(option);
    let fallback = if fs::root::is_initramfs() {
        &["/init"][..]
    } else {
        &CANDIDATES[..]
    };
    let paths: Vec<&str> = wanted.map_or_else(|| fallback.to_vec(), |path| vec![path]);
    let mut last = Errno::ENOENT;
    for path in &paths {
        let mut argv = vec![path.as_bytes().to_vec()];
        argv.extend(line.init_args().map(|word| word.as_bytes().to_vec()));
        let mut cx = Ctx {
            thread,
            user: &mut *user,
        };
        log::info!("Run {path} as init process");
        match exec::exec_init(&mut cx, path.as_bytes(), &argv, &env) {
            Ok(()) => return,
            Err(error) => last = error,
        }
        if last != Errno::ENOENT {
            log::error!("Starting init: {path} exists but couldn't execute it (error {last:?})");
        }
    }
    match wanted {
        Some(path) => panic!("Requested init {path} failed (error {last:?})."),
        None => panic!("No working init found. Try passing init= option to kernel."),
    }
}

/// Kernel threads that run for as long as the machine does.
fn housekeeping() {
    if let Some(worker) = sched::spawn_kthread("timers", crate::time::posix_timer::run_worker) {
        sched::entity(&worker).set_policy(sched::Policy::Fifo, 50);
    }
    crate::device::sysrq::init();
    if let Some(worker) = sched::spawn_kthread("cpulimit", crate::process::cpu_limit::run_worker) {
        sched::entity(&worker).set_policy(sched::Policy::Fifo, 50);
    }
    sched::spawn_kthread("rcu", || keel_hal::sync::rcu::run_worker());
    sched::spawn_kthread("load", || {
        loop {
            crate::time::sleep_ns(sched::load::PERIOD_SECS * crate::time::NSEC_PER_SEC);
            sched::load::sample(sched::runnable());
            crate::time::vdso::update();
        }
    });
}
