//! The machine as a mount of procfs shows it: [`keel_procfs::System`] over the kernel's own figures.

use keel_procfs::bitmap::Bitmap;
use keel_procfs::{
    Console, CpuInfo, CpuStat, Ctl, CtlValue, Devices, Disk, Features, FileLock, FsType,
    Interrupts, IrqInfo, LoadAvg, LockKind, MemInfo, MsgQueue, PciDevice, SemSet, ShmSegment, Slab,
    SoftIrqs, System, Task, TtyDriver, Uptime, Zone,
};

use super::instance::Instance;
use super::task::{TaskRef, dev_no};
use super::{cpu, devices, ipc, memory, sysctl};
use crate::prelude::*;
use crate::printk;
use crate::process::{self, pid};

/// The machine, seen through one mount.
#[derive(Clone)]
pub struct Machine {
    instance: Arc<Instance>,
}

impl Machine {
    /// Seen through this mount.
    pub fn new(instance: Arc<Instance>) -> Self {
        Self { instance }
    }

    /// The mount.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }
}

/// What the kernel has of the optional parts.
const FEATURES: Features = Features::KMSG
    .union(Features::SLABINFO)
    .union(Features::SYSVIPC)
    .union(Features::SYSRQ)
    .union(Features::KEYS)
    .union(Features::MAP_FILES)
    .union(Features::COREDUMP)
    .union(Features::PAGE_MONITOR)
    .union(Features::CHILDREN)
    .union(Features::IO_ACCOUNTING)
    .union(Features::BUDDYINFO)
    .union(Features::SYSCTL)
    .union(Features::IRQ)
    .union(Features::PCI)
    .union(Features::BLOCK)
    .union(Features::TTY)
    .union(Features::NAMESPACES)
    .union(Features::FILE_LOCKS)
    .union(Features::VMSTAT);

impl System for Machine {
    fn features(&self) -> Features {
        FEATURES | super::net::features()
    }

    fn sysrq(&self, commands: &[u8]) -> Result<()> {
        for key in commands {
            crate::device::sysrq::ask(*key);
        }
        Ok(())
    }

    fn current(&self) -> Option<(u32, u32)> {
        process::current_opt().map(|thread| (thread.process.pid, thread.tid()))
    }

    fn task(&self, tid: u32) -> Option<Arc<dyn Task>> {
        let task = TaskRef::find(tid)?;
        let thread = task.thread().ok()?;
        if !self.instance.is_listed(&thread) {
            return None;
        }
        Some(Arc::new(task))
    }

    fn next_process(&self, from: u32) -> Option<u32> {
        let mut from = from;
        loop {
            let process = pid::next_from(from)?;
            let listed = process
                .leader()
                .is_some_and(|leader| self.instance.is_listed(&leader));
            if listed {
                return Some(process.pid);
            }
            from = process.pid + 1;
        }
    }

    fn process_count(&self) -> u32 {
        pid::process_count() as u32
    }

    fn meminfo(&self) -> MemInfo {
        memory::meminfo()
    }

    fn cpu_stat(&self) -> CpuStat {
        cpu::stat()
    }

    fn uptime(&self) -> Uptime {
        cpu::uptime()
    }

    fn loadavg(&self) -> LoadAvg {
        cpu::loadavg()
    }

    fn version(&self) -> String {
        let (release, version) = (crate::syscall::RELEASE, crate::syscall::VERSION);
        format!("Linux version {release} (keel@localhost) (rustc) {version}")
    }

    fn cmdline(&self) -> Vec<u8> {
        keel_hal::boot::command_line().as_bytes().to_vec()
    }

    fn cpuinfo(&self) -> Vec<CpuInfo> {
        cpu::info()
    }

    fn filesystems(&self) -> Vec<FsType> {
        crate::fs::superblock::file_systems()
            .iter()
            .map(|fs| FsType {
                name: fs.name().to_owned(),
                needs_device: !fs.nodev(),
            })
            .collect()
    }

    fn devices(&self) -> Devices {
        devices::majors()
    }

    fn consoles(&self) -> Vec<Console> {
        devices::consoles()
    }

    fn interrupts(&self) -> Interrupts {
        cpu::interrupts()
    }

    fn softirqs(&self) -> SoftIrqs {
        cpu::softirqs()
    }

    fn vmstat(&self) -> Vec<(&'static str, u64)> {
        memory::vmstat()
    }

    fn misc(&self) -> Vec<(u32, String)> {
        Vec::new()
    }

    fn disks(&self) -> Vec<Disk> {
        devices::disks()
    }

    fn buddyinfo(&self) -> Vec<Zone> {
        memory::buddyinfo()
    }

    fn slabinfo(&self) -> Vec<Slab> {
        memory::slabinfo()
    }

    fn locks(&self) -> Vec<FileLock> {
        crate::fs::locks::all().iter().map(file_lock).collect()
    }

    fn key_users(&self) -> Vec<keel_procfs::KeyUser> {
        process::keys::report::users()
    }

    fn keys(&self) -> Vec<keel_procfs::Key> {
        process::current_opt().map_or_else(Vec::new, |thread| {
            process::keys::report::keys(&process::keys::Caller::new(&thread))
        })
    }

    fn tty_drivers(&self) -> Vec<TtyDriver> {
        devices::tty_drivers()
    }

    fn tty_ldiscs(&self) -> Vec<(&'static str, u32)> {
        vec![("n_tty", 0)]
    }

    fn serial_ports(&self) -> Vec<keel_procfs::SerialPort> {
        devices::serial_ports()
    }

    fn pci_devices(&self) -> Vec<PciDevice> {
        devices::pci()
    }

    fn kmsg_read(&self, out: &mut [u8]) -> Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        printk::syslog::read(out)
    }

    fn irqs(&self) -> Vec<u32> {
        cpu::irq_numbers()
    }

    fn irq(&self, irq: u32) -> Result<IrqInfo> {
        cpu::irq(irq)
    }

    fn default_irq_affinity(&self) -> Bitmap {
        cpu::online()
    }

    fn sysv_shm(&self) -> Vec<ShmSegment> {
        ipc::segments()
    }

    fn sysv_sem(&self) -> Vec<SemSet> {
        ipc::semaphore_sets()
    }

    fn sysv_msg(&self) -> Vec<MsgQueue> {
        ipc::message_queues()
    }

    fn sysctl_get(&self, ctl: Ctl, device: Option<&[u8]>) -> Option<CtlValue> {
        sysctl::get(ctl, device)
    }

    fn sysctl_set(&self, ctl: Ctl, device: Option<&[u8]>, value: CtlValue) -> Result<()> {
        sysctl::set(ctl, device, &value)
    }
}

/// A lock as /proc/locks shows it.
pub fn file_lock(lock: &crate::fs::locks::LockInfo) -> FileLock {
    let kind = match (lock.kind, lock.breaking) {
        ("FLOCK", _) => LockKind::Flock,
        ("LEASE", true) => LockKind::LeaseBreaking,
        ("LEASE", false) => LockKind::Lease,
        ("OFDLCK", _) => LockKind::Ofd,
        _ => LockKind::Posix,
    };
    FileLock {
        kind,
        write: lock.write,
        pid: i64::from(lock.pid),
        dev: dev_no(lock.inode.0),
        ino: lock.inode.1,
        start: lock.start,
        end: lock.end,
        waiters: Vec::new(),
    }
}
