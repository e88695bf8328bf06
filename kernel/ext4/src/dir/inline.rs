//! Directories whose entries lie in the inode: four bytes for the parent, entries in the rest of the block array,
//! more entries in the `system.data` attribute.

use alloc::vec::Vec;

use super::block;
use crate::bytes::le32;
use crate::inode::{Inode, InodeState};
use crate::platform::Platform;
use crate::{FileType, Fs, Result};

/// An entry of an inline directory.
pub(super) struct InlineEntry {
    pub ino: u32,
    pub file_type: u8,
    pub name: Vec<u8>,
}

impl<P: Platform> Fs<P> {
    /// All names, `.` and `..` first.
    pub(super) fn inline_dir_entries(
        &self,
        dir: &Inode<P>,
        st: &InodeState,
    ) -> Result<Vec<InlineEntry>> {
        let t = block::type_byte(FileType::Directory);
        let implied = |ino, name: &[u8]| InlineEntry {
            ino,
            file_type: t,
            name: name.to_vec(),
        };
        let mut out = Vec::new();
        out.push(implied(dir.ino(), b"."));
        out.push(implied(le32(st.iblock(), 0), b".."));
        let more = self.inline_value(st)?;
        for part in [st.iblock().get(4..).unwrap_or(&[]), &more[..]] {
            for e in block::entries(part) {
                let e = e?;
                if e.ino != 0 {
                    out.push(InlineEntry {
                        ino: e.ino,
                        file_type: e.file_type,
                        name: e.name.to_vec(),
                    });
                }
            }
        }
        Ok(out)
    }
}
