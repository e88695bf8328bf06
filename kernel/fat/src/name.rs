//! Names: UTF-8 outside, UTF-16 in long entries, upper-case code page 437 (here: ASCII) in short ones.

use alloc::string::String;
use alloc::vec::Vec;
use keel_abi::{Errno, Result};

/// Longest name, in UTF-16 units.
const LONGEST: usize = 255;

/// A short name as an entry has it: eight and three bytes, padded with blanks.
pub(crate) type Short = [u8; 11];

/// A name as it will be stored: EINVAL, ENAMETOOLONG. Trailing dots do not count.
pub(crate) fn check(name: &[u8]) -> Result<&str> {
    let text = core::str::from_utf8(name).map_err(|_| Errno::EINVAL)?;
    let text = text.trim_end_matches('.');
    if text.is_empty() {
        return Err(Errno::ENOENT);
    }
    let bad = |c: char| (c as u32) < 0x20 || "\"*/:<>?\\|".contains(c);
    if text.chars().any(bad) || text.ends_with(' ') {
        return Err(Errno::EINVAL);
    }
    if text.encode_utf16().count() > LONGEST {
        return Err(Errno::ENAMETOOLONG);
    }
    Ok(text)
}

/// Whether two names are the same but for case and trailing dots.
pub(crate) fn same(a: &str, b: &str) -> bool {
    let fold = |text: &str| -> Vec<char> {
        let text = text.trim_end_matches('.');
        text.chars().flat_map(char::to_uppercase).collect()
    };
    a == b || fold(a) == fold(b)
}

fn fits_short(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"$%'-_@~`!(){}^#&".contains(&byte)
}

/// The short name of a name that needs no long entries: upper case, eight and three.
pub(crate) fn exact_short(name: &str) -> Option<Short> {
    let (base, extension) = match name.rsplit_once('.') {
        Some((base, extension)) => (base, extension),
        None => (name, ""),
    };
    let fits = |part: &str, most: usize| part.len() <= most && part.bytes().all(fits_short);
    if base.is_empty() || !fits(base, 8) || !fits(extension, 3) || name.ends_with('.') {
        return None;
    }
    Some(padded(base.as_bytes(), extension.as_bytes()))
}

fn padded(base: &[u8], extension: &[u8]) -> Short {
    let mut short = [b' '; 11];
    for (to, from) in short[..8].iter_mut().zip(base) {
        *to = *from;
    }
    for (to, from) in short[8..].iter_mut().zip(extension) {
        *to = *from;
    }
    short
}

/// A short name that stands beside a long one, different from all that `taken` knows.
pub(crate) fn make_short(name: &str, taken: impl Fn(&Short) -> bool) -> Result<Short> {
    let squeeze = |part: &str, most: usize| -> Vec<u8> {
        let usable = part.chars().filter(|c| !matches!(c, ' ' | '.'));
        let upper = usable.map(|c| match c.to_ascii_uppercase() {
            c if c.is_ascii() && fits_short(c as u8) => c as u8,
            _ => b'_',
        });
        upper.take(most).collect()
    };
    let trimmed = name.trim_start_matches('.');
    let (base, extension) = match trimmed.rsplit_once('.') {
        Some((base, extension)) => (base, extension),
        None => (trimmed, ""),
    };
    let mut base = squeeze(base, 8);
    if base.is_empty() {
        base.push(b'_');
    }
    let extension = squeeze(extension, 3);
    for number in 1..1_000_000_u32 {
        let mut digits = Vec::new();
        let mut left = number;
        while left > 0 {
            digits.push(b'0' + (left % 10) as u8);
            left /= 10;
        }
        digits.push(b'~');
        digits.reverse();
        let mut with = base.clone();
        with.truncate(8 - digits.len());
        with.extend_from_slice(&digits);
        let short = padded(&with, &extension);
        if !taken(&short) {
            return Ok(short);
        }
    }
    Err(Errno::EEXIST)
}

/// How a short name is shown; `case` has the bits of Windows NT for lower-case base and extension.
pub(crate) fn show_short(short: &Short, case: u8) -> String {
    const LOWER_BASE: u8 = 0x08;
    const LOWER_EXTENSION: u8 = 0x10;
    let part = |bytes: &[u8], lower: bool| -> String {
        let end = bytes
            .iter()
            .rposition(|b| *b != b' ')
            .map_or(0, |at| at + 1);
        let chars = bytes[..end].iter().map(|byte| match *byte {
            b if !b.is_ascii() => '_',
            b if lower => b.to_ascii_lowercase() as char,
            b => b as char,
        });
        chars.collect()
    };
    let mut bytes = *short;
    // The first byte of a deleted entry means that; 0x05 stands for it.
    if bytes[0] == 0x05 {
        bytes[0] = 0xe5;
    }
    let mut name = part(&bytes[..8], case & LOWER_BASE != 0);
    let extension = part(&bytes[8..], case & LOWER_EXTENSION != 0);
    if !extension.is_empty() {
        name.push('.');
        name.push_str(&extension);
    }
    name
}

/// The checksum by which long entries know their short one.
pub(crate) fn checksum(short: &Short) -> u8 {
    short
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// UTF-16 units as text.
pub(crate) fn from_utf16(units: &[u16]) -> String {
    String::from_utf16_lossy(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names() {
        assert_eq!(exact_short("README.TXT"), Some(*b"README  TXT"));
        assert_eq!(exact_short("readme.txt"), None);
        assert_eq!(exact_short("A.B.C"), None);
        let short = make_short("Long file name.html", |_| false);
        assert_eq!(short, Ok(*b"LONGFI~1HTM"));
        let second = make_short("Long file name.html", |s| s == b"LONGFI~1HTM");
        assert_eq!(second, Ok(*b"LONGFI~2HTM"));
        assert_eq!(show_short(b"README  TXT", 0x18), "readme.txt");
        assert_eq!(show_short(b"MAKE       ", 0), "MAKE");
    }

    #[test]
    fn folding() {
        assert!(same("Straße.txt", "STRASSE.TXT") && same("ÄÖ", "äö") && same("a.", "A"));
        assert!(!same("a", "b"));
        assert_eq!(check(b"a:b"), Err(Errno::EINVAL));
        assert_eq!(check(b"..."), Err(Errno::ENOENT));
    }
}
