//! The tree's own promises, on a machine made up for the purpose: inode numbers, listing in pieces, when text is made,
//! and what writing does.

use std::any::Any;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use keel_procfs::*;

/// Processes 1 (threads 1 and 7) and 40; sysctls in a table; a count of how often text was asked for.
struct Machine {
    features: Features,
    asked: AtomicU64,
    hostname: Mutex<Vec<u8>>,
    ports: Mutex<Vec<i128>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Machine {
    fn new(features: Features) -> Self {
        Machine {
            features,
            asked: AtomicU64::new(0),
            hostname: Mutex::new(b"keel".to_vec()),
            ports: Mutex::new(vec![32768, 60999]),
            log: Arc::default(),
        }
    }

    fn node(&self, path: &str) -> Result<Node> {
        path.split('/')
            .filter(|name| !name.is_empty())
            .try_fold(Node::root(), |node, name| {
                node.lookup(self, name.as_bytes())
            })
    }

    fn text(&self, path: &str) -> Result<String> {
        let mut text = Text::new();
        self.node(path)?.read(self, &mut text)?;
        Ok(String::from_utf8(text.into_vec()).unwrap())
    }

    fn write(&self, path: &str, data: &str) -> Result<usize> {
        Handle::open(self, &self.node(path)?)?.write_at(self, 0, data.as_bytes())
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl System for Machine {
    fn features(&self) -> Features {
        self.features
    }

    fn current(&self) -> Option<(u32, u32)> {
        Some((1, 7))
    }

    fn task(&self, tid: u32) -> Option<Arc<dyn Task>> {
        let tgid = match tid {
            1 | 7 => 1,
            40 => 40,
            _ => return None,
        };
        Some(Arc::new(Thread {
            tid,
            tgid,
            log: self.log.clone(),
        }))
    }

    fn next_process(&self, from: u32) -> Option<u32> {
        [1, 40].into_iter().find(|pid| *pid >= from)
    }

    fn process_count(&self) -> u32 {
        2
    }

    fn meminfo(&self) -> MemInfo {
        MemInfo::default()
    }

    fn cpu_stat(&self) -> CpuStat {
        CpuStat::default()
    }

    fn uptime(&self) -> Uptime {
        Uptime {
            up: self.asked.fetch_add(1, Ordering::Relaxed) * 1_000_000_000,
            idle: 0,
        }
    }

    fn loadavg(&self) -> LoadAvg {
        LoadAvg::default()
    }

    fn version(&self) -> String {
        "Keel".into()
    }

    fn cmdline(&self) -> Vec<u8> {
        b"root=/dev/vda".to_vec()
    }

    fn cpuinfo(&self) -> Vec<CpuInfo> {
        Vec::new()
    }

    fn filesystems(&self) -> Vec<FsType> {
        Vec::new()
    }

    fn devices(&self) -> Devices {
        Devices::default()
    }

    fn consoles(&self) -> Vec<Console> {
        Vec::new()
    }

    fn interrupts(&self) -> Interrupts {
        Interrupts::default()
    }

    fn softirqs(&self) -> SoftIrqs {
        SoftIrqs::default()
    }

    fn irqs(&self) -> Vec<u32> {
        vec![4, 24]
    }

    fn irq(&self, irq: u32) -> Result<IrqInfo> {
        if self.irqs().contains(&irq) {
            Ok(IrqInfo::default())
        } else {
            Err(Errno::ENOENT)
        }
    }

    fn sysctl_get(&self, ctl: Ctl, device: Option<&[u8]>) -> Option<CtlValue> {
        match ctl {
            Ctl::KernelHostname => Some(CtlValue::text(&self.hostname.lock().unwrap())),
            Ctl::NetIpv4IpLocalPortRange => {
                Some(CtlValue::Ints(self.ports.lock().unwrap().clone()))
            }
            Ctl::NetIpv4ConfEachForwarding => device.map(|name| CtlValue::int(name.len() as i64)),
            Ctl::VmDropCaches => Some(CtlValue::int(0)),
            _ => None,
        }
    }

    fn sysctl_set(&self, ctl: Ctl, device: Option<&[u8]>, value: CtlValue) -> Result<()> {
        match (ctl, &value) {
            (Ctl::KernelHostname, CtlValue::Text(text)) => {
                *self.hostname.lock().unwrap() = text.clone()
            }
            (Ctl::NetIpv4IpLocalPortRange, CtlValue::Ints(v)) => {
                *self.ports.lock().unwrap() = v.clone()
            }
            _ => self
                .log
                .lock()
                .unwrap()
                .push(format!("{ctl:?} {device:?} {value:?}")),
        }
        Ok(())
    }

    fn net_devices(&self) -> Vec<Vec<u8>> {
        vec![b"all".to_vec(), b"default".to_vec(), b"eth0".to_vec()]
    }
}

struct Thread {
    tid: u32,
    tgid: u32,
    log: Arc<Mutex<Vec<String>>>,
}

impl Thread {
    fn note(&self, what: String) -> Result<()> {
        self.log.lock().unwrap().push(what);
        Ok(())
    }
}

const FDS: [u32; 3] = [0, 2, 250];

impl Task for Thread {
    fn tid(&self) -> u32 {
        self.tid
    }

    fn tgid(&self) -> u32 {
        self.tgid
    }

    fn alive(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn owner(&self) -> (u32, u32) {
        (0, 0)
    }

    fn effective_ids(&self) -> (u32, u32) {
        (1000, 1000)
    }

    /// Process 40 is somebody else's.
    fn allow(&self, _access: Access) -> Result<()> {
        if self.tgid == 40 {
            Err(Errno::EACCES)
        } else {
            Ok(())
        }
    }

    fn next_thread(&self, from: u32) -> Option<u32> {
        let threads: &[u32] = if self.tgid == 1 { &[1, 7] } else { &[40] };
        threads.iter().copied().find(|tid| *tid >= from)
    }

    fn thread_count(&self) -> u32 {
        2
    }

    fn stat(&self, whole: bool) -> Result<Stat> {
        let utime = if whole { 30_000_000 } else { 10_000_000 };
        Ok(Stat {
            pid: self.tid,
            comm: b"a) b".to_vec(),
            utime,
            ..Stat::default()
        })
    }

    fn statm(&self) -> Result<Statm> {
        Ok(Statm::default())
    }

    fn status(&self) -> Result<Status> {
        Ok(Status {
            comm: b"a\nb\\".to_vec(),
            groups: vec![4, 27],
            ..Status::default()
        })
    }

    fn comm(&self) -> Result<Vec<u8>> {
        Ok(b"init".to_vec())
    }

    fn set_comm(&self, comm: &[u8]) -> Result<()> {
        self.note(format!("comm {}", String::from_utf8_lossy(comm)))
    }

    fn cmdline(&self, out: &mut Text) -> Result<()> {
        out.bytes(b"init\0")
    }

    fn environ(&self, out: &mut Text) -> Result<()> {
        out.bytes(b"A=1\0")
    }

    fn auxv(&self, _out: &mut Text) -> Result<()> {
        Ok(())
    }

    fn path(&self, _link: TaskLink) -> Result<Vec<u8>> {
        Ok(b"/".to_vec())
    }

    fn vmas(&self, visit: &mut dyn FnMut(&Vma<'_>) -> Result<()>) -> Result<()> {
        for (start, name) in [
            (0x1000, VmaName::Path(b"/bin/a\nb")),
            (0x5000, VmaName::None),
        ] {
            visit(&Vma {
                start,
                end: start + 0x1000,
                name,
                ..Vma::default()
            })?;
        }
        Ok(())
    }

    fn mem_read(&self, _addr: u64, _out: &mut [u8]) -> Result<usize> {
        Err(Errno::EIO)
    }

    fn mem_write(&self, _addr: u64, _data: &[u8]) -> Result<usize> {
        Err(Errno::EIO)
    }

    fn pagemap(&self, first: u64, out: &mut [u64]) -> Result<usize> {
        for (slot, page) in out.iter_mut().zip(first..) {
            *slot = page << 8;
        }
        Ok(out.len())
    }

    fn clear_refs(&self, what: u32) -> Result<()> {
        self.note(format!("clear_refs {what}"))
    }

    fn next_fd(&self, from: u32) -> Option<u32> {
        FDS.into_iter().find(|fd| *fd >= from)
    }

    fn fd_count(&self) -> u32 {
        3
    }

    fn fd_path(&self, fd: u32) -> Result<Vec<u8>> {
        Ok(format!("pipe:[{fd}]").into_bytes())
    }

    fn fd_mode(&self, fd: u32) -> Result<(bool, bool)> {
        Ok((fd != 2, fd != 0))
    }

    fn fd_info(&self, _fd: u32) -> Result<FdInfo> {
        Ok(FdInfo::default())
    }

    fn limits(&self) -> Result<[Limit; 16]> {
        Ok([Limit::default(); 16])
    }

    fn mounts(&self) -> Result<Vec<Mount>> {
        let mount = |options: &str, super_options: &str| Mount {
            point: b"/a b".to_vec(),
            options: options.into(),
            fs_type: "tmpfs".into(),
            super_options: super_options.into(),
            ..Mount::default()
        };
        Ok(vec![
            mount("ro,nosuid,relatime", "rw,size=1k"),
            mount("rw,relatime", "ro"),
            mount("rw,noatime", "rw,sync,lazytime,mode=755"),
        ])
    }

    fn oom_score(&self) -> Result<u32> {
        Ok(0)
    }

    fn oom_score_adj(&self) -> Result<i32> {
        Ok(-1000)
    }

    fn set_oom_score_adj(&self, adj: i32) -> Result<()> {
        self.note(format!("oom {adj}"))
    }

    fn wchan(&self) -> Result<Option<String>> {
        Ok(None)
    }

    fn personality(&self) -> Result<u32> {
        Ok(0)
    }

    fn timer_slack(&self) -> Result<u64> {
        Ok(50_000)
    }

    fn set_timer_slack(&self, ns: u64) -> Result<()> {
        self.note(format!("slack {ns}"))
    }

    fn set_id_map(&self, map: IdMap, lines: &[IdMapping]) -> Result<()> {
        self.note(format!("{map:?} {lines:?}"))
    }
}

fn list(sys: &Machine, node: &Node, from: u64) -> Vec<(String, u64, FileType, u64)> {
    let mut names = Vec::new();
    node.readdir(sys, from, &mut |e| {
        names.push((
            String::from_utf8(e.name.to_vec()).unwrap(),
            e.ino,
            e.kind,
            e.next,
        ));
        true
    })
    .unwrap();
    names
}

#[test]
fn inode_numbers_are_unique_and_listings_agree_with_lookups() {
    let sys = Machine::new(Features::all());
    let mut seen = HashSet::from([Node::root().ino()]);
    let mut dirs = vec![(String::from("/proc"), Node::root())];
    while let Some((path, dir)) = dirs.pop() {
        let names = list(&sys, &dir, 0);
        for (name, ino, kind, _) in &names {
            let node = dir.lookup(&sys, name.as_bytes()).unwrap();
            assert_eq!(
                (node.ino(), node.file_type()),
                (*ino, *kind),
                "{path}/{name}"
            );
            assert!(seen.insert(*ino), "{path}/{name}: inode {ino:#x} is taken");
            assert!(node.valid(&sys), "{path}/{name}");
            let attr = node.attr(&sys).unwrap();
            assert_eq!((attr.ino, attr.mode & 0o170000), (*ino, kind.mode()));
            let foreign = path.starts_with("/proc/40");
            if *kind == FileType::Directory && !(foreign && name == "map_files") {
                dirs.push((format!("{path}/{name}"), node));
            }
        }
        // Going on after any name gives the rest.
        for (index, (.., next)) in names.iter().enumerate() {
            assert_eq!(
                list(&sys, &dir, *next),
                names[index + 1..],
                "{path} from {next}"
            );
        }
    }
    assert!(seen.len() > 300, "{}", seen.len());
}

#[test]
fn files_without_their_feature_do_not_exist() {
    let sys = Machine::new(Features::empty());
    for path in [
        "kmsg", "modules", "net", "sys", "irq", "1/ns", "1/io", "1/smaps", "1/net",
    ] {
        assert_eq!(sys.node(path).unwrap_err(), Errno::ENOENT, "{path}");
    }
    let names = list(&sys, &Node::root(), 0);
    assert!(names.iter().all(|(name, ..)| name != "kmsg"));
    assert!(names.iter().any(|(name, ..)| name == "meminfo"));
    assert_eq!(sys.node("01").unwrap_err(), Errno::ENOENT);
    assert_eq!(sys.node("1/task/40").unwrap_err(), Errno::ENOENT);
    assert_eq!(sys.node("99").unwrap_err(), Errno::ENOENT);
    assert_eq!(sys.node("meminfo/x").unwrap_err(), Errno::ENOTDIR);
    // A thread that is no leader can be found but is not listed.
    assert!(sys.node("7").is_ok());
}

#[test]
fn text_is_made_at_offset_zero_only() {
    let sys = Machine::new(Features::empty());
    let mut file = Handle::open(&sys, &sys.node("uptime").unwrap()).unwrap();
    let mut two = [0; 2];
    assert_eq!(file.read_at(&sys, 0, &mut two), Ok(2));
    assert_eq!(&two, b"0.");
    assert_eq!(file.read_at(&sys, 2, &mut two), Ok(2));
    assert_eq!(sys.asked.load(Ordering::Relaxed), 1);
    assert_eq!(file.read_at(&sys, 0, &mut two), Ok(2));
    assert_eq!(&two, b"1.");
    assert_eq!(file.read_at(&sys, 1000, &mut two), Ok(0));
    assert_eq!(file.read_at(&sys, u64::MAX, &mut two), Ok(0));
}

#[test]
fn figures_of_a_thread_are_its_own() {
    let sys = Machine::new(Features::empty());
    let utime = |path: &str| {
        sys.text(path)
            .unwrap()
            .rsplit(") ")
            .next()
            .unwrap()
            .split(' ')
            .nth(11)
            .unwrap()
            .to_owned()
    };
    assert_eq!(utime("1/stat"), "3");
    assert_eq!(utime("1/task/7/stat"), "1");
    assert!(sys.text("1/stat").unwrap().starts_with("1 (a) b) R 0 "));
    assert!(
        sys.text("1/status")
            .unwrap()
            .starts_with("Name:\ta\\nb\\\\\n")
    );
    assert!(sys.text("1/status").unwrap().contains("Groups:\t4 27 \n"));
}

#[test]
fn other_peoples_secrets_stay_theirs() {
    let sys = Machine::new(Features::all());
    for path in [
        "40/environ",
        "40/maps",
        "40/mem",
        "40/auxv",
        "40/fd/0",
        "40/cwd",
    ] {
        let node = sys.node(path).unwrap();
        assert_eq!(
            Handle::open(&sys, &node).err(),
            Some(Errno::EACCES),
            "{path}"
        );
    }
    assert_eq!(
        sys.node("40/exe").unwrap().readlink(&sys),
        Err(Errno::EACCES)
    );
    assert_eq!(sys.text("40/personality"), Err(Errno::EPERM));
    assert!(sys.text("40/stat").is_ok());
    // A directory that everybody may enter belongs to the process, the rest of a protected one to root.
    assert_eq!(sys.node("40").unwrap().attr(&sys).unwrap().uid, 1000);
    assert_eq!(sys.node("40/fd").unwrap().attr(&sys).unwrap().uid, 0);
}

#[test]
fn descriptors_are_links_with_the_mode_of_the_file() {
    let sys = Machine::new(Features::empty());
    let mode = |fd: u32| {
        sys.node(&format!("1/fd/{fd}"))
            .unwrap()
            .attr(&sys)
            .unwrap()
            .mode
    };
    assert_eq!(
        (mode(0), mode(2), mode(250)),
        (0o120500, 0o120300, 0o120700)
    );
    let node = sys.node("1/fd/250").unwrap();
    assert_eq!(node.readlink(&sys).unwrap(), b"pipe:[250]");
    assert_eq!(node.magic().unwrap().1, Magic::Fd(250));
    assert_eq!(sys.node("1/fd").unwrap().attr(&sys).unwrap().size, 3);
    assert_eq!(sys.node("1/fd/1").unwrap_err(), Errno::ENOENT);
}

#[test]
fn names_in_maps_and_mounts_are_escaped() {
    let sys = Machine::new(Features::all());
    let maps = sys.text("1/maps").unwrap();
    assert_eq!(maps.lines().next().unwrap().find("/bin/a\\012b"), Some(73));
    assert_eq!(
        maps.lines().nth(1).unwrap(),
        "00005000-00006000 ---p 00000000 00:00 0 "
    );
    let mounts = sys.text("1/mounts").unwrap();
    let lines: Vec<_> = mounts.lines().collect();
    assert_eq!(
        lines[0],
        "none /a\\040b tmpfs ro,nosuid,relatime,size=1k 0 0"
    );
    assert_eq!(lines[1], "none /a\\040b tmpfs ro,relatime 0 0");
    assert_eq!(
        lines[2],
        "none /a\\040b tmpfs rw,sync,lazytime,noatime,mode=755 0 0"
    );
    assert!(sys.node("1/mounts").unwrap().polls_mounts());
    let link = sys.node("1/map_files/1000-2000").unwrap();
    assert_eq!(link.readlink(&sys).unwrap(), b"/bin/a\nb");
    assert_eq!(
        sys.node("1/map_files/5000-6000").unwrap_err(),
        Errno::ENOENT
    );
}

#[test]
fn pagemap_reads_whole_entries() {
    let sys = Machine::new(Features::all());
    let mut file = Handle::open(&sys, &sys.node("1/pagemap").unwrap()).unwrap();
    let mut out = [0; 16];
    assert_eq!(file.read_at(&sys, 8 * 5, &mut out), Ok(16));
    assert_eq!(out[..8], (5u64 << 8).to_le_bytes());
    assert_eq!(out[8..], (6u64 << 8).to_le_bytes());
    assert_eq!(file.read_at(&sys, 4, &mut out), Err(Errno::EINVAL));
    let mut many = vec![0; 8 * 1500];
    assert_eq!(file.read_at(&sys, 0, &mut many), Ok(8 * 1500));
    assert_eq!(many[8 * 1499..], (1499u64 << 8).to_le_bytes());
}

#[test]
fn values_of_a_task_are_checked_before_they_are_set() {
    let sys = Machine::new(Features::all());
    assert_eq!(sys.write("1/comm", "a-very-long-name-indeed"), Ok(23));
    assert_eq!(sys.log(), ["comm a-very-long-nam"]);
    assert_eq!(sys.write("1/oom_score_adj", "-17\n"), Ok(4));
    assert_eq!(sys.write("1/oom_adj", "15"), Ok(2));
    assert_eq!(sys.log(), ["oom -17", "oom 1000"]);
    assert_eq!(sys.text("1/oom_adj").unwrap(), "-17\n");
    for bad in ["1001", "-1001", "", "x", "1 2"] {
        assert_eq!(
            sys.write("1/oom_score_adj", bad),
            Err(Errno::EINVAL),
            "{bad:?}"
        );
    }
    assert_eq!(
        sys.write("1/oom_score_adj", "99999999999999999999"),
        Err(Errno::ERANGE)
    );
    assert_eq!(sys.write("1/clear_refs", "4"), Ok(1));
    assert_eq!(sys.write("1/clear_refs", "6"), Err(Errno::EINVAL));
    assert_eq!(sys.write("1/uid_map", "0 1000 1\n1 2000 5\n"), Ok(18));
    assert_eq!(sys.log().len(), 2);
    for bad in ["", "0 0", "0 0 0", "0 0 1 1", "0 4294967295 2", "a b c"] {
        assert_eq!(sys.write("1/uid_map", bad), Err(Errno::EINVAL), "{bad:?}");
    }
    assert_eq!(sys.write("1/stat", "x"), Err(Errno::EIO));
    assert!(sys.log().is_empty());
}

#[test]
fn sysctls_are_typed() {
    let sys = Machine::new(Features::all());
    assert_eq!(sys.text("sys/kernel/hostname").unwrap(), "keel\n");
    assert_eq!(sys.write("sys/kernel/hostname", "new name\nrest"), Ok(13));
    assert_eq!(sys.text("sys/kernel/hostname").unwrap(), "new name\n");
    assert_eq!(
        sys.text("sys/net/ipv4/ip_local_port_range").unwrap(),
        "32768\t60999\n"
    );
    assert_eq!(
        sys.write("sys/net/ipv4/ip_local_port_range", " 1024\n"),
        Ok(6)
    );
    assert_eq!(
        sys.text("sys/net/ipv4/ip_local_port_range").unwrap(),
        "1024\t60999\n"
    );
    assert_eq!(
        sys.write("sys/net/ipv4/ip_local_port_range", "0x400 0100"),
        Ok(10)
    );
    assert_eq!(
        sys.text("sys/net/ipv4/ip_local_port_range").unwrap(),
        "1024\t64\n"
    );
    for bad in ["0", "65536", "x", "1 y", "--1", "+1"] {
        let result = sys.write("sys/net/ipv4/ip_local_port_range", bad);
        assert_eq!(result, Err(Errno::EINVAL), "{bad:?}");
    }
    assert_eq!(
        sys.text("sys/net/ipv4/conf/eth0/forwarding").unwrap(),
        "4\n"
    );
    assert_eq!(sys.write("sys/net/ipv4/conf/all/forwarding", "1"), Ok(1));
    assert_eq!(sys.log().len(), 1);
    assert_eq!(
        sys.node("sys/net/ipv4/conf/wlan0").unwrap_err(),
        Errno::ENOENT
    );
    // Directories without any value that this kernel has are not there.
    assert_eq!(sys.node("sys/fs").unwrap_err(), Errno::ENOENT);
    assert_eq!(
        sys.node("sys/vm/drop_caches")
            .unwrap()
            .attr(&sys)
            .unwrap()
            .mode,
        0o100200
    );
    let names: Vec<_> = list(&sys, &sys.node("sys").unwrap(), 0)
        .into_iter()
        .map(|n| n.0)
        .collect();
    assert_eq!(names, ["kernel", "net", "vm"]);
}
