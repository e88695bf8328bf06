//! Disks and partitions: what lsblk, udev, blkid and iostat read.
//!
//! Spec: the kernel's `Documentation/ABI/stable/sysfs-block` and `Documentation/block/stat`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use keel_abi::{Errno, Result};
use keel_procfs::{DevNo, DiskStats, Text, put};

use crate::attr::{Attrs, number};
use crate::device::{Device, DeviceNode};
use crate::registry::{Id, Registry};

/// What a disk or partition says of itself at any time.
pub trait BlockSource: Send + Sync {
    /// Size in sectors of 512 bytes.
    fn sectors(&self) -> u64;

    /// Whether it cannot be written.
    fn read_only(&self) -> bool;

    /// What it has done.
    fn stats(&self) -> DiskStats;

    /// Requests at the device now: reads and writes.
    fn in_flight(&self) -> (u32, u32);
}

/// What a disk has beside.
pub trait DiskSource: BlockSource {
    /// Its limits and settings.
    fn queue(&self) -> Queue;

    /// Changes a setting. Errors: `EINVAL` for a value it cannot have or a setting it does not change.
    fn set(&self, _setting: QueueSetting, _value: u64) -> Result<()> {
        Err(Errno::EINVAL)
    }
}

/// The settings below `queue/` that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum QueueSetting {
    ReadAheadKb,
    NrRequests,
    NoMerges,
    Rotational,
    IoStats,
    AddRandom,
    RqAffinity,
    StableWrites,
    MaxSectorsKb,
    DiscardMaxBytes,
    /// 1 for `write back`.
    WriteCache,
}

/// The values below `queue/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The files of the same names.
pub struct Queue {
    pub logical_block_size: u32,
    pub physical_block_size: u32,
    pub minimum_io_size: u32,
    pub optimal_io_size: u32,
    pub max_hw_sectors_kb: u32,
    pub max_sectors_kb: u32,
    pub max_segments: u32,
    pub max_segment_size: u32,
    pub nr_requests: u32,
    pub read_ahead_kb: u32,
    pub rotational: bool,
    /// The device keeps writes in a cache that flush empties.
    pub write_back: bool,
    pub fua: bool,
    pub nomerges: u32,
    pub iostats: bool,
    pub add_random: bool,
    pub rq_affinity: u32,
    pub stable_writes: bool,
    pub discard_granularity: u32,
    pub discard_max_bytes: u64,
    pub discard_max_hw_bytes: u64,
    pub max_discard_segments: u32,
    pub write_zeroes_max_bytes: u64,
    pub dma_alignment: u32,
}

impl Default for Queue {
    /// A disk of 512-byte sectors without discard, read ahead 128 KiB.
    fn default() -> Self {
        Queue {
            logical_block_size: 512,
            physical_block_size: 512,
            minimum_io_size: 512,
            optimal_io_size: 0,
            max_hw_sectors_kb: 1280,
            max_sectors_kb: 1280,
            max_segments: 254,
            max_segment_size: 65536,
            nr_requests: 256,
            read_ahead_kb: 128,
            rotational: false,
            write_back: false,
            fua: false,
            nomerges: 0,
            iostats: true,
            add_random: false,
            rq_affinity: 1,
            stable_writes: false,
            discard_granularity: 0,
            discard_max_bytes: 0,
            discard_max_hw_bytes: 0,
            max_discard_segments: 1,
            write_zeroes_max_bytes: 0,
            dma_alignment: 511,
        }
    }
}

/// A disk to be added.
#[derive(Clone)]
pub struct Disk {
    /// Its name, e.g. `vda`.
    pub name: String,
    /// Its number.
    pub dev: DevNo,
    /// The device that drives it; `None` for a virtual disk.
    pub parent: Option<Id>,
    /// How many numbers of its own it has, for itself and its partitions.
    pub minors: u32,
    /// Whether it may have partitions, beyond its own numbers if need be.
    pub partitioned: bool,
    /// Whether the medium can be taken out.
    pub removable: bool,
    /// Events that it announces, e.g. `media_change`; empty for most.
    pub events: &'static str,
    /// Number of the disk since boot, from 1.
    pub diskseq: u64,
    /// What the driver adds, e.g. `serial` and `cache_type` of virtio.
    pub attrs: Attrs,
}

/// A partition to be added.
#[derive(Clone)]
pub struct Partition {
    /// Its name, e.g. `vda1`.
    pub name: String,
    /// Its device number.
    pub dev: DevNo,
    /// Its number in the table, from 1.
    pub number: u32,
    /// First sector of 512 bytes.
    pub start: u64,
    /// Name in the table, if it has one.
    pub label: Option<String>,
    /// The disk's `diskseq`.
    pub diskseq: u64,
}

