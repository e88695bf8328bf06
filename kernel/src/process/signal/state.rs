//! Signal state of processes and threads.

use core::sync::atomic::{AtomicU64, Ordering};
use keel_abi::flags::SaFlags;
use keel_abi::types::{SIG_DFL, SIG_IGN, Siginfo};
use keel_hal::task;

use super::queue::{Pending, SigInfo};
use super::{DEFAULT_IGNORED, NSIG, UNBLOCKABLE, bit, sig};
use crate::prelude::*;
use crate::process::{Thread, ptrace};

/// What a signal does (`struct k_sigaction`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Action {
    /// SIG_DFL, SIG_IGN or the handler's address.
    pub handler: u64,
    /// SA_* flags.
    pub flags: SaFlags,
    /// Where handlers return to.
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: u64,
}

impl Action {
    /// Whether the signal is thrown away at once.
    pub fn ignores(&self, signo: i32) -> bool {
        self.handler == SIG_IGN || (self.handler == SIG_DFL && bit(signo) & DEFAULT_IGNORED != 0)
    }
}

/// All actions (`sighand_struct`).
struct Actions {
    table: SpinLock<[Action; NSIG as usize]>,
}

/// What a thread group has of signals.
pub struct ProcessSignals {
    actions: RwSpinLock<Arc<Actions>>,
    /// Pending for whichever thread takes them first.
    pub(super) pending: SpinLock<Pending>,
    /// Sleepers in signalfd of any thread, and pollers.
    pub signalfd: Arc<WaitQueue>,
}

impl ProcessSignals {
    /// All defaults.
    pub fn new() -> Self {
        Self::with(Arc::new(Actions {
            table: SpinLock::new([Action::default(); NSIG as usize]),
        }))
    }

    fn with(actions: Arc<Actions>) -> Self {
        Self {
            actions: RwSpinLock::new(actions),
            pending: SpinLock::new(Pending::default()),
            signalfd: Arc::new(WaitQueue::new()),
        }
    }

    /// A child's: the same actions (`share`), a copy, or a copy without handlers (`clear`).
    pub fn fork(&self, share: bool, clear: bool) -> Self {
        let old = self.actions.read().clone();
        if share {
            return Self::with(old);
        }
        let mut table = *old.table.lock();
        if clear {
            reset_handlers(&mut table);
        }
        Self::with(Arc::new(Actions {
            table: SpinLock::new(table),
        }))
    }

    /// Handlers become defaults; ignored signals stay so. The table is this process's own afterwards.
    pub fn exec_reset(&self) {
        let mut table = *self.actions.read().table.lock();
        reset_handlers(&mut table);
        let fresh = Arc::new(Actions {
            table: SpinLock::new(table),
        });
        let old = core::mem::replace(&mut *self.actions.write(), fresh);
        drop(old);
    }

    /// Where the actions are: equal for processes that share them.
    pub fn actions_address(&self) -> usize {
        Arc::as_ptr(&self.actions.read()).addr()
    }

    /// What a signal does.
    pub fn action(&self, signo: i32) -> Action {
        let actions = self.actions.read();
        let table = actions.table.lock();
        table.get((signo - 1) as usize).copied().unwrap_or_default()
    }

    /// Changes what a signal does; gives what it did.
    pub fn set_action(&self, signo: i32, action: Action) -> Action {
        let actions = self.actions.read();
        let mut table = actions.table.lock();
        match table.get_mut((signo - 1) as usize) {
            Some(slot) => core::mem::replace(slot, action),
            None => Action::default(),
        }
    }

    /// Whether the signal's action is SIG_IGN.
    pub fn action_is_ignore(&self, signo: i32) -> bool {
        self.action(signo).handler == SIG_IGN
    }

    /// Whether children that end are forgotten at once: SIGCHLD ignored, or SA_NOCLDWAIT.
    pub fn ignores_children(&self) -> bool {
        let action = self.action(sig::CHLD);
        action.handler == SIG_IGN || action.flags.contains(SaFlags::NOCLDWAIT)
    }

