//! The stack that a new program starts with (x86-64 psABI 3.4.1, getauxval(3)).
//!
//! From the highest address down, as on Linux:
//!
//! ```text
//! stack top   8 zero bytes
//!             file name, environment strings, argument strings   (each block ascending)
//!             up to 8191 random bytes of distance, then 16-byte alignment
//!             platform string, 16 random bytes
//!             auxv pairs, ending with AT_NULL
//!             envp pointers, NULL
//!             argv pointers, NULL
//! rsp         argc                                                (16-byte aligned)
//! ```
//!
//! [`StackPlan::new`] computes all addresses; [`StackPlan::write`] then sends the bytes in ascending order through a
//! [`StackSink`], with one page of buffer.

use alloc::vec::Vec;

use crate::args::{ExecArgs, Strings};
use crate::{Errno, page_down};

/// Types of the entries of the auxiliary vector (`linux/auxvec.h`, `asm/auxvec.h`).
#[allow(
    missing_docs,
    reason = "Linux's names; AuxInputs says what the values are"
)]
pub mod at {
    pub const NULL: u64 = 0;
    pub const EXECFD: u64 = 2;
    pub const PHDR: u64 = 3;
    pub const PHENT: u64 = 4;
    pub const PHNUM: u64 = 5;
    pub const PAGESZ: u64 = 6;
    pub const BASE: u64 = 7;
    pub const FLAGS: u64 = 8;
    pub const ENTRY: u64 = 9;
    pub const UID: u64 = 11;
    pub const EUID: u64 = 12;
    pub const GID: u64 = 13;
    pub const EGID: u64 = 14;
    pub const PLATFORM: u64 = 15;
    pub const HWCAP: u64 = 16;
    pub const CLKTCK: u64 = 17;
    pub const SECURE: u64 = 23;
    pub const RANDOM: u64 = 25;
    pub const HWCAP2: u64 = 26;
    pub const RSEQ_FEATURE_SIZE: u64 = 27;
    pub const RSEQ_ALIGN: u64 = 28;
    pub const EXECFN: u64 = 31;
    pub const SYSINFO_EHDR: u64 = 33;
    pub const MINSIGSTKSZ: u64 = 51;
}

/// `AT_FLAGS`: binfmt_misc kept `argv[0]` (flag `P`).
pub const AT_FLAGS_PRESERVE_ARGV0: u64 = 1;
/// `AT_HWCAP2`: MWAIT works in user mode.
pub const HWCAP2_RING3MWAIT: u64 = 1 << 0;
/// `AT_HWCAP2`: RDFSBASE and its like work in user mode.
pub const HWCAP2_FSGSBASE: u64 = 1 << 1;

/// `AT_CLKTCK`: the unit of times(2) per second (`USER_HZ`).
const CLKTCK: u64 = 100;
/// Pairs at most, `AT_NULL` included.
const MAX_AUX: usize = 25;
/// `AT_RANDOM` points to so many bytes.
const RANDOM_LEN: usize = 16;
const PLATFORM: &[u8] = b"x86_64\0";
/// Zero bytes at the very top.
const TOP_ZEROS: u64 = 8;
const BUFFER: usize = 4096;

/// What goes into the auxiliary vector, besides what follows from the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuxInputs {
    /// Address of the vDSO; `None` leaves the entry out.
    pub sysinfo_ehdr: Option<u64>,
    /// Bytes that a signal frame takes at most on this processor.
    pub minsigstksz: u64,
    /// EDX of CPUID leaf 1.
    pub hwcap: u64,
    /// [`HWCAP2_FSGSBASE`] and the like.
    pub hwcap2: u64,
    /// Address of the program headers ([`crate::elf::LoadPlan::phdr_addr`]).
    pub phdr: u64,
    /// How many there are.
    pub phnum: u64,
    /// The interpreter's bias, 0 without one.
    pub base: u64,
    /// [`AT_FLAGS_PRESERVE_ARGV0`] or 0.
    pub flags: u64,
    /// The program's own entry, not the interpreter's.
    pub entry: u64,
    /// Real user.
    pub uid: u32,
    /// Effective user, after set-user-ID.
    pub euid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective group.
    pub egid: u32,
    /// The program got privileges: libc ignores dangerous environment variables.
    pub secure: bool,
    /// Seed for stack protector and pointer guard.
    pub random: [u8; RANDOM_LEN],
    /// The open program, when binfmt_misc hands it to its interpreter (flag `O`).
    pub execfd: Option<u32>,
    /// End of the last field of `struct rseq` that the kernel fills (`AT_RSEQ_FEATURE_SIZE`), at least 20.
    pub rseq_feature_size: u64,
    /// The alignment that rseq(2) demands, 32.
    pub rseq_align: u64,
}

/// Takes the bytes of a new stack; the kernel's writes into the new address space.
pub trait StackSink {
    /// Writes `bytes` at `addr`. Called with ascending addresses that do not overlap.
    fn put(&mut self, addr: u64, bytes: &[u8]) -> Result<(), Errno>;
}

/// The addresses of everything on a new stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackPlan {
    /// The stack pointer at the first instruction: points to argc.
    pub rsp: u64,
    /// The argument strings, as `/proc/PID/cmdline` shows them.
    pub arg_start: u64,
    /// Their end, where the environment begins.
    pub arg_end: u64,
    /// The environment strings, as `/proc/PID/environ` shows them.
    pub env_start: u64,
    /// Their end, where the file name begins.
    pub env_end: u64,
    /// The auxiliary vector as `/proc/PID/auxv` shows it: types and values in turn, with the final `AT_NULL`.
    pub auxv: Vec<u64>,
    top: u64,
    random_addr: u64,
    random: [u8; RANDOM_LEN],
}

