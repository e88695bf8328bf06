//! stat, statm and status (proc_pid_stat(5), proc_pid_statm(5), proc_pid_status(5)).

use keel_abi::Result;

use crate::entry::TaskCx;
use crate::source::{Stat, Statm, Status, StatusMem};
use crate::text::Text;
use crate::{NS_PER_TICK, put};

pub(crate) fn read_stat(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    stat(&cx.task.stat(cx.whole)?, out)
}

pub(crate) fn read_statm(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    statm(&cx.task.statm()?, out)
}

pub(crate) fn read_status(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    status(&cx.task.status()?, out)
}

/// Signals in stat are those of a 32-bit mask without its sign.
const OLD_SIGNALS: u64 = 0x7fff_ffff;

/// The one line of stat.
pub fn stat(s: &Stat, out: &mut Text) -> Result<()> {
    put!(out, "{} (", s.pid)?;
    out.bytes(&s.comm)?;
    put!(
        out,
        ") {} {} {} {} {} {} {} {} {} {} {}",
        s.state.letter(),
        s.ppid,
        s.pgrp,
        s.session,
        s.tty.encode() as i32,
        s.tpgid,
        s.flags,
        s.min_flt,
        s.cmin_flt,
        s.maj_flt,
        s.cmaj_flt,
    )?;
    let ticks = |ns: u64| ns / NS_PER_TICK;
    put!(out, " {} {}", ticks(s.utime), ticks(s.stime))?;
    put!(out, " {} {}", ticks(s.cutime), ticks(s.cstime))?;
    put!(out, " {} {} {} 0", s.priority, s.nice, s.num_threads)?;
    put!(
        out,
        " {} {} {} {}",
        ticks(s.start_time),
        s.vsize,
        s.rss,
        s.rss_limit
    )?;
    let address = |value: u64, hidden: u64| match (s.has_mm, s.permitted) {
        (false, _) => 0,
        (true, false) => hidden,
        (true, true) => value,
    };
    put!(
        out,
        " {} {}",
        address(s.start_code, 1),
        address(s.end_code, 1)
    )?;
    put!(out, " {} {} {}", address(s.start_stack, 0), s.esp, s.eip)?;
    for mask in [s.signal, s.blocked, s.sig_ignore, s.sig_catch] {
        put!(out, " {}", mask & OLD_SIGNALS)?;
    }
    put!(
        out,
        " {} 0 0 {} {}",
        u8::from(s.waiting),
        s.exit_signal,
        s.processor
    )?;
    put!(
        out,
        " {} {} {}",
        s.rt_priority,
        s.policy,
        ticks(s.blkio_delay)
    )?;
    put!(out, " {} {}", ticks(s.guest_time), ticks(s.cguest_time))?;
    for value in [
        s.start_data,
        s.end_data,
        s.start_brk,
        s.arg_start,
        s.arg_end,
        s.env_start,
        s.env_end,
    ] {
        put!(out, " {}", address(value, 0))?;
    }
    put!(out, " {}\n", if s.permitted { s.exit_code } else { 0 })
}

/// The one line of statm. The sixth and eighth value (lib, dirty) have been zero since Linux 2.6.
pub fn statm(s: &Statm, out: &mut Text) -> Result<()> {
    put!(
        out,
        "{} {} {} {} 0 {} 0\n",
        s.size,
        s.resident,
        s.shared,
        s.text,
        s.data
    )
}

