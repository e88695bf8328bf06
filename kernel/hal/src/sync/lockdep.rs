//! Checks the order in which locks are taken (feature `lockdep`).
//!
//! The locks created at one source line form a class. Whenever a task (or an interrupt handler) waits
//! for a lock while it holds others, the order "held before wanted" is noted for each pair of
//! classes; finding a path the other way round means that two tasks could wait for each other for
//! ever, and is reported once, with both classes and a backtrace, on the first serial port. Locks
//! taken by `try_lock` are held but do not wait.
//!
//! Held locks are kept per CPU for the spinning kinds. Sleeping locks may be released on another CPU
//! than they were taken on, by way of a task switch; so the held list belongs to the running task,
//! named by its id, in a table that spinning and sleeping locks share.
//!
//! This module's own state is protected by a bare spin bit with interrupts off; it allocates nothing.

use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{pop_off, push_off};
use crate::{irq, panic, serial, task};

type Site = &'static Location<'static>;

/// Most classes; later ones go unchecked.
const MAX_CLASSES: usize = 512;
/// Most tasks that hold locks at the same time; others go unchecked.
const MAX_HOLDERS: usize = 256;
/// Most locks that one task holds; deeper ones go unchecked.
const MAX_HELD: usize = 24;

#[derive(Clone, Copy)]
struct Holder {
    /// Task id, with the top bit set for an interrupt handler on the CPU of that number; 0 if free.
    owner: u64,
    held: [u16; MAX_HELD],
    len: usize,
}

struct State {
    classes: [Option<Site>; MAX_CLASSES],
    len: usize,
    /// `after[a]` has bit `b` if a lock of class b was waited for while one of class a was held.
    after: [[u64; MAX_CLASSES / 64]; MAX_CLASSES],
    holders: [Holder; MAX_HOLDERS],
}

struct Shared {
    locked: AtomicBool,
    state: UnsafeCell<State>,
}

// SAFETY: `state` is only touched by the holder of `locked`.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared {
    locked: AtomicBool::new(false),
    state: UnsafeCell::new(State {
        classes: [None; MAX_CLASSES],
        len: 0,
        after: [[0; MAX_CLASSES / 64]; MAX_CLASSES],
        holders: [Holder {
            owner: 0,
            held: [0; MAX_HELD],
            len: 0,
        }; MAX_HOLDERS],
    }),
};

fn with_state<R>(f: impl FnOnce(&mut State) -> R) -> R {
    push_off();
    while SHARED
        .locked
        .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        spin_loop();
    }
    // SAFETY: the bit is ours until it is cleared below; `f` takes no locks.
    let result = f(unsafe { &mut *SHARED.state.get() });
    SHARED.locked.store(false, Ordering::Release);
    pop_off();
    result
}

/// Who takes locks here; `None` before there are tasks.
fn owner() -> Option<u64> {
    if irq::in_interrupt() {
        return Some(1 << 63 | crate::cpu::id() as u64);
    }
    task::try_current_id().map(|id| id + 1)
}

/// A lock of class `site` is about to be waited for.
pub(crate) fn acquire(site: Site) {
    let Some(owner) = owner() else { return };
    let conflict = with_state(|state| {
        let class = state.class(site)?;
        let conflict = state.note_order(owner, class);
        state.push(owner, class);
        conflict
    });
    if let Some(held) = conflict {
        CONFLICTS.fetch_add(1, Ordering::Relaxed);
        serial::early_write(format_args!(
            "lockdep: {site} is taken while {held} is held, and elsewhere the other way round:\n"
        ));
        panic::print_backtrace();
    }
}

static CONFLICTS: AtomicUsize = AtomicUsize::new(0);

/// How many pairs of classes were found to be taken in both orders.
pub fn conflicts() -> usize {
    CONFLICTS.load(Ordering::Relaxed)
}

/// A lock of class `site` was taken without waiting.
pub(crate) fn push(site: Site) {
    let Some(owner) = owner() else { return };
    with_state(|state| {
        if let Some(class) = state.class(site) {
            state.push(owner, class);
        }
    });
}

/// A lock of class `site` was released.
pub(crate) fn release(site: Site) {
    let Some(owner) = owner() else { return };
    with_state(|state| {
        if let Some(class) = state.class(site) {
            state.pop(owner, class);
        }
    });
}

impl State {
    fn class(&mut self, site: Site) -> Option<u16> {
        let known = self.classes[..self.len]
            .iter()
            .position(|class| *class == Some(site));
        if let Some(class) = known {
            return Some(class as u16);
        }
        *self.classes.get_mut(self.len)? = Some(site);
        self.len += 1;
        Some(self.len as u16 - 1)
    }

    /// Notes that `wanted` comes after all that `owner` holds; gives a held one that elsewhere comes
    /// after `wanted`. Several locks of one class are in the care of whoever nests them.
    fn note_order(&mut self, owner: u64, wanted: u16) -> Option<Site> {
        let holder = *self.holders.iter().find(|holder| holder.owner == owner)?;
        for &held in &holder.held[..holder.len] {
            let (from, to) = (usize::from(held), usize::from(wanted));
            if from == to || self.after[from][to / 64] & (1 << (to % 64)) != 0 {
                continue;
            }
            let conflict = self.leads_to(to, from);
            self.after[from][to / 64] |= 1 << (to % 64);
            if conflict {
                return self.classes[from];
            }
        }
        None
    }

    /// Whether the known orders lead from class `from` to class `to`.
    fn leads_to(&self, from: usize, to: usize) -> bool {
        let mut seen = [0_u64; MAX_CLASSES / 64];
        let mut open = self.after[from];
        loop {
            let next = (0..open.len()).find(|&word| open[word] & !seen[word] != 0);
            let Some(word) = next else { return false };
            let bit = (open[word] & !seen[word]).trailing_zeros() as usize;
            seen[word] |= 1 << bit;
            let class = word * 64 + bit;
            if class == to {
                return true;
            }
            for (all, more) in open.iter_mut().zip(self.after[class]) {
                *all |= more;
            }
        }
    }

    fn push(&mut self, owner: u64, class: u16) {
        let index = self.holders.iter().position(|holder| holder.owner == owner);
        let index = index.or_else(|| self.holders.iter().position(|holder| holder.owner == 0));
        let Some(holder) = index.map(|index| &mut self.holders[index]) else {
            return;
        };
        if holder.len < MAX_HELD {
            holder.owner = owner;
            holder.held[holder.len] = class;
            holder.len += 1;
        }
    }

    fn pop(&mut self, owner: u64, class: u16) {
        let found = self.holders.iter_mut().find(|holder| holder.owner == owner);
        let Some(holder) = found else { return };
        let held = &holder.held[..holder.len];
        if let Some(at) = held.iter().rposition(|&other| other == class) {
            holder.held.copy_within(at + 1..holder.len, at);
            holder.len -= 1;
        }
        if holder.len == 0 {
            holder.owner = 0;
        }
    }
}
