//! iomem, ioports, dma, and `/proc/bus/pci/devices`.

use keel_abi::Result;

use crate::put;
use crate::source::{PciDevice, Resource, System};
use crate::text::Text;

pub(crate) fn read_iomem(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.iomem().iter().try_for_each(|r| resource(r, 8, out))
}

pub(crate) fn read_ioports(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.ioports().iter().try_for_each(|r| resource(r, 4, out))
}

/// One line: two blanks for each level, addresses of at least `width` digits.
pub fn resource(r: &Resource, width: usize, out: &mut Text) -> Result<()> {
    let indent = 2 * r.depth as usize;
    put!(
        out,
        "{:indent$}{:0width$x}-{:0width$x} : {}\n",
        "",
        r.start,
        r.end,
        r.name
    )
}

pub(crate) fn read_dma(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.dma_channels()
        .iter()
        .try_for_each(|(channel, user)| put!(out, "{channel:2}: {user}\n"))
}

pub(crate) fn read_pci_devices(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.pci_devices()
        .iter()
        .try_for_each(|device| pci_device(device, out))
}

/// One line of `/proc/bus/pci/devices`.
pub fn pci_device(d: &PciDevice, out: &mut Text) -> Result<()> {
    put!(
        out,
        "{:02x}{:02x}\t{:04x}{:04x}\t{:x}",
        d.bus,
        d.devfn,
        d.vendor,
        d.device,
        d.irq
    )?;
    d.bars
        .iter()
        .chain(&d.sizes)
        .try_for_each(|value| put!(out, "\t{value:16x}"))?;
    put!(out, "\t{}\n", d.driver)
}
