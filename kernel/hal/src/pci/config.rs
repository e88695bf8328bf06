//! Access to configuration space: through the memory window that ACPI's MCFG table names (PCI Firmware
//! Specification 3.0, 4.1.2), or through ports 0xcf8 and 0xcfc (PCI Local Bus 3.0, 3.2.2.3.2).

use alloc::vec::Vec;

use acpi::sdt::mcfg::Mcfg;
use spin::Once;
use x86_64::instructions::port::Port;

use super::Bdf;
use crate::paging::{Mmio, Register, try_map_mmio};
use crate::sync::IrqLock;

/// Bytes of configuration space of a function in the memory window.
const ECAM_FUNCTION: usize = 4096;

/// A memory window on the configuration space of a range of buses.
struct Ecam {
    segment: u16,
    first_bus: u8,
    last_bus: u8,
    base: u64,
    /// Each bus's part, mapped when first used.
    buses: Vec<Once<Option<Mmio>>>,
}

static ECAM: Once<Vec<Ecam>> = Once::new();
/// Ports 0xcf8 and 0xcfc form one access together.
static PORTS: IrqLock<()> = IrqLock::new(());

fn ecam() -> &'static [Ecam] {
    ECAM.call_once(|| {
        let Some(tables) = crate::acpi::tables() else {
            return Vec::new();
        };
        let Some(mcfg) = tables.find_table::<Mcfg>() else {
            return Vec::new();
        };
        let entries = mcfg.entries().iter();
        entries
            .map(|entry| Ecam {
                segment: entry.pci_segment_group,
                first_bus: entry.bus_number_start,
                last_bus: entry.bus_number_end,
                base: entry.base_address,
                buses: (0..256).map(|_| Once::new()).collect(),
            })
            .collect()
    })
}

/// The segments and bus ranges to search.
pub(super) fn roots() -> Vec<(u16, u8)> {
    let found: Vec<_> = ecam()
        .iter()
        .map(|ecam| (ecam.segment, ecam.first_bus))
        .collect();
    if found.is_empty() {
        alloc::vec![(0, 0)]
    } else {
        found
    }
}

/// A function's configuration space.
#[derive(Clone, Copy, Debug)]
pub(super) enum Config {
    Memory(Mmio),
    Ports(Bdf),
}

impl Config {
    pub(super) fn of(bdf: Bdf) -> Option<Config> {
        let window = ecam().iter().find(|ecam| {
            ecam.segment == bdf.segment && (ecam.first_bus..=ecam.last_bus).contains(&bdf.bus)
        });
        let Some(ecam) = window else {
            return (bdf.segment == 0).then_some(Config::Ports(bdf));
        };
        let bus_bytes = 256 * ECAM_FUNCTION;
        let bus = ecam.buses.get(usize::from(bdf.bus))?.call_once(|| {
            let offset = u64::from(bdf.bus - ecam.first_bus) * bus_bytes as u64;
            try_map_mmio(ecam.base + offset, bus_bytes)
        });
        let function = usize::from(bdf.device) * 8 + usize::from(bdf.function);
        let window = bus
            .as_ref()?
            .window(function * ECAM_FUNCTION, ECAM_FUNCTION)?;
        Some(Config::Memory(window))
    }

    /// Reads a register; all ones outside of configuration space, as from an absent device.
    pub(super) fn read<T: Register + Into<u64> + TryFrom<u64>>(&self, off: u16) -> T {
        let size = size_of::<T>() as u16;
        let off = off / size * size;
        match self {
            Config::Memory(window) => window.read(usize::from(off) & (ECAM_FUNCTION - 1)),
            Config::Ports(bdf) => {
                let word = u64::from(port_read(*bdf, off & !3));
                let value = word >> (8 * (off & 3)) & (u64::MAX >> (64 - 8 * size));
                match T::try_from(value) {
                    Ok(value) => value,
                    Err(_) => unreachable!("masked to the type's size"),
                }
            }
        }
    }

    pub(super) fn write_u16(&self, off: u16, value: u16) {
        let off = off & !1;
        match self {
            Config::Memory(window) => window.write(usize::from(off) & (ECAM_FUNCTION - 1), value),
            Config::Ports(bdf) => {
                let shift = 8 * (off & 2);
                let old = port_read(*bdf, off & !3);
                port_write(
                    *bdf,
                    off & !3,
                    old & !(0xffff << shift) | u32::from(value) << shift,
                );
            }
        }
    }

    pub(super) fn write_u32(&self, off: u16, value: u32) {
        let off = off & !3;
        match self {
            Config::Memory(window) => window.write(usize::from(off) & (ECAM_FUNCTION - 1), value),
            Config::Ports(bdf) => port_write(*bdf, off, value),
        }
    }
}

fn port_address(bdf: Bdf, off: u16) -> u32 {
    1 << 31
        | u32::from(bdf.bus) << 16
        | u32::from(bdf.device) << 11
        | u32::from(bdf.function) << 8
        | u32::from(off & 0xfc)
}

fn port_read(bdf: Bdf, off: u16) -> u32 {
    if off >= 256 {
        return u32::MAX;
    }
    let _ports = PORTS.lock();
    // SAFETY: the configuration mechanism's ports; reading configuration space has no side effects
    // on memory.
    unsafe {
        Port::new(0xcf8).write(port_address(bdf, off));
        Port::new(0xcfc).read()
    }
}

fn port_write(bdf: Bdf, off: u16, value: u32) {
    if off >= 256 {
        return;
    }
    let _ports = PORTS.lock();
    // SAFETY: as above; what is written is up to the crate's own callers.
    unsafe {
        Port::new(0xcf8).write(port_address(bdf, off));
        Port::new(0xcfc).write(value);
    }
}
