//! Waiting for many files at once (poll(2), select(2)).

use core::sync::atomic::{AtomicBool, Ordering};
use keel_hal::sync::WakeCallback;
use keel_hal::task::{self, Task};

use crate::fs::{PollEvents, PollTable};
use crate::prelude::*;

/// Wakes a poller.
struct Poller {
    task: Arc<Task>,
    triggered: AtomicBool,
}

impl WakeCallback for Poller {
    fn woken(&self, _key: u64) {
        self.triggered.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// How a wait for files ended without any being ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Nothing {
    /// The deadline passed.
    TimedOut,
    /// A signal came.
    Interrupted,
}

/// Calls `look` until it finds something (more than 0), sleeping in between until one of the files it polled
/// changes. `look` passes the table to each file's poll.
pub fn wait(
    deadline: Option<u64>,
    mut look: impl FnMut(&mut PollTable) -> usize,
) -> core::result::Result<usize, Nothing> {
    // 0 is before all time: whoever only asks does not pay for reading the clock.
    let expired = |at: u64| at == 0 || keel_hal::time::now() >= at;
    if deadline.is_some_and(expired) {
        let found = look(&mut PollTable::probe());
        return if found > 0 {
            Ok(found)
        } else {
            Err(Nothing::TimedOut)
        };
    }
    let poller = Arc::new(Poller {
        task: task::current().clone(),
        triggered: AtomicBool::new(false),
    });
    let mut table = PollTable::new(poller.clone(), false);
    let mut found = look(&mut table);
    table.stop_registering();
    loop {
        if found > 0 {
            return Ok(found);
        }
        task::prepare_sleep(SleepMode::Interruptible);
        if poller.triggered.swap(false, Ordering::AcqRel) {
            task::cancel_sleep();
        } else if task::current().interrupted() {
            task::cancel_sleep();
            return Err(Nothing::Interrupted);
        } else {
            match deadline {
                Some(at) if expired(at) => {
                    task::cancel_sleep();
                    return Err(Nothing::TimedOut);
                }
                Some(at) => crate::time::timer::schedule_timeout(at),
                None => task::schedule(),
            }
            poller.triggered.store(false, Ordering::Release);
        }
        found = look(&mut table);
    }
}

/// What select(2)'s three sets mean in poll events.
pub const SELECT_IN: PollEvents = PollEvents::READABLE
    .union(PollEvents::RDBAND)
    .union(PollEvents::HUP)
    .union(PollEvents::ERR);
/// As [`SELECT_IN`].
pub const SELECT_OUT: PollEvents = PollEvents::WRITABLE
    .union(PollEvents::WRBAND)
    .union(PollEvents::ERR);
/// As [`SELECT_IN`].
pub const SELECT_EXCEPT: PollEvents = PollEvents::PRI;
