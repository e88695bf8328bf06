//! Memory policies (set_mempolicy(2), mbind(2)) of a machine with one memory node.
//!
//! Policies are kept, inherited and reported as Linux does; as all memory is on node 0, every one of them comes down to
//! allocating there.

use core::ops::Range;
use keel_abi::flags::MempolicyMode;

use super::{Access, AddressSpace, FaultOutcome};
use crate::prelude::*;

/// Bits of a node mask (Linux's `MAX_NUMNODES`).
pub const MAX_NODES: usize = 1024;
/// MPOL_F_NUMA_BALANCING.
const NUMA_BALANCING: i32 = 1 << 13;
/// MPOL_F_RELATIVE_NODES.
const RELATIVE_NODES: i32 = 1 << 14;
/// MPOL_F_STATIC_NODES.
const STATIC_NODES: i32 = 1 << 15;
const MODE_FLAGS: i32 = NUMA_BALANCING | RELATIVE_NODES | STATIC_NODES;

/// A set of memory nodes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NodeMask(pub [u64; MAX_NODES / 64]);

impl NodeMask {
    /// Whether no node is in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Whether it has the one node there is.
    pub fn has_memory(&self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Only the node there is.
    pub fn memory() -> Self {
        let mut mask = Self::default();
        mask.0[0] = 1;
        mask
    }
}

/// A memory policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MemPolicy {
    /// MPOL_*.
    mode: MempolicyMode,
    /// MPOL_F_STATIC_NODES and its like.
    flags: i32,
    /// The nodes as they were given.
    nodes: NodeMask,
}

impl MemPolicy {
    /// The policy of these arguments; `None` is the default policy. EINVAL.
    pub fn new(mode: MempolicyMode, nodes: NodeMask) -> Result<Option<Arc<Self>>> {
        let flags = mode.0 & MODE_FLAGS;
        let user = flags & (STATIC_NODES | RELATIVE_NODES);
        let mut mode = MempolicyMode(mode.0 & !MODE_FLAGS);
        let known =
            (MempolicyMode::MPOL_DEFAULT..=MempolicyMode::MPOL_PREFERRED_MANY).contains(&mode);
        let balancing = flags & NUMA_BALANCING != 0 && mode != MempolicyMode::MPOL_BIND;
        if !known || balancing || user == STATIC_NODES | RELATIVE_NODES {
            return Err(Errno::EINVAL);
        }
        let empty = nodes.is_empty();
        match mode {
            MempolicyMode::MPOL_DEFAULT if empty => return Ok(None),
            MempolicyMode::MPOL_PREFERRED if empty && user == 0 => {
                mode = MempolicyMode::MPOL_LOCAL;
            }
            MempolicyMode::MPOL_LOCAL if empty && user == 0 => {}
            MempolicyMode::MPOL_DEFAULT | MempolicyMode::MPOL_LOCAL => return Err(Errno::EINVAL),
            // Relative nodes are folded onto those there are.
            _ if empty || !(nodes.has_memory() || user == RELATIVE_NODES) => {
                return Err(Errno::EINVAL);
            }
            _ => {}
        }
        Ok(Some(Arc::new(Self { mode, flags, nodes })))
    }

    /// Mode and mode flags, as get_mempolicy(2) gives them.
    pub fn mode(&self) -> i32 {
        self.mode.0 | self.flags
    }

    /// Whether pages are laid on the nodes in turn.
    pub fn interleaves(&self) -> bool {
        self.mode == MempolicyMode::MPOL_INTERLEAVE
    }

    /// Whether a home node makes sense for it.
    fn takes_home_node(&self) -> bool {
        [MempolicyMode::MPOL_BIND, MempolicyMode::MPOL_PREFERRED_MANY].contains(&self.mode)
    }

    /// The nodes, as get_mempolicy(2) gives them.
    pub fn nodes(&self) -> NodeMask {
        if self.flags & (STATIC_NODES | RELATIVE_NODES) != 0 {
            self.nodes.clone()
        } else if self.mode == MempolicyMode::MPOL_LOCAL {
            NodeMask::default()
        } else {
            NodeMask::memory()
        }
    }

