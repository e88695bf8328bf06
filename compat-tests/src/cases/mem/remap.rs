//! mremap(2), remap_file_pages(2), process_vm_readv(2).

use crate::prelude::*;

const RW: i32 = PROT_READ | PROT_WRITE;

pub static CASES: &[Case] = &[
    case!("mremap", "shrinks_in_place", || {
        let at = map_anon(4 * PAGE, RW);
        poke(at, 5);
        sc!(mremap, at, 4 * PAGE, PAGE, 0).is(at as i64);
        assert_eq!(peek(at), 5);
        assert_eq!(fault_of(|| poke(at + PAGE, 1)).sig, SIGSEGV);
    }),
    case!("mremap", "grows_in_place_when_there_is_room", || {
        let at = map_anon(8 * PAGE, RW);
        sc!(munmap, at + PAGE, 7 * PAGE).is(0);
        sc!(mremap, at, PAGE, 4 * PAGE, 0).is(at as i64);
        poke(at + 3 * PAGE, 1);
    }),
    case!("mremap", "no_room_is_enomem_without_maymove", || {
        let at = map_anon(2 * PAGE, RW);
        sc!(mprotect, at + PAGE, PAGE, PROT_READ).is(0);
        sc!(mremap, at, PAGE, 2 * PAGE, 0).err(ENOMEM);
    }),
    case!("mremap", "maymove_takes_the_content_along", || {
        let at = map_anon(2 * PAGE, RW);
        poke(at + 10, 77);
        sc!(mprotect, at + PAGE, PAGE, PROT_READ).is(0);
        let new = sc!(mremap, at, PAGE, 100 * PAGE, MREMAP_MAYMOVE).addr();
        assert_eq!((peek(new + 10), peek(new + 99 * PAGE)), (77, 0));
        assert_eq!(fault_of(|| ignore(peek(at))).code, 1);
    }),
    case!("mremap", "fixed_goes_where_told", || {
        let a = map_anon(PAGE, RW);
        let b = map_anon(PAGE, RW);
        poke(a, 3);
        sc!(mremap, a, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, b).is(b as i64);
        assert_eq!(peek(b), 3);
    }),
    case!("mremap", "fixed_rules", || {
        let a = map_anon(2 * PAGE, RW);
        sc!(mremap, a, PAGE, PAGE, MREMAP_FIXED, a + PAGE).err(EINVAL);
        sc!(
            mremap,
            a,
            2 * PAGE,
            2 * PAGE,
            MREMAP_MAYMOVE | MREMAP_FIXED,
            a + PAGE
        )
        .err(EINVAL);
        sc!(mremap, a, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a + 1).err(EINVAL);
    }),
    case!("mremap", "dontunmap_leaves_an_empty_mapping", || {
        let a = map_anon(PAGE, RW);
        poke(a, 8);
        let flags = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
        let b = sc!(mremap, a, PAGE, PAGE, flags, 0)
            .skip_on(&[EINVAL])
            .addr();
        assert_eq!((peek(b), peek(a)), (8, 0));
    }),
    case!("mremap", "old_length_zero_duplicates_shared_memory", || {
        let a = map_fd(-1, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, 0);
        let b = sc!(mremap, a, 0, PAGE, MREMAP_MAYMOVE).addr();
        poke(a, 4);
        assert_eq!(peek(b), 4);
    }),
    case!("mremap", "old_length_zero_of_private_is_einval", || {
        sc!(mremap, map_anon(PAGE, RW), 0, PAGE, MREMAP_MAYMOVE).err(EINVAL);
    }),
    case!("mremap", "errors", || {
        let a = map_anon(PAGE, RW);
        sc!(mremap, a + 1, PAGE, PAGE, 0).err(EINVAL);
        sc!(mremap, a, PAGE, 0, 0).err(EINVAL);
        sc!(mremap, a, PAGE, PAGE, 0x100).err(EINVAL);
        sc!(munmap, a, PAGE).is(0);
        sc!(mremap, a, PAGE, 2 * PAGE, MREMAP_MAYMOVE).err(EFAULT);
    }),
    case!("mremap", "file_mapping_keeps_its_offset", || {
        let fd = file(
            "f",
            [vec![1u8; PAGE], vec![2u8; PAGE], vec![3u8; PAGE]].concat(),
        );
        let at = map_fd(fd, PAGE, PROT_READ, MAP_PRIVATE, PAGE as i64);
        let new = sc!(mremap, at, PAGE, 2 * PAGE, MREMAP_MAYMOVE).addr();
        assert_eq!((peek(new), peek(new + PAGE)), (2, 3));
    }),
    case!("remap_file_pages", "rearranges_pages", || {
        let fd = file("f", [vec![1u8; PAGE], vec![2u8; PAGE]].concat());
        let at = map_fd(fd, 2 * PAGE, RW, MAP_SHARED, 0);
        sc!(remap_file_pages, at, PAGE, 0, 1, 0)
            .skip_on(&[ENOSYS])
            .is(0);
        assert_eq!((peek(at), peek(at + PAGE)), (2, 2));
        sc!(remap_file_pages, at, PAGE, PROT_READ, 1, 0).err(EINVAL);
    }),
    case!("process_vm_readv", "reads_another_process", || {
        let at = map_anon(PAGE, RW);
        let gate = Gate::new();
        let ready = Gate::new();
        let child = fork(|| {
            poke_bytes(at, b"theirs");
            ready.open();
            gate.wait();
        });
        ready.wait();
        let mut b = [0u8; 6];
        let local = [[b.raw(), 6]];
        let n = sc!(process_vm_readv, child.pid, &local, 1, [[at, 6]], 1, 0);
        n.skip_on(&[ENOSYS]).is(6);
        assert_eq!(std::hint::black_box(&mut b), b"theirs");
        gate.open();
        child.ok();
    }),
    case!("process_vm_writev", "writes_another_process", || {
        let at = map_anon(PAGE, RW);
        let gate = Gate::new();
        let child = fork(|| {
            gate.wait();
            assert_eq!(peek_bytes(at, 3), b"new");
        });
        let src = b"new";
        let n = sc!(
            process_vm_writev,
            child.pid,
            [[src.raw(), 3]],
            1,
            [[at, 3]],
            1,
            0
        );
        n.skip_on(&[ENOSYS]).is(3);
        gate.open();
        child.ok();
    }),
    case!("process_vm_readv", "errors", || {
        let b = [0u8; 8];
        let v = [[b.raw(), 8]];
        let me = getpid();
        sc!(process_vm_readv, me, &v, 1, &v, 1, 1)
            .skip_on(&[ENOSYS])
            .err(EINVAL);
        sc!(process_vm_readv, 1 << 22, &v, 1, &v, 1, 0).err(ESRCH);
        sc!(process_vm_readv, me, &v, 1, [[BAD.addr(), 8]], 1, 0).err(EFAULT);
        sc!(process_vm_readv, me, &v, 1025, &v, 1, 0).err(EINVAL);
        as_nobody(|| sc!(process_vm_readv, 1, &v, 1, &v, 1, 0).err(EPERM));
    }),
    case!("process_vm_readv", "stops_short_at_a_hole", || {
        let at = map_anon(2 * PAGE, RW);
        sc!(munmap, at + PAGE, PAGE).is(0);
        let b = vec![0u8; 2 * PAGE];
        let r = sc!(
            process_vm_readv,
            getpid(),
            [[b.raw(), 2 * PAGE]],
            1,
            [[at, 2 * PAGE]],
            1,
            0
        );
        r.skip_on(&[ENOSYS]).is(PAGE as i64);
    }),
];
