//! Serial lines: ttyS0 to ttyS3 on 16550 ports.

use keel_hal::serial::{self, Port};

use super::{Tty, TtyDriver, TtyRange, dev, standard_modes};
use crate::device::register_char;
use crate::prelude::*;

/// Linux's major of ttyS*.
const MAJOR: u32 = 4;
const FIRST_MINOR: u32 = 64;
const PORTS: usize = 4;

struct SerialDriver {
    port: &'static Port,
}

impl TtyDriver for SerialDriver {
    fn write(&self, _tty: &Tty, bytes: &[u8]) -> usize {
        self.port.write(bytes);
        bytes.len()
    }
}

static TTYS: OnceLock<Vec<Option<Arc<Tty>>>> = OnceLock::new();

/// The serial terminals that exist, by number.
pub fn ttys() -> &'static [Option<Arc<Tty>>] {
    TTYS.get().map_or(&[], Vec::as_slice)
}

/// Registers the ports that the machine has and starts to listen to them.
pub fn init() {
    let found = TTYS.call_once(|| (0..PORTS).map(make).collect());
    for (number, tty) in found.iter().enumerate() {
        if let (Some(tty), Some(port)) = (tty, serial::port(number)) {
            listen(tty, port);
        }
    }
    let range = TtyRange {
        first_minor: FIRST_MINOR,
        ttys: found.clone(),
    };
    register_char(
        MAJOR,
        FIRST_MINOR..FIRST_MINOR + PORTS as u32,
        "ttyS",
        Arc::new(range),
    );
}

fn make(number: usize) -> Option<Arc<Tty>> {
    let port = serial::port(number)?;
    let name = format!("ttyS{number}");
    let rdev = dev(MAJOR, FIRST_MINOR + number as u32);
    crate::fs::devtmpfs::add_node(&name, 0o020_660, rdev);
    Some(Tty::new(
        &name,
        rdev,
        Box::new(SerialDriver { port }),
        standard_modes(),
    ))
}

/// Bytes that arrive in interrupts, and the thread that works on them.
struct Inbox {
    bytes: IrqLock<VecDeque<u8>>,
    arrived: WaitQueue,
}

/// Bytes that wait for the thread at most; more are lost, as on a line without flow control.
const INBOX_LEN: usize = 16 << 10;

fn listen(tty: &Arc<Tty>, port: &'static Port) {
    let inbox = Arc::new(Inbox {
        bytes: IrqLock::new(VecDeque::new()),
        arrived: WaitQueue::new(),
    });
    let tty = tty.clone();
    let name = format!("{}-rx", tty.name);
    let drain = inbox.clone();
    crate::sched::spawn_kthread(&name, move || {
        loop {
            let bytes = drain.arrived.wait(SleepMode::Uninterruptible, None, || {
                let mut queue = drain.bytes.lock();
                (!queue.is_empty()).then(|| core::mem::take(&mut *queue))
            });
            if let Ok(bytes) = bytes {
                let (front, back) = bytes.as_slices();
                tty.receive(front);
                tty.receive(back);
            }
        }
    });
    port.set_rx_handler(Box::new(move |bytes| {
        {
            let mut queue = inbox.bytes.lock();
            let room = INBOX_LEN.saturating_sub(queue.len());
            queue.extend(bytes.iter().take(room));
        }
        inbox.arrived.wake_all();
    }));
}
