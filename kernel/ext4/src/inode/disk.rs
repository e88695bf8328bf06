//! The on-disk inode: fields, times with nanoseconds and beyond 2038, checksum.

use super::InodeState;
use crate::bytes::{hi32, le16, le32, lo16, lo32, put16, put32};
use crate::checksum::crc32c;
use crate::layout::{di, iflags, incompat, mode, ro_compat};
use crate::seal::inode_seed;
use crate::superblock::Super;
use crate::{Errno, FileType, Result, Timespec, inode_flags};

/// Encodes a time: the low 32 bits, and two epoch bits with the nanoseconds above them.
fn encode_time(t: Timespec) -> (u32, u32) {
    let low = lo32(t.sec as u64);
    let epoch = t.sec.wrapping_sub(i64::from(low as i32)) >> 32;
    (low, (epoch as u32 & 3) | t.nsec << 2)
}

fn decode_time(low: u32, extra: Option<u32>) -> Timespec {
    let sec = i64::from(low as i32);
    match extra {
        Some(e) => Timespec {
            sec: sec + (i64::from(e & 3) << 32),
            nsec: (e >> 2).min(999_999_999),
        },
        None => Timespec { sec, nsec: 0 },
    }
}

/// A time as an inode holds it: whole seconds in 32 bits where it has no room for more.
fn clip_time(t: Timespec, wide: bool) -> Timespec {
    let least = i64::from(i32::MIN);
    let (most, nsec) = if wide {
        (least + (1 << 34) - 1, t.nsec)
    } else {
        (i64::from(i32::MAX), 0)
    };
    Timespec {
        sec: t.sec.clamp(least, most),
        nsec: if t.sec > most { 0 } else { nsec },
    }
}

impl InodeState {
    /// Decodes an inode. `EUCLEAN`: it cannot be one.
    pub fn parse(sb: &Super, ino: u32, raw: &[u8]) -> Result<Self> {
        let generation = le32(raw, di::GENERATION);
        let seed = inode_seed(sb, ino, generation);
        let extra = extra_isize(raw);
        if extra > raw.len().saturating_sub(di::GOOD_OLD_SIZE) || !extra.is_multiple_of(4) {
            return Err(Errno::EUCLEAN);
        }
        if sb.has_csum() && !csum_ok(seed, raw) {
            return Err(Errno::EBADMSG);
        }
        let mode = le16(raw, di::MODE);
        let has = |off: usize| off + 4 <= di::GOOD_OLD_SIZE + extra;
        let time = |off, xoff| decode_time(le32(raw, off), has(xoff).then(|| le32(raw, xoff)));
        let flags = le32(raw, di::FLAGS);
        let mut size = u64::from(le32(raw, di::SIZE_LO));
        if mode & mode::S_IFMT == mode::S_IFREG || sb.is(incompat::LARGEDIR) {
            size |= u64::from(le32(raw, di::SIZE_HI)) << 32;
        }
        if size > i64::MAX as u64 {
            return Err(Errno::EUCLEAN);
        }
        let mut blocks = u64::from(le32(raw, di::BLOCKS_LO));
        if sb.ro(ro_compat::HUGE_FILE) {
            blocks |= u64::from(le16(raw, di::BLOCKS_HI)) << 32;
            if flags & iflags::HUGE_FILE != 0 {
                blocks = blocks.saturating_mul(u64::from(sb.block_size / 512));
            }
        }
        let wide = u32::from(le16(raw, di::FILE_ACL_HI));
        Ok(Self {
            seed,
            mode,
            uid: u32::from(le16(raw, di::UID_LO)) | u32::from(le16(raw, di::UID_HI)) << 16,
            gid: u32::from(le16(raw, di::GID_LO)) | u32::from(le16(raw, di::GID_HI)) << 16,
            project: if has(di::PROJID) {
                le32(raw, di::PROJID)
            } else {
                0
            },
            nlink: u32::from(le16(raw, di::LINKS)),
            flags,
            generation,
            size,
            disk_size: size,
            sectors: blocks,
            atime: time(di::ATIME, di::ATIME_EXTRA),
            mtime: time(di::MTIME, di::MTIME_EXTRA),
            ctime: time(di::CTIME, di::CTIME_EXTRA),
            crtime: if has(di::CRTIME_EXTRA) {
                time(di::CRTIME, di::CRTIME_EXTRA)
            } else {
                Timespec::default()
            },
            file_acl: u64::from(le32(raw, di::FILE_ACL_LO))
                | if sb.is(incompat::BIT64) {
                    u64::from(wide) << 32
                } else {
                    0
                },
            raw: raw.to_vec(),
            ..Self::default()
        })
    }

