//! [`System`]: what a mount of procfs asks of the kernel.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use keel_abi::{Errno, Result};

use super::device_records::*;
use super::ipc_records::*;
use super::records::*;
use super::{Ctl, CtlValue, Task};
use crate::bitmap::Bitmap;

bitflags::bitflags! {
    /// Which optional parts the kernel has. A file whose bit is off does not exist.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Features: u64 {
        /// `/proc/kmsg`.
        const KMSG = 1 << 0;
        /// `/proc/modules`.
        const MODULES = 1 << 1;
        /// `/proc/slabinfo`.
        const SLABINFO = 1 << 2;
        /// `/proc/kallsyms`.
        const KALLSYMS = 1 << 3;
        /// `/proc/pressure`.
        const PRESSURE = 1 << 4;
        /// `/proc/keys` and `/proc/key-users`.
        const KEYS = 1 << 5;
        /// `/proc/crypto`.
        const CRYPTO = 1 << 6;
        /// `/proc/cgroups`, `/proc/PID/cgroup`.
        const CGROUPS = 1 << 7;
        /// `/proc/PID/cpuset`.
        const CPUSETS = 1 << 8;
        /// `/proc/sysvipc`.
        const SYSVIPC = 1 << 9;
        /// `/proc/schedstat`, `/proc/PID/schedstat`.
        const SCHEDSTATS = 1 << 10;
        /// `/proc/PID/sched`.
        const SCHED_DEBUG = 1 << 11;
        /// `/proc/PID/autogroup`.
        const AUTOGROUP = 1 << 12;
        /// `/proc/PID/io` (task I/O accounting).
        const IO_ACCOUNTING = 1 << 13;
        /// `/proc/PID/loginuid` and `sessionid` (audit).
        const AUDIT = 1 << 14;
        /// `/proc/PID/attr` (a security module).
        const SECURITY = 1 << 15;
        /// `/proc/PID/uid_map`, `gid_map`, `projid_map`, `setgroups`.
        const USER_NS = 1 << 16;
        /// `/proc/PID/timens_offsets`.
        const TIME_NS = 1 << 17;
        /// `/proc/PID/stack`.
        const STACKTRACE = 1 << 18;
        /// `/proc/PID/syscall`.
        const SYSCALL = 1 << 19;
        /// `/proc/PID/smaps`, `smaps_rollup`, `pagemap`, `clear_refs`.
        const PAGE_MONITOR = 1 << 20;
        /// `/proc/PID/map_files`.
        const MAP_FILES = 1 << 21;
        /// `/proc/PID/timers`.
        const POSIX_TIMERS = 1 << 22;
        /// `/proc/PID/task/TID/children`.
        const CHILDREN = 1 << 23;
        /// `/proc/PID/coredump_filter`.
        const COREDUMP = 1 << 24;
        /// `/proc/buddyinfo`.
        const BUDDYINFO = 1 << 26;
        /// `/proc/zoneinfo`.
        const ZONEINFO = 1 << 27;
        /// `/proc/iomem` and `/proc/ioports`.
        const RESOURCES = 1 << 28;
        /// `/proc/sys` (sysctl); which values exist is asked of [`System::sysctl_get`].
        const SYSCTL = 1 << 29;
        /// `/proc/PID/net` and what is below it.
        const NET = 1 << 30;
        /// IPv6 files below `/proc/PID/net`.
        const IPV6 = 1 << 31;
        /// AF_PACKET sockets: `/proc/PID/net/packet`.
        const PACKET = 1 << 32;
        /// AF_UNIX sockets: `/proc/PID/net/unix`.
        const UNIX = 1 << 33;
        /// AF_NETLINK sockets: `/proc/PID/net/netlink`.
        const NETLINK = 1 << 34;
        /// TCP and UDP over IPv4, and routes: the `inet` files below `/proc/PID/net`.
        const INET = 1 << 35;
        /// `/proc/sysrq-trigger`.
        const SYSRQ = 1 << 36;
        /// `/proc/irq`.
        const IRQ = 1 << 37;
        /// `/proc/bus/pci/devices`.
        const PCI = 1 << 38;
        /// `/proc/bus/input`.
        const INPUT = 1 << 39;
        /// `/proc/swaps`.
        const SWAP = 1 << 40;
        /// `/proc/partitions` and `/proc/diskstats`.
        const BLOCK = 1 << 41;
        /// `/proc/tty`.
        const TTY = 1 << 42;
        /// `/proc/PID/ns`.
        const NAMESPACES = 1 << 43;
        /// `/proc/driver/rtc`.
        const RTC = 1 << 44;
        /// `/proc/locks`.
        const FILE_LOCKS = 1 << 46;
        /// `/proc/vmstat`.
        const VMSTAT = 1 << 47;
        /// `/proc/misc`.
        const MISC = 1 << 48;
        /// `/proc/dma`.
        const ISA_DMA = 1 << 49;
        /// `/proc/config.gz`.
        const CONFIG = 1 << 50;
        /// `/proc/fs/ext4` and `/proc/fs/jbd2`.
        const EXT4 = 1 << 51;
    }
}

