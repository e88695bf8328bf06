//! Interval timers (setitimer(2)) and POSIX timers (timer_create(2)) of a process.
//!
//! The kernel timer behind each only hands the timer to a kernel thread ([`run_worker`]), since sending signals and
//! reading CPU clocks take locks that interrupts must not. Timers
//! against a CPU clock fire at the earliest moment at which that clock can have reached its goal, look, and go on.
//! Expiries that come while the last one's signal is still pending are counted as overruns, and told when it is taken.

use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use keel_abi::flags::ClockId;
use keel_abi::types::Siginfo;

use super::timer::Timer;
use super::{clock, monotonic_ns, realtime_ns};
use crate::prelude::*;
use crate::process::process::thread_usage;
use crate::process::rlimit::Resource;
use crate::process::signal::{self, SigInfo, bit, sig};
use crate::process::{Process, Thread, find_thread};

/// The interval timers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Which {
    /// Wall time: SIGALRM.
    Real = 0,
    /// User CPU time: SIGVTALRM.
    Virtual = 1,
    /// CPU time: SIGPROF.
    Prof = 2,
}

/// What a timer counts.
#[derive(Clone, Copy, Debug)]
pub enum ClockKind {
    /// Monotonic time.
    Monotonic,
    /// Time that can be set.
    Wall(ClockId),
    /// The process's CPU time.
    ProcessCpu,
    /// The process's user time (ITIMER_VIRTUAL).
    ProcessUser,
    /// A thread's CPU time.
    ThreadCpu(u32),
}

/// What an expiry does.
#[derive(Clone)]
pub struct Notify {
    signo: i32,
    value: u64,
    thread: Option<Weak<Thread>>,
    silent: bool,
    /// Sent as SI_TIMER with the timer's number, rather than from the kernel.
    posix: bool,
}

impl Notify {
    /// SIGALRM to the process, with the timer's number as value.
    pub fn default_for_new() -> Self {
        Self::process(sig::ALRM, 0)
    }

    /// Nothing; the timer can be read.
    pub fn nothing(value: u64) -> Self {
        Self {
            silent: true,
            ..Self::process(0, value)
        }
    }

    /// A signal to the process.
    pub fn process(signo: i32, value: u64) -> Self {
        Self {
            signo,
            value,
            thread: None,
            silent: false,
            posix: true,
        }
    }

    /// A signal to one thread.
    pub fn thread(signo: i32, value: u64, thread: &Arc<Thread>) -> Self {
        Self {
            thread: Some(Arc::downgrade(thread)),
            ..Self::process(signo, value)
        }
    }
}

struct State {
    process: Weak<Process>,
    clock: ClockKind,
    notify: Notify,
    id: i32,
    /// When it expires next, in its clock's time; 0 when disarmed.
    due: AtomicU64,
    interval: AtomicU64,
    overrun: AtomicI32,
    /// Overruns of the last signal that was taken.
    last_overrun: AtomicI32,
    timer: OnceLock<Timer>,
}

struct Entry {
    state: Arc<State>,
}

/// Timers whose kernel timer has fired.
static FIRED: IrqLock<VecDeque<Arc<State>>> = IrqLock::new(VecDeque::new());
static WORK: WaitQueue = WaitQueue::new();

/// Serves timers that have fired. The body of a kernel thread.
pub fn run_worker() {
    loop {
        let next = WORK.wait(SleepMode::Uninterruptible, None, || {
            FIRED.lock().pop_front()
        });
        if let Ok(state) = next
            && let Some(deadline) = state.fired()
        {
            state.arm(deadline);
        }
    }
}

impl State {
    fn arm(&self, deadline: u64) {
        if let Some(timer) = self.timer.get() {
            timer.arm(deadline);
        }
    }

    /// The clock's time now; 0 when what it counts is gone.
    fn now(&self) -> u64 {
        match self.clock {
            ClockKind::Monotonic => monotonic_ns(),
            ClockKind::Wall(ClockId::CLOCK_TAI) => {
                (realtime_ns() + clock::tai_offset() * 1_000_000_000).max(0) as u64
            }
            ClockKind::Wall(_) => realtime_ns().max(0) as u64,
            ClockKind::ProcessCpu => self.process.upgrade().map_or(0, |p| {
                let usage = p.usage();
                usage.user_ns + usage.system_ns
            }),
            ClockKind::ProcessUser => self.process.upgrade().map_or(0, |p| p.usage().user_ns),
            ClockKind::ThreadCpu(tid) => find_thread(tid).map_or(0, |thread| {
                let usage = thread_usage(&thread);
                usage.user_ns + usage.system_ns
            }),
        }
    }

