//! Credentials and capabilities: the set*id family, groups, capget(2).

use crate::prelude::*;

fn uids() -> [u32; 3] {
    let mut v = [0u32; 3];
    let p = v.as_mut_ptr();
    sc!(getresuid, p, p.wrapping_add(1), p.wrapping_add(2)).is(0);
    std::hint::black_box(v)
}

fn gids() -> [u32; 3] {
    let mut v = [0u32; 3];
    let p = v.as_mut_ptr();
    sc!(getresgid, p, p.wrapping_add(1), p.wrapping_add(2)).is(0);
    std::hint::black_box(v)
}

/// Effective, permitted, inheritable.
fn caps() -> [u64; 3] {
    let head = [0x2008_0522u32, 0];
    let mut d = [0u32; 6];
    sc!(capget, &head, &mut d).is(0);
    [0, 1, 2].map(|i| u64::from(d[i]) | u64::from(d[i + 3]) << 32)
}

fn capset(eff: u64, per: u64, inh: u64) -> Ret {
    let head = [0x2008_0522u32, 0];
    let lo = [eff as u32, per as u32, inh as u32];
    let hi = [(eff >> 32) as u32, (per >> 32) as u32, (inh >> 32) as u32];
    sc!(capset, &head, [lo, hi].concat())
}

