//! What nearly every module of the kernel uses.

pub use alloc::borrow::ToOwned;
pub use alloc::boxed::Box;
pub use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
pub use alloc::format;
pub use alloc::string::String;
pub use alloc::sync::{Arc, Weak};
pub use alloc::vec;
pub use alloc::vec::Vec;

pub use keel_abi::{Errno, Result};
pub use keel_hal::addr::{PAGE_SHIFT, PAGE_SIZE};
pub use keel_hal::frame::{AllocFlags, Frame};
pub use keel_hal::sync::{
    IrqLock, Mutex, OnceLock, RwLock, RwSpinLock, SpinLock, WaitError, WaitQueue,
};
pub use keel_hal::task::SleepMode;
