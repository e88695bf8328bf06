//! What the attributes of the tree read: CPUs, disks, PCI functions, the console.

use core::sync::atomic::{AtomicU8, Ordering};

use keel_hal::cpu;
use keel_hal::pci::PciDevice;
use keel_procfs::DiskStats;
use keel_procfs::bitmap::Bitmap;
use keel_sysfs::Bytes;
use keel_sysfs::block::{BlockSource, DiskSource, Queue};
use keel_sysfs::chars::{ConsoleSource, RtcSource};
use keel_sysfs::cpu::{Cache, CpuSource, Topology};
use keel_sysfs::kernel::HugePageSource;

use crate::block::BlockDevice;
use crate::mm::huge;
use crate::prelude::*;
use crate::process::{self, Cap};

/// The settings of transparent huge pages.
pub struct HugePages;

fn set_choice(setting: &AtomicU8, choice: usize) -> Result<()> {
    let choice = u8::try_from(choice).map_err(|_| Errno::EINVAL)?;
    setting.store(choice, Ordering::Relaxed);
    Ok(())
}

impl HugePageSource for HugePages {
    fn enabled(&self) -> usize {
        huge::ENABLED.load(Ordering::Relaxed).into()
    }

    fn set_enabled(&self, choice: usize) -> Result<()> {
        set_choice(&huge::ENABLED, choice)
    }

    fn defrag(&self) -> usize {
        huge::NEVER_DEFRAG.into()
    }

    fn set_defrag(&self, choice: usize) -> Result<()> {
        // Memory is not moved to make room: the other choices are not there to be had.
        if choice == usize::from(huge::NEVER_DEFRAG) {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }
}

/// All CPUs.
pub struct Cpus;

fn count() -> u32 {
    cpu::count() as u32
}

/// The CPUs that `belongs` says yes to.
fn cpus_where(belongs: impl Fn(&cpu::CpuInfo) -> bool) -> Bitmap {
    let mut mask = Bitmap::first(0, count());
    for number in 0..cpu::count() {
        if belongs(&cpu::info(number))
            && let Some(word) = mask.words.get_mut(number / 64)
        {
            *word |= 1 << (number % 64);
        }
    }
    mask
}

impl CpuSource for Cpus {
    fn online(&self) -> Bitmap {
        Bitmap::first(count(), count())
    }

    fn present(&self) -> Bitmap {
        self.online()
    }

    fn possible(&self) -> Bitmap {
        self.online()
    }

    fn topology(&self, number: u32) -> Result<Topology> {
        if number >= count() {
            return Err(Errno::ENOENT);
        }
        let own = cpu::info(number as usize);
        let package = cpus_where(|other| other.package == own.package);
        Ok(Topology {
            package: own.package,
            die: 0,
            core: own.core,
            core_cpus: cpus_where(|other| other.package == own.package && other.core == own.core),
            die_cpus: package.clone(),
            package_cpus: package,
        })
    }
}

/// Leaf that describes caches: AMD's, where it has it, or Intel's.
fn cache_leaf() -> Option<u32> {
    const INTEL: u32 = 4;
    const AMD: u32 = 0x8000_001d;
    const AMD_TOPOLOGY_EXTENSIONS: u32 = 1 << 22;
    let extended = cpu::cpuid(0x8000_0000, 0)[0];
    if extended >= AMD && cpu::cpuid(0x8000_0001, 0)[2] & AMD_TOPOLOGY_EXTENSIONS != 0 {
        return Some(AMD);
    }
    let amd = cpu::info(0).vendor == "AuthenticAMD";
    (!amd && cpu::cpuid(0, 0)[0] >= INTEL).then_some(INTEL)
}

/// The caches of a CPU, nearest first. All CPUs are taken to be alike.
pub fn caches(number: u32) -> Vec<Cache> {
    const MOST: u32 = 8;
    let Some(leaf) = cache_leaf() else {
        return Vec::new();
    };
    (0..MOST)
        .map_while(|index| cache(number, cpu::cpuid(leaf, index)))
        .collect()
}

fn cache(number: u32, [eax, ebx, ecx, _]: [u32; 4]) -> Option<Cache> {
    let kind = match eax & 0x1f {
        1 => "Data",
        2 => "Instruction",
        3 => "Unified",
        _ => return None,
    };
    let line_size = (ebx & 0xfff) + 1;
    let partitions = (ebx >> 12 & 0x3ff) + 1;
    let ways = (ebx >> 22) + 1;
    let sets = ecx.checked_add(1)?;
    // APIC ids that differ only in these low bits share the cache.
    let sharing = (eax >> 14 & 0xfff) + 1;
    let shift = sharing.next_power_of_two().trailing_zeros();
    let own = cpu::info(number as usize).apic_id >> shift;
    let bytes = u64::from(line_size) * u64::from(partitions) * u64::from(ways) * u64::from(sets);
    Some(Cache {
        id: own,
        level: eax >> 5 & 7,
        kind,
        size_kb: (bytes >> 10) as u32,
        line_size,
        sets,
        ways,
        partitions,
        shared: cpus_where(|other| other.apic_id >> shift == own),
    })
}

/// A disk or partition.
pub struct BlockInfo(pub Arc<BlockDevice>);

impl BlockSource for BlockInfo {
    fn sectors(&self) -> u64 {
        self.0.sectors()
    }

