//! Network interfaces: `/sys/class/net` (`Documentation/ABI/testing/sysfs-class-net`).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use keel_abi::{Errno, Result};
use keel_procfs::{Text, put};

use crate::attr::{Attrs, boolean, number};
use crate::device::Device;
use crate::registry::{Id, Registry};

/// What an interface says of itself at any time.
pub trait NetSource: Send + Sync {
    /// Its state.
    fn state(&self) -> NetState;

    /// Its counters.
    fn statistics(&self) -> NetStatistics;

    /// Sets the carrier. Errors: `EOPNOTSUPP` for most, whose carrier is their hardware's.
    fn set_carrier(&self, _carrier: bool) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets the MTU. Errors: `EINVAL`, `EPERM`.
    fn set_mtu(&self, mtu: u32) -> Result<()>;

    /// Sets the flags (`IFF_UP` above all). Errors: `EINVAL`, `EPERM`.
    fn set_flags(&self, flags: u32) -> Result<()>;

    /// Sets the length of the transmit queue. Errors: `EINVAL`, `EPERM`.
    fn set_tx_queue_len(&self, packets: u32) -> Result<()>;
}

/// The state of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The files of the same names.
pub struct NetState {
    pub address: Vec<u8>,
    /// `NET_ADDR_*`: 0 permanent, 1 random, 3 set.
    pub addr_assign_type: u8,
    /// `NET_NAME_*`; 0 for a name of unknown origin, whose file cannot be read.
    pub name_assign_type: u8,
    pub broadcast: Vec<u8>,
    pub mtu: u32,
    /// `IFF_*`.
    pub flags: u32,
    /// `ARPHRD_*`.
    pub kind: u16,
    /// Whether it is up; carrier, duplex and speed cannot be read while it is down.
    pub running: bool,
    pub carrier: bool,
    /// `IF_OPER_*`.
    pub operstate: u8,
    /// Mbit/s, if it has a speed.
    pub speed: Option<i32>,
    /// `full`, `half` or `unknown`, if it has one.
    pub duplex: Option<&'static str>,
    pub tx_queue_len: u32,
    pub carrier_up_count: u32,
    pub carrier_down_count: u32,
}

/// The counters below `statistics/`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NetStatistics {
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub multicast: u64,
    pub collisions: u64,
    pub rx_length_errors: u64,
    pub rx_over_errors: u64,
    pub rx_crc_errors: u64,
    pub rx_frame_errors: u64,
    pub rx_fifo_errors: u64,
    pub rx_missed_errors: u64,
    pub tx_aborted_errors: u64,
    pub tx_carrier_errors: u64,
    pub tx_fifo_errors: u64,
    pub tx_heartbeat_errors: u64,
    pub tx_window_errors: u64,
    pub rx_compressed: u64,
    pub tx_compressed: u64,
    pub rx_nohandler: u64,
}

type Counter = fn(&NetStatistics) -> u64;

const STATISTICS: [(&str, Counter); 24] = [
    ("rx_packets", |s| s.rx_packets),
    ("tx_packets", |s| s.tx_packets),
    ("rx_bytes", |s| s.rx_bytes),
    ("tx_bytes", |s| s.tx_bytes),
    ("rx_errors", |s| s.rx_errors),
    ("tx_errors", |s| s.tx_errors),
    ("rx_dropped", |s| s.rx_dropped),
    ("tx_dropped", |s| s.tx_dropped),
    ("multicast", |s| s.multicast),
    ("collisions", |s| s.collisions),
    ("rx_length_errors", |s| s.rx_length_errors),
    ("rx_over_errors", |s| s.rx_over_errors),
    ("rx_crc_errors", |s| s.rx_crc_errors),
    ("rx_frame_errors", |s| s.rx_frame_errors),
    ("rx_fifo_errors", |s| s.rx_fifo_errors),
    ("rx_missed_errors", |s| s.rx_missed_errors),
    ("tx_aborted_errors", |s| s.tx_aborted_errors),
    ("tx_carrier_errors", |s| s.tx_carrier_errors),
    ("tx_fifo_errors", |s| s.tx_fifo_errors),
    ("tx_heartbeat_errors", |s| s.tx_heartbeat_errors),
    ("tx_window_errors", |s| s.tx_window_errors),
    ("rx_compressed", |s| s.rx_compressed),
    ("tx_compressed", |s| s.tx_compressed),
    ("rx_nohandler", |s| s.rx_nohandler),
];

/// Names of `IF_OPER_*`.
const OPERSTATES: [&str; 7] = [
    "unknown",
    "notpresent",
    "down",
    "lowerlayerdown",
    "testing",
    "dormant",
    "up",
];

