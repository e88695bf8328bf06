//! Ways to die, to be looked at: `selftest=panic`, `=overflow`, `=fault`, `=atomic`, `=assert` (on another CPU),
//! `=reboot`, `=halt`.

use keel_hal::sync::SpinLock;
use keel_hal::{cpu, early_println, panic, power, task};

/// Dies as `how` says; returns if there is no such way.
pub fn run(how: &str) {
    panic::set_action(panic::Action::PowerOff);
    match how {
        "panic" => panic!("on purpose, with {} CPUs", cpu::count()),
        "overflow" => _ = early_println!("{}", recurse(1)),
        "fault" => _ = early_println!("{}", bad_slice().len()),
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
        _ => {}
    }
}

/// Recurses without end.
fn recurse(n: usize) -> usize {
    let room = core::hint::black_box([n; 64]);
    recurse(n + room[n % 64]) + room[n % 7]
}

/// Sums over memory until the sum overflows the array.
fn bad_slice() -> alloc::string::String {
    let index = core::hint::black_box(7);
    let table = core::hint::black_box([1u8; 4]);
    alloc::format!("{}", table[index])
}
