//! The way into a job: open while there is work, closed when its owner has run out of it.
//!
//! Nobody waits for a thread that never came, only for those that are inside. So a job is never
//! held up by a worker that sleeps, or whose core another program has.

use std::sync::atomic::{AtomicU64, Ordering};

/// Threads inside of the job.
const INSIDE: u64 = (1 << 16) - 1;
/// Whether others may enter.
const OPEN: u64 = 1 << 16;
/// One step of the job's number, which fills the rest.
const NUMBER: u64 = 1 << 17;

/// The number of a job, whether it is open, and how many threads are inside.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicU64);

impl Gate {
    /// Opens the next job; nobody is inside of the one before.
    pub(super) fn open(&self) {
        let next = (self.0.load(Ordering::Relaxed) | (NUMBER - 1)) + 1;
        // In one order with the flags of sleepers: see `Workers`.
        self.0.store(next | OPEN, Ordering::SeqCst);
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.0.fetch_and(!OPEN, Ordering::Relaxed);
    }

    /// Whether all who entered have left. Then all that they wrote is seen.
    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::SeqCst) & INSIDE == 0
    }

    /// Whether a job is open that is not number `last`.
    pub(super) fn is_open(&self, last: u64) -> bool {
        let now = self.0.load(Ordering::SeqCst);
        now & OPEN != 0 && now / NUMBER != last
    }

    /// Enters a job that is not number `last`, and says its number.
    pub(super) fn enter(&self, last: u64) -> Option<u64> {
        let mut now = self.0.load(Ordering::Relaxed);
        while now & OPEN != 0 && now / NUMBER != last {
            let order = (Ordering::Acquire, Ordering::Relaxed);
            match self.0.compare_exchange_weak(now, now + 1, order.0, order.1) {
                Ok(_) => return Some(now / NUMBER),
                Err(other) => now = other,
            }
        }
        None
    }

    /// Leaves; whether the job is closed and nobody is left inside.
    pub(super) fn leave(&self) -> bool {
        self.0.fetch_sub(1, Ordering::SeqCst) & (OPEN | INSIDE) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_entered_once_while_it_is_open() {
        let gate = Gate::default();
        assert_eq!(gate.enter(0), None);
        gate.open();
        assert!(gate.is_open(0) && gate.is_empty());
        let first = gate.enter(0).unwrap();
        assert_eq!(gate.enter(first), None);
        assert_eq!(gate.enter(0), Some(first)); // another thread
        assert!(!gate.leave()); // one is left inside
        gate.close();
        assert_eq!(gate.enter(0), None);
        assert!(!gate.is_empty());
        assert!(gate.leave() && gate.is_empty());
        gate.open();
        assert_eq!(gate.enter(first), Some(first + 1));
    }
}
