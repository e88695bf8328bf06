//! Access to a task's user-visible machine state: address space, segment bases, extended registers,
//! breakpoints. The task itself uses the live registers; another task first takes hold of one that
//! does not run ([`Task::hold`]).

use alloc::sync::Arc;
use core::{arch::asm, sync::atomic::Ordering};

use super::{DOING, DebugRegs, FLAG_DEBUG, HELD, NEW, NO_CPU, ON_CPU, PARKED, Task};
use crate::{
    addr::TASK_SIZE_MAX,
    cpu::{
        features,
        local::{self, local},
        setup,
    },
    fpu,
    irq::{self, IrqGuard},
    paging::{self, PageTable},
    panic::Frames,
};

/// The task runs elsewhere, or a value is one that user mode must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Keeps a task that does not run from being woken.
pub(super) struct Hold<'a> {
    task: &'a Task,
    _irqs_off: IrqGuard,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.task.state.fetch_and(!HELD, Ordering::Release);
    }
}

impl Task {
    pub(super) fn is_current(&self) -> bool {
        core::ptr::eq(self, local::current())
    }

    /// Takes hold of a task that is new or sleeps and that its CPU has left. `None` if it runs, waits
    /// for a CPU, or has exited.
    pub(super) fn hold(&self) -> Option<Hold<'_>> {
        let guard = irq::disable();
        loop {
            let old = self.state.load(Ordering::Relaxed);
            let still = old & DOING == NEW || old & PARKED != 0;
            if !still || old & ON_CPU != 0 {
                return None;
            }
            if old & HELD != 0 {
                core::hint::spin_loop();
                continue;
            }
            let new = old | HELD;
            if self
                .state
                .compare_exchange(old, new, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
            {
                return Some(Hold {
                    task: self,
                    _irqs_off: guard,
                });
            }
        }
    }

    /// The return addresses on the kernel stack of a task that sleeps, innermost first; how many were put into
    /// `addresses`. 0 for a task that runs or waits for a CPU. Names: [`crate::panic::symbol`].
    pub fn backtrace(&self, addresses: &mut [usize]) -> usize {
        let Some(_hold) = self.hold() else { return 0 };
        let top = self.stack_top();
        let stack = top.saturating_sub(super::STACK_SIZE)..top;
        // SAFETY: the hold keeps it from running.
        let rsp = unsafe { *self.rsp.get() };
        let rbp_slot = rsp + 5 * size_of::<usize>();
        if !stack.contains(&rsp) || !stack.contains(&(rbp_slot + 15)) {
            return 0;
        }
        // SAFETY: `keel_switch_stacks` left six registers there, RBP last, and its return address.
        let (rbp, address) = unsafe {
            (
                (rbp_slot as *const usize).read(),
                (rbp_slot as *const usize).add(1).read(),
            )
        };
        // SAFETY: it is the stack of a task that the hold keeps from running.
        let callers = unsafe { Frames::on(rbp, stack) };
        let all = core::iter::once(address).chain(callers);
        addresses
            .iter_mut()
            .zip(all)
            .map(|(slot, address)| *slot = address)
            .count()
    }

    /// The address space of its user mode. The current task switches at once; another task must not
    /// have been started yet. Panics otherwise.
    pub fn set_page_table(&self, table: Option<Arc<PageTable>>) {
        let old;
        if self.is_current() {
            let _guard = irq::disable();
            paging::activate(table.as_ref());
            // SAFETY: only the task itself and its CPU, which is here, use the field.
            old = unsafe { core::mem::replace(&mut *self.page_table.get(), table) };
            if old.is_none() {
                // User mode begins with clean bases, whatever the last one left in the registers.
                let (fs, gs) = self.saved_bases();
                write_bases(fs, gs);
            }
        } else {
            let hold = self.hold().expect("address space of a task that runs");
            // SAFETY: the hold keeps it from running.
            old = unsafe { core::mem::replace(&mut *self.page_table.get(), table) };
            drop(hold);
        }
        drop(old);
    }

    /// User FS and GS base of the current task or of one that does not run; as last saved if it does.
    pub fn segment_bases(&self) -> (u64, u64) {
        if self.is_current() && self.has_page_table() {
            let _guard = irq::disable();
            return read_bases();
        }
        self.saved_bases()
    }

    /// The bases as last saved.
    pub(super) fn saved_bases(&self) -> (u64, u64) {
        (
            self.fs_base.load(Ordering::Relaxed),
            self.gs_base.load(Ordering::Relaxed),
        )
    }

