//! Driving a guest's serial console as a person would: type, wait for text.

use crate::guest::session::{Running, Signal};
use crate::qemu::Machine;
use crate::scratch::Scratch;
use crate::vt::Screen;
use anyhow::{Result, bail};
use regex_lite::Regex;
use std::time::{Duration, Instant};

/// Output that stays away this long has settled.
const SETTLE: Duration = Duration::from_millis(250);
/// Typing waits no longer than this.
const MAX_SETTLE: Duration = Duration::from_secs(5);

/// A console that is being driven.
pub struct Console {
    running: Running,
    /// What lies before this has been matched already.
    at: usize,
    power_on: Instant,
    ended: Option<String>,
    screen: Screen,
    /// Up to where the console has been put on the screen.
    drawn: usize,
}

impl Console {
    /// Starts the machine, whose console must be pipes; its terminal has this many rows and columns.
    pub fn start(machine: &Machine, size: (usize, usize)) -> Result<Self> {
        let power_on = Instant::now();
        let running = Running::new(machine, None, None, Scratch::new()?)?;
        Ok(Self {
            running,
            at: 0,
            power_on,
            ended: None,
            screen: Screen::new(size.0, size.1),
            drawn: 0,
        })
    }

    /// Time since power-on.
    pub fn elapsed(&self) -> Duration {
        self.power_on.elapsed()
    }

    /// Types, once the output has settled: a program that has just printed its prompt may still be about to
    /// change the terminal's mode, which can throw away what was typed before.
    pub fn send(&mut self, text: &str) -> Result<()> {
        let latest = Instant::now() + MAX_SETTLE;
        while Instant::now() < latest {
            match self.running.next(Instant::now() + SETTLE) {
                Signal::Timeout => break,
                Signal::Ended(how) => {
                    self.ended = Some(how);
                    break;
                }
                Signal::Console | Signal::Agent(_) => {}
            }
        }
        self.running.type_text(text.as_bytes())
    }

    /// Waits until `pattern` matches what came after the last match; returns the text up to the match's end.
    pub fn wait(&mut self, pattern: &Regex, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            let fresh = self.fresh();
            if let Some(found) = pattern.find(&fresh) {
                let text = fresh[..found.end()].to_owned();
                self.advance(&text);
                return Ok(text);
            }
            self.next(pattern, deadline, patience)?;
        }
    }

    /// Waits until `pattern` matches the terminal's screen; all that came so far counts as matched then.
    pub fn wait_screen(&mut self, pattern: &Regex, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let console = self.running.console();
            self.screen.feed(&console[self.drawn..]);
            self.drawn = console.len();
            if pattern.is_match(&self.screen.text()) {
                self.at = self.drawn;
                return Ok(());
            }
            if let Err(error) = self.next(pattern, deadline, patience) {
                bail!("{error:#}; the screen:\n{}", self.screen.text());
            }
        }
    }

    /// Waits for more output; fails if there will be none, or none before the deadline.
    fn next(&mut self, pattern: &Regex, deadline: Instant, patience: Duration) -> Result<()> {
        if let Some(how) = &self.ended {
            bail!("QEMU ended ({how}) while waiting for /{pattern}/");
        }
        if let Some(message) = self.running.panic_message()
            && !pattern.as_str().to_lowercase().contains("panic")
        {
            bail!("waiting for /{pattern}/: {message}");
        }
        match self.running.next(deadline) {
            Signal::Timeout => bail!("no /{pattern}/ within {:.1} s", patience.as_secs_f64()),
            Signal::Ended(how) => self.ended = Some(how),
            Signal::Console | Signal::Agent(_) => {}
        }
        Ok(())
    }

    /// Waits until QEMU ends.
    pub fn wait_end(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while self.ended.is_none() {
            match self.running.next(deadline) {
                Signal::Timeout => bail!(
                    "the machine still runs after {:.1} s",
                    patience.as_secs_f64()
                ),
                Signal::Ended(how) => self.ended = Some(how),
                Signal::Console | Signal::Agent(_) => {}
            }
        }
        Ok(())
    }

    /// Ends QEMU; returns all that the console has shown.
    pub fn finish(self) -> Result<String> {
        Ok(self.running.finish()?.0)
    }

    /// The unmatched text. An incomplete character at the end waits for its rest.
    fn fresh(&self) -> String {
        String::from_utf8_lossy(&self.running.console()[self.at..]).into_owned()
    }

    /// Moves behind `text`, which is the start of [`Console::fresh`].
    fn advance(&mut self, text: &str) {
        let bytes = &self.running.console()[self.at..];
        // Replacement characters make the text longer than the bytes; walk both.
        let mut used = 0;
        let mut seen = 0;
        for chunk in bytes.utf8_chunks() {
            if seen + chunk.valid().len() >= text.len() {
                used += text.len() - seen;
                break;
            }
            seen += chunk.valid().len();
            used += chunk.valid().len();
            if !chunk.invalid().is_empty() {
                seen += char::REPLACEMENT_CHARACTER.len_utf8();
                used += chunk.invalid().len();
            }
        }
        self.at += used.min(bytes.len());
    }
}
