//! PCI: enumeration, configuration space, BARs, MSI-X.
use crate::{irq::Msi, paging::Mmio};
use alloc::{sync::Arc, vec::Vec};

/// Bus, device and function.
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
#[derive(Debug)]
pub struct PciDevice { _p: () }

/// One MSI-X table entry of a device.
#[derive(Debug)]
pub struct MsixEntry { _p: () }

/// The device has no MSI-X capability, or not as many entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMsix;

#[allow(unused_variables, missing_docs)]
impl PciDevice {
    pub fn bdf(&self) -> Bdf { todo!() }
    pub fn vendor(&self) -> u16 { todo!() }
    pub fn device(&self) -> u16 { todo!() }
    /// Class, subclass, interface.
    pub fn class(&self) -> [u8; 3] { todo!() }
    pub fn revision(&self) -> u8 { todo!() }
    pub fn subsystem(&self) -> (u16, u16) { todo!() }
    pub fn bars(&self) -> [Option<Bar>; 6] { todo!() }
    pub fn capabilities(&self) -> &[Capability] { todo!() }
    pub fn config_read_u8(&self, off: u16) -> u8 { todo!() }
    pub fn config_read_u16(&self, off: u16) -> u16 { todo!() }
    pub fn config_read_u32(&self, off: u16) -> u32 { todo!() }
    pub fn config_write_u16(&self, off: u16, value: u16) { todo!() }
    pub fn config_write_u32(&self, off: u16, value: u32) { todo!() }
    pub fn map_bar(&self, index: usize) -> Option<Mmio> { todo!() }
    pub fn enable_bus_master(&self) { todo!() }
    pub fn enable_msix(&self, n: usize) -> Result<Vec<MsixEntry>, NoMsix> { todo!() }
    pub fn interrupt_line(&self) -> Option<u8> { todo!() }
}
#[allow(unused_variables, missing_docs)]
impl MsixEntry {
    pub fn index(&self) -> u16 { todo!() }
    pub fn set(&self, msi: Msi) { todo!() }
    pub fn mask(&self, masked: bool) { todo!() }
}
/// All functions found at start, in order of their address.
pub fn devices() -> &'static [Arc<PciDevice>] { todo!() }
