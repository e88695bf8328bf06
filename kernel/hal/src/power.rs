//! Off, reboot, halt, by ACPI's registers and the PC's older ways.

use alloc::boxed::Box;
use core::{arch::asm, sync::atomic::Ordering};

use x86_64::instructions::port::Port;

use crate::{
    acpi::{self, Register, SleepRegisters},
    apic, cpu,
    cpu::local,
    irq,
    paging::phys_to_virt,
    time,
};

const SLEEP_ENABLE: u16 = 1 << 13;
const SCI_ENABLE: u16 = 1;
const POWER_BUTTON: u16 = 1 << 8;

/// Stops the other CPUs for good.
pub(crate) fn stop_others() {
    let me = local::id();
    for block in (0..cpu::count())
        .filter(|&cpu| cpu != me)
        .filter_map(local::of)
    {
        crate::panic::ask_to_stop();
        apic::send_nmi(block.apic_id.load(Ordering::Relaxed));
    }
}

/// Turns the machine off; halts if it cannot.
pub fn off() -> ! {
    let _guard = irq::disable();
    stop_others();
    if let Some(sleep) = acpi::info().sleep {
        enable_acpi(&sleep);
        enter_s5(&sleep);
        time::spin_wait(1_000_000_000);
    }
    crate::early_println!("The machine cannot be turned off by software.");
    halt()
}

/// Takes the power registers from the firmware, which may have kept them.
fn enable_acpi(sleep: &SleepRegisters) {
    let mut control = Port::<u16>::new(sleep.pm1a_control);
    // SAFETY: the firmware names these ports.
    unsafe {
        if control.read() & SCI_ENABLE != 0 || sleep.smi_command == 0 || sleep.acpi_enable == 0 {
            return;
        }
        Port::<u8>::new(sleep.smi_command).write(sleep.acpi_enable);
    }
    for _ in 0..300 {
        // SAFETY: as above.
        if unsafe { control.read() } & SCI_ENABLE != 0 {
            return;
        }
        time::spin_wait(1_000_000);
    }
}

fn enter_s5(sleep: &SleepRegisters) {
    // SAFETY: the firmware names the ports and the value for state S5.
    unsafe {
        Port::<u16>::new(sleep.pm1a_control).write(sleep.s5_type_a << 10 | SLEEP_ENABLE);
        if sleep.pm1b_control != 0 {
            Port::<u16>::new(sleep.pm1b_control).write(sleep.s5_type_b << 10 | SLEEP_ENABLE);
        }
    }
}

/// Resets the machine: by ACPI's reset register, else the chipset's, else the keyboard controller,
/// else a triple fault.
pub fn reboot() -> ! {
    let _guard = irq::disable();
    stop_others();
    match acpi::info().reset {
        // SAFETY: the firmware names the port and the value that resets.
        Some((Register::Io(port), value)) => unsafe { Port::<u8>::new(port).write(value) },
        // SAFETY: the firmware names the address and the value that resets.
        Some((Register::Memory(phys), value)) => unsafe {
            (phys_to_virt(phys) as *mut u8).write_volatile(value);
        },
        None => {}
    }
    time::spin_wait(50_000_000);
    for (port, value) in [(0xcf9u16, 2u8), (0xcf9, 6), (0x64, 0xfe)] {
        // SAFETY: the PC's reset control register and keyboard controller.
        unsafe { Port::new(port).write(value) };
        time::spin_wait(50_000_000);
    }
    #[repr(C, packed)]
    struct Pointer(u16, u64);
    let empty = Pointer(0, 0);
    // SAFETY: an empty table makes the next exception a triple fault, which resets the CPU.
    unsafe { asm!("lidt [{}]", "int3", in(reg) &raw const empty, options(noreturn)) };
}

/// Stops all CPUs for good.
pub fn halt() -> ! {
    let _guard = irq::disable();
    stop_others();
    stop_current()
}

/// Stops this CPU.
pub(crate) fn stop_current() -> ! {
    loop {
        // SAFETY: nothing runs here any more; an NMI returns to the loop.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// Has `handler` called (interrupt context) when the power button is pressed. Returns whether there
/// is one.
pub fn on_button(handler: Box<dyn Fn() + Send + Sync>) -> bool {
    let (Some((sci, event)), Some(sleep)) = (acpi::info().sci, acpi::info().sleep) else {
        return false;
    };
    enable_acpi(&sleep);
    let served = Box::new(move || {
        // SAFETY: the status register; ones clear the events written.
        let pressed = unsafe {
            let mut status = Port::<u16>::new(event);
            let value = status.read();
            status.write(value);
            value & POWER_BUTTON != 0
        };
        if pressed {
            handler();
        }
    });
    if irq::register_sci(sci, served).is_err() {
        return false;
    }
    // SAFETY: the enable register follows the status register.
    unsafe {
        Port::<u16>::new(event).write(POWER_BUTTON);
        Port::<u16>::new(event + 2).write(POWER_BUTTON);
    }
    true
}
