//! Message-signalled interrupts, the extended kind (PCI Local Bus 3.0, 6.8.2).

use alloc::vec::Vec;

use super::{COMMAND_NO_INTX, PciDevice};
use crate::irq::Msi;
use crate::paging::Mmio;

const CAPABILITY_MSIX: u8 = 0x11;
const CONTROL_ENABLE: u16 = 1 << 15;
const CONTROL_MASK_ALL: u16 = 1 << 14;
const ENTRY_BYTES: usize = 16;
const ENTRY_MASKED: u32 = 1;

/// The device has no MSI-X capability, or not as many entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMsix;

/// One MSI-X table entry of a device.
#[derive(Debug)]
pub struct MsixEntry {
    index: u16,
    registers: Mmio,
}

impl PciDevice {
    /// Entries of the device's MSI-X table; 0 without one.
    pub fn msix_len(&self) -> usize {
        self.capability(CAPABILITY_MSIX).map_or(0, |capability| {
            usize::from(self.config_read_u16(capability.offset + 2) & 0x7ff) + 1
        })
    }

    /// Turns MSI-X on, and the interrupt pin off, and hands out the first `n` entries, all masked.
    pub fn enable_msix(&self, n: usize) -> Result<Vec<MsixEntry>, NoMsix> {
        let capability = self.capability(CAPABILITY_MSIX).ok_or(NoMsix)?;
        let len = self.msix_len();
        if n > len {
            return Err(NoMsix);
        }
        let place = self.config_read_u32(capability.offset + 4);
        let table = self.msix.call_once(|| {
            self.enable();
            self.map_bar(
                (place & 7) as usize,
                u64::from(place & !7),
                len * ENTRY_BYTES,
            )
        });
        let table = table.as_ref().ok_or(NoMsix)?;
        let windows = (0..len).map(|i| table.window(i * ENTRY_BYTES, ENTRY_BYTES));
        let entries: Vec<MsixEntry> = windows
            .enumerate()
            .filter_map(|(i, window)| {
                Some(MsixEntry {
                    index: i as u16,
                    registers: window?,
                })
            })
            .collect();
        entries.iter().for_each(|entry| entry.mask(true));
        {
            let _registers = self.registers.lock();
            let control = self.config_read_u16(capability.offset + 2);
            let control = control & !CONTROL_MASK_ALL | CONTROL_ENABLE;
            self.config.write_u16(capability.offset + 2, control);
        }
        self.change_command(COMMAND_NO_INTX, 0);
        Ok(entries.into_iter().take(n).collect())
    }
}

impl MsixEntry {
    /// Its place in the table, which the device's own registers refer to.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Sets what is sent, and unmasks.
    pub fn set(&self, msi: Msi) {
        self.mask(true);
        self.registers.write(0, msi.address as u32);
        self.registers.write(4, (msi.address >> 32) as u32);
        self.registers.write(8, msi.data);
        self.mask(false);
    }

    /// Holds the interrupt back, or lets it through.
    pub fn mask(&self, masked: bool) {
        let control: u32 = self.registers.read(12);
        let control = if masked {
            control | ENTRY_MASKED
        } else {
            control & !ENTRY_MASKED
        };
        self.registers.write(12, control);
    }
}
