//! What a core file tells, and its memory. The layout is `keel-ld-support`'s.

use core::sync::atomic::Ordering;
use keel_hal::fpu;
use keel_hal::paging::PageProt;
use keel_ld_support::coredump::{
    CoreInputs, CorePlan, CoreSegment, Dump, MappedFile, Mapping, Process as ProcessNote,
    Thread as ThreadNote, Times, dump,
};
use keel_ld_support::elf::Prot;
use zerocopy::IntoBytes;

use super::Corpse;
use super::sink::Sink;
use crate::mm::{AddressSpace, VmFlags, VmaInfo};
use crate::prelude::*;
use crate::process::Thread;
use crate::process::process::{Usage, thread_usage};
use crate::process::signal::SigInfo;

/// `PF_DUMPCORE` and `PF_SIGNALED`, which a process that dumps core has.
const FLAGS: u64 = 0x200 | 0x400;
/// Bytes of the FXSAVE part of an XSAVE area.
const FXSAVE: usize = 512;
/// How much memory is copied at a time.
const CHUNK: usize = 16 * PAGE_SIZE;

/// A mapping, by itself.
struct Area {
    start: usize,
    end: usize,
    prot: PageProt,
    flags: VmFlags,
    offset: u64,
    path: Option<Vec<u8>>,
    executable: bool,
}

/// Writes the core file of a process whose threads all stand still.
pub fn write(
    thread: &Arc<Thread>,
    corpses: &[Corpse],
    info: &SigInfo,
    sink: &mut Sink,
) -> Result<()> {
    let mm = thread.mm_opt().ok_or(Errno::ESRCH)?;
    let areas = areas_of(&mm)?;
    let filter = thread.process.coredump_filter.load(Ordering::Relaxed);
    let segments: Vec<CoreSegment> = areas
        .iter()
        .map(|area| segment_of(&mm, area, filter))
        .collect();
    let plan = plan(thread, &mm, corpses, info, &areas, &segments)?;
    sink.put(&plan.header)?;
    for (area, segment) in areas.iter().zip(&segments) {
        // Pages of files are read whether or not they are in memory.
        let backed = area.path.is_some() || area.special();
        write_memory(&mm, segment, backed, sink)?;
    }
    sink.finish(thread)
}

fn areas_of(mm: &Arc<AddressSpace>) -> Result<Vec<Area>> {
    let mut files = Vec::new();
    let mut areas = Vec::new();
    let mut result = Ok(());
    mm.for_each_vma(|vma: &VmaInfo| {
        result = areas.try_reserve(1).map_err(|_| Errno::ENOMEM);
        if result.is_err() {
            return false;
        }
        areas.push(Area {
            start: vma.start,
            end: vma.end,
            prot: vma.prot,
            flags: vma.flags,
            offset: vma.offset,
            path: None,
            executable: false,
        });
        files.push(vma.file.clone());
        true
    });
    result?;
    // Paths are made without the address space's lock.
    for (area, file) in areas.iter_mut().zip(files) {
        if let Some(file) = file {
            area.executable = file.inode.attr().mode & 0o111 != 0;
            area.path = Some(crate::fs::procfs::shown_path(&file.path));
        }
    }
    Ok(areas)
}

impl Area {
    fn special(&self) -> bool {
        self.flags.intersects(VmFlags::VDSO | VmFlags::VVAR)
    }

    fn shared(&self) -> bool {
        self.flags.contains(VmFlags::SHARED)
    }

    /// Whether the file that is mapped still has its name.
    fn named(&self) -> bool {
        self.path
            .as_ref()
            .is_some_and(|path| !path.ends_with(b" (deleted)"))
    }

    /// Whether some page of a private file mapping is a copy of the process's own.
    fn has_copies(&self, mm: &Arc<AddressSpace>) -> bool {
        let mut at = self.start;
        while at < self.end {
            let mut cursor = mm.table().cursor(at, self.end);
            let Some(page) = cursor.next_mapped() else {
                return false;
            };
            let copy = cursor
                .query()
                .is_some_and(|page| page.dirty || page.prot.contains(PageProt::WRITE));
            if copy {
                return true;
            }
            at = page + PAGE_SIZE;
        }
        false
    }

    fn begins_like_elf(&self, mm: &Arc<AddressSpace>) -> bool {
        let mut magic = [0; 4];
        self.executable
            || (mm.read_remote(self.start, &mut magic) == magic.len() && magic == *b"\x7fELF")
    }
}

fn segment_of(mm: &Arc<AddressSpace>, area: &Area, filter: u32) -> CoreSegment {
    let private_file = area.path.is_some() && !area.shared();
    let mapping = Mapping {
        special: area.flags.contains(VmFlags::VDSO),
        dont_dump: area.flags.contains(VmFlags::DONTDUMP),
        // The time page is the kernel's; as on Linux it stays out.
        io: area.flags.contains(VmFlags::VVAR),
        shared: area.shared(),
        hugetlb: false,
        file: area.named(),
        has_anon: private_file && area.has_copies(mm),
        elf_start: private_file
            && area.offset == 0
            && area.prot.contains(PageProt::READ)
            && area.begins_like_elf(mm),
    };
    let size = (area.end - area.start) as u64;
    CoreSegment {
        start: area.start as u64,
        memsz: size,
        dumped: match dump(&mapping, filter) {
            Dump::None => 0,
            Dump::FirstPage => PAGE_SIZE as u64,
            Dump::All => size,
        },
        prot: Prot {
            read: area.prot.contains(PageProt::READ),
            write: area.prot.contains(PageProt::WRITE),
            exec: area.prot.contains(PageProt::EXEC),
        },
    }
}

