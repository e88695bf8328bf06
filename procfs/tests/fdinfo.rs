//! fdinfo, with the text that Linux gave for files of each kind.

use keel_procfs::task::fdinfo_format;
use keel_procfs::*;

fn text(info: &FdInfo) -> String {
    let mut text = Text::new();
    fdinfo_format(info, &mut text).unwrap();
    String::from_utf8(text.into_vec()).unwrap()
}

fn info(flags: u32, extra: FdExtra) -> FdInfo {
    FdInfo {
        flags,
        mnt_id: 17,
        ino: 1038,
        extra,
        ..FdInfo::default()
    }
}

#[test]
fn kinds_of_files_add_their_lines() {
    let cases = [
        (
            info(
                0o2000002,
                FdExtra::Eventfd {
                    count: 5,
                    id: 9,
                    semaphore: Some(false),
                },
            ),
            "pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t1038\neventfd-count:                5\n\
             eventfd-id: 9\neventfd-semaphore: 0\n",
        ),
        (
            info(
                0o2000002,
                FdExtra::Epoll(vec![
                    EpollTarget {
                        fd: 3,
                        events: 0x19,
                        data: 3,
                        pos: 0,
                        ino: 0x40e,
                        sdev: 0x10,
                    },
                    EpollTarget {
                        fd: 5,
                        events: 0x80000019,
                        data: 5,
                        pos: 0,
                        ino: 0x13eda,
                        sdev: 0xf,
                    },
                ]),
            ),
            "pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t1038\n\
             tfd:        3 events:       19 data:                3  pos:0 ino:40e sdev:10\n\
             tfd:        5 events: 80000019 data:                5  pos:0 ino:13eda sdev:f\n",
        ),
        (
            info(
                2,
                FdExtra::Timerfd {
                    clock: 1,
                    ticks: 0,
                    flags: 0,
                    value: 9_999_964_948,
                    interval: 5_000_000_500,
                },
            ),
            "pos:\t0\nflags:\t02\nmnt_id:\t17\nino:\t1038\nclockid: 1\nticks: 0\nsettime flags: 00\n\
             it_value: (9, 999964948)\nit_interval: (5, 500)\n",
        ),
        (
            info(
                0,
                FdExtra::Inotify(vec![InotifyWatch {
                    wd: 1,
                    ino: 0x3c4a7,
                    sdev: 0xfe00000,
                    mask: 0x100,
                    handle: Some((1, vec![0xa7, 0xc4, 3, 0, 0, 0, 0, 0])),
                }]),
            ),
            "pos:\t0\nflags:\t00\nmnt_id:\t17\nino:\t1038\ninotify wd:1 ino:3c4a7 sdev:fe00000 \
             mask:100 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:a7c4030000000000\n",
        ),
        (
            info(2, FdExtra::Signalfd { mask: 0x4002 }),
            "pos:\t0\nflags:\t02\nmnt_id:\t17\nino:\t1038\nsigmask:\t0000000000004002\n",
        ),
        (
            info(
                0o2000002,
                FdExtra::Pidfd {
                    pid: 6143,
                    ns_pids: Vec::new(),
                },
            ),
            "pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t1038\nPid:\t6143\nNSpid:\t6143\n",
        ),
        (
            info(0o2100002, FdExtra::TtyIndex(0)),
            "pos:\t0\nflags:\t02100002\nmnt_id:\t17\nino:\t1038\ntty-index:\t0\n",
        ),
    ];
    for (info, expected) in cases {
        assert_eq!(text(&info), expected);
    }
}

#[test]
fn locks_are_numbered_lines() {
    let dev = DevNo {
        major: 0xfe,
        minor: 0,
    };
    let lock = FileLock {
        pid: 6233,
        dev,
        ino: 10010655,
        ..FileLock::default()
    };
    let file = FdInfo {
        flags: 0o2100001,
        mnt_id: 27,
        ino: 10010655,
        locks: vec![
            FileLock {
                kind: LockKind::Flock,
                ..lock.clone()
            },
            FileLock {
                write: true,
                start: 5,
                end: Some(14),
                ..lock
            },
        ],
        ..FdInfo::default()
    };
    assert_eq!(
        text(&file),
        "pos:\t0\nflags:\t02100001\nmnt_id:\t27\nino:\t10010655\n\
         lock:\t1: FLOCK  ADVISORY  READ 6233 fe:00:10010655 0 EOF\n\
         lock:\t2: POSIX  ADVISORY  WRITE 6233 fe:00:10010655 5 14\n"
    );
}
