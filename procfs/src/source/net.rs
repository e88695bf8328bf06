//! [`Net`]: one network namespace, and the records behind `/proc/PID/net`.
//!
//! Addresses are bytes in network order, ports are in the host's.

use alloc::string::String;
use alloc::vec::Vec;

/// What one interface has sent and received: the columns of `net/dev`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NetDevice {
    pub name: Vec<u8>,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub rx_fifo: u64,
    pub rx_frame: u64,
    pub rx_compressed: u64,
    pub multicast: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
    pub tx_fifo: u64,
    pub collisions: u64,
    pub tx_carrier: u64,
    pub tx_compressed: u64,
}

/// An address of either family with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum InetAddr {
    V4([u8; 4], u16),
    V6([u8; 16], u16),
}

/// One line of tcp, tcp6, udp, udp6, raw, raw6, icmp, icmp6.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The columns of proc_pid_net(5).
pub struct InetSocket {
    /// Hash slot, for datagram sockets; stream sockets are numbered by the formatter.
    pub slot: u32,
    pub local: InetAddr,
    pub remote: InetAddr,
    /// `TCP_*` state.
    pub state: u8,
    pub tx_queue: u32,
    pub rx_queue: u32,
    /// Which timer runs: 0 none, 1 retransmit, 2 keepalive or delayed, 3 TIME_WAIT, 4 zero window.
    pub timer: u8,
    /// Ticks of [`crate::USER_HZ`] until it expires.
    pub timer_when: u64,
    pub retransmits: u32,
    pub uid: u32,
    pub timeout: u64,
    pub ino: u64,
    pub references: u32,
    /// Hashed address of the socket, as the reader may see it.
    pub pointer: u64,
    /// Established and listening TCP only: timeout (ticks), ack timeout (ticks), `quick << 1 | pingpong`,
    /// congestion window, slow-start threshold (-1 for infinite).
    pub tcp: Option<[i64; 5]>,
    /// Datagram and raw sockets: dropped datagrams.
    pub drops: u32,
}

/// One line of `unix`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UnixSocket {
    pub pointer: u64,
    pub references: u32,
    /// `__SO_ACCEPTCON` (0x10000) for a listening socket.
    pub flags: u32,
    pub kind: u16,
    /// `SS_*` state.
    pub state: u8,
    pub ino: u64,
    /// `None` if it has no name; an abstract one begins with a NUL.
    pub path: Option<Vec<u8>>,
}

/// One line of `netlink`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NetlinkSocket {
    pub pointer: u64,
    pub protocol: u32,
    pub port: u32,
    pub groups: u32,
    pub rmem: u32,
    pub wmem: u32,
    pub dumping: bool,
    pub references: u32,
    pub drops: u32,
    pub ino: u64,
}

/// One line of `packet`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PacketSocket {
    pub pointer: u64,
    pub references: u32,
    pub kind: u32,
    pub protocol: u16,
    pub interface: u32,
    pub running: bool,
    pub rmem: u32,
    pub uid: u32,
    pub ino: u64,
}

/// One line of `route`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Route4 {
    pub interface: Vec<u8>,
    pub destination: [u8; 4],
    pub gateway: [u8; 4],
    /// `RTF_*`.
    pub flags: u32,
    pub metric: u32,
    pub mask: [u8; 4],
    pub mtu: u32,
    pub window: u32,
    pub irtt: u32,
}

/// One line of `ipv6_route`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Route6 {
    pub destination: [u8; 16],
    pub prefix: u8,
    pub source: [u8; 16],
    pub source_prefix: u8,
    pub gateway: [u8; 16],
    pub metric: u32,
    pub references: u32,
    pub uses: u32,
    pub flags: u32,
    pub interface: Vec<u8>,
}

/// One line of `arp`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ArpEntry {
    pub address: [u8; 4],
    pub hw_type: u32,
    pub flags: u32,
    pub hw_address: Vec<u8>,
    pub interface: Vec<u8>,
}

/// One line of `if_inet6`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Address6 {
    pub address: [u8; 16],
    pub index: u32,
    pub prefix: u8,
    pub scope: u8,
    pub flags: u8,
    pub interface: Vec<u8>,
}

