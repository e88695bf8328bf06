//! A small kernel that boots and exercises the machine layer: `SELFTEST n passed, n failed` is its
//! last line before it turns the machine off.

#![no_std]
#![no_main]

extern crate alloc;

mod sched;
mod user;

use keel_hal::{early_println, power, time};

keel_hal::entry!(main);

fn main() -> ! {
    early_println!(
        "main after {} us, {} CPUs",
        time::now() / 1000,
        keel_hal::cpu::count()
    );
    keel_hal::set_hooks(&sched::Sched);
    power::off()
}
