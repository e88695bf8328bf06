//! System calls: from registers to a typed handler and back.
//!
//! The dispatch table is generated from the table in `abi/syscalls.tbl`: each row that is full or partial must
//! have a handler here of exactly the row's type, re-exported from one of the family modules. Calls that are
//! absent answer with the row's errno.

mod aio;
mod cred;
mod event;
mod file;
mod fs;
mod futex;
mod handle;
mod ipc;
mod keys;
mod memory;
mod mount;
mod mount_api;
mod mqueue;
mod net;
mod notify;
mod numa;
pub mod poll;
mod ports;
mod prctl;
pub mod process;
mod ptrace;
mod sched;
mod signal;
mod splice;
mod statmount;
pub mod system;
mod sysv;
pub mod time;
mod timer;
pub mod trace;
pub mod work;
mod xattr;

pub use aio::*;
pub use cred::*;
pub use event::*;
pub use file::*;
pub use fs::*;
pub use futex::*;
pub use handle::*;
pub use ipc::*;
pub use keys::*;
pub use memory::*;
pub use mount::*;
pub use mount_api::*;
pub use mqueue::*;
pub use net::*;
pub use notify::*;
pub use numa::*;
pub use poll::*;
pub use ports::*;
pub use prctl::*;
pub use process::*;
pub use ptrace::*;
pub use sched::*;
pub use signal::*;
pub use splice::*;
pub use statmount::*;
pub use system::*;
pub use sysv::*;
pub use time::*;
pub use timer::*;
pub use xattr::*;

use core::sync::atomic::Ordering;
use keel_abi::prelude::*;
use keel_abi::table;
use keel_hal::context::UserContext;

use crate::prelude::{Arc, Errno, Result};
use crate::process::Thread;

/// What a handler gets besides its arguments: who calls, and the registers that it called with.
pub struct Ctx<'a> {
    /// The calling thread.
    pub thread: &'a Arc<Thread>,
    /// Its user-mode registers; `rax` is set from the handler's result.
    pub user: &'a mut UserContext,
}

type Handler = fn(&mut Ctx, &mut ArgRegs) -> u64;

macro_rules! make_table {
    ($(($nr:literal, $name:ident, ($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty)),* $(,)?) => {
        /// One entry function per implemented call: typed arguments in, register out.
        #[allow(unused_variables)]
        mod entry {
            use super::*;
            $(pub fn $name(cx: &mut Ctx, regs: &mut ArgRegs) -> u64 {
                $(let $arg: $ty = regs.next();)*
                let result: Result<$ret> = super::$name(cx, $($arg),*);
                result.into_reg()
            })*
        }

        static HANDLERS: [Handler; table::NR_SYSCALLS] = {
            let mut handlers: [Handler; table::NR_SYSCALLS] = [absent; table::NR_SYSCALLS];
            $(handlers[$nr] = entry::$name;)*
            handlers
        };
    };
}

keel_abi::for_each_implemented_syscall!(make_table);

/// A call that is not there: its row says what it answers.
fn absent(cx: &mut Ctx, _regs: &mut ArgRegs) -> u64 {
    let errno = table::lookup(cx.user.orig_rax).map_or(Errno::ENOSYS, |row| row.errno);
    trace::note_absent(cx.user.orig_rax);
    errno.to_reg()
}

/// Serves the system call that the thread has just made.
pub fn dispatch(cx: &mut Ctx) {
    let nr = cx.user.orig_rax;
    cx.thread.in_syscall.store(nr as i32, Ordering::Relaxed);
    if cx.thread.work() != 0 {
        work::dispatch(cx);
    } else {
        call(cx);
    }
    cx.thread.in_syscall.store(-1, Ordering::Relaxed);
}

/// The arguments of a call in the order of its signature.
pub fn arguments(user: &UserContext) -> [u64; 6] {
    [user.rdi, user.rsi, user.rdx, user.r10, user.r8, user.r9]
}

fn call(cx: &mut Ctx) {
    let handler = usize::try_from(cx.user.orig_rax)
        .ok()
        .and_then(|nr| HANDLERS.get(nr));
    let Some(handler) = handler else {
        cx.user.rax = Errno::ENOSYS.to_reg();
        return;
    };
    let mut regs = ArgRegs::new(arguments(cx.user));
    let value = handler(cx, &mut regs);
    // rt_sigreturn has replaced all registers and marked so.
    if cx.user.orig_rax != u64::MAX {
        cx.user.rax = value;
    }
}
