//! Messages: what sendmsg(2) and recvmsg(2) carry besides data (cmsg(3)).

use keel_abi::args::Fd;
use keel_abi::flags::MsgFlags;
use keel_abi::types::{Cmsghdr, Ucred};
use zerocopy::{FromBytes, IntoBytes};

use super::Address;
use crate::fs::{FdTable, File};
use crate::prelude::*;

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;
/// Most descriptors of one message (`SCM_MAX_FD`).
const SCM_MAX_FD: usize = 253;
/// Most ancillary data of one message.
const CONTROL_MAX: usize = 20480;

/// What goes along with data.
#[derive(Default)]
pub struct Ancillary {
    /// Files (SCM_RIGHTS).
    pub files: Vec<Arc<File>>,
    /// Who the sender says it is (SCM_CREDENTIALS).
    pub cred: Option<Ucred>,
}

/// What a receive gave.
#[derive(Default)]
pub struct Received {
    /// Bytes put into the buffers (or, with MSG_TRUNC, the message's full length).
    pub bytes: usize,
    /// Who sent it.
    pub from: Option<Address>,
    /// What came along.
    pub ancillary: Ancillary,
    /// MSG_TRUNC, MSG_EOR.
    pub flags: MsgFlags,
    /// The receiver wants to know the sender (SO_PASSCRED).
    pub pass_cred: bool,
}

/// `len` rounded up to what follows it in a control buffer.
const fn align(len: usize) -> usize {
    (len + 7) & !7
}

/// Parses a control buffer: EINVAL for a malformed one, EBADF, ETOOMANYREFS; EPERM for credentials that the
/// caller may not claim.
pub fn parse_control(control: &[u8], files: &FdTable) -> Result<Ancillary> {
    const HEADER: usize = size_of::<Cmsghdr>();
    if control.len() > CONTROL_MAX {
        return Err(Errno::ENOBUFS);
    }
    let mut ancillary = Ancillary::default();
    let mut rest = control;
    while let Ok((header, _)) = Cmsghdr::read_from_prefix(rest) {
        let len = header.cmsg_len;
        if len < HEADER || len > rest.len() {
            return Err(Errno::EINVAL);
        }
        let data = &rest[HEADER..len];
        if header.cmsg_level == SOL_SOCKET {
            match header.cmsg_type {
                SCM_RIGHTS => {
                    for raw in data.chunks_exact(4) {
                        let fd = i32::read_from_bytes(raw).map_err(|_| Errno::EINVAL)?;
                        ancillary.files.push(files.get_any(Fd(fd))?);
                    }
                    if ancillary.files.len() > SCM_MAX_FD {
                        return Err(Errno::EINVAL);
                    }
                }
                SCM_CREDENTIALS => {
                    let cred = Ucred::read_from_bytes(data).map_err(|_| Errno::EINVAL)?;
                    check_claim(&cred)?;
                    ancillary.cred = Some(cred);
                }
                _ => return Err(Errno::EINVAL),
            }
        }
        rest = rest.get(align(len)..).unwrap_or(&[]);
    }
    Ok(ancillary)
}

/// Whether the caller may send these credentials (unix(7)).
fn check_claim(claim: &Ucred) -> Result<()> {
    use crate::process::{Cap, current};
    let thread = current();
    let cred = thread.cred();
    let pid = claim.pid.0 == thread.process.pid as i32 || cred.has(Cap::SYS_ADMIN);
    let uid = [cred.uid, cred.euid, cred.suid].contains(&claim.uid.0) || cred.has(Cap::SETUID);
    let gid = [cred.gid, cred.egid, cred.sgid].contains(&claim.gid.0) || cred.has(Cap::SETGID);
    if pid && uid && gid {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// The caller's own credentials.
pub fn own_cred() -> Ucred {
    use keel_abi::args::{Gid, Pid, Uid};
    crate::process::current_opt().map_or_else(Ucred::default, |thread| {
        let cred = thread.cred();
        Ucred {
            pid: Pid(thread.process.pid as i32),
            uid: Uid(cred.euid),
            gid: Gid(cred.egid),
        }
    })
}

/// A control buffer of at most `room` bytes for what was received; descriptors are made now. The flags get
/// MSG_CTRUNC if not everything fits.
pub fn build_control(
    received: &mut Received,
    room: usize,
    files: &FdTable,
    cloexec: bool,
) -> Vec<u8> {
    const HEADER: usize = size_of::<Cmsghdr>();
    let mut out = Vec::new();
    if received.pass_cred {
        let cred = received.ancillary.cred.unwrap_or_default();
        push(
            &mut out,
            room,
            SCM_CREDENTIALS,
            cred.as_bytes(),
            &mut received.flags,
        );
    }
    let passed = core::mem::take(&mut received.ancillary.files);
    if passed.is_empty() {
        return out;
    }
    let fit = room.saturating_sub(out.len() + HEADER) / 4;
    if fit < passed.len() {
        received.flags |= MsgFlags::CTRUNC;
    }
    let mut fds = Vec::new();
    for file in passed.into_iter().take(fit) {
        match files.install(file, cloexec) {
            Ok(fd) => fds.extend_from_slice(&fd.0.to_ne_bytes()),
            Err(_) => {
                received.flags |= MsgFlags::CTRUNC;
                break;
            }
        }
    }
    if !fds.is_empty() {
        push(&mut out, room, SCM_RIGHTS, &fds, &mut received.flags);
    }
    out
}

fn push(out: &mut Vec<u8>, room: usize, kind: i32, data: &[u8], flags: &mut MsgFlags) {
    let len = size_of::<Cmsghdr>() + data.len();
    if out.len() + len > room {
        *flags |= MsgFlags::CTRUNC;
        return;
    }
    let header = Cmsghdr {
        cmsg_len: len,
        cmsg_level: SOL_SOCKET,
        cmsg_type: kind,
    };
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    let padded = align(out.len()).min(room);
    out.resize(padded.max(out.len()), 0);
}
