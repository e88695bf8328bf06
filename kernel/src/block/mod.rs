//! Block devices: the registry of disks and partitions, requests to them, and finding one by name, number or content.
//!
//! * [`Disk`], [`BlockDevice`]: what a driver registers, and what everybody else uses.
//! * [`Request`], [`Batch`], [`Builder`]: asynchronous I/O, many requests in flight.
//! * `partition`: GPT and MBR. `probe`: file systems by UUID and label. `stats`: /proc/diskstats.
//!
//! The page cache of a device and its files in /dev are in [`crate::fs::block_file`].

mod device;
mod loop_device;
mod partition;
mod probe;
mod request;
mod stats;

use core::sync::atomic::Ordering;
use keel_abi::flags::OpenFlags;
use keel_abi::types::Dev;

pub use device::{BlockDevice, Disk, Driver, Limits};
pub use probe::{Identity, identify};
pub use request::{Batch, Builder, Done, Op, Request, Segment};
pub use stats::Stats;

use crate::device::virtio_blk;
use crate::fs::{FileOps, Inode, block_file, devtmpfs, sysfs};
use crate::prelude::*;

/// log2 of the unit that sector numbers count (whatever the device's own unit is).
pub const SECTOR_SHIFT: u32 = 9;

/// Partitions of one disk that are looked at.
const MAX_PARTITIONS: u32 = 255;
/// Major number of partitions beyond a disk's own numbers.
pub const EXTENDED_MAJOR: u32 = 259;

/// Whole disks, in order of registration.
static DISKS: RwSpinLock<Vec<Arc<BlockDevice>>> = RwSpinLock::new(Vec::new());

/// Finds the disks.
pub fn init() {
    virtio_blk::init();
    loop_device::init();
}

/// Makes a disk of `sectors` sectors known, with the partitions on it.
pub fn register_disk(disk: Disk, sectors: u64) -> Arc<BlockDevice> {
    let disk = Arc::new(disk);
    let whole = Arc::new(BlockDevice::new(&disk, 0, 0, sectors));
    DISKS.write().push(whole.clone());
    if sectors > 0 {
        let mib = sectors >> 11;
        log::info!(
            "{}: {sectors} 512-byte logical blocks ({mib} MiB)",
            disk.name
        );
    }
    add_node(&whole);
    if let Err(error) = scan_partitions(&whole) {
        log::error!("{}: unable to read partition table ({error:?})", disk.name);
    }
    sysfs::disk_added(&whole);
    whole
}

/// Takes a disk away that nobody uses.
pub fn unregister_disk(whole: &Arc<BlockDevice>) {
    sysfs::disk_removed(whole);
    devtmpfs::remove_node(&whole.name);
    DISKS.write().retain(|disk| !Arc::ptr_eq(disk, whole));
}

fn add_node(device: &BlockDevice) {
    const BLOCK_0660: u32 = 0o060_660;
    devtmpfs::add_node(&device.name, BLOCK_0660, device.dev.encode());
}

/// Reads the partition table (again): EBUSY if a partition is in use.
pub fn scan_partitions(whole: &Arc<BlockDevice>) -> Result<()> {
    let disk = &whole.disk;
    if disk
        .parts
        .read()
        .iter()
        .any(|part| part.users.load(Ordering::Acquire) > 0)
    {
        return Err(Errno::EBUSY);
    }
    let found = partition::scan(whole)?;
    let old = core::mem::take(&mut *disk.parts.write());
    for part in &old {
        devtmpfs::remove_node(&part.name);
    }
    let mut names = String::new();
    for entry in found
        .into_iter()
        .filter(|entry| entry.number <= MAX_PARTITIONS)
    {
        let mut part = BlockDevice::new(disk, entry.number, entry.start, entry.sectors);
        part.part_uuid = entry.uuid;
        part.part_label = entry.label;
        let part = Arc::new(part);
        add_node(&part);
        names.push(' ');
        names.push_str(&part.name);
        disk.parts.write().push(part);
    }
    if !names.is_empty() {
        log::info!(" {}:{names}", disk.name);
    }
    sysfs::partitions_changed(whole);
    Ok(())
}

