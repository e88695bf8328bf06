//! `/proc/sys`: the tree of typed values.
//!
//! Rules of reading and writing (the kernel's `proc_dointvec` family, sysctl(8)): numbers are printed with tabs
//! between them; a write gives one or more numbers separated by blanks, of which the first ones are set and
//! the others keep their value; what is out of range or no number is `EINVAL`; a line of text ends at a newline
//! or NUL and is cut to the room there is. Writes count from offset zero only.

mod table;

use alloc::vec::Vec;

use keel_abi::{Errno, Result};

use crate::put;
use crate::source::{CtlValue, System};
use crate::text::Text;

pub use table::Ctl;
use table::{ROWS, Row, Shape};

impl Ctl {
    /// All of them, sorted by path.
    pub fn all() -> impl Iterator<Item = Ctl> {
        ROWS.iter().map(|row| row.ctl)
    }

    /// Whether the value is a line of text, not numbers.
    pub fn is_text(self) -> bool {
        ROWS.iter()
            .any(|row| row.ctl == self && matches!(row.shape, Shape::Line(_)))
    }
}

/// Longest interface name, terminator included (`IFNAMSIZ`).
const NAME_SIZE: usize = 16;

/// The interface in a path below `conf/` or `neigh/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    name: [u8; NAME_SIZE],
    len: u8,
}

impl Device {
    fn new(name: &[u8]) -> Option<Self> {
        let mut device = Device {
            name: [0; NAME_SIZE],
            len: u8::try_from(name.len()).ok()?,
        };
        device.name.get_mut(..name.len())?.copy_from_slice(name);
        Some(device)
    }

    fn as_bytes(&self) -> &[u8] {
        self.name.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

/// A file or directory below `/proc/sys`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CtlPlace {
    /// Index of the row, for a file.
    row: Option<u16>,
    /// Path of the directory, as in the table.
    prefix: &'static str,
    device: Option<Device>,
}

impl CtlPlace {
    /// `/proc/sys` itself.
    pub const ROOT: CtlPlace = CtlPlace {
        row: None,
        prefix: "",
        device: None,
    };

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.row.is_none()
    }

    fn row(&self) -> Result<&'static Row> {
        self.row
            .and_then(|i| ROWS.get(usize::from(i)))
            .ok_or(Errno::EISDIR)
    }

    fn device(&self) -> Option<&[u8]> {
        self.device.as_ref().map(Device::as_bytes)
    }

    /// Permission bits. Errors: `ENOENT` if the kernel does not have it (any more).
    pub fn permissions(&self, sys: &dyn System) -> Result<u16> {
        if self.row.is_none() {
            return if rows_below(self.prefix).any(|(_, row)| exists(sys, row, self.device())) {
                Ok(0o555)
            } else {
                Err(Errno::ENOENT)
            };
        }
        let row = self.row()?;
        if exists(sys, row, self.device()) {
            Ok(row.perm)
        } else {
            Err(Errno::ENOENT)
        }
    }

    /// The place that `name` is in this directory, according to `row`; the rest of the row's path decides whether it is a
    /// file.
    fn child(&self, index: usize, row: &'static Row, device: Option<Device>) -> Option<CtlPlace> {
        let start = if self.prefix.is_empty() {
            0
        } else {
            self.prefix.len() + 1
        };
        let rest = row.path.get(start..)?;
        match rest.find('/') {
            Some(end) => Some(CtlPlace {
                row: None,
                prefix: row.path.get(..start + end)?,
                device: device.or(self.device),
            }),
            None => Some(CtlPlace {
                row: Some(u16::try_from(index).ok()?),
                prefix: row.path,
                device: device.or(self.device),
            }),
        }
    }
}

/// Rows below a directory, with their indices.
fn rows_below(prefix: &'static str) -> impl Iterator<Item = (usize, &'static Row)> {
    ROWS.iter()
        .enumerate()
        .filter(move |(_, row)| component(row, prefix).is_some())
}

/// The component of a row's path that follows `prefix`.
fn component(row: &Row, prefix: &str) -> Option<&'static str> {
    let rest = if prefix.is_empty() {
        row.path
    } else {
        row.path.strip_prefix(prefix)?.strip_prefix('/')?
    };
    rest.split('/').next()
}

/// Whether the kernel has the value; below `*` any interface will do while none is chosen.
fn exists(sys: &dyn System, row: &Row, device: Option<&[u8]>) -> bool {
    let all: Option<&[u8]> = row.path.contains('*').then_some(b"all");
    let value = sys.sysctl_get(row.ctl, device.or(all));
    let default: &[u8] = b"default";
    value
        .or_else(|| match (device, all) {
            (None, Some(_)) => sys.sysctl_get(row.ctl, Some(default)),
            _ => None,
        })
        .is_some()
}

