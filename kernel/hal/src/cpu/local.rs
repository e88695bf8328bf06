//! The per-CPU block that GS points to while in the kernel.
//!
//! Fields without atomics belong to the CPU alone: they are read and written by it only, by code
//! that runs on it between two switches or in its interrupt handlers (which leave counters as they
//! found them). The assembly in `trap` and `context` knows some offsets through [`offset_of!`].

use core::{
    arch::asm,
    cell::{Cell, UnsafeCell},
    mem::offset_of,
    ptr,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use super::{MAX_CPUS, call::CallQueue};
use crate::{gdt::Gdt, task::Task};

/// The 64-bit task state segment: only its stack pointers are used.
#[repr(C, packed(4))]
pub(crate) struct Tss {
    _reserved0: u32,
    /// Stack for entries from user mode through the IDT.
    pub(crate) rsp0: u64,
    _rsp12: [u64; 2],
    _reserved1: u64,
    /// Stacks of the gates with an IST number (1 to 7).
    pub(crate) ist: [u64; 7],
    _reserved2: u64,
    _reserved3: u16,
    /// Where the bitmap of open ports starts; beyond the limit, no port is open to user mode.
    pub(crate) io_map_base: u16,
    /// A clear bit opens a port to user mode. The processor wants a byte of ones at the end.
    pub(crate) io_map: [u8; IO_MAP_BYTES + 1],
}

/// Bytes of the bitmap of I/O ports.
pub(crate) const IO_MAP_BYTES: usize = 65536 / 8;

impl Tss {
    /// `io_map_base` when ports are open.
    pub(crate) const IO_MAP_OFFSET: u16 = offset_of!(Tss, io_map) as u16;
    /// `io_map_base` when none are.
    pub(crate) const NO_IO_MAP: u16 = u16::MAX;
}

/// Per-CPU data of the machine layer.
#[repr(C, align(64))]
pub(crate) struct CpuLocal {
    /// The address of this block.
    this: Cell<*const CpuLocal>,
    /// The user's RSP for the moment between SYSCALL and saving it.
    pub(crate) user_rsp: Cell<u64>,
    /// Where the running user context is saved.
    pub(crate) context: Cell<*mut u8>,
    /// The running task.
    pub(crate) current: Cell<*const Task>,
    /// This CPU's number.
    pub(crate) id: Cell<u32>,
    /// How many spin locks are held.
    pub(crate) preempt_count: Cell<u32>,
    /// How many `IrqGuard`s there are.
    pub(crate) irq_depth: Cell<u32>,
    /// Whether interrupts were on before the first of them.
    pub(crate) irq_were_on: Cell<bool>,
    /// In an interrupt handler.
    pub(crate) in_interrupt: Cell<bool>,
    /// The idle task is (about to be) halted.
    pub(crate) idling: AtomicBool,
    /// The task running should give up the CPU.
    pub(crate) need_resched: AtomicU32,
    /// Its `rsp0` is also the stack pointer that SYSCALL entry loads.
    pub(crate) tss: UnsafeCell<Tss>,
    /// The local APIC id.
    pub(crate) apic_id: AtomicU32,
    /// Id of the task whose extended registers this CPU holds, 0 for none.
    pub(crate) fpu_owner: Cell<u64>,
    /// User mode may use some I/O ports.
    pub(crate) ports_open: Cell<bool>,
    /// Debug registers hold breakpoints.
    pub(crate) debug_active: Cell<bool>,
    /// User mode may not read the time stamp counter (CR4.TSD).
    pub(crate) tsc_disabled: Cell<bool>,
    /// The task that the last switch left, until the switch is finished.
    pub(crate) switched_from: Cell<*const Task>,
    /// A task chosen while another CPU had not finished leaving it; the idle task switches to it.
    pub(crate) pending_next: Cell<*const Task>,
    /// Exited tasks whose last reference is to be dropped where no lock is held.
    pub(crate) dead: Cell<*const Task>,
    /// TSC at the last switch.
    pub(crate) switch_tsc: Cell<u64>,
    /// Absolute time for which the timer is armed (ns).
    pub(crate) deadline: Cell<u64>,
    /// Functions that other CPUs want run here.
    pub(crate) calls: CallQueue,
    /// The idle task.
    pub(crate) idle: AtomicPtr<Task>,
    /// The CPU is up.
    pub(crate) online: AtomicBool,
    /// Interrupts taken, by vector.
    pub(crate) irq_counts: [AtomicU64; 256],
    /// Timer interrupts that found a task in user mode, and in the kernel.
    pub(crate) samples: [AtomicU64; 2],
    pub(crate) gdt: UnsafeCell<Gdt>,
}

// SAFETY: other CPUs use only the atomic fields and `calls` (Sync by itself); all other fields are
// accessed through `local()` by the owning CPU, or before it starts.
unsafe impl Sync for CpuLocal {}
// SAFETY: made by the boot CPU and handed over before the owner starts.
unsafe impl Send for CpuLocal {}

/// Offsets for the assembly.
pub(crate) const USER_RSP: usize = offset_of!(CpuLocal, user_rsp);
pub(crate) const CONTEXT: usize = offset_of!(CpuLocal, context);
pub(crate) const KERNEL_RSP: usize = offset_of!(CpuLocal, tss) + offset_of!(Tss, rsp0);
const _: () = assert!(KERNEL_RSP.is_multiple_of(8));

impl CpuLocal {
    /// Counts an interrupt or exception taken; only by the CPU itself.
    #[inline]
    pub(crate) fn count(&self, vector: u8) {
        let count = &self.irq_counts[usize::from(vector)];
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The block of CPU number `id`, to be completed by `set_this`.
    pub(crate) const fn new(id: u32) -> Self {
        CpuLocal {
            this: Cell::new(ptr::null()),
            user_rsp: Cell::new(0),
            context: Cell::new(ptr::null_mut()),
            current: Cell::new(ptr::null()),
            id: Cell::new(id),
            preempt_count: Cell::new(0),
            irq_depth: Cell::new(0),
            irq_were_on: Cell::new(false),
            in_interrupt: Cell::new(false),
            idling: AtomicBool::new(false),
            need_resched: AtomicU32::new(0),
            tss: UnsafeCell::new(Tss {
                _reserved0: 0,
                rsp0: 0,
                _rsp12: [0; 2],
                _reserved1: 0,
                ist: [0; 7],
                _reserved2: 0,
                _reserved3: 0,
                io_map_base: Tss::NO_IO_MAP,
                io_map: [u8::MAX; IO_MAP_BYTES + 1],
            }),
            apic_id: AtomicU32::new(0),
            fpu_owner: Cell::new(0),
            ports_open: Cell::new(false),
            debug_active: Cell::new(false),
            tsc_disabled: Cell::new(false),
            switched_from: Cell::new(ptr::null()),
            pending_next: Cell::new(ptr::null()),
            dead: Cell::new(ptr::null()),
            switch_tsc: Cell::new(0),
            deadline: Cell::new(u64::MAX),
            calls: CallQueue::new(),
            idle: AtomicPtr::new(ptr::null_mut()),
            online: AtomicBool::new(false),
            irq_counts: [const { AtomicU64::new(0) }; 256],
            samples: [const { AtomicU64::new(0) }; 2],
            gdt: UnsafeCell::new(Gdt::new()),
        }
    }
}

static BOOT_CPU: CpuLocal = CpuLocal::new(0);
static CPUS: [AtomicPtr<CpuLocal>; MAX_CPUS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; MAX_CPUS];
/// How many CPUs are online.
pub(crate) static ONLINE: AtomicUsize = AtomicUsize::new(1);

/// Makes GS point to the boot CPU's block: the very first thing, before anything else here works.
pub(crate) fn init_boot() {
    install(&BOOT_CPU);
    BOOT_CPU.online.store(true, Ordering::Relaxed);
}

/// Makes GS of this CPU point to `block` and enters it in the table of CPUs.
pub(crate) fn install(block: &'static CpuLocal) {
    block.this.set(block);
    let id = block.id.get() as usize;
    CPUS[id].store(ptr::from_ref(block).cast_mut(), Ordering::Release);
    // SAFETY: GS_BASE is only used to reach this block, which lives forever.
    unsafe {
        super::setup::write_msr(
            super::setup::MSR_GS_BASE,
            ptr::from_ref(block).addr() as u64,
        )
    };
}

/// The block of CPU `cpu`, if it exists.
pub(crate) fn of(cpu: usize) -> Option<&'static CpuLocal> {
    let block = CPUS.get(cpu)?.load(Ordering::Acquire);
    // SAFETY: entries are null or point to blocks that live forever.
    unsafe { block.as_ref() }
}

/// This CPU's block. The reference is to this CPU's block also after a switch to another CPU:
/// callers keep it only where they cannot switch, or use only its atomic fields.
#[inline(always)]
pub(crate) fn local() -> &'static CpuLocal {
    let this: *const CpuLocal;
    // SAFETY: GS points to a `CpuLocal` since the first instruction of Rust code on every CPU; its
    // first field is its own address.
    unsafe {
        asm!("mov {}, gs:[0]", out(reg) this, options(nostack, preserves_flags, readonly));
        &*this
    }
}

/// This CPU's number, in one instruction.
#[inline(always)]
pub(crate) fn id() -> usize {
    let id: u32;
    // SAFETY: as in `local`.
    unsafe {
        asm!("mov {:e}, gs:[{}]", out(reg) id, const offset_of!(CpuLocal, id),
            options(nostack, preserves_flags, readonly));
    }
    id as usize
}

/// The running task, in one instruction.
#[inline(always)]
pub(crate) fn current() -> *const Task {
    let task: *const Task;
    // SAFETY: as in `local`.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) task, const offset_of!(CpuLocal, current),
            options(nostack, preserves_flags, readonly));
    }
    task
}

/// Counts one more spin lock.
#[inline(always)]
pub(crate) fn preempt_disable() {
    // SAFETY: changes only this CPU's counter; one instruction, so an interrupt cannot split it.
    unsafe {
        asm!("add dword ptr gs:[{}], 1", const offset_of!(CpuLocal, preempt_count), options(nostack));
    }
}

/// Counts one less.
#[inline(always)]
pub(crate) fn preempt_enable() {
    // SAFETY: as in `preempt_disable`.
    unsafe {
        asm!("sub dword ptr gs:[{}], 1", const offset_of!(CpuLocal, preempt_count), options(nostack));
    }
}
