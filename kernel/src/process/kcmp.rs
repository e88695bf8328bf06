//! Whether two threads share something (kcmp(2)).

use core::sync::atomic::Ordering;
use keel_abi::args::{Fd, UserPtr};
use keel_abi::flags::KcmpType;

use super::Thread;
use crate::fs::File;
use crate::ipc::epoll;
use crate::mm::user::UserAccess;
use crate::prelude::*;

/// Compares two addresses so that the order tells nothing about them: 0 for equal, 1 and 2 for less and greater.
fn order(kind: KcmpType, a: usize, b: usize) -> i32 {
    static KEYS: OnceLock<[(u64, u64); 8]> = OnceLock::new();
    let keys = KEYS
        .call_once(|| core::array::from_fn(|_| (crate::random::u64(), crate::random::u64() | 1)));
    let (mask, factor) = keys.get(kind.0 as usize).copied().unwrap_or((0, 1));
    let hidden = |at: usize| (at as u64 ^ mask).wrapping_mul(factor);
    match hidden(a).cmp(&hidden(b)) {
        core::cmp::Ordering::Equal => 0,
        core::cmp::Ordering::Less => 1,
        core::cmp::Ordering::Greater => 2,
    }
}

fn addr<T: ?Sized>(shared: &Arc<T>) -> usize {
    Arc::as_ptr(shared).cast::<u8>().addr()
}

/// A thread that has set its I/O priority has a context of its own; the others have none.
fn io_context(thread: &Arc<Thread>) -> usize {
    match thread.ioprio.load(Ordering::Relaxed) {
        0 => 0,
        _ => addr(thread),
    }
}

fn file_of(thread: &Thread, fd: u64) -> Result<Arc<File>> {
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    thread.files().get_any(Fd(fd))
}

/// Compares what `kind` names: EBADF, EINVAL for unknown kinds.
pub fn compare(
    first: &Arc<Thread>,
    second: &Arc<Thread>,
    kind: KcmpType,
    idx1: u64,
    idx2: u64,
) -> Result<i32> {
    let (a, b) = match kind {
        KcmpType::KCMP_FILE => (addr(&file_of(first, idx1)?), addr(&file_of(second, idx2)?)),
        KcmpType::KCMP_VM => {
            let mm = |thread: &Thread| thread.mm_opt().map_or(0, |mm| addr(&mm));
            (mm(first), mm(second))
        }
        KcmpType::KCMP_FILES => (addr(&first.files()), addr(&second.files())),
        KcmpType::KCMP_FS => (addr(&first.fs()), addr(&second.fs())),
        KcmpType::KCMP_SIGHAND => (
            first.process.signals.actions_address(),
            second.process.signals.actions_address(),
        ),
        KcmpType::KCMP_EPOLL_TFD => {
            let slot = UserPtr::<[u32; 3]>::new(idx2).read()?;
            (addr(&file_of(first, idx1)?), epoll_target(second, slot)?)
        }
        KcmpType::KCMP_IO => (io_context(first), io_context(second)),
        KcmpType::KCMP_SYSVSEM => {
            let undo = |thread: &Thread| thread.sem_undo.lock().as_ref().map_or(0, addr);
            (undo(first), undo(second))
        }
        _ => return Err(Errno::EINVAL),
    };
    Ok(order(kind, a, b))
}

/// The file that an epoll instance watches: `struct kcmp_epoll_slot` names the instance, the descriptor, and which of
/// several files that were watched by that number.
fn epoll_target(thread: &Thread, [efd, tfd, nth]: [u32; 3]) -> Result<usize> {
    let instance = file_of(thread, efd.into())?;
    let target = epoll::epoll_of(&instance)?
        .target(tfd.cast_signed(), nth as usize)
        .ok_or(Errno::ENOENT)?;
    Ok(addr(&target))
}
