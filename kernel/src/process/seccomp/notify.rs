//! System calls that another process decides (seccomp_unotify(2)): the listener's descriptor and its ioctls.

use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use keel_abi::args::{Fd, UserPtr};
use keel_abi::flags::OpenFlags;
use keel_abi::types::{SeccompData, SeccompNotif, SeccompNotifAddfd, SeccompNotifResp};

use crate::fs::{File, FileOps, PollEvents, PollTable, anon_file};
use crate::mm::user::{UserAccess, read_bytes};
use crate::prelude::*;
use crate::process::{Thread, current};
use crate::syscall::Ctx;

/// Sizes of notification, response and data (SECCOMP_GET_NOTIF_SIZES).
pub const NOTIF_SIZES: (u16, u16, u16) = (
    size_of::<SeccompNotif>() as u16,
    size_of::<SeccompNotifResp>() as u16,
    size_of::<SeccompData>() as u16,
);

/// The call is made after all (SECCOMP_USER_NOTIF_FLAG_CONTINUE).
const FLAG_CONTINUE: u32 = 1;
/// SECCOMP_ADDFD_FLAG_*.
const ADDFD_SETFD: u32 = 1;
const ADDFD_SEND: u32 = 2;

/// The ioctl commands (`linux/seccomp.h`).
mod cmd {
    pub const RECV: u32 = 0xc050_2100;
    pub const SEND: u32 = 0xc018_2101;
    pub const ID_VALID: u32 = 0x4008_2102;
    pub const ID_VALID_WRONG_DIR: u32 = 0x8008_2102;
    /// SECCOMP_IOCTL_NOTIF_ADDFD without its size, which may grow.
    pub const ADDFD: u32 = 0x4000_2103;
    pub const SIZE: u32 = 0x3fff_0000;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has received it.
    New,
    /// The supervisor thinks about it.
    Sent,
    /// It is decided.
    Replied,
}

/// What the supervisor says.
#[derive(Clone, Copy, Default)]
struct Reply {
    value: i64,
    error: i32,
    flags: u32,
}

/// A call that waits for the supervisor.
struct Request {
    id: u64,
    caller: Arc<Thread>,
    data: SeccompData,
    state: State,
    reply: Reply,
}

/// Who decides: a filter's listener.
pub struct Supervisor {
    requests: SpinLock<Vec<Request>>,
    next_id: AtomicU64,
    /// The listener's descriptor is closed: nobody decides any more.
    closed: AtomicBool,
    /// No thread has the filter any more.
    unused: AtomicBool,
    /// Once received, only fatal signals end a caller's wait (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV).
    killable: bool,
    /// Receivers and pollers.
    arrived: Arc<WaitQueue>,
    /// Callers.
    decided: WaitQueue,
}

impl Supervisor {
    /// Without requests.
    pub fn new(killable: bool) -> Self {
        Self {
            requests: SpinLock::new(Vec::new()),
            next_id: AtomicU64::new(crate::random::u64() >> 1),
            closed: AtomicBool::new(false),
            unused: AtomicBool::new(false),
            killable,
            arrived: Arc::new(WaitQueue::new()),
            decided: WaitQueue::new(),
        }
    }

    /// The filter's last user is gone.
    pub fn filter_gone(&self) {
        self.unused.store(true, Ordering::Release);
        self.arrived.wake(usize::MAX, PollEvents::HUP.key());
    }

    fn remove(&self, id: u64) -> Option<Request> {
        let mut requests = self.requests.lock();
        let at = requests.iter().position(|request| request.id == id)?;
        Some(requests.remove(at))
    }

    fn state_of(&self, id: u64) -> Option<State> {
        let requests = self.requests.lock();
        requests
            .iter()
            .find(|request| request.id == id)
            .map(|request| request.state)
    }

    fn first(&self, state: State) -> Option<u64> {
        let requests = self.requests.lock();
        requests
            .iter()
            .find(|request| request.state == state)
            .map(|request| request.id)
    }

