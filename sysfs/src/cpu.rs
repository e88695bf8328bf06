//! CPUs, caches, memory nodes and clock sources: `/sys/devices/system` (`Documentation/ABI/testing/sysfs-devices-system-cpu`).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use keel_abi::{Errno, Result};
use keel_procfs::bitmap::Bitmap;
use keel_procfs::{MemInfo, Text, put};

use crate::attr::{Attrs, boolean};
use crate::device::{Device, Subsystem};
use crate::registry::{Id, Registry};

/// What the machine says of its CPUs and memory at any time.
pub trait CpuSource: Send + Sync {
    /// CPUs that run.
    fn online(&self) -> Bitmap;

    /// CPUs that are there.
    fn present(&self) -> Bitmap;

    /// CPUs that could ever be there.
    fn possible(&self) -> Bitmap;

    /// Starts or stops a CPU. Errors: `EBUSY`, `EPERM`, `EOPNOTSUPP`.
    fn set_online(&self, _cpu: u32, _online: bool) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// What one CPU is. Errors: `ENOENT`.
    fn topology(&self, cpu: u32) -> Result<Topology>;
}

/// Where a CPU is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Topology {
    pub package: u32,
    pub die: u32,
    pub core: u32,
    /// CPUs of the same core.
    pub core_cpus: Bitmap,
    /// CPUs of the same die.
    pub die_cpus: Bitmap,
    /// CPUs of the same package.
    pub package_cpus: Bitmap,
}

/// One cache of a CPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Cache {
    pub id: u32,
    pub level: u32,
    /// `Data`, `Instruction` or `Unified`.
    pub kind: &'static str,
    pub size_kb: u32,
    pub line_size: u32,
    pub sets: u32,
    pub ways: u32,
    pub partitions: u32,
    pub shared: Bitmap,
}

/// A CPU to be added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub number: u32,
    /// Its caches, nearest first.
    pub caches: Vec<Cache>,
    /// Vendor (`X86_VENDOR_*`), family, model and the numbers of its features: what `modalias` is made of.
    pub modalias: Option<CpuModalias>,
}

/// Parts of a CPU's `modalias`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CpuModalias {
    pub vendor: u16,
    pub family: u16,
    pub model: u16,
    /// Linux's numbers of features, ascending.
    pub features: Vec<u16>,
}

impl CpuModalias {
    fn text(&self) -> String {
        let mut text = format!(
            "cpu:type:x86,ven{:04X}fam{:04X}mod{:04X}:feature:",
            self.vendor, self.family, self.model
        );
        for feature in &self.features {
            text.push_str(&format!(",{feature:04X}"));
        }
        text
    }
}

/// Highest number of a CPU that the kernel can have.
pub const KERNEL_MAX: u32 = 8191;

impl Registry {
    /// A subsystem below `/sys/devices/system`, with its bus. Errors: as [`Registry::make_dir`].
    fn system(&mut self, name: &str) -> Result<Id> {
        self.bus(name)?;
        let system = self.find("devices/system")?;
        match self.lookup(system, name.as_bytes()) {
            Ok(id) => Ok(id),
            Err(_) => self.add_device(Device::new(name, Subsystem::None, Some(system))),
        }
    }

    /// Adds `/sys/devices/system/cpu` with these CPUs. Errors: as [`Registry::add_device`].
    pub fn add_cpus(&mut self, cpus: &[Cpu], source: &Arc<dyn CpuSource>) -> Result<()> {
        let dir = self.system("cpu")?;
        let (online, present) = (source.clone(), source.clone());
        let (possible, offline) = (source.clone(), source.clone());
        self.add_attributes(
            dir,
            Attrs::new()
                .show("online", move |out| {
                    put!(out, "{}\n", online.online().list())
                })
                .show("present", move |out| {
                    put!(out, "{}\n", present.present().list())
                })
                .show("possible", move |out| {
                    put!(out, "{}\n", possible.possible().list())
                })
                .show("offline", move |out| {
                    let (there, on) = (offline.present(), offline.online());
                    let words = there
                        .words
                        .iter()
                        .enumerate()
                        .map(|(i, w)| w & !on.words.get(i).copied().unwrap_or(0));
                    let off = Bitmap {
                        words: words.collect(),
                        bits: there.bits,
                    };
                    put!(out, "{}\n", off.list())
                })
                .fixed("isolated", "")
                .fixed("kernel_max", KERNEL_MAX),
        )?;
        if let Some(modalias) = cpus.first().and_then(|cpu| cpu.modalias.as_ref()) {
            self.add_attributes(dir, Attrs::new().fixed("modalias", modalias.text()))?;
        }
        cpus.iter()
            .try_for_each(|cpu| self.add_cpu(dir, cpu, source))
    }