/// The machine as one mount of procfs shows it.
///
/// One object per mount: PIDs are those of the mount's PID namespace, and methods that speak of "the reader"
/// mean the thread that is running now.
pub trait System: Send + Sync {
    /// Which optional files exist.
    fn features(&self) -> Features;

    /// The reader's process ID and thread ID; `None` if it has none in this mount's PID namespace.
    fn current(&self) -> Option<(u32, u32)>;

    /// The thread with this ID, of any process (Linux finds threads that it does not list, too).
    ///
    /// `None` if there is none, or the mount's `hidepid=2` hides it from the reader.
    fn task(&self, tid: u32) -> Option<Arc<dyn Task>>;

    /// The lowest process ID not below `from` that the reader may see.
    fn next_process(&self, from: u32) -> Option<u32>;

    /// How many processes there are: the root directory's link count is this and the directories.
    fn process_count(&self) -> u32;

    /// `/proc/meminfo`.
    fn meminfo(&self) -> MemInfo;

    /// `/proc/stat`.
    fn cpu_stat(&self) -> CpuStat;

    /// `/proc/uptime`: nanoseconds since boot, and the idle time of all CPUs together.
    fn uptime(&self) -> Uptime;

    /// `/proc/loadavg`.
    fn loadavg(&self) -> LoadAvg;

    /// `/proc/version`: the whole line, without the newline.
    fn version(&self) -> String;

    /// `/proc/cmdline`: the kernel's command line, without the newline.
    fn cmdline(&self) -> Vec<u8>;

    /// `/proc/cpuinfo`: one record per online CPU.
    fn cpuinfo(&self) -> Vec<CpuInfo>;

    /// `/proc/filesystems`, in the order of registration.
    fn filesystems(&self) -> Vec<FsType>;

    /// `/proc/devices`, each list by number.
    fn devices(&self) -> Devices;

    /// `/proc/consoles`.
    fn consoles(&self) -> Vec<Console>;

    /// `/proc/interrupts`.
    fn interrupts(&self) -> Interrupts;

    /// `/proc/softirqs`.
    fn softirqs(&self) -> SoftIrqs;

