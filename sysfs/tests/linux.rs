//! The tree against Linux's own: devices that the host has are described to the registry, and every name, mode, link
//! and text that comes out must be the host's.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use keel_abi::{Errno, Result};
use keel_procfs::bitmap::Bitmap;
use keel_procfs::{DiskStats, MemInfo};
use keel_sysfs::block::*;
use keel_sysfs::chars::*;
use keel_sysfs::cpu::*;
use keel_sysfs::net::*;
use keel_sysfs::pci::*;
use keel_sysfs::virtio::*;
use keel_sysfs::*;

/// Keeps the messages.
#[derive(Default)]
struct Sink(Mutex<Vec<Vec<u8>>>);

impl UeventSink for Sink {
    fn send(&self, event: &Uevent) {
        self.0.lock().unwrap().push(event.message.clone());
    }
}

fn host(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(Path::new("/sys").join(path))
        .ok()
        .map(|text| text.trim_end().to_owned())
}

fn num<T: std::str::FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("not a number: {text:?}"))
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

fn dev(text: &str) -> DevNo {
    let (major, minor) = text.split_once(':').unwrap();
    DevNo {
        major: num(major),
        minor: num(minor),
    }
}

fn list(text: &str) -> Bitmap {
    keel_procfs::system::interrupts::parse_list(text.as_bytes()).unwrap()
}

/// A bitmap as wide as a hexadecimal text.
fn mask(text: &str, bits: u32) -> Bitmap {
    Bitmap {
        bits,
        ..keel_procfs::system::interrupts::parse_hex(text.as_bytes()).unwrap()
    }
}

struct HostDisk {
    path: PathBuf,
}

impl HostDisk {
    fn get<T: std::str::FromStr>(&self, name: &str) -> T {
        num(&host(self.path.join(name)).unwrap_or_else(|| panic!("no {name}")))
    }
}

impl BlockSource for HostDisk {
    fn sectors(&self) -> u64 {
        self.get("size")
    }

    fn read_only(&self) -> bool {
        self.get::<u8>("ro") == 1
    }

    fn stats(&self) -> DiskStats {
        DiskStats::default()
    }

    fn in_flight(&self) -> (u32, u32) {
        (0, 0)
    }
}

impl DiskSource for HostDisk {
    fn queue(&self) -> Queue {
        let get = |name: &str| self.get::<u64>(&format!("queue/{name}"));
        let small = |name: &str| u32::try_from(get(name)).unwrap();
        Queue {
            logical_block_size: small("logical_block_size"),
            physical_block_size: small("physical_block_size"),
            minimum_io_size: small("minimum_io_size"),
            optimal_io_size: small("optimal_io_size"),
            max_hw_sectors_kb: small("max_hw_sectors_kb"),
            max_sectors_kb: small("max_sectors_kb"),
            max_segments: small("max_segments"),
            max_segment_size: small("max_segment_size"),
            nr_requests: small("nr_requests"),
            read_ahead_kb: small("read_ahead_kb"),
            rotational: get("rotational") == 1,
            write_back: host(self.path.join("queue/write_cache")).as_deref() == Some("write back"),
            fua: get("fua") == 1,
            nomerges: small("nomerges"),
            iostats: get("iostats") == 1,
            add_random: get("add_random") == 1,
            rq_affinity: small("rq_affinity"),
            stable_writes: get("stable_writes") == 1,
            discard_granularity: small("discard_granularity"),
            discard_max_bytes: get("discard_max_bytes"),
            discard_max_hw_bytes: get("discard_max_hw_bytes"),
            max_discard_segments: small("max_discard_segments"),
            write_zeroes_max_bytes: get("write_zeroes_max_bytes"),
            dma_alignment: small("dma_alignment"),
        }
    }
}

struct HostNet {
    path: PathBuf,
}

impl NetSource for HostNet {
    fn state(&self) -> NetState {
        let get = |name: &str| host(self.path.join(name));
        let mac = |name: &str| {
            let text = get(name).unwrap();
            text.split(':')
                .filter(|b| !b.is_empty())
                .map(|b| hex(b) as u8)
                .collect()
        };
        let states = [
            "unknown",
            "notpresent",
            "down",
            "lowerlayerdown",
            "testing",
            "dormant",
            "up",
        ];
        let operstate = get("operstate").unwrap();
        NetState {
            address: mac("address"),
            addr_assign_type: num(&get("addr_assign_type").unwrap()),
            name_assign_type: get("name_assign_type").map_or(0, |kind| num(&kind)),
            broadcast: mac("broadcast"),
            mtu: num(&get("mtu").unwrap()),
            flags: hex(&get("flags").unwrap()) as u32,
            kind: num(&get("type").unwrap()),
            running: get("carrier").is_some(),
            carrier: get("carrier").as_deref() == Some("1"),
            operstate: states.iter().position(|s| *s == operstate).unwrap() as u8,
            speed: get("speed").map(|s| num(&s)),
            duplex: get("duplex").map(|d| &*d.leak()),
            tx_queue_len: num(&get("tx_queue_len").unwrap()),
            carrier_up_count: num(&get("carrier_up_count").unwrap()),
            carrier_down_count: num(&get("carrier_down_count").unwrap()),
        }
    }

