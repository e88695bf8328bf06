//! The notes of a core file, in the order in which Linux writes them.

use alloc::vec::Vec;

use super::{Bytes, CoreInputs, MappedFile};
use crate::{Errno, PAGE_SIZE};

const NT_PRSTATUS: u32 = 1;
const NT_FPREGSET: u32 = 2;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_X86_XSTATE: u32 = 0x202;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_FILE: u32 = 0x4649_4c45;

/// In an XSAVE image, debuggers look here for the enabled features.
const XSTATE_XCR0: usize = 464;

/// A time as `struct timeval`: seconds and microseconds.
pub type Timeval = (u64, u64);

/// CPU times of a thread or process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// In user mode.
    pub user: Timeval,
    /// In the kernel.
    pub system: Timeval,
    /// Of waited-for children in user mode.
    pub children_user: Timeval,
    /// Of waited-for children in the kernel.
    pub children_system: Timeval,
}

/// What `NT_PRPSINFO` tells of a process.
#[derive(Clone, Copy, Debug)]
pub struct Process<'a> {
    /// Process id.
    pub pid: i32,
    /// Parent.
    pub ppid: i32,
    /// Process group.
    pub pgrp: i32,
    /// Session.
    pub sid: i32,
    /// Real user.
    pub uid: u32,
    /// Real group.
    pub gid: u32,
    /// -20 to 19.
    pub nice: i8,
    /// The letter that ps(1) shows: `R`, `S`, `D`, `T`, `Z` or `W`.
    pub state: u8,
    /// The flags that `/proc/PID/stat` shows in field 9.
    pub flags: u64,
    /// The name of the program, at most 15 bytes of it are kept.
    pub comm: &'a [u8],
    /// The command line as in `/proc/PID/cmdline`; at most 79 bytes are kept, NULs become spaces.
    pub args: &'a [u8],
    /// The signal that ends the process.
    pub signal: i32,
}

/// What the notes tell of one thread.
#[derive(Clone, Copy, Debug)]
pub struct Thread<'a> {
    /// Thread id.
    pub tid: i32,
    /// The thread's pending signals.
    pub pending: u64,
    /// The signals that it blocks.
    pub blocked: u64,
    /// CPU times.
    pub times: Times,
    /// `struct user_regs_struct`: r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax,
    /// rip, cs, eflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs.
    pub regs: [u64; 27],
    /// The FXSAVE image; `None` if the thread has never used the FPU.
    pub fpregs: Option<&'a [u8; 512]>,
    /// The XSAVE image in its standard format and the enabled features (XCR0).
    pub xstate: Option<(&'a [u8], u64)>,
}

/// Writes notes one after the other.
pub(super) struct NoteWriter(Bytes);

impl NoteWriter {
    /// All notes of a core file.
    pub(super) fn write(inputs: &CoreInputs) -> Result<Vec<u8>, Errno> {
        let (first, others) = inputs.threads.split_first().ok_or(Errno::EINVAL)?;
        let mut notes = NoteWriter(Bytes(Vec::new()));
        notes.prstatus(inputs.process, first)?;
        notes.prpsinfo(inputs.process)?;
        notes.note(b"CORE\0", NT_SIGINFO, |out| out.put(inputs.siginfo))?;
        notes.note(b"CORE\0", NT_AUXV, |out| {
            inputs.auxv.iter().try_for_each(|word| out.long(*word))
        })?;
        notes.files(inputs.files)?;
        notes.floating_point(first)?;
        for thread in others {
            notes.prstatus(inputs.process, thread)?;
            notes.floating_point(thread)?;
        }
        Ok(notes.0.0)
    }

