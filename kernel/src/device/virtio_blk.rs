//! virtio block devices (Virtual I/O Device 1.2, 5.2): /dev/vda and so on.
//!
//! One hardware queue per CPU where the device offers it; a request goes to the submitting CPU's queue and its
//! interrupt comes back to that CPU. What does not fit in the ring waits in order, merged with its neighbours, and
//! goes on when completions make room.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use keel_abi::types::Dev;
use keel_hal::cpu;
use keel_hal::virtio::{self, DeviceType, DmaChain, DmaSeg, MAX_SEGMENTS, Queue, VirtioDevice};

use crate::block::{self, Disk, Driver, Limits, Op, Request};
use crate::prelude::*;

/// Major number: the first that Linux hands out dynamically.
pub const MAJOR: u32 = 254;
/// Numbers of one disk.
const MINORS: u32 = 16;

const F_SIZE_MAX: u64 = 1 << 1;
const F_SEG_MAX: u64 = 1 << 2;
const F_RO: u64 = 1 << 5;
const F_BLK_SIZE: u64 = 1 << 6;
const F_FLUSH: u64 = 1 << 9;
const F_TOPOLOGY: u64 = 1 << 10;
const F_MQ: u64 = 1 << 12;
const F_DISCARD: u64 = 1 << 13;
const F_WRITE_ZEROES: u64 = 1 << 14;
const WANTED: u64 = F_SIZE_MAX
    | F_SEG_MAX
    | F_RO
    | F_BLK_SIZE
    | F_FLUSH
    | F_TOPOLOGY
    | F_MQ
    | F_DISCARD
    | F_WRITE_ZEROES;

/// Offsets in the configuration space.
mod config {
    pub(super) const CAPACITY: usize = 0;
    pub(super) const SEG_MAX: usize = 12;
    pub(super) const BLK_SIZE: usize = 20;
    pub(super) const PHYSICAL_EXP: usize = 24;
    pub(super) const MIN_IO: usize = 26;
    pub(super) const OPT_IO: usize = 28;
    pub(super) const NUM_QUEUES: usize = 34;
    pub(super) const MAX_DISCARD: usize = 36;
    pub(super) const MAX_ZEROES: usize = 48;
}

/// Request types.
mod kind {
    pub(super) const IN: u32 = 0;
    pub(super) const OUT: u32 = 1;
    pub(super) const FLUSH: u32 = 4;
    pub(super) const GET_ID: u32 = 8;
    pub(super) const DISCARD: u32 = 11;
    pub(super) const WRITE_ZEROES: u32 = 13;
}

const STATUS_OK: u8 = 0;
const STATUS_UNSUPPORTED: u8 = 2;

/// Entries of a ring, if the device has as many.
const RING_SIZE: u16 = 256;
/// Entries of a request beside its data's: header, range, status.
const EXTRA_SEGMENTS: usize = 3;
/// Requests in flight in one queue.
const SLOTS: usize = 256;
/// Bytes of a slot: the header (16), a discard's range (16), the status (1).
const SLOT_BYTES: usize = 64;
const RANGE_AT: u32 = 16;
const STATUS_AT: u32 = 32;
const SLOTS_PER_FRAME: usize = PAGE_SIZE / SLOT_BYTES;
/// Sectors of one request: what the page cache reads at a time at most.
const MAX_SECTORS: u64 = 1024;

/// A hardware queue and what is on it.
struct HwQueue {
    ring: OnceLock<Queue>,
    state: IrqLock<State>,
    /// Pieces of data of one request: with the others it must fit in an empty ring.
    max_segments: AtomicUsize,
    /// Something was submitted since the last kick.
    kick: AtomicBool,
}

struct State {
    slots: Vec<Option<Request>>,
    free: Vec<u16>,
    /// Headers and statuses of the slots.
    frames: Vec<Frame>,
    waiting: VecDeque<Request>,
}

struct VirtioBlk {
    queues: Vec<Arc<HwQueue>>,
}

impl HwQueue {
    fn new() -> Result<Arc<Self>> {
        let frames: Option<Vec<Frame>> = (0..SLOTS.div_ceil(SLOTS_PER_FRAME))
            .map(|_| Frame::alloc(AllocFlags::ZERO))
            .collect();
        Ok(Arc::new(Self {
            ring: OnceLock::new(),
            state: IrqLock::new(State {
                slots: (0..SLOTS).map(|_| None).collect(),
                free: (0..SLOTS as u16).rev().collect(),
                frames: frames.ok_or(Errno::ENOMEM)?,
                waiting: VecDeque::new(),
            }),
            max_segments: AtomicUsize::new(1),
            kick: AtomicBool::new(false),
        }))
    }

    fn submit(&self, request: Request) {
        let mut state = self.state.lock();
        let left = match state.waiting.back_mut() {
            Some(last) => {
                let most = self.max_segments.load(Ordering::Relaxed);
                last.merge(request, most, MAX_SECTORS)
            }
            None => self.start(&mut state, request),
        };
        state.waiting.extend(left);
    }

