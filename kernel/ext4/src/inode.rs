//! Inodes in memory: decoding, encoding, and the inode cache.
//!
//! [`Inode`] is shared by everyone who uses the file; its [`InodeState`] sits behind one reader-writer lock,
//! taken before a journal handle is started. `raw` is the inode as on disk; decoded fields are
//! written back into it by [`Fs::store_inode`].
//!
//! Changes of times alone stay in memory (`lazy`) until a commit, sync, fsync or the last use ends.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hashbrown::HashMap;

use crate::bytes::{hi32, le16, le32, lo16, lo32, put16, put32};
use crate::checksum::crc32c;
use crate::ialloc::InodeLocation;
use crate::journal::Handle;
use crate::layout::{di, iflags, incompat, mode, ro_compat};
use crate::orphan::OrphanState;
use crate::platform::{Lock, Platform, SharedLock};
use crate::seal::{Kind, inode_seed};
use crate::superblock::Super;
use crate::{Attr, Errno, FileType, Fs, Result, Timespec, inode_flags};

/// An inode in memory. Its uses are counted: see [`Fs::iget`] and [`Fs::iput`].
pub struct Inode<P: Platform> {
    ino: u32,
    pub(crate) loc: InodeLocation,
    size: AtomicU64,
    loaded: AtomicU32,
    /// 512-byte units per block.
    block_sectors: u32,
    pub(crate) state: P::RwLock<InodeState>,
}

/// What an inode's lock protects.
#[derive(Default)]
pub(crate) struct InodeState {
    pub raw: Vec<u8>,
    /// Checksum seed of everything that belongs to the inode.
    pub seed: u32,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub project: u32,
    pub nlink: u32,
    pub flags: u32,
    pub generation: u32,
    /// The size that programs see.
    pub size: u64,
    /// The size on disk: behind `size` while data waits for write-back.
    pub disk_size: u64,
    /// Allocated space in 512-byte units.
    pub sectors: u64,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    pub crtime: Timespec,
    pub file_acl: u64,
    /// Ranges promised to data in the page cache: start → length.
    pub delayed: BTreeMap<u32, u32>,
    /// Claimed blocks whose data is being written: start → (length, block).
    pub inflight: BTreeMap<u32, (u32, u64)>,
    /// Blocks in `delayed` and `inflight`, which the inode table does not count yet.
    pub pending: u64,
    /// Unwritten blocks for which the page cache has data: start → length.
    pub fresh: BTreeMap<u32, u32>,
    /// Last transaction that changed the inode, and that changed what reading its data needs.
    pub tid: u32,
    pub data_tid: u32,
    /// Times in memory are newer than in the inode table.
    pub lazy: bool,
    /// On the orphan list, and in which way.
    pub orphan: OrphanState,
    /// Directories: where the last name was added, to start there again.
    pub dir_hint: u32,
}

/// Read access to an inode.
pub(crate) type InodeRead<'a, P> =
    <<P as Platform>::RwLock<InodeState> as SharedLock<InodeState>>::ReadGuard<'a>;
/// Write access to an inode.
pub(crate) type InodeWrite<'a, P> =
    <<P as Platform>::RwLock<InodeState> as SharedLock<InodeState>>::WriteGuard<'a>;

const LOADED: u32 = 1;
const BAD: u32 = 2;

impl<P: Platform> Inode<P> {
    /// The inode number.
    pub fn ino(&self) -> u32 {
        self.ino
    }

    /// The size in bytes, without taking the inode's lock.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// The attributes now (sizes and times as seen through this crate, on disk or not).
    pub fn attr(&self) -> Attr {
        let s = self.state.read();
        let mut blocks = s.sectors + s.pending * u64::from(self.block_sectors);
        if s.is_inline() && s.is_regular() {
            // As Linux: a file with data reports at least one sector.
            blocks += s.size.div_ceil(512);
        }
        Attr {
            ino: self.ino,
            generation: s.generation,
            mode: s.mode,
            nlink: s.nlink,
            uid: s.uid,
            gid: s.gid,
            project: s.project,
            size: s.size,
            blocks,
            atime: s.atime,
            mtime: s.mtime,
            ctime: s.ctime,
            crtime: s.crtime,
            rdev: s.rdev(),
            flags: s.flags,
            inline_data: s.is_inline(),
        }
    }

    pub(crate) fn set_size_hint(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    pub(crate) fn read(&self) -> InodeRead<'_, P> {
        self.state.read()
    }

