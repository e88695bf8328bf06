//! The clock, on the TSC, and each CPU's one-shot timer, on its local APIC.
//!
//! The TSC's frequency is taken from CPUID where it is given (leaf 0x15, or a hypervisor's
//! 0x40000010), else measured against the HPET or the ACPI timer, or the PIT if there is neither,
//! over the time that the rest of the start takes. Time 0 is the entry of the boot CPU. The TSC is taken to run
//! at a constant rate and in step on all CPUs, as on every CPU of the last fifteen years and in
//! QEMU; the reading of [`now`] needs no lock and no memory but the parameters. [`set_rate`] lets the clock run faster
//! or slower than the TSC says, for a discipline by NTP; [`raw_now`] goes on as before.

use core::{
    arch::asm,
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use x86_64::instructions::port::Port;

use crate::{
    acpi, apic,
    cpu::{
        features::{self, cpuid},
        local::local,
        setup,
    },
    irq,
    paging::{Mmio, map_mmio},
    sync::SeqLock,
};

const NS_PER_SEC: u64 = 1_000_000_000;
/// The least time over which the TSC is measured.
const MEASURE_NS: u64 = 10_000_000;

/// How to turn the TSC into nanoseconds: `base_ns + ((tsc - base_tsc) * mult) >> shift`, with a
/// product of 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscParams {
    /// TSC at `base_ns`.
    pub base_tsc: u64,
    /// Multiplier.
    pub mult: u32,
    /// Right shift of the product.
    pub shift: u32,
    /// Nanoseconds since boot at `base_tsc`.
    pub base_ns: u64,
}

// Written once, before the second CPU and the first task run: the clock as the TSC's frequency has it.
static BASE_TSC: AtomicU64 = AtomicU64::new(0);
static MULT: AtomicU32 = AtomicU32::new(0);
static SHIFT: AtomicU32 = AtomicU32::new(0);
static TSC_HZ: AtomicU64 = AtomicU64::new(0);
static TSC_DEADLINE: AtomicBool = AtomicBool::new(false);
static APIC_HZ: AtomicU64 = AtomicU64::new(0);

/// The clock as it is disciplined.
static DISCIPLINED: SeqLock<TscParams> = SeqLock::new(TscParams {
    base_tsc: 0,
    mult: 0,
    shift: 0,
    base_ns: 0,
});
/// What the rate may differ by, in parts per thousand million.
const MAX_RATE: i64 = 200_000_000;

impl TscParams {
    /// The clock at a reading of the TSC.
    #[inline]
    fn at(&self, tsc: u64) -> u64 {
        // The TSCs may differ by less than a switch between CPUs takes, the base by more.
        let ticks = tsc.saturating_sub(self.base_tsc);
        let product = u128::from(ticks) * u128::from(self.mult);
        self.base_ns + (product >> self.shift) as u64
    }

    /// The reading of the TSC at which the clock shows `ns`, rounded up.
    fn tsc_at(&self, ns: u64) -> u64 {
        let left = u128::from(ns.saturating_sub(self.base_ns)) << self.shift;
        let ticks = left.div_ceil(u128::from(self.mult.max(1)));
        self.base_tsc
            .saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX))
    }
}

/// Lets the clock run faster (slower, if negative) by so many parts in a thousand million than the TSC says, from now
/// on, without a step.
pub fn set_rate(ppb: i64) {
    let ppb = ppb.clamp(-MAX_RATE, MAX_RATE);
    let mult = i128::from(MULT.load(Ordering::Relaxed));
    let mult = mult + mult * i128::from(ppb) / i128::from(NS_PER_SEC);
    DISCIPLINED.update(|params| {
        let tsc = read_tsc();
        params.base_ns = params.at(tsc);
        params.base_tsc = tsc;
        params.mult = u32::try_from(mult).unwrap_or(u32::MAX);
    });
}

/// Nanoseconds since boot by the TSC's frequency alone (CLOCK_MONOTONIC_RAW).
pub fn raw_now() -> u64 {
    raw_at(read_tsc())
}

/// As [`raw_now`], at a reading of the TSC.
pub fn raw_at(tsc: u64) -> u64 {
    tsc_to_ns(tsc.saturating_sub(BASE_TSC.load(Ordering::Relaxed)))
}

/// The multiplier of the undisciplined clock.
pub fn raw_mult() -> u32 {
    MULT.load(Ordering::Relaxed)
}

