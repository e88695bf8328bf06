//! Terminals (tty(4), termios(3), ioctl_tty(2)): serial lines, the console, pseudo-terminals.
//!
//! * [`Tty`]: a terminal: its modes, its line discipline, its session; what descriptors, drivers and job control share.
//! * [`ldisc`]: the N_TTY line discipline: editing, echo, signals, what a read gives.
//! * [`job`]: sessions, controlling terminals, foreground groups.
//! * [`serial`], [`console`], [`pty`]: the drivers.
//!
//! Input arrives in interrupts, goes into a queue under an interrupt-safe lock, and is worked on by a kernel thread
//! (or for a pty by the writer), since echo and signals need sleeping locks. Lock order: `ldisc` → session → process
//! and signal locks.

mod console;
mod ioctl;
pub mod job;
mod ldisc;
pub mod pty;
mod serial;

use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use keel_abi::flags::{IoctlCmd, LocalFlags, OpenFlags};
use keel_abi::types::{Termios2, Winsize};

pub use console::terminal as console_terminal;
pub use job::session_leader_exited;
use ldisc::{Input, LineDiscipline};

use super::CharDevice;
use crate::fs::{File, FileOps, Inode, IoDst, IoSrc, PollEvents, PollTable};
use crate::prelude::*;
use crate::process::signal::{SigInfo, send_pgrp, sig};

/// Where a terminal's output goes.
pub trait TtyDriver: Send + Sync {
    /// Takes output; how many bytes of it. Less than all only for pseudo-terminals whose master does not read.
    fn write(&self, tty: &Tty, bytes: &[u8]) -> usize;

    /// Bytes that [`Self::write`] would take now.
    fn room(&self) -> usize {
        usize::MAX
    }

    /// Modes changed.
    fn modes_changed(&self, _old: &Termios2, _new: &Termios2) {}

    /// The driver's own ioctls: `None` if it does not know the command.
    fn ioctl(&self, _tty: &Arc<Tty>, _cmd: u32, _arg: u64) -> Option<Result<usize>> {
        None
    }

    /// The last descriptor was closed.
    fn closed(&self, _tty: &Arc<Tty>) {}

    /// Output was stopped or started by the line discipline (TIOCPKT).
    fn flow_changed(&self, _stopped: bool) {}

    /// A program took input: there is room for more.
    fn input_taken(&self, _tty: &Tty) {}

    /// Unread input was thrown away by a program (TIOCPKT).
    fn input_flushed(&self) {}

    /// Throws away output that has not left yet.
    fn flush_output(&self, _tty: &Tty) {}

    /// What the modes go back to at a hang-up; `None` if they stay.
    fn initial_modes(&self) -> Option<Termios2> {
        None
    }
}

/// A terminal.
pub struct Tty {
    /// Its name below /dev.
    pub name: String,
    /// Its device number.
    pub rdev: u64,
    /// Where output goes.
    pub driver: Box<dyn TtyDriver>,
    modes: RwSpinLock<Termios2>,
    winsize: SpinLock<Winsize>,
    ldisc: Mutex<LineDiscipline>,
    /// Session and foreground group; 0 for none.
    session: AtomicU32,
    foreground: AtomicU32,
    /// Output is stopped (Ctrl-S, TCXONC).
    stopped: AtomicBool,
    /// How often the line was hung up: for descriptions from before, reads end and writes fail.
    hangups: AtomicU32,
    /// The line will not come back.
    dead: AtomicBool,
    /// TIOCEXCL.
    exclusive: AtomicBool,
    /// Open descriptions.
    opened: AtomicU32,
    /// Serialises writers, so that the output of one call is not mixed with another's.
    writing: Mutex<()>,
    /// Sleepers in read, and pollers.
    pub readable: Arc<WaitQueue>,
    /// Sleepers in write, and pollers.
    pub writable: Arc<WaitQueue>,
}

