//! CPUs, their time, their interrupts.

use keel_hal::cpu::{self, CpuInfo as HalInfo};
use keel_hal::{irq, task};
use keel_procfs::bitmap::Bitmap;
use keel_procfs::{
    ArchIrq, CpuInfo, CpuStat, CpuTimes, CpuTopology, Interrupts, IrqInfo, IrqLine, LoadAvg,
    SoftIrqs, Uptime,
};

use crate::prelude::*;
use crate::process::pid;
use crate::time::NSEC_PER_SEC;
use crate::{sched, time};

fn count() -> u32 {
    cpu::count() as u32
}

/// All CPUs that run.
pub fn online() -> Bitmap {
    Bitmap::first(count(), count())
}

/// Nanoseconds that the idle task of a CPU has run.
fn idle_ns(number: usize) -> u64 {
    let (user, system) = task::idle(number).cpu_time();
    user + system
}

/// /proc/uptime.
pub fn uptime() -> Uptime {
    Uptime {
        up: time::boottime_ns(),
        idle: (0..cpu::count()).map(idle_ns).sum(),
    }
}

/// One CPU's time. What is not idle is divided as the timer's samples found it.
fn times(number: usize) -> CpuTimes {
    let idle = idle_ns(number);
    let busy = time::monotonic_ns().saturating_sub(idle);
    let (in_user, in_kernel) = cpu::samples(number);
    let all = u128::from(in_user + in_kernel).max(1);
    let user = (u128::from(busy) * u128::from(in_user) / all) as u64;
    CpuTimes {
        cpu: number as u32,
        user,
        system: busy - user,
        idle,
        ..CpuTimes::default()
    }
}

/// /proc/stat.
pub fn stat() -> CpuStat {
    let boot = time::realtime_ns().saturating_sub_unsigned(time::monotonic_ns());
    CpuStat {
        cpus: (0..cpu::count()).map(times).collect(),
        intr_total: irq::total(),
        intr: irq_counts(),
        context_switches: sched::context_switches(),
        boot_time: u64::try_from(boot).unwrap_or(0) / NSEC_PER_SEC,
        forks: pid::FORKS.load(core::sync::atomic::Ordering::Relaxed),
        running: sched::runnable() as u64,
        blocked: blocked(),
        softirqs: [0; 10],
    }
}

/// Threads that wait for something that is bound to come.
fn blocked() -> u64 {
    let processes = crate::process::all();
    let tasks = processes
        .iter()
        .flat_map(|process| process.threads())
        .filter_map(|t| t.task());
    tasks
        .filter(|task| task.sleep_mode() == Some(SleepMode::Uninterruptible))
        .count() as u64
}

/// Counts by interrupt number.
fn irq_counts() -> Vec<u64> {
    let mut counts = Vec::new();
    for row in irq::counts() {
        let Ok(number) = row.label.parse::<usize>() else {
            continue;
        };
        if counts.len() <= number {
            counts.resize(number + 1, 0);
        }
        if let Some(slot) = counts.get_mut(number) {
            *slot += row.counts.iter().sum::<u64>();
        }
    }
    counts
}

/// /proc/loadavg.
pub fn loadavg() -> LoadAvg {
    /// 1 in the scheduler's figures.
    const ONE: u64 = 1 << 16;
    LoadAvg {
        average: sched::load::averages().map(|load| (load + ONE / 200) * 100 / ONE),
        running: sched::runnable() as u64,
        threads: pid::thread_count() as u64,
        last_pid: pid::last(),
    }
}