    fn add_cpu(&mut self, dir: Id, cpu: &Cpu, source: &Arc<dyn CpuSource>) -> Result<()> {
        let mut device = Device::bus("cpu", format!("cpu{}", cpu.number), Some(dir));
        if let Some(modalias) = &cpu.modalias {
            // The newline is Linux's: its uevent reuses the text of the file.
            device.vars = alloc::vec![("MODALIAS".to_string(), modalias.text() + "\n")];
        }
        device.attrs = topology(cpu.number, source);
        // The first CPU cannot be stopped on x86, and so has no file for it.
        if cpu.number > 0 {
            device.attrs = device.attrs.with(online(cpu.number, source));
        }
        for (index, cache) in cpu.caches.iter().enumerate() {
            device.attrs = device.attrs.with(cache_attrs(index, cache));
        }
        self.add_device(device).map(|_| ())
    }

    /// Adds `/sys/devices/system/node` with the one node that there is. Errors: as [`Registry::add_device`].
    pub fn add_node0(
        &mut self,
        cpus: &Arc<dyn CpuSource>,
        memory: Arc<dyn NodeSource>,
    ) -> Result<()> {
        let dir = self.system("node")?;
        let mut attrs = Attrs::new();
        for name in [
            "online",
            "possible",
            "has_cpu",
            "has_memory",
            "has_normal_memory",
        ] {
            attrs = attrs.fixed(name, 0);
        }
        self.add_attributes(dir, attrs)?;
        let mut device = Device::bus("node", "node0", Some(dir));
        let (map, list, stat) = (cpus.clone(), cpus.clone(), memory.clone());
        device.attrs = Attrs::new()
            .show("cpumap", move |out| put!(out, "{}\n", map.online().hex()))
            .show("cpulist", move |out| {
                put!(out, "{}\n", list.online().list())
            })
            .fixed("distance", 10)
            .show("meminfo", move |out| node_meminfo(&memory.meminfo(), out))
            .show("vmstat", move |out| {
                stat.vmstat()
                    .iter()
                    .try_for_each(|(name, value)| put!(out, "{name} {value}\n"))
            });
        let node = self.add_device(device)?;
        let Ok(cpu_dir) = self.find("devices/system/cpu") else {
            return Ok(());
        };
        for cpu in 0..cpus.present().bits {
            if let Ok(id) = self.lookup(cpu_dir, format!("cpu{cpu}").as_bytes()) {
                self.add_link(node, &format!("cpu{cpu}"), id)?;
                self.add_link(id, "node0", node)?;
            }
        }
        Ok(())
    }

    /// Adds `/sys/devices/system/clocksource/clocksource0`. Errors: as [`Registry::add_device`].
    pub fn add_clocksource(&mut self, source: Arc<dyn ClockSource>) -> Result<()> {
        let dir = self.system("clocksource")?;
        let mut device = Device::bus("clocksource", "clocksource0", Some(dir));
        let (all, current, choose) = (source.clone(), source.clone(), source);
        device.attrs = Attrs::new()
            .show("available_clocksource", move |out| {
                all.available()
                    .iter()
                    .try_for_each(|name| put!(out, "{name} "))?;
                out.str("\n")
            })
            .show_store(
                "current_clocksource",
                move |out| put!(out, "{}\n", current.current()),
                move |data| choose.choose(data.trim_ascii()),
            );
        self.add_device(device).map(|_| ())
    }
}

/// What node 0 says of its memory.
pub trait NodeSource: Send + Sync {
    /// The figures of `/proc/meminfo`.
    fn meminfo(&self) -> MemInfo;

    /// The figures of `/proc/vmstat`.
    fn vmstat(&self) -> Vec<(&'static str, u64)>;
}

/// The clocks that time is kept by.
pub trait ClockSource: Send + Sync {
    /// Those there are, best first.
    fn available(&self) -> Vec<&'static str>;

    /// The one in use.
    fn current(&self) -> &'static str;

