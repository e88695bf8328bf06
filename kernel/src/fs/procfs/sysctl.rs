//! The values below /proc/sys: each one that is here is what the kernel goes by.
//!
//! What the kernel has as a constant can be read; a write is taken only if it changes nothing, and is EINVAL otherwise,
//! as a value out of range would be.

use core::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use keel_procfs::{Ctl, CtlValue};

use crate::fs::notify::{dnotify, inotify};
use crate::fs::{NR_OPEN, devpts, locks, page_cache, protected};
use crate::ipc::aio;
use crate::mm::commit;
use crate::prelude::*;
use crate::process::keys::quota;
use crate::process::{Cap, core_dump, exec, nsproxy, pid, seccomp};
use crate::{device, mm, printk, process, sched, syscall};

/// Most supplementary groups (`NGROUPS_MAX`).
const NGROUPS_MAX: i64 = 65_536;
/// User and group for what has no number that fits 16 bits.
const OVERFLOW_ID: i64 = 65_534;
/// Lowest `pid_max` that the kernel takes (Linux's `RESERVED_PIDS + 1`).
const PID_MAX_MIN: i64 = 301;

/// Seconds from a panic to the restart; negative: at once, 0: never.
static PANIC_SECONDS: AtomicI32 = AtomicI32::new(0);

fn int(value: i64) -> Option<CtlValue> {
    Some(CtlValue::ints(&[value]))
}

fn load(value: &AtomicU32) -> Option<CtlValue> {
    int(i64::from(value.load(Ordering::Relaxed)))
}

fn load64(value: &AtomicU64) -> Option<CtlValue> {
    int(value.load(Ordering::Relaxed) as i64)
}

fn text(value: &str) -> Option<CtlValue> {
    Some(CtlValue::text(value.as_bytes()))
}

fn names() -> Option<nsproxy::UtsNames> {
    process::current_opt().map(|thread| thread.ns().uts.names())
}

/// A random version 4 UUID (RFC 9562).
fn uuid() -> String {
    let mut b: [u8; 16] = crate::random::bytes();
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let mut out = String::new();
    for (at, byte) in b.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

/// The same for as long as the machine runs.
fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.call_once(uuid)
}

/// A value; `None` for what this kernel does not have.
pub fn get(ctl: Ctl, _device: Option<&[u8]>) -> Option<CtlValue> {
    if let Some(level) = protection(ctl) {
        return int(i64::from(level.load(Ordering::Relaxed)));
    }
    match ctl {
        Ctl::FsFileMax => int(i64::MAX),
        Ctl::FsFileNr => Some(CtlValue::ints(&[
            crate::fs::file_count() as i64,
            0,
            i64::MAX,
        ])),
        Ctl::FsAioNr => int(aio::REQUESTS.load(Ordering::Relaxed) as i64),
        Ctl::FsAioMaxNr => int(aio::MAX_REQUESTS.load(Ordering::Relaxed) as i64),
        Ctl::FsNrOpen => int(NR_OPEN as i64),
        Ctl::FsLeaseBreakTime => load(&locks::LEASE_BREAK_SECS),
        Ctl::FsDirNotifyEnable => int(i64::from(dnotify::ENABLED.load(Ordering::Relaxed))),
        Ctl::FsInotifyMaxQueuedEvents => load(&inotify::MAX_QUEUED_EVENTS),
        Ctl::FsInotifyMaxUserInstances | Ctl::UserMaxInotifyInstances => {
            load(&inotify::MAX_USER_INSTANCES)
        }
        Ctl::FsInotifyMaxUserWatches | Ctl::UserMaxInotifyWatches => {
            int(i64::from(inotify::max_user_watches()))
        }
        Ctl::FsLeasesEnable => int(i64::from(locks::LEASES_ENABLED.load(Ordering::Relaxed))),
        Ctl::FsOverflowuid | Ctl::FsOverflowgid => int(OVERFLOW_ID),
        Ctl::FsPipeMaxSize => int(crate::ipc::pipe::MAX_SIZE as i64),
        Ctl::FsInodeNr => Some(CtlValue::ints(&[crate::fs::inode_count() as i64, 0])),
        Ctl::FsInodeState => Some(CtlValue::ints(&[
            crate::fs::inode_count() as i64,
            0,
            0,
            0,
            0,
            0,
            0,
        ])),
        Ctl::KernelPtyNr => int(devpts::pairs() as i64),
        Ctl::KernelPtyMax => int(devpts::MAX_PAIRS.load(Ordering::Relaxed) as i64),
        Ctl::KernelPtyReserve => int(devpts::RESERVED as i64),
        Ctl::FsSuidDumpable => int(i64::from(core_dump::SUID_DUMPABLE.load(Ordering::Relaxed))),
        _ => kernel(ctl)
            .or_else(|| vm(ctl))
            .or_else(|| super::ipc::get(ctl)),
    }
}

