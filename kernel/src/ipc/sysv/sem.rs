//! System V semaphores (semget(2), semop(2), semctl(2)).
//!
//! The operations of one call happen all at once or not at all. Calls that cannot go on yet wait in their set's queue in
//! order of arrival; whoever changes a value does the work of those that can go on now, and wakes them with the result.
//!
//! What SEM_UNDO is to take back is kept in the set, by the number of the [`UndoList`] that a process, or several with
//! CLONE_SYSVSEM, has; the list knows the sets.

use core::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use keel_abi::types::{SEM_UNDO, Sembuf, SemidDs};
use keel_hal::task::{self, Task};

use super::{Object, READ, Table, WRITE, now, pid};
use crate::prelude::*;
use crate::process::{Cred, Thread};

/// Highest value (`SEMVMX`), and largest value to undo (`SEMAEM`).
pub const VALUE_MAX: i32 = 32_767;
/// IPC_NOWAIT in `sem_flg`.
const NOWAIT: i16 = 0o4000;

/// One namespace's sets and limits (`kernel.sem`).
pub struct Sets {
    /// The sets.
    pub table: Table<Set>,
    /// Most semaphores of a set (SEMMSL).
    pub max_per_set: AtomicUsize,
    /// Most semaphores (SEMMNS).
    pub max_semaphores: AtomicUsize,
    /// Most operations of a call (SEMOPM).
    pub max_operations: AtomicUsize,
    /// Most sets (SEMMNI).
    pub max_sets: AtomicUsize,
    /// Semaphores of all sets.
    pub semaphores: Arc<AtomicUsize>,
}

