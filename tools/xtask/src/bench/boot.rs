//! From power-on to the first program, and to a login.

use super::time;
use crate::guest::protocol::{Decoder, Event};
use crate::guest::session::{Running, Signal};
use crate::guest::{Job, Session};
use crate::qemu::Console;
use crate::scratch::Scratch;
use anyhow::{Result, bail};
use keel_bench::Line;
use std::time::{Duration, Instant};

/// How long a boot may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Boots twice: with the agent as PID 1, and with the image's own init.
pub fn measure(session: &Session) -> Result<Vec<Line>> {
    Ok(vec![
        time("power-on-to-pid-1", to_first_program(session)?),
        time("power-on-to-login", to_login(session)?),
    ])
}

fn to_first_program(session: &Session) -> Result<Duration> {
    let job = Job::new(vec!["/bin/true".into()]);
    // Making the disk takes time too, so the clock starts with the machine.
    let prepared = session.prepare(&[job], &[])?;
    let start = Instant::now();
    let mut running = prepared.start()?;
    let mut decoder = Decoder::default();
    loop {
        match running.next(start + LIMIT) {
            Signal::Agent(bytes) if decoder.feed(&bytes).contains(&Event::Begin) => {
                return Ok(start.elapsed());
            }
            Signal::Agent(_) | Signal::Console => {}
            Signal::Ended(how) => bail!("the guest ended before its first program ({how})"),
            Signal::Timeout => bail!("no first program after {} s", LIMIT.as_secs()),
        }
    }
}

fn to_login(session: &Session) -> Result<Duration> {
    let machine = session.machine(Console::Pipes)?;
    let start = Instant::now();
    let mut running = Running::new(&machine, None, None, Scratch::new()?)?;
    loop {
        match running.next(start + LIMIT) {
            Signal::Console if contains(running.console(), b"login:") => return Ok(start.elapsed()),
            Signal::Agent(_) | Signal::Console => {}
            Signal::Ended(how) => bail!("the guest ended before a login ({how})"),
            Signal::Timeout => bail!("no login after {} s", LIMIT.as_secs()),
        }
    }
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}
