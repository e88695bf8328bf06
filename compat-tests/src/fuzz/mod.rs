//! The system-call fuzzer: programs of calls made from the table's typed signatures.
//!
//! A *program* is a list of calls that follows from a seed alone ([`program`]), so naming the seed is
//! enough to run it again, on Linux or on Keel, whole or in part. It runs in a child with a small prepared
//! world ([`world`]): a directory, descriptors of each kind at fixed numbers, and an arena of memory at a
//! fixed address. Results land in a page shared with the parent, so they outlive the child; what must
//! outlive the *machine* goes to the journal ([`run`]). [`shrink`] finds the calls of a program that matter.

pub mod program;
pub mod run;
pub mod shrink;
mod values;
mod world;

/// A small deterministic generator (SplitMix64, public domain algorithm by S. Vigna).
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6b65_656c)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n` (0 when `n` is 0).
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 {
            0
        } else {
            (self.bits() % n as u64) as usize
        }
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `items`; the default when there are none.
    pub fn pick<T: Copy + Default>(&mut self, items: &[T]) -> T {
        items
            .get(self.below(items.len()))
            .copied()
            .unwrap_or_default()
    }
}