    fn statistics(&self) -> NetStatistics {
        NetStatistics::default()
    }

    fn set_mtu(&self, _mtu: u32) -> Result<()> {
        Err(Errno::EPERM)
    }

    fn set_flags(&self, _flags: u32) -> Result<()> {
        Err(Errno::EPERM)
    }

    fn set_tx_queue_len(&self, _packets: u32) -> Result<()> {
        Err(Errno::EPERM)
    }
}

struct HostCpus;

/// Width of the host's CPU masks: as many bits as there may be CPUs.
fn cpu_bits() -> u32 {
    let possible = list(&host("devices/system/cpu/possible").unwrap());
    (0..possible.bits)
        .filter(|bit| possible.has(*bit))
        .max()
        .unwrap()
        + 1
}

fn cpus(name: &str) -> Bitmap {
    let set = list(&host(format!("devices/system/cpu/{name}")).unwrap());
    Bitmap {
        bits: cpu_bits(),
        ..set
    }
}

impl CpuSource for HostCpus {
    fn online(&self) -> Bitmap {
        cpus("online")
    }

    fn present(&self) -> Bitmap {
        cpus("present")
    }

    fn possible(&self) -> Bitmap {
        cpus("possible")
    }

    fn topology(&self, cpu: u32) -> Result<Topology> {
        let get = |name: &str| {
            host(format!("devices/system/cpu/cpu{cpu}/topology/{name}")).ok_or(Errno::ENOENT)
        };
        let set = |name: &str| Ok(mask(&get(name)?, cpu_bits()));
        Ok(Topology {
            package: num(&get("physical_package_id")?),
            die: num(&get("die_id")?),
            core: num(&get("core_id")?),
            core_cpus: set("core_cpus")?,
            die_cpus: set("die_cpus")?,
            package_cpus: set("package_cpus")?,
        })
    }
}

struct NoMemory;

impl NodeSource for NoMemory {
    fn meminfo(&self) -> MemInfo {
        MemInfo::default()
    }

    fn vmstat(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

struct Consoles;

impl ConsoleSource for Consoles {
    fn active(&self) -> Vec<String> {
        host("class/tty/console/active")
            .unwrap()
            .split(' ')
            .map(str::to_owned)
            .collect()
    }
}

struct Config(Vec<u8>);

impl Bytes for Config {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        out.copy_from_slice(&self.0[offset as usize..offset as usize + out.len()]);
        Ok(out.len())
    }
}

/// Values that change while one looks, and those that newer kernels than 6.1 write in another way.
const VOLATILE: &[&str] = &[
    "stat",
    "inflight",
    "statistics",
    "meminfo",
    "vmstat",
    "features",
    "uevent_seqnum",
    "scheduler",
    "kernel_max",
    "config",
];

/// Compares everything below an object with the host; what the host does not have at all is listed.
fn compare(registry: &Registry, dir: Id, same: &mut usize, different: &mut Vec<String>) {
    let mut children = Vec::new();
    registry
        .readdir(dir, 0, &mut |entry| {
            children.push((entry.id, entry.kind));
            true
        })
        .unwrap();
    for (id, kind) in children {
        let path = registry.path(id).unwrap();
        let file = PathBuf::from(format!("/sys{path}"));
        let Ok(meta) = fs::symlink_metadata(&file) else {
            different.push(format!("{path}: not on Linux"));
            continue;
        };
        let attr = registry.attr(id).unwrap();
        if attr.mode != meta.mode() {
            different.push(format!(
                "{path}: mode {:o}, Linux {:o}",
                attr.mode,
                meta.mode()
            ));
        }
        match kind {
            FileType::Directory => compare(registry, id, same, different),
            FileType::Symlink => {
                let ours = String::from_utf8(registry.readlink(id).unwrap()).unwrap();
                let linux = fs::read_link(&file).unwrap();
                if Path::new(&ours) != linux {
                    different.push(format!("{path}: link {ours}, Linux {}", linux.display()));
                }
            }
            FileType::Regular => {
                if VOLATILE
                    .iter()
                    .any(|name| path.split('/').any(|part| part == *name))
                {
                    continue;
                }
                let mut buffer = [0; 4096];
                let ours = registry.open(id).unwrap().read_at(0, &mut buffer);
                let ours = ours
                    .ok()
                    .map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned());
                let linux = fs::read_to_string(&file).ok();
                if ours != linux {
                    different.push(format!("{path}: {ours:?}, Linux {linux:?}"));
                }
            }
        }
        *same += 1;
    }
}

