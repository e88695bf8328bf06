//! QEMU's human monitor, as far as sampling needs it.

use super::Sample;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const PROMPT: &[u8] = b"(qemu) ";
/// Deeper stacks are cut.
const DEEPEST: usize = 48;
/// The kernel's half of the addresses.
const KERNEL_HALF: u64 = 0xffff_8000_0000_0000;
/// Where the kernel's text is linked.
const KERNEL_TEXT: u64 = 0xffff_ffff_8000_0000;

/// A connection to the monitor.
pub struct Monitor {
    stream: UnixStream,
}

/// A processor's registers.
struct Cpu {
    rip: u64,
    rbp: u64,
    rsp: u64,
    user: bool,
    halted: bool,
}

impl Monitor {
    /// Connects, and waits for the first prompt.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut monitor = Self { stream };
        monitor.read_answer()?;
        Ok(monitor)
    }

    fn read_answer(&mut self) -> Result<String> {
        let mut answer = Vec::new();
        let mut buffer = [0; 16384];
        while !answer.ends_with(PROMPT) {
            let got = self.stream.read(&mut buffer)?;
            if got == 0 {
                bail!("the monitor is gone");
            }
            answer.extend_from_slice(&buffer[..got]);
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        self.stream.write_all(format!("{command}\n").as_bytes())?;
        let answer = self.read_answer()?;
        // The first line is the echo of the command.
        Ok(answer
            .split_once('\n')
            .map_or_else(String::new, |(_, rest)| rest.to_owned()))
    }

    /// Stops the machine for a look at every processor.
    pub fn sample(&mut self) -> Result<Vec<Sample>> {
        self.ask("stop")?;
        let registers = self.ask("info registers -a")?;
        let mut samples = Vec::new();
        for (number, cpu) in processors(&registers).into_iter().enumerate() {
            samples.push(if cpu.halted {
                Sample::Idle
            } else if cpu.user || cpu.rip < KERNEL_HALF {
                Sample::User
            } else {
                Sample::Kernel(self.stack(number, &cpu)?)
            });
        }
        self.ask("cont")?;
        Ok(samples)
    }

    /// Follows the frame pointers.
    fn stack(&mut self, number: usize, cpu: &Cpu) -> Result<Vec<u64>> {
        self.ask(&format!("cpu {number}"))?;
        let mut addresses = vec![cpu.rip];
        let mut frame = cpu.rbp;
        let mut lowest = cpu.rsp;
        while addresses.len() < DEEPEST && frame >= lowest && frame.is_multiple_of(8) {
            let [next, caller] = words(&self.ask(&format!("x /2gx 0x{frame:x}"))?)?;
            if caller < KERNEL_TEXT {
                break;
            }
            addresses.push(caller);
            lowest = frame + 16;
            frame = next;
        }
        Ok(addresses)
    }
}

/// The processors in the answer to `info registers -a`.
fn processors(text: &str) -> Vec<Cpu> {
    text.split("CPU#")
        .skip(1)
        .filter_map(|part| {
            let hex = |name: &str| u64::from_str_radix(&field(part, name)?[..16], 16).ok();
            Some(Cpu {
                rip: hex("RIP=")?,
                rbp: hex("RBP=")?,
                rsp: hex("RSP=")?,
                user: field(part, "CPL=")?.starts_with('3'),
                halted: field(part, "HLT=")?.starts_with('1'),
            })
        })
        .collect()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let at = text.find(name)? + name.len();
    text.get(at..).filter(|rest| rest.len() >= 16)
}

/// The two words of an answer to `x /2gx`.
fn words(text: &str) -> Result<[u64; 2]> {
    let line = text
        .lines()
        .find_map(|line| line.split_once(": "))
        .with_context(|| format!("the monitor cannot read memory: {}", text.trim()))?
        .1;
    let mut words = line
        .split_whitespace()
        .filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    match (words.next(), words.next()) {
        (Some(next), Some(caller)) => Ok([next, caller]),
        // Nothing is mapped there: the chain ends.
        _ => Ok([0, 0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let text = "\r\nCPU#0\r\nRAX=0000000000000001 RBP=ffffc00000001000 RSP=ffffc00000000f00\r\n\
                    RIP=ffffffff80001234 RFL=00000246 CPL=0 II=0 A20=1 SMM=0 HLT=1\r\nES =0000 0000000000000000\r\n";
        let all = processors(text);
        assert_eq!(all.len(), 1);
        assert_eq!(
            (all[0].rip, all[0].halted, all[0].user),
            (0xffff_ffff_8000_1234, true, false)
        );
        let answer = "ffffc00000001000: 0xffffc00000002000 0xffffffff80005678\r\n(qemu) ";
        assert_eq!(
            words(answer).unwrap(),
            [0xffff_c000_0000_2000, 0xffff_ffff_8000_5678]
        );
    }
}
