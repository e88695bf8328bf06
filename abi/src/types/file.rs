//! Files and file systems: stat(2), statx(2), statfs(2), fcntl(2), getdents(2), openat2(2).

use crate::args::{Gid, Pid, Uid, UserPtr};

uapi! {
    /// stat(2)
    struct Stat = "struct stat", "asm/stat.h" {
        st_dev: u64,
        st_ino: u64,
        st_nlink: u64,
        st_mode: u32,
        st_uid: Uid,
        st_gid: Gid,
        _pad0: u32,
        st_rdev: u64,
        st_size: i64,
        st_blksize: i64,
        st_blocks: i64,
        st_atime: i64,
        st_atime_nsec: u64,
        st_mtime: i64,
        st_mtime_nsec: u64,
        st_ctime: i64,
        st_ctime_nsec: u64,
        _unused: [i64; 3],
    }

    /// A point in time in [`Statx`].
    struct StatxTimestamp = "struct statx_timestamp", "linux/stat.h" {
        tv_sec: i64,
        tv_nsec: u32,
        _reserved: i32,
    }

    /// statx(2)
    struct Statx = "struct statx", "linux/stat.h" {
        stx_mask: u32,
        stx_blksize: u32,
        stx_attributes: u64,
        stx_nlink: u32,
        stx_uid: Uid,
        stx_gid: Gid,
        stx_mode: u16,
        _spare0: u16,
        stx_ino: u64,
        stx_size: u64,
        stx_blocks: u64,
        stx_attributes_mask: u64,
        stx_atime: StatxTimestamp,
        stx_btime: StatxTimestamp,
        stx_ctime: StatxTimestamp,
        stx_mtime: StatxTimestamp,
        stx_rdev_major: u32,
        stx_rdev_minor: u32,
        stx_dev_major: u32,
        stx_dev_minor: u32,
        stx_mnt_id: u64,
        stx_dio_mem_align: u32,
        stx_dio_offset_align: u32,
        stx_subvol: u64 = "",
        stx_atomic_write_unit_min: u32 = "",
        stx_atomic_write_unit_max: u32 = "",
        stx_atomic_write_segments_max: u32 = "",
        stx_dio_read_offset_align: u32 = "",
        stx_atomic_write_unit_max_opt: u32 = "",
        _spare2: u32,
        _spare3: [u64; 8],
    }

    /// statfs(2)
    struct Statfs = "struct statfs", "linux/types.h asm/statfs.h" {
        f_type: i64,
        f_bsize: i64,
        f_blocks: u64,
        f_bfree: u64,
        f_bavail: u64,
        f_files: u64,
        f_ffree: u64,
        f_fsid: [i32; 2],
        f_namelen: i64,
        f_frsize: i64,
        f_flags: i64,
        f_spare: [i64; 4],
    }

    /// ustat(2)
    struct Ustat = "", "" {
        f_tfree: i32,
        _pad: u32,
        f_tinode: u64,
        f_fname: [u8; 6],
        f_fpack: [u8; 6],
        _pad1: u32,
    }

    /// A record lock (fcntl(2), "Advisory record locking").
    struct Flock = "struct flock", "linux/fcntl.h" {
        l_type: i16,
        l_whence: i16,
        _pad: u32,
        l_start: i64,
        l_len: i64,
        l_pid: Pid,
        _pad1: u32,
    }

    /// Who gets a file's signals (`F_SETOWN_EX`).
    struct FOwnerEx = "struct f_owner_ex", "linux/fcntl.h" {
        r#type: i32,
        pid: Pid,
    }

    /// openat2(2)
    struct OpenHow = "struct open_how", "linux/openat2.h" {
        flags: u64,
        mode: u64,
        resolve: u64,
    }

    /// One segment of a vector (readv(2)).
    struct Iovec = "struct iovec", "linux/uio.h" {
        iov_base: UserPtr<u8>,
        iov_len: usize,
    }

    /// The head of a handle; `handle_bytes` bytes follow (name_to_handle_at(2)).
    struct FileHandle = "struct file_handle", "fcntl.h" {
        handle_bytes: u32,
        handle_type: i32,
    }

    /// setxattrat(2)
    struct XattrArgs = "", "" {
        value: u64,
        size: u32,
        flags: u32,
    }

    /// file_getattr(2)
    struct FileAttr = "", "" {
        fa_xflags: u64,
        fa_extsize: u32,
        fa_nextents: u32,
        fa_projid: u32,
        fa_cowextsize: u32,
    }

    /// `FS_IOC_FSGETXATTR`
    struct Fsxattr = "struct fsxattr", "linux/fs.h" {
        fsx_xflags: u32,
        fsx_extsize: u32,
        fsx_nextents: u32,
        fsx_projid: u32,
        fsx_cowextsize: u32,
        fsx_pad: [u8; 8],
    }

    /// `FICLONERANGE`
    struct FileCloneRange = "struct file_clone_range", "linux/fs.h" {
        src_fd: i64,
        src_offset: u64,
        src_length: u64,
        dest_offset: u64,
    }

    /// `FITRIM`
    struct FstrimRange = "struct fstrim_range", "linux/fs.h" {
        start: u64,
        len: u64,
        minlen: u64,
    }

    /// The head of `FS_IOC_FIEMAP`'s argument; extents follow.
    struct Fiemap = "struct fiemap", "linux/fiemap.h" {
        fm_start: u64,
        fm_length: u64,
        fm_flags: u32,
        fm_mapped_extents: u32,
        fm_extent_count: u32,
        fm_reserved: u32,
    }

    /// One extent of a file (`FS_IOC_FIEMAP`).
    struct FiemapExtent = "struct fiemap_extent", "linux/fiemap.h" {
        fe_logical: u64,
        fe_physical: u64,
        fe_length: u64,
        fe_reserved64: [u64; 2],
        fe_flags: u32,
        fe_reserved: [u32; 3],
    }

    /// The range of cachestat(2); a length of zero reaches to the end.
    struct CachestatRange = "", "" {
        off: u64,
        len: u64,
    }

    /// cachestat(2), counted in pages.
    struct Cachestat = "", "" {
        nr_cache: u64,
        nr_dirty: u64,
        nr_writeback: u64,
        nr_evicted: u64,
        nr_recently_evicted: u64,
    }

    /// The head of a getdents64(2) record. The NUL-terminated name follows; the next record starts at the
    /// next multiple of eight.
    #[repr(packed)]
    struct LinuxDirent64 = "", "" {
        d_ino: u64,
        d_off: i64,
        d_reclen: u16,
        d_type: u8,
    }

    /// The head of an old getdents(2) record. The name follows; the type is the record's last byte.
    #[repr(packed)]
    struct LinuxDirent = "", "" {
        d_ino: u64,
        d_off: u64,
        d_reclen: u16,
    }
}

