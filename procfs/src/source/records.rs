//! The records behind the files at the top of `/proc`.
//!
//! Times are nanoseconds and sizes bytes unless a field says otherwise; the formatters convert.

use alloc::string::String;
use alloc::vec::Vec;

use crate::bitmap::Bitmap;

/// A device number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DevNo {
    /// Major number, 12 bits.
    pub major: u32,
    /// Minor number, 20 bits.
    pub minor: u32,
}

impl DevNo {
    /// The number as `stat(2)` and `/proc/PID/stat` pack it (`new_encode_dev`).
    pub const fn encode(self) -> u32 {
        (self.minor & 0xff) | (self.major << 8) | ((self.minor & !0xff) << 12)
    }
}

/// `/proc/meminfo`, in bytes but for the counts of huge pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the file's own names, proc_meminfo(5).
pub struct MemInfo {
    pub total: u64,
    pub free: u64,
    pub available: u64,
    pub buffers: u64,
    pub cached: u64,
    pub swap_cached: u64,
    pub active_anon: u64,
    pub inactive_anon: u64,
    pub active_file: u64,
    pub inactive_file: u64,
    pub unevictable: u64,
    pub mlocked: u64,
    pub swap_total: u64,
    pub swap_free: u64,
    /// Zswap and Zswapped, where built in.
    pub zswap: Option<(u64, u64)>,
    pub dirty: u64,
    pub writeback: u64,
    pub anon_pages: u64,
    pub mapped: u64,
    pub shmem: u64,
    pub kreclaimable: u64,
    pub slab_reclaimable: u64,
    pub slab_unreclaimable: u64,
    pub kernel_stack: u64,
    pub page_tables: u64,
    pub sec_page_tables: u64,
    pub nfs_unstable: u64,
    pub bounce: u64,
    pub writeback_tmp: u64,
    pub commit_limit: u64,
    pub committed_as: u64,
    pub vmalloc_total: u64,
    pub vmalloc_used: u64,
    pub percpu: u64,
    /// Memory failure handling, where built in.
    pub hardware_corrupted: Option<u64>,
    pub anon_huge_pages: u64,
    pub shmem_huge_pages: u64,
    pub shmem_pmd_mapped: u64,
    pub file_huge_pages: u64,
    pub file_pmd_mapped: u64,
    /// Contiguous memory areas (total, free), where built in.
    pub cma: Option<(u64, u64)>,
    /// Unaccepted memory of confidential guests, where built in.
    pub unaccepted: Option<u64>,
    /// Memory in balloons (Linux 6.13 and later).
    pub balloon: Option<u64>,
    /// Counts: total, free, reserved, surplus.
    pub huge_pages: [u64; 4],
    /// Size of a huge page.
    pub huge_page_size: u64,
    /// All huge pages of all sizes.
    pub hugetlb: u64,
    pub direct_map_4k: u64,
    pub direct_map_2m: u64,
    pub direct_map_1g: Option<u64>,
}

/// Where one CPU's time went, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The columns of proc_stat(5).
pub struct CpuTimes {
    pub cpu: u32,
    pub user: u64,
    pub nice: u64,
    pub system: u64,
    pub idle: u64,
    pub iowait: u64,
    pub irq: u64,
    pub softirq: u64,
    pub steal: u64,
    pub guest: u64,
    pub guest_nice: u64,
}

/// `/proc/stat`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuStat {
    /// Every online CPU; the sum is made by the formatter.
    pub cpus: Vec<CpuTimes>,
    /// All interrupts since boot, those without a number included.
    pub intr_total: u64,
    /// Count of each interrupt number from 0.
    pub intr: Vec<u64>,
    /// Context switches since boot.
    pub context_switches: u64,
    /// Seconds since the epoch at boot.
    pub boot_time: u64,
    /// Forks since boot.
    pub forks: u64,
    /// Threads that run or could run.
    pub running: u64,
    /// Threads that wait for I/O.
    pub blocked: u64,
    /// Softirqs by kind, in the order of [`SoftIrqs`].
    pub softirqs: [u64; 10],
}

/// `/proc/uptime`, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uptime {
    /// Since boot, suspended time included.
    pub up: u64,
    /// Idle time of all CPUs together.
    pub idle: u64,
}

