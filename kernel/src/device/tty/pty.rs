//! Pseudo-terminals (pty(7), pts(4), ioctl_tty(2)): a terminal whose line is a program, the one that opened ptmx.
//!
//! * [`Pty`]: a pair: the slave, which is a [`Tty`], and the [`Link`] to its master.
//! * [`MasterFile`]: the master's end. What is written to it is the slave's input, what programs write to the slave
//!   is read from it.
//!
//! The line discipline works in the context of whoever makes it move: the master's writer, or a reader of the slave
//! that makes room. Lock order: `pump` → the slave's `ldisc` → `queues`. The slave's number is free again when both
//! ends are closed; its node goes with the master.

use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use keel_abi::args::{Fd, Pid, UserPtr};
use keel_abi::flags::{
    B38400, CS8, ControlFlags, InputFlags, IoctlCmd, LocalFlags, OpenFlags, TCIFLUSH, TCIOFLUSH,
    TCOFLUSH, TIOCPKT_DATA, TIOCPKT_DOSTOP, TIOCPKT_FLUSHREAD, TIOCPKT_FLUSHWRITE, TIOCPKT_IOCTL,
    TIOCPKT_NOSTOP, TIOCPKT_START, TIOCPKT_STOP, VSTART, VSTOP,
};
use keel_abi::types::Termios2;

use super::{Tty, TtyDriver, dev, ioctl, open_tty, standard_modes};
use crate::device::{CharDevice, register_char};
use crate::fs::devpts::{self, Instance};
use crate::fs::{File, FileOps, Inode, IoDst, IoSrc, Path, PollEvents, PollTable};
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::current;
use crate::process::signal::{SigInfo, send_pgrp, sig};

/// Device number of ptmx.
pub const MASTER: (u32, u32) = (5, 2);
/// Major of the slaves.
pub const SLAVE_MAJOR: u32 = 136;
const SLAVES: u32 = 1 << 20;

/// Bytes that wait for the slave's line discipline at most.
const INPUT_LIMIT: usize = 8192;
/// Bytes that wait for the master beyond which programs that write to the slave wait.
const OUTPUT_LIMIT: usize = 12 << 10;
/// Beyond this even echo and what output processing added is dropped.
const OUTPUT_HARD_LIMIT: usize = 64 << 10;
const CHUNK: usize = 4096;

#[derive(Default)]
struct Queues {
    /// From the slave, to be read from the master.
    output: VecDeque<u8>,
    /// From the master, not seen by the slave's line discipline yet.
    input: VecDeque<u8>,
}

/// What the two ends share.
pub struct Link {
    number: u32,
    instance: Arc<Instance>,
    queues: SpinLock<Queues>,
    /// Keeps input in order.
    pump: Mutex<()>,
    /// TIOCPKT: reads of the master tell what kind they are.
    packet: AtomicBool,
    /// TIOCPKT_* that the master has not read yet.
    status: AtomicU8,
    /// TIOCSPTLCK: the slave cannot be opened yet.
    locked: AtomicBool,
    master_closed: AtomicBool,
    /// The slave has been opened once.
    slave_used: AtomicBool,
    readable: Arc<WaitQueue>,
    writable: Arc<WaitQueue>,
}

impl Link {
    /// Notes an event for a master in packet mode: some bits go, some come.
    fn tell(&self, clear: u32, set: u32) {
        if !self.packet.load(Ordering::Acquire) {
            return;
        }
        self.status.fetch_and(!(clear as u8), Ordering::AcqRel);
        self.status.fetch_or(set as u8, Ordering::AcqRel);
        self.readable
            .wake(usize::MAX, (PollEvents::READABLE | PollEvents::PRI).key());
    }

    fn has_status(&self) -> bool {
        self.packet.load(Ordering::Acquire) && self.status.load(Ordering::Acquire) != 0
    }