    /// The monotonic deadline at which to look again, for `due` in the clock's time.
    fn deadline(&self, due: u64) -> u64 {
        let left = due.saturating_sub(self.now());
        let ahead = match self.clock {
            ClockKind::Monotonic | ClockKind::Wall(_) | ClockKind::ThreadCpu(_) => left,
            // All CPUs together can use that much sooner.
            ClockKind::ProcessCpu | ClockKind::ProcessUser => left / keel_hal::cpu::count() as u64,
        };
        // CPU clocks stand still while nothing runs: not more often than every millisecond.
        let least = if self.is_cpu_clock() { 1_000_000 } else { 0 };
        monotonic_ns().saturating_add(ahead.max(least))
    }

    fn is_cpu_clock(&self) -> bool {
        !matches!(self.clock, ClockKind::Monotonic | ClockKind::Wall(_))
    }

    /// The kernel timer fired: the next deadline, if any.
    fn fired(&self) -> Option<u64> {
        let due = self.due.load(Ordering::Relaxed);
        if due == 0 {
            return None;
        }
        let now = self.now();
        if now < due {
            return Some(self.deadline(due));
        }
        let interval = self.interval.load(Ordering::Relaxed);
        let periods = (now - due).checked_div(interval);
        let next = periods.map_or(0, |n| due + (n + 1) * interval);
        self.due.store(next, Ordering::Relaxed);
        self.expire(periods.unwrap_or(0).min(i32::MAX as u64) as i32);
        (next != 0).then(|| self.deadline(next))
    }

    /// One expiry, and `missed` more that came with it.
    fn expire(&self, missed: i32) {
        if self.notify.silent {
            return;
        }
        let Some(process) = self.process.upgrade() else {
            return;
        };
        let signo = self.notify.signo;
        if !self.notify.posix {
            signal::send_process(&process, SigInfo::kernel(signo));
            return;
        }
        let target = self.notify.thread.as_ref().and_then(Weak::upgrade);
        let pending = match &target {
            Some(thread) => thread.signals.pending_set(),
            None => process.signals.pending_set(),
        };
        if pending & bit(signo) != 0 {
            let more = missed.saturating_add(1);
            let _ = self
                .overrun
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                    Some(count.saturating_add(more))
                });
            return;
        }
        // What comes until the signal is taken is counted then.
        self.overrun.store(missed, Ordering::Relaxed);
        let signal = keel_abi::flags::Signal(signo);
        let info = SigInfo::new(Siginfo::timer(signal, self.id, 0, self.notify.value));
        match target {
            Some(thread) => signal::send_thread(&thread, info),
            None if self.notify.thread.is_none() => signal::send_process(&process, info),
            None => {}
        }
    }

    fn read(&self) -> (u64, u64) {
        let due = self.due.load(Ordering::Relaxed);
        let left = if due == 0 {
            0
        } else {
            due.saturating_sub(self.now()).max(1)
        };
        (left, self.interval.load(Ordering::Relaxed))
    }
}

impl Entry {
    fn new(process: &Arc<Process>, clock: ClockKind, notify: Notify, id: i32) -> Self {
        let state = Arc::new(State {
            process: Arc::downgrade(process),
            clock,
            notify,
            id,
            due: AtomicU64::new(0),
            interval: AtomicU64::new(0),
            overrun: AtomicI32::new(0),
            last_overrun: AtomicI32::new(0),
            timer: OnceLock::new(),
        });
        let me = Arc::downgrade(&state);
        state.timer.call_once(|| {
            Timer::new(move || {
                if let Some(state) = me.upgrade() {
                    FIRED.lock().push_back(state);
                    WORK.wake_all();
                }
            })
        });
        Self { state }
    }

    /// Arms it `value` from now (or at `value`); 0 disarms.
    fn set(&self, value: u64, interval: u64, absolute: bool) {
        if let Some(timer) = self.state.timer.get() {
            timer.cancel();
        }
        let due = match (value, absolute) {
            (0, _) => 0,
            (at, true) => at,
            (after, false) => self.state.now().saturating_add(after),
        };
        self.state.interval.store(interval, Ordering::Relaxed);
        self.state.due.store(due, Ordering::Relaxed);
        self.state.overrun.store(0, Ordering::Relaxed);
        self.state.last_overrun.store(0, Ordering::Relaxed);
        if due != 0 {
            self.state.arm(self.state.deadline(due));
        }
    }
}

