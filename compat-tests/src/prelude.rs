//! What nearly every case uses: our own names first, then all of `libc` for its constants and structures.

pub use crate::harness::{Case, note, skip};
pub use crate::sys::{
    Arg, BAD, Child, Fault, PAGE, Ret, Status, auxv, bit, by_number, bytes_of, call_code, cstr,
    errno_name, execute_div_zero, execute_hlt, execute_in, execute_int3, execute_rdtsc,
    execute_ud2, exit, fault_of, fork, from_bytes, getpid, gettid, hits, install_plain_handler,
    last_addr, last_code, last_pid, last_stack, last_thread, last_value, long_at, map_anon, map_fd,
    on_signal, on_signal_masking, order, peek, peek_bytes, pending, plain_fork, poke, poke_bytes,
    set_disposition, shared_words, sigmask, vdso_clock_ns, vfork_store, word_at, zeroed,
};
pub use crate::util::{
    Gate, MS, NOBODY, as_nobody, become_nobody, clock_ns, close, dir, eventually, exec_helper,
    execve, exists, file, fstat, get, ignore, long_path, lstat, ms, need_root, open, pipe,
    pipe_with, poll_one, put, read_some, sleep_ms, socketpair, stat_field, status_field, text,
    timed, timespec, vector, wait_asleep, write_all,
};
pub use crate::{case, sc};
pub use libc::*;
pub use std::sync::atomic::Ordering::SeqCst;
