//! `cargo xtask`: the one entry point of the repository.
//!
//! Each command is a module: [`run`], [`exec`], [`image`], … What they share: [`options`] (command lines), [`guest`] (a
//! guest and the commands in it), [`qemu`] (the machine), [`linux`] (the oracle's kernel), [`cache`], [`host`] (installing
//! what is missing), [`cmd`] (running programs). A failure is one line that says what to do.

#[macro_use]
mod cmd;
mod bench;
mod cache;
mod console;
mod coverage;
mod cpio;
mod debian;
mod diff;
mod exec;
mod fs_bench;
mod fs_torture;
mod guest;
mod host;
mod image;
mod kernel_build;
mod linux;
mod ltp;
mod options;
mod profile;
mod qemu;
mod run;
mod scratch;
mod stats;
mod symbols;
mod test;
mod toolchain;
mod trace;
mod vt;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND
  run    boot an image on this terminal (Ctrl-A x leaves)
  exec   run one command in a guest:  cargo xtask exec [OPTIONS] -- CMD…
  trace  a command's system calls:  cargo xtask trace [--diff] [OPTIONS] -- CMD…
  diff   a command on Linux and on Keel, side by side:  cargo xtask diff [--trace] [OPTIONS] -- CMD…
  coverage  what of the ABI is there; whether a program will run; what it used (scan PATH…, record -- CMD…)
  image  make disk images:  cargo xtask image [NAME…] [--gpt]
  build  build the kernel:  cargo xtask build [--debug]
  test   run the tests:  cargo xtask test [--host|--guest|--compat|--scenario PATTERN] [--kernel linux]
  fs-torture  ext4 at length: models, power cuts, damage; --guest kills guests
  fs-bench    ext4 beside Linux's, on images in memory
  ltp    the Linux Test Project in the guest:  cargo xtask ltp --ltp-dir DIR [--list NAME|FILE] (ltp --help)
  bench  Keel beside Linux:  cargo xtask bench [GROUP…] [--quick] (bench --help)
  profile  where the kernel's time goes, as a flame graph:  cargo xtask profile [--svg FILE] [OPTIONS] -- CMD…
  stats  lines and unsafe lines by crate, system calls by status
options of run and exec:
  ";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<i32> {
    let Some((command, rest)) = args.split_first() else {
        bail!("no command\n{USAGE}{}", options::USAGE);
    };
    match command.as_str() {
        "run" => run::command(rest)?,
        "test" => return test::command(rest),
        "ltp" => return ltp::command(rest),
        "fs-bench" => return fs_bench::command(rest),
        "fs-torture" => return fs_torture::command(rest),
        "bench" => return bench::command(rest),
        "coverage" => return coverage::command(rest),
        "diff" => return diff::command(rest),
        "profile" => return profile::command(rest),
        "trace" => return trace::command(rest),
        "stats" => stats::command()?,
        "exec" => return exec::command(rest),
        "image" => image::command(rest)?,
        "build" => {
            let debug = rest.iter().any(|arg| arg == "--debug");
            outln!(
                "{}",
                kernel_build::build(&cache::Cache::open()?, debug)?.display()
            );
        }
        "help" | "--help" | "-h" => outln!("{USAGE}{}", options::USAGE),
        other => bail!("unknown command {other}\n{USAGE}{}", options::USAGE),
    }
    Ok(0)
}
