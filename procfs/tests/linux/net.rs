//! [`Net`] over the host's `/proc/PID/net`.

use keel_procfs::*;

use crate::host::*;

pub struct HostNet {
    pub host: Host,
    pub dir: String,
}

impl HostNet {
    /// The lines of a file after its header lines; none if Linux does not have it.
    fn lines(&self, file: &str, skip: usize) -> Vec<String> {
        let text = self
            .host
            .snapshots
            .text(&format!("{}/{file}", self.dir))
            .unwrap_or_default();
        text.lines().skip(skip).map(str::to_owned).collect()
    }

    fn inet(&self, file: &str) -> Vec<InetSocket> {
        self.lines(file, 1)
            .iter()
            .map(|line| parse_inet(line, file.starts_with("tcp")))
            .collect()
    }

    fn groups(&self, file: &str) -> Vec<CounterGroup> {
        let lines = self.lines(file, 0);
        lines
            .chunks(2)
            .map(|pair| {
                let (name, names) = pair[0].split_once(": ").unwrap();
                let values = pair[1].split_once(": ").unwrap().1;
                let counters = names
                    .split(' ')
                    .zip(values.split(' '))
                    .map(|(n, v)| (&*n.to_owned().leak(), num(v)))
                    .collect();
                CounterGroup {
                    name: name.to_owned().leak(),
                    counters,
                }
            })
            .collect()
    }
}

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|i| hex(&text[2 * i..2 * i + 2]) as u8)
        .collect()
}

fn inet_addr(text: &str) -> InetAddr {
    let (address, port) = text.split_once(':').unwrap();
    let port = hex(port) as u16;
    // Each 32-bit word is printed as a little-endian number.
    let bytes: Vec<u8> = bytes(address)
        .chunks(4)
        .flat_map(|word| word.iter().rev().copied().collect::<Vec<_>>())
        .collect();
    match bytes.len() {
        4 => InetAddr::V4(bytes.try_into().unwrap(), port),
        _ => InetAddr::V6(bytes.try_into().unwrap(), port),
    }
}

fn parse_inet(line: &str, tcp: bool) -> InetSocket {
    let w = words(line);
    let (tx, rx) = w[4].split_once(':').unwrap();
    let (timer, when) = w[5].split_once(':').unwrap();
    let state = hex(w[3]) as u8;
    let rest: Vec<i64> = w[12..].iter().map(|v| num(v)).collect();
    InetSocket {
        slot: num(w[0].trim_end_matches(':')),
        local: inet_addr(w[1]),
        remote: inet_addr(w[2]),
        state,
        tx_queue: hex(tx) as u32,
        rx_queue: hex(rx) as u32,
        timer: hex(timer) as u8,
        timer_when: hex(when),
        retransmits: hex(w[6]) as u32,
        uid: num(w[7]),
        timeout: num(w[8]),
        ino: num(w[9]),
        references: num(w[10]),
        pointer: hex(w[11]),
        tcp: if tcp {
            rest.clone().try_into().ok()
        } else {
            None
        },
        drops: if tcp { 0 } else { rest[0] as u32 },
    }
}

impl Net for HostNet {
    fn devices(&self) -> Vec<NetDevice> {
        let parse = |line: &String| {
            let (name, rest) = line.split_once(':').unwrap();
            let v: Vec<u64> = words(rest).into_iter().map(num).collect();
            NetDevice {
                name: name.trim().as_bytes().to_vec(),
                rx_bytes: v[0],
                rx_packets: v[1],
                rx_errors: v[2],
                rx_dropped: v[3],
                rx_fifo: v[4],
                rx_frame: v[5],
                rx_compressed: v[6],
                multicast: v[7],
                tx_bytes: v[8],
                tx_packets: v[9],
                tx_errors: v[10],
                tx_dropped: v[11],
                tx_fifo: v[12],
                collisions: v[13],
                tx_carrier: v[14],
                tx_compressed: v[15],
            }
        };
        self.lines("dev", 2).iter().map(parse).collect()
    }

