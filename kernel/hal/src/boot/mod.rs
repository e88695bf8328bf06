//! From the loader to the kernel's `main`: boot information and the order of initialisation.
//!
//! [`entry`] holds the assembly, [`loader`] reads what PVH or Multiboot2 pass, [`start`] brings the
//! machine up part by part and ends by running the kernel's `main` (see [`crate::entry!`]) as the
//! first task on the boot CPU. What is read here is constant afterwards; nothing is locked but the
//! early log.

mod early;
mod entry;
mod loader;

use core::ops::Range;

use crate::{acpi, apic, cpu, fpu, frame, gdt, irq, paging, serial, smp, task, time, trap};

pub use early::{early_log, early_print};
pub use loader::{MemKind, MemRegion, command_line, initrd, memory_map};

/// Where the parts of the kernel image are (virtual addresses, page-aligned).
#[derive(Clone, Debug)]
pub struct ImageLayout {
    /// Read-only, executable.
    pub text: Range<usize>,
    /// Read-only data.
    pub rodata: Range<usize>,
    /// Writable data, including zero-initialised data.
    pub data: Range<usize>,
}

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __data_start: u8;
    static __data_end: u8;
}

unsafe extern "Rust" {
    /// What [`crate::entry!`] defines.
    fn keel_main() -> !;
}

/// The layout of the kernel image.
pub fn image() -> ImageLayout {
    ImageLayout {
        text: (&raw const __text_start).addr()..(&raw const __text_end).addr(),
        rodata: (&raw const __rodata_start).addr()..(&raw const __rodata_end).addr(),
        data: (&raw const __data_start).addr()..(&raw const __data_end).addr(),
    }
}

/// The value of the command-line parameter `name` (`name=value`); `Some("")` for a bare `name`.
/// The last one counts. Words after `--` belong to init.
pub fn parameter(name: &str) -> Option<&'static str> {
    command_line()
        .split_ascii_whitespace()
        .take_while(|&word| word != "--")
        .filter_map(|word| match word.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (word == name).then_some(""),
        })
        .last()
}

/// The first Rust code, on the boot stack, in the boot page tables, interrupts off.
extern "C" fn start(magic: u32, info: u32) -> ! {
    cpu::local::init_boot();
    let entered = time::read_tsc();
    serial::init_early();
    trap::init();
    gdt::prepare(cpu::local::local()).expect("static");
    gdt::load_current();
    cpu::features::check_required();
    cpu::setup::init_current();
    loader::read(magic, info);

    frame::init(memory_map(), loader::reserved());
    paging::init_kernel();

    fpu::init();
    acpi::init(loader::rsdp());
    // First: the calibration measures the local APIC's timer.
    apic::init();
    let calibration = time::start_calibration();
    irq::init();
    task::init_boot();
    smp::start_others();
    time::finish_calibration(calibration, entered);
    task::run_first(|| {
        // SAFETY: the kernel binary defines `keel_main` with `entry!`, with this signature; a
        // binary without it does not link.
        unsafe { keel_main() }
    })
}

/// Declares the kernel's `fn main() -> !`, which runs on the boot CPU as the first task.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn keel_main() -> ! {
            let main: fn() -> ! = $main;
            main()
        }
    };
}

/// Prints a line to the first serial port and to the early log.
#[macro_export]
macro_rules! early_println {
    ($($arg:tt)*) => {
        $crate::boot::early_print(::core::format_args!("{}\n", ::core::format_args!($($arg)*)))
    };
}
