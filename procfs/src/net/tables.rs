//! Interfaces, routes, neighbours, addresses and counters.

use keel_abi::Result;

use crate::put;
use crate::source::{
    Address6, ArpEntry, CounterGroup, Multicast, Net, NetDevice, Protocol, Route4, Route6,
};
use crate::text::Text;

/// A name right-aligned in `width` columns.
fn right(name: &[u8], width: usize, out: &mut Text) -> Result<()> {
    put!(out, "{:pad$}", "", pad = width.saturating_sub(name.len()))?;
    out.bytes(name)
}

/// A name left-aligned in `width` columns.
fn left(name: &[u8], width: usize, out: &mut Text) -> Result<()> {
    out.bytes(name)?;
    put!(out, "{:pad$}", "", pad = width.saturating_sub(name.len()))
}

fn hex(bytes: &[u8], out: &mut Text) -> Result<()> {
    bytes.iter().try_for_each(|byte| put!(out, "{byte:02x}"))
}

pub(crate) fn read_dev(net: &dyn Net, out: &mut Text) -> Result<()> {
    out.str(
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs \
         drop fifo colls carrier compressed\n",
    )?;
    net.devices()
        .iter()
        .try_for_each(|device| device_line(device, out))
}

/// One line of dev.
pub fn device_line(d: &NetDevice, out: &mut Text) -> Result<()> {
    right(&d.name, 6, out)?;
    put!(
        out,
        ": {:7} {:7} {:4} {:4}",
        d.rx_bytes,
        d.rx_packets,
        d.rx_errors,
        d.rx_dropped
    )?;
    put!(
        out,
        " {:4} {:5} {:10} {:9}",
        d.rx_fifo,
        d.rx_frame,
        d.rx_compressed,
        d.multicast
    )?;
    put!(
        out,
        " {:8} {:7} {:4} {:4}",
        d.tx_bytes,
        d.tx_packets,
        d.tx_errors,
        d.tx_dropped
    )?;
    put!(
        out,
        " {:4} {:5} {:7} {:10}\n",
        d.tx_fifo,
        d.collisions,
        d.tx_carrier,
        d.tx_compressed
    )
}

/// Width of a line of route before its newline.
const ROUTE_WIDTH: usize = 127;

pub(crate) fn read_route(net: &dyn Net, out: &mut Text) -> Result<()> {
    let begin = out.len();
    out.str("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT")?;
    out.pad_line(begin, ROUTE_WIDTH)?;
    out.str("\n")?;
    net.routes()
        .iter()
        .try_for_each(|route| route4_line(route, out))
}

/// One line of route.
pub fn route4_line(r: &Route4, out: &mut Text) -> Result<()> {
    let begin = out.len();
    let word = u32::from_le_bytes;
    if r.interface.is_empty() {
        out.str("*")?;
    }
    out.bytes(&r.interface)?;
    put!(
        out,
        "\t{:08X}\t{:08X}\t{:04X}\t0\t0\t",
        word(r.destination),
        word(r.gateway),
        r.flags
    )?;
    put!(
        out,
        "{}\t{:08X}\t{}\t{}\t{}",
        r.metric,
        word(r.mask),
        r.mtu,
        r.window,
        r.irtt
    )?;
    out.pad_line(begin, ROUTE_WIDTH)?;
    out.str("\n")
}

pub(crate) fn read_ipv6_route(net: &dyn Net, out: &mut Text) -> Result<()> {
    net.routes6()
        .iter()
        .try_for_each(|route| route6_line(route, out))
}

/// One line of ipv6_route.
pub fn route6_line(r: &Route6, out: &mut Text) -> Result<()> {
    hex(&r.destination, out)?;
    put!(out, " {:02x} ", r.prefix)?;
    hex(&r.source, out)?;
    put!(out, " {:02x} ", r.source_prefix)?;
    hex(&r.gateway, out)?;
    put!(
        out,
        " {:08x} {:08x} {:08x} {:08x} ",
        r.metric,
        r.references,
        r.uses,
        r.flags
    )?;
    right(&r.interface, 8, out)?;
    out.str("\n")
}

pub(crate) fn read_arp(net: &dyn Net, out: &mut Text) -> Result<()> {
    out.str("IP address       HW type     Flags       HW address            Mask     Device\n")?;
    net.arp().iter().try_for_each(|entry| arp_line(entry, out))
}

/// One line of arp.
pub fn arp_line(e: &ArpEntry, out: &mut Text) -> Result<()> {
    let [a, b, c, d] = e.address;
    let mut address = Text::new();
    put!(address, "{a}.{b}.{c}.{d}")?;
    left(address.as_bytes(), 16, out)?;
    put!(out, " {:<12}{:<12}", Hex(e.hw_type), Hex(e.flags))?;
    let mut mac = Text::new();
    for (index, byte) in e.hw_address.iter().enumerate() {
        put!(mac, "{}{byte:02x}", if index > 0 { ":" } else { "" })?;
    }
    left(mac.as_bytes(), 17, out)?;
    out.str("     *        ")?;
    out.bytes(&e.interface)?;
    out.str("\n")
}

/// A number as `0x…`, padded like a text.
struct Hex(u32);

impl core::fmt::Display for Hex {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.0)?;
        let digits = self.0.checked_ilog(16).unwrap_or(0) as usize + 3;
        let pad = f.width().unwrap_or(0).saturating_sub(digits);
        write!(f, "{:pad$}", "")
    }
}

pub(crate) fn read_if_inet6(net: &dyn Net, out: &mut Text) -> Result<()> {
    net.addresses6()
        .iter()
        .try_for_each(|address| address6_line(address, out))
}

