//! Socket calls (socket(2) and its like).

use keel_abi::prelude::*;
use keel_abi::types::{Iovec, Mmsghdr, Msghdr, Sockaddr, Timespec};

use super::Ctx;
use crate::fs::{File, IoDst, IoSrc};
use crate::mm::user::{UserAccess, read_bytes, write_bytes};
use crate::net::message::{Ancillary, build_control, parse_control};
use crate::net::unix::{Kind, UnixSocket};
use crate::net::{Address, socket_file, socket_of};
use crate::prelude::*;

/// Longest address (`sizeof(struct sockaddr_storage)`).
const ADDRESS_MAX: usize = 128;
/// Most pieces of one message (`UIO_MAXIOV`).
const UIO_MAXIOV: usize = 1024;
/// Most ancillary data of one message.
const CONTROL_MAX: usize = 20480;
/// Longest accept queue (`net.core.somaxconn`).
const SOMAXCONN: usize = 4096;

fn unix_kind(domain: AddressFamily, ty: SocketType, protocol: i32) -> Result<Kind> {
    if domain != AddressFamily::AF_UNIX {
        return Err(Errno::EAFNOSUPPORT);
    }
    if protocol != 0 && protocol != AddressFamily::AF_UNIX.0 {
        return Err(Errno::EPROTONOSUPPORT);
    }
    match ty.kind() {
        SocketType::SOCK_STREAM => Ok(Kind::Stream),
        SocketType::SOCK_DGRAM | SocketType::SOCK_RAW => Ok(Kind::Datagram),
        SocketType::SOCK_SEQPACKET => Ok(Kind::SeqPacket),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

fn status(flags: SocketFlags) -> Result<(OpenFlags, bool)> {
    if !SocketFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    let mut status = OpenFlags::empty();
    status.set(OpenFlags::NONBLOCK, flags.contains(SocketFlags::NONBLOCK));
    Ok((status, flags.contains(SocketFlags::CLOEXEC)))
}

pub fn socket(cx: &mut Ctx, domain: AddressFamily, ty: SocketType, protocol: i32) -> Result<Fd> {
    let (flags, cloexec) = status(ty.flags())?;
    let socket = UnixSocket::new(unix_kind(domain, ty, protocol)?);
    cx.thread
        .files()
        .install(socket_file(socket, flags), cloexec)
}

pub fn socketpair(
    cx: &mut Ctx,
    domain: AddressFamily,
    ty: SocketType,
    protocol: i32,
    sv: UserPtr<[Fd; 2]>,
) -> Result<()> {
    let (flags, cloexec) = status(ty.flags())?;
    let (one, other) = UnixSocket::pair(unix_kind(domain, ty, protocol)?);
    let files = cx.thread.files();
    let first = files.install(socket_file(one, flags), cloexec)?;
    let second = files
        .install(socket_file(other, flags), cloexec)
        .inspect_err(|_| {
            let _ = files.close(first);
        })?;
    sv.write(&[first, second]).inspect_err(|_| {
        let _ = files.close(first);
        let _ = files.close(second);
    })
}

fn read_address(addr: UserPtr<Sockaddr>, len: i32) -> Result<Address> {
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    if len > ADDRESS_MAX {
        return Err(Errno::EINVAL);
    }
    Ok(Address(read_bytes(addr.addr(), len)?))
}

/// Writes an address as far as it fits, and its full length.
fn write_address(address: &Address, addr: UserPtr<Sockaddr>, addrlen: UserPtr<i32>) -> Result<()> {
    if addr.is_null() {
        return Ok(());
    }
    let room = usize::try_from(addrlen.read()?).map_err(|_| Errno::EINVAL)?;
    let len = address.0.len().min(room);
    write_bytes(addr.addr(), &address.0[..len])?;
    addrlen.write(&(address.0.len() as i32))
}

fn file(cx: &Ctx, fd: Fd) -> Result<Arc<File>> {
    let file = cx.thread.files().get(fd)?;
    socket_of(&file)?;
    Ok(file)
}

pub fn bind(cx: &mut Ctx, sockfd: Fd, addr: UserPtr<Sockaddr>, addrlen: i32) -> Result<()> {
    let file = file(cx, sockfd)?;
    socket_of(&file)?.bind(&read_address(addr, addrlen)?)
}

pub fn listen(cx: &mut Ctx, sockfd: Fd, backlog: i32) -> Result<()> {
    let file = file(cx, sockfd)?;
    let backlog = usize::try_from(backlog).unwrap_or(SOMAXCONN).min(SOMAXCONN);
    socket_of(&file)?.listen(backlog)
}

pub fn connect(cx: &mut Ctx, sockfd: Fd, addr: UserPtr<Sockaddr>, addrlen: i32) -> Result<()> {
    let file = file(cx, sockfd)?;
    let address = read_address(addr, addrlen)?;
    socket_of(&file)?.connect(&address, file.nonblocking())
}

pub fn accept(
    cx: &mut Ctx,
    sockfd: Fd,
    addr: UserPtr<Sockaddr>,
    addrlen: UserPtr<i32>,
) -> Result<Fd> {
    accept4(cx, sockfd, addr, addrlen, SocketFlags::empty())
}

pub fn accept4(
    cx: &mut Ctx,
    sockfd: Fd,
    addr: UserPtr<Sockaddr>,
    addrlen: UserPtr<i32>,
    flags: SocketFlags,
) -> Result<Fd> {
    let (status, cloexec) = status(flags)?;
    let listener = file(cx, sockfd)?;
    let socket = socket_of(&listener)?.accept(listener.nonblocking())?;
    if !addr.is_null() {
        write_address(&socket.peer_name()?, addr, addrlen)?;
    }
    cx.thread
        .files()
        .install(socket_file(socket, status), cloexec)
}

pub fn getsockname(
    cx: &mut Ctx,
    sockfd: Fd,
    addr: UserPtr<Sockaddr>,
    addrlen: UserPtr<i32>,
) -> Result<()> {
    let file = file(cx, sockfd)?;
    write_address(&socket_of(&file)?.name(), addr, addrlen)
}

pub fn getpeername(
    cx: &mut Ctx,
    sockfd: Fd,
    addr: UserPtr<Sockaddr>,
    addrlen: UserPtr<i32>,
) -> Result<()> {
    let file = file(cx, sockfd)?;
    write_address(&socket_of(&file)?.peer_name()?, addr, addrlen)
}

pub fn shutdown(cx: &mut Ctx, sockfd: Fd, how: ShutdownHow) -> Result<()> {
    let file = file(cx, sockfd)?;
    socket_of(&file)?.shutdown(how)
}

pub fn sendto(
    cx: &mut Ctx,
    sockfd: Fd,
    buf: UserPtr<u8>,
    len: usize,
    flags: MsgFlags,
    dest_addr: UserPtr<Sockaddr>,
    addrlen: i32,
) -> Result<usize> {
    let file = file(cx, sockfd)?;
    let to = if dest_addr.is_null() {
        None
    } else {
        Some(read_address(dest_addr, addrlen)?)
    };
    let mut src = IoSrc::from_user(buf.addr() as usize, len);
    let nonblock = file.nonblocking();
    socket_of(&file)?.send(&mut src, to.as_ref(), Ancillary::default(), flags, nonblock)
}

pub fn recvfrom(
    cx: &mut Ctx,
    sockfd: Fd,
    buf: UserPtr<u8>,
    len: usize,
    flags: MsgFlags,
    src_addr: UserPtr<Sockaddr>,
    addrlen: UserPtr<i32>,
) -> Result<usize> {
    let file = file(cx, sockfd)?;
    let mut dst = IoDst::from_user(buf.addr() as usize, len);
    let received = socket_of(&file)?.receive(&mut dst, flags, file.nonblocking())?;
    if !src_addr.is_null() {
        write_address(&received.from.unwrap_or_default(), src_addr, addrlen)?;
    }
    Ok(received.bytes)
}

fn pieces(header: &Msghdr) -> Result<Vec<Iovec>> {
    if header.msg_iovlen > UIO_MAXIOV {
        return Err(Errno::EMSGSIZE);
    }
    header.msg_iov.read_array(header.msg_iovlen)
}

fn send_message(cx: &Ctx, file: &Arc<File>, header: &Msghdr, flags: MsgFlags) -> Result<usize> {
    let to = if header.msg_name.is_null() || header.msg_namelen == 0 {
        None
    } else {
        Some(read_address(header.msg_name, header.msg_namelen)?)
    };
    let ancillary = if header.msg_controllen == 0 || header.msg_control.is_null() {
        Ancillary::default()
    } else {
        if header.msg_controllen > CONTROL_MAX {
            return Err(Errno::ENOBUFS);
        }
        let control = read_bytes(header.msg_control.addr(), header.msg_controllen)?;
        parse_control(&control, &cx.thread.files())?
    };
    let mut src = IoSrc::from_iovecs(&pieces(header)?)?;
    socket_of(file)?.send(&mut src, to.as_ref(), ancillary, flags, file.nonblocking())
}

pub fn sendmsg(cx: &mut Ctx, sockfd: Fd, msg: UserPtr<Msghdr>, flags: MsgFlags) -> Result<usize> {
    let file = file(cx, sockfd)?;
    let header = msg.read()?;
    send_message(cx, &file, &header, flags)
}

fn receive_message(
    cx: &Ctx,
    file: &Arc<File>,
    msg: UserPtr<Msghdr>,
    flags: MsgFlags,
) -> Result<usize> {
    let mut header = msg.read()?;
    let mut dst = IoDst::from_iovecs(&pieces(&header)?)?;
    let mut received = socket_of(file)?.receive(&mut dst, flags, file.nonblocking())?;
    let cloexec = flags.contains(MsgFlags::CMSG_CLOEXEC);
    let room = if header.msg_control.is_null() {
        0
    } else {
        header.msg_controllen
    };
    let control = build_control(&mut received, room, &cx.thread.files(), cloexec);
    if !control.is_empty() {
        write_bytes(header.msg_control.addr(), &control)?;
    }
    if !header.msg_name.is_null() {
        let from = received.from.unwrap_or_default();
        let len = from.0.len().min(header.msg_namelen.max(0) as usize);
        write_bytes(header.msg_name.addr(), &from.0[..len])?;
        header.msg_namelen = from.0.len() as i32;
    }
    header.msg_controllen = control.len();
    header.msg_flags = received.flags.bits();
    msg.write(&header)?;
    Ok(received.bytes)
}

pub fn recvmsg(cx: &mut Ctx, sockfd: Fd, msg: UserPtr<Msghdr>, flags: MsgFlags) -> Result<usize> {
    let file = file(cx, sockfd)?;
    receive_message(cx, &file, msg, flags)
}

pub fn sendmmsg(
    cx: &mut Ctx,
    sockfd: Fd,
    msgvec: UserPtr<Mmsghdr>,
    vlen: u32,
    flags: MsgFlags,
) -> Result<i32> {
    let file = file(cx, sockfd)?;
    let mut done = 0;
    for at in 0..vlen.min(UIO_MAXIOV as u32) as usize {
        let slot = msgvec.add(at);
        let mut message = slot.read()?;
        match send_message(cx, &file, &message.msg_hdr, flags) {
            Ok(n) => message.msg_len = n as u32,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
        slot.write(&message)?;
        done += 1;
    }
    Ok(done)
}

pub fn recvmmsg(
    cx: &mut Ctx,
    sockfd: Fd,
    msgvec: UserPtr<Mmsghdr>,
    vlen: u32,
    flags: MsgFlags,
    timeout: UserPtr<Timespec>,
) -> Result<i32> {
    let file = file(cx, sockfd)?;
    let deadline = match timeout.read_if_given()? {
        Some(time) => Some(crate::time::monotonic_ns() + super::time::nanoseconds(&time)?),
        None => None,
    };
    let mut flags = flags;
    let wait_for_one = flags.contains(MsgFlags::WAITFORONE);
    flags -= MsgFlags::WAITFORONE;
    let mut done = 0;
    for at in 0..vlen.min(UIO_MAXIOV as u32) as usize {
        let slot = msgvec.add(at);
        let header = slot.cast::<Msghdr>();
        match receive_message(cx, &file, header, flags) {
            Ok(n) => {
                let len_at = slot.byte_add(size_of::<Msghdr>() as u64).cast::<u32>();
                len_at.write(&(n as u32))?;
            }
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
        done += 1;
        if wait_for_one {
            flags |= MsgFlags::DONTWAIT;
        }
        if deadline.is_some_and(|at| crate::time::monotonic_ns() >= at) {
            break;
        }
    }
    Ok(done)
}

pub fn getsockopt(
    cx: &mut Ctx,
    sockfd: Fd,
    level: SockoptLevel,
    optname: i32,
    optval: UserPtr<u8>,
    optlen: UserPtr<i32>,
) -> Result<()> {
    let file = file(cx, sockfd)?;
    let room = usize::try_from(optlen.read()?).map_err(|_| Errno::EINVAL)?;
    let value = socket_of(&file)?.option(level.0, optname, room)?;
    let len = value.len().min(room);
    write_bytes(optval.addr(), &value[..len])?;
    optlen.write(&(len as i32))
}

pub fn setsockopt(
    cx: &mut Ctx,
    sockfd: Fd,
    level: SockoptLevel,
    optname: i32,
    optval: UserPtr<u8>,
    optlen: i32,
) -> Result<()> {
    let file = file(cx, sockfd)?;
    let len = usize::try_from(optlen).map_err(|_| Errno::EINVAL)?;
    let value = read_bytes(optval.addr(), len.min(PAGE_SIZE))?;
    socket_of(&file)?.set_option(level.0, optname, &value)
}
