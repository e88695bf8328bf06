//! The superblock: what a mount needs to know of it, validated once.

use alloc::string::String;
use alloc::vec::Vec;

use crate::bytes::{le16, le32, put32};
use crate::checksum::crc32c;
use crate::layout::{compat, incompat, ro_compat, sb};
use crate::{Errno, Result};

/// The geometry and features of a file system. Constant while mounted, except what lives in the
/// superblock's buffer.
#[derive(Clone, Debug)]
pub(crate) struct Super {
    pub inodes_count: u32,
    pub blocks_count: u64,
    pub reserved_blocks: u64,
    pub first_data_block: u64,
    pub block_size: u32,
    pub block_bits: u32,
    pub blocks_per_group: u32,
    pub inodes_per_group: u32,
    pub first_ino: u32,
    pub inode_size: usize,
    pub compat: u32,
    pub incompat: u32,
    pub ro_compat: u32,
    pub uuid: [u8; 16],
    pub volume_name: Vec<u8>,
    pub reserved_gdt: u32,
    pub journal_inum: u32,
    pub hash_seed: [u32; 4],
    pub hash_version: u8,
    pub hash_unsigned: bool,
    pub desc_size: usize,
    pub first_meta_bg: u32,
    pub want_extra_isize: u16,
    pub log_groups_per_flex: u32,
    pub backup_bgs: [u32; 2],
    pub csum_seed: u32,
    pub orphan_file_inum: u32,
    pub errors: u16,
    /// `s_state` as found at mount.
    pub state: u16,
    pub groups: u32,
}

/// Names the bits of `bits` for a message.
pub(crate) fn feature_names(bits: u32, names: &[(u32, &str)]) -> String {
    let mut out = String::new();
    for &(bit, name) in names {
        if bits & bit != 0 {
            if !out.is_empty() {
                out.push_str(", ");
            }
            out.push_str(name);
        }
    }
    if out.is_empty() {
        out.push_str("unknown");
    }
    out
}

impl Super {
    /// Parses and validates the 1024 bytes at offset 1024 of the device. `EINVAL`: not this file system;
    /// `EUCLEAN`: damaged.
    pub fn parse(raw: &[u8], device_bytes: u64) -> Result<Self> {
        let s = Self::parse_unsealed(raw, device_bytes)?;
        if s.has_csum() && crc32c(!0, &raw[..sb::CHECKSUM]) != le32(raw, sb::CHECKSUM) {
            return Err(Errno::EUCLEAN);
        }
        Ok(s)
    }

