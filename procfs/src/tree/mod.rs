//! The tables: which names there are, with their modes and formatters.
//!
//! - [`ROOT`] and what is below it (this file).
//! - [`PROCESS`] and [`THREAD`]: `/proc/PID` and `/proc/PID/task/TID` ([`task`]).

mod task;

use alloc::vec::Vec;

use keel_abi::Result;

use crate::entry::{Entry, Kind, Live};
use crate::node::{Stream, self_link};
use crate::source::{Features, IrqInfo, System};
use crate::system::{block, cpu, interrupts, ipc, lists, locks, memory, resources};
use crate::text::Text;

pub(crate) use task::{PROCESS, THREAD};

/// The root directory.
pub(crate) static ROOT: Entry = Entry::other("", 0o555, Kind::Root(TOP));

fn process_self(sys: &dyn System) -> Result<Vec<u8>> {
    self_link(sys, false)
}

fn thread_self(sys: &dyn System) -> Result<Vec<u8>> {
    self_link(sys, true)
}

static TOP: &[Entry] = &[
    Entry::dir("fs", FS).needs(Features::EXT4),
    Entry::dir("bus", BUS),
    Entry::sys("dma", 0o444, resources::read_dma).needs(Features::ISA_DMA),
    Entry::live("irq", 0o555, Live::Irqs).needs(Features::IRQ),
    Entry::other("net", 0o777, Kind::Link("self/net")).needs(Features::NET),
    Entry::live("sys", 0o555, Live::Sysctl).needs(Features::SYSCTL),
    Entry::dir("tty", TTY).needs(Features::TTY),
    Entry::sys("keys", 0o444, lists::read_keys).needs(Features::KEYS),
    Entry::other("kmsg", 0o400, Kind::Stream(Stream::Kmsg)).needs(Features::KMSG),
    Entry::sys("misc", 0o444, lists::read_misc).needs(Features::MISC),
    Entry::sys("stat", 0o444, cpu::read_stat),
    Entry::sys("iomem", 0o444, resources::read_iomem).needs(Features::RESOURCES),
    Entry::sys("locks", 0o444, locks::read_locks).needs(Features::FILE_LOCKS),
    Entry::sys("swaps", 0o444, memory::read_swaps).needs(Features::SWAP),
    Entry::sys("crypto", 0o444, lists::read_crypto).needs(Features::CRYPTO),
    Entry::dir("driver", DRIVER),
    Entry::other("mounts", 0o777, Kind::Link("self/mounts")),
    Entry::sys("uptime", 0o444, cpu::read_uptime),
    Entry::sys("vmstat", 0o444, memory::read_vmstat).needs(Features::VMSTAT),
    Entry::sys("cgroups", 0o444, lists::read_cgroups).needs(Features::CGROUPS),
    Entry::sys("cmdline", 0o444, cpu::read_cmdline),
    Entry::sys("cpuinfo", 0o444, cpu::read_cpuinfo),
    Entry::sys("devices", 0o444, lists::read_devices),
    Entry::sys("ioports", 0o444, resources::read_ioports).needs(Features::RESOURCES),
    Entry::sys("loadavg", 0o444, cpu::read_loadavg),
    Entry::sys("meminfo", 0o444, memory::read_meminfo),
    Entry::sys("modules", 0o444, lists::read_modules).needs(Features::MODULES),
    Entry::dir("sysvipc", SYSVIPC).needs(Features::SYSVIPC),
    Entry::sys("version", 0o444, cpu::read_version),
    Entry::sys("consoles", 0o444, lists::read_consoles),
    Entry::sys("kallsyms", 0o444, lists::read_kallsyms).needs(Features::KALLSYMS),
    Entry::dir("pressure", PRESSURE).needs(Features::PRESSURE),
    Entry::sys("slabinfo", 0o400, memory::read_slabinfo).needs(Features::SLABINFO),
    Entry::sys("softirqs", 0o444, interrupts::read_softirqs),
    Entry::sys("zoneinfo", 0o444, memory::read_zoneinfo).needs(Features::ZONEINFO),
    Entry::sys("buddyinfo", 0o444, memory::read_buddyinfo).needs(Features::BUDDYINFO),
    Entry::sys("config.gz", 0o444, cpu::read_config).needs(Features::CONFIG),
    Entry::sys("diskstats", 0o444, block::read_diskstats).needs(Features::BLOCK),
    Entry::sys("key-users", 0o444, lists::read_key_users).needs(Features::KEYS),
    Entry::sys("schedstat", 0o444, cpu::read_schedstat).needs(Features::SCHEDSTATS),
    Entry::sys("interrupts", 0o444, interrupts::read_interrupts),
    Entry::sys("partitions", 0o444, block::read_partitions).needs(Features::BLOCK),
    Entry::sys("execdomains", 0o444, lists::read_execdomains),
    Entry::sys("filesystems", 0o444, lists::read_filesystems),
    Entry::other("sysrq-trigger", 0o200, Kind::WriteOnly)
        .needs(Features::SYSRQ)
        .writes(lists::write_sysrq),
    Entry::other("self", 0o777, Kind::LinkTo(process_self)),
    Entry::other("thread-self", 0o777, Kind::LinkTo(thread_self)),
];

