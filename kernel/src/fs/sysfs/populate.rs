//! What is in the tree from boot on.

use keel_hal::pci::{self, Bar, PciDevice};
use keel_hal::virtio::{self, VirtioDevice};
use keel_hal::{cpu, serial};
use keel_procfs::DevNo;
use keel_procfs::bitmap::Bitmap;
use keel_sysfs::block::{Disk, Partition};
use keel_sysfs::chars::Serial;
use keel_sysfs::cpu::{Cpu, CpuSource};
use keel_sysfs::pci::PciFunction;
use keel_sysfs::virtio::Virtio;
use keel_sysfs::{Attrs, Id, Registry};

use super::sources::{ActiveConsole, BlockInfo, Clock, Cpus, HugePages, Node, PciConfig, caches};
use crate::block::{self, BlockDevice};
use crate::device;
use crate::prelude::*;

/// Most numbers that a bus of PCI can have below one root.
const PCI_ROOT_BUS: u8 = 0;

/// Enters everything that was found. What cannot be entered is missing, and said so.
pub fn run(tree: &mut Registry) {
    type Step = fn(&mut Registry) -> Result<()>;
    let steps: [(&str, Step); 9] = [
        ("kernel", |tree| tree.add_kernel()),
        ("cpu", add_cpus),
        ("memory node", |tree| {
            let cpus: Arc<dyn CpuSource> = Arc::new(Cpus);
            tree.add_node0(&cpus, Arc::new(Node))
        }),
        ("huge pages", |tree| {
            tree.add_huge_pages(Arc::new(HugePages))
        }),
        ("memory devices", add_memory_devices),
        ("terminals", add_terminals),
        ("pci", add_pci),
        ("rtc", add_rtc),
        ("block", add_disks),
    ];
    for (name, step) in steps {
        if let Err(error) = step(tree) {
            log::error!("sysfs: cannot enter {name}: {error:?}");
        }
    }
}

fn add_cpus(tree: &mut Registry) -> Result<()> {
    let source: Arc<dyn CpuSource> = Arc::new(Cpus);
    let cpus: Vec<Cpu> = (0..cpu::count() as u32)
        .map(|number| Cpu {
            number,
            caches: caches(number),
            modalias: None,
        })
        .collect();
    tree.add_cpus(&cpus, &source)
}

fn add_memory_devices(tree: &mut Registry) -> Result<()> {
    for (name, minor, _) in device::mem::NODES {
        tree.add_mem(
            name,
            DevNo {
                major: device::mem::MAJOR,
                minor,
            },
        )?;
    }
    Ok(())
}

fn add_terminals(tree: &mut Registry) -> Result<()> {
    /// Number of the ports that are looked for.
    const PORTS: usize = 4;
    /// Major of ttyS, and its first minor.
    const SERIAL: (u32, u32) = (4, 64);
    /// `PORT_16550A`.
    const KIND_16550A: u32 = 4;
    let majors = device::char_majors();
    tree.add_tty("tty", DevNo { major: 5, minor: 0 })?;
    tree.add_console(DevNo { major: 5, minor: 1 }, Arc::new(ActiveConsole))?;
    if majors.contains(&(5, "/dev/ptmx")) {
        tree.add_tty("ptmx", DevNo { major: 5, minor: 2 })?;
    }
    let console = device::tty::console_terminal().map(|tty| tty.name.clone());
    let platform = tree.add_platform("serial8250", Some("serial8250"))?;
    for line in 0..PORTS {
        let Some(port) = serial::port(line) else {
            continue;
        };
        let line = line as u32;
        let serial = Serial {
            line,
            port: u32::from(port.io_base()),
            irq: u32::from(port.irq()),
            kind: KIND_16550A,
            uart_clock: 1_843_200,
            fifo: 16,
            console: console.as_deref() == Some(&format!("ttyS{line}")),
        };
        tree.add_serial(
            platform,
            DevNo {
                major: SERIAL.0,
                minor: SERIAL.1 + line,
            },
            serial,
        )?;
    }
    Ok(())
}

