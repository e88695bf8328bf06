//! Socket families, types, messages and options.
//!
//! Plain data; names and values are those of the UAPI headers.

open_enum! {
    /// An address or protocol family (socket(2)).
    pub struct AddressFamily: i32 {
        AF_UNSPEC = 0,
        AF_UNIX = 1,
        AF_INET = 2,
        AF_AX25 = 3,
        AF_IPX = 4,
        AF_APPLETALK = 5,
        AF_NETROM = 6,
        AF_BRIDGE = 7,
        AF_ATMPVC = 8,
        AF_X25 = 9,
        AF_INET6 = 10,
        AF_ROSE = 11,
        AF_DECnet = 12,
        AF_NETBEUI = 13,
        AF_SECURITY = 14,
        AF_KEY = 15,
        AF_NETLINK = 16,
        AF_PACKET = 17,
        AF_ASH = 18,
        AF_ECONET = 19,
        AF_ATMSVC = 20,
        AF_RDS = 21,
        AF_SNA = 22,
        AF_IRDA = 23,
        AF_PPPOX = 24,
        AF_WANPIPE = 25,
        AF_LLC = 26,
        AF_CAN = 29,
        AF_TIPC = 30,
        AF_BLUETOOTH = 31,
        AF_IUCV = 32,
        AF_RXRPC = 33,
        AF_ISDN = 34,
        AF_PHONET = 35,
        AF_IEEE802154 = 36,
        AF_CAIF = 37,
        AF_ALG = 38,
        AF_NFC = 39,
        AF_VSOCK = 40,
        AF_KCM = 41,
        AF_QIPCRTR = 42,
        AF_SMC = 43,
        AF_XDP = 44,
        AF_MCTP = 45,
    }
}

open_enum! {
    /// The type of a socket, with [`SocketFlags`] in the higher bits: see [`SocketType::kind`].
    pub struct SocketType: i32; manual_trace {
        SOCK_STREAM = 1,
        SOCK_DGRAM = 2,
        SOCK_RAW = 3,
        SOCK_RDM = 4,
        SOCK_SEQPACKET = 5,
        SOCK_DCCP = 6,
        SOCK_PACKET = 10,
    }
}

flag_type! {
    /// Flags of socket(2), socketpair(2) and accept4(2).
    pub struct SocketFlags: u32, prefix "SOCK_" {
        CLOEXEC = 0x80000,
        NONBLOCK = 0x800,
    }
}

open_enum! {
    /// Which directions shutdown(2) closes.
    pub struct ShutdownHow: i32 {
        SHUT_RD = 0,
        SHUT_WR = 1,
        SHUT_RDWR = 2,
    }
}

flag_type! {
    /// Flags of send(2), recv(2) and their like.
    pub struct MsgFlags: u32, prefix "MSG_" {
        OOB = 0x1,
        PEEK = 0x2,
        DONTROUTE = 0x4,
        CTRUNC = 0x8,
        PROBE = 0x10,
        TRUNC = 0x20,
        DONTWAIT = 0x40,
        EOR = 0x80,
        WAITALL = 0x100,
        FIN = 0x200,
        SYN = 0x400,
        CONFIRM = 0x800,
        RST = 0x1000,
        ERRQUEUE = 0x2000,
        NOSIGNAL = 0x4000,
        MORE = 0x8000,
        WAITFORONE = 0x10000,
        BATCH = 0x40000,
        ZEROCOPY = 0x4000000,
        FASTOPEN = 0x20000000,
        CMSG_CLOEXEC = 0x40000000,
    }
}

