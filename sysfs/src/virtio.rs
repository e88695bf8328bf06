//! Virtio devices (`Documentation/ABI/testing/sysfs-bus-virtio`).

use alloc::format;
use alloc::string::{String, ToString};

use keel_abi::Result;
use keel_procfs::put;

use crate::attr::Attrs;
use crate::device::Device;
use crate::registry::{Id, Registry};

/// A virtio device below its transport.
#[derive(Clone)]
pub struct Virtio {
    /// `virtioN`.
    pub index: u32,
    /// Device type, e.g. 2 for a block device.
    pub device: u32,
    /// Vendor of the transport.
    pub vendor: u32,
    /// Features that were agreed on; bit 0 is printed first.
    pub features: u64,
    /// Status register.
    pub status: u32,
    /// E.g. `virtio_blk`.
    pub driver: Option<String>,
}

impl Registry {
    /// Adds a virtio device. Errors: as [`Registry::add_device`].
    pub fn add_virtio(&mut self, transport: Id, virtio: Virtio) -> Result<Id> {
        let modalias = format!("virtio:d{:08X}v{:08X}", virtio.device, virtio.vendor);
        let mut device = Device::bus("virtio", format!("virtio{}", virtio.index), Some(transport));
        device.driver = virtio.driver.clone();
        device.vars = alloc::vec![("MODALIAS".to_string(), modalias.clone())];
        device.attrs = Attrs::new()
            .fixed("device", format!("{:#06x}", virtio.device))
            .fixed("vendor", format!("{:#06x}", virtio.vendor))
            .fixed("status", format!("{:#010x}", virtio.status))
            .fixed("modalias", modalias)
            .show("features", move |out| {
                (0..64).try_for_each(|bit| put!(out, "{}", virtio.features >> bit & 1))?;
                out.str("\n")
            });
        self.add_device(device)
    }
}
