//! The policies that the kernel proper supplies to the machine layer.
//!
//! [`set_hooks`] is called once, early in the kernel's `main`, before any task is woken.

use alloc::sync::Arc;

use bitflags::bitflags;
use spin::Once;

use crate::task::Task;

bitflags! {
    /// Why a task becomes runnable.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EnqueueFlags: u32 {
        /// The task has never run before.
        const NEW = 1 << 0;
        /// The task slept and was woken.
        const WAKEUP = 1 << 1;
    }
}

/// What the machine layer asks of the kernel.
pub trait Hooks: Sync {
    /// The kernel touched user address `addr` through [`crate::user`] and it is not mapped (or not
    /// writable). May sleep. `true` retries the access, `false` makes it fail.
    fn page_fault_in_user_copy(&self, addr: usize, write: bool) -> bool;

    /// Makes `task` runnable: chooses a CPU and a run queue, records it with [`Task::set_cpu`] and
    /// calls [`crate::cpu::set_need_resched`] as needed. Interrupts are off.
    fn enqueue(&self, task: Arc<Task>, flags: EnqueueFlags);

    /// Chooses the next task of this CPU. Interrupts are off. If `prev_runnable`, `prev` must be
    /// queued again or returned; without anything to run this is [`crate::task::idle`] of this CPU.
    /// A balancer on another CPU must not take a task whose [`Task::on_cpu`] is true.
    fn pick_next(&self, prev: &Arc<Task>, prev_runnable: bool) -> Arc<Task>;

    /// This CPU's one-shot deadline ([`crate::time::set_deadline`]) has passed. Interrupt context.
    fn timer_interrupt(&self);

    /// Another CPU asked this one to reschedule; the flag is set already. Interrupt context.
    fn ipi_reschedule(&self) {}

    /// Arms a wake-up of the current task at `deadline_ns`, calls [`crate::task::schedule`], disarms it.
    fn schedule_timeout(&self, deadline_ns: u64);

    /// A break on a serial line and then byte `key`: the magic SysRq of a console. Interrupt context.
    fn sysrq(&self, _key: u8) {}

    /// The text of a panic, which is on the first serial port already, for the kernel's log (pstore,
    /// other consoles), before the machine stops. The other CPUs are stopped, with whatever locks they held.
    fn fatal(&self, message: &str);
}

static HOOKS: Once<&'static dyn Hooks> = Once::new();

/// Registers the kernel's policies. The first call counts.
pub fn set_hooks(hooks: &'static dyn Hooks) {
    HOOKS.call_once(|| hooks);
}

/// The registered hooks.
pub(crate) fn hooks() -> Option<&'static dyn Hooks> {
    HOOKS.get().copied()
}