    pub(crate) fn write(&self) -> InodeWrite<'_, P> {
        self.state.write()
    }
}

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

    /// Writes the decoded fields back into `raw`.
    fn encode(&mut self, sb: &Super) {
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

    /// A symlink whose target is in the block array.
    pub fn is_fast_symlink(&self, sb: &Super) -> bool {
        let acl = if self.file_acl != 0 {
            u64::from(sb.block_size / 512)
        } else {
            0
        };
        self.is_symlink()
            && !self.is_inline()
            && !self.has_extents()
            && self.size < di::BLOCK_LEN as u64
            && self.sectors == acl
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

/// One cached inode and how many uses it has.
struct Slot<P: Platform> {
    inode: Arc<Inode<P>>,
    users: u32,
    /// The last use ended and the file is being deleted.
    dying: bool,
}

const SHARDS: usize = 32;

/// A part of the inode cache.
type Shard<P> = HashMap<u32, Slot<P>>;

/// The inodes in use, by number.
pub(crate) struct InodeCache<P: Platform> {
    shards: Vec<P::Mutex<Shard<P>>>,
    /// Inodes with times newer than on disk.
    lazy: P::Mutex<BTreeSet<u32>>,
}

impl<P: Platform> InodeCache<P> {
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| P::Mutex::new(HashMap::new())).collect(),
            lazy: P::Mutex::new(BTreeSet::new()),
        }
    }

    fn shard(&self, ino: u32) -> &P::Mutex<Shard<P>> {
        &self.shards[ino as usize % SHARDS]
    }
}

/// What the end of a use leads to.
enum LastUse {
    No,
    WriteBack,
    Delete,
}

impl<P: Platform> Fs<P> {
    fn new_handle_of(&self, ino: u32, loc: InodeLocation) -> Arc<Inode<P>> {
        Arc::new(Inode {
            ino,
            loc,
            size: AtomicU64::new(0),
            loaded: AtomicU32::new(0),
            block_sectors: self.sb.block_size / 512,
            state: P::RwLock::new(InodeState::default()),
        })
    }

    /// The inode `ino`, read if it is not in memory; one more use. `ESTALE` if it is free, `EUCLEAN` if damaged.
    pub fn iget(&self, ino: u32) -> Result<Arc<Inode<P>>> {
        if ino != crate::ROOT_INO && ino < self.sb.first_ino {
            return Err(Errno::ESTALE);
        }
        if ino > self.sb.inodes_count {
            return Err(Errno::ESTALE);
        }
        self.iget_any(ino, false)
    }

    /// Like [`Fs::iget`] for any inode; `unlinked` allows those without links (orphans).
    pub(crate) fn iget_any(&self, ino: u32, unlinked: bool) -> Result<Arc<Inode<P>>> {
        let loc = self.inode_location(ino)?;
        let inode = {
            let mut shard = self.icache.shard(ino).lock();
            match shard.get_mut(&ino) {
                Some(s) if s.dying => return Err(Errno::ESTALE),
                Some(s) => {
                    s.users += 1;
                    s.inode.clone()
                }
                None => {
                    let inode = self.new_handle_of(ino, loc);
                    shard.insert(
                        ino,
                        Slot {
                            inode: inode.clone(),
                            users: 1,
                            dying: false,
                        },
                    );
                    inode
                }
            }
        };
        if inode.loaded.load(Ordering::Acquire) != LOADED
            && let Err(e) = self.load_inode(&inode, unlinked)
        {
            self.drop_unloaded(ino);
            return Err(e);
        }
        Ok(inode)
    }

    fn load_inode(&self, inode: &Inode<P>, unlinked: bool) -> Result<()> {
        let mut st = inode.write();
        match inode.loaded.load(Ordering::Acquire) {
            LOADED => return Ok(()),
            BAD => return Err(Errno::EUCLEAN),
            _ => {}
        }
        let r = self.read_inode(inode, unlinked);
        match r {
            Ok(s) => {
                inode.set_size_hint(s.size);
                *st = s;
                inode.loaded.store(LOADED, Ordering::Release);
                Ok(())
            }
            Err(e) => {
                inode.loaded.store(BAD, Ordering::Release);
                Err(e)
            }
        }
    }

