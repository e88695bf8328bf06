//! Pipes and fifos (pipe(7), fifo(7)).
//!
//! A pipe is a ring of page-sized buffers under a sleeping lock. A write of at most PIPE_BUF bytes goes into one
//! buffer, so it is atomic by construction. Data is copied once in and once out, straight between user memory and
//! the buffers' frames.

use core::any::Any;
use keel_abi::flags::{IoctlCmd, OpenFlags};

use crate::fs::{File, FileOps, Inode, IoDst, IoSrc, PollEvents, PollTable, anon};
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::signal::{SigInfo, send_thread, sig};
use crate::process::{Cap, current};
use keel_abi::args::UserPtr;

/// Writes of up to so many bytes are not interleaved (`PIPE_BUF`).
pub const PIPE_BUF: usize = 4096;
/// Buffers of a new pipe.
const DEFAULT_SLOTS: usize = 16;
/// Most bytes that an unprivileged F_SETPIPE_SZ may ask for (`fs.pipe-max-size`).
pub const MAX_SIZE: usize = 1 << 20;

/// One page (or part of one) in a pipe.
pub struct Slot {
    /// The data.
    pub frame: Frame,
    /// Where it starts.
    pub off: usize,
    /// How much of it is left.
    pub len: usize,
    /// More may be appended to the page: it is the pipe's own, and not a packet.
    mergeable: bool,
    /// A packet of its own (O_DIRECT): a read never goes beyond it.
    packet: bool,
}

impl Slot {
    /// A piece of somebody else's page (splice).
    pub fn shared(frame: Frame, off: usize, len: usize) -> Self {
        Self {
            frame,
            off,
            len,
            mergeable: false,
            packet: false,
        }
    }
}

#[derive(Default)]
struct Ring {
    slots: VecDeque<Slot>,
    capacity: usize,
    readers: usize,
    writers: usize,
    /// How many opens for reading and writing there have been: fifo opens wait for the other side's to change.
    opened: [u64; 2],
    /// A page kept for the next write.
    spare: Option<Frame>,
    /// Made by pipe(2), not by a fifo: opening an end through /proc never waits for the other.
    anonymous: bool,
}

/// A pipe.
pub struct Pipe {
    ring: Mutex<Ring>,
    readable: Arc<WaitQueue>,
    writable: Arc<WaitQueue>,
}

impl Pipe {
    fn new() -> Arc<Self> {
        let ring = Ring {
            capacity: DEFAULT_SLOTS,
            ..Ring::default()
        };
        Arc::new(Self {
            ring: Mutex::new(ring),
            readable: Arc::new(WaitQueue::new()),
            writable: Arc::new(WaitQueue::new()),
        })
    }

