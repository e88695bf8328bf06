//! Tasks: threads of control in the kernel, each with a kernel stack, and everything that is
//! switched with them (extended registers, user segment bases, breakpoints, address space).
//!
//! Which task runs where is the kernel's choice ([`crate::Hooks`]); this module keeps the machine
//! and the memory safe under any choice. A task's life is in one atomic word, `state`:
//!
//! * the sleep mode announced by [`prepare_sleep`], or running, new, dead;
//! * `ON_CPU` from the moment a CPU switches to it until that CPU has left its stack;
//! * `PARKED` once [`schedule`] has committed to the sleep: before that, a wake-up only takes the
//!   announcement back; after it, the waker makes the task runnable again;
//! * `WAKE_PENDING` for a wake-up between `PARKED` and the end of the switch: the CPU that leaves
//!   the task enqueues it then. So nobody ever waits for another CPU's switch to wake a task;
//! * `HELD` while another CPU reads or changes registers of a task that does not run.
//!
//! A task that was started owns a reference to itself until it exits. Exited tasks are freed
//! where no lock is held: before some task returns to user mode, or by a task of their own.

mod access;
mod life;
mod ports;
mod switch;

use alloc::{boxed::Box, sync::Arc};
use core::{
    any::Any,
    cell::{Cell, UnsafeCell},
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

use spin::Once;

use crate::{
    cpu::local,
    fpu::Area,
    hooks::{EnqueueFlags, hooks},
    irq,
    paging::{KernelStack, PageTable},
};

pub use access::Refused;
pub(crate) use access::{note_debug_status, take_debug_status};
pub(crate) use life::{
    before_user, idle_loop, init_boot, new_idle, run_first, set_current_idle, stack_overflow_at,
};
pub use life::{exit, idle};
pub use ports::{PORTS, PortMap};
pub(crate) use switch::prepare_user;
pub use switch::{cond_resched, schedule, yield_now};

/// Bytes of a kernel stack.
pub(crate) const STACK_SIZE: usize = 32 << 10;

/// How a sleeping task can be woken besides by [`Task::wake`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SleepMode {
    /// Also by [`Task::interrupt`] and [`Task::kill`].
    Interruptible,
    /// Also by [`Task::kill`].
    Killable,
    /// By nothing else.
    Uninterruptible,
}

// The state word: what the task does ...
const DOING: u32 = 7;
const RUNNING: u32 = 0;
const INTERRUPTIBLE: u32 = 1;
const KILLABLE: u32 = 2;
const UNINTERRUPTIBLE: u32 = 3;
const NEW: u32 = 4;
const DEAD: u32 = 5;
// ... and where the switching stands.
const ON_CPU: u32 = 1 << 8;
const PARKED: u32 = 1 << 9;
const WAKE_PENDING: u32 = 1 << 10;
const HELD: u32 = 1 << 11;

// Flags.
const FLAG_INTERRUPT: u32 = 1;
const FLAG_KILL: u32 = 1 << 1;
const FLAG_IDLE: u32 = 1 << 2;
/// A breakpoint was hit in the kernel.
const FLAG_DEBUG: u32 = 1 << 3;

/// No CPU holds the task's extended registers.
const NO_CPU: u32 = u32::MAX;

/// Hardware breakpoints of a task.
#[derive(Clone, Copy, Default)]
struct DebugRegs {
    addrs: [u64; 4],
    dr6: u64,
    dr7: u64,
}

/// A thread of control in the kernel, with its own stack.
pub struct Task {
    state: AtomicU32,
    flags: AtomicU32,
    cpu: AtomicUsize,
    id: u64,
    /// It has announced to sleep and not called [`schedule`] since.
    announced: Cell<bool>,
    /// The stack pointer while it does not run.
    rsp: UnsafeCell<usize>,
    fs_base: AtomicU64,
    gs_base: AtomicU64,
    /// The CPU that loaded its extended registers last.
    fpu_cpu: Cell<u32>,
    /// They may have changed since they were saved.
    fpu_dirty: Cell<bool>,
    fpu: Area,
    page_table: UnsafeCell<Option<Arc<PageTable>>>,
    debug: Cell<DebugRegs>,
    /// Its user mode may not read the time stamp counter.
    tsc_disabled: AtomicBool,
    /// The I/O ports that its user mode may use.
    ports: UnsafeCell<Option<Arc<ports::PortMap>>>,
    /// Ticks of the TSC that it ran, up to its last switch.
    run_tsc: AtomicU64,
    /// TSC when it was switched to.
    switched_in: AtomicU64,
    /// Timer interrupts that found it in user mode and in the kernel.
    user_samples: AtomicU32,
    kernel_samples: AtomicU32,
    /// What `cpu_time` told last, so that neither part ever goes back.
    told: crate::sync::IrqLock<(u64, u64)>,
    entry: UnsafeCell<Option<Box<dyn FnOnce() + Send>>>,
    data: Arc<dyn Any + Send + Sync>,
    sched: Once<Box<dyn Any + Send + Sync>>,
    name: Box<str>,
    stack: Option<KernelStack>,
    /// Next in the list of exited tasks.
    next_dead: Cell<*const Task>,
}