/// The line of `stat`.
pub fn stat(s: &DiskStats, out: &mut Text) -> Result<()> {
    let columns = [
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
    ];
    for (index, value) in columns.iter().enumerate() {
        put!(out, "{}{value:8}", if index > 0 { " " } else { "" })?;
    }
    out.str("\n")
}

/// What disks and partitions have both.
fn common(source: &Arc<dyn BlockSource>) -> Attrs {
    let (size, ro) = (source.clone(), source.clone());
    let (stats, flight) = (source.clone(), source.clone());
    Attrs::new()
        .value("size", move || size.sectors())
        .value("ro", move || u8::from(ro.read_only()))
        .show("stat", move |out| stat(&stats.stats(), out))
        .show("inflight", move |out| {
            let (reads, writes) = flight.in_flight();
            put!(out, "{reads:8} {writes:8}\n")
        })
        .fixed("alignment_offset", 0)
        .fixed("discard_alignment", 0)
}

impl Registry {
    /// Adds a disk, with `/sys/block/NAME`. Errors: as [`Registry::add_device`].
    pub fn add_disk(&mut self, disk: Disk, source: Arc<dyn DiskSource>) -> Result<Id> {
        let basic: Arc<dyn BlockSource> = Arc::new(AsBlock(source.clone()));
        let mut device = Device::class("block", disk.name.clone(), disk.parent);
        device.node = Some(DeviceNode {
            dev: disk.dev,
            block: true,
            path: disk.name.clone(),
            mode: None,
        });
        device.kind = Some("disk".to_string());
        device.vars = alloc::vec![("DISKSEQ".to_string(), disk.diskseq.to_string())];
        /// Most partitions that a disk can have when the numbers beyond its own are used.
        const MAX_PARTITIONS: u32 = 256;
        let capability = if disk.removable { "1" } else { "0" };
        device.attrs = common(&basic)
            .fixed("removable", u8::from(disk.removable))
            .fixed("hidden", 0)
            .fixed("range", disk.minors)
            .fixed(
                "ext_range",
                if disk.partitioned { MAX_PARTITIONS } else { 1 },
            )
            .fixed("capability", capability)
            .fixed("diskseq", disk.diskseq)
            .with(events(disk.events))
            .with(queue(&source))
            .with(disk.attrs);
        let id = self.add_device(device)?;
        self.make_dir(id, "holders")?;
        self.make_dir(id, "slaves")?;
        let block = self.find("block")?;
        self.link_from(id, block, &disk.name.replace('/', "!"))?;
        Ok(id)
    }

    /// Adds a partition below its disk. Errors: as [`Registry::add_device`].
    pub fn add_partition(
        &mut self,
        disk: Id,
        partition: Partition,
        source: Arc<dyn BlockSource>,
    ) -> Result<Id> {
        let mut device = Device::class("block", partition.name.clone(), Some(disk));
        device.node = Some(DeviceNode {
            dev: partition.dev,
            block: true,
            path: partition.name.clone(),
            mode: None,
        });
        device.kind = Some("partition".to_string());
        device.vars = alloc::vec![
            ("DISKSEQ".to_string(), partition.diskseq.to_string()),
            ("PARTN".to_string(), partition.number.to_string()),
        ];
        if let Some(label) = partition.label {
            device.vars.push(("PARTNAME".to_string(), label));
        }
        device.attrs = common(&source)
            .fixed("partition", partition.number)
            .fixed("start", partition.start);
        let id = self.add_device(device)?;
        self.make_dir(id, "holders")?;
        Ok(id)
    }
}

/// Media events. Without any, there is nothing to poll for.
fn events(names: &'static str) -> Attrs {
    let attrs = if names.is_empty() {
        Attrs::new().empty("events")
    } else {
        Attrs::new().fixed("events", names)
    };
    attrs.empty("events_async").show_store(
        "events_poll_msecs",
        |out| out.str("-1\n"),
        |data| match keel_procfs::text::number(data)? {
            -1.. => Err(Errno::ENODEV),
            _ => Err(Errno::EINVAL),
        },
    )
}

/// A disk as what it has in common with a partition.
struct AsBlock(Arc<dyn DiskSource>);

impl BlockSource for AsBlock {
    fn sectors(&self) -> u64 {
        self.0.sectors()
    }

    fn read_only(&self) -> bool {
        self.0.read_only()
    }

    fn stats(&self) -> DiskStats {
        self.0.stats()
    }

    fn in_flight(&self) -> (u32, u32) {
        self.0.in_flight()
    }
}

type Read = fn(&Queue) -> u64;