    /// Decides a request: ENOENT if it is gone, EINPROGRESS if it was not received or is decided already.
    fn reply(&self, id: u64, reply: Reply) -> Result<()> {
        let mut requests = self.requests.lock();
        let request = requests
            .iter_mut()
            .find(|request| request.id == id)
            .ok_or(Errno::ENOENT)?;
        if request.state != State::Sent {
            return Err(Errno::EINPROGRESS);
        }
        request.state = State::Replied;
        request.reply = reply;
        drop(requests);
        self.decided.wake_all();
        Ok(())
    }

    /// SECCOMP_IOCTL_NOTIF_RECV: waits for a request and hands it out.
    fn receive(&self, out: UserPtr<SeccompNotif>) -> Result<()> {
        let given = read_bytes(out.addr(), size_of::<SeccompNotif>())?;
        if given.iter().any(|byte| *byte != 0) {
            return Err(Errno::EINVAL);
        }
        self.arrived
            .wait(SleepMode::Interruptible, None, || {
                let ready = self.first(State::New).is_some() || self.unused.load(Ordering::Acquire);
                ready.then_some(())
            })
            .map_err(|_| Errno::EINTR)?;
        let notification = {
            let mut requests = self.requests.lock();
            let request = requests
                .iter_mut()
                .find(|request| request.state == State::New)
                .ok_or(Errno::ENOENT)?;
            request.state = State::Sent;
            SeccompNotif {
                id: request.id,
                pid: request.caller.tid(),
                flags: 0,
                data: request.data,
            }
        };
        self.arrived.wake(usize::MAX, PollEvents::WRITABLE.key());
        self.decided.wake_all();
        out.write(&notification).inspect_err(|_| {
            let mut requests = self.requests.lock();
            let request = requests
                .iter_mut()
                .find(|request| request.id == notification.id && request.state == State::Sent);
            if let Some(request) = request {
                request.state = State::New;
            }
        })
    }

    /// SECCOMP_IOCTL_NOTIF_SEND.
    fn send(&self, response: &SeccompNotifResp) -> Result<()> {
        let goes_on = response.flags & FLAG_CONTINUE != 0;
        if response.flags & !FLAG_CONTINUE != 0
            || (goes_on && (response.error != 0 || response.val != 0))
        {
            return Err(Errno::EINVAL);
        }
        self.reply(
            response.id,
            Reply {
                value: response.val,
                error: response.error,
                flags: response.flags,
            },
        )
    }

    /// SECCOMP_IOCTL_NOTIF_ADDFD: gives the caller a descriptor for a file of the supervisor's.
    fn add_fd(&self, add: &SeccompNotifAddfd) -> Result<usize> {
        const O_CLOEXEC: u32 = 0o2_000_000;
        let at_number = add.flags & ADDFD_SETFD != 0;
        if add.flags & !(ADDFD_SETFD | ADDFD_SEND) != 0
            || add.newfd_flags & !O_CLOEXEC != 0
            || (add.newfd != 0 && !at_number)
        {
            return Err(Errno::EINVAL);
        }
        let file = current().files().get_any(Fd(add.srcfd.cast_signed()))?;
        let caller = {
            let requests = self.requests.lock();
            let request = requests
                .iter()
                .find(|request| request.id == add.id)
                .ok_or(Errno::ENOENT)?;
            if request.state != State::Sent {
                return Err(Errno::EINPROGRESS);
            }
            request.caller.clone()
        };
        let cloexec = add.newfd_flags & O_CLOEXEC != 0;
        let fd = if at_number {
            let fd = Fd(i32::try_from(add.newfd).map_err(|_| Errno::EBADF)?);
            caller.files().install_at(fd, file, cloexec)?;
            fd
        } else {
            caller.files().install(file, cloexec)?
        };
        if add.flags & ADDFD_SEND != 0 {
            self.reply(
                add.id,
                Reply {
                    value: fd.0.into(),
                    ..Reply::default()
                },
            )?;
        }
        Ok(fd.0 as usize)
    }
}

struct Listener(Arc<Supervisor>);

