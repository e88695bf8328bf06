//! `cargo xtask run`: a guest on this terminal.

use crate::cmd::say;
use crate::guest::Session;
use crate::options::{self, KernelChoice};
use crate::qemu::Console;
use anyhow::{Result, bail};

/// Boots the image with its own init on this terminal and returns when QEMU ends.
pub fn command(args: &[String]) -> Result<()> {
    let parsed = options::parse(args, &[])?;
    if !parsed.command.is_empty() {
        bail!(
            "run takes no command; use: cargo xtask exec -- {}",
            parsed.command.join(" ")
        );
    }
    let session = Session::new(parsed.guest)?;
    let mut machine = session.machine(Console::Terminal)?;
    machine.may_reboot = true;
    let kernel = match &session.options.kernel {
        KernelChoice::Keel => "Keel".to_owned(),
        KernelChoice::Linux => "Linux".to_owned(),
        KernelChoice::File(file) => file.display().to_string(),
    };
    let fate = if session.options.persist {
        "kept"
    } else {
        "forgotten at the end (--persist keeps them)"
    };
    say(format_args!(
        "booting {} on {kernel}; Ctrl-A x leaves; changes are {fate}",
        session.image.name
    ));
    let status = machine.start()?.wait()?;
    if !status.success() {
        bail!("QEMU ended with {status}");
    }
    Ok(())
}
