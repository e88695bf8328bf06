//! Argument values by type: mostly plausible, sometimes hostile.
//!
//! Values are symbolic and position-independent: descriptors are the fixed numbers of the prepared world,
//! pointers are offsets into the arena with the bytes to put there first.

use super::Rng;
use super::world::{ARENA, ARENA_SIZE, FIRST_FD, LAST_FD};

/// An argument.
#[derive(Clone)]
pub enum Value {
    /// A number, a descriptor or an address as it is.
    Int(u64),
    /// A pointer into the arena, at an offset, to these bytes.
    Ptr(usize, Vec<u8>),
}

impl Value {
    /// The register's content.
    pub fn raw(&self) -> usize {
        match self {
            Value::Int(n) => *n as usize,
            Value::Ptr(off, _) => ARENA + off,
        }
    }

    /// As a person reads it.
    pub fn describe(&self) -> String {
        match self {
            Value::Int(n) if (*n as i64) < 4096 && (*n as i64) > -4096 => (*n as i64).to_string(),
            Value::Int(n) => format!("{n:#x}"),
            Value::Ptr(off, bytes) => match std::str::from_utf8(bytes) {
                Ok(s) if s.find('\0') == Some(s.len() - 1) => format!("{:?}", &s[..s.len() - 1]),
                _ => format!("arena+{off:#x}[{}]", bytes.len()),
            },
        }
    }
}

const NAMES: &[&str] = &[
    "a",
    "b",
    "file",
    "dir",
    "dir/a",
    "dir/sub",
    "dir/sub/b",
    "link",
    "dangling",
    "fifo",
    "sock",
    "loop",
    "missing/x",
    "file/x",
    "",
    ".",
    "dir/.",
    "dir/",
    "a/",
    "null",
    "/proc/self/status",
    "/proc/self/maps",
    "/proc/self/fd",
    "/proc/self/mem",
    "user.x",
    "tmpfs",
    "name",
];
const SIZES: &[u64] = &[
    0,
    1,
    2,
    7,
    8,
    12,
    16,
    24,
    63,
    64,
    100,
    128,
    255,
    256,
    1024,
    4095,
    4096,
    4097,
    8192,
    65536,
    1 << 20,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 62,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 4095,
    u64::MAX,
];
const SMALL: &[u64] = &[
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 31, 32, 63, 64, 65, 100, 127, 128, 255, 1000,
];
const BAD_ADDRESSES: &[u64] = &[
    0,
    1,
    8,
    4095,
    0x7fff_ffff_f000,
    0x7fff_ffff_ffff,
    0x8000_0000_0000,
    0xdead_beef_0000_0000,
    0xffff_8000_0000_0000,
    0xffff_ffff_8000_0000,
    0xffff_ffff_ffff_f000,
    u64::MAX,
];
const SIGNALS: &[u64] = &[0, 10, 12, 17, 18, 23, 28, 34, 64, 65, u64::MAX];
const OFFSETS: &[u64] = &[
    0,
    1,
    511,
    512,
    4095,
    4096,
    4097,
    65536,
    1 << 20,
    (1 << 31) - 1,
    1 << 32,
    i64::MAX as u64,
    u64::MAX,
    (-4096i64) as u64,
    i64::MIN as u64,
];
const IOCTLS: &[u64] = &[
    0x5401,
    0x5402,
    0x5403,
    0x5404,
    0x5409,
    0x540a,
    0x540b,
    0x540e,
    0x540f,
    0x5410,
    0x5411,
    0x5412,
    0x5413,
    0x5414,
    0x541b,
    0x5420,
    0x5421,
    0x5422,
    0x5424,
    0x5429,
    0x542a,
    0x5450,
    0x5451,
    0x5452,
    0x8004_5430,
    0x4004_5431,
    0x8004_7438,
    0x8008_6601,
    0x8913,
    0x8912,
    0x8915,
    0x1260,
    0x8008_1272,
];

