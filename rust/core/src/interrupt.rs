//! Stopping a running kernel from outside (Ctrl-C).
//!
//! Kernels call [`poll`] once per block of work. When somebody has called [`request`], `poll` unwinds with
//! [`Interrupted`]; whoever started the kernel catches that and reports the interruption. A kernel that runs in the
//! thread that would look for signals has nobody beside it who could ask: there `poll` looks itself, see [`listen`].

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// How often somebody looks for a signal while a kernel runs.
pub const SIGNAL_POLL: Duration = Duration::from_millis(50);

/// Who is asked, and not before when.
type Listener = (fn() -> bool, Instant);

thread_local! {
    static LISTENER: Cell<Option<Listener>> = const { Cell::new(None) };
}

/// The payload with which [`poll`] unwinds.
#[derive(Debug)]
pub struct Interrupted;

/// Ask running kernels to stop.
pub fn request() {
    REQUESTED.store(true, Ordering::Relaxed);
}

/// Forget an earlier request.
pub fn clear() {
    REQUESTED.store(false, Ordering::Relaxed);
}

/// Have [`poll`] on this thread ask `listener` every [`SIGNAL_POLL`] whether to stop; `None` for no longer.
pub fn listen(listener: Option<fn() -> bool>) {
    LISTENER.set(listener.map(|ask| (ask, Instant::now() + SIGNAL_POLL)));
}

/// Unwind with [`Interrupted`] when a stop was requested; otherwise do nothing.
#[inline]
pub fn poll() {
    if REQUESTED.load(Ordering::Relaxed) || LISTENER.get().is_some_and(heard) {
        std::panic::resume_unwind(Box::new(Interrupted));
    }
}

fn heard((ask, due): Listener) -> bool {
    let now = Instant::now();
    if now < due {
        return false;
    }
    LISTENER.set(Some((ask, now + SIGNAL_POLL)));
    ask()
}
