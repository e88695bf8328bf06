//! Early memory set-up.