    /// Signals pending for the process.
    pub fn pending_set(&self) -> u64 {
        self.pending.lock().set()
    }

    /// How many are queued for the process.
    pub fn queued(&self) -> usize {
        self.pending.lock().len()
    }

    /// Masks of ignored and caught signals (/proc/PID/status).
    pub fn ignored_and_caught(&self) -> (u64, u64) {
        let actions = self.actions.read();
        let table = actions.table.lock();
        let mut masks = (0, 0);
        for (at, action) in table.iter().enumerate() {
            match action.handler {
                SIG_DFL => {}
                SIG_IGN => masks.0 |= 1 << at,
                _ => masks.1 |= 1 << at,
            }
        }
        masks
    }
}

impl Default for ProcessSignals {
    fn default() -> Self {
        Self::new()
    }
}

fn reset_handlers(table: &mut [Action; NSIG as usize]) {
    for action in table {
        let handler = if action.handler == SIG_IGN {
            SIG_IGN
        } else {
            SIG_DFL
        };
        *action = Action {
            handler,
            ..Action::default()
        };
    }
}

/// An alternate signal stack (sigaltstack(2)).
#[derive(Clone, Copy, Debug, Default)]
pub struct AltStack {
    /// Lowest address.
    pub base: u64,
    /// Bytes; 0 for none.
    pub size: u64,
    /// SS_AUTODISARM: it is forgotten while a handler runs on it.
    pub autodisarm: bool,
}

/// What a thread has of signals.
pub struct ThreadSignals {
    blocked: AtomicU64,
    pub(super) pending: SpinLock<Pending>,
    /// The mask to go back to when the system call ends (sigsuspend, ppoll).
    pub(super) saved_mask: SpinLock<Option<u64>>,
    /// The alternate stack.
    pub altstack: SpinLock<AltStack>,
    /// Signals that rt_sigtimedwait is waiting for.
    waiting_for: AtomicU64,
    /// Trap number, error code and cr2 of the last fault, for the frame.
    pub(super) last_fault: SpinLock<(u64, u64, u64)>,
}

impl ThreadSignals {
    /// Nothing blocked, nothing pending.
    pub fn new() -> Self {
        Self {
            blocked: AtomicU64::new(0),
            pending: SpinLock::new(Pending::default()),
            saved_mask: SpinLock::new(None),
            altstack: SpinLock::new(AltStack::default()),
            waiting_for: AtomicU64::new(0),
            last_fault: SpinLock::new((0, 0, 0)),
        }
    }

    /// A child's: the same mask; the alternate stack unless `drop_altstack` (a thread with a stack of its own).
    pub fn for_clone(&self, drop_altstack: bool) -> Self {
        let child = Self::new();
        child.blocked.store(self.blocked(), Ordering::Relaxed);
        if !drop_altstack {
            *child.altstack.lock() = *self.altstack.lock();
        }
        child
    }

    /// exec: the alternate stack is gone.
    pub fn exec_reset(&self) {
        *self.altstack.lock() = AltStack::default();
    }

    /// The mask.
    pub fn blocked(&self) -> u64 {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Signals pending for the thread alone.
    pub fn pending_set(&self) -> u64 {
        self.pending.lock().set()
    }

    /// The mask of after the present call, if that waits with a temporary one.
    pub fn mask_to_restore(&self) -> u64 {
        self.saved_mask.lock().unwrap_or_else(|| self.blocked())
    }

    /// The present mask is to last beyond the present call.
    pub fn forget_saved_mask(&self) {
        *self.saved_mask.lock() = None;
    }

    /// Whether the thread wants the signal although it is blocked: rt_sigtimedwait waits for it.
    pub(super) fn waits_for(&self, signo: i32) -> bool {
        self.waiting_for.load(Ordering::Relaxed) & bit(signo) != 0
    }
}

impl Default for ThreadSignals {
    fn default() -> Self {
        Self::new()
    }
}

impl Thread {
    /// Signals that would be delivered now.
    pub fn deliverable(&self) -> u64 {
        let pending = self.signals.pending_set() | self.process.signals.pending_set();
        pending & !self.signals.blocked()
    }

