//! Numbers that name things: descriptors, processes, users, keys, and file modes.

use super::{FromReg, IntoReg};
use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($repr:ident)) => {
        $(#[$doc])*
        #[derive(Copy, Clone, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
        #[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
        #[repr(transparent)]
        pub struct $name(pub $repr);

        impl FromReg for $name {
            fn from_reg(raw: u64) -> Self {
                $name(raw as $repr)
            }
        }

        impl IntoReg for $name {
            fn into_reg(self) -> u64 {
                self.0 as u64
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id!(
    /// A file descriptor. Valid ones are not negative.
    Fd(i32)
);
id!(
    /// A descriptor that relative paths start from, or [`DirFd::CWD`].
    DirFd(i32)
);
id!(
    /// A process (thread-group), process-group or session number. As an argument it may be zero or
    /// negative where the call gives that a meaning (kill(2), wait4(2)).
    Pid(i32)
);
id!(
    /// A thread number.
    Tid(i32)
);
id!(
    /// A user number. [`Uid::UNCHANGED`] means "leave as it is" in chown(2), setresuid(2) and others.
    Uid(u32)
);
id!(
    /// A group number. [`Gid::UNCHANGED`] means "leave as it is".
    Gid(u32)
);
id!(
    /// A System V IPC key; [`IpcKey::PRIVATE`] always makes a new object.
    IpcKey(i32)
);
id!(
    /// The serial number of a key or keyring (keyrings(7)); small negative ones name special keyrings.
    KeySerial(i32)
);

/// The directory "descriptor" that stands for the working directory.
pub const AT_FDCWD: i32 = -100;

impl DirFd {
    /// The working directory, `AT_FDCWD`.
    pub const CWD: DirFd = DirFd(AT_FDCWD);

    /// The descriptor, or `None` for the working directory.
    pub const fn fd(self) -> Option<Fd> {
        if self.0 == AT_FDCWD {
            None
        } else {
            Some(Fd(self.0))
        }
    }
}

impl From<Fd> for DirFd {
    fn from(fd: Fd) -> DirFd {
        DirFd(fd.0)
    }
}

impl Pid {
    /// The thread number of the process's main thread.
    pub const fn leader(self) -> Tid {
        Tid(self.0)
    }
}

impl Tid {
    /// The same number in the process number space.
    pub const fn as_pid(self) -> Pid {
        Pid(self.0)
    }
}

impl Uid {
    /// The superuser.
    pub const ROOT: Uid = Uid(0);
    /// `(uid_t)-1`: do not change.
    pub const UNCHANGED: Uid = Uid(u32::MAX);
    /// What a user number without a mapping reads as (`/proc/sys/kernel/overflowuid`).
    pub const OVERFLOW: Uid = Uid(65534);
}

impl Gid {
    /// The superuser's group.
    pub const ROOT: Gid = Gid(0);
    /// `(gid_t)-1`: do not change.
    pub const UNCHANGED: Gid = Gid(u32::MAX);
    /// What a group number without a mapping reads as (`/proc/sys/kernel/overflowgid`).
    pub const OVERFLOW: Gid = Gid(65534);
}

impl IpcKey {
    /// `IPC_PRIVATE`.
    pub const PRIVATE: IpcKey = IpcKey(0);
}

id!(
    /// File type and permission bits, `umode_t` (inode(7)). As an argument, the low 16 bits.
    Mode(u16)
);

impl Mode {
    /// The mask of the file type.
    pub const S_IFMT: Mode = Mode(0o170000);
    /// Socket.
    pub const S_IFSOCK: Mode = Mode(0o140000);
    /// Symbolic link.
    pub const S_IFLNK: Mode = Mode(0o120000);
    /// Regular file.
    pub const S_IFREG: Mode = Mode(0o100000);
    /// Block device.
    pub const S_IFBLK: Mode = Mode(0o060000);
    /// Directory.
    pub const S_IFDIR: Mode = Mode(0o040000);
    /// Character device.
    pub const S_IFCHR: Mode = Mode(0o020000);
    /// Pipe.
    pub const S_IFIFO: Mode = Mode(0o010000);
    /// Set-user-ID.
    pub const S_ISUID: Mode = Mode(0o4000);
    /// Set-group-ID.
    pub const S_ISGID: Mode = Mode(0o2000);
    /// Sticky.
    pub const S_ISVTX: Mode = Mode(0o1000);
    /// Everything for the owner.
    pub const S_IRWXU: Mode = Mode(0o700);
    /// Read for the owner.
    pub const S_IRUSR: Mode = Mode(0o400);
    /// Write for the owner.
    pub const S_IWUSR: Mode = Mode(0o200);
    /// Execute for the owner.
    pub const S_IXUSR: Mode = Mode(0o100);
    /// Everything for the group.
    pub const S_IRWXG: Mode = Mode(0o070);
    /// Read for the group.
    pub const S_IRGRP: Mode = Mode(0o040);
    /// Write for the group.
    pub const S_IWGRP: Mode = Mode(0o020);
    /// Execute for the group.
    pub const S_IXGRP: Mode = Mode(0o010);
    /// Everything for others.
    pub const S_IRWXO: Mode = Mode(0o007);
    /// Read for others.
    pub const S_IROTH: Mode = Mode(0o004);
    /// Write for others.
    pub const S_IWOTH: Mode = Mode(0o002);
    /// Execute for others.
    pub const S_IXOTH: Mode = Mode(0o001);
    /// All permission bits with set-ID and sticky (`S_IALLUGO`).
    pub const PERMISSIONS: Mode = Mode(0o7777);

    /// A mode of a type with the permission bits of `perm`.
    pub const fn new(ty: FileType, perm: u16) -> Mode {
        Mode(ty as u16 | perm & Mode::PERMISSIONS.0)
    }

    /// The file type; `None` if the bits name none (mknod(2) takes zero for a regular file).
    pub const fn file_type(self) -> Option<FileType> {
        FileType::from_mode(self)
    }

    /// The permission, set-ID and sticky bits.
    pub const fn permissions(self) -> Mode {
        Mode(self.0 & Mode::PERMISSIONS.0)
    }

    /// The same type with other permission bits.
    pub const fn with_permissions(self, perm: Mode) -> Mode {
        Mode(self.0 & Mode::S_IFMT.0 | perm.0 & Mode::PERMISSIONS.0)
    }

    /// Without the bits of `mask`: what a umask does.
    pub const fn without(self, mask: Mode) -> Mode {
        Mode(self.0 & !mask.0)
    }

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Mode) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    pub const fn intersects(self, other: Mode) -> bool {
        self.0 & other.0 != 0
    }
}

impl core::ops::BitOr for Mode {
    type Output = Mode;
    fn bitor(self, other: Mode) -> Mode {
        Mode(self.0 | other.0)
    }
}

impl core::ops::BitAnd for Mode {
    type Output = Mode;
    fn bitand(self, other: Mode) -> Mode {
        Mode(self.0 & other.0)
    }
}

/// What kind of file an inode is; the discriminant is the type's bits in [`Mode`].
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
#[repr(u16)]
pub enum FileType {
    /// `S_IFIFO`
    Fifo = 0o010000,
    /// `S_IFCHR`
    CharDevice = 0o020000,
    /// `S_IFDIR`
    Directory = 0o040000,
    /// `S_IFBLK`
    BlockDevice = 0o060000,
    /// `S_IFREG`
    Regular = 0o100000,
    /// `S_IFLNK`
    Symlink = 0o120000,
    /// `S_IFSOCK`
    Socket = 0o140000,
}

impl FileType {
    /// The type that the bits of a mode name.
    pub const fn from_mode(mode: Mode) -> Option<FileType> {
        Some(match mode.0 & Mode::S_IFMT.0 {
            0o010000 => FileType::Fifo,
            0o020000 => FileType::CharDevice,
            0o040000 => FileType::Directory,
            0o060000 => FileType::BlockDevice,
            0o100000 => FileType::Regular,
            0o120000 => FileType::Symlink,
            0o140000 => FileType::Socket,
            _ => return None,
        })
    }

    /// The bits in a mode.
    pub const fn mode(self) -> Mode {
        Mode(self as u16)
    }

    /// The `DT_*` value of a directory entry (getdents(2)).
    pub const fn d_type(self) -> u8 {
        (self as u16 >> 12) as u8
    }

    /// The type of a `DT_*` value.
    pub const fn from_d_type(d_type: u8) -> Option<FileType> {
        FileType::from_mode(Mode((d_type as u16) << 12))
    }
}