// SAFETY: the cells are accessed only by the CPU that runs the task or switches it, or by the holder
// of `HELD`, which excludes running; `entry` by the first run only. The rest is Sync by itself.
unsafe impl Sync for Task {}
// SAFETY: what it owns is Send: the entry closure, the data, the page table; raw pointers are to
// tasks, which live until they are taken out of the list they are in.
unsafe impl Send for Task {}

impl Task {
    /// The kernel's own data of this task.
    pub fn data(&self) -> &Arc<dyn Any + Send + Sync> {
        &self.data
    }

    /// The name given to [`Task::new`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A number that no other task ever has; not 0.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The CPU that runs it, or ran it last, or was set.
    pub fn cpu(&self) -> usize {
        self.cpu.load(Ordering::Relaxed)
    }

    /// Sets the CPU; for the scheduler, while it is not running.
    pub fn set_cpu(&self, cpu: usize) {
        self.cpu.store(cpu, Ordering::Relaxed);
    }

    /// Whether some CPU runs it or has not finished switching away from it.
    pub fn on_cpu(&self) -> bool {
        self.state.load(Ordering::Acquire) & ON_CPU != 0
    }

    /// Whether it is an idle task.
    pub fn is_idle(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & FLAG_IDLE != 0
    }

    /// Whether it is running or waiting for a CPU.
    pub fn is_runnable(&self) -> bool {
        self.state.load(Ordering::Relaxed) & DOING == RUNNING
    }

    /// Whether it has exited.
    pub fn is_dead(&self) -> bool {
        self.state.load(Ordering::Acquire) & DOING == DEAD
    }

    /// The mode in which it sleeps, if it does.
    pub fn sleep_mode(&self) -> Option<SleepMode> {
        match self.state.load(Ordering::Relaxed) & DOING {
            INTERRUPTIBLE => Some(SleepMode::Interruptible),
            KILLABLE => Some(SleepMode::Killable),
            UNINTERRUPTIBLE => Some(SleepMode::Uninterruptible),
            _ => None,
        }
    }

    /// Sets the scheduler's entity; the first call counts.
    pub fn set_sched(&self, entity: Box<dyn Any + Send + Sync>) {
        self.sched.call_once(|| entity);
    }

    /// The scheduler's entity.
    pub fn sched(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.sched.get().map(|entity| &**entity)
    }

    /// Wakes it from sleep in any mode, or starts it. Returns whether this call did. Safe in
    /// interrupts. What was written before is seen by the task when it checks its condition again.
    pub fn wake(self: &Arc<Self>) -> bool {
        self.wake_from(1 << INTERRUPTIBLE | 1 << KILLABLE | 1 << UNINTERRUPTIBLE | 1 << NEW)
    }

    /// Sets the interrupt flag, wakes it if interruptible, makes it leave user mode.
    pub fn interrupt(self: &Arc<Self>) {
        self.flags.fetch_or(FLAG_INTERRUPT, Ordering::SeqCst);
        if !self.wake_from(1 << INTERRUPTIBLE) {
            self.leave_user_mode();
        }
    }

    /// Sets the interrupt and kill flags, wakes it if interruptible or killable.
    pub fn kill(self: &Arc<Self>) {
        self.flags
            .fetch_or(FLAG_INTERRUPT | FLAG_KILL, Ordering::SeqCst);
        if !self.wake_from(1 << INTERRUPTIBLE | 1 << KILLABLE) {
            self.leave_user_mode();
        }
    }

    /// Clears the interrupt flag.
    pub fn clear_interrupt(&self) {
        self.flags.fetch_and(!FLAG_INTERRUPT, Ordering::SeqCst);
    }

    /// Whether the interrupt flag is set.
    pub fn interrupted(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & FLAG_INTERRUPT != 0
    }

    /// Whether the kill flag is set.
    pub fn killed(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & FLAG_KILL != 0
    }

    /// If it runs on another CPU, interrupts that CPU, so that it looks at the flags before it goes
    /// back to user mode.
    fn leave_user_mode(&self) {
        let cpu = self.cpu();
        if self.on_cpu() && cpu != local::id() {
            crate::cpu::kick(cpu);
        }
    }

