#![no_std]
//! The machine, and the only crate of Keel that may contain `unsafe` code.
//!
//! Everything public here is a safe interface: boot information, CPUs, user-mode execution, tasks and
//! their switching, interrupts, clocks, frames, page tables, user memory, locks, PCI and virtio. The
//! kernel proper registers its policies once through [`set_hooks`] and is started by [`entry!`].
//!
//! | part | modules |
//! |------|---------|
//! | start of the machine | [`boot`], `acpi`, `apic`, `smp`, [`serial`], [`power`], [`panic`] |
//! | processors and control | [`cpu`], `gdt`, `trap`, [`irq`], [`context`], [`fpu`], [`task`], [`time`], [`rtc`] |
//! | memory | [`addr`], [`frame`], [`heap`], [`paging`], [`user`] |
//! | waiting and excluding | [`sync`] |
//! | devices | [`pci`], [`virtio`], [`random`] |

extern crate alloc;

mod acpi;
pub mod addr;
mod apic;
pub mod boot;
pub mod context;
pub mod cpu;
pub mod fpu;
pub mod frame;
mod gdt;
pub mod heap;
pub mod hooks;
pub mod irq;
mod mem;
pub mod paging;
pub mod panic;
pub mod pci;
pub mod power;
pub mod random;
pub mod rtc;
pub mod serial;
mod smp;
pub mod sync;
pub mod task;
pub mod time;
mod trap;
pub mod user;
pub mod virtio;

pub use context::{Exception, UserContext, UserExit};
pub use hooks::{EnqueueFlags, Hooks, set_hooks};
pub use task::{SleepMode, Task};