/// The variables of a host device's uevent file.
fn vars(path: &Path) -> BTreeMap<String, String> {
    let text = host(path.join("uevent")).unwrap_or_default();
    text.lines()
        .filter_map(|l| l.split_once('='))
        .map(|(k, v)| (k.into(), v.into()))
        .collect()
}

fn link_name(path: &Path) -> Option<String> {
    let target = fs::read_link(Path::new("/sys").join(path)).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

/// Adds the chain of devices above a virtio device: PCI root and function; `None` if it is another kind of machine.
fn add_transport(registry: &mut Registry, virtio: &Path) -> Option<Id> {
    let function = virtio.parent()?;
    let root = function.parent()?;
    if link_name(&function.join("subsystem"))? != "pci" {
        return None;
    }
    let root_id = registry
        .find(root.to_str()?)
        .or_else(|_| registry.add_pci_root(0, 0))
        .ok()?;
    let get = |name: &str| host(function.join(name));
    let n = |name: &str| hex(&get(name).unwrap());
    let name = function.file_name()?.to_str()?;
    let resources = get("resource")?;
    let resource = |line: &str| {
        let w: Vec<u64> = line.split(' ').map(hex).collect();
        (w[0], w[1], w[2])
    };
    let pci = PciFunction {
        domain: hex(&name[..4]) as u16,
        bus: hex(&name[5..7]) as u8,
        slot: hex(&name[8..10]) as u8,
        function: hex(&name[11..]) as u8,
        id: (n("vendor") as u16, n("device") as u16),
        subsystem: (n("subsystem_vendor") as u16, n("subsystem_device") as u16),
        class: n("class") as u32,
        revision: n("revision") as u8,
        irq: num(&get("irq")?),
        resources: resources.lines().map(resource).collect(),
        driver: link_name(&function.join("driver")),
        enabled: get("enable")? == "1",
        cpus: mask(&get("local_cpus")?, cpu_bits()),
        config: Arc::new(Config(vec![
            0;
            fs::metadata(Path::new("/sys").join(function).join("config"))
                .ok()?
                .len() as usize
        ])),
    };
    let function_id = match registry.find(function.to_str()?) {
        Ok(id) => id,
        Err(_) => registry.add_pci(root_id, pci).ok()?,
    };
    let get = |name: &str| host(virtio.join(name));
    let name = virtio.file_name()?.to_str()?;
    let device = Virtio {
        index: num(name.strip_prefix("virtio")?),
        device: hex(&get("device")?) as u32,
        vendor: hex(&get("vendor")?) as u32,
        features: 0,
        status: hex(&get("status")?) as u32,
        driver: link_name(&virtio.join("driver")),
    };
    registry.add_virtio(function_id, device).ok()
}

/// The path below /sys that a link there leads to.
fn canonical(link: &str) -> Option<PathBuf> {
    let full = fs::canonicalize(Path::new("/sys").join(link)).ok()?;
    Some(full.strip_prefix("/sys").ok()?.to_owned())
}

fn add_disks(registry: &mut Registry) {
    for entry in fs::read_dir("/sys/block").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = canonical(&format!("block/{name}")).unwrap();
        // Disks without requests of their own (zram, device mapper) have fewer files.
        if host(path.join("queue/nr_requests")).is_none() {
            continue;
        }
        let parent = if path.starts_with("devices/virtual") {
            None
        } else {
            let virtio = path.parent().and_then(Path::parent).unwrap();
            match add_transport(registry, virtio) {
                Some(id) => Some(id),
                None => continue,
            }
        };
        let get = |file: &str| host(path.join(file)).unwrap();
        let mut attrs = Attrs::new();
        for extra in ["serial", "cache_type"] {
            if let Some(text) = host(path.join(extra)) {
                let perm = fs::metadata(Path::new("/sys").join(&path).join(extra))
                    .unwrap()
                    .mode() as u16;
                // `serial` has no newline on Linux.
                let text = if extra == "serial" { text } else { text + "\n" };
                let shown = Attrs::new()
                    .show(extra, move |out| out.str(&text))
                    .into_list();
                for (path, _, content) in shown {
                    attrs = attrs.add(path, perm & 0o777, content);
                }
            }
        }
        let disk = Disk {
            name: name.clone(),
            dev: dev(&get("dev")),
            parent,
            minors: num(&get("range")),
            partitioned: get("ext_range") != "1",
            events: get("events").leak(),
            removable: get("removable") == "1",
            diskseq: num(&get("diskseq")),
            attrs,
        };
        let source = Arc::new(HostDisk { path: path.clone() });
        let id = registry.add_disk(disk, source).unwrap();
        for entry in fs::read_dir(Path::new("/sys").join(&path)).unwrap() {
            let part = entry.unwrap().file_name().into_string().unwrap();
            let below = path.join(&part);
            let Some(number) = host(below.join("partition")) else {
                continue;
            };
            let partition = Partition {
                name: part,
                dev: dev(&host(below.join("dev")).unwrap()),
                number: num(&number),
                start: num(&host(below.join("start")).unwrap()),
                label: vars(&below).get("PARTNAME").cloned(),
                diskseq: num(&get("diskseq")),
            };
            registry
                .add_partition(id, partition, Arc::new(HostDisk { path: below }))
                .unwrap();
        }
    }
}