/// The descriptor's file.
pub fn listener(supervisor: &Arc<Supervisor>, flags: OpenFlags) -> Arc<File> {
    anon_file(
        "anon_inode:seccomp notify",
        Arc::new(Listener(supervisor.clone())),
        flags,
    )
}

impl FileOps for Listener {
    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File, table: &mut PollTable) -> PollEvents {
        table.add(&self.0.arrived);
        let mut events = PollEvents::empty();
        events.set(PollEvents::READABLE, self.0.first(State::New).is_some());
        events.set(PollEvents::WRITABLE, self.0.first(State::Sent).is_some());
        events.set(PollEvents::HUP, self.0.unused.load(Ordering::Acquire));
        events
    }

    fn ioctl(&self, _file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        let supervisor = &self.0;
        match cmd {
            cmd::RECV => supervisor.receive(UserPtr::new(arg)).map(|()| 0),
            cmd::SEND => supervisor
                .send(&UserPtr::<SeccompNotifResp>::new(arg).read()?)
                .map(|()| 0),
            cmd::ID_VALID | cmd::ID_VALID_WRONG_DIR => {
                let id = UserPtr::<u64>::new(arg).read()?;
                match supervisor.state_of(id) {
                    Some(State::Sent) => Ok(0),
                    _ => Err(Errno::ENOENT),
                }
            }
            _ if cmd & !cmd::SIZE == cmd::ADDFD => {
                let size = (cmd & cmd::SIZE) >> 16;
                let full = size_of::<SeccompNotifAddfd>() as u32;
                if size < full || size as usize >= PAGE_SIZE {
                    return Err(Errno::EINVAL);
                }
                let add = crate::syscall::system::read_versioned(UserPtr::new(arg), size as usize)?;
                supervisor.add_fd(&add)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn release(&self, _file: &File) {
        self.0.closed.store(true, Ordering::Release);
        self.0.decided.wake_all();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// SECCOMP_RET_USER_NOTIF: true if the call is to be made after all; otherwise its result is set. ENOSYS without a
/// listener.
pub(super) fn ask(cx: &mut Ctx, supervisor: Option<&Arc<Supervisor>>, data: SeccompData) -> bool {
    let answer = match supervisor.filter(|s| !s.closed.load(Ordering::Acquire)) {
        Some(supervisor) => wait_for_reply(cx.thread, supervisor, data),
        None => Err(Errno::ENOSYS),
    };
    match answer {
        Ok(reply) if reply.flags & FLAG_CONTINUE != 0 => return true,
        Ok(reply) if reply.error != 0 => cx.user.rax = i64::from(reply.error).cast_unsigned(),
        Ok(reply) => cx.user.rax = reply.value.cast_unsigned(),
        Err(error) => cx.user.rax = error.to_reg(),
    }
    false
}

fn wait_for_reply(
    thread: &Arc<Thread>,
    supervisor: &Supervisor,
    data: SeccompData,
) -> Result<Reply> {
    let id = supervisor.next_id.fetch_add(1, Ordering::Relaxed);
    {
        let mut requests = supervisor.requests.lock();
        requests.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        requests.push(Request {
            id,
            caller: thread.clone(),
            data,
            state: State::New,
            reply: Reply::default(),
        });
    }
    supervisor
        .arrived
        .wake(usize::MAX, PollEvents::READABLE.key());
    let decided = || {
        let replied = supervisor.state_of(id) == Some(State::Replied);
        (replied || supervisor.closed.load(Ordering::Acquire)).then_some(())
    };
    let received = || supervisor.state_of(id) == Some(State::Sent);
    let mut waited = supervisor.decided.wait(SleepMode::Interruptible, None, || {
        let stay = supervisor.killable && received();
        decided().or(stay.then_some(()))
    });
    if supervisor.killable && decided().is_none() && received() {
        waited = supervisor.decided.wait(SleepMode::Killable, None, decided);
    }
    let request = supervisor.remove(id);
    match request {
        Some(request) if request.state == State::Replied => Ok(request.reply),
        _ if waited.is_err() => Err(Errno::ERESTARTSYS),
        _ => Err(Errno::ENOSYS),
    }
}