fn describe(number: usize, all: &[HalInfo]) -> CpuInfo {
    let info = all.get(number).cloned().unwrap_or_default();
    let siblings = all.iter().filter(|other| other.package == info.package);
    let mut cores: Vec<u32> = siblings.clone().map(|other| other.core).collect();
    cores.sort_unstable();
    cores.dedup();
    CpuInfo {
        processor: number as u32,
        family: info.family,
        model: info.model,
        stepping: Some(info.stepping),
        microcode: None,
        khz: Some(info.khz),
        cache_kb: (info.cache_kib > 0).then_some(info.cache_kib),
        topology: Some(CpuTopology {
            physical_id: info.package,
            siblings: siblings.count() as u32,
            core_id: info.core,
            cores: cores.len() as u32,
            apicid: info.apic_id,
            initial_apicid: info.apic_id,
        }),
        fpu: true,
        fpu_exception: true,
        cpuid_level: info.cpuid_level,
        wp: true,
        vmx_flags: Vec::new(),
        bugs: Vec::new(),
        // The delay loop runs by the TSC: two per tick.
        bogomips_hundredths: info.khz / 5,
        tlb_4k_pages: None,
        clflush_size: info.clflush,
        cache_alignment: info.clflush,
        physical_bits: info.phys_bits,
        virtual_bits: info.virt_bits,
        power: Vec::new(),
        vendor_id: info.vendor,
        model_name: info.model_name,
        flags: info.flags,
    }
}

/// /proc/cpuinfo.
pub fn info() -> Vec<CpuInfo> {
    let all: Vec<HalInfo> = (0..cpu::count()).map(cpu::info).collect();
    (0..all.len())
        .map(|number| describe(number, &all))
        .collect()
}

/// /proc/interrupts.
pub fn interrupts() -> Interrupts {
    let mut table = Interrupts {
        cpus: (0..count()).collect(),
        ..Interrupts::default()
    };
    for row in irq::counts() {
        match row.label.parse::<u32>() {
            Ok(number) => table.lines.push(numbered(number, &row)),
            Err(_) => table.arch.extend(own_row(&row)),
        }
    }
    table.lines.sort_by_key(|line| line.irq);
    table
}

fn numbered(number: u32, row: &irq::IrqCount) -> IrqLine {
    let (chip, level) = match row.chip.rsplit_once('-') {
        Some((chip, "edge")) => (chip, false),
        Some((chip, "level")) => (chip, true),
        _ => (row.chip, false),
    };
    IrqLine {
        irq: number,
        counts: row.counts.clone(),
        chip: chip.to_owned(),
        hwirq: Some(number),
        level,
        actions: vec![row.name.clone()],
    }
}

/// The rows of the processor itself, under the names that the crate can keep for good.
fn own_row(row: &irq::IrqCount) -> Option<(&'static str, ArchIrq)> {
    const ROWS: [(&str, &str); 6] = [
        ("NMI", "Non-maskable interrupts"),
        ("LOC", "Local timer interrupts"),
        ("SPU", "Spurious interrupts"),
        ("RES", "Rescheduling interrupts"),
        ("CAL", "Function call interrupts"),
        ("MCE", "Machine check exceptions"),
    ];
    if row.label == "ERR" {
        return Some(("ERR", ArchIrq::Total(row.counts.iter().sum())));
    }
    let (label, text) = ROWS.iter().find(|(label, _)| *label == row.label)?;
    Some((label, ArchIrq::PerCpu(row.counts.clone(), text)))
}

/// Numbers of the interrupts that somebody serves.
pub fn irq_numbers() -> Vec<u32> {
    let mut numbers: Vec<u32> = irq::counts()
        .iter()
        .filter_map(|row| row.label.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// /proc/irq/N: ENOENT.
pub fn irq(number: u32) -> Result<IrqInfo> {
    let label = format!("{number}");
    let rows = irq::counts();
    let row = rows
        .iter()
        .find(|row| row.label == label)
        .ok_or(Errno::ENOENT)?;
    let on = Bitmap::from_word(1 << (row.cpu & 63), count());
    let total = row.counts.iter().sum();
    Ok(IrqInfo {
        affinity: on.clone(),
        effective: on,
        node: 0,
        spurious: (total, 0, 0),
    })
}

/// /proc/softirqs: all work is done in interrupts and threads.
pub fn softirqs() -> SoftIrqs {
    let none = || vec![0; cpu::count()];
    SoftIrqs {
        cpus: (0..count()).collect(),
        counts: core::array::from_fn(|_| none()),
    }
}
