//! [`File`]: one open attribute.

use keel_abi::{Errno, Result};
use keel_procfs::Text;

use crate::attr::Content;

/// Longest text of an attribute: one page (the kernel's `sysfs_emit`).
const PAGE: usize = 4096;

/// One open attribute. The kernel keeps it behind the file's own lock.
///
/// The text is made at the first read and again at every read from offset zero, as `seq_file` does.
pub struct File {
    content: Content,
    text: Text,
    made: bool,
}

impl File {
    pub(crate) fn new(content: Content) -> Self {
        File {
            content,
            text: Text::new(),
            made: false,
        }
    }

    /// Reads at `offset`; 0 at the end. Errors: the attribute's own.
    pub fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let attribute = match &self.content {
            Content::Bytes(bytes) if offset >= bytes.size() => return Ok(0),
            Content::Bytes(bytes) => {
                let room = usize::try_from(bytes.size() - offset).unwrap_or(usize::MAX);
                let count = out.len().min(room);
                return bytes.read_at(offset, out.get_mut(..count).unwrap_or(&mut []));
            }
            Content::Text(attribute) => attribute,
        };
        if offset == 0 || !self.made {
            self.text.clear();
            self.made = false;
            attribute.show(&mut self.text)?;
            self.text.truncate(PAGE);
            self.made = true;
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.text.as_bytes().get(start..).unwrap_or(&[]);
        let count = rest.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    /// Writes at `offset`; the number of bytes taken. Text takes at most a page at once, wherever it is written.
    ///
    /// Errors: the attribute's own; `EFBIG` behind the end of bytes.
    pub fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<usize> {
        match &self.content {
            Content::Bytes(bytes) if offset >= bytes.size() => Err(Errno::EFBIG),
            Content::Bytes(bytes) => {
                let room = usize::try_from(bytes.size() - offset).unwrap_or(usize::MAX);
                bytes.write_at(offset, data.get(..data.len().min(room)).unwrap_or(data))
            }
            Content::Text(attribute) => {
                let taken = data.get(..PAGE).unwrap_or(data);
                if !taken.is_empty() {
                    attribute.store(taken)?;
                }
                Ok(taken.len())
            }
        }
    }
}