/// `/proc/loadavg`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadAvg {
    /// Over 1, 5 and 15 minutes, in hundredths, rounded.
    pub average: [u64; 3],
    /// Threads that run or could run.
    pub running: u64,
    /// All threads.
    pub threads: u64,
    /// The PID given last in the reader's namespace.
    pub last_pid: u32,
}

/// One CPU in `/proc/cpuinfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The lines of proc_cpuinfo(5) on x86.
pub struct CpuInfo {
    pub processor: u32,
    pub vendor_id: String,
    pub family: u32,
    pub model: u32,
    pub model_name: String,
    pub stepping: Option<u32>,
    pub microcode: Option<u32>,
    /// Kilohertz.
    pub khz: Option<u64>,
    /// Kilobytes.
    pub cache_kb: Option<u32>,
    /// Package, siblings, core, cores and APIC IDs; shown by an SMP kernel.
    pub topology: Option<CpuTopology>,
    pub fpu: bool,
    pub fpu_exception: bool,
    pub cpuid_level: u32,
    pub wp: bool,
    /// Names of the flags, in Linux's order.
    pub flags: Vec<&'static str>,
    /// Names of VMX features; empty where there is no VMX.
    pub vmx_flags: Vec<&'static str>,
    pub bugs: Vec<&'static str>,
    /// Loops per jiffy times jiffies per 500,000: hundredths of BogoMIPS.
    pub bogomips_hundredths: u64,
    /// Number of 4 KiB pages in the TLB (AMD).
    pub tlb_4k_pages: Option<u32>,
    pub clflush_size: u32,
    pub cache_alignment: u32,
    pub physical_bits: u32,
    pub virtual_bits: u32,
    /// Names after `power management:`.
    pub power: Vec<&'static str>,
}

/// The topology lines of [`CpuInfo`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CpuTopology {
    pub physical_id: u32,
    pub siblings: u32,
    pub core_id: u32,
    pub cores: u32,
    pub apicid: u32,
    pub initial_apicid: u32,
}

/// `/proc/interrupts`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interrupts {
    /// Numbers of the online CPUs.
    pub cpus: Vec<u32>,
    /// The numbered lines, ascending.
    pub lines: Vec<IrqLine>,
    /// The architecture's own lines, each with its short name.
    pub arch: Vec<(&'static str, ArchIrq)>,
}

/// A line of the architecture's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchIrq {
    /// A count for each CPU, and what it is.
    PerCpu(Vec<u64>, &'static str),
    /// One sum, e.g. of `ERR` and `MIS`.
    Total(u64),
}

/// One numbered interrupt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IrqLine {
    /// Linux's interrupt number.
    pub irq: u32,
    /// Count on each online CPU.
    pub counts: Vec<u64>,
    /// Controller, e.g. `IO-APIC` or `PCI-MSIX-0000:00:01.0`.
    pub chip: String,
    /// Number at the controller.
    pub hwirq: Option<u32>,
    /// Whether it is level-triggered.
    pub level: bool,
    /// Who handles it.
    pub actions: Vec<String>,
}

/// `/proc/softirqs`: counts per possible CPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SoftIrqs {
    /// Numbers of the CPUs.
    pub cpus: Vec<u32>,
    /// HI, TIMER, NET_TX, NET_RX, BLOCK, IRQ_POLL, TASKLET, SCHED, HRTIMER, RCU: a count per CPU each.
    pub counts: [Vec<u64>; 10],
}

/// One swap area.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swap {
    /// Path of the file or device.
    pub path: Vec<u8>,
    /// A block device, not a file.
    pub partition: bool,
    /// Bytes.
    pub size: u64,
    /// Bytes in use.
    pub used: u64,
    /// Priority.
    pub priority: i32,
}

/// One loaded module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Module {
    pub name: String,
    pub size: u64,
    pub references: u32,
    pub users: Vec<String>,
    /// `Live`, `Loading` or `Unloading`.
    pub state: &'static str,
    /// Zero for a reader who may not see it.
    pub address: u64,
    /// Letters of the taint, if any.
    pub taint: String,
}

/// Free blocks of one zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    /// Memory node.
    pub node: u32,
    /// `DMA`, `DMA32`, `Normal`.
    pub name: &'static str,
    /// Free blocks by order.
    pub free: Vec<u64>,
}

