//! Descriptors for processes (pidfd_open(2)): readable once the process has ended.

use core::any::Any;
use keel_abi::args::Fd;
use keel_abi::flags::OpenFlags;

use crate::fs::{File, FileOps, PollEvents, PollTable, anon_file};
use crate::prelude::*;
use crate::process::{Process, Thread};

struct PidFd {
    process: Arc<Process>,
}

impl FileOps for PidFd {
    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File, table: &mut PollTable) -> PollEvents {
        table.add(&self.process.exit_wait);
        if self.process.zombie_status().is_some() {
            PollEvents::READABLE
        } else {
            PollEvents::empty()
        }
    }

    fn show_fdinfo(&self, _file: &File, out: &mut String) {
        let gone = crate::process::find(self.process.pid)
            .is_none_or(|now| !Arc::ptr_eq(&now, &self.process));
        let pid = if gone { -1 } else { self.process.pid as i32 };
        out.push_str(&format!("Pid:\t{pid}\nNSpid:\t{pid}\n"));
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A descriptor for `process` in `thread`'s table: EMFILE.
pub fn open(thread: &Thread, process: &Arc<Process>, nonblock: bool) -> Result<Fd> {
    let mut flags = OpenFlags::RDWR;
    flags.set(OpenFlags::NONBLOCK, nonblock);
    let file = anon_file(
        "[pidfd]",
        Arc::new(PidFd {
            process: process.clone(),
        }),
        flags,
    );
    thread.files().install(file, true)
}

/// The process that a descriptor means, and whether it is non-blocking: EBADF.
pub fn process_of(thread: &Thread, fd: Fd) -> Result<(Arc<Process>, bool)> {
    let file = thread.files().get(fd)?;
    let pidfd = file.ops_as::<PidFd>().ok_or(Errno::EBADF)?;
    Ok((pidfd.process.clone(), file.nonblocking()))
}