impl Tty {
    /// A terminal with these initial modes.
    pub fn new(name: &str, rdev: u64, driver: Box<dyn TtyDriver>, modes: Termios2) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            rdev,
            driver,
            modes: RwSpinLock::new(modes),
            winsize: SpinLock::new(Winsize::default()),
            ldisc: Mutex::new(LineDiscipline::default()),
            session: AtomicU32::new(0),
            foreground: AtomicU32::new(0),
            stopped: AtomicBool::new(false),
            hangups: AtomicU32::new(0),
            dead: AtomicBool::new(false),
            exclusive: AtomicBool::new(false),
            opened: AtomicU32::new(0),
            writing: Mutex::new(()),
            readable: Arc::new(WaitQueue::new()),
            writable: Arc::new(WaitQueue::new()),
        })
    }

    /// Its modes.
    pub fn modes(&self) -> Termios2 {
        *self.modes.read()
    }

    /// Changes its modes.
    pub fn set_modes(&self, new: Termios2) {
        let mut disc = self.ldisc.lock();
        let old = core::mem::replace(&mut *self.modes.write(), new);
        let canonical = ldisc::is_canonical(&new);
        if ldisc::is_canonical(&old) != canonical {
            disc.mode_switched(canonical);
        }
        drop(disc);
        self.driver.modes_changed(&old, &new);
        self.driver.input_taken(self);
        self.readable.wake_all();
    }

    /// Its size.
    pub fn winsize(&self) -> Winsize {
        *self.winsize.lock()
    }

    /// Changes its size; the foreground group is told when it really changes.
    pub fn set_winsize(&self, new: Winsize) {
        let old = core::mem::replace(&mut *self.winsize.lock(), new);
        if old != new {
            self.signal_foreground(sig::WINCH);
        }
    }

    /// Its session; 0 for none.
    pub fn session(&self) -> u32 {
        self.session.load(Ordering::Relaxed)
    }

    /// Its foreground process group; 0 for none.
    pub fn foreground(&self) -> u32 {
        self.foreground.load(Ordering::Relaxed)
    }

    fn signal_foreground(&self, signo: i32) {
        let pgid = self.foreground();
        if pgid != 0 {
            send_pgrp(pgid, SigInfo::kernel(signo));
        }
    }

    /// Input came in: edits, echoes, signals, and wakes readers. May sleep.
    pub fn receive(&self, bytes: &[u8]) {
        let modes = self.modes();
        let mut echo = Vec::new();
        let mut signals = Vec::new();
        let was_stopped = self.stopped.load(Ordering::Relaxed);
        let mut stopped = was_stopped;
        {
            let mut disc = self.ldisc.lock();
            for byte in bytes {
                match disc.input(*byte, &modes, stopped, &mut echo) {
                    Input::Data => {}
                    Input::Stop => stopped = true,
                    Input::Start => stopped = false,
                    Input::Signal(signo) => signals.push(signo),
                }
            }
        }
        if stopped != was_stopped {
            self.set_stopped(stopped);
        }
        if !signals.is_empty() && modes.c_lflag & LocalFlags::NOFLSH.bits() == 0 {
            self.driver.flush_output(self);
        }
        if !echo.is_empty() {
            self.driver.write(self, &echo);
        }
        for signo in signals {
            self.signal_foreground(signo);
        }
        if self.ldisc.lock().readable(&modes) {
            self.readable.wake(usize::MAX, PollEvents::READABLE.key());
        }
    }

    /// Stops or starts output.
    pub fn set_stopped(&self, stopped: bool) {
        self.stopped.store(stopped, Ordering::Relaxed);
        self.driver.flow_changed(stopped);
        if !stopped {
            self.writable.wake(usize::MAX, PollEvents::WRITABLE.key());
        }
    }

    /// Bytes of input that are welcome now (what comes from a pty's master waits otherwise).
    pub fn input_room(&self) -> usize {
        let modes = self.modes();
        self.ldisc.lock().welcome(&modes)
    }

    /// Throws away unread input.
    pub fn flush_input(&self) {
        self.ldisc.lock().flush();
        self.driver.input_flushed();
        self.driver.input_taken(self);
    }

    /// Throws away output that has not left yet.
    pub fn flush_output(&self) {
        self.driver.flush_output(self);
    }

    /// Whether any description of it is open.
    pub fn is_open(&self) -> bool {
        self.opened.load(Ordering::Acquire) > 0
    }

    /// Whether the line was hung up since a description noted `hangups`; without a note it does not mind.
    fn is_gone(&self, hangups: Option<u32>) -> bool {
        let hung_up = |noted| self.hangups.load(Ordering::Acquire) != noted;
        self.dead.load(Ordering::Acquire) || hangups.is_some_and(hung_up)
    }

    /// Writes text as programs do: with output processing; all of it unless a signal comes.
    fn write_output(&self, file: &File, src: &mut IoSrc, hangups: Option<u32>) -> Result<usize> {
        let _one = self.writing.lock();
        let mut chunk = vec![0; src.remaining().clamp(1, 2048)];
        let mut total = 0;
        while src.remaining() > 0 {
            if self.is_gone(hangups) {
                return if total > 0 {
                    Ok(total)
                } else {
                    Err(Errno::EIO)
                };
            }
            if self.stopped.load(Ordering::Relaxed) || self.driver.room() < 2 {
                if file.nonblocking() {
                    return if total > 0 {
                        Ok(total)
                    } else {
                        Err(Errno::EAGAIN)
                    };
                }
                let ready = || {
                    let go = !self.stopped.load(Ordering::Relaxed) && self.driver.room() >= 2;
                    (go || self.is_gone(hangups)).then_some(())
                };
                if self
                    .writable
                    .wait(SleepMode::Interruptible, None, ready)
                    .is_err()
                {
                    return if total > 0 {
                        Ok(total)
                    } else {
                        Err(Errno::ERESTARTSYS)
                    };
                }
                continue;
            }
            let want = chunk.len().min(self.driver.room() / 2).max(1);
            let n = match src.take(&mut chunk[..want]) {
                Ok(n) => n,
                Err(error) if total == 0 => return Err(error),
                Err(_) => break,
            };
            let modes = self.modes();
            let mut out = Vec::with_capacity(n + 16);
            self.ldisc.lock().output(&chunk[..n], &modes, &mut out);
            self.driver.write(self, &out);
            total += n;
            if total < n + src.remaining() && keel_hal::task::current().interrupted() {
                break;
            }
        }
        Ok(total)
    }

    /// Reads as the modes say: lines, or VMIN and VTIME.
    fn read_input(&self, file: &File, dst: &mut IoDst, hangups: Option<u32>) -> Result<usize> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        let modes = self.modes();
        let plan = ldisc::read_plan(&modes, dst.remaining());
        let start = keel_hal::time::now();
        let mut deadline = plan.first_timeout.map(|ns| start + ns);
        let mut last_len = 0;
        loop {
            if self.is_gone(hangups) {
                return Ok(0);
            }
            job::check_read(self)?;
            let mut bytes = vec![0; dst.remaining().min(4096)];
            let taken = {
                let mut disc = self.ldisc.lock();
                let len = disc.available(&self.modes());
                if len != last_len && plan.gap_timeout.is_some() && len > 0 {
                    deadline = plan.gap_timeout.map(|ns| keel_hal::time::now() + ns);
                }
                last_len = len;
                let late = deadline.is_some_and(|at| keel_hal::time::now() >= at);
                if disc.readable_for(&self.modes(), plan.minimum) || (late && len > 0) {
                    disc.take(&self.modes(), &mut bytes)
                } else if late {
                    return Ok(0);
                } else {
                    None
                }
            };
            if let Some(n) = taken {
                self.driver.input_taken(self);
                if !bytes[..n].is_empty() {
                    dst.put(&bytes[..n])?;
                }
                if self.ldisc.lock().readable(&self.modes()) {
                    self.readable.wake(1, PollEvents::READABLE.key());
                }
                return Ok(n);
            }
            if plan.minimum == 0 && plan.first_timeout.is_none() {
                return Ok(0);
            }
            if file.nonblocking() {
                return Err(Errno::EAGAIN);
            }
            let changed = || {
                let modes = self.modes();
                let disc = self.ldisc.lock();
                (disc.readable_for(&modes, plan.minimum)
                    || disc.available(&modes) != last_len
                    || self.is_gone(hangups))
                .then_some(())
            };
            match self
                .readable
                .wait(SleepMode::Interruptible, deadline, changed)
            {
                Ok(()) | Err(WaitError::TimedOut) => {}
                Err(WaitError::Interrupted) => return Err(Errno::ERESTARTSYS),
            }
        }
    }

    /// A pty's master was closed.
    fn hang_up_for_good(&self) {
        self.dead.store(true, Ordering::Release);
        self.hang_up();
    }

    /// The line is hung up (modem, vhangup(2), a pty's master): whoever has it open sees the end of it, and its
    /// session loses it. It can be opened anew unless the line is gone.
    pub fn hang_up(&self) {
        self.hangups.fetch_add(1, Ordering::AcqRel);
        self.stopped.store(false, Ordering::Relaxed);
        self.ldisc.lock().flush();
        if let Some(modes) = self.driver.initial_modes() {
            self.set_modes(modes);
        }
        let events = PollEvents::READABLE | PollEvents::HUP | PollEvents::ERR;
        self.readable.wake(usize::MAX, events.key());
        self.writable.wake(usize::MAX, events.key());
        job::hang_up_session(self);
    }
}

