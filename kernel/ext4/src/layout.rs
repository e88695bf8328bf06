//! Constants of the on-disk format: features, flags, magic numbers and field offsets
//! (kernel.org, "ext4 Data Structures and Algorithms").

/// Compatible features.
pub(crate) mod compat {
    pub const HAS_JOURNAL: u32 = 0x4;
    pub const EXT_ATTR: u32 = 0x8;
    pub const DIR_INDEX: u32 = 0x20;
    pub const SPARSE_SUPER2: u32 = 0x200;
    pub const ORPHAN_FILE: u32 = 0x1000;
}

/// Incompatible features.
pub(crate) mod incompat {
    pub const FILETYPE: u32 = 0x2;
    pub const RECOVER: u32 = 0x4;
    pub const JOURNAL_DEV: u32 = 0x8;
    pub const META_BG: u32 = 0x10;
    pub const EXTENTS: u32 = 0x40;
    pub const BIT64: u32 = 0x80;
    pub const MMP: u32 = 0x100;
    pub const FLEX_BG: u32 = 0x200;
    pub const EA_INODE: u32 = 0x400;
    pub const CSUM_SEED: u32 = 0x2000;
    pub const LARGEDIR: u32 = 0x4000;
    pub const INLINE_DATA: u32 = 0x8000;
    pub const SUPPORTED: u32 = FILETYPE
        | RECOVER
        | META_BG
        | EXTENTS
        | BIT64
        | MMP
        | FLEX_BG
        | EA_INODE
        | CSUM_SEED
        | LARGEDIR
        | INLINE_DATA;
    /// Names of the bits, for messages.
    pub const NAMES: [(u32, &str); 17] = [
        (0x1, "compression"),
        (FILETYPE, "filetype"),
        (RECOVER, "needs_recovery"),
        (JOURNAL_DEV, "journal_dev"),
        (META_BG, "meta_bg"),
        (EXTENTS, "extent"),
        (BIT64, "64bit"),
        (MMP, "mmp"),
        (FLEX_BG, "flex_bg"),
        (EA_INODE, "ea_inode"),
        (0x1000, "dirdata"),
        (CSUM_SEED, "metadata_csum_seed"),
        (LARGEDIR, "large_dir"),
        (INLINE_DATA, "inline_data"),
        (0x1_0000, "encrypt"),
        (0x2_0000, "casefold"),
        (0x8000_0000, "unknown"),
    ];
}

/// Features that an unaware implementation may mount read-only.
pub(crate) mod ro_compat {
    pub const SPARSE_SUPER: u32 = 0x1;
    pub const LARGE_FILE: u32 = 0x2;
    pub const BTREE_DIR: u32 = 0x4;
    pub const HUGE_FILE: u32 = 0x8;
    pub const GDT_CSUM: u32 = 0x10;
    pub const DIR_NLINK: u32 = 0x20;
    pub const EXTRA_ISIZE: u32 = 0x40;
    pub const BIGALLOC: u32 = 0x200;
    pub const METADATA_CSUM: u32 = 0x400;
    pub const PROJECT: u32 = 0x2000;
    pub const ORPHAN_PRESENT: u32 = 0x1_0000;
    pub const SUPPORTED: u32 = SPARSE_SUPER
        | LARGE_FILE
        | HUGE_FILE
        | GDT_CSUM
        | DIR_NLINK
        | EXTRA_ISIZE
        | METADATA_CSUM
        | PROJECT
        | ORPHAN_PRESENT;
    /// Names of the bits, for messages.
    pub const NAMES: [(u32, &str); 16] = [
        (SPARSE_SUPER, "sparse_super"),
        (LARGE_FILE, "large_file"),
        (BTREE_DIR, "btree_dir"),
        (HUGE_FILE, "huge_file"),
        (GDT_CSUM, "uninit_bg"),
        (DIR_NLINK, "dir_nlink"),
        (EXTRA_ISIZE, "extra_isize"),
        (0x80, "snapshot"),
        (0x100, "quota"),
        (BIGALLOC, "bigalloc"),
        (METADATA_CSUM, "metadata_csum"),
        (0x800, "replica"),
        (0x1000, "read-only"),
        (PROJECT, "project"),
        (0x4000, "shared_blocks"),
        (0x8000, "verity"),
    ];
}

