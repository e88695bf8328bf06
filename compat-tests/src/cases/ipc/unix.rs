//! AF_UNIX: unix(7).

use crate::prelude::*;

/// sockaddr_un of `path` (abstract when it begins with '@') and its length.
fn addr(path: &str) -> ([u8; 110], usize) {
    let mut a = [0u8; 110];
    a[0] = AF_UNIX as u8;
    a[2..2 + path.len()].copy_from_slice(path.as_bytes());
    let hidden = path.starts_with('@');
    if hidden {
        a[2] = 0;
    }
    (a, 2 + path.len() + usize::from(!hidden))
}

fn sock(kind: i32) -> i32 {
    sc!(socket, AF_UNIX, kind, 0).fd()
}

fn bind(fd: i32, path: &str) -> Ret {
    let (a, len) = addr(path);
    sc!(bind, fd, &a, len)
}

fn connect(fd: i32, path: &str) -> Ret {
    let (a, len) = addr(path);
    sc!(connect, fd, &a, len)
}

fn listening(path: &str) -> i32 {
    let s = sock(SOCK_STREAM);
    bind(s, path).is(0);
    sc!(listen, s, 4).is(0);
    s
}

/// A message header over one buffer and a control area.
fn header(iov: &[usize; 2], control: &[u8]) -> [usize; 7] {
    [0, 0, iov.raw(), 1, control.raw(), control.len(), 0]
}

/// A control message.
fn cmsg(kind: i32, data: &[u8]) -> Vec<u8> {
    let mut c = (16 + data.len()).to_ne_bytes().to_vec();
    c.extend_from_slice(&SOL_SOCKET.to_ne_bytes());
    c.extend_from_slice(&kind.to_ne_bytes());
    c.extend_from_slice(data);
    c.resize(c.len().next_multiple_of(8), 0);
    c
}

fn send_fds(via: i32, fds: &[i32]) -> Ret {
    let data: Vec<u8> = fds.iter().flat_map(|f| f.to_ne_bytes()).collect();
    let control = cmsg(SCM_RIGHTS, &data);
    let body = b"f";
    let iov = [body.raw(), 1];
    sc!(sendmsg, via, header(&iov, &control), 0)
}

/// Bytes received, control area, and the flags of the header.
fn receive(via: i32, room: usize, flags: i32) -> (Ret, Vec<u8>, i32) {
    let mut body = vec![0u8; 16];
    let iov = [body.as_mut_ptr().raw(), 16];
    let mut control = vec![0u8; room];
    let mut h = header(&iov, &control);
    let r = sc!(recvmsg, via, &mut h, flags);
    control.truncate(h[5]);
    (r, control, h[6] as i32)
}

fn fds_of(control: &[u8]) -> Vec<i32> {
    let len = from_bytes::<usize>(control);
    assert_eq!(from_bytes::<i32>(&control[12..]), SCM_RIGHTS);
    control[16..len].chunks(4).map(from_bytes).collect()
}

