//! The registers of a virtio device on PCI (Virtual I/O Device 1.2, 4.1.4).

use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::paging::Mmio;
use crate::pci::PciDevice;

const CAPABILITY_VENDOR: u8 = 9;
const CFG_COMMON: u8 = 1;
const CFG_NOTIFY: u8 = 2;
const CFG_DEVICE: u8 = 4;

/// Offsets in the common configuration structure.
mod common {
    pub(super) const DEVICE_FEATURE_SELECT: usize = 0x00;
    pub(super) const DEVICE_FEATURE: usize = 0x04;
    pub(super) const DRIVER_FEATURE_SELECT: usize = 0x08;
    pub(super) const DRIVER_FEATURE: usize = 0x0c;
    pub(super) const CONFIG_MSIX_VECTOR: usize = 0x10;
    pub(super) const NUM_QUEUES: usize = 0x12;
    pub(super) const DEVICE_STATUS: usize = 0x14;
    pub(super) const CONFIG_GENERATION: usize = 0x15;
    pub(super) const QUEUE_SELECT: usize = 0x16;
    pub(super) const QUEUE_SIZE: usize = 0x18;
    pub(super) const QUEUE_MSIX_VECTOR: usize = 0x1a;
    pub(super) const QUEUE_ENABLE: usize = 0x1c;
    pub(super) const QUEUE_NOTIFY_OFF: usize = 0x1e;
    pub(super) const QUEUE_DESC: usize = 0x20;
    pub(super) const QUEUE_DRIVER: usize = 0x28;
    pub(super) const QUEUE_DEVICE: usize = 0x30;
    pub(super) const LEN: usize = 0x38;
}

/// "No interrupt" in the vector registers.
pub(super) const NO_VECTOR: u16 = 0xffff;

/// The register windows of a device. Sequences of accesses that belong together (a select register
/// and what it selects) need exclusive access, which [`super::device`] provides by a lock.
pub(super) struct Registers {
    kind: DeviceType,
    common: Mmio,
    notify: Mmio,
    notify_multiplier: u32,
    device: Option<Mmio>,
    /// MSI-X entry for the queue that is set up next.
    pub(super) queue_vector: u16,
}

impl Registers {
    /// Finds and maps the windows; `None` if the device lacks one (as legacy devices do).
    pub(super) fn new(pci: &PciDevice, kind: DeviceType) -> Option<Registers> {
        let (mut common, mut notify, mut device) = (None, None, None);
        let mut notify_multiplier = 0;
        for capability in pci
            .capabilities()
            .iter()
            .filter(|c| c.id == CAPABILITY_VENDOR)
        {
            let at = capability.offset;
            let bar = usize::from(pci.config_read_u8(at + 4));
            let off = u64::from(pci.config_read_u32(at + 8));
            let len = pci.config_read_u32(at + 12) as usize;
            // The first of each kind is the one the device prefers.
            match pci.config_read_u8(at + 3) {
                CFG_COMMON if common.is_none() && len >= common::LEN => {
                    common = pci.map_bar(bar, off, len);
                }
                CFG_NOTIFY if notify.is_none() => {
                    notify = pci.map_bar(bar, off, len);
                    notify_multiplier = pci.config_read_u32(at + 16);
                }
                CFG_DEVICE if device.is_none() => device = pci.map_bar(bar, off, len),
                _ => {}
            }
        }
        Some(Registers {
            kind,
            common: common?,
            notify: notify?,
            notify_multiplier,
            device,
            queue_vector: NO_VECTOR,
        })
    }

    pub(super) fn num_queues(&self) -> u16 {
        self.common.read(common::NUM_QUEUES)
    }

    /// Sets the MSI-X entry for configuration changes; `false` if the device refuses.
    pub(super) fn set_config_vector(&mut self, vector: u16) -> bool {
        self.common.write(common::CONFIG_MSIX_VECTOR, vector);
        self.common.read::<u16>(common::CONFIG_MSIX_VECTOR) == vector
    }

    /// Whether the device took the MSI-X entry of queue `queue`.
    pub(super) fn has_queue_vector(&mut self, queue: u16, vector: u16) -> bool {
        self.common.write(common::QUEUE_SELECT, queue);
        self.common.read::<u16>(common::QUEUE_MSIX_VECTOR) == vector
    }

    /// The register that tells the device of new requests in `queue`.
    pub(super) fn notify_register(&mut self, queue: u16) -> Option<Mmio> {
        self.common.write(common::QUEUE_SELECT, queue);
        let off = usize::from(self.common.read::<u16>(common::QUEUE_NOTIFY_OFF));
        self.notify.window(off * self.notify_multiplier as usize, 2)
    }

    pub(super) fn device_config(&self) -> Option<Mmio> {
        self.device
    }

