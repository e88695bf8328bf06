//! `cargo xtask fs-torture`: the ext4 crate's tests at full length, and power cuts of a whole guest.
//!
//! Each part prints one line of figures for each image or feature set, and one that says how it came out. On the host the
//! parts are the crate's own tests with their lengths set by environment variables (see each test's head); [`guest`]
//! kills the emulator in the middle of work.

mod guest;

use crate::cmd::say;
use crate::host;
use crate::options::KernelChoice;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What `cargo xtask fs-torture` understands.
const USAGE: &str = "\
cargo xtask fs-torture [--quick] [--part NAME]… [--ops N] [--cuts N] [--mutations N] [--rounds N]
       cargo xtask fs-torture --guest [--kills N] [--image debian|alpine] [--kernel keel|FILE]";

/// Images that the model test works on at once, and feature sets that the power cuts have.
const MODEL_IMAGES: u64 = 7;
const CUT_SETS: u64 = 4;
/// `--quick` does this part of the full length.
const QUICK: u64 = 20;

/// How much to do.
struct Plan {
    ops: u64,
    cuts: u64,
    mutations: u64,
    rounds: u64,
    step: u64,
    parts: Vec<String>,
    guest: bool,
    kills: u64,
    image: String,
    kernel: KernelChoice,
}

/// One test program with its lengths.
struct Part {
    name: &'static str,
    what: &'static str,
    lengths: Vec<(&'static str, u64)>,
}

fn plan(args: &[String]) -> Result<Plan> {
    let mut plan = Plan {
        ops: 1_200_000,
        cuts: 6_000,
        mutations: 20_000,
        rounds: 10,
        step: 1,
        parts: Vec::new(),
        guest: false,
        kills: 30,
        image: "debian".to_owned(),
        kernel: KernelChoice::Keel,
    };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value; usage: {USAGE}"))
        };
        let number = |text: &String| {
            text.parse::<u64>()
                .ok()
                .with_context(|| format!("{word} needs a number, not {text}"))
        };
        match word.as_str() {
            "--quick" => {
                plan.ops /= QUICK;
                plan.cuts /= QUICK;
                plan.mutations /= QUICK;
                plan.rounds = 1;
                plan.step = 7;
                plan.kills = 3;
            }
            "--ops" => plan.ops = number(value()?)?,
            "--cuts" => plan.cuts = number(value()?)?,
            "--mutations" => plan.mutations = number(value()?)?,
            "--rounds" => plan.rounds = number(value()?)?,
            "--kills" => plan.kills = number(value()?)?,
            "--part" => plan.parts.push(value()?.clone()),
            "--guest" => plan.guest = true,
            "--image" => plan.image = value()?.clone(),
            "--kernel" => {
                plan.kernel = match value()?.as_str() {
                    "keel" => KernelChoice::Keel,
                    file => KernelChoice::File(
                        PathBuf::from(file)
                            .canonicalize()
                            .with_context(|| format!("there is no file {file}"))?,
                    ),
                }
            }
            _ => bail!("unknown option {word}; usage: {USAGE}"),
        }
    }
    Ok(plan)
}

fn parts(plan: &Plan) -> Vec<Part> {
    let part = |name, what, lengths: &[(&'static str, u64)]| Part {
        name,
        what,
        lengths: lengths.to_vec(),
    };
    vec![
        part(
            "model",
            "random operations against a model",
            &[("EXT4_OPS", plan.ops.div_ceil(MODEL_IMAGES))],
        ),
        part(
            "powercut",
            "power cuts at flushes and between them",
            &[("EXT4_CUTS", plan.cuts.div_ceil(CUT_SETS))],
        ),
        part(
            "linux",
            "images of Linux, and left dirty both ways",
            &[("EXT4_ROUNDS", plan.rounds)],
        ),
        part(
            "damage",
            "failing devices and damaged images",
            &[("EXT4_MUTATIONS", plan.mutations), ("EXT4_STEP", plan.step)],
        ),
        part("space", "full disks", &[]),
        part("threads", "several threads", &[]),
        part("features", "rare features", &[]),
    ]
}

/// Runs the parts that were asked for. Returns the status to exit with: 1 if one failed.
pub fn command(args: &[String]) -> Result<i32> {
    let plan = plan(args)?;
    if plan.guest {
        return guest::run(&plan.image, plan.kernel.clone(), plan.kills);
    }
    host::ensure(&[host::MKE2FS, host::E2FSCK])?;
    let all = parts(&plan);
    for name in &plan.parts {
        if !all.iter().any(|part| part.name == name) {
            let names: Vec<&str> = all.iter().map(|part| part.name).collect();
            bail!("there is no part {name}; parts: {}", names.join(", "));
        }
    }
    let mut failed = 0;
    for part in &all {
        if plan.parts.is_empty() || plan.parts.iter().any(|name| name == part.name) {
            failed += i32::from(!run_part(part)?);
        }
    }
    Ok(i32::from(failed > 0))
}

/// Runs one part and prints its figures; whether it passed.
fn run_part(part: &Part) -> Result<bool> {
    say(format_args!("{}: {} …", part.name, part.what));
    let start = Instant::now();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(host::repo_root()?)
        .args(["test", "-q", "--release", "-p", "keel-ext4", "--test"])
        .args([part.name, "--", "--nocapture"])
        .stdin(Stdio::null());
    for (name, length) in &part.lengths {
        command.env(name, length.to_string());
    }
    let out = command.output().context("cannot start cargo")?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    for line in text.lines().filter_map(|line| line.split_once("figures: ")) {
        outln!("  {}", line.1);
    }
    let passed = out.status.success();
    let outcome = if passed { "passed" } else { "FAILED" };
    outln!(
        "{}: {}: {outcome} in {:.0} s",
        part.name,
        part.what,
        start.elapsed().as_secs_f64()
    );
    if !passed {
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        for line in errors.lines().chain(text.lines()).take(60) {
            eprintln!("  {line}");
        }
    }
    Ok(passed)
}
