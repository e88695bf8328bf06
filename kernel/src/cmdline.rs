//! The kernel command line, with Linux's names (bootparam(7), kernel-parameters) and our own under `keel.`.
//!
//! Words that nobody knows are passed to init: `name=value` into its environment, others as arguments, and
//! everything behind ` -- ` as arguments.

use keel_hal::boot;

use crate::prelude::*;

/// The command line, split.
pub struct CommandLine {
    /// `name` or `name=value`, in order, quotes removed.
    words: Vec<String>,
    /// Words behind `--`.
    init_args: Vec<String>,
}

static LINE: OnceLock<CommandLine> = OnceLock::new();

/// The parsed command line.
pub fn get() -> &'static CommandLine {
    LINE.call_once(|| CommandLine::parse(boot::command_line()))
}

/// Applies options that other modules do not ask for themselves.
pub fn init() {
    let line = get();
    let panic_action = match line.value("panic").and_then(|v| v.parse::<i32>().ok()) {
        Some(0) | None => keel_hal::panic::Action::Halt,
        Some(n) if n < 0 => keel_hal::panic::Action::Reboot(0),
        Some(n) => keel_hal::panic::Action::Reboot(n.unsigned_abs()),
    };
    keel_hal::panic::set_action(panic_action);
    crate::syscall::trace::init(line.value("keel.trace"));
}

impl CommandLine {
    /// Splits at white space outside double quotes.
    fn parse(text: &str) -> Self {
        let mut words = Vec::new();
        let mut word = String::new();
        let mut quoted = false;
        for c in text.chars() {
            match c {
                '"' => quoted = !quoted,
                c if c.is_ascii_whitespace() && !quoted => {
                    if !word.is_empty() {
                        words.push(core::mem::take(&mut word));
                    }
                }
                c => word.push(c),
            }
        }
        if !word.is_empty() {
            words.push(word);
        }
        let init_args = match words.iter().position(|word| word == "--") {
            Some(at) => words.split_off(at).into_iter().skip(1).collect(),
            None => Vec::new(),
        };
        Self { words, init_args }
    }

    /// Whether a word without value is there.
    pub fn has(&self, name: &str) -> bool {
        self.words.iter().any(|word| word == name)
    }

    /// The value of the last `name=value`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).pop()
    }

    /// All values of `name=value` in order.
    pub fn values<'a>(&'a self, name: &str) -> Vec<&'a str> {
        let value = |word: &'a String| word.strip_prefix(name)?.strip_prefix('=');
        self.words.iter().filter_map(value).collect()
    }

    /// Arguments for init: unknown words and those behind `--`.
    pub fn init_args(&self) -> impl Iterator<Item = &str> {
        let unknown = self
            .words
            .iter()
            .filter(|w| !w.contains('=') && !KNOWN.contains(&w.as_str()));
        let bare = unknown.filter(|word| !word.contains('.'));
        bare.chain(&self.init_args).map(String::as_str)
    }

    /// Environment for init: unknown `name=value` words.
    pub fn init_env(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str).filter(|word| {
            word.split_once('=')
                .is_some_and(|(name, _)| !KNOWN.contains(&name) && !name.contains('.'))
        })
    }
}

/// Words that are for the kernel.
const KNOWN: &[&str] = &[
    "root",
    "rootfstype",
    "rootflags",
    "rootwait",
    "rootdelay",
    "ro",
    "rw",
    "init",
    "rdinit",
    "console",
    "quiet",
    "debug",
    "loglevel",
    "mem",
    "nosmp",
    "maxcpus",
    "nr_cpus",
    "panic",
    "earlyprintk",
    "mitigations",
    "noapic",
    "nolapic",
    "initrd",
    "BOOT_IMAGE",
    "ignore_loglevel",
];