    /// As /proc/PID/numa_maps shows it.
    pub fn describe(&self) -> &'static str {
        match (self.mode, self.flags & (STATIC_NODES | RELATIVE_NODES)) {
            (MempolicyMode::MPOL_PREFERRED, 0) => "prefer:0",
            (MempolicyMode::MPOL_PREFERRED, STATIC_NODES) => "prefer=static:0",
            (MempolicyMode::MPOL_PREFERRED, _) => "prefer=relative:0",
            (MempolicyMode::MPOL_BIND, 0) => "bind:0",
            (MempolicyMode::MPOL_BIND, STATIC_NODES) => "bind=static:0",
            (MempolicyMode::MPOL_BIND, _) => "bind=relative:0",
            (MempolicyMode::MPOL_INTERLEAVE, 0) => "interleave:0",
            (MempolicyMode::MPOL_INTERLEAVE, STATIC_NODES) => "interleave=static:0",
            (MempolicyMode::MPOL_INTERLEAVE, _) => "interleave=relative:0",
            (MempolicyMode::MPOL_PREFERRED_MANY, 0) => "prefer (many):0",
            (MempolicyMode::MPOL_PREFERRED_MANY, STATIC_NODES) => "prefer (many)=static:0",
            (MempolicyMode::MPOL_PREFERRED_MANY, _) => "prefer (many)=relative:0",
            _ => "local",
        }
    }
}

impl AddressSpace {
    /// mbind(2) of `range`: EFAULT where nothing is mapped; the default policy may skip holes.
    pub fn set_policy(&self, range: Range<usize>, policy: Option<Arc<MemPolicy>>) -> Result<()> {
        let mut state = self.state.write();
        let mapped = state.vmas.overlapping(range.start, range.end).next();
        if mapped.is_none() || (policy.is_some() && state.check_covered(&range).is_err()) {
            return Err(Errno::EFAULT);
        }
        state.change_range(&range, |vma| vma.policy.clone_from(&policy))?;
        state.join_range(&range);
        Ok(())
    }

    /// The policy of the mapping at `addr`: EFAULT where nothing is mapped.
    pub fn policy_at(&self, addr: usize) -> Result<Option<Arc<MemPolicy>>> {
        let state = self.state.read();
        let vma = state.vmas.find(addr).ok_or(Errno::EFAULT)?;
        Ok(vma.policy.clone())
    }

    /// set_mempolicy_home_node(2): ENOENT without a policy in the range, EOPNOTSUPP for one that has no home.
    pub fn check_home_node(&self, range: Range<usize>) -> Result<()> {
        let state = self.state.read();
        let mut result = Err(Errno::ENOENT);
        for vma in state.vmas.overlapping(range.start, range.end) {
            match &vma.policy {
                None => {}
                Some(policy) if policy.takes_home_node() => result = Ok(()),
                Some(_) => return Err(Errno::EOPNOTSUPP),
            }
        }
        result
    }

    /// The node of the page at `addr`, which is read if it is not there: EFAULT.
    pub fn node_of(&self, addr: usize) -> Result<i32> {
        match self.fault(addr, Access::Read) {
            FaultOutcome::Handled => Ok(0),
            _ => Err(Errno::EFAULT),
        }
    }

    /// The node of the page that is at `addr` now: EFAULT where nothing is mapped and for the page of zeroes, ENOENT
    /// where no page is.
    pub fn resident_node(&self, addr: usize) -> Result<i32> {
        let state = self.state.read();
        state.vmas.find(addr).ok_or(Errno::EFAULT)?;
        let va = super::page_down(addr);
        let page = self.table().cursor(va, va + PAGE_SIZE).query();
        match page {
            None => Err(Errno::ENOENT),
            Some(page) if page.frame.same(&super::oom::zero_frame()) => Err(Errno::EFAULT),
            Some(_) => Ok(0),
        }
    }
}
