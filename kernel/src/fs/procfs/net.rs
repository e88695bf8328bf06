//! The network's files below /proc/PID/net: local sockets; there are no interfaces yet.

use keel_procfs::{Features, Net, NetDevice, UnixSocket as Shown};

use crate::fs::File;
use crate::net::unix::UnixSocket;
use crate::net::{open_sockets, socket_of};
use crate::prelude::*;

/// Which of them there are.
pub fn features() -> Features {
    Features::NET | Features::UNIX
}

/// The one network namespace.
pub struct Network;

impl Net for Network {
    fn devices(&self) -> Vec<NetDevice> {
        Vec::new()
    }

    fn unix(&self) -> Vec<Shown> {
        open_sockets().iter().filter_map(unix_line).collect()
    }
}

fn unix_line(file: &Arc<File>) -> Option<Shown> {
    /// `__SO_ACCEPTCON`.
    const LISTENS: u32 = 0x10000;
    const UNCONNECTED: u8 = 1;
    const CONNECTED: u8 = 3;
    let socket: &UnixSocket = socket_of(file).ok()?.as_any().downcast_ref()?;
    let (kind, listening, connected, mut name) = socket.describe();
    if name.first() != Some(&0) && name.last() == Some(&0) {
        name.pop();
    }
    Some(Shown {
        // Addresses of the kernel are nobody's business.
        pointer: 0,
        references: 2 + u32::from(connected),
        flags: if listening { LISTENS } else { 0 },
        kind: kind as u16,
        state: if connected { CONNECTED } else { UNCONNECTED },
        ino: file.inode.ino,
        path: (!name.is_empty()).then_some(name),
    })
}
