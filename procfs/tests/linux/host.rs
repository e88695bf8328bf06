//! The host's own /proc as a source: each record is parsed out of a snapshot of Linux's text, which is then what the
//! crate must print again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use keel_procfs::{Errno, Result};

/// Texts of /proc as they were when first read.
#[derive(Default)]
pub struct Snapshots {
    texts: Mutex<HashMap<String, Option<Vec<u8>>>>,
}

impl Snapshots {
    /// The bytes of `/proc/PATH`, read once; `None` if Linux does not have or show it.
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let mut texts = self.texts.lock().unwrap();
        texts
            .entry(path.to_owned())
            .or_insert_with(|| std::fs::read(format!("/proc/{path}")).ok())
            .clone()
    }

    pub fn text(&self, path: &str) -> Result<String> {
        let bytes = self.bytes(path).ok_or(Errno::ENOENT)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// One machine: the snapshots, shared by the system and its tasks.
#[derive(Clone, Default)]
pub struct Host {
    pub snapshots: Arc<Snapshots>,
}

/// The words of a line.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A number; panics with the text that is none.
pub fn num<T: std::str::FromStr>(text: &str) -> T {
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("not a number: {text:?}"))
}

pub fn hex(text: &str) -> u64 {
    let text = text.trim();
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16)
        .unwrap_or_else(|_| panic!("not hexadecimal: {text:?}"))
}

/// `NAME: VALUE` lines.
pub fn fields(text: &str) -> HashMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(k, v)| (k.trim(), v.trim()))
        .collect()
}

/// Undoes the octal escapes of mount tables.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'\\' {
            out.push(u8::from_str_radix(&text[at + 1..at + 4], 8).unwrap());
            at += 4;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

pub fn dev(text: &str, radix: u32) -> keel_procfs::DevNo {
    let (major, minor) = text.split_once(':').unwrap();
    keel_procfs::DevNo {
        major: u32::from_str_radix(major, radix).unwrap(),
        minor: u32::from_str_radix(minor, radix).unwrap(),
    }
}
