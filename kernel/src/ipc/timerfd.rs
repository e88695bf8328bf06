//! Timers that are read as files (timerfd_create(2)).

use core::any::Any;
use keel_abi::args::UserPtr;
use keel_abi::flags::{ClockId, OpenFlags};

use crate::fs::{File, FileOps, IoDst, PollEvents, PollTable, anon_file};
use crate::prelude::*;
use crate::time::{Timer, monotonic_ns, realtime_ns};

/// TFD_IOC_SET_TICKS.
const SET_TICKS: u32 = 0x4008_5400;

#[derive(Clone, Copy, Default)]
struct State {
    /// Next expiry on the monotonic clock; 0 when disarmed.
    next: u64,
    interval: u64,
    /// Expiries that were not read yet.
    ticks: u64,
    /// Set absolutely against the wall clock: when in its time.
    wall: Option<i64>,
    cancel_on_set: bool,
    cancelled: bool,
}

struct Shared {
    state: IrqLock<State>,
    readable: Arc<WaitQueue>,
}

/// A timer descriptor.
pub struct TimerFd {
    clock: ClockId,
    shared: Arc<Shared>,
    timer: Timer,
}

/// Timers that care when the wall clock is set.
static WALL_TIMERS: SpinLock<Vec<Weak<TimerFd>>> = SpinLock::new(Vec::new());

/// A file over a new, disarmed timer.
pub fn create(clock: ClockId, flags: OpenFlags) -> Arc<File> {
    let shared = Arc::new(Shared {
        state: IrqLock::new(State::default()),
        readable: Arc::new(WaitQueue::new()),
    });
    let fired = shared.clone();
    let timer = Timer::repeating(move || fired.expire());
    let timerfd = Arc::new(TimerFd {
        clock,
        shared,
        timer,
    });
    if timerfd.is_wall_clock() {
        let mut list = WALL_TIMERS.lock();
        list.retain(|known| known.strong_count() > 0);
        list.push(Arc::downgrade(&timerfd));
    }
    anon_file("anon_inode:[timerfd]", timerfd, flags | OpenFlags::RDWR)
}

impl Shared {
    /// Counts what has expired; the next deadline of a periodic timer.
    fn expire(&self) -> Option<u64> {
        let next = {
            let mut state = self.state.lock();
            if state.next == 0 {
                return None;
            }
            let late = monotonic_ns().saturating_sub(state.next);
            let periods = late.checked_div(state.interval);
            state.ticks = state.ticks.saturating_add(periods.unwrap_or(0) + 1);
            state.next = periods.map_or(0, |n| state.next + (n + 1) * state.interval);
            state.next
        };
        self.readable.wake(usize::MAX, PollEvents::READABLE.key());
        (next != 0).then_some(next)
    }
}

/// What timerfd_settime(2) sets and timerfd_gettime(2) tells, in nanoseconds: until the next expiry (0 for
/// disarmed) and the period.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting {
    /// Until, or at, the first expiry.
    pub value: u64,
    /// Period; 0 for none.
    pub interval: u64,
}

impl TimerFd {
    fn is_wall_clock(&self) -> bool {
        matches!(
            self.clock,
            ClockId::CLOCK_REALTIME | ClockId::CLOCK_REALTIME_ALARM
        )
    }

    /// Arms or disarms; gives what was set before.
    pub fn set(&self, new: Setting, absolute: bool, cancel_on_set: bool) -> Setting {
        let old = self.get();
        self.timer.cancel();
        let now = monotonic_ns();
        let wall = (absolute && self.is_wall_clock()).then_some(new.value as i64);
        let next = match (new.value, absolute, wall) {
            (0, _, _) => 0,
            (_, _, Some(at)) => now.saturating_add(at.saturating_sub(realtime_ns()).max(0) as u64),
            (at, true, None) => at.max(1),
            (after, false, None) => now.saturating_add(after),
        };
        *self.shared.state.lock() = State {
            next,
            interval: new.interval,
            ticks: 0,
            wall: wall.filter(|_| new.value != 0),
            cancel_on_set: cancel_on_set && wall.is_some(),
            cancelled: false,
        };
        if next != 0 {
            self.timer.arm(next);
        }
        old
    }

