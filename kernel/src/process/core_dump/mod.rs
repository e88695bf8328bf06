//! Core files (core(5)).
//!
//! The thread whose signal kills the process writes the file ([`dump`]): it sends the others to their end, where they
//! hand in their registers and wait ([`attend`]); then it gathers what the file tells ([`image`]), opens the file or
//! starts the helper that `core_pattern` names ([`pattern`], [`super::helper`]), and writes.

mod image;
mod pattern;
mod sink;

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use keel_abi::args::DirFd;
use keel_abi::flags::OpenFlags;
use keel_hal::sync::Completion;
use keel_hal::task;

use super::ptrace::{self, RegisterWords};
use super::rlimit::Resource;
use super::signal::SigInfo;
use super::{Process, Thread, helper};
use crate::fs::namei::LookupFlags;
use crate::fs::{File, change, namei};
use crate::prelude::*;
use crate::syscall::Ctx;
use pattern::Facts;
use sink::Sink;

/// `kernel.core_pattern`.
pub static PATTERN: SpinLock<Option<Vec<u8>>> = SpinLock::new(None);
/// The pattern until somebody sets one.
pub const DEFAULT_PATTERN: &[u8] = b"core";
/// `kernel.core_uses_pid`: file names without %p get a `.PID` at the end.
pub static USES_PID: AtomicBool = AtomicBool::new(false);
/// `fs.suid_dumpable`: what programs that gained privileges have as PR_GET_DUMPABLE.
pub static SUID_DUMPABLE: AtomicU32 = AtomicU32::new(0);

/// Only root may read the core file (PR_GET_DUMPABLE is 2).
const DUMP_AS_ROOT: u32 = 2;

/// What a thread looked like when it died.
struct Corpse {
    thread: Arc<Thread>,
    regs: RegisterWords,
    xstate: Vec<u8>,
    /// Its signal mask before the dump.
    blocked: u64,
}

/// A dump that is going on.
pub struct Dump {
    dumper: Weak<Thread>,
    /// The other threads, once they stand still.
    corpses: SpinLock<Vec<Corpse>>,
    done: Completion,
}

/// `kernel.core_pattern` as it is now.
pub fn pattern() -> Vec<u8> {
    let pattern = PATTERN.lock();
    pattern.as_deref().unwrap_or(DEFAULT_PATTERN).to_vec()
}

fn corpse_of(cx: &Ctx) -> Corpse {
    let me = task::current();
    Corpse {
        thread: cx.thread.clone(),
        regs: ptrace::general_registers(cx.user, me.segment_bases()),
        xstate: ptrace::xstate_of(&me).unwrap_or_default(),
        blocked: cx.thread.signals.blocked(),
    }
}

/// The thread is about to end: if a core file of its process is being written, it waits for that.
pub fn attend(cx: &Ctx) {
    let process = &cx.thread.process;
    let Some(dump) = process.dump.lock().clone() else {
        return;
    };
    if core::ptr::eq(dump.dumper.as_ptr(), Arc::as_ptr(cx.thread)) {
        return;
    }
    dump.corpses.lock().push(corpse_of(cx));
    process.thread_gone.wake_all();
    dump.done.wait();
}

/// Writes a core file of the running process if its limits ask for one; true if it did.
pub fn dump(cx: &mut Ctx, info: &SigInfo) -> bool {
    let process = cx.thread.process.clone();
    if process.dumpable.load(Ordering::Relaxed) == 0 || process.group_exiting() {
        return false;
    }
    let template = pattern();
    let limit = process.rlimits.soft(Resource::Core);
    let piped = template.first() == Some(&b'|');
    // A helper's own crash must not start another helper; files need room for the headers at least.
    if (piped && limit == 1) || (!piped && limit < PAGE_SIZE as u64) {
        return false;
    }
    let corpse = corpse_of(cx);
    let dump = Arc::new(Dump {
        dumper: Arc::downgrade(cx.thread),
        corpses: SpinLock::new(Vec::new()),
        done: Completion::new(),
    });
    {
        let mut slot = process.dump.lock();
        if slot.is_some() {
            return false;
        }
        *slot = Some(dump.clone());
    }
    // From here on only SIGKILL disturbs.
    cx.thread.set_blocked(u64::MAX);
    task::current().clear_interrupt();
    let dumped = gather(cx.thread, &dump, info.signo())
        && write(cx.thread, corpse, &dump, info, &template, limit);
    *process.dump.lock() = None;
    dump.done.complete_all();
    dumped
}

