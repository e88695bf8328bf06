//! I/O ports that user mode may use (ioperm(2), iopl(2)): the permission bitmap of the task state segment.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::ops::Range;

use super::{Refused, Task};
use crate::{
    cpu::local::{IO_MAP_BYTES, Tss, local},
    irq,
};

/// How many ports there are.
pub const PORTS: usize = IO_MAP_BYTES * 8;

/// Which ports are open; none at first.
#[derive(Clone)]
pub struct PortMap {
    /// A set bit forbids.
    closed: Box<[u8]>,
}

impl PortMap {
    /// All ports closed; `None` without memory.
    pub fn new() -> Option<PortMap> {
        let mut closed = Vec::new();
        closed.try_reserve_exact(IO_MAP_BYTES).ok()?;
        closed.resize(IO_MAP_BYTES, u8::MAX);
        Some(PortMap {
            closed: closed.into_boxed_slice(),
        })
    }

    /// Opens or closes ports; those that do not exist are left out.
    pub fn set(&mut self, ports: Range<usize>, open: bool) {
        for port in ports {
            let Some(byte) = self.closed.get_mut(port / 8) else {
                return;
            };
            let bit = 1 << (port % 8);
            if open {
                *byte &= !bit;
            } else {
                *byte |= bit;
            }
        }
    }

    /// Whether no port is open.
    pub fn is_closed(&self) -> bool {
        self.closed.iter().all(|byte| *byte == u8::MAX)
    }
}

impl Task {
    /// Sets which ports its user mode may use. Fails if it runs elsewhere.
    pub fn set_ports(&self, map: Option<Arc<PortMap>>) -> Result<(), Refused> {
        let old;
        if self.is_current() {
            let _guard = irq::disable();
            // SAFETY: the task's own, with interrupts off: no switch looks at it.
            old = core::mem::replace(unsafe { &mut *self.ports.get() }, map);
            self.load_ports();
        } else {
            let _hold = self.hold().ok_or(Refused)?;
            // SAFETY: it is held, so that it does not run and is not switched to.
            old = core::mem::replace(unsafe { &mut *self.ports.get() }, map);
        }
        drop(old);
        Ok(())
    }

    /// Loads its permissions into this CPU. Only for the task itself or while it is switched, interrupts off.
    pub(super) fn load_ports(&self) {
        let cpu = local();
        // SAFETY: changed only by the task itself or while it does not run.
        let map = unsafe { &*self.ports.get() };
        if map.is_none() && !cpu.ports_open.get() {
            return;
        }
        cpu.ports_open.set(map.is_some());
        // SAFETY: this CPU's own segment; the processor looks at it only for instructions of user mode.
        let tss: &mut Tss = unsafe { &mut *cpu.tss.get() };
        match map {
            Some(map) => {
                tss.io_map[..IO_MAP_BYTES].copy_from_slice(&map.closed);
                tss.io_map_base = Tss::IO_MAP_OFFSET;
            }
            None => tss.io_map_base = Tss::NO_IO_MAP,
        }
    }
}
