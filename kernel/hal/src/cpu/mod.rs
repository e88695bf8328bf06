//! CPUs: numbers, masks, per-CPU data, cross-CPU calls, features, user segment bases.
//!
//! A task stays on its CPU until it sleeps or gives the CPU up, so [`id`] and [`PerCpu::get`] are
//! stable in between without any guard.

pub(crate) mod call;
pub(crate) mod features;
pub(crate) mod local;
pub(crate) mod setup;

use alloc::{boxed::Box, string::String, vec::Vec};
use core::{
    arch::asm,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{apic, irq, task};
pub(crate) use local::{preempt_disable, preempt_enable};

/// Most CPUs that the kernel can use.
pub const MAX_CPUS: usize = 256;
const WORDS: usize = MAX_CPUS / 64;

/// A set of CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuMask([u64; WORDS]);

impl CpuMask {
    /// The empty set.
    pub const fn new() -> Self {
        CpuMask([0; WORDS])
    }

    /// The set of only `cpu`.
    pub fn one(cpu: usize) -> Self {
        let mut mask = Self::new();
        mask.set(cpu);
        mask
    }

    /// All online CPUs.
    pub fn online() -> Self {
        let mut mask = Self::new();
        (0..count()).for_each(|cpu| mask.set(cpu));
        mask
    }

    /// Adds `cpu`; numbers from [`MAX_CPUS`] on are ignored.
    pub fn set(&mut self, cpu: usize) {
        if let Some(word) = self.0.get_mut(cpu / 64) {
            *word |= 1 << (cpu % 64);
        }
    }

    /// Removes `cpu`.
    pub fn clear(&mut self, cpu: usize) {
        if let Some(word) = self.0.get_mut(cpu / 64) {
            *word &= !(1 << (cpu % 64));
        }
    }

    /// Whether `cpu` is a member.
    pub fn test(&self, cpu: usize) -> bool {
        self.0
            .get(cpu / 64)
            .is_some_and(|word| word >> (cpu % 64) & 1 != 0)
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(i, &word)| {
            let mut rest = word;
            core::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    i * 64 + bit
                })
            })
        })
    }
}

/// A set of CPUs that several CPUs change at once.
#[derive(Debug, Default)]
pub struct AtomicCpuMask([AtomicU64; WORDS]);

impl AtomicCpuMask {
    /// The empty set.
    pub const fn new() -> Self {
        AtomicCpuMask([const { AtomicU64::new(0) }; WORDS])
    }

    /// Adds `cpu` (sequentially consistent).
    pub fn set(&self, cpu: usize) {
        self.0[cpu / 64].fetch_or(1 << (cpu % 64), Ordering::SeqCst);
    }

    /// Removes `cpu`.
    pub fn clear(&self, cpu: usize) {
        self.0[cpu / 64].fetch_and(!(1 << (cpu % 64)), Ordering::SeqCst);
    }

    /// Whether `cpu` is a member.
    pub fn test(&self, cpu: usize) -> bool {
        self.0[cpu / 64].load(Ordering::SeqCst) >> (cpu % 64) & 1 != 0
    }

    /// A copy of the set.
    pub fn load(&self) -> CpuMask {
        let mut mask = CpuMask::new();
        for (to, from) in mask.0.iter_mut().zip(&self.0) {
            *to = from.load(Ordering::SeqCst);
        }
        mask
    }
}

/// The number of the CPU that runs this; stable until the task sleeps.
pub fn id() -> usize {
    local::id()
}

/// How many CPUs are online; their numbers are `0..count()`.
pub fn count() -> usize {
    local::ONLINE.load(Ordering::Acquire)
}

/// One `T` for each CPU.
pub struct PerCpu<T> {
    slots: Box<[Slot<T>]>,
}

#[repr(align(64))]
struct Slot<T>(T);

impl<T: Send + Sync> PerCpu<T> {
    /// Makes the value of each CPU.
    pub fn new(mut init: impl FnMut(usize) -> T) -> Self {
        PerCpu {
            slots: (0..count()).map(|cpu| Slot(init(cpu))).collect(),
        }
    }

    /// The value of the CPU that runs this.
    pub fn get(&self) -> &T {
        &self.slots[id()].0
    }

    /// The value of `cpu`.
    pub fn of(&self, cpu: usize) -> &T {
        &self.slots[cpu].0
    }

    /// The values of all CPUs, by number.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|slot| &slot.0)
    }
}

