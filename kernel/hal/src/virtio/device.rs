//! Finding virtio devices and setting them up.
//!
//! The order of a driver's work (3.1.1 of the specification): [`VirtioDevice::begin`] with the features
//! it can use, [`VirtioDevice::setup_queue`] for each queue, [`VirtioDevice::finish`].

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hint::spin_loop;

use spin::Once;
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::F_VERSION_1;
use super::queue::Queue;
use super::transport::{Registers, read_config, write_config};
use crate::irq;
use crate::pci::{self, MsixEntry, PciDevice};
use crate::sync::SpinLock;

const VENDOR: u16 = 0x1af4;
/// Device ids of the modern interface are this plus the device type.
const MODERN_ID: u16 = 0x1040;

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

/// A virtio device.
pub struct VirtioDevice {
    /// What it is.
    pub kind: DeviceType,
    /// Where it sits.
    pub pci: Arc<PciDevice>,
    pub(super) state: SpinLock<State>,
}

pub(super) struct State {
    pub(super) registers: Registers,
    /// MSI-X entries that are not in use yet; the last is used next.
    vectors: Vec<MsixEntry>,
    /// Negotiated features; 0 before that.
    features: u64,
}

impl fmt::Debug for VirtioDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtioDevice({:?} at {})", self.kind, self.pci.bdf())
    }
}

/// All virtio devices with the modern interface, in PCI order. Each is to be taken by one driver.
pub fn devices() -> Vec<Arc<VirtioDevice>> {
    static DEVICES: Once<Vec<Arc<VirtioDevice>>> = Once::new();
    DEVICES
        .call_once(|| pci::devices().iter().filter_map(probe).collect())
        .clone()
}

fn probe(pci: &Arc<PciDevice>) -> Option<Arc<VirtioDevice>> {
    if pci.vendor() != VENDOR {
        return None;
    }
    let kind = kind(pci)?;
    pci.enable();
    let registers = Registers::new(pci, kind)?;
    let state = SpinLock::new(State {
        registers,
        vectors: Vec::new(),
        features: 0,
    });
    Some(Arc::new(VirtioDevice {
        kind,
        pci: Arc::clone(pci),
        state,
    }))
}

fn kind(pci: &PciDevice) -> Option<DeviceType> {
    match pci.device() {
        // Transitional ids, 4.1.2.1: the type is the subsystem's id.
        0x1000..=0x1009 => DeviceType::try_from(u32::from(pci.subsystem().1)).ok(),
        id => DeviceType::try_from(u32::from(id.checked_sub(MODERN_ID)?)).ok(),
    }
}

impl VirtioDevice {
    /// Resets the device and negotiates: of the `wanted` features, those it offers. Version 1 is
    /// required, and added.
    pub fn begin(&self, wanted: u64) -> Result<u64, VirtioError> {
        let entries = self.pci.enable_msix(self.pci.msix_len());
        let mut entries = entries.map_err(|_| VirtioError::Unsupported)?;
        entries.reverse();
        let mut state = self.state.lock();
        state.vectors = entries;
        reset(&mut state.registers);
        let registers = &mut state.registers;
        let mut status = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
        registers.set_status(status);
        let features = registers.read_device_features() & (wanted | F_VERSION_1);
        if features & F_VERSION_1 == 0 {
            registers.set_status(DeviceStatus::FAILED);
            return Err(VirtioError::Unsupported);
        }
        registers.write_driver_features(features);
        status |= DeviceStatus::FEATURES_OK;
        registers.set_status(status);
        if !registers.get_status().contains(DeviceStatus::FEATURES_OK) {
            registers.set_status(DeviceStatus::FAILED);
            return Err(VirtioError::Unsupported);
        }
        state.features = features;
        Ok(features)
    }

    /// The negotiated features; 0 before [`begin`](Self::begin).
    pub fn features(&self) -> u64 {
        self.state.lock().features
    }

    /// Tells the device that the driver is ready.
    pub fn finish(&self) {
        let mut state = self.state.lock();
        let status = state.registers.get_status();
        state.registers.set_status(status | DeviceStatus::DRIVER_OK);
    }

    /// Stops the device. Its queues are dead afterwards.
    pub fn reset(&self) {
        reset(&mut self.state.lock().registers);
    }

    /// Whether the device has given up and needs a reset.
    pub fn is_broken(&self) -> bool {
        self.state
            .lock()
            .registers
            .get_status()
            .contains(DeviceStatus::DEVICE_NEEDS_RESET)
    }

    /// Reads an object of at most 256 bytes from the device's configuration space, consistently;
    /// `None` outside of it.
    pub fn config<T: FromBytes>(&self, off: usize) -> Option<T> {
        let state = self.state.lock();
        let config = state.registers.device_config()?;
        loop {
            let before = state.registers.config_generation();
            let value = read_config(&config, off)?;
            if state.registers.config_generation() == before {
                return Some(value);
            }
        }
    }

    /// Writes to the device's configuration space; `false` outside of it.
    pub fn config_write<T: IntoBytes + Immutable>(&self, off: usize, value: T) -> bool {
        let state = self.state.lock();
        let config = state.registers.device_config();
        config
            .and_then(|config| write_config(&config, off, value.as_bytes()))
            .is_some()
    }

    /// How many queues the device has.
    pub fn num_queues(&self) -> u16 {
        self.state.lock().registers.num_queues()
    }

    /// The largest size of queue `index`; 0 if there is none.
    pub fn queue_max(&self, index: u16) -> u16 {
        self.state.lock().registers.max_queue_size(index) as u16
    }

    /// Calls `handler`, in interrupt context, when the device's configuration has changed.
    pub fn set_config_handler(
        &self,
        handler: Box<dyn Fn() + Send + Sync>,
    ) -> Result<(), VirtioError> {
        let vector = self.take_vector("config", 0, handler)?;
        let taken = self.state.lock().registers.set_config_vector(vector);
        if taken {
            Ok(())
        } else {
            Err(VirtioError::NoVector)
        }
    }

    /// Makes queue `index` with at most `size` entries (a power of two is used), whose interrupts call
    /// `handler` on `cpu`.
    pub fn setup_queue(
        self: &Arc<Self>,
        index: u16,
        size: u16,
        handler: Box<dyn Fn() + Send + Sync>,
        cpu: usize,
    ) -> Result<Queue, VirtioError> {
        let max = self.queue_max(index);
        if max == 0 || index >= self.num_queues() {
            return Err(VirtioError::NoQueue);
        }
        let vector = self.take_vector("queue", cpu, handler)?;
        Queue::new(self, index, size.min(max), vector)
    }

    /// Wires the next MSI-X entry to `handler`; returns its index.
    fn take_vector(
        &self,
        what: &str,
        cpu: usize,
        handler: Box<dyn Fn() + Send + Sync>,
    ) -> Result<u16, VirtioError> {
        let entry = self
            .state
            .lock()
            .vectors
            .pop()
            .ok_or(VirtioError::NoVector)?;
        let name = alloc::format!("virtio-{}-{what}", self.pci.bdf());
        let msi = irq::alloc_msi(&name, cpu, handler).ok_or(VirtioError::NoVector)?;
        entry.set(msi);
        Ok(entry.index())
    }
}

/// Resets and waits until the device says that it is done: no more access to memory from then on.
pub(super) fn reset(registers: &mut Registers) {
    registers.set_status(DeviceStatus::empty());
    while !registers.get_status().is_empty() {
        spin_loop();
    }
}