    /// Puts a request into the ring; gives it back if there is no room.
    fn start(&self, state: &mut State, request: Request) -> Option<Request> {
        let Some(ring) = self.ring.get() else {
            return Some(request);
        };
        let Some(slot) = state.free.pop() else {
            return Some(request);
        };
        let at = usize::from(slot);
        let chain = chain(
            &state.frames[at / SLOTS_PER_FRAME],
            at % SLOTS_PER_FRAME,
            &request,
        );
        if ring.submit(chain, u64::from(slot)).is_err() {
            state.free.push(slot);
            return Some(request);
        }
        state.slots[at] = Some(request);
        self.kick.store(true, Ordering::Relaxed);
        None
    }

    fn kick(&self) {
        if self.kick.swap(false, Ordering::AcqRel)
            && let Some(ring) = self.ring.get()
        {
            ring.kick();
        }
    }

    /// The device's interrupt: answers what is finished, starts what waits.
    fn interrupt(&self) {
        let Some(ring) = self.ring.get() else { return };
        while let Some(completion) = ring.pop() {
            let at = completion.cookie as usize;
            let finished = {
                let mut state = self.state.lock();
                let request = state.slots.get_mut(at).and_then(Option::take);
                let mut status = [STATUS_UNSUPPORTED];
                if request.is_some() {
                    state.free.push(at as u16);
                    let off = at % SLOTS_PER_FRAME * SLOT_BYTES + STATUS_AT as usize;
                    state.frames[at / SLOTS_PER_FRAME].read(off, &mut status);
                }
                request.map(|request| (request, status[0]))
            };
            if let Some((request, status)) = finished {
                request.complete(match status {
                    STATUS_OK => Ok(()),
                    STATUS_UNSUPPORTED => Err(Errno::EOPNOTSUPP),
                    _ => Err(Errno::EIO),
                });
            }
        }
        let mut state = self.state.lock();
        while let Some(request) = state.waiting.pop_front() {
            if let Some(request) = self.start(&mut state, request) {
                state.waiting.push_front(request);
                break;
            }
        }
        drop(state);
        self.kick();
    }
}

/// The descriptor chain of a request: header, data, status.
fn chain(frame: &Frame, slot: usize, request: &Request) -> DmaChain {
    let base = slot * SLOT_BYTES;
    let kind = match request.op {
        Op::Read => kind::IN,
        Op::Write => kind::OUT,
        Op::Flush => kind::FLUSH,
        Op::Discard => kind::DISCARD,
        Op::WriteZeroes => kind::WRITE_ZEROES,
    };
    let ranged = matches!(request.op, Op::Discard | Op::WriteZeroes);
    let sector = if ranged || request.op == Op::Flush {
        0
    } else {
        request.sector
    };
    header(frame, base, kind, sector);
    let own = |off: u32, len: u32, device_writes: bool| DmaSeg {
        frame: frame.clone(),
        off: base as u32 + off,
        len,
        device_writes,
    };
    let mut chain = Vec::with_capacity(request.segments.len() + EXTRA_SEGMENTS);
    chain.push(own(0, 16, false));
    if ranged {
        let mut range = [0; 16];
        range[..8].copy_from_slice(&request.sector.to_le_bytes());
        range[8..12].copy_from_slice(&(request.sectors as u32).to_le_bytes());
        frame.write(base + RANGE_AT as usize, &range);
        chain.push(own(RANGE_AT, 16, false));
    }
    let device_writes = request.op == Op::Read;
    chain.extend(request.segments.iter().map(|segment| DmaSeg {
        frame: segment.frame.clone(),
        off: segment.off,
        len: segment.len,
        device_writes,
    }));
    chain.push(own(STATUS_AT, 1, true));
    chain
}

fn header(frame: &Frame, base: usize, kind: u32, sector: u64) {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[8..].copy_from_slice(&sector.to_le_bytes());
    frame.write(base, &header);
    // A device that forgets the status has failed.
    frame.write(base + STATUS_AT as usize, &[0xff]);
}

impl Driver for VirtioBlk {
    fn submit(&self, request: Request) {
        if let Some(queue) = self.queues.get(cpu::id() % self.queues.len()) {
            queue.submit(request);
        }
    }

    fn kick(&self) {
        // The task may have moved between CPUs since it submitted.
        for queue in &self.queues {
            queue.kick();
        }
    }
}

/// Finds the devices and registers their disks.
pub fn init() {
    for device in virtio::devices()
        .iter()
        .filter(|d| d.kind == DeviceType::Block)
    {
        if let Err(why) = probe(device) {
            log::error!("virtio_blk {}: {why}", device.pci.bdf());
        }
    }
}

/// vda … vdz, vdaa …
fn disk_name(mut index: u32) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(b'a' + (index % 26) as u8));
        index /= 26;
        if index == 0 {
            break;
        }
        index -= 1;
    }
    let letters: String = letters.iter().rev().collect();
    format!("vd{letters}")
}

