//! The interrupt descriptor table: exceptions and interrupts from user and kernel mode.
//!
//! All 256 gates lead to stubs that push the vector (and a zero where the CPU pushes no error code).
//! Coming from user mode, the stubs save the registers in the running [`crate::UserContext`] and
//! return from its `run` (see `context`), which calls [`from_user`]. Coming from the kernel they save
//! the registers on the stack and call [`from_kernel`]. NMI, machine check and double fault, and
//! debug exceptions in the kernel, can come while GS is still the user's: they run on stacks of
//! their own (IST), at whose bottom lies the address of the CPU's block for GS.

use core::{
    arch::{asm, global_asm},
    cell::UnsafeCell,
    fmt,
};

use crate::{
    apic,
    context::{Exception, UserExit},
    cpu::{features, local::local, setup},
    gdt,
    hooks::hooks,
    irq, panic, task, user,
};

const DEBUG: u8 = 1;
const NMI: u8 = 2;
const BREAKPOINT: u8 = 3;
const DOUBLE_FAULT: u8 = 8;
const STACK_SEGMENT: u8 = 12;
const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;
const MACHINE_CHECK: u8 = 18;
/// Vectors below are exceptions.
const FIRST_INTERRUPT: u8 = 32;

const FLAG_IF: u64 = 1 << 9;
/// Page fault error code: a protection key forbids the access.
const FAULT_PROTECTION_KEY: u64 = 1 << 5;
/// Page fault error code: the access was a write.
const FAULT_WRITE: u64 = 1 << 1;
/// DR6 with no condition recorded.
const DR6_CLEAR: u64 = 0xffff_0ff0;
const DR6_CONDITIONS: u64 = 0xe00f;

/// The registers of interrupted kernel code.
#[repr(C)]
pub(crate) struct TrapFrame {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    pub(crate) rbp: u64,
    rbx: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rax: u64,
    rcx: u64,
    rdx: u64,
    rsi: u64,
    rdi: u64,
    vector: u64,
    error_code: u64,
    pub(crate) rip: u64,
    cs: u64,
    rflags: u64,
    pub(crate) rsp: u64,
    ss: u64,
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "RIP: {:016x} CS: {:02x} RFLAGS: {:08x}",
            self.rip, self.cs, self.rflags
        )?;
        writeln!(
            f,
            "RSP: {:016x} SS: {:02x} error code: {:x}",
            self.rsp, self.ss, self.error_code
        )?;
        writeln!(
            f,
            "RAX: {:016x} RBX: {:016x} RCX: {:016x}",
            self.rax, self.rbx, self.rcx
        )?;
        writeln!(
            f,
            "RDX: {:016x} RSI: {:016x} RDI: {:016x}",
            self.rdx, self.rsi, self.rdi
        )?;
        writeln!(
            f,
            "RBP: {:016x} R08: {:016x} R09: {:016x}",
            self.rbp, self.r8, self.r9
        )?;
        writeln!(
            f,
            "R10: {:016x} R11: {:016x} R12: {:016x}",
            self.r10, self.r11, self.r12
        )?;
        write!(
            f,
            "R13: {:016x} R14: {:016x} R15: {:016x}",
            self.r13, self.r14, self.r15
        )
    }
}

/// A gate of the interrupt descriptor table.
#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    low: u64,
    high: u64,
}

#[repr(C, align(16))]
struct Idt(UnsafeCell<[Gate; 256]>);

// SAFETY: written once by the boot CPU before another one starts; only read afterwards.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([Gate { low: 0, high: 0 }; 256]));

unsafe extern "C" {
    static keel_trap_stubs: u8;
}

/// Bytes from one stub to the next.
const STUB_SIZE: usize = 16;
/// Present, interrupt gate.
const INTERRUPT_GATE: u64 = 0x8e << 40;
const DPL3: u64 = 3 << 45;

/// Fills and loads the table.
pub(crate) fn init() {
    let base = (&raw const keel_trap_stubs).addr();
    // SAFETY: the boot CPU runs alone, with interrupts off.
    let gates = unsafe { &mut *IDT.0.get() };
    for (vector, gate) in gates.iter_mut().enumerate() {
        let address = (base + vector * STUB_SIZE) as u64;
        let ist = match vector as u8 {
            DEBUG => gdt::IST_DEBUG,
            NMI => gdt::IST_NMI,
            DOUBLE_FAULT => gdt::IST_DOUBLE_FAULT,
            MACHINE_CHECK => gdt::IST_MACHINE_CHECK,
            _ => 0,
        };
        let privilege = if vector as u8 == BREAKPOINT { DPL3 } else { 0 };
        gate.low = address & 0xffff
            | u64::from(gdt::KERNEL_CS) << 16
            | u64::from(ist) << 32
            | INTERRUPT_GATE
            | privilege
            | (address >> 16 & 0xffff) << 48;
        gate.high = address >> 32;
    }
    load_current();
}

