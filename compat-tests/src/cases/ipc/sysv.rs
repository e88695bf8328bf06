//! System V IPC: sysvipc(7).

use crate::prelude::*;

fn sem(n: i32) -> i32 {
    sc!(semget, IPC_PRIVATE, n, 0o600).skip_on(&[ENOSYS]).fd()
}

fn op(id: i32, ops: &[[i16; 3]]) -> Ret {
    sc!(semop, id, ops, ops.len())
}

fn value(id: i32, n: i32) -> i64 {
    sc!(semctl, id, n, GETVAL, 0).ok()
}

fn remove_sem(id: i32) {
    sc!(semctl, id, 0, IPC_RMID, 0).is(0);
}

fn queue() -> i32 {
    sc!(msgget, IPC_PRIVATE, 0o600).skip_on(&[ENOSYS]).fd()
}

fn send(q: i32, kind: i64, text: &str, flags: i32) -> Ret {
    let mut b = kind.to_ne_bytes().to_vec();
    b.extend_from_slice(text.as_bytes());
    sc!(msgsnd, q, &b, text.len(), flags)
}

fn receive(q: i32, kind: i64, flags: i32) -> (Ret, i64, String) {
    let mut b = vec![0u8; 136];
    let r = sc!(msgrcv, q, &mut b, 128, kind, flags);
    let n = if r.success() { r.addr() } else { 0 };
    (
        r,
        from_bytes(&b),
        String::from_utf8_lossy(&b[8..8 + n]).into_owned(),
    )
}

fn remove_queue(q: i32) {
    sc!(msgctl, q, IPC_RMID, 0).is(0);
}

fn segment(size: usize) -> i32 {
    sc!(shmget, IPC_PRIVATE, size, 0o600)
        .skip_on(&[ENOSYS])
        .fd()
}

