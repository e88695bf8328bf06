//! Memory policies and moving pages between nodes (numa(7)), of which there is one.

use keel_abi::prelude::*;

use super::Ctx;
use crate::mm::policy::{MAX_NODES, MemPolicy, NodeMask};
use crate::mm::user::{self, UserAccess};
use crate::mm::{AddressSpace, user_range};
use crate::prelude::*;
use crate::process::{Cap, Thread};

/// How many memory nodes there can be here.
const NODES: usize = 1;
/// Most bytes of a node mask.
const MASK_BYTES: usize = PAGE_SIZE;

/// Reads a mask of `maxnode - 1` bits: EINVAL for nodes that cannot be, EFAULT.
fn read_nodes(mask: UserPtr<u64>, maxnode: usize) -> Result<NodeMask> {
    let bits = maxnode.wrapping_sub(1);
    let mut nodes = NodeMask::default();
    if bits == 0 || mask.is_null() {
        return Ok(nodes);
    }
    if bits > MASK_BYTES * 8 {
        return Err(Errno::EINVAL);
    }
    let mut words = mask.read_array(bits.div_ceil(64))?;
    if let (Some(last), 1..) = (words.last_mut(), bits % 64) {
        *last &= (1 << (bits % 64)) - 1;
    }
    for (at, word) in words.into_iter().enumerate() {
        match nodes.0.get_mut(at) {
            Some(slot) => *slot = word,
            None if word == 0 => {}
            None => return Err(Errno::EINVAL),
        }
    }
    Ok(nodes)
}

/// Writes a mask of `maxnode - 1` bits, rounded up to whole words: EINVAL, EFAULT.
fn write_nodes(mask: UserPtr<u64>, maxnode: usize, nodes: &NodeMask) -> Result<()> {
    let words = maxnode.saturating_sub(1).div_ceil(64);
    if words * 8 > MASK_BYTES {
        return Err(Errno::EINVAL);
    }
    let mut out = nodes.0.to_vec();
    out.resize(words.max(out.len()), 0);
    mask.write_array(&out[..words])
}

pub fn set_mempolicy(
    cx: &mut Ctx,
    mode: MempolicyMode,
    nodemask: UserPtr<u64>,
    maxnode: usize,
) -> Result<()> {
    let policy = MemPolicy::new(mode, read_nodes(nodemask, maxnode)?)?;
    let _old = core::mem::replace(&mut *cx.thread.mempolicy.lock(), policy);
    Ok(())
}

pub fn get_mempolicy(
    cx: &mut Ctx,
    mode: UserPtr<i32>,
    nodemask: UserPtr<u64>,
    maxnode: usize,
    addr: UserAddr,
    flags: GetMempolicyFlags,
) -> Result<()> {
    if !nodemask.is_null() && maxnode < NODES {
        return Err(Errno::EINVAL);
    }
    let (value, nodes) = policy_of(cx.thread, addr.addr() as usize, flags)?;
    mode.write_if_given(&value)?;
    if nodemask.is_null() {
        return Ok(());
    }
    write_nodes(nodemask, maxnode, &nodes)
}

/// What get_mempolicy(2) tells: mode or node, and nodes.
fn policy_of(thread: &Thread, addr: usize, flags: GetMempolicyFlags) -> Result<(i32, NodeMask)> {
    let of_address = flags.contains(GetMempolicyFlags::ADDR);
    let of_node = flags.contains(GetMempolicyFlags::NODE);
    if !GetMempolicyFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    if flags.contains(GetMempolicyFlags::MEMS_ALLOWED) {
        if of_address || of_node {
            return Err(Errno::EINVAL);
        }
        return Ok((0, NodeMask::memory()));
    }
    let policy = if of_address {
        thread.mm().policy_at(addr)?
    } else if addr != 0 {
        return Err(Errno::EINVAL);
    } else {
        thread.mempolicy.lock().clone()
    };
    let nodes = policy
        .as_ref()
        .map_or_else(NodeMask::default, |p| p.nodes());
    let value = match (of_node, of_address) {
        (false, _) => policy.as_ref().map_or(0, |policy| policy.mode()),
        (true, true) => thread.mm().node_of(addr)?,
        (true, false) if policy.is_some_and(|policy| policy.interleaves()) => 0,
        (true, false) => return Err(Errno::EINVAL),
    };
    Ok((value, nodes))
}