    /// Moves data out; 0 at the end, EAGAIN when empty and `nonblock`.
    fn read(&self, dst: &mut IoDst, nonblock: bool) -> Result<usize> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        loop {
            let (moved, full_before, writers) = {
                let mut ring = self.ring.lock();
                let full = ring.slots.len() >= ring.capacity;
                (drain(&mut ring, dst)?, full, ring.writers)
            };
            if moved > 0 {
                if full_before {
                    self.writable.wake(usize::MAX, PollEvents::WRITABLE.key());
                }
                return Ok(moved);
            }
            if writers == 0 {
                return Ok(0);
            }
            if nonblock {
                return Err(Errno::EAGAIN);
            }
            self.wait_readable()?;
        }
    }

    fn wait_readable(&self) -> Result<()> {
        let ready = || {
            let ring = self.ring.lock();
            (!ring.slots.is_empty() || ring.writers == 0).then_some(())
        };
        let waited = self
            .readable
            .wait_exclusive(SleepMode::Interruptible, None, ready);
        waited.map_err(|_| Errno::ERESTARTSYS)
    }

    /// Moves data in: EPIPE (and SIGPIPE) without readers, EAGAIN when full and `nonblock`.
    fn write(&self, src: &mut IoSrc, nonblock: bool, packets: bool) -> Result<usize> {
        let atomic = src.remaining() <= PIPE_BUF;
        let mut total = 0;
        if src.remaining() == 0 {
            return Ok(0);
        }
        loop {
            let (moved, was_empty, readers) = {
                let mut ring = self.ring.lock();
                if ring.readers == 0 {
                    (Ok(0), false, 0)
                } else {
                    let empty = ring.slots.is_empty();
                    (fill(&mut ring, src, packets, atomic), empty, ring.readers)
                }
            };
            if readers == 0 {
                if total > 0 {
                    return Ok(total);
                }
                send_thread(&current(), SigInfo::kernel(sig::PIPE));
                return Err(Errno::EPIPE);
            }
            match moved {
                Ok(n) => total += n,
                Err(error) if total == 0 => return Err(error),
                Err(_) => return Ok(total),
            }
            // Who polls edge-triggered hears of every write.
            if total > 0 && (was_empty || self.readable.has_waiters()) {
                self.readable.wake(1, PollEvents::READABLE.key());
            }
            if src.remaining() == 0 {
                return Ok(total);
            }
            if nonblock {
                return if total > 0 {
                    Ok(total)
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            if self.wait_writable().is_err() {
                return if total > 0 {
                    Ok(total)
                } else {
                    Err(Errno::ERESTARTSYS)
                };
            }
        }
    }

    fn wait_writable(&self) -> Result<()> {
        let ready = || {
            let ring = self.ring.lock();
            (ring.slots.len() < ring.capacity || ring.readers == 0).then_some(())
        };
        let waited = self
            .writable
            .wait_exclusive(SleepMode::Interruptible, None, ready);
        waited.map_err(|_| Errno::ERESTARTSYS)
    }

    fn poll(&self, file: &File, table: &mut PollTable) -> PollEvents {
        if file.readable() {
            table.add(&self.readable);
        }
        if file.writable() {
            table.add(&self.writable);
        }
        let ring = self.ring.lock();
        let mut events = PollEvents::empty();
        if file.readable() {
            events.set(PollEvents::READABLE, !ring.slots.is_empty());
            // A fifo that nobody has written to yet has not hung up.
            events.set(PollEvents::HUP, ring.writers == 0 && ring.opened[1] > 0);
        }
        if file.writable() {
            events.set(PollEvents::WRITABLE, ring.slots.len() < ring.capacity);
            events.set(PollEvents::ERR, ring.readers == 0);
        }
        events
    }

    fn close(&self, file: &File) {
        {
            let mut ring = self.ring.lock();
            ring.readers -= usize::from(file.readable());
            ring.writers -= usize::from(file.writable());
            if ring.readers == 0 && ring.writers == 0 {
                ring.slots.clear();
                ring.spare = None;
            }
        }
        let events =
            PollEvents::READABLE | PollEvents::WRITABLE | PollEvents::HUP | PollEvents::ERR;
        self.readable.wake(usize::MAX, events.key());
        self.writable.wake(usize::MAX, events.key());
    }

    /// Bytes in the pipe (FIONREAD).
    fn len(&self) -> usize {
        self.ring.lock().slots.iter().map(|slot| slot.len).sum()
    }

    /// F_GETPIPE_SZ.
    pub fn size(&self) -> usize {
        self.ring.lock().capacity * PAGE_SIZE
    }

    /// F_SETPIPE_SZ: EPERM beyond the unprivileged limit, EBUSY when more than that is in the pipe.
    pub fn set_size(&self, bytes: usize) -> Result<usize> {
        if bytes > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let size = bytes.max(PAGE_SIZE).next_power_of_two();
        let mut ring = self.ring.lock();
        let slots = size / PAGE_SIZE;
        if slots > ring.capacity && size > MAX_SIZE && !current().cred().has(Cap::SYS_RESOURCE) {
            return Err(Errno::EPERM);
        }
        if ring.slots.len() > slots {
            return Err(Errno::EBUSY);
        }
        ring.capacity = slots;
        drop(ring);
        self.writable.wake(usize::MAX, PollEvents::WRITABLE.key());
        Ok(size)
    }

    /// Takes up to `len` bytes out as pages (splice); `None` when the pipe is empty.
    pub fn take_slot(&self, len: usize) -> Option<Slot> {
        let mut ring = self.ring.lock();
        let front = ring.slots.front_mut()?;
        let taken = if front.len <= len {
            ring.slots.pop_front()
        } else {
            let part = Slot::shared(front.frame.clone(), front.off, len);
            front.off += len;
            front.len -= len;
            front.mergeable = false;
            Some(part)
        };
        drop(ring);
        self.writable.wake(usize::MAX, PollEvents::WRITABLE.key());
        taken
    }

    /// Puts back what [`Self::take_slot`] gave and could not be used.
    pub fn untake_slot(&self, slot: Slot) {
        if slot.len > 0 {
            self.ring.lock().slots.push_front(slot);
        }
    }

    /// Appends a page (splice, vmsplice): gives it back when the pipe is full.
    pub fn put_slot(&self, slot: Slot) -> core::result::Result<(), Slot> {
        {
            let mut ring = self.ring.lock();
            if ring.slots.len() >= ring.capacity {
                return Err(slot);
            }
            ring.slots.push_back(slot);
        }
        self.readable.wake(1, PollEvents::READABLE.key());
        Ok(())
    }

    /// Pages from the front without taking them out (tee): up to `len` bytes.
    pub fn peek_slots(&self, len: usize) -> Vec<Slot> {
        let mut left = len;
        let ring = self.ring.lock();
        let mut copies = Vec::new();
        for slot in &ring.slots {
            if left == 0 {
                break;
            }
            let n = slot.len.min(left);
            copies.push(Slot::shared(slot.frame.clone(), slot.off, n));
            left -= n;
        }
        copies
    }

    /// Waits until there is something to read (splice, tee): false at the end; EAGAIN, ERESTARTSYS.
    pub fn wait_for_data(&self, nonblock: bool) -> Result<bool> {
        loop {
            {
                let ring = self.ring.lock();
                if !ring.slots.is_empty() {
                    return Ok(true);
                }
                if ring.writers == 0 {
                    return Ok(false);
                }
            }
            if nonblock {
                return Err(Errno::EAGAIN);
            }
            self.wait_readable()?;
        }
    }

    /// Waits until there is room (splice, tee): EPIPE, EAGAIN, ERESTARTSYS.
    pub fn wait_for_room(&self, nonblock: bool) -> Result<()> {
        loop {
            {
                let ring = self.ring.lock();
                if ring.readers == 0 {
                    drop(ring);
                    send_thread(&current(), SigInfo::kernel(sig::PIPE));
                    return Err(Errno::EPIPE);
                }
                if ring.slots.len() < ring.capacity {
                    return Ok(());
                }
            }
            if nonblock {
                return Err(Errno::EAGAIN);
            }
            self.wait_writable()?;
        }
    }
}

fn drain(ring: &mut Ring, dst: &mut IoDst) -> Result<usize> {
    let mut moved = 0;
    while let Some(slot) = ring.slots.front_mut() {
        if dst.remaining() == 0 {
            break;
        }
        let n = match dst.put_frame(&slot.frame, slot.off, slot.len) {
            Ok(n) => n,
            Err(error) if moved == 0 => return Err(error),
            Err(_) => break,
        };
        moved += n;
        slot.off += n;
        slot.len -= n;
        let packet = slot.packet;
        if slot.len > 0 && !packet {
            break;
        }
        if let Some(old) = ring.slots.pop_front()
            && old.mergeable
            && old.frame.ref_count() == 1
        {
            ring.spare = Some(old.frame);
        }
        if packet {
            break;
        }
    }
    Ok(moved)
}

fn fill(ring: &mut Ring, src: &mut IoSrc, packets: bool, atomic: bool) -> Result<usize> {
    let mut moved = 0;
    while src.remaining() > 0 {
        let want = src.remaining();
        if !packets
            && let Some(tail) = ring.slots.back_mut()
            && tail.mergeable
        {
            let room = PAGE_SIZE - tail.off - tail.len;
            if room >= want || (!atomic && room > 0) {
                let n = src.take_to_frame(&tail.frame, tail.off + tail.len, room)?;
                tail.len += n;
                moved += n;
                continue;
            }
        }
        if ring.slots.len() >= ring.capacity {
            break;
        }
        let frame = match ring.spare.take() {
            Some(frame) => frame,
            None => crate::mm::alloc_user_frame(AllocFlags::empty()).ok_or(Errno::ENOMEM)?,
        };
        let n = match src.take_to_frame(&frame, 0, PAGE_SIZE) {
            Ok(n) => n,
            Err(error) if moved == 0 => return Err(error),
            Err(_) => break,
        };
        ring.slots.push_back(Slot {
            frame,
            off: 0,
            len: n,
            mergeable: !packets,
            packet: packets,
        });
        moved += n;
    }
    Ok(moved)
}

/// The behaviour of either end.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
}

