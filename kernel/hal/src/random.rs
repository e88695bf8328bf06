//! Seed material from the CPU.
/// Fills `out` with seed material; returns whether a hardware generator (RDSEED, RDRAND) gave it.
pub fn seed(out: &mut [u8]) -> bool { let _ = out; todo!() }
