//! The magic SysRq keys: what to ask of a kernel that does not answer (Linux's admin-guide/sysrq).
//!
//! They come from `/proc/sysrq-trigger` or after a break on a serial console, and a kernel thread does what they ask,
//! since an interrupt must not take the locks that this needs. The same thread looks for tasks that sleep for
//! [`HUNG_NS`] where no signal wakes them, and prints where.

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};

use keel_hal::panic::symbol;
use keel_hal::task::Task;

use crate::prelude::*;
use crate::process::{self, pid};
use crate::sched;
use crate::time::NSEC_PER_SEC;

/// How long a task may sleep uninterruptibly before it is reported (`kernel.hung_task_timeout_secs`).
const HUNG_NS: u64 = 120 * NSEC_PER_SEC;
/// Tasks that are reported at most (`kernel.hung_task_warnings`).
const HUNG_REPORTS: u32 = 10;
/// How often the thread looks.
const INTERVAL_NS: u64 = 30 * NSEC_PER_SEC;
/// Frames that are shown of a stack.
const FRAMES: usize = 24;

/// Keys that wait for the thread, as a set of ASCII codes below 64 + 64.
static WANTED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
static WAKE: WaitQueue = WaitQueue::new();

/// Asks for what `key` stands for. From any context.
pub fn ask(key: u8) {
    if let Some(word) = WANTED.get(usize::from(key / 64)) {
        word.fetch_or(1 << (key % 64), Ordering::AcqRel);
        WAKE.wake_all();
    }
}

fn next_key() -> Option<u8> {
    for (index, word) in WANTED.iter().enumerate() {
        let keys = word.load(Ordering::Acquire);
        if keys != 0 {
            let bit = keys.trailing_zeros();
            word.fetch_and(!(1 << bit), Ordering::AcqRel);
            return u8::try_from(index * 64 + bit as usize).ok();
        }
    }
    None
}

/// Starts the thread.
pub fn init() {
    sched::spawn_kthread("sysrq", || {
        let mut watch = Watch::default();
        loop {
            let deadline = keel_hal::time::now() + INTERVAL_NS;
            match WAKE.wait(SleepMode::Uninterruptible, Some(deadline), next_key) {
                Ok(key) => run(key),
                Err(_) => watch.look(),
            }
        }
    });
}

fn run(key: u8) {
    match key {
        b'b' => {
            log::warn!("sysrq: Resetting");
            keel_hal::power::reboot();
        }
        b'c' => panic!("sysrq triggered crash"),
        b'e' => kill_all(15),
        b'i' => kill_all(9),
        b'm' => show_memory(),
        b'o' => {
            log::warn!("sysrq: Power Off");
            keel_hal::power::off();
        }
        b's' => {
            log::warn!("sysrq: Emergency Sync");
            crate::fs::sync();
            log::warn!("Emergency Sync complete");
        }
        b't' => {
            log::warn!("sysrq: Show State");
            show_tasks(&|_| true);
        }
        b'w' => {
            log::warn!("sysrq: Show Blocked State");
            show_tasks(&is_blocked);
        }
        _ => log::warn!(
            "sysrq: HELP : reboot(b) crash(c) terminate-all-tasks(e) kill-all-tasks(i) show-memory-usage(m) \
             poweroff(o) sync(s) show-task-states(t) show-blocked-tasks(w)"
        ),
    }
}

/// A task as it is shown: with its number, or 0 for the kernel's own.
struct Shown {
    tid: u32,
    name: String,
    task: Arc<Task>,
}

fn all_tasks() -> Vec<Shown> {
    let mut all = Vec::new();
    for task in sched::kthreads() {
        let name = task.name().into();
        all.push(Shown { tid: 0, name, task });
    }
    for process in pid::all() {
        for thread in process.threads() {
            let Some(task) = thread.task() else { continue };
            all.push(Shown {
                tid: thread.tid(),
                name: thread.comm(),
                task,
            });
        }
    }
    all
}

fn is_blocked(task: &Task) -> bool {
    task.sleep_mode() == Some(SleepMode::Uninterruptible)
}

fn state(task: &Task) -> char {
    match task.sleep_mode() {
        None if task.on_cpu() => 'R',
        None => 'r',
        Some(SleepMode::Interruptible) => 'S',
        Some(_) => 'D',
    }
}

fn show_tasks(wanted: &dyn Fn(&Task) -> bool) {
    for shown in all_tasks() {
        // The kernel's own threads sleep like this by habit.
        if wanted(&shown.task) {
            show(&shown);
        }
    }
}

fn show(shown: &Shown) {
    let task = &shown.task;
    log::warn!(
        "task:{:<16} state:{} pid:{:<6} cpu:{}",
        shown.name,
        state(task),
        shown.tid,
        task.cpu()
    );
    let mut addresses = [0; FRAMES];
    let n = task.backtrace(&mut addresses);
    for address in addresses.iter().take(n) {
        let mut line = String::new();
        // Writing to a string does not fail.
        let _ = match symbol(*address) {
            Some((name, offset)) => write!(line, " {name}+{offset:#x}"),
            None => write!(line, " {address:#x}"),
        };
        log::warn!("{line}");
    }
}

fn show_memory() {
    let frames = keel_hal::frame::stats();
    let cache = crate::fs::page_cache::stats();
    log::warn!(
        "sysrq: Show Memory: frames {frames:?}; page cache {cache:?}; {} processes, {} threads",
        pid::process_count(),
        pid::thread_count()
    );
}

/// Sends a signal to every process but init.
fn kill_all(signo: i32) {
    for process in pid::all() {
        if process.pid > 1 {
            process::signal::send_process(&process, process::signal::SigInfo::kernel(signo));
        }
    }
}

/// Looks for tasks that sleep too long.
#[derive(Default)]
struct Watch {
    /// What was asleep the last time: task, context switches then, since when.
    asleep: BTreeMap<u64, (u64, u64)>,
    reported: u32,
}

impl Watch {
    fn look(&mut self) {
        let now = keel_hal::time::now();
        let mut asleep = BTreeMap::new();
        for shown in all_tasks() {
            if shown.tid == 0 || !is_blocked(&shown.task) {
                continue;
            }
            let (voluntary, forced) = sched::entity(&shown.task).switches();
            let switches = voluntary + forced;
            let mut since = match self.asleep.get(&shown.task.id()) {
                Some((before, since)) if *before == switches => *since,
                _ => now,
            };
            if now - since >= HUNG_NS && self.reported < HUNG_REPORTS {
                self.reported += 1;
                log::error!(
                    "INFO: task {}:{} blocked for more than {} seconds.",
                    shown.name,
                    shown.tid,
                    (now - since) / NSEC_PER_SEC
                );
                show(&shown);
                since = now;
            }
            asleep.insert(shown.task.id(), (switches, since));
        }
        self.asleep = asleep;
    }
}
