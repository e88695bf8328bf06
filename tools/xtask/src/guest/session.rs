//! A guest made ready to start, and a guest that runs.

use super::media::{self, Payload};
use super::protocol::Job;
use crate::cache::Cache;
use crate::image::{self, Image};
use crate::options::{GuestOptions, KernelChoice};
use crate::qemu::{Console, Disk, Machine, disk_name};
use crate::scratch::Scratch;
use crate::{kernel_build, linux};
use anyhow::{Context, Result};
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// What a boot needs: image and kernel, found or made.
pub struct Session {
    /// What was asked for.
    pub options: GuestOptions,
    /// The cache.
    pub cache: Cache,
    /// The root disk.
    pub image: Image,
    kernel: PathBuf,
    initrd: Option<PathBuf>,
    /// Whether the kernel traces system calls.
    pub trace: bool,
    /// Whether the root disk is opened past the host's page cache.
    pub direct: bool,
    /// Where QEMU's monitor is to listen, if somewhere.
    pub monitor: Option<PathBuf>,
}

impl Session {
    /// The kernel's file.
    pub fn kernel(&self) -> &Path {
        &self.kernel
    }

    /// Makes ready what `options` name: builds the kernel, makes the image.
    pub fn new(options: GuestOptions) -> Result<Self> {
        let cache = Cache::open()?;
        let image = image::get(&cache, &options.image, options.gpt)?;
        let (kernel, initrd) = match &options.kernel {
            KernelChoice::Keel => (kernel_build::build(&cache, options.debug)?, None),
            KernelChoice::File(file) => (file.clone(), None),
            KernelChoice::Linux => {
                let linux = linux::get(&cache)?;
                (linux.kernel, Some(linux.initrd))
            }
        };
        Ok(Self {
            options,
            cache,
            image,
            kernel,
            initrd,
            trace: false,
            direct: false,
            monitor: None,
        })
    }

    /// The disk to boot from: the image itself (writes are forgotten) or, with --persist, the private copy of
    /// it that keeps them. A disk image of the user's own is written to in place then.
    fn root_disk(&self) -> Result<Disk> {
        if !self.options.persist {
            return Ok(Disk {
                file: self.image.disk.clone(),
                persistent: false,
                direct: self.direct,
            });
        }
        let Some(hash) = &self.image.hash else {
            return Ok(Disk {
                file: self.image.disk.clone(),
                persistent: true,
                direct: self.direct,
            });
        };
        let folder = self.cache.dir().join("persist");
        std::fs::create_dir_all(&folder)?;
        let variant = if self.options.gpt { "-gpt" } else { "" };
        let copy = folder.join(format!("{}-{hash}{variant}.img", self.image.name));
        if !copy.is_file() {
            let part = copy.with_extension("part");
            image::disk::clone(&self.image.disk, &part)?;
            std::fs::rename(&part, &copy)?;
        }
        Ok(Disk {
            file: copy,
            persistent: true,
            direct: self.direct,
        })
    }

    /// What --with asked for.
    pub fn payload(&self) -> Result<Vec<Payload>> {
        self.options
            .with
            .iter()
            .map(|from| Payload::named_as_here(from))
            .collect()
    }

    /// A machine with the root disk and the disks asked for; the caller adds the rest.
    pub fn machine(&self, console: Console) -> Result<Machine> {
        let mut disks = vec![self.root_disk()?];
        let persistent = self.options.persist;
        disks.extend(self.options.disks.iter().cloned().map(|file| Disk {
            file,
            persistent,
            direct: false,
        }));
        let mut command_line = String::new();
        if !self
            .options
            .append
            .split_whitespace()
            .any(|word| word.starts_with("root="))
        {
            command_line.push_str(&format!("root={} ", self.image.root_device));
        }
        command_line.push_str("rw console=ttyS0 panic=-1");
        if self.options.kernel == KernelChoice::Linux {
            command_line.push_str(" quiet");
        }
        if !self.options.append.is_empty() {
            command_line.push(' ');
            command_line.push_str(&self.options.append);
        }
        Ok(Machine {
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            command_line,
            cpus: self.options.cpus,
            memory: self.options.memory.clone(),
            disks,
            console,
            agent_socket: None,
            trace_file: None,
            may_reboot: false,
            count_instructions: self.options.count_instructions,
            extra: Vec::new(),
        })
    }

