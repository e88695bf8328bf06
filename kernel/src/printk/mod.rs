//! The kernel log: a ring of records behind /dev/kmsg and syslog(2), copied to the console as `loglevel=` says.

mod kmsg;
pub mod syslog;

pub use kmsg::open_kmsg;

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::prelude::*;

/// Bytes of text that the ring keeps.
pub const RING_BYTES: usize = 256 << 10;
/// Records with a level below this go to the console (syslog(2), `console_loglevel`).
static CONSOLE_LEVEL: AtomicU8 = AtomicU8::new(7);
/// The console shows user output now: only errors are mixed into it.
static QUIET: AtomicBool = AtomicBool::new(false);

/// One record of the log.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// Counts up from 0.
    pub seq: u64,
    /// Nanoseconds since boot.
    pub time_ns: u64,
    /// Facility and level (`<N>` of syslog).
    pub priority: u8,
    /// The text without a newline.
    pub text: Vec<u8>,
}

#[derive(Default)]
struct Ring {
    records: VecDeque<LogRecord>,
    bytes: usize,
    next_seq: u64,
    /// syslog(SYSLOG_ACTION_CLEAR) hides what is before this.
    cleared: u64,
}

static RING: IrqLock<Option<Ring>> = IrqLock::new(None);
/// Woken when a record comes in.
static READERS: OnceLock<Arc<WaitQueue>> = OnceLock::new();

/// The queue that readers of the log sleep in.
pub fn readers() -> &'static Arc<WaitQueue> {
    READERS.call_once(|| Arc::new(WaitQueue::new()))
}

struct KernelLog;

/// syslog's numbers of the `log` crate's levels.
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

impl Log for KernelLog {
    fn enabled(&self, _metadata: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        let text = format!("{}", record.args());
        for line in text.lines() {
            store(severity(record.level()), line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Adds a record and shows it on the console if its level is low enough. `priority` is facility << 3 | level.
pub fn store(priority: u8, text: &[u8]) {
    let now = keel_hal::time::now();
    {
        let mut guard = RING.lock();
        let ring = guard.get_or_insert_with(Ring::default);
        let seq = ring.next_seq;
        ring.next_seq += 1;
        ring.bytes += text.len();
        ring.records.push_back(LogRecord {
            seq,
            time_ns: now,
            priority,
            text: text.to_vec(),
        });
        while ring.bytes > RING_BYTES {
            let Some(old) = ring.records.pop_front() else {
                break;
            };
            ring.bytes -= old.text.len();
        }
    }
    let level = priority & 7;
    let limit = if QUIET.load(Ordering::Relaxed) {
        4
    } else {
        CONSOLE_LEVEL.load(Ordering::Relaxed)
    };
    if level < limit {
        let line = format!(
            "[{:5}.{:06}] {}\r\n",
            now / 1_000_000_000,
            now / 1000 % 1_000_000,
            String::from_utf8_lossy(text)
        );
        console_write(line.as_bytes());
    }
    if let Some(readers) = READERS.get() {
        readers.wake_all();
    }
}

fn console_write(bytes: &[u8]) {
    if let Some(port) = keel_hal::serial::port(0) {
        port.write(bytes);
    }
}

/// Installs the logger and reads `quiet`, `debug` and `loglevel=`.
pub fn init() {
    if log::set_logger(&KernelLog).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
    let words = keel_hal::boot::command_line();
    let has = |word: &str| words.split_ascii_whitespace().any(|w| w == word);
    if has("quiet") {
        set_console_level(4);
    }
    if has("debug") {
        set_console_level(8);
    }
    if let Some(level) = keel_hal::boot::parameter("loglevel").and_then(|v| v.parse::<u8>().ok()) {
        set_console_level(level);
    }
    readers();
    log::info!(
        "Linux version {} (keel) {}",
        crate::syscall::RELEASE,
        crate::syscall::VERSION
    );
    log::info!("Command line: {words}");
}

/// Records below this level are shown on the console.
pub fn console_level() -> u8 {
    CONSOLE_LEVEL.load(Ordering::Relaxed)
}

/// Sets the console's level, 1 to 8.
pub fn set_console_level(level: u8) {
    CONSOLE_LEVEL.store(level.clamp(1, 8), Ordering::Relaxed);
}

/// A record with number `seq` or the first one behind it that is still there.
pub fn record_at(seq: u64) -> Option<LogRecord> {
    let guard = RING.lock();
    let ring = guard.as_ref()?;
    let first = ring.records.front()?.seq;
    let at = usize::try_from(seq.saturating_sub(first)).ok()?;
    ring.records.get(at).cloned()
}

/// Number of the oldest record, of the oldest since the last clear, and of the next to come.
pub fn bounds() -> (u64, u64, u64) {
    let guard = RING.lock();
    let Some(ring) = guard.as_ref() else {
        return (0, 0, 0);
    };
    let first = ring
        .records
        .front()
        .map_or(ring.next_seq, |record| record.seq);
    (first, ring.cleared.max(first), ring.next_seq)
}

/// Hides all present records from syslog(SYSLOG_ACTION_READ_ALL).
pub fn clear() {
    if let Some(ring) = RING.lock().as_mut() {
        ring.cleared = ring.next_seq;
    }
}

/// A record as /dev/kmsg gives it.
pub fn kmsg_line(record: &LogRecord) -> Vec<u8> {
    let mut line = format!(
        "{},{},{},-;",
        record.priority,
        record.seq,
        record.time_ns / 1000
    )
    .into_bytes();
    for byte in &record.text {
        if *byte < 32 || *byte >= 127 || *byte == b'\\' {
            line.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        } else {
            line.push(*byte);
        }
    }
    line.push(b'\n');
    line
}

/// A record as syslog(2) gives it.
pub fn syslog_line(record: &LogRecord) -> Vec<u8> {
    let mut line = format!(
        "<{}>[{:5}.{:06}] ",
        record.priority,
        record.time_ns / 1_000_000_000,
        record.time_ns / 1000 % 1_000_000
    )
    .into_bytes();
    line.extend_from_slice(&record.text);
    line.push(b'\n');
    line
}

/// The text of a panic: it has been printed already, and is kept for whoever looks at memory.
pub fn fatal(message: &str) {
    let now = keel_hal::time::now();
    if let Some(mut guard) = RING.try_lock()
        && let Some(ring) = guard.as_mut()
    {
        let seq = ring.next_seq;
        ring.next_seq += 1;
        let text = message.as_bytes().to_vec();
        ring.records.push_back(LogRecord {
            seq,
            time_ns: now,
            priority: 0,
            text,
        });
    }
}
