//! maps, smaps, smaps_rollup and map_files (proc_pid_maps(5), proc_pid_smaps(5)).

use alloc::vec::Vec;

use keel_abi::{Errno, Result};

use crate::entry::TaskCx;
use crate::put;
use crate::source::{Task, Vma, VmaFlags, VmaName, VmaUsage};
use crate::text::Text;

/// Column at which the name of an area begins.
const NAME_COLUMN: usize = 73;

pub(crate) fn read_maps(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    cx.task.vmas(&mut |vma| line(vma, out))
}

pub(crate) fn read_smaps(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    cx.task.smaps(&mut |vma, usage| smap(vma, usage, out))
}

pub(crate) fn read_rollup(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    let mut sum = VmaUsage::default();
    let mut range: Option<(u64, u64)> = None;
    cx.task.smaps(&mut |vma, usage| {
        range = Some((range.map_or(vma.start, |r| r.0), vma.end));
        sum.add(usage);
        Ok(())
    })?;
    let (start, end) = range.unwrap_or((0, 0));
    rollup(start, end, &sum, out)
}

pub(crate) fn read_numa_maps(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    cx.task.smaps(&mut |vma, usage| numa_line(vma, usage, out))
}

/// One line of numa_maps (numa(7)) of a machine with one node.
pub fn numa_line(vma: &Vma<'_>, usage: &VmaUsage, out: &mut Text) -> Result<()> {
    let policy = if vma.policy.is_empty() {
        "default"
    } else {
        vma.policy
    };
    put!(out, "{:08x} {policy}", vma.start)?;
    match vma.name {
        VmaName::Path(path) => {
            out.str(" file=")?;
            out.escaped(path, b"\n\t= ")?;
        }
        VmaName::Special("[heap]") => out.str(" heap")?,
        VmaName::Special("[stack]") => out.str(" stack")?,
        _ => {}
    }
    let huge = vma.flags.contains(VmaFlags::HUGETLB);
    let size = usage.kernel_page_size.max(1);
    let held = usage.shared_hugetlb + usage.private_hugetlb;
    let bytes = if huge {
        out.str(" huge")?;
        held
    } else {
        usage.rss
    };
    let pages = bytes / size;
    if pages > 0 {
        let anon = usage.anonymous / size;
        let dirty = if huge {
            pages
        } else {
            (usage.shared_dirty + usage.private_dirty) / size
        };
        for (name, count) in [("anon", anon), ("dirty", dirty)] {
            if count > 0 {
                put!(out, " {name}={count}")?;
            }
        }
        if pages != anon && pages != dirty {
            put!(out, " mapped={pages}")?;
        }
        put!(out, " N0={pages} kernelpagesize_kB={}", size >> 10)?;
    }
    out.str("\n")
}

/// One line of maps.
pub fn line(vma: &Vma<'_>, out: &mut Text) -> Result<()> {
    let begin = out.len();
    let bit = |flag, letter| {
        if vma.flags.contains(flag) {
            letter
        } else {
            '-'
        }
    };
    put!(
        out,
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ",
        vma.start,
        vma.end,
        bit(VmaFlags::READ, 'r'),
        bit(VmaFlags::WRITE, 'w'),
        bit(VmaFlags::EXEC, 'x'),
        if vma.flags.contains(VmaFlags::SHARED) {
            's'
        } else {
            'p'
        },
        vma.offset,
        vma.dev.major,
        vma.dev.minor,
        vma.ino,
    )?;
    if vma.name != VmaName::None {
        out.pad_line(begin, NAME_COLUMN)?;
    }
    match vma.name {
        VmaName::None => {}
        VmaName::Path(path) => out.escaped(path, b"\n")?,
        VmaName::Special(name) => out.str(name)?,
        VmaName::Anon(name) => {
            out.str("[anon:")?;
            out.bytes(name)?;
            out.str("]")?;
        }
        VmaName::AnonShared(name) => {
            out.str("[anon_shmem:")?;
            out.bytes(name)?;
            out.str("]")?;
        }
    }
    out.str("\n")
}

/// One area of smaps: its line, and what it uses.
pub fn smap(vma: &Vma<'_>, usage: &VmaUsage, out: &mut Text) -> Result<()> {
    line(vma, out)?;
    kilobytes("Size", vma.end.saturating_sub(vma.start), out)?;
    kilobytes("KernelPageSize", usage.kernel_page_size, out)?;
    kilobytes("MMUPageSize", usage.mmu_page_size, out)?;
    amounts(usage, false, out)?;
    put!(out, "THPeligible:    {:8}\n", u8::from(usage.thp_eligible))?;
    if let Some(key) = usage.protection_key {
        put!(out, "ProtectionKey:  {key:8}\n")?;
    }
    out.str("VmFlags: ")?;
    for (flag, code) in CODES {
        if vma.flags.contains(*flag) {
            put!(out, "{code} ")?;
        }
    }
    out.str("\n")
}

/// smaps_rollup: the sums over all areas.
pub fn rollup(start: u64, end: u64, sum: &VmaUsage, out: &mut Text) -> Result<()> {
    let whole = Vma {
        start,
        end,
        name: VmaName::Special("[rollup]"),
        ..Vma::default()
    };
    line(&whole, out)?;
    amounts(sum, true, out)
}

