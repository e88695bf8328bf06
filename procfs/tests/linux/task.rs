//! [`Task`] over the host's `/proc/PID`.

use std::any::Any;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use keel_procfs::bitmap::Bitmap;
use keel_procfs::task::maps::flag_of_code;
use keel_procfs::*;

use crate::host::*;
use crate::net::HostNet;

pub struct HostTask {
    pub host: Host,
    pub tid: u32,
    pub tgid: u32,
}

impl HostTask {
    fn text(&self, file: &str) -> Result<String> {
        self.host.snapshots.text(&format!("{}/{file}", self.tid))
    }

    fn bytes(&self, file: &str) -> Result<Vec<u8>> {
        self.host
            .snapshots
            .bytes(&format!("{}/{file}", self.tid))
            .ok_or(Errno::ENOENT)
    }

    fn next_name(&self, dir: &str, from: u32) -> Option<u32> {
        let names = std::fs::read_dir(format!("/proc/{}/{dir}", self.tid)).ok()?;
        names
            .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
            .filter(|n: &u32| *n >= from)
            .min()
    }

    fn link(&self, name: &str) -> Result<Vec<u8>> {
        std::fs::read_link(format!("/proc/{}/{name}", self.tid))
            .map(|path| path.into_os_string().into_vec())
            .map_err(|_| Errno::ENOENT)
    }

    fn number<T: std::str::FromStr>(&self, file: &str) -> Result<T> {
        Ok(num(&self.text(file)?))
    }
}

const TICK: u64 = NS_PER_TICK;

fn state(letter: &str) -> State {
    [
        State::Running,
        State::Sleeping,
        State::DiskSleep,
        State::Stopped,
        State::TracingStop,
        State::Dead,
        State::Zombie,
        State::Parked,
        State::Idle,
    ]
    .into_iter()
    .find(|state| letter.starts_with(state.letter()))
    .unwrap()
}

pub fn parse_stat(text: &str) -> Stat {
    let open = text.find('(').unwrap();
    let close = text.rfind(')').unwrap();
    let w = words(&text[close + 1..]);
    let n = |i: usize| -> u64 { num(w[i]) };
    let tty: i32 = num(w[4]);
    let tty = tty as u32;
    Stat {
        pid: num(&text[..open]),
        comm: text.as_bytes()[open + 1..close].to_vec(),
        state: state(w[0]),
        ppid: num(w[1]),
        pgrp: num(w[2]),
        session: num(w[3]),
        tty: DevNo {
            major: tty >> 8 & 0xfff,
            minor: tty & 0xff | tty >> 12 & 0xfff00,
        },
        tpgid: num(w[5]),
        flags: num(w[6]),
        min_flt: n(7),
        cmin_flt: n(8),
        maj_flt: n(9),
        cmaj_flt: n(10),
        utime: n(11) * TICK,
        stime: n(12) * TICK,
        cutime: n(13) * TICK,
        cstime: n(14) * TICK,
        priority: num(w[15]),
        nice: num(w[16]),
        num_threads: n(17),
        start_time: n(19) * TICK,
        vsize: n(20),
        rss: n(21),
        rss_limit: n(22),
        start_code: n(23),
        end_code: n(24),
        start_stack: n(25),
        esp: n(26),
        eip: n(27),
        signal: n(28),
        blocked: n(29),
        sig_ignore: n(30),
        sig_catch: n(31),
        waiting: n(32) == 1,
        exit_signal: num(w[35]),
        processor: num(w[36]),
        rt_priority: num(w[37]),
        policy: num(w[38]),
        blkio_delay: n(39) * TICK,
        guest_time: n(40) * TICK,
        cguest_time: n(41) * TICK,
        start_data: n(42),
        end_data: n(43),
        start_brk: n(44),
        arg_start: n(45),
        arg_end: n(46),
        env_start: n(47),
        env_end: n(48),
        exit_code: num(w[49]),
        has_mm: n(20) > 0,
        permitted: true,
    }
}