open_enum! {
    /// The level of setsockopt(2).
    pub struct SockoptLevel: i32 {
        SOL_IP = 0,
        SOL_SOCKET = 1,
        SOL_TCP = 6,
        SOL_UDP = 17,
        SOL_IPV6 = 41,
        SOL_ICMPV6 = 58,
        SOL_RAW = 255,
        SOL_PACKET = 0x107,
        SOL_NETLINK = 0x10e,
        SOL_TIPC = 0x10f,
        SOL_BLUETOOTH = 0x112,
        SOL_ALG = 0x117,
        SOL_KCM = 0x119,
        SOL_TLS = 0x11a,
        SOL_XDP = 0x11b,
        SOL_MPTCP = 0x11c,
        SOL_VSOCK = 0x11f,
    }
}

open_enum! {
    /// Options at `SOL_SOCKET` (socket(7)).
    pub struct SocketOption: i32 {
        SO_DEBUG = 1,
        SO_REUSEADDR = 2,
        SO_TYPE = 3,
        SO_ERROR = 4,
        SO_DONTROUTE = 5,
        SO_BROADCAST = 6,
        SO_SNDBUF = 7,
        SO_RCVBUF = 8,
        SO_KEEPALIVE = 9,
        SO_OOBINLINE = 10,
        SO_NO_CHECK = 11,
        SO_PRIORITY = 12,
        SO_LINGER = 13,
        SO_BSDCOMPAT = 14,
        SO_REUSEPORT = 15,
        SO_PASSCRED = 16,
        SO_PEERCRED = 17,
        SO_RCVLOWAT = 18,
        SO_SNDLOWAT = 19,
        SO_RCVTIMEO = 20,
        SO_SNDTIMEO = 21,
        SO_SECURITY_AUTHENTICATION = 22,
        SO_SECURITY_ENCRYPTION_TRANSPORT = 23,
        SO_SECURITY_ENCRYPTION_NETWORK = 24,
        SO_BINDTODEVICE = 25,
        SO_ATTACH_FILTER = 26,
        SO_DETACH_FILTER = 27,
        SO_PEERNAME = 28,
        SO_TIMESTAMP = 29,
        SO_ACCEPTCONN = 30,
        SO_PEERSEC = 31,
        SO_SNDBUFFORCE = 32,
        SO_RCVBUFFORCE = 33,
        SO_PASSSEC = 34,
        SO_TIMESTAMPNS = 35,
        SO_MARK = 36,
        SO_TIMESTAMPING = 37,
        SO_PROTOCOL = 38,
        SO_DOMAIN = 39,
        SO_RXQ_OVFL = 40,
        SO_WIFI_STATUS = 41,
        SO_PEEK_OFF = 42,
        SO_NOFCS = 43,
        SO_LOCK_FILTER = 44,
        SO_SELECT_ERR_QUEUE = 45,
        SO_BUSY_POLL = 46,
        SO_MAX_PACING_RATE = 47,
        SO_BPF_EXTENSIONS = 48,
        SO_INCOMING_CPU = 49,
        SO_ATTACH_BPF = 50,
        SO_ATTACH_REUSEPORT_CBPF = 51,
        SO_ATTACH_REUSEPORT_EBPF = 52,
        SO_CNX_ADVICE = 53,
        SO_MEMINFO = 55,
        SO_INCOMING_NAPI_ID = 56,
        SO_COOKIE = 57,
        SO_PEERGROUPS = 59,
        SO_ZEROCOPY = 60,
        SO_TXTIME = 61,
        SO_BINDTOIFINDEX = 62,
        SO_TIMESTAMP_NEW = 63,
        SO_TIMESTAMPNS_NEW = 64,
        SO_TIMESTAMPING_NEW = 65,
        SO_RCVTIMEO_NEW = 66,
        SO_SNDTIMEO_NEW = 67,
        SO_DETACH_REUSEPORT_BPF = 68,
        SO_PREFER_BUSY_POLL = 69,
        SO_BUSY_POLL_BUDGET = 70,
        SO_NETNS_COOKIE = 71,
        SO_BUF_LOCK = 72,
        SO_RESERVE_MEM = 73,
        SO_TXREHASH = 74,
        SO_RCVMARK = 75,
        SO_PASSPIDFD = 76,
        SO_PEERPIDFD = 77,
    }
}

