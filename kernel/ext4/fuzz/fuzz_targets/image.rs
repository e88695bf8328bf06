//! `cargo +nightly fuzz run image`, from kernel/ext4/: mount, walk and write on damaged images.
//!
//! The input is a list of changes to a small populated image, eight bytes each.
#![no_main]

#[path = "../../tests/common/mod.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod common;

use std::sync::OnceLock;

use common::Host;
use common::exercise::{Base, Mutator, base_images, poke};
use keel_ext4::{Fs, MountOptions};

static BASES: OnceLock<Vec<Base>> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&first, changes)) = bytes.split_first() else { return };
    let bases = BASES.get_or_init(base_images);
    let mut m = Mutator::new(&bases[usize::from(first) % bases.len()]);
    for c in changes.chunks_exact(8).take(32) {
        let pair = |i: usize| u64::from(u16::from_le_bytes([c[i], c[i + 1]]));
        m.change(u64::from(c[0]), pair(1), pair(3), pair(5) | u64::from(c[7]) << 16);
    }
    if let Ok(fs) = Fs::mount(m.finish(), Host::default(), MountOptions::default()) {
        poke(&fs, 40);
    }
});
