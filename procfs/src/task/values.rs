//! The small files of a task: one value or a short table each, and how they are written.

use keel_abi::{Errno, Result};

use super::may_trace;
use crate::entry::TaskCx;
use crate::put;
use crate::source::{IdMap, IdMapping, IoCounters, Limit, SecurityAttr, SyscallState};
use crate::text::{Text, number, trim, unsigned};

/// Bytes of a thread's name without its terminator (`TASK_COMM_LEN - 1`).
const COMM_MAX: usize = 15;

/// Most lines of an ID map (user_namespaces(7)).
const ID_MAP_LINES: usize = 340;

pub(crate) fn read_cmdline(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    cx.task.cmdline(out)
}

pub(crate) fn read_environ(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    cx.task.environ(out)
}

pub(crate) fn read_auxv(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    cx.task.auxv(out)
}

pub(crate) fn read_comm(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    out.bytes(&cx.task.comm()?)?;
    out.str("\n")
}

pub(crate) fn write_comm(cx: &TaskCx<'_>, data: &[u8]) -> Result<()> {
    let end = data
        .iter()
        .position(|&b| b == 0)
        .unwrap_or(data.len())
        .min(COMM_MAX);
    cx.task.set_comm(data.get(..end).unwrap_or(&[]))
}

pub(crate) fn read_limits(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    limits(&cx.task.limits()?, out)
}

/// The table of limits, by `RLIMIT_*`.
pub fn limits(limits: &[Limit; 16], out: &mut Text) -> Result<()> {
    const NAMES: [(&str, &str); 16] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    put!(
        out,
        "{:<25} {:<20} {:<20} {:<10}\n",
        "Limit",
        "Soft Limit",
        "Hard Limit",
        "Units"
    )?;
    for ((name, unit), limit) in NAMES.into_iter().zip(limits) {
        put!(out, "{name:<25} ")?;
        for value in [limit.soft, limit.hard] {
            if value == u64::MAX {
                put!(out, "{:<20} ", "unlimited")?;
            } else {
                put!(out, "{value:<20} ")?;
            }
        }
        if unit.is_empty() {
            out.str("\n")?;
        } else {
            put!(out, "{unit:<10}\n")?;
        }
    }
    Ok(())
}

pub(crate) fn read_io(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    cx.task.allow(crate::source::Access::Read)?;
    io(&cx.task.io(cx.whole)?, out)
}

/// The lines of io.
pub fn io(c: &IoCounters, out: &mut Text) -> Result<()> {
    put!(
        out,
        "rchar: {}\nwchar: {}\nsyscr: {}\nsyscw: {}\n",
        c.rchar,
        c.wchar,
        c.syscr,
        c.syscw
    )?;
    put!(
        out,
        "read_bytes: {}\nwrite_bytes: {}\n",
        c.read_bytes,
        c.write_bytes
    )?;
    put!(out, "cancelled_write_bytes: {}\n", c.cancelled_write_bytes)
}

pub(crate) fn read_cgroup(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    for group in cx.task.cgroups()? {
        put!(out, "{}:{}:", group.hierarchy, group.controllers)?;
        out.escaped(&group.path, b" \t\n\\")?;
        out.str("\n")?;
    }
    Ok(())
}

pub(crate) fn read_cpuset(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    out.bytes(&cx.task.cpuset()?)?;
    out.str("\n")
}

pub(crate) fn read_oom_score(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    put!(out, "{}\n", cx.task.oom_score()?)
}

pub(crate) fn read_oom_score_adj(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    put!(out, "{}\n", cx.task.oom_score_adj()?)
}

pub(crate) fn write_oom_score_adj(cx: &TaskCx<'_>, data: &[u8]) -> Result<()> {
    let adj = number(data)?;
    if !(-1000..=1000).contains(&adj) {
        return Err(Errno::EINVAL);
    }
    cx.task.set_oom_score_adj(adj as i32)
}

/// The old scale of -17 to 15, on which 1000 is 15 and -1000 is -17 (proc_pid_oom_adj(5)).
pub(crate) fn read_oom_adj(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    let adj = cx.task.oom_score_adj()?;
    put!(
        out,
        "{}\n",
        if adj == 1000 {
            15
        } else {
            (adj * 17 / 1000).min(15)
        }
    )
}

pub(crate) fn write_oom_adj(cx: &TaskCx<'_>, data: &[u8]) -> Result<()> {
    let old = number(data)?;
    if !(-17..=15).contains(&old) {
        return Err(Errno::EINVAL);
    }
    let adj = if old == 15 { 1000 } else { old * 1000 / 17 };
    cx.task.set_oom_score_adj(adj as i32)
}