    fn input_space(&self) -> usize {
        INPUT_LIMIT.saturating_sub(self.queues.lock().input.len())
    }

    /// Lets the slave's line discipline have as much input as it can take. May sleep.
    fn pump(&self, tty: &Tty) {
        let _in_order = self.pump.lock();
        let mut moved = false;
        loop {
            let room = tty.input_room().min(CHUNK);
            let bytes: Vec<u8> = {
                let mut queues = self.queues.lock();
                let n = room.min(queues.input.len());
                queues.input.drain(..n).collect()
            };
            if bytes.is_empty() {
                break;
            }
            moved = true;
            tty.receive(&bytes);
        }
        if moved {
            self.writable.wake(usize::MAX, PollEvents::WRITABLE.key());
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.instance.free_number(self.number);
    }
}

/// A master and its slave.
pub struct Pty {
    /// The slave.
    pub tty: Arc<Tty>,
    link: Arc<Link>,
    /// Serialises writers of the master.
    writing: Mutex<()>,
}

/// The slave's line.
struct PtyDriver {
    link: Arc<Link>,
}

impl TtyDriver for PtyDriver {
    fn write(&self, _tty: &Tty, bytes: &[u8]) -> usize {
        if self.link.master_closed.load(Ordering::Acquire) {
            return bytes.len();
        }
        let taken = {
            let mut queues = self.link.queues.lock();
            let n = bytes
                .len()
                .min(OUTPUT_HARD_LIMIT.saturating_sub(queues.output.len()));
            queues.output.extend(bytes.iter().take(n));
            n
        };
        self.link
            .readable
            .wake(usize::MAX, PollEvents::READABLE.key());
        taken
    }

    fn room(&self) -> usize {
        OUTPUT_LIMIT.saturating_sub(self.link.queues.lock().output.len())
    }

    fn modes_changed(&self, old: &Termios2, new: &Termios2) {
        // Whether the usual keys stop and start output: the master's program may act on them itself.
        let flow = |modes: &Termios2| {
            modes.c_iflag & InputFlags::IXON.bits() != 0
                && modes.c_cc[VSTOP] == 19
                && modes.c_cc[VSTART] == 17
        };
        let external = (old.c_lflag | new.c_lflag) & LocalFlags::EXTPROC.bits() != 0;
        if flow(old) == flow(new) && !external {
            return;
        }
        let mut set = if flow(new) {
            TIOCPKT_DOSTOP
        } else {
            TIOCPKT_NOSTOP
        };
        if external {
            set |= TIOCPKT_IOCTL;
        }
        self.link.tell(TIOCPKT_DOSTOP | TIOCPKT_NOSTOP, set);
    }

    fn closed(&self, _tty: &Arc<Tty>) {
        let events = PollEvents::READABLE | PollEvents::HUP;
        self.link.readable.wake(usize::MAX, events.key());
        self.link
            .writable
            .wake(usize::MAX, (PollEvents::WRITABLE | PollEvents::HUP).key());
    }

    fn flow_changed(&self, stopped: bool) {
        let (clear, set) = if stopped {
            (TIOCPKT_START, TIOCPKT_STOP)
        } else {
            (TIOCPKT_STOP, TIOCPKT_START)
        };
        self.link.tell(clear, set);
    }

    fn input_taken(&self, tty: &Tty) {
        if !self.link.queues.lock().input.is_empty() {
            self.link.pump(tty);
        }
    }

    fn input_flushed(&self) {
        self.link.tell(0, TIOCPKT_FLUSHREAD);
    }

    fn flush_output(&self, tty: &Tty) {
        self.link.queues.lock().output.clear();
        self.link.tell(0, TIOCPKT_FLUSHWRITE);
        tty.writable.wake(usize::MAX, PollEvents::WRITABLE.key());
    }

