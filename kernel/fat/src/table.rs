//! The file allocation table: chains of clusters, and which clusters are free.

use alloc::vec::Vec;
use keel_abi::{Errno, Result};

use crate::blocks::Blocks;
use crate::boot::{Layout, Width};
use crate::le32;

/// The first cluster number.
pub(crate) const FIRST: u32 = 2;
const INFO_HEAD: u32 = 0x4161_5252;
const INFO_BODY: u32 = 0x6141_7272;
const UNKNOWN: u32 = u32::MAX;

/// The table.
pub(crate) struct Table {
    /// Free clusters, once they have been counted.
    free: Option<u32>,
    /// Where the search goes on.
    next: u32,
}

impl Table {
    /// The table of a volume; `clean`: its own count of free clusters can be believed.
    pub(crate) fn new(layout: &Layout, blocks: &mut Blocks, clean: bool) -> Result<Self> {
        let mut table = Self {
            free: None,
            next: FIRST,
        };
        let Some(info) = layout.info else {
            return Ok(table);
        };
        let mut raw = [0; 512];
        blocks.read(info, &mut raw)?;
        if le32(&raw, 0) != INFO_HEAD || le32(&raw, 484) != INFO_BODY {
            return Ok(table);
        }
        let (free, next) = (le32(&raw, 488), le32(&raw, 492));
        if clean && free <= layout.clusters {
            table.free = Some(free);
        }
        if (FIRST..layout.clusters + FIRST).contains(&next) {
            table.next = next;
        }
        Ok(table)
    }

    /// Puts count and place of search where the next mount finds them.
    pub(crate) fn store_info(&self, layout: &Layout, blocks: &mut Blocks) -> Result<()> {
        let Some(info) = layout.info else {
            return Ok(());
        };
        let mut raw = [0; 8];
        raw[..4].copy_from_slice(&self.free.unwrap_or(UNKNOWN).to_le_bytes());
        raw[4..].copy_from_slice(&self.next.to_le_bytes());
        let mut old = [0; 8];
        blocks.read(info + 488, &mut old)?;
        if old == raw {
            return Ok(());
        }
        blocks.write(info + 488, &raw)
    }

    /// An entry; the ends of chains are all `None`. EIO for a number that is none.
    pub(crate) fn next_of(
        &self,
        layout: &Layout,
        blocks: &mut Blocks,
        cluster: u32,
    ) -> Result<Option<u32>> {
        let value = raw_entry(layout, blocks, cluster)?;
        let end = match layout.width {
            Width::Fat12 => 0xff7,
            Width::Fat16 => 0xfff7,
            Width::Fat32 => 0x0fff_fff7,
        };
        if value >= end {
            return Ok(None);
        }
        // A chain that leads to a free cluster or out of the volume is damaged.
        if (FIRST..layout.clusters + FIRST).contains(&value) {
            Ok(Some(value))
        } else {
            Err(Errno::EIO)
        }
    }

    /// Free clusters.
    pub(crate) fn free_count(&mut self, layout: &Layout, blocks: &mut Blocks) -> Result<u32> {
        if let Some(free) = self.free {
            return Ok(free);
        }
        let mut free = 0;
        for cluster in FIRST..layout.clusters + FIRST {
            if raw_entry(layout, blocks, cluster)? == 0 {
                free += 1;
            }
        }
        self.free = Some(free);
        Ok(free)
    }

