//! Local APICs (xAPIC or x2APIC) and I/O APICs.
//!
//! Vectors: 0x20-0x2f are where the masked legacy PICs point, 0x30-0xef are for devices, from 0xf0
//! on for the kernel itself. Interrupts of devices are edge-triggered messages or, for wired ones,
//! entries of an I/O APIC. Follows Intel's SDM volume 3, chapter 11, and the 82093AA data sheet.

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::vec::Vec;
use spin::Once;
use x86_64::instructions::port::Port;

use crate::{
    acpi::{self, IsaOverride},
    cpu::{features, local, setup},
    irq,
    paging::{Mmio, map_mmio},
    sync::IrqLock,
};

/// First and last vector for devices.
pub(crate) const FIRST_DEVICE: u8 = 0x30;
pub(crate) const LAST_DEVICE: u8 = 0xef;
pub(crate) const VECTOR_TIMER: u8 = 0xf0;
pub(crate) const VECTOR_RESCHEDULE: u8 = 0xf1;
pub(crate) const VECTOR_CALL: u8 = 0xf2;
pub(crate) const VECTOR_ERROR: u8 = 0xfe;
pub(crate) const VECTOR_SPURIOUS: u8 = 0xff;

// Register offsets of the xAPIC; x2APIC's MSR is 0x800 + offset / 16.
const ID: u32 = 0x20;
const TASK_PRIORITY: u32 = 0x80;
const EOI: u32 = 0xb0;
const SPURIOUS: u32 = 0xf0;
const ERROR_STATUS: u32 = 0x280;
const ICR_LOW: u32 = 0x300;
const ICR_HIGH: u32 = 0x310;
const LVT_TIMER: u32 = 0x320;
const LVT_LINT0: u32 = 0x350;
const LVT_LINT1: u32 = 0x360;
const LVT_ERROR: u32 = 0x370;
const TIMER_INITIAL: u32 = 0x380;
const TIMER_CURRENT: u32 = 0x390;
const TIMER_DIVIDE: u32 = 0x3e0;

const MASKED: u32 = 1 << 16;
const DELIVERY_NMI: u32 = 4 << 8;
const DELIVERY_INIT: u32 = 5 << 8;
const DELIVERY_STARTUP: u32 = 6 << 8;
const LEVEL_ASSERT: u32 = 1 << 14;
const TRIGGER_LEVEL: u32 = 1 << 15;
const DELIVERY_PENDING: u32 = 1 << 12;
const APIC_ENABLE: u32 = 1 << 8;
const TIMER_TSC_DEADLINE: u32 = 2 << 17;
/// Divide by 1.
const DIVIDE_1: u32 = 0xb;

const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLE: u64 = 1 << 11;

/// All local APICs are used in x2APIC mode.
static X2APIC: AtomicBool = AtomicBool::new(false);
/// The registers in xAPIC mode.
static MMIO: Once<Mmio> = Once::new();

fn read(register: u32) -> u32 {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: the register exists in x2APIC mode.
        unsafe { setup::read_msr(0x800 + register / 16) as u32 }
    } else {
        MMIO.get()
            .map_or(0, |mmio| mmio.read::<u32>(register as usize))
    }
}

fn write(register: u32, value: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: the register exists in x2APIC mode; it does not touch memory.
        unsafe { setup::write_msr(0x800 + register / 16, u64::from(value)) };
    } else if let Some(mmio) = MMIO.get() {
        mmio.write::<u32>(register as usize, value);
    }
}

/// Sets up the boot CPU's local APIC and the I/O APICs, and silences the legacy PICs.
pub(crate) fn init() {
    mask_legacy_pics();
    if features::has(features::X2APIC) {
        X2APIC.store(true, Ordering::Relaxed);
    } else {
        MMIO.call_once(|| map_mmio(acpi::info().local_apic, 4096));
    }
    init_current();
    IO_APICS.call_once(|| {
        acpi::info()
            .io_apics
            .iter()
            .map(|info| IoApic::new(info.phys, info.gsi_base))
            .collect()
    });
}

/// Sets up this CPU's local APIC and notes its id.
pub(crate) fn init_current() {
    // SAFETY: turns on the APIC, in the mode that all CPUs use.
    unsafe {
        let mut base = setup::read_msr(setup::MSR_APIC_BASE) | BASE_ENABLE;
        setup::write_msr(setup::MSR_APIC_BASE, base);
        if X2APIC.load(Ordering::Relaxed) {
            base |= BASE_X2APIC;
            setup::write_msr(setup::MSR_APIC_BASE, base);
        }
    }
    write(TASK_PRIORITY, 0);
    write(LVT_LINT0, MASKED);
    write(LVT_LINT1, DELIVERY_NMI);
    write(LVT_ERROR, u32::from(VECTOR_ERROR));
    write(LVT_TIMER, MASKED | u32::from(VECTOR_TIMER));
    write(TIMER_DIVIDE, DIVIDE_1);
    write(ERROR_STATUS, 0);
    write(SPURIOUS, APIC_ENABLE | u32::from(VECTOR_SPURIOUS));
    local::local()
        .apic_id
        .store(current_id(), Ordering::Release);
}

/// The local APIC id of this CPU.
pub(crate) fn current_id() -> u32 {
    let id = read(ID);
    if X2APIC.load(Ordering::Relaxed) {
        id
    } else {
        id >> 24
    }
}

/// Ends the interrupt in service.
pub(crate) fn end_of_interrupt() {
    write(EOI, 0);
}

/// Reads and clears the error status.
pub(crate) fn take_errors() -> u32 {
    write(ERROR_STATUS, 0);
    read(ERROR_STATUS)
}

