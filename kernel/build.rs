//! Links the kernel with the machine layer's linker script.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/hal/keel.ld");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rustc-link-arg-bins=-T{script}");
}