    fn initial_modes(&self) -> Option<Termios2> {
        Some(slave_modes())
    }
}

/// A new slave's modes.
fn slave_modes() -> Termios2 {
    Termios2 {
        c_cflag: B38400 | CS8 | ControlFlags::CREAD.bits(),
        c_ispeed: 38_400,
        c_ospeed: 38_400,
        ..standard_modes()
    }
}

/// /dev/ptmx and the `ptmx` of each devpts.
struct Ptmx;

impl CharDevice for Ptmx {
    fn open(&self, _inode: &Arc<Inode>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        // Which devpts the pair belongs to is a matter of where the node is.
        Err(Errno::ENODEV)
    }

    fn open_at(&self, place: &Path, _: &Arc<Inode>, _: OpenFlags) -> Result<Arc<dyn FileOps>> {
        let sb = devpts::root_for(place)?.mount.sb.clone();
        let instance = devpts::instance_of(&sb).ok_or(Errno::ENODEV)?;
        let number = instance.take_number()?;
        let link = Arc::new(Link {
            number,
            instance: instance.clone(),
            queues: SpinLock::new(Queues::default()),
            pump: Mutex::new(()),
            packet: AtomicBool::new(false),
            status: AtomicU8::new(0),
            locked: AtomicBool::new(true),
            master_closed: AtomicBool::new(false),
            slave_used: AtomicBool::new(false),
            readable: Arc::new(WaitQueue::new()),
            writable: Arc::new(WaitQueue::new()),
        });
        let driver = Box::new(PtyDriver { link: link.clone() });
        let tty = Tty::new(
            &format!("pts/{number}"),
            dev(SLAVE_MAJOR, number),
            driver,
            slave_modes(),
        );
        let pty = Arc::new(Pty {
            tty,
            link,
            writing: Mutex::new(()),
        });
        devpts::add_node(&sb, number, &pty)?;
        Ok(Arc::new(MasterFile { pty }))
    }
}

/// The slaves.
struct Slaves;

impl CharDevice for Slaves {
    fn open(&self, inode: &Arc<Inode>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        let pty = devpts::pty_of(inode)?;
        if pty.link.locked.load(Ordering::Acquire) {
            return Err(Errno::EIO);
        }
        open_slave(&pty, flags)
    }
}

/// Opens the slave: EIO if its master is closed.
fn open_slave(pty: &Pty, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
    let ops = open_tty(&pty.tty, flags)?;
    pty.link.slave_used.store(true, Ordering::Release);
    Ok(ops)
}

/// An open master.
struct MasterFile {
    pty: Arc<Pty>,
}

impl MasterFile {
    fn link(&self) -> &Link {
        &self.pty.link
    }

    /// Everybody who had the slave open has closed it.
    fn slave_closed(&self) -> bool {
        self.link().slave_used.load(Ordering::Acquire) && !self.pty.tty.is_open()
    }

    /// Takes what a read of up to `len` bytes gives, `None` if there is nothing.
    fn take(&self, len: usize) -> Option<Vec<u8>> {
        let link = self.link();
        let packet = link.packet.load(Ordering::Acquire);
        let mut bytes = Vec::new();
        if packet {
            let status = link.status.swap(0, Ordering::AcqRel);
            if status != 0 {
                return Some(vec![status]);
            }
            bytes.push(TIOCPKT_DATA as u8);
        }
        let mut queues = link.queues.lock();
        if queues.output.is_empty() {
            return None;
        }
        let n = queues.output.len().min(len - bytes.len()).min(CHUNK);
        bytes.extend(queues.output.drain(..n));
        Some(bytes)
    }

    fn has_output(&self) -> bool {
        !self.link().queues.lock().output.is_empty()
    }

