//! Tasks: kernel threads of control.

use alloc::{boxed::Box, sync::Arc};
use core::{any::Any, marker::PhantomData, mem::ManuallyDrop, ops::Deref};

use crate::paging::PageTable;

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

/// A thread of control in the kernel, with its own stack.
pub struct Task {
    data: Arc<dyn Any + Send + Sync>,
}

impl Task {
    /// Makes a task that will run `entry`; [`Task::wake`] starts it. `None` without memory.
    pub fn new(_name: &str, _data: Arc<dyn Any + Send + Sync>, _entry: Box<dyn FnOnce() + Send>) -> Option<Arc<Task>> {
        todo!()
    }
    /// The kernel's own data of this task.
    pub fn data(&self) -> &Arc<dyn Any + Send + Sync> {
        &self.data
    }
    /// The name given to [`Task::new`].
    pub fn name(&self) -> &str {
        todo!()
    }
    /// A number that no other task ever has.
    pub fn id(&self) -> u64 {
        todo!()
    }
    /// The CPU that runs it, or ran it last, or was set.
    pub fn cpu(&self) -> usize {
        todo!()
    }
    /// Sets the CPU; for the scheduler, while it is not running.
    pub fn set_cpu(&self, _cpu: usize) {
        todo!()
    }
    /// Whether some CPU runs it or has not finished switching away from it.
    pub fn on_cpu(&self) -> bool {
        todo!()
    }
    /// Whether it is an idle task.
    pub fn is_idle(&self) -> bool {
        todo!()
    }
    /// Whether it is running or waiting for a CPU.
    pub fn is_runnable(&self) -> bool {
        todo!()
    }
    /// The mode in which it sleeps, if it does.
    pub fn sleep_mode(&self) -> Option<SleepMode> {
        todo!()
    }
    /// Sets the scheduler's entity; the first call counts.
    pub fn set_sched(&self, _entity: Box<dyn Any + Send + Sync>) {
        todo!()
    }
    /// The scheduler's entity.
    pub fn sched(&self) -> Option<&(dyn Any + Send + Sync)> {
        todo!()
    }
    /// Wakes it from sleep in any mode, or starts it. Returns whether this call did. Safe in interrupts.
    pub fn wake(self: &Arc<Self>) -> bool {
        todo!()
    }
    /// Sets the interrupt flag, wakes it if interruptible, makes it leave user mode.
    pub fn interrupt(self: &Arc<Self>) {
        todo!()
    }
    /// Sets the interrupt and kill flags, wakes it if interruptible or killable.
    pub fn kill(self: &Arc<Self>) {
        todo!()
    }
    /// Clears the interrupt flag.
    pub fn clear_interrupt(&self) {
        todo!()
    }
    /// Whether the interrupt flag is set.
    pub fn interrupted(&self) -> bool {
        todo!()
    }
    /// Whether the kill flag is set.
    pub fn killed(&self) -> bool {
        todo!()
    }
    /// CPU time used: (user, system) in ns.
    pub fn cpu_time(&self) -> (u64, u64) {
        todo!()
    }
    /// Copies the current task's extended registers into this one (fork), which must not have run.
    pub fn fpu_copy_from_current(&self) {
        todo!()
    }
    /// Reads the extended registers of a task that is not running. False if it runs.
    pub fn fpu_read(&self, _area: &mut [u8]) -> bool {
        todo!()
    }
    /// Sets the extended registers of a task that is not running.
    pub fn fpu_write(&self, _area: &[u8]) -> Result<(), ()> {
        todo!()
    }
    /// User FS and GS base of a task that is not running (ptrace, clone).
    pub fn segment_bases(&self) -> (u64, u64) {
        todo!()
    }
    /// Sets them; for the current task too. Fails if not canonical user addresses.
    pub fn set_segment_bases(&self, _fs: u64, _gs: u64) -> Result<(), ()> {
        todo!()
    }
    /// The address space of its user mode. The current task switches at once; else only before it first runs.
    pub fn set_page_table(&self, _table: Option<Arc<PageTable>>) {
        todo!()
    }
    /// Hardware breakpoints: DR0-DR3 and DR7. Fails if an address is not a user address or DR7 has reserved bits.
    pub fn set_debug_regs(&self, _addrs: [u64; 4], _dr7: u64) -> Result<(), ()> {
        todo!()
    }
    /// DR0-DR3, DR6, DR7.
    pub fn debug_regs(&self) -> ([u64; 4], u64, u64) {
        todo!()
    }
}

/// The running task.
pub struct Current {
    task: ManuallyDrop<Arc<Task>>,
    _not_send: PhantomData<*mut ()>,
}

impl Deref for Current {
    type Target = Arc<Task>;
    fn deref(&self) -> &Arc<Task> {
        &self.task
    }
}

/// The running task.
pub fn current() -> Current {
    todo!()
}

/// Announces that the current task is about to sleep. Check the condition after this, then [`schedule`].
pub fn prepare_sleep(_mode: SleepMode) {
    todo!()
}

/// Takes [`prepare_sleep`] back.
pub fn cancel_sleep() {
    todo!()
}

/// Gives up the CPU: until woken if the task announced to sleep, else until chosen again.
pub fn schedule() {
    todo!()
}

/// Lets other runnable tasks run.
pub fn yield_now() {
    schedule()
}

/// Gives up the CPU if it is needed elsewhere.
pub fn cond_resched() {
    if crate::cpu::need_resched() {
        schedule()
    }
}

/// Ends the current task. Its stack is freed when the last reference to it goes.
pub fn exit() -> ! {
    todo!()
}

/// The idle task of `cpu`.
pub fn idle(_cpu: usize) -> Arc<Task> {
    todo!()
}