/// Waits until all other threads stand still: false if the process is killed meanwhile.
fn gather(me: &Arc<Thread>, dump: &Dump, signo: i32) -> bool {
    let process = &me.process;
    let missing = || {
        let mut threads = process.threads();
        let corpses = dump.corpses.lock();
        threads.retain(|other| {
            !Arc::ptr_eq(other, me)
                && !corpses
                    .iter()
                    .any(|corpse| Arc::ptr_eq(&corpse.thread, other))
        });
        threads
    };
    for other in missing() {
        other.request_exit(signo);
        other.kill();
    }
    process
        .thread_gone
        .wait(SleepMode::Killable, None, || {
            missing().is_empty().then_some(())
        })
        .is_ok()
}

/// Whether a new thread must not come to life because a core file is being written.
pub fn in_progress(process: &Process) -> bool {
    process.dump.lock().is_some()
}

fn write(
    thread: &Arc<Thread>,
    first: Corpse,
    dump: &Dump,
    info: &SigInfo,
    template: &[u8],
    limit: u64,
) -> bool {
    let as_root = thread.process.dumpable.load(Ordering::Relaxed) == DUMP_AS_ROOT;
    let facts = Facts::of(thread, info.signo(), limit);
    let opened = match template.split_first() {
        Some((b'|', command)) => open_pipe(command, &facts),
        _ => open_file(thread, template, &facts, as_root, limit),
    };
    let mut sink = match opened {
        Ok(sink) => sink,
        Err(error) => {
            log::debug!("{}: no core file: {error:?}", thread.comm());
            return false;
        }
    };
    let mut corpses = vec![first];
    corpses.append(&mut dump.corpses.lock());
    match image::write(thread, &corpses, info, &mut sink) {
        Ok(()) => true,
        Err(error) => {
            log::debug!("{}: core file cut short: {error:?}", thread.comm());
            sink.begun()
        }
    }
}

fn open_pipe(command: &[u8], facts: &Facts) -> Result<Sink> {
    let argv = pattern::command(command, facts);
    if argv
        .first()
        .is_none_or(|program| !program.starts_with(b"/"))
    {
        return Err(Errno::ENOENT);
    }
    let (reader, writer) = crate::ipc::pipe::create(OpenFlags::empty());
    helper::start(argv, reader)?;
    Ok(Sink::stream(writer))
}

/// Opens a fresh file that belongs to the process's user, or to root for a process that has secrets. Links of either
/// kind are not followed.
fn open_file(
    thread: &Arc<Thread>,
    template: &[u8],
    facts: &Facts,
    as_root: bool,
    limit: u64,
) -> Result<Sink> {
    let mut name = pattern::file_name(template, facts, USES_PID.load(Ordering::Relaxed));
    if name.is_empty() {
        name.extend_from_slice(DEFAULT_PATTERN);
    }
    if as_root {
        // A place that the user could choose is no place for secrets.
        if !name.starts_with(b"/") {
            return Err(Errno::EPERM);
        }
        let mut cred = (*thread.cred()).clone();
        cred.fsuid = 0;
        cred.fsgid = 0;
        thread.set_cred(cred);
    } else if let Ok(parent) = namei::lookup_parent(thread, DirFd::CWD, &name) {
        // That there is no old one is the usual case.
        let _ = change::unlink(&parent, &thread.cred());
    }
    let flags = OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::RDWR | OpenFlags::NOFOLLOW;
    let file: Arc<File> = crate::fs::open(
        thread,
        DirFd::CWD,
        &name,
        flags,
        0o600,
        LookupFlags::empty(),
    )?;
    let attr = file.inode.attr();
    if !file.inode.is_regular() || attr.nlink > 1 || attr.uid != thread.cred().fsuid {
        return Err(Errno::EPERM);
    }
    Ok(Sink::file(file, limit))
}