    fn read_inode(&self, inode: &Inode<P>, unlinked: bool) -> Result<InodeState> {
        self.read_table_ahead(inode.loc);
        let buf = self.bread(inode.loc.block, Kind::Plain)?;
        let s = buf.read();
        let end = inode.loc.offset + self.sb.inode_size;
        let raw = s.data.get(inode.loc.offset..end).ok_or(Errno::EUCLEAN)?;
        if le16(raw, di::MODE) == 0 || (le16(raw, di::LINKS) == 0 && !unlinked) {
            return Err(Errno::ESTALE);
        }
        let st = InodeState::parse(&self.sb, inode.ino, raw).inspect_err(|_| {
            self.damage(format_args!("inode {}: damaged", inode.ino));
        })?;
        if st.file_type() == FileType::Unknown {
            return Err(Errno::EUCLEAN);
        }
        if st.flags & (iflags::ENCRYPT | iflags::VERITY | iflags::CASEFOLD) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if st.is_inline() && !self.sb.is(incompat::INLINE_DATA) {
            return Err(Errno::EUCLEAN);
        }
        Ok(st)
    }

    /// Ends a use of an inode that could not be loaded or written.
    fn drop_unloaded(&self, ino: u32) {
        let mut shard = self.icache.shard(ino).lock();
        if let Some(s) = shard.get_mut(&ino) {
            s.users -= 1;
            if s.users == 0 {
                shard.remove(&ino);
            }
        }
    }

    /// Puts a new inode into the cache with one use.
    pub(crate) fn insert_new(&self, ino: u32, st: InodeState) -> Result<Arc<Inode<P>>> {
        let inode = self.new_handle_of(ino, self.inode_location(ino)?);
        inode.set_size_hint(st.size);
        *inode.write() = st;
        inode.loaded.store(LOADED, Ordering::Release);
        let slot = Slot {
            inode: inode.clone(),
            users: 1,
            dying: false,
        };
        if self.icache.shard(ino).lock().insert(ino, slot).is_some() {
            // The bitmap said free while someone uses it.
            self.damage(format_args!("inode {ino}: allocated twice"));
            return Err(Errno::EUCLEAN);
        }
        Ok(inode)
    }

    /// Forgets a new inode whose creation failed, or one that is deleted.
    pub(crate) fn forget_inode(&self, ino: u32) {
        self.icache.shard(ino).lock().remove(&ino);
        self.icache.lazy.lock().remove(&ino);
    }

    /// Gives one use back. The last one writes lazily kept times and, if no link is left, frees the file.
    pub fn iput(&self, inode: Arc<Inode<P>>) -> Result<()> {
        let ino = inode.ino;
        loop {
            match self.end_use(ino) {
                LastUse::No => return Ok(()),
                LastUse::Delete => return self.delete_inode(&inode),
                // Afterwards others may have come and gone: look again.
                LastUse::WriteBack => {
                    if let Err(e) = self.write_lazy(&inode) {
                        self.drop_unloaded(ino);
                        return Err(e);
                    }
                }
            }
        }
    }

    fn end_use(&self, ino: u32) -> LastUse {
        let mut shard = self.icache.shard(ino).lock();
        let Some(s) = shard.get_mut(&ino) else {
            return LastUse::No;
        };
        if s.users > 1 {
            s.users -= 1;
            return LastUse::No;
        }
        let (gone, lazy) = {
            let st = s.inode.read();
            (st.nlink == 0, st.lazy)
        };
        if gone && !self.is_read_only() {
            s.dying = true;
            return LastUse::Delete;
        }
        if lazy && !self.is_read_only() {
            return LastUse::WriteBack;
        }
        shard.remove(&ino);
        LastUse::No
    }

    /// Writes the inode into the inode table, as part of `h`. `data`: what reading the file's data needs changed.
    pub(crate) fn store_inode(
        &self,
        h: &Handle<'_, P>,
        inode: &Inode<P>,
        st: &mut InodeState,
        data: bool,
    ) -> Result<()> {
        let buf = self.bread(inode.loc.block, Kind::Plain)?;
        self.store_inode_in(h, &buf, inode, st, data);
        Ok(())
    }

    /// Like [`Fs::store_inode`] with the table's buffer at hand.
    pub(crate) fn store_inode_in(
        &self,
        h: &Handle<'_, P>,
        buf: &Arc<crate::buffer::Buf<P>>,
        inode: &Inode<P>,
        st: &mut InodeState,
        data: bool,
    ) {
        let end = inode.loc.offset + self.sb.inode_size;
        let copy = |raw: &[u8]| {
            let mut s = h.write(buf, Kind::Plain);
            if let Some(dst) = s.bytes_mut().get_mut(inode.loc.offset..end) {
                dst.copy_from_slice(raw);
            }
        };
        if st.orphan == OrphanState::Listed {
            // The list may relink this inode at any time: its link is read and stored under the list's lock.
            self.with_orphan_link(inode.ino, |next| {
                put32(&mut st.raw, di::DTIME, next);
                st.encode(&self.sb);
                copy(&st.raw);
            });
        } else {
            st.encode(&self.sb);
            copy(&st.raw);
        }
        st.tid = h.tid;
        if data {
            st.data_tid = h.tid;
        }
        st.lazy = false;
        inode.set_size_hint(st.size);
    }

