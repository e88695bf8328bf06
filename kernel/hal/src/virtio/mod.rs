//! virtio devices over PCI (Virtual I/O Device 1.2).
//!
//! The rings are those of the `virtio-drivers` crate; this module adds what its drivers lack: any
//! number of requests in flight, one MSI-X interrupt for each queue, and memory safety for whoever
//! writes a driver. A request is a [`DmaChain`] of pieces of frames, which the [`Queue`] owns from
//! submission to completion, so that a device never reaches memory that has been given to somebody
//! else.
//!
//! * `device`: finding devices, feature negotiation, configuration space.
//! * `transport`: the registers, as `virtio-drivers` wants them.
//! * `queue`: rings.

mod device;
mod queue;
mod transport;

pub use device::{VirtioDevice, VirtioError, devices};
pub use queue::{Completion, DmaChain, DmaSeg, MAX_SEGMENTS, Queue};
pub use virtio_drivers::transport::DeviceType;

/// Feature bit: the device follows version 1 of the specification.
pub const F_VERSION_1: u64 = 1 << 32;