    fn tcp(&self) -> Vec<InetSocket> {
        self.inet("tcp")
    }

    fn tcp6(&self) -> Vec<InetSocket> {
        self.inet("tcp6")
    }

    fn udp(&self) -> Vec<InetSocket> {
        self.inet("udp")
    }

    fn udp6(&self) -> Vec<InetSocket> {
        self.inet("udp6")
    }

    fn raw(&self) -> Vec<InetSocket> {
        self.inet("raw")
    }

    fn raw6(&self) -> Vec<InetSocket> {
        self.inet("raw6")
    }

    fn icmp(&self) -> Vec<InetSocket> {
        self.inet("icmp")
    }

    fn icmp6(&self) -> Vec<InetSocket> {
        self.inet("icmp6")
    }

    fn unix(&self) -> Vec<UnixSocket> {
        let parse = |line: &String| {
            let w = words(line);
            UnixSocket {
                pointer: hex(w[0].trim_end_matches(':')),
                references: hex(w[1]) as u32,
                flags: hex(w[3]) as u32,
                kind: hex(w[4]) as u16,
                state: hex(w[5]) as u8,
                ino: num(w[6]),
                path: w
                    .get(7)
                    .map(|path| path.replacen('@', "\0", 1).into_bytes()),
            }
        };
        self.lines("unix", 1).iter().map(parse).collect()
    }

    fn netlink(&self) -> Vec<NetlinkSocket> {
        let parse = |line: &String| {
            let w = words(line);
            NetlinkSocket {
                pointer: hex(w[0]),
                protocol: num(w[1]),
                port: num(w[2]),
                groups: hex(w[3]) as u32,
                rmem: num(w[4]),
                wmem: num(w[5]),
                dumping: w[6] == "1",
                references: num(w[7]),
                drops: num(w[8]),
                ino: num(w[9]),
            }
        };
        self.lines("netlink", 1).iter().map(parse).collect()
    }

    fn routes(&self) -> Vec<Route4> {
        let parse = |line: &String| {
            let w = words(line);
            let address = |text: &str| (hex(text) as u32).to_le_bytes();
            Route4 {
                interface: w[0].as_bytes().to_vec(),
                destination: address(w[1]),
                gateway: address(w[2]),
                flags: hex(w[3]) as u32,
                metric: num(w[6]),
                mask: address(w[7]),
                mtu: num(w[8]),
                window: num(w[9]),
                irtt: num(w[10]),
            }
        };
        self.lines("route", 1).iter().map(parse).collect()
    }

    fn routes6(&self) -> Vec<Route6> {
        let parse = |line: &String| {
            let w = words(line);
            let address = |text: &str| bytes(text).try_into().unwrap();
            Route6 {
                destination: address(w[0]),
                prefix: hex(w[1]) as u8,
                source: address(w[2]),
                source_prefix: hex(w[3]) as u8,
                gateway: address(w[4]),
                metric: hex(w[5]) as u32,
                references: hex(w[6]) as u32,
                uses: hex(w[7]) as u32,
                flags: hex(w[8]) as u32,
                interface: w[9].as_bytes().to_vec(),
            }
        };
        self.lines("ipv6_route", 0).iter().map(parse).collect()
    }

    fn arp(&self) -> Vec<ArpEntry> {
        let parse = |line: &String| {
            let w = words(line);
            let address: Vec<u8> = w[0].split('.').map(num).collect();
            ArpEntry {
                address: address.try_into().unwrap(),
                hw_type: hex(w[1]) as u32,
                flags: hex(w[2]) as u32,
                hw_address: w[3].split(':').map(|b| hex(b) as u8).collect(),
                interface: w[5].as_bytes().to_vec(),
            }
        };
        self.lines("arp", 1).iter().map(parse).collect()
    }

