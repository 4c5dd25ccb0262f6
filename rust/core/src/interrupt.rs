//! Stopping a running kernel from outside (Ctrl-C).
//!
//! Kernels call [`poll`] once per block of work. When somebody has called [`request`], `poll` unwinds with
//! [`Interrupted`]; whoever started the kernel catches that and reports the interruption.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

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

/// Unwind with [`Interrupted`] when a stop was requested; otherwise do nothing.
#[inline]
pub fn poll() {
    if REQUESTED.load(Ordering::Relaxed) {
        std::panic::resume_unwind(Box::new(Interrupted));
    }
}