/// Field offsets of the superblock.
pub(crate) mod sb {
    pub const INODES_COUNT: usize = 0x0;
    pub const BLOCKS_COUNT_LO: usize = 0x4;
    pub const R_BLOCKS_LO: usize = 0x8;
    pub const FREE_BLOCKS_LO: usize = 0xc;
    pub const FREE_INODES: usize = 0x10;
    pub const FIRST_DATA_BLOCK: usize = 0x14;
    pub const LOG_BLOCK_SIZE: usize = 0x18;
    pub const LOG_CLUSTER_SIZE: usize = 0x1c;
    pub const BLOCKS_PER_GROUP: usize = 0x20;
    pub const INODES_PER_GROUP: usize = 0x28;
    pub const MTIME: usize = 0x2c;
    pub const WTIME: usize = 0x30;
    pub const MNT_COUNT: usize = 0x34;
    pub const MAGIC: usize = 0x38;
    pub const STATE: usize = 0x3a;
    pub const ERRORS: usize = 0x3c;
    pub const REV_LEVEL: usize = 0x4c;
    pub const FIRST_INO: usize = 0x54;
    pub const INODE_SIZE: usize = 0x58;
    pub const COMPAT: usize = 0x5c;
    pub const INCOMPAT: usize = 0x60;
    pub const RO_COMPAT: usize = 0x64;
    pub const UUID: usize = 0x68;
    pub const VOLUME_NAME: usize = 0x78;
    pub const RESERVED_GDT: usize = 0xce;
    pub const JOURNAL_INUM: usize = 0xe0;
    pub const LAST_ORPHAN: usize = 0xe8;
    pub const HASH_SEED: usize = 0xec;
    pub const DEF_HASH_VERSION: usize = 0xfc;
    pub const DESC_SIZE: usize = 0xfe;
    pub const FIRST_META_BG: usize = 0x104;
    pub const BLOCKS_COUNT_HI: usize = 0x150;
    pub const R_BLOCKS_HI: usize = 0x154;
    pub const FREE_BLOCKS_HI: usize = 0x158;
    pub const WANT_EXTRA_ISIZE: usize = 0x15e;
    pub const FLAGS: usize = 0x160;
    pub const LOG_GROUPS_PER_FLEX: usize = 0x174;
    pub const CHECKSUM_TYPE: usize = 0x175;
    pub const ERROR_COUNT: usize = 0x194;
    pub const FIRST_ERROR_TIME: usize = 0x198;
    pub const LAST_ERROR_TIME: usize = 0x1cc;
    pub const BACKUP_BGS: usize = 0x24c;
    pub const CHECKSUM_SEED: usize = 0x270;
    pub const ORPHAN_FILE_INUM: usize = 0x280;
    pub const CHECKSUM: usize = 0x3fc;
    pub const SIZE: usize = 1024;
    /// `s_magic`.
    pub const MAGIC_VALUE: u16 = 0xef53;
    /// `s_state`: cleanly unmounted.
    pub const STATE_VALID: u16 = 1;
    /// `s_state`: errors were found.
    pub const STATE_ERROR: u16 = 2;
    /// `s_flags`: directory hashes take characters as signed.
    pub const FLAG_SIGNED_HASH: u32 = 1;
    /// `s_flags`: directory hashes take characters as unsigned.
    pub const FLAG_UNSIGNED_HASH: u32 = 2;
}

/// Field offsets and flags of group descriptors.
pub(crate) mod gd {
    pub const BLOCK_BITMAP_LO: usize = 0x0;
    pub const INODE_BITMAP_LO: usize = 0x4;
    pub const INODE_TABLE_LO: usize = 0x8;
    pub const FREE_BLOCKS_LO: usize = 0xc;
    pub const FREE_INODES_LO: usize = 0xe;
    pub const USED_DIRS_LO: usize = 0x10;
    pub const FLAGS: usize = 0x12;
    pub const BLOCK_CSUM_LO: usize = 0x18;
    pub const INODE_CSUM_LO: usize = 0x1a;
    pub const ITABLE_UNUSED_LO: usize = 0x1c;
    pub const CHECKSUM: usize = 0x1e;
    pub const BLOCK_BITMAP_HI: usize = 0x20;
    pub const INODE_BITMAP_HI: usize = 0x24;
    pub const INODE_TABLE_HI: usize = 0x28;
    pub const FREE_BLOCKS_HI: usize = 0x2c;
    pub const FREE_INODES_HI: usize = 0x2e;
    pub const USED_DIRS_HI: usize = 0x30;
    pub const ITABLE_UNUSED_HI: usize = 0x32;
    pub const BLOCK_CSUM_HI: usize = 0x38;
    pub const INODE_CSUM_HI: usize = 0x3a;
    /// Inode table and bitmap are not initialised.
    pub const INODE_UNINIT: u16 = 1;
    /// Block bitmap is not initialised.
    pub const BLOCK_UNINIT: u16 = 2;
}

