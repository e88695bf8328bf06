//! The boot sector: where everything is.

use keel_abi::{Errno, Result};

use crate::{Device, le16, le32};

/// Bits of an entry of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Width {
    Fat12,
    Fat16,
    Fat32,
}

/// The layout of a volume; offsets in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) width: Width,
    pub(crate) cluster: u32,
    pub(crate) tables: u64,
    pub(crate) table_size: u64,
    pub(crate) copies: u32,
    /// The root directory of FAT12 and FAT16.
    pub(crate) fixed_root: u64,
    pub(crate) fixed_root_size: u64,
    pub(crate) data: u64,
    /// Clusters, numbered from 2.
    pub(crate) clusters: u32,
    /// The root directory of FAT32.
    pub(crate) root_cluster: u32,
    /// The sector with the count of free clusters (FAT32).
    pub(crate) info: Option<u64>,
    pub(crate) volume_id: u32,
    /// Where the byte with the dirty bit is.
    pub(crate) state: u64,
}

/// Reads and checks the boot sector: EINVAL for what is no FAT.
pub(crate) fn read(device: &dyn Device) -> Result<Layout> {
    let mut raw = [0; 512];
    device.read(0, &mut raw)?;
    let sector = u64::from(le16(&raw, 11));
    let per_cluster = u64::from(raw[13]);
    let reserved = u64::from(le16(&raw, 14));
    let copies = u32::from(raw[16]);
    let root_entries = u64::from(le16(&raw, 17));
    let media = raw[21];
    let valid = (512..=4096).contains(&sector)
        && sector.is_power_of_two()
        && per_cluster.is_power_of_two()
        && reserved > 0
        && copies > 0
        && (media == 0xf0 || media >= 0xf8);
    if !valid {
        return Err(Errno::EINVAL);
    }
    let sectors = match le16(&raw, 19) {
        0 => u64::from(le32(&raw, 32)),
        small => u64::from(small),
    };
    let table_sectors = match le16(&raw, 22) {
        0 => u64::from(le32(&raw, 36)),
        small => u64::from(small),
    };
    let is_32 = le16(&raw, 22) == 0;
    let root_sectors = (root_entries * 32).div_ceil(sector);
    let before = reserved + u64::from(copies) * table_sectors + root_sectors;
    let clusters = sectors.checked_sub(before).ok_or(Errno::EINVAL)? / per_cluster;
    let width = match clusters {
        _ if is_32 => Width::Fat32,
        0..4085 => Width::Fat12,
        _ => Width::Fat16,
    };
    let table_size = table_sectors * sector;
    let room = match width {
        Width::Fat12 => table_size * 2 / 3,
        Width::Fat16 => table_size / 2,
        Width::Fat32 => table_size / 4,
    };
    let clusters = clusters.min(room.saturating_sub(2));
    if clusters == 0 || clusters >= 0x0fff_fff5 {
        return Err(Errno::EINVAL);
    }
    let ext = if is_32 { 64 } else { 36 };
    let info = u64::from(le16(&raw, 48));
    Ok(Layout {
        width,
        cluster: (per_cluster * sector) as u32,
        tables: reserved * sector,
        table_size,
        copies,
        fixed_root: (reserved + u64::from(copies) * table_sectors) * sector,
        fixed_root_size: root_entries * 32,
        data: before * sector,
        clusters: clusters as u32,
        root_cluster: if is_32 { le32(&raw, 44) } else { 0 },
        info: (is_32 && info != 0 && info != 0xffff && info < reserved).then_some(info * sector),
        volume_id: le32(&raw, ext + 3),
        state: ext as u64 + 1,
    })
}
