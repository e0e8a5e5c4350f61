//! One epoch under way: the threads that prepare films, and the batches put together from them.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ndarray::Array3;

use super::{Batch, Item, RowError, Source};
use crate::progress::Progress;
use crate::{Error, Result};

/// How long a waiting consumer sleeps before it looks whether it should stop.
const GLANCE: Duration = Duration::from_millis(50);

/// Decoders of compressed films recurse more than the usual 2 MB allow.
const STACK: usize = 8 << 20;

/// A film ready for its batch, or what was wrong with it.
type Prepared = std::result::Result<Array3<f32>, String>;

/// What the threads of an epoch share.
#[derive(Debug)]
struct State {
    source: Arc<Source>,
    epoch: u64,
    window: usize,
    items: Vec<Item>,
    queue: Mutex<Queue>,
    room: Condvar,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// Films that are prepared but not yet taken, by their place.
    ready: HashMap<usize, Prepared>,
    /// The next place that a worker takes up.
    next: usize,
    /// How many places the consumer has taken.
    taken: usize,
    /// The most places that were ever taken up but not yet taken.
    peak: usize,
    stop: bool,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let mut queue = self.lock();
            while !queue.stop
                && queue.next < self.items.len()
                && queue.next >= queue.taken + self.window
            {
                queue = self.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            if queue.stop || queue.next >= self.items.len() {
                return;
            }
            let place = queue.next;
            queue.next += 1;
            queue.peak = queue.peak.max(queue.next - queue.taken);
            drop(queue);
            let work = || self.source.film(self.epoch, self.items[place]);
            let film = match catch_unwind(AssertUnwindSafe(work)) {
                Ok(film) => film.map_err(|error| error.to_string()),
                Err(_) => Err(Error::Internal("the reader broke on this film".into()).to_string()),
            };
            self.lock().ready.insert(place, film);
            self.filled.notify_all();
        }
    }
}

/// The batches of one epoch, in order. Dropping it stops its threads.
#[derive(Debug)]
pub struct Epoch {
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
    sizes: VecDeque<usize>,
    number: usize,
}

impl Epoch {
    pub(super) fn start(
        source: Arc<Source>,
        epoch: u64,
        window: usize,
        items: Vec<Item>,
        sizes: VecDeque<usize>,
        number: usize,
    ) -> Result<Self> {
        let state = Arc::new(State {
            source,
            epoch,
            window,
            items,
            queue: Mutex::default(),
            room: Condvar::new(),
            filled: Condvar::new(),
        });
        let wished = match state.source.options.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let mut epoch = Self { state, threads: Vec::new(), sizes, number };
        for _ in 0..wished.min(epoch.state.items.len()) {
            let state = Arc::clone(&epoch.state);
            let thread = std::thread::Builder::new().name("carina-loader".to_owned());
            match thread.stack_size(STACK).spawn(move || state.work()) {
                Ok(thread) => epoch.threads.push(thread),
                Err(source) if epoch.threads.is_empty() => {
                    return Err(Error::io("a loader thread", source));
                }
                Err(_) => break, // fewer threads do the same work
            }
        }
        Ok(epoch)
    }

    /// The next batch; `None` after the last. Fails only when `progress` was told to stop.
    pub fn next_batch(&mut self, progress: &Progress) -> Result<Option<Batch>> {
        progress.check()?;
        let Some(size) = self.sizes.pop_front() else { return Ok(None) };
        let mut batch = Batch {
            number: self.number,
            indices: Vec::with_capacity(size),
            pixels: Vec::new(),
            shape: [0; 4],
            failures: Vec::new(),
        };
        for left in (0..size).rev() {
            let (index, film) = self.wait(progress)?;
            match film {
                Ok(film) => batch.add(index, &film, left),
                Err(message) => batch.failures.push(RowError { index, message }),
            }
        }
        self.number += 1;
        Ok(Some(batch))
    }

    /// The most films that were ever prepared, or being prepared, ahead of the consumer.
    pub fn peak(&self) -> usize {
        self.state.lock().peak
    }

    fn wait(&self, progress: &Progress) -> Result<(usize, Prepared)> {
        let mut queue = self.state.lock();
        loop {
            let place = queue.taken;
            if let Some(film) = queue.ready.remove(&place) {
                queue.taken += 1;
                self.state.room.notify_all();
                return Ok((self.state.items[place].0, film));
            }
            progress.check()?;
            let waited = self.state.filled.wait_timeout(queue, GLANCE);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch(&Progress::silent()).transpose()
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.state.lock().stop = true;
        self.state.room.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a worker catches its panics
        }
    }
}