static FS: &[Entry] = &[Entry::live("ext4", 0o555, Live::Ext4)];

static BUS: &[Entry] = &[
    Entry::dir("pci", BUS_PCI).needs(Features::PCI),
    Entry::dir("input", BUS_INPUT).needs(Features::INPUT),
];

static BUS_PCI: &[Entry] = &[Entry::sys("devices", 0o444, resources::read_pci_devices)];

static BUS_INPUT: &[Entry] = &[Entry::sys("devices", 0o444, lists::read_input_devices)];

static DRIVER: &[Entry] = &[Entry::sys("rtc", 0o444, lists::read_rtc).needs(Features::RTC)];

static TTY: &[Entry] = &[
    Entry::other("driver", 0o500, Kind::Dir(TTY_DRIVER)),
    Entry::sys("drivers", 0o444, lists::read_tty_drivers),
    Entry::dir("ldisc", &[]),
    Entry::sys("ldiscs", 0o444, lists::read_tty_ldiscs),
];

static TTY_DRIVER: &[Entry] = &[Entry::sys("serial", 0o444, lists::read_serial)];

static SYSVIPC: &[Entry] = &[
    Entry::sys("msg", 0o444, ipc::read_msg),
    Entry::sys("sem", 0o444, ipc::read_sem),
    Entry::sys("shm", 0o444, ipc::read_shm),
];

static PRESSURE: &[Entry] = &[
    Entry::sys("cpu", 0o666, cpu::read_pressure_cpu).writes(cpu::write_pressure_cpu),
    Entry::sys("io", 0o666, cpu::read_pressure_io).writes(cpu::write_pressure_io),
    Entry::sys("memory", 0o666, cpu::read_pressure_memory).writes(cpu::write_pressure_memory),
];

/// What stands in `/proc/irq` beside the numbers.
pub(crate) static IRQ_COMMON: &[Entry] = &[Entry::sys(
    "default_smp_affinity",
    0o644,
    interrupts::read_default_affinity,
)
.writes(interrupts::write_default_affinity)];

type IrqWrite = fn(&dyn System, u32, &[u8]) -> Result<()>;

/// A file of `/proc/irq/N`.
pub(crate) struct IrqEntry {
    pub name: &'static str,
    pub perm: u16,
    pub read: fn(&IrqInfo, &mut Text) -> Result<()>,
    pub write: Option<IrqWrite>,
}

/// The files of `/proc/irq/N`.
pub(crate) static IRQ: &[IrqEntry] = &[
    IrqEntry {
        name: "effective_affinity",
        perm: 0o444,
        read: interrupts::irq_effective,
        write: None,
    },
    IrqEntry {
        name: "effective_affinity_list",
        perm: 0o444,
        read: interrupts::irq_effective_list,
        write: None,
    },
    IrqEntry {
        name: "node",
        perm: 0o444,
        read: interrupts::irq_node,
        write: None,
    },
    IrqEntry {
        name: "smp_affinity",
        perm: 0o644,
        read: interrupts::irq_affinity,
        write: Some(interrupts::write_affinity),
    },
    IrqEntry {
        name: "smp_affinity_list",
        perm: 0o644,
        read: interrupts::irq_affinity_list,
        write: Some(interrupts::write_affinity_list),
    },
    IrqEntry {
        name: "spurious",
        perm: 0o444,
        read: interrupts::irq_spurious,
        write: None,
    },
];
