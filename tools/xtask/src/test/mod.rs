//! `cargo xtask test`: everything that shows that it works, ending with one line `N passed, N failed`.
//!
//! In order: formatting and clippy, the pure crates' tests, the kernel's build, the compatibility cases on this
//! machine's Linux and then in the guest ([`compat`]), the scenarios ([`scenario`]) in as few boots as possible.

mod compat;
mod disks;
mod guest;
mod host;
mod oracle;
mod scenario;
mod tally;

use crate::cache::Cache;
use crate::cmd::say;
use crate::options::KernelChoice;
use crate::{kernel_build, toolchain};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tally::Tally;

/// What `cargo xtask test` understands.
pub const USAGE: &str = "cargo xtask test [--host|--guest|--compat|--scenario PATTERN] [--skip PATTERN] [--kernel keel|linux|FILE] [--list]";

/// Stripped size that the kernel may have, in bytes.
const KERNEL_LIMIT: u64 = 6 << 20;

struct Plan {
    host: bool,
    guest: bool,
    compat: bool,
    scenarios: bool,
    pattern: Option<String>,
    skip: Option<String>,
    kernel: KernelChoice,
    list: bool,
}

fn plan(args: &[String]) -> Result<Plan> {
    let mut plan = Plan {
        host: true,
        guest: true,
        compat: true,
        scenarios: true,
        pattern: None,
        skip: None,
        kernel: KernelChoice::Keel,
        list: false,
    };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value; usage: {USAGE}"))
        };
        match word.as_str() {
            "--host" => plan.guest = false,
            "--guest" => plan.host = false,
            "--compat" => {
                plan.host = false;
                plan.scenarios = false;
            }
            "--skip" => plan.skip = Some(value()?.clone()),
            "--list" => plan.list = true,
            "--scenario" => {
                plan.host = false;
                plan.compat = false;
                plan.pattern = Some(value()?.clone());
            }
            "--kernel" => {
                plan.host = false;
                plan.kernel = match value()?.as_str() {
                    "keel" => KernelChoice::Keel,
                    "linux" => KernelChoice::Linux,
                    file => KernelChoice::File(
                        PathBuf::from(file)
                            .canonicalize()
                            .with_context(|| format!("there is no file {file}"))?,
                    ),
                };
            }
            other => bail!("unknown option {other}; usage: {USAGE}"),
        }
    }
    Ok(plan)
}

/// Runs the tests; returns the status to exit with.
pub fn command(args: &[String]) -> Result<i32> {
    let plan = plan(args)?;
    let root = crate::host::repo_root()?;
    let cache = Cache::open()?;
    let mut scenarios = scenario::load(&root.join("compat-tests/scenarios"))?;
    if let Some(skip) = &plan.skip {
        scenarios.retain(|scenario| !scenario.name.contains(skip.as_str()));
    }
    if let Some(pattern) = &plan.pattern {
        scenarios.retain(|scenario| scenario.name.contains(pattern.as_str()));
        if scenarios.is_empty() {
            bail!("no scenario's name contains {pattern}");
        }
    }
    if plan.list {
        scenarios
            .iter()
            .for_each(|scenario| outln!("{}", scenario.name));
        return Ok(0);
    }
    let start = Instant::now();
    let mut tally = Tally::default();
    if plan.host {
        let toolchain = toolchain::prepare(&cache)?;
        tally.add(host::lints(&root, &toolchain)?);
        tally.add(host::unit_tests(&root)?);
    }
    if plan.guest {
        tally.add(in_guest(&root, &cache, &plan, &scenarios)?);
    }
    say(format_args!(
        "{:.0} s in all",
        start.elapsed().as_secs_f64()
    ));
    outln!("{tally}");
    Ok(i32::from(tally.failed > 0))
}

fn in_guest(
    root: &Path,
    cache: &Cache,
    plan: &Plan,
    scenarios: &[scenario::Scenario],
) -> Result<Tally> {
    let mut tally = Tally::default();
    if plan.kernel == KernelChoice::Keel {
        let built = kernel_build::build(cache, false);
        let size = built.and_then(|elf| kernel_build::stripped_size(&elf));
        let failed = size.is_err();
        tally.check("the kernel builds and is small enough", size_verdict(size));
        if failed {
            say("no guest tests without a kernel");
            return Ok(tally);
        }
    }
    let patience = std::env::var("KEEL_TEST_PATIENCE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1.0);
    let logs = kernel_build::target_dir(root).join("test-logs");
    crate::cache::remove_tree(&logs)?;
    let runner = guest::Runner {
        cache,
        kernel: plan.kernel.clone(),
        logs,
        patience,
    };
    if plan.compat {
        tally.add(compat::run(root, &runner)?);
    }
    if plan.scenarios {
        tally.add(runner.run(scenarios)?);
    }
    Ok(tally)
}

fn size_verdict(size: Result<u64>) -> Result<f64, String> {
    let size = size.map_err(|error| format!("{error:#}"))?;
    if size > KERNEL_LIMIT {
        return Err(format!(
            "{} KiB stripped, more than {} KiB",
            size >> 10,
            KERNEL_LIMIT >> 10
        ));
    }
    Ok(0.0)
}
