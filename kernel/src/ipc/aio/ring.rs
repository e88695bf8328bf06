//! The ring of completions that a context shares with its program (`struct aio_ring`).
//!
//! The C library may take events out of it without a call, by moving `head`; only the kernel moves `tail`. What the
//! program writes there can only confuse the program: positions are taken modulo the ring's length.

use keel_abi::types::IoEvent;
use zerocopy::{FromBytes, IntoBytes};

use crate::mm::{VmFault, VmObject, alloc_user_frame};
use crate::prelude::*;

/// `struct aio_ring`: byte offsets of its fields.
mod field {
    pub const ID: usize = 0;
    pub const NR: usize = 4;
    pub const HEAD: usize = 8;
    pub const TAIL: usize = 12;
    pub const MAGIC: usize = 16;
    pub const COMPAT: usize = 20;
    pub const INCOMPAT: usize = 24;
    pub const HEADER_LENGTH: usize = 28;
}

const MAGIC: u32 = 0xa10a_10a1;
const HEADER: usize = 32;
const EVENT: usize = size_of::<IoEvent>();
/// Events never straddle pages.
const _: () = assert!(PAGE_SIZE.is_multiple_of(EVENT) && HEADER == EVENT);

/// The ring's pages.
pub struct Ring {
    frames: Vec<Frame>,
    /// Events that it has room for; one stays free.
    len: u32,
}

impl Ring {
    /// A ring for at least `events` events: ENOMEM.
    pub fn new(events: u32) -> Result<Self> {
        // One more than it holds, so that full and empty differ.
        let bytes = HEADER + (events as usize + 2) * EVENT;
        let pages = bytes.div_ceil(PAGE_SIZE);
        let mut frames = Vec::new();
        frames.try_reserve(pages).map_err(|_| Errno::ENOMEM)?;
        for _ in 0..pages {
            frames.push(alloc_user_frame(AllocFlags::ZERO).ok_or(Errno::ENOMEM)?);
        }
        let len = ((pages * PAGE_SIZE - HEADER) / EVENT) as u32;
        let ring = Self { frames, len };
        ring.store(field::ID, u32::MAX);
        ring.store(field::NR, len);
        ring.store(field::MAGIC, MAGIC);
        ring.store(field::COMPAT, 1);
        ring.store(field::INCOMPAT, 0);
        ring.store(field::HEADER_LENGTH, HEADER as u32);
        Ok(ring)
    }

    fn store(&self, field: usize, value: u32) {
        if let Some(frame) = self.frames.first() {
            frame.store_u32(field, value);
        }
    }

    fn load(&self, field: usize) -> u32 {
        self.frames.first().map_or(0, |frame| frame.load_u32(field))
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.frames.len() * PAGE_SIZE
    }

    /// Events that it can hold at a time.
    pub fn capacity(&self) -> u32 {
        self.len - 1
    }

    fn head(&self) -> u32 {
        self.load(field::HEAD) % self.len
    }

    fn tail(&self) -> u32 {
        self.load(field::TAIL) % self.len
    }

    /// Events in it.
    pub fn count(&self) -> u32 {
        (self.tail() + self.len - self.head()) % self.len
    }

    fn place(&self, index: u32) -> Option<(&Frame, usize)> {
        let at = HEADER + index as usize * EVENT;
        let frame = self.frames.get(at / PAGE_SIZE)?;
        Some((frame, at % PAGE_SIZE))
    }

    /// Adds an event. Callers take turns, and have made sure of room.
    pub fn push(&self, event: &IoEvent) {
        let tail = self.tail();
        if let Some((frame, at)) = self.place(tail) {
            frame.write(at, event.as_bytes());
        }
        self.store(field::TAIL, (tail + 1) % self.len);
    }

    /// Takes the oldest event out. Callers take turns.
    pub fn pop(&self) -> Option<IoEvent> {
        let head = self.head();
        if head == self.tail() {
            return None;
        }
        let mut bytes = [0; EVENT];
        let (frame, at) = self.place(head)?;
        frame.read(at, &mut bytes);
        self.store(field::HEAD, (head + 1) % self.len);
        IoEvent::read_from_bytes(&bytes).ok()
    }

    /// Puts the event that was taken out last back.
    pub fn unpop(&self) {
        self.store(field::HEAD, (self.head() + self.len - 1) % self.len);
    }
}

impl VmObject for Ring {
    fn fault(&self, pgoff: u64, _write: bool) -> core::result::Result<Frame, VmFault> {
        usize::try_from(pgoff)
            .ok()
            .and_then(|at| self.frames.get(at))
            .cloned()
            .ok_or(VmFault::SigBus)
    }
}
