//! poll(2), select(2) and their kin.

use keel_abi::prelude::*;
use keel_abi::types::{FdSet, Pollfd, SigSet, SigsetArgpack, Timespec, Timeval};

use super::Ctx;
use super::time::{nanoseconds, timespec};
use crate::fs::{File, PollEvents, PollTable};
use crate::ipc::poll::{self, Nothing, SELECT_EXCEPT, SELECT_IN, SELECT_OUT};
use crate::mm::user::{UserAccess, read_bytes, write_bytes};
use crate::prelude::*;
use crate::process::rlimit::Resource;

/// Reported whether or not they were asked for.
const ALWAYS: PollEvents = PollEvents::ERR
    .union(PollEvents::HUP)
    .union(PollEvents::NVAL);

pub fn poll(cx: &mut Ctx, fds: UserPtr<Pollfd>, nfds: u32, timeout: i32) -> Result<i32> {
    let deadline = match timeout {
        0 => Some(0),
        n if n > 0 => Some(after(u64::from(n.unsigned_abs()) * 1_000_000)),
        _ => None,
    };
    match poll_fds(cx, fds, nfds, deadline) {
        // poll is restarted after a signal without a handler, with what is left of its time.
        Err(Errno::EINTR) => {
            *cx.thread.restart_block.lock() = Some(Box::new(move |cx: &mut Ctx| {
                poll_fds(cx, fds, nfds, deadline).map(|n| n as usize)
            }));
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
        other => other,
    }
}

fn after(ns: u64) -> u64 {
    crate::time::monotonic_ns().saturating_add(ns)
}

fn poll_fds(cx: &mut Ctx, fds: UserPtr<Pollfd>, nfds: u32, deadline: Option<u64>) -> Result<i32> {
    if u64::from(nfds) > cx.thread.process.rlimits.soft(Resource::Nofile) {
        return Err(Errno::EINVAL);
    }
    let mut list = fds.read_array(nfds as usize)?;
    let table = cx.thread.files();
    let files: Vec<Option<Arc<File>>> = list.iter().map(|entry| table.get(entry.fd).ok()).collect();
    let found = poll::wait(deadline, |wait| {
        let mut ready = 0;
        for (entry, file) in list.iter_mut().zip(&files) {
            entry.revents = events_of(entry, file.as_ref(), wait);
            ready += usize::from(entry.revents != 0);
            if ready > 0 {
                wait.stop_registering();
            }
        }
        ready
    });
    if found == Err(Nothing::Interrupted) {
        return Err(Errno::EINTR);
    }
    for (at, entry) in list.iter().enumerate() {
        // Only the results are written: another thread may change the rest meanwhile.
        let revents = fds.add(at).cast::<u8>().byte_add(6).cast::<u16>();
        revents.write(&entry.revents)?;
    }
    Ok(found.unwrap_or(0) as i32)
}

fn events_of(entry: &Pollfd, file: Option<&Arc<File>>, wait: &mut PollTable) -> u16 {
    if entry.fd.0 < 0 {
        return 0;
    }
    let Some(file) = file else {
        return PollEvents::NVAL.bits() as u16;
    };
    let wanted = PollEvents::from_bits_retain(u32::from(entry.events)) | ALWAYS;
    (file.poll(wait) & wanted).bits() as u16
}

/// Installs the temporary mask of ppoll, pselect and epoll_pwait.
pub fn with_mask<R>(
    cx: &mut Ctx,
    mask: Option<u64>,
    call: impl FnOnce(&mut Ctx) -> Result<R>,
) -> Result<R> {
    let Some(mask) = mask else { return call(cx) };
    cx.thread.set_temporary_mask(mask);
    let result = call(cx);
    match result {
        // The mask stays until the signal's handler has been entered with it.
        Err(Errno::EINTR | Errno::ERESTARTNOHAND | Errno::ERESTARTSYS) => {}
        _ => cx.thread.restore_mask(),
    }
    result
}

/// Reads a signal mask argument: EINVAL for a wrong size.
pub fn read_mask(mask: UserPtr<SigSet>, size: usize) -> Result<Option<u64>> {
    let Some(mask) = mask.non_null() else {
        return Ok(None);
    };
    if size != size_of::<SigSet>() {
        return Err(Errno::EINVAL);
    }
    Ok(Some(mask.read()?.bits))
}

pub fn ppoll(
    cx: &mut Ctx,
    fds: UserPtr<Pollfd>,
    nfds: u32,
    tmo_p: UserPtr<Timespec>,
    sigmask: UserPtr<SigSet>,
    sigsetsize: usize,
) -> Result<i32> {
    let deadline = read_timeout(tmo_p)?;
    let mask = read_mask(sigmask, sigsetsize)?;
    let result = with_mask(cx, mask, |cx| {
        poll_fds(cx, fds, nfds, deadline).map_err(|error| match error {
            Errno::EINTR => Errno::ERESTARTNOHAND,
            other => other,
        })
    });
    write_rest(cx, tmo_p, deadline);
    result
}

fn read_timeout(timeout: UserPtr<Timespec>) -> Result<Option<u64>> {
    match timeout.read_if_given()? {
        Some(time) => Ok(Some(match nanoseconds(&time)? {
            0 => 0,
            ns => after(ns),
        })),
        None => Ok(None),
    }
}

/// personality(2): select and its like leave their timeout as it is.
fn timeouts_stick(cx: &Ctx) -> bool {
    const STICKY_TIMEOUTS: u32 = 0x0400_0000;
    let personality = cx
        .thread
        .personality
        .load(core::sync::atomic::Ordering::Relaxed);
    personality & STICKY_TIMEOUTS != 0
}

/// Tells how much of the time is left; a place that cannot be written is no error (Linux's rule).
fn write_rest(cx: &Ctx, timeout: UserPtr<Timespec>, deadline: Option<u64>) {
    if let Some(deadline) = deadline
        && deadline != 0
        && !timeouts_stick(cx)
    {
        let left = deadline.saturating_sub(crate::time::monotonic_ns());
        let _ = timeout.write_if_given(&timespec(left as i64));
    }
}

/// One of select's sets: the words that `nfds` bits take.
struct Set {
    at: UserPtr<FdSet>,
    wanted: Vec<u64>,
    ready: Vec<u64>,
}

impl Set {
    fn read(at: UserPtr<FdSet>, words: usize) -> Result<Self> {
        let mut wanted = vec![0; words];
        if !at.is_null() {
            let bytes = read_bytes(at.addr(), words * 8)?;
            for (word, chunk) in wanted.iter_mut().zip(bytes.chunks_exact(8)) {
                *word = u64::from_le_bytes(chunk.try_into().unwrap_or([0; 8]));
            }
        }
        Ok(Self {
            at,
            wanted,
            ready: vec![0; words],
        })
    }

    fn wants(&self, fd: usize) -> bool {
        self.wanted[fd / 64] & (1 << (fd % 64)) != 0
    }

    fn write(&self) -> Result<()> {
        if self.at.is_null() {
            return Ok(());
        }
        let bytes: Vec<u8> = self
            .ready
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        write_bytes(self.at.addr(), &bytes)
    }
}

fn select_fds(
    cx: &mut Ctx,
    nfds: i32,
    sets: [UserPtr<FdSet>; 3],
    deadline: Option<u64>,
) -> Result<i32> {
    let table = cx.thread.files();
    let nfds = usize::try_from(nfds).map_err(|_| Errno::EINVAL)?;
    let nfds = nfds.min(table.capacity().max(64));
    let words = nfds.div_ceil(64);
    let [input, output, except] = sets;
    let mut sets = [
        Set::read(input, words)?,
        Set::read(output, words)?,
        Set::read(except, words)?,
    ];
    let mut files = Vec::new();
    for fd in 0..nfds {
        if sets.iter().any(|set| set.wants(fd)) {
            files.push((fd, table.get(Fd(fd as i32))?));
        }
    }
    let kinds = [SELECT_IN, SELECT_OUT, SELECT_EXCEPT];
    let found = poll::wait(deadline, |wait| {
        let mut ready = 0;
        for set in &mut sets {
            set.ready.fill(0);
        }
        for (fd, file) in &files {
            let events = file.poll(wait);
            for (set, kind) in sets.iter_mut().zip(kinds) {
                if set.wants(*fd) && events.intersects(kind) {
                    set.ready[fd / 64] |= 1 << (fd % 64);
                    ready += 1;
                }
            }
            if ready > 0 {
                wait.stop_registering();
            }
        }
        ready
    });
    if found == Err(Nothing::Interrupted) {
        return Err(Errno::ERESTARTNOHAND);
    }
    for set in &sets {
        set.write()?;
    }
    Ok(found.unwrap_or(0) as i32)
}

pub fn select(
    cx: &mut Ctx,
    nfds: i32,
    readfds: UserPtr<FdSet>,
    writefds: UserPtr<FdSet>,
    exceptfds: UserPtr<FdSet>,
    timeout: UserPtr<Timeval>,
) -> Result<i32> {
    let deadline = match timeout.read_if_given()? {
        Some(time) if time.tv_sec < 0 || time.tv_usec < 0 => return Err(Errno::EINVAL),
        Some(time) => {
            let ns = (time.tv_sec as u64)
                .saturating_mul(1_000_000_000)
                .saturating_add((time.tv_usec as u64).saturating_mul(1000));
            Some(if ns == 0 { 0 } else { after(ns) })
        }
        None => None,
    };
    let result = select_fds(cx, nfds, [readfds, writefds, exceptfds], deadline);
    if let Some(deadline) = deadline
        && deadline != 0
        && !timeouts_stick(cx)
    {
        let left = deadline.saturating_sub(crate::time::monotonic_ns());
        let _ = timeout.write_if_given(&super::time::timeval(left));
    }
    result
}

pub fn pselect6(
    cx: &mut Ctx,
    nfds: i32,
    readfds: UserPtr<FdSet>,
    writefds: UserPtr<FdSet>,
    exceptfds: UserPtr<FdSet>,
    timeout: UserPtr<Timespec>,
    sigmask: UserPtr<SigsetArgpack>,
) -> Result<i32> {
    let deadline = read_timeout(timeout)?;
    let mask = match sigmask.read_if_given()? {
        Some(pack) => read_mask(pack.ss, pack.ss_len)?,
        None => None,
    };
    let result = with_mask(cx, mask, |cx| {
        select_fds(cx, nfds, [readfds, writefds, exceptfds], deadline)
    });
    write_rest(cx, timeout, deadline);
    result
}