open_enum! {
    /// An IP protocol number (ip(7)).
    pub struct IpProtocol: i32 {
        IPPROTO_IP = 0,
        IPPROTO_ICMP = 1,
        IPPROTO_IGMP = 2,
        IPPROTO_IPIP = 4,
        IPPROTO_TCP = 6,
        IPPROTO_UDP = 17,
        IPPROTO_DCCP = 33,
        IPPROTO_IPV6 = 41,
        IPPROTO_GRE = 47,
        IPPROTO_ESP = 50,
        IPPROTO_AH = 51,
        IPPROTO_ICMPV6 = 58,
        IPPROTO_SCTP = 132,
        IPPROTO_UDPLITE = 136,
        IPPROTO_RAW = 255,
        IPPROTO_MPTCP = 0x106,
    }
}

open_enum! {
    /// Options at `SOL_TCP` (tcp(7)).
    pub struct TcpOption: i32 {
        TCP_NODELAY = 1,
        TCP_MAXSEG = 2,
        TCP_CORK = 3,
        TCP_KEEPIDLE = 4,
        TCP_KEEPINTVL = 5,
        TCP_KEEPCNT = 6,
        TCP_SYNCNT = 7,
        TCP_LINGER2 = 8,
        TCP_DEFER_ACCEPT = 9,
        TCP_WINDOW_CLAMP = 10,
        TCP_INFO = 11,
        TCP_QUICKACK = 12,
        TCP_CONGESTION = 13,
        TCP_MD5SIG = 14,
        TCP_THIN_LINEAR_TIMEOUTS = 16,
        TCP_THIN_DUPACK = 17,
        TCP_USER_TIMEOUT = 18,
        TCP_REPAIR = 19,
        TCP_REPAIR_QUEUE = 20,
        TCP_QUEUE_SEQ = 21,
        TCP_REPAIR_OPTIONS = 22,
        TCP_FASTOPEN = 23,
        TCP_TIMESTAMP = 24,
        TCP_NOTSENT_LOWAT = 25,
        TCP_CC_INFO = 26,
        TCP_SAVE_SYN = 27,
        TCP_SAVED_SYN = 28,
        TCP_REPAIR_WINDOW = 29,
        TCP_FASTOPEN_CONNECT = 30,
        TCP_ULP = 31,
        TCP_MD5SIG_EXT = 32,
        TCP_FASTOPEN_KEY = 33,
        TCP_FASTOPEN_NO_COOKIE = 34,
        TCP_ZEROCOPY_RECEIVE = 35,
        TCP_INQ = 36,
        TCP_TX_DELAY = 37,
    }
}

open_enum! {
    /// Options at `SOL_IP` (ip(7)).
    pub struct IpOption: i32 {
        IP_TOS = 1,
        IP_TTL = 2,
        IP_HDRINCL = 3,
        IP_OPTIONS = 4,
        IP_ROUTER_ALERT = 5,
        IP_RECVOPTS = 6,
        IP_RETOPTS = 7,
        IP_PKTINFO = 8,
        IP_PKTOPTIONS = 9,
        IP_MTU_DISCOVER = 10,
        IP_RECVERR = 11,
        IP_RECVTTL = 12,
        IP_RECVTOS = 13,
        IP_MTU = 14,
        IP_FREEBIND = 15,
        IP_IPSEC_POLICY = 16,
        IP_XFRM_POLICY = 17,
        IP_PASSSEC = 18,
        IP_TRANSPARENT = 19,
        IP_ORIGDSTADDR = 20,
        IP_MINTTL = 21,
        IP_NODEFRAG = 22,
        IP_CHECKSUM = 23,
        IP_BIND_ADDRESS_NO_PORT = 24,
        IP_RECVFRAGSIZE = 25,
        IP_RECVERR_RFC4884 = 26,
        IP_MULTICAST_IF = 32,
        IP_MULTICAST_TTL = 33,
        IP_MULTICAST_LOOP = 34,
        IP_ADD_MEMBERSHIP = 35,
        IP_DROP_MEMBERSHIP = 36,
        IP_UNBLOCK_SOURCE = 37,
        IP_BLOCK_SOURCE = 38,
        IP_ADD_SOURCE_MEMBERSHIP = 39,
        IP_DROP_SOURCE_MEMBERSHIP = 40,
        IP_MSFILTER = 41,
        IP_MULTICAST_ALL = 49,
        IP_UNICAST_IF = 50,
    }
}

