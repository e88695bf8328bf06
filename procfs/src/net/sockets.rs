//! Sockets. Addresses are printed as the kernel keeps them: each 32-bit word of a network-order address read as a
//! little-endian number.

use core::fmt;

use keel_abi::Result;

use crate::put;
use crate::source::{InetAddr, InetSocket, Net, NetlinkSocket, PacketSocket, UnixSocket};
use crate::text::Text;

/// The files of Internet sockets, which differ in padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SocketFile {
    Tcp,
    Tcp6,
    Udp,
    Udp6,
    Raw,
    Raw6,
    Icmp,
    Icmp6,
}

/// Width of a line of tcp and of udp before its newline, where the file pads them.
const TCP_WIDTH: usize = 149;
const UDP_WIDTH: usize = 127;

impl SocketFile {
    fn width(self) -> usize {
        match self {
            SocketFile::Tcp => TCP_WIDTH,
            SocketFile::Udp | SocketFile::Icmp => UDP_WIDTH,
            _ => 0,
        }
    }

    fn is_tcp(self) -> bool {
        matches!(self, SocketFile::Tcp | SocketFile::Tcp6)
    }
}

/// An address and port as the files print them.
struct Address(InetAddr);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            InetAddr::V4(address, port) => {
                write!(f, "{:08X}:{port:04X}", u32::from_le_bytes(address))
            }
            InetAddr::V6(address, port) => {
                for word in address.chunks_exact(4) {
                    let word = word
                        .iter()
                        .rev()
                        .fold(0u32, |value, b| value << 8 | u32::from(*b));
                    write!(f, "{word:08X}")?;
                }
                write!(f, ":{port:04X}")
            }
        }
    }
}

/// The first line.
pub fn inet_header(file: SocketFile, out: &mut Text) -> Result<()> {
    let begin = out.len();
    out.str(match file {
        SocketFile::Tcp => {
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  \
             timeout inode"
        }
        SocketFile::Udp => {
            "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  \
             timeout inode ref pointer drops"
        }
        SocketFile::Raw | SocketFile::Icmp => {
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  \
             timeout inode ref pointer drops"
        }
        SocketFile::Tcp6 => {
            "  sl  local_address                         remote_address                        \
             st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
        }
        SocketFile::Udp6 | SocketFile::Raw6 | SocketFile::Icmp6 => {
            "  sl  local_address                         remote_address                        \
             st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops"
        }
    })?;
    out.pad_line(begin, file.width())?;
    out.str("\n")
}

/// One socket. `index` numbers the lines of the TCP files.
pub fn inet_line(file: SocketFile, index: usize, s: &InetSocket, out: &mut Text) -> Result<()> {
    let begin = out.len();
    if file.is_tcp() {
        put!(out, "{index:4}: ")?;
    } else {
        put!(out, "{:5}: ", s.slot)?;
    }
    put!(
        out,
        "{} {} {:02X} ",
        Address(s.local),
        Address(s.remote),
        s.state
    )?;
    put!(
        out,
        "{:08X}:{:08X} {:02X}:{:08X} ",
        s.tx_queue,
        s.rx_queue,
        s.timer,
        s.timer_when
    )?;
    put!(
        out,
        "{:08X} {:5} {:8} {} ",
        s.retransmits,
        s.uid,
        s.timeout,
        s.ino
    )?;
    put!(out, "{} {:016x}", s.references, s.pointer)?;
    if !file.is_tcp() {
        put!(out, " {}", s.drops)?;
    } else if let Some(values) = s.tcp {
        values.iter().try_for_each(|value| put!(out, " {value}"))?;
    }
    out.pad_line(begin, file.width())?;
    out.str("\n")
}

fn inet(file: SocketFile, sockets: &[InetSocket], out: &mut Text) -> Result<()> {
    inet_header(file, out)?;
    sockets
        .iter()
        .enumerate()
        .try_for_each(|(index, s)| inet_line(file, index, s, out))
}

macro_rules! inet_files {
    ($($read:ident = $method:ident, $file:ident;)*) => { $(
        pub(crate) fn $read(net: &dyn Net, out: &mut Text) -> Result<()> {
            inet(SocketFile::$file, &net.$method(), out)
        }
    )* };
}

inet_files! {
    read_tcp = tcp, Tcp;
    read_tcp6 = tcp6, Tcp6;
    read_udp = udp, Udp;
    read_udp6 = udp6, Udp6;
    read_raw = raw, Raw;
    read_raw6 = raw6, Raw6;
    read_icmp = icmp, Icmp;
    read_icmp6 = icmp6, Icmp6;
}

pub(crate) fn read_unix(net: &dyn Net, out: &mut Text) -> Result<()> {
    out.str("Num       RefCount Protocol Flags    Type St Inode Path\n")?;
    net.unix()
        .iter()
        .try_for_each(|socket| unix_line(socket, out))
}

/// One line of unix; NULs of an abstract name are shown as `@`.
pub fn unix_line(s: &UnixSocket, out: &mut Text) -> Result<()> {
    put!(
        out,
        "{:016x}: {:08X} {:08X} {:08X} ",
        s.pointer,
        s.references,
        0,
        s.flags
    )?;
    put!(out, "{:04X} {:02X} {:5}", s.kind, s.state, s.ino)?;
    if let Some(path) = &s.path {
        out.str(" ")?;
        for &byte in path {
            out.bytes(&[if byte == 0 { b'@' } else { byte }])?;
        }
    }
    out.str("\n")
}

pub(crate) fn read_netlink(net: &dyn Net, out: &mut Text) -> Result<()> {
    out.str(
        "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n",
    )?;
    net.netlink()
        .iter()
        .try_for_each(|socket| netlink_line(socket, out))
}

/// One line of netlink.
pub fn netlink_line(s: &NetlinkSocket, out: &mut Text) -> Result<()> {
    put!(
        out,
        "{:016x} {:<3} {:<10} {:08x} ",
        s.pointer,
        s.protocol,
        s.port,
        s.groups
    )?;
    put!(
        out,
        "{:<8} {:<8} {:<5} ",
        s.rmem,
        s.wmem,
        u8::from(s.dumping)
    )?;
    put!(out, "{:<8} {:<8} {:<8}\n", s.references, s.drops, s.ino)
}

pub(crate) fn read_packet(net: &dyn Net, out: &mut Text) -> Result<()> {
    out.str("sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n")?;
    net.packet()
        .iter()
        .try_for_each(|socket| packet_line(socket, out))
}

/// One line of packet.
pub fn packet_line(s: &PacketSocket, out: &mut Text) -> Result<()> {
    put!(
        out,
        "{:016x} {:<6} {:<4} {:04x}   ",
        s.pointer,
        s.references,
        s.kind,
        s.protocol
    )?;
    put!(out, "{:<5} {} ", s.interface, u8::from(s.running))?;
    put!(out, "{:<6} {:<6} {:<6}\n", s.rmem, s.uid, s.ino)
}
