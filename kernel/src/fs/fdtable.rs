//! Descriptor tables.

use keel_abi::args::Fd;

use super::File;
use crate::prelude::*;
use crate::process::rlimit::Resource;

/// Highest RLIMIT_NOFILE (`fs.nr_open`).
pub const NR_OPEN: usize = 1_048_576;

struct Entry {
    file: Arc<File>,
    cloexec: bool,
}

#[derive(Default)]
struct Table {
    entries: Vec<Option<Entry>>,
    /// No free descriptor is below this.
    lowest_free: usize,
}

/// What the descriptors of a process mean; shared by threads made with CLONE_FILES.
pub struct FdTable {
    table: SpinLock<Table>,
}

impl Table {
    fn slot(&self, fd: Fd) -> Option<&Entry> {
        self.entries.get(usize::try_from(fd.0).ok()?)?.as_ref()
    }

    fn slot_mut(&mut self, fd: Fd) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(fd.0).ok()?)?.as_mut()
    }

    /// The lowest free descriptor from `from` on, below `limit`.
    fn find_free(&self, from: usize, limit: usize) -> Result<usize> {
        let start = from.max(self.lowest_free);
        let found = (start..self.entries.len()).find(|at| self.entries[*at].is_none());
        let at = found.unwrap_or(self.entries.len().max(start));
        if at < limit {
            Ok(at)
        } else {
            Err(Errno::EMFILE)
        }
    }

    fn set(&mut self, at: usize, entry: Entry) -> Result<Option<Entry>> {
        if at >= self.entries.len() {
            self.entries
                .try_reserve(at + 1 - self.entries.len())
                .map_err(|_| Errno::ENOMEM)?;
            self.entries.resize_with(at + 1, || None);
        }
        if at == self.lowest_free {
            self.lowest_free = at + 1;
        }
        Ok(self.entries[at].replace(entry))
    }

    fn take(&mut self, at: usize) -> Option<Entry> {
        let entry = self.entries.get_mut(at)?.take()?;
        self.lowest_free = self.lowest_free.min(at);
        Some(entry)
    }
}

/// RLIMIT_NOFILE of the running process.
fn limit() -> usize {
    crate::process::current_opt().map_or(NR_OPEN, |thread| {
        (thread.process.rlimits.soft(Resource::Nofile) as usize).min(NR_OPEN)
    })
}

impl FdTable {
    /// A table without descriptors.
    pub fn empty() -> Arc<Self> {
        Arc::new(Self {
            table: SpinLock::new(Table::default()),
        })
    }

    /// What a descriptor means, O_PATH ones excepted: EBADF.
    pub fn get(&self, fd: Fd) -> Result<Arc<File>> {
        self.get_any(fd).and_then(|file| {
            if file.is_path() {
                Err(Errno::EBADF)
            } else {
                Ok(file)
            }
        })
    }

    /// What a descriptor means: EBADF.
    pub fn get_any(&self, fd: Fd) -> Result<Arc<File>> {
        self.table
            .lock()
            .slot(fd)
            .map(|entry| entry.file.clone())
            .ok_or(Errno::EBADF)
    }

    /// Gives a file the lowest free descriptor: EMFILE.
    pub fn install(&self, file: Arc<File>, cloexec: bool) -> Result<Fd> {
        self.install_from(file, 0, cloexec)
    }

    /// Gives a file the lowest free descriptor that is at least `from` (F_DUPFD): EINVAL, EMFILE.
    pub fn install_from(&self, file: Arc<File>, from: usize, cloexec: bool) -> Result<Fd> {
        let limit = limit();
        if from >= limit && from > 0 {
            return Err(Errno::EINVAL);
        }
        let mut table = self.table.lock();
        let at = table.find_free(from, limit)?;
        table.set(at, Entry { file, cloexec })?;
        Ok(Fd(at as i32))
    }

    /// Makes `fd` mean `file` (dup2): EBADF beyond the limit. What it meant before is closed.
    pub fn install_at(&self, fd: Fd, file: Arc<File>, cloexec: bool) -> Result<()> {
        let at = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        if at >= limit() {
            return Err(Errno::EBADF);
        }
        let old = self.table.lock().set(at, Entry { file, cloexec })?;
        if let Some(old) = old {
            // dup2 does not tell of errors of the implicit close.
            let _ = self.closed(&old.file);
        }
        Ok(())
    }

