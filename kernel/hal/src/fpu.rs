//! The extended register state (x87, SSE, AVX, ...) of user mode.

/// Bytes of the XSAVE area (standard format) with all enabled features.
pub fn area_size() -> usize {
    todo!()
}

/// The enabled features (XCR0).
pub fn features() -> u64 {
    todo!()
}

/// Stores the current task's state; `area` shorter than [`area_size`] gets the first part.
pub fn save_current(_area: &mut [u8]) {
    todo!()
}

/// Loads the current task's state from a full area or a legacy image of 512 bytes.
/// Fails, changing nothing, if the size or the contents are not valid.
pub fn restore_current(_area: &[u8]) -> Result<(), ()> {
    todo!()
}

/// Gives the current task the initial state (exec).
pub fn reset_current() {
    todo!()
}
