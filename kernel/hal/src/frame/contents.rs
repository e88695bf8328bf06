//! Reading and writing what is in a frame, through the direct map.
//!
//! Other CPUs, user programs and devices may write the same memory at the same time; the copies
//! tolerate that (see [`super::bytes`]), but are not atomic beyond what is said. Offsets and lengths
//! outside the frame are kernel bugs and panic.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{Frame, bytes};
use crate::user;

impl Frame {
    /// The direct-map address of `len` bytes at `off`.
    #[inline]
    fn window(&self, off: usize, len: usize) -> usize {
        let end = off.checked_add(len);
        assert!(
            end.is_some_and(|end| end <= self.size()),
            "access at {off}+{len} in a frame of {}",
            self.size()
        );
        self.phys().direct() + off
    }

    /// Copies out of the frame.
    pub fn read(&self, off: usize, dst: &mut [u8]) {
        let src = self.window(off, dst.len());
        // SAFETY: `window` checked the source, and a `&mut` slice is no part of a frame.
        unsafe { bytes::copy(dst.as_mut_ptr() as usize, src, dst.len()) };
    }

    /// Copies into the frame.
    pub fn write(&self, off: usize, src: &[u8]) {
        let dst = self.window(off, src.len());
        // SAFETY: `window` checked the destination, to which there are no references.
        unsafe { bytes::copy(dst, src.as_ptr() as usize, src.len()) };
    }

    /// Sets `len` bytes at `off` to `byte`.
    pub fn fill(&self, off: usize, len: usize, byte: u8) {
        let dst = self.window(off, len);
        // SAFETY: `window` checked the destination, to which there are no references.
        unsafe { bytes::fill(dst, byte, len) };
    }

    /// Copies the whole of `src`, which must have the same size.
    pub fn copy_from(&self, src: &Frame) {
        let len = self.size();
        let (dst, src) = (self.window(0, len), src.window(0, len));
        if dst != src {
            // SAFETY: both checked by `window`; blocks are aligned to their size, so different ones
            // do not overlap.
            unsafe { bytes::copy(dst, src, len) };
        }
    }

    /// Copies `len` bytes between frames.
    pub fn copy_range_from(&self, off: usize, src: &Frame, src_off: usize, len: usize) {
        let (dst, from) = (self.window(off, len), src.window(src_off, len));
        assert!(dst + len <= from || from + len <= dst, "overlapping copy");
        // SAFETY: both checked by `window`, and they do not overlap.
        unsafe { bytes::copy(dst, from, len) };
    }

    /// Copies to user memory; returns how many bytes it got to.
    pub fn copy_to_user(&self, off: usize, uaddr: usize, len: usize) -> usize {
        let src = self.window(off, len);
        // SAFETY: `window` checked the source.
        unsafe { user::copy_out(uaddr, src, len) }
    }

    /// Copies from user memory; returns how many bytes it got to.
    pub fn copy_from_user(&self, off: usize, uaddr: usize, len: usize) -> usize {
        let dst = self.window(off, len);
        // SAFETY: `window` checked the destination, to which there are no references.
        unsafe { user::copy_in(dst, uaddr, len) }
    }

    /// Whether every byte is zero.
    pub fn is_zero(&self) -> bool {
        // SAFETY: the whole frame, which is aligned.
        unsafe { bytes::is_zero(self.window(0, self.size()), self.size()) }
    }

    /// The 32-bit word at `off`, which must be a multiple of 4; an acquire load.
    pub fn load_u32(&self, off: usize) -> u32 {
        self.word_u32(off).load(Ordering::Acquire)
    }

    /// Writes the 32-bit word at `off`, which must be a multiple of 4; a release store.
    pub fn store_u32(&self, off: usize, value: u32) {
        self.word_u32(off).store(value, Ordering::Release);
    }

    /// The 64-bit word at `off`, which must be a multiple of 8; an acquire load.
    pub fn load_u64(&self, off: usize) -> u64 {
        self.word_u64(off).load(Ordering::Acquire)
    }

    /// Writes the 64-bit word at `off`, which must be a multiple of 8; a release store.
    pub fn store_u64(&self, off: usize, value: u64) {
        self.word_u64(off).store(value, Ordering::Release);
    }

    fn word_u32(&self, off: usize) -> &AtomicU32 {
        assert!(off.is_multiple_of(4));
        // SAFETY: inside the frame, which lives as long as the handle, and aligned.
        unsafe { AtomicU32::from_ptr(self.window(off, 4) as *mut u32) }
    }

    fn word_u64(&self, off: usize) -> &AtomicU64 {
        assert!(off.is_multiple_of(8));
        // SAFETY: inside the frame, which lives as long as the handle, and aligned.
        unsafe { AtomicU64::from_ptr(self.window(off, 8) as *mut u64) }
    }
}
