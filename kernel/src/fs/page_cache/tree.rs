//! The index of a file's pages: a radix tree with a dirty tag, 16 children to a node.
//!
//! A tree of height 0 holds page 0 alone, without a node: most files are that small. Not locked by itself.

use super::Page;
use crate::prelude::*;

const BITS: u32 = 4;
const FAN: usize = 1 << BITS;

#[derive(Default)]
enum Child {
    #[default]
    Empty,
    Page(Arc<Page>),
    Node(Box<Node>),
}

#[derive(Default)]
struct Node {
    children: [Child; FAN],
    /// Children that are there.
    used: u16,
    /// Children that are dirty or have dirty pages below.
    dirty: u16,
}

/// Pages by index.
#[derive(Default)]
pub(super) struct Tree {
    root: Child,
    root_dirty: bool,
    /// Levels of nodes.
    height: u32,
    len: usize,
}

fn slot(index: u64, level: u32) -> usize {
    (index >> (BITS * level)) as usize & (FAN - 1)
}

/// How many indices a tree of this height can hold; `None` for all of them.
fn capacity(height: u32) -> Option<u64> {
    1_u64.checked_shl(BITS * height)
}

impl Tree {
    pub(super) const fn new() -> Self {
        Self {
            root: Child::Empty,
            root_dirty: false,
            height: 0,
            len: 0,
        }
    }

    /// Pages in the tree.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn covers(&self, index: u64) -> bool {
        capacity(self.height).is_none_or(|n| index < n)
    }

    pub(super) fn get(&self, index: u64) -> Option<&Arc<Page>> {
        if !self.covers(index) {
            return None;
        }
        let mut child = &self.root;
        let mut level = self.height;
        loop {
            match child {
                Child::Empty => return None,
                Child::Page(page) => return Some(page),
                Child::Node(node) => {
                    level -= 1;
                    child = &node.children[slot(index, level)];
                }
            }
        }
    }

    fn grow(&mut self) {
        let old = core::mem::take(&mut self.root);
        if !matches!(old, Child::Empty) {
            let mut node = Box::<Node>::default();
            node.children[0] = old;
            node.used = 1;
            node.dirty = u16::from(self.root_dirty);
            self.root = Child::Node(node);
        }
        self.height += 1;
    }

    /// Adds a clean page; false if its index is taken.
    pub(super) fn insert(&mut self, page: Arc<Page>) -> bool {
        let index = page.index();
        while !self.covers(index) {
            self.grow();
        }
        let mut level = self.height;
        let mut child = &mut self.root;
        while level > 0 {
            level -= 1;
            if matches!(child, Child::Empty) {
                *child = Child::Node(Box::default());
            }
            let Child::Node(node) = child else {
                return false;
            };
            let at = slot(index, level);
            node.used |= 1 << at;
            child = &mut node.children[at];
        }
        if !matches!(child, Child::Empty) {
            return false;
        }
        *child = Child::Page(page);
        self.len += 1;
        true
    }

    /// Takes a page out.
    pub(super) fn remove(&mut self, index: u64) -> Option<Arc<Page>> {
        if !self.covers(index) {
            return None;
        }
        let (page, _) = remove_below(&mut self.root, self.height, index)?;
        self.len -= 1;
        self.root_dirty = match &self.root {
            Child::Empty => false,
            Child::Node(node) => node.dirty != 0,
            Child::Page(_) => self.root_dirty,
        };
        if self.len == 0 {
            *self = Self::new();
        }
        Some(page)
    }

    /// Sets or clears the dirty tag of a page that is there.
    pub(super) fn tag(&mut self, index: u64, dirty: bool) {
        if self.covers(index) {
            self.root_dirty = tag_below(&mut self.root, self.height, index, dirty, self.root_dirty);
        }
    }

    /// Gives pages with indices in `[first, last]` in order, only those tagged dirty if `dirty`, until `visit` says
    /// false.
    pub(super) fn visit(
        &self,
        first: u64,
        last: u64,
        dirty: bool,
        visit: &mut dyn FnMut(&Arc<Page>) -> bool,
    ) {
        if dirty && !self.root_dirty {
            return;
        }
        visit_below(&self.root, self.height, 0, first, last, dirty, visit);
    }
}

/// Removes from a subtree; the page, and whether the subtree is empty now.
fn remove_below(child: &mut Child, level: u32, index: u64) -> Option<(Arc<Page>, bool)> {
    match child {
        Child::Empty => None,
        Child::Page(_) => match core::mem::take(child) {
            Child::Page(page) => Some((page, true)),
            _ => None,
        },
        Child::Node(node) => {
            let at = slot(index, level - 1);
            let (page, empty) = remove_below(&mut node.children[at], level - 1, index)?;
            let still_dirty = match &node.children[at] {
                Child::Node(below) => below.dirty != 0,
                _ => false,
            };
            if !still_dirty {
                node.dirty &= !(1 << at);
            }
            if empty {
                node.used &= !(1 << at);
            }
            let empty = node.used == 0;
            if empty {
                *child = Child::Empty;
            }
            Some((page, empty))
        }
    }
}

/// Tags in a subtree; whether it is dirty now. `was` is what it was.
fn tag_below(child: &mut Child, level: u32, index: u64, dirty: bool, was: bool) -> bool {
    match child {
        Child::Empty => was,
        Child::Page(_) => dirty,
        Child::Node(node) => {
            let at = slot(index, level - 1);
            let was = node.dirty & (1 << at) != 0;
            if tag_below(&mut node.children[at], level - 1, index, dirty, was) {
                node.dirty |= 1 << at;
            } else {
                node.dirty &= !(1 << at);
            }
            node.dirty != 0
        }
    }
}

/// Visits a subtree whose first index is `base`; false to stop.
fn visit_below(
    child: &Child,
    level: u32,
    base: u64,
    first: u64,
    last: u64,
    dirty: bool,
    visit: &mut dyn FnMut(&Arc<Page>) -> bool,
) -> bool {
    match child {
        Child::Empty => true,
        Child::Page(page) => !(first..=last).contains(&base) || visit(page),
        Child::Node(node) => {
            let mut bits = if dirty { node.dirty } else { node.used };
            let shift = BITS * (level - 1);
            while bits != 0 {
                let at = bits.trailing_zeros();
                bits &= bits - 1;
                let start = base | (u64::from(at) << shift);
                let end = start | ((1 << shift) - 1);
                if end < first {
                    continue;
                }
                if start > last {
                    return false;
                }
                let child = &node.children[at as usize];
                if !visit_below(child, level - 1, start, first, last, dirty, visit) {
                    return false;
                }
            }
            true
        }
    }
}