/// Finds `name` in a directory. Errors: `ENOENT`, `ENOTDIR`.
pub(crate) fn lookup(sys: &dyn System, dir: &CtlPlace, name: &[u8]) -> Result<CtlPlace> {
    if !dir.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    for (index, row) in rows_below(dir.prefix) {
        let Some(part) = component(row, dir.prefix) else {
            continue;
        };
        let device = if part == "*" {
            if !sys.net_devices().iter().any(|device| device == name) {
                return Err(Errno::ENOENT);
            }
            Some(Device::new(name).ok_or(Errno::ENOENT)?)
        } else if part.as_bytes() == name {
            None
        } else {
            continue;
        };
        let place = dir.child(index, row, device).ok_or(Errno::ENOENT)?;
        place.permissions(sys)?;
        return Ok(place);
    }
    Err(Errno::ENOENT)
}

type EmitCtl<'a> = &'a mut dyn FnMut(&[u8], CtlPlace, u64) -> bool;

/// Lists a directory from position `pos` on (index of the row, or of the interface); `emit` gets the name, the
/// place and the position after it, and says whether it wants more.
pub(crate) fn list(sys: &dyn System, dir: &CtlPlace, pos: u64, emit: EmitCtl<'_>) -> Result<()> {
    let mut last = "";
    for (index, row) in rows_below(dir.prefix) {
        let Some(part) = component(row, dir.prefix) else {
            continue;
        };
        if part == "*" {
            return list_devices(sys, dir, (index, row), pos, emit);
        }
        if part == last {
            continue;
        }
        let Some(place) = dir.child(index, row, None) else {
            continue;
        };
        last = part;
        if (index as u64) < pos || place.permissions(sys).is_err() {
            continue;
        }
        if !emit(part.as_bytes(), place, index as u64 + 1) {
            break;
        }
    }
    Ok(())
}

fn list_devices(
    sys: &dyn System,
    dir: &CtlPlace,
    (index, row): (usize, &'static Row),
    pos: u64,
    emit: EmitCtl<'_>,
) -> Result<()> {
    for (name, at) in sys.net_devices().iter().zip(0u64..) {
        let Some(device) = Device::new(name) else {
            continue;
        };
        let Some(place) = dir.child(index, row, Some(device)) else {
            continue;
        };
        if at >= pos && !emit(name, place, at + 1) {
            break;
        }
    }
    Ok(())
}

/// Appends the text of a value. Errors: `ENOENT`, `EISDIR`, `ENOMEM`.
pub(crate) fn read(sys: &dyn System, place: &CtlPlace, out: &mut Text) -> Result<()> {
    let row = place.row()?;
    match sys
        .sysctl_get(row.ctl, place.device())
        .ok_or(Errno::ENOENT)?
    {
        CtlValue::Text(text) => out.bytes(&text)?,
        CtlValue::Ints(values) => {
            for (index, value) in values.iter().enumerate() {
                put!(out, "{}{value}", if index > 0 { "\t" } else { "" })?;
            }
        }
    }
    out.str("\n")
}

/// Sets a value from what was written. Errors: `EINVAL`, `ENOENT`, `EISDIR`, and the kernel's own.
pub(crate) fn write(sys: &dyn System, place: &CtlPlace, offset: u64, data: &[u8]) -> Result<()> {
    let row = place.row()?;
    if offset != 0 {
        return Ok(());
    }
    let value = match row.shape {
        Shape::Line(room) => CtlValue::Text(line(data, room).to_vec()),
        Shape::Ints(count, min, max) => {
            let written = numbers(data, count, min, max)?;
            if written.is_empty() {
                return Ok(());
            }
            let mut values = match sys.sysctl_get(row.ctl, place.device()) {
                Some(CtlValue::Ints(values)) => values,
                _ => Vec::new(),
            };
            if values.len() < written.len() {
                values.resize(written.len(), 0);
            }
            for (old, new) in values.iter_mut().zip(written) {
                *old = new;
            }
            CtlValue::Ints(values)
        }
    };
    sys.sysctl_set(row.ctl, place.device(), value)
}

/// The line in `data`, cut to `room - 1` bytes.
fn line(data: &[u8], room: usize) -> &[u8] {
    let end = data
        .iter()
        .position(|b| matches!(b, b'\n' | 0))
        .unwrap_or(data.len());
    data.get(..end.min(room.saturating_sub(1))).unwrap_or(&[])
}

/// Up to `count` numbers out of `data`; what follows them is ignored.
fn numbers(data: &[u8], count: usize, min: i128, max: i128) -> Result<Vec<i128>> {
    let mut values = Vec::new();
    let words = data
        .split(|b| b.is_ascii_whitespace() || *b == 0)
        .filter(|word| !word.is_empty());
    for word in words.take(count) {
        let value = number(word)?;
        if value < min || value > max {
            return Err(Errno::EINVAL);
        }
        values.push(value);
    }
    Ok(values)
}

/// One number, with a sign and a `0x` or `0` prefix if it likes. Errors: `EINVAL`.
fn number(word: &[u8]) -> Result<i128> {
    let (negative, digits) = match word {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, word),
    };
    if !digits.first().is_some_and(u8::is_ascii_digit) {
        return Err(Errno::EINVAL);
    }
    let magnitude = crate::text::unsigned(digits).map_err(|_| Errno::EINVAL)?;
    Ok(if negative {
        -i128::from(magnitude)
    } else {
        i128::from(magnitude)
    })
}
