//! The map of blocks a group can allocate: free runs found word by word.

use alloc::vec;
use alloc::vec::Vec;

/// One bit per block of a group, set where the block is taken.
pub(crate) struct BlockMap {
    words: Vec<u64>,
    blocks: u32,
    free: u32,
    /// Where allocations without a goal go on.
    pub cursor: u32,
}

impl BlockMap {
    /// From a bitmap as it is on disk; blocks from `blocks` on count as taken.
    pub fn new(bitmap: &[u8], blocks: u32) -> Self {
        let mut words = vec![!0u64; (blocks as usize).div_ceil(64)];
        for (w, bytes) in words.iter_mut().zip(bitmap.chunks(8)) {
            let mut le = [0xff; 8];
            le[..bytes.len()].copy_from_slice(bytes);
            *w = u64::from_le_bytes(le);
        }
        if !blocks.is_multiple_of(64)
            && let Some(w) = words.last_mut()
        {
            *w |= !0 << (blocks % 64);
        }
        let free = words.iter().map(|w| w.count_zeros()).sum();
        Self {
            words,
            blocks,
            free,
            cursor: 0,
        }
    }

    /// Blocks that can be allocated.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// First free block in `from..end`.
    fn next_free(&self, from: u32, end: u32) -> Option<u32> {
        let mut i = from;
        while i < end {
            let w = *self.words.get(i as usize / 64)? | ((1u64 << (i % 64)) - 1);
            if w != !0 {
                let at = i / 64 * 64 + w.trailing_ones();
                return (at < end).then_some(at);
            }
            i = (i / 64 + 1) * 64;
        }
        None
    }

    /// Length of the free run at `at`, up to `max`.
    pub fn run_at(&self, at: u32, max: u32) -> u32 {
        let end = at.saturating_add(max).min(self.blocks);
        let mut i = at;
        while i < end {
            let Some(&w) = self.words.get(i as usize / 64) else {
                break;
            };
            let w = w >> (i % 64);
            let in_word = 64 - i % 64;
            let zeros = w.trailing_zeros().min(in_word);
            i += zeros;
            if zeros < in_word {
                break;
            }
        }
        i.min(end).saturating_sub(at)
    }

    /// The first run of at least `want` blocks in `from..end`, or else the longest there is.
    pub fn find(&self, from: u32, end: u32, want: u32) -> Option<(u32, u32)> {
        let end = end.min(self.blocks);
        let mut best: Option<(u32, u32)> = None;
        let mut i = from;
        while let Some(at) = self.next_free(i, end) {
            let len = self.run_at(at, want);
            if len >= want {
                return Some((at, len));
            }
            if best.is_none_or(|(_, l)| len > l) {
                best = Some((at, len));
            }
            i = at + len.max(1);
        }
        best
    }

    /// Takes a run that is free.
    pub fn take(&mut self, at: u32, len: u32) {
        for i in at..at + len {
            if let Some(w) = self.words.get_mut(i as usize / 64) {
                self.free -= u32::from(*w & (1 << (i % 64)) == 0);
                *w |= 1 << (i % 64);
            }
        }
        self.cursor = at + len;
    }

    /// Gives a run back.
    pub fn release(&mut self, at: u32, len: u32) {
        for i in at..at.saturating_add(len).min(self.blocks) {
            if let Some(w) = self.words.get_mut(i as usize / 64) {
                self.free += u32::from(*w & (1 << (i % 64)) != 0);
                *w &= !(1 << (i % 64));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs() {
        let mut m = BlockMap::new(&[0xff; 16], 100);
        assert_eq!(m.free(), 0);
        m.release(10, 5);
        m.release(60, 30);
        m.release(99, 1);
        assert_eq!(m.free(), 36);
        assert_eq!(m.find(0, 100, 3), Some((10, 3)));
        assert_eq!(m.find(0, 100, 20), Some((60, 20)));
        assert_eq!(m.find(0, 100, 50), Some((60, 30)));
        assert_eq!(m.find(12, 100, 3), Some((12, 3)));
        m.take(60, 30);
        assert_eq!(m.find(15, 100, 3), Some((99, 1)));
        assert_eq!(m.run_at(0, 10), 0);
        m.take(10, 5);
        m.take(99, 1);
        assert_eq!(m.find(0, 100, 1), None);
    }
}