fn add_rtc(tree: &mut Registry) -> Result<()> {
    let platform = tree.add_platform("rtc_cmos", Some("rtc_cmos"))?;
    let dev = DevNo {
        major: device::rtc::DEV.major,
        minor: device::rtc::DEV.minor,
    };
    tree.add_rtc(platform, 0, "rtc_cmos rtc_cmos", dev, Arc::new(Clock))
        .map(|_| ())
}

/// The driver that has a PCI function.
pub fn pci_driver(function: &Arc<PciDevice>) -> Option<&'static str> {
    virtio::devices()
        .iter()
        .any(|v| Arc::ptr_eq(&v.pci, function))
        .then_some("virtio-pci")
}

/// First and last address, and Linux's flags of a base address register.
fn resource(bar: Option<&Bar>) -> (u64, u64, u64) {
    const IO: u64 = 0x4_0101;
    const MEMORY: u64 = 0x4_0200;
    const PREFETCH: u64 = 0x2008;
    match bar {
        None => (0, 0, 0),
        Some(Bar::Io { port, len }) => (
            u64::from(*port),
            u64::from(*port) + u64::from(len.saturating_sub(1)),
            IO,
        ),
        Some(Bar::Memory {
            addr,
            len,
            prefetchable,
        }) => {
            let flags = MEMORY | if *prefetchable { PREFETCH } else { 0 };
            (*addr, addr.saturating_add(len.saturating_sub(1)), flags)
        }
    }
}

fn add_pci(tree: &mut Registry) -> Result<()> {
    const COMMAND: u16 = 4;
    const DECODES: u16 = 3;
    let functions = pci::devices();
    let Some(first) = functions.first() else {
        return Ok(());
    };
    let root = tree.add_pci_root(first.bdf().segment, PCI_ROOT_BUS)?;
    let all_cpus = Bitmap::first(cpu::count() as u32, cpu::count() as u32);
    let drivers = virtio::devices();
    for function in functions {
        let bdf = function.bdf();
        let [base, sub, interface] = function.class().map(u32::from);
        // The expansion ROM is not mapped.
        let mut resources: Vec<_> = function
            .bars()
            .iter()
            .map(|bar| resource(bar.as_ref()))
            .collect();
        resources.push((0, 0, 0));
        let id = tree.add_pci(
            root,
            PciFunction {
                domain: bdf.segment,
                bus: bdf.bus,
                slot: bdf.device,
                function: bdf.function,
                id: (function.vendor(), function.device()),
                subsystem: function.subsystem(),
                class: base << 16 | sub << 8 | interface,
                revision: function.revision(),
                irq: u32::from(function.interrupt_line().unwrap_or(0)),
                resources,
                driver: pci_driver(function).map(ToOwned::to_owned),
                enabled: function.config_read_u16(COMMAND) & DECODES != 0,
                cpus: all_cpus.clone(),
                config: Arc::new(PciConfig(function.clone())),
            },
        )?;
        let found = drivers
            .iter()
            .enumerate()
            .find(|(_, v)| Arc::ptr_eq(&v.pci, function));
        if let Some((index, device)) = found {
            add_virtio(tree, id, index as u32, device)?;
        }
    }
    Ok(())
}

fn add_virtio(tree: &mut Registry, transport: Id, index: u32, device: &VirtioDevice) -> Result<()> {
    /// Device ids of the modern interface are this plus the type; older ones have it as the subsystem's id.
    const MODERN_ID: u16 = 0x1040;
    const ACKNOWLEDGED: u32 = 1;
    const RUNNING: u32 = 0xf;
    let id = device.pci.device();
    let kind = id
        .checked_sub(MODERN_ID)
        .unwrap_or(device.pci.subsystem().1);
    let features = device.features();
    let driver = match kind {
        _ if features == 0 => None,
        1 => Some("virtio_net"),
        2 => Some("virtio_blk"),
        4 => Some("virtio_rng"),
        _ => None,
    };
    let virtio = Virtio {
        index,
        device: u32::from(kind),
        vendor: u32::from(device.pci.subsystem().0),
        features,
        status: if features == 0 { ACKNOWLEDGED } else { RUNNING },
        driver: driver.map(ToOwned::to_owned),
    };
    tree.add_virtio(transport, virtio).map(|_| ())
}

