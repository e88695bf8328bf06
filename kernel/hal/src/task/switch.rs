//! Switching: [`schedule`] and what changes hands with it. Interrupts are off throughout.

use alloc::sync::Arc;
use core::{
    arch::{asm, global_asm},
    hint::spin_loop,
    mem::ManuallyDrop,
    ptr,
    sync::atomic::Ordering,
};

use super::{
    DEAD, DOING, FLAG_DEBUG, FLAG_INTERRUPT, FLAG_KILL, INTERRUPTIBLE, KILLABLE, ON_CPU, PARKED,
    RUNNING, Task, WAKE_PENDING, access, enqueue_task, life,
};
use crate::{
    cpu::{self, local, local::local},
    fpu,
    hooks::{EnqueueFlags, hooks},
    paging, time,
};

unsafe extern "C" {
    /// Saves the callee-saved registers and the stack pointer in `*from`, and loads those at `to`.
    fn keel_switch_stacks(from: *mut usize, to: usize);
}

global_asm!(
    r#"
.text
.balign 16
.global keel_switch_stacks
keel_switch_stacks:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    mov [rdi], rsp
    mov rsp, rsi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
"#
);

/// Gives up the CPU: until woken if the task announced to sleep, else until chosen again.
/// Panics if a spin lock, an RCU read guard or an interrupt guard is held.
pub fn schedule() {
    let cpu = local();
    assert!(
        cpu.preempt_count.get() == 0 && cpu.irq_depth.get() == 0 && !cpu.in_interrupt.get(),
        "sleeping while holding a spin lock or with interrupts off"
    );
    let task = super::current();
    let woken = task.announced.replace(false) && task.is_runnable();
    if woken && cpu.need_resched.load(Ordering::Relaxed) == 0 {
        // What it was to wait for has come already, and nobody needs the CPU more.
        return;
    }
    // SAFETY: interrupts are on in tasks outside guards; they are turned on again below.
    unsafe { asm!("cli", options(nostack)) };
    switch_away();
    // SAFETY: as above; this may be another CPU by now, with interrupts off as well.
    unsafe { asm!("sti", options(nostack)) };
}

/// Lets other runnable tasks run.
pub fn yield_now() {
    schedule();
}

/// Gives up the CPU if it is needed elsewhere.
#[inline]
pub fn cond_resched() {
    if cpu::need_resched() {
        schedule();
    }
}

/// Switches to what the scheduler picks; returns when this task is switched to again.
pub(super) fn switch_away() {
    let cpu = local();
    let hooks = hooks().expect("a task gave up the CPU before the scheduler was set");
    cpu.need_resched.store(0, Ordering::SeqCst);
    // SAFETY: the running task; it keeps itself alive until it has exited and been left.
    let prev = unsafe { &*cpu.current.get() };
    let runnable = prev.commit_sleep();
    // SAFETY: as above: a reference of its own that is not counted.
    let prev_arc = ManuallyDrop::new(unsafe { Arc::from_raw(ptr::from_ref(prev)) });
    let picked = hooks.pick_next(&prev_arc, runnable);
    let next = Arc::as_ptr(&picked);
    assert!(
        picked.state.load(Ordering::Relaxed) & DOING == RUNNING && (runnable || next != prev),
        "the scheduler picked a task that is not runnable"
    );
    // A runnable task has its reference to itself, so this one is not the last.
    drop(picked);
    if next != ptr::from_ref(prev) {
        switch_to(prev, next);
        finish();
    }
}

impl Task {
    /// Commits to the announced sleep, if there is one and nothing ended it meanwhile. Returns
    /// whether the task is still runnable.
    fn commit_sleep(&self) -> bool {
        loop {
            let old = self.state.load(Ordering::SeqCst);
            let stop = match old & DOING {
                RUNNING => return true,
                DEAD => return false,
                INTERRUPTIBLE => FLAG_INTERRUPT | FLAG_KILL,
                KILLABLE => FLAG_KILL,
                _ => 0,
            };
            let stay = self.flags.load(Ordering::SeqCst) & stop != 0;
            let new = if stay { RUNNING | ON_CPU } else { old | PARKED };
            let done = self
                .state
                .compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed);
            if done.is_ok() {
                return stay;
            }
        }
    }
}

/// Switches from the running task `prev` to `next`, or, while another CPU has not left `next`, to
/// the idle task first. (Waiting here, with `prev` not left either, two CPUs could wait for each
/// other.)
fn switch_to(prev: &Task, next: *const Task) {
    let cpu = local();
    let mut next = next;
    // SAFETY: a runnable task lives.
    let mut next_task = unsafe { &*next };
    if next_task.state.load(Ordering::Acquire) & ON_CPU != 0 {
        if prev.is_idle() {
            wait_until_left(next_task);
        } else {
            cpu.pending_next.set(next);
            next = cpu.idle.load(Ordering::Relaxed);
            // SAFETY: every online CPU has its idle task, which never exits.
            next_task = unsafe { &*next };
        }
    }
    // In this order: whoever sees it on a CPU sees on which, or else this CPU sees the flag that was
    // set before, when it looks before user mode.
    next_task.cpu.store(local::id(), Ordering::Relaxed);
    next_task.state.fetch_or(ON_CPU, Ordering::SeqCst);
    prev.leave();
    next_task.arrive();
    cpu.current.set(next);
    cpu.switched_from.set(prev);
    // SAFETY: `next` does not run anywhere and its saved stack pointer is at a frame that this
    // function or `Task::new` left; `prev` is marked as on a CPU until `finish` runs there.
    unsafe { keel_switch_stacks(prev.rsp.get(), *next_task.rsp.get()) };
}

