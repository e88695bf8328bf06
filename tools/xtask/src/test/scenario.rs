//! Scenarios: `compat-tests/scenarios/*.toml`, what users do, and what must come of it.
//!
//! A file names an image and lists scenarios. A scenario either runs a script in the guest (`run`; such
//! scenarios share a boot), or is a conversation on the console of a machine of its own (`console`).

use anyhow::{Context, Result, bail};
use regex_lite::Regex;
use serde::Deserialize;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A scenario file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The image of all its scenarios that name no other.
    image: String,
    scenario: Vec<Scenario>,
}

/// One scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name; the file's name is put before it.
    pub name: String,
    /// A recipe's name, or one of the special disks: `blank`, `no-init`, `foreign`.
    #[serde(default)]
    pub image: String,
    /// Whether to use the partitioned variant.
    #[serde(default)]
    pub gpt: bool,
    /// Processors.
    #[serde(default = "two")]
    pub cpus: u32,
    /// Memory.
    #[serde(default = "gigabyte")]
    pub memory: String,
    /// Added to the kernel command line.
    #[serde(default)]
    pub append: String,
    /// Recipes whose disks are attached as vdb, vdc, …
    #[serde(default)]
    pub disks: Vec<String>,
    /// Seconds a script may take; under `console`, what a `wait` without `within` may take.
    #[serde(default = "minute")]
    pub limit: f64,
    /// The one kernel it is meant for, `keel` or `linux`.
    pub only: Option<Only>,
    /// Why Keel does not pass it yet. It is then skipped, and counted as skipped.
    pub known_failing: Option<String>,
    /// Script for the image's /bin/sh.
    pub run: Option<String>,
    /// What the script must do.
    #[serde(default)]
    pub expect: Expect,
    /// Conversation.
    #[serde(default)]
    pub console: Vec<Step>,
    /// Rows and columns of the terminal that `screen` steps look at.
    #[serde(default = "usual_screen")]
    pub terminal: (usize, usize),
    /// Whether the machine starts again when the guest reboots.
    #[serde(default)]
    pub reboots: bool,
    /// Whether the disk must be found clean by e2fsck after the conversation.
    #[serde(default)]
    pub fsck: bool,
    /// Whether error lines on the console that Linux does not print fail it.
    #[serde(default)]
    pub no_new_errors: bool,
}

/// A kernel that a scenario is restricted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Only {
    /// Ours.
    Keel,
    /// Debian's.
    Linux,
}

/// What a script's outcome is held against; everything given must be true.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Exit status; 0 if not given and not compared.
    pub status: Option<i32>,
    /// Standard output, exactly.
    pub stdout: Option<String>,
    /// A pattern in standard output.
    pub matches: Option<String>,
    /// Standard output is this file of the image's cache folder, such as `usr.sha256`.
    pub file: Option<String>,
    /// Status and standard output are what the same script gives on Linux.
    #[serde(default)]
    pub same_as_linux: bool,
}

/// One step of a conversation: exactly one of `wait`, `screen`, `send`, `end`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// A pattern to wait for.
    pub wait: Option<String>,
    /// A pattern that the terminal's screen has to come to show; its lines end in newlines.
    pub screen: Option<String>,
    /// Seconds for the wait.
    pub within: Option<f64>,
    /// Seconds since power-on by which it must have come.
    pub by: Option<f64>,
    /// A pattern that may not be in what came before.
    pub without: Option<String>,
    /// Text to type.
    pub send: Option<String>,
    /// Waits until the machine has stopped.
    #[serde(default)]
    pub end: bool,
}

fn two() -> u32 {
    2
}

fn usual_screen() -> (usize, usize) {
    (24, 80)
}

fn gigabyte() -> String {
    "1G".to_owned()
}

fn minute() -> f64 {
    60.0
}

impl Scenario {
    /// The limit as a duration.
    pub fn limit(&self) -> Duration {
        Duration::from_secs_f64(self.limit.max(1.0))
    }

    /// Scenarios with the same key may share a boot.
    pub fn boot_key(&self) -> String {
        format!(
            "{} {} {} {} {} {}",
            self.image,
            self.gpt,
            self.cpus,
            self.memory,
            self.disks.join(","),
            self.append
        )
    }

    fn check(&self) -> Result<()> {
        let regex = |text: &Option<String>| -> Result<()> {
            if let Some(text) = text {
                Regex::new(text).with_context(|| format!("bad pattern {text}"))?;
            }
            Ok(())
        };
        if self.run.is_some() != self.console.is_empty() {
            bail!("give either `run` or `console`");
        }
        regex(&self.expect.matches)?;
        for step in &self.console {
            regex(&step.wait)?;
            regex(&step.screen)?;
            regex(&step.without)?;
            let kinds = [
                step.wait.is_some(),
                step.screen.is_some(),
                step.send.is_some(),
                step.end,
            ];
            if kinds.iter().filter(|given| **given).count() != 1 {
                bail!("a step has exactly one of `wait`, `screen`, `send`, `end`");
            }
        }
        Ok(())
    }
}

/// Reads all scenarios below `folder`, ordered by file and place.
pub fn load(folder: &Path) -> Result<Vec<Scenario>> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    let mut all: Vec<Scenario> = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path)?;
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for scenario in parse(&stem, &text).with_context(|| format!("in {}", path.display()))? {
            if all.iter().any(|other| other.name == scenario.name) {
                bail!("two scenarios are called {}", scenario.name);
            }
            all.push(scenario);
        }
    }
    Ok(all)
}

fn parse(stem: &str, text: &str) -> Result<Vec<Scenario>> {
    let file: File = toml::from_str(text)?;
    let mut scenarios = file.scenario;
    for scenario in &mut scenarios {
        scenario
            .check()
            .with_context(|| format!("scenario {}", scenario.name))?;
        scenario.name = format!("{stem}/{}", scenario.name);
        if scenario.image.is_empty() {
            scenario.image.clone_from(&file.image);
        }
    }
    Ok(scenarios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repositorys_scenarios_are_well_formed() {
        let root = crate::host::repo_root().unwrap();
        let scenarios = load(&root.join("compat-tests/scenarios")).unwrap();
        assert!(!scenarios.is_empty());
    }

    #[test]
    fn steps_and_kinds_are_checked() {
        let ok = "image='a'\n[[scenario]]\nname='x'\nrun='true'\nexpect.status=1";
        let scenarios = parse("f", ok).unwrap();
        assert_eq!(
            (scenarios[0].name.as_str(), scenarios[0].image.as_str()),
            ("f/x", "a")
        );
        for bad in [
            "image='a'\n[[scenario]]\nname='x'",
            "image='a'\n[[scenario]]\nname='x'\nrun='true'\nconsole=[{end=true}]",
            "image='a'\n[[scenario]]\nname='x'\nconsole=[{end=true, send='x'}]",
            "image='a'\n[[scenario]]\nname='x'\nconsole=[{wait='('}]",
            "image='a'\n[[scenario]]\nname='x'\nrun='true'\ntypo=1",
        ] {
            assert!(parse("f", bad).is_err(), "{bad}");
        }
    }
}
