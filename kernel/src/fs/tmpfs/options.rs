//! Mount options of tmpfs (tmpfs(5)).

use core::fmt::Write;

use crate::prelude::*;

/// The options that were given.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `size=` or `nr_blocks=`, in pages; `u64::MAX` for no limit.
    pub max_pages: Option<u64>,
    /// `nr_inodes=`.
    pub max_inodes: Option<u64>,
    /// `mode=`: permissions of the root.
    pub mode: Option<u32>,
    /// `uid=`: owner of the root.
    pub uid: Option<u32>,
    /// `gid=`: group of the root.
    pub gid: Option<u32>,
}

/// The limit when none is given: half of the memory.
pub fn default_pages() -> u64 {
    keel_hal::frame::stats().total as u64 / 2
}

impl Options {
    /// From the text of mount(2): EINVAL for what is unknown or malformed.
    pub fn parse(data: &[u8]) -> Result<Self> {
        let text = core::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        let mut options = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            options.set(name, value).ok_or(Errno::EINVAL)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        let unlimited = |n: u64| if n == 0 { u64::MAX } else { n };
        match name {
            "size" => self.max_pages = Some(unlimited(size_in_pages(value)?)),
            "nr_blocks" => self.max_pages = Some(unlimited(number(value)?)),
            "nr_inodes" => self.max_inodes = Some(unlimited(number(value)?)),
            "mode" => self.mode = Some(u32::from_str_radix(value, 8).ok()? & 0o7777),
            "uid" => self.uid = Some(value.parse().ok()?),
            "gid" => self.gid = Some(value.parse().ok()?),
            // Inode numbers have 64 bits and start low: both are true.
            "inode32" | "inode64" if value.is_empty() => {}
            "huge" if matches!(value, "never" | "advise" | "within_size" | "always") => {}
            "mpol" if value.starts_with("default") || value.starts_with("local") => {}
            _ => return None,
        }
        Some(())
    }

    /// Takes over what a remount says.
    pub fn update(&mut self, new: &Self) {
        self.max_pages = new.max_pages.or(self.max_pages);
        self.max_inodes = new.max_inodes.or(self.max_inodes);
    }

    /// As /proc/mounts shows them.
    pub fn show(&self, out: &mut String) {
        let limited = |max: &u64| *max != u64::MAX;
        // Writing to a string does not fail.
        if let Some(pages) = self.max_pages.filter(limited) {
            let _ = write!(out, ",size={}k", pages * (PAGE_SIZE as u64 / 1024));
        }
        if let Some(inodes) = self.max_inodes.filter(limited) {
            let _ = write!(out, ",nr_inodes={inodes}");
        }
        if let Some(mode) = self.mode.filter(|mode| *mode != 0o1777) {
            let _ = write!(out, ",mode={mode:o}");
        }
        if let Some(uid) = self.uid.filter(|uid| *uid != 0) {
            let _ = write!(out, ",uid={uid}");
        }
        if let Some(gid) = self.gid.filter(|gid| *gid != 0) {
            let _ = write!(out, ",gid={gid}");
        }
    }
}

/// A number with an optional suffix k, m, g, t.
fn number(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        b't' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Bytes, or a share of the memory in per cent, in pages rounded up.
fn size_in_pages(text: &str) -> Option<u64> {
    if let Some(share) = text.strip_suffix('%') {
        let share: u64 = share.parse().ok()?;
        return (keel_hal::frame::stats().total as u64)
            .checked_mul(share)
            .map(|n| n / 100);
    }
    Some(number(text)?.div_ceil(PAGE_SIZE as u64))
}
