//! readelf(1) and gdb(1) read a core file made from invented threads.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use keel_ld_support::coredump::{
    CoreInputs, CorePlan, CoreSegment, MappedFile, Process, Thread, Times,
};
use keel_ld_support::elf::Prot;

const STACK: u64 = 0x7fff_ffff_0000;
const RSP: usize = 19;
const RIP: usize = 16;

struct TempFile(PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn segments(count: usize) -> Vec<CoreSegment> {
    let rw = Prot {
        read: true,
        write: true,
        exec: false,
    };
    let rx = Prot {
        read: true,
        write: false,
        exec: true,
    };
    let mut all = vec![CoreSegment {
        start: 0x40_0000,
        memsz: 0x3000,
        dumped: 0x1000,
        prot: rx,
    }];
    all.extend((0..count as u64).map(|index| CoreSegment {
        start: 0x1000_0000 + index * 0x2000,
        memsz: 0x1000,
        dumped: 0,
        prot: rw,
    }));
    all.push(CoreSegment {
        start: STACK,
        memsz: 0x2000,
        dumped: 0x2000,
        prot: rw,
    });
    all
}

/// Writes a core file of two threads; every byte of memory is 0x5a.
fn core_file(name: &str, segments: &[CoreSegment]) -> TempFile {
    let mut regs = [0; 27];
    for (index, reg) in regs.iter_mut().enumerate() {
        *reg = 0x1111 * (index as u64 + 1);
    }
    (regs[RIP], regs[RSP]) = (0x40_0123, STACK + 0x100);
    let mut other = regs;
    other[RIP] = 0x40_0456;
    let fpregs = [0; 512];
    let xstate = [0; 832];
    let times = Times {
        user: (1, 2),
        system: (3, 4),
        ..Times::default()
    };
    let thread = |tid, regs| Thread {
        tid,
        pending: 0,
        blocked: 1 << 16,
        times,
        regs,
        fpregs: Some(&fpregs),
        xstate: Some((&xstate, 7)),
    };
    let mut siginfo = [0; 128];
    siginfo[0] = 11;
    siginfo[8] = 1;
    siginfo[16..24].copy_from_slice(&0xdead_beef_u64.to_le_bytes());
    let inputs = CoreInputs {
        process: &Process {
            pid: 4242,
            ppid: 1,
            pgrp: 4242,
            sid: 4242,
            uid: 1000,
            gid: 100,
            nice: -5,
            state: b'R',
            flags: 0x40_0000,
            comm: b"a-program-with-a-long-name",
            args: b"./a-program\0first\0second\0",
            signal: 11,
        },
        threads: &[thread(4242, regs), thread(4243, other)],
        siginfo: &siginfo,
        auxv: &[6, 4096, 9, 0x40_0100, 0, 0],
        files: &[MappedFile {
            start: 0x40_0000,
            end: 0x40_3000,
            offset: 0x2000,
            path: b"/opt/a file",
        }],
        segments,
    };
    let plan = CorePlan::new(&inputs).unwrap();
    let mut file = plan.header;
    assert!(file.len().is_multiple_of(4096));
    for (_, len) in plan.memory {
        file.resize(file.len() + len as usize, 0x5a);
    }
    assert_eq!(file.len() as u64, plan.size);
    let path = std::env::temp_dir().join(format!("keel-core-{name}-{}", std::process::id()));
    fs::write(&path, file).unwrap();
    TempFile(path)
}

fn output(program: &str, args: &[&str], file: &TempFile) -> Option<(String, String)> {
    let output = Command::new(program)
        .args(args)
        .arg(&file.0)
        .output()
        .ok()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some((text(output.stdout), text(output.stderr)))
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn readelf_shows_all_notes() {
    let core = core_file("readelf", &segments(3));
    let (text, complaints) = output("readelf", &["-hlnW"], &core).expect("readelf runs");
    assert_eq!(complaints, "");
    assert_has(
        &text,
        &[
            "CORE (Core file)",
            "NT_PRSTATUS",
            "NT_PRPSINFO",
            "NT_SIGINFO",
            "NT_AUXV",
            "NT_FPREGSET",
            "NT_X86_XSTATE",
            "NT_FILE (mapped files)",
        ],
    );
    assert_eq!(text.matches("NT_PRSTATUS").count(), 2);
    assert_eq!(text.matches("  LOAD ").count(), 5);
}

#[test]
fn more_mappings_than_e_phnum_can_count() {
    let core = core_file("many", &segments(70_000));
    let (text, complaints) = output("readelf", &["-hW"], &core).expect("readelf runs");
    assert_eq!(complaints, "");
    assert_has(&text, &["65535 (70003)"]);
}

#[test]
fn gdb_reads_threads_registers_and_memory() {
    let core = core_file("gdb", &segments(3));
    let commands = [
        "info threads",
        "p/x $rip",
        "p/x $r15",
        "p/x $eflags",
        "x/xg $rsp",
        "p $_siginfo._sifields._sigfault.si_addr",
        "info auxv",
        "info proc mappings",
        "thread 2",
        "p/x $rip",
        "p $st0",
    ];
    let mut args = vec!["-nx", "-batch"];
    commands
        .iter()
        .for_each(|command| args.extend(["-ex", command]));
    args.push("-core");
    let Some((text, complaints)) = output("gdb", &args, &core) else {
        println!("gdb is not installed: only readelf has looked");
        return;
    };
    let all = text + &complaints;
    assert_has(
        &all,
        &[
            "Core was generated by `./a-program first second",
            "terminated with signal SIGSEGV",
            "LWP 4242",
            "LWP 4243",
            "= 0x400123",
            "= 0x1111\n",
            "0x7fffffff0100:\t0x5a5a5a5a5a5a5a5a",
            "0xdeadbeef",
            "AT_ENTRY",
            "/opt/a file",
            "= 0x400456",
        ],
    );
}

#[test]
fn a_process_without_threads_has_no_core() {
    let process = Process {
        pid: 1,
        ppid: 0,
        pgrp: 1,
        sid: 1,
        uid: 0,
        gid: 0,
        nice: 0,
        state: b'R',
        flags: 0,
        comm: b"",
        args: b"",
        signal: 6,
    };
    let inputs = CoreInputs {
        process: &process,
        threads: &[],
        siginfo: &[0; 128],
        auxv: &[],
        files: &[],
        segments: &[],
    };
    assert!(CorePlan::new(&inputs).is_err());
}