fn wait_until_left(task: &Task) {
    while task.state.load(Ordering::Acquire) & ON_CPU != 0 {
        spin_loop();
    }
}

/// Ends a switch, on the new task's stack.
pub(super) fn finish() {
    loop {
        let cpu = local();
        let prev = cpu.switched_from.replace(ptr::null());
        if !prev.is_null() {
            left(prev);
        }
        let pending = cpu.pending_next.replace(ptr::null());
        if pending.is_null() {
            return;
        }
        // SAFETY: the idle task runs now; the pending one is runnable, so it lives.
        let (idle, pending_task) = unsafe { (&*cpu.current.get(), &*pending) };
        wait_until_left(pending_task);
        switch_to(idle, pending);
    }
}

/// Declares that this CPU has left `prev`'s stack.
fn left(prev: *const Task) {
    // SAFETY: it cannot be freed while it is marked as on a CPU.
    let task = unsafe { &*prev };
    let old = task
        .state
        .fetch_and(!(ON_CPU | WAKE_PENDING), Ordering::AcqRel);
    // From here on it may run elsewhere, exit and be freed, except in these two cases.
    if old & WAKE_PENDING != 0 {
        // SAFETY: it is runnable but nobody else enqueues it; it holds a reference to itself.
        let task = unsafe {
            Arc::increment_strong_count(prev);
            Arc::from_raw(prev)
        };
        enqueue_task(task, EnqueueFlags::WAKEUP);
    } else if old & DOING == DEAD {
        life::bury(prev);
    }
}

impl Task {
    /// Saves what user mode may have changed, and accounts the time.
    fn leave(&self) {
        let cpu = local();
        let now = time::read_tsc();
        let ran = now.saturating_sub(self.switched_in.load(Ordering::Relaxed));
        self.run_tsc.store(
            self.run_tsc.load(Ordering::Relaxed) + ran,
            Ordering::Relaxed,
        );
        cpu.switch_tsc.set(now);
        if self.has_page_table() {
            if self.fpu_dirty.replace(false) {
                fpu::save(&self.fpu);
            }
            let (fs, gs) = access::read_bases();
            self.fs_base.store(fs, Ordering::Relaxed);
            self.gs_base.store(gs, Ordering::Relaxed);
        }
    }

    /// Loads what user mode will see, except extended registers, which wait until it is entered.
    fn arrive(&self) {
        let cpu = local();
        self.switched_in
            .store(cpu.switch_tsc.get(), Ordering::Relaxed);
        // SAFETY: changed only by the task itself or while it does not run.
        let page_table = unsafe { &*self.page_table.get() };
        let Some(page_table) = page_table else {
            paging::enter_lazy();
            return;
        };
        paging::activate(Some(page_table));
        let (fs, gs) = self.saved_bases();
        access::write_bases(fs, gs);
        // Unlike the other extended registers, the kernel's own copies to and from user memory go by it.
        fpu::load_pkru(self.fpu.pkru());
        if cpu.fpu_owner.get() == self.id && self.fpu_cpu.get() != cpu.id.get() {
            // This CPU holds an older state of the task than another one saved.
            cpu.fpu_owner.set(0);
        }
        self.load_ports();
        let debug = self.debug.get();
        if debug.dr7 != 0 || cpu.debug_active.get() {
            access::load_debug_regs(&debug);
        }
        access::load_tsc_disabled(self.tsc_disabled());
    }

    /// Whether it has a user mode. Only for the task itself or while it is switched.
    pub(super) fn has_page_table(&self) -> bool {
        // SAFETY: as in `arrive`.
        unsafe { (*self.page_table.get()).is_some() }
    }
}

/// The last look before user mode, with interrupts off. False if there is something to do first.
#[inline]
pub(crate) fn prepare_user() -> bool {
    let cpu = local();
    // SAFETY: the running task.
    let task = unsafe { &*cpu.current.get() };
    let flags = task.flags.load(Ordering::Relaxed) & (FLAG_INTERRUPT | FLAG_DEBUG);
    if cpu.need_resched.load(Ordering::Relaxed) | flags != 0 {
        return false;
    }
    if cpu.fpu_owner.get() != task.id {
        fpu::load(&task.fpu);
        cpu.fpu_owner.set(task.id);
        task.fpu_cpu.set(cpu.id.get());
    }
    task.fpu_dirty.set(true);
    true
}

/// Switches from the boot code, which is no task, to the first one.
///
/// # Safety
/// `to` is the saved stack pointer of a task that has not run.
pub(super) unsafe fn start_first(from: &mut usize, to: usize) {
    // SAFETY: as the caller says.
    unsafe { keel_switch_stacks(from, to) };
}