/// One zone in `/proc/zoneinfo`; pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ZoneInfo {
    pub node: u32,
    pub name: &'static str,
    /// Counters of the node, in order; shown with its first populated zone.
    pub node_counters: Vec<(&'static str, u64)>,
    pub free: u64,
    pub boost: u64,
    pub min: u64,
    pub low: u64,
    pub high: u64,
    pub spanned: u64,
    pub present: u64,
    pub managed: u64,
    pub cma: u64,
    pub protection: Vec<u64>,
    pub counters: Vec<(&'static str, u64)>,
    /// CPU, count, high, batch, vm stats threshold of each per-CPU page set.
    pub pagesets: Vec<[u64; 5]>,
    pub node_unreclaimable: bool,
    pub start_pfn: u64,
}

/// One slab cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Slab {
    pub name: String,
    pub active_objects: u64,
    pub objects: u64,
    pub object_size: u64,
    pub objects_per_slab: u64,
    pub pages_per_slab: u64,
    pub active_slabs: u64,
    pub slabs: u64,
}

/// One lock in `/proc/locks`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileLock {
    /// What made it.
    pub kind: LockKind,
    /// Exclusive, not shared.
    pub write: bool,
    /// Owner in the reader's PID namespace; -1 for locks of open file descriptions, 0 if it is not visible.
    pub pid: i64,
    /// Device of the file.
    pub dev: DevNo,
    /// Inode of the file.
    pub ino: u64,
    /// First byte.
    pub start: u64,
    /// Last byte; `None` to the end of the file.
    pub end: Option<u64>,
    /// Those who wait for it.
    pub waiters: Vec<FileLock>,
}

/// Kinds of [`FileLock`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LockKind {
    /// fcntl(2) record lock of a process.
    #[default]
    Posix,
    /// fcntl(2) record lock of an open file description.
    Ofd,
    /// flock(2).
    Flock,
    /// A lease that holds.
    Lease,
    /// A lease that is being broken.
    LeaseBreaking,
}

/// One line of `/proc/cgroups`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CgroupController {
    pub name: String,
    pub hierarchy: u32,
    pub groups: u32,
    pub enabled: bool,
}

/// One line of `/proc/key-users`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct KeyUser {
    pub uid: u32,
    pub usage: u32,
    pub keys: u32,
    pub instantiated: u32,
    pub quota_keys: u32,
    pub max_keys: u32,
    pub quota_bytes: u32,
    pub max_bytes: u32,
}

/// One line of `/proc/keys`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Key {
    /// Serial number.
    pub serial: u32,
    /// Instantiated, revoked, dead, in quota, under construction, negative, invalidated: `IRDQUNi`.
    pub flags: [bool; 7],
    /// References.
    pub usage: u32,
    /// `perm` or the time left, e.g. `3d`.
    pub timeout: String,
    /// Permission mask.
    pub perm: u32,
    /// Owner.
    pub uid: i32,
    /// Group.
    pub gid: i32,
    /// Type.
    pub kind: String,
    /// Description and what the type adds.
    pub description: Vec<u8>,
}

/// A range of `/proc/iomem` or `/proc/ioports`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resource {
    /// Depth in the tree, from 0.
    pub depth: u32,
    /// First address.
    pub start: u64,
    /// Last address.
    pub end: u64,
    /// Who has it.
    pub name: String,
}

/// The files of `/proc/pressure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PressureResource {
    Cpu,
    Io,
    Memory,
}

/// One file of `/proc/pressure`; averages in hundredths of a per cent over 10, 60 and 300 s, totals in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Pressure {
    pub some: [u64; 3],
    pub some_total: u64,
    pub full: [u64; 3],
    pub full_total: u64,
}

/// `/proc/schedstat`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchedStat {
    /// Jiffies (at the kernel's HZ) since boot, as Linux counts them.
    pub timestamp: u64,
    /// Of each CPU: number, and the nine values after it.
    pub cpus: Vec<(u32, [u64; 9])>,
}

/// `/proc/irq/N`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IrqInfo {
    /// Where it may go.
    pub affinity: Bitmap,
    /// Where it does go.
    pub effective: Bitmap,
    /// Memory node, -1 for none.
    pub node: i32,
    /// Count, unhandled, milliseconds since the last unhandled one.
    pub spurious: (u64, u64, u64),
}