    /// Whether a signal is to be delivered.
    pub fn has_pending_signal(&self) -> bool {
        self.deliverable() != 0
    }

    /// Changes the thread's mask; gives the old one. Signals that became deliverable are noticed before the return
    /// to user mode, and passed to another thread if this one now blocks them.
    pub fn set_blocked(&self, mask: u64) -> u64 {
        let mask = mask & !UNBLOCKABLE;
        let old = self.signals.blocked.load(Ordering::Relaxed);
        if old == mask {
            return old;
        }
        self.signals.blocked.store(mask, Ordering::Relaxed);
        if self.has_pending_signal() {
            self.interrupt();
        }
        let newly_blocked = mask & !old & self.process.signals.pending_set();
        if newly_blocked != 0 {
            super::send::retarget(&self.process, newly_blocked);
        }
        old
    }

    /// Replaces the mask until the system call ends; the handler of a signal that interrupts the call runs with the
    /// temporary mask, and the old one comes back behind it (sigsuspend(2), ppoll(2)).
    pub fn set_temporary_mask(&self, mask: u64) {
        let old = self.set_blocked(mask);
        let mut saved = self.signals.saved_mask.lock();
        if saved.is_none() {
            *saved = Some(old);
        }
    }

    /// Brings the mask of before [`Self::set_temporary_mask`] back at once (the call was not interrupted).
    pub fn restore_mask(&self) {
        let saved = self.signals.saved_mask.lock().take();
        if let Some(mask) = saved {
            self.set_blocked(mask);
        }
    }
}

/// Takes a pending signal of `wanted`, the thread's own first.
pub fn take_any(thread: &Thread, wanted: u64) -> Option<SigInfo> {
    let own = thread.signals.pending.lock().take(wanted);
    let info = own.or_else(|| thread.process.signals.pending.lock().take(wanted))?;
    Some(with_overrun(thread, info))
}

/// A POSIX timer's signal tells how many expiries were missed until it was taken.
fn with_overrun(thread: &Thread, info: SigInfo) -> SigInfo {
    const SI_TIMER: i32 = -2;
    if info.code() != SI_TIMER {
        return info;
    }
    let raw = &info.raw;
    match thread.process.timers.delivered(raw.timer_id()) {
        Some(overrun) => SigInfo::new(Siginfo::timer(
            raw.signal(),
            raw.timer_id(),
            overrun,
            raw.value(),
        )),
        None => info,
    }
}

/// Waits for a signal of `wanted` (rt_sigtimedwait(2)): EAGAIN at the deadline, EINTR when another signal came.
pub fn wait_for(thread: &Arc<Thread>, wanted: u64, deadline: Option<u64>) -> Result<SigInfo> {
    let wanted = wanted & !UNBLOCKABLE;
    loop {
        if let Some(info) = take_any(thread, wanted) {
            return Ok(info);
        }
        if deadline.is_some_and(|at| crate::time::monotonic_ns() >= at) {
            return Err(Errno::EAGAIN);
        }
        thread.signals.waiting_for.store(wanted, Ordering::Relaxed);
        task::prepare_sleep(SleepMode::Interruptible);
        let ready = thread.signals.pending_set() | thread.process.signals.pending_set();
        if ready & wanted != 0 {
            task::cancel_sleep();
        } else {
            match deadline {
                Some(at) => crate::time::timer::schedule_timeout(at),
                None => task::schedule(),
            }
        }
        thread.signals.waiting_for.store(0, Ordering::Relaxed);
        if let Some(info) = take_any(thread, wanted) {
            return Ok(info);
        }
        if thread.interrupted() {
            if thread.has_pending_signal() || thread.exiting() || ptrace::trap_pending(thread) {
                return Err(Errno::EINTR);
            }
            task::current().clear_interrupt();
        }
    }
}