/// All timers of a process.
#[derive(Default)]
pub struct ProcessTimers {
    intervals: Mutex<[Option<Entry>; 3]>,
    posix: SpinLock<BTreeMap<i32, Entry>>,
    next_id: AtomicI32,
}

impl ProcessTimers {
    /// exec keeps interval timers and deletes POSIX timers.
    pub fn exec_reset(&self) {
        let old = core::mem::take(&mut *self.posix.lock());
        drop(old);
    }

    /// Deletes everything (exit).
    pub fn delete_all(&self) {
        let old = core::mem::take(&mut *self.intervals.lock());
        drop(old);
        self.exec_reset();
    }

    /// Nanoseconds until an interval timer fires (0 if disarmed), and its period.
    pub fn interval(&self, which: Which, _process: &Arc<Process>) -> (u64, u64) {
        let timers = self.intervals.lock();
        timers[which as usize]
            .as_ref()
            .map_or((0, 0), |entry| entry.state.read())
    }

    /// Sets an interval timer of `process`: first shot after `value` (0 disarms), then every `interval`.
    pub fn set_interval(&self, which: Which, process: &Arc<Process>, value: u64, interval: u64) {
        let mut timers = self.intervals.lock();
        let entry = timers[which as usize].get_or_insert_with(|| {
            let (clock, signo) = match which {
                Which::Real => (ClockKind::Monotonic, sig::ALRM),
                Which::Virtual => (ClockKind::ProcessUser, sig::VTALRM),
                Which::Prof => (ClockKind::ProcessCpu, sig::PROF),
            };
            let notify = Notify {
                posix: false,
                ..Notify::process(signo, 0)
            };
            Entry::new(process, clock, notify, 0)
        });
        entry.set(value, interval, false);
    }

    /// A new POSIX timer's number: EAGAIN beyond RLIMIT_SIGPENDING. `value_is_id`: no value was given, the
    /// signal carries the number.
    pub fn create(
        &self,
        process: &Arc<Process>,
        clock: ClockKind,
        mut notify: Notify,
        value_is_id: bool,
    ) -> Result<i32> {
        let mut timers = self.posix.lock();
        if timers.len() as u64 >= process.rlimits.soft(Resource::Sigpending) {
            return Err(Errno::EAGAIN);
        }
        let mut id = self.next_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        while timers.contains_key(&id) {
            id = self.next_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        }
        if value_is_id {
            notify.value = id as u64;
        }
        timers.insert(id, Entry::new(process, clock, notify, id));
        Ok(id)
    }

    /// Sets a POSIX timer: EINVAL. Gives what it was set to.
    pub fn settime(
        &self,
        id: i32,
        value: u64,
        interval: u64,
        absolute: bool,
    ) -> Result<(u64, u64)> {
        let timers = self.posix.lock();
        let entry = timers.get(&id).ok_or(Errno::EINVAL)?;
        let old = entry.state.read();
        entry.set(value, interval, absolute);
        Ok(old)
    }

    /// What a POSIX timer is set to: EINVAL.
    pub fn gettime(&self, id: i32) -> Result<(u64, u64)> {
        self.posix
            .lock()
            .get(&id)
            .map(|entry| entry.state.read())
            .ok_or(Errno::EINVAL)
    }

    /// Overruns of the last expiry that was signalled: EINVAL.
    pub fn overrun(&self, id: i32) -> Result<i32> {
        let timers = self.posix.lock();
        let entry = timers.get(&id).ok_or(Errno::EINVAL)?;
        Ok(entry.state.last_overrun.load(Ordering::Relaxed))
    }

    /// A timer's signal is taken: how many expiries were missed up to now. `None` if the timer is gone.
    pub fn delivered(&self, id: i32) -> Option<i32> {
        let timers = self.posix.lock();
        let state = &timers.get(&id)?.state;
        let overrun = state.overrun.swap(0, Ordering::Relaxed);
        state.last_overrun.store(overrun, Ordering::Relaxed);
        Some(overrun)
    }

    /// Deletes a POSIX timer: EINVAL.
    pub fn delete(&self, id: i32) -> Result<()> {
        let gone = self.posix.lock().remove(&id);
        gone.map(drop).ok_or(Errno::EINVAL)
    }
}