/// A value for parameter `arg` of type `ty` of `call`.
pub fn value(rng: &mut Rng, call: &str, arg: &str, ty: &str) -> Value {
    if let Some(inner) = ty.strip_prefix("UserPtr<") {
        return pointer(rng, inner.trim_end_matches('>'));
    }
    match ty {
        "UserStr" => string(rng),
        "Fd" => Value::Int(descriptor(rng)),
        "DirFd" => Value::Int(if rng.one_in(2) {
            -100i64 as u64
        } else {
            descriptor(rng)
        }),
        "UserAddr" => Value::Int(address(rng)),
        "usize" => Value::Int(size(rng, call)),
        "Pid" | "Tid" => Value::Int(pid(rng, call)),
        "Uid" | "Gid" => Value::Int(rng.pick(&[0, 1, 1000, 65534, u64::MAX, 0xffff_ffff])),
        "Mode" => Value::Int(rng.pick(&[
            0,
            0o600,
            0o644,
            0o755,
            0o777,
            0o7777,
            0o100644,
            0o010600,
            u64::MAX,
        ])),
        "Signal" => Value::Int(rng.pick(SIGNALS)),
        "i64" | "u64" => match rng.pick(OFFSETS) {
            n if call == "fallocate" && (1 << 20..1 << 60).contains(&n) => Value::Int(1 << 20),
            n => Value::Int(n),
        },
        // Not 100 and 101, which take physical pages away from the machine for good.
        "Madvise" => Value::Int(rng.pick(&[
            0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 14, 15, 16, 18, 22, 23, 25, 99,
        ])),
        "AddressFamily" => Value::Int(rng.pick(&[1, 1, 1, 2, 10, 0, 99, u64::MAX])),
        "ClockId" => Value::Int(rng.pick(&[
            0,
            1,
            2,
            3,
            4,
            5,
            6,
            7,
            8,
            9,
            11,
            12,
            99,
            u64::MAX,
            -6i64 as u64,
        ])),
        "IoctlCmd" => Value::Int(rng.pick(IOCTLS)),
        "OpenFlags" => Value::Int(open_flags(rng)),
        "MmapProt" => Value::Int(rng.pick(&[0, 1, 3, 3, 3, 5, 7, 8, 0x100_0000])),
        "MmapFlags" => Value::Int(mmap_flags(rng)),
        "SchedPolicy" => Value::Int(rng.pick(&[0, 3, 5, 7, 99, u64::MAX])),
        "i32" | "u32" => Value::Int(integer(rng, arg)),
        _ => Value::Int(flags(rng)),
    }
}

fn descriptor(rng: &mut Rng) -> u64 {
    match rng.below(20) {
        0 => u64::MAX,
        1 => 999,
        2 => -100i64 as u64,
        3..=6 => rng.below(10) as u64,
        _ => (FIRST_FD + rng.below((LAST_FD - FIRST_FD) as usize + 1) as i32) as u64,
    }
}

fn address(rng: &mut Rng) -> u64 {
    if rng.one_in(8) {
        return rng.pick(BAD_ADDRESSES);
    }
    let page = rng.below(ARENA_SIZE / 4096) as u64 * 4096;
    ARENA as u64
        + page
        + if rng.one_in(10) {
            rng.below(4096) as u64
        } else {
            0
        }
}

fn size(rng: &mut Rng, call: &str) -> u64 {
    let n = rng.pick(SIZES);
    // Memory and disk of the machine are not the fuzzer's to fill: between a megabyte and nonsense there
    // is nothing for calls that would really allocate.
    let allocates = [
        "mmap",
        "mremap",
        "shmget",
        "fallocate",
        "ftruncate",
        "memfd_create",
        "mlock",
    ];
    if allocates.contains(&call) && (1 << 20..1 << 60).contains(&n) {
        4096
    } else {
        n
    }
}

fn pid(rng: &mut Rng, call: &str) -> u64 {
    // 0 is the caller (for kill: its process group, which is its own). -1 as a target would be everybody.
    let all = [0, 0, 0, 1 << 22, 0x7fff_ffff, (-(1i64 << 22)) as u64];
    let n = rng.pick(&all);
    if ["wait4", "waitid"].contains(&call) && rng.one_in(2) {
        u64::MAX
    } else {
        n
    }
}

fn open_flags(rng: &mut Rng) -> u64 {
    let mut f = rng.below(4) as u64;
    for bit in [
        0o100, 0o200, 0o400, 0o1000, 0o2000, 0o4000, 0o200000, 0o400000, 0o2000000, 0o10000000,
    ] {
        if rng.one_in(5) {
            f |= bit;
        }
    }
    f
}

fn mmap_flags(rng: &mut Rng) -> u64 {
    let mut f = rng.pick(&[1u64, 2, 2, 2, 3, 0]);
    for (bit, chance) in [
        (0x20, 2),
        (0x10, 4),
        (0x8000, 12),
        (0x100, 16),
        (0x10_0000, 12),
        (0x40, 20),
    ] {
        if rng.one_in(chance) {
            f |= bit;
        }
    }
    f
}

fn integer(rng: &mut Rng, arg: &str) -> u64 {
    match rng.below(10) {
        0 => u64::MAX,
        1 => 1 << rng.below(32),
        2 => 0x7fff_ffff,
        3 if arg.contains("timeout") => 20,
        _ if arg.contains("timeout") => rng.below(5) as u64,
        _ => rng.pick(SMALL),
    }
}