/// Without a newline, as Linux prints it.
pub(crate) fn read_wchan(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    match cx.task.wchan()? {
        Some(name) => out.str(&name),
        None => out.str("0"),
    }
}

pub(crate) fn read_stack(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    may_trace(cx)?;
    cx.task
        .stack()?
        .iter()
        .try_for_each(|frame| put!(out, "[<0>] {frame}\n"))
}

pub(crate) fn read_syscall(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    may_trace(cx)?;
    syscall(&cx.task.syscall()?, out)
}

/// The one line of syscall.
pub fn syscall(state: &SyscallState, out: &mut Text) -> Result<()> {
    match state {
        SyscallState::Running => out.str("running\n"),
        SyscallState::Blocked { sp, pc } => put!(out, "-1 {sp:#x} {pc:#x}\n"),
        SyscallState::Call { nr, args, sp, pc } => {
            put!(out, "{nr}")?;
            args.iter().try_for_each(|arg| put!(out, " {arg:#x}"))?;
            put!(out, " {sp:#x} {pc:#x}\n")
        }
    }
}

pub(crate) fn read_personality(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    may_trace(cx)?;
    put!(out, "{:08x}\n", cx.task.personality()?)
}

/// Without a newline, as Linux prints it.
pub(crate) fn read_loginuid(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    put!(out, "{}", cx.task.audit()?.0)
}

pub(crate) fn write_loginuid(cx: &TaskCx<'_>, data: &[u8]) -> Result<()> {
    let uid = u32::try_from(unsigned(data)?).map_err(|_| Errno::EINVAL)?;
    cx.task.set_loginuid(uid)
}

/// Without a newline, as Linux prints it.
pub(crate) fn read_sessionid(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    put!(out, "{}", cx.task.audit()?.1)
}

pub(crate) fn read_timerslack(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    put!(out, "{}\n", cx.task.timer_slack()?)
}

pub(crate) fn write_timerslack(cx: &TaskCx<'_>, data: &[u8]) -> Result<()> {
    cx.task.set_timer_slack(unsigned(data)?)
}

pub(crate) fn read_coredump_filter(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    put!(out, "{:08x}\n", cx.task.coredump_filter()?)
}

pub(crate) fn write_coredump_filter(cx: &TaskCx<'_>, data: &[u8]) -> Result<()> {
    let filter = u32::try_from(unsigned(data)?).map_err(|_| Errno::ERANGE)?;
    cx.task.set_coredump_filter(filter)
}

pub(crate) fn write_clear_refs(cx: &TaskCx<'_>, data: &[u8]) -> Result<()> {
    match number(data)? {
        what @ 1..=5 => cx.task.clear_refs(what as u32),
        _ => Err(Errno::EINVAL),
    }
}

pub(crate) fn read_autogroup(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    let (id, nice) = cx.task.autogroup()?;
    put!(out, "/autogroup-{id} nice {nice}\n")
}

pub(crate) fn write_autogroup(cx: &TaskCx<'_>, data: &[u8]) -> Result<()> {
    match number(data)? {
        nice @ -20..=19 => cx.task.set_autogroup(nice as i32),
        _ => Err(Errno::EINVAL),
    }
}

fn read_id_map(cx: &TaskCx<'_>, map: IdMap, out: &mut Text) -> Result<()> {
    let lines = cx.task.id_map(map)?;
    lines
        .iter()
        .try_for_each(|l| put!(out, "{:10} {:10} {:10}\n", l.inside, l.outside, l.count))
}

/// Lines of three numbers. Errors: `EINVAL` for anything else, too many lines, or a range that wraps.
fn write_id_map(cx: &TaskCx<'_>, map: IdMap, data: &[u8]) -> Result<()> {
    let mut lines = alloc::vec::Vec::new();
    for line in data
        .split(|&b| b == b'\n')
        .filter(|line| !trim(line).is_empty())
    {
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let mut next = || {
            let value = unsigned(words.next().ok_or(Errno::EINVAL)?)?;
            u32::try_from(value).map_err(|_| Errno::EINVAL)
        };
        let entry = IdMapping {
            inside: next()?,
            outside: next()?,
            count: next()?,
        };
        let wraps = |first: u32| first.checked_add(entry.count).is_none();
        if words.next().is_some()
            || entry.count == 0
            || wraps(entry.inside)
            || wraps(entry.outside)
            || lines.len() == ID_MAP_LINES
        {
            return Err(Errno::EINVAL);
        }
        lines.push(entry);
    }
    if lines.is_empty() {
        return Err(Errno::EINVAL);
    }
    cx.task.set_id_map(map, &lines)
}

