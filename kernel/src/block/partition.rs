//! Partition tables: GPT (UEFI 2.10, chapter 5) and MBR with extended partitions.

use super::BlockDevice;
use crate::prelude::*;

/// A partition as its table describes it. Units are sectors of 512 bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Found {
    pub(super) number: u32,
    pub(super) start: u64,
    pub(super) sectors: u64,
    pub(super) uuid: Option<String>,
    pub(super) label: Option<String>,
}

const MBR_TYPE_GPT: u8 = 0xee;
const MBR_EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// Most logical partitions followed, against loops.
const MAX_LOGICAL: u32 = 60;

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

/// The partitions of a disk; none if it has no table. Errors are of the device.
pub(super) fn scan(disk: &Arc<BlockDevice>) -> Result<Vec<Found>> {
    let block = disk.limits().logical_block.max(512) as usize;
    if disk.bytes() < 4 * block as u64 {
        return Ok(Vec::new());
    }
    let mut sector = vec![0; block];
    disk.read_bytes(0, &mut sector)?;
    if sector.get(510..512) != Some(&[0x55, 0xaa]) {
        return Ok(Vec::new());
    }
    let protective = (0..4).any(|i| sector[446 + 16 * i + 4] == MBR_TYPE_GPT);
    if protective && let Some(found) = gpt(disk, block)? {
        return Ok(found);
    }
    mbr(disk, &sector, block)
}

/// CRC-32 as GPT uses it (IEEE 802.3, reflected).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// Reads the GPT: the primary one, or else the backup at the end of the disk.
fn gpt(disk: &Arc<BlockDevice>, block: usize) -> Result<Option<Vec<Found>>> {
    let last = disk.bytes() / block as u64 - 1;
    for lba in [1, last] {
        if let Some(found) = gpt_at(disk, block, lba)? {
            if lba != 1 {
                log::warn!("{}: primary GPT is damaged, using the backup", disk.name);
            }
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn gpt_at(disk: &Arc<BlockDevice>, block: usize, lba: u64) -> Result<Option<Vec<Found>>> {
    let mut header = vec![0; block];
    disk.read_bytes(lba * block as u64, &mut header)?;
    let size = le32(&header, 12) as usize;
    if !header.starts_with(b"EFI PART") || !(92..=block).contains(&size) || le64(&header, 24) != lba
    {
        return Ok(None);
    }
    let wanted = le32(&header, 16);
    header[16..20].fill(0);
    if crc32(&header[..size]) != wanted {
        return Ok(None);
    }
    let (entries, count, entry) = (
        le64(&header, 72),
        le32(&header, 80),
        le32(&header, 84) as usize,
    );
    let bytes = count as usize * entry;
    if !(128..=4096).contains(&entry) || count > 1024 || entries.checked_mul(block as u64).is_none()
    {
        return Ok(None);
    }
    let mut table = vec![0; bytes.next_multiple_of(block)];
    if disk.read_bytes(entries * block as u64, &mut table).is_err() {
        return Ok(None);
    }
    if crc32(&table[..bytes]) != le32(&header, 88) {
        return Ok(None);
    }
    let unit = block as u64 / 512;
    let found = table[..bytes]
        .chunks(entry)
        .zip(1..)
        .filter_map(|(raw, number)| {
            if raw[..16] == [0; 16] {
                return None;
            }
            let (first, last) = (le64(raw, 32), le64(raw, 40));
            let sectors = last.checked_sub(first)?.checked_add(1)?.checked_mul(unit)?;
            let start = first.checked_mul(unit)?;
            (start.checked_add(sectors)? <= disk.sectors()).then(|| Found {
                number,
                start,
                sectors,
                uuid: Some(guid(&raw[16..32])),
                label: label(&raw[56..128]),
            })
        });
    Ok(Some(found.collect()))
}

/// A GUID in its usual form: the first three fields are little-endian.
fn guid(b: &[u8]) -> String {
    format!(
        "{:08x}-{:04x}-{:04x}-{:02x}{:02x}-{:02x}{:02x}{:02x}{:02x}{:02x}{:02x}",
        le32(b, 0),
        le32(b, 4) & 0xffff,
        le32(b, 6) & 0xffff,
        b[8],
        b[9],
        b[10],
        b[11],
        b[12],
        b[13],
        b[14],
        b[15]
    )
}

fn label(utf16: &[u8]) -> Option<String> {
    let units: Vec<u16> = utf16
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    let text = String::from_utf16_lossy(&units);
    (!text.is_empty()).then_some(text)
}

fn mbr(disk: &Arc<BlockDevice>, sector: &[u8], block: usize) -> Result<Vec<Found>> {
    let signature = le32(sector, 440);
    let unit = block as u64 / 512;
    let mut found = Vec::new();
    let mut extended = None;
    let fits = |start: u64, sectors: u64| {
        sectors > 0 && start > 0 && start.saturating_add(sectors) <= disk.sectors()
    };
    let uuid = |number: u32| Some(format!("{signature:08x}-{number:02x}"));
    // A boot sector of a file system has the same signature; its entries would be nonsense.
    let entries: Vec<&[u8]> = (0..4)
        .filter_map(|i| sector.get(446 + 16 * i..462 + 16 * i))
        .collect();
    if entries.iter().any(|entry| entry[0] & 0x7f != 0) {
        return Ok(found);
    }
    for (entry, number) in entries.iter().zip(1..) {
        let (kind, start) = (entry[4], u64::from(le32(entry, 8)) * unit);
        let sectors = u64::from(le32(entry, 12)) * unit;
        if kind == 0 || !fits(start, sectors) {
            continue;
        }
        if MBR_EXTENDED.contains(&kind) {
            extended = extended.or(Some(start));
            // Room for a boot loader, as Linux shows it.
            found.push(Found {
                number,
                start,
                sectors: sectors.min(2),
                uuid: uuid(number),
                label: None,
            });
        } else {
            found.push(Found {
                number,
                start,
                sectors,
                uuid: uuid(number),
                label: None,
            });
        }
    }
    let Some(base) = extended else {
        return Ok(found);
    };
    let mut at = base;
    for number in 5..5 + MAX_LOGICAL {
        let mut link = vec![0; block];
        if disk.read_bytes(at * 512, &mut link).is_err()
            || link.get(510..512) != Some(&[0x55, 0xaa])
        {
            break;
        }
        let (data, next) = (&link[446..462], &link[462..478]);
        let start = at + u64::from(le32(data, 8)) * unit;
        let sectors = u64::from(le32(data, 12)) * unit;
        if data[4] != 0 && fits(start, sectors) {
            found.push(Found {
                number,
                start,
                sectors,
                uuid: uuid(number),
                label: None,
            });
        }
        let next_start = u64::from(le32(next, 8)) * unit;
        if !MBR_EXTENDED.contains(&next[4]) || next_start == 0 || !fits(base + next_start, 1) {
            break;
        }
        at = base + next_start;
    }
    Ok(found)
}
