//! Interrupts: masking, handlers, dispatch, counts.
//!
//! Handlers run with interrupts off, on the stack of what they interrupted, and never sleep. Each
//! CPU has its own vector table; an entry, once set, stays. The list of all handlers is only for
//! /proc/interrupts.

use alloc::{borrow::ToOwned, boxed::Box, format, string::String, vec, vec::Vec};
use core::{
    arch::asm,
    marker::PhantomData,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
};

use spin::Once;

use crate::{
    apic, cpu,
    cpu::local::{self, local},
    hooks::hooks,
    sync::IrqLock,
    task, time,
};

const FLAG_IF: u64 = 1 << 9;

/// Keeps interrupts off on this CPU; restores the former state when the last guard goes.
pub struct IrqGuard {
    _not_send: PhantomData<*mut ()>,
}

/// Turns interrupts off until the guard is dropped. Nests.
#[inline]
pub fn disable() -> IrqGuard {
    let were_on = enabled();
    // SAFETY: only masks interrupts; no memory is accessed before because the compiler may not
    // move accesses over it.
    unsafe { asm!("cli", options(nostack)) };
    let cpu = local();
    let depth = cpu.irq_depth.get();
    if depth == 0 {
        cpu.irq_were_on.set(were_on);
    }
    cpu.irq_depth.set(depth + 1);
    IrqGuard {
        _not_send: PhantomData,
    }
}

impl Drop for IrqGuard {
    #[inline]
    fn drop(&mut self) {
        let cpu = local();
        let depth = cpu.irq_depth.get() - 1;
        cpu.irq_depth.set(depth);
        if depth == 0 && cpu.irq_were_on.get() {
            // SAFETY: they were on before the first guard, and this was the last one.
            unsafe { asm!("sti", options(nostack)) };
        }
    }
}

/// Whether this runs in an interrupt handler.
pub fn in_interrupt() -> bool {
    local().in_interrupt.get()
}

/// Whether interrupts are on.
#[inline]
pub fn enabled() -> bool {
    let flags: u64;
    // SAFETY: reads the flags by way of the stack.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags & FLAG_IF != 0
}

/// An interrupt handler.
pub type Handler = Box<dyn Fn() + Send + Sync>;

/// There is no such interrupt line, or no free vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoIrq;

/// A registered handler.
struct Action {
    /// Linux's interrupt number.
    number: u32,
    name: String,
    chip: &'static str,
    cpu: usize,
    handler: Handler,
    count: AtomicU64,
    /// The wired interrupt, unless it is a message.
    gsi: Option<u32>,
    /// The next handler of the same wired interrupt; null or leaked.
    next: AtomicPtr<Action>,
}

impl Action {
    fn new(number: u32, name: &str, chip: &'static str, cpu: usize, handler: Handler) -> Self {
        let (count, next) = (AtomicU64::new(0), AtomicPtr::new(ptr::null_mut()));
        let name = name.to_owned();
        Action {
            number,
            name,
            chip,
            cpu,
            handler,
            count,
            gsi: None,
            next,
        }
    }
}

const DEVICE_VECTORS: usize = (apic::LAST_DEVICE - apic::FIRST_DEVICE + 1) as usize;

/// The handlers of one CPU's device vectors; null or leaked.
struct Table([AtomicPtr<Action>; DEVICE_VECTORS]);

static TABLES: Once<Vec<Table>> = Once::new();
static ACTIONS: IrqLock<Vec<&'static Action>> = IrqLock::new(Vec::new());
/// Numbers of message-signalled interrupts start after those of the I/O APIC.
static NEXT_MSI_NUMBER: AtomicU32 = AtomicU32::new(24);

/// Makes the tables, for as many CPUs as there may be.
pub(crate) fn init() {
    let cpus = crate::acpi::info().cpus.len().clamp(1, cpu::MAX_CPUS);
    TABLES.call_once(|| {
        (0..cpus)
            .map(|_| Table([const { AtomicPtr::new(ptr::null_mut()) }; DEVICE_VECTORS]))
            .collect()
    });
}

