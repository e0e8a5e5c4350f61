//! How long work reports where it is, and how it is told to stop.
//!
//! The worker only touches atomics and a short queue, from any thread; whoever watches it
//! (a test, the Python border) looks in when it likes. So a progress bar can never slow or
//! break the work, and a stop request reaches it at its next [`Progress::tick`].

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Error, Result};

/// Progress of one long call, shared by the worker and the watcher.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicUsize,
    total: AtomicUsize,
    stop: Arc<AtomicBool>,
    events: Mutex<Vec<serde_json::Value>>,
}

impl Progress {
    /// A progress that nobody watches.
    pub fn silent() -> Self {
        Self::default()
    }

    /// A progress of its own for a part of the work that nobody watches; a stop reaches it too.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { stop: Arc::clone(&self.stop), ..Self::default() }
    }

    /// Says how many items there are; what was done before was another piece of work.
    pub fn set_total(&self, total: usize) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// Says that `items` more are done; fails with [`Error::Interrupted`] once a stop was asked for.
    pub fn tick(&self, items: usize) -> Result<()> {
        self.done.fetch_add(items, Ordering::Relaxed);
        self.check()
    }

    /// Fails with [`Error::Interrupted`] once a stop was asked for.
    pub fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Queues a record (one row of a training table, say) for the watcher.
    pub fn emit(&self, event: serde_json::Value) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Items done and items in all.
    pub fn counts(&self) -> (usize, usize) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// Takes the records queued since the last call.
    pub fn take_events(&self) -> Vec<serde_json::Value> {
        std::mem::take(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks the worker to stop at its next tick.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_reaches_the_next_tick() {
        let progress = Progress::silent();
        progress.set_total(3);
        progress.tick(1).unwrap();
        progress.stop();
        assert!(matches!(progress.tick(1), Err(Error::Interrupted)));
        assert_eq!(progress.counts(), (2, 3));
        assert!(matches!(progress.part().tick(1), Err(Error::Interrupted)));
        progress.set_total(5);
        assert_eq!(progress.counts(), (0, 5));
    }
}
