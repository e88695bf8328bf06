//! The name of a core file, or the helper's command, from `core_pattern` (core(5), "Naming of core dump files").

use core::sync::atomic::Ordering;

use crate::prelude::*;
use crate::process::Thread;

/// What the specifiers of a pattern stand for.
pub struct Facts {
    tid: u32,
    pid: u32,
    uid: u32,
    gid: u32,
    dumpable: u32,
    signo: i32,
    seconds: i64,
    cpu: usize,
    limit: u64,
    host: Vec<u8>,
    comm: Vec<u8>,
    exe: Vec<u8>,
}

impl Facts {
    /// About a process that dies of `signo`.
    pub fn of(thread: &Thread, signo: i32, limit: u64) -> Self {
        let process = &thread.process;
        let cred = thread.cred();
        let exe = process.exe.lock().clone();
        Self {
            tid: thread.tid(),
            pid: process.pid,
            uid: cred.uid,
            gid: cred.gid,
            dumpable: process.dumpable.load(Ordering::Relaxed),
            signo,
            seconds: crate::time::clock::realtime().0,
            cpu: keel_hal::cpu::id(),
            limit,
            host: thread.ns().uts.names().host,
            comm: thread.comm().into_bytes(),
            exe: exe.map_or_else(Vec::new, |file| crate::fs::procfs::shown_path(&file.path)),
        }
    }

    /// Appends what a specifier stands for; nothing for unknown ones. True for the process's number.
    fn expand(&self, specifier: u8, out: &mut Vec<u8>) -> bool {
        let number = |value: u64| format!("{value}").into_bytes();
        let text = match specifier {
            b'%' => vec![b'%'],
            b'p' | b'P' => number(self.pid.into()),
            b'i' | b'I' => number(self.tid.into()),
            b'u' => number(self.uid.into()),
            b'g' => number(self.gid.into()),
            b'd' => number(self.dumpable.into()),
            b's' => number(self.signo.cast_unsigned().into()),
            b't' => number(self.seconds.cast_unsigned()),
            b'C' => number(self.cpu as u64),
            b'c' => number(self.limit),
            b'h' => without_slashes(&self.host),
            b'e' => without_slashes(&self.comm),
            b'f' => {
                let name = self.exe.rsplit(|byte| *byte == b'/').next();
                without_slashes(name.unwrap_or_default())
            }
            b'E' => without_slashes(&self.exe),
            _ => Vec::new(),
        };
        out.extend_from_slice(&text);
        specifier == b'p'
    }
}

/// A text that adds no component to a path: slashes become exclamation marks, and it is not `.` or `..`.
fn without_slashes(text: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = text
        .iter()
        .map(|byte| if *byte == b'/' { b'!' } else { *byte })
        .collect();
    if matches!(out.as_slice(), b"." | b"..")
        && let Some(first) = out.first_mut()
    {
        *first = b'!';
    }
    out
}

/// Replaces the specifiers; true if the process's number is among them.
fn expand(template: &[u8], facts: &Facts) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let mut has_pid = false;
    let mut bytes = template.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                if let Some(specifier) = bytes.next() {
                    has_pid |= facts.expand(*specifier, &mut out);
                }
            }
            _ => out.push(*byte),
        }
    }
    (out, has_pid)
}

/// The file's name; with `uses_pid` it ends in the process's number unless that is in it anyway.
pub fn file_name(template: &[u8], facts: &Facts, uses_pid: bool) -> Vec<u8> {
    let (mut name, has_pid) = expand(template, facts);
    if uses_pid && !has_pid {
        name.push(b'.');
        facts.expand(b'p', &mut name);
    }
    name
}

/// The helper's arguments. The pattern is split first: what a specifier stands for is never two arguments.
pub fn command(template: &[u8], facts: &Facts) -> Vec<Vec<u8>> {
    template
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| expand(word, facts).0)
        .collect()
}
