//! Asking for mounts by number: statmount(2), listmount(2).

use keel_abi::prelude::*;
use keel_abi::types::{LSMT_ROOT, MNT_ID_REQ_SIZE_VER0, MntIdReq, Statmount};
use zerocopy::IntoBytes;

use super::Ctx;
use crate::fs::mount::{Mount, MountNamespace};
use crate::fs::{Path, namei};
use crate::mm::user::{UserAccess, write_bytes};
use crate::prelude::*;
use crate::process::Cap;

/// Most numbers that one call of listmount(2) gives.
const LIST_MAX: usize = 1_000_000;

fn read_request(req: UserPtr<MntIdReq>) -> Result<MntIdReq> {
    let size = UserPtr::<u32>::new(req.addr()).read()? as usize;
    if size > PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    if size < MNT_ID_REQ_SIZE_VER0 {
        return Err(Errno::EINVAL);
    }
    let request: MntIdReq = super::system::read_versioned(req, size)?;
    // The old numbers are smaller than all unique ones.
    if request.spare != 0 || request.mnt_id <= 1 << 31 {
        return Err(Errno::EINVAL);
    }
    Ok(request)
}

/// The caller's namespace, which is the only one that can be asked: ENOENT for another.
fn namespace(cx: &Ctx, request: &MntIdReq) -> Result<Arc<MountNamespace>> {
    let ns = cx.thread.ns().mnt.clone();
    if request.mnt_ns_id == 0 || request.mnt_ns_id == ns.id {
        Ok(ns)
    } else {
        Err(Errno::ENOENT)
    }
}

fn find(ns: &MountNamespace, id: u64) -> Result<Arc<Mount>> {
    let mounts = ns.mounts();
    let found = mounts.into_iter().find(|mount| mount.unique_id() == id);
    found.ok_or(Errno::ENOENT)
}

/// Whether a mount can be seen from `root`.
fn visible(mount: &Arc<Mount>, root: &Path) -> bool {
    namei::path_text(&mount.root_path(), root).is_some()
}

/// The answer: a head, and the strings behind it.
struct Answer {
    head: Statmount,
    strings: Vec<u8>,
}

impl Answer {
    /// Adds a string and gives its offset.
    fn text(&mut self, text: &[u8]) -> u32 {
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(text);
        self.strings.push(0);
        at
    }

    fn fill(
        &mut self,
        mount: &Arc<Mount>,
        root: &Path,
        ns: &MountNamespace,
        wanted: StatmountMask,
    ) {
        let sb = &mount.sb;
        let mut options = String::new();
        sb.ops.show_options(&mut options);
        let options = options.trim_start_matches(',').to_owned();
        let mut given = StatmountMask::empty();
        for bit in wanted.iter() {
            let head = &mut self.head;
            match bit {
                StatmountMask::SB_BASIC => {
                    let dev = Dev::decode(sb.dev as u32);
                    head.sb_dev_major = dev.major;
                    head.sb_dev_minor = dev.minor;
                    head.sb_magic = sb.ops.statfs().map_or(0, |stats| stats.magic);
                    head.sb_flags = u32::from(sb.is_read_only());
                }
                StatmountMask::MNT_BASIC => fill_mount(head, mount),
                StatmountMask::PROPAGATE_FROM => {}
                StatmountMask::MNT_ROOT => {
                    let top = Path {
                        mount: mount.clone(),
                        dentry: mount.root.clone(),
                    };
                    let within = namei::root_within(&top);
                    self.head.mnt_root = self.text(&within);
                }
                StatmountMask::MNT_POINT => {
                    let point = namei::path_text(&mount.root_path(), root).unwrap_or_default();
                    self.head.mnt_point = self.text(&point);
                }
                StatmountMask::FS_TYPE => {
                    self.head.fs_type = self.text(sb.fs_type.name().as_bytes());
                }
                StatmountMask::MNT_NS_ID => head.mnt_ns_id = ns.id,
                StatmountMask::MNT_OPTS if !options.is_empty() => {
                    self.head.mnt_opts = self.text(options.as_bytes());
                }
                StatmountMask::SB_SOURCE => self.head.sb_source = self.text(&mount.source),
                StatmountMask::OPT_ARRAY if !options.is_empty() => {
                    let mut count = 0;
                    for (option, n) in options.split(',').zip(1..) {
                        let at = self.text(option.as_bytes());
                        if n == 1 {
                            self.head.opt_array = at;
                        }
                        count = n;
                    }
                    self.head.opt_num = count;
                }
                StatmountMask::SUPPORTED_MASK => head.supported_mask = SUPPORTED.bits(),
                _ => continue,
            }
            given |= bit;
        }
        self.head.mask = given.bits();
    }
}