pub static CASES: &[Case] = &[
    case!("getuid geteuid getgid getegid", "agree_with_status", || {
        let u: Vec<String> = [sc!(getuid).ok(), sc!(geteuid).ok()]
            .map(|x| x.to_string())
            .into();
        let line = status_field(getpid(), "Uid");
        assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), u);
        let g: Vec<String> = [sc!(getgid).ok(), sc!(getegid).ok()]
            .map(|x| x.to_string())
            .into();
        let line = status_field(getpid(), "Gid");
        assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), g);
    }),
    case!("setuid", "as_root_sets_all_three", || {
        need_root();
        sc!(setuid, 1000).is(0);
        assert_eq!(uids(), [1000; 3]);
        sc!(setuid, 0).err(EPERM);
    }),
    case!("setuid", "as_user_only_real_or_saved", || {
        need_root();
        sc!(setresuid, 1000, 1001, 1002).is(0);
        sc!(setuid, 1002).is(0);
        assert_eq!(uids(), [1000, 1002, 1002]);
        sc!(setuid, 1001).err(EPERM);
        sc!(setuid, 1000).is(0);
    }),
    case!("setuid setgid", "minus_one_is_einval", || {
        sc!(setuid, -1).err(EINVAL);
        sc!(setgid, -1).err(EINVAL);
    }),
    case!("setreuid", "saved_follows_the_effective", || {
        need_root();
        sc!(setreuid, -1, 1000).is(0);
        assert_eq!(uids(), [0, 1000, 1000]);
        sc!(setreuid, 1000, 0).is(0);
        assert_eq!(uids(), [1000, 0, 0]);
    }),
    case!("setresuid getresuid", "any_of_three_for_users", || {
        need_root();
        sc!(setresuid, 1, 2, 3).is(0);
        sc!(setresuid, 3, 1, 2).is(0);
        assert_eq!(uids(), [3, 1, 2]);
        sc!(setresuid, 4, -1, -1).err(EPERM);
        sc!(setresuid, -1, -1, -1).is(0);
    }),
    case!("setgid", "as_root_sets_all_three", || {
        need_root();
        sc!(setgid, 1000).is(0);
        assert_eq!(gids(), [1000; 3]);
    }),
    case!("setregid setresgid getresgid", "rules_for_users", || {
        need_root();
        sc!(setresgid, 10, 20, 30).is(0);
        sc!(setregid, -1, 5).is(0);
        assert_eq!(gids(), [10, 5, 5]);
        sc!(setresgid, 10, 20, 30).is(0);
        sc!(setresuid, 1000, 1000, 1000).is(0);
        sc!(setresgid, 30, 10, 20).is(0);
        sc!(setresgid, 40, -1, -1).err(EPERM);
        sc!(setgid, 40).err(EPERM);
    }),
    case!("setgroups getgroups", "round_trip_and_limits", || {
        need_root();
        sc!(setgroups, 3, [30u32, 10, 20]).is(0);
        let mut g = [0u32; 8];
        sc!(getgroups, 8, &mut g).is(3);
        g[..3].sort();
        assert_eq!(g[..3], [10, 20, 30]);
        sc!(getgroups, 0, 0).is(3);
        sc!(getgroups, 2, &mut g).err(EINVAL);
        sc!(getgroups, -1, &mut g).err(EINVAL);
        sc!(setgroups, 65537, vec![0u32; 65537]).err(EINVAL);
        sc!(setgroups, 1, BAD).err(EFAULT);
    }),
    case!("setgroups", "needs_privilege", || as_nobody(|| sc!(
        setgroups, 0, 0
    )
    .err(EPERM))),
    case!("setgroups", "supplementary_group_gives_access", || {
        need_root();
        put("f", b"");
        sc!(chown, c"f", 0, 555).is(0);
        sc!(chmod, c"f", 0o040).is(0);
        fork(|| {
            sc!(setgroups, 1, [555u32]).is(0);
            sc!(setresgid, NOBODY, NOBODY, NOBODY).is(0);
            sc!(setresuid, NOBODY, NOBODY, NOBODY).is(0);
            sc!(openat, AT_FDCWD, c"f", O_RDONLY, 0).ok();
            sc!(openat, AT_FDCWD, c"f", O_WRONLY, 0).err(EACCES);
        })
        .ok();
    }),
    case!(
        "setfsuid setfsgid",
        "answer_the_old_and_check_access",
        || {
            need_root();
            put("f", b"");
            sc!(chmod, c"f", 0o600).is(0);
            sc!(setfsuid, NOBODY).is(0);
            sc!(setfsuid, -1).is(NOBODY.into());
            sc!(openat, AT_FDCWD, c"f", O_RDONLY, 0).err(EACCES);
            sc!(setfsuid, 0).is(NOBODY.into());
            sc!(openat, AT_FDCWD, c"f", O_RDONLY, 0).ok();
            sc!(setfsgid, 5).is(0);
            sc!(setfsgid, -1).is(5);
        }
    ),
    case!("setresuid", "effective_id_owns_new_files", || {
        need_root();
        sc!(setresgid, -1, 70, -1).is(0);
        sc!(setresuid, -1, 60, -1).is(0);
        put("f", b"");
        assert_eq!((lstat("f").st_uid, lstat("f").st_gid), (60, 70));
    }),
    case!("setresuid", "threads_have_their_own_ids", || {
        need_root();
        let t = std::thread::spawn(|| {
            sc!(setresuid, 5, 5, 5).is(0);
            uids()
        });
        assert_eq!(t.join().unwrap_or_default(), [5; 3]);
        assert_eq!(uids(), [0; 3]);
    }),
    case!(
        "setresuid capget",
        "leaving_root_drops_capabilities",
        || {
            need_root();
            assert_ne!(caps()[0], 0);
            sc!(setresuid, -1, 1000, -1).is(0);
            let [eff, per, _] = caps();
            assert!(eff == 0 && per != 0);
            sc!(setresuid, -1, 0, -1).is(0);
            assert_eq!(caps()[0], per);
            sc!(setresuid, 1000, 1000, 1000).is(0);
            assert_eq!((caps()[0], caps()[1]), (0, 0));
        }
    ),
    case!("capset capget", "dropping_is_final", || {
        need_root();
        let per = caps()[1];
        let without_chown = per & !1;
        capset(without_chown, without_chown, 0).is(0);
        assert_eq!(caps(), [without_chown, without_chown, 0]);
        capset(per, per, 0).err(EPERM);
        put("f", b"");
        sc!(chown, c"f", 1000, -1).err(EPERM);
    }),
    case!("capset", "effective_must_be_permitted", || {
        need_root();
        let per = caps()[1];
        capset(per, per & !1, 0).err(EPERM);
        capset(0, per, 0).is(0);
        put("f", b"");
        sc!(chown, c"f", 1000, -1).err(EPERM);
        capset(per, per, 0).is(0);
        sc!(chown, c"f", 1000, -1).is(0);
    }),
    case!("capget", "versions", || {
        let mut head = [0u32, 0];
        sc!(capget, &mut head, 0).is(0);
        assert_eq!(head[0], 0x2008_0522);
        let mut head = [0u32, 0];
        let mut d = [0u32; 6];
        sc!(capget, &mut head, &mut d).err(EINVAL);
        sc!(capget, BAD, 0).err(EFAULT);
        sc!(capget, [0x2008_0522u32, 1 << 22], &mut d).err(ESRCH);
        let mut v1 = [0x1998_0330u32, 0];
        sc!(capget, &mut v1, &mut d).is(0);
    }),
    case!("capset", "of_another_process_is_eperm", || {
        need_root();
        let child = fork(|| sleep_ms(60_000));
        let head = [0x2008_0522u32, child.pid as u32];
        sc!(capset, &head, [0u32; 6]).err(EPERM);
        child.kill(SIGKILL);
        child.dies(SIGKILL);
    }),
    case!("openat capset", "dac_override_is_what_lets_root_in", || {
        need_root();
        put("f", b"");
        sc!(chmod, c"f", 0).is(0);
        let per = caps()[1] & !0b110;
        capset(per, per, 0).is(0);
        sc!(openat, AT_FDCWD, c"f", O_RDONLY, 0).err(EACCES);
    }),
    case!("kill", "permission_by_ids", || {
        need_root();
        let ready = Gate::new();
        let child = fork(|| {
            sc!(setresuid, 1000, 1000, 1000).is(0);
            ready.open();
            sleep_ms(60_000);
        });
        ready.wait();
        fork(|| {
            sc!(setresuid, 2000, 2000, 2000).is(0);
            sc!(kill, child.pid, SIGTERM).err(EPERM);
            sc!(kill, child.pid, 0).err(EPERM);
        })
        .ok();
        fork(|| {
            sc!(setresuid, 1000, 2000, 2000).is(0);
            sc!(kill, child.pid, SIGTERM).is(0);
        })
        .ok();
        child.dies(SIGTERM);
    }),
    case!(
        "kill",
        "sigcont_within_a_session_needs_no_permission",
        || {
            let child = fork(|| sleep_ms(60_000));
            as_nobody(|| {
                sc!(kill, child.pid, SIGCONT).is(0);
                sc!(kill, child.pid, SIGTERM).err(EPERM);
            });
            child.kill(SIGKILL);
            child.dies(SIGKILL);
        }
    ),
    case!("add_key keyctl request_key", "session_keyring", || {
        let r = sc!(add_key, c"user", c"keel:case", b"secret", 6, -2);
        let key = r.skip_on(&[ENOSYS, EPERM, EDQUOT]).ok();
        let mut b = [0u8; 16];
        sc!(keyctl, 11, key, &mut b, 16).is(6);
        assert_eq!(&b[..6], b"secret");
        sc!(request_key, c"user", c"keel:none", 0, 0).err(ENOKEY);
        sc!(keyctl, 9999, 0, 0, 0).err(EOPNOTSUPP);
    }),
];