fn send(apic_id: u32, command: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        let value = u64::from(apic_id) << 32 | u64::from(command);
        // Writes to memory before must be seen by the target; the MSR write does not order them.
        core::sync::atomic::fence(Ordering::SeqCst);
        // SAFETY: sends an interrupt that the kernel expects.
        unsafe {
            core::arch::asm!("lfence", options(nostack, preserves_flags));
            setup::write_msr(0x800 + ICR_LOW / 16, value);
        }
    } else {
        // Not to be split by a handler that sends one as well.
        let _guard = irq::disable();
        while read(ICR_LOW) & DELIVERY_PENDING != 0 {
            core::hint::spin_loop();
        }
        write(ICR_HIGH, apic_id << 24);
        write(ICR_LOW, command);
    }
}

/// Sends interrupt `vector` to a CPU.
pub(crate) fn send_ipi(apic_id: u32, vector: u8) {
    send(apic_id, LEVEL_ASSERT | u32::from(vector));
}

/// Sends a non-maskable interrupt to a CPU.
pub(crate) fn send_nmi(apic_id: u32) {
    send(apic_id, LEVEL_ASSERT | DELIVERY_NMI);
}

/// Resets a CPU and leaves it waiting for [`send_startup`].
pub(crate) fn send_init(apic_id: u32) {
    send(apic_id, LEVEL_ASSERT | TRIGGER_LEVEL | DELIVERY_INIT);
    send(apic_id, TRIGGER_LEVEL | DELIVERY_INIT);
}

/// Starts a waiting CPU in real mode at physical page `page`.
pub(crate) fn send_startup(apic_id: u32, page: u8) {
    send(apic_id, LEVEL_ASSERT | DELIVERY_STARTUP | u32::from(page));
}

/// Chooses how this CPU's timer works: by TSC deadline or by counting down once.
pub(crate) fn timer_setup(tsc_deadline: bool) {
    let mode = if tsc_deadline { TIMER_TSC_DEADLINE } else { 0 };
    write(LVT_TIMER, mode | u32::from(VECTOR_TIMER));
    if tsc_deadline {
        // The mode must be set before the first deadline is (xAPIC writes are not ordered with it).
        core::sync::atomic::fence(Ordering::SeqCst);
    }
}

/// Starts the count-down; 0 stops it.
pub(crate) fn timer_start(count: u32) {
    write(TIMER_INITIAL, count);
}

/// What is left of the count-down.
pub(crate) fn timer_remaining() -> u32 {
    read(TIMER_CURRENT)
}

/// Moves the 8259s' vectors away from the exceptions and masks all their inputs.
fn mask_legacy_pics() {
    let writes = [
        (0x20u16, 0x11u8),
        (0xa0, 0x11),
        (0x21, 0x20),
        (0xa1, 0x28),
        (0x21, 4),
        (0xa1, 2),
        (0x21, 1),
        (0xa1, 1),
        (0x21, 0xff),
        (0xa1, 0xff),
    ];
    for (port, value) in writes {
        // SAFETY: the initialisation sequence of the PC's interrupt controllers, ending masked.
        unsafe { Port::new(port).write(value) };
    }
}

/// An I/O APIC: an index and a data register.
struct IoApic {
    registers: IrqLock<Mmio>,
    gsi_base: u32,
    inputs: u32,
}

static IO_APICS: Once<Vec<IoApic>> = Once::new();

const IO_SELECT: usize = 0;
const IO_WINDOW: usize = 0x10;
const IO_VERSION: u32 = 1;
const IO_TABLE: u32 = 0x10;
const IO_ACTIVE_LOW: u32 = 1 << 13;
const IO_LEVEL: u32 = 1 << 15;

impl IoApic {
    fn new(phys: u64, gsi_base: u32) -> Self {
        let mmio = map_mmio(phys, 4096);
        mmio.write::<u32>(IO_SELECT, IO_VERSION);
        let inputs = (mmio.read::<u32>(IO_WINDOW) >> 16 & 0xff) + 1;
        let apic = IoApic {
            registers: IrqLock::new(mmio),
            gsi_base,
            inputs,
        };
        for input in 0..inputs {
            apic.write_entry(input, MASKED, 0);
        }
        apic
    }

    fn write_entry(&self, input: u32, low: u32, high: u32) {
        let mmio = self.registers.lock();
        // Masked first, so that no half-written entry is used.
        for (register, value) in [(0, MASKED), (1, high), (0, low)] {
            mmio.write::<u32>(IO_SELECT, IO_TABLE + input * 2 + register);
            mmio.write::<u32>(IO_WINDOW, value);
        }
    }
}

/// The wiring of ISA interrupt `irq`.
pub(crate) fn isa_wire(irq: u8) -> IsaOverride {
    let same = IsaOverride {
        irq,
        gsi: u32::from(irq),
        active_low: false,
        level: false,
    };
    acpi::info()
        .overrides
        .iter()
        .find(|wire| wire.irq == irq)
        .copied()
        .unwrap_or(same)
}

/// Lets wired interrupt `gsi` interrupt a CPU with `vector`. False if there is no such input.
pub(crate) fn route(gsi: u32, vector: u8, apic_id: u32, active_low: bool, level: bool) -> bool {
    let apics = IO_APICS.get().map_or(&[][..], Vec::as_slice);
    let found = apics
        .iter()
        .find(|apic| (apic.gsi_base..apic.gsi_base + apic.inputs).contains(&gsi));
    if let Some(apic) = found {
        let polarity = if active_low { IO_ACTIVE_LOW } else { 0 };
        let trigger = if level { IO_LEVEL } else { 0 };
        let low = u32::from(vector) | polarity | trigger;
        apic.write_entry(gsi - apic.gsi_base, low, apic_id << 24);
    }
    found.is_some()
}