    /// Whether the inode is large enough for a project id.
    pub(crate) fn has_project(&self) -> bool {
        di::PROJID + 4 <= di::GOOD_OLD_SIZE + extra_isize(&self.raw)
    }

    /// Cuts the times to what the inode holds, so that they stay the same when it is read again.
    pub(super) fn clip_times(&mut self) {
        let extra = extra_isize(&self.raw);
        let wide = |off: usize| off + 4 <= di::GOOD_OLD_SIZE + extra;
        self.atime = clip_time(self.atime, wide(di::ATIME_EXTRA));
        self.mtime = clip_time(self.mtime, wide(di::MTIME_EXTRA));
        self.ctime = clip_time(self.ctime, wide(di::CTIME_EXTRA));
        if !wide(di::CRTIME_EXTRA) {
            self.crtime = Timespec::default();
        }
    }

    /// Writes the decoded fields back into `raw`.
    pub(super) fn encode(&mut self, sb: &Super) {
        self.clip_times();
        let extra = extra_isize(&self.raw);
        let has = |off: usize| off + 4 <= di::GOOD_OLD_SIZE + extra;
        let raw = &mut self.raw;
        put16(raw, di::MODE, self.mode);
        put16(raw, di::UID_LO, lo16(self.uid));
        put16(raw, di::UID_HI, lo16(self.uid >> 16));
        put16(raw, di::GID_LO, lo16(self.gid));
        put16(raw, di::GID_HI, lo16(self.gid >> 16));
        if has(di::PROJID) {
            put32(raw, di::PROJID, self.project);
        }
        put16(raw, di::LINKS, lo16(self.nlink));
        put32(raw, di::GENERATION, self.generation);
        put32(raw, di::SIZE_LO, lo32(self.disk_size));
        if self.mode & mode::S_IFMT == mode::S_IFREG || sb.is(incompat::LARGEDIR) {
            put32(raw, di::SIZE_HI, hi32(self.disk_size));
        }
        let mut blocks = self.sectors;
        self.flags &= !iflags::HUGE_FILE;
        if sb.ro(ro_compat::HUGE_FILE) {
            if blocks >= 1 << 48 {
                self.flags |= iflags::HUGE_FILE;
                blocks /= u64::from(sb.block_size / 512);
            }
            put16(raw, di::BLOCKS_HI, lo16(hi32(blocks)));
        }
        put32(raw, di::BLOCKS_LO, lo32(blocks));
        put32(raw, di::FLAGS, self.flags);
        put32(raw, di::FILE_ACL_LO, lo32(self.file_acl));
        if sb.is(incompat::BIT64) {
            put16(raw, di::FILE_ACL_HI, lo16(hi32(self.file_acl)));
        }
        let mut time = |off, xoff, t| {
            let (low, x) = encode_time(t);
            put32(raw, off, low);
            if has(xoff) {
                put32(raw, xoff, x);
            }
        };
        time(di::ATIME, di::ATIME_EXTRA, self.atime);
        time(di::MTIME, di::MTIME_EXTRA, self.mtime);
        time(di::CTIME, di::CTIME_EXTRA, self.ctime);
        if has(di::CRTIME_EXTRA) {
            time(di::CRTIME, di::CRTIME_EXTRA, self.crtime);
        }
        self.bump_version(has(di::VERSION_HI));
        if sb.has_csum() {
            put_csum(self.seed, &mut self.raw);
        }
    }

    /// `i_version` counts changes.
    fn bump_version(&mut self, wide: bool) {
        let raw = &mut self.raw;
        let (v, carry) = le32(raw, di::VERSION_LO).overflowing_add(1);
        put32(raw, di::VERSION_LO, v);
        if carry && wide {
            let hi = le32(raw, di::VERSION_HI).wrapping_add(1);
            put32(raw, di::VERSION_HI, hi);
        }
    }

    pub fn is_dir(&self) -> bool {
        self.mode & mode::S_IFMT == mode::S_IFDIR
    }

    pub fn is_regular(&self) -> bool {
        self.mode & mode::S_IFMT == mode::S_IFREG
    }

    pub fn is_symlink(&self) -> bool {
        self.mode & mode::S_IFMT == mode::S_IFLNK
    }

    pub fn is_inline(&self) -> bool {
        self.flags & inode_flags::INLINE_DATA != 0
    }

    pub fn has_extents(&self) -> bool {
        self.flags & inode_flags::EXTENTS != 0
    }

    /// Whether the block array holds pointers to blocks.
    pub fn has_block_map(&self) -> bool {
        (self.is_regular() || self.is_dir() || self.is_symlink())
            && !self.is_inline()
            && !self.has_extents()
            && !self.is_fast_symlink()
    }

