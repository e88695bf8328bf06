//! Sockets.

/// Sets up the network.
pub fn init() {}
