//! [`Handle`]: one open file of procfs.

use alloc::sync::Arc;
use alloc::vec::Vec;

use keel_abi::{Errno, Result};

use crate::PAGE_SIZE;
use crate::node::{Node, Stream};
use crate::source::{System, Task};
use crate::text::Text;

/// One open file. The kernel keeps it behind the file's own lock.
///
/// Text is made at the first read and again at every read from offset zero, so that a program which keeps
/// `/proc/stat` open and rewinds it sees new figures, while one pass in small pieces sees one state.
pub struct Handle {
    node: Node,
    text: Text,
    made: bool,
}

impl Handle {
    /// Opens a file. Errors: `EACCES`/`EPERM` if the opener may not look at the task, `EISDIR`, `ESRCH`.
    pub fn open(sys: &dyn System, node: &Node) -> Result<Self> {
        node.check_open(sys)?;
        Ok(Handle {
            node: node.clone(),
            text: Text::new(),
            made: false,
        })
    }

    /// The file that is open.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Reads at `offset`; 0 at the end. May block for `/proc/kmsg` only.
    pub fn read_at(&mut self, sys: &dyn System, offset: u64, out: &mut [u8]) -> Result<usize> {
        if let Some(stream) = self.node.stream() {
            return self.read_stream(sys, stream, offset, out);
        }
        if offset == 0 || !self.made {
            self.text.clear();
            self.made = false;
            self.node.read(sys, &mut self.text)?;
            self.made = true;
        }
        Ok(copy_from(self.text.as_bytes(), offset, out))
    }

    /// Writes at `offset`; the number of bytes taken, which is all of them.
    ///
    /// Every file takes its value in one write. Errors: as the file says.
    pub fn write_at(&mut self, sys: &dyn System, offset: u64, data: &[u8]) -> Result<usize> {
        if self.node.stream() == Some(Stream::Mem) {
            return self.task()?.mem_write(offset, data);
        }
        self.node.write(sys, offset, data)
    }

    fn task(&self) -> Result<&Arc<dyn Task>> {
        self.node.task().ok_or(Errno::EINVAL)
    }

    fn read_stream(
        &self,
        sys: &dyn System,
        stream: Stream,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize> {
        match stream {
            Stream::Mem => self.task()?.mem_read(offset, out),
            Stream::Kmsg => sys.kmsg_read(out),
            Stream::Pagemap => read_pagemap(self.task()?.as_ref(), offset, out),
        }
    }
}

/// Offset and length must be multiples of an entry's eight bytes.
fn read_pagemap(task: &dyn Task, offset: u64, out: &mut [u8]) -> Result<usize> {
    const ENTRY: usize = 8;
    /// Entries asked for at a time: bounds the memory of one call.
    const BATCH: usize = PAGE_SIZE as usize / ENTRY;
    if !offset.is_multiple_of(ENTRY as u64) || !out.len().is_multiple_of(ENTRY) {
        return Err(Errno::EINVAL);
    }
    let mut page = offset / ENTRY as u64;
    let mut done = 0;
    for piece in out.chunks_mut(BATCH * ENTRY) {
        let wanted = piece.len() / ENTRY;
        let mut entries = Vec::new();
        entries
            .try_reserve_exact(wanted)
            .map_err(|_| Errno::ENOMEM)?;
        entries.resize(wanted, 0u64);
        let got = task.pagemap(page, &mut entries)?.min(wanted);
        for (slot, entry) in piece.chunks_exact_mut(ENTRY).zip(entries.iter().take(got)) {
            slot.copy_from_slice(&entry.to_le_bytes());
        }
        done += got * ENTRY;
        page += got as u64;
        if got < wanted {
            break;
        }
    }
    Ok(done)
}

/// Copies what `text` has from `offset` on, as much as fits.
fn copy_from(text: &[u8], offset: u64, out: &mut [u8]) -> usize {
    let rest = usize::try_from(offset)
        .ok()
        .and_then(|start| text.get(start..))
        .unwrap_or(&[]);
    let count = rest.len().min(out.len());
    if let (Some(to), Some(from)) = (out.get_mut(..count), rest.get(..count)) {
        to.copy_from_slice(from);
    }
    count
}
