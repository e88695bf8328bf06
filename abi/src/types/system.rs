//! The machine: uname(2), sysinfo(2), the clock chip, disks' geometry, the entropy pool.

uapi! {
    /// uname(2); each field is NUL-terminated.
    struct Utsname = "struct new_utsname", "linux/utsname.h" {
        sysname: [u8; 65],
        nodename: [u8; 65],
        release: [u8; 65],
        version: [u8; 65],
        machine: [u8; 65],
        domainname: [u8; 65],
    }

    /// sysinfo(2)
    struct Sysinfo = "struct sysinfo", "linux/types.h linux/sysinfo.h" {
        uptime: i64,
        loads: [u64; 3],
        totalram: u64,
        freeram: u64,
        sharedram: u64,
        bufferram: u64,
        totalswap: u64,
        freeswap: u64,
        procs: u16,
        pad: u16,
        _pad0: u32,
        totalhigh: u64,
        freehigh: u64,
        mem_unit: u32,
        _pad1: u32,
    }

    /// `RTC_RD_TIME` (rtc(4))
    struct RtcTime = "struct rtc_time", "linux/rtc.h" {
        tm_sec: i32,
        tm_min: i32,
        tm_hour: i32,
        tm_mday: i32,
        tm_mon: i32,
        tm_year: i32,
        tm_wday: i32,
        tm_yday: i32,
        tm_isdst: i32,
    }

    /// `RTC_WKALM_RD` (rtc(4))
    struct RtcWkalrm = "struct rtc_wkalrm", "linux/rtc.h" {
        enabled: u8,
        pending: u8,
        _pad: u16,
        time: RtcTime,
    }

    /// `HDIO_GETGEO`
    struct HdGeometry = "struct hd_geometry", "linux/hdreg.h" {
        heads: u8,
        sectors: u8,
        cylinders: u16,
        _pad: u32,
        start: u64,
    }

    /// The head of `RNDADDENTROPY`'s argument; `buf_size` bytes follow (random(4)).
    struct RandPoolInfo = "struct rand_pool_info", "linux/types.h linux/random.h" {
        entropy_count: i32,
        buf_size: i32,
    }
}

/// The size of a [`Utsname`] field with its NUL.
pub const UTS_LEN: usize = 65;
/// One in the fixed-point numbers of [`Sysinfo::loads`].
pub const SI_LOAD_ONE: u64 = 1 << 16;