open_enum! {
    /// Options at `SOL_IPV6` (ipv6(7)).
    pub struct Ipv6Option: i32 {
        IPV6_ADDRFORM = 1,
        IPV6_2292PKTINFO = 2,
        IPV6_CHECKSUM = 7,
        IPV6_UNICAST_HOPS = 16,
        IPV6_MULTICAST_IF = 17,
        IPV6_MULTICAST_HOPS = 18,
        IPV6_MULTICAST_LOOP = 19,
        IPV6_ADD_MEMBERSHIP = 20,
        IPV6_DROP_MEMBERSHIP = 21,
        IPV6_ROUTER_ALERT = 22,
        IPV6_MTU_DISCOVER = 23,
        IPV6_MTU = 24,
        IPV6_RECVERR = 25,
        IPV6_V6ONLY = 26,
        IPV6_MULTICAST_ALL = 29,
        IPV6_AUTOFLOWLABEL = 70,
        IPV6_RECVPKTINFO = 49,
        IPV6_PKTINFO = 50,
        IPV6_RECVHOPLIMIT = 51,
        IPV6_HOPLIMIT = 52,
        IPV6_RECVTCLASS = 66,
        IPV6_TCLASS = 67,
        IPV6_FREEBIND = 78,
        IPV6_TRANSPARENT = 75,
        IPV6_UNICAST_IF = 76,
    }
}

open_enum! {
    /// Control messages at `SOL_SOCKET` (unix(7)).
    pub struct ScmType: i32 {
        SCM_RIGHTS = 1,
        SCM_CREDENTIALS = 2,
        SCM_SECURITY = 3,
        SCM_PIDFD = 4,
    }
}

open_enum! {
    /// The protocols of `AF_NETLINK` (netlink(7)).
    pub struct NetlinkFamily: i32 {
        NETLINK_ROUTE = 0,
        NETLINK_USERSOCK = 2,
        NETLINK_SOCK_DIAG = 4,
        NETLINK_XFRM = 6,
        NETLINK_SELINUX = 7,
        NETLINK_AUDIT = 9,
        NETLINK_FIB_LOOKUP = 10,
        NETLINK_CONNECTOR = 11,
        NETLINK_NETFILTER = 12,
        NETLINK_DNRTMSG = 14,
        NETLINK_KOBJECT_UEVENT = 15,
        NETLINK_GENERIC = 16,
        NETLINK_CRYPTO = 21,
    }
}

flag_type! {
    /// The flags of a network interface (netdevice(7)).
    pub struct IfFlags: u32, prefix "IFF_" {
        UP = 0x1,
        BROADCAST = 0x2,
        DEBUG = 0x4,
        LOOPBACK = 0x8,
        POINTOPOINT = 0x10,
        NOTRAILERS = 0x20,
        RUNNING = 0x40,
        NOARP = 0x80,
        PROMISC = 0x100,
        ALLMULTI = 0x200,
        MASTER = 0x400,
        SLAVE = 0x800,
        MULTICAST = 0x1000,
        PORTSEL = 0x2000,
        AUTOMEDIA = 0x4000,
        DYNAMIC = 0x8000,
        LOWER_UP = 0x10000,
        DORMANT = 0x20000,
        ECHO = 0x40000,
    }
}