/// The device of a whole disk.
fn whole(disk: &Arc<Disk>) -> Option<Arc<BlockDevice>> {
    DISKS
        .read()
        .iter()
        .find(|device| Arc::ptr_eq(&device.disk, disk))
        .cloned()
}

/// Whole disks.
pub fn disks() -> Vec<Arc<BlockDevice>> {
    DISKS.read().clone()
}

/// All disks, each followed by its partitions (/proc/partitions).
pub fn devices() -> Vec<Arc<BlockDevice>> {
    disks()
        .into_iter()
        .flat_map(|whole| {
            let parts = whole.disk.partitions();
            core::iter::once(whole).chain(parts)
        })
        .collect()
}

/// The device with this number.
pub fn find(dev: Dev) -> Option<Arc<BlockDevice>> {
    devices()
        .into_iter()
        .find(|device| device.dev.encode() == dev.encode())
}

/// The device that `spec` means: `/dev/NAME`, `NAME`, `MAJOR:MINOR`, `PARTUUID=`, `PARTLABEL=`, `UUID=`, `LABEL=`.
pub fn find_by_spec(spec: &str) -> Option<Arc<BlockDevice>> {
    let devices = devices();
    let with = |test: &dyn Fn(&Arc<BlockDevice>) -> bool| devices.iter().find(|d| test(d)).cloned();
    let content =
        |test: &dyn Fn(&Identity) -> bool| with(&|d| identify(d).is_some_and(|id| test(&id)));
    if let Some((key, value)) = spec.split_once('=') {
        let value = value.trim_matches('"');
        return match key {
            "PARTUUID" => by_part_uuid(&devices, value),
            "PARTLABEL" => with(&|d| d.part_label.as_deref() == Some(value)),
            "UUID" => content(&|id| id.uuid.eq_ignore_ascii_case(value)),
            "LABEL" => content(&|id| id.label == value),
            _ => None,
        };
    }
    if let Some((major, minor)) = spec.split_once(':') {
        return find(Dev::new(major.parse().ok()?, minor.parse().ok()?));
    }
    let name = spec.strip_prefix("/dev/").unwrap_or(spec);
    with(&|d| d.name == name)
}

/// PARTUUID, with the suffix `/PARTNROFF=N` of Linux.
fn by_part_uuid(devices: &[Arc<BlockDevice>], value: &str) -> Option<Arc<BlockDevice>> {
    let (uuid, offset) = match value.split_once("/PARTNROFF=") {
        Some((uuid, offset)) => (uuid, offset.parse::<i64>().ok()?),
        None => (value, 0),
    };
    let found = devices.iter().find(|d| {
        d.part_uuid
            .as_deref()
            .is_some_and(|own| own.eq_ignore_ascii_case(uuid))
    })?;
    if offset == 0 {
        return Some(found.clone());
    }
    let number = u32::try_from(i64::from(found.number) + offset).ok()?;
    devices
        .iter()
        .find(|d| Arc::ptr_eq(&d.disk, &found.disk) && d.number == number)
        .cloned()
}

/// Majors and names for /proc/devices.
pub fn majors() -> Vec<(u32, &'static str)> {
    let mut majors = vec![(loop_device::MAJOR, "loop")];
    let blk = DISKS
        .read()
        .iter()
        .any(|device| device.dev.major == virtio_blk::MAJOR);
    if blk {
        majors.push((virtio_blk::MAJOR, "virtblk"));
    }
    majors.push((EXTENDED_MAJOR, "blkext"));
    majors
}

/// Opens a block special file: ENXIO if there is no such device, EBUSY with O_EXCL if it is in use.
pub fn open(inode: &Arc<Inode>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
    let raw = u32::try_from(inode.attr().rdev).map_err(|_| Errno::ENXIO)?;
    let device = find(Dev::decode(raw)).ok_or(Errno::ENXIO)?;
    block_file::open(device, flags)
}

/// The device of a block special file, to be mounted: ENOTBLK.
pub fn of_inode(inode: &Arc<Inode>) -> Result<Arc<BlockDevice>> {
    if inode.file_type != keel_abi::args::FileType::BlockDevice {
        return Err(Errno::ENOTBLK);
    }
    let raw = u32::try_from(inode.attr().rdev).map_err(|_| Errno::ENXIO)?;
    find(Dev::decode(raw)).ok_or(Errno::ENXIO)
}
