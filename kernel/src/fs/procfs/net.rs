//! The network's files below /proc/PID/net.

use keel_procfs::Features;

/// Which of them there are.
pub fn features() -> Features {
    Features::empty()
}