    /// One note; its size is put in when `body` has written it.
    fn note(
        &mut self,
        name: &[u8],
        kind: u32,
        body: impl FnOnce(&mut Bytes) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let out = &mut self.0;
        out.word(name.len() as u32)?;
        let size_at = out.0.len();
        out.word(0)?;
        out.word(kind)?;
        out.put(name)?;
        out.align(4)?;
        let start = out.0.len();
        body(out)?;
        let size = u32::try_from(out.0.len() - start).map_err(|_| Errno::EINVAL)?;
        if let Some(field) = out.0.get_mut(size_at..size_at + 4) {
            field.copy_from_slice(&size.to_le_bytes());
        }
        out.align(4)
    }

    /// `struct elf_prstatus`, 336 bytes.
    fn prstatus(&mut self, process: &Process, thread: &Thread) -> Result<(), Errno> {
        self.note(b"CORE\0", NT_PRSTATUS, |out| {
            out.word(process.signal.cast_unsigned())?;
            out.long(0)?; // si_code, si_errno
            out.half(process.signal as u16)?;
            out.half(0)?;
            out.long(thread.pending)?;
            out.long(thread.blocked)?;
            for id in [thread.tid, process.ppid, process.pgrp, process.sid] {
                out.word(id.cast_unsigned())?;
            }
            let times = &thread.times;
            for time in [
                times.user,
                times.system,
                times.children_user,
                times.children_system,
            ] {
                out.long(time.0)?;
                out.long(time.1)?;
            }
            thread.regs.iter().try_for_each(|reg| out.long(*reg))?;
            out.word(thread.fpregs.is_some().into())?;
            out.word(0)
        })
    }

    /// `struct elf_prpsinfo`, 136 bytes.
    fn prpsinfo(&mut self, process: &Process) -> Result<(), Errno> {
        self.note(b"CORE\0", NT_PRPSINFO, |out| {
            let number = b"RSDTZW".iter().position(|letter| *letter == process.state);
            let number = number.map_or(0, |number| number as u8);
            let zombie = u8::from(process.state == b'Z');
            out.put(&[
                number,
                process.state,
                zombie,
                process.nice.cast_unsigned(),
                0,
                0,
                0,
                0,
            ])?;
            out.long(process.flags)?;
            out.word(process.uid)?;
            out.word(process.gid)?;
            for id in [process.pid, process.ppid, process.pgrp, process.sid] {
                out.word(id.cast_unsigned())?;
            }
            out.put(&field::<16>(process.comm))?;
            let mut args = field::<80>(process.args);
            let used = process.args.len().min(79);
            args.iter_mut()
                .take(used)
                .filter(|byte| **byte == 0)
                .for_each(|byte| *byte = b' ');
            out.put(&args)
        })
    }

    /// Count, page size, the ranges, then the names.
    fn files(&mut self, files: &[MappedFile]) -> Result<(), Errno> {
        self.note(b"CORE\0", NT_FILE, |out| {
            out.long(files.len() as u64)?;
            out.long(PAGE_SIZE)?;
            for file in files {
                for value in [file.start, file.end, file.offset / PAGE_SIZE] {
                    out.long(value)?;
                }
            }
            files.iter().try_for_each(|file| {
                out.put(file.path)?;
                out.put(&[0])
            })
        })
    }

    fn floating_point(&mut self, thread: &Thread) -> Result<(), Errno> {
        if let Some(fpregs) = thread.fpregs {
            self.note(b"CORE\0", NT_FPREGSET, |out| out.put(fpregs))?;
        }
        let Some((image, xcr0)) = thread.xstate else {
            return Ok(());
        };
        self.note(b"LINUX\0", NT_X86_XSTATE, |out| {
            let start = out.0.len();
            out.put(image)?;
            let at = start + XSTATE_XCR0;
            if let Some(field) = out.0.get_mut(at..at + 8) {
                field.copy_from_slice(&xcr0.to_le_bytes());
            }
            Ok(())
        })
    }
}

/// `bytes` cut to leave at least one NUL.
fn field<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    let len = bytes.len().min(N - 1);
    field[..len].copy_from_slice(&bytes[..len]);
    field
}