impl Default for Sets {
    fn default() -> Self {
        Self {
            table: Table::default(),
            max_per_set: AtomicUsize::new(32_000),
            max_semaphores: AtomicUsize::new(1_024_000_000),
            max_operations: AtomicUsize::new(500),
            max_sets: AtomicUsize::new(32_000),
            semaphores: Arc::new(AtomicUsize::new(0)),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Semaphore {
    value: i32,
    /// The process that changed it last.
    pid: u32,
}

/// Not decided yet, in [`Waiter::result`].
const UNDECIDED: i32 = i32::MIN;

/// A call that waits.
struct Waiter {
    task: Arc<Task>,
    operations: Vec<Sembuf>,
    undo: Option<u64>,
    pid: u32,
    /// The operation that it waits for.
    blocked_at: AtomicUsize,
    /// 0, or an errno, or [`UNDECIDED`].
    result: AtomicI32,
}

struct State {
    semaphores: Vec<Semaphore>,
    waiters: VecDeque<Arc<Waiter>>,
    /// By undo list: what to add to each semaphore.
    undo: BTreeMap<u64, Vec<i32>>,
    operated_at: i64,
    changed_at: i64,
}

/// A set of semaphores.
pub struct Set {
    /// How many semaphores it has.
    pub count: usize,
    state: SpinLock<State>,
    /// All semaphores of the namespace.
    total: Arc<AtomicUsize>,
}

impl Drop for Set {
    fn drop(&mut self) {
        self.total.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// A set with its identity.
pub type SetObject = Arc<Object<Set>>;

/// Why operations do not go on.
enum Stuck {
    /// At this operation.
    At(usize),
    /// For good.
    Error(Errno),
}

impl Set {
    /// A set of `count` semaphores that are 0: ENOSPC beyond the limit, ENOMEM.
    pub fn new(sets: &Sets, count: usize) -> Result<Self> {
        let mut semaphores = Vec::new();
        semaphores
            .try_reserve_exact(count)
            .map_err(|_| Errno::ENOMEM)?;
        semaphores.resize(count, Semaphore::default());
        let limit = sets.max_semaphores.load(Ordering::Relaxed);
        sets.semaphores
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| {
                sum.checked_add(count).filter(|sum| *sum <= limit)
            })
            .map_err(|_| Errno::ENOSPC)?;
        Ok(Self {
            total: sets.semaphores.clone(),
            count,
            state: SpinLock::new(State {
                semaphores,
                waiters: VecDeque::new(),
                undo: BTreeMap::new(),
                operated_at: 0,
                changed_at: now(),
            }),
        })
    }
}

impl State {
    /// Does all operations, or none.
    fn perform(
        &mut self,
        operations: &[Sembuf],
        undo: Option<u64>,
        pid: u32,
    ) -> core::result::Result<(), Stuck> {
        let mut done = 0;
        let mut stuck = None;
        for (at, operation) in operations.iter().enumerate() {
            match self.step(operation, undo) {
                Ok(true) => done = at + 1,
                Ok(false) if operation.sem_flg & NOWAIT != 0 => {
                    stuck = Some(Stuck::Error(Errno::EAGAIN));
                }
                Ok(false) => stuck = Some(Stuck::At(at)),
                Err(error) => stuck = Some(Stuck::Error(error)),
            }
            if stuck.is_some() {
                break;
            }
        }
        match stuck {
            None => {
                for operation in operations {
                    self.semaphores[usize::from(operation.sem_num)].pid = pid;
                }
                self.operated_at = now();
                Ok(())
            }
            Some(stuck) => {
                for operation in operations[..done].iter().rev() {
                    self.revert(operation, undo);
                }
                Err(stuck)
            }
        }
    }

    /// One operation: false if it has to wait; ERANGE.
    fn step(&mut self, operation: &Sembuf, undo: Option<u64>) -> Result<bool> {
        let at = usize::from(operation.sem_num);
        let change = i32::from(operation.sem_op);
        let value = self.semaphores[at].value;
        if change == 0 {
            return Ok(value == 0);
        }
        if value + change < 0 {
            return Ok(false);
        }
        if value + change > VALUE_MAX {
            return Err(Errno::ERANGE);
        }
        if let Some(adjust) = self.adjustment(operation, undo) {
            let new = *adjust - change;
            if !(-VALUE_MAX - 1..=VALUE_MAX).contains(&new) {
                return Err(Errno::ERANGE);
            }
            *adjust = new;
        }
        self.semaphores[at].value = value + change;
        Ok(true)
    }

    fn revert(&mut self, operation: &Sembuf, undo: Option<u64>) {
        let change = i32::from(operation.sem_op);
        self.semaphores[usize::from(operation.sem_num)].value -= change;
        if let Some(adjust) = self.adjustment(operation, undo) {
            *adjust += change;
        }
    }

    fn adjustment(&mut self, operation: &Sembuf, undo: Option<u64>) -> Option<&mut i32> {
        if operation.sem_flg & SEM_UNDO == 0 || operation.sem_op == 0 {
            return None;
        }
        let adjustments = self.undo.get_mut(&undo?)?;
        adjustments.get_mut(usize::from(operation.sem_num))
    }

    /// Values changed: does the work of waiters that can go on, in order, until none can.
    fn serve_waiters(&mut self, woken: &mut Vec<Arc<Task>>) {
        let mut at = 0;
        while let Some(waiter) = self.waiters.get(at).cloned() {
            let result = match self.perform(&waiter.operations, waiter.undo, waiter.pid) {
                Ok(()) => 0,
                Err(Stuck::Error(error)) => error.raw(),
                Err(Stuck::At(operation)) => {
                    waiter.blocked_at.store(operation, Ordering::Relaxed);
                    at += 1;
                    continue;
                }
            };
            self.waiters.remove(at);
            waiter.result.store(result, Ordering::Release);
            woken.push(waiter.task.clone());
            let changes = waiter.operations.iter().any(|op| op.sem_op != 0);
            if result == 0 && changes {
                at = 0;
            }
        }
    }

    /// How many calls wait on a semaphore, for it to rise or, with `zero`, to become 0.
    fn waiting(&self, semaphore: usize, zero: bool) -> i32 {
        let blocked = self.waiters.iter().filter(|waiter| {
            let operation = waiter
                .operations
                .get(waiter.blocked_at.load(Ordering::Relaxed));
            operation
                .is_some_and(|op| usize::from(op.sem_num) == semaphore && (op.sem_op == 0) == zero)
        });
        blocked.count() as i32
    }
}

fn wake(tasks: Vec<Arc<Task>>) {
    for task in tasks {
        task.wake();
    }
}

/// semtimedop(2). EFBIG, EACCES, ERANGE, EAGAIN, EIDRM, EINTR.
pub fn operate(
    thread: &Arc<Thread>,
    set: &SetObject,
    operations: Vec<Sembuf>,
    deadline: Option<u64>,
) -> Result<()> {
    let beyond = |op: &Sembuf| usize::from(op.sem_num) >= set.data.count;
    if operations.iter().any(beyond) {
        return Err(Errno::EFBIG);
    }
    let changes = operations.iter().any(|op| op.sem_op != 0);
    set.check(&thread.cred(), if changes { WRITE } else { READ })?;
    let undoes = operations
        .iter()
        .any(|op| op.sem_flg & SEM_UNDO != 0 && op.sem_op != 0);
    let undo = if undoes {
        Some(prepare_undo(thread, set)?)
    } else {
        None
    };
    let mut woken = Vec::new();
    let waiter = {
        let mut state = set.data.state.lock();
        if set.is_removed() {
            return Err(Errno::EIDRM);
        }
        match state.perform(&operations, undo, pid()) {
            Ok(()) => {
                if changes {
                    state.serve_waiters(&mut woken);
                }
                None
            }
            Err(Stuck::Error(error)) => return Err(error),
            Err(Stuck::At(at)) => {
                state.waiters.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                let waiter = Arc::new(Waiter {
                    task: task::current().clone(),
                    operations,
                    undo,
                    pid: pid(),
                    blocked_at: AtomicUsize::new(at),
                    result: AtomicI32::new(UNDECIDED),
                });
                state.waiters.push_back(waiter.clone());
                Some(waiter)
            }
        }
    };
    wake(woken);
    waiter.map_or(Ok(()), |waiter| sleep(set, &waiter, deadline))
}

fn sleep(set: &SetObject, waiter: &Arc<Waiter>, deadline: Option<u64>) -> Result<()> {
    let decided = || match waiter.result.load(Ordering::Acquire) {
        UNDECIDED => None,
        result => Some(result),
    };
    let result = loop {
        task::prepare_sleep(SleepMode::Interruptible);
        let early = if task::current().interrupted() {
            Some(Errno::EINTR)
        } else if deadline.is_some_and(|at| keel_hal::time::now() >= at) {
            Some(Errno::EAGAIN)
        } else {
            None
        };
        if let Some(result) = decided() {
            task::cancel_sleep();
            break result;
        }
        if let Some(error) = early {
            task::cancel_sleep();
            let mut state = set.data.state.lock();
            // Under the lock nobody decides.
            match decided() {
                Some(result) => break result,
                None => state.waiters.retain(|other| !Arc::ptr_eq(other, waiter)),
            }
            return Err(error);
        }
        match deadline {
            Some(at) => crate::time::timer::schedule_timeout(at),
            None => task::schedule(),
        }
    };
    match result {
        0 => Ok(()),
        errno => Err(Errno::from_raw(errno).unwrap_or(Errno::EIDRM)),
    }
}

/// What a process takes back of its semaphore operations when it ends. Shared with CLONE_SYSVSEM.
pub struct UndoList {
    id: u64,
    sets: SpinLock<Vec<Weak<Object<Set>>>>,
}

impl UndoList {
    /// An empty list.
    pub fn new() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            sets: SpinLock::new(Vec::new()),
        })
    }
}

/// The number of the thread's undo list, for which the set has adjustments now: ENOMEM.
fn prepare_undo(thread: &Thread, set: &SetObject) -> Result<u64> {
    let list = thread
        .sem_undo
        .lock()
        .get_or_insert_with(UndoList::new)
        .clone();
    let mut fresh = Vec::new();
    fresh
        .try_reserve_exact(set.data.count)
        .map_err(|_| Errno::ENOMEM)?;
    fresh.resize(set.data.count, 0);
    let mut state = set.data.state.lock();
    if state.undo.contains_key(&list.id) {
        return Ok(list.id);
    }
    state.undo.insert(list.id, fresh);
    drop(state);
    let mut sets = list.sets.lock();
    sets.retain(|set| set.strong_count() > 0);
    sets.push(Arc::downgrade(set));
    Ok(list.id)
}

/// The thread ends, or leaves its list: the last of those who share it takes everything back.
pub fn leave_undo_list(thread: &Thread) {
    let list = thread.sem_undo.lock().take();
    let Some(list) = list.and_then(Arc::into_inner) else {
        return;
    };
    let pid = thread.process.pid;
    for set in list.sets.into_inner() {
        let Some(set) = set.upgrade() else { continue };
        let mut woken = Vec::new();
        {
            let mut state = set.data.state.lock();
            let Some(adjustments) = state.undo.remove(&list.id) else {
                continue;
            };
            for (semaphore, adjust) in state.semaphores.iter_mut().zip(adjustments) {
                if adjust != 0 {
                    semaphore.value = (semaphore.value + adjust).clamp(0, VALUE_MAX);
                    semaphore.pid = pid;
                }
            }
            state.operated_at = now();
            state.serve_waiters(&mut woken);
        }
        wake(woken);
    }
}

/// IPC_RMID: EPERM.
pub fn remove(sets: &Sets, set: &SetObject, cred: &Cred) -> Result<()> {
    set.check_owner(cred)?;
    sets.table.remove(set);
    let waiters = {
        let mut state = set.data.state.lock();
        state.undo.clear();
        core::mem::take(&mut state.waiters)
    };
    for waiter in waiters {
        waiter.result.store(Errno::EIDRM.raw(), Ordering::Release);
        waiter.task.wake();
    }
    Ok(())
}

/// IPC_SET: EPERM, EINVAL.
pub fn set(set: &SetObject, cred: &Cred, new: &SemidDs) -> Result<()> {
    set.check_owner(cred)?;
    set.perm.lock().update(&new.sem_perm)?;
    set.data.state.lock().changed_at = now();
    Ok(())
}

/// IPC_STAT.
pub fn status(set: &SetObject) -> SemidDs {
    let perm = *set.perm.lock();
    let state = set.data.state.lock();
    SemidDs {
        sem_perm: perm.to_user(set.id),
        sem_otime: state.operated_at,
        sem_ctime: state.changed_at,
        sem_nsems: set.data.count as u64,
        ..SemidDs::default()
    }
}

/// What GETVAL and its like ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Question {
    /// GETVAL.
    Value,
    /// GETPID.
    Pid,
    /// GETNCNT.
    WaitingForMore,
    /// GETZCNT.
    WaitingForZero,
}

