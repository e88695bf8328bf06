//! What `/sys` looks like: the tree of kernel objects, their attributes, and the text that Linux gives them.
//!
//! - [`Registry`] is the tree: directories, attributes and links, found by path or by [`Id`]. The kernel keeps one behind
//!   a reader-writer lock.
//! - [`attr`] makes attributes out of closures; [`Attrs`] collects them for a device.
//! - [`device`] adds devices, buses, classes and drivers with all the links between them, `dev` and `uevent` files, and
//!   uevents.
//! - [`block`], [`cpu`], [`net`], [`pci`], [`virtio`], [`chars`] and [`kernel`] say which attributes each kind of device
//!   has, over small source traits.
//! - [`File`] is one open attribute. It holds the attribute itself, so that reading takes no lock on the registry: a
//!   `show` closure may take the locks of its device.
//!
//! Spec: sysfs(5), and the kernel's `Documentation/ABI`; the text is that of Linux 6.1.

#![no_std]

extern crate alloc;

pub mod attr;
pub mod block;
pub mod chars;
pub mod cpu;
pub mod device;
mod file;
pub mod kernel;
pub mod net;
pub mod pci;
mod registry;
pub mod uevent;
pub mod virtio;

pub use attr::{Attribute, Attrs, Bytes, Content};
pub use device::{Device, DeviceNode, Subsystem};
pub use file::File;
pub use keel_procfs::{DevNo, Text};
pub use registry::{Attr, DirEntry, FileType, Id, Registry};
pub use uevent::{Action, Uevent, UeventSink};
