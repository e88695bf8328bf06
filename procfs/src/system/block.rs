//! partitions and diskstats.

use keel_abi::Result;

use crate::put;
use crate::source::{Disk, DiskStats, System};
use crate::text::Text;

pub(crate) fn read_partitions(sys: &dyn System, out: &mut Text) -> Result<()> {
    out.str("major minor  #blocks  name\n\n")?;
    sys.disks()
        .iter()
        .filter(|disk| !disk.hidden)
        .try_for_each(|disk| partition(disk, out))
}

/// One line of proc_partitions(5); blocks are kilobytes.
pub fn partition(d: &Disk, out: &mut Text) -> Result<()> {
    put!(
        out,
        "{:4}  {:7} {:10} {}\n",
        d.dev.major,
        d.dev.minor,
        d.sectors >> 1,
        d.name
    )
}

pub(crate) fn read_diskstats(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.disks().iter().try_for_each(|disk| diskstats(disk, out))
}

/// One line of proc_diskstats(5).
pub fn diskstats(d: &Disk, out: &mut Text) -> Result<()> {
    put!(out, "{:4} {:7} {}", d.dev.major, d.dev.minor, d.name)?;
    columns(&d.stats)
        .iter()
        .try_for_each(|value| put!(out, " {value}"))?;
    out.str("\n")
}

fn columns(s: &DiskStats) -> [u64; 17] {
    [
        s.reads,
        s.reads_merged,
        s.read_sectors,
        s.read_ms,
        s.writes,
        s.writes_merged,
        s.written_sectors,
        s.write_ms,
        s.in_flight,
        s.io_ms,
        s.queue_ms,
        s.discards,
        s.discards_merged,
        s.discarded_sectors,
        s.discard_ms,
        s.flushes,
        s.flush_ms,
    ]
}
