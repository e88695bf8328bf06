//! I/O ports for user mode: iopl(2), ioperm(2).

use keel_hal::task::{self, PORTS, PortMap};

use super::Ctx;
use crate::prelude::*;
use crate::process::{Cap, Ports};

/// The level that opens all ports.
const ALL_PORTS: u32 = 3;

/// What the processor is to let pass: ENOMEM.
pub fn open_ports(ports: &Ports) -> Result<Option<Arc<PortMap>>> {
    if ports.level < ALL_PORTS {
        return Ok(ports.map.clone());
    }
    let mut map = PortMap::new().ok_or(Errno::ENOMEM)?;
    map.set(0..PORTS, true);
    Ok(Some(Arc::new(map)))
}

fn apply(cx: &Ctx, ports: Ports) -> Result<()> {
    let open = open_ports(&ports)?;
    task::current().set_ports(open).map_err(|_| Errno::EINVAL)?;
    let _old = core::mem::replace(&mut *cx.thread.ports.lock(), ports);
    Ok(())
}

pub fn iopl(cx: &mut Ctx, level: u32) -> Result<()> {
    if level > ALL_PORTS {
        return Err(Errno::EINVAL);
    }
    let ports = cx.thread.ports.lock().clone();
    if level > ports.level {
        cx.thread.cred().require(Cap::SYS_RAWIO)?;
    }
    apply(cx, Ports { level, ..ports })
}

pub fn ioperm(cx: &mut Ctx, from: usize, num: usize, turn_on: i32) -> Result<()> {
    let end = from
        .checked_add(num)
        .filter(|end| *end > from && *end <= PORTS)
        .ok_or(Errno::EINVAL)?;
    if turn_on != 0 {
        cx.thread.cred().require(Cap::SYS_RAWIO)?;
    }
    let ports = cx.thread.ports.lock().clone();
    let mut map = match &ports.map {
        Some(map) => (**map).clone(),
        None if turn_on == 0 => return Ok(()),
        None => PortMap::new().ok_or(Errno::ENOMEM)?,
    };
    map.set(from..end, turn_on != 0);
    let map = (!map.is_closed()).then(|| Arc::new(map));
    apply(cx, Ports { map, ..ports })
}
