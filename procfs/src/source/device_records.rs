//! The records behind the files about file systems, devices, disks and terminals.

use alloc::string::String;
use alloc::vec::Vec;

use super::DevNo;

/// A file system type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsType {
    /// As mount(2) takes it.
    pub name: String,
    /// Whether it needs a block device.
    pub needs_device: bool,
}

/// `/proc/devices`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// Major number and name of character devices.
    pub character: Vec<(u32, String)>,
    /// Major number and name of block devices.
    pub block: Vec<(u32, String)>,
}

/// One line of `/proc/consoles`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Console {
    /// Driver name and index, e.g. `ttyS0`.
    pub name: String,
    /// Can be read.
    pub read: bool,
    /// Can be written.
    pub write: bool,
    /// Can be unblanked.
    pub unblank: bool,
    /// Flags in order: enabled, preferred (`/dev/console`), boot console, printk buffer, braille, safe when the CPU is offline.
    pub flags: [bool; 6],
    /// The terminal's device number, if it has one.
    pub dev: Option<DevNo>,
}

/// A disk or partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// Its number.
    pub dev: DevNo,
    /// Its name, e.g. `vda1`.
    pub name: String,
    /// 512-byte sectors.
    pub sectors: u64,
    /// Not listed in `/proc/partitions` (an unset loop device).
    pub hidden: bool,
    /// What it has done.
    pub stats: DiskStats,
}

/// Counts of requests, sectors of 512 bytes, and times in milliseconds (the kernel's
/// `Documentation/admin-guide/iostats`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DiskStats {
    pub reads: u64,
    pub reads_merged: u64,
    pub read_sectors: u64,
    pub read_ms: u64,
    pub writes: u64,
    pub writes_merged: u64,
    pub written_sectors: u64,
    pub write_ms: u64,
    pub in_flight: u64,
    pub io_ms: u64,
    pub queue_ms: u64,
    pub discards: u64,
    pub discards_merged: u64,
    pub discarded_sectors: u64,
    pub discard_ms: u64,
    pub flushes: u64,
    pub flush_ms: u64,
}

/// One line of `/proc/tty/drivers`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TtyDriver {
    /// Driver name.
    pub driver: String,
    /// Node name, e.g. `/dev/ttyS`.
    pub node: String,
    /// Major number.
    pub major: u32,
    /// First and last minor number.
    pub minors: (u32, u32),
    /// Type, e.g. `serial` or `pty:slave`.
    pub kind: &'static str,
}

/// One line of `/proc/tty/driver/serial`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SerialPort {
    pub line: u32,
    pub uart: String,
    pub port: u32,
    pub irq: u32,
    pub tx: u64,
    pub rx: u64,
    /// Modem lines that are on, e.g. `["RTS", "CTS"]`.
    pub signals: Vec<&'static str>,
}

/// One line of `/proc/bus/pci/devices`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PciDevice {
    /// Bus number.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Interrupt.
    pub irq: u32,
    /// The six BARs with their flag bits, and the ROM.
    pub bars: [u64; 7],
    /// Their sizes.
    pub sizes: [u64; 7],
    /// The driver, if one has it.
    pub driver: String,
}

/// One block of `/proc/bus/input/devices`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputDevice {
    /// Bus, vendor, product, version.
    pub id: [u16; 4],
    /// Name.
    pub name: String,
    /// Physical path.
    pub phys: String,
    /// Path below `/sys`.
    pub sysfs: String,
    /// Unique ID.
    pub uniq: String,
    /// Handlers, e.g. `["kbd", "event0"]`.
    pub handlers: Vec<String>,
    /// The bitmaps: letters before `=` and value, e.g. `("PROP", "0")`.
    pub bits: Vec<(&'static str, String)>,
}

/// One mounted ext4 for `/proc/fs`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ext4Mount {
    /// Name of the disk, e.g. `vda1`.
    pub disk: String,
    /// The mount options in force, one a line in `/proc/fs/ext4/DISK/options`.
    pub options: Vec<String>,
}
