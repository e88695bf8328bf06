//! Memory policies and nodes: set_mempolicy(2), get_mempolicy(2), mbind(2), move_pages(2), migrate_pages(2).

use crate::prelude::*;

const DEFAULT: i32 = 0;
const PREFERRED: i32 = 1;
const BIND: i32 = 2;
const INTERLEAVE: i32 = 3;
const LOCAL: i32 = 4;
const STATIC_NODES: i32 = 1 << 15;
const RELATIVE_NODES: i32 = 1 << 14;
const F_NODE: u64 = 1;
const F_ADDR: u64 = 2;
const F_MEMS_ALLOWED: u64 = 4;
const MF_MOVE: i32 = 2;
const RW: i32 = PROT_READ | PROT_WRITE;

/// Mode and nodes of the policy that `flags` asks for.
fn policy(addr: usize, flags: u64) -> (i32, u64) {
    let (mut mode, mut nodes) = ([-1i32], [0u64; 16]);
    sc!(get_mempolicy, &mut mode, &mut nodes, 1024, addr, flags).is(0);
    (mode[0], nodes[0])
}

fn set(mode: i32, nodes: u64) -> Ret {
    sc!(set_mempolicy, mode, [nodes], 64)
}

pub static CASES: &[Case] = &[
    case!("get_mempolicy", "the_default_has_no_nodes", || {
        assert_eq!(policy(0, 0), (DEFAULT, 0));
        assert_eq!(policy(0, F_MEMS_ALLOWED).1 & 1, 1);
    }),
    case!("set_mempolicy", "modes_are_kept", || {
        set(BIND, 1).is(0);
        assert_eq!(policy(0, 0), (BIND, 1));
        set(INTERLEAVE | STATIC_NODES, 1).is(0);
        assert_eq!(policy(0, 0), (INTERLEAVE | STATIC_NODES, 1));
        assert_eq!(policy(0, F_NODE).0, 0);
        set(PREFERRED, 0).is(0);
        assert_eq!(policy(0, 0), (LOCAL, 0));
        set(DEFAULT, 0).is(0);
        assert_eq!(policy(0, 0), (DEFAULT, 0));
    }),
    case!("set_mempolicy", "errors", || {
        set(BIND, 0).err(EINVAL);
        set(DEFAULT, 1).err(EINVAL);
        set(LOCAL, 1).err(EINVAL);
        set(99, 1).err(EINVAL);
        set(BIND | STATIC_NODES | RELATIVE_NODES, 1).err(EINVAL);
        set(PREFERRED | STATIC_NODES, 0).err(EINVAL);
        set(BIND, 1 << 40).err(EINVAL);
        sc!(set_mempolicy, BIND, BAD, 64).err(EFAULT);
        sc!(set_mempolicy, BIND, [1u64], 1usize << 20).err(EINVAL);
    }),
    case!("set_mempolicy", "children_inherit_it", || {
        set(BIND, 1).is(0);
        fork(|| assert_eq!(policy(0, 0), (BIND, 1))).ok();
    }),
    case!("get_mempolicy", "errors", || {
        let mut mode = [0i32];
        sc!(get_mempolicy, &mut mode, 0, 0, 0, 8).err(EINVAL);
        sc!(get_mempolicy, &mut mode, 0, 0, 0, F_MEMS_ALLOWED | F_NODE).err(EINVAL);
        sc!(get_mempolicy, &mut mode, 0, 0, 0x1000, 0).err(EINVAL);
        sc!(get_mempolicy, &mut mode, 0, 0, 0x1000, F_ADDR).err(EFAULT);
        sc!(get_mempolicy, &mut mode, 0, 0, 0, F_NODE).err(EINVAL);
        sc!(get_mempolicy, BAD, 0, 0, 0, 0).err(EFAULT);
    }),
    case!("mbind", "a_range_has_a_policy_of_its_own", || {
        let at = map_anon(3 * PAGE, RW);
        sc!(mbind, at + PAGE, PAGE, BIND, [1u64], 64, 0).is(0);
        assert_eq!(policy(at, F_ADDR).0, DEFAULT);
        assert_eq!(policy(at + PAGE, F_ADDR), (BIND, 1));
        assert_eq!(policy(at + 2 * PAGE, F_ADDR).0, DEFAULT);
        poke(at + PAGE, 1);
        assert_eq!(policy(at + PAGE, F_ADDR | F_NODE).0, 0);
        sc!(mbind, at, 3 * PAGE, DEFAULT, 0, 0, 0).is(0);
        assert_eq!(policy(at + PAGE, F_ADDR).0, DEFAULT);
    }),
    case!("mbind", "errors", || {
        let at = map_anon(3 * PAGE, RW);
        sc!(munmap, at + PAGE, PAGE).is(0);
        sc!(mbind, at + 1, PAGE, BIND, [1u64], 64, 0).err(EINVAL);
        sc!(mbind, at, PAGE, BIND, [0u64], 64, 0).err(EINVAL);
        sc!(mbind, at, PAGE, BIND, [1u64], 64, 1 << 20).err(EINVAL);
        sc!(mbind, at, 3 * PAGE, BIND, [1u64], 64, 0).err(EFAULT);
        sc!(mbind, at, 0, BIND, [1u64], 64, 0).is(0);
        as_nobody(move || sc!(mbind, at, PAGE, BIND, [1u64], 64, 4).err(EPERM));
    }),
    case!("move_pages", "tells_where_pages_are", || {
        let at = map_anon(3 * PAGE, RW);
        poke(at, 1);
        let pages = [at, at + PAGE, 0x1000];
        let mut status = [99i32; 3];
        sc!(move_pages, 0, 3, pages, 0, &mut status, 0).is(0);
        assert_eq!(status, [0, -ENOENT, -EFAULT]);
    }),
    case!("move_pages", "to_where_they_are_succeeds", || {
        let at = map_anon(PAGE, RW);
        poke(at, 7);
        let mut status = [99i32];
        sc!(move_pages, 0, 1, [at], [0i32], &mut status, MF_MOVE).is(0);
        assert_eq!((status[0], peek(at)), (0, 7));
        sc!(move_pages, 0, 1, [at], [900i32], &mut status, MF_MOVE).err(ENODEV);
        sc!(move_pages, 0, 1, [at], [-1i32], &mut status, MF_MOVE).err(ENODEV);
        sc!(move_pages, 0, 1, [at], [0i32], &mut status, 1 << 9).err(EINVAL);
        sc!(move_pages, 0, 1, BAD, [0i32], &mut status, MF_MOVE).err(EFAULT);
        sc!(
            move_pages,
            0x7fff_fff0,
            1,
            [at],
            [0i32],
            &mut status,
            MF_MOVE
        )
        .err(ESRCH);
    }),
    case!("migrate_pages", "moves_nothing_on_one_node", || {
        sc!(migrate_pages, 0, 64, [1u64], [1u64]).is(0);
        sc!(migrate_pages, 0x7fff_fff0, 64, [1u64], [1u64]).err(ESRCH);
        sc!(migrate_pages, 0, 64, [1u64], BAD).err(EFAULT);
        sc!(migrate_pages, 0, 64, [1u64], [1u64 << 50]).err(EINVAL);
    }),
    case!("set_mempolicy_home_node", "needs_a_policy", || {
        let at = map_anon(PAGE, RW);
        sc!(set_mempolicy_home_node, at, PAGE, 0, 0).err(ENOENT);
        sc!(mbind, at, PAGE, BIND, [1u64], 64, 0).is(0);
        sc!(set_mempolicy_home_node, at, PAGE, 0, 0).is(0);
        sc!(set_mempolicy_home_node, at, PAGE, 4000, 0).err(EINVAL);
        sc!(set_mempolicy_home_node, at, PAGE, 0, 1).err(EINVAL);
        sc!(mbind, at, PAGE, INTERLEAVE, [1u64], 64, 0).is(0);
        sc!(set_mempolicy_home_node, at, PAGE, 0, 0).err(EOPNOTSUPP);
    }),
    case!(
        "remap_file_pages",
        "shows_the_pages_in_another_order",
        || {
            let fd = file("f", [vec![1u8; PAGE], vec![2u8; PAGE]].concat());
            let at = map_fd(fd, 2 * PAGE, RW, MAP_SHARED, 0);
            sc!(remap_file_pages, at, PAGE, 0, 1, 0).is(0);
            sc!(remap_file_pages, at + PAGE, PAGE, 0, 0, 0).is(0);
            assert_eq!((peek(at), peek(at + PAGE)), (2, 1));
            poke(at, 9);
            assert_eq!(get("f")[PAGE], 9);
        }
    ),
    case!("remap_file_pages", "errors", || {
        let at = map_anon(PAGE, RW);
        sc!(remap_file_pages, at, PAGE, 0, 0, 0).err(EINVAL);
        let shared = map_fd(file("f", vec![1u8; PAGE]), PAGE, RW, MAP_SHARED, 0);
        sc!(remap_file_pages, shared, PAGE, PROT_READ, 0, 0).err(EINVAL);
        sc!(remap_file_pages, shared, 0, 0, 0, 0).err(EINVAL);
    }),
];
