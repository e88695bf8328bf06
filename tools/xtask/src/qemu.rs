//! Starting QEMU: one place that says what the machine looks like.
//!
//! Serial ports: COM1 is the console on QEMU's stdin and stdout; COM2 carries the agent's frames to a unix
//! socket; COM3 takes the kernel's trace lines to a file.

use crate::cmd::find_program;
use crate::host;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A disk of the machine.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Raw image file.
    pub file: PathBuf,
    /// Whether writes go to the file; if not, they are kept until QEMU ends and then forgotten.
    pub persistent: bool,
    /// Whether QEMU goes past the host's page cache (cache=none), so that killing it is a power cut.
    pub direct: bool,
}

/// Where the console goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// This terminal, raw; Ctrl-A x ends QEMU.
    Terminal,
    /// Pipes held by the caller.
    Pipes,
}

/// The machine to start.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Kernel: ELF with a PVH note, or a bzImage.
    pub kernel: PathBuf,
    /// Initramfs, for Linux.
    pub initrd: Option<PathBuf>,
    /// Kernel command line.
    pub command_line: String,
    /// Number of processors.
    pub cpus: u32,
    /// Memory as QEMU takes it, such as `1G`.
    pub memory: String,
    /// Virtio disks in order: vda, vdb, …
    pub disks: Vec<Disk>,
    /// Console.
    pub console: Console,
    /// Unix socket that the caller listens on, for COM2.
    pub agent_socket: Option<PathBuf>,
    /// File for what the kernel writes to COM3; needs [`Machine::agent_socket`] too.
    pub trace_file: Option<PathBuf>,
    /// Whether a reboot of the guest starts it again; otherwise QEMU ends.
    pub may_reboot: bool,
    /// Whether the machine's time is the number of instructions executed.
    pub count_instructions: bool,
    /// Further QEMU arguments.
    pub extra: Vec<OsString>,
}

/// The device name of disk number `index` in the guest.
pub fn disk_name(index: usize) -> String {
    let letter = b'a'.saturating_add(u8::try_from(index).unwrap_or(25).min(25));
    format!("/dev/vd{}", char::from(letter))
}

impl Machine {
    /// QEMU's arguments for this machine.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| args.extend(words.iter().map(OsString::from));
        // A large buffer of translated code keeps thousands of translations of each page of a library (one for each
        // address it was mapped at), through which every store to the page goes after a reboot.
        let accel = if self.count_instructions {
            "tcg,thread=single"
        } else if host::has_kvm() {
            "kvm"
        } else {
            "tcg,thread=multi,tb-size=128"
        };
        add(&[
            "-nodefaults",
            "-display",
            "none",
            "-M",
            "q35",
            "-cpu",
            "max",
            "-accel",
            accel,
        ]);
        add(&["-smp", &self.cpus.to_string(), "-m", &self.memory]);
        if self.count_instructions {
            add(&["-icount", "shift=0,sleep=off"]);
        }
        if !self.may_reboot {
            add(&["-no-reboot"]);
        }
        add(&[
            "-kernel",
            &text(&self.kernel),
            "-append",
            &self.command_line,
        ]);
        if let Some(initrd) = &self.initrd {
            add(&["-initrd", &text(initrd)]);
        }
        for (index, disk) in self.disks.iter().enumerate() {
            let snapshot = if disk.persistent { "off" } else { "on" };
            let cache = if disk.direct { ",cache=none" } else { "" };
            let file = quoted(&disk.file);
            add(&[
                "-drive",
                &format!(
                    "if=none,id=disk{index},format=raw,snapshot={snapshot}{cache},file={file}"
                ),
            ]);
            add(&[
                "-device",
                &format!("virtio-blk-pci,drive=disk{index},disable-legacy=on,serial=keel{index}"),
            ]);
        }
        add(&["-object", "rng-random,filename=/dev/urandom,id=rng0"]);
        add(&["-device", "virtio-rng-pci,rng=rng0,disable-legacy=on"]);
        match self.console {
            Console::Terminal => add(&[
                "-chardev",
                "stdio,id=console,mux=on,signal=off",
                "-mon",
                "console",
            ]),
            Console::Pipes => add(&["-chardev", "stdio,id=console,signal=off"]),
        }
        add(&["-serial", "chardev:console"]);
        if let Some(socket) = &self.agent_socket {
            add(&[
                "-chardev",
                &format!("socket,id=agent,path={}", quoted(socket)),
            ]);
            add(&["-serial", "chardev:agent"]);
        }
        if let Some(file) = &self.trace_file {
            add(&["-chardev", &format!("file,id=trace,path={}", quoted(file))]);
            add(&["-serial", "chardev:trace"]);
        }
        args.extend(self.extra.iter().cloned());
        args
    }

    /// Starts QEMU. It dies with the calling thread, where the system allows that.
    pub fn start(&self) -> Result<Child> {
        host::ensure(&[host::QEMU])?;
        let program =
            find_program("qemu-system-x86_64").context("qemu-system-x86_64 is not installed")?;
        let mut command = match find_program("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(self.arguments());
        if self.console == Console::Pipes {
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
        }
        command.spawn().context("cannot start QEMU")
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A path inside a QEMU option, where commas are doubled.
fn quoted(path: &Path) -> String {
    text(path).replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_forgetful_unless_told_otherwise() {
        let machine = Machine {
            kernel: "k".into(),
            initrd: None,
            command_line: "root=/dev/vda".into(),
            cpus: 2,
            memory: "1G".into(),
            disks: vec![
                Disk {
                    file: "a,b.img".into(),
                    persistent: false,
                    direct: false,
                },
                Disk {
                    file: "c.img".into(),
                    persistent: true,
                    direct: false,
                },
            ],
            console: Console::Pipes,
            agent_socket: None,
            trace_file: None,
            may_reboot: false,
            count_instructions: false,
            extra: Vec::new(),
        };
        let line = machine
            .arguments()
            .join(&OsString::from(" "))
            .into_string()
            .unwrap();
        assert!(
            line.contains("snapshot=on,file=a,,b.img") && line.contains("snapshot=off,file=c.img"),
            "{line}"
        );
        assert!(line.contains("-no-reboot") && line.contains("-smp 2 -m 1G"));
    }

    #[test]
    fn disk_names_follow_their_order() {
        assert_eq!([disk_name(0), disk_name(2)], ["/dev/vda", "/dev/vdc"]);
    }
}