/// The longest path with its NUL (`PATH_MAX`).
pub const PATH_MAX: usize = 4096;
/// The longest name of a directory entry (`NAME_MAX`).
pub const NAME_MAX: usize = 255;
/// The most segments of a vector (`UIO_MAXIOV`).
pub const UIO_MAXIOV: usize = 1024;
/// The most bytes that one read or write moves (`MAX_RW_COUNT`).
pub const MAX_RW_COUNT: usize = 0x7fff_f000;
/// `UTIME_NOW` in `tv_nsec` of utimensat(2): the present time.
pub const UTIME_NOW: i64 = 0x3fff_ffff;
/// `UTIME_OMIT` in `tv_nsec` of utimensat(2): leave as it is.
pub const UTIME_OMIT: i64 = 0x3fff_fffe;

/// A device number as stat(2) and mknod(2) pass it in 32 bits: minor's low byte, major, minor's rest.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Dev {
    /// 12 bits.
    pub major: u32,
    /// 20 bits.
    pub minor: u32,
}

impl Dev {
    /// A number from its parts, which lose bits beyond 12 and 20.
    pub const fn new(major: u32, minor: u32) -> Dev {
        Dev {
            major: major & 0xfff,
            minor: minor & 0xf_ffff,
        }
    }

    /// From the encoding of mknod(2).
    pub const fn decode(raw: u32) -> Dev {
        Dev {
            major: raw >> 8 & 0xfff,
            minor: raw & 0xff | raw >> 12 & 0xf_ff00,
        }
    }

    /// To the encoding of `st_dev` and `st_rdev`.
    pub const fn encode(self) -> u64 {
        (self.minor & 0xff | (self.major & 0xfff) << 8 | (self.minor & 0xf_ff00) << 12) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive_their_encoding() {
        assert_eq!(Dev::new(8, 1).encode(), 0x801);
        assert_eq!(Dev::new(254, 300).encode(), 0x10_fe2c);
        for dev in [
            Dev::new(0, 0),
            Dev::new(4, 64),
            Dev::new(0xfff, 0xf_ffff),
            Dev::new(259, 256),
        ] {
            assert_eq!(Dev::decode(u32::try_from(dev.encode()).unwrap()), dev);
        }
    }
}