/// Loads the table on this CPU.
pub(crate) fn load_current() {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let pointer = Pointer {
        limit: 256 * 16 - 1,
        base: IDT.0.get().addr() as u64,
    };
    // SAFETY: the table is filled, lives forever and leads to the stubs below.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack)) };
}

/// Handles what ended user mode, except system calls; interrupts are off. `None` returns to user
/// mode; otherwise interrupts are on again.
pub(crate) fn from_user(vector: u8, error_code: u64) -> Option<UserExit> {
    close_user_memory();
    if vector >= FIRST_INTERRUPT {
        irq::dispatch(vector, true);
        return None;
    }
    local().count(vector);
    let detail = match vector {
        PAGE_FAULT => read_cr2(),
        DEBUG => take_dr6() as usize,
        _ => 0,
    };
    // SAFETY: they were on in user mode.
    unsafe { asm!("sti", options(nomem, nostack)) };
    Some(UserExit::Exception(Exception {
        vector,
        error_code,
        cr2: detail,
    }))
}

/// Clears AC, which user code may have set and which is set during user copies.
#[inline]
fn close_user_memory() {
    if features::smap_enabled() {
        // SAFETY: CLAC exists with SMAP; the flag comes back with the interrupted code's flags.
        unsafe { asm!("clac", options(nomem, nostack)) };
    }
}

/// Handles an interrupt or exception in kernel code; interrupts are off.
extern "C" fn from_kernel(frame: &mut TrapFrame) {
    close_user_memory();
    let vector = frame.vector as u8;
    if vector >= FIRST_INTERRUPT {
        irq::dispatch(vector, false);
        return;
    }
    match vector {
        PAGE_FAULT => page_fault(frame),
        GENERAL_PROTECTION | STACK_SEGMENT => match user::fixup(frame.rip as usize) {
            Some(fixup) => frame.rip = fixup as u64,
            None => fatal("general protection fault", frame),
        },
        0 => fatal("divide error", frame),
        BREAKPOINT => fatal("breakpoint", frame),
        6 => fatal("invalid opcode", frame),
        7 => fatal("FPU not available", frame),
        16 | 19 => fatal("floating-point exception", frame),
        17 => fatal("alignment check", frame),
        _ => fatal("unexpected exception", frame),
    }
}

/// A page fault in kernel code: a user access is tried again after the kernel has handled the fault
/// or ends at its fix-up; anything else is a bug.
fn page_fault(frame: &mut TrapFrame) {
    let addr = read_cr2();
    let Some(fixup) = user::fixup(frame.rip as usize) else {
        let stack = task::stack_overflow_at(addr);
        if stack {
            fatal("kernel stack overflow", frame);
        }
        fatal_at("page fault", addr, frame);
    };
    let may_sleep = frame.rflags & FLAG_IF != 0 && !irq::in_interrupt() && !user::nofault_active();
    // What a protection key forbids to the program, it forbids to calls on its behalf.
    let by_key = frame.error_code & FAULT_PROTECTION_KEY != 0;
    let handled = may_sleep && !by_key && addr < crate::addr::TASK_SIZE_MAX && {
        let write = frame.error_code & FAULT_WRITE != 0;
        // SAFETY: interrupts were on where the fault happened; they are off again before the return.
        unsafe { asm!("sti", options(nomem, nostack)) };
        let handled = hooks().is_some_and(|h| h.page_fault_in_user_copy(addr, write));
        // SAFETY: as above.
        unsafe { asm!("cli", options(nomem, nostack)) };
        handled
    };
    if !handled {
        frame.rip = fixup as u64;
    }
}

/// Handles what runs on an IST stack, with GS and interrupts as found.
extern "C" fn from_ist(frame: &mut TrapFrame) {
    close_user_memory();
    match frame.vector as u8 {
        // A breakpoint on user data that the kernel touched, or one that was delayed into the
        // system-call entry by MOV SS: the task learns of it at its return.
        DEBUG => task::note_debug_status(take_dr6()),
        NMI => {
            local().count(NMI);
            panic::on_nmi();
        }
        MACHINE_CHECK => machine_check(frame),
        DOUBLE_FAULT => {
            let addr = read_cr2();
            if task::stack_overflow_at(addr) {
                fatal("kernel stack overflow", frame);
            }
            fatal("double fault", frame)
        }
        _ => fatal("unexpected exception", frame),
    }
}

