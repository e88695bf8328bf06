//! PCI devices (`Documentation/ABI/testing/sysfs-bus-pci`).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use keel_abi::Result;
use keel_procfs::bitmap::Bitmap;
use keel_procfs::put;

use crate::attr::{Attrs, Bytes, Content};
use crate::device::{Device, Subsystem};
use crate::registry::{Id, Registry};

/// One function of a PCI device.
#[derive(Clone)]
pub struct PciFunction {
    /// Domain.
    pub domain: u16,
    /// Bus.
    pub bus: u8,
    /// Device.
    pub slot: u8,
    /// Function.
    pub function: u8,
    /// Vendor and device.
    pub id: (u16, u16),
    /// Subsystem vendor and device.
    pub subsystem: (u16, u16),
    /// Class, subclass and programming interface: 24 bits.
    pub class: u32,
    /// Revision.
    pub revision: u8,
    /// Legacy interrupt, 0 for none.
    pub irq: u32,
    /// First and last address and Linux's resource flags of the six BARs and the ROM (and, behind a bridge, its windows).
    pub resources: alloc::vec::Vec<(u64, u64, u64)>,
    /// The driver that has it.
    pub driver: Option<String>,
    /// Whether it decodes its addresses.
    pub enabled: bool,
    /// Local CPUs.
    pub cpus: Bitmap,
    /// Its configuration space.
    pub config: Arc<dyn Bytes>,
}

impl PciFunction {
    /// `0000:00:02.0`.
    pub fn name(&self) -> String {
        format!(
            "{:04x}:{:02x}:{:02x}.{:x}",
            self.domain, self.bus, self.slot, self.function
        )
    }

    fn modalias(&self) -> String {
        let (base, sub, interface) = (
            self.class >> 16 & 0xff,
            self.class >> 8 & 0xff,
            self.class & 0xff,
        );
        format!(
            "pci:v{:08X}d{:08X}sv{:08X}sd{:08X}bc{base:02X}sc{sub:02X}i{interface:02x}",
            self.id.0, self.id.1, self.subsystem.0, self.subsystem.1
        )
    }
}

impl Registry {
    /// `/sys/devices/pciDDDD:BB`. Errors: as [`Registry::add_device`].
    pub fn add_pci_root(&mut self, domain: u16, bus: u8) -> Result<Id> {
        self.bus("pci")?;
        self.add_device(Device::new(
            format!("pci{domain:04x}:{bus:02x}"),
            Subsystem::None,
            None,
        ))
    }

    /// Adds a function below its root or bridge. Errors: as [`Registry::add_device`].
    pub fn add_pci(&mut self, parent: Id, pci: PciFunction) -> Result<Id> {
        let mut device = Device::bus("pci", pci.name(), Some(parent));
        device.driver = pci.driver.clone();
        let modalias = pci.modalias();
        let (id, sub) = (pci.id, pci.subsystem);
        device.vars = [
            ("PCI_CLASS", format!("{:X}", pci.class)),
            ("PCI_ID", format!("{:04X}:{:04X}", id.0, id.1)),
            ("PCI_SUBSYS_ID", format!("{:04X}:{:04X}", sub.0, sub.1)),
            ("PCI_SLOT_NAME", pci.name()),
            ("MODALIAS", modalias.clone()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_string(), value))
        .collect();
        let resources = pci.resources.clone();
        device.attrs = Attrs::new()
            .fixed("vendor", format!("{:#06x}", id.0))
            .fixed("device", format!("{:#06x}", id.1))
            .fixed("subsystem_vendor", format!("{:#06x}", sub.0))
            .fixed("subsystem_device", format!("{:#06x}", sub.1))
            .fixed("class", format!("{:#08x}", pci.class))
            .fixed("revision", format!("{:#04x}", pci.revision))
            .fixed("irq", pci.irq)
            .fixed("modalias", modalias)
            .fixed_writable("enable", u8::from(pci.enabled))
            .fixed_writable("numa_node", -1)
            .fixed("local_cpus", pci.cpus.hex())
            .fixed("local_cpulist", pci.cpus.list())
            .fixed("dma_mask_bits", 64)
            .fixed("consistent_dma_mask_bits", 64)
            .fixed("ari_enabled", 0)
            .show("resource", move |out| {
                resources.iter().try_for_each(|(start, end, flags)| {
                    put!(out, "{start:#018x} {end:#018x} {flags:#018x}\n")
                })
            })
            .add("config", 0o644, Content::Bytes(pci.config));
        self.add_device(device)
    }
}
