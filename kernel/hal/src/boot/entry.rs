//! The first instructions: from the loader's 32-bit protected mode to Rust in the higher half.
//!
//! Two loaders are served by one code path: PVH ("x86/HVM direct boot ABI" of the Xen project: EBX
//! points to `hvm_start_info`) and Multiboot2 (EAX holds its magic, EBX points to its information).
//! Both start us with paging off, flat segments and interrupts off. Assembly checks for long mode,
//! maps the first 4 GiB (identity, direct map and -2 GiB image) with 2 MiB pages, enters long mode
//! and calls `keel_start(magic, info)`. The tables built here serve until [`crate::paging`] has its
//! own, and again while another CPU starts.

use core::arch::global_asm;

use crate::addr::KERNEL_BASE;

/// Bytes of the stack on which the boot CPU runs until the first task does.
const BOOT_STACK: usize = 64 << 10;

/// EFER bits: SCE, LME, NXE.
const EFER: u32 = 1 | 1 << 8 | 1 << 11;
/// CR0: PE, MP, ET, NE, WP, AM, PG.
const CR0: u32 = 1 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 18 | 1 << 31;
/// CR4 needed for long mode: PAE; and PGE.
const CR4: u32 = 1 << 5 | 1 << 7;

// Multiboot2 header (specification 2.0, section 3.1): ask for nothing but page-aligned modules, and
// name the 32-bit entry, since the ELF entry is the PVH one as well.
global_asm!(
    r#"
.section .boot.header, "a"
.balign 8
mb2_header:
    .long 0xe85250d6
    .long 0
    .long mb2_header_end - mb2_header
    .long -(0xe85250d6 + (mb2_header_end - mb2_header))
    /* entry address tag */
    .balign 8
    .short 3, 0
    .long 12
    .long keel_entry + {to_phys}
    /* modules page-aligned */
    .balign 8
    .short 6, 0
    .long 8
    /* end */
    .balign 8
    .short 0, 0
    .long 8
mb2_header_end:

.section .note.pvh, "a", @note
.balign 4
    .long 4, 8, 18          /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .balign 4
    .quad keel_entry + {to_phys}

.section .boot.text, "ax"
.code32
.global keel_entry
keel_entry:
    cli
    cld
    mov esp, offset boot_stack_top + {to_phys}
    mov ebp, eax                /* the loader's magic */
    mov edi, ebx                /* its information */

    /* CPUID there? (the ID flag can be changed) */
    pushfd
    pop eax
    mov ecx, eax
    xor eax, 0x200000
    push eax
    popfd
    pushfd
    pop eax
    xor eax, ecx
    jz no_long_mode
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb no_long_mode
    mov eax, 0x80000001
    cpuid
    test edx, 0x20000000        /* LM */
    jz no_long_mode
    test edx, 0x00100000        /* NX */
    jz no_long_mode

    /* level 2: 2048 pages of 2 MiB; present, writable, accessed, dirty, large, global */
    mov ebx, offset boot_pd + {to_phys}
    mov eax, 0x1e3
    xor edx, edx
    mov ecx, 2048
2:  mov [ebx], eax
    mov [ebx + 4], edx
    add eax, 0x200000
    add ebx, 8
    dec ecx
    jnz 2b
    /* level 3 of low memory: four tables */
    mov ebx, offset boot_pdpt_low + {to_phys}
    mov eax, offset boot_pd + {to_phys} + 0x63
    mov ecx, 4
3:  mov [ebx], eax
    add eax, 0x1000
    add ebx, 8
    dec ecx
    jnz 3b
    /* level 3 of the image: -2 GiB and -1 GiB to 0 and 1 GiB */
    mov eax, offset boot_pd + {to_phys} + 0x63
    mov dword ptr [boot_pdpt_high + {to_phys} + 510 * 8], eax
    add eax, 0x1000
    mov dword ptr [boot_pdpt_high + {to_phys} + 511 * 8], eax
    /* level 4: identity, direct map (0xffff8880...), image */
    mov eax, offset boot_pdpt_low + {to_phys} + 0x63
    mov dword ptr [boot_pml4 + {to_phys}], eax
    mov dword ptr [boot_pml4 + {to_phys} + 273 * 8], eax
    mov eax, offset boot_pdpt_high + {to_phys} + 0x63
    mov dword ptr [boot_pml4 + {to_phys} + 511 * 8], eax

    call keel_long_mode
    /* far return into 64-bit code */
    push 0x08
    mov eax, offset keel_entry64 + {to_phys}
    push eax
    retf

/* Turns paging and long mode on and loads the boot GDT. Keeps ebp, edi, esi. Shared with the
   start of the other CPUs. */
.global keel_long_mode
keel_long_mode:
    mov eax, {cr4}
    mov cr4, eax
    mov eax, offset boot_pml4 + {to_phys}
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, {efer}
    wrmsr
    mov eax, {cr0}
    mov cr0, eax
    lgdt [boot_gdt_pointer + {to_phys}]
    ret

no_long_mode:
    mov esi, offset no_long_mode_text + {to_phys}
    mov ebx, 0xb8000
4:  lodsb
    test al, al
    jz 6f
    mov ah, 0x4f
    mov [ebx], ax
    add ebx, 2
    mov ah, al
    mov dx, 0x3fd
5:  in al, dx
    test al, 0x20
    jz 5b
    mov dx, 0x3f8
    mov al, ah
    out dx, al
    jmp 4b
6:  hlt
    jmp 6b
no_long_mode_text:
    .asciz "Keel needs a 64-bit x86 CPU (long mode and no-execute).\r\n"

.code64
keel_entry64:
    mov rax, offset keel_entry_high /* to the linked address */
    jmp rax
keel_entry_high:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov gs, eax
    mov rsp, offset boot_stack_top
    mov esi, edi                /* information */
    mov edi, ebp                /* magic */
    xor ebp, ebp
    call {start}
    ud2

.section .rodata.boot_gdt, "a"
.balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff    /* 0x08: 64-bit code */
    .quad 0x00cf93000000ffff    /* 0x10: data */
    .quad 0x00cf9b000000ffff    /* 0x18: 32-bit code, for the other CPUs */
boot_gdt_pointer:
    .short 31
    .quad boot_gdt + {to_phys}

.section .bss.boot, "aw", @nobits
.balign 4096
.global boot_pml4
boot_pml4: .skip 4096
boot_pdpt_low: .skip 4096
boot_pdpt_high: .skip 4096
boot_pd: .skip 4 * 4096
    .skip {stack}
boot_stack_top:
.text
"#,
    // Adding this to a linked address gives the physical one, modulo 2^64.
    to_phys = const KERNEL_BASE.wrapping_neg(),
    cr0 = const CR0,
    cr4 = const CR4,
    efer = const EFER,
    stack = const BOOT_STACK,
    start = sym super::start,
);