/// One line of `dev_mcast`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Multicast {
    pub index: u32,
    pub interface: Vec<u8>,
    pub references: u32,
    pub global: bool,
    pub address: Vec<u8>,
}

/// One line of `protocols`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Protocol {
    pub name: String,
    pub object_size: u32,
    pub sockets: u32,
    /// Pages of memory, -1 where it is not counted.
    pub memory: i64,
    /// `NI` where it does not apply.
    pub pressure: Option<bool>,
    pub max_header: u32,
    pub slab: bool,
    /// close, connect, disconnect, accept, ioctl, init, destroy, shutdown, setsockopt, getsockopt, sendmsg, recvmsg,
    /// sendpage, bind, backlog, hash, unhash, get_port, enter_memory_pressure: whether it has them.
    pub methods: [bool; 19],
}

/// `sockstat` and `sockstat6`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SockStat {
    pub used: u64,
    pub tcp_inuse: u64,
    pub tcp_orphan: u64,
    pub tcp_tw: u64,
    pub tcp_alloc: u64,
    pub tcp_mem: u64,
    pub udp_inuse: u64,
    pub udp_mem: u64,
    pub udplite_inuse: u64,
    pub raw_inuse: u64,
    pub frag_inuse: u64,
    pub frag_memory: u64,
    pub tcp6_inuse: u64,
    pub udp6_inuse: u64,
    pub udplite6_inuse: u64,
    pub raw6_inuse: u64,
    pub frag6_inuse: u64,
    pub frag6_memory: u64,
}

/// A group of counters in `snmp` and `netstat`: its name, and each counter's name and value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CounterGroup {
    /// E.g. `Ip` or `TcpExt`.
    pub name: &'static str,
    /// In Linux's order; Tcp's MaxConn is signed.
    pub counters: Vec<(&'static str, i64)>,
}

/// One network namespace. Every list is empty by default: a namespace that has nothing of the kind.
#[allow(missing_docs)] // Each method is the file of its name.
pub trait Net: Send + Sync {
    /// `dev`.
    fn devices(&self) -> Vec<NetDevice>;

    fn tcp(&self) -> Vec<InetSocket> {
        Vec::new()
    }

    fn tcp6(&self) -> Vec<InetSocket> {
        Vec::new()
    }

    fn udp(&self) -> Vec<InetSocket> {
        Vec::new()
    }

    fn udp6(&self) -> Vec<InetSocket> {
        Vec::new()
    }

    fn raw(&self) -> Vec<InetSocket> {
        Vec::new()
    }

    fn raw6(&self) -> Vec<InetSocket> {
        Vec::new()
    }

    fn icmp(&self) -> Vec<InetSocket> {
        Vec::new()
    }

    fn icmp6(&self) -> Vec<InetSocket> {
        Vec::new()
    }

    fn unix(&self) -> Vec<UnixSocket> {
        Vec::new()
    }

    fn netlink(&self) -> Vec<NetlinkSocket> {
        Vec::new()
    }

    fn packet(&self) -> Vec<PacketSocket> {
        Vec::new()
    }

    fn routes(&self) -> Vec<Route4> {
        Vec::new()
    }

    fn routes6(&self) -> Vec<Route6> {
        Vec::new()
    }

    fn arp(&self) -> Vec<ArpEntry> {
        Vec::new()
    }

    fn addresses6(&self) -> Vec<Address6> {
        Vec::new()
    }

    fn multicast(&self) -> Vec<Multicast> {
        Vec::new()
    }

    fn protocols(&self) -> Vec<Protocol> {
        Vec::new()
    }

    fn sockstat(&self) -> SockStat {
        SockStat::default()
    }

    /// `snmp`.
    fn snmp(&self) -> Vec<CounterGroup> {
        Vec::new()
    }

    /// `snmp6`.
    fn snmp6(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// `netstat`.
    fn netstat(&self) -> Vec<CounterGroup> {
        Vec::new()
    }

    /// `softnet_stat`: fifteen counters for each CPU.
    fn softnet_stat(&self) -> Vec<[u32; 15]> {
        Vec::new()
    }

    /// `ptype`: type (`ALL` for none), device, function.
    fn packet_types(&self) -> Vec<(Option<u16>, Vec<u8>, &'static str)> {
        Vec::new()
    }
}
