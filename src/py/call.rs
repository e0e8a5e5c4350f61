//! How a Python call enters the core: GIL released, panics caught, Ctrl-C heard, progress shown.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::device::{STACK, with_threads};
use crate::progress::Progress;
use crate::{Error, Result, kernels};

/// How often a long call looks for Ctrl-C and moves its progress bar.
const GLANCE: Duration = Duration::from_millis(100);

/// A call that took this long gives freed memory back at its end: a notebook may rest after it.
/// To take the pages anew costs a small part of such a call.
const LONG: Duration = Duration::from_secs(1);

/// Runs a short piece of work without the GIL.
pub(super) fn quick<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    Ok(py.detach(|| with_threads(|| caught(work)))??)
}

/// Runs long work on a thread of its own, without the GIL, while this thread listens for Ctrl-C.
///
/// `watch`, when given, is called as `watch(done, total, events)` some ten times a second from
/// this thread; an exception it raises stops the work and is passed on.
pub(super) fn long<T: Send>(
    py: Python<'_>,
    watch: Option<Py<PyAny>>,
    work: impl FnOnce(&Progress) -> Result<T> + Send,
) -> PyResult<T> {
    let progress = Progress::silent();
    let shared = &progress;
    let (sender, receiver) = channel();
    let watcher = watch.as_ref();
    let started = Instant::now();
    let (outcome, stopped_by) = py.detach(move || {
        let ended = std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("carina".to_owned())
                .stack_size(STACK)
                .spawn_scoped(scope, move || {
                    let done = with_threads(|| caught(|| work(shared)));
                    // The receiver outlives the scope, so sending cannot fail.
                    let _ = sender.send(done.and_then(|outcome| outcome));
                })
                .map_err(|source| Error::io("a worker thread", source))?;
            let mut stopped_by: Option<PyErr> = None;
            let outcome = loop {
                match receiver.recv_timeout(GLANCE) {
                    Ok(outcome) => break outcome,
                    Err(RecvTimeoutError::Timeout) if stopped_by.is_none() => {
                        if let Err(error) = Python::attach(|py| glance(py, watcher, shared)) {
                            shared.stop();
                            stopped_by = Some(error);
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => {
                        break Err(Error::Internal("the worker thread vanished".to_owned()));
                    }
                }
            };
            Ok::<_, Error>((outcome, stopped_by))
        });
        if started.elapsed() >= LONG {
            kernels::give_back_freed_memory();
        }
        ended
    })?;
    if let Some(error) = stopped_by {
        return Err(error);
    }
    let value = outcome?;
    glance(py, watch.as_ref(), shared)?;
    Ok(value)
}

fn glance(py: Python<'_>, watch: Option<&Py<PyAny>>, progress: &Progress) -> PyResult<()> {
    py.check_signals()?;
    if let Some(watch) = watch {
        let (done, total) = progress.counts();
        let events: Vec<String> = progress.take_events().iter().map(ToString::to_string).collect();
        watch.call1(py, (done, total, events))?;
    }
    Ok(())
}

/// Turns a panic into an error: `PanicException` would slip through `except Exception`.
fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Error::Internal(text.unwrap_or_else(|| "a panic without a message".to_owned())))
    })
}
