//! The threads that the kernels share, and how a kernel hands out its work.
//!
//! A layer of a small model takes some tens of microseconds, about as long as a sleeping thread
//! takes to wake. So these threads look for more work for a short while before they sleep.

mod gate;
mod patience;
mod split;
mod workers;

use std::cell::RefCell;
use std::process;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

pub(super) use split::{Split, parts};
use workers::Workers;

/// The process's workers, and the process that started them: threads do not survive a fork.
struct Crew {
    workers: Workers,
    process: u32,
}

static CREW: AtomicPtr<Crew> = AtomicPtr::new(null_mut());

thread_local! {
    /// Workers that serve this thread in place of the process's own.
    static OWN: RefCell<Option<Arc<Workers>>> = const { RefCell::new(None) };
}

/// The crew of this process, started now if there is none.
#[allow(unsafe_code)]
fn crew() -> &'static Crew {
    let process = process::id();
    let place = CREW.load(Ordering::Acquire);
    // SAFETY: only pointers to crews that live for ever are stored.
    if let Some(crew) = unsafe { place.as_ref() }.filter(|crew| crew.process == process) {
        return crew;
    }
    let workers = Workers::start(crate::device::num_threads(), || ());
    let new = Box::into_raw(Box::new(Crew { workers, process }));
    match CREW.compare_exchange(place, new, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: as above; after a fork the old crew has no threads and is left where it lies.
        Ok(_) => unsafe { &*new },
        Err(other) => {
            // SAFETY: nobody else has seen `new`; the other is stored, and lives for ever.
            drop(unsafe { Box::from_raw(new) });
            unsafe { &*other }
        }
    }
}

/// Runs `work` with the workers that serve this thread.
fn with_workers<T>(work: impl FnOnce(&Workers) -> T) -> T {
    match OWN.with_borrow(Clone::clone) {
        Some(own) => work(&own),
        None => work(&crew().workers),
    }
}

/// How many threads a kernel may keep busy, the calling one included.
pub(super) fn threads() -> usize {
    with_workers(Workers::threads)
}

/// Runs `work` once for each number below `tasks`, on several threads. A panic of any of them is
/// passed on when all have left.
///
/// Inside of `work` this runs one task after the other.
pub(super) fn parallel(tasks: usize, work: impl Fn(usize) + Sync) {
    if tasks < 2 {
        return (0..tasks).for_each(work);
    }
    with_workers(|workers| workers.run(tasks, &work));
}

/// Runs `work` on each part with its number, at least `least` of them at a time.
pub(super) fn each<S: Split>(split: S, least: usize, work: impl Fn(usize, S::Part) + Sync) {
    let (count, least) = (split.count(), least.max(1));
    parallel(count.div_ceil(least), |task| {
        for i in task * least..((task + 1) * least).min(count) {
            // SAFETY: each number comes up once.
            #[allow(unsafe_code)]
            work(i, unsafe { split.part(i) });
        }
    });
}

/// What `work` gives for each number below `count`, in order.
pub(super) fn map<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let mut results: Vec<Option<T>> = (0..count).map(|_| None).collect();
    each(parts(&mut results, 1), 1, |i, result| result[0] = Some(work(i)));
    results.into_iter().map(|result| result.expect("every task ran")).collect()
}

/// Runs `chore` once on each worker when it has nothing else to do; nobody waits for it.
#[cfg(feature = "allocator")]
pub(super) fn on_each_worker(chore: fn()) {
    with_workers(|workers| workers.ask(chore));
}

/// Runs `work` with kernels that use `threads` threads, each of which runs `start` first.
#[cfg(test)]
pub(super) fn with_own<T>(
    threads: usize,
    start: impl Fn() + Clone + Send + 'static,
    work: impl FnOnce() -> T,
) -> T {
    struct Restore(Option<Arc<Workers>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OWN.set(self.0.take());
        }
    }
    let own = Arc::new(Workers::start(threads, start));
    let _restore = Restore(OWN.replace(Some(own)));
    work()
}

/// Runs `work` on `threads` threads: of the kernels, and of the pool that candle's own products use.
#[cfg(test)]
pub(crate) fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| with_own(threads, || (), work))
}

#[cfg(test)]
mod tests;
