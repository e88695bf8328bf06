//! Mount options of vfat (mount(8), "Mount options for fat" and "for vfat").

use crate::prelude::*;

/// Who owns files and what may be done with them; FAT itself does not say.
#[derive(Clone, Debug)]
pub struct Options {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permissions that files do not have.
    pub fmask: u32,
    /// Permissions that directories do not have.
    pub dmask: u32,
    /// chmod and chown that cannot be kept are no errors.
    pub quiet: bool,
    /// Only files called .exe, .com and .bat can be executed.
    pub show_exec: bool,
}

fn number(value: Option<&str>, radix: u32) -> Result<u32> {
    u32::from_str_radix(value.ok_or(Errno::EINVAL)?, radix).map_err(|_| Errno::EINVAL)
}

impl Options {
    /// Reads options: EINVAL for unknown ones and for character sets other than those that UTF-8 includes or replaces.
    pub fn parse(data: &[u8], uid: u32, gid: u32, umask: u32) -> Result<Self> {
        let mut options = Self {
            uid,
            gid,
            fmask: umask,
            dmask: umask,
            quiet: false,
            show_exec: false,
        };
        let text = core::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (option, None),
            };
            match key {
                "uid" => options.uid = number(value, 10)?,
                "gid" => options.gid = number(value, 10)?,
                "umask" => {
                    options.fmask = number(value, 8)? & 0o777;
                    options.dmask = options.fmask;
                }
                "fmask" => options.fmask = number(value, 8)? & 0o777,
                "dmask" => options.dmask = number(value, 8)? & 0o777,
                "quiet" => options.quiet = true,
                "showexec" => options.show_exec = true,
                // Names are UTF-8, whose first half these are.
                "utf8" if matches!(value, None | Some("1" | "true" | "yes")) => {}
                "iocharset" if matches!(value, Some("utf8" | "ascii" | "iso8859-1")) => {}
                "codepage" if value == Some("437") => {}
                "shortname" if value == Some("mixed") => {}
                "errors" if value == Some("remount-ro") => {}
                "check" if matches!(value, Some("n" | "normal" | "r" | "relaxed")) => {}
                "tz" if value == Some("UTC") => {}
                "rodir" | "flush" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }

    /// What /proc/mounts shows.
    pub fn show(&self, out: &mut String) {
        if self.uid != 0 {
            out.push_str(&format!(",uid={}", self.uid));
        }
        if self.gid != 0 {
            out.push_str(&format!(",gid={}", self.gid));
        }
        out.push_str(&format!(
            ",fmask={:04o},dmask={:04o}",
            self.fmask, self.dmask
        ));
        out.push_str(",codepage=437,iocharset=ascii,shortname=mixed,utf8");
        for (on, text) in [(self.show_exec, ",showexec"), (self.quiet, ",quiet")] {
            if on {
                out.push_str(text);
            }
        }
        out.push_str(",errors=remount-ro");
    }

    /// Permissions of a file.
    pub fn mode(&self, is_dir: bool, read_only: bool, name: Option<&[u8]>) -> u32 {
        if is_dir {
            return 0o777 & !self.dmask;
        }
        let mut mode = 0o777 & !self.fmask;
        if read_only {
            mode &= !0o222;
        }
        let runs = |name: &[u8]| {
            let end = name.len().saturating_sub(4);
            let extension = name.get(end..).unwrap_or(name).to_ascii_lowercase();
            [&b".exe"[..], b".com", b".bat"].contains(&&extension[..])
        };
        if self.show_exec && !name.is_some_and(runs) {
            mode &= !0o111;
        }
        mode
    }
}
