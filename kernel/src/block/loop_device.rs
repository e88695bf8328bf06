//! Loop devices: disks whose contents are files (loop(4), losetup(8)).
//!
//! `/dev/loop-control` makes them; `LOOP_CONFIGURE` and its kin bind a file. Requests wait in a queue for the device's
//! thread, which reads and writes the file through its page cache; a flush is an fsync of the file.

use core::sync::atomic::{AtomicBool, Ordering};
use keel_abi::args::{Fd, UserPtr};
use keel_abi::flags::{FallocateMode, IoctlCmd, OpenFlags};
use keel_abi::types::Dev;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::{BlockDevice, Disk, Driver, Limits, Op, Request, SECTOR_SHIFT};
use crate::device::{CharDevice, register_char};
use crate::fs::{self, File, FileOps, Inode, IoDst, IoSrc, attributes, block_file, devtmpfs};
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::Cap;

/// Major number of loop devices.
pub const MAJOR: u32 = 7;
/// /dev/loop-control among the miscellaneous devices.
const CONTROL: Dev = Dev {
    major: 10,
    minor: 237,
};

const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
const PARTSCAN: u32 = 8;
const DIRECT_IO: u32 = 16;
/// Flags that LOOP_SET_STATUS64 can set; AUTOCLEAR it can take away as well.
const SETTABLE: u32 = AUTOCLEAR | PARTSCAN;
const SECTOR: u32 = 512;

/// `struct loop_info64` of linux/loop.h.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// What a device shows.
#[derive(Clone)]
struct Bound {
    file: Arc<File>,
    offset: u64,
    size_limit: u64,
    flags: u32,
    file_name: [u8; 64],
}

/// A loop device.
struct Loop {
    number: u32,
    bound: Mutex<Option<Bound>>,
    queue: IrqLock<VecDeque<Request>>,
    work: WaitQueue,
    gone: AtomicBool,
}

/// What the block layer holds of it.
struct LoopDriver(Arc<Loop>);

/// A loop device and its node's device.
type Entry = (Arc<Loop>, Arc<BlockDevice>);

/// All of them, by number.
static LOOPS: Mutex<BTreeMap<u32, Entry>> = Mutex::new(BTreeMap::new());

/// Makes /dev/loop-control.
pub fn init() {
    register_char(
        CONTROL.major,
        CONTROL.minor..CONTROL.minor + 1,
        "misc",
        Arc::new(Control),
    );
    devtmpfs::add_node("loop-control", 0o020_660, CONTROL.encode());
}

impl Driver for LoopDriver {
    fn submit(&self, request: Request) {
        self.0.queue.lock().push_back(request);
    }

    fn kick(&self) {
        self.0.work.wake_all();
    }

    fn ioctl(
        &self,
        device: &Arc<BlockDevice>,
        file: &File,
        cmd: IoctlCmd,
        arg: u64,
    ) -> Result<usize> {
        if device.number != 0 {
            return Err(Errno::ENOTTY);
        }
        ioctl(&self.0, device, file, cmd, arg)
    }

    fn idle(&self, device: &Arc<BlockDevice>) {
        let clear = |bound: &Bound| bound.flags & AUTOCLEAR != 0;
        if self.0.bound.lock().as_ref().is_some_and(clear) {
            self.0.unbind(device);
        }
    }
}

// ---- the thread ----

fn serve(this: &Loop) {
    loop {
        let next = this.work.wait(SleepMode::Uninterruptible, None, || {
            if this.gone.load(Ordering::Acquire) {
                return Some(None);
            }
            this.queue.lock().pop_front().map(Some)
        });
        match next {
            Ok(Some(request)) => {
                let result = this.handle(&request);
                request.complete(result);
            }
            Ok(None) => return,
            Err(_) => {}
        }
    }
}

impl Loop {
    fn handle(&self, request: &Request) -> Result<()> {
        let bound = self.bound.lock().clone().ok_or(Errno::EIO)?;
        let pos = bound.offset + (request.sector << SECTOR_SHIFT);
        let len = request.sectors << SECTOR_SHIFT;
        match request.op {
            Op::Read => transfer(request, pos, |buf, at| read_all(&bound.file, buf, at)),
            Op::Write => transfer(request, pos, |buf, at| write_all(&bound.file, buf, at)),
            Op::Flush => bound.file.fsync(true),
            Op::Discard => punch(&bound.file, pos, len),
            Op::WriteZeroes => match punch(&bound.file, pos, len) {
                Err(Errno::EOPNOTSUPP) => write_zeroes(&bound.file, pos, len),
                result => result,
            },
        }
    }
}