    /// Closes a descriptor: EBADF, or what flushing gives.
    pub fn close(&self, fd: Fd) -> Result<()> {
        let at = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        let entry = self.table.lock().take(at).ok_or(Errno::EBADF)?;
        self.closed(&entry.file)
    }

    fn closed(&self, file: &Arc<File>) -> Result<()> {
        super::locks::descriptor_closed(self, file);
        super::notify::dnotify::flush(self, file);
        if file.is_path() {
            Ok(())
        } else {
            file.ops.flush(file)
        }
    }

    /// FD_CLOEXEC of a descriptor: EBADF.
    pub fn cloexec(&self, fd: Fd) -> Result<bool> {
        self.table
            .lock()
            .slot(fd)
            .map(|entry| entry.cloexec)
            .ok_or(Errno::EBADF)
    }

    /// Sets FD_CLOEXEC: EBADF.
    pub fn set_cloexec(&self, fd: Fd, cloexec: bool) -> Result<()> {
        let mut table = self.table.lock();
        table.slot_mut(fd).ok_or(Errno::EBADF)?.cloexec = cloexec;
        Ok(())
    }

    /// The lowest descriptor in use from `from` on.
    pub fn next_open(&self, from: usize) -> Option<usize> {
        let table = self.table.lock();
        (from..table.entries.len()).find(|at| table.entries[*at].is_some())
    }

    /// How many descriptors are in use.
    pub fn open_count(&self) -> usize {
        self.table.lock().entries.iter().flatten().count()
    }

    /// Room for so many descriptors (`FDSize` in /proc/PID/status).
    pub fn capacity(&self) -> usize {
        self.table.lock().entries.len().next_multiple_of(64)
    }

    /// A table of its own with the same descriptors: ENOMEM.
    pub fn clone_table(&self) -> Result<Arc<Self>> {
        let table = self.table.lock();
        let mut entries = Vec::new();
        entries
            .try_reserve_exact(table.entries.len())
            .map_err(|_| Errno::ENOMEM)?;
        entries.extend(table.entries.iter().map(|entry| {
            entry.as_ref().map(|e| Entry {
                file: e.file.clone(),
                cloexec: e.cloexec,
            })
        }));
        let lowest_free = table.lowest_free;
        Ok(Arc::new(Self {
            table: SpinLock::new(Table {
                entries,
                lowest_free,
            }),
        }))
    }

    /// Closes what has FD_CLOEXEC (exec).
    pub fn close_on_exec(&self) {
        self.close_where(|_, cloexec| cloexec);
    }

    /// Closes descriptors `first..=last` (close_range).
    pub fn close_range(&self, first: u32, last: u32) {
        self.close_where(|fd, _| (first..=last).contains(&(fd.0.cast_unsigned())));
    }

    /// Sets FD_CLOEXEC on descriptors `first..=last`.
    pub fn cloexec_range(&self, first: u32, last: u32) {
        let mut table = self.table.lock();
        for (at, entry) in table.entries.iter_mut().enumerate() {
            if let Some(entry) = entry
                && (first as usize..=last as usize).contains(&at)
            {
                entry.cloexec = true;
            }
        }
    }

    /// Closes everything if nobody else uses the table (exit).
    pub fn close_all_if_last(self: &Arc<Self>) {
        if Arc::strong_count(self) == 1 {
            self.close_where(|_, _| true);
        }
    }

    fn close_where(&self, which: impl Fn(Fd, bool) -> bool) {
        let mut closed = Vec::new();
        {
            let mut table = self.table.lock();
            for at in 0..table.entries.len() {
                let wanted = table.entries[at]
                    .as_ref()
                    .is_some_and(|entry| which(Fd(at as i32), entry.cloexec));
                if wanted {
                    closed.extend(table.take(at));
                }
            }
        }
        for entry in closed {
            let _ = self.closed(&entry.file);
        }
    }
}
