//! CPUs: numbers, masks, per-CPU data, cross-CPU calls, features.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::sync::atomic::{AtomicU64, Ordering};

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
        self.0.get(cpu / 64).is_some_and(|word| word >> (cpu % 64) & 1 != 0)
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
    todo!()
}

/// How many CPUs are online; their numbers are `0..count()`.
pub fn count() -> usize {
    todo!()
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
        PerCpu { slots: (0..count()).map(|cpu| Slot(init(cpu))).collect() }
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
pub fn set_need_resched(_cpu: usize) {
    todo!()
}

/// Whether this CPU should call [`crate::task::schedule`] soon.
pub fn need_resched() -> bool {
    todo!()
}

/// Sends a reschedule interrupt to `cpu`; wakes it from idle.
pub fn kick(_cpu: usize) {
    todo!()
}

/// Waits for an interrupt unless this CPU needs to reschedule. For the idle task.
pub fn idle_wait() {
    todo!()
}

/// Runs `f` on all other online CPUs, and here too if `include_self`; returns when all have run it.
/// It runs in interrupt context there. Not to be called with interrupts off or from an interrupt.
pub fn call_on_all(_f: &(dyn Fn() + Sync), _include_self: bool) {
    todo!()
}

/// Runs `f` on the CPUs in `mask` and returns when all have run it; see [`call_on_all`].
pub fn call_on(_mask: &CpuMask, _f: &(dyn Fn() + Sync)) {
    todo!()
}

/// Counts one more spin lock held by this CPU.
pub(crate) fn preempt_disable() {
    todo!()
}

/// Counts one less.
pub(crate) fn preempt_enable() {
    todo!()
}

/// How many spin locks this CPU holds.
pub fn preempt_count() -> u32 {
    todo!()
}

/// Executes CPUID: eax, ebx, ecx, edx.
pub fn cpuid(_leaf: u32, _sub: u32) -> [u32; 4] {
    todo!()
}

/// Sets the FS base of the current task's user mode. Non-canonical values are refused.
pub fn set_fs_base(_base: u64) -> Result<(), ()> {
    todo!()
}

/// The FS base of the current task's user mode.
pub fn fs_base() -> u64 {
    todo!()
}

/// Sets the GS base of the current task's user mode. Non-canonical values are refused.
pub fn set_gs_base(_base: u64) -> Result<(), ()> {
    todo!()
}

/// The GS base of the current task's user mode.
pub fn gs_base() -> u64 {
    todo!()
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
pub fn info(_cpu: usize) -> CpuInfo {
    todo!()
}

/// AT_HWCAP: edx of CPUID leaf 1.
pub fn hwcap() -> u64 {
    todo!()
}

/// AT_HWCAP2: bit 1 = FSGSBASE usable in user mode.
pub fn hwcap2() -> u64 {
    todo!()
}