/// Puts a handler into a free vector of its CPU.
fn install(action: Action) -> Option<u8> {
    let table = TABLES.get()?.get(action.cpu)?;
    let pointer = Box::into_raw(Box::new(action));
    for (i, slot) in table.0.iter().enumerate() {
        let free = slot.compare_exchange(
            ptr::null_mut(),
            pointer,
            Ordering::Release,
            Ordering::Relaxed,
        );
        if free.is_ok() {
            // SAFETY: from `Box::into_raw`, and an entry in the table is never freed.
            ACTIONS.lock().push(unsafe { &*pointer });
            return Some(apic::FIRST_DEVICE + i as u8);
        }
    }
    // SAFETY: from `Box::into_raw`, and no slot took it.
    drop(unsafe { Box::from_raw(pointer) });
    None
}

/// Adds a handler of the same wired interrupt behind `first`.
fn chain(first: &Action, action: Action) {
    let pointer = Box::into_raw(Box::new(action));
    let mut last = first;
    loop {
        let end = last.next.compare_exchange(
            ptr::null_mut(),
            pointer,
            Ordering::Release,
            Ordering::Acquire,
        );
        match end {
            Ok(_) => break,
            // SAFETY: non-null entries are leaked.
            Err(next) => last = unsafe { &*next },
        }
    }
    // SAFETY: from `Box::into_raw`, and an entry in the chain is never freed.
    ACTIONS.lock().push(unsafe { &*pointer });
}

/// Routes ISA interrupt `irq` (with the firmware's overrides) to `handler` on CPU 0. Several handlers
/// of one wired interrupt are all called.
pub fn register_isa(irq: u8, name: &'static str, handler: Handler) -> Result<(), NoIrq> {
    let wire = apic::isa_wire(irq);
    register(
        wire.gsi,
        u32::from(irq),
        name,
        wire.active_low,
        wire.level,
        handler,
    )
}

/// Routes the global system interrupt `gsi` to `handler` on CPU 0, level-triggered and active-low
/// as PCI's.
pub fn register_gsi(gsi: u32, name: &'static str, handler: Handler) -> Result<(), NoIrq> {
    register(gsi, gsi, name, true, true, handler)
}

/// Routes the ACPI system control interrupt, level-triggered and active-low unless overridden.
pub(crate) fn register_sci(irq: u8, handler: Handler) -> Result<(), NoIrq> {
    let wire = apic::isa_wire(irq);
    let overridden = crate::acpi::info()
        .overrides
        .iter()
        .any(|wire| wire.irq == irq);
    let active_low = wire.active_low || !overridden;
    register(wire.gsi, u32::from(irq), "acpi", active_low, true, handler)
}