    fn read_only(&self) -> bool {
        self.0.is_read_only()
    }

    fn stats(&self) -> DiskStats {
        self.0.stats.figures()
    }

    /// Reads and writes are not counted apart while they are at the device: all count as reads.
    fn in_flight(&self) -> (u32, u32) {
        (self.0.stats.figures().in_flight as u32, 0)
    }
}

impl DiskSource for BlockInfo {
    fn queue(&self) -> Queue {
        let limits = self.0.limits();
        let kib = |sectors: u64| u32::try_from(sectors / 2).unwrap_or(u32::MAX);
        let bytes = |sectors: u64| sectors.saturating_mul(512);
        Queue {
            logical_block_size: limits.logical_block,
            physical_block_size: limits.physical_block,
            minimum_io_size: limits.io_min.max(limits.physical_block),
            optimal_io_size: limits.io_opt,
            max_hw_sectors_kb: kib(limits.max_sectors),
            max_sectors_kb: kib(limits.max_sectors),
            max_segments: u32::try_from(limits.max_segments).unwrap_or(u32::MAX),
            write_back: limits.volatile_cache,
            discard_granularity: if limits.max_discard > 0 {
                limits.logical_block
            } else {
                0
            },
            discard_max_bytes: bytes(limits.max_discard),
            discard_max_hw_bytes: bytes(limits.max_discard),
            write_zeroes_max_bytes: bytes(limits.max_zeroes),
            ..Queue::default()
        }
    }
}

/// A PCI function's configuration space. Only the header's first 64 bytes are for everybody.
pub struct PciConfig(pub Arc<PciDevice>);

const PUBLIC_CONFIG: u64 = 64;

impl Bytes for PciConfig {
    fn size(&self) -> u64 {
        self.0.config_len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let privileged = process::current_opt().is_none_or(|me| me.cred().has(Cap::SYS_ADMIN));
        let end = if privileged {
            self.size()
        } else {
            PUBLIC_CONFIG
        };
        let count = out
            .len()
            .min(usize::try_from(end.saturating_sub(offset)).unwrap_or(0));
        for (at, slot) in out.iter_mut().take(count).enumerate() {
            let offset = offset + at as u64;
            *slot = self
                .0
                .config_read_u8(u16::try_from(offset).map_err(|_| Errno::EINVAL)?);
        }
        Ok(count)
    }
}

/// The terminal behind /dev/console.
pub struct ActiveConsole;

impl ConsoleSource for ActiveConsole {
    fn active(&self) -> Vec<String> {
        crate::device::tty::console_terminal()
            .iter()
            .map(|tty| tty.name.clone())
            .collect()
    }
}

/// The one memory node.
pub struct Node;

impl keel_sysfs::cpu::NodeSource for Node {
    fn meminfo(&self) -> keel_procfs::MemInfo {
        crate::fs::procfs::meminfo()
    }

    fn vmstat(&self) -> Vec<(&'static str, u64)> {
        crate::fs::procfs::vmstat()
    }
}

/// The battery-backed clock.
pub struct Clock;

impl RtcSource for Clock {
    fn now(&self) -> Result<u64> {
        u64::try_from(keel_hal::rtc::now()).map_err(|_| Errno::EINVAL)
    }
}
