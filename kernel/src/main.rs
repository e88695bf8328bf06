//! Keel: a kernel that runs Linux programs as they are.
//!
//! This file is the boot order; each line's module says what it does. The machine layer (`keel-hal`) has brought
//! up all CPUs, memory and interrupts before [`main`] runs on the first one.

#![no_std]
#![no_main]

extern crate alloc;

mod block;
mod cmdline;
mod device;
mod fs;
mod hooks;
mod init;
mod ipc;
mod mm;
mod net;
mod prelude;
mod printk;
mod process;
mod random;
mod sched;
mod syscall;
mod time;

keel_hal::entry!(main);

fn main() -> ! {
    printk::init();
    keel_hal::hooks::set_hooks(&hooks::Kernel);
    cmdline::init();
    sched::init();
    time::init();
    device::init();
    block::init();
    ipc::init();
    net::init();
    fs::init();
    init::start()
}
