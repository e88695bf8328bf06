//! binfmt_misc: interpreters for files by magic bytes or by extension, registered at run time.
//!
//! The rules, their text forms and their matching; the kernel keeps the list, the open interpreters of rules with
//! flag `F`, and the file system. Rules are tried before scripts and ELF, the newest first.
//!
//! Specification: Linux's admin guide, "Kernel Support for miscellaneous Binary Formats".

use alloc::vec::Vec;
use core::fmt::{self, Write};

use crate::Errno;
use crate::args::{ExecArgs, copy_bytes};
use crate::elf::HEAD_SIZE;

/// The longest line that `register` takes.
pub const MAX_LINE: usize = 1920;
/// The shortest that can be right.
const MIN_LINE: usize = 11;

/// The flags of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags {
    /// `P`: the interpreter also gets the original `argv[0]`, as third argument, and
    /// [`crate::stack::AT_FLAGS_PRESERVE_ARGV0`].
    pub preserve_argv0: bool,
    /// `O`: the interpreter gets the file open, as `AT_EXECFD`.
    pub open_binary: bool,
    /// `C`: credentials come from the file, not from the interpreter. Implies `O`.
    pub credentials: bool,
    /// `F`: the interpreter is opened at registration and works in other mount namespaces.
    pub fix_binary: bool,
}

/// What a rule looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Bytes of the file, compared under a mask.
    Magic {
        /// Where, counted from the file's start.
        offset: usize,
        /// What; never empty.
        bytes: Vec<u8>,
        /// Which bits count; as long as `bytes`. `None` means all.
        mask: Option<Vec<u8>>,
    },
    /// The part of the path behind its last dot.
    Extension(Vec<u8>),
}

/// One registered format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name of its file in `/proc/sys/fs/binfmt_misc`.
    pub name: Vec<u8>,
    /// When it applies.
    pub pattern: Pattern,
    /// Path of the interpreter.
    pub interpreter: Vec<u8>,
    /// Flags.
    pub flags: Flags,
}

/// What is written to a rule's file or to `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `0`
    Disable,
    /// `1`
    Enable,
    /// `-1`: remove the rule, or all rules.
    Remove,
}

impl Command {
    /// Parses it, with or without newline. `Ok(None)` for an empty write. Error: `EINVAL`.
    pub fn parse(text: &[u8]) -> Result<Option<Self>, Errno> {
        match text.strip_suffix(b"\n").unwrap_or(text) {
            b"" => Ok(None),
            b"0" => Ok(Some(Command::Disable)),
            b"1" => Ok(Some(Command::Enable)),
            b"-1" => Ok(Some(Command::Remove)),
            _ => Err(Errno::EINVAL),
        }
    }
}

