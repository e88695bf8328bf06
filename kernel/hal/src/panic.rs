//! What happens on a kernel bug: stop the other CPUs, print message, registers and backtrace, hand
//! the text to the kernel's log, then halt, reboot or power off as `panic=` says.
//!
//! Backtraces follow frame pointers. Names come from the section `.keel_symbols`, which the build
//! fills after linking: "KSYM" and a count (u32 each, little-endian), then that many sorted pairs of
//! u32 (offset of the function from [`KERNEL_BASE`], offset of its name from the section's start),
//! then the NUL-terminated names. An unfilled section has count 0.

use core::{
    arch::asm,
    fmt::{self, Write},
    ops::Range,
    panic::PanicInfo,
    sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
};

use crate::{
    addr::KERNEL_BASE, boot, cpu, cpu::local, hooks::hooks, irq, power, serial, sync::IrqLock,
    task, time, trap::TrapFrame,
};

/// Bytes reserved for names.
const SYMBOLS_SIZE: usize = 1 << 20;
const SYMBOLS_MAGIC: u32 = u32::from_le_bytes(*b"KSYM");
/// Most frames that are shown.
const MAX_FRAMES: usize = 32;
/// Most bytes of the text that the kernel's log gets.
const TEXT_SIZE: usize = 8 << 10;

#[repr(C, align(4096))]
struct Symbols([u8; SYMBOLS_SIZE]);

/// Filled in the linked file.
#[used]
#[unsafe(link_section = ".keel_symbols")]
static SYMBOLS: Symbols = {
    let mut bytes = [0; SYMBOLS_SIZE];
    let magic = SYMBOLS_MAGIC.to_le_bytes();
    (bytes[0], bytes[1], bytes[2], bytes[3]) = (magic[0], magic[1], magic[2], magic[3]);
    Symbols(bytes)
};

/// What to do after a panic was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Stop all CPUs.
    Halt,
    /// Reboot after this many seconds.
    Reboot(u32),
    /// Turn the machine off.
    PowerOff,
}

const ACTION_HALT: u32 = u32::MAX;
const ACTION_POWER_OFF: u32 = u32::MAX - 1;
static ACTION: AtomicU32 = AtomicU32::new(ACTION_HALT);
/// The CPU that panics, plus one.
static PANICKING: AtomicUsize = AtomicUsize::new(0);
/// NMIs mean to stop.
static STOP: AtomicBool = AtomicBool::new(false);

/// Sets what a panic does at its end (`panic=`).
pub fn set_action(action: Action) {
    let value = match action {
        Action::Halt => ACTION_HALT,
        Action::PowerOff => ACTION_POWER_OFF,
        Action::Reboot(seconds) => seconds.min(ACTION_POWER_OFF - 1),
    };
    ACTION.store(value, Ordering::Relaxed);
}

/// From now on a CPU that gets an NMI stops.
pub(crate) fn ask_to_stop() {
    STOP.store(true, Ordering::SeqCst);
}

/// An NMI has come.
pub(crate) fn on_nmi() {
    if STOP.load(Ordering::SeqCst) {
        power::stop_current();
    }
}

/// The text of a panic: printed at once and kept for the kernel's log.
struct Text {
    bytes: [u8; TEXT_SIZE],
    len: usize,
}

static TEXT: IrqLock<Text> = IrqLock::new(Text {
    bytes: [0; TEXT_SIZE],
    len: 0,
});

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let n = room.len().min(text.len());
        room[..n].copy_from_slice(&text.as_bytes()[..n]);
        self.len += n;
        serial::early_write(format_args!("{text}"));
        Ok(())
    }
}

/// Panics of the kernel's own code.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let rbp: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    match info.location() {
        Some(at) => {
            let message = info.message();
            die(
                format_args!("{message} at {}:{}", at.file(), at.line()),
                None,
                rbp,
            )
        }
        None => die(format_args!("{}", info.message()), None, rbp),
    }
}

/// An exception in the kernel that it cannot handle.
pub(crate) fn in_trap(message: fmt::Arguments<'_>, frame: &TrapFrame) -> ! {
    die(message, Some(frame), frame.rbp as usize)
}

fn die(message: fmt::Arguments<'_>, frame: Option<&TrapFrame>, rbp: usize) -> ! {
    let _guard = irq::disable();
    let me = local::id();
    match PANICKING.compare_exchange(0, me + 1, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => {}
        // A panic while printing one: stop, what is printed must do.
        Err(by) if by == me + 1 => {
            serial::early_write(format_args!(
                "\nanother panic while printing this one: {message}\n"
            ));
            finish();
        }
        // Another CPU is at it.
        Err(_) => power::stop_current(),
    }
    power::stop_others();
    serial::ignore_locks();
    {
        let mut text = TEXT.lock();
        let _ = describe(&mut text, message, frame, rbp);
    }
    if let Some(hooks) = hooks() {
        let text = TEXT.lock();
        hooks.fatal(core::str::from_utf8(&text.bytes[..text.len]).unwrap_or("kernel panic"));
    }
    finish()
}

