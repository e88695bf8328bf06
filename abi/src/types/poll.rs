//! Readiness and events: poll(2), select(2), epoll(7), inotify(7), fanotify(7).

use crate::args::{Fd, Pid};
use crate::flags::{EpollEvents, PollEvents};

uapi! {
    /// poll(2)
    struct Pollfd = "struct pollfd", "asm/poll.h" {
        fd: Fd,
        events: u16,
        revents: u16,
    }

    /// select(2): 1024 bits, of which a call touches only the first `nfds`, rounded up to a word.
    struct FdSet = "fd_set", "sys/select.h" {
        bits: [u64; 16] = "",
    }

    /// epoll_wait(2)
    #[repr(packed)]
    struct EpollEvent = "struct epoll_event", "linux/fcntl.h linux/eventpoll.h" {
        events: u32,
        data: u64,
    }

    /// The head of an inotify event; `len` bytes of name follow.
    struct InotifyEvent = "struct inotify_event", "linux/inotify.h" {
        wd: i32,
        mask: u32,
        cookie: u32,
        len: u32,
    }

    /// A fanotify event; information records may follow.
    struct FanotifyEventMetadata = "struct fanotify_event_metadata", "linux/fanotify.h" {
        event_len: u32,
        vers: u8,
        reserved: u8,
        metadata_len: u16,
        mask: u64,
        fd: Fd,
        pid: Pid,
    }
}

impl Pollfd {
    /// The events asked for.
    pub const fn events(&self) -> PollEvents {
        PollEvents::from_bits_retain(self.events)
    }
}

impl EpollEvent {
    /// The events and modes.
    pub const fn events(&self) -> EpollEvents {
        EpollEvents::from_bits_retain(self.events)
    }
}