/// The levels of `fs.protected_*`.
fn protection(ctl: Ctl) -> Option<&'static AtomicU8> {
    match ctl {
        Ctl::FsProtectedFifos => Some(&protected::FIFOS),
        Ctl::FsProtectedHardlinks => Some(&protected::HARDLINKS),
        Ctl::FsProtectedRegular => Some(&protected::REGULAR),
        Ctl::FsProtectedSymlinks => Some(&protected::SYMLINKS),
        _ => None,
    }
}

/// /proc/sys/kernel.
fn kernel(ctl: Ctl) -> Option<CtlValue> {
    match ctl {
        Ctl::KernelArch => text("x86_64"),
        Ctl::KernelCapLastCap => int(i64::from(Cap::LAST.0)),
        Ctl::KernelCorePattern => Some(CtlValue::Text(core_dump::pattern())),
        Ctl::KernelCorePipeLimit => int(0),
        Ctl::KernelCoreUsesPid => int(i64::from(core_dump::USES_PID.load(Ordering::Relaxed))),
        Ctl::KernelSeccompActionsAvail => Some(CtlValue::Text(seccomp_actions(u32::MAX))),
        Ctl::KernelSeccompActionsLogged => {
            let logged = seccomp::ACTIONS_LOGGED.load(Ordering::Relaxed);
            Some(CtlValue::Text(seccomp_actions(logged)))
        }
        Ctl::KernelCtrlAltDel => int(i64::from(syscall::CTRL_ALT_DEL.load(Ordering::Relaxed))),
        Ctl::KernelDomainname => names().map(|names| CtlValue::Text(names.domain)),
        Ctl::KernelHostname => names().map(|names| CtlValue::Text(names.host)),
        Ctl::KernelKeysMaxkeys => load(&quota::MAX_KEYS),
        Ctl::KernelKeysMaxbytes => load(&quota::MAX_BYTES),
        Ctl::KernelKeysRootMaxkeys => load(&quota::ROOT_MAX_KEYS),
        Ctl::KernelKeysRootMaxbytes => load(&quota::ROOT_MAX_BYTES),
        Ctl::KernelNgroupsMax => int(NGROUPS_MAX),
        Ctl::KernelOsrelease => text(syscall::RELEASE),
        Ctl::KernelOstype => text("Linux"),
        Ctl::KernelVersion => text(syscall::VERSION),
        Ctl::KernelOverflowuid | Ctl::KernelOverflowgid => int(OVERFLOW_ID),
        Ctl::KernelPanic => int(i64::from(PANIC_SECONDS.load(Ordering::Relaxed))),
        Ctl::KernelPanicOnOops => int(1),
        Ctl::KernelPidMax => int(i64::from(pid::PID_MAX.load(Ordering::Relaxed))),
        Ctl::KernelPrintk => Some(CtlValue::ints(&[
            i64::from(printk::console_level()),
            4,
            1,
            7,
        ])),
        Ctl::KernelRandomBootId => text(boot_id()),
        Ctl::KernelRandomUuid => text(&uuid()),
        Ctl::KernelRandomEntropyAvail | Ctl::KernelRandomPoolsize => {
            int(i64::from(device::mem::ENTROPY_BITS))
        }
        Ctl::KernelRandomizeVaSpace => {
            int(i64::from(exec::RANDOMIZE_VA_SPACE.load(Ordering::Relaxed)))
        }
        Ctl::KernelSchedRrTimesliceMs => int((sched::RR_SLICE_NS / 1_000_000) as i64),
        Ctl::KernelSchedRtPeriodUs => int(sched::bandwidth::period_us() as i64),
        Ctl::KernelSchedRtRuntimeUs => int(sched::bandwidth::runtime_us()),
        Ctl::KernelTainted => int(0),
        Ctl::KernelThreadsMax => int(i64::from(pid::THREADS_MAX.load(Ordering::Relaxed))),
        _ => None,
    }
}