impl Rule {
    /// Parses what is written to `register`: `:name:type:offset:magic:mask:interpreter:flags`, where the first
    /// character separates the fields.
    ///
    /// Errors: `EINVAL`, `ENOMEM`.
    pub fn parse(line: &[u8]) -> Result<Self, Errno> {
        if !(MIN_LINE..=MAX_LINE).contains(&line.len()) {
            return Err(Errno::EINVAL);
        }
        let (&separator, rest) = line.split_first().ok_or(Errno::EINVAL)?;
        // A newline may stand behind the last field only; the flags' parser looks at it.
        let mut fields = rest.splitn(7, |byte| *byte == separator);
        let mut next = || fields.next().ok_or(Errno::EINVAL);
        let (name, kind, offset, what, mask) = (next()?, next()?, next()?, next()?, next()?);
        let (interpreter, flags) = (next()?, next()?);
        if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
            return Err(Errno::EINVAL);
        }
        let pattern = match kind {
            b"M" => magic(offset, what, mask)?,
            b"E" if !what.is_empty() && !what.contains(&b'/') => {
                Pattern::Extension(copy_bytes(what)?)
            }
            _ => return Err(Errno::EINVAL),
        };
        if interpreter.is_empty() || interpreter.contains(&0) {
            return Err(Errno::EINVAL);
        }
        let flags = parse_flags(flags)?;
        Ok(Rule {
            name: copy_bytes(name)?,
            pattern,
            interpreter: copy_bytes(interpreter)?,
            flags,
        })
    }

    /// Whether the file with this path and these first bytes (as many as there are, up to [`HEAD_SIZE`]) is meant.
    pub fn matches(&self, path: &[u8], head: &[u8]) -> bool {
        match &self.pattern {
            Pattern::Extension(extension) => {
                let dot = path.iter().rposition(|byte| *byte == b'.');
                dot.and_then(|dot| path.get(dot + 1..)) == Some(extension)
            }
            Pattern::Magic {
                offset,
                bytes,
                mask,
            } => {
                bytes.iter().enumerate().all(|(index, byte)| {
                    // A short file counts as continued by zeros.
                    let found = head.get(offset + index).copied().unwrap_or(0);
                    let mask = mask.as_ref().and_then(|mask| mask.get(index)).copied();
                    (found ^ byte) & mask.unwrap_or(0xff) == 0
                })
            }
        }
    }

    /// Rewrites the arguments of a file that matched: the interpreter, then `path`, the name under which the file was
    /// opened; the old `argv[0]` goes unless the rule preserves it. Errors: `E2BIG`, `ENOMEM`.
    pub fn rewrite(&self, path: &[u8], args: &mut ExecArgs) -> Result<(), Errno> {
        if !self.flags.preserve_argv0 {
            args.remove_first();
        }
        args.prepend(path)?;
        args.prepend(&self.interpreter)
    }

    /// The contents of the rule's file. A path that is not UTF-8 is shown with replacement characters.
    pub fn show(&self, enabled: bool, out: &mut impl Write) -> fmt::Result {
        out.write_str(if enabled { "enabled\n" } else { "disabled\n" })?;
        out.write_str("interpreter ")?;
        write_text(&self.interpreter, out)?;
        out.write_str("\nflags: ")?;
        let flags = &self.flags;
        for (set, letter) in [
            (flags.preserve_argv0, 'P'),
            (flags.open_binary, 'O'),
            (flags.credentials, 'C'),
            (flags.fix_binary, 'F'),
        ] {
            if set {
                out.write_char(letter)?;
            }
        }
        out.write_char('\n')?;
        match &self.pattern {
            Pattern::Extension(extension) => {
                out.write_str("extension .")?;
                write_text(extension, out)?;
            }
            Pattern::Magic {
                offset,
                bytes,
                mask,
            } => {
                write!(out, "offset {offset}\nmagic ")?;
                write_hex(bytes, out)?;
                if let Some(mask) = mask {
                    out.write_str("\nmask ")?;
                    write_hex(mask, out)?;
                }
            }
        }
        out.write_char('\n')
    }
}

fn magic(offset: &[u8], bytes: &[u8], mask: &[u8]) -> Result<Pattern, Errno> {
    let offset = decimal(offset)?;
    let bytes = unescape(bytes)?;
    let mask = if mask.is_empty() {
        None
    } else {
        Some(unescape(mask)?)
    };
    if bytes.is_empty() || mask.as_ref().is_some_and(|mask| mask.len() != bytes.len()) {
        return Err(Errno::EINVAL);
    }
    if offset
        .checked_add(bytes.len())
        .is_none_or(|end| end > HEAD_SIZE)
    {
        return Err(Errno::EINVAL);
    }
    Ok(Pattern::Magic {
        offset,
        bytes,
        mask,
    })
}

/// A non-negative number; nothing means 0.
fn decimal(text: &[u8]) -> Result<usize, Errno> {
    text.iter().try_fold(0usize, |number, byte| {
        let digit = char::from(*byte).to_digit(10).ok_or(Errno::EINVAL)? as usize;
        number
            .checked_mul(10)
            .and_then(|n| n.checked_add(digit))
            .ok_or(Errno::EINVAL)
    })
}