impl PipeEnd {
    /// The pipe.
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }
}

impl FileOps for PipeEnd {
    fn read(&self, file: &File, dst: &mut IoDst, _pos: u64) -> Result<usize> {
        self.pipe.read(dst, file.nonblocking())
    }

    fn write(&self, file: &File, src: &mut IoSrc, _pos: u64) -> Result<usize> {
        self.pipe.write(
            src,
            file.nonblocking(),
            file.flags().contains(OpenFlags::DIRECT),
        )
    }

    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, file: &File, table: &mut PollTable) -> PollEvents {
        self.pipe.poll(file, table)
    }

    fn ioctl(&self, _file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        if cmd == IoctlCmd::FIONREAD.0 {
            UserPtr::<i32>::new(arg).write(&(self.pipe.len() as i32))?;
            return Ok(0);
        }
        Err(Errno::ENOTTY)
    }

    fn release(&self, file: &File) {
        self.pipe.close(file);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The pipe behind a file, if it is one.
pub fn pipe_of(file: &File) -> Option<&Arc<Pipe>> {
    file.ops_as::<PipeEnd>().map(PipeEnd::pipe)
}

/// A new pipe: its reading and its writing end.
pub fn create(flags: OpenFlags) -> (Arc<File>, Arc<File>) {
    let pipe = Pipe::new();
    {
        let mut ring = pipe.ring.lock();
        ring.readers = 1;
        ring.writers = 1;
        ring.opened = [1, 1];
        ring.anonymous = true;
    }
    let status = flags & (OpenFlags::NONBLOCK | OpenFlags::DIRECT);
    let inode = anon::pipe_inode();
    // Opening /proc/PID/fd/N finds the pipe as it would a fifo's.
    *inode.special.lock() = Some(pipe.clone());
    let end = |access: OpenFlags| {
        let ops = Arc::new(PipeEnd { pipe: pipe.clone() });
        anon::open(&inode, ops, status | access)
    };
    (end(OpenFlags::empty()), end(OpenFlags::WRONLY))
}

/// Opens a fifo: waits for the other end unless O_NONBLOCK says otherwise (ENXIO for writing without a reader).
pub fn open_fifo(inode: &Arc<Inode>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
    let pipe = {
        let mut slot = inode.special.lock();
        let known = slot.clone().and_then(|any| any.downcast::<Pipe>().ok());
        known.unwrap_or_else(|| {
            let pipe = Pipe::new();
            *slot = Some(pipe.clone());
            pipe
        })
    };
    let access = flags.bits() & 3;
    let (reads, writes) = (access != 1, access == 1 || access == 2);
    let nonblock = flags.contains(OpenFlags::NONBLOCK);
    let (other, seen) = {
        let mut ring = pipe.ring.lock();
        if writes && !reads && nonblock && ring.readers == 0 {
            return Err(Errno::ENXIO);
        }
        ring.readers += usize::from(reads);
        ring.writers += usize::from(writes);
        ring.opened[0] += u64::from(reads);
        ring.opened[1] += u64::from(writes);
        let other = usize::from(reads);
        let alone = if reads {
            ring.writers == 0
        } else {
            ring.readers == 0
        };
        (
            other,
            (alone && !nonblock && !(reads && writes) && !ring.anonymous)
                .then_some(ring.opened[other]),
        )
    };
    pipe.readable.wake_all();
    pipe.writable.wake_all();
    if let Some(seen) = seen {
        let queue = if reads {
            &pipe.readable
        } else {
            &pipe.writable
        };
        let came = queue.wait(SleepMode::Interruptible, None, || {
            (pipe.ring.lock().opened[other] != seen).then_some(())
        });
        if came.is_err() {
            let mut ring = pipe.ring.lock();
            ring.readers -= usize::from(reads);
            ring.writers -= usize::from(writes);
            return Err(Errno::ERESTARTSYS);
        }
    }
    Ok(Arc::new(PipeEnd { pipe }))
}
