//! The facts that the kernel hands over: traits to implement and the plain records they fill.
//!
//! - [`System`]: the machine, and one mount of procfs (its PID namespace, its reader).
//! - [`Task`]: one thread, seen from that mount.
//! - [`Net`]: one network namespace.
//!
//! Methods without a default are needed by every mount. The others go with a bit of [`Features`]: as long as
//! the bit is off, the files do not exist, as on a Linux built without the option; their defaults answer
//! `EOPNOTSUPP` and are never reached.

mod device_records;
mod ipc_records;
mod net;
mod records;
mod sysctl;
mod system;
mod task;
mod task_records;
mod vma;

pub use device_records::*;
pub use ipc_records::*;
pub use net::*;
pub use records::*;
pub use sysctl::*;
pub use system::*;
pub use task::*;
pub use task_records::*;
pub use vma::*;
