//! Random numbers for the kernel and for getrandom(2): ChaCha20 with fast key erasure, one generator per CPU.
//!
//! Seeded from the CPU's generator, the virtio entropy device and timing ([`mix`]); each generator re-keys itself
//! on every use, so that earlier output cannot be recovered from its state.

use core::sync::atomic::{AtomicU64, Ordering};
use keel_hal::cpu::PerCpu;

use crate::prelude::*;

/// Key and how many reseeds it has seen.
struct Generator {
    key: [u32; 8],
    epoch: u64,
}

/// Entropy collected for the next reseed.
static POOL: IrqLock<[u32; 8]> = IrqLock::new([0; 8]);
static EPOCH: AtomicU64 = AtomicU64::new(1);
static GENERATORS: OnceLock<PerCpu<IrqLock<Generator>>> = OnceLock::new();

/// ChaCha20's block function (RFC 8439, section 2.3) with a zero nonce.
fn chacha20_block(key: &[u32; 8], counter: u32) -> [u32; 16] {
    let mut init = [0; 16];
    init[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
    init[4..12].copy_from_slice(key);
    init[12] = counter;
    let mut x = init;
    for _ in 0..10 {
        quarter(&mut x, 0, 4, 8, 12);
        quarter(&mut x, 1, 5, 9, 13);
        quarter(&mut x, 2, 6, 10, 14);
        quarter(&mut x, 3, 7, 11, 15);
        quarter(&mut x, 0, 5, 10, 15);
        quarter(&mut x, 1, 6, 11, 12);
        quarter(&mut x, 2, 7, 8, 13);
        quarter(&mut x, 3, 4, 9, 14);
    }
    for (word, start) in x.iter_mut().zip(init) {
        *word = word.wrapping_add(start);
    }
    x
}

fn quarter(x: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize) {
    x[a] = x[a].wrapping_add(x[b]);
    x[d] = (x[d] ^ x[a]).rotate_left(16);
    x[c] = x[c].wrapping_add(x[d]);
    x[b] = (x[b] ^ x[c]).rotate_left(12);
    x[a] = x[a].wrapping_add(x[b]);
    x[d] = (x[d] ^ x[a]).rotate_left(8);
    x[c] = x[c].wrapping_add(x[d]);
    x[b] = (x[b] ^ x[c]).rotate_left(7);
}

/// Adds entropy: every generator takes it up at its next use.
pub fn mix(bytes: &[u8]) {
    let mut pool = POOL.lock();
    for chunk in bytes.chunks(32) {
        for (at, byte) in chunk.iter().enumerate() {
            pool[at / 4] ^= u32::from(*byte) << (8 * (at % 4));
        }
        let now = keel_hal::time::now();
        pool[0] ^= now as u32;
        pool[1] ^= (now >> 32) as u32;
        let block = chacha20_block(&pool, 0);
        pool.copy_from_slice(&block[..8]);
    }
    EPOCH.fetch_add(1, Ordering::Relaxed);
}

fn generators() -> &'static PerCpu<IrqLock<Generator>> {
    GENERATORS.call_once(|| {
        let mut seed = [0; 64];
        keel_hal::random::seed(&mut seed);
        mix(&seed);
        PerCpu::new(|_| {
            IrqLock::new(Generator {
                key: [0; 8],
                epoch: 0,
            })
        })
    })
}

/// Fills `out` with random bytes.
pub fn fill(out: &mut [u8]) {
    let mut generator = generators().get().lock();
    let epoch = EPOCH.load(Ordering::Relaxed);
    if generator.epoch != epoch {
        generator.epoch = epoch;
        let mut pool = POOL.lock();
        for (key, word) in generator.key.iter_mut().zip(pool.iter()) {
            *key ^= word;
        }
        let next = chacha20_block(&pool, 1);
        pool.copy_from_slice(&next[..8]);
    }
    // The first half of the first block is the next key: what is given out does not lead back.
    let first = chacha20_block(&generator.key, 0);
    let key = generator.key;
    generator.key.copy_from_slice(&first[..8]);
    drop(generator);
    for (at, chunk) in out.chunks_mut(64).enumerate() {
        let block = chacha20_block(&key, at as u32 + 1);
        for (byte, from) in chunk
            .iter_mut()
            .zip(block.iter().flat_map(|word| word.to_le_bytes()))
        {
            *byte = from;
        }
    }
}

/// An array of random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}

/// A random number.
pub fn u64() -> u64 {
    u64::from_le_bytes(bytes())
}