/// Moves a request's memory, a segment at a time, through a buffer.
fn transfer(
    request: &Request,
    pos: u64,
    mut step: impl FnMut(&mut [u8], u64) -> Result<()>,
) -> Result<()> {
    let longest = request.segments.iter().map(|s| s.len as usize).max();
    let mut buffer = Vec::new();
    buffer
        .try_reserve_exact(longest.unwrap_or(0))
        .map_err(|_| Errno::ENOMEM)?;
    let mut at = pos;
    for segment in &request.segments {
        let (off, len) = (segment.off as usize, segment.len as usize);
        buffer.resize(len, 0);
        if request.op == Op::Write {
            segment.frame.read(off, &mut buffer);
        }
        step(&mut buffer, at)?;
        if request.op == Op::Read {
            segment.frame.write(off, &buffer);
        }
        at += len as u64;
    }
    Ok(())
}

/// Reads all of `buf`; what is behind the end of the file is zeroes.
fn read_all(file: &File, buf: &mut [u8], pos: u64) -> Result<()> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at_kernel(pos + done as u64, rest)? {
            0 => {
                rest.fill(0);
                break;
            }
            n => done += n,
        }
    }
    Ok(())
}

fn write_all(file: &File, buf: &[u8], pos: u64) -> Result<()> {
    let mut done = 0;
    while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write_with(
            &mut IoSrc::from_kernel(rest),
            Some(pos + done as u64),
            false,
        )? {
            0 => return Err(Errno::EIO),
            n => done += n,
        }
    }
    Ok(())
}

fn punch(file: &File, pos: u64, len: u64) -> Result<()> {
    let mode = FallocateMode::PUNCH_HOLE | FallocateMode::KEEP_SIZE;
    attributes::fallocate(file, mode, pos, len)
}

fn write_zeroes(file: &File, pos: u64, len: u64) -> Result<()> {
    let zeroes = vec![0; 16 * PAGE_SIZE];
    let mut done = 0;
    while done < len {
        let n = (len - done).min(zeroes.len() as u64);
        write_all(file, zeroes.get(..n as usize).unwrap_or(&[]), pos + done)?;
        done += n;
    }
    Ok(())
}

// ---- binding ----

impl Bound {
    /// Sectors of the file that the device shows.
    fn sectors(&self) -> Result<u64> {
        let mut bytes = match self.file.inode.is_regular() {
            true => self.file.attr()?.size,
            false => self.file.ops.seek_end(&self.file)?,
        };
        bytes = bytes.saturating_sub(self.offset);
        if self.size_limit > 0 {
            bytes = bytes.min(self.size_limit);
        }
        Ok(bytes >> SECTOR_SHIFT)
    }
}