fn mask(text: &str) -> Bitmap {
    let digits: Vec<&str> = text.split(',').collect();
    let bits = (digits.len() as u32 - 1) * 32 + digits[0].len() as u32 * 4;
    let chunks: Vec<u64> = digits.iter().rev().map(|d| hex(d)).collect();
    let words = chunks
        .chunks(2)
        .map(|c| c[0] | c.get(1).copied().unwrap_or(0) << 32)
        .collect();
    Bitmap { words, bits }
}

fn list<T: std::str::FromStr>(text: &str) -> Vec<T> {
    words(text).into_iter().map(num).collect()
}

fn four(text: &str) -> [u32; 4] {
    list(text).try_into().unwrap()
}

pub fn parse_status(text: &str) -> Status {
    let f = fields(text);
    let kb = |name: &str| num::<u64>(f[name].trim_end_matches(" kB")) << 10;
    let leak = |name: &str| -> &'static str { f[name].to_owned().leak() };
    let queue = f["SigQ"].split_once('/').unwrap();
    Status {
        comm: f["Name"].as_bytes().to_vec(),
        umask: f.get("Umask").map(|u| u32::from_str_radix(u, 8).unwrap()),
        state: state(f["State"]),
        tgid: num(f["Tgid"]),
        ngid: num(f["Ngid"]),
        pid: num(f["Pid"]),
        ppid: num(f["PPid"]),
        tracer_pid: num(f["TracerPid"]),
        uid: four(f["Uid"]),
        gid: four(f["Gid"]),
        fd_size: num(f["FDSize"]),
        groups: list(f["Groups"]),
        ns_tgid: list(f["NStgid"]),
        ns_pid: list(f["NSpid"]),
        ns_pgid: list(f["NSpgid"]),
        ns_sid: list(f["NSsid"]),
        kthread: f.get("Kthread").map(|k| *k == "1"),
        mem: f.contains_key("VmPeak").then(|| StatusMem {
            peak: kb("VmPeak"),
            size: kb("VmSize"),
            locked: kb("VmLck"),
            pinned: kb("VmPin"),
            hwm: kb("VmHWM"),
            rss_anon: kb("RssAnon"),
            rss_file: kb("RssFile"),
            rss_shmem: kb("RssShmem"),
            data: kb("VmData"),
            stack: kb("VmStk"),
            exe: kb("VmExe"),
            lib: kb("VmLib"),
            page_tables: kb("VmPTE"),
            swap: kb("VmSwap"),
            hugetlb: kb("HugetlbPages"),
            core_dumping: f["CoreDumping"] == "1",
            thp_enabled: f["THP_enabled"] == "1",
            untag_mask: f.get("untag_mask").map(|m| hex(m)),
        }),
        threads: num(f["Threads"]),
        sig_queued: num(queue.0),
        sig_limit: num(queue.1),
        sig_pending: hex(f["SigPnd"]),
        shared_pending: hex(f["ShdPnd"]),
        sig_blocked: hex(f["SigBlk"]),
        sig_ignored: hex(f["SigIgn"]),
        sig_caught: hex(f["SigCgt"]),
        cap_inheritable: hex(f["CapInh"]),
        cap_permitted: hex(f["CapPrm"]),
        cap_effective: hex(f["CapEff"]),
        cap_bounding: hex(f["CapBnd"]),
        cap_ambient: hex(f["CapAmb"]),
        no_new_privs: f["NoNewPrivs"] == "1",
        seccomp: f
            .get("Seccomp")
            .map(|mode| (num(mode), num(f["Seccomp_filters"]))),
        store_bypass: leak("Speculation_Store_Bypass"),
        indirect_branch: leak("SpeculationIndirectBranch"),
        cpus_allowed: mask(f["Cpus_allowed"]),
        mems_allowed: mask(f["Mems_allowed"]),
        voluntary_switches: num(f["voluntary_ctxt_switches"]),
        involuntary_switches: num(f["nonvoluntary_ctxt_switches"]),
    }
}

