//! Physical page frames: the counted handle [`Frame`] and the allocator's front door.
use crate::addr::PhysAddr;

bitflags::bitflags! {
    /// How to allocate a frame.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AllocFlags: u32 {
        /// Fill with zeroes.
        const ZERO = 1;
        /// For user memory or page cache: fails below the low watermark, so that the kernel
        /// itself keeps a reserve.
        const USER = 2;
        /// Do not try to free memory by any slow means.
        const NOWAIT = 4;
    }
}

/// Order of a huge page.
pub const HUGE_ORDER: u32 = 9;
/// The largest order the allocator serves.
pub const MAX_ORDER: u32 = 10;

/// A counted handle to a page frame, or to a block of 2^order frames.
#[derive(Debug)]
pub struct Frame(usize);

/// The state of physical memory, in frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameStats {
    /// Frames the allocator manages.
    pub total: usize,
    /// Free frames, the per-CPU caches' included.
    pub free: usize,
    /// Below this, [`AllocFlags::USER`] requests fail.
    pub low_watermark: usize,
    /// Free blocks of each order.
    pub free_blocks: [usize; MAX_ORDER as usize + 1],
}

#[allow(unused_variables, missing_docs)]
impl Frame {
    pub fn alloc(flags: AllocFlags) -> Option<Frame> { todo!() }
    pub fn alloc_huge(flags: AllocFlags) -> Option<Frame> { todo!() }
    pub fn alloc_contiguous(order: u32, flags: AllocFlags) -> Option<Frame> { todo!() }
    pub fn phys(&self) -> PhysAddr { todo!() }
    pub fn pfn(&self) -> usize { todo!() }
    pub fn order(&self) -> u32 { todo!() }
    pub fn size(&self) -> usize { todo!() }
    pub fn ref_count(&self) -> u32 { todo!() }
    pub fn same(&self, other: &Frame) -> bool { todo!() }
    pub fn read(&self, off: usize, dst: &mut [u8]) { todo!() }
    pub fn write(&self, off: usize, src: &[u8]) { todo!() }
    pub fn fill(&self, off: usize, len: usize, byte: u8) { todo!() }
    pub fn copy_from(&self, src: &Frame) { todo!() }
    pub fn copy_to_user(&self, off: usize, uaddr: usize, len: usize) -> usize { todo!() }
    pub fn copy_from_user(&self, off: usize, uaddr: usize, len: usize) -> usize { todo!() }
    pub fn is_zero(&self) -> bool { todo!() }
    pub fn load_u32(&self, off: usize) -> u32 { todo!() }
    pub fn store_u32(&self, off: usize, value: u32) { todo!() }
    pub fn load_u64(&self, off: usize) -> u64 { todo!() }
    pub fn store_u64(&self, off: usize, value: u64) { todo!() }
    pub fn flags(&self) -> u8 { todo!() }
    pub fn flags_set(&self, bits: u8) -> u8 { todo!() }
    pub fn flags_clear(&self, bits: u8) -> u8 { todo!() }
    pub fn flags_test(&self, bits: u8) -> bool { todo!() }
}
impl Clone for Frame { fn clone(&self) -> Frame { todo!() } }
impl Drop for Frame { fn drop(&mut self) { todo!() } }

/// The state of physical memory now.
pub fn stats() -> FrameStats { todo!() }
