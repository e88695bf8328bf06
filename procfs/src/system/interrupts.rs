//! interrupts, softirqs, and the files of `/proc/irq`.

use keel_abi::{Errno, Result};

use crate::bitmap::Bitmap;
use crate::put;
use crate::source::{ArchIrq, Interrupts, IrqInfo, SoftIrqs, System};
use crate::text::{Text, trim, unsigned};

/// Names of the softirqs, in the order of the counts.
const SOFTIRQS: [&str; 10] = [
    "HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU",
];

pub(crate) fn read_interrupts(sys: &dyn System, out: &mut Text) -> Result<()> {
    interrupts(&sys.interrupts(), out)
}

/// proc_interrupts(5). The first column is three digits wide, or more if the numbers are.
pub fn interrupts(i: &Interrupts, out: &mut Text) -> Result<()> {
    let highest = i.lines.iter().map(|line| line.irq).max().unwrap_or(0);
    let width = highest.checked_ilog10().unwrap_or(0).max(2) as usize + 1;
    put!(out, "{:>w$}", "", w = width + 8)?;
    i.cpus.iter().try_for_each(|cpu| put!(out, "CPU{cpu:<8}"))?;
    out.str("\n")?;
    for line in &i.lines {
        put!(out, "{:>width$}:", line.irq)?;
        line.counts
            .iter()
            .try_for_each(|count| put!(out, " {count:10}"))?;
        put!(out, " {:>8}", line.chip)?;
        match line.hwirq {
            Some(number) => put!(out, " {number:>3}")?,
            None => put!(out, " {:>3}", "")?,
        }
        put!(out, "-{:<8}", if line.level { "fasteoi" } else { "edge" })?;
        for (index, action) in line.actions.iter().enumerate() {
            put!(out, "{}{action}", if index == 0 { "  " } else { ", " })?;
        }
        out.str("\n")?;
    }
    for (name, line) in &i.arch {
        put!(out, "{name:>width$}:")?;
        match line {
            ArchIrq::PerCpu(counts, text) => {
                counts
                    .iter()
                    .try_for_each(|count| put!(out, " {count:10}"))?;
                put!(out, "   {text}\n")?;
            }
            ArchIrq::Total(count) => put!(out, " {count:10}\n")?,
        }
    }
    Ok(())
}

pub(crate) fn read_softirqs(sys: &dyn System, out: &mut Text) -> Result<()> {
    softirqs(&sys.softirqs(), out)
}

/// `/proc/softirqs`.
pub fn softirqs(s: &SoftIrqs, out: &mut Text) -> Result<()> {
    out.str("                    ")?;
    s.cpus.iter().try_for_each(|cpu| put!(out, "CPU{cpu:<8}"))?;
    out.str("\n")?;
    for (name, counts) in SOFTIRQS.into_iter().zip(&s.counts) {
        put!(out, "{name:>12}:")?;
        counts
            .iter()
            .try_for_each(|count| put!(out, " {count:10}"))?;
        out.str("\n")?;
    }
    Ok(())
}

pub(crate) fn irq_affinity(irq: &IrqInfo, out: &mut Text) -> Result<()> {
    put!(out, "{}\n", irq.affinity.hex())
}

pub(crate) fn irq_affinity_list(irq: &IrqInfo, out: &mut Text) -> Result<()> {
    put!(out, "{}\n", irq.affinity.list())
}

pub(crate) fn irq_effective(irq: &IrqInfo, out: &mut Text) -> Result<()> {
    put!(out, "{}\n", irq.effective.hex())
}

pub(crate) fn irq_effective_list(irq: &IrqInfo, out: &mut Text) -> Result<()> {
    put!(out, "{}\n", irq.effective.list())
}

pub(crate) fn irq_node(irq: &IrqInfo, out: &mut Text) -> Result<()> {
    put!(out, "{}\n", irq.node)
}

pub(crate) fn irq_spurious(irq: &IrqInfo, out: &mut Text) -> Result<()> {
    let (count, unhandled, ms) = irq.spurious;
    put!(
        out,
        "count {count}\nunhandled {unhandled}\nlast_unhandled {ms} ms\n"
    )
}

pub(crate) fn read_default_affinity(sys: &dyn System, out: &mut Text) -> Result<()> {
    put!(out, "{}\n", sys.default_irq_affinity().hex())
}

pub(crate) fn write_default_affinity(sys: &dyn System, data: &[u8]) -> Result<()> {
    sys.set_default_irq_affinity(&parse_hex(trim(data))?)
}

pub(crate) fn write_affinity(sys: &dyn System, irq: u32, data: &[u8]) -> Result<()> {
    sys.set_irq_affinity(irq, &parse_hex(trim(data))?)
}

pub(crate) fn write_affinity_list(sys: &dyn System, irq: u32, data: &[u8]) -> Result<()> {
    sys.set_irq_affinity(irq, &parse_list(trim(data))?)
}

/// Widest CPU mask that is taken.
const MAX_CPUS: u32 = 8192;

/// The form of [`Bitmap::hex`]. Errors: `EINVAL`, `EOVERFLOW`.
pub fn parse_hex(data: &[u8]) -> Result<Bitmap> {
    let mut words: alloc::vec::Vec<u64> = alloc::vec::Vec::new();
    let mut digits = 0u32;
    if data.is_empty() {
        return Err(Errno::EINVAL);
    }
    for &byte in data.iter().rev().filter(|&&byte| byte != b',') {
        let digit = char::from(byte).to_digit(16).ok_or(Errno::EINVAL)?;
        if digits * 4 >= MAX_CPUS {
            return Err(Errno::EOVERFLOW);
        }
        if digits.is_multiple_of(16) {
            words.push(0);
        }
        if let Some(word) = words.last_mut() {
            *word |= u64::from(digit) << (4 * (digits % 16));
        }
        digits += 1;
    }
    Ok(Bitmap {
        words,
        bits: digits * 4,
    })
}

/// The form of [`Bitmap::list`]. Errors: `EINVAL`, `ERANGE`.
pub fn parse_list(data: &[u8]) -> Result<Bitmap> {
    let mut map = Bitmap {
        words: alloc::vec![0; (MAX_CPUS / 64) as usize],
        bits: MAX_CPUS,
    };
    for range in data.split(|&b| b == b',').filter(|range| !range.is_empty()) {
        let mut ends = range.splitn(2, |&b| b == b'-');
        let first = unsigned(ends.next().unwrap_or(&[]))?;
        let last = ends.next().map_or(Ok(first), unsigned)?;
        if first > last {
            return Err(Errno::EINVAL);
        }
        if last >= u64::from(MAX_CPUS) {
            return Err(Errno::ERANGE);
        }
        for bit in first..=last {
            if let Some(word) = map.words.get_mut((bit / 64) as usize) {
                *word |= 1 << (bit % 64);
            }
        }
    }
    Ok(map)
}
