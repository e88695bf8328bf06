//! The clock and each CPU's timer.

/// How to turn the TSC into nanoseconds: `base_ns + ((tsc - base_tsc) * mult) >> shift`, with a
/// product of 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscParams {
    /// TSC at `base_ns`.
    pub base_tsc: u64,
    /// Multiplier.
    pub mult: u32,
    /// Right shift of the product.
    pub shift: u32,
    /// Nanoseconds since boot at `base_tsc`.
    pub base_ns: u64,
}

/// Nanoseconds since boot; monotonic across CPUs.
pub fn now() -> u64 {
    todo!()
}

/// The clock's parameters, for the vDSO.
pub fn tsc_params() -> TscParams {
    todo!()
}

/// Ticks of the TSC per second.
pub fn tsc_hz() -> u64 {
    todo!()
}

/// Arms this CPU's one-shot timer for an absolute time; `u64::MAX` disarms it. A time that has
/// passed fires at once.
pub fn set_deadline(_ns: u64) {
    todo!()
}

/// Spins for `ns` nanoseconds.
pub fn spin_wait(_ns: u64) {
    todo!()
}