fn probe(device: &Arc<VirtioDevice>) -> core::result::Result<(), String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let features = device
        .begin(WANTED)
        .map_err(|e| format!("cannot negotiate: {e:?}"))?;
    let has = |bit: u64| features & bit != 0;
    let offered = if has(F_MQ) {
        device.config::<u16>(config::NUM_QUEUES).unwrap_or(1)
    } else {
        1
    };
    let wanted = usize::from(offered.max(1)).min(cpu::count());
    let mut queues = Vec::new();
    for index in 0..wanted {
        let queue = HwQueue::new().map_err(|e| format!("{e:?}"))?;
        let handler = {
            let queue = queue.clone();
            Box::new(move || queue.interrupt())
        };
        match device.setup_queue(index as u16, RING_SIZE, handler, index) {
            Ok(ring) => {
                queue.ring.call_once(|| ring);
                queues.push(queue);
            }
            // Vectors may run out; a device works with fewer queues.
            Err(_) if !queues.is_empty() => break,
            Err(error) => return Err(format!("cannot set up queue {index}: {error:?}")),
        }
    }
    device.finish();
    let rings = queues.iter().filter_map(|queue| queue.ring.get());
    let entries = rings.map(Queue::size).min().unwrap_or(0);
    if entries <= EXTRA_SEGMENTS {
        return Err(format!("a queue of {entries} entries is too small"));
    }
    let limits = limits(device, features, entries);
    for queue in &queues {
        queue
            .max_segments
            .store(limits.max_segments, Ordering::Relaxed);
    }
    let sectors = device.config::<u64>(config::CAPACITY).unwrap_or(0);
    let serial = read_serial(&queues);
    let index = NEXT.fetch_add(1, Ordering::Relaxed);
    let disk = Disk::new(
        disk_name(index),
        Dev::new(MAJOR, index * MINORS),
        MINORS,
        limits,
        serial,
        format!("{}", device.pci.bdf()),
        has(F_RO),
        Arc::new(VirtioBlk { queues }),
    );
    block::register_disk(disk, sectors);
    Ok(())
}

fn limits(device: &VirtioDevice, features: u64, ring_entries: usize) -> Limits {
    let has = |bit: u64| features & bit != 0;
    let get = |bit: u64, at: usize| {
        if has(bit) {
            device.config::<u32>(at).unwrap_or(0)
        } else {
            0
        }
    };
    let logical = match get(F_BLK_SIZE, config::BLK_SIZE) {
        size if size.is_power_of_two() && (512..=4096).contains(&size) => size,
        _ => 512,
    };
    let topology = has(F_TOPOLOGY);
    let exponent = device
        .config::<u8>(config::PHYSICAL_EXP)
        .filter(|_| topology)
        .unwrap_or(0);
    let min_io = device
        .config::<u16>(config::MIN_IO)
        .filter(|_| topology)
        .unwrap_or(0);
    let max_segments = match get(F_SEG_MAX, config::SEG_MAX) {
        0 => 1,
        n => (n as usize).min(MAX_SEGMENTS.min(ring_entries) - EXTRA_SEGMENTS),
    };
    Limits {
        logical_block: logical,
        physical_block: logical << exponent.min(8),
        io_min: u32::from(min_io) * logical,
        io_opt: get(F_TOPOLOGY, config::OPT_IO).saturating_mul(logical),
        max_segments,
        max_sectors: MAX_SECTORS,
        volatile_cache: has(F_FLUSH),
        max_discard: u64::from(get(F_DISCARD, config::MAX_DISCARD)),
        max_zeroes: u64::from(get(F_WRITE_ZEROES, config::MAX_ZEROES)),
    }
}

/// The serial number (20 bytes at most), asked of the device itself; empty if it has none.
fn read_serial(queues: &[Arc<HwQueue>]) -> String {
    let Some(ring) = queues.first().and_then(|queue| queue.ring.get()) else {
        return String::new();
    };
    let Some(frame) = Frame::alloc(AllocFlags::ZERO) else {
        return String::new();
    };
    header(&frame, 0, kind::GET_ID, 0);
    let seg = |off: u32, len: u32, device_writes| DmaSeg {
        frame: frame.clone(),
        off,
        len,
        device_writes,
    };
    // The interrupt handler would drop the answer: it is waited for without interrupts, once, at start.
    let _quiet = keel_hal::irq::disable();
    let chain = vec![
        seg(0, 16, false),
        seg(64, 20, true),
        seg(STATUS_AT, 1, true),
    ];
    if ring.submit(chain, u64::MAX).is_err() {
        return String::new();
    }
    ring.kick();
    let deadline = keel_hal::time::now() + 100_000_000;
    while ring.pop().is_none() {
        if keel_hal::time::now() > deadline {
            return String::new();
        }
        core::hint::spin_loop();
    }
    let mut id = [0; 20];
    frame.read(64, &mut id);
    id.iter()
        .take_while(|byte| byte.is_ascii_graphic() || **byte == b' ')
        .map(|b| char::from(*b))
        .collect()
}
