//! The firmware's description of the machine: CPUs and interrupt controllers (MADT), power
//! registers (FADT, DSDT), event timer (HPET).
//!
//! Tables are read through the direct map with the `acpi` crate. AML is not interpreted; the only
//! thing taken from it is the sleep type of state S5, found by its fixed encoding.

use alloc::vec::Vec;
use core::{pin::Pin, ptr::NonNull, slice};

use acpi::{
    AcpiTables, Handler, PciAddress, RawPhysicalMapping,
    address::AddressSpace,
    sdt::{
        fadt::Fadt,
        hpet::HpetTable,
        madt::{Madt, MadtEntry},
    },
};
use spin::Once;
use x86_64::instructions::port::Port;

use crate::{
    paging::{map_physical, phys_to_virt},
    time,
};

/// An interrupt controller for wired interrupts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IoApicInfo {
    pub(crate) phys: u64,
    pub(crate) gsi_base: u32,
}

/// Where an ISA interrupt is wired.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IsaOverride {
    pub(crate) irq: u8,
    pub(crate) gsi: u32,
    pub(crate) active_low: bool,
    pub(crate) level: bool,
}

/// A register in I/O or memory space.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Register {
    Io(u16),
    Memory(u64),
}

/// How to power off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SleepRegisters {
    pub(crate) pm1a_control: u16,
    pub(crate) pm1b_control: u16,
    pub(crate) s5_type_a: u16,
    pub(crate) s5_type_b: u16,
    pub(crate) smi_command: u16,
    pub(crate) acpi_enable: u8,
}

/// What the tables say.
#[derive(Debug, Default)]
pub(crate) struct AcpiInfo {
    /// Physical address of the local APIC.
    pub(crate) local_apic: u64,
    /// Local APIC ids of the usable CPUs.
    pub(crate) cpus: Vec<u32>,
    pub(crate) io_apics: Vec<IoApicInfo>,
    pub(crate) overrides: Vec<IsaOverride>,
    pub(crate) pm_timer: Option<u16>,
    pub(crate) hpet: Option<u64>,
    pub(crate) sleep: Option<SleepRegisters>,
    pub(crate) reset: Option<(Register, u8)>,
    /// System control interrupt and the PM1 event block, for the power button.
    pub(crate) sci: Option<(u8, u16)>,
}

static INFO: Once<AcpiInfo> = Once::new();
static RSDP: Once<Option<u64>> = Once::new();

/// What the tables say; defaults before [`init`].
pub(crate) fn info() -> &'static AcpiInfo {
    static NONE: Once<AcpiInfo> = Once::new();
    INFO.get()
        .unwrap_or_else(|| NONE.call_once(AcpiInfo::default))
}

/// Reads the tables. Without any, one CPU and the legacy devices are assumed.
pub(crate) fn init(rsdp: Option<u64>) {
    let rsdp = rsdp.or_else(search_rsdp);
    RSDP.call_once(|| rsdp);
    INFO.call_once(|| {
        let mut info = AcpiInfo {
            local_apic: 0xfee0_0000,
            ..AcpiInfo::default()
        };
        if let Some(tables) = tables() {
            read_madt(&tables, &mut info);
            read_fadt(&tables, &mut info);
            if let Some(hpet) = tables.find_table::<HpetTable>() {
                info.hpet = Some(hpet.base_address.address);
            }
        }
        info
    });
}

/// The tables, for drivers that need others (MCFG).
pub(crate) fn tables() -> Option<AcpiTables<DirectMap>> {
    let rsdp = (*RSDP.get()?)?;
    // SAFETY: the address comes from the loader or was found by its signature and checksum.
    unsafe { AcpiTables::from_rsdp(DirectMap, rsdp as usize) }.ok()
}

/// Looks for the RSDP where a PC BIOS puts it: the EBDA's first KiB and 0xe0000 to 0xfffff.
fn search_rsdp() -> Option<u64> {
    let ebda = u64::from(u16::from_le_bytes(bytes(0x40e, 2).try_into().ok()?)) << 4;
    let areas = [(ebda, 1024), (0xe_0000, 0x2_0000)];
    areas
        .into_iter()
        .filter(|&(start, _)| start >= 0x400)
        .find_map(|(start, len)| {
            let area = bytes(start, len);
            let found = area
                .chunks_exact(16)
                .position(|chunk| chunk.starts_with(b"RSD PTR "))?
                * 16;
            let sum = area
                .get(found..found + 20)?
                .iter()
                .fold(0u8, |sum, &b| sum.wrapping_add(b));
            (sum == 0).then_some(start + found as u64)
        })
}

