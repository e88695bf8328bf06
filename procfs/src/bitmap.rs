//! [`Bitmap`]: CPU and node sets in the two forms that the kernel prints, `%*pb` (hexadecimal words) and
//! `%*pbl` (ranges). See "Formats" in cpuset(7).

use alloc::vec::Vec;
use core::fmt;

/// A set of small numbers (CPUs, memory nodes, ports) with a fixed width.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bitmap {
    /// Bit `n` is bit `n % 64` of word `n / 64`; words beyond the end count as zero.
    pub words: Vec<u64>,
    /// How many bits the mask has; the hexadecimal form shows all of them.
    pub bits: u32,
}

impl Bitmap {
    /// A set of `bits` bits of which the first `count` are set.
    pub fn first(count: u32, bits: u32) -> Self {
        let words = (0..bits.div_ceil(64))
            .map(|word| {
                let left = count.saturating_sub(word * 64);
                if left >= 64 {
                    u64::MAX
                } else {
                    (1u64 << left) - 1
                }
            })
            .collect();
        Bitmap { words, bits }
    }

    /// A set of up to 64 bits.
    pub fn from_word(word: u64, bits: u32) -> Self {
        Bitmap {
            words: alloc::vec![word],
            bits,
        }
    }

    /// Whether bit `bit` is set.
    pub fn has(&self, bit: u32) -> bool {
        bit < self.bits
            && self
                .words
                .get((bit / 64) as usize)
                .is_some_and(|w| w >> (bit % 64) & 1 == 1)
    }

    /// The hexadecimal form, e.g. `ff` or `00000000,00000003`.
    pub fn hex(&self) -> Hex<'_> {
        Hex(self)
    }

    /// The list form, e.g. `0-3,6`.
    pub fn list(&self) -> List<'_> {
        List(self)
    }

    fn chunk(&self, index: u32) -> u32 {
        let word = self.words.get((index / 2) as usize).copied().unwrap_or(0);
        let chunk = (word >> (32 * (index % 2))) as u32;
        let width = self.bits - (index * 32).min(self.bits);
        if width < 32 {
            chunk & ((1u32 << width) - 1)
        } else {
            chunk
        }
    }
}

/// Displays a [`Bitmap`] as comma-separated 32-bit words, most significant first.
#[derive(Debug)]
pub struct Hex<'a>(&'a Bitmap);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chunks = self.0.bits.div_ceil(32);
        for index in (0..chunks).rev() {
            let bits = if index + 1 == chunks {
                self.0.bits - index * 32
            } else {
                32
            };
            write!(
                f,
                "{:0width$x}",
                self.0.chunk(index),
                width = bits.div_ceil(4) as usize
            )?;
            if index > 0 {
                f.write_str(",")?;
            }
        }
        Ok(())
    }
}

/// Displays a [`Bitmap`] as comma-separated numbers and ranges.
#[derive(Debug)]
pub struct List<'a>(&'a Bitmap);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let mut bit = 0;
        while bit < self.0.bits {
            if !self.0.has(bit) {
                bit += 1;
                continue;
            }
            let start = bit;
            while self.0.has(bit + 1) {
                bit += 1;
            }
            if !first {
                f.write_str(",")?;
            }
            first = false;
            if start == bit {
                write!(f, "{start}")?;
            } else {
                write!(f, "{start}-{bit}")?;
            }
            bit += 1;
        }
        Ok(())
    }
}
