//! The frames that the guest's agent sends over the second serial port, and the job file that it reads.
//!
//! `tools/guest/agent.c` is the other side and states the format. The decoder takes bytes as they come and gives
//! events; bytes that are not part of a frame (from firmware, or a kernel that writes to the port) are skipped.

use std::ffi::OsString;
use std::time::Duration;

/// The two bytes that a frame starts with.
const MAGIC: [u8; 2] = [0xa5, 0x4b];
/// Bytes of a frame before its payload.
const HEADER: usize = 7;
/// The longest payload an agent sends; a longer one is not a frame.
const MAX_PAYLOAD: usize = 4096;

/// Something the agent said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The agent runs.
    Begin,
    /// A job has been started, as this process.
    Started {
        /// The job's number in the job file.
        job: usize,
        /// Its process in the guest.
        pid: i32,
    },
    /// Part of the running job's standard output.
    Stdout(Vec<u8>),
    /// Part of the running job's standard error.
    Stderr(Vec<u8>),
    /// A job has ended.
    Ended(usize, End),
    /// A job could not be started.
    NotStarted(usize, String),
    /// A remark that belongs to no job.
    Remark(String),
    /// The agent has nothing more to say.
    Done,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// As waitpid reports it.
    pub wait_status: i32,
    /// By the guest's monotonic clock.
    pub elapsed: Duration,
    /// Whether it was killed for reaching its time limit.
    pub timed_out: bool,
}

impl End {
    /// The status a shell would give: the exit status, or 128 + the signal's number.
    pub fn shell_status(self) -> i32 {
        let signal = self.wait_status & 0x7f;
        if signal == 0 {
            (self.wait_status >> 8) & 0xff
        } else {
            128 + signal
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let wait_status = words.next()?.parse().ok()?;
        let elapsed = Duration::from_micros(words.next()?.parse().ok()?);
        let timed_out = words.next()? == "T";
        Some(Self {
            wait_status,
            elapsed,
            timed_out,
        })
    }
}

/// Turns the port's bytes into events.
#[derive(Default)]
pub struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    /// Takes the next bytes; returns the events they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.pending.extend_from_slice(bytes);
        let mut events = Vec::new();
        let mut at = 0;
        while let Some(rest) = self.pending.get(at..).filter(|rest| rest.len() >= HEADER) {
            let size = usize::from(rest[5]) | usize::from(rest[6]) << 8;
            if rest[..2] != MAGIC || size > MAX_PAYLOAD {
                at += 1;
                continue;
            }
            let Some(payload) = rest.get(HEADER..HEADER + size) else {
                break;
            };
            let job = usize::from(rest[3]) | usize::from(rest[4]) << 8;
            events.extend(event(rest[2], job, payload));
            at += HEADER + size;
        }
        self.pending.drain(..at);
        events
    }
}

fn event(kind: u8, job: usize, payload: &[u8]) -> Option<Event> {
    let text = || String::from_utf8_lossy(payload).into_owned();
    Some(match kind {
        b'B' => Event::Begin,
        b'S' => Event::Started {
            job,
            pid: text().parse().ok()?,
        },
        b'O' => Event::Stdout(payload.to_vec()),
        b'E' => Event::Stderr(payload.to_vec()),
        b'X' => Event::Ended(job, End::parse(&text())?),
        b'F' => Event::NotStarted(job, text()),
        b'L' => Event::Remark(text()),
        b'D' => Event::Done,
        _ => return None,
    })
}

/// A command to run in the guest.
#[derive(Debug, Clone)]
pub struct Job {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// The agent kills it after this time. Whole seconds; zero means no limit.
    pub limit: Duration,
    /// Working directory.
    pub directory: String,
    /// Environment entries, `NAME=value`.
    pub environment: Vec<OsString>,
    /// File in the guest for standard input; /dev/null without one.
    pub stdin: Option<String>,
}

impl Job {
    /// A job that runs `argv` as root in root's home, with the environment a login gives.
    pub fn new(argv: Vec<OsString>) -> Self {
        let environment = [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "USER=root",
            "LOGNAME=root",
            "SHELL=/bin/sh",
            "TERM=dumb",
            "LC_ALL=C.UTF-8",
        ];
        Self {
            argv,
            limit: Duration::ZERO,
            directory: "/root".to_owned(),
            environment: environment.map(Into::into).to_vec(),
            stdin: None,
        }
    }

    /// A job that has the image's `/bin/sh` run a script.
    pub fn shell(script: &str) -> Self {
        Self::new(["/bin/sh", "-c", script].map(Into::into).to_vec())
    }

    /// The same job with a time limit.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

/// The job file for these jobs.
pub fn encode_jobs(jobs: &[Job]) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let mut out = Vec::new();
    let mut field = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        out.push(0);
    };
    for job in jobs {
        field(job.limit.as_secs().to_string().as_bytes());
        field(job.directory.as_bytes());
        field(job.stdin.as_deref().unwrap_or_default().as_bytes());
        for words in [&job.environment, &job.argv] {
            field(words.len().to_string().as_bytes());
            for word in words {
                field(word.as_bytes());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, job: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xa5, 0x4b, kind];
        bytes.extend(job.to_le_bytes());
        bytes.extend((payload.len() as u16).to_le_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn frames_come_through_in_any_pieces_and_past_noise() {
        let mut stream = b"noise \xa5 \xa5\x4b".to_vec();
        stream.extend([0xff; 5]);
        stream.extend(frame(b'S', 258, b"17"));
        stream.extend(frame(b'O', 258, b"\xa5\x4b\0\n"));
        stream.extend(frame(b'X', 258, b"256 1500000 -"));
        stream.extend(frame(b'D', 258, b""));
        let end = End {
            wait_status: 256,
            elapsed: Duration::from_millis(1500),
            timed_out: false,
        };
        let expected = vec![
            Event::Started { job: 258, pid: 17 },
            Event::Stdout(b"\xa5\x4b\0\n".to_vec()),
            Event::Ended(258, end),
            Event::Done,
        ];
        for piece in [1, 3, 7, stream.len()] {
            let mut decoder = Decoder::default();
            let events: Vec<Event> = stream
                .chunks(piece)
                .flat_map(|bytes| decoder.feed(bytes))
                .collect();
            assert_eq!(events, expected, "pieces of {piece}");
        }
        assert_eq!(end.shell_status(), 1);
    }

    #[test]
    fn a_signal_is_128_and_its_number() {
        let end = End {
            wait_status: 0x8b,
            elapsed: Duration::ZERO,
            timed_out: false,
        };
        assert_eq!(end.shell_status(), 139);
    }

    #[test]
    fn job_file_has_counted_words() {
        let mut job = Job::new(vec!["ls".into(), "-l".into()]).limit(Duration::from_secs(9));
        job.environment = vec!["A=b".into()];
        assert_eq!(encode_jobs(&[job]), b"9\0/root\0\x001\0A=b\x002\0ls\0-l\0");
    }
}
