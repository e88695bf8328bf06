//! How arguments and results print, in the manner of strace(1).
//!
//! Every type of a signature implements [`TraceArg`]. Strings live in user memory, which this crate cannot
//! reach: the caller passes a [`UserText`]. Nothing here allocates or locks.

use core::fmt::{self, Write};

use bitflags::{Bits, Flags};

use crate::args::{DirFd, Fd, Gid, IpcKey, KeySerial, Mode, Pid, Tid, Uid};
use crate::args::{FromReg, IntoReg, UserAddr, UserPtr, UserStr};
use crate::errno::{Errno, Result};

/// Reads strings of the traced program.
pub trait UserText {
    /// Copies bytes from `at` until `buf` is full or a NUL comes, which is not copied. Returns how many.
    ///
    /// # Errors
    /// `EFAULT` if nothing can be read there.
    fn read_text(&self, at: u64, buf: &mut [u8]) -> Result<usize>;
}

/// No memory at hand: strings print as addresses.
pub struct NoUserText;

impl UserText for NoUserText {
    fn read_text(&self, _at: u64, _buf: &mut [u8]) -> Result<usize> {
        Err(Errno::EFAULT)
    }
}

/// A value that prints itself into a trace.
pub trait TraceArg {
    /// Writes the value: descriptors and counts in decimal, flags and numbers by name, addresses in hex.
    fn trace(&self, out: &mut dyn Write, mem: &dyn UserText) -> fmt::Result;
}

/// Prints the argument in a raw register.
pub(crate) fn argument<T: FromReg + TraceArg>(
    raw: u64,
    out: &mut dyn Write,
    mem: &dyn UserText,
) -> fmt::Result {
    T::from_reg(raw).trace(out, mem)
}

/// Prints a return register whose good values are of type `T`.
pub(crate) fn result<T: FromReg + IntoReg + TraceArg>(
    raw: u64,
    out: &mut dyn Write,
) -> fmt::Result {
    match Errno::from_reg(raw) {
        Some(errno) if errno.is_restart() => write!(out, "? {errno:?} ({})", errno.message()),
        Some(errno) => write!(out, "-1 {errno:?} ({})", errno.message()),
        None => T::from_reg(raw).trace(out, &NoUserText),
    }
}

/// The `Debug` of traced types.
pub(crate) fn write_plain<T: TraceArg>(value: &T, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    value.trace(f, &NoUserText)
}

/// `PREFIX_A|PREFIX_B|0x40000000`, or `zero` (else `0`) for the empty value.
pub(crate) fn write_flags<F: Flags>(
    flags: &F,
    out: &mut dyn Write,
    prefix: &str,
    zero: Option<&str>,
) -> fmt::Result
where
    F::Bits: Into<u64>,
{
    if flags.bits() == F::Bits::EMPTY {
        return out.write_str(zero.unwrap_or("0"));
    }
    let mut first = true;
    let mut names = flags.iter_names();
    for (name, _) in names.by_ref() {
        write_separator(&mut first, out)?;
        out.write_str(prefix)?;
        // `_32BIT` is MAP_32BIT.
        let digits = name
            .strip_prefix('_')
            .filter(|n| n.starts_with(|c: char| c.is_ascii_digit()));
        out.write_str(digits.unwrap_or(name))?;
    }
    let rest: u64 = names.remaining().bits().into();
    if rest != 0 {
        write_separator(&mut first, out)?;
        write!(out, "{rest:#x}")?;
    }
    Ok(())
}

/// Writes `|` unless this is the first item.
pub(crate) fn write_separator(first: &mut bool, out: &mut dyn Write) -> fmt::Result {
    if core::mem::take(first) {
        Ok(())
    } else {
        out.write_char('|')
    }
}

/// The name, or the number: small ones in decimal, large ones in hex.
pub(crate) fn write_name<N>(name: Option<&str>, number: N, out: &mut dyn Write) -> fmt::Result
where
    N: fmt::Display + fmt::LowerHex + Copy + TryInto<i64>,
{
    match (name, number.try_into()) {
        (Some(name), _) => out.write_str(name),
        (None, Ok(-0xffff..=0xffff)) => write!(out, "{number}"),
        (None, _) => write!(out, "{number:#x}"),
    }
}

