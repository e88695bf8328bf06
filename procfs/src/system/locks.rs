//! locks, and the lock lines of fdinfo (proc_locks(5)).

use keel_abi::Result;

use crate::put;
use crate::source::{FileLock, LockKind, System};
use crate::text::Text;

pub(crate) fn read_locks(sys: &dyn System, out: &mut Text) -> Result<()> {
    for (lock, number) in sys.locks().iter().zip(1..) {
        line(lock, number, None, out)?;
        waiters(lock, number, 1, out)?;
    }
    Ok(())
}

/// Those who wait stand below the lock with its number, one column further right for each step.
fn waiters(lock: &FileLock, number: u64, depth: usize, out: &mut Text) -> Result<()> {
    /// Deeper chains are not shown: the source's records nest, and this recursion must end.
    const MAX_DEPTH: usize = 16;
    if depth > MAX_DEPTH {
        return Ok(());
    }
    for waiter in &lock.waiters {
        line(waiter, number, Some(depth), out)?;
        waiters(waiter, number, depth + 1, out)?;
    }
    Ok(())
}

/// One line; `waiting` is the depth for a lock that is not granted yet.
pub(crate) fn line(
    l: &FileLock,
    number: u64,
    waiting: Option<usize>,
    out: &mut Text,
) -> Result<()> {
    put!(out, "{number}: ")?;
    if let Some(depth) = waiting {
        put!(out, "{:width$}-> ", "", width = depth.saturating_sub(1))?;
    }
    out.str(match l.kind {
        LockKind::Posix => "POSIX  ADVISORY  ",
        LockKind::Ofd => "OFDLCK ADVISORY  ",
        LockKind::Flock => "FLOCK  ADVISORY  ",
        LockKind::Lease => "LEASE  ACTIVE    ",
        LockKind::LeaseBreaking => "LEASE  BREAKING  ",
    })?;
    put!(out, "{} {} ", if l.write { "WRITE" } else { "READ" }, l.pid)?;
    put!(out, "{:02x}:{:02x}:{} ", l.dev.major, l.dev.minor, l.ino)?;
    match (l.kind, l.end) {
        (LockKind::Flock, _) => out.str("0 EOF\n"),
        (_, Some(end)) => put!(out, "{} {end}\n", l.start),
        (_, None) => put!(out, "{} EOF\n", l.start),
    }
}