/// /proc/sys/vm.
fn vm(ctl: Ctl) -> Option<CtlValue> {
    match ctl {
        // Can only be written.
        Ctl::VmDropCaches => int(0),
        Ctl::VmMaxMapCount => int(mm::MAX_MAP_COUNT as i64),
        Ctl::VmMmapMinAddr => int(mm::MMAP_MIN_ADDR as i64),
        Ctl::VmMinFreeKbytes => {
            int((keel_hal::frame::stats().low_watermark * PAGE_SIZE / 1024) as i64)
        }
        Ctl::VmOvercommitMemory => int(i64::from(commit::MODE.load(Ordering::Relaxed))),
        Ctl::VmOvercommitRatio => load(&commit::RATIO),
        Ctl::VmOvercommitKbytes => load64(&commit::KBYTES),
        Ctl::VmAdminReserveKbytes => load64(&commit::ADMIN_RESERVE_KBYTES),
        Ctl::VmUserReserveKbytes => load64(&commit::USER_RESERVE_KBYTES),
        Ctl::VmNrHugepages | Ctl::VmNrHugepagesMempolicy => int(mm::hugetlb::counts().total as i64),
        Ctl::VmNrOvercommitHugepages => int(0),
        Ctl::VmOomKillAllocatingTask => {
            int(i64::from(mm::oom::KILL_ALLOCATING.load(Ordering::Relaxed)))
        }
        Ctl::VmPanicOnOom => load(&mm::oom::PANIC_ON_OOM),
        Ctl::VmUnprivilegedUserfaultfd => int(i64::from(
            mm::userfault::UNPRIVILEGED.load(Ordering::Relaxed),
        )),
        Ctl::VmLegacyVaLayout | Ctl::VmZoneReclaimMode => int(0),
        _ => None,
    }
}

