//! Terminals: pseudo-terminals, line discipline, job control: pty(7), termios(3), ioctl_tty(2).

use super::Family;
use crate::prelude::*;

pub const GROUPS: Family = &[CASES];

/// A new pseudo-terminal: master and slave, unlocked, not a controlling terminal.
fn pty() -> (i32, i32) {
    let (m, name) = master();
    (m, open(&name, O_RDWR | O_NOCTTY))
}

fn master() -> (i32, String) {
    let m = sc!(openat, AT_FDCWD, c"/dev/ptmx", O_RDWR | O_NOCTTY, 0);
    let m = m.skip_on(&[ENOENT, ENODEV]).fd();
    let zero = 0i32;
    sc!(ioctl, m, TIOCSPTLCK, &raw const zero).is(0);
    let mut n = -1i32;
    sc!(ioctl, m, TIOCGPTN, &raw mut n).is(0);
    (m, format!("/dev/pts/{}", *std::hint::black_box(&mut n)))
}

fn attributes(fd: i32) -> termios {
    let mut t: termios = zeroed();
    sc!(ioctl, fd, TCGETS, &raw mut t).is(0);
    t
}

fn change(fd: i32, f: impl FnOnce(&mut termios)) {
    let mut t = attributes(fd);
    f(&mut t);
    sc!(ioctl, fd, TCSETS, &raw const t).is(0);
}

/// What arrives at the master within a moment.
fn output(m: i32) -> Vec<u8> {
    let mut all = Vec::new();
    while poll_one(m, POLLIN, 100) & POLLIN != 0 {
        all.extend(read_some(m, 4096));
    }
    all
}

/// A child that is a session leader with the slave as its controlling terminal.
#[track_caller]
fn session(name: &str, f: impl FnOnce(i32)) -> Child {
    fork(|| {
        let _ = sc!(setsid).ok();
        let s = open(name, O_RDWR);
        f(s);
    })
}

