//! `#!` lines and argument limits, held against the Linux that the tests run on.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keel_ld_support::args::{ExecArgs, MAX_STRING};
use keel_ld_support::elf::{HEAD_SIZE, is_elf};
use keel_ld_support::script::{MAX_DEPTH, Script};
use keel_ld_support::{Errno, args};

const STACK: u64 = 8 << 20;
const ETXTBSY: i32 = 26;

struct Dir(PathBuf);

impl Dir {
    /// With `e`, a link to echo(1), in it.
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keel-ld-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        symlink("/bin/echo", path.join("e")).unwrap();
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

/// What echo printed, or the errno of execve.
type Outcome = Result<Vec<u8>, i32>;

fn linux(path: &Path, extra: &[&str]) -> Outcome {
    loop {
        match Command::new(path).args(extra).stdin(Stdio::null()).output() {
            Err(e) if e.raw_os_error() == Some(ETXTBSY) => continue,
            Err(e) => return Err(e.raw_os_error().unwrap()),
            Ok(output) => return Ok(output.stdout),
        }
    }
}

/// execve's loop over interpreters.
fn predict(path: &Path, extra: &[&str]) -> Outcome {
    resolve(path, extra).map_err(Errno::raw)
}

fn resolve(path: &Path, extra: &[&str]) -> Result<Vec<u8>, Errno> {
    let mut path = path.as_os_str().as_bytes().to_vec();
    let mut args = ExecArgs::new(&path, 1 + extra.len(), 0, STACK)?;
    args.push_arg(&path)?;
    for arg in extra {
        args.push_arg(arg.as_bytes())?;
    }
    let mut depth = 0;
    loop {
        let file = open_exec(&path)?;
        if depth > MAX_DEPTH {
            return Err(Errno::ELOOP);
        }
        let head = &file[..file.len().min(HEAD_SIZE)];
        if is_elf(head) {
            return Ok(echo(&args));
        }
        let script = Script::parse(head)?.ok_or(Errno::ENOEXEC)?;
        script.rewrite(&path, &mut args)?;
        path = script.interp;
        depth += 1;
    }
}

fn open_exec(path: &[u8]) -> Result<Vec<u8>, Errno> {
    let path = Path::new(OsStr::from_bytes(if path.is_empty() { b"." } else { path }));
    let meta =
        fs::metadata(path).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap()).unwrap())?;
    if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    Ok(fs::read(path).unwrap())
}

fn echo(args: &ExecArgs) -> Vec<u8> {
    let flat: Vec<u8> = args.argv().pieces().flatten().copied().collect();
    let mut words: Vec<&[u8]> = flat.split(|byte| *byte == 0).skip(1).collect();
    words.pop();
    let mut line = words.join(&b' ');
    line.push(b'\n');
    line
}

#[test]
fn first_lines_mean_what_they_mean_on_linux() {
    let dir = Dir::new("scripts");
    let echo = dir.0.join("e").into_os_string().into_encoded_bytes();
    let line = |parts: &[&[u8]]| [b"#!", &parts.concat()[..]].concat();
    let fill = |byte: u8, len: usize| vec![byte; len];
    let to_end = |used: usize| HEAD_SIZE - 2 - echo.len() - used;
    let mut files = vec![
        line(&[&echo, b"\n"]),
        line(&[&echo]),
        line(&[b"  \t", &echo, b" \t a  b\tc \t\nexit"]),
        line(&[&echo, b" a\r\n"]),
        line(&[&echo, b"\r\n"]),
        line(&[&echo, b"\0 a\n"]),
        line(&[&echo, b" a\0b\n"]),
        line(&[&echo, b" \0b\n"]),
        line(&[&echo, b" a"]),
        line(&[&echo, b" a "]),
        line(&[]),
        line(&[b"\n"]),
        line(&[b" \t"]),
        line(&[b" \t\n"]),
        line(&[b" \0\n"]),
        line(&[b"\0\n"]),
        line(&[b"/nothing\n"]),
        line(&[b"/\n"]),
        line(&[b"e\n"]),
        line(&[&fill(b' ', 300), &echo]),
        line(&[&fill(b' ', 300)]),
        line(&[&fill(b' ', 252), b"x\n"]),
        line(&[&fill(b' ', 253), b"x\n"]),
        line(&[&fill(b' ', 254), b"x\n"]),
        line(&[&fill(b'x', 300)]),
        b"#".to_vec(),
        b"#\n".to_vec(),
        b" #!/bin/echo\n".to_vec(),
        b"\n#!/bin/echo\n".to_vec(),
        Vec::new(),
        b"text\n".to_vec(),
    ];
    // Around the end of the buffer: an argument, blanks, a newline, or the path itself.
    for less in 0..4 {
        files.push(line(&[&echo, b" ", &fill(b'a', to_end(1) - less), b"\n"]));
        files.push(line(&[&echo, b" ", &fill(b'a', to_end(1) - less), b" b\n"]));
        files.push(line(&[&echo, b" ", &fill(b'a', to_end(1) - less)]));
        files.push(line(&[&echo, &fill(b' ', to_end(0) - less), b"b\n"]));
        files.push(line(&[&fill(b' ', to_end(0) - less), &echo, b"\n"]));
        files.push(line(&[&fill(b' ', to_end(0) - less), &echo, b" b\n"]));
        files.push(line(&[&fill(b' ', to_end(0) - less), &echo]));
    }
    for (index, file) in files.iter().enumerate() {
        let path = dir.add(&format!("s{index}"), file);
        let extra = ["one", "", "two words"];
        let text = String::from_utf8_lossy(file);
        assert_eq!(predict(&path, &extra), linux(&path, &extra), "{text:?}");
    }
}

