//! What strace sees a program do must be among what the scan says that it may do.

use keel_abi::table;
use keel_coverage::scan::{Needs, Scanned, scan};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program whose calls come from its own code and, with a number passed in, through the C library's `syscall`.
const DIRECT: &str = r#"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
#include <stdio.h>
static long one(long number) { return syscall(number, 0, 0, 0); }
int main(int argc, char **argv)
{
	long got = 0;
	one(SYS_getppid);
	one(argc > 5 ? SYS_getuid : SYS_getgid);
	__asm__ volatile("syscall" : "=a"(got) : "0"(SYS_getpgrp) : "rcx", "r11", "memory");
	setuid(getuid());
	printf("%d\n", got > 0);
	return 0;
}
"#;

fn tool(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
}

/// The calls that the command's process and its threads made, after it became the program.
fn seen(command: &[&str], folder: &Path) -> BTreeSet<String> {
    let log = folder.join("log");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&log)
        .args(command)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("strace starts");
    assert!(status.success(), "{command:?}");
    let text = std::fs::read_to_string(&log).expect("strace wrote a log");
    text.lines()
        // The first is strace's own execve.
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1))
        .filter_map(|word| word.split_once('(').map(|(name, _)| name.to_owned()))
        .filter(|name| table::by_name(name).is_some())
        .collect()
}

fn needs(path: &str) -> Needs {
    let files = scan(path).expect("the file can be read");
    let file = files.into_iter().next().expect("one file");
    match file.scanned.expect("it can be scanned") {
        Scanned::Program(needs) => needs,
        _ => panic!("{path} is no program"),
    }
}

fn check(command: &[&str], folder: &Path) -> Needs {
    let needs = needs(command[0]);
    let may: BTreeSet<&str> = needs
        .calls
        .keys()
        .filter_map(|number| table::lookup(u64::from(*number)))
        .map(|row| row.name)
        .collect();
    let missed: Vec<String> = seen(command, folder)
        .into_iter()
        .filter(|name| !may.contains(name.as_str()))
        .collect();
    assert!(
        missed.is_empty(),
        "{command:?} makes {missed:?}, which the scan did not find"
    );
    needs
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("keel-scan-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

/// Whether strace can be used here; the tests say so if not.
fn can_trace() -> bool {
    let works = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        eprintln!("no strace here: nothing to compare with");
    }
    works
}

#[test]
fn dynamic_programs_do_what_was_foretold() {
    if !can_trace() {
        return;
    }
    let folder = folder("dynamic");
    let commands: [&[&str]; 16] = [
        &["ls", "-l", "/"],
        &["cat", "/etc/passwd"],
        &["sort", "/etc/passwd"],
        &["grep", "-r", "root", "/etc/passwd"],
        &["find", "/etc/apt"],
        &["tar", "cf", "/dev/null", "/etc/apt"],
        &["date"],
        &["id"],
        &["df"],
        &["dd", "if=/dev/zero", "of=/dev/null", "count=3"],
        &["sleep", "0.01"],
        &["bash", "-c", "echo $((1 + 2)); type ls"],
        &["perl", "-e", "print 1"],
        &["python3", "-S", "-c", "print(1)"],
        &["git", "--version"],
        &["stat", "/"],
    ];
    let mut compared = 0;
    for command in commands {
        let Some(program) = tool(command[0]) else {
            continue;
        };
        let program = program.to_str().expect("a plain path");
        check(&[&[program], &command[1..]].concat(), &folder);
        compared += 1;
    }
    assert!(compared > 5, "only {compared} programs are here");
    std::fs::remove_dir_all(folder).expect("the folder goes");
}

#[test]
fn a_rust_program_does_what_was_foretold() {
    if !can_trace() {
        return;
    }
    let folder = folder("rust");
    let own = std::env::current_exe().expect("this program has a file");
    check(&[own.to_str().expect("a plain path"), "--list"], &folder);
    std::fs::remove_dir_all(folder).expect("the folder goes");
}

#[test]
fn numbers_are_found_in_static_and_dynamic_programs_of_both_libraries() {
    let folder = folder("direct");
    let source = folder.join("direct.c");
    std::fs::write(&source, DIRECT).expect("the source is written");
    let ways: [(&str, &[&str]); 5] = [
        ("gcc", &["-O2"]),
        ("gcc", &["-O0"]),
        ("gcc", &["-O2", "-static"]),
        ("musl-gcc", &["-O2"]),
        ("musl-gcc", &["-O2", "-static", "-s"]),
    ];
    let mut built = 0;
    for (compiler, flags) in ways {
        if tool(compiler).is_none() {
            continue;
        }
        built += 1;
        let program = folder.join(format!("direct-{built}"));
        let done = Command::new(compiler)
            .args(flags)
            .arg("-o")
            .arg(&program)
            .arg(&source)
            .status()
            .expect("it starts");
        assert!(done.success(), "{compiler} {flags:?}");
        let path = program.to_str().expect("a plain path");
        let needs = if can_trace() {
            check(&[path], &folder)
        } else {
            needs(path)
        };
        for name in [
            "getppid",
            "getuid",
            "getgid",
            "getpgrp",
            "setuid",
            "exit_group",
        ] {
            let row = table::by_name(name).expect("a call");
            assert!(
                needs.calls.contains_key(&row.nr),
                "{compiler} {flags:?}: {name} was not found"
            );
        }
        let row = table::by_name("reboot").expect("a call");
        assert!(
            !needs.calls.contains_key(&row.nr),
            "{compiler} {flags:?}: nobody calls reboot"
        );
    }
    assert!(built > 0, "no compiler is here");
    std::fs::remove_dir_all(folder).expect("the folder goes");
}
