//! [`System`] over the host's `/proc`.

use std::sync::Arc;

use keel_procfs::*;

use crate::host::*;
use crate::task::HostTask;

pub struct HostSystem {
    pub host: Host,
    pub features: Features,
}

impl HostSystem {
    /// Every feature whose files the host has too.
    pub fn new() -> Self {
        HostSystem {
            host: Host::default(),
            features: Features::all(),
        }
    }

    fn text(&self, file: &str) -> String {
        self.host
            .snapshots
            .text(file)
            .unwrap_or_else(|_| panic!("no /proc/{file}"))
    }

    fn lines(&self, file: &str, skip: usize) -> Vec<String> {
        self.text(file)
            .lines()
            .skip(skip)
            .map(str::to_owned)
            .collect()
    }

    fn resources(&self, file: &str) -> Vec<Resource> {
        let parse = |line: &String| {
            let depth = (line.len() - line.trim_start().len()) as u32 / 2;
            let (range, name) = line.trim_start().split_once(" : ").unwrap();
            let (start, end) = range.split_once('-').unwrap();
            Resource {
                depth,
                start: hex(start),
                end: hex(end),
                name: name.to_owned(),
            }
        };
        self.lines(file, 0).iter().map(parse).collect()
    }
}

fn leak(text: &str) -> &'static str {
    text.to_owned().leak()
}

fn cents(text: &str) -> u64 {
    let (whole, rest) = text.split_once('.').unwrap();
    num::<u64>(whole) * 100 + num::<u64>(rest)
}