impl StackPlan {
    /// Lays out a stack that ends at `top`. `shuffle` is [`crate::aslr::AddressLayout::stack_shuffle`].
    ///
    /// Errors: `ENOMEM`, also for a `top` so low that the strings do not fit below it.
    pub fn new(args: &ExecArgs, aux: &AuxInputs, top: u64, shuffle: u64) -> Result<Self, Errno> {
        let below = |addr: u64, len: u64| addr.checked_sub(len).ok_or(Errno::ENOMEM);
        let arg_start = below(top, TOP_ZEROS + args.bytes())?;
        let arg_end = arg_start + args.argv().bytes();
        let env_end = arg_end + args.envp().bytes();

        let platform = below(below(arg_start, shuffle)? & !15, PLATFORM.len() as u64)?;
        let random_addr = below(platform, RANDOM_LEN as u64)?;
        let auxv = auxv(aux, platform, random_addr, env_end)?;
        let words = 1 + args.argv().count() + 1 + args.envp().count() + 1 + auxv.len();
        let rsp = below(random_addr, words as u64 * 8)? & !15;
        let random = aux.random;
        let env_start = arg_end;
        Ok(StackPlan {
            rsp,
            arg_start,
            arg_end,
            env_start,
            env_end,
            auxv,
            top,
            random_addr,
            random,
        })
    }

    /// Writes the stack from [`StackPlan::rsp`] to its top; `args` are those that the plan was made for.
    pub fn write(&self, args: &ExecArgs, sink: &mut impl StackSink) -> Result<(), Errno> {
        let mut out = Writer {
            sink,
            addr: self.rsp,
            buf: [0; BUFFER],
            used: 0,
        };
        out.word(args.argv().count() as u64)?;
        out.pointers(self.arg_start, args.argv())?;
        out.pointers(self.env_start, args.envp())?;
        for word in &self.auxv {
            out.word(*word)?;
        }
        out.seek(self.random_addr)?;
        out.bytes(&self.random)?;
        out.bytes(PLATFORM)?;
        out.seek(self.arg_start)?;
        for piece in args.argv().pieces().chain(args.envp().pieces()) {
            out.bytes(piece)?;
        }
        out.bytes(args.execfn())?;
        out.bytes(&[0; 1 + TOP_ZEROS as usize])?;
        debug_assert_eq!(out.addr + out.used as u64, self.top);
        out.flush()
    }

    /// The lowest page that [`StackPlan::write`] touches.
    pub fn first_page(&self) -> u64 {
        page_down(self.rsp)
    }
}

/// The pairs in Linux's order for x86_64.
fn auxv(aux: &AuxInputs, platform: u64, random: u64, execfn: u64) -> Result<Vec<u64>, Errno> {
    let pairs: [(u64, Option<u64>); MAX_AUX] = [
        (at::SYSINFO_EHDR, aux.sysinfo_ehdr),
        (at::MINSIGSTKSZ, Some(aux.minsigstksz)),
        (at::HWCAP, Some(aux.hwcap)),
        (at::PAGESZ, Some(crate::PAGE_SIZE)),
        (at::CLKTCK, Some(CLKTCK)),
        (at::PHDR, Some(aux.phdr)),
        (at::PHENT, Some(crate::elf::LoadPlan::PHENT)),
        (at::PHNUM, Some(aux.phnum)),
        (at::BASE, Some(aux.base)),
        (at::FLAGS, Some(aux.flags)),
        (at::ENTRY, Some(aux.entry)),
        (at::UID, Some(aux.uid.into())),
        (at::EUID, Some(aux.euid.into())),
        (at::GID, Some(aux.gid.into())),
        (at::EGID, Some(aux.egid.into())),
        (at::SECURE, Some(aux.secure.into())),
        (at::RANDOM, Some(random)),
        (at::HWCAP2, Some(aux.hwcap2)),
        (at::EXECFN, Some(execfn)),
        (at::PLATFORM, Some(platform)),
        (at::EXECFD, aux.execfd.map(u64::from)),
        (at::RSEQ_FEATURE_SIZE, Some(aux.rseq_feature_size)),
        (at::RSEQ_ALIGN, Some(aux.rseq_align)),
        (at::NULL, Some(0)),
        (at::NULL, None),
    ];
    let mut words = Vec::new();
    words
        .try_reserve_exact(2 * MAX_AUX)
        .map_err(|_| Errno::ENOMEM)?;
    for (kind, value) in pairs {
        if let Some(value) = value {
            words.extend([kind, value]);
        }
    }
    Ok(words)
}

/// Collects bytes for a sink.
struct Writer<'a, S> {
    sink: &'a mut S,
    /// Where the buffer's first byte goes.
    addr: u64,
    buf: [u8; BUFFER],
    used: usize,
}

impl<S: StackSink> Writer<'_, S> {
    fn word(&mut self, word: u64) -> Result<(), Errno> {
        self.bytes(&word.to_le_bytes())
    }

    /// The addresses of `strings`, of which the first is at `base`, and NULL.
    fn pointers(&mut self, base: u64, strings: &Strings) -> Result<(), Errno> {
        for offset in strings.offsets() {
            self.word(base + offset)?;
        }
        self.word(0)
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            if self.used == BUFFER {
                self.flush()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER - self.used));
            self.buf[self.used..self.used + now.len()].copy_from_slice(now);
            self.used += now.len();
            bytes = later;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Errno> {
        if self.used > 0 {
            self.sink.put(self.addr, &self.buf[..self.used])?;
        }
        self.addr += self.used as u64;
        self.used = 0;
        Ok(())
    }

    fn seek(&mut self, addr: u64) -> Result<(), Errno> {
        self.flush()?;
        self.addr = addr;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