fn add_interfaces(registry: &mut Registry) {
    for entry in fs::read_dir("/sys/class/net").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = canonical(&format!("class/net/{name}")).unwrap();
        let parent = if path.starts_with("devices/virtual") {
            None
        } else {
            match add_transport(registry, path.parent().and_then(Path::parent).unwrap()) {
                Some(id) => Some(id),
                None => continue,
            }
        };
        let index = num(&host(path.join("ifindex")).unwrap());
        registry
            .add_interface(&name, index, parent, Arc::new(HostNet { path }))
            .unwrap();
    }
}

fn add_cpus(registry: &mut Registry) {
    let dir = "devices/system/cpu";
    let mut all = Vec::new();
    for number in 0..cpu_bits() {
        let mut caches = Vec::new();
        for index in 0.. {
            let get = |name: &str| host(format!("{dir}/cpu{number}/cache/index{index}/{name}"));
            let Some(level) = get("level") else { break };
            let n = |name: &str| get(name).map_or(0, |text| num(text.trim_end_matches('K')));
            caches.push(Cache {
                id: n("id"),
                level: num(&level),
                kind: get("type").unwrap().leak(),
                size_kb: n("size"),
                line_size: n("coherency_line_size"),
                sets: n("number_of_sets"),
                ways: n("ways_of_associativity"),
                partitions: n("physical_line_partition"),
                shared: mask(&get("shared_cpu_map").unwrap(), cpu_bits()),
            });
        }
        let modalias = vars(Path::new(&format!("{dir}/cpu{number}"))).remove("MODALIAS");
        let modalias = modalias.map(|text| {
            let (head, features) = text.split_once(":feature:,").unwrap();
            let head = head.trim_start_matches("cpu:type:x86,");
            CpuModalias {
                vendor: hex(&head[3..7]) as u16,
                family: hex(&head[10..14]) as u16,
                model: hex(&head[17..21]) as u16,
                features: features
                    .split(',')
                    .filter(|f| !f.is_empty())
                    .map(|f| hex(f) as u16)
                    .collect(),
            }
        });
        all.push(Cpu {
            number,
            caches,
            modalias,
        });
    }
    let source: Arc<dyn CpuSource> = Arc::new(HostCpus);
    registry.add_cpus(&all, &source).unwrap();
    registry.add_node0(&source, Arc::new(NoMemory)).unwrap();
}

#[test]
fn the_tree_is_as_on_linux() {
    let mut registry = Registry::new(Arc::new(Sink::default()));
    registry.add_kernel().unwrap();
    add_disks(&mut registry);
    add_interfaces(&mut registry);
    add_cpus(&mut registry);
    for name in ["null", "zero", "full", "random", "urandom", "kmsg"] {
        let number = host(format!("class/mem/{name}/dev")).unwrap();
        registry.add_mem(name, dev(&number)).unwrap();
    }
    for name in ["tty", "ptmx"] {
        let number = host(format!("class/tty/{name}/dev")).unwrap();
        registry.add_tty(name, dev(&number)).unwrap();
    }
    registry
        .add_console(DevNo { major: 5, minor: 1 }, Arc::new(Consoles))
        .unwrap();
    let (mut same, mut different) = (0, Vec::new());
    compare(&registry, Id::ROOT, &mut same, &mut different);
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(same > 300, "only {same} objects");
}