fn flags<const N: usize>(text: &str, off: char) -> [bool; N] {
    text.chars()
        .map(|c| c != off)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

impl System for HostSystem {
    fn features(&self) -> Features {
        self.features
    }

    fn current(&self) -> Option<(u32, u32)> {
        let link = std::fs::read_link("/proc/thread-self").unwrap();
        let text = link.to_str().unwrap();
        let (tgid, tid) = text.split_once("/task/").unwrap();
        Some((num(tgid), num(tid)))
    }

    fn task(&self, tid: u32) -> Option<Arc<dyn Task>> {
        let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
        let tgid = num(fields(&status)["Tgid"]);
        Some(Arc::new(HostTask {
            host: self.host.clone(),
            tid,
            tgid,
        }))
    }

    fn next_process(&self, from: u32) -> Option<u32> {
        let names = std::fs::read_dir("/proc").ok()?;
        names
            .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
            .filter(|n: &u32| *n >= from)
            .min()
    }

    fn process_count(&self) -> u32 {
        std::fs::read_dir("/proc")
            .unwrap()
            .filter(|e| num_name(e.as_ref().unwrap()))
            .count() as u32
    }

    fn meminfo(&self) -> MemInfo {
        let text = self.text("meminfo");
        let f = fields(&text);
        let opt = |name: &str| {
            f.get(name)
                .map(|v| num::<u64>(v.trim_end_matches(" kB")) << 10)
        };
        let kb = |name: &str| opt(name).unwrap_or_else(|| panic!("no {name}"));
        let pair = |a: &str, b: &str| opt(a).map(|a| (a, kb(b)));
        MemInfo {
            total: kb("MemTotal"),
            free: kb("MemFree"),
            available: kb("MemAvailable"),
            buffers: kb("Buffers"),
            cached: kb("Cached"),
            swap_cached: kb("SwapCached"),
            active_anon: kb("Active(anon)"),
            inactive_anon: kb("Inactive(anon)"),
            active_file: kb("Active(file)"),
            inactive_file: kb("Inactive(file)"),
            unevictable: kb("Unevictable"),
            mlocked: kb("Mlocked"),
            swap_total: kb("SwapTotal"),
            swap_free: kb("SwapFree"),
            zswap: pair("Zswap", "Zswapped"),
            dirty: kb("Dirty"),
            writeback: kb("Writeback"),
            anon_pages: kb("AnonPages"),
            mapped: kb("Mapped"),
            shmem: kb("Shmem"),
            kreclaimable: kb("KReclaimable"),
            slab_reclaimable: kb("SReclaimable"),
            slab_unreclaimable: kb("SUnreclaim"),
            kernel_stack: kb("KernelStack"),
            page_tables: kb("PageTables"),
            sec_page_tables: kb("SecPageTables"),
            nfs_unstable: kb("NFS_Unstable"),
            bounce: kb("Bounce"),
            writeback_tmp: kb("WritebackTmp"),
            commit_limit: kb("CommitLimit"),
            committed_as: kb("Committed_AS"),
            vmalloc_total: kb("VmallocTotal"),
            vmalloc_used: kb("VmallocUsed"),
            percpu: kb("Percpu"),
            hardware_corrupted: opt("HardwareCorrupted"),
            anon_huge_pages: kb("AnonHugePages"),
            shmem_huge_pages: kb("ShmemHugePages"),
            shmem_pmd_mapped: kb("ShmemPmdMapped"),
            file_huge_pages: kb("FileHugePages"),
            file_pmd_mapped: kb("FilePmdMapped"),
            cma: pair("CmaTotal", "CmaFree"),
            unaccepted: opt("Unaccepted"),
            balloon: opt("Balloon"),
            huge_pages: ["Total", "Free", "Rsvd", "Surp"]
                .map(|n| num(f[format!("HugePages_{n}").as_str()])),
            huge_page_size: kb("Hugepagesize"),
            hugetlb: kb("Hugetlb"),
            direct_map_4k: kb("DirectMap4k"),
            direct_map_2m: kb("DirectMap2M"),
            direct_map_1g: opt("DirectMap1G"),
        }
    }

    fn cpu_stat(&self) -> CpuStat {
        let text = self.text("stat");
        let values = |name: &str| -> Vec<u64> {
            let line = text.lines().find(|line| words(line)[0] == name).unwrap();
            words(line)[1..].iter().map(|v| num(v)).collect()
        };
        let cpu = |line: &str| {
            let number = num(words(line)[0].trim_start_matches("cpu"));
            let v: Vec<u64> = words(line)[1..]
                .iter()
                .map(|v| num::<u64>(v) * NS_PER_TICK)
                .collect();
            CpuTimes {
                cpu: number,
                user: v[0],
                nice: v[1],
                system: v[2],
                idle: v[3],
                iowait: v[4],
                irq: v[5],
                softirq: v[6],
                steal: v[7],
                guest: v[8],
                guest_nice: v[9],
            }
        };
        let per_cpu = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
        let mut cpus: Vec<CpuTimes> = text.lines().filter(per_cpu).map(cpu).collect();
        // Linux adds before it rounds down: what the sum has more is spread over the CPUs, less than a tick each.
        let fractions: Vec<u64> = (0..10)
            .map(|column| {
                let sum: u64 = cpus.iter().map(|c| columns(c)[column] / NS_PER_TICK).sum();
                (values("cpu")[column] - sum) * NS_PER_TICK / cpus.len() as u64
            })
            .collect();
        for cpu in &mut cpus {
            cpu.user += fractions[0];
            cpu.nice += fractions[1];
            cpu.system += fractions[2];
            cpu.idle += fractions[3];
            cpu.iowait += fractions[4];
            cpu.irq += fractions[5];
            cpu.softirq += fractions[6];
            cpu.steal += fractions[7];
            cpu.guest += fractions[8];
            cpu.guest_nice += fractions[9];
        }
        CpuStat {
            cpus,
            intr_total: values("intr")[0],
            intr: values("intr")[1..].to_vec(),
            context_switches: values("ctxt")[0],
            boot_time: values("btime")[0],
            forks: values("processes")[0],
            running: values("procs_running")[0],
            blocked: values("procs_blocked")[0],
            softirqs: values("softirq")[1..].try_into().unwrap(),
        }
    }

    fn uptime(&self) -> Uptime {
        let text = self.text("uptime");
        let w = words(&text);
        Uptime {
            up: cents(w[0]) * NS_PER_TICK,
            idle: cents(w[1]) * NS_PER_TICK,
        }
    }

    fn loadavg(&self) -> LoadAvg {
        let text = self.text("loadavg");
        let w = words(&text);
        let (running, threads) = w[3].split_once('/').unwrap();
        LoadAvg {
            average: [cents(w[0]), cents(w[1]), cents(w[2])],
            running: num(running),
            threads: num(threads),
            last_pid: num(w[4]),
        }
    }

    fn version(&self) -> String {
        self.text("version").trim_end().to_owned()
    }

    fn cmdline(&self) -> Vec<u8> {
        self.text("cmdline")
            .trim_end_matches('\n')
            .as_bytes()
            .to_vec()
    }

    fn cpuinfo(&self) -> Vec<CpuInfo> {
        let text = self.text("cpuinfo");
        text.split_terminator("\n\n").map(parse_cpu).collect()
    }

    fn filesystems(&self) -> Vec<FsType> {
        let parse = |line: &String| {
            let (nodev, name) = line.split_once('\t').unwrap();
            FsType {
                name: name.to_owned(),
                needs_device: nodev.is_empty(),
            }
        };
        self.lines("filesystems", 0).iter().map(parse).collect()
    }

    fn devices(&self) -> Devices {
        let text = self.text("devices");
        let (character, block) = text.split_once("\n\n").unwrap();
        let parse = |part: &str| {
            let line = |line: &str| {
                let (major, name) = line.trim_start().split_once(' ').unwrap();
                (num(major), name.to_owned())
            };
            part.lines().skip(1).map(line).collect()
        };
        Devices {
            character: parse(character),
            block: parse(block),
        }
    }

    fn consoles(&self) -> Vec<Console> {
        let parse = |line: &String| {
            let w = words(line);
            let open = line.find('(').unwrap();
            let can: [bool; 3] = flags(&line[open - 4..open - 1], '-');
            Console {
                name: w[0].to_owned(),
                read: can[0],
                write: can[1],
                unblank: can[2],
                flags: flags(&line[open + 1..open + 7], ' '),
                dev: Some(dev(line[open + 8..].trim(), 10)),
            }
        };
        self.lines("consoles", 0).iter().map(parse).collect()
    }

    fn interrupts(&self) -> Interrupts {
        parse_interrupts(&self.text("interrupts"))
    }

    fn softirqs(&self) -> SoftIrqs {
        let lines = self.lines("softirqs", 0);
        let counts: Vec<Vec<u64>> = lines[1..]
            .iter()
            .map(|l| words(l)[1..].iter().map(|v| num(v)).collect())
            .collect();
        SoftIrqs {
            cpus: cpus(&lines[0]),
            counts: counts.try_into().unwrap(),
        }
    }

    fn vmstat(&self) -> Vec<(&'static str, u64)> {
        let parse = |line: &String| {
            let (name, value) = line.split_once(' ').unwrap();
            (leak(name), num(value))
        };
        self.lines("vmstat", 0).iter().map(parse).collect()
    }

    fn misc(&self) -> Vec<(u32, String)> {
        let parse = |line: &String| {
            let (minor, name) = line.trim_start().split_once(' ').unwrap();
            (num(minor), name.to_owned())
        };
        self.lines("misc", 0).iter().map(parse).collect()
    }

    fn disks(&self) -> Vec<Disk> {
        let parts = self.text("partitions");
        let sectors = |name: &str| {
            parts
                .lines()
                .skip(2)
                .map(words)
                .find(|w| w[3] == name)
                .map(|w| num::<u64>(w[2]) * 2)
        };
        let parse = |line: &String| {
            let w = words(line);
            let v: Vec<u64> = w[3..].iter().map(|v| num(v)).collect();
            Disk {
                dev: DevNo {
                    major: num(w[0]),
                    minor: num(w[1]),
                },
                name: w[2].to_owned(),
                sectors: sectors(w[2]).unwrap_or(0),
                hidden: sectors(w[2]).is_none(),
                stats: DiskStats {
                    reads: v[0],
                    reads_merged: v[1],
                    read_sectors: v[2],
                    read_ms: v[3],
                    writes: v[4],
                    writes_merged: v[5],
                    written_sectors: v[6],
                    write_ms: v[7],
                    in_flight: v[8],
                    io_ms: v[9],
                    queue_ms: v[10],
                    discards: v[11],
                    discards_merged: v[12],
                    discarded_sectors: v[13],
                    discard_ms: v[14],
                    flushes: v[15],
                    flush_ms: v[16],
                },
            }
        };
        self.lines("diskstats", 0).iter().map(parse).collect()
    }

    fn swaps(&self) -> Vec<Swap> {
        let parse = |line: &String| {
            let w = words(line);
            Swap {
                path: unescape(w[0]),
                partition: w[1] == "partition",
                size: num::<u64>(w[2]) << 10,
                used: num::<u64>(w[3]) << 10,
                priority: num(w[4]),
            }
        };
        self.lines("swaps", 1).iter().map(parse).collect()
    }

    fn buddyinfo(&self) -> Vec<Zone> {
        let parse = |line: &String| {
            let w = words(line);
            Zone {
                node: num(w[1].trim_end_matches(',')),
                name: leak(w[3]),
                free: w[4..].iter().map(|v| num(v)).collect(),
            }
        };
        self.lines("buddyinfo", 0).iter().map(parse).collect()
    }

    fn slabinfo(&self) -> Vec<Slab> {
        let parse = |line: &String| {
            let w = words(line);
            Slab {
                name: w[0].to_owned(),
                active_objects: num(w[1]),
                objects: num(w[2]),
                object_size: num(w[3]),
                objects_per_slab: num(w[4]),
                pages_per_slab: num(w[5]),
                active_slabs: num(w[13]),
                slabs: num(w[14]),
            }
        };
        self.lines("slabinfo", 2).iter().map(parse).collect()
    }

    fn locks(&self) -> Vec<FileLock> {
        let parse = |line: &String| {
            let w = words(line);
            let id: Vec<&str> = w[5].split(':').collect();
            FileLock {
                kind: match (w[1], w[2]) {
                    ("POSIX", _) => LockKind::Posix,
                    ("OFDLCK", _) => LockKind::Ofd,
                    ("FLOCK", _) => LockKind::Flock,
                    (_, "BREAKING") => LockKind::LeaseBreaking,
                    _ => LockKind::Lease,
                },
                write: w[3] == "WRITE",
                pid: num(w[4]),
                dev: DevNo {
                    major: hex(id[0]) as u32,
                    minor: hex(id[1]) as u32,
                },
                ino: num(id[2]),
                start: num(w[6]),
                end: (w[7] != "EOF").then(|| num(w[7])),
                waiters: Vec::new(),
            }
        };
        self.lines("locks", 0)
            .iter()
            .filter(|line| !line.contains("->"))
            .map(parse)
            .collect()
    }

    fn tty_drivers(&self) -> Vec<TtyDriver> {
        let parse = |line: &String| {
            let w = words(line);
            let (first, last) = w[3].split_once('-').unwrap_or((w[3], w[3]));
            TtyDriver {
                driver: w[0].to_owned(),
                node: w[1].to_owned(),
                major: num(w[2]),
                minors: (num(first), num(last)),
                kind: leak(w[4]),
            }
        };
        self.lines("tty/drivers", 0).iter().map(parse).collect()
    }

    fn tty_ldiscs(&self) -> Vec<(&'static str, u32)> {
        let parse = |line: &String| {
            let w = words(line);
            (leak(w[0]), num(w[1]))
        };
        self.lines("tty/ldiscs", 0).iter().map(parse).collect()
    }

    fn cgroup_controllers(&self) -> Vec<CgroupController> {
        let parse = |line: &String| {
            let w = words(line);
            CgroupController {
                name: w[0].to_owned(),
                hierarchy: num(w[1]),
                groups: num(w[2]),
                enabled: w[3] == "1",
            }
        };
        self.lines("cgroups", 1).iter().map(parse).collect()
    }

    fn key_users(&self) -> Vec<KeyUser> {
        let parse = |line: &String| {
            let v: Vec<u32> = line
                .split([' ', ':', '/'])
                .filter_map(|w| w.parse().ok())
                .collect();
            KeyUser {
                uid: v[0],
                usage: v[1],
                keys: v[2],
                instantiated: v[3],
                quota_keys: v[4],
                max_keys: v[5],
                quota_bytes: v[6],
                max_bytes: v[7],
            }
        };
        self.lines("key-users", 0).iter().map(parse).collect()
    }

    fn keys(&self) -> Vec<Key> {
        let parse = |line: &String| {
            let w = words(line);
            let description = line
                .find(w[7])
                .map(|at| line[at + 10..].trim_start())
                .unwrap();
            Key {
                serial: hex(w[0]) as u32,
                flags: flags(w[1], '-'),
                usage: num(w[2]),
                timeout: w[3].to_owned(),
                perm: hex(w[4]) as u32,
                uid: num(w[5]),
                gid: num(w[6]),
                kind: w[7].to_owned(),
                description: description.as_bytes().to_vec(),
            }
        };
        self.lines("keys", 0).iter().map(parse).collect()
    }

    fn crypto(&self) -> Vec<Vec<(&'static str, String)>> {
        let text = self.text("crypto");
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (leak(name.trim_end()), value.to_owned())
        };
        text.split_terminator("\n\n")
            .map(|block| block.lines().map(field).collect())
            .collect()
    }

    fn iomem(&self) -> Vec<Resource> {
        self.resources("iomem")
    }

    fn ioports(&self) -> Vec<Resource> {
        self.resources("ioports")
    }

    fn dma_channels(&self) -> Vec<(u32, String)> {
        let parse = |line: &String| {
            let (channel, user) = line.split_once(": ").unwrap();
            (num(channel), user.to_owned())
        };
        self.lines("dma", 0).iter().map(parse).collect()
    }

    fn pressure(&self, resource: PressureResource) -> Result<Pressure> {
        let file = match resource {
            PressureResource::Cpu => "pressure/cpu",
            PressureResource::Io => "pressure/io",
            PressureResource::Memory => "pressure/memory",
        };
        let text = self.host.snapshots.text(file)?;
        let line = |line: &str| {
            let v: Vec<&str> = words(line)[1..]
                .iter()
                .map(|w| w.split_once('=').unwrap().1)
                .collect();
            ([cents(v[0]), cents(v[1]), cents(v[2])], num::<u64>(v[3]))
        };
        let lines: Vec<_> = text.lines().map(line).collect();
        Ok(Pressure {
            some: lines[0].0,
            some_total: lines[0].1,
            full: lines[1].0,
            full_total: lines[1].1,
        })
    }

    fn irqs(&self) -> Vec<u32> {
        let dir = std::fs::read_dir("/proc/irq").unwrap();
        let mut irqs: Vec<u32> = dir
            .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        irqs.sort_unstable();
        irqs
    }

    fn irq(&self, irq: u32) -> Result<IrqInfo> {
        if !self.irqs().contains(&irq) {
            return Err(Errno::ENOENT);
        }
        Ok(IrqInfo::default())
    }

    fn sysctl_get(&self, ctl: Ctl, device: Option<&[u8]>) -> Option<CtlValue> {
        let path = ctl
            .path()
            .replace('*', &String::from_utf8_lossy(device.unwrap_or(b"*")));
        let text = self.host.snapshots.text(&format!("sys/{path}")).ok()?;
        let line = text.trim_end_matches('\n');
        let ints: Option<Vec<i128>> = words(line).iter().map(|word| word.parse().ok()).collect();
        match ints {
            Some(ints) if !ints.is_empty() && !ctl.is_text() => Some(CtlValue::Ints(ints)),
            _ => Some(CtlValue::text(line.as_bytes())),
        }
    }

    fn net_devices(&self) -> Vec<Vec<u8>> {
        let mut names = vec![b"all".to_vec(), b"default".to_vec()];
        for entry in std::fs::read_dir("/sys/class/net").unwrap() {
            names.push(entry.unwrap().file_name().into_encoded_bytes());
        }
        names
    }
}

