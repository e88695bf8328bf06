//! One mount of procfs: its options, and who may see which process (proc(5), "Mount options").

use core::sync::atomic::{AtomicU32, Ordering};

use crate::prelude::*;
use crate::process::{Thread, ptrace};

/// `hidepid=`: everything can be seen.
const OFF: u32 = 0;
/// `hidepid=1`: other users' directories cannot be entered.
const NO_ACCESS: u32 = 1;
/// `hidepid=2`: other users' processes are not listed.
const INVISIBLE: u32 = 2;
/// `hidepid=4`: only what could be traced is listed.
const PTRACEABLE: u32 = 4;

/// What was mounted.
#[derive(Default)]
pub struct Instance {
    hidepid: AtomicU32,
    /// Members of this group see everything.
    gid: AtomicU32,
}

impl Instance {
    /// From the options of mount(2): EINVAL for what is unknown.
    pub fn parse(data: &[u8]) -> Result<Self> {
        let instance = Self::default();
        instance.update(data)?;
        Ok(instance)
    }

    /// Changes the options that are named.
    pub fn update(&self, data: &[u8]) -> Result<()> {
        let text = core::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        let text = text.trim_end_matches('\0');
        for option in text.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("hidepid", value)) => {
                    let mode = match value {
                        "0" | "off" => OFF,
                        "1" | "noaccess" => NO_ACCESS,
                        "2" | "invisible" => INVISIBLE,
                        "4" | "ptraceable" => PTRACEABLE,
                        _ => return Err(Errno::EINVAL),
                    };
                    self.hidepid.store(mode, Ordering::Relaxed);
                }
                Some(("gid", value)) => {
                    let gid = value.parse().map_err(|_| Errno::EINVAL)?;
                    self.gid.store(gid, Ordering::Relaxed);
                }
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(())
    }

    /// The options as /proc/mounts shows them, a comma before each.
    pub fn show(&self, out: &mut String) {
        let gid = self.gid.load(Ordering::Relaxed);
        if gid != 0 {
            out.push_str(&format!(",gid={gid}"));
        }
        match self.hidepid.load(Ordering::Relaxed) {
            NO_ACCESS => out.push_str(",hidepid=noaccess"),
            INVISIBLE => out.push_str(",hidepid=invisible"),
            PTRACEABLE => out.push_str(",hidepid=ptraceable"),
            _ => {}
        }
    }

    /// Whether the reader may enter a thread's directory: EPERM, or ENOENT where it should not even know.
    pub fn may_enter(&self, target: &Arc<Thread>) -> Result<()> {
        let mode = self.hidepid.load(Ordering::Relaxed);
        if mode == OFF || self.sees(mode, target) {
            return Ok(());
        }
        Err(if mode == NO_ACCESS {
            Errno::EPERM
        } else {
            Errno::ENOENT
        })
    }

    /// Whether the reader is told that there is such a thread.
    pub fn is_listed(&self, target: &Arc<Thread>) -> bool {
        let mode = self.hidepid.load(Ordering::Relaxed);
        mode < INVISIBLE || self.sees(mode, target)
    }

    fn sees(&self, mode: u32, target: &Arc<Thread>) -> bool {
        let Some(me) = crate::process::current_opt() else {
            return true;
        };
        let of_group = mode != PTRACEABLE && me.cred().in_group(self.gid.load(Ordering::Relaxed));
        of_group || ptrace::may_access(&me, target)
    }
}