/// One line of maps; the name is what stands after column 73.
fn parse_vma(line: &str) -> Vma<'_> {
    let w: Vec<&str> = line.splitn(6, ' ').collect();
    let (start, end) = w[0].split_once('-').unwrap();
    let mut flags = VmaFlags::empty();
    for (letter, flag) in [
        ('r', VmaFlags::READ),
        ('w', VmaFlags::WRITE),
        ('x', VmaFlags::EXEC),
        ('s', VmaFlags::SHARED),
    ] {
        flags.set(flag, w[1].contains(letter));
    }
    let name = w[5].trim_start();
    let name = match name {
        "" => VmaName::None,
        _ if name.starts_with("[anon:") => VmaName::Anon(&name.as_bytes()[6..name.len() - 1]),
        _ if name.starts_with('[') => VmaName::Special(name.to_owned().leak()),
        _ => VmaName::Path(name.as_bytes()),
    };
    Vma {
        start: hex(start),
        end: hex(end),
        flags,
        offset: hex(w[2]),
        dev: dev(w[3], 16),
        ino: num(w[4]),
        name,
        ..Vma::default()
    }
}

fn parse_usage(f: &std::collections::HashMap<&str, &str>) -> VmaUsage {
    let kb = |name: &str| {
        f.get(name)
            .map_or(0, |value| num::<u64>(value.trim_end_matches(" kB")) << 10)
    };
    VmaUsage {
        kernel_page_size: kb("KernelPageSize"),
        mmu_page_size: kb("MMUPageSize"),
        rss: kb("Rss"),
        pss: kb("Pss"),
        pss_dirty: kb("Pss_Dirty"),
        pss_anon: kb("Pss_Anon"),
        pss_file: kb("Pss_File"),
        pss_shmem: kb("Pss_Shmem"),
        shared_clean: kb("Shared_Clean"),
        shared_dirty: kb("Shared_Dirty"),
        private_clean: kb("Private_Clean"),
        private_dirty: kb("Private_Dirty"),
        referenced: kb("Referenced"),
        anonymous: kb("Anonymous"),
        ksm: f.get("KSM").map(|_| kb("KSM")),
        lazy_free: kb("LazyFree"),
        anon_huge_pages: kb("AnonHugePages"),
        shmem_pmd_mapped: kb("ShmemPmdMapped"),
        file_pmd_mapped: kb("FilePmdMapped"),
        shared_hugetlb: kb("Shared_Hugetlb"),
        private_hugetlb: kb("Private_Hugetlb"),
        swap: kb("Swap"),
        swap_pss: kb("SwapPss"),
        locked: kb("Locked"),
        thp_eligible: f.get("THPeligible") == Some(&"1"),
        protection_key: f.get("ProtectionKey").map(|key| num(key)),
    }
}

/// smaps_rollup as a range and its sums.
pub fn parse_rollup(text: &str) -> (u64, u64, VmaUsage) {
    let (first, rest) = text.split_once('\n').unwrap();
    let vma = parse_vma(first);
    (vma.start, vma.end, parse_usage(&fields(rest)))
}

pub fn parse_mounts(text: &str) -> Vec<Mount> {
    text.lines()
        .map(|line| {
            let (own, fs) = line.split_once(" - ").unwrap();
            let w: Vec<&str> = own.split(' ').collect();
            let fs: Vec<&str> = fs.splitn(3, ' ').collect();
            let tag = |name: &str| {
                w[6..]
                    .iter()
                    .find_map(|word| word.strip_prefix(name))
                    .map(num)
            };
            Mount {
                id: num(w[0]),
                parent: num(w[1]),
                dev: dev(w[2], 10),
                root: unescape(w[3]),
                point: unescape(w[4]),
                options: w[5].to_owned(),
                shared: tag("shared:"),
                master: tag("master:"),
                propagate_from: tag("propagate_from:"),
                unbindable: w[6..].contains(&"unbindable"),
                fs_type: String::from_utf8(unescape(fs[0])).unwrap(),
                source: Some(unescape(fs[1])),
                super_options: fs[2].to_owned(),
                stats: None,
            }
        })
        .collect()
}

