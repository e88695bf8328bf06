//! Running other programs: one-line failures, quiet success, visible progress.
//!
//! Every command the tool runs goes through [`Cmd`], so that a failure always names the program, its
//! exit status and the end of what it printed, in one line.

use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A command to run to completion.
pub struct Cmd {
    inner: Command,
    program: String,
}

impl Cmd {
    /// A command that will run `program`, found on PATH or in the sbin directories.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let mut inner = Command::new(find_program(program).unwrap_or_else(|| program.to_owned()));
        inner.stdin(Stdio::null());
        Self {
            inner,
            program: program.to_string_lossy().into_owned(),
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.inner.args(args);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(key, value);
        self
    }

    /// Sets the working directory.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.inner.current_dir(dir);
        self
    }

    /// Runs with output kept back; fails with the last lines of it unless the status is 0.
    pub fn run(self) -> Result<()> {
        self.output().map(drop)
    }

    /// Runs with this terminal's stdout and stderr; fails unless the status is 0.
    pub fn run_visibly(mut self) -> Result<()> {
        let status = self
            .inner
            .status()
            .with_context(|| format!("cannot start {}", self.program))?;
        if !status.success() {
            bail!("{} failed ({status})", self.program);
        }
        Ok(())
    }

    /// Runs and returns stdout; fails with the end of stderr unless the status is 0.
    pub fn output(mut self) -> Result<Vec<u8>> {
        let out = self
            .inner
            .output()
            .with_context(|| format!("cannot start {}", self.program))?;
        if !out.status.success() {
            let text = if out.stderr.is_empty() {
                &out.stdout
            } else {
                &out.stderr
            };
            bail!(
                "{} failed ({}): {}",
                self.program,
                out.status,
                last_lines(text, 3)
            );
        }
        Ok(out.stdout)
    }

    /// Like [`Cmd::output`], as trimmed text.
    pub fn text(self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.output()?).trim().to_owned())
    }

    /// Whether it ran and exited with status 0; prints nothing.
    pub fn succeeds(mut self) -> bool {
        self.inner
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// The last `count` lines of `text`, joined by " / ".
fn last_lines(text: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join(" / ")
}

/// Where `program` is: PATH, then the sbin directories that a user's PATH lacks.
pub fn find_program(program: impl AsRef<OsStr>) -> Option<OsString> {
    let program = Path::new(program.as_ref());
    if program.components().count() > 1 {
        return program.is_file().then(|| program.as_os_str().to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(Into::into))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
        .map(Into::into)
}

/// Writes to stdout. When nobody reads it any more (`… | head`), the work is over: the process ends.
pub fn write_out(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    if stdout
        .write_fmt(text)
        .and_then(|()| stdout.flush())
        .is_err()
    {
        std::process::exit(1);
    }
}

/// `print!` that ends the process quietly when stdout is closed.
macro_rules! out {
    ($($arg:tt)*) => { $crate::cmd::write_out(format_args!($($arg)*)) };
}

/// `println!` that ends the process quietly when stdout is closed.
macro_rules! outln {
    () => { $crate::cmd::write_out(format_args!("\n")) };
    ($($arg:tt)*) => { $crate::cmd::write_out(format_args!("{}\n", format_args!($($arg)*))) };
}

/// Says what is being done now, on stderr.
pub fn say(message: impl std::fmt::Display) {
    eprintln!("xtask: {message}");
}

/// Says what is being done, does it, and says how long it took.
pub fn step<T>(message: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(format_args!("{message} …"));
    let start = Instant::now();
    let result = work()?;
    say(format_args!(
        "{message}: done in {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_is_one_line_with_the_reason() {
        let error = Cmd::new("sh")
            .args(["-c", "echo first; echo why >&2; exit 3"])
            .run()
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("exit status: 3") && text.ends_with("why"),
            "{text}"
        );
        assert!(!text.contains('\n'));
    }

    #[test]
    fn output_is_the_commands_own() {
        assert_eq!(Cmd::new("printf").arg("a b ").text().unwrap(), "a b");
        assert!(!Cmd::new("false").succeeds());
    }

    #[test]
    fn missing_program_is_named() {
        let error = Cmd::new("no-such-program-here").run().unwrap_err();
        assert!(format!("{error:#}").contains("no-such-program-here"));
    }
}
