//! PCI: enumeration, configuration space, base address registers, MSI-X.
//!
//! [`devices`] walks the buses once, following bridges; the firmware has numbered them and assigned
//! addresses. Functions are immutable afterwards but for their registers. Outside of this crate,
//! configuration space can only be read: writing it could make devices overwrite memory.
//!
//! Specification: PCI Local Bus 3.0 (configuration space, MSI-X), PCI-to-PCI Bridge 1.2 (buses).

mod config;
mod msix;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use spin::Once;

use crate::paging::{Mmio, try_map_mmio};
use crate::sync::IrqLock;
use config::Config;

pub use msix::{MsixEntry, NoMsix};

const COMMAND: u16 = 0x04;
const COMMAND_IO: u16 = 1 << 0;
const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_MASTER: u16 = 1 << 2;
const COMMAND_NO_INTX: u16 = 1 << 10;
const STATUS: u16 = 0x06;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const HEADER_TYPE: u16 = 0x0e;
const BAR0: u16 = 0x10;
const SECONDARY_BUS: u16 = 0x19;
const SUBSYSTEM: u16 = 0x2c;
const CAPABILITIES: u16 = 0x34;
const INTERRUPT_LINE: u16 = 0x3c;

const CLASS_BRIDGE: u8 = 0x06;
const SUBCLASS_PCI_BRIDGE: u8 = 0x04;

/// Segment, bus, device and function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bdf {
    /// Segment group.
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device, 0 to 31.
    pub device: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{}",
            self.segment, self.bus, self.device, self.function
        )
    }
}

/// A base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// Memory.
    Memory {
        /// Physical address.
        addr: u64,
        /// Bytes.
        len: u64,
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// I/O ports.
    Io {
        /// First port.
        port: u16,
        /// Number of ports.
        len: u32,
    },
}

/// A capability in configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its kind.
    pub id: u8,
    /// Its place.
    pub offset: u16,
}

/// A PCI function.
pub struct PciDevice {
    bdf: Bdf,
    config: Config,
    /// Held while registers are read, changed and written back.
    registers: IrqLock<()>,
    bars: [Option<Bar>; 6],
    capabilities: Vec<Capability>,
    msix: Once<Option<Mmio>>,
}

impl fmt::Debug for PciDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PciDevice({} {:04x}:{:04x})",
            self.bdf,
            self.vendor(),
            self.device()
        )
    }
}

/// All functions found at start, in order of their address.
pub fn devices() -> &'static [Arc<PciDevice>] {
    static DEVICES: Once<Vec<Arc<PciDevice>>> = Once::new();
    DEVICES.call_once(|| {
        let mut found = Vec::new();
        for (segment, bus) in config::roots() {
            scan_bus(segment, bus, &mut found, 0);
        }
        found.sort_by_key(|device: &Arc<PciDevice>| device.bdf);
        found
    })
}

/// Adds the functions on `bus` and behind its bridges.
fn scan_bus(segment: u16, bus: u8, found: &mut Vec<Arc<PciDevice>>, depth: usize) {
    // Deeper nesting than there are buses is a loop in what the bridges say.
    if depth > 255 {
        return;
    }
    for device in 0..32 {
        for function in 0..8 {
            let bdf = Bdf {
                segment,
                bus,
                device,
                function,
            };
            let Some(new) = PciDevice::probe(bdf) else {
                if function == 0 {
                    break;
                }
                continue;
            };
            let header: u8 = new.config.read(HEADER_TYPE);
            let [class, subclass, _] = new.class();
            let behind: u8 = new.config.read(SECONDARY_BUS);
            found.push(Arc::new(new));
            if class == CLASS_BRIDGE && subclass == SUBCLASS_PCI_BRIDGE && behind > bus {
                scan_bus(segment, behind, found, depth + 1);
            }
            if function == 0 && header & 0x80 == 0 {
                break;
            }
        }
    }
}

impl PciDevice {
    fn probe(bdf: Bdf) -> Option<PciDevice> {
        let config = Config::of(bdf)?;
        if config.read::<u16>(0) == 0xffff {
            return None;
        }
        let mut device = PciDevice {
            bdf,
            config,
            registers: IrqLock::new(()),
            bars: [None; 6],
            capabilities: Vec::new(),
            msix: Once::new(),
        };
        device.capabilities = device.read_capabilities();
        if device.header_type() == 0 && device.class()[0] != CLASS_BRIDGE {
            device.bars = device.read_bars();
        }
        Some(device)
    }

    fn header_type(&self) -> u8 {
        self.config.read::<u8>(HEADER_TYPE) & 0x7f
    }

    fn read_capabilities(&self) -> Vec<Capability> {
        let mut found: Vec<Capability> = Vec::new();
        if self.config.read::<u16>(STATUS) & STATUS_CAPABILITIES == 0 {
            return found;
        }
        let mut offset = u16::from(self.config.read::<u8>(CAPABILITIES) & !3);
        // Each takes at least four bytes above the header: more of them would be a loop.
        while offset >= 0x40 && found.len() < 48 {
            let id = self.config.read(offset);
            found.push(Capability { id, offset });
            offset = u16::from(self.config.read::<u8>(offset + 1) & !3);
        }
        found
    }

