//! Birth and end of tasks, the idle tasks, and the first task.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    any::Any,
    arch::asm,
    cell::{Cell, UnsafeCell},
    ptr,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use spin::Once;

use super::{
    DEAD, FLAG_IDLE, NEW, NO_CPU, ON_CPU, RUNNING, STACK_SIZE, SleepMode, Task, current,
    prepare_sleep, schedule, switch,
};
use crate::{
    addr::PAGE_SIZE,
    cpu::{
        self,
        local::{self, CpuLocal, local},
    },
    fpu::Area,
    hooks::hooks,
    paging::KernelStack,
    sync::{IrqLock, SpinLock},
    time,
};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);
/// Stacks of exited tasks, since mapping new ones is slow.
static FREE_STACKS: SpinLock<Vec<KernelStack>> = SpinLock::new(Vec::new());
const MAX_FREE_STACKS: usize = 64;
/// Exited tasks that wait to be freed.
static DEAD_TASKS: AtomicPtr<Task> = AtomicPtr::new(ptr::null_mut());
/// Frees exited tasks when no task returns to user mode.
static REAPER: Once<Arc<Task>> = Once::new();

impl Task {
    /// Makes a task that will run `entry`; [`Task::wake`] starts it. `None` without memory.
    /// `data`'s destructor may run in any task that holds no lock.
    pub fn new(
        name: &str,
        data: Arc<dyn Any + Send + Sync>,
        entry: Box<dyn FnOnce() + Send>,
    ) -> Option<Arc<Task>> {
        let cached = FREE_STACKS.lock().pop();
        let stack = match cached {
            Some(stack) => stack,
            None => KernelStack::new(STACK_SIZE / PAGE_SIZE)?,
        };
        let rsp = first_frame(&stack);
        Some(Arc::new(Task {
            state: AtomicU32::new(NEW),
            flags: AtomicU32::new(0),
            cpu: AtomicUsize::new(cpu::id()),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            announced: Cell::new(false),
            rsp: UnsafeCell::new(rsp),
            fs_base: AtomicU64::new(0),
            gs_base: AtomicU64::new(0),
            fpu_cpu: Cell::new(NO_CPU),
            fpu_dirty: Cell::new(false),
            fpu: Area::new()?,
            page_table: UnsafeCell::new(None),
            debug: Cell::default(),
            // As its creator's.
            tsc_disabled: AtomicBool::new(super::creator_tsc_disabled()),
            ports: UnsafeCell::new(None),
            run_tsc: AtomicU64::new(0),
            switched_in: AtomicU64::new(0),
            user_samples: AtomicU32::new(0),
            kernel_samples: AtomicU32::new(0),
            told: IrqLock::new((0, 0)),
            entry: UnsafeCell::new(Some(entry)),
            data,
            sched: Once::new(),
            name: name.into(),
            stack: Some(stack),
            next_dead: Cell::new(ptr::null()),
        }))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(stack) = self.stack.take() {
            let mut free = FREE_STACKS.lock();
            if free.len() < MAX_FREE_STACKS && free.try_reserve(1).is_ok() {
                free.push(stack);
            } else {
                drop(free);
                drop(stack);
            }
        }
    }
}

/// Prepares a new stack for the first switch to it: six registers of zero and the address of
/// [`start`], above which a zero ends backtraces.
fn first_frame(stack: &KernelStack) -> usize {
    let top = stack.top() as *mut usize;
    // SAFETY: the stack is mapped, writable, larger than this, and nobody uses it.
    unsafe {
        top.sub(1).write(0);
        top.sub(2).write(start as *const () as usize);
        for i in 3..=8 {
            top.sub(i).write(0);
        }
        top.sub(8).addr()
    }
}

/// Where a new task comes to life.
extern "C" fn start() -> ! {
    switch::finish();
    // SAFETY: switches happen with interrupts off; a task starts with them on.
    unsafe { asm!("sti", options(nostack)) };
    // SAFETY: only the task itself, once, comes here.
    let entry = unsafe { (*current().entry.get()).take() };
    if let Some(entry) = entry {
        entry();
    }
    exit()
}

/// Ends the current task. It and its stack are freed when the last reference to it goes.
pub fn exit() -> ! {
    current().set_page_table(None);
    current().state.store(DEAD | ON_CPU, Ordering::Release);
    schedule();
    unreachable!("an exited task was run again")
}