/// Sets a value.
pub fn set(ctl: Ctl, device: Option<&[u8]>, value: &CtlValue) -> Result<()> {
    match ctl {
        Ctl::KernelHostname | Ctl::KernelDomainname => return set_name(ctl, value),
        Ctl::KernelPrintk => return set_printk(value),
        Ctl::KernelCorePattern => return set_core_pattern(value),
        Ctl::KernelSeccompActionsLogged => return set_seccomp_logged(value),
        _ => {}
    }
    if super::ipc::set(ctl, value)? {
        return Ok(());
    }
    let Some(number) = value.as_i64() else {
        return keep(ctl, device, value);
    };
    let small = || u32::try_from(number).map_err(|_| Errno::EINVAL);
    if let Some(level) = protection(ctl) {
        let value = u8::try_from(number).map_err(|_| Errno::EINVAL)?;
        level.store(value, Ordering::Relaxed);
        return Ok(());
    }
    match ctl {
        Ctl::FsDirNotifyEnable => dnotify::ENABLED.store(number != 0, Ordering::Relaxed),
        Ctl::FsInotifyMaxQueuedEvents => {
            inotify::MAX_QUEUED_EVENTS.store(small()?, Ordering::Relaxed);
        }
        Ctl::FsInotifyMaxUserInstances | Ctl::UserMaxInotifyInstances => {
            inotify::MAX_USER_INSTANCES.store(small()?, Ordering::Relaxed);
        }
        Ctl::FsInotifyMaxUserWatches | Ctl::UserMaxInotifyWatches => {
            inotify::set_max_user_watches(small()?);
        }
        Ctl::KernelPtyMax => devpts::MAX_PAIRS.store(small()? as usize, Ordering::Relaxed),
        Ctl::FsLeaseBreakTime => locks::LEASE_BREAK_SECS.store(small()?, Ordering::Relaxed),
        Ctl::FsLeasesEnable => locks::LEASES_ENABLED.store(number != 0, Ordering::Relaxed),
        Ctl::FsSuidDumpable => core_dump::SUID_DUMPABLE.store(small()?, Ordering::Relaxed),
        Ctl::KernelCoreUsesPid => core_dump::USES_PID.store(number != 0, Ordering::Relaxed),
        Ctl::KernelCtrlAltDel => syscall::CTRL_ALT_DEL.store(number != 0, Ordering::Relaxed),
        Ctl::FsAioMaxNr => {
            let max = u64::try_from(number).map_err(|_| Errno::EINVAL)?;
            aio::MAX_REQUESTS.store(max, Ordering::Relaxed);
        }
        Ctl::KernelKeysMaxkeys => quota::MAX_KEYS.store(small()?, Ordering::Relaxed),
        Ctl::KernelKeysMaxbytes => quota::MAX_BYTES.store(small()?, Ordering::Relaxed),
        Ctl::KernelKeysRootMaxkeys => quota::ROOT_MAX_KEYS.store(small()?, Ordering::Relaxed),
        Ctl::KernelKeysRootMaxbytes => quota::ROOT_MAX_BYTES.store(small()?, Ordering::Relaxed),
        Ctl::KernelPanic => set_panic(i32::try_from(number).map_err(|_| Errno::EINVAL)?),
        Ctl::KernelPidMax if number >= PID_MAX_MIN => {
            pid::PID_MAX.store(
                u32::try_from(number).map_err(|_| Errno::EINVAL)?,
                Ordering::Relaxed,
            );
        }
        Ctl::KernelThreadsMax => {
            let max = u32::try_from(number).map_err(|_| Errno::EINVAL)?;
            pid::THREADS_MAX.store(max, Ordering::Relaxed);
        }
        Ctl::KernelRandomizeVaSpace => {
            let level = u32::try_from(number).ok().filter(|level| *level <= 2);
            exec::RANDOMIZE_VA_SPACE.store(level.ok_or(Errno::EINVAL)?, Ordering::Relaxed);
        }
        Ctl::KernelSchedRtPeriodUs => {
            let period = u64::try_from(number).map_err(|_| Errno::EINVAL)?;
            sched::bandwidth::set(period, sched::bandwidth::runtime_us())?;
        }
        Ctl::KernelSchedRtRuntimeUs => {
            sched::bandwidth::set(sched::bandwidth::period_us(), number)?;
        }
        Ctl::VmDropCaches => drop_caches(number),
        Ctl::VmOvercommitMemory => commit::MODE.store(number as u8, Ordering::Relaxed),
        Ctl::VmOvercommitRatio => {
            commit::RATIO.store(small()?, Ordering::Relaxed);
            commit::KBYTES.store(0, Ordering::Relaxed);
        }
        Ctl::VmOvercommitKbytes => commit::KBYTES.store(number as u64, Ordering::Relaxed),
        Ctl::VmAdminReserveKbytes => {
            commit::ADMIN_RESERVE_KBYTES.store(number as u64, Ordering::Relaxed);
        }
        Ctl::VmUserReserveKbytes => {
            commit::USER_RESERVE_KBYTES.store(number as u64, Ordering::Relaxed);
        }
        Ctl::VmNrHugepages | Ctl::VmNrHugepagesMempolicy => {
            mm::hugetlb::resize(usize::try_from(number).map_err(|_| Errno::EINVAL)?)?;
        }
        Ctl::VmOomKillAllocatingTask => {
            mm::oom::KILL_ALLOCATING.store(number != 0, Ordering::Relaxed);
        }
        Ctl::VmPanicOnOom => mm::oom::PANIC_ON_OOM.store(small()?, Ordering::Relaxed),
        Ctl::VmUnprivilegedUserfaultfd => {
            mm::userfault::UNPRIVILEGED.store(number != 0, Ordering::Relaxed);
        }
        _ => return keep(ctl, device, value),
    }
    Ok(())
}

