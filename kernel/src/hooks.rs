//! What the machine layer asks of the kernel: scheduling policy, page faults of user copies, timers, last words.

use keel_hal::hooks::{EnqueueFlags, Hooks};
use keel_hal::task::Task;

use crate::device::sysrq;
use crate::mm::{Access, FaultOutcome};
use crate::prelude::*;
use crate::{printk, process, sched, time};

/// The one implementation.
pub struct Kernel;

impl Hooks for Kernel {
    fn page_fault_in_user_copy(&self, addr: usize, write: bool) -> bool {
        let access = if write { Access::Write } else { Access::Read };
        let Some(mm) = process::current_opt().and_then(|thread| thread.mm_opt()) else {
            return false;
        };
        mm.fault(addr, access) == FaultOutcome::Handled
    }

    fn enqueue(&self, task: Arc<Task>, _flags: EnqueueFlags) {
        sched::enqueue(task);
    }

    fn pick_next(&self, prev: &Arc<Task>, prev_runnable: bool) -> Arc<Task> {
        sched::pick_next(prev, prev_runnable)
    }

    fn timer_interrupt(&self) {
        time::timer::interrupt();
        sched::timer_interrupt();
        time::timer::program();
    }

    fn ipi_reschedule(&self) {
        sched::ipi_reschedule();
    }

    fn schedule_timeout(&self, deadline_ns: u64) {
        time::timer::schedule_timeout(deadline_ns);
    }

    fn sysrq(&self, key: u8) {
        sysrq::ask(key);
    }

    fn fatal(&self, message: &str) {
        printk::fatal(message);
    }
}