pub static CASES: &[Case] = &[
    case!(
        "shmget shmat shmdt shmctl",
        "shared_between_processes",
        || {
            let id = segment(PAGE);
            let at = sc!(shmat, id, 0, 0).addr();
            fork(|| poke(at, 9)).ok();
            assert_eq!(peek(at), 9);
            let again = sc!(shmat, id, 0, SHM_RDONLY).addr();
            assert_eq!(peek(again), 9);
            assert_eq!(fault_of(|| poke(again, 1)).sig, SIGSEGV);
            sc!(shmdt, at).is(0);
            sc!(shmdt, at).err(EINVAL);
            sc!(shmctl, id, IPC_RMID, 0).is(0);
        }
    ),
    case!("shmctl", "removal_waits_for_the_last_detach", || {
        let id = segment(PAGE);
        let at = sc!(shmat, id, 0, 0).addr();
        sc!(shmctl, id, IPC_RMID, 0).is(0);
        poke(at, 1);
        sc!(shmdt, at).is(0);
        sc!(shmat, id, 0, 0).err_any(&[EINVAL, EIDRM]);
    }),
    case!("shmctl", "stat_shows_size_and_attachments", || {
        let id = segment(5000);
        let at = sc!(shmat, id, 0, 0).addr();
        let mut ds: shmid_ds = zeroed();
        sc!(shmctl, id, IPC_STAT, &raw mut ds).is(0);
        assert_eq!(
            (ds.shm_segsz, ds.shm_nattch, ds.shm_cpid),
            (5000, 1, getpid())
        );
        assert_eq!(ds.shm_perm.mode & 0o777, 0o600);
        fork(|| {
            let mut ds: shmid_ds = zeroed();
            sc!(shmctl, id, IPC_STAT, &raw mut ds).is(0);
            assert_eq!(ds.shm_nattch, 2);
        })
        .ok();
        sc!(shmdt, at).is(0);
        sc!(shmctl, id, IPC_RMID, 0).is(0);
    }),
    case!(
        "shmat shmctl",
        "removed_segment_can_still_be_attached",
        || {
            let id = segment(2 * PAGE);
            let at = sc!(shmat, id, 0, 0).addr();
            sc!(shmctl, id, IPC_RMID, 0).is(0);
            let mut ds = zeroed::<shmid_ds>();
            sc!(shmctl, id, IPC_STAT, &raw mut ds).is(0);
            let again = sc!(shmat, id, 0, SHM_RDONLY).addr();
            poke(at, 7);
            assert_eq!(peek(again), 7);
            sc!(mprotect, again, PAGE, PROT_READ | PROT_WRITE).err(EACCES);
            sc!(shmdt, again).is(0);
            sc!(shmdt, at).is(0);
            sc!(shmat, id, 0, 0).err_any(&[EINVAL, EIDRM]);
            sc!(shmdt, at).err(EINVAL);
        }
    ),
    case!("shmctl", "listed_in_proc", || {
        let id = segment(PAGE);
        let at = sc!(shmat, id, 0, 0).addr();
        let list = text("/proc/sysvipc/shm");
        let line = list
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some(&id.to_string()));
        let fields: Vec<&str> = line.map_or_else(Vec::new, |l| l.split_whitespace().collect());
        assert_eq!(fields.get(6), Some(&"1"));
        let maps = text("/proc/self/maps");
        assert!(maps.contains("/SYSV00000000 (deleted)"));
        sc!(shmdt, at).is(0);
        sc!(shmctl, id, IPC_RMID, 0).is(0);
    }),
    case!("semctl", "waiters_are_counted", || {
        let id = sem(2);
        let taker = fork(|| op(id, &[[0, -1, 0]]).is(0));
        wait_asleep(taker.pid);
        sc!(semctl, id, 0, GETNCNT, 0).is(1);
        sc!(semctl, id, 0, GETZCNT, 0).is(0);
        op(id, &[[1, 1, 0]]).is(0);
        let waiter = fork(|| op(id, &[[1, 0, 0]]).is(0));
        wait_asleep(waiter.pid);
        sc!(semctl, id, 1, GETZCNT, 0).is(1);
        op(id, &[[0, 1, 0], [1, -1, 0]]).is(0);
        taker.ok();
        waiter.ok();
        remove_sem(id);
    }),
    case!("msgrcv", "copy_leaves_the_message", || {
        const COPY: i32 = 0o40000;
        let q = queue();
        send(q, 3, "first", 0).is(0);
        send(q, 4, "second", 0).is(0);
        let (r, kind, text) = receive(q, 1, COPY | IPC_NOWAIT);
        r.skip_on(&[ENOSYS]).is(6);
        assert_eq!((kind, &text[..]), (4, "second"));
        receive(q, 2, COPY | IPC_NOWAIT).0.err(ENOMSG);
        receive(q, 0, COPY).0.err(EINVAL);
        assert_eq!(receive(q, 0, 0).2, "first");
        remove_queue(q);
    }),
    case!("unshare", "ipc_namespace_has_its_own_objects", || {
        need_root();
        let id = segment(PAGE);
        fork(|| {
            sc!(unshare, CLONE_NEWIPC).skip_on(&[EINVAL, EPERM]).is(0);
            sc!(shmctl, id, IPC_STAT, BAD).err(EINVAL);
        })
        .ok();
        sc!(shmctl, id, IPC_RMID, 0).is(0);
    }),
    case!("shmget", "keys_and_errors", || {
        let key = 0x4b65_0000 + getpid();
        let id = sc!(shmget, key, PAGE, IPC_CREAT | IPC_EXCL | 0o600)
            .skip_on(&[ENOSYS])
            .fd();
        sc!(shmget, key, PAGE, IPC_CREAT | IPC_EXCL).err(EEXIST);
        sc!(shmget, key, PAGE, 0).is(id.into());
        sc!(shmget, key, 2 * PAGE, 0).err(EINVAL);
        sc!(shmctl, id, IPC_RMID, 0).is(0);
        sc!(shmget, key, PAGE, 0).err(ENOENT);
        sc!(shmget, IPC_PRIVATE, 0, IPC_CREAT).err(EINVAL);
    }),
    case!("shmat", "address_rules", || {
        let id = segment(PAGE);
        sc!(shmat, id, 123, 0).err(EINVAL);
        let free = map_anon(2 * PAGE, PROT_NONE);
        sc!(shmat, id, free, 0).err(EINVAL);
        sc!(shmat, id, free, SHM_REMAP).is(free as i64);
        sc!(munmap, free, 2 * PAGE).is(0);
        sc!(shmat, id, free + 100, SHM_RND).is(free as i64);
        sc!(shmctl, id, IPC_RMID, 0).is(0);
        sc!(shmat, 0x7fff_fff0, 0, 0).err(EINVAL);
    }),
    case!("shmget", "permission_for_others", || {
        need_root();
        let id = segment(PAGE);
        as_nobody(|| {
            sc!(shmat, id, 0, 0).err(EACCES);
            sc!(shmctl, id, IPC_RMID, 0).err(EPERM);
        });
        sc!(shmctl, id, IPC_RMID, 0).is(0);
    }),
    case!("semget semctl", "values", || {
        let id = sem(3);
        sc!(semctl, id, 1, SETVAL, 5).is(0);
        assert_eq!((value(id, 0), value(id, 1)), (0, 5));
        sc!(semctl, id, 0, SETALL, [1u16, 2, 3]).is(0);
        let mut all = [0u16; 3];
        sc!(semctl, id, 0, GETALL, &mut all).is(0);
        assert_eq!(all, [1, 2, 3]);
        sc!(semctl, id, 0, SETVAL, 32768).err(ERANGE);
        sc!(semctl, id, 3, GETVAL, 0).err(EINVAL);
        remove_sem(id);
        sc!(semctl, id, 0, GETVAL, 0).err_any(&[EINVAL, EIDRM]);
    }),
    case!("semop", "add_and_take", || {
        let id = sem(1);
        op(id, &[[0, 3, 0]]).is(0);
        op(id, &[[0, -2, 0]]).is(0);
        assert_eq!(value(id, 0), 1);
        op(id, &[[0, -2, IPC_NOWAIT as i16]]).err(EAGAIN);
        op(id, &[[0, 0, IPC_NOWAIT as i16]]).err(EAGAIN);
        remove_sem(id);
    }),
    case!("semop", "several_operations_are_atomic", || {
        let id = sem(2);
        op(id, &[[0, 1, 0], [1, -1, IPC_NOWAIT as i16]]).err(EAGAIN);
        assert_eq!(value(id, 0), 0);
        op(id, &[[0, 1, 0], [1, 1, 0]]).is(0);
        assert_eq!((value(id, 0), value(id, 1)), (1, 1));
        remove_sem(id);
    }),
    case!("semop", "blocked_taker_wakes", || {
        let id = sem(1);
        let child = fork(|| op(id, &[[0, -1, 0]]).is(0));
        wait_asleep(child.pid);
        sc!(semctl, id, 0, GETNCNT, 0).is(1);
        op(id, &[[0, 1, 0]]).is(0);
        child.ok();
        assert_eq!(value(id, 0), 0);
        remove_sem(id);
    }),
    case!("semop", "removal_wakes_with_eidrm", || {
        let id = sem(1);
        let child = fork(|| op(id, &[[0, -1, 0]]).err(EIDRM));
        wait_asleep(child.pid);
        remove_sem(id);
        child.ok();
    }),
    case!("semop", "undo_at_exit", || {
        let id = sem(1);
        op(id, &[[0, 5, 0]]).is(0);
        fork(|| op(id, &[[0, -3, SEM_UNDO as i16]]).is(0)).ok();
        assert_eq!(value(id, 0), 5);
        remove_sem(id);
    }),
    case!("semtimedop", "times_out", || {
        let id = sem(1);
        let t = ms(30);
        let took = timed(|| {
            sc!(semtimedop, id, [[0i16, -1, 0]], 1, &raw const t).err(EAGAIN);
        });
        assert!(took >= 30 * MS);
        remove_sem(id);
    }),
    case!("semop", "errors", || {
        let id = sem(1);
        op(id, &[[5, 1, 0]]).err(EFBIG);
        sc!(semop, id, BAD, 1).err(EFAULT);
        sc!(semop, id, [[0i16; 3]], 0).err(EINVAL);
        sc!(semop, id, vec![[0i16; 3]; 501], 501).err(E2BIG);
        op(id, &[[0, 32767, 0], [0, 1, 0]]).err(ERANGE);
        remove_sem(id);
    }),
    case!("semctl", "pid_of_the_last_operation", || {
        let id = sem(1);
        let child = fork(|| op(id, &[[0, 1, 0]]).is(0));
        child.ok();
        sc!(semctl, id, 0, GETPID, 0).is(child.pid.into());
        remove_sem(id);
    }),
    case!("msgget msgsnd msgrcv", "first_in_first_out", || {
        let q = queue();
        send(q, 1, "one", 0).is(0);
        send(q, 2, "two", 0).is(0);
        let (r, kind, text) = receive(q, 0, 0);
        r.is(3);
        assert_eq!((kind, text.as_str()), (1, "one"));
        assert_eq!(receive(q, 0, 0).2, "two");
        remove_queue(q);
    }),
    case!("msgrcv", "selection_by_type", || {
        let q = queue();
        for (k, t) in [(5, "five"), (2, "two"), (9, "nine")] {
            send(q, k, t, 0).is(0);
        }
        assert_eq!(receive(q, 9, 0).2, "nine");
        assert_eq!(receive(q, -6, 0).2, "two");
        receive(q, 7, IPC_NOWAIT).0.err(ENOMSG);
        assert_eq!(receive(q, 7, MSG_EXCEPT).2, "five");
        remove_queue(q);
    }),
    case!("msgrcv", "too_long_is_e2big_unless_noerror", || {
        let q = queue();
        send(q, 1, "abcdef", 0).is(0);
        let mut b = [0u8; 16];
        sc!(msgrcv, q, &mut b, 3, 0, 0).err(E2BIG);
        sc!(msgrcv, q, &mut b, 3, 0, MSG_NOERROR).is(3);
        assert_eq!(&b[8..12], b"abc\0");
        remove_queue(q);
    }),
    case!("msgsnd", "full_queue_is_eagain", || {
        let q = queue();
        let text = "x".repeat(4096);
        let mut n = 0;
        while send(q, 1, &text, IPC_NOWAIT).errno() == 0 {
            n += 1;
            assert!(n < 1000);
        }
        send(q, 1, &text, IPC_NOWAIT).err(EAGAIN);
        assert!(n >= 3);
        remove_queue(q);
    }),
    case!("msgsnd msgctl", "errors_and_stat", || {
        let q = queue();
        send(q, 0, "x", 0).err(EINVAL);
        sc!(msgsnd, q, BAD, 1, 0).err(EFAULT);
        sc!(msgsnd, q, [1u64], usize::MAX, 0).err(EINVAL);
        send(q, 1, "abc", 0).is(0);
        let mut ds: msqid_ds = zeroed();
        sc!(msgctl, q, IPC_STAT, &raw mut ds).is(0);
        assert_eq!((ds.msg_qnum, ds.msg_lspid), (1, getpid()));
        remove_queue(q);
        send(q, 1, "x", 0).err_any(&[EINVAL, EIDRM]);
    }),
    case!("msgrcv", "blocked_receiver_wakes", || {
        let q = queue();
        let child = fork(|| assert_eq!(receive(q, 3, 0).2, "yes"));
        wait_asleep(child.pid);
        send(q, 1, "no", 0).is(0);
        send(q, 3, "yes", 0).is(0);
        child.ok();
        remove_queue(q);
    }),
    case!("msgrcv", "removal_wakes_with_eidrm", || {
        let q = queue();
        let child = fork(|| receive(q, 0, 0).0.err(EIDRM));
        wait_asleep(child.pid);
        remove_queue(q);
        child.ok();
    }),
];
