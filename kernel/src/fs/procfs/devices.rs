//! Devices: majors, disks, terminals, PCI functions.

use keel_hal::pci::{self, Bar};
use keel_hal::serial;
use keel_procfs::{Console, Devices, Disk, PciDevice, SerialPort, TtyDriver};

use super::task::dev_no;
use crate::device::tty;
use crate::prelude::*;
use crate::{block, device};

/// /proc/devices.
pub fn majors() -> Devices {
    let named = |list: Vec<(u32, &'static str)>| {
        list.into_iter()
            .map(|(major, name)| (major, name.to_owned()))
            .collect()
    };
    Devices {
        character: named(device::char_majors()),
        block: named(block::majors()),
    }
}

/// /proc/partitions and /proc/diskstats.
pub fn disks() -> Vec<Disk> {
    block::devices()
        .iter()
        .map(|device| Disk {
            dev: dev_no(device.dev.encode()),
            name: device.name.clone(),
            sectors: device.sectors(),
            hidden: false,
            stats: device.stats.figures(),
        })
        .collect()
}

/// /proc/consoles: the terminal behind /dev/console.
pub fn consoles() -> Vec<Console> {
    let terminal = tty::console_terminal();
    terminal
        .iter()
        .map(|tty| Console {
            name: tty.name.clone(),
            read: false,
            write: true,
            unblank: false,
            // Enabled, preferred; not a boot console; prints the log; no braille; not before its driver.
            flags: [true, true, false, true, false, false],
            dev: Some(dev_no(tty.rdev)),
        })
        .collect()
}

/// The drivers of terminals that /proc/tty/drivers lists: those whose numbers are registered.
pub fn tty_drivers() -> Vec<TtyDriver> {
    type Driver = (
        &'static str,
        &'static str,
        u32,
        (u32, u32),
        &'static str,
        &'static str,
    );
    const DRIVERS: [Driver; 6] = [
        (
            "/dev/tty",
            "/dev/tty",
            5,
            (0, 0),
            "system:/dev/tty",
            "/dev/tty",
        ),
        (
            "/dev/console",
            "/dev/console",
            5,
            (1, 1),
            "system:console",
            "/dev/console",
        ),
        ("/dev/ptmx", "/dev/ptmx", 5, (2, 2), "system", "/dev/ptmx"),
        ("serial", "/dev/ttyS", 4, (64, 67), "serial", "ttyS"),
        (
            "pty_slave",
            "/dev/pts",
            136,
            (0, 1_048_575),
            "pty:slave",
            "pts",
        ),
        (
            "pty_master",
            "/dev/ptm",
            128,
            (0, 1_048_575),
            "pty:master",
            "ptm",
        ),
    ];
    let majors = device::char_majors();
    DRIVERS
        .iter()
        .filter(|(.., major, _, _, registered)| majors.contains(&(*major, *registered)))
        .map(|(driver, node, major, minors, kind, _)| TtyDriver {
            driver: (*driver).to_owned(),
            node: (*node).to_owned(),
            major: *major,
            minors: *minors,
            kind,
        })
        .collect()
}

/// Number of the serial ports that are looked for.
const SERIAL_PORTS: usize = 4;

/// /proc/tty/driver/serial.
pub fn serial_ports() -> Vec<SerialPort> {
    (0..SERIAL_PORTS)
        .filter_map(|line| serial::port(line).map(|port| (line as u32, port)))
        .map(|(line, port)| SerialPort {
            line,
            uart: "16550A".to_owned(),
            port: u32::from(port.io_base()),
            irq: u32::from(port.irq()),
            ..SerialPort::default()
        })
        .collect()
}

/// A base address register with its flag bits, and its size.
pub fn bar(bar: Option<&Bar>) -> (u64, u64) {
    const IO: u64 = 1;
    const PREFETCH: u64 = 8;
    match bar {
        None => (0, 0),
        Some(Bar::Io { port, len }) => (u64::from(*port) | IO, u64::from(*len)),
        Some(Bar::Memory {
            addr,
            len,
            prefetchable,
        }) => (addr | if *prefetchable { PREFETCH } else { 0 }, *len),
    }
}

/// /proc/bus/pci/devices.
pub fn pci() -> Vec<PciDevice> {
    pci::devices()
        .iter()
        .map(|function| {
            let bdf = function.bdf();
            let mut shown = PciDevice {
                bus: bdf.bus,
                devfn: bdf.device << 3 | bdf.function,
                vendor: function.vendor(),
                device: function.device(),
                irq: u32::from(function.interrupt_line().unwrap_or(0)),
                driver: crate::fs::sysfs::pci_driver(function)
                    .unwrap_or("")
                    .to_owned(),
                ..PciDevice::default()
            };
            let slots = shown.bars.iter_mut().zip(&mut shown.sizes);
            for ((addr, size), register) in slots.zip(function.bars()) {
                (*addr, *size) = bar(register.as_ref());
            }
            shown
        })
        .collect()
}