fn register(
    gsi: u32,
    number: u32,
    name: &'static str,
    active_low: bool,
    level: bool,
    handler: Handler,
) -> Result<(), NoIrq> {
    let chip = if level {
        "IO-APIC-level"
    } else {
        "IO-APIC-edge"
    };
    let action = Action {
        gsi: Some(gsi),
        ..Action::new(number, name, chip, 0, handler)
    };
    let first = ACTIONS
        .lock()
        .iter()
        .find(|other| other.gsi == Some(gsi))
        .copied();
    if let Some(first) = first {
        chain(first, action);
        return Ok(());
    }
    let vector = install(action).ok_or(NoIrq)?;
    let apic_id = local::of(0).map_or(0, |block| block.apic_id.load(Ordering::Relaxed));
    if apic::route(gsi, vector, apic_id, active_low, level) {
        Ok(())
    } else {
        Err(NoIrq)
    }
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

/// Allocates a message-signalled interrupt that `handler` serves on `cpu`; `None` if the CPU's
/// vectors are used up, there is no such CPU, or a message cannot name it.
pub fn alloc_msi(name: &str, cpu: usize, handler: Handler) -> Option<Msi> {
    const MSI_ADDRESS: u64 = 0xfee0_0000;
    let apic_id = local::of(cpu)?.apic_id.load(Ordering::Relaxed);
    // Without interrupt remapping the message has 8 bits for the target.
    let apic_id = u8::try_from(apic_id).ok()?;
    let number = NEXT_MSI_NUMBER.fetch_add(1, Ordering::Relaxed);
    let vector = install(Action::new(number, name, "PCI-MSI", cpu, handler))?;
    Some(Msi {
        address: MSI_ADDRESS | u64::from(apic_id) << 12,
        data: u32::from(vector),
        vector,
    })
}

/// Serves interrupt `vector`; interrupts are off.
pub(crate) fn dispatch(vector: u8, from_user: bool) {
    let cpu = local();
    cpu.count(vector);
    // A handler cannot be interrupted, except by what runs on an IST stack and does not come here.
    let outer = cpu.in_interrupt.replace(true);
    match vector {
        apic::VECTOR_TIMER => {
            apic::end_of_interrupt();
            task::sample_cpu_time(from_user);
            if time::deadline_passed()
                && let Some(hooks) = hooks()
            {
                hooks.timer_interrupt();
            }
        }
        apic::VECTOR_RESCHEDULE => {
            apic::end_of_interrupt();
            if let Some(hooks) = hooks() {
                hooks.ipi_reschedule();
            }
        }
        apic::VECTOR_CALL => {
            apic::end_of_interrupt();
            cpu.calls.serve();
        }
        apic::FIRST_DEVICE..=apic::LAST_DEVICE => {
            let slot = usize::from(vector - apic::FIRST_DEVICE);
            let table = TABLES.get().and_then(|tables| tables.get(local::id()));
            let mut next = table.map_or(ptr::null_mut(), |t| t.0[slot].load(Ordering::Acquire));
            // SAFETY: entries are null or leaked.
            while let Some(action) = unsafe { next.as_ref() } {
                action.count.fetch_add(1, Ordering::Relaxed);
                (action.handler)();
                next = action.next.load(Ordering::Acquire);
            }
            apic::end_of_interrupt();
        }
        apic::VECTOR_SPURIOUS => {}
        apic::VECTOR_ERROR => {
            apic::take_errors();
            apic::end_of_interrupt();
        }
        // The legacy PICs are masked; they can still send spurious ones, without end.
        0x20..0x30 => {}
        _ => apic::end_of_interrupt(),
    }
    cpu.in_interrupt.set(outer);
}

/// One row of /proc/interrupts.
#[derive(Clone, Debug)]
pub struct IrqCount {
    /// "4", or "LOC", "RES", "NMI", ...
    pub label: String,
    /// How many on each CPU.
    pub counts: Vec<u64>,
    /// The controller: "IO-APIC-edge", "IO-APIC-level", "PCI-MSI", or empty.
    pub chip: &'static str,
    /// The device, or the description of a row like "LOC".
    pub name: String,
    /// The CPU that serves it; 0 for a row like "LOC", which all have.
    pub cpu: usize,
}

/// The kernel's own vectors, as /proc/interrupts names them.
const OWN: &[(u8, &str, &str)] = &[
    (2, "NMI", "Non-maskable interrupts"),
    (apic::VECTOR_TIMER, "LOC", "Local timer interrupts"),
    (apic::VECTOR_SPURIOUS, "SPU", "Spurious interrupts"),
    (apic::VECTOR_RESCHEDULE, "RES", "Rescheduling interrupts"),
    (apic::VECTOR_CALL, "CAL", "Function call interrupts"),
    (18, "MCE", "Machine check exceptions"),
    (apic::VECTOR_ERROR, "ERR", "Local APIC errors"),
];

/// The rows of /proc/interrupts.
pub fn counts() -> Vec<IrqCount> {
    let cpus = cpu::count();
    let mut actions: Vec<&'static Action> = ACTIONS.lock().clone();
    actions.sort_by_key(|action| action.number);
    let devices = actions.into_iter().map(|action| {
        let mut counts = vec![0; cpus];
        if let Some(count) = counts.get_mut(action.cpu) {
            *count = action.count.load(Ordering::Relaxed);
        }
        let label = format!("{}", action.number);
        IrqCount {
            label,
            counts,
            chip: action.chip,
            name: action.name.clone(),
            cpu: action.cpu,
        }
    });
    let own = OWN.iter().map(|&(vector, label, name)| IrqCount {
        label: label.to_owned(),
        counts: (0..cpus)
            .filter_map(local::of)
            .map(|block| block.irq_counts[usize::from(vector)].load(Ordering::Relaxed))
            .collect(),
        chip: "",
        name: name.to_owned(),
        cpu: 0,
    });
    devices.chain(own).collect()
}

/// All interrupts that the CPUs have taken.
pub fn total() -> u64 {
    let blocks = (0..cpu::count()).filter_map(local::of);
    blocks
        .flat_map(|block| &block.irq_counts[32..])
        .map(|count| count.load(Ordering::Relaxed))
        .sum()
}