fn describe(
    out: &mut Text,
    message: fmt::Arguments<'_>,
    frame: Option<&TrapFrame>,
    rbp: usize,
) -> fmt::Result {
    writeln!(out, "\nKERNEL PANIC: {message}")?;
    write!(out, "CPU: {} of {}", local::id(), cpu::count())?;
    if !local::current().is_null() {
        let task = task::current();
        write!(out, " task: {} ({})", task.name(), task.id())?;
    }
    let now = time::now();
    writeln!(
        out,
        " time: {}.{:06}",
        now / 1_000_000_000,
        now / 1000 % 1_000_000
    )?;
    if let Some(frame) = frame {
        writeln!(out, "{frame}")?;
    }
    writeln!(out, "Backtrace:")?;
    if let Some(frame) = frame {
        write_frame(out, frame.rip as usize)?;
    }
    for address in Frames::from(rbp).take(MAX_FRAMES) {
        write_frame(out, address)?;
    }
    Ok(())
}

fn write_frame(out: &mut Text, address: usize) -> fmt::Result {
    match symbol(address) {
        Some((name, offset)) => writeln!(out, "  {address:016x} {name}+{offset:#x}"),
        None => writeln!(out, "  {address:016x}"),
    }
}

/// Prints the caller's backtrace to the first serial port, without stopping anything.
#[cfg(feature = "lockdep")]
pub(crate) fn print_backtrace() {
    let rbp: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    for address in Frames::from(rbp).take(MAX_FRAMES) {
        let (name, offset) = symbol(address).unwrap_or_default();
        serial::early_write(format_args!("  {address:016x} {name}+{offset:#x}\n"));
    }
}

/// Return addresses on a stack.
pub(crate) struct Frames {
    rbp: usize,
    /// The stack of a task; without one it is the running task's, or one in the image.
    stack: Option<Range<usize>>,
}

impl Frames {
    fn from(rbp: usize) -> Self {
        Frames { rbp, stack: None }
    }

    /// Those from frame `rbp` on.
    ///
    /// # Safety
    /// `stack` is a mapped kernel stack, and nothing runs on it.
    pub(crate) unsafe fn on(rbp: usize, stack: Range<usize>) -> Self {
        let stack = Some(stack);
        Frames { rbp, stack }
    }

    fn holds(&self, addr: usize) -> bool {
        match &self.stack {
            Some(stack) => stack.contains(&addr),
            None => on_stack(addr),
        }
    }
}

impl Iterator for Frames {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let rbp = self.rbp;
        if !rbp.is_multiple_of(8) || !self.holds(rbp) || !self.holds(rbp + 15) {
            return None;
        }
        // SAFETY: both words lie on a kernel stack, which is mapped.
        let (next, address) = unsafe {
            (
                (rbp as *const usize).read(),
                (rbp as *const usize).add(1).read(),
            )
        };
        // Frames lie higher and higher.
        self.rbp = if next > rbp { next } else { 0 };
        boot::image().text.contains(&address).then_some(address)
    }
}

/// Whether an address is on the running task's stack or in the image (boot stack, IST stacks of
/// the boot CPU).
fn on_stack(addr: usize) -> bool {
    let in_task = !local::current().is_null() && {
        let top = task::current().stack_top();
        (top.saturating_sub(task::STACK_SIZE)..top).contains(&addr)
    };
    in_task || boot::image().data.contains(&addr)
}

/// The function that contains `address` and the offset in it.
pub fn symbol(address: usize) -> Option<(&'static str, usize)> {
    // The contents are put there after compilation: the compiler must not think that it knows them.
    let table: &'static [u8] = core::hint::black_box(&SYMBOLS.0);
    let word = |at: usize| Some(u32::from_le_bytes(table.get(at..at + 4)?.try_into().ok()?));
    let offset = u32::try_from(address.checked_sub(KERNEL_BASE)?).ok()?;
    if word(0)? != SYMBOLS_MAGIC {
        return None;
    }
    // The last entry at or below.
    let (mut low, mut high) = (0, word(4)? as usize);
    while low < high {
        let middle = (low + high) / 2;
        if word(8 + middle * 8)? <= offset {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let entry = 8 + low.checked_sub(1)? * 8;
    let name = table.get(word(entry + 4)? as usize..)?;
    let end = name.iter().position(|&byte| byte == 0)?;
    let name = core::str::from_utf8(&name[..end]).ok()?;
    Some((name, (offset - word(entry)?) as usize))
}

/// The end of a panic.
fn finish() -> ! {
    match ACTION.load(Ordering::Relaxed) {
        ACTION_HALT => power::stop_current(),
        ACTION_POWER_OFF => power::off(),
        seconds => {
            serial::early_write(format_args!("Rebooting in {seconds} seconds.\n"));
            time::spin_wait(u64::from(seconds) * 1_000_000_000);
            power::reboot()
        }
    }
}