/// The lines of status.
pub fn status(s: &Status, out: &mut Text) -> Result<()> {
    out.str("Name:\t")?;
    escaped_name(&s.comm, out)?;
    if let Some(umask) = s.umask {
        put!(out, "\nUmask:\t{umask:04o}")?;
    }
    put!(out, "\nState:\t{} ({})\n", s.state.letter(), s.state.name())?;
    put!(
        out,
        "Tgid:\t{}\nNgid:\t{}\nPid:\t{}\n",
        s.tgid,
        s.ngid,
        s.pid
    )?;
    put!(out, "PPid:\t{}\nTracerPid:\t{}\n", s.ppid, s.tracer_pid)?;
    for (name, ids) in [("Uid", s.uid), ("Gid", s.gid)] {
        put!(
            out,
            "{name}:\t{}\t{}\t{}\t{}\n",
            ids[0],
            ids[1],
            ids[2],
            ids[3]
        )?;
    }
    put!(out, "FDSize:\t{}\nGroups:\t", s.fd_size)?;
    for (index, group) in s.groups.iter().enumerate() {
        put!(out, "{}{group}", if index > 0 { " " } else { "" })?;
    }
    out.str(" \n")?;
    for (name, ids) in [
        ("NStgid", &s.ns_tgid),
        ("NSpid", &s.ns_pid),
        ("NSpgid", &s.ns_pgid),
        ("NSsid", &s.ns_sid),
    ] {
        put!(out, "{name}:")?;
        for id in ids {
            put!(out, "\t{id}")?;
        }
        out.str("\n")?;
    }
    if let Some(kthread) = s.kthread {
        put!(out, "Kthread:\t{}\n", u8::from(kthread))?;
    }
    if let Some(mem) = &s.mem {
        status_mem(mem, out)?;
    }
    status_signals(s, out)?;
    status_rights(s, out)?;
    put!(out, "Cpus_allowed:\t{}\n", s.cpus_allowed.hex())?;
    put!(out, "Cpus_allowed_list:\t{}\n", s.cpus_allowed.list())?;
    put!(out, "Mems_allowed:\t{}\n", s.mems_allowed.hex())?;
    put!(out, "Mems_allowed_list:\t{}\n", s.mems_allowed.list())?;
    put!(out, "voluntary_ctxt_switches:\t{}\n", s.voluntary_switches)?;
    put!(
        out,
        "nonvoluntary_ctxt_switches:\t{}\n",
        s.involuntary_switches
    )
}

/// A name with newline and backslash written as `\n` and `\\`.
fn escaped_name(name: &[u8], out: &mut Text) -> Result<()> {
    for &byte in name {
        match byte {
            b'\n' => out.str("\\n")?,
            b'\\' => out.str("\\\\")?,
            _ => out.bytes(&[byte])?,
        }
    }
    Ok(())
}

fn status_mem(m: &StatusMem, out: &mut Text) -> Result<()> {
    for (name, bytes) in [
        ("VmPeak", m.peak),
        ("VmSize", m.size),
        ("VmLck", m.locked),
        ("VmPin", m.pinned),
        ("VmHWM", m.hwm),
        (
            "VmRSS",
            m.rss_anon
                .saturating_add(m.rss_file)
                .saturating_add(m.rss_shmem),
        ),
        ("RssAnon", m.rss_anon),
        ("RssFile", m.rss_file),
        ("RssShmem", m.rss_shmem),
        ("VmData", m.data),
        ("VmStk", m.stack),
        ("VmExe", m.exe),
        ("VmLib", m.lib),
        ("VmPTE", m.page_tables),
        ("VmSwap", m.swap),
        ("HugetlbPages", m.hugetlb),
    ] {
        put!(out, "{name}:\t{:8} kB\n", bytes >> 10)?;
    }
    put!(out, "CoreDumping:\t{}\n", u8::from(m.core_dumping))?;
    put!(out, "THP_enabled:\t{}\n", u8::from(m.thp_enabled))?;
    if let Some(mask) = m.untag_mask {
        put!(out, "untag_mask:\t{mask:#x}\n")?;
    }
    Ok(())
}

fn status_signals(s: &Status, out: &mut Text) -> Result<()> {
    put!(
        out,
        "Threads:\t{}\nSigQ:\t{}/{}\n",
        s.threads,
        s.sig_queued,
        s.sig_limit
    )?;
    for (name, mask) in [
        ("SigPnd", s.sig_pending),
        ("ShdPnd", s.shared_pending),
        ("SigBlk", s.sig_blocked),
        ("SigIgn", s.sig_ignored),
        ("SigCgt", s.sig_caught),
        ("CapInh", s.cap_inheritable),
        ("CapPrm", s.cap_permitted),
        ("CapEff", s.cap_effective),
        ("CapBnd", s.cap_bounding),
        ("CapAmb", s.cap_ambient),
    ] {
        put!(out, "{name}:\t{mask:016x}\n")?;
    }
    Ok(())
}

fn status_rights(s: &Status, out: &mut Text) -> Result<()> {
    put!(out, "NoNewPrivs:\t{}\n", u8::from(s.no_new_privs))?;
    if let Some((mode, filters)) = s.seccomp {
        put!(out, "Seccomp:\t{mode}\nSeccomp_filters:\t{filters}\n")?;
    }
    put!(out, "Speculation_Store_Bypass:\t{}\n", s.store_bypass)?;
    put!(out, "SpeculationIndirectBranch:\t{}\n", s.indirect_branch)
}
