//! meminfo, vmstat, buddyinfo, zoneinfo, slabinfo, swaps.

use keel_abi::Result;

use crate::put;
use crate::source::{MemInfo, Slab, Swap, System, Zone, ZoneInfo};
use crate::text::Text;

pub(crate) fn read_meminfo(sys: &dyn System, out: &mut Text) -> Result<()> {
    meminfo(&sys.meminfo(), out)
}

/// One line: the name padded to sixteen columns, the value to eight.
fn row(name: &str, bytes: u64, out: &mut Text) -> Result<()> {
    put!(out, "{:<16}{:8} kB\n", NameColon(name), bytes >> 10)
}

/// A name with its colon, which `{:<16}` can pad.
struct NameColon<'a>(&'a str);

impl core::fmt::Display for NameColon<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let width = f.width().unwrap_or(0).saturating_sub(self.0.len() + 1);
        write!(f, "{}:{:width$}", self.0, "")
    }
}

/// proc_meminfo(5).
pub fn meminfo(m: &MemInfo, out: &mut Text) -> Result<()> {
    let rows = |rows: &[(&str, u64)], out: &mut Text| {
        rows.iter()
            .try_for_each(|(name, bytes)| row(name, *bytes, out))
    };
    let optional = |name: &str, bytes: Option<u64>, out: &mut Text| {
        bytes.map_or(Ok(()), |bytes| row(name, bytes, out))
    };
    rows(
        &[
            ("MemTotal", m.total),
            ("MemFree", m.free),
            ("MemAvailable", m.available),
            ("Buffers", m.buffers),
            ("Cached", m.cached),
            ("SwapCached", m.swap_cached),
            ("Active", m.active_anon.saturating_add(m.active_file)),
            ("Inactive", m.inactive_anon.saturating_add(m.inactive_file)),
            ("Active(anon)", m.active_anon),
            ("Inactive(anon)", m.inactive_anon),
            ("Active(file)", m.active_file),
            ("Inactive(file)", m.inactive_file),
            ("Unevictable", m.unevictable),
            ("Mlocked", m.mlocked),
            ("SwapTotal", m.swap_total),
            ("SwapFree", m.swap_free),
        ],
        out,
    )?;
    optional("Zswap", m.zswap.map(|z| z.0), out)?;
    optional("Zswapped", m.zswap.map(|z| z.1), out)?;
    rows(
        &[
            ("Dirty", m.dirty),
            ("Writeback", m.writeback),
            ("AnonPages", m.anon_pages),
            ("Mapped", m.mapped),
            ("Shmem", m.shmem),
            ("KReclaimable", m.kreclaimable),
            (
                "Slab",
                m.slab_reclaimable.saturating_add(m.slab_unreclaimable),
            ),
            ("SReclaimable", m.slab_reclaimable),
            ("SUnreclaim", m.slab_unreclaimable),
            ("KernelStack", m.kernel_stack),
            ("PageTables", m.page_tables),
            ("SecPageTables", m.sec_page_tables),
            ("NFS_Unstable", m.nfs_unstable),
            ("Bounce", m.bounce),
            ("WritebackTmp", m.writeback_tmp),
            ("CommitLimit", m.commit_limit),
            ("Committed_AS", m.committed_as),
            ("VmallocTotal", m.vmalloc_total),
            ("VmallocUsed", m.vmalloc_used),
            ("VmallocChunk", 0),
            ("Percpu", m.percpu),
        ],
        out,
    )?;
    if let Some(bytes) = m.hardware_corrupted {
        put!(out, "HardwareCorrupted: {:5} kB\n", bytes >> 10)?;
    }
    rows(
        &[
            ("AnonHugePages", m.anon_huge_pages),
            ("ShmemHugePages", m.shmem_huge_pages),
            ("ShmemPmdMapped", m.shmem_pmd_mapped),
            ("FileHugePages", m.file_huge_pages),
            ("FilePmdMapped", m.file_pmd_mapped),
        ],
        out,
    )?;
    optional("CmaTotal", m.cma.map(|c| c.0), out)?;
    optional("CmaFree", m.cma.map(|c| c.1), out)?;
    optional("Unaccepted", m.unaccepted, out)?;
    optional("Balloon", m.balloon, out)?;
    for (name, count) in ["Total", "Free", "Rsvd", "Surp"]
        .into_iter()
        .zip(m.huge_pages)
    {
        put!(
            out,
            "HugePages_{name}:{count:>width$}\n",
            width = 13 - name.len()
        )?;
    }
    row("Hugepagesize", m.huge_page_size, out)?;
    row("Hugetlb", m.hugetlb, out)?;
    row("DirectMap4k", m.direct_map_4k, out)?;
    row("DirectMap2M", m.direct_map_2m, out)?;
    optional("DirectMap1G", m.direct_map_1g, out)
}

