//! memfd_create(2) and seals; memfd_secret(2).

use crate::prelude::*;

const RW: i32 = PROT_READ | PROT_WRITE;

fn memfd(flags: u32) -> i32 {
    sc!(memfd_create, c"name", flags).fd()
}

fn sealable() -> i32 {
    memfd(MFD_ALLOW_SEALING)
}

fn seal(fd: i32, seals: i32) -> Ret {
    sc!(fcntl, fd, F_ADD_SEALS, seals)
}

pub static CASES: &[Case] = &[
    case!("memfd_create", "is_a_file_of_size_zero", || {
        let fd = memfd(0);
        assert_eq!(
            (fstat(fd).st_size, fstat(fd).st_mode & S_IFMT),
            (0, S_IFREG)
        );
        write_all(fd, b"hello");
        sc!(lseek, fd, 0, SEEK_SET).is(0);
        assert_eq!(read_some(fd, 10), b"hello");
    }),
    case!("memfd_create readlink", "name_shows_in_proc", || {
        let fd = memfd(0);
        let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        assert_eq!(link.to_string_lossy(), "/memfd:name (deleted)");
    }),
    case!("memfd_create", "flags", || {
        sc!(fcntl, memfd(MFD_CLOEXEC), F_GETFD).is(1);
        sc!(fcntl, memfd(0), F_GETFD).is(0);
        sc!(memfd_create, c"n", 0x100).err(EINVAL);
    }),
    case!("memfd_create", "name_limits", || {
        sc!(memfd_create, cstr("n".repeat(249)), 0).ok();
        sc!(memfd_create, cstr("n".repeat(250)), 0).err(EINVAL);
        sc!(memfd_create, c"", 0).ok();
        sc!(memfd_create, BAD, 0).err(EFAULT);
    }),
    case!("memfd_create mmap", "two_mappings_share", || {
        let fd = memfd(0);
        sc!(ftruncate, fd, PAGE).is(0);
        let (a, b) = (
            map_fd(fd, PAGE, RW, MAP_SHARED, 0),
            map_fd(fd, PAGE, RW, MAP_SHARED, 0),
        );
        poke(a, 9);
        assert_eq!(peek(b), 9);
    }),
    case!(
        "memfd_create mmap",
        "mapping_keeps_memory_after_close",
        || {
            let fd = memfd(0);
            sc!(ftruncate, fd, PAGE).is(0);
            let at = map_fd(fd, PAGE, RW, MAP_SHARED, 0);
            close(fd);
            poke(at, 1);
        }
    ),
    case!("fcntl", "seals_default_to_sealed", || {
        sc!(fcntl, memfd(0), F_GET_SEALS).is(F_SEAL_SEAL.into());
        seal(memfd(0), F_SEAL_WRITE).err(EPERM);
        sc!(fcntl, sealable(), F_GET_SEALS).is(0);
    }),
    case!("fcntl", "seals_of_ordinary_file_are_einval", || {
        sc!(fcntl, file("f", b""), F_GET_SEALS).err(EINVAL);
        seal(file("f", b""), F_SEAL_WRITE).err(EINVAL);
    }),
    case!("fcntl", "seal_write_refuses_all_writing", || {
        let fd = sealable();
        write_all(fd, b"abc");
        seal(fd, F_SEAL_WRITE).is(0);
        sc!(write, fd, b"x", 1).err(EPERM);
        sc!(pwrite64, fd, b"x", 1, 0).err(EPERM);
        sc!(mmap, 0, PAGE, RW, MAP_SHARED, fd, 0).err(EPERM);
        sc!(mmap, 0, PAGE, RW, MAP_PRIVATE, fd, 0).ok();
        sc!(
            fallocate,
            fd,
            FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            0,
            1
        )
        .err(EPERM);
    }),
    case!("fcntl", "seal_write_with_writable_mapping_is_ebusy", || {
        let fd = sealable();
        sc!(ftruncate, fd, PAGE).is(0);
        let at = map_fd(fd, PAGE, RW, MAP_SHARED, 0);
        seal(fd, F_SEAL_WRITE).err(EBUSY);
        sc!(munmap, at, PAGE).is(0);
        seal(fd, F_SEAL_WRITE).is(0);
    }),
    case!("fcntl", "seal_shrink_and_grow", || {
        let fd = sealable();
        sc!(ftruncate, fd, 100).is(0);
        seal(fd, F_SEAL_SHRINK).is(0);
        sc!(ftruncate, fd, 50).err(EPERM);
        sc!(ftruncate, fd, 200).is(0);
        seal(fd, F_SEAL_GROW).is(0);
        sc!(ftruncate, fd, 300).err(EPERM);
        sc!(pwrite64, fd, b"x", 1, 250).err(EPERM);
        sc!(fcntl, fd, F_GET_SEALS).is((F_SEAL_SHRINK | F_SEAL_GROW).into());
    }),
    case!("fcntl", "seal_seal_is_final", || {
        let fd = sealable();
        seal(fd, F_SEAL_SEAL).is(0);
        seal(fd, F_SEAL_WRITE).err(EPERM);
    }),
    case!("fcntl", "future_write_keeps_old_mappings", || {
        let fd = sealable();
        sc!(ftruncate, fd, PAGE).is(0);
        let at = map_fd(fd, PAGE, RW, MAP_SHARED, 0);
        seal(fd, 0x10).is(0);
        poke(at, 3);
        sc!(write, fd, b"x", 1).err(EPERM);
        sc!(mmap, 0, PAGE, RW, MAP_SHARED, fd, 0).err(EPERM);
    }),
    case!(
        "fcntl",
        "unknown_seal_is_einval_and_readonly_is_eperm",
        || {
            let fd = sealable();
            seal(fd, 0x1000).err(EINVAL);
            let ro = open(&format!("/proc/self/fd/{fd}"), O_RDONLY);
            seal(ro, F_SEAL_WRITE).err(EPERM);
        }
    ),
    case!("memfd_create execve", "can_be_executed", || {
        let exe = std::fs::read("/proc/self/exe").unwrap_or_default();
        let fd = memfd(0);
        let mut done = 0;
        while done < exe.len() {
            done += sc!(write, fd, &exe[done..], exe.len() - done).addr();
        }
        let path = format!("/proc/self/fd/{fd}");
        fork(|| execve(&path, &["x", "--helper", "exit", "21"], &[]).is(0)).exits(21);
    }),
    case!("memfd_create", "noexec_seal", || {
        let fd = sc!(memfd_create, c"n", 8).skip_on(&[EINVAL]).fd();
        assert_eq!(fstat(fd).st_mode & 0o111, 0);
        sc!(fchmod, fd, 0o777).err(EPERM);
    }),
    case!("memfd_create", "holes_and_blocks", || {
        let fd = memfd(0);
        sc!(ftruncate, fd, 1 << 20).is(0);
        assert_eq!(fstat(fd).st_blocks, 0);
        sc!(pwrite64, fd, b"x", 1, 8192).is(1);
        assert_eq!(fstat(fd).st_blocks, 8);
        sc!(lseek, fd, 0, SEEK_DATA).is(8192);
        sc!(lseek, fd, 8192, SEEK_HOLE).is(12288);
    }),
    case!("memfd_secret", "needs_ftruncate_and_cannot_be_read", || {
        let fd = sc!(memfd_secret, 0).skip_on(&[ENOSYS]).fd();
        sc!(ftruncate, fd, PAGE).is(0);
        let at = map_fd(fd, PAGE, RW, MAP_SHARED, 0);
        poke(at, 1);
        let mut b = [0u8; 1];
        sc!(read, fd, &mut b, 1).err(EINVAL);
    }),
];