    /// Sets them. Fails if they are not user addresses or the task runs elsewhere.
    pub fn set_segment_bases(&self, fs: u64, gs: u64) -> Result<(), Refused> {
        if fs >= TASK_SIZE_MAX as u64 || gs >= TASK_SIZE_MAX as u64 {
            return Err(Refused);
        }
        if self.is_current() {
            let _guard = irq::disable();
            self.fs_base.store(fs, Ordering::Relaxed);
            self.gs_base.store(gs, Ordering::Relaxed);
            if self.has_page_table() {
                write_bases(fs, gs);
            }
        } else {
            let _hold = self.hold().ok_or(Refused)?;
            self.fs_base.store(fs, Ordering::Relaxed);
            self.gs_base.store(gs, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Copies the current task's extended registers into this one, which must not have been started
    /// (fork).
    pub fn fpu_copy_from_current(&self) {
        let current = super::current();
        current.fpu_sync();
        if let Some(_hold) = self.hold() {
            self.fpu.copy_from(&current.fpu);
            self.fpu_cpu.set(NO_CPU);
        }
    }

    /// Reads the extended registers of a task that does not run, or of the current one. False if it
    /// runs elsewhere.
    pub fn fpu_read(&self, area: &mut [u8]) -> bool {
        if self.is_current() {
            self.fpu_sync();
            self.fpu.export(area);
            return true;
        }
        match self.hold() {
            Some(_hold) => {
                self.fpu.export(area);
                true
            }
            None => false,
        }
    }

    /// Sets the extended registers of a task that does not run, or of the current one, from a full
    /// area or a legacy image of 512 bytes. Fails, changing nothing, if it runs elsewhere or the
    /// contents are not valid.
    pub fn fpu_write(&self, area: &[u8]) -> Result<(), Refused> {
        let image = fpu::Image::parse(area).ok_or(Refused)?;
        self.with_stale_fpu(|task| task.fpu.import(&image))
    }

    /// Sets the current task's rights to pages with protection key `key`: bit 0 forbids access, bit 1 writing.
    /// Without protection keys nothing happens.
    pub fn set_key_rights(&self, key: u32, rights: u32) -> Result<(), Refused> {
        if !self.is_current() || key > 15 {
            return Err(Refused);
        }
        self.fpu_sync();
        let shift = 2 * key;
        self.with_stale_fpu(|task| {
            let others = task.fpu.pkru() & !(3 << shift);
            task.fpu.set_pkru(others | (rights & 3) << shift);
        })
    }

    /// Gives it the initial extended registers.
    pub(crate) fn fpu_reset(&self) -> Result<(), Refused> {
        self.with_stale_fpu(|task| task.fpu.reset())
    }

    /// Changes the saved extended registers so that they are loaded before user mode runs.
    fn with_stale_fpu(&self, change: impl FnOnce(&Task)) -> Result<(), Refused> {
        if self.is_current() {
            let _guard = irq::disable();
            local().fpu_owner.set(0);
            self.fpu_dirty.set(false);
            change(self);
            fpu::load_pkru(self.fpu.pkru());
        } else {
            let _hold = self.hold().ok_or(Refused)?;
            self.fpu_cpu.set(NO_CPU);
            change(self);
        }
        Ok(())
    }

    /// Saves the current task's live extended registers.
    fn fpu_sync(&self) {
        let _guard = irq::disable();
        if self.fpu_dirty.get() {
            fpu::save(&self.fpu);
        }
    }

    /// Whether its user mode may not read the time stamp counter (RDTSC faults).
    pub fn tsc_disabled(&self) -> bool {
        self.tsc_disabled.load(Ordering::Relaxed)
    }

    /// Takes the time stamp counter from user mode, or gives it back. Tasks that this one makes are as it is. At once
    /// for the current task, at its next switch for another.
    pub fn set_tsc_disabled(&self, disabled: bool) {
        self.tsc_disabled.store(disabled, Ordering::Relaxed);
        if self.is_current() {
            let _guard = irq::disable();
            load_tsc_disabled(disabled);
        }
    }

    /// Hardware breakpoints: DR0 to DR3 and DR7, which is 0 for none. Fails if the task runs
    /// elsewhere, an enabled address is not a user address, or DR7 asks for what user code must not
    /// have (I/O breakpoints, debug register protection).
    pub fn set_debug_regs(&self, addrs: [u64; 4], dr7: u64) -> Result<(), Refused> {
        const ALLOWED: u64 = 0xffff_07ff;
        let io = (0..4).any(|i| dr7 >> (16 + 4 * i) & 3 == 2);
        let kernel = addrs.iter().any(|&addr| addr > (TASK_SIZE_MAX - 8) as u64);
        if io || kernel || dr7 & !ALLOWED != 0 {
            return Err(Refused);
        }
        let set = |task: &Task| {
            task.debug.set(DebugRegs {
                addrs,
                dr7,
                ..task.debug.get()
            })
        };
        if self.is_current() {
            let _guard = irq::disable();
            set(self);
            load_debug_regs(&self.debug.get());
        } else {
            let _hold = self.hold().ok_or(Refused)?;
            set(self);
        }
        Ok(())
    }

    /// DR0 to DR3, DR6 as of the last debug exception, and DR7; `None` if the task runs elsewhere.
    pub fn debug_regs(&self) -> Option<([u64; 4], u64, u64)> {
        let _hold = if self.is_current() {
            None
        } else {
            Some(self.hold()?)
        };
        let debug = self.debug.get();
        Some((debug.addrs, debug.dr6, debug.dr7))
    }
}

/// Makes this CPU let user mode read the time stamp counter or not.
pub(super) fn load_tsc_disabled(disabled: bool) {
    let cpu = local();
    if cpu.tsc_disabled.replace(disabled) != disabled {
        setup::set_tsc_disabled(disabled);
    }
}

/// Loads breakpoints into this CPU.
pub(super) fn load_debug_regs(debug: &DebugRegs) {
    const ALWAYS_SET: u64 = 1 << 10;
    let [a, b, c, d] = debug.addrs;
    // SAFETY: `set_debug_regs` lets only user addresses pass, so no kernel code is stopped.
    unsafe {
        asm!("mov dr7, {}", in(reg) ALWAYS_SET, options(nomem, nostack, preserves_flags));
        if debug.dr7 != 0 {
            asm!(
                "mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}", "mov dr7, {}",
                in(reg) a, in(reg) b, in(reg) c, in(reg) d, in(reg) debug.dr7 | ALWAYS_SET,
                options(nomem, nostack, preserves_flags)
            );
        }
    }
    local().debug_active.set(debug.dr7 != 0);
}

/// A debug exception came from kernel code: the running task gets it when it returns to user mode.
pub(crate) fn note_debug_status(dr6: u64) {
    // SAFETY: null or the running task.
    if let Some(task) = unsafe { local::current().as_ref() } {
        let debug = task.debug.get();
        task.debug.set(DebugRegs {
            dr6: debug.dr6 | dr6,
            ..debug
        });
        task.flags.fetch_or(FLAG_DEBUG, Ordering::Relaxed);
    }
}

/// The conditions of a debug exception in kernel code, if there was one since the last call.
pub(crate) fn take_debug_status() -> Option<u64> {
    let task = super::current();
    (task.flags.fetch_and(!FLAG_DEBUG, Ordering::Relaxed) & FLAG_DEBUG != 0)
        .then(|| task.debug.get().dr6)
}

/// The user's FS and GS base in this CPU's registers. Interrupts are off.
pub(super) fn read_bases() -> (u64, u64) {
    if features::fsgsbase_enabled() {
        let (fs, gs);
        // SAFETY: the user's GS base is swapped in only for one instruction, with interrupts off;
        // what interrupts nevertheless finds its GS base by itself.
        unsafe {
            asm!("rdfsbase {fs}", "swapgs", "rdgsbase {gs}", "swapgs",
                fs = out(reg) fs, gs = out(reg) gs, options(nostack, preserves_flags));
        }
        (fs, gs)
    } else {
        // SAFETY: the registers exist in long mode.
        unsafe {
            (
                setup::read_msr(setup::MSR_FS_BASE),
                setup::read_msr(setup::MSR_KERNEL_GS_BASE),
            )
        }
    }
}

/// Sets them; both are canonical. Interrupts are off.
pub(super) fn write_bases(fs: u64, gs: u64) {
    if features::fsgsbase_enabled() {
        // SAFETY: as in `read_bases`; the kernel does not use FS, nor the inactive GS base.
        unsafe {
            asm!("wrfsbase {fs}", "swapgs", "wrgsbase {gs}", "swapgs",
                fs = in(reg) fs, gs = in(reg) gs, options(nostack, preserves_flags));
        }
    } else {
        // SAFETY: as above.
        unsafe {
            setup::write_msr(setup::MSR_FS_BASE, fs);
            setup::write_msr(setup::MSR_KERNEL_GS_BASE, gs);
        }
    }
}
