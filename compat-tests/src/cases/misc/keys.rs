//! Keys and keyrings: add_key(2), request_key(2), keyctl(2).

use crate::prelude::*;

const THREAD: i32 = -1;
const PROCESS: i32 = -2;
const SESSION: i32 = -3;
const USER: i32 = -4;
const USER_SESSION: i32 = -5;

const GET_KEYRING_ID: i32 = 0;
const JOIN_SESSION: i32 = 1;
const UPDATE: i32 = 2;
const REVOKE: i32 = 3;
const SETPERM: i32 = 5;
const DESCRIBE: i32 = 6;
const CLEAR: i32 = 7;
const LINK: i32 = 8;
const UNLINK: i32 = 9;
const SEARCH: i32 = 10;
const READ: i32 = 11;
const SET_TIMEOUT: i32 = 15;
const INVALIDATE: i32 = 21;
const MOVE: i32 = 30;

fn add(kind: &str, name: &str, payload: &[u8], ring: i32) -> Ret {
    let (kind, name) = (cstr(kind), cstr(name));
    sc!(
        add_key,
        kind.as_c_str(),
        name.as_c_str(),
        payload,
        payload.len(),
        ring
    )
}

fn key(name: &str, payload: &[u8], ring: i32) -> i32 {
    add("user", name, payload, ring).ok() as i32
}

fn read(id: i32) -> Vec<u8> {
    let mut buf = [0u8; 256];
    let n = sc!(keyctl, READ, id, &mut buf, 256, 0).ok() as usize;
    buf[..n].to_vec()
}

fn linked(ring: i32) -> Vec<i32> {
    let bytes = read(ring);
    let ids = bytes.chunks_exact(4);
    ids.map(|b| i32::from_ne_bytes(b.try_into().unwrap()))
        .collect()
}

fn describe(id: i32) -> String {
    let mut buf = [0u8; 256];
    let n = sc!(keyctl, DESCRIBE, id, &mut buf, 256, 0).ok() as usize;
    String::from_utf8_lossy(&buf[..n - 1]).into_owned()
}

/// A session of its own, so that nothing is left behind.
fn fresh_session() {
    sc!(keyctl, JOIN_SESSION, 0, 0, 0, 0).ok();
}