/// One line of if_inet6.
pub fn address6_line(a: &Address6, out: &mut Text) -> Result<()> {
    hex(&a.address, out)?;
    put!(
        out,
        " {:02x} {:02x} {:02x} {:02x} ",
        a.index,
        a.prefix,
        a.scope,
        a.flags
    )?;
    right(&a.interface, 8, out)?;
    out.str("\n")
}

pub(crate) fn read_dev_mcast(net: &dyn Net, out: &mut Text) -> Result<()> {
    net.multicast()
        .iter()
        .try_for_each(|entry| multicast_line(entry, out))
}

/// One line of dev_mcast.
pub fn multicast_line(m: &Multicast, out: &mut Text) -> Result<()> {
    put!(out, "{:<4} ", m.index)?;
    left(&m.interface, 15, out)?;
    put!(out, " {:<5} {:<5} ", m.references, u8::from(m.global))?;
    hex(&m.address, out)?;
    out.str("\n")
}

pub(crate) fn read_protocols(net: &dyn Net, out: &mut Text) -> Result<()> {
    out.str(
        "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs \
         se re sp bi br ha uh gp em\n",
    )?;
    net.protocols()
        .iter()
        .try_for_each(|protocol| protocol_line(protocol, out))
}

/// One line of protocols.
pub fn protocol_line(p: &Protocol, out: &mut Text) -> Result<()> {
    let pressure = match p.pressure {
        None => "NI",
        Some(true) => "yes",
        Some(false) => "no",
    };
    put!(
        out,
        "{:<9} {:4} {:6}  {:6}   ",
        p.name,
        p.object_size,
        p.sockets,
        p.memory
    )?;
    put!(out, "{pressure:<3} {:6}   ", p.max_header)?;
    put!(
        out,
        "{:<4} {:<10} ",
        if p.slab { "yes" } else { "no" },
        "kernel"
    )?;
    for (index, has) in p.methods.into_iter().enumerate() {
        put!(
            out,
            "{}{}",
            if index > 0 { "  " } else { " " },
            if has { 'y' } else { 'n' }
        )?;
    }
    out.str("\n")
}

pub(crate) fn read_sockstat(net: &dyn Net, out: &mut Text) -> Result<()> {
    let s = net.sockstat();
    put!(out, "sockets: used {}\n", s.used)?;
    put!(
        out,
        "TCP: inuse {} orphan {} tw {} ",
        s.tcp_inuse,
        s.tcp_orphan,
        s.tcp_tw
    )?;
    put!(out, "alloc {} mem {}\n", s.tcp_alloc, s.tcp_mem)?;
    put!(out, "UDP: inuse {} mem {}\n", s.udp_inuse, s.udp_mem)?;
    put!(
        out,
        "UDPLITE: inuse {}\nRAW: inuse {}\n",
        s.udplite_inuse,
        s.raw_inuse
    )?;
    put!(
        out,
        "FRAG: inuse {} memory {}\n",
        s.frag_inuse,
        s.frag_memory
    )
}

pub(crate) fn read_sockstat6(net: &dyn Net, out: &mut Text) -> Result<()> {
    let s = net.sockstat();
    put!(
        out,
        "TCP6: inuse {}\nUDP6: inuse {}\n",
        s.tcp6_inuse,
        s.udp6_inuse
    )?;
    put!(
        out,
        "UDPLITE6: inuse {}\nRAW6: inuse {}\n",
        s.udplite6_inuse,
        s.raw6_inuse
    )?;
    put!(
        out,
        "FRAG6: inuse {} memory {}\n",
        s.frag6_inuse,
        s.frag6_memory
    )
}

pub(crate) fn read_snmp(net: &dyn Net, out: &mut Text) -> Result<()> {
    net.snmp()
        .iter()
        .try_for_each(|group| counter_group(group, out))
}

pub(crate) fn read_netstat(net: &dyn Net, out: &mut Text) -> Result<()> {
    net.netstat()
        .iter()
        .try_for_each(|group| counter_group(group, out))
}

/// Two lines of snmp or netstat: the names, and the values.
pub fn counter_group(group: &CounterGroup, out: &mut Text) -> Result<()> {
    put!(out, "{}:", group.name)?;
    group
        .counters
        .iter()
        .try_for_each(|(name, _)| put!(out, " {name}"))?;
    put!(out, "\n{}:", group.name)?;
    group
        .counters
        .iter()
        .try_for_each(|(_, value)| put!(out, " {value}"))?;
    out.str("\n")
}

pub(crate) fn read_snmp6(net: &dyn Net, out: &mut Text) -> Result<()> {
    net.snmp6()
        .iter()
        .try_for_each(|(name, value)| put!(out, "{name:<32}\t{value}\n"))
}

pub(crate) fn read_softnet_stat(net: &dyn Net, out: &mut Text) -> Result<()> {
    for cpu in net.softnet_stat() {
        for (index, value) in cpu.iter().enumerate() {
            put!(out, "{}{value:08x}", if index > 0 { " " } else { "" })?;
        }
        out.str("\n")?;
    }
    Ok(())
}

pub(crate) fn read_ptype(net: &dyn Net, out: &mut Text) -> Result<()> {
    out.str("Type Device      Function\n")?;
    for (kind, device, function) in net.packet_types() {
        match kind {
            Some(kind) => put!(out, "{kind:04x} ")?,
            None => out.str("ALL  ")?,
        }
        left(&device, 8, out)?;
        put!(out, " {function}\n")?;
    }
    Ok(())
}
