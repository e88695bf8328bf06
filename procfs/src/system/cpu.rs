//! cpuinfo, stat, uptime, loadavg, version, cmdline, pressure, schedstat.

use keel_abi::Result;

use crate::put;
use crate::source::{
    CpuInfo, CpuStat, CpuTimes, LoadAvg, Pressure, PressureResource, SchedStat, System, Uptime,
};
use crate::text::Text;
use crate::{NS_PER_TICK, USER_HZ};

pub(crate) fn read_cpuinfo(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.cpuinfo().iter().try_for_each(|cpu| cpuinfo(cpu, out))
}

fn words(name: &str, words: &[&str], out: &mut Text) -> Result<()> {
    put!(out, "{name}\t\t:")?;
    words.iter().try_for_each(|word| put!(out, " {word}"))?;
    out.str("\n")
}

/// One CPU of proc_cpuinfo(5).
pub fn cpuinfo(c: &CpuInfo, out: &mut Text) -> Result<()> {
    put!(
        out,
        "processor\t: {}\nvendor_id\t: {}\n",
        c.processor,
        c.vendor_id
    )?;
    put!(out, "cpu family\t: {}\nmodel\t\t: {}\n", c.family, c.model)?;
    put!(out, "model name\t: {}\n", c.model_name)?;
    match c.stepping {
        Some(stepping) => put!(out, "stepping\t: {stepping}\n")?,
        None => out.str("stepping\t: unknown\n")?,
    }
    if let Some(microcode) = c.microcode {
        put!(out, "microcode\t: {microcode:#x}\n")?;
    }
    if let Some(khz) = c.khz {
        put!(out, "cpu MHz\t\t: {}.{:03}\n", khz / 1000, khz % 1000)?;
    }
    if let Some(cache) = c.cache_kb {
        put!(out, "cache size\t: {cache} KB\n")?;
    }
    if let Some(t) = &c.topology {
        put!(
            out,
            "physical id\t: {}\nsiblings\t: {}\n",
            t.physical_id,
            t.siblings
        )?;
        put!(
            out,
            "core id\t\t: {}\ncpu cores\t: {}\n",
            t.core_id,
            t.cores
        )?;
        put!(
            out,
            "apicid\t\t: {}\ninitial apicid\t: {}\n",
            t.apicid,
            t.initial_apicid
        )?;
    }
    let yes = |is: bool| if is { "yes" } else { "no" };
    put!(
        out,
        "fpu\t\t: {}\nfpu_exception\t: {}\n",
        yes(c.fpu),
        yes(c.fpu_exception)
    )?;
    put!(
        out,
        "cpuid level\t: {}\nwp\t\t: {}\n",
        c.cpuid_level,
        yes(c.wp)
    )?;
    words("flags", &c.flags, out)?;
    if !c.vmx_flags.is_empty() {
        out.str("vmx flags\t:")?;
        c.vmx_flags
            .iter()
            .try_for_each(|flag| put!(out, " {flag}"))?;
        out.str("\n")?;
    }
    words("bugs", &c.bugs, out)?;
    let bogomips = c.bogomips_hundredths;
    put!(
        out,
        "bogomips\t: {}.{:02}\n",
        bogomips / 100,
        bogomips % 100
    )?;
    if let Some(pages) = c.tlb_4k_pages {
        put!(out, "TLB size\t: {pages} 4K pages\n")?;
    }
    put!(
        out,
        "clflush size\t: {}\ncache_alignment\t: {}\n",
        c.clflush_size,
        c.cache_alignment
    )?;
    put!(out, "address sizes\t: {} bits physical, ", c.physical_bits)?;
    put!(out, "{} bits virtual\npower management:", c.virtual_bits)?;
    c.power.iter().try_for_each(|name| put!(out, " {name}"))?;
    out.str("\n\n")
}

pub(crate) fn read_stat(sys: &dyn System, out: &mut Text) -> Result<()> {
    stat(&sys.cpu_stat(), out)
}

fn columns(t: &CpuTimes) -> [u64; 10] {
    [
        t.user,
        t.nice,
        t.system,
        t.idle,
        t.iowait,
        t.irq,
        t.softirq,
        t.steal,
        t.guest,
        t.guest_nice,
    ]
}