    pub(super) fn config_generation(&self) -> u8 {
        self.common.read(common::CONFIG_GENERATION)
    }

    fn write_u64(&mut self, off: usize, value: u64) {
        self.common.write(off, value as u32);
        self.common.write(off + 4, (value >> 32) as u32);
    }

    fn read_features(&mut self, half: u32) -> u64 {
        self.common.write(common::DEVICE_FEATURE_SELECT, half);
        u64::from(self.common.read::<u32>(common::DEVICE_FEATURE))
    }

    fn write_features(&mut self, half: u32, bits: u32) {
        self.common.write(common::DRIVER_FEATURE_SELECT, half);
        self.common.write(common::DRIVER_FEATURE, bits);
    }
}

impl Transport for Registers {
    fn device_type(&self) -> DeviceType {
        self.kind
    }

    fn read_device_features(&mut self) -> u64 {
        self.read_features(0) | self.read_features(1) << 32
    }

    fn write_driver_features(&mut self, features: u64) {
        self.write_features(0, features as u32);
        self.write_features(1, (features >> 32) as u32);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.common.write(common::QUEUE_SELECT, queue);
        u32::from(self.common.read::<u16>(common::QUEUE_SIZE))
    }

    fn notify(&mut self, queue: u16) {
        if let Some(register) = self.notify_register(queue) {
            register.write(0, queue);
        }
    }

    fn get_status(&self) -> DeviceStatus {
        let status: u8 = self.common.read(common::DEVICE_STATUS);
        DeviceStatus::from_bits_truncate(u32::from(status))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.common
            .write(common::DEVICE_STATUS, status.bits() as u8);
    }

    fn set_guest_page_size(&mut self, _size: u32) {
        // Only the legacy interface knows this register.
    }

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.common.write(common::QUEUE_SELECT, queue);
        self.common.write(common::QUEUE_SIZE, size as u16);
        self.common
            .write(common::QUEUE_MSIX_VECTOR, self.queue_vector);
        self.write_u64(common::QUEUE_DESC, descriptors);
        self.write_u64(common::QUEUE_DRIVER, driver_area);
        self.write_u64(common::QUEUE_DEVICE, device_area);
        self.common.write(common::QUEUE_ENABLE, 1_u16);
    }

    fn queue_unset(&mut self, _queue: u16) {
        // Queues end with a reset of the device.
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.common.write(common::QUEUE_SELECT, queue);
        self.common.read::<u16>(common::QUEUE_ENABLE) == 1
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        // MSI-X needs no acknowledgement.
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        u32::from(self.config_generation())
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        let config = self.device.ok_or(Error::ConfigSpaceMissing)?;
        read_config(&config, offset).ok_or(Error::ConfigSpaceTooSmall)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> Result<(), Error> {
        let config = self.device.ok_or(Error::ConfigSpaceMissing)?;
        write_config(&config, offset, value.as_bytes()).ok_or(Error::ConfigSpaceTooSmall)
    }
}

/// Reads an object from a configuration window, by accesses of its own size where the specification
/// wants that (1, 2, 4 bytes, and 8 as two halves), else by bytes. Not atomic as a whole.
pub(super) fn read_config<T: FromBytes>(config: &Mmio, off: usize) -> Option<T> {
    let len = size_of::<T>();
    if off.checked_add(len)? > config.len() {
        return None;
    }
    let mut bytes = [0; 256];
    let bytes = bytes.get_mut(..len)?;
    match len {
        2 if off.is_multiple_of(2) => {
            bytes.copy_from_slice(&config.read::<u16>(off).to_ne_bytes());
        }
        4 | 8 if off.is_multiple_of(4) => {
            for (i, word) in bytes.chunks_exact_mut(4).enumerate() {
                word.copy_from_slice(&config.read::<u32>(off + 4 * i).to_ne_bytes());
            }
        }
        _ => {
            for (i, byte) in bytes.iter_mut().enumerate() {
                *byte = config.read(off + i);
            }
        }
    }
    T::read_from_bytes(bytes).ok()
}

/// Writes bytes to a configuration window, by accesses as in [`read_config`].
pub(super) fn write_config(config: &Mmio, off: usize, bytes: &[u8]) -> Option<()> {
    if off.checked_add(bytes.len())? > config.len() {
        return None;
    }
    match bytes {
        [a, b] if off.is_multiple_of(2) => config.write(off, u16::from_ne_bytes([*a, *b])),
        [a, b, c, d] if off.is_multiple_of(4) => {
            config.write(off, u32::from_ne_bytes([*a, *b, *c, *d]));
        }
        _ => {
            for (i, &byte) in bytes.iter().enumerate() {
                config.write(off + i, byte);
            }
        }
    }
    Some(())
}
