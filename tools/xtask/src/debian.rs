//! mmdebstrap as every user of it here wants it: following this machine's own settings of apt.

use crate::cmd::{Cmd, find_program};
use crate::host;
use anyhow::Result;

/// Settings of this machine's apt that hold for what is made on it too: how to reach mirrors, and whether a mirror
/// that is kept at some past day is good enough. Signatures are always checked.
const FOLLOWED: [&str; 4] = [
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
];

/// An mmdebstrap command, without its suite and target, and what it needs installed.
pub fn mmdebstrap() -> Result<Cmd> {
    host::ensure(&[host::MMDEBSTRAP, host::DEBIAN_KEYS])?;
    let mut command = Cmd::new("mmdebstrap");
    if find_program("apt-config").is_some() {
        let settings = Cmd::new("apt-config").arg("dump").text()?;
        for setting in settings.lines().filter(|line| followed(line)) {
            command = command.arg(format!("--aptopt={setting}"));
        }
    }
    Ok(command)
}

/// Whether a line of `apt-config dump` is a setting to follow.
fn followed(line: &str) -> bool {
    let (name, value) = line.split_once(' ').unwrap_or((line, ""));
    FOLLOWED.contains(&name) && value != "\"\";"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_settings_are_followed() {
        assert!(followed("Acquire::Check-Valid-Until \"false\";"));
        assert!(!followed("Acquire::http::Proxy \"\";"));
        assert!(!followed("APT::Architecture \"amd64\";"));
    }
}
