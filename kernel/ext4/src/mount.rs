//! Mounting: checks, journal recovery, going read-write.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::ahead::Preallocations;
use crate::balloc::Counters;
use crate::buffer::BufCache;
use crate::bytes::{le16, le32, put16, put32};
use crate::fs::LiveOptions;
use crate::group::load_groups;
use crate::inode::{Inode, InodeCache};
use crate::journal::{Journal, Log, recover};
use crate::layout::{compat, incompat, ro_compat, sb};
use crate::orphan::Orphans;
use crate::platform::{Lock, LogLevel, Platform};
use crate::seal::Kind;
use crate::superblock::{Super, feature_names};
use crate::{BlockDevice, Errno, ErrorPolicy, Flavour, Fs, MountOptions, Result};

fn read_super(dev: &dyn BlockDevice) -> Result<Vec<u8>> {
    if dev.size() < 2048 {
        return Err(Errno::EINVAL);
    }
    // A whole 4 KiB where the device has it, for devices with large sectors.
    let mut raw = vec![0; dev.size().min(4096) as usize & !511];
    dev.read(0, &mut raw)?;
    raw.get(1024..2048).map(<[u8]>::to_vec).ok_or(Errno::EINVAL)
}

impl<P: Platform> Fs<P> {
    /// Mounts the file system on `dev`: checks it, replays the journal, finishes the orphans.
    ///
    /// `EINVAL` not ext4 (or ext2/3), `EOPNOTSUPP` a feature that is not supported (named in the log), `EUCLEAN`
    /// damage, `EROFS` a read-write mount of a read-only device or of unknown ro_compat features.
    pub fn mount(
        dev: Arc<dyn BlockDevice>,
        platform: P,
        options: MountOptions,
    ) -> Result<Arc<Self>> {
        let raw = read_super(&*dev)?;
        let sb = match Super::parse(&raw, dev.size()) {
            Err(Errno::EUCLEAN) if !options.no_load => {
                // Replay may have a whole copy; if not, the second look below fails.
                let sb = Super::parse_unsealed(&raw, dev.size())?;
                let journal = sb.is(incompat::RECOVER) && sb.has(compat::HAS_JOURNAL);
                if journal {
                    sb
                } else {
                    return Err(Errno::EUCLEAN);
                }
            }
            r => r?,
        };
        check_features(&platform, &sb, &options)?;
        if dev.sector_size() > sb.block_size {
            platform.log(
                LogLevel::Error,
                format_args!("ext4: blocks are smaller than sectors"),
            );
            return Err(Errno::EINVAL);
        }
        if !options.read_only && dev.read_only() {
            return Err(Errno::EROFS);
        }
        let needs_recovery = sb.is(incompat::RECOVER);
        if needs_recovery && !options.no_load && dev.read_only() {
            platform.log(
                LogLevel::Error,
                format_args!("ext4: journal needs replay, device is read-only"),
            );
            return Err(Errno::EROFS);
        }
        let mut fs = Self::assemble(dev, platform, sb, options)?;
        fs.load_all_groups()?;
        let log = if fs.sb.has(compat::HAS_JOURNAL) && !fs.opts.no_load {
            Some(fs.open_journal(needs_recovery)?)
        } else {
            None
        };
        if needs_recovery && log.is_some() {
            fs.sb = Super::parse(&read_super(&*fs.dev)?, fs.dev.size())?;
            fs.cache.clear();
            fs.icache = InodeCache::new();
            fs.load_all_groups()?;
        }
        let read_only = fs.opts.read_only;
        if let Some(mut log) = log {
            if needs_recovery || !read_only {
                fs.settle_journal(&mut log, read_only)?;
            }
            let tid = log.next_tid;
            fs.journal = Journal::new(Some(log), tid);
        }
        fs.set_counters();
        let fs = Arc::new(fs);
        if !read_only {
            fs.go_live()?;
        }
        Ok(fs)
    }