static CASES: &[Case] = &[
    case!("openat ioctl", "master_and_slave_are_connected", || {
        let (m, s) = pty();
        write_all(s, b"out");
        assert_eq!(read_some(m, 8), b"out");
        write_all(m, b"in\n");
        assert_eq!(read_some(s, 8), b"in\n");
    }),
    case!("openat ioctl", "locked_slave_is_eio", || {
        let m = sc!(openat, AT_FDCWD, c"/dev/ptmx", O_RDWR | O_NOCTTY, 0);
        let m = m.skip_on(&[ENOENT, ENODEV]).fd();
        let mut n = -1i32;
        sc!(ioctl, m, TIOCGPTN, &raw mut n).is(0);
        let path = cstr(format!("/dev/pts/{}", *std::hint::black_box(&mut n)));
        sc!(openat, AT_FDCWD, &path, O_RDWR | O_NOCTTY, 0).err(EIO);
    }),
    case!("ioctl", "getptpeer_opens_the_slave", || {
        let (m, _) = master();
        let s = sc!(ioctl, m, TIOCGPTPEER, O_RDWR | O_NOCTTY).fd();
        write_all(s, b"x");
        assert_eq!(read_some(m, 4), b"x");
    }),
    case!("read", "canonical_mode_waits_for_a_line", || {
        let (m, s) = pty();
        write_all(m, b"par");
        assert_eq!(poll_one(s, POLLIN, 20), 0);
        write_all(m, b"tial\nnext");
        assert_eq!(read_some(s, 64), b"partial\n");
        assert_eq!(poll_one(s, POLLIN, 20), 0);
    }),
    case!("read", "short_read_leaves_the_rest_of_the_line", || {
        let (m, s) = pty();
        write_all(m, b"abcdef\n");
        assert_eq!(read_some(s, 2), b"ab");
        assert_eq!(read_some(s, 64), b"cdef\n");
    }),
    case!("read", "erase_and_kill_edit_the_line", || {
        let (m, s) = pty();
        write_all(m, b"abx\x7fc\n");
        assert_eq!(read_some(s, 64), b"abc\n");
        write_all(m, b"all wrong\x15right\n");
        assert_eq!(read_some(s, 64), b"right\n");
        write_all(m, b"one two\x17three\n");
        assert_eq!(read_some(s, 64), b"one three\n");
    }),
    case!("read", "end_of_file_character", || {
        let (m, s) = pty();
        write_all(m, b"\x04");
        assert_eq!(read_some(s, 64), b"");
        write_all(m, b"half\x04");
        assert_eq!(read_some(s, 64), b"half");
    }),
    case!("read", "carriage_return_becomes_newline", || {
        let (m, s) = pty();
        write_all(m, b"line\r");
        assert_eq!(read_some(s, 64), b"line\n");
    }),
    case!("read", "literal_next_quotes", || {
        let (m, s) = pty();
        write_all(m, b"a\x16\x04b\n");
        assert_eq!(read_some(s, 64), b"a\x04b\n");
    }),
    case!(
        "write",
        "newline_is_sent_as_carriage_return_newline",
        || {
            let (m, s) = pty();
            write_all(s, b"a\nb");
            assert_eq!(output(m), b"a\r\nb");
            change(s, |t| t.c_oflag &= !OPOST);
            write_all(s, b"a\nb");
            assert_eq!(output(m), b"a\nb");
        }
    ),
    case!("write", "input_is_echoed", || {
        let (m, s) = pty();
        write_all(m, b"hi\n");
        assert_eq!(output(m), b"hi\r\n");
        change(s, |t| t.c_lflag &= !ECHO);
        write_all(m, b"quiet\n");
        assert_eq!(output(m), b"");
    }),
    case!("write", "control_characters_echo_with_a_caret", || {
        let (m, _s) = pty();
        write_all(m, b"\x01");
        assert_eq!(output(m), b"^A");
    }),
    case!("write", "erase_echoes_backspace_blank_backspace", || {
        let (m, _s) = pty();
        write_all(m, b"a\x7f");
        assert_eq!(output(m), b"a\x08 \x08");
    }),
    case!("ioctl", "raw_mode_passes_everything_at_once", || {
        let (m, s) = pty();
        change(s, |t| {
            t.c_lflag &= !(ICANON | ECHO | ISIG | IEXTEN);
            t.c_iflag &= !(ICRNL | IXON);
        });
        write_all(m, b"\x03\x04\r");
        assert_eq!(read_some(s, 8), b"\x03\x04\r");
    }),
    case!("ioctl", "vmin_and_vtime", || {
        let (m, s) = pty();
        change(s, |t| {
            t.c_lflag &= !(ICANON | ECHO);
            t.c_cc[VMIN] = 0;
            t.c_cc[VTIME] = 1;
        });
        let took = timed(|| assert_eq!(read_some(s, 8), b""));
        assert!(took >= 80 * MS, "{took}");
        change(s, |t| {
            t.c_cc[VMIN] = 3;
            t.c_cc[VTIME] = 0;
        });
        let child = fork(|| assert_eq!(read_some(s, 8), b"abc"));
        write_all(m, b"ab");
        wait_asleep(child.pid);
        write_all(m, b"c");
        child.ok();
    }),
    case!("ioctl", "attributes_are_kept_and_shared", || {
        let (m, s) = pty();
        change(s, |t| t.c_cc[VINTR] = b'q');
        assert_eq!(attributes(m).c_cc[VINTR], b'q');
        let t = attributes(s);
        assert_eq!(t.c_lflag & (ICANON | ECHO | ISIG), ICANON | ECHO | ISIG);
        assert_eq!(t.c_cflag & CSIZE, CS8);
        assert_eq!(t.c_cc[VERASE], 0x7f);
    }),
    case!("ioctl", "window_size_and_sigwinch", || {
        let (m, name) = master();
        let ready = Gate::new();
        let child = session(&name, |s| {
            on_signal(SIGWINCH, SA_RESTART);
            ready.open();
            eventually("SIGWINCH", || hits(SIGWINCH) == 1);
            let mut ws = [0u16; 4];
            sc!(ioctl, s, TIOCGWINSZ, &mut ws).is(0);
            assert_eq!(ws, [24, 80, 0, 0]);
        });
        ready.wait();
        sc!(ioctl, m, TIOCSWINSZ, [24u16, 80, 0, 0]).is(0);
        child.ok();
    }),
    case!(
        "ioctl setsid",
        "opening_makes_it_the_controlling_terminal",
        || {
            let (_m, name) = master();
            session(&name, |s| {
                let mut sid = 0i32;
                sc!(ioctl, s, TIOCGSID, &raw mut sid).is(0);
                assert_eq!(sid, getpid());
                let tty = open("/dev/tty", O_RDWR);
                write_all(tty, b"x");
                // Giving it up hangs up the foreground group.
                set_disposition(SIGHUP, SIG_IGN);
                sc!(ioctl, s, TIOCNOTTY, 0).is(0);
                sc!(openat, AT_FDCWD, c"/dev/tty", O_RDWR, 0).err(ENXIO);
            })
            .ok();
        }
    ),
    case!("ioctl setsid", "noctty_and_tiocsctty", || {
        let (_m, name) = master();
        fork(|| {
            let _ = sc!(setsid).ok();
            let s = open(&name, O_RDWR | O_NOCTTY);
            sc!(openat, AT_FDCWD, c"/dev/tty", O_RDWR, 0).err(ENXIO);
            sc!(ioctl, s, TIOCSCTTY, 0).is(0);
            open("/dev/tty", O_RDWR);
        })
        .ok();
    }),
    case!("ioctl", "interrupt_quit_and_suspend_characters", || {
        for (key, sig) in [(b"\x03", SIGINT), (b"\x1c", SIGQUIT), (b"\x1a", SIGTSTP)] {
            let (m, name) = master();
            let ready = Gate::new();
            let child = session(&name, |_s| {
                on_signal(sig, 0);
                ready.open();
                eventually("the signal", || hits(sig) == 1);
            });
            ready.wait();
            write_all(m, key);
            child.ok();
        }
    }),
    case!("ioctl", "foreground_group_gets_the_interrupt", || {
        let (m, name) = master();
        let ready = Gate::new();
        let child = session(&name, |s| {
            on_signal(SIGINT, 0);
            set_disposition(SIGTTOU, SIG_IGN);
            let job = fork(|| {
                set_disposition(SIGINT, SIG_DFL);
                sleep_ms(60_000);
            });
            wait_asleep(job.pid);
            sc!(setpgid, job.pid, job.pid).is(0);
            let pg = job.pid;
            sc!(ioctl, s, TIOCSPGRP, &raw const pg).is(0);
            let mut got = 0i32;
            sc!(ioctl, s, TIOCGPGRP, &raw mut got).is(0);
            assert_eq!(got, pg);
            ready.open();
            job.dies(SIGINT);
            assert_eq!(hits(SIGINT), 0);
        });
        ready.wait();
        write_all(m, b"\x03");
        child.ok();
    }),
    case!("read", "background_read_stops_with_sigttin", || {
        let (_m, name) = master();
        session(&name, |s| {
            let job = fork(|| {
                sc!(setpgid, 0, 0).is(0);
                let _ = read_some(s, 1);
            });
            assert_eq!(job.wait_for(WUNTRACED).stopped(), Some(SIGTTIN));
            job.kill(SIGKILL);
            job.dies(SIGKILL);
        })
        .ok();
    }),
    case!(
        "read",
        "background_read_with_ignored_sigttin_is_eio",
        || {
            let (_m, name) = master();
            session(&name, |s| {
                let job = fork(|| {
                    sc!(setpgid, 0, 0).is(0);
                    set_disposition(SIGTTIN, SIG_IGN);
                    let mut b = [0u8; 1];
                    sc!(read, s, &mut b, 1).err(EIO);
                });
                job.ok();
            })
            .ok();
        }
    ),
    case!("write", "background_write_stops_only_with_tostop", || {
        let (_m, name) = master();
        session(&name, |s| {
            let job = fork(|| {
                sc!(setpgid, 0, 0).is(0);
                write_all(s, b"fine");
            });
            job.ok();
            change(s, |t| t.c_lflag |= TOSTOP);
            let job = fork(|| {
                sc!(setpgid, 0, 0).is(0);
                write_all(s, b"stop");
            });
            assert_eq!(job.wait_for(WUNTRACED).stopped(), Some(SIGTTOU));
            job.kill(SIGKILL);
            job.dies(SIGKILL);
        })
        .ok();
    }),
    case!("ioctl", "closing_the_master_hangs_up", || {
        let (m, name) = master();
        let ready = Gate::new();
        let child = session(&name, |s| {
            close(m);
            on_signal(SIGHUP, SA_RESTART);
            ready.open();
            eventually("SIGHUP", || hits(SIGHUP) >= 1);
            assert_eq!(read_some(s, 4), b"");
            sc!(write, s, b"x", 1).err(EIO);
        });
        ready.wait();
        close(m);
        child.ok();
    }),
    case!("read", "master_read_after_slave_close_is_eio", || {
        let (m, s) = pty();
        write_all(s, b"last");
        close(s);
        assert_eq!(read_some(m, 16), b"last");
        let mut b = [0u8; 4];
        sc!(read, m, &mut b, 4).err(EIO);
        assert_eq!(poll_one(m, POLLIN, 0) & POLLHUP, POLLHUP);
    }),
    case!(
        "ioctl",
        "end_of_the_session_leader_hangs_up_the_foreground",
        || {
            let (_m, name) = master();
            let (r, w) = pipe();
            let child = session(&name, |_s| {
                let ready = Gate::new();
                let _job = fork(|| {
                    let _ = sc!(prctl, PR_SET_PDEATHSIG, 0);
                    on_signal(SIGHUP, 0);
                    ready.open();
                    eventually("SIGHUP", || hits(SIGHUP) >= 1);
                    write_all(w, b"hup");
                });
                ready.wait();
            });
            child.ok();
            close(w);
            assert_eq!(read_some(r, 8), b"hup");
        }
    ),
    case!("ioctl", "input_and_output_queue_sizes", || {
        let (m, s) = pty();
        write_all(m, b"abc\n");
        let mut n = 0i32;
        assert_eq!(poll_one(s, POLLIN, 5000), POLLIN);
        sc!(ioctl, s, FIONREAD, &raw mut n).is(0);
        assert_eq!(n, 4);
        sc!(ioctl, s, TIOCOUTQ, &raw mut n).is(0);
        sc!(ioctl, s, TCFLSH, TCIFLUSH).is(0);
        sc!(ioctl, s, FIONREAD, &raw mut n).is(0);
        assert_eq!(n, 0);
        sc!(ioctl, s, TCFLSH, 9).err(EINVAL);
    }),
    case!("ioctl", "faked_input", || {
        need_root();
        let (_m, s) = pty();
        for b in b"x\n" {
            sc!(ioctl, s, TIOCSTI, &raw const *b).skip_on(&[EIO]).is(0);
        }
        assert_eq!(read_some(s, 8), b"x\n");
    }),
    case!("ioctl", "stop_and_start_output", || {
        let (m, s) = pty();
        sc!(ioctl, s, TCXONC, TCOOFF).is(0);
        let child = fork(|| write_all(s, b"held"));
        wait_asleep(child.pid);
        assert_eq!(poll_one(m, POLLIN, 30), 0);
        sc!(ioctl, s, TCXONC, TCOON).is(0);
        child.ok();
        assert_eq!(output(m), b"held");
    }),
    case!("ioctl", "packet_mode_prefixes_zero", || {
        let (m, s) = pty();
        let on = 1i32;
        sc!(ioctl, m, TIOCPKT, &raw const on).is(0);
        write_all(s, b"x");
        assert_eq!(read_some(m, 8), b"\0x");
        sc!(ioctl, s, TCFLSH, TCIFLUSH).is(0);
        assert_eq!(read_some(m, 8), [1], "TIOCPKT_FLUSHREAD");
    }),
    case!("ioctl", "exclusive_mode_is_ebusy_for_others", || {
        let (_m, name) = master();
        let s = open(&name, O_RDWR | O_NOCTTY);
        sc!(ioctl, s, TIOCEXCL, 0).is(0);
        as_nobody(|| {
            let r = sc!(openat, AT_FDCWD, cstr(&name), O_RDWR | O_NOCTTY, 0);
            r.err_any(&[EBUSY, EACCES]);
        });
        sc!(ioctl, s, TIOCNXCL, 0).is(0);
        open(&name, O_RDWR | O_NOCTTY);
    }),
    case!("ioctl", "drain_and_break_are_accepted", || {
        let (_m, s) = pty();
        sc!(ioctl, s, TCSBRK, 1).is(0);
        let t = attributes(s);
        sc!(ioctl, s, TCSETSW, &raw const t).is(0);
        sc!(ioctl, s, TCSETSF, &raw const t).is(0);
    }),
    case!("fstat", "slave_is_a_character_device_of_136", || {
        let (_m, s) = pty();
        let st = fstat(s);
        assert_eq!((st.st_mode & S_IFMT, major(st.st_rdev)), (S_IFCHR, 136));
    }),
];