/// Reports the banks with a valid error and stops: the state of the machine is unknown.
fn machine_check(frame: &TrapFrame) -> ! {
    const MCG_CAP: u32 = 0x179;
    const MC0_STATUS: u32 = 0x401;
    const MC0_ADDR: u32 = 0x402;
    const VALID: u64 = 1 << 63;
    const ADDRESS_VALID: u64 = 1 << 58;
    // SAFETY: a machine check comes only from CPUs that have these registers.
    let banks = unsafe { setup::read_msr(MCG_CAP) } as u32 & 0xff;
    for bank in 0..banks {
        // SAFETY: the bank exists.
        let status = unsafe { setup::read_msr(MC0_STATUS + 4 * bank) };
        if status & VALID != 0 {
            let addr = if status & ADDRESS_VALID != 0 {
                // SAFETY: the status says that the address register is there.
                unsafe { setup::read_msr(MC0_ADDR + 4 * bank) }
            } else {
                0
            };
            crate::early_println!(
                "machine check: bank {bank} status {status:016x} address {addr:x}"
            );
        }
    }
    fatal("machine check", frame)
}

fn fatal(what: &str, frame: &TrapFrame) -> ! {
    panic::in_trap(format_args!("{what} (vector {})", frame.vector), frame)
}

fn fatal_at(what: &str, addr: usize, frame: &TrapFrame) -> ! {
    let action = match (
        frame.error_code & 1 << 4 != 0,
        frame.error_code & FAULT_WRITE != 0,
    ) {
        (true, _) => "execute",
        (false, true) => "write",
        (false, false) => "read",
    };
    panic::in_trap(format_args!("{what}: {action} at {addr:#x}"), frame)
}

fn read_cr2() -> usize {
    let addr: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) addr, options(nomem, nostack, preserves_flags)) };
    addr
}

/// The conditions in DR6, which is cleared.
fn take_dr6() -> u64 {
    let dr6: u64;
    // SAFETY: DR6 only records what happened.
    unsafe {
        asm!("mov {}, dr6", out(reg) dr6, options(nomem, nostack, preserves_flags));
        asm!("mov dr6, {}", in(reg) DR6_CLEAR, options(nomem, nostack, preserves_flags));
    }
    dr6 & DR6_CONDITIONS
}

/// Vectors that other modules use here.
const _: () = assert!(apic::FIRST_DEVICE >= FIRST_INTERRUPT);

global_asm!(
    r#"
.macro PUSH_ALL
    push rdi
    push rsi
    push rdx
    push rcx
    push rax
    push r8
    push r9
    push r10
    push r11
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
.endm
.macro POP_ALL
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    add rsp, 16
.endm

.text
.balign 16
.global keel_trap_stubs
keel_trap_stubs:
.set vector, 0
.rept 256
    .balign 16
    .if (vector != 8) && (vector != 10) && (vector != 11) && (vector != 12) && (vector != 13) && (vector != 14) && (vector != 17) && (vector != 21) && (vector != 29) && (vector != 30)
    push 0
    .endif
    .byte 0x68          /* push imm32 */
    .long vector
    .if (vector == 2) || (vector == 8) || (vector == 18)
    jmp trap_ist
    .elseif vector == 1
    jmp trap_debug
    .else
    jmp trap_common
    .endif
    .set vector, vector + 1
.endr

.balign 16
trap_common:
    test byte ptr [rsp + 24], 3
    jnz keel_trap_from_user
    cld
    PUSH_ALL
    mov rdi, rsp
    call {from_kernel}
    POP_ALL
    iretq

trap_debug:
    test byte ptr [rsp + 24], 3
    jnz keel_trap_from_user
trap_ist:
    cld
    PUSH_ALL
    /* the current GS base is kept in rbx; the CPU's block is named at the bottom of this stack */
    mov ecx, 0xc0000101
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov rbx, rax
    mov rax, rsp
    and rax, -{ist_size}
    mov rax, [rax]
    mov rdx, rax
    shr rdx, 32
    wrmsr
    mov rdi, rsp
    call {from_ist}
    mov rax, rbx
    mov rdx, rbx
    shr rdx, 32
    mov ecx, 0xc0000101
    wrmsr
    POP_ALL
    iretq
"#,
    from_kernel = sym from_kernel,
    from_ist = sym from_ist,
    ist_size = const gdt::IST_SIZE,
);