/// How much of a string is printed: the longest path that a call accepts.
const MAX_TEXT: u64 = 4096;

impl TraceArg for UserStr {
    fn trace(&self, out: &mut dyn Write, mem: &dyn UserText) -> fmt::Result {
        let mut chunk = [0; 64];
        let mut done = 0;
        loop {
            let at = self.0.wrapping_add(done);
            let len = match mem.read_text(at, &mut chunk) {
                Ok(len) => len.min(chunk.len()),
                Err(_) if done == 0 => return self.bytes().trace(out, mem),
                Err(_) => return out.write_str("\"..."),
            };
            if done == 0 {
                out.write_char('"')?;
            }
            write_escaped(chunk.get(..len).unwrap_or_default(), out)?;
            done += len as u64;
            if len < chunk.len() {
                return out.write_char('"');
            }
            if done >= MAX_TEXT {
                return out.write_str("\"...");
            }
        }
    }
}

/// Bytes as a C string literal without its quotes. Bytes that have no short escape print as three octal
/// digits, so that no digit after them can be taken for one of theirs.
pub fn write_escaped(bytes: &[u8], out: &mut dyn Write) -> fmt::Result {
    for &byte in bytes {
        match byte {
            b'"' => out.write_str("\\\"")?,
            b'\\' => out.write_str("\\\\")?,
            b'\n' => out.write_str("\\n")?,
            b'\r' => out.write_str("\\r")?,
            b'\t' => out.write_str("\\t")?,
            b' '..=b'~' => out.write_char(char::from(byte))?,
            _ => write!(out, "\\{byte:03o}")?,
        }
    }
    Ok(())
}

macro_rules! trace_as_number {
    ($($ty:ty)*) => {$(
        impl TraceArg for $ty {
            fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
                write!(out, "{self}")
            }
        }
    )*};
}

trace_as_number!(i32 u32 i64 usize isize Fd Pid Tid IpcKey KeySerial);

/// A register whose meaning depends on another argument: small in decimal, large (often a pointer) in hex.
impl TraceArg for u64 {
    fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
        if *self < 0x1000 {
            write!(out, "{self}")
        } else {
            write!(out, "{self:#x}")
        }
    }
}

impl TraceArg for () {
    fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
        out.write_char('0')
    }
}

impl TraceArg for DirFd {
    fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
        match self.fd() {
            Some(fd) => write!(out, "{fd}"),
            None => out.write_str("AT_FDCWD"),
        }
    }
}

macro_rules! trace_owner {
    ($($ty:ty)*) => {$(
        impl TraceArg for $ty {
            fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
                if *self == Self::UNCHANGED { out.write_str("-1") } else { write!(out, "{self}") }
            }
        }
    )*};
}

trace_owner!(Uid Gid);

impl TraceArg for Mode {
    fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
        let ty = match self.0 & Mode::S_IFMT.0 {
            0o010000 => "S_IFIFO|",
            0o020000 => "S_IFCHR|",
            0o040000 => "S_IFDIR|",
            0o060000 => "S_IFBLK|",
            0o100000 => "S_IFREG|",
            0o120000 => "S_IFLNK|",
            0o140000 => "S_IFSOCK|",
            _ => "",
        };
        let rest = if ty.is_empty() {
            self.0
        } else {
            self.permissions().0
        };
        if rest == 0 {
            write!(out, "{ty}000")
        } else {
            write!(out, "{ty}0{rest:o}")
        }
    }
}

impl<T> TraceArg for UserPtr<T> {
    fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
        if self.is_null() {
            out.write_str("NULL")
        } else {
            write!(out, "{self:?}")
        }
    }
}

impl TraceArg for UserAddr {
    fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
        if self.is_null() {
            out.write_str("NULL")
        } else {
            write!(out, "{self:?}")
        }
    }
}