/// Answers about one semaphore: EINVAL for one that is not in the set.
pub fn ask(set: &SetObject, semaphore: i32, question: Question) -> Result<i32> {
    let at = usize::try_from(semaphore).map_err(|_| Errno::EINVAL)?;
    let state = set.data.state.lock();
    let semaphore = *state.semaphores.get(at).ok_or(Errno::EINVAL)?;
    Ok(match question {
        Question::Value => semaphore.value,
        Question::Pid => semaphore.pid.cast_signed(),
        Question::WaitingForMore => state.waiting(at, false),
        Question::WaitingForZero => state.waiting(at, true),
    })
}

/// All values (GETALL).
pub fn values(set: &SetObject) -> Vec<u16> {
    let state = set.data.state.lock();
    let values = state
        .semaphores
        .iter()
        .map(|semaphore| semaphore.value as u16);
    values.collect()
}

/// Sets values from semaphore `first` on (SETVAL, SETALL), and forgets what was to be undone to them. ERANGE, EIDRM,
/// EINVAL for semaphores that are not in the set.
pub fn set_values(set: &SetObject, first: usize, new: &[i32]) -> Result<()> {
    if new.iter().any(|value| !(0..=VALUE_MAX).contains(value)) {
        return Err(Errno::ERANGE);
    }
    let mut woken = Vec::new();
    {
        let mut state = set.data.state.lock();
        if set.is_removed() {
            return Err(Errno::EIDRM);
        }
        let range = first..first + new.len();
        let semaphores = state
            .semaphores
            .get_mut(range.clone())
            .ok_or(Errno::EINVAL)?;
        for (semaphore, value) in semaphores.iter_mut().zip(new) {
            semaphore.value = *value;
            semaphore.pid = pid();
        }
        for adjustments in state.undo.values_mut() {
            adjustments[range.clone()].fill(0);
        }
        state.changed_at = now();
        state.serve_waiters(&mut woken);
    }
    wake(woken);
    Ok(())
}
