//! Files about a network namespace: everything below `/proc/PID/net` (proc_pid_net(5)).
//!
//! - `sockets`: tcp, udp, raw, icmp, unix, netlink, packet.
//! - `tables`: interfaces, routes, neighbours, addresses, counters.

mod sockets;
mod tables;

pub use sockets::{SocketFile, inet_header, inet_line, netlink_line, packet_line, unix_line};
pub(crate) use sockets::{
    read_icmp, read_icmp6, read_netlink, read_packet, read_raw, read_raw6, read_tcp, read_tcp6,
    read_udp, read_udp6, read_unix,
};
pub use tables::{
    address6_line, arp_line, counter_group, device_line, multicast_line, protocol_line,
    route4_line, route6_line,
};
pub(crate) use tables::{
    read_arp, read_dev, read_dev_mcast, read_if_inet6, read_ipv6_route, read_netstat,
    read_protocols, read_ptype, read_route, read_snmp, read_snmp6, read_sockstat, read_sockstat6,
    read_softnet_stat,
};