/// Reads the TSC, not before what comes before.
#[inline]
pub(crate) fn read_tsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe {
        asm!("lfence", "rdtsc", out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Nanoseconds since boot; monotonic across CPUs. 0 until the TSC's frequency is known.
#[inline]
pub fn now() -> u64 {
    let params = DISCIPLINED.read();
    params.at(read_tsc())
}

/// A difference of TSC readings in nanoseconds.
#[inline]
pub(crate) fn tsc_to_ns(ticks: u64) -> u64 {
    let product = u128::from(ticks) * u128::from(MULT.load(Ordering::Relaxed));
    (product >> SHIFT.load(Ordering::Relaxed)) as u64
}

/// The clock's parameters, for the vDSO.
pub fn tsc_params() -> TscParams {
    DISCIPLINED.read()
}

/// Ticks of the TSC per second.
pub fn tsc_hz() -> u64 {
    TSC_HZ.load(Ordering::Relaxed)
}

/// Ticks of the local APICs' timers per second; 0 where the TSC's deadline is used instead.
pub fn apic_timer_hz() -> u64 {
    APIC_HZ.load(Ordering::Relaxed)
}

/// Nanoseconds in ticks of a clock of `hz`, rounded up.
fn ns_to_ticks(ns: u64, hz: u64) -> u64 {
    (u128::from(ns) * u128::from(hz)).div_ceil(u128::from(NS_PER_SEC)) as u64
}

/// Arms this CPU's one-shot timer for an absolute time; `u64::MAX` disarms it. A time that has
/// passed fires at once.
pub fn set_deadline(ns: u64) {
    let _guard = irq::disable();
    if local().deadline.replace(ns) != ns {
        arm(ns);
    }
}

/// The absolute time for which this CPU's timer is armed; `u64::MAX` if it is not.
pub fn deadline() -> u64 {
    local().deadline.get()
}

fn arm(ns: u64) {
    if TSC_DEADLINE.load(Ordering::Relaxed) {
        let tsc = match ns {
            u64::MAX => 0,
            _ => DISCIPLINED.read().tsc_at(ns).max(1),
        };
        // SAFETY: the CPU has this timer; 0 disarms it.
        unsafe { setup::write_msr(setup::MSR_TSC_DEADLINE, tsc) };
    } else {
        let count = match ns {
            u64::MAX => 0,
            // A long wait ends early and is continued; see `deadline_passed`.
            _ => ns_to_ticks(ns.saturating_sub(now()), APIC_HZ.load(Ordering::Relaxed))
                .clamp(1, u64::from(u32::MAX)),
        };
        apic::timer_start(count as u32);
    }
}

/// Whether the timer interrupt means that the deadline has passed; arms the timer again if it was
/// early.
pub(crate) fn deadline_passed() -> bool {
    let deadline = local().deadline.get();
    if deadline == u64::MAX {
        return false;
    }
    if now() >= deadline {
        local().deadline.set(u64::MAX);
        return true;
    }
    arm(deadline);
    false
}

/// Whether the frequencies are known.
pub(crate) fn is_ready() -> bool {
    MULT.load(Ordering::Acquire) != 0
}

/// Spins for `ns` nanoseconds.
pub fn spin_wait(ns: u64) {
    let end = now().saturating_add(ns);
    while now() < end {
        spin_loop();
    }
}

/// Sets this CPU's timer up, once the frequencies are known.
pub(crate) fn init_current() {
    apic::timer_setup(TSC_DEADLINE.load(Ordering::Relaxed));
    arm(local().deadline.get());
}

/// A counter whose frequency is known.
enum Reference {
    Hpet(Mmio, u64),
    AcpiTimer(u16),
    /// Channel 2 of the PIT, counting down from 0xffff once.
    Pit,
}

const HPET_CAPABILITIES: usize = 0;
const HPET_CONFIG: usize = 0x10;
const HPET_COUNTER: usize = 0xf0;
const ACPI_TIMER_HZ: u64 = 3_579_545;
const PIT_HZ: u64 = 1_193_182;

impl Reference {
    fn find() -> Self {
        if let Some(phys) = acpi::info().hpet {
            let mmio = map_mmio(phys, 1024);
            let femtoseconds = mmio.read::<u64>(HPET_CAPABILITIES) >> 32;
            if (1..=100_000_000).contains(&femtoseconds) {
                mmio.write::<u64>(HPET_CONFIG, mmio.read::<u64>(HPET_CONFIG) | 1);
                return Reference::Hpet(mmio, 1_000_000_000_000_000 / femtoseconds);
            }
        }
        match acpi::info().pm_timer {
            Some(port) => Reference::AcpiTimer(port),
            None => {
                // SAFETY: gate on, speaker off; channel 2, both bytes, mode 0, from 0xffff.
                unsafe {
                    let mut control = Port::<u8>::new(0x61);
                    let old = control.read();
                    control.write(old & !2 | 1);
                    Port::<u8>::new(0x43).write(0xb0);
                    Port::<u8>::new(0x42).write(0xff);
                    Port::<u8>::new(0x42).write(0xff);
                }
                Reference::Pit
            }
        }
    }

    fn hz(&self) -> u64 {
        match self {
            Reference::Hpet(_, hz) => *hz,
            Reference::AcpiTimer(_) => ACPI_TIMER_HZ,
            Reference::Pit => PIT_HZ,
        }
    }

    /// The counter; differences count modulo `mask() + 1`.
    fn read(&self) -> u64 {
        match self {
            Reference::Hpet(mmio, _) => u64::from(mmio.read::<u32>(HPET_COUNTER)),
            // SAFETY: the firmware names the port as the timer's.
            Reference::AcpiTimer(port) => u64::from(unsafe { Port::<u32>::new(*port).read() }),
            Reference::Pit => {
                // SAFETY: latches and reads channel 2.
                unsafe {
                    Port::<u8>::new(0x43).write(0x80);
                    let low = Port::<u8>::new(0x42).read();
                    let high = Port::<u8>::new(0x42).read();
                    0xffff - u64::from(u16::from_le_bytes([low, high]))
                }
            }
        }
    }

    fn mask(&self) -> u64 {
        match self {
            Reference::Hpet(..) => 0xffff_ffff,
            Reference::AcpiTimer(_) => 0xff_ffff,
            Reference::Pit => 0xffff,
        }
    }
}

/// Readings of the TSC, the local APIC's timer and the reference at one moment.
#[derive(Clone, Copy)]
struct Sample {
    tsc: u64,
    apic: u32,
    reference: u64,
}

impl Sample {
    /// The sharpest of several tries: the one with the least time around reading the reference.
    fn take(reference: &Reference) -> Sample {
        let tries = (0..6).map(|_| {
            let before = read_tsc();
            let value = reference.read();
            let after = read_tsc();
            let apic = apic::timer_remaining();
            let middle = before + (after - before) / 2;
            (
                after - before,
                Sample {
                    tsc: middle,
                    apic,
                    reference: value,
                },
            )
        });
        tries
            .min_by_key(|(width, _)| *width)
            .map(|(_, sample)| sample)
            .expect("not empty")
    }
}

/// A measurement under way.
pub(crate) struct Calibration {
    known_hz: Option<u64>,
    measurement: Option<(Reference, Sample)>,
}

/// The TSC's frequency, if the CPU or the hypervisor tells it.
fn known_tsc_hz() -> Option<u64> {
    const HYPERVISOR: u32 = 0x4000_0000;
    if cpuid(0, 0)[0] >= 0x15 {
        let [denominator, numerator, crystal, _] = cpuid(0x15, 0);
        if denominator != 0 && numerator != 0 && crystal != 0 {
            let hz = u64::from(crystal) * u64::from(numerator) / u64::from(denominator);
            return Some(hz);
        }
    }
    let is_guest = cpuid(1, 0)[2] >> 31 != 0;
    if is_guest && (0x4000_0010..0x4001_0000).contains(&cpuid(HYPERVISOR, 0)[0]) {
        let khz = cpuid(HYPERVISOR + 0x10, 0)[0];
        return (khz != 0).then_some(u64::from(khz) * 1000);
    }
    None
}

/// Starts measuring what is not known, on the boot CPU, whose APIC timer runs from here on without
/// an interrupt.
pub(crate) fn start_calibration() -> Calibration {
    let known_hz = known_tsc_hz();
    let deadline_timer = features::has(features::TSC_DEADLINE);
    TSC_DEADLINE.store(deadline_timer, Ordering::Relaxed);
    let measurement = (known_hz.is_none() || !deadline_timer).then(|| {
        let reference = Reference::find();
        apic::timer_start(u32::MAX);
        let sample = Sample::take(&reference);
        (reference, sample)
    });
    Calibration {
        known_hz,
        measurement,
    }
}

/// Ends the measurement: the clock runs from the TSC reading `entered` on.
pub(crate) fn finish_calibration(calibration: Calibration, entered: u64) {
    let mut tsc_hz = calibration.known_hz;
    if let Some((reference, start)) = calibration.measurement {
        let mask = reference.mask();
        let least = ns_to_ticks(MEASURE_NS, reference.hz());
        while reference.read().wrapping_sub(start.reference) & mask < least {
            spin_loop();
        }
        let end = Sample::take(&reference);
        apic::timer_start(0);
        let ticks = u128::from(end.reference.wrapping_sub(start.reference) & mask);
        let scale = |n: u64| (u128::from(n) * u128::from(reference.hz()) / ticks) as u64;
        tsc_hz.get_or_insert(scale(end.tsc - start.tsc));
        APIC_HZ.store(
            scale(u64::from(start.apic.wrapping_sub(end.apic))),
            Ordering::Relaxed,
        );
    }
    let timer = TSC_DEADLINE.load(Ordering::Relaxed) || apic_timer_hz() != 0;
    assert!(timer, "the local APIC's timer does not count");
    set_frequency(tsc_hz.expect("measured or known"), entered);
    init_current();
}

/// Computes the parameters: the largest multiplier of 32 bits.
fn set_frequency(hz: u64, base: u64) {
    assert!(hz >= 1_000_000, "the TSC runs at {hz} Hz, which cannot be");
    let mut shift = 32;
    while (u128::from(NS_PER_SEC) << shift) / u128::from(hz) > u128::from(u32::MAX) {
        shift -= 1;
    }
    let half = u128::from(hz) / 2;
    let mult = ((u128::from(NS_PER_SEC) << shift) + half) / u128::from(hz);
    TSC_HZ.store(hz, Ordering::Relaxed);
    SHIFT.store(shift, Ordering::Relaxed);
    BASE_TSC.store(base, Ordering::Relaxed);
    DISCIPLINED.write(TscParams {
        base_tsc: base,
        mult: mult as u32,
        shift,
        base_ns: 0,
    });
    MULT.store(mult as u32, Ordering::Release);
}
