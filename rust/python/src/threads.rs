//! The one door to Rust: [`run`] releases the interpreter lock, runs a kernel in skymere's own thread pool, polls
//! Ctrl-C and turns a panic into `InternalError`. With one thread that is the caller's: handing small kernels to another
//! one costs more than some of them, and on busy cores the two threads wait for each other.

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, RwLock};

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use rayon::ThreadPool;
use skymere_core::error::RoomError;
use skymere_core::interrupt::{self, SIGNAL_POLL};

use crate::errors;

static POOL: RwLock<Option<Arc<ThreadPool>>> = RwLock::new(None);
static FORKED: AtomicBool = AtomicBool::new(false);

thread_local! {
    // A pool of this thread alone, in which it works itself; rayon keeps it for good, so it is made once a thread.
    static ALONE: OnceCell<ThreadPool> = const { OnceCell::new() };
    static SIGNAL: Cell<Option<PyErr>> = const { Cell::new(None) };
}

fn build_pool(py: Python<'_>, n_threads: usize) -> PyResult<Arc<ThreadPool>> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(n_threads)
        .thread_name(|i| format!("skymere-{i}"))
        .build()
        .map_err(|e| errors::internal(py, &format!("thread pool: {e}")))?;
    let pool = Arc::new(pool);
    if let Ok(mut slot) = POOL.write() {
        *slot = Some(Arc::clone(&pool));
    }
    Ok(pool)
}

fn pool(py: Python<'_>) -> PyResult<Arc<ThreadPool>> {
    let current = POOL.read().ok().and_then(|slot| slot.clone());
    match current {
        Some(pool) => Ok(pool),
        None => build_pool(py, 0),
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "unknown panic".to_owned())
}

/// Run `kernel` without the interpreter lock, in skymere's pool.
///
/// # Errors
/// The room's error in its Python class, `KeyboardInterrupt` after Ctrl-C, `InternalError` after a panic or in a
/// forked child.
pub fn run<T, E, F>(py: Python<'_>, kernel: F) -> PyResult<T>
where
    T: Send,
    E: RoomError + Send,
    F: FnOnce() -> Result<T, E> + Send,
{
    if FORKED.load(Ordering::Relaxed) {
        return Err(errors::internal(
            py,
            "skymere was called in a forked child, where its threads do not exist; start workers with \
             multiprocessing.get_context('spawn')",
        ));
    }
    let pool = pool(py)?;
    interrupt::clear();
    if pool.current_num_threads() == 1 {
        return run_here(py, kernel);
    }
    let outcome = py.detach(|| {
        std::thread::scope(|scope| {
            let (done, wait) = channel();
            scope.spawn(move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| pool.install(kernel)));
                drop(done.send(outcome));
            });
            let mut signal = None;
            loop {
                match wait.recv_timeout(SIGNAL_POLL) {
                    Ok(outcome) => return Ok((outcome, signal)),
                    Err(RecvTimeoutError::Disconnected) => return Err(()),
                    Err(RecvTimeoutError::Timeout) if signal.is_none() => {
                        signal = Python::attach(|py| py.check_signals().err());
                        if signal.is_some() {
                            interrupt::request();
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
        })
    });
    match outcome {
        Ok((_, Some(signal))) => {
            interrupt::clear();
            Err(signal)
        }
        Ok((outcome, None)) => told(py, outcome),
        Err(()) => Err(errors::internal(
            py,
            "the worker thread ended without a result",
        )),
    }
}

/// Run `kernel` in the thread of the caller, which looks for signals from `interrupt::poll`.
fn run_here<T, E, F>(py: Python<'_>, kernel: F) -> PyResult<T>
where
    T: Send,
    E: RoomError + Send,
    F: FnOnce() -> Result<T, E> + Send,
{
    ALONE.with(|alone| {
        if alone.get().is_none() {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(1)
                .use_current_thread()
                .build()
                .map_err(|e| errors::internal(py, &format!("thread pool: {e}")))?;
            drop(alone.set(pool));
        }
        let Some(pool) = alone.get() else {
            return Err(errors::internal(py, "thread pool: it was not kept"));
        };
        let outcome = py.detach(|| {
            interrupt::listen(Some(signal_came));
            let outcome = catch_unwind(AssertUnwindSafe(|| pool.install(kernel)));
            interrupt::listen(None);
            outcome
        });
        match SIGNAL.take() {
            Some(signal) => {
                interrupt::clear();
                Err(signal)
            }
            None => told(py, outcome),
        }
    })
}

/// Look for a signal, and keep the exception that its handler raised.
fn signal_came() -> bool {
    let signal = Python::attach(|py| py.check_signals().err());
    let came = signal.is_some();
    if came {
        SIGNAL.set(signal);
        // What rayon has split off already is begun all the same: it has to end at once, too.
        interrupt::request();
    }
    came
}

fn told<T, E: RoomError>(
    py: Python<'_>,
    outcome: Result<Result<T, E>, Box<dyn Any + Send>>,
) -> PyResult<T> {
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(errors::from_room(py, &error)),
        Err(payload) if payload.is::<interrupt::Interrupted>() => {
            Err(PyKeyboardInterrupt::new_err(""))
        }
        Err(payload) => Err(errors::internal(py, &panic_message(payload.as_ref()))),
    }
}

/// Number of threads that kernels use.
#[pyfunction]
fn get_num_threads(py: Python<'_>) -> PyResult<usize> {
    Ok(pool(py)?.current_num_threads())
}

/// Set the number of threads of the whole process; 0 means one per core.
#[pyfunction]
fn set_num_threads(py: Python<'_>, n_threads: usize) -> PyResult<()> {
    build_pool(py, n_threads).map(drop)
}

/// Remember that this process is a forked child, in which the pool's threads do not exist.
#[pyfunction]
fn mark_forked() {
    FORKED.store(true, Ordering::Relaxed);
}

pub fn fill(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(get_num_threads, m)?)?;
    m.add_function(wrap_pyfunction!(set_num_threads, m)?)?;
    m.add_function(wrap_pyfunction!(mark_forked, m)?)
}
