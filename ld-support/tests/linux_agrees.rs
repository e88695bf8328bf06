//! Runs whole and broken executables on the Linux that the tests run on and holds the plans of this crate against
//! what it does: the errno of execve, a kill, or the exit status of a program that reads its own memory.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{CODE_OFFSET, Case, Random, TestElf};
use keel_ld_support::elf::{ElfType, HEAD_SIZE, Kill, LoadPlan, Prot};
use keel_ld_support::{Errno, PAGE_SIZE, TASK_SIZE, page_down};

/// What execve makes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// execve returned this.
    Refused(i32),
    /// SIGSEGV, from the loader or because the first instructions cannot run.
    Killed,
    /// SIGBUS: the program ran into a page beyond its file's end.
    Bus,
    /// The program ran.
    Exited(i32),
    /// Something runs, but not the code that this test knows.
    Unknown,
}

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keel-ld-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    fn add(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What Linux does. ETXTBSY is tried again: another test's fork may still hold the file open for writing.
fn linux(path: &Path) -> Outcome {
    loop {
        match Command::new(path)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
        {
            Err(e) if e.raw_os_error() == Some(libc_errno::ETXTBSY) => continue,
            Err(e) => return Outcome::Refused(e.raw_os_error().unwrap()),
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => return Outcome::Exited(code),
                (None, Some(libc_errno::SIGSEGV)) => return Outcome::Killed,
                (None, Some(libc_errno::SIGBUS)) => return Outcome::Bus,
                other => panic!("{path:?} ended with {other:?}"),
            },
        }
    }
}

mod libc_errno {
    pub const ETXTBSY: i32 = 26;
    pub const SIGBUS: i32 = 7;
    pub const SIGSEGV: i32 = 11;
}

/// The pages that plans map; one beyond its file's end has no bytes.
#[derive(Default)]
struct Memory(BTreeMap<u64, (Prot, Option<Vec<u8>>)>);

impl Memory {
    fn map(&mut self, plan: &LoadPlan, file: &[u8], bias: u64) -> Result<(), Kill> {
        for map in plan.mappings(bias)? {
            if let Some(part) = map.file {
                self.map_range(part.addr, part.len, part.prot, Some((part.offset, file)));
            }
            if let Some(zero) = map.zero {
                let page = self
                    .0
                    .get_mut(&page_down(zero.addr))
                    .and_then(|page| page.1.as_mut());
                let from = (zero.addr % PAGE_SIZE) as usize;
                page.ok_or(Kill(Errno::EFAULT))?[from..from + zero.len as usize].fill(0);
            }
            if let Some(anon) = map.anon {
                self.map_range(anon.addr, anon.len, anon.prot, None);
            }
        }
        Ok(())
    }

    fn map_range(&mut self, addr: u64, len: u64, prot: Prot, file: Option<(u64, &[u8])>) {
        assert!(len > 0 && (addr | len).is_multiple_of(PAGE_SIZE) && addr + len <= TASK_SIZE);
        // More pages than a test file has are never looked at.
        for index in 0..(len / PAGE_SIZE).min(64) {
            let mut page = vec![0; PAGE_SIZE as usize];
            let bytes = match file {
                None => Some(page),
                Some((offset, file)) => {
                    let start = usize::try_from(offset + index * PAGE_SIZE).unwrap();
                    file.get(start..)
                        .filter(|rest| !rest.is_empty())
                        .map(|rest| {
                            let len = rest.len().min(page.len());
                            page[..len].copy_from_slice(&rest[..len]);
                            page
                        })
                }
            };
            self.0.insert(addr + index * PAGE_SIZE, (prot, bytes));
        }
    }

    /// The byte at `addr` if the page's rights pass `allowed`, or how the access ends.
    fn byte(&self, addr: u64, allowed: impl Fn(Prot) -> bool) -> Result<u8, Outcome> {
        let (prot, bytes) = self.0.get(&page_down(addr)).ok_or(Outcome::Killed)?;
        if !allowed(*prot) {
            return Err(Outcome::Killed);
        }
        let bytes = bytes.as_ref().ok_or(Outcome::Bus)?;
        Ok(bytes[(addr % PAGE_SIZE) as usize])
    }

