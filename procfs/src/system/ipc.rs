//! `/proc/sysvipc` (sysvipc(7)).

use keel_abi::Result;

use crate::put;
use crate::source::System;
use crate::text::Text;

pub(crate) fn read_shm(sys: &dyn System, out: &mut Text) -> Result<()> {
    out.str(
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      \
         atime      dtime      ctime                   rss                  swap\n",
    )?;
    sys.sysv_shm().iter().try_for_each(|s| {
        put!(
            out,
            "{:10} {:10}  {:4o} {:21} ",
            s.key,
            s.id,
            s.perms,
            s.size
        )?;
        put!(
            out,
            "{:5} {:5}  {:5} ",
            s.creator_pid,
            s.last_pid,
            s.attached
        )?;
        put!(out, "{:5} {:5} {:5} {:5} ", s.uid, s.gid, s.cuid, s.cgid)?;
        put!(out, "{:10} {:10} {:10} ", s.atime, s.dtime, s.ctime)?;
        put!(out, "{:21} {:21}\n", s.rss, s.swap)
    })
}

pub(crate) fn read_sem(sys: &dyn System, out: &mut Text) -> Result<()> {
    out.str(
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n",
    )?;
    sys.sysv_sem().iter().try_for_each(|s| {
        put!(
            out,
            "{:10} {:10}  {:4o} {:10} ",
            s.key,
            s.id,
            s.perms,
            s.count
        )?;
        put!(out, "{:5} {:5} {:5} {:5} ", s.uid, s.gid, s.cuid, s.cgid)?;
        put!(out, "{:10} {:10}\n", s.otime, s.ctime)
    })
}

pub(crate) fn read_msg(sys: &dyn System, out: &mut Text) -> Result<()> {
    out.str(
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      \
         stime      rtime      ctime\n",
    )?;
    sys.sysv_msg().iter().try_for_each(|q| {
        put!(out, "{:10} {:10}  {:4o}  ", q.key, q.id, q.perms)?;
        put!(
            out,
            "{:10} {:10} {:5} {:5} ",
            q.bytes,
            q.messages,
            q.last_send_pid,
            q.last_recv_pid
        )?;
        put!(out, "{:5} {:5} {:5} {:5} ", q.uid, q.gid, q.cuid, q.cgid)?;
        put!(out, "{:10} {:10} {:10}\n", q.stime, q.rtime, q.ctime)
    })
}