fn parse_sched(text: &str) -> Sched {
    let f = fields(text);
    let ns = |name: &str| -> i128 {
        let (ms, rest) = f[name].split_once('.').unwrap();
        num::<i128>(ms) * 1_000_000 + num::<i128>(rest)
    };
    let threads = text
        .split_once("#threads: ")
        .unwrap()
        .1
        .split_once(')')
        .unwrap()
        .0;
    let averages = f.contains_key("se.avg.load_sum").then(|| {
        [
            "load_sum",
            "runnable_sum",
            "util_sum",
            "load_avg",
            "runnable_avg",
            "util_avg",
            "last_update_time",
            "util_est",
        ]
        .map(|name| num(f[format!("se.avg.{name}").as_str()]))
    });
    Sched {
        threads: num(threads),
        exec_start: ns("se.exec_start") as u64,
        vruntime: ns("se.vruntime") as i64,
        sum_exec_runtime: ns("se.sum_exec_runtime") as u64,
        migrations: num(f["se.nr_migrations"]),
        switches: num(f["nr_switches"]),
        voluntary: num(f["nr_voluntary_switches"]),
        involuntary: num(f["nr_involuntary_switches"]),
        load_weight: num(f["se.load.weight"]),
        averages,
        policy: num(f["policy"]),
        prio: num(f["prio"]),
        slice: f.get("se.slice").map(|s| num(s)),
        clock_delta: num(f["clock-delta"]),
    }
}

impl Task for HostTask {
    fn tid(&self) -> u32 {
        self.tid
    }

    fn tgid(&self) -> u32 {
        self.tgid
    }