/// Bytes of physical memory in the first MiB.
fn bytes(phys: u64, len: usize) -> &'static [u8] {
    // SAFETY: the direct map covers the first MiB, whose firmware areas nobody writes.
    unsafe { slice::from_raw_parts(phys_to_virt(phys) as *const u8, len) }
}

fn read_madt(tables: &AcpiTables<DirectMap>, info: &mut AcpiInfo) {
    const ENABLED: u32 = 1;
    let Some(mapping) = tables.find_table::<Madt>() else {
        return;
    };
    // SAFETY: the mapping is never moved: it is memory of the firmware.
    let madt: Pin<&Madt> = mapping.get();
    info.local_apic = u64::from(madt.local_apic_address);
    for entry in madt.entries() {
        match entry {
            MadtEntry::LocalApic(cpu) if cpu.flags & ENABLED != 0 => {
                info.cpus.push(u32::from(cpu.apic_id));
            }
            MadtEntry::LocalX2Apic(cpu) if cpu.flags & ENABLED != 0 => {
                let id = cpu.x2apic_id;
                if !info.cpus.contains(&id) {
                    info.cpus.push(id);
                }
            }
            MadtEntry::IoApic(apic) => info.io_apics.push(IoApicInfo {
                phys: u64::from(apic.io_apic_address),
                gsi_base: apic.global_system_interrupt_base,
            }),
            MadtEntry::InterruptSourceOverride(wire) => info.overrides.push(IsaOverride {
                irq: wire.irq,
                gsi: wire.global_system_interrupt,
                active_low: wire.flags & 3 == 3,
                level: wire.flags >> 2 & 3 == 3,
            }),
            MadtEntry::LocalApicAddressOverride(entry) => {
                info.local_apic = entry.local_apic_address
            }
            _ => {}
        }
    }
}

fn read_fadt(tables: &AcpiTables<DirectMap>, info: &mut AcpiInfo) {
    let Some(fadt) = tables.find_table::<Fadt>() else {
        return;
    };
    info.pm_timer = u16::try_from(fadt.pm_timer_block)
        .ok()
        .filter(|&port| port != 0);
    let flags = fadt.flags;
    if flags.supports_system_reset_via_fadt()
        && let Ok(register) = fadt.reset_register()
    {
        let value = fadt.reset_value;
        info.reset = match register.address_space {
            AddressSpace::SystemIo => Some((Register::Io(register.address as u16), value)),
            AddressSpace::SystemMemory => Some((Register::Memory(register.address), value)),
            _ => None,
        };
    }
    let pm1_event = fadt.pm1a_event_block as u16;
    if pm1_event != 0 {
        info.sci = Some((fadt.sci_interrupt as u8, pm1_event));
    }
    let s5 = tables.dsdt().ok().and_then(|dsdt| {
        // SAFETY: the FADT names a table of this length there.
        let aml = unsafe {
            let length = dsdt.length as usize;
            slice::from_raw_parts(map(dsdt.phys_address as u64, length) as *const u8, length)
        };
        sleep_type_s5(aml)
    });
    if let Some((s5_type_a, s5_type_b)) = s5.filter(|_| fadt.pm1a_control_block != 0) {
        info.sleep = Some(SleepRegisters {
            pm1a_control: fadt.pm1a_control_block as u16,
            pm1b_control: fadt.pm1b_control_block as u16,
            s5_type_a,
            s5_type_b,
            smi_command: fadt.smi_cmd_port as u16,
            acpi_enable: fadt.acpi_enable,
        });
    }
}

/// Finds `Name (_S5, Package () { a, b, ... })` in AML by its encoding: the name, PackageOp, a
/// package length of one to four bytes, the count, then the two integers (ACPI 6.5, section 20.2).
fn sleep_type_s5(aml: &[u8]) -> Option<(u16, u16)> {
    const PACKAGE_OP: u8 = 0x12;
    let at = aml.windows(5).position(|w| w == b"_S5_\x12")?;
    let mut rest = aml.get(at + 4..)?;
    debug_assert_eq!(rest.first(), Some(&PACKAGE_OP));
    let length_bytes = usize::from(rest.get(1)? >> 6) + 1;
    rest = rest.get(1 + length_bytes + 1..)?;
    let (a, rest) = aml_integer(rest)?;
    let (b, _) = aml_integer(rest)?;
    Some((a, b))
}

