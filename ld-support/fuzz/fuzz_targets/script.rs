//! `cargo +nightly fuzz run script`, from ld-support/.
#![no_main]

#[path = "../../tests/common/exercise.rs"]
#[allow(dead_code, reason = "each target runs one of them")]
mod exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::script(bytes));
