//! Off, reboot, halt.

/// Turns the machine off.
pub fn off() -> ! {
    todo!()
}

/// Resets the machine.
pub fn reboot() -> ! {
    todo!()
}

/// Stops all CPUs for good.
pub fn halt() -> ! {
    todo!()
}