/// What is answered here.
const SUPPORTED: StatmountMask = StatmountMask::SB_BASIC
    .union(StatmountMask::MNT_BASIC)
    .union(StatmountMask::PROPAGATE_FROM)
    .union(StatmountMask::MNT_ROOT)
    .union(StatmountMask::MNT_POINT)
    .union(StatmountMask::FS_TYPE)
    .union(StatmountMask::MNT_NS_ID)
    .union(StatmountMask::MNT_OPTS)
    .union(StatmountMask::SB_SOURCE)
    .union(StatmountMask::OPT_ARRAY)
    .union(StatmountMask::SUPPORTED_MASK);

/// STATMOUNT_MNT_BASIC.
fn fill_mount(head: &mut Statmount, mount: &Arc<Mount>) {
    const FLAGS: [(MountFlags, MountAttrFlags); 7] = [
        (MountFlags::RDONLY, MountAttrFlags::RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::NOSUID),
        (MountFlags::NODEV, MountAttrFlags::NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::NOEXEC),
        (MountFlags::NOATIME, MountAttrFlags::NOATIME),
        (MountFlags::NODIRATIME, MountAttrFlags::NODIRATIME),
        (MountFlags::NOSYMFOLLOW, MountAttrFlags::NOSYMFOLLOW),
    ];
    let parent = mount.attached_at().map(|at| at.mount);
    let parent = parent.as_ref().unwrap_or(mount);
    head.mnt_id = mount.unique_id();
    head.mnt_parent_id = parent.unique_id();
    head.mnt_id_old = mount.id;
    head.mnt_parent_id_old = parent.id;
    let flags = mount.flags();
    let mut attr = MountAttrFlags::empty();
    for (flag, shown) in FLAGS {
        attr.set(shown, flags.contains(flag));
    }
    if !flags.intersects(MountFlags::NOATIME | MountFlags::RELATIME) {
        attr |= MountAttrFlags::STRICTATIME;
    }
    head.mnt_attr = attr.bits();
    let propagation = *mount.propagation.lock();
    let mut spread = MountFlags::empty();
    spread.set(MountFlags::SHARED, propagation.shared != 0);
    spread.set(MountFlags::SLAVE, propagation.master != 0);
    spread.set(MountFlags::UNBINDABLE, propagation.unbindable);
    if spread.is_empty() {
        spread = MountFlags::PRIVATE;
    }
    head.mnt_propagation = spread.bits();
    head.mnt_peer_group = u64::from(propagation.shared);
    head.mnt_master = u64::from(propagation.master);
}

pub fn statmount(
    cx: &mut Ctx,
    req: UserPtr<MntIdReq>,
    buf: UserPtr<Statmount>,
    bufsize: usize,
    flags: u32,
) -> Result<()> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let request = read_request(req)?;
    let ns = namespace(cx, &request)?;
    let mount = find(&ns, request.mnt_id)?;
    let root = cx.thread.fs().root();
    if !visible(&mount, &root) {
        cx.thread.cred().require(Cap::SYS_ADMIN)?;
    }
    let wanted = StatmountMask::from_bits_truncate(request.param);
    let mut answer = Answer {
        head: Statmount::default(),
        strings: Vec::new(),
    };
    answer.fill(&mount, &root, &ns, wanted);
    let head = size_of::<Statmount>();
    let all = head + answer.strings.len();
    if all > bufsize && !answer.strings.is_empty() {
        return Err(Errno::EOVERFLOW);
    }
    answer.head.size = all.min(bufsize) as u32;
    write_bytes(buf.addr() + head as u64, &answer.strings)?;
    let bytes = answer.head.as_bytes();
    write_bytes(buf.addr(), bytes.get(..bufsize.min(head)).unwrap_or(bytes))
}

pub fn listmount(
    cx: &mut Ctx,
    req: UserPtr<MntIdReq>,
    mnt_ids: UserPtr<u64>,
    nr_mnt_ids: usize,
    flags: ListmountFlags,
) -> Result<usize> {
    if !ListmountFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    if nr_mnt_ids > LIST_MAX {
        return Err(Errno::EOVERFLOW);
    }
    let request = read_request(req)?;
    let ns = namespace(cx, &request)?;
    let root = cx.thread.fs().root();
    let (origin, itself) = match request.mnt_id {
        LSMT_ROOT => (root.clone(), true),
        id => (find(&ns, id)?.root_path(), false),
    };
    if !itself && !visible(&origin.mount, &root) {
        cx.thread.cred().require(Cap::SYS_ADMIN)?;
    }
    let reverse = flags.contains(ListmountFlags::REVERSE);
    let last = request.param;
    let behind = |id: u64| match (last, reverse) {
        (0, _) => true,
        (last, false) => id > last,
        (last, true) => id < last,
    };
    let mut ids: Vec<u64> = ns
        .mounts()
        .iter()
        .filter(|mount| itself || !Arc::ptr_eq(mount, &origin.mount))
        .filter(|mount| behind(mount.unique_id()) && visible(mount, &origin))
        .map(|mount| mount.unique_id())
        .collect();
    ids.sort_unstable();
    if reverse {
        ids.reverse();
    }
    ids.truncate(nr_mnt_ids);
    mnt_ids.write_array(&ids)?;
    Ok(ids.len())
}
