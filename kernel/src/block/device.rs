//! Disks and their partitions.
//!
//! A driver registers a [`Disk`]. What the rest of the kernel works with is a [`BlockDevice`]: the whole disk or one
//! partition of it, a range of sectors with a number and a name. Each has an inode of its own, whose page cache all
//! device nodes with its number share (see [`crate::fs::block_file`]).

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use keel_abi::flags::IoctlCmd;
use keel_abi::types::Dev;

use super::{Batch, Done, Op, Request, SECTOR_SHIFT, Segment, Stats};
use crate::fs::{File, Inode};
use crate::prelude::*;

/// What a device can do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Smallest unit of I/O in bytes.
    pub logical_block: u32,
    /// What the device works with inside, in bytes.
    pub physical_block: u32,
    /// Preferred smallest I/O in bytes; 0 if unknown.
    pub io_min: u32,
    /// Preferred I/O in bytes; 0 if unknown.
    pub io_opt: u32,
    /// Pieces of memory of one request.
    pub max_segments: usize,
    /// Sectors of one request.
    pub max_sectors: u64,
    /// It has a volatile cache: flushes are needed.
    pub volatile_cache: bool,
    /// Sectors of one discard; 0 if it cannot.
    pub max_discard: u64,
    /// Sectors of one write of zeroes; 0 if it cannot.
    pub max_zeroes: u64,
}

/// What moves the data.
pub trait Driver: Send + Sync {
    /// Takes a request, whose sectors lie on the disk. Never sleeps; the device may hear of it only at the next
    /// [`Self::kick`].
    fn submit(&self, request: Request);

    /// Tells the device of what was submitted.
    fn kick(&self);

    /// Requests of ioctl(2) that are the driver's own: ENOTTY.
    fn ioctl(
        &self,
        _device: &Arc<BlockDevice>,
        _file: &File,
        _cmd: IoctlCmd,
        _arg: u64,
    ) -> Result<usize> {
        Err(Errno::ENOTTY)
    }

    /// The last user of a whole disk is gone. May sleep.
    fn idle(&self, _device: &Arc<BlockDevice>) {}
}

/// A disk, as its driver describes it.
pub struct Disk {
    /// Name in /dev.
    pub name: String,
    /// Number of the whole disk; partitions follow.
    pub dev: Dev,
    /// How many numbers it has.
    pub minors: u32,
    /// What it can do.
    pub limits: Limits,
    /// Serial number, as the device gives it.
    pub serial: String,
    /// Where it is, for sysfs (`pci0000:00/0000:00:02.0/virtio0`, say).
    pub parent: String,
    /// Number since boot.
    pub diskseq: u64,
    /// Whether the device refuses writes.
    pub hard_read_only: bool,
    pub(super) driver: Arc<dyn Driver>,
    pub(super) parts: RwSpinLock<Vec<Arc<BlockDevice>>>,
}

impl Disk {
    /// A disk that is not registered yet.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        name: String,
        dev: Dev,
        minors: u32,
        limits: Limits,
        serial: String,
        parent: String,
        hard_read_only: bool,
        driver: Arc<dyn Driver>,
    ) -> Self {
        static SEQ: AtomicU64 = AtomicU64::new(1);
        Self {
            name,
            dev,
            minors,
            limits,
            serial,
            parent,
            diskseq: SEQ.fetch_add(1, Ordering::Relaxed),
            hard_read_only,
            driver,
            parts: RwSpinLock::new(Vec::new()),
        }
    }

    /// Its partitions, by number.
    pub fn partitions(&self) -> Vec<Arc<BlockDevice>> {
        self.parts.read().clone()
    }
}

/// A disk or a partition.
pub struct BlockDevice {
    /// The disk.
    pub disk: Arc<Disk>,
    /// Partition number; 0 for the whole disk.
    pub number: u32,
    /// Name in /dev.
    pub name: String,
    /// Its number.
    pub dev: Dev,
    /// First sector on the disk.
    pub start: u64,
    sectors: AtomicU64,
    /// PARTUUID, lower case.
    pub part_uuid: Option<String>,
    /// PARTLABEL.
    pub part_label: Option<String>,
    /// What it has done.
    pub stats: Stats,
    read_only: AtomicBool,
    /// Open file descriptions and mounts.
    pub users: AtomicU32,
    /// Who has it for himself (an address, 0 for nobody), and how many times.
    claim: SpinLock<(usize, u32)>,
    inode: OnceLock<Arc<Inode>>,
}

