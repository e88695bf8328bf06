//! The machine as a whole: names, memory figures, randomness, the kernel log, the terminal, reboot.

use core::sync::atomic::{AtomicBool, Ordering};
use keel_abi::prelude::*;
use keel_abi::types::{Sysinfo, UTS_LEN, Utsname};
use zerocopy::{FromBytes, IntoBytes};

use super::Ctx;
use crate::mm::user::{UserAccess, read_bytes, write_bytes};
use crate::prelude::*;
use crate::printk;
use crate::process::{Cap, Cred, pid};

/// The version of Linux whose interface this is, as uname(2) tells it (`6.1` is Debian 12's).
pub const RELEASE: &str = concat!("6.1.0-keel-", env!("CARGO_PKG_VERSION"));

/// `version` of uname(2).
pub const VERSION: &str = "#1 SMP Keel";

/// Reads a structure that has grown over time: `size` is what the caller knows. What it does not know is zero;
/// what we do not know must be zero (E2BIG).
pub fn read_versioned<T: FromBytes + IntoBytes>(ptr: UserPtr<T>, size: usize) -> Result<T> {
    let known = size_of::<T>();
    let mut bytes = read_bytes(ptr.addr(), size)?;
    if bytes.iter().skip(known).any(|byte| *byte != 0) {
        return Err(Errno::E2BIG);
    }
    bytes.resize(known, 0);
    T::read_from_bytes(&bytes).map_err(|_| Errno::EINVAL)
}

fn field(text: &[u8]) -> [u8; UTS_LEN] {
    let mut out = [0; UTS_LEN];
    let len = text.len().min(UTS_LEN - 1);
    out[..len].copy_from_slice(&text[..len]);
    out
}

pub fn uname(cx: &mut Ctx, buf: UserPtr<Utsname>) -> Result<()> {
    let names = cx.thread.ns().uts.names();
    buf.write(&Utsname {
        sysname: field(b"Linux"),
        nodename: field(&names.host),
        release: field(RELEASE.as_bytes()),
        version: field(VERSION.as_bytes()),
        machine: field(b"x86_64"),
        domainname: field(&names.domain),
    })
}

fn new_name(cx: &Ctx, name: UserPtr<u8>, len: i32) -> Result<Vec<u8>> {
    cx.thread.cred().require(Cap::SYS_ADMIN)?;
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    if len > UTS_LEN - 1 {
        return Err(Errno::EINVAL);
    }
    read_bytes(name.addr(), len)
}

pub fn sethostname(cx: &mut Ctx, name: UserPtr<u8>, len: i32) -> Result<()> {
    let name = new_name(cx, name, len)?;
    cx.thread.ns().uts.update(|names| names.host = name);
    Ok(())
}

pub fn setdomainname(cx: &mut Ctx, name: UserPtr<u8>, len: i32) -> Result<()> {
    let name = new_name(cx, name, len)?;
    cx.thread.ns().uts.update(|names| names.domain = name);
    Ok(())
}

pub fn sysinfo(_cx: &mut Ctx, info: UserPtr<Sysinfo>) -> Result<()> {
    let frames = keel_hal::frame::stats();
    let bytes = |pages: usize| (pages * PAGE_SIZE) as u64;
    info.write(&Sysinfo {
        uptime: (crate::time::boottime_ns() / crate::time::NSEC_PER_SEC) as i64,
        loads: crate::sched::load::averages(),
        totalram: bytes(frames.total),
        freeram: bytes(frames.free),
        procs: u16::try_from(pid::thread_count()).unwrap_or(u16::MAX),
        mem_unit: 1,
        ..Sysinfo::default()
    })
}

