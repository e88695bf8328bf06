//! Running a function on other CPUs and waiting for it.
//!
//! Each CPU has one slot per calling CPU. A caller puts a pointer to its request (on its stack) into
//! its slot on every target, sends one interrupt each, and waits until all targets have counted
//! themselves off; so a slot is free again whenever its caller can use it. While waiting, a caller
//! serves requests to itself: two CPUs may call each other.

use core::{
    hint::spin_loop,
    ptr,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering},
};

use super::{CpuMask, MAX_CPUS, local};
use crate::{apic, irq};

struct Request<'a> {
    function: &'a (dyn Fn() + Sync),
    /// Targets that have not run it yet.
    remaining: AtomicUsize,
}

/// What other CPUs want this one to run.
pub(crate) struct CallQueue {
    /// Some slot is filled.
    pending: AtomicBool,
    slots: [AtomicPtr<Request<'static>>; MAX_CPUS],
}

impl CallQueue {
    pub(crate) const fn new() -> Self {
        CallQueue {
            pending: AtomicBool::new(false),
            slots: [const { AtomicPtr::new(ptr::null_mut()) }; MAX_CPUS],
        }
    }

    /// Runs what is asked for.
    pub(crate) fn serve(&self) {
        if !self.pending.swap(false, Ordering::AcqRel) {
            return;
        }
        for slot in &self.slots[..super::count().max(1)] {
            if slot.load(Ordering::Relaxed).is_null() {
                continue;
            }
            let request = slot.swap(ptr::null_mut(), Ordering::Acquire);
            // SAFETY: a request stays alive until `remaining` is zero, and this CPU is counted in.
            if let Some(request) = unsafe { request.as_ref() } {
                (request.function)();
                request.remaining.fetch_sub(1, Ordering::Release);
            }
        }
    }
}

/// Runs `f` on the online CPUs in `mask` and waits for it.
pub(super) fn call_on(mask: &CpuMask, f: &(dyn Fn() + Sync)) {
    assert!(
        !irq::in_interrupt(),
        "cross-CPU call from an interrupt handler"
    );
    let me = local::id();
    // CPUs only ever come online: one that does meanwhile is neither counted nor called.
    let online = super::count();
    let targets = || {
        mask.iter()
            .filter(|&cpu| cpu != me && cpu < online)
            .filter_map(local::of)
    };
    let request = Request {
        function: f,
        remaining: AtomicUsize::new(targets().count()),
    };
    // The lifetime is extended for the slots only: this function waits until all have run it.
    let pointer = ptr::from_ref(&request)
        .cast_mut()
        .cast::<Request<'static>>();
    for block in targets() {
        block.calls.slots[me].store(pointer, Ordering::Release);
        // One interrupt is enough until it is served.
        if !block.calls.pending.swap(true, Ordering::AcqRel) {
            apic::send_ipi(block.apic_id.load(Ordering::Relaxed), apic::VECTOR_CALL);
        }
    }
    if mask.test(me) {
        f();
    }
    while request.remaining.load(Ordering::Acquire) != 0 {
        let _guard = irq::disable();
        local::local().calls.serve();
        spin_loop();
    }
}