pub static CASES: &[Case] = &[
    case!("add_key", "contents_can_be_read_back", || {
        let id = key("a", b"secret", PROCESS);
        assert_eq!(read(id), b"secret");
        assert_eq!(linked(PROCESS), [id]);
        let (uid, gid) = (sc!(getuid).ok(), sc!(getgid).ok());
        assert_eq!(describe(id), format!("user;{uid};{gid};3f010000;a"));
    }),
    case!("add_key", "same_name_updates", || {
        let id = key("a", b"one", PROCESS);
        assert_eq!(key("a", b"two", PROCESS), id);
        assert_eq!(read(id), b"two");
        assert_eq!(linked(PROCESS).len(), 1);
    }),
    case!("add_key", "errors", || {
        add("no-such-type", "a", b"x", PROCESS).err(ENODEV);
        add(".hidden", "a", b"x", PROCESS).err(EPERM);
        add("", "a", b"x", PROCESS).err(EINVAL);
        add("user", "a", b"", PROCESS).err(EINVAL);
        add("user", "", b"x", PROCESS).err(EINVAL);
        add("user", "a", &[0; 32768], PROCESS).err(EINVAL);
        add("keyring", "a", b"x", PROCESS).err(EINVAL);
        add("keyring", ".a", b"", PROCESS).err(EPERM);
        add("logon", "unqualified", b"x", PROCESS).err(EINVAL);
        add("user", "a", b"x", -6).err(EINVAL);
        add("user", "a", b"x", 0).err(EINVAL);
        sc!(add_key, c"user", c"a", BAD, 4, PROCESS).err(EFAULT);
        let id = key("a", b"x", PROCESS);
        add("user", "b", b"x", id).err(ENOTDIR);
    }),
    case!("add_key", "logon_keys_are_not_read", || {
        let id = add("logon", "fs:a", b"x", PROCESS).ok();
        sc!(keyctl, READ, id, 0, 0, 0).err(EOPNOTSUPP);
    }),
    case!("keyctl", "special_keyrings", || {
        let id = |ring: i32, create: i32| sc!(keyctl, GET_KEYRING_ID, ring, create, 0, 0);
        id(THREAD, 0).err(ENOKEY);
        id(PROCESS, 0).err(ENOKEY);
        let thread = id(THREAD, 1).ok();
        assert_eq!(id(THREAD, 0).ok(), thread);
        assert!(describe(THREAD).ends_with(";3f010000;_tid"));
        id(PROCESS, 1).ok();
        assert!(describe(PROCESS).ends_with(";3f010000;_pid"));
        id(USER, 0).ok();
        assert!(describe(USER).contains(";1f3f0000;_uid."));
        assert!(describe(USER_SESSION).contains("_uid_ses."));
    }),
    case!("keyctl", "reading_needs_room", || {
        let id = key("a", b"secret", PROCESS);
        let mut small = [7u8; 3];
        sc!(keyctl, READ, id, &mut small, 3, 0).is(6);
        assert_eq!(small, [7; 3]);
    }),
    case!("keyctl", "update_and_revoke", || {
        let id = key("a", b"one", PROCESS);
        sc!(keyctl, UPDATE, id, b"three", 5, 0).is(0);
        assert_eq!(read(id), b"three");
        sc!(keyctl, REVOKE, id, 0, 0, 0).is(0);
        sc!(keyctl, READ, id, 0, 0, 0).err(EKEYREVOKED);
        sc!(keyctl, UPDATE, id, b"x", 1, 0).err(EKEYREVOKED);
        assert_ne!(key("a", b"new", PROCESS), id);
    }),
    case!("keyctl", "a_keyring_cannot_be_updated", || {
        let ring = add("keyring", "r", b"", PROCESS).ok();
        sc!(keyctl, UPDATE, ring, 0, 0, 0).err(EOPNOTSUPP);
    }),
    case!("keyctl", "link_and_unlink", || {
        let ring = add("keyring", "r", b"", PROCESS).ok() as i32;
        let id = key("a", b"x", PROCESS);
        sc!(keyctl, LINK, id, ring, 0, 0).is(0);
        assert_eq!(linked(ring), [id]);
        sc!(keyctl, UNLINK, id, ring, 0, 0).is(0);
        sc!(keyctl, UNLINK, id, ring, 0, 0).err(ENOENT);
        sc!(keyctl, CLEAR, id, 0, 0, 0).err(ENOTDIR);
        sc!(keyctl, UNLINK, id, PROCESS, 0, 0).is(0);
    }),
    case!("keyctl", "keyrings_do_not_contain_themselves", || {
        let outer = add("keyring", "outer", b"", PROCESS).ok() as i32;
        let inner = add("keyring", "inner", b"", outer).ok() as i32;
        sc!(keyctl, LINK, outer, outer, 0, 0).err(EDEADLK);
        sc!(keyctl, LINK, outer, inner, 0, 0).err(EDEADLK);
    }),
    case!("keyctl", "move_takes_it_along", || {
        let a = add("keyring", "a", b"", PROCESS).ok() as i32;
        let b = add("keyring", "b", b"", PROCESS).ok() as i32;
        let id = key("k", b"x", a);
        sc!(keyctl, MOVE, id, a, b, 0).is(0);
        assert_eq!((linked(a), linked(b)), (vec![], vec![id]));
        sc!(keyctl, MOVE, id, a, b, 0).err(ENOENT);
        sc!(keyctl, MOVE, id, b, a, 2).err(EINVAL);
    }),
    case!("keyctl", "search_goes_into_keyrings", || {
        let ring = add("keyring", "r", b"", PROCESS).ok() as i32;
        let id = key("deep", b"x", ring);
        let find = |name: &core::ffi::CStr| sc!(keyctl, SEARCH, PROCESS, c"user", name, 0);
        find(c"deep").is(id.into());
        find(c"none").err(ENOKEY);
        sc!(keyctl, SEARCH, id, c"user", c"deep", 0).err(ENOTDIR);
    }),
    case!("request_key", "finds_what_is_there", || {
        let id = key("a", b"x", PROCESS);
        sc!(request_key, c"user", c"a", 0, 0).is(id.into());
        sc!(request_key, c"user", c"b", 0, 0).err(ENOKEY);
        sc!(request_key, c"nothing", c"b", 0, 0).err(ENOKEY);
    }),
    case!("keyctl", "expired_keys_are_gone", || {
        let id = key("a", b"x", PROCESS);
        sc!(keyctl, SET_TIMEOUT, id, 1, 0, 0).is(0);
        eventually("the key's end", || {
            sc!(keyctl, READ, id, 0, 0, 0).errno() == EKEYEXPIRED
        });
    }),
    case!("keyctl", "invalidated_keys_are_gone", || {
        let id = key("a", b"x", PROCESS);
        sc!(keyctl, INVALIDATE, id, 0, 0, 0).is(0);
        sc!(keyctl, READ, id, 0, 0, 0).err_any(&[ENOKEY, EACCES]);
    }),
    case!("keyctl", "permissions_are_enforced", || {
        let id = key("a", b"x", PROCESS);
        sc!(keyctl, SETPERM, id, 0xff00_0000u32, 0, 0).err(EINVAL);
        sc!(keyctl, SETPERM, id, 0x2900_0000u32, 0, 0).is(0);
        sc!(keyctl, UPDATE, id, b"y", 1, 0).err(EACCES);
        assert!(describe(id).contains(";29000000;"));
        sc!(keyctl, SETPERM, id, 0x2100_0000u32, 0, 0).is(0);
        sc!(keyctl, READ, id, 0, 0, 0).err(EACCES);
        sc!(keyctl, DESCRIBE, id, 0, 0, 0).err(EACCES);
    }),
    case!(
        "keyctl",
        "sessions_are_inherited_process_keyrings_not",
        || {
            fresh_session();
            let id = key("a", b"x", SESSION);
            key("p", b"x", PROCESS);
            fork(|| {
                assert_eq!(read(id), b"x");
                sc!(keyctl, GET_KEYRING_ID, PROCESS, 0, 0, 0).err(ENOKEY);
            })
            .ok();
        }
    ),
    case!("keyctl", "named_sessions_are_joined", || {
        let name = cstr(format!("keel-{}", getpid()));
        let first = sc!(keyctl, JOIN_SESSION, name.as_c_str(), 0, 0, 0).ok();
        assert_eq!(sc!(keyctl, GET_KEYRING_ID, SESSION, 0, 0, 0).ok(), first);
        fresh_session();
        assert_ne!(sc!(keyctl, GET_KEYRING_ID, SESSION, 0, 0, 0).ok(), first);
        sc!(keyctl, JOIN_SESSION, c".builtin_trusted_keys", 0, 0, 0).err(EPERM);
    }),
    case!("keyctl", "unknown_operations_are_eopnotsupp", || {
        sc!(keyctl, 999, 0, 0, 0, 0).err(EOPNOTSUPP);
        sc!(keyctl, READ, 0, 0, 0, 0).err(ENOKEY);
        sc!(keyctl, READ, 0x7fff_fff1, 0, 0, 0).err(ENOKEY);
    }),
    case!("add_key", "quotas_hold", || {
        as_nobody(|| {
            let mut made = 0;
            let last = loop {
                let result = add("user", &format!("k{made}"), &[0; 1000], PROCESS);
                if !result.success() || made > 1000 {
                    break result;
                }
                made += 1;
            };
            last.err(EDQUOT);
        });
    }),
];
