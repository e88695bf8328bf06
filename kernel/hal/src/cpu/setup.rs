//! Control registers and model-specific registers that every CPU sets at its start.

use core::arch::asm;

use super::{features, local};
use crate::{context, gdt};

pub(crate) const MSR_APIC_BASE: u32 = 0x1b;
pub(crate) const MSR_TSC_DEADLINE: u32 = 0x6e0;
const MSR_EFER: u32 = 0xc000_0080;
const MSR_STAR: u32 = 0xc000_0081;
const MSR_LSTAR: u32 = 0xc000_0082;
const MSR_SFMASK: u32 = 0xc000_0084;
pub(crate) const MSR_FS_BASE: u32 = 0xc000_0100;
pub(crate) const MSR_GS_BASE: u32 = 0xc000_0101;
pub(crate) const MSR_KERNEL_GS_BASE: u32 = 0xc000_0102;

const EFER_SCE: u64 = 1;
const EFER_NXE: u64 = 1 << 11;

const CR4_TSD: u64 = 1 << 2;
const CR4_PGE: u64 = 1 << 7;
const CR4_MCE: u64 = 1 << 6;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXMMEXCPT: u64 = 1 << 10;
const CR4_UMIP: u64 = 1 << 11;
const CR4_FSGSBASE: u64 = 1 << 16;
const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_SMEP: u64 = 1 << 20;
const CR4_SMAP: u64 = 1 << 21;
const CR4_PKE: u64 = 1 << 22;

/// What RDTSCP and RDPID return: the CPU's number, as Linux has it (node 0 above bit 12).
const MSR_TSC_AUX: u32 = 0xc000_0103;

/// Flags that SYSCALL clears: all but the reserved ones, so that the kernel starts from a known
/// state (TF, IF, DF, IOPL, NT, RF, AC and the arithmetic ones).
const SYSCALL_CLEARS: u64 = 0x0025_7fd5;

/// Takes the time stamp counter from user mode on this CPU, or gives it back. Interrupts are off.
pub(crate) fn set_tsc_disabled(disabled: bool) {
    // SAFETY: only the bit for user mode's RDTSC changes; the kernel's own is not affected.
    unsafe {
        let mut cr4: u64;
        asm!("mov {}, cr4", out(reg) cr4, options(nomem, nostack, preserves_flags));
        cr4 = if disabled {
            cr4 | CR4_TSD
        } else {
            cr4 & !CR4_TSD
        };
        asm!("mov cr4, {}", in(reg) cr4, options(nostack, preserves_flags));
    }
}

/// Reads a model-specific register.
///
/// # Safety
/// The register must exist.
pub(crate) unsafe fn read_msr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller vouches for the register; reading has no effect on memory.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// The register must exist and the value must keep the kernel's invariants.
pub(crate) unsafe fn write_msr(msr: u32, value: u64) {
    // SAFETY: the caller vouches for register and value.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}

/// Sets this CPU's control registers, its system-call entry and its protections.
pub(crate) fn init_current() {
    features::note_enabled();
    let wanted = [
        (features::FSGSBASE, CR4_FSGSBASE),
        (features::XSAVE, CR4_OSXSAVE),
        (features::SMEP, CR4_SMEP),
        (features::SMAP, CR4_SMAP),
        (features::UMIP, CR4_UMIP),
        (features::MCE, CR4_MCE),
        (features::PGE, CR4_PGE),
    ];
    let cr4 = wanted
        .iter()
        .filter(|(feature, _)| features::has(*feature))
        .fold(CR4_OSFXSR | CR4_OSXMMEXCPT, |bits, (_, bit)| bits | bit)
        | if features::pku_enabled() { CR4_PKE } else { 0 };
    // SAFETY: only features that the CPU has are turned on, on top of what the entry code set; the
    // system-call registers name the kernel's own entry and segments.
    unsafe {
        let mut old: u64;
        asm!("mov {}, cr4", out(reg) old, options(nomem, nostack, preserves_flags));
        old |= cr4;
        asm!("mov cr4, {}", in(reg) old, options(nostack, preserves_flags));
        // The FPU is never trapped or emulated: clear EM and TS, set MP and NE.
        let mut cr0: u64;
        asm!("mov {}, cr0", out(reg) cr0, options(nomem, nostack, preserves_flags));
        cr0 = cr0 & !(1 << 2 | 1 << 3) | 1 << 1 | 1 << 5 | 1 << 16;
        asm!("mov cr0, {}", in(reg) cr0, options(nostack, preserves_flags));
        write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_SCE | EFER_NXE);
        let star = u64::from(gdt::SYSRET_BASE) << 48 | u64::from(gdt::KERNEL_CS) << 32;
        write_msr(MSR_STAR, star);
        write_msr(MSR_LSTAR, context::syscall_entry_address());
        write_msr(MSR_SFMASK, SYSCALL_CLEARS);
        write_msr(MSR_KERNEL_GS_BASE, 0);
        write_msr(MSR_FS_BASE, 0);
        if features::has(features::RDTSCP) || features::has(features::RDPID) {
            write_msr(MSR_TSC_AUX, local::id() as u64);
        }
        // No hardware breakpoints.
        asm!("mov dr7, {}", in(reg) 0x400u64, options(nomem, nostack, preserves_flags));
    }
}
