//! [`Text`]: the buffer that all formatters append to, and the small pieces that formats share.
//!
//! Growth is fallible: a formatter that runs out of memory ends with `ENOMEM`. `write!` works through
//! [`core::fmt::Write`]; raw bytes (paths, names) go through [`Text::bytes`] and [`Text::escaped`].

use alloc::vec::Vec;
use core::fmt;

use keel_abi::{Errno, Result};

/// A growing byte buffer with fallible growth.
#[derive(Debug, Default, Clone)]
pub struct Text {
    buf: Vec<u8>,
}

/// Appends formatted text and turns the one possible failure into `ENOMEM`.
///
/// `put!(text, "fmt", args…)` is an expression of type `Result<()>`.
#[macro_export]
macro_rules! put {
    ($text:expr, $($arg:tt)*) => { $text.fmt(::core::format_args!($($arg)*)) };
}

impl Text {
    /// An empty buffer; allocates nothing.
    pub const fn new() -> Self {
        Text { buf: Vec::new() }
    }

    /// What has been written so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buf
    }

    /// The buffer itself.
    pub fn into_vec(self) -> Vec<u8> {
        self.buf
    }

    /// Number of bytes written so far.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Forgets the content and keeps the memory.
    pub fn clear(&mut self) {
        self.buf.clear();
    }

    /// Cuts the content to `len` bytes; longer than the content changes nothing.
    pub fn truncate(&mut self, len: usize) {
        self.buf.truncate(len);
    }

    /// Appends formatted text. Errors: `ENOMEM`.
    pub fn fmt(&mut self, args: fmt::Arguments<'_>) -> Result<()> {
        fmt::Write::write_fmt(self, args).map_err(|_| Errno::ENOMEM)
    }

    /// Appends raw bytes. Errors: `ENOMEM`.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.buf
            .try_reserve(bytes.len())
            .map_err(|_| Errno::ENOMEM)?;
        self.buf.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends a string. Errors: `ENOMEM`.
    pub fn str(&mut self, text: &str) -> Result<()> {
        self.bytes(text.as_bytes())
    }

    /// Appends `bytes` with each byte that occurs in `special` as a backslash and three octal digits: the
    /// form of mount tables and maps. Errors: `ENOMEM`.
    pub fn escaped(&mut self, bytes: &[u8], special: &[u8]) -> Result<()> {
        for &byte in bytes {
            if special.contains(&byte) {
                put!(self, "\\{:03o}", byte)?;
            } else {
                self.bytes(&[byte])?;
            }
        }
        Ok(())
    }

    /// Appends blanks until the current line, begun at `line_start`, is `width` bytes wide.
    pub fn pad_line(&mut self, line_start: usize, width: usize) -> Result<()> {
        while self.buf.len() < line_start.saturating_add(width) {
            self.bytes(b" ")?;
        }
        Ok(())
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.bytes(s.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// What mount tables escape in every field.
pub const MANGLED: &[u8] = b" \t\n\\#";

/// What mountinfo and mounts escape in a path.
pub const MANGLED_PATH: &[u8] = b" \t\n\\";

/// Strips ASCII blanks at both ends, and a terminating NUL, of what a program wrote to a file.
pub fn trim(data: &[u8]) -> &[u8] {
    let end = data.iter().position(|&b| b == 0).unwrap_or(data.len());
    data.get(..end).unwrap_or(data).trim_ascii()
}

/// Parses a whole written value as a number, `0x` and `0` prefixes included as `kstrtol(…, 0, …)` takes them.
///
/// Errors: `EINVAL` for anything that is not one number; `ERANGE` when it does not fit.
pub fn number(data: &[u8]) -> Result<i64> {
    let text = trim(data);
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let magnitude = unsigned(digits)?;
    if negative {
        0i64.checked_sub_unsigned(magnitude).ok_or(Errno::ERANGE)
    } else {
        i64::try_from(magnitude).map_err(|_| Errno::ERANGE)
    }
}

/// Parses a whole written value as an unsigned number, with the prefixes that [`number`] takes.
///
/// Errors: `EINVAL`, `ERANGE`.
pub fn unsigned(data: &[u8]) -> Result<u64> {
    let text = trim(data);
    let (radix, digits) = match text {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', rest @ ..] if !rest.is_empty() => (8, rest),
        _ => (10, text),
    };
    if digits.is_empty() {
        return Err(Errno::EINVAL);
    }
    digits.iter().try_fold(0u64, |value, &byte| {
        let digit = char::from(byte).to_digit(radix).ok_or(Errno::EINVAL)?;
        value
            .checked_mul(u64::from(radix))
            .and_then(|v| v.checked_add(u64::from(digit)))
            .ok_or(Errno::ERANGE)
    })
}