    /// Like [`Super::parse`] without the checksum: a superblock half-written by a checkpoint leads to the journal that
    /// mends it.
    pub fn parse_unsealed(raw: &[u8], device_bytes: u64) -> Result<Self> {
        if raw.len() < sb::SIZE || le16(raw, sb::MAGIC) != sb::MAGIC_VALUE {
            return Err(Errno::EINVAL);
        }
        let dynamic = le32(raw, sb::REV_LEVEL) >= 1;
        let feature = |off| if dynamic { le32(raw, off) } else { 0 };
        let incompat = feature(sb::INCOMPAT);
        let ro = feature(sb::RO_COMPAT);
        let log = le32(raw, sb::LOG_BLOCK_SIZE);
        if log > 2 {
            // 8 KiB and larger blocks exceed the page size; Linux x86 refuses them with EINVAL too.
            return Err(if log > 6 {
                Errno::EUCLEAN
            } else {
                Errno::EINVAL
            });
        }
        let block_size = 1024u32 << log;
        let wide = incompat & incompat::BIT64 != 0;
        let hi = |off| {
            if wide {
                u64::from(le32(raw, off)) << 32
            } else {
                0
            }
        };
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&raw[sb::UUID..sb::UUID + 16]);
        let csum_seed = if incompat & incompat::CSUM_SEED != 0 {
            le32(raw, sb::CHECKSUM_SEED)
        } else {
            crc32c(!0, &uuid)
        };
        let name = &raw[sb::VOLUME_NAME..sb::VOLUME_NAME + 16];
        let name_len = name.iter().position(|&b| b == 0).unwrap_or(16);
        let seed = |i: usize| le32(raw, sb::HASH_SEED + 4 * i);
        let flags = le32(raw, sb::FLAGS);
        let desc_size = if wide {
            usize::from(le16(raw, sb::DESC_SIZE))
        } else {
            32
        };
        let s = Self {
            inodes_count: le32(raw, sb::INODES_COUNT),
            blocks_count: u64::from(le32(raw, sb::BLOCKS_COUNT_LO)) | hi(sb::BLOCKS_COUNT_HI),
            reserved_blocks: u64::from(le32(raw, sb::R_BLOCKS_LO)) | hi(sb::R_BLOCKS_HI),
            first_data_block: u64::from(le32(raw, sb::FIRST_DATA_BLOCK)),
            block_size,
            block_bits: 10 + log,
            blocks_per_group: le32(raw, sb::BLOCKS_PER_GROUP),
            inodes_per_group: le32(raw, sb::INODES_PER_GROUP),
            first_ino: if dynamic {
                le32(raw, sb::FIRST_INO)
            } else {
                11
            },
            inode_size: if dynamic {
                usize::from(le16(raw, sb::INODE_SIZE))
            } else {
                128
            },
            compat: feature(sb::COMPAT),
            incompat,
            ro_compat: ro,
            uuid,
            volume_name: name[..name_len].to_vec(),
            reserved_gdt: u32::from(le16(raw, sb::RESERVED_GDT)),
            journal_inum: le32(raw, sb::JOURNAL_INUM),
            hash_seed: [seed(0), seed(1), seed(2), seed(3)],
            hash_version: raw[sb::DEF_HASH_VERSION],
            // Linux on x86 sets the signed flag when neither is there.
            hash_unsigned: flags & sb::FLAG_UNSIGNED_HASH != 0 && flags & sb::FLAG_SIGNED_HASH == 0,
            desc_size,
            first_meta_bg: le32(raw, sb::FIRST_META_BG),
            want_extra_isize: le16(raw, sb::WANT_EXTRA_ISIZE),
            log_groups_per_flex: u32::from(raw[sb::LOG_GROUPS_PER_FLEX]),
            backup_bgs: [le32(raw, sb::BACKUP_BGS), le32(raw, sb::BACKUP_BGS + 4)],
            csum_seed,
            orphan_file_inum: le32(raw, sb::ORPHAN_FILE_INUM),
            errors: le16(raw, sb::ERRORS),
            state: le16(raw, sb::STATE),
            groups: 0,
        };
        s.validate(raw, device_bytes)
    }

    fn validate(mut self, raw: &[u8], device_bytes: u64) -> Result<Self> {
        let bs = self.block_size;
        let bad = Err(Errno::EUCLEAN);
        if self.has_csum() && raw[sb::CHECKSUM_TYPE] != 1 {
            return Err(Errno::EOPNOTSUPP);
        }
        if !self.inode_size.is_power_of_two()
            || self.inode_size < 128
            || self.inode_size > bs as usize
            || !self.desc_size.is_power_of_two()
            || self.desc_size < 32
            || self.desc_size > 1024
            || (self.is(incompat::BIT64) && self.desc_size < 64)
        {
            return bad;
        }
        // With bigalloc (read-only here) a bit of a bitmap stands for a cluster of blocks.
        let cluster = if self.ro(ro_compat::BIGALLOC) {
            let log = le32(raw, sb::LOG_CLUSTER_SIZE).saturating_sub(le32(raw, sb::LOG_BLOCK_SIZE));
            1u64 << log.min(16)
        } else {
            1
        };
        if self.blocks_per_group == 0
            || u64::from(self.blocks_per_group) > u64::from(bs) * 8 * cluster
            || !self.blocks_per_group.is_multiple_of(8)
            || self.inodes_per_group == 0
            || self.inodes_per_group > bs * 8
            || !self.inodes_per_group.is_multiple_of(8)
            || self.inodes_per_group as usize * self.inode_size > (bs as usize) << 16
            || self.first_data_block != u64::from(bs == 1024 && cluster == 1)
        {
            return bad;
        }
        let data = match self.blocks_count.checked_sub(self.first_data_block) {
            Some(n) if n > 0 => n,
            _ => return bad,
        };
        let bytes = self
            .blocks_count
            .checked_mul(u64::from(bs))
            .ok_or(Errno::EUCLEAN)?;
        if bytes > device_bytes {
            // The device is smaller than the file system on it.
            return Err(Errno::EINVAL);
        }
        let groups = data.div_ceil(u64::from(self.blocks_per_group));
        self.groups = u32::try_from(groups).map_err(|_| Errno::EUCLEAN)?;
        if u64::from(self.inodes_count) != groups * u64::from(self.inodes_per_group)
            || self.reserved_blocks > self.blocks_count / 2
            || self.first_ino < 11
            || self.first_ino >= self.inodes_count.max(12)
        {
            return bad;
        }
        if self.log_groups_per_flex > 31 {
            return bad;
        }
        Ok(self)
    }

    /// Whether an incompatible feature is on.
    pub fn is(&self, incompat: u32) -> bool {
        self.incompat & incompat != 0
    }

    /// Whether a ro_compat feature is on.
    pub fn ro(&self, ro: u32) -> bool {
        self.ro_compat & ro != 0
    }

    /// Whether a compatible feature is on.
    pub fn has(&self, compat: u32) -> bool {
        self.compat & compat != 0
    }

    /// Whether metadata blocks carry CRC-32C checksums.
    pub fn has_csum(&self) -> bool {
        self.ro(ro_compat::METADATA_CSUM)
    }

    /// Whether group descriptors carry checksums of either kind (and so uninit flags count).
    pub fn has_group_csum(&self) -> bool {
        self.ro(ro_compat::METADATA_CSUM | ro_compat::GDT_CSUM)
    }

    /// First block of a group.
    pub fn group_start(&self, group: u32) -> u64 {
        self.first_data_block + u64::from(group) * u64::from(self.blocks_per_group)
    }

    /// Number of blocks in a group (the last may be short).
    pub fn group_blocks(&self, group: u32) -> u32 {
        let left = self.blocks_count.saturating_sub(self.group_start(group));
        left.min(u64::from(self.blocks_per_group)) as u32
    }

    /// The group of a block and the block's index in it; `None` outside the file system.
    pub fn block_group(&self, block: u64) -> Option<(u32, u32)> {
        if block >= self.blocks_count {
            return None;
        }
        let rel = block.checked_sub(self.first_data_block)?;
        let per = u64::from(self.blocks_per_group);
        Some(((rel / per) as u32, (rel % per) as u32))
    }

    /// Blocks of one group's inode table.
    pub fn itable_blocks(&self) -> u32 {
        (u64::from(self.inodes_per_group) * self.inode_size as u64)
            .div_ceil(u64::from(self.block_size)) as u32
    }

    /// Group descriptors in one block.
    pub fn desc_per_block(&self) -> u32 {
        self.block_size / self.desc_size as u32
    }

    /// Blocks that all group descriptors take.
    pub fn gdt_blocks(&self) -> u32 {
        self.groups.div_ceil(self.desc_per_block())
    }

    /// Whether a group holds a copy of the superblock.
    pub fn group_has_super(&self, group: u32) -> bool {
        if group == 0 {
            return true;
        }
        if self.has(compat::SPARSE_SUPER2) {
            return self.backup_bgs.contains(&group);
        }
        if group == 1 || !self.ro(ro_compat::SPARSE_SUPER) {
            return true;
        }
        if group.is_multiple_of(2) {
            return false;
        }
        [3u32, 5, 7].iter().any(|&base| {
            let mut p = u64::from(base);
            while p < u64::from(group) {
                p *= u64::from(base);
            }
            p == u64::from(group)
        })
    }

    /// Blocks at the start of a group taken by the superblock copy and group descriptors.
    pub fn group_base_meta(&self, group: u32) -> u32 {
        let has_super = self.group_has_super(group);
        let mut n = u32::from(has_super);
        let per = self.desc_per_block();
        let old_style = !self.is(incompat::META_BG)
            || u64::from(group) < u64::from(self.first_meta_bg) * u64::from(per);
        if old_style {
            if has_super {
                let gdt = if self.is(incompat::META_BG) {
                    self.first_meta_bg
                } else {
                    self.gdt_blocks()
                };
                n = n.saturating_add(gdt).saturating_add(self.reserved_gdt);
            }
        } else {
            let in_meta = group % per;
            if in_meta == 0 || in_meta == 1 || in_meta == per - 1 {
                n += 1;
            }
        }
        n
    }

    /// Where block `i` of the group descriptor table is.
    pub fn gdt_location(&self, i: u32) -> u64 {
        if !self.is(incompat::META_BG) || i < self.first_meta_bg {
            return self.location().0 + 1 + u64::from(i);
        }
        let group = u64::from(i) * u64::from(self.desc_per_block());
        let group = group.min(u64::from(self.groups.saturating_sub(1))) as u32;
        self.group_start(group) + u64::from(self.group_has_super(group))
    }

    /// Block and byte offset in it where the superblock lives.
    pub fn location(&self) -> (u64, usize) {
        if self.block_size == 1024 {
            (1, 0)
        } else {
            (0, 1024)
        }
    }

    /// Stores the checksum into a raw superblock.
    pub fn seal(&self, raw: &mut [u8]) {
        if self.has_csum() && raw.len() >= sb::SIZE {
            let c = crc32c(!0, &raw[..sb::CHECKSUM]);
            put32(raw, sb::CHECKSUM, c);
        }
    }
}
