//! Asynchronous I/O: Linux AIO (io_submit(2)), io_uring(7), and perf_event_open(2)'s attributes.

use crate::args::UserPtr;

uapi! {
    /// io_submit(2)
    struct Iocb = "struct iocb", "linux/types.h linux/aio_abi.h" {
        aio_data: u64,
        aio_key: u32,
        aio_rw_flags: i32,
        aio_lio_opcode: u16,
        aio_reqprio: i16,
        aio_fildes: u32,
        aio_buf: u64,
        aio_nbytes: u64,
        aio_offset: i64,
        aio_reserved2: u64,
        aio_flags: u32,
        aio_resfd: u32,
    }

    /// io_getevents(2)
    struct IoEvent = "struct io_event", "linux/types.h linux/aio_abi.h" {
        data: u64,
        obj: UserPtr<Iocb>,
        res: i64,
        res2: i64,
    }

    /// Where the parts of the submission ring are.
    struct IoSqringOffsets = "struct io_sqring_offsets", "linux/io_uring.h" {
        head: u32,
        tail: u32,
        ring_mask: u32,
        ring_entries: u32,
        flags: u32,
        dropped: u32,
        array: u32,
        resv1: u32,
        user_addr: u64 = "",
    }

    /// Where the parts of the completion ring are.
    struct IoCqringOffsets = "struct io_cqring_offsets", "linux/io_uring.h" {
        head: u32,
        tail: u32,
        ring_mask: u32,
        ring_entries: u32,
        overflow: u32,
        cqes: u32,
        flags: u32,
        resv1: u32,
        user_addr: u64 = "",
    }

    /// io_uring_setup(2)
    struct IoUringParams = "struct io_uring_params", "linux/io_uring.h" {
        sq_entries: u32,
        cq_entries: u32,
        flags: u32,
        sq_thread_cpu: u32,
        sq_thread_idle: u32,
        features: u32,
        wq_fd: u32,
        resv: [u32; 3],
        sq_off: IoSqringOffsets,
        cq_off: IoCqringOffsets,
    }

    /// A submission of io_uring_enter(2).
    struct IoUringSqe = "struct io_uring_sqe", "linux/io_uring.h" {
        opcode: u8,
        flags: u8,
        ioprio: u16,
        fd: i32,
        off: u64,
        addr: u64,
        len: u32,
        op_flags: u32 = "rw_flags",
        user_data: u64,
        buf_index: u16,
        personality: u16,
        splice_fd_in: i32,
        addr3: u64,
        _pad2: u64,
    }

    /// A completion of io_uring_enter(2).
    struct IoUringCqe = "struct io_uring_cqe", "linux/io_uring.h" {
        user_data: u64,
        res: i32,
        flags: u32,
    }

    /// perf_event_open(2). `bits` holds the single-bit fields from `disabled` on.
    struct PerfEventAttr = "struct perf_event_attr", "linux/types.h linux/perf_event.h" {
        r#type: u32,
        size: u32,
        config: u64,
        sample_period: u64,
        sample_type: u64,
        read_format: u64,
        bits: u64 = "",
        wakeup_events: u32,
        bp_type: u32,
        bp_addr: u64,
        bp_len: u64,
        branch_sample_type: u64,
        sample_regs_user: u64,
        sample_stack_user: u32,
        clockid: i32,
        sample_regs_intr: u64,
        aux_watermark: u32,
        sample_max_stack: u16,
        _reserved_2: u16,
        aux_sample_size: u32,
        _reserved_3: u32,
        sig_data: u64,
        config3: u64 = "",
    }
}