    /// Boots with the agent as init and these jobs.
    pub fn start(&self, jobs: &[Job], payload: &[Payload]) -> Result<Running> {
        self.prepare(jobs, payload)?.start()
    }

    /// A machine that will boot with the agent as init and these jobs.
    pub fn prepare(&self, jobs: &[Job], payload: &[Payload]) -> Result<Prepared> {
        let scratch = Scratch::new()?;
        let media = scratch.path().join("media.img");
        media::make(&self.cache, &media, scratch.path(), jobs, payload)?;
        let mut machine = self.machine(Console::Pipes)?;
        let device = disk_name(machine.disks.len());
        machine.disks.push(Disk {
            file: media,
            persistent: false,
            direct: false,
        });
        let place = media::MOUNT_POINT;
        machine.command_line.push_str(&format!(
            " init=/bin/sh -- -c \"mount -t ext4 -o ro {device} {place} && \
             exec {place}/keel-agent /dev/ttyS1 {place}/keel-jobs\""
        ));
        if self.trace {
            machine.command_line = format!("keel.trace=syscalls {}", machine.command_line);
        }
        if let Some(monitor) = &self.monitor {
            let address = format!("unix:{},server=on,wait=off", monitor.display());
            machine.extra.extend(["-monitor".into(), address.into()]);
        }
        let socket = scratch.path().join("agent");
        machine.agent_socket = Some(socket.clone());
        let trace_file = self.trace.then(|| scratch.path().join("trace"));
        machine.trace_file.clone_from(&trace_file);
        let listener = UnixListener::bind(&socket).context("cannot make the agent's socket")?;
        Ok(Prepared {
            machine,
            listener,
            trace_file,
            scratch,
        })
    }
}

/// A machine with its agent's disk, about to be started.
pub struct Prepared {
    machine: Machine,
    listener: UnixListener,
    trace_file: Option<PathBuf>,
    scratch: Scratch,
}

impl Prepared {
    /// Switches it on.
    pub fn start(self) -> Result<Running> {
        Running::new(
            &self.machine,
            Some(self.listener),
            self.trace_file,
            self.scratch,
        )
    }
}

/// Something that happened to a running guest.
pub enum Signal {
    /// The console has more text.
    Console,
    /// The agent's port has these bytes.
    Agent(Vec<u8>),
    /// QEMU has ended.
    Ended(String),
    /// The deadline has come.
    Timeout,
}

enum Source {
    Console(Vec<u8>),
    ConsoleClosed,
    Agent(Vec<u8>),
}

/// A guest that runs; dropping it ends QEMU.
pub struct Running {
    child: Child,
    signals: Receiver<Source>,
    console: Vec<u8>,
    /// Up to where the console has been searched for a panic.
    searched: usize,
    trace_file: Option<PathBuf>,
    _scratch: Scratch,
}

impl Running {
    /// Starts the machine, whose console must be pipes.
    pub fn new(
        machine: &Machine,
        agent: Option<UnixListener>,
        trace_file: Option<PathBuf>,
        scratch: Scratch,
    ) -> Result<Self> {
        let mut child = machine.start()?;
        let (sender, signals) = channel();
        let stdout = child.stdout.take().context("QEMU without stdout")?;
        let stderr = child.stderr.take().context("QEMU without stderr")?;
        let errors = sender.clone();
        thread::spawn(move || pump(stderr, &errors, Source::Console));
        if let Some(listener) = agent {
            let frames = sender.clone();
            // If QEMU never connects, this thread waits until the process ends.
            thread::spawn(move || {
                if let Ok((stream, _)) = listener.accept() {
                    pump(stream, &frames, Source::Agent);
                }
            });
        }
        thread::spawn(move || {
            pump(stdout, &sender, Source::Console);
            // The receiver may be gone already.
            let _ = sender.send(Source::ConsoleClosed);
        });
        Ok(Self {
            child,
            signals,
            console: Vec::new(),
            searched: 0,
            trace_file,
            _scratch: scratch,
        })
    }