pub fn mbind(
    cx: &mut Ctx,
    addr: UserAddr,
    len: usize,
    mode: MempolicyMode,
    nodemask: UserPtr<u64>,
    maxnode: usize,
    flags: MempolicyFlags,
) -> Result<()> {
    let nodes = read_nodes(nodemask, maxnode)?;
    let known = MempolicyFlags::STRICT | MempolicyFlags::MOVE | MempolicyFlags::MOVE_ALL;
    if !known.contains(flags) {
        return Err(Errno::EINVAL);
    }
    if flags.contains(MempolicyFlags::MOVE_ALL) {
        cx.thread.cred().require(Cap::SYS_NICE)?;
    }
    let start = addr.addr() as usize;
    if !start.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let end = crate::mm::page_up(len)
        .and_then(|len| start.checked_add(len))
        .ok_or(Errno::EINVAL)?;
    let policy = MemPolicy::new(mode, nodes)?;
    if end == start {
        return Ok(());
    }
    let range = user_range(start, end - start).ok_or(Errno::EFAULT)?;
    cx.thread.mm().set_policy(range, policy)
}

pub fn set_mempolicy_home_node(
    cx: &mut Ctx,
    start: UserAddr,
    len: usize,
    home_node: usize,
    flags: u64,
) -> Result<()> {
    let start = start.addr() as usize;
    if !start.is_multiple_of(PAGE_SIZE) || flags != 0 || home_node >= NODES {
        return Err(Errno::EINVAL);
    }
    let end = crate::mm::page_up(len)
        .and_then(|len| start.checked_add(len))
        .ok_or(Errno::EINVAL)?;
    if end == start {
        return Ok(());
    }
    // Any home is the one node there is.
    cx.thread.mm().check_home_node(start..end)
}

/// The memory of the process or thread `pid`, 0 for the caller's: ESRCH, EPERM, EINVAL.
fn memory_of(cx: &Ctx, pid: Pid) -> Result<Arc<AddressSpace>> {
    if pid.0 == 0 {
        return Ok(cx.thread.mm());
    }
    let target = u32::try_from(pid.0)
        .ok()
        .and_then(crate::process::find_thread)
        .ok_or(Errno::ESRCH)?;
    if !Arc::ptr_eq(&target.process, &cx.thread.process)
        && !crate::process::ptrace::may_access(cx.thread, &target)
    {
        return Err(Errno::EPERM);
    }
    target.mm_opt().ok_or(Errno::EINVAL)
}

pub fn migrate_pages(
    cx: &mut Ctx,
    pid: Pid,
    maxnode: usize,
    old_nodes: UserPtr<u64>,
    new_nodes: UserPtr<u64>,
) -> Result<i64> {
    read_nodes(old_nodes, maxnode)?;
    let new = read_nodes(new_nodes, maxnode)?;
    memory_of(cx, pid)?;
    if new != NodeMask::memory() && !new.is_empty() {
        cx.thread.cred().require(Cap::SYS_NICE)?;
    }
    if !new.has_memory() {
        return Err(Errno::EINVAL);
    }
    // Everything is there already.
    Ok(0)
}

pub fn move_pages(
    cx: &mut Ctx,
    pid: Pid,
    count: usize,
    pages: UserPtr<UserAddr>,
    nodes: UserPtr<i32>,
    status: UserPtr<i32>,
    flags: MempolicyFlags,
) -> Result<i64> {
    if !(MempolicyFlags::MOVE | MempolicyFlags::MOVE_ALL).contains(flags) {
        return Err(Errno::EINVAL);
    }
    if flags.contains(MempolicyFlags::MOVE_ALL) {
        cx.thread.cred().require(Cap::SYS_NICE)?;
    }
    let mm = memory_of(cx, pid)?;
    let word = |base: u64, at: usize, size: usize| {
        let offset = (at as u64).checked_mul(size as u64);
        offset
            .and_then(|offset| base.checked_add(offset))
            .ok_or(Errno::EFAULT)
    };
    for at in 0..count {
        let page: u64 = UserPtr::new(word(pages.addr(), at, size_of::<u64>())?).read()?;
        if !nodes.is_null() {
            let node: i32 = UserPtr::new(word(nodes.addr(), at, size_of::<i32>())?).read()?;
            if usize::try_from(node).map_or(true, |node| node >= MAX_NODES.min(NODES)) {
                return Err(Errno::ENODEV);
            }
        }
        let result = match usize::try_from(page).map(|page| mm.resident_node(page)) {
            Ok(Ok(node)) => node,
            Ok(Err(error)) => -error.raw(),
            Err(_) => -Errno::EFAULT.raw(),
        };
        let slot = word(status.addr(), at, size_of::<i32>())?;
        user::write_bytes(slot, &result.to_ne_bytes())?;
        keel_hal::task::cond_resched();
        if cx.thread.interrupted() {
            return Err(Errno::EINTR);
        }
    }
    Ok(0)
}