fn amounts(u: &VmaUsage, rollup: bool, out: &mut Text) -> Result<()> {
    kilobytes("Rss", u.rss, out)?;
    kilobytes("Pss", u.pss, out)?;
    kilobytes("Pss_Dirty", u.pss_dirty, out)?;
    if rollup {
        kilobytes("Pss_Anon", u.pss_anon, out)?;
        kilobytes("Pss_File", u.pss_file, out)?;
        kilobytes("Pss_Shmem", u.pss_shmem, out)?;
    }
    for (name, bytes) in [
        ("Shared_Clean", Some(u.shared_clean)),
        ("Shared_Dirty", Some(u.shared_dirty)),
        ("Private_Clean", Some(u.private_clean)),
        ("Private_Dirty", Some(u.private_dirty)),
        ("Referenced", Some(u.referenced)),
        ("Anonymous", Some(u.anonymous)),
        ("KSM", u.ksm),
        ("LazyFree", Some(u.lazy_free)),
        ("AnonHugePages", Some(u.anon_huge_pages)),
        ("ShmemPmdMapped", Some(u.shmem_pmd_mapped)),
        ("FilePmdMapped", Some(u.file_pmd_mapped)),
        ("Shared_Hugetlb", Some(u.shared_hugetlb)),
        ("Private_Hugetlb", Some(u.private_hugetlb)),
        ("Swap", Some(u.swap)),
        ("SwapPss", Some(u.swap_pss)),
        ("Locked", Some(u.locked)),
    ] {
        if let Some(bytes) = bytes {
            kilobytes(name, bytes, out)?;
        }
    }
    Ok(())
}

fn kilobytes(name: &str, bytes: u64, out: &mut Text) -> Result<()> {
    let width = 23usize.saturating_sub(name.len());
    put!(out, "{name}:{:width$} kB\n", bytes >> 10)
}

/// The codes of `VmFlags`, in the order of the kernel's bits.
const CODES: &[(VmaFlags, &str)] = &[
    (VmaFlags::READ, "rd"),
    (VmaFlags::WRITE, "wr"),
    (VmaFlags::EXEC, "ex"),
    (VmaFlags::SHARED, "sh"),
    (VmaFlags::MAYREAD, "mr"),
    (VmaFlags::MAYWRITE, "mw"),
    (VmaFlags::MAYEXEC, "me"),
    (VmaFlags::MAYSHARE, "ms"),
    (VmaFlags::GROWSDOWN, "gd"),
    (VmaFlags::UFFD_MISSING, "um"),
    (VmaFlags::PFNMAP, "pf"),
    (VmaFlags::UFFD_WP, "uw"),
    (VmaFlags::LOCKED, "lo"),
    (VmaFlags::IO, "io"),
    (VmaFlags::SEQ_READ, "sr"),
    (VmaFlags::RAND_READ, "rr"),
    (VmaFlags::DONTCOPY, "dc"),
    (VmaFlags::DONTEXPAND, "de"),
    (VmaFlags::LOCKONFAULT, "lf"),
    (VmaFlags::ACCOUNT, "ac"),
    (VmaFlags::NORESERVE, "nr"),
    (VmaFlags::HUGETLB, "ht"),
    (VmaFlags::SYNC, "sf"),
    (VmaFlags::ARCH_1, "ar"),
    (VmaFlags::WIPEONFORK, "wf"),
    (VmaFlags::DONTDUMP, "dd"),
    (VmaFlags::SOFTDIRTY, "sd"),
    (VmaFlags::MIXEDMAP, "mm"),
    (VmaFlags::HUGEPAGE, "hg"),
    (VmaFlags::NOHUGEPAGE, "nh"),
    (VmaFlags::MERGEABLE, "mg"),
    (VmaFlags::UFFD_MINOR, "ui"),
    (VmaFlags::SHADOW_STACK, "ss"),
    (VmaFlags::SEALED, "sl"),
];

/// The area that a code of `VmFlags` stands for.
pub fn flag_of_code(code: &str) -> Option<VmaFlags> {
    CODES
        .iter()
        .find(|(_, name)| *name == code)
        .map(|(flag, _)| *flag)
}

/// Whether an area has an entry in map_files.
pub(crate) fn is_file(vma: &Vma<'_>) -> bool {
    matches!(vma.name, VmaName::Path(_))
}

/// `START-END` in hexadecimal without leading zeros, as map_files names its links.
pub(crate) fn parse_range(name: &[u8]) -> Option<(u64, u64)> {
    let dash = name.iter().position(|&b| b == b'-')?;
    Some((hex(name.get(..dash)?)?, hex(name.get(dash + 1..)?)?))
}

fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 || (digits.len() > 1 && digits.first() == Some(&b'0'))
    {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &byte| {
        let digit = char::from(byte).to_digit(16)?;
        (!byte.is_ascii_uppercase()).then_some(value << 4 | u64::from(digit))
    })
}

/// Calls `found` on the file area with exactly these bounds. Errors: `ENOENT`.
fn with_area<T>(
    task: &dyn Task,
    (start, end): (u64, u64),
    mut found: impl FnMut(&Vma<'_>) -> T,
) -> Result<T> {
    let mut result = None;
    task.vmas(&mut |vma| {
        if vma.start == start && vma.end == end && is_file(vma) {
            result = Some(found(vma));
        }
        Ok(())
    })?;
    result.ok_or(Errno::ENOENT)
}

/// Permissions of a link in map_files: what the file is open for.
pub(crate) fn file_mode(task: &dyn Task, start: u64, end: u64) -> Result<u16> {
    with_area(task, (start, end), |vma| {
        let read = if vma.flags.contains(VmaFlags::MAYREAD) {
            0o400
        } else {
            0
        };
        let shared_write = VmaFlags::MAYWRITE | VmaFlags::MAYSHARE;
        read | if vma.flags.contains(shared_write) {
            0o200
        } else {
            0
        }
    })
}

/// Target of a link in map_files.
pub(crate) fn file_path(task: &dyn Task, start: u64, end: u64) -> Result<Vec<u8>> {
    with_area(task, (start, end), |vma| match vma.name {
        VmaName::Path(path) => path.to_vec(),
        _ => Vec::new(),
    })
}