    /// Waits for the next thing to happen, until the deadline.
    pub fn next(&mut self, deadline: Instant) -> Signal {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.signals.recv_timeout(left) {
            Ok(Source::Console(bytes)) => {
                self.console.extend_from_slice(&bytes);
                Signal::Console
            }
            Ok(Source::Agent(bytes)) => Signal::Agent(bytes),
            Ok(Source::ConsoleClosed) => self.ended(),
            Err(RecvTimeoutError::Timeout) => Signal::Timeout,
            Err(RecvTimeoutError::Disconnected) => Signal::Ended("QEMU is gone".to_owned()),
        }
    }

    /// QEMU has closed its output: takes what the agent's port still has, then the status.
    fn ended(&mut self) -> Signal {
        let settle = Duration::from_millis(200);
        while let Ok(source) = self.signals.recv_timeout(settle) {
            match source {
                Source::Agent(bytes) => {
                    // Come back here for the rest.
                    self.requeue_end();
                    return Signal::Agent(bytes);
                }
                Source::Console(bytes) => self.console.extend_from_slice(&bytes),
                Source::ConsoleClosed => {}
            }
        }
        Signal::Ended(
            self.child
                .wait()
                .map_or_else(|error| error.to_string(), |status| status.to_string()),
        )
    }

    fn requeue_end(&mut self) {
        let (sender, receiver) = channel();
        let old = std::mem::replace(&mut self.signals, receiver);
        for source in old.try_iter() {
            let _ = sender.send(source);
        }
        let _ = sender.send(Source::ConsoleClosed);
    }

    /// What the console has shown so far.
    pub fn console(&self) -> &[u8] {
        &self.console
    }

    /// Types on the console.
    pub fn type_text(&mut self, text: &[u8]) -> Result<()> {
        use std::io::Write;
        let stdin = self.child.stdin.as_mut().context("QEMU without stdin")?;
        stdin
            .write_all(text)
            .and_then(|()| stdin.flush())
            .context("the guest's console is closed")
    }

    /// The kernel's panic message, if a complete line of the console shows one.
    pub fn panic_message(&mut self) -> Option<String> {
        let fresh = &self.console[self.searched..];
        let complete = fresh
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let text = String::from_utf8_lossy(&fresh[..complete]).into_owned();
        self.searched += complete;
        let line = text
            .lines()
            .find(|line| line.contains("KERNEL PANIC") || line.contains("Kernel panic"))?;
        // Linux's time stamp says nothing here.
        let message = match line.trim().split_once("] ") {
            Some((stamp, message)) if stamp.starts_with('[') => message,
            _ => line.trim(),
        };
        Some(message.to_owned())
    }

    /// Ends QEMU if it still runs; returns the console and the trace.
    pub fn finish(mut self) -> Result<(String, Vec<u8>)> {
        let _ = self.child.kill();
        let _ = self.child.wait();
        while let Ok(source) = self.signals.try_recv() {
            if let Source::Console(bytes) = source {
                self.console.extend_from_slice(&bytes);
            }
        }
        let trace = match &self.trace_file {
            Some(file) => std::fs::read(file).context("QEMU left no trace file")?,
            None => Vec::new(),
        };
        Ok((String::from_utf8_lossy(&self.console).into_owned(), trace))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes on everything that `from` gives.
fn pump(mut from: impl Read, to: &Sender<Source>, wrap: fn(Vec<u8>) -> Source) {
    let mut buffer = [0; 16384];
    while let Ok(got) = from.read(&mut buffer) {
        if got == 0 || to.send(wrap(buffer[..got].to_vec())).is_err() {
            return;
        }
    }
}
