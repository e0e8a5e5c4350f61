//! Threads that help whoever has work, one job at a time.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use super::gate::Gate;
use super::patience::Patience;

/// What keeps to a pair of cache lines of its own (processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

/// The tasks that one thread begins with.
#[derive(Debug, Default)]
struct Share {
    next: AtomicUsize,
    end: AtomicUsize,
}

type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// A job: what to do, and into how many shares its tasks are cut.
#[derive(Clone, Copy)]
struct Job {
    work: *const Task<'static>,
    shares: usize,
}

struct Shared {
    /// Whether a caller has the workers.
    taken: AtomicBool,
    gate: Line<Gate>,
    /// Written by the caller that has the workers, while nobody is inside of the gate.
    job: UnsafeCell<Option<Job>>,
    shares: Box<[Line<Share>]>,
    /// Which workers sleep, or are about to.
    asleep: Box<[Line<AtomicBool>]>,
    /// The caller, when it sleeps until all have left.
    waiting: AtomicBool,
    caller: Mutex<Option<Thread>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// What each worker is to do once, and how often anything was asked.
    chore: Mutex<fn()>,
    asked: AtomicUsize,
    stop: AtomicBool,
}

// SAFETY: `job` is written before the gate opens, by the one caller that set `taken`, and read
// only by those who are inside; the closure behind it may be called by several threads.
#[allow(unsafe_code)]
unsafe impl Send for Shared {}
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}

