//! `keel.trace=syscalls`: every call with its arguments and result, in the manner of strace(1), on a serial
//! port of its own (COM3), or in the kernel log where there is none.
//!
//! The text is generated from the table's signatures; strings are read from the caller's memory.

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use keel_abi::table;
use keel_abi::trace::UserText;

use super::Ctx;
use crate::prelude::*;

static ENABLED: AtomicBool = AtomicBool::new(false);
/// Only this process and its descendants are printed; 0 for all.
static ROOT_PID: AtomicU32 = AtomicU32::new(0);

/// Turns tracing on as the command line asks: `syscalls`, or `syscalls:PID` for one process and its children.
pub fn init(option: Option<&str>) {
    let Some(option) = option else { return };
    let (what, pid) = option.split_once(':').unwrap_or((option, "0"));
    if what == "syscalls" {
        ENABLED.store(true, Ordering::Relaxed);
        ROOT_PID.store(pid.parse().unwrap_or(0), Ordering::Relaxed);
    }
}

/// Whether calls are printed at all.
pub fn enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

struct CallerText;

impl UserText for CallerText {
    fn read_text(&self, at: u64, buf: &mut [u8]) -> Result<usize> {
        let mut text = Vec::new();
        keel_hal::user::read_cstr(at as usize, buf.len(), &mut text).map_err(|_| Errno::EFAULT)?;
        let len = text.len().min(buf.len());
        buf[..len].copy_from_slice(&text[..len]);
        Ok(len)
    }
}

fn emit(text: &str) {
    match keel_hal::serial::port(2) {
        Some(port) => port.write(text.as_bytes()),
        None => log::info!("{}", text.trim_end()),
    }
}

fn wanted(cx: &Ctx) -> bool {
    let root = ROOT_PID.load(Ordering::Relaxed);
    if root == 0 {
        return true;
    }
    let mut process = Some(cx.thread.process.clone());
    while let Some(at) = process {
        if at.pid == root {
            return true;
        }
        process = at.parent();
    }
    false
}

/// Calls whose results are printed only at exit would be lost if they never return: these print at entry.
fn prints_at_entry(nr: u64) -> bool {
    use keel_abi::nr;
    let nr = nr as u32;
    nr == nr::EXECVE || nr == nr::EXIT || nr == nr::EXIT_GROUP
}

/// Before the handler runs.
pub fn enter(cx: &mut Ctx, nr: u64, args: [u64; 6]) {
    if enabled() && prints_at_entry(nr) && wanted(cx) {
        let mut line = String::new();
        let _ = write!(line, "[{}] ", cx.thread.tid());
        let _ = describe(nr, &args, &mut line);
        line.push('\n');
        emit(&line);
    }
}

/// After the handler returned.
pub fn exit(cx: &mut Ctx, nr: u64, args: [u64; 6]) {
    if !enabled() || !wanted(cx) {
        return;
    }
    let mut line = String::new();
    let _ = write!(line, "[{}] ", cx.thread.tid());
    let _ = describe(nr, &args, &mut line);
    let _ = line.write_str(" = ");
    let _ = match table::lookup(nr) {
        Some(row) => (row.trace_ret)(cx.user.rax, &mut line),
        None => write!(line, "{:#x}", cx.user.rax),
    };
    line.push('\n');
    emit(&line);
}

fn describe(nr: u64, args: &[u64; 6], line: &mut String) -> core::fmt::Result {
    match table::lookup(nr) {
        Some(row) => row.trace_call(args, line, &CallerText),
        None => write!(line, "syscall_{nr}()"),
    }
}

/// One bit per call number: absent calls are logged once each.
static NOTED: [AtomicU32; table::NR_SYSCALLS.div_ceil(32)] =
    [const { AtomicU32::new(0) }; table::NR_SYSCALLS.div_ceil(32)];

/// Logs the first use of a call that is absent.
pub fn note_absent(nr: u64) {
    let Some(word) = NOTED.get(nr as usize / 32) else {
        return;
    };
    let bit = 1 << (nr % 32);
    if word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        let name = table::lookup(nr).map_or("?", |row| row.name);
        let comm = crate::process::current_opt().map_or_else(String::new, |t| t.comm());
        log::debug!("{comm}: system call {name} ({nr}) is not implemented");
    }
}
