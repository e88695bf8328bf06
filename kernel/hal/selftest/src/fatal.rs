//! Ways to die, to be looked at: `selftest=panic`, `=overflow`, `=index`, `=atomic`, `=assert` (on another CPU),
//! `=reboot`, `=halt`, `=button`.

use alloc::{boxed::Box, sync::Arc};

use keel_hal::sync::{Completion, SpinLock};
use keel_hal::{cpu, early_println, panic, power, task};

/// Dies as `how` says; returns if there is no such way.
pub fn run(how: &str) {
    panic::set_action(panic::Action::PowerOff);
    match how {
        "panic" => panic!("on purpose, with {} CPUs", cpu::count()),
        "overflow" => early_println!("{}", recurse(1)),
        "index" => early_println!("{}", beyond_the_end()),
        "atomic" => {
            let lock = SpinLock::new(());
            let _guard = lock.lock();
            task::schedule();
        }
        "assert" => {
            crate::sched::in_parallel(2 * cpu::count(), |_| {
                assert_eq!(cpu::id(), 0, "not on the first CPU")
            });
        }
        "reboot" => power::reboot(),
        "halt" => power::halt(),
        // Waits for the power button (`system_powerdown` in QEMU's monitor).
        "button" => {
            let pressed = Arc::new(Completion::new());
            let p = Arc::clone(&pressed);
            let there = power::on_button(Box::new(move || p.complete()));
            early_println!("power button: {there}");
            pressed.wait();
            early_println!("pressed");
            power::off();
        }
        _ => {}
    }
}

/// Recurses far deeper than a kernel stack is.
fn recurse(n: usize) -> usize {
    let room = core::hint::black_box([n; 64]);
    if n == usize::MAX {
        0
    } else {
        recurse(n + 1) + room[n % 64]
    }
}

/// Reads an array beyond its end.
fn beyond_the_end() -> u8 {
    let index = core::hint::black_box(7);
    core::hint::black_box([1; 4])[index]
}