    /// Makes it runnable if it does something in `from`, a set of `1 << state`.
    fn wake_from(self: &Arc<Self>, from: u32) -> bool {
        // The waker's stores come before the look at the state, as `prepare_sleep`'s store of the
        // state comes before the sleeper's look at the condition.
        fence(Ordering::SeqCst);
        loop {
            let old = self.state.load(Ordering::Relaxed);
            let doing = old & DOING;
            if from & 1 << doing == 0 || doing == RUNNING {
                return false;
            }
            if old & HELD != 0 {
                core::hint::spin_loop();
                continue;
            }
            let (new, enqueue) = match (old & PARKED != 0, old & ON_CPU != 0) {
                _ if doing == NEW => (RUNNING, Some(EnqueueFlags::NEW)),
                // It has only announced to sleep: it just goes on.
                (false, _) => (RUNNING | ON_CPU, None),
                // Its CPU has not left it yet, and will enqueue it.
                (true, true) => (RUNNING | ON_CPU | WAKE_PENDING, None),
                (true, false) => (RUNNING, Some(EnqueueFlags::WAKEUP)),
            };
            let won = self
                .state
                .compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed);
            if won.is_err() {
                continue;
            }
            if let Some(flags) = enqueue {
                if flags == EnqueueFlags::NEW {
                    // The task's reference to itself, dropped after it has exited.
                    core::mem::forget(Arc::clone(self));
                }
                enqueue_task(Arc::clone(self), flags);
            }
            return true;
        }
    }

    /// CPU time used: (user, system) in ns. The sum is exact; the split follows the samples of the
    /// timer interrupts, as on Linux with tick accounting.
    pub fn cpu_time(&self) -> (u64, u64) {
        let mut ticks = self.run_tsc.load(Ordering::Relaxed);
        if self.on_cpu() {
            let since = crate::time::read_tsc();
            ticks += since.saturating_sub(self.switched_in.load(Ordering::Relaxed));
        }
        let total = crate::time::tsc_to_ns(ticks);
        let user = u64::from(self.user_samples.load(Ordering::Relaxed));
        let kernel = u64::from(self.kernel_samples.load(Ordering::Relaxed));
        let system = match (user, kernel) {
            (_, 0) => 0,
            (0, _) => total,
            _ => (u128::from(total) * u128::from(kernel) / u128::from(user + kernel)) as u64,
        };
        let mut told = self.told.lock();
        let total = total.max(told.0 + told.1);
        let system = system.clamp(told.1, total - told.0);
        *told = (total - system, system);
        *told
    }
}

/// Hands a runnable task to the scheduler.
fn enqueue_task(task: Arc<Task>, flags: EnqueueFlags) {
    let _guard = irq::disable();
    match hooks() {
        Some(hooks) => hooks.enqueue(task, flags),
        None => panic!("a task became runnable before the scheduler was set"),
    }
}

/// Whether the running task, if there is one yet, may not read the time stamp counter in user mode.
fn creator_tsc_disabled() -> bool {
    // SAFETY: null or the running task, which stays while it runs.
    unsafe { local::current().as_ref() }.is_some_and(Task::tsc_disabled)
}

/// Counts a timer interrupt for the running task.
pub(crate) fn sample_cpu_time(from_user: bool) {
    // SAFETY: null or the running task, which stays while it runs.
    if let Some(task) = unsafe { local::current().as_ref() } {
        let samples = if from_user {
            &task.user_samples
        } else {
            &task.kernel_samples
        };
        samples.fetch_add(1, Ordering::Relaxed);
        if !task.is_idle() {
            local::local().samples[usize::from(!from_user)].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The running task.
pub struct Current {
    task: ManuallyDrop<Arc<Task>>,
    _not_send: PhantomData<*mut ()>,
}

impl Deref for Current {
    type Target = Arc<Task>;
    #[inline]
    fn deref(&self) -> &Arc<Task> {
        &self.task
    }
}

/// The running task.
#[inline]
pub fn current() -> Current {
    // SAFETY: the running task holds a reference to itself, and a `Current` cannot leave it.
    let task = unsafe { Arc::from_raw(local::current()) };
    Current {
        task: ManuallyDrop::new(task),
        _not_send: PhantomData,
    }
}

/// The running task's id, if there are tasks yet.
#[cfg(feature = "lockdep")]
pub(crate) fn try_current_id() -> Option<u64> {
    // SAFETY: null, or the running task, which holds a reference to itself.
    unsafe { local::current().as_ref() }.map(Task::id)
}

/// Announces that the current task is about to sleep. Check the condition after this, then
/// [`schedule`]; a wake-up in between makes `schedule` return. The announcement is ordered before
/// everything that follows.
pub fn prepare_sleep(mode: SleepMode) {
    let doing = match mode {
        SleepMode::Interruptible => INTERRUPTIBLE,
        SleepMode::Killable => KILLABLE,
        SleepMode::Uninterruptible => UNINTERRUPTIBLE,
    };
    let task = current();
    task.announced.set(true);
    task.state.swap(doing | ON_CPU, Ordering::SeqCst);
}

/// Takes [`prepare_sleep`] back.
pub fn cancel_sleep() {
    let task = current();
    task.announced.set(false);
    task.state.swap(RUNNING | ON_CPU, Ordering::SeqCst);
}