    /// Takes `count` clusters, chains them and hangs them behind `last`: ENOSPC, and nothing taken.
    pub(crate) fn allocate(
        &mut self,
        layout: &Layout,
        blocks: &mut Blocks,
        last: Option<u32>,
        count: u32,
    ) -> Result<Vec<u32>> {
        if self.free_count(layout, blocks)? < count {
            return Err(Errno::ENOSPC);
        }
        let mut taken = Vec::new();
        taken
            .try_reserve_exact(count as usize)
            .map_err(|_| Errno::ENOMEM)?;
        // A file goes on where it ends, if that is free.
        let mut at = last.map_or(self.next, |last| last + 1);
        for _ in 0..layout.clusters {
            if taken.len() == count as usize {
                break;
            }
            if !(FIRST..layout.clusters + FIRST).contains(&at) {
                at = FIRST;
            }
            if raw_entry(layout, blocks, at)? == 0 {
                taken.push(at);
            }
            at += 1;
        }
        if taken.len() < count as usize {
            // The count was wrong.
            self.free = None;
            return Err(Errno::ENOSPC);
        }
        let mut before = last;
        for cluster in &taken {
            if let Some(before) = before {
                set_entry(layout, blocks, before, *cluster)?;
            }
            set_entry(layout, blocks, *cluster, 0x0fff_ffff)?;
            before = Some(*cluster);
        }
        self.next = at;
        self.free = self.free.map(|free| free - count);
        Ok(taken)
    }

    /// Ends a chain at `cluster`.
    pub(crate) fn end_at(&self, layout: &Layout, blocks: &mut Blocks, cluster: u32) -> Result<()> {
        set_entry(layout, blocks, cluster, 0x0fff_ffff)
    }

    /// Gives clusters back.
    pub(crate) fn release(
        &mut self,
        layout: &Layout,
        blocks: &mut Blocks,
        clusters: &[u32],
    ) -> Result<()> {
        for cluster in clusters {
            set_entry(layout, blocks, *cluster, 0)?;
            let place = layout.place(*cluster);
            blocks.forget(place, u64::from(layout.cluster));
        }
        self.free = self.free.map(|free| free + clusters.len() as u32);
        Ok(())
    }
}

impl Layout {
    /// Where a cluster is.
    pub(crate) fn place(&self, cluster: u32) -> u64 {
        self.data + u64::from(cluster - FIRST) * u64::from(self.cluster)
    }
}

fn raw_entry(layout: &Layout, blocks: &mut Blocks, cluster: u32) -> Result<u32> {
    if !(FIRST..layout.clusters + FIRST).contains(&cluster) {
        return Err(Errno::EIO);
    }
    let n = u64::from(cluster);
    let mut raw = [0; 4];
    match layout.width {
        Width::Fat12 => {
            blocks.read(layout.tables + n + n / 2, &mut raw[..2])?;
            let pair = le32(&raw, 0);
            Ok(if cluster & 1 == 1 {
                pair >> 4
            } else {
                pair & 0xfff
            })
        }
        Width::Fat16 => {
            blocks.read(layout.tables + n * 2, &mut raw[..2])?;
            Ok(le32(&raw, 0))
        }
        Width::Fat32 => {
            blocks.read(layout.tables + n * 4, &mut raw)?;
            Ok(le32(&raw, 0) & 0x0fff_ffff)
        }
    }
}

fn set_entry(layout: &Layout, blocks: &mut Blocks, cluster: u32, value: u32) -> Result<()> {
    if !(FIRST..layout.clusters + FIRST).contains(&cluster) {
        return Err(Errno::EIO);
    }
    let n = u64::from(cluster);
    let mut raw = [0; 4];
    match layout.width {
        Width::Fat12 => {
            let at = layout.tables + n + n / 2;
            blocks.read(at, &mut raw[..2])?;
            let pair = le32(&raw, 0);
            let value = value & 0xfff;
            let new = if cluster & 1 == 1 {
                pair & 0x000f | value << 4
            } else {
                pair & 0xf000 | value
            };
            blocks.write(at, &(new as u16).to_le_bytes())
        }
        Width::Fat16 => blocks.write(layout.tables + n * 2, &(value as u16).to_le_bytes()),
        Width::Fat32 => {
            let at = layout.tables + n * 4;
            blocks.read(at, &mut raw)?;
            // The upper four bits are not the chain's.
            let new = le32(&raw, 0) & 0xf000_0000 | value & 0x0fff_ffff;
            blocks.write(at, &new.to_le_bytes())
        }
    }
}
