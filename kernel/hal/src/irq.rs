//! Interrupts: masking, handlers, counts.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::marker::PhantomData;

/// Keeps interrupts off on this CPU; restores the former state when the last guard goes.
pub struct IrqGuard {
    _not_send: PhantomData<*mut ()>,
}

/// Turns interrupts off until the guard is dropped. Nests.
pub fn disable() -> IrqGuard {
    todo!()
}

impl Drop for IrqGuard {
    fn drop(&mut self) {
        todo!()
    }
}

/// Whether this runs in an interrupt handler.
pub fn in_interrupt() -> bool {
    todo!()
}

/// Whether interrupts are on.
pub fn enabled() -> bool {
    todo!()
}

/// An interrupt handler.
pub type Handler = Box<dyn Fn() + Send + Sync>;

/// There is no such interrupt line, or no free vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoIrq;

/// Routes ISA interrupt `irq` (with the firmware's overrides) to `handler`.
pub fn register_isa(_irq: u8, _name: &'static str, _handler: Handler) -> Result<(), NoIrq> {
    todo!()
}

/// Routes the global system interrupt `gsi` to `handler`, level-triggered and active-low as PCI's.
pub fn register_gsi(_gsi: u32, _name: &'static str, _handler: Handler) -> Result<(), NoIrq> {
    todo!()
}

/// A message-signalled interrupt: what to program into the device.
#[derive(Clone, Copy, Debug)]
pub struct Msi {
    /// Where the device writes.
    pub address: u64,
    /// What it writes.
    pub data: u32,
    /// The vector on the target CPU.
    pub vector: u8,
}

/// Allocates a message-signalled interrupt that `handler` serves on `cpu`.
pub fn alloc_msi(_name: &str, _cpu: usize, _handler: Handler) -> Option<Msi> {
    todo!()
}

/// One row of /proc/interrupts.
#[derive(Clone, Debug)]
pub struct IrqCount {
    /// "4", or "LOC", "RES", "NMI", ...
    pub label: String,
    /// How many on each CPU.
    pub counts: Vec<u64>,
    /// The controller: "IO-APIC", "PCI-MSI", or empty.
    pub chip: &'static str,
    /// The device, or the description of a row like "LOC".
    pub name: String,
}

/// The rows of /proc/interrupts.
pub fn counts() -> Vec<IrqCount> {
    todo!()
}