    fn assemble(
        dev: Arc<dyn BlockDevice>,
        platform: P,
        sb: Super,
        opts: MountOptions,
    ) -> Result<Self> {
        let policy = opts.errors.unwrap_or(match sb.errors {
            2 => ErrorPolicy::RemountReadOnly,
            3 => ErrorPolicy::Panic,
            _ => ErrorPolicy::Continue,
        });
        Ok(Self {
            cache: BufCache::new(sb.block_size as usize, opts.buffer_cache_blocks),
            groups: Vec::new(),
            journal: Journal::new(None, 1),
            icache: InodeCache::new(),
            orphans: P::Mutex::new(Orphans::default()),
            counters: Counters {
                free: AtomicI64::new(0),
                delayed: AtomicI64::new(0),
                // Block maps promise their indirect blocks exactly.
                pool: if sb.is(incompat::EXTENTS) {
                    (sb.blocks_count / 50).min(4096) as i64
                } else {
                    0
                },
                free_inodes: AtomicI64::new(0),
                spread: AtomicU64::new(u64::from(platform.random_u32())),
            },
            overhead: 0,
            read_only: AtomicBool::new(true),
            damaged: AtomicBool::new(false),
            panic: AtomicBool::new(false),
            ahead: Preallocations::new(),
            live: LiveOptions::new(policy, &opts),
            dev,
            platform,
            sb,
            opts,
        })
    }

    fn load_all_groups(&mut self) -> Result<()> {
        let gdt: Vec<u64> = (0..self.sb.gdt_blocks())
            .map(|i| self.sb.gdt_location(i))
            .collect();
        self.cache.prefetch(&*self.dev, &self.sb, &gdt, Kind::Plain);
        let groups = load_groups(&self.sb, |b| self.bread(b, Kind::Plain));
        self.groups = groups.inspect_err(|e| {
            self.platform.log(
                LogLevel::Error,
                format_args!("ext4: group descriptors: {e}"),
            );
        })?;
        Ok(())
    }

    fn set_counters(&mut self) {
        let (blocks, inodes) = self.sum_free();
        self.counters.free = AtomicI64::new(blocks as i64);
        self.counters.free_inodes = AtomicI64::new(inodes as i64);
        let per_group = u64::from(2 + self.sb.itable_blocks());
        let meta: u64 = (0..self.sb.groups)
            .map(|g| u64::from(self.sb.group_base_meta(g)) + per_group)
            .sum();
        let journal = if self.sb.has(compat::HAS_JOURNAL) && self.sb.journal_inum != 0 {
            self.iget_any(self.sb.journal_inum, false).map_or(0, |i| {
                let n = i.size() >> self.sb.block_bits;
                // A failure here would have shown when the journal was opened.
                let _ = self.iput(i);
                n
            })
        } else {
            0
        };
        self.overhead = self.sb.first_data_block + meta + journal;
    }

    /// Finds the journal's blocks and replays it if needed.
    fn open_journal(&self, needs_recovery: bool) -> Result<Log> {
        if self.sb.journal_inum == 0 {
            self.platform.log(
                LogLevel::Error,
                format_args!("ext4: external journals are not supported"),
            );
            return Err(Errno::EOPNOTSUPP);
        }
        let inode = self.iget_any(self.sb.journal_inum, false)?;
        let map = self.journal_map(&inode);
        self.iput(inode)?;
        let bs = self.sb.block_size as usize;
        let r = recover(&*self.dev, map?, bs, self.sb.blocks_count, needs_recovery).inspect_err(
            |e| {
                let hint = match *e {
                    Errno::EOPNOTSUPP => {
                        " (unknown features, or fast commits to replay: e2fsck can)"
                    }
                    _ => "",
                };
                self.platform
                    .log(LogLevel::Error, format_args!("ext4: journal: {e}{hint}"));
            },
        )?;
        if r.errno != 0 {
            self.damaged.store(true, Ordering::Release);
        }
        if needs_recovery {
            self.platform.log(
                LogLevel::Info,
                format_args!(
                    "ext4: journal: {} transactions redone, {} blocks written",
                    r.transactions, r.replayed
                ),
            );
        }
        Ok(r.log)
    }

    fn journal_map(&self, inode: &Inode<P>) -> Result<Vec<u64>> {
        let st = inode.read();
        let n = u32::try_from(st.size >> self.sb.block_bits).map_err(|_| Errno::EUCLEAN)?;
        if !(256..=1 << 22).contains(&n) {
            return Err(Errno::EUCLEAN);
        }
        let mut map = Vec::with_capacity(n as usize);
        while (map.len() as u32) < n {
            let at = map.len() as u32;
            let m = self.map_in(&st, at, n - at)?;
            if m.state != crate::MapState::Mapped {
                return Err(Errno::EUCLEAN);
            }
            map.extend(m.pblk..m.pblk + u64::from(m.len));
        }
        Ok(map)
    }

