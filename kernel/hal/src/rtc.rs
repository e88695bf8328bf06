//! The battery-backed clock (MC146818).

/// Seconds since 1970 (UTC).
pub fn now() -> i64 {
    todo!()
}

/// Sets the clock.
pub fn set(_seconds: i64) {
    todo!()
}