/// Values that only tell.
const READ_ONLY: [(&str, Read); 23] = [
    ("logical_block_size", |q| q.logical_block_size.into()),
    ("hw_sector_size", |q| q.logical_block_size.into()),
    ("physical_block_size", |q| q.physical_block_size.into()),
    ("minimum_io_size", |q| q.minimum_io_size.into()),
    ("optimal_io_size", |q| q.optimal_io_size.into()),
    ("max_hw_sectors_kb", |q| q.max_hw_sectors_kb.into()),
    ("max_segments", |q| q.max_segments.into()),
    ("max_segment_size", |q| q.max_segment_size.into()),
    ("max_integrity_segments", |_| 0),
    ("max_discard_segments", |q| q.max_discard_segments.into()),
    ("nr_zones", |_| 0),
    ("chunk_sectors", |_| 0),
    ("dax", |_| 0),
    ("discard_granularity", |q| q.discard_granularity.into()),
    ("discard_max_hw_bytes", |q| q.discard_max_hw_bytes),
    ("discard_zeroes_data", |_| 0),
    ("dma_alignment", |q| q.dma_alignment.into()),
    ("fua", |q| q.fua.into()),
    ("virt_boundary_mask", |_| 0),
    ("write_same_max_bytes", |_| 0),
    ("write_zeroes_max_bytes", |q| q.write_zeroes_max_bytes),
    ("zone_append_max_bytes", |_| 0),
    ("zone_write_granularity", |_| 0),
];

/// Values that can be set.
const SETTINGS: [(&str, QueueSetting, Read); 10] = [
    ("stable_writes", QueueSetting::StableWrites, |q| {
        q.stable_writes.into()
    }),
    ("read_ahead_kb", QueueSetting::ReadAheadKb, |q| {
        q.read_ahead_kb.into()
    }),
    ("nr_requests", QueueSetting::NrRequests, |q| {
        q.nr_requests.into()
    }),
    ("nomerges", QueueSetting::NoMerges, |q| q.nomerges.into()),
    ("rotational", QueueSetting::Rotational, |q| {
        q.rotational.into()
    }),
    ("iostats", QueueSetting::IoStats, |q| q.iostats.into()),
    ("add_random", QueueSetting::AddRandom, |q| {
        q.add_random.into()
    }),
    ("rq_affinity", QueueSetting::RqAffinity, |q| {
        q.rq_affinity.into()
    }),
    ("max_sectors_kb", QueueSetting::MaxSectorsKb, |q| {
        q.max_sectors_kb.into()
    }),
    ("discard_max_bytes", QueueSetting::DiscardMaxBytes, |q| {
        q.discard_max_bytes
    }),
];

fn queue(disk: &Arc<dyn DiskSource>) -> Attrs {
    let mut attrs = Attrs::new();
    for (name, read) in READ_ONLY {
        let disk = disk.clone();
        attrs = attrs.value(format!("queue/{name}"), move || read(&disk.queue()));
    }
    for (name, setting, read) in SETTINGS {
        let (shown, stored) = (disk.clone(), disk.clone());
        attrs = attrs.show_store(
            format!("queue/{name}"),
            move |out| put!(out, "{}\n", read(&shown.queue())),
            move |data| stored.set(setting, number(data)?),
        );
    }
    let (shown, stored) = (disk.clone(), disk.clone());
    attrs
        .show_store(
            "queue/write_cache",
            move |out| {
                let write_back = shown.queue().write_back;
                out.str(if write_back {
                    "write back\n"
                } else {
                    "write through\n"
                })
            },
            move |data| match data.trim_ascii() {
                b"write back" => stored.set(QueueSetting::WriteCache, 1),
                b"write through" | b"none" => stored.set(QueueSetting::WriteCache, 0),
                _ => Err(Errno::EINVAL),
            },
        )
        .show_store(
            "queue/scheduler",
            |out| out.str("[none]\n"),
            |data| match data.trim_ascii() {
                b"none" => Ok(()),
                _ => Err(Errno::EINVAL),
            },
        )
        .fixed("queue/zoned", "none")
}

/// `mq/N`: the hardware queues of a disk: their depths and CPUs.
pub fn hardware_queues(queues: &[(u32, Vec<u32>)]) -> Attrs {
    let mut attrs = Attrs::new();
    for (index, (tags, cpus)) in queues.iter().enumerate() {
        let list: Vec<String> = cpus.iter().map(u32::to_string).collect();
        attrs = attrs
            .fixed(format!("mq/{index}/cpu_list"), list.join(", "))
            .fixed(format!("mq/{index}/nr_reserved_tags"), 0)
            .fixed(format!("mq/{index}/nr_tags"), tags);
    }
    attrs
}
