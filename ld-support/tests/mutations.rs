//! Whole and broken executables with bytes changed at random, the same ones on every run: nothing may panic, and
//! what is planned must make sense.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;
#[path = "common/exercise.rs"]
mod exercise;

use std::fs;
use std::path::Path;

use common::Random;

const ROUNDS: usize = 400;

/// Values that arithmetic trips over.
const WORDS: [u64; 10] = [
    0,
    1,
    0xfff,
    0x1000,
    0x7fff_ffff_f000,
    1 << 47,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 0xfff,
    u64::MAX,
];

fn mutate(file: &[u8], random: &mut Random) -> Vec<u8> {
    let mut file = file.to_vec();
    for _ in 0..=random.below(6) {
        // Headers are at the front; that is where a change does something.
        let at = random.below(file.len().min(64 + 56 * 16));
        match random.below(16) {
            0 => file.truncate(at.max(1)),
            1..6 => file[at] ^= 1 << random.below(8),
            6..10 => file[at] = random.next() as u8,
            _ => {
                let word = WORDS[random.below(WORDS.len())];
                if let Some(place) = file.get_mut(at & !7..(at & !7) + 8) {
                    place.copy_from_slice(&word.to_le_bytes());
                }
            }
        }
    }
    file
}

/// The files to start from: the cases of this folder, and what the system has.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = common::cases(Path::new("/x"))
        .into_iter()
        .chain(common::interpreters())
        .map(|case| case.file.bytes())
        .filter(|bytes| bytes.len() > 100)
        .collect();
    for path in [
        "/proc/self/exe",
        "/bin/true",
        "/bin/sh",
        "/lib64/ld-linux-x86-64.so.2",
    ] {
        if let Ok(mut bytes) = fs::read(path) {
            bytes.truncate(0x1_0000);
            seeds.push(bytes);
        }
    }
    seeds
}

#[test]
fn elf_files() {
    let mut random = Random(0x656c66);
    for seed in seeds() {
        exercise::elf(&seed);
        for _ in 0..ROUNDS {
            exercise::elf(&mutate(&seed, &mut random));
        }
    }
}

#[test]
fn text_formats() {
    const LINES: [&[u8]; 4] = [
        b"#! /bin/sh -e x\t \nrest\n",
        b"#!/usr/bin/env python3",
        br":qemu:M:3:\x7fELF\x01:\xff\xff\xff\xff\x00:/usr/bin/qemu:OCF",
        b":py:E::py::/usr/bin/py:P",
    ];
    const BYTES: &[u8] = b":\\xM0/. \t\n\0#!-1P";
    let mut random = Random(0x74657874);
    for round in 0..40_000 {
        let mut line = LINES[round % LINES.len()].to_vec();
        for _ in 0..=random.below(8) {
            let at = random.below(line.len());
            let byte = BYTES[random.below(BYTES.len())];
            match random.below(4) {
                0 => line.insert(at, byte),
                1 if line.len() > 1 => drop(line.remove(at)),
                2 => line
                    .splice(at..at, std::iter::repeat_n(byte, random.below(300)))
                    .for_each(drop),
                _ => line[at] = byte,
            }
        }
        exercise::script(&line);
        exercise::binfmt(&line);
    }
}

/// Writes the seeds for the fuzz targets. They are kept in the repository; run this after a change of the cases:
/// `cargo test -p keel-ld-support --test mutations -- --ignored`.
#[test]
#[ignore = "writes into the source tree"]
fn write_fuzz_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    fs::create_dir_all(corpus.join("elf")).unwrap();
    for case in common::cases(Path::new("/x"))
        .into_iter()
        .chain(common::interpreters())
    {
        let bytes = case.file.bytes();
        // The code does not matter here, only the headers.
        let short = &bytes[..bytes.len().min(0x800)];
        fs::write(corpus.join("elf").join(case.name), short).unwrap();
    }
}