    /// What is set.
    pub fn get(&self) -> Setting {
        let state = *self.shared.state.lock();
        let value = match state.next {
            0 => 0,
            next => next.saturating_sub(monotonic_ns()).max(1),
        };
        Setting {
            value,
            interval: state.interval,
        }
    }

    fn take(&self) -> Option<Result<u64>> {
        let mut state = self.shared.state.lock();
        if core::mem::take(&mut state.cancelled) {
            return Some(Err(Errno::ECANCELED));
        }
        match core::mem::take(&mut state.ticks) {
            0 => None,
            ticks => Some(Ok(ticks)),
        }
    }

    /// The wall clock was set: the deadline moves, or the timer is cancelled.
    fn clock_was_set(&self) {
        let next = {
            let mut state = self.shared.state.lock();
            if state.cancel_on_set {
                state.cancelled = true;
            }
            match state.wall {
                Some(at) if state.next != 0 => {
                    let left = at.saturating_sub(realtime_ns()).max(0) as u64;
                    state.next = monotonic_ns().saturating_add(left);
                    Some(state.next)
                }
                _ => None,
            }
        };
        if let Some(next) = next {
            self.timer.arm(next);
        }
        self.shared
            .readable
            .wake(usize::MAX, PollEvents::READABLE.key());
    }
}

/// The wall clock was set: timers with TFD_TIMER_CANCEL_ON_SET are cancelled, absolute ones move.
pub fn clock_was_set() {
    let timers: Vec<_> = WALL_TIMERS
        .lock()
        .iter()
        .filter_map(Weak::upgrade)
        .collect();
    for timer in timers {
        timer.clock_was_set();
    }
}

impl FileOps for TimerFd {
    fn read(&self, file: &File, dst: &mut IoDst, _pos: u64) -> Result<usize> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let ticks = match self.take() {
            Some(ticks) => ticks?,
            None if file.nonblocking() => return Err(Errno::EAGAIN),
            None => self
                .shared
                .readable
                .wait(SleepMode::Interruptible, None, || self.take())
                .map_err(|_| Errno::ERESTARTSYS)??,
        };
        dst.put(&ticks.to_ne_bytes())
    }

    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File, table: &mut PollTable) -> PollEvents {
        table.add(&self.shared.readable);
        let state = *self.shared.state.lock();
        if state.ticks > 0 || state.cancelled {
            PollEvents::READABLE
        } else {
            PollEvents::empty()
        }
    }

    fn ioctl(&self, _file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        use crate::mm::user::UserAccess;
        if cmd != SET_TICKS {
            return Err(Errno::ENOTTY);
        }
        let ticks = UserPtr::<u64>::new(arg).read()?;
        if ticks == 0 {
            return Err(Errno::EINVAL);
        }
        self.shared.state.lock().ticks = ticks;
        self.shared
            .readable
            .wake(usize::MAX, PollEvents::READABLE.key());
        Ok(0)
    }

    fn show_fdinfo(&self, _file: &File, out: &mut String) {
        let state = *self.shared.state.lock();
        let setting = self.get();
        let pair = |ns: u64| (ns / 1_000_000_000, ns % 1_000_000_000);
        let ((vs, vn), (is, inn)) = (pair(setting.value), pair(setting.interval));
        out.push_str(&format!(
            "clockid: {}\nticks: {}\nsettime flags: 0{}\nit_value: ({vs}, {vn})\nit_interval: ({is}, {inn})\n",
            self.clock.0,
            state.ticks,
            u32::from(state.wall.is_some()) | u32::from(state.cancel_on_set) << 1,
        ));
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