/// An open terminal.
pub struct TtyFile {
    tty: Arc<Tty>,
    /// `hangups` of the terminal when it was opened; `None` for the console, which outlives hang-ups.
    hangups: Option<u32>,
}

/// Opens a terminal; it becomes the controlling terminal of a session leader that has none, unless O_NOCTTY.
pub fn open_tty(tty: &Arc<Tty>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
    let privileged = crate::process::current_opt()
        .is_none_or(|thread| thread.cred().has(crate::process::Cap::SYS_ADMIN));
    if tty.exclusive.load(Ordering::Relaxed) && !privileged {
        return Err(Errno::EBUSY);
    }
    if tty.dead.load(Ordering::Acquire) {
        return Err(Errno::EIO);
    }
    let hangups = Some(tty.hangups.load(Ordering::Acquire));
    tty.opened.fetch_add(1, Ordering::AcqRel);
    if !flags.contains(OpenFlags::NOCTTY)
        && let Some(thread) = crate::process::current_opt()
    {
        job::maybe_acquire(&thread, tty, flags);
    }
    Ok(Arc::new(TtyFile {
        tty: tty.clone(),
        hangups,
    }))
}

/// Opens a terminal as the console: it never becomes a controlling terminal by that, and hang-ups do not end it.
pub fn open_console(tty: &Arc<Tty>) -> Arc<dyn FileOps> {
    tty.opened.fetch_add(1, Ordering::AcqRel);
    Arc::new(TtyFile {
        tty: tty.clone(),
        hangups: None,
    })
}

