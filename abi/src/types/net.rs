//! Sockets: addresses, messages, options (socket(7), ip(7), ipv6(7), unix(7), netlink(7), packet(7), tcp(7)).
//!
//! Fields that are in network byte order say so; they are kept as the bytes that user space passes.

use super::Iovec;
use crate::args::{Gid, Pid, Uid, UserPtr};

uapi! {
    /// Any address: the family and what every kind has room for.
    struct Sockaddr = "struct sockaddr", "sys/socket.h" {
        sa_family: u16,
        sa_data: [u8; 14],
    }

    /// Room for an address of any family.
    #[repr(align(8))]
    struct SockaddrStorage = "struct sockaddr_storage", "sys/socket.h" {
        ss_family: u16,
        data: [u8; 126] = "",
    }

    /// unix(7)
    struct SockaddrUn = "struct sockaddr_un", "sys/un.h" {
        sun_family: u16,
        sun_path: [u8; 108],
    }

    /// ip(7). Port and address are in network byte order.
    #[derive(Eq, PartialEq)]
    #[repr(align(4))]
    struct SockaddrIn = "struct sockaddr_in", "netinet/in.h" {
        sin_family: u16,
        sin_port: [u8; 2],
        sin_addr: [u8; 4],
        sin_zero: [u8; 8],
    }

    /// ipv6(7). Port, flow and address are in network byte order.
    #[derive(Eq, PartialEq)]
    #[repr(align(4))]
    struct SockaddrIn6 = "struct sockaddr_in6", "netinet/in.h" {
        sin6_family: u16,
        sin6_port: [u8; 2],
        sin6_flowinfo: [u8; 4],
        sin6_addr: [u8; 16],
        sin6_scope_id: u32,
    }

    /// netlink(7)
    struct SockaddrNl = "struct sockaddr_nl", "linux/netlink.h" {
        nl_family: u16,
        nl_pad: u16,
        nl_pid: u32,
        nl_groups: u32,
    }

    /// packet(7). The protocol is in network byte order.
    struct SockaddrLl = "struct sockaddr_ll", "linux/if_packet.h" {
        sll_family: u16,
        sll_protocol: [u8; 2],
        sll_ifindex: i32,
        sll_hatype: u16,
        sll_pkttype: u8,
        sll_halen: u8,
        sll_addr: [u8; 8],
    }

    /// vsock(7)
    struct SockaddrVm = "struct sockaddr_vm", "sys/socket.h linux/vm_sockets.h" {
        svm_family: u16,
        svm_reserved1: u16,
        svm_port: u32,
        svm_cid: u32,
        svm_flags: u8,
        svm_zero: [u8; 3],
    }

    /// sendmsg(2), recvmsg(2)
    struct Msghdr = "struct msghdr", "sys/socket.h" {
        msg_name: UserPtr<Sockaddr>,
        msg_namelen: i32,
        _pad: u32,
        msg_iov: UserPtr<Iovec>,
        msg_iovlen: usize,
        msg_control: UserPtr<u8>,
        msg_controllen: usize,
        msg_flags: u32,
        _pad1: u32,
    }

    /// sendmmsg(2), recvmmsg(2)
    struct Mmsghdr = "struct mmsghdr", "sys/socket.h" {
        msg_hdr: Msghdr,
        msg_len: u32,
        _pad: u32,
    }

    /// The head of a control message; its data follows (cmsg(3)).
    struct Cmsghdr = "struct cmsghdr", "sys/socket.h" {
        cmsg_len: usize,
        cmsg_level: i32,
        cmsg_type: i32,
    }

    /// `SO_PEERCRED`, `SCM_CREDENTIALS`
    #[derive(Eq, PartialEq)]
    struct Ucred = "struct ucred", "sys/socket.h" {
        pid: Pid,
        uid: Uid,
        gid: Gid,
    }

    /// `SO_LINGER`
    struct Linger = "struct linger", "sys/socket.h" {
        l_onoff: i32,
        l_linger: i32,
    }

    /// `IP_ADD_MEMBERSHIP`, the older form.
    #[repr(align(4))]
    struct IpMreq = "struct ip_mreq", "netinet/in.h" {
        imr_multiaddr: [u8; 4],
        imr_interface: [u8; 4],
    }

    /// `IP_ADD_MEMBERSHIP`
    struct IpMreqn = "struct ip_mreqn", "netinet/in.h" {
        imr_multiaddr: [u8; 4],
        imr_address: [u8; 4],
        imr_ifindex: i32,
    }

    /// `IPV6_ADD_MEMBERSHIP`
    struct Ipv6Mreq = "struct ipv6_mreq", "netinet/in.h" {
        ipv6mr_multiaddr: [u8; 16],
        ipv6mr_interface: u32,
    }

    /// `IP_PKTINFO`
    struct InPktinfo = "struct in_pktinfo", "netinet/in.h" {
        ipi_ifindex: i32,
        ipi_spec_dst: [u8; 4],
        ipi_addr: [u8; 4],
    }

    /// `IPV6_PKTINFO`
    struct In6Pktinfo = "struct in6_pktinfo", "netinet/in.h" {
        ipi6_addr: [u8; 16],
        ipi6_ifindex: u32,
    }

    /// The argument of `SIOCGIF*` (netdevice(7)).
    struct Ifreq = "struct ifreq", "net/if.h" {
        ifr_name: [u8; 16],
        ifr_data: [u64; 3] = "",
    }

    /// `SIOCGIFCONF`
    struct Ifconf = "struct ifconf", "net/if.h" {
        ifc_len: i32,
        _pad: u32,
        ifc_buf: UserPtr<u8>,
    }

    /// The header of a netlink message.
    struct Nlmsghdr = "struct nlmsghdr", "linux/netlink.h" {
        nlmsg_len: u32,
        nlmsg_type: u16,
        nlmsg_flags: u16,
        nlmsg_seq: u32,
        nlmsg_pid: u32,
    }

    /// The payload of `NLMSG_ERROR`.
    struct Nlmsgerr = "struct nlmsgerr", "linux/netlink.h" {
        error: i32,
        msg: Nlmsghdr,
    }

    /// The header of a netlink attribute.
    struct Nlattr = "struct nlattr", "linux/netlink.h" {
        nla_len: u16,
        nla_type: u16,
    }

    /// The payload of link messages (rtnetlink(7)).
    struct Ifinfomsg = "struct ifinfomsg", "linux/rtnetlink.h" {
        ifi_family: u8,
        _ifi_pad: u8,
        ifi_type: u16,
        ifi_index: i32,
        ifi_flags: u32,
        ifi_change: u32,
    }

    /// The payload of address messages (rtnetlink(7)).
    struct Ifaddrmsg = "struct ifaddrmsg", "linux/if_addr.h" {
        ifa_family: u8,
        ifa_prefixlen: u8,
        ifa_flags: u8,
        ifa_scope: u8,
        ifa_index: u32,
    }

    /// The payload of route messages (rtnetlink(7)).
    struct Rtmsg = "struct rtmsg", "linux/rtnetlink.h" {
        rtm_family: u8,
        rtm_dst_len: u8,
        rtm_src_len: u8,
        rtm_tos: u8,
        rtm_table: u8,
        rtm_protocol: u8,
        rtm_scope: u8,
        rtm_type: u8,
        rtm_flags: u32,
    }

    /// The payload of neighbour messages (rtnetlink(7)).
    struct Ndmsg = "struct ndmsg", "linux/neighbour.h" {
        ndm_family: u8,
        _ndm_pad1: u8,
        _ndm_pad2: u16,
        ndm_ifindex: i32,
        ndm_state: u16,
        ndm_flags: u8,
        ndm_type: u8,
    }

    /// `TCP_INFO`. `wscale` holds the two window scales; times are in microseconds unless tcp(7) says else.
    struct TcpInfo = "struct tcp_info", "linux/tcp.h" {
        tcpi_state: u8,
        tcpi_ca_state: u8,
        tcpi_retransmits: u8,
        tcpi_probes: u8,
        tcpi_backoff: u8,
        tcpi_options: u8,
        wscale: u8 = "",
        app_limited: u8 = "",
        tcpi_rto: u32,
        tcpi_ato: u32,
        tcpi_snd_mss: u32,
        tcpi_rcv_mss: u32,
        tcpi_unacked: u32,
        tcpi_sacked: u32,
        tcpi_lost: u32,
        tcpi_retrans: u32,
        tcpi_fackets: u32,
        tcpi_last_data_sent: u32,
        tcpi_last_ack_sent: u32,
        tcpi_last_data_recv: u32,
        tcpi_last_ack_recv: u32,
        tcpi_pmtu: u32,
        tcpi_rcv_ssthresh: u32,
        tcpi_rtt: u32,
        tcpi_rttvar: u32,
        tcpi_snd_ssthresh: u32,
        tcpi_snd_cwnd: u32,
        tcpi_advmss: u32,
        tcpi_reordering: u32,
        tcpi_rcv_rtt: u32,
        tcpi_rcv_space: u32,
        tcpi_total_retrans: u32,
        tcpi_pacing_rate: u64,
        tcpi_max_pacing_rate: u64,
        tcpi_bytes_acked: u64,
        tcpi_bytes_received: u64,
        tcpi_segs_out: u32,
        tcpi_segs_in: u32,
        tcpi_notsent_bytes: u32,
        tcpi_min_rtt: u32,
        tcpi_data_segs_in: u32,
        tcpi_data_segs_out: u32,
        tcpi_delivery_rate: u64,
        tcpi_busy_time: u64,
        tcpi_rwnd_limited: u64,
        tcpi_sndbuf_limited: u64,
        tcpi_delivered: u32,
        tcpi_delivered_ce: u32,
        tcpi_bytes_sent: u64,
        tcpi_bytes_retrans: u64,
        tcpi_dsack_dups: u32,
        tcpi_reord_seen: u32,
        tcpi_rcv_ooopack: u32,
        tcpi_snd_wnd: u32,
        tcpi_rcv_wnd: u32 = "",
        tcpi_rehash: u32 = "",
        tcpi_total_rto: u16 = "",
        tcpi_total_rto_recoveries: u16 = "",
        tcpi_total_rto_time: u32 = "",
    }
}

/// The most bytes of an address that a call accepts: the size of [`SockaddrStorage`].
pub const SOCKADDR_MAX: i32 = 128;
/// The length of a network interface name with its NUL.
pub const IFNAMSIZ: usize = 16;
