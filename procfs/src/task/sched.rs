//! sched and schedstat: what the scheduler knows of a thread.

use keel_abi::Result;

use crate::entry::TaskCx;
use crate::put;
use crate::source::Sched;
use crate::text::Text;

const NS_PER_MS: u64 = 1_000_000;

pub(crate) fn read_sched(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    sched(&cx.task.comm()?, cx.task.tid(), &cx.task.sched()?, out)
}

/// Whatever is written, the statistics start anew.
pub(crate) fn write_sched(cx: &TaskCx<'_>, _data: &[u8]) -> Result<()> {
    cx.task.reset_sched()
}

pub(crate) fn read_schedstat(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    let (run, wait, slices) = cx.task.schedstat()?;
    put!(out, "{run} {wait} {slices}\n")
}

fn row(name: &str, value: i128, out: &mut Text) -> Result<()> {
    put!(out, "{name:<45}:{value:21}\n")
}

/// A time in milliseconds with six decimals; the sign belongs to the whole part.
fn millis(name: &str, ns: i128, out: &mut Text) -> Result<()> {
    let unit = i128::from(NS_PER_MS);
    put!(
        out,
        "{name:<45}:{:14}.{:06}\n",
        ns / unit,
        (ns % unit).abs()
    )
}

/// The text of sched.
pub fn sched(comm: &[u8], tid: u32, s: &Sched, out: &mut Text) -> Result<()> {
    out.bytes(comm)?;
    put!(out, " ({tid}, #threads: {})\n{:-<67}\n", s.threads, "")?;
    millis("se.exec_start", s.exec_start.into(), out)?;
    millis("se.vruntime", s.vruntime.into(), out)?;
    millis("se.sum_exec_runtime", s.sum_exec_runtime.into(), out)?;
    row("se.nr_migrations", s.migrations.into(), out)?;
    row("nr_switches", s.switches.into(), out)?;
    row("nr_voluntary_switches", s.voluntary.into(), out)?;
    row("nr_involuntary_switches", s.involuntary.into(), out)?;
    row("se.load.weight", s.load_weight.into(), out)?;
    if let Some(averages) = s.averages {
        const NAMES: [&str; 8] = [
            "se.avg.load_sum",
            "se.avg.runnable_sum",
            "se.avg.util_sum",
            "se.avg.load_avg",
            "se.avg.runnable_avg",
            "se.avg.util_avg",
            "se.avg.last_update_time",
            "se.avg.util_est",
        ];
        for (name, value) in NAMES.into_iter().zip(averages) {
            row(name, value.into(), out)?;
        }
    }
    row("policy", s.policy.into(), out)?;
    row("prio", s.prio.into(), out)?;
    if let Some(slice) = s.slice {
        row("se.slice", slice.into(), out)?;
    }
    row("clock-delta", s.clock_delta.into(), out)
}
