use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::workers::Workers;
use super::*;

/// Every task of `tasks` runs exactly once, for the caller that handed it out.
fn check(workers: &Workers, tasks: usize, salt: usize) {
    let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
    workers.run(tasks, &|i| {
        counts[i].fetch_add(salt + i, Ordering::Relaxed);
    });
    for (i, count) in counts.iter().enumerate() {
        assert_eq!(count.load(Ordering::Relaxed), salt + i);
    }
}

#[test]
fn many_tiny_jobs_of_several_callers_run_each_task_once() {
    for threads in 1..=8 {
        let workers = Workers::start(threads, || ());
        assert_eq!(workers.threads(), threads);
        thread::scope(|scope| {
            for caller in 0..4 {
                let workers = &workers;
                scope.spawn(move || {
                    for round in 0..600 {
                        check(workers, (round * 7 + caller) % 23, 1 + round + 1000 * caller);
                        if round % 97 == caller {
                            thread::sleep(Duration::from_micros(300)); // the workers fall asleep
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn workers_that_sleep_are_woken_and_take_part() {
    let workers = Workers::start(3, || ());
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(2));
        let seen = std::sync::Mutex::new(std::collections::HashSet::new());
        let start = Instant::now();
        // Goes on until all three have come.
        workers.run(3, &|_| {
            seen.lock().unwrap().insert(thread::current().id());
            while seen.lock().unwrap().len() < 3 && start.elapsed() < Duration::from_secs(20) {
                thread::yield_now();
            }
        });
        assert_eq!(seen.into_inner().unwrap().len(), 3);
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_workers_go_on() {
    let workers = Workers::start(4, || ());
    for bad in [0, 5, 63] {
        let run = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            workers.run(64, &|i| {
                run.fetch_add(1, Ordering::Relaxed);
                assert!(i != bad, "task {i} is bad");
            });
        }));
        let text = result.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(*text, format!("task {bad} is bad"));
        assert!(run.into_inner() <= 64);
        check(&workers, 100, 1);
    }
}

#[test]
fn work_inside_of_work_stays_on_its_thread() {
    let workers = Workers::start(4, || ());
    let count = AtomicUsize::new(0);
    workers.run(8, &|_| {
        let here = thread::current().id();
        workers.run(8, &|_| {
            assert_eq!(thread::current().id(), here);
            count.fetch_add(1, Ordering::Relaxed);
        });
    });
    assert_eq!(count.into_inner(), 64);
}

#[test]
fn a_chore_is_done_once_by_each_worker_even_when_it_sleeps() {
    static DONE: AtomicU32 = AtomicU32::new(0);
    let workers = Workers::start(4, || ());
    for round in 1..=5 {
        thread::sleep(Duration::from_millis(2));
        workers.ask(|| {
            DONE.fetch_add(1, Ordering::SeqCst);
        });
        let start = Instant::now();
        while DONE.load(Ordering::SeqCst) < 3 * round && start.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
        assert_eq!(DONE.load(Ordering::SeqCst), 3 * round);
    }
}

#[test]
fn parts_and_results_keep_their_places() {
    for threads in [1, 2, 5] {
        with_own(
            threads,
            || (),
            || {
                let (mut a, mut b) = (vec![0; 103], vec![0; 52]);
                each((parts(&mut a, 10), parts(&mut b, 5)), 3, |i, (a, b)| {
                    a.fill(i);
                    b.fill(100 + i);
                });
                assert!(a.iter().enumerate().all(|(place, i)| *i == place / 10));
                assert!(b.iter().enumerate().all(|(place, i)| *i == 100 + place / 5));
                assert_eq!(map(9, |i| i * i), [0, 1, 4, 9, 16, 25, 36, 49, 64]);
                assert!(map(0, |i| i).is_empty());
                assert_eq!(super::threads(), threads);
            },
        );
    }
}
