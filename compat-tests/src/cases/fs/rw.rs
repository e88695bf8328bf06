//! read(2), write(2) and their vectored and positioned relatives; lseek(2); sendfile and copies.

use crate::prelude::*;

fn iov(parts: &mut [Vec<u8>]) -> Vec<[usize; 2]> {
    parts.iter_mut().map(|p| [p.raw(), p.len()]).collect()
}

pub static CASES: &[Case] = &[
    case!("read", "at_end_is_zero", || {
        let fd = file("f", b"ab");
        assert_eq!(read_some(fd, 8), b"ab");
        assert_eq!(read_some(fd, 8), b"");
    }),
    case!("read", "short_read_near_the_end", || {
        assert_eq!(read_some(file("f", b"abc"), 100).len(), 3);
    }),
    case!("read", "count_zero_is_zero", || sc!(
        read,
        file("f", b"x"),
        BAD,
        0
    )
    .is(0)),
    case!("read", "bad_descriptor_is_ebadf", || sc!(read, 777, BAD, 1)
        .err(EBADF)),
    case!("read", "write_only_descriptor_is_ebadf", || {
        put("f", b"x");
        let mut b = [0u8; 1];
        sc!(read, open("f", O_WRONLY), &mut b, 1).err(EBADF);
    }),
    case!("read", "bad_buffer_is_efault", || sc!(
        read,
        file("f", b"x"),
        BAD,
        1
    )
    .err(EFAULT)),
    case!("read", "kernel_address_is_efault", || {
        sc!(read, file("f", b"x"), 0xffff_8000_0000_0000u64, 1).err(EFAULT);
    }),
    case!("read", "partly_bad_buffer_reads_what_fits", || {
        let fd = file("f", vec![7u8; 8192]);
        let at = map_anon(2 * PAGE, PROT_READ | PROT_WRITE);
        sc!(munmap, at + PAGE, PAGE).is(0);
        sc!(read, fd, at, 8192).is(PAGE as i64);
        assert_eq!(peek(at + PAGE - 1), 7);
    }),
    case!("read", "directory_is_eisdir", || {
        let mut b = [0u8; 8];
        sc!(read, open(".", O_RDONLY), &mut b, 8).err(EISDIR);
    }),
    case!("read", "hole_reads_as_zeros", || {
        let fd = file("f", b"");
        sc!(ftruncate, fd, 10000).is(0);
        let data = read_some(fd, 10000);
        assert!(data.len() == 10000 && data.iter().all(|b| *b == 0));
    }),
    case!("read", "size_above_ssize_max_is_einval_or_efault", || {
        let mut b = [0u8; 8];
        sc!(read, file("f", b"x"), &mut b, usize::MAX).err_any(&[EINVAL, EFAULT]);
    }),
    case!("read", "dev_zero_gives_zeros", || {
        assert_eq!(
            read_some(open("/dev/zero", O_RDONLY), 5000),
            vec![0u8; 5000]
        );
    }),
    case!("read", "dev_null_is_at_end", || {
        assert!(read_some(open("/dev/null", O_RDONLY), 10).is_empty());
    }),
    case!("write", "dev_full_is_enospc", || {
        sc!(write, open("/dev/full", O_WRONLY), b"x", 1).err(ENOSPC);
    }),
    case!("write", "dev_null_takes_all", || {
        sc!(write, open("/dev/null", O_WRONLY), [1u8; 100], 100).is(100);
    }),
    case!("write", "extends_and_moves_the_offset", || {
        let fd = file("f", b"ab");
        sc!(lseek, fd, 0, SEEK_END).is(2);
        write_all(fd, b"cd");
        sc!(lseek, fd, 0, SEEK_CUR).is(4);
        assert_eq!(get("f"), b"abcd");
    }),
    case!("write", "beyond_the_end_leaves_a_hole", || {
        let fd = file("f", b"a");
        sc!(lseek, fd, 5000, SEEK_SET).is(5000);
        write_all(fd, b"z");
        let data = get("f");
        assert_eq!(
            (data.len(), data[0], data[4999], data[5000]),
            (5001, b'a', 0, b'z')
        );
    }),
    case!("write", "read_only_descriptor_is_ebadf", || {
        put("f", b"");
        sc!(write, open("f", O_RDONLY), b"x", 1).err(EBADF);
    }),
    case!("write", "bad_buffer_is_efault", || sc!(
        write,
        file("f", b""),
        BAD,
        1
    )
    .err(EFAULT)),
    case!("write", "partly_bad_buffer_writes_what_is_there", || {
        let fd = file("f", b"");
        let at = map_anon(2 * PAGE, PROT_READ | PROT_WRITE);
        sc!(munmap, at + PAGE, PAGE).is(0);
        let n = sc!(write, fd, at + PAGE - 100, 200);
        assert!(n.errno() == EFAULT || n.ok() == 100);
    }),
    case!("write", "clears_setuid_for_others_than_root", || {
        put("f", b"x");
        need_root();
        sc!(chown, c"f", NOBODY, NOBODY).is(0);
        sc!(chmod, c"f", 0o6777).is(0);
        as_nobody(|| write_all(open("f", O_WRONLY), b"y"));
        assert_eq!(lstat("f").st_mode & 0o6000, 0);
    }),
    case!(
        "write setrlimit",
        "beyond_rlimit_fsize_is_efbig_with_sigxfsz",
        || {
            let fd = file("f", b"");
            on_signal(SIGXFSZ, 0);
            sc!(setrlimit, RLIMIT_FSIZE, [10u64, 10]).is(0);
            sc!(write, fd, [0u8; 20], 20).is(10);
            sc!(write, fd, [0u8; 20], 20).err(EFBIG);
            assert_eq!(hits(SIGXFSZ), 1);
        }
    ),
    case!("write", "updates_mtime_and_ctime", || {
        let fd = file("f", b"");
        let old = [timespec(1000, 0), timespec(1000, 0)];
        sc!(utimensat, AT_FDCWD, c"f", &old, 0).is(0);
        write_all(fd, b"x");
        let st = fstat(fd);
        assert!(st.st_mtime > 1000 && st.st_ctime > 1000);
        assert_eq!(st.st_atime, 1000);
    }),
    case!("pread64", "does_not_move_the_offset", || {
        let fd = file("f", b"abcdef");
        let mut b = [0u8; 2];
        sc!(pread64, fd, &mut b, 2, 3).is(2);
        assert_eq!(&b, b"de");
        sc!(lseek, fd, 0, SEEK_CUR).is(0);
    }),
    case!("pread64", "negative_offset_is_einval", || {
        let mut b = [0u8; 2];
        sc!(pread64, file("f", b"ab"), &mut b, 2, -1).err(EINVAL);
    }),
    case!("pread64", "beyond_the_end_is_zero", || {
        let mut b = [0u8; 2];
        sc!(pread64, file("f", b"ab"), &mut b, 2, 100).is(0);
    }),
    case!("pread64", "pipe_is_espipe", || {
        let mut b = [0u8; 2];
        sc!(pread64, pipe().0, &mut b, 2, 0).err(ESPIPE);
    }),
    case!("pwrite64", "writes_at_the_place", || {
        let fd = file("f", b"abcdef");
        sc!(pwrite64, fd, b"XY", 2, 2).is(2);
        assert_eq!(get("f"), b"abXYef");
        sc!(lseek, fd, 0, SEEK_CUR).is(0);
    }),
    case!("pwrite64", "negative_offset_is_einval", || {
        sc!(pwrite64, file("f", b""), b"x", 1, -5).err(EINVAL);
    }),
    case!("pwrite64", "append_descriptor_appends_anyway", || {
        put("f", b"abc");
        sc!(pwrite64, open("f", O_WRONLY | O_APPEND), b"Z", 1, 0).is(1);
        assert_eq!(get("f"), b"abcZ");
    }),
    case!("pwrite64", "pipe_is_espipe", || sc!(
        pwrite64,
        pipe().1,
        b"x",
        1,
        0
    )
    .err(ESPIPE)),
    case!("readv", "scatters_in_order", || {
        let fd = file("f", b"abcdef");
        let mut parts = [vec![0u8; 2], vec![0u8; 0], vec![0u8; 3]];
        sc!(readv, fd, iov(&mut parts), 3).is(5);
        assert_eq!((&parts[0][..], &parts[2][..]), (&b"ab"[..], &b"cde"[..]));
    }),
    case!("readv", "count_zero_is_zero", || sc!(
        readv,
        file("f", b"x"),
        BAD,
        0
    )
    .is(0)),
    case!("readv", "count_above_1024_is_einval", || {
        sc!(readv, file("f", b"x"), vec![[0usize; 2]; 1025], 1025).err(EINVAL);
    }),
    case!("readv", "count_of_1024_is_fine", || {
        sc!(readv, file("f", b"x"), vec![[0usize; 2]; 1024], 1024).is(0);
    }),
    case!("readv", "negative_length_is_einval", || {
        sc!(readv, file("f", b"x"), [[BAD.addr(), usize::MAX]], 1).err(EINVAL);
    }),
    case!("readv", "bad_vector_is_efault", || sc!(
        readv,
        file("f", b"x"),
        BAD,
        1
    )
    .err(EFAULT)),
    case!("writev", "gathers_in_order", || {
        let fd = file("f", b"");
        let mut parts = [b"ab".to_vec(), b"".to_vec(), b"cde".to_vec()];
        sc!(writev, fd, iov(&mut parts), 3).is(5);
        assert_eq!(get("f"), b"abcde");
    }),
    case!("writev", "bad_part_is_efault_or_short", || {
        let fd = file("f", b"");
        let good = b"ab";
        let r = sc!(writev, fd, [[good.raw(), 2], [BAD.addr(), 2]], 2);
        assert!(r.errno() == EFAULT || r.ok() == 2);
    }),
    case!("writev", "bad_descriptor_is_ebadf", || sc!(
        writev, 99, BAD, 1
    )
    .err(EBADF)),
    case!("preadv", "reads_at_the_place", || {
        let fd = file("f", b"abcdef");
        let mut parts = [vec![0u8; 1], vec![0u8; 2]];
        sc!(preadv, fd, iov(&mut parts), 2, 2, 0).is(3);
        assert_eq!((&parts[0][..], &parts[1][..]), (&b"c"[..], &b"de"[..]));
    }),
    case!("preadv", "negative_offset_is_einval", || {
        sc!(preadv, file("f", b"x"), [[0usize; 2]], 1, -1, -1).err(EINVAL);
    }),
    case!("pwritev", "writes_at_the_place", || {
        let fd = file("f", b"abcdef");
        let mut parts = [b"X".to_vec(), b"Y".to_vec()];
        sc!(pwritev, fd, iov(&mut parts), 2, 4, 0).is(2);
        assert_eq!(get("f"), b"abcdXY");
    }),
    case!("preadv2", "offset_minus_one_uses_the_file_offset", || {
        let fd = file("f", b"abcdef");
        let mut parts = [vec![0u8; 2]];
        sc!(preadv2, fd, iov(&mut parts), 1, -1, -1, 0).is(2);
        sc!(lseek, fd, 0, SEEK_CUR).is(2);
    }),
    case!("preadv2", "unknown_flag_is_eopnotsupp", || {
        let mut parts = [vec![0u8; 2]];
        sc!(preadv2, file("f", b"ab"), iov(&mut parts), 1, 0, 0, 1 << 20).err(EOPNOTSUPP);
    }),
    case!(
        "preadv2",
        "nowait_on_cached_data_reads_or_is_eagain",
        || {
            let mut parts = [vec![0u8; 2]];
            let r = sc!(
                preadv2,
                file("f", b"ab"),
                iov(&mut parts),
                1,
                0,
                0,
                RWF_NOWAIT
            );
            let r = r.skip_on(&[EOPNOTSUPP]);
            assert!(r.errno() == EAGAIN || r.ok() == 2);
        }
    ),
    case!("pwritev2", "append_flag_writes_at_the_end", || {
        let fd = file("f", b"abc");
        let mut parts = [b"Z".to_vec()];
        sc!(pwritev2, fd, iov(&mut parts), 1, 0, 0, RWF_APPEND).is(1);
        assert_eq!(get("f"), b"abcZ");
    }),
    case!("pwritev2", "dsync_flag_is_accepted", || {
        let mut parts = [b"Z".to_vec()];
        sc!(
            pwritev2,
            file("f", b""),
            iov(&mut parts),
            1,
            0,
            0,
            RWF_DSYNC
        )
        .is(1);
    }),
    case!("lseek", "set_cur_end", || {
        let fd = file("f", b"abcdef");
        sc!(lseek, fd, 4, SEEK_SET).is(4);
        sc!(lseek, fd, -1, SEEK_CUR).is(3);
        sc!(lseek, fd, -2, SEEK_END).is(4);
        sc!(lseek, fd, 10, SEEK_END).is(16);
    }),
    case!("lseek", "before_the_start_is_einval", || {
        let fd = file("f", b"abc");
        sc!(lseek, fd, -1, SEEK_SET).err(EINVAL);
        sc!(lseek, fd, -4, SEEK_END).err(EINVAL);
        sc!(lseek, fd, 0, SEEK_CUR).is(0);
    }),
    case!("lseek", "unknown_whence_is_einval", || sc!(
        lseek,
        file("f", b""),
        0,
        99
    )
    .err(EINVAL)),
    case!("lseek", "pipe_is_espipe", || sc!(
        lseek,
        pipe().0,
        0,
        SEEK_CUR
    )
    .err(ESPIPE)),
    case!("lseek", "socket_is_espipe", || {
        sc!(lseek, socketpair(SOCK_STREAM).0, 0, SEEK_CUR).err(ESPIPE);
    }),
    case!("lseek", "bad_descriptor_is_ebadf", || sc!(
        lseek, -1, 0, SEEK_CUR
    )
    .err(EBADF)),
    case!("lseek", "data_finds_data_behind_a_hole", || {
        let fd = file("f", b"");
        sc!(pwrite64, fd, b"data", 4, 1 << 20).is(4);
        let at = sc!(lseek, fd, 0, SEEK_DATA).ok();
        assert!(at <= 1 << 20 && at % 512 == 0, "data at {at}");
    }),
    case!("lseek", "hole_is_at_the_end_at_the_latest", || {
        sc!(lseek, file("f", b"abc"), 0, SEEK_HOLE).is(3);
    }),
    case!("lseek", "data_beyond_the_end_is_enxio", || {
        let fd = file("f", b"abc");
        sc!(lseek, fd, 3, SEEK_DATA).err(ENXIO);
        sc!(lseek, fd, 4, SEEK_HOLE).err(ENXIO);
    }),
    case!("lseek", "data_in_a_file_of_holes_is_enxio", || {
        let fd = file("f", b"");
        sc!(ftruncate, fd, 1 << 20).is(0);
        sc!(lseek, fd, 0, SEEK_DATA).err(ENXIO);
        sc!(lseek, fd, 5, SEEK_HOLE).is(5);
    }),
    case!("lseek fork", "offset_is_shared_with_a_child", || {
        let fd = file("f", b"abcdef");
        fork(|| assert_eq!(read_some(fd, 4), b"abcd")).ok();
        sc!(lseek, fd, 0, SEEK_CUR).is(4);
    }),
    case!("sendfile", "file_to_pipe_moves_the_offset", || {
        let (r, w) = pipe();
        let fd = file("f", b"abcdef");
        sc!(sendfile, w, fd, 0, 4).is(4);
        assert_eq!(read_some(r, 8), b"abcd");
        sc!(lseek, fd, 0, SEEK_CUR).is(4);
    }),
    case!("sendfile", "with_offset_leaves_the_file_offset", || {
        let (r, w) = pipe();
        let fd = file("f", b"abcdef");
        let mut off = 2i64;
        sc!(sendfile, w, fd, &raw mut off, 3).is(3);
        assert_eq!((off, read_some(r, 8)), (5, b"cde".to_vec()));
        sc!(lseek, fd, 0, SEEK_CUR).is(0);
    }),
    case!("sendfile", "file_to_file", || {
        let (a, b) = (file("a", b"hello"), file("b", b""));
        sc!(sendfile, b, a, 0, 100).is(5);
        assert_eq!(get("b"), b"hello");
        sc!(sendfile, b, a, 0, 100).is(0);
    }),
    case!("sendfile", "to_a_socket", || {
        let (a, b) = socketpair(SOCK_STREAM);
        sc!(sendfile, a, file("f", b"net"), 0, 10).is(3);
        assert_eq!(read_some(b, 10), b"net");
    }),
    case!("sendfile", "from_a_pipe_is_einval", || {
        let (r, _w) = pipe();
        sc!(sendfile, file("f", b""), r, 0, 1).err_any(&[EINVAL, ESPIPE]);
    }),
    case!("sendfile", "bad_descriptors_are_ebadf", || {
        let fd = file("f", b"x");
        sc!(sendfile, 99, fd, 0, 1).err(EBADF);
        sc!(sendfile, fd, 99, 0, 1).err(EBADF);
    }),
    case!("copy_file_range", "copies_and_moves_both_offsets", || {
        let (a, b) = (file("a", b"abcdef"), file("b", b""));
        sc!(copy_file_range, a, 0, b, 0, 4, 0).is(4);
        assert_eq!(get("b"), b"abcd");
        sc!(lseek, a, 0, SEEK_CUR).is(4);
        sc!(lseek, b, 0, SEEK_CUR).is(4);
    }),
    case!("copy_file_range", "explicit_offsets", || {
        let (a, b) = (file("a", b"abcdef"), file("b", b"123456"));
        let (mut ia, mut ib) = (1i64, 2i64);
        sc!(copy_file_range, a, &raw mut ia, b, &raw mut ib, 3, 0).is(3);
        assert_eq!((ia, ib), (4, 5));
        assert_eq!(get("b"), b"12bcd6");
        sc!(lseek, a, 0, SEEK_CUR).is(0);
    }),
    case!("copy_file_range", "at_end_is_zero", || {
        let (a, b) = (file("a", b""), file("b", b""));
        sc!(copy_file_range, a, 0, b, 0, 4, 0).is(0);
    }),
    case!("copy_file_range", "flags_are_einval", || {
        let (a, b) = (file("a", b"x"), file("b", b""));
        sc!(copy_file_range, a, 0, b, 0, 1, 1).err(EINVAL);
    }),
    case!(
        "copy_file_range",
        "overlapping_in_one_file_is_einval",
        || {
            let fd = file("a", b"abcdef");
            let (mut i, mut o) = (0i64, 1i64);
            sc!(copy_file_range, fd, &raw mut i, fd, &raw mut o, 4, 0).err(EINVAL);
        }
    ),
    case!("copy_file_range", "append_target_is_ebadf", || {
        put("b", b"");
        let b = open("b", O_WRONLY | O_APPEND);
        sc!(copy_file_range, file("a", b"x"), 0, b, 0, 1, 0).err(EBADF);
    }),
    case!(
        "copy_file_range",
        "directory_is_eisdir_pipe_is_einval",
        || {
            let a = file("a", b"x");
            sc!(copy_file_range, open(".", O_RDONLY), 0, a, 0, 1, 0).err(EISDIR);
            sc!(copy_file_range, a, 0, pipe().1, 0, 1, 0).err(EINVAL);
        }
    ),
    case!("readahead", "on_a_file_works_on_a_pipe_is_einval", || {
        sc!(readahead, file("f", b"abc"), 0, 100).is(0);
        sc!(readahead, pipe().0, 0, 100).err(EINVAL);
        sc!(readahead, 99, 0, 100).err(EBADF);
    }),
    case!("fadvise64", "advices_and_errors", || {
        let fd = file("f", b"abc");
        for advice in 0..=5 {
            sc!(fadvise64, fd, 0, 0, advice).is(0);
        }
        sc!(fadvise64, fd, 0, 0, 99).err(EINVAL);
        sc!(fadvise64, 99, 0, 0, 0).err(EBADF);
        sc!(fadvise64, pipe().0, 0, 0, 0).err(ESPIPE);
    }),
    case!("fsync fdatasync", "on_files_and_pipes", || {
        let fd = file("f", b"x");
        sc!(fsync, fd).is(0);
        sc!(fdatasync, fd).is(0);
        sc!(fsync, pipe().0).err(EINVAL);
        sc!(fdatasync, pipe().0).err(EINVAL);
        sc!(fsync, -1).err(EBADF);
    }),
    case!("fsync", "directory_can_be_synced", || sc!(
        fsync,
        open(".", O_RDONLY)
    )
    .is(0)),
    case!("syncfs", "works_and_bad_descriptor_is_ebadf", || {
        sc!(syncfs, open(".", O_RDONLY)).is(0);
        sc!(syncfs, 99).err(EBADF);
    }),
    case!("sync_file_range", "ranges_and_errors", || {
        let fd = file("f", b"abc");
        sc!(sync_file_range, fd, 0, 0, SYNC_FILE_RANGE_WRITE).is(0);
        sc!(sync_file_range, fd, -1, 0, 0).err(EINVAL);
        sc!(sync_file_range, fd, 0, 0, 8).err(EINVAL);
        sc!(sync_file_range, pipe().0, 0, 0, 0).err(ESPIPE);
    }),
];