fn set_core_pattern(value: &CtlValue) -> Result<()> {
    let CtlValue::Text(pattern) = value else {
        return Err(Errno::EINVAL);
    };
    let old = core_dump::PATTERN.lock().replace(pattern.clone());
    drop(old);
    Ok(())
}

/// The names of the actions whose bits are set.
fn seccomp_actions(bits: u32) -> Vec<u8> {
    let names: Vec<&str> = seccomp::ACTIONS
        .iter()
        .enumerate()
        .filter(|(at, _)| bits >> at & 1 != 0)
        .map(|(_, (_, name))| *name)
        .collect();
    names.join(" ").into_bytes()
}

/// EINVAL for unknown names, and for `allow`, which is never logged.
fn set_seccomp_logged(value: &CtlValue) -> Result<()> {
    let CtlValue::Text(names) = value else {
        return Err(Errno::EINVAL);
    };
    let mut bits = 0;
    for name in names
        .split(u8::is_ascii_whitespace)
        .filter(|name| !name.is_empty())
    {
        let at = seccomp::ACTIONS
            .iter()
            .position(|(action, known)| {
                known.as_bytes() == name && *action != seccomp::action::ALLOW
            })
            .ok_or(Errno::EINVAL)?;
        bits |= 1 << at;
    }
    seccomp::ACTIONS_LOGGED.store(bits, Ordering::Relaxed);
    Ok(())
}

/// A constant: EINVAL for any other value.
fn keep(ctl: Ctl, device: Option<&[u8]>, value: &CtlValue) -> Result<()> {
    if get(ctl, device).as_ref() == Some(value) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

fn set_name(ctl: Ctl, value: &CtlValue) -> Result<()> {
    let name = value.as_text().ok_or(Errno::EINVAL)?;
    let name = name
        .get(..name.len().min(nsproxy::UTS_LEN))
        .unwrap_or(name)
        .to_vec();
    let thread = process::current_opt().ok_or(Errno::EPERM)?;
    thread.ns().uts.update(|names| {
        let slot = if ctl == Ctl::KernelHostname {
            &mut names.host
        } else {
            &mut names.domain
        };
        *slot = name;
    });
    Ok(())
}

/// The console's level can be changed; the other three are constants.
fn set_printk(value: &CtlValue) -> Result<()> {
    let (CtlValue::Ints(new), Some(CtlValue::Ints(old))) = (value, kernel(Ctl::KernelPrintk))
    else {
        return Err(Errno::EINVAL);
    };
    if new.get(1..) != old.get(1..) {
        return Err(Errno::EINVAL);
    }
    let level = new
        .first()
        .and_then(|level| u8::try_from(*level).ok())
        .ok_or(Errno::EINVAL)?;
    printk::set_console_level(level);
    Ok(())
}

fn set_panic(seconds: i32) {
    use keel_hal::panic::{Action, set_action};
    PANIC_SECONDS.store(seconds, Ordering::Relaxed);
    set_action(match seconds {
        0 => Action::Halt,
        n if n < 0 => Action::Reboot(0),
        n => Action::Reboot(n.unsigned_abs()),
    });
}

/// 1 for pages, 2 for names and inodes, 4 (as on Linux) not to be told of it in the log.
fn drop_caches(what: i64) {
    page_cache::drop_caches(what & 1 != 0, what & 2 != 0);
}
