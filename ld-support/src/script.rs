//! `#!` scripts: which interpreter the first line names (execve(2), "Interpreter scripts").
//!
//! Linux looks at the first [`HEAD_SIZE`] bytes only. The line ends at its newline; spaces and tabs around the
//! interpreter's path and at the line's end do not count; everything in between after the path is *one* argument.
//! A line longer than the buffer is cut there if at least the path is certain to be whole. A NUL ends path and
//! argument like the C strings they are.

use alloc::vec::Vec;

use crate::Errno;
use crate::args::{ExecArgs, copy_bytes};
use crate::elf::HEAD_SIZE;

/// How many times a file may hand over to its interpreter until a program runs. Once more is `ELOOP`, which
/// comes after the errors of opening that last interpreter.
pub const MAX_DEPTH: usize = 5;

/// What the first line of a script says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Path of the interpreter. May be empty (the file is just `#!`): that is the working directory, and opening it
    /// for execution fails with `EACCES`.
    pub interp: Vec<u8>,
    /// The rest of the line.
    pub arg: Option<Vec<u8>>,
}

impl Script {
    /// Reads the first line; `head` is the first [`HEAD_SIZE`] bytes of the file, or all of a shorter file.
    ///
    /// `Ok(None)` when this is no script. Errors: `ENOEXEC` for a line without an interpreter or one that may be
    /// cut in the middle of it; `ENOMEM`.
    pub fn parse(head: &[u8]) -> Result<Option<Script>, Errno> {
        let mut buf = [0; HEAD_SIZE];
        let len = head.len().min(HEAD_SIZE);
        buf[..len].copy_from_slice(&head[..len]);
        let Some(line) = buf.strip_prefix(b"#!") else {
            return Ok(None);
        };

        let line = trim_end(first_line(line).ok_or(Errno::ENOEXEC)?);
        let start = skip_blanks(line).ok_or(Errno::ENOEXEC)?;
        let name_len = start.iter().position(is_terminator).unwrap_or(start.len());
        let (interp, rest) = start.split_at(name_len);
        let arg = match rest.first() {
            Some(0) | None => None,
            Some(_) => skip_blanks(rest)
                .map(until_nul)
                .map(copy_bytes)
                .transpose()?,
        };
        Ok(Some(Script {
            interp: copy_bytes(interp)?,
            arg,
        }))
    }

    /// Rewrites the arguments: `argv[0]` gives way to the interpreter, its argument if there is one, and `path`, the
    /// name under which the script itself was opened.
    ///
    /// Errors: `E2BIG`, `ENOMEM`.
    pub fn rewrite(&self, path: &[u8], args: &mut ExecArgs) -> Result<(), Errno> {
        args.remove_first();
        args.prepend(path)?;
        if let Some(arg) = &self.arg {
            args.prepend(arg)?;
        }
        args.prepend(&self.interp)
    }
}

/// The line up to its newline; without one, all but the buffer's last byte, provided that the interpreter's path ends
/// before that. `None` when it may be cut.
fn first_line(line: &[u8]) -> Option<&[u8]> {
    if let Some(end) = line.iter().position(|&byte| byte == b'\n') {
        return line.get(..end);
    }
    let start = skip_blanks(line)?;
    if !start.iter().any(is_terminator) {
        return None;
    }
    line.get(..line.len() - 1)
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_terminator(byte: &u8) -> bool {
    is_blank(byte) || *byte == 0
}

fn trim_end(line: &[u8]) -> &[u8] {
    let end = line
        .iter()
        .rposition(|byte| !is_blank(byte))
        .map_or(0, |last| last + 1);
    line.get(..end).unwrap_or(line)
}

/// From the first byte that is neither space nor tab; `None` when there is none.
fn skip_blanks(bytes: &[u8]) -> Option<&[u8]> {
    bytes
        .iter()
        .position(|byte| !is_blank(byte))
        .and_then(|start| bytes.get(start..))
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parsed = Result<Option<(Vec<u8>, Option<Vec<u8>>)>, Errno>;

    fn parse(head: &[u8]) -> Parsed {
        Script::parse(head).map(|script| script.map(|s| (s.interp, s.arg)))
    }

    fn is(interp: &[u8], arg: Option<&[u8]>) -> Parsed {
        Ok(Some((interp.to_vec(), arg.map(<[u8]>::to_vec))))
    }

    #[test]
    fn plain_lines() {
        assert_eq!(parse(b"\x7fELF"), Ok(None));
        assert_eq!(parse(b"#"), Ok(None));
        assert_eq!(parse(b"#!/bin/sh\n"), is(b"/bin/sh", None));
        assert_eq!(parse(b"#!/bin/sh"), is(b"/bin/sh", None));
        assert_eq!(
            parse(b"#! \t/bin/sh \t -e  -x\t \nrest"),
            is(b"/bin/sh", Some(b"-e  -x"))
        );
        assert_eq!(parse(b"#!/bin/sh\r\n"), is(b"/bin/sh\r", None));
    }

    #[test]
    fn lines_without_an_interpreter() {
        assert_eq!(parse(b"#!\n"), Err(Errno::ENOEXEC));
        assert_eq!(parse(b"#!  \t \n"), Err(Errno::ENOEXEC));
        assert_eq!(
            parse(&[b"#!".as_slice(), &[b' '; 300]].concat()),
            Err(Errno::ENOEXEC)
        );
        assert_eq!(parse(b"#!"), is(b"", None));
    }

    #[test]
    fn nul_ends_path_and_argument() {
        assert_eq!(parse(b"#!/bin/sh\0 -e\n"), is(b"/bin/sh", None));
        assert_eq!(parse(b"#!/bin/sh -e\0 -x\n"), is(b"/bin/sh", Some(b"-e")));
    }

    #[test]
    fn long_lines_are_cut_only_in_the_argument() {
        let path = [b'x'; 300];
        assert_eq!(
            parse(&[b"#!".as_slice(), &path].concat()),
            Err(Errno::ENOEXEC)
        );
        // The longest path that fits: 253 bytes and the newline.
        let longest = [b"#!".as_slice(), &path[..253], b"\n"].concat();
        assert_eq!(parse(&longest), is(&path[..253], None));
        let cut = parse(&[b"#!/i ".as_slice(), &path].concat());
        assert_eq!(cut, is(b"/i", Some(&path[..250])));
    }
}