fn plan(
    thread: &Arc<Thread>,
    mm: &Arc<AddressSpace>,
    corpses: &[Corpse],
    info: &SigInfo,
    areas: &[Area],
    segments: &[CoreSegment],
) -> Result<CorePlan> {
    let process = &thread.process;
    let cred = thread.cred();
    let comm = thread.comm();
    let args = arguments(mm);
    let nice = thread
        .task()
        .map_or(0, |task| crate::sched::entity(&task).nice());
    let note = ProcessNote {
        pid: process.pid as i32,
        ppid: process.ppid() as i32,
        pgrp: process.pgid() as i32,
        sid: process.sid() as i32,
        uid: cred.uid,
        gid: cred.gid,
        nice: nice as i8,
        state: b'R',
        flags: FLAGS,
        comm: comm.as_bytes(),
        args: &args,
        signal: info.signo(),
    };
    let children = *process.children_usage.lock();
    let threads: Vec<ThreadNote<'_>> = corpses
        .iter()
        .map(|corpse| thread_note(corpse, &children))
        .collect();
    let files: Vec<MappedFile<'_>> = areas
        .iter()
        .filter_map(|area| {
            let path = area.path.as_deref()?;
            Some(MappedFile {
                start: area.start as u64,
                end: area.end as u64,
                offset: area.offset,
                path,
            })
        })
        .collect();
    let auxv = process.auxv.lock().clone();
    let mut siginfo = [0; 128];
    let raw = info.raw.as_bytes();
    let len = raw.len().min(siginfo.len());
    siginfo[..len].copy_from_slice(&raw[..len]);
    CorePlan::new(&CoreInputs {
        process: &note,
        threads: &threads,
        siginfo: &siginfo,
        auxv: &auxv,
        files: &files,
        segments,
    })
}

fn thread_note<'a>(corpse: &'a Corpse, children: &Usage) -> ThreadNote<'a> {
    const NS: u64 = 1_000_000_000;
    let time = |ns: u64| (ns / NS, ns % NS / 1000);
    let usage = thread_usage(&corpse.thread);
    ThreadNote {
        tid: corpse.thread.tid() as i32,
        pending: corpse.thread.signals.pending_set(),
        blocked: corpse.blocked,
        times: Times {
            user: time(usage.user_ns),
            system: time(usage.system_ns),
            children_user: time(children.user_ns),
            children_system: time(children.system_ns),
        },
        regs: corpse.regs,
        fpregs: corpse.xstate.first_chunk::<FXSAVE>(),
        xstate: (corpse.xstate.len() > FXSAVE).then(|| (corpse.xstate.as_slice(), fpu::features())),
    }
}

/// The start of the command line.
fn arguments(mm: &Arc<AddressSpace>) -> Vec<u8> {
    let layout = mm.layout();
    let len = layout.arg_end.saturating_sub(layout.arg_start).min(80);
    let mut args = vec![0; len];
    let got = mm.read_remote(layout.arg_start, &mut args);
    args.truncate(got);
    args
}

/// Writes what of a mapping is in memory, or for one that is `backed` all; the rest are holes.
fn write_memory(
    mm: &Arc<AddressSpace>,
    segment: &CoreSegment,
    backed: bool,
    sink: &mut Sink,
) -> Result<()> {
    let mut chunk = Vec::new();
    chunk.try_reserve_exact(CHUNK).map_err(|_| Errno::ENOMEM)?;
    let mut at = segment.start as usize;
    let end = at + segment.dumped as usize;
    while at < end {
        let next = if backed {
            at
        } else {
            let mapped = mm.table().cursor(at, end).next_mapped();
            mapped.unwrap_or(end).clamp(at, end)
        };
        sink.skip((next - at) as u64)?;
        at = next;
        let len = if backed {
            (end - at).min(CHUNK)
        } else {
            run_of_pages(mm, at, end)
        };
        if len == 0 {
            break;
        }
        chunk.clear();
        chunk.resize(len, 0);
        let got = mm.read_remote(at, &mut chunk);
        sink.put(&chunk[..got])?;
        at += got;
        if got < len {
            // A page beyond the end of its file, or one that cannot be read.
            let skip = (at + 1).next_multiple_of(PAGE_SIZE).min(end) - at;
            sink.skip(skip as u64)?;
            at += skip;
        }
    }
    Ok(())
}

/// Bytes of mapped pages in a row from `at` on, at most a chunk.
fn run_of_pages(mm: &Arc<AddressSpace>, at: usize, end: usize) -> usize {
    let last = end.min(at + CHUNK);
    let mut stop = at;
    while stop < last {
        if mm.table().cursor(stop, last).next_mapped() != Some(stop) {
            break;
        }
        stop += PAGE_SIZE;
    }
    stop.min(last) - at
}
