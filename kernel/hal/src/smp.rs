//! Starting the other CPUs: INIT and start-up interrupts to each local APIC that the MADT lists.
//!
//! A CPU begins in real mode in a page of low memory, where the code below is copied to; it finds
//! the stack of its idle task in the same page, takes the way of the boot CPU into long mode on the
//! boot page tables, changes to the kernel's own, and ends in [`start`]. The CPUs pass the page one after the other and then set
//! themselves up at the same time.

use alloc::boxed::Box;
use core::{
    arch::global_asm,
    hint::spin_loop,
    ptr,
    sync::atomic::{AtomicUsize, Ordering, fence},
};

use crate::{
    acpi,
    addr::KERNEL_BASE,
    apic, boot,
    cpu::{self, local},
    fpu, gdt, paging,
    paging::phys_to_virt,
    task, time, trap,
};

/// Physical page where the CPUs begin; low memory is reserved for it.
const TRAMPOLINE: u64 = 0x8000;
/// CPUs that have read their stack pointer.
static PASSED: AtomicUsize = AtomicUsize::new(0);
/// How long a CPU may take to come up, in reads of its flag's state: about a second or more.
const PATIENCE: u32 = 1_000_000_000;

unsafe extern "C" {
    static keel_trampoline: u8;
    static keel_trampoline_end: u8;
    static keel_trampoline_stack: u8;
    static keel_trampoline_block: u8;
    static keel_trampoline_table: u8;
}

/// How many CPUs the command line allows: `nosmp` and `maxcpus=0` mean one.
fn limit() -> usize {
    if boot::parameter("nosmp").is_some() {
        return 1;
    }
    boot::parameter("maxcpus")
        .and_then(|text| text.parse::<usize>().ok())
        .map_or(cpu::MAX_CPUS, |n| n.clamp(1, cpu::MAX_CPUS))
}

/// Starts the other CPUs and waits until they are up.
pub(crate) fn start_others() {
    let boot_id = apic::current_id();
    let others = acpi::info()
        .cpus
        .iter()
        .copied()
        .filter(|&id| id != boot_id);
    let mut started = 0;
    for apic_id in others.take(limit() - 1) {
        if started == 0 {
            copy_trampoline();
        }
        if start_one(apic_id, started + 1) {
            started += 1;
        } else {
            crate::early_println!("CPU with local APIC {apic_id} does not start");
        }
    }
    while local::ONLINE.load(Ordering::Acquire) < started + 1 {
        spin_loop();
    }
}

fn copy_trampoline() {
    let start = &raw const keel_trampoline;
    let len = (&raw const keel_trampoline_end).addr() - start.addr();
    // SAFETY: the page is reserved for this, and the code fits in it.
    unsafe { ptr::copy_nonoverlapping(start, phys_to_virt(TRAMPOLINE) as *mut u8, len) };
}

/// Writes a word of the trampoline page.
fn set_word(symbol: *const u8, value: usize) {
    let offset = symbol.addr() - (&raw const keel_trampoline).addr();
    // SAFETY: the word lies in the reserved page; no CPU is in it now.
    unsafe {
        (phys_to_virt(TRAMPOLINE) as *mut u8)
            .add(offset)
            .cast::<usize>()
            .write_volatile(value)
    };
}

/// Starts one CPU as number `id`. False if it does not come.
fn start_one(apic_id: u32, id: usize) -> bool {
    let block: &'static local::CpuLocal = Box::leak(Box::new(local::CpuLocal::new(id as u32)));
    let Some(idle) = gdt::prepare(block).and_then(|()| task::new_idle(block)) else {
        return false;
    };
    set_word(&raw const keel_trampoline_stack, idle.stack_top());
    set_word(
        &raw const keel_trampoline_block,
        ptr::from_ref(block).addr(),
    );
    set_word(
        &raw const keel_trampoline_table,
        paging::kernel_cr3() as usize,
    );
    fence(Ordering::SeqCst);
    let before = PASSED.load(Ordering::Acquire);
    apic::send_init(apic_id);
    for _ in 0..2 {
        apic::send_startup(apic_id, (TRAMPOLINE >> 12) as u8);
        // The second one is for CPUs that missed the first.
        for _ in 0..PATIENCE / 2 {
            if PASSED.load(Ordering::Acquire) != before {
                return true;
            }
            spin_loop();
        }
    }
    // One that comes yet stops.
    set_word(&raw const keel_trampoline_block, 0);
    false
}

/// The first Rust code of another CPU: on the stack of its idle task, interrupts off.
extern "C" fn start(block: &'static local::CpuLocal) -> ! {
    local::install(block);
    PASSED.fetch_add(1, Ordering::Release);
    trap::load_current();
    gdt::load_current();
    cpu::setup::init_current();
    fpu::init_current();
    apic::init_current();
    task::set_current_idle();
    block.online.store(true, Ordering::Release);
    // Numbers are given in this order, so the count says which CPUs are online.
    let id = block.id.get() as usize;
    while local::ONLINE.load(Ordering::Acquire) != id {
        spin_loop();
    }
    local::ONLINE.store(id + 1, Ordering::Release);
    while !time::is_ready() {
        spin_loop();
    }
    time::init_current();
    // SAFETY: everything that an interrupt needs is set up.
    unsafe { core::arch::asm!("sti", options(nostack)) };
    task::idle_loop()
}

global_asm!(
    r#"
.section .rodata.trampoline, "a"
.balign 16
.code16
.global keel_trampoline
keel_trampoline:
    cli
    cld
    xor ax, ax
    mov ds, ax
    .byte 0x66, 0x0f, 0x01, 0x16    /* lgdtd [disp16] */
    .short {base} + trampoline_gdt_pointer - keel_trampoline
    mov eax, 0x11               /* PE, ET */
    mov cr0, eax
    /* far jump to 32-bit code */
    .byte 0x66, 0xea
    .long {base} + trampoline32 - keel_trampoline
    .short 0x08
.balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
trampoline_gdt_pointer:
    .short 23
    .long {base} + trampoline_gdt - keel_trampoline
.code32
trampoline32:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, {base} + 0x1000
    mov ebx, offset keel_long_mode + {to_phys}
    call ebx
    push 0x08
    .byte 0x68                  /* push imm32 */
    .long {base} + trampoline64 - keel_trampoline
    retf
.code64
trampoline64:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov gs, eax
    mov rcx, [rip + keel_trampoline_stack]
    mov rdi, [rip + keel_trampoline_block]
    mov rdx, [rip + keel_trampoline_table]
    test rdi, rdi
    jnz 2f
3:  hlt
    jmp 3b
2:
    mov rax, offset trampoline_high
    jmp rax
.balign 8
.global keel_trampoline_stack
keel_trampoline_stack: .quad 0
.global keel_trampoline_block
keel_trampoline_block: .quad 0
.global keel_trampoline_table
keel_trampoline_table: .quad 0
.global keel_trampoline_end
keel_trampoline_end:

/* At the linked address: the kernel's own tables map this, and the stack. */
.text
.code64
trampoline_high:
    mov cr3, rdx
    mov rsp, rcx
    xor ebp, ebp
    push rbp
    jmp {start}
"#,
    base = const TRAMPOLINE,
    to_phys = const KERNEL_BASE.wrapping_neg(),
    start = sym start,
);
