//! Boot information.

use core::ops::Range;

/// What a range of physical memory is (the E820 types).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemKind {
    /// Free for use.
    Usable,
    /// Not to be touched.
    Reserved,
    /// ACPI tables, usable after they were read.
    AcpiReclaimable,
    /// To be kept over sleep.
    AcpiNvs,
    /// Broken memory.
    Bad,
}

/// One range of the firmware's memory map.
#[derive(Clone, Copy, Debug)]
pub struct MemRegion {
    /// First physical address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// What it is.
    pub kind: MemKind,
}

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

/// The kernel command line.
pub fn command_line() -> &'static str {
    todo!()
}

/// The initial RAM disk, if the loader passed one.
pub fn initrd() -> Option<&'static [u8]> {
    todo!()
}

/// The firmware's memory map, sorted, without overlaps, cut by `mem=`.
pub fn memory_map() -> &'static [MemRegion] {
    todo!()
}

/// The layout of the kernel image.
pub fn image() -> ImageLayout {
    todo!()
}

/// Messages printed before the kernel installed its logger.
pub fn early_log() -> alloc::string::String {
    todo!()
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

/// Prints to the first serial port and to the early log.
#[macro_export]
macro_rules! early_println {
    ($($arg:tt)*) => {
        $crate::boot::early_print(::core::format_args!("{}\n", ::core::format_args!($($arg)*)))
    };
}

#[doc(hidden)]
pub fn early_print(_args: core::fmt::Arguments<'_>) {
    todo!()
}