/// Resolves `\xHH`; every other byte, a lone backslash included, stands for itself.
fn unescape(text: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut bytes = copy_bytes(text)?;
    bytes.clear();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let hex = |at: usize| {
            after
                .get(at)
                .and_then(|digit| char::from(*digit).to_digit(16))
        };
        match (byte, after.first(), hex(1), hex(2)) {
            (b'\\', Some(b'x'), Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = after.get(3..).unwrap_or(&[]);
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    Ok(bytes)
}

fn parse_flags(text: &[u8]) -> Result<Flags, Errno> {
    let mut flags = Flags::default();
    for letter in text.strip_suffix(b"\n").unwrap_or(text) {
        match letter {
            b'P' => flags.preserve_argv0 = true,
            b'O' => flags.open_binary = true,
            b'C' => (flags.credentials, flags.open_binary) = (true, true),
            b'F' => flags.fix_binary = true,
            _ => return Err(Errno::EINVAL),
        }
    }
    Ok(flags)
}

fn write_hex(bytes: &[u8], out: &mut impl Write) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

fn write_text(bytes: &[u8], out: &mut impl Write) -> fmt::Result {
    bytes.utf8_chunks().try_for_each(|chunk| {
        out.write_str(chunk.valid())?;
        if chunk.invalid().is_empty() {
            Ok(())
        } else {
            out.write_char('\u{fffd}')
        }
    })
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn show(rule: &Rule) -> String {
        let mut text = String::new();
        rule.show(true, &mut text).unwrap();
        text
    }

    #[test]
    fn qemu_s_rule() {
        let line = br":qemu-arm:M::\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-arm:OCF";
        let rule = Rule::parse(line).unwrap();
        assert_eq!(
            show(&rule),
            "enabled\ninterpreter /usr/bin/qemu-arm\nflags: OCF\noffset 0\n\
             magic 7f454c4601010100000000000000000002002800\n\
             mask ffffffffffffff00fffffffffffffffffeffffff\n"
        );
        let mut head = *b"\x7fELF\x01\x01\x01\x09\0\0\0\0\0\0\0\0\x03\0\x28\0";
        assert!(rule.matches(b"x", &head), "masked bits do not count");
        head[4] = 2;
        assert!(!rule.matches(b"x", &head));
        assert!(!rule.matches(b"x", b"\x7fEL"));
    }

    #[test]
    fn extensions_and_other_separators() {
        let rule = Rule::parse(b"|py|E||py||/usr/bin/py|P\n").unwrap();
        assert_eq!(
            show(&rule),
            "enabled\ninterpreter /usr/bin/py\nflags: P\nextension .py\n"
        );
        assert!(rule.matches(b"/a.b/c.py", b""));
        assert!(!rule.matches(b"/a/py", b"") && !rule.matches(b"/a.pyc", b""));
    }

    #[test]
    fn short_files_are_padded_with_zeros() {
        let rule = Rule::parse(br":z:M:2:a\x00\x00b\:::/i:").unwrap_err();
        assert_eq!(rule, Errno::EINVAL);
        let rule = Rule::parse(br":z:M:2:a\x00\x00::/interp:").unwrap();
        assert!(rule.matches(b"", b"xxa"));
        assert!(!rule.matches(b"", b"xx"));
    }

    #[test]
    fn broken_lines() {
        for line in [
            &b""[..],
            b":n:M::m::",
            b":nnnnn:M::m::/i",
            b":nnnnn:M::m:::P",
            b"::M::m::/interp:",
            b":a/b:M::m::/interp:",
            b":..:M::m::/interp:",
            b":n:X::m::/interp:",
            b":n:MM::m::/interp:",
            b":n:M::::/interp:",
            b":n:M:-1:m::/interp:",
            b":n:M:1x:m::/interp:",
            b":n:M:99999999999999999999:m::/interp:",
            b":n:M:256:m::/interp:",
            b":n:M::mm:m:/interp:",
            b":n:E::::/interp:",
            b":n:E::a/b::/interp:",
            b":n:M::m::/interp:Q",
            b":n:M::m::/interp:P:",
            b":n:M::m::/interp:\n\n",
        ] {
            assert_eq!(
                Rule::parse(line),
                Err(Errno::EINVAL),
                "{}",
                String::from_utf8_lossy(line)
            );
        }
        assert!(Rule::parse(b":n:M:255:m::/interp:").is_ok());
        let long = [&b":n:M::m::/"[..], &[b'i'; MAX_LINE], b":"].concat();
        assert_eq!(Rule::parse(&long), Err(Errno::EINVAL));
    }

    #[test]
    fn arguments() {
        for (flags, want) in [("", "/i\0/f\0b\0"), ("P", "/i\0/f\0a\0b\0")] {
            let line = alloc::format!(":name:E::f::/i:{flags}");
            let rule = Rule::parse(line.as_bytes()).unwrap();
            let mut args = ExecArgs::new(b"/f", 2, 0, 8 << 20).unwrap();
            args.push_arg(b"a").unwrap();
            args.push_arg(b"b").unwrap();
            rule.rewrite(b"/f", &mut args).unwrap();
            let flat: Vec<u8> = args.argv().pieces().flatten().copied().collect();
            assert_eq!(flat, want.as_bytes());
        }
    }

    #[test]
    fn commands() {
        assert_eq!(Command::parse(b"1\n"), Ok(Some(Command::Enable)));
        assert_eq!(Command::parse(b"0"), Ok(Some(Command::Disable)));
        assert_eq!(Command::parse(b"-1\n"), Ok(Some(Command::Remove)));
        assert_eq!(Command::parse(b""), Ok(None));
        assert_eq!(Command::parse(b"2"), Err(Errno::EINVAL));
        assert_eq!(Command::parse(b"1\n\n"), Err(Errno::EINVAL));
    }
}
