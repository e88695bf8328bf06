//! The new mount calls (mount_setattr(2), statmount(2), listmount(2)).

uapi! {
    /// mount_setattr(2)
    struct MountAttr = "struct mount_attr", "linux/types.h linux/mount.h" {
        attr_set: u64,
        attr_clr: u64,
        propagation: u64,
        userns_fd: u64,
    }

    /// The request of statmount(2) and listmount(2).
    struct MntIdReq = "", "" {
        size: u32,
        spare: u32,
        mnt_id: u64,
        param: u64,
        mnt_ns_id: u64,
    }

    /// The head of statmount(2)'s answer; the strings follow.
    struct Statmount = "", "" {
        size: u32,
        mnt_opts: u32,
        mask: u64,
        sb_dev_major: u32,
        sb_dev_minor: u32,
        sb_magic: u64,
        sb_flags: u32,
        fs_type: u32,
        mnt_id: u64,
        mnt_parent_id: u64,
        mnt_id_old: u32,
        mnt_parent_id_old: u32,
        mnt_attr: u64,
        mnt_propagation: u64,
        mnt_peer_group: u64,
        mnt_master: u64,
        propagate_from: u64,
        mnt_root: u32,
        mnt_point: u32,
        mnt_ns_id: u64,
        fs_subtype: u32,
        sb_source: u32,
        opt_num: u32,
        opt_array: u32,
        opt_sec_num: u32,
        opt_sec_array: u32,
        supported_mask: u64,
        mnt_uidmap_num: u32,
        mnt_uidmap: u32,
        mnt_gidmap_num: u32,
        mnt_gidmap: u32,
        _spare2: [u64; 43],
    }
}

/// The first version of `struct mount_attr`.
pub const MOUNT_ATTR_SIZE_VER0: usize = 32;
/// The first version of `struct mnt_id_req`.
pub const MNT_ID_REQ_SIZE_VER0: usize = 24;
/// `mnt_id` of listmount(2) for the caller's root mount.
pub const LSMT_ROOT: u64 = u64::MAX;
