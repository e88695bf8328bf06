//! The options that run, exec, trace and the tests share: which image, which kernel, what machine.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::time::Duration;

/// Which kernel to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelChoice {
    /// Ours, built from this tree.
    Keel,
    /// Debian's, on the same image.
    Linux,
    /// A kernel file.
    File(PathBuf),
}

/// What to boot, and on what machine.
#[derive(Debug, Clone)]
pub struct GuestOptions {
    /// A recipe's name or the path of a disk image.
    pub image: String,
    /// Whether to use the GPT-partitioned variant of the image.
    pub gpt: bool,
    /// The kernel.
    pub kernel: KernelChoice,
    /// Whether to build Keel with debug assertions.
    pub debug: bool,
    /// Number of processors.
    pub cpus: u32,
    /// Memory as QEMU takes it.
    pub memory: String,
    /// Further disks, after the root disk.
    pub disks: Vec<PathBuf>,
    /// Files and folders of this machine that exec and trace put below /media in the guest.
    pub with: Vec<PathBuf>,
    /// Whether the machine's time is the number of instructions executed; for exact comparisons.
    pub count_instructions: bool,
    /// Added to the kernel command line.
    pub append: String,
    /// Whether the guest's writes are kept.
    pub persist: bool,
    /// How long the command may take.
    pub timeout: Duration,
    /// How long the guest may take from power-on to the agent's first word.
    pub boot_limit: Duration,
    /// How long the guest may take from a job's end (or time limit) to the agent's next word.
    pub between_jobs: Duration,
    /// Boots in a row that may fail before any job has started; then the guest is given up.
    pub boot_tries: u32,
}

impl Default for GuestOptions {
    fn default() -> Self {
        Self {
            image: "debian".to_owned(),
            gpt: false,
            kernel: KernelChoice::Keel,
            debug: false,
            cpus: 2,
            memory: "1G".to_owned(),
            disks: Vec::new(),
            with: Vec::new(),
            count_instructions: false,
            append: String::new(),
            persist: false,
            timeout: Duration::from_secs(300),
            boot_limit: Duration::from_secs(120),
            between_jobs: Duration::from_secs(60),
            boot_tries: 1,
        }
    }
}

/// What the shared options look like, for usage messages.
pub const USAGE: &str = "\
[debian|debian-min|alpine|IMAGE.img] [--kernel keel|linux|FILE] [--smp N] [--mem SIZE]
    [--disk IMG]… [--append TEXT] [--gpt] [--persist] [--release|--debug] [--timeout SECONDS]
    [--with FILE]… (exec and trace: the file is /media/NAME in the guest)";

/// A command line taken apart.
#[derive(Debug)]
pub struct Parsed {
    /// The shared options.
    pub guest: GuestOptions,
    /// Flags that the command itself understands, of those it named.
    pub flags: Vec<String>,
    /// What follows `--`.
    pub command: Vec<String>,
}

impl Parsed {
    /// Whether this flag was given.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|given| given == flag)
    }
}

/// Takes `args` apart; `flags` are the command's own options without a value.
pub fn parse(args: &[String], flags: &[&str]) -> Result<Parsed> {
    let mut guest = GuestOptions::default();
    let mut given = Vec::new();
    let mut words = args.iter();
    let mut image = None;
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        if flags.contains(&word.as_str()) {
            given.push(word.clone());
            continue;
        }
        let (name, mut attached) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        let mut value = || {
            attached
                .take()
                .or_else(|| words.next().cloned())
                .with_context(|| format!("{name} needs a value"))
        };
        match name {
            "--kernel" => guest.kernel = kernel(&value()?)?,
            "--smp" => guest.cpus = number(name, &value()?)?,
            "--mem" => guest.memory = memory(&value()?)?,
            "--disk" => guest.disks.push(existing_file(&value()?)?),
            "--with" => guest.with.push(existing_file(&value()?)?),
            "--append" => guest.append = format!("{} {}", guest.append, value()?).trim().to_owned(),
            "--timeout" => guest.timeout = Duration::from_secs(number(name, &value()?)?),
            "--gpt" => guest.gpt = true,
            "--persist" => guest.persist = true,
            "--release" => guest.debug = false,
            "--debug" => guest.debug = true,
            _ if name.starts_with('-') => bail!("unknown option {name}; options: {USAGE}"),
            _ if image.is_some() => {
                bail!("two images given, {} and {word}", image.unwrap_or_default())
            }
            _ => image = Some(word.clone()),
        }
    }
    if let Some(image) = image {
        guest.image = image;
    }
    if guest.cpus == 0 {
        bail!("--smp needs at least 1");
    }
    Ok(Parsed {
        guest,
        flags: given,
        command: words.cloned().collect(),
    })
}

fn kernel(value: &str) -> Result<KernelChoice> {
    Ok(match value {
        "keel" => KernelChoice::Keel,
        "linux" => KernelChoice::Linux,
        file => KernelChoice::File(existing_file(file)?),
    })
}

fn existing_file(path: &str) -> Result<PathBuf> {
    PathBuf::from(path)
        .canonicalize()
        .with_context(|| format!("there is no file {path}"))
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
    value
        .parse()
        .ok()
        .with_context(|| format!("{name} needs a number, not {value}"))
}

fn memory(value: &str) -> Result<String> {
    let digits = value.trim_end_matches(['M', 'G', 'm', 'g']);
    if digits.is_empty() || value.len() > digits.len() + 1 || digits.parse::<u32>().is_err() {
        bail!("--mem needs a size such as 512M or 2G, not {value}");
    }
    Ok(value.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Parsed> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words, &["--diff"])
    }

    #[test]
    fn options_may_come_in_any_order() {
        let parsed =
            parse_line("--smp 4 alpine --mem=512m --kernel linux --diff -- ls --smp 9").unwrap();
        assert_eq!(
            (parsed.guest.cpus, parsed.guest.image.as_str()),
            (4, "alpine")
        );
        assert_eq!(parsed.guest.memory, "512M");
        assert_eq!(parsed.guest.kernel, KernelChoice::Linux);
        assert_eq!(parsed.command, ["ls", "--smp", "9"]);
        assert!(parsed.has("--diff"));
    }

    #[test]
    fn mistakes_are_named() {
        for line in [
            "--smp x",
            "--smp 0",
            "--mem 1T",
            "--mem G",
            "--nope",
            "a b",
            "--kernel /no/such",
            "--disk",
        ] {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }
}
