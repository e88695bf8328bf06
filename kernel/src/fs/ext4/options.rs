//! Mount options of ext4 (ext4(5)).

use keel_ext4::{DataMode, ErrorPolicy, MountOptions};

use crate::prelude::*;

/// Options, parsed.
#[derive(Clone, Default)]
pub(super) struct Options {
    pub(super) mount: MountOptions,
    /// `resuid=`.
    pub(super) reserved_uid: u32,
    /// `grpid`: new files belong to their directory's group.
    pub(super) group_of_dir: bool,
    /// The options that were given.
    given: Vec<String>,
}

/// Options that ask for what is done anyway, or that only tune.
const ACCEPTED: &[&str] = &[
    "acl",
    "user_xattr",
    "delalloc",
    "noquota",
    "auto_da_alloc",
    "noauto_da_alloc",
    "journal_checksum",
    "nojournal_checksum",
    "journal_async_commit",
    "block_validity",
    "noblock_validity",
    "dioread_lock",
    "dioread_nolock",
    "nodiscard",
    "init_itable",
    "noinit_itable",
    "lazytime",
    "nolazytime",
    "nombcache",
    "i_version",
    "mblk_io_submit",
    "nomblk_io_submit",
    "prefetch_block_bitmaps",
    "oldalloc",
    "orlov",
    "bsddf",
];
/// The same, with values.
const ACCEPTED_VALUES: &[&str] = &[
    "stripe",
    "inode_readahead_blks",
    "init_itable",
    "journal_ioprio",
    "max_batch_time",
    "min_batch_time",
    "resgid",
    "sb",
    "data_err",
];

impl Options {
    /// What `data` (comma separated) makes of these options, as a remount has it: what it does not name stays.
    /// EINVAL for what ext4 does not know.
    pub(super) fn parse(mut self, data: &[u8], read_only: bool) -> Result<Self> {
        let mount = &mut self.mount;
        mount.read_only = read_only;
        let text = core::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            match (name, value) {
                ("errors", Some("continue")) => mount.errors = Some(ErrorPolicy::Continue),
                ("errors", Some("remount-ro")) => mount.errors = Some(ErrorPolicy::RemountReadOnly),
                ("errors", Some("panic")) => mount.errors = Some(ErrorPolicy::Panic),
                ("data", Some("ordered")) => mount.data = DataMode::Ordered,
                ("data", Some("writeback")) => mount.data = DataMode::Writeback,
                ("noload" | "norecovery", None) => mount.no_load = true,
                ("barrier", None | Some("1")) => mount.barrier = true,
                ("barrier", Some("0")) | ("nobarrier", None) => mount.barrier = false,
                ("grpid" | "bsdgroups", None) => self.group_of_dir = true,
                ("nogrpid" | "sysvgroups", None) => self.group_of_dir = false,
                ("discard", None) => mount.discard = true,
                ("commit", Some(seconds)) => {
                    let seconds: u32 = seconds.parse().map_err(|_| Errno::EINVAL)?;
                    mount.commit_interval = if seconds == 0 { 5 } else { seconds };
                }
                ("resuid", Some(uid)) => {
                    self.reserved_uid = uid.parse().map_err(|_| Errno::EINVAL)?;
                }
                (name, None) if ACCEPTED.contains(&name) => {}
                (name, Some(_)) if ACCEPTED_VALUES.contains(&name) => {}
                _ => {
                    log::error!("EXT4-fs: Unrecognized mount option \"{word}\" or missing value");
                    return Err(Errno::EINVAL);
                }
            }
            self.given.retain(|old| old.split('=').next() != Some(name));
            self.given.push(word.to_owned());
        }
        Ok(self)
    }

    /// What /proc/mounts shows: the options that were given, each with a comma before.
    pub(super) fn show(&self, out: &mut String) {
        for word in &self.given {
            out.push(',');
            out.push_str(word);
        }
    }
}
