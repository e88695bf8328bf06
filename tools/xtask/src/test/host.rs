//! The checks that need no guest: formatting, clippy, the pure crates' own tests.

use super::tally::Tally;
use crate::cmd::{Cmd, find_program, say};
use crate::toolchain::{TARGET, Toolchain};
use anyhow::Result;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Crates that build only for the kernel's target.
const KERNEL_CRATES: [&str; 2] = ["keel", "keel-hal"];
/// Crates of the kernel's target that are not part of the kernel.
const SELF_TESTS: [&str; 1] = ["keel-hal-selftest"];

/// Formatting and clippy.
pub fn lints(root: &Path, toolchain: &Toolchain) -> Result<Tally> {
    let mut tally = Tally::default();
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !Cmd::new("cargo")
            .args([subcommand, "--version"])
            .dir(root)
            .succeeds()
            && find_program("rustup").is_some()
        {
            say(format_args!("rustup component add {component}"));
            Cmd::new("rustup")
                .args(["component", "add", component])
                .run()?;
        }
    }
    timed(&mut tally, "formatting (cargo fmt --check)", || {
        Cmd::new("cargo")
            .args(["fmt", "--all", "--", "--check", "-l"])
            .dir(root)
            .run()
    });
    timed(&mut tally, "clippy on the host's crates", || {
        let mut clippy = Cmd::new("cargo").args(["clippy", "-q", "--workspace", "--all-targets"]);
        for name in KERNEL_CRATES.into_iter().chain(SELF_TESTS) {
            clippy = clippy.args(["--exclude", name]);
        }
        clippy.args(["--", "-D", "warnings"]).dir(root).run()
    });
    timed(&mut tally, "clippy on the kernel", || {
        let mut clippy = toolchain
            .cargo(root)?
            .args(["clippy", "-q", "--target", TARGET]);
        for name in KERNEL_CRATES {
            clippy = clippy.args(["-p", name]);
        }
        clippy.args(["--", "-D", "warnings"]).run()
    });
    Ok(tally)
}

fn timed(tally: &mut Tally, name: &str, work: impl FnOnce() -> Result<()>) {
    say(name);
    let start = Instant::now();
    let outcome = work()
        .map(|()| start.elapsed().as_secs_f64())
        .map_err(|error| format!("{error:#}"));
    tally.check(name, outcome);
}

/// cargo test on everything that runs on the host.
pub fn unit_tests(root: &Path) -> Result<Tally> {
    say("tests of the pure crates");
    let mut command = Command::new("cargo");
    command
        .args(["test", "--workspace", "--no-fail-fast", "--quiet"])
        .current_dir(root);
    for name in KERNEL_CRATES.into_iter().chain(SELF_TESTS) {
        command.args(["--exclude", name]);
    }
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    let mut tally = Tally::default();
    let any = tally.add_cargo_test(&text);
    if tally.failed > 0 || !any || !out.status.success() {
        out!("{text}");
    }
    if !out.status.success() && tally.failed == 0 {
        tally.check("cargo test", Err(format!("ended with {}", out.status)));
    }
    outln!(
        "ok    {} tests of the pure crates, {} failed",
        tally.passed,
        tally.failed
    );
    Ok(tally)
}
