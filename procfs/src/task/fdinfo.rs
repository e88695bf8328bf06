//! fdinfo/N (proc_pid_fdinfo(5)).

use keel_abi::Result;

use crate::put;
use crate::source::{FdExtra, FdInfo};
use crate::system::locks;
use crate::text::Text;

const NS_PER_SEC: u64 = 1_000_000_000;

/// The lines of one open file.
pub fn format(info: &FdInfo, out: &mut Text) -> Result<()> {
    put!(out, "pos:\t{}\nflags:\t0{:o}\n", info.pos, info.flags)?;
    put!(out, "mnt_id:\t{}\nino:\t{}\n", info.mnt_id, info.ino)?;
    for (lock, number) in info.locks.iter().zip(1..) {
        out.str("lock:\t")?;
        locks::line(lock, number, None, out)?;
    }
    extra(&info.extra, out)
}

/// The lines of one kind of file.
pub fn extra(extra: &FdExtra, out: &mut Text) -> Result<()> {
    match extra {
        FdExtra::None => Ok(()),
        FdExtra::Lines(lines) => out.str(lines),
        FdExtra::Eventfd {
            count,
            id,
            semaphore,
        } => {
            put!(out, "eventfd-count: {count:16x}\neventfd-id: {id}\n")?;
            match semaphore {
                Some(on) => put!(out, "eventfd-semaphore: {}\n", u8::from(*on)),
                None => Ok(()),
            }
        }
        FdExtra::Epoll(targets) => targets.iter().try_for_each(|t| {
            put!(
                out,
                "tfd: {:8} events: {:8x} data: {:16x}  pos:{} ino:{:x} sdev:{:x}\n",
                t.fd,
                t.events,
                t.data,
                t.pos,
                t.ino,
                t.sdev
            )
        }),
        FdExtra::Signalfd { mask } => put!(out, "sigmask:\t{mask:016x}\n"),
        FdExtra::Timerfd {
            clock,
            ticks,
            flags,
            value,
            interval,
        } => {
            put!(
                out,
                "clockid: {clock}\nticks: {ticks}\nsettime flags: 0{flags:o}\n"
            )?;
            put!(
                out,
                "it_value: ({}, {})\n",
                value / NS_PER_SEC,
                value % NS_PER_SEC
            )?;
            put!(
                out,
                "it_interval: ({}, {})\n",
                interval / NS_PER_SEC,
                interval % NS_PER_SEC
            )
        }
        FdExtra::Inotify(watches) => watches.iter().try_for_each(|w| {
            put!(
                out,
                "inotify wd:{:x} ino:{:x} sdev:{:x} ",
                w.wd,
                w.ino,
                w.sdev
            )?;
            put!(out, "mask:{:x} ignored_mask:0 ", w.mask)?;
            if let Some((kind, handle)) = &w.handle {
                put!(
                    out,
                    "fhandle-bytes:{:x} fhandle-type:{kind:x} f_handle:",
                    handle.len()
                )?;
                handle.iter().try_for_each(|byte| put!(out, "{byte:02x}"))?;
            }
            out.str("\n")
        }),
        FdExtra::Pidfd { pid, ns_pids } => {
            put!(out, "Pid:\t{pid}\nNSpid:\t{pid}")?;
            ns_pids.iter().try_for_each(|pid| put!(out, "\t{pid}"))?;
            out.str("\n")
        }
        FdExtra::TtyIndex(index) => put!(out, "tty-index:\t{index}\n"),
    }
}