    /// `/proc/vmstat`: names and values in Linux's order.
    fn vmstat(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// `/proc/misc`: minor number and name.
    fn misc(&self) -> Vec<(u32, String)> {
        Vec::new()
    }

    /// `/proc/partitions` and `/proc/diskstats`: every disk, each followed by its partitions.
    fn disks(&self) -> Vec<Disk> {
        Vec::new()
    }

    /// `/proc/swaps`.
    fn swaps(&self) -> Vec<Swap> {
        Vec::new()
    }

    /// `/proc/modules`.
    fn modules(&self) -> Vec<Module> {
        Vec::new()
    }

    /// `/proc/buddyinfo`.
    fn buddyinfo(&self) -> Vec<Zone> {
        Vec::new()
    }

    /// `/proc/zoneinfo`.
    fn zoneinfo(&self) -> Vec<ZoneInfo> {
        Vec::new()
    }

    /// `/proc/slabinfo`.
    fn slabinfo(&self) -> Vec<Slab> {
        Vec::new()
    }

    /// `/proc/locks`.
    fn locks(&self) -> Vec<FileLock> {
        Vec::new()
    }

    /// `/proc/tty/drivers`.
    fn tty_drivers(&self) -> Vec<TtyDriver> {
        Vec::new()
    }

    /// `/proc/tty/ldiscs`: name and number.
    fn tty_ldiscs(&self) -> Vec<(&'static str, u32)> {
        Vec::new()
    }

    /// `/proc/tty/driver/serial`.
    fn serial_ports(&self) -> Vec<SerialPort> {
        Vec::new()
    }

    /// `/proc/cgroups`.
    fn cgroup_controllers(&self) -> Vec<CgroupController> {
        Vec::new()
    }

    /// `/proc/key-users`.
    fn key_users(&self) -> Vec<KeyUser> {
        Vec::new()
    }

    /// `/proc/keys`.
    fn keys(&self) -> Vec<Key> {
        Vec::new()
    }

    /// `/proc/crypto`: for each algorithm its fields by name, in order.
    fn crypto(&self) -> Vec<Vec<(&'static str, String)>> {
        Vec::new()
    }

    /// `/proc/iomem`: resources in tree order. Addresses are shown as zero without CAP_SYS_ADMIN.
    fn iomem(&self) -> Vec<Resource> {
        Vec::new()
    }

    /// `/proc/ioports`, likewise.
    fn ioports(&self) -> Vec<Resource> {
        Vec::new()
    }

    /// `/proc/dma`: channel and user.
    fn dma_channels(&self) -> Vec<(u32, String)> {
        Vec::new()
    }

    /// `/proc/pressure/*`.
    fn pressure(&self, _resource: PressureResource) -> Result<Pressure> {
        Err(Errno::EOPNOTSUPP)
    }

    /// A write to `/proc/pressure/*`: `some|full STALL WINDOW` in microseconds, for poll(2) on the open file.
    fn pressure_trigger(&self, _resource: PressureResource, _trigger: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// `/proc/schedstat`.
    fn schedstat(&self) -> SchedStat {
        SchedStat::default()
    }

    /// `/proc/kallsyms`: address (zero if the reader may not see it), type letter and name, one call each.
    fn kallsyms(&self, _visit: &mut dyn FnMut(u64, char, &str) -> Result<()>) -> Result<()> {
        Ok(())
    }

    /// `/proc/sysvipc/shm`.
    fn sysv_shm(&self) -> Vec<ShmSegment> {
        Vec::new()
    }

    /// `/proc/sysvipc/sem`.
    fn sysv_sem(&self) -> Vec<SemSet> {
        Vec::new()
    }

    /// `/proc/sysvipc/msg`.
    fn sysv_msg(&self) -> Vec<MsgQueue> {
        Vec::new()
    }

    /// `/proc/bus/pci/devices`.
    fn pci_devices(&self) -> Vec<PciDevice> {
        Vec::new()
    }

    /// `/proc/bus/input/devices`.
    fn input_devices(&self) -> Vec<InputDevice> {
        Vec::new()
    }

    /// `/proc/driver/rtc`: name and value of each line.
    fn rtc(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// `/proc/config.gz`: the file.
    fn config_gz(&self) -> Vec<u8> {
        Vec::new()
    }

    /// `/proc/fs/ext4/DISK/options` and the jbd2 info of every mounted ext4: the disk's name and the text.
    fn ext4_mounts(&self) -> Vec<Ext4Mount> {
        Vec::new()
    }

    /// A read of `/proc/kmsg`: blocks for the next message like syslog(2) SYSLOG_ACTION_READ.
    fn kmsg_read(&self, _out: &mut [u8]) -> Result<usize> {
        Err(Errno::EOPNOTSUPP)
    }

    /// A write to `/proc/sysrq-trigger`: the command letters.
    fn sysrq(&self, _commands: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Numbers of the interrupts that have a directory below `/proc/irq`, ascending.
    fn irqs(&self) -> Vec<u32> {
        Vec::new()
    }

    /// The affinity and counts of interrupt `irq`. Errors: `ENOENT`.
    fn irq(&self, _irq: u32) -> Result<IrqInfo> {
        Err(Errno::ENOENT)
    }

    /// `/proc/irq/default_smp_affinity`: where new interrupts may go.
    fn default_irq_affinity(&self) -> Bitmap {
        Bitmap::default()
    }

    /// A write to `/proc/irq/default_smp_affinity`.
    fn set_default_irq_affinity(&self, _cpus: &Bitmap) -> Result<()> {
        Err(Errno::EIO)
    }

    /// A write to `/proc/irq/N/smp_affinity` or `smp_affinity_list`.
    fn set_irq_affinity(&self, _irq: u32, _cpus: &Bitmap) -> Result<()> {
        Err(Errno::EIO)
    }

    /// A sysctl's value; `None` if this kernel does not have it, so that the file does not exist.
    ///
    /// `device` names the interface for the entries below `conf/` and `neigh/`, `all` and `default` too.
    fn sysctl_get(&self, _ctl: Ctl, _device: Option<&[u8]>) -> Option<CtlValue> {
        None
    }

    /// Sets a sysctl. The value has the shape that [`Self::sysctl_get`] returned and is within the table's range.
    ///
    /// Errors: as the value demands; `EPERM` for a reader without the capability.
    fn sysctl_set(&self, _ctl: Ctl, _device: Option<&[u8]>, _value: CtlValue) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Names below `/proc/sys/net/ipv{4,6}/{conf,neigh}`, `all` and `default` first.
    fn net_devices(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
}
