//! Runs the vDSO image on the host: a C program maps it behind a data page that this test fills from the host's own
//! clocks, and compares its answers with the kernel's. Needs cc(1), like everything that builds C here.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keel_ld_support::elf::LoadPlan;
use keel_ld_support::vdso::{ClockMode, CpuMode, IMAGE, Scale, VdsoData, VvarPage};

struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The directory with the C program and the image in it.
fn build(name: &str) -> Dir {
    let dir = std::env::temp_dir().join(format!("keel-vdso-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vdso_host.c");
    let status = Command::new("cc")
        .args(["-O1", "-Wall", "-Werror", "-o"])
        .arg(dir.join("host"))
        .arg(source)
        .arg("-ldl")
        .status()
        .expect("cc runs");
    assert!(status.success());
    fs::write(dir.join("vdso.so"), IMAGE).unwrap();
    Dir(dir)
}

fn run(dir: &Dir, args: &[&str]) -> String {
    let output = Command::new(dir.0.join("host"))
        .current_dir(&dir.0)
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{args:?}: {:?}\n{text}",
        output.status
    );
    text
}

/// A data page in memory; checks that stores are aligned and that the sequence is odd around them.
struct Page(RefCell<Vec<u8>>);

impl Page {
    fn store(&self, offset: u32, bytes: &[u8]) {
        assert!((offset as usize).is_multiple_of(bytes.len()));
        let mut page = self.0.borrow_mut();
        assert!(
            offset == 0 || page[0] & 1 == 1,
            "a store outside the write section"
        );
        page[offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }
}

impl VvarPage for Page {
    fn store_u32(&self, offset: u32, value: u32) {
        self.store(offset, &value.to_le_bytes());
    }

    fn store_u64(&self, offset: u32, value: u64) {
        self.store(offset, &value.to_le_bytes());
    }
}

/// The host's clocks as a data page.
fn host_data(calibration: &str) -> VdsoData {
    let numbers: Vec<u64> = calibration
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    let scale = Scale::from_hz(numbers[0]).unwrap();
    let mut data = VdsoData {
        clock_mode: ClockMode::Tsc,
        cycle_last: numbers[1],
        mono_mult: scale.mult,
        raw_mult: scale.mult,
        shift: scale.shift,
        hrtimer_res: 1,
        coarse_res: 4_000_000,
        tz_minuteswest: -60,
        tz_dsttime: 3,
        ..VdsoData::default()
    };
    for (clock, ns) in [0, 1, 4, 7, 11].into_iter().zip(&numbers[2..]) {
        data.set(clock, ns / 1_000_000_000, (ns % 1_000_000_000) as u32);
    }
    for (coarse, precise) in [(5, 0), (6, 1)] {
        let (sec, nsec) = data.time(precise, data.cycle_last).unwrap();
        data.set(coarse, sec, nsec);
    }
    data
}

fn has_cpu_flag(name: &str) -> bool {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap();
    info.lines()
        .any(|line| line.starts_with("flags") && line.split_whitespace().any(|f| f == name))
}

#[test]
fn time_and_cpu_are_the_kernel_s() {
    if !has_cpu_flag("constant_tsc") && !has_cpu_flag("nonstop_tsc") {
        println!("this machine has no steady TSC: nothing to compare with");
        return;
    }
    let dir = build("time");
    let mut modes = vec![CpuMode::Syscall, CpuMode::Lsl];
    modes.extend(has_cpu_flag("rdpid").then_some(CpuMode::Rdpid));
    modes.extend(has_cpu_flag("rdtscp").then_some(CpuMode::Rdtscp));
    for cpu_mode in modes {
        let data = VdsoData {
            cpu_mode,
            ..host_data(&run(&dir, &["calibrate"]))
        };
        let page = Page(RefCell::new(vec![0; 4096]));
        let mut seq = 0;
        data.publish(&page, &mut seq);
        data.publish(&page, &mut seq);
        assert_eq!(seq, 4);
        fs::write(dir.0.join("page"), page.0.into_inner()).unwrap();
        run(
            &dir,
            &["check", "vdso.so", "page", &(cpu_mode as u32).to_string()],
        );
    }
}

#[test]
fn without_a_tsc_the_kernel_is_asked() {
    let dir = build("none");
    let mut data = host_data(&run(&dir, &["calibrate"]));
    data.clock_mode = ClockMode::Syscall;
    // Wrong bases would show: they must not be used.
    for clock in [0, 1, 4, 7, 11] {
        data.set(clock, 1, 1);
    }
    let page = Page(RefCell::new(vec![0; 4096]));
    data.publish(&page, &mut 0);
    fs::write(dir.0.join("page"), page.0.into_inner()).unwrap();
    run(&dir, &["check", "vdso.so", "page", "-1"]);
}

#[test]
fn the_dynamic_linker_finds_the_functions() {
    let dir = build("dlopen");
    run(&dir, &["dlopen", "./vdso.so"]);
}

#[test]
fn tools_read_the_image_without_complaint() {
    let dir = build("tools");
    let image = dir.0.join("vdso.so");
    let output = Command::new("readelf")
        .arg("-aW")
        .arg(&image)
        .output()
        .expect("readelf runs");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && complaints.is_empty(),
        "{complaints}"
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in [
        "[linux-vdso.so.1]",
        "Name: LINUX_2.6",
        "__vdso_getcpu@@LINUX_2.6",
        "GNU_EH_FRAME",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    assert!(IMAGE.len().is_multiple_of(4096));
    let plan = LoadPlan::program(&IMAGE[..256], IMAGE).unwrap();
    assert_eq!(plan.segments.len(), 1);
    assert!(plan.segments[0].prot.exec && !plan.segments[0].prot.write);
}
