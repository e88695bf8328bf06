//! [`ExecArgs`]: argument and environment strings on their way from the old program to the new one's stack.
//!
//! The strings may be megabytes, so they are held once, end to end, in blocks of [`BLOCK`] bytes; the stack is
//! written from there. Limits are those of execve(2), "Limits on size of arguments and environment".

use alloc::vec::Vec;
use core::iter;

use crate::{Errno, PAGE_SIZE, page_down};

/// One string with its NUL may be this long (`MAX_ARG_STRLEN`).
pub const MAX_STRING: usize = 32 * 4096;
/// So much is always allowed, however small the stack is (`ARG_MAX`).
pub const MIN_LIMIT: u64 = 131_072;
/// So much is allowed at most: three quarters of the default stack of 8 MiB.
pub const MAX_LIMIT: u64 = 6 << 20;

/// Bytes of one block of strings.
const BLOCK: usize = 16384;

/// How many bytes strings and pointers may take: a quarter of the stack's soft limit, between [`MIN_LIMIT`] and
/// [`MAX_LIMIT`].
pub fn size_limit(rlim_stack: u64) -> u64 {
    (rlim_stack / 4).clamp(MIN_LIMIT, MAX_LIMIT)
}

/// `bytes` on the heap. Error: `ENOMEM`.
pub(crate) fn copy_bytes(bytes: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len())
        .map_err(|_| Errno::ENOMEM)?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// NUL-terminated strings, end to end.
#[derive(Debug, Default)]
pub struct Strings {
    /// Strings put in front later, the first one first.
    front: Vec<Vec<u8>>,
    /// The rest; a string may run over a block's end.
    blocks: Vec<Vec<u8>>,
    /// Bytes at the start of `blocks` that have been taken away.
    skip: usize,
    count: usize,
    bytes: u64,
}

impl Strings {
    /// How many strings there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many bytes they take, each with its NUL.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All bytes in order, in pieces that do not heed the limits of strings.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.skip;
        let blocks = self.blocks.iter().filter_map(move |block| {
            let cut = skip.min(block.len());
            skip -= cut;
            block.get(cut..)
        });
        self.front
            .iter()
            .map(Vec::as_slice)
            .chain(blocks)
            .filter(|piece| !piece.is_empty())
    }

    /// Where each string begins, in bytes from the first one's start.
    pub fn offsets(&self) -> impl Iterator<Item = u64> {
        let ends = self
            .pieces()
            .flatten()
            .enumerate()
            .filter(|(_, byte)| **byte == 0);
        iter::once(0)
            .chain(ends.map(|(at, _)| at as u64 + 1))
            .take(self.count)
    }

    fn push(&mut self, string: &[u8]) -> Result<(), Errno> {
        self.append(string)?;
        self.append(&[0])?;
        self.count += 1;
        self.bytes += string.len() as u64 + 1;
        Ok(())
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
                let mut block = Vec::new();
                block.try_reserve_exact(BLOCK).map_err(|_| Errno::ENOMEM)?;
                self.blocks.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                self.blocks.push(block);
            }
            let Some(block) = self.blocks.last_mut() else {
                return Err(Errno::ENOMEM);
            };
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - block.len()));
            block.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn push_front(&mut self, string: &[u8]) -> Result<(), Errno> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(string.len() + 1)
            .map_err(|_| Errno::ENOMEM)?;
        copy.extend_from_slice(string);
        copy.push(0);
        self.front.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.bytes += copy.len() as u64;
        self.count += 1;
        self.front.insert(0, copy);
        Ok(())
    }

    /// Takes the first string away and says how many bytes it took.
    fn pop_front(&mut self) -> u64 {
        if self.count == 0 {
            return 0;
        }
        let len = if self.front.is_empty() {
            let len = self
                .pieces()
                .flatten()
                .take_while(|byte| **byte != 0)
                .count()
                + 1;
            self.skip += len;
            len
        } else {
            self.front.remove(0).len()
        };
        self.count -= 1;
        self.bytes -= len as u64;
        len as u64
    }
}

/// The strings of one execve(2).
#[derive(Debug)]
pub struct ExecArgs {
    argv: Strings,
    envp: Strings,
    execfn: Vec<u8>,
    room: u64,
}

impl ExecArgs {
    /// For a call with so many pointers in `argv` and `envp` (their NULLs not counted), of the file named `execfn`,
    /// by a process whose soft `RLIMIT_STACK` is `rlim_stack` bytes. The counts are only used for the limit.
    ///
    /// Errors: `E2BIG`, `ENOMEM`.
    pub fn new(execfn: &[u8], argc: usize, envc: usize, rlim_stack: u64) -> Result<Self, Errno> {
        // An empty argv becomes one empty string, so at least one pointer is counted.
        let pointers = (argc.max(1) as u64)
            .saturating_add(envc as u64)
            .saturating_mul(8);
        let room = size_limit(rlim_stack)
            .checked_sub(pointers)
            .filter(|room| *room > 0);
        // The strings lie on the new stack, below eight zero bytes, and it cannot be larger than its limit allows.
        let stack = page_down(rlim_stack).max(PAGE_SIZE) - 8;
        let mut args = ExecArgs {
            argv: Strings::default(),
            envp: Strings::default(),
            execfn: copy_bytes(execfn)?,
            room: room.ok_or(Errno::E2BIG)?.min(stack),
        };
        args.take_room(execfn)?;
        Ok(args)
    }

