//! Boots on the machine layer alone and exercises it: `mm` memory, locks and devices, `cpu` the rest.
//!
//! The last line on the first serial port is `SELFTEST n passed, n failed`; then the machine is
//! powered off. With `selftest=` on the command line it dies in one of the ways of `fatal` instead. The
//! scheduler here is the smallest that works: a queue per CPU, first come first
//! served.

#![no_std]
#![no_main]

extern crate alloc;

mod bench;
mod cpu;
mod fatal;
mod mm;
mod sched;
mod stress;

use keel_hal::{early_println, power};

keel_hal::entry!(main);

/// Counts outcomes.
pub struct Runner {
    passed: usize,
    failed: usize,
}

impl Runner {
    /// Notes the outcome of one check.
    pub fn check(&mut self, name: &str, ok: bool) {
        if ok {
            self.passed += 1;
            early_println!("ok    {name}");
        } else {
            self.failed += 1;
            early_println!("FAIL  {name}");
        }
    }
}

fn main() -> ! {
    sched::init();
    if let Some(how) = keel_hal::boot::parameter("selftest") {
        fatal::run(how);
    }
    let mut runner = Runner {
        passed: 0,
        failed: 0,
    };
    if keel_hal::boot::parameter("nocpu").is_none() {
        cpu::run(&mut runner);
    }
    mm::run(&mut runner);
    stress::run(&mut runner);
    bench::run();
    early_println!(
        "SELFTEST {} passed, {} failed",
        runner.passed,
        runner.failed
    );
    power::off()
}