    /// TIOCGPTPEER: a descriptor of the slave, wherever the caller's /dev/pts is.
    fn open_peer(&self, file: &Arc<File>, flags: u64) -> Result<usize> {
        let thread = current();
        let flags = OpenFlags::from_bits_retain(u32::try_from(flags).map_err(|_| Errno::EINVAL)?);
        let root = devpts::root_for(&file.path)?;
        let path = devpts::node_path(&root, self.link().number)?;
        let inode = path.inode()?;
        if !Arc::ptr_eq(&devpts::pty_of(&inode)?, &self.pty) {
            return Err(Errno::EIO);
        }
        let ops = open_slave(&self.pty, flags)?;
        let peer = File::new(path, inode, ops, flags, thread.cred());
        if peer.writable() {
            peer.inode.write_count.fetch_add(1, Ordering::AcqRel);
        }
        let Fd(fd) = thread
            .files()
            .install(peer, flags.contains(OpenFlags::CLOEXEC))?;
        usize::try_from(fd).map_err(|_| Errno::EMFILE)
    }

    fn set_packet_mode(&self, on: bool) {
        let link = self.link();
        if on && !link.packet.load(Ordering::Acquire) {
            link.status.store(0, Ordering::Release);
        }
        link.packet.store(on, Ordering::Release);
    }

    /// TCFLSH: the master's input is what the slave wrote, its output what the slave has not read.
    fn flush_queues(&self, which: u64) -> Result<()> {
        let (input, output) = match u32::try_from(which) {
            Ok(TCIFLUSH) => (true, false),
            Ok(TCOFLUSH) => (false, true),
            Ok(TCIOFLUSH) => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        if input {
            self.link().queues.lock().output.clear();
            self.pty
                .tty
                .writable
                .wake(usize::MAX, PollEvents::WRITABLE.key());
        }
        if output {
            self.link().queues.lock().input.clear();
            self.pty.tty.flush_input();
            self.link()
                .writable
                .wake(usize::MAX, PollEvents::WRITABLE.key());
        }
        Ok(())
    }

    /// TIOCSIG: a signal to the slave's foreground group.
    fn signal(&self, signo: u64) -> Result<()> {
        let signo = i32::try_from(signo).map_err(|_| Errno::EINVAL)?;
        if !matches!(signo, sig::INT | sig::QUIT | sig::TSTP) {
            return Err(Errno::EINVAL);
        }
        let foreground = self.pty.tty.foreground();
        if foreground != 0 {
            send_pgrp(foreground, SigInfo::kernel(signo));
        }
        Ok(())
    }
}

impl FileOps for MasterFile {
    fn read(&self, file: &File, dst: &mut IoDst, _pos: u64) -> Result<usize> {
        let len = dst.remaining();
        if len == 0 {
            return Ok(0);
        }
        loop {
            // Asked first: what was written before the slave was closed can still be read.
            let closed = self.slave_closed();
            if let Some(bytes) = self.take(len) {
                self.pty
                    .tty
                    .writable
                    .wake(usize::MAX, PollEvents::WRITABLE.key());
                return dst.put(&bytes);
            }
            if closed {
                return Err(Errno::EIO);
            }
            if file.nonblocking() {
                return Err(Errno::EAGAIN);
            }
            let changed = || {
                (self.has_output() || self.link().has_status() || self.slave_closed()).then_some(())
            };
            let waited = self
                .link()
                .readable
                .wait(SleepMode::Interruptible, None, changed);
            waited.map_err(|_| Errno::ERESTARTSYS)?;
        }
    }