    /// Appends to `argv`; `string` has no NUL. Errors: `E2BIG`, `ENOMEM`.
    pub fn push_arg(&mut self, string: &[u8]) -> Result<(), Errno> {
        self.take_room(string)?;
        self.argv.push(string)
    }

    /// Appends to `envp`; `string` has no NUL. Errors: `E2BIG`, `ENOMEM`.
    pub fn push_env(&mut self, string: &[u8]) -> Result<(), Errno> {
        self.take_room(string)?;
        self.envp.push(string)
    }

    /// Puts `string` before the first argument. Errors: `E2BIG`, `ENOMEM`.
    pub fn prepend(&mut self, string: &[u8]) -> Result<(), Errno> {
        self.take_room(string)?;
        self.argv.push_front(string)
    }

    /// Takes the first argument away, if there is one.
    pub fn remove_first(&mut self) {
        self.room += self.argv.pop_front();
    }

    /// The arguments.
    pub fn argv(&self) -> &Strings {
        &self.argv
    }

    /// The environment.
    pub fn envp(&self) -> &Strings {
        &self.envp
    }

    /// The name that execve was called with (`AT_EXECFN`), without NUL.
    pub fn execfn(&self) -> &[u8] {
        &self.execfn
    }

    /// Bytes of all strings: arguments, environment and file name, each with its NUL.
    pub fn bytes(&self) -> u64 {
        self.argv.bytes() + self.envp.bytes() + self.execfn.len() as u64 + 1
    }

    fn take_room(&mut self, string: &[u8]) -> Result<(), Errno> {
        if string.len() >= MAX_STRING {
            return Err(Errno::E2BIG);
        }
        let left = self.room.checked_sub(string.len() as u64 + 1);
        self.room = left.ok_or(Errno::E2BIG)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    const STACK: u64 = 8 << 20;

    fn strings(list: &Strings) -> Vec<Vec<u8>> {
        let flat: Vec<u8> = list.pieces().flatten().copied().collect();
        assert_eq!(flat.len() as u64, list.bytes());
        let found: Vec<Vec<u8>> = list
            .offsets()
            .map(|at| {
                flat[at as usize..]
                    .split(|byte| *byte == 0)
                    .next()
                    .unwrap()
                    .to_vec()
            })
            .collect();
        assert_eq!(found.len(), list.count());
        found
    }

    #[test]
    fn limit_is_a_quarter_of_the_stack_within_bounds() {
        assert_eq!(size_limit(STACK), 2 << 20);
        assert_eq!(size_limit(0), 131_072);
        assert_eq!(size_limit(u64::MAX), 6 << 20);
    }

    #[test]
    fn front_can_be_replaced_across_blocks() {
        let mut args = ExecArgs::new(b"/x", 3, 0, STACK).unwrap();
        let long = vec![b'l'; BLOCK + 5];
        for string in [&long[..], b"", b"two"] {
            args.push_arg(string).unwrap();
        }
        assert_eq!(strings(args.argv()), [long, vec![], b"two".to_vec()]);
        args.remove_first();
        args.prepend(b"script").unwrap();
        args.prepend(b"sh").unwrap();
        let want = ["sh", "script", "", "two"].map(|s| s.as_bytes().to_vec());
        assert_eq!(strings(args.argv()), want);
        args.remove_first();
        assert_eq!(strings(args.argv()), want[1..]);
        for _ in 0..5 {
            args.remove_first();
        }
        assert!(strings(args.argv()).is_empty());
    }

    #[test]
    fn room_is_exact() {
        // 131072 bytes in all, 16 of them for two pointers, 3 for "/x".
        let mut args = ExecArgs::new(b"/x", 1, 1, 1 << 19).unwrap();
        let most = vec![b'a'; 131_072 - 16 - 3 - 1];
        args.push_arg(&most).unwrap();
        assert_eq!(args.push_env(b""), Err(Errno::E2BIG));
        args.remove_first();
        assert_eq!(
            args.push_arg(&[&most[..], b"a"].concat()),
            Err(Errno::E2BIG)
        );
        assert_eq!(
            ExecArgs::new(b"", 0, 131_072 / 8, 0).unwrap_err(),
            Errno::E2BIG
        );
        assert_eq!(
            ExecArgs::new(b"", usize::MAX, usize::MAX, 0).unwrap_err(),
            Errno::E2BIG
        );
        // A stack of two pages holds no more than that, whatever is always allowed.
        let mut tiny = ExecArgs::new(b"/x", 1, 1, 2 * PAGE_SIZE + 1).unwrap();
        assert_eq!(tiny.push_arg(&[b'a'; 8192 - 8 - 3]), Err(Errno::E2BIG));
        tiny.push_arg(&[b'a'; 8192 - 8 - 3 - 1]).unwrap();
        let mut roomy = ExecArgs::new(b"/x", 1, 1, STACK).unwrap();
        assert_eq!(roomy.push_arg(&vec![b'a'; MAX_STRING]), Err(Errno::E2BIG));
        roomy.push_arg(&vec![b'a'; MAX_STRING - 1]).unwrap();
    }
}