impl FileOps for TtyFile {
    fn read(&self, file: &File, dst: &mut IoDst, _pos: u64) -> Result<usize> {
        self.tty.read_input(file, dst, self.hangups)
    }

    fn write(&self, file: &File, src: &mut IoSrc, _pos: u64) -> Result<usize> {
        if self.tty.is_gone(self.hangups) {
            return Err(Errno::EIO);
        }
        job::check_write(&self.tty)?;
        self.tty.write_output(file, src, self.hangups)
    }

    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File, table: &mut PollTable) -> PollEvents {
        table.add(&self.tty.readable);
        table.add(&self.tty.writable);
        let mut events = PollEvents::empty();
        let modes = self.tty.modes();
        events.set(PollEvents::READABLE, self.tty.ldisc.lock().readable(&modes));
        let can_write = !self.tty.stopped.load(Ordering::Relaxed) && self.tty.driver.room() >= 2;
        events.set(PollEvents::WRITABLE, can_write);
        if self.tty.is_gone(self.hangups) {
            events =
                PollEvents::READABLE | PollEvents::WRITABLE | PollEvents::ERR | PollEvents::HUP;
        }
        events
    }

    fn ioctl(&self, file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        if self.tty.is_gone(self.hangups) {
            let sets_group = cmd == IoctlCmd::TIOCSPGRP.0;
            return Err(if sets_group {
                Errno::ENOTTY
            } else {
                Errno::EIO
            });
        }
        ioctl::ioctl(&self.tty, file, cmd, arg)
    }

    fn release(&self, _file: &File) {
        if self.tty.opened.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.tty.exclusive.store(false, Ordering::Relaxed);
            self.tty.driver.closed(&self.tty);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// /dev/tty: the controlling terminal of whoever opens it.
struct ControllingTty;

impl CharDevice for ControllingTty {
    fn open(&self, _inode: &Arc<Inode>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        let thread = crate::process::current_opt().ok_or(Errno::ENXIO)?;
        let tty = thread.process.tty.lock().clone().ok_or(Errno::ENXIO)?;
        open_tty(&tty, flags | OpenFlags::NOCTTY)
    }
}

/// Terminals of one driver by minor number.
pub(super) struct TtyRange {
    first_minor: u32,
    ttys: Vec<Option<Arc<Tty>>>,
}

impl CharDevice for TtyRange {
    fn open(&self, inode: &Arc<Inode>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        let minor = keel_abi::types::Dev::decode(inode.attr().rdev as u32).minor;
        let at = minor.checked_sub(self.first_minor).ok_or(Errno::ENXIO)? as usize;
        let tty = self
            .ttys
            .get(at)
            .and_then(Option::as_ref)
            .ok_or(Errno::ENXIO)?;
        open_tty(tty, flags)
    }
}

/// Finds the serial ports and chooses the console.
pub fn init() {
    serial::init();
    console::init();
    pty::init();
    super::register_char(5, 0..1, "/dev/tty", Arc::new(ControllingTty));
    crate::fs::devtmpfs::add_node("tty", 0o020_666, dev(5, 0));
}

/// A device number in the form that stat(2) shows.
pub fn dev(major: u32, minor: u32) -> u64 {
    keel_abi::types::Dev { major, minor }.encode()
}

/// Initial modes of a terminal (as Linux's `tty_std_termios`, at 115200 baud).
pub fn standard_modes() -> Termios2 {
    use keel_abi::flags::*;
    let mut modes = Termios2 {
        c_iflag: (InputFlags::ICRNL | InputFlags::IXON).bits(),
        c_oflag: (OutputFlags::OPOST | OutputFlags::ONLCR).bits(),
        c_cflag: B115200
            | CS8
            | (ControlFlags::CREAD | ControlFlags::HUPCL | ControlFlags::CLOCAL).bits(),
        c_lflag: (LocalFlags::ISIG
            | LocalFlags::ICANON
            | LocalFlags::ECHO
            | LocalFlags::ECHOE
            | LocalFlags::ECHOK
            | LocalFlags::ECHOCTL
            | LocalFlags::ECHOKE
            | LocalFlags::IEXTEN)
            .bits(),
        c_ispeed: 115_200,
        c_ospeed: 115_200,
        ..Termios2::default()
    };
    let keys = [
        (VINTR, 3),
        (VQUIT, 28),
        (VERASE, 127),
        (VKILL, 21),
        (VEOF, 4),
        (VTIME, 0),
        (VMIN, 1),
        (VSTART, 17),
        (VSTOP, 19),
        (VSUSP, 26),
        (VREPRINT, 18),
        (VDISCARD, 15),
        (VWERASE, 23),
        (VLNEXT, 22),
    ];
    for (at, key) in keys {
        modes.c_cc[at] = key;
    }
    modes
}