/// Sets `cpu`'s need-resched flag and, if it is another CPU, interrupts it.
pub fn set_need_resched(cpu: usize) {
    if let Some(block) = local::of(cpu) {
        let was_set = block.need_resched.swap(1, Ordering::SeqCst) != 0;
        if !was_set && cpu != id() {
            kick(cpu);
        }
    }
}

/// Whether this CPU should call [`crate::task::schedule`] soon.
pub fn need_resched() -> bool {
    local::local().need_resched.load(Ordering::Relaxed) != 0
}

/// Sends a reschedule interrupt to `cpu`; wakes it from idle.
pub fn kick(cpu: usize) {
    if let Some(block) = local::of(cpu).filter(|block| block.online.load(Ordering::Relaxed)) {
        apic::send_ipi(
            block.apic_id.load(Ordering::Relaxed),
            apic::VECTOR_RESCHEDULE,
        );
    }
}

/// Waits for an interrupt unless this CPU needs to reschedule. For the idle task.
pub fn idle_wait() {
    let _guard = irq::disable();
    if !need_resched() {
        // SAFETY: STI takes effect after the following instruction, so an interrupt that arrives
        // after the check above ends the HLT. The guard expects interrupts off afterwards.
        unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
    }
}

/// Runs `f` on all other online CPUs, and here too if `include_self`; returns when all have run it.
/// It runs in interrupt context there. Not to be called with interrupts off or from an interrupt.
pub fn call_on_all(f: &(dyn Fn() + Sync), include_self: bool) {
    let mut mask = CpuMask::online();
    if !include_self {
        mask.clear(id());
    }
    call::call_on(&mask, f);
}

/// Runs `f` on the CPUs in `mask` and returns when all have run it; see [`call_on_all`].
pub fn call_on(mask: &CpuMask, f: &(dyn Fn() + Sync)) {
    call::call_on(mask, f);
}

/// How many spin locks this CPU holds.
pub fn preempt_count() -> u32 {
    local::local().preempt_count.get()
}

/// How many timer interrupts found a task of `cpu` in user mode, and in the kernel; the idle task does not count.
pub fn samples(cpu: usize) -> (u64, u64) {
    local::of(cpu).map_or((0, 0), |block| {
        let [user, kernel] = &block.samples;
        (user.load(Ordering::Relaxed), kernel.load(Ordering::Relaxed))
    })
}

/// Executes CPUID: eax, ebx, ecx, edx.
pub fn cpuid(leaf: u32, sub: u32) -> [u32; 4] {
    features::cpuid(leaf, sub)
}

/// Sets the FS base of the current task's user mode. False, changing nothing, if it is not a user
/// address.
pub fn set_fs_base(base: u64) -> bool {
    let gs = gs_base();
    task::current().set_segment_bases(base, gs).is_ok()
}

/// The FS base of the current task's user mode.
pub fn fs_base() -> u64 {
    task::current().segment_bases().0
}

/// Sets the GS base of the current task's user mode. False, changing nothing, if it is not a user
/// address.
pub fn set_gs_base(base: u64) -> bool {
    let fs = fs_base();
    task::current().set_segment_bases(fs, base).is_ok()
}

/// The GS base of the current task's user mode.
pub fn gs_base() -> u64 {
    task::current().segment_bases().1
}

/// What /proc/cpuinfo tells about one CPU.
#[derive(Clone, Debug, Default)]
pub struct CpuInfo {
    /// "GenuineIntel".
    pub vendor: String,
    /// CPU family, as /proc/cpuinfo shows it.
    pub family: u32,
    /// Model.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// Model name.
    pub model_name: String,
    /// Clock in kHz.
    pub khz: u64,
    /// Size of the last-level cache in KiB.
    pub cache_kib: u32,
    /// Local APIC id.
    pub apic_id: u32,
    /// Socket number.
    pub package: u32,
    /// Core number in the socket.
    pub core: u32,
    /// Highest basic CPUID leaf.
    pub cpuid_level: u32,
    /// Bytes that CLFLUSH flushes.
    pub clflush: u32,
    /// Physical address bits.
    pub phys_bits: u32,
    /// Virtual address bits.
    pub virt_bits: u32,
    /// Linux's names of the features.
    pub flags: Vec<&'static str>,
}

/// About CPU number `cpu`.
pub fn info(cpu: usize) -> CpuInfo {
    features::info(cpu)
}

/// AT_HWCAP: edx of CPUID leaf 1.
pub fn hwcap() -> u64 {
    u64::from(cpuid(1, 0)[3])
}

/// AT_HWCAP2: bit 1 = FSGSBASE usable in user mode.
pub fn hwcap2() -> u64 {
    u64::from(features::has(features::FSGSBASE)) << 1
}