pub fn getrandom(
    _cx: &mut Ctx,
    buf: UserPtr<u8>,
    buflen: usize,
    flags: GetrandomFlags,
) -> Result<usize> {
    if !GetrandomFlags::all().contains(flags)
        || flags.contains(GetrandomFlags::RANDOM | GetrandomFlags::INSECURE)
    {
        return Err(Errno::EINVAL);
    }
    let len = buflen.min(i32::MAX as usize);
    let mut chunk = vec![0; len.min(PAGE_SIZE)];
    let mut done = 0;
    while done < len {
        let n = chunk.len().min(len - done);
        crate::random::fill(&mut chunk[..n]);
        match write_bytes(buf.addr() + done as u64, &chunk[..n]) {
            Ok(()) => done += n,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
        if done < len && keel_hal::task::current().interrupted() {
            break;
        }
        keel_hal::task::cond_resched();
    }
    Ok(done)
}

const MAGIC1: u32 = 0xfee1_dead;
const MAGIC2: [u32; 4] = [0x2812_1969, 0x0512_1996, 0x1604_1998, 0x2011_2000];

/// Whether Ctrl-Alt-Del restarts at once rather than signalling init.
pub static CTRL_ALT_DEL: AtomicBool = AtomicBool::new(true);

pub fn reboot(cx: &mut Ctx, magic: u32, magic2: u32, cmd: RebootCmd, _arg: UserStr) -> Result<()> {
    cx.thread.cred().require(Cap::SYS_BOOT)?;
    if magic != MAGIC1 || !MAGIC2.contains(&magic2) {
        return Err(Errno::EINVAL);
    }
    match cmd {
        RebootCmd::LINUX_REBOOT_CMD_CAD_ON => CTRL_ALT_DEL.store(true, Ordering::Relaxed),
        RebootCmd::LINUX_REBOOT_CMD_CAD_OFF => CTRL_ALT_DEL.store(false, Ordering::Relaxed),
        RebootCmd::LINUX_REBOOT_CMD_POWER_OFF => {
            crate::fs::shutdown();
            log::warn!("reboot: Power down");
            keel_hal::power::off();
        }
        RebootCmd::LINUX_REBOOT_CMD_HALT => {
            crate::fs::shutdown();
            log::warn!("reboot: System halted");
            keel_hal::power::halt();
        }
        RebootCmd::LINUX_REBOOT_CMD_RESTART | RebootCmd::LINUX_REBOOT_CMD_RESTART2 => {
            crate::fs::shutdown();
            log::warn!("reboot: Restarting system");
            keel_hal::power::reboot();
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

/// Everybody may look at the log and ask for its size; the rest is for CAP_SYSLOG, or CAP_SYS_ADMIN as before Linux
/// 2.6.37.
fn check_syslog(cred: &Cred, action: SyslogAction) -> Result<()> {
    let open_to_all = matches!(
        action,
        SyslogAction::SYSLOG_ACTION_READ_ALL | SyslogAction::SYSLOG_ACTION_SIZE_BUFFER
    );
    if open_to_all || cred.has(Cap::SYSLOG) || cred.has(Cap::SYS_ADMIN) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

pub fn syslog(cx: &mut Ctx, ty: SyslogAction, bufp: UserPtr<u8>, len: i32) -> Result<i32> {
    check_syslog(&cx.thread.cred(), ty)?;
    let reads = [
        SyslogAction::SYSLOG_ACTION_READ,
        SyslogAction::SYSLOG_ACTION_READ_ALL,
        SyslogAction::SYSLOG_ACTION_READ_CLEAR,
    ];
    if reads.contains(&ty) {
        if bufp.is_null() {
            return Err(Errno::EINVAL);
        }
        return match usize::try_from(len).map_err(|_| Errno::EINVAL)? {
            0 => Ok(0),
            len => read_log(ty, bufp, len),
        };
    }
    let figure = |n: usize| Ok(i32::try_from(n).unwrap_or(i32::MAX));
    match ty {
        // The log is always open.
        SyslogAction::SYSLOG_ACTION_OPEN | SyslogAction::SYSLOG_ACTION_CLOSE => {}
        SyslogAction::SYSLOG_ACTION_CLEAR => printk::clear(),
        SyslogAction::SYSLOG_ACTION_CONSOLE_OFF => printk::syslog::console_off(),
        SyslogAction::SYSLOG_ACTION_CONSOLE_ON => printk::syslog::console_on(),
        SyslogAction::SYSLOG_ACTION_CONSOLE_LEVEL => match len {
            1..=8 => printk::syslog::set_level(len as u8),
            _ => return Err(Errno::EINVAL),
        },
        SyslogAction::SYSLOG_ACTION_SIZE_UNREAD => return figure(printk::syslog::unread_len()),
        SyslogAction::SYSLOG_ACTION_SIZE_BUFFER => return figure(printk::RING_BYTES),
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

/// The reading actions; how many bytes there were.
fn read_log(action: SyslogAction, buf: UserPtr<u8>, len: usize) -> Result<i32> {
    let text = if action == SyslogAction::SYSLOG_ACTION_READ {
        let mut chunk = vec![0; len.min(PAGE_SIZE)];
        let n = printk::syslog::read(&mut chunk)?;
        chunk.truncate(n);
        chunk
    } else {
        printk::syslog::newest(len)
    };
    write_bytes(buf.addr(), &text)?;
    if action == SyslogAction::SYSLOG_ACTION_READ_CLEAR {
        printk::clear();
    }
    i32::try_from(text.len()).map_err(|_| Errno::EINVAL)
}

pub fn vhangup(cx: &mut Ctx) -> Result<()> {
    cx.thread.cred().require(Cap::SYS_TTY_CONFIG)?;
    let tty = cx.thread.process.tty.lock().clone();
    if let Some(tty) = tty {
        tty.hang_up();
    }
    Ok(())
}
