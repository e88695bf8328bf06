//! What a block device has done so far (/proc/diskstats, /sys/block/*/stat).

use core::sync::atomic::{AtomicU64, Ordering};

use keel_procfs::DiskStats;

use super::Op;

/// Counters of one kind of request.
#[derive(Default)]
struct Kind {
    done: AtomicU64,
    merged: AtomicU64,
    sectors: AtomicU64,
    ns: AtomicU64,
}

/// Counters of a device.
#[derive(Default)]
pub struct Stats {
    kinds: [Kind; 4],
    in_flight: AtomicU64,
    /// Time with at least one request in flight: up to `busy_since`.
    busy_ns: AtomicU64,
    busy_since: AtomicU64,
}

fn kind(op: Op) -> usize {
    match op {
        Op::Read => 0,
        Op::Write => 1,
        Op::Discard | Op::WriteZeroes => 2,
        Op::Flush => 3,
    }
}

impl Stats {
    /// A request begins; the time is kept for [`Self::end`].
    pub(super) fn begin(&self) -> u64 {
        let now = keel_hal::time::now();
        if self.in_flight.fetch_add(1, Ordering::AcqRel) == 0 {
            self.busy_since.store(now, Ordering::Relaxed);
        }
        now
    }

    /// A request that began at `start` has ended.
    pub(super) fn end(&self, op: Op, sectors: u64, start: u64) {
        let now = keel_hal::time::now();
        let kind = &self.kinds[kind(op)];
        if sectors > 0 || op == Op::Flush {
            kind.done.fetch_add(1, Ordering::Relaxed);
        }
        kind.sectors.fetch_add(sectors, Ordering::Relaxed);
        kind.ns
            .fetch_add(now.saturating_sub(start), Ordering::Relaxed);
        let busy_since = self.busy_since.load(Ordering::Relaxed);
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.busy_ns
                .fetch_add(now.saturating_sub(busy_since), Ordering::Relaxed);
        }
    }

    /// A request was merged into another.
    pub(super) fn merged(&self, op: Op) {
        self.kinds[kind(op)].merged.fetch_add(1, Ordering::Relaxed);
    }

    /// The figures now.
    pub fn figures(&self) -> DiskStats {
        let [reads, writes, discards, flushes] = &self.kinds;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let ms = |kind: &Kind| get(&kind.ns) / 1_000_000;
        let in_flight = get(&self.in_flight);
        let running = match in_flight {
            0 => 0,
            _ => keel_hal::time::now().saturating_sub(get(&self.busy_since)),
        };
        DiskStats {
            reads: get(&reads.done),
            reads_merged: get(&reads.merged),
            read_sectors: get(&reads.sectors),
            read_ms: ms(reads),
            writes: get(&writes.done),
            writes_merged: get(&writes.merged),
            written_sectors: get(&writes.sectors),
            write_ms: ms(writes),
            in_flight,
            io_ms: (get(&self.busy_ns) + running) / 1_000_000,
            queue_ms: self.kinds.iter().map(ms).sum(),
            discards: get(&discards.done),
            discards_merged: get(&discards.merged),
            discarded_sectors: get(&discards.sectors),
            discard_ms: ms(discards),
            flushes: get(&flushes.done),
            flush_ms: ms(flushes),
        }
    }
}
