//! The memory devices, major 1: null, zero, full, random, urandom, kmsg, port (mem(4), null(4), full(4), random(4)).
//!
//! /dev/mem and /dev/kmem are not there: nothing in user space needs to see physical memory. /dev/kmsg is the log's
//! ([`crate::printk`]).

use keel_abi::args::UserPtr;
use keel_abi::flags::{IoctlCmd, OpenFlags};
use keel_abi::types::Dev;

use super::CharDevice;
use crate::fs::{File, FileOps, Inode, IoDst, IoSrc, PollEvents, PollTable, devtmpfs};
use crate::mm::user::{UserAccess, read_bytes};
use crate::mm::{AnonObject, VmObject};
use crate::prelude::*;
use crate::process::Cap;

/// Major number of all of them.
pub const MAJOR: u32 = 1;

/// Name, minor, permissions.
pub const NODES: [(&str, u32, u32); 6] = [
    ("null", 3, 0o666),
    ("zero", 5, 0o666),
    ("full", 7, 0o666),
    ("random", 8, 0o666),
    ("urandom", 9, 0o666),
    ("kmsg", 11, 0o644),
];

struct Memory;

impl CharDevice for Memory {
    fn open(&self, inode: &Arc<Inode>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        let minor = u32::try_from(inode.attr().rdev).map_err(|_| Errno::ENXIO)?;
        match Dev::decode(minor).minor {
            3 => Ok(Arc::new(Null)),
            5 => Ok(Arc::new(Zero)),
            7 => Ok(Arc::new(Full)),
            8 | 9 => Ok(Arc::new(Random)),
            11 => crate::printk::open_kmsg(flags),
            _ => Err(Errno::ENXIO),
        }
    }
}

/// Registers the devices and makes their nodes.
pub fn init() {
    super::register_char(MAJOR, 0..256, "mem", Arc::new(Memory));
    for (name, minor, mode) in NODES {
        devtmpfs::add_node(name, 0o020_000 | mode, Dev::new(MAJOR, minor).encode());
    }
}

/// Takes everything that is left of a write.
fn swallow(src: &mut IoSrc) -> usize {
    let n = src.remaining();
    src.truncate(0);
    n
}

/// Gives zeroes for all of a read, a piece at a time.
fn zeroes(dst: &mut IoDst) -> Result<usize> {
    let mut done = 0;
    while dst.remaining() > 0 {
        match dst.put_zeros(dst.remaining().min(64 * PAGE_SIZE)) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
        if keel_hal::task::current().interrupted() {
            break;
        }
        keel_hal::task::cond_resched();
    }
    Ok(done)
}

/// The end of a memory device for SEEK_END: it has none, so the position stays within what offsets can say.
const NO_END: u64 = 0;

struct Null;

impl FileOps for Null {
    fn read(&self, _file: &File, _dst: &mut IoDst, _pos: u64) -> Result<usize> {
        Ok(0)
    }

    fn write(&self, _file: &File, src: &mut IoSrc, _pos: u64) -> Result<usize> {
        Ok(swallow(src))
    }

    fn seek_end(&self, _file: &File) -> Result<u64> {
        Ok(NO_END)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

struct Zero;

impl FileOps for Zero {
    fn read(&self, _file: &File, dst: &mut IoDst, _pos: u64) -> Result<usize> {
        zeroes(dst)
    }

    fn write(&self, _file: &File, src: &mut IoSrc, _pos: u64) -> Result<usize> {
        Ok(swallow(src))
    }

    fn seek_end(&self, _file: &File) -> Result<u64> {
        Ok(NO_END)
    }

    fn mmap(&self, _file: &Arc<File>) -> Result<Arc<dyn VmObject>> {
        // A mapping of /dev/zero is anonymous memory, as on Linux.
        Ok(AnonObject::new(u64::MAX, false)?)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

struct Full;

impl FileOps for Full {
    fn read(&self, _file: &File, dst: &mut IoDst, _pos: u64) -> Result<usize> {
        zeroes(dst)
    }

    fn write(&self, _file: &File, src: &mut IoSrc, _pos: u64) -> Result<usize> {
        if src.remaining() == 0 {
            Ok(0)
        } else {
            Err(Errno::ENOSPC)
        }
    }

    fn seek_end(&self, _file: &File) -> Result<u64> {
        Ok(NO_END)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// Bits that the pool says it has (`/proc/sys/kernel/random/entropy_avail`): it is seeded before init runs.
pub const ENTROPY_BITS: i32 = 256;

struct Random;

impl Random {
    fn add_entropy(&self, arg: u64, count_only: bool) -> Result<usize> {
        crate::process::current().cred().require(Cap::SYS_ADMIN)?;
        let bits: i32 = UserPtr::<i32>::new(arg).read()?;
        if bits < 0 {
            return Err(Errno::EINVAL);
        }
        if count_only {
            return Ok(0);
        }
        let size: i32 = UserPtr::<i32>::new(arg.wrapping_add(4)).read()?;
        let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
        crate::random::mix(&read_bytes(arg.wrapping_add(8), size.min(PAGE_SIZE))?);
        Ok(0)
    }
}

impl FileOps for Random {
    fn read(&self, _file: &File, dst: &mut IoDst, _pos: u64) -> Result<usize> {
        let mut chunk = [0; 256];
        let mut done = 0;
        while dst.remaining() > 0 {
            let n = chunk.len().min(dst.remaining());
            crate::random::fill(&mut chunk[..n]);
            match dst.put(&chunk[..n]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            if keel_hal::task::current().interrupted() {
                break;
            }
            keel_hal::task::cond_resched();
        }
        chunk.fill(0);
        Ok(done)
    }

    fn write(&self, _file: &File, src: &mut IoSrc, _pos: u64) -> Result<usize> {
        let mut chunk = [0; 256];
        let mut done = 0;
        while src.remaining() > 0 {
            let want = chunk.len().min(src.remaining());
            match src.take(&mut chunk[..want]) {
                Ok(0) => break,
                Ok(n) => {
                    crate::random::mix(&chunk[..n]);
                    done += n;
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            if keel_hal::task::current().interrupted() {
                break;
            }
            keel_hal::task::cond_resched();
        }
        Ok(done)
    }

    fn seek_end(&self, _file: &File) -> Result<u64> {
        Ok(NO_END)
    }

    fn poll(&self, _file: &File, _table: &mut PollTable) -> PollEvents {
        PollEvents::READABLE | PollEvents::WRITABLE
    }

    fn ioctl(&self, _file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        match IoctlCmd(cmd) {
            IoctlCmd::RNDGETENTCNT => {
                UserPtr::<i32>::new(arg).write(&ENTROPY_BITS)?;
                Ok(0)
            }
            IoctlCmd::RNDADDTOENTCNT => self.add_entropy(arg, true),
            IoctlCmd::RNDADDENTROPY => self.add_entropy(arg, false),
            IoctlCmd::RNDZAPENTCNT | IoctlCmd::RNDCLEARPOOL | IoctlCmd::RNDRESEEDCRNG => {
                crate::process::current().cred().require(Cap::SYS_ADMIN)?;
                crate::random::mix(&keel_hal::time::now().to_le_bytes());
                Ok(0)
            }
            // As an unknown ioctl of Linux's driver.
            _ => Err(Errno::EINVAL),
        }
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}