impl BlockDevice {
    /// The range `[start, start + sectors)` of a disk.
    pub(super) fn new(disk: &Arc<Disk>, number: u32, start: u64, sectors: u64) -> Self {
        let name = match number {
            0 => disk.name.clone(),
            // As Linux: a p where the name would be ambiguous.
            n if disk.name.ends_with(|c: char| c.is_ascii_digit()) => format!("{}p{n}", disk.name),
            n => format!("{}{n}", disk.name),
        };
        Self {
            disk: disk.clone(),
            number,
            name,
            dev: number_of(disk, number),
            start,
            sectors: AtomicU64::new(sectors),
            part_uuid: None,
            part_label: None,
            stats: Stats::default(),
            read_only: AtomicBool::new(disk.hard_read_only),
            users: AtomicU32::new(0),
            claim: SpinLock::new((0, 0)),
            inode: OnceLock::new(),
        }
    }

    /// Sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        self.sectors.load(Ordering::Relaxed)
    }

    /// Changes its size: the file behind a loop device is another or has grown.
    pub fn set_sectors(self: &Arc<Self>, sectors: u64) {
        self.sectors.store(sectors, Ordering::Relaxed);
        let bytes = self.bytes();
        self.inode().update_attr(|attr| attr.size = bytes);
    }

    /// One user less; the driver hears of the last.
    pub fn put(self: &Arc<Self>) {
        if self.users.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let whole = if self.number == 0 {
            Some(self.clone())
        } else {
            super::whole(&self.disk)
        };
        let Some(whole) = whole else { return };
        let used = |device: &Arc<BlockDevice>| device.users.load(Ordering::Acquire) > 0;
        if !used(&whole) && !self.disk.parts.read().iter().any(used) {
            self.disk.driver.idle(&whole);
        }
    }

    /// Requests of ioctl(2) that are the driver's own: ENOTTY.
    pub fn ioctl(self: &Arc<Self>, file: &File, cmd: IoctlCmd, arg: u64) -> Result<usize> {
        self.disk.driver.ioctl(self, file, cmd, arg)
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.sectors() << SECTOR_SHIFT
    }

    /// What the disk can do.
    pub fn limits(&self) -> &Limits {
        &self.disk.limits
    }

    /// Whether it refuses writes.
    pub fn is_read_only(&self) -> bool {
        self.disk.hard_read_only || self.read_only.load(Ordering::Relaxed)
    }

    /// BLKROSET.
    pub fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Relaxed);
    }

    /// Its inode, which has its page cache.
    pub fn inode(self: &Arc<Self>) -> &Arc<Inode> {
        self.inode
            .call_once(|| crate::fs::block_file::device_inode(self))
    }

    /// Reserves it for `holder` (any address that is the holder's own): EBUSY if somebody else has it, or has the
    /// disk of the partition, or a partition of the disk.
    pub fn claim(&self, holder: usize) -> Result<()> {
        let claims = |device: &BlockDevice| device.claim.lock().0 != 0;
        if self.number == 0 {
            if self.disk.parts.read().iter().any(|part| claims(part)) {
                return Err(Errno::EBUSY);
            }
        } else if super::whole(&self.disk).is_some_and(|disk| claims(&disk)) {
            return Err(Errno::EBUSY);
        }
        let mut claim = self.claim.lock();
        if claim.0 != 0 && claim.0 != holder {
            return Err(Errno::EBUSY);
        }
        *claim = (holder, claim.1 + 1);
        Ok(())
    }

    /// Gives back one [`Self::claim`].
    pub fn release(&self) {
        let mut claim = self.claim.lock();
        claim.1 = claim.1.saturating_sub(1);
        if claim.1 == 0 {
            claim.0 = 0;
        }
    }

    /// Hands a request to the driver: EIO (by its callback) beyond the end, EPERM for writes if it is read-only.
    pub fn submit(self: &Arc<Self>, mut request: Request) {
        let end = request.sector.checked_add(request.sectors);
        if end.is_none_or(|end| end > self.sectors()) {
            return request.complete(Err(Errno::EIO));
        }
        let supported = match request.op {
            Op::Read => true,
            _ if self.is_read_only() && request.op != Op::Flush => {
                return request.complete(Err(Errno::EPERM));
            }
            Op::Write => true,
            Op::Flush if !self.limits().volatile_cache => return request.complete(Ok(())),
            Op::Flush => true,
            Op::Discard => self.limits().max_discard > 0,
            Op::WriteZeroes => self.limits().max_zeroes > 0,
        };
        if !supported {
            return request.complete(Err(Errno::EOPNOTSUPP));
        }
        request.sector += self.start;
        request.account = Some((self.clone(), self.stats.begin()));
        self.disk.driver.submit(request);
    }

    /// Tells the device of what was submitted.
    pub fn kick(&self) {
        self.disk.driver.kick();
    }

    /// Makes completed writes durable. Sleeps.
    pub fn flush(self: &Arc<Self>) -> Result<()> {
        self.command(Op::Flush, 0, 0, 1)
    }

    /// Discards sectors. EOPNOTSUPP. Sleeps.
    pub fn discard(self: &Arc<Self>, sector: u64, sectors: u64) -> Result<()> {
        self.command(Op::Discard, sector, sectors, self.limits().max_discard)
    }

    /// Zeroes sectors. EOPNOTSUPP. Sleeps.
    pub fn write_zeroes(self: &Arc<Self>, sector: u64, sectors: u64) -> Result<()> {
        self.command(Op::WriteZeroes, sector, sectors, self.limits().max_zeroes)
    }

    fn command(self: &Arc<Self>, op: Op, sector: u64, sectors: u64, most: u64) -> Result<()> {
        if most == 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let batch = Batch::new();
        let mut at = 0;
        loop {
            let n = (sectors - at).min(most);
            self.submit(Request::command(op, sector + at, n, batch.ticket()));
            at += n;
            if at >= sectors {
                break;
            }
        }
        self.kick();
        batch.wait()
    }

    /// Starts moving bytes between the device and kernel memory by way of frames of its own; the frames come back for
    /// a read. `offset` and the length are multiples of the sector size.
    pub fn start_bytes(
        self: &Arc<Self>,
        op: Op,
        offset: u64,
        len: usize,
        data: Option<&[u8]>,
        ticket: &dyn Fn() -> Done,
    ) -> Result<Vec<(Frame, usize)>> {
        let limits = self.limits();
        let most = (limits.max_sectors << SECTOR_SHIFT).min(64 * PAGE_SIZE as u64) as usize;
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < len {
            let (frame, n) = bounce((len - at).min(most))?;
            if let Some(bytes) = data.and_then(|data| data.get(at..at + n)) {
                frame.write(0, bytes);
            }
            let segment = Segment {
                frame: frame.clone(),
                off: 0,
                len: n as u32,
            };
            let sector = (offset + at as u64) >> SECTOR_SHIFT;
            self.submit(Request::transfer(op, sector, vec![segment], ticket()));
            pieces.push((frame, n));
            at += n;
        }
        Ok(pieces)
    }

    /// Reads bytes at an offset; both multiples of the sector size. Sleeps.
    pub fn read_bytes(self: &Arc<Self>, offset: u64, buf: &mut [u8]) -> Result<()> {
        let batch = Batch::new();
        let started = self.start_bytes(Op::Read, offset, buf.len(), None, &|| batch.ticket());
        self.kick();
        batch.wait()?;
        let mut rest = buf;
        for (frame, n) in started? {
            let (now, later) = rest.split_at_mut(n);
            frame.read(0, now);
            rest = later;
        }
        Ok(())
    }

    /// Writes bytes at an offset; both multiples of the sector size. Sleeps.
    pub fn write_bytes(self: &Arc<Self>, offset: u64, buf: &[u8]) -> Result<()> {
        let batch = Batch::new();
        let started = self.start_bytes(Op::Write, offset, buf.len(), Some(buf), &|| batch.ticket());
        self.kick();
        batch.wait()?;
        started.map(drop)
    }
}

/// The device number of a partition: one of the disk's own, or beyond those one of a range that all disks share.
fn number_of(disk: &Disk, number: u32) -> Dev {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if number < disk.minors {
        return Dev::new(disk.dev.major, disk.dev.minor + number);
    }
    Dev::new(super::EXTENDED_MAJOR, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Memory for `len` bytes or the beginning of them: in one block if there is one.
fn bounce(len: usize) -> Result<(Frame, usize)> {
    let order = len.div_ceil(PAGE_SIZE).next_power_of_two().trailing_zeros();
    if order > 0
        && let Some(frame) = Frame::alloc_contiguous(order, AllocFlags::NOWAIT)
    {
        return Ok((frame, len));
    }
    let frame = Frame::alloc(AllocFlags::empty()).ok_or(Errno::ENOMEM)?;
    Ok((frame, len.min(PAGE_SIZE)))
}
