//! What is on a device, as far as finding the root needs it: type, UUID and label of file systems.

use super::BlockDevice;
use crate::prelude::*;

/// A file system found on a device.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its type as mount(2) names it.
    pub fs_type: &'static str,
    /// UUID, lower case with dashes.
    pub uuid: String,
    /// Label; empty if it has none.
    pub label: String,
}

const EXT_SUPER: usize = 1024;
const EXT_MAGIC: [u8; 2] = [0x53, 0xef];

/// Looks for a file system that this kernel can mount.
pub fn identify(device: &Arc<BlockDevice>) -> Option<Identity> {
    let mut head = vec![0; 4096];
    if device.bytes() < head.len() as u64 || device.read_bytes(0, &mut head).is_err() {
        return None;
    }
    let sb = head.get(EXT_SUPER..)?;
    if sb.get(56..58)? != EXT_MAGIC {
        return None;
    }
    let raw = sb.get(120..136)?;
    let label = raw
        .iter()
        .copied()
        .take_while(|byte| *byte != 0)
        .collect::<Vec<u8>>();
    let hex: String = sb
        .get(104..120)?
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let uuid = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-");
    Some(Identity {
        fs_type: "ext4",
        uuid,
        label: String::from_utf8_lossy(&label).into_owned(),
    })
}