pub(crate) fn read_uid_map(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    read_id_map(cx, IdMap::Uid, out)
}

pub(crate) fn read_gid_map(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    read_id_map(cx, IdMap::Gid, out)
}

pub(crate) fn read_projid_map(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    read_id_map(cx, IdMap::Projid, out)
}

pub(crate) fn write_uid_map(cx: &TaskCx<'_>, data: &[u8]) -> Result<()> {
    write_id_map(cx, IdMap::Uid, data)
}

pub(crate) fn write_gid_map(cx: &TaskCx<'_>, data: &[u8]) -> Result<()> {
    write_id_map(cx, IdMap::Gid, data)
}

pub(crate) fn write_projid_map(cx: &TaskCx<'_>, data: &[u8]) -> Result<()> {
    write_id_map(cx, IdMap::Projid, data)
}

pub(crate) fn read_setgroups(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    out.str(if cx.task.setgroups_allowed()? {
        "allow\n"
    } else {
        "deny\n"
    })
}

pub(crate) fn write_setgroups(cx: &TaskCx<'_>, data: &[u8]) -> Result<()> {
    match trim(data) {
        b"allow" => cx.task.set_setgroups(true),
        b"deny" => cx.task.set_setgroups(false),
        _ => Err(Errno::EINVAL),
    }
}

pub(crate) fn read_timens(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    for (name, (secs, nanos)) in ["monotonic", "boottime"]
        .into_iter()
        .zip(cx.task.time_offsets()?)
    {
        put!(out, "{name:<10} {secs:10} {nanos:9}\n")?;
    }
    Ok(())
}

/// `<clock> <seconds> <nanoseconds>` a line (time_namespaces(7)).
pub(crate) fn write_timens(cx: &TaskCx<'_>, data: &[u8]) -> Result<()> {
    const CLOCK_MONOTONIC: i32 = 1;
    const CLOCK_BOOTTIME: i32 = 7;
    for line in data
        .split(|&b| b == b'\n')
        .filter(|line| !trim(line).is_empty())
    {
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let clock = match words.next() {
            Some(b"monotonic" | b"1") => CLOCK_MONOTONIC,
            Some(b"boottime" | b"7") => CLOCK_BOOTTIME,
            _ => return Err(Errno::EINVAL),
        };
        let secs = number(words.next().ok_or(Errno::EINVAL)?)?;
        let nanos = number(words.next().ok_or(Errno::EINVAL)?)?;
        if words.next().is_some() || !(0..1_000_000_000).contains(&nanos) {
            return Err(Errno::EINVAL);
        }
        cx.task.set_time_offset(clock, secs, nanos)?;
    }
    Ok(())
}

pub(crate) fn read_timers(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    const NOTIFY: [&str; 3] = ["signal", "none", "thread"];
    for timer in cx.task.posix_timers()? {
        put!(
            out,
            "ID: {}\nsignal: {}/{:016x}\n",
            timer.id,
            timer.signal,
            timer.value
        )?;
        let notify = NOTIFY.get(timer.notify as usize).copied().unwrap_or("none");
        let kind = if timer.to_thread { "tid" } else { "pid" };
        put!(
            out,
            "notify: {notify}/{kind}.{}\nClockID: {}\n",
            timer.pid,
            timer.clock
        )?;
    }
    Ok(())
}

/// Numbers with a blank after each, no newline.
pub(crate) fn read_children(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    cx.task
        .children()?
        .iter()
        .try_for_each(|pid| put!(out, "{pid} "))
}

macro_rules! security_attrs {
    ($($read:ident, $write:ident = $attr:ident;)*) => { $(
        pub(crate) fn $read(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
            out.bytes(&cx.task.security_attr(SecurityAttr::$attr)?)
        }

        pub(crate) fn $write(cx: &TaskCx<'_>, data: &[u8]) -> Result<()> {
            cx.task.set_security_attr(SecurityAttr::$attr, data)
        }
    )* };
}

security_attrs! {
    read_attr_current, write_attr_current = Current;
    read_attr_exec, write_attr_exec = Exec;
    read_attr_fscreate, write_attr_fscreate = Fscreate;
    read_attr_keycreate, write_attr_keycreate = Keycreate;
    read_attr_sockcreate, write_attr_sockcreate = Sockcreate;
}

pub(crate) fn read_attr_prev(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    out.bytes(&cx.task.security_attr(SecurityAttr::Prev)?)
}
