//! What a program finds when it starts: files, descriptors at fixed numbers, an arena of memory.
//!
//! Nothing in it leads out of the program's own directory. Device nodes are made inside it, so that a
//! change of mode or owner does not reach the machine's; where nodes cannot be made, files stand in.

use crate::prelude::*;

/// Address of the arena.
pub const ARENA: usize = 0x10_0000_0000;
/// Its length; the page behind it is not mapped.
pub const ARENA_SIZE: usize = 1 << 20;
/// First of the prepared descriptors.
pub const FIRST_FD: i32 = 20;
/// Last of them.
pub const LAST_FD: i32 = 41;

/// Makes the world in the current directory, which is empty.
pub fn build() {
    let rw = PROT_READ | PROT_WRITE;
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    sc!(mmap, ARENA, ARENA_SIZE, rw, flags, -1, 0).is(ARENA as i64);
    put("file", b"0123456789abcdef".repeat(1000));
    put("a", b"");
    dir("dir");
    dir("dir/sub");
    put("dir/a", b"in dir");
    let _ = sc!(symlink, c"file", c"link");
    let _ = sc!(symlink, c"nowhere", c"dangling");
    let _ = sc!(symlink, c"loop", c"loop");
    let _ = sc!(mknod, c"fifo", S_IFIFO | 0o666, 0);
    if !sc!(mknod, c"null", S_IFCHR | 0o666, makedev(1, 3)).success() {
        put("null", b"");
    }
    let _ = sc!(mknod, c"zero", S_IFCHR | 0o666, makedev(1, 5));
    let mut next = FIRST_FD;
    let mut keep = |r: Ret| {
        if r.success() {
            let _ = sc!(dup2, r.fd(), next);
            let _ = sc!(close, r.fd());
        }
        next += 1;
    };
    let at = |name: &str, flags: i32| sc!(openat, AT_FDCWD, cstr(name), flags, 0o644);
    keep(at("file", O_RDWR));
    keep(at("file", O_RDONLY));
    keep(at("b", O_RDWR | O_CREAT | O_APPEND));
    keep(at(".", O_RDONLY | O_DIRECTORY));
    keep(at("dir", O_PATH));
    keep(at("null", O_RDWR));
    keep(at("zero", O_RDWR));
    keep(at("fifo", O_RDWR | O_NONBLOCK));
    keep(sc!(eventfd2, 3, EFD_NONBLOCK));
    keep(sc!(timerfd_create, CLOCK_MONOTONIC, TFD_NONBLOCK));
    keep(sc!(epoll_create1, 0));
    keep(sc!(inotify_init1, O_NONBLOCK));
    keep(sc!(memfd_create, c"m", MFD_ALLOW_SEALING));
    keep(sc!(signalfd4, -1, [bit(SIGUSR2)], 8, SFD_NONBLOCK));
    keep(sc!(socket, AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    keep(sc!(socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    keep(terminal());
    keep(sc!(pidfd_open, getpid(), 0));
    let mut ends = [-1i32; 2];
    if sc!(pipe2, &mut ends, O_NONBLOCK).success() {
        let _ = (
            sc!(dup2, ends[0], next_pair(0)),
            sc!(dup2, ends[1], next_pair(1)),
        );
        let _ = (sc!(close, ends[0]), sc!(close, ends[1]));
    }
    if sc!(
        socketpair,
        AF_UNIX,
        SOCK_STREAM | SOCK_NONBLOCK,
        0,
        &mut ends
    )
    .success()
    {
        let _ = (
            sc!(dup2, ends[0], next_pair(2)),
            sc!(dup2, ends[1], next_pair(3)),
        );
        let _ = (sc!(close, ends[0]), sc!(close, ends[1]));
    }
    // Standard descriptors of its own: the machine's null device must keep its mode.
    for fd in 0..3 {
        let _ = sc!(dup2, FIRST_FD, fd);
    }
}

/// The slave of a new pseudo-terminal. The master stays out of reach: its node belongs to the machine.
fn terminal() -> Ret {
    let m = sc!(
        openat,
        AT_FDCWD,
        c"/dev/ptmx",
        O_RDWR | O_NOCTTY | O_CLOEXEC,
        0
    );
    if !m.success() {
        return m;
    }
    let high = sc!(fcntl, m.fd(), F_DUPFD_CLOEXEC, 150);
    let _ = sc!(close, m.fd());
    let zero = 0i32;
    let _ = sc!(ioctl, high.fd(), TIOCSPTLCK, &raw const zero);
    sc!(
        ioctl,
        high.fd(),
        TIOCGPTPEER,
        O_RDWR | O_NOCTTY | O_NONBLOCK
    )
}

/// The numbers of the two pairs, at the end of the range.
fn next_pair(n: i32) -> i32 {
    LAST_FD - 3 + n
}