    fn addresses6(&self) -> Vec<Address6> {
        let parse = |line: &String| {
            let w = words(line);
            Address6 {
                address: bytes(w[0]).try_into().unwrap(),
                index: hex(w[1]) as u32,
                prefix: hex(w[2]) as u8,
                scope: hex(w[3]) as u8,
                flags: hex(w[4]) as u8,
                interface: w[5].as_bytes().to_vec(),
            }
        };
        self.lines("if_inet6", 0).iter().map(parse).collect()
    }

    fn multicast(&self) -> Vec<Multicast> {
        let parse = |line: &String| {
            let w = words(line);
            Multicast {
                index: num(w[0]),
                interface: w[1].as_bytes().to_vec(),
                references: num(w[2]),
                global: w[3] == "1",
                address: bytes(w[4]),
            }
        };
        self.lines("dev_mcast", 0).iter().map(parse).collect()
    }

    fn protocols(&self) -> Vec<Protocol> {
        let parse = |line: &String| {
            let w = words(line);
            Protocol {
                name: w[0].to_owned(),
                object_size: num(w[1]),
                sockets: num(w[2]),
                memory: num(w[3]),
                pressure: match w[4] {
                    "NI" => None,
                    text => Some(text == "yes"),
                },
                max_header: num(w[5]),
                slab: w[6] == "yes",
                methods: w[8..]
                    .iter()
                    .map(|m| *m == "y")
                    .collect::<Vec<_>>()
                    .try_into()
                    .unwrap(),
            }
        };
        self.lines("protocols", 1).iter().map(parse).collect()
    }

    fn sockstat(&self) -> SockStat {
        let values = |file: &str| -> Vec<u64> {
            let words_of = |l: &String| {
                l.split(' ')
                    .filter_map(|w| w.parse().ok())
                    .collect::<Vec<u64>>()
            };
            self.lines(file, 0).iter().flat_map(words_of).collect()
        };
        let v = values("sockstat");
        let mut stat = SockStat {
            used: v[0],
            tcp_inuse: v[1],
            tcp_orphan: v[2],
            tcp_tw: v[3],
            tcp_alloc: v[4],
            tcp_mem: v[5],
            udp_inuse: v[6],
            udp_mem: v[7],
            udplite_inuse: v[8],
            raw_inuse: v[9],
            frag_inuse: v[10],
            frag_memory: v[11],
            ..SockStat::default()
        };
        if let [tcp, udp, lite, raw, inuse, memory] = values("sockstat6")[..] {
            (stat.tcp6_inuse, stat.udp6_inuse, stat.udplite6_inuse) = (tcp, udp, lite);
            (stat.raw6_inuse, stat.frag6_inuse, stat.frag6_memory) = (raw, inuse, memory);
        }
        stat
    }

    fn snmp(&self) -> Vec<CounterGroup> {
        self.groups("snmp")
    }

    fn snmp6(&self) -> Vec<(&'static str, u64)> {
        let parse = |line: &String| {
            let w = words(line);
            (&*w[0].to_owned().leak(), num(w[1]))
        };
        self.lines("snmp6", 0).iter().map(parse).collect()
    }

    fn netstat(&self) -> Vec<CounterGroup> {
        self.groups("netstat")
    }

    fn softnet_stat(&self) -> Vec<[u32; 15]> {
        let parse = |line: &String| {
            words(line)
                .iter()
                .map(|v| hex(v) as u32)
                .collect::<Vec<_>>()
                .try_into()
                .unwrap()
        };
        self.lines("softnet_stat", 0).iter().map(parse).collect()
    }

    fn packet_types(&self) -> Vec<(Option<u16>, Vec<u8>, &'static str)> {
        let parse = |line: &String| {
            let kind = (!line.starts_with("ALL")).then(|| hex(&line[..4]) as u16);
            let device = line[5..13].trim_end().as_bytes().to_vec();
            (kind, device, &*line[14..].to_owned().leak())
        };
        self.lines("ptype", 1).iter().map(parse).collect()
    }
}
