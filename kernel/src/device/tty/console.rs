//! /dev/console: the terminal that `console=` names, where the kernel's messages go and init's descriptors point.

use keel_abi::flags::OpenFlags;

use super::{Tty, dev, open_console, serial};
use crate::cmdline;
use crate::device::{CharDevice, register_char};
use crate::fs::{FileOps, Inode};
use crate::prelude::*;

struct Console;

impl CharDevice for Console {
    fn open(&self, _inode: &Arc<Inode>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        terminal().map(|tty| open_console(&tty)).ok_or(Errno::ENXIO)
    }
}

/// The terminal behind the console: that of the last `console=` that exists, else the first serial line.
pub fn terminal() -> Option<Arc<Tty>> {
    let ttys = serial::ttys();
    let mut named = cmdline::get()
        .values("console")
        .into_iter()
        .filter_map(|value| {
            let name = value.split(',').next()?;
            ttys.iter().flatten().find(|tty| tty.name == name)
        });
    named
        .next_back()
        .or_else(|| ttys.iter().flatten().next())
        .cloned()
}

/// Registers the device.
pub fn init() {
    register_char(5, 1..2, "/dev/console", Arc::new(Console));
    crate::fs::devtmpfs::add_node("console", 0o020_600, dev(5, 1));
}
