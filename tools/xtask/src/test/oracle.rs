//! What Linux answers to a scenario, remembered in the cache under a hash of all that the answer depends on.

use super::scenario::Scenario;
use crate::cache::{Cache, sha256_of};
use crate::linux;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// A script's outcome on Linux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Exit status as a shell gives it.
    pub status: i32,
    /// Standard output, or the console.
    pub stdout: Vec<u8>,
}

/// Linux's answers.
pub struct Oracle<'a> {
    cache: &'a Cache,
    release: String,
}

impl<'a> Oracle<'a> {
    /// Answers of the kernel that [`linux::get`] gives.
    pub fn new(cache: &'a Cache) -> Result<Self> {
        Ok(Self {
            cache,
            release: linux::get(cache)?.release,
        })
    }

    fn place(&self, scenario: &Scenario, image_hash: &str) -> PathBuf {
        let conversation = format!("{:?}", scenario.console);
        let asked = scenario.run.as_deref().unwrap_or(&conversation);
        let key = format!(
            "{} {image_hash} {} {asked}",
            self.release,
            scenario.boot_key()
        );
        self.cache
            .dir()
            .join("oracle")
            .join(&sha256_of(key.as_bytes())[..32])
    }

    /// The answer, if it is known.
    pub fn recall(&self, scenario: &Scenario, image_hash: &str) -> Option<Answer> {
        let place = self.place(scenario, image_hash);
        let status = fs::read_to_string(place.join("status"))
            .ok()?
            .trim()
            .parse()
            .ok()?;
        Some(Answer {
            status,
            stdout: fs::read(place.join("stdout")).ok()?,
        })
    }

    /// Remembers an answer.
    pub fn remember(&self, scenario: &Scenario, image_hash: &str, answer: &Answer) -> Result<()> {
        let place = self.place(scenario, image_hash);
        fs::create_dir_all(&place)
            .with_context(|| format!("cannot write to {}", place.display()))?;
        fs::write(place.join("stdout"), &answer.stdout)?;
        // Last, because recall reads it first.
        fs::write(place.join("status"), answer.status.to_string())?;
        Ok(())
    }
}