    fn alive(&self) -> bool {
        std::path::Path::new(&format!("/proc/{}", self.tid)).exists()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn owner(&self) -> (u32, u32) {
        let status = parse_status(&self.text("status").unwrap());
        (status.uid[1], status.gid[1])
    }

    fn effective_ids(&self) -> (u32, u32) {
        self.owner()
    }

    fn allow(&self, _access: Access) -> Result<()> {
        Ok(())
    }

    fn next_thread(&self, from: u32) -> Option<u32> {
        self.next_name("task", from)
    }

    fn thread_count(&self) -> u32 {
        std::fs::read_dir(format!("/proc/{}/task", self.tid))
            .unwrap()
            .count() as u32
    }

    fn stat(&self, _whole: bool) -> Result<Stat> {
        Ok(parse_stat(&self.text("stat")?))
    }

    fn statm(&self) -> Result<Statm> {
        let w: Vec<u64> = list(&self.text("statm")?);
        Ok(Statm {
            size: w[0],
            resident: w[1],
            shared: w[2],
            text: w[3],
            data: w[5],
        })
    }

    fn status(&self) -> Result<Status> {
        Ok(parse_status(&self.text("status")?))
    }

    fn comm(&self) -> Result<Vec<u8>> {
        let mut comm = self.bytes("comm")?;
        comm.pop();
        Ok(comm)
    }

    fn set_comm(&self, comm: &[u8]) -> Result<()> {
        std::fs::write(format!("/proc/{}/comm", self.tid), comm).map_err(|_| Errno::EINVAL)
    }

    fn cmdline(&self, out: &mut Text) -> Result<()> {
        out.bytes(&self.bytes("cmdline")?)
    }

    fn environ(&self, out: &mut Text) -> Result<()> {
        out.bytes(&self.bytes("environ")?)
    }

    fn auxv(&self, out: &mut Text) -> Result<()> {
        out.bytes(&self.bytes("auxv")?)
    }

    fn path(&self, link: TaskLink) -> Result<Vec<u8>> {
        self.link(match link {
            TaskLink::Exe => "exe",
            TaskLink::Cwd => "cwd",
            TaskLink::Root => "root",
        })
    }

    fn vmas(&self, visit: &mut dyn FnMut(&Vma<'_>) -> Result<()>) -> Result<()> {
        self.text("maps")?
            .lines()
            .try_for_each(|line| visit(&parse_vma(line)))
    }

    fn smaps(&self, visit: &mut dyn FnMut(&Vma<'_>, &VmaUsage) -> Result<()>) -> Result<()> {
        let text = self.text("smaps")?;
        let mut lines = text.lines().peekable();
        while let Some(first) = lines.next() {
            let mut vma = parse_vma(first);
            let mut block = Vec::new();
            // Values never begin with a digit or a small letter.
            while let Some(line) =
                lines.next_if(|l| l.starts_with(|c: char| c.is_ascii_uppercase()))
            {
                block.push(line);
            }
            let block = block.join("\n");
            let f = fields(&block);
            for code in words(f["VmFlags"]) {
                vma.flags |= flag_of_code(code).unwrap_or_else(|| panic!("flag {code}"));
            }
            visit(&vma, &parse_usage(&f))?;
        }
        Ok(())
    }

    fn mem_read(&self, _addr: u64, _out: &mut [u8]) -> Result<usize> {
        Err(Errno::EIO)
    }

    fn mem_write(&self, _addr: u64, _data: &[u8]) -> Result<usize> {
        Err(Errno::EIO)
    }

    fn next_fd(&self, from: u32) -> Option<u32> {
        self.next_name("fd", from)
    }

    fn fd_count(&self) -> u32 {
        std::fs::read_dir(format!("/proc/{}/fd", self.tid))
            .unwrap()
            .count() as u32
    }

    fn fd_path(&self, fd: u32) -> Result<Vec<u8>> {
        self.link(&format!("fd/{fd}"))
    }

    fn fd_mode(&self, fd: u32) -> Result<(bool, bool)> {
        use std::os::unix::fs::PermissionsExt;
        let path = format!("/proc/{}/fd/{fd}", self.tid);
        let mode = std::fs::symlink_metadata(path)
            .map_err(|_| Errno::ENOENT)?
            .permissions()
            .mode();
        Ok((mode & 0o400 != 0, mode & 0o200 != 0))
    }

    fn fd_info(&self, fd: u32) -> Result<FdInfo> {
        let text = self.text(&format!("fdinfo/{fd}"))?;
        let f = fields(&text);
        Ok(FdInfo {
            pos: num(f["pos"]),
            flags: u32::from_str_radix(f["flags"], 8).unwrap(),
            mnt_id: num(f["mnt_id"]),
            ino: num(f["ino"]),
            locks: Vec::new(),
            extra: FdExtra::None,
        })
    }

    fn limits(&self) -> Result<[Limit; 16]> {
        let text = self.text("limits")?;
        let value = |text: &str| {
            if text == "unlimited" {
                u64::MAX
            } else {
                num(text)
            }
        };
        let limits: Vec<Limit> = text
            .lines()
            .skip(1)
            .map(|line| {
                let w = words(&line[26..]);
                Limit {
                    soft: value(w[0]),
                    hard: value(w[1]),
                }
            })
            .collect();
        Ok(limits.try_into().unwrap())
    }

    fn io(&self, _whole: bool) -> Result<IoCounters> {
        let text = self.text("io")?;
        let f = fields(&text);
        let n = |name: &str| num(f[name]);
        Ok(IoCounters {
            rchar: n("rchar"),
            wchar: n("wchar"),
            syscr: n("syscr"),
            syscw: n("syscw"),
            read_bytes: n("read_bytes"),
            write_bytes: n("write_bytes"),
            cancelled_write_bytes: n("cancelled_write_bytes"),
        })
    }

    fn mounts(&self) -> Result<Vec<Mount>> {
        Ok(parse_mounts(&self.text("mountinfo")?))
    }

    fn cgroups(&self) -> Result<Vec<CgroupPath>> {
        let text = self.text("cgroup")?;
        let parse = |line: &str| {
            let w: Vec<&str> = line.splitn(3, ':').collect();
            CgroupPath {
                hierarchy: num(w[0]),
                controllers: w[1].into(),
                path: unescape(w[2]),
            }
        };
        Ok(text.lines().map(parse).collect())
    }

    fn cpuset(&self) -> Result<Vec<u8>> {
        Ok(self.text("cpuset")?.trim().as_bytes().to_vec())
    }

    fn oom_score(&self) -> Result<u32> {
        self.number("oom_score")
    }

    fn oom_score_adj(&self) -> Result<i32> {
        self.number("oom_score_adj")
    }

    fn set_oom_score_adj(&self, _adj: i32) -> Result<()> {
        Ok(())
    }

    fn sched(&self) -> Result<Sched> {
        Ok(parse_sched(&self.text("sched")?))
    }

    fn schedstat(&self) -> Result<(u64, u64, u64)> {
        let w: Vec<u64> = list(&self.text("schedstat")?);
        Ok((w[0], w[1], w[2]))
    }

    fn wchan(&self) -> Result<Option<String>> {
        let text = self.text("wchan")?;
        Ok((text != "0").then_some(text))
    }

    fn stack(&self) -> Result<Vec<String>> {
        let text = self.text("stack")?;
        Ok(text
            .lines()
            .map(|line| line.trim_start_matches("[<0>] ").to_owned())
            .collect())
    }

    fn syscall(&self) -> Result<SyscallState> {
        let text = self.text("syscall")?;
        let w = words(&text);
        Ok(match w[0] {
            "running" => SyscallState::Running,
            "-1" => SyscallState::Blocked {
                sp: hex(w[1]),
                pc: hex(w[2]),
            },
            nr => SyscallState::Call {
                nr: num(nr),
                args: std::array::from_fn(|i| hex(w[i + 1])),
                sp: hex(w[7]),
                pc: hex(w[8]),
            },
        })
    }

    fn personality(&self) -> Result<u32> {
        Ok(hex(&self.text("personality")?) as u32)
    }

    fn audit(&self) -> Result<(u32, u32)> {
        Ok((self.number("loginuid")?, self.number("sessionid")?))
    }

    fn timer_slack(&self) -> Result<u64> {
        self.number("timerslack_ns")
    }

    fn set_timer_slack(&self, _ns: u64) -> Result<()> {
        Ok(())
    }

    fn coredump_filter(&self) -> Result<u32> {
        Ok(hex(&self.text("coredump_filter")?) as u32)
    }

    fn autogroup(&self) -> Result<(u64, i32)> {
        let text = self.text("autogroup")?;
        let (id, nice) = text
            .trim_start_matches("/autogroup-")
            .split_once(" nice ")
            .unwrap();
        Ok((num(id), num(nice)))
    }

    fn id_map(&self, map: IdMap) -> Result<Vec<IdMapping>> {
        let text = self.text(match map {
            IdMap::Uid => "uid_map",
            IdMap::Gid => "gid_map",
            IdMap::Projid => "projid_map",
        })?;
        let parse = |line: &str| {
            let w: Vec<u32> = list(line);
            IdMapping {
                inside: w[0],
                outside: w[1],
                count: w[2],
            }
        };
        Ok(text.lines().map(parse).collect())
    }

    fn setgroups_allowed(&self) -> Result<bool> {
        Ok(self.text("setgroups")?.trim() == "allow")
    }

    fn time_offsets(&self) -> Result<[(i64, i64); 2]> {
        let text = self.text("timens_offsets")?;
        let mut lines = text.lines().map(|line| {
            let w = words(line);
            (num(w[1]), num(w[2]))
        });
        Ok([lines.next().unwrap(), lines.next().unwrap()])
    }

    fn posix_timers(&self) -> Result<Vec<PosixTimer>> {
        Ok(Vec::new())
    }

    fn children(&self) -> Result<Vec<u32>> {
        Ok(list(&self.text(&format!("task/{}/children", self.tid))?))
    }

    fn namespace(&self, ns: Namespace) -> Result<u64> {
        let name = match ns {
            Namespace::Cgroup => "cgroup",
            Namespace::Ipc => "ipc",
            Namespace::Mnt => "mnt",
            Namespace::Net => "net",
            Namespace::Pid => "pid",
            Namespace::PidForChildren => "pid_for_children",
            Namespace::Time => "time",
            Namespace::TimeForChildren => "time_for_children",
            Namespace::User => "user",
            Namespace::Uts => "uts",
        };
        let link = String::from_utf8(self.link(&format!("ns/{name}"))?).unwrap();
        Ok(num(link.split_once('[').unwrap().1.trim_end_matches(']')))
    }

    fn net(&self) -> Result<Arc<dyn Net>> {
        Ok(Arc::new(HostNet {
            host: self.host.clone(),
            dir: format!("{}/net", self.tid),
        }))
    }
}