/// proc_stat(5).
pub fn stat(s: &CpuStat, out: &mut Text) -> Result<()> {
    let mut sum = [0u64; 10];
    for cpu in &s.cpus {
        for (total, ns) in sum.iter_mut().zip(columns(cpu)) {
            *total = total.saturating_add(ns);
        }
    }
    out.str("cpu ")?;
    sum.iter()
        .try_for_each(|ns| put!(out, " {}", ns / NS_PER_TICK))?;
    out.str("\n")?;
    for cpu in &s.cpus {
        put!(out, "cpu{}", cpu.cpu)?;
        columns(cpu)
            .iter()
            .try_for_each(|ns| put!(out, " {}", ns / NS_PER_TICK))?;
        out.str("\n")?;
    }
    put!(out, "intr {}", s.intr_total)?;
    s.intr.iter().try_for_each(|count| put!(out, " {count}"))?;
    put!(
        out,
        "\nctxt {}\nbtime {}\n",
        s.context_switches,
        s.boot_time
    )?;
    put!(out, "processes {}\nprocs_running {}\n", s.forks, s.running)?;
    put!(out, "procs_blocked {}\n", s.blocked)?;
    put!(out, "softirq {}", s.softirqs.iter().sum::<u64>())?;
    s.softirqs
        .iter()
        .try_for_each(|count| put!(out, " {count}"))?;
    out.str("\n")
}

pub(crate) fn read_uptime(sys: &dyn System, out: &mut Text) -> Result<()> {
    uptime(&sys.uptime(), out)
}

/// proc_uptime(5).
pub fn uptime(u: &Uptime, out: &mut Text) -> Result<()> {
    let (up, idle) = (u.up / NS_PER_TICK, u.idle / NS_PER_TICK);
    put!(out, "{}.{:02} ", up / USER_HZ, up % USER_HZ)?;
    put!(out, "{}.{:02}\n", idle / USER_HZ, idle % USER_HZ)
}

pub(crate) fn read_loadavg(sys: &dyn System, out: &mut Text) -> Result<()> {
    loadavg(&sys.loadavg(), out)
}

/// proc_loadavg(5).
pub fn loadavg(l: &LoadAvg, out: &mut Text) -> Result<()> {
    l.average
        .iter()
        .try_for_each(|load| put!(out, "{}.{:02} ", load / 100, load % 100))?;
    put!(out, "{}/{} {}\n", l.running, l.threads, l.last_pid)
}

pub(crate) fn read_version(sys: &dyn System, out: &mut Text) -> Result<()> {
    put!(out, "{}\n", sys.version())
}

pub(crate) fn read_cmdline(sys: &dyn System, out: &mut Text) -> Result<()> {
    out.bytes(&sys.cmdline())?;
    out.str("\n")
}

pub(crate) fn read_config(sys: &dyn System, out: &mut Text) -> Result<()> {
    out.bytes(&sys.config_gz())
}

pub(crate) fn read_pressure_cpu(sys: &dyn System, out: &mut Text) -> Result<()> {
    pressure(&sys.pressure(PressureResource::Cpu)?, out)
}

pub(crate) fn read_pressure_io(sys: &dyn System, out: &mut Text) -> Result<()> {
    pressure(&sys.pressure(PressureResource::Io)?, out)
}

pub(crate) fn read_pressure_memory(sys: &dyn System, out: &mut Text) -> Result<()> {
    pressure(&sys.pressure(PressureResource::Memory)?, out)
}

pub(crate) fn write_pressure_cpu(sys: &dyn System, data: &[u8]) -> Result<()> {
    sys.pressure_trigger(PressureResource::Cpu, data)
}

pub(crate) fn write_pressure_io(sys: &dyn System, data: &[u8]) -> Result<()> {
    sys.pressure_trigger(PressureResource::Io, data)
}

pub(crate) fn write_pressure_memory(sys: &dyn System, data: &[u8]) -> Result<()> {
    sys.pressure_trigger(PressureResource::Memory, data)
}

/// One file of proc_pressure(5).
pub fn pressure(p: &Pressure, out: &mut Text) -> Result<()> {
    for (kind, average, total) in [
        ("some", p.some, p.some_total),
        ("full", p.full, p.full_total),
    ] {
        out.str(kind)?;
        for (seconds, value) in [10, 60, 300].into_iter().zip(average) {
            put!(out, " avg{seconds}={}.{:02}", value / 100, value % 100)?;
        }
        put!(out, " total={total}\n")?;
    }
    Ok(())
}

pub(crate) fn read_schedstat(sys: &dyn System, out: &mut Text) -> Result<()> {
    schedstat(&sys.schedstat(), out)
}

/// `/proc/schedstat`, version 15 without scheduling domains.
pub fn schedstat(s: &SchedStat, out: &mut Text) -> Result<()> {
    put!(out, "version 15\ntimestamp {}\n", s.timestamp)?;
    for (cpu, values) in &s.cpus {
        put!(out, "cpu{cpu}")?;
        values.iter().try_for_each(|value| put!(out, " {value}"))?;
        out.str("\n")?;
    }
    Ok(())
}