pub static CASES: &[Case] = &[
    case!("bind connect accept", "stream_by_path", || {
        let s = listening("s");
        assert_eq!(lstat("s").st_mode & S_IFMT, S_IFSOCK);
        let c = sock(SOCK_STREAM);
        connect(c, "s").is(0);
        let a = sc!(accept, s, 0, 0).fd();
        write_all(c, b"hi");
        assert_eq!(read_some(a, 8), b"hi");
    }),
    case!("bind connect", "abstract_names_leave_no_file", || {
        let name = format!("@keel-{}", getpid());
        let s = listening(&name);
        connect(sock(SOCK_STREAM), &name).is(0);
        assert_eq!(std::fs::read_dir(".").map(Iterator::count).unwrap_or(9), 0);
        close(s);
        connect(sock(SOCK_STREAM), &name).err(ECONNREFUSED);
    }),
    case!("bind", "autobind_gives_five_hex_digits", || {
        let s = sock(SOCK_STREAM);
        sc!(bind, s, [1u8, 0], 2).is(0);
        let mut a = [0u8; 110];
        let mut len = 110u32;
        sc!(getsockname, s, &mut a, &raw mut len).is(0);
        assert_eq!(*std::hint::black_box(&mut len), 8);
        assert!(a[2] == 0 && a[3..8].iter().all(u8::is_ascii_hexdigit));
    }),
    case!("bind", "errors", || {
        put("f", b"");
        let s = sock(SOCK_STREAM);
        bind(s, "f").err(EADDRINUSE);
        bind(s, "none/s").err(ENOENT);
        bind(s, "f/s").err(ENOTDIR);
        sc!(bind, s, [1u8, 0, b'x'], 200).err(EINVAL);
        sc!(bind, s, [2u8, 0, b'x'], 3).err(EINVAL);
        bind(s, "s").is(0);
        bind(s, "t").err(EINVAL);
    }),
    case!("connect", "errors", || {
        put("f", b"");
        connect(sock(SOCK_STREAM), "none").err(ENOENT);
        connect(sock(SOCK_STREAM), "f").err(ECONNREFUSED);
        let s = sock(SOCK_STREAM);
        bind(s, "s").is(0);
        connect(sock(SOCK_STREAM), "s").err(ECONNREFUSED);
        sc!(listen, s, 1).is(0);
        connect(sock(SOCK_DGRAM), "s").err(EPROTOTYPE);
        let c = sock(SOCK_STREAM);
        connect(c, "s").is(0);
        connect(c, "s").err(EISCONN);
    }),
    case!("connect", "needs_write_permission_on_the_socket", || {
        let _s = listening("s");
        sc!(chmod, c"s", 0o700).is(0);
        as_nobody(|| connect(sock(SOCK_STREAM), "s").err(EACCES));
    }),
    case!("listen connect", "full_backlog_blocks_or_is_eagain", || {
        let s = sock(SOCK_STREAM);
        bind(s, "s").is(0);
        sc!(listen, s, 0).is(0);
        connect(sock(SOCK_STREAM), "s").is(0);
        let c = sock(SOCK_STREAM | SOCK_NONBLOCK);
        connect(c, "s").err(EAGAIN);
        sc!(accept, s, 0, 0).ok();
        connect(c, "s").is(0);
    }),
    case!("accept", "peer_address_of_unbound_client", || {
        let s = listening("s");
        connect(sock(SOCK_STREAM), "s").is(0);
        let mut a = [9u8; 110];
        let mut len = 110u32;
        sc!(accept, s, &mut a, &raw mut len).ok();
        assert_eq!((*std::hint::black_box(&mut len), a[0]), (2, 1));
    }),
    case!("getsockname getpeername", "path_comes_back", || {
        let s = listening("s");
        let c = sock(SOCK_STREAM);
        connect(c, "s").is(0);
        let mut a = [0u8; 110];
        let mut len = 110u32;
        sc!(getpeername, c, &mut a, &raw mut len).is(0);
        assert_eq!(
            (*std::hint::black_box(&mut len), &a[2..4]),
            (4, &b"s\0"[..])
        );
        sc!(getpeername, s, &mut a, &raw mut len).err(ENOTCONN);
    }),
    case!(
        "sendto recvfrom",
        "datagrams_keep_boundaries_and_sender",
        || {
            let (a, b) = (sock(SOCK_DGRAM), sock(SOCK_DGRAM));
            bind(a, "a").is(0);
            bind(b, "b").is(0);
            let (to, len) = addr("a");
            sc!(sendto, b, b"one", 3, 0, &to, len).is(3);
            sc!(sendto, b, b"two", 3, 0, &to, len).is(3);
            let mut buf = [0u8; 16];
            let mut from = [0u8; 110];
            let mut flen = 110u32;
            sc!(recvfrom, a, &mut buf, 16, 0, &mut from, &raw mut flen).is(3);
            assert_eq!((&buf[..3], from[2]), (&b"one"[..], b'b'));
            sc!(recvfrom, a, &mut buf, 2, 0, 0, 0).is(2);
            sc!(recvfrom, a, &mut buf, 16, MSG_DONTWAIT, 0, 0).err(EAGAIN);
        }
    ),
    case!("sendto", "datagram_errors", || {
        let s = sock(SOCK_DGRAM);
        sc!(sendto, s, b"x", 1, 0, 0, 0).err(ENOTCONN);
        let (to, len) = addr("none");
        sc!(sendto, s, b"x", 1, 0, &to, len).err(ENOENT);
        let (a, _b) = socketpair(SOCK_STREAM);
        sc!(sendto, a, b"x", 1, 0, &to, len).err_any(&[EISCONN, EOPNOTSUPP]);
        let (d, _e) = socketpair(SOCK_DGRAM);
        sc!(sendto, d, vec![0u8; 1 << 20], 1 << 20, 0, 0, 0).err(EMSGSIZE);
    }),
    case!("socketpair", "datagram_pair_after_close_is_refused", || {
        let (a, b) = socketpair(SOCK_DGRAM);
        close(b);
        sc!(sendto, a, b"x", 1, 0, 0, 0).err_any(&[ECONNREFUSED, ECONNRESET]);
    }),
    case!("socketpair", "seqpacket_keeps_boundaries_and_ends", || {
        let (a, b) = socketpair(SOCK_SEQPACKET);
        write_all(a, b"one");
        write_all(a, b"twothree");
        assert_eq!(read_some(b, 16), b"one");
        assert_eq!(read_some(b, 3), b"two");
        close(a);
        assert_eq!(read_some(b, 16), b"");
    }),
    case!(
        "socketpair",
        "stream_reset_when_unread_data_is_lost",
        || {
            let (a, b) = socketpair(SOCK_STREAM);
            write_all(a, b"lost");
            close(b);
            let mut buf = [0u8; 4];
            sc!(read, a, &mut buf, 4).err(ECONNRESET);
        }
    ),
    case!("sendmsg recvmsg", "descriptor_passing", || {
        let (a, b) = socketpair(SOCK_STREAM);
        send_fds(a, &[file("f", b"passed")]).is(1);
        let (r, control, flags) = receive(b, 64, 0);
        r.is(1);
        let fds = fds_of(&control);
        assert_eq!((fds.len(), flags), (1, 0));
        assert_eq!(read_some(fds[0], 16), b"passed");
    }),
    case!(
        "sendmsg recvmsg",
        "several_descriptors_between_processes",
        || {
            let (a, b) = socketpair(SOCK_STREAM);
            fork(|| {
                let fds = [file("x", b"X"), file("y", b"Y"), file("z", b"Z")];
                send_fds(a, &fds).is(1);
            })
            .ok();
            let fds = fds_of(&receive(b, 64, MSG_CMSG_CLOEXEC).1);
            let got: Vec<u8> = fds.iter().flat_map(|fd| read_some(*fd, 4)).collect();
            assert_eq!(got, b"XYZ");
            sc!(fcntl, fds[0], F_GETFD).is(1);
        }
    ),
    case!("recvmsg", "small_control_area_truncates", || {
        let (a, b) = socketpair(SOCK_STREAM);
        send_fds(a, &[0, 1, 2]).is(1);
        let (r, control, flags) = receive(b, 24, 0);
        r.is(1);
        assert_eq!(flags & MSG_CTRUNC, MSG_CTRUNC);
        assert!(fds_of(&control).len() <= 2);
    }),
    case!("recvmsg", "plain_read_drops_descriptors", || {
        let (a, b) = socketpair(SOCK_STREAM);
        let (r, w) = pipe();
        send_fds(a, &[w]).is(1);
        close(w);
        assert_eq!(read_some(b, 4), b"f");
        assert_eq!(read_some(r, 4), b"", "the passed write end is gone");
    }),
    case!("sendmsg", "descriptor_limits_and_errors", || {
        let (a, _b) = socketpair(SOCK_STREAM);
        send_fds(a, &[0; 253]).is(1);
        send_fds(a, &[0; 254]).err(EINVAL);
        send_fds(a, &[99]).err(EBADF);
    }),
    case!(
        "sendmsg",
        "descriptor_survives_closing_before_receipt",
        || {
            let (a, b) = socketpair(SOCK_DGRAM);
            let fd = file("f", b"alive");
            send_fds(a, &[fd]).is(1);
            close(fd);
            close(a);
            let fds = fds_of(&receive(b, 64, 0).1);
            assert_eq!(read_some(fds[0], 8), b"alive");
        }
    ),
    case!("sendmsg recvmsg", "a_socket_can_carry_itself", || {
        let (a, b) = socketpair(SOCK_STREAM);
        send_fds(a, &[b]).is(1);
        let fds = fds_of(&receive(b, 64, 0).1);
        write_all(a, b"x");
        assert_eq!(read_some(fds[0], 4), b"x");
    }),
    case!("sendmsg recvmsg", "credentials", || {
        let (a, b) = socketpair(SOCK_STREAM);
        sc!(setsockopt, b, SOL_SOCKET, SO_PASSCRED, [1i32], 4).is(0);
        write_all(a, b"x");
        let (_, control, _) = receive(b, 64, 0);
        assert_eq!(from_bytes::<i32>(&control[12..]), SCM_CREDENTIALS);
        assert_eq!(from_bytes::<i32>(&control[16..]), getpid());
        assert_eq!(
            u64::from(from_bytes::<u32>(&control[20..])),
            sc!(getuid).ok() as u64
        );
    }),
    case!("sendmsg", "false_credentials_are_eperm", || {
        as_nobody(|| {
            let (a, _b) = socketpair(SOCK_STREAM);
            let mine: Vec<u8> = [getpid() as u32, 0, 0]
                .iter()
                .flat_map(|v| v.to_ne_bytes())
                .collect();
            let control = cmsg(SCM_CREDENTIALS, &mine);
            let body = b"c";
            let iov = [body.raw(), 1];
            sc!(sendmsg, a, header(&iov, &control), 0).err(EPERM);
        });
    }),
    case!("getsockopt", "peer_credentials", || {
        let (a, _b) = socketpair(SOCK_STREAM);
        let mut c = [0u32; 3];
        let mut len = 12u32;
        sc!(getsockopt, a, SOL_SOCKET, SO_PEERCRED, &mut c, &raw mut len).is(0);
        assert_eq!(c[0] as i32, getpid());
    }),
    case!("sendmmsg recvmmsg", "several_datagrams_at_once", || {
        let (a, b) = socketpair(SOCK_DGRAM);
        let bodies = [*b"one", *b"two"];
        let iovs = [[bodies[0].raw(), 3], [bodies[1].raw(), 3]];
        let mut m = [[0usize; 8]; 2];
        for i in 0..2 {
            (m[i][2], m[i][3]) = (iovs[i].raw(), 1);
        }
        sc!(sendmmsg, a, &mut m, 2, 0).is(2);
        assert_eq!(m[1][7] as u32, 3);
        let mut bufs = [[0u8; 8]; 4];
        let iovs = bufs.each_mut().map(|b| [b.as_mut_ptr().raw(), 8]);
        let mut m = [[0usize; 8]; 4];
        for i in 0..4 {
            (m[i][2], m[i][3]) = (iovs[i].raw(), 1);
        }
        sc!(recvmmsg, b, &mut m, 4, MSG_DONTWAIT, 0).is(2);
        assert_eq!(&std::hint::black_box(&mut bufs)[1][..3], b"two");
    }),
    case!(
        "poll",
        "listening_socket_is_readable_with_a_connection",
        || {
            let s = listening("s");
            assert_eq!(poll_one(s, POLLIN, 0), 0);
            connect(sock(SOCK_STREAM), "s").is(0);
            assert_eq!(poll_one(s, POLLIN, 0), POLLIN);
        }
    ),
    case!("write", "full_stream_is_eagain_then_writable_again", || {
        let (a, b) = socketpair(SOCK_STREAM | SOCK_NONBLOCK);
        let chunk = vec![0u8; 4096];
        let mut total = 0;
        while sc!(write, a, &chunk, 4096).errno() == 0 {
            total += 4096;
            assert!(total < 1 << 24);
        }
        assert_eq!(poll_one(a, POLLOUT, 0), 0);
        while sc!(read, b, vec![0u8; 4096], 4096).errno() == 0 {}
        assert_eq!(poll_one(a, POLLOUT, 0), POLLOUT);
    }),
    case!("connect", "datagram_default_destination", || {
        let (a, b) = (sock(SOCK_DGRAM), sock(SOCK_DGRAM));
        bind(a, "a").is(0);
        connect(b, "a").is(0);
        write_all(b, b"x");
        assert_eq!(read_some(a, 4), b"x");
        sc!(connect, b, [0u8, 0], 2).is(0);
        sc!(write, b, b"x", 1).err(ENOTCONN);
    }),
];