/// A file that can be bound: EINVAL.
fn check_backing(file: &File, device: &BlockDevice) -> Result<()> {
    use keel_abi::args::FileType::BlockDevice as Block;
    let itself = file.inode.file_type == Block && file.inode.attr().rdev == device.dev.encode();
    if itself {
        return Err(Errno::EBUSY);
    }
    if file.inode.is_regular() || file.inode.file_type == Block {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

impl Loop {
    fn bind(&self, device: &Arc<BlockDevice>, opened: &File, config: &Config) -> Result<()> {
        let fd = i32::try_from(config.fd).map_err(|_| Errno::EBADF)?;
        let file = crate::process::current().files().get(Fd(fd))?;
        check_backing(&file, device)?;
        let info = &config.info;
        if config.reserved != [0; 8]
            || !matches!(config.block_size, 0 | SECTOR)
            || info.flags & !(READ_ONLY | AUTOCLEAR | PARTSCAN | DIRECT_IO) != 0
            || info.encrypt_type != 0
            || i64::try_from(info.offset).is_err()
        {
            return Err(Errno::EINVAL);
        }
        let mut flags = info.flags & !DIRECT_IO;
        if !file.writable() || !opened.writable() {
            flags |= READ_ONLY;
        }
        let bound = Bound {
            file,
            offset: info.offset,
            size_limit: info.size_limit,
            flags,
            file_name: info.file_name,
        };
        let sectors = bound.sectors()?;
        {
            let mut slot = self.bound.lock();
            if slot.is_some() {
                return Err(Errno::EBUSY);
            }
            *slot = Some(bound);
        }
        device.set_read_only(flags & READ_ONLY != 0);
        device.set_sectors(sectors);
        self.show(device);
        if flags & PARTSCAN != 0 {
            super::scan_partitions(device)?;
        }
        Ok(())
    }

    fn unbind(&self, device: &Arc<BlockDevice>) {
        block_file::settle(device);
        let bound = self.bound.lock().take();
        if bound.is_none() {
            return;
        }
        device.set_sectors(0);
        device.set_read_only(false);
        fs::sysfs::remove_below(device, "loop");
        // Nothing can be read any more, so no partitions are found.
        if let Err(error) = super::scan_partitions(device) {
            log::warn!("{}: {error:?} while removing partitions", device.name);
        }
    }

    /// /sys/block/loopN/loop.
    fn show(&self, device: &Arc<BlockDevice>) {
        let Some(bound) = self.bound.lock().clone() else {
            return;
        };
        let root = bound.file.path.mount.root_path();
        let name = match crate::process::current_opt() {
            Some(thread) => fs::namei::display_path(&bound.file.path, &thread.fs().root()),
            None => fs::namei::display_path(&bound.file.path, &root),
        };
        let flag = |bit| u8::from(bound.flags & bit != 0);
        let attrs = keel_sysfs::Attrs::new()
            .fixed("loop/backing_file", String::from_utf8_lossy(&name))
            .fixed("loop/offset", bound.offset)
            .fixed("loop/sizelimit", bound.size_limit)
            .fixed("loop/autoclear", flag(AUTOCLEAR))
            .fixed("loop/partscan", flag(PARTSCAN))
            .fixed("loop/dio", 0);
        fs::sysfs::remove_below(device, "loop");
        fs::sysfs::add_below(device, attrs);
    }

    fn info(&self, device: &BlockDevice) -> Result<Info> {
        let bound = self.bound.lock().clone().ok_or(Errno::ENXIO)?;
        let inode = &bound.file.inode;
        Ok(Info {
            device: inode.sb.dev,
            inode: inode.ino,
            rdevice: device.dev.encode(),
            offset: bound.offset,
            size_limit: bound.size_limit,
            number: self.number,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: bound.flags,
            file_name: bound.file_name,
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        })
    }

    fn set_info(&self, device: &Arc<BlockDevice>, info: &Info) -> Result<()> {
        if info.encrypt_type != 0 || i64::try_from(info.offset).is_err() {
            return Err(Errno::EINVAL);
        }
        let (sectors, scan, moved) = {
            let mut slot = self.bound.lock();
            let bound = slot.as_mut().ok_or(Errno::ENXIO)?;
            let scan = info.flags & PARTSCAN != 0 && bound.flags & PARTSCAN == 0;
            let moved = bound.offset != info.offset || bound.size_limit != info.size_limit;
            bound.offset = info.offset;
            bound.size_limit = info.size_limit;
            bound.file_name = info.file_name;
            bound.flags = (bound.flags & !AUTOCLEAR) | (info.flags & SETTABLE);
            (bound.sectors()?, scan, moved)
        };
        if moved {
            block_file::settle(device);
            device.set_sectors(sectors);
        }
        self.show(device);
        if scan {
            super::scan_partitions(device)?;
        }
        Ok(())
    }

    /// LOOP_CHANGE_FD: another file of the same size, for read-only devices.
    fn change(&self, device: &Arc<BlockDevice>, fd: u64) -> Result<()> {
        let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
        let file = crate::process::current().files().get(Fd(fd))?;
        {
            let mut slot = self.bound.lock();
            let bound = slot.as_mut().ok_or(Errno::ENXIO)?;
            if bound.flags & READ_ONLY == 0 {
                return Err(Errno::EINVAL);
            }
            check_backing(&file, device)?;
            let new = Bound {
                file,
                ..bound.clone()
            };
            if new.sectors()? != device.sectors() {
                return Err(Errno::EINVAL);
            }
            *bound = new;
        }
        block_file::settle(device);
        self.show(device);
        Ok(())
    }
}

fn ioctl(
    this: &Loop,
    device: &Arc<BlockDevice>,
    opened: &File,
    cmd: IoctlCmd,
    arg: u64,
) -> Result<usize> {
    let may_change = || {
        if opened.writable() {
            Ok(())
        } else {
            crate::process::current().cred().require(Cap::SYS_ADMIN)
        }
    };
    let is_bound = || {
        let bound = this.bound.lock().is_some();
        if bound { Ok(()) } else { Err(Errno::ENXIO) }
    };
    match cmd {
        IoctlCmd::LOOP_SET_FD => {
            let mut config = Config::new_zeroed();
            config.fd = u32::try_from(arg).map_err(|_| Errno::EBADF)?;
            this.bind(device, opened, &config)?;
        }
        IoctlCmd::LOOP_CONFIGURE => {
            let config = UserPtr::<Config>::new(arg).read()?;
            this.bind(device, opened, &config)?;
        }
        IoctlCmd::LOOP_CLR_FD => {
            is_bound()?;
            // Others use it still: it goes with the last of them.
            if device.users.load(Ordering::Acquire) > 1 {
                if let Some(bound) = this.bound.lock().as_mut() {
                    bound.flags |= AUTOCLEAR;
                }
            } else {
                this.unbind(device);
            }
        }
        IoctlCmd::LOOP_GET_STATUS64 => {
            UserPtr::<Info>::new(arg).write(&this.info(device)?)?;
        }
        IoctlCmd::LOOP_SET_STATUS64 => {
            may_change()?;
            let info = UserPtr::<Info>::new(arg).read()?;
            this.set_info(device, &info)?;
        }
        IoctlCmd::LOOP_CHANGE_FD => this.change(device, arg)?,
        IoctlCmd::LOOP_SET_CAPACITY => {
            may_change()?;
            let bound = this.bound.lock().clone().ok_or(Errno::ENXIO)?;
            device.set_sectors(bound.sectors()?);
        }
        IoctlCmd::LOOP_SET_DIRECT_IO => {
            is_bound()?;
            if arg != 0 {
                return Err(Errno::EINVAL);
            }
        }
        IoctlCmd::LOOP_SET_BLOCK_SIZE => {
            is_bound()?;
            if arg != u64::from(SECTOR) {
                return Err(Errno::EINVAL);
            }
        }
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}

// ---- /dev/loop-control ----

struct Control;

impl CharDevice for Control {
    fn open(&self, _: &Arc<Inode>, _: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(Control))
    }
}

impl FileOps for Control {
    fn read(&self, _: &File, _: &mut IoDst, _: u64) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    fn ioctl(&self, _file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        match IoctlCmd(cmd) {
            IoctlCmd::LOOP_CTL_ADD => add(u32::try_from(arg as i32).ok()),
            IoctlCmd::LOOP_CTL_REMOVE => remove(u32::try_from(arg).map_err(|_| Errno::EINVAL)?),
            IoctlCmd::LOOP_CTL_GET_FREE => get_free(),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// Makes a device, with the lowest free number if none is given: EEXIST.
fn add(number: Option<u32>) -> Result<usize> {
    /// Numbers of one major.
    const MOST: u32 = 1 << 20;
    let mut loops = LOOPS.lock();
    let lowest = (0..).find(|n| !loops.contains_key(n));
    let number = number.or(lowest).filter(|n| *n < MOST);
    let number = number.ok_or(Errno::ENODEV)?;
    if loops.contains_key(&number) {
        return Err(Errno::EEXIST);
    }
    let this = Arc::new(Loop {
        number,
        bound: Mutex::new(None),
        queue: IrqLock::new(VecDeque::new()),
        work: WaitQueue::new(),
        gone: AtomicBool::new(false),
    });
    let thread = this.clone();
    crate::sched::spawn_kthread(&format!("loop{number}"), move || serve(&thread))
        .ok_or(Errno::ENOMEM)?;
    let limits = Limits {
        logical_block: SECTOR,
        physical_block: SECTOR,
        io_min: SECTOR,
        io_opt: 0,
        max_segments: 128,
        max_sectors: 2560,
        volatile_cache: true,
        max_discard: u64::from(u32::MAX) >> SECTOR_SHIFT,
        max_zeroes: u64::from(u32::MAX) >> SECTOR_SHIFT,
    };
    let disk = Disk::new(
        format!("loop{number}"),
        Dev::new(MAJOR, number),
        1,
        limits,
        String::new(),
        String::new(),
        false,
        Arc::new(LoopDriver(this.clone())),
    );
    let device = super::register_disk(disk, 0);
    loops.insert(number, (this, device));
    Ok(number as usize)
}

/// Takes a device away: ENODEV, EBUSY.
fn remove(number: u32) -> Result<usize> {
    let mut loops = LOOPS.lock();
    let (this, device) = loops.get(&number).cloned().ok_or(Errno::ENODEV)?;
    if device.users.load(Ordering::Acquire) > 0 || this.bound.lock().is_some() {
        return Err(Errno::EBUSY);
    }
    loops.remove(&number);
    super::unregister_disk(&device);
    this.gone.store(true, Ordering::Release);
    this.work.wake_all();
    Ok(number as usize)
}

/// The number of a device that is not bound, made if there is none.
fn get_free() -> Result<usize> {
    let free = {
        let loops = LOOPS.lock();
        let free = loops
            .iter()
            .find(|(_, (this, _))| this.bound.lock().is_none());
        free.map(|(number, _)| *number as usize)
    };
    match free {
        Some(number) => Ok(number),
        None => add(None),
    }
}