    /// Uses another. Errors: `EINVAL` if there is none of the name.
    fn choose(&self, name: &[u8]) -> Result<()>;
}

fn online(cpu: u32, source: &Arc<dyn CpuSource>) -> Attrs {
    let (shown, stored) = (source.clone(), source.clone());
    Attrs::new().show_store(
        "online",
        move |out| put!(out, "{}\n", u8::from(shown.online().has(cpu))),
        move |data| stored.set_online(cpu, boolean(data)?),
    )
}

type TopologyShow = fn(&Topology, &mut Text) -> Result<()>;

/// The files of `topology/`; those with two names have an old one.
const TOPOLOGY: [(&str, TopologyShow); 13] = [
    ("physical_package_id", |t, out| put!(out, "{}\n", t.package)),
    ("die_id", |t, out| put!(out, "{}\n", t.die)),
    ("core_id", |t, out| put!(out, "{}\n", t.core)),
    ("core_cpus", |t, out| put!(out, "{}\n", t.core_cpus.hex())),
    ("core_cpus_list", |t, out| {
        put!(out, "{}\n", t.core_cpus.list())
    }),
    ("thread_siblings", |t, out| {
        put!(out, "{}\n", t.core_cpus.hex())
    }),
    ("thread_siblings_list", |t, out| {
        put!(out, "{}\n", t.core_cpus.list())
    }),
    ("die_cpus", |t, out| put!(out, "{}\n", t.die_cpus.hex())),
    ("die_cpus_list", |t, out| {
        put!(out, "{}\n", t.die_cpus.list())
    }),
    ("package_cpus", |t, out| {
        put!(out, "{}\n", t.package_cpus.hex())
    }),
    ("package_cpus_list", |t, out| {
        put!(out, "{}\n", t.package_cpus.list())
    }),
    ("core_siblings", |t, out| {
        put!(out, "{}\n", t.package_cpus.hex())
    }),
    ("core_siblings_list", |t, out| {
        put!(out, "{}\n", t.package_cpus.list())
    }),
];

fn topology(cpu: u32, source: &Arc<dyn CpuSource>) -> Attrs {
    let mut attrs = Attrs::new();
    for (name, show) in TOPOLOGY {
        let source = source.clone();
        attrs = attrs.show(format!("topology/{name}"), move |out| {
            show(&source.topology(cpu)?, out)
        });
    }
    attrs
}

fn cache_attrs(index: usize, cache: &Cache) -> Attrs {
    let path = |name: &str| format!("cache/index{index}/{name}");
    Attrs::new()
        .fixed(path("id"), cache.id)
        .fixed(path("level"), cache.level)
        .fixed(path("type"), cache.kind)
        .fixed(path("size"), format!("{}K", cache.size_kb))
        .fixed(path("coherency_line_size"), cache.line_size)
        .fixed(path("number_of_sets"), cache.sets)
        .fixed(path("ways_of_associativity"), cache.ways)
        .fixed(path("physical_line_partition"), cache.partitions)
        .fixed(path("shared_cpu_map"), cache.shared.hex())
        .fixed(path("shared_cpu_list"), cache.shared.list())
}

/// `node0/meminfo`: the node's part of `/proc/meminfo`.
fn node_meminfo(m: &MemInfo, out: &mut Text) -> Result<()> {
    let rows = [
        ("MemTotal", m.total),
        ("MemFree", m.free),
        ("MemUsed", m.total.saturating_sub(m.free)),
        ("SwapCached", m.swap_cached),
        ("Active", m.active_anon.saturating_add(m.active_file)),
        ("Inactive", m.inactive_anon.saturating_add(m.inactive_file)),
        ("Active(anon)", m.active_anon),
        ("Inactive(anon)", m.inactive_anon),
        ("Active(file)", m.active_file),
        ("Inactive(file)", m.inactive_file),
        ("Unevictable", m.unevictable),
        ("Mlocked", m.mlocked),
        ("Dirty", m.dirty),
        ("Writeback", m.writeback),
        ("FilePages", m.cached.saturating_add(m.buffers)),
        ("Mapped", m.mapped),
        ("AnonPages", m.anon_pages),
        ("Shmem", m.shmem),
        ("KernelStack", m.kernel_stack),
        ("PageTables", m.page_tables),
        ("SecPageTables", m.sec_page_tables),
        ("NFS_Unstable", m.nfs_unstable),
        ("Bounce", m.bounce),
        ("WritebackTmp", m.writeback_tmp),
        ("KReclaimable", m.kreclaimable),
        (
            "Slab",
            m.slab_reclaimable.saturating_add(m.slab_unreclaimable),
        ),
        ("SReclaimable", m.slab_reclaimable),
        ("SUnreclaim", m.slab_unreclaimable),
        ("AnonHugePages", m.anon_huge_pages),
        ("ShmemHugePages", m.shmem_huge_pages),
        ("ShmemPmdMapped", m.shmem_pmd_mapped),
        ("FileHugePages", m.file_huge_pages),
        ("FilePmdMapped", m.file_pmd_mapped),
    ];
    for (name, bytes) in rows {
        put!(
            out,
            "Node 0 {name}:{:width$} kB\n",
            bytes >> 10,
            width = 23 - name.len()
        )?;
    }
    for (name, count) in [("Total", 0), ("Free", 1), ("Surp", 3)] {
        let count = m.huge_pages.get(count).copied().unwrap_or(0);
        put!(
            out,
            "Node 0 HugePages_{name}:{count:width$}\n",
            width = 11 - name.len()
        )?;
    }
    Ok(())
}
