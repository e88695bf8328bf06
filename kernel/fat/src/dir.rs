//! Directory entries: 32 bytes each, a file's long name in entries of its own before its short one.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::name::{self, Short};
use crate::time::Time;
use crate::{le16, le32};

/// Bytes of an entry.
pub(crate) const SIZE: usize = 32;
/// Attribute: cannot be written.
pub(crate) const READ_ONLY: u8 = 0x01;
/// Attribute: the volume's label.
pub(crate) const LABEL: u8 = 0x08;
/// Attribute: a directory.
pub(crate) const DIRECTORY: u8 = 0x10;
/// Attribute: changed since the last backup.
pub(crate) const ARCHIVE: u8 = 0x20;
const LONG: u8 = 0x0f;
const DELETED: u8 = 0xe5;
const LAST_LONG: u8 = 0x40;
/// UTF-16 units of a long entry.
const UNITS: usize = 13;
/// Where they are.
const UNIT_AT: [usize; UNITS] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// An entry as it is on the disk.
pub(crate) type Raw = [u8; SIZE];

/// What the short entry of a file says.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) short: Short,
    pub(crate) attributes: u8,
    /// Windows NT's bits for lower case.
    pub(crate) case: u8,
    pub(crate) cluster: u32,
    pub(crate) size: u32,
    pub(crate) created: Time,
    pub(crate) accessed: Time,
    pub(crate) written: Time,
}

impl Record {
    pub(crate) fn read(raw: &Raw) -> Self {
        let mut short = [0; 11];
        short.copy_from_slice(&raw[..11]);
        Self {
            short,
            attributes: raw[11],
            case: raw[12],
            cluster: u32::from(le16(raw, 20)) << 16 | u32::from(le16(raw, 26)),
            size: le32(raw, 28),
            created: Time::from_words(le16(raw, 16), le16(raw, 14), raw[13]),
            accessed: Time::from_words(le16(raw, 18), 0, 0),
            written: Time::from_words(le16(raw, 24), le16(raw, 22), 0),
        }
    }

    pub(crate) fn write(&self) -> Raw {
        let mut raw = [0; SIZE];
        raw[..11].copy_from_slice(&self.short);
        raw[11] = self.attributes;
        raw[12] = self.case;
        let (date, time, hundredths) = self.created.words();
        raw[13] = hundredths;
        raw[14..16].copy_from_slice(&time.to_le_bytes());
        raw[16..18].copy_from_slice(&date.to_le_bytes());
        raw[18..20].copy_from_slice(&self.accessed.words().0.to_le_bytes());
        raw[20..22].copy_from_slice(&((self.cluster >> 16) as u16).to_le_bytes());
        let (date, time, _) = self.written.words();
        raw[22..24].copy_from_slice(&time.to_le_bytes());
        raw[24..26].copy_from_slice(&date.to_le_bytes());
        raw[26..28].copy_from_slice(&(self.cluster as u16).to_le_bytes());
        raw[28..].copy_from_slice(&self.size.to_le_bytes());
        raw
    }
}

/// A file of a directory.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) record: Record,
    /// Index of its first entry in the directory, and how many it has; the short one is the last.
    pub(crate) first: u32,
    pub(crate) count: u32,
}

impl Found {
    /// Index of the short entry.
    pub(crate) fn last(&self) -> u32 {
        self.first + self.count - 1
    }
}

/// Puts entries together to files.
#[derive(Default)]
pub(crate) struct Reader {
    /// The long name so far, from its end; and the checksum that its entries have.
    units: Vec<[u16; UNITS]>,
    sum: u8,
    wanted: u8,
    first: u32,
}

/// What an entry turned out to be.
pub(crate) enum Step {
    /// A part of a name, a deleted entry or a label.
    Nothing,
    /// A file is complete.
    File(Found),
    /// There are no more entries.
    End,
}

impl Reader {
    fn reset(&mut self) {
        self.units.clear();
        self.wanted = 0;
    }

    /// Takes the next entry, the one with this index.
    pub(crate) fn step(&mut self, index: u32, raw: &Raw) -> Step {
        match raw[0] {
            0 => return Step::End,
            DELETED => {
                self.reset();
                return Step::Nothing;
            }
            _ => {}
        }
        if raw[11] & 0x3f == LONG {
            self.take_long(index, raw);
            return Step::Nothing;
        }
        if raw[11] & LABEL != 0 {
            self.reset();
            return Step::Nothing;
        }
        let record = Record::read(raw);
        let complete =
            self.wanted == 0 && !self.units.is_empty() && self.sum == name::checksum(&record.short);
        let found = if complete {
            let mut units: Vec<u16> = self.units.iter().rev().flatten().copied().collect();
            if let Some(end) = units.iter().position(|unit| *unit == 0) {
                units.truncate(end);
            }
            Found {
                name: name::from_utf16(&units),
                record,
                first: self.first,
                count: index - self.first + 1,
            }
        } else {
            Found {
                name: name::show_short(&record.short, record.case),
                record,
                first: index,
                count: 1,
            }
        };
        self.reset();
        Step::File(found)
    }

    fn take_long(&mut self, index: u32, raw: &Raw) {
        let number = raw[0] & 0x3f;
        if raw[0] & LAST_LONG != 0 {
            self.reset();
            self.wanted = number;
            self.sum = raw[13];
            self.first = index;
        }
        if number == 0 || number != self.wanted || raw[13] != self.sum || number > 20 {
            self.reset();
            return;
        }
        self.wanted -= 1;
        self.units.push(UNIT_AT.map(|at| le16(raw, at)));
    }
}

/// The entries of a new file: long ones if its name is not just the short one.
pub(crate) fn entries(name: &str, record: &Record) -> Vec<Raw> {
    let mut raws = Vec::new();
    if name::show_short(&record.short, record.case) != name {
        let sum = name::checksum(&record.short);
        let mut units: Vec<u16> = name.encode_utf16().collect();
        if !units.len().is_multiple_of(UNITS) {
            units.push(0);
        }
        while !units.len().is_multiple_of(UNITS) {
            units.push(0xffff);
        }
        let pieces = units.chunks(UNITS).zip(1_u8..);
        for (piece, number) in pieces.collect::<Vec<_>>().into_iter().rev() {
            let mut raw = [0; SIZE];
            let last = usize::from(number) * UNITS == units.len();
            raw[0] = number | if last { LAST_LONG } else { 0 };
            raw[11] = LONG;
            raw[13] = sum;
            for (at, unit) in UNIT_AT.iter().zip(piece) {
                raw[*at..at + 2].copy_from_slice(&unit.to_le_bytes());
            }
            raws.push(raw);
        }
    }
    raws.push(record.write());
    raws
}

/// Marks entries as deleted.
pub(crate) fn deleted_mark() -> [u8; 1] {
    [DELETED]
}

/// The `.` and `..` entries of a new directory, in a cluster of zeroes.
pub(crate) fn dots(own: &Record, parent: u32, cluster_size: usize) -> Vec<u8> {
    let mut bytes = vec![0; cluster_size];
    let entry = |short: &[u8; 11], cluster: u32| {
        Record {
            short: *short,
            attributes: DIRECTORY,
            case: 0,
            cluster,
            size: 0,
            ..own.clone()
        }
        .write()
    };
    bytes[..SIZE].copy_from_slice(&entry(b".          ", own.cluster));
    bytes[SIZE..2 * SIZE].copy_from_slice(&entry(b"..         ", parent));
    bytes
}