fn mac(address: &[u8], out: &mut Text) -> Result<()> {
    for (index, byte) in address.iter().enumerate() {
        put!(out, "{}{byte:02x}", if index > 0 { ":" } else { "" })?;
    }
    out.str("\n")
}

/// A value that cannot be read while the interface is down.
fn when_up(state: &NetState) -> Result<()> {
    if state.running {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

fn written_u32(data: &[u8]) -> Result<u32> {
    u32::try_from(number(data)?).map_err(|_| Errno::ERANGE)
}

type Show = fn(&NetState, &mut Text) -> Result<()>;

/// What is shown of the state alone.
const STATE: [(&str, Show); 14] = [
    ("address", |s, out| mac(&s.address, out)),
    ("broadcast", |s, out| mac(&s.broadcast, out)),
    ("addr_len", |s, out| put!(out, "{}\n", s.address.len())),
    ("addr_assign_type", |s, out| {
        put!(out, "{}\n", s.addr_assign_type)
    }),
    ("name_assign_type", |s, out| match s.name_assign_type {
        0 => Err(Errno::EINVAL),
        kind => put!(out, "{kind}\n"),
    }),
    ("type", |s, out| put!(out, "{}\n", s.kind)),
    ("operstate", |s, out| {
        put!(
            out,
            "{}\n",
            OPERSTATES
                .get(usize::from(s.operstate))
                .unwrap_or(&"unknown")
        )
    }),
    ("speed", |s, out| {
        when_up(s)?;
        put!(out, "{}\n", s.speed.ok_or(Errno::EINVAL)?)
    }),
    ("duplex", |s, out| {
        when_up(s)?;
        put!(out, "{}\n", s.duplex.ok_or(Errno::EINVAL)?)
    }),
    ("carrier_changes", |s, out| {
        put!(
            out,
            "{}\n",
            u64::from(s.carrier_up_count) + u64::from(s.carrier_down_count)
        )
    }),
    ("carrier_up_count", |s, out| {
        put!(out, "{}\n", s.carrier_up_count)
    }),
    ("carrier_down_count", |s, out| {
        put!(out, "{}\n", s.carrier_down_count)
    }),
    ("dormant", |s, out| when_up(s).and_then(|()| out.str("0\n"))),
    ("link_mode", |_, out| out.str("0\n")),
];

impl Registry {
    /// Adds an interface; `parent` is its device, none for `lo` and the like. Errors: as [`Registry::add_device`].
    pub fn add_interface(
        &mut self,
        name: &str,
        index: u32,
        parent: Option<Id>,
        source: Arc<dyn NetSource>,
    ) -> Result<Id> {
        let mut device = Device::class("net", name, parent);
        device.vars = alloc::vec![
            ("INTERFACE".to_string(), name.to_string()),
            ("IFINDEX".to_string(), index.to_string()),
        ];
        let mut attrs = Attrs::new()
            .fixed("ifindex", index)
            .fixed("iflink", index)
            .fixed("dev_id", "0x0")
            .fixed("dev_port", 0);
        for (name, show) in STATE {
            let source = source.clone();
            attrs = attrs.show(name, move |out| show(&source.state(), out));
        }
        for (name, counter) in STATISTICS {
            let source = source.clone();
            let path: String = format!("statistics/{name}");
            attrs = attrs.value(path, move || counter(&source.statistics()));
        }
        device.attrs = attrs.with(settings(&source));
        self.add_device(device)
    }
}

fn settings(source: &Arc<dyn NetSource>) -> Attrs {
    let (a, b) = (source.clone(), source.clone());
    let (c, d) = (source.clone(), source.clone());
    let (e, f) = (source.clone(), source.clone());
    let (g, h) = (source.clone(), source.clone());
    Attrs::new()
        .show_store(
            "mtu",
            move |out| put!(out, "{}\n", a.state().mtu),
            move |data| b.set_mtu(written_u32(data)?),
        )
        .show_store(
            "carrier",
            move |out| {
                let state = g.state();
                when_up(&state).and_then(|()| put!(out, "{}\n", u8::from(state.carrier)))
            },
            move |data| {
                when_up(&h.state())?;
                h.set_carrier(boolean(data)?)
            },
        )
        .show_store(
            "flags",
            move |out| put!(out, "{:#x}\n", c.state().flags),
            move |data| d.set_flags(written_u32(data)?),
        )
        .show_store(
            "tx_queue_len",
            move |out| put!(out, "{}\n", e.state().tx_queue_len),
            move |data| f.set_tx_queue_len(written_u32(data)?),
        )
}