    /// Reads and sizes the base address registers, with decoding off meanwhile.
    fn read_bars(&self) -> [Option<Bar>; 6] {
        let mut bars = [None; 6];
        let _registers = self.registers.lock();
        let command: u16 = self.config.read(COMMAND);
        self.config
            .write_u16(COMMAND, command & !(COMMAND_IO | COMMAND_MEMORY));
        let mut index = 0;
        while index < 6 {
            let (bar, registers) = self.read_bar(index);
            bars[index] = bar;
            index += registers;
        }
        self.config.write_u16(COMMAND, command);
        bars
    }

    /// One base address register, and how many registers it takes.
    fn read_bar(&self, index: usize) -> (Option<Bar>, usize) {
        let off = BAR0 + 4 * index as u16;
        let (low, low_mask) = self.probe_register(off);
        if low & 1 != 0 {
            let len = (!(low_mask & !3) & 0xffff).wrapping_add(1) & 0x1_ffff;
            let bar = Bar::Io {
                port: low as u16 & !3,
                len,
            };
            return ((low_mask & !3 != 0).then_some(bar), 1);
        }
        let wide = low >> 1 & 3 == 2 && index < 5;
        let (high, high_mask) = if wide {
            self.probe_register(off + 4)
        } else {
            (0, u32::MAX)
        };
        let addr = u64::from(high) << 32 | u64::from(low & !0xf);
        let mask = u64::from(high_mask) << 32 | u64::from(low_mask & !0xf);
        let bar = Bar::Memory {
            addr,
            len: (!mask).wrapping_add(1),
            prefetchable: low & 8 != 0,
        };
        let exists = low_mask & !0xf != 0 || wide && mask != 0;
        (exists.then_some(bar), 1 + usize::from(wide))
    }

    /// A register's value, and which of its bits can be written.
    fn probe_register(&self, off: u16) -> (u32, u32) {
        let value = self.config.read(off);
        self.config.write_u32(off, u32::MAX);
        let mask = self.config.read(off);
        self.config.write_u32(off, value);
        (value, mask)
    }

    /// Its address.
    pub fn bdf(&self) -> Bdf {
        self.bdf
    }

    /// Vendor id.
    pub fn vendor(&self) -> u16 {
        self.config.read(0x00)
    }

    /// Device id.
    pub fn device(&self) -> u16 {
        self.config.read(0x02)
    }

    /// Class, subclass, programming interface.
    pub fn class(&self) -> [u8; 3] {
        [
            self.config.read(0x0b),
            self.config.read(0x0a),
            self.config.read(0x09),
        ]
    }

    /// Revision id.
    pub fn revision(&self) -> u8 {
        self.config.read(0x08)
    }

    /// Subsystem vendor and device id.
    pub fn subsystem(&self) -> (u16, u16) {
        (self.config.read(SUBSYSTEM), self.config.read(SUBSYSTEM + 2))
    }

    /// Base address registers. The second half of a 64-bit one, and those of bridges, are `None`.
    pub fn bars(&self) -> &[Option<Bar>; 6] {
        &self.bars
    }

    /// Capabilities, in the order of the device's list.
    pub fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// The first capability of kind `id`.
    pub fn capability(&self, id: u8) -> Option<Capability> {
        self.capabilities
            .iter()
            .copied()
            .find(|capability| capability.id == id)
    }

    /// The interrupt line that the firmware noted, if any.
    pub fn interrupt_line(&self) -> Option<u8> {
        let line: u8 = self.config.read(INTERRUPT_LINE);
        let pin: u8 = self.config.read(INTERRUPT_LINE + 1);
        (pin != 0 && line != 0xff).then_some(line)
    }

    /// Bytes of configuration space: 4096, or 256 where only the ports reach it.
    pub fn config_len(&self) -> usize {
        match self.config {
            Config::Memory(_) => 4096,
            Config::Ports(_) => 256,
        }
    }

    /// Reads a byte of configuration space.
    pub fn config_read_u8(&self, off: u16) -> u8 {
        self.config.read(off)
    }

    /// Reads 16 bits of configuration space; `off` is rounded down to a multiple of 2.
    pub fn config_read_u16(&self, off: u16) -> u16 {
        self.config.read(off)
    }

    /// Reads 32 bits of configuration space; `off` is rounded down to a multiple of 4.
    pub fn config_read_u32(&self, off: u16) -> u32 {
        self.config.read(off)
    }

    /// Sets and clears bits of the command register.
    fn change_command(&self, set: u16, clear: u16) {
        let _registers = self.registers.lock();
        let command: u16 = self.config.read(COMMAND);
        self.config.write_u16(COMMAND, command & !clear | set);
    }

    /// Lets the device answer at its addresses and access memory.
    pub(crate) fn enable(&self) {
        self.change_command(COMMAND_MEMORY | COMMAND_IO | COMMAND_MASTER, 0);
    }

    /// A window on `len` bytes at `off` of memory register `index`; `None` if it is no such register,
    /// too small, or not assigned.
    pub(crate) fn map_bar(&self, index: usize, off: u64, len: usize) -> Option<Mmio> {
        let Bar::Memory {
            addr, len: bar_len, ..
        } = (*self.bars.get(index)?)?
        else {
            return None;
        };
        if addr == 0 || len == 0 || off.checked_add(len as u64)? > bar_len {
            return None;
        }
        try_map_mmio(addr + off, len)
    }
}
