//! 16550 serial ports (COM1 to COM4).
//!
//! Transmission waits for the FIFO to be empty and then fills it with up to 16 bytes; reception is
//! driven by interrupts. A port's registers are guarded by a lock that a panic may ignore.

use alloc::boxed::Box;
use core::{
    fmt::{self, Write},
    hint::spin_loop,
    sync::atomic::{AtomicBool, Ordering},
};

use spin::Once;
use x86_64::instructions::port::Port as IoPort;

use crate::{hooks::hooks, irq};

const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const SCRATCH: u16 = 7;

const RECEIVE_INTERRUPT: u8 = 1;
/// FIFOs on and cleared, receive interrupt at 14 bytes or after a pause.
const FIFO_ON: u8 = 0xc7;
const EIGHT_N_ONE: u8 = 3;
const DIVISOR_ACCESS: u8 = 0x80;
/// DTR, RTS, and OUT2, which lets interrupts through.
const MODEM_ON: u8 = 0x0b;
const LOOPBACK: u8 = 0x10;
const RECEIVED: u8 = 1;
/// The byte is a NUL that stands for a break on the line.
const BREAK: u8 = 0x10;
const TRANSMITTER_EMPTY: u8 = 0x20;
const FIFO_SIZE: usize = 16;
const CLOCK: u32 = 115_200;

/// Gets received bytes.
pub type RxHandler = Box<dyn Fn(&[u8]) + Send + Sync>;

/// A serial port.
pub struct Port {
    base: u16,
    irq: u8,
    name: &'static str,
    present: AtomicBool,
    locked: AtomicBool,
    rx: Once<RxHandler>,
    /// The last thing received was a break: the next byte is a SysRq key.
    broken: AtomicBool,
}

static PORTS: [Port; 4] = [
    Port::new(0x3f8, 4, "ttyS0"),
    Port::new(0x2f8, 3, "ttyS1"),
    Port::new(0x3e8, 4, "ttyS2"),
    Port::new(0x2e8, 3, "ttyS3"),
];
/// A panic is being printed: locks may be held by CPUs that have stopped.
static IGNORE_LOCKS: AtomicBool = AtomicBool::new(false);

/// The port `n` (0 = COM1), if it is there.
pub fn port(n: usize) -> Option<&'static Port> {
    PORTS
        .get(n)
        .filter(|port| port.present.load(Ordering::Relaxed))
}

/// Probes the ports and sets them to 115200 8N1.
pub(crate) fn init_early() {
    for port in &PORTS {
        if port.probe() {
            port.set_up(CLOCK);
            port.present.store(true, Ordering::Relaxed);
        }
    }
}

/// Writes to the first port, if there is one, with line ends as terminals want them.
pub(crate) fn early_write(args: fmt::Arguments<'_>) {
    if let Some(port) = port(0) {
        // The writer never fails.
        let _ = Terminal(port).write_fmt(args);
    }
}

/// Lets the ports be written whatever locks are held: for a panic, when the other CPUs are stopped.
pub(crate) fn ignore_locks() {
    IGNORE_LOCKS.store(true, Ordering::Relaxed);
}

struct Terminal(&'static Port);

impl Write for Terminal {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (i, line) in text.split('\n').enumerate() {
            if i > 0 {
                self.0.write(b"\r\n");
            }
            self.0.write(line.as_bytes());
        }
        Ok(())
    }
}

/// Holds a port's registers, with interrupts off.
struct Registers<'a> {
    port: &'a Port,
    _irqs_off: irq::IrqGuard,
}

impl Drop for Registers<'_> {
    fn drop(&mut self) {
        self.port.locked.store(false, Ordering::Release);
    }
}

impl Registers<'_> {
    fn read(&self, register: u16) -> u8 {
        self.port.read(register)
    }

    fn write(&self, register: u16, value: u8) {
        self.port.write_register(register, value);
    }
}

impl Port {
    const fn new(base: u16, irq: u8, name: &'static str) -> Self {
        let (present, locked) = (AtomicBool::new(false), AtomicBool::new(false));
        Port {
            base,
            irq,
            name,
            present,
            locked,
            rx: Once::new(),
            broken: AtomicBool::new(false),
        }
    }

    fn read(&self, register: u16) -> u8 {
        // SAFETY: the PC's serial port addresses; a missing port reads as 0xff.
        unsafe { IoPort::<u8>::new(self.base + register).read() }
    }

    fn write_register(&self, register: u16, value: u8) {
        // SAFETY: as for reading.
        unsafe { IoPort::<u8>::new(self.base + register).write(value) };
    }