    fn write(&self, file: &File, src: &mut IoSrc, _pos: u64) -> Result<usize> {
        let link = self.link();
        let _one = match self.pty.writing.try_lock() {
            Some(guard) => guard,
            None if file.nonblocking() => return Err(Errno::EAGAIN),
            None => self.pty.writing.lock(),
        };
        let mut chunk = vec![0; src.remaining().min(CHUNK)];
        let mut total = 0;
        while src.remaining() > 0 {
            let space = link.input_space().min(chunk.len());
            if space == 0 {
                let failed = if file.nonblocking() {
                    Some(Errno::EAGAIN)
                } else {
                    let room = || (link.input_space() > 0).then_some(());
                    let waited = link.writable.wait(SleepMode::Interruptible, None, room);
                    waited.err().map(|_| Errno::ERESTARTSYS)
                };
                match failed {
                    Some(errno) if total == 0 => return Err(errno),
                    Some(_) => break,
                    None => continue,
                }
            }
            let n = match src.take(&mut chunk[..space]) {
                Ok(n) => n,
                Err(error) if total == 0 => return Err(error),
                Err(_) => break,
            };
            link.queues.lock().input.extend(&chunk[..n]);
            link.pump(&self.pty.tty);
            total += n;
        }
        Ok(total)
    }

    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File, table: &mut PollTable) -> PollEvents {
        table.add(&self.link().readable);
        table.add(&self.link().writable);
        let mut events = PollEvents::empty();
        events.set(PollEvents::READABLE, self.has_output());
        events.set(PollEvents::WRITABLE, self.link().input_space() > 0);
        if self.link().has_status() {
            events |= PollEvents::READABLE | PollEvents::PRI;
        }
        if self.slave_closed() {
            events |= PollEvents::HUP;
        }
        events
    }

    fn ioctl(&self, file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        let (link, tty) = (self.link(), &self.pty.tty);
        let int = UserPtr::<i32>::new(arg);
        match IoctlCmd(cmd) {
            IoctlCmd::TIOCGPTN => UserPtr::<u32>::new(arg).write(&link.number)?,
            IoctlCmd::TIOCSPTLCK => link.locked.store(int.read()? != 0, Ordering::Release),
            IoctlCmd::TIOCGPTLCK => int.write(&i32::from(link.locked.load(Ordering::Acquire)))?,
            IoctlCmd::TIOCGPTPEER => return self.open_peer(file, arg),
            IoctlCmd::TIOCPKT => self.set_packet_mode(int.read()? != 0),
            IoctlCmd::TIOCGPKT => int.write(&i32::from(link.packet.load(Ordering::Acquire)))?,
            IoctlCmd::TIOCSIG => self.signal(arg)?,
            IoctlCmd::FIONREAD => int.write(&(link.queues.lock().output.len() as i32))?,
            IoctlCmd::TCFLSH => self.flush_queues(arg)?,
            // The master may ask about the slave's session, whoever's terminal that is.
            IoctlCmd::TIOCGPGRP => UserPtr::new(arg).write(&Pid(tty.foreground() as i32))?,
            IoctlCmd::TIOCGSID => match tty.session() {
                0 => return Err(Errno::ENOTTY),
                sid => UserPtr::new(arg).write(&Pid(sid as i32))?,
            },
            // Nobody's controlling terminal is a master; typing and hanging up are done by writing and closing.
            IoctlCmd::TIOCNOTTY | IoctlCmd::TIOCSTI | IoctlCmd::TIOCVHANGUP | IoctlCmd::TCXONC => {
                return Err(Errno::ENOTTY);
            }
            _ => return ioctl::ioctl(tty, file, cmd, arg),
        }
        Ok(0)
    }

    fn release(&self, _file: &File) {
        let link = self.link();
        link.master_closed.store(true, Ordering::Release);
        link.instance.remove_node(link.number);
        self.pty.tty.hang_up_for_good();
    }

    fn show_fdinfo(&self, _file: &File, out: &mut String) {
        out.push_str(&format!("tty-index:\t{}\n", self.link().number));
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Registers the devices. The slaves' nodes are on devpts.
pub fn init() {
    register_char(
        MASTER.0,
        MASTER.1..MASTER.1 + 1,
        "/dev/ptmx",
        Arc::new(Ptmx),
    );
    register_char(SLAVE_MAJOR, 0..SLAVES, "pts", Arc::new(Slaves));
    crate::fs::devtmpfs::add_node("ptmx", 0o020_666, dev(MASTER.0, MASTER.1));
    crate::fs::devtmpfs::add_directory("pts");
}