    /// A symlink whose target is in the block array.
    pub fn is_fast_symlink(&self) -> bool {
        self.is_symlink()
            && !self.is_inline()
            && !self.has_extents()
            && self.size < di::BLOCK_LEN as u64
    }

    /// The block array (60 bytes): extent root, block pointers, or a short symlink.
    pub fn iblock(&self) -> &[u8] {
        self.raw
            .get(di::BLOCK..di::BLOCK + di::BLOCK_LEN)
            .unwrap_or(&[])
    }

    pub fn iblock_mut(&mut self) -> &mut [u8] {
        self.raw
            .get_mut(di::BLOCK..di::BLOCK + di::BLOCK_LEN)
            .unwrap_or(&mut [])
    }

    /// Device number: the old 16-bit form in the first word or the new one in the second.
    pub fn rdev(&self) -> (u32, u32) {
        let t = self.mode & mode::S_IFMT;
        if t != mode::S_IFCHR && t != mode::S_IFBLK {
            return (0, 0);
        }
        let old = le32(self.iblock(), 0);
        if old != 0 {
            return ((old >> 8) & 0xff, old & 0xff);
        }
        let new = le32(self.iblock(), 4);
        ((new >> 8) & 0xfff, (new & 0xff) | ((new >> 12) & 0xfff00))
    }

    pub fn set_rdev(&mut self, (major, minor): (u32, u32)) {
        let b = self.iblock_mut();
        b.fill(0);
        if major < 256 && minor < 256 {
            put32(b, 0, major << 8 | minor);
        } else {
            put32(
                b,
                4,
                (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xfff00) << 12,
            );
        }
    }

    pub fn file_type(&self) -> FileType {
        file_type(self.mode)
    }
}

/// The type that a mode stands for.
pub(crate) fn file_type(m: u16) -> FileType {
    match m & mode::S_IFMT {
        mode::S_IFREG => FileType::Regular,
        mode::S_IFDIR => FileType::Directory,
        mode::S_IFCHR => FileType::CharDevice,
        mode::S_IFBLK => FileType::BlockDevice,
        mode::S_IFIFO => FileType::Fifo,
        mode::S_IFSOCK => FileType::Socket,
        mode::S_IFLNK => FileType::Symlink,
        _ => FileType::Unknown,
    }
}

/// Bytes of the inode in use past the first 128.
pub(crate) fn extra_isize(raw: &[u8]) -> usize {
    if raw.len() > di::GOOD_OLD_SIZE {
        usize::from(le16(raw, di::EXTRA_ISIZE))
    } else {
        0
    }
}

fn inode_csum(seed: u32, raw: &[u8]) -> u32 {
    let has_hi = extra_isize(raw) >= 4;
    let mut c = crc32c(seed, raw.get(..di::CHECKSUM_LO).unwrap_or(&[]));
    c = crc32c(c, &[0, 0]);
    c = crc32c(
        c,
        raw.get(di::CHECKSUM_LO + 2..di::GOOD_OLD_SIZE)
            .unwrap_or(&[]),
    );
    if raw.len() > di::GOOD_OLD_SIZE {
        c = crc32c(
            c,
            raw.get(di::GOOD_OLD_SIZE..di::CHECKSUM_HI).unwrap_or(&[]),
        );
        if has_hi {
            c = crc32c(c, &[0, 0]);
            c = crc32c(c, raw.get(di::CHECKSUM_HI + 2..).unwrap_or(&[]));
        } else {
            c = crc32c(c, raw.get(di::CHECKSUM_HI..).unwrap_or(&[]));
        }
    }
    c
}

fn csum_ok(seed: u32, raw: &[u8]) -> bool {
    let c = inode_csum(seed, raw);
    let hi = extra_isize(raw) >= 4;
    le16(raw, di::CHECKSUM_LO) == lo16(c) && (!hi || le16(raw, di::CHECKSUM_HI) == lo16(c >> 16))
}

fn put_csum(seed: u32, raw: &mut [u8]) {
    let c = inode_csum(seed, raw);
    put16(raw, di::CHECKSUM_LO, lo16(c));
    if extra_isize(raw) >= 4 {
        put16(raw, di::CHECKSUM_HI, lo16(c >> 16));
    }
}

/// Recomputes the checksum of an inode changed in its table.
pub(crate) fn reseal(sb: &Super, ino: u32, raw: &mut [u8]) {
    if sb.has_csum() {
        put_csum(inode_seed(sb, ino, le32(raw, di::GENERATION)), raw);
    }
}