thread_local! {
    /// Whether this thread runs a task: what it hands out then, it does itself.
    static BUSY: Cell<bool> = const { Cell::new(false) };
    static PATIENCE: Cell<Patience> = const { Cell::new(Patience::new()) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Some threads beside the calling one. They end when this is dropped.
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<Thread>,
}

impl Workers {
    /// Starts what makes `threads` together with the caller, or as many as the system gives.
    pub(super) fn start(threads: usize, start: impl Fn() + Clone + Send + 'static) -> Self {
        let shared = Arc::new(Shared::new(threads.max(1)));
        let worker = |number: usize| {
            let (shared, start) = (Arc::clone(&shared), start.clone());
            let run = move || {
                start();
                shared.serve(number);
            };
            let thread = thread::Builder::new().name(format!("carina-{number}")).spawn(run);
            Some(thread.ok()?.thread().clone())
        };
        let threads = (1..threads).map_while(worker).collect();
        Self { shared, threads }
    }

    /// How many threads there are, with the caller.
    pub(super) fn threads(&self) -> usize {
        self.threads.len() + 1
    }

    /// Runs `work` for each number below `tasks`; alone, when another caller has the workers.
    #[allow(unsafe_code)]
    pub(super) fn run(&self, tasks: usize, work: &Task) {
        let shared = &*self.shared;
        let alone = self.threads.is_empty() || BUSY.get();
        if alone || shared.taken.swap(true, Ordering::Acquire) {
            return (0..tasks).for_each(work);
        }
        let shares = tasks.min(self.threads());
        for (i, Line(share)) in shared.shares.iter().take(shares).enumerate() {
            share.next.store(tasks * i / shares, Ordering::Relaxed);
            share.end.store(tasks * (i + 1) / shares, Ordering::Relaxed);
        }
        // SAFETY: only the lifetime changes. Who is inside of the gate calls `work`, and we do
        // not return or unwind before all have left.
        let work: *const Task = unsafe { std::mem::transmute::<&Task<'_>, &Task<'static>>(work) };
        let job = Job { work, shares };
        // SAFETY: nobody is inside of the gate, and `taken` is ours.
        unsafe { *shared.job.get() = Some(job) };
        shared.gate.0.open();
        self.wake(shares - 1);
        // SAFETY: `work` is borrowed for as long as this call.
        let own = catch_unwind(AssertUnwindSafe(|| unsafe { shared.work_through(job, 0) }));
        shared.gate.0.close();
        shared.wait();
        let other = lock(&shared.panic).take();
        shared.taken.store(false, Ordering::Release);
        if let Some(panic) = own.err().or(other) {
            resume_unwind(panic);
        }
    }

    /// Sees to it that `count` workers are awake.
    fn wake(&self, count: usize) {
        let asleep = &self.shared.asleep[..self.threads.len()];
        let awake = asleep.iter().filter(|Line(asleep)| !asleep.load(Ordering::SeqCst)).count();
        let mut missing = count.saturating_sub(awake);
        for (thread, Line(asleep)) in self.threads.iter().zip(asleep) {
            if missing == 0 {
                break;
            }
            if asleep.swap(false, Ordering::SeqCst) {
                thread.unpark();
                missing -= 1;
            }
        }
    }

    /// Has each worker run `chore` once, when it has nothing else to do.
    #[cfg(any(test, feature = "allocator"))]
    pub(super) fn ask(&self, chore: fn()) {
        *lock(&self.shared.chore) = chore;
        self.shared.asked.fetch_add(1, Ordering::SeqCst);
        self.wake(self.threads.len());
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake(self.threads.len());
    }
}

impl Shared {
    fn new(threads: usize) -> Self {
        let lines = |count| (0..count).map(|_| Line::default()).collect();
        Self {
            taken: AtomicBool::new(false),
            gate: Line::default(),
            job: UnsafeCell::new(None),
            shares: lines(threads),
            asleep: (1..threads).map(|_| Line::default()).collect(),
            waiting: AtomicBool::new(false),
            caller: Mutex::new(None),
            panic: Mutex::new(None),
            chore: Mutex::new(|| ()),
            asked: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Runs the tasks of share number `own`, then what is left of the others.
    ///
    /// # Safety
    /// The closure of `job` is alive.
    #[allow(unsafe_code)]
    unsafe fn work_through(&self, job: Job, own: usize) {
        struct Done;
        impl Drop for Done {
            fn drop(&mut self) {
                BUSY.set(false);
            }
        }
        BUSY.set(true);
        let _done = Done;
        // SAFETY: as the caller promises.
        let work = unsafe { &*job.work };
        for i in 0..job.shares {
            let Line(share) = &self.shares[(own + i) % job.shares];
            let end = share.end.load(Ordering::Relaxed);
            while share.next.load(Ordering::Relaxed) < end {
                let task = share.next.fetch_add(1, Ordering::Relaxed);
                if task < end {
                    work(task);
                }
            }
        }
    }

    /// Returns when nobody is inside of the gate, which is closed.
    fn wait(&self) {
        let mut patience = PATIENCE.get();
        let left = patience.wait(|| self.gate.0.is_empty());
        PATIENCE.set(patience);
        if left {
            return;
        }
        *lock(&self.caller) = Some(thread::current());
        self.waiting.store(true, Ordering::SeqCst);
        while !self.gate.0.is_empty() {
            thread::park();
        }
        self.waiting.store(false, Ordering::Relaxed);
    }

    /// What worker `number` does until the end.
    fn serve(&self, number: usize) {
        let (mut patience, mut last, mut done) = (Patience::new(), 0, 0);
        while !self.stop.load(Ordering::SeqCst) {
            if let Some(job) = self.gate.0.enter(last) {
                last = job;
                self.help(number);
            }
            let asked = self.asked.load(Ordering::SeqCst);
            if asked != done {
                done = asked;
                let chore = *lock(&self.chore);
                chore();
            }
            let news = || {
                self.gate.0.is_open(last)
                    || self.asked.load(Ordering::SeqCst) != done
                    || self.stop.load(Ordering::SeqCst)
            };
            if !patience.wait(news) {
                // A caller opens the gate, then looks who sleeps; we say so, then look again.
                let Line(asleep) = &self.asleep[number - 1];
                asleep.store(true, Ordering::SeqCst);
                while !news() && asleep.load(Ordering::SeqCst) {
                    thread::park();
                }
                asleep.store(false, Ordering::SeqCst);
            }
        }
    }

    /// Takes part in the job; this thread is inside of the gate.
    #[allow(unsafe_code)]
    fn help(&self, number: usize) {
        // SAFETY: written before the gate opened, and not again before all have left.
        let job = unsafe { *self.job.get() };
        if let Some(job) = job {
            // SAFETY: the caller waits until we have left.
            let work = AssertUnwindSafe(|| unsafe { self.work_through(job, number) });
            if let Err(panic) = catch_unwind(work) {
                lock(&self.panic).get_or_insert(panic);
            }
        }
        if self.gate.0.leave() && self.waiting.load(Ordering::SeqCst) {
            let caller = lock(&self.caller).clone();
            caller.inspect(Thread::unpark);
        }
    }
}