fn columns(t: &CpuTimes) -> [u64; 10] {
    [
        t.user,
        t.nice,
        t.system,
        t.idle,
        t.iowait,
        t.irq,
        t.softirq,
        t.steal,
        t.guest,
        t.guest_nice,
    ]
}

fn num_name(entry: &std::fs::DirEntry) -> bool {
    entry
        .file_name()
        .to_str()
        .is_some_and(|name| name.parse::<u32>().is_ok())
}

fn cpus(header: &str) -> Vec<u32> {
    words(header)
        .iter()
        .map(|cpu| num(cpu.trim_start_matches("CPU")))
        .collect()
}

fn parse_interrupts(text: &str) -> Interrupts {
    let mut lines = text.lines();
    let mut all = Interrupts {
        cpus: cpus(lines.next().unwrap()),
        ..Interrupts::default()
    };
    let n = all.cpus.len();
    for line in lines {
        let (name, rest) = line.split_once(':').unwrap();
        let w = words(rest);
        let counts: Vec<u64> = w.iter().take(n).map_while(|v| v.parse().ok()).collect();
        let name = name.trim();
        if let Ok(irq) = name.parse() {
            let (hwirq, kind) = w[n + 1].split_once('-').unwrap();
            let actions = w[n + 2..].join(" ");
            all.lines.push(IrqLine {
                irq,
                counts,
                chip: w[n].to_owned(),
                hwirq: hwirq.parse().ok(),
                level: kind == "fasteoi",
                actions: actions
                    .split(", ")
                    .filter(|a| !a.is_empty())
                    .map(str::to_owned)
                    .collect(),
            });
        } else if w.len() > n {
            let text = leak(rest[n * 11..].trim_start());
            all.arch.push((leak(name), ArchIrq::PerCpu(counts, text)));
        } else if w.len() == 1 {
            all.arch.push((leak(name), ArchIrq::Total(counts[0])));
        }
    }
    all
}