/// Puts an exited task, whose stack nobody is on, into the list of those to be freed.
pub(super) fn bury(task: *const Task) {
    let mut head = DEAD_TASKS.load(Ordering::Relaxed);
    loop {
        // SAFETY: it lives by its reference to itself, which now belongs to the list.
        unsafe { (*task).next_dead.set(head) };
        let done = DEAD_TASKS.compare_exchange_weak(
            head,
            task.cast_mut(),
            Ordering::Release,
            Ordering::Relaxed,
        );
        match done {
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
}

/// Drops the references of exited tasks to themselves. Destructors run: no lock may be held.
fn reap() {
    let mut task = DEAD_TASKS
        .swap(ptr::null_mut(), Ordering::Acquire)
        .cast_const();
    while !task.is_null() {
        // SAFETY: taken from the list, so the reference is ours.
        let dead = unsafe { Arc::from_raw(task) };
        task = dead.next_dead.get();
    }
}

/// Called when a task goes to user mode: a place where it holds no lock.
#[inline]
pub(crate) fn before_user() {
    let cpu = local();
    assert!(
        cpu.preempt_count.get() | cpu.irq_depth.get() == 0,
        "returning to user mode with a spin lock held or interrupts off"
    );
    if !DEAD_TASKS.load(Ordering::Relaxed).is_null() {
        reap();
    }
}

fn reaper() {
    loop {
        reap();
        prepare_sleep(SleepMode::Uninterruptible);
        if DEAD_TASKS.load(Ordering::SeqCst).is_null() {
            schedule();
        } else {
            super::cancel_sleep();
        }
    }
}

/// The idle task of `cpu`, an online CPU.
pub fn idle(cpu: usize) -> Arc<Task> {
    let block = local::of(cpu).expect("idle task of a CPU that does not exist");
    let task = block.idle.load(Ordering::Acquire);
    assert!(!task.is_null(), "idle task of a CPU that is not online");
    // SAFETY: idle tasks live forever.
    unsafe {
        Arc::increment_strong_count(task);
        Arc::from_raw(task)
    }
}

/// Makes the idle task of the CPU of `block`.
pub(crate) fn new_idle(block: &CpuLocal) -> Option<&'static Task> {
    let task = Task::new("swapper", Arc::new(()), Box::new(|| idle_loop()))?;
    task.cpu.store(block.id.get() as usize, Ordering::Relaxed);
    task.flags.store(FLAG_IDLE, Ordering::Relaxed);
    task.state.store(RUNNING, Ordering::Relaxed);
    let task = Arc::into_raw(task);
    block.idle.store(task.cast_mut(), Ordering::Release);
    // SAFETY: never dropped.
    Some(unsafe { &*task })
}

impl Task {
    /// The top of its stack.
    pub(crate) fn stack_top(&self) -> usize {
        self.stack.as_ref().map_or(0, KernelStack::top)
    }
}

/// Declares that what this CPU runs is its idle task.
pub(crate) fn set_current_idle() {
    let cpu = local();
    let idle = cpu.idle.load(Ordering::Relaxed);
    // SAFETY: idle tasks live forever.
    unsafe { (*idle).state.store(RUNNING | ON_CPU, Ordering::Relaxed) };
    cpu.current.set(idle);
    cpu.switch_tsc.set(time::read_tsc());
}

/// What a CPU does when there is nothing to do.
pub(crate) fn idle_loop() -> ! {
    loop {
        while !cpu::need_resched() {
            if !DEAD_TASKS.load(Ordering::Relaxed).is_null()
                && let Some(reaper) = REAPER.get().filter(|_| hooks().is_some())
                && reaper.wake()
            {
                continue;
            }
            cpu::idle_wait();
        }
        if hooks().is_some() {
            schedule();
        } else {
            local().need_resched.store(0, Ordering::Relaxed);
        }
    }
}

/// Makes the boot CPU's idle task and lets it stand for the boot code until [`run_first`].
pub(crate) fn init_boot() {
    new_idle(local()).expect("no memory for the first task");
    set_current_idle();
}

/// Leaves the boot stack for the first task, which runs `main`.
pub(crate) fn run_first(main: fn() -> !) -> ! {
    if let Some(task) = Task::new("kreaper", Arc::new(()), Box::new(reaper)) {
        REAPER.call_once(|| task);
    }
    let first = Task::new("init", Arc::new(()), Box::new(move || main()));
    let first = Arc::into_raw(first.expect("no memory for the first task"));
    let cpu = local();
    // SAFETY: the reference that `into_raw` leaked is the task's own. The boot code never comes
    // back, so the stack pointer saved on the way out is not needed; the idle task, which stood for
    // it, starts at its own first frame when it is first switched to.
    unsafe {
        asm!("cli", options(nostack));
        (*cpu.current.get()).state.store(RUNNING, Ordering::Relaxed);
        (*first).state.store(RUNNING | ON_CPU, Ordering::Relaxed);
        (*first)
            .switched_in
            .store(time::read_tsc(), Ordering::Relaxed);
        cpu.current.set(first);
        let mut unused = 0;
        switch::start_first(&mut unused, *(*first).rsp.get());
    }
    unreachable!("the boot code was switched to")
}

/// Whether `addr` is in the guard page below the running task's stack.
pub(crate) fn stack_overflow_at(addr: usize) -> bool {
    // SAFETY: null or the running task.
    let task = unsafe { local::current().as_ref() };
    task.and_then(|task| task.stack.as_ref())
        .is_some_and(|stack| (stack.bottom() - PAGE_SIZE..stack.bottom()).contains(&addr))
}
