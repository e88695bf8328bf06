//! Files about the machine: the top of `/proc`.

pub mod block;
pub mod cpu;
pub mod interrupts;
pub mod ipc;
pub mod lists;
pub mod locks;
pub mod memory;
pub mod resources;

use keel_abi::{Errno, Result};

use crate::put;
use crate::source::System;
use crate::text::Text;

/// `/proc/fs/ext4/DISK/options`.
pub(crate) fn ext4_options(sys: &dyn System, index: usize, out: &mut Text) -> Result<()> {
    let mounts = sys.ext4_mounts();
    let mount = mounts.get(index).ok_or(Errno::ENOENT)?;
    mount
        .options
        .iter()
        .try_for_each(|option| put!(out, "{option}\n"))
}
