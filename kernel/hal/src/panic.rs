//! What happens on a kernel bug.

/// What to do after a panic was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Stop all CPUs.
    Halt,
    /// Reboot after this many seconds.
    Reboot(u32),
    /// Turn the machine off.
    PowerOff,
}

/// Sets what a panic does at its end (`panic=`).
pub fn set_action(_action: Action) {
    todo!()
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