    /// Notes that an inode's times in memory are newer than on disk.
    pub(crate) fn mark_lazy(&self, inode: &Inode<P>, st: &mut InodeState) {
        if !st.lazy {
            st.lazy = true;
            self.icache.lazy.lock().insert(inode.ino);
        }
    }

    /// Writes lazily kept times of one inode.
    pub(crate) fn write_lazy(&self, inode: &Inode<P>) -> Result<()> {
        let mut st = inode.write();
        if !st.lazy {
            return Ok(());
        }
        let h = self.start(2)?;
        self.store_inode(&h, inode, &mut st, false)?;
        self.icache.lazy.lock().remove(&inode.ino);
        Ok(())
    }

    /// Writes lazily kept times of all inodes.
    pub(crate) fn write_all_lazy(&self) -> Result<()> {
        let inos: Vec<u32> = self.icache.lazy.lock().iter().copied().collect();
        for ino in inos {
            let inode = {
                let mut shard = self.icache.shard(ino).lock();
                match shard.get_mut(&ino) {
                    Some(s) if !s.dying => {
                        s.users += 1;
                        s.inode.clone()
                    }
                    _ => {
                        self.icache.lazy.lock().remove(&ino);
                        continue;
                    }
                }
            };
            let r = self.write_lazy(&inode);
            self.iput(inode)?;
            r?;
        }
        Ok(())
    }

    /// A new inode's state: zeroed, with its size of extra fields, times and ownership set.
    pub(crate) fn blank_inode(&self, ino: u32, m: u16) -> InodeState {
        let generation = self.platform.random_u32();
        let mut raw = vec![0; self.sb.inode_size];
        if self.sb.inode_size > di::GOOD_OLD_SIZE {
            let room = self.sb.inode_size - di::GOOD_OLD_SIZE;
            let want = usize::from(self.sb.want_extra_isize)
                .clamp(28, room.max(28))
                .min(room);
            put16(&mut raw, di::EXTRA_ISIZE, (want & !3) as u16);
        }
        let now = self.platform.now();
        InodeState {
            seed: inode_seed(&self.sb, ino, generation),
            raw,
            mode: m,
            generation,
            atime: now,
            mtime: now,
            ctime: now,
            crtime: now,
            ..InodeState::default()
        }
    }
}

/// Locks several inodes for writing, each once, in inode-number order.
pub(crate) struct LockedInodes<'a, P: Platform> {
    held: Vec<(u32, InodeWrite<'a, P>)>,
}

impl<'a, P: Platform> LockedInodes<'a, P> {
    pub fn new(inodes: &[&'a Inode<P>]) -> Self {
        let mut order: Vec<&'a Inode<P>> = inodes.to_vec();
        order.sort_unstable_by_key(|i| i.ino);
        order.dedup_by_key(|i| i.ino);
        Self {
            held: order.into_iter().map(|i| (i.ino, i.write())).collect(),
        }
    }

    /// The state of one of the inodes that were locked.
    pub fn get(&mut self, inode: &Inode<P>) -> Result<&mut InodeState> {
        let found = self.held.iter_mut().find(|(n, _)| *n == inode.ino);
        found.map(|(_, g)| &mut **g).ok_or(Errno::EIO)
    }

    /// The states of two different inodes that were locked.
    pub fn pair(
        &mut self,
        a: &Inode<P>,
        b: &Inode<P>,
    ) -> Result<(&mut InodeState, &mut InodeState)> {
        let ia = self
            .held
            .iter()
            .position(|(n, _)| *n == a.ino)
            .ok_or(Errno::EIO)?;
        let ib = self
            .held
            .iter()
            .position(|(n, _)| *n == b.ino)
            .ok_or(Errno::EIO)?;
        let [x, y] = self
            .held
            .get_disjoint_mut([ia, ib])
            .map_err(|_| Errno::EIO)?;
        Ok((&mut x.1, &mut y.1))
    }
}