/// Field offsets of inodes.
pub(crate) mod di {
    pub const MODE: usize = 0x0;
    pub const UID_LO: usize = 0x2;
    pub const SIZE_LO: usize = 0x4;
    pub const ATIME: usize = 0x8;
    pub const CTIME: usize = 0xc;
    pub const MTIME: usize = 0x10;
    pub const DTIME: usize = 0x14;
    pub const GID_LO: usize = 0x18;
    pub const LINKS: usize = 0x1a;
    pub const BLOCKS_LO: usize = 0x1c;
    pub const FLAGS: usize = 0x20;
    pub const VERSION_LO: usize = 0x24;
    pub const BLOCK: usize = 0x28;
    pub const BLOCK_LEN: usize = 60;
    pub const GENERATION: usize = 0x64;
    pub const FILE_ACL_LO: usize = 0x68;
    pub const SIZE_HI: usize = 0x6c;
    pub const BLOCKS_HI: usize = 0x74;
    pub const FILE_ACL_HI: usize = 0x76;
    pub const UID_HI: usize = 0x78;
    pub const GID_HI: usize = 0x7a;
    pub const CHECKSUM_LO: usize = 0x7c;
    pub const EXTRA_ISIZE: usize = 0x80;
    pub const CHECKSUM_HI: usize = 0x82;
    pub const CTIME_EXTRA: usize = 0x84;
    pub const MTIME_EXTRA: usize = 0x88;
    pub const ATIME_EXTRA: usize = 0x8c;
    pub const CRTIME: usize = 0x90;
    pub const CRTIME_EXTRA: usize = 0x94;
    pub const VERSION_HI: usize = 0x98;
    pub const PROJID: usize = 0x9c;
    /// Size of the part every inode has.
    pub const GOOD_OLD_SIZE: usize = 128;
}

/// `i_flags` bits that are not for user space alone (the others are in [`crate::inode_flags`]).
pub(crate) mod iflags {
    pub const HUGE_FILE: u32 = 0x4_0000;
    pub const EA_INODE: u32 = 0x20_0000;
    pub const VERITY: u32 = 0x10_0000;
    pub const ENCRYPT: u32 = 0x800;
    pub const CASEFOLD: u32 = 0x4000_0000;
    /// Flags that a new file takes from its directory.
    pub const INHERITED: u32 =
        0x1 | 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x400 | 0x8000 | 0x1_0000 | 0x2000_0000;
}

/// Inode flags as FS_IOC_GETFLAGS knows them (`FS_*_FL` of linux/fs.h).
pub mod inode_flags {
    /// Writes are synchronous.
    pub const SYNC: u32 = 0x8;
    /// Nothing may change.
    pub const IMMUTABLE: u32 = 0x10;
    /// Only appending.
    pub const APPEND: u32 = 0x20;
    /// Not dumped.
    pub const NODUMP: u32 = 0x40;
    /// Access times stay.
    pub const NOATIME: u32 = 0x80;
    /// Directory uses a hashed index.
    pub const INDEX: u32 = 0x1000;
    /// Directory changes are synchronous.
    pub const DIRSYNC: u32 = 0x1_0000;
    /// Directory is the top of unrelated hierarchies.
    pub const TOPDIR: u32 = 0x2_0000;
    /// File uses extents.
    pub const EXTENTS: u32 = 0x8_0000;
    /// Data in the inode.
    pub const INLINE_DATA: u32 = 0x1000_0000;
    /// New inodes inherit the project id.
    pub const PROJINHERIT: u32 = 0x2000_0000;
    /// What FS_IOC_SETFLAGS may change.
    pub const USER_MODIFIABLE: u32 =
        SYNC | IMMUTABLE | APPEND | NODUMP | NOATIME | DIRSYNC | TOPDIR | PROJINHERIT;
}

/// File types in `i_mode`.
pub(crate) mod mode {
    pub const S_IFMT: u16 = 0o170_000;
    pub const S_IFSOCK: u16 = 0o140_000;
    pub const S_IFLNK: u16 = 0o120_000;
    pub const S_IFREG: u16 = 0o100_000;
    pub const S_IFBLK: u16 = 0o060_000;
    pub const S_IFDIR: u16 = 0o040_000;
    pub const S_IFCHR: u16 = 0o020_000;
    pub const S_IFIFO: u16 = 0o010_000;
}

/// Most links of a non-directory, and of a directory without dir_nlink.
pub(crate) const LINK_MAX: u32 = 65_000;
/// Longest file name.
pub(crate) const NAME_MAX: usize = 255;