    /// After recovery: the log is marked empty, then the superblock says that no recovery is due; for a
    /// read-write mount the log takes on the features that new transactions use.
    fn settle_journal(&self, log: &mut Log, read_only: bool) -> Result<()> {
        log.write_clean(&*self.dev)?;
        self.update_super(|raw| {
            let f = le32(raw, sb::INCOMPAT) & !incompat::RECOVER;
            put32(raw, sb::INCOMPAT, f);
        })?;
        if !read_only {
            log.set_features(self.sb.is(incompat::BIT64), self.sb.has_csum());
        }
        Ok(())
    }

    /// Turns a mounted file system read-write: superblock and log say "in use", then orphans are finished.
    pub(crate) fn go_live(&self) -> Result<()> {
        let now = self.platform.now();
        if self.sb.state & sb::STATE_VALID == 0 {
            self.platform.log(
                LogLevel::Warning,
                format_args!("ext4: mounting unchecked fs, running e2fsck is recommended"),
            );
        }
        self.update_super(|raw| {
            if self.journal.has_log {
                put32(
                    raw,
                    sb::INCOMPAT,
                    le32(raw, sb::INCOMPAT) | incompat::RECOVER,
                );
            } else {
                put16(raw, sb::STATE, le16(raw, sb::STATE) & !sb::STATE_VALID);
            }
            if self.damaged.load(Ordering::Acquire) {
                put16(raw, sb::STATE, le16(raw, sb::STATE) | sb::STATE_ERROR);
            }
            put16(
                raw,
                sb::MNT_COUNT,
                le16(raw, sb::MNT_COUNT).saturating_add(1),
            );
            put32(raw, sb::MTIME, now.sec as u32);
            put32(raw, sb::WTIME, now.sec as u32);
            self.put_orphan_present(raw, true);
        })?;
        self.mark_log_live()?;
        self.read_only.store(false, Ordering::Release);
        if let Err(e) = self.process_orphans() {
            self.platform.log(
                LogLevel::Warning,
                format_args!("ext4: orphan processing: {e}"),
            );
        }
        Ok(())
    }
}

impl Flavour {
    /// Whether this type's own implementations could mount the volume.
    fn takes(self, sb: &Super, read_only: bool) -> bool {
        let known = incompat::FILETYPE | incompat::META_BG;
        let known = match self {
            Self::Ext4 => return true,
            Self::Ext3 if !sb.has(compat::HAS_JOURNAL) => return false,
            Self::Ext3 => known | incompat::RECOVER,
            Self::Ext2 => known,
        };
        let known_ro = ro_compat::SPARSE_SUPER | ro_compat::LARGE_FILE | ro_compat::BTREE_DIR;
        sb.incompat & !known == 0 && (read_only || sb.ro_compat & !known_ro == 0)
    }
}

/// Whether the features allow this mount.
pub(crate) fn check_features<P: Platform>(
    platform: &P,
    sb: &Super,
    opts: &MountOptions,
) -> Result<()> {
    let refuse = |kind: &str, bits: u32, names: &[(u32, &str)], e: Errno| {
        let list = feature_names(bits, names);
        platform.log(
            LogLevel::Error,
            format_args!("ext4: unsupported {kind}: {list} ({bits:#x})"),
        );
        Err(e)
    };
    if !opts.flavour.takes(sb, opts.read_only) {
        platform.log(
            LogLevel::Error,
            format_args!(
                "ext4: couldn't mount as {:?} due to feature incompatibilities",
                opts.flavour
            ),
        );
        return Err(Errno::EINVAL);
    }
    let unknown = sb.incompat & !incompat::SUPPORTED;
    if unknown != 0 {
        return refuse("features", unknown, &incompat::NAMES, Errno::EOPNOTSUPP);
    }
    if opts.no_load && !opts.read_only {
        return Err(Errno::EINVAL);
    }
    if opts.read_only {
        return Ok(());
    }
    let unknown = sb.ro_compat & !ro_compat::SUPPORTED;
    if unknown != 0 {
        let kind = "features for writing";
        return refuse(kind, unknown, &ro_compat::NAMES, Errno::EROFS);
    }
    if sb.is(incompat::MMP) {
        return refuse(
            "features for writing",
            incompat::MMP,
            &incompat::NAMES,
            Errno::EROFS,
        );
    }
    Ok(())
}