fn flags(rng: &mut Rng) -> u64 {
    match rng.below(8) {
        0 | 1 => 0,
        2 => u64::MAX,
        3 => 1 << rng.below(32),
        4 => 1 << rng.below(8) | 1 << rng.below(32),
        _ => rng.pick(SMALL),
    }
}

fn string(rng: &mut Rng) -> Value {
    if rng.one_in(20) {
        return Value::Int(rng.pick(BAD_ADDRESSES));
    }
    let mut s = match rng.below(40) {
        0 => "n".repeat(256),
        1 => "d/".repeat(2100),
        _ => rng.pick(NAMES).to_string(),
    };
    s.push('\0');
    Value::Ptr(place(rng, s.len()), s.into_bytes())
}

/// An offset in the arena for `len` bytes: mostly anywhere, sometimes up against its end.
fn place(rng: &mut Rng, len: usize) -> usize {
    let room = ARENA_SIZE.saturating_sub(len);
    if rng.one_in(16) {
        room
    } else {
        rng.below(room / 8) * 8
    }
}

fn pointer(rng: &mut Rng, ty: &str) -> Value {
    match rng.below(16) {
        0 | 1 => return Value::Int(0),
        2 => return Value::Int(rng.pick(BAD_ADDRESSES)),
        // The last bytes of the arena: a structure that runs into unmapped memory.
        3 => return Value::Int((ARENA + ARENA_SIZE - 4) as u64),
        _ => {}
    }
    let bytes = content(rng, ty);
    Value::Ptr(place(rng, bytes.len()), bytes)
}

fn words(items: &[u64]) -> Vec<u8> {
    items.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

fn inner_address(rng: &mut Rng) -> u64 {
    if rng.one_in(12) {
        rng.pick(BAD_ADDRESSES)
    } else {
        (ARENA + rng.below(ARENA_SIZE / 16) * 8) as u64
    }
}

fn content(rng: &mut Rng, ty: &str) -> Vec<u8> {
    match ty {
        "Timespec" | "Timeval" | "Itimerspec" | "Itimerval" => {
            let nsec = |rng: &mut Rng| {
                rng.pick(&[0, 1, 1000, 2_000_000, 999_999, 1_000_000_000, u64::MAX])
            };
            words(&[0, nsec(rng), rng.pick(&[0, 0, u64::MAX]), nsec(rng)])
        }
        "Iovec" => {
            let parts = (0..8).flat_map(|_| {
                [
                    inner_address(rng),
                    rng.pick(&[0, 1, 8, 100, 4096, u64::MAX]),
                ]
            });
            words(&parts.collect::<Vec<_>>())
        }
        "Msghdr" | "Mmsghdr" => {
            let (name, iov, control) = (inner_address(rng), inner_address(rng), inner_address(rng));
            let n = rng.below(3) as u64;
            words(&[
                name,
                rng.pick(&[0, 2, 16, 110]),
                iov,
                n,
                control,
                rng.pick(&[0, 16, 24, 64]),
                0,
                0,
            ])
        }
        "Sockaddr" => {
            // Internet addresses are the loopback's: nothing leaves the machine.
            let mut a = match rng.below(5) {
                0 => vec![2, 0, 0x75, rng.below(4) as u8, 127, 0, 0, 1],
                1 => [vec![10, 0, 0x75, rng.below(4) as u8], vec![0; 19], vec![1]].concat(),
                2 => vec![99, 0],
                _ => [&[1, 0], rng.pick(&["sock", "\0abstract", "a"]).as_bytes()].concat(),
            };
            a.resize(128, 0);
            a
        }
        "Pollfd" => {
            let item =
                |rng: &mut Rng| descriptor(rng) & 0xffff_ffff | rng.bits() << 32 & 0xffff_0000_0000;
            words(&(0..8).map(|_| item(rng)).collect::<Vec<_>>())
        }
        "Flock" => words(&[rng.below(4) as u64, rng.pick(OFFSETS), rng.pick(OFFSETS), 0]),
        "SigSet" => words(&[rng.bits() & rng.bits() & !(1 << 13)]),
        "Rlimit" => words(&[
            rng.pick(&[0, 64, 1 << 20, u64::MAX]),
            rng.pick(&[64, 1 << 20, u64::MAX]),
        ]),
        _ => (0..rng.pick(&[8usize, 16, 64, 256]))
            .map(|i| match rng.below(6) {
                0 => rng.bits() as u8,
                1 => 0xff,
                _ if i % 8 == 0 => rng.below(32) as u8,
                _ => 0,
            })
            .collect(),
    }
}