/// A small integer constant and what follows it.
fn aml_integer(aml: &[u8]) -> Option<(u16, &[u8])> {
    match *aml.first()? {
        value @ (0 | 1) => Some((u16::from(value), &aml[1..])),
        0x0a => Some((u16::from(*aml.get(1)?), &aml[2..])),
        0x0b => Some((u16::from_le_bytes([*aml.get(1)?, *aml.get(2)?]), &aml[3..])),
        _ => None,
    }
}

/// Maps firmware memory; it stays mapped.
fn map(phys: u64, len: usize) -> usize {
    map_physical(phys, len, true).expect("no memory to map firmware tables")
}

/// Gives the `acpi` crate physical memory and I/O ports.
#[derive(Clone)]
pub(crate) struct DirectMap;

macro_rules! memory {
    ($($read:ident $write:ident $type:ty),*) => { $(
        fn $read(&self, address: usize) -> $type {
            // SAFETY: the crate reads registers that tables name; the direct map covers them.
            unsafe { (map(address as u64, size_of::<$type>()) as *const $type).read_volatile() }
        }
        fn $write(&self, address: usize, value: $type) {
            // SAFETY: as for reading.
            unsafe { (map(address as u64, size_of::<$type>()) as *mut $type).write_volatile(value) }
        }
    )* };
}

macro_rules! io {
    ($($read:ident $write:ident $type:ty),*) => { $(
        fn $read(&self, port: u16) -> $type {
            // SAFETY: the tables name the port.
            unsafe { Port::new(port).read() }
        }
        fn $write(&self, port: u16, value: $type) {
            // SAFETY: the tables name the port.
            unsafe { Port::new(port).write(value) }
        }
    )* };
}

macro_rules! pci {
    ($($read:ident $write:ident $type:ty),*) => { $(
        fn $read(&self, address: PciAddress, offset: u16) -> $type {
            let mut data = Port::<$type>::new(select_pci(address, offset));
            // SAFETY: reads configuration space.
            unsafe { data.read() }
        }
        fn $write(&self, address: PciAddress, offset: u16, value: $type) {
            let mut data = Port::<$type>::new(select_pci(address, offset));
            // SAFETY: the tables ask for the write.
            unsafe { data.write(value) }
        }
    )* };
}

/// Selects a register by configuration mechanism 1; returns the data port.
fn select_pci(address: PciAddress, offset: u16) -> u16 {
    let selector = 1 << 31
        | u32::from(address.bus()) << 16
        | u32::from(address.device()) << 11
        | u32::from(address.function()) << 8
        | u32::from(offset & 0xfc);
    // SAFETY: only selects.
    unsafe { Port::new(0xcf8).write(selector) };
    0xcfc + (offset & 3)
}

impl Handler for DirectMap {
    unsafe fn map_physical_region<T>(
        &self,
        physical_address: usize,
        size: usize,
    ) -> RawPhysicalMapping<T> {
        let address = map(physical_address as u64, size) as *mut T;
        let address = NonNull::new(address).expect("the direct map is not at address 0");
        // SAFETY: the crate makes one mapping of a table at a time and only reads it; it is never unmapped.
        unsafe { RawPhysicalMapping::new(physical_address, address, size, size) }
    }

    unsafe fn unmap_physical_region<T>(&self, _region: RawPhysicalMapping<T>) {}

    memory!(read_u8 write_u8 u8, read_u16 write_u16 u16, read_u32 write_u32 u32, read_u64 write_u64 u64);
    io!(read_io_u8 write_io_u8 u8, read_io_u16 write_io_u16 u16, read_io_u32 write_io_u32 u32);
    pci!(read_pci_u8 write_pci_u8 u8, read_pci_u16 write_pci_u16 u16, read_pci_u32 write_pci_u32 u32);

    fn nanos_since_boot(&self) -> u64 {
        time::now()
    }

    fn stall(&self, microseconds: u64) {
        time::spin_wait(microseconds * 1000);
    }

    fn sleep(&self, milliseconds: u64) {
        time::spin_wait(milliseconds * 1_000_000);
    }
}