    /// Runs the two programs that [`common`] knows.
    fn run(&self, entry: u64) -> Outcome {
        self.try_run(entry).unwrap_or_else(|outcome| outcome)
    }

    fn try_run(&self, entry: u64) -> Result<Outcome, Outcome> {
        let mut code = [0; 14];
        for (index, byte) in code.iter_mut().enumerate() {
            *byte = self.byte(entry + index as u64, |prot| prot.exec)?;
        }
        if code[0] == 0xbf && code[2..12] == common::exit_code(0)[2..] {
            return Ok(Outcome::Exited(code[1].into()));
        }
        if code.starts_with(&[0x0f, 0xb6, 0x3d]) {
            let disp = i32::from_le_bytes(code[3..7].try_into().unwrap());
            let target = (entry + 7).wrapping_add_signed(disp.into());
            // Any right that x86 pages can express lets a program read.
            let byte = self.byte(target, |prot| prot.read || prot.write || prot.exec)?;
            return Ok(Outcome::Exited(byte.into()));
        }
        if code.iter().all(|byte| *byte == 0) {
            Err(Outcome::Killed)
        } else {
            Ok(Outcome::Unknown)
        }
    }
}

/// What this crate says, with a memory map of the simplest kind under it.
fn predict(path: &Path) -> Outcome {
    let file = fs::read(path).unwrap();
    match try_predict(&file) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(Kill(_))) => Outcome::Killed,
        Err(errno) => Outcome::Refused(errno.raw()),
    }
}

fn try_predict(file: &[u8]) -> Result<Result<Outcome, Kill>, Errno> {
    let plan = LoadPlan::program(&file[..file.len().min(HEAD_SIZE)], file)?;
    let interp = match &plan.interp {
        None => None,
        Some(path) => {
            let bytes = open_exec(path)?;
            Some((LoadPlan::interpreter(&bytes[..])?, bytes))
        }
    };
    Ok(load(&plan, file, interp))
}

/// The errors of opening a file for execution, as far as the cases need them.
fn open_exec(path: &[u8]) -> Result<Vec<u8>, Errno> {
    // The empty path is the working directory here, unlike for open(2).
    let path = Path::new(OsStr::from_bytes(if path.is_empty() { b"." } else { path }));
    let meta = fs::metadata(path).map_err(|_| Errno::ENOENT)?;
    if !meta.is_file() || meta.mode() & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    Ok(fs::read(path).unwrap())
}

type Interp = (Result<LoadPlan, Kill>, Vec<u8>);

fn load(plan: &LoadPlan, file: &[u8], interp: Option<Interp>) -> Result<Outcome, Kill> {
    let mut memory = Memory::default();
    let bias = match plan.elf_type {
        ElfType::Exec => 0,
        ElfType::Dyn => {
            plan.span()?;
            plan.pie_bias(0x5555_5555_4aaa)
        }
    };
    memory.map(plan, file, bias)?;
    let Some((interp, interp_file)) = interp else {
        return Ok(memory.run(plan.entry(bias)?));
    };
    let interp = interp?;
    interp.span()?;
    let interp_bias = match interp.elf_type {
        ElfType::Exec => 0,
        ElfType::Dyn => interp.bias_at(0x7f00_0000_0000),
    };
    memory.map(&interp, &interp_file, interp_bias)?;
    Ok(memory.run(interp.entry(interp_bias)?))
}

fn compare(dir: &Dir, name: &str, bytes: &[u8]) -> Option<String> {
    let path = dir.add(name, bytes);
    let (ours, linux) = (predict(&path), linux(&path));
    let same = ours == linux || ours == Outcome::Unknown && !matches!(linux, Outcome::Refused(_));
    fs::remove_file(path).unwrap();
    (!same).then(|| format!("{name}: planned {ours:?}, Linux {linux:?}"))
}

