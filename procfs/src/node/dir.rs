//! Directories: finding a name and listing names.
//!
//! Positions 0 and 1 are `.` and `..`, which the VFS makes from its own dentries; each directory numbers the rest in a
//! way that stays valid while names come and go (by PID, by descriptor), so that a listing which goes on after a
//! change neither repeats nor skips what was there all the time. No lock of a source is held while `emit` runs.

use alloc::vec::Vec;

use keel_abi::{Errno, Result};

use super::{DirEntry, Node, Place};
use crate::entry::{Entry, Kind, Live};
use crate::source::System;
use crate::sysctl::{self, CtlPlace};
use crate::text::Text;
use crate::{put, task, tree};

/// First position after `.` and `..`.
const FIRST: u64 = 2;

/// Position of PID 0 in the root directory: above all fixed names.
const FIRST_PROCESS: u64 = 256;

/// A name that is a plain decimal number, as PIDs and descriptors are written: no sign, no leading zero.
fn decimal(name: &[u8]) -> Option<u32> {
    if name.is_empty() || (name.len() > 1 && name.first() == Some(&b'0')) {
        return None;
    }
    name.iter().try_fold(0u32, |value, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// A decimal number as a name, without allocation.
struct Number {
    digits: [u8; 10],
    start: usize,
}

impl Number {
    fn new(mut value: u32) -> Self {
        let mut digits = [b'0'; 10];
        let mut start = digits.len();
        for (index, slot) in digits.iter_mut().enumerate().rev() {
            *slot = b'0' + (value % 10) as u8;
            start = index;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        Number { digits, start }
    }

    fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or(&[])
    }
}

type Emit<'a> = &'a mut dyn FnMut(DirEntry<'_>) -> bool;

impl Node {
    /// The node of `name` in this directory. Errors: `ENOENT`, `ENOTDIR`, `EACCES`.
    pub fn lookup(&self, sys: &dyn System, name: &[u8]) -> Result<Node> {
        match self.place {
            Place::Entry(entry) => match entry.kind {
                Kind::Dir(list) => self.lookup_fixed(sys, list, name),
                Kind::Root(list) => self
                    .lookup_fixed(sys, list, name)
                    .or_else(|_| lookup_process(sys, name)),
                Kind::Live(live) => self.lookup_live(sys, live, name),
                _ => Err(Errno::ENOTDIR),
            },
            Place::Sysctl(place) => {
                Ok(self.below(Place::Sysctl(sysctl::lookup(sys, &place, name)?), name))
            }
            Place::Irq(irq) => tree::IRQ
                .iter()
                .find(|file| file.name.as_bytes() == name)
                .map(|file| self.below(Place::IrqFile(irq, file), name))
                .ok_or(Errno::ENOENT),
            Place::Ext4(index) if name == b"options" => {
                Ok(self.below(Place::Ext4File(index), name))
            }
            Place::Ext4(_) => Err(Errno::ENOENT),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn lookup_fixed(&self, sys: &dyn System, list: &'static [Entry], name: &[u8]) -> Result<Node> {
        list.iter()
            .find(|e| e.name.as_bytes() == name && e.exists(sys.features()))
            .map(|entry| self.below(Place::Entry(entry), name))
            .ok_or(Errno::ENOENT)
    }

    fn lookup_live(&self, sys: &dyn System, live: Live, name: &[u8]) -> Result<Node> {
        match live {
            Live::Threads => {
                let tid = decimal(name).ok_or(Errno::ENOENT)?;
                let task = sys.task(tid).ok_or(Errno::ENOENT)?;
                if task.tgid() != self.live_task()?.tgid() {
                    return Err(Errno::ENOENT);
                }
                Ok(Node::thread(task))
            }
            Live::Fds | Live::FdInfos => {
                let fd = decimal(name).ok_or(Errno::ENOENT)?;
                if self.live_task()?.next_fd(fd) != Some(fd) {
                    return Err(Errno::ENOENT);
                }
                let place = if live == Live::Fds {
                    Place::Fd(fd)
                } else {
                    Place::FdInfo(fd)
                };
                Ok(self.below(place, name))
            }
            Live::MapFiles => {
                let task = self.live_task()?;
                task.allow(crate::source::Access::Read)?;
                let (start, end) = task::maps::parse_range(name).ok_or(Errno::ENOENT)?;
                task::maps::file_mode(task, start, end)?;
                Ok(self.below(Place::MapFile(start, end), name))
            }
            Live::Sysctl => {
                let place = sysctl::lookup(sys, &CtlPlace::ROOT, name)?;
                Ok(self.below(Place::Sysctl(place), name))
            }
            Live::Irqs => {
                if let Some(entry) = tree::IRQ_COMMON.iter().find(|e| e.name.as_bytes() == name) {
                    return Ok(self.below(Place::Entry(entry), name));
                }
                let irq = decimal(name).ok_or(Errno::ENOENT)?;
                sys.irq(irq)?;
                Ok(self.below(Place::Irq(irq), name))
            }
            Live::Ext4 => {
                let mounts = sys.ext4_mounts();
                let index = mounts.iter().position(|m| m.disk.as_bytes() == name);
                let index = index
                    .and_then(|i| u32::try_from(i).ok())
                    .ok_or(Errno::ENOENT)?;
                Ok(self.below(Place::Ext4(index), name))
            }
        }
    }

    /// Calls `emit` for each name from position `pos` on (positions below 2 count as 2) until it returns false;
    /// a name that was refused comes again when the listing goes on at the last accepted `next`.
    ///
    /// Errors: `ENOTDIR`, `ENOENT`/`ESRCH` if the task is gone, `EACCES`.
    pub fn readdir(&self, sys: &dyn System, pos: u64, emit: Emit<'_>) -> Result<()> {
        let pos = pos.max(FIRST);
        match self.place {
            Place::Entry(entry) => match entry.kind {
                Kind::Dir(list) => {
                    if self.task.is_some() {
                        self.live_task()?;
                    }
                    self.list_fixed(sys, list, pos, emit);
                    Ok(())
                }
                Kind::Root(list) => {
                    if self.list_fixed(sys, list, pos, emit) {
                        list_processes(sys, pos.max(FIRST_PROCESS), emit);
                    }
                    Ok(())
                }
                Kind::Live(live) => self.list_live(sys, live, pos, emit),
                _ => Err(Errno::ENOTDIR),
            },
            Place::Sysctl(place) => self.list_sysctl(sys, &place, pos, emit),
            Place::Irq(irq) => {
                for (file, at) in tree::IRQ.iter().zip(FIRST..).filter(|(_, at)| *at >= pos) {
                    let node = self.below(Place::IrqFile(irq, file), file.name.as_bytes());
                    if !send(&node, file.name.as_bytes(), at + 1, emit) {
                        break;
                    }
                }
                Ok(())
            }
            Place::Ext4(index) if pos == FIRST => {
                let node = self.below(Place::Ext4File(index), b"options");
                send(&node, b"options", FIRST + 1, emit);
                Ok(())
            }
            Place::Ext4(_) => Ok(()),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Lists a fixed table; false if `emit` wants no more.
    fn list_fixed(
        &self,
        sys: &dyn System,
        list: &'static [Entry],
        pos: u64,
        emit: Emit<'_>,
    ) -> bool {
        let features = sys.features();
        for (entry, at) in list.iter().zip(FIRST..) {
            if at < pos || !entry.exists(features) {
                continue;
            }
            let node = self.below(Place::Entry(entry), entry.name.as_bytes());
            if !send(&node, entry.name.as_bytes(), at + 1, emit) {
                return false;
            }
        }
        true
    }

    fn list_live(&self, sys: &dyn System, live: Live, pos: u64, emit: Emit<'_>) -> Result<()> {
        match live {
            Live::Threads => self.list_threads(sys, pos, emit),
            Live::Fds => self.list_fds(Place::Fd, pos, emit),
            Live::FdInfos => self.list_fds(Place::FdInfo, pos, emit),
            Live::MapFiles => self.list_map_files(pos, emit),
            Live::Sysctl => self.list_sysctl(sys, &CtlPlace::ROOT, pos, emit),
            Live::Irqs => self.list_irqs(sys, pos, emit),
            Live::Ext4 => {
                let mounts = sys.ext4_mounts();
                for ((mount, index), at) in mounts.iter().zip(0u32..).zip(FIRST..) {
                    let name = mount.disk.as_bytes();
                    let node = self.below(Place::Ext4(index), name);
                    if at >= pos && !send(&node, name, at + 1, emit) {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    fn list_threads(&self, sys: &dyn System, pos: u64, emit: Emit<'_>) -> Result<()> {
        let task = self.live_task()?;
        let mut from = u32::try_from(pos - FIRST).map_err(|_| Errno::ENOENT)?;
        while let Some(tid) = task.next_thread(from) {
            from = tid.saturating_add(1);
            let Some(thread) = sys.task(tid) else {
                continue;
            };
            let next = FIRST + u64::from(from);
            if !send(
                &Node::thread(thread),
                Number::new(tid).as_bytes(),
                next,
                emit,
            ) {
                break;
            }
        }
        Ok(())
    }

    fn list_fds(&self, place: fn(u32) -> Place, pos: u64, emit: Emit<'_>) -> Result<()> {
        let task = self.live_task()?;
        let Ok(mut from) = u32::try_from(pos - FIRST) else {
            return Ok(());
        };
        while let Some(fd) = task.next_fd(from) {
            from = fd.saturating_add(1);
            let name = Number::new(fd);
            let node = self.below(place(fd), name.as_bytes());
            if !send(&node, name.as_bytes(), FIRST + u64::from(from), emit) {
                break;
            }
        }
        Ok(())
    }

    /// Positions are the page numbers of the areas.
    fn list_map_files(&self, pos: u64, emit: Emit<'_>) -> Result<()> {
        let task = self.live_task()?;
        task.allow(crate::source::Access::Read)?;
        // The areas are collected first: `emit` may touch user memory, whose faults take the lock that the source
        // holds while it visits.
        let mut areas = Vec::new();
        task.vmas(&mut |vma| {
            if FIRST + (vma.start >> 12) >= pos && task::maps::is_file(vma) {
                areas.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                areas.push((vma.start, vma.end));
            }
            Ok(())
        })?;
        let mut name = Text::new();
        for (start, end) in areas {
            name.clear();
            put!(name, "{start:x}-{end:x}")?;
            let node = self.below(Place::MapFile(start, end), name.as_bytes());
            if !send(&node, name.as_bytes(), FIRST + (start >> 12) + 1, emit) {
                break;
            }
        }
        Ok(())
    }

    fn list_sysctl(
        &self,
        sys: &dyn System,
        dir: &CtlPlace,
        pos: u64,
        emit: Emit<'_>,
    ) -> Result<()> {
        sysctl::list(sys, dir, pos - FIRST, &mut |name, place, next| {
            let node = self.below(Place::Sysctl(place), name);
            send(&node, name, FIRST + next, emit)
        })
    }

    fn list_irqs(&self, sys: &dyn System, pos: u64, emit: Emit<'_>) -> Result<()> {
        if !self.list_fixed(sys, tree::IRQ_COMMON, pos, emit) {
            return Ok(());
        }
        for irq in sys.irqs() {
            let at = FIRST_PROCESS + u64::from(irq);
            let name = Number::new(irq);
            let node = self.below(Place::Irq(irq), name.as_bytes());
            if at >= pos && !send(&node, name.as_bytes(), at + 1, emit) {
                break;
            }
        }
        Ok(())
    }
}

fn lookup_process(sys: &dyn System, name: &[u8]) -> Result<Node> {
    let tid = decimal(name).ok_or(Errno::ENOENT)?;
    sys.task(tid).map(Node::process).ok_or(Errno::ENOENT)
}

fn list_processes(sys: &dyn System, pos: u64, emit: Emit<'_>) {
    let Ok(mut from) = u32::try_from(pos - FIRST_PROCESS) else {
        return;
    };
    while let Some(pid) = sys.next_process(from) {
        from = pid.saturating_add(1);
        let Some(task) = sys.task(pid) else { continue };
        let next = FIRST_PROCESS + u64::from(from);
        if !send(
            &Node::process(task),
            Number::new(pid).as_bytes(),
            next,
            emit,
        ) {
            break;
        }
    }
}

fn send(node: &Node, name: &[u8], next: u64, emit: Emit<'_>) -> bool {
    emit(DirEntry {
        name,
        ino: node.ino(),
        kind: node.file_type(),
        next,
    })
}

/// Target of `self`, or of `thread-self`.
pub(crate) fn self_link(sys: &dyn System, thread: bool) -> Result<Vec<u8>> {
    let (tgid, tid) = sys.current().ok_or(Errno::ENOENT)?;
    let mut text = Text::new();
    if thread {
        put!(text, "{tgid}/task/{tid}")?;
    } else {
        put!(text, "{tgid}")?;
    }
    Ok(text.into_vec())
}
