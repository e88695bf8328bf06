//! virtio devices over PCI.
use crate::frame::Frame;
use crate::pci::PciDevice;
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use zerocopy::FromBytes;

pub use virtio_drivers::transport::DeviceType;

/// A piece of a request.
#[derive(Clone, Debug)]
pub struct DmaSeg {
    /// The memory.
    pub frame: Frame,
    /// Offset into the frame, in bytes.
    pub off: u32,
    /// Length in bytes; `off + len` within the frame.
    pub len: u32,
    /// The device writes it; else it reads it.
    pub device_writes: bool,
}

/// A request: what the device reads must come before what it writes.
pub type DmaChain = Vec<DmaSeg>;

/// A finished request.
#[derive(Debug)]
pub struct Completion {
    /// What the submitter gave.
    pub cookie: u64,
    /// The memory comes back.
    pub chain: DmaChain,
    /// Bytes the device says it wrote.
    pub written: u32,
}

/// A virtio device.
#[derive(Debug)]
pub struct VirtioDevice {
    /// What it is.
    pub kind: DeviceType,
    /// Where it sits.
    pub pci: Arc<PciDevice>,
}
/// A request queue of a device.
#[derive(Debug)]
pub struct Queue { _p: () }

/// Why a device could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtioError {
    /// The device lacks a needed structure, or does not accept the features.
    Unsupported,
    /// No memory for the rings.
    NoMemory,
    /// There is no such queue, or it is in use.
    NoQueue,
    /// No interrupt vector left.
    NoVector,
}

#[allow(unused_variables, missing_docs)]
impl VirtioDevice {
    pub fn begin(&self, wanted: u64) -> Result<u64, VirtioError> { todo!() }
    pub fn config<T: FromBytes>(&self, off: usize) -> Option<T> { todo!() }
    pub fn config_write_u32(&self, off: usize, value: u32) { todo!() }
    pub fn config_write_u8(&self, off: usize, value: u8) { todo!() }
    pub fn num_queues(&self) -> u16 { todo!() }
    pub fn queue_max(&self, index: u16) -> u16 { todo!() }
    pub fn set_config_handler(&self, handler: Box<dyn Fn() + Send + Sync>) -> Result<(), VirtioError> { todo!() }
    pub fn setup_queue(&self, index: u16, size: u16, handler: Box<dyn Fn() + Send + Sync>, cpu: usize) -> Result<Queue, VirtioError> { todo!() }
    pub fn finish(&self) { todo!() }
    pub fn reset(&self) { todo!() }
}
#[allow(unused_variables, missing_docs)]
impl Queue {
    pub fn submit(&self, chain: DmaChain, cookie: u64) -> Result<(), DmaChain> { todo!() }
    pub fn kick(&self) { todo!() }
    pub fn pop(&self) -> Option<Completion> { todo!() }
    pub fn free_slots(&self) -> usize { todo!() }
    pub fn size(&self) -> usize { todo!() }
    pub fn set_interrupts(&self, enable: bool) { todo!() }
}
/// All virtio devices, in PCI order. Each is to be taken by one driver.
pub fn devices() -> Vec<Arc<VirtioDevice>> { todo!() }
