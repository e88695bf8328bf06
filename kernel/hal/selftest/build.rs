//! Links with the machine layer's linker script.

fn main() {
    println!(
        "cargo:rustc-link-arg-bins=-T{}/../keel.ld",
        env!("CARGO_MANIFEST_DIR")
    );
    println!("cargo:rerun-if-changed=../keel.ld");
}