fn parse_cpu(block: &str) -> CpuInfo {
    let f = fields(block);
    let opt = |name: &str| f.get(name).map(|v| num::<u32>(v));
    let get = |name: &str| opt(name).unwrap();
    let list = |name: &str| {
        f.get(name)
            .map_or(Vec::new(), |v| words(v).into_iter().map(leak).collect())
    };
    let unit = |name: &str, unit: &str| f.get(name).map(|v| num(v.trim_end_matches(unit)));
    let (physical, virtual_) = f["address sizes"].split_once(", ").unwrap();
    CpuInfo {
        processor: get("processor"),
        vendor_id: f["vendor_id"].to_owned(),
        family: get("cpu family"),
        model: get("model"),
        model_name: f["model name"].to_owned(),
        stepping: f["stepping"].parse().ok(),
        microcode: f.get("microcode").map(|v| hex(v) as u32),
        khz: f.get("cpu MHz").map(|v| {
            let (mhz, khz) = v.split_once('.').unwrap();
            num::<u64>(mhz) * 1000 + num::<u64>(khz)
        }),
        cache_kb: unit("cache size", " KB"),
        topology: f.contains_key("physical id").then(|| CpuTopology {
            physical_id: get("physical id"),
            siblings: get("siblings"),
            core_id: get("core id"),
            cores: get("cpu cores"),
            apicid: get("apicid"),
            initial_apicid: get("initial apicid"),
        }),
        fpu: f["fpu"] == "yes",
        fpu_exception: f["fpu_exception"] == "yes",
        cpuid_level: get("cpuid level"),
        wp: f["wp"] == "yes",
        flags: list("flags"),
        vmx_flags: list("vmx flags"),
        bugs: list("bugs"),
        bogomips_hundredths: cents(f["bogomips"]),
        tlb_4k_pages: unit("TLB size", " 4K pages"),
        clflush_size: get("clflush size"),
        cache_alignment: get("cache_alignment"),
        physical_bits: num(physical.trim_end_matches(" bits physical")),
        virtual_bits: num(virtual_.trim_end_matches(" bits virtual")),
        power: list("power management"),
    }
}
