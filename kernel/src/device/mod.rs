//! Devices: the registry of character devices, and the drivers.
//!
//! A driver registers a range of minor numbers with [`register_char`]; opening a device node finds it there. Nodes
//! themselves are files: [`crate::fs::devtmpfs`] makes them for /dev. Block devices have a registry of their own
//! in [`crate::block`].

pub mod mem;
pub mod rtc;
pub mod sysrq;
pub mod tty;
pub mod virtio_blk;
pub mod virtio_rng;

use core::ops::Range;
use keel_abi::flags::OpenFlags;
use keel_abi::types::Dev;

use crate::fs::{FileOps, Inode, Path};
use crate::prelude::*;

/// A character device driver.
pub trait CharDevice: Send + Sync {
    /// The behaviour of a new open file description of the device node `inode`: ENXIO, EBUSY.
    fn open(&self, inode: &Arc<Inode>, flags: OpenFlags) -> Result<Arc<dyn FileOps>>;

    /// As [`Self::open`], for a driver to which it matters where the node is.
    fn open_at(
        &self,
        _place: &Path,
        inode: &Arc<Inode>,
        flags: OpenFlags,
    ) -> Result<Arc<dyn FileOps>> {
        self.open(inode, flags)
    }
}

struct CharRange {
    major: u32,
    minors: Range<u32>,
    name: &'static str,
    device: Arc<dyn CharDevice>,
}

static CHAR_DEVICES: RwSpinLock<Vec<CharRange>> = RwSpinLock::new(Vec::new());

/// Makes a driver responsible for some minor numbers of `major`; `name` is what /proc/devices shows.
pub fn register_char(
    major: u32,
    minors: Range<u32>,
    name: &'static str,
    device: Arc<dyn CharDevice>,
) {
    CHAR_DEVICES.write().push(CharRange {
        major,
        minors,
        name,
        device,
    });
}

/// Opens a character device node: ENXIO if no driver has its number.
pub fn open_char(place: &Path, inode: &Arc<Inode>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
    let raw = u32::try_from(inode.attr().rdev).map_err(|_| Errno::ENXIO)?;
    let dev = Dev::decode(raw);
    let device = {
        let ranges = CHAR_DEVICES.read();
        ranges
            .iter()
            .find(|range| range.major == dev.major && range.minors.contains(&dev.minor))
            .map(|range| range.device.clone())
    };
    device.ok_or(Errno::ENXIO)?.open_at(place, inode, flags)
}

/// Majors and names for /proc/devices, ascending.
pub fn char_majors() -> Vec<(u32, &'static str)> {
    let mut majors: Vec<(u32, &'static str)> = CHAR_DEVICES
        .read()
        .iter()
        .map(|range| (range.major, range.name))
        .collect();
    majors.sort_unstable();
    majors.dedup();
    majors
}

/// Registers the drivers that need no hardware, and finds the others' hardware.
pub fn init() {
    mem::init();
    tty::init();
    rtc::init();
    virtio_rng::init();
}
