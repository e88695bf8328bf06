//! Socket calls that do not depend on a network: creation, options, socket pairs, loopback.

use crate::prelude::*;

fn opt(fd: i32, level: i32, name: i32) -> i32 {
    let mut v = 0i32;
    let mut len = 4u32;
    sc!(getsockopt, fd, level, name, &raw mut v, &raw mut len).is(0);
    *std::hint::black_box(&mut v)
}

fn set_opt(fd: i32, level: i32, name: i32, v: i32) -> Ret {
    sc!(setsockopt, fd, level, name, &raw const v, 4)
}

/// 127.0.0.1 with `port`, as sockaddr_in.
fn local(port: u16) -> [u8; 16] {
    let p = port.to_be_bytes();
    [2, 0, p[0], p[1], 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn inet(kind: i32) -> i32 {
    sc!(socket, AF_INET, kind, 0).skip_on(&[EAFNOSUPPORT]).ok();
    need_loopback();
    sc!(socket, AF_INET, kind, 0).fd()
}

/// Makes 127.0.0.1 reachable: where nobody has set the interface up, it is set up in a network namespace
/// of the case's own.
fn need_loopback() {
    let reachable = || {
        let probe = sc!(socket, AF_INET, SOCK_DGRAM, 0).fd();
        let r = sc!(connect, probe, local(9), 16);
        close(probe);
        r
    };
    if reachable().errno() != ENETUNREACH {
        return;
    }
    let _ = sc!(unshare, CLONE_NEWNET);
    let any = sc!(socket, AF_INET, SOCK_DGRAM, 0).fd();
    // struct ifreq: the name, then the flags.
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16] = IFF_UP as u8;
    let _ = sc!(ioctl, any, SIOCSIFFLAGS, &request);
    close(any);
    reachable().skip_on(&[ENETUNREACH]).is(0);
}

fn port_of(fd: i32) -> u16 {
    let mut a = [0u8; 16];
    let mut len = 16u32;
    sc!(getsockname, fd, &mut a, &raw mut len).is(0);
    u16::from_be_bytes([a[2], a[3]])
}

fn listener() -> (i32, u16) {
    let s = inet(SOCK_STREAM);
    sc!(bind, s, local(0), 16).is(0);
    sc!(listen, s, 8).is(0);
    (s, port_of(s))
}

fn tcp_pair() -> (i32, i32) {
    let (s, port) = listener();
    let c = inet(SOCK_STREAM);
    sc!(connect, c, local(port), 16).is(0);
    (c, sc!(accept4, s, 0, 0, 0).fd())
}

pub static CASES: &[Case] = &[
    case!("socket", "errors", || {
        sc!(socket, 9999, SOCK_STREAM, 0).err(EAFNOSUPPORT);
        sc!(socket, AF_UNIX, 99, 0).err(EINVAL);
        sc!(socket, AF_UNIX, SOCK_STREAM, 99).err(EPROTONOSUPPORT);
        sc!(socket, AF_UNIX, SOCK_STREAM | 0x100, 0).err(EINVAL);
    }),
    case!("socket", "flags", || {
        let fd = sc!(
            socket,
            AF_UNIX,
            SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
            0
        )
        .fd();
        sc!(fcntl, fd, F_GETFD).is(1);
        assert_ne!(sc!(fcntl, fd, F_GETFL).fd() & O_NONBLOCK, 0);
    }),
    case!("getsockopt", "type_domain_protocol_error", || {
        let (a, _b) = socketpair(SOCK_SEQPACKET);
        assert_eq!(opt(a, SOL_SOCKET, SO_TYPE), SOCK_SEQPACKET);
        assert_eq!(opt(a, SOL_SOCKET, SO_DOMAIN), AF_UNIX);
        assert_eq!(opt(a, SOL_SOCKET, SO_PROTOCOL), 0);
        assert_eq!(opt(a, SOL_SOCKET, SO_ERROR), 0);
        assert_eq!(opt(a, SOL_SOCKET, SO_ACCEPTCONN), 0);
    }),
    case!("setsockopt getsockopt", "buffer_sizes_are_doubled", || {
        let (a, _b) = socketpair(SOCK_STREAM);
        set_opt(a, SOL_SOCKET, SO_SNDBUF, 20_000).is(0);
        assert_eq!(opt(a, SOL_SOCKET, SO_SNDBUF), 40_000);
        set_opt(a, SOL_SOCKET, SO_RCVBUF, 30_000).is(0);
        assert_eq!(opt(a, SOL_SOCKET, SO_RCVBUF), 60_000);
    }),
    case!("setsockopt getsockopt", "boolean_options", || {
        let fd = sc!(socket, AF_UNIX, SOCK_STREAM, 0).fd();
        for name in [SO_REUSEADDR, SO_KEEPALIVE, SO_PASSCRED, SO_OOBINLINE] {
            let r = set_opt(fd, SOL_SOCKET, name, 7);
            r.is(0);
            assert_eq!(opt(fd, SOL_SOCKET, name), 1, "option {name}");
        }
    }),
    case!("setsockopt getsockopt", "timeouts_and_linger", || {
        let (a, _b) = socketpair(SOCK_STREAM);
        sc!(setsockopt, a, SOL_SOCKET, SO_RCVTIMEO, [1i64, 500_000], 16).is(0);
        let mut tv = [0i64; 2];
        let mut len = 16u32;
        sc!(
            getsockopt,
            a,
            SOL_SOCKET,
            SO_RCVTIMEO,
            &mut tv,
            &raw mut len
        )
        .is(0);
        assert_eq!(tv, [1, 500_000]);
        sc!(setsockopt, a, SOL_SOCKET, SO_LINGER, [1i32, 5], 8).is(0);
        let mut l = [0i32; 2];
        let mut len = 8u32;
        sc!(getsockopt, a, SOL_SOCKET, SO_LINGER, &mut l, &raw mut len).is(0);
        assert_eq!(l, [1, 5]);
        sc!(
            setsockopt,
            a,
            SOL_SOCKET,
            SO_RCVTIMEO,
            [1i64, 1_000_000],
            16
        )
        .err(EDOM);
    }),
    case!("setsockopt getsockopt", "errors", || {
        let (a, _b) = socketpair(SOCK_STREAM);
        set_opt(a, SOL_SOCKET, 9999, 1).err(ENOPROTOOPT);
        sc!(setsockopt, a, SOL_SOCKET, SO_REUSEADDR, [1i32], 2).err(EINVAL);
        sc!(setsockopt, a, SOL_SOCKET, SO_REUSEADDR, BAD, 4).err(EFAULT);
        set_opt(0, SOL_SOCKET, SO_REUSEADDR, 1).err(ENOTSOCK);
        set_opt(99, SOL_SOCKET, SO_REUSEADDR, 1).err(EBADF);
        set_opt(a, SOL_SOCKET, SO_TYPE, 1).err(ENOPROTOOPT);
        sc!(getsockopt, a, 9999, 1, [0i32], [4u32]).err_any(&[EOPNOTSUPP, ENOPROTOOPT]);
    }),
    case!("recvfrom", "receive_timeout_is_eagain", || {
        let (a, _b) = socketpair(SOCK_STREAM);
        sc!(setsockopt, a, SOL_SOCKET, SO_RCVTIMEO, [0i64, 30_000], 16).is(0);
        let mut b = [0u8; 1];
        let took = timed(|| sc!(recvfrom, a, &mut b, 1, 0, 0, 0).err(EAGAIN));
        assert!(took >= 25 * MS);
    }),
    case!("sendto recvfrom", "not_a_socket_is_enotsock", || {
        let mut b = [0u8; 1];
        sc!(sendto, 0, &b, 1, 0, 0, 0).err(ENOTSOCK);
        sc!(recvfrom, pipe().0, &mut b, 1, 0, 0, 0).err(ENOTSOCK);
        sc!(sendto, 99, &b, 1, 0, 0, 0).err(EBADF);
    }),
    case!("recvfrom", "peek_dontwait_trunc_waitall", || {
        let (a, b) = socketpair(SOCK_STREAM);
        let mut buf = [0u8; 8];
        sc!(recvfrom, a, &mut buf, 8, MSG_DONTWAIT, 0, 0).err(EAGAIN);
        write_all(b, b"abcd");
        sc!(recvfrom, a, &mut buf, 8, MSG_PEEK, 0, 0).is(4);
        sc!(recvfrom, a, &mut buf, 2, 0, 0, 0).is(2);
        let child = fork(|| {
            let mut buf = [0u8; 4];
            sc!(recvfrom, a, &mut buf, 4, MSG_WAITALL, 0, 0).is(4);
            assert_eq!(&buf, b"cdef");
        });
        sleep_ms(20);
        write_all(b, b"ef");
        child.ok();
    }),
    case!("sendto", "nosignal_suppresses_sigpipe", || {
        let (a, b) = socketpair(SOCK_STREAM);
        close(b);
        on_signal(SIGPIPE, 0);
        sc!(sendto, a, b"x", 1, MSG_NOSIGNAL, 0, 0).err(EPIPE);
        assert_eq!(hits(SIGPIPE), 0);
        sc!(sendto, a, b"x", 1, 0, 0, 0).err(EPIPE);
        assert_eq!(hits(SIGPIPE), 1);
    }),
    case!("shutdown", "halves", || {
        let (a, b) = socketpair(SOCK_STREAM);
        write_all(a, b"last");
        sc!(shutdown, a, SHUT_WR).is(0);
        assert_eq!(read_some(b, 8), b"last");
        assert_eq!(read_some(b, 8), b"");
        write_all(b, b"back");
        assert_eq!(read_some(a, 8), b"back");
        on_signal(SIGPIPE, 0);
        sc!(write, a, b"x", 1).err(EPIPE);
        sc!(shutdown, a, 9).err(EINVAL);
        sc!(shutdown, 0, SHUT_RD).err(ENOTSOCK);
    }),
    case!("socketpair", "errors", || {
        let mut e = [0i32; 2];
        sc!(socketpair, AF_INET, SOCK_STREAM, 0, &mut e).err_any(&[EOPNOTSUPP, EAFNOSUPPORT]);
        sc!(socketpair, AF_UNIX, SOCK_STREAM, 0, BAD).err(EFAULT);
        sc!(fcntl, 3, F_GETFD).err(EBADF);
    }),
    case!("bind listen accept4 connect", "tcp_over_loopback", || {
        let (a, b) = tcp_pair();
        write_all(a, b"ping");
        assert_eq!(read_some(b, 8), b"ping");
        write_all(b, b"pong");
        assert_eq!(read_some(a, 8), b"pong");
        close(a);
        assert_eq!(read_some(b, 8), b"");
    }),
    case!("connect", "tcp_without_listener_is_refused", || {
        let (s, port) = listener();
        close(s);
        sc!(connect, inet(SOCK_STREAM), local(port), 16).err(ECONNREFUSED);
    }),
    case!("bind", "address_in_use", || {
        let (_s, port) = listener();
        let t = inet(SOCK_STREAM);
        sc!(bind, t, local(port), 16).err(EADDRINUSE);
        sc!(
            bind,
            t,
            [2u8, 0, 0, 0, 203, 0, 113, 7, 0, 0, 0, 0, 0, 0, 0, 0],
            16
        )
        .err(EADDRNOTAVAIL);
        sc!(bind, t, local(0), 4).err(EINVAL);
    }),
    case!("bind", "low_port_needs_privilege", || {
        let floor = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
        if floor.is_ok_and(|f| f.trim() == "0") {
            skip("all ports are free for everyone here");
        }
        need_loopback();
        as_nobody(|| sc!(bind, inet(SOCK_STREAM), local(81), 16).err(EACCES));
    }),
    case!("getsockname getpeername", "tcp_addresses", || {
        let (a, b) = tcp_pair();
        let mut peer = [0u8; 16];
        let mut len = 16u32;
        sc!(getpeername, a, &mut peer, &raw mut len).is(0);
        assert_eq!(u16::from_be_bytes([peer[2], peer[3]]), port_of(b));
        sc!(getpeername, inet(SOCK_STREAM), &mut peer, &raw mut len).err(ENOTCONN);
    }),
    case!("connect", "nonblocking_tcp_connect", || {
        let (_s, port) = listener();
        let c = inet(SOCK_STREAM | SOCK_NONBLOCK);
        let r = sc!(connect, c, local(port), 16);
        assert!(r.success() || r.errno() == EINPROGRESS);
        assert_eq!(poll_one(c, POLLOUT, 5000), POLLOUT);
        assert_eq!(opt(c, SOL_SOCKET, SO_ERROR), 0);
        sc!(connect, c, local(port), 16).err_any(&[EISCONN, 0]);
    }),
    case!(
        "accept4",
        "nonblocking_without_connection_is_eagain",
        || {
            let (s, _port) = listener();
            sc!(fcntl, s, F_SETFL, O_NONBLOCK).is(0);
            sc!(accept4, s, 0, 0, 0).err(EAGAIN);
            sc!(accept4, s, 0, 0, 1).err(EINVAL);
            sc!(accept4, inet(SOCK_STREAM), 0, 0, 0).err(EINVAL);
            sc!(accept4, inet(SOCK_DGRAM), 0, 0, 0).err(EOPNOTSUPP);
        }
    ),
    case!("sendto recvfrom", "udp_over_loopback", || {
        let (a, b) = (inet(SOCK_DGRAM), inet(SOCK_DGRAM));
        sc!(bind, a, local(0), 16).is(0);
        sc!(sendto, b, b"one", 3, 0, local(port_of(a)), 16).is(3);
        sc!(sendto, b, b"", 0, 0, local(port_of(a)), 16).is(0);
        let mut buf = [0u8; 2];
        let mut from = [0u8; 16];
        let mut len = 16u32;
        sc!(recvfrom, a, &mut buf, 2, MSG_TRUNC, &mut from, &raw mut len).is(3);
        assert_eq!(u16::from_be_bytes([from[2], from[3]]), port_of(b));
        sc!(recvfrom, a, &mut buf, 2, 0, 0, 0).is(0);
    }),
    case!("sendto", "udp_to_a_closed_port_reports_later", || {
        let a = inet(SOCK_DGRAM);
        let b = inet(SOCK_DGRAM);
        sc!(bind, b, local(0), 16).is(0);
        let port = port_of(b);
        close(b);
        sc!(connect, a, local(port), 16).is(0);
        sc!(sendto, a, b"x", 1, 0, 0, 0).is(1);
        eventually("ECONNREFUSED", || {
            opt(a, SOL_SOCKET, SO_ERROR) == ECONNREFUSED
        });
    }),
    case!("sendto", "udp_without_destination_is_edestaddrreq", || {
        sc!(sendto, inet(SOCK_DGRAM), b"x", 1, 0, 0, 0).err(EDESTADDRREQ);
    }),
    case!("setsockopt getsockopt", "tcp_options", || {
        let fd = inet(SOCK_STREAM);
        set_opt(fd, IPPROTO_TCP, TCP_NODELAY, 1).is(0);
        assert_eq!(opt(fd, IPPROTO_TCP, TCP_NODELAY), 1);
        set_opt(fd, IPPROTO_TCP, TCP_KEEPIDLE, 77).is(0);
        assert_eq!(opt(fd, IPPROTO_TCP, TCP_KEEPIDLE), 77);
        set_opt(fd, IPPROTO_IP, IP_TTL, 33).is(0);
        assert_eq!(opt(fd, IPPROTO_IP, IP_TTL), 33);
    }),
    case!("socket", "ipv6_loopback", || {
        let s = sc!(socket, AF_INET6, SOCK_STREAM, 0)
            .skip_on(&[EAFNOSUPPORT])
            .fd();
        let mut a = [0u8; 28];
        (a[0], a[23]) = (AF_INET6 as u8, 1);
        sc!(bind, s, &a, 28).skip_on(&[EADDRNOTAVAIL]).is(0);
        sc!(listen, s, 1).is(0);
        let mut len = 28u32;
        sc!(getsockname, s, &mut a, &raw mut len).is(0);
        let c = sc!(socket, AF_INET6, SOCK_STREAM, 0).fd();
        sc!(connect, c, &a, 28).is(0);
        sc!(accept, s, 0, 0).ok();
    }),
    case!("socket", "raw_and_packet_sockets_need_privilege", || {
        as_nobody(|| {
            sc!(socket, AF_INET, SOCK_RAW, IPPROTO_ICMP)
                .skip_on(&[EAFNOSUPPORT])
                .err(EPERM);
            sc!(socket, AF_PACKET, SOCK_RAW, 0)
                .skip_on(&[EAFNOSUPPORT])
                .err(EPERM);
        });
    }),
    case!("socket", "netlink_route_lists_loopback", || {
        let s = sc!(socket, AF_NETLINK, SOCK_RAW, 0)
            .skip_on(&[EAFNOSUPPORT])
            .fd();
        // RTM_GETLINK, dump.
        let mut m = [0u8; 32];
        m[0] = 32;
        m[4] = 18;
        m[6..8].copy_from_slice(&0x301u16.to_ne_bytes());
        sc!(sendto, s, &m, 32, 0, 0, 0).is(32);
        let b = read_some(s, 32768);
        assert_eq!(from_bytes::<u16>(&b[4..]), 16, "RTM_NEWLINK");
        assert!(b.windows(3).any(|w| w == b"lo\0"));
    }),
];