fn add_disks(tree: &mut Registry) -> Result<()> {
    block::disks()
        .iter()
        .try_for_each(|disk| add_disk(tree, disk))
}

fn number(device: &BlockDevice) -> DevNo {
    DevNo {
        major: device.dev.major,
        minor: device.dev.minor,
    }
}

/// The virtio device at a PCI address.
fn virtio_at(tree: &Registry, address: &str) -> Option<Id> {
    let link = tree.find(&format!("bus/pci/devices/{address}")).ok()?;
    let function = tree.link_target(link).ok()?;
    let mut found = None;
    let listed = tree.readdir(function, 0, &mut |entry| {
        if entry.name.starts_with(b"virtio") {
            found = Some(entry.id);
        }
        found.is_none()
    });
    listed.ok().and(found)
}

fn add_disk(tree: &mut Registry, device: &Arc<BlockDevice>) -> Result<()> {
    let disk = &device.disk;
    let parent = virtio_at(tree, &disk.parent);
    let entry = Disk {
        name: device.name.clone(),
        dev: number(device),
        parent,
        minors: disk.minors,
        partitioned: true,
        removable: false,
        events: "",
        diskseq: disk.diskseq,
        attrs: if disk.parent.is_empty() {
            Attrs::new()
        } else {
            Attrs::new().fixed("serial", &disk.serial)
        },
    };
    let id = tree.add_disk(entry, Arc::new(BlockInfo(device.clone())))?;
    add_partitions(tree, id, device)
}

fn add_partitions(tree: &mut Registry, id: Id, device: &Arc<BlockDevice>) -> Result<()> {
    for part in device.disk.partitions() {
        let entry = Partition {
            name: part.name.clone(),
            dev: number(&part),
            number: part.number,
            start: part.start,
            label: part.part_label.clone(),
            diskseq: device.disk.diskseq,
        };
        tree.add_partition(id, entry, Arc::new(BlockInfo(part.clone())))?;
    }
    Ok(())
}

/// The object of a disk that has been entered.
fn disk_id(tree: &Registry, device: &BlockDevice) -> Result<Id> {
    tree.link_target(tree.find(&format!("block/{}", device.name))?)
}

/// Enters a disk that has come after boot.
pub fn enter_disk(tree: &mut Registry, device: &Arc<BlockDevice>) -> Result<()> {
    add_disk(tree, device)
}

/// Takes a disk out.
pub fn leave_disk(tree: &mut Registry, device: &BlockDevice) -> Result<()> {
    let id = disk_id(tree, device)?;
    tree.remove_device(id)
}

/// Enters a disk's partitions in place of those that were there.
pub fn enter_partitions(tree: &mut Registry, device: &Arc<BlockDevice>) -> Result<()> {
    let id = disk_id(tree, device)?;
    let mut old = Vec::new();
    tree.readdir(id, 0, &mut |entry| {
        let part = entry.name.strip_prefix(device.name.as_bytes());
        if part.is_some_and(|rest| !rest.is_empty()) {
            old.push(entry.id);
        }
        true
    })?;
    for part in old {
        tree.remove_device(part)?;
    }
    add_partitions(tree, id, device)
}

/// Adds attributes to a disk.
pub fn enter_attributes(tree: &mut Registry, device: &BlockDevice, attrs: Attrs) -> Result<()> {
    let id = disk_id(tree, device)?;
    tree.add_attributes(id, attrs)
}

/// Takes a directory of a disk out.
pub fn leave_directory(tree: &mut Registry, device: &BlockDevice, name: &str) -> Result<()> {
    let id = disk_id(tree, device)?;
    let dir = tree.lookup(id, name.as_bytes())?;
    tree.remove(dir)
}
