//! How a thread comes to be confined.

use core::sync::atomic::Ordering;
use keel_abi::args::UserPtr;
use keel_abi::flags::{OpenFlags, SeccompFlags};
use keel_abi::types::SockFprog;
use keel_bpf::Program;

use super::notify::{Supervisor, listener};
use super::{Filter, enter_mode, mode};
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::{Cap, Thread};

/// Most instructions on one thread's way, each filter counting four more (ENOMEM beyond).
const MAX_ON_PATH: usize = (1 << 18) / 8;
const PER_FILTER: usize = 4;

/// Strict mode: EINVAL for a thread that has filters.
pub fn set_strict(thread: &Arc<Thread>) -> Result<()> {
    let _sync = thread.process.seccomp_sync.lock();
    if super::mode(thread) == mode::FILTER {
        return Err(Errno::EINVAL);
    }
    enter_mode(thread, mode::STRICT);
    // Nor may it measure time.
    keel_hal::task::current().set_tsc_disabled(true);
    Ok(())
}

/// Installs a filter (SECCOMP_SET_MODE_FILTER). Gives 0, a listener's descriptor, or the number of the thread that
/// kept SECCOMP_FILTER_FLAG_TSYNC from its work.
pub fn set_filter(
    thread: &Arc<Thread>,
    flags: SeccompFlags,
    program: UserPtr<SockFprog>,
) -> Result<i32> {
    let listens = flags.contains(SeccompFlags::NEW_LISTENER);
    let tsync = flags.contains(SeccompFlags::TSYNC);
    if !SeccompFlags::all().contains(flags)
        || (tsync && listens && !flags.contains(SeccompFlags::TSYNC_ESRCH))
        || (flags.contains(SeccompFlags::WAIT_KILLABLE_RECV) && !listens)
    {
        return Err(Errno::EINVAL);
    }
    let program = read_program(thread, program)?;
    if super::mode(thread) == mode::STRICT {
        return Err(Errno::EINVAL);
    }
    let supervisor = listens.then(|| {
        Arc::new(Supervisor::new(
            flags.contains(SeccompFlags::WAIT_KILLABLE_RECV),
        ))
    });
    // The descriptor is taken first: past the attachment nothing may fail.
    let fd = match &supervisor {
        Some(supervisor) => {
            let file = listener(supervisor, OpenFlags::RDWR);
            Some(thread.files().install(file, true)?)
        }
        None => None,
    };
    let attached = attach(thread, flags, program, supervisor);
    match (attached, fd) {
        (Ok(0), Some(fd)) => Ok(fd.0),
        (Ok(other), None) => Ok(other),
        (failed, fd) => {
            if let Some(fd) = fd {
                let _ = thread.files().close(fd);
            }
            failed
        }
    }
}

/// Copies and checks a program: EINVAL, EFAULT; EACCES for who could gain privileges later.
fn read_program(thread: &Thread, program: UserPtr<SockFprog>) -> Result<Program> {
    let program = program.read()?;
    keel_bpf::check_length(program.len.into())?;
    let cred = thread.cred();
    if !cred.no_new_privs && !cred.has(Cap::SYS_ADMIN) {
        return Err(Errno::EACCES);
    }
    Program::seccomp(program.filter.read_array(program.len.into())?)
}

fn attach(
    thread: &Arc<Thread>,
    flags: SeccompFlags,
    program: Program,
    supervisor: Option<Arc<Supervisor>>,
) -> Result<i32> {
    let sync = thread.process.seccomp_sync.lock();
    let older = thread.seccomp.filter();
    let on_path = older.as_ref().map_or(0, |older| {
        older
            .chain()
            .map(|filter| filter.source().len() + PER_FILTER)
            .sum()
    });
    if on_path + program.code().len() > MAX_ON_PATH {
        return Err(Errno::ENOMEM);
    }
    let listened = |filter: &Arc<Filter>| filter.chain().any(|filter| filter.supervisor.is_some());
    if supervisor.is_some() && older.as_ref().is_some_and(listened) {
        return Err(Errno::EBUSY);
    }
    let others: Vec<_> = if flags.contains(SeccompFlags::TSYNC) {
        let mut threads = thread.process.threads();
        threads.retain(|other| !Arc::ptr_eq(other, thread) && !other.exiting());
        threads
    } else {
        Vec::new()
    };
    if let Some(apart) = others
        .iter()
        .find(|other| !may_follow(other, older.as_ref()))
    {
        return if flags.contains(SeccompFlags::TSYNC_ESRCH) {
            Err(Errno::ESRCH)
        } else {
            Ok(apart.tid() as i32)
        };
    }
    let filter = Arc::new(Filter {
        program,
        older,
        log: flags.contains(SeccompFlags::LOG),
        supervisor,
    });
    let no_new_privs = thread.cred().no_new_privs;
    let mut replaced = vec![install_in(thread, &filter)];
    for other in &others {
        replaced.push(install_in(other, &filter));
        if no_new_privs && !other.cred().no_new_privs {
            let mut cred = (*other.cred()).clone();
            cred.no_new_privs = true;
            other.set_cred(cred);
        }
    }
    drop(sync);
    drop(replaced);
    Ok(0)
}

/// Whether a thread's filters are an older part of the caller's, so that it can take over the caller's.
fn may_follow(thread: &Thread, callers: Option<&Arc<Filter>>) -> bool {
    match (super::mode(thread), thread.seccomp.filter()) {
        (mode::DISABLED, _) => true,
        (mode::FILTER, Some(filter)) => callers.is_some_and(|callers| {
            callers
                .chain()
                .any(|older| core::ptr::eq(older, Arc::as_ptr(&filter)))
        }),
        _ => false,
    }
}

fn install_in(thread: &Thread, filter: &Arc<Filter>) -> Option<Arc<Filter>> {
    let old = thread.seccomp.newest.lock().replace(filter.clone());
    enter_mode(thread, mode::FILTER);
    old
}

/// A new thread is confined as its parent is. It is in its process's list already and has not run yet.
pub fn inherit(parent: &Thread, child: &Thread) {
    let _sync = parent.process.seccomp_sync.lock();
    let mode = parent.seccomp.mode.load(Ordering::Acquire);
    if mode != mode::DISABLED {
        let filter = parent.seccomp.filter();
        *child.seccomp.newest.lock() = filter;
        enter_mode(child, mode);
    }
}