fn add_interpreters(dir: &Dir) {
    for Case { name, file } in common::interpreters() {
        dir.add(name, &file.bytes());
    }
}

#[test]
fn files_end_as_on_linux() {
    let dir = Dir::new("cases");
    add_interpreters(&dir);
    let cases = common::cases(&dir.0);
    assert!(cases.len() > 100, "only {} cases", cases.len());
    let differ: Vec<String> = cases
        .iter()
        .filter_map(|case| compare(&dir, &format!("case-{}", case.name), &case.file.bytes()))
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn changed_program_headers_end_as_on_linux() {
    // Sizes between what memory holds and the address space are left out: whether Linux grants them depends on
    // its overcommit policy, not on the ELF loader.
    const VALUES: [u64; 16] = [
        0,
        1,
        0x10,
        0x800,
        0xfff,
        0x1000,
        0x1001,
        0x2000,
        0x40_0000,
        0x40_0800,
        0x60_0010,
        0x7fff_ffff_f000,
        0x8000_0000_0000,
        i64::MAX as u64,
        1 << 63,
        u64::MAX - 0xfff,
    ];
    let dir = Dir::new("changes");
    add_interpreters(&dir);
    let bases: Vec<TestElf> = common::cases(&dir.0)
        .into_iter()
        .filter(|case| ["exec", "dyn", "data-first", "interp", "interp-pie"].contains(&case.name))
        .map(|case| case.file)
        .collect();
    let mut random = Random(0x6b65_656c);
    let mut differ = Vec::new();
    for round in 0..600 {
        let mut file = bases[random.below(bases.len())].clone();
        for _ in 0..=random.below(2) {
            let index = random.below(file.phs.len());
            let value = VALUES[random.below(VALUES.len())];
            let ph = &mut file.phs[index];
            match random.below(7) {
                0 => ph.offset = value,
                // Pages below vm.mmap_min_addr need a privilege.
                1 => {
                    ph.vaddr = if value < 0x1_0000 {
                        value + 0x1_0000
                    } else {
                        value
                    }
                }
                2 => ph.filesz = value,
                3 => ph.memsz = value,
                4 => ph.align = value,
                5 => ph.flags = value as u32 & 7,
                _ => (ph.filesz, ph.memsz) = (value, value.wrapping_add(0x123)),
            }
        }
        let name = format!("change-{round}");
        if let Some(text) = compare(&dir, &name, &file.bytes()) {
            differ.push(format!("{text}\n    {:x?}", file.phs));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn the_systems_own_programs_have_plans() {
    let file = fs::read("/proc/self/exe").unwrap();
    let plan = LoadPlan::program(&file[..HEAD_SIZE], &file[..]).unwrap();
    assert_eq!(plan.elf_type, ElfType::Dyn);
    let interp = PathBuf::from(String::from_utf8(plan.interp.clone().unwrap()).unwrap());
    let interp = fs::read(interp).unwrap();
    assert!(LoadPlan::interpreter(&interp[..]).unwrap().is_ok());

    // The marks and the bias must agree with the running process itself.
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let field = |nr: usize| fields[nr - 3].parse::<u64>().unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let first = u64::from_str_radix(maps.split('-').next().unwrap(), 16).unwrap();
    let bias = plan.bias_at(first);
    let marks = plan.marks(bias);
    let linux = (field(26), field(27), field(45), field(46));
    assert_eq!(
        (
            marks.start_code,
            marks.end_code,
            marks.start_data,
            marks.end_data
        ),
        linux
    );
    let exec = plan
        .mappings(bias)
        .unwrap()
        .into_iter()
        .filter_map(|map| map.file);
    for file in exec {
        let line = format!("{:x}-{:x} ", file.addr, file.addr + file.len);
        let start = format!("\n{:x}-", file.addr);
        assert!(
            maps.starts_with(&line) || maps.contains(&start),
            "{line} in\n{maps}"
        );
    }
    assert!(plan.entry(bias).unwrap() - bias < plan.span().unwrap().len);
    assert_eq!(CODE_OFFSET % 16, 0);
}
