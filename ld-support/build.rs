//! Generates the vDSO image: `$OUT_DIR/vdso.so`, padded to whole pages.
//!
//! No assembler, compiler or linker runs for it; `vdso/` has what little of each is needed.

#[path = "vdso/asm.rs"]
mod asm;
#[path = "vdso/code.rs"]
mod code;
#[path = "vdso/image.rs"]
mod image;
#[path = "src/vdso/layout.rs"]
#[allow(dead_code, reason = "the library uses the rest")]
mod layout;

use std::path::Path;
use std::{env, fs};

const PAGE: usize = 4096;

fn main() {
    for path in ["build.rs", "vdso", "src/vdso/layout.rs"] {
        println!("cargo::rerun-if-changed={path}");
    }
    // The data page lies right before the image.
    let mut bytes = image::build(-(PAGE as i64));
    bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    fs::write(Path::new(&out).join("vdso.so"), bytes).expect("OUT_DIR can be written");
}