#[test]
fn interpreters_nest_as_deep_as_on_linux() {
    let dir = Dir::new("depth");
    let mut previous = dir.0.join("e");
    let mut refused = 0;
    for depth in 1..=8 {
        let text = format!("#!{} arg{depth}\n", previous.display());
        previous = dir.add(&format!("level{depth}"), text.as_bytes());
        let ours = predict(&previous, &["x"]);
        assert_eq!(ours, linux(&previous, &["x"]), "depth {depth}");
        refused += u32::from(ours == Err(Errno::ELOOP.raw()));
    }
    assert_eq!(refused, 3);
    let own = dir.0.join("own");
    dir.add("own", format!("#!{}\n", own.display()).as_bytes());
    assert_eq!(predict(&own, &[]), linux(&own, &[]));

    let mut chain = PathBuf::from("/nothing");
    for depth in 1..=8 {
        let text = format!("#!{}\n", chain.display());
        chain = dir.add(&format!("lost{depth}"), text.as_bytes());
        assert_eq!(
            predict(&chain, &[]),
            linux(&chain, &[]),
            "lost depth {depth}"
        );
    }
}

/// Runs echo with these arguments, one variable, and a soft stack limit; says whether execve allows it. (A program
/// that starts may still die of so small a stack.)
fn linux_allows(program: &Path, stack: u64, strings: &[String]) -> bool {
    let output = Command::new("prlimit")
        .arg(format!("--stack={stack}:"))
        .arg(program)
        .args(strings)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output();
    // 126 is prlimit's status for a command that cannot be executed; a string too long stops prlimit itself.
    !matches!(&output, Err(e) if e.raw_os_error() == Some(Errno::E2BIG.raw()))
        && output.unwrap().status.code() != Some(126)
}

fn allows(program: &Path, stack: u64, strings: &[String]) -> bool {
    let path = program.as_os_str().as_bytes();
    let fill = || -> Result<(), Errno> {
        let mut args = ExecArgs::new(path, 1 + strings.len(), 1, stack)?;
        args.push_env(b"PATH=/usr/bin:/bin")?;
        args.push_arg(path)?;
        strings
            .iter()
            .try_for_each(|string| args.push_arg(string.as_bytes()))
    };
    fill().is_ok()
}

#[test]
fn argument_limits_are_linux_s_to_the_byte() {
    let dir = Dir::new("limits");
    let program = dir.0.join("e");
    for stack in [64 << 10, 600 << 10, 1 << 20, 4 << 20] {
        let limit = args::size_limit(stack);
        for string_len in [7, 1000] {
            let each = string_len + 1 + 8;
            let mut strings = vec!["x".repeat(string_len as usize); (limit / each) as usize];
            while !allows(&program, stack, &[&strings[..], &[String::new()]].concat()) {
                strings.truncate(strings.len() - 10);
            }
            let edge = (1..60 * each)
                .find(|more| {
                    let last = ["y".repeat(*more as usize)];
                    !allows(&program, stack, &[&strings[..], &last].concat())
                })
                .expect("a limit");
            for more in [edge - 1, edge] {
                let all = [&strings[..], &["y".repeat(more as usize)]].concat();
                let ours = allows(&program, stack, &all);
                assert_eq!(ours, more < edge);
                assert_eq!(
                    ours,
                    linux_allows(&program, stack, &all),
                    "{stack} {string_len} {more}"
                );
            }
        }
    }
    for len in [MAX_STRING - 1, MAX_STRING] {
        let string = ["z".repeat(len)];
        let ours = allows(&program, STACK, &string);
        assert_eq!(ours, len < MAX_STRING);
        assert_eq!(
            ours,
            linux_allows(&program, STACK, &string),
            "one string of {len}"
        );
    }
}