pub(crate) fn read_vmstat(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.vmstat()
        .iter()
        .try_for_each(|(name, value)| put!(out, "{name} {value}\n"))
}

pub(crate) fn read_buddyinfo(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.buddyinfo()
        .iter()
        .try_for_each(|zone| buddyinfo(zone, out))
}

/// One line of proc_buddyinfo(5).
pub fn buddyinfo(zone: &Zone, out: &mut Text) -> Result<()> {
    put!(out, "Node {}, zone {:>8} ", zone.node, zone.name)?;
    zone.free
        .iter()
        .try_for_each(|count| put!(out, "{count:6} "))?;
    out.str("\n")
}

pub(crate) fn read_zoneinfo(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.zoneinfo()
        .iter()
        .try_for_each(|zone| zoneinfo(zone, out))
}

/// One zone of proc_zoneinfo(5).
pub fn zoneinfo(z: &ZoneInfo, out: &mut Text) -> Result<()> {
    put!(out, "Node {}, zone {:>8}", z.node, z.name)?;
    if !z.node_counters.is_empty() {
        out.str("\n  per-node stats")?;
        z.node_counters
            .iter()
            .try_for_each(|(name, value)| put!(out, "\n      {name:<12} {value}"))?;
    }
    put!(out, "\n  pages free     {}", z.free)?;
    for (name, value) in [
        ("boost", z.boost),
        ("min", z.min),
        ("low", z.low),
        ("high", z.high),
        ("spanned", z.spanned),
        ("present", z.present),
        ("managed", z.managed),
        ("cma", z.cma),
    ] {
        put!(out, "\n        {name:<8} {value}")?;
    }
    out.str("\n        protection: (")?;
    for (index, value) in z.protection.iter().enumerate() {
        put!(out, "{}{value}", if index > 0 { ", " } else { "" })?;
    }
    out.str(")")?;
    if z.present == 0 {
        return out.str("\n");
    }
    z.counters
        .iter()
        .try_for_each(|(name, value)| put!(out, "\n      {name:<12} {value}"))?;
    out.str("\n  pagesets")?;
    for [cpu, count, high, batch, threshold] in &z.pagesets {
        put!(
            out,
            "\n    cpu: {cpu}\n              count: {count}\n              high:  {high}"
        )?;
        put!(
            out,
            "\n              batch: {batch}\n  vm stats threshold: {threshold}"
        )?;
    }
    put!(
        out,
        "\n  node_unreclaimable:  {}",
        u8::from(z.node_unreclaimable)
    )?;
    put!(out, "\n  start_pfn:           {}\n", z.start_pfn)
}

pub(crate) fn read_slabinfo(sys: &dyn System, out: &mut Text) -> Result<()> {
    out.str(
        "slabinfo - version: 2.1\n\
         # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> \
         : tunables <limit> <batchcount> <sharedfactor> \
         : slabdata <active_slabs> <num_slabs> <sharedavail>\n",
    )?;
    sys.slabinfo().iter().try_for_each(|cache| slab(cache, out))
}

/// One line of slabinfo(5).
pub fn slab(s: &Slab, out: &mut Text) -> Result<()> {
    put!(
        out,
        "{:<17} {:6} {:6} {:6}",
        s.name,
        s.active_objects,
        s.objects,
        s.object_size
    )?;
    put!(out, " {:4} {:4}", s.objects_per_slab, s.pages_per_slab)?;
    put!(out, " : tunables {:4} {:4} {:4}", 0, 0, 0)?;
    put!(
        out,
        " : slabdata {:6} {:6} {:6}\n",
        s.active_slabs,
        s.slabs,
        0
    )
}

pub(crate) fn read_swaps(sys: &dyn System, out: &mut Text) -> Result<()> {
    out.str("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")?;
    sys.swaps().iter().try_for_each(|area| swap(area, out))
}

/// One line of proc_swaps(5).
pub fn swap(s: &Swap, out: &mut Text) -> Result<()> {
    /// Column of the type.
    const PATH_WIDTH: usize = 40;
    let begin = out.len();
    out.escaped(&s.path, b" \t\n\\")?;
    let used = out.len() - begin;
    put!(
        out,
        "{:width$}",
        "",
        width = PATH_WIDTH.saturating_sub(used).max(1)
    )?;
    let (size, taken) = (s.size >> 10, s.used >> 10);
    let tab = |kilobytes: u64| if kilobytes < 10_000_000 { "\t" } else { "" };
    let kind = if s.partition { "partition" } else { "file\t" };
    put!(
        out,
        "{kind}\t{size}\t{}{taken}\t{}{}\n",
        tab(size),
        tab(taken),
        s.priority
    )
}
