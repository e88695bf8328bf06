//! Segment descriptors and the task state segment of each CPU.
//!
//! The selectors are those of Linux, since user code sees them: user CS 0x33, user SS 0x2b. There is
//! no 32-bit user code segment.

use core::{arch::asm, mem::size_of, ptr};

use alloc::alloc::{Layout, alloc_zeroed};

use crate::cpu::local::{CpuLocal, Tss, local};

/// Kernel code.
pub(crate) const KERNEL_CS: u16 = 0x10;
/// Kernel data.
pub(crate) const KERNEL_SS: u16 = 0x18;
/// What SYSRET derives the user selectors from: SS = this + 8, CS = this + 16.
pub(crate) const SYSRET_BASE: u16 = 0x23;
/// The task state segment: two entries.
const TSS_SELECTOR: u16 = 0x40;

const CODE64: u64 = 0x00af_9b00_0000_ffff;
const DATA: u64 = 0x00cf_9300_0000_ffff;
const DPL3: u64 = 3 << 45;
/// An available 64-bit TSS.
const TSS_TYPE: u64 = 0x89 << 40;

/// A segment whose limit is the CPU's number: LSL tells user code where it runs, as on Linux.
const CPU_NUMBER_ENTRY: usize = 15;
/// Present, DPL 3, read-only data, 32-bit.
const CPU_NUMBER_SEGMENT: u64 = 0x0040_f100_0000_0000;

/// IST numbers.
pub(crate) const IST_DEBUG: u8 = 1;
pub(crate) const IST_NMI: u8 = 2;
pub(crate) const IST_DOUBLE_FAULT: u8 = 3;
pub(crate) const IST_MACHINE_CHECK: u8 = 4;
const IST_COUNT: usize = 4;
/// Size and alignment of an IST stack; its first word is the address of the CPU's block, which the
/// entry code finds by rounding its stack pointer down.
pub(crate) const IST_SIZE: usize = 8 << 10;

/// A CPU's descriptor table.
#[repr(C, align(16))]
pub(crate) struct Gdt([u64; 16]);

impl Gdt {
    pub(crate) const fn new() -> Self {
        let mut table = [0; 16];
        table[KERNEL_CS as usize / 8] = CODE64;
        table[KERNEL_SS as usize / 8] = DATA;
        table[5] = DATA | DPL3;
        table[6] = CODE64 | DPL3;
        Gdt(table)
    }
}

#[repr(C, align(8192))]
struct BootIst([[u8; IST_SIZE]; IST_COUNT]);

static mut BOOT_IST: BootIst = BootIst([[0; IST_SIZE]; IST_COUNT]);

/// Gives `block` its IST stacks. The boot CPU's are static, since there is no heap yet.
pub(crate) fn prepare(block: &'static CpuLocal) -> Option<()> {
    for ist in 0..IST_COUNT {
        let base = if block.id.get() == 0 {
            // SAFETY: only the address is taken; each stack is used by this CPU alone.
            unsafe { (&raw mut BOOT_IST.0[ist]).cast::<u8>() }
        } else {
            let layout = Layout::from_size_align(IST_SIZE, IST_SIZE).ok()?;
            // SAFETY: the layout is not empty.
            unsafe { alloc_zeroed(layout) }
        };
        if base.is_null() {
            return None;
        }
        // SAFETY: `base` is a block of IST_SIZE bytes that nobody else uses; the TSS is not loaded yet.
        unsafe {
            base.cast::<*const CpuLocal>().write(ptr::from_ref(block));
            (*block.tss.get()).ist[ist] = base.add(IST_SIZE).addr() as u64;
        }
    }
    Some(())
}

/// Loads the descriptor table and TSS of this CPU, whose IST stacks are prepared.
pub(crate) fn load_current() {
    let block = local();
    let tss = block.tss.get().addr() as u64;
    // SAFETY: the table belongs to this CPU, which has not loaded it yet.
    let gdt = unsafe { &mut (*block.gdt.get()).0 };
    gdt[TSS_SELECTOR as usize / 8] = (size_of::<Tss>() as u64 - 1)
        | (tss & 0xff_ffff) << 16
        | TSS_TYPE
        | (tss >> 24 & 0xff) << 56;
    gdt[TSS_SELECTOR as usize / 8 + 1] = tss >> 32;
    let id = u64::from(block.id.get());
    gdt[CPU_NUMBER_ENTRY] = CPU_NUMBER_SEGMENT | id & 0xffff | (id >> 16 & 0xf) << 48;

    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let pointer = Pointer {
        limit: (size_of::<Gdt>() - 1) as u16,
        base: block.gdt.get().addr() as u64,
    };
    // SAFETY: the table holds the kernel's flat segments at these selectors and lives forever; the
    // far return only reloads CS. Loading null selectors into FS and GS would clear their bases on
    // some CPUs, so those stay as they are.
    unsafe {
        asm!(
            "lgdt [{pointer}]",
            "push {cs}",
            "lea {tmp}, [rip + 2f]",
            "push {tmp}",
            "retfq",
            "2:",
            "mov ss, {ss:e}",
            "mov ds, {zero:e}",
            "mov es, {zero:e}",
            "ltr {tss:x}",
            pointer = in(reg) &raw const pointer,
            cs = const KERNEL_CS,
            tmp = out(reg) _,
            ss = in(reg) u32::from(KERNEL_SS),
            zero = in(reg) 0u32,
            tss = in(reg) TSS_SELECTOR,
        );
    }
}