    fn registers(&self) -> Registers<'_> {
        let guard = irq::disable();
        while self.locked.swap(true, Ordering::Acquire) && !IGNORE_LOCKS.load(Ordering::Relaxed) {
            spin_loop();
        }
        Registers {
            port: self,
            _irqs_off: guard,
        }
    }

    /// Whether a UART answers: its scratch register keeps a value and its loopback returns a byte.
    fn probe(&self) -> bool {
        const TEST: u8 = 0xa5;
        self.write_register(SCRATCH, TEST);
        if self.read(SCRATCH) != TEST {
            return false;
        }
        self.write_register(INTERRUPT_ENABLE, 0);
        self.write_register(FIFO_CONTROL, FIFO_ON);
        self.write_register(MODEM_CONTROL, LOOPBACK | MODEM_ON);
        self.write_register(DATA, TEST);
        let came = (0..10_000).any(|_| self.read(LINE_STATUS) & RECEIVED != 0);
        came && self.read(DATA) == TEST
    }

    fn set_up(&self, baud: u32) {
        self.write_register(INTERRUPT_ENABLE, 0);
        self.set_divisor(baud);
        self.write_register(FIFO_CONTROL, FIFO_ON);
        self.write_register(MODEM_CONTROL, MODEM_ON);
    }

    fn set_divisor(&self, baud: u32) {
        let [low, high] = u16::try_from(CLOCK / baud.max(1))
            .unwrap_or(u16::MAX)
            .max(1)
            .to_le_bytes();
        self.write_register(LINE_CONTROL, EIGHT_N_ONE | DIVISOR_ACCESS);
        self.write_register(DATA, low);
        self.write_register(INTERRUPT_ENABLE, high);
        self.write_register(LINE_CONTROL, EIGHT_N_ONE);
    }

    /// Writes all bytes, waiting for the transmitter. Safe in interrupts.
    pub fn write(&self, bytes: &[u8]) {
        for burst in bytes.chunks(FIFO_SIZE) {
            let registers = self.registers();
            // A port that never gets ready loses the bytes rather than stop the kernel.
            for _ in 0..1_000_000 {
                if registers.read(LINE_STATUS) & TRANSMITTER_EMPTY != 0 {
                    break;
                }
                spin_loop();
            }
            burst.iter().for_each(|&byte| registers.write(DATA, byte));
        }
    }

    /// Sets who gets received bytes (interrupt context) and turns the receive interrupt on. The
    /// first call counts.
    pub fn set_rx_handler(&'static self, handler: RxHandler) {
        let mut first = false;
        self.rx.call_once(|| {
            first = true;
            handler
        });
        if !first {
            return;
        }
        // Without an interrupt line the port only transmits.
        if irq::register_isa(self.irq, self.name, Box::new(|| self.receive())).is_ok() {
            let registers = self.registers();
            let enabled = registers.read(INTERRUPT_ENABLE);
            registers.write(INTERRUPT_ENABLE, enabled | RECEIVE_INTERRUPT);
            drop(registers);
            self.receive();
        }
    }

    /// Empties the receive FIFO into the handler.
    fn receive(&self) {
        loop {
            let mut buffer = [0; 64];
            let mut n = 0;
            let mut sysrq = None;
            {
                let registers = self.registers();
                while n < buffer.len() {
                    let status = registers.read(LINE_STATUS);
                    if status & RECEIVED == 0 {
                        break;
                    }
                    let byte = registers.read(DATA);
                    if status & BREAK != 0 {
                        self.broken.store(true, Ordering::Relaxed);
                    } else if self.broken.swap(false, Ordering::Relaxed) {
                        sysrq = Some(byte);
                    } else {
                        buffer[n] = byte;
                        n += 1;
                    }
                }
            }
            if let (Some(key), Some(hooks)) = (sysrq, hooks()) {
                hooks.sysrq(key);
            }
            match self.rx.get() {
                Some(handler) if n > 0 => handler(&buffer[..n]),
                _ => return,
            }
        }
    }

    /// Sets the speed in bits per second; 8N1.
    pub fn set_baud(&self, baud: u32) {
        let registers = self.registers();
        let enabled = registers.read(INTERRUPT_ENABLE);
        self.set_divisor(baud);
        registers.write(INTERRUPT_ENABLE, enabled);
    }

    /// The I/O port base.
    pub fn io_base(&self) -> u16 {
        self.base
    }

    /// The ISA interrupt.
    pub fn irq(&self) -> u8 {
        self.irq
    }
}
